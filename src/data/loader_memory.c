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

enum { kMaxShrink = 8 /* what libjpeg can do */ };

/* With base = NULL it only counts. */
static void *carve(uint8_t *base, size_t *used, size_t bytes) {
    size_t at = *used;

    *used += sg_align_up(bytes);
    return base ? base + at : NULL;
}

static void carve_slot(const sg_loader *l, sg_loader_slot *s, uint8_t *base, size_t *used) {
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
    return sg_align_up(
        (size_t)(sg_loader_shrunk(s->width, shrink) * sg_loader_shrunk(s->height, shrink) * 3));
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
    size_t uncached, full;

    SG_TRY(make_slots(l));
    SG_TRY(make_cache(l, &uncached, &full));
    return make_workers(l, uncached, full);
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
    sg_free(l->memory);
}
