/* The text encoder on CPUs, a transformer and a gated CNN: it learns to count, its gradient is that
 * of its loss, its bits depend on no threads, and tokens beyond a text's length do not matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "checkpoint/state_hash.h"
#include "core/mem.h"
#include "core/philox.h"
#include "encoder_kinds.h"
#include "nn/text_encoder.h"
#include "out_of_memory.h"
#include "train/inference.h"
#include "train/trainer.h"
#include "whole_gradient.h"

enum { kBatch = 64, kLength = 16, kVocabulary = 12, kClasses = 2 };

/* Small, and with every part of a large one. */
static sg_text_encoder_options small(void) {
    sg_text_encoder_options o = sg_text_encoder_defaults();

    o.kind = kind;
    o.vocabulary = kVocabulary;
    o.length = kLength;
    o.layers = 2;
    o.width = 32;
    o.heads = 2;
    o.classes = kClasses;
    return o;
}

typedef struct {
    int32_t ids[kBatch][kLength], length[kBatch], label[kBatch];
} batch;

/* Which of the tokens 0 and 1 is more frequent? Others stand between them, padding follows. */
static void draw(int64_t step, batch *b) {
    sg_random r = sg_random_init(sg_key_mix(11, (uint64_t)step));

    for (int i = 0; i < kBatch; i++) {
        int balance = 0;

        b->length[i] = 1 + (int32_t)sg_random_below(&r, kLength);
        for (int t = 0; t < kLength; t++) {
            int32_t id = (int32_t)sg_random_below(&r, kVocabulary);

            if (sg_random_below(&r, 2)) id = (int32_t)sg_random_below(&r, 2);
            b->ids[i][t] = t < b->length[i] ? id : -1;
            if (t < b->length[i]) balance += (id == 1) - (id == 0);
        }
        if (balance == 0) { /* then the first token decides, by becoming another */
            balance = b->ids[i][0] == 1 ? -1 : 1;
            b->ids[i][0] = balance > 0;
        }
        b->label[i] = balance > 0;
    }
}

static sg_trainer *new_trainer(sg_text_encoder_options *model, int threads) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer;

    o.build = sg_text_encoder_build;
    o.context = model;
    o.batch = kBatch;
    o.shards = 4;
    o.threads = threads;
    o.optimizer.kind = SG_OPTIMIZER_ADAMW;
    o.optimizer.ema = 0.0;
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_OK);
    return trainer;
}

/* Returns the last loss. */
static double train(sg_trainer *trainer, int steps) {
    sg_step_report report = {.loss = 0.0};
    batch b;
    const void *inputs[] = {b.ids, b.length, b.label};

    for (int64_t s = 0; s < steps; s++) {
        draw(s, &b);
        assert_int_equal(sg_trainer_step(trainer, 0, inputs, 2e-3, &report), SG_OK);
    }
    return report.loss;
}

static sg_inference *new_inference(sg_text_encoder_options *model, sg_trainer *trainer) {
    sg_inference_options o = {
        .build = sg_text_encoder_build, .context = model, .batch = kBatch, .workers = 1};
    sg_inference *f;

    assert_int_equal(sg_inference_create(&o, &f), SG_OK);
    assert_int_equal(sg_inference_set_values(f, sg_trainer_state(trainer)->values, NULL), SG_OK);
    return f;
}

static void answer(sg_inference *f, const batch *b, float p[kBatch][kClasses]) {
    const void *inputs[] = {b->ids, b->length};
    void *outputs[] = {p};

    assert_int_equal(sg_inference_run(f, 0, inputs, outputs), SG_OK);
}

static void test_learns(void **unused) {
    sg_text_encoder_options model = small();
    sg_trainer *trainer = new_trainer(&model, 2);
    float p[kBatch][kClasses];
    sg_inference *f;
    int right = 0;
    batch b;

    (void)unused;
    train(trainer, 200);
    f = new_inference(&model, trainer);
    for (int64_t s = 0; s < 4; s++) {
        draw(1000 + s, &b);
        answer(f, &b, p);
        for (int i = 0; i < kBatch; i++) right += (p[i][1] > p[i][0]) == b.label[i];
    }
    if (right < 95 * 4 * kBatch / 100) fail_msg("%d of %d", right, 4 * kBatch);
    sg_inference_destroy(f);
    sg_trainer_destroy(trainer);
}

