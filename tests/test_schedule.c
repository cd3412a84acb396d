/* The learning rate over a run, by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>

#include "nn/schedule.h"

static void expect(sg_schedule s, int64_t step, double want) {
    double got = sg_schedule_lr(&s, step);

    if (!(fabs(got - want) <= 1e-12))
        fail_msg("step %lld: %.15g, not %.15g", (long long)step, got, want);
}

static void test_warm_up(void **state) {
    const sg_schedule s = {SG_SCHEDULE_CONSTANT, 2.0, 0.5, 3.0, 10.0};

    (void)state;
    expect(s, 0, 0.5);
    expect(s, 1, 1.0);
    expect(s, 2, 1.5);
    expect(s, 3, 2.0);
    expect(s, 9, 2.0);
    expect(s, 1000, 2.0);
}

static void test_cosine(void **state) {
    const sg_schedule s = {SG_SCHEDULE_COSINE, 3.0, 0.2, 4.0, 12.0};
    const sg_schedule all_warm_up = {SG_SCHEDULE_COSINE, 3.0, 0.2, 12.0, 12.0};

    (void)state;
    expect(s, 3, 3.0 * 4.0 / 5.0);
    expect(s, 4, 3.0);
    expect(s, 6, 3.0 * (0.6 + 0.4 * sqrt(0.5)));
    expect(s, 8, 3.0 * 0.6);
    expect(s, 10, 3.0 * (0.6 - 0.4 * sqrt(0.5)));
    expect(s, 12, 3.0 * 0.2);
    expect(s, 1000, 3.0 * 0.2);
    expect(all_warm_up, 11, 3.0 * 12.0 / 13.0);
    expect(all_warm_up, 12, 3.0 * 0.2);
}

static void test_stages(void **state) {
    const sg_schedule s = {SG_SCHEDULE_STEP, 3.0, 0.25, 2.0, 20.0};

    (void)state;
    expect(s, 1, 3.0 * 2.0 / 3.0);
    expect(s, 2, 3.0);
    expect(s, 11, 3.0);
    expect(s, 12, 3.0 * 0.5);
    expect(s, 16, 3.0 * 0.5);
    expect(s, 17, 3.0 * 0.25);
    expect(s, 1000, 3.0 * 0.25);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_warm_up),
        cmocka_unit_test(test_cosine),
        cmocka_unit_test(test_stages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
