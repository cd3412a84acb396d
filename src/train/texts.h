/* What the tasks on texts share: parts of a data set, a tokenizer, batches of a loader. */
#ifndef SG_TRAIN_TEXTS_H
#define SG_TRAIN_TEXTS_H

#include "core/config.h"
#include "data/text_dataset.h"
#include "data/text_loader.h"
#include "train/task.h"
#include "train/text_runner.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Begins a task on texts; zeroed at first. */
typedef struct {
    sg_task task; /* first: a task is its texts */
    sg_config config;
    sg_text_dataset *train, *val; /* the task's own function reads them */
    char *tokenizer;              /* as text */
    sg_encoded_set *train_set, *val_set;
    sg_text_loader *loader;     /* NULL before start */
    const sg_text_batch *batch; /* the last one */
    double waited;
    sg_text_runner *runner; /* made at the first evaluation, by the task */
    char fingerprint[SG_TASK_FINGERPRINT_BYTES];
} sg_texts;

/* With both parts read: whatever of the task does not depend on its model. Errors of
 * sg_text_dataset_fingerprint. */
sg_status sg_texts_init(sg_texts *texts) SG_CHECKED;
void sg_texts_clear(sg_texts *texts);

/* For sg_task.prepare: `use` gives the model its tokenizer, which it takes over, also on failure. A
 * tokenizer with other options than the configuration's is SG_ERR_CONFIG. */
sg_status sg_texts_prepare(sg_texts *texts, const char *file, const char *tokenizer,
                           sg_status (*use)(sg_texts *texts, sg_tokenizer *tokenizer)) SG_CHECKED;

/* For sg_task.start. Batches are whole, whatever the part: a table of rows is updated from all
 * n-grams of a batch. */
sg_status sg_texts_start(sg_texts *texts, const sg_text_loader_options *options) SG_CHECKED;

/* The next batch, for sg_task.next. */
const sg_text_batch *sg_texts_next(sg_texts *texts, int *shape);

/* Read SPLIT of the data set that the configuration names, without a look at labels, which need not
 * be there. */
sg_status sg_texts_unlabelled(const sg_config *config, const char *split,
                              sg_text_dataset **out) SG_CHECKED;
/* Its messages in numbers. */
sg_status sg_texts_encode(const sg_tokenizer *tokenizer, const sg_text_dataset *data, sg_pool *pool,
                          sg_encoded_set **out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
