/* A whole data set as ids: what a tokenizer makes of each of its texts, kept in memory. */
#ifndef SG_DATA_ENCODED_SET_H
#define SG_DATA_ENCODED_SET_H

#include "data/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* n texts encoded: those of text i lie at [start[i], start[i + 1]). */
typedef struct {
    int64_t n;
    int64_t *ngram_start;   /* (n + 1) */
    int32_t *ngram;         /* (ngram_start[n]) */
    float *weight;          /* likewise */
    int64_t *subword_start; /* (n + 1) */
    int32_t *subword;       /* (subword_start[n]) */
} sg_encoded_set;

/* On the pool's threads; the result does not depend on how many those are. SG_ERR_OOM. */
sg_status sg_encoded_set_create(const sg_tokenizer *tokenizer, sg_text_at at, const void *texts,
                                int64_t n, sg_pool *pool, sg_encoded_set **out) SG_CHECKED;
void sg_encoded_set_destroy(sg_encoded_set *set); /* NULL is fine */
/* Text i; borrowed from the set. */
sg_encoded sg_encoded_at(const sg_encoded_set *set, int64_t i);

#ifdef __cplusplus
}
#endif
#endif
