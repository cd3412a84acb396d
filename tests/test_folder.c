/* The checkpoints of a run: what is found, kept, swept, forgotten, set aside and mended. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint/mend.h"
#include "checkpoint_fixture.h"
#include "core/log.h"
#include "core/temporary.h"
#include "out_of_memory.h"

static char warning[1024];

static void keep_warning(sg_log_level level, const char *line) {
    if (level == SG_LOG_WARN) snprintf(warning, sizeof warning, "%s", line);
}

static int begin(void **state) {
    if (fixture_begin(state) != 0) return -1;
    make_folder(SG_CHECKPOINT_FOLDER);
    warning[0] = '\0';
    sg_log_set(SG_LOG_WARN, keep_warning);
    return 0;
}

static int end(void **state) {
    sg_log_set(SG_LOG_ERROR, NULL);
    return fixture_end(state);
}

/* A whole checkpoint of that step. */
static void write_model(const char *path, int64_t step) {
    set_step(step);
    assert_int_equal(sg_model_file_write(path, &about, model), SG_OK);
}

static void link_it(const char *path, const char *name) {
    assert_int_equal(sg_checkpoint_link(path, name), SG_OK);
}

/* --- finding ---------------------------------------------------------------------------------- */

static void test_path(void **state) {
    char *path = sg_checkpoint_path("RUN", 123), *long_one = sg_checkpoint_path("R", 12345678901);

    (void)state;
    assert_string_equal(path, "RUN/checkpoints/step-000000123.h5");
    assert_string_equal(long_one, "R/checkpoints/step-12345678901.h5");
    sg_free(path);
    sg_free(long_one);
}

/* Newest first by the number, not by the name; other names are none of ours. */
static void test_find(void **state) {
    const int64_t want[] = {12345678901, 1000000000, 999, 20, 3};
    sg_checkpoint_list list;

    (void)state;
    for (int i = 0; i < 5; i++) write_text(at_step(want[(i + 2) % 5]), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-000000099.h5.4999017.tmp"), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-000000098.h5.damaged"), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-.h5"), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-x1.h5"), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-7.h5"), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-+00000007.h5"), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-99999999999999999999.h5"), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/notes.txt"), "x");
    assert_int_equal(sg_checkpoints_find(folder, &list), SG_OK);
    assert_int_equal(list.n, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(list.item[i].step, want[i]);
    assert_string_equal(list.item[2].path, at_step(999));
    sg_checkpoint_list_clear(&list);
}

static void test_find_nothing(void **state) {
    sg_checkpoint_list list;

    (void)state;
    assert_int_equal(sg_checkpoints_find(at("nowhere"), &list), SG_OK);
    assert_int_equal(list.n, 0);
    sg_checkpoint_list_clear(&list);
    write_text(at("file"), "x");
    assert_int_equal(sg_checkpoints_find(at("file"), &list), SG_ERR_IO);
}

/* last.h5 and best.h5 count where they are files of their own, by the step that they say. */
static void test_find_links(void **state) {
    sg_checkpoint_list list;

    (void)state;
    write_model(at_step(7), 7);
    write_model(at_step(5), 5);
    link_it(at_step(7), at("last.h5"));
    link_it(at_step(5), at("best.h5"));
    assert_int_equal(sg_checkpoints_find(folder, &list), SG_OK);
    assert_int_equal(list.n, 2);
    sg_checkpoint_list_clear(&list);

    assert_int_equal(unlink(at_step(5)), 0);
    assert_int_equal(sg_checkpoints_find(folder, &list), SG_OK);
    assert_int_equal(list.n, 2);
    assert_int_equal(list.item[1].step, 5);
    assert_string_equal(list.item[1].path, at("best.h5"));
    sg_checkpoint_list_clear(&list);

    write_model(at("last.h5"), 6);         /* a copy, older than the newest */
    write_text(at("best.h5"), "no model"); /* its step cannot be known: it is looked at first */
    assert_int_equal(sg_checkpoints_find(folder, &list), SG_OK);
    assert_int_equal(list.n, 3);
    assert_int_equal(list.item[0].step, -1);
    assert_string_equal(list.item[0].path, at("best.h5"));
    assert_int_equal(list.item[1].step, 7);
    assert_int_equal(list.item[2].step, 6);
    sg_checkpoint_list_clear(&list);
}

