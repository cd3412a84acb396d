/* Counting words, from which a byte-pair encoding is learned (data/bpe_joins.c). */
#include <string.h>

#include "core/mem.h"
#include "data/bpe_inside.h"

enum { kNone = -1, kFirstWords = 512, kFirstBytes = 4096 };

sg_status sg_bpe_learner_create(sg_bpe_learner **out) {
    sg_bpe_learner *l = sg_calloc(1, sizeof *l);

    if (!l) return sg_fail(SG_ERR_OOM, "no memory to learn a tokenizer");
    *out = l;
    return SG_OK;
}

void sg_bpe_learner_destroy(sg_bpe_learner *learner) {
    if (!learner) return;
    sg_free(learner->words);
    sg_free(learner->bytes);
    sg_free(learner->slots);
    sg_free(learner);
}

/* The word's place in slots, or the free one where it belongs. */
static size_t slot_of(const sg_bpe_learner *l, const char *bytes, int length) {
    size_t i = sg_bpe_hash(bytes, (size_t)length) & (l->n_slots - 1);

    for (; l->slots[i] != kNone; i = (i + 1) & (l->n_slots - 1)) {
        const sg_bpe_word *word = &l->words[l->slots[i]];

        if (word->length == length && memcmp(l->bytes + word->start, bytes, (size_t)length) == 0)
            break;
    }
    return i;
}

static sg_status no_memory(const sg_bpe_learner *l) {
    return sg_fail(SG_ERR_OOM, "no memory to learn a tokenizer from more than %d words",
                   (int)l->n_words);
}

/* Twice as many words, and four times as many slots as words. */
static sg_status grow_words(sg_bpe_learner *l) {
    int32_t capacity = l->word_capacity ? 2 * l->word_capacity : kFirstWords;
    size_t n_slots = 4 * (size_t)capacity;
    sg_bpe_word *words;
    int32_t *slots;

    slots = sg_malloc(n_slots * sizeof *slots);
    if (!slots) return no_memory(l);
    words = sg_realloc(l->words, (size_t)l->word_capacity * sizeof *words,
                       (size_t)capacity * sizeof *words);
    if (!words) {
        sg_free(slots);
        return no_memory(l);
    }
    l->words = words;
    sg_free(l->slots);
    l->slots = slots;
    l->n_slots = n_slots;
    l->word_capacity = capacity;
    for (size_t i = 0; i < n_slots; i++) slots[i] = kNone;
    for (int32_t i = 0; i < l->n_words; i++)
        slots[slot_of(l, l->bytes + words[i].start, words[i].length)] = i;
    return SG_OK;
}

static sg_status grow_bytes(sg_bpe_learner *l) {
    size_t capacity = l->byte_capacity ? 2 * l->byte_capacity : kFirstBytes;
    char *bytes = sg_realloc(l->bytes, l->byte_capacity, capacity);

    if (!bytes) return no_memory(l);
    l->bytes = bytes;
    l->byte_capacity = capacity;
    return SG_OK;
}

static sg_status count_word(sg_bpe_learner *l, const char *bytes, int length) {
    size_t slot;

    if (l->n_words == l->word_capacity) SG_TRY(grow_words(l));
    if (l->byte_capacity - l->n_bytes < (size_t)length) SG_TRY(grow_bytes(l));
    slot = slot_of(l, bytes, length);
    if (l->slots[slot] != kNone) {
        l->words[l->slots[slot]].count++;
        return SG_OK;
    }
    memcpy(l->bytes + l->n_bytes, bytes, (size_t)length);
    l->words[l->n_words] = (sg_bpe_word){.count = 1, .start = l->n_bytes, .length = length};
    l->slots[slot] = l->n_words++;
    l->n_bytes += (size_t)length;
    return SG_OK;
}

sg_status sg_bpe_learner_add(sg_bpe_learner *learner, const char *text, size_t bytes) {
    sg_bpe_words words = {.p = text, .end = text + bytes};
    char word[SG_BPE_MAX_WORD];
    size_t length;

    while ((length = sg_bpe_next_word(&words, word)) > 0)
        SG_TRY(count_word(learner, word, (int)length));
    return SG_OK;
}
