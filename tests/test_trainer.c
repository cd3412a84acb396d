/* The engine end to end on the reference backend: a small classifier learns, and its bits depend on
 * neither threads nor the reuse of memory. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/model_file.h"
#include "checkpoint/state_hash.h"
#include "core/mem.h"
#include "core/philox.h"
#include "ops/ops.h"
#include "out_of_memory.h"
#include "spotgrad.h"
#include "train/inference.h"
#include "train/trainer.h"

enum { kBatch = 16, kSide = 8, kClasses = 3 };

static sg_status blobs(sg_graph *g, int64_t n, void *context) {
    sg_value *x = sg_input(g, "image", SG_F32, sg_shape_4(n, 1, kSide, kSide));
    sg_value *y;

    (void)context;
    x = sg_conv_norm_act(g, "conv1", x, 8, 3, 2, SG_ACT_SILU, NULL);
    y = sg_conv_norm_act(g, "conv2", x, 8, 3, 1, SG_ACT_RELU, x);
    x = sg_linear(g, "classify", sg_global_avg_pool(g, y), kClasses);
    sg_output(g, "probabilities", sg_softmax(g, x)); /* training leaves it out */
    if (sg_graph_mode(g) == SG_TRAIN)
        sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

/* A bright line: across, down, or aslant. */
static void draw(int64_t step, float *image, int32_t *label) {
    sg_random r = sg_random_init(sg_key_mix(7, (uint64_t)step));

    for (int i = 0; i < kBatch; i++) {
        float *x = image + i * kSide * kSide;
        int64_t at = sg_random_below(&r, kSide);

        label[i] = (int32_t)sg_random_below(&r, kClasses);
        for (int k = 0; k < kSide * kSide; k++) x[k] = sg_random_range(&r, 0.0f, 0.3f);
        for (int64_t k = 0; k < kSide; k++) {
            if (label[i] == 0) x[at * kSide + k] = 1.0f;
            if (label[i] == 1) x[k * kSide + at] = 1.0f;
            if (label[i] == 2) x[k * kSide + (at + k) % kSide] = 1.0f;
        }
    }
}

static void train(int threads, int shards, sg_optimizer_kind kind, int steps,
                  char hash[SG_STATE_HASH_BYTES], double *first, double *last) {
    sg_trainer_options o = sg_trainer_defaults();
    float image[kBatch * kSide * kSide];
    int32_t label[kBatch];
    const void *inputs[] = {image, label};
    sg_trainer *trainer;

    o.build = blobs;
    o.backend = &sg_backend_ref;
    o.batch = kBatch;
    o.shards = shards;
    o.threads = threads;
    o.optimizer.kind = kind;
    o.seed = 3;
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_OK);
    for (int64_t s = 0; s < steps; s++) {
        sg_step_report report;

        draw(s, image, label);
        assert_int_equal(
            sg_trainer_step(trainer, 0, inputs, kind == SG_OPTIMIZER_SGD ? 0.1 : 0.01, &report),
            SG_OK);
        if (s == 0) *first = report.loss;
        *last = report.loss;
        assert_true(report.grad_norm > 0.0);
        assert_true(report.sum[SG_SUM_NORMALISER] == (double)kBatch);
    }
    assert_int_equal(sg_trainer_state(trainer)->step, steps);
    assert_int_equal(sg_trainer_state(trainer)->samples, (int64_t)steps * kBatch);
    assert_int_equal(sg_state_sha256(sg_trainer_state(trainer), hash), SG_OK);
    sg_trainer_destroy(trainer);
}

static void learns(void **unused) {
    char hash[SG_STATE_HASH_BYTES];
    double first, last;

    (void)unused;
    train(1, 4, SG_OPTIMIZER_SGD, 80, hash, &first, &last);
    assert_true(last < 0.3 * first);
    train(1, 4, SG_OPTIMIZER_ADAMW, 80, hash, &first, &last);
    assert_true(last < 0.3 * first);
}

static void same_bits(void **unused) {
    char one[SG_STATE_HASH_BYTES], again[SG_STATE_HASH_BYTES];
    double first, last;

    (void)unused;
    for (int shards = 1; shards <= kBatch; shards *= 4) {
        train(1, shards, SG_OPTIMIZER_SGD, 5, one, &first, &last);
        for (int threads = 1; threads <= 5; threads += 2) {
            train(threads, shards, SG_OPTIMIZER_SGD, 5, again, &first, &last);
            assert_string_equal(one, again);
        }
    }
}

