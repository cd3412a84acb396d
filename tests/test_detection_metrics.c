/* Average precision against pycocotools' numbers (tests/data/coco_cases.txt), to 1e-9. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "out_of_memory.h"
#include "train/detection_metrics.h"

enum { kMaxRows = 1024, kMaxPictures = 64 };

typedef struct {
    long id;
    int n_truths, n_found;
    float truth_boxes[kMaxRows][4];
    int32_t truth_labels[kMaxRows];
    sg_detection found[kMaxRows];
} picture;

static FILE *cases;
static picture *pictures;

static int open_cases(void **state) {
    (void)state;
    cases = fopen("tests/data/coco_cases.txt", "r");
    pictures = sg_calloc(kMaxPictures, sizeof *pictures);
    return cases && pictures ? 0 : -1;
}

static int close_cases(void **state) {
    (void)state;
    sg_free(pictures);
    return fclose(cases);
}

static double number(void) {
    char word[64];

    assert_int_equal(fscanf(cases, "%63s", word), 1);
    return strtod(word, NULL);
}

static long integer(void) { return (long)number(); }

/* NaN only equals NaN. */
static void check(const char *name, const char *what, double got, double want) {
    if (isnan(want) ? isnan(got) : fabs(got - want) <= 1e-9) return;
    fail_msg("%s: %s is %.12g, not %.12g", name, what, got, want);
}

static void read_box(float box[4]) {
    for (int k = 0; k < 4; k++) box[k] = (float)number();
}

static void read_picture(picture *p) {
    char word[64];

    assert_int_equal(fscanf(cases, "%63s", word), 1);
    assert_string_equal(word, "picture");
    p->id = integer();
    p->n_truths = (int)integer();
    p->n_found = (int)integer();
    assert_in_range(p->n_truths, 0, kMaxRows);
    assert_in_range(p->n_found, 0, kMaxRows);
    for (int i = 0; i < p->n_truths; i++) {
        assert_int_equal(fscanf(cases, "%63s", word), 1);
        assert_string_equal(word, "t");
        p->truth_labels[i] = (int32_t)integer();
        read_box(p->truth_boxes[i]);
    }
    for (int i = 0; i < p->n_found; i++) {
        assert_int_equal(fscanf(cases, "%63s", word), 1);
        assert_string_equal(word, "d");
        p->found[i].label = (int32_t)integer();
        p->found[i].score = (float)number();
        read_box(p->found[i].box);
    }
}

static sg_status add(sg_detection_metrics *m, const picture *p) {
    return sg_detection_metrics_add(m, p->id, p->found, p->n_found, p->truth_boxes[0],
                                    p->truth_labels, p->n_truths);
}

static void check_curve(const sg_detection_metrics *m, const char *name, const char *what) {
    double precision[SG_AP_RECALLS], score[SG_AP_RECALLS];
    int area = (int)integer(), label = (int)integer(), t = (int)integer();

    sg_detection_metrics_curve(m, (sg_area)area, label, t, precision, score);
    for (int i = 0; i < SG_AP_RECALLS; i++)
        check(name, what, strcmp(what, "curve") == 0 ? precision[i] : score[i], number());
}

static void check_class(const sg_detection_metrics *m, const char *name) {
    int area = (int)integer(), label = (int)integer();
    sg_class_ap ap = sg_detection_metrics_class(m, (sg_area)area, label);

    check(name, "count", (double)ap.count, number());
    check(name, "AP50", ap.ap50, number());
    check(name, "AP50:95", ap.ap50_95, number());
    check(name, "recall50", ap.recall50, number());
}

static void check_case(const char *name, const sg_detection_metrics *m) {
    char word[64];

    for (;;) {
        assert_int_equal(fscanf(cases, "%63s", word), 1);
        if (strcmp(word, "end") == 0) return;
        if (strcmp(word, "class") == 0) {
            check_class(m, name);
        } else if (strcmp(word, "mean") == 0) {
            sg_class_ap mean = sg_detection_metrics_mean(m, (sg_area)integer());

            check(name, "mAP50", mean.ap50, number());
            check(name, "mAP50:95", mean.ap50_95, number());
        } else {
            check_curve(m, name, word);
        }
    }
}

static void test_coco(void **state) {
    char name[64];
    int n = 0;

    (void)state;
    while (fscanf(cases, " case %63s", name) == 1) {
        sg_detection_metrics *m;
        int classes = (int)integer(), n_pictures = (int)integer(), max_boxes = (int)integer();

        assert_in_range(n_pictures, 1, kMaxPictures);
        assert_int_equal(sg_detection_metrics_create(classes, max_boxes, &m), SG_OK);
        for (int i = 0; i < n_pictures; i++) {
            read_picture(&pictures[i]);
            assert_int_equal(add(m, &pictures[i]), SG_OK);
        }
        assert_int_equal(sg_detection_metrics_finish(m), SG_OK);
        check_case(name, m);
        sg_detection_metrics_destroy(m);
        n++;
    }
    assert_true(feof(cases));
    assert_int_equal(n, 26);
}

