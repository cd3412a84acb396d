/* Convolution (as the field calls cross-correlation) and its two gradients.
 *
 *   y[n, o, i, j] = act(b[o] + sum over c, p, q of w[o, c, p, q] x[n, g C' + c, i S - P + p,
 *                                                                           j S - P + q])
 *
 * with x zero outside; g = o / (OC / groups) is o's group and C' = C / groups its input channels.
 *
 *   x (N, C, H, W), w (OC, C', KH, KW), b (OC) or none
 *   y (N, OC, OH, OW),  OH = (H + 2 P - KH) / S + 1,  OW likewise
 *
 *   conv2d_dx  dx[n, c, h, v] = sum over o, p, q with i S - P + p = h, ...
 *                               of w[o, ., p, q] dy[n, o, i, j]
 *   conv2d_dw  dw[o, c, p, q] = sum over n, i, j
 *                               of dy[n, o, i, j] x[n, ., i S - P + p, j S - P + q]
 *
 * The bias's gradient is bias_db(dy). The activation is for inference: it has no gradient here. */
#include "ops/ops.h"

/* The sizes of one convolution, from the shapes of x, w and y. */
typedef struct {
    int64_t N, C, H, W; /* x */
    int64_t OC, KH, KW; /* w */
    int64_t OH, OW;     /* y */
    int64_t CG, OG;     /* input and output channels of a group */
    int64_t S, P;       /* stride, padding */
} conv;

static conv conv_of(const sg_shape *x, const sg_shape *w, const sg_shape *y,
                    const sg_conv_options *o) {
    conv k = {
        .N = x->dim[0],
        .C = x->dim[1],
        .H = x->dim[2],
        .W = x->dim[3],
        .OC = w->dim[0],
        .KH = w->dim[2],
        .KW = w->dim[3],
        .OH = y->dim[2],
        .OW = y->dim[3],
        .CG = w->dim[1],
        .S = o->stride,
        .P = o->pad,
    };

    k.OG = k.OC / o->groups;
    return k;
}

/* Shape of y, or a failure that names what does not fit. */
static sg_status conv_shape(const sg_node *node, const sg_shape *x, const sg_shape *w,
                            const sg_conv_options *o, sg_shape *y) {
    int64_t h, v;

    if (x->rank != 4 || w->rank != 4)
        return sg_op_fail(node, "images and filters have 4 dimensions");
    if (o->act == SG_ACT_GELU) return sg_op_fail(node, "gelu is for linear layers");
    if (o->stride < 1 || o->pad < 0 || o->groups < 1)
        return sg_op_fail(node, "stride %lld, pad %lld, groups %lld: not possible",
                          (long long)o->stride, (long long)o->pad, (long long)o->groups);
    if (w->dim[1] * o->groups != x->dim[1] || w->dim[0] % o->groups != 0)
        return sg_op_fail(node, "the channels do not fit the filters and %lld groups",
                          (long long)o->groups);
    h = x->dim[2] + 2 * o->pad - w->dim[2];
    v = x->dim[3] + 2 * o->pad - w->dim[3];
    if (h < 0 || v < 0 || w->dim[2] < 1 || w->dim[3] < 1)
        return sg_op_fail(node, "the filter does not fit into the padded image (pad %lld)",
                          (long long)o->pad);
    *y = sg_shape_4(x->dim[0], w->dim[0], h / o->stride + 1, v / o->stride + 1);
    return SG_OK;
}

/* --- conv2d ----------------------------------------------------------------------------------- */

static sg_status conv2d_infer(sg_node *node) {
    const sg_conv_attr *attr = node->attr;
    sg_shape y;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    SG_TRY(sg_op_expect(node, 1, SG_F32, 4));
    SG_TRY(conv_shape(node, &node->in[0]->shape, &node->in[1]->shape, &attr->options, &y));
    if (node->in[2]) {
        SG_TRY(sg_op_expect(node, 2, SG_F32, 1));
        if (node->in[2]->shape.dim[0] != y.dim[1])
            return sg_op_fail(node, "the bias needs one number an output channel");
    }
    sg_op_out(node, 0, SG_F32, y);
    return SG_OK;
}

