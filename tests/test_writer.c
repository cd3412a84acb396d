/* The writer's thread: what is written, replaced, named and kept, and what a full disk does. The
 * durable callback holds the thread where a test wants it, so that nothing depends on time. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "checkpoint/model_image.h"
#include "checkpoint/writer.h"
#include "checkpoint_fixture.h"
#include "core/log.h"

enum { kRoom = 1 << 16 }; /* for a history, as the writer lays images out */

static sg_writer *writer;
static sem_t written, go_on; /* the callback came; it may return */
static bool holding;
static int64_t told[32]; /* steps that were said to be durable */
static int n_told;

static char lines[16][256]; /* warnings and what follows them */
static int n_lines;

static void keep_line(sg_log_level level, const char *line) {
    if (level <= SG_LOG_INFO && n_lines < 16)
        snprintf(lines[n_lines++], sizeof lines[0], "%s", line);
}

static void durable(void *context, const char *path, int64_t step, bool best) {
    assert_ptr_equal(context, &written);
    if (best) assert_true(sg_same_file(path, at("best.h5")) || step_in(at("best.h5")) == step);
    assert_int_equal(step_in(path), step);
    told[n_told++] = step;
    if (!holding) return;
    sem_post(&written);
    sem_wait(&go_on);
}

static void start(const sg_retention *keep) {
    const sg_writer_options options = {.run_dir = folder,
                                       .about = &about,
                                       .state = model,
                                       .keep = *keep,
                                       .durable = durable,
                                       .context = &written};

    assert_int_equal(sg_writer_create(&options, &writer), SG_OK);
}

static int begin(void **state) {
    const sg_retention all = {.last = 1000};

    if (fixture_begin(state) != 0) return -1;
    sem_init(&written, 0, 0);
    sem_init(&go_on, 0, 0);
    holding = false;
    n_told = n_lines = 0;
    sg_log_set(SG_LOG_INFO, keep_line);
    start(&all);
    return 0;
}

static int end(void **state) {
    sg_writer_destroy(writer);
    writer = NULL;
    sg_log_set(SG_LOG_ERROR, NULL);
    sem_destroy(&written);
    sem_destroy(&go_on);
    return fixture_end(state);
}

static void offer(int64_t step, bool must, bool best) {
    const sg_offer o = {.epoch = step / 10, .history = "", .must = must, .best = best};

    set_step(step);
    assert_int_equal(sg_writer_offer(writer, &o), SG_OK);
}

static void flush(void) { assert_int_equal(sg_writer_flush(writer), SG_OK); }

/* Offer, and let the thread stop with that step on disk. */
static void offer_and_hold(int64_t step) {
    holding = true;
    offer(step, false, false);
    sem_wait(&written);
    holding = false;
}

static void expect_files(const char *names) {
    assert_string_equal(names_in(SG_CHECKPOINT_FOLDER), names);
}

/* --- what is written -------------------------------------------------------------------------- */

/* The bytes that sg_model_image gives for the same room, and what sg_model_file_write would say. */
static void test_content(void **state) {
    const char *history = "{\"step\":3}\n";
    const sg_offer o = {.epoch = 2, .history = history};
    uint8_t *bytes;
    sg_model_image *image;
    sg_model_about whole = about;
    sg_model_file from_writer, from_file;
    size_t size, want_size;
    const void *want;

    (void)state;
    set_step(3);
    assert_int_equal(sg_writer_offer(writer, &o), SG_OK);
    flush();
    assert_int_equal(sg_model_image_create("x", &about, model, (sg_model_room){kRoom, 0}, &image),
                     SG_OK);
    sg_model_image_take(image, 2, &(sg_model_growing){history, NULL});
    sg_model_image_seal(image);
    want = sg_model_image_bytes(image, &want_size);
    assert_int_equal((uintptr_t)want % SG_MODEL_PAGE, 0);
    assert_int_equal(sg_file_read(at_step(3), 0, &bytes, &size), SG_OK);
    assert_int_equal(size, want_size);
    assert_memory_equal(bytes, want, size);
    sg_free(bytes);
    sg_model_image_destroy(image);

    whole.epoch = 2;
    whole.history = history;
    assert_int_equal(sg_model_file_write(at("other.h5"), &whole, model), SG_OK);
    assert_int_equal(sg_model_file_verify(at_step(3), &from_writer), SG_OK);
    assert_int_equal(sg_model_file_verify(at("other.h5"), &from_file), SG_OK);
    assert_string_equal(from_writer.history, from_file.history);
    assert_string_equal(from_writer.config, from_file.config);
    assert_string_equal(from_writer.run_id, from_file.run_id);
    assert_string_equal(from_writer.classes[0], from_file.classes[0]);
    assert_int_equal(from_writer.epoch, from_file.epoch);
    assert_int_equal(from_writer.samples, from_file.samples);
    sg_model_file_clear(&from_writer);
    sg_model_file_clear(&from_file);
}

