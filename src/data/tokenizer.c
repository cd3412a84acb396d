#include "data/tokenizer_inside.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "core/mem.h"
#include "data/text_clean.h"

enum {
    kRepeats = 4, /* n-grams that are looked at, for one that is kept */
    kBlock = 256, /* texts that a thread takes at a time */
    kSteps = 8,   /* levels of an idf of 1 */
};

static float idf_of(uint8_t level) { return 1.0f + (float)level / (float)kSteps; }

static uint8_t level_of(int64_t texts, int64_t with_it) {
    double idf = log((1.0 + (double)texts) / (1.0 + (double)with_it));
    long level = lround(idf * kSteps);

    return (uint8_t)(level < SG_IDF_LEVELS ? level : SG_IDF_LEVELS - 1);
}

/* --- learning --------------------------------------------------------------------------------- */

typedef struct {
    const sg_tokenizer_options *options;
    sg_text_at at;
    const void *texts;
    int64_t n;
    sg_encoder **encoder;    /* one a thread */
    atomic_int *with_it;     /* (buckets): texts that have an n-gram; NULL without */
    sg_bpe_learner *learner; /* NULL without */
} lesson;

sg_status sg_encoders_create(const sg_tokenizer *tokenizer, int n, sg_encoder ***out) {
    sg_encoder **e = sg_calloc((size_t)n, sizeof *e);
    sg_status st = SG_OK;

    if (!e) return sg_fail(SG_ERR_OOM, "tokenizer: no memory");
    for (int i = 0; i < n && st == SG_OK; i++) st = sg_encoder_create(tokenizer, &e[i]);
    if (st != SG_OK) {
        sg_encoders_destroy(e, n);
        return st;
    }
    *out = e;
    return SG_OK;
}

void sg_encoders_destroy(sg_encoder **e, int n) {
    for (int i = 0; e && i < n; i++) sg_encoder_destroy(e[i]);
    sg_free(e);
}

/* Counts are whole numbers: threads may add them in any order. */
static sg_status count_block(void *context, int64_t block, int worker) {
    lesson *l = context;
    int64_t end = (block + 1) * kBlock < l->n ? (block + 1) * kBlock : l->n;

    for (int64_t i = block * kBlock; i < end; i++) {
        sg_encoded e;
        int64_t bytes;
        const char *text = l->at(l->texts, i, &bytes);

        SG_TRY(sg_encoder_encode(l->encoder[worker], text, bytes, &e));
        for (int64_t k = 0; k < e.n_ngrams; k++)
            atomic_fetch_add_explicit(&l->with_it[e.ngram[k]], 1, memory_order_relaxed);
    }
    return SG_OK;
}

sg_status sg_tokenizer_allocate(sg_tokenizer *t) {
    size_t buckets = (size_t)t->options.ngrams.buckets;

    t->level = sg_calloc(buckets, sizeof *t->level);
    t->row = sg_malloc(buckets * sizeof *t->row);
    if (!t->level || !t->row)
        return sg_fail(SG_ERR_OOM, "tokenizer: no memory for %zu buckets", buckets);
    for (size_t i = 0; i < buckets; i++) t->row[i] = (int32_t)i;
    return SG_OK;
}

static sg_status learn_ngrams(lesson *l, sg_pool *pool, sg_tokenizer *t) {
    size_t buckets = (size_t)t->options.ngrams.buckets;
    int32_t rows = 0;
    sg_status st;

    SG_TRY(sg_tokenizer_allocate(t));
    l->with_it = sg_calloc(buckets, sizeof *l->with_it);
    if (!l->with_it) return sg_fail(SG_ERR_OOM, "tokenizer: no memory for %zu buckets", buckets);
    st = sg_encoders_create(t, sg_pool_threads(pool), &l->encoder);
    if (st == SG_OK) st = sg_pool_run(pool, (l->n + kBlock - 1) / kBlock, count_block, l);
    for (size_t i = 0; i < buckets && st == SG_OK; i++) {
        t->level[i] = level_of(l->n, l->with_it[i]);
        t->row[i] = l->with_it[i] >= l->options->min_count ? rows++ : -1;
    }
    t->rows = rows;
    sg_encoders_destroy(l->encoder, sg_pool_threads(pool));
    return st;
}

