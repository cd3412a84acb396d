/* Plots: where lines and ticks come to lie, and that nothing odd breaks them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/philox.h"
#include "out_of_memory.h"
#include "report/plot.h"
#include "report/plot_draw.h"

enum { kWidth = 800, kHeight = 500, kMany = 10000 };

static const uint8_t kBlue[3] = {0, 114, 178}, kGrey[3] = {236, 236, 236};

/* --- ticks --- */

static void check_ticks(double lo, double hi, int most, bool whole, double step, int count,
                        const char *last) {
    sg_plot_ticks t = sg_plot_ticks_choose(lo, hi, most, whole);
    char text[32];

    assert_true(fabs(t.step - step) <= 1e-12 * step);
    assert_int_equal(t.count, count);
    sg_plot_tick_text(&t, t.count - 1, text, sizeof text);
    assert_string_equal(text, last);
}

static void test_ticks(void **state) {
    (void)state;
    check_ticks(0.0, 1.0, 11, false, 0.1, 11, "1.0");
    check_ticks(0.0, 1.0, 10, false, 0.2, 6, "1.0");
    check_ticks(0.0, 5.7, 11, false, 1.0, 6, "5");
    check_ticks(0.0, 0.0042, 3, false, 0.002, 3, "0.004");
    check_ticks(-3.0, 7.0, 11, false, 1.0, 11, "7");
    check_ticks(-0.4, -0.1, 4, false, 0.1, 4, "-0.1");
    check_ticks(0.0, 3.0, 11, true, 1.0, 4, "3");
    check_ticks(0.0, 3.0, 11, false, 0.5, 7, "3.0");
    check_ticks(0.0, 2000.0, 11, true, 200.0, 11, "2000");
    check_ticks(0.0, 6e6, 7, true, 1e6, 7, "6e+06");
    check_ticks(0.0, 3e-9, 4, false, 1e-9, 4, "3e-09");
    check_ticks(10.0, 10.3, 4, false, 0.1, 4, "10.3");
}

/* Whatever the range: never too many, all inside, none missing between two. */
static void test_ticks_of_any_range(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        sg_philox4 r = sg_philox(7, i, 0);
        double scale = pow(10.0, (double)(r.word[0] % 25) - 12.0);
        double lo = scale * ((double)r.word[1] / 4294967296.0 - 0.5);
        double hi = lo + scale * ((double)r.word[2] / 4294967296.0 + 1e-3);
        int most = 2 + (int)(r.word[3] % (SG_PLOT_MAX_TICKS - 1));
        sg_plot_ticks t = sg_plot_ticks_choose(lo, hi, most, false);
        double slack = 1e-6 * t.step, first = t.step * (double)t.first;

        assert_true(t.count >= 1 && t.count <= most);
        assert_true(first >= lo - slack && first - t.step < lo + slack);
        assert_true(first + t.step * (t.count - 1) <= hi + slack);
        assert_true(first + t.step * t.count > hi - slack);
    }
}

static void test_ticks_beyond_doubles(void **state) {
    sg_plot_ticks t = sg_plot_ticks_choose(1e16, 1e16 + 4.0, 11, false);

    (void)state;
    assert_true(t.count >= 0 && t.count <= 11);
    t = sg_plot_ticks_choose(-8e307, 8e307, 11, false);
    assert_true(t.count >= 0 && t.count <= 11);
    t = sg_plot_ticks_choose(0.0, 4e-324, 11, false);
    assert_true(t.count >= 0 && t.count <= 11);
}

/* --- lines --- */

static sg_image draw(const sg_plot_series *series, int n) {
    const sg_plot_panel panel = {.series = series, .n_series = n, .share = 1};
    sg_image image = {0};

    assert_int_equal(sg_plot_lines(&panel, 1, kWidth, kHeight, &image), SG_OK);
    assert_int_equal(image.width, kWidth);
    assert_int_equal(image.height, kHeight);
    return image;
}

static bool is_color(const sg_image *image, int64_t x, int64_t y, const uint8_t rgb[3]) {
    return memcmp(image->rgb + (y * image->width + x) * 3, rgb, 3) == 0;
}

