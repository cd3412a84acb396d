/* Which anchor answers for which truth. ops/detect_assign.c says what is wanted; this chooses the
 * same, in two kernels:
 *
 *   claim    a block a (picture, truth). Its threads share the truth's candidates, a few hundred at
 *            most, each keeps its own best in order, and one round for each claim asks who has the
 *            best of all. A truth from `count` on costs nothing. On the way the blocks of a picture
 *            clear its outputs: only a handful of anchors will be anything but zero.
 *   settle   a block a picture. Claims meet in shared memory, every one with every other (2048 at
 *            most, 640 with the default of 5). Then the truths that came away with nothing take
 *            their turn, one after the other as in the reference, all threads looking for one
 *            truth's anchor; they are few but in crowds. At last the targets of what is owned.
 *
 * "Best" is a total order (t, then the lower anchor; u, then the lower truth), so the choice does
 * not depend on who looks at what. Everything is in double as in the reference and its products
 * are not fused, so equal fits are equal here too; exp, log2 and pow may differ from the host's in
 * the last bit, and with them a choice between fits that differ by as little. */
#include <math.h>

#include "detect_cuda.h"

enum {
    kThreads = 128,
    kMaxClaims = SG_MAX_TRUTHS * SG_ASSIGN_CLAIMS /* of a picture */
};

typedef struct {
    int64_t N;
    int K, M;
    int candidates; /* claims of a truth */
    device_anchors anchors;
    double radius, class_power, overlap_power, prior, floor;
} assign_state;

/* What one truth wants. Scratch holds (N, M, candidates) of them. */
typedef struct {
    double t, iou;
    float u;
    int anchor; /* -1: none */
} claim;

/* All pictures' data, or one's. */
typedef struct {
    const float *logits; /* (N, A, K) */
    const float *boxes;  /* (N, A, 4) */
    const float *truths; /* (N, M, 4) */
    const int32_t *classes, *count;
    float *scores;  /* (N, A, K) */
    float *targets; /* (N, A, 4) */
    float *weight;  /* (N, A) */
    int32_t *owner; /* (N, A) */
    claim *claims;  /* (N, M, candidates) */
} assign_data;

__device__ static assign_data data_of(const assign_data &all, const assign_state &s, int64_t n) {
    int64_t A = s.anchors.start[s.anchors.levels];
    assign_data p = all;

    p.logits += n * A * s.K;
    p.boxes += n * A * 4;
    p.truths += n * s.M * 4;
    p.classes += n * s.M;
    p.count += n;
    p.scores += n * A * s.K;
    p.targets += n * A * 4;
    p.weight += n * A;
    p.owner += n * A;
    p.claims += n * s.M * s.candidates;
    return p;
}

__device__ static int truths_of(const assign_data &p, const assign_state &s) {
    return *p.count < 0 ? 0 : *p.count > s.M ? s.M : *p.count;
}

/* --- one anchor and one truth ----------------------------------------------------------------- */

typedef struct {
    double iou, u, t;
} fit;

__device__ static double iou_of(const float *a, const float *b) {
    double w = fmin((double)a[2], (double)b[2]) - fmax((double)a[0], (double)b[0]);
    double h = fmin((double)a[3], (double)b[3]) - fmax((double)a[1], (double)b[1]);
    double inter, both;

    if (!(w > 0.0 && h > 0.0)) return 0.0;
    inter = product(w, h);
    both = product((double)a[2] - (double)a[0], (double)a[3] - (double)a[1]) +
           product((double)b[2] - (double)b[0], (double)b[3] - (double)b[1]) - inter;
    return both > 0.0 ? inter / both : 0.0;
}

__device__ static double prior_of(const float *truth, double stride, double x, double y) {
    double w = (double)truth[2] - (double)truth[0], h = (double)truth[3] - (double)truth[1];
    double dx = x - 0.5 * ((double)truth[0] + (double)truth[2]);
    double dy = y - 0.5 * ((double)truth[1] + (double)truth[3]);
    double near = (product(dx, dx) + product(dy, dy)) /
                  (product(stride, stride) + product(product(0.25, w), h));
    double octaves = log2(sqrt(product(w, h)) / ((double)SG_BOX_UNIT * stride));

    return 1.0 / product(1.0 + near, 1.0 + product(octaves, octaves));
}

