/* Steps on a device. Three queues, so that copies and kernels go on side by side:
 *
 *   upload     batch k+1 -> staged          while step k computes: copies, and a task's `fill`
 *   steps      staged -> inputs; prologue, V shards, tree | update; sums, norm -> the host
 *   download   state after step k -> the host, while the shards of step k+1 compute
 *
 * Kernels are the same every step, so they are recorded once and replayed, in two recordings: at
 * the bar the queue waits for a snapshot that is still being copied, for the update writes what is
 * copied; and a recording cannot wait for an event that is marked anew each time. The first step of
 * each shape of the batch is run plainly, for kernels and libraries set themselves up when they
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

enum { kAnswerNorm = SG_MAX_SUMS, kAnswerDiverged, kAnswerSlots, kPlainSteps = 1 };

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

static sg_status alloc_pinned(const sg_device *device, int64_t count, float **out) {
    void *block;

    SG_TRY(device->alloc_host((size_t)count * sizeof(float), "a step's figures", &block));
    *out = block;
    return SG_OK;
}

static sg_status allocate_slot(sg_trainer *t, sg_trainer_slot *s) {
    const sg_device *d = t->device;

    SG_TRY(d->event_create(&s->done));
    SG_TRY(alloc_pinned(d, SG_STEP_SLOTS, &s->step_block));
    SG_TRY(alloc_pinned(d, kAnswerSlots, &s->answer));
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
    for (int s = 0; on->host_grads && s < t->options.shards; s++)
        d->release_host(on->host_grads[s]);
    sg_free(on->host_grads);
    for (int i = 0; i < SG_MAX_ROWS; i++) d->release_host(on->host_source[i]);
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

/* --- a step's kernels ------------------------------------------------------------------------- */

static sg_bindings bind(sg_trainer *t) {
    sg_bindings b = sg_trainer_bind(t);

    b.base[SG_BUF_VALUES] = t->on.values;
    b.base[SG_BUF_ROWS] = t->on.rows;
    b.base[SG_BUF_STEP] = t->on.step_block;
    b.queue = t->on.queue;
    if (sg_trainer_profiled(t)) b.seconds = t->seconds;
    return b;
}

static sg_status put_shard(sg_trainer *t, int shard) {
    const sg_trainer_shape *s = &t->shape[t->at_shape];
    sg_bindings b = bind(t);

    b.base[SG_BUF_ARENA] = t->arena[0];
    b.base[SG_BUF_GRADS] = t->grads[shard];
    b.info.shard = shard;
    sg_trainer_bind_sources(t, shard, &b);
    for (int i = 0; i < sg_graph_inputs(s->graph); i++)
        b.input[i] = (const char *)t->on.input[i] + s->input_stride[i] * (size_t)shard;
    return sg_program_run(s->program, &b);
}

/* The sum of one shard is that shard, and looks for what is not finite. */
static sg_status put_source_check(sg_trainer *t) {
    for (int i = 0; i < t->table->n_row_tables; i++)
        SG_TRY(t->device->add_shards(t->on.queue, &t->source[i], 1, sg_trainer_source_floats(t, i),
                                     t->on.step_block));
    return SG_OK;
}

/* Of the tree the nodes that this worker's shards make. */
static sg_status put_nodes(sg_trainer *t) {
    sg_tree_node node[SG_TREE_NODES];
    int n = sg_tree_nodes(t->options.shards, t->team.own, node);

    for (int i = 0; i < n; i++) {
        int left = t->options.shards - node[i].shard;

        SG_TRY(t->device->add_shards(t->on.queue, t->grads + node[i].shard,
                                     node[i].width < left ? node[i].width : left, t->table->n_grads,
                                     t->on.step_block));
    }
    return SG_OK;
}

static sg_status put_shards(sg_trainer *t) {
    sg_shards own = t->team.own;
    sg_bindings b = bind(t);

    SG_TRY(sg_program_prologue(t->shape[t->at_shape].program, &b));
    for (int s = own.first; s < own.first + own.count; s++) SG_TRY(put_shard(t, s));
    if (t->team.reduce) return put_nodes(t);
    SG_TRY(put_source_check(t));
    return t->device->add_shards(t->on.queue, t->grads, t->options.shards, t->table->n_grads,
                                 t->on.step_block);
}

static sg_status put_update(sg_trainer *t) {
    sg_bindings b = bind(t);

    b.seconds = NULL; /* they are of the shards' program */
    b.base[SG_BUF_ARENA] = t->update_arena;
    b.base[SG_BUF_WEIGHTS] = t->update_weights;
    b.base[SG_BUF_GRADS] = t->grads[0];
    b.base[SG_BUF_EMA] = t->on.ema;
    b.base[SG_BUF_MOMENT1] = t->on.moment[0];
    b.base[SG_BUF_MOMENT2] = t->on.moment[1];
    b.output[0] = t->on.result;
    return sg_program_run(t->update, &b);
}

static sg_status put_rows(sg_trainer *t) {
    const sg_trainer_shape *s = &t->shape[t->at_shape];
    sg_bindings b = sg_trainer_bind_rows(t);

    b.queue = t->on.queue;
    b.base[SG_BUF_ARENA] = t->rows_arena[0];
    b.base[SG_BUF_ROWS] = t->on.rows;
    b.base[SG_BUF_ROWS_SUM] = t->on.rows_sum;
    b.base[SG_BUF_STEP] = t->on.step_block;
    for (int i = 0; i < sg_graph_inputs(s->rows_graph); i++)
        b.input[i] = t->on.input[s->rows_input[i]];
    return sg_program_run(s->rows, &b);
}

