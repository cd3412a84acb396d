/* What ops refuse, what gradients do not pass, updates in place, and builders without memory. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "core/mem.h"
#include "graph/program.h"
#include "ops/detect.h"
#include "ops/ops.h"

static sg_graph *new_graph(void) {
    sg_graph *g;

    assert_int_equal(sg_graph_create(SG_TRAIN, NULL, &g), SG_OK);
    return g;
}

/* --- refusals --------------------------------------------------------------------------------- */

/* Inputs to choose from. */
typedef struct {
    sg_graph *g;
    sg_value *map, *other_map, *flat_map, *filter, *matrix, *vector, *scalar, *bytes, *label, *ids,
        *texts;
    sg_value *tokens; /* of two texts, one number a place of `vector` each */
} shelf;

static shelf new_shelf(void) {
    shelf s = {.g = new_graph()};

    s.map = sg_input(s.g, "map", SG_F32, sg_shape_4(2, 6, 5, 7));
    s.other_map = sg_input(s.g, "other_map", SG_F32, sg_shape_4(2, 6, 5, 6));
    s.flat_map = sg_input(s.g, "flat_map", SG_F32, sg_shape_4(2, 6, 0, 7));
    s.filter = sg_input(s.g, "filter", SG_F32, sg_shape_4(4, 6, 3, 3));
    s.matrix = sg_input(s.g, "matrix", SG_F32, sg_shape_2(2, 6));
    s.tokens = sg_input(s.g, "tokens", SG_F32, sg_shape_3(2, 3, 5));
    s.vector = sg_input(s.g, "vector", SG_F32, sg_shape_1(5));
    s.scalar = sg_input(s.g, "scalar", SG_F32, sg_shape_0());
    s.bytes = sg_input(s.g, "bytes", SG_U8, sg_shape_4(2, 6, 5, 7));
    s.label = sg_input(s.g, "label", SG_I32, sg_shape_1(3));
    s.ids = sg_input(s.g, "ids", SG_I32, sg_shape_2(2, 3));
    s.texts = sg_input(s.g, "texts", SG_F32, sg_shape_3(2, 4, 18));
    return s;
}

/* Building it must fail and say so. */
#define REFUSED(text, expression)                                                                  \
    do {                                                                                           \
        shelf s = new_shelf();                                                                     \
        sg_graph *g = s.g;                                                                         \
        assert_null(expression);                                                                   \
        assert_int_equal(sg_graph_status(g), SG_ERR_ARG);                                          \
        if (!strstr(sg_last_error(), text)) fail_msg("it says: %s", sg_last_error());              \
        sg_graph_destroy(g);                                                                       \
    } while (0)

static void test_refused_pointwise(void **state) {
    (void)state;
    REFUSED("add (add): input 1 must have the shape of input 0; inputs (2, 6, 5, 7) (2, 6, 5, 6)",
            sg_add(g, s.map, s.other_map));
    REFUSED("input 1 must have", sg_mul(g, s.map, s.matrix));
    REFUSED("input 0 is u8, needed is f32", sg_relu(g, s.bytes));
    REFUSED("needed is f32; inputs i32(3)", sg_silu(g, s.label));
    REFUSED("input 0 is f32, needed is u8", sg_to_float(g, s.map, 1.0f, 0.0f));
    REFUSED("input 0 is missing", sg_scale(g, NULL, 1.0f));
}

static void test_refused_shape(void **state) {
    (void)state;
    REFUSED("(2, 5) has another number of elements", sg_reshape(g, s.matrix, sg_shape_2(2, 5)));
    REFUSED("negative", sg_reshape(g, s.matrix, sg_shape_2(-2, -6)));
    REFUSED("over 4 dimensions", sg_reshape(g, s.matrix, (sg_shape){.rank = 9, .dim = {12}}));
    REFUSED("over 4 dimensions", sg_reshape(g, s.matrix, (sg_shape){.rank = -1}));
    REFUSED("input 1 differs in dimension 3", sg_concat(g, (sg_value *[]){s.map, s.other_map}, 2));
    REFUSED("input 1 has 2 dimensions, needed are 4",
            sg_concat(g, (sg_value *[]){s.map, s.matrix}, 2));
    REFUSED("takes 2 to 8", sg_concat(g, &s.map, 1));
    REFUSED("takes 1 to 4",
            sg_levels_concat(g, (sg_value * [SG_MAX_IN + 1]){s.map}, SG_MAX_IN + 1));
    REFUSED("takes 1 to 4", sg_levels_concat(g, NULL, 0));
    REFUSED("axis 1", sg_concat(g, (sg_value *[]){s.vector, s.vector}, 2));
    REFUSED("input 1 is missing", sg_concat(g, (sg_value *[]){s.map, NULL}, 2));
    REFUSED("3 channels from 4 on are not all there", sg_slice(g, s.map, 4, 3));
    REFUSED("not all there", sg_slice(g, s.map, -1, 3));
    REFUSED("not all there", sg_slice(g, s.map, 7, 0));
    REFUSED("not all there", sg_slice(g, s.map, 1, INT64_MAX));
    REFUSED("axis 1", sg_slice(g, s.vector, 0, 1));
    REFUSED("outside the 7 of the output", sg_slice_dx(g, s.map, 2, 7));
    REFUSED("needed are 0", sg_fill(g, s.vector, sg_shape_1(3)));
}

