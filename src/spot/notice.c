/* The watcher: a thread that finds out which cloud this is, then asks its service for notices.
 *
 * Others read the state alone; what was heard goes to the log, before it. The thread ends when an
 * interruption was heard (on Azure: acknowledged) or when there is no service. */
#define _GNU_SOURCE /* gmtime_r */
#include "spot/notice.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "spot/provider.h"

enum {
    kRounds = 3,      /* in which "auto" looks for a service */
    kLostWarning = 3, /* failures in a row that are worth a line */
    kNear = 3600,     /* seconds */
};

static const double kTimeout = 2, kRetry = 10; /* seconds */
static const double kSlowest = 15;  /* longest pause after failures: half of GCP's notice */
static const double kFarthest = 60; /* longest pause while a service is looked for */

static const char kEndpoint[] = "http://169.254.169.254"; /* of all three */
static const sg_provider *const providers[] = {&sg_provider_aws, &sg_provider_gcp,
                                               &sg_provider_azure};
enum { kProviders = sizeof providers / sizeof providers[0] };

struct sg_notices {
    char *endpoint;          /* owned */
    const sg_provider *only; /* NULL: auto */
    double poll, timeout, retry;
    pthread_t thread;
    atomic_bool stop;
    _Atomic(sg_web *) web; /* made by the thread; destroyed after its end */
    atomic_int state, provider;
    _Atomic double until; /* of the interruption; 0 */

    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool wanted, done; /* an acknowledgement; with the mutex */
};

/* --- finding the service ---------------------------------------------------------------------- */

/* Which of the candidates answers as itself; NULL: none. One after the other: they are one address,
 * and whoever is there answers at once, if with a refusal. */
static const sg_provider *look_once(const sg_notices *n, sg_session *s, bool *hidden) {
    const sg_provider *const *candidates = n->only ? &n->only : providers;
    int count = n->only ? 1 : kProviders;

    *hidden = false;
    for (int i = 0; i < count && !*hidden && !atomic_load(&n->stop); i++) {
        sg_presence presence = candidates[i]->recognise(s);

        if (presence == SG_PRESENT) return candidates[i];
        *hidden = presence == SG_HIDDEN;
    }
    return NULL;
}

static void tell_found(const sg_provider *p, const sg_session *s) {
    sg_log(SG_LOG_INFO,
           "spot: %s's metadata service answers%s: notices of an interruption are heard", p->name,
           p == &sg_provider_aws && !s->token[0] ? " (IMDSv1; IMDSv2's tokens do not arrive)" : "");
}

static void tell_hidden(void) {
    sg_log(SG_LOG_WARN,
           "spot: AWS's metadata service is there, but its tokens (IMDSv2) do not arrive: this "
           "looks like a bridged container, out of reach with a hop limit of 1, so that no notice "
           "of an interruption is heard; remedy: aws ec2 modify-instance-metadata-options "
           "--instance-id ID --http-put-response-hop-limit 2, or the host's network");
}

static void tell_absent(const sg_notices *n, const sg_session *s) {
    if (n->only)
        sg_log(SG_LOG_WARN,
               "spot: %s's metadata service does not answer (%s): no notice of an interruption is "
               "heard; spot.provider = none asks no more",
               n->only->name, s->problem);
    else
        sg_log(SG_LOG_INFO, "spot: no metadata service of AWS, GCP or Azure answers: no notice of "
                            "an interruption is heard here; SIGTERM saves too");
}

/* Until a service is found, stopped, or, for "auto", nothing was seen in all rounds. Where AWS is
 * hidden it is looked for again and again: the remedy helps a run that goes on. */
static const sg_provider *look(const sg_notices *n, sg_session *s) {
    bool told_absent = false, told_hidden = false;
    double pause = n->retry;

    for (int round = 1; !atomic_load(&n->stop); round++) {
        bool hidden;
        const sg_provider *found = look_once(n, s, &hidden);

        if (atomic_load(&n->stop)) return NULL;
        if (found) {
            tell_found(found, s);
            return found;
        }
        if (hidden && !told_hidden) tell_hidden();
        told_hidden = told_hidden || hidden;
        if (!told_hidden && !told_absent) tell_absent(n, s);
        told_absent = true;
        if (!n->only && !told_hidden && round == kRounds) return NULL;
        if (sg_web_pause(s->web, pause) != SG_OK) return NULL;
        pause = fmin(5 * pause, kFarthest);
    }
    return NULL;
}

/* --- listening -------------------------------------------------------------------------------- */

static bool is_near(time_t left) { return left >= 0 && left <= kNear; }