static void not_finite(void **unused) {
    sg_trainer_options o = sg_trainer_defaults();
    float image[kBatch * kSide * kSide];
    int32_t label[kBatch];
    const void *inputs[] = {image, label};
    char before[SG_STATE_HASH_BYTES], after[SG_STATE_HASH_BYTES];
    sg_step_report report;
    sg_trainer *trainer;

    (void)unused;
    o.build = blobs;
    o.backend = &sg_backend_ref;
    o.batch = kBatch;
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_OK);
    draw(0, image, label);
    image[5] = NAN;
    assert_int_equal(sg_state_sha256(sg_trainer_state(trainer), before), SG_OK);
    assert_int_equal(sg_trainer_step(trainer, 0, inputs, 0.1, &report), SG_ERR_DIVERGED);
    assert_int_equal(sg_state_sha256(sg_trainer_state(trainer), after), SG_OK);
    assert_string_equal(before, after);
    sg_trainer_destroy(trainer);
}

/* Inference with the statistics of one batch gives what training's forward pass gave. */
static void inference(void **unused) {
    sg_inference_options o;
    float image[4 * kSide * kSide], p[4 * kClasses];
    const void *inputs[] = {image};
    void *outputs[] = {p};
    sg_inference *f;
    sg_state *state;

    (void)unused;
    memset(&o, 0, sizeof o);
    o.build = blobs;
    o.backend = &sg_backend_ref;
    o.batch = 4;
    o.workers = 1;
    assert_int_equal(sg_inference_create(&o, &f), SG_OK);
    assert_int_equal(sg_state_create(sg_inference_table(f), 0, &state), SG_OK);
    sg_state_init(state, 1);
    assert_int_equal(sg_inference_run(f, 0, inputs, outputs), SG_ERR_ARG); /* no values yet */
    assert_int_equal(sg_inference_set_values(f, state->ema, NULL), SG_OK);
    for (int i = 0; i < 4 * kSide * kSide; i++) image[i] = 0.01f * (float)(i % 37);
    assert_int_equal(sg_inference_run(f, 0, inputs, outputs), SG_OK);
    for (int n = 0; n < 4; n++) {
        double sum = 0.0;

        for (int c = 0; c < kClasses; c++) sum += (double)p[n * kClasses + c];
        assert_true(fabs(sum - 1.0) <= 1e-5);
    }
    sg_state_destroy(state);
    sg_inference_destroy(f);
}

/* What a file holds is what the trainer's average gives. */
static void from_file(void **unused) {
    char name[] = "/tmp/spotgrad-trainer-XXXXXX";
    sg_inference_options o = {.build = blobs, .backend = &sg_backend_ref, .batch = kBatch};
    sg_trainer_options t = sg_trainer_defaults();
    float image[kBatch * kSide * kSide], p[2][kBatch * kClasses];
    int32_t label[kBatch];
    const void *inputs[] = {image, label};
    const sg_model_about about = {.epoch = 0};
    sg_step_report report;
    sg_trainer *trainer;
    sg_inference *f;
    int fd = mkstemp(name);

    (void)unused;
    assert_true(fd >= 0);
    close(fd);
    t.build = blobs;
    t.backend = &sg_backend_ref;
    t.batch = kBatch;
    assert_int_equal(sg_trainer_create(&t, &trainer), SG_OK);
    draw(0, image, label);
    assert_int_equal(sg_trainer_step(trainer, 0, inputs, 0.1, &report), SG_OK);
    assert_int_equal(sg_model_file_write(name, &about, sg_trainer_state(trainer)), SG_OK);
    assert_int_equal(sg_inference_create(&o, &f), SG_OK);
    assert_int_equal(sg_inference_load(f, "/tmp/no-such-folder/model.h5"), SG_ERR_MISSING);
    for (int i = 0; i < 2; i++) assert_int_equal(sg_inference_load(f, name), SG_OK);
    assert_int_equal(sg_inference_run(f, 0, inputs, (void *[]){p[0]}), SG_OK);
    assert_int_equal(sg_inference_set_values(f, sg_trainer_state(trainer)->ema, NULL), SG_OK);
    assert_int_equal(sg_inference_run(f, 0, inputs, (void *[]){p[1]}), SG_OK);
    assert_memory_equal(p[0], p[1], sizeof p[0]);
    sg_inference_destroy(f);
    sg_trainer_destroy(trainer);
    unlink(name);
}

static sg_status no_loss(sg_graph *g, int64_t n, void *context) {
    (void)context;
    sg_output(g, "y", sg_linear(g, "y", sg_input(g, "x", SG_F32, sg_shape_2(n, 3)), 2));
    return sg_graph_status(g);
}

/* --- batches of several shapes ---------------------------------------------------------------- */

enum { kShort = 3, kLong = 5, kWide = 4 };

/* Rows of numbers, of which each sample has some, classified by their mean; context: how many there
 * are room for. */
static sg_status rows(sg_graph *g, int64_t n, void *context) {
    int64_t T = *(const int64_t *)context;
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_3(n, T, kWide));
    sg_value *length = sg_input(g, "length", SG_I32, sg_shape_1(n));

    x = sg_linear_act(g, "hidden", x, 6, SG_ACT_SILU);
    x = sg_linear(g, "classify", sg_masked_mean(g, x, length), kClasses);
    sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

