/* Texts on the CUDA backend, under the emulation of a GPU, beyond the cases of test_cuda_ops:
 * training steps of both text encoders, and of masked tokens, beside the CPU's, and data that a
 * device cannot refuse. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend_cuda.h"
#include "checkpoint/state_hash.h"
#include "core/philox.h"
#include "emulation/emulation.h"
#include "encoder_kinds.h"
#include "graph/program.h"
#include "masked_texts.h"
#include "nn/text_encoder.h"
#include "spotgrad.h"
#include "train/trainer.h"

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != SG_OK) fail_msg("%s: %s", #expr, sg_last_error());                           \
    } while (0)

/* --- training --------------------------------------------------------------------------------- */

enum { kBatch = 4, kLength = 9, kShort = 5, kVocabulary = 7, kClasses = 3, kSteps = 4 };

typedef struct {
    int32_t ids[kBatch][kLength], length[kBatch], label[kBatch];
} batch;

static void draw(int64_t step, batch *b) {
    sg_random r = sg_random_init(sg_key_mix(5, (uint64_t)step));

    for (int i = 0; i < kBatch; i++) {
        b->length[i] = (int32_t)sg_random_below(&r, kLength + 1);
        b->label[i] = (int32_t)sg_random_below(&r, kClasses);
        for (int t = 0; t < kLength; t++)
            b->ids[i][t] = t < b->length[i] ? (int32_t)sg_random_below(&r, kVocabulary) : -1;
    }
}

static sg_text_encoder_options small(void) {
    sg_text_encoder_options o = sg_text_encoder_defaults();

    o.kind = kind;
    o.vocabulary = kVocabulary;
    o.length = kLength;
    o.layers = 1;
    o.width = 16;
    o.heads = 2;
    o.classes = kClasses;
    return o;
}

/* `model` NULL: of two shapes, the short one first. */
static sg_trainer *new_trainer(sg_text_encoder_options *model, const sg_backend *backend) {
    sg_text_encoder_options shape[] = {small(), small()};
    void *const shapes[] = {&shape[0], &shape[1]};
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer;

    shape[0].length = kShort;
    for (int i = 0; i < 2; i++) shape[i].positions = kLength;
    o.build = sg_text_encoder_build;
    o.context = model;
    if (!model) {
        o.shapes = shapes;
        o.n_shapes = 2;
    }
    o.backend = backend;
    o.batch = kBatch;
    o.shards = 2;
    OK(sg_trainer_create(&o, &trainer));
    return trainer;
}

/* A step on the CPU and on CUDA must say the same. */
static void step_both(sg_trainer *const on[2], const void *const inputs[], double tolerance) {
    sg_step_report report[2];

    for (int i = 0; i < 2; i++) OK(sg_trainer_step(on[i], 0, inputs, 0.05, &report[i]));
    if (!(fabs(report[1].loss - report[0].loss) <= tolerance * (1.0 + report[0].loss)))
        fail_msg("step %d: loss %g, on the CPU %g", (int)sg_trainer_state(on[0])->step,
                 report[1].loss, report[0].loss);
}

/* And lead to the same parameters. */
static void compare_and_destroy(sg_trainer *const on[2], double tolerance) {
    double off = 0.0, size = 0.0;
    int64_t n = sg_trainer_table(on[0])->n_params;

    OK(sg_trainer_fetch(on[1]));
    for (int64_t i = 0; i < n; i++) {
        double want = (double)sg_trainer_state(on[0])->values[i];

        off += pow((double)sg_trainer_state(on[1])->values[i] - want, 2.0);
        size += want * want;
    }
    if (!(sqrt(off) <= tolerance * sqrt(size)))
        fail_msg("parameters differ by %g of %g", sqrt(off), sqrt(size));
    for (int i = 0; i < 2; i++) sg_trainer_destroy(on[i]);
}

