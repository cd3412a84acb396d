/* The window of tokens around each token of a text, laid out in a row: a linear layer over it is a
 * convolution along the text. And its gradient.
 *
 *   windows     y[n, t, q C + c] = x[n, t + q - h, c] where both t and t + q - h are tokens of the
 *                                  text, 0 .. length[n] - 1; else 0
 *   windows_dx  dx[n, u, c] = sum over q of dy[n, u + h - q, q C + c] over the same pairs
 *
 * with q = 0 .. K - 1, K odd and h = (K - 1) / 2. x, dx: (N, T, C); length: i32 (N), 0 .. T; y, dy:
 * (N, T, K C). What lies beyond the end of a text is as if it were not there. A length out of range
 * is bad data: an error on CPUs; on a device, which cannot stop, that text's results are NaN. */
#include "ops/ops.h"

/* --- windows ---------------------------------------------------------------------------------- */

static sg_status windows_infer(sg_node *node) {
    const sg_windows_attr *attr = node->attr;
    const sg_shape *x;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 3));
    x = &node->in[0]->shape;
    if (attr->kernel < 1 || attr->kernel % 2 == 0)
        return sg_op_fail(node, "windows have an odd number of tokens, not %lld",
                          (long long)attr->kernel);
    SG_TRY(sg_op_expect_lengths(node, 1, x->dim[0]));
    sg_op_out(node, 0, SG_F32, sg_shape_3(x->dim[0], x->dim[1], attr->kernel * x->dim[2]));
    return SG_OK;
}

static sg_status windows_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_windows_attr *attr = node->attr;

    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_windows_dx(g, node->in[1], dy[0], attr->kernel));
}

static sg_status windows_ref(const sg_args *args) {
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t N = s->dim[0], T = s->dim[1], C = s->dim[2];
    int64_t K = ((const sg_windows_attr *)args->node->attr)->kernel, h = (K - 1) / 2;
    const int32_t *length = args->in[1];
    const float *x = args->in[0];
    float *y = args->out[0];

    SG_TRY(sg_op_check_lengths(args, length, N, T));
    for (int64_t n = 0; n < N; n++)
        for (int64_t t = 0; t < T; t++)
            for (int64_t q = 0; q < K; q++) {
                int64_t u = t + q - h;
                bool there = t < length[n] && u >= 0 && u < length[n];

                for (int64_t c = 0; c < C; c++) *y++ = there ? x[(n * T + u) * C + c] : 0.0f;
            }
    return SG_OK;
}

sg_value *sg_windows(sg_graph *g, sg_value *x, sg_value *length, int64_t kernel) {
    sg_value *in[] = {x, length};
    sg_windows_attr attr = {kernel};

    return sg_node_append(g, &sg_op_windows, in, 2, 2, &attr);
}

const sg_op sg_op_windows = {
    .name = "windows",
    .attr_size = sizeof(sg_windows_attr),
    .infer = windows_infer,
    .grad = windows_grad,
    .run = windows_ref,
};

/* --- windows_dx ------------------------------------------------------------------------------- */

static sg_status windows_dx_infer(sg_node *node) {
    const sg_windows_attr *attr = node->attr;
    const sg_shape *dy;

    SG_TRY(sg_op_expect(node, 1, SG_F32, 3));
    dy = &node->in[1]->shape;
    if (attr->kernel < 1 || attr->kernel % 2 == 0 || dy->dim[2] % attr->kernel != 0)
        return sg_op_fail(node, "the gradient has no windows of %lld tokens",
                          (long long)attr->kernel);
    SG_TRY(sg_op_expect_lengths(node, 0, dy->dim[0]));
    sg_op_out(node, 0, SG_F32, sg_shape_3(dy->dim[0], dy->dim[1], dy->dim[2] / attr->kernel));
    return SG_OK;
}

static sg_status windows_dx_ref(const sg_args *args) {
    const sg_shape *s = &args->node->out[0].shape;
    int64_t N = s->dim[0], T = s->dim[1], C = s->dim[2];
    int64_t K = ((const sg_windows_attr *)args->node->attr)->kernel, h = (K - 1) / 2;
    const int32_t *length = args->in[0];
    const float *dy = args->in[1];
    float *dx = args->out[0];

    SG_TRY(sg_op_check_lengths(args, length, N, T));
    for (int64_t n = 0; n < N; n++)
        for (int64_t u = 0; u < T; u++)
            for (int64_t c = 0; c < C; c++) {
                double sum = 0.0;

                for (int64_t q = 0; q < K && u < length[n]; q++) {
                    int64_t t = u + h - q;

                    if (t >= 0 && t < length[n]) sum += (double)dy[((n * T + t) * K + q) * C + c];
                }
                *dx++ = (float)sum;
            }
    return SG_OK;
}

sg_value *sg_windows_dx(sg_graph *g, sg_value *length, sg_value *dy, int64_t kernel) {
    sg_value *in[] = {length, dy};
    sg_windows_attr attr = {kernel};

    return sg_node_append(g, &sg_op_windows_dx, in, 2, 2, &attr);
}

const sg_op sg_op_windows_dx = {
    .name = "windows_dx",
    .attr_size = sizeof(sg_windows_attr),
    .infer = windows_dx_infer,
    .run = windows_dx_ref,
};
