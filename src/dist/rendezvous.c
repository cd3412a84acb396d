/* What all kinds of rendezvous share: a thread that does what is asked for, so that whoever asks
 * waits only as long as was promised. A file server that does not answer holds a process for as
 * long as it likes; here it holds that thread, and what was asked is left to it: should the server
 * answer later, it takes place nevertheless. The thread also spares the kinds all locks. */
#define _GNU_SOURCE
#include "dist/rendezvous.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/threads.h"
#include "dist/rendezvous_kind.h"

enum { kError = 512 };

/* Seconds: for everything, of which a kind gets less so that it can say itself what is wrong. */
static const double kLimit = 2.0, kForKind = 0.9;
static const double kLook = 0.5;      /* the least that a look during a wait is given */
static const double kLastWords = 1.0; /* to withdraw when it is closed */

typedef struct errand errand;
typedef sg_status (*errand_fn)(sg_rendezvous *r, errand *e);

/* One call. The thread frees it when nobody waits for it any more. */
struct errand {
    errand_fn run;
    double deadline;
    char id[SG_MEMBER_ID_BYTES];
    char *text; /* owned: what is written, or what was read */
    int64_t epoch;
    bool won;
    sg_announced *list; /* owned */
    int n;
    sg_view view;
    sg_status status;
    char error[kError];
    bool done, abandoned;
    errand *next;
};

struct sg_rendezvous {
    char *url; /* owned */
    pthread_t thread;
    pthread_mutex_t lock;   /* of all that follows but the place */
    pthread_cond_t changed; /* in any of it; on the monotonic clock */
    errand *first, *last;   /* that wait for the thread */
    errand *running;
    bool closing, orphaned; /* the thread is to end; it frees all of this */
    bool has_seen;
    uint64_t seen;     /* of sg_view.members */
    sg_meeting *place; /* the thread's; what of it never changes others read too */
};

static void free_errand(errand *e) {
    sg_announced_free(e->list, e->n);
    sg_free(e->text);
    sg_free(e);
}

static void free_all(sg_rendezvous *r) {
    if (r->place) {
        sg_meeting_forget(r->place);
        r->place->kind->destroy(r->place);
    }
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    sg_free(r->url);
    sg_free(r);
}

/* The first in the queue. With the lock, which it gives up meanwhile. */
static void run_errand(sg_rendezvous *r) {
    errand *e = r->running = r->first;
    sg_status st;

    r->first = e->next;
    if (!r->first) r->last = NULL;
    pthread_mutex_unlock(&r->lock);
    st = e->run(r, e);
    if (st != SG_OK) snprintf(e->error, sizeof e->error, "%s", sg_last_error());
    pthread_mutex_lock(&r->lock);
    e->status = st;
    e->done = true;
    r->running = NULL;
    if (e->abandoned) free_errand(e);
    pthread_cond_broadcast(&r->changed);
}

static void *serve(void *context) {
    sg_rendezvous *r = context;
    bool orphaned;

    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (!r->first && !r->closing) pthread_cond_wait(&r->changed, &r->lock);
        if (!r->first) break;
        run_errand(r);
    }
    orphaned = r->orphaned;
    pthread_mutex_unlock(&r->lock);
    if (orphaned) free_all(r);
    return NULL;
}

/* --- errands ---------------------------------------------------------------------------------- */

static sg_status create_errand(const sg_rendezvous *r, errand_fn run, const char *text,
                               errand **out) {
    errand *e = sg_calloc(1, sizeof *e);

    if (e && text) e->text = sg_strdup(text);
    if (!e || (text && !e->text)) {
        sg_free(e);
        return sg_fail(SG_ERR_OOM, "%s: no memory to ask it", r->url);
    }
    e->run = run;
    *out = e;
    return SG_OK;
}

/* With the lock. False: it is later than `deadline`. */
static bool wait_for_change(sg_rendezvous *r, double deadline) {
    struct timespec until = {.tv_sec = (time_t)deadline};

    until.tv_nsec = (long)((deadline - (double)until.tv_sec) * 1e9);
    pthread_cond_timedwait(&r->changed, &r->lock, &until);
    return sg_now() < deadline;
}

/* With the lock: at the queue's end. */
static void append(sg_rendezvous *r, errand *e) {
    if (r->last)
        r->last->next = e;
    else
        r->first = e;
    r->last = e;
    pthread_cond_broadcast(&r->changed);
}

/* With the lock: nobody waits for it any more. What the thread is at, it frees. */
static void abandon(sg_rendezvous *r, errand *e) {
    errand *before = NULL;

    e->abandoned = true;
    if (r->running == e) return;
    for (errand *other = r->first; other != e; other = other->next) before = other;
    if (before)
        before->next = e->next;
    else
        r->first = e->next;
    if (r->last == e) r->last = before;
    free_errand(e);
}

