/* A model file that is being read, of which nothing is used unverified. Private to model_file_*.c.
 */
#ifndef SG_CHECKPOINT_MODEL_FILE_READER_H
#define SG_CHECKPOINT_MODEL_FILE_READER_H

#include "checkpoint/model_file_format.h"

typedef struct {
    const char *path;
    hid_t file;
    hsize_t size; /* of the file */
    /* The table of checksums. */
    int64_t n;
    char *names;  /* (n, width), padded with NUL */
    size_t width; /* of a name, with a NUL at its end */
    uint32_t *crc;
    bool *used; /* (n) verified */
} sg_model_reader;

/* Errors as sg_model_file_read's. */
sg_status sg_model_open(const char *path, sg_model_reader *r) SG_CHECKED;
/* Returns `st`, but that no file is damaged whose disk cannot be read. */
sg_status sg_model_close(sg_model_reader *r, sg_status st) SG_CHECKED;

/* "FILE: the data set NAME WHAT", SG_ERR_DATA. */
sg_status sg_model_damaged(const sg_model_reader *r, const char *name, const char *what);

/* Where a data set is in the table; -1: nowhere. */
int64_t sg_model_find_name(const sg_model_reader *r, const char *name);
/* Whether there is one of that name and shape; a damaged one counts, and fails when read. */
bool sg_model_has(const sg_model_reader *r, const char *name, const sg_shape *shape);

/* Numbers of exactly this type and shape. */
sg_status sg_model_read_numbers(const sg_model_reader *r, const char *name, hid_t wanted,
                                const sg_shape *shape, void *data) SG_CHECKED;
/* A text (count is NULL) or a list of texts of one width. *block: (count or 1, *width + 1) with a
 * NUL after each, the caller's. */
sg_status sg_model_read_strings(const sg_model_reader *r, const char *name, int64_t *count,
                                char **block, size_t *width) SG_CHECKED;
/* The names of classes alone, into `out`. */
sg_status sg_model_read_classes(const sg_model_reader *r, sg_model_file *out) SG_CHECKED;
/* The checksum of every data set that nobody has read: of floats, all others are known. */
sg_status sg_model_verify_rest(const sg_model_reader *r) SG_CHECKED;

#endif
