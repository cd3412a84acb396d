/* What workers exchange of a step on CPUs: a thread of its own does it, bucket by bucket, while the
 * pool's threads compute shards.
 *
 *   shard's thread    behind the step that completes a bucket of its shard: adds, in the tree, what
 *                     other threads have left there; who comes first leaves it to the second
 *   exchange thread   waits until all of a bucket is added, and exchanges it
 *
 * So a node of the tree is added by one thread, always from the same two, while at least one of
 * them is still in its cache. A failure of the exchange ends the shards; one of the shards, the
 * exchange. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "train/trainer_inside.h"

enum { kTextBytes = 1024 };

struct sg_trainer_exchange {
    sg_trainer *t;
    atomic_int
        *half; /* (buckets, shards) half of the node whose right half begins there is added */
    atomic_int left[SG_TRAINER_BUCKETS]; /* nodes of the own share that are not added */
    atomic_bool failed;
    pthread_t thread;
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t changed;
    bool running; /* the thread */
    bool working, cancelled, stop;
    sg_status status;
    char text[kTextBytes];
};

/* --- the exchange's thread -------------------------------------------------------------------- */

/* With the lock. False: there is no more of it to come. */
static bool await_bucket(sg_trainer_exchange *x, int bucket) {
    while (atomic_load(&x->left[bucket]) > 0 && !x->cancelled)
        pthread_cond_wait(&x->changed, &x->lock);
    return !x->cancelled;
}

static sg_status exchange(sg_trainer_exchange *x) {
    sg_trainer *t = x->t;
    sg_gather gather[SG_MAX_ROWS];
    int n = sg_trainer_rows_gather(t, t->source, gather);

    for (int k = 0; k < t->buckets.n; k++) {
        sg_bucket bucket = sg_trainer_bucket(t, k, gather, n);
        bool ready;

        pthread_mutex_lock(&x->lock);
        ready = await_bucket(x, k);
        pthread_mutex_unlock(&x->lock);
        if (!ready) return SG_OK; /* the shards say why */
        SG_TRY(t->team.reduce(t->team.context, t->grads, &bucket));
    }
    return SG_OK;
}

static void *exchange_main(void *argument) {
    sg_trainer_exchange *x = argument;

    pthread_mutex_lock(&x->lock);
    for (;;) {
        sg_status st;

        while (!x->working && !x->stop) pthread_cond_wait(&x->changed, &x->lock);
        if (x->stop) break;
        pthread_mutex_unlock(&x->lock);
        st = exchange(x);
        if (st != SG_OK) atomic_store(&x->failed, true);
        pthread_mutex_lock(&x->lock);
        x->status = st;
        if (st != SG_OK) snprintf(x->text, sizeof x->text, "%s", sg_last_error());
        x->working = false;
        pthread_cond_broadcast(&x->changed);
    }
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

/* --- a shard's thread ------------------------------------------------------------------------- */

/* Shard `shard` of a bucket is complete: so may be the nodes above it. */
static sg_status add_shard(sg_trainer_exchange *x, int k, int shard) {
    sg_trainer *t = x->t;
    int64_t start = t->buckets.start[k], floats = t->buckets.end[k] - start;
    atomic_int *half = x->half + (int64_t)k * t->options.shards;
    sg_tree_node node = {shard, 1}, parent;
    int right;

    while (sg_tree_parent(t->options.shards, t->team.own, node, &parent, &right)) {
        node = parent;
        if (right >= t->options.shards) continue;
        if (atomic_fetch_add(&half[right], 1) == 0) return SG_OK; /* the other one is under way */
        SG_TRY(sg_adder_host.add(NULL, t->grads[parent.shard] + start, t->grads[right] + start,
                                 floats));
    }
    if (atomic_fetch_sub(&x->left[k], 1) > 1) return SG_OK;
    pthread_mutex_lock(&x->lock);
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
    return SG_OK;
}

sg_status sg_trainer_exchange_reached(void *progress, int step) {
    sg_trainer_progress *p = progress;
    const sg_trainer *t = p->trainer;
    const int *ready = t->shape[t->at_shape].ready;

    for (; p->bucket < t->buckets.n && ready[p->bucket] <= step; p->bucket++)
        SG_TRY(add_shard(t->exchange, p->bucket, p->shard));
    return SG_OK;
}

bool sg_trainer_exchange_stops(void *trainer) {
    const sg_trainer *t = trainer;

    return atomic_load(&t->exchange->failed) || (t->stop && t->stop(t->stop_context));
}

/* --- the step's thread ------------------------------------------------------------------------ */

void sg_trainer_exchange_begin(sg_trainer *t) {
    sg_trainer_exchange *x = t->exchange;
    sg_tree_node node[SG_TREE_NODES];
    int n = sg_tree_nodes(t->options.shards, t->team.own, node);

    pthread_mutex_lock(&x->lock);
    for (int k = 0; k < t->buckets.n; k++) {
        atomic_store(&x->left[k], n);
        for (int s = 0; s < t->options.shards; s++)
            atomic_store(&x->half[(int64_t)k * t->options.shards + s], 0);
    }
    atomic_store(&x->failed, false);
    x->status = SG_OK;
    x->cancelled = false;
    x->working = true;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
}

sg_status sg_trainer_exchange_end(sg_trainer *t, sg_status shards) {
    sg_trainer_exchange *x = t->exchange;
    bool for_exchange = shards == SG_ERR_INTERRUPTED && atomic_load(&x->failed);
    sg_status st;

    if (shards != SG_OK && !for_exchange) t->team.abandon(t->team.context);
    pthread_mutex_lock(&x->lock);
    x->cancelled = shards != SG_OK;
    pthread_cond_broadcast(&x->changed);
    while (x->working) pthread_cond_wait(&x->changed, &x->lock);
    st = x->status;
    pthread_mutex_unlock(&x->lock);
    if (shards != SG_OK && !for_exchange) return shards;
    return st == SG_OK ? SG_OK : sg_fail(st, "%s", x->text);
}

sg_status sg_trainer_exchange_create(sg_trainer *t) {
    sg_trainer_exchange *x = sg_calloc(1, sizeof *x);
    int error;

    if (!x) return sg_fail(SG_ERR_OOM, "trainer: no memory");
    x->t = t;
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->changed, NULL);
    t->exchange = x;
    x->half = sg_calloc((size_t)t->buckets.n * (size_t)t->options.shards, sizeof *x->half);
    if (!x->half) return sg_fail(SG_ERR_OOM, "trainer: no memory");
    error = pthread_create(&x->thread, NULL, exchange_main, x);
    if (error)
        return sg_fail(SG_ERR_UNAVAILABLE, "trainer: no thread to exchange in: %s",
                       strerror(error));
    x->running = true;
    return SG_OK;
}

void sg_trainer_exchange_destroy(sg_trainer *t) {
    sg_trainer_exchange *x = t->exchange;

    if (!x) return;
    pthread_mutex_lock(&x->lock);
    x->stop = true;
    pthread_cond_broadcast(&x->changed);
    pthread_mutex_unlock(&x->lock);
    if (x->running) pthread_join(x->thread, NULL);
    pthread_cond_destroy(&x->changed);
    pthread_mutex_destroy(&x->lock);
    sg_free(x->half);
    sg_free(x);
    t->exchange = NULL;
}
