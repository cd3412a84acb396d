/* Learning from masked tokens, on CPUs, with both encoders: the loss falls, its gradient is that of
 * its differences, its bits depend on no threads, its mean is over the guesses of the whole batch;
 * and which tokens are to be guessed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/state_hash.h"
#include "core/mem.h"
#include "encoder_kinds.h"
#include "masked_texts.h"
#include "out_of_memory.h"
#include "train/inference.h"
#include "train/trainer.h"
#include "whole_gradient.h"

enum { kBatch = 32, kShards = 4 };

static sg_trainer *new_trainer(sg_masked_tokens_options *model, int shards, int threads) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer;

    o.build = sg_masked_tokens_build;
    o.context = model;
    o.batch = kBatch;
    o.shards = shards;
    o.threads = threads;
    o.optimizer.kind = SG_OPTIMIZER_ADAMW;
    o.optimizer.ema = 0.0;
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_OK);
    return trainer;
}

/* The mean loss of the last ten steps. */
static double train(sg_trainer *trainer, int shards, int steps) {
    sg_step_report report;
    masked_batch b;
    double sum = 0.0;

    assert_int_equal(masked_batch_init(kBatch, &b), SG_OK);
    for (int64_t s = 0; s < steps; s++) {
        masked_draw(&b, kBatch, kBatch / shards, s);
        assert_int_equal(sg_trainer_step(trainer, 0, b.inputs, 3e-3, &report), SG_OK);
        if (s >= steps - 10) sum += report.loss / 10.0;
    }
    sg_text_rows_clear(&b.rows);
    return sum;
}

/* Chance is log 9 = 2.2; a text of one token, or of two, cannot be told. Windows see at once what
 * attention has to find. */
static void test_learns(void **unused) {
    sg_masked_tokens_options model = masked_options(kind);
    sg_trainer *trainer = new_trainer(&model, kShards, 2);
    double first = train(trainer, kShards, 10), last = train(trainer, kShards, 1000);
    double most = kind == SG_ENCODER_GATED_CNN ? 0.8 : 1.3;

    (void)unused;
    if (!(first > 1.9 && first < 3.5 && last < most)) fail_msg("loss %g, then %g", first, last);
    sg_trainer_destroy(trainer);
}

/* What the model says in SG_EVAL mode is what its loss was. */
static void test_probabilities(void **unused) {
    sg_masked_tokens_options model = masked_options(kind);
    sg_trainer *trainer = new_trainer(&model, 1, 1);
    sg_inference_options o = {
        .build = sg_masked_tokens_build, .context = &model, .batch = kBatch, .workers = 1};
    float *p = sg_malloc((size_t)(kBatch * model.guesses * MASKED_VOCABULARY) * sizeof *p);
    double loss = 0.0, n = 0.0;
    sg_step_report report;
    sg_inference *f;
    masked_batch b;

    (void)unused;
    assert_non_null(p);
    assert_int_equal(masked_batch_init(kBatch, &b), SG_OK);
    masked_draw(&b, kBatch, kBatch, 4);
    assert_int_equal(sg_inference_create(&o, &f), SG_OK);
    assert_int_equal(sg_inference_set_values(f, sg_trainer_state(trainer)->values, NULL), SG_OK);
    assert_int_equal(sg_inference_run(f, 0, b.inputs, (void *[]){p}), SG_OK);
    for (int64_t i = 0; i < kBatch * model.guesses; i++) {
        if (b.rows.guess[i] < 0) continue;
        loss -= log((double)p[i * MASKED_VOCABULARY + b.rows.guess[i]]);
        n++;
    }
    assert_int_equal(sg_trainer_step(trainer, 0, b.inputs, 0.0, &report), SG_OK);
    assert_true(report.sum[SG_SUM_NORMALISER] == n && n > 20.0 && n != (double)kBatch);
    if (!(fabs(report.loss - loss / n) <= 1e-5)) fail_msg("%g, but %g", report.loss, loss / n);
    sg_inference_destroy(f);
    sg_text_rows_clear(&b.rows);
    sg_free(p);
    sg_trainer_destroy(trainer);
}

/* A batch is one mean over all its guesses, however it is divided: shards of 8 texts have other
 * numbers of them. */
static void test_shards(void **unused) {
    sg_masked_tokens_options model = masked_options(kind);
    double loss[2];

    (void)unused;
    for (int i = 0; i < 2; i++) {
        int shards = i == 0 ? 1 : kShards;
        sg_trainer *trainer = new_trainer(&model, shards, 1);
        sg_step_report report;
        masked_batch b;

        assert_int_equal(masked_batch_init(kBatch, &b), SG_OK);
        masked_draw(&b, kBatch, kBatch / shards, 9);
        assert_int_equal(sg_trainer_step(trainer, 0, b.inputs, 1e-3, &report), SG_OK);
        assert_int_equal(sg_trainer_step(trainer, 0, b.inputs, 1e-3, &report), SG_OK);
        loss[i] = report.loss;
        sg_text_rows_clear(&b.rows);
        sg_trainer_destroy(trainer);
    }
    if (!(fabs(loss[0] - loss[1]) <= 1e-4)) fail_msg("%g and %g", loss[0], loss[1]);
}

