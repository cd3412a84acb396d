/* The update on the flat buffers. Every element is computed as the reference does, in the same
 * order and with the same roundings (no fused multiply-add), so the results are equal bit by bit;
 * only grad_scale's sum of squares is taken in another fixed order. In place: outputs may be the
 * inputs (which is why compilers will not vectorise the reference). */
#include <math.h>

#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

static int64_t count_of(const sg_args *a) { return sg_shape_count(&a->node->in[0]->shape); }

/* --- grad_scale ------------------------------------------------------------------------------- */

static double block_squares(const float *g, int64_t n) {
    dvec sum[2] = {dvec_zero(), dvec_zero()};

    for (int64_t i = 0; i < n; i += 8) {
        int k = (int)(i / 8 & 1);
        dvec d = dvec_of(n - i < 8 ? vec_load_some(g + i, (int)(n - i)) : _mm256_loadu_ps(g + i));

        sum[k].lo = _mm256_fmadd_pd(d.lo, d.lo, sum[k].lo);
        sum[k].hi = _mm256_fmadd_pd(d.hi, d.hi, sum[k].hi);
    }
    return dvec_total(sum[0]) + dvec_total(sum[1]);
}

/* Blocks in the reference's tree. */
static double sum_of_squares(const float *g, int64_t n) {
    int64_t left = SG_NORM_BLOCK;

    if (n <= SG_NORM_BLOCK) return block_squares(g, n);
    while (2 * left < n) left *= 2;
    return sum_of_squares(g, left) + sum_of_squares(g + left, n - left);
}

static sg_status grad_scale_run(const sg_args *a) {
    const float *sums = a->in[1], *step = a->in[2];
    float *factor = a->out[0], *norm_out = a->out[1];
    double normaliser = (double)sums[SG_SUM_NORMALISER];
    double scale = 1.0 / (normaliser < 1.0 ? 1.0 : normaliser); /* a NaN stays one */
    double norm = scale * sqrt(sum_of_squares(a->in[0], count_of(a)));
    double clip = (double)step[SG_STEP_CLIP];

    factor[0] = (float)scale;
    factor[1] = (float)(clip > 0.0 && norm > clip ? scale * (clip / norm) : scale);
    norm_out[0] = (float)norm;
    return SG_OK;
}

/* --- steps ------------------------------------------------------------------------------------ */

SG_INLINE __m256 mul_add(__m256 a, __m256 b, __m256 c) { /* rounded twice */
    return _mm256_add_ps(_mm256_mul_ps(a, b), c);
}

typedef struct {
    __m256 factor, wd, lr, beta1, beta2, rest1, rest2, bias1, bias2;
    bool nesterov;
} step_numbers;

/* n (1 .. 8) elements from i on. */
SG_INLINE void sgd8(const sg_args *a, const step_numbers *k, int64_t i, int n) {
    __m256 w = vec_load_some((const float *)a->in[0] + i, n);
    __m256 m = vec_load_some((const float *)a->in[1] + i, n);
    __m256 dw = vec_load_some((const float *)a->in[2] + i, n), way;

    dw = mul_add(k->factor, dw, _mm256_mul_ps(k->wd, w));
    m = mul_add(k->beta1, m, dw);
    way = k->nesterov ? _mm256_add_ps(dw, _mm256_mul_ps(k->beta1, m)) : m;
    vec_store_some((float *)a->out[0] + i, n, _mm256_sub_ps(w, _mm256_mul_ps(k->lr, way)));
    vec_store_some((float *)a->out[1] + i, n, m);
}

SG_INLINE void adamw8(const sg_args *a, const step_numbers *k, int64_t i, int n) {
    __m256 w = vec_load_some((const float *)a->in[0] + i, n);
    __m256 m = vec_load_some((const float *)a->in[1] + i, n);
    __m256 v = vec_load_some((const float *)a->in[2] + i, n);
    __m256 g = _mm256_mul_ps(k->factor, vec_load_some((const float *)a->in[3] + i, n));
    __m256 root, way;

    m = mul_add(k->beta1, m, _mm256_mul_ps(k->rest1, g));
    v = mul_add(k->beta2, v, _mm256_mul_ps(k->rest2, _mm256_mul_ps(g, g)));
    root = _mm256_add_ps(_mm256_sqrt_ps(_mm256_div_ps(v, k->bias2)), _mm256_set1_ps(1e-8f));
    way = _mm256_div_ps(_mm256_div_ps(m, k->bias1), root);
    way = _mm256_add_ps(way, _mm256_mul_ps(k->wd, w));
    vec_store_some((float *)a->out[0] + i, n, _mm256_sub_ps(w, _mm256_mul_ps(k->lr, way)));
    vec_store_some((float *)a->out[1] + i, n, m);
    vec_store_some((float *)a->out[2] + i, n, v);
}

/* The gradient is not finite: the reference then keeps the state. The step block comes last. */
static bool diverged(const sg_args *a) {
    return ((const float *)a->in[a->node->n_in - 1])[SG_STEP_DIVERGED] != 0.0f;
}

static step_numbers numbers_of(const float *factor, const float *step) {
    step_numbers k = {.factor = _mm256_set1_ps(factor[1]),
                      .lr = _mm256_set1_ps(step[SG_STEP_LR]),
                      .beta1 = _mm256_set1_ps(step[SG_STEP_MOMENTUM]),
                      .beta2 = _mm256_set1_ps(step[SG_STEP_BETA2]),
                      .rest1 = _mm256_set1_ps(1.0f - step[SG_STEP_MOMENTUM]),
                      .rest2 = _mm256_set1_ps(1.0f - step[SG_STEP_BETA2]),
                      .bias1 = _mm256_set1_ps(step[SG_STEP_BIAS1]),
                      .bias2 = _mm256_set1_ps(step[SG_STEP_BIAS2])};

    return k;
}

