#include "onnx/boxes.h"

#include "data/image.h"
#include "data/warp.h"
#include "nn/nms.h"

static const char *cast(sg_onnx *m, const char *x, sg_onnx_type to) {
    return sg_onnx_node(m, "Cast", SG_ONNX_IN(x), SG_ONNX_WITH(sg_onnx_attr_int("to", to)));
}

static const char *unsqueeze(sg_onnx *m, const char *x, int64_t axis) {
    return SG_ONNX_OP(m, "Unsqueeze", x, SG_ONNX_INTS(m, axis));
}

/* A list of one number, as NonMaxSuppression wants its thresholds. */
static const char *number(sg_onnx *m, float value) {
    return unsqueeze(m, sg_onnx_float(m, value), 0);
}

static const char *concat(sg_onnx *m, const char *const in[], int64_t axis) {
    return sg_onnx_node(m, "Concat", in, SG_ONNX_WITH(sg_onnx_attr_int("axis", axis)));
}

/* --- the picture's way in (data/resample.c) --------------------------------------------------- */

/* One axis of the picture, in doubles. */
typedef struct {
    const char *pad;     /* scalar */
    const char *weights; /* (S, size): of each pixel of the input those of the picture's, times
                            2^SG_WEIGHT_BITS; they sum to that */
    const char *inside;  /* bool (S, 1): where they do; elsewhere none counts */
} axis;

/* floor((side - size scale) / 2), where that is positive. */
static const char *pad_of(sg_onnx *m, const char *size, const char *scale, double side) {
    const char *rest =
        SG_ONNX_OP(m, "Sub", sg_onnx_double(m, side), SG_ONNX_OP(m, "Mul", size, scale));

    rest = SG_ONNX_OP(m, "Max", rest, sg_onnx_double(m, 0.0));
    return SG_ONNX_OP(m, "Floor", SG_ONNX_OP(m, "Mul", rest, sg_onnx_double(m, 0.5)));
}

/* 0, 1 .. n-1 as doubles */
static const char *numbers(sg_onnx *m, const char *n) {
    return SG_ONNX_OP(m, "Range", sg_onnx_double(m, 0.0), n, sg_onnx_double(m, 1.0));
}

/* Shares of the triangle about each `centre` (S, 1), of pixels `at` (size), in whole parts. */
static const char *triangle(sg_onnx *m, const char *centre, const char *at, const char *scale) {
    const char *one = sg_onnx_double(m, 1.0);
    const char *reach = SG_ONNX_OP(m, "Max", SG_ONNX_OP(m, "Div", one, scale), one);
    const char *far = SG_ONNX_OP(m, "Abs", SG_ONNX_OP(m, "Sub", at, centre)), *share, *total;

    share = SG_ONNX_OP(m, "Sub", one, SG_ONNX_OP(m, "Div", far, reach));
    share = SG_ONNX_OP(m, "Max", share, sg_onnx_double(m, 0.0));
    total = SG_ONNX_OP(m, "ReduceSum", share, SG_ONNX_INTS(m, 1));
    share = SG_ONNX_OP(m, "Div", share, total);
    return SG_ONNX_OP(
        m, "Round", SG_ONNX_OP(m, "Mul", share, sg_onnx_double(m, (double)(1 << SG_WEIGHT_BITS))));
}

/* What rounding has left over goes to the pixel nearest to the centre, the first of two. */
static const char *whole(sg_onnx *m, const char *weights, const char *centre, const char *at) {
    const char *sum = SG_ONNX_OP(m, "ReduceSum", weights, SG_ONNX_INTS(m, 1)), *nearest, *rest;

    rest = SG_ONNX_OP(m, "Sub", sg_onnx_double(m, (double)(1 << SG_WEIGHT_BITS)), sum);
    nearest = SG_ONNX_OP(m, "Ceil", SG_ONNX_OP(m, "Sub", centre, sg_onnx_double(m, 0.5)));
    nearest = SG_ONNX_OP(m, "Max", nearest, sg_onnx_double(m, 0.0));
    nearest = cast(m, SG_ONNX_OP(m, "Equal", at, nearest), SG_ONNX_DOUBLE);
    return SG_ONNX_OP(m, "Add", weights, SG_ONNX_OP(m, "Mul", nearest, rest));
}

