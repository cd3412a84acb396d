/* Every op on the CUDA backend against the reference, under the emulation of a GPU: the cases of
 * test_ops, with pictures that arrive N C H W and N H W C. Each kernel runs twice, with the threads
 * in two orders, and must give the same bits. */
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

enum { kMaxTests = 1000 };

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

/* Scratch and outputs, but for those in place of an input, start as NaNs each time. */
static sg_status run_from(const twice *t, const sg_args *a, void *const before[]) {
    if (t->inner.scratch > 0) memset(a->scratch, 0xff, t->inner.scratch);
    for (int o = 0; o < t->n_out; o++) {
        if (overwrites_input(a, o))
            memcpy(a->out[o], before[o], t->bytes[o]);
        else
            memset(a->out[o], 0xff, t->bytes[o]);
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
            st = sg_fail(SG_ERR_ARG, "%s (%s): output %d depends on the order of threads",
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

int main(void) {
    static struct CMUnitTest tests[kMaxTests + 1];
    size_t n = 0;

    for (const op_suite *const *s = op_suites; (*s)->n > 0; s++)
        for (int i = 0; i < (*s)->n && n < kMaxTests; i++) {
            tests[n].name = (*s)->cases[i].name;
            tests[n].test_func = test_case;
            tests[n++].initial_state = (void *)(uintptr_t) & (*s)->cases[i];
        }
    tests[n].name = "every op has a kernel";
    tests[n++].test_func = test_every_op_has_a_kernel;
    return _cmocka_run_group_tests("cuda ops", tests, n, NULL, NULL);
}
