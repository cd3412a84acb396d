/* Ops that move elements without changing them.
 *
 *   reshape   the same elements, row-major, under another shape: a view, nothing is copied
 *   concat    y = [x_0 | x_1 | ...] along axis 1; its gradient is a slice of dy for each x
 *   slice     y = x[:, start : start + count]
 *   slice_dx  dx[:, start : start + count] = dy, zero elsewhere
 *
 * Along axis 1 a tensor is (N, C, inner), inner = the product of the dimensions after the second:
 * each of the N rows holds C * inner contiguous elements. */
#include "ops/ops.h"

#include <string.h>

static int64_t inner_of(const sg_shape *s) {
    int64_t inner = 1;

    for (int d = 2; d < s->rank; d++) inner *= s->dim[d];
    return inner;
}

/* --- reshape ---------------------------------------------------------------------------------- */

static sg_status reshape_infer(sg_node *node) {
    const sg_shape_attr *attr = node->attr;
    char text[96];

    if (!sg_shape_valid(&attr->shape))
        return sg_op_fail(node, "over %d dimensions, or one is negative or too large", SG_MAX_RANK);
    if (sg_shape_count(&attr->shape) != sg_shape_count(&node->in[0]->shape))
        return sg_op_fail(node, "%s has another number of elements",
                          sg_shape_text(&attr->shape, text, sizeof text));
    sg_op_out(node, 0, node->in[0]->dtype, attr->shape); /* of any dtype */
    return SG_OK;
}

static sg_status reshape_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_reshape(g, dy[0], node->in[0]->shape));
}

sg_value *sg_reshape(sg_graph *g, sg_value *x, sg_shape shape) {
    sg_shape_attr attr = {shape};

    return sg_node_append(g, &sg_op_reshape, &x, 1, 1, &attr);
}

const sg_op sg_op_reshape = {
    .name = "reshape",
    .attr_size = sizeof(sg_shape_attr),
    .infer = reshape_infer,
    .grad = reshape_grad,
    .view = true,
};

/* --- concat ----------------------------------------------------------------------------------- */

static sg_status concat_infer(sg_node *node) {
    sg_shape y;

    if (node->n_in < 2) return sg_op_fail(node, "needs two inputs or more");
    SG_TRY(sg_op_expect(node, 0, SG_F32, -1));
    y = node->in[0]->shape;
    if (y.rank < 2) return sg_op_fail(node, "inputs need an axis 1");
    for (int i = 1; i < node->n_in; i++) {
        SG_TRY(sg_op_expect(node, i, SG_F32, y.rank));
        for (int d = 0; d < y.rank; d++)
            if (d != 1 && node->in[i]->shape.dim[d] != y.dim[d])
                return sg_op_fail(node, "input %d differs in dimension %d", i, d);
        y.dim[1] += node->in[i]->shape.dim[1];
    }
    sg_op_out(node, 0, SG_F32, y);
    return SG_OK;
}

static sg_status concat_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    int64_t start = 0;

    for (int i = 0; i < node->n_in; i++) {
        int64_t count = node->in[i]->shape.dim[1];

        if (sg_wants_grad(node->in[i]))
            SG_TRY(sg_accumulate(g, node->in[i], sg_slice(g, dy[0], start, count)));
        start += count;
    }
    return SG_OK;
}

static sg_status concat_ref(const sg_args *args) {
    const sg_node *node = args->node;
    const sg_shape *s = &node->out[0].shape;
    int64_t N = s->dim[0], inner = inner_of(s), row = s->dim[1] * inner;
    int64_t start = 0;

    for (int i = 0; i < node->n_in; i++) {
        int64_t count = node->in[i]->shape.dim[1] * inner;
        const float *x = args->in[i];
        float *y = (float *)args->out[0] + start;

        if (count > 0)
            for (int64_t n = 0; n < N; n++)
                memcpy(y + n * row, x + n * count, (size_t)count * sizeof *y);
        start += count;
    }
    return SG_OK;
}

sg_value *sg_concat(sg_graph *g, sg_value *const x[], int n) {
    if (n < 2 || n > SG_MAX_IN)
        return sg_graph_fail(
            g, sg_fail(SG_ERR_ARG, "concat: %d values; it takes 2 to %d", n, (int)SG_MAX_IN));
    return sg_node_append(g, &sg_op_concat, x, n, n, NULL);
}

