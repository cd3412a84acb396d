/* Channels put together and taken apart: rows of contiguous floats in either layout, as long as the
 * borders between channels are borders of blocks. Where they are not, PLAIN. */
#include <string.h>

#include "cpu/backend_cpu.h"
#include "cpu/parts.h"

typedef struct {
    int64_t N, row;          /* pictures; floats of one in the wider tensor */
    int64_t start;           /* slices: where the narrower one begins */
    int64_t part[SG_MAX_IN]; /* floats of one picture in each narrower tensor */
    int threads;
} shape_state;

static void concat_part(const void *context, int64_t part, int64_t parts) {
    const sg_args *a = context;
    const shape_state *s = a->state;
    float *y = a->out[0];

    for (int64_t n = 0; n < s->N; n++) {
        for (int i = 0; i < a->node->n_in; i++) {
            const float *x = (const float *)a->in[i] + n * s->part[i];
            int64_t begin = sg_cpu_part_begin(s->part[i], part, parts);
            int64_t end = sg_cpu_part_begin(s->part[i], part + 1, parts);

            if (end > begin) memcpy(y + begin, x + begin, (size_t)(end - begin) * sizeof(float));
            y += s->part[i];
        }
    }
}

static sg_status concat_run(const sg_args *a) {
    sg_cpu_in_parts(((const shape_state *)a->state)->threads, concat_part, a);
    return SG_OK;
}

static sg_status slice_run(const sg_args *a) {
    const shape_state *s = a->state;
    const float *x = (const float *)a->in[0] + s->start;
    float *y = a->out[0];

    for (int64_t n = 0; n < s->N && s->part[0]; n++)
        memcpy(y + n * s->part[0], x + n * s->row, (size_t)s->part[0] * sizeof(float));
    return SG_OK;
}

static sg_status slice_dx_run(const sg_args *a) {
    const shape_state *s = a->state;
    const float *dy = a->in[0];
    int64_t after = s->row - s->start - s->part[0];

    for (int64_t n = 0; n < s->N && s->row; n++) {
        float *dx = (float *)a->out[0] + n * s->row;

        memset(dx, 0, (size_t)s->start * sizeof(float));
        if (s->part[0])
            memcpy(dx + s->start, dy + n * s->part[0], (size_t)s->part[0] * sizeof(float));
        memset(dx + s->start + s->part[0], 0, (size_t)after * sizeof(float));
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

/* Floats of `channels` channels of one picture of `v`. */
static int64_t floats_of(const sg_value *v, int64_t channels, sg_layout layout, int block) {
    sg_cpu_dims d = sg_cpu_dims_of(v, block);

    return (layout == SG_LAYOUT_BLOCKED ? (channels + block - 1) / block * block : channels) * d.HW;
}

sg_status sg_cpu_select_concat(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                               sg_kernel_plan *plan) {
    sg_layout layout = sg_cpu_common_layout(node, have);
    shape_state s = {.N = node->out[0].shape.dim[0], .threads = cpu->threads};

    for (int i = 0; i + 1 < node->n_in; i++)
        if (node->in[i]->shape.dim[1] % cpu->block != 0) layout = SG_LAYOUT_PLAIN;
    for (int i = 0; i < node->n_in; i++)
        s.part[i] = floats_of(node->in[i], node->in[i]->shape.dim[1], layout, cpu->block);
    sg_cpu_plan(plan, node, concat_run, layout);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

/* Channels [start, start + count) of `wide`. */
static sg_status select_slice(const sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                              const sg_value *wide, int64_t start, int64_t count, sg_kernel run,
                              sg_kernel_plan *plan) {
    int64_t C = wide->shape.dim[1];
    bool aligned = start % cpu->block == 0 && (count % cpu->block == 0 || start + count == C);
    sg_layout layout = aligned ? sg_cpu_common_layout(node, have) : SG_LAYOUT_PLAIN;
    shape_state s = {.N = wide->shape.dim[0],
                     .row = floats_of(wide, C, layout, cpu->block),
                     .start = floats_of(wide, start, layout, cpu->block),
                     .part = {floats_of(wide, count, layout, cpu->block)}};

    sg_cpu_plan(plan, node, run, layout);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status sg_cpu_select_slice(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                              sg_kernel_plan *plan) {
    const sg_slice_attr *attr = node->attr;

    return select_slice(cpu, node, have, node->in[0], attr->start, attr->count, slice_run, plan);
}

sg_status sg_cpu_select_slice_dx(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                 sg_kernel_plan *plan) {
    const sg_slice_attr *attr = node->attr;

    return select_slice(cpu, node, have, &node->out[0], attr->start, node->in[0]->shape.dim[1],
                        slice_dx_run, plan);
}
