/* Matrix products by cuBLASLt.
 *
 * cuBLASLt is told the transposed product of columns, Y^T = op(B)^T op(A)^T, which is ours in rows
 * without moving anything: a bias along a row of ours is one along a column of its, and the sums of
 * op(A) are its "bias gradient of B". A choice is "cublaslt", or "cublaslt+" where the epilogue is
 * part of it, and the eight words of the algorithm, which may be kept and used again with the same
 * version of the library (cublasLt.h). Split K only with sums in scratch memory, in a fixed order.
 *
 * An H200 has confirmed that it runs, and always gives the same bits. */
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
    sg_vendor_matmul m;
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

static sg_status set(matmul_plan *p, cublasLtMatmulDescAttributes_t name, const void *value,
                     size_t bytes) {
    return check(cublasLtMatmulDescSetAttribute(p->op, name, value, bytes), p->base.label);
}

/* What the epilogue reads and writes beside the product's own matrices: its vector (a bias, or
 * sums) and its matrix (Z). While an algorithm is chosen their alignment counts alone. */
static sg_status set_pointers(matmul_plan *p, const void *vector, const void *matrix) {
    if (vector) SG_TRY(set(p, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &vector, sizeof vector));
    if (!matrix) return SG_OK;
    return set(p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &matrix, sizeof matrix);
}

static bool has_vector(const sg_vendor_matmul *m) {
    return m->epilogue == SG_EPILOGUE_SUMS || (m->epilogue == SG_EPILOGUE_ACT && m->bias);
}

static bool has_matrix(const sg_vendor_matmul *m) {
    return m->epilogue == SG_EPILOGUE_SLOPE || (m->epilogue == SG_EPILOGUE_ACT && m->keep_z);
}

static sg_status point(matmul_plan *p, const void *const in[], void *const out[]) {
    const void *vector = p->m.epilogue == SG_EPILOGUE_SUMS ? out[1] : in[2];
    const void *matrix = p->m.epilogue == SG_EPILOGUE_SLOPE ? in[2] : out[1];

    return set_pointers(p, has_vector(&p->m) ? vector : NULL, has_matrix(&p->m) ? matrix : NULL);
}

static sg_status matmul_run(const sg_vendor_plan *plan, const void *const in[], void *const out[],
                            void *scratch, void *queue) {
    matmul_plan *p = (matmul_plan *)(uintptr_t)plan; /* pointers of the epilogue are kept in it */
    float alpha = 1.0f, beta = 0.0f;

    if (plan->fused) SG_TRY(point(p, in, out));
    return check(cublasLtMatmul(p->handle, p->op, &alpha, in[1], p->first, in[0], p->second, &beta,
                                out[0], p->result, out[0], p->result, &p->algo, scratch,
                                plan->scratch, queue),
                 plan->label);
}

static void forget(matmul_plan *p) {
    if (p->op) (void)cublasLtMatmulDescDestroy(p->op);
    if (p->first) (void)cublasLtMatrixLayoutDestroy(p->first);
    if (p->second) (void)cublasLtMatrixLayoutDestroy(p->second);
    if (p->result) (void)cublasLtMatrixLayoutDestroy(p->result);
    p->op = NULL;
    p->first = p->second = p->result = NULL;
}

static void matmul_release(sg_vendor_plan *plan) {
    matmul_plan *p = (matmul_plan *)plan;

    forget(p);
    sg_free(p);
}

/* --- the description -------------------------------------------------------------------------- */

static bool is_bf16_out(const sg_vendor_matmul *m) {
    return m->precision == SG_CUDA_BF16 && !m->f32_out;
}

/* cuBLASLt's GELU is the form by tanh, which differs from ours by up to 5e-4: below what bf16
 * rounds off near 1, but not at other precisions. Its Z has rows of multiples of 8. */
static cublasLtEpilogue_t gelu_of(const sg_vendor_matmul *m) {
    if (!is_bf16_out(m) || m->N % 8 != 0) return CUBLASLT_EPILOGUE_DEFAULT;
    if (m->epilogue == SG_EPILOGUE_SLOPE) return CUBLASLT_EPILOGUE_DGELU;
    if (m->keep_z) return m->bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    return m->bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
}

