/* Model files: HDF5, whole or absent, verified when read.
 *
 * - /: the attributes format = "spotgrad-model" and format_version = 1
 * - /parameters/NAME: f32; likewise /statistics, /ema, /optimizer/moment1 and moment2
 * - a table of rows (graph/state.h) is in /parameters and, under Adagrad, /optimizer/sum alone
 * - /progress/step: int64; likewise samples, epoch (each with an attribute `unit`); seed is uint64
 * - /run/id: text; likewise version, numeric_class, data_fingerprint, config, history, plans (the
 *   kernels chosen on a GPU), tokenizer (how a text becomes numbers: data/tokenizer.h); older files
 *   may lack the last two
 * - /classes: text (n)
 * - /checksums/names: text (m): the paths of all data sets above, sorted
 * - /checksums/crc32c: uint32 (m): the CRC32C of their bytes
 * - /complete: uint32: the CRC32C of these two data sets' bytes, one after the other
 *
 * In h5py: f["parameters/backbone.stem.conv.weight"][:], f["run/config"].asstr()[()],
 * f["classes"].asstr()[:], f["progress/step"][()].
 *
 * Every data set is contiguous and laid out before anything is written, texts are of fixed length,
 * no time is stored, and the version of the format is fixed: the same content gives the same bytes,
 * and a file of other numbers but the same shapes differs from it only where the numbers lie. HDF5
 * itself checks its own structures (its format of 1.8 has checksums in them), the table of CRC32C
 * everything else. That is why counters and checksums are data sets, not attributes: a data set has
 * an offset at which a later writer can patch it.
 *
 * May be called from several threads where HDF5 is built for that, as Debian's is. */
#ifndef SG_CHECKPOINT_MODEL_FILE_H
#define SG_CHECKPOINT_MODEL_FILE_H

#include "core/status.h"
#include "graph/state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What is written beside the state. All is borrowed; texts are UTF-8, NULL is written as "". */
typedef struct {
    const char *run_id, *version, *numeric_class, *data_fingerprint;
    const char *config;    /* resolved configuration, as it could be read again */
    const char *history;   /* the metrics so far: the lines of metrics.jsonl */
    const char *plans;     /* kernels chosen on a GPU: cuda/plan_table.h */
    const char *tokenizer; /* data/tokenizer.h */
    char *const *classes;  /* (n_classes) names */
    int64_t n_classes;
    int64_t epoch; /* complete epochs */
} sg_model_about;

/* The same as read: texts are owned, and "" where nothing was written. */
typedef struct {
    char *run_id, *version, *numeric_class, *data_fingerprint;
    char *config, *history, *plans, *tokenizer;
    char **classes;
    int64_t n_classes, epoch;
    int64_t step, samples; /* the state's */
    uint64_t seed;
} sg_model_file;

/* Write all of `state` and `about`. `path` holds afterwards the whole old file or
 * the whole new one. SG_ERR_IO (disk full, read-only), SG_ERR_OOM. */
sg_status sg_model_file_write(const char *path, const sg_model_about *about,
                              const sg_state *state) SG_CHECKED;

/* Everything but the state's tensors (load verifies those): enough to build the model. *out is the
 * caller's (sg_model_file_clear). SG_ERR_MISSING: no such file; SG_ERR_DATA, with the file and what
 * is wrong with which data set: not HDF5, not a model of ours, a newer format, truncated, damaged;
 * SG_ERR_IO, SG_ERR_OOM. */
sg_status sg_model_file_read(const char *path, sg_model_file *out) SG_CHECKED;
/* The same, and the checksum of every tensor: the file is whole. */
sg_status sg_model_file_verify(const char *path, sg_model_file *out) SG_CHECKED;
void sg_model_file_clear(sg_model_file *file); /* frees what reading gave, zeroes the struct */

/* The tensors and step, samples and seed into `state`, which is left as it was on failure. All
 * names and shapes must agree with its table, both ways. A state without moments and sums
 * (inference) takes a file with any optimizer; otherwise their number must agree too. Errors as for
 * reading. */
sg_status sg_model_file_load(const char *path, sg_state *state) SG_CHECKED;

/* The classes that a model tells apart, and where. */
typedef struct {
    char *const *name; /* (n) */
    int64_t n;
    /* Along which axis of the parameter of that name there is an element a class; -1: of none. */
    int (*axis)(const char *parameter);
} sg_class_outputs;

typedef struct {
    int tensors; /* taken */
    enum {
        SG_CLASSES_SAME,      /* or one of the two has none */
        SG_CLASSES_REORDERED, /* the same names in another order */
        SG_CLASSES_OTHER
    } classes;
} sg_fitting;

/* To start from another model, which may have other classes: each parameter and statistic that the
 * file has under the same name and with the same shape becomes the file's EMA of it (a table of
 * rows the file's rows), the others stay as they are; the state's EMA becomes its values, sums of
 * rows zero. Parameters with an element a class are taken only where the file's classes have the
 * same names, each to its class. Moments and counters stay. The state is left as it was on failure:
 * errors as for reading, and SG_ERR_DATA when nothing fits. */
sg_status sg_model_file_load_fitting(const char *path, sg_state *state,
                                     const sg_class_outputs *classes, sg_fitting *out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
