/* Batches of a toy language of which any token can be told from its neighbours: a text counts up,
 * by 1 or by 2, round and round through nine tokens. For tests of masked tokens. */
#ifndef SG_TESTS_MASKED_TEXTS_H
#define SG_TESTS_MASKED_TEXTS_H

#include "core/philox.h"
#include "data/bpe.h"
#include "data/text_loader.h"
#include "nn/masked_tokens.h"

enum { MASKED_TOKENS = 9, MASKED_VOCABULARY = SG_BPE_BYTE + MASKED_TOKENS, MASKED_LENGTH = 12 };

static const sg_masking masked_masking = {0.15, MASKED_VOCABULARY, 5};

/* Small, and with every part of a large one; without dropout. */
static inline sg_masked_tokens_options masked_options(sg_encoder_kind encoder) {
    sg_masked_tokens_options o = {.encoder = sg_text_encoder_defaults()};

    o.encoder.kind = encoder;
    o.encoder.vocabulary = MASKED_VOCABULARY;
    o.encoder.length = MASKED_LENGTH;
    o.encoder.layers = 2;
    o.encoder.width = 16;
    o.encoder.heads = 2;
    o.encoder.dropout = 0.0f;
    o.guesses = sg_masking_count(&masked_masking, MASKED_LENGTH);
    return o;
}

typedef struct {
    sg_text_rows rows;
    const void *inputs[5]; /* those of a training graph */
} masked_batch;

/* Row i is text i of the step: every fifth is empty, the others have 1 .. MASKED_LENGTH tokens. */
static inline void masked_draw(const masked_batch *b, int64_t n, int64_t shard, int64_t step) {
    const sg_text_shapes all = sg_text_shapes_masked(&masked_masking, MASKED_LENGTH);
    sg_random r = sg_random_init(sg_key_mix(17, (uint64_t)step));

    for (int64_t i = 0; i < n; i++) {
        int64_t at = sg_random_below(&r, MASKED_TOKENS), by = 1 + sg_random_below(&r, 2);
        int64_t length = 1 + sg_random_below(&r, MASKED_LENGTH);
        int32_t ids[MASKED_LENGTH];
        sg_encoded text = {.n_subwords = i % 5 == 4 ? 0 : length, .subword = ids};

        for (int t = 0; t < MASKED_LENGTH; t++)
            ids[t] = SG_BPE_BYTE + (int32_t)((at + t * by) % MASKED_TOKENS);
        sg_text_rows_put(&b->rows, &all, all.n - 1, i, &text);
        sg_text_rows_mask(&b->rows, &all, all.n - 1, i, i % shard, &masked_masking,
                          sg_masking_key(&masked_masking, step, i));
    }
}

static inline sg_status masked_batch_init(int64_t n, masked_batch *b) {
    const sg_text_shapes all = sg_text_shapes_masked(&masked_masking, MASKED_LENGTH);

    SG_TRY(sg_text_rows_init(&all, n, &b->rows));
    b->inputs[0] = b->rows.ids;
    b->inputs[1] = b->rows.length;
    b->inputs[2] = b->rows.place;
    b->inputs[3] = b->rows.guess;
    b->inputs[4] = b->rows.guesses;
    return SG_OK;
}

#endif
