/* What the writer and the reader of model files must agree on. */
#ifndef SG_CHECKPOINT_MODEL_FILE_FORMAT_H
#define SG_CHECKPOINT_MODEL_FILE_FORMAT_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>

#include "checkpoint/model_file.h"

#define SG_MODEL_FORMAT     "spotgrad-model"
#define SG_MODEL_NAMES      "/checksums/names"
#define SG_MODEL_CHECKSUMS  "/checksums/crc32c"
#define SG_MODEL_COMPLETE   "/complete"
#define SG_MODEL_CLASSES    "/classes"
#define SG_MODEL_PARAMETERS "/parameters/"
#define SG_MODEL_STATISTICS "/statistics/"
#define SG_MODEL_EMA        "/ema/"
#define SG_MODEL_OPTIMIZER  "/optimizer/"

enum { SG_MODEL_VERSION = 1 };

/* The fields that are single texts and integers, and where they are in the structs. */
typedef struct {
    const char *path;
    size_t about; /* in sg_model_about: const char * */
    size_t file;  /* in sg_model_file: char * */
    bool younger; /* than the format: older files may lack it, and have "" */
} sg_model_text;

typedef struct {
    const char *path;
    size_t file;      /* in sg_model_file: int64_t or uint64_t */
    const char *unit; /* its attribute `unit`; NULL: none */
} sg_model_counter;

enum { SG_MODEL_TEXTS = 8, SG_MODEL_COUNTERS = 4 };
extern const sg_model_text sg_model_texts[SG_MODEL_TEXTS];
extern const sg_model_counter sg_model_counters[SG_MODEL_COUNTERS];

/* The type of a counter in a file. */
hid_t sg_model_counter_type(int i);
/* A text of exactly `length` bytes (at least 1), UTF-8, padded with NUL: the caller's, or < 0. */
hid_t sg_model_text_type(size_t length);

/* No printing by HDF5 in this thread. */
void sg_hdf5_quiet(void);
/* The innermost reason of HDF5's last failure in this thread, into `text`; returns text. */
const char *sg_hdf5_reason(char *text, size_t bytes);

#endif