static sg_status conv2d_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_conv_attr *attr = node->attr;
    sg_value *x = node->in[0], *w = node->in[1], *b = node->in[2];

    if (attr->options.act != SG_ACT_NONE)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s (conv2d): a fused activation has no gradient; append it as a node",
                       node->name);
    if (sg_wants_grad(x))
        SG_TRY(sg_accumulate(g, x, sg_conv2d_dx(g, w, dy[0], attr->options, x->shape)));
    if (sg_wants_grad(w))
        SG_TRY(
            sg_accumulate(g, w, sg_conv2d_dw(g, sg_again(g, x), dy[0], attr->options, w->shape)));
    if (sg_wants_grad(b)) SG_TRY(sg_accumulate(g, b, sg_bias_db(g, dy[0])));
    return SG_OK;
}

/* The sum for y[n, o, i, j]. */
static double conv_at(const conv *k, const float *x, const float *w, int64_t n, int64_t o,
                      int64_t i, int64_t j) {
    int64_t first = o / k->OG * k->CG; /* channel of x */
    double sum = 0.0;

    for (int64_t c = 0; c < k->CG; c++)
        for (int64_t p = 0; p < k->KH; p++) {
            int64_t h = i * k->S - k->P + p;

            if (h < 0 || h >= k->H) continue;
            const float *row = x + ((n * k->C + first + c) * k->H + h) * k->W;
            const float *filter = w + ((o * k->CG + c) * k->KH + p) * k->KW;
            for (int64_t q = 0; q < k->KW; q++) {
                int64_t v = j * k->S - k->P + q;

                if (v >= 0 && v < k->W) sum += (double)filter[q] * (double)row[v];
            }
        }
    return sum;
}

static sg_status conv2d_ref(const sg_args *args) {
    const sg_node *node = args->node;
    const sg_conv_attr *attr = node->attr;
    const conv k =
        conv_of(&node->in[0]->shape, &node->in[1]->shape, &node->out[0].shape, &attr->options);
    const float *x = args->in[0], *w = args->in[1], *b = args->in[2];
    float *y = args->out[0];

    for (int64_t n = 0; n < k.N; n++)
        for (int64_t o = 0; o < k.OC; o++)
            for (int64_t i = 0; i < k.OH; i++)
                for (int64_t j = 0; j < k.OW; j++) {
                    double sum = conv_at(&k, x, w, n, o, i, j) + (b ? (double)b[o] : 0.0);

                    *y++ = (float)sg_act_value(attr->options.act, sum);
                }
    return SG_OK;
}

sg_value *sg_conv2d(sg_graph *g, sg_value *x, sg_value *w, sg_value *b, sg_conv_options options) {
    sg_value *in[] = {x, w, b};
    sg_conv_attr attr = {options, sg_shape_0()};

    return sg_node_append(g, &sg_op_conv2d, in, 3, 2, &attr);
}

const sg_op sg_op_conv2d = {
    .name = "conv2d",
    .attr_size = sizeof(sg_conv_attr),
    .infer = conv2d_infer,
    .grad = conv2d_grad,
    .run = conv2d_ref,
};

/* --- conv2d_dx -------------------------------------------------------------------------------- */

/* Of both gradients, whose output has the attributes' shape: that of x or of w. */
static sg_status gradient_infer(sg_node *node, const sg_shape *x, const sg_shape *w) {
    const sg_conv_attr *attr = node->attr;
    sg_shape y;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    SG_TRY(sg_op_expect(node, 1, SG_F32, 4));
    SG_TRY(conv_shape(node, x, w, &attr->options, &y));
    if (!sg_shape_equal(&y, &node->in[1]->shape))
        return sg_op_fail(node, "input 1 is not of the output's shape");
    sg_op_out(node, 0, SG_F32, attr->shape);
    return SG_OK;
}

static sg_status conv2d_dx_infer(sg_node *node) {
    return gradient_infer(node, &((const sg_conv_attr *)node->attr)->shape, &node->in[0]->shape);
}

/* The output row or column i with i S - P + p = h, or -1. */
static int64_t source_of(int64_t h, int64_t p, const conv *k, int64_t limit) {
    int64_t t = h + k->P - p;

    return t < 0 || t % k->S != 0 || t / k->S >= limit ? -1 : t / k->S;
}

