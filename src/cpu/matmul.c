/* Matrix products through OpenBLAS, which is a little faster than oneDNN's gemm here and much
 * faster with a transposed first operand (1024^3, one thread: 78 against 77 GFLOP/s; gradients of
 * filters 1.7 times). Where it is not installed oneDNN's serves; the numeric class tells which. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cpu/backend_cpu.h"
#include "cpu/blas.h"

typedef struct {
    int64_t M, N, K;
    bool transpose_a, transpose_b;
    bool blas; /* OpenBLAS, not oneDNN */
} matmul_state;

sg_status sg_cpu_plan_multiply(const sg_node *node, int64_t M, int64_t N, int64_t K,
                               sg_kernel_plan *plan, bool *blas) {
    SG_TRY(sg_blas_load(blas));
    if (*blas && (M > INT_MAX || N > INT_MAX || K > INT_MAX))
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s: a product of (%lld, %lld) and (%lld, %lld), and OpenBLAS counts to %d",
                       node->name, (long long)M, (long long)K, (long long)K, (long long)N, INT_MAX);
    plan->flop = 2.0 * (double)M * (double)N * (double)K;
    snprintf(plan->label, sizeof plan->label, *blas ? "openblas" : "onednn sgemm");
    return SG_OK;
}

sg_status sg_cpu_multiply(bool blas, const float *a, const float *b, float *c, int64_t M, int64_t N,
                          int64_t K, bool transpose_a, bool transpose_b) {
    if (M <= 0 || N <= 0 || K <= 0) {
        memset(c, 0, (size_t)(M * N) * sizeof(float));
        return SG_OK;
    }
    if (!blas) return sg_dnnl_matmul(a, b, c, M, N, K, transpose_a, transpose_b);
    return sg_blas_matmul(a, b, c, M, N, K, transpose_a, transpose_b);
}

static sg_status matmul_run(const sg_args *a) {
    const matmul_state *s = a->state;

    return sg_cpu_multiply(s->blas, a->in[0], a->in[1], a->out[0], s->M, s->N, s->K, s->transpose_a,
                           s->transpose_b);
}

sg_status sg_cpu_select_matmul(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                               sg_kernel_plan *plan) {
    const sg_matmul_attr *attr = node->attr;
    matmul_state s = {.M = node->out[0].shape.dim[0],
                      .N = node->out[0].shape.dim[1],
                      .K = node->in[0]->shape.dim[attr->transpose_a ? 0 : 1],
                      .transpose_a = attr->transpose_a,
                      .transpose_b = attr->transpose_b};

    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, matmul_run, SG_LAYOUT_PLAIN);
    SG_TRY(sg_cpu_plan_multiply(node, s.M, s.N, s.K, plan, &s.blas));
    return sg_cpu_plan_state(plan, &s, sizeof s);
}
