/* Complete IoU (Zheng et al., "Distance-IoU Loss", AAAI 2020).
 *
 *   CIoU = IoU - rho^2 / c^2 - alpha v
 *   rho  distance of the centres,  c  diagonal of the smallest box around both
 *   v    = 4 / pi^2 (atan(wt / ht) - atan(w / h))^2,  alpha = v / (1 - IoU + v)
 *
 *   ciou_alpha    alpha of each anchor: a factor, through which no gradient passes
 *   ciou_loss     sum over anchors of weight * (1 - CIoU)
 *   ciou_loss_dx  its gradient for the boxes
 *
 * boxes, target, dboxes (N, A, 4) xyxy; weight, alpha (N, A). The factor 1 / (w^2 + h^2) of v's
 * gradient, which the paper replaces by 1, is kept: in raw sizes it becomes w h / (w^2 + h^2), at
 * most 1/2. Computed in double: only the few anchors of weight above 0 are looked at. */
#include <math.h>

#include "ops/detect.h"

#define ASPECT (4.0 / (3.14159265358979323846 * 3.14159265358979323846))
static const double kTiny = 1e-9; // pixels^2: keeps quotients of boxes without area finite

enum { XMIN, YMIN, XMAX, YMAX };

static double greater(double a, double b) { return a > b ? a : b; }

static double lesser(double a, double b) { return a < b ? a : b; }

/* Everything that value and gradient share, of one box p and its target t. */
typedef struct {
    double w, h, wt, ht;     /* sides */
    double iw, ih;           /* of the intersection, 0 if none */
    double inter, all, iou;  /* areas */
    double cw, ch, diagonal; /* the box around both, c^2 */
    double dx, dy, rho;      /* centres' difference p - t, rho^2 */
    double angle;            /* atan(w / h) - atan(wt / ht) */
} pair;

static pair pair_of(const float *p, const float *t) {
    pair q;

    q.w = (double)p[XMAX] - (double)p[XMIN];
    q.h = (double)p[YMAX] - (double)p[YMIN];
    q.wt = (double)t[XMAX] - (double)t[XMIN];
    q.ht = (double)t[YMAX] - (double)t[YMIN];
    q.iw = lesser((double)p[XMAX], (double)t[XMAX]) - greater((double)p[XMIN], (double)t[XMIN]);
    q.ih = lesser((double)p[YMAX], (double)t[YMAX]) - greater((double)p[YMIN], (double)t[YMIN]);
    if (q.iw < 0.0 || q.ih < 0.0) q.iw = q.ih = 0.0;
    q.inter = q.iw * q.ih;
    q.all = q.w * q.h + q.wt * q.ht - q.inter + kTiny;
    q.iou = q.inter / q.all;
    q.cw = greater((double)p[XMAX], (double)t[XMAX]) - lesser((double)p[XMIN], (double)t[XMIN]);
    q.ch = greater((double)p[YMAX], (double)t[YMAX]) - lesser((double)p[YMIN], (double)t[YMIN]);
    q.diagonal = q.cw * q.cw + q.ch * q.ch + kTiny;
    q.dx = 0.5 * ((double)p[XMIN] + (double)p[XMAX] - (double)t[XMIN] - (double)t[XMAX]);
    q.dy = 0.5 * ((double)p[YMIN] + (double)p[YMAX] - (double)t[YMIN] - (double)t[YMAX]);
    q.rho = q.dx * q.dx + q.dy * q.dy;
    q.angle = atan2(q.w, q.h) - atan2(q.wt, q.ht);
    return q;
}

static sg_status check_boxes(const sg_node *node) {
    const sg_shape *shape = &node->in[0]->shape;
    sg_shape list = sg_shape_2(shape->dim[0], shape->dim[1]);

    for (int i = 0; i < node->n_in; i++)
        if (node->in[i]->dtype != SG_F32) return sg_op_fail(node, "inputs must be f32");
    if (shape->rank != 3 || shape->dim[2] != 4 || !sg_shape_equal(shape, &node->in[1]->shape))
        return sg_op_fail(node, "boxes and target must be (N, A, 4)");
    for (int i = 2; i < node->n_in && i < 4; i++)
        if (!sg_shape_equal(&list, &node->in[i]->shape))
            return sg_op_fail(node, "weight and alpha must be (N, A)");
    if (node->n_in == 5 && node->in[4]->shape.rank != 0)
        return sg_op_fail(node, "dloss must be a scalar");
    return SG_OK;
}

