/* Where workers meet: in a folder and, for tests/integration/rendezvous.py, in an etcd.
 *
 *   test_rendezvous                  folders
 *   test_rendezvous URL              what holds for every kind of place, at an etcd
 *   test_rendezvous URL quick        the same but for what takes long
 *   test_rendezvous URL waits        of that, waiting
 *   test_rendezvous URL outage       with an etcd that comes and goes
 *   test_rendezvous URL lost|alone   the answer to the first proposal is lost; another endpoint
 *                                    answers | nobody does, the first time */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/rendezvous.h"
#include "dist/rendezvous_kind.h"

enum { kProcesses = 5, kRounds = 200, kThreads = 6 };

static const char *etcd; /* NULL: folders */
static char folder[64], url[256];
static int places;

static const char kAnna[] = "00000000000000aa", kBert[] = "00000000000000bb",
                  kCarl[] = "00000000000000cc";

/* --- what a place does that has bad luck ------------------------------------------------------ */

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

static atomic_int warnings;
static char warning[2048];

static void sink(sg_log_level level, const char *line) {
    if (level != SG_LOG_WARN) return;
    snprintf(warning, sizeof warning, "%s", line);
    atomic_fetch_add(&warnings, 1);
}

/* --- help ------------------------------------------------------------------------------------- */

