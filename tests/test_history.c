#define _GNU_SOURCE
/* The history of a run: what goes into a model file comes back, and goes on to the same. */
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
#include "out_of_memory.h"
#include "train/history.h"
#include "train/run_plots.h"

static char loss[] = "loss", normaliser[] = "normaliser";
static const sg_table table = {.n_sums = 2, .sum_name = {normaliser, loss}};
static const char kFirst[] = "{\"mAP50\":0.25,\"mAP50_95\":null,\"classes\":{}}";
static const char kSecond[] = "{\"mAP50\":0.125,\"mAP50_95\":0.1,\"classes\":{}}";
static const char kFirstLine[] = "{\"step\":4,\"epoch\":1,\"lr\":0.1,\"loss\":0.333333,"
                                 "\"mAP50\":0.25,\"mAP50_95\":null,\"classes\":{}}\n";

/* A step, a point, an evaluation, a step, an evaluation, two steps. */
static void fill(sg_history *h) {
    double sum[SG_MAX_SUMS] = {1.0, 1.0 / 3.0, 0.1};

    sg_history_step(h, sum);
    assert_int_equal(sg_history_add_point(h, &table, 2, 0.1), SG_OK);
    assert_int_equal(sg_history_add_evaluation(h, &table, 4, 1, 0.1, kFirst), SG_OK);
    sg_history_step(h, sum);
    assert_int_equal(sg_history_add_evaluation(h, &table, 8, 2, 0.1, kSecond), SG_OK);
    sg_history_step(h, sum);
    sg_history_step(h, sum);
}

static void test_comes_back(void **state) {
    sg_history a = {0}, b = {0};
    long live = sg_mem_live();
    char *text = NULL, *again = NULL;

    (void)state;
    fill(&a);
    assert_string_equal(a.points, "{\"train\":2,\"lr\":0.1,\"loss\":0.333333}\n");
    assert_memory_equal(a.text, kFirstLine, strlen(kFirstLine));
    assert_int_equal(a.since_point.n, 3);
    assert_int_equal(a.since_evaluation.n, 2);
    assert_int_equal(sg_history_write(&a, &text), SG_OK);
    assert_int_equal(sg_history_set(&b, text), SG_OK);
    assert_string_equal(b.text, a.text);
    assert_string_equal(b.points, a.points);
    assert_memory_equal(&b.since_point, &a.since_point, sizeof a.since_point);
    assert_memory_equal(&b.since_evaluation, &a.since_evaluation, sizeof a.since_evaluation);
    assert_int_equal(b.n, 2);
    assert_int_equal(sg_history_last_step(&b), 8);
    assert_int_equal(sg_history_since_best(&b), 1);
    assert_true(b.top_score[0] == 0.25);
    assert_int_equal(sg_history_write(&b, &again), SG_OK);
    assert_string_equal(again, text);
    sg_free(text);
    sg_free(again);
    sg_history_clear(&a);
    sg_history_clear(&b);
    assert_int_equal(sg_mem_live(), live);
}

/* Equal scores, and ones that differ behind the last digit that is written: whoever goes on from
 * the text takes the same one for the best as whoever wrote it. */
static void test_ties(void **state) {
    static const char *const figures[] = {"{\"mAP50\":0.6666666666666666}",
                                          "{\"mAP50\":0.3333333333333333}",
                                          "{\"mAP50\":0.6666666666666666}",
                                          "{\"mAP50\":0.66666666666667}",
                                          "{\"value\":0.3333333333333333}",
                                          "{\"value\":0.7}",
                                          "{\"value\":null}"};
    static const int64_t since_best[] = {0, 1, 2, 3, 4, 0, 1};
    static const int64_t best_first[] = {6, 1, 3, 4, 2, 5};
    sg_history a = {0}, b = {0};

    (void)state;
    for (int i = 0; i < 7; i++) {
        char *text;

        assert_int_equal(sg_history_add_evaluation(&a, &table, i + 1, 1, 0.1, figures[i]), SG_OK);
        assert_int_equal(sg_history_write(&a, &text), SG_OK);
        if (b.n > 0) /* it went on from the one before */
            assert_int_equal(sg_history_add_evaluation(&b, &table, i + 1, 1, 0.1, figures[i]),
                             SG_OK);
        assert_int_equal(sg_history_since_best(&a), since_best[i]);
        if (b.n > 0) assert_int_equal(sg_history_since_best(&b), since_best[i]);
        assert_int_equal(sg_history_set(&b, text), SG_OK);
        assert_int_equal(sg_history_since_best(&b), since_best[i]);
        assert_memory_equal(a.top_step, b.top_step, (size_t)a.n_top * sizeof *a.top_step);
        sg_free(text);
    }
    assert_int_equal(a.n_top, 6);
    assert_memory_equal(a.top_step, best_first, sizeof best_first);
    sg_history_clear(&a);
    sg_history_clear(&b);
}

