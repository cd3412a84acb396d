/* One element at a time, kBlock at once. In BLOCKED the padding is computed with the rest: every op
 * here maps 0 to 0, except sigmoid, which takes PLAIN where there is padding. */
#include "cpu/backend_cpu.h"
#include "cpu/parts.h"
#include "cpu/simd.h"

typedef struct {
    int64_t count; /* floats, padding included */
    sg_affine_attr affine;
    int threads;
} pointwise_state;

/* Floats [i, end) are a part's; whole vectors but for the last of all. */
typedef struct {
    int64_t i, end;
} range;

static range part_of(const pointwise_state *s, int64_t part, int64_t parts) {
    int64_t vectors = (s->count + kBlock - 1) / kBlock;
    range r = {sg_cpu_part_begin(vectors, part, parts) * kBlock,
               sg_cpu_part_begin(vectors, part + 1, parts) * kBlock};

    if (r.end > s->count) r.end = s->count;
    return r;
}

#define RUN(name)                                                                                  \
    static sg_status name##_run(const sg_args *a) {                                                \
        sg_cpu_in_parts(((const pointwise_state *)a->state)->threads, name##_part, a);             \
        return SG_OK;                                                                              \
    }

/* A kernel of one or two f32 inputs: `result` is an expression in u, v (a vec each) and s. */
#define KERNEL_1(name, result)                                                                     \
    static void name##_part(const void *context, int64_t part, int64_t parts) {                    \
        const sg_args *a = context;                                                                \
        const pointwise_state *s = a->state;                                                       \
        range r = part_of(s, part, parts);                                                         \
        const float *p = a->in[0];                                                                 \
        float *y = a->out[0];                                                                      \
        int64_t i = r.i;                                                                           \
        vec u;                                                                                     \
                                                                                                   \
        for (; i + kBlock <= r.end; i += kBlock) {                                                 \
            u = vec_load(p + i);                                                                   \
            vec_store(y + i, result);                                                              \
        }                                                                                          \
        if (i < r.end) {                                                                           \
            u = vec_load_some(p + i, (int)(r.end - i));                                            \
            vec_store_some(y + i, (int)(r.end - i), result);                                       \
        }                                                                                          \
    }                                                                                              \
    RUN(name)

#define KERNEL_2(name, result)                                                                     \
    static void name##_part(const void *context, int64_t part, int64_t parts) {                    \
        const sg_args *a = context;                                                                \
        const pointwise_state *s = a->state;                                                       \
        range r = part_of(s, part, parts);                                                         \
        const float *p = a->in[0], *q = a->in[1];                                                  \
        float *y = a->out[0];                                                                      \
        int64_t i = r.i;                                                                           \
        vec u, v;                                                                                  \
                                                                                                   \
        for (; i + kBlock <= r.end; i += kBlock) {                                                 \
            u = vec_load(p + i);                                                                   \
            v = vec_load(q + i);                                                                   \
            vec_store(y + i, result);                                                              \
        }                                                                                          \
        if (i < r.end) {                                                                           \
            u = vec_load_some(p + i, (int)(r.end - i));                                            \
            v = vec_load_some(q + i, (int)(r.end - i));                                            \
            vec_store_some(y + i, (int)(r.end - i), result);                                       \
        }                                                                                          \
    }                                                                                              \
    RUN(name)

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

static void to_float_part(const void *context, int64_t part, int64_t parts) {
    const sg_args *a = context;
    const pointwise_state *s = a->state;
    range r = part_of(s, part, parts);
    const uint8_t *x = a->in[0];
    float *y = a->out[0];
    const vec factor = vec_set1(s->affine.factor), shift = vec_set1(s->affine.shift);
    int64_t i = r.i;

    for (; i + kBlock <= r.end; i += kBlock)
        vec_store(y + i, vec_add(vec_mul(factor, vec_of_bytes(x + i)), shift));
    for (; i < r.end; i++) y[i] = s->affine.factor * (float)x[i] + s->affine.shift;
}
RUN(to_float)

/* --- selection -------------------------------------------------------------------------------- */

/* `inplace`: the input that the output may overwrite, or -1. */
static sg_status select_in(const sg_cpu *cpu, const sg_node *node, sg_kernel run, sg_layout layout,
                           int inplace, sg_kernel_plan *plan) {
    pointwise_state s = {sg_cpu_floats(&node->out[0], layout, kBlock), {0.0f, 0.0f}, cpu->threads};

    if (node->op->attr_size == sizeof s.affine) s.affine = *(const sg_affine_attr *)node->attr;
    sg_cpu_plan(plan, node, run, layout);
    plan->inplace[0] = inplace;
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

#define SELECT(name, inplace)                                                                      \
    sg_status SG_BLOCKED(sg_cpu_select_##name)(sg_cpu * cpu, const sg_node *node,                  \
                                               const sg_layout have[], sg_kernel_plan *plan) {     \
        return select_in(cpu, node, name##_run, sg_cpu_common_layout(node, have), inplace, plan);  \
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

    if (sg_cpu_dims_of(node->in[0], kBlock).C % kBlock != 0) layout = SG_LAYOUT_PLAIN;
    return select_in(cpu, node, sigmoid_run, layout, 0, plan);
}

sg_status SG_BLOCKED(sg_cpu_select_to_float)(sg_cpu *cpu, const sg_node *node,
                                             const sg_layout have[], sg_kernel_plan *plan) {
    (void)have;
    return select_in(cpu, node, to_float_run, SG_LAYOUT_PLAIN, -1, plan);
}
