/* Metrics of classification against scikit-learn's numbers (tests/data/text_cases.txt), to 1e-12;
 * their names, JSON, table and plot. */
#include "data_fixture.h"
#include "out_of_memory.h"

#include <math.h>

#include <jansson.h>

#include "train/text_metrics.h"

enum { kMaxTexts = 2048, kMaxClasses = 32 };

static FILE *cases;

static int open_cases(void **state) {
    cases = fopen("tests/data/text_cases.txt", "r");
    return cases ? fixture_setup(state) : -1;
}

static int close_cases(void **state) {
    fclose(cases);
    return fixture_teardown(state);
}

static void word(char text[64]) { assert_int_equal(fscanf(cases, "%63s", text), 1); }

static double number(void) {
    char text[64], *end;
    double value;

    word(text);
    value = strtod(text, &end);
    assert_true(end > text && !*end);
    return value;
}

static void check(const char *name, const char *what, double got, double want) {
    if (!(fabs(got - want) <= 1e-12)) fail_msg("%s: %s is %.15g, not %.15g", name, what, got, want);
}

static void read_part(int classes, int64_t *counts) {
    static int32_t truths[kMaxTexts], found[kMaxTexts];
    int n = (int)number();

    assert_in_range(n, 1, kMaxTexts);
    for (int i = 0; i < n; i++) {
        truths[i] = (int32_t)number();
        found[i] = (int32_t)number();
    }
    assert_ok(sg_text_confusion_add(classes, truths, found, n, counts));
}

static void check_class(const char *name, int classes, const int64_t *counts) {
    sg_class_score s = sg_text_class_score(classes, counts, (int64_t)number());

    check(name, "precision", s.precision, number());
    check(name, "recall", s.recall, number());
    check(name, "f1", s.f1, number());
    check(name, "count", (double)s.count, number());
}

static double value_of(sg_text_metric metric, int classes, const int64_t *counts) {
    return sg_text_metric_value(&metric, classes, counts);
}

/* One line of a case. */
static void check_line(const char *what, const char *name, int classes, int64_t *counts) {
    sg_text_metric m = {SG_MEASURE_F1, 1, {0}};

    if (strcmp(what, "part") == 0) {
        read_part(classes, counts);
        return;
    }
    if (strcmp(what, "confusion") == 0) {
        for (int i = 0; i < classes * classes; i++) check(name, what, (double)counts[i], number());
        return;
    }
    if (strcmp(what, "class") == 0) {
        check_class(name, classes, counts);
        return;
    }
    if (strcmp(what, "accuracy") == 0) m.measure = SG_MEASURE_ACCURACY;
    if (strcmp(what, "macro_f1") == 0) m.measure = SG_MEASURE_MACRO_F1;
    if (strcmp(what, "macro_recall") == 0) m.measure = SG_MEASURE_MACRO_RECALL;
    if (strcmp(what, "mean_f1") == 0) m.n = 2;
    for (int i = 0; i < m.n && m.measure == SG_MEASURE_F1; i++) m.label[i] = (int32_t)number();
    check(name, what, value_of(m, classes, counts), number());
}

static void as_scikit_learn(void **state) {
    char text[64], name[64];
    int n = 0;

    (void)state;
    for (; fscanf(cases, "%63s", text) == 1; n++) {
        int64_t counts[kMaxClasses * kMaxClasses] = {0};
        int classes, lines = 0;

        assert_string_equal(text, "case");
        word(name);
        classes = (int)number();
        assert_in_range(classes, 2, kMaxClasses);
        (void)number();
        (void)number();
        for (word(text); strcmp(text, "end") != 0; word(text), lines++)
            check_line(text, name, classes, counts);
        assert_true(lines >= 6 + 2 * classes);
    }
    assert_int_equal(n, 12);
}

