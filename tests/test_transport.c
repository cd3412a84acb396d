/* Transports: what is sent arrives, whatever the order and the size; and a member that is killed,
 * stopped, late, mad or of another epoch costs the others no more than their deadline. Each test
 * runs for both kinds. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/threads.h"
#include "dist/shm_area.h"
#include "open_files.h"
#include "transport_fixture.h"

enum {
    kMost = 64,         /* messages of a round */
    kLargest = 3 << 20, /* bytes */
    kLong = 30,         /* seconds: never waited for when all is well */
};

/* A small generator: splitmix64. */
static uint64_t next(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

typedef struct {
    int from, to;
    size_t bytes;
    uint64_t seed; /* of its bytes */
} planned;

/* The same plan for all members. */
static int plan_round(planned plan[kMost], int size, uint64_t seed) {
    uint64_t state = seed * 1000003;
    int n = (int)(next(&state) % kMost) + 1;

    for (int i = 0; i < n; i++) {
        planned *p = &plan[i];

        p->from = (int)(next(&state) % (uint64_t)size);
        p->to = (int)((uint64_t)p->from + 1 + next(&state) % (uint64_t)(size - 1)) % size;
        switch (next(&state) % 8) {
        case 0:
            p->bytes = 0;
            break;
        case 1:
            p->bytes = 64 * (next(&state) % 5);
            break; /* whole lines */
        case 2:
            p->bytes = sg_shm_ring_bytes(size) - 64 * (next(&state) % 3);
            break;
        case 3:
            p->bytes = next(&state) % (kLargest + 1);
            break;
        default:
            p->bytes = next(&state) % 5000;
            break;
        }
        p->seed = next(&state);
    }
    return n;
}

static void fill(uint8_t *data, size_t bytes, uint64_t seed) {
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = next(&seed);

        memcpy(data + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
}

static bool is_filled(const uint8_t *data, size_t bytes, uint64_t seed) {
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = next(&seed);

        if (memcmp(data + i, &word, bytes - i < 8 ? bytes - i : 8) != 0) return false;
    }
    return true;
}

/* This member's part, in an order of its own that keeps that of each pair and direction. */
static int own_part(const planned plan[], int n, int rank, uint64_t seed, sg_transfer message[],
                    int which[]) {
    bool used[kMost] = {false};
    int own = 0;

    for (;;) {
        int left[kMost], n_left = 0, i;

        for (int k = 0; k < n; k++) {
            bool first = !used[k] && (plan[k].from == rank || plan[k].to == rank);

            for (int j = 0; j < k && first; j++)
                first = used[j] || plan[j].from != plan[k].from || plan[j].to != plan[k].to;
            if (first) left[n_left++] = k;
        }
        if (n_left == 0) return own;
        i = left[next(&seed) % (uint64_t)n_left];
        used[i] = true;
        which[own] = i;
        message[own] = (sg_transfer){.receive = plan[i].to == rank, .bytes = plan[i].bytes};
        message[own].peer = message[own].receive ? plan[i].from : plan[i].to;
        own++;
    }
}

static sg_status exchange_round(sg_transport *t, int rank, int size, uint64_t seed) {
    planned plan[kMost];
    sg_transfer message[kMost];
    int which[kMost], n = plan_round(plan, size, seed);
    int own = own_part(plan, n, rank, seed * 31 + (uint64_t)rank, message, which);
    sg_status st;

    for (int i = 0; i < own; i++) {
        message[i].data = sg_malloc(message[i].bytes);
        if (!message[i].data) return sg_fail(SG_ERR_OOM, "no memory");
        if (message[i].receive)
            memset(message[i].data, 0xAA, message[i].bytes);
        else
            fill(message[i].data, message[i].bytes, plan[which[i]].seed);
    }
    st = sg_transport_exchange(t, message, own, kLong);
    for (int i = 0; i < own; i++) {
        if (st == SG_OK && !is_filled(message[i].data, message[i].bytes, plan[which[i]].seed))
            st = sg_fail(SG_ERR_DATA, "round %d: message %d of %zu bytes %s is not what was sent",
                         (int)seed, i, message[i].bytes, message[i].receive ? "here" : "there");
        sg_free(message[i].data);
    }
    return st;
}

typedef struct {
    int rounds, epoch;
    unsigned ranks; /* 0: all */
} rounds;

static sg_status exchange_rounds(fixture_member *m, void *context) {
    const rounds *r = context;
    int rank = 0, size = 0;
    sg_transport *t;
    sg_status st = SG_OK;

    for (int k = 0; k < m->size; k++) {
        if (r->ranks && !(r->ranks >> k & 1)) continue;
        if (k == m->rank) rank = size;
        size++;
    }
    SG_TRY(fixture_connect(m, r->epoch, r->ranks, kLong, &t));
    for (int i = 0; i < r->rounds && st == SG_OK; i++)
        st = exchange_round(t, rank, size, (uint64_t)i + 1);
    sg_transport_destroy(t);
    return st;
}

static void expect_all(const fixture_group *g, unsigned members, sg_status st) {
    for (int k = 0; k < g->size; k++)
        if ((members >> k & 1) && g->board->status[k] != (int)st)
            fail_msg("%s, %d members: member %d: %s (%s), not %s", g->kind->name, g->size, k,
                     sg_status_text(g->board->status[k]), g->board->text[k], sg_status_text(st));
}

static void arrive(const fixture_kind *kind, int threads) {
    static const int sizes[] = {2, 3, 5, 8};
    fixture_group g;

    for (int i = 0; i < 4; i++) {
        rounds r = {.rounds = 24 / sizes[i]};

        fixture_start(&g, kind, sizes[i], threads, exchange_rounds, &r);
        fixture_join(&g, 60.0, 0);
        expect_all(&g, ~0u, SG_OK);
    }
}

static void data_arrives(const fixture_kind *kind) { arrive(kind, 0); }
static void data_arrives_in_threads(const fixture_kind *kind) { arrive(kind, 1); }

/* All to all, 2 MB each, again and again, until it fails. */
static sg_status exchange_until_failure(fixture_member *m, sg_transport *t, int size,
                                        double seconds) {
    enum { kBytes = 2 << 20 };
    uint8_t *out = sg_calloc(1, kBytes), *in = sg_calloc((size_t)size, kBytes);
    sg_transfer message[2 * FIXTURE_MEMBERS];
    sg_status st = out && in ? SG_OK : SG_ERR_OOM;
    int n = 0, rank = m->rank;

    for (int k = 0; k < size; k++) {
        if (k == rank) continue;
        message[n++] = (sg_transfer){k, true, in + (size_t)k * kBytes, kBytes};
        message[n++] = (sg_transfer){k, false, out, kBytes};
    }
    for (bool first = true; st == SG_OK; first = false) {
        st = sg_transport_exchange(t, message, n, seconds);
        if (first && st == SG_OK) atomic_fetch_add(&m->board->arrived[0], 1);
    }
    m->board->ended[m->rank] = sg_now();
    sg_free(out);
    sg_free(in);
    return st;
}

static sg_status exchange_for_ever(fixture_member *m, void *context) {
    const double *seconds = context;
    sg_transport *t;
    sg_status st;

    SG_TRY(fixture_connect(m, 0, 0, kLong, &t));
    st = exchange_until_failure(m, t, m->size, *seconds);
    sg_transport_destroy(t);
    return st;
}

static void check_ended(const fixture_group *g, unsigned members, double least, double most) {
    for (int k = 0; k < g->size; k++) {
        double after = g->board->ended[k] - g->board->at;

        if ((members >> k & 1) && !(after >= least && after <= most))
            fail_msg("%s: member %d ended after %.3f s (%s), not %.3f to %.3f", g->kind->name, k,
                     after, g->board->text[k], least, most);
    }
}

/* The deadline is 30 s: who hears of it ends at once. */
static void killed_members_are_noticed(const fixture_kind *kind) {
    for (int round = 0; round < 6; round++) {
        double seconds = kLong;
        int size = 2 + round % 3, victim = round % size;
        fixture_group g;

        fixture_start(&g, kind, size, 0, exchange_for_ever, &seconds);
        fixture_await(&g.board->arrived[0], size);
        fixture_pause(0.001 * (double)(round * 3));
        g.board->at = sg_now();
        kill(g.pid[victim], SIGKILL);
        fixture_join(&g, 20.0, 1u << victim);
        expect_all(&g, ~(1u << victim), SG_ERR_UNAVAILABLE);
        check_ended(&g, ~(1u << victim), 0.0, 2.0);
    }
}

/* Member 1 is stopped; the others fail after their deadline, go on in the next epoch without it,
 * and are not disturbed when it wakes up. */
static sg_status outlive(fixture_member *m, void *context) {
    rounds next_epoch = {.rounds = 8, .epoch = 1, .ranks = 5};
    const double *seconds = context;
    sg_transport *t;
    sg_status st;

    SG_TRY(fixture_connect(m, 0, 0, kLong, &t));
    st = exchange_until_failure(m, t, m->size, *seconds);
    sg_transport_destroy(t);
    if (m->rank == 1) return st; /* as it should */
    if (st != SG_ERR_UNAVAILABLE) return SG_ERR_DATA;
    atomic_fetch_add(&m->board->arrived[1], 1);
    return exchange_rounds(m, &next_epoch);
}

static void stopped_members_are_left_behind(const fixture_kind *kind) {
    double seconds = 1.0;
    fixture_group g;

    fixture_start(&g, kind, 3, 0, outlive, &seconds);
    fixture_await(&g.board->arrived[0], 3);
    g.board->at = sg_now();
    kill(g.pid[1], SIGSTOP);
    fixture_await(&g.board->arrived[1], 2);
    kill(g.pid[1], SIGCONT);
    fixture_join(&g, 30.0, 0);
    expect_all(&g, 5, SG_OK);
    expect_all(&g, 2, SG_ERR_UNAVAILABLE);
    check_ended(&g, 5, 0.1, 3.0); /* the deadline of one exchange of several */
}

/* Member 1 comes when the others are in the next epoch already. */
static sg_status be_late(fixture_member *m, void *context) {
    rounds next_epoch = {.rounds = 8, .epoch = 1, .ranks = 5};
    sg_transport *t;
    sg_status st;
    double begun;

    (void)context;
    if (m->rank == 1) {
        fixture_await(&m->board->go, 1);
        st = fixture_connect(m, 0, 0, 1.0, &t);
        if (st == SG_OK) sg_transport_destroy(t);
        return st == SG_ERR_UNAVAILABLE ? SG_OK : SG_ERR_DATA;
    }
    begun = sg_now();
    st = fixture_connect(m, 0, 0, 0.5, &t);
    if (st == SG_OK) sg_transport_destroy(t);
    begun = sg_now() - begun;
    if (st != SG_ERR_UNAVAILABLE || !(begun >= 0.4 && begun < 2.0))
        return sg_fail(SG_ERR_DATA, "ended with %s after %.3f s", sg_status_text(st), begun);
    atomic_fetch_add(&m->board->go, m->rank == 2); /* now it comes, in the wrong epoch */
    return exchange_rounds(m, &next_epoch);
}

static void late_members_are_not_waited_for(const fixture_kind *kind) {
    fixture_group g;

    fixture_start(&g, kind, 3, 0, be_late, NULL);
    fixture_join(&g, 30.0, 0);
    expect_all(&g, 7, SG_OK);
}

typedef struct {
    fixture_member *member;
    sg_transport *transport;
} aborter;

static void *abort_soon(void *context) {
    aborter *a = context;

    fixture_await(&a->member->board->arrived[0], a->member->size);
    fixture_pause(0.05);
    a->member->board->at = sg_now();
    for (int i = 0; i < 3; i++) sg_transport_abort(a->transport);
    return NULL;
}

/* Member 0's other thread aborts its exchange; all end, though nobody else is told. Odd members
 * wait for data that nobody sends, so that they sleep. */
static sg_status be_aborted(fixture_member *m, void *context) {
    pthread_t thread;
    aborter a = {.member = m};
    sg_status st;
    sg_transfer none;
    uint8_t byte;

    (void)context;
    SG_TRY(fixture_connect(m, 0, 0, kLong, &a.transport));
    if (m->rank == 0 && pthread_create(&thread, NULL, abort_soon, &a) != 0) return SG_ERR_OOM;
    atomic_fetch_add(&m->board->arrived[0], 1);
    none = (sg_transfer){(m->rank + 1) % m->size, true, &byte, 1};
    st = sg_transport_exchange(a.transport, &none, 1, kLong);
    m->board->ended[m->rank] = sg_now();
    if (m->rank == 0) pthread_join(thread, NULL);
    if (st == SG_ERR_UNAVAILABLE)
        st = sg_transport_exchange(a.transport, &none, 1, kLong); /* good for nothing */
    sg_transport_destroy(a.transport);
    return st;
}

static void aborts_wake(const fixture_kind *kind, int threads) {
    for (int size = 2; size <= 4; size++) {
        fixture_group g;

        fixture_start(&g, kind, size, threads, be_aborted, NULL);
        fixture_join(&g, 20.0, 0);
        expect_all(&g, ~0u, SG_ERR_UNAVAILABLE);
        check_ended(&g, ~0u, 0.0, 1.0);
    }
}

static void aborts_wake_at_once(const fixture_kind *kind) { aborts_wake(kind, 0); }
static void aborts_wake_at_once_in_threads(const fixture_kind *kind) { aborts_wake(kind, 1); }

/* Wrong arguments harm nothing; unequal sizes fail, and touch nothing outside the block. */
static sg_status misuse(fixture_member *m, void *context) {
    uint8_t block[300];
    sg_transfer bad[] = {{m->rank, true, block, 1},
                         {2, true, block, 1},
                         {-1, false, block, 1},
                         {1 - m->rank, false, NULL, 1}};
    sg_transfer good = {1 - m->rank, m->rank == 0, block, m->rank == 0 ? 200 : 250};
    sg_transport *t;
    sg_status st = SG_OK;

    (void)context;
    SG_TRY(fixture_connect(m, 0, 0, kLong, &t));
    for (int i = 0; i < 4; i++)
        if (sg_transport_exchange(t, &bad[i], 1, 1.0) != SG_ERR_ARG) st = SG_ERR_DATA;
    if (st == SG_OK) st = sg_transport_exchange(t, NULL, 0, 0.0);
    if (st == SG_OK) st = exchange_round(t, m->rank, 2, 7);
    memset(block, 0x55, sizeof block);
    if (st == SG_OK && m->rank == 0) {
        if (sg_transport_exchange(t, &good, 1, 0.3) != SG_ERR_UNAVAILABLE) st = SG_ERR_DATA;
        for (int i = 200; i < 300; i++)
            if (block[i] != 0x55) st = SG_ERR_DATA;
    } else if (st == SG_OK) {
        /* may have been sent, may not */
        sg_status sent = sg_transport_exchange(t, &good, 1, 0.3);

        if (sent != SG_OK && sent != SG_ERR_UNAVAILABLE) st = SG_ERR_DATA;
    }
    sg_transport_destroy(t);
    return st;
}

static void misuse_is_told(const fixture_kind *kind) {
    fixture_group g;
    sg_transport_options o = {.rank = 2, .size = 2, .interface = "127.0.0.1"};
    sg_transport *t;

    fixture_start(&g, kind, 2, 0, misuse, NULL);
    fixture_join(&g, 20.0, 0);
    expect_all(&g, ~0u, SG_OK);
    assert_int_equal(kind->create(&o, &t), SG_ERR_ARG);
    o.rank = 1;
    assert_int_equal(kind->create(&o, &t), SG_ERR_ARG);
    assert_non_null(strstr(sg_last_error(), "say and hear"));
}

/* What one sends and leaves behind is still received. */
static sg_status send_and_leave(fixture_member *m, void *context) {
    enum { kBytes = 100000 };
    uint8_t *data = sg_malloc(kBytes);
    sg_transfer message = {1 - m->rank, m->rank == 0, data, kBytes};
    sg_transport *t = NULL;
    sg_status st = data ? fixture_connect(m, 0, 0, kLong, &t) : SG_ERR_OOM;

    (void)context;
    if (st == SG_OK && m->rank == 1) fill(data, kBytes, 5);
    if (st == SG_OK && m->rank == 0) fixture_pause(m->group->kind->name[0] == 's' ? 0.1 : 0.0);
    if (st == SG_OK) st = sg_transport_exchange(t, &message, 1, kLong);
    if (st == SG_OK && !is_filled(data, kBytes, 5)) st = SG_ERR_DATA;
    sg_transport_destroy(t);
    sg_free(data);
    return st;
}

static void what_was_sent_stays(const fixture_kind *kind) {
    fixture_group g;

    fixture_start(&g, kind, 2, 0, send_and_leave, NULL);
    fixture_join(&g, 20.0, 0);
    expect_all(&g, ~0u, SG_OK);
}

/* Epoch after epoch leaves no file open, no thread, and no memory. */
static sg_status come_and_go(fixture_member *m, void *context) {
    int files = 0;

    (void)context;
    for (int epoch = 0; epoch < 4; epoch++) {
        rounds r = {.rounds = 1, .epoch = epoch};

        SG_TRY(exchange_rounds(m, &r));
        if (epoch > 0 && open_files() != files)
            return sg_fail(SG_ERR_DATA, "%d open files, before %d", open_files(), files);
        files = open_files();
    }
    return sg_mem_live() == 0 ? SG_OK : sg_fail(SG_ERR_DATA, "%ld blocks", sg_mem_live());
}

static void nothing_is_left(const fixture_kind *kind) {
    fixture_group g;

    fixture_start(&g, kind, 3, 0, come_and_go, NULL);
    fixture_join(&g, 20.0, 0);
    expect_all(&g, ~0u, SG_OK);
}

static bool always(void *context) { return context != NULL; }

static sg_status say_to_nobody(void *context, const void *data, size_t bytes) {
    (void)data;
    return context && bytes <= SG_INTRODUCTION_BYTES ? SG_OK : SG_ERR_IO;
}

static sg_status hear_echo(void *context, int rank, void *data, size_t capacity, size_t *bytes,
                           double seconds) {
    sg_shm_card *card = context;

    (void)rank;
    (void)seconds;
    assert_true(capacity >= sizeof *card);
    memcpy(data, card, sizeof *card);
    *bytes = sizeof *card;
    return SG_OK;
}

/* Gloo would end the process of one whose address it cannot resolve. */
static void only_addresses_are_taken(const fixture_kind *kind) {
    static const char *const bad[] = {NULL, "", "lo", "eth0", "localhost", "127.0.0.1:80", "1.2.3"};
    sg_transport_options o = {.rank = 0, .size = 2, .seconds = 0.1};
    sg_shm_card card = {{0, 0}, 0, 0, 0, 0, 0};
    sg_transport *t;

    o.introduction = (sg_introduction){&card, say_to_nobody, hear_echo, NULL};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        o.interface = bad[i];
        assert_int_equal(kind->create(&o, &t), SG_ERR_ARG);
        assert_non_null(strstr(sg_last_error(), bad[i] ? bad[i] : "NULL"));
    }
    o.interface = "192.0.2.1"; /* nobody's */
    assert_int_equal(kind->create(&o, &t), SG_ERR_UNAVAILABLE);
}