/* cuBLASLt's epilogue; CUBLASLT_EPILOGUE_DEFAULT where it has none that does what ours says: there
 * is no SiLU, and a ReLU's slope is taken from a mask of bits, which we do not keep. */
static cublasLtEpilogue_t epilogue_of(const sg_vendor_matmul *m) {
    if (m->epilogue == SG_EPILOGUE_SUMS) return CUBLASLT_EPILOGUE_BGRADB;
    if (m->act == SG_ACT_GELU) return gelu_of(m);
    if (m->epilogue != SG_EPILOGUE_ACT || m->keep_z) return CUBLASLT_EPILOGUE_DEFAULT;
    if (m->act == SG_ACT_RELU)
        return m->bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    return m->act == SG_ACT_NONE && m->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

static sg_status describe_epilogue(matmul_plan *p, const sg_vendor_matmul *m) {
    static const void *const aligned = (const void *)(uintptr_t)16;
    uint32_t epilogue = (uint32_t)epilogue_of(m);
    int64_t row = m->N;

    SG_TRY(set(p, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue));
    if (has_matrix(m)) SG_TRY(set(p, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &row, sizeof row));
    return set_pointers(p, has_vector(m) ? aligned : NULL, has_matrix(m) ? aligned : NULL);
}

/* Everything but the algorithm. A row-major (R, C) is columns of C, R of them. */
static sg_status describe(matmul_plan *p, const sg_vendor_matmul *m, bool fused, const char *key) {
    cudaDataType_t type = m->precision == SG_CUDA_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    cudaDataType_t out = is_bf16_out(m) ? CUDA_R_16BF : CUDA_R_32F;
    cublasOperation_t first = m->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t second = m->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    uint64_t rows_b = (uint64_t)(m->transpose_b ? m->K : m->N);
    uint64_t rows_a = (uint64_t)(m->transpose_a ? m->M : m->K);
    uint64_t cols_b = (uint64_t)(m->transpose_b ? m->N : m->K);
    uint64_t cols_a = (uint64_t)(m->transpose_a ? m->K : m->M);
    cublasComputeType_t compute =
        m->precision == SG_CUDA_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;

    snprintf(p->base.label, sizeof p->base.label, "%.*s", (int)sizeof p->base.label - 1, key);
    p->base.fused = fused;
    SG_TRY(check(cublasLtMatmulDescCreate(&p->op, compute, CUDA_R_32F), key));
    SG_TRY(set(p, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first));
    SG_TRY(set(p, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second));
    if (fused) SG_TRY(describe_epilogue(p, m));
    SG_TRY(
        check(cublasLtMatrixLayoutCreate(&p->first, type, rows_b, cols_b, (int64_t)rows_b), key));
    SG_TRY(
        check(cublasLtMatrixLayoutCreate(&p->second, type, rows_a, cols_a, (int64_t)rows_a), key));
    return check(cublasLtMatrixLayoutCreate(&p->result, out, (uint64_t)m->N, (uint64_t)m->M, m->N),
                 key);
}

/* --- the algorithm ---------------------------------------------------------------------------- */

static void choice_print(bool fused, const cublasLtMatmulAlgo_t *algo, char text[SG_PLAN_CHOICE]) {
    int at = snprintf(text, SG_PLAN_CHOICE, "cublaslt%s", fused ? "+" : "");

    for (int i = 0; i < kWords; i++)
        at += snprintf(text + at, (size_t)(SG_PLAN_CHOICE - at), " %" PRIx64, algo->data[i]);
}

/* False: the text is no choice for this product. */
static bool choice_parse(const sg_vendor_matmul *m, const char *text, bool *fused,
                         cublasLtMatmulAlgo_t *algo) {
    static const char name[] = "cublaslt";
    char *end = (char *)(uintptr_t)text + sizeof name - 1;

    if (strncmp(text, name, sizeof name - 1) != 0) return false;
    *fused = *end == '+';
    end += *fused;
    for (int i = 0; i < kWords; i++) {
        if (*end != ' ') return false;
        algo->data[i] = strtoull(end, &end, 16);
    }
    return *end == 0 && !(*fused && epilogue_of(m) == CUBLASLT_EPILOGUE_DEFAULT);
}

/* Whether partial sums, if it makes any, are added in a fixed order: not by atomics in place. */
static bool is_deterministic(const cublasLtMatmulAlgo_t *algo) {
    uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_INPLACE;

    if (cublasLtMatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                             sizeof scheme, NULL) != CUBLAS_STATUS_SUCCESS)
        return false;
    return scheme == CUBLASLT_REDUCTION_SCHEME_NONE ||
           scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
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
    if (!is_deterministic(algo))
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: its sums are in no fixed order", key);
    (void)cublasLtMatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id, NULL);
    p->algo = *algo;
    p->base.scratch = result.workspaceSize;
    snprintf(p->base.label, sizeof p->base.label, "cublaslt%s %d", p->base.fused ? "+" : "", id);
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
    if (st == CUBLAS_STATUS_NOT_SUPPORTED) {
        *n = 0;
        return SG_OK;
    }
    return check(st, key);
}

