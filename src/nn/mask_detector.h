/* The mask detector: anchor-free, one stage, from random weights.
 *
 *   image u8 (N, 3, S, S)
 *     backbone   stem and four stages, strides 2 to 32: a 3x3 convolution of stride 2, then a CSP
 *                block (two 1x1 branches, one with residual 1x1 + 3x3 bottlenecks, joined by a 1x1)
 *     neck       1x1 to a common width, top-down and bottom-up additions, a CSP block after each
 *     heads      a level: two 3x3 and a 1x1 for the classes, the same again for the box
 *   -> anchors of strides `finest` to 32, each with `classes` logits and a box
 *
 * Every convolution but the heads' last is without bias and followed by batch norm and SiLU. */
#ifndef SG_NN_MASK_DETECTOR_H
#define SG_NN_MASK_DETECTOR_H

#include "graph/graph.h"
#include "ops/detect.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { SG_DETECTOR_NANO, SG_DETECTOR_SMALL, SG_DETECTOR_SIZES } sg_detector_size;

typedef struct {
    int64_t classes; /* 1 .. SG_DETECTOR_CLASSES */
    sg_detector_size size;
    int64_t input;      /* S, pixels: a multiple of 32, 32 .. 4096 */
    int64_t finest;     /* stride of the finest level, 4 or 8 */
    float box_weight;   /* of the CIoU loss, > 0 */
    float class_weight; /* of the quality focal loss, > 0 */
    float focal_beta;   /* 0 or >= 1 */
} sg_mask_detector_options;

enum { SG_DETECTOR_CLASSES = 1000 };

/* 3 classes, nano, input 256, finest 8 and the loss as tuned. */
sg_mask_detector_options sg_mask_detector_defaults(void);
/* SG_ERR_CONFIG names the option that is out of range. */
sg_status sg_mask_detector_check(const sg_mask_detector_options *options) SG_CHECKED;

/* "nano", "small"; NULL out of range. */
const char *sg_detector_size_name(sg_detector_size size);

/* The levels of the output: strides and maps. Options must pass the check. */
sg_anchors sg_mask_detector_anchors(const sg_mask_detector_options *options);

/* Append the detector for n pictures.
 *
 * Inputs, in this order: "image" u8 (n, 3, S, S); in SG_TRAIN mode also "boxes" f32
 * (n, SG_MAX_TRUTHS, 4), xyxy in input pixels, "classes" i32 (n, SG_MAX_TRUTHS), "count" i32 (n).
 * SG_TRAIN: the loss box_weight * CIoU + class_weight * QFL, divided by the sum of target scores;
 * the named sums "box" and "cls" hold its two parts (weighted, not yet divided).
 * SG_EVAL: outputs "boxes" (n, A, 4) in input pixels, "scores" (n, A, classes), 0 .. 1. */
sg_status sg_mask_detector_build(sg_graph *g, int64_t n,
                                 const sg_mask_detector_options *options) SG_CHECKED;
/* The axis along which the parameter of that name has an element a class; -1: it has none. */
int sg_mask_detector_class_axis(const char *parameter);

/* What it consists of, for `train --dry-run`: a line a block with output shape, parameters and
 * MFLOP (multiply-add = 2) of one picture, then the totals. *text is the caller's (sg_free);
 * parameters and flop may be NULL. SG_ERR_CONFIG, SG_ERR_OOM. */
sg_status sg_mask_detector_summary(const sg_mask_detector_options *options, char **text,
                                   int64_t *parameters, double *flop) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
