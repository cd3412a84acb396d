/* The transport between GPUs, on a stand-in for NCCL that does what a test asks for: what is sent
 * arrives; whatever fails, fails in time and costs nothing but the epoch; each communicator is
 * released once, and nothing is called that NCCL forbids. Members are threads, each with its own
 * GPU. NCCL itself: test_nccl.c. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/threads.h"
#include "nccl_stand_in.h"
#include "transport_fixture.h"

enum { kPieces = 4, kMost = 2 * kPieces * FIXTURE_MEMBERS, kBytes = 5000 };

/* Seconds: never waited for; what a failure may take beyond its deadline, or after an abort. Of a
 * machine that does other things at the same time. */
static const double kLong = 30.0, kDeadline = 0.25, kSoon = 1.5;

static _Thread_local int own_gpu;
static atomic_bool stopped;

static bool is_stopped(void *context) {
    (void)context;
    return atomic_load(&stopped);
}

static sg_status create(const sg_transport_options *options, sg_transport **out) {
    sg_transport_options o = *options;

    o.gpu = own_gpu;
    o.nccl = &stand_in_nccl;
    o.introduction.stop = is_stopped;
    return sg_transport_nccl_create(&o, out);
}

static const fixture_kind kKind = {"nccl", create};

/* What a test asks of its members. */
typedef struct {
    int size, rounds;
    double connect_s, exchange_s; /* deadlines */
    unsigned present;             /* members (bits) that connect; 0: all */
    int epochs;                   /* 0: one */
    int aborting;                 /* the member who aborts, + 1 */
    bool early;                   /* before the exchange, not during it */
} plan;

/* --- messages --------------------------------------------------------------------------------- */

/* How many bytes piece `i` from a to b has, in a round; the same for both. */
static size_t piece_bytes(int a, int b, int i, int round) {
    unsigned mixed =
        ((unsigned)a * 131 + (unsigned)b * 31 + (unsigned)i * 7 + (unsigned)round) * 2654435761u;

    return mixed >> 28 == 0 ? 0 : (mixed >> 16) % kBytes;
}

static uint8_t piece_byte(int a, int b, int i, int round, size_t at) {
    return (uint8_t)((size_t)a * 89 + (size_t)b * 57 + (size_t)i * 23 + (size_t)round * 3 + at * 7 +
                     at / 256);
}

/* Each to each other, in an order of its own; blocks are the caller's (sg_free). */
static int list(int rank, int size, int round, sg_transfer message[kMost]) {
    int n = 0;

    for (int k = 0; k < size; k++)
        for (int i = 0; i < 2 * kPieces; i++) {
            int peer = (rank * 3 + k + round) % size;
            bool in = (i + rank) % 2 == 0;
            size_t bytes =
                in ? piece_bytes(peer, rank, i / 2, round) : piece_bytes(rank, peer, i / 2, round);
            uint8_t *data;

            if (peer == rank) continue;
            data = sg_malloc(bytes);
            assert_non_null(data);
            for (size_t at = 0; at < bytes; at++)
                data[at] = in ? 0xAA : piece_byte(rank, peer, i / 2, round, at);
            message[n++] = (sg_transfer){peer, in, data, bytes};
        }
    return n;
}

static bool is_right(const sg_transfer *m, int rank, int i, int round) {
    const uint8_t *data = m->data;

    for (size_t at = 0; m->receive && at < m->bytes; at++)
        if (data[at] != piece_byte(m->peer, rank, i, round, at)) return false;
    return true;
}

/* What was allocated is freed at once: a GPU that still writes to it is seen by ASan. */
static sg_status exchange_round(sg_transport *t, int rank, int size, int round, double seconds) {
    sg_transfer message[kMost] = {{0}};
    int n = list(rank, size, round, message), of[FIXTURE_MEMBERS] = {0};
    sg_status st = sg_transport_exchange(t, message, n, seconds);

    for (int i = 0; i < n; i++) {
        if (message[i].receive && st == SG_OK &&
            !is_right(&message[i], rank, of[message[i].peer]++, round))
            st = sg_fail(SG_ERR_DATA, "round %d: message %d of member %d is not what was sent",
                         round, i, rank);
        sg_free(message[i].data);
    }
    return st;
}

