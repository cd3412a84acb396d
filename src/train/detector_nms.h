/* Suppression of a detector's boxes where a device has run it: behind the run, on its queue, so
 * that what was found comes back and not every anchor's boxes and scores. What nn/nms.h finds, to
 * the bit. */
#ifndef SG_TRAIN_DETECTOR_NMS_H
#define SG_TRAIN_DETECTOR_NMS_H

#include "nn/nms.h"
#include "train/inference.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_detector_nms sg_detector_nms;

/* For the runs of `inference`, which has a device and gives boxes (batch, anchors, 4) and scores
 * (batch, anchors, classes); it is borrowed. SG_ERR_OOM, SG_ERR_ARG and what the device says. */
sg_status sg_detector_nms_create(sg_inference *inference, const sg_nms_options *options,
                                 int64_t batch, int64_t anchors, int64_t classes,
                                 sg_detector_nms **out) SG_CHECKED;
void sg_detector_nms_destroy(sg_detector_nms *nms); /* NULL is fine */

/* One batch, of which the first `pictures` count: found (batch, max_boxes) and count (batch), the
 * host's, as sg_nms fills them. Inputs as for sg_inference_run_then. By any thread. */
sg_status sg_detector_nms_run(sg_detector_nms *nms, const void *const inputs[],
                              const void *const there[], int64_t pictures, sg_detection *found,
                              int64_t *count) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
