/* The detector's maps, in BLOCKED, to lists of anchors and back. */
#include "cpu/backend_cpu.h"
#include "cpu/simd.h"
#include "ops/detect.h"

typedef struct {
    sg_cpu_dims d; /* of a map */
    int64_t A;
    int64_t start; /* level_split */
} level_state;

static sg_status levels_concat_run(const sg_args *a) {
    const sg_shape *shape = &a->node->out[0].shape;
    int64_t N = shape->dim[0], A = shape->dim[1], C = shape->dim[2], start = 0;

    for (int i = 0; i < a->node->n_in; i++) {
        sg_cpu_dims d = sg_cpu_dims_of(a->node->in[i], kBlock);
        const float *x = a->in[i];

        for (int64_t n = 0; n < N; n++) {
            for (int64_t b = 0; b < d.blocks; b++, x += d.HW * kBlock) {
                float *y = (float *)a->out[0] + (n * A + start) * C + b * kBlock;
                int64_t some = C - b * kBlock < kBlock ? C - b * kBlock : kBlock;

                for (int64_t p = 0; p < d.HW; p++)
                    for (int64_t c = 0; c < some; c++) y[p * C + c] = x[p * kBlock + c];
            }
        }
        start += d.HW;
    }
    return SG_OK;
}

static sg_status level_split_run(const sg_args *a) {
    const level_state *s = a->state;
    float *y = a->out[0];

    for (int64_t n = 0; n < s->d.N; n++) {
        for (int64_t b = 0; b < s->d.blocks; b++, y += s->d.HW * kBlock) {
            const float *x = (const float *)a->in[0] + (n * s->A + s->start) * s->d.C + b * kBlock;
            int some = s->d.C - b * kBlock < kBlock ? (int)(s->d.C - b * kBlock) : kBlock;

            for (int64_t p = 0; p < s->d.HW; p++)
                vec_store(y + p * kBlock, vec_load_some(x + p * s->d.C, some));
        }
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

sg_status SG_BLOCKED(sg_cpu_select_levels_concat)(sg_cpu *cpu, const sg_node *node,
                                                  const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, levels_concat_run, SG_LAYOUT_BLOCKED);
    return SG_OK;
}

sg_status SG_BLOCKED(sg_cpu_select_level_split)(sg_cpu *cpu, const sg_node *node,
                                                const sg_layout have[], sg_kernel_plan *plan) {
    const sg_level_attr *attr = node->attr;
    level_state s = {sg_cpu_dims_of(&node->out[0], kBlock), node->in[0]->shape.dim[1], attr->start};

    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, level_split_run, SG_LAYOUT_BLOCKED);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}
