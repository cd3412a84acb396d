/* One table of peers, under one lock: those that are watched, and others who call. The thread polls
 * all sockets without the lock and works with it. */
#define _GNU_SOURCE
#include "dist/peers.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"

static const double kBeat = 0.1, kSilence = 1.0, kShare = 0.3;

enum { kFew = 8 }; /* workers that hear each other at that rate */

typedef enum { FRAME_HELLO, FRAME_BEAT, FRAME_SAID } frame_kind;

/* The first frame of a connection: who calls whom. */
typedef struct {
    sg_peer from;
    char to[SG_MEMBER_ID_BYTES];
} hello;

typedef struct {
    uint32_t asking; /* to be taken in */
} beat;

typedef struct {
    bool there;
    int64_t epoch;
    uint8_t *data; /* owned */
    size_t bytes;
} said;

typedef struct entry {
    sg_peer who;
    bool watched, lost, heard;
    bool gone;   /* lost, and not for silence */
    bool called; /* a connection to it was begun */
    sg_wire to, from;
    double heard_at; /* or watched since */
    int64_t epoch;   /* its own, as it says */
    bool asking;
    said said[SG_SAID_TOPICS];
    struct entry *next;
} entry;

/* Accepted, and not yet known who it is. */
typedef struct stranger {
    sg_wire wire;
    struct sg_peers *peers;
    char id[SG_MEMBER_ID_BYTES]; /* once it has said so */
    double since;
    struct stranger *next;
} stranger;

struct sg_peers {
    sg_peer me;
    sg_peers_options options;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int listener, wake; /* fds */
    bool stop, asking, alarmed;
    int64_t epoch, latest;
    entry *entry;
    stranger *stranger;
    double next_beat, last_round, interval;
    struct pollfd *poll; /* owned; grows */
    size_t poll_room;
};

static void wake(sg_peers *p) {
    uint64_t one = 1;

    if (write(p->wake, &one, sizeof one) < 0 && errno != EAGAIN)
        sg_log(SG_LOG_DEBUG, "peers: %s", strerror(errno));
}

static entry *find(const sg_peers *p, const char *id) {
    for (entry *e = p->entry; e; e = e->next)
        if (strcmp(e->who.id, id) == 0) return e;
    return NULL;
}

/* --- entries, under the lock ------------------------------------------------------------------ */

static entry *add(sg_peers *p, const sg_peer *who) {
    entry *e = sg_calloc(1, sizeof *e);

    if (!e) return NULL;
    e->who = *who;
    e->to.fd = e->from.fd = -1;
    e->heard_at = sg_now();
    e->next = p->entry;
    p->entry = e;
    return e;
}

static void forget_said(entry *e, int64_t before) {
    for (int i = 0; i < SG_SAID_TOPICS; i++) {
        if (!e->said[i].there || e->said[i].epoch >= before) continue;
        sg_free(e->said[i].data);
        memset(&e->said[i], 0, sizeof e->said[i]);
    }
}

static void clear_entry(entry *e) {
    sg_wire_close(&e->to);
    sg_wire_close(&e->from);
    forget_said(e, INT64_MAX);
}

static void notice_lost(sg_peers *p, entry *e, bool gone, const char *why) {
    if (!e->watched || e->lost) return;
    e->lost = true;
    e->gone = gone;
    p->alarmed = true;
    sg_log(SG_LOG_DEBUG, "peers: %s at %s is lost: %s", e->who.id, e->who.address, why);
    sg_wire_close(&e->to);
    pthread_cond_broadcast(&p->changed);
}

/* Entries that nobody watches and from which nobody speaks. */
static void sweep(sg_peers *p) {
    entry **at = &p->entry;

    while (*at) {
        entry *e = *at;

        if (e->watched || sg_wire_open(&e->from)) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        clear_entry(e);
        sg_free(e);
    }
}

static bool put(sg_peers *p, entry *e, frame_kind kind, uint32_t topic, const void *data,
                size_t bytes) {
    const sg_frame frame = {
        .kind = kind, .epoch = p->epoch, .topic = topic, .bytes = (uint32_t)bytes};

    return sg_wire_open(&e->to) && sg_wire_put(&e->to, frame, data);
}

/* Begin to speak to it. */
static void call(sg_peers *p, entry *e) {
    hello h = {.from = p->me};

    e->called = true;
    memcpy(h.to, e->who.id, sizeof h.to);
    if (!sg_wire_connect(&e->to, e->who.address) || !put(p, e, FRAME_HELLO, 0, &h, sizeof h))
        notice_lost(p, e, true, "no connection");
}

/* --- what is received, under the lock --------------------------------------------------------- */

static void keep_said(entry *e, const sg_frame *frame, const uint8_t *data) {
    said *s;

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
    entry *entry;
} listening;

