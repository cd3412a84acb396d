/* Operators that find the best: TopK, NonMaxSuppression. */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "onnx/run_inside.h"

typedef struct {
    double value;
    int64_t at;
} ranked;

static int by_value(const void *a, const void *b) {
    const ranked *x = a, *y = b;

    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Of each row of the last axis, greatest first, the first of equals before others. */
static sg_status op_top_k(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK], n, k;
    const sg_onnx_run_tensor *x;
    ranked *row;

    SG_TRY(sg_onnx_run_need(c, 2));
    x = c->in[0];
    if (x->rank < 1 || sg_onnx_run_int(c, "axis", -1) != -1 ||
        sg_onnx_run_int(c, "largest", 1) != 1)
        return sg_onnx_run_fail(c, "is known along the last axis, greatest first");
    n = x->dim[x->rank - 1];
    k = (int64_t)c->in[1]->v[0];
    if (k < 0 || k > n) return sg_onnx_run_fail(c, "%lld of %lld", (long long)k, (long long)n);
    memcpy(dim, x->dim, sizeof dim);
    dim[x->rank - 1] = k;
    SG_TRY(sg_onnx_run_make(c, 0, x->type, x->rank, dim));
    SG_TRY(sg_onnx_run_make(c, 1, SG_ONNX_INT64, x->rank, dim));
    row = sg_malloc((size_t)n * sizeof *row + 1);
    if (!row) return sg_fail(SG_ERR_OOM, "onnx: no memory");
    for (int64_t r = 0; n > 0 && r < x->count / n; r++) {
        for (int64_t i = 0; i < n; i++) row[i] = (ranked){x->v[r * n + i], i};
        qsort(row, (size_t)n, sizeof *row, by_value);
        for (int64_t i = 0; i < k; i++) {
            c->out[0].v[r * k + i] = row[i].value;
            c->out[1].v[r * k + i] = (double)row[i].at;
        }
    }
    sg_free(row);
    return SG_OK;
}

/* Overlap of two boxes of opposite corners over their union. */
static double overlap(const double *a, const double *b) {
    double W = fmin(a[2], b[2]) - fmax(a[0], b[0]), H = fmin(a[3], b[3]) - fmax(a[1], b[1]);
    double both = W > 0.0 && H > 0.0 ? W * H : 0.0;
    double all = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both;

    return all > 0.0 ? both / all : 0.0;
}

typedef struct {
    int64_t most;
    double iou, score;
} suppression;

/* Of one picture and class: which are kept, best first, into `kept`; how many. */
static int64_t suppress(const suppression *s, const double *boxes, const double *scores, int64_t n,
                        ranked *row, int64_t *kept) {
    int64_t count = 0;

    for (int64_t i = 0; i < n; i++) row[i] = (ranked){scores[i], i};
    qsort(row, (size_t)n, sizeof *row, by_value);
    for (int64_t i = 0; i < n && count < s->most && row[i].value > s->score; i++) {
        bool free = true;

        for (int64_t k = 0; k < count && free; k++)
            free = overlap(boxes + 4 * row[i].at, boxes + 4 * kept[k]) <= s->iou;
        if (free) kept[count++] = row[i].at;
    }
    return count;
}

/* boxes (N, A, 4), scores (N, K, A) -> (n, 3) picture, class, box. */
static sg_status op_nms(sg_onnx_run_call *c) {
    const sg_onnx_run_tensor *boxes, *scores;
    int64_t N, K, A, n = 0, *all, *kept;
    suppression s;
    ranked *row;
    sg_status st = SG_OK;

    SG_TRY(sg_onnx_run_need(c, 5));
    boxes = c->in[0];
    scores = c->in[1];
    if (boxes->rank != 3 || boxes->dim[2] != 4 || scores->rank != 3 ||
        scores->dim[0] != boxes->dim[0] || scores->dim[2] != boxes->dim[1] ||
        sg_onnx_run_int(c, "center_point_box", 0) != 0)
        return sg_onnx_run_fail(c, "boxes and scores do not fit");
    N = scores->dim[0];
    K = scores->dim[1];
    A = scores->dim[2];
    s = (suppression){(int64_t)c->in[2]->v[0], c->in[3]->v[0], c->in[4]->v[0]};
    all = sg_malloc((size_t)(3 * scores->count + 1) * sizeof *all);
    kept = sg_malloc((size_t)(A + 1) * sizeof *kept);
    row = sg_malloc((size_t)(A + 1) * sizeof *row);
    if (!all || !kept || !row) st = sg_fail(SG_ERR_OOM, "onnx: no memory");
    for (int64_t i = 0; st == SG_OK && i < N * K; i++) {
        int64_t found = suppress(&s, boxes->v + i / K * A * 4, scores->v + i * A, A, row, kept);

        for (int64_t k = 0; k < found; k++, n++)
            memcpy(all + 3 * n, (const int64_t[]){i / K, i % K, kept[k]}, 3 * sizeof *all);
    }
    if (st == SG_OK) st = sg_onnx_run_make(c, 0, SG_ONNX_INT64, 2, (const int64_t[]){n, 3});
    for (int64_t i = 0; st == SG_OK && i < 3 * n; i++) c->out[0].v[i] = (double)all[i];
    sg_free(all);
    sg_free(kept);
    sg_free(row);
    return st;
}

const sg_onnx_run_entry sg_onnx_run_best[] = {
    {"TopK", op_top_k},
    {"NonMaxSuppression", op_nms},
    {NULL, NULL},
};
