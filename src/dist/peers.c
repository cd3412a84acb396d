/* What the program asks of its peers. The table of them (peers_table.c) is under one lock; a thread
 * of its own (peers_thread.c) listens and speaks. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/peers_inside.h"

static const double kBeat = 0.1, kSilence = 1.0, kShare = 0.3, kAsk = 0.1;

enum { kFew = 8 }; /* workers that hear each other at that rate */

static void wake(sg_peers *p) {
    uint64_t one = 1;

    if (write(p->wake, &one, sizeof one) < 0 && errno != EAGAIN)
        sg_log(SG_LOG_DEBUG, "peers: %s", strerror(errno));
}

static sg_status start(sg_peers *p) {
    int port = 0, error;

    SG_TRY(sg_wire_listen(&p->listener, &port));
    SG_TRY(sg_wire_address(p->options.interface, port, p->me.address));
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wake < 0) return sg_fail(SG_ERR_UNAVAILABLE, "peers: no eventfd: %s", strerror(errno));
    error = pthread_create(&p->thread, NULL, sg_peers_thread, p);
    if (error) return sg_fail(SG_ERR_UNAVAILABLE, "peers: no thread: %s", strerror(error));
    p->running = true;
    return SG_OK;
}

sg_status sg_peers_open(const sg_peers_options *options, sg_peers **out) {
    sg_peers *p = sg_calloc(1, sizeof *p);
    pthread_condattr_t clock;
    sg_status st;

    if (!p) return sg_fail(SG_ERR_OOM, "peers: no memory");
    p->options = *options;
    if (!(p->options.beat > 0.0)) p->options.beat = kBeat;
    if (!(p->options.silence > 0.0)) p->options.silence = kSilence;
    p->interval = p->options.beat;
    snprintf(p->me.id, sizeof p->me.id, "%s", options->id);
    p->listener = p->wake = -1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &clock);
    pthread_condattr_destroy(&clock);
    st = start(p);
    if (st != SG_OK) {
        sg_peers_close(p);
        return st;
    }
    *out = p;
    return SG_OK;
}

void sg_peers_close(sg_peers *p) {
    if (!p) return;
    if (p->running) {
        pthread_mutex_lock(&p->lock);
        p->stop = true;
        pthread_mutex_unlock(&p->lock);
        wake(p);
        pthread_join(p->thread, NULL);
    }
    while (p->entry) {
        sg_peer_entry *e = p->entry;

        p->entry = e->next;
        sg_peers_clear_entry(e);
        sg_free(e);
    }
    while (p->stranger) {
        sg_peer_stranger *s = p->stranger;

        p->stranger = s->next;
        sg_wire_close(&s->wire);
        sg_free(s);
    }
    if (p->listener >= 0) close(p->listener);
    if (p->wake >= 0) close(p->wake);
    sg_free(p->poll);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    sg_free(p);
}

const char *sg_peers_address(const sg_peers *p) { return p->me.address; }

/* One that was lost, or is another process's now, begins anew. */
static sg_peer_entry *watch_one(sg_peers *p, const sg_peer *who) {
    sg_peer_entry *e = sg_peers_find(p, who->id);

    if (!e) e = sg_peers_add(p, who);
    if (!e) return NULL;
    if (e->lost || !sg_wire_open(&e->to)) {
        sg_wire_close(&e->to);
        e->called = false;
        e->who = *who;
        e->heard_at = sg_now();
        e->heard = false;
    }
    e->lost = e->gone = false;
    e->asking = false;
    e->watched = true;
    return e;
}

/* Each beats for all: the more there are, the more seldom, but often enough in a silence's time. */
static double interval_for(const sg_peers *p, int n) {
    double few = p->options.beat * (n > kFew ? (double)n / kFew : 1.0);

    return few < kShare * p->options.silence ? few : kShare * p->options.silence;
}

sg_status sg_peers_watch(sg_peers *p, int64_t epoch, const sg_peer *list, int n) {
    sg_status st = SG_OK;

    pthread_mutex_lock(&p->lock);
    p->epoch = epoch;
    if (epoch > p->latest) p->latest = epoch;
    for (sg_peer_entry *e = p->entry; e; e = e->next) {
        e->watched = false;
        sg_peers_forget_said(e, epoch);
    }
    for (int i = 0; i < n && st == SG_OK; i++)
        if (strcmp(list[i].id, p->me.id) != 0 && !watch_one(p, &list[i]))
            st = sg_fail(SG_ERR_OOM, "peers: no memory");
    for (sg_peer_entry *e = p->entry; e; e = e->next) {
        if (e->watched) continue;
        e->lost = false;
        if (sg_wire_open(&e->from)) continue; /* who asks to be taken in is still answered */
        sg_wire_close(&e->to);
        e->called = false;
    }
    p->interval = interval_for(p, n);
    p->next_beat = 0.0; /* they hear of the new epoch at once */
    pthread_mutex_unlock(&p->lock);
    wake(p);
    return st;
}

void sg_peers_ask_in(sg_peers *p, bool asking) {
    pthread_mutex_lock(&p->lock);
    p->asking = asking;
    p->next_beat = 0.0;
    pthread_mutex_unlock(&p->lock);
    wake(p);
}

bool sg_peers_is_lost(sg_peers *p, const char *id) {
    const sg_peer_entry *e;
    bool lost;

    pthread_mutex_lock(&p->lock);
    e = sg_peers_find(p, id);
    lost = e && e->lost;
    pthread_mutex_unlock(&p->lock);
    return lost;
}

static bool any(sg_peers *p, bool (*is)(const sg_peer_entry *e)) {
    bool found = false;

    pthread_mutex_lock(&p->lock);
    for (const sg_peer_entry *e = p->entry; e; e = e->next) found = found || (e->watched && is(e));
    pthread_mutex_unlock(&p->lock);
    return found;
}

