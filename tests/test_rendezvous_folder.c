/* A folder in which workers meet, with bad luck: files that are damaged, left behind or nobody's,
 * replies that are lost, servers that hang. What holds for every kind of place is in
 * test_rendezvous.c. */
#define _GNU_SOURCE
#include "rendezvous_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "core/crc32c.h"
#include "core/file.h"

/* Of the next links: told as failed with this number though they took place (or, below 0, not). */
static atomic_int link_error;
static atomic_int link_delay; /* ms */

int linkat(int from, const char *name, int to, const char *other, int flags) {
    int error = atomic_exchange(&link_error, 0), delay = atomic_exchange(&link_delay, 0),
        failed = 0;

    if (delay > 0) usleep((useconds_t)delay * 1000);
    if (error >= 0) failed = (int)syscall(SYS_linkat, from, name, to, other, flags);
    if (error == 0 || failed) return failed;
    errno = abs(error);
    return -1;
}

static void put(const char *name, const char *data) {
    char path[128];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(sg_file_write(path, data, strlen(data)), SG_OK);
}

static char *get(const char *name) {
    char path[128];
    uint8_t *data;
    size_t size;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(sg_file_read(path, 0, &data, &size), SG_OK);
    return (char *)data;
}

/* Every shorter one, and every one with a byte that is another. */
static void half_records(void **state) {
    sg_rendezvous *r = open_here();
    char *record, *copy;
    size_t size;

    (void)state;
    assert_true(propose(r, 3, "some text\n"));
    record = get("epoch-3");
    size = strlen(record);
    copy = malloc(size + 2);
    for (size_t i = 0; i < 2 * size + 1; i++) {
        memcpy(copy, record, size + 1);
        if (i < size)
            copy[i] = '\0';
        else if (i < 2 * size)
            copy[i - size] ^= 1;
        else
            memcpy(copy + size, "x", 2);
        put("epoch-3", copy);
        expect_newest(r, 3, "");
    }
    assert_int_equal(warnings, 1); /* not one a look */
    assert_non_null(strstr(warning, "/epoch-3 is damaged"));
    put("epoch-4", record); /* of another number */
    expect_newest(r, 4, "");
    assert_int_equal(warnings, 2);
    put("epoch-3", record);
    assert_false(propose(r, 3, "another"));
    assert_false(propose(r, 4, "another")); /* who was in it may still be */
    assert_true(propose(r, 5, "goes on"));
    expect_newest(r, 5, "goes on");
    assert_int_equal(warnings, 2);
    free(copy);
    sg_free(record);
    sg_rendezvous_close(r);
}

/* Its checksum is right, but it is no text. */
static void texts_with_a_nul(void **state) {
    sg_rendezvous *r = open_here();
    char record[128];
    int bytes = snprintf(record, sizeof record, "epoch 3 0123456789abcdef 3 ");
    uint32_t crc = sg_crc32c(sg_crc32c(0, record, (size_t)bytes), "a\0b", 3);

    (void)state;
    bytes += snprintf(record + bytes, 32, "%08x\n", crc);
    memcpy(record + bytes, "a\0b", 3);
    snprintf(url, sizeof url, "%s/epoch-3", folder);
    assert_int_equal(sg_file_write(url, record, (size_t)bytes + 3), SG_OK);
    expect_newest(r, 3, "");
    crc = sg_crc32c(sg_crc32c(0, record, (size_t)bytes - 9), "acb", 3);
    snprintf(record + bytes - 9, 32, "%08x\nacb", crc);
    assert_int_equal(sg_file_write(url, record, (size_t)bytes + 3), SG_OK);
    expect_newest(r, 3, "acb");
    sg_rendezvous_close(r);
}

static void half_members(void **state) {
    sg_rendezvous *r = open_here(), *other = open_here();
    char *record, *copy, path[128];
    size_t size;

    (void)state;
    assert_int_equal(sg_rendezvous_announce(r, kAnna, "anna"), SG_OK);
    assert_int_equal(sg_rendezvous_announce(other, kBert, "bert"), SG_OK);
    record = get("member-00000000000000aa");
    size = strlen(record);
    copy = malloc(size + 1);
    for (size_t i = 0; i < 2 * size; i++) {
        memcpy(copy, record, size + 1);
        if (i < size)
            copy[i] = '\0';
        else
            copy[i - size] ^= 1;
        put("member-00000000000000aa", copy);
        /* the sign of life alone may be anything */
        assert_string_equal(who(other, NULL), i >= size && i < size + 16 ? "aa bb" : "bb");
    }
    put("member-00000000000000cc", record); /* another's */
    assert_string_equal(who(other, NULL), "bb");
    atomic_store(&warnings, 0);
    put("member-00000000000000dd", "");
    for (int i = 0; i < 5; i++) assert_string_equal(who(other, NULL), "bb");
    assert_int_equal(warnings, 1);
    snprintf(path, sizeof path, "%s/member-00000000000000ee", folder);
    assert_int_equal(mkfifo(path, 0666), 0); /* nobody waits for what never comes */
    snprintf(path, sizeof path, "%s/member-00000000000000ff", folder);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_string_equal(who(other, NULL), "bb");
    free(copy);
    sg_free(record);
    sg_rendezvous_close(r);
    sg_rendezvous_close(other);
}

