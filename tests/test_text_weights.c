/* What a text counts for in training: train.class_weights, class_factors, task_balance. */
#include "data_fixture.h"

#include <math.h>

#include "train/text_weights.h"

/* s: 3 texts of `a`, 1 of `b`; large: 4 of `x`, 4 of `y`. */
static void write_tasks(void) {
    fixture_text("s/train_text.txt", "p\nq\nr\ns\n");
    fixture_text("s/train_labels.txt", "0\n0\n0\n1\n");
    fixture_text("s/mapping.txt", "0\ta\n1\tb\n");
    fixture_text("large/train_text.txt", "1\n2\n3\n4\n5\n6\n7\n8\n");
    fixture_text("large/train_labels.txt", "0\n1\n0\n1\n0\n1\n0\n1\n");
    fixture_text("large/mapping.txt", "0\tx\n1\ty\n");
}

/* With `keys` set; *weights is the caller's where it succeeds. */
static sg_status weigh(const char *tasks, const char *const *keys, int n_keys, float **weights) {
    sg_text_place place = {.format = SG_TEXT_TWEETEVAL, .root = fixture_root, .task = tasks};
    sg_text_dataset *d;
    sg_text_model m;
    sg_config config;
    sg_status st;

    sg_config_default(&config);
    for (int i = 0; i < n_keys; i++) assert_ok(sg_config_set(&config, keys[i]));
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_ok(sg_text_model_from_data(d, &m));
    st = sg_text_class_weights(&config, &m, d, weights);
    sg_text_model_clear(&m);
    sg_text_dataset_destroy(d);
    return st;
}

static void expect(const char *tasks, const char *const *keys, int n_keys, const double *wanted,
                   int n) {
    float *weights;

    assert_ok(weigh(tasks, keys, n_keys, &weights));
    for (int c = 0; c < n; c++) assert_true(fabs((double)weights[c] - wanted[c]) < 1e-6);
    sg_free(weights);
}

static void classes(void **state) {
    const double none[] = {1.0, 1.0}, balanced[] = {2.0 / 3.0, 2.0};
    const double root = 4.0 / (3.0 * sqrt(1.0 / 1.5) + sqrt(2.0));

    (void)state;
    expect("s", NULL, 0, none, 2);
    expect("s", (const char *[]){"train.class_weights=balanced"}, 1, balanced, 2);
    expect("s", (const char *[]){"train.class_weights=sqrt"}, 1,
           (const double[]){root * sqrt(1.0 / 1.5), root * sqrt(2.0)}, 2);
}

/* The mean over a task's texts stays 1. */
static void factors(void **state) {
    const char *keys[] = {"train.class_weights=balanced", "train.class_factors= b:3 "};

    (void)state;
    expect("s", keys + 1, 1, (const double[]){4.0 / 6.0, 12.0 / 6.0}, 2);
    expect("s", keys, 2, (const double[]){1.0 / 3.0, 3.0}, 2); /* 2/3 and 6, over their mean 2 */
    expect("s", (const char *[]){"train.class_factors=a:0.5, b:1.5"}, 1,
           (const double[]){2.0 / 3.0, 2.0}, 2);
}

static void tasks(void **state) {
    const char *keys[] = {"train.task_balance=1", "train.class_factors=s:b:3,large:x:0.5"};
    const double r = 4.0 / 3.0; /* x: 1/2, y: 1, over their mean 3/4 */

    (void)state;
    expect("s,large", keys, 1, (const double[]){2.0, 2.0, 1.0, 1.0}, 4);
    expect("s,large", keys, 2, (const double[]){2.0 * 4.0 / 6.0, 2.0 * 12.0 / 6.0, 0.5 * r, r}, 4);
}

static void refused(void **state) {
    static const struct {
        const char *key, *words;
    } bad[] = {
        {"train.class_factors=c:2", "there is no class `c`; the first is `a`"},
        {"train.class_factors=b:2,b:3", "`b` is named twice"},
        {"train.class_factors=b", "`b` is no class, a colon and a factor"},
        {"train.class_factors=b:", "`b:` is no class"},
        {"train.class_factors=b:2x", "`b:2x` is no class"},
        {"train.class_factors=b:0", "`b:0` is no class"},
        {"train.class_factors=b:-1", "`b:-1` is no class"},
        {"train.class_factors=b:nan", "`b:nan` is no class"},
        {"train.class_factors=b:inf", "`b:inf` is no class"},
        {"train.class_factors=a:1,,b:2", "entry 2 has an empty name"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        float *weights;

        assert_fails(weigh("s", &bad[i].key, 1, &weights), SG_ERR_CONFIG, bad[i].words);
    }
}

static int set_up(void **state) {
    if (fixture_setup(state)) return -1;
    write_tasks();
    return 0;
}

int main(void) {
    const struct CMUnitTest all[] = {cmocka_unit_test(classes), cmocka_unit_test(factors),
                                     cmocka_unit_test(tasks), cmocka_unit_test(refused)};

    return cmocka_run_group_tests(all, set_up, fixture_teardown);
}
