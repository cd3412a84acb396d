/* Operators that compute: elementwise ones, sums, products, norms, integers. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "onnx/run_inside.h"

/* --- elementwise ------------------------------------------------------------------------------ */

static sg_status each(sg_onnx_run_call *c, double (*f)(double)) {
    SG_TRY(sg_onnx_run_need(c, 1));
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, c->in[0]->rank, c->in[0]->dim));
    for (int64_t i = 0; i < c->in[0]->count; i++) c->out[0].v[i] = f(c->in[0]->v[i]);
    return SG_OK;
}

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double relu(double x) { return x < 0.0 ? 0.0 : x; } /* NaN stays */
static double same(double x) { return x; }

static sg_status op_sigmoid(sg_onnx_run_call *c) { return each(c, sigmoid); }
static sg_status op_relu(sg_onnx_run_call *c) { return each(c, relu); }
static sg_status op_erf(sg_onnx_run_call *c) { return each(c, erf); }
static sg_status op_exp(sg_onnx_run_call *c) { return each(c, exp); }
static sg_status op_abs(sg_onnx_run_call *c) { return each(c, fabs); }
static sg_status op_floor(sg_onnx_run_call *c) { return each(c, floor); }
static sg_status op_ceil(sg_onnx_run_call *c) { return each(c, ceil); }
static sg_status op_round(sg_onnx_run_call *c) { return each(c, rint); } /* half to even */
static sg_status op_identity(sg_onnx_run_call *c) { return each(c, same); }

/* f of two that broadcast; `type` 0: the first's. */
static sg_status both(sg_onnx_run_call *c, double (*f)(double, double), int type) {
    int64_t dim[SG_ONNX_RANK], index[SG_ONNX_RANK] = {0};
    int rank;

    SG_TRY(sg_onnx_run_need(c, 2));
    if (c->in[0]->type != c->in[1]->type) return sg_onnx_run_fail(c, "inputs of two types");
    if (!sg_onnx_run_broadcast(c->in[0], c->in[1], &rank, dim))
        return sg_onnx_run_fail(c, "shapes that do not broadcast");
    SG_TRY(sg_onnx_run_make(c, 0, type ? type : c->in[0]->type, rank, dim));
    if (c->in[0]->count == c->out[0].count && c->in[1]->count == c->out[0].count) {
        for (int64_t i = 0; i < c->out[0].count; i++)
            c->out[0].v[i] = f(c->in[0]->v[i], c->in[1]->v[i]);
        return SG_OK;
    }
    for (int64_t i = 0; i < c->out[0].count; i++, sg_onnx_run_next(rank, dim, index))
        c->out[0].v[i] = f(c->in[0]->v[sg_onnx_run_at(c->in[0], rank, index)],
                           c->in[1]->v[sg_onnx_run_at(c->in[1], rank, index)]);
    return SG_OK;
}

static double add(double x, double y) { return x + y; }
static double sub(double x, double y) { return x - y; }
static double mul(double x, double y) { return x * y; }
static double over(double x, double y) { return x / y; }
static double whole_over(double x, double y) { return trunc(x / y); }
static double mod(double x, double y) { return x - y * floor(x / y); }
double sg_onnx_run_greatest(double x, double y) { return x >= y || isnan(x) ? x : y; }
static double greater(double x, double y) { return x > y; }
static double at_least(double x, double y) { return x >= y; }
static double less(double x, double y) { return x < y; }
static double equal(double x, double y) { return x == y; }
static double and_(double x, double y) { return x != 0.0 && y != 0.0; }

static sg_status op_add(sg_onnx_run_call *c) { return both(c, add, 0); }
static sg_status op_sub(sg_onnx_run_call *c) { return both(c, sub, 0); }
static sg_status op_mul(sg_onnx_run_call *c) { return both(c, mul, 0); }
static sg_status op_mod(sg_onnx_run_call *c) { return both(c, mod, 0); }
static sg_status op_max(sg_onnx_run_call *c) { return both(c, sg_onnx_run_greatest, 0); }
static sg_status op_greater(sg_onnx_run_call *c) { return both(c, greater, SG_ONNX_BOOL); }
static sg_status op_at_least(sg_onnx_run_call *c) { return both(c, at_least, SG_ONNX_BOOL); }
static sg_status op_less(sg_onnx_run_call *c) { return both(c, less, SG_ONNX_BOOL); }
static sg_status op_equal(sg_onnx_run_call *c) { return both(c, equal, SG_ONNX_BOOL); }
static sg_status op_and(sg_onnx_run_call *c) { return both(c, and_, SG_ONNX_BOOL); }