/* A batch of empty texts has nothing to guess: its loss is 0, and nothing is divided by 0. */
static void test_nothing_to_guess(void **unused) {
    sg_masked_tokens_options model = masked_options(kind);
    sg_trainer *trainer = new_trainer(&model, kShards, 1);
    const sg_text_shapes all = sg_text_shapes_masked(&masked_masking, MASKED_LENGTH);
    const sg_encoded none = {0};
    sg_step_report report;
    masked_batch b;

    (void)unused;
    assert_int_equal(masked_batch_init(kBatch, &b), SG_OK);
    for (int64_t i = 0; i < kBatch; i++) {
        sg_text_rows_put(&b.rows, &all, all.n - 1, i, &none);
        sg_text_rows_mask(&b.rows, &all, all.n - 1, i, 0, &masked_masking, 1);
    }
    assert_int_equal(sg_trainer_step(trainer, 0, b.inputs, 1e-3, &report), SG_OK);
    assert_true(report.loss == 0.0 && report.grad_norm == 0.0);
    sg_text_rows_clear(&b.rows);
    sg_trainer_destroy(trainer);
}

static void test_same_bits(void **unused) {
    char hash[3][SG_STATE_HASH_BYTES];

    (void)unused;
    for (int i = 0; i < 3; i++) {
        sg_masked_tokens_options model = masked_options(kind);
        sg_trainer *trainer;

        model.encoder.dropout = 0.1f;
        trainer = new_trainer(&model, kShards, 1 << i);
        train(trainer, kShards, 10);
        assert_int_equal(sg_state_sha256(sg_trainer_state(trainer), hash[i]), SG_OK);
        assert_string_equal(hash[i], hash[0]);
        sg_trainer_destroy(trainer);
    }
}

static void test_gradient(void **unused) {
    enum { kFew = 5 };
    sg_masked_tokens_options model = masked_options(kind);
    masked_batch b;

    (void)unused;
    model.encoder.width = 8;
    assert_int_equal(masked_batch_init(kFew, &b), SG_OK);
    masked_draw(&b, kFew, kFew, 2);
    check_whole_gradient(sg_masked_tokens_build, &model, kFew, b.inputs);
    sg_text_rows_clear(&b.rows);
}

/* --- building it ------------------------------------------------------------------------------ */

/* All of the encoder has the names and shapes that a classifier's has. */
static void test_parameters(void **unused) {
    sg_masked_tokens_options model = masked_options(kind);
    sg_text_encoder_options classifier = model.encoder;
    sg_table *table[2];
    sg_graph *g[2];
    int own = 0;

    (void)unused;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sg_table_create(&table[i]), SG_OK);
        assert_int_equal(sg_graph_create(SG_TRAIN, table[i], &g[i]), SG_OK);
    }
    assert_int_equal(sg_masked_tokens_build(g[0], 2, &model), SG_OK);
    assert_int_equal(sg_text_encoder_build(g[1], 2, &classifier), SG_OK);
    for (int i = 0; i < table[1]->n_entries; i++) {
        const sg_entry *e = &table[1]->entry[i];
        int at = sg_table_find(table[0], e->name);

        if (strncmp(e->name, "classify.", 9) == 0) continue;
        if (at < 0) fail_msg("no parameter %s", e->name);
        assert_true(sg_shape_equal(&table[0]->entry[at].shape, &e->shape));
    }
    for (int i = 0; i < table[0]->n_entries; i++)
        own += strncmp(table[0]->entry[i].name, "masked.", 7) == 0;
    assert_int_equal(own, 5); /* linear, norm, bias: the matrix of outputs is the embedding */
    assert_int_equal(table[0]->n_entries - own, table[1]->n_entries - 2);
    for (int i = 0; i < 2; i++) {
        sg_graph_destroy(g[i]);
        sg_table_destroy(table[i]);
    }
}

static void refused(sg_masked_tokens_options o, const char *text) {
    assert_int_equal(sg_masked_tokens_check(&o), SG_ERR_CONFIG);
    if (!strstr(sg_last_error(), text)) fail_msg("it says: %s", sg_last_error());
}

#define REFUSED(field, value, text)                                                                \
    do {                                                                                           \
        sg_masked_tokens_options changed = masked_options(SG_ENCODER_TRANSFORMER);                 \
        changed.field = value;                                                                     \
        refused(changed, text);                                                                    \
    } while (0)

static void test_options(void **unused) {
    sg_masked_tokens_options o = masked_options(SG_ENCODER_TRANSFORMER);

    (void)unused;
    assert_int_equal(sg_masked_tokens_check(&o), SG_OK);
    REFUSED(encoder.layers, 0, "there is no encoder; set model.layers");
    REFUSED(encoder.heads, 3, "cannot be divided into 3 heads");
    REFUSED(guesses, 0, "0 guesses of 12 tokens");
    REFUSED(guesses, 13, "13 guesses of 12 tokens");
}

