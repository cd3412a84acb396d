/* Batch norm of a training step, fused with activation and residual, on BLOCKED.
 *
 *   forward   z = gamma (x - mean) rstd + beta,  y = act(z) [+ residual]
 *   backward  dz = dy act'(z),  dbeta = sum dz,  dgamma = sum dz xhat,
 *             dx = gamma rstd (dz - dbeta / M - xhat dgamma / M),  xhat = (x - mean) rstd
 *
 * One block of channels at a time, so that the second pass finds what the first has read in the
 * cache: a shard's block is N H W x 32 or 64 bytes. Statistics: exact mean and squared deviations
 * of tiles of 256 rows (in level 1), merged in double by Chan's formula; order and rounding depend
 * on the shape alone. The backward pass recomputes z from x and keeps dz in dx between its two
 * passes.
 */

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
    dvec mean, m2; /* m2: the sum of squared deviations */
    double count;
} moments;

static void moments_merge(moments *m, vec sum, vec m2, double count) {
    const hvec share = hvec_set1(count / (m->count + count));
    const hvec weight = hvec_set1(m->count * count / (m->count + count));
    const hvec per = hvec_set1(1.0 / count);
    dvec s = dvec_of(sum), q = dvec_of(m2);
    hvec lo = hvec_sub(hvec_mul(s.lo, per), m->mean.lo);
    hvec hi = hvec_sub(hvec_mul(s.hi, per), m->mean.hi);

    m->mean.lo = hvec_fma(lo, share, m->mean.lo);
    m->mean.hi = hvec_fma(hi, share, m->mean.hi);
    m->m2.lo = hvec_add(m->m2.lo, hvec_fma(hvec_mul(lo, lo), weight, q.lo));
    m->m2.hi = hvec_add(m->m2.hi, hvec_fma(hvec_mul(hi, hi), weight, q.hi));
    m->count += count;
}

/* The sum of `n` rows, and of squared deviations from their mean (corrected for the mean's own
 * rounding: sum (x - c)^2 - (sum (x - c))^2 / n). */
static void tile_moments(const float *x, int64_t n, vec *sum, vec *m2) {
    vec s[4], q[4], e[4], c, d;
    int64_t i;

    for (int k = 0; k < 4; k++) s[k] = q[k] = e[k] = vec_zero();
    for (i = 0; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) s[k] = vec_add(s[k], vec_load(x + (i + k) * kBlock));
    for (; i < n; i++) s[0] = vec_add(s[0], vec_load(x + i * kBlock));
    *sum = vec_add(vec_add(s[0], s[1]), vec_add(s[2], s[3]));
    c = vec_mul(*sum, vec_set1(1.0f / (float)n));
    for (i = 0; i + 4 <= n; i += 4) {
        for (int k = 0; k < 4; k++) {
            d = vec_sub(vec_load(x + (i + k) * kBlock), c);
            e[k] = vec_add(e[k], d);
            q[k] = vec_fma(d, d, q[k]);
        }
    }
    for (; i < n; i++) {
        d = vec_sub(vec_load(x + i * kBlock), c);
        e[0] = vec_add(e[0], d);
        q[0] = vec_fma(d, d, q[0]);
    }
    d = vec_add(vec_add(e[0], e[1]), vec_add(e[2], e[3]));
    /* sum x = n c + sum (x - c): the second term is what rounding took */
    *sum = vec_fma(c, vec_set1((float)n), d);
    *m2 = vec_sub(vec_add(vec_add(q[0], q[1]), vec_add(q[2], q[3])),
                  vec_mul(vec_mul(d, d), vec_set1(1.0f / (float)n)));
}

static moments block_moments(const float *x, const sg_cpu_dims *d, int64_t block) {
    moments m = {dvec_zero(), dvec_zero(), 0.0};

    for (int64_t n = 0; n < d->N; n++) {
        const float *xn = x + (n * d->blocks + block) * d->HW * kBlock;

        for (int64_t i = 0; i < d->HW; i += kTile) {
            int64_t rows = d->HW - i < kTile ? d->HW - i : kTile;
            vec sum, m2;

            tile_moments(xn + i * kBlock, rows, &sum, &m2);
            moments_merge(&m, sum, m2, (double)rows);
        }
    }
    return m;
}

/* --- forward ---------------------------------------------------------------------------------- */

/* y = act(x scale + shift) [+ r]; act and has_r are constants in each caller. */
SG_INLINE void apply(const float *x, const float *r, float *y, int64_t rows, vec scale, vec shift,
                     sg_act act, bool has_r) {
    for (int64_t i = 0; i < rows * kBlock; i += kBlock) {
        vec z = vec_act(act, vec_fma(vec_load(x + i), scale, shift));

        if (has_r) z = vec_add(z, vec_load(r + i));
        vec_store(y + i, z);
    }
}