static void test_refused_linear(void **state) {
    (void)state;
    REFUSED("the inner dimensions differ; inputs (2, 6) (2, 6)",
            sg_matmul(g, s.matrix, s.matrix, false, false));
    REFUSED("the first is transposed, the second is transposed",
            sg_matmul(g, s.matrix, s.matrix, true, true));
    REFUSED("input 0 has 4 dimensions, needed are 2", sg_matmul(g, s.map, s.matrix, false, false));
    REFUSED("one number a channel", sg_bias(g, s.map, s.vector));
    REFUSED("must be (M, C), (N, T, C) or (N, C, H, W)", sg_bias(g, s.vector, s.vector));
    REFUSED("must be (M, C), (N, T, C) or (N, C, H, W)", sg_bias_db(g, s.vector));
    REFUSED("input 0 must be (M, C) or (N, T, C)",
            sg_linear_with(g, s.map, s.matrix, NULL, SG_ACT_NONE));
    REFUSED("the filter has 6 columns, a row of the input 5",
            sg_linear_with(g, s.tokens, s.matrix, NULL, SG_ACT_NONE));
    REFUSED("a number for each of 2 outputs",
            sg_linear_with(g, s.matrix, s.matrix, s.vector, SG_ACT_NONE));
    REFUSED("needed are 2", sg_linear_with(g, s.tokens, s.tokens, NULL, SG_ACT_NONE));
    REFUSED("has not the gradient's columns",
            sg_linear_dx(g, s.tokens, s.matrix, NULL, SG_ACT_NONE));
    REFUSED("another shape than the result",
            sg_linear_dx(g, sg_matmul(g, s.matrix, s.matrix, false, true), s.matrix,
                         sg_slice(g, s.matrix, 0, 5), SG_ACT_SILU));
    REFUSED("as many rows", sg_linear_dw(g, s.matrix, s.tokens, true));
    REFUSED("layer head: input must be of rank 2 or 3, is (2, 6, 5, 7)",
            sg_linear(g, "head", s.map, 3));
}

static void test_refused_conv2d(void **state) {
    const sg_conv_options fine = {1, 1, 1, SG_ACT_NONE};
    const sg_shape map = sg_shape_4(2, 6, 5, 7), filter = sg_shape_4(4, 6, 3, 3);

    (void)state;
    REFUSED("do not fit the filters and 2 groups",
            sg_conv2d(g, s.map, s.filter, NULL, (sg_conv_options){1, 1, 2, SG_ACT_NONE}));
    REFUSED("do not fit the filters",
            sg_conv2d(g, s.filter, s.map, NULL, (sg_conv_options){1, 1, 4, SG_ACT_NONE}));
    REFUSED("stride 0, pad 1, groups 1: not possible",
            sg_conv2d(g, s.map, s.filter, NULL, (sg_conv_options){0, 1, 1, SG_ACT_NONE}));
    REFUSED("not possible",
            sg_conv2d(g, s.map, s.filter, NULL, (sg_conv_options){1, -1, 1, SG_ACT_NONE}));
    REFUSED("not possible",
            sg_conv2d(g, s.map, s.filter, NULL, (sg_conv_options){1, 1, 0, SG_ACT_NONE}));
    REFUSED("one number an output channel", sg_conv2d(g, s.map, s.filter, s.vector, fine));
    REFUSED("does not fit into the padded image (pad 0)",
            sg_conv2d(g, s.flat_map, s.filter, NULL, (sg_conv_options){1, 0, 1, SG_ACT_NONE}));
    REFUSED("needed are 4", sg_conv2d(g, s.map, s.matrix, NULL, fine));
    REFUSED("needed is f32", sg_conv2d(g, s.bytes, s.filter, NULL, fine));
    REFUSED("gelu is for linear layers",
            sg_conv2d(g, s.map, s.filter, NULL, (sg_conv_options){1, 1, 1, SG_ACT_GELU}));
    REFUSED("not of the output's shape", sg_conv2d_dx(g, s.filter, s.map, fine, map));
    REFUSED("not of the output's shape", sg_conv2d_dw(g, s.map, s.map, fine, filter));
}

