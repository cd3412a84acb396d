/* Raw batches: where a row's pictures are, for the device that will warp them.
 *
 *   staged block of a slot   B jobs | pictures of row 0, of row 1, ...
 *
 * The samples with the lowest indices that fit `kept_bytes` are kept on the device for good: the
 * first row that needs one brings it, and all rows after only name its place. Other pictures are
 * brought each time. Places are given as rows begin, which is in order, so a row never refers to a
 * picture that comes later, and the block is the same whatever the number of threads. (Which of two
 * workers' rows brings a picture differs with their parts; what comes of it does not.)
 *
 * A row whose pictures do not fit into what the block has left, or that shrinks one further than a
 * device's tables reach, is finished by the loader's thread as without a device: each row's share
 * of the block is at least one finished picture, so there is always room for that. */
#include "data/loader_inside.h"

#include "data/resample.h"

static size_t jobs_bytes(const sg_loader *l) {
    return sg_align_up((size_t)l->options.batch * sizeof(sg_warp_job));
}

void sg_loader_clear_staged(const sg_loader *l, sg_loader_slot *s) {
    s->batch.staged_bytes = l->options.device ? (int64_t)jobs_bytes(l) : 0;
    s->batch.n_keep = 0;
}

/* The batches before the last one that was handed out are staged. That one may be, or not. */
void sg_loader_forget_brought(sg_loader *l) {
    int64_t known = l->taken > 0 ? l->taken - 1 : 0;

    if (!l->options.device) return;
    for (int64_t i = 0; i < l->dataset->n; i++) {
        sg_loader_picture *p = &l->cache[i];

        if (p->was_staged && p->brought_by >= known) p->was_staged = false;
        p->brought_by = -1;
    }
}

static void describe_source(const sg_loader *l, const sg_loader_row *row, int i,
                            sg_warp_source *out) {
    const sg_sample *sample = &l->dataset->samples[row->index[i]];

    if (l->options.augment)
        sg_augment_warp(&row->plan, i, sample, l->cache[row->index[i]].shrink, out);
    else
        sg_letterbox_warp(sample->width, sample->height, l->options.input, out);
}

static bool is_kept(const sg_loader_picture *p) { return p->place >= 0 && p->was_staged; }

static size_t bytes_of(const sg_loader *l, int64_t index) {
    return sg_loader_picture_bytes(&l->dataset->samples[index], l->cache[index].shrink);
}

/* Whether the row's pictures fit, the rows after it having room for a finished one each. */
static bool fits(const sg_loader *l, const sg_loader_slot *s, int64_t rows_after,
                 const sg_loader_row *row, const sg_warp_job *job) {
    size_t need = (size_t)s->batch.staged_bytes;

    for (int i = 0; i < row->n_sources; i++) {
        const sg_warp_source *source = &job->source[i];

        if (sg_resample_taps(source->x.scale) > SG_WARP_TAPS ||
            sg_resample_taps(source->y.scale) > SG_WARP_TAPS)
            return false;
        if (!is_kept(&l->cache[row->index[i]])) need += bytes_of(l, row->index[i]);
    }
    return need + (size_t)rows_after * sg_loader_finished_bytes(l) <= l->staged_bytes;
}

static int64_t take(sg_loader_slot *s, size_t bytes) {
    int64_t at = s->batch.staged_bytes;

    s->batch.staged_bytes += (int64_t)bytes;
    return at;
}

static void place_source(sg_loader *l, sg_loader_slot *s, int64_t batch, int i, sg_loader_row *row,
                         sg_warp_source *source) {
    sg_loader_picture *p = &l->cache[row->index[i]];
    size_t bytes = bytes_of(l, row->index[i]);

    if (is_kept(p)) {
        source->kept = 1;
        source->at = p->place;
        return;
    }
    source->at = take(s, bytes);
    row->bring[i] = s->batch.staged + source->at;
    if (p->place < 0) return;
    p->was_staged = true;
    p->brought_by = batch;
    s->batch.keep[s->batch.n_keep++] = (sg_staged_copy){source->at, p->place, (int64_t)bytes};
}

void sg_loader_place_row(sg_loader *l, int64_t number, sg_loader_row *row) {
    int64_t batch = sg_loader_batch_of(l, number), at = sg_loader_row_of(l, number);
    int64_t rows_after = l->part.first + l->part.count - 1 - at;
    sg_loader_slot *s = sg_loader_slot_of(l, number);
    sg_warp_job *job = (sg_warp_job *)(void *)s->batch.staged + at;

    *job = (sg_warp_job){.n_sources = row->n_sources};
    for (int i = 0; i < row->n_sources; i++) describe_source(l, row, i, &job->source[i]);
    if (fits(l, s, rows_after, row, job)) {
        for (int i = 0; i < row->n_sources; i++) place_source(l, s, batch, i, row, &job->source[i]);
        return;
    }
    *job = (sg_warp_job){.finished = 1};
    job->source[0].at = take(s, sg_loader_finished_bytes(l));
    row->image = s->batch.staged + job->source[0].at;
}
