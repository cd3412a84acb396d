/* Cases of ops/softmax.c and ops/soft_cross_entropy.c. */
#include "op_cases.h"

static int softmax(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_softmax(g, in[0]);
    return 1;
}

static int cross_entropy(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *loss = sg_cross_entropy(g, in[0], in[1]);

    (void)c;
    out[0] = loss;
    out[1] = loss ? &loss->node->out[1] : NULL;
    return 2;
}

static int soft_cross_entropy(sg_graph *g, const op_case *c, sg_value *const in[],
                              sg_value *out[]) {
    sg_value *loss = sg_soft_cross_entropy(g, in[0], in[1]);

    (void)c;
    out[0] = loss;
    out[1] = loss ? &loss->node->out[1] : NULL;
    return 2;
}

/* log 1, log 2, log 1; a row that overflows a bare exp; equal ones */
static const float kX[] = {0, 0.69314718f, 0, 1000, 1000, 1000, -7, -7, -7};
static const float kP[] = {0.25f,       0.5f,        0.25f,       0.33333333f, 0.33333333f,
                           0.33333333f, 0.33333333f, 0.33333333f, 0.33333333f};
static const int32_t kLabel[] = {1, -1, 0}, kTooLarge[] = {1, 0, 3};
/* a quarter to each of two, their softmax 1/3 and 2/3; of the last two classes; of none */
static const float kTarget[] = {0.25f, 0.25f, -1, -1, 2, 0, -1, -1, -1};
static const float kTargetP[] = {0.33333333f, 0.66666667f, 0, 0, 0.5f, 0.5f, 0, 0, 0};
static const float kTargetLoss[] = {0.25f * 1.0986123f + 0.25f * 0.40546511f + 2 * 0.69314718f};
/* what is none of the classes may be far ahead of them */
static const float kAheadX[] = {-1, 1000, -1}, kAheadT[] = {0.5f, -1, 0.5f};
static const float kAheadP[] = {0.5f, 0, 0.5f}, kAheadLoss[] = {0.69314718f};
static const float kLoss[] = {0.69314718f + 1.0986123f}, kZero[] = {0.0f};

// clang-format off
#define LABELS(n) V(n, .dtype = SG_I32, .fill = OP_LABEL)
/* p: number of classes; one class alone has no gradient, one of 1031 next to none */
#define BOTH(title, n, C)                                                                          \
    {"softmax: " title, softmax, 1, {M(n, C)}, .zero_ok = (n) * (C) < 2 || (C) > 1000},            \
    {"cross_entropy: " title, cross_entropy, 2, {M(n, C), LABELS(n)}, .p = {C}, .n_project = 1,    \
     .zero_ok = (n) * (C) < 2 || (C) > 1000}

#define TARGET(n, C)                                                                               \
    {"soft_cross_entropy: " #C " classes", soft_cross_entropy, 2,                                  \
     {M(n, C), M(n, C, .fixed = true)}, .n_project = 1, .zero_ok = (n) * (C) < 2}

static const op_case cases[] = {
    {"soft_cross_entropy: by hand", soft_cross_entropy, 2,
     {M(3, 3, .data = kX), M(3, 3, .data = kTarget)}, .want = {kTargetLoss, kTargetP},
     .no_grad = true},
    {"soft_cross_entropy: one that is none is ahead", soft_cross_entropy, 2,
     {M(1, 3, .data = kAheadX), M(1, 3, .data = kAheadT)}, .want = {kAheadLoss, kAheadP},
     .no_grad = true},
    {"soft_cross_entropy: no rows", soft_cross_entropy, 2, {M(0, 3), M(0, 3, .fixed = true)},
     .want = {kZero}, .n_project = 1},
    TARGET(1, 1),
    TARGET(17, 3),
    TARGET(9, 48),
    /* a loss of some thousands, whose rounding shows in the differences */
    {"soft_cross_entropy: 1031 classes", soft_cross_entropy, 2,
     {M(4, 1031), M(4, 1031, .fixed = true)}, .n_project = 1, .fd_tolerance = 3e-2},
    {"softmax: by hand", softmax, 1, {M(3, 3, .data = kX)}, .want = {kP}, .no_grad = true},
    {"cross_entropy: by hand", cross_entropy, 2,
     {M(3, 3, .data = kX), V(3, .dtype = SG_I32, .data = kLabel)}, .want = {kLoss, kP},
     .no_grad = true},
    {"cross_entropy: no rows", cross_entropy, 2, {M(0, 3), LABELS(0)}, .want = {kZero},
     .n_project = 1, .p = {3}},
    {"cross_entropy: label too large", cross_entropy, 2,
     {M(3, 3, .data = kX), V(3, .dtype = SG_I32, .data = kTooLarge)}, .run_status = SG_ERR_DATA},
    BOTH("one class", 1, 1),
    BOTH("3 classes", 17, 3),
    BOTH("10 classes", 8, 10),
    BOTH("a row", 1, 31),
    BOTH("1031 classes", 2, 1031),
    {"softmax: no rows", softmax, 1, {M(0, 3)}},
};
// clang-format on

const op_suite op_suite_softmax = {cases, OP_COUNT(cases)};