static int failing; /* the so-many-th entry cannot be read; 0: all can */

/* In place of the C library's. */
struct dirent *readdir(DIR *open) {
    static struct dirent *(*real)(DIR *);

    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "readdir");
    if (failing == 0 || --failing > 0) return real(open);
    errno = EIO;
    return NULL;
}

/* A disk that fails behind some of the names has not shown them all. */
static void test_cannot_be_listed(void **state) {
    sg_checkpoint_list list;

    (void)state;
    for (int i = 1; i <= 3; i++) write_text(at_step(i), "x");
    failing = 4;
    assert_int_equal(sg_checkpoints_find(folder, &list), SG_ERR_IO);
    assert_non_null(strstr(sg_last_error(), "checkpoints: cannot be listed: Input/output error"));
    failing = 1;
    assert_int_equal(sg_checkpoints_forget(folder), SG_ERR_IO);
    assert_int_equal(failing, 0);
    assert_int_equal(sg_checkpoints_find(folder, &list), SG_OK);
    assert_int_equal(list.n, 3);
    sg_checkpoint_list_clear(&list);
}

static void test_find_out_of_memory(void **state) {
    sg_checkpoint_list list;
    long live = sg_mem_live();

    (void)state;
    for (int i = 1; i <= 20; i++) write_text(at_step(i), "x");
    write_model(at("last.h5"), 30);
    FAIL_EACH_ALLOCATION(sg_checkpoints_find(folder, &list), 30);
    assert_int_equal(list.n, 21);
    assert_int_equal(list.item[0].step, 30);
    sg_checkpoint_list_clear(&list);
    assert_int_equal(sg_mem_live(), live);
}

/* --- deleting --------------------------------------------------------------------------------- */

