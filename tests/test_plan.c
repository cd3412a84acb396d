/* The planner: what is left out, what runs once, views and sinks, update programs. Layouts and
 * memory have test_layouts.c. */
#include "graph_fixture.h"

#include <string.h>

#include "ops/ops.h"
#include "spotgrad.h"

/* Steps of that op; conversions of its value are not counted. */
static int count(const sg_program *p, const char *op, bool prologue) {
    int n = 0;

    for (int i = 0; i < sg_program_steps(p); i++) {
        sg_step_view step = sg_program_step(p, i);

        n += !step.conversion && step.prologue == prologue && !strcmp(step.node->op->name, op);
    }
    return n;
}

/* --- what a program holds --------------------------------------------------------------------- */

static void dead_nodes(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(4)), *y = sg_relu(g, x);
    float in[4] = {-1, 2, -3, 4}, out[4];
    sg_program *p;
    sg_bindings b;

    (void)unused;
    sg_silu(g, sg_silu(g, y)); /* leads nowhere */
    sg_output(g, "y", sg_scale(g, y, 2.0f));
    p = compile(g, &sg_backend_ref, false);
    assert_int_equal(sg_program_steps(p), 2);
    assert_int_equal(count(p, "silu", false), 0);
    memset(&b, 0, sizeof b);
    b.input[0] = in;
    b.output[0] = out;
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    for (int i = 0; i < 4; i++) assert_true(out[i] == (in[i] > 0 ? 2 * in[i] : 0));
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

/* In training nobody binds the outputs, and what only they need is not computed. */
static void outputs_left_out(void **unused) {
    sg_compile_options o = {.no_outputs = true};
    sg_table *table;
    sg_value *x, *y, *loss;
    sg_program *p;
    sg_graph *g;
    float in[4] = {1, 2, 3, 4}, values[16] = {2, 2, 2, 2}, grads[16 + SG_MAX_SUMS] = {0};
    sg_bindings b;

    (void)unused;
    assert_int_equal(sg_table_create(&table), SG_OK);
    g = new_graph(SG_TRAIN, table);
    x = sg_input(g, "x", SG_F32, sg_shape_1(4));
    y = sg_mul(g, x, sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(4), kOne));
    loss = sg_sum(g, y);
    sg_output(g, "y", y);
    sg_output(g, "silu", sg_silu(g, y));
    sg_output(g, "loss", loss); /* first an output, then a sum */
    sg_loss(g, loss, NULL);
    sg_table_freeze(table);
    assert_int_equal(sg_program_compile(g, &sg_backend_ref, &o, &p), SG_OK);
    assert_int_equal(count(p, "silu", false), 0);
    memset(&b, 0, sizeof b);
    b.input[0] = in;
    b.base[SG_BUF_VALUES] = values;
    b.base[SG_BUF_GRADS] = grads;
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    for (int i = 0; i < 4; i++) assert_true(grads[i] == in[i]);
    assert_true(grads[16 + SG_SUM_LOSS] == 20.0f);
    sg_program_destroy(p);
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

/* Folding a norm into its filter depends on parameters alone: once, not once a shard. */
static void prologue(void **unused) {
    sg_table *table;
    sg_graph *g;
    sg_value *x;
    sg_program *p;
    bool body = false;

    (void)unused;
    assert_int_equal(sg_table_create(&table), SG_OK);
    g = new_graph(SG_EVAL, table);
    x = sg_input(g, "x", SG_F32, sg_shape_4(1, 3, 8, 8));
    x = sg_conv_norm_act(g, "stem", x, 8, 3, 1, SG_ACT_RELU, NULL);
    sg_output(g, "y", x);
    sg_output(
        g, "w",
        sg_scale(g, sg_param(g, "stem.norm.weight", SG_ENTRY_NO_DECAY, sg_shape_1(8), kOne), 2.0f));
    sg_table_freeze(table);
    p = compile(g, &sg_backend_ref, false);
    assert_int_equal(count(p, "norm_fold", true), 1);
    assert_int_equal(count(p, "norm_fold", false), 0);
    assert_int_equal(count(p, "conv2d", false), 1);
    assert_int_equal(count(p, "scale", false), 1); /* static, but written to an output */
    assert_true(sg_program_weights_bytes(p) >= (8 * 3 * 9 + 8) * sizeof(float));
    for (int i = 0; i < sg_program_steps(p); i++) {
        assert_false(body && sg_program_step(p, i).prologue); /* prologue first */
        body = !sg_program_step(p, i).prologue;
    }
    sg_program_destroy(p);
    p = compile(g, &sg_backend_cpu, false); /* the same, with filters converted */
    assert_int_equal(count(p, "norm_fold", true), 1);
    assert_true(conversions(p, true) >= 1);
    sg_program_destroy(p);
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

static void views_and_sinks(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(4)), *y = sg_scale(g, x, 2.0f);
    float in[4] = {1, 2, 3, 4}, out[6][4];
    sg_program *p;
    sg_bindings b;

    (void)unused;
    sg_output(g, "view", sg_reshape(g, y, sg_shape_2(2, 2)));
    sg_output(g, "y", y);
    sg_output(g, "again", y);
    sg_output(g, "stopped", sg_stop_gradient(g, sg_reshape(g, y, sg_shape_2(4, 1))));
    sg_output(g, "x", x);
    sg_output(g, "next", sg_scale(g, y, 2.0f)); /* must not spoil y, which is an output */
    for (int keep = 0; keep < 2; keep++) {
        p = compile(g, &sg_backend_ref, keep);
        memset(&b, 0, sizeof b);
        memset(out, 0xff, sizeof out);
        b.input[0] = in;
        for (int i = 0; i < 6; i++) b.output[i] = out[i];
        assert_int_equal(sg_program_run_once(p, &b), SG_OK);
        for (int i = 0; i < 4; i++) {
            for (int k = 0; k < 4; k++) assert_true(out[k][i] == 2 * in[i]);
            assert_true(out[4][i] == in[i] && out[5][i] == 4 * in[i]);
        }
        sg_program_destroy(p);
    }
    sg_graph_destroy(g);
}