static void test_refused_norm(void **state) {
    (void)state;
    REFUSED("input 1 needs one number a channel",
            sg_batch_norm(g, s.map, s.vector, s.vector, NULL, 1e-3f, SG_ACT_NONE));
    REFUSED("input 3 must have the shape of input 0",
            sg_batch_norm(g, s.map, sg_reshape(g, sg_slice(g, s.matrix, 0, 3), sg_shape_1(6)),
                          sg_reshape(g, sg_slice(g, s.matrix, 3, 3), sg_shape_1(6)), s.other_map,
                          1e-3f, SG_ACT_NONE));
    REFUSED("eps must be above 0",
            sg_batch_norm(g, s.map, sg_reshape(g, sg_slice(g, s.matrix, 0, 3), sg_shape_1(6)),
                          sg_reshape(g, sg_slice(g, s.matrix, 3, 3), sg_shape_1(6)), NULL, 0.0f,
                          SG_ACT_NONE));
    REFUSED("input 1 needs one number a channel",
            sg_norm_fold(g, s.filter, s.vector, s.vector, s.vector, s.vector, 1e-3f));
}

static void test_refused_pool(void **state) {
    (void)state;
    REFUSED("kernel 3, stride 1, pad 2: not possible", sg_max_pool2d(g, s.map, 3, 1, 2));
    REFUSED("not possible", sg_max_pool2d(g, s.map, 0, 1, 0));
    REFUSED("not possible", sg_max_pool2d(g, s.map, 2, 0, 0));
    REFUSED("a window of 8 does not fit", sg_max_pool2d(g, s.map, 8, 1, 1));
    REFUSED("does not fit", sg_max_pool2d(g, s.flat_map, 1, 1, 0));
    REFUSED("no pixels", sg_global_avg_pool(g, s.flat_map));
    REFUSED("as many channels", sg_global_avg_pool_dx(g, s.matrix, sg_shape_4(2, 5, 3, 3)));
    REFUSED("must be even", sg_upsample2x_dx(g, s.map));
    REFUSED("not of the output's shape", sg_max_pool2d_dx(g, s.map, s.map, 2, 2, 0));
}

static void test_refused_softmax(void **state) {
    (void)state;
    REFUSED("needed are 2", sg_softmax(g, s.map));
    REFUSED("each row needs one label", sg_cross_entropy(g, s.matrix, s.label));
    REFUSED("input 1 is f32, needed is i32", sg_cross_entropy(g, s.matrix, s.vector));
}

static void test_refused_text(void **state) {
    (void)state;
    REFUSED("input 0 is f32, needed is i32", sg_embedding(g, s.matrix, s.matrix, NULL));
    REFUSED("input 0 has 1 dimensions, needed are 2", sg_embedding(g, s.label, s.matrix, NULL));
    REFUSED("input 1 has 4 dimensions", sg_embedding(g, s.ids, s.map, NULL));
    REFUSED("the positions must be (T, C)", sg_embedding(g, s.ids, s.matrix, s.matrix));
    REFUSED("each id needs one row", sg_embedding_dw(g, s.ids, s.texts, 5));
    REFUSED("input 0 has 2 dimensions, needed are 3", sg_attention(g, s.matrix, NULL, 1));
    REFUSED("0 heads", sg_attention(g, s.texts, NULL, 0));
    REFUSED("(N, T, 3 H D) with H = 4 heads", sg_attention(g, s.texts, NULL, 4));
    REFUSED("each text needs one length", sg_attention(g, s.texts, s.label, 2));
    REFUSED("input 1 is f32, needed is i32", sg_attention(g, s.texts, s.vector, 2));
    REFUSED("o, lse and do must be",
            sg_attention_dx(g, s.texts, NULL, s.texts, s.texts, s.texts, 2));
}

