/* Average precision of a detector, as pycocotools' COCOeval computes it for boxes.
 *
 * Its matching, its order, its interpolation at 101 recalls, its treatment of truths and boxes
 * outside an area range; checked against it on stored cases (tests/data/make_coco_cases.py).
 * Crowds are not known here. All arithmetic is in double, on the widths and heights that COCO's
 * (x, y, w, h) would have. */
#ifndef SG_TRAIN_DETECTION_METRICS_H
#define SG_TRAIN_DETECTION_METRICS_H

#include <stdint.h>

#include "core/status.h"
#include "nn/nms.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_AP_THRESHOLDS = 10, /* IoU 0.50, 0.55, .. 0.95 */
    SG_AP_RECALLS = 101,   /* recall 0.00, 0.01, .. 1.00 */
    SG_AP_MAX_BOXES = 128, /* boxes of one class in one picture that count, the best first */
};

/* Truths are counted by the square root of their area in pixels. As in COCO, truths outside the
 * range are ignored: a box that finds one, or finds nothing and is itself outside, counts neither
 * for nor against. */
typedef enum {
    SG_AREA_ALL,
    SG_AREA_SMALL,  /* below 16 */
    SG_AREA_MEDIUM, /* 16 to 32 */
    SG_AREA_LARGE,  /* 32 and more */
    SG_AREA_COUNT
} sg_area;

typedef struct sg_detection_metrics sg_detection_metrics;

/* NaN where `count` is 0: there is nothing to find. */
typedef struct {
    int64_t count; /* truths */
    double ap50, ap50_95;
    double recall50; /* share of the truths found at IoU 0.5, at whatever score */
} sg_class_ap;

/* classes >= 1; max_boxes >= 1, usually SG_AP_MAX_BOXES. SG_ERR_ARG, SG_ERR_OOM. */
sg_status sg_detection_metrics_create(int64_t classes, int64_t max_boxes,
                                      sg_detection_metrics **out) SG_CHECKED;
void sg_detection_metrics_destroy(sg_detection_metrics *metrics);

/* One picture, in any order of pictures; its boxes and truths are matched here and not kept.
 * found: n_found boxes in any order; truth_boxes: (n_truths, 4) xmin, ymin, xmax, ymax in the same
 * pixels; truth_labels: (n_truths). Equal scores rank by (picture, place in `found`), so that no
 * result depends on the order of the calls. Not from two threads at once. Unchanged on failure:
 * SG_ERR_ARG for a label outside 0 .. classes-1 or a number that is not finite, SG_ERR_OOM. */
sg_status sg_detection_metrics_add(sg_detection_metrics *metrics, int64_t picture,
                                   const sg_detection *found, int64_t n_found,
                                   const float *truth_boxes, const int32_t *truth_labels,
                                   int64_t n_truths) SG_CHECKED;

/* After the last picture, before any of the questions below; pictures added later need another.
 * SG_ERR_ARG when a picture was added twice; SG_ERR_OOM. */
sg_status sg_detection_metrics_finish(sg_detection_metrics *metrics) SG_CHECKED;

sg_class_ap sg_detection_metrics_class(const sg_detection_metrics *metrics, sg_area area,
                                       int64_t label);

/* The means over the classes that have truths (mAP50, mAP50:95, mean recall); `count` is the number
 * of all truths. NaN without any. */
sg_class_ap sg_detection_metrics_mean(const sg_detection_metrics *metrics, sg_area area);

/* For plots: precision[r] is the greatest precision at a recall of at least r / 100 when boxes must
 * overlap with IoU 0.50 + 0.05 * threshold, 0 where that recall is not reached; score[r] is the
 * score of the last box that is needed for it (0 where not reached). NaN without truths. */
void sg_detection_metrics_curve(const sg_detection_metrics *metrics, sg_area area, int64_t label,
                                int threshold, double precision[SG_AP_RECALLS],
                                double score[SG_AP_RECALLS]);

#ifdef __cplusplus
}
#endif
#endif
