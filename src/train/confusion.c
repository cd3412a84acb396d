#include "train/confusion.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

static const double kMinIou = 0.5;

typedef struct {
    double iou;
    int64_t truth, box;
} pair;

static int compare_pairs(const void *left, const void *right) {
    const pair *a = left, *b = right;

    if (a->iou > b->iou || a->iou < b->iou) return a->iou > b->iou ? -1 : 1;
    if (a->truth != b->truth) return a->truth < b->truth ? -1 : 1;
    return (a->box > b->box) - (a->box < b->box);
}

/* `pairs` NULL: only count. */
static int64_t find_pairs(float min_score, const sg_detection *found, int64_t n_found,
                          const float *truth_boxes, int64_t n_truths, pair *pairs) {
    int64_t n = 0;

    for (int64_t t = 0; t < n_truths; t++)
        for (int64_t b = 0; b < n_found; b++) {
            double iou;

            if (!(found[b].score > min_score)) continue;
            iou = sg_box_iou(found[b].box, truth_boxes + t * 4);
            if (!(iou >= kMinIou)) continue;
            if (pairs) pairs[n] = (pair){iou, t, b};
            n++;
        }
    return n;
}

sg_status sg_confusion_add(int64_t classes, float min_score, const sg_detection *found,
                           int64_t n_found, const float *truth_boxes, const int32_t *truth_labels,
                           int64_t n_truths, int64_t *counts) {
    int64_t n = find_pairs(min_score, found, n_found, truth_boxes, n_truths, NULL);
    int64_t side = classes + 1;
    pair *pairs = sg_malloc((size_t)n * sizeof *pairs);
    bool *taken = sg_calloc((size_t)(n_truths + n_found), sizeof *taken); /* truths, then boxes */

    if (!pairs || !taken) {
        sg_free(pairs);
        sg_free(taken);
        return sg_fail(SG_ERR_OOM, "confusion: no memory for %lld pairs", (long long)n);
    }
    find_pairs(min_score, found, n_found, truth_boxes, n_truths, pairs);
    if (n > 0) qsort(pairs, (size_t)n, sizeof *pairs, compare_pairs);
    for (int64_t i = 0; i < n; i++) {
        if (taken[pairs[i].truth] || taken[n_truths + pairs[i].box]) continue;
        taken[pairs[i].truth] = taken[n_truths + pairs[i].box] = true;
        counts[truth_labels[pairs[i].truth] * side + found[pairs[i].box].label]++;
    }
    for (int64_t t = 0; t < n_truths; t++)
        if (!taken[t]) counts[truth_labels[t] * side + classes]++;
    for (int64_t b = 0; b < n_found; b++)
        if (!taken[n_truths + b] && found[b].score > min_score)
            counts[classes * side + found[b].label]++;
    sg_free(pairs);
    sg_free(taken);
    return SG_OK;
}
