/* Between GPUs, by NCCL.
 *
 *   comm_init .. comm_error says done    create: until the deadline, or `stop`
 *   send, receive; comm_error, queue     exchange: launched, then done on the GPU
 *   comm_finalize, comm_destroy          destroy of what never failed
 *   comm_abort                           all else: a failure, a deadline, sg_transport_abort
 *
 * A communicator belongs to two threads. The caller's makes all calls but the last one, none of
 * which blocks, and asks again and again what became of them. The last one, which may block, is the
 * warden's, a thread of the transport's own: it begins when it is asked to, once the caller is out
 * of NCCL, or does not come out of it for half a second; and nobody calls NCCL for this
 * communicator after that.
 *
 * Who failed waits for the warden, for until then the GPU may still write to what was to be
 * received. An abort that takes more than some seconds is thus a failure of another kind: this
 * process is not to go on with that GPU's memory. */
#define _GNU_SOURCE
#include "dist/nccl_plugin.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/transport_inside.h"
#include "gpu/libraries.h"
#include "spotgrad.h"

enum { kPath = 4096, kYields = 100 };

/* Seconds: for a call that does not block, and whose thread may have to wait for a processor; for
 * the end of a communicator; between questions. */
static const double kInside = 0.5, kLate = 0.25, kRelease = 2.0, kFinalize = 1.0, kRest = 50e-6;
static const double kSlice = 0.02;

typedef struct {
    sg_transport transport;
    const sg_nccl_plugin *nccl;
    int rank, size, gpu;
    void *comm, *queue; /* NULL: not yet made */
    pthread_t warden;
    pthread_mutex_t lock;   /* of all that follows */
    pthread_cond_t changed; /* on the monotonic clock, as sg_now */
    double deadline;        /* of what the caller does; 0: nothing */
    bool inside;            /* the caller is within NCCL */
    bool asked;             /* the communicator is the warden's */
    bool finalized;         /* to be destroyed, not aborted */
    bool released;          /* by the warden */
    bool abandoned;         /* the warden frees all of it */
} wrapped;

/* What every member says. */
typedef struct {
    char magic[8];
    int32_t version, has_id;
    sg_nccl_id id;
    sg_nccl_gpu gpu;
} hello;

static const char kMagic[8] = "sgnccl1";

/* --- the lock --------------------------------------------------------------------------------- */

/* With the lock: until something changed, or `end`, on sg_now's clock. */
static void wait_until(wrapped *t, double end) {
    struct timespec at = {.tv_sec = (time_t)end};

    at.tv_nsec = (long)((end - (double)at.tv_sec) * 1e9);
    pthread_cond_timedwait(&t->changed, &t->lock, &at);
}

/* With the lock: until *flag is so, or that long; whether it is. Time for which the whole process
 * was stopped does not count, as nobody could do anything. */
static bool wait_for(wrapped *t, const bool *flag, bool so, double seconds) {
    for (double waited = 0.0; *flag != so && waited < seconds; waited += kSlice)
        wait_until(t, sg_now() + kSlice);
    return *flag == so;
}

/* Before a call of NCCL; false: no more of them. */
static bool enter(wrapped *t) {
    bool open;

    pthread_mutex_lock(&t->lock);
    open = !t->asked;
    t->inside = open;
    pthread_mutex_unlock(&t->lock);
    return open;
}

/* After it; false: what it returned counts for nothing. */
static bool leave(wrapped *t) {
    bool open;

    pthread_mutex_lock(&t->lock);
    open = !t->asked;
    t->inside = false;
    if (!open) pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    return open;
}

