/* Every op on the CUDA backend against the reference, under the emulation of a GPU: the cases of
 * test_ops, with pictures that arrive N C H W and N H W C, and once more in bf16. Each kernel runs
 * twice, with the threads in two orders and memory full of two kinds of garbage, and must give the
 * same bits. */
#include "op_check.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend_cuda.h"
#include "core/mem.h"
#include "emulation/emulation.h"
#include "graph/program.h"

enum { kNameBytes = 96 };

/* Ops whose kernel is still to be written; the reference stands in. A kernel's author takes the
 * line out. */
static const sg_op *const kWaiting[] = {NULL};

static bool is_waiting(const sg_op *op) {
    for (const sg_op *const *w = kWaiting; *w; w++)
        if (*w == op) return true;
    return false;
}

/* --- a backend that runs every kernel twice --------------------------------------------------- */

typedef struct {
    sg_kernel_plan inner;
    int n_out;
    size_t bytes[SG_MAX_OUT];
} twice;

static bool overwrites_input(const sg_args *a, int o) {
    for (int i = 0; i < a->node->n_in; i++)
        if (a->in[i] == a->out[o]) return true;
    return false;
}

/* Scratch and outputs, but for those in place of an input, start as garbage. */
static sg_status run_from(const twice *t, const sg_args *a, void *const before[]) {
    if (t->inner.scratch > 0) sg_emulation_garbage(a->scratch, t->inner.scratch);
    for (int o = 0; o < t->n_out; o++) {
        if (overwrites_input(a, o))
            memcpy(a->out[o], before[o], t->bytes[o]);
        else
            sg_emulation_garbage(a->out[o], t->bytes[o]);
    }
    return t->inner.run(a);
}

static sg_status twice_run(const sg_args *outer) {
    const twice *t = outer->state;
    uint64_t seed = sg_emulation_seed();
    void *before[SG_MAX_OUT] = {NULL}, *first[SG_MAX_OUT] = {NULL};
    sg_args a = *outer;
    sg_status st;

    a.state = t->inner.state;
    for (int o = 0; o < t->n_out; o++) {
        before[o] = sg_malloc(t->bytes[o]);
        first[o] = sg_malloc(t->bytes[o]);
        memcpy(before[o], a.out[o], t->bytes[o]);
    }
    st = run_from(t, &a, before);
    for (int o = 0; o < t->n_out; o++) memcpy(first[o], a.out[o], t->bytes[o]);
    sg_emulation_set_seed(seed + 1);
    if (st == SG_OK) st = run_from(t, &a, before);
    sg_emulation_set_seed(seed);
    for (int o = 0; o < t->n_out; o++) {
        if (st == SG_OK && memcmp(first[o], a.out[o], t->bytes[o]) != 0)
            st = sg_fail(SG_ERR_ARG,
                         "%s (%s): output %d depends on the order of threads, or on memory that "
                         "was not written",
                         a.node->name, a.node->op->name, o);
        sg_free(before[o]);
        sg_free(first[o]);
    }
    return st;
}

static void twice_release(void *state) {
    twice *t = state;

    if (t->inner.release) t->inner.release(t->inner.state);
    sg_free(t);
}

static sg_status run_twice(sg_kernel_plan *plan, int n_out, const size_t bytes[]) {
    twice *t = sg_calloc(1, sizeof *t);

    if (!t) fail_msg("no memory");
    t->inner = *plan;
    t->n_out = n_out;
    for (int o = 0; o < n_out; o++) t->bytes[o] = bytes[o];
    plan->run = twice_run;
    plan->state = t;
    plan->release = twice_release;
    return SG_OK;
}

static sg_status select_twice(void *context, const sg_node *node, const sg_layout have[],
                              sg_kernel_plan *plan) {
    size_t bytes[SG_MAX_OUT];

    if (is_waiting(node->op)) return sg_select_reference(node, plan);
    SG_TRY(sg_backend_cuda.select(context, node, have, plan));
    for (int o = 0; o < node->n_out; o++)
        bytes[o] = sg_backend_cuda.bytes(context, &node->out[o], plan->out[o]);
    return run_twice(plan, node->n_out, bytes);
}

