/* One training step: shards side by side, their gradients added in a fixed order, one update.
 *
 *   prologue   once: filters into the layouts that convolutions want       (read-only to all)
 *   shard      V times, each by one thread: forward, backward -> a flat gradient slot
 *   tree       slots added pairwise, always in the same order, whatever thread did what
 *   update     normalise, clip, optimizer, running statistics, moving average
 *   rows       of tables of rows: those that occur in the batch, in parts side by side
 *
 * The bits of the result depend on the number of shards, never on the number of threads, nor on how
 * many workers share the shards (sg_trainer_share). */
#ifndef SG_TRAIN_TRAINER_H
#define SG_TRAIN_TRAINER_H

#include "core/threads.h"
#include "dist/reduce.h"
#include "graph/program.h"
#include "graph/state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Append the model for n samples; see spotgrad.h. In SG_TRAIN mode it calls sg_loss, and outputs
 * are left out of the program. */
typedef sg_status (*sg_build_fn)(sg_graph *g, int64_t n, void *context);

/* Put on a device's `queue` what makes `to`, there, the whole batch's first input. `input` is what
 * the step was given for it, and what it points to the caller's own affair. */
typedef sg_status (*sg_fill_fn)(void *context, void *queue, const void *input, void *to);

typedef enum { SG_OPTIMIZER_SGD, SG_OPTIMIZER_ADAMW } sg_optimizer_kind;

typedef struct {
    sg_optimizer_kind kind;
    double momentum;      /* SGD (Nesterov), or AdamW's beta 1 */
    double beta2;         /* AdamW */
    double weight_decay;  /* times the learning rate; norms and biases are exempt */
    double clip_norm;     /* largest global norm of the gradient; 0: no clipping */
    double ema;           /* decay of the moving average, 0: it equals the values */
    double stat_momentum; /* of running statistics: new = (1 - m) old + m batch */
    /* Of tables of rows, to which nothing of the above applies (ops/rows.c). */
    sg_rows_rule rows;
    double rows_lr;    /* times the step's learning rate */
    double rows_start; /* what Adagrad's sums begin at: a brake for first steps */
} sg_optimizer;

typedef struct {
    sg_build_fn build;
    void *context; /* given to build */
    /* Where a step's batch may have one of several shapes (texts of other lengths): the contexts
     * given to build, one a shape, instead of `context`. Inputs have the same names in all, in the
     * same order; parameters are the same. 0: one shape. */
    void *const *shapes;
    int n_shapes;
    const sg_backend *backend; /* NULL: the CPU's */
    int64_t batch;             /* samples of a global batch, divisible by shards */
    int shards;                /* parts of it, computed alone each */
    int threads;               /* 0: one a processor; never more than shards */
    sg_optimizer optimizer;
    uint64_t seed;
    bool blank;      /* leave the state zero: it will be loaded */
    sg_fill_fn fill; /* on a device; NULL: the first input is copied like the others */
    void *fill_context;
} sg_trainer_options;

/* Batch 32, 8 shards, all processors, seed 1; SGD, momentum 0.9, decay 5e-4, clip 10, ema 0.999,
 * statistics 0.1, beta2 0.999; rows: Adagrad, as fast as the rest. */
sg_trainer_options sg_trainer_defaults(void);

typedef struct sg_trainer sg_trainer;

/* What a step said. Sums are divided by the normaliser, as the gradient was. */
typedef struct {
    double loss;
    double
        sum[SG_MAX_SUMS]; /* in the order of the table's sum_name; [0] is the normaliser itself */
    double grad_norm;     /* global, before clipping */
} sg_step_report;

/* Builds and compiles everything, allocates all memory, draws the state. SG_ERR_ARG, SG_ERR_OOM,
 * SG_ERR_UNSUPPORTED. */
sg_status sg_trainer_create(const sg_trainer_options *options, sg_trainer **out) SG_CHECKED;
void sg_trainer_destroy(sg_trainer *trainer);

/* The state: borrowed. Its counters are those of settled steps (below). Where the backend has a
 * device the buffers are a copy of the device's: fetch it before they are read, store it after they
 * were written, neither while a step is under way (both free elsewhere). */
sg_state *sg_trainer_state(sg_trainer *trainer);
sg_status sg_trainer_fetch(sg_trainer *trainer) SG_CHECKED;
sg_status sg_trainer_store(sg_trainer *trainer) SG_CHECKED;
/* The averaged values where the backend's kernels read them (on its device), not while a step is
 * under way. */