static sg_value *some(sg_graph *g, sg_dtype dtype, sg_shape shape) {
    return sg_view_of(g, dtype, SG_BUF_VALUES, 0, shape);
}

/* 3 bags of 4, a table (9, 2); sums of squares (sum, 2), weights (3, weights), where not 0. */
static sg_value *step_rows(sg_graph *g, sg_rows_attr attr, int64_t bags, int64_t sum,
                           int64_t weights) {
    sg_rows_inputs in = {.table = some(g, SG_F32, sg_shape_2(9, 2)),
                         .sum = sum > 0 ? some(g, SG_F32, sg_shape_2(sum, 2)) : NULL,
                         .ids = some(g, SG_I32, sg_shape_2(3, 4)),
                         .weights = weights > 0 ? some(g, SG_F32, sg_shape_2(3, weights)) : NULL,
                         .source = some(g, SG_F32, sg_shape_2(bags, 2)),
                         .sums = some(g, SG_F32, sg_shape_1(SG_MAX_SUMS)),
                         .step = some(g, SG_F32, sg_shape_1(SG_STEP_SLOTS))};

    return sg_rows_step(g, &in, attr);
}

static void test_refused_bag(void **state) {
    const sg_rows_attr sgd = {SG_ROWS_SGD, 1}, adagrad = {SG_ROWS_ADAGRAD, 1};
    const sg_rows_attr three = {SG_ROWS_SGD, 3};

    (void)state;
    REFUSED("input 0 is f32, needed is i32", sg_embedding_bag(g, s.matrix, NULL, s.matrix));
    REFUSED("input 1 has 4 dimensions", sg_embedding_bag(g, s.ids, NULL, s.map));
    REFUSED("each id needs one weight",
            sg_embedding_bag(g, s.ids, sg_input(g, "w", SG_F32, sg_shape_2(1, 1)), s.matrix));
    REFUSED("each bag needs one row",
            sg_embedding_bag_dw(g, s.ids, NULL, sg_input(g, "dy", SG_F32, sg_shape_2(77, 2)), 5));
    REFUSED("the sums of squares are Adagrad's", step_rows(g, adagrad, 3, 0, 0));
    REFUSED("the sums of squares are Adagrad's", step_rows(g, sgd, 3, 9, 0));
    REFUSED("3 parts are no power of two", step_rows(g, three, 3, 0, 0));
    REFUSED("input 5 must be (9, 2)", step_rows(g, adagrad, 3, 8, 0));
    REFUSED("input 6 must be (3, 4)", step_rows(g, sgd, 3, 0, 5));
    REFUSED("input 2 must be (3, 2)", step_rows(g, sgd, 4, 0, 0));
}

static void test_refused_tokens(void **state) {
    (void)state;
    REFUSED("input 0 must be (M, C) or (N, T, C)",
            sg_layer_norm(g, s.map, s.vector, s.vector, NULL, 1e-5f));
    REFUSED("input 1 needs one number a column",
            sg_layer_norm(g, s.matrix, s.vector, s.vector, NULL, 1e-5f));
    REFUSED("input 3 must have the shape of input 0",
            sg_layer_norm(g, s.tokens, s.vector, s.vector, s.matrix, 1e-5f));
    REFUSED("eps must be above 0", sg_layer_norm(g, s.tokens, s.vector, s.vector, NULL, -1e-5f));
    REFUSED("input 2 needs one number a row",
            sg_layer_norm_dx(g, s.tokens, s.vector, s.vector, s.vector, s.tokens, NULL));
    REFUSED("input 0 has 2 dimensions, needed are 3", sg_masked_mean(g, s.matrix, s.label));
    REFUSED("each text needs one length", sg_masked_mean(g, s.tokens, s.label));
    REFUSED("each text needs one length", sg_masked_mean_dx(g, s.label, s.matrix, 3));
    REFUSED("windows have an odd number of tokens, not 2", sg_windows(g, s.tokens, s.label, 2));
    REFUSED("input 0 has 2 dimensions, needed are 3", sg_windows(g, s.matrix, s.label, 3));
    REFUSED("no windows of 3 tokens", sg_windows_dx(g, s.label, s.tokens, 3));
    REFUSED("at least 0 and below 1, is 1;", sg_dropout(g, s.tokens, 1.0f));
    REFUSED("at least 0 and below 1, is -0.1;", sg_dropout(g, s.tokens, -0.1f));
    REFUSED("needed is f32", sg_dropout(g, s.bytes, 0.5f));
    REFUSED("the key needs two words", sg_dropout_keyed(g, s.tokens, s.label, 0.5f, 0));
    REFUSED("layer n: input is missing or has no axis", sg_norm(g, "n", s.scalar, NULL, NULL));
}

