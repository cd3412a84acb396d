/* What holds wherever workers meet: in a folder and, for tests/integration/rendezvous.py, in an
 * etcd.
 *
 *   test_rendezvous                  folders
 *   test_rendezvous URL              what holds for every kind of place, at an etcd
 *   test_rendezvous URL quick        the same but for what takes long
 *   test_rendezvous URL waits        of that, waiting
 *   test_rendezvous URL outage       with an etcd that comes and goes
 *   test_rendezvous URL lost|alone   the answer to the first proposal is lost; another endpoint
 *                                    answers | nobody does, the first time */
#define _GNU_SOURCE
#include "rendezvous_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { kProcesses = 5, kRounds = 200, kThreads = 6 };

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
    const struct CMUnitTest outages[] = {TEST(exactly_one_wins_in_spite_of_outages)};
    const struct CMUnitTest waits[] = {TEST(waits_end)};
    const struct CMUnitTest lost[] = {TEST(lost_answer)};
    const struct CMUnitTest alone[] = {TEST(lost_answer_of_the_only_one)};

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
    return cmocka_run_group_tests(everywhere, NULL, NULL);
}
