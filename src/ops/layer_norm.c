/* Layer normalization over the last axis (Ba, Kiros and Hinton, 2016), with the residual that comes
 * before it in a transformer, and its gradient.
 *
 *   s = x [+ residual],  mean_m = sum_c s / C,  v_m = sum_c (s - mean_m)^2 / C
 *   rstd_m = 1 / sqrt(v_m + eps),  xh = (s - mean_m) rstd_m,  y = gamma_c xh + beta_c
 *
 * x, residual, s, y: (M, C) or (N, T, C), M = N T; gamma, beta: (C); mean, rstd: (M). s is an
 * output where there is a residual: a block that normalises first (pre-norm) adds the next residual
 * to it, one that normalises last (post-norm) goes on with y; both need it for the gradient. Where
 * s is rounded, it is the rounded one that is normalised.
 *
 * Variance: every backend takes two passes, of the second also the sum of deviations, which
 * corrects for the rounding of the mean (T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for
 * computing the sample variance", The American Statistician 37, 1983, their 1.7). A row lies in
 * registers or in the nearest cache, so the second pass costs next to nothing; sums of squares in
 * one pass would lose the variance of rows far from zero, which residual streams are.
 *
 * Backward, with g = gamma dy, and ds what arrives at s from elsewhere:
 *
 *   dx = rstd (g - sum_c g / C - xh sum_c g xh / C) [+ ds]
 *   dgamma = sum_m dy xh,  dbeta = sum_m dy
 *
 * and dx is the residual's gradient too. Statistics take no gradient. */
#include "ops/ops.h"

#include <math.h>

typedef struct {
    int64_t M, C;
} sizes;

static sizes sizes_of(const sg_value *x) {
    sizes s = {1, x->shape.dim[x->shape.rank - 1]};

    for (int d = 0; d + 1 < x->shape.rank; d++) s.M *= x->shape.dim[d];
    return s;
}

/* Input i is f32 and has `count` numbers, one a column or one a row. */
static sg_status expect_vector(const sg_node *node, int i, int64_t count, const char *of) {
    SG_TRY(sg_op_expect(node, i, SG_F32, 1));
    if (node->in[i]->shape.dim[0] != count)
        return sg_op_fail(node, "input %d needs one number a %s", i, of);
    return SG_OK;
}

static sg_status expect_rows(const sg_node *node, int i) {
    SG_TRY(sg_op_expect(node, i, SG_F32, -1));
    if (!sg_shape_equal(&node->in[i]->shape, &node->in[0]->shape))
        return sg_op_fail(node, "input %d must have the shape of input 0", i);
    if (node->in[i]->shape.rank != 2 && node->in[i]->shape.rank != 3)
        return sg_op_fail(node, "input %d must be (M, C) or (N, T, C)", i);
    return SG_OK;
}

/* --- layer_norm ------------------------------------------------------------------------------- */

static sg_status layer_norm_infer(sg_node *node) {
    const sg_norm_attr *attr = node->attr;
    sizes s;

    SG_TRY(expect_rows(node, 0));
    s = sizes_of(node->in[0]);
    SG_TRY(expect_vector(node, 1, s.C, "column"));
    SG_TRY(expect_vector(node, 2, s.C, "column"));
    if (node->in[3]) SG_TRY(expect_rows(node, 3));
    if (!(attr->eps > 0.0f)) return sg_op_fail(node, "eps must be above 0");
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    sg_op_out(node, 1, SG_F32, sg_shape_1(s.M));
    sg_op_out(node, 2, SG_F32, sg_shape_1(s.M));
    if (node->in[3]) sg_op_out(node, 3, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status layer_norm_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *x = node->in[0], *gamma = node->in[1], *beta = node->in[2], *residual = node->in[3];
    sg_value *s = residual ? &node->out[3] : x, *ds = residual ? dy[3] : NULL;
    sg_value *dx = ds;

    if (dy[1] || dy[2])
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s (layer_norm): no gradient passes its mean or rstd; use sg_stop_gradient",
                       node->name);
    if (dy[0]) {
        dx = sg_layer_norm_dx(g, sg_again(g, s), gamma, &node->out[1], &node->out[2], dy[0], ds);
        SG_TRY(sg_accumulate(g, gamma, dx ? &dx->node->out[1] : NULL));
        SG_TRY(sg_accumulate(g, beta, dx ? &dx->node->out[2] : NULL));
    }
    SG_TRY(sg_accumulate(g, x, dx));
    return sg_accumulate(g, residual, dx);
}

static void row_ref(const float *s, const float *gamma, const float *beta, int64_t C, float eps,
                    float *y, float *mean, float *rstd) {
    double m = 0.0, ss = 0.0, r;

    for (int64_t c = 0; c < C; c++) m += (double)s[c];
    if (C > 0) m /= (double)C;
    for (int64_t c = 0; c < C; c++) ss += ((double)s[c] - m) * ((double)s[c] - m);
    r = 1.0 / sqrt((C > 0 ? ss / (double)C : 0.0) + (double)eps);
    *mean = (float)m;
    *rstd = (float)r;
    for (int64_t c = 0; c < C; c++)
        y[c] = (float)((double)gamma[c] * ((double)s[c] - m) * r + (double)beta[c]);
}