static void test_retain(void **state) {
    sg_retention keep = {.last = 2, .every = 4, .best = {3, 99}, .n_best = 2};

    (void)state;
    for (int i = 1; i <= 10; i++) write_text(at_step(i), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-000000001.h5.damaged"), "x");
    sg_checkpoints_retain(folder, &keep);
    assert_string_equal(names_in(SG_CHECKPOINT_FOLDER),
                        "step-000000001.h5.damaged step-000000003.h5 step-000000004.h5 "
                        "step-000000008.h5 step-000000009.h5 step-000000010.h5 ");
    keep = (sg_retention){.last = 1};
    sg_checkpoints_retain(folder, &keep);
    assert_string_equal(names_in(SG_CHECKPOINT_FOLDER),
                        "step-000000001.h5.damaged step-000000010.h5 ");
    sg_checkpoints_retain(at("nowhere"), &keep);
}

/* What a killed process of ours leaves goes; what others have there stays. */
static void test_sweep(void **state) {
    (void)state;
    make_folder("plots");
    make_folder("mine");
    write_text(at("metrics.jsonl.4999123.tmp"), "x");
    write_text(at("last.h5.tmp"), "x");
    write_text(at("best.h5.tmp"), "x");
    write_text(at("best.h5.4999099.tmp"), "x");
    write_text(at("notes.tmp"), "x");
    write_text(at("123.tmp"), "x");
    write_text(at("a.h5.tmp"), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-000000005.h5.4999007.tmp"), "x");
    write_text(at_step(4), "x");
    write_text(at("plots/loss.png.4999007.tmp"), "x");
    write_text(at("plots/loss.png"), "x");
    write_text(at("mine/x.1.tmp"), "x");
    write_text(at("state.1.tmp"), "x"); /* of a process that lives */
    sg_checkpoints_sweep(folder);
    assert_string_equal(names_in("."),
                        "123.tmp a.h5.tmp checkpoints mine notes.tmp plots state.1.tmp ");
    assert_string_equal(names_in(SG_CHECKPOINT_FOLDER), "step-000000004.h5 ");
    assert_string_equal(names_in("plots"), "loss.png ");
    assert_string_equal(names_in("mine"), "x.1.tmp ");
    sg_checkpoints_sweep(at("nowhere"));
}

/* A name of this process, whose number is another's or in another place. */
static const char *temporary_of(const char *name, long process, bool here) {
    static char text[8][160];
    static int next;
    char *own = sg_temporary_name(name), *number = own;

    assert_non_null(own);
    for (char *p = own; strcmp(p, ".tmp") != 0; p++)
        if (*p == '.') number = p + 1;
    if (!here) number[-2] = number[-2] == '0' ? '1' : '0'; /* the last digit of the place */
    snprintf(text[next %= 8], sizeof text[0], "%.*s%ld.tmp", (int)(number - own), own, process);
    sg_free(own);
    return text[next++];
}

/* Processes of several machines, or containers, in one folder: each has its number 1. */
static void test_sweep_shared(void **state) {
    const char *far = at(temporary_of("far.h5", 4999007, false));
    struct timespec old[2] = {{0}, {0}};

    (void)state;
    assert_int_equal(sg_temporary_of(temporary_of("a", 1, true)), SG_TEMPORARY_LIVES);
    assert_int_equal(sg_temporary_of(temporary_of("a", 1, false)), SG_TEMPORARY_UNKNOWN);
    assert_int_equal(sg_temporary_of(temporary_of("a", 4999007, true)), SG_TEMPORARY_DEAD);
    assert_int_equal(sg_temporary_of(temporary_of("a", (long)getpid(), true)), SG_TEMPORARY_DEAD);
    assert_int_equal(sg_temporary_of("step-000000005.h5.1.tmp"), SG_TEMPORARY_LIVES);
    assert_int_equal(sg_temporary_of("a.12345678x.1.tmp"), SG_TEMPORARY_LIVES);
    for (int i = 0; i < 6; i++) {
        static const char *const other[] = {"a", "a.tmp", ".1.tmp", "a.x1.tmp", "a..tmp", ".tmp"};

        assert_int_equal(sg_temporary_of(other[i]), SG_TEMPORARY_NOT);
    }
    write_text(far, "x");
    write_text(at(temporary_of("near.h5", 4999007, true)), "x");
    write_text(at("metrics.jsonl"), "x");
    sg_checkpoints_sweep(folder);
    assert_true(sg_file_exists(far));
    assert_false(sg_file_exists(at(temporary_of("near.h5", 4999007, true))));
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &old[1]), 0);
    old[0] = old[1];
    old[1].tv_sec = old[0].tv_sec -= 23 * 3600;
    assert_int_equal(utimensat(AT_FDCWD, far, old, 0), 0);
    sg_checkpoints_sweep(folder);
    assert_true(sg_file_exists(far));
    old[1].tv_sec = old[0].tv_sec -= 2 * 3600;
    assert_int_equal(utimensat(AT_FDCWD, far, old, 0), 0);
    sg_checkpoints_sweep(folder);
    assert_false(sg_file_exists(far));
}

