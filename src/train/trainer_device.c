/* A step on a device. All of it is put on one queue:
 *
 *   batch, step block -> the device          from host memory that changes every step
 *   prologue, V shards, tree, update         the same every step: recorded once, then replayed
 * whole sums, norm -> the host                   and only for these the host waits
 *
 * The first step is run plainly, for kernels and libraries set themselves up when they first run;
 * the second is recorded. A step that diverges leaves the state alone (SG_STEP_DIVERGED). */
#include <math.h>
#include <string.h>

#include "train/trainer_inside.h"

enum { kAnswerNorm = SG_MAX_SUMS, kAnswerDiverged, kAnswerSlots, kPlainSteps = 1 };

/* --- memory ----------------------------------------------------------------------------------- */

static sg_status alloc_floats(const sg_device *device, int64_t count, const char *what,
                              float **out) {
    void *block;

    SG_TRY(device->alloc((size_t)count * sizeof(float), what, &block));
    *out = block;
    return SG_OK;
}

static sg_status alloc_pinned(const sg_device *device, int64_t count, float **out) {
    void *block;

    SG_TRY(device->alloc_host((size_t)count * sizeof(float), "a step's figures", &block));
    *out = block;
    return SG_OK;
}

static sg_status allocate(sg_trainer *t) {
    const sg_device *d = t->device;
    sg_trainer_device *on = &t->on;

    SG_TRY(d->queue_create(&on->queue));
    SG_TRY(alloc_floats(d, t->table->n_values, "parameters", &on->values));
    SG_TRY(alloc_floats(d, t->table->n_values, "averaged parameters", &on->ema));
    for (int i = 0; i < t->state->n_moments; i++)
        SG_TRY(alloc_floats(d, t->table->n_params, "moments", &on->moment[i]));
    SG_TRY(alloc_floats(d, SG_STEP_SLOTS, "the step block", &on->step_block));
    SG_TRY(alloc_floats(d, 1, "the norm", &on->result));
    SG_TRY(alloc_pinned(d, SG_STEP_SLOTS, &on->step_staging));
    SG_TRY(alloc_pinned(d, kAnswerSlots, &on->answer));
    for (int i = 0; i < sg_graph_inputs(t->shard_graph); i++)
        SG_TRY(d->alloc(t->input_stride[i] * (size_t)t->options.shards,
                        sg_graph_input_name(t->shard_graph, i), &on->input[i]));
    return SG_OK;
}

sg_status sg_trainer_device_create(sg_trainer *t) {
    SG_TRY(allocate(t));
    return sg_trainer_store(t);
}

void sg_trainer_device_destroy(sg_trainer *t) {
    const sg_device *d = t->device;
    sg_trainer_device *on = &t->on;

    if (on->queue) (void)d->wait(on->queue); /* a failure has been told before */
    d->recording_destroy(on->recording);
    for (int i = 0; i < SG_MAX_INPUTS; i++) d->release(on->input[i]);
    d->release_host(on->answer);
    d->release_host(on->step_staging);
    d->release(on->result);
    d->release(on->step_block);
    d->release(on->moment[1]);
    d->release(on->moment[0]);
    d->release(on->ema);
    d->release(on->values);
    d->queue_destroy(on->queue);
}

/* --- the state, to and fro -------------------------------------------------------------------- */

typedef struct {
    float *host, *device;
    size_t bytes;
} mirrored;

enum { kMirrored = 4 };

static int mirrors(const sg_trainer *t, mirrored m[kMirrored]) {
    size_t values = (size_t)t->table->n_values * sizeof(float);
    size_t params = (size_t)t->table->n_params * sizeof(float);
    int n = 0;

    m[n++] = (mirrored){t->state->values, t->on.values, values};
    m[n++] = (mirrored){t->state->ema, t->on.ema, values};
    for (int i = 0; i < t->state->n_moments; i++)
        m[n++] = (mirrored){t->state->moment[i], t->on.moment[i], params};
    return n;
}

sg_status sg_trainer_fetch(sg_trainer *t) {
    mirrored m[kMirrored];
    int n;

    if (!t->device || !t->on.newer) return SG_OK;
    n = mirrors(t, m);
    for (int i = 0; i < n; i++)
        SG_TRY(t->device->get(t->on.queue, m[i].host, m[i].device, m[i].bytes));
    SG_TRY(t->device->wait(t->on.queue));
    t->on.newer = false;
    return SG_OK;
}

