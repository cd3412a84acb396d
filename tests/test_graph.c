/* Building graphs: names, errors, the state's table, gradients. The planner has test_plan.c. */
#include "graph_fixture.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "ops/ops.h"
#include "spotgrad.h"

static const sg_init kNormal = {SG_INIT_NORMAL, 1.0f};

static sg_table *new_table(void) {
    sg_table *table;

    assert_int_equal(sg_table_create(&table), SG_OK);
    return table;
}

/* The graph has failed with a text that holds `text`. */
static void assert_failed(const sg_graph *g, sg_status st, const char *text) {
    assert_int_equal(sg_graph_status(g), st);
    if (!strstr(sg_last_error(), text)) fail_msg("'%s' is not in: %s", text, sg_last_error());
}

/* Compile for the reference, run once; afterwards nothing of it is left. */
static void run_once(const sg_graph *g, sg_bindings *b) {
    sg_program *p;

    assert_int_equal(sg_program_compile(g, &sg_backend_ref, NULL, &p), SG_OK);
    assert_int_equal(sg_program_run_once(p, b), SG_OK);
    sg_program_destroy(p);
}

/* --- building --------------------------------------------------------------------------------- */

static void names(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(4)), *a, *b, *c, *d;

    (void)unused;
    a = sg_relu(g, x);
    b = sg_relu(g, x);
    sg_scope(g, "block%d", 2);
    c = sg_relu(g, x);
    sg_scope(g, "dotted.name");
    d = sg_relu(g, x);
    sg_scope_end(g);
    assert_string_equal(sg_relu(g, x)->node->name, "block2.relu#2");
    sg_scope_end(g);
    assert_string_equal(a->node->name, "relu");
    assert_string_equal(b->node->name, "relu#2");
    assert_string_equal(c->node->name, "block2.relu");
    assert_string_equal(d->node->name, "block2.dotted.name.relu");
    assert_string_equal(sg_relu(g, x)->node->name, "relu#3");
    sg_scope_end(g); /* one too many is harmless */
    for (int i = 0; i < 40; i++) sg_silu(g, x);
    for (int i = 0; i < sg_graph_nodes(g); i++) {
        assert_int_equal(sg_graph_node(g, i)->id, i);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(sg_graph_node(g, i)->name, sg_graph_node(g, j)->name);
    }
    for (int i = 0; i < sg_graph_values(g); i++) assert_int_equal(sg_graph_value(g, i)->id, i);
    assert_int_equal(sg_graph_status(g), SG_OK);
    sg_graph_destroy(g);
}

static void deep_scopes(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(4));

    (void)unused;
    for (int i = 0; i < 16; i++) sg_scope(g, "a-scope-with-a-rather-long-name-%d", i);
    assert_non_null(sg_relu(g, x)); /* names that are too long are cut, and still unique */
    assert_string_not_equal(sg_relu(g, x)->node->name, sg_relu(g, x)->node->name);
    for (int i = 0; i < 16; i++) sg_scope_end(g);
    assert_string_equal(sg_silu(g, x)->node->name, "silu");
    for (int i = 0; i < 17; i++) sg_scope(g, "s");
    assert_failed(g, SG_ERR_ARG, "more than 16 deep");
    sg_graph_destroy(g);
}