/* A recording that failed halfway must be ended, or the queue is of no more use. */
static sg_status record(sg_trainer *t, sg_status (*put)(sg_trainer *t), void **recording) {
    sg_status st, ended;

    SG_TRY(t->device->record(t->on.queue));
    st = put(t);
    ended = t->device->record_end(t->on.queue, recording);
    return st == SG_OK ? ended : st;
}

/* SG_CUDA_GRAPH=0 in the environment: no recordings, to compare bits and times. */
static bool records(void) {
    const char *told = getenv("SG_CUDA_GRAPH");

    return !told || strcmp(told, "0") != 0;
}

/* What `put` puts on the queue: plainly, or as *recording says, which is made where it is NULL. */
static sg_status run_part(sg_trainer *t, sg_status (*put)(sg_trainer *t), void **recording) {
    bool plain = t->shape[t->at_shape].launched < kPlainSteps;

    if (plain || sg_trainer_profiled(t) || !records()) return put(t);
    if (!*recording) SG_TRY(record(t, put, recording));
    return t->device->replay(t->on.queue, *recording);
}

/* --- what workers exchange -------------------------------------------------------------------- */

static sg_status allocate_exchange(sg_trainer *t) {
    t->on.host_grads = sg_calloc((size_t)t->options.shards, sizeof *t->on.host_grads);
    if (!t->on.host_grads) return sg_fail(SG_ERR_OOM, "trainer: no memory");
    for (int s = 0; s < t->options.shards; s++)
        SG_TRY(alloc_pinned(t->device, t->table->n_grads, &t->on.host_grads[s]));
    for (int i = 0; i < t->table->n_row_tables; i++)
        SG_TRY(alloc_pinned(t->device, sg_trainer_source_floats(t, i), &t->on.host_source[i]));
    return SG_OK;
}

sg_status sg_trainer_device_share(sg_trainer *t) {
    SG_TRY(check_idle(t));
    for (int i = 0; i < t->n_shapes; i++) { /* of other shards */
        t->device->recording_destroy(t->shape[i].recording);
        t->shape[i].recording = NULL;
    }
    return t->on.host_grads ? SG_OK : allocate_exchange(t);
}

static sg_status get_nodes(sg_trainer *t) {
    sg_tree_node node[SG_TREE_NODES];
    int n = sg_tree_nodes(t->options.shards, t->team.own, node);
    size_t bytes = (size_t)t->table->n_grads * sizeof(float);

    for (int i = 0; i < n; i++) {
        int s = node[i].shard;

        SG_TRY(t->device->get(t->on.queue, t->on.host_grads[s], t->grads[s], bytes));
    }
    for (int i = 0; i < t->table->n_row_tables; i++) {
        int64_t a_shard = sg_trainer_source_floats(t, i) / t->options.shards;
        int64_t first = a_shard * t->team.own.first;

        SG_TRY(t->device->get(t->on.queue, t->on.host_source[i] + first, t->source[i] + first,
                              (size_t)(a_shard * t->team.own.count) * sizeof(float)));
    }
    return t->device->wait(t->on.queue);
}

/* The whole sum, of which is seen here, as by every worker, whether it is finite. */
static sg_status put_whole(sg_trainer *t) {
    for (int i = 0; i < t->table->n_row_tables; i++)
        SG_TRY(t->device->put(t->on.queue, t->source[i], t->on.host_source[i],
                              (size_t)sg_trainer_source_floats(t, i) * sizeof(float)));
    SG_TRY(t->device->put(t->on.queue, t->grads[0], t->on.host_grads[0],
                          (size_t)t->table->n_grads * sizeof(float)));
    SG_TRY(put_source_check(t));
    return t->device->add_shards(t->on.queue, t->grads, 1, t->table->n_grads, t->on.step_block);
}

/* The flag, once no step is to see it any more. */
static sg_status clear_flag(sg_trainer *t, sg_trainer_slot *s) {
    s->answer[kAnswerDiverged] = 0.0f;
    SG_TRY(t->device->put(t->on.queue, t->on.step_block + SG_STEP_DIVERGED,
                          s->answer + kAnswerDiverged, sizeof(float)));
    return t->device->wait(t->on.queue);
}

static sg_status reduce(sg_trainer *t, sg_trainer_slot *s) {
    sg_gather gather[SG_MAX_ROWS];
    int n = sg_trainer_rows_gather(t, t->on.host_source, gather);
    sg_status st;

    SG_TRY(get_nodes(t));
    st = t->team.reduce(t->team.context, t->on.host_grads, gather, n);
    if (st == SG_OK) return put_whole(t);
    SG_TRY(clear_flag(t, s)); /* as if the step had not been begun */
    return st;
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

sg_status sg_trainer_device_launch(sg_trainer *t, double lr) {
    sg_trainer_slot *s = &t->on.slot[t->on.next];
    sg_trainer_shape *shape = &t->shape[t->at_shape];

    if (t->stop && t->stop(t->stop_context))
        return sg_fail(SG_ERR_INTERRUPTED, "given up before step %lld",
                       (long long)(t->state->step + t->under_way));
    SG_TRY(upload_inputs(t, s));
    SG_TRY(take_inputs(t));
    SG_TRY(put_step_block(t, s, lr));
    SG_TRY(run_part(t, put_shards, &shape->recording));
    if (t->team.reduce) SG_TRY(reduce(t, s));
    if (t->on.saving) SG_TRY(t->device->event_follow(t->on.queue, t->on.saved));
    t->on.saving = false;
    SG_TRY(run_part(t, put_update, &t->on.update_recording));
    if (shape->rows) SG_TRY(run_part(t, put_rows, &shape->rows_recording));
    SG_TRY(get_answer(t, s));
    shape->launched++;
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