static axis axis_of(sg_onnx *m, const char *size, const char *scale, double side) {
    axis a = {.pad = pad_of(m, size, scale, side)};
    const char *i = unsqueeze(m, numbers(m, sg_onnx_double(m, side)), 1); /* (S, 1) */
    const char *at = numbers(m, size), *from, *centre, *half = sg_onnx_double(m, 0.5);

    from = SG_ONNX_OP(m, "Sub", SG_ONNX_OP(m, "Add", i, half), a.pad);
    from = SG_ONNX_OP(m, "Div", from, scale);
    a.inside = SG_ONNX_OP(m, "And", SG_ONNX_OP(m, "GreaterOrEqual", from, sg_onnx_double(m, 0.0)),
                          SG_ONNX_OP(m, "Less", from, size));
    centre = SG_ONNX_OP(m, "Sub", from, half);
    a.weights = whole(m, triangle(m, centre, at, scale), centre, at);
    return a;
}

static const char *transpose(sg_onnx *m, const char *x) {
    return sg_onnx_node(m, "Transpose", SG_ONNX_IN(x),
                        SG_ONNX_WITH(sg_onnx_attr_ints("perm", 2, (const int64_t[]){1, 0})));
}

static const char *weights_of(sg_onnx *m, const char *inside, const char *weights) {
    return SG_ONNX_OP(m, "Where", inside, weights, sg_onnx_double(m, 0.0));
}

/* floor((x + unit / 2) / unit) */
static const char *rounded(sg_onnx *m, const char *x, const char *half, const char *unit) {
    return SG_ONNX_OP(m, "Floor", SG_ONNX_OP(m, "Div", SG_ONNX_OP(m, "Add", x, half), unit));
}

/* (N, H, W, 3) -> (N, 3, S, W). All sums are whole and below 2^24, so f32 has them exactly. Colours
 * go apart in the S rows: before the product that would be another copy of the whole picture. */
static const char *blend_rows(sg_onnx *m, const char *images, const char *weights) {
    const float unit = (float)(1 << (SG_WEIGHT_BITS - SG_ROW_BITS));
    const char *x = cast(m, images, SG_ONNX_FLOAT);

    x = SG_ONNX_OP(m, "Reshape", x, SG_ONNX_INTS(m, 0, 0, -1));
    x = SG_ONNX_OP(m, "MatMul", cast(m, weights, SG_ONNX_FLOAT), x); /* (N, S, 3 W) */
    x = SG_ONNX_OP(m, "Reshape", x, SG_ONNX_INTS(m, 0, 0, -1, 3));
    x = sg_onnx_node(m, "Transpose", SG_ONNX_IN(x),
                     SG_ONNX_WITH(sg_onnx_attr_ints("perm", 4, (const int64_t[]){0, 3, 1, 2})));
    return rounded(m, x, sg_onnx_float(m, 0.5f * unit), sg_onnx_float(m, unit));
}

/* (N, 3, S, W), weights (W, S) -> (N, 3, S, S). Sums reach 2^29: doubles. */
static const char *blend_columns(sg_onnx *m, const char *rows, const char *weights) {
    const double unit = (double)(1 << (SG_WEIGHT_BITS + SG_ROW_BITS));
    const char *x = SG_ONNX_OP(m, "MatMul", cast(m, rows, SG_ONNX_DOUBLE), weights);

    x = rounded(m, x, sg_onnx_double(m, 0.5 * unit), sg_onnx_double(m, unit));
    return cast(m, x, SG_ONNX_FLOAT);
}

/* Dimension `at` of `images`, a double. */
static const char *size_of(sg_onnx *m, const char *images, int64_t at) {
    const char *shape = SG_ONNX_OP(m, "Shape", images);

    return cast(m, SG_ONNX_OP(m, "Gather", shape, sg_onnx_int(m, at)), SG_ONNX_DOUBLE);
}

