/* The uploader with a folder for its store: the newest file goes, failures pass, nothing waits for
 * ever. With arguments it is a tool that drives any store from the shell: see tool(). */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/store.h"
#include "checkpoint/uploader.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/temporary.h"
#include "core/threads.h"

enum { kBytes = 100000, kLines = 64, kLine = 512 };

static char folder[64], store_path[96], other_path[96];

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[kLines][kLine];
static int n_lines;

static void keep_line(sg_log_level level, const char *line) {
    if (level > SG_LOG_WARN) return;
    pthread_mutex_lock(&log_lock);
    if (n_lines < kLines) snprintf(lines[n_lines++], kLine, "%s", line);
    pthread_mutex_unlock(&log_lock);
}

static int count_lines(const char *part) {
    int n = 0;

    pthread_mutex_lock(&log_lock);
    for (int i = 0; i < n_lines; i++) n += strstr(lines[i], part) != NULL;
    pthread_mutex_unlock(&log_lock);
    return n;
}

static void write_step(const char *path, int64_t step) {
    static uint8_t data[kBytes];

    for (int i = 0; i < kBytes; i++) data[i] = (uint8_t)(i * 7 + step);
    assert_int_equal(sg_file_write(path, data, kBytes), SG_OK);
}

static bool holds_step(const char *path, int64_t step) {
    uint8_t *data;
    size_t size;
    bool same;

    if (sg_file_read(path, 0, &data, &size) != SG_OK) return false;
    same = size == kBytes;
    for (size_t i = 0; i < size && same; i++) same = data[i] == (uint8_t)((int)i * 7 + (int)step);
    sg_free(data);
    return same;
}

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/spotgrad-uploader-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(store_path, sizeof store_path, "%s/store", folder);
    snprintf(other_path, sizeof other_path, "%s/away", folder);
    sg_log_set(SG_LOG_DEBUG, keep_line);
    n_lines = 0;
    return 0;
}

