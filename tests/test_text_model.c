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

static void draw(const char *tasks) {
    sg_text_place place = {.format = SG_TEXT_TWEETEVAL, .root = fixture_root, .task = tasks};
    float probabilities[8 * 8] = {0};
    sg_text_dataset *d;
    sg_text_model m;

    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_ok(sg_text_model_from_data(d, &m));
    assert_ok(sg_text_draw_answers(&m, d, probabilities, fixture_root));
    sg_text_model_clear(&m);
    sg_text_dataset_destroy(d);
}

static void drawn(const char *name) {
    sg_image image;

    assert_ok(sg_image_read(fixture_path(name), &image));
    sg_image_clear(&image);
    assert_int_equal(unlink(fixture_path(name)), 0);
}

static void each_task_is_drawn(void **state) {
    (void)state;
    write_task("u/a", "0\tx\n1\ty\n");
    write_task("u/b", "0\tx\n1\tz\n");
    write_task("s/a", "0\tx\n1\ty\n");
    write_task("s/b", "0\tx\n1\ty\n");
    draw("s/a,s/b"); /* measured as one */
    drawn("confusion.png");
    draw("u/a,u/b,s/a,s/b");
    drawn("confusion-u-a.png");
    drawn("confusion-u-b.png");
    drawn("confusion-s.png");
    assert_int_not_equal(access(fixture_path("confusion.png"), F_OK), 0);
}

/* Two tasks of 128 classes each are what there is room for. */
static void too_many_classes(void **state) {
    sg_text_place place = {
        .format = SG_TEXT_TWEETEVAL, .root = fixture_root, .task = "many/a,many/b"};
    sg_text_dataset *d;
    sg_text_model m;
    sg_classes names;

    (void)state;
    for (int more = 0; more < 2; more++) {
        char mapping[4096] = "";

        for (int i = 0; i < 128 + more; i++)
            snprintf(mapping + strlen(mapping), sizeof mapping - strlen(mapping), "%d\tc%d\n", i,
                     i);
        write_task(more ? "many/b" : "many/a", mapping);
        if (!more) write_task("many/b", mapping);
        assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
        assert_ok(sg_text_model_from_data(d, &m));
        sg_text_dataset_destroy(d);
        if (more) {
            assert_fails(sg_text_model_class_names(&m, &names), SG_ERR_CONFIG,
                         "data.task: its tasks have 257 classes together; at most 256");
        } else {
            assert_ok(sg_text_model_class_names(&m, &names));
            assert_string_equal(names.name[255], "many/b:c127");
            sg_classes_clear(&names);
        }
        sg_text_model_clear(&m);
    }
}

/* Names that are the same in their first 63 bytes. */
static void long_names(void **state) {
    char base[64], tasks[3 * 64 + 8], mapping[16] = "0\tx\n1\ty\n", *json;

    (void)state;
    memset(base, 'n', 63);
    base[63] = '\0';
    snprintf(tasks, sizeof tasks, "%s1", base);
    write_task(tasks, mapping);
    snprintf(tasks, sizeof tasks, "%s2", base);
    write_task(tasks, mapping);
    snprintf(tasks, sizeof tasks, "%s1,%s2", base, base);
    json = measured(tasks);
    assert_non_null(strstr(json, "n1\":"));
    assert_non_null(strstr(json, "n2\":"));
    sg_free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_of_other_classes),
        cmocka_unit_test(each_task_is_drawn),
        cmocka_unit_test(too_many_classes),
        cmocka_unit_test(long_names),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
