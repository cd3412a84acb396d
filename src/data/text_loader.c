#include "data/text_loader.h"

#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "data/loader.h"

enum { kWindow = 64, kEighths = 8 };

/* --- shapes ----------------------------------------------------------------------------------- */

static int64_t share(int64_t most, int eighths) {
    return (most * eighths + kEighths - 1) / kEighths;
}

sg_text_shapes sg_text_shapes_up_to(int64_t features, int64_t length) {
    static const int eighths[SG_TEXT_SHAPES] = {1, 2, 3, 4, 6, 8};
    sg_text_shapes s = {.n = SG_TEXT_SHAPES};

    for (int i = 0; i < SG_TEXT_SHAPES; i++) {
        s.features[i] = share(features, eighths[i]);
        s.length[i] = share(length, eighths[i]);
    }
    return s;
}

sg_text_shapes sg_text_shapes_masked(const sg_masking *masking, int64_t length) {
    sg_text_shapes s = sg_text_shapes_up_to(0, length);

    for (int i = 0; i < s.n; i++) s.guesses[i] = sg_masking_count(masking, s.length[i]);
    return s;
}

int sg_text_shape_for(const sg_text_shapes *s, int64_t ngrams, int64_t subwords) {
    int i = 0;

    while (i + 1 < s->n && ((s->features[i] > 0 && ngrams > s->features[i]) ||
                            (s->length[i] > 0 && subwords > s->length[i])))
        i++;
    return i;
}

/* --- rows ------------------------------------------------------------------------------------- */

sg_status sg_text_rows_init(const sg_text_shapes *shapes, int64_t batch, sg_text_rows *rows) {
    size_t F = (size_t)(batch * shapes->features[shapes->n - 1]);
    size_t T = (size_t)(batch * shapes->length[shapes->n - 1]);
    size_t P = (size_t)(batch * shapes->guesses[shapes->n - 1]);
    sg_text_rows r = {.ngrams = sg_malloc(F * sizeof *r.ngrams + 1),
                      .weights = sg_malloc(F * sizeof *r.weights + 1),
                      .ids = sg_malloc(T * sizeof *r.ids + 1),
                      .length = sg_malloc((size_t)batch * sizeof *r.length + 1),
                      .place = sg_malloc(P * sizeof *r.place + 1),
                      .guess = sg_malloc(P * sizeof *r.guess + 1),
                      .guesses = sg_malloc((size_t)batch * sizeof *r.guesses + 1)};

    *rows = r;
    if (r.ngrams && r.weights && r.ids && r.length && r.place && r.guess && r.guesses) return SG_OK;
    sg_text_rows_clear(rows);
    return sg_fail(SG_ERR_OOM, "no memory for a batch of %lld texts", (long long)batch);
}

