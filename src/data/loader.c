/* Threads fill a ring of batch slots; the caller takes them in order.
 *
 *   job j = row j % B of batch j / B; slot of batch k = k % slots
 *   a job may begin once its slot's former batch was given back: j / B < released + slots;
 *   the first slots open one by one, see open_slots
 *
 * Threads take jobs in order, each fills its row alone, so a row's bytes depend on its position
 * only. One lock guards counters and cache states; pictures are decoded and warped outside it.
 *
 * The cache holds the samples with the lowest indices that fit `cache_bytes`, decided at create:
 * nothing is evicted, so no access pattern can make it useless, and its memory is one block that
 * the system backs as pictures come in.
 *
 * Training takes large pictures 2, 4 or 8 times smaller, as long as they stay twice as large as the
 * input, whether they are cached or not: a 12-megapixel JPEG decodes in 18 ms instead of 28 (one
 * core of an EPYC) and sixteen of them fit where one did. Evaluation sees every pixel, as
 * prediction does. */
#define _GNU_SOURCE
#include "data/loader.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "core/threads.h"
#include "data/image.h"

enum {
    kTextBytes = 1024,
    kMaxThreads = 1024,
    kMaxSide = 8192,
    kMaxShrink = 8, /* what libjpeg can do */
    kCacheDefault = 512 << 20,
};

typedef enum { EMPTY, LOADING, READY } cache_state;

typedef struct {
    uint8_t *rgb; /* in the cache's block; NULL: not cached */
    int shrink;   /* 1, 2, 4 or 8, cached or not */
    cache_state state;
} cache_entry;

typedef struct {
    sg_batch batch;    /* pointers into the loader's block */
    int64_t *dropped;  /* (B) */
    int64_t rows_done; /* of B */
} slot;

typedef struct {
    struct sg_loader *loader;
    pthread_t thread;
    uint8_t *picture; /* a decoded picture that is not cached; NULL when all are */
    uint8_t *full;    /* one before it is shrunk; NULL when none is */
    uint8_t *scratch;
} worker;

struct sg_loader {
    const sg_dataset *dataset; /* borrowed */
    sg_loader_options options;
    sg_augment_options augment;
    int64_t slots;
    slot *slot;         /* (slots) */
    uint8_t *memory;    /* what the slots point into */
    cache_entry *cache; /* (n) */
    uint8_t *cache_memory;
    worker *worker; /* (threads) */
    int started;

