/* The progress line on a terminal of a given width and elsewhere, on a clock of our own; the table
 * of an evaluation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "report/progress.h"

/* What was written, the clock, the terminal. */
typedef struct {
    char text[4096];
    double now;
    int width;
} screen;

static void screen_write(void *context, const char *text, size_t size) {
    screen *s = context;

    assert_true(strlen(s->text) + size < sizeof s->text);
    strncat(s->text, text, size);
}

static double screen_now(void *context) { return ((screen *)context)->now; }

static int screen_width(void *context) { return ((screen *)context)->width; }

static sg_progress *create(screen *s, bool terminal) {
    sg_progress_options options = {
        .write = screen_write,
        .width = screen_width,
        .now = screen_now,
        .context = s,
        .terminal = terminal,
        .plain_seconds = 10,
    };
    sg_progress *p;

    assert_int_equal(sg_progress_create(&options, &p), SG_OK);
    return p;
}

static void expect(screen *s, const char *text) {
    assert_string_equal(s->text, text);
    s->text[0] = '\0';
}

/* At `step` of 9000, a step being 16 pictures. */
static sg_progress_state at(int64_t step) {
    sg_progress_state state = {
        .epoch = 3,
        .epochs = 40,
        .step = step,
        .steps = 9000,
        .samples = step * 16,
        .wait_seconds = 0.008 * (double)step,
        .lr = 0.0098,
        .n_parts = 2,
        .part = {{"box", 1.214}, {"cls", 0.8411}},
    };

    return state;
}

static void update(sg_progress *p, int64_t step) {
    sg_progress_state state = at(step);

    sg_progress_update(p, &state);
}

/* 2.5 steps a second: 40 pictures a second, 2 % of the time waiting. */
static void says_where_the_run_stands(void **unused) {
    screen s = {.now = 100, .width = 200};
    sg_progress *p = create(&s, true);

    (void)unused;
    update(p, 802);
    expect(&s, "\repoch 3/40  step 802/9000  box 1.21 cls 0.841  lr 0.0098\x1b[K");
    s.now += 4;
    update(p, 812);
    expect(&s, "\repoch 3/40  step 812/9000  box 1.21 cls 0.841  lr 0.0098  40.0 img/s  "
               "data wait 2 %  ETA 54:35\x1b[K");
    sg_progress_destroy(p);
    expect(&s, "\r\x1b[K");
}

static void names_the_rate(void **unused) {
    screen s = {.now = 100, .width = 200};
    sg_progress_options options = {.write = screen_write,
                                   .width = screen_width,
                                   .now = screen_now,
                                   .context = &s,
                                   .rate = "texts/s",
                                   .terminal = true};
    sg_progress *p;

    (void)unused;
    assert_int_equal(sg_progress_create(&options, &p), SG_OK);
    update(p, 802);
    s.now += 4;
    update(p, 812);
    assert_non_null(strstr(s.text, "  40.0 texts/s  "));
    sg_progress_destroy(p);
}

static void redraws_at_most_ten_times_a_second(void **unused) {
    screen s = {.now = 100, .width = 200};
    sg_progress *p = create(&s, true);
    int drawn = 0;

    (void)unused;
    for (int i = 0; i < 1000; i++) {
        s.now = 100 + i * 0.01;
        update(p, 100 + i);
        drawn += s.text[0] != '\0';
        s.text[0] = '\0';
    }
    assert_in_range(drawn, 80, 100);
    sg_progress_destroy(p);
}

static void fits_the_terminal(void **unused) {
    screen s = {.now = 100};
    sg_progress *p = create(&s, true);

    (void)unused;
    update(p, 0);
    for (int width = 200; width >= 1; width--) {
        s.now += 1;
        s.width = width;
        s.text[0] = '\0';
        update(p, 201 - width);
        assert_true(strlen(s.text) >= 4); /* "\r" and "\x1b[K" */
        assert_true((int)strlen(s.text) - 4 < width);
        if (width >= 30) assert_non_null(strstr(s.text, "step "));
        if (width >= 60) assert_non_null(strstr(s.text, "ETA "));
    }
    sg_progress_destroy(p);
}

static void lets_other_lines_through(void **unused) {
    screen s = {.now = 100, .width = 40};
    sg_progress *p = create(&s, true);

    (void)unused;
    sg_progress_line(p, "before");
    expect(&s, "before\n");
    update(p, 1);
    s.text[0] = '\0';
    sg_progress_line(p, "a warning");
    expect(&s, "\r\x1b[Ka warning\nstep 1/9000  box 1.21 cls 0.841");
    sg_progress_clear(p);
    expect(&s, "\r\x1b[K");
    sg_progress_clear(p);
    sg_progress_line(p, "another");
    expect(&s, "another\n");
    sg_progress_destroy(p);
    expect(&s, "");
}

