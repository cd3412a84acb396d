/* The checkpoints of a run: what a killed one has left over when it comes back. tests/chaos has the
 * rest: when they are written, and what is in them. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "checkpoint_fixture.h"
#include "core/log.h"
#include "core/threads.h"
#include "train/saver.h"

static char fingerprint[] = "ffee";
static sg_config config;
static const sg_task task = {
    .n_train = 16, .classes = fixture_classes, .n_classes = 1, .fingerprint = fingerprint};

static int begin(void **state) {
    if (fixture_begin(state) != 0) return -1;
    make_folder(SG_CHECKPOINT_FOLDER);
    sg_config_default(&config);
    snprintf(config.run.dir, sizeof config.run.dir, "%s", folder);
    for (int i = 1; i <= 9; i++) write_text(at_step(i), "x");
    set_step(9);
    return 0;
}

static sg_saver_options options_of(const sg_history *history, const char *resumed_from) {
    return (sg_saver_options){.config = &config,
                              .config_text = "",
                              .run_id = "r-1",
                              .task = &task,
                              .state = model,
                              .history = history,
                              .resumed_from = resumed_from,
                              .resumed_step = 9};
}

/* Before the first step: it may be killed again. */
static void start(const char *resumed_from, const char *names) {
    const sg_history history = {.n = 4, .top_step = {3, 2, 6, 8}, .n_top = 4};
    const sg_saver_options options = options_of(&history, resumed_from);
    sg_saver *saver;

    assert_int_equal(sg_saver_create(&options, &saver), SG_OK);
    assert_string_equal(names_in(SG_CHECKPOINT_FOLDER), names);
    sg_saver_destroy(saver);
}

static void test_left_over(void **state) {
    (void)state;
    config.checkpoint.keep_last = 2;
    config.checkpoint.keep_best = 2;
    start(at_step(9), "step-000000002.h5 step-000000003.h5 step-000000008.h5 step-000000009.h5 ");
    config.checkpoint.keep_last = 1;
    config.checkpoint.keep_best = 0;
    config.checkpoint.keep_every = 4;
    start(at_step(9), "step-000000008.h5 step-000000009.h5 ");
}

/* Not gone on from: none of it is this run's to delete. */
static void test_new_run(void **state) {
    (void)state;
    for (int i = 4; i <= 8; i++) assert_int_equal(remove(at_step(i)), 0);
    start(NULL, "step-000000001.h5 step-000000002.h5 step-000000003.h5 step-000000009.h5 ");
}

/* Of a worker that goes on from a file of its own, and has got the newer state of another one. */
static void test_behind(void **state) {
    const sg_history history = {0};
    sg_store *store;
    sg_saver_options with_store = options_of(&history, at_step(9));
    sg_saver *saver;

    (void)state;
    for (int i = 1; i <= 8; i++) assert_int_equal(remove(at_step(i)), 0);
    assert_int_equal(sg_model_file_write(at_step(9), &about, model), SG_OK);
    set_step(12);
    assert_int_equal(sg_store_open(at("store"), &store), SG_OK);
    with_store.store = store;
    assert_int_equal(sg_saver_create(&with_store, &saver), SG_OK);
    assert_false(sg_saver_is_durable(saver));
    assert_int_equal(sg_saver_finish(saver, true), SG_OK);
    assert_true(sg_saver_is_durable(saver));
    sg_saver_destroy(saver);
    assert_int_equal(step_in(at_step(12)), 12);
    assert_string_equal(names_in("store"), "step-000000012.h5 ");
    assert_int_equal(step_in(at("store/step-000000012.h5")), 12);
}

/* --- the best one of another worker ------------------------------------------------------------
 */

static const sg_history evaluated = {.n = 1, .top_step = {7}, .n_top = 1};

/* A worker that takes over after step 9, and comes to the end there. */
static void take_over(const char *run_id, sg_store *store, bool better) {
    sg_history history = evaluated;
    const sg_saver_options options = {.config = &config,
                                      .config_text = "",
                                      .run_id = run_id,
                                      .task = &task,
                                      .state = model,
                                      .history = &history,
                                      .store = store};
    sg_saver *saver;
    bool kept;

    set_step(9);
    assert_int_equal(sg_saver_create(&options, &saver), SG_OK);
    if (better) {
        history.top_step[0] = 9;
        assert_int_equal(sg_saver_evaluated(saver, true, &kept), SG_OK);
        assert_true(kept);
    }
    assert_int_equal(sg_saver_finish(saver, false), SG_OK);
    sg_saver_destroy(saver);
}

static int n_warnings;

static void count_warning(sg_log_level level, const char *line) {
    n_warnings += level == SG_LOG_WARN && strstr(line, "best.h5 is not that of step 7") != NULL;
}

static sg_store *open_store(void) {
    sg_store *store;

    assert_int_equal(sg_store_open(at("store"), &store), SG_OK);
    return store;
}

/* What the writer before it put into the store. */
static void put_best(int64_t step) {
    sg_store *store = open_store();

    set_step(step);
    assert_int_equal(sg_model_file_write(at("elsewhere.h5"), &about, model), SG_OK);
    assert_int_equal(sg_store_put(store, "best.h5", at("elsewhere.h5")), SG_OK);
    sg_store_close(store);
}

