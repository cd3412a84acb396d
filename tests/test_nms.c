/* Non-maximum suppression: by hand, and against the plainest way to do it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "nn/nms.h"

enum { kAnchors = 600, kClasses = 3, kPairs = kAnchors * kClasses };

static const sg_nms_options usual = {.min_score = 0.1f, .max_iou = 0.5f, .max_boxes = 128};

static void test_iou(void **state) {
    const float a[4] = {0, 0, 10, 10}, half[4] = {5, 0, 15, 10}, beside[4] = {10, 0, 20, 10};
    const float inside[4] = {2, 2, 4, 7}, line[4] = {3, 3, 3, 9};

    (void)state;
    assert_true(sg_box_iou(a, a) == 1.0);
    assert_true(sg_box_iou(a, half) == 50.0 / 150.0);
    assert_true(sg_box_iou(half, a) == 50.0 / 150.0);
    assert_true(sg_box_iou(a, beside) == 0.0);
    assert_true(sg_box_iou(a, inside) == 0.1);
    assert_true(sg_box_iou(a, line) == 0.0);
    assert_true(sg_box_iou(line, line) == 0.0);
}

static void test_by_hand(void **state) {
    const float boxes[5][4] = {
        {0, 0, 10, 10}, {1, 0, 11, 10}, {0, 0, 10, 10}, {50, 50, 60, 60}, {0, 5, 10, 15}};
    const float scores[5][2] = {{0.8f, 0.0f}, {0.9f, 0.3f}, {0.8f, 0.4f}, {0.1f, 0.2f}, {0.5f, 0}};
    sg_detection found[128];
    int64_t n;

    (void)state;
    assert_int_equal(sg_nms(&usual, boxes[0], scores[0], 5, 2, found, &n), SG_OK);
    /* Anchor 1 suppresses 0 and 2 in class 0 but not 4 (IoU 45/155); class 1 is apart; 0.1 is not
     * above 0.1. */
    assert_int_equal(n, 4);
    assert_int_equal(found[0].anchor, 1);
    assert_int_equal(found[0].label, 0);
    assert_true(found[0].score == 0.9f);
    assert_memory_equal(found[0].box, boxes[1], sizeof boxes[1]);
    assert_int_equal(found[1].anchor, 4);
    assert_int_equal(found[2].anchor, 2);
    assert_int_equal(found[2].label, 1);
    assert_int_equal(found[3].anchor, 3);
    assert_int_equal(found[3].label, 1);
}

static void test_threshold_of_iou(void **state) {
    const float boxes[2][4] = {{0, 0, 10, 10}, {0, 0, 10, 5}}; /* IoU is 0.5 */
    const float scores[2] = {0.5f, 0.4f};
    sg_nms_options o = usual;
    sg_detection found[128];
    int64_t n;

    (void)state;
    assert_int_equal(sg_nms(&o, boxes[0], scores, 2, 1, found, &n), SG_OK);
    assert_int_equal(n, 2);
    o.max_iou = 0.49f;
    assert_int_equal(sg_nms(&o, boxes[0], scores, 2, 1, found, &n), SG_OK);
    assert_int_equal(n, 1);
}

static void test_ties_and_limits(void **state) {
    float boxes[20][4], scores[20][2];
    sg_nms_options o = usual;
    sg_detection found[128];
    int64_t n;

    (void)state;
    for (int i = 0; i < 20; i++) {
        const float box[4] = {(float)i * 10, 0, (float)i * 10 + 8, 8};

        memcpy(boxes[i], box, sizeof box);
        scores[i][0] = scores[i][1] = 0.5f;
    }
    o.max_boxes = 7;
    assert_int_equal(sg_nms(&o, boxes[0], scores[0], 20, 2, found, &n), SG_OK);
    assert_int_equal(n, 7);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(found[i].anchor, i / 2);
        assert_int_equal(found[i].label, i % 2);
    }
    o.max_boxes = 128;
    o.max_candidates = 5;
    scores[19][1] = 0.75f;
    assert_int_equal(sg_nms(&o, boxes[0], scores[0], 20, 2, found, &n), SG_OK);
    assert_int_equal(n, 5);
    assert_int_equal(found[0].anchor, 19);
    assert_int_equal(found[4].anchor, 1);
    assert_int_equal(sg_nms(&o, boxes[0], scores[0], 0, 2, found, &n), SG_OK);
    assert_int_equal(n, 0);
}

