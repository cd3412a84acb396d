/* The text classifier as a task: configuration -> data set, tokenizer, model, evaluation. */
#ifndef SG_TRAIN_TEXT_TASK_H
#define SG_TRAIN_TEXT_TASK_H

#include "train/task.h"
#include "train/text_model.h"

#ifdef __cplusplus
extern "C" {
#endif

sg_status sg_text_task_create(const sg_config *config, sg_task **out) SG_CHECKED;

/* Read SPLIT of the data set that the configuration names; `model` NULL: with its own classes, or
 * those of data.classes. */
sg_status sg_text_task_data(const sg_config *config, const char *split, const sg_text_model *model,
                            sg_text_dataset **out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
