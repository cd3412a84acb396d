/* Confusion of classes on cases worked by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "train/confusion.h"

enum { kClasses = 2, kSide = kClasses + 1, kCells = kSide * kSide };

static sg_detection box(float x, float y, float side, int32_t label, float score) {
    return (sg_detection){{x, y, x + side, y + side}, score, label, 0};
}

static void check(const int64_t *counts, const int64_t expected[kCells]) {
    for (int i = 0; i < kCells; i++) assert_int_equal(counts[i], expected[i]);
}

static void test_hits_misses_and_mistakes(void **state) {
    const float truths[12] = {0, 0, 10, 10, 20, 20, 30, 30, 40, 40, 50, 50};
    const int32_t labels[3] = {0, 1, 1};
    const sg_detection found[4] = {
        box(0, 0, 10, 0, 0.9f),   /* right */
        box(20, 20, 10, 0, 0.8f), /* takes a 1 for a 0 */
        box(80, 80, 10, 1, 0.7f), /* nothing there */
        box(40, 40, 10, 1, 0.2f), /* right, but its score is too low: the truth is missed */
    };
    int64_t counts[kCells] = {0};

    (void)state;
    assert_int_equal(sg_confusion_add(kClasses, 0.25f, found, 4, truths, labels, 3, counts), SG_OK);
    check(counts, (int64_t[]){1, 0, 0, 1, 0, 1, 0, 1, 0});
    assert_int_equal(sg_confusion_add(kClasses, 0.25f, found, 1, truths, labels, 1, counts), SG_OK);
    check(counts, (int64_t[]){2, 0, 0, 1, 0, 1, 0, 1, 0}); /* pictures add up */
}

/* One truth, two boxes: the one that fits better has it, whatever score or class. */
static void test_the_better_fit_takes_it(void **state) {
    const float truth[4] = {0, 0, 10, 10};
    const int32_t label = 0;
    const sg_detection found[2] = {box(1, 0, 10, 0, 0.9f), box(0, 0, 10, 1, 0.5f)};
    int64_t counts[kCells] = {0};

    (void)state;
    assert_int_equal(sg_confusion_add(kClasses, 0.25f, found, 2, truth, &label, 1, counts), SG_OK);
    check(counts, (int64_t[]){0, 1, 0, 0, 0, 0, 1, 0, 0});
}

/* Boxes that fit equally: the first; one box over two truths: the first of them. */
static void test_ties(void **state) {
    const float truths[8] = {0, 0, 10, 10, 0, 0, 10, 10};
    const int32_t labels[2] = {1, 0};
    const sg_detection found[2] = {box(0, 0, 10, 0, 0.5f), box(0, 0, 10, 1, 0.9f)};
    int64_t counts[kCells] = {0};

    (void)state;
    assert_int_equal(sg_confusion_add(kClasses, 0.25f, found, 2, truths, labels, 1, counts), SG_OK);
    check(counts, (int64_t[]){0, 0, 0, 1, 0, 0, 0, 1, 0});
    memset(counts, 0, sizeof counts);
    assert_int_equal(sg_confusion_add(kClasses, 0.25f, found, 1, truths, labels, 2, counts), SG_OK);
    check(counts, (int64_t[]){0, 0, 1, 1, 0, 0, 0, 0, 0});
}

/* IoU 0.5 counts, less does not: (0, 0, 10, 10) and (0, 0, 10, 5) share a half. */
static void test_border_of_overlap(void **state) {
    const float truth[4] = {0, 0, 10, 10};
    const int32_t label = 1;
    sg_detection found = {{0, 0, 10, 5}, 0.9f, 1, 0};
    int64_t counts[kCells] = {0};

    (void)state;
    assert_int_equal(sg_confusion_add(kClasses, 0.0f, &found, 1, truth, &label, 1, counts), SG_OK);
    check(counts, (int64_t[]){0, 0, 0, 0, 1, 0, 0, 0, 0});
    found.box[3] = 4.99f;
    memset(counts, 0, sizeof counts);
    assert_int_equal(sg_confusion_add(kClasses, 0.0f, &found, 1, truth, &label, 1, counts), SG_OK);
    check(counts, (int64_t[]){0, 0, 0, 0, 0, 1, 0, 1, 0});
}

static void test_nothing(void **state) {
    int64_t counts[kCells] = {0};

    (void)state;
    assert_int_equal(sg_confusion_add(kClasses, 0.0f, NULL, 0, NULL, NULL, 0, counts), SG_OK);
    check(counts, (int64_t[kCells]){0});
}

static void test_no_memory(void **state) {
    const float truth[4] = {0, 0, 10, 10};
    const int32_t label = 0;
    const sg_detection found = box(0, 0, 10, 0, 0.9f);
    int64_t counts[kCells] = {0};
    long live = sg_mem_live(), n = 0;
    sg_status st;

    (void)state;
    do {
        sg_mem_fail_at(++n);
        st = sg_confusion_add(kClasses, 0.25f, &found, 1, truth, &label, 1, counts);
        sg_mem_fail_at(0);
        assert_int_equal(sg_mem_live(), live);
        assert_int_equal(counts[0], st == SG_OK);
    } while (st == SG_ERR_OOM);
    assert_int_equal(st, SG_OK);
    assert_true(n > 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hits_misses_and_mistakes),
        cmocka_unit_test(test_the_better_fit_takes_it),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_border_of_overlap),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
