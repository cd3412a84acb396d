#define _GNU_SOURCE
#include "nccl_stand_in.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/threads.h"
#include "spotgrad.h"

static const double kNever = 1e9; /* seconds */

enum { kComms = 4096, kOps = 512, kVersion = 22809 };

typedef enum { kConnecting, kReady, kFailed, kFinalizing, kReleasing, kGone } state;

typedef struct comm comm;

typedef struct {
    comm *on;
    void *queue;
    int peer, order; /* among those of its pair and direction */
    bool receive, done;
    void *data;
    size_t bytes;
} op;

struct comm {
    uint64_t id;
    int rank, size, gpu, nth; /* of its GPU, from 1 */
    state state;
    double came, launched; /* when */
    int error;
    int inside, stuck; /* calls under way; of them, those that an abort is to end */
    int exchanges;
    int asks, comm_asks;                              /* of the queue, and of itself, in this one */
    int sent[STAND_IN_GPUS], received[STAND_IN_GPUS]; /* so far */
    op op[kOps];                                      /* of the exchange under way */
    int n_ops;
};

typedef struct {
    int gpu;
    bool broken;
} queue;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all of it */
static stand_in_faults faults[STAND_IN_GPUS];
static stand_in_account account;
static comm *all[kComms];
static int n_all;
static uint64_t ids;
static bool told, let_go;

/* Of a thread: the GPU that it uses, and the group that it has begun. */
static _Thread_local int used = -1, depth, n_grouped;
static _Thread_local op grouped[kOps];

static const stand_in_faults *faults_of(const comm *c) {
    static const stand_in_faults none;
    const stand_in_faults *f = &faults[c->gpu];

    return f->only == 0 || f->only == c->nth ? f : &none;
}

static void breach(const comm *c, const char *what) {
    if (account.breaches++ == 0)
        snprintf(account.breach, sizeof account.breach, "rank %d of %d, exchange %d: %s",
                 c ? c->rank : -1, c ? c->size : 0, c ? c->exchanges : 0, what);
}

static void pause_unlocked(void) {
    struct timespec pause = {.tv_nsec = 200000};

    pthread_mutex_unlock(&lock);
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&lock);
}

void stand_in_reset(bool tell) {
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_all; i++) free(all[i]);
    n_all = 0;
    memset(faults, 0, sizeof faults);
    memset(&account, 0, sizeof account);
    told = tell;
    let_go = false;
    pthread_mutex_unlock(&lock);
}

stand_in_faults *stand_in_of(int gpu) { return &faults[gpu]; }

void stand_in_let_go(void) {
    pthread_mutex_lock(&lock);
    let_go = true;
    pthread_mutex_unlock(&lock);
}

stand_in_account stand_in_count(void) {
    stand_in_account now;

    pthread_mutex_lock(&lock);
    now = account;
    pthread_mutex_unlock(&lock);
    return now;
}

/* --- what goes on by itself, as time passes --------------------------------------------------- */

static comm *member(const comm *c, int rank) {
    for (int i = 0; i < n_all; i++)
        if (all[i]->id == c->id && all[i]->rank == rank) return all[i];
    return NULL;
}

/* The queue is emptied, and what was to be received is worth nothing. */
static void spoil(comm *c) {
    for (int i = 0; i < c->n_ops; i++)
        if (c->op[i].receive && !c->op[i].done) memset(c->op[i].data, 0xEE, c->op[i].bytes);
}

static void fail(comm *c, int error) {
    spoil(c);
    c->n_ops = 0;
    c->error = error;
    c->state = kFailed;
}

static void connect(comm *c) {
    const stand_in_faults *f = faults_of(c);
    double last = c->came;

    if (f->init_error && sg_now() >= c->came + f->init_s) {
        fail(c, f->init_error);
        return;
    }
    for (int r = 0; r < c->size; r++) {
        const comm *other = member(c, r);

        if (!other) return;
        if (other->came > last) last = other->came;
    }
    if (!f->init_never && sg_now() >= last + f->init_s) c->state = kReady;
}

static bool is_launched(const comm *c) { return c->state == kReady && sg_now() >= c->launched; }

static op *counterpart(const op *o) {
    comm *peer = member(o->on, o->peer);

    if (!peer || !is_launched(peer)) return NULL;
    for (int i = 0; i < peer->n_ops; i++) {
        op *other = &peer->op[i];

        if (!other->done && other->peer == o->on->rank && other->receive != o->receive &&
            other->order == o->order)
            return other;
    }
    return NULL;
}

static void transfer(op *a, op *b) {
    const op *from = a->receive ? b : a, *to = a->receive ? a : b;

    if (from->bytes != to->bytes)
        breach(a->on, "a message of another size");
    else
        memcpy(to->data, from->data, from->bytes);
    a->done = b->done = true;
}

