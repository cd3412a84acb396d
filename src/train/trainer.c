#include "train/trainer.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "train/trainer_inside.h"

enum { kReduceBlock = 16384, kWarmEma = 10 };

sg_trainer_options sg_trainer_defaults(void) {
    sg_trainer_options o;

    memset(&o, 0, sizeof o);
    o.batch = 32;
    o.shards = 8;
    o.optimizer = (sg_optimizer){SG_OPTIMIZER_SGD, 0.9, 0.999, 5e-4, 10.0, 0.999, 0.1,
                                 SG_ROWS_ADAGRAD,  1.0, 0.0};
    o.seed = 1;
    return o;
}

/* --- building --------------------------------------------------------------------------------- */

static sg_status check_options(const sg_trainer_options *o) {
    if (!o->build) return sg_fail(SG_ERR_ARG, "trainer: no model");
    if (o->n_shapes < 0 || (o->n_shapes > 0 && !o->shapes))
        return sg_fail(SG_ERR_ARG, "trainer: %d shapes of a batch", o->n_shapes);
    if (o->shards < 1 || o->batch < 1 || o->batch % o->shards != 0)
        return sg_fail(SG_ERR_ARG, "trainer: a batch of %lld cannot be divided into %d shards",
                       (long long)o->batch, o->shards);
    return SG_OK;
}

static sg_status check_device(const sg_trainer *t) {
    if (!t->device || t->options.shards <= SG_DEVICE_SHARDS) return SG_OK;
    return sg_fail(SG_ERR_UNSUPPORTED,
                   "train.shards=%d: a device adds at most %d: fewer, or run.device=cpu",
                   t->options.shards, (int)SG_DEVICE_SHARDS);
}

/* Notes what a shard's part of each input is, which all shapes must have under the same names. */
static sg_status check_inputs(const sg_trainer *t, sg_trainer_shape *s) {
    int64_t n = t->options.batch / t->options.shards;
    const sg_graph *first = t->shape[0].graph;

    if (sg_graph_inputs(s->graph) != sg_graph_inputs(first))
        return sg_fail(SG_ERR_ARG, "trainer: %d inputs in one shape of the batch, %d in another",
                       sg_graph_inputs(s->graph), sg_graph_inputs(first));
    for (int i = 0; i < sg_graph_inputs(s->graph); i++) {
        const sg_value *v = sg_graph_input(s->graph, i);
        const char *name = sg_graph_input_name(s->graph, i);

        if (strcmp(name, sg_graph_input_name(first, i)) != 0)
            return sg_fail(SG_ERR_ARG, "input %s: it is %s in another shape of the batch", name,
                           sg_graph_input_name(first, i));
        if (v->shape.rank < 1 || v->shape.dim[0] != n)
            return sg_fail(SG_ERR_ARG, "input %s: its first dimension is not the batch", name);
        s->input_stride[i] = sg_value_bytes(v);
    }
    return SG_OK;
}

static sg_status build_shape(sg_trainer *t, sg_trainer_shape *s, void *context) {
    sg_compile_options compile = {.no_outputs = true};

    SG_TRY(sg_graph_create(SG_TRAIN, t->table, &s->graph));
    SG_TRY(t->options.build(s->graph, t->options.batch / t->options.shards, context));
    SG_TRY(sg_graph_status(s->graph));
    sg_table_freeze(t->table);
    if (t->table->n_params == 0) return sg_fail(SG_ERR_ARG, "trainer: the model has no parameters");
    if (!sg_has_gradients(s->graph))
        return sg_fail(SG_ERR_ARG, "trainer: the model calls no sg_loss");
    SG_TRY(sg_check_stats(s->graph));
    SG_TRY(check_inputs(t, s));
    SG_TRY(sg_program_compile(s->graph, t->backend, &compile, &s->program));
    return sg_graph_rows(s->graph) > 0 ? sg_trainer_rows_build(t, s) : SG_OK;
}

static sg_status build_shapes(sg_trainer *t) {
    const sg_trainer_options *o = &t->options;

    t->n_shapes = o->n_shapes > 0 ? o->n_shapes : 1;
    t->shape = sg_calloc((size_t)t->n_shapes, sizeof *t->shape);
    if (!t->shape) return sg_fail(SG_ERR_OOM, "trainer: no memory");
    SG_TRY(sg_table_create(&t->table));
    for (int i = 0; i < t->n_shapes; i++)
        SG_TRY(build_shape(t, &t->shape[i], o->n_shapes > 0 ? o->shapes[i] : o->context));
    return SG_OK;
}

