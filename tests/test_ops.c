/* All cases of all ops (op_cases.c), and that they leave none out. How: op_check.h. */
#include "op_check.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>

static const sg_backend *const backends[] = {&sg_backend_cpu};

static void test_case(void **state) { op_check_case(*state, backends, OP_COUNT(backends)); }

/* Runs last. */
static void test_every_op_is_covered(void **state) {
    int missing = 0;

    (void)state;
    for (int i = 0; i < SG_OP_COUNT; i++) {
        const sg_op *op = sg_ops[i];
        unsigned seen = op_coverage[i];
        const char *what = NULL;

        if (op->source) continue;
        if (!(seen & (OP_FORWARD | OP_BACKWARD)))
            what = "no case uses it";
        else if (op->grad && !(seen & OP_DIFFERENTIATED))
            what = "no case checks its gradient";
        else if (seen & OP_FORWARD && !(seen & OP_HAND_WORKED))
            what = "no case has hand-worked numbers (want) for it";
        if (!what) continue;
        missing++;
        print_error("op %s: %s. Add a case to a file tests/op_cases_*.c, see tests/op_check.h\n",
                    op->name, what);
    }
    if (missing) fail_msg("%d ops are not tested", missing);
}

static int run_all(void) {
    static struct CMUnitTest tests[OP_MOST_CASES + 1];
    const op_case *c;
    size_t n = 0;

    for (; (c = op_case_at((int)n)); n++) {
        tests[n].name = c->name;
        tests[n].test_func = test_case;
        tests[n].initial_state = (void *)(uintptr_t)c;
    }
    tests[n].name = "every op is covered";
    tests[n++].test_func = test_every_op_is_covered;
    return _cmocka_run_group_tests("ops", tests, n, NULL, NULL);
}

int main(void) {
    int failed = op_run_native(run_all);

    return run_all() + failed;
}
