/* Cases of ops/batch_norm.c. */
#include "op_cases.h"

/* f: eps; p: activation; in: x, gamma, beta and perhaps the residual */
static int norm(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *y =
        sg_batch_norm(g, in[0], in[1], in[2], c->n_in > 3 ? in[3] : NULL, c->f[0], (sg_act)c->p[0]);

    for (int o = 0; o < 4; o++) out[o] = y ? &y->node->out[o] : NULL;
    return 4;
}

/* in: x, gamma, beta, mean, rstd and perhaps the residual */
static int again(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_batch_norm_again(g, in[0], in[1], in[2], in[3], in[4], c->n_in > 5 ? in[5] : NULL,
                                 c->f[0], (sg_act)c->p[0]);
    return 1;
}

static int fold(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *w = sg_norm_fold(g, in[0], in[1], in[2], in[3], in[4], c->f[0]);

    out[0] = w;
    out[1] = w ? &w->node->out[1] : NULL;
    return 2;
}

/* channel 0: 1, 3, mean 2, variance 1, eps 3; channel 1: constant */
static const float kX[] = {1, 5, 3, 5}, kGamma[] = {2, 3}, kBeta[] = {1, -1};
static const float kResidual[] = {10, 30, 20, 40};
static const float kPlain[] = {0, -1, 2, -1}, kRelu[] = {10, 30, 22, 40};
static const float kMean[] = {2, 5}, kRstd[] = {0.5f, 0.57735027f}, kVar[] = {2, 0};
static const float kW[] = {1, 2, 3, 4}, kFoldGamma[] = {4, 3}, kFoldBeta[] = {1, 1};
static const float kFoldMean[] = {1, 2}, kFoldVar[] = {1, 6};
static const float kFoldedW[] = {2, 4, 3, 4}, kFoldedB[] = {-1, -1};

// clang-format off
/* What an activation's kink needs: xh far from 0, gamma positive, no shift to speak of. */
static const float kSmall[64] = {0.05f, -0.05f, 0.1f, 0.0f, -0.1f, 0.02f, -0.03f, 0.07f};

#define NORM(title, act, n, C, h, w)                                                               \
    {"batch_norm: " title, norm, 3,                                                                \
     {P(n, C, h, w, .fill = OP_FAR), V(C, .fill = OP_POSITIVE), V(C, .data = kSmall)},             \
     .f = {1e-3f}, .p = {act}, .n_project = 1, .fd_tolerance = 2e-3}
#define NORM_ADD(title, act, n, C, h, w)                                                           \
    {"batch_norm: " title, norm, 4,                                                                \
     {P(n, C, h, w, .fill = OP_FAR), V(C, .fill = OP_POSITIVE), V(C, .data = kSmall),              \
      P(n, C, h, w)},                                                                              \
     .f = {1e-3f}, .p = {act}, .n_project = 1, .fd_tolerance = 2e-3}

