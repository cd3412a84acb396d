/* Cases of ops/detect_*.c; more of the assigner in test_detect_ops.c. */
#include "op_cases.h"

#include "ops/detect.h"

static int levels(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_levels_concat(g, in, c->n_in);
    return 1;
}

/* p: start, height, width */
static int split(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_level_split(g, in[0], c->p[0], c->p[1], c->p[2]);
    return 1;
}

static int decode(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_box_decode(g, in[0], c->attr);
    return 1;
}

static int assign(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_assign_attr options = sg_assign_defaults(c->attr);
    sg_value *v;

    options.candidates = (int)c->p[1];
    v = sg_detect_assign(g, in[0], in[1], in[2], in[3], in[4], &options);
    for (int o = 0; o < 4; o++) out[o] = v ? &v->node->out[o] : NULL;
    return 4;
}

static int focal(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_quality_focal_loss(g, in[0], in[1], c->f[0]);
    return 1;
}

static int alpha(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_ciou_alpha(g, in[0], in[1]);
    return 1;
}

static int ciou(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_ciou_loss(g, in[0], in[1], in[2], in[3]);
    return 1;
}

/* Maps of 1 x 2 and 1 x 1, two channels. */
static const float kFine[] = {1, 2, 10, 20}, kCoarse[] = {3, 30};
static const float kAnchors[] = {1, 10, 2, 20, 3, 30};

/* Strides 8 and 16, three anchors: at rest; half a stride right and one down; clamped. */
static const sg_anchors kThree = {2, {8, 16}, {1, 1}, {2, 1}};
static const float kRaw[] = {0, 0, 0, 0, 0.5f, 1, 0.69314718f, 0, 0, 0, -100, -100};
#define U       SG_BOX_UNIT
#define CLAMPED 0.0067379470f /* exp(-5) */
static const float kBoxes[] = {
    4 - 4 * U,           4 - 4 * U,           4 + 4 * U,           4 + 4 * U,
    16 - 8 * U,          12 - 4 * U,          16 + 8 * U,          12 + 4 * U,
    8 - CLAMPED * 8 * U, 8 - CLAMPED * 8 * U, 8 + CLAMPED * 8 * U, 8 + CLAMPED * 8 * U,
};
static const sg_anchors kPyramid = {3, {8, 16, 32}, {5, 3, 2}, {7, 4, 2}};
enum { kPyramidAnchors = 5 * 7 + 3 * 4 + 2 * 2 };

/* Two anchors, a truth on the first whose box is right already. */
static const sg_anchors kTwo = {1, {8}, {1}, {2}};
static const float kLogits[] = {0, 0, 0, 0};
static const float kTwoBoxes[] = {0, 0, 8, 8, 100, 100, 108, 108}, kTruth[] = {0, 0, 8, 8};
static const int32_t kClass[] = {1}, kCount[] = {1}, kOwner[] = {0, -1};
static const float kScores[] = {0, 1, 0, 0}, kTargets[] = {0, 0, 8, 8, 0, 0, 0, 0};
static const float kWeight[] = {1, 0};
static const int32_t kCounts[] = {5, 0};

static const float kZero[] = {0}, kOne[] = {1};
static const float kLog2[] = {0.69314718f}, kQuarterLog2[] = {0.17328680f};
static const float kHard[31] = {1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 1};

/* IoU 1/7, rho^2 2, c^2 18, v = 0; and a cross of 4 x 2 on 2 x 4: IoU 1/3, rho 0, v = 0.1678... */
static const float kPair[] = {0, 0, 2, 2, 0, 1, 4, 3}, kPairTarget[] = {1, 1, 3, 3, 1, 0, 3, 4};
static const float kPairAlpha[] = {0, 0.20111127f};
static const float kPairWeight[] = {2, 1}, kPairGiven[] = {0.5f, 0.25f};
static const float kPairLoss[] = {2.6451311f};
static const float kSomeWeights[17] = {1, 0, 0.5f,  0, 0, 1, 0.25f, 2, 0,
                                       1, 1, 0.75f, 0, 1, 0, 0.5f,  1};