typedef struct {
    sg_graph *g;
    const sg_table *table;
    sg_value *step, *factor;
} update_builder;

static sg_value *view(const update_builder *u, sg_buffer buffer, int64_t start, int64_t count) {
    return sg_view_of(u->g, SG_F32, buffer, start * (int64_t)sizeof(float), sg_shape_1(count));
}

/* The new parameters, written over the old ones. */
static sg_value *build_optimizer(const update_builder *u, const sg_optimizer *o) {
    int64_t n = u->table->n_params;
    sg_value *w = view(u, SG_BUF_VALUES, 0, n), *dw = view(u, SG_BUF_GRADS, 0, n);
    sg_value *m = view(u, SG_BUF_MOMENT1, 0, n), *next;

    if (o->kind == SG_OPTIMIZER_ADAMW) {
        next = sg_adamw_step(u->g, w, m, view(u, SG_BUF_MOMENT2, 0, n), dw, u->factor, u->step,
                             u->table->n_decay);
        if (next) sg_sink(u->g, &next->node->out[2], SG_BUF_MOMENT2, 0);
    } else {
        next = sg_sgd_step(u->g, w, m, dw, u->factor, u->step, u->table->n_decay, true);
    }
    if (!next) return NULL;
    sg_sink(u->g, next, SG_BUF_VALUES, 0);
    sg_sink(u->g, &next->node->out[1], SG_BUF_MOMENT1, 0);
    return next;
}

static void build_average(const update_builder *u, sg_value *next, int64_t start, int64_t count) {
    sg_value *ema = sg_ema_step(u->g, view(u, SG_BUF_EMA, start, count), next, u->step);

    sg_sink(u->g, ema, SG_BUF_EMA, start * (int64_t)sizeof(float));
}

static sg_status build_update(sg_trainer *t) {
    int64_t n_params = t->table->n_params, n_stats = t->table->n_values - n_params;
    update_builder u = {NULL, t->table, NULL, NULL};
    sg_value *next;

    SG_TRY(sg_graph_create(SG_EVAL, NULL, &t->update_graph));
    u.g = t->update_graph;
    u.step = view(&u, SG_BUF_STEP, 0, SG_STEP_SLOTS);
    u.factor = sg_grad_scale(u.g, view(&u, SG_BUF_GRADS, 0, n_params),
                             view(&u, SG_BUF_GRADS, t->table->n_values, SG_MAX_SUMS), u.step);
    if (u.factor) sg_output(u.g, "norm", &u.factor->node->out[1]);
    next = build_optimizer(&u, &t->options.optimizer);
    build_average(&u, next, 0, n_params);
    if (n_stats > 0) {
        next = sg_stats_step(u.g, view(&u, SG_BUF_VALUES, n_params, n_stats),
                             view(&u, SG_BUF_GRADS, n_params, n_stats), u.step);
        sg_sink(u.g, next, SG_BUF_VALUES, n_params * (int64_t)sizeof(float));
        build_average(&u, next, n_params, n_stats);
    }
    return sg_program_compile(t->update_graph, t->backend, NULL, &t->update);
}

/* Zero for good where no gradient is written: between entries. */
static sg_status allocate_grads(sg_trainer *t, int shard) {
    size_t bytes = (size_t)t->table->n_grads * sizeof(float);
    void *block;

    SG_TRY(sg_block_alloc(t->device, bytes, "a shard's gradients", &block));
    if (!t->device) memset(block, 0, bytes);
    t->grads[shard] = block;
    return SG_OK;
}

static const sg_trainer_shape *largest(const sg_trainer *t) {
    const sg_trainer_shape *most = &t->shape[0];

    for (int i = 1; i < t->n_shapes; i++)
        if (sg_program_arena_bytes(t->shape[i].program) > sg_program_arena_bytes(most->program))
            most = &t->shape[i];
    return most;
}

size_t sg_trainer_input_bytes(const sg_trainer *t, int input) {
    size_t most = 0;

    for (int i = 0; i < t->n_shapes; i++)
        if (t->shape[i].input_stride[input] > most) most = t->shape[i].input_stride[input];
    return most * (size_t)t->options.shards;
}

