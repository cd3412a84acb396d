/* Pooling and its opposite.
 *
 *   max_pool2d       y = the greatest of a K x K window, S apart; padding never wins
 *   global_avg_pool  y[n, c] = mean over h, w of x[n, c, h, w]
 *   upsample2x       y[n, c, h, v] = x[n, c, h / 2, v / 2]
 *
 * The gradient of max_pool2d finds the winner again rather than keeping indices: x is kept anyway
 * by what follows, and all operands stay f32 images in whatever layout the backend prefers. The
 * winner is the FIRST greatest element in the window's row order; a NaN is greater than any number,
 * so it is not lost. */
#include "ops/ops.h"

#include <math.h>

static void sizes_of(const sg_shape *s, int64_t *planes, int64_t *H, int64_t *W) {
    *planes = s->dim[0] * s->dim[1];
    *H = s->dim[2];
    *W = s->dim[3];
}

/* --- max_pool2d ------------------------------------------------------------------------------- */

/* A pad of at most half the kernel leaves an element of x in every window. */
static sg_status pool_shape(const sg_node *node, sg_shape *y) {
    const sg_pool_attr *a = node->attr;
    const sg_shape *x;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    x = &node->in[0]->shape;
    if (a->kernel < 1 || a->stride < 1 || a->pad < 0 || a->pad > a->kernel / 2)
        return sg_op_fail(node, "kernel %lld, stride %lld, pad %lld: not possible",
                          (long long)a->kernel, (long long)a->stride, (long long)a->pad);
    if (x->dim[2] < 1 || x->dim[3] < 1 || x->dim[2] + 2 * a->pad < a->kernel ||
        x->dim[3] + 2 * a->pad < a->kernel)
        return sg_op_fail(node, "a window of %lld does not fit into the padded image (pad %lld)",
                          (long long)a->kernel, (long long)a->pad);
    *y = sg_shape_4(x->dim[0], x->dim[1], (x->dim[2] + 2 * a->pad - a->kernel) / a->stride + 1,
                    (x->dim[3] + 2 * a->pad - a->kernel) / a->stride + 1);
    return SG_OK;
}

/* Place in the plane x (H, W) of the winner of window (i, j). */
static int64_t winner(const sg_pool_attr *a, const float *x, int64_t H, int64_t W, int64_t i,
                      int64_t j) {
    int64_t h0 = i * a->stride - a->pad, w0 = j * a->stride - a->pad;
    int64_t best = -1;

    for (int64_t h = h0 < 0 ? 0 : h0; h < H && h < h0 + a->kernel; h++)
        for (int64_t w = w0 < 0 ? 0 : w0; w < W && w < w0 + a->kernel; w++) {
            float v = x[h * W + w];

            if (best < 0 || v > x[best] || (isnan(v) && !isnan(x[best]))) best = h * W + w;
        }
    return best;
}

static sg_status max_pool2d_infer(sg_node *node) {
    sg_shape y;

    SG_TRY(pool_shape(node, &y));
    sg_op_out(node, 0, SG_F32, y);
    return SG_OK;
}

static sg_status max_pool2d_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_pool_attr *a = node->attr;
    sg_value *x = node->in[0];

    if (!sg_wants_grad(x)) return SG_OK;
    return sg_accumulate(g, x, sg_max_pool2d_dx(g, x, dy[0], a->kernel, a->stride, a->pad));
}

static sg_status max_pool2d_ref(const sg_args *args) {
    const sg_pool_attr *a = args->node->attr;
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t planes, H, W, OH, OW;

    sizes_of(&args->node->in[0]->shape, &planes, &H, &W);
    sizes_of(&args->node->out[0].shape, &planes, &OH, &OW);
    for (int64_t p = 0; p < planes; p++, x += H * W)
        for (int64_t i = 0; i < OH; i++)
            for (int64_t j = 0; j < OW; j++) *y++ = x[winner(a, x, H, W, i, j)];
    return SG_OK;
}

