/* Cases of ops/softmax.c. */
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

/* log 1, log 2, log 1; a row that overflows a bare exp; equal ones */
static const float kX[] = {0, 0.69314718f, 0, 1000, 1000, 1000, -7, -7, -7};
static const float kP[] = {0.25f,       0.5f,        0.25f,       0.33333333f, 0.33333333f,
                           0.33333333f, 0.33333333f, 0.33333333f, 0.33333333f};
static const int32_t kLabel[] = {1, -1, 0}, kTooLarge[] = {1, 0, 3};
static const float kLoss[] = {0.69314718f + 1.0986123f}, kZero[] = {0.0f};

// clang-format off
#define LABELS(n) V(n, .dtype = SG_I32, .fill = OP_LABEL)
/* p: number of classes; one class alone has no gradient, one of 1031 next to none */
#define BOTH(title, n, C)                                                                          \
    {"softmax: " title, softmax, 1, {M(n, C)}, .zero_ok = (n) * (C) < 2 || (C) > 1000},            \
    {"cross_entropy: " title, cross_entropy, 2, {M(n, C), LABELS(n)}, .p = {C}, .n_project = 1,    \
     .zero_ok = (n) * (C) < 2 || (C) > 1000}

static const op_case cases[] = {
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
