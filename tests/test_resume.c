/* Where a run goes on from, where the files are as nobody would expect. tests/test_damaged.c has
 * those that are damaged. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <unistd.h>

#include "checkpoint_fixture.h"
#include "core/log.h"
#include "train/resume.h"

static sg_config config;
static int n_warnings;

static void count_warning(sg_log_level level, const char *line) {
    n_warnings += level == SG_LOG_WARN && strstr(line, "looking for an older checkpoint") != NULL;
}

static int begin(void **state) {
    if (fixture_begin(state) != 0) return -1;
    make_folder(SG_CHECKPOINT_FOLDER);
    sg_config_default(&config);
    snprintf(config.run.dir, sizeof config.run.dir, "%s", folder);
    n_warnings = 0;
    sg_log_set(SG_LOG_WARN, count_warning);
    return 0;
}

static int end(void **state) {
    sg_log_set(SG_LOG_ERROR, NULL);
    return fixture_end(state);
}

static void write_step(int64_t step, const char *version) {
    sg_model_about by = about;

    by.version = version;
    set_step(step);
    assert_int_equal(sg_model_file_write(at_step(step), &by, model), SG_OK);
}

/* To a disk that is not there today: no reason to look for ever, nor to begin anew. */
static void test_link_to_nowhere(void **state) {
    sg_resume resume = {0};

    (void)state;
    assert_int_equal(symlink("/nowhere/step.h5", at_step(5)), 0);
    assert_int_equal(sg_resume_find(&config, NULL, &resume), SG_ERR_MISSING);
    assert_non_null(strstr(sg_last_error(), "step-000000005.h5: cannot open: No such file"));
    write_step(4, about.version);
    assert_int_equal(sg_resume_find(&config, NULL, &resume), SG_OK);
    assert_int_equal(resume.file.step, 4);
    assert_int_equal(n_warnings, 1);
    sg_resume_clear(&resume);
}

/* Of 64 digits each, data.train's and data.val's. */
#define TRAIN "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define VAL   "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

static void test_data(void **state) {
    static const struct {
        const char *before, *changed; /* what is told; NULL: it is the same */
    } cases[] = {{TRAIN VAL, NULL},
                 {TRAIN, NULL}, /* an older file */
                 {TRAIN TRAIN, "another data.val than "},
                 {VAL VAL, "another data.train than "},
                 {VAL, "another data.train than "},
                 {"", "another data.train than "}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_resume resume = {0};
        sg_model_about of = about;

        of.data_fingerprint = cases[i].before;
        set_step(4);
        assert_int_equal(sg_model_file_write(at_step(4), &of, model), SG_OK);
        assert_int_equal(sg_resume_find(&config, NULL, &resume), SG_OK);
        assert_int_equal(sg_resume_check(&resume, &config, TRAIN VAL),
                         cases[i].changed ? SG_ERR_CONFIG : SG_OK);
        if (cases[i].changed) assert_non_null(strstr(sg_last_error(), cases[i].changed));
        sg_resume_clear(&resume);
    }
}

/* A state that the files are not of. */
static sg_state *other_state(sg_table **other) {
    const sg_shape shape = {1, {3}};
    sg_state *state;
    int index;

    assert_int_equal(sg_table_create(other), SG_OK);
    assert_int_equal(sg_table_entry(*other, "tail.weight", SG_ENTRY_DECAY, &shape,
                                    (sg_init){SG_INIT_NORMAL, 1.0f}, &index),
                     SG_OK);
    sg_table_freeze(*other);
    assert_int_equal(sg_state_create_with(*other, &fixture_state, &state), SG_OK);
    return state;
}

/* Files of a version that had another model are good, and stay; one of this version is damaged. */
static void test_another_version(void **state) {
    sg_resume resume = {0};
    sg_table *other;
    sg_state *fresh = other_state(&other);
    bool again = true;

    (void)state;
    write_step(4, "0.0.9");
    write_step(5, "0.0.9");
    assert_int_equal(sg_resume_find(&config, NULL, &resume), SG_OK);
    assert_int_equal(sg_resume_load(&resume, &config, about.numeric_class, fresh, &again),
                     SG_ERR_DATA);
    assert_non_null(
        strstr(sg_last_error(), "tail.weight is missing; it was written by version 0.0.9"));
    assert_false(again);
    assert_string_equal(names_in(SG_CHECKPOINT_FOLDER), "step-000000004.h5 step-000000005.h5 ");
    sg_resume_clear(&resume);
    write_step(5, about.version);
    assert_int_equal(sg_resume_find(&config, NULL, &resume), SG_OK);
    assert_int_equal(sg_resume_load(&resume, &config, about.numeric_class, fresh, &again),
                     SG_ERR_DATA);
    assert_true(again);
    assert_string_equal(names_in(SG_CHECKPOINT_FOLDER),
                        "step-000000004.h5 step-000000005.h5.damaged ");
    sg_resume_clear(&resume);
    sg_state_destroy(fresh);
    sg_table_destroy(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_link_to_nowhere, begin, end),
        cmocka_unit_test_setup_teardown(test_data, begin, end),
        cmocka_unit_test_setup_teardown(test_another_version, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