/* --- members ---------------------------------------------------------------------------------- */

typedef struct {
    fixture_board *board;
    sg_transport *transport;
} aborter;

static void *abort_soon(void *context) {
    aborter *a = context;

    fixture_pause(0.05);
    atomic_store(&a->board->at, sg_now());
    sg_transport_abort(a->transport);
    sg_transport_abort(a->transport);
    return NULL;
}

static sg_status work(fixture_member *m, const plan *p, sg_transport *t) {
    bool aborting = p->aborting == m->rank + 1;
    aborter a = {m->board, t};
    pthread_t thread;
    sg_status st = SG_OK;
    char text[256];

    if (aborting && p->early) {
        atomic_store(&m->board->at, sg_now());
        sg_transport_abort(t);
    } else if (aborting) {
        pthread_create(&thread, NULL, abort_soon, &a);
    }
    for (int i = 0; i < p->rounds && st == SG_OK; i++)
        st = exchange_round(t, m->rank, m->size, i, p->exchange_s);
    m->board->ended[m->rank] = sg_now();
    if (aborting && !p->early) pthread_join(thread, NULL);
    if (st == SG_OK) return SG_OK;
    snprintf(text, sizeof text, "%s", sg_last_error());
    /* nothing comes of it any more */
    if (sg_transport_exchange(t, NULL, 0, kLong) == SG_OK)
        return sg_fail(SG_ERR_DATA, "an exchange after a failure succeeds");
    return sg_fail(st, "%s", text);
}

static sg_status act(fixture_member *m, void *context) {
    const plan *p = context;
    sg_transport *t;
    char text[256];
    sg_status st;

    own_gpu = m->rank;
    if (p->present && !(p->present >> m->rank & 1)) return SG_OK;
    st = fixture_connect(m, 0, 0, p->connect_s, &t);
    if (st != SG_OK) return st;
    st = work(m, p, t);
    snprintf(text, sizeof text, "%s", sg_last_error());
    sg_transport_destroy(t);
    return st == SG_OK ? SG_OK : sg_fail(st, "%s", text);
}

static void settle_account(void) {
    stand_in_account now = stand_in_count();

    if (now.breaches > 0) fail_msg("%d breaches, the first: %s", now.breaches, now.breach);
    assert_int_equal(now.made, now.aborted + now.destroyed);
    assert_int_equal(now.queues, 0);
}

/* From the start, or an abort, to the end of each member's last exchange. */
static void play(fixture_group *g, plan *p, double from[FIXTURE_MEMBERS]) {
    double start = sg_now();

    if (p->connect_s == 0.0) p->connect_s = kLong;
    if (p->exchange_s == 0.0) p->exchange_s = kLong;
    fixture_start(g, &kKind, p->size, 1, act, p);
    fixture_join(g, 60.0, 0);
    for (int k = 0; k < p->size; k++)
        from[k] = g->board->ended[k] - (p->aborting ? g->board->at : start);
}

static void expect(const fixture_group *g, int member, sg_status st, const char *text) {
    if (g->board->status[member] != (int)st || !strstr(g->board->text[member], text))
        fail_msg("member %d: %s (%s), not %s (%s)", member,
                 sg_status_text((sg_status)g->board->status[member]), g->board->text[member],
                 sg_status_text(st), text);
}

static void expect_within(double seconds, double least, double most) {
    if (!(seconds >= least && seconds <= most))
        fail_msg("took %.3f s, not %.3f to %.3f", seconds, least, most);
}

/* --- what arrives ----------------------------------------------------------------------------- */