static void apply_rows(const float *x, const float *r, float *y, int64_t rows, vec scale, vec shift,
                       sg_act act) {
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

/* Block b of y; `r` may be NULL. */
static void apply_block(const norm_state *s, int64_t b, const float *x, const float *gamma,
                        const float *beta, vec mean, vec rstd, const float *r, float *y) {
    const sg_cpu_dims *d = &s->d;
    int some = d->C - b * kBlock < kBlock ? (int)(d->C - b * kBlock) : kBlock;
    /* gamma and beta of padding channels read as 0, which keeps them 0 */
    vec scale = vec_mul(vec_load_some(gamma + b * kBlock, some), rstd);
    vec shift = vec_fnma(mean, scale, vec_load_some(beta + b * kBlock, some));

    for (int64_t n = 0; n < d->N; n++) {
        int64_t at = (n * d->blocks + b) * d->HW * kBlock;

        apply_rows(x + at, r ? r + at : NULL, y + at, d->HW, scale, shift, s->act);
    }
}

/* in: x, gamma, beta, residual or NULL; out: y, mean, rstd, var */
static sg_status norm_run(const sg_args *a) {
    const norm_state *s = a->state;
    const sg_cpu_dims *d = &s->d;
    const float *x = a->in[0], *gamma = a->in[1], *beta = a->in[2], *r = a->in[3];
    float *y = a->out[0], *mean = a->out[1], *rstd = a->out[2], *var = a->out[3];
    const double count = (double)(d->N * d->HW);
    const hvec eps = hvec_set1((double)s->eps), per = hvec_set1(count > 0.0 ? 1.0 / count : 0.0);
    const vec unbias = vec_set1(count > 1.0 ? (float)(count / (count - 1.0)) : 1.0f);

    for (int64_t b = 0; b < d->blocks; b++) {
        int some = d->C - b * kBlock < kBlock ? (int)(d->C - b * kBlock) : kBlock;
        moments m = block_moments(x, d, b);
        dvec v = {hvec_mul(m.m2.lo, per), hvec_mul(m.m2.hi, per)}, w;
        vec mean_v = vec_of(m.mean), rstd_v;

        w.lo = hvec_div(hvec_set1(1.0), hvec_sqrt(hvec_add(v.lo, eps)));
        w.hi = hvec_div(hvec_set1(1.0), hvec_sqrt(hvec_add(v.hi, eps)));
        rstd_v = vec_of(w);
        vec_store_some(mean + b * kBlock, some, mean_v);
        vec_store_some(rstd + b * kBlock, some, rstd_v);
        vec_store_some(var + b * kBlock, some, vec_mul(vec_of(v), unbias));
        apply_block(s, b, x, gamma, beta, mean_v, rstd_v, r, y);
    }
    return SG_OK;
}

/* in: x, gamma, beta, mean, rstd, residual or NULL; out: y, to the bits of norm_run's */
static sg_status norm_again_run(const sg_args *a) {
    const norm_state *s = a->state;
    const sg_cpu_dims *d = &s->d;
    const float *mean = a->in[3], *rstd = a->in[4];

    for (int64_t b = 0; b < d->blocks; b++) {
        int some = d->C - b * kBlock < kBlock ? (int)(d->C - b * kBlock) : kBlock;

        apply_block(s, b, a->in[0], a->in[1], a->in[2], vec_load_some(mean + b * kBlock, some),
                    vec_load_some(rstd + b * kBlock, some), a->in[5], a->out[0]);
    }
    return SG_OK;
}

/* --- backward --------------------------------------------------------------------------------- */

typedef struct {
    vec mean, rstd, scale, shift; /* z = x scale + shift */
} block_norm;

/* dz of one row, into dx; adds to the sums of dz and of dz (x - mean). */
SG_INLINE void slope_row(const float *x, const float *dy, float *dx, const block_norm *k,
                         sg_act act, vec *sum, vec *dot) {
    vec v = vec_load(x);
    vec dz = vec_act_dx(act, vec_fma(v, k->scale, k->shift), vec_load(dy));

    vec_store(dx, dz);
    *sum = vec_add(*sum, dz);
    *dot = vec_fma(dz, vec_sub(v, k->mean), *dot);
}

SG_INLINE void slope(const float *x, const float *dy, float *dx, int64_t rows, const block_norm *k,
                     sg_act act, vec *sum, vec *dot) {
    vec s0 = vec_zero(), s1 = s0, t0 = s0, t1 = s0;
    const block_norm c = *k; /* in registers */
    int64_t i;

    for (i = 0; i + 2 * kBlock <= rows * kBlock; i += 2 * kBlock) {
        slope_row(x + i, dy + i, dx + i, &c, act, &s0, &t0);
        slope_row(x + i + kBlock, dy + i + kBlock, dx + i + kBlock, &c, act, &s1, &t1);
    }
    if (i < rows * kBlock) slope_row(x + i, dy + i, dx + i, &c, act, &s0, &t0);
    *sum = vec_add(s0, s1);
    *dot = vec_add(t0, t1);
}

static void slope_rows(const float *x, const float *dy, float *dx, int64_t rows,
                       const block_norm *k, sg_act act, vec *sum, vec *dot) {
    if (act == SG_ACT_SILU)
        slope(x, dy, dx, rows, k, SG_ACT_SILU, sum, dot);
    else if (act == SG_ACT_RELU)
        slope(x, dy, dx, rows, k, SG_ACT_RELU, sum, dot);
    else
        slope(x, dy, dx, rows, k, SG_ACT_NONE, sum, dot);
}

/* dx = scale dz - c1 (x - mean) - c0, in place */
static void finish_rows(const float *x, float *dx, int64_t rows, const block_norm *k, vec c0,
                        vec c1) {
    for (int64_t i = 0; i < rows * kBlock; i += kBlock) {
        vec centred = vec_sub(vec_load(x + i), k->mean);
        vec v = vec_fms(vec_load(dx + i), k->scale, c0);

        vec_store(dx + i, vec_fnma(centred, c1, v));
    }
}

/* in: x, gamma, beta, mean, rstd, dy; out: dx, dgamma, dbeta */
static sg_status norm_dx_run(const sg_args *a) {
    const norm_state *s = a->state;
    const sg_cpu_dims *d = &s->d;
    const float *x = a->in[0], *gamma = a->in[1], *beta = a->in[2], *mean = a->in[3];
    const float *rstd = a->in[4], *dy = a->in[5];
    float *dx = a->out[0], *dgamma = a->out[1], *dbeta = a->out[2];
    const vec per = vec_set1((float)(1.0 / (double)(d->N * d->HW)));

    for (int64_t b = 0; b < d->blocks; b++) {
        int some = d->C - b * kBlock < kBlock ? (int)(d->C - b * kBlock) : kBlock;
        dvec sum = dvec_zero(), dot = dvec_zero();
        vec dbeta_v, dgamma_v, c0, c1;
        block_norm k;

        k.mean = vec_load_some(mean + b * kBlock, some);
        k.rstd = vec_load_some(rstd + b * kBlock, some);
        k.scale = vec_mul(vec_load_some(gamma + b * kBlock, some), k.rstd);
        k.shift = vec_fnma(k.mean, k.scale, vec_load_some(beta + b * kBlock, some));
        for (int64_t n = 0; n < d->N; n++) {
            int64_t at = (n * d->blocks + b) * d->HW * kBlock;

            for (int64_t i = 0; i < d->HW; i += kTile) {
                int64_t rows = d->HW - i < kTile ? d->HW - i : kTile;
                vec part_sum, part_dot;

                slope_rows(x + at + i * kBlock, dy + at + i * kBlock, dx + at + i * kBlock, rows,
                           &k, s->act, &part_sum, &part_dot);
                dvec_add(&sum, part_sum);
                dvec_add(&dot, part_dot);
            }
        }
        dbeta_v = vec_of(sum);
        dgamma_v = vec_mul(vec_of(dot), k.rstd);
        vec_store_some(dbeta + b * kBlock, some, dbeta_v);
        vec_store_some(dgamma + b * kBlock, some, dgamma_v);
        c0 = vec_mul(k.scale, vec_mul(dbeta_v, per));
        c1 = vec_mul(vec_mul(k.scale, k.rstd), vec_mul(dgamma_v, per));
        for (int64_t n = 0; n < d->N; n++) {
            int64_t at = (n * d->blocks + b) * d->HW * kBlock;

            finish_rows(x + at, dx + at, d->HW, &k, c0, c1);
        }
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status select_norm(const sg_node *node, sg_kernel run, sg_kernel_plan *plan) {
    const sg_norm_attr *attr = node->attr;
    norm_state s = {sg_cpu_dims_of(node->in[0], kBlock), attr->eps, attr->act};

    if (node->in[0]->shape.rank != 4) return sg_select_reference(node, plan);
    sg_cpu_plan(plan, node, run, SG_LAYOUT_BLOCKED);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status SG_BLOCKED(sg_cpu_select_batch_norm)(sg_cpu *cpu, const sg_node *node,
                                               const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    SG_TRY(select_norm(node, norm_run, plan));
    if (plan->state && node->n_in > 3 && node->in[3]) plan->inplace[0] = 3;
    return SG_OK;
}

sg_status SG_BLOCKED(sg_cpu_select_batch_norm_again)(sg_cpu *cpu, const sg_node *node,
                                                     const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    SG_TRY(select_norm(node, norm_again_run, plan));
    if (plan->state && node->in[5]) plan->inplace[0] = 5;
    return SG_OK;
}

sg_status SG_BLOCKED(sg_cpu_select_batch_norm_dx)(sg_cpu *cpu, const sg_node *node,
                                                  const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    SG_TRY(select_norm(node, norm_dx_run, plan));
    if (plan->state) plan->inplace[0] = 5;
    return SG_OK;
}