static void test_same_bits(void **unused) {
    char hash[3][SG_STATE_HASH_BYTES];

    (void)unused;
    for (int i = 0; i < 3; i++) {
        sg_text_encoder_options model = small();
        sg_trainer *trainer = new_trainer(&model, 1 << i);

        train(trainer, 5);
        assert_int_equal(sg_state_sha256(sg_trainer_state(trainer), hash[i]), SG_OK);
        assert_string_equal(hash[i], hash[0]);
        sg_trainer_destroy(trainer);
    }
}

/* Of the same texts with other tokens after their ends, and of texts without any. */
static void test_beyond_the_length(void **unused) {
    sg_text_encoder_options model = small();
    sg_trainer *trainer = new_trainer(&model, 1);
    float p[kBatch][kClasses], again[kBatch][kClasses];
    sg_inference *f;
    batch b;

    (void)unused;
    train(trainer, 3);
    f = new_inference(&model, trainer);
    draw(7, &b);
    b.length[3] = b.length[5] = 0;
    answer(f, &b, p);
    for (int i = 0; i < kBatch; i++)
        for (int t = b.length[i]; t < kLength; t++) b.ids[i][t] = (i + t) % kVocabulary;
    answer(f, &b, again);
    assert_memory_equal(p, again, sizeof p);
    assert_memory_equal(p[3], p[5], sizeof p[3]);
    assert_true(p[3][0] > 0.0f && p[3][0] < 1.0f);
    sg_inference_destroy(f);
    sg_trainer_destroy(trainer);
}

/* A text's answer is the same in a batch of short texts and in one of long ones. */
static void test_any_length(void **unused) {
    sg_text_encoder_options model = small();
    sg_trainer *trainer = new_trainer(&model, 1);
    float p[kBatch][kClasses], again[kBatch][kClasses];
    sg_inference *f;
    batch b;

    (void)unused;
    train(trainer, 3);
    draw(7, &b);
    f = new_inference(&model, trainer);
    answer(f, &b, p);
    sg_inference_destroy(f);
    model.positions = kLength;
    for (int64_t T = 5; T <= kLength; T += 3) {
        int32_t ids[kBatch * kLength], length[kBatch];
        int seen = 0;

        model.length = T;
        for (int i = 0; i < kBatch; i++) {
            for (int64_t t = 0; t < T; t++) ids[i * T + t] = b.ids[i][t];
            length[i] = b.length[i] > T ? (int32_t)T : b.length[i];
        }
        f = new_inference(&model, trainer);
        assert_int_equal(sg_inference_run(f, 0, (const void *[]){ids, length}, (void *[]){again}),
                         SG_OK);
        for (int i = 0; i < kBatch; i++) {
            if (b.length[i] > T) continue; /* cut */
            seen++;
            for (int c = 0; c < kClasses; c++)
                if (!(fabsf(again[i][c] - p[i][c]) <= 1e-6f))
                    fail_msg("text %d of %d tokens: %.9g among %d, %.9g among %d", i, b.length[i],
                             (double)again[i][c], (int)T, (double)p[i][c], kLength);
        }
        assert_true(seen > 10);
        sg_inference_destroy(f);
    }
    sg_trainer_destroy(trainer);
}

static void test_gradient(void **unused) {
    enum { kFew = 4 };
    sg_text_encoder_options model = small();
    batch b;
    int32_t ids[kFew][kLength];

    (void)unused;
    draw(3, &b);
    b.length[0] = kLength;
    b.length[1] = 1;
    b.length[2] = 0;
    for (int i = 0; i < kFew; i++)
        for (int t = 0; t < kLength; t++) ids[i][t] = t < b.length[i] ? (i + t) % kVocabulary : -1;
    model.dropout = 0.0f;
    model.width = 8;
    check_whole_gradient(sg_text_encoder_build, &model, kFew,
                         (const void *[]){ids, b.length, b.label});
}

/* --- building it ------------------------------------------------------------------------------ */

