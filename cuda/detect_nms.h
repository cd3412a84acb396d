/* Non-maximum suppression where the boxes are: only what was found has to leave the device. */
#ifndef SG_CUDA_DETECT_NMS_H
#define SG_CUDA_DETECT_NMS_H

#include <stddef.h>

#include "nn/nms.h"

#ifdef __cplusplus
extern "C" {
#endif

/* sg_nms (nn/nms.h) of each of N pictures: the same boxes in the same order, to the last bit.
 *
 * All pointers are the device's: boxes (N, anchors, 4) f32, scores (N, anchors, classes) f32, found
 * (N, max_boxes), count (N); of a picture's row of `found` the first `count` are written. `scratch`
 * has sg_cuda_nms_scratch() bytes, aligned to 8, and may be NULL for none. The work is put on
 * `queue` (a CUDA stream) and may be recorded there: what is found changes with the data alone.
 * SG_ERR_ARG as sg_nms; SG_ERR_CUDA. */
sg_status sg_cuda_nms(const sg_nms_options *options, int64_t N, const float *boxes,
                      const float *scores, int64_t anchors, int64_t classes, sg_detection *found,
                      int64_t *count, void *scratch, void *queue) SG_CHECKED;
/* 0 unless more than SG_NMS_CANDIDATES candidates are looked at. */
size_t sg_cuda_nms_scratch(const sg_nms_options *options, int64_t N, int64_t anchors,
                           int64_t classes);

#ifdef __cplusplus
}
#endif
#endif