void sg_text_rows_clear(sg_text_rows *rows) {
    sg_free(rows->ngrams);
    sg_free(rows->weights);
    sg_free(rows->ids);
    sg_free(rows->length);
    sg_free(rows->place);
    sg_free(rows->guess);
    sg_free(rows->guesses);
    memset(rows, 0, sizeof *rows);
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void sg_text_rows_put(const sg_text_rows *rows, const sg_text_shapes *shapes, int shape, int64_t i,
                      const sg_encoded *text) {
    int64_t F = shapes->features[shape], T = shapes->length[shape];
    int64_t ngrams = smaller(text->n_ngrams, F), subwords = smaller(text->n_subwords, T);

    if (ngrams > 0) {
        memcpy(rows->ngrams + i * F, text->ngram, (size_t)ngrams * sizeof *rows->ngrams);
        memcpy(rows->weights + i * F, text->weight, (size_t)ngrams * sizeof *rows->weights);
    }
    for (int64_t k = ngrams; k < F; k++) rows->ngrams[i * F + k] = -1;
    memset(rows->weights + i * F + ngrams, 0, (size_t)(F - ngrams) * sizeof *rows->weights);
    if (subwords > 0)
        memcpy(rows->ids + i * T, text->subword, (size_t)subwords * sizeof *rows->ids);
    for (int64_t k = subwords; k < T; k++) rows->ids[i * T + k] = -1;
    rows->length[i] = (int32_t)subwords;
}

void sg_text_rows_mask(const sg_text_rows *rows, const sg_text_shapes *shapes, int shape, int64_t i,
                       int64_t of_shard, const sg_masking *masking, uint64_t key) {
    int64_t T = shapes->length[shape], P = shapes->guesses[shape];
    int32_t *place = rows->place + i * P, *guess = rows->guess + i * P;
    int64_t n = sg_masking_apply(masking, key, rows->ids + i * T, rows->length[i], place, guess);

    for (int64_t k = 0; k < n; k++) place[k] += (int32_t)(of_shard * T);
    for (int64_t k = n; k < P; k++) place[k] = guess[k] = -1;
    rows->guesses[i] = (float)n;
}

/* --- the loader ------------------------------------------------------------------------------- */

typedef struct {
    int64_t sample, length, epoch;
} place;

struct sg_text_loader {
    const sg_encoded_set *set; /* borrowed */
    sg_text_loader_options options;
    int64_t batches;   /* of a window */
    place *window;     /* (batches, B) */
    int64_t in_window; /* which window that is; -1: none yet */
    int64_t next;      /* batch of the run */
    uint64_t key;      /* of the order of a window's batches */
    sg_text_batch batch;
};

sg_status sg_text_loader_create(const sg_encoded_set *set, const sg_text_loader_options *options,
                                sg_text_loader **out) {
    sg_text_loader *l = sg_calloc(1, sizeof *l);
    int64_t B = options->batch, half = set->n / B / 2;
    sg_status st = SG_OK;

    if (!l) return sg_fail(SG_ERR_OOM, "texts: no memory");
    l->set = set;
    l->options = *options;
    l->batches = !options->by_length || half < 1 ? 1 : smaller(half, kWindow);
    l->in_window = -1;
    l->key = sg_key_mix(options->seed, sg_key_name("window"));
    l->window = sg_malloc((size_t)(l->batches * B) * sizeof *l->window);
    l->batch.target = sg_malloc((size_t)(B * options->classes) * sizeof(float) + 1);
    l->batch.sample = sg_malloc((size_t)B * sizeof *l->batch.sample);
    if (!l->window || !l->batch.target || !l->batch.sample)
        st = sg_fail(SG_ERR_OOM, "texts: no memory for a batch");
    if (st == SG_OK) st = sg_text_rows_init(&options->shapes, B, &l->batch.rows);
    if (st != SG_OK) {
        sg_text_loader_destroy(l);
        return st;
    }
    sg_text_loader_restart(l, options->start);
    *out = l;
    return SG_OK;
}

void sg_text_loader_destroy(sg_text_loader *l) {
    if (!l) return;
    sg_free(l->window);
    sg_free(l->batch.target);
    sg_free(l->batch.sample);
    sg_text_rows_clear(&l->batch.rows);
    sg_free(l);
}

/* A window that is there stays: which texts are in it is a function of its number. */
void sg_text_loader_restart(sg_text_loader *l, int64_t start) {
    l->options.start = start;
    l->next = start / l->options.batch;
}

static int compare_places(const void *a, const void *b) {
    const place *x = a, *y = b;

    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return (x->sample > y->sample) - (x->sample < y->sample);
}

static void fill_window(sg_text_loader *l, int64_t window) {
    const sg_text_loader_options *o = &l->options;
    int64_t n = l->batches * o->batch, first = window * n;

    for (int64_t i = 0; i < n; i++) {
        int64_t sample = sg_sampler_at(o->seed, l->set->n, first + i);
        sg_encoded text = sg_encoded_at(l->set, sample);

        l->window[i] = (place){sample, text.n_subwords > 0 ? text.n_subwords : text.n_ngrams,
                               (first + i) / l->set->n};
    }
    if (l->batches > 1) qsort(l->window, (size_t)n, sizeof *l->window, compare_places);
    l->in_window = window;
}

/* Row i of the batch, of a place. */
static void put_guesses(const sg_text_loader *l, const place *at, int shape, int64_t i) {
    const sg_text_loader_options *o = &l->options;

    sg_text_rows_mask(&l->batch.rows, &o->shapes, shape, i, i % o->shard, o->masking,
                      sg_masking_key(o->masking, at->epoch, at->sample));
}

static void put_target(const sg_text_loader *l, int64_t sample, float *target) {
    const sg_text_loader_options *o = &l->options;
    const int32_t *label = o->label[sample];
    float weight = label[0] >= 0 ? o->class_weight[label[0]] : 0.0f;

    for (int64_t c = 0; c < o->classes; c++) target[c] = -1.0f;
    for (int32_t c = label[1]; c < label[1] + label[2]; c++)
        target[c] = weight *
                    (o->smoothing / (float)label[2] + (c == label[0] ? 1.0f - o->smoothing : 0.0f));
}

const sg_text_batch *sg_text_loader_next(sg_text_loader *l) {
    const sg_text_loader_options *o = &l->options;
    int64_t window = l->next / l->batches, at = l->next % l->batches;
    const place *row;
    int shape = 0;

    if (l->in_window != window) fill_window(l, window);
    row = l->window + o->batch * sg_permute(sg_key_mix(l->key, (uint64_t)window), l->batches, at);
    for (int64_t i = 0; i < o->batch; i++) {
        sg_encoded text = sg_encoded_at(l->set, row[i].sample);
        int fits = sg_text_shape_for(&o->shapes, text.n_ngrams, text.n_subwords);

        if (fits > shape) shape = fits;
    }
    for (int64_t i = 0; i < o->batch; i++) {
        sg_encoded text = sg_encoded_at(l->set, row[i].sample);

        sg_text_rows_put(&l->batch.rows, &o->shapes, shape, i, &text);
        l->batch.sample[i] = row[i].sample;
        if (o->masking)
            put_guesses(l, &row[i], shape, i);
        else
            put_target(l, row[i].sample, l->batch.target + i * o->classes);
    }
    l->batch.shape = shape;
    l->batch.first = o->batch * l->next;
    l->next++;
    return &l->batch;
}