/* ", at 2017-09-18T08:22:00Z (in 118 s)"; a time that is not near says more of the clock. */
static void describe_time(int64_t when, char *text, size_t size) {
    time_t t = (time_t)when, left = t - time(NULL);
    struct tm tm;
    char at[32];

    if (when == 0 || !gmtime_r(&t, &tm)) {
        snprintf(text, size, ", at any moment");
        return;
    }
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (is_near(left))
        snprintf(text, size, ", at %s (in %d s)", at, (int)left);
    else
        snprintf(text, size, ", at %s", at);
}

static void note_time(sg_notices *n, int64_t when) {
    time_t left = (time_t)when - time(NULL);

    if (when != 0 && is_near(left)) atomic_store(&n->until, sg_now() + (double)left);
}

/* The line first, then the state that others see. */
static void announce(sg_notices *n, const sg_provider *p, sg_heard heard, const sg_notice *notice) {
    bool interrupt = heard == SG_HEARD_INTERRUPT;
    char time[64];

    describe_time(notice->when, time, sizeof time);
    sg_log(SG_LOG_WARN, "spot: %s %s: %s%s", p->name,
           interrupt ? "takes this machine away" : "warns that this machine may go", notice->what,
           time);
    if (interrupt) note_time(n, notice->when);
    atomic_store(&n->state, interrupt ? SG_NOTICE_INTERRUPT : SG_NOTICE_REBALANCE);
}

/* Lines about what goes wrong: each kind once, until it went right. */
typedef struct {
    int failures; /* in a row */
    bool told_failure, told_nonsense;
} trouble;

static void tell_trouble(trouble *t, const sg_provider *p, sg_heard heard, const char *problem) {
    if (heard == SG_HEARD_NONSENSE && !t->told_nonsense) {
        sg_log(SG_LOG_WARN, "spot: %s's metadata service said what is no notice: %s; ignored",
               p->name, problem);
        t->told_nonsense = true;
    }
    t->failures = heard == SG_HEARD_FAILURE ? t->failures + 1 : 0;
    if (t->failures == kLostWarning && !t->told_failure) {
        sg_log(SG_LOG_WARN,
               "spot: %s's metadata service does not answer (%s): a notice of an interruption may "
               "be missed",
               p->name, problem);
        t->told_failure = true;
    }
    if (t->failures == 0 && t->told_failure) {
        sg_log(SG_LOG_INFO, "spot: %s's metadata service answers again", p->name);
        t->told_failure = false;
    }
}

/* Until an interruption is heard (true) or the watcher is stopped. */
static bool listen(sg_notices *n, const sg_provider *p, sg_session *s, sg_notice *notice) {
    double every = n->poll > 0 ? n->poll : p->poll;
    trouble t = {0};

    while (!atomic_load(&n->stop)) {
        double began = sg_now(), pause;
        sg_heard heard = p->poll_once(s, notice);

        if (atomic_load(&n->stop)) return false;
        if (heard == SG_HEARD_INTERRUPT || (heard == SG_HEARD_ADVICE && !s->advised))
            announce(n, p, heard, notice);
        if (heard == SG_HEARD_INTERRUPT) return true;
        if (heard == SG_HEARD_ADVICE) s->advised = true;
        tell_trouble(&t, p, heard, s->problem);
        pause = fmin(every * pow(2, fmin(t.failures, 10)), fmax(kSlowest, every));
        if (sg_web_pause(s->web, pause - (sg_now() - began)) != SG_OK) return false;
    }
    return false;
}

static void await_acknowledgement(sg_notices *n, const sg_provider *p, sg_session *s,
                                  const sg_notice *notice) {
    pthread_mutex_lock(&n->mutex);
    while (!n->wanted && !atomic_load(&n->stop)) pthread_cond_wait(&n->changed, &n->mutex);
    pthread_mutex_unlock(&n->mutex);
    if (atomic_load(&n->stop) || p->acknowledge(s, notice) || atomic_load(&n->stop)) return;
    sg_log(SG_LOG_WARN, "spot: %s was not told that it may go on (%s)", p->name, s->problem);
}

static void listen_to_cloud(sg_notices *n, sg_web *web) {
    sg_session session = {.web = web, .endpoint = n->endpoint, .timeout = n->timeout};
    const sg_provider *found = look(n, &session);
    sg_notice notice;

    atomic_store(&n->provider, found ? found->id : SG_SPOT_NONE);
    if (found && listen(n, found, &session, &notice) && found->acknowledge)
        await_acknowledgement(n, found, &session, &notice);
}