/* How well anchor `a` of that stride with its centre at (x, y) suits truth `j`. */
__device__ static fit fit_of(const assign_state &s, const assign_data &p, int64_t a, int j,
                             double stride, double x, double y) {
    const float *truth = p.truths + 4 * j;
    double score = 1.0 / (1.0 + exp(-(double)p.logits[a * s.K + p.classes[j]]));
    fit f;

    f.iou = iou_of(p.boxes + 4 * a, truth);
    f.u = product(1.0 - s.prior, f.iou) + product(s.prior, prior_of(truth, stride, x, y));
    f.t = pow(score, s.class_power) * pow(f.u, s.overlap_power);
    if (!(f.t > 0.0)) f.t = 0.0;
    return f;
}

__device__ static bool truth_counts(const assign_state &s, const assign_data &p, int j) {
    const float *t = p.truths + 4 * j;

    return t[2] > t[0] && t[3] > t[1] && isfinite(t[2] - t[0]) && isfinite(t[3] - t[1]) &&
           p.classes[j] >= 0 && p.classes[j] < s.K;
}

/* --- all anchors that may answer for a truth -------------------------------------------------- */

/* First and last + 1 of `cells` cells whose centres may lie within lo .. hi, with one to spare. */
__device__ static void cells_of(double lo, double hi, double stride, int cells, int *first,
                                int *end) {
    double a = floor(lo / stride) - 1.0, b = ceil(hi / stride) + 1.0;

    *first = a < 0.0 ? 0 : a > (double)cells ? cells : (int)a;
    *end = b < 0.0 ? 0 : b > (double)cells ? cells : (int)b;
}

/* visit(anchor, fit) for this thread's share of one level's candidates, in the order of anchors. */
template <typename F>
__device__ static void visit_level(const assign_state &s, const assign_data &p, int j, int level,
                                   double radius, F &visit) {
    const float *t = p.truths + 4 * j;
    double x0 = (double)t[0], y0 = (double)t[1], x1 = (double)t[2], y1 = (double)t[3];
    double stride = (double)s.anchors.stride[level], reach = radius * stride;
    double tx = 0.5 * (x0 + x1), ty = 0.5 * (y0 + y1);
    int top, bottom, left, right;

    cells_of(fmin(x0, tx - reach), fmax(x1, tx + reach), stride, s.anchors.width[level], &left,
             &right);
    cells_of(fmin(y0, ty - reach), fmax(y1, ty + reach), stride, s.anchors.height[level], &top,
             &bottom);
    for (int i = (int)threadIdx.x; i < (right - left) * (bottom - top); i += kThreads) {
        int row = top + i / (right - left), col = left + i % (right - left);
        double x = ((double)col + 0.5) * stride, y = ((double)row + 0.5) * stride;
        bool inside = x > x0 && x < x1 && y > y0 && y < y1;
        bool near = fabs(x - tx) <= reach && fabs(y - ty) <= reach;
        int a = s.anchors.start[level] + row * s.anchors.width[level] + col;

        if (inside || near) visit(a, fit_of(s, p, a, j, stride, x, y));
    }
}

template <typename F>
__device__ static void visit_candidates(const assign_state &s, const assign_data &p, int j,
                                        double radius, F &visit) {
    for (int level = 0; level < s.anchors.levels; level++)
        visit_level(s, p, j, level, radius, visit);
}

/* The anchor of the greatest t that a thread of the block offers, the lowest of several; -1 if none
 * offers any (anchor -1, t -1). All threads take part and all get it. */
__device__ static int best_of_block(double t, int anchor) {
    SG_SHARED(double, ts, kThreads);
    SG_SHARED(int, anchors, kThreads);
    int me = (int)threadIdx.x, winner;

    ts[me] = t;
    anchors[me] = anchor;
    for (int half = kThreads / 2; half > 0; half /= 2) {
        int other = me + half;

        __syncthreads();
        if (me < half &&
            (ts[other] > ts[me] || (ts[other] == ts[me] && anchors[other] < anchors[me]))) {
            ts[me] = ts[other];
            anchors[me] = anchors[other];
        }
    }
    __syncthreads();
    winner = anchors[0];
    __syncthreads(); /* before the next round writes */
    return winner;
}

/* --- claim ------------------------------------------------------------------------------------ */

/* A thread's best, by falling t, ties by anchor. */
struct best_few {
    int n, room;
    claim best[SG_ASSIGN_CLAIMS];

