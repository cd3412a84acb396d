/* Which anchor answers for which truth, and how well it is asked to do.
 *
 * Task-aligned assignment (Feng et al., "TOOD", ICCV 2021), with three changes for faces of a few
 * pixels and for the first steps of a run from random weights:
 *
 *   candidates   anchors whose centre lies inside the truth, or within `radius` strides of its
 *                centre along both axes, on every level: a face of 10 pixels holds one or no centre
 *                of stride 8, and this gives it 25 candidates a level.
 *   overlap      u = (1 - prior) IoU + prior * p, where the geometric prior
 *                p = 1 / (1 + d^2 / (stride^2 + w h / 4)) * 1 / (1 + log2(sqrt(w h) / unit)^2)
 *                is 1 for an anchor on the centre (d: distance) of a truth of SG_BOX_UNIT strides.
 *                IoU of a tiny face jumps with every pixel and is 0 for most anchors at first; p
 *                never is, so the order is sensible from the first step, and near the end it is a
 *                mild wish for the centre that thins out duplicates.
 *   alignment    t = score^alpha u^beta, score = sigmoid of the logit of the truth's class
 *   claims       a truth claims its `candidates` best t; an anchor claimed by several goes to the
 *                greatest u. A truth left without gets the best t among anchors that are free or
 *                whose owner has another (in the order of truths; first among candidates, then
 *                among all): with no more truths than anchors each truth has one at least.
 *   target       score = t / max t * max(max IoU, floor), maxima over the truth's own anchors. The
 *                normalisation keeps the best anchor's target from vanishing with t, the floor with
 *                IoU: a truth weighs `floor` at least, however bad its boxes are.
 *
 * Ties go to the lower anchor and the lower truth. A truth without area or of a class outside
 * 0 .. K-1 is left out, and so are those from `count` on. Everything is computed in double; scores
 * that are not a number count as 0 (the loss will show them).
 *
 * The claims live on the stack, an anchor's present claim in the outputs: no scratch memory. */
#include <math.h>
#include <string.h>

#include "ops/detect.h"

sg_assign_attr sg_assign_defaults(const sg_anchors *anchors) {
    sg_assign_attr attr = {.anchors = *anchors,
                           .radius = 2.5f,
                           .class_power = 0.5f,
                           .overlap_power = 6.0f,
                           .prior = 0.1f,
                           .floor = 0.2f,
                           .candidates = 5};

    return attr;
}

sg_value *sg_detect_assign(sg_graph *g, sg_value *logits, sg_value *boxes, sg_value *truth_boxes,
                           sg_value *truth_classes, sg_value *count,
                           const sg_assign_attr *options) {
    sg_value *in[] = {logits, boxes, truth_boxes, truth_classes, count};

    return sg_node_append(g, &sg_op_detect_assign, in, 5, 5, options);
}

static bool options_fit(const sg_assign_attr *o) {
    return o->radius >= 0.0f && o->class_power >= 0.0f && o->overlap_power > 0.0f &&
           o->prior >= 0.0f && o->prior <= 1.0f && o->floor >= 0.0f && o->floor <= 1.0f &&
           o->candidates >= 1 && o->candidates <= SG_ASSIGN_CLAIMS;
}

static sg_status detect_assign_infer(sg_node *node) {
    const sg_assign_attr *o = node->attr;
    const sg_shape *logits = &node->in[0]->shape, *truths = &node->in[2]->shape;
    int64_t N = logits->dim[0], A = sg_anchor_count(&o->anchors), M = truths->dim[1];
    sg_shape boxes = sg_shape_3(N, A, 4), truth_boxes = sg_shape_3(N, M, 4);
    sg_shape classes = sg_shape_2(N, M), count = sg_shape_1(N);

    if (!options_fit(o)) return sg_op_fail(node, "an option is out of its range");
    if (logits->rank != 3 || logits->dim[1] != A || node->in[0]->dtype != SG_F32)
        return sg_op_fail(node, "logits must be f32 (N, %lld, K)", (long long)A);
    if (!sg_shape_equal(&node->in[1]->shape, &boxes) || node->in[1]->dtype != SG_F32)
        return sg_op_fail(node, "boxes must be f32 (N, %lld, 4)", (long long)A);
    if (!sg_shape_equal(truths, &truth_boxes) || node->in[2]->dtype != SG_F32 || M > SG_MAX_TRUTHS)
        return sg_op_fail(node, "truth boxes must be f32 (N, M, 4), M <= %d", SG_MAX_TRUTHS);
    if (!sg_shape_equal(&node->in[3]->shape, &classes) || node->in[3]->dtype != SG_I32 ||
        !sg_shape_equal(&node->in[4]->shape, &count) || node->in[4]->dtype != SG_I32)
        return sg_op_fail(node, "truth classes must be i32 (N, M), count i32 (N)");
    sg_op_out(node, 0, SG_F32, *logits);
    sg_op_out(node, 1, SG_F32, boxes);
    sg_op_out(node, 2, SG_F32, sg_shape_2(N, A));
    sg_op_out(node, 3, SG_I32, sg_shape_2(N, A));
    return SG_OK;
}

