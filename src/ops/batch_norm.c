/* Batch normalization fused with activation and residual (Ioffe and Szegedy, 2015), its gradient,
 * and its folding into filters for inference.
 *
 *   mean_c = sum x / n,  v_c = sum (x - mean_c)^2 / n,  rstd_c = 1 / sqrt(v_c + eps)
 *   xh = (x - mean_c) rstd_c,  z = gamma_c xh + beta_c,  y = act(z) [+ residual]
 *
 * over the n = N H W elements of channel c. The output var is unbiased, sum / (n - 1) (0 where
 * n = 1), as running statistics want it. Backward, with dz = dy act'(z):
 *
 *   dbeta = sum dz,  dgamma = sum dz xh,  dx = gamma rstd (dz - dbeta / n - xh dgamma / n)
 *
 * and the residual's gradient is dy itself. Statistics take no gradient: sg_stat_into only. y is
 * not kept for the backward pass: batch_norm_again makes it from x, which is.
 *
 *   norm_fold  r = gamma / sqrt(var + eps),  w' = r w,  b' = beta - r mean */
#include "ops/ops.h"

#include <math.h>

/* Inputs from..to-1 are f32 vectors of C numbers. */
static sg_status expect_channels(const sg_node *node, int from, int to, int64_t C) {
    for (int i = from; i < to; i++) {
        SG_TRY(sg_op_expect(node, i, SG_F32, 1));
        if (node->in[i]->shape.dim[0] != C)
            return sg_op_fail(node, "input %d needs one number a channel", i);
    }
    return SG_OK;
}

static sg_status expect_like_x(const sg_node *node, int i) {
    SG_TRY(sg_op_expect(node, i, SG_F32, 4));
    if (!sg_shape_equal(&node->in[i]->shape, &node->in[0]->shape))
        return sg_op_fail(node, "input %d must have the shape of input 0", i);
    return SG_OK;
}

/* Element i of the n in channel c: images of `area` pixels, C channels each. */
static int64_t at(int64_t i, int64_t c, int64_t C, int64_t area) {
    return (i / area * C + c) * area + i % area;
}

/* --- batch_norm ------------------------------------------------------------------------------- */

static sg_status batch_norm_infer(sg_node *node) {
    const sg_norm_attr *attr = node->attr;
    int64_t C;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    C = node->in[0]->shape.dim[1];
    SG_TRY(expect_channels(node, 1, 3, C));
    if (node->in[3]) SG_TRY(expect_like_x(node, 3));
    if (!(attr->eps > 0.0f)) return sg_op_fail(node, "eps must be above 0");
    if (attr->act == SG_ACT_GELU) return sg_op_fail(node, "gelu is for linear layers");
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    for (int o = 1; o <= 3; o++) sg_op_out(node, o, SG_F32, sg_shape_1(C));
    return SG_OK;
}

static sg_status batch_norm_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_norm_attr *attr = node->attr;
    sg_value *x = node->in[0], *gamma = node->in[1], *beta = node->in[2];
    sg_value *dx;

    if (dy[1] || dy[2] || dy[3])
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s (batch_norm): no gradient passes its mean, rstd or var; use "
                       "sg_stop_gradient",
                       node->name);
    SG_TRY(sg_accumulate(g, node->in[3], dy[0]));
    if (!sg_wants_grad(x) && !sg_wants_grad(gamma) && !sg_wants_grad(beta)) return SG_OK;
    dx = sg_batch_norm_dx(g, x, gamma, beta, &node->out[1], &node->out[2], dy[0], attr->eps,
                          attr->act);
    SG_TRY(sg_accumulate(g, x, dx));
    SG_TRY(sg_accumulate(g, gamma, dx ? &dx->node->out[1] : NULL));
    return sg_accumulate(g, beta, dx ? &dx->node->out[2] : NULL);
}

