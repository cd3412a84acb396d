/* One element at a time, eight at once. In NC8 the padding is computed with the rest: every op here
 * maps 0 to 0, except sigmoid, which takes PLAIN where there is padding. */
#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

typedef struct {
    int64_t count; /* floats, padding included */
    sg_affine_attr affine;
} pointwise_state;

/* A kernel of one or two f32 inputs: `result` is an expression in u, v (8 floats each) and s. */
#define KERNEL_1(name, result)                                                                     \
    static sg_status name##_run(const sg_args *a) {                                                \
        const pointwise_state *s = a->state;                                                       \
        const float *p = a->in[0];                                                                 \
        float *y = a->out[0];                                                                      \
        int64_t i = 0;                                                                             \
        __m256 u;                                                                                  \
                                                                                                   \
        for (; i + 8 <= s->count; i += 8) {                                                        \
            u = _mm256_loadu_ps(p + i);                                                            \
            _mm256_storeu_ps(y + i, result);                                                       \
        }                                                                                          \
        if (i < s->count) {                                                                        \
            u = load_some8(p + i, (int)(s->count - i));                                            \
            store_some8(y + i, (int)(s->count - i), result);                                       \
        }                                                                                          \
        return SG_OK;                                                                              \
    }

#define KERNEL_2(name, result)                                                                     \
    static sg_status name##_run(const sg_args *a) {                                                \
        const pointwise_state *s = a->state;                                                       \
        const float *p = a->in[0], *q = a->in[1];                                                  \
        float *y = a->out[0];                                                                      \
        int64_t i = 0;                                                                             \
        __m256 u, v;                                                                               \
                                                                                                   \
        for (; i + 8 <= s->count; i += 8) {                                                        \
            u = _mm256_loadu_ps(p + i);                                                            \
            v = _mm256_loadu_ps(q + i);                                                            \
            _mm256_storeu_ps(y + i, result);                                                       \
        }                                                                                          \
        if (i < s->count) {                                                                        \
            u = load_some8(p + i, (int)(s->count - i));                                            \
            v = load_some8(q + i, (int)(s->count - i));                                            \
            store_some8(y + i, (int)(s->count - i), result);                                       \
        }                                                                                          \
        return SG_OK;                                                                              \
    }

/* dy y (1 - y) */
SG_INLINE __m256 sigmoid_dx8(__m256 y, __m256 dy) {
    return _mm256_mul_ps(_mm256_mul_ps(dy, y), _mm256_sub_ps(_mm256_set1_ps(1.0f), y));
}

KERNEL_2(add, _mm256_add_ps(u, v))
KERNEL_2(mul, _mm256_mul_ps(u, v))
KERNEL_1(scale, _mm256_mul_ps(_mm256_set1_ps(s->affine.factor), u))
KERNEL_1(relu, relu8(u))
KERNEL_2(relu_dx, act_dx8(SG_ACT_RELU, u, v))
KERNEL_1(silu, silu8(u))
KERNEL_2(silu_dx, act_dx8(SG_ACT_SILU, u, v))
KERNEL_1(sigmoid, sigmoid8(u))
KERNEL_2(sigmoid_dx, sigmoid_dx8(u, v))

static sg_status to_float_run(const sg_args *a) {
    const pointwise_state *s = a->state;
    const uint8_t *x = a->in[0];
    float *y = a->out[0];
    const __m256 factor = _mm256_set1_ps(s->affine.factor), shift = _mm256_set1_ps(s->affine.shift);
    int64_t i = 0;

    for (; i + 8 <= s->count; i += 8) {
        __m256i u = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(x + i)));

        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_mul_ps(factor, _mm256_cvtepi32_ps(u)), shift));
    }
    for (; i < s->count; i++) y[i] = s->affine.factor * (float)x[i] + s->affine.shift;
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

/* `inplace`: the input that the output may overwrite, or -1. */
static sg_status select_in(const sg_node *node, sg_kernel run, sg_layout layout, int inplace,
                           sg_kernel_plan *plan) {
    pointwise_state s = {sg_cpu_floats(&node->out[0], layout), {0.0f, 0.0f}};

    if (node->op->attr_size == sizeof s.affine) s.affine = *(const sg_affine_attr *)node->attr;
    sg_cpu_plan(plan, node, run, layout);
    plan->inplace[0] = inplace;
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

#define SELECT(name, inplace)                                                                      \
    sg_status sg_cpu_select_##name(sg_cpu *cpu, const sg_node *node, const sg_layout have[],       \
                                   sg_kernel_plan *plan) {                                         \
        (void)cpu;                                                                                 \
        return select_in(node, name##_run, sg_cpu_common_layout(node, have), inplace, plan);       \
    }

SELECT(add, 0)
SELECT(mul, 0)
SELECT(scale, 0)
SELECT(relu, 0)
SELECT(relu_dx, 1)
SELECT(silu, 0)
SELECT(silu_dx, 1)
SELECT(sigmoid_dx, 1)

sg_status sg_cpu_select_sigmoid(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                sg_kernel_plan *plan) {
    sg_layout layout = sg_cpu_common_layout(node, have);

    (void)cpu;
    if (sg_cpu_dims_of(node->in[0]).C % 8 != 0) layout = SG_LAYOUT_PLAIN;
    return select_in(node, sigmoid_run, layout, 0, plan);
}

sg_status sg_cpu_select_to_float(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                 sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    return select_in(node, to_float_run, SG_LAYOUT_PLAIN, -1, plan);
}