static void set_deadline(wrapped *t, double deadline) {
    pthread_mutex_lock(&t->lock);
    t->deadline = deadline;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

static void rest(int *round) {
    struct timespec pause = {.tv_nsec = (long)(kRest * 1e9)};

    if ((*round)++ < kYields)
        sched_yield();
    else
        nanosleep(&pause, NULL);
}

/* --- the warden ------------------------------------------------------------------------------- */

static void discard(wrapped *t) {
    pthread_cond_destroy(&t->changed);
    pthread_mutex_destroy(&t->lock);
    sg_free(t);
}

/* With the lock: until the communicator is the warden's. A caller looks at its deadline itself, as
 * long as no call keeps it. */
static void await_end(wrapped *t) {
    while (!t->asked) {
        if (t->deadline == 0.0)
            pthread_cond_wait(&t->changed, &t->lock);
        else
            wait_until(t, t->deadline + kLate);
        if (t->deadline > 0.0 && sg_now() >= t->deadline + kLate) t->asked = true;
    }
    wait_for(t, &t->inside, false, kInside);
}

static void release(wrapped *t, bool finalized) {
    const sg_nccl_plugin *nccl = t->nccl;
    const char *why = "";
    int round = 0;

    nccl->gpu_use(t->gpu, &why);
    if (t->comm && finalized) nccl->comm_destroy(t->comm);
    if (t->comm && !finalized) nccl->comm_abort(t->comm);
    if (!t->queue) return;
    while (nccl->queue_ask(t->queue, &why) == SG_NCCL_IN_PROGRESS) rest(&round);
    nccl->queue_destroy(t->queue);
}

static void *guard(void *context) {
    wrapped *t = context;
    bool finalized, abandoned;

    pthread_mutex_lock(&t->lock);
    await_end(t);
    finalized = t->finalized;
    pthread_mutex_unlock(&t->lock);
    release(t, finalized);
    pthread_mutex_lock(&t->lock);
    t->released = true;
    abandoned = t->abandoned;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
    if (abandoned) discard(t);
    return NULL;
}

static sg_status start_warden(wrapped *t) {
    pthread_condattr_t monotonic;
    int error;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&t->lock, NULL);
    error = pthread_create(&t->warden, NULL, guard, t);
    if (error == 0) return SG_OK;
    discard(t);
    return sg_fail(SG_ERR_UNAVAILABLE, "NCCL: no thread for a transport: %s", strerror(error));
}