/* A place of its own for each test. */
static int new_place(void **state) {
    (void)state;
    places++;
    atomic_store(&warnings, 0);
    if (etcd) {
        snprintf(url, sizeof url, "%s/test-%ld-%d", etcd, (long)getpid(), places);
        return 0;
    }
    snprintf(folder, sizeof folder, "/tmp/spotgrad-rendezvous-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(url, sizeof url, "file://%s", folder);
    return 0;
}

static int remove_place(void **state) {
    char command[128];

    (void)state;
    if (etcd) return 0;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static sg_rendezvous *open_here(void) {
    sg_rendezvous *r = NULL;
    sg_status st = sg_rendezvous_open(url, &r);

    if (st != SG_OK) fail_msg("%s", sg_last_error());
    return r;
}

static bool propose(sg_rendezvous *r, int64_t epoch, const char *text) {
    bool won = false;
    sg_status st = sg_rendezvous_propose(r, epoch, text, &won);

    if (st != SG_OK) fail_msg("%s", sg_last_error());
    return won;
}

static void expect_newest(sg_rendezvous *r, int64_t epoch, const char *text) {
    int64_t found = -1;
    char *told = NULL;

    assert_int_equal(sg_rendezvous_newest(r, &found, &told), SG_OK);
    assert_int_equal(found, epoch);
    if (text) assert_string_equal(told, text);
    if (!text) assert_null(told);
    sg_free(told);
}

/* The ids of who is there, as "aa bb": the last two digits. *silent (may be NULL): of the last. */
static const char *who(sg_rendezvous *r, double *silent) {
    static char text[256];
    sg_announced *list = NULL;
    size_t used = 0;
    int n = -1;

    text[0] = '\0';
    if (sg_rendezvous_members(r, &list, &n) != SG_OK) fail_msg("%s", sg_last_error());
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? " " : "",
                                 list[i].id + 14);
    if (silent) *silent = n > 0 ? list[n - 1].silent : -1.0;
    sg_announced_free(list, n);
    return text;
}

/* "aa! bb": whose sign of life was heard. */
static const char *heard(sg_rendezvous *r) {
    static char text[256];
    sg_announced *list;
    size_t used = 0;
    int n;

    text[0] = '\0';
    assert_int_equal(sg_rendezvous_members(r, &list, &n), SG_OK);
    for (int i = 0; i < n; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s", i ? " " : "",
                                 list[i].id + 14, list[i].heard ? "!" : "");
    sg_announced_free(list, n);
    return text;
}

static void await(sg_rendezvous *r, const char *members, double seconds) {
    double end = sg_now() + seconds;

    while (strcmp(who(r, NULL), members) != 0) {
        if (sg_now() > end)
            fail_msg("after %.1f s: '%s', not '%s'", seconds, who(r, NULL), members);
        usleep(50000);
    }
}

static void expect_failure(sg_status st, sg_status code, const char *text) {
    if (st != code || !strstr(sg_last_error(), text))
        fail_msg("status %d instead of %d, or no '%s' in: %s", st, code, text, sg_last_error());
}

/* --- epochs ----------------------------------------------------------------------------------- */

/* What processes share. */
typedef struct {
    atomic_int arrived; /* in all rounds so far */
    atomic_int won[kRounds + 1], outages, wrong;
} shared_race;

static void fall_in(shared_race *s, int round) {
    atomic_fetch_add(&s->arrived, 1);
    while (atomic_load(&s->arrived) < kProcesses * round) sched_yield();
}

/* Until there is an answer. */
static sg_status insist(shared_race *s, sg_rendezvous *r, int64_t epoch, const char *text,
                        bool *won) {
    sg_status st;

    while ((st = sg_rendezvous_propose(r, epoch, text, won)) == SG_ERR_UNAVAILABLE) {
        atomic_fetch_add(&s->outages, 1);
        usleep(20000);
    }
    return st;
}

static void race(shared_race *s, int process, int pause_us) {
    sg_rendezvous *r = open_here();

    for (int round = 1; round <= kRounds; round++) {
        char text[64], *told = NULL;
        bool won = false;
        int64_t epoch = 0;
        sg_status st;

        snprintf(text, sizeof text, "process %d, round %d\nof all", process, round);
        fall_in(s, 2 * round - 1);
        if (insist(s, r, round, text, &won) != SG_OK) atomic_fetch_add(&s->wrong, 1);
        if (won && atomic_exchange(&s->won[round], 1 + process) != 0)
            atomic_fetch_add(&s->wrong, 1);
        fall_in(s, 2 * round);
        do {
            st = sg_rendezvous_newest(r, &epoch, &told);
        } while (st == SG_ERR_UNAVAILABLE && usleep(20000) == 0);
        snprintf(text, sizeof text, "process %d, round %d\nof all", atomic_load(&s->won[round]) - 1,
                 round);
        /* a quicker one may have made the next already */
        if (st != SG_OK || epoch < round || (epoch == round && strcmp(told, text) != 0))
            atomic_fetch_add(&s->wrong, 1);
        sg_free(told);
        usleep((useconds_t)pause_us);
    }
    sg_rendezvous_close(r);
}

static void run_race(shared_race *s, int pause_us) {
    pid_t child[kProcesses];
    int status;

    for (int i = 0; i < kProcesses; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] == 0) {
            alarm(200);
            race(s, i, pause_us);
            _exit(0);
        }
    }
    for (int i = 0; i < kProcesses; i++) {
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_int_equal(status, 0);
    }
    for (int round = 1; round <= kRounds; round++) assert_int_not_equal(s->won[round], 0);
    assert_int_equal(s->wrong, 0);
}

static shared_race *share(void) {
    shared_race *s =
        mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(s != MAP_FAILED);
    return s;
}

static void exactly_one_wins(void **state) {
    shared_race *s = share();

    (void)state;
    run_race(s, 0);
    assert_int_equal(s->outages, 0);
    munmap(s, sizeof *s);
}

static void records_stay_as_they_are(void **state) {
    sg_rendezvous *r = open_here(), *other = open_here();

    (void)state;
    expect_newest(r, 0, NULL);
    assert_true(propose(r, 1, "first"));
    expect_newest(other, 1, "first");
    assert_false(propose(other, 1, "second"));
    expect_newest(r, 1, "first");
    assert_true(propose(r, 1, "first")); /* as after a lost answer */
    assert_false(propose(r, 1, "third"));
    assert_true(propose(other, 7, "")); /* numbers may be left out, a text may be empty */
    assert_false(propose(r, 6, "late"));
    expect_newest(r, 7, "");
    assert_true(propose(r, 1, "first"));
    assert_false(propose(other, 1, "first"));
    sg_rendezvous_close(r);
    sg_rendezvous_close(other);
}