/* Dropout is no node where it does nothing. */
static void test_dropout_left_out(void **state) {
    sg_value *x;
    sg_graph *g;

    (void)state;
    for (int mode = 0; mode < 2; mode++) {
        assert_int_equal(sg_graph_create(mode ? SG_EVAL : SG_TRAIN, NULL, &g), SG_OK);
        x = sg_input(g, "x", SG_F32, sg_shape_2(2, 3));
        assert_ptr_equal(sg_dropout(g, x, 0.0f), x);
        if (mode)
            assert_ptr_equal(sg_dropout(g, x, 0.5f), x);
        else
            assert_ptr_not_equal(sg_dropout(g, x, 0.5f), x);
        sg_graph_destroy(g);
    }
}

static void test_refused_optimizer(void **state) {
    (void)state;
    REFUSED("input 1 must have 16 elements", sg_grad_scale(g, s.vector, s.vector, s.vector));
    REFUSED("input 3 must have 2 elements",
            sg_sgd_step(g, s.vector, s.vector, s.vector, s.vector, s.vector, 0, false));
    REFUSED("input 2 must have the shape of input 0",
            sg_adamw_step(g, s.vector, s.vector, s.matrix, s.vector, s.vector, s.vector, 0));
    REFUSED("decay of 6 elements",
            sg_sgd_step(g, s.vector, s.vector, s.vector, sg_input(g, "f", SG_F32, sg_shape_1(2)),
                        sg_input(g, "s", SG_F32, sg_shape_1(SG_STEP_SLOTS)), 6, false));
    REFUSED("input 2 must have 16 elements", sg_ema_step(g, s.vector, s.vector, s.vector));
}

/* --- gradients that do not pass --------------------------------------------------------------- */

static void expect_no_rule(sg_graph *g, sg_value *loss, const char *text) {
    assert_int_equal(sg_graph_status(g), SG_OK);
    assert_int_equal(sg_gradients(g, loss), SG_ERR_UNSUPPORTED);
    if (!strstr(sg_last_error(), text)) fail_msg("it says: %s", sg_last_error());
    sg_graph_destroy(g);
}

static void test_no_gradient(void **state) {
    const sg_conv_options relu = {1, 1, 1, SG_ACT_RELU};
    sg_value *v;
    shelf s;

    (void)state;
    s = new_shelf();
    sg_require_grad(s.map);
    expect_no_rule(s.g, sg_sum(s.g, sg_conv2d(s.g, s.map, s.filter, NULL, relu)),
                   "conv2d (conv2d): a fused activation has no gradient");
    for (int o = 1; o <= 3; o++) { /* also beside a gradient of y */
        sg_value *gamma, *sum;

        s = new_shelf();
        sg_require_grad(s.map);
        gamma = sg_input(s.g, "gamma", SG_F32, sg_shape_1(6));
        v = sg_batch_norm(s.g, s.map, gamma, gamma, NULL, 1e-3f, SG_ACT_NONE);
        sum = sg_add(s.g, sg_sum(s.g, v), sg_sum(s.g, &v->node->out[o]));
        expect_no_rule(s.g, sum, "no gradient passes its mean, rstd or var");
    }
    for (int o = 1; o <= 2; o++) {
        s = new_shelf();
        sg_require_grad(s.tokens);
        v = sg_layer_norm(s.g, s.tokens, s.vector, s.vector, s.tokens, 1e-5f);
        expect_no_rule(s.g, sg_sum(s.g, &v->node->out[o]), "no gradient passes its mean or rstd");
    }
    s = new_shelf();
    sg_require_grad(s.matrix);
    v = sg_cross_entropy(s.g, s.matrix, sg_input(s.g, "two", SG_I32, sg_shape_1(2)));
    expect_no_rule(s.g, sg_sum(s.g, &v->node->out[1]), "no gradient passes its probabilities");
    s = new_shelf();
    sg_require_grad(s.texts);
    v = sg_attention(s.g, s.texts, NULL, 2);
    expect_no_rule(s.g, sg_sum(s.g, &v->node->out[1]), "no gradient passes its lse");
    s = new_shelf();
    sg_require_grad(s.map);
    expect_no_rule(s.g, sg_sum(s.g, sg_bias_db(s.g, s.map)), "bias_db has no gradient rule");
}