/* --- ciou_alpha ------------------------------------------------------------------------------- */

sg_value *sg_ciou_alpha(sg_graph *g, sg_value *boxes, sg_value *target) {
    sg_value *in[] = {boxes, target};

    return sg_node_append(g, &sg_op_ciou_alpha, in, 2, 2, NULL);
}

static sg_status ciou_alpha_infer(sg_node *node) {
    SG_TRY(check_boxes(node));
    sg_op_out(node, 0, SG_F32, sg_shape_2(node->in[0]->shape.dim[0], node->in[0]->shape.dim[1]));
    return SG_OK;
}

static sg_status ciou_alpha_ref(const sg_args *a) {
    int64_t count = sg_shape_count(&a->node->out[0].shape);
    const float *box = a->in[0];    // (count, 4)
    const float *target = a->in[1]; // (count, 4)
    float *alpha = a->out[0];       // (count)

    for (int64_t i = 0; i < count; i++, box += 4, target += 4) {
        pair q;
        double v;

        alpha[i] = 0.0f;
        if (!(target[XMAX] > target[XMIN])) continue; // background: no target, no arctangents
        q = pair_of(box, target);
        v = ASPECT * q.angle * q.angle;
        alpha[i] = (float)(v / (1.0 - q.iou + v + kTiny));
    }
    return SG_OK;
}

const sg_op sg_op_ciou_alpha = {
    .name = "ciou_alpha",
    .infer = ciou_alpha_infer,
    .run = ciou_alpha_ref,
    .stops_gradient = true,
};

/* --- ciou_loss -------------------------------------------------------------------------------- */

sg_value *sg_ciou_loss(sg_graph *g, sg_value *boxes, sg_value *target, sg_value *weight,
                       sg_value *alpha) {
    sg_value *in[] = {boxes, target, weight, alpha};

    return sg_node_append(g, &sg_op_ciou_loss, in, 4, 4, NULL);
}

static sg_status ciou_loss_infer(sg_node *node) {
    SG_TRY(check_boxes(node));
    sg_op_out(node, 0, SG_F32, sg_shape_0());
    return SG_OK;
}

static sg_status ciou_loss_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value **in = node->in;

    for (int i = 1; i < 4; i++)
        if (sg_wants_grad(in[i]))
            return sg_fail(SG_ERR_UNSUPPORTED,
                           "%s: gradient passes to the boxes alone: stop the others first",
                           node->name);
    return sg_accumulate(g, in[0], sg_ciou_loss_dx(g, in[0], in[1], in[2], in[3], dy[0]));
}

static sg_status ciou_loss_ref(const sg_args *a) {
    int64_t count = sg_shape_count(&a->node->in[2]->shape);
    const float *box = a->in[0];    // (count, 4)
    const float *target = a->in[1]; // (count, 4)
    const float *weight = a->in[2]; // (count)
    const float *alpha = a->in[3];  // (count)
    double sum = 0.0;

    for (int64_t i = 0; i < count; i++, box += 4, target += 4) {
        pair q;

        if (weight[i] == 0.0f) continue;
        q = pair_of(box, target);
        sum += (double)weight[i] *
               (1.0 - q.iou + q.rho / q.diagonal + (double)alpha[i] * ASPECT * q.angle * q.angle);
    }
    *(float *)a->out[0] = (float)sum;
    return SG_OK;
}

const sg_op sg_op_ciou_loss = {
    .name = "ciou_loss",
    .infer = ciou_loss_infer,
    .grad = ciou_loss_grad,
    .run = ciou_loss_ref,
};

/* --- ciou_loss_dx ----------------------------------------------------------------------------- */

