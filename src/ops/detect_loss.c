/* Quality focal loss (Li et al., "Generalized Focal Loss", NeurIPS 2020, eq. 3), on logits.
 *
 *   s = sigmoid(z),  d = s - t,  BCE = max(z, 0) - z t + log(1 + exp(-|z|))
 *   quality_focal_loss     sum of |d|^beta * BCE
 *   quality_focal_loss_dx  dz = dloss * (|d|^beta d + beta |d|^(beta-1) sign(d) s (1 - s) BCE)
 *
 * z, t, dz: any shape; the target t in 0 .. 1 is data. beta = 0 is plain cross-entropy; between 0
 * and 1 the derivative has a pole at s = t and is refused. */
#include <math.h>

#include "ops/detect.h"

static sg_status focal_infer(sg_node *node) {
    const sg_focal_attr *attr = node->attr;

    if (!(attr->beta == 0.0f || attr->beta >= 1.0f))
        return sg_op_fail(node, "beta is %g; it must be 0 or at least 1", (double)attr->beta);
    if (node->in[0]->dtype != SG_F32 || node->in[1]->dtype != SG_F32 ||
        !sg_shape_equal(&node->in[0]->shape, &node->in[1]->shape))
        return sg_op_fail(node, "logits and target must be f32 of one shape");
    if (node->n_in == 3 && (node->in[2]->dtype != SG_F32 || node->in[2]->shape.rank != 0))
        return sg_op_fail(node, "dloss must be a scalar");
    sg_op_out(node, 0, SG_F32, node->n_in == 3 ? node->in[0]->shape : sg_shape_0());
    return SG_OK;
}

/* |d|^beta; the usual powers without pow. */
static float power(float d, float beta) {
    d = fabsf(d);
    if (beta == 0.0f) return 1.0f;
    if (beta == 1.0f) return d;
    if (beta == 2.0f) return d * d;
    return powf(d, beta);
}

typedef struct {
    float s, bce;
} logit;

/* One exp and one log, neither of which overflows. */
static logit logit_of(float z, float t) {
    float e = expf(-fabsf(z)); // 0 .. 1
    logit l;

    l.s = (z >= 0.0f ? 1.0f : e) / (1.0f + e);
    l.bce = (z > 0.0f ? z : 0.0f) - z * t + log1pf(e);
    return l;
}

/* --- quality_focal_loss ----------------------------------------------------------------------- */

sg_value *sg_quality_focal_loss(sg_graph *g, sg_value *logits, sg_value *target, float beta) {
    sg_value *in[] = {logits, target};
    sg_focal_attr attr = {.beta = beta};

    return sg_node_append(g, &sg_op_quality_focal_loss, in, 2, 2, &attr);
}

static sg_status focal_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_focal_attr *attr = node->attr;

    if (sg_wants_grad(node->in[1]))
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: no gradient passes to the target: stop it first",
                       node->name);
    return sg_accumulate(g, node->in[0],
                         sg_quality_focal_loss_dx(g, node->in[0], node->in[1], dy[0], attr->beta));
}

static sg_status focal_ref(const sg_args *a) {
    float beta = ((const sg_focal_attr *)a->node->attr)->beta;
    int64_t count = sg_shape_count(&a->node->in[0]->shape);
    const float *z = a->in[0], *t = a->in[1];
    double sum = 0.0;

    for (int64_t i = 0; i < count; i++) {
        logit l = logit_of(z[i], t[i]);

        sum += (double)(power(l.s - t[i], beta) * l.bce);
    }
    *(float *)a->out[0] = (float)sum;
    return SG_OK;
}

const sg_op sg_op_quality_focal_loss = {
    .name = "quality_focal_loss",
    .attr_size = sizeof(sg_focal_attr),
    .infer = focal_infer,
    .grad = focal_grad,
    .run = focal_ref,
};

/* --- quality_focal_loss_dx -------------------------------------------------------------------- */

sg_value *sg_quality_focal_loss_dx(sg_graph *g, sg_value *logits, sg_value *target, sg_value *dloss,
                                   float beta) {
    sg_value *in[] = {logits, target, dloss};
    sg_focal_attr attr = {.beta = beta};

    return sg_node_append(g, &sg_op_quality_focal_loss_dx, in, 3, 3, &attr);
}

static sg_status focal_dx_ref(const sg_args *a) {
    float beta = ((const sg_focal_attr *)a->node->attr)->beta;
    int64_t count = sg_shape_count(&a->node->in[0]->shape);
    const float *z = a->in[0], *t = a->in[1];
    float dloss = *(const float *)a->in[2], *dz = a->out[0];

    for (int64_t i = 0; i < count; i++) {
        logit l = logit_of(z[i], t[i]);
        float d = l.s - t[i], slope = power(d, beta) * d;

        if (beta > 0.0f && d != 0.0f)
            slope += copysignf(beta * power(d, beta - 1.0f), d) * l.s * (1.0f - l.s) * l.bce;
        dz[i] = dloss * slope;
    }
    return SG_OK;
}

const sg_op sg_op_quality_focal_loss_dx = {
    .name = "quality_focal_loss_dx",
    .attr_size = sizeof(sg_focal_attr),
    .infer = focal_infer,
    .run = focal_dx_ref,
    .inplace = {1},
};
