/* Matrix products by cuBLASLt.
 *
 * cuBLASLt is told the transposed product of columns, Y^T = op(B)^T op(A)^T, which is ours in rows
 * without moving anything. A choice is "cublaslt" and the eight words of the algorithm, which may
 * be kept and used again with the same version of the library (cublasLt.h). Split K only with sums
 * in scratch memory, in a fixed order.
 *
 * What no GPU has confirmed: all of it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "internal.h"

enum { kMaxProposals = 8, kWords = 8 };

typedef struct {
    sg_vendor_plan base;
    cublasLtHandle_t handle; /* the vendor's */
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t first, second, result;
    cublasLtMatmulAlgo_t algo;
} matmul_plan;

static sg_status check(cublasStatus_t status, const char *key) {
    if (status == CUBLAS_STATUS_SUCCESS) return SG_OK;
    return sg_fail(SG_ERR_CUDA, "cublaslt: %s: %s", key, cublasLtGetStatusString(status));
}

static sg_status open_handle(sg_cuda_vendor *v) {
    cublasStatus_t status;

    if (v->device)
        return sg_fail(SG_ERR_UNSUPPORTED, "cublaslt: plans for no device that is only described");
    if (v->blas) return SG_OK;
    status = cublasLtCreate(&v->blas);
    if (status == CUBLAS_STATUS_SUCCESS) return SG_OK;
    v->blas = NULL;
    return sg_fail(SG_ERR_UNAVAILABLE, "cublaslt: cannot be used here: %s",
                   cublasLtGetStatusString(status));
}

static sg_status matmul_run(const sg_vendor_plan *plan, const void *const in[], void *out,
                            void *scratch, void *queue) {
    const matmul_plan *p = (const matmul_plan *)plan;
    float alpha = 1.0f, beta = 0.0f;

    return check(cublasLtMatmul(p->handle, p->op, &alpha, in[1], p->first, in[0], p->second, &beta,
                                out, p->result, out, p->result, &p->algo, scratch, plan->scratch,
                                queue),
                 plan->label);
}

static void matmul_release(sg_vendor_plan *plan) {
    matmul_plan *p = (matmul_plan *)plan;

    if (p->op) (void)cublasLtMatmulDescDestroy(p->op);
    if (p->first) (void)cublasLtMatrixLayoutDestroy(p->first);
    if (p->second) (void)cublasLtMatrixLayoutDestroy(p->second);
    if (p->result) (void)cublasLtMatrixLayoutDestroy(p->result);
    sg_free(p);
}

/* Everything but the algorithm. A row-major (R, C) is columns of C, R of them. */
static sg_status describe(matmul_plan *p, const sg_vendor_matmul *m, const char *key) {
    cublasOperation_t first = m->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t second = m->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint64_t rows_b = (uint64_t)(m->transpose_b ? m->K : m->N);
    uint64_t rows_a = (uint64_t)(m->transpose_a ? m->M : m->K);
    uint64_t cols_b = (uint64_t)(m->transpose_b ? m->N : m->K);
    uint64_t cols_a = (uint64_t)(m->transpose_a ? m->K : m->M);
    cublasComputeType_t compute =
        m->precision == SG_CUDA_FP32 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32;

    SG_TRY(check(cublasLtMatmulDescCreate(&p->op, compute, CUDA_R_32F), key));
    SG_TRY(check(
        cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first),
        key));
    SG_TRY(check(
        cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second),
        key));
    SG_TRY(check(cublasLtMatrixLayoutCreate(&p->first, CUDA_R_32F, rows_b, cols_b, (int64_t)rows_b),
                 key));
    SG_TRY(check(
        cublasLtMatrixLayoutCreate(&p->second, CUDA_R_32F, rows_a, cols_a, (int64_t)rows_a), key));
    return check(
        cublasLtMatrixLayoutCreate(&p->result, CUDA_R_32F, (uint64_t)m->N, (uint64_t)m->M, m->N),
        key);
}

/* --- the algorithm ---------------------------------------------------------------------------- */

static void algo_print(const cublasLtMatmulAlgo_t *algo, char text[SG_PLAN_CHOICE]) {
    int at = snprintf(text, SG_PLAN_CHOICE, "cublaslt");

    for (int i = 0; i < kWords; i++)
        at += snprintf(text + at, (size_t)(SG_PLAN_CHOICE - at), " %" PRIx64, algo->data[i]);
}

static bool algo_parse(const char *text, cublasLtMatmulAlgo_t *algo) {
    static const char name[] = "cublaslt";
    char *end = (char *)(uintptr_t)text + sizeof name - 1;

    if (strncmp(text, name, sizeof name - 1) != 0) return false;
    for (int i = 0; i < kWords; i++) {
        if (*end != ' ') return false;
        algo->data[i] = strtoull(end, &end, 16);
    }
    return *end == 0;
}