    __device__ void operator()(int a, const fit &f) {
        int at = n;

        while (at > 0 && f.t > best[at - 1].t) at--;
        if (at == room) return;
        if (n < room) n++;
        for (int k = n - 1; k > at; k--) best[k] = best[k - 1];
        best[at] = claim{f.t, f.iou, (float)f.u, a};
    }
};

/* This block's part, of gridDim.y blocks that share a picture. */
template <typename T> __device__ static void clear(T *x, int64_t count, T value) {
    for (int64_t i = (int64_t)blockIdx.y * kThreads + threadIdx.x; i < count;
         i += (int64_t)gridDim.y * kThreads)
        x[i] = value;
}

/* grid: pictures, truths (1 at least). */
__global__ void claim_kernel(assign_data all, assign_state s) {
    assign_data p = data_of(all, s, blockIdx.x);
    int64_t A = s.anchors.start[s.anchors.levels];
    int j = (int)blockIdx.y, next = 0;
    claim *claims = p.claims + (int64_t)j * s.candidates;
    best_few mine;

    clear(p.scores, A * s.K, 0.0f);
    clear(p.targets, A * 4, 0.0f);
    clear(p.weight, A, 0.0f);
    clear(p.owner, A, (int32_t)-1);
    if (j >= truths_of(p, s)) return;
    mine.n = 0;
    mine.room = s.candidates;
    if (truth_counts(s, p, j)) visit_candidates(s, p, j, s.radius, mine);
    for (int k = 0; k < s.candidates; k++) {
        bool some = next < mine.n;
        int anchor =
            best_of_block(some ? mine.best[next].t : -1.0, some ? mine.best[next].anchor : -1);

        if (some && mine.best[next].anchor == anchor) claims[k] = mine.best[next++];
        if (anchor < 0 && threadIdx.x == 0) claims[k] = claim{0.0, 0.0, 0.0f, -1};
    }
}

/* --- settle ----------------------------------------------------------------------------------- */

/* A picture's claims, truth by truth, in shared memory. */
typedef struct {
    int *anchor; /* -1: none */
    float *u;
    int n;
} claim_list;

/* Of several claims to an anchor the greatest u gets it, then the lower truth. */
__device__ static bool wins(const claim_list &c, int e) {
    for (int i = 0; i < c.n; i++)
        if (c.anchor[i] == c.anchor[e] && i != e &&
            (c.u[i] > c.u[e] || (c.u[i] == c.u[e] && i < e)))
            return false;
    return true;
}

/* A thread's best anchor for one truth among those that are free or whose owner has another. */
struct spare {
    const int32_t *owner; /* (A) */
    const int *owned;     /* (M), anchors of each truth, shared */
    claim best;

    __device__ void operator()(int a, const fit &f) {
        if (owner[a] >= 0 && owned[owner[a]] < 2) return;
        if (best.anchor >= 0 && !(f.t > best.t)) return;
        best = claim{f.t, f.iou, (float)f.u, a};
    }
};

/* Truth j gets an anchor, if one can be spared: its first claim, and only one, is that. */
__device__ static void give(const assign_state &s, const assign_data &p, int j, int *owned,
                            const claim_list &c) {
    spare mine = {p.owner, owned, {-1.0, 0.0, 0.0f, -1}};
    int anchor;

    visit_candidates(s, p, j, s.radius, mine);
    anchor = best_of_block(mine.best.t, mine.best.anchor);
    if (anchor < 0) {
        visit_candidates(s, p, j, (double)INFINITY, mine);
        anchor = best_of_block(mine.best.t, mine.best.anchor);
    }
    if (anchor >= 0 && mine.best.anchor == anchor) {
        if (p.owner[anchor] >= 0) owned[p.owner[anchor]]--;
        p.owner[anchor] = j;
        owned[j] = 1;
        p.claims[j * s.candidates] = mine.best;
        c.anchor[j * s.candidates] = anchor;
        for (int k = 1; k < s.candidates; k++) c.anchor[j * s.candidates + k] = -1;
    }
    __syncthreads();
}

/* Whether claim e came to something. */
__device__ static bool holds(const assign_state &s, const assign_data &p, const claim_list &c,
                             int e) {
    return c.anchor[e] >= 0 && p.owner[c.anchor[e]] == e / s.candidates;
}