static sg_status layer_norm_ref(const sg_args *args) {
    const sg_norm_attr *attr = args->node->attr;
    sizes n = sizes_of(args->node->in[0]);
    const float *x = args->in[0], *residual = args->in[3];
    float *y = args->out[0], *mean = args->out[1], *rstd = args->out[2], *s = args->out[3];

    if (residual)
        for (int64_t i = 0; i < n.M * n.C; i++) s[i] = x[i] + residual[i];
    for (int64_t m = 0; m < n.M; m++)
        row_ref((residual ? s : x) + m * n.C, args->in[1], args->in[2], n.C, attr->eps, y + m * n.C,
                mean + m, rstd + m);
    return SG_OK;
}

sg_value *sg_layer_norm(sg_graph *g, sg_value *x, sg_value *gamma, sg_value *beta,
                        sg_value *residual, float eps) {
    sg_value *in[] = {x, gamma, beta, residual};
    sg_norm_attr attr = {eps, SG_ACT_NONE};

    return sg_node_append(g, &sg_op_layer_norm, in, 4, 3, &attr);
}

const sg_op sg_op_layer_norm = {
    .name = "layer_norm",
    .attr_size = sizeof(sg_norm_attr),
    .infer = layer_norm_infer,
    .grad = layer_norm_grad,
    .run = layer_norm_ref,
    .inplace = {1, 0, 0, 4},
};

/* --- layer_norm_dx ---------------------------------------------------------------------------- */

static sg_status layer_norm_dx_infer(sg_node *node) {
    sizes s;

    SG_TRY(expect_rows(node, 0));
    s = sizes_of(node->in[0]);
    SG_TRY(expect_vector(node, 1, s.C, "column"));
    SG_TRY(expect_vector(node, 2, s.M, "row"));
    SG_TRY(expect_vector(node, 3, s.M, "row"));
    SG_TRY(expect_rows(node, 4));
    if (node->in[5]) SG_TRY(expect_rows(node, 5));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    sg_op_out(node, 1, SG_F32, sg_shape_1(s.C));
    sg_op_out(node, 2, SG_F32, sg_shape_1(s.C));
    return SG_OK;
}

static void columns_ref(const sg_args *args, sizes n) {
    const float *s = args->in[0], *mean = args->in[2], *rstd = args->in[3], *dy = args->in[4];
    float *dgamma = args->out[1], *dbeta = args->out[2];

    for (int64_t c = 0; c < n.C; c++) {
        double dot = 0.0, sum = 0.0;

        for (int64_t m = 0; m < n.M; m++) {
            int64_t i = m * n.C + c;

            dot += (double)dy[i] * ((double)s[i] - (double)mean[m]) * (double)rstd[m];
            sum += (double)dy[i];
        }
        dgamma[c] = (float)dot;
        dbeta[c] = (float)sum;
    }
}

static sg_status layer_norm_dx_ref(const sg_args *args) {
    sizes n = sizes_of(args->node->in[0]);
    const float *s = args->in[0], *gamma = args->in[1], *mean = args->in[2], *rstd = args->in[3];
    const float *dy = args->in[4], *ds = args->in[5];
    float *dx = args->out[0];

    columns_ref(args, n); /* before dx, which may lie where dy does */
    for (int64_t m = 0; m < n.M; m++) {
        double mu = (double)mean[m], r = (double)rstd[m], sum = 0.0, dot = 0.0;

        for (int64_t c = 0, i = m * n.C; c < n.C; c++, i++) {
            double g = (double)gamma[c] * (double)dy[i];

            sum += g;
            dot += g * ((double)s[i] - mu) * r;
        }
        for (int64_t c = 0, i = m * n.C; c < n.C; c++, i++) {
            double g = (double)gamma[c] * (double)dy[i], xh = ((double)s[i] - mu) * r;

            dx[i] = (float)(r * (g - (sum + xh * dot) / (double)n.C) + (ds ? (double)ds[i] : 0.0));
        }
    }
    return SG_OK;
}

sg_value *sg_layer_norm_dx(sg_graph *g, sg_value *s, sg_value *gamma, sg_value *mean,
                           sg_value *rstd, sg_value *dy, sg_value *ds) {
    sg_value *in[] = {s, gamma, mean, rstd, dy, ds};

    return sg_node_append(g, &sg_op_layer_norm_dx, in, 6, 5, NULL);
}

const sg_op sg_op_layer_norm_dx = {
    .name = "layer_norm_dx",
    .infer = layer_norm_dx_infer,
    .run = layer_norm_dx_ref,
    .inplace = {5},
};
