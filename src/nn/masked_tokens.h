/* An encoder of texts that learns from texts alone: some of their tokens are hidden, and it guesses
 * them (Devlin et al., "BERT", 2018). What it has learned of tokens is for a text classifier to
 * start from (model.init), whose encoder has the same names.
 *
 *   ids (n, T) -> encoder (nn/text_encoder.h) -> (n, T, C)
 *     places      the tokens to be guessed alone: at most P of a text    (n P, C)
 *     masked      norm(gelu(linear(x))), then x E^T + bias, E being the table of tokens
 *   -> logits (n P, vocabulary) */
#ifndef SG_NN_MASKED_TOKENS_H
#define SG_NN_MASKED_TOKENS_H

#include "nn/text_encoder.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    sg_text_encoder_options encoder; /* its classes do not count */
    int64_t guesses;                 /* P, room for guesses of a text */
} sg_masked_tokens_options;

/* SG_ERR_CONFIG names the option that is out of range. */
sg_status sg_masked_tokens_check(const sg_masked_tokens_options *options) SG_CHECKED;

/* Append it for n texts; an sg_build_fn, `options` being its context.
 *
 * Inputs, in this order: "ids" i32 (n, T), where something else stands in place of what is to be
 * guessed; "length" i32 (n); "place" i32 (n, P), of each guess the row of the n T tokens, text by
 * text, below 0 where there is none; in SG_TRAIN mode "guess" i32 (n, P), the right token, below 0
 * where there is none, and "guesses" f32 (n), how many there are of each text.
 * SG_TRAIN: the cross-entropy of the guesses, divided by their number in the global batch. SG_EVAL:
 * output "probabilities" (n P, vocabulary); of no guess they are anything. */
sg_status sg_masked_tokens_build(sg_graph *g, int64_t n, void *options) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
