/* Tables of rows in a trainer (graph/state.h: SG_ENTRY_ROWS).
 *
 * Their gradient is never made (graph.h: sg_rows_use). Each shard writes its samples' source at
 * their place in a block of the whole batch, (batch, d) floats a table, so nothing is added; with
 * the batch's ids that is all that the update of rows needs. On CPUs it runs in parts, each of them
 * some of the rows, side by side on the pool. A row is one part's from start to end and adds its
 * terms in the order of the batch: the bits know neither parts nor threads nor shards. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "train/trainer_inside.h"

enum { kPartsAThread = 4, kMostParts = 64 };

/* --- building --------------------------------------------------------------------------------- */

/* Enough for threads to take them as they come; each looks at all ids of the batch. */
static int parts_of(const sg_trainer *t) {
    int parts = 1;

    if (t->threads == 1) return 1;
    while (parts < kPartsAThread * t->threads && parts < kMostParts) parts *= 2;
    return parts;
}

/* The shard's input as one of the rows' graph, for the whole batch. */
static sg_value *whole_input(const sg_trainer *t, sg_trainer_shape *s, int input) {
    const sg_value *part = sg_graph_input(s->graph, input);
    int n = sg_graph_inputs(s->rows_graph);
    sg_shape shape = part->shape;
    sg_value *v;

    shape.dim[0] = t->options.batch;
    v = sg_input(s->rows_graph, sg_graph_input_name(s->graph, input), part->dtype, shape);
    if (sg_graph_inputs(s->rows_graph) > n) s->rows_input[n] = input;
    return v;
}

static sg_value *view(sg_graph *g, sg_buffer buffer, int64_t floats, sg_shape shape) {
    return sg_view_of(g, SG_F32, buffer, floats * (int64_t)sizeof(float), shape);
}

static void build_table(const sg_trainer *t, sg_trainer_shape *s, const sg_rows_use *use) {
    const sg_entry *entry = &t->table->entry[use->entry];
    const sg_rows_attr attr = {t->options.optimizer.rows, parts_of(t)};
    int64_t at = entry->offset, sum_at = sg_entry_sum_offset(entry, attr.rule);
    sg_graph *g = s->rows_graph;
    sg_rows_inputs in = {.table = view(g, SG_BUF_ROWS, at, entry->shape),
                         .ids = whole_input(t, s, use->ids),
                         .weights = use->weights >= 0 ? whole_input(t, s, use->weights) : NULL,
                         .source = sg_view_of(g, SG_F32, SG_BUF_SOURCE, entry->rows_index,
                                              sg_shape_2(t->options.batch, entry->shape.dim[1])),
                         .sums = view(g, SG_BUF_GRADS, t->table->n_values, sg_shape_1(SG_MAX_SUMS)),
                         .step = view(g, SG_BUF_STEP, 0, sg_shape_1(SG_STEP_SLOTS))};
    sg_value *next;

    if (attr.rule != SG_ROWS_SGD)
        in.sum = view(g, SG_BUF_ROWS_SUM, sum_at, sg_entry_sum_shape(entry, attr.rule));
    next = sg_rows_step(g, &in, attr);
    if (!next) return;
    sg_sink(g, next, SG_BUF_ROWS, at * (int64_t)sizeof(float));
    if (in.sum) sg_sink(g, &next->node->out[1], SG_BUF_ROWS_SUM, sum_at * (int64_t)sizeof(float));
}

sg_status sg_trainer_rows_build(sg_trainer *t, sg_trainer_shape *s) {
    SG_TRY(sg_graph_create(SG_EVAL, NULL, &s->rows_graph));
    for (int i = 0; i < sg_graph_rows(s->graph); i++)
        build_table(t, s, sg_graph_rows_use(s->graph, i));
    return sg_program_compile(s->rows_graph, t->backend, NULL, &s->rows);
}

/* --- memory ----------------------------------------------------------------------------------- */

int64_t sg_trainer_source_floats(const sg_trainer *t, int table) {
    for (int i = 0; i < t->table->n_entries; i++) {
        const sg_entry *entry = &t->table->entry[i];

        if (entry->kind == SG_ENTRY_ROWS && entry->rows_index == table)
            return t->options.batch * entry->shape.dim[1];
    }
    return 0;
}