static void check_parameters(const char *const *names, int n, int64_t want) {
    sg_text_encoder_options model = small();
    int64_t count = 0;
    sg_table *table;
    sg_graph *g;

    assert_int_equal(sg_table_create(&table), SG_OK);
    assert_int_equal(sg_graph_create(SG_TRAIN, table, &g), SG_OK);
    assert_int_equal(sg_text_encoder_build(g, 2, &model), SG_OK);
    for (int i = 0; i < n; i++)
        if (sg_table_find(table, names[i]) < 0) fail_msg("no parameter %s", names[i]);
    for (int i = 0; i < table->n_entries; i++) count += sg_shape_count(&table->entry[i].shape);
    assert_int_equal(count, want);
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

static void test_parameters(void **unused) {
    static const char *const names[] = {"embedding.token.weight",
                                        "embedding.position.weight",
                                        "encoder.0.norm1.weight",
                                        "encoder.0.norm1.bias",
                                        "encoder.0.attention.qkv.weight",
                                        "encoder.0.attention.qkv.bias",
                                        "encoder.0.attention.out.weight",
                                        "encoder.0.attention.out.bias",
                                        "encoder.0.norm2.weight",
                                        "encoder.0.norm2.bias",
                                        "encoder.0.mlp.up.weight",
                                        "encoder.0.mlp.up.bias",
                                        "encoder.0.mlp.down.weight",
                                        "encoder.0.mlp.down.bias",
                                        "encoder.1.mlp.down.bias",
                                        "encoder.norm.weight",
                                        "encoder.norm.bias",
                                        "classify.weight",
                                        "classify.bias"};
    const int64_t C = 32, layer = 12 * C * C + 13 * C;

    (void)unused;
    check_parameters(names, sizeof names / sizeof *names,
                     (kVocabulary + kLength) * C + 2 * layer + 2 * C + (C + 1) * kClasses);
}

/* Two matrices of 3 C columns and a norm a layer; no positions. */
static void test_parameters_of_cnn(void **unused) {
    static const char *const names[] = {
        "embedding.token.weight", "encoder.0.norm.weight", "encoder.0.norm.bias",
        "encoder.0.value.weight", "encoder.0.value.bias",  "encoder.0.gate.weight",
        "encoder.1.gate.bias",    "encoder.norm.weight",   "classify.bias"};
    const int64_t C = 32, layer = 2 * (3 * C * C + C) + 2 * C;

    (void)unused;
    check_parameters(names, sizeof names / sizeof *names,
                     kVocabulary * C + 2 * layer + 2 * C + (C + 1) * kClasses);
}

static void refused(sg_text_encoder_options o, const char *text) {
    assert_int_equal(sg_text_encoder_check(&o), SG_ERR_CONFIG);
    if (!strstr(sg_last_error(), text)) fail_msg("it says: %s", sg_last_error());
}

#define REFUSED(field, value, text)                                                                \
    do {                                                                                           \
        sg_text_encoder_options changed = small();                                                 \
        changed.field = value;                                                                     \
        refused(changed, text);                                                                    \
    } while (0)

static void test_options(void **unused) {
    sg_text_encoder_options o = sg_text_encoder_defaults();

    (void)unused;
    assert_int_equal(sg_text_encoder_check(&o), SG_OK);
    REFUSED(vocabulary, 0, "vocabulary is 0");
    REFUSED(length, -1, "length is -1");
    REFUSED(layers, 0, "layers is 0");
    REFUSED(width, (int64_t)1 << 40, "width is 1099511627776; 1 to");
    REFUSED(heads, 33, "heads is 33; 1 to 32");
    REFUSED(heads, 3, "width 32 cannot be divided into 3 heads");
    kind = SG_ENCODER_GATED_CNN;
    REFUSED(kernel, 0, "kernel is 0; 1 to 255");
    REFUSED(kernel, 4, "kernel 4 is even");
    REFUSED(kernel, 257, "kernel is 257");
    o.kind = SG_ENCODER_GATED_CNN;
    o.heads = 0; /* it has none */
    assert_int_equal(sg_text_encoder_check(&o), SG_OK);
    kind = SG_ENCODER_TRANSFORMER;
    REFUSED(classes, 0, "classes is 0");
    REFUSED(dropout, 1.0f, "dropout 1");
    REFUSED(dropout, -0.1f, "dropout -0.1");
}

static void test_no_memory(void **unused) {
    sg_text_encoder_options model = small();
    long live = sg_mem_live();

    (void)unused;
    FAIL_EACH_ALLOCATION(build_once(sg_text_encoder_build, &model), 100);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OF_BOTH(test_learns),
        OF_BOTH(test_gradient),
        OF_BOTH(test_same_bits),
        OF_BOTH(test_beyond_the_length),
        OF_BOTH(test_any_length),
        cmocka_unit_test_setup(test_parameters, of_transformer),
        cmocka_unit_test_setup(test_parameters_of_cnn, of_gated_cnn),
        cmocka_unit_test_setup(test_options, of_transformer),
        OF_BOTH(test_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
