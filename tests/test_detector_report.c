/* What an evaluation leaves to be drawn, from a data set of two pictures made here. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/image.h"
#include "train/detector_report.h"

enum { kSide = 64 };

static char folder[] = "/tmp/spotgrad-report-XXXXXX";
static char one[] = "one", two[] = "two", picture[64];
static char *names[2] = {one, two};
static float boxes[8] = {8, 8, 24, 24, 40, 40, 56, 56};
static int32_t labels[2] = {0, 1};
static sg_sample samples[2] = {
    {one, picture, kSide, kSide, boxes, labels, 2},
    {two, picture, kSide, kSide, NULL, NULL, 0},
};
static const sg_dataset dataset = {
    .classes = {2, names}, .n = 2, .samples = samples, .n_boxes = 2, .boxes = boxes};
static const sg_detection found[2] = {{{8, 8, 24, 24}, 0.9f, 0, 0}, {{0, 0, 8, 8}, 0.1f, 1, 0}};

static int set_up(void **state) {
    sg_image image;

    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(picture, sizeof picture, "%s/picture.png", folder);
    if (sg_image_create(kSide, kSide, &image) != SG_OK) return -1;
    memset(image.rgb, 200, kSide * kSide * 3);
    if (sg_image_write_png(picture, &image, 1) != SG_OK) return -1;
    sg_image_clear(&image);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(picture);
    return rmdir(folder);
}

/* A whole evaluation and its drawings. */
static sg_status report(sg_detector_report *r, const sg_detection *of_two, int64_t n) {
    sg_detection_metrics *m = NULL;
    sg_status st = sg_detection_metrics_create(2, SG_AP_MAX_BOXES, &m);

    sg_detector_report_begin(r);
    if (st == SG_OK) st = sg_detection_metrics_add(m, 0, found, 2, boxes, labels, 2);
    if (st == SG_OK) st = sg_detector_report_add(r, 0, found, 2);
    if (st == SG_OK) st = sg_detection_metrics_add(m, 1, of_two, n, NULL, NULL, 0);
    if (st == SG_OK) st = sg_detector_report_add(r, 1, of_two, n);
    if (st == SG_OK) st = sg_detection_metrics_finish(m);
    if (st == SG_OK) sg_detector_report_finish(r, m);
    if (st == SG_OK) st = sg_detector_report_draw(r, folder);
    sg_detection_metrics_destroy(m);
    return st;
}

static void read_file(const char *name, uint8_t **data, size_t *size) {
    char *path = sg_path_join(folder, name);

    assert_int_equal(sg_file_read(path, 0, data, size), SG_OK);
    sg_free(path);
}

static void remove_plots(void) {
    static const char *const files[] = {"precision_recall.png", "confusion.png", "predictions.png"};

    for (int i = 0; i < 3; i++) {
        char *path = sg_path_join(folder, files[i]);
        sg_image image;

        assert_int_equal(sg_image_read(path, &image), SG_OK);
        assert_true(image.width >= 400 && image.height >= 400);
        sg_image_clear(&image);
        assert_int_equal(unlink(path), 0);
        sg_free(path);
    }
}

/* A second evaluation begins anew: the same answers give the same bytes, others do not. */
static void test_evaluations_do_not_add_up(void **state) {
    const sg_detection wrong = {{30, 30, 50, 50}, 0.8f, 1, 0};
    static const char *const files[] = {"confusion.png", "predictions.png"};
    sg_detector_report *r = NULL;
    uint8_t *first[2], *again[2], *other[2];
    size_t first_size[2], again_size[2], other_size[2];

    (void)state;
    assert_int_equal(sg_detector_report_create(&dataset, 0.25f, &r), SG_OK);
    assert_int_equal(report(r, NULL, 0), SG_OK);
    for (int i = 0; i < 2; i++) read_file(files[i], &first[i], &first_size[i]);
    assert_int_equal(report(r, &wrong, 1), SG_OK);
    for (int i = 0; i < 2; i++) read_file(files[i], &other[i], &other_size[i]);
    assert_int_equal(report(r, NULL, 0), SG_OK);
    for (int i = 0; i < 2; i++) read_file(files[i], &again[i], &again_size[i]);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(first_size[i], again_size[i]);
        assert_memory_equal(first[i], again[i], first_size[i]);
        assert_true(first_size[i] != other_size[i] ||
                    memcmp(first[i], other[i], first_size[i]) != 0);
        sg_free(first[i]);
        sg_free(again[i]);
        sg_free(other[i]);
    }
    remove_plots();
    sg_detector_report_destroy(r);
}

static void test_a_picture_that_is_gone(void **state) {
    sg_detector_report *r = NULL;
    char *path = samples[1].path;

    (void)state;
    assert_int_equal(sg_detector_report_create(&dataset, 0.25f, &r), SG_OK);
    samples[1].path = one;
    assert_int_equal(report(r, NULL, 0), SG_ERR_MISSING);
    samples[1].path = path;
    assert_int_equal(report(r, NULL, 0), SG_OK);
    remove_plots();
    sg_detector_report_destroy(r);
}

static void test_no_memory(void **state) {
    long live = sg_mem_live();
    sg_status st = SG_ERR_OOM;

    (void)state;
    for (long n = 1; st != SG_OK; n += n < 30 ? 1 : 7) { /* drawing takes its time */
        sg_detector_report *r = NULL;

        sg_mem_fail_at(n);
        st = sg_detector_report_create(&dataset, 0.25f, &r);
        if (st == SG_OK) st = report(r, NULL, 0);
        sg_mem_fail_at(0);
        assert_true(st == SG_OK || st == SG_ERR_OOM);
        sg_detector_report_destroy(r);
        assert_int_equal(sg_mem_live(), live);
    }
    remove_plots();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluations_do_not_add_up),
        cmocka_unit_test(test_a_picture_that_is_gone),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