sg_value *sg_ciou_loss_dx(sg_graph *g, sg_value *boxes, sg_value *target, sg_value *weight,
                          sg_value *alpha, sg_value *dloss) {
    sg_value *in[] = {boxes, target, weight, alpha, dloss};

    return sg_node_append(g, &sg_op_ciou_loss_dx, in, 5, 5, NULL);
}

static sg_status ciou_loss_dx_infer(sg_node *node) {
    SG_TRY(check_boxes(node));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

/* How much of a move of one end counts: all, none, or, where two ends meet, half, so that the
 * gradient at the target itself is 0. */
static double share(double ahead) { return ahead > 0.0 ? 1.0 : ahead < 0.0 ? 0.0 : 0.5; }

/* d(1 - CIoU) by the two coordinates of one axis: `lo` and `hi` of box and target, the sides w of
 * this axis and h of the other, `ih` the other side of the intersection. */
static void axis_gradient(const pair *q, double lo, double hi, double lo_t, double hi_t, double h,
                          double ih, double reach, double shift, double aspect, double out[2]) {
    bool overlap = q->inter > 0.0;
    /* d inter, d area by (lo, hi) */
    double inter_lo = overlap ? -ih * share(lo - lo_t) : 0.0;
    double inter_hi = overlap ? ih * share(hi_t - hi) : 0.0;
    double area_lo = -h, area_hi = h;
    /* d iou = (d inter * all - inter * (d area - d inter)) / all^2 */
    double all2 = q->all * q->all;
    double iou_lo = (inter_lo * q->all - q->inter * (area_lo - inter_lo)) / all2;
    double iou_hi = (inter_hi * q->all - q->inter * (area_hi - inter_hi)) / all2;
    /* d rho^2 = shift (of either end); d c^2 = 2 reach where this end is the outermost */
    double c2 = q->diagonal * q->diagonal;
    double far_lo = -2.0 * reach * share(lo_t - lo), far_hi = 2.0 * reach * share(hi - hi_t);

    out[0] = -iou_lo + (shift * q->diagonal - q->rho * far_lo) / c2 - aspect;
    out[1] = -iou_hi + (shift * q->diagonal - q->rho * far_hi) / c2 + aspect;
}

static sg_status ciou_loss_dx_ref(const sg_args *a) {
    int64_t count = sg_shape_count(&a->node->in[2]->shape);
    const float *box = a->in[0];    // (count, 4)
    const float *target = a->in[1]; // (count, 4)
    const float *weight = a->in[2]; // (count)
    const float *alpha = a->in[3];  // (count)
    double dloss = (double)*(const float *)a->in[4];
    float *dbox = a->out[0]; // (count, 4)

    for (int64_t i = 0; i < count; i++, box += 4, target += 4, dbox += 4) {
        double factor = dloss * (double)weight[i], turn, dx[2], dy[2];
        pair q;

        dbox[XMIN] = dbox[YMIN] = dbox[XMAX] = dbox[YMAX] = 0.0f;
        if (weight[i] == 0.0f) continue;
        q = pair_of(box, target);
        /* d atan(w / h) = (h dw - w dh) / (w^2 + h^2) */
        turn = 2.0 * (double)alpha[i] * ASPECT * q.angle / (q.w * q.w + q.h * q.h + kTiny);
        axis_gradient(&q, (double)box[XMIN], (double)box[XMAX], (double)target[XMIN],
                      (double)target[XMAX], q.h, q.ih, q.cw, q.dx, turn * q.h, dx);
        axis_gradient(&q, (double)box[YMIN], (double)box[YMAX], (double)target[YMIN],
                      (double)target[YMAX], q.w, q.iw, q.ch, q.dy, -turn * q.w, dy);
        dbox[XMIN] = (float)(factor * dx[0]);
        dbox[XMAX] = (float)(factor * dx[1]);
        dbox[YMIN] = (float)(factor * dy[0]);
        dbox[YMAX] = (float)(factor * dy[1]);
    }
    return SG_OK;
}

const sg_op sg_op_ciou_loss_dx = {
    .name = "ciou_loss_dx",
    .infer = ciou_loss_dx_infer,
    .run = ciou_loss_dx_ref,
};
