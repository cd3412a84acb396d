/* What a step puts on a device's queue: its kernels, plainly or as a recording of them.
 *
 * Where workers share steps, the shards are put in parts: behind each is a bucket of gradients
 * complete, and an event, for which a recording has no place. The own shards' nodes of the tree are
 * part of it. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "train/trainer_inside.h"

enum { kPlainSteps = 1 };

/* --- kernels ---------------------------------------------------------------------------------- */

static sg_bindings bind(sg_trainer *t) {
    sg_bindings b = sg_trainer_bind(t);

    b.base[SG_BUF_VALUES] = t->on.values;
    b.base[SG_BUF_ROWS] = t->on.rows;
    b.base[SG_BUF_STEP] = t->on.step_block;
    b.queue = t->on.queue;
    if (sg_trainer_profiled(t)) b.seconds = t->seconds;
    return b;
}

/* reached: told of the steps of its program; or NULL. */
static sg_status put_shard(sg_trainer *t, int shard,
                           sg_status (*reached)(void *trainer, int step)) {
    const sg_trainer_shape *s = &t->shape[t->at_shape];
    sg_bindings b = bind(t);

    b.base[SG_BUF_ARENA] = t->arena[0];
    b.base[SG_BUF_GRADS] = t->grads[shard];
    b.info.shard = shard;
    b.reached = reached;
    b.reached_context = t;
    sg_trainer_bind_sources(t, shard, &b);
    for (int i = 0; i < sg_graph_inputs(s->graph); i++)
        b.input[i] = (const char *)t->on.input[i] + s->input_stride[i] * (size_t)shard;
    return sg_program_run(s->program, &b);
}

static sg_status put_prologue(sg_trainer *t) {
    sg_bindings b = bind(t);

    return sg_program_prologue(t->shape[t->at_shape].program, &b);
}

sg_status sg_trainer_device_check_sources(sg_trainer *t) {
    for (int i = 0; i < t->table->n_row_tables; i++)
        SG_TRY(t->device->add_shards(t->on.queue, &t->source[i], 1, sg_trainer_source_floats(t, i),
                                     t->on.step_block));
    return SG_OK;
}

