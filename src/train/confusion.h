/* Which class was taken for which. */
#ifndef SG_TRAIN_CONFUSION_H
#define SG_TRAIN_CONFUSION_H

#include <stdint.h>

#include "core/status.h"
#include "nn/nms.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Add one picture to counts, (classes + 1, classes + 1) row-major: rows are truths, columns
 * predictions, the last of both the background. Pairs of a truth and a box with a score above
 * `min_score` whose IoU is at least 0.5, whatever their classes, are taken by falling IoU (ties: by
 * truth, then by place in `found`), each truth and each box once; truths left over went to the
 * background, boxes left over came from there. truth_boxes: (n_truths, 4); labels below `classes`.
 * SG_ERR_OOM: counts are as before. */
sg_status sg_confusion_add(int64_t classes, float min_score, const sg_detection *found,
                           int64_t n_found, const float *truth_boxes, const int32_t *truth_labels,
                           int64_t n_truths, int64_t *counts) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
