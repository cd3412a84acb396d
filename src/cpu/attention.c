/* Attention, a text and head at a time, 64 queries at a time: their scores and probabilities
 * (64, T) stay in a core's cache. ops/attention.c has the formulas.
 *
 * The five products of matrices are small (T x T x D), and lie between rows of 3 H D floats: so
 * queries, keys and values of a head are copied into matrices of their own first, padded to whole
 * vectors, and the products are ours. Each keeps 6 x 2 vectors of its result in registers (12 x 2
 * with AVX-512) and adds one term to all of them at a time:
 *
 *   forward    S = Q K^T, o = P V                               K^T is copied transposed
 *   backward   S = Q K^T, dP = do V^T, dq = dS K,               so is V^T
 *              dk += dS^T Q, dv += P^T do                       an operand's strides transpose it
 *
 * Every element is one chain of multiply-adds.
 *
 * GFLOP/s of a core, exponentials and copies counted as time only, forward and backward; OpenBLAS's
 * sgemm on the same sizes beside it: T = 64, D = 32: 57, 74 (sgemm 72 to 85); T = 64, D = 64: 62,
 * 70 (90 to 95); T = 256, D = 64: 77, 87 (103). (Prefetching the next head's rows: no faster.) */
#include <math.h>
#include <string.h>

#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

enum { kRows = SG_BLOCK == 16 ? 12 : 6, kFewRows = 4, kQueries = 64 };

typedef struct {
    int64_t N, T, H, D, C;
    int64_t Tp, Dp; /* rounded up to whole vectors; Tp to an odd number of them, as rows that are a
                       power of two apart share a few sets of the cache (T = 512: 3 times slower) */
    float scale;
} attention_state;

/* --- products --------------------------------------------------------------------------------- */

/* Element (m, k) is at x[m * row + k * col]. */
typedef struct {
    const float *x;
    int64_t row, col;
} operand;

/* `rows` rows of `cols` vectors of c (ldc) = a b [+ c], with b (K, ldb). */
SG_INLINE void tile(operand a, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t K,
                    bool add, int rows, int cols) {
    vec acc[kRows][2];

#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < cols; j++)
            acc[r][j] = add ? vec_load(c + r * ldc + j * kBlock) : vec_zero();
    for (int64_t k = 0; k < K; k++) {
        vec b0 = vec_load(b + k * ldb);
        vec b1 = cols > 1 ? vec_load(b + k * ldb + kBlock) : vec_zero();

#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            vec x = vec_set1(a.x[r * a.row + k * a.col]);

            acc[r][0] = vec_fma(x, b0, acc[r][0]);
            if (cols > 1) acc[r][1] = vec_fma(x, b1, acc[r][1]);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int j = 0; j < cols; j++) vec_store(c + r * ldc + j * kBlock, acc[r][j]);
}

SG_INLINE void tiles(operand a, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t M,
                     int64_t K, bool add, int cols) {
    int64_t m = 0;

    for (; m + kRows <= M; m += kRows, a.x += kRows * a.row, c += kRows * ldc)
        tile(a, b, ldb, c, ldc, K, add, kRows, cols);
    for (; m + kFewRows <= M; m += kFewRows, a.x += kFewRows * a.row, c += kFewRows * ldc)
        tile(a, b, ldb, c, ldc, K, add, kFewRows, cols);
    for (; m < M; m++, a.x += a.row, c += ldc) tile(a, b, ldb, c, ldc, K, add, 1, cols);
}

/* c (M, N) = a (M, K) b (K, N) [+ c], N up to whole vectors; rows of b and c are ld apart. */
static void product(operand a, const float *b, float *c, int64_t ld, int64_t M, int64_t N,
                    int64_t K, bool add) {
    int64_t n = 0;

    for (; n + kBlock < N; n += 2 * kBlock) tiles(a, b + n, ld, c + n, ld, M, K, add, 2);
    if (n < N) tiles(a, b + n, ld, c + n, ld, M, K, add, 1);
}

static operand by_rows(const float *x, int64_t ld) { return (operand){x, ld, 1}; }
static operand by_columns(const float *x, int64_t ld) { return (operand){x, 1, ld}; }

