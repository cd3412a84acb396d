/* The suites of op cases; op_cases.c lists them. */
#ifndef SG_TESTS_OP_CASES_H
#define SG_TESTS_OP_CASES_H

#include "op_check.h"

/* Inputs by their dimensions, then fields: V(3, .data = x), P(2, 8, 5, 5, .fill = OP_FAR). */
// clang-format off
#define S(...)    {.shape.rank = 0, __VA_ARGS__}
#define V(...)    {.shape.rank = 1, .shape.dim[0] = __VA_ARGS__}
#define M(a, ...) {.shape.rank = 2, .shape.dim[0] = a, .shape.dim[1] = __VA_ARGS__}
#define T(a, b, ...)                                                                               \
    {.shape.rank = 3, .shape.dim[0] = a, .shape.dim[1] = b, .shape.dim[2] = __VA_ARGS__}
#define P(a, b, c, ...)                                                                            \
    {.shape.rank = 4, .shape.dim[0] = a, .shape.dim[1] = b, .shape.dim[2] = c,                     \
     .shape.dim[3] = __VA_ARGS__}
// clang-format on

/* A case says what it needs; all else is zero. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

extern const op_suite op_suite_pointwise, op_suite_shape, op_suite_linear, op_suite_conv2d,
    op_suite_norm, op_suite_pool, op_suite_softmax, op_suite_tokens, op_suite_text,
    op_suite_dropout, op_suite_optimizer, op_suite_bag, op_suite_detect;

#endif