static sg_status learn_subwords(lesson *l, sg_tokenizer *t) {
    sg_text text = {0};
    sg_status st = sg_bpe_learner_create(&l->learner);

    for (int64_t i = 0; i < l->n && st == SG_OK; i++) {
        int64_t bytes;
        const char *message = l->at(l->texts, i, &bytes);

        st = sg_text_clean(message, (size_t)bytes, &text);
        if (st == SG_OK) st = sg_bpe_learner_add(l->learner, text.data, text.bytes);
    }
    if (st == SG_OK) st = sg_bpe_learn(l->learner, t->options.subwords, &t->bpe);
    sg_bpe_learner_destroy(l->learner);
    sg_text_clear(&text);
    return st;
}

static sg_status check(const sg_tokenizer_options *o) {
    if (o->ngrams.buckets > 0) SG_TRY(sg_ngrams_check(&o->ngrams));
    if (o->ngrams.buckets > 0 && (o->features < 1 || o->features > SG_TOKENIZER_MAX))
        return sg_fail(SG_ERR_ARG, "tokenizer: %lld n-grams a text; 1 to %d are possible",
                       (long long)o->features, SG_TOKENIZER_MAX);
    if (o->subwords > 0 && (o->length < 1 || o->length > SG_TOKENIZER_MAX))
        return sg_fail(SG_ERR_ARG, "tokenizer: %lld subwords a text; 1 to %d are possible",
                       (long long)o->length, SG_TOKENIZER_MAX);
    return SG_OK;
}

sg_status sg_tokenizer_create(const sg_tokenizer_options *options, sg_tokenizer **out) {
    sg_tokenizer *t;

    SG_TRY(check(options));
    t = sg_calloc(1, sizeof *t);
    if (!t) return sg_fail(SG_ERR_OOM, "tokenizer: no memory");
    t->options = *options;
    *out = t;
    return SG_OK;
}

sg_status sg_tokenizer_learn(const sg_tokenizer_options *options, sg_text_at at, const void *texts,
                             int64_t n, sg_pool *pool, sg_tokenizer **out) {
    lesson l = {.options = options, .at = at, .texts = texts, .n = n};
    sg_tokenizer *t;
    sg_status st = SG_OK;

    SG_TRY(sg_tokenizer_create(options, &t));
    if (options->ngrams.buckets > 0) st = learn_ngrams(&l, pool, t);
    if (st == SG_OK && options->subwords > 0) st = learn_subwords(&l, t);
    sg_free(l.with_it);
    if (st != SG_OK) {
        sg_tokenizer_destroy(t);
        return st;
    }
    *out = t;
    return SG_OK;
}

void sg_tokenizer_destroy(sg_tokenizer *t) {
    if (!t) return;
    sg_free(t->level);
    sg_free(t->row);
    sg_bpe_destroy(t->bpe);
    sg_free(t);
}

const sg_tokenizer_options *sg_tokenizer_options_of(const sg_tokenizer *t) { return &t->options; }
int32_t sg_tokenizer_rows(const sg_tokenizer *t) { return t->rows; }
int32_t sg_tokenizer_vocabulary(const sg_tokenizer *t) { return t->bpe ? sg_bpe_size(t->bpe) : 0; }

/* --- encoding --------------------------------------------------------------------------------- */

struct sg_encoder {
    const sg_tokenizer *tokenizer;
    sg_text text;
    sg_bpe_encoder *bpe; /* NULL without subwords */
    int32_t *ngram;      /* (kRepeats features) */
    int32_t *count;      /* likewise */
    uint8_t *level;      /* likewise, of the idf */
    float *weight;       /* (features) */
    int32_t *subword;    /* (length) */
};

