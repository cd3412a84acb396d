/* What the files of the tokenizer share. Private to data/. */
#ifndef SG_DATA_TOKENIZER_INSIDE_H
#define SG_DATA_TOKENIZER_INSIDE_H

#include "data/tokenizer.h"

enum { SG_IDF_LEVELS = 94 }; /* printable characters but the space */

struct sg_tokenizer {
    sg_tokenizer_options options;
    uint8_t *level; /* (buckets) of the idf; NULL without n-grams */
    int32_t *row;   /* (buckets), -1: left out; likewise */
    int32_t rows;
    sg_bpe *bpe; /* NULL without */
};

/* With options alone. SG_ERR_ARG (sg_ngrams_check, most of a text), SG_ERR_OOM. */
sg_status sg_tokenizer_create(const sg_tokenizer_options *options, sg_tokenizer **out) SG_CHECKED;
/* Room for the levels, all 0, and the rows: each bucket has its own. What was allocated is the
 * tokenizer's when it fails, too: SG_ERR_OOM. */
sg_status sg_tokenizer_allocate(sg_tokenizer *tokenizer) SG_CHECKED;

/* `n` encoders, one a thread. SG_ERR_OOM. */
sg_status sg_encoders_create(const sg_tokenizer *tokenizer, int n, sg_encoder ***out) SG_CHECKED;
void sg_encoders_destroy(sg_encoder **encoders, int n); /* NULL is fine */

#endif