/* target = t / max t * max(max IoU, floor), maxima over the truth's anchors. */
__device__ static void set_targets(const assign_state &s, const assign_data &p, int j,
                                   const claim_list &c) {
    double t = 0.0, iou = 0.0;
    int first = j * s.candidates, end = first + s.candidates;

    for (int e = first; e < end; e++) {
        if (!holds(s, p, c, e)) continue;
        t = fmax(t, p.claims[e].t);
        iou = fmax(iou, p.claims[e].iou);
    }
    for (int e = first; e < end; e++) {
        int64_t a = c.anchor[e];
        double share;

        if (!holds(s, p, c, e)) continue;
        share = t > 0.0 ? p.claims[e].t / t : 1.0;
        p.weight[a] = (float)(share * fmax(iou, s.floor));
        p.scores[a * s.K + p.classes[j]] = p.weight[a];
        for (int k = 0; k < 4; k++) p.targets[4 * a + k] = p.truths[4 * j + k];
    }
}

/* grid: pictures. */
__global__ void settle_kernel(assign_data all, assign_state s) {
    SG_SHARED(int, anchor, kMaxClaims);
    SG_SHARED(float, u, kMaxClaims);
    SG_SHARED(int, owned, SG_MAX_TRUTHS);
    assign_data p = data_of(all, s, blockIdx.x);
    int me = (int)threadIdx.x, M = truths_of(p, s);
    claim_list c = {anchor, u, M * s.candidates};

    for (int e = me; e < c.n; e += kThreads) {
        anchor[e] = p.claims[e].anchor;
        u[e] = p.claims[e].u;
    }
    __syncthreads();
    for (int e = me; e < c.n; e += kThreads)
        if (anchor[e] >= 0 && wins(c, e)) p.owner[anchor[e]] = e / s.candidates;
    __syncthreads();
    for (int j = me; j < M; j += kThreads) {
        owned[j] = 0;
        for (int k = 0; k < s.candidates; k++) owned[j] += holds(s, p, c, j * s.candidates + k);
    }
    __syncthreads();
    for (int j = 0; j < M; j++)
        if (owned[j] == 0 && truth_counts(s, p, j)) give(s, p, j, owned, c);
    for (int j = me; j < M; j += kThreads) set_targets(s, p, j, c);
}

/* --- the launcher ----------------------------------------------------------------------------- */

static sg_status detect_assign_run(const sg_args *a) {
    const assign_state *s = static_cast<const assign_state *>(a->state);
    dim3 truths((unsigned)s->N, (unsigned)(s->M > 0 ? s->M : 1));
    assign_data d;

    if (s->N == 0) return SG_OK;
    d.logits = static_cast<const float *>(a->in[0]);
    d.boxes = static_cast<const float *>(a->in[1]);
    d.truths = static_cast<const float *>(a->in[2]);
    d.classes = static_cast<const int32_t *>(a->in[3]);
    d.count = static_cast<const int32_t *>(a->in[4]);
    d.scores = static_cast<float *>(a->out[0]);
    d.targets = static_cast<float *>(a->out[1]);
    d.weight = static_cast<float *>(a->out[2]);
    d.owner = static_cast<int32_t *>(a->out[3]);
    d.claims = static_cast<claim *>(a->scratch);
    SG_LAUNCH(claim_kernel, truths, kThreads, 0, (cudaStream_t)a->queue, d, *s);
    SG_TRY(sg_cuda_launched(a));
    SG_LAUNCH(settle_kernel, (unsigned)s->N, kThreads, 0, (cudaStream_t)a->queue, d, *s);
    return sg_cuda_launched(a);
}

extern "C" sg_status sg_cuda_select_detect_assign(sg_cuda *, const sg_node *node, const sg_layout *,
                                                  sg_kernel_plan *plan) {
    const sg_assign_attr *o = static_cast<const sg_assign_attr *>(node->attr);
    assign_state s;

    SG_TRY(device_anchors_of(node, &o->anchors, &s.anchors));
    s.N = node->in[0]->shape.dim[0];
    s.K = (int)node->in[0]->shape.dim[2];
    s.M = (int)node->in[2]->shape.dim[1];
    s.candidates = o->candidates;
    s.radius = (double)o->radius;
    s.class_power = (double)o->class_power;
    s.overlap_power = (double)o->overlap_power;
    s.prior = (double)o->prior;
    s.floor = (double)o->floor;
    sg_cuda_plan(plan, node, detect_assign_run, SG_CUDA_PLAIN);
    plan->scratch = (size_t)(s.N * s.M * s.candidates) * sizeof(claim);
    return sg_cuda_plan_state(plan, &s, sizeof s);
}
