/* A model of texts without attention, shared by tests of the CPU and of the CUDA trainer: a block
 * that normalises first, with dropout in all its places, then a norm, a mean and a classifier. */
#ifndef SG_TESTS_TOKEN_BLOCK_H
#define SG_TESTS_TOKEN_BLOCK_H

#include <string.h>

#include "checkpoint/state_hash.h"
#include "core/philox.h"
#include "spotgrad.h"
#include "train/trainer.h"

enum { kTexts = 16, kTokens = 7, kFeatures = 6, kWidth = 16, kClasses = 3 };

static const float kDrop = 0.3f;

/* A linear layer on each token. */
static sg_value *each_token(sg_graph *g, const char *name, sg_value *x, int64_t width) {
    int64_t n, tokens;

    if (!x) return NULL;
    n = x->shape.dim[0];
    tokens = x->shape.dim[1];
    x = sg_linear(g, name, sg_reshape(g, x, sg_shape_2(n * tokens, x->shape.dim[2])), width);
    return sg_reshape(g, x, sg_shape_3(n, tokens, width));
}

static sg_status token_block(sg_graph *g, int64_t n, void *context) {
    sg_value *x = sg_input(g, "tokens", SG_F32, sg_shape_3(n, kTokens, kFeatures));
    sg_value *length = sg_input(g, "length", SG_I32, sg_shape_1(n)), *stream = NULL;

    (void)context;
    x = sg_dropout(g, each_token(g, "embed", x, kWidth), kDrop);
    stream = x;
    x = sg_norm(g, "norm1", x, NULL, NULL);
    x = sg_dropout(g, sg_gelu(g, each_token(g, "up", x, 2 * kWidth)), kDrop);
    x = sg_dropout(g, each_token(g, "down", x, kWidth), kDrop);
    x = sg_norm(g, "norm2", x, stream, &stream);
    x = sg_masked_mean(g, sg_add(g, sg_scale(g, stream, 0.5f), x), length);
    x = sg_linear(g, "classify", x, kClasses);
    sg_output(g, "logits", x);
    if (sg_graph_mode(g) == SG_TRAIN)
        sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

typedef struct {
    float tokens[kTexts * kTokens * kFeatures];
    int32_t length[kTexts], label[kTexts];
} token_batch;

/* The class is the feature that is large in the text's tokens; what lies behind its length says
 * another one. */
static void draw_tokens(int64_t step, token_batch *b) {
    sg_random r = sg_random_init(sg_key_mix(11, (uint64_t)step));

    for (int n = 0; n < kTexts; n++) {
        b->label[n] = (int32_t)sg_random_below(&r, kClasses);
        b->length[n] = 1 + (int32_t)sg_random_below(&r, kTokens);
        for (int t = 0; t < kTokens; t++) {
            float *x = b->tokens + (n * kTokens + t) * kFeatures;

            for (int c = 0; c < kFeatures; c++) x[c] = sg_random_range(&r, -1.0f, 1.0f);
            x[t < b->length[n] ? b->label[n] : (b->label[n] + 1) % kClasses] += 1.0f;
        }
    }
}

static sg_trainer *token_trainer(const sg_backend *backend, int threads, uint64_t seed,
                                 bool blank) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer;

    o.build = token_block;
    o.backend = backend;
    o.batch = kTexts;
    o.shards = 4;
    o.threads = threads;
    o.optimizer.kind = SG_OPTIMIZER_ADAMW;
    o.seed = seed;
    o.blank = blank;
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_OK);
    return trainer;
}

/* The next `steps` steps of the trainer; their losses, where `loss` is not NULL. */
static void train_tokens(sg_trainer *trainer, int steps, double *loss) {
    sg_step_report report;
    token_batch b;
    const void *inputs[] = {b.tokens, b.length, b.label};

    for (int i = 0; i < steps; i++) {
        draw_tokens(sg_trainer_state(trainer)->step, &b);
        assert_int_equal(sg_trainer_step(trainer, 0, inputs, 0.02, &report), SG_OK);
        if (loss) loss[i] = report.loss;
    }
    assert_int_equal(sg_trainer_fetch(trainer), SG_OK);
}

/* What a checkpoint keeps. */
static void copy_state(sg_trainer *to_trainer, sg_trainer *from_trainer) {
    const sg_state *from = sg_trainer_state(from_trainer);
    sg_state *to = sg_trainer_state(to_trainer);
    size_t values = (size_t)from->table->n_values * sizeof(float);
    size_t params = (size_t)from->table->n_params * sizeof(float);

    memcpy(to->values, from->values, values);
    memcpy(to->ema, from->ema, values);
    for (int i = 0; i < from->n_moments; i++) memcpy(to->moment[i], from->moment[i], params);
    to->step = from->step;
    to->samples = from->samples;
    to->seed = from->seed;
    assert_int_equal(sg_trainer_store(to_trainer), SG_OK);
}

#endif