static void first_error_is_kept(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_2(2, 3));
    sg_value *y = sg_input(g, "y", SG_F32, sg_shape_2(3, 2));
    sg_value *bad;
    int nodes;

    (void)unused;
    sg_scope(g, "head");
    bad = sg_add(g, x, y);
    assert_null(bad);
    nodes = sg_graph_nodes(g);
    /* everything after it is quiet */
    assert_null(sg_relu(g, bad));
    assert_null(sg_relu(g, x));
    assert_null(sg_input(g, "z", SG_F32, sg_shape_1(1)));
    assert_null(sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(1), kOne));
    assert_null(sg_constant(g, SG_F32, sg_shape_0(), &(float){1.0f}));
    assert_null(sg_linear(g, "classify", bad, 3));
    assert_null(sg_concat(g, (sg_value *[]){bad, x}, 2));
    sg_output(g, "y", bad);
    sg_loss(g, bad, NULL);
    assert_int_equal(sg_graph_nodes(g), nodes);
    assert_int_equal(sg_graph_outputs(g), 0);
    assert_failed(g, SG_ERR_ARG, "head.add (add): ");
    assert_non_null(strstr(sg_last_error(), "(2, 3) (3, 2)"));
    sg_fail(SG_ERR_IO, "something else");
    assert_failed(g, SG_ERR_ARG, "head.add (add): ");
    assert_int_equal(sg_gradients(g, x), SG_ERR_ARG);
    sg_graph_destroy(g);
}

static void missing_input(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);

    (void)unused;
    assert_null(sg_relu(g, NULL)); /* nothing has failed before: it is the caller's fault */
    assert_failed(g, SG_ERR_ARG, "relu: input 0 is missing");
    sg_graph_destroy(g);
    g = new_graph(SG_TRAIN, NULL);
    sg_loss(g, NULL, NULL);
    assert_failed(g, SG_ERR_ARG, "loss");
    sg_graph_destroy(g);
    g = new_graph(SG_EVAL, NULL);
    assert_null(sg_conv_norm_act(g, "stem", NULL, 8, 3, 2, SG_ACT_SILU, NULL));
    assert_failed(g, SG_ERR_ARG, "layer stem: input is missing");
    sg_graph_destroy(g);
    g = new_graph(SG_EVAL, NULL);
    sg_output(g, "boxes", NULL);
    assert_failed(g, SG_ERR_ARG, "output boxes: there is no value");
    sg_graph_destroy(g);
}

static void bad_shapes(void **unused) {
    static const int64_t bad[] = {-1, INT64_MIN, INT64_MAX, (int64_t)1 << 41};
    sg_table *table = new_table();
    float x = 0.0f;

    (void)unused;
    for (int i = 0; i < 4; i++) {
        for (int kind = 0; kind < 5; kind++) {
            sg_graph *g = new_graph(SG_TRAIN, table);
            sg_shape shape = sg_shape_3(2, bad[i], 0);
            sg_value *one = sg_input(g, "one", SG_F32, sg_shape_2(1, 1)), *v = one;

            assert_non_null(one);
            if (kind == 0) v = sg_input(g, "x", SG_F32, shape);
            if (kind == 1) v = sg_param(g, "w", SG_ENTRY_DECAY, shape, kOne);
            if (kind == 2) v = sg_constant(g, SG_F32, shape, &x);
            if (kind == 3) v = sg_view_of(g, SG_F32, SG_BUF_VALUES, 0, shape);
            if (kind == 4) v = sg_linear(g, "wide", one, bad[i]);
            assert_null(v);
            assert_int_equal(sg_graph_status(g), SG_ERR_ARG);
            sg_graph_destroy(g);
        }
    }
    assert_int_equal(table->n_entries, 0);
    sg_table_destroy(table);
}

/* A statistic that nothing feeds would be drawn to zero by the updates. */
static void forgotten_statistic(void **unused) {
    sg_table *table = new_table();
    sg_graph *g = new_graph(SG_TRAIN, table);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(3)), *stat;

    (void)unused;
    stat = sg_param(g, "norm.mean", SG_ENTRY_STAT, sg_shape_1(3), kOne);
    assert_int_equal(sg_check_stats(g), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "statistic norm.mean: training contributes nothing to it");
    sg_stat_into(g, stat, x);
    assert_int_equal(sg_check_stats(g), SG_OK);
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