static void test_best_elsewhere(void **state) {
    (void)state;
    for (int i = 1; i <= 9; i++) assert_int_equal(remove(at_step(i)), 0);
    n_warnings = 0;
    sg_log_set(SG_LOG_INFO, count_warning);
    take_over("r-1", NULL, false); /* no store: it says so */
    assert_int_equal(n_warnings, 1);
    assert_int_equal(step_in(at("best.h5")), -1);
    take_over("r-1", open_store(), false); /* it does not have it */
    assert_int_equal(n_warnings, 2);
    put_best(6);
    take_over("r-1", open_store(), false); /* nor that one */
    assert_int_equal(n_warnings, 3);
    put_best(7);
    take_over("r-2", open_store(), false); /* of another run */
    assert_int_equal(n_warnings, 4);
    assert_int_equal(step_in(at("best.h5")), -1);
    take_over("r-1", open_store(), false);
    assert_int_equal(n_warnings, 4);
    assert_int_equal(step_in(at("best.h5")), 7);
    take_over("r-1", NULL, false); /* it is here now */
    assert_int_equal(n_warnings, 4);
    sg_log_set(SG_LOG_INFO, NULL);
}

/* It is never in the way of a better one, which the next one finds. */
static void test_better(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        put_best(7);
        take_over("r-1", open_store(), true);
        assert_int_equal(step_in(at("best.h5")), 9);
        assert_int_equal(step_in(at("store/best.h5")), 9);
        assert_int_equal(remove(at("best.h5")), 0);
    }
}

static bool stops(void *until) { return sg_now() > *(double *)until; }

/* A store that takes nothing at the end of a run keeps nobody who wants to go. */
static void test_asked_to_stop(void **state) {
    const sg_history history = {0};
    sg_saver_options options = options_of(&history, NULL);
    double begin, until;
    sg_saver *saver;

    (void)state;
    options.store = open_store();
    assert_int_equal(rmdir(at("store")), 0);
    write_text(at("store"), "in the way");
    begin = sg_now();
    until = begin + 0.3;
    options.stop = stops;
    options.stop_context = &until;
    assert_int_equal(sg_saver_create(&options, &saver), SG_OK);
    assert_int_equal(sg_saver_finish(saver, false), SG_ERR_INTERRUPTED);
    assert_true(sg_now() - begin < 5.0);
    assert_true(sg_saver_is_durable(saver));
    assert_int_equal(step_in(at_step(9)), 9);
    sg_saver_destroy(saver);
}

/* --- a slow disk ------------------------------------------------------------------------------ */

static atomic_bool holds; /* the next call is kept waiting */
static atomic_int pause_us;
static sem_t held, go_on; /* it is; it may return */

/* In place of the C library's. */
int fsync(int fd) {
    if (atomic_exchange(&holds, false)) {
        sem_post(&held);
        sem_wait(&go_on);
    }
    usleep((useconds_t)atomic_load(&pause_us));
    return (int)syscall(SYS_fsync, fd);
}

/* While one is written and an evaluation's waits, a step's is left out: not so the last one. */
static void test_left_out(void **state) {
    const sg_history history = {0};
    const sg_saver_options options = options_of(&history, NULL);
    sg_saver *saver;
    bool kept;

    (void)state;
    sem_init(&held, 0, 0);
    sem_init(&go_on, 0, 0);
    assert_int_equal(sg_saver_create(&options, &saver), SG_OK);
    atomic_store(&holds, true);
    for (int i = 10; i <= 11; i++) {
        set_step(i);
        assert_int_equal(sg_saver_evaluated(saver, false, &kept), SG_OK);
        if (i == 10) sem_wait(&held);
    }
    set_step(12);
    assert_int_equal(sg_saver_save(saver), SG_OK);
    sem_post(&go_on);
    assert_int_equal(sg_saver_finish(saver, true), SG_OK);
    assert_true(sg_saver_is_durable(saver));
    assert_int_equal(step_in(at_step(12)), 12);
    sg_saver_destroy(saver);
    sem_destroy(&held);
    sem_destroy(&go_on);
}

/* Also an evaluation that is not the best is durable before the next step. */
static void test_sync(void **state) {
    const sg_history history = {0};
    const sg_saver_options options = options_of(&history, NULL);
    sg_saver *saver;
    bool kept = true;

    (void)state;
    config.checkpoint.sync = true;
    assert_int_equal(sg_saver_create(&options, &saver), SG_OK);
    atomic_store(&pause_us, 100000);
    assert_int_equal(sg_saver_evaluated(saver, false, &kept), SG_OK);
    assert_true(sg_saver_is_durable(saver));
    assert_false(kept);
    atomic_store(&pause_us, 0);
    sg_saver_destroy(saver);
}

/* A writer was killed before it could give the name. */
static void test_best_unnamed(void **state) {
    (void)state;
    set_step(7);
    assert_int_equal(sg_model_file_write(at_step(7), &about, model), SG_OK);
    config.checkpoint.keep_best = 1;
    take_over("r-1", NULL, false);
    assert_int_equal(step_in(at("best.h5")), 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_left_over, begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_new_run, begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_behind, begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_best_elsewhere, begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_better, begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_asked_to_stop, begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_left_out, begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_sync, begin, fixture_end),
        cmocka_unit_test_setup_teardown(test_best_unnamed, begin, fixture_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