/* On success *e is as the thread has left it; otherwise it is gone. */
static sg_status send(sg_rendezvous *r, errand *e, double seconds) {
    double deadline = sg_now() + seconds;
    sg_status st;
    bool done;

    e->deadline = sg_now() + kForKind * seconds;
    pthread_mutex_lock(&r->lock);
    append(r, e);
    while (!e->done && wait_for_change(r, deadline)) {
    }
    done = e->done;
    if (!done) abandon(r, e);
    pthread_mutex_unlock(&r->lock);
    if (!done) return sg_fail(SG_ERR_UNAVAILABLE, "%s: no answer within %.2g s", r->url, seconds);
    st = e->status == SG_OK ? SG_OK : sg_fail(e->status, "%s", e->error);
    if (st != SG_OK) free_errand(e);
    return st;
}

/* For those of which nothing but the status is of interest. */
static sg_status send_and_forget(sg_rendezvous *r, errand *e, double seconds) {
    SG_TRY(send(r, e, seconds));
    free_errand(e);
    return SG_OK;
}

static sg_status run_open(sg_rendezvous *r, errand *e) {
    static const char kFile[] = "file://", kEtcd[] = "etcd://";

    if (strncmp(r->url, kFile, sizeof kFile - 1) == 0)
        return sg_meeting_open_file(r->url, e->deadline, &r->place);
    if (strncmp(r->url, kEtcd, sizeof kEtcd - 1) == 0)
        return sg_meeting_open_etcd(r->url, e->deadline, &r->place);
    return sg_fail(SG_ERR_CONFIG,
                   "'%s': workers meet in file:///FOLDER or at etcd://HOST:PORT[,HOST:PORT...]",
                   r->url);
}

static sg_status run_announce(sg_rendezvous *r, errand *e) {
    return r->place->kind->announce(r->place, e->id, e->text, e->deadline);
}

static sg_status run_beat(sg_rendezvous *r, errand *e) {
    if (!r->place->text) return sg_fail(SG_ERR_ARG, "%s: nothing is announced", r->url);
    return r->place->kind->beat(r->place, e->deadline);
}

static sg_status run_withdraw(sg_rendezvous *r, errand *e) {
    return r->place->kind->withdraw(r->place, e->deadline);
}

static sg_status run_members(sg_rendezvous *r, errand *e) {
    return r->place->kind->members(r->place, e->deadline, &e->list, &e->n, &e->view);
}

static sg_status run_propose(sg_rendezvous *r, errand *e) {
    return r->place->kind->propose(r->place, e->epoch, e->text, e->deadline, &e->won);
}

static sg_status run_newest(sg_rendezvous *r, errand *e) {
    return r->place->kind->newest(r->place, e->deadline, &e->epoch, &e->text);
}

static sg_status run_look(sg_rendezvous *r, errand *e) {
    return r->place->kind->look(r->place, e->deadline, &e->view);
}

/* --- what others call ------------------------------------------------------------------------- */

/* It hears no signals: those are the program's. */
static int start_thread(sg_rendezvous *r) {
    sigset_t all, before;
    int failed;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&r->thread, NULL, serve, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

static sg_status create(const char *url, sg_rendezvous **out) {
    sg_rendezvous *r = sg_calloc(1, sizeof *r);
    pthread_condattr_t attributes;
    int failed;

    if (r) r->url = sg_strdup(url);
    if (!r || !r->url) {
        sg_free(r);
        return sg_fail(SG_ERR_OOM, "%s: no memory to meet there", url);
    }
    /* these never fail on Linux */
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&r->lock, NULL);
    failed = start_thread(r);
    if (failed) {
        free_all(r);
        return sg_fail(SG_ERR_OOM, "%s: cannot start a thread: %s", url, strerror(failed));
    }
    *out = r;
    return SG_OK;
}

sg_status sg_rendezvous_open(const char *url, sg_rendezvous **out) {
    sg_rendezvous *r = NULL;
    errand *e = NULL;
    sg_status st;

    SG_TRY(create(url, &r));
    st = create_errand(r, run_open, NULL, &e);
    if (st == SG_OK) st = send_and_forget(r, e, kLimit);
    if (st == SG_OK)
        *out = r;
    else
        sg_rendezvous_close(r);
    return st;
}

/* Whether there is a place to withdraw from: not where opening it failed, or is not over yet. */
static bool is_open(sg_rendezvous *r) {
    bool is;

    pthread_mutex_lock(&r->lock);
    is = !r->running && r->place;
    pthread_mutex_unlock(&r->lock);
    return is;
}

void sg_rendezvous_close(sg_rendezvous *r) {
    errand *e = NULL;
    bool orphaned;

    if (!r) return;
    if (is_open(r) && create_errand(r, run_withdraw, NULL, &e) == SG_OK &&
        send_and_forget(r, e, kLastWords) != SG_OK) {
        /* the others will find out that it is silent */
    }
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    r->orphaned = orphaned = r->running != NULL;
    if (orphaned) pthread_detach(r->thread);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    if (orphaned) return;
    pthread_join(r->thread, NULL);
    free_all(r);
}