static void inputs_and_outputs(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(4));
    sg_value *y = sg_input(g, "y", SG_I32, sg_shape_1(4));

    (void)unused;
    assert_ptr_equal(sg_input(g, "x", SG_F32, sg_shape_1(4)), x);
    assert_int_equal(sg_graph_inputs(g), 2);
    assert_ptr_equal(sg_graph_input(g, 1), y);
    assert_string_equal(sg_graph_input_name(g, 1), "y");
    sg_output(g, "copy", x);
    assert_ptr_equal(sg_graph_output(g, 0), x);
    assert_string_equal(sg_graph_output_name(g, 0), "copy");
    sg_output(g, "copy", x);
    assert_failed(g, SG_ERR_ARG, "output copy: named twice");
    sg_graph_destroy(g);

    g = new_graph(SG_EVAL, NULL);
    sg_input(g, "x", SG_F32, sg_shape_1(4));
    assert_null(sg_input(g, "x", SG_I32, sg_shape_1(4)));
    assert_failed(g, SG_ERR_ARG, "input x: asked for in two shapes");
    sg_graph_destroy(g);

    g = new_graph(SG_EVAL, NULL);
    assert_null(sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(4), kOne));
    assert_failed(g, SG_ERR_ARG, "parameter w: the graph has no table");
    sg_graph_destroy(g);
}

static void too_many(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    char name[8] = "i00";

    (void)unused;
    for (int i = 0; i <= SG_MAX_INPUTS; i++) {
        assert_int_equal(sg_graph_status(g), SG_OK);
        name[1] = (char)('0' + i / 10);
        name[2] = (char)('0' + i % 10);
        sg_input(g, name, SG_F32, sg_shape_1(1));
    }
    assert_failed(g, SG_ERR_ARG, "input i16: more than 16");
    sg_graph_destroy(g);
    g = new_graph(SG_EVAL, NULL);
    assert_null(sg_concat(g, NULL, 9));
    assert_failed(g, SG_ERR_ARG, "concat: 9 values");
    sg_graph_destroy(g);
}

/* Two writers of one place: the second would win in silence. */
static void written_twice(void **unused) {
    sg_table *table = new_table();
    sg_graph *g = new_graph(SG_TRAIN, table);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(3)), *stat;

    (void)unused;
    sg_sum_into(g, "extra", sg_sum(g, x));
    assert_int_equal(sg_graph_status(g), SG_OK);
    sg_sum_into(g, "extra", sg_sum(g, sg_relu(g, x)));
    assert_failed(g, SG_ERR_ARG, "sum extra");
    sg_graph_destroy(g);

    g = new_graph(SG_TRAIN, table);
    x = sg_input(g, "x", SG_F32, sg_shape_1(3));
    stat = sg_param(g, "norm.mean", SG_ENTRY_STAT, sg_shape_1(3), kOne);
    sg_stat_into(g, stat, sg_relu(g, x));
    assert_int_equal(sg_graph_status(g), SG_OK);
    sg_stat_into(g, sg_param(g, "norm.mean", SG_ENTRY_STAT, sg_shape_1(3), kOne), x);
    assert_failed(g, SG_ERR_ARG, "norm.mean");
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

/* --- the table and the state ------------------------------------------------------------------ */

static int entry(sg_table *table, const char *name, sg_entry_kind kind, int64_t n, sg_init init) {
    sg_shape shape = sg_shape_1(n);
    int index;

    assert_int_equal(sg_table_entry(table, name, kind, &shape, init, &index), SG_OK);
    return index;
}

