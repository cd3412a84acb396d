/* Messages: cleaned, and made into ids; and an encoding's text form. */
#include "fuzz.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "data/bpe.h"
#include "data/ngrams.h"
#include "data/text_clean.h"
#include "data/tokenizer.h"

/* --- clean: tokens with single spaces, and the same again --- */

static void check_spaces(const sg_text *text) {
    int64_t tokens = 0;

    for (size_t i = 0; i < text->bytes; i++) {
        unsigned char c = (unsigned char)text->data[i];

        FUZZ_CHECK(c >= ' ' && c != 0x7F && !(c >= 'A' && c <= 'Z'));
        if (c == ' ')
            FUZZ_CHECK(i > 0 && i + 1 < text->bytes && text->data[i - 1] != ' ');
        else if (i == 0 || text->data[i - 1] == ' ')
            tokens++;
    }
    FUZZ_CHECK(tokens == text->tokens);
    FUZZ_CHECK(text->data[text->bytes] == '\0');
}

void fuzz_clean(const uint8_t *data, size_t size) {
    sg_text once = {0}, twice = {0};

    FUZZ_CHECK(sg_text_clean((const char *)data, size, &once) == SG_OK);
    check_spaces(&once);
    FUZZ_CHECK(sg_text_clean(once.data, once.bytes, &twice) == SG_OK);
    FUZZ_CHECK(twice.invalid == 0 && twice.bytes == once.bytes);
    FUZZ_CHECK(memcmp(once.data, twice.data, once.bytes) == 0);
    sg_text_clear(&once);
    sg_text_clear(&twice);
}

/* --- tokens: what any text, clean or not, becomes --- */

enum { kIds = 1 << 15 };

/* The text of the entries: a space before each token, no other. */
static void check_entries(const sg_bpe *bpe, const int32_t *ids, int64_t n, const uint8_t *text,
                          size_t size) {
    size_t at = 0;

    for (int64_t i = 0; i < n; i++) {
        size_t length;
        const char *entry;

        FUZZ_CHECK(ids[i] >= SG_BPE_BYTE && ids[i] < sg_bpe_size(bpe));
        entry = sg_bpe_entry(bpe, ids[i], &length);
        FUZZ_CHECK(length > 0 && length <= SG_BPE_MAX_WORD);
        for (size_t k = 0; k < length; k++) {
            if (entry[k] == ' ') {
                FUZZ_CHECK(k == 0);
                while (at < size && text[at] == ' ') at++;
                continue;
            }
            FUZZ_CHECK(at < size && (uint8_t)entry[k] == text[at]);
            at++;
        }
    }
    while (at < size && text[at] == ' ') at++;
    FUZZ_CHECK(at == size);
}

/* Written and read again it is the same. */
static void check_written(const sg_bpe *bpe) {
    char *text, *again;
    size_t bytes, size;
    sg_bpe *back;

    FUZZ_CHECK(sg_bpe_write(bpe, &text, &bytes) == SG_OK);
    FUZZ_CHECK(sg_bpe_parse("t", text, bytes, &back) == SG_OK);
    FUZZ_CHECK(sg_bpe_write(back, &again, &size) == SG_OK);
    FUZZ_CHECK(size == bytes && memcmp(text, again, size) == 0);
    sg_bpe_destroy(back);
    sg_free(text);
    sg_free(again);
}

static void check_ngrams(const uint8_t *data, size_t size, int32_t *ids, int32_t *counts) {
    sg_ngrams ngrams = {3, 1, 4, 997};
    int64_t n = sg_ngrams_ids(&ngrams, (const char *)data, size, ids, kIds), distinct, total = 0;

    FUZZ_CHECK(n >= 0 && n < kIds);
    distinct = sg_ngrams_unique(ids, n, counts);
    for (int64_t i = 0; i < distinct; i++) {
        FUZZ_CHECK(ids[i] >= 0 && ids[i] < ngrams.buckets && counts[i] > 0);
        FUZZ_CHECK(i == 0 || ids[i] > ids[i - 1]);
        total += counts[i];
    }
    FUZZ_CHECK(total == n);
}

