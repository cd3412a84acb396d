/* Cases of ops/reduce.c and ops/matmul.c. */
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
static const float kBiased[] = {11, 22, 13, 24, 15, 26}; /* (3, 2) */
static const float kBiasedMaps[] = {11, 12, 13, 24, 25, 26,
                                    17, 18, 19, 30, 31, 32}; /* (2, 2, 1, 3) */
static const float kSums[] = {1 + 2 + 3 + 7 + 8 + 9, 4 + 5 + 6 + 10 + 11 + 12};

// clang-format off
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
