/* What stands around a detector's network in an exported graph: the picture's way into the input,
 * and boxes' way out: suppression, and back into the picture. */
#ifndef SG_ONNX_BOXES_H
#define SG_ONNX_BOXES_H

#include "onnx/model.h"

/* A picture of any size in the square input; all but the pixels are f32 scalars of the graph. */
typedef struct {
    const char *pixels;                /* f32 (N, 3, S, S), whole numbers 0 .. 255 */
    const char *scale, *pad_x, *pad_y; /* x_input = x_picture scale + pad_x */
    const char *width, *height;        /* the picture's */
} sg_onnx_letterbox;

/* `images` u8 (N, H, W, 3), of any H and W: sg_letterbox_image, to the bit. A picture is two
 * products with sparse matrices of weights, rows first, of whole numbers throughout. */
sg_onnx_letterbox sg_onnx_letterbox_of(sg_onnx *m, const char *images, int64_t side);

typedef struct {
    int64_t anchors, classes; /* A, K */
    float min_score, max_iou; /* as sg_nms_options has them */
    int64_t max_boxes;
} sg_onnx_nms;

/* boxes (N, A, 4) xyxy, scores (N, A, K) -> (N, max_boxes, 6): x1 y1 x2 y2 score class of what
 * sg_nms finds, best first, then zeros. No loops: as NonMaxSuppression answers with a list, its
 * scores are scattered into zeros, of which the greatest are taken. */
const char *sg_onnx_nms_of(sg_onnx *m, const char *boxes, const char *scores,
                           const sg_onnx_nms *options);

/* Rows (N, n, 6) as above, of input pixels -> of the picture's, clipped to it; those of which
 * nothing is left go, and the others move up. */
const char *sg_onnx_boxes_undo(sg_onnx *m, const char *rows, int64_t n,
                               const sg_onnx_letterbox *map);

#endif
