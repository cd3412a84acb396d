/* What a loader allocates, all of it when it is made: batches, cache, the threads' scratch.
 *
 * The cache holds the samples with the lowest indices that fit `cache_bytes`, decided at create:
 * nothing is evicted, so no access pattern can make it useless, and its memory is one block that
 * the system backs as pictures come in.
 *
 * Training takes large pictures 2, 4 or 8 times smaller, as long as they stay twice as large as the
 * input, whether they are cached or not: a 12-megapixel JPEG decodes in 18 ms instead of 28 (one
 * core of an EPYC) and sixteen of them fit where one did. Evaluation sees every pixel, as
 * prediction does. */
#include "data/loader_inside.h"

#include <string.h>

#include "core/mem.h"

enum {
    kMaxShrink = 8,      /* what libjpeg can do */
    kMostFinished = 3,   /* a raw row's share of the staged block, in finished pictures */
    kStagedPercent = 125 /* of what rows need on average */
};

/* With base = NULL it only counts. */
static void *carve(uint8_t *base, size_t *used, size_t bytes) {
    size_t at = *used;

    *used += sg_align_up(bytes);
    return base ? base + at : NULL;
}

static void carve_slot(const sg_loader *l, sg_loader_slot *s, uint8_t *base, size_t *used) {
    size_t B = (size_t)l->options.batch, S = (size_t)l->options.input;

    if (l->options.device)
        s->batch.staged = carve(base, used, l->staged_bytes);
    else
        s->batch.image = carve(base, used, B * 3 * S * S);
    s->batch.boxes = carve(base, used, B * SG_MAX_BOXES * 4 * sizeof(float));
    s->batch.classes = carve(base, used, B * SG_MAX_BOXES * sizeof(int32_t));
    s->batch.count = carve(base, used, B * sizeof(int32_t));
    s->batch.sample = carve(base, used, B * sizeof(int64_t));
    s->batch.map = carve(base, used, B * sizeof(sg_letterbox));
    s->dropped = carve(base, used, B * sizeof(int64_t));
    if (l->options.device)
        s->batch.keep = carve(base, used, B * SG_WARP_SOURCES * sizeof *s->batch.keep);
}

static sg_status alloc_slots(sg_loader *l, size_t bytes) {
    void *block;

    if (l->options.device) {
        SG_TRY(l->options.device->alloc_host(bytes, "batches of the loader", &block));
        l->memory = block;
        return SG_OK;
    }
    l->memory = sg_malloc(bytes);
    if (!l->memory)
        return sg_fail(SG_ERR_OOM, "loader: no memory for %lld batches, %zu bytes",
                       (long long)l->slots, bytes);
    return SG_OK;
}