static void labels_out_of_range(void **state) {
    const int32_t truths[] = {0, -1, 1}, found[] = {1, 0, 1};
    int64_t memory[8] = {0}, *counts = memory + 4; /* a row before it would be of truths of -1 */

    (void)state;
    assert_ok(sg_text_confusion_add(2, truths, found, 3, counts));
    assert_true(counts[0] == 0 && counts[1] == 1 && counts[2] == 0 && counts[3] == 1);
    assert_fails(sg_text_confusion_add(2, truths, (int32_t[]){0, 0, 2}, 3, counts), SG_ERR_ARG,
                 "text 2: truth 1, prediction 2; there are 2 classes");
    assert_fails(sg_text_confusion_add(2, truths, (int32_t[]){0, -1, 1}, 3, counts), SG_ERR_ARG,
                 "text 1: truth -1, prediction -1");
    assert_fails(sg_text_confusion_add(2, (int32_t[]){0, 2}, found, 2, counts), SG_ERR_ARG,
                 "truth 2");
    assert_fails(sg_text_confusion_add(2, (int32_t[]){-2}, found, 1, counts), SG_ERR_ARG,
                 "truth -2");
    assert_true(counts[0] == 0 && counts[1] == 1 && counts[2] == 0 && counts[3] == 1);
    for (int i = 0; i < 4; i++) assert_int_equal(memory[i], 0);
}

static void nothing_has_no_value(void **state) {
    const int64_t counts[4] = {0};

    (void)state;
    for (int m = 0; m <= SG_MEASURE_F1; m++)
        assert_true(isnan(value_of((sg_text_metric){(sg_text_measure)m, 1, {0}}, 2, counts)));
}

static void metrics_of_tasks(void **state) {
    static const struct {
        const char *task, *classes, *is;
    } rows[] = {
        {"", "a,b", "macro_f1"},
        {"emoji", "a,b", "macro_f1"},
        {"hate", "not-hate,hate", "macro_f1"},
        {"irony", "non_irony,irony", "f1:irony"},
        {"irony", "no,yes", "macro_f1"},
        {"sentiment", "negative,neutral,positive", "macro_recall"},
        {"stance/climate", "none,against,favor", "f1:against,favor"},
        {"stance", "favor,none,against", "f1:against,favor"},
        {"stance", "favor,none", "macro_f1"},
        {"stances", "none,against,favor", "macro_f1"},
        {"", "ham,spam", "f1:spam"},
        {"", "spam,ham", "f1:spam"},
        {"", "ham,eggs", "macro_f1"},
        {"", "ham,spam,other", "macro_f1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sg_text_metric m;
        sg_classes classes;
        char *name;

        assert_ok(sg_classes_parse(rows[i].classes, &classes));
        m = sg_text_metric_of(rows[i].task, &classes);
        name = sg_text_metric_name(&m, &classes);
        assert_string_equal(name, rows[i].is);
        sg_free(name);
        sg_classes_clear(&classes);
    }
}

static const int64_t some[9] = {8, 2, 0, 1, 4, 0, 0, 0, 0}; /* nobody is of the third class */

static void json_of(const int64_t *counts, json_t **out) {
    sg_text_metric m = {SG_MEASURE_F1, 1, {1}};
    sg_classes classes;
    char *text;

    assert_ok(sg_classes_parse("ham,\xE2\x9D\xA4,none", &classes));
    assert_ok(sg_text_metrics_json(&m, &classes, counts, &text));
    for (const char *c = text; *c; c++) assert_true(*c >= ' ' && *c < 0x7F);
    *out = json_loads(text, 0, NULL);
    assert_non_null(*out);
    sg_free(text);
    sg_classes_clear(&classes);
}

static double real_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);

    assert_true(json_is_real(value));
    return json_real_value(value);
}

static void json_holds_it_all(void **state) {
    json_t *json, *class;

    (void)state;
    json_of(some, &json);
    assert_string_equal(json_string_value(json_object_get(json, "metric")), "f1:\xE2\x9D\xA4");
    assert_true(fabs(real_of(json, "value") - 8.0 / 11) <= 1e-9);
    assert_true(fabs(real_of(json, "accuracy") - 12.0 / 15) <= 1e-9);
    assert_true(fabs(real_of(json, "macro_f1") - (16.0 / 19 + 8.0 / 11) / 2) <= 1e-9);
    assert_true(fabs(real_of(json, "macro_recall") - 0.8) <= 1e-9);
    assert_int_equal(json_integer_value(json_object_get(json, "count")), 15);
    class = json_object_get(json_object_get(json, "classes"), "ham");
    assert_true(fabs(real_of(class, "precision") - 8.0 / 9) <= 1e-9);
    assert_true(fabs(real_of(class, "recall") - 0.8) <= 1e-9);
    assert_int_equal(json_integer_value(json_object_get(class, "count")), 10);
    class = json_object_get(json_object_get(json, "classes"), "none");
    assert_true(json_is_null(json_object_get(class, "f1")));
    assert_true(json_is_null(json_object_get(class, "recall")));
    assert_int_equal(json_integer_value(json_object_get(class, "count")), 0);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(json_integer_value(json_array_get(
                             json_array_get(json_object_get(json, "confusion"), i / 3), i % 3)),
                         some[i]);
    json_decref(json);
    json_of((int64_t[9]){0}, &json);
    assert_true(json_is_null(json_object_get(json, "value")));
    assert_true(json_is_null(json_object_get(json, "macro_f1")));
    json_decref(json);
}

