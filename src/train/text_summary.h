/* What a text classifier consists of, for people. */
#ifndef SG_TRAIN_TEXT_SUMMARY_H
#define SG_TRAIN_TEXT_SUMMARY_H

#include "train/text_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One line, once the model has its tokenizer: kind, classes of each task, parts. The caller's
 * (sg_free). SG_ERR_OOM. */
sg_status sg_text_model_line(const sg_text_model *model, char **out) SG_CHECKED;

/* Lines: a part each with its shape and parameters, then the shapes of batches. The caller's
 * (sg_free). SG_ERR_OOM, errors of sg_text_classifier_build. */
sg_status sg_text_model_summary(const sg_text_model *model, char **out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