static sg_status put_shards(sg_trainer *t) {
    SG_TRY(put_prologue(t));
    for (int s = 0; s < t->options.shards; s++) SG_TRY(put_shard(t, s, NULL));
    SG_TRY(sg_trainer_device_check_sources(t));
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

/* --- recordings ------------------------------------------------------------------------------- */

/* A recording that failed halfway must be ended, or the queue is of no more use. */
static sg_status record(sg_trainer *t, sg_status (*put)(sg_trainer *t), void **recording) {
    sg_status st, ended;

    SG_TRY(t->device->record(t->on.queue));
    st = put(t);
    ended = t->device->record_end(t->on.queue, recording);
    return st == SG_OK ? ended : st;
}

/* SG_CUDA_GRAPH=0 in the environment: no recordings, to compare bits and times. */
static bool records(const sg_trainer *t) {
    const char *told = getenv("SG_CUDA_GRAPH");

    if (t->shape[t->at_shape].launched < kPlainSteps || sg_trainer_profiled(t)) return false;
    return !told || strcmp(told, "0") != 0;
}

/* What `put` puts on the queue: plainly, or as *recording says, which is made where it is NULL. */
static sg_status run_part(sg_trainer *t, sg_status (*put)(sg_trainer *t), void **recording) {
    if (!records(t)) return put(t);
    if (!*recording) SG_TRY(record(t, put, recording));
    return t->device->replay(t->on.queue, *recording);
}

sg_status sg_trainer_device_put_shards(sg_trainer *t) {
    return run_part(t, put_shards, &t->shape[t->at_shape].recording);
}

sg_status sg_trainer_device_put_update(sg_trainer *t) {
    return run_part(t, put_update, &t->on.update_recording);
}

sg_status sg_trainer_device_put_rows(sg_trainer *t) {
    sg_trainer_shape *s = &t->shape[t->at_shape];

    return s->rows ? run_part(t, put_rows, &s->rows_recording) : SG_OK;
}

/* --- parts ------------------------------------------------------------------------------------ */

/* Of a bucket the nodes that this worker's shards make. */
static sg_status put_nodes(sg_trainer *t, int k) {
    int64_t start = t->buckets.start[k];
    sg_tree_node node[SG_TREE_NODES];
    int n = sg_tree_nodes(t->options.shards, t->team.own, node);

    for (int i = 0; i < n; i++) {
        float *slot[SG_DEVICE_SHARDS];
        int left = t->options.shards - node[i].shard;
        int width = node[i].width < left ? node[i].width : left;

        for (int s = 0; s < width; s++) slot[s] = t->grads[node[i].shard + s] + start;
        SG_TRY(t->device->add_shards(t->on.queue, slot, width, t->buckets.end[k] - start,
                                     t->on.step_block));
    }
    return SG_OK;
}

/* Behind a step of the last shard's program. Its recording, if there is one, ends with a part and
 * begins anew with the next. */
static sg_status end_parts(void *trainer, int step) {
    sg_trainer *t = trainer;
    sg_trainer_shape *s = &t->shape[t->at_shape];
    int first = t->on.part;

    for (; t->on.part < t->buckets.n && s->ready[t->on.part] <= step; t->on.part++)
        SG_TRY(put_nodes(t, t->on.part));
    if (t->on.part == first) return SG_OK;
    if (t->on.recording) {
        t->on.recording = false;
        SG_TRY(t->device->record_end(t->on.queue, &s->part[first]));
        SG_TRY(t->device->replay(t->on.queue, s->part[first]));
    }
    for (int k = first; k < t->on.part; k++)
        SG_TRY(t->device->event_mark(t->on.complete[k], t->on.queue));
    if (!t->on.record_parts || t->on.part == t->buckets.n) return SG_OK;
    SG_TRY(t->device->record(t->on.queue));
    t->on.recording = true;
    return SG_OK;
}

static sg_status put_own_shards(sg_trainer *t) {
    int end = t->team.own.first + t->team.own.count;

    SG_TRY(put_prologue(t));
    for (int s = t->team.own.first; s < end; s++)
        SG_TRY(put_shard(t, s, s == end - 1 ? end_parts : NULL));
    return end_parts(t, INT_MAX);
}

static sg_status record_parts(sg_trainer *t) {
    void *unfinished = NULL;
    sg_status st;

    SG_TRY(t->device->record(t->on.queue));
    t->on.recording = true;
    st = put_own_shards(t);
    if (t->on.recording && t->device->record_end(t->on.queue, &unfinished) == SG_OK)
        t->device->recording_destroy(unfinished);
    t->on.recording = false;
    if (st != SG_OK) sg_trainer_device_forget_parts(t);
    return st;
}

static sg_status replay_parts(sg_trainer *t) {
    sg_trainer_shape *s = &t->shape[t->at_shape];

    for (int k = 0; k < t->buckets.n; k++) {
        if (s->part[k]) SG_TRY(t->device->replay(t->on.queue, s->part[k]));
        SG_TRY(t->device->event_mark(t->on.complete[k], t->on.queue));
    }
    return SG_OK;
}

sg_status sg_trainer_device_put_parts(sg_trainer *t) {
    sg_trainer_shape *s = &t->shape[t->at_shape];

    t->on.part = 0;
    t->on.record_parts = records(t);
    if (!t->on.record_parts) return put_own_shards(t);
    if (s->in_parts) return replay_parts(t);
    SG_TRY(record_parts(t));
    s->in_parts = true;
    return SG_OK;
}

void sg_trainer_device_forget_parts(sg_trainer *t) {
    for (int i = 0; i < t->n_shapes; i++) {
        for (int k = 0; k < SG_TRAINER_BUCKETS; k++) {
            t->device->recording_destroy(t->shape[i].part[k]);
            t->shape[i].part[k] = NULL;
        }
        t->shape[i].in_parts = false;
    }
}