/* y = x stop(x): the gradient is stop(x), not 2 x. */
static void test_stop_gradient(void **state) {
    static const float want[] = {1.0f, -2.0f, 3.0f};
    float dx[3];
    sg_bindings b = {.input = {want}, .output = {dx}};
    sg_graph *g = new_graph();
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_1(3));
    sg_program *p;

    (void)state;
    sg_require_grad(x);
    assert_int_equal(sg_gradients(g, sg_sum(g, sg_mul(g, x, sg_stop_gradient(g, x)))), SG_OK);
    sg_output(g, "dx", sg_gradient_of(g, x));
    assert_int_equal(sg_program_compile(g, &sg_backend_ref, NULL, &p), SG_OK);
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    assert_memory_equal(dx, want, sizeof dx);
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

/* --- the update, on the flat buffers ---------------------------------------------------------- */

enum { kParams = 48, kStats = 16, kValues = kParams + kStats, kDecay = 32 };

typedef struct {
    float values[kValues], grads[kValues + SG_MAX_SUMS], ema[kValues], moment[2][kParams];
    float step[SG_STEP_SLOTS];
} buffers;

static void fill_buffers(buffers *b) {
    memset(b, 0, sizeof *b);
    for (int i = 0; i < kValues; i++) {
        if (i % 16 >= 13) continue; // padding
        b->values[i] = 0.1f * (float)(i % 7) - 0.2f;
        b->grads[i] = 0.3f * (float)(i % 5) - 0.5f;
        b->ema[i] = 0.01f * (float)i;
        if (i < kParams) b->moment[0][i] = 0.02f * (float)(i % 3);
        if (i < kParams) b->moment[1][i] = 0.01f * (float)(i % 4);
    }
    b->grads[kValues + SG_SUM_NORMALISER] = 4.0f;
    b->step[SG_STEP_LR] = 0.1f;
    b->step[SG_STEP_WEIGHT_DECAY] = 0.05f;
    b->step[SG_STEP_MOMENTUM] = 0.9f;
    b->step[SG_STEP_BETA2] = 0.99f;
    b->step[SG_STEP_BIAS1] = b->step[SG_STEP_BIAS2] = 0.5f;
    b->step[SG_STEP_EMA] = 0.75f;
    b->step[SG_STEP_STAT] = 0.25f;
    b->step[SG_STEP_CLIP] = 0.5f;
    b->step[SG_STEP_SHARDS] = 2.0f;
}

static sg_value *view(sg_graph *g, sg_buffer buffer, int64_t from, int64_t count) {
    return sg_view_of(g, SG_F32, buffer, from * (int64_t)sizeof(float), sg_shape_1(count));
}

/* The whole update; in place, or with its results as outputs 0 (values), 1, 2 (moments), 3
 * (statistics), 4, 5 (their averages). */
