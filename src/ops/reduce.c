/* The sum of all elements, and its gradient.
 *
 *   sum   y = sum_i x_i, a scalar
 *   fill  y_i = x, x a scalar: dx of sum, and the start of every backward pass
 *
 * Each is the other's gradient. */
#include "ops/ops.h"

static sg_status sum_infer(sg_node *node) {
    SG_TRY(sg_op_expect(node, 0, SG_F32, -1));
    sg_op_out(node, 0, SG_F32, sg_shape_0());
    return SG_OK;
}

static sg_status sum_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_fill(g, dy[0], node->in[0]->shape));
}

static sg_status sum_ref(const sg_args *args) {
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t n = sg_shape_count(&args->node->in[0]->shape);
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    y[0] = (float)sum;
    return SG_OK;
}

static sg_status fill_infer(sg_node *node) {
    const sg_shape_attr *attr = node->attr;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 0));
    sg_op_out(node, 0, SG_F32, attr->shape);
    return SG_OK;
}

static sg_status fill_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_sum(g, dy[0]));
}

static sg_status fill_ref(const sg_args *args) {
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t n = sg_shape_count(&args->node->out[0].shape);

    for (int64_t i = 0; i < n; i++) y[i] = x[0];
    return SG_OK;
}

sg_value *sg_sum(sg_graph *g, sg_value *x) { return sg_node_append(g, &sg_op_sum, &x, 1, 1, NULL); }

sg_value *sg_fill(sg_graph *g, sg_value *scalar, sg_shape shape) {
    sg_shape_attr attr = {shape};

    return sg_node_append(g, &sg_op_fill, &scalar, 1, 1, &attr);
}

const sg_op sg_op_sum = {
    .name = "sum",
    .infer = sum_infer,
    .grad = sum_grad,
    .run = sum_ref,
};
const sg_op sg_op_fill = {
    .name = "fill",
    .attr_size = sizeof(sg_shape_attr),
    .infer = fill_infer,
    .grad = fill_grad,
    .run = fill_ref,
};