    pthread_mutex_t lock;
    pthread_cond_t room, done, loaded; /* for workers, for the caller, for cache waiters */
    int64_t next_job;
    int running;      /* jobs in work */
    int64_t released; /* batches given back */
    int64_t taken;    /* batches handed out, the last one still borrowed */
    bool stop;
    sg_status status; /* of the lowest failed job */
    int64_t failed_job;
    char text[kTextBytes];
    double waited;
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

static int64_t shrunk(int64_t size, int shrink) { return (size + shrink - 1) / shrink; }

/* A cached picture, decoded by whichever thread needs it first; the others wait for that one. */
static sg_status cached_picture(worker *w, cache_entry *entry, const sg_sample *sample) {
    sg_loader *l = w->loader;
    sg_status st = SG_OK;

    pthread_mutex_lock(&l->lock);
    while (entry->state == LOADING) pthread_cond_wait(&l->loaded, &l->lock);
    if (entry->state == EMPTY) {
        entry->state = LOADING;
        pthread_mutex_unlock(&l->lock);
        st = sg_image_read_into(sample->path, sample->width, sample->height, entry->shrink, w->full,
                                entry->rgb);
        pthread_mutex_lock(&l->lock);
        entry->state = st == SG_OK ? READY : EMPTY;
        pthread_cond_broadcast(&l->loaded);
    }
    pthread_mutex_unlock(&l->lock);
    return st;
}

/* `image` borrows from the cache or from the worker, until the worker's next picture. */
static sg_status get_picture(worker *w, int64_t index, sg_image *image) {
    sg_loader *l = w->loader;
    const sg_sample *sample = &l->dataset->samples[index];
    cache_entry *entry = &l->cache[index];

    image->width = shrunk(sample->width, entry->shrink);
    image->height = shrunk(sample->height, entry->shrink);
    image->rgb = entry->rgb ? entry->rgb : w->picture;
    if (entry->rgb) return cached_picture(w, entry, sample);
    return sg_image_read_into(sample->path, sample->width, sample->height, entry->shrink, w->full,
                              w->picture);
}

static sg_status fill_training_row(worker *w, int64_t position, sg_augment_output *out,
                                   int64_t *sample) {
    sg_loader *l = w->loader;
    int64_t n = l->dataset->n, epoch = position / n, close = l->options.mosaic_close_epoch;
    sg_augment_plan plan;

    *sample = sg_sampler_at(l->options.seed, n, position);
    sg_augment_plan_init(&plan, &l->augment, l->options.seed, epoch, *sample, n, l->options.input,
                         close < 0 || epoch < close);
    sg_augment_begin(&plan, out);
    for (int i = 0; i < plan.n_sources; i++) {
        int64_t index = plan.source[i].sample;
        sg_image image;

        SG_TRY(get_picture(w, index, &image));
        sg_augment_add(&plan, i, &image, l->cache[index].shrink, &l->dataset->samples[index],
                       w->scratch, out);
    }
    return SG_OK;
}

static void fill_padding(const sg_loader *l, sg_augment_output *out, sg_letterbox *map,
                         int64_t *sample) {
    memset(out->image, SG_IMAGE_MATTE, (size_t)(3 * l->options.input * l->options.input));
    *map = (sg_letterbox){.scale = 1.0f};
    *sample = -1;
}

static sg_status fill_evaluation_row(worker *w, int64_t batch, int64_t row, sg_augment_output *out,
                                     sg_letterbox *map, int64_t *sample) {
    sg_loader *l = w->loader;
    int64_t index = batch % sg_loader_batches(l) * l->options.batch + row;
    const sg_sample *s;
    sg_image image;

    memset(out->boxes, 0, SG_MAX_BOXES * 4 * sizeof *out->boxes);
    memset(out->classes, 0, SG_MAX_BOXES * sizeof *out->classes);
    out->count = out->dropped = 0;
    if (index >= l->dataset->n) {
        fill_padding(l, out, map, sample);
        return SG_OK;
    }
    s = &l->dataset->samples[index];
    SG_TRY(get_picture(w, index, &image));
    sg_letterbox_fill(&image, l->options.input, w->scratch, out->image, map);
    for (int64_t b = 0; b < s->count; b++) {
        float box[4];

        sg_letterbox_apply(map, s->boxes + 4 * b, box);
        sg_augment_keep_box(box, s->classes[b], out);
    }
    *sample = index;
    return SG_OK;
}

static sg_status fill_row(worker *w, int64_t job) {
    sg_loader *l = w->loader;
    int64_t B = l->options.batch, batch = job / B, row = job % B;
    slot *s = &l->slot[batch % l->slots];
    sg_augment_output out = {
        .image = s->batch.image + row * 3 * l->options.input * l->options.input,
        .boxes = s->batch.boxes + row * SG_MAX_BOXES * 4,
        .classes = s->batch.classes + row * SG_MAX_BOXES,
    };
    sg_status st;

    if (l->options.augment)
        st = fill_training_row(w, l->options.start + job, &out, &s->batch.sample[row]);
    else
        st = fill_evaluation_row(w, batch, row, &out, &s->batch.map[row], &s->batch.sample[row]);
    s->batch.count[row] = out.count;
    s->dropped[row] = out.dropped;
    return st;
}

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

static void *worker_main(void *argument) {
    worker *w = argument;
    sg_loader *l = w->loader;
    int64_t B = l->options.batch;

    pthread_mutex_lock(&l->lock);
    for (;;) {
        int64_t job;
        sg_status st;

        while (!l->stop && (l->status != SG_OK || l->next_job / B >= l->released + open_slots(l)))
            pthread_cond_wait(&l->room, &l->lock);
        if (l->stop) break;
        job = l->next_job++;
        l->running++;
        pthread_mutex_unlock(&l->lock);
        st = fill_row(w, job);
        pthread_mutex_lock(&l->lock);
        if (st != SG_OK) record_failure(l, job, st);
        l->running--;
        l->slot[job / B % l->slots].rows_done++;
        if (l->slot[job / B % l->slots].rows_done == B || l->status != SG_OK)
            pthread_cond_signal(&l->done);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Under the lock. Only once nothing is in work any more is it known which job failed first, and the
 * batches before that one are whole and still handed out: the same end for any number of threads.
 */
static bool batch_failed(const sg_loader *l, int64_t batch) {
    return l->status != SG_OK && l->running == 0 && l->failed_job / l->options.batch <= batch;
}

sg_status sg_loader_next(sg_loader *loader, sg_batch *batch) {
    int64_t B = loader->options.batch, number = loader->taken;
    slot *s = &loader->slot[number % loader->slots];
    double start = sg_now();
    bool failed;

    pthread_mutex_lock(&loader->lock);
    if (number > 0 && loader->released < number) {
        loader->slot[(number - 1) % loader->slots].rows_done = 0;
        loader->released = number;
        pthread_cond_broadcast(&loader->room);
    }
    while (s->rows_done < B && !batch_failed(loader, number))
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
    s->batch.dropped = 0;
    for (int64_t row = 0; row < B; row++) s->batch.dropped += s->dropped[row];
    *batch = s->batch;
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
    if (o->cache_bytes < 0 || o->start < 0)
        return sg_fail(SG_ERR_ARG, "loader: negative cache (%lld) or start (%lld)",
                       (long long)o->cache_bytes, (long long)o->start);
    return o->augment ? sg_augment_options_check(o->augment) : SG_OK;
}

/* With base = NULL it only counts. */
static void *carve(uint8_t *base, size_t *used, size_t bytes) {
    size_t at = *used;

    *used += sg_align_up(bytes);
    return base ? base + at : NULL;
}

static void carve_slot(const sg_loader *l, slot *s, uint8_t *base, size_t *used) {
    size_t B = (size_t)l->options.batch, S = (size_t)l->options.input;

    s->batch.image = carve(base, used, B * 3 * S * S);
    s->batch.boxes = carve(base, used, B * SG_MAX_BOXES * 4 * sizeof(float));
    s->batch.classes = carve(base, used, B * SG_MAX_BOXES * sizeof(int32_t));
    s->batch.count = carve(base, used, B * sizeof(int32_t));
    s->batch.sample = carve(base, used, B * sizeof(int64_t));
    s->batch.map = carve(base, used, B * sizeof(sg_letterbox));
    s->dropped = carve(base, used, B * sizeof(int64_t));
}

static sg_status make_slots(sg_loader *l) {
    size_t images = (size_t)(l->options.batch * 3 * l->options.input * l->options.input), used = 0;

    l->slots = l->options.prefetch + 1; /* one is with the caller */
    l->slot = sg_calloc((size_t)l->slots, sizeof *l->slot);
    if (!l->slot) return sg_fail(SG_ERR_OOM, "loader: no memory for its batches");
    for (int64_t i = 0; i < l->slots; i++) carve_slot(l, &l->slot[i], NULL, &used);
    l->memory = sg_malloc(used);
    if (!l->memory)
        return sg_fail(SG_ERR_OOM, "loader: no memory for %lld batches, %zu bytes",
                       (long long)l->slots, used);
    used = 0;
    for (int64_t i = 0; i < l->slots; i++) {
        size_t start = used + images; /* images are filled whole: nothing touches them before */

        carve_slot(l, &l->slot[i], l->memory, &used);
        memset(l->memory + start, 0, used - start);
    }
    return SG_OK;
}

static size_t picture_bytes(const sg_sample *s, int shrink) {
    return sg_align_up((size_t)(shrunk(s->width, shrink) * shrunk(s->height, shrink) * 3));
}

/* The longer side stays at least twice the input's. */
static int choose_shrink(const sg_loader_options *o, const sg_sample *s) {
    int64_t longer = s->width > s->height ? s->width : s->height;
    int shrink = 1;

    if (!o->augment) return 1;
    while (shrink < kMaxShrink && longer / (2 * shrink) >= 2 * o->input) shrink *= 2;
    return shrink;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* *uncached: the largest picture that stays outside; *full: the largest that is shrunk; in bytes.
 */
static sg_status make_cache(sg_loader *l, size_t *uncached, size_t *full) {
    const sg_dataset *d = l->dataset;
    size_t total = 0, limit = (size_t)l->options.cache_bytes;
    int64_t n = 0; /* cached samples */

    *uncached = *full = 0;
    l->cache = sg_calloc((size_t)d->n, sizeof *l->cache);
    if (!l->cache) return sg_fail(SG_ERR_OOM, "loader: no memory for its cache's table");
    for (int64_t i = 0; i < d->n; i++) {
        int shrink = choose_shrink(&l->options, &d->samples[i]);
        size_t bytes = picture_bytes(&d->samples[i], shrink);

        l->cache[i].shrink = shrink;
        if (shrink > 1) *full = larger(*full, picture_bytes(&d->samples[i], 1));
        if (n == i && total + bytes <= limit) {
            total += bytes;
            n++;
        } else {
            *uncached = larger(*uncached, bytes);
        }
    }
    l->cache_memory = sg_malloc(total);
    if (!l->cache_memory)
        return sg_fail(SG_ERR_OOM, "loader: no memory for a cache of %zu bytes", total);
    total = 0;
    for (int64_t i = 0; i < n; i++) {
        l->cache[i].rgb = l->cache_memory + total;
        total += picture_bytes(&d->samples[i], l->cache[i].shrink);
    }
    return SG_OK;
}

static sg_status make_workers(sg_loader *l, size_t uncached, size_t full) {
    const sg_dataset *d = l->dataset;
    size_t scratch = sg_augment_scratch_bytes(d->width_max, d->height_max, l->options.input);

    l->worker = sg_calloc((size_t)l->options.threads, sizeof *l->worker);
    if (!l->worker) return sg_fail(SG_ERR_OOM, "loader: no memory for its threads");
    for (int i = 0; i < l->options.threads; i++) {
        worker *w = &l->worker[i];

        w->loader = l;
        w->scratch = sg_malloc(scratch);
        w->picture = uncached ? sg_malloc(uncached) : NULL;
        w->full = full ? sg_malloc(full) : NULL;
        if (!w->scratch || (uncached && !w->picture) || (full && !w->full))
            return sg_fail(SG_ERR_OOM, "loader: no memory for a thread's picture of %zu bytes",
                           uncached + full);
    }
    return SG_OK;
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
    size_t uncached, full;
    sg_loader *l;
    sg_status st;

    SG_TRY(check_options(dataset, options));
    l = sg_calloc(1, sizeof *l);
    if (!l) return sg_fail(SG_ERR_OOM, "loader: no memory");
    l->dataset = dataset;
    l->options = *options;
    if (options->augment) {
        l->augment = *options->augment;
        l->options.augment = &l->augment;
    }
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->room, NULL);
    pthread_cond_init(&l->done, NULL);
    pthread_cond_init(&l->loaded, NULL);
    st = make_slots(l);
    if (st == SG_OK) st = make_cache(l, &uncached, &full);
    if (st == SG_OK) st = make_workers(l, uncached, full);
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
    for (int i = 0; loader->worker && i < loader->options.threads; i++) {
        sg_free(loader->worker[i].scratch);
        sg_free(loader->worker[i].picture);
        sg_free(loader->worker[i].full);
    }
    sg_free(loader->worker);
    sg_free(loader->cache);
    sg_free(loader->cache_memory);
    sg_free(loader->slot);
    sg_free(loader->memory);
    sg_free(loader);
}
