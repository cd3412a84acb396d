/* Batch norm of a training step, fused with activation and residual, on NC8.
 *
 *   forward   z = gamma (x - mean) rstd + beta,  y = act(z) [+ residual]
 *   backward  dz = dy act'(z),  dbeta = sum dz,  dgamma = sum dz xhat,
 *             dx = gamma rstd (dz - dbeta / M - xhat dgamma / M),  xhat = (x - mean) rstd
 *
 * One block of 8 channels at a time, so that the second pass finds what the first has read in the
 * cache: a shard's block is N H W x 32 bytes. Statistics: exact mean and squared deviations of
 * tiles of 256 rows (in level 1), merged in double by Chan's formula; order and rounding depend on
 * the shape alone. The backward pass recomputes z from x and keeps dz in dx between its two passes.
 */
#include <math.h>

#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

enum { kTile = 256 };

typedef struct {
    sg_cpu_dims d;
    float eps;
    sg_act act;
} norm_state;

/* Of one channel block. */
typedef struct {
    sg_double8 mean, m2; /* m2: the sum of squared deviations */
    double count;
} moments;

static void moments_merge(moments *m, __m256 sum, __m256 m2, double count) {
    const __m256d share = _mm256_set1_pd(count / (m->count + count));
    const __m256d weight = _mm256_set1_pd(m->count * count / (m->count + count));
    const __m256d per = _mm256_set1_pd(1.0 / count);
    sg_double8 s = to_double8(sum), q = to_double8(m2);
    __m256d lo = _mm256_sub_pd(_mm256_mul_pd(s.lo, per), m->mean.lo);
    __m256d hi = _mm256_sub_pd(_mm256_mul_pd(s.hi, per), m->mean.hi);

    m->mean.lo = _mm256_fmadd_pd(lo, share, m->mean.lo);
    m->mean.hi = _mm256_fmadd_pd(hi, share, m->mean.hi);
    m->m2.lo = _mm256_add_pd(m->m2.lo, _mm256_fmadd_pd(_mm256_mul_pd(lo, lo), weight, q.lo));
    m->m2.hi = _mm256_add_pd(m->m2.hi, _mm256_fmadd_pd(_mm256_mul_pd(hi, hi), weight, q.hi));
    m->count += count;
}

/* The sum of `n` rows, and of squared deviations from their mean (corrected for the mean's own
 * rounding: sum (x - c)^2 - (sum (x - c))^2 / n). */
static void tile_moments(const float *x, int64_t n, __m256 *sum, __m256 *m2) {
    __m256 s[4], q[4], e[4], c, d;
    int64_t i;

    for (int k = 0; k < 4; k++) s[k] = q[k] = e[k] = _mm256_setzero_ps();
    for (i = 0; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) s[k] = _mm256_add_ps(s[k], _mm256_loadu_ps(x + (i + k) * 8));
    for (; i < n; i++) s[0] = _mm256_add_ps(s[0], _mm256_loadu_ps(x + i * 8));
    *sum = _mm256_add_ps(_mm256_add_ps(s[0], s[1]), _mm256_add_ps(s[2], s[3]));
    c = _mm256_mul_ps(*sum, _mm256_set1_ps(1.0f / (float)n));
    for (i = 0; i + 4 <= n; i += 4) {
        for (int k = 0; k < 4; k++) {
            d = _mm256_sub_ps(_mm256_loadu_ps(x + (i + k) * 8), c);
            e[k] = _mm256_add_ps(e[k], d);
            q[k] = _mm256_fmadd_ps(d, d, q[k]);
        }
    }
    for (; i < n; i++) {
        d = _mm256_sub_ps(_mm256_loadu_ps(x + i * 8), c);
        e[0] = _mm256_add_ps(e[0], d);
        q[0] = _mm256_fmadd_ps(d, d, q[0]);
    }
    d = _mm256_add_ps(_mm256_add_ps(e[0], e[1]), _mm256_add_ps(e[2], e[3]));
    /* sum x = n c + sum (x - c): the second term is what rounding took */
    *sum = _mm256_fmadd_ps(c, _mm256_set1_ps((float)n), d);
    *m2 = _mm256_sub_ps(_mm256_add_ps(_mm256_add_ps(q[0], q[1]), _mm256_add_ps(q[2], q[3])),
                        _mm256_mul_ps(_mm256_mul_ps(d, d), _mm256_set1_ps(1.0f / (float)n)));
}

static moments block_moments(const float *x, const sg_cpu_dims *d, int64_t block) {
    moments m = {zero_double8(), zero_double8(), 0.0};

    for (int64_t n = 0; n < d->N; n++) {
        const float *xn = x + (n * d->blocks + block) * d->HW * 8;

        for (int64_t i = 0; i < d->HW; i += kTile) {
            int64_t rows = d->HW - i < kTile ? d->HW - i : kTile;
            __m256 sum, m2;

            tile_moments(xn + i * 8, rows, &sum, &m2);
            moments_merge(&m, sum, m2, (double)rows);
        }
    }
    return m;
}

