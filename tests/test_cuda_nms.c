/* Non-maximum suppression on CUDA, under the emulation of a GPU: what sg_nms finds, to the last
 * bit. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "detect_nms.h"
#include "emulation/emulation.h"

enum { kPictures = 2, kMostScores = 6000, kMostBoxes = 128, kUntouched = 0xab };

static const sg_nms_options usual = {.min_score = 0.1f, .max_iou = 0.5f, .max_boxes = 128};

/* kPictures pictures of `anchors` and `classes`. */
static struct {
    int64_t anchors, classes;
    float boxes[kPictures * kMostScores * 4], scores[kPictures * kMostScores];
} s;

static void check_found(const sg_detection *found, int64_t n, const sg_detection *want,
                        int64_t n_want, int64_t max_boxes) {
    uint8_t untouched[sizeof *found];

    memset(untouched, kUntouched, sizeof untouched);
    assert_int_equal(n, n_want);
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&found[i], &want[i], sizeof *found) != 0)
            fail_msg("number %lld is anchor %lld of class %d, not %lld of %d", (long long)i,
                     (long long)found[i].anchor, found[i].label, (long long)want[i].anchor,
                     want[i].label);
    for (int64_t i = n; i < max_boxes; i++)
        assert_memory_equal(&found[i], untouched, sizeof untouched);
}

/* Both ways to the same, in two orders of the threads and on two kinds of garbage. Returns how many
 * boxes were found. */
static int64_t check_same(const sg_nms_options *o) {
    static sg_detection found[kPictures * kMostBoxes], want[kMostBoxes];
    int64_t count[kPictures], n, total = 0;
    uint64_t seed = sg_emulation_seed();
    size_t bytes = sg_cuda_nms_scratch(o, kPictures, s.anchors, s.classes);
    void *scratch = bytes > 0 ? sg_malloc(bytes) : NULL;

    assert_true(o->max_boxes <= kMostBoxes && s.anchors * s.classes <= kMostScores);
    for (uint64_t order = 0; order < 2; order++) {
        sg_emulation_set_seed(seed + order);
        memset(found, kUntouched, sizeof found);
        if (scratch) sg_emulation_garbage(scratch, bytes);
        if (sg_cuda_nms(o, kPictures, s.boxes, s.scores, s.anchors, s.classes, found, count,
                        scratch, NULL) != SG_OK)
            fail_msg("%s", sg_last_error());
        for (int p = 0; p < kPictures; p++) {
            assert_int_equal(sg_nms(o, s.boxes + p * s.anchors * 4,
                                    s.scores + p * s.anchors * s.classes, s.anchors, s.classes,
                                    want, &n),
                             SG_OK);
            check_found(found + p * o->max_boxes, count[p], want, n, o->max_boxes);
            total += n;
        }
    }
    sg_emulation_set_seed(seed);
    sg_free(scratch);
    return total / 2;
}

/* `levels`: so many different scores, 0: any. */
static void draw(uint64_t key, int64_t anchors, int64_t classes, int levels) {
    sg_random r = sg_random_init(key);

    s.anchors = anchors;
    s.classes = classes;
    for (int64_t i = 0; i < kPictures * anchors; i++) {
        float *box = s.boxes + 4 * i;

        box[0] = sg_random_range(&r, 0, 200);
        box[1] = sg_random_range(&r, 0, 200);
        box[2] = box[0] + sg_random_range(&r, 5, 60);
        box[3] = box[1] + sg_random_range(&r, 5, 60);
    }
    for (int64_t i = 0; i < kPictures * anchors * classes; i++)
        s.scores[i] = levels ? (float)sg_random_below(&r, levels) / (float)levels
                             : sg_random_float(&r) * sg_random_float(&r);
}

static void test_random(void **state) {
    static const int64_t shapes[][2] = {{600, 3}, {131, 7}, {1024, 1}, {1, 1}, {3, 40}, {997, 2}};
    static const float ious[] = {0.3f, 0.6f, 0.0f, 0.9f, 1.0f};
    int64_t total = 0;

    (void)state;
    for (int i = 0; i < 8; i++) {
        sg_nms_options o = {.min_score = i % 2 ? 0.2f : 0.0f, .max_iou = ious[i % 5]};

        o.max_boxes = i % 4 < 2 ? kMostBoxes : 1 + i;
        draw((uint64_t)i, shapes[i % 6][0], shapes[i % 6][1], i % 3 ? 0 : 8);
        total += check_same(&o);
    }
    assert_true(total > 500);
}

