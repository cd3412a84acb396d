/* The model of masked tokens as configured: its tokenizer, the shapes of its batches; how well it
 * guesses. Each text has the same guesses in all evaluations of a run (SG_MASKING_FIXED). */
#ifndef SG_TRAIN_MASKED_MODEL_H
#define SG_TRAIN_MASKED_MODEL_H

#include "core/config.h"
#include "nn/masked_tokens.h"
#include "train/text_runner.h"
#include "train/trained.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Not to be moved: contexts point into it. */
typedef struct {
    sg_tokenizer *tokenizer; /* owned */
    sg_masking masking;
    sg_text_shapes shapes;
    sg_masked_tokens_options option[SG_TEXT_SHAPES]; /* one a shape */
    void *contexts[SG_TEXT_SHAPES];                  /* pointers to them, for the trainer */
    int64_t answer[SG_TEXT_SHAPES];                  /* floats: guesses, vocabulary */
} sg_masked_model;

/* `tokenizer` is taken over, also on failure: SG_ERR_CONFIG, a model that cannot be. Zeroed memory
 * may be cleared. */
sg_status sg_masked_model_init(sg_masked_model *model, const sg_config *config,
                               sg_tokenizer *tokenizer) SG_CHECKED;
void sg_masked_model_clear(sg_masked_model *model);

/* `model` is borrowed. `trainer`: whose table it is; NULL: a fresh one. */
sg_status sg_masked_model_runner(const sg_masked_model *model, const sg_backend *backend,
                                 const sg_trainer *trainer, int workers,
                                 sg_text_runner **out) SG_CHECKED;

/* {"metric": "probability", "value": V, "accuracy": A, "masked": {"loss": L, "perplexity": P,
 * "count": N}}: L is the mean of -log p over the N guesses, p being the probability that the right
 * subword has; P = exp(L); V = 1 / P, the score; A the share of guesses whose right subword is the
 * likeliest. null where N is 0. A p below FLT_MIN counts as that. SG_ERR_DIVERGED: one is NaN. */
sg_status sg_masked_model_measure(const sg_masked_model *model, sg_text_runner *runner,
                                  const sg_encoded_set *set, sg_pool *pool, const sg_share *share,
                                  sg_stop_fn stop, void *stop_context,
                                  sg_evaluation *out) SG_CHECKED;

/* A model file measured on a split's file; errors of sg_trained_config, sg_text_dataset_read. */
sg_status sg_masked_evaluate_file(const sg_trained_source *source, const char *split, int threads,
                                  sg_evaluation *out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
