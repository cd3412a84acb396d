/* Cases of ops/pointwise.c. */
#include "op_cases.h"

#include <math.h>

static int add(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_add(g, in[0], in[1]);
    return 1;
}

static int mul(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_mul(g, in[0], in[1]);
    return 1;
}

static int square(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_mul(g, in[0], in[0]);
    return 1;
}

static int scale(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_scale(g, in[0], c->f[0]);
    return 1;
}

static int relu(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_relu(g, in[0]);
    return 1;
}

static int silu(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_silu(g, in[0]);
    return 1;
}

static int gelu(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_gelu(g, in[0]);
    return 1;
}

static int sigmoid(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_sigmoid(g, in[0]);
    return 1;
}

static int to_float(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_to_float(g, in[0], c->f[0], c->f[1]);
    return 1;
}

/* out 1 is a sum, so that the view is also read by an op. */
static int stopped(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_stop_gradient(g, in[0]);
    out[1] = sg_add(g, in[1], out[0]);
    return 2;
}

/* --- by hand ---------------------------------------------------------------------------------- */

static const float k4[] = {-2.0f, -0.5f, 0.0f, 3.0f};
static const float k4b[] = {1.0f, 4.0f, 0.25f, -2.0f};
static const float kSum[] = {-1.0f, 3.5f, 0.25f, 1.0f};
static const float kProduct[] = {-2.0f, -2.0f, 0.0f, -6.0f};
static const float kSquare[] = {4.0f, 0.25f, 0.0f, 9.0f};
static const float kScaled[] = {3.0f, 0.75f, 0.0f, -4.5f};
/* NaN passes; the infinities' limits */
static const float kHard[] = {NAN, INFINITY, -INFINITY, -0.5f};
static const float kHardRelu[] = {NAN, INFINITY, 0.0f, 0.0f};
static const float kHardSigmoid[] = {NAN, 1.0f, 0.0f, 0.37754067f};
static const float kRelu[] = {0.0f, 0.0f, 0.0f, 3.0f};
static const float kSigmoid[] = {0.11920292f, 0.37754067f, 0.5f, 0.95257413f};
static const float kSilu[] = {-0.23840584f, -0.18877033f, 0.0f, 2.8577224f};
static const float kGelu[] = {-0.045500264f, -0.15426877f, 0.0f, 2.9959503f};
static const float kExtremeGelu[] = {0.0f, 100.0f, 88.0f, 0.0f};
static const float kGeluHard[] = {NAN, INFINITY, 1e30f, 88.0f};
static const float kHardGelu[] = {NAN, INFINITY, 1e30f, 88.0f};
static const float kExtreme[] = {-100.0f, 100.0f, 88.0f, -30.0f};
static const float kExtremeSilu[] = {-3.7200760e-42f, 100.0f, 88.0f, -2.8072869e-12f};
static const uint8_t kBytes[] = {0, 1, 128, 255};
static const float kFloats[] = {-0.5f, -0.49607843f, 0.0019607843f, 0.5f};