/* More candidates than are looked at: the best of them, ties by index, also where a tie is cut. */
static void test_limits(void **state) {
    sg_nms_options o = usual;

    (void)state;
    for (int i = 0; i < 8; i++) {
        static const int64_t limits[] = {1, 5, 64, 513};

        draw((uint64_t)i + 100, 400, 3, i % 2 ? 4 : 0);
        o.max_candidates = limits[i / 2];
        assert_true(check_same(&o) > 0);
    }
    /* the default, and then more than shared memory holds */
    o = (sg_nms_options){.min_score = 0.0f, .max_iou = 0.7f, .max_boxes = 40};
    draw(1, 1900, 3, 16);
    assert_int_equal(sg_cuda_nms_scratch(&o, 1, s.anchors, s.classes), 0);
    assert_true(check_same(&o) > 0);
    o.max_candidates = 5000;
    assert_int_equal(sg_cuda_nms_scratch(&o, 1, s.anchors, s.classes), 8192 * sizeof(uint64_t));
    assert_true(check_same(&o) > 0);
    o.max_candidates = INT64_MAX;
    assert_true(check_same(&o) > 0);
}

static void set_box(int64_t i, float x0, float y0, float x1, float y1) {
    const float box[4] = {x0, y0, x1, y1};

    memcpy(s.boxes + 4 * i, box, sizeof box);
}

/* One place, one score: anchors alone decide; an overlap that is the threshold itself. */
static void test_equals(void **state) {
    sg_nms_options o = usual;

    (void)state;
    draw(3, 300, 2, 1);
    for (int64_t i = 0; i < kPictures * s.anchors; i++) set_box(i, 10, 10, 30, 40);
    for (int64_t i = 0; i < kPictures * s.anchors * s.classes; i++) s.scores[i] = 0.5f;
    assert_int_equal(check_same(&o), 2 * kPictures);
    o.max_iou = 1.0f; /* nothing is greater */
    assert_int_equal(check_same(&o), kMostBoxes * kPictures);
    for (int64_t i = 0; i < kPictures * s.anchors; i++)
        set_box(i, 0, 0, 10, (float)(5 * (1 + i % 2))); /* IoU 1/2 */
    o.max_iou = 0.5f;
    assert_int_equal(check_same(&o), 4 * kPictures);
    o.max_iou = nextafterf(0.5f, 0.0f);
    assert_int_equal(check_same(&o), 2 * kPictures);
}

/* Numbers that are none, scores at the ends of their range, boxes without area or inside out. */
static void test_odd(void **state) {
    static const float scores[] = {NAN,  INFINITY, -INFINITY, 0.0f,    -0.0f,       FLT_MIN / 4,
                                   0.1f, 0.9f,     -0.5f,     FLT_MAX, FLT_MIN * 2, 0.1000001f};
    static const float sides[] = {NAN, INFINITY, -INFINITY, 0.0f, 1e30f, -3.0f, 8.0f, 9.0f, 5e-42f};
    sg_nms_options o = usual;
    sg_random r = sg_random_init(9);

    (void)state;
    draw(4, 500, 3, 0);
    for (int64_t i = 0; i < kPictures * s.anchors * s.classes; i++)
        s.scores[i] = scores[sg_random_below(&r, 12)];
    for (int64_t i = 0; i < kPictures * s.anchors * 4; i++)
        if (i % 3) s.boxes[i] = sides[sg_random_below(&r, 9)];
    assert_true(check_same(&o) > 0);
    o.min_score = 0.0f;
    assert_true(check_same(&o) > 0);
    o.min_score = 2.0f; /* FLT_MAX alone */
    assert_true(check_same(&o) > 0);
    o.min_score = FLT_MAX;
    assert_int_equal(check_same(&o), 0);
    s.anchors = 0;
    o = usual;
    assert_int_equal(check_same(&o), 0);
}

static void test_errors(void **state) {
    sg_nms_options o = usual;
    sg_detection found;
    int64_t n = 17;

    (void)state;
    o.max_iou = NAN;
    assert_int_equal(sg_cuda_nms(&o, 1, s.boxes, s.scores, 1, 1, &found, &n, NULL, NULL),
                     SG_ERR_ARG);
    o = usual;
    o.max_boxes = 0;
    assert_int_equal(sg_cuda_nms(&o, 1, s.boxes, s.scores, 1, 1, &found, &n, NULL, NULL),
                     SG_ERR_ARG);
    assert_int_equal(sg_cuda_nms(&usual, 0, s.boxes, s.scores, 1, 1, &found, &n, NULL, NULL),
                     SG_OK);
    assert_int_equal(n, 17);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random), cmocka_unit_test(test_limits), cmocka_unit_test(test_equals),
        cmocka_unit_test(test_odd),    cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
