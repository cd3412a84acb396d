/* Cases of ops/reduce.c, ops/matmul.c and ops/linear.c. */
#include "op_cases.h"

static int sum(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_sum(g, in[0]);
    return 1;
}

static int fill(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_fill(g, in[0], *(const sg_shape *)c->attr);
    return 1;
}

/* p: whether the first, the second is transposed */
static int matmul(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_matmul(g, in[0], in[1], c->p[0], c->p[1]);
    return 1;
}

static int bias(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_bias(g, in[0], in[1]);
    return 1;
}

static int bias_db(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_bias_db(g, in[0]);
    return 1;
}

/* p: the activation; in[2], the bias, may be left out. All outputs of the node. */
static int linear(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *y = sg_linear_with(g, in[0], in[1], in[2], (sg_act)c->p[0]);

    for (int o = 0; y && o < y->node->n_out; o++) out[o] = &y->node->out[o];
    return y ? y->node->n_out : 1;
}

/* Two layers, the activation between them: the gradient of the first's sum comes from linear_dx. */
static int linear_linear(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *h = sg_linear_with(g, in[0], in[1], in[2], (sg_act)c->p[0]);

    out[0] = sg_linear_with(g, h, in[3], in[4], SG_ACT_NONE);
    return 1;
}

/* And one whose activation goes elsewhere too: the slope is a step of its own. */
static int linear_branch(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *h = sg_linear_with(g, in[0], in[1], in[2], (sg_act)c->p[0]);

    out[0] = sg_add(g, h, sg_linear_with(g, h, in[3], NULL, SG_ACT_NONE));
    return 1;
}

static int linear_dx(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_linear_dx(g, in[0], in[1], in[2], (sg_act)c->p[0]);
    return 1;
}

/* p: whether db is asked for */
static int linear_dw(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *dw = sg_linear_dw(g, in[0], in[1], c->p[0]);

    out[0] = dw;
    if (c->p[0] && dw) out[1] = &dw->node->out[1];
    return c->p[0] ? 2 : 1;
}

static const sg_shape k23 = OP_SHAPE_2(2, 3), kWide = OP_SHAPE_4(2, 5, 3, 7),
                      kNone = OP_SHAPE_2(0, 3);