static sg_status convert_twice(void *context, const sg_value *v, sg_layout from, sg_layout to,
                               sg_kernel_plan *plan) {
    size_t bytes[1] = {sg_backend_cuda.bytes(context, v, to)};

    SG_TRY(sg_backend_cuda.convert(context, v, from, to, plan));
    return run_twice(plan, 1, bytes);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_case(void **state) {
    sg_backend backend = sg_backend_cuda;
    const sg_backend *backends[] = {&backend};

    backend.select = select_twice;
    backend.convert = convert_twice;
    op_check_case(*state, backends, OP_COUNT(backends));
}

static void test_case_bf16(void **state) {
    sg_backend backend = sg_backend_cuda;

    backend.select = select_twice;
    backend.convert = convert_twice;
    sg_cuda_use(SG_CUDA_BF16, NULL);
    op_check_case_bf16(*state, &backend, SG_CUDA_NHWC_BF16, SG_CUDA_PLAIN_BF16);
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

static int n_conversions;

static sg_status convert_counted(void *context, const sg_value *v, sg_layout from, sg_layout to,
                                 sg_kernel_plan *plan) {
    n_conversions++;
    return sg_backend_cuda.convert(context, v, from, to, plan);
}

/* Once; how many conversions there are. */
static int run_in_bf16(const sg_graph *g, sg_bindings *b) {
    sg_backend backend = sg_backend_cuda;
    sg_program *program;

    n_conversions = 0;
    backend.convert = convert_counted;
    sg_cuda_use(SG_CUDA_BF16, NULL);
    assert_int_equal(sg_program_compile(g, &backend, NULL, &program), SG_OK);
    sg_cuda_use(SG_CUDA_FP32, NULL);
    assert_int_equal(sg_program_run_once(program, b), SG_OK);
    sg_program_destroy(program);
    return n_conversions;
}

/* The gradient of the loss is bf16, so is its view, and so is what is made of that: the only
 * conversion is the output's. */
static void test_view_of_bf16(void **state) {
    float p[6 * 4], dloss = 1.5f, y[6 * 4];
    int32_t label[6] = {0, 1, 2, 3, -1, 0};
    sg_bindings b = {.input = {p, label, &dloss}, .output = {y}};
    sg_value *in[3], *v;
    sg_graph *g;

    (void)state;
    for (int i = 0; i < 6 * 4; i++) p[i] = 0.25f;
    assert_int_equal(sg_graph_create(SG_TRAIN, NULL, &g), SG_OK);
    in[0] = sg_input(g, "p", SG_F32, sg_shape_2(6, 4));
    in[1] = sg_input(g, "label", SG_I32, sg_shape_1(6));
    in[2] = sg_input(g, "dloss", SG_F32, sg_shape_0());
    v = sg_cross_entropy_dx(g, in[0], in[1], in[2]);
    sg_output(g, "y", sg_scale(g, sg_reshape(g, v, sg_shape_3(2, 3, 4)), 2.0f));
    assert_int_equal(run_in_bf16(g, &b), 1);
    for (int i = 0; i < 6 * 4; i++) {
        float slope = i % 4 == label[i / 4] ? -0.75f : 0.25f;

        assert_true(y[i] == (label[i / 4] < 0 ? 0.0f : 2.0f * dloss * slope));
    }
    sg_graph_destroy(g);
}

/* Between two linear layers nothing is converted: what is are the input, two filters, two biases
 * and the result. */
static void test_linear_stays_bf16(void **state) {
    float zeros[8 * 8] = {0}, x[6 * 8], y[6 * 8];
    sg_bindings b = {.input = {x, zeros, zeros, zeros, zeros}, .output = {y}};
    sg_value *in[5], *h;
    sg_graph *g;

    (void)state;
    for (int i = 0; i < 6 * 8; i++) x[i] = 1.0f;
    assert_int_equal(sg_graph_create(SG_TRAIN, NULL, &g), SG_OK);
    in[0] = sg_input(g, "x", SG_F32, sg_shape_3(2, 3, 8));
    in[1] = sg_input(g, "w1", SG_F32, sg_shape_2(8, 8));
    in[2] = sg_input(g, "b1", SG_F32, sg_shape_1(8));
    in[3] = sg_input(g, "w2", SG_F32, sg_shape_2(8, 8));
    in[4] = sg_input(g, "b2", SG_F32, sg_shape_1(8));
    h = sg_linear_with(g, in[0], in[1], in[2], SG_ACT_GELU);
    sg_output(g, "y", sg_linear_with(g, h, in[3], in[4], SG_ACT_NONE));
    assert_int_equal(run_in_bf16(g, &b), 6);
    for (int i = 0; i < 6 * 8; i++) assert_true(y[i] == 0.0f);
    sg_graph_destroy(g);
}

static void test_every_op_has_a_kernel(void **state) {
    static const sg_op *const kernels[] = {
#define SG_CUDA(name) &sg_op_##name,
#include "kernels.def"
#undef SG_CUDA
    };
    int n_waiting = 0;

    (void)state;
    for (int i = 0; i < SG_OP_COUNT; i++) {
        const sg_op *op = sg_ops[i];
        bool has = false;

        for (int k = 0; k < OP_COUNT(kernels); k++) has = has || kernels[k] == op;
        if (is_waiting(op)) n_waiting++;
        if (has && is_waiting(op)) fail_msg("%s has a kernel: take it out of kWaiting", op->name);
        if (!has && !is_waiting(op) && !op->source && !op->view)
            fail_msg("%s has no kernel in cuda/kernels.def", op->name);
    }
    if (n_waiting) print_message("%d ops still wait for a CUDA kernel\n", n_waiting);
}

/* usage: test_cuda_ops [STRIDE [FIRST]]: every STRIDE-th case from number FIRST (0) on, where all
 * would take too long (ThreadSanitizer) */
int main(int argc, char **argv) {
    static struct CMUnitTest tests[2 * OP_MOST_CASES + 3];
    static char name[2 * OP_MOST_CASES][kNameBytes];
    size_t stride = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    size_t first = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, n = 0, kept = 0;
    const op_case *c;

    for (int i = 0; (c = op_case_at(i / 2)); i++) {
        bool bf16 = i % 2 == 1;

        if (c->ref_only || c->run_status != SG_OK) continue; /* the reference's alone */
        snprintf(name[n], kNameBytes, "%s%s", c->name, bf16 ? ", bf16" : "");
        tests[n].name = name[n];
        tests[n].test_func = bf16 ? test_case_bf16 : test_case;
        tests[n++].initial_state = (void *)(uintptr_t)c;
    }
    tests[n].name = "a view of bf16";
    tests[n++].test_func = test_view_of_bf16;
    tests[n].name = "linear layers stay in bf16";
    tests[n++].test_func = test_linear_stays_bf16;
    tests[n].name = "every op has a kernel";
    tests[n++].test_func = test_every_op_has_a_kernel;
    for (size_t i = first; i < n; i += stride ? stride : 1) tests[kept++] = tests[i];
    return _cmocka_run_group_tests("cuda ops", tests, kept, NULL, NULL);
}
