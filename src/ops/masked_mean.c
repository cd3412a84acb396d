/* The mean of the tokens of each text, and its gradient.
 *
 *   masked_mean     y[n, c] = sum over t < length[n] of x[n, t, c] / length[n]
 *   masked_mean_dx  dx[n, t, c] = dy[n, c] / length[n] where t < length[n], else 0
 *
 * x, dx: (N, T, C); length: i32 (N), 0 .. T; y, dy: (N, C). Of no tokens the mean is 0. A length
 * out of range is bad data: an error on CPUs; on a device, which cannot stop, that text's results
 * are NaN. */
#include "ops/ops.h"

/* --- masked_mean ------------------------------------------------------------------------------ */

static sg_status masked_mean_infer(sg_node *node) {
    const sg_shape *x;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 3));
    x = &node->in[0]->shape;
    SG_TRY(sg_op_expect_lengths(node, 1, x->dim[0]));
    sg_op_out(node, 0, SG_F32, sg_shape_2(x->dim[0], x->dim[2]));
    return SG_OK;
}

static sg_status masked_mean_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *x = node->in[0];

    if (!sg_wants_grad(x)) return SG_OK;
    return sg_accumulate(g, x, sg_masked_mean_dx(g, node->in[1], dy[0], x->shape.dim[1]));
}

static sg_status masked_mean_ref(const sg_args *args) {
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t N = s->dim[0], T = s->dim[1], C = s->dim[2];
    const int32_t *length = args->in[1];

    SG_TRY(sg_op_check_lengths(args, length, N, T));
    for (int64_t n = 0; n < N; n++) {
        const float *x = (const float *)args->in[0] + n * T * C; // (T, C)
        float *y = (float *)args->out[0] + n * C;                // (C)

        for (int64_t c = 0; c < C; c++) {
            double sum = 0.0;

            for (int64_t t = 0; t < length[n]; t++) sum += (double)x[t * C + c];
            y[c] = length[n] > 0 ? (float)(sum / (double)length[n]) : 0.0f;
        }
    }
    return SG_OK;
}

sg_value *sg_masked_mean(sg_graph *g, sg_value *x, sg_value *length) {
    sg_value *in[] = {x, length};

    return sg_node_append(g, &sg_op_masked_mean, in, 2, 2, NULL);
}

const sg_op sg_op_masked_mean = {
    .name = "masked_mean",
    .infer = masked_mean_infer,
    .grad = masked_mean_grad,
    .run = masked_mean_ref,
};

/* --- masked_mean_dx --------------------------------------------------------------------------- */

static sg_status masked_mean_dx_infer(sg_node *node) {
    const sg_shape_attr *attr = node->attr;
    const sg_shape *dy;

    SG_TRY(sg_op_expect(node, 1, SG_F32, 2));
    dy = &node->in[1]->shape;
    SG_TRY(sg_op_expect_lengths(node, 0, dy->dim[0]));
    if (attr->shape.rank != 3 || attr->shape.dim[0] != dy->dim[0] || attr->shape.dim[1] < 0 ||
        attr->shape.dim[2] != dy->dim[1])
        return sg_op_fail(node, "the output must be (N, T, C)");
    sg_op_out(node, 0, SG_F32, attr->shape);
    return SG_OK;
}

static sg_status masked_mean_dx_ref(const sg_args *args) {
    const sg_shape *s = &args->node->out[0].shape;
    int64_t N = s->dim[0], T = s->dim[1], C = s->dim[2];
    const int32_t *length = args->in[0];

    SG_TRY(sg_op_check_lengths(args, length, N, T));
    for (int64_t n = 0; n < N; n++) {
        const float *dy = (const float *)args->in[1] + n * C; // (C)
        float *dx = (float *)args->out[0] + n * T * C;        // (T, C)

        for (int64_t t = 0; t < T; t++)
            for (int64_t c = 0; c < C; c++)
                dx[t * C + c] = t < length[n] ? (float)((double)dy[c] / (double)length[n]) : 0.0f;
    }
    return SG_OK;
}

sg_value *sg_masked_mean_dx(sg_graph *g, sg_value *length, sg_value *dy, int64_t T) {
    sg_value *in[] = {length, dy};
    sg_shape_attr attr = {sg_shape_3(0, T, 0)};

    if (dy && dy->shape.rank == 2) attr.shape = sg_shape_3(dy->shape.dim[0], T, dy->shape.dim[1]);
    return sg_node_append(g, &sg_op_masked_mean_dx, in, 2, 2, &attr);
}

const sg_op sg_op_masked_mean_dx = {
    .name = "masked_mean_dx",
    .attr_size = sizeof(sg_shape_attr),
    .infer = masked_mean_dx_infer,
    .run = masked_mean_dx_ref,
};