/* Enough for every shape. */
static size_t arena_bytes(const sg_trainer *t) {
    size_t most = 0;

    for (int i = 0; i < t->n_shapes; i++) {
        size_t bytes = t->shape[i].rows ? sg_program_arena_bytes(t->shape[i].rows) : 0;

        if (bytes > most) most = bytes;
    }
    return most;
}

sg_status sg_trainer_rows_allocate(sg_trainer *t) {
    t->rows_arena = sg_calloc((size_t)t->threads, sizeof *t->rows_arena);
    if (!t->rows_arena) return sg_fail(SG_ERR_OOM, "trainer: no memory");
    for (int i = 0; i < t->threads; i++)
        SG_TRY(sg_block_alloc(t->device, arena_bytes(t), "the rows' arena", &t->rows_arena[i]));
    for (int i = 0; i < t->table->n_row_tables; i++) {
        size_t bytes = (size_t)sg_trainer_source_floats(t, i) * sizeof(float);
        void *block;

        SG_TRY(sg_block_alloc(t->device, bytes, "what rows are updated with", &block));
        if (!t->device) memset(block, 0, bytes); /* of a table that a shape of the batch lacks */
        t->source[i] = block;
    }
    return SG_OK;
}

void sg_trainer_rows_destroy(sg_trainer *t) {
    for (int i = 0; t->rows_arena && i < t->threads; i++)
        sg_block_release(t->device, t->rows_arena[i]);
    sg_free(t->rows_arena);
    for (int i = 0; i < SG_MAX_ROWS; i++) sg_block_release(t->device, t->source[i]);
}

size_t sg_trainer_rows_bytes(const sg_trainer *t) {
    size_t bytes = arena_bytes(t) * (size_t)t->threads;

    for (int i = 0; i < t->table->n_row_tables; i++)
        bytes += (size_t)sg_trainer_source_floats(t, i) * sizeof(float);
    return bytes;
}

/* --- a step ----------------------------------------------------------------------------------- */

void sg_trainer_bind_sources(const sg_trainer *t, int shard, sg_bindings *b) {
    for (int i = 0; i < t->table->n_row_tables; i++)
        b->source[i] = t->source[i] + sg_trainer_source_floats(t, i) / t->options.shards * shard;
}

int sg_trainer_rows_gather(const sg_trainer *t, float *const source[], sg_gather *gather) {
    for (int i = 0; i < t->table->n_row_tables; i++) {
        size_t floats = (size_t)(sg_trainer_source_floats(t, i) / t->options.shards);

        gather[i] = (sg_gather){source[i], floats * sizeof(float), false};
    }
    return t->table->n_row_tables;
}

sg_bindings sg_trainer_bind_rows(sg_trainer *t) {
    sg_bindings b = sg_trainer_bind(t);

    b.base[SG_BUF_GRADS] = t->grads[0];
    b.base[SG_BUF_ROWS_SUM] = t->state->rows_sum;
    for (int i = 0; i < t->table->n_row_tables; i++) b.source[i] = t->source[i];
    return b;
}

static sg_status run_part(void *context, int64_t part, int worker) {
    sg_trainer *t = context;
    const sg_trainer_shape *s = &t->shape[t->at_shape];
    sg_bindings b = sg_trainer_bind_rows(t);

    b.base[SG_BUF_ARENA] = t->rows_arena[worker];
    b.info.shard = (int32_t)part;
    for (int i = 0; i < sg_graph_inputs(s->rows_graph); i++)
        b.input[i] = t->inputs[s->rows_input[i]];
    return sg_program_run(s->rows, &b);
}

sg_status sg_trainer_rows_step(sg_trainer *t) {
    return sg_pool_run(t->pool, parts_of(t), run_part, t);
}

/* A gradient may be finite where the source, of which it is a product, is not. */
sg_status sg_trainer_rows_check(sg_trainer *t) {
    for (int i = 0; i < t->table->n_row_tables; i++) {
        int64_t n = sg_trainer_source_floats(t, i);
        int bad = 0;

        for (int64_t k = 0; k < n; k++) bad |= !(fabsf(t->source[i][k]) <= FLT_MAX);
        if (bad) return sg_trainer_diverged(t);
    }
    return SG_OK;
}