static const op_case cases[] = {
    {"batch_norm: by hand", norm, 3,
     {P(2, 2, 1, 1, .data = kX), V(2, .data = kGamma), V(2, .data = kBeta)}, .f = {3.0f},
     .want = {kPlain, kMean, kRstd, kVar}, .n_project = 1, .fd_tolerance = 2e-3},
    {"batch_norm: relu, residual, by hand", norm, 4,
     {P(2, 2, 1, 1, .data = kX), V(2, .data = kGamma), V(2, .data = kBeta),
      P(2, 2, 1, 1, .data = kResidual)}, .f = {3.0f}, .p = {SG_ACT_RELU},
     .want = {kRelu, kMean, kRstd, kVar}, .no_grad = true},
    NORM("8 channels", SG_ACT_NONE, 2, 8, 3, 5),
    NORM("8 channels, relu", SG_ACT_RELU, 2, 8, 3, 5),
    NORM("8 channels, silu", SG_ACT_SILU, 2, 8, 3, 5),
    NORM("16 channels, silu", SG_ACT_SILU, 3, 16, 4, 4),
    NORM("5 channels", SG_ACT_NONE, 2, 5, 3, 7),
    NORM("5 channels, relu", SG_ACT_RELU, 2, 5, 3, 7),
    NORM("5 channels, silu", SG_ACT_SILU, 2, 5, 3, 7),
    NORM("1 channel, silu", SG_ACT_SILU, 1, 1, 5, 5),
    NORM("11 channels, one picture", SG_ACT_SILU, 1, 11, 3, 3),
    NORM_ADD("residual", SG_ACT_NONE, 2, 8, 3, 5),
    NORM_ADD("residual, relu", SG_ACT_RELU, 2, 8, 3, 5),
    NORM_ADD("residual, silu", SG_ACT_SILU, 2, 8, 3, 5),
    NORM_ADD("residual, silu, 13 channels", SG_ACT_SILU, 2, 13, 3, 5),
    NORM("maps of 667", SG_ACT_SILU, 2, 16, 23, 29),
    NORM_ADD("maps of 667, relu, residual", SG_ACT_RELU, 2, 12, 23, 29),
    NORM_ADD("maps of 667, odd channels", SG_ACT_SILU, 1, 5, 29, 23),
    {"batch_norm: far from zero", norm, 3,
     {P(2, 8, 23, 29, .fill = OP_OFFSET), V(8, .fill = OP_POSITIVE), V(8)}, .f = {1e-3f},
     .p = {SG_ACT_SILU}, .n_project = 1, .fd_tolerance = 3e-3},
    {"batch_norm: 1031 channels", norm, 3,
     {P(2, 1031, 1, 2, .fill = OP_FAR), V(1031, .fill = OP_POSITIVE), V(1031)},
     .f = {0.1f}, .p = {SG_ACT_SILU}, .n_project = 1, .fd_tolerance = 3e-3},
    {"batch_norm: 1032 channels", norm, 3,
     {P(2, 1032, 1, 2, .fill = OP_FAR), V(1032, .fill = OP_POSITIVE), V(1032)},
     .f = {0.1f}, .p = {SG_ACT_SILU}, .n_project = 1, .fd_tolerance = 3e-3},
    {"batch_norm: one element", norm, 3,
     {P(1, 3, 1, 1), V(3, .fill = OP_POSITIVE), V(3)}, .f = {1e-3f}, .p = {SG_ACT_SILU},
     .n_project = 1, .zero_ok = 3},
    {"batch_norm: no pictures", norm, 3, {P(0, 8, 2, 2), V(8, .fill = OP_POSITIVE), V(8)},
     .f = {1e-3f}, .n_project = 1, .zero_ok = 6},
    {"batch_norm_again: by hand", again, 5,
     {P(2, 2, 1, 1, .data = kX), V(2, .data = kGamma), V(2, .data = kBeta), V(2, .data = kMean),
      V(2, .data = kRstd)}, .f = {3.0f}, .want = {kPlain}, .no_grad = true},
    {"batch_norm_again: relu, residual, by hand", again, 6,
     {P(2, 2, 1, 1, .data = kX), V(2, .data = kGamma), V(2, .data = kBeta), V(2, .data = kMean),
      V(2, .data = kRstd), P(2, 2, 1, 1, .data = kResidual)}, .f = {3.0f}, .p = {SG_ACT_RELU},
     .want = {kRelu}, .no_grad = true},
    {"batch_norm_again: silu, odd", again, 5,
     {P(2, 13, 5, 7), V(13), V(13), V(13), V(13, .fill = OP_POSITIVE)}, .f = {1e-3f},
     .p = {SG_ACT_SILU}, .no_grad = true},
    {"batch_norm_again: silu, residual", again, 6,
     {P(1, 16, 5, 7), V(16), V(16), V(16), V(16, .fill = OP_POSITIVE), P(1, 16, 5, 7)},
     .f = {1e-3f}, .p = {SG_ACT_SILU}, .no_grad = true},
    {"norm_fold: by hand", fold, 5,
     {P(2, 1, 1, 2, .data = kW), V(2, .data = kFoldGamma), V(2, .data = kFoldBeta),
      V(2, .data = kFoldMean), V(2, .data = kFoldVar)}, .f = {3.0f}, .want = {kFoldedW, kFoldedB},
     .no_grad = true},
    {"norm_fold: odd", fold, 5,
     {P(13, 5, 3, 3), V(13), V(13), V(13), V(13, .fill = OP_POSITIVE)}, .f = {1e-3f},
     .no_grad = true},
    {"norm_fold: no filters", fold, 5,
     {P(0, 5, 3, 3), V(0), V(0), V(0), V(0)}, .f = {1e-3f}, .no_grad = true},
};
// clang-format on

const op_suite op_suite_norm = {cases, OP_COUNT(cases)};