static void check_steps(sg_cuda_precision precision, double tolerance) {
    sg_text_encoder_options model = small();
    sg_trainer *on[2];
    batch b;

    sg_cuda_use(precision, NULL);
    on[0] = new_trainer(&model, &sg_backend_cpu);
    on[1] = new_trainer(&model, &sg_backend_cuda);
    for (int64_t s = 0; s < kSteps; s++) {
        draw(s, &b);
        step_both(on, (const void *[]){b.ids, b.length, b.label}, tolerance);
    }
    compare_and_destroy(on, tolerance);
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

static void check_masked_steps(sg_cuda_precision precision, double tolerance) {
    sg_masked_tokens_options model = masked_options(kind);
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *on[2];
    masked_batch b;

    sg_cuda_use(precision, NULL);
    model.encoder.layers = 1;
    model.encoder.dropout = 0.1f;
    o.build = sg_masked_tokens_build;
    o.context = &model;
    o.batch = kBatch;
    o.shards = 2;
    OK(masked_batch_init(kBatch, &b));
    for (int i = 0; i < 2; i++) {
        o.backend = i ? &sg_backend_cuda : &sg_backend_cpu;
        OK(sg_trainer_create(&o, &on[i]));
    }
    for (int64_t s = 0; s < kSteps; s++) {
        masked_draw(&b, kBatch, kBatch / o.shards, s);
        step_both(on, b.inputs, tolerance);
    }
    compare_and_destroy(on, tolerance);
    sg_text_rows_clear(&b.rows);
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

static void test_steps(void **state) {
    (void)state;
    check_steps(SG_CUDA_FP32, 1e-5);
}

static void test_steps_bf16(void **state) {
    (void)state;
    check_steps(SG_CUDA_BF16, 1e-2);
}

static void test_masked_steps(void **state) {
    (void)state;
    check_masked_steps(SG_CUDA_FP32, 1e-5);
}

static void test_masked_steps_bf16(void **state) {
    (void)state;
    check_masked_steps(SG_CUDA_BF16, 1e-2);
}

/* Seven steps of two shapes by turns. */
static void train_shapes(const sg_backend *backend, double loss[7],
                         char hash[SG_STATE_HASH_BYTES]) {
    sg_trainer *trainer = new_trainer(NULL, backend);

    for (int64_t s = 0; s < 7; s++) {
        int32_t ids[kBatch * kLength];
        int64_t T = s % 2 == 0 ? kShort : kLength;
        sg_step_report report;
        batch b;

        draw(s, &b);
        for (int i = 0; i < kBatch; i++) {
            if (b.length[i] > T) b.length[i] = (int32_t)T;
            memcpy(ids + i * T, b.ids[i], (size_t)T * sizeof *ids);
        }
        OK(sg_trainer_step(trainer, T == kLength, (const void *[]){ids, b.length, b.label}, 0.05,
                           &report));
        loss[s] = report.loss;
    }
    OK(sg_trainer_fetch(trainer));
    OK(sg_state_sha256(sg_trainer_state(trainer), hash));
    sg_trainer_destroy(trainer);
}

/* On the device each shape has a recording of its own; the state is one. */
static void test_shapes(void **state) {
    char recorded[SG_STATE_HASH_BYTES], plain[SG_STATE_HASH_BYTES], here[SG_STATE_HASH_BYTES];
    double loss[3][7];

    (void)state;
    train_shapes(&sg_backend_cuda, loss[0], recorded);
    setenv("SG_CUDA_GRAPH", "0", 1);
    train_shapes(&sg_backend_cuda, loss[1], plain);
    unsetenv("SG_CUDA_GRAPH");
    assert_string_equal(recorded, plain);
    train_shapes(&sg_backend_cpu, loss[2], here);
    for (int s = 0; s < 7; s++)
        if (!(fabs(loss[0][s] - loss[2][s]) <= 1e-5 * (1.0 + loss[2][s])))
            fail_msg("step %d: loss %g, on the CPU %g", s, loss[0][s], loss[2][s]);
}

/* An id that the table has not gives the step up, and leaves the state as it was. */
static void test_bad_id(void **state) {
    sg_text_encoder_options model = small();
    sg_trainer *trainer = new_trainer(&model, &sg_backend_cuda);
    sg_step_report report;
    batch b;
    const void *inputs[] = {b.ids, b.length, b.label};

    (void)state;
    draw(0, &b);
    b.length[1] = kLength;
    b.ids[1][2] = kVocabulary;
    assert_int_equal(sg_trainer_step(trainer, 0, inputs, 0.05, &report), SG_ERR_DIVERGED);
    assert_int_equal(sg_trainer_state(trainer)->step, 0);
    sg_trainer_destroy(trainer);
}

/* --- one op ----------------------------------------------------------------------------------- */

/* y of attention (2, 3, 3 C) with these lengths, C = 4; and its gradient for dy = y. */
static void attend(const int32_t length[2], float y[2 * 3 * 4], float dx[2 * 3 * 12]) {
    float x[2 * 3 * 12];
    sg_bindings b = {.input = {x, length}, .output = {y, dx}};
    sg_value *in[2], *o;
    sg_program *p;
    sg_graph *g;

    for (int i = 0; i < 2 * 3 * 12; i++) x[i] = 0.1f * (float)(i % 7);
    OK(sg_graph_create(SG_TRAIN, NULL, &g));
    in[0] = sg_input(g, "x", SG_F32, sg_shape_3(2, 3, 12));
    in[1] = sg_input(g, "length", SG_I32, sg_shape_1(2));
    o = sg_attention(g, in[0], in[1], 2);
    assert_non_null(o);
    sg_output(g, "y", o);
    sg_output(g, "dx", sg_attention_dx(g, in[0], in[1], o, &o->node->out[1], o, 2));
    OK(sg_program_compile(g, &sg_backend_cuda, NULL, &p));
    OK(sg_program_run_once(p, &b));
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

static void test_bad_length(void **state) {
    static const int32_t lengths[][2] = {{2, 4}, {2, -1}};
    float y[2 * 3 * 4], dx[2 * 3 * 12];

    (void)state;
    for (int k = 0; k < 2; k++) {
        attend(lengths[k], y, dx);
        for (int i = 0; i < 2 * 3 * 4; i++) assert_true(isnan(y[i]) == (i >= 3 * 4));
        for (int i = 0; i < 2 * 3 * 12; i++) assert_true(isnan(dx[i]) == (i >= 3 * 12));
    }
}

static void test_wide_heads(void **state) {
    sg_program *p;
    sg_graph *g;

    (void)state;
    OK(sg_graph_create(SG_TRAIN, NULL, &g));
    sg_output(g, "y",
              sg_attention(g, sg_input(g, "x", SG_F32, sg_shape_3(1, 1, 3 * 129)), NULL, 1));
    assert_int_equal(sg_program_compile(g, &sg_backend_cuda, NULL, &p), SG_ERR_UNSUPPORTED);
    assert_non_null(
        strstr(sg_last_error(), "heads of 129 channels; cuda's attention takes at most 128"));
    sg_graph_destroy(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        OF_BOTH(test_steps),
        OF_BOTH(test_steps_bf16),
        OF_BOTH(test_masked_steps),
        OF_BOTH(test_masked_steps_bf16),
        OF_BOTH(test_shapes),
        cmocka_unit_test_setup(test_bad_id, of_transformer),
        cmocka_unit_test(test_bad_length),
        cmocka_unit_test(test_wide_heads),
    };

    sg_emulation_guard();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
