#include "data/tokenizer.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "data/text_clean.h"

enum {
    kRepeats = 4,    /* n-grams that are looked at, for one that is kept */
    kBlock = 256,    /* texts that a thread takes at a time */
    kSteps = 8,      /* levels of an idf of 1 */
    kLevels = 94,    /* printable characters but the space */
    kFirst = '!',    /* the character of level 0 */
    kLeftOut = ' ',  /* that of a bucket without a row */
    kLineBytes = 64, /* of an option */
    kOptionsBytes = 1024,
};

static const char kHeader[] = "# spotgrad tokenizer 1\n";

struct sg_tokenizer {
    sg_tokenizer_options options;
    uint8_t *level; /* (buckets) of the idf; NULL without n-grams */
    int32_t *row;   /* (buckets), -1: left out; likewise */
    int32_t rows;
    sg_bpe *bpe; /* NULL without */
};

static float idf_of(uint8_t level) { return 1.0f + (float)level / (float)kSteps; }

static uint8_t level_of(int64_t texts, int64_t with_it) {
    double idf = log((1.0 + (double)texts) / (1.0 + (double)with_it));
    long level = lround(idf * kSteps);

    return (uint8_t)(level < kLevels ? level : kLevels - 1);
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

static sg_status create_encoders(const sg_tokenizer *tokenizer, int n, sg_encoder ***out) {
    sg_encoder **e = sg_calloc((size_t)n, sizeof *e);

    if (!e) return sg_fail(SG_ERR_OOM, "tokenizer: no memory");
    *out = e;
    for (int i = 0; i < n; i++) SG_TRY(sg_encoder_create(tokenizer, &e[i]));
    return SG_OK;
}

static void destroy_encoders(sg_encoder **e, int n) {
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

/* Of each bucket its level, and its row; while that is learned, each has one. */
static sg_status allocate_buckets(sg_tokenizer *t) {
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

    SG_TRY(allocate_buckets(t));
    l->with_it = sg_calloc(buckets, sizeof *l->with_it);
    if (!l->with_it) return sg_fail(SG_ERR_OOM, "tokenizer: no memory for %zu buckets", buckets);
    st = create_encoders(t, sg_pool_threads(pool), &l->encoder);
    if (st == SG_OK) st = sg_pool_run(pool, (l->n + kBlock - 1) / kBlock, count_block, l);
    for (size_t i = 0; i < buckets && st == SG_OK; i++) {
        t->level[i] = level_of(l->n, l->with_it[i]);
        t->row[i] = l->with_it[i] >= l->options->min_count ? rows++ : -1;
    }
    t->rows = rows;
    destroy_encoders(l->encoder, sg_pool_threads(pool));
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

static sg_status create(const sg_tokenizer_options *options, sg_tokenizer **out) {
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

    SG_TRY(create(options, &t));
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

/* --- as text ---------------------------------------------------------------------------------- */

static const char *const kWeightNames[] = {"mean", "tfidf"};

static int write_options(const sg_tokenizer *t, char *to, size_t room) {
    const sg_tokenizer_options *o = &t->options;

    return snprintf(to, room,
                    "%scleaned %d\nwords %d\nchar_min %d\nchar_max %d\nbuckets %d\nweights %s\n"
                    "min_count %lld\nfeatures %lld\nsubwords %d\nlength %lld\n",
                    kHeader, SG_TEXT_CLEAN_VERSION, o->ngrams.words, o->ngrams.char_min,
                    o->ngrams.char_max, o->ngrams.buckets, kWeightNames[o->weights],
                    (long long)o->min_count, (long long)o->features, o->subwords,
                    (long long)o->length);
}

sg_status sg_tokenizer_write(const sg_tokenizer *t, char **out) {
    size_t buckets = t->level ? (size_t)t->options.ngrams.buckets : 0, bpe_bytes = 0;
    char options[kOptionsBytes], *bpe = NULL, *text, *at;
    size_t head = (size_t)write_options(t, options, sizeof options);

    if (t->bpe) SG_TRY(sg_bpe_write(t->bpe, &bpe, &bpe_bytes));
    text = sg_malloc(head + buckets + 1 + bpe_bytes + 1);
    if (!text) {
        sg_free(bpe);
        return sg_fail(SG_ERR_OOM, "tokenizer: no memory for its text");
    }
    memcpy(text, options, head);
    at = text + head;
    for (size_t i = 0; i < buckets; i++)
        *at++ = (char)(t->row[i] < 0 ? kLeftOut : kFirst + t->level[i]);
    if (buckets > 0) *at++ = '\n';
    memcpy(at, bpe_bytes > 0 ? bpe : "", bpe_bytes);
    at[bpe_bytes] = '\0';
    sg_free(bpe);
    *out = text;
    return SG_OK;
}

typedef struct {
    const char *name, *at, *end;
    int line;
} parser;

static sg_status refuse(const parser *p, const char *what) {
    return sg_fail(SG_ERR_DATA, "%s:%d: tokenizer: %s", p->name, p->line, what);
}

/* `KEY VALUE`, a whole number within a range. */
static sg_status take_number(parser *p, const char *key, int64_t low, int64_t high, int64_t *out) {
    size_t length = strlen(key), n;
    const char *end = memchr(p->at, '\n', (size_t)(p->end - p->at));
    char digits[kLineBytes] = "", what[kLineBytes];

    snprintf(what, sizeof what, "expected `%s` and a whole number", key);
    if (!end || (size_t)(end - p->at) <= length + 1 || memcmp(p->at, key, length) != 0 ||
        p->at[length] != ' ' || (size_t)(end - p->at) - length - 1 >= sizeof digits)
        return refuse(p, what);
    n = (size_t)(end - p->at) - length - 1;
    memcpy(digits, p->at + length + 1, n);
    *out = strtoll(digits, NULL, 10);
    if (strspn(digits, "0123456789") != n || (n > 1 && digits[0] == '0') || *out < low ||
        *out > high)
        return refuse(p, what); /* a NUL, and what would be written otherwise, too */
    p->at = end + 1;
    p->line++;
    return SG_OK;
}

static sg_status take_weights(parser *p, sg_weights *out) {
    for (int i = 0; i < 2; i++) {
        char line[kLineBytes];
        int length = snprintf(line, sizeof line, "weights %s\n", kWeightNames[i]);

        if (p->end - p->at < length || memcmp(p->at, line, (size_t)length) != 0) continue;
        *out = (sg_weights)i;
        p->at += length;
        p->line++;
        return SG_OK;
    }
    return refuse(p, "expected `weights mean` or `weights tfidf`");
}

static sg_status take_options(parser *p, sg_tokenizer_options *o) {
    int64_t cleaned, words, low, high, buckets, subwords;

    if ((size_t)(p->end - p->at) < strlen(kHeader) || memcmp(p->at, kHeader, strlen(kHeader)) != 0)
        return refuse(p, "does not begin with `# spotgrad tokenizer 1`");
    p->at += strlen(kHeader);
    p->line++;
    SG_TRY(take_number(p, "cleaned", 0, INT32_MAX, &cleaned));
    if (cleaned != SG_TEXT_CLEAN_VERSION)
        return sg_fail(SG_ERR_DATA,
                       "%s:%d: tokenizer: its texts were cleaned by rules %lld, this program has "
                       "rules %d; use the program that trained it",
                       p->name, p->line - 1, (long long)cleaned, SG_TEXT_CLEAN_VERSION);
    SG_TRY(take_number(p, "words", 0, SG_NGRAMS_MAX_WORDS, &words));
    SG_TRY(take_number(p, "char_min", 0, SG_NGRAMS_MAX_CHARS, &low));
    SG_TRY(take_number(p, "char_max", 0, SG_NGRAMS_MAX_CHARS, &high));
    SG_TRY(take_number(p, "buckets", 0, SG_NGRAMS_MAX_BUCKETS, &buckets));
    SG_TRY(take_weights(p, &o->weights));
    SG_TRY(take_number(p, "min_count", 0, INT32_MAX, &o->min_count));
    SG_TRY(take_number(p, "features", 0, SG_TOKENIZER_MAX, &o->features));
    SG_TRY(take_number(p, "subwords", 0, SG_BPE_MAX_SIZE, &subwords));
    SG_TRY(take_number(p, "length", 0, SG_TOKENIZER_MAX, &o->length));
    o->ngrams = (sg_ngrams){(int)words, (int)low, (int)high, (int32_t)buckets};
    o->subwords = (int32_t)subwords;
    return SG_OK;
}

static sg_status take_buckets(parser *p, sg_tokenizer *t) {
    int64_t buckets = t->options.ngrams.buckets;

    if (p->end - p->at <= buckets || p->at[buckets] != '\n')
        return refuse(p, "the line of buckets has not a character for each");
    SG_TRY(allocate_buckets(t));
    for (int64_t i = 0; i < buckets; i++) {
        bool kept = p->at[i] != kLeftOut;
        int level = kept ? (unsigned char)p->at[i] - kFirst : 0;

        if (level < 0 || level >= kLevels) return refuse(p, "a character in the line of buckets");
        t->level[i] = (uint8_t)level;
        t->row[i] = kept ? t->rows++ : -1;
    }
    p->at += buckets + 1;
    p->line++;
    return SG_OK;
}

/* Their lines have numbers of their own, from 1. */
static sg_status take_subwords(parser *p, sg_tokenizer *t) {
    char *name = sg_str_printf("%s (subwords)", p->name);
    sg_status st;

    if (!name) return sg_fail(SG_ERR_OOM, "tokenizer: no memory");
    st = sg_bpe_parse(name, p->at, (size_t)(p->end - p->at), &t->bpe);
    sg_free(name);
    return st;
}

sg_status sg_tokenizer_parse(const char *name, const char *text, size_t bytes, sg_tokenizer **out) {
    parser p = {name, text, text + bytes, 1};
    sg_tokenizer_options o;
    sg_tokenizer *t;
    sg_status st;

    SG_TRY(take_options(&p, &o));
    st = create(&o, &t);
    if (st != SG_OK) return st == SG_ERR_ARG ? refuse(&p, sg_last_error()) : st;
    if (o.ngrams.buckets > 0) st = take_buckets(&p, t);
    if (st == SG_OK && o.subwords > 0)
        st = take_subwords(&p, t);
    else if (st == SG_OK && p.at != p.end)
        st = refuse(&p, "more lines than there should be");
    if (st == SG_OK && t->bpe && sg_bpe_size(t->bpe) > o.subwords)
        st = refuse(&p, "more subwords than it says");
    if (st != SG_OK) {
        sg_tokenizer_destroy(t);
        return st;
    }
    *out = t;
    return SG_OK;
}

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

/* --- a whole data set ------------------------------------------------------------------------- */

/* A block of texts, encoded by one thread. */
typedef struct {
    int32_t *ngram, *subword;
    float *weight;
    int64_t ngrams, subwords, ngram_room, subword_room;
} piece;

typedef struct {
    sg_text_at at;
    const void *texts;
    sg_encoder **encoder; /* one a thread */
    sg_encoded_set *set;
    piece *piece; /* one a block */
} encoding;

static bool reserve(piece *p, const sg_encoded *e) {
    size_t room = (size_t)p->ngram_room, more = 2 * (room + (size_t)e->n_ngrams) + kBlock;
    void *grown;

    if (p->ngrams + e->n_ngrams > p->ngram_room) {
        if (!(grown = sg_realloc(p->ngram, room * sizeof *p->ngram, more * sizeof *p->ngram)))
            return false;
        p->ngram = grown;
        if (!(grown = sg_realloc(p->weight, room * sizeof *p->weight, more * sizeof *p->weight)))
            return false;
        p->weight = grown;
        p->ngram_room = (int64_t)more;
    }
    room = (size_t)p->subword_room;
    more = 2 * (room + (size_t)e->n_subwords) + kBlock;
    if (p->subwords + e->n_subwords > p->subword_room) {
        if (!(grown = sg_realloc(p->subword, room * sizeof *p->subword, more * sizeof *p->subword)))
            return false;
        p->subword = grown;
        p->subword_room = (int64_t)more;
    }
    return true;
}

static sg_status encode_block(void *context, int64_t block, int worker) {
    encoding *c = context;
    piece *p = &c->piece[block];
    int64_t end = (block + 1) * kBlock < c->set->n ? (block + 1) * kBlock : c->set->n;

    for (int64_t i = block * kBlock; i < end; i++) {
        int64_t bytes;
        const char *text = c->at(c->texts, i, &bytes);
        sg_encoded e;

        SG_TRY(sg_encoder_encode(c->encoder[worker], text, bytes, &e));
        if (!reserve(p, &e)) return sg_fail(SG_ERR_OOM, "tokenizer: no memory for the texts");
        if (e.n_ngrams > 0) {
            memcpy(p->ngram + p->ngrams, e.ngram, (size_t)e.n_ngrams * sizeof *e.ngram);
            memcpy(p->weight + p->ngrams, e.weight, (size_t)e.n_ngrams * sizeof *e.weight);
        }
        if (e.n_subwords > 0)
            memcpy(p->subword + p->subwords, e.subword, (size_t)e.n_subwords * sizeof *e.subword);
        p->ngrams += e.n_ngrams;
        p->subwords += e.n_subwords;
        c->set->ngram_start[i + 1] = e.n_ngrams; /* sums of them later */
        c->set->subword_start[i + 1] = e.n_subwords;
    }
    return SG_OK;
}

static void *joined(size_t n, size_t size) { return sg_malloc(n * size + 1); }

static sg_status join_pieces(encoding *c, int64_t blocks) {
    sg_encoded_set *s = c->set;
    int64_t ngrams = 0, subwords = 0;

    for (int64_t i = 0; i < s->n; i++) {
        s->ngram_start[i + 1] += s->ngram_start[i];
        s->subword_start[i + 1] += s->subword_start[i];
    }
    s->ngram = joined((size_t)s->ngram_start[s->n], sizeof *s->ngram);
    s->weight = joined((size_t)s->ngram_start[s->n], sizeof *s->weight);
    s->subword = joined((size_t)s->subword_start[s->n], sizeof *s->subword);
    if (!s->ngram || !s->weight || !s->subword)
        return sg_fail(SG_ERR_OOM, "tokenizer: no memory for the texts");
    for (int64_t b = 0; b < blocks; b++) {
        const piece *p = &c->piece[b];

        if (p->ngrams > 0) {
            memcpy(s->ngram + ngrams, p->ngram, (size_t)p->ngrams * sizeof *p->ngram);
            memcpy(s->weight + ngrams, p->weight, (size_t)p->ngrams * sizeof *p->weight);
        }
        if (p->subwords > 0)
            memcpy(s->subword + subwords, p->subword, (size_t)p->subwords * sizeof *p->subword);
        ngrams += p->ngrams;
        subwords += p->subwords;
    }
    return SG_OK;
}

sg_status sg_encoded_set_create(const sg_tokenizer *tokenizer, sg_text_at at, const void *texts,
                                int64_t n, sg_pool *pool, sg_encoded_set **out) {
    encoding c = {.at = at, .texts = texts};
    int64_t blocks = (n + kBlock - 1) / kBlock;
    sg_status st = SG_OK;

    c.set = sg_calloc(1, sizeof *c.set);
    if (!c.set) return sg_fail(SG_ERR_OOM, "tokenizer: no memory");
    c.set->n = n;
    c.set->ngram_start = sg_calloc((size_t)n + 1, sizeof *c.set->ngram_start);
    c.set->subword_start = sg_calloc((size_t)n + 1, sizeof *c.set->subword_start);
    c.piece = sg_calloc((size_t)blocks + 1, sizeof *c.piece);
    if (!c.set->ngram_start || !c.set->subword_start || !c.piece)
        st = sg_fail(SG_ERR_OOM, "tokenizer: no memory for %lld texts", (long long)n);
    if (st == SG_OK) st = create_encoders(tokenizer, sg_pool_threads(pool), &c.encoder);
    if (st == SG_OK) st = sg_pool_run(pool, blocks, encode_block, &c);
    if (st == SG_OK) st = join_pieces(&c, blocks);
    destroy_encoders(c.encoder, sg_pool_threads(pool));
    for (int64_t b = 0; c.piece && b < blocks; b++) {
        sg_free(c.piece[b].ngram);
        sg_free(c.piece[b].weight);
        sg_free(c.piece[b].subword);
    }
    sg_free(c.piece);
    if (st != SG_OK) {
        sg_encoded_set_destroy(c.set);
        return st;
    }
    *out = c.set;
    return SG_OK;
}

void sg_encoded_set_destroy(sg_encoded_set *s) {
    if (!s) return;
    sg_free(s->ngram_start);
    sg_free(s->ngram);
    sg_free(s->weight);
    sg_free(s->subword_start);
    sg_free(s->subword);
    sg_free(s);
}