/* The state may change as soon as the offer has returned. */
static void test_is_a_copy(void **state) {
    sg_state *loaded;

    (void)state;
    offer_and_hold(1);
    offer(2, false, false);
    model->values[0] = -1.0f;
    model->step = 77;
    sem_post(&go_on);
    flush();
    assert_int_equal(sg_state_create(table, 1, &loaded), SG_OK);
    assert_int_equal(sg_model_file_load(at_step(2), loaded), SG_OK);
    assert_int_equal(loaded->step, 2);
    assert_true(loaded->values[0] == 2.0f);
    sg_state_destroy(loaded);
}

/* An image is filled again and again, with shorter histories after longer ones too. */
static void test_again_and_again(void **state) {
    static const char *const histories[] = {"long long long\n", "", "short\n", "long long long\n"};
    sg_model_file file;

    (void)state;
    for (int i = 0; i < 4; i++) {
        const sg_offer o = {.history = histories[i]};

        set_step(i + 1);
        assert_int_equal(sg_writer_offer(writer, &o), SG_OK);
        flush();
        assert_int_equal(sg_model_file_verify(at_step(i + 1), &file), SG_OK);
        assert_string_equal(file.history, histories[i]);
        sg_model_file_clear(&file);
    }
    assert_int_equal(n_told, 4);
}

static void test_history_outgrows_its_room(void **state) {
    (void)state;
    for (size_t length = kRoom - 1; length < 3000000; length = 3 * length + 1) {
        char *history = malloc(length + 1);
        const sg_offer o = {.history = history};
        sg_model_file file;

        memset(history, 'x', length);
        history[length] = '\0';
        set_step((int64_t)length);
        assert_int_equal(sg_writer_offer(writer, &o), SG_OK);
        flush();
        assert_int_equal(sg_model_file_verify(at_step((int64_t)length), &file), SG_OK);
        assert_string_equal(file.history, history);
        sg_model_file_clear(&file);
        free(history);
    }
}

/* --- what is replaced ------------------------------------------------------------------------- */

static void test_newer_replaces_waiting(void **state) {
    sg_writer_stats stats;

    (void)state;
    offer_and_hold(1);
    for (int i = 2; i <= 5; i++) offer(i, false, false);
    sem_post(&go_on);
    flush();
    expect_files("step-000000001.h5 step-000000005.h5 ");
    stats = sg_writer_report(writer);
    assert_int_equal(stats.taken, 5);
    assert_int_equal(stats.written, 2);
    assert_int_equal(stats.replaced, 3);
    assert_int_equal(stats.failed, 0);
    assert_int_equal(stats.durable_step, 5);
    assert_int_equal(step_in(at("last.h5")), 5);
    assert_true(sg_same_file(at_step(5), at("last.h5")));
    assert_int_equal(n_told, 2);
    assert_true(stats.cost_seconds > 0.0 && stats.take_seconds > 0.0 && stats.cpu_seconds > 0.0);
}

static void test_must_is_not_replaced(void **state) {
    (void)state;
    offer_and_hold(1);
    offer(2, false, false);
    offer(3, true, true); /* in the place of 2 */
    offer(4, false, false);
    sem_post(&go_on);
    flush();
    expect_files("step-000000001.h5 step-000000003.h5 ");
    assert_true(sg_same_file(at_step(3), at("best.h5")));
    assert_int_equal(sg_writer_report(writer).replaced, 2);
    offer(5, false, false);
    flush();
    assert_int_equal(step_in(at("last.h5")), 5);
}

static void *let_go_later(void *context) {
    (void)context;
    usleep(50000);
    sem_post(&go_on);
    return NULL;
}

static void test_must_waits_for_must(void **state) {
    pthread_t thread;

    (void)state;
    offer_and_hold(1);
    offer(2, true, false);
    assert_int_equal(pthread_create(&thread, NULL, let_go_later, NULL), 0);
    offer(3, true, false); /* not before 2 is being written */
    flush();
    pthread_join(thread, NULL);
    expect_files("step-000000001.h5 step-000000002.h5 step-000000003.h5 ");
    assert_int_equal(sg_writer_report(writer).replaced, 0);
}

/* Whoever keeps up has at most the newest offer under way, however long writing takes. */
static void test_keeps_up(void **state) {
    pthread_t thread;

    (void)state;
    sg_writer_keep_up(writer); /* nothing was offered */
    offer_and_hold(1);
    sg_writer_keep_up(writer); /* 1 is the newest */
    assert_int_equal(sg_writer_report(writer).durable_step, -1);
    offer(2, true, false);
    assert_int_equal(pthread_create(&thread, NULL, let_go_later, NULL), 0);
    sg_writer_keep_up(writer);
    assert_true(sg_writer_report(writer).durable_step >= 1);
    pthread_join(thread, NULL);
    flush();
    assert_int_equal(sg_writer_report(writer).replaced, 0);
}

