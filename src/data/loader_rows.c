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

    image->width = sg_image_shrunk(sample->width, entry->shrink);
    image->height = sg_image_shrunk(sample->height, entry->shrink);
    image->rgb = entry->rgb ? entry->rgb : w->picture;
    if (entry->rgb) return cached_picture(w, entry, sample);
    return sg_image_read_into(sample->path, sample->width, sample->height, entry->shrink, w->full,
                              w->picture);
}

/* The pixels of a source into the staged block. */
static sg_status stage_picture(sg_loader_worker *w, int64_t index, uint8_t *rgb) {
    sg_loader *l = w->loader;
    const sg_sample *sample = &l->dataset->samples[index];
    sg_loader_picture *entry = &l->cache[index];

    if (!entry->rgb)
        return sg_image_read_into(sample->path, sample->width, sample->height, entry->shrink,
                                  w->full, rgb);
    SG_TRY(cached_picture(w, entry, sample));
    memcpy(rgb, entry->rgb, sg_loader_picture_bytes(sample, entry->shrink));
    return SG_OK;
}

static void plan_training_row(const sg_loader *l, int64_t position, sg_loader_row *row) {
    int64_t n = l->dataset->n, epoch = position / n, close = l->options.mosaic_close_epoch;

    row->sample = sg_sampler_at(l->options.seed, n, position);
    sg_augment_plan_init(&row->plan, &l->augment, l->options.seed, epoch, row->sample, n,
                         l->options.input, close < 0 || epoch < close);
    row->n_sources = row->plan.n_sources;
    for (int i = 0; i < row->n_sources; i++) row->index[i] = row->plan.source[i].sample;
}

void sg_loader_plan_row(const sg_loader *l, int64_t job, sg_loader_row *row) {
    int64_t B = l->options.batch, batch = sg_loader_batch_of(l, job), at = sg_loader_row_of(l, job);
    int64_t index = batch % sg_loader_batches(l) * B + at;
    uint8_t *images = sg_loader_slot_of(l, job)->batch.image;
    bool padding = index >= l->dataset->n;

    *row = (sg_loader_row){0};
    if (images) row->image = images + at * 3 * l->options.input * l->options.input;
    if (l->options.augment) {
        plan_training_row(l, l->options.start + batch * B + at, row);
        return;
    }
    row->sample = padding ? -1 : index;
    row->n_sources = padding ? 0 : 1;
    row->index[0] = row->sample;
}

/* out->image NULL: the device will make the picture, of sources that this row may have to bring. */
static sg_status fill_training_row(sg_loader_worker *w, const sg_loader_row *row,
                                   sg_augment_output *out) {
    sg_loader *l = w->loader;

    sg_augment_begin(&row->plan, out);
    for (int i = 0; i < row->n_sources; i++) {
        const sg_sample *sample = &l->dataset->samples[row->index[i]];
        sg_image image;

        if (out->image) {
            SG_TRY(get_picture(w, row->index[i], &image));
            sg_augment_add(&row->plan, i, &image, l->cache[row->index[i]].shrink, sample,
                           w->scratch, out);
            continue;
        }
        if (row->bring[i]) SG_TRY(stage_picture(w, row->index[i], row->bring[i]));
        sg_augment_add_boxes(&row->plan, i, sample, out);
    }
    return SG_OK;
}

static void fill_padding(const sg_loader *l, sg_augment_output *out, sg_letterbox *map) {
    if (out->image)
        memset(out->image, SG_IMAGE_MATTE, (size_t)(3 * l->options.input * l->options.input));
    *map = (sg_letterbox){.scale = 1.0f};
}

static sg_status fill_evaluation_row(sg_loader_worker *w, const sg_loader_row *row,
                                     sg_augment_output *out, sg_letterbox *map) {
    sg_loader *l = w->loader;
    const sg_sample *s;
    sg_image image;

    memset(out->boxes, 0, SG_MAX_BOXES * 4 * sizeof *out->boxes);
    memset(out->classes, 0, SG_MAX_BOXES * sizeof *out->classes);
    out->count = out->dropped = 0;
    if (row->n_sources == 0) {
        fill_padding(l, out, map);
        return SG_OK;
    }
    s = &l->dataset->samples[row->sample];
    *map = sg_letterbox_map(s->width, s->height, l->options.input);
    if (out->image) {
        SG_TRY(get_picture(w, row->sample, &image));
        sg_letterbox_fill(&image, l->options.input, w->scratch, out->image, NULL);
    } else if (row->bring[0]) {
        SG_TRY(stage_picture(w, row->sample, row->bring[0]));
    }
    for (int64_t b = 0; b < s->count; b++) {
        float box[4];

        sg_letterbox_apply(map, s->boxes + 4 * b, box);
        sg_augment_keep_box(box, s->classes[b], out);
    }
    return SG_OK;
}

sg_status sg_loader_fill_row(sg_loader_worker *w, int64_t job, const sg_loader_row *row) {
    sg_loader *l = w->loader;
    int64_t at = sg_loader_row_of(l, job);
    sg_loader_slot *s = sg_loader_slot_of(l, job);
    sg_augment_output out = {
        .image = row->image,
        .boxes = s->batch.boxes + at * SG_MAX_BOXES * 4,
        .classes = s->batch.classes + at * SG_MAX_BOXES,
    };
    sg_status st;

    if (l->options.augment)
        st = fill_training_row(w, row, &out);
    else
        st = fill_evaluation_row(w, row, &out, &s->batch.map[at]);
    s->batch.sample[at] = row->sample;
    s->batch.count[at] = out.count;
    s->dropped[at] = out.dropped;
    return st;
}
