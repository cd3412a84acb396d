/* What a head says about a box, as a box.
 *
 *   box_decode     cx = (column + 0.5 + x) * stride     w = exp(clamp(lw)) * unit
 *                  cy = (row    + 0.5 + y) * stride     h = exp(clamp(lh)) * unit
 *                  box = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
 *   box_decode_dx  dx = stride * (dxmin + dxmax)        dlw = w / 2 * (dxmax - dxmin), 0 where the
 *                  and the same for y and h             clamp of lw holds
 *
 * raw (N, A, 4): x, y, lw, lh; boxes (N, A, 4): xmin, ymin, xmax, ymax in pixels of the input;
 * unit = SG_BOX_UNIT strides. Zeros say: a square of that side on the cell's centre. */
#include <math.h>

#include "ops/detect.h"

static sg_status check_anchors(const sg_node *node, const sg_anchors *anchors) {
    if (anchors->levels < 1 || anchors->levels > SG_MAX_LEVELS)
        return sg_op_fail(node, "%d levels; 1 to %d are possible", anchors->levels, SG_MAX_LEVELS);
    for (int i = 0; i < anchors->levels; i++)
        if (anchors->stride[i] < 1 || anchors->height[i] < 1 || anchors->width[i] < 1)
            return sg_op_fail(node, "level %d has no stride or no cells", i);
    return SG_OK;
}

static sg_status decode_infer(sg_node *node) {
    const sg_anchors *anchors = node->attr;
    const sg_value *raw = node->in[0];

    SG_TRY(check_anchors(node, anchors));
    if (raw->dtype != SG_F32 || raw->shape.rank != 3 || raw->shape.dim[2] != 4 ||
        raw->shape.dim[1] != sg_anchor_count(anchors))
        return sg_op_fail(node, "input must be f32 (N, %lld, 4)",
                          (long long)sg_anchor_count(anchors));
    if (node->n_in == 2 &&
        (node->in[1]->dtype != SG_F32 || !sg_shape_equal(&node->in[1]->shape, &raw->shape)))
        return sg_op_fail(node, "dy must be as raw");
    sg_op_out(node, 0, SG_F32, raw->shape);
    return SG_OK;
}

static float clamp_size(float x) {
    return x < SG_RAW_SIZE_MIN ? SG_RAW_SIZE_MIN : x > SG_RAW_SIZE_MAX ? SG_RAW_SIZE_MAX : x;
}

/* --- box_decode ------------------------------------------------------------------------------- */

sg_value *sg_box_decode(sg_graph *g, sg_value *raw, const sg_anchors *anchors) {
    return sg_node_append(g, &sg_op_box_decode, &raw, 1, 1, anchors);
}

static sg_status box_decode_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    return sg_accumulate(g, node->in[0], sg_box_decode_dx(g, node->in[0], dy[0], node->attr));
}

static sg_status box_decode_ref(const sg_args *a) {
    const sg_anchors *anchors = a->node->attr;
    int64_t N = a->node->out[0].shape.dim[0];
    const float *raw = a->in[0]; // (N, A, 4)
    float *box = a->out[0];      // (N, A, 4)

    for (int64_t n = 0; n < N; n++)
        for (int i = 0; i < anchors->levels; i++) {
            float stride = (float)anchors->stride[i], unit = SG_BOX_UNIT * stride;

            for (int64_t row = 0; row < anchors->height[i]; row++)
                for (int64_t col = 0; col < anchors->width[i]; col++, raw += 4, box += 4) {
                    float x = ((float)col + 0.5f + raw[0]) * stride;
                    float y = ((float)row + 0.5f + raw[1]) * stride;
                    float w = expf(clamp_size(raw[2])) * unit;
                    float h = expf(clamp_size(raw[3])) * unit;

                    box[0] = x - 0.5f * w;
                    box[1] = y - 0.5f * h;
                    box[2] = x + 0.5f * w;
                    box[3] = y + 0.5f * h;
                }
        }
    return SG_OK;
}

const sg_op sg_op_box_decode = {
    .name = "box_decode",
    .attr_size = sizeof(sg_anchors),
    .infer = decode_infer,
    .grad = box_decode_grad,
    .run = box_decode_ref,
};

/* --- box_decode_dx ---------------------------------------------------------------------------- */

sg_value *sg_box_decode_dx(sg_graph *g, sg_value *raw, sg_value *dy, const sg_anchors *anchors) {
    sg_value *in[] = {raw, dy};

    return sg_node_append(g, &sg_op_box_decode_dx, in, 2, 2, anchors);
}

static float size_gradient(float raw, float unit, float dmin, float dmax) {
    /* Written so that NaN goes on: a diverged run must show. */
    if (raw < SG_RAW_SIZE_MIN || raw > SG_RAW_SIZE_MAX) return 0.0f;
    if (dmin == 0.0f && dmax == 0.0f) return 0.0f; // most anchors: no exp
    return 0.5f * expf(raw) * unit * (dmax - dmin);
}

static sg_status box_decode_dx_ref(const sg_args *a) {
    const sg_anchors *anchors = a->node->attr;
    int64_t N = a->node->out[0].shape.dim[0];
    const float *raw = a->in[0]; // (N, A, 4)
    const float *dy = a->in[1];  // (N, A, 4)
    float *dx = a->out[0];       // (N, A, 4)

    for (int64_t n = 0; n < N; n++)
        for (int i = 0; i < anchors->levels; i++) {
            float stride = (float)anchors->stride[i], unit = SG_BOX_UNIT * stride;
            int64_t cells = anchors->height[i] * anchors->width[i];

            for (int64_t p = 0; p < cells; p++, raw += 4, dy += 4, dx += 4) {
                dx[0] = stride * (dy[0] + dy[2]);
                dx[1] = stride * (dy[1] + dy[3]);
                dx[2] = size_gradient(raw[2], unit, dy[0], dy[2]);
                dx[3] = size_gradient(raw[3], unit, dy[1], dy[3]);
            }
        }
    return SG_OK;
}

const sg_op sg_op_box_decode_dx = {
    .name = "box_decode_dx",
    .attr_size = sizeof(sg_anchors),
    .infer = decode_infer,
    .run = box_decode_dx_ref,
};