sg_onnx_letterbox sg_onnx_letterbox_of(sg_onnx *m, const char *images, int64_t side) {
    sg_onnx_letterbox map = {.pixels = NULL};
    const char *height, *width, *scale, *inside, *rows, *pixels;
    axis x, y;

    sg_onnx_scope(m, "letterbox");
    height = size_of(m, images, 1);
    width = size_of(m, images, 2);
    map.width = cast(m, width, SG_ONNX_FLOAT);
    map.height = cast(m, height, SG_ONNX_FLOAT);
    /* sg_letterbox has it in floats; a double cast to that and back onnxruntime 1.15 takes as it is
     */
    map.scale = SG_ONNX_OP(m, "Div", sg_onnx_float(m, (float)side),
                           SG_ONNX_OP(m, "Max", map.width, map.height));
    scale = cast(m, map.scale, SG_ONNX_DOUBLE);
    x = axis_of(m, width, scale, (double)side);
    y = axis_of(m, height, scale, (double)side);
    /* onnxruntime 1.15 fuses a Transpose right before a MatMul, and cannot run that in doubles */
    inside = transpose(m, x.inside);
    rows = blend_rows(m, images, weights_of(m, y.inside, y.weights));
    pixels = blend_columns(m, rows, weights_of(m, inside, transpose(m, x.weights)));
    inside = SG_ONNX_OP(m, "And", y.inside, inside);
    pixels = SG_ONNX_OP(m, "Clip", pixels, sg_onnx_float(m, 0.0f), sg_onnx_float(m, 255.0f));
    map.pixels = SG_ONNX_OP(m, "Where", inside, pixels, sg_onnx_float(m, (float)SG_IMAGE_MATTE));
    map.pad_x = cast(m, x.pad, SG_ONNX_FLOAT);
    map.pad_y = cast(m, y.pad, SG_ONNX_FLOAT);
    return map;
}

/* --- suppression ------------------------------------------------------------------------------ */

/* (N, A, K) -> (N, A K). A batch of 0 fails here, as of that nothing can be left over; TopK of none
 * onnxruntime 1.15 does not survive. */
static const char *flatten(sg_onnx *m, const char *x) {
    return SG_ONNX_OP(m, "Reshape", x, SG_ONNX_INTS(m, 0, -1));
}

/* Scores (N, A, K) of each picture's best SG_NMS_CANDIDATES, of equal ones the first; zeros
 * elsewhere, which no threshold lets pass. Of no more than these all. */
static const char *candidates(sg_onnx *m, const char *scores, const sg_onnx_nms *o) {
    int64_t all = o->anchors * o->classes;
    const char *flat, *best, *at, *zeros;

    if (all <= SG_NMS_CANDIDATES) return scores;
    flat = flatten(m, scores);
    best = sg_onnx_node_of(m, "TopK", SG_ONNX_IN(flat, SG_ONNX_INTS(m, SG_NMS_CANDIDATES)), NULL, 2,
                           &at);
    zeros = SG_ONNX_OP(m, "ConstantOfShape", SG_ONNX_OP(m, "Shape", flat));
    flat = sg_onnx_node(m, "ScatterElements", SG_ONNX_IN(zeros, at, best),
                        SG_ONNX_WITH(sg_onnx_attr_int("axis", 1)));
    return SG_ONNX_OP(m, "Reshape", flat, SG_ONNX_INTS(m, 0, o->anchors, o->classes));
}

/* The scores that survive, in their places of (N, A, K); zeros elsewhere. */
static const char *survivors(sg_onnx *m, const char *boxes, const char *scores,
                             const sg_onnx_nms *o) {
    const char *by_class =
        sg_onnx_node(m, "Transpose", SG_ONNX_IN(scores),
                     SG_ONNX_WITH(sg_onnx_attr_ints("perm", 3, (const int64_t[]){0, 2, 1})));
    const char *found =
        SG_ONNX_OP(m, "NonMaxSuppression", boxes, by_class, SG_ONNX_INTS(m, o->max_boxes),
                   number(m, o->max_iou), number(m, o->min_score)); /* (n, 3) batch class anchor */
    const char *place = sg_onnx_node(m, "Gather", SG_ONNX_IN(found, SG_ONNX_INTS(m, 0, 2, 1)),
                                     SG_ONNX_WITH(sg_onnx_attr_int("axis", 1)));
    const char *zeros = SG_ONNX_OP(m, "ConstantOfShape", SG_ONNX_OP(m, "Shape", scores));

    return SG_ONNX_OP(m, "ScatterND", zeros, place, SG_ONNX_OP(m, "GatherND", scores, place));
}