size_t sg_trainer_arena_bytes(const sg_trainer *t) {
    return sg_program_arena_bytes(largest(t)->program);
}

size_t sg_trainer_weights_bytes(const sg_trainer *t) {
    size_t most = 0;

    for (int i = 0; i < t->n_shapes; i++) {
        size_t bytes = sg_program_weights_bytes(t->shape[i].program);

        if (bytes > most) most = bytes;
    }
    return most;
}

static sg_status allocate_arenas(sg_trainer *t) {
    const sg_node *peak = sg_program_arena_peak(largest(t)->program);
    char what[256];

    snprintf(what, sizeof what, "a shard's activations, most of them at %s",
             peak ? peak->name : "no node");
    for (int i = 0; i < t->threads; i++)
        SG_TRY(sg_block_alloc(t->device, sg_trainer_arena_bytes(t), what, &t->arena[i]));
    return SG_OK;
}

static sg_status allocate(sg_trainer *t) {
    const sg_optimizer *o = &t->options.optimizer;
    sg_state_options state = {.n_moments = o->kind == SG_OPTIMIZER_ADAMW ? 2 : 1,
                              .rule = o->rows,
                              .sum_start = (float)o->rows_start,
                              .device = t->device};

    SG_TRY(sg_state_create_with(t->table, &state, &t->state));
    t->arena = sg_calloc((size_t)t->threads, sizeof *t->arena);
    t->grads = sg_calloc((size_t)t->options.shards, sizeof *t->grads);
    if (!t->arena || !t->grads) return sg_fail(SG_ERR_OOM, "trainer: no memory");
    SG_TRY(sg_block_alloc(t->device, sg_trainer_weights_bytes(t), "weights", &t->weights));
    SG_TRY(sg_block_alloc(t->device, sg_program_arena_bytes(t->update), "the update's arena",
                          &t->update_arena));
    SG_TRY(sg_block_alloc(t->device, sg_program_weights_bytes(t->update), "the update's weights",
                          &t->update_weights));
    SG_TRY(allocate_arenas(t));
    for (int i = 0; i < t->options.shards; i++) SG_TRY(allocate_grads(t, i));
    return t->table->n_row_tables > 0 ? sg_trainer_rows_allocate(t) : SG_OK;
}

/* On a device shards follow each other on its queue, and the pool is for the host's own work. */
static void choose_threads(sg_trainer *t, int *pool) {
    const sg_trainer_options *o = &t->options;
    int n = o->threads > 0 ? o->threads : sg_cpu_count();

    t->threads = t->device ? 1 : n < o->shards ? n : o->shards;
    *pool = t->device ? n : t->threads;
}

static sg_status draw_piece(void *context, int64_t i, int worker) {
    sg_trainer *t = context;

    (void)worker;
    sg_state_draw(t->state, i, t->options.seed);
    return SG_OK;
}

/* As sg_state_init, on all threads: drawing a million normal numbers takes as long as compiling. */
static sg_status draw_state(sg_trainer *t) {
    SG_TRY(sg_pool_run(t->pool, sg_state_pieces(t->table), draw_piece, t));
    sg_state_begin(t->state, t->options.seed);
    return SG_OK;
}

/* What cannot be created has failed with `st`. */
static sg_status give_up(sg_trainer *t, sg_status st) {
    bool suggests = st == SG_ERR_OOM && t->device;
    sg_trainer_need need = {.known = false};

    if (suggests) need = sg_trainer_measure(t);
    sg_trainer_destroy(t);
    return suggests ? sg_trainer_suggest(&need) : st;
}

sg_status sg_trainer_create(const sg_trainer_options *options, sg_trainer **out) {
    int pool_threads;
    sg_trainer *t;
    sg_status st;

    SG_TRY(check_options(options));
    t = sg_calloc(1, sizeof *t);
    if (!t) return sg_fail(SG_ERR_OOM, "trainer: no memory");
    t->options = *options;
    t->team.own = (sg_shards){0, options->shards};
    t->backend = options->backend ? options->backend : &sg_backend_cpu;
    t->device = t->backend->device;
    choose_threads(t, &pool_threads);
    st = sg_pool_create(pool_threads, t->backend->enter_thread, &t->pool);
    if (st == SG_OK) st = check_device(t);
    if (st == SG_OK) st = build_shapes(t);
    if (st == SG_OK) st = build_update(t);
    if (st == SG_OK) st = allocate(t);
    if (st == SG_OK && !options->blank) st = draw_state(t);
    if (st == SG_OK && t->device) st = sg_trainer_device_create(t);
    if (st == SG_OK) {
        *out = t;
        return SG_OK;
    }
    return give_up(t, st);
}

