/* Which transport the processes of a group come to: shared memory, and Gloo where that cannot be
 * had, whichever way they are told where they are reached. */
#define _GNU_SOURCE
#include "group_fixture.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "gpu/libraries.h"

enum { kMembers = 2 };

/* How a member ends: with kGood, and the bits of what it said. */
enum { kSaidGloo = 1, kSaidUnwhole = 2, kGood = 16 };

/* Enough for records, and not for a member's area of shared memory. */
static const rlim_t kSmallFiles = 64 << 10;

static int said;

static void hear_line(sg_log_level level, const char *line) {
    if (level == SG_LOG_WARN && strstr(line, "workers exchange by Gloo")) said |= kSaidGloo;
    if (level == SG_LOG_WARN && strstr(line, "3 epochs in a row are not whole") &&
        strstr(line, "others reach this worker at "))
        said |= kSaidUnwhole;
    if (getenv("SG_TEST_LOG")) fprintf(stderr, "%d: %s\n", (int)getpid(), line);
}

/* A whole group of two, and one exchange. Ends well where data went by `transport`. */
static void take_part(const char *interface, const char *transport) {
    sg_group_options o = {.store = url,
                          .interface = interface,
                          .about = "a test",
                          .run = "a run",
                          .check = agree,
                          .shards = kShards,
                          .min_workers = kMembers,
                          .max_workers = kMembers,
                          .wait = 20.0};
    sg_standing standing = {.step = 0};
    worker w = {.model = sg_calloc(1, sizeof *w.model), .slot = make_slots()};
    char *done = NULL;
    sg_status st = sg_group_create(&o, &w.group);

    if (st == SG_OK) st = sg_group_form(w.group, &standing, &done);
    if (st == SG_OK) st = step(&w);
    if (st != SG_OK) fprintf(stderr, "interface '%s': %s\n", interface, sg_last_error());
    if (st != SG_OK) _exit(1);
    usleep(500000); /* the other one may still be at it */
    _exit(strcmp(sg_group_transport(w.group), transport) == 0 && sg_group_size(w.group) == kMembers
              ? kGood | said
              : 2);
}

static pid_t start(const char *interface, bool small, const char *transport) {
    const struct rlimit files = {kSmallFiles, kSmallFiles};
    pid_t parent = getpid(), pid = fork();

    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    alarm(60);
    sg_log_set(SG_LOG_DEBUG, hear_line);
    signal(SIGXFSZ, SIG_IGN);
    if (small && setrlimit(RLIMIT_FSIZE, &files) != 0) _exit(1);
    take_part(interface, transport);
    return 0;
}

/* The first `small` of them have no room for shared memory, which is said. */
static void expect_transport(const char *a, const char *b, int small, const char *transport) {
    int how, all = 0, expected = small > 0 ? kSaidGloo | kSaidUnwhole : 0;
    pid_t pid[kMembers];

    make_folder();
    pid[0] = start(a, small > 0, transport);
    pid[1] = start(b, small > 1, transport);
    for (int i = 0; i < kMembers; i++) {
        assert_int_equal(waitpid(pid[i], &how, 0), pid[i]);
        assert_true(WIFEXITED(how) && WEXITSTATUS(how) >= kGood);
        all |= WEXITSTATUS(how);
    }
    assert_int_equal(all, kGood | expected);
    remove_folder();
}

static void need_gloo(void) {
    char path[4096];

    assert_int_equal(sg_program_folder(path, sizeof path - 32), SG_OK);
    strcat(path, "/libspotgrad_gloo.so");
    if (!sg_file_exists(path)) skip();
}

static void test_shared_memory(void **state) {
    (void)state;
    expect_transport("127.0.0.1", "127.0.0.1", 0, "shm");
    expect_transport("lo", "", 0, "shm");
}

/* A member cannot, or none can: all of them do without. Gloo is given an address, whatever the
 * peers were. */
static void test_without_shared_memory(void **state) {
    (void)state;
    need_gloo();
    expect_transport("lo", "", 1, "gloo");
    expect_transport("127.0.0.1", "lo", 2, "gloo");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_memory),
        cmocka_unit_test(test_without_shared_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