static void go_on(comm *c) {
    const stand_in_faults *f = faults_of(c);

    if (c->state == kConnecting) connect(c);
    if (c->state == kReady && c->exchanges > 0 && f->error_in == c->exchanges &&
        f->error_asks == 0 && sg_now() >= c->launched + f->error_s)
        fail(c, f->error);
    for (int i = 0; c->state == kReady && i < c->n_ops; i++) {
        const comm *peer = member(c, c->op[i].peer);
        op *other = c->op[i].done || !is_launched(c) ? NULL : counterpart(&c->op[i]);

        if (other) transfer(&c->op[i], other);
        if (told && !c->op[i].done && (peer->state == kReleasing || peer->state == kGone))
            fail(c, SG_NCCL_ERR_REMOTE);
    }
}

/* --- communicators ---------------------------------------------------------------------------- */

static void arrive(comm *c) {
    pthread_mutex_lock(&lock);
    if (c->state == kReleasing || c->state == kGone) breach(c, "a call after the last one");
    if (used != c->gpu) breach(c, "a call in a thread that uses another GPU");
    c->inside++;
    if (c->state != kReleasing && c->state != kGone) go_on(c);
}

static int depart(comm *c, int result) {
    c->inside--;
    pthread_mutex_unlock(&lock);
    return result;
}

static int get_version(int *version) {
    int own = used >= 0 ? faults[used].version : 0;

    *version = own ? own : kVersion;
    return SG_NCCL_OK;
}

static int get_id(sg_nccl_id *id) {
    uint64_t own;

    if (used >= 0 && faults[used].no_id) return SG_NCCL_ERR_SYSTEM;
    pthread_mutex_lock(&lock);
    own = ++ids;
    pthread_mutex_unlock(&lock);
    memset(id, 0, sizeof *id);
    memcpy(id, &own, sizeof own);
    return SG_NCCL_OK;
}

static int comm_init(void **out, int size, const sg_nccl_id *id, int rank) {
    comm *c;

    if (used < 0 || size > STAND_IN_GPUS) return SG_NCCL_ERR_ARGUMENT;
    if (faults[used].init_result) return faults[used].init_result;
    c = calloc(1, sizeof *c);
    if (!c) abort();
    memcpy(&c->id, id, sizeof c->id);
    c->rank = rank;
    c->size = size;
    c->gpu = used;
    c->came = sg_now();
    pthread_mutex_lock(&lock);
    if (n_all == kComms) abort();
    c->nth = 1;
    for (int i = 0; i < n_all; i++) c->nth += all[i]->gpu == c->gpu;
    if (member(c, rank)) breach(c, "a rank comes twice");
    all[n_all++] = c;
    account.made++;
    pthread_mutex_unlock(&lock);
    *out = c;
    return SG_NCCL_IN_PROGRESS;
}

static int comm_error(void *comm_, int *result) {
    comm *c = comm_;

    arrive(c);
    if (c->launched > sg_now() && ++c->comm_asks == faults_of(c)->launch_asks)
        c->launched = sg_now();
    for (double end = sg_now() + faults_of(c)->slow_s; sg_now() < end;) pause_unlocked();
    *result = c->state == kReady && sg_now() >= c->launched ? SG_NCCL_OK : SG_NCCL_IN_PROGRESS;
    if (c->state == kFinalizing && (let_go || !faults_of(c)->finalize_never)) *result = SG_NCCL_OK;
    if (c->state == kFailed) *result = c->error;
    return depart(c, SG_NCCL_OK);
}

static int comm_finalize(void *comm_) {
    comm *c = comm_;

    arrive(c);
    if (c->state != kReady) breach(c, "finalized before it was ready, or after an error");
    c->state = kFinalizing;
    return depart(c, SG_NCCL_IN_PROGRESS);
}

static int comm_destroy(void *comm_) {
    comm *c = comm_;

    arrive(c);
    if (c->state != kFinalizing) breach(c, "destroyed and not finalized, or after an error");
    if (c->inside > 1) breach(c, "destroyed during a call");
    c->state = kReleasing;
    while (faults_of(c)->destroy_never && !let_go) pause_unlocked();
    c->state = kGone;
    account.destroyed++;
    return depart(c, SG_NCCL_OK);
}

static int comm_abort(void *comm_) {
    comm *c = comm_;
    double end;

    arrive(c);
    end = sg_now() + faults_of(c)->abort_s;
    if (c->inside - 1 > c->stuck) breach(c, "aborted during a call that is not stuck");
    c->state = kReleasing;
    while (sg_now() < end || (faults_of(c)->abort_never && !let_go)) {
        spoil(c);
        pause_unlocked();
    }
    spoil(c);
    c->n_ops = 0;
    c->state = kGone;
    account.aborted++;
    while (c->stuck > 0) pause_unlocked();
    return depart(c, SG_NCCL_OK);
}

/* --- messages --------------------------------------------------------------------------------- */

static int group_start(void) {
    depth++;
    n_grouped = 0;
    return SG_NCCL_OK;
}

static int add(comm *c, op o) {
    int *so_far = o.receive ? c->received : c->sent;

    arrive(c);
    if (depth != 1 || n_grouped == kOps) breach(c, "a message outside of a group, or too many");
    if (c->state == kConnecting) breach(c, "a message before it was ready");
    if (o.peer < 0 || o.peer >= c->size || o.peer == c->rank) {
        breach(c, "a message to nobody");
        return depart(c, SG_NCCL_ERR_ARGUMENT);
    }
    if (c->state != kReady) return depart(c, c->error ? c->error : SG_NCCL_ERR_ARGUMENT);
    o.on = c;
    o.order = so_far[o.peer]++;
    grouped[n_grouped++] = o;
    return depart(c, SG_NCCL_OK);
}

