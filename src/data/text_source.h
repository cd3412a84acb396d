/* One file of texts, read: rows with their labels as they are written, whatever the format. The
 * reader of data sets and the check both go through it. Private to data/.
 *
 * A part owns the bytes of its file; rows point into them. Readers cut in place: they put NULs
 * behind texts and labels, which the bytes that divide them make room for, and what is escaped only
 * gets shorter. */
#ifndef SG_DATA_TEXT_SOURCE_H
#define SG_DATA_TEXT_SOURCE_H

#include <stddef.h>

#include "data/text_dataset.h"

typedef struct {
    const char *text;  /* a NUL behind it */
    const char *label; /* as written; NULL: there is none */
    int64_t length;    /* of the text, bytes */
    int line;          /* where the row begins */
    int32_t id;        /* of the class; -1: none; set by sg_text_part_resolve */
} sg_text_row;

typedef struct {
    char *path;       /* of the texts, owned */
    char *label_path; /* of the labels where they have their own file, owned */
    char *block;      /* of the texts, owned */
    char *label_block;
    int64_t n, capacity;
    sg_text_row *rows; /* (n), owned */
    bool numbered;     /* labels are numbers: of `names`, or where it is empty of the classes */
    sg_classes names;  /* mapping.txt's, owned */
} sg_text_part;

/* SPLIT of one task (a name, "": none). SG_ERR_MISSING, SG_ERR_DATA, SG_ERR_IO, SG_ERR_OOM; faults
 * of a row go to `sink`. */
sg_status sg_text_part_read(const sg_text_place *place, const char *task, const char *split,
                            const sg_fault_sink *sink, sg_text_part *out) SG_CHECKED;
void sg_text_part_clear(sg_text_part *part);
/* The classes that the part itself tells: mapping.txt's, or the sorted values of its labels.
 * SG_ERR_DATA: more than SG_MAX_CLASSES; SG_ERR_OOM. */
sg_status sg_text_part_classes(const sg_text_part *part, sg_classes *out) SG_CHECKED;
/* Find every row's class. Rows whose label is none are faults, as are those without one, but where
 * texts only are wanted. */
sg_status sg_text_part_resolve(sg_text_part *part, const sg_classes *classes, bool texts_only,
                               const sg_fault_sink *sink) SG_CHECKED;

/* --- for readers ------------------------------------------------------------------------------ */

/* What is read of one format: `part` has its path, and the file's bytes in `block`. */
sg_status sg_text_read_tweeteval(const sg_text_place *place, const char *folder,
                                 const sg_fault_sink *sink, sg_text_part *part) SG_CHECKED;
sg_status sg_text_parse_csv(const sg_text_place *place, size_t size, const sg_fault_sink *sink,
                            sg_text_part *part) SG_CHECKED;
sg_status sg_text_parse_jsonl(const sg_text_place *place, size_t size, const sg_fault_sink *sink,
                              sg_text_part *part) SG_CHECKED;

/* The parts of tweeteval: the texts of `part->block`; the labels of `part->label_block` to rows
 * that are there; a mapping, whose bytes are cut. */
sg_status sg_text_parse_lines(size_t size, const sg_fault_sink *sink,
                              sg_text_part *part) SG_CHECKED;
sg_status sg_text_parse_labels(size_t size, const sg_fault_sink *sink,
                               sg_text_part *part) SG_CHECKED;
sg_status sg_text_parse_mapping(const char *path, char *text, size_t size,
                                sg_classes *names) SG_CHECKED;

/* A row more. SG_ERR_OOM. */
sg_status sg_text_part_add(sg_text_part *part, const sg_text_row *row) SG_CHECKED;
/* The whole file (sg_file_read), no pipe or device, at most SG_TEXT_MAX_FILE, and no UTF-16. */
sg_status sg_text_file_read(const char *path, char **bytes, size_t *size) SG_CHECKED;
/* part->block is that of part->path; where there is none the keys that name it are told. */
sg_status sg_text_part_load(const sg_text_place *place, sg_text_part *part,
                            size_t *size) SG_CHECKED;
/* Bytes of the mark that Windows' editors begin UTF-8 files with: 0 or 3. */
size_t sg_text_mark(const char *bytes, size_t size);
/* `length` bytes from the beginning of a line on: not too many, no NUL, UTF-8. *good: so it is,
 * else a fault. */
sg_status sg_text_check_span(const char *path, int line, const char *bytes, size_t length,
                             const sg_fault_sink *sink, bool *good) SG_CHECKED;
/* A whole number without sign and leading zeros, below `limit`; -1: it is none. */
int64_t sg_text_number(const char *text, int64_t limit);

#endif