const float *sg_trainer_averages(const sg_trainer *trainer);
/* Tables of rows likewise, which have no average; NULL where there are none. */
const float *sg_trainer_rows(const sg_trainer *trainer);
const sg_table *sg_trainer_table(const sg_trainer *trainer);
/* Of a shard of that shape. */
const sg_program *sg_trainer_program(const sg_trainer *trainer, int shape);
sg_pool *sg_trainer_pool(sg_trainer *trainer); /* the host's */
const sg_backend *sg_trainer_backend(const sg_trainer *trainer);
int sg_trainer_threads(const sg_trainer *trainer);
/* Bytes held in arenas, weights, gradients and state. */
size_t sg_trainer_bytes(const sg_trainer *trainer);
/* After SG_ERR_OOM of what asked the trainer's device for `bytes` in all, and has given back what
 * it got: the same with the batch that would leave room for it. */
sg_status sg_trainer_suggest_beside(const sg_trainer *trainer, size_t bytes) SG_CHECKED;

/* One step on a global batch of a shape (0 where there is one). inputs[i] is the i-th input of the
 * model for all `batch` samples, the batch being its first dimension. Advances state->step and
 * state->samples. SG_ERR_DIVERGED when loss or gradient is not finite: the state is then that of
 * before the step. */
sg_status sg_trainer_step(sg_trainer *trainer, int shape, const void *const inputs[], double lr,
                          sg_step_report *report) SG_CHECKED;

/* The same in two parts, launch and settle. A step is under way between them, and on a device the
 * next one may be launched before it is settled, so that the device never waits for the host:
 * sg_trainer_ahead() is how many may be under way at once, 1 or 2. The bits are the same.
 *
 * launch   takes the inputs, which are the caller's again when it returns. On CPUs it computes the
 *          whole step.
 * settle   waits for the step that was launched first, fills its report and counts it:
 *          state->step, state->samples. So what a caller is told of a step comes one launch late.
 *
 * A step that diverged is told when it is settled, as SG_ERR_DIVERGED. The device has left the
 * state as it was before that step, also by a step launched behind it, which is dropped: nothing is
 * under way then, and the state is that of the settled steps. A device that is lost is told by
 * either as SG_ERR_UNAVAILABLE: what was not on the host is gone. SG_ERR_ARG: too many, or none,
 * under way. */
sg_status sg_trainer_launch(sg_trainer *trainer, int shape, const void *const inputs[],
                            double lr) SG_CHECKED;
sg_status sg_trainer_settle(sg_trainer *trainer, sg_step_report *report) SG_CHECKED;
int sg_trainer_ahead(const sg_trainer *trainer);
int sg_trainer_under_way(const sg_trainer *trainer);

/* Have the state that the steps launched so far lead to copied to the host, beside the step that is
 * launched next, which writes the device's state only after the copy. Once the last of these steps
 * is settled the state's buffers hold it, and a fetch finds nothing to do. Free on CPUs. */
sg_status sg_trainer_snapshot(sg_trainer *trainer) SG_CHECKED;

/* From now on, `stop` is asked between the nodes of a step, by all threads: true gives the step up
 * with SG_ERR_INTERRUPTED, the state being that of before it. NULL: never. */
void sg_trainer_stop_when(sg_trainer *trainer, bool (*stop)(void *context), void *context);

/* Workers that share each step, from now on. */
typedef struct {
    sg_shards own; /* what this one computes: the rows of the inputs that it reads */
    /* As sg_reduce_run, bucket by bucket, while the shards still compute others; the last one when
     * they are done. Buckets and their order are the same for all workers. What it says is what the
     * step says, and the state is then that of before. Called by one thread at a time. */
    sg_status (*reduce)(void *context, float *const slot[], const sg_bucket *bucket);
    void (*abandon)(void *context); /* this worker gives the step up: `reduce` is to fail soon */
    void *context;
    int64_t bucket_floats; /* 0: as suits most; the same for all workers */
    bool on_device;        /* the slots given to `reduce` are the device's, where there is one */
} sg_trainer_team;

/* NULL: alone. No step is under way; on a device none is launched behind another from now on.
 * SG_ERR_OOM, SG_ERR_UNAVAILABLE (no thread), SG_ERR_UNSUPPORTED (a device, too many shards). */
sg_status sg_trainer_share(sg_trainer *trainer, const sg_trainer_team *team) SG_CHECKED;
/* Adds what is on the trainer's device, or on the host; for the thread that `reduce` is called in.
 */
sg_adder sg_trainer_adder(sg_trainer *trainer);

/* Seconds of the parts of steps; rows are part of the update, and of what workers exchange that of
 * the tree for which the shards' threads had to wait. */
typedef struct {
    double prologue, shards, tree, update;
} sg_step_times;

/* Add each program step's seconds, over all shards, from now on (NULL: stop), in steps of `shape`
 * alone. The array has sg_program_steps(sg_trainer_program(t, shape)) numbers, one row a thread:
 * threads * steps in all. *times likewise, on the caller's clock. */
void sg_trainer_profile(sg_trainer *trainer, int shape, double *seconds, sg_step_times *times);

#ifdef __cplusplus
}
#endif
#endif
