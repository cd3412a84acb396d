/* Boxes and labels: where they are drawn, and that nothing is drawn elsewhere. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "out_of_memory.h"
#include "report/annotate.h"
#include "report/font.h"

enum { kGrey = 77 };

static sg_image grey(int64_t width, int64_t height) {
    sg_image image;

    assert_int_equal(sg_image_create(width, height, &image), SG_OK);
    memset(image.rgb, kGrey, (size_t)(width * height * 3));
    return image;
}

static const uint8_t *at(const sg_image *image, int64_t x, int64_t y) {
    return image->rgb + (y * image->width + x) * 3;
}

static bool is_color(const sg_image *image, int64_t x, int64_t y, const uint8_t rgb[3]) {
    return memcmp(at(image, x, y), rgb, 3) == 0;
}

static bool is_grey(const sg_image *image, int64_t x, int64_t y) {
    const uint8_t rgb[3] = {kGrey, kGrey, kGrey};

    return is_color(image, x, y, rgb);
}

static int64_t count_changed(const sg_image *image) {
    int64_t n = 0;

    for (int64_t y = 0; y < image->height; y++)
        for (int64_t x = 0; x < image->width; x++) n += !is_grey(image, x, y);
    return n;
}

static int64_t count_color(const sg_image *image, const uint8_t rgb[3]) {
    int64_t n = 0;

    for (int64_t y = 0; y < image->height; y++)
        for (int64_t x = 0; x < image->width; x++) n += is_color(image, x, y, rgb);
    return n;
}

/* Without a tag, one pixel around the box changes and nothing else. */
static void test_line_lies_around_the_box(void **state) {
    sg_annotate_options o = {.scale = 1, .thickness = 1, .no_tags = true};
    sg_annotate_box b = {.xmin = 10, .ymin = 20, .xmax = 30, .ymax = 50, .label = 1, .score = 0.9f};
    sg_image in = grey(64, 64), out;

    (void)state;
    assert_int_equal(sg_annotate(&in, &b, 1, &o, &out), SG_OK);
    assert_int_equal(out.width, 64);
    for (int64_t y = 0; y < 64; y++)
        for (int64_t x = 0; x < 64; x++) {
            bool outer = x >= 9 && x < 31 && y >= 19 && y < 51;
            bool inner = x >= 10 && x < 30 && y >= 20 && y < 50;

            if (outer && !inner)
                assert_true(is_color(&out, x, y, sg_annotate_color(1)));
            else
                assert_true(is_grey(&out, x, y));
        }
    assert_int_equal(count_changed(&in), 0); /* the input is left as it was */
    sg_image_clear(&in);
    sg_image_clear(&out);
}

static void test_small_pictures_are_enlarged(void **state) {
    sg_annotate_box b = {.xmin = 10, .ymin = 20, .xmax = 30, .ymax = 50, .score = -1.0f};
    sg_annotate_options o = {.no_tags = true, .thickness = 1};
    sg_image in = grey(64, 48), out;

    (void)state;
    memset(in.rgb, 1, 3); /* the upper left pixel becomes four */
    assert_int_equal(sg_annotate(&in, &b, 1, &o, &out), SG_OK);
    assert_int_equal(out.width, 128);
    assert_int_equal(out.height, 96);
    assert_int_equal(at(&out, 1, 1)[0], 1);
    assert_int_equal(at(&out, 2, 1)[0], kGrey);
    assert_true(is_color(&out, 19, 60, sg_annotate_color(0)));
    assert_true(is_grey(&out, 20, 60));
    sg_image_clear(&out);
    o.scale = 3;
    assert_int_equal(sg_annotate(&in, &b, 1, &o, &out), SG_OK);
    assert_int_equal(out.width, 192);
    sg_image_clear(&in);
    sg_image_clear(&out);
    in = grey(640, 20);
    assert_int_equal(sg_annotate(&in, NULL, 0, NULL, &out), SG_OK);
    assert_int_equal(out.width, 640);
    assert_int_equal(count_changed(&out), 0);
    sg_image_clear(&in);
    sg_image_clear(&out);
}

/* At the border the line moves inside; beyond it a box is clipped. */
static void test_borders(void **state) {
    sg_annotate_options o = {.scale = 1, .thickness = 2, .no_tags = true};
    sg_annotate_box whole = {.xmin = 0, .ymin = 0, .xmax = 40, .ymax = 30, .score = 1.0f};
    sg_annotate_box beyond = {.xmin = -1e30f, .ymin = -5, .xmax = 1e30f, .ymax = 35, .score = 1.0f};
    sg_image in = grey(40, 30), out, same;

    (void)state;
    assert_int_equal(sg_annotate(&in, &whole, 1, &o, &out), SG_OK);
    assert_int_equal(count_changed(&out), 40 * 30 - 36 * 26);
    assert_true(is_color(&out, 0, 15, sg_annotate_color(0)));
    assert_true(is_color(&out, 39, 29, sg_annotate_color(0)));
    assert_true(is_grey(&out, 2, 2));
    assert_int_equal(sg_annotate(&in, &beyond, 1, &o, &same), SG_OK);
    assert_memory_equal(out.rgb, same.rgb, 40 * 30 * 3);
    sg_image_clear(&in);
    sg_image_clear(&out);
    sg_image_clear(&same);
}

