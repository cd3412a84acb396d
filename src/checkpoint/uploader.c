#define _GNU_SOURCE
#include "checkpoint/uploader.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "checkpoint/folder.h"
#include "checkpoint/model_file.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/temporary.h"
#include "core/threads.h"

enum { kKinds = 16, kNice = 10, kEndSeconds = 2, kIdle = 3600, kRunId = 64 };
static const double kUrgentPause = 1.0, kAsk = 0.1; /* seconds */

/* What is sent: the newest under the name of its step, the best as best.h5. */
enum { NEWEST, BEST, KINDS_SENT, FETCH = KINDS_SENT };

typedef struct {
    int file;              /* the newest offered one, open and owned; -1: none waits */
    int64_t step;          /* its */
    int64_t offered, sent; /* newest steps; -1: none */
    double next;           /* sg_now() of its next upload */
} parcel;

struct sg_uploader {
    sg_store *store; /* owned; the thread's, but for its url and sg_store_cancel */
    sg_uploader_options options;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below; on the monotonic clock */

    parcel parcel[KINDS_SENT];
    bool fetching, in_vain; /* best.h5 is to be fetched; the last attempt failed */
    bool busy;              /* the thread is at the store */
    bool urgent;            /* somebody waits */
    bool stop, ended;       /* asked of the thread; said by it */
    bool abandoned;         /* the thread is to free this */
    double next;            /* sg_now() of the next attempt, after a failure */
    char *best;             /* to fetch; owned */
    char run_id[kRunId];    /* of what is fetched */

    /* the thread's own */
    int failures; /* since the last success */
    double failing_since;
    int kind[kKinds]; /* of failures, warned of since then */
    int n_kinds;
    bool untidy; /* has warned that it cannot remove */
    unsigned random;
};

sg_uploader_options sg_uploader_defaults(void) {
    return (sg_uploader_options){
        .keep = 3, .every = 30.0, .first_pause = 1.0, .longest_pause = 60.0};
}

/* Wait for a change, until sg_now() == `until` at the latest. The lock is held. */
static void wait_until(sg_uploader *u, double until) {
    double left = fmin(fmax(until - sg_now(), 0.0), kIdle), whole;
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += (long)(modf(left, &whole) * 1e9);
    at.tv_sec += (time_t)whole + at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&u->changed, &u->lock, &at);
}

static void free_all(sg_uploader *u) {
    for (int k = 0; k < KINDS_SENT; k++)
        if (u->parcel[k].file >= 0) close(u->parcel[k].file);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->changed);
    sg_store_close(u->store);
    sg_free(u->best);
    sg_free(u);
}

static bool is_new_kind(sg_uploader *u, int kind) {
    for (int i = 0; i < u->n_kinds; i++)
        if (u->kind[i] == kind) return false;
    if (u->n_kinds < kKinds) u->kind[u->n_kinds++] = kind;
    return true;
}

static sg_status upload(sg_uploader *u, int kind, int file, int64_t step) {
    char name[SG_STEP_NAME] = SG_CHECKPOINT_BEST;

    if (kind == NEWEST) sg_step_name(step, name);
    return sg_store_put_open(u->store, name, file);
}

/* What is too old goes. A store that lets nothing be removed is used nevertheless. */
static void tidy(sg_uploader *u, int64_t step) {
    sg_status st = sg_store_trim(u->store, u->options.keep, step);

    if (st == SG_OK) {
        u->untidy = false;
    } else if (st != SG_ERR_INTERRUPTED && !u->untidy) {
        u->untidy = true;
        sg_log(SG_LOG_WARN, "old checkpoints stay in the store: %s", sg_last_error());
    }
}

static void succeeded(sg_uploader *u, int64_t step) {
    if (u->failures > 0)
        sg_log(SG_LOG_WARN, "%s works again after %.0f s: step %lld is there",
               sg_store_url(u->store), sg_now() - u->failing_since, (long long)step);
    else
        sg_log(SG_LOG_DEBUG, "step %lld is in %s", (long long)step, sg_store_url(u->store));
    u->failures = u->n_kinds = 0;
}

/* Seconds until the next attempt. */
static double failed(sg_uploader *u, const char *what) {
    double share = 0.5 + 0.5 * rand_r(&u->random) / (double)RAND_MAX;
    double pause = u->options.first_pause * pow(2.0, fmin(u->failures, 30.0));

    if (u->failures++ == 0) u->failing_since = sg_now();
    if (is_new_kind(u, sg_store_failure(u->store)))
        sg_log(SG_LOG_WARN, "%s the store; training goes on, and it is tried again: %s", what,
               sg_last_error());
    return share * fmin(pause, u->options.longest_pause);
}