static void long_texts(void **state) {
    sg_rendezvous *r = open_here();
    char *text = malloc(SG_RENDEZVOUS_TEXT + 1);
    sg_announced *list;
    bool won = true;
    int n;

    (void)state;
    for (int i = 0; i < SG_RENDEZVOUS_TEXT; i++) text[i] = (char)(1 + (i * 7) % 255);
    text[SG_RENDEZVOUS_TEXT] = '\0';
    expect_failure(sg_rendezvous_propose(r, 1, text, &won), SG_ERR_ARG, "65536 bytes");
    expect_failure(sg_rendezvous_announce(r, kAnna, text), SG_ERR_ARG, "65536 bytes");
    assert_true(won);
    text[SG_RENDEZVOUS_TEXT - 1] = '\0';
    assert_true(propose(r, 1, text));
    expect_newest(r, 1, text);
    assert_int_equal(sg_rendezvous_announce(r, kAnna, text), SG_OK);
    assert_int_equal(sg_rendezvous_members(r, &list, &n), SG_OK);
    assert_int_equal(n, 1);
    assert_string_equal(list[0].text, text);
    sg_announced_free(list, n);
    free(text);
    sg_rendezvous_close(r);
}

/* How many epochs are in the folder. */
static int count_files(const char *start) {
    DIR *d = opendir(folder);
    struct dirent *entry;
    int n = 0;

    while ((entry = readdir(d))) n += strncmp(entry->d_name, start, strlen(start)) == 0;
    closedir(d);
    return n;
}

static void old_records_go(void **state) {
    sg_rendezvous *r = open_here(), *other = open_here();
    char text[16];

    (void)state;
    for (int i = 1; i <= SG_EPOCHS_KEPT + 9; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_true(propose(i % 2 ? r : other, i, text));
    }
    assert_false(propose(r, 2, "2")); /* is gone, and does not come again */
    expect_newest(r, SG_EPOCHS_KEPT + 9, text);
    if (!etcd) {
        assert_int_equal(count_files("epoch-"), SG_EPOCHS_KEPT);
        assert_int_equal(count_files(".epoch-"), 0);
        assert_int_equal(count_files(".probe"), 0);
    }
    sg_rendezvous_close(r);
    sg_rendezvous_close(other);
}

static void bad_arguments(void **state) {
    static const char *const ids[] = {
        "", "aa", "00000000000000AA", "00000000000000aag", "../../../../../x", "00000000000000a\n"};
    sg_rendezvous *r = open_here();
    bool won;

    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        expect_failure(sg_rendezvous_announce(r, ids[i], ""), SG_ERR_ARG, "16 hex digits");
    expect_failure(sg_rendezvous_propose(r, 0, "", &won), SG_ERR_ARG, "0 is no epoch");
    expect_failure(sg_rendezvous_propose(r, -1, "", &won), SG_ERR_ARG, "-1 is no epoch");
    expect_failure(sg_rendezvous_propose(r, INT64_MAX, "", &won), SG_ERR_ARG, "no epoch");
    expect_failure(sg_rendezvous_beat(r), SG_ERR_ARG, "nothing is announced");
    assert_int_equal(sg_rendezvous_withdraw(r), SG_OK);
    assert_int_equal(sg_rendezvous_announce(r, kAnna, ""), SG_OK);
    expect_failure(sg_rendezvous_announce(r, kBert, ""), SG_ERR_ARG, "announced already");
    assert_string_equal(who(r, NULL), "aa");
    sg_rendezvous_close(r);
    sg_rendezvous_close(NULL);
}

/* --- members ---------------------------------------------------------------------------------- */