static void test_not_finite(void **state) {
    float boxes[4][4] = {{0, 0, 10, 10}, {0, 0, 10, 10}, {0, 0, 10, 10}, {0, 0, 10, 10}};
    const float scores[4] = {0.9f, NAN, INFINITY, 0.5f};
    sg_detection found[128];
    int64_t n;

    (void)state;
    boxes[0][2] = NAN;
    assert_int_equal(sg_nms(&usual, boxes[0], scores, 4, 1, found, &n), SG_OK);
    assert_int_equal(n, 1);
    assert_int_equal(found[0].anchor, 3);
}

static void draw(uint64_t key, int levels, float boxes[][4], float *scores) {
    sg_random r = sg_random_init(key);

    for (int i = 0; i < kAnchors; i++) {
        boxes[i][0] = sg_random_range(&r, 0, 200);
        boxes[i][1] = sg_random_range(&r, 0, 200);
        boxes[i][2] = boxes[i][0] + sg_random_range(&r, 5, 60);
        boxes[i][3] = boxes[i][1] + sg_random_range(&r, 5, 60);
    }
    for (int i = 0; i < kPairs; i++)
        scores[i] = levels ? (float)sg_random_below(&r, levels) / (float)levels
                           : sg_random_float(&r) * sg_random_float(&r);
}

/* The definition: again and again the best of what is left, the first of equals; then strike it
 * and all that it suppresses. */
static int64_t brute_force(const sg_nms_options *o, float boxes[][4], const float *scores,
                           sg_detection *found) {
    static float left[kPairs];
    int64_t n = 0;

    memcpy(left, scores, sizeof left);
    while (n < o->max_boxes) {
        int best = 0;

        for (int i = 1; i < kPairs; i++)
            if (left[i] > left[best]) best = i;
        if (!(left[best] > o->min_score)) break;
        found[n].anchor = best / kClasses;
        found[n].label = best % kClasses;
        found[n].score = left[best];
        memcpy(found[n].box, boxes[best / kClasses], sizeof boxes[0]);
        n++;
        left[best] = 0.0f;
        for (int i = best % kClasses; i < kPairs; i += kClasses)
            if (sg_box_iou(boxes[i / kClasses], boxes[best / kClasses]) > (double)o->max_iou)
                left[i] = 0.0f;
    }
    return n;
}

static void test_brute_force(void **state) {
    static float boxes[kAnchors][4], scores[kPairs];
    sg_detection found[256], want[256];
    const float ious[3] = {0.3f, 0.6f, 0.9f};
    int64_t n, total = 0;

    (void)state;
    for (uint64_t key = 0; key < 24; key++) {
        sg_nms_options o = {.min_score = key % 2 ? 0.2f : 0.0f, .max_iou = ious[key % 3]};

        o.max_boxes = key % 4 < 2 ? 256 : 40;
        draw(key, key % 5 == 0 ? 8 : 0, boxes, scores);
        assert_int_equal(sg_nms(&o, boxes[0], scores, kAnchors, kClasses, found, &n), SG_OK);
        assert_int_equal(n, brute_force(&o, boxes, scores, want));
        for (int64_t i = 0; i < n; i++) {
            assert_int_equal(found[i].anchor, want[i].anchor);
            assert_int_equal(found[i].label, want[i].label);
            assert_true(found[i].score == want[i].score);
        }
        total += n;
    }
    assert_true(total > 24 * 30);
}

static void test_errors(void **state) {
    const float box[4] = {0, 0, 1, 1}, score = 0.5f;
    sg_nms_options o = usual;
    long live = sg_mem_live();
    sg_detection found;
    int64_t n = 17;

    (void)state;
    o.min_score = -0.5f;
    assert_int_equal(sg_nms(&o, box, &score, 1, 1, &found, &n), SG_ERR_ARG);
    o = usual;
    o.max_iou = NAN;
    assert_int_equal(sg_nms(&o, box, &score, 1, 1, &found, &n), SG_ERR_ARG);
    o = usual;
    o.max_boxes = 0;
    assert_int_equal(sg_nms(&o, box, &score, 1, 1, &found, &n), SG_ERR_ARG);
    assert_int_equal(sg_nms(&usual, box, &score, 1, 0, &found, &n), SG_ERR_ARG);
    sg_mem_fail_at(1);
    assert_int_equal(sg_nms(&usual, box, &score, 1, 1, &found, &n), SG_ERR_OOM);
    sg_mem_fail_at(0);
    assert_int_equal(n, 17);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iou),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_threshold_of_iou),
        cmocka_unit_test(test_ties_and_limits),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_brute_force),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
