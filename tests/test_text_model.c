/* The text classifier's answers against labels: which tasks are measured as one. */
#include "data_fixture.h"

#include "train/text_model.h"

static void write_task(const char *task, const char *mapping) {
    char name[128];

    snprintf(name, sizeof name, "%s/train_text.txt", task);
    fixture_text(name, "a\nb\n");
    snprintf(name, sizeof name, "%s/train_labels.txt", task);
    fixture_text(name, "0\n1\n");
    snprintf(name, sizeof name, "%s/mapping.txt", task);
    fixture_text(name, mapping);
}

/* Every answer is class 0 of its task: half are right. */
static char *measured(const char *tasks) {
    sg_text_place place = {.format = SG_TEXT_TWEETEVAL, .root = fixture_root, .task = tasks};
    float probabilities[6 * 6] = {0};
    sg_evaluation e;
    sg_text_dataset *d;
    sg_text_model m;

    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_ok(sg_text_model_from_data(d, &m));
    assert_ok(sg_text_measure_answers(&m, d, probabilities, &e));
    sg_free(e.table);
    sg_text_model_clear(&m);
    sg_text_dataset_destroy(d);
    return e.json;
}

static void topics_of_other_classes(void **state) {
    char *json;

    (void)state;
    write_task("t/a", "0\tx\n1\ty\n");
    write_task("t/b", "0\tx\n1\ty\n");
    write_task("t/c", "0\tx\n1\tz\n");
    json = measured("t/a,t/b"); /* pooled */
    assert_non_null(strstr(json, "\"count\":4"));
    sg_free(json);
    json = measured("t/a,t/b,t/c"); /* none is lost */
    assert_non_null(strstr(json, "\"t/a\""));
    assert_non_null(strstr(json, "\"t/c\""));
    sg_free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(topics_of_other_classes)};

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