static void run_update(buffers *b, bool adamw, bool in_place, const sg_backend *backend,
                       void *const outputs[]) {
    sg_bindings bind = {.base = {[SG_BUF_VALUES] = b->values,
                                 [SG_BUF_GRADS] = b->grads,
                                 [SG_BUF_EMA] = b->ema,
                                 [SG_BUF_MOMENT1] = b->moment[0],
                                 [SG_BUF_MOMENT2] = b->moment[1],
                                 [SG_BUF_STEP] = b->step}};
    static const sg_buffer home[] = {SG_BUF_VALUES, SG_BUF_MOMENT1, SG_BUF_MOMENT2,
                                     SG_BUF_VALUES, SG_BUF_EMA,     SG_BUF_EMA};
    static const int64_t place[] = {0, 0, 0, kParams, 0, kParams};
    sg_graph *g = new_graph();
    sg_value *step = view(g, SG_BUF_STEP, 0, SG_STEP_SLOTS);
    sg_value *w = view(g, SG_BUF_VALUES, 0, kParams), *dw = view(g, SG_BUF_GRADS, 0, kParams);
    sg_value *m = view(g, SG_BUF_MOMENT1, 0, kParams), *v = view(g, SG_BUF_MOMENT2, 0, kParams);
    sg_value *factor = sg_grad_scale(g, dw, view(g, SG_BUF_GRADS, kValues, SG_MAX_SUMS), step);
    sg_value *out[6];
    sg_program *p;

    out[0] = adamw ? sg_adamw_step(g, w, m, v, dw, factor, step, kDecay)
                   : sg_sgd_step(g, w, m, dw, factor, step, kDecay, true);
    assert_non_null(out[0]);
    out[1] = &out[0]->node->out[1];
    out[2] = adamw ? &out[0]->node->out[2] : v;
    out[3] = sg_stats_step(g, view(g, SG_BUF_VALUES, kParams, kStats),
                           view(g, SG_BUF_GRADS, kParams, kStats), step);
    out[4] = sg_ema_step(g, view(g, SG_BUF_EMA, 0, kParams), out[0], step);
    out[5] = sg_ema_step(g, view(g, SG_BUF_EMA, kParams, kStats), out[3], step);
    for (int o = 0; o < 6; o++) {
        static const char *const name[] = {"w", "m", "v", "stats", "ema", "ema of stats"};

        if (!in_place)
            sg_output(g, name[o], out[o]);
        else if (out[o] != v)
            sg_sink(g, out[o], home[o], place[o] * (int64_t)sizeof(float));
        bind.output[o] = in_place ? NULL : outputs[o];
    }
    assert_int_equal(sg_program_compile(g, backend, NULL, &p), SG_OK);
    assert_int_equal(sg_program_run_once(p, &bind), SG_OK);
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

static void test_update_in_place(void **state) {
    static const sg_backend *const backends[] = {&sg_backend_ref, &sg_backend_cpu};

    (void)state;
    for (int which = 0; which < 4; which++) {
        const sg_backend *backend = backends[which / 2];
        bool adamw = which % 2;
        _Alignas(SG_ALIGN) buffers a, b, fresh, want;
        void *outputs[] = {want.values,           want.moment[0], want.moment[1],
                           want.values + kParams, want.ema,       want.ema + kParams};

        fill_buffers(&a);
        fill_buffers(&b);
        fill_buffers(&fresh);
        memset(&want, 0xff, sizeof want);
        run_update(&a, adamw, false, backend, outputs);
        run_update(&b, adamw, true, backend, NULL);
        assert_memory_equal(&a, &fresh, sizeof a); /* what is not in place leaves all alone */
        assert_memory_equal(b.values, want.values, sizeof want.values);
        assert_memory_equal(b.ema, want.ema, sizeof want.ema);
        assert_memory_equal(b.moment, want.moment, sizeof want.moment);
        assert_memory_equal(b.grads, fresh.grads, sizeof fresh.grads);
        assert_memory_not_equal(b.values, fresh.values, sizeof fresh.values);
        for (int i = 0; i < kValues; i++) { /* padding stays zero */
            if (i % 16 < 13) continue;
            assert_true(b.values[i] == 0.0f && b.ema[i] == 0.0f);
            if (i < kParams) assert_true(b.moment[0][i] == 0.0f && b.moment[1][i] == 0.0f);
        }
    }
}

/* --- values that are not kept ----------------------------------------------------------------- */

/* The filter's gradient reads the activation computed again, once for all that read it. */
static void test_computed_again(void **state) {
    const sg_conv_options options = {1, 1, 1, SG_ACT_NONE};
    const sg_node *again = NULL;
    sg_value *w, *b, *y, *loss;
    int readers = 0;
    sg_graph *g;

    (void)state;
    assert_int_equal(sg_graph_create(SG_TRAIN, NULL, &g), SG_OK);
    w = sg_input(g, "w", SG_F32, sg_shape_4(8, 8, 3, 3));
    b = sg_input(g, "b", SG_F32, sg_shape_1(8));
    sg_require_grad(w);
    y = sg_conv2d(g, sg_input(g, "x", SG_F32, sg_shape_4(2, 8, 4, 4)), w, NULL, options);
    y = sg_batch_norm(g, y, b, b, NULL, 1e-3f, SG_ACT_SILU);
    loss = sg_sum(g, sg_add(g, sg_conv2d(g, y, w, NULL, options), sg_conv2d(g, y, w, b, options)));
    assert_int_equal(sg_gradients(g, loss), SG_OK);
    for (int i = 0; i < sg_graph_nodes(g); i++) {
        const sg_node *node = sg_graph_node(g, i);

        if (node->op == &sg_op_batch_norm_again) {
            assert_null(again);
            again = node;
        }
        if (node->op != &sg_op_conv2d_dw) continue;
        assert_ptr_not_equal(node->in[0], y);
        if (again && node->in[0] == &again->out[0]) readers++;
    }
    assert_int_equal(readers, 2);
    sg_graph_destroy(g);
}

/* --- builders without memory ------------------------------------------------------------------ */

/* A node of every family, and their gradients. */
static sg_status build_all(sg_graph *g) {
    const sg_conv_options options = {1, 1, 1, SG_ACT_NONE};
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_4(2, 8, 4, 4)), *y;
    sg_value *w = sg_input(g, "w", SG_F32, sg_shape_4(8, 8, 3, 3));
    sg_value *b = sg_input(g, "b", SG_F32, sg_shape_1(8));
    sg_value *label = sg_input(g, "label", SG_I32, sg_shape_1(2));
    sg_value *ids = sg_input(g, "ids", SG_I32, sg_shape_2(2, 1));
    sg_value *table = sg_input(g, "table", SG_F32, sg_shape_2(3, 6));
    sg_value *both[2], *y_scale;

    sg_require_grad(x);
    sg_require_grad(w);
    sg_require_grad(b);
    sg_require_grad(table);
    y = sg_conv2d(g, x, w, b, options);
    y = sg_batch_norm(g, y, b, b, x, 1e-3f, SG_ACT_SILU);
    y = sg_conv2d(g, y, w, b, options);
    both[0] = sg_max_pool2d(g, y, 2, 2, 0);
    both[1] = sg_silu(g, sg_slice(g, sg_scale(g, both[0], 2.0f), 0, 3));
    y = sg_upsample2x(g, sg_concat(g, both, 2));
    y = sg_global_avg_pool(g, sg_mul(g, y, sg_relu(g, sg_sigmoid(g, y))));
    y_scale = sg_constant(g, SG_F32, sg_shape_1(2), "12345678");
    y = sg_bias(g, sg_matmul(g, y, y, false, true), y_scale);
    y = sg_layer_norm(g, y, y_scale, y_scale, y, 1e-5f);
    y = sg_reshape(g, sg_gelu(g, sg_dropout(g, y, 0.5f)), sg_shape_3(2, 1, 2));
    y = sg_masked_mean(g, sg_windows(g, y, label, 1), label);
    y = sg_add(g, sg_softmax(g, sg_reshape(g, y, sg_shape_2(2, 2))), y);
    y = sg_add(g, y,
               sg_reshape(g, sg_attention(g, sg_embedding(g, ids, table, NULL), NULL, 2),
                          sg_shape_2(2, 2)));
    SG_TRY(sg_graph_status(g));
    SG_TRY(sg_gradients(g, sg_cross_entropy(g, y, label)));
    return sg_graph_status(g);
}