/* --- forward ---------------------------------------------------------------------------------- */

/* y = act(x scale + shift) [+ r]; act and has_r are constants in each caller. */
SG_INLINE void apply(const float *x, const float *r, float *y, int64_t rows, __m256 scale,
                     __m256 shift, sg_act act, bool has_r) {
    for (int64_t i = 0; i < rows * 8; i += 8) {
        __m256 z = act8(act, _mm256_fmadd_ps(_mm256_loadu_ps(x + i), scale, shift));

        if (has_r) z = _mm256_add_ps(z, _mm256_loadu_ps(r + i));
        _mm256_storeu_ps(y + i, z);
    }
}

static void apply_rows(const float *x, const float *r, float *y, int64_t rows, __m256 scale,
                       __m256 shift, sg_act act) {
    if (act == SG_ACT_SILU && r)
        apply(x, r, y, rows, scale, shift, SG_ACT_SILU, true);
    else if (act == SG_ACT_SILU)
        apply(x, r, y, rows, scale, shift, SG_ACT_SILU, false);
    else if (act == SG_ACT_RELU && r)
        apply(x, r, y, rows, scale, shift, SG_ACT_RELU, true);
    else if (act == SG_ACT_RELU)
        apply(x, r, y, rows, scale, shift, SG_ACT_RELU, false);
    else if (r)
        apply(x, r, y, rows, scale, shift, SG_ACT_NONE, true);
    else
        apply(x, r, y, rows, scale, shift, SG_ACT_NONE, false);
}

/* in: x, gamma, beta, residual or NULL; out: y, mean, rstd, var */
static sg_status norm_run(const sg_args *a) {
    const norm_state *s = a->state;
    const sg_cpu_dims *d = &s->d;
    const float *x = a->in[0], *gamma = a->in[1], *beta = a->in[2], *r = a->in[3];
    float *y = a->out[0], *mean = a->out[1], *rstd = a->out[2], *var = a->out[3];
    const double count = (double)(d->N * d->HW);
    const __m256d eps = _mm256_set1_pd((double)s->eps),
                  per = _mm256_set1_pd(count > 0.0 ? 1.0 / count : 0.0);
    const __m256 unbias = _mm256_set1_ps(count > 1.0 ? (float)(count / (count - 1.0)) : 1.0f);

    for (int64_t b = 0; b < d->blocks; b++) {
        int some = d->C - b * 8 < 8 ? (int)(d->C - b * 8) : 8;
        moments m = block_moments(x, d, b);
        sg_double8 v = {_mm256_mul_pd(m.m2.lo, per), _mm256_mul_pd(m.m2.hi, per)}, w;
        __m256 mean8 = to_float8(m.mean), rstd8, scale, shift;

        w.lo = _mm256_div_pd(_mm256_set1_pd(1.0), _mm256_sqrt_pd(_mm256_add_pd(v.lo, eps)));
        w.hi = _mm256_div_pd(_mm256_set1_pd(1.0), _mm256_sqrt_pd(_mm256_add_pd(v.hi, eps)));
        rstd8 = to_float8(w);
        store_some8(mean + b * 8, some, mean8);
        store_some8(rstd + b * 8, some, rstd8);
        store_some8(var + b * 8, some, _mm256_mul_ps(to_float8(v), unbias));
        /* gamma and beta of padding channels read as 0, which keeps them 0 */
        scale = _mm256_mul_ps(load_some8(gamma + b * 8, some), rstd8);
        shift = _mm256_fnmadd_ps(mean8, scale, load_some8(beta + b * 8, some));
        for (int64_t n = 0; n < d->N; n++) {
            int64_t at = (n * d->blocks + b) * d->HW * 8;

            apply_rows(x + at, r ? r + at : NULL, y + at, d->HW, scale, shift, s->act);
        }
    }
    return SG_OK;
}

/* --- backward --------------------------------------------------------------------------------- */

typedef struct {
    __m256 mean, rstd, scale, shift; /* z = x scale + shift */
} block_norm;

/* dz of one row, into dx; adds to the sums of dz and of dz (x - mean). */
SG_INLINE void slope_row(const float *x, const float *dy, float *dx, const block_norm *k,
                         sg_act act, __m256 *sum, __m256 *dot) {
    __m256 v = _mm256_loadu_ps(x);
    __m256 dz = act_dx8(act, _mm256_fmadd_ps(v, k->scale, k->shift), _mm256_loadu_ps(dy));

    _mm256_storeu_ps(dx, dz);
    *sum = _mm256_add_ps(*sum, dz);
    *dot = _mm256_fmadd_ps(dz, _mm256_sub_ps(v, k->mean), *dot);
}

