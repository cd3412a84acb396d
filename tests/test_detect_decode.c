/* From output tensors to boxes on the picture. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "nn/detect_decode.h"

enum { kAnchors = 6, kClasses = 2, kWidth = 400, kHeight = 300, kSide = 256 };

static const sg_nms_options kOptions = {.min_score = 0.25f, .max_iou = 0.5f, .max_boxes = 4};

/* Boxes on the picture, where the detector would have them in its input. */
static void to_input(const float picture[kAnchors][4], float input[kAnchors][4]) {
    sg_letterbox map = sg_letterbox_map(kWidth, kHeight, kSide);

    for (int i = 0; i < kAnchors; i++) sg_letterbox_apply(&map, picture[i], input[i]);
}

static void check_box(const sg_detection *d, int32_t label, int64_t anchor, float x0, float y0,
                      float x1, float y1) {
    const float want[] = {x0, y0, x1, y1};

    assert_int_equal(d->label, label);
    assert_int_equal(d->anchor, anchor);
    for (int k = 0; k < 4; k++) assert_true(fabsf(d->box[k] - want[k]) <= 1e-3f);
}

static void test_decode(void **state) {
    static const float picture[kAnchors][4] = {
        {10, 20, 50, 60},      /* found */
        {12, 21, 51, 62},      /* the same again, less sure: suppressed */
        {-8, 250, 30, 340},    /* over two borders: clipped */
        {500, 10, 520, 30},    /* beside the picture, in the matte */
        {380, 280, 400, 300},  /* in the corner */
        {100, 100, 140, 150}}; /* not sure enough */
    static const float scores[kAnchors][kClasses] = {{0.1f, 0.8f}, {0, 0.7f}, {0.9f, 0},
                                                     {0.95f, 0},   {0.6f, 0}, {0.25f, 0.2f}};
    sg_letterbox map = sg_letterbox_map(kWidth, kHeight, kSide);
    float input[kAnchors][4];
    sg_detection found[4];
    int64_t count = -1;

    (void)state;
    to_input(picture, input);
    assert_int_equal(sg_detect_decode(&kOptions, input[0], scores[0], kAnchors, kClasses, &map,
                                      kWidth, kHeight, found, &count),
                     SG_OK);
    assert_int_equal(count, 3);
    check_box(&found[0], 0, 2, 0, 250, 30, 300);
    check_box(&found[1], 1, 0, 10, 20, 50, 60);
    check_box(&found[2], 0, 4, 380, 280, 400, 300);
    assert_true(found[0].score == 0.9f);
}

static void test_nothing(void **state) {
    static const float boxes[kAnchors][4], scores[kAnchors][kClasses];
    sg_letterbox map = sg_letterbox_map(1, 5000, kSide);
    sg_detection found[4];
    int64_t count = -1;

    (void)state;
    assert_int_equal(sg_detect_decode(&kOptions, boxes[0], scores[0], kAnchors, kClasses, &map, 1,
                                      5000, found, &count),
                     SG_OK);
    assert_int_equal(count, 0);
}

static void test_errors(void **state) {
    static const float boxes[kAnchors][4], scores[kAnchors][kClasses];
    sg_letterbox map = sg_letterbox_map(kWidth, kHeight, kSide);
    sg_nms_options bad = kOptions;
    long before = sg_mem_live(), at = 0;
    sg_detection found[4];
    int64_t count = -1;
    sg_status st;

    (void)state;
    bad.max_boxes = 0;
    assert_int_equal(sg_detect_decode(&bad, boxes[0], scores[0], kAnchors, kClasses, &map, kWidth,
                                      kHeight, found, &count),
                     SG_ERR_ARG);
    do {
        assert_int_equal(count, -1);
        sg_mem_fail_at(++at);
        st = sg_detect_decode(&kOptions, boxes[0], scores[0], kAnchors, kClasses, &map, kWidth,
                              kHeight, found, &count);
        sg_mem_fail_at(0);
        if (st != SG_OK) assert_int_equal(st, SG_ERR_OOM);
        assert_int_equal(sg_mem_live(), before);
    } while (st != SG_OK);
    assert_true(at > 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
