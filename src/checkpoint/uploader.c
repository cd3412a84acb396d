#define _GNU_SOURCE
#include "checkpoint/uploader.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"

enum { kKinds = 16, kNice = 10, kEndSeconds = 2, kIdle = 3600 };
static const double kUrgentPause = 1.0;

struct sg_uploader {
    sg_store *store; /* owned; the thread's, but for its url and sg_store_cancel */
    sg_uploader_options options;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below; on the monotonic clock */

    int waiting; /* the newest offered file, open and owned; -1: none */
    int64_t waiting_step;
    int64_t offered, sent; /* newest steps; -1: none */
    bool busy;             /* the thread is at the store */
    bool urgent;           /* somebody waits */
    bool stop, ended;      /* asked of the thread; said by it */
    bool abandoned;        /* the thread is to free this */
    double next;           /* sg_now() of the next attempt, after a failure or an upload */

    /* the thread's own */
    int failures; /* since the last success */
    double failing_since;
    int kind[kKinds]; /* of failures, warned of since then */
    int n_kinds;
    bool fresh, untidy; /* has yet to remove another run's; has warned that it cannot remove */
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
    if (u->waiting >= 0) close(u->waiting);
    pthread_mutex_destroy(&u->lock);
    pthread_cond_destroy(&u->changed);
    sg_store_close(u->store);
    sg_free(u);
}

static bool is_new_kind(sg_uploader *u, int kind) {
    for (int i = 0; i < u->n_kinds; i++)
        if (u->kind[i] == kind) return false;
    if (u->n_kinds < kKinds) u->kind[u->n_kinds++] = kind;
    return true;
}

static sg_status remove_from(sg_uploader *u, int first, int64_t spared) {
    sg_store_entry *entries;
    sg_status st = SG_OK;
    int n;

    SG_TRY(sg_store_newest(u->store, &entries, &n));
    for (int i = first; i < n && st == SG_OK; i++)
        if (sg_step_of(entries[i].name) != spared) st = sg_store_remove(u->store, entries[i].name);
    sg_free(entries);
    return st;
}

static sg_status upload(sg_uploader *u, int file, int64_t step) {
    char name[SG_STEP_NAME];

    if (u->fresh) SG_TRY(remove_from(u, 0, -1));
    u->fresh = false;
    sg_step_name(step, name);
    return sg_store_put_open(u->store, name, file);
}

/* What is too old goes. A store that lets nothing be removed is used nevertheless. */
static void tidy(sg_uploader *u, int64_t step) {
    sg_status st = remove_from(u, u->options.keep, step);

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
static double failed(sg_uploader *u) {
    double share = 0.5 + 0.5 * rand_r(&u->random) / (double)RAND_MAX;
    double pause = u->options.first_pause * pow(2.0, fmin(u->failures, 30.0));

    if (u->failures++ == 0) u->failing_since = sg_now();
    if (is_new_kind(u, sg_store_failure(u->store)))
        sg_log(SG_LOG_WARN,
               "a checkpoint cannot be copied to the store; training goes on, "
               "and it is tried again: %s",
               sg_last_error());
    return share * fmin(pause, u->options.longest_pause);
}

/* One attempt with the newest file. The lock is held, but for the time at the store. */
static void attempt(sg_uploader *u) {
    int file = u->waiting;
    int64_t step = u->waiting_step;
    double pause = 0.0;
    sg_status st;

    u->waiting = -1;
    u->busy = true;
    pthread_mutex_unlock(&u->lock);
    st = upload(u, file, step);
    if (st == SG_OK)
        succeeded(u, step);
    else if (st != SG_ERR_INTERRUPTED)
        pause = failed(u);
    pthread_mutex_lock(&u->lock);
    if (st == SG_OK) {
        u->sent = step;
        pthread_mutex_unlock(&u->lock);
        tidy(u, step);
        pthread_mutex_lock(&u->lock);
    } else if (u->waiting < 0) {
        u->waiting = file;
        u->waiting_step = step;
        file = -1;
    }
    if (file >= 0) close(file);
    if (u->urgent) pause = fmin(pause, kUrgentPause);
    u->next = sg_now() + (st == SG_OK && !u->urgent ? u->options.every : pause);
    u->busy = false;
    pthread_cond_broadcast(&u->changed);
}

static void *uploader_main(void *context) {
    sg_uploader *u = context;
    bool abandoned;

    /* Linux: of this thread alone. What is computed comes first */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), kNice);
    pthread_mutex_lock(&u->lock);
    while (!u->stop) {
        if (u->waiting >= 0 && sg_now() >= u->next)
            attempt(u);
        else
            wait_until(u, u->waiting >= 0 ? u->next : sg_now() + kIdle);
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
    if (!u) return sg_fail(SG_ERR_OOM, "no memory for uploading checkpoints");
    u->store = store;
    u->options = *options;
    u->waiting = -1;
    u->offered = u->sent = -1;
    u->fresh = options->fresh;
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

void sg_uploader_offer(sg_uploader *u, const char *path, int64_t step) {
    int file, old = -1;

    if (!u) return;
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        sg_log(SG_LOG_WARN, "%s: cannot be opened for the store: %s", path, strerror(errno));
        return;
    }
    pthread_mutex_lock(&u->lock);
    if (step == u->offered) {
        old = file; /* it is there, or on its way */
    } else {
        old = u->waiting;
        u->waiting = file;
        u->waiting_step = u->offered = step;
        pthread_cond_broadcast(&u->changed);
    }
    pthread_mutex_unlock(&u->lock);
    if (old >= 0) close(old);
}

bool sg_uploader_wait(sg_uploader *u, double seconds) {
    double until = sg_now() + seconds;
    bool done;

    if (!u) return true;
    pthread_mutex_lock(&u->lock);
    u->urgent = true;
    u->next = 0.0;
    pthread_cond_broadcast(&u->changed);
    while ((u->waiting >= 0 || u->busy) && sg_now() < until) wait_until(u, until);
    u->urgent = false;
    done = u->sent == u->offered;
    pthread_mutex_unlock(&u->lock);
    return done;
}

int64_t sg_uploader_step(sg_uploader *u) {
    int64_t step;

    pthread_mutex_lock(&u->lock);
    step = u->sent;
    pthread_mutex_unlock(&u->lock);
    return step;
}