/* Pixels of the colour in columns from .. to - 1. */
static int64_t count_color(const sg_image *image, int64_t from, int64_t to, const uint8_t rgb[3]) {
    int64_t n = 0;

    for (int64_t y = 0; y < image->height; y++)
        for (int64_t x = from; x < to; x++) n += is_color(image, x, y, rgb);
    return n;
}

static void check_border_is_white(const sg_image *image) {
    const uint8_t white[3] = {255, 255, 255};

    for (int64_t x = 0; x < image->width; x++) {
        assert_true(is_color(image, x, 0, white));
        assert_true(is_color(image, x, image->height - 1, white));
    }
    for (int64_t y = 0; y < image->height; y++) {
        assert_true(is_color(image, 0, y, white));
        assert_true(is_color(image, image->width - 1, y, white));
    }
}

static void test_any_number_of_points(void **state) {
    static const int64_t counts[] = {0, 1, 2, 3, kMany};
    double *x = sg_malloc(kMany * sizeof *x), *y = sg_malloc(kMany * sizeof *y);

    (void)state;
    for (int64_t i = 0; i < kMany; i++) {
        x[i] = (double)i;
        y[i] = sg_unit_float(sg_philox(1, (uint64_t)i, 0).word[0]);
    }
    for (int k = 0; k < 5; k++) {
        sg_plot_series s = {.x = x, .y = y, .n = counts[k], .points = true};
        sg_image image = draw(&s, 1);

        check_border_is_white(&image);
        if (counts[k] == 0) assert_int_equal(count_color(&image, 0, kWidth, kBlue), 0);
        if (counts[k] > 0) assert_true(count_color(&image, 0, kWidth, kBlue) > 0);
        if (counts[k] == kMany) assert_true(count_color(&image, 0, kWidth, kBlue) > 100000);
        sg_image_clear(&image);
    }
    sg_free(x);
    sg_free(y);
}

static void test_a_gap_stays_empty(void **state) {
    const double x[6] = {0, 1, 2, 3, 4, 5};
    const double whole[6] = {1, 1, 1, 1, 1, 1};
    const double broken[6] = {1, 1, (double)NAN, (double)INFINITY, 1, 1};
    sg_plot_series s = {.x = x, .y = whole, .n = 6};
    sg_image a = draw(&s, 1), b;
    int64_t middle = kWidth / 2;

    (void)state;
    s.y = broken;
    b = draw(&s, 1);
    assert_true(count_color(&a, middle - 50, middle + 50, kBlue) >= 100);
    assert_int_equal(count_color(&b, middle - 50, middle + 50, kBlue), 0);
    assert_true(count_color(&b, 0, middle - 200, kBlue) >= 50);
    assert_true(count_color(&b, middle + 200, kWidth, kBlue) >= 50);
    sg_image_clear(&a);
    sg_image_clear(&b);
}

/* A constant lies at half the height of its frame, whatever it is. */
static void test_constants(void **state) {
    static const double values[] = {0.0, 1.0, -5e-9, 1e30, 1e-300};
    const double x[2] = {0, 1};
    int64_t row = -1;

    (void)state;
    for (int k = 0; k < 5; k++) {
        const double y[2] = {values[k], values[k]};
        sg_plot_series s = {.x = x, .y = y, .n = 2};
        sg_image image = draw(&s, 1);

        for (int64_t v = 0; v < kHeight; v++) {
            if (!is_color(&image, kWidth / 2, v, kBlue)) continue;
            if (row < 0) row = v;
            assert_int_equal(v, row);
        }
        assert_true(row > 150 && row < 350);
        sg_image_clear(&image);
    }
}

static void test_numbers_out_of_range(void **state) {
    const double x[3] = {-1e308, 0, 1e308}, y[3] = {1e308, -1e308, 1e308};
    sg_plot_series s = {.x = x, .y = y, .n = 3};
    sg_image image = draw(&s, 1);

    (void)state;
    check_border_is_white(&image);
    sg_image_clear(&image);
}

