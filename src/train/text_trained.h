/* A trained text classifier, read from a model file and ready to answer. */
#ifndef SG_TRAIN_TEXT_TRAINED_H
#define SG_TRAIN_TEXT_TRAINED_H

#include "train/text_model.h"
#include "train/trained.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Not to be moved: parts of it point at others. */
typedef struct {
    sg_config config;   /* the file's, with the overrides */
    sg_model_file file; /* owned */
    sg_text_model model;
    sg_compute compute;     /* owned: where it is run */
    sg_pool *pool;          /* owned */
    sg_text_runner *runner; /* owned; has the file's values */
} sg_text_trained;

typedef struct {
    int64_t batch; /* texts of one run; answers depend on it in their last bits */
    int threads;
} sg_text_trained_options;

/* `path` is a model file. Overrides "section.key=value" are laid over the configuration it holds,
 * but for what is built into the model and for run.device and train.precision (train/trained.h).
 * Errors of sg_model_file_read, sg_trained_config, sg_tokenizer_parse, sg_trained_compute,
 * sg_model_file_load. */
sg_status sg_text_trained_load(const char *path, const char *const *overrides, int n_overrides,
                               const sg_text_trained_options *options,
                               sg_text_trained *out) SG_CHECKED;
/* Only what it is, and nothing to run it with: config, file, model. */
sg_status sg_text_trained_read(const sg_trained_source *source, sg_text_trained *out) SG_CHECKED;
void sg_text_trained_clear(sg_text_trained *t);

/* Probabilities (n, classes) of n messages, any bytes; they add up to 1 in each task. SG_ERR_OOM.
 */
sg_status sg_text_trained_answer(sg_text_trained *t, sg_text_at at, const void *texts, int64_t n,
                                 float *probabilities) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
