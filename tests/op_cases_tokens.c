/* Cases of ops/layer_norm.c, ops/masked_mean.c and ops/windows.c: what is done to the tokens of
 * texts. */
#include "op_cases.h"

/* f: eps; in: x, gamma, beta and perhaps the residual. out: y, then s where there is one, then mean
 * and rstd. */
static int norm(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    bool added = c->n_in > 3;
    sg_value *y = sg_layer_norm(g, in[0], in[1], in[2], added ? in[3] : NULL, c->f[0]);
    int n = 0;

    out[n++] = y;
    if (added) out[n++] = y ? &y->node->out[3] : NULL;
    for (int o = 1; o <= 2; o++) out[n++] = y ? &y->node->out[o] : NULL;
    return n;
}

/* s alone is used: a block whose norm is not. */
static int stream(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *y = sg_layer_norm(g, in[0], in[1], in[2], in[3], c->f[0]);

    out[0] = y ? &y->node->out[3] : NULL;
    return 1;
}

/* A value that is its own residual. */
static int doubled(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_layer_norm(g, in[0], in[1], in[2], in[0], c->f[0]);
    return 1;
}

static int mean(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_masked_mean(g, in[0], in[1]);
    return 1;
}

/* p[0]: tokens of a window */
static int windows(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_windows(g, in[0], in[1], c->p[0]);
    return 1;
}

static int windows_dx(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_windows_dx(g, in[0], in[1], c->p[0]);
    return 1;
}

