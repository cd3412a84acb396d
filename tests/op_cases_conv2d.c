/* Cases of ops/conv2d.c. */
#include "op_cases.h"

/* p: stride, pad, groups, activation */
static sg_conv_options options_of(const op_case *c) {
    sg_conv_options o = {c->p[0], c->p[1], c->p[2], (sg_act)c->p[3]};

    return o;
}

static int conv(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_conv2d(g, in[0], in[1], c->n_in > 2 ? in[2] : NULL, options_of(c));
    return 1;
}

static const float k9[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
static const float k4[] = {1, 2, 3, 4};
static const float kHalf[] = {0.5f}, kTwo[] = {2.0f}, kOneAndHalf[] = {1.5f};
static const float kPlain[] = {37.5f, 47.5f, 67.5f, 77.5f};
static const float kSilu3[] = {2.8577224f};
/* two groups, stride 2, pad 1: a sum of the window, and its element left of the middle */
static const float kTwoMaps[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19};
static const float kTwoFilters[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0};
static const float kOneTwo[] = {1, 2};
static const float kGrouped[] = {13, 17, 25, 29, 2, 14, 2, 20};

// clang-format off

static const op_case cases[] = {
    {"conv2d: by hand", conv, 3,
     {P(1, 1, 3, 3, .data = k9), P(1, 1, 2, 2, .data = k4), V(1, .data = kHalf)},
     .p = {1, 0, 1}, .want = {kPlain}},
    {"conv2d: groups by hand", conv, 3,
     {P(1, 2, 3, 3, .data = kTwoMaps), P(2, 1, 3, 3, .data = kTwoFilters), V(2, .data = kOneTwo)},
     .p = {2, 1, 2}, .want = {kGrouped}, .fd_tolerance = 2e-3},
    {"conv2d: silu by hand", conv, 2,
     {P(1, 1, 1, 1, .data = kTwo), P(1, 1, 1, 1, .data = kOneAndHalf)},
     .p = {1, 0, 1, SG_ACT_SILU}, .want = {kSilu3}, .no_grad = true},
    {"conv2d: 1x1", conv, 2, {P(2, 3, 5, 7), P(5, 3, 1, 1)}, .p = {1, 0, 1}},
    {"conv2d: 1x1, blocks of 8", conv, 3, {P(2, 16, 3, 5), P(8, 16, 1, 1), V(8)}, .p = {1, 0, 1}},
    {"conv2d: 1x1, stride 2", conv, 2, {P(2, 8, 5, 7), P(8, 8, 1, 1)}, .p = {2, 0, 1}},
    {"conv2d: 3x3", conv, 2, {P(2, 8, 5, 7), P(16, 8, 3, 3)}, .p = {1, 1, 1}},
    {"conv2d: 3x3 with bias", conv, 3, {P(1, 8, 5, 3), P(8, 8, 3, 3), V(8)}, .p = {1, 1, 1}},
    {"conv2d: 3x3, stride 2", conv, 2, {P(2, 8, 6, 8), P(8, 8, 3, 3)}, .p = {2, 1, 1}},
    {"conv2d: 3x3, stride 2, odd size", conv, 2, {P(2, 8, 7, 5), P(8, 8, 3, 3)}, .p = {2, 1, 1}},
    {"conv2d: 3x3, stride 3", conv, 2, {P(1, 2, 8, 7), P(3, 2, 3, 3)}, .p = {3, 0, 1}},
    {"conv2d: the stem", conv, 2, {P(1, 3, 8, 8), P(16, 3, 3, 3)}, .p = {2, 1, 1}},
    {"conv2d: 3x3, odd channels", conv, 3, {P(2, 13, 5, 4), P(7, 13, 3, 3), V(7)}, .p = {1, 1, 1}},
    {"conv2d: to 1 channel", conv, 3, {P(2, 16, 4, 4), P(1, 16, 1, 1), V(1)}, .p = {1, 0, 1}},
    {"conv2d: no padding", conv, 2, {P(1, 2, 5, 7), P(3, 2, 3, 3)}, .p = {1, 0, 1}},
    {"conv2d: wide padding", conv, 2, {P(1, 2, 2, 3), P(3, 2, 3, 3)}, .p = {1, 2, 1}},
    {"conv2d: 5x5", conv, 2, {P(1, 3, 7, 6), P(4, 3, 5, 5)}, .p = {1, 2, 1}},
    {"conv2d: 5x5, stride 2", conv, 2, {P(1, 3, 7, 6), P(4, 3, 5, 5)}, .p = {2, 2, 1}},
    {"conv2d: 1x3", conv, 2, {P(1, 3, 4, 6), P(4, 3, 1, 3)}, .p = {1, 0, 1}},
    {"conv2d: 3x1", conv, 2, {P(1, 3, 4, 6), P(4, 3, 3, 1)}, .p = {1, 0, 1}},
    {"conv2d: filter as large as x", conv, 2, {P(2, 3, 3, 3), P(4, 3, 3, 3)}, .p = {1, 0, 1}},
    {"conv2d: one pixel", conv, 2, {P(2, 8, 1, 1), P(8, 8, 3, 3)}, .p = {1, 1, 1}},
    {"conv2d: 3x3, maps of 627", conv, 2, {P(1, 16, 19, 33), P(16, 16, 3, 3)}, .p = {1, 1, 1}},
    {"conv2d: 3x3, stride 2, maps of 680", conv, 2, {P(1, 16, 20, 34), P(16, 16, 3, 3)},
     .p = {2, 1, 1}},
    {"conv2d: 1x1, maps of 627", conv, 2, {P(1, 16, 19, 33), P(24, 16, 1, 1)}, .p = {1, 0, 1}},
    {"conv2d: stem, maps of 1020", conv, 2, {P(2, 3, 34, 30), P(16, 3, 3, 3)}, .p = {2, 1, 1}},
    {"conv2d: 3 groups, odd", conv, 3, {P(1, 6, 5, 7), P(9, 2, 3, 3), V(9)}, .p = {1, 1, 3}},
    {"conv2d: 2 groups", conv, 3, {P(2, 6, 4, 5), P(4, 3, 3, 3), V(4)}, .p = {1, 1, 2}},
    {"conv2d: depthwise", conv, 2, {P(2, 8, 5, 4), P(8, 1, 3, 3)}, .p = {1, 1, 8}},
    {"conv2d: depthwise, stride 2", conv, 2, {P(2, 11, 5, 4), P(11, 1, 5, 5)}, .p = {2, 2, 11}},
    {"conv2d: depthwise, two each", conv, 2, {P(1, 3, 5, 4), P(6, 1, 3, 3)}, .p = {1, 1, 3}},
    {"conv2d: 1031 channels", conv, 2, {P(1, 1031, 1, 2), P(2, 1031, 1, 1)}, .p = {1, 0, 1}},
    {"conv2d: to 1032 channels", conv, 3, {P(1, 3, 1, 2), P(1032, 3, 1, 1), V(1032)},
     .p = {1, 0, 1}},
    {"conv2d: relu and bias", conv, 3, {P(2, 8, 5, 7), P(16, 8, 3, 3), V(16)},
     .p = {1, 1, 1, SG_ACT_RELU}, .no_grad = true},
    {"conv2d: silu and bias", conv, 3, {P(2, 8, 5, 7), P(16, 8, 3, 3), V(16)},
     .p = {2, 1, 1, SG_ACT_SILU}, .no_grad = true},
    {"conv2d: silu, odd channels", conv, 3, {P(2, 3, 5, 7), P(5, 3, 3, 3), V(5)},
     .p = {1, 1, 1, SG_ACT_SILU}, .no_grad = true},
    {"conv2d: silu without bias", conv, 2, {P(2, 8, 5, 7), P(8, 8, 1, 1)},
     .p = {1, 0, 1, SG_ACT_SILU}, .no_grad = true},
    {"conv2d: no pictures", conv, 3, {P(0, 8, 5, 7), P(8, 8, 3, 3), V(8)}, .p = {1, 1, 1},
     .zero_ok = 6},
    {"conv2d: no input channels", conv, 3, {P(1, 0, 3, 3), P(2, 0, 3, 3), V(2)}, .p = {1, 1, 1},
     .ref_only = true},
};
// clang-format on

const op_suite op_suite_conv2d = {cases, OP_COUNT(cases)};