const sg_op sg_op_concat = {
    .name = "concat",
    .infer = concat_infer,
    .grad = concat_grad,
    .run = concat_ref,
};

/* --- slice ------------------------------------------------------------------------------------ */

static sg_status slice_infer(sg_node *node) {
    const sg_slice_attr *attr = node->attr;
    sg_shape y;

    SG_TRY(sg_op_expect(node, 0, SG_F32, -1));
    y = node->in[0]->shape;
    if (y.rank < 2) return sg_op_fail(node, "the input needs an axis 1");
    if (attr->start < 0 || attr->count < 0 || attr->start > y.dim[1] - attr->count)
        return sg_op_fail(node, "%lld channels from %lld on are not all there",
                          (long long)attr->count, (long long)attr->start);
    y.dim[1] = attr->count;
    sg_op_out(node, 0, SG_F32, y);
    return SG_OK;
}

static sg_status slice_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_slice_attr *attr = node->attr;
    sg_value *x = node->in[0];

    if (!sg_wants_grad(x)) return SG_OK;
    return sg_accumulate(g, x, sg_slice_dx(g, dy[0], attr->start, x->shape.dim[1]));
}

static sg_status slice_ref(const sg_args *args) {
    const sg_slice_attr *attr = args->node->attr;
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t N = s->dim[0], inner = inner_of(s), row = s->dim[1] * inner;
    int64_t count = attr->count * inner;
    const float *x = (const float *)args->in[0] + attr->start * inner;
    float *y = args->out[0];

    if (count > 0)
        for (int64_t n = 0; n < N; n++)
            memcpy(y + n * count, x + n * row, (size_t)count * sizeof *y);
    return SG_OK;
}

static sg_status slice_dx_infer(sg_node *node) {
    const sg_slice_attr *attr = node->attr;
    sg_shape dx;

    SG_TRY(sg_op_expect(node, 0, SG_F32, -1));
    dx = node->in[0]->shape;
    if (dx.rank < 2) return sg_op_fail(node, "the input needs an axis 1");
    if (attr->start < 0 || attr->start > attr->total - dx.dim[1])
        return sg_op_fail(node, "channel %lld on is outside the %lld of the output",
                          (long long)attr->start, (long long)attr->total);
    dx.dim[1] = attr->total;
    sg_op_out(node, 0, SG_F32, dx);
    return SG_OK;
}

static sg_status slice_dx_ref(const sg_args *args) {
    const sg_slice_attr *attr = args->node->attr;
    const sg_shape *s = &args->node->out[0].shape;
    int64_t N = s->dim[0], inner = inner_of(s), row = s->dim[1] * inner;
    int64_t start = attr->start * inner, count = args->node->in[0]->shape.dim[1] * inner;
    const float *dy = args->in[0];
    float *dx = args->out[0];

    for (int64_t n = 0; n < N; n++) {
        for (int64_t i = 0; i < start; i++) dx[n * row + i] = 0.0f;
        for (int64_t i = 0; i < count; i++) dx[n * row + start + i] = dy[n * count + i];
        for (int64_t i = start + count; i < row; i++) dx[n * row + i] = 0.0f;
    }
    return SG_OK;
}

sg_value *sg_slice(sg_graph *g, sg_value *x, int64_t start, int64_t count) {
    sg_slice_attr attr = {start, count, 0};

    return sg_node_append(g, &sg_op_slice, &x, 1, 1, &attr);
}

sg_value *sg_slice_dx(sg_graph *g, sg_value *dy, int64_t start, int64_t total) {
    sg_slice_attr attr = {start, 0, total};

    if (dy && dy->shape.rank >= 2) attr.count = dy->shape.dim[1];
    return sg_node_append(g, &sg_op_slice_dx, &dy, 1, 1, &attr);
}

const sg_op sg_op_slice = {
    .name = "slice",
    .attr_size = sizeof(sg_slice_attr),
    .infer = slice_infer,
    .grad = slice_grad,
    .run = slice_ref,
};
const sg_op sg_op_slice_dx = {
    .name = "slice_dx",
    .attr_size = sizeof(sg_slice_attr),
    .infer = slice_dx_infer,
    .run = slice_dx_ref,
};