static sg_status hear_nobody(void *context, int rank, void *data, size_t capacity, size_t *bytes,
                             double seconds) {
    (void)data;
    (void)capacity;
    (void)bytes;
    (void)seconds;
    return sg_fail(SG_ERR_UNAVAILABLE, "member %d is not there%s", rank, context ? "" : "!");
}

/* What is said does not become too long. */
static void large_groups_are_introduced(const fixture_kind *kind) {
    sg_transport_options o = {.rank = 0, .size = 256, .interface = "127.0.0.1", .seconds = 5.0};
    sg_transport *t;

    o.introduction = (sg_introduction){&o, say_to_nobody, hear_nobody, NULL};
    assert_int_equal(kind->create(&o, &t), SG_ERR_UNAVAILABLE);
    assert_string_equal(sg_last_error(), "member 1 is not there");
}

/* What a member says that is not true, or not any more. */
static void false_cards(const fixture_kind *kind) {
    sg_shm_area area = SG_SHM_NONE, other = SG_SHM_NONE;
    sg_shm_card good, bad;
    sg_transport_options o = {.rank = 0, .size = 2, .epoch = 9, .seconds = 0.2};
    sg_transport *t;
    int pipe_ends[2];

    (void)kind;
    assert_int_equal(sg_shm_area_make(&area, 1, 2, 9, &good), SG_OK);
    assert_int_equal(pipe(pipe_ends), 0);
    o.introduction = (sg_introduction){&bad, say_to_nobody, hear_echo, NULL};
    for (int i = 0; i < 9; i++) {
        bad = good;
        switch (i) {
        case 0:
            bad.key[1] ^= 1;
            break;
        case 1:
            bad.epoch = 8;
            break;
        case 2:
            bad.rank = 0;
            break;
        case 3:
            bad.bytes *= 2;
            break;
        case 4:
            bad.fd = pipe_ends[0];
            break;
        case 5:
            bad.fd = 1 << 20;
            break;
        case 6:
            bad.pid = 1 << 30;
            break;
        case 7:
            bad.pid = 0;
            break;
        default:
            bad.fd = -1;
            break;
        }
        assert_int_equal(sg_transport_shm_create(&o, &t), SG_ERR_UNAVAILABLE);
        assert_non_null(strstr(sg_last_error(), "member 1"));
        assert_null(strstr(sg_last_error(), "has not found")); /* it was not believed */
    }
    /* the right one, but nobody there; and told to stop */
    bad = good;
    assert_int_equal(sg_transport_shm_create(&o, &t), SG_ERR_UNAVAILABLE);
    assert_non_null(strstr(sg_last_error(), "has not found all others within 0.2 s"));
    o.seconds = kLong;
    o.introduction.stop = always;
    assert_int_equal(sg_transport_shm_create(&o, &t), SG_ERR_UNAVAILABLE);
    assert_non_null(strstr(sg_last_error(), "aborted"));
    atomic_store(&area.notice->left, 1);
    o.introduction.stop = NULL;
    assert_int_equal(sg_transport_shm_create(&o, &t), SG_ERR_UNAVAILABLE);
    assert_non_null(strstr(sg_last_error(), "has left"));
    /* an area that is not sealed, so that it may shrink */
    sg_shm_area_clear(&area);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    bad.fd = memfd_create("not sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(bad.fd, (off_t)bad.bytes), 0);
    assert_int_equal(sg_shm_area_find(&other, &bad, 1, 2, 9), SG_ERR_UNAVAILABLE);
    assert_non_null(strstr(sg_last_error(), "something else"));
    sg_shm_area_clear(&other);
    close(bad.fd);
}

/* A peer that writes nonsense into its own memory. */
static void mad_peers(const fixture_kind *kind) {
    uint8_t block[4096];
    sg_transport *t;

    (void)kind;
    for (int i = 0; i < 6; i++) {
        sg_shm_area area = SG_SHM_NONE;
        sg_shm_card card;
        sg_transport_options o = {.rank = 0, .size = 2, .epoch = 9, .seconds = 5.0};
        sg_transfer m = {1, i != 2, block, sizeof block};
        uint64_t header[2] = {sizeof block, 0};

        assert_int_equal(sg_shm_area_make(&area, 1, 2, 9, &card), SG_OK);
        o.introduction = (sg_introduction){&card, say_to_nobody, hear_echo, NULL};
        atomic_store(&area.notice->ready, 1);
        assert_int_equal(sg_transport_shm_create(&o, &t), SG_OK);
        switch (i) {
        case 0:
            area.notice->line[0].written = sg_shm_ring_bytes(2) + 64;
            break;
        case 1:
            area.notice->line[0].written = 65;
            break;
        case 2:
            area.notice->line[0].taken = 64;
            break;
        case 3:
            header[0]++;
            break;
        case 4:
            header[1]++;
            break;
        default:
            break;
        }
        memcpy(sg_shm_ring(&area, 0), header, sizeof header);
        if (i >= 3) area.notice->line[0].written = 64 + sizeof block;
        if (i == 5) memset(sg_shm_ring(&area, 0) + 64, 0x77, sizeof block);
        assert_int_equal(sg_transport_exchange(t, &m, 1, 5.0), i == 5 ? SG_OK : SG_ERR_UNAVAILABLE);
        if (i == 5) assert_int_equal(block[sizeof block - 1], 0x77);
        /* it cannot reach into ours, nor we into its */
        sg_transport_destroy(t);
        sg_shm_area_clear(&area);
    }
}

/* Of mmap: whatever is to be mapped at a place, shared, is told that there is no memory. */
static bool refuse_to_map_at_a_place(void) {
    const unsigned flags = offsetof(struct seccomp_data, args[3]);
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, flags),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAP_SHARED | MAP_FIXED, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/* The bell of an area that is mapped in part is not rung. */
static void areas_that_cannot_be_mapped(const fixture_kind *kind) {
    enum { kRefused = 10, kNoFilter };
    sg_shm_area area = SG_SHM_NONE;
    sg_shm_card card;
    sg_transport_options o = {.rank = 0, .size = 2, .epoch = 9, .seconds = 5.0};
    sg_transport *t;
    int status;
    pid_t pid;

    (void)kind;
    assert_int_equal(sg_shm_area_make(&area, 1, 2, 9, &card), SG_OK);
    o.introduction = (sg_introduction){&card, say_to_nobody, hear_echo, NULL};
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        if (!refuse_to_map_at_a_place()) _exit(kNoFilter);
        _exit(sg_transport_shm_create(&o, &t) == SG_ERR_UNAVAILABLE &&
                      strstr(sg_last_error(), "cannot map a page")
                  ? kRefused
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    sg_shm_area_clear(&area);
    if (WIFEXITED(status) && WEXITSTATUS(status) == kNoFilter) skip();
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == kRefused);
}

/* Writing into another's area faults, but for its bell. */
static void areas_are_read_only(const fixture_kind *kind) {
    sg_shm_area area = SG_SHM_NONE, seen = SG_SHM_NONE;
    sg_shm_card card;
    int status;
    pid_t pid;

    (void)kind;
    assert_int_equal(sg_shm_area_make(&area, 0, 2, 1, &card), SG_OK);
    assert_int_equal(sg_shm_area_find(&seen, &card, 0, 2, 1), SG_OK);
    sg_shm_ring_bell(&seen);
    assert_int_equal(atomic_load(area.bell), 1);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        ((volatile uint8_t *)sg_shm_ring(&seen, 1))[0] = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    sg_shm_area_clear(&seen);
    sg_shm_area_clear(&area);
}

static void one_place_has_one_text(const fixture_kind *kind) {
    char here[SG_TRANSPORT_HERE_BYTES], there[SG_TRANSPORT_HERE_BYTES] = "";
    int ends[2], status;
    pid_t pid;

    (void)kind;
    sg_transport_here(here);
    for (int apart = 0; apart < 2; apart++) {
        assert_int_equal(pipe(ends), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            if (apart && unshare(CLONE_NEWUSER) != 0) _exit(1); /* not allowed here */
            sg_transport_here(there);
            _exit(write(ends[1], there, sizeof there) == sizeof there ? 0 : 2);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (!apart || WEXITSTATUS(status) != 1) {
            assert_int_equal(status, 0);
            assert_int_equal(read(ends[0], there, sizeof there), sizeof there);
            assert_int_equal(strcmp(here, there) != 0, apart);
        }
        close(ends[0]);
        close(ends[1]);
    }
}

static void memory_runs_out(const fixture_kind *kind) {
    sg_transport_options o = {.rank = 0, .size = 2, .interface = "127.0.0.1", .seconds = 0.1};
    sg_shm_card card;
    sg_transport *t;
    long live = sg_mem_live();

    o.introduction = (sg_introduction){&card, say_to_nobody, hear_echo, NULL};
    sg_mem_fail_at(1);
    assert_int_equal(kind->create(&o, &t), SG_ERR_OOM);
    sg_mem_fail_at(0);
    assert_int_equal(sg_mem_live(), live);
}

typedef void (*kind_test)(const fixture_kind *kind);

/* Each is one case a kind, or one of a kind alone: cmocka's state is the case's number. */
typedef struct {
    const char *name;
    kind_test run;
    const char *only; /* NULL: of all */
} test_of_kinds;

static const test_of_kinds kTests[] = {
#define TEST(name)                                                                                 \
    { #name, name, NULL }
#define TEST_OF(kind, name)                                                                        \
    { #name, name, #kind }
    TEST(data_arrives),
    TEST(data_arrives_in_threads),
    TEST(killed_members_are_noticed),
    TEST(stopped_members_are_left_behind),
    TEST(late_members_are_not_waited_for),
    TEST(aborts_wake_at_once),
    TEST(aborts_wake_at_once_in_threads),
    TEST(misuse_is_told),
    TEST_OF(gloo, only_addresses_are_taken),
    TEST(what_was_sent_stays),
    TEST(nothing_is_left),
    TEST(large_groups_are_introduced),
    TEST(memory_runs_out),
    TEST_OF(shm, false_cards),
    TEST_OF(shm, mad_peers),
    TEST_OF(shm, areas_that_cannot_be_mapped),
    TEST_OF(shm, areas_are_read_only),
    TEST_OF(shm, one_place_has_one_text),
#undef TEST
#undef TEST_OF
};

enum { kTestCount = sizeof kTests / sizeof *kTests, kKinds = 2 };

static struct {
    const fixture_kind *kind;
    const test_of_kinds *test;
} cases[kTestCount * kKinds];

static void run_case(void **state) {
    int i = (int)(intptr_t)*state;

    if (!fixture_is_there(cases[i].kind)) skip();
    cases[i].test->run(cases[i].kind);
}

int main(int argc, char **argv) {
    struct CMUnitTest tests[kTestCount * kKinds];
    static char names[kTestCount * kKinds][64];
    int n_kinds, n = 0;
    const fixture_kind *kinds = fixture_kinds(&n_kinds);

    for (int k = 0; k < n_kinds; k++)
        for (int i = 0; i < kTestCount; i++) {
            snprintf(names[n], sizeof names[n], "%s %s", kinds[k].name, kTests[i].name);
            if (kTests[i].only && strcmp(kTests[i].only, kinds[k].name) != 0) continue;
            if (argc > 1 && !strstr(names[n], argv[1])) continue;
            cases[n].kind = &kinds[k];
            cases[n].test = &kTests[i];
            tests[n] = (struct CMUnitTest){names[n], run_case, NULL, NULL, (void *)(intptr_t)n};
            n++;
        }
    return _cmocka_run_group_tests("transports", tests, (size_t)n, NULL, NULL);
}
