/* Steps on a device: its memory, what goes to and fro, the order of a step. Three queues, so that
 * copies and kernels go on side by side:
 *
 *   upload     batch k+1 -> staged          while step k computes: copies, and a task's `fill`
 *   steps      staged -> inputs; prologue, V shards, tree | update; sums, norm -> the host
 *   download   state after step k -> the host, while the shards of step k+1 compute
 *
 * Kernels are the same every step, so they are recorded once and replayed, in two recordings: at
 * the bar the queue waits for a snapshot that is still being copied, for the update writes what is
 * copied; and a recording cannot wait for an event that is marked anew each time. Where workers
 * share steps (trainer_device_exchange.c) the shards are recorded in parts. The first step of each
 * shape of the batch is run plainly, for kernels and libraries set themselves up when they
 * first run.
 *
 * Two steps may be under way, so what a step's host side needs exists twice (slot). The host waits
 * for nothing but the answer of a step when it is settled, by then the next is on the queue.
 * A step that diverges leaves the state alone, by a flag on the device (SG_STEP_DIVERGED) that
 * stays set until the host has seen it: so does a step behind it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "train/trainer_inside.h"

enum { kAnswerNorm = SG_MAX_SUMS, kAnswerDiverged, kAnswerSlots };

/* --- memory ----------------------------------------------------------------------------------- */

/* Of the step in work. */
static size_t batch_bytes(const sg_trainer *t, int input) {
    return t->shape[t->at_shape].input_stride[input] * (size_t)t->options.shards;
}

static int count_inputs(const sg_trainer *t) { return sg_graph_inputs(t->shape[0].graph); }

static const char *input_name(const sg_trainer *t, int input) {
    return sg_graph_input_name(t->shape[0].graph, input);
}

static sg_status alloc_floats(const sg_device *device, int64_t count, const char *what,
                              float **out) {
    void *block;

    SG_TRY(device->alloc((size_t)count * sizeof(float), what, &block));
    *out = block;
    return SG_OK;
}

sg_status sg_trainer_device_alloc_host(const sg_trainer *t, int64_t floats, float **out) {
    void *block;

    SG_TRY(t->device->alloc_host((size_t)floats * sizeof(float), "what a step says", &block));
    *out = block;
    return SG_OK;
}

static sg_status allocate_slot(sg_trainer *t, sg_trainer_slot *s) {
    const sg_device *d = t->device;

    SG_TRY(d->event_create(&s->done));
    SG_TRY(sg_trainer_device_alloc_host(t, SG_STEP_SLOTS, &s->step_block));
    SG_TRY(sg_trainer_device_alloc_host(t, kAnswerSlots, &s->answer));
    for (int i = t->options.fill ? 1 : 0; i < count_inputs(t); i++)
        SG_TRY(d->alloc_host(sg_trainer_input_bytes(t, i), input_name(t, i), &s->input[i]));
    return SG_OK;
}

static sg_status allocate(sg_trainer *t) {
    const sg_device *d = t->device;
    sg_trainer_device *on = &t->on;

    SG_TRY(d->queue_create(&on->queue));
    SG_TRY(d->queue_create(&on->upload));
    SG_TRY(d->queue_create(&on->download));
    SG_TRY(d->event_create(&on->uploaded));
    SG_TRY(d->event_create(&on->taken));
    SG_TRY(d->event_create(&on->saved));
    SG_TRY(alloc_floats(d, t->table->n_values, "parameters", &on->values));
    SG_TRY(alloc_floats(d, t->table->n_values, "averaged parameters", &on->ema));
    for (int i = 0; i < t->state->n_moments; i++)
        SG_TRY(alloc_floats(d, t->table->n_params, "moments", &on->moment[i]));
    if (t->table->n_rows > 0) SG_TRY(alloc_floats(d, t->table->n_rows, "tables", &on->rows));
    if (t->state->rows_sum)
        SG_TRY(alloc_floats(d, sg_table_rows_sum(t->table, t->state->rule), "sums of tables",
                            &on->rows_sum));
    SG_TRY(alloc_floats(d, SG_STEP_SLOTS, "the step block", &on->step_block));
    SG_TRY(alloc_floats(d, 1, "the norm", &on->result));
    for (int i = 0; i < count_inputs(t); i++) {
        size_t bytes = sg_trainer_input_bytes(t, i);

        SG_TRY(d->alloc(bytes, input_name(t, i), &on->input[i]));
        SG_TRY(d->alloc(bytes, input_name(t, i), &on->staged[i]));
    }
    for (int i = 0; i < SG_TRAINER_SLOTS; i++) SG_TRY(allocate_slot(t, &on->slot[i]));
    return SG_OK;
}

sg_status sg_trainer_device_create(sg_trainer *t) {
    SG_TRY(allocate(t));
    return sg_trainer_store(t);
}

static void release_slot(const sg_device *d, sg_trainer_slot *s) {
    for (int i = 0; i < SG_MAX_INPUTS; i++) d->release_host(s->input[i]);
    d->release_host(s->answer);
    d->release_host(s->step_block);
    d->event_destroy(s->done);
}