// clang-format off
/* One input, at odd shapes. */
#define UNARY(op, how)                                                                             \
    {#op ": one element", op, 1, {S(.fill = OP_POSITIVE)}, .f = {-1.5f}},                          \
    {#op ": a prime", op, 1, {V(31, .fill = how)}, .f = {-1.5f}},                                  \
    {#op ": (3, 1031)", op, 1, {M(3, 1031, .fill = how)}, .f = {-1.5f}},                           \
    {#op ": (2, 3, 8)", op, 1, {T(2, 3, 8, .fill = how)}, .f = {-1.5f}},                           \
    {#op ": 5 channels", op, 1, {P(2, 5, 3, 7, .fill = how)}, .f = {-1.5f}},                       \
    {#op ": 16 channels", op, 1, {P(1, 16, 5, 5, .fill = how)}, .f = {-1.5f}},                     \
    {#op ": empty", op, 1, {P(0, 8, 3, 3, .fill = how)}, .f = {-1.5f}}

#define BINARY(op)                                                                                 \
    {#op ": scalars", op, 2, {S(.fill = OP_UNIFORM), S(.fill = OP_UNIFORM)}},                      \
    {#op ": a prime", op, 2, {V(31), V(31)}},                                                      \
    {#op ": (3, 1031)", op, 2, {M(3, 1031), M(3, 1031)}},                                          \
    {#op ": (2, 3, 8)", op, 2, {T(2, 3, 8), T(2, 3, 8)}},                                          \
    {#op ": 5 channels", op, 2, {P(2, 5, 3, 7), P(2, 5, 3, 7)}},                                   \
    {#op ": 16 channels", op, 2, {P(1, 16, 5, 5), P(1, 16, 5, 5)}},                                \
    {#op ": empty", op, 2, {P(0, 8, 3, 3), P(0, 8, 3, 3)}}

static const op_case cases[] = {
    {"add: by hand", add, 2, {V(4, .data = k4), V(4, .data = k4b)}, .want = {kSum}},
    {"mul: by hand", mul, 2, {V(4, .data = k4), V(4, .data = k4b)}, .want = {kProduct}},
    {"mul: with itself", square, 1, {V(4, .data = k4)}, .want = {kSquare}},
    {"scale: by hand", scale, 1, {V(4, .data = k4)}, .f = {-1.5f}, .want = {kScaled}},
    {"relu: by hand", relu, 1, {V(4, .data = k4)}, .no_grad = true, .want = {kRelu}},
    {"relu: NaN", relu, 1, {V(4, .data = kHard)}, .no_grad = true,
     .want = {kHardRelu}},
    {"sigmoid: by hand", sigmoid, 1, {V(4, .data = k4)}, .want = {kSigmoid}},
    {"sigmoid: NaN", sigmoid, 1, {V(4, .data = kHard)}, .no_grad = true,
     .want = {kHardSigmoid}},
    {"silu: by hand", silu, 1, {V(4, .data = k4)}, .want = {kSilu}},
    {"silu: far out", silu, 1, {V(4, .data = kExtreme)}, .no_grad = true, .want = {kExtremeSilu}},
    {"gelu: by hand", gelu, 1, {V(4, .data = k4)}, .want = {kGelu}},
    {"gelu: far out", gelu, 1, {V(4, .data = kExtreme)}, .no_grad = true, .want = {kExtremeGelu}},
    {"gelu: NaN", gelu, 1, {V(4, .data = kGeluHard)}, .no_grad = true, .want = {kHardGelu}},
    {"gelu: where it bends", gelu, 1, {M(3, 11, .fill = OP_DISTINCT)}},
    {"to_float: by hand", to_float, 1, {P(1, 1, 2, 2, .dtype = SG_U8, .data = kBytes)},
     .f = {1.0f / 255.0f, -0.5f}, .no_grad = true, .want = {kFloats}},
    {"to_float: 3 channels", to_float, 1, {P(2, 3, 5, 7, .dtype = SG_U8)},
     .f = {1.0f / 255.0f, -0.5f}, .no_grad = true},
    {"to_float: 5 channels", to_float, 1, {P(3, 5, 3, 7, .dtype = SG_U8)}, .f = {0.25f, 1.0f},
     .no_grad = true},
    {"to_float: empty", to_float, 1, {P(2, 3, 0, 7, .dtype = SG_U8)}, .no_grad = true},
    {"stop_gradient: by hand", stopped, 2, {V(4, .data = k4, .fixed = true), V(4, .data = k4b)},
     .want = {k4, kSum}, .no_grad = true},
    BINARY(add),
    BINARY(mul),
    UNARY(scale, OP_UNIFORM),
    UNARY(relu, OP_FAR),
    UNARY(silu, OP_UNIFORM),
    UNARY(gelu, OP_UNIFORM),
    UNARY(sigmoid, OP_UNIFORM),
};
// clang-format on

const op_suite op_suite_pointwise = {cases, OP_COUNT(cases)};