static sg_status op_div(sg_onnx_run_call *c) {
    SG_TRY(sg_onnx_run_need(c, 2));
    return both(c, c->in[0]->type == SG_ONNX_INT64 ? whole_over : over, 0);
}

static sg_status op_clip(sg_onnx_run_call *c) {
    double low = c->n_in > 1 && c->in[1] ? c->in[1]->v[0] : -HUGE_VAL;
    double high = c->n_in > 2 && c->in[2] ? c->in[2]->v[0] : HUGE_VAL;

    SG_TRY(each(c, same));
    for (int64_t i = 0; i < c->out[0].count; i++)
        c->out[0].v[i] = fmin(fmax(c->out[0].v[i], low), high);
    return SG_OK;
}

static sg_status op_where(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK], index[SG_ONNX_RANK] = {0};
    sg_onnx_run_tensor shape = {.rank = 0};

    SG_TRY(sg_onnx_run_need(c, 3));
    if (!sg_onnx_run_broadcast(c->in[1], c->in[2], &shape.rank, shape.dim))
        return sg_onnx_run_fail(c, "shapes that do not broadcast");
    if (!sg_onnx_run_broadcast(c->in[0], &shape, &shape.rank, dim))
        return sg_onnx_run_fail(c, "shapes that do not broadcast");
    SG_TRY(sg_onnx_run_make(c, 0, c->in[1]->type, shape.rank, dim));
    for (int64_t i = 0; i < c->out[0].count; i++, sg_onnx_run_next(shape.rank, dim, index)) {
        const sg_onnx_run_tensor *from =
            c->in[0]->v[sg_onnx_run_at(c->in[0], shape.rank, index)] != 0.0 ? c->in[1] : c->in[2];

        c->out[0].v[i] = from->v[sg_onnx_run_at(from, shape.rank, index)];
    }
    return SG_OK;
}

static double cast_to(int type, double x) {
    switch (type) {
    case SG_ONNX_BOOL:
        return x != 0.0;
    case SG_ONNX_UINT8:
    case SG_ONNX_INT8:
    case SG_ONNX_INT32:
    case SG_ONNX_INT64:
        return trunc(x);
    default:
        return x;
    }
}

static sg_status op_cast(sg_onnx_run_call *c) {
    int to = (int)sg_onnx_run_int(c, "to", 0);

    SG_TRY(sg_onnx_run_need(c, 1));
    SG_TRY(sg_onnx_run_make(c, 0, to, c->in[0]->rank, c->in[0]->dim));
    for (int64_t i = 0; i < c->in[0]->count; i++) c->out[0].v[i] = cast_to(to, c->in[0]->v[i]);
    return SG_OK;
}

/* --- along axes ------------------------------------------------------------------------------- */

/* Axes are input 1, a list; without one all. */
static sg_status op_reduce_sum(sg_onnx_run_call *c) {
    bool gone[SG_ONNX_RANK] = {false}, keep = sg_onnx_run_int(c, "keepdims", 1) != 0;
    int64_t wide[SG_ONNX_RANK], dim[SG_ONNX_RANK], index[SG_ONNX_RANK] = {0};
    const sg_onnx_run_tensor *x;
    sg_onnx_run_tensor at = {.rank = 0};
    int rank = 0;

    SG_TRY(sg_onnx_run_need(c, 1));
    x = c->in[0];
    for (int64_t i = 0; c->n_in > 1 && c->in[1] && i < c->in[1]->count; i++) {
        int axis;

        SG_TRY(sg_onnx_run_axis(c, (int64_t)c->in[1]->v[i], x->rank, &axis));
        gone[axis] = true;
    }
    for (int i = 0; i < x->rank; i++) {
        if (c->n_in < 2 || !c->in[1]) gone[i] = true;
        wide[i] = gone[i] ? 1 : x->dim[i];
        if (keep || !gone[i]) dim[rank++] = wide[i];
    }
    SG_TRY(sg_onnx_run_make(c, 0, x->type, rank, dim));
    at.rank = x->rank;
    memcpy(at.dim, wide, sizeof wide);
    for (int64_t i = 0; i < x->count; i++, sg_onnx_run_next(x->rank, x->dim, index))
        c->out[0].v[sg_onnx_run_at(&at, x->rank, index)] += x->v[i];
    return SG_OK;
}

