/* The detector's ops: anchors, boxes, the assignment of truths to anchors, and the losses.
 *
 * An anchor is one cell of one level's map. Anchors are numbered level by level, finest first, and
 * row by row inside a level: A = sum of height * width. Boxes are (xmin, ymin, xmax, ymax) in
 * pixels of the input. */
#ifndef SG_OPS_DETECT_H
#define SG_OPS_DETECT_H

#include "ops/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_MAX_LEVELS = 4,
    SG_MAX_TRUTHS = 128 /* of one picture */
};

typedef struct {
    int levels; /* 1 .. SG_MAX_LEVELS */
    int64_t stride[SG_MAX_LEVELS], height[SG_MAX_LEVELS], width[SG_MAX_LEVELS];
} sg_anchors; /* box_decode, box_decode_dx */

int64_t sg_anchor_count(const sg_anchors *anchors);

/* --- detect_levels.c -------------------------------------------------------------------------- */

typedef struct {
    int64_t start, height, width; /* the level's first anchor, its map */
} sg_level_attr;                  /* level_split */

/* 1 to SG_MAX_LEVELS maps (N, C, H_i, W_i) -> (N, A, C). */
sg_value *sg_levels_concat(sg_graph *g, sg_value *const map[], int levels);
/* x (N, A, C) -> (N, C, height, width): anchors start .. as a map; levels_concat's gradient. */
sg_value *sg_level_split(sg_graph *g, sg_value *x, int64_t start, int64_t height, int64_t width);

/* --- detect_boxes.c --------------------------------------------------------------------------- */

/* Strides that a raw size of 0 stands for: 28 % of the faces of 416-pixel inputs are smaller
 * than 16 pixels, half than 23, so half of them start on the finest level of stride 8. */
#define SG_BOX_UNIT 2.0f
/* Of raw sizes: outside of it they count as the border and get no gradient. */
#define SG_RAW_SIZE_MIN (-5.0f)
#define SG_RAW_SIZE_MAX 7.0f

/* raw (N, A, 4): x, y in strides from the cell's centre, log of width and height in units of
 * SG_BOX_UNIT strides -> boxes (N, A, 4). */
sg_value *sg_box_decode(sg_graph *g, sg_value *raw, const sg_anchors *anchors);
sg_value *sg_box_decode_dx(sg_graph *g, sg_value *raw, sg_value *dy, const sg_anchors *anchors);

/* --- detect_assign.c -------------------------------------------------------------------------- */

typedef struct {
    sg_anchors anchors;
    float radius;        /* strides around a truth's centre in which anchors are candidates */
    float class_power;   /* alpha: of the score of the truth's class */
    float overlap_power; /* beta: of the overlap */
    float prior;         /* share of the geometric prior in the overlap, 0 .. 1 */
    float floor;         /* least target score of a truth's best anchor, 0 .. 1 */
    int candidates;      /* anchors that one truth may claim, 1 .. SG_ASSIGN_CLAIMS */
} sg_assign_attr;        /* detect_assign */

enum { SG_ASSIGN_CLAIMS = 16 };

/* radius 2.5, powers 0.5 and 6, prior 0.1, floor 0.2, candidates 5. */
sg_assign_attr sg_assign_defaults(const sg_anchors *anchors);

/* logits (N, A, K), boxes (N, A, 4), truth boxes (N, M, 4), truth classes i32 (N, M), count i32
 * (N); M <= SG_MAX_TRUTHS. Outputs of the node: target scores (N, A, K), target boxes (N, A, 4),
 * weight (N, A), owner i32 (N, A): which truth an anchor answers for, -1: none. No gradient passes.
 */
sg_value *sg_detect_assign(sg_graph *g, sg_value *logits, sg_value *boxes, sg_value *truth_boxes,
                           sg_value *truth_classes, sg_value *count, const sg_assign_attr *options);

/* --- detect_loss.c: scalars, sums over everything --------------------------------------------- */

typedef struct {
    float beta;  /* 0 (plain cross-entropy) or >= 1 */
} sg_focal_attr; /* quality_focal_loss, quality_focal_loss_dx */

/* logits, target (any shape, the same) -> scalar. No gradient to the target. */
sg_value *sg_quality_focal_loss(sg_graph *g, sg_value *logits, sg_value *target, float beta);
sg_value *sg_quality_focal_loss_dx(sg_graph *g, sg_value *logits, sg_value *target, sg_value *dloss,
                                   float beta);

/* boxes, target (N, A, 4) -> (N, A): the factor of CIoU's aspect term. No gradient passes. */
sg_value *sg_ciou_alpha(sg_graph *g, sg_value *boxes, sg_value *target);
/* ..., weight (N, A), alpha (N, A) -> scalar: sum of weight * (1 - CIoU). Gradient to the boxes
 * alone; anchors of weight 0 are not looked at. */
sg_value *sg_ciou_loss(sg_graph *g, sg_value *boxes, sg_value *target, sg_value *weight,
                       sg_value *alpha);
sg_value *sg_ciou_loss_dx(sg_graph *g, sg_value *boxes, sg_value *target, sg_value *weight,
                          sg_value *alpha, sg_value *dloss);

#ifdef __cplusplus
}
#endif
#endif