/* What was offered is written even if nobody waits for it. */
static void test_destroy_writes_what_waits(void **state) {
    pthread_t thread;

    (void)state;
    offer_and_hold(1);
    offer(2, false, false);
    assert_int_equal(pthread_create(&thread, NULL, let_go_later, NULL), 0);
    sg_writer_destroy(writer);
    writer = NULL;
    pthread_join(thread, NULL);
    expect_files("step-000000001.h5 step-000000002.h5 ");
    sg_writer_destroy(NULL);
}

/* --- names and retention ---------------------------------------------------------------------- */

static void test_best_and_retention(void **state) {
    const sg_retention keep = {.last = 2, .every = 5, .best = {3}, .n_best = 1};

    (void)state;
    for (int i = 1; i <= 9; i++) {
        const sg_offer o = {.history = "", .must = i == 3, .best = i == 3, .keep = &keep};

        set_step(i);
        assert_int_equal(sg_writer_offer(writer, &o), SG_OK);
        flush();
        assert_int_equal(step_in(at("last.h5")), i);
    }
    expect_files("step-000000003.h5 step-000000005.h5 step-000000008.h5 step-000000009.h5 ");
    assert_true(sg_same_file(at_step(3), at("best.h5")));
    assert_string_equal(names_in("."), "best.h5 checkpoints last.h5 ");
}

static void test_no_hard_links(void **state) {
    (void)state;
    make_folder("last.h5.tmp"); /* so that no link of that name can be made */
    make_folder("best.h5.tmp");
    offer(1, true, true);
    flush();
    offer(2, false, false);
    flush();
    assert_int_equal(step_in(at("last.h5")), 2);
    assert_int_equal(step_in(at("best.h5")), 1);
    assert_false(sg_same_file(at_step(2), at("last.h5")));
    assert_int_equal(n_lines, 0);
}

/* --- failures --------------------------------------------------------------------------------- */

static struct rlimit usual;

static void fill_disk(void) {
    struct rlimit full;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &usual), 0);
    full = usual;
    full.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
}

static void empty_disk(void) { assert_int_equal(setrlimit(RLIMIT_FSIZE, &usual), 0); }

/* Told once when it begins and once when it ends; nothing half-written stays. */
static void test_full_disk(void **state) {
    sg_status st[3];
    sg_writer_stats stats;

    (void)state;
    offer(1, false, false);
    flush();
    fill_disk();
    for (int i = 0; i < 3; i++) {
        offer(2 + i, i == 1, false);
        st[i] = sg_writer_flush(writer);
    }
    empty_disk();
    for (int i = 0; i < 3; i++) assert_int_equal(st[i], SG_ERR_IO);
    assert_non_null(strstr(sg_last_error(), "step-000000004.h5"));
    expect_files("step-000000001.h5 ");
    assert_int_equal(step_in(at("last.h5")), 1);
    offer(5, false, false);
    flush();
    expect_files("step-000000001.h5 step-000000005.h5 ");
    stats = sg_writer_report(writer);
    assert_int_equal(stats.failed, 3);
    assert_int_equal(stats.durable_step, 5);
    assert_int_equal(n_lines, 2);
    assert_non_null(strstr(lines[0], "training goes on, the newest checkpoint is of step 1"));
    assert_string_equal(lines[1], "checkpoints can be written again: step 5");
    assert_int_equal(n_told, 2);
}

/* What was to be best.h5 is not lost by it, and does not become last.h5. */
static void test_best_on_a_full_disk(void **state) {
    sg_status st;

    (void)state;
    fill_disk();
    offer(1, true, true);
    st = sg_writer_flush(writer);
    offer(2, true, true); /* better still: 1 is forgotten */
    if (st == SG_ERR_IO) st = sg_writer_flush(writer);
    offer(3, false, false);
    if (st == SG_ERR_IO) st = sg_writer_flush(writer);
    empty_disk();
    assert_int_equal(st, SG_ERR_IO);
    assert_non_null(strstr(lines[0], "training goes on, none was written since the start"));
    offer(4, false, false);
    flush();
    expect_files("step-000000002.h5 step-000000004.h5 ");
    assert_true(sg_same_file(at_step(2), at("best.h5")));
    assert_true(sg_same_file(at_step(4), at("last.h5")));
    assert_int_equal(sg_writer_report(writer).durable_step, 4);
    offer(5, false, false); /* both images are free again */
    offer(6, false, false);
    flush();
    assert_int_equal(step_in(at("last.h5")), 6);
}

