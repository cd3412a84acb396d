/* What the files of the byte-pair encoding share. Private to data/. */
#ifndef SG_DATA_BPE_INSIDE_H
#define SG_DATA_BPE_INSIDE_H

#include <stdbool.h>

#include "data/bpe.h"

/* Two ids that are joined; their place in the list tells the id that they become. */
typedef struct {
    int32_t left, right;
} sg_bpe_join;

/* A slot of the table from pairs to ids; free slots have kFree as key. */
typedef struct {
    uint32_t key; /* left << 16 | right */
    int32_t id;
} sg_bpe_slot;

struct sg_bpe {
    int32_t size;       /* entries: SG_BPE_MIN_SIZE + joins */
    sg_bpe_join *joins; /* (size - SG_BPE_MIN_SIZE) */
    char *bytes;        /* of all entries, one behind the other */
    int32_t *start;     /* (size + 1): where an entry begins in them */
    sg_bpe_slot *slots; /* (mask + 1) */
    uint32_t mask;
};

/* A vocabulary of `n` joins, each of two ids >= SG_BPE_BYTE of entries before it, none twice, and
 * of at most SG_BPE_MAX_WORD bytes. Takes over `joins`, also when it fails: SG_ERR_OOM. */
sg_status sg_bpe_build(sg_bpe_join *joins, int32_t n, sg_bpe **out) SG_CHECKED;

/* What two ids become; -1: they are not joined. */
int32_t sg_bpe_joined(const sg_bpe *bpe, int32_t left, int32_t right);

/* The words of a text, one after the other: {text, text + bytes}. */
typedef struct {
    const char *p, *end;
    bool inside; /* of a word that was cut */
} sg_bpe_words;

/* The next word into `word` (SG_BPE_MAX_WORD), and its length; 0 at the end. */
size_t sg_bpe_next_word(sg_bpe_words *words, char *word);

/* A different word, how often it occurs, and where its bytes begin. */
typedef struct {
    int64_t count;
    size_t start;
    int length;
} sg_bpe_word;

struct sg_bpe_learner {
    sg_bpe_word *words; /* (word_capacity) */
    int32_t n_words, word_capacity;
    char *bytes; /* (byte_capacity) */
    size_t n_bytes, byte_capacity;
    int32_t *slots; /* (n_slots, a power of 2): indices of words, or -1 */
    size_t n_slots;
};

uint64_t sg_bpe_hash(const char *bytes, size_t n);

#endif
