/* What is asked of cuDNN, by cuDNN itself: the graphs, engines and plans of convolutions for an
 * H100 that is only described to it, so that no GPU is needed. Nothing is run. cuBLASLt answers
 * nothing without a GPU; where there is one its products are planned too. Built where nvcc and
 * cuDNN are (the Makefile defines SG_WITH_VENDOR); elsewhere one skipped test stands for it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#ifdef SG_WITH_VENDOR
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "nn/mask_detector.h"
#include "op_cases.h"
#include "vendor/vendor.h"

/* As cuDNN 9.19 wants a device described; the numbers are an H100 SXM's. */
static const char kH100[] =
    "{\"deviceName\": \"NVIDIA H100 80GB HBM3\", \"deviceVer\": 900, \"driverVer\": 13000,"
    " \"cudaDeviceId\": 0, \"pciDeviceId\": 0, \"isTccDriver\": 0, \"supportCoopLaunch\": 1,"
    " \"multiProcessorCount\": 132, \"warpSize\": 32, \"maxGridSize\": [2147483647, 65535, 65535],"
    " \"maxBlockSize\": [1024, 1024, 64], \"maxThreadsPerBlock\": 1024, \"maxThreadsPerSM\": 2048,"
    " \"maxCtasPerSM\": 32, \"regsPerBlock\": 65536, \"maxRegistersPerSM\": 65536,"
    " \"maxSharedMemoryPerBlock\": 49152, \"maxSharedMemoryPerBlockOptin\": 232448,"
    " \"reservedSharedMemoryPerBlock\": 1024, \"totalGlobalMem\": 85520809984,"
    " \"l2CacheSize\": 52428800, \"smClockRateKHz\": 1980000, \"memClockRateKHz\": 2619000}";

static const sg_cuda_precision kPrecisions[] = {SG_CUDA_FP32, SG_CUDA_TF32, SG_CUDA_BF16};

static sg_cuda_vendor *vendor_with(const char *plans) {
    sg_cuda_vendor_options options = {.plans = plans, .device = kH100};
    sg_cuda_vendor *v = NULL;

    if (sg_cuda_vendor_create(&options, &v) != SG_OK) fail_msg("%s", sg_last_error());
    return v;
}

/* The three passes of a conv2d node, at all precisions. Those of a first layer have no dx, but cost
 * nothing here. */
static void plan_node(sg_cuda_vendor *v, const sg_node *node) {
    static const sg_conv_pass passes[] = {SG_CONV_FORWARD, SG_CONV_DX, SG_CONV_DW};
    const sg_conv_attr *attr = node->attr;
    const sg_shape *x = &node->in[0]->shape, *w = &node->in[1]->shape, *y = &node->out[0].shape;

    if (sg_shape_count(x) == 0 || sg_shape_count(w) == 0) return;
    for (int i = 0; i < 9; i++) {
        // clang-format off
        sg_vendor_conv c = {passes[i % 3], kPrecisions[i / 3],
                            x->dim[0], x->dim[1], x->dim[2], x->dim[3],
                            w->dim[0], w->dim[2], w->dim[3], y->dim[2], y->dim[3],
                            attr->options.stride, attr->options.pad, attr->options.groups,
                            false, SG_ACT_NONE};
        // clang-format on
        sg_vendor_plan *plan = NULL;

        if (c.pass == SG_CONV_FORWARD) {
            c.bias = node->in[2] != NULL;
            c.act = attr->options.act;
        }
        if (sg_vendor_plan_conv(v, &c, &plan) != SG_OK)
            fail_msg("%s: %s", node->name, sg_last_error());
        assert_int_equal(strncmp(sg_vendor_plan_label(plan), "cudnn", 5), 0);
        assert_true(sg_vendor_plan_scratch(plan) <= (size_t)256 << 20);
        assert_true(!sg_vendor_plan_fused(plan) || c.bias || c.act != SG_ACT_NONE);
        sg_vendor_plan_destroy(plan);
    }
}

static int plan_graph(sg_cuda_vendor *v, const sg_graph *g) {
    int n = 0;

    for (int i = 0; i < sg_graph_nodes(g); i++) {
        if (sg_graph_node(g, i)->op != &sg_op_conv2d) continue;
        plan_node(v, sg_graph_node(g, i));
        n++;
    }
    return n;
}