/* Elements from .. end - 1 under one weight decay. */
SG_INLINE void step_range(const sg_args *a, step_numbers *k, float wd, int64_t from, int64_t end,
                          bool adamw) {
    k->wd = _mm256_set1_ps(wd);
    for (int64_t i = from; i < end; i += 8) {
        int n = end - i < 8 ? (int)(end - i) : 8;

        if (adamw)
            adamw8(a, k, i, n);
        else
            sgd8(a, k, i, n);
    }
}

static sg_status sgd_step_run(const sg_args *a) {
    const sg_optimizer_attr *attr = a->node->attr;
    const float *step = a->in[4];
    step_numbers k = numbers_of(a->in[3], step);

    if (diverged(a)) return a->node->op->run(a);
    k.nesterov = attr->nesterov;
    step_range(a, &k, step[SG_STEP_WEIGHT_DECAY], 0, attr->n_decay, false);
    step_range(a, &k, 0.0f, attr->n_decay, count_of(a), false);
    return SG_OK;
}

static sg_status adamw_step_run(const sg_args *a) {
    const sg_optimizer_attr *attr = a->node->attr;
    const float *step = a->in[5];
    step_numbers k = numbers_of(a->in[4], step);

    if (diverged(a)) return a->node->op->run(a);
    step_range(a, &k, step[SG_STEP_WEIGHT_DECAY], 0, attr->n_decay, true);
    step_range(a, &k, 0.0f, attr->n_decay, count_of(a), true);
    return SG_OK;
}

/* out = (1 - k) old + k (new / divisor); ema: d old + (1 - d) new. */
static void blend(const sg_args *a, float keep, float take, float divisor) {
    const __m256 keep8 = _mm256_set1_ps(keep), take8 = _mm256_set1_ps(take);
    const __m256 divisor8 = _mm256_set1_ps(divisor);
    const float *old = a->in[0], *fresh = a->in[1];
    float *out = a->out[0];
    int64_t count = count_of(a);

    for (int64_t i = 0; i < count; i += 8) {
        int n = count - i < 8 ? (int)(count - i) : 8;
        __m256 v = _mm256_div_ps(vec_load_some(fresh + i, n), divisor8);

        vec_store_some(out + i, n,
                       mul_add(keep8, vec_load_some(old + i, n), _mm256_mul_ps(take8, v)));
    }
}

static sg_status stats_step_run(const sg_args *a) {
    const float *step = a->in[2];
    float k = step[SG_STEP_STAT];

    if (diverged(a)) return a->node->op->run(a);
    blend(a, 1.0f - k, k, step[SG_STEP_SHARDS]);
    return SG_OK;
}

static sg_status ema_step_run(const sg_args *a) {
    const float *step = a->in[2];
    float d = step[SG_STEP_EMA];

    if (diverged(a)) return a->node->op->run(a);
    blend(a, d, 1.0f - d, 1.0f);
    return SG_OK;
}

/* --- norm_fold -------------------------------------------------------------------------------- */

/* As the reference: factors in double, each product rounded once. */
static sg_status norm_fold_run(const sg_args *a) {
    const sg_norm_attr *attr = a->node->attr;
    const sg_shape *s = &a->node->in[0]->shape;
    int64_t OC = s->dim[0], filter = s->dim[1] * s->dim[2] * s->dim[3];
    const float *w = a->in[0], *gamma = a->in[1], *beta = a->in[2], *mean = a->in[3];
    const float *var = a->in[4];
    float *w_out = a->out[0], *b_out = a->out[1];

    for (int64_t o = 0; o < OC; o++, w += filter, w_out += filter) {
        double r = (double)gamma[o] / sqrt((double)var[o] + (double)attr->eps);

        for (int64_t i = 0; i < filter; i += 8) {
            int n = filter - i < 8 ? (int)(filter - i) : 8;
            dvec d = dvec_of(vec_load_some(w + i, n));

            d.lo = _mm256_mul_pd(d.lo, _mm256_set1_pd(r));
            d.hi = _mm256_mul_pd(d.hi, _mm256_set1_pd(r));
            vec_store_some(w_out + i, n, vec_of(d));
        }
        b_out[o] = (float)((double)beta[o] - r * (double)mean[o]);
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

/* Outputs 0 .. updated - 1 may overwrite the inputs of the same number. */
#define SELECT(name, updated)                                                                      \
    sg_status sg_cpu_select_##name(sg_cpu *cpu, const sg_node *node, const sg_layout have[],       \
                                   sg_kernel_plan *plan) {                                         \
        (void)cpu;                                                                                 \
        (void)have;                                                                                \
        sg_cpu_plan(plan, node, name##_run, SG_LAYOUT_PLAIN);                                      \
        for (int o = 0; o < updated; o++) plan->inplace[o] = o;                                    \
        return SG_OK;                                                                              \
    }

SELECT(grad_scale, 0)
SELECT(sgd_step, 2)
SELECT(adamw_step, 3)
SELECT(stats_step, 1)
SELECT(ema_step, 1)
SELECT(norm_fold, 1)
