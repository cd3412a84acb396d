/* What turns a message into numbers, learned once and kept with the model that was trained on them:
 * which n-grams (data/ngrams.h) of the cleaned text (data/text_clean.h) with which weights, and
 * which subwords (data/bpe.h).
 *
 * The weights of a text's n-grams, of which each distinct one is given once, c times being there:
 *   mean    w = c / sum of all c: what they add up to is the mean (fastText's)
 *   tfidf   w = (1 + ln c) idf, then all divided by their Euclidean norm;
 *           idf = 1 + ln((1 + texts) / (1 + texts with it)), rounded to 1/8 and at most 12.625
 * (scikit-learn's TfidfVectorizer with sublinear_tf and min_df, but for the rounding.)
 *
 * An n-gram is hashed to a bucket. Buckets that occur in fewer texts than min_count, when the
 * tokenizer is learned, are left out for good; the others are the rows of the tables of n-grams, in
 * their order. */
#ifndef SG_DATA_TOKENIZER_H
#define SG_DATA_TOKENIZER_H

#include <stdbool.h>

#include "core/threads.h"
#include "data/bpe.h"
#include "data/ngrams.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { SG_WEIGHTS_MEAN, SG_WEIGHTS_TFIDF } sg_weights;

enum { SG_TOKENIZER_MAX = 1 << 20 }; /* n-grams, and subwords, of one text */

typedef struct {
    sg_ngrams ngrams; /* buckets 0: none */
    sg_weights weights;
    int64_t min_count; /* of texts */
    int64_t features;  /* most distinct n-grams of a text: of the first 4 times as many those of
                          the smallest buckets, also where texts with an n-gram are counted */
    int32_t subwords;  /* entries of the byte-pair encoding; 0: none */
    int64_t length;    /* most subwords of a text */
} sg_tokenizer_options;

/* Does not change, and may be used by any number of threads. */
typedef struct sg_tokenizer sg_tokenizer;

/* Text i of whatever is learned from or encoded; *bytes is its length. */
typedef const char *(*sg_text_at)(const void *texts, int64_t i, int64_t *bytes);

/* From n texts, on the pool's threads; the result does not depend on how many those are.
 * SG_ERR_ARG (sg_ngrams_check), SG_ERR_UNSUPPORTED (sg_bpe_learn), SG_ERR_OOM. */
sg_status sg_tokenizer_learn(const sg_tokenizer_options *options, sg_text_at at, const void *texts,
                             int64_t n, sg_pool *pool, sg_tokenizer **out) SG_CHECKED;
void sg_tokenizer_destroy(sg_tokenizer *tokenizer); /* NULL is fine */
const sg_tokenizer_options *sg_tokenizer_options_of(const sg_tokenizer *tokenizer);
/* Rows of a table for its n-grams: the buckets that are kept. */
int32_t sg_tokenizer_rows(const sg_tokenizer *tokenizer);
/* Rows of a table for its subwords: what was learned may be fewer than were asked for. */
int32_t sg_tokenizer_vocabulary(const sg_tokenizer *tokenizer);

/* As text, for a model file: `# spotgrad tokenizer 1`, a line an option, a line of one character a
 * bucket (a space where it is left out, else '!' + 8 (idf - 1)), the subwords as sg_bpe_write has
 * them. The caller's (sg_free). SG_ERR_OOM. */
sg_status sg_tokenizer_write(const sg_tokenizer *tokenizer, char **text) SG_CHECKED;
/* Takes what sg_tokenizer_write wrote. `name` stands in messages, with the line. SG_ERR_DATA:
 * damaged, or of another version of the clean-up; SG_ERR_OOM. */
sg_status sg_tokenizer_parse(const char *name, const char *text, size_t bytes,
                             sg_tokenizer **out) SG_CHECKED;

/* --- encoding --------------------------------------------------------------------------------- */

/* Borrowed from the encoder until its next call. */
typedef struct {
    int64_t n_ngrams;
    const int32_t *ngram; /* (n_ngrams) rows, ascending */
    const float *weight;  /* (n_ngrams) */
    int64_t n_subwords;
    const int32_t *subword; /* (n_subwords) */
} sg_encoded;

/* One thread's; the tokenizer must outlive it. */
typedef struct sg_encoder sg_encoder;

sg_status sg_encoder_create(const sg_tokenizer *tokenizer, sg_encoder **out) SG_CHECKED;
void sg_encoder_destroy(sg_encoder *encoder); /* NULL is fine */
/* One message, cleaned first. Fails with SG_ERR_OOM only. */
sg_status sg_encoder_encode(sg_encoder *encoder, const char *message, int64_t bytes,
                            sg_encoded *out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