static void plan_detector(sg_cuda_vendor *v, int64_t input) {
    sg_mask_detector_options o = sg_mask_detector_defaults();
    sg_table *table;
    sg_graph *g;

    o.input = input;
    assert_int_equal(sg_table_create(&table), SG_OK);
    assert_int_equal(sg_graph_create(SG_TRAIN, table, &g), SG_OK);
    assert_int_equal(sg_mask_detector_build(g, 2, &o), SG_OK);
    assert_true(plan_graph(v, g) > 40);
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

/* And the same plans from what is kept of them. */
static void test_detector(void **state) {
    sg_cuda_vendor *v = vendor_with(NULL);
    char *plans, *again;

    (void)state;
    plan_detector(v, 416);
    plans = sg_cuda_vendor_plans(v);
    assert_non_null(plans);
    sg_cuda_vendor_destroy(v);
    v = vendor_with(plans);
    plan_detector(v, 416);
    again = sg_cuda_vendor_plans(v);
    assert_string_equal(plans, again);
    sg_cuda_vendor_destroy(v);
    sg_free(plans);
    sg_free(again);
}

static void test_op_cases(void **state) {
    sg_cuda_vendor *v = vendor_with(NULL);

    (void)state;
    for (int i = 0; i < op_suite_conv2d.n; i++) {
        const op_case *c = &op_suite_conv2d.cases[i];
        sg_value *in[SG_MAX_IN] = {NULL}, *out[SG_MAX_OUT];
        char name[16];
        sg_graph *g;

        assert_int_equal(sg_graph_create(SG_TRAIN, NULL, &g), SG_OK);
        for (int k = 0; k < c->n_in; k++) {
            snprintf(name, sizeof name, "in %d", k);
            in[k] = sg_input(g, name, SG_F32, c->in[k].shape);
        }
        assert_int_equal(c->build(g, c, in, out), 1);
        assert_int_equal(plan_graph(v, g), 1);
        sg_graph_destroy(g);
    }
    sg_cuda_vendor_destroy(v);
}

// clang-format off
static const sg_vendor_conv kConv = {
    .pass = SG_CONV_FORWARD, .precision = SG_CUDA_BF16, .N = 2, .C = 64, .H = 26, .W = 26,
    .OC = 64, .KH = 3, .KW = 3, .OH = 26, .OW = 26, .stride = 1, .pad = 1, .groups = 1};
// clang-format on
#define KEY "conv2d x 2,64,26,26 w 64,3x3 stride 1 pad 1 groups 1 bf16"

static sg_status plan_with(const char *plans, sg_vendor_plan **out) {
    sg_cuda_vendor *v = vendor_with(plans);
    sg_status st = sg_vendor_plan_conv(v, &kConv, out);

    if (st == SG_OK) sg_vendor_plan_destroy(*out);
    *out = NULL;
    sg_cuda_vendor_destroy(v);
    return st;
}

static void test_plans_that_cannot_be_had(void **state) {
    static const char *const absent[] = {KEY "\tcudnn 9999\n", KEY "\tcudnn 0 2=999999\n"};
    static const char *const damaged[] = {KEY "\tcublaslt 1\n", KEY "\tcudnn\n", KEY "\tcudnn x\n",
                                          KEY "\tcudnn 1 2\n", KEY "\tcudnn 1 2=3 \n"};
    sg_vendor_plan *plan;

    (void)state;
    for (int i = 0; i < OP_COUNT(absent); i++)
        if (plan_with(absent[i], &plan) != SG_ERR_UNAVAILABLE) fail_msg("had: %s", absent[i]);
    assert_non_null(strstr(sg_last_error(), KEY ": the run's plan \"cudnn 0 2=999999\""));
    for (int i = 0; i < OP_COUNT(damaged); i++)
        if (plan_with(damaged[i], &plan) != SG_ERR_DATA) fail_msg("taken: %s", damaged[i]);
}

static void test_small_workspace(void **state) {
    sg_cuda_vendor_options options = {.device = kH100, .workspace = 1};
    sg_vendor_plan *plan = NULL;
    sg_cuda_vendor *v;

    (void)state;
    assert_int_equal(sg_cuda_vendor_create(&options, &v), SG_OK);
    assert_int_equal(sg_vendor_plan_conv(v, &kConv, &plan), SG_OK);
    assert_true(sg_vendor_plan_scratch(plan) <= 1);
    assert_int_equal(
        sg_vendor_plan_run(plan, (const void *const[3]){NULL}, (void *const[2]){NULL}, NULL, NULL),
        SG_ERR_UNSUPPORTED);
    sg_vendor_plan_destroy(plan);
    sg_cuda_vendor_destroy(v);
}

/* --- cuBLASLt, which plans for no described device -------------------------------------------- */

/* The products of a linear layer with GELU, 64 rows and 256 to 1024 columns. */
// clang-format off
static const sg_vendor_matmul kProducts[] = {
    {.precision = SG_CUDA_BF16, .M = 64, .N = 1024, .K = 256, .transpose_b = true,
     .epilogue = SG_EPILOGUE_ACT, .bias = true, .keep_z = true, .act = SG_ACT_GELU},
    {.precision = SG_CUDA_BF16, .M = 64, .N = 256, .K = 1024, .transpose_b = true,
     .epilogue = SG_EPILOGUE_ACT, .bias = true},
    {.precision = SG_CUDA_BF16, .M = 64, .N = 256, .K = 1024, .transpose_b = true,
     .epilogue = SG_EPILOGUE_ACT, .bias = true, .act = SG_ACT_RELU},
    {.precision = SG_CUDA_BF16, .M = 64, .N = 1024, .K = 256,
     .epilogue = SG_EPILOGUE_SLOPE, .act = SG_ACT_GELU},
    {.precision = SG_CUDA_BF16, .M = 64, .N = 256, .K = 1024},
    {.precision = SG_CUDA_BF16, .M = 256, .N = 1024, .K = 64, .transpose_a = true,
     .f32_out = true, .epilogue = SG_EPILOGUE_SUMS},
    {.precision = SG_CUDA_BF16, .M = 63, .N = 3, .K = 257, .transpose_b = true,
     .epilogue = SG_EPILOGUE_ACT, .bias = true},
    {.precision = SG_CUDA_TF32, .M = 64, .N = 256, .K = 1024, .transpose_b = true,
     .epilogue = SG_EPILOGUE_ACT, .bias = true, .keep_z = true, .act = SG_ACT_SILU},
    {.precision = SG_CUDA_FP32, .M = 256, .N = 1024, .K = 64, .transpose_a = true,
     .epilogue = SG_EPILOGUE_SUMS},
};
// clang-format on

static sg_status plan_products(sg_cuda_vendor *v) {
    sg_vendor_plan *plan = NULL;

    for (int i = 0; i < OP_COUNT(kProducts); i++) {
        SG_TRY(sg_vendor_plan_matmul(v, &kProducts[i], &plan));
        assert_true(sg_vendor_plan_scratch(plan) <= (size_t)256 << 20);
        assert_true(!sg_vendor_plan_fused(plan) || kProducts[i].epilogue != SG_EPILOGUE_NONE);
        assert_true(!sg_vendor_plan_fused(plan) || kProducts[i].act != SG_ACT_SILU);
        sg_vendor_plan_destroy(plan);
    }
    return SG_OK;
}

/* Where there is a GPU, all of them and again from what is kept; elsewhere the reason why not. */
static void test_products(void **state) {
    sg_cuda_vendor_options options = {.plans = NULL};
    char *plans, *again;
    sg_cuda_vendor *v;
    sg_status st;

    (void)state;
    assert_int_equal(sg_cuda_vendor_create(&options, &v), SG_OK);
    st = plan_products(v);
    if (st == SG_ERR_UNAVAILABLE) {
        assert_non_null(strstr(sg_last_error(), "cublaslt: cannot be used here: "));
        sg_cuda_vendor_destroy(v);
        return;
    }
    if (st != SG_OK) fail_msg("%s", sg_last_error());
    plans = sg_cuda_vendor_plans(v);
    sg_cuda_vendor_destroy(v);
    print_message("%s", plans);
    options.plans = plans;
    assert_int_equal(sg_cuda_vendor_create(&options, &v), SG_OK);
    if (plan_products(v) != SG_OK) fail_msg("%s", sg_last_error());
    again = sg_cuda_vendor_plans(v);
    assert_string_equal(plans, again);
    sg_cuda_vendor_destroy(v);
    sg_free(plans);
    sg_free(again);
}

/* Damage is found before the library is asked. */
static void test_products_that_cannot_be_had(void **state) {
    static const char *const damaged[] = {"cudnn 1",
                                          "cublaslt",
                                          "cublaslt 1 2 3 4 5 6 7",
                                          "cublaslt 1 2 3 4 5 6 7 8 9",
                                          "cublaslt+",
                                          "cublaslt 1 2 3 4 5 6 7 x",
                                          "cublaslt+ 1 2 3 4 5 6 7 8"};
    sg_vendor_matmul plain = {.precision = SG_CUDA_FP32, .M = 2, .N = 3, .K = 4};
    sg_vendor_plan *plan = NULL;
    sg_cuda_vendor *v;

    (void)state;
    for (int i = 0; i < OP_COUNT(damaged); i++) { /* the last has an epilogue that is not wanted */
        char text[128];

        snprintf(text, sizeof text, "matmul 2,3,4 fp32\t%s\n", damaged[i]);
        v = vendor_with(text);
        if (sg_vendor_plan_matmul(v, &plain, &plan) != SG_ERR_DATA) fail_msg("taken: %s", text);
        sg_cuda_vendor_destroy(v);
    }
    v = vendor_with("matmul 2,3,4 fp32\tcublaslt 1 2 3 4 5 6 7 8\n");
    assert_int_equal(sg_vendor_plan_matmul(v, &plain, &plan), SG_ERR_UNSUPPORTED);
    assert_null(plan);
    sg_cuda_vendor_destroy(v);
}

static void test_no_device(void **state) {
    sg_cuda_vendor_options options = {.device = "{\"deviceVer\": 900}"};
    sg_cuda_vendor *v = NULL;

    (void)state;
    assert_int_equal(sg_cuda_vendor_create(&options, &v), SG_ERR_ARG);
    assert_null(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_detector),
        cmocka_unit_test(test_op_cases),
        cmocka_unit_test(test_plans_that_cannot_be_had),
        cmocka_unit_test(test_small_workspace),
        cmocka_unit_test(test_no_device),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_products_that_cannot_be_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void without_nvcc_and_cudnn(void **state) {
    (void)state;
    skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_nvcc_and_cudnn)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