static sg_status make_slots(sg_loader *l) {
    size_t images = (size_t)(l->options.batch * 3 * l->options.input * l->options.input), used = 0;

    if (l->options.device) images = l->staged_bytes;
    l->slots = l->options.prefetch + 1; /* one is with the caller */
    l->slot = sg_calloc((size_t)l->slots, sizeof *l->slot);
    if (!l->slot) return sg_fail(SG_ERR_OOM, "loader: no memory for its batches");
    for (int64_t i = 0; i < l->slots; i++) carve_slot(l, &l->slot[i], NULL, &used);
    SG_TRY(alloc_slots(l, used));
    used = 0;
    for (int64_t i = 0; i < l->slots; i++) {
        size_t start = used + images; /* images are filled whole: nothing touches them before */

        carve_slot(l, &l->slot[i], l->memory, &used);
        memset(l->memory + start, 0, used - start);
        if (l->options.device) sg_loader_clear_staged(l, &l->slot[i]);
    }
    return SG_OK;
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

/* How far pictures are shrunk; the first ones are kept on the device, the next are cached. Sets
 * l->kept_bytes; *cached: bytes of the cache. */
static void place_pictures(sg_loader *l, size_t *cached) {
    size_t limit = (size_t)l->options.cache_bytes, kept_limit = (size_t)l->options.kept_bytes;
    bool keeps = l->options.device != NULL, caches = true;

    *cached = 0;
    for (int64_t i = 0; i < l->dataset->n; i++) {
        const sg_sample *s = &l->dataset->samples[i];
        sg_loader_picture *p = &l->cache[i];
        size_t bytes;

        p->shrink = choose_shrink(&l->options, s);
        p->place = -1;
        bytes = sg_loader_picture_bytes(s, p->shrink);
        keeps = keeps && l->kept_bytes + bytes <= kept_limit;
        if (keeps) {
            p->place = (int64_t)l->kept_bytes;
            l->kept_bytes += bytes;
            continue;
        }
        caches = caches && *cached + bytes <= limit;
        p->is_cached = caches;
        if (caches) *cached += bytes;
    }
}

static sg_status make_cache(sg_loader *l) {
    size_t total, at = 0;

    l->cache = sg_calloc((size_t)l->dataset->n, sizeof *l->cache);
    if (!l->cache) return sg_fail(SG_ERR_OOM, "loader: no memory for its cache's table");
    place_pictures(l, &total);
    l->cache_memory = sg_malloc(total);
    if (!l->cache_memory)
        return sg_fail(SG_ERR_OOM, "loader: no memory for a cache of %zu bytes", total);
    for (int64_t i = 0; i < l->dataset->n; i++) {
        if (!l->cache[i].is_cached) continue;
        l->cache[i].rgb = l->cache_memory + at;
        at += sg_loader_picture_bytes(&l->dataset->samples[i], l->cache[i].shrink);
    }
    return SG_OK;
}

/* A slot's staged block: the jobs, and what a batch's pictures need on average and a quarter more,
 * but each row at least one finished picture and at most kMostFinished of them. */
static size_t staged_bytes(const sg_loader *l) {
    size_t B = (size_t)l->options.batch, finished = sg_loader_finished_bytes(l), row;
    double sources = 1.0, total = 0.0;

    if (l->options.augment) sources += (SG_WARP_SOURCES - 1) * (double)l->augment.mosaic;
    for (int64_t i = 0; i < l->dataset->n; i++)
        total += (double)sg_loader_picture_bytes(&l->dataset->samples[i], l->cache[i].shrink);
    total *= sources * kStagedPercent / 100.0 / (double)l->dataset->n;
    row = total < (double)(kMostFinished * finished) ? (size_t)total : kMostFinished * finished;
    return sg_align_up(B * sizeof(sg_warp_job)) + B * sg_align_up(larger(row, finished));
}

/* The largest picture that a thread decodes for itself, and the largest that is shrunk. */
static void most_bytes(const sg_loader *l, size_t *uncached, size_t *full) {
    *uncached = *full = 0;
    for (int64_t i = 0; i < l->dataset->n; i++) {
        const sg_sample *s = &l->dataset->samples[i];
        int shrink = l->cache[i].shrink;

        if (shrink > 1) *full = larger(*full, sg_loader_picture_bytes(s, 1));
        if (!l->cache[i].rgb) *uncached = larger(*uncached, sg_loader_picture_bytes(s, shrink));
    }
}

static sg_status make_workers(sg_loader *l) {
    const sg_dataset *d = l->dataset;
    size_t scratch = sg_augment_scratch_bytes(d->width_max, d->height_max, l->options.input);
    size_t uncached, full;

    most_bytes(l, &uncached, &full);
    l->worker = sg_calloc((size_t)l->options.threads, sizeof *l->worker);
    if (!l->worker) return sg_fail(SG_ERR_OOM, "loader: no memory for its threads");
    for (int i = 0; i < l->options.threads; i++) {
        sg_loader_worker *w = &l->worker[i];

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

sg_status sg_loader_allocate(sg_loader *l) {
    SG_TRY(make_cache(l));
    if (l->options.device) l->staged_bytes = staged_bytes(l);
    SG_TRY(make_slots(l));
    return make_workers(l);
}

void sg_loader_release(sg_loader *l) {
    for (int i = 0; l->worker && i < l->options.threads; i++) {
        sg_free(l->worker[i].scratch);
        sg_free(l->worker[i].picture);
        sg_free(l->worker[i].full);
    }
    sg_free(l->worker);
    sg_free(l->cache);
    sg_free(l->cache_memory);
    sg_free(l->slot);
    if (l->options.device)
        l->options.device->release_host(l->memory);
    else
        sg_free(l->memory);
}
