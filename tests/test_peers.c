/* Peers: who is lost and what for, who is let go, and who is named of those that ask. Most of them
 * are made of a connection only, so that they do just what a test needs. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/peers_inside.h"
#include "open_files.h"

enum { kMembers = 3, kAskers = 12, kRoom = 8, kAll = 64 };

static const double kLimit = 20.0; /* seconds: never waited for when all is well */

static sg_peer make_peer(const char *id, const char *address) {
    sg_peer who;

    memset(&who, 0, sizeof who);
    snprintf(who.id, sizeof who.id, "%s", id);
    snprintf(who.address, sizeof who.address, "%s", address);
    return who;
}

static sg_peers *open_beating(const char *id, double beat, double silence) {
    const sg_peers_options o = {
        .id = id, .interface = "127.0.0.1", .beat = beat, .silence = silence};
    sg_peers *p = NULL;

    assert_int_equal(sg_peers_open(&o, &p), SG_OK);
    return p;
}

static sg_peers *open_peers(const char *id, double silence) {
    return open_beating(id, 0.05, silence);
}

/* --- losses ----------------------------------------------------------------------------------- */

static atomic_int warnings;
static char warning[512];

static void keep_warning(sg_log_level level, const char *line) {
    if (level != SG_LOG_WARN) return;
    snprintf(warning, sizeof warning, "%s", line);
    atomic_fetch_add(&warnings, 1);
}

static void expect_loss(const char *address, bool gone, int warned) {
    sg_peer list[] = {make_peer("b", address)};
    sg_peers *p = open_peers("a", 100.0);
    double end = sg_now() + kLimit;

    atomic_store(&warnings, 0);
    sg_log_set(SG_LOG_WARN, keep_warning);
    for (int i = 0; i < 3; i++) { /* as one does who waits to be taken in */
        assert_int_equal(sg_peers_watch(p, 1, list, 1), SG_OK);
        while (!sg_peers_is_lost(p, "b") && sg_now() < end) usleep(1000);
        assert_true(sg_peers_is_lost(p, "b"));
        assert_int_equal(sg_peers_all_gone(p), gone);
        assert_false(sg_peers_all_hung_up(p)); /* whom nobody has heard */
    }
    sg_log_set(SG_LOG_WARN, NULL);
    assert_int_equal(atomic_load(&warnings), warned);
    if (warned) assert_non_null(strstr(warning, address));
    sg_peers_close(p);
}

static void test_nobody_is_there(void **state) {
    char address[SG_ADDRESS_BYTES];
    int fd, port;

    (void)state;
    assert_int_equal(sg_wire_listen(&fd, &port), SG_OK);
    close(fd);
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    expect_loss(address, true, 0);
}

/* No TCP goes to the broadcast address, whatever routes there are: as where a firewall rejects. */
static void test_no_way_there(void **state) {
    (void)state;
    expect_loss("255.255.255.255:9", false, 1);
}

static void test_hang_up(void **state) {
    sg_peers *p = open_peers("a", 100.0), *q = open_peers("b", 100.0);
    sg_peer list[] = {make_peer("a", sg_peers_address(p)), make_peer("b", sg_peers_address(q))};
    double end = sg_now() + kLimit;

    (void)state;
    assert_int_equal(sg_peers_watch(p, 1, list, 2), SG_OK);
    assert_int_equal(sg_peers_watch(q, 1, list, 2), SG_OK);
    while (!sg_peers_any_heard(p) && sg_now() < end) usleep(1000);
    assert_false(sg_peers_any_lost(p));
    sg_peers_close(q);
    while (!sg_peers_is_lost(p, "b") && sg_now() < end) usleep(1000);
    assert_true(sg_peers_is_lost(p, "b") && sg_peers_all_gone(p) && sg_peers_all_hung_up(p));
    assert_int_equal(sg_peers_watch(p, 1, list, 2), SG_OK); /* and asked again, it is still so */
    while (!sg_peers_is_lost(p, "b") && sg_now() < end) usleep(1000);
    assert_true(sg_peers_all_hung_up(p));
    sg_peers_close(p);
}

/* This process can open that many files more; the limit of before. */
static struct rlimit leave_files(int n) {
    struct rlimit before, few;
    int next = dup(0);

