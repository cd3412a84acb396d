/* Cases of ops/pool.c. */
#include "op_cases.h"

#include <math.h>

/* p: kernel, stride, pad */
static int max_pool(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_max_pool2d(g, in[0], c->p[0], c->p[1], c->p[2]);
    return 1;
}

static int max_pool_dx(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_max_pool2d_dx(g, in[0], in[1], c->p[0], c->p[1], c->p[2]);
    return 1;
}

static int avg_pool(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_global_avg_pool(g, in[0]);
    return 1;
}

static int upsample(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    (void)c;
    out[0] = sg_upsample2x(g, in[0]);
    return 1;
}

static const float k16[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const float kMax[] = {6, 8, 14, 16};
static const float kNegative[] = {-5, -1, -2, -3}, kBorder[] = {-1, -1, -1, -1};
static const float kNaN[] = {1, 5, 2, NAN, 0, 3, 4, -1, -2};
static const float kNaNMax[] = {NAN, NAN, 5, NAN, NAN, 5, NAN, NAN, 3};
/* windows of 2 x 2 over equal elements: the first wins */
static const float kTies[] = {3, 3, 1, 3, 3, 3}, kUp[] = {10, 20};
static const float kFirst[] = {10, 20, 0, 0, 0, 0};
static const float kMeans[] = {2.5f, 6.5f, 10.5f, 14.5f};
static const float k4[] = {1, 2, 3, 4};
static const float kDoubled[] = {1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4};

// clang-format off
#define POOL(title, k, s, pad, n, C, h, w)                                                         \
    {"max_pool2d: " title, max_pool, 1, {P(n, C, h, w, .fill = OP_DISTINCT)}, .p = {k, s, pad},    \
     .zero_ok = n == 0}
#define MAPS(op)                                                                                   \
    {#op ": one", op, 1, {P(1, 1, 1, 1)}},                                                         \
    {#op ": 3 channels of a pixel", op, 1, {P(2, 3, 1, 1)}},                                       \
    {#op ": 5 channels", op, 1, {P(2, 5, 3, 7)}},                                                  \
    {#op ": 8 channels", op, 1, {P(2, 8, 5, 4)}},                                                  \
    {#op ": 16 channels", op, 1, {P(1, 16, 3, 3)}},                                                \
    {#op ": 1031 channels", op, 1, {P(1, 1031, 1, 2)}, .zero_ok = 1},                              \
    {#op ": empty", op, 1, {P(0, 8, 2, 2)}}

static const op_case cases[] = {
    {"max_pool2d: by hand", max_pool, 1, {P(1, 1, 4, 4, .data = k16)}, .p = {2, 2, 0},
     .want = {kMax}},
    {"max_pool2d: padding never wins", max_pool, 1, {P(1, 1, 2, 2, .data = kNegative)},
     .p = {3, 1, 1}, .want = {kBorder}},
    {"max_pool2d: NaN", max_pool, 1, {P(1, 1, 3, 3, .data = kNaN)}, .p = {3, 1, 1},
     .want = {kNaNMax}, .no_grad = true},
    {"max_pool2d_dx: ties", max_pool_dx, 2,
     {P(1, 1, 2, 3, .data = kTies), P(1, 1, 1, 2, .data = kUp)}, .p = {2, 1, 0}, .want = {kFirst},
     .no_grad = true},
    POOL("2x2", 2, 2, 0, 2, 8, 4, 6),
    POOL("2x2, odd size", 2, 2, 0, 2, 3, 5, 7),
    POOL("3x3, stride 2", 3, 2, 1, 2, 8, 5, 6),
    POOL("5x5", 5, 1, 2, 1, 8, 5, 4),
    POOL("5x5, larger than x", 5, 1, 2, 1, 3, 2, 2),
    POOL("5x5, odd channels", 5, 1, 2, 2, 5, 4, 5),
    POOL("5x5, maps of 130", 5, 1, 2, 1, 8, 13, 10),
    POOL("1x1", 1, 1, 0, 1, 2, 3, 3),
    POOL("of a pixel", 2, 1, 1, 1, 3, 1, 1),
    POOL("to a pixel", 3, 1, 0, 2, 3, 3, 3),
    POOL("gaps", 2, 3, 0, 1, 2, 8, 7),
    POOL("1031 channels", 2, 2, 0, 1, 1031, 2, 2),
    POOL("no pictures", 2, 2, 0, 0, 8, 4, 4),
    {"global_avg_pool: by hand", avg_pool, 1, {P(2, 2, 2, 2, .data = k16)}, .want = {kMeans}},
    MAPS(avg_pool),
    {"upsample2x: by hand", upsample, 1, {P(1, 1, 2, 2, .data = k4)}, .want = {kDoubled}},
    MAPS(upsample),
};
// clang-format on

const op_suite op_suite_pool = {cases, OP_COUNT(cases)};
