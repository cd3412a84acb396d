/* A transformer encoder that classifies texts, normalising first (Xiong et al., "On layer
 * normalization in the transformer architecture", 2020).
 *
 *   ids i32 (n, T), length i32 (n)
 *     embedding   a row of the table for each token, plus one learned for its position
 *     encoder.l   x += dropout(out(attention(qkv(norm1(x)))))
 *                 x += dropout(down(gelu(up(norm2(x)))))                        up: 4 times as wide
 *     norm, then the mean over the text's tokens, then a linear layer
 *   -> logits (n, classes)
 *
 * Tokens from a text's length on take no part, whatever their ids. */
#ifndef SG_NN_TEXT_ENCODER_H
#define SG_NN_TEXT_ENCODER_H

#include "graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t vocabulary; /* rows of the table of tokens */
    int64_t length;     /* T, tokens of the longest text of a batch */
    int64_t positions;  /* rows of the table of positions, at least T; 0: T */
    int64_t layers;
    int64_t width; /* C, a multiple of heads */
    int64_t heads; /* on CUDA at most 128 channels each */
    int64_t classes;
    float dropout; /* 0 <= dropout < 1, of the embedding and of both branches of a layer */
} sg_text_encoder_options;

/* Vocabulary 8192, length 64, 4 layers of width 256 with 8 heads, 3 classes, dropout 0.1. */
sg_text_encoder_options sg_text_encoder_defaults(void);
/* SG_ERR_CONFIG names the option that is out of range. */
sg_status sg_text_encoder_check(const sg_text_encoder_options *options) SG_CHECKED;

/* The mean over each text's tokens of what the last layer gives (n, width), from ids i32 (n, T) and
 * length i32 (n): the same without the classes. The options have been checked. */
sg_value *sg_text_encode(sg_graph *g, const sg_text_encoder_options *options, sg_value *ids,
                         sg_value *length);

/* Append the classifier for n texts; an sg_build_fn, `options` being its context.
 *
 * Inputs, in this order: "ids" i32 (n, T), "length" i32 (n), 0 .. T; in SG_TRAIN mode also "label"
 * i32 (n), below 0 for a text without one. SG_TRAIN: the cross-entropy, divided by the number of
 * texts. SG_EVAL: output "probabilities" (n, classes). */
sg_status sg_text_encoder_build(sg_graph *g, int64_t n, void *options) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