static void members_come_and_go(void **state) {
    sg_rendezvous *a = open_here(), *b = open_here(), *c = open_here();
    sg_announced *list;
    int n;

    (void)state;
    assert_string_equal(who(a, NULL), "");
    assert_int_equal(sg_rendezvous_announce(b, kBert, "host b\nport 2"), SG_OK);
    assert_int_equal(sg_rendezvous_announce(c, kCarl, ""), SG_OK);
    assert_int_equal(sg_rendezvous_announce(a, kAnna, "host a"), SG_OK);
    assert_int_equal(sg_rendezvous_announce(a, kAnna, "host a, port 1"), SG_OK);
    assert_int_equal(sg_rendezvous_members(b, &list, &n), SG_OK);
    assert_int_equal(n, 3);
    assert_string_equal(list[0].id, kAnna);
    assert_string_equal(list[0].text, "host a, port 1");
    assert_string_equal(list[1].text, "host b\nport 2");
    assert_string_equal(list[2].text, "");
    assert_true(list[0].silent == 0.0);
    sg_announced_free(list, n);
    assert_int_equal(sg_rendezvous_beat(a), SG_OK);
    assert_int_equal(sg_rendezvous_withdraw(b), SG_OK);
    assert_string_equal(who(b, NULL), "aa cc");
    expect_failure(sg_rendezvous_beat(b), SG_ERR_ARG, "nothing is announced");
    sg_rendezvous_close(c);
    assert_string_equal(who(b, NULL), "aa");
    assert_int_equal(sg_rendezvous_announce(b, kCarl, "now another"), SG_OK);
    assert_string_equal(who(a, NULL), "aa cc");
    sg_rendezvous_close(a);
    sg_rendezvous_close(b);
}

