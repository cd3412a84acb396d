/* Learning an encoder from texts without labels, as a task to train (train/task.h):
 * nn/masked_tokens.h. */
#ifndef SG_TRAIN_MASKED_TASK_H
#define SG_TRAIN_MASKED_TASK_H

#include "train/task.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads the data set; labels are not looked at, and need not be there. SG_ERR_CONFIG: no encoder
 * (model.layers); errors of sg_text_dataset_read. */
sg_status sg_masked_task_create(const sg_config *config, sg_task **out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
