/* The thread of the peers: polls all sockets without the lock and works with it. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/threads.h"
#include "dist/peers_inside.h"

static const double kTogether = 1.5; /* beats */

/* --- what is received, under the lock --------------------------------------------------------- */

static void keep_said(sg_peer_entry *e, const sg_frame *frame, const uint8_t *data) {
    sg_peer_said *s;

    if (frame->topic >= SG_SAID_TOPICS) return;
    s = &e->said[frame->topic];
    if (s->there && s->epoch > frame->epoch) return;
    sg_free(s->data);
    memset(s, 0, sizeof *s);
    s->data = sg_malloc(frame->bytes);
    if (!s->data) return; /* as if it were never said: a deadline passes */
    memcpy(s->data, data, frame->bytes);
    s->bytes = frame->bytes;
    s->epoch = frame->epoch;
    s->there = true;
}

typedef struct {
    sg_peers *peers;
    sg_peer_entry *entry;
} listening;

static void take(void *context, const sg_frame *frame, const uint8_t *data) {
    listening *l = context;
    sg_peer_entry *e = l->entry;
    bool was_asking = e->asking;
    sg_peer_beat b;

    e->heard_at = sg_now();
    e->heard = true;
    e->hung_up = false;
    if (frame->kind == SG_PEER_BEAT && frame->bytes == sizeof b) {
        memcpy(&b, data, sizeof b); /* which may lie anywhere */
        e->asking = b.asking != 0;
    }
    if (frame->kind == SG_PEER_SAID) keep_said(e, frame, data);
    if (frame->epoch > l->peers->latest) {
        l->peers->latest = frame->epoch;
        if (frame->epoch > l->peers->epoch) l->peers->alarmed = true;
    }
    if (frame->kind == SG_PEER_SAID || e->asking != was_asking || l->peers->alarmed)
        pthread_cond_broadcast(&l->peers->changed);
}

static void take_hello(void *context, const sg_frame *frame, const uint8_t *data) {
    sg_peer_stranger *s = context;
    sg_peer_hello h;
    sg_peer_entry *e;

    if (s->id[0]) { /* frames behind the first one came with it */
        listening l = {s->peers, sg_peers_find(s->peers, s->id)};

        if (l.entry) take(&l, frame, data);
        return;
    }
    if (frame->kind != SG_PEER_HELLO || frame->bytes != sizeof h) return;
    memcpy(&h, data, sizeof h);
    h.from.id[sizeof h.from.id - 1] = h.from.address[sizeof h.from.address - 1] = '\0';
    h.to[sizeof h.to - 1] = '\0';
    /* the port may have been another process's before */
    if (strcmp(h.to, s->peers->me.id) != 0) return;
    e = sg_peers_find(s->peers, h.from.id);
    if (!e) e = sg_peers_add(s->peers, &h.from);
    if (e) memcpy(s->id, h.from.id, sizeof s->id);
}

/* --- the thread ------------------------------------------------------------------------------- */

