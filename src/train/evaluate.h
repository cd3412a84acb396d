/* Measuring a model file on a part of a data set, whatever kind of model it holds. */
#ifndef SG_TRAIN_EVALUATE_H
#define SG_TRAIN_EVALUATE_H

#include "train/task.h"
#include "train/trained.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The file or list that a split is: data.train, data.val or data.test. Borrowed from `config`. */
const char *sg_evaluate_part(const sg_config *config, const char *split);
/* What evaluations in training do, on data.train, data.val or data.test of the file's configuration
 * with the overrides; `split` is "train", "val" or "test", another SG_ERR_ARG. Errors of reading
 * the model (sg_detector_model_load, sg_text_trained_load) and the data set. */
sg_status sg_evaluate_file(const sg_trained_source *source, const char *split, int threads,
                           sg_evaluation *out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
