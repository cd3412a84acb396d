/* Matrix product: a library call. At SG_CUDA_BF16 the operands are bf16; so is the result, but for
 * a transposed first operand: then the sums run over rows, it is the gradient of a parameter, and
 * stays f32. */
#include <stdio.h>

#include "core/mem.h"
#include "vendor/vendor.h"

typedef struct {
    sg_vendor_plan *plan; /* owned; NULL: there is nothing to add up */
    size_t zero_bytes;    /* of the output then */
} matmul_state;

static void matmul_release(void *state) {
    matmul_state *s = state;

    if (s) sg_vendor_plan_destroy(s->plan);
    sg_free(s);
}

static sg_status matmul_run(const sg_args *a) {
    const matmul_state *s = a->state;

    if (s->plan) return sg_vendor_plan_run(s->plan, a->in, a->out, a->scratch, a->queue);
    return s->zero_bytes ? sg_vendor_zero(a->out[0], s->zero_bytes, a->queue) : SG_OK;
}

sg_status sg_cuda_select_matmul(sg_cuda *cuda, const sg_node *node, const sg_layout have[],
                                sg_kernel_plan *plan) {
    const sg_matmul_attr *t = node->attr;
    sg_vendor_matmul m = {.precision = cuda->precision,
                          .M = node->out[0].shape.dim[0],
                          .N = node->out[0].shape.dim[1],
                          .K = node->in[0]->shape.dim[t->transpose_a ? 0 : 1],
                          .transpose_a = t->transpose_a,
                          .transpose_b = t->transpose_b};
    bool half = cuda->precision == SG_CUDA_BF16;
    matmul_state s = {NULL, 0};
    sg_status st;

    (void)have;
    sg_cuda_plan(plan, node, matmul_run, half ? SG_CUDA_PLAIN_BF16 : SG_CUDA_PLAIN);
    m.f32_out = half && t->transpose_a;
    if (m.f32_out) plan->out[0] = SG_CUDA_PLAIN;
    if (m.M == 0 || m.N == 0 || m.K == 0) {
        s.zero_bytes = sg_backend_cuda.bytes(cuda, &node->out[0], plan->out[0]);
    } else {
        SG_TRY(sg_vendor_plan_matmul(cuda->vendor, &m, &s.plan));
        plan->scratch = sg_vendor_plan_scratch(s.plan);
        plan->flop = 2.0 * (double)m.M * (double)m.N * (double)m.K;
        snprintf(plan->label, sizeof plan->label, "%s", sg_vendor_plan_label(s.plan));
    }
    st = sg_cuda_plan_state(plan, &s, sizeof s);
    if (st != SG_OK)
        sg_vendor_plan_destroy(s.plan);
    else
        plan->release = matmul_release;
    return st;
}