static void accept_all(sg_peers *p) {
    int fd;

    while ((fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        sg_peer_stranger *s = sg_calloc(1, sizeof *s);

        if (!s) {
            close(fd);
            continue;
        }
        sg_wire_accept(&s->wire, fd);
        s->peers = p;
        s->since = sg_now();
        s->next = p->stranger;
        p->stranger = s;
    }
    p->full = errno != EAGAIN;
}

/* A stranger that has told its name becomes its entry's voice. */
static void meet_strangers(sg_peers *p, double now) {
    sg_peer_stranger **at = &p->stranger;

    while (*at) {
        sg_peer_stranger *s = *at;
        bool open = sg_wire_receive(&s->wire, take_hello, s);
        sg_peer_entry *e = s->id[0] ? sg_peers_find(p, s->id) : NULL;

        if (open && !e && now - s->since < p->options.silence) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        if (open && e) {
            sg_wire_close(&e->from);
            e->from = s->wire;
        } else {
            sg_wire_close(&s->wire);
        }
        sg_free(s);
    }
}

static void listen_to(sg_peers *p, sg_peer_entry *e) {
    listening l = {p, e};

    if (!sg_wire_open(&e->from) || sg_wire_receive(&e->from, take, &l)) return;
    sg_peers_notice_broken(p, e, &e->from);
}

/* The other side of the connection that we speak on says nothing; that it ends is all there is to
 * hear. */
static void hear_nothing(void *context, const sg_frame *frame, const uint8_t *data) {
    (void)context;
    (void)frame;
    (void)data;
}

static void speak_to(sg_peers *p, sg_peer_entry *e, bool beat_now) {
    const sg_peer_beat b = {p->asking};

    if (!sg_wire_open(&e->to)) return;
    if (beat_now && !e->to.connecting) (void)sg_peers_put(p, e, SG_PEER_BEAT, 0, &b, sizeof b);
    if (sg_wire_send(&e->to) && sg_wire_receive(&e->to, hear_nothing, NULL)) return;
    sg_peers_notice_broken(p, e, &e->to);
}

static bool is_silent(const sg_peer_entry *e, double now, double seconds) {
    return e->watched && !e->lost && now - e->heard_at > seconds;
}

/* Those who are cut off together have their last beats within the time of one, and are lost
 * together: a group that is formed with one of them would not be whole. */
static void lose_silent(sg_peers *p, double now) {
    double nearly = p->options.silence - kTogether * p->interval;
    bool any = false;

    for (const sg_peer_entry *e = p->entry; e; e = e->next)
        any = any || is_silent(e, now, p->options.silence);
    for (sg_peer_entry *e = p->entry; e && any; e = e->next)
        if (is_silent(e, now, nearly)) sg_peers_notice_lost(p, e, false, "it is silent");
}

static void work(sg_peers *p) {
    double now = sg_now();
    bool beat_now = now >= p->next_beat;

    p->absent = now - p->last_round > p->options.silence / 2.0;
    p->last_round = now;
    if (beat_now) p->next_beat = now + p->interval;
    accept_all(p);
    meet_strangers(p, now);
    for (sg_peer_entry *e = p->entry; e; e = e->next) {
        listen_to(p, e);
        if (e->lost) continue;
        if (!e->called && (e->watched || sg_wire_open(&e->from)))
            sg_peers_call(p, e); /* or call back */
        speak_to(p, e, beat_now);
        if (p->absent) e->heard_at = now;
    }
    lose_silent(p, now);
    sg_peers_sweep(p);
}

static size_t count_sockets(const sg_peers *p) {
    size_t n = 2;

    for (const sg_peer_entry *e = p->entry; e; e = e->next) n += 2;
    for (const sg_peer_stranger *s = p->stranger; s; s = s->next) n++;
    return n;
}

static void poll_for(sg_peers *p, size_t *n, const sg_wire *w) {
    if (sg_wire_open(w)) p->poll[(*n)++] = (struct pollfd){w->fd, sg_wire_events(w), 0};
}

/* 0: no memory to list them, so only time passes. */
static size_t list_sockets(sg_peers *p) {
    size_t need = count_sockets(p), n = 0;

    if (need > p->poll_room) {
        struct pollfd *grown =
            sg_realloc(p->poll, p->poll_room * sizeof *grown, 2 * need * sizeof *grown);

        if (!grown) return 0;
        p->poll = grown;
        p->poll_room = 2 * need;
    }
    p->poll[n++] = (struct pollfd){p->wake, POLLIN, 0};
    p->poll[n++] = (struct pollfd){p->full ? -1 : p->listener, POLLIN, 0};
    for (const sg_peer_entry *e = p->entry; e; e = e->next) {
        poll_for(p, &n, &e->to);
        poll_for(p, &n, &e->from);
    }
    for (const sg_peer_stranger *s = p->stranger; s; s = s->next) poll_for(p, &n, &s->wire);
    return n;
}

void *sg_peers_thread(void *argument) {
    sg_peers *p = argument;
    uint64_t counter;

    pthread_mutex_lock(&p->lock);
    p->last_round = sg_now();
    while (!p->stop) {
        size_t n = list_sockets(p);
        double left = p->next_beat - sg_now();
        bool alarm;

        pthread_mutex_unlock(&p->lock);
        poll(p->poll, n, left > 0.0 ? (int)(1e3 * left) + 1 : 0);
        if (read(p->wake, &counter, sizeof counter) < 0) counter = 0;
        pthread_mutex_lock(&p->lock);
        work(p);
        alarm = p->alarmed;
        p->alarmed = false;
        if (!alarm || !p->options.alarm) continue;
        pthread_mutex_unlock(&p->lock);
        p->options.alarm(p->options.context);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}