static void test_nothing_to_draw(void **state) {
    const sg_annotate_box b[] = {
        {.xmin = NAN, .ymin = 1, .xmax = 9, .ymax = 9, .name = "a"},
        {.xmin = 1, .ymin = 1, .xmax = INFINITY, .ymax = 9, .name = "a"},
        {.xmin = 5, .ymin = 5, .xmax = 5, .ymax = 9, .name = "a"},
        {.xmin = 9, .ymin = 5, .xmax = 2, .ymax = 9, .name = "a"},
        {.xmin = -9, .ymin = 5, .xmax = 0, .ymax = 9, .name = "a"},
        {.xmin = 40, .ymin = 5, .xmax = 50, .ymax = 9, .name = "a"},
        {.xmin = 4, .ymin = 30, .xmax = 5, .ymax = 50, .name = "a"},
    };
    sg_image in = grey(40, 30), out;

    (void)state;
    assert_int_equal(sg_annotate(&in, b, sizeof b / sizeof b[0], NULL, &out), SG_OK);
    assert_int_equal(count_changed(&out), 0);
    sg_image_clear(&in);
    sg_image_clear(&out);
}

/* Boxes and tags of every place and size, many of them across the border, in a picture smaller than
 * a tag: under ASan a pixel beyond the picture ends the test. */
static void test_anywhere(void **state) {
    sg_annotate_box b[64];
    sg_image in = grey(50, 41), out;

    (void)state;
    for (int i = 0; i < 64; i++)
        b[i] = (sg_annotate_box){.xmin = (float)(i % 8 * 9 - 11),
                                 .ymin = (float)(i / 8 * 9 - 11),
                                 .xmax = (float)(i % 8 * 9 - 11 + i % 5 * 7 + 1),
                                 .ymax = (float)(i / 8 * 9 - 11 + i % 7 * 5 + 1),
                                 .label = i - 20,
                                 .name = i % 3 ? "mask_weared_incorrect" : "x\xc3\xa9\n",
                                 .score = 0.01f * (float)i,
                                 .truth = i % 4 == 0};
    for (int scale = 1; scale <= 8; scale++) {
        sg_annotate_options o = {.scale = scale, .text = scale, .thickness = scale * 2};

        assert_int_equal(sg_annotate(&in, b, 64, &o, &out), SG_OK);
        assert_true(count_changed(&out) > out.width * out.height / 4);
        sg_image_clear(&out);
    }
    sg_image_clear(&in);
}

/* Two boxes side by side: both tags are whole, in spite of being longer than the boxes. */
static void test_tags_make_way(void **state) {
    sg_annotate_options o = {.scale = 1, .thickness = 1, .text = 1};
    sg_annotate_box b[2] = {
        {.xmin = 100,
         .ymin = 100,
         .xmax = 120,
         .ymax = 120,
         .label = 0,
         .name = "with_mask",
         .score = 0.93f},
        {.xmin = 124,
         .ymin = 100,
         .xmax = 144,
         .ymax = 120,
         .label = 2,
         .name = "without_mask",
         .score = 0.5f},
    };
    sg_image in = grey(300, 200), one, two, both;
    int64_t alone[2];

    (void)state;
    assert_int_equal(sg_annotate(&in, &b[0], 1, &o, &one), SG_OK);
    assert_int_equal(sg_annotate(&in, &b[1], 1, &o, &two), SG_OK);
    assert_int_equal(sg_annotate(&in, b, 2, &o, &both), SG_OK);
    alone[0] = count_color(&one, sg_annotate_color(0));
    alone[1] = count_color(&two, sg_annotate_color(2));
    assert_true(alone[0] > 14 * 6 * 6); /* 14 letters of 6 x 10 dots, most of them ground */
    /* a corner of the line may lie under the neighbour's tag, no part of a tag */
    assert_true(count_color(&both, sg_annotate_color(0)) >= alone[0] - 4);
    assert_true(count_color(&both, sg_annotate_color(2)) >= alone[1] - 4);
    /* above the first box, from its left edge */
    assert_true(is_color(&one, 99, 98, sg_annotate_color(0)));
    assert_true(is_color(&one, 99, 89, sg_annotate_color(0)));
    assert_true(is_grey(&one, 99, 88));
    sg_image_clear(&in);
    sg_image_clear(&one);
    sg_image_clear(&two);
    sg_image_clear(&both);
}