/* The elements of one row of the last axis, as f makes them. */
static sg_status rows(sg_onnx_run_call *c, void (*f)(const double *, double *, int64_t)) {
    const sg_onnx_run_tensor *x;
    int axis;

    SG_TRY(sg_onnx_run_need(c, 1));
    x = c->in[0];
    SG_TRY(sg_onnx_run_axis(c, sg_onnx_run_int(c, "axis", -1), x->rank, &axis));
    if (axis != x->rank - 1) return sg_onnx_run_fail(c, "is not along the last axis");
    SG_TRY(sg_onnx_run_make(c, 0, x->type, x->rank, x->dim));
    for (int64_t i = 0; x->dim[axis] > 0 && i < x->count; i += x->dim[axis])
        f(x->v + i, c->out[0].v + i, x->dim[axis]);
    return SG_OK;
}

static void softmax(const double *x, double *y, int64_t n) {
    double top = x[0], sum = 0.0;

    for (int64_t i = 1; i < n; i++) top = fmax(top, x[i]);
    for (int64_t i = 0; i < n; i++) sum += y[i] = exp(x[i] - top);
    for (int64_t i = 0; i < n; i++) y[i] /= sum;
}

static sg_status op_softmax(sg_onnx_run_call *c) { return rows(c, softmax); }

static sg_status op_layer_norm(sg_onnx_run_call *c) {
    double eps = sg_onnx_run_float(c, "epsilon", 1e-5);
    int64_t n;

    SG_TRY(sg_onnx_run_need(c, 3));
    SG_TRY(each(c, same));
    if (sg_onnx_run_int(c, "axis", -1) != -1 || c->in[0]->rank < 1)
        return sg_onnx_run_fail(c, "is not along the last axis");
    n = c->in[0]->dim[c->in[0]->rank - 1];
    if (c->in[1]->count != n || c->in[2]->count != n)
        return sg_onnx_run_fail(c, "scale and bias are not of %lld columns", (long long)n);
    for (int64_t r = 0; n > 0 && r < c->out[0].count; r += n) {
        double *y = c->out[0].v + r, mean = 0.0, var = 0.0;

        for (int64_t i = 0; i < n; i++) mean += y[i] / (double)n;
        for (int64_t i = 0; i < n; i++) var += (y[i] - mean) * (y[i] - mean) / (double)n;
        for (int64_t i = 0; i < n; i++)
            y[i] = (y[i] - mean) / sqrt(var + eps) * c->in[1]->v[i] + c->in[2]->v[i];
    }
    return SG_OK;
}

/* --- products --------------------------------------------------------------------------------- */

/* y (M, N) += a (M, K) b (K, N) */
static void multiply(const double *a, const double *b, double *y, int64_t M, int64_t K, int64_t N) {
    for (int64_t m = 0; m < M; m++)
        for (int64_t k = 0; k < K; k++) {
            double w = a[m * K + k];

            if (w == 0.0) continue;
            for (int64_t n = 0; n < N; n++) y[m * N + n] += w * b[k * N + n];
        }
}

/* Of the last two axes; those before broadcast. */
static sg_status op_matmul(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK + 2], index[SG_ONNX_RANK] = {0}, M, K, N;
    sg_onnx_run_tensor a, b;
    int rank;

    SG_TRY(sg_onnx_run_need(c, 2));
    a = *c->in[0];
    b = *c->in[1];
    if (a.rank < 2 || b.rank < 2) return sg_onnx_run_fail(c, "vectors are not known");
    M = a.dim[a.rank - 2];
    K = a.dim[a.rank - 1];
    N = b.dim[b.rank - 1];
    if (b.dim[b.rank - 2] != K)
        return sg_onnx_run_fail(c, "%lld columns and other rows", (long long)K);
    a.rank -= 2;
    b.rank -= 2;
    if (!sg_onnx_run_broadcast(&a, &b, &rank, dim))
        return sg_onnx_run_fail(c, "batches do not broadcast");
    dim[rank] = M;
    dim[rank + 1] = N;
    SG_TRY(sg_onnx_run_make(c, 0, a.type, rank + 2, dim));
    for (int64_t i = 0; M * N > 0 && i < c->out[0].count / (M * N);
         i++, sg_onnx_run_next(rank, dim, index))
        multiply(a.v + sg_onnx_run_at(&a, rank, index) * M * K,
                 b.v + sg_onnx_run_at(&b, rank, index) * K * N, c->out[0].v + i * M * N, M, K, N);
    return SG_OK;
}