static sg_status rows_named_otherwise(sg_graph *g, int64_t n, void *context) {
    const char *name = *(const int64_t *)context == kShort ? "x" : "y";
    sg_value *x = sg_input(g, name, SG_F32, sg_shape_2(n, kWide));

    x = sg_linear(g, "classify", x, kClasses);
    sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

static sg_trainer_options shaped(sg_build_fn build, void *const *shapes, int n) {
    sg_trainer_options o = sg_trainer_defaults();

    o.build = build;
    o.shapes = shapes;
    o.n_shapes = n;
    o.backend = &sg_backend_ref;
    o.batch = kBatch;
    o.shards = 4;
    return o;
}

/* Every third batch is of long samples; `padded`: the others are given in the long shape too. */
static void train_shapes(int threads, bool padded, char hash[SG_STATE_HASH_BYTES]) {
    int64_t room[] = {kShort, kLong};
    void *const shapes[] = {&room[0], &room[1]};
    sg_trainer_options o = shaped(rows, padded ? shapes + 1 : shapes, padded ? 1 : 2);
    sg_trainer *trainer;

    o.threads = threads;
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_OK);
    for (int64_t s = 0; s < 9; s++) {
        int64_t T = s % 3 == 0 ? kLong : kShort, stride = padded ? kLong : T;
        float x[kBatch * kLong * kWide] = {0};
        int32_t length[kBatch], label[kBatch];
        sg_random r = sg_random_init(sg_key_mix(11, (uint64_t)s));
        sg_step_report report;

        for (int64_t n = 0; n < kBatch; n++) {
            length[n] = (int32_t)(1 + sg_random_below(&r, (uint64_t)T));
            label[n] = (int32_t)sg_random_below(&r, kClasses);
            for (int64_t i = 0; i < length[n] * kWide; i++)
                x[n * stride * kWide + i] = sg_random_range(&r, -1.0f, 1.0f);
        }
        assert_int_equal(sg_trainer_step(trainer, !padded && T == kLong,
                                         (const void *[]){x, length, label}, 0.1, &report),
                         SG_OK);
    }
    assert_int_equal(sg_trainer_step(trainer, 2, NULL, 0.1, &(sg_step_report){0}), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), padded ? "trainer: shape 2 of a batch; there are 1"
                                                : "trainer: shape 2 of a batch; there are 2");
    assert_int_equal(sg_state_sha256(sg_trainer_state(trainer), hash), SG_OK);
    sg_trainer_destroy(trainer);
}

/* A batch in a shape that just fits it gives what padding it gives: rows that do not count add
 * zeros to the gradient. */
static void shapes(void **unused) {
    char fitting[SG_STATE_HASH_BYTES], padded[SG_STATE_HASH_BYTES];
    int64_t room[] = {kShort, kLong};
    void *const contexts[] = {&room[0], &room[1]};
    sg_trainer_options o = shaped(rows_named_otherwise, contexts, 2);
    sg_trainer *trainer;

    (void)unused;
    train_shapes(1, true, padded);
    for (int threads = 1; threads <= 4; threads += 3) {
        train_shapes(threads, false, fitting);
        assert_string_equal(fitting, padded);
    }
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "input y: it is x in another shape of the batch");
}

static void bad_options(void **unused) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer = NULL;

    (void)unused;
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_ERR_ARG);
    o.build = blobs;
    o.batch = 10;
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_ERR_ARG);
    assert_non_null(strstr(sg_last_error(), "10 cannot be divided into 8"));
    o.build = no_loss;
    o.batch = 16;
    assert_int_equal(sg_trainer_create(&o, &trainer), SG_ERR_ARG);
    assert_string_equal(sg_last_error(), "trainer: the model calls no sg_loss");
}

static void no_memory(void **unused) {
    sg_trainer_options o = sg_trainer_defaults();
    long live = sg_mem_live();
    sg_trainer *trainer;

    (void)unused;
    o.build = blobs;
    o.backend = &sg_backend_ref;
    o.batch = 8;
    o.threads = 2;
    FAIL_EACH_ALLOCATION(sg_trainer_create(&o, &trainer), 100);
    sg_trainer_destroy(trainer);
    assert_int_equal(sg_mem_live(), live);
}

static void no_memory_for_inference(void **unused) {
    sg_inference_options o = {.build = blobs, .backend = &sg_backend_ref, .batch = 4, .workers = 3};
    long live = sg_mem_live();
    sg_inference *f;

    (void)unused;
    FAIL_EACH_ALLOCATION(sg_inference_create(&o, &f), 50);
    sg_inference_destroy(f);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns),      cmocka_unit_test(same_bits),
        cmocka_unit_test(not_finite),  cmocka_unit_test(inference),
        cmocka_unit_test(bad_options), cmocka_unit_test(no_memory),
        cmocka_unit_test(from_file),   cmocka_unit_test(no_memory_for_inference),
        cmocka_unit_test(shapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