static void test_data_arrives(void **state) {
    static const int sizes[] = {2, 3, 5, 8};
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    for (int i = 0; i < 4; i++) {
        plan p = {.size = sizes[i], .rounds = 20};

        stand_in_reset(true);
        stand_in_of(1)->init_s = 0.03;
        stand_in_of(0)->launch_s = 0.002;
        play(&g, &p, from);
        for (int k = 0; k < p.size; k++) expect(&g, k, SG_OK, "");
        settle_account();
        assert_int_equal(stand_in_count().destroyed, p.size); /* none aborted */
    }
}

/* A queue is empty also before anything was put on it, which may be as one asks. */
static void test_launched_late(void **state) {
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    for (int i = 0; i < 4; i++) {
        plan p = {.size = 3, .rounds = 3};

        stand_in_reset(true);
        for (int k = 0; k < 3; k++) {
            stand_in_of(k)->launch_s = 0.02 * (k + 1);
            stand_in_of(k)->launch_asks = k < i ? k + i : 0;
        }
        play(&g, &p, from);
        for (int k = 0; k < 3; k++) expect(&g, k, SG_OK, "");
        settle_account();
    }
}

static sg_status send_wrong(fixture_member *m, void *context) {
    char byte = 0;
    sg_transfer own = {m->rank, false, &byte, 1}, nobody = {m->size, true, &byte, 1},
                nothing = {1 - m->rank, true, NULL, 1};
    sg_transport *t;
    sg_status st;

    (void)context;
    own_gpu = m->rank;
    SG_TRY(fixture_connect(m, 0, 0, kLong, &t));
    if (sg_transport_exchange(t, &own, 1, kLong) != SG_ERR_ARG ||
        sg_transport_exchange(t, &nobody, 1, kLong) != SG_ERR_ARG ||
        sg_transport_exchange(t, &nothing, 1, kLong) != SG_ERR_ARG)
        return sg_fail(SG_ERR_DATA, "taken for right");
    st = sg_transport_exchange(t, NULL, 0, kLong);
    if (st == SG_OK) st = exchange_round(t, m->rank, m->size, 1, kLong);
    sg_transport_destroy(t);
    return st;
}

static void test_wrong_messages(void **state) {
    fixture_group g;

    (void)state;
    stand_in_reset(true);
    fixture_start(&g, &kKind, 2, 1, send_wrong, NULL);
    fixture_join(&g, 60.0, 0);
    for (int k = 0; k < 2; k++) expect(&g, k, SG_OK, "");
    settle_account();
}

/* --- connecting ------------------------------------------------------------------------------- */

static void test_init_never(void **state) {
    plan p = {.size = 3, .rounds = 1, .connect_s = kDeadline, .exchange_s = kDeadline};
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    stand_in_reset(false);
    for (int k = 0; k < 3; k++) stand_in_of(k)->init_never = true;
    play(&g, &p, from);
    for (int k = 0; k < 3; k++) {
        expect(&g, k, SG_ERR_UNAVAILABLE, "in time");
        expect_within(from[k], kDeadline, kDeadline + kSoon);
    }
    settle_account();
    assert_int_equal(stand_in_count().aborted, 3);
}

/* One has introduced itself, and dies before it comes; another has not even done that. */
static void test_absent(void **state) {
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    for (int silent = 0; silent < 2; silent++) {
        plan p = {.size = 3, .rounds = 1, .connect_s = kDeadline};

        stand_in_reset(true);
        if (silent)
            p.present = 1 | 4;
        else
            stand_in_of(1)->init_result = SG_NCCL_ERR_SYSTEM;
        play(&g, &p, from);
        for (int k = 0; k < 3; k += 2) {
            expect(&g, k, SG_ERR_UNAVAILABLE, "");
            expect_within(from[k], kDeadline - 0.01, kDeadline + kSoon);
        }
        if (!silent) expect(&g, 1, SG_ERR_UNAVAILABLE, "system error");
        settle_account();
        assert_int_equal(stand_in_count().made, silent ? 0 : 2);
    }
}

static void *stop_soon(void *context) {
    (void)context;
    fixture_pause(0.1);
    atomic_store(&stopped, true);
    return NULL;
}