static int tear_down(void **state) {
    char command[96];

    (void)state;
    sg_log_set(SG_LOG_INFO, NULL);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static sg_uploader *start(const sg_uploader_options *options) {
    sg_store *store;
    sg_uploader *u;

    assert_int_equal(sg_store_open(store_path, &store), SG_OK);
    assert_int_equal(sg_uploader_create(store, options, &u), SG_OK);
    return u;
}

static sg_uploader_options quick(void) {
    sg_uploader_options o = sg_uploader_defaults();

    o.every = 0.0;
    o.first_pause = o.longest_pause = 0.02;
    return o;
}

/* Offer a file that is gone right afterwards. */
static void offer(sg_uploader *u, int64_t step) {
    char path[128];

    snprintf(path, sizeof path, "%s/local.h5", folder);
    write_step(path, step);
    sg_uploader_offer(u, path, step);
    assert_int_equal(unlink(path), 0);
}

/* The steps in the store, newest first, as "3 2 1". */
static const char *steps(void) {
    static char text[256];
    sg_store *store;
    sg_store_entry *entries;
    int n, length = 0;

    text[0] = '\0';
    assert_int_equal(sg_store_open(store_path, &store), SG_OK);
    assert_int_equal(sg_store_newest(store, &entries, &n), SG_OK);
    for (int i = 0; i < n; i++) {
        char path[256];

        snprintf(path, sizeof path, "%s/%s", store_path, entries[i].name);
        assert_true(holds_step(path, sg_step_of(entries[i].name)));
        length += snprintf(text + length, sizeof text - (size_t)length, "%s%lld", i ? " " : "",
                           (long long)sg_step_of(entries[i].name));
    }
    sg_free(entries);
    sg_store_close(store);
    return text;
}

static void newest_are_kept(void **state) {
    sg_uploader_options o = quick();
    sg_uploader *u;
    long live = sg_mem_live();

    (void)state;
    o.keep = 2;
    u = start(&o);
    assert_true(sg_uploader_wait(u, 0.0)); /* nothing to wait for */
    assert_int_equal(sg_uploader_step(u), -1);
    for (int64_t step = 1; step <= 5; step++) {
        offer(u, step);
        assert_true(sg_uploader_wait(u, 20.0));
        assert_int_equal(sg_uploader_step(u), step);
    }
    assert_string_equal(steps(), "5 4");
    /* a run that has begun anew, for want of the store: its file stays, and those with more steps
     */
    offer(u, 3);
    assert_true(sg_uploader_wait(u, 20.0));
    assert_string_equal(steps(), "5 4 3");
    sg_uploader_destroy(u);
    assert_int_equal(n_lines, 0);
    assert_int_equal(sg_mem_live(), live);
}

static void newer_replaces_waiting(void **state) {
    sg_uploader_options o = quick();
    sg_uploader *u;

    (void)state;
    o.every = 3600.0;
    u = start(&o);
    offer(u, 1);
    for (int i = 0; i < 1000 && sg_uploader_step(u) < 1; i++) usleep(10000);
    for (int64_t step = 2; step <= 9; step++) offer(u, step); /* within the hour */
    usleep(50000);
    assert_string_equal(steps(), "1");
    assert_true(sg_uploader_wait(u, 20.0)); /* an interruption does not wait for the hour's end */
    assert_string_equal(steps(), "9 1");
    offer(u, 9); /* is there */
    assert_true(sg_uploader_wait(u, 0.0));
    sg_uploader_destroy(u);
    assert_int_equal(n_lines, 0);
}

/* The best one has a name of its own, and goes beside the newest. */
static void best_is_kept(void **state) {
    sg_uploader_options o = quick();
    char path[128], there[128];
    sg_uploader *u;

    (void)state;
    o.keep = 1;
    u = start(&o);
    snprintf(path, sizeof path, "%s/best", folder);
    snprintf(there, sizeof there, "%s/best.h5", store_path);
    for (int64_t step = 1; step <= 4; step++) {
        offer(u, step);
        if (step > 2) continue;
        write_step(path, step);
        sg_uploader_offer_best(u, path, step);
    }
    assert_true(sg_uploader_wait(u, 20.0));
    assert_string_equal(steps(), "4");
    assert_true(holds_step(there, 2));
    sg_uploader_offer_best(u, path, 2); /* is there */
    assert_true(sg_uploader_wait(u, 0.0));
    sg_uploader_destroy(u);
    assert_int_equal(n_lines, 0);
}

/* The folder goes away and comes back: one warning, one line when it works again, the newest. */
static void a_failure_passes(void **state) {
    sg_uploader_options o = quick();
    sg_uploader *u = start(&o);

    (void)state;
    offer(u, 1);
    assert_true(sg_uploader_wait(u, 20.0));
    assert_int_equal(rename(store_path, other_path), 0);
    offer(u, 2);
    assert_false(sg_uploader_wait(u, 0.3));
    offer(u, 3);
    assert_false(sg_uploader_wait(u, 0.2));
    assert_int_equal(sg_uploader_step(u), 1);
    assert_int_equal(count_lines("training goes on"), 1);
    assert_int_equal(count_lines("cannot create: No such file or directory"), 1);
    write_step(store_path, 0); /* another kind: a file is in the way */
    for (int i = 0; i < 1000 && count_lines("Not a directory") == 0; i++) usleep(10000);
    assert_int_equal(count_lines("training goes on"), 2);
    assert_int_equal(unlink(store_path), 0);
    usleep(100000); /* the first kind again: not told twice */
    assert_int_equal(rename(other_path, store_path), 0);
    for (int i = 0; i < 1000 && sg_uploader_step(u) < 3; i++) usleep(10000);
    assert_true(sg_uploader_wait(u, 20.0));
    assert_string_equal(steps(), "3 1");
    assert_int_equal(count_lines("training goes on"), 2);
    assert_int_equal(count_lines("s: step 3 is there"), 1);
    assert_int_equal(n_lines, 3);
    sg_uploader_destroy(u);
}

static void ends_while_it_fails(void **state) {
    sg_uploader_options o = sg_uploader_defaults(); /* pauses of seconds */
    sg_uploader *u = start(&o);
    long live = sg_mem_live();
    double begin;

    (void)state;
    assert_int_equal(rename(store_path, other_path), 0);
    offer(u, 1);
    for (int i = 0; i < 1000 && count_lines("training goes on") == 0; i++) usleep(10000);
    begin = sg_now();
    sg_uploader_destroy(u);
    assert_true(sg_now() - begin < 1.0);
    assert_true(sg_mem_live() < live);
}

/* A file server that does not answer: a pipe that nobody reads, in place of the temporary file. */
static void a_dead_store_is_left_alone(void **state) {
    sg_uploader_options o = quick();
    sg_uploader *u;
    char path[256], *temporary;
    double begin;
    int reader;

    (void)state;
    u = start(&o);
    snprintf(path, sizeof path, "%s/.step-000000001.h5", store_path);
    temporary = sg_temporary_name(path);
    assert_non_null(temporary);
    assert_int_equal(mkfifo(temporary, 0600), 0);
    offer(u, 1);
    usleep(100000); /* the thread is in open(), which waits for a reader */
    begin = sg_now();
    assert_false(sg_uploader_wait(u, 0.2));
    sg_uploader_destroy(u);
    assert_in_range((uint64_t)((sg_now() - begin) * 1e3), 1900, 4000);
    assert_int_equal(count_lines("does not answer; left alone"), 1);
    long live = sg_mem_live();
    reader =
        open(temporary, O_RDONLY | O_NONBLOCK); /* it answers after all: the thread cleans up */
    assert_true(reader >= 0);
    for (int i = 0; i < 1000 && sg_mem_live() == live; i++) usleep(10000);
    assert_true(sg_mem_live() < live);
    usleep(50000);
    close(reader);
    sg_free(temporary);
}

static void bad_offers(void **state) {
    sg_uploader_options o = quick();
    sg_store *store;
    sg_uploader *u = NULL;

    (void)state;
    o.keep = 0;
    assert_int_equal(sg_store_open(store_path, &store), SG_OK);
    assert_int_equal(sg_uploader_create(store, &o, &u), SG_ERR_ARG);
    o.keep = 1;
    sg_mem_fail_at(1);
    assert_int_equal(sg_uploader_create(store, &o, &u), SG_ERR_OOM);
    sg_mem_fail_at(0);
    assert_null(u);
    sg_store_close(store); /* still the caller's */
    sg_uploader_offer(NULL, "none", 1);
    assert_true(sg_uploader_wait(NULL, 1.0));
    sg_uploader_destroy(NULL);
    u = start(&o);
    sg_uploader_offer(u, "/nowhere/step.h5", 1);
    assert_int_equal(count_lines("/nowhere/step.h5: cannot be opened for the store"), 1);
    assert_true(sg_uploader_wait(u, 1.0)); /* was never offered */
    sg_uploader_destroy(u);
}

/* Each allocation of an upload fails once: it is tried again, and nothing is lost. */
static void out_of_memory(void **state) {
    sg_uploader_options o = quick();
    char path[128];

    (void)state;
    snprintf(path, sizeof path, "%s/local.h5", folder);
    for (int64_t step = 1; step <= 12; step++) {
        sg_uploader *u = start(&o);

        write_step(path, step);
        sg_mem_fail_at((long)step); /* of the thread's: an offer allocates nothing */
        sg_uploader_offer(u, path, step);
        assert_true(sg_uploader_wait(u, 20.0));
        sg_mem_fail_at(0);
        assert_int_equal(sg_uploader_step(u), step);
        sg_uploader_destroy(u);
    }
    assert_true(count_lines("no memory") > 5);
    assert_string_equal(steps(), "12 11 10");
}

/* --- the tool --------------------------------------------------------------------------------- */

static void print_line(sg_log_level level, const char *line) {
    if (level <= SG_LOG_WARN) fprintf(stderr, "warning: %s\n", line);
}

/* for `fetch`: a file that begins with "bad" is damaged */
static sg_status verify(const char *path, void *context) {
    uint8_t *data;
    size_t size;
    bool bad;

    (void)context;
    SG_TRY(sg_file_read(path, 0, &data, &size));
    bad = size >= 3 && memcmp(data, "bad", 3) == 0;
    sg_free(data);
    return bad ? sg_fail(SG_ERR_DATA, "it begins with 'bad'") : SG_OK;
}

static sg_status list(sg_store *store) {
    sg_store_entry *entries;
    int n;

    SG_TRY(sg_store_list(store, &entries, &n));
    for (int i = 0; i < n; i++) printf("%s %lld\n", entries[i].name, (long long)entries[i].bytes);
    sg_free(entries);
    return SG_OK;
}

static sg_status fetch(sg_store *store, const char *to) {
    char *path;

    SG_TRY(sg_store_fetch_newest(store, to, -1, verify, NULL, &path));
    puts(path ? path : "none");
    sg_free(path);
    return SG_OK;
}

/* Lines "offer STEP FILE" and "wait SECONDS", each answered by a line. */
static sg_status converse(sg_store *store) {
    sg_uploader_options options = quick();
    char line[512], path[400];
    sg_uploader *u;
    long long step;
    double seconds;

    SG_TRY(sg_uploader_create(store, &options, &u));
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "offer %lld %399s", &step, path) == 2) {
            sg_uploader_offer(u, path, step);
            puts("offered");
        } else if (sscanf(line, "wait %lf", &seconds) == 1) {
            puts(sg_uploader_wait(u, seconds) ? "done" : "not yet");
        }
        fflush(stdout);
    }
    sg_uploader_destroy(u);
    return SG_OK;
}

