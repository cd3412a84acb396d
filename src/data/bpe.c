/* The vocabulary of a byte-pair encoding, and encoding with it. */
#include "data/bpe.h"

#include <string.h>

#include "core/mem.h"
#include "data/bpe_inside.h"

static const uint32_t kFree = UINT32_MAX; /* an id 65535 is the last one, and joined with nothing */

/* --- words --- */

/* `limit` bytes of a word, less where they would end inside a code point. */
static size_t cut(const char *word, size_t limit) {
    size_t n = limit;

    while (n > limit - 3 && ((unsigned char)word[n] & 0xC0) == 0x80) n--;
    return ((unsigned char)word[n] & 0xC0) == 0x80 ? limit : n; /* it is no UTF-8 */
}

size_t sg_bpe_next_word(sg_bpe_words *words, char *word) {
    size_t space, n, length;
    const char *end;

    if (!words->inside)
        while (words->p < words->end && *words->p == ' ') words->p++;
    if (words->p == words->end) return 0;
    end = memchr(words->p, ' ', (size_t)(words->end - words->p));
    length = (size_t)((end ? end : words->end) - words->p);
    space = words->inside ? 0 : 1;
    words->inside = length > SG_BPE_MAX_WORD - space;
    n = words->inside ? cut(words->p, SG_BPE_MAX_WORD - space) : length;
    if (space) word[0] = ' ';
    memcpy(word + space, words->p, n);
    words->p += n;
    return n + space;
}

uint64_t sg_bpe_hash(const char *bytes, size_t n) {
    const uint64_t kBasis = 14695981039346656037U, kPrime = 1099511628211U;
    uint64_t hash = kBasis;

    for (size_t i = 0; i < n; i++) hash = (hash ^ (unsigned char)bytes[i]) * kPrime;
    return hash ^ hash >> 32;
}

/* --- the vocabulary --- */

static uint32_t key_of(int32_t left, int32_t right) {
    return (uint32_t)left << 16 | (uint32_t)right;
}

static uint32_t slot_of(const sg_bpe *bpe, uint32_t key) {
    const uint32_t kGolden = 2654435769U; /* 2^32 / golden ratio */
    uint32_t hash = key * kGolden, i = (hash ^ hash >> 15) & bpe->mask;

    while (bpe->slots[i].key != key && bpe->slots[i].key != kFree) i = (i + 1) & bpe->mask;
    return i;
}

int32_t sg_bpe_joined(const sg_bpe *bpe, int32_t left, int32_t right) {
    return bpe->slots[slot_of(bpe, key_of(left, right))].id;
}

static size_t total_bytes(const sg_bpe_join *joins, int32_t n, int32_t *start) {
    size_t total = 0;

    for (int32_t id = 0; id < SG_BPE_MIN_SIZE + n; id++) {
        start[id] = (int32_t)total;
        if (id >= SG_BPE_MIN_SIZE) {
            const sg_bpe_join *join = &joins[id - SG_BPE_MIN_SIZE];

            total += (size_t)(start[join->left + 1] - start[join->left]);
            total += (size_t)(start[join->right + 1] - start[join->right]);
        } else if (id >= SG_BPE_BYTE) {
            total++;
        }
        start[id + 1] = (int32_t)total;
    }
    return total;
}

static size_t copy_entry(sg_bpe *bpe, int32_t id, char *to) {
    size_t n = (size_t)(bpe->start[id + 1] - bpe->start[id]);

    memcpy(to, bpe->bytes + bpe->start[id], n);
    return n;
}

static void fill(sg_bpe *bpe) {
    for (uint32_t i = 0; i <= bpe->mask; i++) bpe->slots[i] = (sg_bpe_slot){kFree, -1};
    for (int b = 0; b < 256; b++) bpe->bytes[bpe->start[SG_BPE_BYTE + b]] = (char)b;
    for (int32_t id = SG_BPE_MIN_SIZE; id < bpe->size; id++) {
        sg_bpe_join join = bpe->joins[id - SG_BPE_MIN_SIZE];
        uint32_t key = key_of(join.left, join.right);
        char *to = bpe->bytes + bpe->start[id];

        to += copy_entry(bpe, join.left, to);
        copy_entry(bpe, join.right, to);
        bpe->slots[slot_of(bpe, key)] = (sg_bpe_slot){key, id};
    }
}

sg_status sg_bpe_build(sg_bpe_join *joins, int32_t n, sg_bpe **out) {
    sg_bpe *bpe = sg_calloc(1, sizeof *bpe);
    uint32_t slots = 64;

    if (!bpe) {
        sg_free(joins);
        return sg_fail(SG_ERR_OOM, "no memory for a tokenizer");
    }
    while (slots < 4 * (uint32_t)n) slots *= 2;
    bpe->joins = joins;
    bpe->size = SG_BPE_MIN_SIZE + n;
    bpe->mask = slots - 1;
    bpe->start = sg_malloc((size_t)(bpe->size + 1) * sizeof *bpe->start);
    bpe->slots = sg_malloc(slots * sizeof *bpe->slots);
    if (bpe->start) bpe->bytes = sg_malloc(total_bytes(joins, n, bpe->start));
    if (!bpe->start || !bpe->slots || !bpe->bytes) {
        sg_bpe_destroy(bpe);
        return sg_fail(SG_ERR_OOM, "no memory for a tokenizer of %d entries",
                       (int)(SG_BPE_MIN_SIZE + n));
    }
    fill(bpe);
    *out = bpe;
    return SG_OK;
}

