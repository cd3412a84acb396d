/* Layer norm and its gradient, row by row: ops/layer_norm.c has the formulas.
 *
 * Memory is read once: the second and third pass over a row find it in the nearest cache. Sums of a
 * row are taken in four vectors, whose lanes are added in double; the sums over rows, dgamma and
 * dbeta, run in float over tiles of 32 rows and in double over tiles. All orders depend on the
 * shape alone. */
#include <math.h>

#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

enum { kTile = 32, kSums = 4 };

typedef struct {
    int64_t M, C;
    float eps;
} norm_state;

static double total_of(const vec sum[kSums]) {
    return dvec_total(dvec_of(vec_add(vec_add(sum[0], sum[1]), vec_add(sum[2], sum[3]))));
}

/* --- forward ---------------------------------------------------------------------------------- */

static void row_add(const float *x, const float *r, float *s, int64_t C) {
    for (int64_t c = 0; c < C; c++) s[c] = x[c] + r[c];
}

static double row_sum(const float *s, int64_t C) {
    vec sum[kSums] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    double rest = 0.0;
    int64_t c = 0;

    for (; c + kSums * kBlock <= C; c += kSums * kBlock)
        for (int k = 0; k < kSums; k++) sum[k] = vec_add(sum[k], vec_load(s + c + k * kBlock));
    for (; c < C; c++) rest += (double)s[c];
    return total_of(sum) + rest;
}

/* The sums of deviations from `centre` and of their squares. */
static void row_deviations(const float *s, int64_t C, float centre, double *sum, double *squares) {
    vec e[kSums] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    vec q[kSums] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    double rest = 0.0, rest_squares = 0.0;
    int64_t c = 0;

    for (; c + kSums * kBlock <= C; c += kSums * kBlock) {
        for (int k = 0; k < kSums; k++) {
            vec d = vec_sub(vec_load(s + c + k * kBlock), vec_set1(centre));

            e[k] = vec_add(e[k], d);
            q[k] = vec_fma(d, d, q[k]);
        }
    }
    for (; c < C; c++) {
        double d = (double)s[c] - (double)centre;

        rest += d;
        rest_squares += d * d;
    }
    *sum = total_of(e) + rest;
    *squares = total_of(q) + rest_squares;
}

static void row_norm(const float *s, const float *gamma, const float *beta, float *y, int64_t C,
                     float mean, float rstd) {
    const vec m = vec_set1(mean), r = vec_set1(rstd);
    int64_t c = 0;

    for (; c + kBlock <= C; c += kBlock) {
        vec xh = vec_mul(vec_sub(vec_load(s + c), m), r);

        vec_store(y + c, vec_fma(xh, vec_load(gamma + c), vec_load(beta + c)));
    }
    if (c < C) {
        int some = (int)(C - c);
        vec xh = vec_mul(vec_sub(vec_load_some(s + c, some), m), r);

        vec_store_some(y + c, some,
                       vec_fma(xh, vec_load_some(gamma + c, some), vec_load_some(beta + c, some)));
    }
}

/* in: x, gamma, beta, residual or NULL; out: y, mean, rstd, and s where there is a residual */
static sg_status norm_run(const sg_args *a) {
    const norm_state *n = a->state;
    const float *x = a->in[0], *r = a->in[3];
    float *y = a->out[0], *mean = a->out[1], *rstd = a->out[2], *s = a->out[3];
    const double per = n->C > 0 ? 1.0 / (double)n->C : 0.0;

    for (int64_t m = 0; m < n->M; m++) {
        int64_t at = m * n->C;
        const float *row = r ? s + at : x + at;
        double centre, sum, squares;

        if (r) row_add(x + at, r + at, s + at, n->C);
        centre = per * row_sum(row, n->C);
        row_deviations(row, n->C, (float)centre, &sum, &squares);
        mean[m] = (float)((double)(float)centre + per * sum);
        rstd[m] = (float)(1.0 / sqrt(per * (squares - per * sum * sum) + (double)n->eps));
        row_norm(row, a->in[1], a->in[2], y + at, n->C, mean[m], rstd[m]);
    }
    return SG_OK;
}

/* --- backward --------------------------------------------------------------------------------- */

/* sum_c g and sum_c g xh of a row. Columns after the last read as zeros, dy among them. */
static void row_slopes(const float *s, const float *gamma, const float *dy, int64_t C, float mean,
                       float rstd, double *sum, double *dot) {
    const vec m = vec_set1(mean), r = vec_set1(rstd);
    vec a[kSums] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    vec b[kSums] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};
    int64_t c = 0;

    for (; c + kSums * kBlock <= C; c += kSums * kBlock) {
        for (int k = 0; k < kSums; k++) {
            int64_t i = c + k * kBlock;
            vec g = vec_mul(vec_load(gamma + i), vec_load(dy + i));

            a[k] = vec_add(a[k], g);
            b[k] = vec_fma(g, vec_mul(vec_sub(vec_load(s + i), m), r), b[k]);
        }
    }
    for (; c < C; c += kBlock) {
        int some = C - c < kBlock ? (int)(C - c) : kBlock;
        vec g = vec_mul(vec_load_some(gamma + c, some), vec_load_some(dy + c, some));

        a[0] = vec_add(a[0], g);
        b[0] = vec_fma(g, vec_mul(vec_sub(vec_load_some(s + c, some), m), r), b[0]);
    }
    *sum = total_of(a);
    *dot = total_of(b);
}