static sg_status max_pool2d_dx_infer(sg_node *node) {
    sg_shape y;

    SG_TRY(pool_shape(node, &y));
    SG_TRY(sg_op_expect(node, 1, SG_F32, 4));
    if (!sg_shape_equal(&y, &node->in[1]->shape))
        return sg_op_fail(node, "input 1 is not of the output's shape");
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

/* An element that wins several windows adds them up in their row order. */
static sg_status max_pool2d_dx_ref(const sg_args *args) {
    const sg_pool_attr *a = args->node->attr;
    const float *x = args->in[0], *dy = args->in[1];
    float *dx = args->out[0];
    int64_t planes, H, W, OH, OW;

    sizes_of(&args->node->in[0]->shape, &planes, &H, &W);
    sizes_of(&args->node->in[1]->shape, &planes, &OH, &OW);
    for (int64_t p = 0; p < planes; p++, x += H * W, dx += H * W) {
        for (int64_t e = 0; e < H * W; e++) dx[e] = 0.0f;
        for (int64_t i = 0; i < OH; i++)
            for (int64_t j = 0; j < OW; j++) dx[winner(a, x, H, W, i, j)] += *dy++;
    }
    return SG_OK;
}

sg_value *sg_max_pool2d(sg_graph *g, sg_value *x, int64_t kernel, int64_t stride, int64_t pad) {
    sg_pool_attr attr = {kernel, stride, pad};

    return sg_node_append(g, &sg_op_max_pool2d, &x, 1, 1, &attr);
}

sg_value *sg_max_pool2d_dx(sg_graph *g, sg_value *x, sg_value *dy, int64_t kernel, int64_t stride,
                           int64_t pad) {
    sg_value *in[] = {x, dy};
    sg_pool_attr attr = {kernel, stride, pad};

    return sg_node_append(g, &sg_op_max_pool2d_dx, in, 2, 2, &attr);
}

const sg_op sg_op_max_pool2d = {
    .name = "max_pool2d",
    .attr_size = sizeof(sg_pool_attr),
    .infer = max_pool2d_infer,
    .grad = max_pool2d_grad,
    .run = max_pool2d_ref,
};
const sg_op sg_op_max_pool2d_dx = {
    .name = "max_pool2d_dx",
    .attr_size = sizeof(sg_pool_attr),
    .infer = max_pool2d_dx_infer,
    .run = max_pool2d_dx_ref,
};

/* --- global_avg_pool -------------------------------------------------------------------------- */

static sg_status global_avg_pool_infer(sg_node *node) {
    const sg_shape *x;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    x = &node->in[0]->shape;
    if (x->dim[2] < 1 || x->dim[3] < 1) return sg_op_fail(node, "the images have no pixels");
    sg_op_out(node, 0, SG_F32, sg_shape_2(x->dim[0], x->dim[1]));
    return SG_OK;
}

static sg_status global_avg_pool_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *x = node->in[0];

    if (!sg_wants_grad(x)) return SG_OK;
    return sg_accumulate(g, x, sg_global_avg_pool_dx(g, dy[0], x->shape));
}

static sg_status global_avg_pool_ref(const sg_args *args) {
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t planes, H, W;

    sizes_of(&args->node->in[0]->shape, &planes, &H, &W);
    for (int64_t p = 0; p < planes; p++) {
        double sum = 0.0;

        for (int64_t e = p * H * W; e < (p + 1) * H * W; e++) sum += (double)x[e];
        y[p] = (float)(sum / (double)(H * W));
    }
    return SG_OK;
}

static sg_status global_avg_pool_dx_infer(sg_node *node) {
    const sg_shape *dx = &((const sg_shape_attr *)node->attr)->shape;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 2));
    if (dx->rank != 4 || dx->dim[0] != node->in[0]->shape.dim[0] ||
        dx->dim[1] != node->in[0]->shape.dim[1])
        return sg_op_fail(node, "the output must be images of as many channels");
    sg_op_out(node, 0, SG_F32, *dx);
    return SG_OK;
}

