/* A cleaned text (data/text_clean.h) as ids of hashed n-grams, which are rows of a table of
 * embeddings: of words, and of characters inside words. The hashes are fastText's
 * (github.com/facebookresearch/fastText, src/dictionary.cc: hash, addWordNgrams, computeSubwords).
 *
 *   hash(bytes)  h = 2166136261; for each byte b: h = (h ^ sext(b)) * 16777619  (mod 2^32)
 *                where sext turns 0x80..0xFF into 0xFFFFFF80..0xFFFFFFFF: FNV-1a but for that
 *   words        of the tokens t_1 .. t_k that follow each other:
 *                H_0 = 2166136261, H_i = H_{i-1} * 116049371 + sext(hash(t_i))  (mod 2^64)
 *                id = H_k mod buckets, k = 1 .. words
 *                (fastText begins with H_1 = sext(hash(t_1)); so `no` would be the `no` of `know`)
 *   characters   of `<token>`, each run of char_min .. char_max code points but for a lone `<` or
 *                `>`: id = hash(run) mod buckets
 *
 * Order: token by token; for each the n-grams of words that end with it, the shortest first; then
 * its n-grams of characters, by where they begin, the shortest first. All share the same buckets.
 */
#ifndef SG_DATA_NGRAMS_H
#define SG_DATA_NGRAMS_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_NGRAMS_MAX_WORDS = 8,
    SG_NGRAMS_MAX_CHARS = 32,
    SG_NGRAMS_MAX_BUCKETS = 1 << 24,
};

typedef struct {
    int words;              /* n-grams of 1 .. words tokens; 0: none */
    int char_min, char_max; /* n-grams of char_min .. char_max code points; char_max 0: none */
    int32_t buckets;        /* ids are 0 .. buckets - 1 */
} sg_ngrams;

/* SG_ERR_ARG, with the value: words is not in 0 .. SG_NGRAMS_MAX_WORDS, char_max not in 0 ..
 * SG_NGRAMS_MAX_CHARS, char_min not in 1 .. char_max (0 goes with 0), both kinds are none, buckets
 * not in 1 .. SG_NGRAMS_MAX_BUCKETS. */
sg_status sg_ngrams_check(const sg_ngrams *ngrams) SG_CHECKED;

/* The first `cap` ids into `ids` (cap), and how many those are: at most cap. `ngrams` has been
 * checked. Allocates nothing; any number of threads may be in it. Any bytes will do as text: only
 * 0x20 divides tokens, and bytes 0x80 .. 0xBF never begin a code point. */
int64_t sg_ngrams_ids(const sg_ngrams *ngrams, const char *text, size_t bytes, int32_t *ids,
                      int64_t cap);

/* Puts each distinct one of the `n` ids (all >= 0) once at the front, in ascending order, how often
 * it was there into `counts` (n), and returns how many distinct ones there are. */
int64_t sg_ngrams_unique(int32_t *ids, int64_t n, int32_t *counts);

#ifdef __cplusplus
}
#endif
#endif