static void test_forget(void **state) {
    (void)state;
    write_text(at_step(4), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/step-000000005.h5.damaged"), "x");
    write_text(at(SG_CHECKPOINT_FOLDER "/mine.txt"), "x");
    write_text(at("last.h5"), "x");
    write_text(at("best.h5.damaged"), "x");
    write_text(at("config.ini"), "x");
    assert_int_equal(sg_checkpoints_forget(folder), SG_OK);
    assert_string_equal(names_in("."), "checkpoints config.ini ");
    assert_string_equal(names_in(SG_CHECKPOINT_FOLDER), "mine.txt ");
    assert_int_equal(sg_checkpoints_forget(folder), SG_OK);
    make_folder("last.h5");
    assert_int_equal(sg_checkpoints_forget(folder), SG_ERR_IO);
    assert_non_null(strstr(sg_last_error(), "last.h5: cannot be removed"));
}

static void test_link(void **state) {
    (void)state;
    write_text(at_step(1), "one");
    write_text(at_step(2), "two");
    write_text(at("last.h5.tmp"), "of a killed process");
    link_it(at_step(1), at("last.h5"));
    assert_true(sg_same_file(at_step(1), at("last.h5")));
    link_it(at_step(2), at("last.h5"));
    link_it(at_step(2), at("last.h5")); /* two names of one file: rename leaves both */
    assert_true(sg_same_file(at_step(2), at("last.h5")));
    assert_string_equal(names_in("."), "checkpoints last.h5 ");
    assert_int_equal(sg_checkpoint_link(at_step(3), at("last.h5")), SG_ERR_IO);
    assert_non_null(strstr(sg_last_error(), "cannot be linked to"));
    assert_true(sg_same_file(at_step(2), at("last.h5")));
}

/* --- order ------------------------------------------------------------------------------------ */

static void test_set_aside(void **state) {
    (void)state;
    write_text(at_step(5), "bad");
    write_text(at_step(4), "good");
    link_it(at_step(5), at("last.h5"));
    link_it(at_step(4), at("best.h5"));
    (void)sg_fail(SG_ERR_DATA, "%s: is no model", at_step(5));
    assert_int_equal(sg_checkpoint_set_aside(folder, at_step(5)), SG_OK);
    assert_string_equal(names_in("."), "best.h5 checkpoints ");
    assert_string_equal(names_in(SG_CHECKPOINT_FOLDER),
                        "step-000000004.h5 step-000000005.h5.damaged ");
    assert_non_null(strstr(warning, "step-000000005.h5: is no model; kept as "));
    assert_int_equal(sg_checkpoint_set_aside(folder, at_step(6)), SG_ERR_IO);
}

/* Killed before last.h5 and best.h5 had moved. */
static void test_mend(void **state) {
    (void)state;
    for (int i = 3; i <= 5; i++) write_model(at_step(i), i);
    link_it(at_step(4), at("last.h5"));
    link_it(at_step(3), at("best.h5"));
    sg_checkpoint_mend(folder, at_step(5), 5, 4);
    assert_true(sg_same_file(at_step(5), at("last.h5")));
    assert_true(sg_same_file(at_step(4), at("best.h5")));
    sg_checkpoint_mend(folder, at_step(5), 5,
                       2); /* which is gone: the old one is better than none */
    sg_checkpoint_mend(folder, at_step(5), 5, -1);
    assert_true(sg_same_file(at_step(4), at("best.h5")));
    assert_string_equal(warning, "");
    assert_int_equal(unlink(at("last.h5")) | unlink(at("best.h5")), 0);
    sg_checkpoint_mend(folder, at_step(5), 5, 5);
    assert_true(sg_same_file(at_step(5), at("last.h5")));
    assert_true(sg_same_file(at_step(5), at("best.h5")));
}

/* Where no link can be made it is a copy, and none where the copy is there already. */
static void test_mend_without_links(void **state) {
    struct stat before, after;

    (void)state;
    make_folder("last.h5.tmp");
    write_model(at_step(4), 4);
    write_model(at_step(5), 5);
    sg_checkpoint_mend(folder, at_step(4), 4, -1);
    assert_int_equal(step_in(at("last.h5")), 4);
    sg_checkpoint_mend(folder, at_step(5), 5, -1);
    assert_int_equal(step_in(at("last.h5")), 5);
    assert_false(sg_same_file(at_step(5), at("last.h5")));
    assert_int_equal(stat(at("last.h5"), &before), 0);
    sg_checkpoint_mend(folder, at_step(5), 5, -1);
    assert_int_equal(stat(at("last.h5"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_string_equal(warning, "");
    make_folder("best.h5.tmp");
    make_folder("best.h5");
    sg_checkpoint_mend(folder, at_step(5), 5, 4);
    assert_non_null(strstr(warning, "best.h5"));
}

int main(void) {
#define CASE(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        CASE(test_path),
        CASE(test_find),
        CASE(test_find_nothing),
        CASE(test_find_links),
        CASE(test_cannot_be_listed),
        CASE(test_find_out_of_memory),
        CASE(test_retain),
        CASE(test_sweep),
        CASE(test_sweep_shared),
        CASE(test_forget),
        CASE(test_link),
        CASE(test_set_aside),
        CASE(test_mend),
        CASE(test_mend_without_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