static void test_stopped(void **state) {
    plan p = {.size = 2, .rounds = 1};
    double from[FIXTURE_MEMBERS];
    pthread_t thread;
    fixture_group g;

    (void)state;
    stand_in_reset(false);
    stand_in_of(0)->init_never = stand_in_of(1)->init_never = true;
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    play(&g, &p, from);
    pthread_join(thread, NULL);
    atomic_store(&stopped, false);
    for (int k = 0; k < 2; k++) {
        expect(&g, k, SG_ERR_UNAVAILABLE, "stopped");
        expect_within(from[k], 0.1, 0.1 + kSoon);
    }
    settle_account();
}

static void test_init_errors(void **state) {
    static const struct {
        int error;
        sg_status st;
    } cases[] = {{SG_NCCL_ERR_CUDA, SG_ERR_CUDA},
                 {SG_NCCL_ERR_SYSTEM, SG_ERR_UNAVAILABLE},
                 {SG_NCCL_ERR_INTERNAL, SG_ERR_UNAVAILABLE},
                 {SG_NCCL_ERR_ARGUMENT, SG_ERR_UNSUPPORTED},
                 {SG_NCCL_ERR_USAGE, SG_ERR_UNSUPPORTED},
                 {SG_NCCL_ERR_REMOTE, SG_ERR_UNAVAILABLE}};
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    for (int i = 0; i < 12; i++) {
        plan p = {.size = 2, .rounds = 1, .connect_s = kDeadline, .exchange_s = kDeadline};

        stand_in_reset(false);
        if (i < 6)
            stand_in_of(0)->init_error = cases[i].error;
        else
            stand_in_of(0)->init_result = cases[i - 6].error;
        play(&g, &p, from);
        expect(&g, 0, cases[i % 6].st, stand_in_nccl.text(cases[i % 6].error));
        expect_within(from[0], 0.0, kSoon);
        settle_account();
    }
}

/* What members tell each other before NCCL hears of it: all come to the same verdict. */
static void test_refused(void **state) {
    static const struct {
        sg_status st;
        const char *text;
    } cases[] = {{SG_ERR_UNSUPPORTED, "members 0 and 2 are on the same GPU"},
                 {SG_ERR_UNSUPPORTED, "member 2 has NCCL 22703, member 0 has 22809"},
                 {SG_ERR_UNAVAILABLE, ""}};
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    for (int i = 0; i < 3; i++) {
        plan p = {.size = 3, .rounds = 1};

        stand_in_reset(true);
        stand_in_of(2)->twin = i == 0;
        stand_in_of(2)->version = i == 1 ? 22703 : 0;
        stand_in_of(0)->no_id = i == 2;
        play(&g, &p, from);
        for (int k = 0; k < 3; k++) expect(&g, k, cases[i].st, cases[i].text);
        if (i == 2) expect(&g, 0, cases[i].st, "system error");
        if (i == 2) expect(&g, 1, cases[i].st, "member 0 has no id");
        settle_account();
        assert_int_equal(stand_in_count().made, 0);
    }
}

/* --- failures of an exchange ------------------------------------------------------------------ */

/* One has an error. The others hear of it over a network at once, else they wait till the end. */
static void test_async_error(void **state) {
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    for (int told = 0; told < 2; told++) {
        plan p = {.size = 3, .rounds = 5, .exchange_s = kDeadline};

        stand_in_reset(told);
        *stand_in_of(1) =
            (stand_in_faults){.error_in = 3, .error = SG_NCCL_ERR_REMOTE, .error_s = 0.0};
        play(&g, &p, from);
        expect(&g, 1, SG_ERR_UNAVAILABLE, "remote error");
        expect_within(from[1], 0.0, kSoon);
        for (int k = 0; k < 3; k += 2) {
            expect(&g, k, SG_ERR_UNAVAILABLE, told ? "remote error" : "in time");
            expect_within(from[k], told ? 0.0 : kDeadline, (told ? 0.0 : kDeadline) + kSoon);
        }
        settle_account();
        assert_int_equal(stand_in_count().aborted, 3);
    }
}