/* y = act(gamma (x - mean) rstd + beta) [+ r], of x, gamma and beta in args */
static void apply_ref(const sg_args *args, const float *mean, const float *rstd, const float *r,
                      float *y) {
    const sg_norm_attr *attr = args->node->attr;
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t C = s->dim[1], area = s->dim[2] * s->dim[3], n = s->dim[0] * area;
    const float *x = args->in[0], *gamma = args->in[1], *beta = args->in[2];

    for (int64_t c = 0; c < C; c++) {
        double scale = (double)gamma[c] * (double)rstd[c];

        for (int64_t i = 0; i < n; i++) {
            int64_t e = at(i, c, C, area);
            double z = scale * ((double)x[e] - (double)mean[c]) + (double)beta[c];

            y[e] = (float)(sg_act_value(attr->act, z) + (r ? (double)r[e] : 0.0));
        }
    }
}

static sg_status batch_norm_ref(const sg_args *args) {
    const sg_norm_attr *attr = args->node->attr;
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t C = s->dim[1], area = s->dim[2] * s->dim[3], n = s->dim[0] * area;
    const float *x = args->in[0];
    float *mean = args->out[1], *rstd = args->out[2], *var = args->out[3];

    for (int64_t c = 0; c < C; c++) {
        double m = 0.0, ss = 0.0;

        for (int64_t i = 0; i < n; i++) m += (double)x[at(i, c, C, area)];
        if (n > 0) m /= (double)n;
        for (int64_t i = 0; i < n; i++) {
            double d = (double)x[at(i, c, C, area)] - m;

            ss += d * d;
        }
        mean[c] = (float)m;
        rstd[c] = (float)(1.0 / sqrt((n > 0 ? ss / (double)n : 0.0) + (double)attr->eps));
        var[c] = (float)(n > 1 ? ss / (double)(n - 1) : ss);
    }
    apply_ref(args, mean, rstd, args->in[3], args->out[0]);
    return SG_OK;
}

static sg_value *batch_norm_again(sg_graph *g, sg_node *node) {
    const sg_norm_attr *attr = node->attr;

    return sg_batch_norm_again(g, node->in[0], node->in[1], node->in[2], &node->out[1],
                               &node->out[2], sg_again(g, node->in[3]), attr->eps, attr->act);
}

sg_value *sg_batch_norm(sg_graph *g, sg_value *x, sg_value *gamma, sg_value *beta,
                        sg_value *residual, float eps, sg_act act) {
    sg_value *in[] = {x, gamma, beta, residual};
    sg_norm_attr attr = {eps, act};

    return sg_node_append(g, &sg_op_batch_norm, in, 4, 3, &attr);
}

const sg_op sg_op_batch_norm = {
    .name = "batch_norm",
    .attr_size = sizeof(sg_norm_attr),
    .infer = batch_norm_infer,
    .grad = batch_norm_grad,
    .again = batch_norm_again,
    .run = batch_norm_ref,
    .inplace = {1},
};

/* --- batch_norm_again ------------------------------------------------------------------------- */