void sg_trainer_device_destroy(sg_trainer *t) {
    const sg_device *d = t->device;
    sg_trainer_device *on = &t->on;

    /* each waits for what is on it */
    d->queue_destroy(on->upload);
    d->queue_destroy(on->download);
    d->queue_destroy(on->queue);
    for (int i = 0; t->shape && i < t->n_shapes; i++) {
        d->recording_destroy(t->shape[i].recording);
        d->recording_destroy(t->shape[i].rows_recording);
    }
    d->recording_destroy(on->update_recording);
    for (int i = 0; i < SG_TRAINER_SLOTS; i++) release_slot(d, &on->slot[i]);
    sg_trainer_device_exchange_destroy(t);
    for (int i = 0; i < SG_MAX_INPUTS; i++) {
        d->release(on->staged[i]);
        d->release(on->input[i]);
    }
    d->release(on->result);
    d->release(on->step_block);
    d->release(on->rows_sum);
    d->release(on->rows);
    d->release(on->moment[1]);
    d->release(on->moment[0]);
    d->release(on->ema);
    d->release(on->values);
    d->event_destroy(on->saved);
    d->event_destroy(on->taken);
    d->event_destroy(on->uploaded);
}

/* --- the state, to and fro -------------------------------------------------------------------- */

typedef struct {
    float *host, *device;
    size_t bytes;
} mirrored;

enum { kMirrored = 6 };

static int mirrors(const sg_trainer *t, mirrored m[kMirrored]) {
    size_t values = (size_t)t->table->n_values * sizeof(float);
    size_t params = (size_t)t->table->n_params * sizeof(float);
    size_t rows = (size_t)t->table->n_rows * sizeof(float);
    size_t sums = (size_t)sg_table_rows_sum(t->table, t->state->rule) * sizeof(float);
    int n = 0;

    m[n++] = (mirrored){t->state->values, t->on.values, values};
    m[n++] = (mirrored){t->state->ema, t->on.ema, values};
    for (int i = 0; i < t->state->n_moments; i++)
        m[n++] = (mirrored){t->state->moment[i], t->on.moment[i], params};
    if (rows > 0) m[n++] = (mirrored){t->state->rows, t->on.rows, rows};
    if (sums > 0) m[n++] = (mirrored){t->state->rows_sum, t->on.rows_sum, sums};
    return n;
}

static sg_status get_state(sg_trainer *t, void *queue) {
    mirrored m[kMirrored];
    int n = mirrors(t, m);

    t->on.host_step = -1;
    for (int i = 0; i < n; i++) SG_TRY(t->device->get(queue, m[i].host, m[i].device, m[i].bytes));
    return SG_OK;
}

static sg_status check_idle(const sg_trainer *t) {
    if (t->under_way == 0) return SG_OK;
    return sg_fail(SG_ERR_ARG, "trainer: the state moves while a step is under way");
}

sg_status sg_trainer_fetch(sg_trainer *t) {
    if (!t->device || t->on.host_step == t->state->step) return SG_OK;
    SG_TRY(check_idle(t));
    SG_TRY(get_state(t, t->on.queue));
    SG_TRY(t->device->wait(t->on.queue));
    t->on.host_step = t->state->step;
    return SG_OK;
}

sg_status sg_trainer_store(sg_trainer *t) {
    mirrored m[kMirrored];
    int n;

    if (!t->device) return SG_OK;
    SG_TRY(check_idle(t));
    n = mirrors(t, m);
    for (int i = 0; i < n; i++)
        SG_TRY(t->device->put(t->on.queue, m[i].device, m[i].host, m[i].bytes));
    SG_TRY(t->device->wait(t->on.queue));
    t->on.host_step = t->state->step;
    return SG_OK;
}

/* The slot launched last. */
static sg_trainer_slot *newest(sg_trainer *t) {
    return &t->on.slot[(t->on.next + SG_TRAINER_SLOTS - 1) % SG_TRAINER_SLOTS];
}

/* The slot launched first of those that are under way. */
static sg_trainer_slot *oldest(sg_trainer *t) {
    return &t->on.slot[(t->on.next + SG_TRAINER_SLOTS - t->under_way) % SG_TRAINER_SLOTS];
}

sg_status sg_trainer_snapshot(sg_trainer *t) {
    const sg_device *d = t->device;
    int64_t step = t->state->step + t->under_way;

    if (!d || t->on.host_step == step) return SG_OK;
    if (t->under_way == 0) return sg_trainer_fetch(t);
    SG_TRY(d->event_follow(t->on.download, newest(t)->done));
    SG_TRY(get_state(t, t->on.download));
    SG_TRY(d->event_mark(t->on.saved, t->on.download));
    t->on.saving = true;
    t->on.host_step = step;
    return SG_OK;
}

/* --- a step ----------------------------------------------------------------------------------- */

/* The slot's pinned memory is free, as its last step is settled; that on the device when the step
 * before has taken its batch. */
