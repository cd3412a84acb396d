/* Forms of the detector's ops. */
#include <stdio.h>

#include "core/mem.h"
#include "onnx/forms.h"

static const char *transpose(sg_onnx *m, const char *x) {
    return sg_onnx_node(m, "Transpose", SG_ONNX_IN(x),
                        SG_ONNX_WITH(sg_onnx_attr_ints("perm", 3, (const int64_t[]){0, 2, 1})));
}

/* Maps (N, C, H, W) side by side as (N, C, A), then anchors first. */
void sg_form_levels_concat(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    const char *in[SG_MAX_IN + 1];

    /* counted, as nothing can be left over in a batch of 0 */
    for (int i = 0; i < node->n_in; i++) {
        const int64_t *dim = node->in[i]->shape.dim;

        in[i] = SG_ONNX_OP(m, "Reshape", sg_conversion_in(c, node, i),
                           SG_ONNX_INTS(m, 0, 0, dim[2] * dim[3]));
    }
    in[node->n_in] = SG_ONNX_END;
    sg_conversion_out(
        c, node, 0,
        transpose(m, sg_onnx_node(m, "Concat", in, SG_ONNX_WITH(sg_onnx_attr_int("axis", 2)))));
}

/* Of each anchor: its centre in strides, (1, A, 2); its stride, (1, A, 1). */
static void fill_anchors(const sg_anchors *anchors, float *centre, float *stride) {
    for (int i = 0; i < anchors->levels; i++)
        for (int64_t row = 0; row < anchors->height[i]; row++)
            for (int64_t column = 0; column < anchors->width[i]; column++) {
                *centre++ = (float)column + 0.5f;
                *centre++ = (float)row + 0.5f;
                *stride++ = (float)anchors->stride[i];
            }
}

/* (.., first), (.., first + 1) of the last axis. */
static const char *pair(sg_onnx *m, const char *x, int64_t first) {
    return SG_ONNX_OP(m, "Slice", x, SG_ONNX_INTS(m, first), SG_ONNX_INTS(m, first + 2),
                      SG_ONNX_INTS(m, 2));
}

sg_form_boxes sg_form_decode(sg_onnx *m, const char *raw, const sg_anchors *anchors) {
    int64_t A = sg_anchor_count(anchors);
    float *block = sg_malloc((size_t)(3 * A) * sizeof *block);
    const char *cells, *stride, *size;
    sg_form_boxes boxes = {NULL, NULL};

    if (!block) {
        sg_onnx_fail(m, sg_fail(SG_ERR_OOM, "onnx: no memory for anchors"));
        return boxes;
    }
    fill_anchors(anchors, block, block + 2 * A);
    cells =
        sg_onnx_tensor(m, "anchors.centre", SG_ONNX_FLOAT, 3, (const int64_t[]){1, A, 2}, block);
    stride = sg_onnx_tensor(m, "anchors.stride", SG_ONNX_FLOAT, 3, (const int64_t[]){1, A, 1},
                            block + 2 * A);
    sg_free(block);
    boxes.centre = SG_ONNX_OP(m, "Mul", SG_ONNX_OP(m, "Add", pair(m, raw, 0), cells), stride);
    size = SG_ONNX_OP(m, "Clip", pair(m, raw, 2), sg_onnx_float(m, SG_RAW_SIZE_MIN),
                      sg_onnx_float(m, SG_RAW_SIZE_MAX));
    size = SG_ONNX_OP(m, "Mul", SG_ONNX_OP(m, "Exp", size), sg_onnx_float(m, SG_BOX_UNIT));
    boxes.size = SG_ONNX_OP(m, "Mul", size, stride);
    return boxes;
}

void sg_form_box_decode(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    sg_form_boxes b = sg_form_decode(m, sg_conversion_in(c, node, 0), node->attr);
    const char *half = SG_ONNX_OP(m, "Mul", b.size, sg_onnx_float(m, 0.5f));
    const char *low = SG_ONNX_OP(m, "Sub", b.centre, half);
    const char *high = SG_ONNX_OP(m, "Add", b.centre, half);

    sg_conversion_out(c, node, 0,
                      sg_onnx_node(m, "Concat", SG_ONNX_IN(low, high),
                                   SG_ONNX_WITH(sg_onnx_attr_int("axis", 2))));
}
