/* Groups: workers that are processes come, are killed, are stopped and leave; at the end the state
 * is that of one worker alone, whatever happened. */
#define _GNU_SOURCE
#include "group_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void log_line(sg_log_level level, const char *line) {
    (void)level;
    fprintf(stderr, "%d: %s\n", (int)getpid(), line);
}

/* What is odd about the next one that is started. */
static struct {
    bool foreign;     /* far on, in another run */
    bool absent;      /* announced, and does nothing more */
    useconds_t pause; /* of a step */
} odd;

/* Ends with 0 and its digest in a file; 75 when it left; another number when it failed. */
static pid_t start(int number, int64_t steps, int min, int max, const char *about) {
    pid_t parent = getpid(), pid = fork();
    char text[64] = "", path[400];
    struct sigaction action;
    worker w;
    sg_status st;

    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    if (getenv("SG_TEST_LOG")) sg_log_set(SG_LOG_DEBUG, log_line);
    memset(&action, 0, sizeof action);
    action.sa_handler = on_term;
    sigaction(SIGTERM, &action, NULL);
    st = open_worker(&w, steps, min, max, about, NULL);
    if (odd.foreign) w.model->step = steps - 1;
    while (odd.absent) pause();
    if (odd.pause) w.pause = odd.pause;
    if (st == SG_OK) st = train(&w, text, sizeof text);
    if (st == SG_ERR_INTERRUPTED) {
        sg_group_destroy(w.group);
        _exit(75);
    }
    if (st != SG_OK) {
        fprintf(stderr, "worker %d: %s\n", number, sg_last_error());
        _exit(st == SG_ERR_CONFIG ? 78 : st == SG_ERR_UNAVAILABLE ? 69 : 1);
    }
    snprintf(path, sizeof path, "%s/result-%d", folder, number);
    if (sg_file_write(path, text, strlen(text)) != SG_OK) _exit(2);
    sg_group_destroy(w.group);
    _exit(0);
}

/* --- what is expected of them ----------------------------------------------------------------- */

static int status_of(pid_t pid, double seconds) {
    double end = sg_now() + seconds;
    int how;

    while (waitpid(pid, &how, WNOHANG) == 0) {
        if (sg_now() > end) {
            kill(pid, SIGKILL);
            waitpid(pid, &how, 0);
            fail_msg("worker %d hangs", (int)pid);
        }
        usleep(1000);
    }
    return WIFEXITED(how) ? WEXITSTATUS(how) : -WTERMSIG(how);
}

static void expect_result(int number, uint64_t expected) {
    char path[400], text[64];
    uint8_t *data;
    size_t size;

    snprintf(path, sizeof path, "%s/result-%d", folder, number);
    snprintf(text, sizeof text, "%016llx", (unsigned long long)expected);
    assert_int_equal(sg_file_read(path, 0, &data, &size), SG_OK);
    assert_string_equal((const char *)data, text);
    sg_free(data);
}

static void test_any_number_of_workers(void **state) {
    uint64_t expected = alone(kSteps / 10);

    (void)state;
    for (int n = 1; n <= kMost; n++) {
        pid_t pid[kMost];

        make_folder();
        for (int i = 0; i < n; i++) pid[i] = start(i, kSteps / 10, n, 0, "a test");
        for (int i = 0; i < n; i++) assert_int_equal(status_of(pid[i], 60.0), 0);
        for (int i = 0; i < n; i++) expect_result(i, expected);
        remove_folder();
    }
}

/* One that comes when the others are at work is taken in, and has their state. */
static void test_late_joiners(void **state) {
    uint64_t expected = alone(kSteps);
    pid_t pid[3];

    (void)state;
    make_folder();
    for (int i = 0; i < 3; i++) {
        pid[i] = start(i, kSteps, 1, 0, "a test");
        usleep(700000);
    }
    for (int i = 0; i < 3; i++) assert_int_equal(status_of(pid[i], 60.0), 0);
    for (int i = 0; i < 3; i++) expect_result(i, expected);
    remove_folder();
}