/* An evaluation that has no score is not the best of any, not even of those before the first that
 * has one; nor is it one without a better. */
static void test_no_score(void **state) {
    static const char *const figures[] = {"{\"mAP50\":null}", "{}", "{\"mAP50\":0.0}",
                                          "{\"mAP50\":null}"};
    static const int64_t best_step[] = {-1, -1, 3, 3}, since_best[] = {0, 0, 0, 1};
    sg_history h = {0};

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(sg_history_add_evaluation(&h, &table, i + 1, 1, 0.1, figures[i]), SG_OK);
        assert_int_equal(sg_history_best_step(&h), best_step[i]);
        assert_int_equal(sg_history_since_best(&h), since_best[i]);
    }
    sg_history_clear(&h);
}

static void test_empty_and_older(void **state) {
    sg_history h = {0};
    char *text = NULL;

    (void)state;
    assert_int_equal(sg_history_write(&h, &text), SG_OK);
    assert_int_equal(sg_history_set(&h, text), SG_OK);
    assert_int_equal(h.n, 0);
    assert_int_equal(sg_history_last_step(&h), -1);
    assert_int_equal(sg_history_best_step(&h), -1);
    sg_free(text);
    text = sg_strdup(kFirstLine); /* a file of before there were points */
    assert_int_equal(sg_history_set(&h, text), SG_OK);
    assert_int_equal(h.n, 1);
    assert_null(h.points);
    assert_int_equal(h.since_point.n, 0);
    sg_free(text);
    sg_history_clear(&h);
}

#define SUMS "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0"
static const char kNoCount[] = /* of steps */
    "{\"since_point\":[\"2\"," SUMS "],\"since_evaluation\":[2," SUMS "]}";

static void test_refuses_what_is_none(void **state) {
    static const char *const texts[] = {"{",
                                        "{}",
                                        "{\"since_point\":[1]}",
                                        "{\"since_point\":[],\"since_evaluation\":[]}",
                                        "{\"step\":\"4\"}",
                                        kNoCount};
    sg_history h = {0};

    (void)state;
    assert_int_equal(sg_history_add_evaluation(&h, &table, 4, 1, 0.1, "[]"), SG_ERR_DATA);
    assert_int_equal(sg_history_add_evaluation(&h, &table, 4, 1, 0.1, "{"), SG_ERR_DATA);
    assert_int_equal(h.n, 0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(sg_history_set(&h, texts[i]), SG_ERR_DATA);
        sg_history_clear(&h);
    }
}

static void test_no_memory(void **state) {
    long live = sg_mem_live();
    sg_history a = {0};
    char *text = NULL;
    sg_status st = SG_ERR_OOM;

    (void)state;
    fill(&a);
    FAIL_EACH_ALLOCATION(sg_history_write(&a, &text), 1);
    for (long n = 1; st != SG_OK; n++) {
        sg_history b = {0};

        sg_mem_fail_at(n);
        st = sg_history_set(&b, text);
        sg_mem_fail_at(0);
        assert_true(st == SG_OK || st == SG_ERR_OOM);
        sg_history_clear(&b);
    }
    sg_free(text);
    sg_history_clear(&a);
    assert_int_equal(sg_mem_live(), live);
}

/* --- plots of it --- */

static void check_png(const char *folder, const char *name) {
    char *path = sg_path_join(folder, name);
    sg_image image;

    assert_int_equal(sg_image_read(path, &image), SG_OK);
    assert_int_equal(image.width, 1600);
    sg_image_clear(&image);
    assert_int_equal(unlink(path), 0);
    sg_free(path);
}