/* --- one anchor and one truth ----------------------------------------------------------------- */

/* One picture. */
typedef struct {
    const sg_assign_attr *o;
    int64_t A, K;
    const float *logits; /* (A, K) */
    const float *boxes;  /* (A, 4) */
    const float *truths; /* (M, 4) */
    const int32_t *classes;
    int M;
    float *scores;  /* (A, K) */
    float *targets; /* (A, 4) */
    float *weight;  /* (A); while claims are settled: u of the present claim */
    int32_t *owner; /* (A) */
} picture;

typedef struct {
    double iou, u, t;
} fit;

static double iou_of(const float *a, const float *b) {
    double w = fmin((double)a[2], (double)b[2]) - fmax((double)a[0], (double)b[0]);
    double h = fmin((double)a[3], (double)b[3]) - fmax((double)a[1], (double)b[1]);
    double inter, both;

    if (!(w > 0.0 && h > 0.0)) return 0.0;
    inter = w * h;
    both = ((double)a[2] - (double)a[0]) * ((double)a[3] - (double)a[1]) +
           ((double)b[2] - (double)b[0]) * ((double)b[3] - (double)b[1]) - inter;
    return both > 0.0 ? inter / both : 0.0;
}

static double prior_of(const float *truth, double stride, double x, double y) {
    double w = (double)truth[2] - (double)truth[0], h = (double)truth[3] - (double)truth[1];
    double dx = x - 0.5 * ((double)truth[0] + (double)truth[2]);
    double dy = y - 0.5 * ((double)truth[1] + (double)truth[3]);
    double near = (dx * dx + dy * dy) / (stride * stride + 0.25 * w * h);
    double octaves = log2(sqrt(w * h) / ((double)SG_BOX_UNIT * stride));

    return 1.0 / ((1.0 + near) * (1.0 + octaves * octaves));
}

/* How well anchor `a` of that stride with its centre at (x, y) suits truth `j`. */
static fit fit_of(const picture *p, int64_t a, int j, double stride, double x, double y) {
    const float *truth = p->truths + 4 * j;
    double prior = (double)p->o->prior;
    double z = (double)p->logits[a * p->K + p->classes[j]];
    double score = 1.0 / (1.0 + exp(-z));
    fit f;

    f.iou = iou_of(p->boxes + 4 * a, truth);
    f.u = (1.0 - prior) * f.iou + prior * prior_of(truth, stride, x, y);
    f.t = pow(score, (double)p->o->class_power) * pow(f.u, (double)p->o->overlap_power);
    if (!(f.t > 0.0)) f.t = 0.0;
    return f;
}

static bool truth_counts(const picture *p, int j) {
    const float *t = p->truths + 4 * j;

    return t[2] > t[0] && t[3] > t[1] && isfinite(t[2] - t[0]) && isfinite(t[3] - t[1]) &&
           p->classes[j] >= 0 && p->classes[j] < p->K;
}

/* --- all anchors that may answer for a truth -------------------------------------------------- */

/* Called for each candidate in the order of anchors. */
typedef void (*visit_fn)(void *context, const picture *p, int64_t a, int j, const fit *f);