void sg_trainer_destroy(sg_trainer *t) {
    if (!t) return;
    sg_trainer_exchange_destroy(t);
    sg_pool_destroy(t->pool);
    if (t->device) sg_trainer_device_destroy(t); /* waits for what is under way */
    for (int i = 0; t->arena && i < t->threads; i++) sg_block_release(t->device, t->arena[i]);
    for (int i = 0; t->grads && i < t->options.shards; i++)
        sg_block_release(t->device, t->grads[i]);
    sg_free(t->arena);
    sg_free(t->grads);
    sg_block_release(t->device, t->weights);
    sg_block_release(t->device, t->update_arena);
    sg_block_release(t->device, t->update_weights);
    sg_trainer_rows_destroy(t);
    for (int i = 0; t->shape && i < t->n_shapes; i++) {
        sg_program_destroy(t->shape[i].program);
        sg_program_destroy(t->shape[i].rows);
        sg_graph_destroy(t->shape[i].graph);
        sg_graph_destroy(t->shape[i].rows_graph);
    }
    sg_free(t->shape);
    sg_program_destroy(t->update);
    sg_graph_destroy(t->update_graph);
    sg_state_destroy(t->state);
    sg_table_destroy(t->table);
    sg_free(t);
}

sg_state *sg_trainer_state(sg_trainer *t) { return t->state; }
const sg_table *sg_trainer_table(const sg_trainer *t) { return t->table; }
const sg_program *sg_trainer_program(const sg_trainer *t, int shape) {
    return t->shape[shape].program;
}
sg_pool *sg_trainer_pool(sg_trainer *t) { return t->pool; }
const sg_backend *sg_trainer_backend(const sg_trainer *t) { return t->backend; }
const float *sg_trainer_averages(const sg_trainer *t) {
    return t->device ? t->on.ema : t->state->ema;
}
const float *sg_trainer_rows(const sg_trainer *t) {
    return t->device ? t->on.rows : t->state->rows;
}
int sg_trainer_threads(const sg_trainer *t) { return t->threads; }

sg_status sg_trainer_share(sg_trainer *t, const sg_trainer_team *team) {
    if (t->under_way > 0) return sg_fail(SG_ERR_ARG, "trainer: a step is under way");
    sg_trainer_exchange_destroy(t);
    t->team = team ? *team : (sg_trainer_team){.own = {0, t->options.shards}};
    if (t->team.reduce) sg_trainer_cut_buckets(t);
    if (t->device) return sg_trainer_device_share(t);
    return t->team.reduce ? sg_trainer_exchange_create(t) : SG_OK;
}

void sg_trainer_profile(sg_trainer *t, int shape, double *seconds, sg_step_times *times) {
    t->seconds = seconds;
    t->times = times;
    t->profiled_shape = shape;
}

bool sg_trainer_profiled(const sg_trainer *t) {
    return t->seconds && t->at_shape == t->profiled_shape;
}

void sg_trainer_stop_when(sg_trainer *t, bool (*stop)(void *context), void *context) {
    t->stop = stop;
    t->stop_context = context;
}

size_t sg_trainer_bytes(const sg_trainer *t) {
    size_t floats = (size_t)(t->table->n_grads * t->options.shards +
                             t->table->n_values * (2 + t->state->n_moments) + t->table->n_rows +
                             sg_table_rows_sum(t->table, t->state->rule));

    return floats * sizeof(float) + sg_trainer_weights_bytes(t) +
           sg_trainer_arena_bytes(t) * (size_t)t->threads + sg_trainer_rows_bytes(t);
}

/* --- a step ----------------------------------------------------------------------------------- */

sg_bindings sg_trainer_bind(sg_trainer *t) {
    sg_bindings b;

    memset(&b, 0, sizeof b);
    b.base[SG_BUF_WEIGHTS] = t->weights;
    b.base[SG_BUF_VALUES] = t->state->values;
    b.base[SG_BUF_ROWS] = t->state->rows;
    b.base[SG_BUF_STEP] = t->step_block;
    return b;
}

