#include "data/encoded_set.h"

#include <string.h>

#include "core/mem.h"
#include "data/tokenizer_inside.h"

enum { kBlock = 256 }; /* texts that a thread takes at a time */

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
    if (st == SG_OK) st = sg_encoders_create(tokenizer, sg_pool_threads(pool), &c.encoder);
    if (st == SG_OK) st = sg_pool_run(pool, blocks, encode_block, &c);
    if (st == SG_OK) st = join_pieces(&c, blocks);
    sg_encoders_destroy(c.encoder, sg_pool_threads(pool));
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

sg_encoded sg_encoded_at(const sg_encoded_set *set, int64_t i) {
    int64_t ngram = set->ngram_start[i], subword = set->subword_start[i];

    return (sg_encoded){.n_ngrams = set->ngram_start[i + 1] - ngram,
                        .ngram = set->ngram + ngram,
                        .weight = set->weight + ngram,
                        .n_subwords = set->subword_start[i + 1] - subword,
                        .subword = set->subword + subword};
}