static void test_long_names_stay_on_the_sheet(void **state) {
    enum { kSeries = 40 };
    const double x[2] = {0, 1}, y[2] = {0, 1};
    sg_plot_series s[kSeries] = {{0}};
    const sg_plot_mark mark = {1.0, 1.0, 0, "best 1.000"};
    sg_plot_panel panel = {.series = s, .n_series = kSeries, .share = 1, .mark = &mark};
    char name[2000];
    sg_image image;

    (void)state;
    for (size_t i = 0; i + 2 < sizeof name; i += 2) memcpy(name + i, "\xC3\xBC", 2);
    name[sizeof name - 2] = '\0';
    for (int i = 0; i < kSeries; i++)
        s[i] = (sg_plot_series){i % 2 ? name : "a", x, y, 2, i, false};
    panel.title = panel.x_label = panel.y_label = name;
    assert_int_equal(sg_plot_lines(&panel, 1, kWidth, kHeight, &image), SG_OK);
    check_border_is_white(&image);
    sg_image_clear(&image);
}

static void test_same_numbers_same_pixels(void **state) {
    double x[100], y[100];
    sg_plot_series s[2] = {{"a", x, y, 100, 0, false}, {"b", y, x, 100, 8, false}};
    sg_image a, b;

    (void)state;
    for (int i = 0; i < 100; i++) {
        x[i] = i;
        y[i] = 50.0 + 0.01 * i * i;
    }
    a = draw(s, 2);
    b = draw(s, 2);
    assert_memory_equal(a.rgb, b.rgb, (size_t)(kWidth * kHeight * 3));
    sg_image_clear(&a);
    sg_image_clear(&b);
}

static void test_bad_sizes(void **state) {
    const sg_plot_panel panel = {.share = 1};
    const char *const names[1] = {"a"};
    const int64_t count = 1;
    sg_plot_table table = {.names = names, .counts = &count, .n = 0};
    sg_image image;

    (void)state;
    assert_int_equal(sg_plot_lines(&panel, 0, kWidth, kHeight, &image), SG_ERR_ARG);
    assert_int_equal(sg_plot_lines(&panel, 5, kWidth, kHeight, &image), SG_ERR_ARG);
    assert_int_equal(sg_plot_lines(&panel, 1, 199, kHeight, &image), SG_ERR_ARG);
    assert_int_equal(sg_plot_lines(&panel, 1, kWidth, 124, &image), SG_ERR_ARG);
    assert_int_equal(sg_plot_counts(&table, kWidth, &image), SG_ERR_ARG);
    table.n = 1;
    assert_int_equal(sg_plot_counts(&table, 199, &image), SG_ERR_ARG);
}

/* --- counts --- */

static void test_counts(void **state) {
    static const char *const names[3] = {"mask_weared_incorrect", "with_mask", "background"};
    const int64_t counts[9] = {0, 0, 0, 0, 90, 10, 5, 5, -1};
    const sg_plot_table table = {"Confusion", "truth", "prediction", names, counts, 3};
    sg_image image;
    int64_t grey;

    (void)state;
    assert_int_equal(sg_plot_counts(&table, kWidth, &image), SG_OK);
    check_border_is_white(&image);
    grey = count_color(&image, 0, kWidth, kGrey); /* the empty cell, without a number */
    assert_true(grey > 130 * 130 && grey < 190 * 190);
    assert_true(count_color(&image, 0, kWidth / 2, kGrey) < 100); /* it is on the right */
    sg_image_clear(&image);
}

static void test_counts_of_many(void **state) {
    enum { kClasses = 100 };
    const char *names[kClasses];
    int64_t *counts = sg_calloc(kClasses * kClasses, sizeof *counts);
    char name[400];

    (void)state;
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    for (int i = 0; i < kClasses; i++) names[i] = name;
    for (int n = 1; n <= kClasses; n = n * 3 + 1) {
        const sg_plot_table table = {name, "truth", "prediction", names, counts, n};
        sg_image image;

        assert_int_equal(sg_plot_counts(&table, kWidth, &image), SG_OK);
        check_border_is_white(&image);
        sg_image_clear(&image);
    }
    sg_free(counts);
}