static void take(void *context, const sg_frame *frame, const uint8_t *data) {
    listening *l = context;
    entry *e = l->entry;
    bool was_asking = e->asking;
    beat b;

    e->heard_at = sg_now();
    e->heard = true;
    e->epoch = frame->epoch;
    if (frame->kind == FRAME_BEAT && frame->bytes == sizeof b) {
        memcpy(&b, data, sizeof b); /* which may lie anywhere */
        e->asking = b.asking != 0;
    }
    if (frame->kind == FRAME_SAID) keep_said(e, frame, data);
    if (frame->epoch > l->peers->latest) {
        l->peers->latest = frame->epoch;
        if (frame->epoch > l->peers->epoch) l->peers->alarmed = true;
    }
    if (frame->kind == FRAME_SAID || e->asking != was_asking || l->peers->alarmed)
        pthread_cond_broadcast(&l->peers->changed);
}

static void take_hello(void *context, const sg_frame *frame, const uint8_t *data) {
    stranger *s = context;
    hello h;
    entry *e;

    if (s->id[0]) { /* frames behind the first one came with it */
        listening l = {s->peers, find(s->peers, s->id)};

        if (l.entry) take(&l, frame, data);
        return;
    }
    if (frame->kind != FRAME_HELLO || frame->bytes != sizeof h) return;
    memcpy(&h, data, sizeof h);
    h.from.id[sizeof h.from.id - 1] = h.from.address[sizeof h.from.address - 1] = '\0';
    h.to[sizeof h.to - 1] = '\0';
    /* the port may have been another process's before */
    if (strcmp(h.to, s->peers->me.id) != 0) return;
    e = find(s->peers, h.from.id);
    if (!e) e = add(s->peers, &h.from);
    if (e) memcpy(s->id, h.from.id, sizeof s->id);
}

/* --- the thread ------------------------------------------------------------------------------- */