static void test_no_memory(void **unused) {
    sg_masked_tokens_options model = masked_options(kind);
    long live = sg_mem_live();

    (void)unused;
    FAIL_EACH_ALLOCATION(build_once(sg_masked_tokens_build, &model), 100);
    assert_int_equal(sg_mem_live(), live);
}

/* --- which are to be guessed ------------------------------------------------------------------ */

enum { kTokens = 40, kTexts = 5000 };

static void test_count(void **unused) {
    const sg_masking all = {1.0, 300, 1};

    (void)unused;
    assert_int_equal(sg_masking_count(&masked_masking, 0), 0);
    assert_int_equal(sg_masking_count(&masked_masking, 1), 1); /* one at least */
    assert_int_equal(sg_masking_count(&masked_masking, 9), 1);
    assert_int_equal(sg_masking_count(&masked_masking, 10), 2);
    assert_int_equal(sg_masking_count(&masked_masking, 64), 10);
    assert_int_equal(sg_masking_count(&all, 7), 7);
}

/* 80, 10 and 10 %; each place alike; each other subword alike, of a vocabulary of 103. */
static void test_masks(void **unused) {
    const sg_masking m = {0.15, SG_BPE_BYTE + 100, 7};
    int at[kTokens] = {0}, any[SG_BPE_BYTE + 100] = {0}, masked = 0, kept = 0, other = 0;
    int64_t n = sg_masking_count(&m, kTokens);

    (void)unused;
    for (int i = 0; i < kTexts; i++) {
        int32_t ids[kTokens], place[kTokens], guess[kTokens];
        bool chosen[kTokens] = {false};

        for (int t = 0; t < kTokens; t++) ids[t] = SG_BPE_BYTE + (i + t) % 100;
        assert_int_equal(sg_masking_apply(&m, sg_masking_key(&m, 3, i), ids, kTokens, place, guess),
                         n);
        for (int64_t k = 0; k < n; k++) {
            int32_t t = place[k];

            assert_true(t >= 0 && t < kTokens && !chosen[t]);
            chosen[t] = true;
            at[t]++;
            assert_int_equal(guess[k], SG_BPE_BYTE + (i + t) % 100);
            if (ids[t] == SG_BPE_MASK)
                masked++;
            else if (ids[t] == guess[k])
                kept++;
            else
                other++;
            if (ids[t] != SG_BPE_MASK && ids[t] != guess[k]) any[ids[t]]++;
        }
        for (int t = 0; t < kTokens; t++)
            if (!chosen[t]) assert_int_equal(ids[t], SG_BPE_BYTE + (i + t) % 100);
    }
    assert_true(fabs(masked / (double)(kTexts * n) - 0.8) < 0.01);
    assert_true(fabs(kept / (double)(kTexts * n) - 0.101) < 0.01);
    assert_true(fabs(other / (double)(kTexts * n) - 0.099) < 0.01);
    for (int t = 0; t < kTokens; t++) /* 750 of each; 6 deviations are 153 */
        if (abs(at[t] - 750) > 153) fail_msg("place %d: %d times", t, at[t]);
    for (int v = 0; v < SG_BPE_BYTE; v++) assert_int_equal(any[v], 0);
    for (int v = SG_BPE_BYTE; v < SG_BPE_BYTE + 100; v++) /* 29.7 of each */
        if (any[v] < 5 || any[v] > 65) fail_msg("subword %d: %d times", v, any[v]);
}

static void mask(const sg_masking *m, int64_t epoch, int64_t sample, int32_t ids[kTokens]) {
    int32_t place[kTokens], guess[kTokens];

    for (int t = 0; t < kTokens; t++) ids[t] = SG_BPE_BYTE + t;
    sg_masking_apply(m, sg_masking_key(m, epoch, sample), ids, kTokens, place, guess);
}

/* The same for the same seed, epoch and text; another for each of them. */
static void test_masks_are_a_function(void **unused) {
    const sg_masking m = {0.15, 300, 7}, other = {0.15, 300, 8};
    int32_t one[kTokens], two[kTokens];

    (void)unused;
    mask(&m, 2, 11, one);
    mask(&m, 2, 11, two);
    assert_memory_equal(one, two, sizeof one);
    mask(&m, 3, 11, two);
    assert_memory_not_equal(one, two, sizeof one);
    mask(&m, SG_MASKING_FIXED, 11, two);
    assert_memory_not_equal(one, two, sizeof one);
    mask(&m, 2, 12, two);
    assert_memory_not_equal(one, two, sizeof one);
    mask(&other, 2, 11, two);
    assert_memory_not_equal(one, two, sizeof one);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OF_BOTH(test_learns),           OF_BOTH(test_gradient),
        OF_BOTH(test_probabilities),    OF_BOTH(test_shards),
        OF_BOTH(test_nothing_to_guess), OF_BOTH(test_same_bits),
        OF_BOTH(test_parameters),       OF_BOTH(test_no_memory),
        cmocka_unit_test(test_options), cmocka_unit_test(test_count),
        cmocka_unit_test(test_masks),   cmocka_unit_test(test_masks_are_a_function),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