static void test_no_memory(void **state) {
    long live = sg_mem_live();
    sg_status st = SG_ERR_OOM;
    long n;

    (void)state;
    for (n = 1; st != SG_OK; n++) {
        sg_graph *g = NULL;

        sg_mem_fail_at(n);
        st = sg_graph_create(SG_TRAIN, NULL, &g);
        if (st == SG_OK) st = build_all(g);
        sg_mem_fail_at(0);
        sg_graph_destroy(g);
        assert_true(st == SG_OK || st == SG_ERR_OOM);
        assert_int_equal(sg_mem_live(), live);
    }
    assert_true(n > 100); /* it was not all in one block */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_pointwise), cmocka_unit_test(test_refused_shape),
        cmocka_unit_test(test_refused_linear),    cmocka_unit_test(test_refused_conv2d),
        cmocka_unit_test(test_refused_norm),      cmocka_unit_test(test_refused_pool),
        cmocka_unit_test(test_refused_softmax),   cmocka_unit_test(test_refused_optimizer),
        cmocka_unit_test(test_refused_bag),       cmocka_unit_test(test_refused_bag),
        cmocka_unit_test(test_refused_tokens),    cmocka_unit_test(test_dropout_left_out),
        cmocka_unit_test(test_computed_again),    cmocka_unit_test(test_no_gradient),
        cmocka_unit_test(test_stop_gradient),     cmocka_unit_test(test_update_in_place),
        cmocka_unit_test(test_no_memory),         cmocka_unit_test(test_refused_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