static void accept_all(sg_peers *p) {
    int fd;

    while ((fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        stranger *s = sg_calloc(1, sizeof *s);

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
}

/* A stranger that has told its name becomes its entry's voice. */
static void meet_strangers(sg_peers *p, double now) {
    stranger **at = &p->stranger;

    while (*at) {
        stranger *s = *at;
        bool open = sg_wire_receive(&s->wire, take_hello, s);
        entry *e = s->id[0] ? find(p, s->id) : NULL;

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

static void listen_to(sg_peers *p, entry *e) {
    listening l = {p, e};

    if (!sg_wire_open(&e->from) || sg_wire_receive(&e->from, take, &l)) return;
    sg_wire_close(&e->from);
    notice_lost(p, e, true, "it hung up");
}

/* The other side of the connection that we speak on says nothing; that it ends is all there is to
 * hear. */
static void hear_nothing(void *context, const sg_frame *frame, const uint8_t *data) {
    (void)context;
    (void)frame;
    (void)data;
}

static void speak_to(sg_peers *p, entry *e, bool beat_now) {
    const beat b = {p->asking};

    if (!sg_wire_open(&e->to)) return;
    if (beat_now && !e->to.connecting) (void)put(p, e, FRAME_BEAT, 0, &b, sizeof b);
    if (sg_wire_send(&e->to) && sg_wire_receive(&e->to, hear_nothing, NULL)) return;
    sg_wire_close(&e->to);
    notice_lost(p, e, true, "no connection");
}

static void work(sg_peers *p) {
    double now = sg_now();
    bool beat_now = now >= p->next_beat;
    /* whoever was stopped itself has not listened */
    bool absent = now - p->last_round > p->options.silence / 2.0;

    p->last_round = now;
    if (beat_now) p->next_beat = now + p->interval;
    accept_all(p);
    meet_strangers(p, now);
    for (entry *e = p->entry; e; e = e->next) {
        listen_to(p, e);
        if (e->lost) continue;
        if (!e->called && (e->watched || sg_wire_open(&e->from))) call(p, e); /* or call back */
        speak_to(p, e, beat_now);
        if (absent) e->heard_at = now;
        if (now - e->heard_at > p->options.silence) notice_lost(p, e, false, "it is silent");
    }
    sweep(p);
}

static size_t count_sockets(const sg_peers *p) {
    size_t n = 2;

    for (const entry *e = p->entry; e; e = e->next) n += 2;
    for (const stranger *s = p->stranger; s; s = s->next) n++;
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
    p->poll[n++] = (struct pollfd){p->listener, POLLIN, 0};
    for (const entry *e = p->entry; e; e = e->next) {
        poll_for(p, &n, &e->to);
        poll_for(p, &n, &e->from);
    }
    for (const stranger *s = p->stranger; s; s = s->next) poll_for(p, &n, &s->wire);
    return n;
}

static void *thread_main(void *argument) {
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

/* --- the public part -------------------------------------------------------------------------- */

static sg_status start(sg_peers *p) {
    int port = 0, error;

    SG_TRY(sg_wire_listen(&p->listener, &port));
    SG_TRY(sg_wire_address(p->options.interface, port, p->me.address));
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wake < 0) return sg_fail(SG_ERR_UNAVAILABLE, "peers: no eventfd: %s", strerror(errno));
    error = pthread_create(&p->thread, NULL, thread_main, p);
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
        entry *e = p->entry;

        p->entry = e->next;
        clear_entry(e);
        sg_free(e);
    }
    while (p->stranger) {
        stranger *s = p->stranger;

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
static entry *watch_one(sg_peers *p, const sg_peer *who) {
    entry *e = find(p, who->id);

    if (!e) e = add(p, who);
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
    for (entry *e = p->entry; e; e = e->next) {
        e->watched = false;
        forget_said(e, epoch);
    }
    for (int i = 0; i < n && st == SG_OK; i++)
        if (strcmp(list[i].id, p->me.id) != 0 && !watch_one(p, &list[i]))
            st = sg_fail(SG_ERR_OOM, "peers: no memory");
    for (entry *e = p->entry; e; e = e->next) {
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
    const entry *e;
    bool lost;

    pthread_mutex_lock(&p->lock);
    e = find(p, id);
    lost = e && e->lost;
    pthread_mutex_unlock(&p->lock);
    return lost;
}

static bool any(sg_peers *p, bool (*is)(const entry *e)) {
    bool found = false;

    pthread_mutex_lock(&p->lock);
    for (const entry *e = p->entry; e; e = e->next) found = found || (e->watched && is(e));
    pthread_mutex_unlock(&p->lock);
    return found;
}

static bool is_lost(const entry *e) { return e->lost; }
static bool is_heard(const entry *e) { return e->heard; }
static bool is_there(const entry *e) { return !e->gone; }

bool sg_peers_any_lost(sg_peers *p) { return any(p, is_lost); }
bool sg_peers_any_heard(sg_peers *p) { return any(p, is_heard); }
bool sg_peers_all_gone(sg_peers *p) { return !any(p, is_there); }

/* Those who are cut off together fall silent at about the same time, but one is lost first. */
bool sg_peers_outnumbered(sg_peers *p) {
    double now = sg_now();
    int near = 1, far = 0;
    bool silent = false;

    pthread_mutex_lock(&p->lock);
    for (const entry *e = p->entry; e; e = e->next) {
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

int sg_peers_asking(sg_peers *p, sg_peer *list, int room) {
    int n = 0;

    pthread_mutex_lock(&p->lock);
    for (const entry *e = p->entry; e && n < room; e = e->next)
        if (e->asking && !e->watched && sg_wire_open(&e->from) && sg_wire_open(&e->to) &&
            !e->to.connecting)
            list[n++] = e->who;
    pthread_mutex_unlock(&p->lock);
    return n;
}

sg_status sg_peers_say(sg_peers *p, sg_said_topic topic, const void *data, size_t bytes) {
    bool told = true;

    pthread_mutex_lock(&p->lock);
    for (entry *e = p->entry; e; e = e->next) {
        if (!e->watched || e->lost) continue;
        if (!e->called) call(p, e);
        told = (e->lost || put(p, e, FRAME_SAID, topic, data, bytes)) && told;
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

/* Under the lock; false: there is nothing to wait for any more. */
static bool wait_until(sg_peers *p, double end) {
    struct timespec t = clock_at(end);

    return pthread_cond_timedwait(&p->changed, &p->lock, &t) != ETIMEDOUT;
}

static sg_status copy_said(const said *s, const char *id, void *data, size_t room, size_t *bytes) {
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
    bool waiting = true;
    sg_status st = SG_OK;

    pthread_mutex_lock(&p->lock);
    for (;;) {
        const entry *e = find(p, id);
        const said *s = e ? &e->said[topic] : NULL;

        if (s && s->there && s->epoch == p->epoch) {
            st = copy_said(s, id, data, room, bytes);
        } else if (!e || e->lost) {
            st = sg_fail(SG_ERR_UNAVAILABLE, "worker %s is gone", id);
        } else if (p->latest > p->epoch) {
            st = sg_fail(SG_ERR_UNAVAILABLE, "the group has gone on to epoch %lld",
                         (long long)p->latest);
        } else if (!waiting) {
            st = sg_fail(SG_ERR_UNAVAILABLE, "worker %s (%s) says nothing", id, e->who.address);
        } else {
            waiting = wait_until(p, end);
            continue;
        }
        break;
    }
    pthread_mutex_unlock(&p->lock);
    return st;
}

void sg_peers_wait(sg_peers *p, double seconds) {
    pthread_mutex_lock(&p->lock);
    (void)wait_until(p, sg_now() + seconds);
    pthread_mutex_unlock(&p->lock);
}
