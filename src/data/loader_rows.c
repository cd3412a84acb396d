/* Filling a row of a batch: its pictures, from the cache or decoded, its boxes. */
#define _GNU_SOURCE
#include "data/loader_inside.h"

#include <string.h>

#include "data/image.h"

/* A cached picture, decoded by whichever thread needs it first; the others wait for that one. */
static sg_status cached_picture(sg_loader_worker *w, sg_loader_picture *entry,
                                const sg_sample *sample) {
    sg_loader *l = w->loader;
    sg_status st = SG_OK;

    pthread_mutex_lock(&l->lock);
    while (entry->state == SG_CACHE_LOADING) pthread_cond_wait(&l->loaded, &l->lock);
    if (entry->state == SG_CACHE_EMPTY) {
        entry->state = SG_CACHE_LOADING;
        pthread_mutex_unlock(&l->lock);
        st = sg_image_read_into(sample->path, sample->width, sample->height, entry->shrink, w->full,
                                entry->rgb);
        pthread_mutex_lock(&l->lock);
        entry->state = st == SG_OK ? SG_CACHE_READY : SG_CACHE_EMPTY;
        pthread_cond_broadcast(&l->loaded);
    }
    pthread_mutex_unlock(&l->lock);
    return st;
}

/* `image` borrows from the cache or from the worker, until the worker's next picture. */
static sg_status get_picture(sg_loader_worker *w, int64_t index, sg_image *image) {
    sg_loader *l = w->loader;
    const sg_sample *sample = &l->dataset->samples[index];
    sg_loader_picture *entry = &l->cache[index];

    image->width = sg_loader_shrunk(sample->width, entry->shrink);
    image->height = sg_loader_shrunk(sample->height, entry->shrink);
    image->rgb = entry->rgb ? entry->rgb : w->picture;
    if (entry->rgb) return cached_picture(w, entry, sample);
    return sg_image_read_into(sample->path, sample->width, sample->height, entry->shrink, w->full,
                              w->picture);
}

static sg_status fill_training_row(sg_loader_worker *w, int64_t position, sg_augment_output *out,
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

static sg_status fill_evaluation_row(sg_loader_worker *w, int64_t batch, int64_t row,
                                     sg_augment_output *out, sg_letterbox *map, int64_t *sample) {
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

sg_status sg_loader_fill_row(sg_loader_worker *w, int64_t job) {
    sg_loader *l = w->loader;
    int64_t B = l->options.batch, batch = job / B, row = job % B;
    sg_loader_slot *s = &l->slot[batch % l->slots];
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