static void table_layout(void **unused) {
    sg_table *table = new_table();
    int64_t end = 0;
    int last = -1, slot;

    (void)unused;
    entry(table, "stat", SG_ENTRY_STAT, 5, kOne);
    entry(table, "bias", SG_ENTRY_NO_DECAY, 17, kOne);
    entry(table, "weight", SG_ENTRY_DECAY, 33, kOne);
    entry(table, "weight2", SG_ENTRY_DECAY, 1, kOne);
    assert_int_equal(entry(table, "bias", SG_ENTRY_NO_DECAY, 17, kOne), 1);
    assert_int_equal(sg_table_find(table, "weight"), 2);
    assert_int_equal(sg_table_find(table, "weigh"), -1);
    assert_int_equal(sg_table_sum(table, "box", &slot), SG_OK);
    assert_int_equal(slot, 2);
    assert_int_equal(sg_table_sum(table, "loss", &slot), SG_OK);
    assert_int_equal(slot, SG_SUM_LOSS);
    sg_table_freeze(table);
    sg_table_freeze(table);
    /* decay | no decay | statistics, each entry at a multiple of 16 floats, none overlapping */
    for (int kind = 0; kind < SG_ENTRY_KINDS; kind++) {
        for (int i = 0; i < table->n_entries; i++) {
            const sg_entry *e = &table->entry[i];

            if ((int)e->kind != kind) continue;
            assert_int_equal(e->offset % 16, 0);
            assert_true(e->offset >= end && e->offset < end + 16);
            assert_true(last <= kind);
            end = e->offset + e->count;
            last = kind;
        }
    }
    assert_int_equal(table->n_decay, 48 + 16);
    assert_int_equal(table->n_params, 48 + 16 + 32);
    assert_int_equal(table->n_values, 48 + 16 + 32 + 16);
    assert_int_equal(table->n_grads, table->n_values + SG_MAX_SUMS);
    sg_table_destroy(table);
}

static void table_errors(void **unused) {
    sg_table *table = new_table();
    sg_shape shape = sg_shape_2(2, 3), other = sg_shape_2(3, 2);
    int index = -7, slot = -7;

    (void)unused;
    assert_int_equal(sg_table_entry(table, "w", SG_ENTRY_DECAY, &shape, kOne, &index), SG_OK);
    index = -7;
    assert_int_equal(sg_table_entry(table, "w", SG_ENTRY_DECAY, &other, kOne, &index), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "parameter w: has shape (2, 3), asked for as (3, 2)");
    assert_int_equal(sg_table_entry(table, "w", SG_ENTRY_STAT, &shape, kOne, &index), SG_ERR_ARG);
    sg_table_freeze(table);
    assert_int_equal(sg_table_entry(table, "v", SG_ENTRY_DECAY, &shape, kOne, &index), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "parameter v: the model was built without it");
    assert_int_equal(index, -7);
    assert_int_equal(sg_table_sum(table, "late", &slot), SG_ERR_ARG);
    assert_int_equal(sg_table_sum(table, "loss", &slot), SG_OK);
    sg_table_destroy(table);

    table = new_table();
    for (int i = 2; i <= SG_MAX_SUMS; i++) {
        char name[] = {(char)('a' + i), '\0'};

        assert_int_equal(sg_table_sum(table, name, &slot), i < SG_MAX_SUMS ? SG_OK : SG_ERR_ARG);
    }
    sg_table_destroy(table);
}

/* Values of "w" of a state whose table was filled in the given order. */
static void draw_w(const char *const order[], int n, uint64_t seed, float w[40]) {
    sg_table *table = new_table();
    sg_state *state;

    for (int i = 0; i < n; i++) entry(table, order[i], SG_ENTRY_DECAY, 40, kNormal);
    sg_table_freeze(table);
    assert_int_equal(sg_state_create(table, 2, &state), SG_OK);
    sg_state_init(state, seed);
    memcpy(w, state->values + table->entry[sg_table_find(table, "w")].offset, 40 * sizeof *w);
    assert_memory_equal(state->values, state->ema, (size_t)table->n_values * sizeof(float));
    for (int64_t i = 0; i < table->n_params; i++)
        assert_true(state->moment[0][i] == 0.0f && state->moment[1][i] == 0.0f);
    for (int i = 0; i < n; i++) /* padding is zero */
        for (int64_t k = 40; k < 48; k++)
            assert_true(state->values[table->entry[i].offset + k] == 0.0f);
    sg_state_destroy(state);
    sg_table_destroy(table);
}

