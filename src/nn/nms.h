/* Non-maximum suppression of one picture's boxes. */
#ifndef SG_NN_NMS_H
#define SG_NN_NMS_H

#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A box that a detector has found. */
typedef struct sg_detection {
    float box[4]; /* xmin, ymin, xmax, ymax */
    float score;  /* 0 .. 1 */
    int32_t label;
    int64_t anchor; /* which row of `boxes` it was */
} sg_detection;

enum {
    SG_NMS_CANDIDATES = 4096, /* a trained detector has fewer at a score of 0.001 */
};

typedef struct sg_nms_options {
    float min_score;        /* a (anchor, class) pair with a greater score is a candidate; >= 0 */
    float max_iou;          /* a greater IoU with a better box of its class suppresses it; 0 .. 1 */
    int64_t max_boxes;      /* at most so many are returned, of all classes together; >= 1 */
    int64_t max_candidates; /* only the best so many are looked at; 0: SG_NMS_CANDIDATES */
} sg_nms_options;

/* Area of the intersection over area of the union of two boxes (xmin, ymin, xmax, ymax); 0 where
 * they do not overlap, so also when one has no area. */
double sg_box_iou(const float a[4], const float b[4]);

/* Greedy suppression, each class for itself. An anchor is a candidate of every class whose score is
 * above the threshold (as evaluation wants it). Candidates are taken by falling score, ties by
 * (anchor, class): the result is a function of the input alone. Candidates with a number that is
 * not finite are left out.
 *
 * boxes: (anchors, 4) xmin, ymin, xmax, ymax in any unit; scores: (anchors, classes). `found` has
 * room for max_boxes, *count of them are filled, best first. Time: O(anchors * classes) to look,
 * O(max_candidates * max_boxes) to suppress. SG_ERR_ARG for options out of range or more than
 * 2^32 - 1 scores; SG_ERR_OOM. */
sg_status sg_nms(const sg_nms_options *options, const float *boxes, const float *scores,
                 int64_t anchors, int64_t classes, sg_detection *found, int64_t *count) SG_CHECKED;

/* What sg_nms asks of its arguments, for other ways to compute the same: SG_ERR_ARG. `*limit`: how
 * many candidates are looked at, at most. */
sg_status sg_nms_check(const sg_nms_options *options, int64_t anchors, int64_t classes,
                       int64_t *limit) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