static sg_status run_shard(void *context, int64_t item, int worker) {
    sg_trainer *t = context;
    int64_t shard = t->team.own.first + item;
    const sg_trainer_shape *s = &t->shape[t->at_shape];
    sg_trainer_progress progress = {t, (int)shard, 0};
    sg_bindings b = sg_trainer_bind(t);

    b.base[SG_BUF_ARENA] = t->arena[worker];
    b.base[SG_BUF_GRADS] = t->grads[shard];
    b.info.shard = (int32_t)shard;
    sg_trainer_bind_sources(t, (int)shard, &b);
    b.stop = t->stop;
    b.stop_context = t->stop_context;
    if (t->exchange) {
        b.stop = sg_trainer_exchange_stops;
        b.stop_context = t;
        b.reached = sg_trainer_exchange_reached;
        b.reached_context = &progress;
    }
    if (sg_trainer_profiled(t))
        b.seconds = t->seconds + (int64_t)worker * sg_program_steps(s->program);
    for (int i = 0; i < sg_graph_inputs(s->graph); i++)
        b.input[i] = (const char *)t->inputs[i] + s->input_stride[i] * (size_t)shard;
    return sg_program_run(s->program, &b);
}

sg_status sg_trainer_diverged(const sg_trainer *t) {
    return sg_fail(SG_ERR_DIVERGED,
                   "step %lld: loss or gradient is not finite; a lower train.lr or "
                   "train.clip_norm may help",
                   (long long)t->state->step);
}

/* A gradient that is not finite would poison the state for good, so the update is not reached. */
static sg_status check_finite(const sg_trainer *t, int64_t start, int64_t end) {
    const float *sum = t->grads[0];
    int bad = 0;

    for (int64_t i = start; i < end; i++) bad |= !(fabsf(sum[i]) <= FLT_MAX);
    return bad ? sg_trainer_diverged(t) : SG_OK;
}

static int64_t block_end(const sg_trainer *t, int64_t block) {
    int64_t end = (block + 1) * kReduceBlock;

    return end < t->table->n_grads ? end : t->table->n_grads;
}

/* One block of floats of the tree, whatever thread adds it. */
static sg_status add_block(void *context, int64_t block, int worker) {
    sg_trainer *t = context;

    (void)worker;
    sg_tree_add(t->options.shards, t->team.own, t->grads, block * kReduceBlock,
                block_end(t, block));
    return check_finite(t, block * kReduceBlock, block_end(t, block));
}

/* Of the sum that all workers have. */
static sg_status check_block(void *context, int64_t block, int worker) {
    sg_trainer *t = context;

    (void)worker;
    return check_finite(t, block * kReduceBlock, block_end(t, block));
}

/* grads[0] = the sum over all shards, and sources whole; `shards` is what became of them. */
static sg_status add_shards(sg_trainer *t, sg_status shards) {
    int64_t blocks = (t->table->n_grads + kReduceBlock - 1) / kReduceBlock;

    if (t->exchange) shards = sg_trainer_exchange_end(t, shards);
    SG_TRY(shards);
    SG_TRY(sg_pool_run(t->pool, blocks, t->exchange ? check_block : add_block, t));
    return t->table->n_row_tables > 0 ? sg_trainer_rows_check(t) : SG_OK;
}

void sg_trainer_fill_step_block(sg_trainer *t, double lr) {
    const sg_optimizer *o = &t->options.optimizer;
    int64_t step = t->state->step + t->under_way;
    double count = (double)step + 1.0;
    /* a young average forgets its random start faster */
    double warm = (1.0 + count) / (kWarmEma + count);
    uint64_t key = sg_key_mix(t->state->seed, (uint64_t)step);

    t->step_block[SG_STEP_LR] = (float)lr;
    t->step_block[SG_STEP_WEIGHT_DECAY] = (float)o->weight_decay;
    t->step_block[SG_STEP_MOMENTUM] = (float)o->momentum;
    t->step_block[SG_STEP_BETA2] = (float)o->beta2;
    t->step_block[SG_STEP_BIAS1] = (float)(1.0 - pow(o->momentum, count));
    t->step_block[SG_STEP_BIAS2] = (float)(1.0 - pow(o->beta2, count));
    t->step_block[SG_STEP_EMA] = (float)(o->ema < warm ? o->ema : warm);
    t->step_block[SG_STEP_STAT] = (float)o->stat_momentum;
    t->step_block[SG_STEP_CLIP] = (float)o->clip_norm;
    t->step_block[SG_STEP_SHARDS] = (float)t->options.shards;
    t->step_block[SG_STEP_ROWS_LR] = (float)(lr * o->rows_lr);
    memcpy(&t->step_block[SG_STEP_KEY], &key, sizeof key);
}

