/* Cases of ops/shape.c. */
#include "op_cases.h"

static const sg_shape kFlat = OP_SHAPE_2(2, 6), kPicture = OP_SHAPE_4(2, 3, 1, 5);

/* The square is an ordinary op on the view. */
static int reshape(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *y = sg_reshape(g, in[0], *(const sg_shape *)c->attr);

    out[0] = y;
    out[1] = sg_mul(g, y, y);
    return 2;
}

static int concat(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_concat(g, in, c->n_in);
    return 1;
}

/* A value next to itself. */
static int concat_twice(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *both[] = {in[0], in[0]};

    (void)c;
    out[0] = sg_concat(g, both, 2);
    return 1;
}

static int slice(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_slice(g, in[0], c->p[0], c->p[1]);
    return 1;
}

static const float k12[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const float k12Squared[] = {1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144};
static const float k4[] = {-1, -2, -3, -4};
/* (2, 3, 2) and (2, 1, 2) */
static const float kJoined[] = {1, 2, 3, 4, 5, 6, -1, -2, 7, 8, 9, 10, 11, 12, -3, -4};
static const float kMiddle[] = {3, 4, 9, 10};

// clang-format off

static const op_case cases[] = {
    {"reshape: by hand", reshape, 1, {T(2, 3, 2, .data = k12)}, .attr = &kFlat,
     .want = {k12, k12Squared}, .no_grad = true},
    {"reshape: gradient", reshape, 1, {M(5, 6)}, .attr = &kPicture},
    {"concat: by hand", concat, 2, {T(2, 3, 2, .data = k12), T(2, 1, 2, .data = k4)},
     .want = {kJoined}, .no_grad = true},
    {"concat: matrices", concat, 3, {M(3, 1), M(3, 5), M(3, 2)}},
    {"concat: blocks of 8", concat, 2, {P(2, 8, 3, 5), P(2, 16, 3, 5)}},
    {"concat: odd channels", concat, 3, {P(2, 3, 3, 5), P(2, 8, 3, 5), P(2, 7, 3, 5)}},
    {"concat: one odd", concat, 2, {P(2, 8, 3, 5), P(2, 3, 3, 5)}},
    {"concat: eight inputs", concat, 8,
     {P(1, 8, 2, 2), P(1, 1, 2, 2), P(1, 2, 2, 2), P(1, 8, 2, 2), P(1, 3, 2, 2), P(1, 4, 2, 2),
      P(1, 5, 2, 2), P(1, 1, 2, 2)}},
    {"concat: 1031 channels", concat, 2, {P(1, 1031, 1, 1), P(1, 8, 1, 1)}},
    {"concat: with itself", concat_twice, 1, {P(2, 8, 2, 3)}},
    {"concat: an empty part", concat, 2, {P(2, 0, 2, 3), P(2, 5, 2, 3)}},
    {"concat: no rows", concat, 2, {P(0, 8, 2, 3), P(0, 8, 2, 3)}},
    {"slice: by hand", slice, 1, {T(2, 3, 2, .data = k12)}, .p = {1, 1}, .want = {kMiddle},
     .no_grad = true},
    {"slice: the first", slice, 1, {P(2, 24, 3, 5)}, .p = {0, 8}},
    {"slice: the middle", slice, 1, {P(2, 24, 3, 5)}, .p = {8, 8}},
    {"slice: the last", slice, 1, {P(2, 24, 3, 5)}, .p = {16, 8}},
    {"slice: across blocks", slice, 1, {P(2, 24, 3, 5)}, .p = {5, 11}},
    {"slice: odd count", slice, 1, {P(2, 24, 3, 5)}, .p = {8, 3}},
    {"slice: of odd channels", slice, 1, {P(2, 13, 3, 5)}, .p = {8, 5}},
    {"slice: everything", slice, 1, {M(3, 5)}, .p = {0, 5}},
    {"slice: columns", slice, 1, {M(3, 5)}, .p = {1, 3}},
    {"slice: tokens", slice, 1, {T(2, 5, 8)}, .p = {1, 3}},
    {"slice: the first token", slice, 1, {T(3, 5, 7)}, .p = {0, 1}},
    {"slice: nothing", slice, 1, {M(3, 5)}, .p = {5, 0}, .zero_ok = 1},
    {"slice: of 1031", slice, 1, {P(1, 1031, 2, 1)}, .p = {1024, 7}, .zero_ok = 1},
    {"slice: no rows", slice, 1, {P(0, 16, 3, 5)}, .p = {0, 8}},
};
// clang-format on

const op_suite op_suite_shape = {cases, OP_COUNT(cases)};
