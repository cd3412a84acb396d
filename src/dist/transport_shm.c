/* Between processes of one machine: a ring in shared memory for each ordered pair of members
 * (dist/shm_area.h). On the ring's stream of bytes each message is
 *
 *   64 bytes   its length, and how many came before it from this member to that one
 *   its data   and up to 63 bytes more, so that the next begins on a line of its own
 *
 * The sender copies as much as there is room for, the receiver as much as is there; both go round
 * all peers, so no order of messages can block another one, and a message may be larger than the
 * ring. Whoever has nothing to do looks for a few microseconds more, then says what it waits for
 * in the lines of its notice, looks once more, and sleeps on its bell: who writes or takes looks
 * there after it has done so, so one of the two sees the other (in the one order that sequentially
 * consistent atomics have).
 *
 * What a peer wrote is believed only within bounds: a length is one's own, positions are checked,
 * so a peer gone mad costs the exchange, and one that wakes up after its epoch writes where nobody
 * looks any more. Sleep comes in short pieces: a wake-up that a killed peer owed is not missed for
 * long, and its end is seen (pidfd). */
#define _GNU_SOURCE
#include "dist/transport_inside.h"

#include <immintrin.h>
#include <inttypes.h>
#include <string.h>

#include "core/mem.h"
#include "core/threads.h"
#include "dist/shm_area.h"

enum {
    kChunks = 8,      /* of a ring: after each the other side is told */
    kLooks = 400,     /* at a peer, before one sleeps: more workers than cores are common */
    kStreamed = 4096, /* bytes from which on a piece is copied past the caches */
};
static const double kPiece = 0.02; /* seconds of sleep at most */

typedef struct {
    uint64_t bytes, number;
    uint8_t unused[SG_SHM_LINE - 16];
} header;

/* One direction of the connection to a peer. */
typedef struct {
    uint64_t position; /* bytes ever, on the ring's stream: a multiple of SG_SHM_LINE */
    uint64_t number;   /* messages ever */
    int at;            /* the message that is under way; the exchange's n: none is left */
    uint64_t done;     /* bytes of it, its header's included */
} lane;

typedef struct {
    sg_shm_area area; /* the peer's */
    lane out, in;
} connection;

typedef struct {
    sg_transport transport;
    int rank, size;
    sg_shm_area own;
    atomic_bool aborted;
    const sg_transfer *message; /* of the exchange that is under way */
    int n;
    uint64_t ring; /* bytes */
    connection peer[];
} shm;

static uint64_t up_to_line(uint64_t bytes) {
    return (bytes + SG_SHM_LINE - 1) / SG_SHM_LINE * SG_SHM_LINE;
}

static sg_shm_line *own_line(const shm *t, int k) { return &t->own.notice->line[k]; }
static sg_shm_line *peers_line(const shm *t, int k) {
    return &t->peer[k].area.notice->line[t->rank];
}

/* After one's own position was written: wake the peer if it sleeps for that. */
static void tell(const shm *t, int k, unsigned what) {
    if (atomic_load(&peers_line(t, k)->wanted) & what) sg_shm_ring_bell(&t->peer[k].area);
}

/* The message after `from` that member k is to get or to give; n: none. */
static int next_message(const shm *t, int from, int k, bool receive) {
    int i = from;

    while (i < t->n && (t->message[i].peer != k || t->message[i].receive != receive)) i++;
    return i;
}

static void advance(const shm *t, lane *l, int k, bool receive) {
    l->position = up_to_line(l->position);
    l->number++;
    l->done = 0;
    l->at = next_message(t, l->at + 1, k, receive);
}

static size_t smallest(uint64_t a, uint64_t b, uint64_t c) {
    uint64_t least = a < b ? a : b;

    return (size_t)(least < c ? least : c);
}

/* memcpy to a whole line, but past the caches: a line that the receiver's core holds has to be
 * taken from it first otherwise, and is, one by one. Two members on two cores, 5 MB each way: 0.39
 * ms, with memcpy 2.5 ms (EPYC, 2026-11-28). */
