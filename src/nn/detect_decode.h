/* From a detector's output tensors to boxes on the picture that was asked about. */
#ifndef SG_NN_DETECT_DECODE_H
#define SG_NN_DETECT_DECODE_H

#include "data/letterbox.h"
#include "nn/nms.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One picture's answer: threshold, suppression, letterbox undone, clipped to the picture; a box of
 * which nothing is left inside is dropped.
 *
 * boxes (anchors, 4) in input pixels, scores (anchors, classes), `map` picture -> input, width and
 * height the picture's. `found` has room for options->max_boxes; *count are filled, best first, in
 * pixels of the picture. Errors as of sg_nms. */
sg_status sg_detect_decode(const sg_nms_options *options, const float *boxes, const float *scores,
                           int64_t anchors, int64_t classes, const sg_letterbox *map, int64_t width,
                           int64_t height, sg_detection *found, int64_t *count) SG_CHECKED;

/* The same where the suppression has been done: of `found`, *count in input pixels. */
void sg_detect_place(const sg_letterbox *map, int64_t width, int64_t height, sg_detection *found,
                     int64_t *count);

#ifdef __cplusplus
}
#endif
#endif
