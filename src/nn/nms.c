/* Non-maximum suppression.
 *
 * A candidate is one 64-bit key: the score's bits, inverted, above the index of the score in
 * (anchors, classes). Scores are not negative, so their bits sort as they do, and ascending keys
 * are falling scores with ties by (anchor, class). A heap keeps the smallest `max_candidates` keys
 * seen; sorted in place, they are walked once, each compared with the boxes that were kept. */
#include "nn/nms.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "core/mem.h"

double sg_box_iou(const float a[4], const float b[4]) {
    double W = fmin((double)a[2], (double)b[2]) - fmax((double)a[0], (double)b[0]);
    double H = fmin((double)a[3], (double)b[3]) - fmax((double)a[1], (double)b[1]);
    double area_a, area_b;

    if (!(W > 0.0) || !(H > 0.0)) return 0.0;
    area_a = ((double)a[2] - (double)a[0]) * ((double)a[3] - (double)a[1]);
    area_b = ((double)b[2] - (double)b[0]) * ((double)b[3] - (double)b[1]);
    return W * H / (area_a + area_b - W * H);
}

static uint64_t key_of(float score, uint64_t index) {
    uint32_t bits;

    memcpy(&bits, &score, sizeof bits);
    return (uint64_t)~bits << 32 | index;
}

static float score_of(uint64_t key) {
    uint32_t bits = ~(uint32_t)(key >> 32);
    float score;

    memcpy(&score, &bits, sizeof score);
    return score;
}

/* Below heap[at] the greatest key is on top again. */
static void sift_down(uint64_t *heap, int64_t n, int64_t at) {
    uint64_t key = heap[at];

    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= key) break;
        heap[at] = heap[child];
    }
    heap[at] = key;
}

static void sift_up(uint64_t *heap, int64_t at) {
    uint64_t key = heap[at];

    for (int64_t parent; at > 0 && heap[parent = (at - 1) / 2] < key; at = parent)
        heap[at] = heap[parent];
    heap[at] = key;
}

/* The heap becomes ascending. */
static void sort_heap(uint64_t *heap, int64_t n) {
    while (n > 1) {
        uint64_t last = heap[--n];

        heap[n] = heap[0];
        heap[0] = last;
        sift_down(heap, n, 0);
    }
}

static bool all_finite(const float *box) {
    return isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]);
}

/* The keys of the best `limit` candidates, ascending; returns how many. */
static int64_t select_candidates(const float *boxes, const float *scores, int64_t anchors,
                                 int64_t classes, float min_score, int64_t limit, uint64_t *heap) {
    int64_t n = 0;

    for (int64_t i = 0; i < anchors * classes; i++) {
        if (!(scores[i] > min_score) || !isfinite(scores[i])) continue;
        if (n == limit && key_of(scores[i], (uint64_t)i) > heap[0]) continue;
        if (!all_finite(boxes + i / classes * 4)) continue;
        if (n < limit) {
            heap[n] = key_of(scores[i], (uint64_t)i);
            sift_up(heap, n++);
        } else {
            heap[0] = key_of(scores[i], (uint64_t)i);
            sift_down(heap, n, 0);
        }
    }
    sort_heap(heap, n);
    return n;
}

static bool is_suppressed(const sg_detection *candidate, const sg_detection *kept, int64_t n,
                          double max_iou) {
    for (int64_t i = 0; i < n; i++)
        if (kept[i].label == candidate->label && sg_box_iou(kept[i].box, candidate->box) > max_iou)
            return true;
    return false;
}

sg_status sg_nms_check(const sg_nms_options *o, int64_t anchors, int64_t classes, int64_t *limit) {
    if (!(o->min_score >= 0.0f) || !(o->max_iou >= 0.0f && o->max_iou <= 1.0f))
        return sg_fail(SG_ERR_ARG, "nms: score %g or iou %g is out of range", (double)o->min_score,
                       (double)o->max_iou);
    if (o->max_boxes < 1 || o->max_candidates < 0)
        return sg_fail(SG_ERR_ARG, "nms: %lld boxes of %lld candidates cannot be chosen",
                       (long long)o->max_boxes, (long long)o->max_candidates);
    if (anchors < 0 || classes < 1 || anchors > (int64_t)UINT32_MAX / classes)
        return sg_fail(SG_ERR_ARG, "nms: %lld anchors of %lld classes are too many or too few",
                       (long long)anchors, (long long)classes);
    *limit = o->max_candidates > 0 ? o->max_candidates : SG_NMS_CANDIDATES;
    if (*limit > anchors * classes) *limit = anchors * classes;
    return SG_OK;
}

sg_status sg_nms(const sg_nms_options *o, const float *boxes, const float *scores, int64_t anchors,
                 int64_t classes, sg_detection *found, int64_t *count) {
    int64_t limit, candidates, n = 0;
    uint64_t *keys;

    SG_TRY(sg_nms_check(o, anchors, classes, &limit));
    keys = sg_malloc((size_t)limit * sizeof *keys);
    if (!keys) return sg_fail(SG_ERR_OOM, "nms: no memory for %lld candidates", (long long)limit);
    candidates = select_candidates(boxes, scores, anchors, classes, o->min_score, limit, keys);
    for (int64_t i = 0; i < candidates && n < o->max_boxes; i++) {
        int64_t index = (int64_t)(uint32_t)keys[i];
        sg_detection *next = found + n; /* filled first; counted if nothing suppresses it */

        next->anchor = index / classes;
        next->label = (int32_t)(index % classes);
        next->score = score_of(keys[i]);
        memcpy(next->box, boxes + next->anchor * 4, sizeof next->box);
        if (!is_suppressed(next, found, n, (double)o->max_iou)) n++;
    }
    sg_free(keys);
    *count = n;
    return SG_OK;
}