static void copy_out(uint8_t *to, const uint8_t *from, size_t bytes) {
    size_t streamed = bytes < kStreamed ? 0 : bytes / SG_SHM_LINE * SG_SHM_LINE;

    for (size_t i = 0; i < streamed; i += sizeof(__m256i))
        _mm256_stream_si256((__m256i *)(to + i), _mm256_loadu_si256((const __m256i *)(from + i)));
    if (streamed > 0) _mm_sfence();
    memcpy(to + streamed, from + streamed, bytes - streamed);
}

static void put_header(uint8_t *to, const sg_transfer *m, uint64_t number) {
    header h = {.bytes = m->bytes, .number = number};

    memcpy(to, &h, sizeof h);
}

static sg_status check_header(const uint8_t *from, const sg_transfer *m, uint64_t number) {
    header h;

    memcpy(&h, from, sizeof h);
    if (h.bytes == m->bytes && h.number == number) return SG_OK;
    return sg_fail(SG_ERR_UNAVAILABLE,
                   "member %d sent %" PRIu64 " bytes as its message %" PRIu64
                   ": %zu bytes, message %" PRIu64 ", were expected",
                   m->peer, h.bytes, h.number, m->bytes, number);
}

/* Copy messages to the ring, or from it, up to `end` on its stream, but no more than a chunk. */
static sg_status copy_some(shm *t, int k, uint8_t *ring, uint64_t end, bool receive) {
    lane *l = receive ? &t->peer[k].in : &t->peer[k].out;

    if (end - l->position > t->ring / kChunks) end = l->position + t->ring / kChunks;
    while (l->position < end && l->at < t->n) {
        const sg_transfer *m = &t->message[l->at];
        uint64_t place = l->position % t->ring;
        size_t count = sizeof(header);

        if (l->done == 0 && receive) {
            SG_TRY(check_header(ring + place, m, l->number));
        } else if (l->done == 0) {
            put_header(ring + place, m, l->number);
        } else {
            uint64_t before = l->done - sizeof(header);
            uint8_t *data = (uint8_t *)m->data + before;

            count = smallest(m->bytes - before, end - l->position, t->ring - place);
            if (receive)
                memcpy(data, ring + place, count);
            else
                copy_out(ring + place, data, count);
        }
        l->position += count;
        l->done += count;
        if (l->done == sizeof(header) + m->bytes) advance(t, l, k, receive);
    }
    return SG_OK;
}

/* Copy some of what member k is to get; whether there was room for any. */
static sg_status send_some(shm *t, int k, bool *moved) {
    const lane *l = &t->peer[k].out;
    uint64_t taken = atomic_load_explicit(&peers_line(t, k)->taken, memory_order_acquire);
    uint64_t begin = l->position, under_way = begin - taken;

    if (under_way > t->ring || under_way % SG_SHM_LINE != 0)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "member %d says that it took %" PRIu64 " of %" PRIu64 " bytes", k, taken,
                       begin);
    SG_TRY(copy_some(t, k, sg_shm_ring(&t->own, k), taken + t->ring, false));
    *moved = l->position != begin;
    if (!*moved) return SG_OK;
    atomic_store(&own_line(t, k)->written, l->position);
    tell(t, k, SG_SHM_DATA);
    return SG_OK;
}

/* Copy some of what came from member k; whether there was any. */
static sg_status receive_some(shm *t, int k, bool *moved) {
    const lane *l = &t->peer[k].in;
    uint64_t written = atomic_load_explicit(&peers_line(t, k)->written, memory_order_acquire);
    uint64_t begin = l->position;

    if (written - begin > t->ring || written % SG_SHM_LINE != 0)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "member %d says that it wrote %" PRIu64 " bytes, after %" PRIu64, k, written,
                       begin);
    SG_TRY(copy_some(t, k, sg_shm_ring(&t->peer[k].area, t->rank), written, true));
    *moved = l->position != begin;
    if (!*moved) return SG_OK;
    atomic_store(&own_line(t, k)->taken, l->position);
    tell(t, k, SG_SHM_ROOM);
    return SG_OK;
}

static bool is_open(const shm *t, int k) {
    return k != t->rank && (t->peer[k].out.at < t->n || t->peer[k].in.at < t->n);
}