static void abort_all(sg_transport *transport) {
    wrapped *t = (wrapped *)transport;

    pthread_mutex_lock(&t->lock);
    t->asked = true;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

/* True: the communicator is no more. */
static bool await_release(wrapped *t) {
    bool released;

    abort_all(&t->transport);
    pthread_mutex_lock(&t->lock);
    released = wait_for(t, &t->released, true, kRelease);
    pthread_mutex_unlock(&t->lock);
    return released;
}

/* --- results ---------------------------------------------------------------------------------- */

/* What an epoch cannot mend ends this worker; others go on without it. */
static sg_status judge(const wrapped *t, int result, const char *doing) {
    sg_status st = SG_ERR_UNAVAILABLE;

    if (result == SG_NCCL_ERR_CUDA) st = SG_ERR_CUDA;
    if (result == SG_NCCL_ERR_ARGUMENT || result == SG_NCCL_ERR_USAGE) st = SG_ERR_UNSUPPORTED;
    return sg_fail(st, "NCCL, %s, GPU %d, member %d of %d: %s%s", doing, t->gpu, t->rank, t->size,
                   t->nccl->text(result),
                   st == SG_ERR_UNAVAILABLE ? "" : " (NCCL_DEBUG=WARN tells more)");
}

static sg_status fail_cuda(const wrapped *t, const char *doing, const char *why) {
    return sg_fail(SG_ERR_CUDA, "NCCL, %s, GPU %d, member %d of %d: %s", doing, t->gpu, t->rank,
                   t->size, why);
}

static sg_status fail_aborted(wrapped *t) {
    bool late;

    pthread_mutex_lock(&t->lock);
    late = t->deadline > 0.0 && sg_now() >= t->deadline;
    pthread_mutex_unlock(&t->lock);
    return sg_fail(SG_ERR_UNAVAILABLE, "NCCL, member %d of %d: %s", t->rank, t->size,
                   late ? "a call has not returned in time" : "the transport was aborted");
}

/* What has become of the calls so far. *busy is only ever set. */
static sg_status ask_comm(wrapped *t, const char *doing, bool *busy) {
    int result, now = SG_NCCL_OK;

    if (!enter(t)) return fail_aborted(t);
    result = t->nccl->comm_error(t->comm, &now);
    if (!leave(t)) return fail_aborted(t);
    if (result == SG_NCCL_OK) result = now;
    if (result == SG_NCCL_IN_PROGRESS) *busy = true;
    return result == SG_NCCL_OK || *busy ? SG_OK : judge(t, result, doing);
}

static sg_status ask_queue(wrapped *t, const char *doing, bool *busy) {
    const char *why = "";
    int result;

    if (!enter(t)) return fail_aborted(t); /* the queue goes with the communicator */
    result = t->nccl->queue_ask(t->queue, &why);
    if (!leave(t)) return fail_aborted(t);
    if (result == SG_NCCL_IN_PROGRESS) *busy = true;
    return result == SG_NCCL_OK || *busy ? SG_OK : fail_cuda(t, doing, why);
}

/* Until all is done: on the host, where that is when it is launched, or also on the GPU, whose
 * queue is asked first: after an error it is empty, too. `in` (may be NULL) can stop it. */
static sg_status await(wrapped *t, const char *doing, bool on_gpu, double deadline,
                       const sg_introduction *in) {
    int round = 0;

    for (;;) {
        bool launching = false, working = false;

        if (on_gpu) SG_TRY(ask_queue(t, doing, &working));
        SG_TRY(ask_comm(t, doing, &launching));
        if (!launching && !working) return SG_OK;
        if (in && in->stop && in->stop(in->context))
            return sg_fail(SG_ERR_UNAVAILABLE, "NCCL, %s: stopped", doing);
        if (sg_now() >= deadline)
            return sg_fail(SG_ERR_UNAVAILABLE, "NCCL, %s, member %d of %d: not done in time", doing,
                           t->rank, t->size);
        rest(&round);
    }
}

/* After a failure, whose text is kept. */
static sg_status give_up(wrapped *t, sg_status st) {
    if (await_release(t)) return st;
    return sg_fail(SG_ERR_CUDA,
                   "NCCL, GPU %d: not aborted after %.0f s, so the GPU's memory may still be "
                   "written to: this worker must be started again",
                   t->gpu, kRelease);
}

/* --- the exchange ----------------------------------------------------------------------------- */

/* The calls of one exchange; within a group none of them waits for another. */
static int post(wrapped *t, const sg_transfer *message, int n) {
    const sg_nccl_plugin *nccl = t->nccl;
    int result = nccl->group_start(), end;

    if (result != SG_NCCL_OK) return result;
    for (int i = 0; i < n && (result == SG_NCCL_OK || result == SG_NCCL_IN_PROGRESS); i++) {
        const sg_transfer *m = &message[i];

        if (m->bytes == 0) continue; /* on both sides */
        result = m->receive ? nccl->receive(m->data, m->bytes, m->peer, t->comm, t->queue)
                            : nccl->send(m->data, m->bytes, m->peer, t->comm, t->queue);
    }
    end = nccl->group_end(); /* whatever happened: it is this thread's */
    return result == SG_NCCL_OK || result == SG_NCCL_IN_PROGRESS ? end : result;
}

static sg_status use_gpu(const wrapped *t) {
    const char *why = "";

    if (t->nccl->gpu_use(t->gpu, &why) == SG_NCCL_OK) return SG_OK;
    return fail_cuda(t, "taking the GPU", why);
}

static sg_status run(wrapped *t, const sg_transfer *message, int n, double deadline) {
    static const char doing[] = "an exchange";
    int result;

    SG_TRY(use_gpu(t));
    if (!enter(t)) return fail_aborted(t);
    result = post(t, message, n);
    if (!leave(t)) return fail_aborted(t);
    if (result != SG_NCCL_OK && result != SG_NCCL_IN_PROGRESS) return judge(t, result, doing);
    SG_TRY(await(t, doing, false, deadline, NULL)); /* before that the queue is empty */
    return await(t, doing, true, deadline, NULL);
}

static sg_status exchange(sg_transport *transport, const sg_transfer *message, int n,
                          double seconds) {
    wrapped *t = (wrapped *)transport;
    double deadline = sg_transport_deadline(seconds);
    sg_status st;

    SG_TRY(sg_transport_check_messages(message, n, t->rank, t->size));
    set_deadline(t, deadline);
    st = run(t, message, n, deadline);
    if (st != SG_OK) st = give_up(t, st);
    set_deadline(t, 0.0);
    return st;
}

/* --- beginning and end ------------------------------------------------------------------------ */

static bool finalize(wrapped *t) {
    double end = sg_now() + kFinalize;
    const char *why = "";
    int result, now = SG_NCCL_OK, round = 0;

    if (!t->comm || t->nccl->gpu_use(t->gpu, &why) != SG_NCCL_OK || !enter(t)) return false;
    set_deadline(t, end);
    result = t->nccl->comm_finalize(t->comm);
    if (!leave(t)) return false;
    while ((result == SG_NCCL_OK || result == SG_NCCL_IN_PROGRESS) && sg_now() < end) {
        if (!enter(t)) return false;
        result = t->nccl->comm_error(t->comm, &now);
        if (!leave(t)) return false;
        if (result == SG_NCCL_OK && now == SG_NCCL_OK) return true;
        if (result == SG_NCCL_OK) result = now;
        rest(&round);
    }
    return false;
}

/* Nothing is said of what fails here: it is over anyway. */
static void destroy(sg_transport *transport) {
    wrapped *t = (wrapped *)transport;
    bool finalized = finalize(t), released;

    pthread_mutex_lock(&t->lock);
    t->finalized = finalized && !t->asked;
    pthread_mutex_unlock(&t->lock);
    await_release(t);
    pthread_mutex_lock(&t->lock);
    released = t->released;
    t->abandoned = !released;
    if (!released) pthread_detach(t->warden);
    pthread_mutex_unlock(&t->lock);
    if (!released) return;
    pthread_join(t->warden, NULL);
    discard(t);
}

/* All members come to the same verdict. */
static sg_status judge_hellos(const hello *said, int size) {
    for (int a = 0; a < size; a++) {
        if (memcmp(said[a].magic, kMagic, sizeof kMagic) != 0)
            return sg_fail(SG_ERR_UNSUPPORTED, "member %d does not speak NCCL as this one does", a);
        if (said[a].version != said[0].version)
            return sg_fail(SG_ERR_UNSUPPORTED,
                           "member %d has NCCL %" PRId32 ", member 0 has %" PRId32
                           ": all need the same",
                           a, said[a].version, said[0].version);
        for (int b = 0; b < a; b++)
            if (memcmp(&said[a].gpu, &said[b].gpu, sizeof said[a].gpu) == 0)
                return sg_fail(SG_ERR_UNSUPPORTED,
                               "members %d and %d are on the same GPU, which NCCL does not serve",
                               b, a);
    }
    return said[0].has_id ? SG_OK : sg_fail(SG_ERR_UNAVAILABLE, "NCCL: member 0 has no id");
}

static sg_status introduce(const wrapped *t, const sg_transport_options *o, double deadline,
                           sg_nccl_id *id) {
    const sg_introduction *in = &o->introduction;
    hello *said = sg_calloc((size_t)o->size, sizeof *said), *own = said + o->rank;
    const char *why = "";
    int version = 0, named, result = SG_NCCL_OK;
    sg_status st;

    if (!said) return sg_fail(SG_ERR_OOM, "no memory for a transport");
    memcpy(own->magic, kMagic, sizeof kMagic);
    t->nccl->get_version(&version);
    own->version = version;
    named = t->nccl->gpu_name(t->gpu, &own->gpu, &why);
    if (o->rank == 0) result = t->nccl->get_id(&own->id);
    own->has_id = o->rank == 0 && result == SG_NCCL_OK;
    st = in->say(in->context, own, sizeof *own); /* also where it is bad news */
    if (st == SG_OK && named != SG_NCCL_OK) st = fail_cuda(t, "its name", why);
    if (st == SG_OK && result != SG_NCCL_OK) st = judge(t, result, "a new id");
    for (int q = 0; q < o->size && st == SG_OK; q++) {
        size_t bytes = 0;

        if (q == o->rank) continue;
        st = in->hear(in->context, q, &said[q], sizeof said[q], &bytes, deadline - sg_now());
        if (st == SG_OK && bytes != sizeof said[q]) said[q].magic[0] = '\0';
    }
    if (st == SG_OK) st = judge_hellos(said, o->size);
    if (st == SG_OK) *id = said[0].id;
    sg_free(said);
    return st;
}

static sg_status connect_all(wrapped *t, const sg_transport_options *o, double deadline) {
    static const char doing[] = "connecting";
    const char *why = "";
    void *comm = NULL;
    sg_nccl_id id;
    int result;

    SG_TRY(use_gpu(t));
    SG_TRY(introduce(t, o, deadline, &id));
    if (t->nccl->queue_create(&t->queue, &why) != SG_NCCL_OK) return fail_cuda(t, doing, why);
    result = t->nccl->comm_init(&comm, t->size, &id, t->rank);
    if (result != SG_NCCL_OK && result != SG_NCCL_IN_PROGRESS) return judge(t, result, doing);
    t->comm = comm; /* after a failed call there is none */
    set_deadline(t, deadline);
    SG_TRY(await(t, doing, false, deadline, &o->introduction));
    set_deadline(t, 0.0);
    return SG_OK;
}

static sg_status load(const sg_nccl_plugin **out) {
    static const char name[] = "/libspotgrad_nccl.so";
    const sg_nccl_plugin *plugin;
    char path[kPath], why[512] = "";
    void *library;

    SG_TRY(sg_program_folder(path, sizeof path - sizeof name));
    strcat(path, name);
    if (access(path, R_OK) != 0)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s is not there: it is built where CUDA and nccl.h are found", path);
    library = sg_library_open(path, why, sizeof why); /* once; it stays */
    if (!library) return sg_fail(SG_ERR_UNSUPPORTED, "cannot be loaded: %s", why);
    plugin = dlsym(library, SG_NCCL_SYMBOL);
    if (!plugin || strcmp(plugin->version, SG_NCCL_VERSION) != 0)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s is of version %s, this program of %s: build both again (make)", path,
                       plugin ? plugin->version : "unknown", SG_NCCL_VERSION);
    *out = plugin;
    return SG_OK;
}