/* --- copies ----------------------------------------------------------------------------------- */

static int some_of(int64_t left) { return left < kBlock ? (int)left : kBlock; }

/* y (rows, Dp) = factor x; zeros beyond D. */
static void pack(const attention_state *s, const float *x, int64_t ldx, int64_t rows, float factor,
                 float *y) {
    const vec f = vec_set1(factor);

    for (int64_t i = 0; i < rows; i++, x += ldx, y += s->Dp)
        for (int64_t d = 0; d < s->D; d += kBlock)
            vec_store(y + d, vec_mul(f, vec_load_some(x + d, some_of(s->D - d))));
}

/* y (D, Tp) = x^T; zeros beyond `rows`, up to a whole vector. */
static void pack_transposed(const attention_state *s, const float *x, int64_t ldx, int64_t rows,
                            float *y) {
    for (int64_t i = 0; i < rows; i += kBlock)
        for (int64_t d = 0; d < s->D; d += kBlock) {
            int some = some_of(s->D - d);
            vec r[kBlock];

            for (int k = 0; k < kBlock; k++)
                r[k] = i + k < rows ? vec_load_some(x + (i + k) * ldx + d, some) : vec_zero();
            vec_transpose(r);
            for (int k = 0; k < some; k++) vec_store(y + (d + k) * s->Tp + i, r[k]);
        }
}

/* A row of y = factor x (D). */
static void unpack_row(const attention_state *s, const float *x, float factor, float *y) {
    const vec f = vec_set1(factor);

    for (int64_t d = 0; d < s->D; d += kBlock)
        vec_store_some(y + d, some_of(s->D - d), vec_mul(f, vec_load(x + d)));
}

static void unpack(const attention_state *s, const float *x, int64_t rows, float factor, float *y,
                   int64_t ldy) {
    for (int64_t i = 0; i < rows; i++) unpack_row(s, x + i * s->Dp, factor, y + i * ldy);
}

/* The next `count` floats of the scratch memory. */
static float *take(float **scratch, int64_t count) {
    float *p = *scratch;

    *scratch += count;
    return p;
}

static int64_t length_of(const sg_args *a, int64_t n, int64_t T) {
    const int32_t *length = a->in[1];

    return length ? length[n] : T;
}

/* --- attention -------------------------------------------------------------------------------- */

static float row_max(const float *x, int64_t n) {
    float lane[kBlock], m = x[0];
    int64_t i = 0;

    if (n >= kBlock) {
        vec most = vec_load(x);

        for (i = kBlock; i + kBlock <= n; i += kBlock) most = vec_max(vec_load(x + i), most);
        vec_store(lane, most);
        for (int k = 0; k < kBlock; k++) m = lane[k] > m ? lane[k] : m;
    }
    for (; i < n; i++) m = x[i] > m ? x[i] : m;
    return m;
}

/* x (n) = exp(x - m), up to whole vectors; the sum of the first n. */
static double row_exp(float *x, int64_t n, float m) {
    const vec shift = vec_set1(m);
    dvec sum = dvec_zero();

    for (int64_t i = 0; i < n; i += kBlock) {
        vec_store(x + i, vec_exp(vec_sub(vec_load(x + i), shift)));
        dvec_add(&sum, vec_load_some(x + i, some_of(n - i)));
    }
    return dvec_total(sum);
}

typedef struct {
    float *q, *kt, *v; /* (T, Dp) scaled, (D, Tp), (T, Dp) */
    float *p, *o;      /* (kQueries, Tp), (kQueries, Dp) */
} forward_scratch;

/* Of one text and head. */
static void attend(const attention_state *s, const forward_scratch *at, const float *q,
                   int64_t length, float *o, float *lse) {
    pack(s, q, 3 * s->C, length, s->scale, at->q);
    pack_transposed(s, q + s->C, 3 * s->C, length, at->kt);
    pack(s, q + 2 * s->C, 3 * s->C, length, 1.0f, at->v);
    for (int64_t i = 0; i < length; i += kQueries) {
        int64_t rows = length - i < kQueries ? length - i : kQueries;
        float inverse[kQueries];

        product(by_rows(at->q + i * s->Dp, s->Dp), at->kt, at->p, s->Tp, rows, length, s->D, false);
        for (int64_t r = 0; r < rows; r++) {
            float *p = at->p + r * s->Tp, m = row_max(p, length);
            double sum = row_exp(p, length, m);

            lse[i + r] = (float)((double)m + log(sum));
            inverse[r] = (float)(1.0 / sum);
        }
        product(by_rows(at->p, s->Tp), at->v, at->o, s->Dp, rows, s->D, length, false);
        for (int64_t r = 0; r < rows; r++)
            unpack_row(s, at->o + r * s->Dp, inverse[r], o + (i + r) * s->C);
    }
}

