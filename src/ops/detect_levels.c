/* Maps of several levels as one list of anchors, and back.
 *
 *   levels_concat  y[n][start_i + r W_i + c][k] = x_i[n][k][r][c],  start_i = sum_{j<i} H_j W_j
 *   level_split    the same read from right to left, for one level
 *
 * x_i: (N, C, H_i, W_i), finest first; y: (N, A, C), A = sum of H_i W_i. */
#include "ops/detect.h"

int64_t sg_anchor_count(const sg_anchors *anchors) {
    int64_t count = 0;

    for (int i = 0; i < anchors->levels; i++) count += anchors->height[i] * anchors->width[i];
    return count;
}

/* --- levels_concat ---------------------------------------------------------------------------- */

sg_value *sg_levels_concat(sg_graph *g, sg_value *const map[], int levels) {
    if (levels < 1 || levels > SG_MAX_LEVELS)
        return sg_graph_fail(g, sg_fail(SG_ERR_ARG, "levels_concat: %d maps; it takes 1 to %d",
                                        levels, SG_MAX_LEVELS));
    return sg_node_append(g, &sg_op_levels_concat, map, levels, levels, NULL);
}

static sg_status levels_concat_infer(sg_node *node) {
    int64_t anchors = 0;

    for (int i = 0; i < node->n_in; i++) {
        const sg_value *x = node->in[i];

        if (x->dtype != SG_F32 || x->shape.rank != 4)
            return sg_op_fail(node, "maps must be f32 (N, C, H, W)");
        if (x->shape.dim[0] != node->in[0]->shape.dim[0] ||
            x->shape.dim[1] != node->in[0]->shape.dim[1])
            return sg_op_fail(node, "maps must agree in N and C");
        anchors += x->shape.dim[2] * x->shape.dim[3];
    }
    sg_op_out(node, 0, SG_F32,
              sg_shape_3(node->in[0]->shape.dim[0], anchors, node->in[0]->shape.dim[1]));
    return SG_OK;
}

static sg_status levels_concat_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    int64_t start = 0;

    for (int i = 0; i < node->n_in; i++) {
        sg_value *x = node->in[i];
        int64_t height = x->shape.dim[2], width = x->shape.dim[3];

        if (sg_wants_grad(x))
            SG_TRY(sg_accumulate(g, x, sg_level_split(g, dy[0], start, height, width)));
        start += height * width;
    }
    return SG_OK;
}

static sg_status levels_concat_ref(const sg_args *a) {
    const sg_shape *shape = &a->node->out[0].shape;
    int64_t N = shape->dim[0], A = shape->dim[1], C = shape->dim[2], start = 0;
    float *y = a->out[0]; // (N, A, C)

    for (int i = 0; i < a->node->n_in; i++) {
        int64_t HW = a->node->in[i]->shape.dim[2] * a->node->in[i]->shape.dim[3];
        const float *x = a->in[i]; // (N, C, HW)

        for (int64_t n = 0; n < N; n++)
            for (int64_t p = 0; p < HW; p++)
                for (int64_t c = 0; c < C; c++)
                    y[(n * A + start + p) * C + c] = x[(n * C + c) * HW + p];
        start += HW;
    }
    return SG_OK;
}

const sg_op sg_op_levels_concat = {
    .name = "levels_concat",
    .infer = levels_concat_infer,
    .grad = levels_concat_grad,
    .run = levels_concat_ref,
};

/* --- level_split ------------------------------------------------------------------------------ */

sg_value *sg_level_split(sg_graph *g, sg_value *x, int64_t start, int64_t height, int64_t width) {
    sg_level_attr attr = {.start = start, .height = height, .width = width};

    return sg_node_append(g, &sg_op_level_split, &x, 1, 1, &attr);
}

static sg_status level_split_infer(sg_node *node) {
    const sg_level_attr *attr = node->attr;
    const sg_value *x = node->in[0];

    if (x->dtype != SG_F32 || x->shape.rank != 3)
        return sg_op_fail(node, "input must be f32 (N, A, C)");
    if (attr->start < 0 || attr->height < 0 || attr->width < 0 ||
        attr->start + attr->height * attr->width > x->shape.dim[1])
        return sg_op_fail(node, "a %lld x %lld map from anchor %lld does not fit",
                          (long long)attr->height, (long long)attr->width, (long long)attr->start);
    sg_op_out(node, 0, SG_F32,
              sg_shape_4(x->shape.dim[0], x->shape.dim[2], attr->height, attr->width));
    return SG_OK;
}

static sg_status level_split_ref(const sg_args *a) {
    const sg_level_attr *attr = a->node->attr;
    const sg_shape *shape = &a->node->in[0]->shape;
    int64_t N = shape->dim[0], A = shape->dim[1], C = shape->dim[2];
    int64_t HW = attr->height * attr->width;
    const float *x = a->in[0]; // (N, A, C)
    float *y = a->out[0];      // (N, C, HW)

    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            for (int64_t p = 0; p < HW; p++)
                y[(n * C + c) * HW + p] = x[(n * A + attr->start + p) * C + c];
    return SG_OK;
}

const sg_op sg_op_level_split = {
    .name = "level_split",
    .attr_size = sizeof(sg_level_attr),
    .infer = level_split_infer,
    .run = level_split_ref,
};
