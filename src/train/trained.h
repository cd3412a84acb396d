/* What reading any trained model from its file begins with: the configuration to run it by, and
 * where. */
#ifndef SG_TRAIN_TRAINED_H
#define SG_TRAIN_TRAINED_H

#include "checkpoint/model_file.h"
#include "core/config.h"
#include "train/compute.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What kind of model a file holds: model.type, a static string. Errors of sg_model_file_read and
 * sg_config_parse. */
sg_status sg_trained_type(const char *path, const char **type) SG_CHECKED;

/* A model file and what is laid over its configuration; all borrowed. */
typedef struct {
    const char *path;
    const char *const *overrides; /* (n_overrides) "section.key=value" */
    int n_overrides;
} sg_trained_source;

/* The configuration that `file`, read from the source's path, holds, with the overrides. `built_in`
 * ends with NULL: keys that have shaped the model, "section.key", or "section." for all of a
 * section; SG_ERR_CONFIG where an override gives one another value. Errors of sg_config_parse. */
sg_status sg_trained_config(const sg_trained_source *source, const sg_model_file *file,
                            const char *const *built_in, sg_config *out) SG_CHECKED;

/* Where run.device and train.precision of the overrides alone say, as where it was trained is no
 * wish of where to run it; `auto` takes that device where it can be had, with the same arithmetic.
 * Errors of sg_config_parse and sg_compute_open. */
sg_status sg_trained_compute(const sg_trained_source *source, const sg_model_file *file,
                             sg_compute *out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
