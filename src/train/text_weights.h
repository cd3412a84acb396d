/* What a text counts for in training, by its task and class. */
#ifndef SG_TRAIN_TEXT_WEIGHTS_H
#define SG_TRAIN_TEXT_WEIGHTS_H

#include "train/text_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* *weights (model's n_classes), the caller's (sg_free), of the texts of `data`, whose tasks are the
 * model's: train.class_weights, times what train.class_factors says of the class, scaled so that
 * the mean over a task's texts is 1 in the largest task and grows, by train.task_balance, the fewer
 * texts a task has. A class without a text has 0.
 *
 * SG_ERR_CONFIG: train.class_factors names no class, or one twice, or a factor that is none;
 * SG_ERR_OOM. */
sg_status sg_text_class_weights(const sg_config *config, const sg_text_model *model,
                                const sg_text_dataset *data, float **weights) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