static void what_is_not_ours(void **state) {
    static const char *const names[] = {"epoch-0",
                                        "epoch-01",
                                        "epoch--5",
                                        "epoch- 7",
                                        "epoch-9x",
                                        "epoch-999999999999999999999",
                                        "epochs",
                                        "member-",
                                        "member-00000000000000AA",
                                        "member-00000000000000aaa",
                                        "epoch-8.tmp",
                                        ".epoch-9.swp"};
    sg_rendezvous *r = open_here();

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) put(names[i], "not ours");
    expect_newest(r, 0, NULL);
    sg_rendezvous_set_forget(r, 0.1);
    for (int i = 0; i < 4; i++, usleep(100000)) assert_string_equal(who(r, NULL), "");
    assert_true(propose(r, 1, "one"));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) sg_free(get(names[i]));
    assert_int_equal(warnings, 0);
    sg_rendezvous_close(r);
}

static void leftovers_go(void **state) {
    sg_rendezvous *r = open_here();

    (void)state;
    put(".epoch-12.0123456789abcdef-3.tmp", "half");
    put("member-00000000000000dd", "half");
    sg_rendezvous_set_forget(r, 0.3);
    assert_string_equal(who(r, NULL), "");
    usleep(100000);
    assert_string_equal(who(r, NULL), "");
    assert_int_equal(count_files(".epoch-"), 1);
    assert_int_equal(count_files("member-"), 1);
    usleep(300000);
    assert_string_equal(who(r, NULL), "");
    assert_int_equal(count_files(".epoch-"), 0);
    assert_int_equal(count_files("member-"), 0);
    sg_rendezvous_close(r);
}

static void the_dead_are_not_heard(void **state) {
    sg_rendezvous *a = open_here(), *b = open_here(), *c = open_here();
    char *left;

    (void)state;
    assert_int_equal(sg_rendezvous_announce(a, kAnna, "anna"), SG_OK);
    left = get("member-00000000000000aa");
    sg_rendezvous_close(a);
    put("member-00000000000000aa", left); /* as if killed */
    assert_int_equal(sg_rendezvous_announce(b, kBert, "bert"), SG_OK);
    assert_string_equal(heard(c), "aa bb");
    assert_string_equal(heard(c), "aa bb");
    assert_string_equal(heard(b), "aa bb!");
    assert_int_equal(sg_rendezvous_beat(b), SG_OK);
    assert_string_equal(heard(c), "aa bb!");
    assert_int_equal(sg_rendezvous_announce(c, kCarl, "carl"), SG_OK);
    assert_string_equal(heard(b), "aa bb! cc!");
    assert_string_equal(heard(c), "aa bb! cc!");
    sg_free(left);
    sg_rendezvous_close(b);
    sg_rendezvous_close(c);
}

static void a_folder_can_be_emptied(void **state) {
    sg_rendezvous *r = open_here(), *other = open_here();

    (void)state;
    put(".epoch-12.0123456789abcdef-3.tmp", "half");
    put("epoch-01", "not ours");
    put("member", "nor this");
    assert_true(propose(r, 1, "one"));
    assert_int_equal(sg_rendezvous_announce(r, kAnna, "anna"), SG_OK);
    assert_int_equal(sg_rendezvous_empty(folder), SG_OK);
    assert_int_equal(count_files("epoch-1") + count_files("member-") + count_files(".epoch-"), 0);
    assert_int_equal(count_files("epoch-01") + count_files("member"), 2);
    expect_newest(other, 0, NULL);
    assert_int_equal(sg_rendezvous_beat(r), SG_OK); /* was in use after all: comes again */
    assert_string_equal(who(other, NULL), "aa");
    assert_int_equal(sg_rendezvous_empty("/tmp/there/is/no/such/folder"), SG_OK);
    expect_failure(sg_rendezvous_empty("/dev/null"), SG_ERR_IO, "cannot be listed");
    sg_rendezvous_close(r);
    sg_rendezvous_close(other);
}