/* One attempt with the newest file of a kind. The lock is held, but for the time at the store. */
static void attempt(sg_uploader *u, int kind) {
    parcel *p = &u->parcel[kind];
    int file = p->file;
    int64_t step = p->step;
    double pause = 0.0;
    sg_status st;

    p->file = -1;
    u->busy = true;
    pthread_mutex_unlock(&u->lock);
    st = upload(u, kind, file, step);
    if (st == SG_OK)
        succeeded(u, step);
    else if (st != SG_ERR_INTERRUPTED)
        pause = failed(u, "a checkpoint cannot be copied to");
    pthread_mutex_lock(&u->lock);
    if (st == SG_OK) {
        p->sent = step;
        p->next = sg_now() + u->options.every;
        pthread_mutex_unlock(&u->lock);
        if (kind == NEWEST) tidy(u, step);
        pthread_mutex_lock(&u->lock);
    } else if (p->file < 0) {
        p->file = file;
        p->step = step;
        file = -1;
    }
    if (file >= 0) close(file);
    if (u->urgent) pause = fmin(pause, kUrgentPause);
    u->next = sg_now() + pause;
    u->busy = false;
    pthread_cond_broadcast(&u->changed);
}

/* --- the best of another node ----------------------------------------------------------------- */

/* Whether the file is what was to be fetched; the text says what is wrong with it. */
static sg_status check_best(const sg_uploader *u, const char *path) {
    sg_model_file file;
    sg_status st;

    SG_TRY(sg_model_file_verify(path, &file));
    if (file.step != u->options.best_step || strcmp(file.run_id, u->run_id) != 0)
        st = sg_fail(SG_ERR_MISSING, "best.h5 there is of step %lld of run %s",
                     (long long)file.step, file.run_id);
    else
        st = SG_OK;
    sg_model_file_clear(&file);
    return st;
}

/* Under its name only as long as no better one is to have that: with the lock. */
static sg_status publish_best(sg_uploader *u, const char *temporary) {
    sg_status st = SG_OK;

    pthread_mutex_lock(&u->lock);
    if (u->fetching) st = sg_file_publish(temporary, u->best);
    if (u->fetching && st == SG_OK)
        sg_log(SG_LOG_INFO, "fetched %s, of step %lld, from %s", u->best,
               (long long)u->options.best_step, sg_store_url(u->store));
    pthread_mutex_unlock(&u->lock);
    return st;
}

static sg_status get_best(sg_uploader *u) {
    char *temporary = sg_temporary_name(u->best);
    sg_status st;

    if (!temporary) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", u->best);
    st = sg_store_get(u->store, SG_CHECKPOINT_BEST, temporary);
    if (st == SG_OK) st = check_best(u, temporary);
    if (st == SG_OK) st = publish_best(u, temporary);
    unlink(temporary);
    sg_free(temporary);
    return st;
}

/* As an attempt to send. What is not there, or another's, is not asked for again. */
static void fetch(sg_uploader *u) {
    double pause = 0.0;
    sg_status st;

    u->busy = true;
    pthread_mutex_unlock(&u->lock);
    st = get_best(u);
    if (st == SG_ERR_MISSING || st == SG_ERR_DATA)
        sg_log(SG_LOG_DEBUG, "%s: %s", sg_store_url(u->store), sg_last_error());
    else if (st != SG_OK && st != SG_ERR_INTERRUPTED)
        pause = failed(u, "best.h5 cannot be fetched from");
    pthread_mutex_lock(&u->lock);
    if (st == SG_OK || st == SG_ERR_MISSING || st == SG_ERR_DATA) u->fetching = false;
    u->in_vain = st != SG_OK;
    u->next = sg_now() + (u->urgent ? fmin(pause, kUrgentPause) : pause);
    u->busy = false;
    pthread_cond_broadcast(&u->changed);
}

/* --- the thread ------------------------------------------------------------------------------- */

/* What may be done next, a kind to send or FETCH, and from when on; *when is infinite where there
 * is nothing. */
static int next_work(const sg_uploader *u, double *when) {
    int work = FETCH;

    *when = u->fetching ? u->next : (double)INFINITY;
    for (int k = 0; k < KINDS_SENT; k++) {
        const parcel *p = &u->parcel[k];
        double due = u->urgent ? u->next : fmax(u->next, p->next);

        if (p->file < 0 || due > *when || (due == *when && work != FETCH)) continue;
        *when = due;
        work = k;
    }
    return work;
}

static void *uploader_main(void *context) {
    sg_uploader *u = context;
    bool abandoned;

    /* Linux: of this thread alone. What is computed comes first */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), kNice);
    pthread_mutex_lock(&u->lock);
    while (!u->stop) {
        double when;
        int work = next_work(u, &when);

        if (sg_now() < when)
            wait_until(u, when); /* an hour at most */
        else if (work == FETCH)
            fetch(u);
        else
            attempt(u, work);
    }
    u->ended = true;
    abandoned = u->abandoned;
    pthread_cond_broadcast(&u->changed);
    pthread_mutex_unlock(&u->lock);
    if (abandoned) free_all(u);
    return NULL;
}