/* Take `algo`, if it can be had here. */
static sg_status adopt(const sg_cuda_vendor *v, matmul_plan *p, const cublasLtMatmulAlgo_t *algo,
                       const char *key) {
    cublasLtMatmulHeuristicResult_t result;
    int id = 0;

    SG_TRY(check(cublasLtMatmulAlgoCheck(v->blas, p->op, p->first, p->second, p->result, p->result,
                                         algo, &result),
                 key));
    SG_TRY(check(result.state, key));
    (void)cublasLtMatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id, NULL);
    p->algo = *algo;
    p->base.scratch = result.workspaceSize;
    snprintf(p->base.label, sizeof p->base.label, "cublaslt %d", id);
    return SG_OK;
}

static sg_status ask(const sg_cuda_vendor *v, const matmul_plan *p, const char *key,
                     cublasLtMatmulHeuristicResult_t list[kMaxProposals], int *n) {
    uint32_t sums = CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    uint32_t alignment = 16;
    cublasLtMatmulPreference_t wish;
    cublasStatus_t st = cublasLtMatmulPreferenceCreate(&wish);

    SG_TRY(check(st, key));
    st = cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                              &v->workspace, sizeof(uint64_t));
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                                  &sums, sizeof sums);
    for (int i = 0; i < 4 && st == CUBLAS_STATUS_SUCCESS; i++) {
        static const cublasLtMatmulPreferenceAttributes_t names[] = {
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};

        st = cublasLtMatmulPreferenceSetAttribute(wish, names[i], &alignment, sizeof alignment);
    }
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulAlgoGetHeuristic(v->blas, p->op, p->first, p->second, p->result,
                                            p->result, wish, kMaxProposals, list, n);
    (void)cublasLtMatmulPreferenceDestroy(wish);
    return check(st, key);
}

static sg_status choose(sg_cuda_vendor *v, matmul_plan *p, const sg_vendor_matmul *m,
                        const char *key, cublasLtMatmulAlgo_t *out) {
    size_t in[3] = {(size_t)(m->M * m->K) * sizeof(float), (size_t)(m->K * m->N) * sizeof(float),
                    0};
    cublasLtMatmulHeuristicResult_t list[kMaxProposals];
    double fastest = 0.0;
    int n = 0, best = -1;

    SG_TRY(ask(v, p, key, list, &n));
    for (int i = 0; i < n && (best < 0 || v->timed); i++) {
        double seconds = 0.0;

        if (list[i].state != CUBLAS_STATUS_SUCCESS) continue;
        if (adopt(v, p, &list[i].algo, key) != SG_OK || p->base.scratch > v->workspace) continue;
        if (v->timed)
            SG_TRY(
                sg_vendor_time(v, &p->base, in, (size_t)(m->M * m->N) * sizeof(float), &seconds));
        if (best < 0 || seconds < fastest) {
            best = i;
            fastest = seconds;
        }
    }
    if (best < 0)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s: cuBLASLt has no algorithm for it that always gives the same bits", key);
    *out = list[best].algo;
    return SG_OK;
}

static sg_status plan_matmul(sg_cuda_vendor *v, matmul_plan *p, const sg_vendor_matmul *m) {
    char key[SG_PLAN_KEY], text[SG_PLAN_CHOICE];
    cublasLtMatmulAlgo_t algo;
    bool known;

    sg_plan_key_matmul(m, key);
    SG_TRY(open_handle(v));
    p->base.run = matmul_run;
    p->handle = v->blas;
    SG_TRY(describe(p, m, key));
    known = sg_plan_table_find(v->table, key, text);
    if (!known) {
        SG_TRY(choose(v, p, m, key, &algo));
        algo_print(&algo, text);
    }
    if (!algo_parse(text, &algo)) return sg_fail(SG_ERR_DATA, "plans: %s: \"%s\"", key, text);
    if (adopt(v, p, &algo, key) != SG_OK)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "%s: the run's plan \"%s\" cannot be had here; another GPU or cuBLASLt made "
                       "it",
                       key, text);
    return known ? SG_OK : sg_plan_table_add(v->table, key, text);
}

sg_status sg_vendor_plan_matmul(sg_cuda_vendor *v, const sg_vendor_matmul *m,
                                sg_vendor_plan **out) {
    matmul_plan *p = sg_calloc(1, sizeof *p);
    sg_status st;

    if (!p) return sg_fail(SG_ERR_OOM, "cublaslt: no memory for a plan");
    p->base.release = matmul_release;
    st = plan_matmul(v, p, m);
    if (st != SG_OK) {
        matmul_release(&p->base);
        return st;
    }
    *out = &p->base;
    return SG_OK;
}