/* As with NFS: the server did it, the reply was lost, and it was done again. */
static void lost_replies(void **state) {
    sg_rendezvous *r = open_here(), *other = open_here();
    bool won = true;

    (void)state;
    atomic_store(&link_error, EEXIST);
    assert_true(propose(r, 1, "one"));
    assert_int_equal(link_error, 0);
    atomic_store(&link_error, EIO);
    assert_true(propose(r, 2, "two"));
    /* it did not take place */
    atomic_store(&link_error, -EIO); /* a soft mount whose server is away */
    expect_failure(sg_rendezvous_propose(r, 3, "three", &won), SG_ERR_UNAVAILABLE,
                   "epoch-3: cannot link");
    atomic_store(&link_error, -EROFS);
    expect_failure(sg_rendezvous_propose(r, 3, "three", &won), SG_ERR_IO, "epoch-3: cannot link");
    expect_newest(r, 2, "two");
    atomic_store(&link_error, -EEXIST);
    assert_false(propose(r, 3, "three"));
    /* another was quicker */
    assert_true(propose(other, 3, "three"));
    atomic_store(&link_error, EIO);
    assert_false(propose(r, 3, "three"));
    expect_newest(r, 3, "three");
    assert_int_equal(count_files(".epoch-"), 0);
    sg_rendezvous_close(r);
    sg_rendezvous_close(other);
}

/* Whoever looked, then slept while the others made 64 epochs, brings none back. */
static void sleepers_win_nothing(void **state) {
    sg_rendezvous *r = open_here(), *other = open_here();
    deed d = {.r = r};
    pthread_t thread;
    void *failed;

    (void)state;
    atomic_store(&link_delay, 1500);
    pthread_create(&thread, NULL, do_later, &d); /* epoch 1, in 300 ms */
    while (atomic_load(&link_delay) != 0) usleep(10000);
    for (int i = 2; i <= SG_EPOCHS_KEPT + 1; i++) assert_true(propose(other, i, "awake"));
    pthread_join(thread, &failed);
    assert_ptr_equal(failed, &d);
    assert_int_equal(count_files("epoch-"), SG_EPOCHS_KEPT);
    expect_newest(r, SG_EPOCHS_KEPT + 1, "awake");
    sg_rendezvous_close(r);
    sg_rendezvous_close(other);
}

/* A server that does not answer: nobody waits for it for longer than was promised. */
static void servers_that_hang(void **state) {
    long live = sg_mem_live();
    sg_rendezvous *r = open_here(), *other = open_here();
    double start = sg_now();
    bool won = false;

    (void)state;
    assert_int_equal(sg_rendezvous_announce(r, kAnna, "anna"), SG_OK);
    atomic_store(&link_delay, 3600);
    expect_failure(sg_rendezvous_propose(r, 1, "late", &won), SG_ERR_UNAVAILABLE,
                   "no answer within 2 s");
    assert_true(sg_now() - start > 1.9 && sg_now() - start < 2.5);
    expect_failure(sg_rendezvous_wait(r, 0, 0.1), SG_ERR_UNAVAILABLE, "no answer");
    assert_true(sg_now() - start < 3.0);
    sg_rendezvous_close(r); /* leaves its thread behind */
    assert_true(sg_now() - start < 3.5);
    expect_newest(other, 0, NULL);
    usleep(1200000);
    expect_newest(other, 1, "late"); /* the server has done it nevertheless */
    assert_int_equal(count_files(".epoch-"), 0);
    sg_rendezvous_close(other);
    assert_int_equal(sg_mem_live(), live); /* the thread has cleared up behind itself */
}

static void folders_that_will_not_do(void **state) {
    sg_rendezvous *r = NULL;
    int status;
    pid_t child;

    (void)state;
    assert_int_equal(chmod(folder, 0555), 0);
    child = fork();
    if (child == 0) { /* root may write anywhere */
        bool fine = geteuid() != 0 || seteuid(65534) == 0;

        fine = fine && sg_rendezvous_open(url, &r) == SG_ERR_IO &&
               strstr(sg_last_error(), "cannot create: Permission denied");
        if (!fine) fprintf(stderr, "%s\n", sg_last_error());
        _exit(fine ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(folder, 0777), 0);
    atomic_store(&link_error, -EPERM);
    expect_failure(sg_rendezvous_open(url, &r), SG_ERR_CONFIG, "cannot make a hard link");
    assert_int_equal(rmdir(folder), 0); /* nothing was left in it */
    assert_int_equal(sg_file_write(folder, "a file", 6), SG_OK);
    expect_failure(sg_rendezvous_open(url, &r), SG_ERR_IO, "is not a folder");
    assert_int_equal(unlink(folder), 0);
    snprintf(url + strlen(url), 16, "/made/too");
    r = open_here();
    assert_true(propose(r, 1, "one"));
    snprintf(url, sizeof url, "rm -rf %s", folder);
    assert_int_equal(system(url), 0);
    expect_failure(sg_rendezvous_wait(r, 1, 0.1), SG_ERR_IO, "cannot open the folder");
    sg_rendezvous_close(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(folders_that_will_not_do),
        TEST(half_records),
        TEST(half_members),
        TEST(texts_with_a_nul),
        TEST(what_is_not_ours),
        TEST(leftovers_go),
        TEST(lost_replies),
        TEST(a_folder_can_be_emptied),
        TEST(the_dead_are_not_heard),
        TEST(sleepers_win_nothing),
        TEST(servers_that_hang),
    };

    sg_log_set(SG_LOG_WARN, sink);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