static sg_status upload_inputs(sg_trainer *t, sg_trainer_slot *s) {
    const sg_device *d = t->device;

    SG_TRY(d->event_follow(t->on.upload, t->on.taken));
    if (t->options.fill)
        SG_TRY(
            t->options.fill(t->options.fill_context, t->on.upload, t->inputs[0], t->on.staged[0]));
    for (int i = t->options.fill ? 1 : 0; i < count_inputs(t); i++) {
        memcpy(s->input[i], t->inputs[i], batch_bytes(t, i));
        SG_TRY(d->put(t->on.upload, t->on.staged[i], s->input[i], batch_bytes(t, i)));
    }
    return d->event_mark(t->on.uploaded, t->on.upload);
}

static sg_status take_inputs(sg_trainer *t) {
    const sg_device *d = t->device;

    SG_TRY(d->event_follow(t->on.queue, t->on.uploaded));
    for (int i = 0; i < count_inputs(t); i++)
        SG_TRY(d->copy(t->on.queue, t->on.input[i], t->on.staged[i], batch_bytes(t, i)));
    return d->event_mark(t->on.taken, t->on.queue);
}

/* All but the flag, which only the host's settling resets. */
static sg_status put_step_block(sg_trainer *t, sg_trainer_slot *s, double lr) {
    const sg_device *d = t->device;
    int after = SG_STEP_DIVERGED + 1;

    sg_trainer_fill_step_block(t, lr);
    memcpy(s->step_block, t->step_block, sizeof t->step_block);
    SG_TRY(d->put(t->on.queue, t->on.step_block, s->step_block, SG_STEP_DIVERGED * sizeof(float)));
    return d->put(t->on.queue, t->on.step_block + after, s->step_block + after,
                  (size_t)(SG_STEP_SLOTS - after) * sizeof(float));
}

static sg_status get_answer(sg_trainer *t, sg_trainer_slot *s) {
    const sg_device *d = t->device;

    SG_TRY(d->get(t->on.queue, s->answer, t->grads[0] + t->table->n_values, sizeof t->sum));
    SG_TRY(d->get(t->on.queue, s->answer + kAnswerNorm, t->on.result, sizeof(float)));
    SG_TRY(d->get(t->on.queue, s->answer + kAnswerDiverged, t->on.step_block + SG_STEP_DIVERGED,
                  sizeof(float)));
    return d->event_mark(s->done, t->on.queue);
}

/* The flag, once no step is to see it any more. */
static sg_status clear_flag(sg_trainer *t, sg_trainer_slot *s) {
    s->answer[kAnswerDiverged] = 0.0f;
    SG_TRY(t->device->put(t->on.queue, t->on.step_block + SG_STEP_DIVERGED,
                          s->answer + kAnswerDiverged, sizeof(float)));
    return t->device->wait(t->on.queue);
}

/* The gradients of all shards, by whomever they are computed, in the first slot. */
static sg_status put_gradients(sg_trainer *t, sg_trainer_slot *s) {
    sg_status st;

    if (!t->team.reduce) return sg_trainer_device_put_shards(t);
    SG_TRY(sg_trainer_device_put_parts(t));
    st = sg_trainer_device_exchange(t);
    if (st != SG_OK) SG_TRY(clear_flag(t, s)); /* as if the step had not been begun */
    return st;
}

sg_status sg_trainer_device_launch(sg_trainer *t, double lr) {
    sg_trainer_slot *s = &t->on.slot[t->on.next];

    if (t->stop && t->stop(t->stop_context))
        return sg_fail(SG_ERR_INTERRUPTED, "given up before step %lld",
                       (long long)(t->state->step + t->under_way));
    SG_TRY(upload_inputs(t, s));
    SG_TRY(take_inputs(t));
    SG_TRY(put_step_block(t, s, lr));
    SG_TRY(put_gradients(t, s));
    if (t->on.saving) SG_TRY(t->device->event_follow(t->on.queue, t->on.saved));
    t->on.saving = false;
    SG_TRY(sg_trainer_device_put_update(t));
    SG_TRY(sg_trainer_device_put_rows(t));
    SG_TRY(get_answer(t, s));
    t->shape[t->at_shape].launched++;
    t->on.next = (t->on.next + 1) % SG_TRAINER_SLOTS;
    return SG_OK;
}

/* The flag, for steps to come: those under way have seen it and changed nothing. */
static sg_status forget_divergence(sg_trainer *t) {
    sg_trainer_slot *s = newest(t);

    SG_TRY(t->device->wait(t->on.download));
    SG_TRY(t->device->wait(t->on.queue));
    t->under_way = 0;
    t->on.saving = false;
    t->on.host_step = -1;
    return clear_flag(t, s);
}

sg_status sg_trainer_device_settle(sg_trainer *t) {
    const sg_trainer_slot *s = oldest(t);

    SG_TRY(t->device->event_wait(s->done));
    if (s->answer[kAnswerDiverged] != 0.0f) {
        SG_TRY(forget_divergence(t));
        return sg_trainer_diverged(t);
    }
    if (t->on.host_step == t->state->step + 1) SG_TRY(t->device->event_wait(t->on.saved));
    memcpy(t->sum, s->answer, sizeof t->sum);
    t->norm = s->answer[kAnswerNorm];
    return SG_OK;
}