/* metrics.png of two evaluations. */
static sg_image drawn(const char *folder, const char *first, const char *second) {
    char *path = sg_path_join(folder, "metrics.png");
    sg_history h = {0};
    sg_image image;

    assert_int_equal(sg_history_add_evaluation(&h, &table, 4, 1, 0.1, first), SG_OK);
    assert_int_equal(sg_history_add_evaluation(&h, &table, 8, 2, 0.1, second), SG_OK);
    assert_int_equal(sg_run_plots(&h, &table, folder), SG_OK);
    assert_int_equal(sg_image_read(path, &image), SG_OK);
    assert_int_equal(unlink(path), 0);
    sg_history_clear(&h);
    sg_free(path);
    return image;
}

/* Each pair of evaluations is drawn as the one behind it. */
static void test_figures(void **state) {
    static const char *const pairs[][2] = {
        {"{\"metric\":\"f1:x\",\"value\":0.5,\"b\":0.7,\"count\":500}",
         "{\"metric\":\"f1:x\",\"value\":0.4,\"b\":0.6,\"count\":500}"},
        {"{\"f1:x\":0.5,\"b\":0.7}", "{\"f1:x\":0.4,\"b\":0.6}"},
        /* what is judged by is there twice */
        {"{\"metric\":\"b\",\"value\":0.5,\"b\":0.5}",
         "{\"metric\":\"b\",\"value\":0.4,\"b\":0.4}"},
        {"{\"b\":0.5}", "{\"b\":0.4}"},
        {"{\"metric\":\"mean\",\"value\":0.5,\"tasks\":{\"t\":{\"value\":0.2},\"u\":{\"value\":1.0}"
         "}}",
         "{\"metric\":\"mean\",\"value\":0.4,\"tasks\":{\"t\":{\"value\":null},\"u\":{\"value\":0."
         "9}}}"},
        {"{\"mean\":0.5,\"t\":0.2,\"u\":1.0}", "{\"mean\":0.4,\"t\":null,\"u\":0.9}"}};
    char folder[] = "/tmp/spotgrad-plots-XXXXXX";
    sg_image first, other;

    (void)state;
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i += 2) {
        sg_image a = drawn(folder, pairs[i][0], pairs[i][1]);
        sg_image b = drawn(folder, pairs[i + 1][0], pairs[i + 1][1]);

        if (memcmp(a.rgb, b.rgb, (size_t)(a.width * a.height * 3)) != 0)
            fail_msg("%s", pairs[i][0]);
        sg_image_clear(&a);
        sg_image_clear(&b);
    }
    first = drawn(folder, "{\"b\":0.5}", "{\"b\":0.4}");
    other = drawn(folder, "{\"b\":0.5}", "{\"b\":0.3}");
    assert_memory_not_equal(first.rgb, other.rgb, (size_t)(first.width * first.height * 3));
    sg_image_clear(&first);
    sg_image_clear(&other);
    assert_int_equal(rmdir(folder), 0);
}

static void test_plots(void **state) {
    char folder[] = "/tmp/spotgrad-plots-XXXXXX";
    sg_history h = {0};
    long live = sg_mem_live();
    sg_status st = SG_ERR_OOM;

    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(sg_run_plots(&h, &table, folder), SG_OK); /* nothing to draw */
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(sg_make_dirs(folder), SG_OK);
    fill(&h);
    for (long n = 1; st != SG_OK; n += n < 20 ? 1 : 3) {
        long before = sg_mem_live();

        sg_mem_fail_at(n);
        st = sg_run_plots(&h, &table, folder);
        sg_mem_fail_at(0);
        assert_true(st == SG_OK || st == SG_ERR_OOM);
        assert_int_equal(sg_mem_live(), before);
    }
    check_png(folder, "loss.png");
    check_png(folder, "metrics.png");
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(sg_run_plots(&h, &table, folder), SG_ERR_IO);
    sg_history_clear(&h);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_no_score),
        cmocka_unit_test(test_empty_and_older),
        cmocka_unit_test(test_refuses_what_is_none),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_plots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
