/* The list of all cases: a file tests/op_cases_TOPIC.c gives a suite. */
#include "op_cases.h"

static const op_suite end = {NULL, 0};

const op_suite *const op_suites[] = {
    &op_suite_pointwise, &op_suite_shape,
    &op_suite_linear,    &op_suite_conv2d,
    &op_suite_norm,      &op_suite_pool,
    &op_suite_softmax,   &op_suite_tokens,
    &op_suite_text,      &op_suite_dropout,
    &op_suite_optimizer, &op_suite_bag,
    &op_suite_detect,    &end,
};
