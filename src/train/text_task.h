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
/* The same without a look at labels, which need not be there. */
sg_status sg_text_task_unlabelled(const sg_config *config, const char *split,
                                  sg_text_dataset **out) SG_CHECKED;
/* Learned from the training part, or, where `text` is not NULL, that of `file`: SG_ERR_CONFIG where
 * it has other options than the configuration. */
sg_status sg_text_task_tokenizer(const sg_config *config, const sg_text_dataset *train,
                                 const char *file, const char *text, sg_pool *pool,
                                 sg_tokenizer **out) SG_CHECKED;
/* What a task keeps of it: its text, and both parts in numbers; all the caller's, also of a
 * failure.
 */
sg_status sg_text_task_encode(const sg_tokenizer *tokenizer, const sg_text_dataset *train,
                              const sg_text_dataset *val, sg_pool *pool, char **text,
                              sg_encoded_set **train_set, sg_encoded_set **val_set) SG_CHECKED;
/* Its messages in numbers. */
sg_status sg_text_encode_data(const sg_tokenizer *tokenizer, const sg_text_dataset *data,
                              sg_pool *pool, sg_encoded_set **out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