/* Once around all peers, each in turn the first one after oneself. */
static sg_status go_round(shm *t, bool *moved, bool *open) {
    *moved = *open = false;
    for (int i = 1; i < t->size; i++) {
        int k = (t->rank + i) % t->size;
        bool sent = false, received = false;

        if (t->peer[k].out.at < t->n) SG_TRY(send_some(t, k, &sent));
        if (t->peer[k].in.at < t->n) SG_TRY(receive_some(t, k, &received));
        *moved = *moved || sent || received;
        *open = *open || is_open(t, k);
    }
    return SG_OK;
}

/* Whether there is a reason not to sleep, for one who has said what it waits for. */
static bool may_go_on(const shm *t) {
    for (int k = 0; k < t->size; k++) {
        const connection *c = &t->peer[k];

        if (!is_open(t, k)) continue;
        if (atomic_load(&c->area.notice->left)) return true;
        if (c->in.at < t->n && atomic_load(&peers_line(t, k)->written) != c->in.position)
            return true;
        if (c->out.at < t->n && atomic_load(&peers_line(t, k)->taken) + t->ring != c->out.position)
            return true;
    }
    return atomic_load(&t->aborted);
}

static void want(const shm *t, bool something) {
    for (int k = 0; k < t->size; k++) {
        const connection *c = &t->peer[k];
        unsigned what = 0;

        if (!is_open(t, k)) continue;
        if (something) {
            what |= c->in.at < t->n ? SG_SHM_DATA : 0;
            what |= c->out.at < t->n ? SG_SHM_ROOM : 0;
        }
        atomic_store(&own_line(t, k)->wanted, what);
    }
}

static void rest(const shm *t, double seconds) {
    unsigned before = atomic_load(t->own.bell);

    want(t, true);
    if (!may_go_on(t)) sg_shm_sleep(&t->own, before, seconds < kPiece ? seconds : kPiece);
    want(t, false);
}

/* A peer that is waited for and will do nothing more; -1: there is none. */
static int find_gone(const shm *t) {
    for (int k = 0; k < t->size; k++)
        if (is_open(t, k) &&
            (atomic_load(&t->peer[k].area.notice->left) || sg_shm_area_is_dead(&t->peer[k].area)))
            return k;
    return -1;
}

static sg_status fail_gone(const shm *t, int k) {
    return sg_fail(SG_ERR_UNAVAILABLE, "member %d of %d %s", k, t->size,
                   atomic_load(&t->peer[k].area.notice->left) ? "has left" : "has died");
}

static sg_status fail_late(const shm *t, double seconds) {
    int k = 0;

    while (k < t->size - 1 && !is_open(t, k)) k++;
    return sg_fail(SG_ERR_UNAVAILABLE, "member %d of %d did not %s within %.3g s", k, t->size,
                   t->peer[k].in.at < t->n ? "send" : "receive", seconds);
}

static sg_status fail_aborted(void) {
    return sg_fail(SG_ERR_UNAVAILABLE, "the exchange was aborted");
}

static sg_status move(shm *t, double seconds) {
    double end = sg_transport_deadline(seconds);
    int looks = 0;

    for (;;) {
        bool moved, open;
        double left;
        int gone;

        if (atomic_load_explicit(&t->aborted, memory_order_relaxed)) return fail_aborted();
        SG_TRY(go_round(t, &moved, &open));
        if (!open) return SG_OK;
        looks = moved ? 0 : looks + t->size - 1;
        if (!moved && looks < kLooks) {
            __builtin_ia32_pause();
            continue;
        }
        left = end - sg_now();
        if (left <= 0.0) return fail_late(t, seconds);
        if (moved) continue;
        gone = find_gone(t);
        if (gone < 0) {
            rest(t, left);
        } else {
            SG_TRY(go_round(t, &moved, &open)); /* what it had still done before it went */
            if (!open) return SG_OK;
            if (!moved) return fail_gone(t, gone);
        }
    }
}

static void leave(shm *t) {
    atomic_store(&t->aborted, true);
    atomic_store(&t->own.notice->left, 1);
    sg_shm_ring_bell(&t->own);
    for (int k = 0; k < t->size; k++)
        if (k != t->rank && t->peer[k].area.base) sg_shm_ring_bell(&t->peer[k].area);
}

