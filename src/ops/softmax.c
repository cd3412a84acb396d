/* Softmax over the last axis, cross-entropy, and their gradients.
 *
 *   softmax           y_i  = exp(x_i - m) / sum_j exp(x_j - m),   m = max_j x_j
 *   softmax_dx        dx_i = y_i * (dy_i - sum_j y_j dy_j)
 *   cross_entropy     loss = sum_n log(sum_j exp(x_nj - m_n)) - (x_n,label - m_n);  p = softmax(x)
 *   cross_entropy_dx  dx_ni = dloss * (p_ni - [i = label_n])
 *
 * x, y, dy, dx, p: (N, C); label: i32 (N); loss, dloss: scalars. A row whose label is below 0 adds
 * nothing and gets a gradient of zero. Neither gradient needs x. */
#include "ops/ops.h"

#include <math.h>

/* The row's greatest element; NaN shows up in the sum of exponentials. */
static double row_max(const float *x, int64_t C) {
    double m = C > 0 ? (double)x[0] : 0.0;

    for (int64_t c = 1; c < C; c++)
        if ((double)x[c] > m) m = (double)x[c];
    return m;
}

static double row_exp_sum(const float *x, int64_t C, double m) {
    double sum = 0.0;

    for (int64_t c = 0; c < C; c++) sum += exp((double)x[c] - m);
    return sum;
}

/* --- softmax ---------------------------------------------------------------------------------- */

static sg_status softmax_infer(sg_node *node) {
    SG_TRY(sg_op_expect(node, 0, SG_F32, 2));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status softmax_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_softmax_dx(g, &node->out[0], dy[0]));
}

static sg_status softmax_ref(const sg_args *args) {
    const sg_shape *s = &args->node->out[0].shape;
    int64_t N = s->dim[0], C = s->dim[1];

    for (int64_t n = 0; n < N; n++) {
        const float *x = (const float *)args->in[0] + n * C; // (C)
        float *y = (float *)args->out[0] + n * C;            // (C)
        double m = row_max(x, C), sum = row_exp_sum(x, C, m);

        for (int64_t c = 0; c < C; c++) y[c] = (float)(exp((double)x[c] - m) / sum);
    }
    return SG_OK;
}

static sg_status softmax_dx_infer(sg_node *node) {
    SG_TRY(sg_op_expect(node, 0, SG_F32, 2));
    SG_TRY(sg_op_expect_same(node, 2));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status softmax_dx_ref(const sg_args *args) {
    const sg_shape *s = &args->node->out[0].shape;
    int64_t N = s->dim[0], C = s->dim[1];

    for (int64_t n = 0; n < N; n++) {
        const float *y = (const float *)args->in[0] + n * C;  // (C)
        const float *dy = (const float *)args->in[1] + n * C; // (C)
        float *dx = (float *)args->out[0] + n * C;            // (C)
        double dot = 0.0;

        for (int64_t c = 0; c < C; c++) dot += (double)y[c] * (double)dy[c];
        for (int64_t c = 0; c < C; c++) dx[c] = (float)((double)y[c] * ((double)dy[c] - dot));
    }
    return SG_OK;
}

sg_value *sg_softmax(sg_graph *g, sg_value *x) {
    return sg_node_append(g, &sg_op_softmax, &x, 1, 1, NULL);
}

sg_value *sg_softmax_dx(sg_graph *g, sg_value *y, sg_value *dy) {
    sg_value *in[] = {y, dy};

    return sg_node_append(g, &sg_op_softmax_dx, in, 2, 2, NULL);
}

const sg_op sg_op_softmax = {
    .name = "softmax",
    .infer = softmax_infer,
    .grad = softmax_grad,
    .run = softmax_ref,
    .inplace = {1},
};
const sg_op sg_op_softmax_dx = {
    .name = "softmax_dx",
    .infer = softmax_dx_infer,
    .run = softmax_dx_ref,
    .inplace = {2},
};

/* --- cross_entropy ---------------------------------------------------------------------------- */

static sg_status expect_labels(const sg_node *node) {
    SG_TRY(sg_op_expect(node, 0, SG_F32, 2));
    SG_TRY(sg_op_expect(node, 1, SG_I32, 1));
    if (node->in[1]->shape.dim[0] != node->in[0]->shape.dim[0])
        return sg_op_fail(node, "each row needs one label");
    return SG_OK;
}

static sg_status cross_entropy_infer(sg_node *node) {
    SG_TRY(expect_labels(node));
    sg_op_out(node, 0, SG_F32, sg_shape_0());
    sg_op_out(node, 1, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status cross_entropy_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *x = node->in[0];

    if (dy[1])
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s (cross_entropy): no gradient passes its probabilities; use sg_softmax",
                       node->name);
    if (!sg_wants_grad(x)) return SG_OK;
    return sg_accumulate(g, x, sg_cross_entropy_dx(g, &node->out[1], node->in[1], dy[0]));
}

static sg_status cross_entropy_ref(const sg_args *args) {
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t N = s->dim[0], C = s->dim[1];
    const int32_t *label = args->in[1];
    float *loss = args->out[0];
    double total = 0.0;

    for (int64_t n = 0; n < N; n++) {
        const float *x = (const float *)args->in[0] + n * C; // (C)
        float *p = (float *)args->out[1] + n * C;            // (C)
        double m = row_max(x, C), sum = row_exp_sum(x, C, m);

        if (label[n] >= C)
            return sg_fail(SG_ERR_DATA, "%s (cross_entropy): label %d of row %lld; there are %lld",
                           args->node->name, label[n], (long long)n, (long long)C);
        if (label[n] >= 0) total += log(sum) - ((double)x[label[n]] - m);
        for (int64_t c = 0; c < C; c++) p[c] = (float)(exp((double)x[c] - m) / sum);
    }
    loss[0] = (float)total;
    return SG_OK;
}

static sg_status cross_entropy_dx_infer(sg_node *node) {
    SG_TRY(expect_labels(node));
    SG_TRY(sg_op_expect(node, 2, SG_F32, 0));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status cross_entropy_dx_ref(const sg_args *args) {
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t N = s->dim[0], C = s->dim[1];
    const float *p = args->in[0], *dloss = args->in[2];
    const int32_t *label = args->in[1];
    float *dx = args->out[0];

    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++) {
            float d = p[n * C + c] - (c == label[n] ? 1.0f : 0.0f);

            dx[n * C + c] = label[n] < 0 ? 0.0f : dloss[0] * d;
        }
    return SG_OK;
}

sg_value *sg_cross_entropy(sg_graph *g, sg_value *logits, sg_value *label) {
    sg_value *in[] = {logits, label};

    return sg_node_append(g, &sg_op_cross_entropy, in, 2, 2, NULL);
}

sg_value *sg_cross_entropy_dx(sg_graph *g, sg_value *p, sg_value *label, sg_value *dloss) {
    sg_value *in[] = {p, label, dloss};

    return sg_node_append(g, &sg_op_cross_entropy_dx, in, 3, 3, NULL);
}

const sg_op sg_op_cross_entropy = {
    .name = "cross_entropy",
    .infer = cross_entropy_infer,
    .grad = cross_entropy_grad,
    .run = cross_entropy_ref,
    .inplace = {0, 1},
};
const sg_op sg_op_cross_entropy_dx = {
    .name = "cross_entropy_dx",
    .infer = cross_entropy_dx_infer,
    .run = cross_entropy_dx_ref,
    .inplace = {1},
};
