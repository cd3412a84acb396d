/* Cross-entropy with a distribution for a target, by rows, eight classes at a time.
 *
 *   loss of a row   w log(sum_j exp(x_j - m)) - sum_c t_c (x_c - m),   w = sum_c t_c
 *
 * over candidates, t >= 0; what is added is added in double. Lanes past the last class are none. */
#include <math.h>

#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

/* Up to eight classes of a row: t, 0 where they are no candidates, and which are, which count. */
typedef struct {
    vec t;
    vec_mask candidate, counts; /* t >= 0, t > 0 */
} target;

SG_INLINE int lanes_at(int64_t c, int64_t C) { return C - c < kBlock ? (int)(C - c) : kBlock; }

SG_INLINE target target_at(const float *t, int some) {
    vec v = vec_load_some(t, some);
    vec_mask candidate = _mm256_cmp_ps(v, vec_zero(), _CMP_GE_OQ);
    target at;

    at.candidate = mask_and(candidate, _mm256_castsi256_ps(mask8(some)));
    at.counts = _mm256_cmp_ps(v, vec_zero(), _CMP_GT_OQ);
    at.t = vec_keep(at.counts, v);
    return at;
}

/* The greatest x of the candidates; -infinity, where there are none. */
static float greatest(const float *x, const float *t, int64_t C) {
    vec m = vec_set1(-INFINITY);
    float lane[kBlock], most = -INFINITY;

    for (int64_t c = 0; c < C; c += kBlock) {
        int some = lanes_at(c, C);
        target at = target_at(t + c, some);

        /* a NaN is not the greatest */
        m = vec_max(vec_where(at.candidate, vec_load_some(x + c, some), m), m);
    }
    vec_store(lane, m);
    for (int k = 0; k < kBlock; k++)
        if (lane[k] > most) most = lane[k];
    return most;
}

/* What a row adds to the loss; p may be x. */
static double run_row(const float *x, const float *t, float *p, int64_t C) {
    float m = greatest(x, t, C), factor;
    dvec sums = dvec_zero(), products = dvec_zero(), weights = dvec_zero();
    double sum, weight;

    for (int64_t c = 0; c < C; c += kBlock) {
        int some = lanes_at(c, C);
        target at = target_at(t + c, some);
        vec d = vec_sub(vec_load_some(x + c, some), vec_set1(m));
        vec e = vec_keep(at.candidate, vec_exp(d));

        dvec_add(&sums, e);
        dvec_add(&products, vec_mul(at.t, vec_keep(at.counts, d)));
        dvec_add(&weights, at.t);
        vec_store_some(p + c, some, e);
    }
    sum = dvec_total(sums);
    weight = dvec_total(weights);
    factor = sum == 0.0 ? 0.0f : (float)(1.0 / sum); /* no candidates */
    for (int64_t c = 0; c < C; c++) p[c] *= factor;
    return weight > 0.0 ? weight * log(sum) - dvec_total(products) : 0.0;
}

static sg_status soft_cross_entropy_run(const sg_args *a) {
    const sg_shape *s = &a->node->in[0]->shape;
    int64_t N = s->dim[0], C = s->dim[1];
    const float *x = a->in[0], *t = a->in[1];
    float *p = a->out[1];
    double loss = 0.0;

    for (int64_t n = 0; n < N; n++, x += C, t += C, p += C) loss += run_row(x, t, p, C);
    *(float *)a->out[0] = (float)loss;
    return SG_OK;
}

static float weight_of(const float *t, int64_t C) {
    dvec sum = dvec_zero();

    for (int64_t c = 0; c < C; c += kBlock) dvec_add(&sum, target_at(t + c, lanes_at(c, C)).t);
    return (float)dvec_total(sum);
}

static sg_status soft_cross_entropy_dx_run(const sg_args *a) {
    const sg_shape *s = &a->node->out[0].shape;
    int64_t N = s->dim[0], C = s->dim[1];
    const float *p = a->in[0], *t = a->in[1];
    vec dloss = vec_set1(*(const float *)a->in[2]);
    float *dx = a->out[0];

    for (int64_t n = 0; n < N; n++, p += C, t += C, dx += C) {
        vec w = vec_set1(weight_of(t, C));

        for (int64_t c = 0; c < C; c += kBlock) {
            int some = lanes_at(c, C);
            target at = target_at(t + c, some);
            vec d = vec_fms(w, vec_load_some(p + c, some), at.t);

            vec_store_some(dx + c, some, vec_keep(at.candidate, vec_mul(dloss, d)));
        }
    }
    return SG_OK;
}

#define SELECT(name, output)                                                                       \
    sg_status sg_cpu_select_##name(sg_cpu *cpu, const sg_node *node, const sg_layout have[],       \
                                   sg_kernel_plan *plan) {                                         \
        (void)cpu;                                                                                 \
        (void)have;                                                                                \
        sg_cpu_plan(plan, node, name##_run, SG_LAYOUT_PLAIN);                                      \
        plan->inplace[output] = 0;                                                                 \
        return SG_OK;                                                                              \
    }

SELECT(soft_cross_entropy, 1)
SELECT(soft_cross_entropy_dx, 0)