static sg_status exchange(sg_transport *transport, const sg_transfer *message, int n,
                          double seconds) {
    shm *t = (shm *)transport;
    sg_status st;

    SG_TRY(sg_transport_check_messages(message, n, t->rank, t->size));
    t->message = message;
    t->n = n;
    for (int k = 0; k < t->size; k++) {
        t->peer[k].out.at = next_message(t, 0, k, false);
        t->peer[k].in.at = next_message(t, 0, k, true);
    }
    st = move(t, seconds);
    if (st != SG_OK) leave(t); /* nobody need wait for the rest */
    return st;
}

static void abort_all(sg_transport *transport) { leave((shm *)transport); }

static void destroy(sg_transport *transport) {
    shm *t = (shm *)transport;

    if (t->own.base) leave(t);
    for (int k = 0; k < t->size; k++) sg_shm_area_clear(&t->peer[k].area);
    sg_shm_area_clear(&t->own);
    sg_free(t);
}

static bool is_stopped(const sg_transport_options *o) {
    return o->introduction.stop && o->introduction.stop(o->introduction.context);
}

static sg_status meet(shm *t, const sg_transport_options *o, int k, double end) {
    const sg_introduction *i = &o->introduction;
    sg_shm_card card;
    size_t bytes = 0;

    SG_TRY(i->hear(i->context, k, &card, sizeof card, &bytes, end - sg_now()));
    if (bytes != sizeof card)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "member %d introduced itself with %zu bytes, for shared memory there are "
                       "%zu: is it of another version?",
                       k, bytes, sizeof card);
    return sg_shm_area_find(&t->peer[k].area, &card, k, t->size, o->epoch);
}

/* Until all have found all; then nobody needs the own memfd any more. */
static sg_status await_all(shm *t, const sg_transport_options *o, double end) {
    for (int k = 0; k < t->size; k++) {
        const sg_shm_area *area = &t->peer[k].area;

        if (k == t->rank) continue;
        for (;;) {
            unsigned before = atomic_load(t->own.bell);
            double left = end - sg_now();

            if (atomic_load(&area->notice->ready)) break;
            if (is_stopped(o)) return fail_aborted();
            if (atomic_load(&area->notice->left) || sg_shm_area_is_dead(area))
                return fail_gone(t, k);
            if (left <= 0.0)
                return sg_fail(SG_ERR_UNAVAILABLE,
                               "member %d of %d has not found all others within %.3g s", k, t->size,
                               o->seconds);
            sg_shm_sleep(&t->own, before, left < kPiece ? left : kPiece);
        }
    }
    return SG_OK;
}

static sg_status connect_all(shm *t, const sg_transport_options *o) {
    double end = sg_transport_deadline(o->seconds);
    sg_shm_card card;

    SG_TRY(sg_shm_area_make(&t->own, t->rank, t->size, o->epoch, &card));
    SG_TRY(o->introduction.say(o->introduction.context, &card, sizeof card));
    for (int k = 0; k < t->size; k++)
        if (k != t->rank) SG_TRY(meet(t, o, k, end));
    atomic_store(&t->own.notice->ready, 1);
    for (int k = 0; k < t->size; k++)
        if (k != t->rank) sg_shm_ring_bell(&t->peer[k].area);
    SG_TRY(await_all(t, o, end));
    sg_shm_area_forget(&t->own);
    return SG_OK;
}

sg_status sg_transport_shm_create(const sg_transport_options *options, sg_transport **out) {
    shm *t;
    sg_status st;

    SG_TRY(sg_transport_check(options));
    t = sg_calloc(1, sizeof *t + (size_t)options->size * sizeof *t->peer);
    if (!t) return sg_fail(SG_ERR_OOM, "no memory for a transport");
    t->transport = (sg_transport){"shm", exchange, abort_all, destroy};
    t->rank = options->rank;
    t->size = options->size;
    t->own = SG_SHM_NONE;
    t->ring = sg_shm_ring_bytes(t->size);
    for (int k = 0; k < t->size; k++) t->peer[k].area = SG_SHM_NONE;
    st = connect_all(t, options);
    if (st == SG_OK)
        *out = &t->transport;
    else
        destroy(&t->transport);
    return st;
}