/* First and last + 1 of `cells` cells whose centres may lie within lo .. hi, with one to spare. */
static void cells_of(double lo, double hi, double stride, int64_t cells, int64_t *first,
                     int64_t *end) {
    double a = floor(lo / stride) - 1.0, b = ceil(hi / stride) + 1.0;

    *first = a < 0.0 ? 0 : a > (double)cells ? cells : (int64_t)a;
    *end = b < 0.0 ? 0 : b > (double)cells ? cells : (int64_t)b;
}

static void visit_level(const picture *p, int j, int level, int64_t start, double radius,
                        visit_fn visit, void *context) {
    const float *t = p->truths + 4 * j;
    double x0 = (double)t[0], y0 = (double)t[1], x1 = (double)t[2], y1 = (double)t[3];
    double stride = (double)p->o->anchors.stride[level], reach = radius * stride;
    double tx = 0.5 * (x0 + x1), ty = 0.5 * (y0 + y1);
    int64_t width = p->o->anchors.width[level], top, bottom, left, right;

    cells_of(fmin(x0, tx - reach), fmax(x1, tx + reach), stride, width, &left, &right);
    cells_of(fmin(y0, ty - reach), fmax(y1, ty + reach), stride, p->o->anchors.height[level], &top,
             &bottom);
    for (int64_t row = top; row < bottom; row++)
        for (int64_t col = left; col < right; col++) {
            double x = ((double)col + 0.5) * stride, y = ((double)row + 0.5) * stride;
            bool inside = x > x0 && x < x1 && y > y0 && y < y1;
            bool near = fabs(x - tx) <= reach && fabs(y - ty) <= reach;
            int64_t a = start + row * width + col;
            fit f;

            if (!inside && !near) continue;
            f = fit_of(p, a, j, stride, x, y);
            visit(context, p, a, j, &f);
        }
}

static void visit_candidates(const picture *p, int j, double radius, visit_fn visit,
                             void *context) {
    const sg_anchors *anchors = &p->o->anchors;
    int64_t start = 0;

    for (int i = 0; i < anchors->levels; i++) {
        visit_level(p, j, i, start, radius, visit, context);
        start += anchors->height[i] * anchors->width[i];
    }
}

/* --- claims ----------------------------------------------------------------------------------- */

typedef struct {
    int64_t anchor;
    double t, u;
} claim;

typedef struct {
    int n, room;
    claim best[SG_ASSIGN_CLAIMS]; /* by falling t, ties by anchor */
} claims;

static void keep_best(void *context, const picture *p, int64_t a, int j, const fit *f) {
    claims *c = context;
    int at = c->n;

    (void)p;
    (void)j;
    while (at > 0 && f->t > c->best[at - 1].t) at--;
    if (at == c->room) return;
    if (c->n < c->room) c->n++;
    memmove(c->best + at + 1, c->best + at, (size_t)(c->n - 1 - at) * sizeof(claim));
    c->best[at] = (claim){.anchor = a, .t = f->t, .u = f->u};
}

static void claim_anchors(const picture *p) {
    for (int j = 0; j < p->M; j++) {
        claims c = {.room = p->o->candidates};

        if (!truth_counts(p, j)) continue;
        visit_candidates(p, j, (double)p->o->radius, keep_best, &c);
        for (int k = 0; k < c.n; k++) {
            int64_t a = c.best[k].anchor;
            float u = (float)c.best[k].u;

            if (p->owner[a] >= 0 && !(u > p->weight[a])) continue;
            p->owner[a] = (int32_t)j;
            p->weight[a] = u;
        }
    }
}

typedef struct {
    const int *owned; /* (M) anchors of each truth */
    int64_t anchor;   /* -1: none yet */
    double t;
} spare;

static void find_spare(void *context, const picture *p, int64_t a, int j, const fit *f) {
    spare *s = context;

    (void)j;
    if (p->owner[a] >= 0 && s->owned[p->owner[a]] < 2) return;
    if (s->anchor >= 0 && !(f->t > s->t)) return;
    s->anchor = a;
    s->t = f->t;
}