/* Fewer than there must be wait until there are enough again. */
static void test_too_few_wait(void **state) {
    uint64_t expected = alone(4 * kSteps);
    pid_t pid[3];

    (void)state;
    make_folder();
    for (int i = 0; i < 3; i++) pid[i] = start(i, 4 * kSteps, 3, 3, "a test");
    usleep(900000);
    kill(pid[1], SIGKILL);
    assert_int_equal(status_of(pid[1], 10.0), -SIGKILL);
    usleep(500000);
    for (int i = 0; i < 3; i += 2) assert_int_equal(kill(pid[i], 0), 0);
    pid[1] = start(1, 4 * kSteps, 3, 3, "a test");
    for (int i = 0; i < 3; i++) assert_int_equal(status_of(pid[i], 60.0), 0);
    for (int i = 0; i < 3; i++) expect_result(i, expected);
    remove_folder();
}

/* Who comes after the end is told of it. */
static void test_after_the_end(void **state) {
    uint64_t expected = alone(5);

    (void)state;
    make_folder();
    assert_int_equal(status_of(start(0, 5, 1, 0, "a test"), 60.0), 0);
    assert_int_equal(status_of(start(1, 5, 1, 0, "a test"), 60.0), 0);
    expect_result(1, expected);
    remove_folder();
}

static void test_other_runs_are_refused(void **state) {
    pid_t first;

    (void)state;
    make_folder();
    first = start(0, 1000 * kSteps, 1, 0, "a test");
    usleep(1000000);
    assert_int_equal(status_of(start(1, 1000 * kSteps, 1, 0, "something else"), 60.0), 78);
    kill(first, SIGTERM);
    assert_int_equal(status_of(first, 60.0), 75);
    remove_folder();
}

static void wait_for_epoch(int number) {
    double end = sg_now() + 30.0;
    char path[400];

    snprintf(path, sizeof path, "%s/epoch-%d", folder, number);
    while (!sg_file_exists(path) && sg_now() < end) usleep(10000);
    assert_true(sg_file_exists(path));
}

/* At the very beginning, when neither can ask the other. */
static void test_founders_agree(void **state) {
    for (int i = 0; i < 5; i++) {
        int first, second;
        pid_t pid[2];

        (void)state;
        make_folder();
        pid[0] = start(0, 20, 1, 0, "a test");
        pid[1] = start(1, 20, 1, 0, "something else");
        first = status_of(pid[0], 60.0);
        second = status_of(pid[1], 60.0);
        /* one after the other they may both come to an end */
        assert_true((first == 0 && (second == 0 || second == 78)) || (first == 78 && second == 0));
        if (first == 0) expect_result(0, alone(20));
        if (second == 0) expect_result(1, alone(20));
        remove_folder();
    }
}

/* Its state would be wrong, and its step is ahead of all. */
static void test_a_foreign_state_is_not_taken(void **state) {
    uint64_t expected = alone(kSteps);
    pid_t pid[3];

    (void)state;
    make_folder();
    odd.pause = 10000;
    for (int i = 0; i < 2; i++) pid[i] = start(i, kSteps, 2, 0, "a test");
    odd.pause = 0;
    wait_for_epoch(1); /* before, it would be one of the founders */
    odd.foreign = true;
    pid[2] = start(2, kSteps, 1, 0, "a test");
    odd.foreign = false;
    assert_int_equal(status_of(pid[2], 60.0), 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(status_of(pid[i], 60.0), 0);
        expect_result(i, expected);
    }
    remove_folder();
}

/* Its signs of life go on, but it makes no step. */
static void test_one_that_hangs_is_left_out(void **state) {
    uint64_t expected = alone(kSteps);
    pid_t pid[3];

    (void)state;
    make_folder();
    patience = 1.0;
    for (int i = 0; i < 3; i++) {
        odd.pause = i == 1 ? 100000000 : 0;
        pid[i] = start(i, kSteps, 2, 0, "a test");
    }
    odd.pause = 0;
    patience = 0.0;
    for (int i = 0; i < 3; i += 2) {
        assert_int_equal(status_of(pid[i], 60.0), 0);
        expect_result(i, expected);
    }
    kill(pid[1], SIGKILL);
    assert_int_equal(status_of(pid[1], 60.0), -SIGKILL);
    remove_folder();
}

/* Whoever is told to leave does not wait for one that hangs: in a step, and when an epoch begins.
 */