static pid_t start_member(const char *id, double forget) {
    int ready[2];
    char byte;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        sg_rendezvous *r = open_here();

        alarm(60);
        sg_rendezvous_set_forget(r, forget);
        if (sg_rendezvous_announce(r, id, "doomed") != SG_OK) _exit(1);
        if (write(ready[1], "", 1) != 1) _exit(1);
        for (;;) {
            usleep(100000);
            if (sg_rendezvous_beat(r) == SG_OK) continue;
            if (strncmp(url, "etcd", 4) != 0) _exit(1); /* which may be away */
        }
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

/* Leases of etcd are of two seconds at least. */
static void the_silent_are_forgotten(void **state) {
    double forget = etcd ? 2.0 : 1.0, silent, stopped;
    pid_t child = start_member(kCarl, forget);
    sg_rendezvous *r = open_here();
    int status;

    (void)state;
    sg_rendezvous_set_forget(r, forget);
    assert_int_equal(sg_rendezvous_announce(r, kAnna, "anna"), SG_OK);
    for (double start = sg_now(); sg_now() < start + 1.5 * forget;) {
        assert_int_equal(sg_rendezvous_beat(r), SG_OK);
        assert_string_equal(who(r, &silent), "aa cc");
        assert_true(silent >= 0.0 && silent < 0.5);
        usleep(100000);
    }
    /* stopped, it is silent, then gone */
    kill(child, SIGSTOP);
    stopped = sg_now();
    while (strcmp(who(r, &silent), "aa cc") == 0) {
        assert_true(silent <= sg_now() - stopped + 0.5);
        assert_true(etcd || silent >= sg_now() - stopped - 0.5);
        assert_int_equal(sg_rendezvous_beat(r), SG_OK);
        assert_true(sg_now() - stopped < forget + 3.0);
        usleep(50000);
    }
    assert_true(sg_now() - stopped > 0.5 * forget);
    assert_string_equal(who(r, NULL), "aa");
    /* and goes on, it is there again */
    kill(child, SIGCONT);
    await(r, "aa cc", 2.0);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    for (double start = sg_now(); strcmp(who(r, NULL), "aa") != 0; usleep(50000)) {
        assert_int_equal(sg_rendezvous_beat(r), SG_OK);
        assert_true(sg_now() - start < forget + 3.0);
    }
    sg_rendezvous_close(r);
}

static void the_dead_fall_silent(void **state) {
    pid_t child = start_member(kCarl, 6.0);
    sg_rendezvous *r = open_here();
    double silent, since = sg_now();
    int status;

    (void)state;
    sg_rendezvous_set_forget(r, 6.0);
    while (strcmp(heard(r), "cc!") != 0) assert_true(sg_now() - since < 3.0);
    kill(child, SIGKILL);
    since = sg_now();
    assert_int_equal(waitpid(child, &status, 0), child);
    usleep(200000);
    assert_string_equal(who(r, &silent), "cc");
    assert_true(silent >= 0.0 && silent < 1.0);
    usleep(etcd ? 4000000 : 1000000);
    assert_string_equal(who(r, &silent), "cc");
    assert_true(silent >= (etcd ? 2.0 : 0.9) && silent <= sg_now() - since + 0.5);
    assert_string_equal(heard(r), etcd ? "cc" : "cc!");
    sg_rendezvous_close(r);
}

/* --- outages ---------------------------------------------------------------------------------- */

/* Also while nothing answers. */
static bool is_member_missing(sg_rendezvous *r) {
    sg_announced *list = NULL;
    int n = 0;
    bool missing = sg_rendezvous_members(r, &list, &n) != SG_OK || n == 0;

    sg_announced_free(list, n);
    return missing;
}

static void exactly_one_wins_in_spite_of_outages(void **state) {
    pid_t member = start_member(kAnna, 2.0);
    shared_race *s = share();
    sg_rendezvous *r = NULL;
    int status;

    (void)state;
    run_race(s, 30000);
    printf("# %d proposals were not answered\n", s->outages);
    assert_true(s->outages > 0);
    munmap(s, sizeof *s);
    for (int i = 0; sg_rendezvous_open(url, &r) != SG_OK; i++) {
        assert_true(i < 100);
        usleep(100000);
    }
    /* whoever was away for longer than its lease has announced itself again */
    for (int i = 0; is_member_missing(r); i++) {
        assert_true(i < 100);
        usleep(100000);
    }
    kill(member, SIGKILL);
    assert_int_equal(waitpid(member, &status, 0), member);
    assert_int_equal(WTERMSIG(status), SIGKILL);
    sg_rendezvous_close(r);
}

/* --- waiting ---------------------------------------------------------------------------------- */

typedef struct {
    sg_rendezvous *r;
    int what; /* 0: an epoch; 1: a member comes; 2: it goes */
    double when;
} deed;

static void *do_later(void *context) {
    deed *d = context;
    sg_status st = SG_OK;
    bool won = true;

    usleep(320000);
    d->when = sg_now();
    if (d->what == 0) st = sg_rendezvous_propose(d->r, 1, "one", &won);
    if (d->what == 1) st = sg_rendezvous_announce(d->r, kBert, "bert");
    if (d->what == 2) st = sg_rendezvous_withdraw(d->r);
    return st == SG_OK && won ? NULL : d;
}

static void waits_end(void **state) {
    sg_rendezvous *r = open_here(), *other = open_here();
    double start = sg_now(), end, latency, least = 9.0;
    pthread_t thread;
    void *failed;

    (void)state;
    assert_int_equal(sg_rendezvous_wait(r, 0, 0.3), SG_OK);
    end = sg_now();
    assert_true(end - start >= 0.29 && end - start < 1.0);
    for (int what = 0; what < 3; what++) {
        deed d = {.r = other, .what = what};

        pthread_create(&thread, NULL, do_later, &d);
        assert_int_equal(sg_rendezvous_wait(r, what > 0, 20.0), SG_OK);
        end = sg_now();
        pthread_join(thread, &failed);
        assert_null(failed);
        latency = end - d.when;
        printf("# the wait ended after %.1f ms\n", latency * 1e3);
        assert_true(latency >= 0.0 && latency < 1.5);
        if (latency < least) least = latency;
    }
    /* hints came: polling alone takes 30 ms from then in a folder, 180 ms with etcd */
    assert_true(least < (etcd ? 0.15 : 0.02));
    /* there already: no wait */
    start = sg_now();
    assert_int_equal(sg_rendezvous_wait(r, 0, 20.0), SG_OK);
    assert_true(sg_now() - start < 1.5);
    /* what happened since one looked last is no reason to wait, either */
    assert_string_equal(who(r, NULL), "");
    assert_int_equal(sg_rendezvous_announce(other, kBert, ""), SG_OK);
    assert_int_equal(sg_rendezvous_wait(r, 1, 20.0), SG_OK);
    assert_true(sg_now() - start < 3.0);
    assert_int_equal(sg_rendezvous_wait(r, 1, 0.0), SG_OK);
    sg_rendezvous_close(r);
    sg_rendezvous_close(other);
}

typedef struct {
    sg_rendezvous *r;
    atomic_int *won, *failed;
    int number;
} crowd;

static void *be_busy(void *context) {
    crowd *c = context;

    for (int i = 0; i < 40; i++) {
        char *text = NULL, mine[16];
        sg_announced *list = NULL;
        int64_t epoch;
        bool won = false;
        bool fine;
        int n = 0;

        snprintf(mine, sizeof mine, "%d", c->number);
        fine = sg_rendezvous_newest(c->r, &epoch, &text) == SG_OK &&
               sg_rendezvous_propose(c->r, epoch + 1, mine, &won) == SG_OK &&
               sg_rendezvous_beat(c->r) == SG_OK &&
               sg_rendezvous_members(c->r, &list, &n) == SG_OK && n == 1 &&
               sg_rendezvous_wait(c->r, epoch, 0.01) == SG_OK;
        sg_announced_free(list, n);
        sg_free(text);
        atomic_fetch_add(c->won, won);
        if (!fine) atomic_fetch_add(c->failed, 1);
    }
    return NULL;
}

static void from_any_thread(void **state) {
    sg_rendezvous *r = open_here();
    atomic_int won = 0, failed = 0;
    pthread_t thread[kThreads];
    crowd c[kThreads];
    int64_t epoch;
    char *text;

    (void)state;
    assert_int_equal(sg_rendezvous_announce(r, kAnna, "anna"), SG_OK);
    for (int i = 0; i < kThreads; i++) {
        c[i] = (crowd){r, &won, &failed, i};
        pthread_create(&thread[i], NULL, be_busy, &c[i]);
    }
    for (int i = 0; i < kThreads; i++) pthread_join(thread[i], NULL);
    assert_int_equal(failed, 0);
    assert_int_equal(sg_rendezvous_newest(r, &epoch, &text), SG_OK);
    assert_int_equal(epoch, won); /* each number was won once */
    sg_free(text);
    sg_rendezvous_close(r);
}

/* --- a folder with bad luck ------------------------------------------------------------------- */

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

static void urls_that_will_not_do(void **state) {
    static const struct {
        const char *url, *says;
    } bad[] = {
        {"", "file:///FOLDER"},
        {"/a/folder", "file:///FOLDER"},
        {"s3://bucket/a", "etcd://HOST:PORT"},
        {"etcds://host:2379", "etcd://HOST:PORT"},
        {"file://", "no folder"},
        {"file:///", "no folder"},
        {"file://relative/folder", "no folder"},
        {"etcd://", "'' is no HOST:PORT"},
        {"etcd:///prefix", "'' is no HOST:PORT"},
        {"etcd://host", "'host' is no HOST:PORT"},
        {"etcd://host:", "'host:' is no HOST:PORT"},
        {"etcd://:2379", "':2379' is no HOST:PORT"},
        {"etcd://host:0", "'host:0' is no HOST:PORT"},
        {"etcd://host:65536", "'host:65536' is no HOST:PORT"},
        {"etcd://host:2379x", "is no HOST:PORT"},
        {"etcd://user@host:2379", "is no HOST:PORT"},
        {"etcd://a:1,", "'' is no HOST:PORT"},
        {"etcd://a:1,,b:2", "'' is no HOST:PORT"},
        {"etcd://a:1, b:2", "' b:2' is no HOST:PORT"},
        {"etcd://[::1:2379", "is no HOST:PORT"},
        {"etcd://a:1/b//c", "cannot begin keys"},
        {"etcd://a:1/b c", "cannot begin keys"},
        {"etcd://a:1,a:2,a:3,a:4,a:5,a:6,a:7,a:8,a:9,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1", "more than"},
    };
    sg_rendezvous *r = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_failure(sg_rendezvous_open(bad[i].url, &r), SG_ERR_CONFIG, bad[i].says);
    assert_null(r);
}

/* A socket that takes connections and never says a word; its port. */
static int listen_in_silence(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(s >= 0);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(s, 64), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return s;
}

static void nobody_answers(void **state) {
    sg_rendezvous *r = NULL;
    int port, s = listen_in_silence(&port);
    double start = sg_now();

    (void)state;
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d,127.0.0.1:%d,[::1]:1", port, port);
    expect_failure(sg_rendezvous_open(url, &r), SG_ERR_UNAVAILABLE, "http://[::1]:1");
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d", port);
    expect_failure(sg_rendezvous_open(url, &r), SG_ERR_UNAVAILABLE, "http://127.0.0.1:");
    assert_true(sg_now() - start < 4.5);
    close(s);
    start = sg_now();
    expect_failure(sg_rendezvous_open(url, &r), SG_ERR_UNAVAILABLE, "connect");
    assert_true(sg_now() - start < 1.0);
    assert_null(r);
}

static const char *_Atomic reply; /* of the one below, to everything */

static void *reply_always(void *context) {
    char request[4096];
    int s = *(int *)context, c;

    while ((c = accept(s, NULL, NULL)) >= 0) {
        if (read(c, request, sizeof request) > 0 && write(c, reply, strlen(reply)) < 0) break;
        close(c);
    }
    return NULL;
}

static void others_answer(void **state) {
    static const struct {
        const char *reply, *says;
    } cases[] = {
        {"HTTP/1.1 404 Not Found\r\n\r\nNot Found\n",
         "HTTP 404, and nothing that etcd's gateway would say; is it etcd 3.4 or later?"},
        {"HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP 200, and nothing"},
        {"HTTP/1.1 200 OK\r\n\r\n[]", "HTTP 200, and nothing"},
        {"HTTP/1.1 200 OK\r\n\r\n{\"error\": {\"message\": \"no leader\"}}", "HTTP 200: no leader"},
        {"HTTP/1.1 503 Unavailable\r\n\r\n{\"error\": \"timed out\"}", "HTTP 503: timed out"},
        {"HTTP/1.1 401 Unauthorized\r\n\r\n{\"message\": \"user name is empty\"}",
         "HTTP 401: user name is empty"},
        {"SSH-2.0-OpenSSH_9.2\r\n", "http://127.0.0.1:"},
    };
    sg_rendezvous *r = NULL;
    pthread_t thread;
    int port, s = listen_in_silence(&port);

    (void)state;
    reply = "";
    pthread_create(&thread, NULL, reply_always, &s);
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d", port);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reply = cases[i].reply;
        expect_failure(sg_rendezvous_open(url, &r), SG_ERR_UNAVAILABLE, cases[i].says);
    }
    shutdown(s, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(s);
}

/* Each endpoint has its share of the time, and who answered is asked first the next time. */
static void the_next_is_asked(void **state) {
    sg_rendezvous *r = NULL;
    pthread_t thread;
    int port, other, s = listen_in_silence(&port), silent = listen_in_silence(&other);
    double start = sg_now();

    (void)state;
    reply = "HTTP/1.1 200 OK\r\n\r\n{}";
    pthread_create(&thread, NULL, reply_always, &s);
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d,127.0.0.1:%d", other, port);
    r = open_here();
    assert_true(sg_now() - start > 0.5 && sg_now() - start < 1.4);
    start = sg_now();
    for (int i = 0; i < 5; i++) expect_newest(r, 0, NULL);
    assert_true(sg_now() - start < 0.8);
    sg_rendezvous_close(r);
    shutdown(s, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(s);
    close(silent);
}

/* Each allocation fails once. */
static sg_status use(void) {
    sg_rendezvous *r = NULL;
    sg_announced *list = NULL;
    char *text = NULL;
    int64_t epoch;
    sg_status st = sg_rendezvous_open(url, &r);
    bool won;
    int n = 0;

    if (st == SG_OK) st = sg_rendezvous_announce(r, kAnna, "anna");
    if (st == SG_OK) st = sg_rendezvous_beat(r);
    if (st == SG_OK) st = sg_rendezvous_members(r, &list, &n);
    sg_announced_free(list, n);
    if (st == SG_OK) st = sg_rendezvous_propose(r, 1, "one", &won);
    if (st == SG_OK) st = sg_rendezvous_newest(r, &epoch, &text);
    sg_free(text);
    if (st == SG_OK) st = sg_rendezvous_wait(r, 0, 0.0);
    sg_rendezvous_close(r);
    return st;
}

static void memory_runs_out(void **state) {
    long live = sg_mem_live();
    sg_status st = SG_OK;
    int failed = 0;

    (void)state;
    for (int n = 1; n <= 120; n++) {
        sg_mem_fail_at(n);
        st = use();
        sg_mem_fail_at(0);
        if (st != SG_OK && st != SG_ERR_OOM) fail_msg("%d: %s", st, sg_last_error());
        failed += st != SG_OK;
        assert_int_equal(sg_mem_live(), live);
    }
    assert_true(failed > 20);
    assert_int_equal(st, SG_OK); /* there are not so many */
}

/* --- etcd ------------------------------------------------------------------------------------- */

static void lost_answer(void **state) {
    sg_rendezvous *r = open_here(), *other = open_here();

    (void)state;
    assert_true(propose(r, 1, "ours"));
    assert_false(propose(other, 1, "ours"));
    expect_newest(other, 1, "ours");
    sg_rendezvous_close(r);
    sg_rendezvous_close(other);
}

static void lost_answer_of_the_only_one(void **state) {
    sg_rendezvous *r = open_here();
    bool won = false;

    (void)state;
    expect_failure(sg_rendezvous_propose(r, 1, "ours", &won), SG_ERR_UNAVAILABLE, "http://");
    assert_false(propose(r, 1, "not what was written"));
    assert_true(propose(r, 1, "ours"));
    sg_rendezvous_close(r);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_place, remove_place)

int main(int argc, char **argv) {
    const struct CMUnitTest everywhere[] = {
        TEST(exactly_one_wins),
        TEST(records_stay_as_they_are),
        TEST(long_texts),
        TEST(old_records_go),
        TEST(bad_arguments),
        TEST(members_come_and_go),
        TEST(the_silent_are_forgotten),
        TEST(the_dead_fall_silent),
        TEST(waits_end),
        TEST(from_any_thread),
        TEST(memory_runs_out), /* the last: "quick" leaves it out */
    };
    const struct CMUnitTest here[] = {
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
        TEST(urls_that_will_not_do),
        TEST(nobody_answers),
        TEST(others_answer),
        TEST(the_next_is_asked),
    };
    const struct CMUnitTest outages[] = {TEST(exactly_one_wins_in_spite_of_outages)};
    const struct CMUnitTest waits[] = {TEST(waits_end)};
    const struct CMUnitTest lost[] = {TEST(lost_answer)};
    const struct CMUnitTest alone[] = {TEST(lost_answer_of_the_only_one)};
    int failed;

    sg_log_set(SG_LOG_WARN, sink);
    etcd = argc > 1 ? argv[1] : NULL;
    if (argc > 2 && strcmp(argv[2], "outage") == 0)
        return cmocka_run_group_tests(outages, NULL, NULL);
    if (argc > 2 && strcmp(argv[2], "lost") == 0) return cmocka_run_group_tests(lost, NULL, NULL);
    if (argc > 2 && strcmp(argv[2], "alone") == 0) return cmocka_run_group_tests(alone, NULL, NULL);
    if (argc > 2 && strcmp(argv[2], "waits") == 0) return cmocka_run_group_tests(waits, NULL, NULL);
    if (argc > 2 && strcmp(argv[2], "quick") == 0)
        return _cmocka_run_group_tests("quick", everywhere,
                                       sizeof everywhere / sizeof *everywhere - 1, NULL, NULL);
    failed = cmocka_run_group_tests(everywhere, NULL, NULL);
    if (!etcd) failed += cmocka_run_group_tests(here, NULL, NULL);
    return failed;
}
