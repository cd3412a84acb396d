/* Softmax and cross-entropy by rows. A row's exponentials are written once, summed in double, and
 * scaled. The maximum is exact in any order. */
#include <math.h>

#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

static float row_max(const float *x, int64_t C) {
    float m = C > 0 ? x[0] : 0.0f;

    for (int64_t c = 1; c < C; c++)
        if (x[c] > m) m = x[c];
    return m;
}

/* p = exp(x - m); the sum. */
static double row_exp(const float *x, float *p, int64_t C, float m) {
    const __m256 shift = _mm256_set1_ps(m);
    dvec sum = dvec_zero();
    int64_t c = 0;
    __m256 e;

    for (; c + 8 <= C; c += 8) {
        e = vec_exp(_mm256_sub_ps(_mm256_loadu_ps(x + c), shift));
        _mm256_storeu_ps(p + c, e);
        dvec_add(&sum, e);
    }
    if (c < C) {
        int some = (int)(C - c);

        e = vec_exp(_mm256_sub_ps(vec_load_some(x + c, some), shift));
        vec_store_some(p + c, some, e);
        dvec_add(&sum, _mm256_and_ps(e, _mm256_castsi256_ps(mask8(some))));
    }
    return dvec_total(sum);
}

static void row_scale(float *p, int64_t C, float factor) {
    for (int64_t c = 0; c < C; c++) p[c] *= factor;
}

static sg_status softmax_run(const sg_args *a) {
    const sg_shape *s = &a->node->out[0].shape;
    int64_t N = s->dim[0], C = s->dim[1];
    const float *x = a->in[0];
    float *y = a->out[0];

    for (int64_t n = 0; n < N; n++, x += C, y += C)
        row_scale(y, C, (float)(1.0 / row_exp(x, y, C, row_max(x, C))));
    return SG_OK;
}

static sg_status softmax_dx_run(const sg_args *a) {
    const sg_shape *s = &a->node->out[0].shape;
    int64_t N = s->dim[0], C = s->dim[1];
    const float *y = a->in[0], *dy = a->in[1];
    float *dx = a->out[0];

    for (int64_t n = 0; n < N; n++, y += C, dy += C, dx += C) {
        dvec sum = dvec_zero();
        float dot;

        for (int64_t c = 0; c < C; c += 8) {
            int some = C - c < 8 ? (int)(C - c) : 8;

            dvec_add(&sum, _mm256_mul_ps(vec_load_some(y + c, some), vec_load_some(dy + c, some)));
        }
        dot = (float)dvec_total(sum);
        for (int64_t c = 0; c < C; c++) dx[c] = y[c] * (dy[c] - dot);
    }
    return SG_OK;
}

static sg_status cross_entropy_run(const sg_args *a) {
    const sg_shape *s = &a->node->in[0]->shape;
    int64_t N = s->dim[0], C = s->dim[1];
    const float *x = a->in[0];
    const int32_t *label = a->in[1];
    float *p = a->out[1];
    double total = 0.0;

    for (int64_t n = 0; n < N; n++, x += C, p += C) {
        float m = row_max(x, C), at = 0.0f;
        double sum;

        if (label[n] >= C)
            return sg_fail(SG_ERR_DATA, "%s (cross_entropy): label %d of row %lld; there are %lld",
                           a->node->name, label[n], (long long)n, (long long)C);
        if (label[n] >= 0) at = x[label[n]]; /* before p overwrites it */
        sum = row_exp(x, p, C, m);
        if (label[n] >= 0) total += log(sum) - ((double)at - (double)m);
        row_scale(p, C, (float)(1.0 / sum));
    }
    *(float *)a->out[0] = (float)total;
    return SG_OK;
}

static sg_status cross_entropy_dx_run(const sg_args *a) {
    const sg_shape *s = &a->node->in[0]->shape;
    int64_t N = s->dim[0], C = s->dim[1];
    const float *p = a->in[0], dloss = *(const float *)a->in[2];
    const int32_t *label = a->in[1];
    float *dx = a->out[0];

    for (int64_t n = 0; n < N; n++, p += C, dx += C) {
        float factor = label[n] < 0 ? 0.0f : dloss;
        float own = label[n] < 0 ? 0.0f : p[label[n]];

        for (int64_t c = 0; c < C; c++) dx[c] = factor * p[c];
        if (label[n] >= 0) dx[label[n]] = dloss * (own - 1.0f);
    }
    return SG_OK;
}

#define SELECT(name, output, input)                                                                \
    sg_status sg_cpu_select_##name(sg_cpu *cpu, const sg_node *node, const sg_layout have[],       \
                                   sg_kernel_plan *plan) {                                         \
        (void)cpu;                                                                                 \
        (void)have;                                                                                \
        sg_cpu_plan(plan, node, name##_run, SG_LAYOUT_PLAIN);                                      \
        plan->inplace[output] = input;                                                             \
        return SG_OK;                                                                              \
    }

SELECT(softmax, 0, 0)
SELECT(softmax_dx, 0, 1)
SELECT(cross_entropy, 1, 0)
SELECT(cross_entropy_dx, 0, 0)