static void expect_to_leave(bool absent) {
    pid_t pid[2];

    make_folder();
    hurries = true;
    odd.absent = absent;
    odd.pause = absent ? 0 : 100000000;
    pid[1] = start(1, kSteps, 2, 0, "a test");
    odd.absent = false;
    odd.pause = 0;
    pid[0] = start(0, kSteps, 2, 0, "a test");
    hurries = false;
    wait_for_epoch(1);
    usleep(500000);
    kill(pid[0], SIGTERM);
    assert_int_equal(status_of(pid[0], 20.0), 75);
    kill(pid[1], SIGKILL);
    assert_int_equal(status_of(pid[1], 60.0), -SIGKILL);
    remove_folder();
}

static void test_leaving_one_that_hangs(void **state) {
    (void)state;
    expect_to_leave(false);
    expect_to_leave(true);
}

static bool is_full; /* the disk of the rendezvous, for members */

int rename(const char *from, const char *to) {
    if (!is_full || !strstr(to, "/member-"))
        return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    errno = ENOSPC;
    return -1;
}

/* Who cannot be announced waits as long as for others, and says why. */
static void test_a_full_store_is_told(void **state) {
    sg_group_options o = {.store = url,
                          .interface = "127.0.0.1",
                          .about = "a test",
                          .run = "a run",
                          .check = agree,
                          .shards = 2,
                          .min_workers = 1,
                          .wait = 0.5};
    const sg_standing standing = {.step = 0};
    sg_group *g = NULL;
    char *done = NULL;
    sg_status st;
    pid_t pid;

    (void)state;
    make_folder();
    pid = fork();
    if (pid == 0) {
        is_full = true;
        st = sg_group_create(&o, &g);
        if (st == SG_OK) st = sg_group_form(g, &standing, &done);
        _exit(st == SG_ERR_UNAVAILABLE && strstr(sg_last_error(), "No space left") ? 0 : 1);
    }
    assert_int_equal(status_of(pid, 20.0), 0);
    remove_folder();
}

static sg_peers *open_peers(const char *id, double beat, sg_peer *who) {
    const sg_peers_options o = {
        .id = id, .interface = "127.0.0.1", .beat = beat, .silence = beat > 1.0 ? 100.0 : 0.4};
    sg_peers *p = NULL;

    assert_int_equal(sg_peers_open(&o, &p), SG_OK);
    memset(who, 0, sizeof *who);
    snprintf(who->id, sizeof who->id, "%s", id);
    snprintf(who->address, sizeof who->address, "%s", sg_peers_address(p));
    return p;
}

/* One from which the others are cut off lets them go first, but not where they are dead. */
static void expect_outnumbered(int silent, int dead, bool expected) {
    static const char *const ids[] = {"a", "b", "c", "d"};
    sg_peers *p[4];
    sg_peer who[4];
    double end;

    for (int i = 0; i < 4; i++)
        p[i] = open_peers(ids[i], i > 0 && i <= silent ? 50.0 : 0.05, &who[i]);
    for (int i = 0; i < 4; i++) assert_int_equal(sg_peers_watch(p[i], 1, who, 4), SG_OK);
    assert_false(sg_peers_outnumbered(p[0]));
    usleep(100000);
    for (int i = 4 - dead; i < 4; i++) {
        sg_peers_close(p[i]);
        p[i] = NULL;
    }
    for (end = sg_now() + 10.0; silent > 0 && !sg_peers_is_lost(p[0], "b") && sg_now() < end;)
        usleep(1000);
    for (int i = 1; i <= silent; i++) assert_non_null(p[i]);
    assert_int_equal(sg_peers_outnumbered(p[0]), expected);
    for (int i = 0; i < 4; i++) sg_peers_close(p[i]);
}

/* Alone, of a run that is called so unless another one has begun. */
static void expect_run(const char *mine, bool brings, bool fresh, const char *expected) {
    sg_group_options o = {.store = url,
                          .interface = "127.0.0.1",
                          .about = "a test",
                          .run = mine,
                          .brings = brings,
                          .fresh = fresh,
                          .check = agree,
                          .shards = 1,
                          .min_workers = 1,
                          .wait = 20.0};
    sg_standing standing = {.step = brings, .loaded = brings};
    sg_group *g = NULL;
    char *done = NULL;

    snprintf(standing.run_id, sizeof standing.run_id, "%s", mine);
    assert_int_equal(sg_group_create(&o, &g), SG_OK);
    assert_int_equal(sg_group_form(g, &standing, &done), SG_OK);
    assert_null(done);
    assert_string_equal(sg_group_run(g), expected);
    sg_group_destroy(g);
}