/* What a row's dx needs besides the row. */
typedef struct {
    vec mean, rstd, sum, dot; /* the sums divided by C */
} row_terms;

/* dx of `some` columns, and what they add to dgamma and dbeta. dx may be dy or ds. */
SG_INLINE void columns_dx(const float *s, const float *gamma, const float *dy, const float *ds,
                          float *dx, float *dgamma, float *dbeta, int some, const row_terms *t) {
    vec d = vec_load_some(dy, some);
    vec xh = vec_mul(vec_sub(vec_load_some(s, some), t->mean), t->rstd);
    vec g = vec_fms(vec_load_some(gamma, some), d, vec_fma(xh, t->dot, t->sum));

    g = ds ? vec_fma(g, t->rstd, vec_load_some(ds, some)) : vec_mul(g, t->rstd);
    vec_store_some(dx, some, g);
    vec_store_some(dgamma, some, vec_fma(d, xh, vec_load_some(dgamma, some)));
    vec_store_some(dbeta, some, vec_add(d, vec_load_some(dbeta, some)));
}

static void row_dx(const float *s, const float *gamma, const float *dy, const float *ds, float *dx,
                   float *dgamma, float *dbeta, int64_t C, const row_terms *terms) {
    const row_terms t = *terms; /* in registers */
    int64_t c = 0;

    for (; c + kBlock <= C; c += kBlock)
        columns_dx(s + c, gamma + c, dy + c, ds ? ds + c : NULL, dx + c, dgamma + c, dbeta + c,
                   kBlock, &t);
    if (c < C)
        columns_dx(s + c, gamma + c, dy + c, ds ? ds + c : NULL, dx + c, dgamma + c, dbeta + c,
                   (int)(C - c), &t);
}

/* in: s, gamma, mean, rstd, dy, ds or NULL; out: dx, dgamma, dbeta. scratch: the sums of a tile
 * (2 C floats), after those of all tiles (2 C doubles) */
static sg_status norm_dx_run(const sg_args *a) {
    const norm_state *n = a->state;
    const int64_t C = n->C;
    const float *s = a->in[0], *gamma = a->in[1], *mean = a->in[2], *rstd = a->in[3];
    const float *dy = a->in[4], *ds = a->in[5];
    float *dx = a->out[0], *dgamma = a->out[1], *dbeta = a->out[2];
    double *total = a->scratch;
    float *tile = (float *)(total + 2 * C);

    for (int64_t c = 0; c < 2 * C; c++) total[c] = 0.0;
    for (int64_t start = 0; start < n->M; start += kTile) {
        int64_t end = n->M - start < kTile ? n->M : start + kTile;

        for (int64_t c = 0; c < 2 * C; c++) tile[c] = 0.0f;
        for (int64_t m = start; m < end; m++) {
            int64_t at = m * C;
            row_terms t = {.mean = vec_set1(mean[m]), .rstd = vec_set1(rstd[m])};
            double sum, dot;

            row_slopes(s + at, gamma, dy + at, C, mean[m], rstd[m], &sum, &dot);
            t.sum = vec_set1((float)(sum / (double)C));
            t.dot = vec_set1((float)(dot / (double)C));
            row_dx(s + at, gamma, dy + at, ds ? ds + at : NULL, dx + at, tile, tile + C, C, &t);
        }
        for (int64_t c = 0; c < 2 * C; c++) total[c] += (double)tile[c];
    }
    for (int64_t c = 0; c < C; c++) dgamma[c] = (float)total[c];
    for (int64_t c = 0; c < C; c++) dbeta[c] = (float)total[C + c];
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status select_norm(const sg_node *node, sg_kernel run, float eps, sg_kernel_plan *plan) {
    const sg_shape *x = &node->in[0]->shape;
    norm_state n = {1, x->dim[x->rank - 1], eps};

    for (int d = 0; d + 1 < x->rank; d++) n.M *= x->dim[d];
    sg_cpu_plan(plan, node, run, SG_LAYOUT_PLAIN);
    return sg_cpu_plan_state(plan, &n, sizeof n);
}

sg_status SG_BLOCKED(sg_cpu_select_layer_norm)(sg_cpu *cpu, const sg_node *node,
                                               const sg_layout have[], sg_kernel_plan *plan) {
    const sg_norm_attr *attr = node->attr;

    (void)cpu;
    (void)have;
    plan->inplace[0] = 0;
    if (node->in[3]) plan->inplace[3] = 3;
    return select_norm(node, norm_run, attr->eps, plan);
}

sg_status SG_BLOCKED(sg_cpu_select_layer_norm_dx)(sg_cpu *cpu, const sg_node *node,
                                                  const sg_layout have[], sg_kernel_plan *plan) {
    int64_t C = node->in[1]->shape.dim[0];

    (void)cpu;
    (void)have;
    plan->inplace[0] = node->in[5] ? 5 : 4;
    plan->scratch = (size_t)(2 * C) * (sizeof(double) + sizeof(float));
    return select_norm(node, norm_dx_run, 0.0f, plan);
}
