/* Cross-entropy with a distribution for a target: smoothed and weighted labels, and rows that are
 * each of some of the classes only (one model of several tasks).
 *
 *   candidates of row n   the classes with t_nc >= 0
 *   p_nc = exp(x_nc - m_n) / sum_j exp(x_nj - m_n) over candidates j, 0 for the others
 *   soft_cross_entropy     loss = sum_n sum_c t_nc (log(sum_j exp(x_nj - m_n)) - (x_nc - m_n))
 *   soft_cross_entropy_dx  dx_nc = dloss * (w_n p_nc - t_nc) for candidates, 0 for the others
 *
 * with m_n the greatest x of the row's candidates and w_n the sum of their t. x, t, p, dx: (N, C);
 * loss, dloss: scalars. A t below 0 says that the class is none of the row's. A row without
 * candidates, and one whose t are all 0, adds nothing. */
#include "ops/ops.h"

#include <math.h>

static sg_status expect(const sg_node *node) {
    SG_TRY(sg_op_expect(node, 0, SG_F32, 2));
    return sg_op_expect_same(node, 2);
}

static sg_status infer(sg_node *node) {
    SG_TRY(expect(node));
    sg_op_out(node, 0, SG_F32, sg_shape_0());
    sg_op_out(node, 1, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *x = node->in[0];

    if (dy[1])
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s (soft_cross_entropy): no gradient passes its probabilities; use "
                       "sg_softmax",
                       node->name);
    if (sg_wants_grad(node->in[1]))
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s (soft_cross_entropy): no gradient reaches its target", node->name);
    if (!sg_wants_grad(x)) return SG_OK;
    return sg_accumulate(g, x, sg_soft_cross_entropy_dx(g, &node->out[1], node->in[1], dy[0]));
}

/* What a row adds to the loss; p may be x. */
static double run_row(const float *x, const float *t, float *p, int64_t C) {
    double m = -INFINITY, sum = 0.0, loss = 0.0;

    for (int64_t c = 0; c < C; c++)
        if (t[c] >= 0.0f && (double)x[c] > m) m = (double)x[c];
    for (int64_t c = 0; c < C; c++)
        if (t[c] >= 0.0f) sum += exp((double)x[c] - m);
    for (int64_t c = 0; c < C; c++)
        if (t[c] > 0.0f) loss += (double)t[c] * (log(sum) - ((double)x[c] - m));
    for (int64_t c = 0; c < C; c++)
        p[c] = t[c] >= 0.0f ? (float)(exp((double)x[c] - m) / sum) : 0.0f;
    return loss;
}

static sg_status run(const sg_args *args) {
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t N = s->dim[0], C = s->dim[1];
    double loss = 0.0;

    for (int64_t n = 0; n < N; n++)
        loss += run_row((const float *)args->in[0] + n * C, (const float *)args->in[1] + n * C,
                        (float *)args->out[1] + n * C, C);
    *(float *)args->out[0] = (float)loss;
    return SG_OK;
}

static sg_status dx_infer(sg_node *node) {
    SG_TRY(expect(node));
    SG_TRY(sg_op_expect(node, 2, SG_F32, 0));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status dx_run(const sg_args *args) {
    const sg_shape *s = &args->node->out[0].shape;
    int64_t N = s->dim[0], C = s->dim[1];
    const float *dloss = args->in[2];

    for (int64_t n = 0; n < N; n++) {
        const float *p = (const float *)args->in[0] + n * C; // (C)
        const float *t = (const float *)args->in[1] + n * C; // (C)
        float *dx = (float *)args->out[0] + n * C;           // (C)
        double w = 0.0;

        for (int64_t c = 0; c < C; c++)
            if (t[c] > 0.0f) w += (double)t[c];
        for (int64_t c = 0; c < C; c++) {
            double d = w * (double)p[c] - (double)t[c];

            dx[c] = t[c] >= 0.0f ? (float)((double)dloss[0] * d) : 0.0f;
        }
    }
    return SG_OK;
}

sg_value *sg_soft_cross_entropy(sg_graph *g, sg_value *logits, sg_value *target) {
    sg_value *in[] = {logits, target};

    return sg_node_append(g, &sg_op_soft_cross_entropy, in, 2, 2, NULL);
}

sg_value *sg_soft_cross_entropy_dx(sg_graph *g, sg_value *p, sg_value *target, sg_value *dloss) {
    sg_value *in[] = {p, target, dloss};

    return sg_node_append(g, &sg_op_soft_cross_entropy_dx, in, 3, 3, NULL);
}

const sg_op sg_op_soft_cross_entropy = {
    .name = "soft_cross_entropy",
    .infer = infer,
    .grad = grad,
    .run = run,
    .inplace = {0, 1},
};
const sg_op sg_op_soft_cross_entropy_dx = {
    .name = "soft_cross_entropy_dx",
    .infer = dx_infer,
    .run = dx_run,
    .inplace = {1},
};