// clang-format off
static const op_case cases[] = {
    {"levels_concat: by hand", levels, 2,
     {P(1, 2, 1, 2, .data = kFine), P(1, 2, 1, 1, .data = kCoarse)}, .want = {kAnchors}},
    {"levels_concat: one level", levels, 1, {P(2, 3, 3, 5)}},
    {"levels_concat: odd channels", levels, 3, {P(2, 5, 4, 6), P(2, 5, 2, 3), P(2, 5, 1, 2)}},
    {"levels_concat: 8 channels", levels, 3, {P(2, 8, 4, 6), P(2, 8, 2, 3), P(2, 8, 1, 2)}},
    {"levels_concat: 1 channel", levels, 2, {P(3, 1, 3, 3), P(3, 1, 1, 1)}},
    {"levels_concat: 1031 channels", levels, 2, {P(1, 1031, 1, 2), P(1, 1031, 1, 1)}},
    {"levels_concat: no pictures", levels, 2, {P(0, 4, 2, 2), P(0, 4, 1, 1)}},
    {"level_split: by hand", split, 1, {T(1, 3, 2, .data = kAnchors)}, .p = {0, 1, 2},
     .want = {kFine}, .no_grad = true},
    {"level_split: the last", split, 1, {T(1, 3, 2, .data = kAnchors)}, .p = {2, 1, 1},
     .want = {kCoarse}, .no_grad = true},
    {"level_split: odd", split, 1, {T(3, 29, 5)}, .p = {7, 3, 4}, .no_grad = true},
    {"box_decode: by hand", decode, 1, {T(1, 3, 4, .data = kRaw)}, .attr = &kThree,
     .want = {kBoxes}, .fd_tolerance = 2e-3},
    {"box_decode: pyramid", decode, 1, {T(2, kPyramidAnchors, 4)}, .attr = &kPyramid,
     .fd_tolerance = 2e-3},
    {"box_decode: no pictures", decode, 1, {T(0, 3, 4)}, .attr = &kThree},
    {"detect_assign: by hand", assign, 5,
     {T(1, 2, 2, .data = kLogits), T(1, 2, 4, .data = kTwoBoxes), T(1, 1, 4, .data = kTruth),
      M(1, 1, .dtype = SG_I32, .data = kClass), V(1, .dtype = SG_I32, .data = kCount)},
     .attr = &kTwo, .p = {2, 1}, .want = {kScores, kTargets, kWeight, kOwner}, .no_grad = true},
    {"detect_assign: pyramid", assign, 5,
     {T(2, kPyramidAnchors, 3), T(2, kPyramidAnchors, 4, .fill = OP_BOXES),
      T(2, 7, 4, .fill = OP_BOXES), M(2, 7, .dtype = SG_I32, .fill = OP_LABEL),
      V(2, .dtype = SG_I32, .data = kCounts)},
     .attr = &kPyramid, .p = {3, 10}, .no_grad = true},
    {"detect_assign: no pictures", assign, 5,
     {T(0, kPyramidAnchors, 3), T(0, kPyramidAnchors, 4), T(0, 7, 4), M(0, 7, .dtype = SG_I32),
      V(0, .dtype = SG_I32)},
     .attr = &kPyramid, .p = {3, 10}, .no_grad = true},
    {"quality_focal_loss: by hand", focal, 2, {V(1, .data = kZero), V(1, .data = kOne, .fixed = true)},
     .f = {2.0f}, .want = {kQuarterLog2}},
    {"quality_focal_loss: entropy by hand", focal, 2,
     {V(1, .data = kZero), V(1, .data = kOne, .fixed = true)}, .want = {kLog2}},
    {"quality_focal_loss: beta 0", focal, 2, {T(2, 5, 3), T(2, 5, 3, .fixed = true)}},
    {"quality_focal_loss: beta 1", focal, 2, {V(31), V(31, .data = kHard, .fixed = true)},
     .f = {1.0f}},
    {"quality_focal_loss: beta 2", focal, 2, {T(2, 17, 3), T(2, 17, 3, .fixed = true)},
     .f = {2.0f}},
    {"quality_focal_loss: beta 1.5", focal, 2, {V(31), V(31, .data = kHard, .fixed = true)},
     .f = {1.5f}},
    {"quality_focal_loss: of nothing", focal, 2, {T(0, 5, 3), T(0, 5, 3, .fixed = true)},
     .f = {2.0f}, .want = {kZero}},
    {"ciou_alpha: by hand", alpha, 2,
     {T(1, 2, 4, .data = kPair), T(1, 2, 4, .data = kPairTarget)}, .want = {kPairAlpha},
     .no_grad = true},
    {"ciou_alpha: 17 boxes", alpha, 2,
     {T(1, 17, 4, .fill = OP_BOXES), T(1, 17, 4, .fill = OP_BOXES)}, .no_grad = true},
    {"ciou_loss: by hand", ciou, 4,
     {T(1, 2, 4, .data = kPair), T(1, 2, 4, .data = kPairTarget, .fixed = true),
      M(1, 2, .data = kPairWeight, .fixed = true), M(1, 2, .data = kPairGiven, .fixed = true)},
     .want = {kPairLoss}},
    {"ciou_loss: 17 boxes", ciou, 4,
     {T(1, 17, 4, .fill = OP_BOXES), T(1, 17, 4, .fill = OP_BOXES, .fixed = true),
      M(1, 17, .data = kSomeWeights, .fixed = true), M(1, 17, .fill = OP_POSITIVE, .fixed = true)},
     .fd_tolerance = 2e-3},
    {"ciou_loss: of nothing", ciou, 4,
     {T(0, 17, 4), T(0, 17, 4, .fixed = true), M(0, 17, .fixed = true), M(0, 17, .fixed = true)},
     .want = {kZero}},
};
// clang-format on

const op_suite op_suite_detect = {cases, OP_COUNT(cases)};