static void initial_values(void **unused) {
    static const char *const one[] = {"a", "w", "b"}, *const two[] = {"b", "z", "a", "w"},
                             *const alone[] = {"w"};
    float x[40], y[40];
    double sum = 0.0, square = 0.0;

    (void)unused;
    draw_w(one, 3, 5, x);
    draw_w(two, 4, 5, y);
    assert_memory_equal(x, y, sizeof x);
    draw_w(alone, 1, 5, y);
    assert_memory_equal(x, y, sizeof x);
    draw_w(alone, 1, 6, y);
    assert_memory_not_equal(x, y, sizeof x);
    for (int i = 0; i < 40; i++) {
        sum += (double)x[i];
        square += (double)x[i] * (double)x[i];
    }
    assert_true(fabs(sum / 40) < 0.5 && square / 40 > 0.5 && square / 40 < 2.0);
}

static void kinds_of_draws(void **unused) {
    sg_table *table = new_table();
    sg_shape filter = sg_shape_4(64, 8, 3, 3);
    double square = 0.0;
    sg_state *state;
    const float *w;
    int k;

    (void)unused;
    assert_int_equal(sg_table_entry(table, "kaiming", SG_ENTRY_DECAY, &filter,
                                    (sg_init){SG_INIT_KAIMING, 1.0f}, &k),
                     SG_OK);
    entry(table, "constant", SG_ENTRY_DECAY, 3, (sg_init){SG_INIT_CONSTANT, -4.5f});
    entry(table, "uniform", SG_ENTRY_DECAY, 1000, (sg_init){SG_INIT_UNIFORM, 0.25f});
    sg_table_freeze(table);
    assert_int_equal(sg_state_create(table, 0, &state), SG_OK);
    sg_state_init(state, 1);
    w = state->values + table->entry[0].offset;
    for (int64_t i = 0; i < 64 * 72; i++) square += (double)w[i] * (double)w[i];
    assert_true(fabs(square / (64 * 72) * 72 / 2 - 1.0) < 0.1); /* variance 2 / fan-in, 72 */
    w = state->values + table->entry[1].offset;
    for (int i = 0; i < 3; i++) assert_true(w[i] == -4.5f);
    w = state->values + table->entry[2].offset;
    for (int i = 0; i < 1000; i++) assert_true(w[i] >= -0.25f && w[i] < 0.25f);
    sg_state_destroy(state);
    sg_table_destroy(table);
}

/* --- gradients -------------------------------------------------------------------------------- */

/* The gradient of sum(f(x)) at x = 1, 2, 3. */
typedef sg_value *(*function)(sg_graph *g, sg_value *x);

static void gradient(function f, float dx[3]) {
    static const float at[] = {1.0f, 2.0f, 3.0f};
    sg_graph *g = new_graph(SG_TRAIN, NULL);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(3));
    sg_bindings b;

    sg_require_grad(x);
    assert_int_equal(sg_gradients(g, sg_sum(g, f(g, x))), SG_OK);
    sg_output(g, "dx", sg_gradient_of(g, x));
    memset(&b, 0, sizeof b);
    b.input[0] = at;
    b.output[0] = dx;
    run_once(g, &b);
    sg_graph_destroy(g);
}

static sg_value *twice(sg_graph *g, sg_value *x) { return sg_add(g, x, x); }
static sg_value *square(sg_graph *g, sg_value *x) { return sg_mul(g, x, x); }
static sg_value *cube(sg_graph *g, sg_value *x) { return sg_mul(g, sg_mul(g, x, x), x); }
static sg_value *half_stopped(sg_graph *g, sg_value *x) {
    return sg_mul(g, sg_stop_gradient(g, x), sg_scale(g, x, 2.0f));
}
static sg_value *through_views(sg_graph *g, sg_value *x) {
    sg_value *y = sg_reshape(g, x, sg_shape_2(1, 3));

    return sg_reshape(g, sg_mul(g, y, sg_reshape(g, x, sg_shape_2(1, 3))), sg_shape_1(3));
}