/* URL list | put NAME FILE | get NAME FILE | remove NAME | fetch FOLDER | upload */
static sg_status command(sg_store *store, int argc, char **argv) {
    const char *what = argc > 0 ? argv[0] : "";

    if (strcmp(what, "list") == 0) return list(store);
    if (strcmp(what, "put") == 0 && argc == 3) return sg_store_put(store, argv[1], argv[2]);
    if (strcmp(what, "get") == 0 && argc == 3) return sg_store_get(store, argv[1], argv[2]);
    if (strcmp(what, "remove") == 0 && argc == 2) return sg_store_remove(store, argv[1]);
    if (strcmp(what, "fetch") == 0 && argc == 2) return fetch(store, argv[1]);
    return sg_fail(SG_ERR_ARG, "usage: URL list|put|get|remove|fetch|upload ...");
}

static int tool(int argc, char **argv) {
    sg_store *store = NULL;
    sg_status st;

    sg_log_set(SG_LOG_INFO, print_line);
    st = sg_store_open(argv[0], &store);
    if (st == SG_OK && argc == 2 && strcmp(argv[1], "upload") == 0) {
        st = converse(store);
    } else if (st == SG_OK) {
        st = command(store, argc - 1, argv + 1);
        sg_store_close(store);
    }
    if (st == SG_OK) return 0;
    fprintf(stderr, "%s: %s\n", sg_status_text(st), sg_last_error());
    return 1;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(newest_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(newer_replaces_waiting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(best_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failure_passes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ends_while_it_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dead_store_is_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_offers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(out_of_memory, set_up, tear_down),
    };

    if (argc > 1) return tool(argc - 1, argv + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