/* An error that comes as the queue runs empty: what was received is rubbish. */
static void test_error_empties_the_queue(void **state) {
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    for (int i = 1; i < 20; i++) {
        plan p = {.size = 2, .rounds = 1, .exchange_s = kDeadline};

        stand_in_reset(true);
        stand_in_of(1)->launch_s = kLong; /* so that nothing is done before the error */
        *stand_in_of(0) =
            (stand_in_faults){.error_in = 1, .error = SG_NCCL_ERR_REMOTE, .error_asks = i};
        play(&g, &p, from);
        for (int k = 0; k < 2; k++) expect(&g, k, SG_ERR_UNAVAILABLE, "remote error");
        settle_account();
    }
}

static void test_cuda_error(void **state) {
    plan p = {.size = 2, .rounds = 3, .exchange_s = kDeadline};
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    stand_in_reset(true);
    stand_in_of(0)->queue_error_in = 2;
    play(&g, &p, from);
    expect(&g, 0, SG_ERR_CUDA, "illegal memory access");
    settle_account();
}

static void test_aborted(void **state) {
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    for (int early = 0; early < 2; early++)
        for (int told = 0; told < 2; told++) {
            plan p = {.size = 3, .rounds = 1, .exchange_s = 1.0, .aborting = 2, .early = early};

            stand_in_reset(told);
            stand_in_of(0)->launch_s = kLong; /* nobody comes to an end */
            stand_in_of(1)->slow_s = 0.002;   /* the abort comes during a call, and waits */
            play(&g, &p, from);
            expect(&g, 1, SG_ERR_UNAVAILABLE, "aborted");
            expect_within(from[1], 0.0, kSoon);
            expect(&g, 2, SG_ERR_UNAVAILABLE, told ? "remote error" : "in time");
            if (told) expect_within(from[2], 0.0, kSoon);
            settle_account();
            assert_int_equal(stand_in_count().aborted, 3);
        }
}

/* A call that should not block does, until it is aborted: at the deadline, or by somebody. */
static void test_stuck(void **state) {
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    for (int aborted = 0; aborted < 2; aborted++) {
        plan p = {.size = 2,
                  .rounds = 3,
                  .exchange_s = aborted ? 2.0 : kDeadline,
                  .aborting = aborted ? 1 : 0};

        stand_in_reset(true);
        stand_in_of(0)->stuck_in = 2;
        play(&g, &p, from);
        expect(&g, 0, SG_ERR_UNAVAILABLE, aborted ? "" : "in time");
        expect_within(from[0], aborted ? 0.3 : kDeadline,
                      (aborted ? 0.0 : kDeadline) + 0.75 + kSoon);
        expect(&g, 1, SG_ERR_UNAVAILABLE, "");
        settle_account();
    }
}

/* The GPU writes until the abort is done, so the exchange does not return before. */
static void test_slow_abort(void **state) {
    plan p = {.size = 2, .rounds = 1, .exchange_s = kLong, .aborting = 1};
    double from[FIXTURE_MEMBERS];
    fixture_group g;

    (void)state;
    stand_in_reset(false);
    stand_in_of(0)->abort_s = 0.4;
    *stand_in_of(1) = (stand_in_faults){
        .launch_s = 0.2, .error_in = 1, .error = SG_NCCL_ERR_REMOTE, .abort_s = 0.4};
    play(&g, &p, from);
    expect(&g, 0, SG_ERR_UNAVAILABLE, "aborted");
    expect_within(from[0], 0.4, 0.4 + kSoon);
    expect(&g, 1, SG_ERR_UNAVAILABLE, "");
    settle_account();
}

static void await_account(int made) {
    double end = sg_now() + 10.0;
    stand_in_account now = stand_in_count();

    while (now.aborted + now.destroyed < made || now.queues > 0) {
        assert_true(sg_now() < end);
        fixture_pause(0.001);
        now = stand_in_count();
    }
    fixture_pause(0.05); /* for the wardens, who free what is left */
}

