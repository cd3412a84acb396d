/* What reads the tokens of texts, in layers that add to a stream (n, T, C), normalising first
 * (Xiong et al., "On layer normalization in the transformer architecture", 2020), and classifies
 * them.
 *
 *   ids i32 (n, T), length i32 (n)
 *     embedding   a row of the table for each token; transformer: plus one learned for its position
 *     encoder.l   transformer  x += dropout(out(attention(qkv(norm1(x)))))
 *                              x += dropout(down(gelu(up(norm2(x)))))           up: 4 times as wide
 *                 gated CNN    x += dropout(value(w) * sigmoid(gate(w))), w = windows(norm(x))
 *     norm, then the mean over the text's tokens, then a linear layer
 *   -> logits (n, classes)
 *
 * A gated CNN's layer is a convolution along the text to 2 C channels under a gated linear unit
 * (Dauphin, Fan, Auli and Grangier, "Language modeling with gated convolutional networks", 2017; as
 * a classifier sees the whole text, its windows look both ways). The order of tokens is in the
 * windows, so that it needs no positions.
 *
 * Tokens from a text's length on take no part, whatever their ids. */
#ifndef SG_NN_TEXT_ENCODER_H
#define SG_NN_TEXT_ENCODER_H

#include "graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { SG_ENCODER_TRANSFORMER, SG_ENCODER_GATED_CNN } sg_encoder_kind;

typedef struct {
    sg_encoder_kind kind;
    int64_t vocabulary; /* rows of the table of tokens */
    int64_t length;     /* T, tokens of the longest text of a batch */
    int64_t positions;  /* rows of the table of positions, at least T; 0: T */
    int64_t layers;
    int64_t width;  /* C; transformer: a multiple of heads */
    int64_t heads;  /* transformer: on CUDA at most 128 channels each */
    int64_t kernel; /* gated CNN: tokens of a window, odd */
    int64_t classes;
    float dropout; /* 0 <= dropout < 1, of the embedding and of what layers add */
} sg_text_encoder_options;

/* A transformer; vocabulary 8192, length 64, 4 layers of width 256 with 8 heads, 3 classes, dropout
 * 0.1; windows of 3. */
sg_text_encoder_options sg_text_encoder_defaults(void);
/* SG_ERR_CONFIG names the option that is out of range. */
sg_status sg_text_encoder_check(const sg_text_encoder_options *options) SG_CHECKED;

/* Its table of tokens, (vocabulary, width). */
sg_value *sg_text_encoder_table(sg_graph *g, const sg_text_encoder_options *options);
/* What the last layer gives of each token (n, T, width), normalised, from ids i32 (n, T) and length
 * i32 (n); of tokens beyond a text it is anything. The options have been checked. */
sg_value *sg_text_encode_tokens(sg_graph *g, const sg_text_encoder_options *options, sg_value *ids,
                                sg_value *length);
/* The mean over each text's tokens of what it (n, width): the same without the classes. */
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