/* best.h5 alone cannot be written: the newest checkpoints can, and it is tried again. */
static void test_best_cannot_be_named(void **state) {
    (void)state;
    make_folder("best.h5"); /* nothing can take its place */
    offer(1, true, true);
    assert_int_equal(sg_writer_flush(writer), SG_ERR_IO);
    for (int i = 2; i <= 4; i++) {
        offer(i, false, false);
        flush();
        assert_int_equal(step_in(at("last.h5")), i);
    }
    assert_int_equal(n_lines, 2); /* once that it failed, once that others do not */
    assert_int_equal(rmdir(at("best.h5")), 0);
    offer(5, false, false);
    flush();
    assert_int_equal(step_in(at("best.h5")), 1);
    assert_int_equal(step_in(at("last.h5")), 5);
}

/* That of an evaluation which no rule keeps is there when it is told of, to be sent somewhere. */
static void test_owed_is_told_before_it_goes(void **state) {
    const sg_retention keep = {.last = 1};
    const sg_offer newer = {.history = "", .keep = &keep};

    (void)state;
    make_folder("best.h5");
    offer(1, true, true);
    assert_int_equal(sg_writer_flush(writer), SG_ERR_IO);
    for (int i = 2; i <= 3; i++) {
        set_step(i);
        assert_int_equal(sg_writer_offer(writer, &newer), SG_OK);
        flush();
        if (i == 2) assert_int_equal(rmdir(at("best.h5")), 0);
    }
    expect_files("step-000000003.h5 ");
    assert_int_equal(step_in(at("best.h5")), 1);
    assert_int_equal(n_told, 3);
    assert_int_equal(told[1], 1);
}

static void test_no_folder(void **state) {
    sg_writer *none = NULL;
    sg_writer_options options = {.about = &about, .state = model};

    (void)state;
    write_text(at("file"), "x");
    options.run_dir = at("file");
    assert_int_equal(sg_writer_create(&options, &none), SG_ERR_IO);
    assert_null(none);
}

/* An offer that finds no memory takes nothing from the one that waits. */
static void test_no_memory_for_an_offer(void **state) {
    char *history = malloc(kRoom + 2);
    const sg_offer larger = {.history = history};

    (void)state;
    memset(history, 'x', kRoom + 1);
    history[kRoom + 1] = '\0';
    offer_and_hold(1);
    offer(2, false, false);
    set_step(3);
    sg_mem_fail_at(1);
    assert_int_equal(sg_writer_offer(writer, &larger), SG_ERR_OOM);
    sg_mem_fail_at(0);
    sem_post(&go_on);
    flush();
    expect_files("step-000000001.h5 step-000000002.h5 ");
    assert_int_equal(sg_writer_report(writer).replaced, 0);
    assert_int_equal(sg_writer_offer(writer, &larger), SG_OK);
    flush();
    expect_files("step-000000001.h5 step-000000002.h5 step-000000003.h5 ");
    free(history);
}

/* Each allocation fails once, in whichever thread: an error or a warning, never a leak or a file
 * that is not whole. */
static void test_out_of_memory(void **state) {
    const sg_retention keep = {.last = 2};
    const sg_offer o = {.history = "{}\n"};
    long live, failures = 0;

    (void)state;
    sg_writer_destroy(writer);
    writer = NULL;
    live = sg_mem_live();
    for (long n = 1; n < 250; n++) {
        const sg_writer_options options = {
            .run_dir = folder, .about = &about, .state = model, .keep = keep};
        sg_status st;

        sg_mem_fail_at(n);
        st = sg_writer_create(&options, &writer);
        for (int i = 0; i < 3 && st == SG_OK; i++) {
            set_step(3 * n + i);
            st = sg_writer_offer(writer, &o);
        }
        if (st == SG_OK) st = sg_writer_flush(writer);
        sg_writer_destroy(writer);
        writer = NULL;
        sg_mem_fail_at(0);
        assert_true(st == SG_OK || st == SG_ERR_OOM);
        failures += st != SG_OK;
        assert_int_equal(sg_mem_live(), live);
        if (st == SG_OK) assert_int_equal(step_in(at("last.h5")), 3 * n + 2);
    }
    assert_in_range(failures, 5, 240);
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(test_content),
        CASE(test_is_a_copy),
        CASE(test_again_and_again),
        CASE(test_history_outgrows_its_room),
        CASE(test_newer_replaces_waiting),
        CASE(test_must_is_not_replaced),
        CASE(test_must_waits_for_must),
        CASE(test_keeps_up),
        CASE(test_destroy_writes_what_waits),
        CASE(test_best_and_retention),
        CASE(test_no_hard_links),
        CASE(test_full_disk),
        CASE(test_best_on_a_full_disk),
        CASE(test_best_cannot_be_named),
        CASE(test_owed_is_told_before_it_goes),
        CASE(test_no_folder),
        CASE(test_no_memory_for_an_offer),
        CASE(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