static void keeps_the_line_of_an_epoch(void **unused) {
    screen s = {.now = 100, .width = 48};
    sg_progress *p = create(&s, true);
    sg_progress_state state = at(7);

    (void)unused;
    sg_progress_keep(p, &state);
    expect(&s, "\repoch 3/40  step 7/9000  box 1.21 cls 0.841\x1b[K\n");
    sg_progress_destroy(p);
    expect(&s, "");
}

static void writes_plain_lines_elsewhere(void **unused) {
    screen s = {.now = 100, .width = 10};
    sg_progress *p = create(&s, false);
    int lines = 0;

    (void)unused;
    for (int i = 0; i <= 350; i++) {
        s.now = 100 + i * 0.1;
        update(p, 1 + i);
        if (!s.text[0]) continue;
        lines++;
        assert_null(strpbrk(s.text, "\r\x1b"));
        assert_int_equal(s.text[strlen(s.text) - 1], '\n');
        s.text[0] = '\0';
    }
    assert_int_equal(lines, 4); /* at 0, 10, 20 and 30 seconds */
    sg_progress_line(p, "a warning");
    expect(&s, "a warning\n");
    sg_progress_destroy(p);
    expect(&s, "");
}

/* Speed is that of the last seconds: a slow start is forgotten, a standstill shows. */
static void measures_recent_speed(void **unused) {
    screen s = {.now = 0, .width = 300};
    sg_progress *p = create(&s, true);

    (void)unused;
    update(p, 0);
    for (int i = 1; i <= 60; i++) {
        s.now = i;
        s.text[0] = '\0';
        update(p, i <= 30 ? i : 30 + (i - 30) * 10);
    }
    assert_non_null(strstr(s.text, "160.0 img/s")); /* 10 steps of 16 a second, not the mean's 88 */
    s.now += 100;
    s.text[0] = '\0';
    update(p, 331);
    assert_non_null(strstr(s.text, " 0.2 img/s"));
    sg_progress_destroy(p);
}

static void prints_a_table(void **unused) {
    static const sg_table_row rows[] = {
        {"with_mask", 388, 0.9124, 0.6006},
        {"visi\xc3\xa8re", 0, NAN, NAN},
    };
    static const sg_table_row all = {"all", 388, 0.9124, 0.6006};
    char *text;

    (void)unused;
    assert_int_equal(sg_table_evaluation(rows, 2, &all, &text), SG_OK);
    assert_string_equal(text, "class         boxes    AP50  AP50:95\n"
                              "with_mask       388   0.912    0.601\n"
                              "visi\xc3\xa8re           0       -        -\n"
                              "all             388   0.912    0.601\n");
    sg_free(text);
}

static void survives_failed_allocations(void **unused) {
    static const sg_table_row all = {"all", 0, NAN, NAN};
    screen s = {.now = 0};
    sg_progress_options options = {.write = screen_write, .context = &s};
    long live = sg_mem_live();
    sg_progress *p;
    char *text;

    (void)unused;
    sg_mem_fail_at(1);
    assert_int_equal(sg_progress_create(&options, &p), SG_ERR_OOM);
    sg_mem_fail_at(1);
    assert_int_equal(sg_table_evaluation(NULL, 0, &all, &text), SG_ERR_OOM);
    sg_mem_fail_at(0);
    assert_int_equal(sg_mem_live(), live);
    assert_int_equal(sg_progress_create(&options, &p), SG_OK);
    sg_progress_destroy(p);
    assert_int_equal(sg_table_evaluation(NULL, 0, &all, &text), SG_OK);
    sg_free(text);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_where_the_run_stands),
        cmocka_unit_test(names_the_rate),
        cmocka_unit_test(redraws_at_most_ten_times_a_second),
        cmocka_unit_test(fits_the_terminal),
        cmocka_unit_test(lets_other_lines_through),
        cmocka_unit_test(keeps_the_line_of_an_epoch),
        cmocka_unit_test(writes_plain_lines_elsewhere),
        cmocka_unit_test(measures_recent_speed),
        cmocka_unit_test(prints_a_table),
        cmocka_unit_test(survives_failed_allocations),
    };

    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
