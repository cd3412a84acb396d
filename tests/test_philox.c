/* Random numbers: published values of Philox, and the distributions made of them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/philox.h"

/* Philox4x32-10 of Random123's kat_vectors. */
static void test_published(void **state) {
    static const struct {
        uint64_t key, low, high;
        uint32_t word[4];
    } known[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~0ull, ~0ull, ~0ull, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x85a308d3243f6a88,
         0x0370734413198a2e,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        sg_philox4 got = sg_philox(known[i].key, known[i].low, known[i].high);

        assert_memory_equal(got.word, known[i].word, sizeof got.word);
    }
}

/* The share of draws below each point, against the distribution function. */
static void test_normal(void **state) {
    enum { kDraws = 400000 };
    static const double points[] = {-4.0, -3.0, -1.96, -1.44, -0.5, 0.0, 0.5, 1.44, 1.96, 3.0};
    sg_random r = sg_random_init(11);
    int below[sizeof points / sizeof *points] = {0};
    double sum = 0.0, squares = 0.0;

    (void)state;
    for (int i = 0; i < kDraws; i++) {
        double x = (double)sg_random_normal(&r);

        sum += x;
        squares += x * x;
        for (size_t k = 0; k < sizeof points / sizeof *points; k++) below[k] += x < points[k];
    }
    assert_true(fabs(sum / kDraws) < 0.006); /* four deviations */
    assert_true(fabs(squares / kDraws - 1.0) < 0.009);
    for (size_t k = 0; k < sizeof points / sizeof *points; k++) {
        double share = 0.5 * erfc(-points[k] / sqrt(2.0));
        double deviation = sqrt(share * (1.0 - share) / kDraws);

        assert_true(fabs((double)below[k] / kDraws - share) < 4.0 * deviation);
    }
}

/* A block at a time gives the numbers of one at a time, wherever it starts, and leaves the stream
 * where they would. */
static void test_many(void **state) {
    enum { kMany = 203 };

    (void)state;
    for (int start = 0; start < 5; start++) {
        sg_random one = sg_random_init(3), many = one;
        float x[kMany];

        for (int i = 0; i < start; i++) (void)sg_random_u32(&one);
        many.index = one.index;
        sg_random_normals(&many, x, kMany);
        for (int i = 0; i < kMany; i++) assert_true(x[i] == sg_random_normal(&one));
        assert_int_equal(many.index, one.index);
        sg_random_ranges(&many, -0.3f, 0.7f, x, kMany);
        for (int i = 0; i < kMany; i++) assert_true(x[i] == sg_random_range(&one, -0.3f, 0.7f));
        assert_int_equal(many.index, one.index);
    }
}

static void test_permute(void **state) {
    (void)state;
    for (int64_t n = 1; n < 70; n += 4) {
        char seen[70] = {0};

        for (int64_t i = 0; i < n; i++) {
            int64_t at = sg_permute(9, n, i);

            assert_in_range(at, 0, n - 1);
            assert_int_equal(seen[at]++, 0);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_permute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