void sg_bpe_destroy(sg_bpe *bpe) {
    if (!bpe) return;
    sg_free(bpe->joins);
    sg_free(bpe->bytes);
    sg_free(bpe->start);
    sg_free(bpe->slots);
    sg_free(bpe);
}

int32_t sg_bpe_size(const sg_bpe *bpe) { return bpe->size; }

const char *sg_bpe_entry(const sg_bpe *bpe, int32_t id, size_t *bytes) {
    *bytes = (size_t)(bpe->start[id + 1] - bpe->start[id]);
    return bpe->bytes + bpe->start[id];
}

/* --- encoding --- */

enum { kCacheSlots = 1 << 12, kCachedBytes = 30, kCachedIds = 16 };

/* A word and its ids, in 64 bytes; length 0 is free. */
typedef struct {
    uint8_t length, n;
    char word[kCachedBytes];
    uint16_t ids[kCachedIds];
} cached;

struct sg_bpe_encoder {
    const sg_bpe *bpe;
    cached cache[kCacheSlots]; /* each word has one place; the last one that came holds it */
};

sg_status sg_bpe_encoder_create(const sg_bpe *bpe, sg_bpe_encoder **out) {
    sg_bpe_encoder *encoder = sg_calloc(1, sizeof *encoder);

    if (!encoder) return sg_fail(SG_ERR_OOM, "no memory for an encoder");
    encoder->bpe = bpe;
    *out = encoder;
    return SG_OK;
}

void sg_bpe_encoder_destroy(sg_bpe_encoder *encoder) { sg_free(encoder); }

/* Joins, as long as there is something to join, the pair that was learned first, and of several of
 * these the leftmost. Words are short, so looking at all pairs each time is fast. */
static int encode_word(const sg_bpe *bpe, const char *word, int n, int32_t *ids) {
    int32_t join[SG_BPE_MAX_WORD]; /* of ids i and i + 1, or -1 */

    for (int i = 0; i < n; i++) ids[i] = SG_BPE_BYTE + (unsigned char)word[i];
    for (int i = 0; i + 1 < n; i++) join[i] = sg_bpe_joined(bpe, ids[i], ids[i + 1]);
    for (;;) {
        int at = -1;

        for (int i = 0; i + 1 < n; i++)
            if (join[i] >= 0 && (at < 0 || join[i] < join[at])) at = i;
        if (at < 0) return n;
        ids[at] = join[at];
        n--;
        for (int i = at + 1; i < n; i++) ids[i] = ids[i + 1];
        for (int i = at; i + 1 < n; i++) join[i] = join[i + 1];
        if (at > 0) join[at - 1] = sg_bpe_joined(bpe, ids[at - 1], ids[at]);
        if (at + 1 < n) join[at] = sg_bpe_joined(bpe, ids[at], ids[at + 1]);
    }
}

/* `found` becomes the word's place; whether the word is in it. */
static bool look_up(sg_bpe_encoder *e, const char *word, size_t length, cached **found) {
    *found = &e->cache[sg_bpe_hash(word, length) % kCacheSlots];
    return (*found)->length == length && memcmp((*found)->word, word, length) == 0;
}

static void keep(cached *slot, const char *word, size_t length, const int32_t *ids, int n) {
    if (n > kCachedIds) return;
    slot->length = (uint8_t)length;
    slot->n = (uint8_t)n;
    memcpy(slot->word, word, length);
    for (int i = 0; i < n; i++) slot->ids[i] = (uint16_t)ids[i];
}

int64_t sg_bpe_encode(sg_bpe_encoder *encoder, const char *text, size_t bytes, int32_t *ids,
                      int64_t cap) {
    sg_bpe_words words = {.p = text, .end = text + bytes};
    int32_t own[SG_BPE_MAX_WORD];
    char word[SG_BPE_MAX_WORD];
    int64_t total = 0;
    size_t length;

    while (total < cap && (length = sg_bpe_next_word(&words, word)) > 0) {
        cached *slot = NULL;
        int n;

        if (length <= kCachedBytes && look_up(encoder, word, length, &slot)) {
            for (int i = 0; i < slot->n && total < cap; i++) ids[total++] = slot->ids[i];
            continue;
        }
        n = encode_word(encoder->bpe, word, (int)length, own);
        if (slot) keep(slot, word, length, own, n);
        for (int i = 0; i < n && total < cap; i++) ids[total++] = own[i];
    }
    return total;
}