static void *watch(void *context) {
    sg_notices *n = context;
    sg_web *web;

    if (sg_web_create(&web) == SG_OK) {
        atomic_store(&n->web,
                     web); /* from here on sg_notices_stop cancels; before, `stop` is seen */
        listen_to_cloud(n, web);
    } else {
        sg_log(SG_LOG_WARN, "spot: %s: no notice of an interruption is heard", sg_last_error());
        atomic_store(&n->provider, SG_SPOT_NONE);
    }
    pthread_mutex_lock(&n->mutex);
    n->done = true;
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->mutex);
    return NULL;
}

/* --- start and end ---------------------------------------------------------------------------- */

static bool is_endpoint(const char *text) {
    static const char kScheme[] = "http://";
    static const char kAllowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    size_t length = strlen(text), scheme = strlen(kScheme);

    return length > scheme && length < 256 && strncmp(text, kScheme, scheme) == 0 &&
           strspn(text + scheme, kAllowed) == length - scheme;
}

static sg_status choose(const sg_notices_options *o, sg_notices *n) {
    for (int i = 0; i < kProviders; i++)
        if (strcmp(o->provider, providers[i]->key) == 0) n->only = providers[i];
    if (!n->only && strcmp(o->provider, "auto") != 0)
        return sg_fail(SG_ERR_CONFIG,
                       "spot.provider: `%.100s` is none of auto, aws, gcp, azure, none",
                       o->provider);
    n->poll = o->poll;
    n->timeout = o->timeout > 0 ? o->timeout : kTimeout;
    n->retry = o->retry > 0 ? o->retry : kRetry;
    n->endpoint = sg_strdup(o->endpoint[0] ? o->endpoint : kEndpoint);
    return n->endpoint ? SG_OK : sg_fail(SG_ERR_OOM, "spot: no memory");
}

/* Signals are for the other threads; that includes the SIGPIPE of a connection that was closed. */
static int start_thread(sg_notices *n) {
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&n->thread, NULL, watch, n);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

static void clear(sg_notices *n) {
    sg_web_destroy(atomic_load(&n->web));
    pthread_cond_destroy(&n->changed);
    pthread_mutex_destroy(&n->mutex);
    sg_free(n->endpoint);
    sg_free(n);
}

sg_status sg_notices_start(const sg_notices_options *options, sg_notices **out) {
    pthread_condattr_t attributes;
    sg_notices *n;
    sg_status st;
    int error;

    if (options->endpoint[0] && !is_endpoint(options->endpoint))
        return sg_fail(SG_ERR_CONFIG, "spot.endpoint: `%.100s` is not of the form http://HOST:PORT",
                       options->endpoint);
    if (strcmp(options->provider, "none") == 0) {
        *out = NULL;
        return SG_OK;
    }
    n = sg_calloc(1, sizeof *n);
    if (!n) return sg_fail(SG_ERR_OOM, "spot: no memory");
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&n->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&n->mutex, NULL);
    st = choose(options, n);
    if (st == SG_OK && (error = start_thread(n)) != 0)
        st = sg_fail(SG_ERR_UNAVAILABLE, "spot: no thread: %s", strerror(error));
    if (st == SG_OK)
        *out = n;
    else
        clear(n);
    return st;
}

void sg_notices_stop(sg_notices *n) {
    sg_web *web;

    if (!n) return;
    pthread_mutex_lock(&n->mutex);
    atomic_store(&n->stop, true);
    pthread_cond_broadcast(&n->changed);
    pthread_mutex_unlock(&n->mutex);
    web = atomic_load(&n->web);
    if (web) sg_web_cancel(web);
    pthread_join(n->thread, NULL);
    clear(n);
}

/* --- what was heard --------------------------------------------------------------------------- */

sg_notice_state sg_notices_state(const sg_notices *n) {
    return n ? (sg_notice_state)atomic_load(&n->state) : SG_NOTICE_NONE;
}

sg_spot_provider sg_notices_provider(const sg_notices *n) {
    return n ? (sg_spot_provider)atomic_load(&n->provider) : SG_SPOT_NONE;
}

double sg_notices_until(const sg_notices *n) { return n ? atomic_load(&n->until) : 0.0; }

void sg_notices_acknowledge(sg_notices *n) {
    struct timespec until;

    if (sg_notices_state(n) != SG_NOTICE_INTERRUPT) return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)ceil(n->timeout);
    pthread_mutex_lock(&n->mutex);
    n->wanted = true;
    pthread_cond_broadcast(&n->changed);
    while (!n->done && pthread_cond_timedwait(&n->changed, &n->mutex, &until) == 0) continue;
    pthread_mutex_unlock(&n->mutex);
}