void fuzz_tokens(const uint8_t *data, size_t size) {
    static int32_t ids[kIds], counts[kIds];
    sg_bpe_learner *learner;
    sg_bpe_encoder *encoder;
    sg_bpe *bpe;
    int64_t n;

    check_ngrams(data, size, ids, counts);
    FUZZ_CHECK(sg_bpe_learner_create(&learner) == SG_OK);
    FUZZ_CHECK(sg_bpe_learner_add(learner, (const char *)data, size) == SG_OK);
    FUZZ_CHECK(sg_bpe_learn(learner, SG_BPE_MIN_SIZE + 40, &bpe) == SG_OK);
    FUZZ_CHECK(sg_bpe_encoder_create(bpe, &encoder) == SG_OK);
    n = sg_bpe_encode(encoder, (const char *)data, size, ids, kIds);
    FUZZ_CHECK(n < kIds);
    check_entries(bpe, ids, n, data, size);
    check_written(bpe);
    sg_bpe_encoder_destroy(encoder);
    sg_bpe_destroy(bpe);
    sg_bpe_learner_destroy(learner);
}

/* --- bpe: the text form. What is read is what would be written. --- */

void fuzz_bpe(const uint8_t *data, size_t size) {
    sg_bpe *bpe;
    char *text;
    size_t bytes;
    sg_status st;

    fuzz_prepare(&bpe, sizeof bpe);
    st = sg_bpe_parse("a.bpe", (const char *)data, size, &bpe);
    if (st != SG_OK) {
        fuzz_failed(st, SG_ERR_DATA, "a.bpe:", &bpe, sizeof bpe);
        return;
    }
    FUZZ_CHECK(sg_bpe_size(bpe) >= SG_BPE_MIN_SIZE && sg_bpe_size(bpe) <= SG_BPE_MAX_SIZE);
    FUZZ_CHECK(sg_bpe_write(bpe, &text, &bytes) == SG_OK);
    FUZZ_CHECK(bytes == size && memcmp(text, data, size) == 0);
    sg_free(text);
    sg_bpe_destroy(bpe);
}

/* --- tokenizer: likewise; and what it makes of its own text, as a message --- */

enum { kMostEncoded = 4096 }; /* of its options: an encoder's memory grows with them */

/* Weights of a mean add up to 1, those of tf-idf have a norm of 1. */
static void check_encoded(const sg_tokenizer *t, const sg_encoded *e) {
    const sg_tokenizer_options *o = sg_tokenizer_options_of(t);
    double sum = 0.0, squares = 0.0;

    FUZZ_CHECK(e->n_ngrams >= 0 && e->n_ngrams <= o->features);
    for (int64_t i = 0; i < e->n_ngrams; i++) {
        FUZZ_CHECK(e->ngram[i] < sg_tokenizer_rows(t));
        FUZZ_CHECK(e->ngram[i] > (i ? e->ngram[i - 1] : -1));
        FUZZ_CHECK(e->weight[i] > 0.0f);
        sum += (double)e->weight[i];
        squares += (double)e->weight[i] * (double)e->weight[i];
    }
    if (e->n_ngrams > 0)
        FUZZ_CHECK(fabs((o->weights == SG_WEIGHTS_MEAN ? sum : squares) - 1.0) <= 1e-3);
    FUZZ_CHECK(e->n_subwords >= 0 && e->n_subwords <= o->length);
    for (int64_t i = 0; i < e->n_subwords; i++)
        FUZZ_CHECK(e->subword[i] >= 0 && e->subword[i] < sg_tokenizer_vocabulary(t));
}

static void check_encoder(const sg_tokenizer *t, const uint8_t *data, size_t size) {
    const sg_tokenizer_options *o = sg_tokenizer_options_of(t);
    sg_encoder *encoder;
    sg_encoded e;

    if (o->features > kMostEncoded || o->length > kMostEncoded) return;
    FUZZ_CHECK(sg_encoder_create(t, &encoder) == SG_OK);
    FUZZ_CHECK(sg_encoder_encode(encoder, (const char *)data, (int64_t)size, &e) == SG_OK);
    check_encoded(t, &e);
    sg_encoder_destroy(encoder);
}

void fuzz_tokenizer(const uint8_t *data, size_t size) {
    sg_tokenizer *t;
    char *text;
    sg_status st;

    fuzz_prepare(&t, sizeof t);
    st = sg_tokenizer_parse("a.h5", (const char *)data, size, &t);
    if (st != SG_OK) {
        fuzz_failed(st, SG_ERR_DATA, "a.h5", &t, sizeof t);
        return;
    }
    FUZZ_CHECK(sg_tokenizer_rows(t) <= sg_tokenizer_options_of(t)->ngrams.buckets);
    FUZZ_CHECK(sg_tokenizer_vocabulary(t) <= sg_tokenizer_options_of(t)->subwords);
    FUZZ_CHECK(sg_tokenizer_write(t, &text) == SG_OK);
    FUZZ_CHECK(strlen(text) == size && memcmp(text, data, size) == 0);
    sg_free(text);
    check_encoder(t, data, size);
    sg_tokenizer_destroy(t);
}
