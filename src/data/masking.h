/* Which subwords of a text are to be guessed, and what stands in their place (Devlin, Chang, Lee
 * and Toutanova, "BERT: pre-training of deep bidirectional transformers", 2018, A.1):
 *
 * max(1, round(share * tokens)) of its places, drawn without repetition; of a text without tokens
 * none. There stands SG_BPE_MASK in 80 % of the cases, any subword in 10 %, the right one in 10 %.
 *
 * Randomness is a function: of the seed, the epoch and the text's number. */
#ifndef SG_DATA_MASKING_H
#define SG_DATA_MASKING_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    double share;       /* above 0, at most 1 */
    int32_t vocabulary; /* more than SG_BPE_BYTE */
    uint64_t seed;
} sg_masking;

enum { SG_MASKING_FIXED = -1 }; /* the epoch of an evaluation: always the same guesses */

/* For sg_masking_apply. */
uint64_t sg_masking_key(const sg_masking *masking, int64_t epoch, int64_t sample);
/* How many of a text's tokens are to be guessed; grows with them. */
int64_t sg_masking_count(const sg_masking *masking, int64_t tokens);
/* Replace some of ids (tokens). place (count): where, in no order; guess (count): what stood there.
 * Returns the count. */
int64_t sg_masking_apply(const sg_masking *masking, uint64_t key, int32_t *ids, int64_t tokens,
                         int32_t *place, int32_t *guess);

#ifdef __cplusplus
}
#endif
#endif