/* Every truth that came away with nothing gets an anchor, if any can be spared. */
static void give_to_the_poor(const picture *p) {
    int owned[SG_MAX_TRUTHS] = {0};

    for (int64_t a = 0; a < p->A; a++)
        if (p->owner[a] >= 0) owned[p->owner[a]]++;
    for (int j = 0; j < p->M; j++) {
        spare s = {.owned = owned, .anchor = -1};

        if (owned[j] > 0 || !truth_counts(p, j)) continue;
        visit_candidates(p, j, (double)p->o->radius, find_spare, &s);
        if (s.anchor < 0) visit_candidates(p, j, HUGE_VAL, find_spare, &s);
        if (s.anchor < 0) continue;
        if (p->owner[s.anchor] >= 0) owned[p->owner[s.anchor]]--;
        p->owner[s.anchor] = (int32_t)j;
        owned[j] = 1;
    }
}

/* --- targets ---------------------------------------------------------------------------------- */

/* Call `visit` for every anchor that has an owner. */
static void visit_owned(const picture *p, visit_fn visit, void *context) {
    const sg_anchors *anchors = &p->o->anchors;
    int64_t a = 0;

    for (int i = 0; i < anchors->levels; i++) {
        double stride = (double)anchors->stride[i];

        for (int64_t row = 0; row < anchors->height[i]; row++)
            for (int64_t col = 0; col < anchors->width[i]; col++, a++) {
                fit f;

                if (p->owner[a] < 0) continue;
                f = fit_of(p, a, p->owner[a], stride, ((double)col + 0.5) * stride,
                           ((double)row + 0.5) * stride);
                visit(context, p, a, p->owner[a], &f);
            }
    }
}

typedef struct {
    double t[SG_MAX_TRUTHS], iou[SG_MAX_TRUTHS];
} maxima;

static void raise_maxima(void *context, const picture *p, int64_t a, int j, const fit *f) {
    maxima *m = context;

    (void)p;
    (void)a;
    m->t[j] = fmax(m->t[j], f->t);
    m->iou[j] = fmax(m->iou[j], f->iou);
}

static void set_target(void *context, const picture *p, int64_t a, int j, const fit *f) {
    const maxima *m = context;
    double share = m->t[j] > 0.0 ? f->t / m->t[j] : 1.0;
    float score = (float)(share * fmax(m->iou[j], (double)p->o->floor));

    p->scores[a * p->K + p->classes[j]] = score;
    p->weight[a] = score;
    memcpy(p->targets + 4 * a, p->truths + 4 * j, 4 * sizeof(float));
}

static void assign(const picture *p) {
    maxima m = {{0.0}, {0.0}};

    for (int64_t a = 0; a < p->A; a++) p->owner[a] = -1;
    claim_anchors(p);
    give_to_the_poor(p);
    memset(p->scores, 0, (size_t)(p->A * p->K) * sizeof(float));
    memset(p->targets, 0, (size_t)p->A * 4 * sizeof(float));
    memset(p->weight, 0, (size_t)p->A * sizeof(float));
    visit_owned(p, raise_maxima, &m);
    visit_owned(p, set_target, &m);
}

static sg_status detect_assign_ref(const sg_args *a) {
    const sg_shape *logits = &a->node->in[0]->shape;
    int64_t N = logits->dim[0], A = logits->dim[1], K = logits->dim[2];
    int64_t M = a->node->in[2]->shape.dim[1];
    const int32_t *count = a->in[4]; // (N)

    for (int64_t n = 0; n < N; n++) {
        picture p = {.o = a->node->attr,
                     .A = A,
                     .K = K,
                     .logits = (const float *)a->in[0] + n * A * K,
                     .boxes = (const float *)a->in[1] + n * A * 4,
                     .truths = (const float *)a->in[2] + n * M * 4,
                     .classes = (const int32_t *)a->in[3] + n * M,
                     .M = (int)(count[n] < 0   ? 0
                                : count[n] > M ? M
                                               : count[n]),
                     .scores = (float *)a->out[0] + n * A * K,
                     .targets = (float *)a->out[1] + n * A * 4,
                     .weight = (float *)a->out[2] + n * A,
                     .owner = (int32_t *)a->out[3] + n * A};

        assign(&p);
    }
    return SG_OK;
}

const sg_op sg_op_detect_assign = {
    .name = "detect_assign",
    .attr_size = sizeof(sg_assign_attr),
    .infer = detect_assign_infer,
    .run = detect_assign_ref,
    .stops_gradient = true,
};