static const float k6[] = {1, 2, 3, 4, 5, 6};
static const float k6b[] = {1, 0, -1, 2, 1, 3};
static const float k12[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const float kOne[] = {21.0f}, kZero[] = {0.0f}, kThree[] = {3.5f};
static const float kFilled[] = {3.5f, 3.5f, 3.5f, 3.5f, 3.5f, 3.5f};
/* [1 2 3; 4 5 6] x [1 0; -1 2; 1 3], and with operands stored transposed */
static const float kProduct[] = {2, 13, 5, 28};
static const float k6t[] = {1, 4, 2, 5, 3, 6}, k6bt[] = {1, -1, 1, 0, 2, 3};
static const float kBias[] = {10, 20};
/* [1 2 3; 4 5 6] x [1 -1 1; 0 2 3]^T + [10 20], of which the reader makes [-10 -20] too */
static const float kLinear[] = {12, 33, 15, 48}, kNegative[] = {-10, -20};
static const float kLinearRelu[] = {0, 0, 0, 8};
/* with x = [0.5 0.25], w = [2 -4]: z = 0 and b, silu(0) = 0; z = 1: 1 / (1 + 1 / e) */
static const float kHalf[] = {0.5f, 0.25f}, kTwo[] = {2, -4, 2, 0}, kNoBias[] = {0, 0};
static const float kSilu[] = {0, 0.731058579f}, kSums01[] = {0, 1};
/* silu'(0) = 0.5, silu'(1) = 0.927670512; dz W = [1 2] [2 -4; 2 0] = [6 -4] */
static const float k12b[] = {1, 2}, kSlopes[] = {3, -3.71068205f}, kProductDx[] = {6, -4};
/* dz = [1 0; -1 2; 1 3], x = [1 2; 3 4; 5 6]: dz^T x and its columns' sums */
static const float kDw[] = {3, 4, 21, 26}, kDb[] = {1, 5};
static const float kBiased[] = {11, 22, 13, 24, 15, 26}; /* (3, 2) */
static const float kBiasedMaps[] = {11, 12, 13, 24, 25, 26,
                                    17, 18, 19, 30, 31, 32}; /* (2, 2, 1, 3) */
static const float kSums[] = {1 + 2 + 3 + 7 + 8 + 9, 4 + 5 + 6 + 10 + 11 + 12};

// clang-format off
#define LINEAR(title, x, m, k, o)                                                                  \
    {"linear: " title, linear, 3, {x, M(o, k), V(o)}, .p = {SG_ACT_NONE}},                         \
    {"linear: " title ", silu", linear, 3, {x, M(o, k), V(o)}, .p = {SG_ACT_SILU}},                \
    {"linear: " title ", gelu", linear, 3, {x, M(o, k), V(o)}, .p = {SG_ACT_GELU}},                \
    {"linear: " title ", two layers", linear_linear, 5, {x, M(o, k), V(o), M(k, o), V(k)},         \
     .p = {SG_ACT_GELU}}
#define MATMUL(title, m, k, n)                                                                     \
    {"matmul: " title, matmul, 2, {M(m, k), M(k, n)}, .p = {0, 0}},                                \
    {"matmul: " title ", first transposed", matmul, 2, {M(k, m), M(k, n)}, .p = {1, 0}},           \
    {"matmul: " title ", second transposed", matmul, 2, {M(m, k), M(n, k)}, .p = {0, 1}},          \
    {"matmul: " title ", both transposed", matmul, 2, {M(k, m), M(n, k)}, .p = {1, 1}}

static const op_case cases[] = {
    {"sum: by hand", sum, 1, {M(2, 3, .data = k6)}, .want = {kOne}},
    {"sum: of nothing", sum, 1, {M(0, 3)}, .want = {kZero}},
    {"sum: a scalar", sum, 1, {S(.data = kThree)}, .want = {kThree}},
    {"sum: 5 channels", sum, 1, {P(2, 5, 3, 7)}},
    {"sum: 10007", sum, 1, {V(10007)}},
    {"fill: by hand", fill, 1, {S(.data = kThree)}, .attr = &k23, .want = {kFilled}},
    {"fill: 5 channels", fill, 1, {S(.fill = OP_FAR)}, .attr = &kWide},
    {"fill: nothing", fill, 1, {S(.fill = OP_FAR)}, .attr = &kNone, .zero_ok = 1},
    {"matmul: by hand", matmul, 2, {M(2, 3, .data = k6), M(3, 2, .data = k6b)},
     .want = {kProduct}},
    {"matmul: by hand, first transposed", matmul, 2, {M(3, 2, .data = k6t), M(3, 2, .data = k6b)},
     .p = {1, 0}, .want = {kProduct}},
    {"matmul: by hand, second transposed", matmul, 2, {M(2, 3, .data = k6), M(2, 3, .data = k6bt)},
     .p = {0, 1}, .want = {kProduct}},
    {"matmul: by hand, both transposed", matmul, 2, {M(3, 2, .data = k6t), M(2, 3, .data = k6bt)},
     .p = {1, 1}, .want = {kProduct}},
    MATMUL("one", 1, 1, 1),
    MATMUL("primes", 7, 13, 5),
    MATMUL("a row", 1, 31, 17),
    MATMUL("1031 deep", 3, 1031, 2),
    MATMUL("1031 wide", 2, 3, 1031),
    {"matmul: no rows", matmul, 2, {M(0, 5), M(5, 3)}, .zero_ok = 2},
    {"matmul: no terms", matmul, 2, {M(4, 0), M(0, 3)}},
    {"linear: by hand", linear, 3, {M(2, 3, .data = k6), M(2, 3, .data = k6bt), V(2, .data = kBias)},
     .p = {SG_ACT_NONE}, .want = {kLinear}},
    {"linear: by hand, relu", linear, 3,
     {M(2, 3, .data = k6), M(2, 3, .data = k6bt), V(2, .data = kNegative)},
     .p = {SG_ACT_RELU}, .want = {kLinearRelu}, .no_grad = true},
    {"linear: by hand, silu", linear, 3,
     {M(1, 2, .data = kHalf), M(2, 2, .data = kTwo), V(2, .data = kNoBias)},
     .p = {SG_ACT_SILU}, .want = {kSilu, kSums01}},
    LINEAR("one", M(1, 1, .fill = OP_FAR), 1, 1, 1),
    LINEAR("primes", M(7, 13), 7, 13, 5),
    LINEAR("sequences", T(3, 5, 16), 15, 16, 24),
    LINEAR("1031 wide", M(2, 3), 2, 3, 1031),
    {"linear: relu", linear, 3, {M(9, 4), M(3, 4), V(3)}, .p = {SG_ACT_RELU}, .fd_tolerance = 2e-2},
    {"linear: two layers, relu", linear_linear, 5, {T(2, 3, 8, .fill = OP_FAR), M(4, 8), V(4),
     M(5, 4), V(5)}, .p = {SG_ACT_RELU}, .fd_tolerance = 2e-2},
    {"linear: no bias", linear, 2, {T(2, 3, 8), M(4, 8)}, .p = {SG_ACT_GELU}},
    {"linear: no bias, 5 outputs", linear, 2, {T(2, 3, 8), M(5, 8)}, .p = {SG_ACT_GELU}},
    {"linear: a branch", linear_branch, 4, {T(2, 3, 8), M(8, 8), V(8), M(8, 8)},
     .p = {SG_ACT_GELU}},
    {"linear: no rows", linear, 3, {T(0, 4, 5), M(3, 5), V(3)}, .p = {SG_ACT_SILU}, .zero_ok = 6},
    {"linear: no columns", linear, 3, {M(4, 0), M(3, 0), V(3)}, .p = {SG_ACT_SILU}},
    {"linear: no outputs", linear, 3, {M(4, 5), M(0, 5), V(0)}, .p = {SG_ACT_SILU}, .zero_ok = 1},
    {"linear_dx: by hand", linear_dx, 2, {M(1, 2, .data = k12b), M(2, 2, .data = kTwo)},
     .want = {kProductDx}, .no_grad = true},
    {"linear_dx: by hand, silu", linear_dx, 3,
     {M(1, 2, .data = k12b), M(2, 2, .data = kTwo), M(1, 2, .data = kSums01)},
     .p = {SG_ACT_SILU}, .want = {kSlopes}, .no_grad = true},
    {"linear_dx: relu", linear_dx, 3, {T(2, 3, 5), M(5, 7), T(2, 3, 7)}, .p = {SG_ACT_RELU},
     .no_grad = true},
    {"linear_dw: by hand", linear_dw, 2, {M(3, 2, .data = k6b), M(3, 2, .data = k6)},
     .p = {1}, .want = {kDw, kDb}, .no_grad = true},
    {"linear_dw: no db", linear_dw, 2, {T(5, 7, 3), T(5, 7, 4)}, .no_grad = true},
    {"linear_dw: 1031 rows", linear_dw, 2, {M(1031, 5), M(1031, 12)}, .p = {1}, .no_grad = true},
    {"bias: by hand, matrix", bias, 2, {M(3, 2, .data = k6), V(2, .data = kBias)},
     .want = {kBiased}},
    {"bias: by hand, maps", bias, 2, {P(2, 2, 1, 3, .data = k12), V(2, .data = kBias)},
     .want = {kBiasedMaps}},
    {"bias: by hand, texts", bias, 2, {T(1, 3, 2, .data = k6), V(2, .data = kBias)},
     .want = {kBiased}},
    {"bias: (2, 3, 5)", bias, 2, {T(2, 3, 5), V(5)}},
    {"bias: (2, 67, 64)", bias, 2, {T(2, 67, 64), V(64)}},
    {"bias: (1, 2, 1031)", bias, 2, {T(1, 2, 1031), V(1031)}},
    {"bias: no tokens", bias, 2, {T(2, 0, 5), V(5)}, .zero_ok = 2},
    {"bias: 5 channels", bias, 2, {P(2, 5, 3, 7), V(5)}},
    {"bias: 8 channels", bias, 2, {P(3, 8, 3, 5), V(8)}},
    {"bias: one", bias, 2, {P(1, 1, 1, 1, .fill = OP_FAR), V(1)}},
    {"bias: (3, 1031)", bias, 2, {M(3, 1031), V(1031)}},
    {"bias: 1032 maps", bias, 2, {P(1, 1032, 1, 2), V(1032)}},
    {"bias: no rows", bias, 2, {M(0, 5), V(5)}, .zero_ok = 2},
    {"bias_db: by hand", bias_db, 1, {P(2, 2, 1, 3, .data = k12)}, .want = {kSums},
     .no_grad = true},
    {"bias_db: 13 channels", bias_db, 1, {P(2, 13, 5, 3)}, .no_grad = true},
    {"bias_db: 16 channels", bias_db, 1, {P(2, 16, 5, 3)}, .no_grad = true},
    {"bias_db: (3, 7, 48)", bias_db, 1, {T(3, 7, 48)}, .no_grad = true},
    {"bias_db: no rows", bias_db, 1, {M(0, 5)}, .no_grad = true},
};
// clang-format on

const op_suite op_suite_linear = {cases, OP_COUNT(cases)};