static void table_for_people(void **state) {
    sg_text_metric m = {SG_MEASURE_F1, 2, {0, 1}};
    sg_classes classes;
    char *text;

    (void)state;
    assert_ok(sg_classes_parse("ham,spam,none", &classes));
    assert_ok(sg_text_metrics_table(&m, &classes, some, &text));
    assert_string_equal(text,
                        "class  texts  precision  recall      F1\n"
                        "ham       10     0.8889  0.8000  0.8421\n"
                        "spam       5     0.6667  0.8000  0.7273\n"
                        "none       0          -       -       -\n"
                        "15 texts: f1:ham,spam 0.7847, accuracy 0.8000, macro F1 0.7847, macro "
                        "recall 0.8000\n");
    sg_free(text);
    assert_ok(sg_text_metrics_table(&m, &classes, (int64_t[9]){0}, &text));
    assert_non_null(strstr(text, "no labelled texts\n"));
    sg_free(text);
    sg_classes_clear(&classes);
}

/* Names beyond the font's letters are drawn as their numbers: another picture than with letters,
 * the same as with the numbers themselves. */
static void confusion_is_drawn(void **state) {
    static const char *const names[] = {"\xE2\x9D\xA4,b", "0,b", "a,b"};
    sg_image image[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        sg_classes classes;

        assert_ok(sg_classes_parse(names[i], &classes));
        assert_ok(sg_text_metrics_draw("x", &classes, some, fixture_root, "confusion.png"));
        assert_ok(sg_image_read(fixture_path("confusion.png"), &image[i]));
        sg_classes_clear(&classes);
    }
    assert_true(image[0].width > 500 && image[0].height > 500);
    assert_int_equal(image[0].height, image[1].height);
    assert_memory_equal(image[0].rgb, image[1].rgb, (size_t)(image[0].width * image[0].height * 3));
    assert_true(
        image[0].height != image[2].height ||
        memcmp(image[0].rgb, image[2].rgb, (size_t)(image[0].width * image[0].height * 3)) != 0);
    for (int i = 0; i < 3; i++) sg_image_clear(&image[i]);
    sg_classes ham;
    assert_ok(sg_classes_parse("ham", &ham));
    assert_int_equal(sg_text_metrics_draw(NULL, &ham, some, fixture_path("nowhere"), "a.png"),
                     SG_ERR_IO);
    sg_classes_clear(&ham);
}

static sg_status all_texts(const sg_classes *classes) {
    sg_text_metric m = {SG_MEASURE_F1, 2, {0, 1}};
    char *text;

    SG_TRY(sg_text_metrics_json(&m, classes, some, &text));
    sg_free(text);
    SG_TRY(sg_text_metrics_table(&m, classes, some, &text));
    sg_free(text);
    return sg_text_metrics_draw("title", classes, some, fixture_root, "confusion.png");
}

static void no_memory(void **state) {
    long live = sg_mem_live();
    sg_classes classes;

    (void)state;
    assert_ok(sg_classes_parse("ham,spam,none", &classes));
    FAIL_EACH_ALLOCATION(all_texts(&classes), 10);
    sg_classes_clear(&classes);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_scikit_learn),      cmocka_unit_test(labels_out_of_range),
        cmocka_unit_test(nothing_has_no_value), cmocka_unit_test(metrics_of_tasks),
        cmocka_unit_test(json_holds_it_all),    cmocka_unit_test(table_for_people),
        cmocka_unit_test(confusion_is_drawn),   cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, open_cases, close_cases);
}
