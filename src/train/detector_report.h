/* What a detector's evaluation found, kept to be drawn: precision over recall, the confusion of
 * classes, some validation pictures with their boxes. */
#ifndef SG_TRAIN_DETECTOR_REPORT_H
#define SG_TRAIN_DETECTOR_REPORT_H

#include "data/dataset.h"
#include "nn/nms.h"
#include "train/detection_metrics.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_detector_report sg_detector_report;

/* Borrows `dataset`. min_score: of the boxes that count as predictions (predict.score). */
sg_status sg_detector_report_create(const sg_dataset *dataset, float min_score,
                                    sg_detector_report **out) SG_CHECKED;
void sg_detector_report_destroy(sg_detector_report *report);

/* An evaluation begins; then each picture once, in any order; then its figures (finished). */
void sg_detector_report_begin(sg_detector_report *report);
sg_status sg_detector_report_add(sg_detector_report *report, int64_t sample,
                                 const sg_detection *found, int64_t n_found) SG_CHECKED;
void sg_detector_report_finish(sg_detector_report *report, const sg_detection_metrics *metrics);

/* precision_recall.png, confusion.png and predictions.png into `folder`. SG_ERR_IO, SG_ERR_OOM,
 * errors of sg_image_read. */
sg_status sg_detector_report_draw(const sg_detector_report *report, const char *folder) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
