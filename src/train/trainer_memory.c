/* What of a trainer's memory on a device grows with the batch, and which batch would fit. */
#include <stdio.h>

#include "train/trainer_inside.h"

enum { kReasonBytes = 512 };

static const double kMiB = 1048576.0;

/* Bytes for a batch of `shards` samples, one in each, and those that no batch changes. What kernels
 * ask as scratch is taken to grow with the batch, as most of it does. */
static void divide(const sg_trainer *t, double *each, double *fixed) {
    const sg_table *table = t->table;
    int64_t shards = t->options.shards, n = t->options.batch / shards;
    int64_t moments = t->options.optimizer.kind == SG_OPTIMIZER_ADAMW ? 2 : 1;
    double inputs = 0.0;

    for (int i = 0; i < sg_graph_inputs(t->shape[0].graph); i++)
        inputs += 2.0 * (double)sg_trainer_input_bytes(t, i); /* read, and staged */
    *each =
        ((double)sg_trainer_arena_bytes(t) + (double)sg_trainer_rows_bytes(t) + inputs) / (double)n;
    *fixed = sizeof(float) * (double)(2 * table->n_values + moments * table->n_params +
                                      shards * table->n_grads + table->n_rows +
                                      sg_table_rows_sum(table, t->options.optimizer.rows)) +
             (double)sg_trainer_weights_bytes(t) + (double)sg_program_arena_bytes(t->update) +
             (double)sg_program_weights_bytes(t->update);
}

sg_status sg_trainer_suggest(const sg_trainer *t, size_t free_bytes) {
    int64_t shards = t->options.shards, n = t->options.batch / shards, fits;
    char reason[kReasonBytes];
    double each, fixed;

    /* while kernels are chosen the sizes are not known yet */
    if (!t->shape || !t->shape[t->n_shapes - 1].program || !t->update)
        return sg_fail(SG_ERR_OOM, "%s; a smaller train.batch may fit", sg_last_error());
    snprintf(reason, sizeof reason, "%s", sg_last_error());
    divide(t, &each, &fixed);
    fits = (double)free_bytes > fixed ? (int64_t)(((double)free_bytes - fixed) / each) : 0;
    if (fits >= n) fits = n - 1; /* it did not: others use the device too */
    if (fits < 1)
        return sg_fail(SG_ERR_OOM,
                       "%s; a batch of %lld needs %.0f MiB in all, and not even train.batch=%lld "
                       "would fit: a smaller model.input may, or more train.shards",
                       reason, (long long)t->options.batch, (fixed + each * (double)n) / kMiB,
                       (long long)shards);
    return sg_fail(
        SG_ERR_OOM, "%s; a batch of %lld needs %.0f MiB in all: train.batch=%lld would fit", reason,
        (long long)t->options.batch, (fixed + each * (double)n) / kMiB, (long long)(fits * shards));
}