    assert_true(next > 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = (rlim_t)(next + n);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    return before;
}

/* A process that has no files left knows nothing of the others. */
static void test_no_files_left(void **state) {
    sg_peers *p = open_peers("a", 100.0), *q = open_peers("b", 100.0);
    sg_peer list[] = {make_peer("b", sg_peers_address(q))};
    struct rlimit before = leave_files(0);

    (void)state;
    assert_int_equal(sg_peers_watch(p, 1, list, 1), SG_OK);
    for (double end = sg_now() + kLimit; !sg_peers_is_lost(p, "b") && sg_now() < end;) usleep(1000);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(sg_peers_is_lost(p, "b"));
    assert_false(sg_peers_all_gone(p));
    sg_peers_close(p);
    sg_peers_close(q);
}

/* --- those who ask ---------------------------------------------------------------------------- */

/* One who says what it is told to, and does not hear. */
typedef struct {
    sg_peer who;
    int listener;
    sg_wire wire[kMembers];
} asker;

static void put(sg_wire *w, sg_peer_frame kind, const void *data, size_t bytes) {
    const sg_frame frame = {.kind = kind, .epoch = 1, .bytes = (uint32_t)bytes};

    assert_true(sg_wire_put(w, frame, data));
    for (double end = sg_now() + kLimit; w->n_out > 0 && sg_now() < end; usleep(1000))
        assert_true(sg_wire_send(w));
    assert_int_equal(w->n_out, 0);
}

static void beat(asker *a, int k) {
    const sg_peer_beat b = {true};

    put(&a->wire[k], SG_PEER_BEAT, &b, sizeof b);
}

static void open_asker(asker *a, int number) {
    char id[SG_MEMBER_ID_BYTES], address[SG_ADDRESS_BYTES];
    int port;

    assert_int_equal(sg_wire_listen(&a->listener, &port), SG_OK);
    snprintf(id, sizeof id, "%02d", number);
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    a->who = make_peer(id, address);
    for (int k = 0; k < kMembers; k++) a->wire[k] = (sg_wire){.fd = -1};
}

static void call(asker *a, int k, const sg_peers *member, const char *id) {
    sg_peer_hello h = {.from = a->who};

    snprintf(h.to, sizeof h.to, "%s", id);
    assert_true(sg_wire_connect(&a->wire[k], sg_peers_address(member)));
    put(&a->wire[k], SG_PEER_HELLO, &h, sizeof h);
    beat(a, k);
}

static void close_asker(asker *a) {
    for (int k = 0; k < kMembers; k++) sg_wire_close(&a->wire[k]);
    close(a->listener);
}

/* Until that many ask, each giving signs of life. */
static void await_askers(sg_peers *p, asker *a, int k, int n) {
    sg_peer list[kAll];
    double end = sg_now() + kLimit;

    while (sg_peers_asking(p, list, kAll) != n && sg_now() < end) {
        for (int i = 0; i < kAskers; i++)
            if (sg_wire_open(&a[i].wire[k])) beat(&a[i], k);
        usleep(1000);
    }
    assert_int_equal(sg_peers_asking(p, list, kAll), n);
}

/* More ask than a note can name, and come to each member in another order: all name the same. */
static void test_all_name_the_same(void **state) {
    static const char *const ids[kMembers] = {"x", "y", "z"};
    sg_peers *p[kMembers];
    asker a[kAskers];
    sg_peer list[kRoom];

    (void)state;
    for (int i = 0; i < kAskers; i++) open_asker(&a[i], i);
    for (int k = 0; k < kMembers; k++) {
        p[k] = open_peers(ids[k], 10.0);
        for (int n = 0; n < kAskers; n++) {
            int i = k == 0 ? n : k == 1 ? kAskers - 1 - n : n * 5 % kAskers;

            call(&a[i], k, p[k], ids[k]);
            await_askers(p[k], a, k, n + 1);
        }
    }
    for (int k = 0; k < kMembers; k++) {
        await_askers(p[k], a, k, kAskers);
        assert_int_equal(sg_peers_asking(p[k], list, kRoom), kRoom);
        for (int i = 0; i < kRoom; i++) {
            assert_string_equal(list[i].id, a[i].who.id);
            assert_string_equal(list[i].address, a[i].who.address);
        }
        assert_int_equal(sg_peers_asking(p[k], list, 1), 1);
        assert_string_equal(list[0].id, a[0].who.id);
        assert_int_equal(sg_peers_asking(p[k], list, 0), 0);
        sg_peers_close(p[k]);
    }
    for (int i = 0; i < kAskers; i++) close_asker(&a[i]);
}

/* Until it alone asks, giving signs of life. */
static void await_one(sg_peers *p, asker *one, double end) {
    sg_peer list[kAll];
    int n;

    while ((n = sg_peers_asking(p, list, kAll)) != 1 && sg_now() < end) {
        beat(one, 0);
        usleep(10000);
    }
    assert_int_equal(n, 1);
    assert_string_equal(list[0].id, one->who.id);
}

/* Machines that lose their power end no connection. They are not named any more at once, and
 * forgotten later; one that speaks goes on to be heard. */
static void test_silent_ones_are_let_go(void **state) {
    sg_peers *p = open_peers("x", 0.8);
    double end = sg_now() + kLimit;
    asker a[kAskers];
    int before;

    (void)state;
    for (int i = 0; i < kAskers; i++) open_asker(&a[i], i);
    call(&a[0], 0, p, "x");
    await_askers(p, a, 0, 1);
    before = open_files();
    for (int i = 1; i < 4; i++) call(&a[i], 0, p, "x");
    await_askers(p, a, 0, 4);
    assert_int_equal(open_files(), before + 3 * 3); /* ours, and the two of peers */
    await_one(p, &a[0], end);
    assert_int_equal(open_files(), before + 3 * 3);
    while (open_files() > before + 3 && sg_now() < end) {
        beat(&a[0], 0);
        usleep(10000);
    }
    assert_int_equal(open_files(), before + 3);
    await_one(p, &a[0], end);
    sg_peers_close(p);
    for (int i = 0; i < kAskers; i++) close_asker(&a[i]);
}

/* Two are cut off at once, but their last beats are not of the same moment. */
static void test_silent_together(void **state) {
    sg_peers *p = open_beating("x", 0.9, 3.0);
    sg_peer watched[2];
    double end = sg_now() + kLimit;
    asker a[3];

    (void)state;
    for (int i = 0; i < 3; i++) open_asker(&a[i], i);
    for (int i = 0; i < 2; i++) watched[i] = a[i].who;
    assert_int_equal(sg_peers_watch(p, 1, watched, 2), SG_OK);
    for (int i = 0; i < 3; i++) call(&a[i], 0, p, "x");
    usleep(300000);
    beat(&a[1], 0);
    while (!sg_peers_any_lost(p) && sg_now() < end) {
        beat(&a[2], 0); /* so that there is something to look for */
        usleep(1000);
    }
    assert_true(sg_peers_is_lost(p, a[0].who.id) && sg_peers_is_lost(p, a[1].who.id));
    assert_false(sg_peers_all_gone(p));
    sg_peers_close(p);
    for (int i = 0; i < 3; i++) close_asker(&a[i]);
}

static double processor_seconds(void) {
    struct timespec t;

    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Who calls while there is no file left waits for one, and nobody is busy with that. */
static void test_calls_wait_for_files(void **state) {
    sg_peers *p = open_peers("x", 100.0);
    struct rlimit before;
    double begun;
    asker a;

    (void)state;
    open_asker(&a, 0);
    before = leave_files(1); /* the caller's own */
    call(&a, 0, p, "x");
    begun = processor_seconds();
    usleep(500000);
    begun = processor_seconds() - begun;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    if (!(begun < 0.1)) fail_msg("it took %.3f s of processor time", begun);
    await_one(p, &a, sg_now() + kLimit);
    sg_peers_close(p);
    close_asker(&a);
}

static bool always(void *context) { return context != NULL; }

/* Whoever is told to go need not wait for others first. */
static void test_hearing_can_be_stopped(void **state) {
    sg_peers_options o = {.id = "x", .interface = "127.0.0.1", .silence = 100.0, .stop = always};
    double begun = sg_now();
    sg_peers *p;
    size_t bytes;
    uint8_t byte;
    asker a;

    (void)state;
    open_asker(&a, 0);
    o.context = &a;
    assert_int_equal(sg_peers_open(&o, &p), SG_OK);
    assert_int_equal(sg_peers_watch(p, 1, &a.who, 1), SG_OK);
    assert_int_equal(sg_peers_hear(p, a.who.id, SG_SAID_OPENING, &byte, 1, &bytes, kLimit),
                     SG_ERR_INTERRUPTED);
    assert_true(sg_now() - begun < 5.0);
    sg_peers_close(p);
    close_asker(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_is_there),
        cmocka_unit_test(test_no_way_there),
        cmocka_unit_test(test_hang_up),
        cmocka_unit_test(test_no_files_left),
        cmocka_unit_test(test_all_name_the_same),
        cmocka_unit_test(test_silent_ones_are_let_go),
        cmocka_unit_test(test_silent_together),
        cmocka_unit_test(test_calls_wait_for_files),
        cmocka_unit_test(test_hearing_can_be_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