static sg_status attention_run(const sg_args *a) {
    const attention_state *s = a->state;
    float *scratch = a->scratch;
    forward_scratch at;

    SG_TRY(sg_op_check_lengths(a, a->in[1], s->N, s->T));
    at.q = take(&scratch, s->T * s->Dp);
    at.kt = take(&scratch, s->D * s->Tp);
    at.v = take(&scratch, s->T * s->Dp);
    at.p = take(&scratch, kQueries * s->Tp);
    at.o = take(&scratch, kQueries * s->Dp);
    for (int64_t n = 0; n < s->N; n++) {
        const float *qkv = (const float *)a->in[0] + n * s->T * 3 * s->C;
        float *o = (float *)a->out[0] + n * s->T * s->C;
        int64_t length = length_of(a, n, s->T), rest = s->T - length;

        for (int64_t h = 0; h < s->H; h++) {
            float *lse = (float *)a->out[1] + (n * s->H + h) * s->T;

            attend(s, &at, qkv + h * s->D, length, o + h * s->D, lse);
            memset(lse + length, 0, (size_t)rest * sizeof *lse);
        }
        memset(o + length * s->C, 0, (size_t)(rest * s->C) * sizeof *o);
    }
    return SG_OK;
}

/* --- attention_dx ----------------------------------------------------------------------------- */

typedef struct {
    float *q, *k, *dy, *kt, *vt; /* (T, Dp), q scaled; (D, Tp) */
    float *p, *ds;               /* (kQueries, Tp) */
    float *dq, *dk, *dv;         /* (kQueries, Dp); (T, Dp) */
} backward_scratch;

static float row_dot(const attention_state *s, const float *x, const float *y) {
    dvec sum = dvec_zero();

    for (int64_t d = 0; d < s->D; d += kBlock) {
        int some = some_of(s->D - d);

        dvec_add(&sum, vec_mul(vec_load_some(x + d, some), vec_load_some(y + d, some)));
    }
    return (float)dvec_total(sum);
}

/* p = exp(p - lse), ds = p (ds - delta) of a row. */
static void row_ds(float *p, float *ds, int64_t n, float lse, float delta) {
    const vec shift = vec_set1(lse), minus = vec_set1(delta);

    for (int64_t j = 0; j < n; j += kBlock) {
        vec e = vec_exp(vec_sub(vec_load(p + j), shift));

        vec_store(p + j, e);
        vec_store(ds + j, vec_mul(e, vec_sub(vec_load(ds + j), minus)));
    }
}

/* Of one text and head; dq, dk and dv lie as q, k and v. */
static void attend_dx(const attention_state *s, const backward_scratch *at, const float *q,
                      const float *o, const float *lse, const float *dy, int64_t length,
                      float *dq) {
    const float *k = q + s->C, *v = k + s->C;

    pack(s, q, 3 * s->C, length, s->scale, at->q);
    pack(s, k, 3 * s->C, length, 1.0f, at->k);
    pack(s, dy, s->C, length, 1.0f, at->dy);
    pack_transposed(s, k, 3 * s->C, length, at->kt);
    pack_transposed(s, v, 3 * s->C, length, at->vt);
    for (int64_t i = 0; i < length; i += kQueries) {
        int64_t rows = length - i < kQueries ? length - i : kQueries;
        const float *qi = at->q + i * s->Dp, *dyi = at->dy + i * s->Dp;

        product(by_rows(qi, s->Dp), at->kt, at->p, s->Tp, rows, length, s->D, false);
        product(by_rows(dyi, s->Dp), at->vt, at->ds, s->Tp, rows, length, s->D, false);
        for (int64_t r = 0; r < rows; r++)
            row_ds(at->p + r * s->Tp, at->ds + r * s->Tp, length, lse[i + r],
                   row_dot(s, dy + (i + r) * s->C, o + (i + r) * s->C));
        product(by_rows(at->ds, s->Tp), at->k, at->dq, s->Dp, rows, s->D, length, false);
        product(by_columns(at->ds, s->Tp), qi, at->dk, s->Dp, length, s->D, rows, i > 0);
        product(by_columns(at->p, s->Tp), dyi, at->dv, s->Dp, length, s->D, rows, i > 0);
        unpack(s, at->dq, rows, s->scale, dq + i * 3 * s->C, 3 * s->C);
    }
    if (length == 0) return; /* dk and dv have not been set */
    unpack(s, at->dk, length, 1.0f, dq + s->C, 3 * s->C);
    unpack(s, at->dv, length, 1.0f, dq + 2 * s->C, 3 * s->C);
}