static void not_frozen(void **unused) {
    sg_table *table;
    sg_program *p = NULL;
    sg_graph *g;

    (void)unused;
    assert_int_equal(sg_table_create(&table), SG_OK);
    g = new_graph(SG_EVAL, table);
    sg_output(g, "w", sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(4), kOne));
    assert_int_equal(sg_program_compile(g, &sg_backend_ref, NULL, &p), SG_ERR_ARG);
    sg_table_freeze(table);
    sg_add(g, NULL, NULL);
    assert_int_equal(sg_program_compile(g, &sg_backend_ref, NULL, &p), SG_ERR_ARG);
    assert_non_null(strstr(sg_last_error(), "add: input 0 is missing"));
    assert_null(p);
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

/* --- update programs -------------------------------------------------------------------------- */

static sg_value *view(sg_graph *g, int64_t start, int64_t n) {
    return sg_view_of(g, SG_F32, SG_BUF_VALUES, start * (int64_t)sizeof(float), sg_shape_1(n));
}

static void in_place_update(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    float values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    sg_value *next = sg_add(g, view(g, 0, 4), view(g, 4, 4));
    sg_program *p;
    sg_bindings b;

    (void)unused;
    sg_sink(g, next, SG_BUF_VALUES, 0);
    sg_sink(g, sg_scale(g, next, 10.0f), SG_BUF_VALUES, 4 * sizeof(float));
    p = compile(g, &sg_backend_ref, false);
    assert_int_equal(sg_program_arena_bytes(p), 0); /* nothing but the two buffers */
    assert_int_equal(sg_program_steps(p), 2);
    memset(&b, 0, sizeof b);
    b.base[SG_BUF_VALUES] = values;
    for (int round = 0; round < 2; round++) assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    /* 6 8 10 12 | 60 80 100 120, then */
    for (int i = 0; i < 4; i++)
        assert_true(values[i] == 66 + 22 * (float)i && values[4 + i] == 10 * values[i]);
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

static void assert_refused(sg_graph *g, const char *text) {
    sg_program *p = NULL;

    assert_int_equal(sg_program_compile(g, &sg_backend_ref, NULL, &p), SG_ERR_UNSUPPORTED);
    if (!strstr(sg_last_error(), text)) fail_msg("'%s' is not in: %s", text, sg_last_error());
    assert_null(p);
    sg_graph_destroy(g);
}

static void bad_updates(void **unused) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    sg_value *w = view(g, 0, 4);

    (void)unused;
    sg_sink(g, sg_slice(g, sg_reshape(g, w, sg_shape_2(1, 4)), 0, 4), SG_BUF_VALUES, 0);
    assert_refused(g, "slice: cannot write over its input 0");

    g = new_graph(SG_EVAL, NULL); /* add may write over its first input, not the second */
    sg_sink(g, sg_add(g, view(g, 4, 4), view(g, 0, 4)), SG_BUF_VALUES, 0);
    assert_refused(g, "add: cannot write over its input 1");

    g = new_graph(SG_EVAL, NULL); /* in place, but a float further */
    sg_sink(g, sg_scale(g, view(g, 0, 4), 2.0f), SG_BUF_VALUES, sizeof(float));
    assert_refused(g, "scale: cannot write over its input 0");

    g = new_graph(SG_EVAL, NULL); /* w is wanted after it was replaced */
    w = view(g, 0, 4);
    sg_sink(g, sg_scale(g, w, 2.0f), SG_BUF_VALUES, 0);
    sg_sink(g, sg_relu(g, w), SG_BUF_VALUES, 4 * sizeof(float));
    assert_refused(g, "relu: comes after scale has written there");

    g = new_graph(SG_EVAL, NULL); /* two results overlap */
    w = view(g, 0, 4);
    sg_sink(g, sg_scale(g, w, 2.0f), SG_BUF_VALUES, 4 * sizeof(float));
    sg_sink(g, sg_relu(g, w), SG_BUF_VALUES, 6 * sizeof(float));
    assert_refused(g, "relu: comes after scale has written there");

    g = new_graph(SG_EVAL, NULL);
    w = view(g, 0, 4);
    sg_sink(g, sg_scale(g, w, 2.0f), SG_BUF_VALUES, 0);
    sg_sink(g, sg_relu(g, w), SG_BUF_VALUES, 0);
    assert_int_equal(sg_graph_status(g), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "relu: is to be written where scale is");
    sg_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_nodes),  cmocka_unit_test(outputs_left_out),
        cmocka_unit_test(prologue),    cmocka_unit_test(views_and_sinks),
        cmocka_unit_test(not_frozen),  cmocka_unit_test(in_place_update),
        cmocka_unit_test(bad_updates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