/* Of the product's matrices and of what the epilogue reads and writes. */
static void bytes_of(const sg_vendor_matmul *m, size_t in[3], size_t out[2]) {
    size_t each = m->precision == SG_CUDA_BF16 ? 2 : 4, each_out = is_bf16_out(m) ? 2 : 4;

    in[0] = (size_t)(m->M * m->K) * each;
    in[1] = (size_t)(m->K * m->N) * each;
    in[2] = (size_t)(m->epilogue == SG_EPILOGUE_SLOPE ? m->M * m->N : m->N) * each_out;
    out[0] = (size_t)(m->M * m->N) * each_out;
    out[1] = m->keep_z ? out[0] : (size_t)m->M * sizeof(float);
}

static sg_status choose(sg_cuda_vendor *v, matmul_plan *p, const sg_vendor_matmul *m,
                        const char *key, cublasLtMatmulAlgo_t *out) {
    cublasLtMatmulHeuristicResult_t list[kMaxProposals];
    size_t in[3], out_bytes[2];
    double fastest = 0.0;
    int n = 0, best = -1;

    bytes_of(m, in, out_bytes);
    SG_TRY(ask(v, p, key, list, &n));
    for (int i = 0; i < n && (best < 0 || v->timed); i++) {
        double seconds = 0.0;

        if (list[i].state != CUBLAS_STATUS_SUCCESS) continue;
        if (adopt(v, p, &list[i].algo, key) != SG_OK || p->base.scratch > v->workspace) continue;
        if (v->timed) SG_TRY(sg_vendor_time(v, &p->base, in, out_bytes, &seconds));
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

/* An algorithm with the epilogue, else one without. */
static sg_status choose_new(sg_cuda_vendor *v, matmul_plan *p, const sg_vendor_matmul *m,
                            const char *key, char text[SG_PLAN_CHOICE]) {
    bool fused = epilogue_of(m) != CUBLASLT_EPILOGUE_DEFAULT;
    cublasLtMatmulAlgo_t algo;
    sg_status st = SG_ERR_UNSUPPORTED;

    if (fused) {
        st = describe(p, m, true, key);
        if (st == SG_OK) st = choose(v, p, m, key, &algo);
        forget(p);
    }
    if (st != SG_OK && st != SG_ERR_OOM) {
        fused = false;
        SG_TRY(describe(p, m, false, key));
        st = choose(v, p, m, key, &algo);
        forget(p);
    }
    if (st == SG_OK) choice_print(fused, &algo, text);
    return st;
}

static sg_status plan_matmul(sg_cuda_vendor *v, matmul_plan *p, const sg_vendor_matmul *m) {
    char key[SG_PLAN_KEY], text[SG_PLAN_CHOICE];
    cublasLtMatmulAlgo_t algo;
    bool known, fused = false;

    sg_plan_key_matmul(m, key);
    p->m = *m;
    known = sg_plan_table_find(v->table, key, text);
    if (known && !choice_parse(m, text, &fused, &algo))
        return sg_fail(SG_ERR_DATA, "plans: %s: \"%s\"", key, text);
    SG_TRY(open_handle(v));
    p->base.run = matmul_run;
    p->handle = v->blas;
    if (!known) {
        SG_TRY(choose_new(v, p, m, key, text));
        if (!choice_parse(m, text, &fused, &algo))
            return sg_fail(SG_ERR_CUDA, "%s: its choice \"%s\" cannot be kept", key, text);
    }
    SG_TRY(describe(p, m, fused, key));
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