static int send(const void *data, size_t bytes, int peer, void *comm_, void *queue_) {
    return add(
        comm_,
        (op){.queue = queue_, .peer = peer, .data = (void *)(uintptr_t)data, .bytes = bytes});
}

static int receive(void *data, size_t bytes, int peer, void *comm_, void *queue_) {
    return add(comm_,
               (op){.queue = queue_, .peer = peer, .receive = true, .data = data, .bytes = bytes});
}

static void await_abort(comm *c) {
    c->stuck++;
    while (c->state != kGone) pause_unlocked();
    c->stuck--;
}

static int group_end(void) {
    comm *c = n_grouped > 0 ? grouped[0].on : NULL;
    const stand_in_faults *f;

    if (--depth != 0) breach(c, "a group that was not begun");
    if (!c) return SG_NCCL_OK;
    arrive(c);
    f = faults_of(c);
    for (int i = 0; i < c->n_ops; i++)
        if (!c->op[i].done) breach(c, "a group before the last one was done");
    memcpy(c->op, grouped, (size_t)n_grouped * sizeof *grouped);
    c->n_ops = n_grouped;
    c->exchanges++;
    c->asks = c->comm_asks = 0;
    c->launched = sg_now() + (f->launch_asks > 0 ? kNever : f->launch_s);
    if (f->queue_error_in == c->exchanges) ((queue *)grouped[0].queue)->broken = true;
    if (f->stuck_in != c->exchanges)
        return depart(c, c->launched > sg_now() ? SG_NCCL_IN_PROGRESS : SG_NCCL_OK);
    await_abort(c);
    return depart(c, SG_NCCL_ERR_INTERNAL);
}

static const char *text(int result) {
    static const char *const texts[] = {"no error",       "unhandled cuda error", "system error",
                                        "internal error", "invalid argument",     "invalid usage",
                                        "remote error",   "in progress"};

    return texts[result];
}

/* --- CUDA's ----------------------------------------------------------------------------------- */

static int gpu_use(int ordinal, const char **why) {
    *why = "invalid device ordinal";
    if (ordinal < 0 || ordinal >= STAND_IN_GPUS) return SG_NCCL_ERR_CUDA;
    used = ordinal;
    return SG_NCCL_OK;
}

static int gpu_name(int ordinal, sg_nccl_gpu *gpu, const char **why) {
    (void)why;
    memset(gpu, 0, sizeof *gpu);
    gpu->byte[3] = (char)(faults[ordinal].twin ? 0 : ordinal);
    return SG_NCCL_OK;
}

static int queue_create(void **out, const char **why) {
    queue *q = calloc(1, sizeof *q);

    (void)why;
    if (!q) abort();
    q->gpu = used;
    pthread_mutex_lock(&lock);
    account.queues++;
    pthread_mutex_unlock(&lock);
    *out = q;
    return SG_NCCL_OK;
}

static int queue_ask(void *queue_, const char **why) {
    const queue *q = queue_;
    int result = SG_NCCL_OK;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_all; i++) {
        comm *c = all[i];

        if (c->gpu != q->gpu || c->state == kGone) continue;
        if (c->state != kReleasing) go_on(c);
        if (c->state == kReady && faults_of(c)->error_in == c->exchanges && c->exchanges > 0 &&
            ++c->asks == faults_of(c)->error_asks)
            fail(c, faults_of(c)->error);
        for (int k = 0; sg_now() >= c->launched && k < c->n_ops; k++)
            if (c->op[k].queue == queue_ && !c->op[k].done) result = SG_NCCL_IN_PROGRESS;
    }
    if (q->broken) result = SG_NCCL_ERR_CUDA;
    if (q->broken) *why = "an illegal memory access was encountered";
    pthread_mutex_unlock(&lock);
    return result;
}

static void queue_destroy(void *queue_) {
    const queue *q = queue_;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_all; i++)
        for (int k = 0; k < all[i]->n_ops; k++)
            if (all[i]->op[k].queue == q && !all[i]->op[k].done)
                breach(all[i], "a queue goes that is at work");
    account.queues--;
    pthread_mutex_unlock(&lock);
    free(queue_);
}

const sg_nccl_plugin stand_in_nccl = {
    .version = SG_NCCL_VERSION,
    .get_version = get_version,
    .get_id = get_id,
    .comm_init = comm_init,
    .comm_error = comm_error,
    .comm_finalize = comm_finalize,
    .comm_destroy = comm_destroy,
    .comm_abort = comm_abort,
    .group_start = group_start,
    .group_end = group_end,
    .send = send,
    .receive = receive,
    .text = text,
    .gpu_use = gpu_use,
    .gpu_name = gpu_name,
    .queue_create = queue_create,
    .queue_ask = queue_ask,
    .queue_destroy = queue_destroy,
};