static sg_status attention_dx_run(const sg_args *a) {
    const attention_state *s = a->state;
    float *scratch = a->scratch;
    backward_scratch at;

    SG_TRY(sg_op_check_lengths(a, a->in[1], s->N, s->T));
    at.q = take(&scratch, s->T * s->Dp);
    at.k = take(&scratch, s->T * s->Dp);
    at.dy = take(&scratch, s->T * s->Dp);
    at.kt = take(&scratch, s->D * s->Tp);
    at.vt = take(&scratch, s->D * s->Tp);
    at.p = take(&scratch, kQueries * s->Tp);
    at.ds = take(&scratch, kQueries * s->Tp);
    at.dq = take(&scratch, kQueries * s->Dp);
    at.dk = take(&scratch, s->T * s->Dp);
    at.dv = take(&scratch, s->T * s->Dp);
    for (int64_t n = 0; n < s->N; n++) {
        int64_t length = length_of(a, n, s->T), row = n * s->T;
        float *dqkv = (float *)a->out[0] + row * 3 * s->C;

        for (int64_t h = 0; h < s->H; h++)
            attend_dx(s, &at, (const float *)a->in[0] + row * 3 * s->C + h * s->D,
                      (const float *)a->in[2] + row * s->C + h * s->D,
                      (const float *)a->in[3] + (n * s->H + h) * s->T,
                      (const float *)a->in[4] + row * s->C + h * s->D, length, dqkv + h * s->D);
        memset(dqkv + length * 3 * s->C, 0, (size_t)((s->T - length) * 3 * s->C) * sizeof *dqkv);
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

/* `products`: of T x T x D multiply-adds. */
static sg_status select_attention(const sg_node *node, sg_kernel run, int products,
                                  sg_kernel_plan *plan) {
    const sg_attention_attr *attr = node->attr;
    const sg_shape *qkv = &node->in[0]->shape;
    attention_state s = {
        .N = qkv->dim[0], .T = qkv->dim[1], .H = attr->heads, .C = qkv->dim[2] / 3};
    bool forward = products == 2;
    int64_t floats;

    s.D = s.C / s.H;
    s.Tp = ((s.T + kBlock - 1) / kBlock | 1) * kBlock;
    s.Dp = (s.D + kBlock - 1) / kBlock * kBlock;
    s.scale = (float)(1.0 / sqrt((double)s.D));
    floats = (forward ? 2 : 5) * s.T * s.Dp + (forward ? 1 : 2) * s.D * s.Tp +
             kQueries * ((forward ? 1 : 2) * s.Tp + s.Dp);
    sg_cpu_plan(plan, node, run, SG_LAYOUT_PLAIN);
    plan->scratch = (size_t)floats * sizeof(float);
    plan->flop = 2.0 * products * (double)(s.N * s.T * s.T) * (double)s.C;
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status SG_BLOCKED(sg_cpu_select_attention)(sg_cpu *cpu, const sg_node *node,
                                              const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    return select_attention(node, attention_run, 2, plan);
}

sg_status SG_BLOCKED(sg_cpu_select_attention_dx)(sg_cpu *cpu, const sg_node *node,
                                                 const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    return select_attention(node, attention_dx_run, 5, plan);
}