static bool is_lost(const sg_peer_entry *e) { return e->lost; }
static bool is_heard(const sg_peer_entry *e) { return e->heard; }
static bool is_there(const sg_peer_entry *e) { return !e->gone; }
static bool has_not_hung_up(const sg_peer_entry *e) { return !e->gone || !e->hung_up; }

bool sg_peers_any_lost(sg_peers *p) { return any(p, is_lost); }
bool sg_peers_any_heard(sg_peers *p) { return any(p, is_heard); }
bool sg_peers_all_gone(sg_peers *p) { return !any(p, is_there); }
bool sg_peers_all_hung_up(sg_peers *p) { return !any(p, has_not_hung_up); }

/* Those who are cut off together fall silent at about the same time, but one is lost first. */
bool sg_peers_outnumbered(sg_peers *p) {
    double now = sg_now();
    int near = 1, far = 0;
    bool silent = false;

    pthread_mutex_lock(&p->lock);
    for (const sg_peer_entry *e = p->entry; e; e = e->next) {
        bool heard = !e->lost && now - e->heard_at < p->options.silence / 2.0;

        if (!e->watched || (e->lost && e->gone)) continue;
        silent = silent || e->lost;
        near += heard;
        far += !heard;
    }
    pthread_mutex_unlock(&p->lock);
    return silent && near < far;
}

int64_t sg_peers_epoch(sg_peers *p) {
    int64_t latest;

    pthread_mutex_lock(&p->lock);
    latest = p->latest;
    pthread_mutex_unlock(&p->lock);
    return latest;
}

static bool asks(const sg_peers *p, const sg_peer_entry *e, double now) {
    return e->asking && !e->watched && sg_wire_open(&e->from) && sg_wire_open(&e->to) &&
           !e->to.connecting && now - e->heard_at < p->options.silence;
}

/* Into a sorted list, from which the last one falls where it is full; how many there are then. */
static int insert(sg_peer *list, int n, int room, const sg_peer *who) {
    int at = n;

    while (at > 0 && strcmp(who->id, list[at - 1].id) < 0) at--;
    if (at == room) return n;
    if (n < room) n++;
    memmove(&list[at + 1], &list[at], (size_t)(n - 1 - at) * sizeof *list);
    list[at] = *who;
    return n;
}

int sg_peers_asking(sg_peers *p, sg_peer *list, int room) {
    double now = sg_now();
    int n = 0;

    pthread_mutex_lock(&p->lock);
    for (const sg_peer_entry *e = p->entry; e; e = e->next)
        if (asks(p, e, now)) n = insert(list, n, room, &e->who);
    pthread_mutex_unlock(&p->lock);
    return n;
}

sg_status sg_peers_say(sg_peers *p, sg_said_topic topic, const void *data, size_t bytes) {
    bool told = true;

    pthread_mutex_lock(&p->lock);
    for (sg_peer_entry *e = p->entry; e; e = e->next) {
        if (!e->watched || e->lost) continue;
        if (!e->called) sg_peers_call(p, e);
        told = (e->lost || sg_peers_put(p, e, SG_PEER_SAID, topic, data, bytes)) && told;
    }
    pthread_mutex_unlock(&p->lock);
    wake(p);
    return told ? SG_OK : sg_fail(SG_ERR_OOM, "peers: no memory for %zu bytes", bytes);
}

static struct timespec clock_at(double seconds) {
    struct timespec t = {(time_t)seconds, 0};

    t.tv_nsec = (long)(1e9 * (seconds - (double)t.tv_sec));
    return t;
}

/* Under the lock. */
static void wait_until(sg_peers *p, double end) {
    struct timespec t = clock_at(end);

    pthread_cond_timedwait(&p->changed, &p->lock, &t);
}

static sg_status copy_said(const sg_peer_said *s, const char *id, void *data, size_t room,
                           size_t *bytes) {
    if (s->bytes > room)
        return sg_fail(SG_ERR_UNAVAILABLE, "worker %s says %zu bytes, not at most %zu", id,
                       s->bytes, room);
    memcpy(data, s->data, s->bytes);
    *bytes = s->bytes;
    return SG_OK;
}

sg_status sg_peers_hear(sg_peers *p, const char *id, sg_said_topic topic, void *data, size_t room,
                        size_t *bytes, double seconds) {
    double end = sg_now() + seconds;
    sg_status st = SG_OK;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        const sg_peer_entry *e = sg_peers_find(p, id);
        const sg_peer_said *s = e ? &e->said[topic] : NULL;
        double left = end - sg_now();

        if (s && s->there && s->epoch == p->epoch) {
            st = copy_said(s, id, data, room, bytes);
        } else if (!e || e->lost) {
            st = sg_fail(SG_ERR_UNAVAILABLE, "worker %s is gone", id);
        } else if (p->latest > p->epoch) {
            st = sg_fail(SG_ERR_UNAVAILABLE, "the group has gone on to epoch %lld",
                         (long long)p->latest);
        } else if (left <= 0.0) {
            st = sg_fail(SG_ERR_UNAVAILABLE, "worker %s (%s) says nothing", id, e->who.address);
        } else if (p->options.stop && p->options.stop(p->options.context)) {
            st = sg_fail(SG_ERR_INTERRUPTED, "interrupted while waiting for worker %s", id);
        } else {
            wait_until(p, sg_now() + (left < kAsk ? left : kAsk));
            continue;
        }
        break;
    }
    pthread_mutex_unlock(&p->lock);
    return st;
}

void sg_peers_wait(sg_peers *p, double seconds) {
    pthread_mutex_lock(&p->lock);
    wait_until(p, sg_now() + seconds);
    pthread_mutex_unlock(&p->lock);
}