static sg_status batch_norm_again_infer(sg_node *node) {
    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    SG_TRY(expect_channels(node, 1, 5, node->in[0]->shape.dim[1]));
    if (node->in[5]) SG_TRY(expect_like_x(node, 5));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status batch_norm_again_ref(const sg_args *args) {
    apply_ref(args, args->in[3], args->in[4], args->in[5], args->out[0]);
    return SG_OK;
}

sg_value *sg_batch_norm_again(sg_graph *g, sg_value *x, sg_value *gamma, sg_value *beta,
                              sg_value *mean, sg_value *rstd, sg_value *residual, float eps,
                              sg_act act) {
    sg_value *in[] = {x, gamma, beta, mean, rstd, residual};
    sg_norm_attr attr = {eps, act};

    return sg_node_append(g, &sg_op_batch_norm_again, in, 6, 5, &attr);
}

const sg_op sg_op_batch_norm_again = {
    .name = "batch_norm_again",
    .attr_size = sizeof(sg_norm_attr),
    .infer = batch_norm_again_infer,
    .run = batch_norm_again_ref,
    .inplace = {1},
};

/* --- batch_norm_dx ---------------------------------------------------------------------------- */

static sg_status batch_norm_dx_infer(sg_node *node) {
    int64_t C;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    C = node->in[0]->shape.dim[1];
    SG_TRY(expect_channels(node, 1, 5, C));
    SG_TRY(expect_like_x(node, 5));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    sg_op_out(node, 1, SG_F32, sg_shape_1(C));
    sg_op_out(node, 2, SG_F32, sg_shape_1(C));
    return SG_OK;
}

static sg_status batch_norm_dx_ref(const sg_args *args) {
    const sg_norm_attr *attr = args->node->attr;
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t C = s->dim[1], area = s->dim[2] * s->dim[3], n = s->dim[0] * area;
    const float *x = args->in[0], *gamma = args->in[1], *beta = args->in[2];
    const float *mean = args->in[3], *rstd = args->in[4], *dy = args->in[5];
    float *dx = args->out[0], *dgamma = args->out[1], *dbeta = args->out[2];

    for (int64_t c = 0; c < C; c++) {
        double m = (double)mean[c], r = (double)rstd[c];
        double scale = (double)gamma[c], shift = (double)beta[c];
        double sum = 0.0, dot = 0.0; /* of dz; of dz and xh */

        for (int64_t i = 0; i < n; i++) {
            int64_t e = at(i, c, C, area);
            double xh = ((double)x[e] - m) * r;
            double dz = (double)dy[e] * sg_act_slope(attr->act, scale * xh + shift);

            sum += dz;
            dot += dz * xh;
        }
        dgamma[c] = (float)dot;
        dbeta[c] = (float)sum;
        for (int64_t i = 0; i < n; i++) {
            int64_t e = at(i, c, C, area);
            double xh = ((double)x[e] - m) * r;
            double dz = (double)dy[e] * sg_act_slope(attr->act, scale * xh + shift);

            dx[e] = (float)(scale * r * (dz - (sum + xh * dot) / (double)n));
        }
    }
    return SG_OK;
}

sg_value *sg_batch_norm_dx(sg_graph *g, sg_value *x, sg_value *gamma, sg_value *beta,
                           sg_value *mean, sg_value *rstd, sg_value *dy, float eps, sg_act act) {
    sg_value *in[] = {x, gamma, beta, mean, rstd, dy};
    sg_norm_attr attr = {eps, act};

    return sg_node_append(g, &sg_op_batch_norm_dx, in, 6, 6, &attr);
}

const sg_op sg_op_batch_norm_dx = {
    .name = "batch_norm_dx",
    .attr_size = sizeof(sg_norm_attr),
    .infer = batch_norm_dx_infer,
    .run = batch_norm_dx_ref,
    .inplace = {6},
};

/* --- norm_fold -------------------------------------------------------------------------------- */

static sg_status norm_fold_infer(sg_node *node) {
    SG_TRY(sg_op_expect(node, 0, SG_F32, 4));
    SG_TRY(expect_channels(node, 1, 5, node->in[0]->shape.dim[0]));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    sg_op_out(node, 1, SG_F32, sg_shape_1(node->in[0]->shape.dim[0]));
    return SG_OK;
}

static sg_status norm_fold_ref(const sg_args *args) {
    const sg_norm_attr *attr = args->node->attr;
    const sg_shape *s = &args->node->in[0]->shape;
    int64_t OC = s->dim[0], filter = s->dim[1] * s->dim[2] * s->dim[3];
    const float *w = args->in[0], *gamma = args->in[1], *beta = args->in[2];
    const float *mean = args->in[3], *var = args->in[4];
    float *w_out = args->out[0], *b_out = args->out[1];

    for (int64_t o = 0; o < OC; o++) {
        double r = (double)gamma[o] / sqrt((double)var[o] + (double)attr->eps);

        for (int64_t i = o * filter; i < (o + 1) * filter; i++)
            w_out[i] = (float)(r * (double)w[i]);
        b_out[o] = (float)((double)beta[o] - r * (double)mean[o]);
    }
    return SG_OK;
}

sg_value *sg_norm_fold(sg_graph *g, sg_value *w, sg_value *gamma, sg_value *beta, sg_value *mean,
                       sg_value *var, float eps) {
    sg_value *in[] = {w, gamma, beta, mean, var};
    sg_norm_attr attr = {eps, SG_ACT_NONE};

    return sg_node_append(g, &sg_op_norm_fold, in, 5, 5, &attr);
}

const sg_op sg_op_norm_fold = {
    .name = "norm_fold",
    .attr_size = sizeof(sg_norm_attr),
    .infer = norm_fold_infer,
    .run = norm_fold_ref,
    .inplace = {1},
};