void sg_rendezvous_set_forget(sg_rendezvous *r, double seconds) { r->place->forget = seconds; }

static sg_status check_text(const sg_rendezvous *r, const char *text) {
    size_t bytes = strlen(text);

    if (bytes < SG_RENDEZVOUS_TEXT) return SG_OK;
    return sg_fail(SG_ERR_ARG, "%s: a text of %zu bytes; at most %d are taken", r->url, bytes,
                   SG_RENDEZVOUS_TEXT - 1);
}

sg_status sg_rendezvous_announce(sg_rendezvous *r, const char *id, const char *text) {
    errand *e = NULL;

    if (!sg_is_member_id(id))
        return sg_fail(SG_ERR_ARG, "%s: '%s' is no member's id: 16 hex digits, lower case", r->url,
                       id);
    SG_TRY(check_text(r, text));
    SG_TRY(create_errand(r, run_announce, text, &e));
    memcpy(e->id, id, sizeof e->id);
    return send_and_forget(r, e, kLimit);
}

sg_status sg_rendezvous_beat(sg_rendezvous *r) {
    errand *e = NULL;

    SG_TRY(create_errand(r, run_beat, NULL, &e));
    return send_and_forget(r, e, kLimit);
}

sg_status sg_rendezvous_withdraw(sg_rendezvous *r) {
    errand *e = NULL;

    SG_TRY(create_errand(r, run_withdraw, NULL, &e));
    return send_and_forget(r, e, kLimit);
}

sg_status sg_rendezvous_members(sg_rendezvous *r, sg_announced **list, int *n) {
    errand *e = NULL;

    SG_TRY(create_errand(r, run_members, NULL, &e));
    SG_TRY(send(r, e, kLimit));
    pthread_mutex_lock(&r->lock);
    r->seen = e->view.members;
    r->has_seen = true;
    pthread_mutex_unlock(&r->lock);
    *list = e->list;
    *n = e->n;
    e->list = NULL;
    e->n = 0;
    free_errand(e);
    return SG_OK;
}

static sg_status check_epoch(const sg_rendezvous *r, int64_t epoch) {
    if (epoch >= 1 && epoch <= SG_EPOCH_MOST) return SG_OK;
    return sg_fail(SG_ERR_ARG, "%s: %lld is no epoch: they count from 1", r->url, (long long)epoch);
}

sg_status sg_rendezvous_propose(sg_rendezvous *r, int64_t epoch, const char *text, bool *won) {
    errand *e = NULL;

    SG_TRY(check_epoch(r, epoch));
    SG_TRY(check_text(r, text));
    SG_TRY(create_errand(r, run_propose, text, &e));
    e->epoch = epoch;
    SG_TRY(send(r, e, kLimit));
    *won = e->won;
    free_errand(e);
    return SG_OK;
}

sg_status sg_rendezvous_newest(sg_rendezvous *r, int64_t *epoch, char **text) {
    errand *e = NULL;

    SG_TRY(create_errand(r, run_newest, NULL, &e));
    SG_TRY(send(r, e, kLimit));
    *epoch = e->epoch;
    *text = e->text;
    e->text = NULL;
    free_errand(e);
    return SG_OK;
}

/* Also what was seen is from now on what is compared with. */
static sg_status look(sg_rendezvous *r, int64_t epoch, double seconds, bool *changed) {
    errand *e = NULL;

    SG_TRY(create_errand(r, run_look, NULL, &e));
    SG_TRY(send(r, e, seconds));
    pthread_mutex_lock(&r->lock);
    *changed = e->view.epoch > epoch || (r->has_seen && e->view.members != r->seen);
    r->seen = e->view.members;
    r->has_seen = true;
    pthread_mutex_unlock(&r->lock);
    free_errand(e);
    return SG_OK;
}

/* Whatever hints there are have been taken before one looks. */
static void drain(int hint) {
    char bytes[4096];

    while (hint >= 0 && read(hint, bytes, sizeof bytes) > 0) {
    }
}

sg_status sg_rendezvous_wait(sg_rendezvous *r, int64_t epoch, double seconds) {
    struct pollfd hint = {.fd = r->place->hint, .events = POLLIN}; /* -1 is left out by poll */
    double end = sg_now() + seconds;

    for (;;) {
        bool changed = false;
        sg_status st;
        double left;

        drain(hint.fd);
        st = look(r, epoch, fmin(kLimit, fmax(kLook, end - sg_now())), &changed);
        left = end - sg_now();
        if (changed || left <= 0.0) return st;
        poll(&hint, 1, (int)fmin(ceil(left * 1e3), r->place->poll_ms));
    }
}
