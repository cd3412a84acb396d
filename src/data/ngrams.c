#include "data/ngrams.h"

#include <stdbool.h>
#include <string.h>

enum { kFnvPrime = 16777619, kWordPrime = 116049371 };

static const uint32_t kFnvBasis = 2166136261U;

/* Where ids go. */
typedef struct {
    const sg_ngrams *ngrams;
    int32_t *ids; /* (cap) */
    int64_t n, cap;
    uint64_t open[SG_NGRAMS_MAX_WORDS]; /* H of the n-grams that end with the last token: [0] has
                                           one token, [1] two, ... */
    int tokens;                         /* seen, at most SG_NGRAMS_MAX_WORDS */
} collector;

static bool is_full(const collector *c) { return c->n == c->cap; }

static void add(collector *c, uint64_t hash) {
    if (is_full(c)) return;
    c->ids[c->n++] = (int32_t)(hash % (uint64_t)c->ngrams->buckets);
}

static uint64_t extend(uint32_t hash) { return (uint64_t)(int64_t)(int32_t)hash; }

static uint32_t hash_byte(uint32_t hash, char byte) {
    return (hash ^ (uint32_t)(int32_t)(signed char)byte) * (uint32_t)kFnvPrime;
}

static uint32_t hash_of(const char *bytes, size_t n) {
    uint32_t hash = kFnvBasis;

    for (size_t i = 0; i < n; i++) hash = hash_byte(hash, bytes[i]);
    return hash;
}

/* What ended with the last token goes on with this one. */
static void add_words(collector *c, const char *token, size_t bytes) {
    uint64_t hash;
    int most = c->ngrams->words;

    if (most == 0) return;
    hash = extend(hash_of(token, bytes));
    if (c->tokens < most) c->tokens++;
    for (int k = c->tokens - 1; k > 0; k--)
        c->open[k] = c->open[k - 1] * (uint64_t)kWordPrime + hash;
    c->open[0] = kFnvBasis * (uint64_t)kWordPrime + hash;
    for (int k = 0; k < c->tokens; k++) add(c, c->open[k]);
}

/* Byte i of `<token>`. */
static char marked(const char *token, size_t bytes, size_t i) {
    return i == 0 ? '<' : i <= bytes ? token[i - 1] : '>';
}

static bool begins_point(char byte) { return ((unsigned char)byte & 0xC0) != 0x80; }

static void add_chars(collector *c, const char *token, size_t bytes) {
    int least = c->ngrams->char_min, most = c->ngrams->char_max;
    size_t end = bytes + 2;

    for (size_t i = 0; most > 0 && i < end && !is_full(c); i++) {
        uint32_t hash = kFnvBasis;
        size_t k = i;

        if (!begins_point(marked(token, bytes, i))) continue;
        for (int points = 1; points <= most && k < end; points++) {
            do hash = hash_byte(hash, marked(token, bytes, k++));
            while (k < end && !begins_point(marked(token, bytes, k)));
            if (points == 1 && (i == 0 || k == end)) continue; /* a mark alone */
            if (points >= least) add(c, hash);
        }
    }
}

static int64_t collect(collector *c, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes && !is_full(c);) {
        const char *token = text + i, *space = memchr(token, ' ', bytes - i);
        size_t length = space ? (size_t)(space - token) : bytes - i;

        i += length + 1;
        if (length == 0) continue;
        add_words(c, token, length);
        add_chars(c, token, length);
    }
    return c->n;
}

int64_t sg_ngrams_ids(const sg_ngrams *ngrams, const char *text, size_t bytes, int32_t *ids,
                      int64_t cap) {
    collector c = {.ngrams = ngrams, .ids = ids, .cap = cap};

    return collect(&c, text, bytes);
}

sg_status sg_ngrams_check(const sg_ngrams *n) {
    if (n->words < 0 || n->words > SG_NGRAMS_MAX_WORDS)
        return sg_fail(SG_ERR_ARG, "n-grams of %d words; it must be 0 .. %d", n->words,
                       SG_NGRAMS_MAX_WORDS);
    if (n->char_max < 0 || n->char_max > SG_NGRAMS_MAX_CHARS)
        return sg_fail(SG_ERR_ARG, "n-grams of up to %d characters; it must be 0 .. %d",
                       n->char_max, SG_NGRAMS_MAX_CHARS);
    if (n->char_min > n->char_max || n->char_min < (n->char_max > 0))
        return sg_fail(SG_ERR_ARG, "n-grams of %d to %d characters; the first must be %s",
                       n->char_min, n->char_max,
                       n->char_max ? "at least 1 and at most the second" : "0 where the second is");
    if (n->words == 0 && n->char_max == 0)
        return sg_fail(SG_ERR_ARG, "n-grams of neither words nor characters; set one of them");
    if (n->buckets < 1 || n->buckets > SG_NGRAMS_MAX_BUCKETS)
        return sg_fail(SG_ERR_ARG, "%d buckets for n-grams; it must be 1 .. %d", (int)n->buckets,
                       SG_NGRAMS_MAX_BUCKETS);
    return SG_OK;
}

/* --- distinct ids --- */

/* One pass of a radix sort: by the byte of `from` at `shift`, into `to`. */
static void sort_by_byte(const int32_t *from, int32_t *to, int64_t n, int shift) {
    enum { kDigits = 256 };
    int64_t at[kDigits + 1] = {0};

    for (int64_t i = 0; i < n; i++) at[((uint32_t)from[i] >> shift & 0xFF) + 1]++;
    for (int d = 0; d < kDigits; d++) at[d + 1] += at[d];
    for (int64_t i = 0; i < n; i++) to[at[(uint32_t)from[i] >> shift & 0xFF]++] = from[i];
}

/* Ascending; `other` (n) is overwritten. */
static void sort(int32_t *ids, int32_t *other, int64_t n) {
    enum { kShort = 24, kBits = 32 };
    uint32_t any = 0;

    if (n > kShort) {
        for (int64_t i = 0; i < n; i++) any |= (uint32_t)ids[i];
        for (int shift = 0; shift < kBits && any >> shift; shift += 16) {
            sort_by_byte(ids, other, n, shift);
            sort_by_byte(other, ids, n, shift + 8);
        }
        return;
    }
    for (int64_t i = 1; i < n; i++) {
        int32_t id = ids[i];
        int64_t k = i;

        for (; k > 0 && ids[k - 1] > id; k--) ids[k] = ids[k - 1];
        ids[k] = id;
    }
}

int64_t sg_ngrams_unique(int32_t *ids, int64_t n, int32_t *counts) {
    int64_t distinct = 0;

    sort(ids, counts, n);
    for (int64_t i = 0; i < n; i++) {
        if (distinct > 0 && ids[distinct - 1] == ids[i]) {
            counts[distinct - 1]++;
            continue;
        }
        ids[distinct] = ids[i];
        counts[distinct++] = 1;
    }
    return distinct;
}