static void used_twice(void **unused) {
    float dx[3];

    (void)unused;
    gradient(twice, dx);
    for (int i = 0; i < 3; i++) assert_true(dx[i] == 2.0f);
    gradient(square, dx);
    for (int i = 0; i < 3; i++) assert_true(dx[i] == 2.0f * (float)(i + 1));
    gradient(cube, dx);
    for (int i = 0; i < 3; i++) assert_true(dx[i] == 3.0f * (float)((i + 1) * (i + 1)));
    gradient(half_stopped, dx); /* the derivative of c * 2x */
    for (int i = 0; i < 3; i++) assert_true(dx[i] == 2.0f * (float)(i + 1));
    gradient(through_views, dx);
    for (int i = 0; i < 3; i++) assert_true(dx[i] == 2.0f * (float)(i + 1));
}

/* sum(w * w * x), w asked for twice by name, v untouched by the loss. */
static void shared_parameter(void **unused) {
    sg_table *table = new_table();
    sg_graph *g = new_graph(SG_TRAIN, table);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(3));
    sg_value *w = sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(3), kOne), *again;
    static const float at[] = {1.0f, 2.0f, 3.0f};
    float values[64] = {2.0f, 3.0f, 4.0f}, grads[64 + SG_MAX_SUMS] = {0.0f};
    sg_bindings b;

    (void)unused;
    sg_param(g, "v", SG_ENTRY_DECAY, sg_shape_1(3), kOne);
    again = sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(3), kOne);
    assert_ptr_not_equal(again, w);
    sg_loss(g, sg_sum(g, sg_mul(g, sg_mul(g, w, again), x)), NULL);
    assert_int_equal(sg_graph_status(g), SG_OK);
    sg_table_freeze(table);
    assert_int_equal(table->n_values, 32);
    memset(&b, 0, sizeof b);
    b.input[0] = at;
    b.base[SG_BUF_VALUES] = values;
    b.base[SG_BUF_GRADS] = grads;
    run_once(g, &b);
    assert_true(grads[0] == 4.0f && grads[1] == 12.0f && grads[2] == 24.0f);
    for (int i = 3; i < 32; i++) assert_true(grads[i] == 0.0f);
    assert_true(grads[32 + SG_SUM_NORMALISER] == 3.0f);
    assert_true(grads[32 + SG_SUM_LOSS] == 4.0f + 2.0f * 9.0f + 3.0f * 16.0f);
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

static void gradient_errors(void **unused) {
    sg_table *table = new_table();
    sg_graph *g = new_graph(SG_TRAIN, table);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(3));
    sg_value *w = sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(3), kOne);
    sg_value *loss;

    (void)unused;
    assert_int_equal(sg_gradients(g, NULL), SG_ERR_ARG);
    assert_int_equal(sg_gradients(g, w), SG_ERR_ARG);
    assert_non_null(strstr(sg_last_error(), "param: a loss must be an f32 scalar"));
    assert_int_equal(sg_gradients(g, sg_sum(g, x)), SG_ERR_ARG);
    assert_non_null(strstr(sg_last_error(), "depends on no parameter"));
    assert_int_equal(sg_gradients(g, sg_sum(g, sg_stop_gradient(g, w))), SG_ERR_ARG);
    loss = sg_sum(g, sg_mul(g, x, w));
    assert_int_equal(sg_gradients(g, loss), SG_OK);
    assert_int_equal(sg_gradients(g, loss), SG_ERR_ARG);
    assert_non_null(strstr(sg_last_error(), "has them already"));
    sg_graph_destroy(g);

    /* relu_dx is a backward op: it has no rule */
    g = new_graph(SG_TRAIN, table);
    x = sg_input(g, "x", SG_F32, sg_shape_1(3));
    w = sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(3), kOne);
    sg_scope(g, "neck");
    loss = sg_sum(g, sg_relu_dx(g, x, w));
    sg_scope_end(g);
    sg_loss(g, loss, NULL);
    assert_failed(g, SG_ERR_UNSUPPORTED, "neck.relu_dx: relu_dx has no gradient rule");
    sg_graph_destroy(g);

    /* inference has no gradients, statistics never have */
    g = new_graph(SG_EVAL, table);
    sg_loss(g, sg_sum(g, sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(3), kOne)), NULL);
    assert_failed(g, SG_ERR_ARG, "not a training graph");
    sg_graph_destroy(g);
    g = new_graph(SG_TRAIN, table);
    assert_false(sg_wants_grad(sg_param(g, "s", SG_ENTRY_STAT, sg_shape_1(3), kOne)));
    assert_false(sg_wants_grad(NULL));
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