sg_status sg_encoder_create(const sg_tokenizer *t, sg_encoder **out) {
    const sg_tokenizer_options *o = &t->options;
    size_t features = o->ngrams.buckets > 0 ? (size_t)o->features : 0;
    size_t length = t->bpe ? (size_t)o->length : 0;
    sg_encoder *e = sg_calloc(1, sizeof *e);
    sg_status st = SG_OK;

    if (!e) return sg_fail(SG_ERR_OOM, "tokenizer: no memory");
    e->tokenizer = t;
    e->ngram = sg_malloc(features * kRepeats * sizeof *e->ngram + 1);
    e->count = sg_malloc(features * kRepeats * sizeof *e->count + 1);
    e->level = sg_malloc(features * kRepeats + 1);
    e->weight = sg_malloc(features * sizeof *e->weight + 1);
    e->subword = sg_malloc(length * sizeof *e->subword + 1);
    if (!e->ngram || !e->count || !e->level || !e->weight || !e->subword)
        st = sg_fail(SG_ERR_OOM, "tokenizer: no memory");
    if (st == SG_OK && t->bpe) st = sg_bpe_encoder_create(t->bpe, &e->bpe);
    if (st != SG_OK) {
        sg_encoder_destroy(e);
        return st;
    }
    *out = e;
    return SG_OK;
}

void sg_encoder_destroy(sg_encoder *e) {
    if (!e) return;
    sg_text_clear(&e->text);
    sg_bpe_encoder_destroy(e->bpe);
    sg_free(e->ngram);
    sg_free(e->count);
    sg_free(e->level);
    sg_free(e->weight);
    sg_free(e->subword);
    sg_free(e);
}

static void weigh_mean(sg_encoder *e, int64_t n) {
    int64_t all = 0;

    for (int64_t i = 0; i < n; i++) all += e->count[i];
    for (int64_t i = 0; i < n; i++) e->weight[i] = (float)e->count[i] / (float)all;
}

static void weigh_tfidf(sg_encoder *e, int64_t n) {
    double squares = 0.0;
    float scale;

    for (int64_t i = 0; i < n; i++) {
        float tf = e->count[i] == 1 ? 1.0f : 1.0f + logf((float)e->count[i]);

        e->weight[i] = tf * idf_of(e->level[i]);
        squares += (double)e->weight[i] * (double)e->weight[i];
    }
    scale = n > 0 ? (float)(1.0 / sqrt(squares)) : 0.0f;
    for (int64_t i = 0; i < n; i++) e->weight[i] *= scale;
}

/* Buckets -> rows, those without one dropped; returns how many are left. */
static int64_t keep_rows(sg_encoder *e, int64_t n) {
    const int32_t *row = e->tokenizer->row;
    int64_t kept = 0;

    for (int64_t i = 0; i < n; i++) {
        if (row[e->ngram[i]] < 0) continue;
        e->level[kept] = e->tokenizer->level[e->ngram[i]];
        e->count[kept] = e->count[i];
        e->ngram[kept++] = row[e->ngram[i]];
    }
    return kept;
}

static int64_t encode_ngrams(sg_encoder *e) {
    const sg_tokenizer_options *o = &e->tokenizer->options;
    int64_t n =
        sg_ngrams_ids(&o->ngrams, e->text.data, e->text.bytes, e->ngram, o->features * kRepeats);

    n = keep_rows(e, sg_ngrams_unique(e->ngram, n, e->count));
    if (n > o->features) n = o->features;
    if (o->weights == SG_WEIGHTS_TFIDF)
        weigh_tfidf(e, n);
    else
        weigh_mean(e, n);
    return n;
}

sg_status sg_encoder_encode(sg_encoder *e, const char *message, int64_t bytes, sg_encoded *out) {
    const sg_tokenizer_options *o = &e->tokenizer->options;

    memset(out, 0, sizeof *out);
    SG_TRY(sg_text_clean(message, (size_t)bytes, &e->text));
    if (o->ngrams.buckets > 0) out->n_ngrams = encode_ngrams(e);
    if (e->bpe)
        out->n_subwords = sg_bpe_encode(e->bpe, e->text.data, e->text.bytes, e->subword, o->length);
    out->ngram = e->ngram;
    out->weight = e->weight;
    out->subword = e->subword;
    return SG_OK;
}
