/* The text classifier as configured: its tasks and classes, its tokenizer, the shapes of its
 * batches; and running it forward on encoded texts, for training's evaluations, `evaluate`,
 * `predict`. */
#ifndef SG_TRAIN_TEXT_MODEL_H
#define SG_TRAIN_TEXT_MODEL_H

#include "checkpoint/model_file.h"
#include "core/config.h"
#include "data/text_dataset.h"
#include "data/text_loader.h"
#include "nn/text_classifier.h"
#include "train/compute.h"
#include "train/task.h"
#include "train/text_runner.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Not to be moved: options and shapes point into it. */
typedef struct {
    int n_tasks;
    sg_classes tasks;    /* their names, owned; "" where there is none */
    sg_classes *classes; /* (n_tasks), owned */
    int64_t task_classes[SG_TEXT_MAX_TASKS], first_class[SG_TEXT_MAX_TASKS];
    int64_t n_classes;       /* of all tasks */
    sg_tokenizer *tokenizer; /* owned */
    sg_text_shapes shapes;
    sg_text_classifier_options option[SG_TEXT_SHAPES]; /* one a shape */
    void *contexts[SG_TEXT_SHAPES];                    /* pointers to them, for the trainer */
    int64_t answer[SG_TEXT_SHAPES];                    /* n_classes each, for a runner */
} sg_text_model;

/* Where the data set is; it borrows from `config`. */
sg_text_place sg_text_place_of(const sg_config *config);
/* The classes that data.classes names, the caller's; none where it says auto. SG_ERR_CONFIG: a bad
 * list, or one for several tasks; SG_ERR_OOM. */
sg_status sg_text_classes_named(const sg_config *config, sg_classes *out) SG_CHECKED;
sg_tokenizer_options sg_text_tokenizer_options(const sg_config *config);
/* The encoder of texts of up to `length` subwords; its classes are 0. */
sg_text_encoder_options sg_text_encoder_of(const sg_config *config, const sg_tokenizer *tokenizer,
                                           int64_t length);

/* Tasks and classes from a data set, or from the names that a model file has; then, once the
 * tokenizer is there (which `set_tokenizer` takes over, also when it fails), the options.
 * SG_ERR_CONFIG: a model that cannot be; SG_ERR_OOM. Zeroed memory may be cleared. */
sg_status sg_text_model_from_data(const sg_text_dataset *data, sg_text_model *out) SG_CHECKED;
sg_status sg_text_model_from_file(const sg_config *config, const sg_model_file *file,
                                  const char *path, sg_text_model *out) SG_CHECKED;
sg_status sg_text_model_set_tokenizer(sg_text_model *model, const sg_config *config,
                                      sg_tokenizer *tokenizer) SG_CHECKED;
void sg_text_model_clear(sg_text_model *model);
/* The names under which a model file keeps the classes: of one task as they are, of several
 * TASK:NAME. *names (n_classes) is the caller's: sg_classes_clear. SG_ERR_CONFIG: more than
 * SG_MAX_CLASSES together; SG_ERR_OOM. */
sg_status sg_text_model_class_names(const sg_text_model *model, sg_classes *names) SG_CHECKED;

/* --- running it ------------------------------------------------------------------------------- */

/* A runner (train/text_runner.h) whose answers are probabilities (n, classes), which add up to 1 in
 * each task. `model` is borrowed. `trainer`: whose table it is; NULL: a fresh one. */
sg_status sg_text_model_runner(const sg_text_model *model, const sg_backend *backend,
                               const sg_trainer *trainer, int64_t batch, int workers,
                               sg_text_runner **out) SG_CHECKED;

/* The class of greatest probability in a task's, the first of equals: 0 .. its classes - 1. */
int32_t sg_text_best(const sg_text_model *model, int task, const float *probabilities);

/* Measure answers (n, classes) to a data set whose tasks are the model's. */
sg_status sg_text_measure_answers(const sg_text_model *model, const sg_text_dataset *data,
                                  const float *probabilities, sg_evaluation *out) SG_CHECKED;
/* Confusion matrices in `folder`, which exists: confusion.png, or of several tasks each's
 * confusion-TASK.png (`/` in its name being `-`). SG_ERR_IO, SG_ERR_OOM. */
sg_status sg_text_draw_answers(const sg_text_model *model, const sg_text_dataset *data,
                               const float *probabilities, const char *folder) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