static sg_status global_avg_pool_dx_ref(const sg_args *args) {
    const float *dy = args->in[0];
    float *dx = args->out[0];
    int64_t planes, H, W;

    sizes_of(&args->node->out[0].shape, &planes, &H, &W);
    for (int64_t p = 0; p < planes; p++)
        for (int64_t e = p * H * W; e < (p + 1) * H * W; e++) dx[e] = dy[p] / (float)(H * W);
    return SG_OK;
}

sg_value *sg_global_avg_pool(sg_graph *g, sg_value *x) {
    return sg_node_append(g, &sg_op_global_avg_pool, &x, 1, 1, NULL);
}

sg_value *sg_global_avg_pool_dx(sg_graph *g, sg_value *dy, sg_shape x_shape) {
    sg_shape_attr attr = {x_shape};

    return sg_node_append(g, &sg_op_global_avg_pool_dx, &dy, 1, 1, &attr);
}

const sg_op sg_op_global_avg_pool = {
    .name = "global_avg_pool",
    .infer = global_avg_pool_infer,
    .grad = global_avg_pool_grad,
    .run = global_avg_pool_ref,
};
const sg_op sg_op_global_avg_pool_dx = {
    .name = "global_avg_pool_dx",
    .attr_size = sizeof(sg_shape_attr),
    .infer = global_avg_pool_dx_infer,
    .run = global_avg_pool_dx_ref,
};

/* --- upsample2x ------------------------------------------------------------------------------- */

static sg_status upsample2x_infer(sg_node *node) {
    const sg_shape *x;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    x = &node->in[0]->shape;
    sg_op_out(node, 0, SG_F32, sg_shape_4(x->dim[0], x->dim[1], 2 * x->dim[2], 2 * x->dim[3]));
    return SG_OK;
}

static sg_status upsample2x_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_upsample2x_dx(g, dy[0]));
}

static sg_status upsample2x_ref(const sg_args *args) {
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t planes, H, W;

    sizes_of(&args->node->in[0]->shape, &planes, &H, &W);
    for (int64_t row = 0; row < planes * 2 * H; row++) /* two rows of y for each row of x */
        for (int64_t w = 0; w < 2 * W; w++) *y++ = x[row / 2 * W + w / 2];
    return SG_OK;
}

static sg_status upsample2x_dx_infer(sg_node *node) {
    const sg_shape *dy;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    dy = &node->in[0]->shape;
    if (dy->dim[2] % 2 != 0 || dy->dim[3] % 2 != 0)
        return sg_op_fail(node, "height and width must be even");
    sg_op_out(node, 0, SG_F32, sg_shape_4(dy->dim[0], dy->dim[1], dy->dim[2] / 2, dy->dim[3] / 2));
    return SG_OK;
}

static sg_status upsample2x_dx_ref(const sg_args *args) {
    const float *dy = args->in[0];
    float *dx = args->out[0];
    int64_t planes, H, W;

    sizes_of(&args->node->out[0].shape, &planes, &H, &W);
    for (int64_t row = 0; row < planes * H; row++) {
        const float *upper = dy + 2 * row * 2 * W, *lower = upper + 2 * W;

        for (int64_t w = 0; w < 2 * W; w += 2)
            *dx++ = (upper[w] + upper[w + 1]) + (lower[w] + lower[w + 1]);
    }
    return SG_OK;
}

sg_value *sg_upsample2x(sg_graph *g, sg_value *x) {
    return sg_node_append(g, &sg_op_upsample2x, &x, 1, 1, NULL);
}

sg_value *sg_upsample2x_dx(sg_graph *g, sg_value *dy) {
    return sg_node_append(g, &sg_op_upsample2x_dx, &dy, 1, 1, NULL);
}

const sg_op sg_op_upsample2x = {
    .name = "upsample2x",
    .infer = upsample2x_infer,
    .grad = upsample2x_grad,
    .run = upsample2x_ref,
};
const sg_op sg_op_upsample2x_dx = {
    .name = "upsample2x_dx",
    .infer = upsample2x_dx_infer,
    .run = upsample2x_dx_ref,
};
