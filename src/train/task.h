/* What a run trains: a model, its samples, its measure of success. The loop in run.c knows nothing
 * else, so that a detector and a text classifier are trained by the same code. */
#ifndef SG_TRAIN_TASK_H
#define SG_TRAIN_TASK_H

#include "core/config.h"
#include "data/fingerprint.h"
#include "data/part.h"
#include "train/share.h"
#include "train/trainer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A fingerprint is data.train's, and behind it data.val's: on that it depends which model is the
 * best, and when train.patience ends the run. */
enum { SG_TASK_FINGERPRINT_BYTES = 2 * SG_FINGERPRINT_BYTES - 1 };

/* The answer of an evaluation. */
typedef struct {
    double score; /* higher is better, 0..1; best.h5 is chosen by it, as `json` has it */
    char *json;   /* one JSON object, as `evaluate --json` prints it; owned */
    char *table;  /* for people, lines; owned */
} sg_evaluation;

void sg_evaluation_clear(sg_evaluation *evaluation);

/* Asked now and then during long work, in any thread: true ends it with SG_ERR_INTERRUPTED. May be
 * NULL. */
typedef bool (*sg_stop_fn)(void *context);

typedef struct sg_task sg_task;

struct sg_task {
    sg_build_fn build; /* the model, with build_context */
    void *build_context;
    void *const *shapes; /* (n_shapes) of sg_trainer_options; 0: a batch has one shape */
    int n_shapes;
    const char *noun; /* what samples are called, many of them: "pictures" */
    const char *rate; /* and how many go by in a second: "img/s" */
    /* Shards of fewer samples (of which batch norm takes its statistics) are not known to train
     * well; 0: any are. */
    int64_t least_shard;
    int64_t n_train, n_val; /* samples */
    char *const *classes;   /* (n_classes) names, the task's */
    int64_t n_classes;
    int (*class_axis)(const char *parameter); /* of sg_class_outputs; NULL where there are none */
    const char *fingerprint; /* SG_TASK_FINGERPRINT_BYTES of the data, hex, the task's */
    const char *tokenizer;   /* what a checkpoint keeps of it, the task's; NULL: nothing */

    /* Before anything below, where a task has it: with the tokenizer of the checkpoint that it goes
     * on or starts from, or NULL for one of its own. `file` is for messages. */
    sg_status (*prepare)(sg_task *task, const char *file, const char *tokenizer);

    /* For people, after `prepare`: what is trained in a line, and of what it consists in many.
     * *text is the caller's (sg_free). */
    sg_status (*line)(const sg_task *task, char **text);
    sg_status (*summary)(const sg_task *task, char **text);

    const sg_device *device; /* where the trainer works, set before `start`; NULL: on CPUs */

    /* Begin to read samples where `samples` have been consumed, or begin anew, at any time and at
     * little cost. Of each batch the rows of `part` (NULL: all) are wanted: a task need not fill
     * the others. What `next` gave before is no longer valid. */
    sg_status (*start)(sg_task *task, int64_t samples, const sg_part *part);
    /* The next global batch: pointers for sg_trainer_step, valid until the next call, and its shape
     * (0 where there is one). */
    sg_status (*next)(sg_task *task, const void *inputs[SG_MAX_INPUTS], int *shape);
    /* Of the batch that `next` gave last: the position of its first row in the run's order, and of
     * each row the sample that was read into it. Rows that were not wanted may say anything. */
    int64_t (*read)(const sg_task *task, const int64_t **sample);
    /* With a device: sg_trainer_options.fill, the task being its context. May be NULL. */
    sg_fill_fn fill;
    /* Seconds that `next` has waited for data, in all. */
    double (*wait_seconds)(const sg_task *task);
    /* Measure the trainer's averaged values on the validation part, with its backend and pool; no
     * step is under way. Of several workers with the same values each runs the model on its share
     * of the samples, and all end with the answer that one alone would have; after a failure (of
     * `gather` too) all may begin again, by whatever share. */
    sg_status (*evaluate)(sg_task *task, sg_trainer *trainer, const sg_share *share,
                          sg_stop_fn stop, void *stop_context, sg_evaluation *out);
    /* Draw for people what the last `evaluate` that succeeded found, as PNG files into `folder`,
     * which exists; the same for each worker. NULL where a task has nothing to draw. */
    sg_status (*report)(const sg_task *task, const char *folder);
    void (*destroy)(sg_task *task);
};

/* The task that the configuration names; reads the data set. */
sg_status sg_task_create(const sg_config *config, sg_task **out) SG_CHECKED;
void sg_task_destroy(sg_task *task);

#ifdef __cplusplus
}
#endif
#endif