/* rows 1, 3, mean 2, variance 1, eps 3; and 5, 5 */
static const float kX[] = {1, 3, 5, 5}, kGamma[] = {2, 3}, kBeta[] = {1, -1};
static const float kPart[] = {0, 1, 2, 0}, kResidual[] = {1, 2, 3, 5};
static const float kY[] = {0, 0.5f, 1, -1}, kMean[] = {2, 5}, kRstd[] = {0.5f, 0.57735027f};
static const float k12[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const int32_t kLengths[] = {1, 2, 0}, kTooLong[] = {1, 3, 0}, kNegative[] = {1, -1, 2};
static const int32_t kMixed[] = {67, 1, 0, 64, 13}, kFull[] = {3, 3};
static const float kMeans[] = {1, 2, 6, 7, 0, 0};

/* Texts of 1, 3 and 0 of 3 tokens, (3, 3, 2): what lies beyond a text is 9. */
static const float kTexts[] = {1, 2, 9, 9, 9, 9, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9};
static const int32_t kOneThreeNone[] = {1, 3, 0}, kFour[] = {1, 4, 0}, kBelow[] = {1, -3, 0};
/* Windows of 3: (3, 3, 6), a token a row. */
static const float kWindows[] = {0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* */
                                 0, 0, 3, 4, 5, 6, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8, 0, 0, /* */
                                 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
/* dy of one channel, texts of 2 and 1 of 2 tokens: (2, 2, 3); dx_0 = dy_01 + dy_10, .. */
static const float kDyWindows[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const float kDx[] = {2 + 4, 3 + 5, 8, 0};
static const int32_t kTwoOne[] = {2, 1};

// clang-format off
/* (n, t, C) without and with a residual */
#define NORM(title, n, t, C)                                                                       \
    {"layer_norm: " title, norm, 3, {T(n, t, C), V(C, .fill = OP_POSITIVE), V(C)},                 \
     .f = {1e-3f}, .n_project = 1, .fd_tolerance = 3e-3}
#define BOTH(title, n, t, C)                                                                       \
    NORM(title, n, t, C),                                                                          \
    {"layer_norm: residual, " title, norm, 4,                                                      \
     {T(n, t, C), V(C, .fill = OP_POSITIVE), V(C), T(n, t, C)},                                    \
     .f = {1e-3f}, .n_project = 2, .fd_tolerance = 3e-3}
#define LENGTHS(n, from) V(n, .dtype = SG_I32, .data = from)

static const op_case cases[] = {
    {"layer_norm: by hand", norm, 3,
     {M(2, 2, .data = kX), V(2, .data = kGamma), V(2, .data = kBeta)}, .f = {3.0f},
     .want = {kY, kMean, kRstd}, .n_project = 1, .fd_tolerance = 2e-3},
    {"layer_norm: residual, by hand", norm, 4,
     {T(2, 1, 2, .data = kPart), V(2, .data = kGamma), V(2, .data = kBeta),
      T(2, 1, 2, .data = kResidual)}, .f = {3.0f}, .want = {kY, kX, kMean, kRstd}, .n_project = 2,
     .fd_tolerance = 2e-3},
    BOTH("(2, 3, 8)", 2, 3, 8),
    BOTH("5 rows of 3", 1, 5, 3),
    BOTH("(3, 7, 64)", 3, 7, 64),
    BOTH("67 rows of 128", 1, 67, 128),
    BOTH("3 rows of 132", 1, 3, 132),
    BOTH("(2, 5, 256)", 2, 5, 256),
    BOTH("3 rows of 509", 1, 3, 509),
    BOTH("3 rows of 512", 1, 3, 512),
    BOTH("3 rows of 768", 1, 3, 768),
    BOTH("3 rows of 1031", 1, 3, 1031),
    BOTH("2 rows of 1028", 1, 2, 1028),
    {"layer_norm: one column", norm, 3, {M(5, 1), V(1, .fill = OP_POSITIVE), V(1)}, .f = {1e-3f},
     .n_project = 1, .zero_ok = 3},
    {"layer_norm: far from zero", norm, 3,
     {M(7, 256, .fill = OP_OFFSET), V(256, .fill = OP_POSITIVE), V(256)}, .f = {1e-3f},
     .n_project = 1, .fd_tolerance = 3e-3},
    {"layer_norm: far from zero, odd", norm, 3,
     {M(3, 1031, .fill = OP_OFFSET), V(1031, .fill = OP_POSITIVE), V(1031)}, .f = {1e-3f},
     .n_project = 1, .fd_tolerance = 3e-3},
    {"layer_norm: the stream alone", stream, 4,
     {M(5, 8), V(8, .fixed = true), V(8, .fixed = true), M(5, 8)}, .f = {1e-3f}},
    {"layer_norm: its own residual", doubled, 3, {M(5, 8), V(8, .fill = OP_POSITIVE), V(8)},
     .f = {1e-3f}, .fd_tolerance = 3e-3},
    {"layer_norm: no rows", norm, 4, {T(2, 0, 8), V(8, .fill = OP_POSITIVE), V(8), T(2, 0, 8)},
     .f = {1e-3f}, .n_project = 2, .zero_ok = 6},
    {"layer_norm: no columns", norm, 3, {M(3, 0), V(0), V(0)}, .f = {1e-3f}, .n_project = 1},
    {"windows: by hand", windows, 2, {T(3, 3, 2, .data = kTexts), LENGTHS(3, kOneThreeNone)},
     .p = {3}, .want = {kWindows}},
    {"windows_dx: by hand", windows_dx, 2, {LENGTHS(2, kTwoOne), T(2, 2, 3, .data = kDyWindows)},
     .p = {3}, .want = {kDx}, .no_grad = true},
    {"windows: too long", windows, 2, {T(3, 3, 2), LENGTHS(3, kFour)}, .p = {3},
     .run_status = SG_ERR_DATA},
    {"windows: below zero", windows, 2, {T(3, 3, 2), LENGTHS(3, kBelow)}, .p = {3},
     .run_status = SG_ERR_DATA},
    {"windows: of one token", windows, 2, {T(2, 3, 5), LENGTHS(2, kFull)}, .p = {1}},
    {"windows: wider than texts", windows, 2, {T(2, 3, 5), LENGTHS(2, kFull)}, .p = {9}},
    {"windows: 3 of (5, 67, 16)", windows, 2, {T(5, 67, 16), LENGTHS(5, kMixed)}, .p = {3}},
    {"windows: 5 of (5, 67, 7)", windows, 2, {T(5, 67, 7), LENGTHS(5, kMixed)}, .p = {5}},
    {"windows: 5 of (2, 3, 1031)", windows, 2, {T(2, 3, 1031), LENGTHS(2, kFull)}, .p = {5}},
    {"windows: no texts", windows, 2, {T(0, 3, 8), V(0, .dtype = SG_I32)}, .p = {3}},
    {"windows: no columns", windows, 2, {T(2, 3, 0), LENGTHS(2, kFull)}, .p = {3}},
    {"masked_mean: by hand", mean, 2, {T(3, 2, 2, .data = k12), LENGTHS(3, kLengths)},
     .want = {kMeans}},
    {"masked_mean: too long", mean, 2, {T(3, 2, 2, .data = k12), LENGTHS(3, kTooLong)},
     .run_status = SG_ERR_DATA},
    {"masked_mean: below zero", mean, 2, {T(3, 2, 2, .data = k12), LENGTHS(3, kNegative)},
     .run_status = SG_ERR_DATA},
    {"masked_mean: (2, 3, 5)", mean, 2, {T(2, 3, 5), LENGTHS(2, kFull)}},
    {"masked_mean: (5, 67, 64)", mean, 2, {T(5, 67, 64), LENGTHS(5, kMixed)}},
    {"masked_mean: (2, 3, 1031)", mean, 2, {T(2, 3, 1031), LENGTHS(2, kFull)}},
    {"masked_mean: no texts", mean, 2, {T(0, 3, 8), V(0, .dtype = SG_I32)}},
    {"masked_mean: no columns", mean, 2, {T(2, 3, 0), LENGTHS(2, kFull)}},
};
// clang-format on

const op_suite op_suite_tokens = {cases, OP_COUNT(cases)};
