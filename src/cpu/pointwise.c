/* One element at a time, kBlock at once. In BLOCKED the padding is computed with the rest: every op
 * here maps 0 to 0, except sigmoid, which takes PLAIN where there is padding. */
#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

typedef struct {
    int64_t count; /* floats, padding included */
    sg_affine_attr affine;
} pointwise_state;

/* A kernel of one or two f32 inputs: `result` is an expression in u, v (a vec each) and s. */
#define KERNEL_1(name, result)                                                                     \
    static sg_status name##_run(const sg_args *a) {                                                \
        const pointwise_state *s = a->state;                                                       \
        const float *p = a->in[0];                                                                 \
        float *y = a->out[0];                                                                      \
        int64_t i = 0;                                                                             \
        vec u;                                                                                     \
                                                                                                   \
        for (; i + kBlock <= s->count; i += kBlock) {                                              \
            u = vec_load(p + i);                                                                   \
            vec_store(y + i, result);                                                              \
        }                                                                                          \
        if (i < s->count) {                                                                        \
            u = vec_load_some(p + i, (int)(s->count - i));                                         \
            vec_store_some(y + i, (int)(s->count - i), result);                                    \
        }                                                                                          \
        return SG_OK;                                                                              \
    }

#define KERNEL_2(name, result)                                                                     \
    static sg_status name##_run(const sg_args *a) {                                                \
        const pointwise_state *s = a->state;                                                       \
        const float *p = a->in[0], *q = a->in[1];                                                  \
        float *y = a->out[0];                                                                      \
        int64_t i = 0;                                                                             \
        vec u, v;                                                                                  \
                                                                                                   \
        for (; i + kBlock <= s->count; i += kBlock) {                                              \
            u = vec_load(p + i);                                                                   \
            v = vec_load(q + i);                                                                   \
            vec_store(y + i, result);                                                              \
        }                                                                                          \
        if (i < s->count) {                                                                        \
            u = vec_load_some(p + i, (int)(s->count - i));                                         \
            v = vec_load_some(q + i, (int)(s->count - i));                                         \
            vec_store_some(y + i, (int)(s->count - i), result);                                    \
        }                                                                                          \
        return SG_OK;                                                                              \
    }

/* dy y (1 - y) */
SG_INLINE vec vec_sigmoid_dx(vec y, vec dy) {
    return vec_mul(vec_mul(dy, y), vec_sub(vec_set1(1.0f), y));
}

KERNEL_2(add, vec_add(u, v))
KERNEL_2(mul, vec_mul(u, v))
KERNEL_1(scale, vec_mul(vec_set1(s->affine.factor), u))
KERNEL_1(relu, vec_relu(u))
KERNEL_2(relu_dx, vec_act_dx(SG_ACT_RELU, u, v))
KERNEL_1(silu, vec_silu(u))
KERNEL_2(silu_dx, vec_act_dx(SG_ACT_SILU, u, v))
KERNEL_1(gelu, vec_gelu(u))
KERNEL_2(gelu_dx, vec_gelu_dx(u, v))
KERNEL_1(sigmoid, vec_sigmoid(u))
KERNEL_2(sigmoid_dx, vec_sigmoid_dx(u, v))

static sg_status to_float_run(const sg_args *a) {
    const pointwise_state *s = a->state;
    const uint8_t *x = a->in[0];
    float *y = a->out[0];
    const vec factor = vec_set1(s->affine.factor), shift = vec_set1(s->affine.shift);
    int64_t i = 0;

    for (; i + kBlock <= s->count; i += kBlock)
        vec_store(y + i, vec_add(vec_mul(factor, vec_of_bytes(x + i)), shift));
    for (; i < s->count; i++) y[i] = s->affine.factor * (float)x[i] + s->affine.shift;
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

/* `inplace`: the input that the output may overwrite, or -1. */
static sg_status select_in(const sg_node *node, sg_kernel run, sg_layout layout, int inplace,
                           sg_kernel_plan *plan) {
    pointwise_state s = {sg_cpu_floats(&node->out[0], layout, kBlock), {0.0f, 0.0f}};

    if (node->op->attr_size == sizeof s.affine) s.affine = *(const sg_affine_attr *)node->attr;
    sg_cpu_plan(plan, node, run, layout);
    plan->inplace[0] = inplace;
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

#define SELECT(name, inplace)                                                                      \
    sg_status SG_BLOCKED(sg_cpu_select_##name)(sg_cpu * cpu, const sg_node *node,                  \
                                               const sg_layout have[], sg_kernel_plan *plan) {     \
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
SELECT(gelu, 0)
SELECT(gelu_dx, 1)
SELECT(sigmoid_dx, 1)

sg_status SG_BLOCKED(sg_cpu_select_sigmoid)(sg_cpu *cpu, const sg_node *node,
                                            const sg_layout have[], sg_kernel_plan *plan) {
    sg_layout layout = sg_cpu_common_layout(node, have);

    (void)cpu;
    if (sg_cpu_dims_of(node->in[0], kBlock).C % kBlock != 0) layout = SG_LAYOUT_PLAIN;
    return select_in(node, sigmoid_run, layout, 0, plan);
}

sg_status SG_BLOCKED(sg_cpu_select_to_float)(sg_cpu *cpu, const sg_node *node,
                                             const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    return select_in(node, to_float_run, SG_LAYOUT_PLAIN, -1, plan);
}