static sg_status run_update(sg_trainer *t) {
    sg_bindings b = sg_trainer_bind(t);

    b.base[SG_BUF_ARENA] = t->update_arena;
    b.base[SG_BUF_WEIGHTS] = t->update_weights;
    b.base[SG_BUF_GRADS] = t->grads[0];
    b.base[SG_BUF_EMA] = t->state->ema;
    b.base[SG_BUF_MOMENT1] = t->state->moment[0];
    b.base[SG_BUF_MOMENT2] = t->state->moment[1];
    b.output[0] = &t->norm;
    return sg_program_run(t->update, &b);
}

static void fill_report(const sg_trainer *t, sg_step_report *report) {
    double normaliser = fmax((double)t->sum[SG_SUM_NORMALISER], 1.0);

    for (int i = 0; i < SG_MAX_SUMS; i++) report->sum[i] = (double)t->sum[i] / normaliser;
    report->sum[SG_SUM_NORMALISER] = (double)t->sum[SG_SUM_NORMALISER];
    report->loss = report->sum[SG_SUM_LOSS];
    report->grad_norm = (double)t->norm;
}

static void add_times(sg_step_times *sum, const double clock[5]) {
    sum->prologue += clock[1] - clock[0];
    sum->shards += clock[2] - clock[1];
    sum->tree += clock[3] - clock[2];
    sum->update += clock[4] - clock[3];
}

static sg_status step_here(sg_trainer *t, double lr) {
    sg_bindings b = sg_trainer_bind(t);
    double clock[5] = {sg_now()};
    sg_status shards;

    sg_trainer_fill_step_block(t, lr);
    if (sg_trainer_profiled(t)) b.seconds = t->seconds;
    SG_TRY(sg_program_prologue(t->shape[t->at_shape].program, &b));
    clock[1] = sg_now();
    if (t->exchange) sg_trainer_exchange_begin(t);
    shards = sg_pool_run(t->pool, t->team.own.count, run_shard, t);
    clock[2] = sg_now();
    SG_TRY(add_shards(t, shards));
    clock[3] = sg_now();
    SG_TRY(run_update(t));
    if (t->shape[t->at_shape].rows) SG_TRY(sg_trainer_rows_step(t));
    clock[4] = sg_now();
    if (sg_trainer_profiled(t)) add_times(t->times, clock);
    memcpy(t->sum, t->grads[0] + t->table->n_values, sizeof t->sum);
    return SG_OK;
}

int sg_trainer_ahead(const sg_trainer *t) {
    return t->device && !t->team.reduce ? SG_TRAINER_SLOTS : 1;
}
int sg_trainer_under_way(const sg_trainer *t) { return t->under_way; }

sg_status sg_trainer_launch(sg_trainer *t, int shape, const void *const inputs[], double lr) {
    if (shape < 0 || shape >= t->n_shapes)
        return sg_fail(SG_ERR_ARG, "trainer: shape %d of a batch; there are %d", shape,
                       t->n_shapes);
    if (t->under_way == sg_trainer_ahead(t))
        return sg_fail(SG_ERR_ARG, "trainer: %d steps are under way, none more may be",
                       t->under_way);
    t->inputs = inputs;
    t->at_shape = shape;
    SG_TRY(t->device ? sg_trainer_device_launch(t, lr) : step_here(t, lr));
    t->under_way++;
    return SG_OK;
}

sg_status sg_trainer_settle(sg_trainer *t, sg_step_report *report) {
    if (t->under_way == 0) return sg_fail(SG_ERR_ARG, "trainer: no step is under way");
    if (t->device) SG_TRY(sg_trainer_device_settle(t));
    t->under_way--;
    t->state->step++;
    t->state->samples += t->options.batch;
    fill_report(t, report);
    return SG_OK;
}

sg_status sg_trainer_step(sg_trainer *t, int shape, const void *const inputs[], double lr,
                          sg_step_report *report) {
    SG_TRY(sg_trainer_launch(t, shape, inputs, lr));
    return sg_trainer_settle(t, report);
}