/* One of 20 rows is but `first` and `second`; drawn. */
static sg_image draw_wide(int64_t first, int64_t second) {
    enum { kWide = 20 };
    const char *names[kWide];
    int64_t counts[kWide * kWide] = {first, second};
    const sg_plot_table table = {NULL, NULL, NULL, names, counts, kWide};
    sg_image image;

    for (int i = 0; i < kWide; i++) names[i] = "x";
    assert_int_equal(sg_plot_counts(&table, SG_PLOT_WIDTH, &image), SG_OK);
    return image;
}

/* Numbers that are wider than their cells are smaller: of the same shares, other pictures. */
static void test_counts_wide(void **state) {
    static const int64_t pairs[][2] = {{100, 200}, {1000, 2000}};

    (void)state;
    for (int i = 0; i < 2; i++) {
        sg_image a = draw_wide(pairs[i][0], 3 * pairs[i][0]);
        sg_image b = draw_wide(pairs[i][1], 3 * pairs[i][1]);

        assert_memory_not_equal(a.rgb, b.rgb, (size_t)(a.width * a.height * 3));
        sg_image_clear(&a);
        sg_image_clear(&b);
    }
}

/* --- text --- */

static void check_cut(const char *text, int64_t letters, const char *expected) {
    char out[SG_PLOT_TEXT_BYTES];

    sg_plot_text_cut(text, letters, out);
    assert_string_equal(out, expected);
}

static void test_text(void **state) {
    char wide[1000], out[SG_PLOT_TEXT_BYTES];

    (void)state;
    check_cut("", 5, "");
    check_cut("abcde", 5, "abcde");
    check_cut("abcdef", 5, "abc..");
    check_cut("\xC3\xBC\xC3\xBC\xC3\xBC\xC3\xBC", 3, "\xC3\xBC..");
    assert_true(fabsf(sg_plot_text_width("ab", 2.0f) - 22.0f) < 1e-4f);
    memset(wide, 0x80, sizeof wide); /* no UTF-8: only bytes that continue a character */
    wide[sizeof wide - 1] = '\0';
    sg_plot_text_cut(wide, 50, out);
    assert_true(strlen(out) < SG_PLOT_TEXT_BYTES);
}

/* --- memory --- */

static void test_no_memory(void **state) {
    const double x[2] = {0, 1}, y[2] = {0, 1};
    const sg_plot_series s = {"a", x, y, 2, 0, true};
    const sg_plot_panel panel = {.series = &s, .n_series = 1, .share = 1};
    static const char *const names[1] = {"a"};
    const int64_t count = 3;
    const sg_plot_table table = {"t", "r", "c", names, &count, 1};
    long live = sg_mem_live();
    sg_image image;

    (void)state;
    FAIL_EACH_ALLOCATION(sg_plot_lines(&panel, 1, 200, 125, &image), 4);
    sg_image_clear(&image);
    FAIL_EACH_ALLOCATION(sg_plot_counts(&table, 200, &image), 4);
    sg_image_clear(&image);
    assert_int_equal(sg_mem_live(), live);
}

static void test_save_fails(void **state) {
    long live = sg_mem_live();
    sg_image image;

    (void)state;
    assert_int_equal(sg_image_create(2, 2, &image), SG_OK);
    memset(image.rgb, 0, 12);
    assert_int_equal(sg_plot_save("/proc/nowhere", "a.png", &image), SG_ERR_IO);
    assert_null(image.rgb);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_ticks_of_any_range),
        cmocka_unit_test(test_ticks_beyond_doubles),
        cmocka_unit_test(test_any_number_of_points),
        cmocka_unit_test(test_a_gap_stays_empty),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_numbers_out_of_range),
        cmocka_unit_test(test_long_names_stay_on_the_sheet),
        cmocka_unit_test(test_same_numbers_same_pixels),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_counts_of_many),
        cmocka_unit_test(test_counts_wide),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_save_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