/* Signals are for the threads that wait for them. */
static int start(sg_uploader *u) {
    sigset_t all, old;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    error = pthread_create(&u->thread, NULL, uploader_main, u);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

sg_status sg_uploader_create(sg_store *store, const sg_uploader_options *options,
                             sg_uploader **out) {
    pthread_condattr_t monotonic;
    sg_uploader *u;
    int error;

    if (options->keep < 1)
        return sg_fail(SG_ERR_ARG, "a store keeps at least 1 checkpoint, not %d", options->keep);
    u = sg_calloc(1, sizeof *u);
    if (u && options->best) u->best = sg_strdup(options->best);
    if (!u || (options->best && !u->best)) {
        sg_free(u);
        return sg_fail(SG_ERR_OOM, "no memory for uploading checkpoints");
    }
    u->store = store;
    u->options = *options;
    u->fetching = u->best != NULL;
    if (u->best) snprintf(u->run_id, sizeof u->run_id, "%s", options->run_id);
    for (int k = 0; k < KINDS_SENT; k++) u->parcel[k] = (parcel){-1, -1, -1, -1, 0.0};
    u->random = (unsigned)getpid();
    pthread_mutex_init(&u->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&u->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    error = start(u);
    if (error) {
        u->store = NULL;
        free_all(u);
        return sg_fail(SG_ERR_UNAVAILABLE, "no thread for uploading checkpoints: %s",
                       strerror(error));
    }
    *out = u;
    return SG_OK;
}

void sg_uploader_destroy(sg_uploader *u) {
    double until = sg_now() + kEndSeconds;
    pthread_t thread;
    bool ended;

    if (!u) return;
    thread = u->thread;
    pthread_mutex_lock(&u->lock);
    u->stop = true;
    sg_store_cancel(u->store);
    pthread_cond_broadcast(&u->changed);
    while (!u->ended && sg_now() < until) wait_until(u, until);
    ended = u->ended;
    u->abandoned = !ended;
    if (!ended) sg_log(SG_LOG_WARN, "%s does not answer; left alone", sg_store_url(u->store));
    pthread_mutex_unlock(&u->lock); /* from here on an abandoned one may be gone */
    if (ended) {
        pthread_join(thread, NULL);
        free_all(u);
    } else {
        pthread_detach(thread);
    }
}

static void offer(sg_uploader *u, int kind, const char *path, int64_t step) {
    parcel *p;
    int file, old = -1;

    if (!u) return;
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        sg_log(SG_LOG_WARN, "%s: cannot be opened for the store: %s", path, strerror(errno));
        return;
    }
    pthread_mutex_lock(&u->lock);
    p = &u->parcel[kind];
    if (step == p->offered) {
        old = file; /* it is there, or on its way */
    } else {
        old = p->file;
        p->file = file;
        p->step = p->offered = step;
        pthread_cond_broadcast(&u->changed);
    }
    pthread_mutex_unlock(&u->lock);
    if (old >= 0) close(old);
}

void sg_uploader_offer(sg_uploader *u, const char *path, int64_t step) {
    offer(u, NEWEST, path, step);
}

void sg_uploader_offer_best(sg_uploader *u, const char *path, int64_t step) {
    offer(u, BEST, path, step);
}

void sg_uploader_fetch_none(sg_uploader *u) {
    if (!u) return;
    pthread_mutex_lock(&u->lock);
    u->fetching = false;
    pthread_mutex_unlock(&u->lock);
}

static bool is_pending(const sg_uploader *u) {
    bool waiting = false;

    for (int k = 0; k < KINDS_SENT; k++) waiting = waiting || u->parcel[k].file >= 0;
    return waiting || u->busy || (u->fetching && !u->in_vain);
}

bool sg_uploader_wait(sg_uploader *u, double seconds) {
    return sg_uploader_wait_unless(u, seconds, NULL, NULL);
}

bool sg_uploader_wait_unless(sg_uploader *u, double seconds, bool (*stop)(void *context),
                             void *context) {
    double until = sg_now() + seconds;
    bool done = true;

    if (!u) return true;
    pthread_mutex_lock(&u->lock);
    u->urgent = true;
    u->in_vain = false;
    u->next = 0.0;
    pthread_cond_broadcast(&u->changed);
    while (is_pending(u) && sg_now() < until && !(stop && stop(context)))
        wait_until(u, stop ? fmin(until, sg_now() + kAsk) : until);
    u->urgent = false;
    for (int k = 0; k < KINDS_SENT; k++) done = done && u->parcel[k].sent == u->parcel[k].offered;
    pthread_mutex_unlock(&u->lock);
    return done;
}

int64_t sg_uploader_step(sg_uploader *u) {
    int64_t step;

    pthread_mutex_lock(&u->lock);
    step = u->parcel[NEWEST].sent;
    pthread_mutex_unlock(&u->lock);
    return step;
}
