/* The classifier of messages: which options it takes. */
#include "data_fixture.h"

#include "nn/text_classifier.h"

static void a_task_has_two_classes(void **state) {
    static const int64_t good[] = {2, 3}, bad[] = {3, 1};
    sg_text_classifier_options o = {
        .buckets = 7, .features = 4, .wide = true, .n_tasks = 2, .task_classes = good};

    (void)state;
    assert_ok(sg_text_classifier_check(&o));
    assert_int_equal(sg_text_classifier_classes(&o), 5);
    o.task_classes = bad;
    assert_fails(sg_text_classifier_check(&o), SG_ERR_CONFIG, "task 2 has 1 classes");
    o.n_tasks = 1;
    assert_ok(sg_text_classifier_check(&o));
    o.n_tasks = 0;
    assert_fails(sg_text_classifier_check(&o), SG_ERR_CONFIG, "fewer than two classes");
    o.n_tasks = 1;
    o.wide = false;
    assert_fails(sg_text_classifier_check(&o), SG_ERR_CONFIG, "it has no part");
    o.wide = true;
    o.buckets = 0;
    assert_fails(sg_text_classifier_check(&o), SG_ERR_CONFIG, "have 0 buckets");
    o.buckets = 7;
    o.dropout = 1.0f;
    assert_fails(sg_text_classifier_check(&o), SG_ERR_CONFIG, "dropout 1");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_task_has_two_classes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
