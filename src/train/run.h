/* A training run: a folder, a loop, and what can be said about it.
 *
 *   RUN/config.ini      the resolved configuration
 *   RUN/checkpoints/    the checkpoints that are kept: the same command goes on from the newest one
 *   RUN/last.h5         another name of the newest
 *   RUN/best.h5         another name of the one with the best evaluation so far
 *   RUN/metrics.jsonl   a line an evaluation
 *   RUN/plots/          pictures for people: the loss, the metrics, what the task draws of its best
 *   RUN/lock            held while a process trains here
 *
 * An evaluation is due at the first step past the border of an epoch: a function of the samples
 * consumed, so a run that stopped before or during it makes it up when it goes on. */
#ifndef SG_TRAIN_RUN_H
#define SG_TRAIN_RUN_H

#include "core/config.h"
#include "train/compute.h"
#include "train/task.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const sg_config *config;
    const sg_task *task;
    const sg_compute *compute;
    const sg_trainer *trainer;
    int64_t total_steps;      /* at which the run is done */
    int64_t steps, samples;   /* finished before: > 0 when it goes on */
    const char *resumed_from; /* file, or which worker; NULL */
    int rank, workers;        /* of a group, at the start: rank 0 writes */
} sg_run_start;

typedef struct {
    int64_t step, total_steps, epoch, epochs;
    int64_t samples; /* of this process */
    double lr, wait_seconds;
    sg_step_report report;
} sg_run_step;

/* Told to whoever shows the run. Every function may be NULL. */
typedef struct {
    void *context;
    void (*started)(void *context, const sg_run_start *start);
    void (*stepped)(void *context, const sg_run_step *step);
    void (*evaluated)(void *context, const sg_run_step *step, const sg_evaluation *evaluation,
                      bool best);
    sg_stop_fn stop;  /* asked in any thread: true ends the run after this step, or within it */
    sg_stop_fn hurry; /* asked after each step: true saves this step, and every one from then on */
} sg_run_observer;

typedef struct {
    int64_t steps, epochs; /* finished; complete */
    char sha256[65];       /* of the final state */
    bool stopped_early;    /* by train.steps or train.patience */
    bool left;             /* interrupted: the others of the group have this state, not the disk */
} sg_run_result;

/* Train as the configuration says, to the end. `fresh` starts over in a folder that holds a run.
 * SG_ERR_INTERRUPTED after observer->stop said so, or the cloud that owns the machine
 * (spot/notice.h): the newest checkpoint then holds result->steps, -1 where there is none.
 * SG_ERR_UNAVAILABLE when another process trains in the folder; SG_ERR_CONFIG when the folder's run
 * has another configuration in a key that changes the result. */
sg_status sg_run_train(const sg_config *config, bool fresh, const sg_run_observer *observer,
                       sg_run_result *result) SG_CHECKED;
/* Forget what was trained before, in the folder and in checkpoint.store, so that not even a run
 * that dies at once can go on from it. Only while RUN/lock is held. SG_ERR_CONFIG: the run of
 * distributed.store is over, which stands there for good; SG_ERR_IO, SG_ERR_UNAVAILABLE (a store).
 */
sg_status sg_run_forget(const sg_config *config) SG_CHECKED;

/* Train `steps` steps from a fresh state on run.device, nothing written but a drawn data set, and
 * describe where the time went: a line, and a table for people (report/profile.h); the caller's
 * (sg_free). */
sg_status sg_run_profile(const sg_config *config, int64_t steps, char **text) SG_CHECKED;

/* What the configuration trains: the model (the task's summary), samples, steps; nothing is written
 * but a drawn data set. Lines for people; the caller's (sg_free). */
sg_status sg_run_describe(const sg_config *config, char **text) SG_CHECKED;

/* The model file that RUN_OR_FILE means: itself, or RUN/best.h5, or else RUN/last.h5. The caller's
 * (sg_free). SG_ERR_MISSING. */
sg_status sg_run_find_model(const char *run_or_file, char **path) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
