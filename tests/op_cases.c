/* The list of all cases: a file tests/op_cases_TOPIC.c gives a suite. */
#include "op_cases.h"

#include <stdio.h>
#include <stdlib.h>

static const op_suite *const suites[] = {
    &op_suite_pointwise, &op_suite_shape,   &op_suite_linear, &op_suite_conv2d, &op_suite_norm,
    &op_suite_pool,      &op_suite_softmax, &op_suite_tokens, &op_suite_text,   &op_suite_dropout,
    &op_suite_optimizer, &op_suite_bag,     &op_suite_detect,
};

const op_case *op_case_at(int i) {
    int at = i;

    for (int s = 0; s < OP_COUNT(suites); at -= suites[s++]->n) {
        if (at >= suites[s]->n) continue;
        if (i < OP_MOST_CASES) return &suites[s]->cases[at];
        fprintf(stderr, "more than OP_MOST_CASES = %d cases\n", OP_MOST_CASES);
        abort();
    }
    return NULL;
}