/* The tag of a box in the upper right corner is moved into the picture, whole. */
static void test_tag_stays_inside(void **state) {
    sg_annotate_options o = {.scale = 1, .thickness = 1, .text = 1};
    sg_annotate_box corner = {.xmin = 290,
                              .ymin = 0,
                              .xmax = 300,
                              .ymax = 10,
                              .label = 1,
                              .name = "without_mask",
                              .score = 0.5f};
    sg_annotate_box centre = corner;
    sg_image in = grey(300, 200), out, whole;
    int64_t line = 2 * 1 + 4 * 10;

    (void)state;
    centre.xmin = 150, centre.xmax = 160, centre.ymin = 100, centre.ymax = 110;
    assert_int_equal(sg_annotate(&in, &corner, 1, &o, &out), SG_OK);
    assert_int_equal(sg_annotate(&in, &centre, 1, &o, &whole), SG_OK);
    assert_true(count_color(&out, sg_annotate_color(1)) >=
                count_color(&whole, sg_annotate_color(1)) - line);
    sg_image_clear(&in);
    sg_image_clear(&out);
    sg_image_clear(&whole);
}

static void test_truth_is_dashed_white(void **state) {
    const uint8_t white[3] = {255, 255, 255};
    sg_annotate_options o = {.scale = 1, .thickness = 1, .no_tags = true};
    sg_annotate_box b = {.xmin = 10, .ymin = 10, .xmax = 50, .ymax = 50, .truth = true};
    sg_image in = grey(64, 64), out;
    int64_t n;

    (void)state;
    assert_int_equal(sg_annotate(&in, &b, 1, &o, &out), SG_OK);
    n = count_color(&out, white);
    assert_in_range(n, 4 * 41 * 2 / 5, 4 * 41 * 3 / 5); /* about half of the line */
    assert_true(is_color(&out, 9, 9, white));
    sg_image_clear(&in);
    sg_image_clear(&out);
}

static void test_text(void **state) {
    const uint8_t ink[3] = {1, 2, 3};
    sg_image image = grey(20, 12);
    int64_t n;

    (void)state;
    assert_int_equal(sg_text_width("mask 0.9", 2), 8 * 6 * 2);
    sg_text_draw(&image, 1, 1, "I", 1, ink); /* a stem of 7 with two serifs: 11 dots */
    assert_int_equal(count_color(&image, ink), 11);
    assert_true(is_color(&image, 3, 4, ink));
    sg_image_clear(&image);
    image = grey(20, 12);
    sg_text_draw(&image, 1, 1, "I", 3, ink); /* cut at the lower edge */
    n = count_color(&image, ink);
    assert_true(n > 11 * 4 && n < 11 * 9);
    sg_text_draw(&image, -3, -4, "clipped at all sides", 4, ink);
    sg_text_draw(&image, -1000, 5, "far away", 1, ink);
    sg_text_draw(&image, 5, 1000, "far away", 1, ink);
    sg_image_clear(&image);
}

/* No two glyphs look the same, and all but the space show something. */
static void test_font_is_complete(void **state) {
    (void)state;
    for (int i = 0; i <= SG_FONT_LAST - SG_FONT_FIRST; i++) {
        int dots = 0;

        for (int k = 0; k < SG_FONT_COLUMNS; k++) dots += sg_font[i][k] != 0;
        assert_int_equal(dots == 0, i == 0);
        for (int j = 0; j < i; j++) assert_memory_not_equal(sg_font[i], sg_font[j], 5);
    }
}

static void test_grid(void **state) {
    sg_image a = grey(100, 50), b = grey(10, 10), sheet;
    const sg_image *images[3] = {&a, &b, &a};
    const char *titles[3] = {"one with a long title", NULL, "three"};

    (void)state;
    memset(b.rgb, 200, 300);
    assert_int_equal(sg_image_grid(images, titles, 3, 0, 50, 50, &sheet), SG_OK);
    assert_int_equal(sheet.width, 4 + 2 * 54);
    assert_int_equal(sheet.height, 4 + 2 * (50 + 12 + 4));
    assert_int_equal(at(&sheet, 4, 4 + 25)[0], kGrey); /* 100 x 50 became 50 x 25, centred */
    assert_int_not_equal(at(&sheet, 4, 4 + 5)[0], kGrey);
    assert_int_equal(at(&sheet, 58 + 25, 4 + 25)[0], 200); /* 10 x 10 stays as it is */
    assert_int_not_equal(at(&sheet, 58 + 19, 4 + 25)[0], 200);
    sg_image_clear(&sheet);
    assert_int_equal(sg_image_grid(images, NULL, 3, 3, 50, 50, &sheet), SG_OK);
    assert_int_equal(sheet.height, 4 + 54);
    sg_image_clear(&sheet);
    assert_int_equal(sg_image_grid(images, NULL, 0, 0, 50, 50, &sheet), SG_ERR_ARG);
    assert_int_equal(sg_image_grid(images, NULL, 3, 0, 0, 50, &sheet), SG_ERR_ARG);
    assert_int_equal(sg_image_grid(images, NULL, 3, 1, 30000, 30000, &sheet), SG_ERR_UNSUPPORTED);
    sg_image_clear(&a);
    sg_image_clear(&b);
}

