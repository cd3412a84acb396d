/* What the op cases of test_cuda_ops do not reach of convolutions and products: bf16 and tf32, the
 * table of chosen kernels, and what is asked of the libraries (here their stand-in). */
#include "op_check.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "backend_cuda.h"
#include "core/mem.h"
#include "emulation/emulation.h"
#include "graph/program.h"
#include "op_cases.h"
#include "out_of_memory.h"
#include "plan_table.h"

static const sg_backend *const kBackends[] = {&sg_backend_cuda};

static sg_cuda_vendor *vendor_with(const char *plans) {
    sg_cuda_vendor_options options = {.plans = plans};
    sg_cuda_vendor *v = NULL;

    if (sg_cuda_vendor_create(&options, &v) != SG_OK) fail_msg("%s", sg_last_error());
    return v;
}

/* --- other precisions ------------------------------------------------------------------------- */

/* Every case of conv2d and matmul. Each program has handles of its own. */
static void run_suites(sg_cuda_precision precision, double tolerance) {
    const op_suite *const suites[] = {&op_suite_conv2d, &op_suite_linear};

    sg_cuda_use(precision, NULL);
    for (int s = 0; s < OP_COUNT(suites); s++)
        for (int i = 0; i < suites[s]->n; i++) {
            op_case c = suites[s]->cases[i];

            c.tolerance = tolerance;
            op_check_case(&c, kBackends, OP_COUNT(kBackends));
        }
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

static void test_bf16(void **state) {
    (void)state;
    run_suites(SG_CUDA_BF16, 5e-3);
    assert_true(sg_emulation_has_run("epilogue_kernel"));
}

static void test_tf32(void **state) {
    (void)state;
    run_suites(SG_CUDA_TF32,
               sg_emulation_is_on() ? 0.0 : 1e-2); /* what the stand-in computes is exact */
}

/* --- keys ------------------------------------------------------------------------------------- */

static const sg_vendor_conv kConv = {.pass = SG_CONV_FORWARD,
                                     .precision = SG_CUDA_BF16,
                                     .N = 2,
                                     .C = 6,
                                     .H = 5,
                                     .W = 7,
                                     .OC = 4,
                                     .KH = 3,
                                     .KW = 1,
                                     .OH = 5,
                                     .OW = 9,
                                     .stride = 1,
                                     .pad = 1,
                                     .groups = 2,
                                     .bias = true,
                                     .act = SG_ACT_SILU};

static void test_key_says_all(void **state) {
    char key[SG_PLAN_KEY], other[SG_PLAN_KEY];
    sg_vendor_conv c[] = {kConv, kConv, kConv, kConv, kConv, kConv, kConv, kConv,
                          kConv, kConv, kConv, kConv, kConv, kConv, kConv};

    (void)state;
    sg_plan_key_conv(&kConv, key);
    assert_string_equal(key, "conv2d x 2,6,5,7 w 4,3x1 stride 1 pad 1 groups 2 bf16 bias silu");
    c[0].pass = SG_CONV_DW;
    c[1].precision = SG_CUDA_TF32;
    c[2].N++;
    c[3].C++;
    c[4].H++;
    c[5].W++;
    c[6].OC++;
    c[7].KH++;
    c[8].KW++;
    c[9].stride++;
    c[10].pad++;
    c[11].groups++;
    c[12].bias = false;
    c[13].act = SG_ACT_RELU;
    c[14].act = SG_ACT_NONE;
    for (int i = 0; i < OP_COUNT(c); i++) {
        sg_plan_key_conv(&c[i], other);
        if (strcmp(key, other) == 0) fail_msg("what change %d leaves out is not in the key", i);
    }
}

static void test_key_of_a_product_says_all(void **state) {
    static const sg_vendor_matmul kMatmul = {.precision = SG_CUDA_BF16,
                                             .M = 3,
                                             .N = 4,
                                             .K = 5,
                                             .epilogue = SG_EPILOGUE_ACT,
                                             .bias = true,
                                             .keep_z = true,
                                             .act = SG_ACT_GELU};
    char key[SG_PLAN_KEY], other[SG_PLAN_KEY];
    sg_vendor_matmul m[14];

    (void)state;
    sg_plan_key_matmul(&kMatmul, key);
    assert_string_equal(key, "matmul 3,4,5 bf16 act bias gelu z");
    for (int i = 0; i < OP_COUNT(m); i++) m[i] = kMatmul;
    m[0].precision = SG_CUDA_FP32;
    m[1].M++;
    m[2].N++;
    m[3].K++;
    m[4].transpose_a = true;
    m[5].transpose_b = true;
    m[6].f32_out = true;
    m[7].epilogue = SG_EPILOGUE_SLOPE;
    m[8].epilogue = SG_EPILOGUE_SUMS;
    m[9].epilogue = SG_EPILOGUE_NONE;
    m[10].bias = false;
    m[11].keep_z = false;
    m[12].act = SG_ACT_SILU;
    m[13].act = SG_ACT_NONE;
    for (int i = 0; i < OP_COUNT(m); i++) {
        sg_plan_key_matmul(&m[i], other);
        if (strcmp(key, other) == 0) fail_msg("what change %d leaves out is not in the key", i);
    }
    m[0].M = m[0].N = m[0].K = (int64_t)1 << 40;
    m[0].transpose_a = m[0].transpose_b = m[0].f32_out = true;
    sg_plan_key_matmul(&m[0], key);
    assert_string_equal(key + strlen(key) - 12, " bias gelu z");
}

static void test_longest_key_fits(void **state) {
    int64_t large = (int64_t)1 << 40;
    sg_vendor_conv c = kConv;
    char key[SG_PLAN_KEY];

    (void)state;
    c.pass = SG_CONV_DW;
    c.N = c.C = c.H = c.W = c.OC = c.KH = c.KW = c.stride = c.pad = c.groups = large;
    sg_plan_key_conv(&c, key);
    assert_string_equal(key + strlen(key) - 10, " bias silu");
}

/* --- the table -------------------------------------------------------------------------------- */

static void test_table_keeps_choices(void **state) {
    char found[SG_PLAN_CHOICE];
    sg_plan_table *t, *again;
    char *text;

    (void)state;
    assert_int_equal(sg_plan_table_create(NULL, &t), SG_OK);
    assert_false(sg_plan_table_find(t, "a", found));
    assert_int_equal(sg_plan_table_add(t, "a b", "cudnn 1 2=3"), SG_OK);
    assert_int_equal(sg_plan_table_add(t, "a", "cublaslt 0 f"), SG_OK);
    for (int i = 0; i < 100; i++) {
        char key[SG_PLAN_KEY];

        snprintf(key, sizeof key, "key %d", i);
        assert_int_equal(sg_plan_table_add(t, key, "x"), SG_OK);
    }
    text = sg_plan_table_text(t);
    assert_non_null(text);
    assert_int_equal(strncmp(text, "a b\tcudnn 1 2=3\na\tcublaslt 0 f\nkey 0\tx\n", 39), 0);
    assert_int_equal(sg_plan_table_create(text, &again), SG_OK);
    assert_true(sg_plan_table_find(again, "a", found));
    assert_string_equal(found, "cublaslt 0 f");
    assert_true(sg_plan_table_find(again, "key 99", found));
    assert_false(sg_plan_table_find(again, "key", found));
    sg_free(text);
    sg_plan_table_destroy(t);
    sg_plan_table_destroy(again);
}

static void test_table_refuses_damage(void **state) {
    static const char *const damaged[] = {"a",     "a\tb",         "a b\n",   "a\t\n",
                                          "\tb\n", "a\tb\na\tc\n", "a\tb\n\n"};
    sg_plan_table *t = NULL;
    char longest[600];

    (void)state;
    for (int i = 0; i < OP_COUNT(damaged); i++) {
        if (sg_plan_table_create(damaged[i], &t) != SG_ERR_DATA)
            fail_msg("\"%s\" was taken for a table", damaged[i]);
        assert_int_equal(strncmp(sg_last_error(), "plans: ", 7), 0);
    }
    memset(longest, 'k', sizeof longest);
    memcpy(longest + sizeof longest - 4, "\tc\n", 4);
    assert_int_equal(sg_plan_table_create(longest, &t), SG_ERR_DATA);
    assert_null(t);
}

static void test_table_without_memory(void **state) {
    long live = sg_mem_live();
    sg_plan_table *t;

    (void)state;
    FAIL_EACH_ALLOCATION(sg_plan_table_create("a\tb\nc\td\n", &t), 1);
    sg_plan_table_destroy(t);
    assert_int_equal(sg_mem_live(), live);
}

/* What the stand-in alone shows: its choices have names of their own, its memory is the host's. */
static void skip_on_a_gpu(void) {
    if (!sg_emulation_is_on()) skip();
}

/* --- a run's own plans ------------------------------------------------------------------------ */

/* A convolution, its gradient and a product. */
static sg_graph *graph_of_three(void) {
    sg_conv_options options = {1, 1, 1, SG_ACT_NONE};
    sg_value *x, *w, *y, *a, *b;
    sg_graph *g;

    assert_int_equal(sg_graph_create(SG_EVAL, NULL, &g), SG_OK);
    x = sg_input(g, "x", SG_F32, sg_shape_4(1, 8, 4, 4));
    w = sg_input(g, "w", SG_F32, sg_shape_4(8, 8, 3, 3));
    y = sg_conv2d(g, x, w, NULL, options);
    sg_output(g, "y", y);
    sg_output(g, "dw", sg_conv2d_dw(g, x, y, options, sg_shape_4(8, 8, 3, 3)));
    a = sg_input(g, "a", SG_F32, sg_shape_2(13, 7));
    b = sg_input(g, "b", SG_F32, sg_shape_2(5, 13));
    sg_output(g, "m", sg_matmul(g, a, b, true, true));
    assert_int_equal(sg_graph_status(g), SG_OK);
    return g;
}

/* Compile it for `v`; the `fail_at`-th allocation fails, 0: none. */
static sg_status compile_failing(sg_cuda_precision precision, sg_cuda_vendor *v, long fail_at) {
    sg_program *program = NULL;
    sg_graph *g = graph_of_three();
    sg_status st;

    sg_cuda_use(precision, v);
    sg_mem_fail_at(fail_at);
    st = sg_program_compile(g, &sg_backend_cuda, NULL, &program);
    sg_mem_fail_at(0);
    assert_true(st == SG_OK ? program != NULL : program == NULL);
    sg_program_destroy(program);
    sg_graph_destroy(g);
    sg_cuda_use(SG_CUDA_FP32, NULL);
    return st;
}

static sg_status compile(sg_cuda_precision precision, sg_cuda_vendor *v) {
    return compile_failing(precision, v, 0);
}

static const char kPlans[] =
    "conv2d x 1,8,4,4 w 8,3x3 stride 1 pad 1 groups 1 bf16\tstand-in fused\n"
    "conv2d_dw x 1,8,4,4 w 8,3x3 stride 1 pad 1 groups 1 bf16\tstand-in "
    "fused\n"
    "matmul 7,5,13 ta tb bf16 f32\tstand-in\n";

static void expect_plans(const sg_cuda_vendor *v, const char *want) {
    char *plans = sg_cuda_vendor_plans(v);

    assert_non_null(plans);
    assert_string_equal(plans, want);
    sg_free(plans);
}

static void test_plans_are_kept(void **state) {
    sg_cuda_vendor *v = vendor_with(NULL);

    (void)state;
    skip_on_a_gpu();
    expect_plans(v, "");
    assert_int_equal(compile(SG_CUDA_BF16, v), SG_OK);
    expect_plans(v, kPlans);
    assert_int_equal(compile(SG_CUDA_BF16, v), SG_OK); /* what is known is not chosen again */
    expect_plans(v, kPlans);
    sg_cuda_vendor_destroy(v);
    v = vendor_with(kPlans);
    assert_int_equal(compile(SG_CUDA_BF16, v), SG_OK);
    expect_plans(v, kPlans);
    sg_cuda_vendor_destroy(v);
}

/* The compilation fails, and gives back all it took. */
static void test_plans_of_another_device(void **state) {
    sg_cuda_vendor *v = vendor_with("matmul 7,5,13 ta tb fp32\tcublaslt 0\n");

    (void)state;
    skip_on_a_gpu();
    assert_int_equal(compile(SG_CUDA_FP32, v), SG_ERR_UNAVAILABLE);
    assert_non_null(strstr(sg_last_error(), "matmul 7,5,13 ta tb fp32: the run's plan"));
    sg_cuda_vendor_destroy(v);
}

static void test_compile_without_memory(void **state) {
    long live = sg_mem_live();
    sg_status st = SG_ERR_OOM;

    (void)state;
    skip_on_a_gpu();
    for (long n = 1; st != SG_OK; n++) {
        sg_cuda_vendor *v = vendor_with(NULL);

        st = compile_failing(SG_CUDA_FP32, v, n);
        if (st != SG_OK) assert_int_equal(st, SG_ERR_OOM);
        sg_cuda_vendor_destroy(v);
        assert_int_equal(sg_mem_live(), live);
    }
}

/* --- on a queue ------------------------------------------------------------------------------- */

enum { kX = 128, kW = 576, kA = 92, kB = 65, kY = 128, kDw = 576, kProduct = 35 };

/* What graph_of_three reads and writes, each from an address that its kernels take (kA: one more);
 * host memory is the emulated device's. */
typedef struct {
    _Alignas(64) float in[kX + kW + kA + kB];
    _Alignas(64) float out[kY + kDw + kProduct];
} three_buffers;

static sg_bindings bind_three(three_buffers *x, void *queue) {
    sg_bindings b = {.queue = queue};

    b.input[0] = x->in;
    b.input[1] = x->in + kX;
    b.input[2] = x->in + kX + kW;
    b.input[3] = x->in + kX + kW + kA;
    b.output[0] = x->out;
    b.output[1] = x->out + kY;
    b.output[2] = x->out + kY + kDw;
    return b;
}

static void fill(float *x, int64_t n, float value) {
    for (int64_t i = 0; i < n; i++) x[i] = value * (float)(i % 13 - 6);
}

/* A library's work is recorded like a kernel's: nothing is computed then, and each replay computes
 * from what lies there at that time. */
static void test_recorded(void **state) {
    static three_buffers x, want;
    const sg_device *device = &sg_cuda_device;
    void *queue, *recording, *arena, *weights;
    sg_graph *g = graph_of_three();
    sg_bindings b, plain;
    sg_program *p;

    (void)state;
    skip_on_a_gpu();
    assert_int_equal(sg_program_compile(g, &sg_backend_cuda, NULL, &p), SG_OK);
    assert_int_equal(device->queue_create(&queue), SG_OK);
    assert_int_equal(device->alloc(sg_program_arena_bytes(p), "arena", &arena), SG_OK);
    assert_int_equal(device->alloc(sg_program_weights_bytes(p), "weights", &weights), SG_OK);
    b = bind_three(&x, queue);
    b.base[SG_BUF_ARENA] = arena;
    b.base[SG_BUF_WEIGHTS] = weights;
    memset(x.out, 0xff, sizeof x.out);
    assert_int_equal(device->record(queue), SG_OK);
    assert_int_equal(sg_program_run(p, &b), SG_OK);
    assert_int_equal(device->record_end(queue, &recording), SG_OK);
    memset(want.out, 0xff, sizeof want.out);
    assert_memory_equal(x.out, want.out, sizeof x.out);
    for (int times = 1; times <= 2; times++) {
        fill(x.in, OP_COUNT(x.in), 0.1f * (float)times);
        fill(want.in, OP_COUNT(want.in), 0.1f * (float)times);
        assert_int_equal(device->replay(queue, recording), SG_OK);
        assert_int_equal(device->wait(queue), SG_OK);
        plain = bind_three(&want, queue);
        assert_int_equal(sg_program_run_once(p, &plain), SG_OK);
        assert_memory_equal(x.out, want.out, sizeof x.out);
    }
    device->recording_destroy(recording);
    device->release(arena);
    device->release(weights);
    device->queue_destroy(queue);
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

/* So are zeros, where there is nothing to add up. */
static void test_recorded_zero(void **state) {
    const sg_device *device = &sg_cuda_device;
    float y[6];
    void *queue, *recording;

    (void)state;
    skip_on_a_gpu();
    fill(y, 6, 1.0f);
    assert_int_equal(device->queue_create(&queue), SG_OK);
    assert_int_equal(device->record(queue), SG_OK);
    assert_int_equal(sg_vendor_zero(y, sizeof y, queue), SG_OK);
    assert_int_equal(device->record_end(queue, &recording), SG_OK);
    assert_true(y[0] == -6.0f && y[5] == -1.0f);
    assert_int_equal(device->replay(queue, recording), SG_OK);
    assert_int_equal(device->wait(queue), SG_OK);
    for (int i = 0; i < 6; i++) assert_true(y[i] == 0.0f);
    device->recording_destroy(recording);
    device->queue_destroy(queue);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_tf32),
        cmocka_unit_test(test_key_says_all),
        cmocka_unit_test(test_key_of_a_product_says_all),
        cmocka_unit_test(test_longest_key_fits),
        cmocka_unit_test(test_table_keeps_choices),
        cmocka_unit_test(test_table_refuses_damage),
        cmocka_unit_test(test_table_without_memory),
        cmocka_unit_test(test_plans_are_kept),
        cmocka_unit_test(test_plans_of_another_device),
        cmocka_unit_test(test_compile_without_memory),
        cmocka_unit_test(test_recorded),
        cmocka_unit_test(test_recorded_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