/* So that one who left comes back to the run that it saved. */
static void test_a_run_that_began_goes_on(void **state) {
    (void)state;
    make_folder();
    expect_run("first", false, false, "first");
    expect_run("second", false, false, "first");
    expect_run("third", true, false, "third");
    expect_run("fourth", false, false, "third");
    expect_run("fifth", false, true, "fifth");
    expect_run("sixth", false, false, "fifth");
    remove_folder();
}

static void test_outnumbered(void **state) {
    (void)state;
    expect_outnumbered(3, 0, true);
    expect_outnumbered(2, 0, false); /* two of four */
    expect_outnumbered(1, 2, false);
    expect_outnumbered(2, 1, true);
    expect_outnumbered(0, 3, false);
}

/* Random deaths, stops and leaves, of any member; whoever is gone is started again. */
typedef struct {
    pid_t pid[kMost];
    bool stopped[kMost];
    uint64_t random;
} troop;

static uint32_t draw(troop *t, uint32_t below) {
    t->random = sg_key_mix(t->random, 1);
    return (uint32_t)(t->random >> 33) % below;
}

static void harm(troop *t) {
    int i = (int)draw(t, kWorkers);
    uint32_t how = draw(t, 10);

    if (t->stopped[i]) kill(t->pid[i], SIGCONT);
    t->stopped[i] = how == 9;
    kill(t->pid[i], how < 6 ? SIGKILL : how < 9 ? SIGTERM : SIGSTOP);
}

static bool start_again(troop *t, bool *finished, int64_t steps) {
    bool all = true;

    for (int i = 0; i < kWorkers; i++) {
        int how;

        all = all && finished[i];
        if (finished[i] || waitpid(t->pid[i], &how, WNOHANG) != t->pid[i]) continue;
        finished[i] = WIFEXITED(how) && WEXITSTATUS(how) == 0;
        if (finished[i]) continue;
        assert_true(WIFSIGNALED(how) || WEXITSTATUS(how) == 75);
        t->stopped[i] = false;
        t->pid[i] = start(i, steps, 1, kWorkers, "a test");
    }
    return all;
}

static void resume_all(troop *t) {
    for (int i = 0; i < kWorkers; i++)
        if (t->stopped[i]) kill(t->pid[i], SIGCONT);
}

/* As many steps as most of the faults need to come before the end. */
static void run_with_faults(uint64_t seed, int faults) {
    bool finished[kMost] = {false};
    int64_t steps = 40 * faults;
    double end;
    troop t = {.random = seed};
    int done = 0;

    make_folder();
    for (int i = 0; i < kWorkers; i++) t.pid[i] = start(i, steps, 1, kWorkers, "a test");
    for (; done < faults; done++) {
        bool any = false;

        usleep(20000 + 1000 * draw(&t, 200));
        (void)start_again(&t, finished, steps);
        for (int i = 0; i < kWorkers; i++) any = any || finished[i];
        if (any) break;
        harm(&t);
    }
    resume_all(&t);
    end = sg_now() + 120.0;
    while (!start_again(&t, finished, steps)) {
        if (sg_now() > end) fail_msg("the job of seed %llu hangs", (unsigned long long)seed);
        usleep(1000);
    }
    assert_true(done > faults / 2);
    for (int i = 0; i < kWorkers; i++) expect_result(i, alone(steps));
    remove_folder();
}

/* Should all be gone at once, the next ones begin anew, and come to the same end. */
static void test_faults(void **state) {
    const char *faults = getenv("SG_GROUP_FAULTS");

    (void)state;
    run_with_faults(1, 25);
    if (faults) run_with_faults((uint64_t)getpid(), atoi(faults));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_number_of_workers),
        cmocka_unit_test(test_late_joiners),
        cmocka_unit_test(test_too_few_wait),
        cmocka_unit_test(test_after_the_end),
        cmocka_unit_test(test_other_runs_are_refused),
        cmocka_unit_test(test_founders_agree),
        cmocka_unit_test(test_a_foreign_state_is_not_taken),
        cmocka_unit_test(test_one_that_hangs_is_left_out),
        cmocka_unit_test(test_leaving_one_that_hangs),
        cmocka_unit_test(test_a_full_store_is_told),
        cmocka_unit_test(test_a_run_that_began_goes_on),
        cmocka_unit_test(test_outnumbered),
        cmocka_unit_test(test_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
