/* Complete IoU: ops/detect_ciou.c has the formulas. A thread an anchor; most see at once that
 * theirs has no truth, and the few others compute in double, which these GPUs do at half the speed
 * of f32. The loss adds a block's terms in double, as a tree, and a second kernel the blocks. */
#include <math.h>

#include "channels.h"
#include "ops/detect.h"

#define ASPECT (4.0 / (3.14159265358979323846 * 3.14159265358979323846))
#define TINY   1e-9 /* pixels^2: keeps quotients of boxes without area finite */

typedef struct {
    int64_t count, parts; /* anchors of all pictures, blocks */
} ciou_state;

__device__ static inline double greater(double a, double b) { return a > b ? a : b; }

__device__ static inline double lesser(double a, double b) { return a < b ? a : b; }

/* Everything that value and gradient share, of one box p and its target t; x y z w are xmin ymin
 * xmax ymax. */
typedef struct {
    double w, h, wt, ht;     /* sides */
    double iw, ih;           /* of the intersection, 0 if none */
    double inter, all, iou;  /* areas */
    double cw, ch, diagonal; /* the box around both, c^2 */
    double dx, dy, rho;      /* centres' difference p - t, rho^2 */
    double angle;            /* atan(w / h) - atan(wt / ht) */
} box_pair;

__device__ static box_pair pair_of(float4 p, float4 t) {
    box_pair q;

    q.w = (double)p.z - (double)p.x;
    q.h = (double)p.w - (double)p.y;
    q.wt = (double)t.z - (double)t.x;
    q.ht = (double)t.w - (double)t.y;
    q.iw = lesser((double)p.z, (double)t.z) - greater((double)p.x, (double)t.x);
    q.ih = lesser((double)p.w, (double)t.w) - greater((double)p.y, (double)t.y);
    if (q.iw < 0.0 || q.ih < 0.0) q.iw = q.ih = 0.0;
    q.inter = q.iw * q.ih;
    q.all = q.w * q.h + q.wt * q.ht - q.inter + TINY;
    q.iou = q.inter / q.all;
    q.cw = greater((double)p.z, (double)t.z) - lesser((double)p.x, (double)t.x);
    q.ch = greater((double)p.w, (double)t.w) - lesser((double)p.y, (double)t.y);
    q.diagonal = q.cw * q.cw + q.ch * q.ch + TINY;
    q.dx = 0.5 * ((double)p.x + (double)p.z - (double)t.x - (double)t.z);
    q.dy = 0.5 * ((double)p.y + (double)p.w - (double)t.y - (double)t.w);
    q.rho = q.dx * q.dx + q.dy * q.dy;
    q.angle = atan2(q.w, q.h) - atan2(q.wt, q.ht);
    return q;
}

__device__ static inline int64_t anchor_of_thread() {
    return (int64_t)blockIdx.x * kThreads + threadIdx.y;
}

/* --- ciou_alpha ------------------------------------------------------------------------------- */

/* box, target (count) -> alpha (count) */
__global__ void alpha_kernel(const float4 *box, const float4 *target, float *alpha, int64_t count) {
    int64_t i = anchor_of_thread();
    double value = 0.0;

    if (i >= count) return;
    if (target[i].z > target[i].x) { /* else background: no target, no arctangents */
        box_pair q = pair_of(box[i], target[i]);
        double v = ASPECT * q.angle * q.angle;

        value = v / (1.0 - q.iou + v + TINY);
    }
    alpha[i] = (float)value;
}

static sg_status alpha_run(const sg_args *a) {
    const ciou_state *s = static_cast<const ciou_state *>(a->state);

    if (s->count == 0) return SG_OK;
    SG_LAUNCH(alpha_kernel, (unsigned)s->parts, dim3(1, kThreads), 0, (cudaStream_t)a->queue,
              static_cast<const float4 *>(a->in[0]), static_cast<const float4 *>(a->in[1]),
              static_cast<float *>(a->out[0]), s->count);
    return sg_cuda_launched(a);
}

/* --- ciou_loss -------------------------------------------------------------------------------- */

/* box, target, weight, alpha (count) -> part (gridDim.x) */
__global__ void loss_kernel(const float4 *box, const float4 *target, const float *weight,
                            const float *alpha, float *part, int64_t count) {
    SG_SHARED(double, shared, kThreads);
    int64_t i = anchor_of_thread();
    double sum[1] = {0.0};

    if (i < count && weight[i] != 0.0f) {
        box_pair q = pair_of(box[i], target[i]);

        sum[0] = (double)weight[i] *
                 (1.0 - q.iou + q.rho / q.diagonal + (double)alpha[i] * ASPECT * q.angle * q.angle);
    }
    add_rows(shared, sum);
    if (threadIdx.y == 0) part[blockIdx.x] = (float)sum[0];
}

static sg_status loss_run(const sg_args *a) {
    const ciou_state *s = static_cast<const ciou_state *>(a->state);
    float *part = static_cast<float *>(a->scratch);

    if (s->parts > 0) {
        SG_LAUNCH(loss_kernel, (unsigned)s->parts, dim3(1, kThreads), 0, (cudaStream_t)a->queue,
                  static_cast<const float4 *>(a->in[0]), static_cast<const float4 *>(a->in[1]),
                  static_cast<const float *>(a->in[2]), static_cast<const float *>(a->in[3]), part,
                  s->count);
        SG_TRY(sg_cuda_launched(a));
    }
    return sg_cuda_add_parts(a, part, s->parts, 1, 1, static_cast<float *>(a->out[0]), NULL);
}

