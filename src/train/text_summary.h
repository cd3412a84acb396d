/* What a text classifier, or a model of masked tokens, consists of, for people. */
#ifndef SG_TRAIN_TEXT_SUMMARY_H
#define SG_TRAIN_TEXT_SUMMARY_H

#include "train/masked_model.h"
#include "train/text_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One line, once the model has its tokenizer: kind, classes of each task, parts. The caller's
 * (sg_free). SG_ERR_OOM. */
sg_status sg_text_model_line(const sg_text_model *model, char **out) SG_CHECKED;
sg_status sg_masked_model_line(const sg_masked_model *model, char **out) SG_CHECKED;

/* Lines: a part each with its shape and parameters, then the shapes of batches. The caller's
 * (sg_free). SG_ERR_OOM, errors of the model's builder. */
sg_status sg_text_model_summary(const sg_text_model *model, char **out) SG_CHECKED;
sg_status sg_masked_model_summary(const sg_masked_model *model, char **out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
