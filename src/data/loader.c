/* Threads fill a ring of batch slots; the caller takes them in order.
 *
 *   job j = row first + j % P of batch j / P, P the rows of the part; slot of batch k = k % slots
 *   a job may begin once its slot's former batch was given back: j / P < released + slots;
 *   the first slots open one by one, see open_slots
 *   a restart lets no job begin, waits for those in work, and counts from 0 again
 *
 * Threads take jobs in order, each fills its row alone, so a row's bytes depend on its position
 * only. One lock guards counters and cache states; pictures are decoded and warped outside it. */
#define _GNU_SOURCE
#include "data/loader_inside.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "core/threads.h"

enum {
    kMaxThreads = 1024,
    kMaxSide = 8192,
    kCacheDefault = 512 << 20,
};

sg_loader_options sg_loader_defaults(void) {
    return (sg_loader_options){
        .batch = 16,
        .input = 416,
        .threads = 1,
        .prefetch = 2,
        .cache_bytes = kCacheDefault,
        .mosaic_close_epoch = -1,
    };
}

static uint64_t order_key(uint64_t seed, int64_t epoch) {
    return sg_key_mix(sg_key_mix(sg_key_name("order"), seed), (uint64_t)epoch);
}

int64_t sg_sampler_at(uint64_t seed, int64_t n, int64_t p) {
    return sg_permute(order_key(seed, p / n), n, p % n);
}

int64_t sg_loader_batches(const sg_loader *loader) {
    return (loader->dataset->n + loader->options.batch - 1) / loader->options.batch;
}

double sg_loader_wait_seconds(const sg_loader *loader) { return loader->waited; }

/* Under the lock. The lowest failed job is the one that counts; no job behind it begins. */
static void record_failure(sg_loader *l, int64_t job, sg_status st) {
    if (l->status != SG_OK && l->failed_job < job) return;
    l->status = st;
    l->failed_job = job;
    snprintf(l->text, sizeof l->text, "%s", sg_last_error());
}

/* The ring opens slot by slot as batches are taken: the first comes sooner, and the first step does
 * not share its processors with the decoding of what could be prefetched. */
static int64_t open_slots(const sg_loader *l) {
    int64_t open = l->taken < l->slots ? l->taken : l->slots;

    return open > 0 ? open : 1;
}

/* Under the lock: whether a thread may take the next job. */
static bool may_begin(const sg_loader *l) {
    return !l->paused && l->status == SG_OK &&
           sg_loader_batch_of(l, l->next_job) < l->released + open_slots(l);
}