/* --- ciou_loss_dx ----------------------------------------------------------------------------- */

/* How much of a move of one end counts: all, none, or, where two ends meet, half, so that the
 * gradient at the target itself is 0. */
__device__ static inline double share(double ahead) {
    return ahead > 0.0 ? 1.0 : ahead < 0.0 ? 0.0 : 0.5;
}

/* One axis of a pair: ends of box and target; sides of the other axis; and what stands for this
 * axis in the distance and in the angle. */
typedef struct {
    double lo, hi, lo_t, hi_t, h, ih, reach, shift, aspect;
} axis;

/* d(1 - CIoU) by lo and hi, times `factor`. */
__device__ static void axis_gradient(const box_pair &q, const axis &x, double factor, float *dlo,
                                     float *dhi) {
    bool overlap = q.inter > 0.0;
    /* d inter, d area by (lo, hi) */
    double inter_lo = overlap ? -x.ih * share(x.lo - x.lo_t) : 0.0;
    double inter_hi = overlap ? x.ih * share(x.hi_t - x.hi) : 0.0;
    double area_lo = -x.h, area_hi = x.h;
    /* d iou = (d inter * all - inter * (d area - d inter)) / all^2 */
    double all2 = q.all * q.all;
    double iou_lo = (inter_lo * q.all - q.inter * (area_lo - inter_lo)) / all2;
    double iou_hi = (inter_hi * q.all - q.inter * (area_hi - inter_hi)) / all2;
    /* d rho^2 = shift (of either end); d c^2 = 2 reach where this end is the outermost */
    double c2 = q.diagonal * q.diagonal;
    double far_lo = -2.0 * x.reach * share(x.lo_t - x.lo);
    double far_hi = 2.0 * x.reach * share(x.hi - x.hi_t);

    *dlo = (float)(factor * (-iou_lo + (x.shift * q.diagonal - q.rho * far_lo) / c2 - x.aspect));
    *dhi = (float)(factor * (-iou_hi + (x.shift * q.diagonal - q.rho * far_hi) / c2 + x.aspect));
}

/* d of one box, times `factor`. */
__device__ static float4 gradient_of(float4 p, float4 t, double alpha, double factor) {
    box_pair q = pair_of(p, t);
    /* d atan(w / h) = (h dw - w dh) / (w^2 + h^2) */
    double turn = 2.0 * alpha * ASPECT * q.angle / (q.w * q.w + q.h * q.h + TINY);
    axis x = {(double)p.x, (double)p.z, (double)t.x, (double)t.z, q.h,
              q.ih,        q.cw,        q.dx,        turn * q.h};
    axis y = {(double)p.y, (double)p.w, (double)t.y, (double)t.w, q.w,
              q.iw,        q.ch,        q.dy,        -turn * q.w};
    float4 d;

    axis_gradient(q, x, factor, &d.x, &d.z);
    axis_gradient(q, y, factor, &d.y, &d.w);
    return d;
}

/* box, target, weight, alpha (count) -> dbox (count) */
__global__ void loss_dx_kernel(const float4 *box, const float4 *target, const float *weight,
                               const float *alpha, const float *dloss, float4 *dbox,
                               int64_t count) {
    int64_t i = anchor_of_thread();
    float4 d = {0.0f, 0.0f, 0.0f, 0.0f};

    if (i >= count) return;
    if (weight[i] != 0.0f)
        d = gradient_of(box[i], target[i], (double)alpha[i], (double)dloss[0] * (double)weight[i]);
    dbox[i] = d;
}

static sg_status loss_dx_run(const sg_args *a) {
    const ciou_state *s = static_cast<const ciou_state *>(a->state);

    if (s->count == 0) return SG_OK;
    SG_LAUNCH(loss_dx_kernel, (unsigned)s->parts, dim3(1, kThreads), 0, (cudaStream_t)a->queue,
              static_cast<const float4 *>(a->in[0]), static_cast<const float4 *>(a->in[1]),
              static_cast<const float *>(a->in[2]), static_cast<const float *>(a->in[3]),
              static_cast<const float *>(a->in[4]), static_cast<float4 *>(a->out[0]), s->count);
    return sg_cuda_launched(a);
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status select_in(const sg_node *node, sg_kernel run, sg_kernel_plan *plan) {
    ciou_state s = {node->in[0]->shape.dim[0] * node->in[0]->shape.dim[1], 0};

    s.parts = blocks_for(s.count, kThreads);
    sg_cuda_plan(plan, node, run, SG_CUDA_PLAIN);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}

extern "C" sg_status sg_cuda_select_ciou_alpha(sg_cuda *, const sg_node *node, const sg_layout *,
                                               sg_kernel_plan *plan) {
    return select_in(node, alpha_run, plan);
}

extern "C" sg_status sg_cuda_select_ciou_loss(sg_cuda *, const sg_node *node, const sg_layout *,
                                              sg_kernel_plan *plan) {
    SG_TRY(select_in(node, loss_run, plan));
    plan->scratch = (size_t) static_cast<const ciou_state *>(plan->state)->parts * sizeof(float);
    return SG_OK;
}

extern "C" sg_status sg_cuda_select_ciou_loss_dx(sg_cuda *, const sg_node *node, const sg_layout *,
                                                 sg_kernel_plan *plan) {
    return select_in(node, loss_dx_run, plan);
}