/* A thin picture shrinks to no less than a pixel, and a mean is a mean. */
static void test_grid_shrinks(void **state) {
    sg_image a = grey(4, 2), thin = grey(1, 500), sheet;
    const sg_image *images[2] = {&a, &thin};

    (void)state;
    memset(a.rgb, 0, 6);
    memset(a.rgb + 12, 0, 6);
    assert_int_equal(sg_image_grid(images, NULL, 2, 2, 2, 2, &sheet), SG_OK);
    assert_int_equal(at(&sheet, 4, 4)[0], 0);
    assert_int_equal(at(&sheet, 5, 4)[0], kGrey);
    sg_image_clear(&sheet);
    memset(a.rgb, 0, 3 * 3);
    assert_int_equal(sg_image_grid(images, NULL, 1, 1, 1, 1, &sheet), SG_OK);
    assert_int_equal(at(&sheet, 4, 4)[0], (3 * kGrey + 4) / 8);
    sg_image_clear(&sheet);
    sg_image_clear(&a);
    sg_image_clear(&thin);
}

static void test_bad_arguments(void **state) {
    sg_annotate_options o = {.scale = 9};
    sg_image in = grey(8, 8), empty = {0}, out;

    (void)state;
    assert_int_equal(sg_annotate(&in, NULL, 0, &o, &out), SG_ERR_ARG);
    assert_int_equal(sg_annotate(&empty, NULL, 0, NULL, &out), SG_ERR_ARG);
    assert_int_equal(sg_annotate(&in, NULL, 2, NULL, &out), SG_ERR_ARG);
    sg_image_clear(&in);
}

static void test_out_of_memory(void **state) {
    sg_annotate_box b = {.xmin = 1, .ymin = 1, .xmax = 6, .ymax = 6, .name = "a", .score = 0.5f};
    sg_image in = grey(8, 8), out;
    const sg_image *images[1] = {&in};
    long live = sg_mem_live();

    (void)state;
    FAIL_EACH_ALLOCATION(sg_annotate(&in, &b, 1, NULL, &out), 2);
    sg_image_clear(&out);
    FAIL_EACH_ALLOCATION(sg_image_grid(images, NULL, 1, 0, 8, 8, &out), 1);
    sg_image_clear(&out);
    assert_int_equal(sg_mem_live(), live);
    sg_image_clear(&in);
}

/* Down into the frame with its shape kept, each pixel a mean; never up. */
static void test_fit(void **state) {
    sg_image in = grey(40, 20), out;
    const uint8_t mean[3] = {(kGrey + 1) / 2, (kGrey + 1) / 2, (kGrey + 1) / 2};

    (void)state;
    for (int64_t x = 0; x < 40; x += 2) memset(in.rgb + x * 3, 0, 3); /* row 0: every other black */
    for (int64_t x = 1; x < 40; x += 2) memset(in.rgb + (40 + x) * 3, 0, 3);
    assert_int_equal(sg_image_fit(&in, 20, 20, &out), SG_OK);
    assert_int_equal(out.width, 20);
    assert_int_equal(out.height, 10);
    assert_true(is_color(&out, 7, 0, mean));
    assert_true(is_grey(&out, 7, 1));
    sg_image_clear(&out);
    assert_int_equal(sg_image_fit(&in, 100, 100, &out), SG_OK);
    assert_int_equal(out.width, 40);
    assert_memory_equal(out.rgb, in.rgb, 40 * 20 * 3);
    sg_image_clear(&out);
    assert_int_equal(sg_image_fit(&in, 0, 5, &out), SG_ERR_ARG);
    sg_image_clear(&in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_lies_around_the_box),
        cmocka_unit_test(test_small_pictures_are_enlarged),
        cmocka_unit_test(test_borders),
        cmocka_unit_test(test_nothing_to_draw),
        cmocka_unit_test(test_anywhere),
        cmocka_unit_test(test_tags_make_way),
        cmocka_unit_test(test_tag_stays_inside),
        cmocka_unit_test(test_truth_is_dashed_white),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_font_is_complete),
        cmocka_unit_test(test_grid),
        cmocka_unit_test(test_grid_shrinks),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