sg_status sg_trainer_store(sg_trainer *t) {
    mirrored m[kMirrored];
    int n;

    if (!t->device) return SG_OK;
    n = mirrors(t, m);
    for (int i = 0; i < n; i++)
        SG_TRY(t->device->put(t->on.queue, m[i].device, m[i].host, m[i].bytes));
    t->on.newer = false;
    return t->device->wait(t->on.queue);
}

/* --- a step ----------------------------------------------------------------------------------- */

static sg_bindings bind(sg_trainer *t) {
    sg_bindings b = sg_trainer_bind(t);

    b.base[SG_BUF_VALUES] = t->on.values;
    b.base[SG_BUF_STEP] = t->on.step_block;
    b.queue = t->on.queue;
    return b;
}

static sg_status put_shard(sg_trainer *t, int shard) {
    sg_bindings b = bind(t);

    b.base[SG_BUF_ARENA] = t->arena[0];
    b.base[SG_BUF_GRADS] = t->grads[shard];
    b.info.shard = shard;
    for (int i = 0; i < sg_graph_inputs(t->shard_graph); i++)
        b.input[i] = (const char *)t->on.input[i] + t->input_stride[i] * (size_t)shard;
    return sg_program_run(t->shard, &b);
}

static sg_status put_update(sg_trainer *t) {
    sg_bindings b = bind(t);

    b.base[SG_BUF_ARENA] = t->update_arena;
    b.base[SG_BUF_WEIGHTS] = t->update_weights;
    b.base[SG_BUF_GRADS] = t->grads[0];
    b.base[SG_BUF_EMA] = t->on.ema;
    b.base[SG_BUF_MOMENT1] = t->on.moment[0];
    b.base[SG_BUF_MOMENT2] = t->on.moment[1];
    b.output[0] = t->on.result;
    return sg_program_run(t->update, &b);
}

/* What is the same in every step. */
static sg_status put_kernels(sg_trainer *t) {
    sg_bindings b = bind(t);

    SG_TRY(sg_program_prologue(t->shard, &b));
    for (int s = 0; s < t->options.shards; s++) SG_TRY(put_shard(t, s));
    SG_TRY(t->device->add_shards(t->on.queue, t->grads, t->options.shards, t->table->n_grads,
                                 t->on.step_block));
    return put_update(t);
}

/* A recording that failed halfway must be ended, or the queue is of no more use. */
static sg_status record(sg_trainer *t) {
    sg_status st, ended;

    SG_TRY(t->device->record(t->on.queue));
    st = put_kernels(t);
    ended = t->device->record_end(t->on.queue, &t->on.recording);
    return st == SG_OK ? ended : st;
}

static sg_status run_kernels(sg_trainer *t) {
    if (t->on.steps++ < kPlainSteps) return put_kernels(t);
    if (!t->on.recording) SG_TRY(record(t));
    return t->device->replay(t->on.queue, t->on.recording);
}

static sg_status put_inputs(sg_trainer *t, double lr) {
    const sg_device *d = t->device;

    for (int i = 0; i < sg_graph_inputs(t->shard_graph); i++)
        SG_TRY(d->put(t->on.queue, t->on.input[i], t->inputs[i],
                      t->input_stride[i] * (size_t)t->options.shards));
    sg_trainer_fill_step_block(t, lr);
    memcpy(t->on.step_staging, t->step_block, sizeof t->step_block);
    return d->put(t->on.queue, t->on.step_block, t->on.step_staging, sizeof t->step_block);
}

static sg_status get_answer(sg_trainer *t) {
    const sg_device *d = t->device;
    float *answer = t->on.answer;

    SG_TRY(d->get(t->on.queue, answer, t->grads[0] + t->table->n_values, sizeof t->sum));
    SG_TRY(d->get(t->on.queue, answer + kAnswerNorm, t->on.result, sizeof(float)));
    SG_TRY(d->get(t->on.queue, answer + kAnswerDiverged, t->on.step_block + SG_STEP_DIVERGED,
                  sizeof(float)));
    SG_TRY(d->wait(t->on.queue));
    if (answer[kAnswerDiverged] != 0.0f) return sg_trainer_diverged(t);
    memcpy(t->sum, answer, sizeof t->sum);
    t->norm = answer[kAnswerNorm];
    return SG_OK;
}

sg_status sg_trainer_device_step(sg_trainer *t, double lr) {
    if (t->stop && t->stop(t->stop_context))
        return sg_fail(SG_ERR_INTERRUPTED, "given up before step %lld", (long long)t->state->step);
    SG_TRY(put_inputs(t, lr));
    SG_TRY(run_kernels(t));
    SG_TRY(get_answer(t));
    t->on.newer = true;
    return SG_OK;
}