/* Of rows (N, n, d) those of the numbers `at` (N, k). */
static const char *gather_rows(sg_onnx *m, const char *rows, const char *at, int64_t d) {
    const char *wide = SG_ONNX_OP(m, "Expand", unsqueeze(m, at, 2), SG_ONNX_INTS(m, 1, 1, d));

    return sg_onnx_node(m, "GatherElements", SG_ONNX_IN(rows, wide),
                        SG_ONNX_WITH(sg_onnx_attr_int("axis", 1)));
}

/* Zeros where `score` (N, n, 1) is 0. */
static const char *only_found(sg_onnx *m, const char *rows, const char *score) {
    const char *is = SG_ONNX_OP(m, "Greater", score, sg_onnx_float(m, 0.0f));

    return SG_ONNX_OP(m, "Where", is, rows, sg_onnx_float(m, 0.0f));
}

const char *sg_onnx_nms_of(sg_onnx *m, const char *boxes, const char *scores,
                           const sg_onnx_nms *o) {
    int64_t all = o->anchors * o->classes, k = o->max_boxes < all ? o->max_boxes : all;
    const char *flat, *score, *at, *label, *rows;

    sg_onnx_scope(m, "nms");
    scores = candidates(m, scores, o);
    flat = flatten(m, survivors(m, boxes, scores, o));
    score = sg_onnx_node_of(m, "TopK", SG_ONNX_IN(flat, SG_ONNX_INTS(m, k)), NULL, 2, &at);
    score = unsqueeze(m, score, 2);
    label = SG_ONNX_OP(m, "Mod", at, sg_onnx_int(m, o->classes));
    at = SG_ONNX_OP(m, "Div", at, sg_onnx_int(m, o->classes));
    rows = concat(m,
                  SG_ONNX_IN(gather_rows(m, boxes, at, 4), score,
                             unsqueeze(m, cast(m, label, SG_ONNX_FLOAT), 2)),
                  2);
    rows = only_found(m, rows, score);
    if (k == o->max_boxes) return rows;
    return SG_ONNX_OP(m, "Pad", rows, SG_ONNX_INTS(m, 0, 0, 0, 0, o->max_boxes - k, 0));
}

/* --- the boxes' way out ----------------------------------------------------------------------- */

/* Column `at` of rows (N, n, 6). */
static const char *column(sg_onnx *m, const char *rows, int64_t at) {
    return SG_ONNX_OP(m, "Slice", rows, SG_ONNX_INTS(m, at), SG_ONNX_INTS(m, at + 1),
                      SG_ONNX_INTS(m, 2));
}

static const char *undo(sg_onnx *m, const char *x, const char *pad, const char *scale,
                        const char *size) {
    x = SG_ONNX_OP(m, "Div", SG_ONNX_OP(m, "Sub", x, pad), scale);
    return SG_ONNX_OP(m, "Clip", x, sg_onnx_float(m, 0.0f), size);
}

const char *sg_onnx_boxes_undo(sg_onnx *m, const char *rows, int64_t n,
                               const sg_onnx_letterbox *map) {
    const char *side[4], *score, *left, *at;

    sg_onnx_scope(m, "undo");
    for (int i = 0; i < 4; i++)
        side[i] = undo(m, column(m, rows, i), i % 2 ? map->pad_y : map->pad_x, map->scale,
                       i % 2 ? map->height : map->width);
    score = column(m, rows, 4);
    left = SG_ONNX_OP(m, "And", SG_ONNX_OP(m, "Greater", side[2], side[0]),
                      SG_ONNX_OP(m, "Greater", side[3], side[1]));
    score = SG_ONNX_OP(m, "Where", left, score, sg_onnx_float(m, 0.0f));
    rows = concat(m, SG_ONNX_IN(side[0], side[1], side[2], side[3], score, column(m, rows, 5)), 2);
    sg_onnx_node_of(
        m, "TopK",
        SG_ONNX_IN(SG_ONNX_OP(m, "Squeeze", score, SG_ONNX_INTS(m, 2)), SG_ONNX_INTS(m, n)), NULL,
        2, &at);
    rows = gather_rows(m, rows, at, 6);
    return only_found(m, rows, column(m, rows, 4));
}
