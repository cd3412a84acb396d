/* How often a checkpoint is due. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>

#include "train/cadence.h"

static void expect_near(double got, double want) {
    if (!(fabs(got - want) <= 1e-6 * (1.0 + fabs(want)))) fail_msg("%.9g is not %.9g", got, want);
}

/* sqrt(2 C M) (1 + sqrt(C / 2M) / 3 + (C / 2M) / 9) - C; the second term is always C / 3. */
static void test_daly(void **state) {
    (void)state;
    expect_near(sg_daly_interval(8.0, 16.0), 16.0 + 8.0 / 3.0 + 16.0 * 0.25 / 9.0 - 8.0);
    expect_near(sg_daly_interval(0.5, 100.0), 10.0 + 0.5 / 3.0 + 10.0 * 0.0025 / 9.0 - 0.5);
    expect_near(sg_daly_interval(0.009, 7200.0), 11.378200368);
    expect_near(sg_daly_interval(32.0, 16.0), 16.0); /* from C = 2 M on: M */
    expect_near(sg_daly_interval(1e9, 16.0), 16.0);
    expect_near(sg_daly_interval(0.0, 7200.0), 0.0);
}

static void test_waste(void **state) {
    double best = sg_daly_interval(0.5, 7200.0), least = sg_cadence_waste(0.5, 7200.0, best);

    (void)state;
    expect_near(sg_cadence_waste(1.0, 100.0, 10.0), 0.1 + 0.05);
    expect_near(sg_cadence_waste(1.0, 100.0, 0.0), 1.0);
    assert_true(least < sg_cadence_waste(0.5, 7200.0, 0.8 * best));
    assert_true(least < sg_cadence_waste(0.5, 7200.0, 1.2 * best));
}

static void test_due(void **state) {
    const sg_cadence never = {.mtbf = 7200.0, .last = 50.0};
    sg_cadence c = never;

    (void)state;
    assert_false(sg_cadence_due(&c, 10, 1e9));
    c.every_steps = 5;
    assert_true(sg_cadence_due(&c, 10, 50.0));
    assert_false(sg_cadence_due(&c, 11, 1e9));
    c.every_seconds = 2.0; /* whichever comes first */
    assert_false(sg_cadence_due(&c, 11, 51.9));
    assert_true(sg_cadence_due(&c, 11, 52.0));
    assert_true(sg_cadence_due(&c, 15, 50.1));
    c = never;
    c.every_steps = 1;
    assert_true(sg_cadence_due(&c, 7, 50.0));
    c = never;
    c.automatic = true; /* no cost is known yet: every step */
    assert_true(sg_cadence_due(&c, 1, 50.0));
    c.interval = 10.0;
    assert_false(sg_cadence_due(&c, 2, 59.9));
    assert_true(sg_cadence_due(&c, 2, 60.0));
    assert_false(sg_cadence_due(&c, 2, 10.0)); /* a clock that went back is waited for */
    c = never;
    c.every_step = true;
    assert_true(sg_cadence_due(&c, 3, 50.0));
}

/* A cost that wobbles does not move the interval, one that has really changed does. */
static void test_measured(void **state) {
    sg_cadence c = {.automatic = true, .mtbf = 7200.0};
    double first;

    (void)state;
    assert_true(sg_cadence_measured(&c, 0.009));
    first = c.interval;
    expect_near(first, 11.378200368);
    assert_false(sg_cadence_measured(&c, 0.009));
    assert_false(sg_cadence_measured(&c, 0.018)); /* by the root of two */
    assert_false(sg_cadence_measured(&c, 0.003));
    expect_near(c.interval, first);
    assert_true(sg_cadence_measured(&c, 0.0225)); /* by 1.58 */
    expect_near(c.interval, sg_daly_interval(0.0225, 7200.0));
    assert_true(sg_cadence_measured(&c, 0.0225 / 4.5));
    c.mtbf = 600.0; /* another machine */
    assert_true(sg_cadence_measured(&c, 0.0225 / 4.5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_daly),
        cmocka_unit_test(test_waste),
        cmocka_unit_test(test_due),
        cmocka_unit_test(test_measured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