sg_status sg_transport_nccl_create(const sg_transport_options *o, sg_transport **out) {
    const sg_nccl_plugin *nccl = o->nccl;
    double deadline = sg_transport_deadline(o->seconds);
    wrapped *t;
    sg_status st;

    SG_TRY(sg_transport_check(o));
    if (!nccl) SG_TRY(load(&nccl));
    t = sg_calloc(1, sizeof *t);
    if (!t) return sg_fail(SG_ERR_OOM, "no memory for a transport");
    t->transport = (sg_transport){"nccl", exchange, abort_all, destroy};
    t->nccl = nccl;
    t->rank = o->rank;
    t->size = o->size;
    t->gpu = o->gpu;
    SG_TRY(start_warden(t));
    st = connect_all(t, o, deadline);
    if (st == SG_OK) {
        *out = &t->transport;
        return SG_OK;
    }
    st = give_up(t, st);
    destroy(&t->transport);
    return st;
}

/* --- whether to try it ------------------------------------------------------------------------ */

void sg_nccl_card_fill(const sg_nccl_plugin *nccl, int gpu, sg_nccl_card *card) {
    sg_nccl_gpu name;
    const char *why = "";
    int version = 0;

    memset(card, 0, sizeof *card);
    if (gpu < 0) return;
    if (!nccl && load(&nccl) != SG_OK) {
        sg_log(SG_LOG_DEBUG, "group: no NCCL here: %s", sg_last_error());
        return;
    }
    if (nccl->gpu_name(gpu, &name, &why) != SG_NCCL_OK) {
        sg_log(SG_LOG_DEBUG, "group: no NCCL on GPU %d: %s", gpu, why);
        return;
    }
    memcpy(card->gpu, name.byte, sizeof card->gpu);
    nccl->get_version(&version);
    card->version = version;
}

bool sg_nccl_cards_fit(const sg_nccl_card *card, int n) {
    for (int a = 0; a < n; a++) {
        if (card[a].version == 0 || card[a].version != card[0].version) return false;
        for (int b = 0; b < a; b++)
            if (memcmp(card[a].gpu, card[b].gpu, sizeof card[a].gpu) == 0) return false;
    }
    return true;
}