/* A process whose GPU may be written to for ever is not to go on. */
static void test_endless_abort(void **state) {
    plan p = {.size = 2, .rounds = 1, .exchange_s = kDeadline};
    double from[FIXTURE_MEMBERS];
    fixture_group g;
    long live = sg_mem_live();

    (void)state;
    stand_in_reset(true);
    /* nothing was to be received there, as it is freed here */
    stand_in_of(0)->init_never = stand_in_of(1)->init_never = true;
    stand_in_of(0)->abort_never = true;
    p.connect_s = kDeadline;
    play(&g, &p, from);
    expect(&g, 0, SG_ERR_CUDA, "must be started again");
    expect(&g, 1, SG_ERR_UNAVAILABLE, "");
    stand_in_let_go();
    await_account(2);
    settle_account();
    assert_int_equal(sg_mem_live(), live);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void test_end(void **state) {
    double from[FIXTURE_MEMBERS];
    fixture_group g;
    long live = sg_mem_live();

    (void)state;
    for (int i = 0; i < 2; i++) {
        plan p = {.size = 2, .rounds = 2};
        double start = sg_now();

        stand_in_reset(true);
        stand_in_of(0)->finalize_never = i == 0;
        stand_in_of(0)->destroy_never = i == 1;
        play(&g, &p, from);
        expect_within(sg_now() - start, 0.5, i == 0 ? 3.0 : 4.5);
        for (int k = 0; k < 2; k++) expect(&g, k, SG_OK, "");
        stand_in_let_go();
        await_account(2);
        settle_account();
        assert_int_equal(stand_in_count().aborted, i == 0 ? 1 : 0);
        assert_int_equal(sg_mem_live(), live);
    }
}

/* Three, of whom one is lost; the two others; and all again. */
static sg_status live_on(fixture_member *m, void *context) {
    static const unsigned members[] = {7, 5, 7};
    sg_status st;

    (void)context;
    own_gpu = m->rank;
    for (int e = 0; e < 3; e++) {
        int rank = e == 1 && m->rank == 2 ? 1 : m->rank, size = e == 1 ? 2 : 3;
        sg_transport *t;

        if (!(members[e] >> m->rank & 1)) continue;
        SG_TRY(fixture_connect(m, e, members[e], kLong, &t));
        st = SG_OK;
        for (int i = 0; i < 5 && st == SG_OK; i++) st = exchange_round(t, rank, size, i, kLong);
        sg_transport_destroy(t);
        if (st != (e == 0 ? SG_ERR_UNAVAILABLE : SG_OK))
            return sg_fail(SG_ERR_DATA, "epoch %d: %s", e, sg_last_error());
    }
    return SG_OK;
}

static void test_epochs(void **state) {
    fixture_group g;

    (void)state;
    stand_in_reset(true);
    *stand_in_of(1) = (stand_in_faults){.only = 1, .error_in = 3, .error = SG_NCCL_ERR_REMOTE};
    fixture_start(&g, &kKind, 3, 1, live_on, NULL);
    fixture_join(&g, 60.0, 0);
    for (int k = 0; k < 3; k++) expect(&g, k, SG_OK, "");
    settle_account();
    assert_int_equal(stand_in_count().made, 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_data_arrives),   cmocka_unit_test(test_launched_late),
        cmocka_unit_test(test_wrong_messages), cmocka_unit_test(test_init_never),
        cmocka_unit_test(test_absent),         cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_init_errors),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_async_error),    cmocka_unit_test(test_error_empties_the_queue),
        cmocka_unit_test(test_cuda_error),     cmocka_unit_test(test_aborted),
        cmocka_unit_test(test_stuck),          cmocka_unit_test(test_slow_abort),
        cmocka_unit_test(test_endless_abort),  cmocka_unit_test(test_end),
        cmocka_unit_test(test_epochs),
    };

    alarm(120); /* a thread that hangs cannot be ended otherwise */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
