/* Linear layers: a product of OpenBLAS (matmul.c says why) and one pass over the result, which
 * costs 1 to 6% of the product with the bias alone and 4 to 17% with GELU (d 256, 2048 rows, AVX2).
 * Products of blocks of rows, so that the pass finds them in the cache, lost as much as that gains;
 * oneDNN's inner product with bias and GELU in it takes as long (docs/performance.md). */
#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

typedef struct {
    sg_linear_sizes n;
    sg_act act;
    bool blas;
} linear_state;

/* y = act(z + b), z = z + b where it is kept apart; else z is y. */
static void add_bias(const float *b, float *z, float *y, int64_t rows, int64_t C, sg_act act) {
    for (int64_t n = 0; n < rows; n++, z += C, y += C)
        for (int64_t c = 0; c < C; c += kBlock) {
            int some = C - c < kBlock ? (int)(C - c) : kBlock;
            vec v = vec_load_some(z + c, some);

            if (b) v = vec_add(v, vec_load_some(b + c, some));
            if (b && z != y) vec_store_some(z + c, some, v);
            vec_store_some(y + c, some, vec_act(act, v));
        }
}

static void apply_slope(const float *z, float *dx, int64_t count, sg_act act) {
    int64_t i = 0;

    for (; i + kBlock <= count; i += kBlock)
        vec_store(dx + i, vec_act_dx(act, vec_load(z + i), vec_load(dx + i)));
    if (i < count) {
        int some = (int)(count - i);

        vec_store_some(dx + i, some,
                       vec_act_dx(act, vec_load_some(z + i, some), vec_load_some(dx + i, some)));
    }
}

static sg_status linear_run(const sg_args *a) {
    const linear_state *s = a->state;
    const float *b = a->in[2];
    float *y = a->out[0], *z = a->node->n_out > 1 ? a->out[1] : y;

    SG_TRY(sg_cpu_multiply(s->blas, a->in[0], a->in[1], z, s->n.M, s->n.O, s->n.K, false, true));
    if (b || s->act != SG_ACT_NONE) add_bias(b, z, y, s->n.M, s->n.O, s->act);
    return SG_OK;
}

static sg_status linear_dx_run(const sg_args *a) {
    const linear_state *s = a->state;

    SG_TRY(sg_cpu_multiply(s->blas, a->in[0], a->in[1], a->out[0], s->n.M, s->n.K, s->n.O, false,
                           false));
    if (a->in[2]) apply_slope(a->in[2], a->out[0], s->n.M * s->n.K, s->act);
    return SG_OK;
}

static sg_status linear_dw_run(const sg_args *a) {
    const linear_state *s = a->state;

    SG_TRY(sg_cpu_multiply(s->blas, a->in[0], a->in[1], a->out[0], s->n.O, s->n.K, s->n.M, true,
                           false));
    if (a->node->n_out > 1) SG_BLOCKED(sg_cpu_sum_rows)(a->in[0], a->out[1], s->n.M, s->n.O);
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status select_linear(const sg_node *node, sg_kernel run, sg_act act,
                               sg_kernel_plan *plan) {
    linear_state s = {.n = sg_linear_sizes_of(node), .act = act};

    sg_cpu_plan(plan, node, run, SG_LAYOUT_PLAIN);
    SG_TRY(sg_cpu_plan_multiply(node, s.n.M, s.n.O, s.n.K, plan, &s.blas));
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status SG_BLOCKED(sg_cpu_select_linear)(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                           sg_kernel_plan *plan) {
    const sg_linear_attr *attr = node->attr;

    (void)cpu;
    (void)have;
    return select_linear(node, linear_run, attr->act, plan);
}

sg_status SG_BLOCKED(sg_cpu_select_linear_dx)(sg_cpu *cpu, const sg_node *node,
                                              const sg_layout have[], sg_kernel_plan *plan) {
    const sg_linear_attr *attr = node->attr;

    (void)cpu;
    (void)have;
    return select_linear(node, linear_dx_run, attr->act, plan);
}

sg_status SG_BLOCKED(sg_cpu_select_linear_dw)(sg_cpu *cpu, const sg_node *node,
                                              const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    return select_linear(node, linear_dw_run, SG_ACT_NONE, plan);
}