/* Few scores, so that many are equal. */
static void draw_pictures(int n) {
    sg_random r = sg_random_init(11);

    for (int i = 0; i < n; i++) {
        picture *p = &pictures[i];

        p->id = i * 7;
        p->n_truths = p->n_found = 20;
        for (int k = 0; k < 20; k++) {
            float x = sg_random_range(&r, 0, 100), y = sg_random_range(&r, 0, 100);
            float size = sg_random_range(&r, 8, 40);
            float box[4] = {x, y, x + size, y + size};

            memcpy(p->truth_boxes[k], box, sizeof box);
            memcpy(p->found[k].box, box, sizeof box);
            p->found[k].box[0] += sg_random_range(&r, -4, 4);
            p->truth_labels[k] = (int32_t)sg_random_below(&r, 2);
            p->found[k].label = (int32_t)sg_random_below(&r, 2);
            p->found[k].score = (float)sg_random_below(&r, 4) / 4;
        }
    }
}

static sg_class_ap mean_of(int n, int first, int stride) {
    sg_detection_metrics *m;
    sg_class_ap ap;

    assert_int_equal(sg_detection_metrics_create(2, SG_AP_MAX_BOXES, &m), SG_OK);
    for (int i = 0; i < n; i++)
        assert_int_equal(add(m, &pictures[(first + i * stride) % n]), SG_OK);
    assert_int_equal(sg_detection_metrics_finish(m), SG_OK);
    ap = sg_detection_metrics_mean(m, SG_AREA_ALL);
    sg_detection_metrics_destroy(m);
    return ap;
}

static void test_order_of_pictures(void **state) {
    sg_class_ap want, got;

    (void)state;
    draw_pictures(11);
    want = mean_of(11, 0, 1);
    assert_true(want.ap50 > 0.1 && want.ap50 < 0.9);
    for (int stride = 2; stride < 11; stride++) {
        got = mean_of(11, stride, stride);
        assert_memory_equal(&got, &want, sizeof want);
    }
}

static void test_errors(void **state) {
    sg_detection_metrics *m;
    picture *p = &pictures[0];

    (void)state;
    assert_int_equal(sg_detection_metrics_create(0, 1, &m), SG_ERR_ARG);
    assert_int_equal(sg_detection_metrics_create(1, 0, &m), SG_ERR_ARG);
    draw_pictures(2);
    assert_int_equal(sg_detection_metrics_create(2, SG_AP_MAX_BOXES, &m), SG_OK);
    p->found[3].label = 2;
    assert_int_equal(add(m, p), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "metrics: picture 0, found 3: no class 2");
    p->found[3].label = 1;
    p->truth_labels[4] = -1;
    assert_int_equal(add(m, p), SG_ERR_ARG);
    p->truth_labels[4] = 0;
    p->found[5].score = NAN;
    assert_int_equal(add(m, p), SG_ERR_ARG);
    p->found[5].score = 0.5f;
    p->found[6].box[2] = INFINITY;
    assert_int_equal(add(m, p), SG_ERR_ARG);
    p->found[6].box[2] = 20.0f;
    assert_int_equal(add(m, p), SG_OK);
    assert_int_equal(add(m, &pictures[1]), SG_OK);
    assert_int_equal(sg_detection_metrics_finish(m), SG_OK);
    assert_int_equal(sg_detection_metrics_mean(m, SG_AREA_ALL).count, 40);
    assert_int_equal(add(m, &pictures[1]), SG_OK);
    assert_int_equal(sg_detection_metrics_finish(m), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "metrics: picture 7 was added twice");
    sg_detection_metrics_destroy(m);
    sg_detection_metrics_destroy(NULL);
}

static sg_status whole(void) {
    sg_detection_metrics *m;
    sg_status st = sg_detection_metrics_create(2, SG_AP_MAX_BOXES, &m);

    if (st != SG_OK) return st;
    for (int i = 0; i < 8 && st == SG_OK; i++) st = add(m, &pictures[i]);
    if (st == SG_OK) st = sg_detection_metrics_finish(m);
    sg_detection_metrics_destroy(m);
    return st;
}

static void test_out_of_memory(void **state) {
    long live = sg_mem_live();

    (void)state;
    draw_pictures(8);
    FAIL_EACH_ALLOCATION(whole(), 8);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_coco),
        cmocka_unit_test(test_order_of_pictures),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, open_cases, close_cases);
}