/* dx[n, c, h, v]. */
static double conv_dx_at(const conv *k, const float *w, const float *dy, int64_t n, int64_t c,
                         int64_t h, int64_t v) {
    int64_t first = c / k->CG * k->OG; /* output channel */
    double sum = 0.0;

    for (int64_t o = first; o < first + k->OG; o++)
        for (int64_t p = 0; p < k->KH; p++) {
            int64_t i = source_of(h, p, k, k->OH);

            if (i < 0) continue;
            const float *row = dy + ((n * k->OC + o) * k->OH + i) * k->OW;
            const float *filter = w + ((o * k->CG + c % k->CG) * k->KH + p) * k->KW;
            for (int64_t q = 0; q < k->KW; q++) {
                int64_t j = source_of(v, q, k, k->OW);

                if (j >= 0) sum += (double)filter[q] * (double)row[j];
            }
        }
    return sum;
}

static sg_status conv2d_dx_ref(const sg_args *args) {
    const sg_node *node = args->node;
    const sg_conv_attr *attr = node->attr;
    const conv k =
        conv_of(&node->out[0].shape, &node->in[0]->shape, &node->in[1]->shape, &attr->options);
    const float *w = args->in[0], *dy = args->in[1];
    float *dx = args->out[0];

    for (int64_t n = 0; n < k.N; n++)
        for (int64_t c = 0; c < k.C; c++)
            for (int64_t h = 0; h < k.H; h++)
                for (int64_t v = 0; v < k.W; v++) *dx++ = (float)conv_dx_at(&k, w, dy, n, c, h, v);
    return SG_OK;
}

sg_value *sg_conv2d_dx(sg_graph *g, sg_value *w, sg_value *dy, sg_conv_options options,
                       sg_shape x_shape) {
    sg_value *in[] = {w, dy};
    sg_conv_attr attr = {options, x_shape};

    return sg_node_append(g, &sg_op_conv2d_dx, in, 2, 2, &attr);
}

const sg_op sg_op_conv2d_dx = {
    .name = "conv2d_dx",
    .attr_size = sizeof(sg_conv_attr),
    .infer = conv2d_dx_infer,
    .run = conv2d_dx_ref,
};

/* --- conv2d_dw -------------------------------------------------------------------------------- */

static sg_status conv2d_dw_infer(sg_node *node) {
    return gradient_infer(node, &node->in[0]->shape, &((const sg_conv_attr *)node->attr)->shape);
}

/* dw[o, c, p, q]. */
static double conv_dw_at(const conv *k, const float *x, const float *dy, int64_t o, int64_t c,
                         int64_t p, int64_t q) {
    int64_t channel = o / k->OG * k->CG + c; /* of x */
    double sum = 0.0;

    for (int64_t n = 0; n < k->N; n++)
        for (int64_t i = 0; i < k->OH; i++) {
            int64_t h = i * k->S - k->P + p;

            if (h < 0 || h >= k->H) continue;
            const float *row = x + ((n * k->C + channel) * k->H + h) * k->W;
            const float *up = dy + ((n * k->OC + o) * k->OH + i) * k->OW;
            for (int64_t j = 0; j < k->OW; j++) {
                int64_t v = j * k->S - k->P + q;

                if (v >= 0 && v < k->W) sum += (double)up[j] * (double)row[v];
            }
        }
    return sum;
}

static sg_status conv2d_dw_ref(const sg_args *args) {
    const sg_node *node = args->node;
    const sg_conv_attr *attr = node->attr;
    const conv k =
        conv_of(&node->in[0]->shape, &node->out[0].shape, &node->in[1]->shape, &attr->options);
    const float *x = args->in[0], *dy = args->in[1];
    float *dw = args->out[0];

    for (int64_t o = 0; o < k.OC; o++)
        for (int64_t c = 0; c < k.CG; c++)
            for (int64_t p = 0; p < k.KH; p++)
                for (int64_t q = 0; q < k.KW; q++) *dw++ = (float)conv_dw_at(&k, x, dy, o, c, p, q);
    return SG_OK;
}

sg_value *sg_conv2d_dw(sg_graph *g, sg_value *x, sg_value *dy, sg_conv_options options,
                       sg_shape w_shape) {
    sg_value *in[] = {x, dy};
    sg_conv_attr attr = {options, w_shape};

    return sg_node_append(g, &sg_op_conv2d_dw, in, 2, 2, &attr);
}

const sg_op sg_op_conv2d_dw = {
    .name = "conv2d_dw",
    .attr_size = sizeof(sg_conv_attr),
    .infer = conv2d_dw_infer,
    .run = conv2d_dw_ref,
};