static void *worker_main(void *argument) {
    sg_loader_worker *w = argument;
    sg_loader *l = w->loader;

    pthread_mutex_lock(&l->lock);
    for (;;) {
        sg_loader_row row;
        sg_loader_slot *slot;
        int64_t job;
        sg_status st;

        while (!l->stop && !may_begin(l)) pthread_cond_wait(&l->room, &l->lock);
        if (l->stop) break;
        job = l->next_job++;
        l->running++;
        if (l->options.device) { /* places in the batch's block are given in the order of jobs */
            sg_loader_plan_row(l, job, &row);
            sg_loader_place_row(l, job, &row);
        }
        pthread_mutex_unlock(&l->lock);
        if (!l->options.device) sg_loader_plan_row(l, job, &row);
        st = sg_loader_fill_row(w, job, &row);
        pthread_mutex_lock(&l->lock);
        if (st != SG_OK) record_failure(l, job, st);
        l->running--;
        slot = sg_loader_slot_of(l, job);
        slot->rows_done++;
        if (slot->rows_done == l->part.count || l->status != SG_OK || l->paused)
            pthread_cond_signal(&l->done);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Under the lock. Only once nothing is in work any more is it known which job failed first, and the
 * batches before that one are whole and still handed out: the same end for any number of threads.
 */
static bool batch_failed(const sg_loader *l, int64_t batch) {
    return l->status != SG_OK && l->running == 0 && sg_loader_batch_of(l, l->failed_job) <= batch;
}

sg_status sg_loader_next(sg_loader *loader, sg_batch *batch) {
    int64_t B = loader->options.batch, number = loader->taken;
    sg_loader_slot *s = &loader->slot[number % loader->slots];
    double start = sg_now();
    bool failed;

    pthread_mutex_lock(&loader->lock);
    if (number > 0 && loader->released < number) {
        loader->slot[(number - 1) % loader->slots].rows_done = 0;
        sg_loader_clear_staged(loader, &loader->slot[(number - 1) % loader->slots]);
        loader->released = number;
        pthread_cond_broadcast(&loader->room);
    }
    while (s->rows_done < loader->part.count && !batch_failed(loader, number))
        pthread_cond_wait(&loader->done, &loader->lock);
    while (loader->status != SG_OK && loader->running > 0)
        pthread_cond_wait(&loader->done, &loader->lock);
    failed = batch_failed(loader, number);
    if (!failed) loader->taken++;
    if (loader->taken < loader->slots) pthread_cond_broadcast(&loader->room);
    pthread_mutex_unlock(&loader->lock);
    loader->waited += sg_now() - start;
    if (failed) return sg_fail(loader->status, "%s", loader->text);
    s->batch.first_sample = loader->options.augment ? loader->options.start + number * B
                                                    : number % sg_loader_batches(loader) * B;
    s->batch.part = loader->part;
    s->batch.dropped = 0;
    for (int64_t i = 0; i < loader->part.count; i++)
        s->batch.dropped += s->dropped[loader->part.first + i];
    *batch = s->batch;
    return SG_OK;
}

static sg_status check_start(const sg_loader_options *o, int64_t start, const sg_part *part) {
    if (start < 0) return sg_fail(SG_ERR_ARG, "loader: negative start (%lld)", (long long)start);
    if (part && (part->first < 0 || part->count < 1 || part->count > o->batch ||
                 part->first > o->batch - part->count))
        return sg_fail(SG_ERR_ARG, "loader: %lld rows from %lld on are no part of a batch of %lld",
                       (long long)part->count, (long long)part->first, (long long)o->batch);
    return SG_OK;
}

static void set_start(sg_loader *l, int64_t start, const sg_part *part) {
    l->options.start = start;
    l->part = part ? *part : (sg_part){0, l->options.batch};
}

/* Under the lock, nothing being in work. */
static void begin_anew(sg_loader *l) {
    sg_loader_forget_brought(l);
    for (int64_t i = 0; i < l->slots; i++) {
        l->slot[i].rows_done = 0;
        sg_loader_clear_staged(l, &l->slot[i]);
    }
    l->next_job = l->released = l->taken = 0;
    l->status = SG_OK;
}

sg_status sg_loader_restart(sg_loader *loader, int64_t start, const sg_part *part) {
    SG_TRY(check_start(&loader->options, start, part));
    pthread_mutex_lock(&loader->lock);
    loader->paused = true;
    while (loader->running > 0) pthread_cond_wait(&loader->done, &loader->lock);
    begin_anew(loader);
    set_start(loader, start, part);
    loader->paused = false;
    pthread_cond_broadcast(&loader->room);
    pthread_mutex_unlock(&loader->lock);
    return SG_OK;
}

static sg_status check_options(const sg_dataset *dataset, const sg_loader_options *o) {
    if (dataset->n < 1) return sg_fail(SG_ERR_ARG, "loader: the data set is empty");
    if (o->batch < 1 || o->batch > 65536)
        return sg_fail(SG_ERR_ARG, "loader: batch %lld is not 1 to 65536", (long long)o->batch);
    if (o->input < 1 || o->input > kMaxSide)
        return sg_fail(SG_ERR_ARG, "loader: input %lld is not 1 to %d", (long long)o->input,
                       kMaxSide);
    if (o->threads < 1 || o->threads > kMaxThreads)
        return sg_fail(SG_ERR_ARG, "loader: %d threads are not 1 to %d", o->threads, kMaxThreads);
    if (o->prefetch < 1 || o->prefetch > 1024)
        return sg_fail(SG_ERR_ARG, "loader: prefetch %d is not 1 to 1024", o->prefetch);
    if (o->cache_bytes < 0 || o->kept_bytes < 0)
        return sg_fail(SG_ERR_ARG, "loader: negative cache (%lld, %lld)", (long long)o->cache_bytes,
                       (long long)o->kept_bytes);
    SG_TRY(check_start(o, o->start, o->part));
    return o->augment ? sg_augment_options_check(o->augment) : SG_OK;
}

static sg_status start_workers(sg_loader *l) {
    for (int i = 0; i < l->options.threads; i++) {
        int error = pthread_create(&l->worker[i].thread, NULL, worker_main, &l->worker[i]);

        if (error)
            return sg_fail(SG_ERR_UNAVAILABLE, "loader: cannot start thread %d: %s", i,
                           strerror(error));
        l->started++;
    }
    return SG_OK;
}

sg_status sg_loader_create(const sg_dataset *dataset, const sg_loader_options *options,
                           sg_loader **out) {
    sg_loader *l;
    sg_status st;

    SG_TRY(check_options(dataset, options));
    l = sg_calloc(1, sizeof *l);
    if (!l) return sg_fail(SG_ERR_OOM, "loader: no memory");
    l->dataset = dataset;
    l->options = *options;
    l->options.part = NULL; /* not ours to keep: l->part */
    set_start(l, options->start, options->part);
    if (options->augment) {
        l->augment = *options->augment;
        l->options.augment = &l->augment;
    }
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
    pthread_cond_init(&l->done, NULL);
    pthread_cond_init(&l->loaded, NULL);
    st = sg_loader_allocate(l);
    if (st == SG_OK) st = start_workers(l);
    if (st != SG_OK) {
        sg_loader_destroy(l);
        return st;
    }
    *out = l;
    return SG_OK;
}

void sg_loader_destroy(sg_loader *loader) {
    if (!loader) return;
    pthread_mutex_lock(&loader->lock);
    loader->stop = true;
    pthread_cond_broadcast(&loader->room);
    pthread_mutex_unlock(&loader->lock);
    for (int i = 0; i < loader->started; i++) pthread_join(loader->worker[i].thread, NULL);
    pthread_cond_destroy(&loader->loaded);
    pthread_cond_destroy(&loader->done);
    pthread_cond_destroy(&loader->room);
    pthread_mutex_destroy(&loader->lock);
    sg_loader_release(loader);
    sg_free(loader);
}