SG_INLINE void slope(const float *x, const float *dy, float *dx, int64_t rows, const block_norm *k,
                     sg_act act, __m256 *sum, __m256 *dot) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, t0 = s0, t1 = s0;
    const block_norm c = *k; /* in registers */
    int64_t i;

    for (i = 0; i + 16 <= rows * 8; i += 16) {
        slope_row(x + i, dy + i, dx + i, &c, act, &s0, &t0);
        slope_row(x + i + 8, dy + i + 8, dx + i + 8, &c, act, &s1, &t1);
    }
    if (i < rows * 8) slope_row(x + i, dy + i, dx + i, &c, act, &s0, &t0);
    *sum = _mm256_add_ps(s0, s1);
    *dot = _mm256_add_ps(t0, t1);
}

static void slope_rows(const float *x, const float *dy, float *dx, int64_t rows,
                       const block_norm *k, sg_act act, __m256 *sum, __m256 *dot) {
    if (act == SG_ACT_SILU)
        slope(x, dy, dx, rows, k, SG_ACT_SILU, sum, dot);
    else if (act == SG_ACT_RELU)
        slope(x, dy, dx, rows, k, SG_ACT_RELU, sum, dot);
    else
        slope(x, dy, dx, rows, k, SG_ACT_NONE, sum, dot);
}

/* dx = scale dz - c1 (x - mean) - c0, in place */
static void finish_rows(const float *x, float *dx, int64_t rows, const block_norm *k, __m256 c0,
                        __m256 c1) {
    for (int64_t i = 0; i < rows * 8; i += 8) {
        __m256 centred = _mm256_sub_ps(_mm256_loadu_ps(x + i), k->mean);
        __m256 v = _mm256_fmsub_ps(_mm256_loadu_ps(dx + i), k->scale, c0);

        _mm256_storeu_ps(dx + i, _mm256_fnmadd_ps(centred, c1, v));
    }
}

/* in: x, gamma, beta, mean, rstd, dy; out: dx, dgamma, dbeta */
static sg_status norm_dx_run(const sg_args *a) {
    const norm_state *s = a->state;
    const sg_cpu_dims *d = &s->d;
    const float *x = a->in[0], *gamma = a->in[1], *beta = a->in[2], *mean = a->in[3];
    const float *rstd = a->in[4], *dy = a->in[5];
    float *dx = a->out[0], *dgamma = a->out[1], *dbeta = a->out[2];
    const __m256 per = _mm256_set1_ps((float)(1.0 / (double)(d->N * d->HW)));

    for (int64_t b = 0; b < d->blocks; b++) {
        int some = d->C - b * 8 < 8 ? (int)(d->C - b * 8) : 8;
        sg_double8 sum = zero_double8(), dot = zero_double8();
        __m256 dbeta8, dgamma8, c0, c1;
        block_norm k;

        k.mean = load_some8(mean + b * 8, some);
        k.rstd = load_some8(rstd + b * 8, some);
        k.scale = _mm256_mul_ps(load_some8(gamma + b * 8, some), k.rstd);
        k.shift = _mm256_fnmadd_ps(k.mean, k.scale, load_some8(beta + b * 8, some));
        for (int64_t n = 0; n < d->N; n++) {
            int64_t at = (n * d->blocks + b) * d->HW * 8;

            for (int64_t i = 0; i < d->HW; i += kTile) {
                int64_t rows = d->HW - i < kTile ? d->HW - i : kTile;
                __m256 s8, t8;

                slope_rows(x + at + i * 8, dy + at + i * 8, dx + at + i * 8, rows, &k, s->act, &s8,
                           &t8);
                add_double8(&sum, s8);
                add_double8(&dot, t8);
            }
        }
        dbeta8 = to_float8(sum);
        dgamma8 = _mm256_mul_ps(to_float8(dot), k.rstd);
        store_some8(dbeta + b * 8, some, dbeta8);
        store_some8(dgamma + b * 8, some, dgamma8);
        c0 = _mm256_mul_ps(k.scale, _mm256_mul_ps(dbeta8, per));
        c1 = _mm256_mul_ps(_mm256_mul_ps(k.scale, k.rstd), _mm256_mul_ps(dgamma8, per));
        for (int64_t n = 0; n < d->N; n++) {
            int64_t at = (n * d->blocks + b) * d->HW * 8;

            finish_rows(x + at, dx + at, d->HW, &k, c0, c1);
        }
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status select_norm(const sg_node *node, sg_kernel run, sg_kernel_plan *plan) {
    const sg_norm_attr *attr = node->attr;
    norm_state s = {sg_cpu_dims_of(node->in[0]), attr->eps, attr->act};

    if (node->in[0]->shape.rank != 4) return sg_select_reference(node, plan);
    sg_cpu_plan(plan, node, run, SG_LAYOUT_NC8);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status sg_cpu_select_batch_norm(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                   sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    SG_TRY(select_norm(node, norm_run, plan));
    if (plan->state && node->n_in > 3 && node->in[3]) plan->inplace[0] = 3;
    return SG_OK;
}

sg_status sg_cpu_select_batch_norm_dx(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                      sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    SG_TRY(select_norm(node, norm_dx_run, plan));
    if (plan->state) plan->inplace[0] = 5;
    return SG_OK;
}