/* Nodes of the backward pass carry the name of the forward node that they differentiate. */
static void backward_names(void **unused) {
    sg_graph *g = new_graph(SG_TRAIN, NULL);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(3));

    (void)unused;
    sg_require_grad(x);
    sg_scope(g, "stem");
    assert_int_equal(sg_gradients(g, sg_sum(g, sg_silu(g, x))), SG_OK);
    assert_string_equal(sg_gradient_of(g, x)->node->name, "stem.silu.silu_dx");
    assert_string_equal(sg_relu(g, x)->node->name, "stem.relu");
    sg_scope_end(g);
    assert_string_equal(sg_relu(g, x)->node->name, "relu");
    sg_graph_destroy(g);
}

/* --- memory ----------------------------------------------------------------------------------- */

static sg_status build_all(sg_table *table, sg_graph *g, const sg_backend *backend,
                           sg_program **p) {
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_4(2, 3, 8, 8)), *y;

    sg_scope(g, "net");
    y = sg_conv_norm_act(g, "stem", x, 8, 3, 2, SG_ACT_SILU, NULL);
    y = sg_conv_norm_act(g, "block", y, 8, 3, 1, SG_ACT_RELU, y);
    y = sg_concat(g, (sg_value *[]){y, sg_max_pool2d(g, y, 3, 1, 1)}, 2);
    y = sg_linear(g, "classify", sg_global_avg_pool(g, y), 3);
    sg_scope_end(g);
    sg_loss(g, sg_cross_entropy(g, y, sg_input(g, "label", SG_I32, sg_shape_1(2))), NULL);
    SG_TRY(sg_graph_status(g));
    sg_table_freeze(table);
    return sg_program_compile(g, backend, NULL, p);
}

static void no_memory_for(const sg_backend *backend) {
    long live = sg_mem_live(), n = 0;
    sg_status st;

    do {
        sg_program *p = NULL;
        sg_table *table = NULL;
        sg_graph *g = NULL;

        sg_mem_fail_at(++n);
        st = sg_table_create(&table);
        if (st == SG_OK) st = sg_graph_create(SG_TRAIN, table, &g);
        if (st == SG_OK) st = build_all(table, g, backend, &p);
        sg_mem_fail_at(0);
        if (st != SG_OK) assert_int_equal(st, SG_ERR_OOM);
        if (st != SG_OK) assert_null(p);
        sg_program_destroy(p);
        sg_graph_destroy(g);
        sg_table_destroy(table);
        assert_int_equal(sg_mem_live(), live);
    } while (st != SG_OK);
    assert_true(n > 150);
}

static void no_memory(void **unused) {
    (void)unused;
    no_memory_for(&sg_backend_ref);
    no_memory_for(&sg_backend_cpu);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(deep_scopes),
        cmocka_unit_test(first_error_is_kept),
        cmocka_unit_test(missing_input),
        cmocka_unit_test(bad_shapes),
        cmocka_unit_test(forgotten_statistic),
        cmocka_unit_test(inputs_and_outputs),
        cmocka_unit_test(too_many),
        cmocka_unit_test(written_twice),
        cmocka_unit_test(table_layout),
        cmocka_unit_test(table_errors),
        cmocka_unit_test(initial_values),
        cmocka_unit_test(kinds_of_draws),
        cmocka_unit_test(used_twice),
        cmocka_unit_test(shared_parameter),
        cmocka_unit_test(gradient_errors),
        cmocka_unit_test(backward_names),
        cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
