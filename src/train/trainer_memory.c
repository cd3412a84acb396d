/* What of a trainer's memory on a device grows with the batch, and which batch would fit. */
#include <math.h>
#include <stdio.h>

#include "train/trainer_inside.h"

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

sg_trainer_need sg_trainer_measure(const sg_trainer *t) {
    sg_trainer_need need = {.device = t->device,
                            .shards = t->options.shards,
                            .n = t->options.batch / t->options.shards};

    snprintf(need.reason, sizeof need.reason, "%s", sg_last_error());
    /* while kernels are chosen the sizes are not known yet */
    need.known = t->shape && t->shape[t->n_shapes - 1].program && t->update;
    if (need.known) divide(t, &need.each, &need.fixed);
    return need;
}

sg_status sg_trainer_suggest(const sg_trainer_need *need) {
    double whole = need->fixed + need->each * (double)need->n;
    int64_t shards = need->shards, batch = shards * need->n, fits;
    size_t free_bytes, total;

    if (!need->known) return sg_fail(SG_ERR_OOM, "%s; a smaller train.batch may fit", need->reason);
    SG_TRY(need->device->memory(&free_bytes, &total));
    fits = (double)free_bytes > need->fixed
               ? (int64_t)(((double)free_bytes - need->fixed) / need->each)
               : 0;
    if (fits >= need->n) fits = need->n - 1; /* it did not: others use the device too */
    if (fits < 1)
        return sg_fail(SG_ERR_OOM,
                       "%s; a batch of %lld needs %.0f MiB in all, and not even train.batch=%lld "
                       "would fit: a smaller model.input may, or more train.shards",
                       need->reason, (long long)batch, whole / kMiB, (long long)shards);
    return sg_fail(SG_ERR_OOM,
                   "%s; a batch of %lld needs %.0f MiB in all: train.batch=%lld would fit",
                   need->reason, (long long)batch, whole / kMiB, (long long)(fits * shards));
}

sg_status sg_trainer_suggest_beside(const sg_trainer *t, size_t bytes) {
    sg_trainer_need need = sg_trainer_measure(t);
    size_t free_bytes, total;
    int64_t fits;

    SG_TRY(need.device->memory(&free_bytes, &total));
    fits = need.n - 1; /* it did not fit: others use the device too */
    if (bytes > free_bytes) fits = need.n - (int64_t)ceil((double)(bytes - free_bytes) / need.each);
    if (fits < 1)
        return sg_fail(SG_ERR_OOM,
                       "%s; it needs %.0f MiB in all, for which not even train.batch=%lld leaves "
                       "room: a smaller model.input may, or more train.shards",
                       need.reason, (double)bytes / kMiB, (long long)need.shards);
    return sg_fail(SG_ERR_OOM, "%s; it needs %.0f MiB in all: train.batch=%lld leaves room for it",
                   need.reason, (double)bytes / kMiB, (long long)(fits * need.shards));
}