static sg_status op_gemm(sg_onnx_run_call *c) {
    bool ta = sg_onnx_run_int(c, "transA", 0) != 0, tb = sg_onnx_run_int(c, "transB", 0) != 0;
    const sg_onnx_run_tensor *a, *b, *bias = c->n_in > 2 ? c->in[2] : NULL;
    int64_t M, K, N;

    SG_TRY(sg_onnx_run_need(c, 2));
    a = c->in[0];
    b = c->in[1];
    if (a->rank != 2 || b->rank != 2) return sg_onnx_run_fail(c, "takes matrices");
    M = a->dim[ta];
    K = a->dim[!ta];
    N = b->dim[!tb];
    if (b->dim[tb] != K || (bias && bias->count != N))
        return sg_onnx_run_fail(c, "the matrices' sizes do not fit");
    SG_TRY(sg_onnx_run_make(c, 0, a->type, 2, (const int64_t[]){M, N}));
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double sum = bias ? bias->v[n] : 0.0;

            for (int64_t k = 0; k < K; k++)
                sum += a->v[ta ? k * M + m : m * K + k] * b->v[tb ? n * K + k : k * N + n];
            c->out[0].v[m * N + n] = sum;
        }
    return SG_OK;
}

/* --- integers --------------------------------------------------------------------------------- */

/* Scale and zero point of element i: one of all, or one a slice of `axis`. */
typedef struct {
    const sg_onnx_run_tensor *scale, *zero;
    int64_t slices, inner; /* slices 1: one of all */
} steps;

static sg_status steps_of(const sg_onnx_run_call *c, steps *s) {
    int axis;

    SG_TRY(sg_onnx_run_need(c, 3));
    *s = (steps){c->in[1], c->in[2], 1, 1};
    if (s->scale->count != s->zero->count)
        return sg_onnx_run_fail(c, "scales and zero points differ");
    if (s->scale->count == 1) return SG_OK;
    SG_TRY(sg_onnx_run_axis(c, sg_onnx_run_int(c, "axis", 1), c->in[0]->rank, &axis));
    s->slices = c->in[0]->dim[axis];
    s->inner = sg_onnx_run_count(c->in[0], axis + 1, c->in[0]->rank);
    return s->slices == s->scale->count ? SG_OK : sg_onnx_run_fail(c, "scales do not fit the axis");
}

static sg_status op_quantize(sg_onnx_run_call *c) {
    double low, high;
    steps s;

    SG_TRY(steps_of(c, &s));
    if (s.zero->type != SG_ONNX_INT8 && s.zero->type != SG_ONNX_UINT8)
        return sg_onnx_run_fail(c, "is known to 8 bits alone");
    low = s.zero->type == SG_ONNX_INT8 ? -128.0 : 0.0;
    high = low + 255.0;
    SG_TRY(sg_onnx_run_make(c, 0, s.zero->type, c->in[0]->rank, c->in[0]->dim));
    for (int64_t i = 0; i < c->out[0].count; i++) {
        int64_t k = s.slices == 1 ? 0 : i / s.inner % s.slices;

        /* in floats, as runtimes do: a tie of doubles need not be one of theirs */
        c->out[0].v[i] = rint((double)((float)c->in[0]->v[i] / (float)s.scale->v[k]));
        c->out[0].v[i] = fmin(fmax(c->out[0].v[i] + s.zero->v[k], low), high);
    }
    return SG_OK;
}

static sg_status op_dequantize(sg_onnx_run_call *c) {
    steps s;

    SG_TRY(steps_of(c, &s));
    SG_TRY(sg_onnx_run_make(c, 0, SG_ONNX_FLOAT, c->in[0]->rank, c->in[0]->dim));
    for (int64_t i = 0; i < c->out[0].count; i++) {
        int64_t k = s.slices == 1 ? 0 : i / s.inner % s.slices;

        c->out[0].v[i] = (c->in[0]->v[i] - s.zero->v[k]) * s.scale->v[k];
    }
    return SG_OK;
}

const sg_onnx_run_entry sg_onnx_run_math[] = {
    {"Sigmoid", op_sigmoid},
    {"Relu", op_relu},
    {"Erf", op_erf},
    {"Exp", op_exp},
    {"Abs", op_abs},
    {"Floor", op_floor},
    {"Ceil", op_ceil},
    {"Round", op_round},
    {"Identity", op_identity},
    {"Add", op_add},
    {"Sub", op_sub},
    {"Mul", op_mul},
    {"Div", op_div},
    {"Mod", op_mod},
    {"Max", op_max},
    {"Greater", op_greater},
    {"Less", op_less},
    {"Equal", op_equal},
    {"And", op_and},
    {"GreaterOrEqual", op_at_least},
    {"Clip", op_clip},
    {"Where", op_where},
    {"Cast", op_cast},
    {"ReduceSum", op_reduce_sum},
    {"Softmax", op_softmax},
    {"LayerNormalization", op_layer_norm},
    {"MatMul", op_matmul},
    {"Gemm", op_gemm},
    {"QuantizeLinear", op_quantize},
    {"DequantizeLinear", op_dequantize},
    {NULL, NULL},
};
