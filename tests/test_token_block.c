/* A block of a transformer without its attention (token_block.h): it learns, and its bits depend on
 * neither threads nor an interruption; dropout's masks are functions of what they are for. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>

#include "graph/program.h"
#include "ops/ops.h"
#include "token_block.h"

/* --- training --------------------------------------------------------------------------------- */

static const sg_backend *const backends[] = {&sg_backend_ref, &sg_backend_cpu};

static void hash_after(const sg_backend *backend, int threads, uint64_t seed, int steps,
                       char hash[SG_STATE_HASH_BYTES]) {
    sg_trainer *t = token_trainer(backend, threads, seed, false);

    train_tokens(t, steps, NULL);
    assert_int_equal(sg_state_sha256(sg_trainer_state(t), hash), SG_OK);
    sg_trainer_destroy(t);
}

static void test_learns(void **state) {
    enum { kSteps = 150 };
    double loss[kSteps], first = 0.0, last = 0.0;
    sg_trainer *t = token_trainer(&sg_backend_cpu, 1, 1, false);

    (void)state;
    train_tokens(t, kSteps, loss);
    for (int i = 0; i < 10; i++) {
        first += loss[i] / 10.0;
        last += loss[kSteps - 1 - i] / 10.0;
    }
    if (!(last < 0.4 * first)) fail_msg("the loss went from %g to %g", first, last);
    sg_trainer_destroy(t);
}

static void test_threads(void **state) {
    char one[SG_STATE_HASH_BYTES], many[SG_STATE_HASH_BYTES];

    (void)state;
    for (int b = 0; b < 2; b++) {
        hash_after(backends[b], 1, 3, 6, one);
        for (int threads = 2; threads <= 4; threads *= 2) {
            hash_after(backends[b], threads, 3, 6, many);
            assert_string_equal(one, many);
        }
        hash_after(backends[b], 1, 4, 6, many);
        assert_string_not_equal(one, many);
    }
}

/* What a checkpoint keeps is enough: the masks go on where they were. */
static void test_resume(void **state) {
    char whole[SG_STATE_HASH_BYTES], resumed[SG_STATE_HASH_BYTES];

    (void)state;
    for (int b = 0; b < 2; b++) {
        sg_trainer *before = token_trainer(backends[b], 2, 3, false), *after;

        hash_after(backends[b], 1, 3, 7, whole);
        train_tokens(before, 3, NULL);
        after = token_trainer(backends[b], 1, 3, true);
        copy_state(after, before);
        sg_trainer_destroy(before);
        train_tokens(after, 4, NULL);
        assert_int_equal(sg_state_sha256(sg_trainer_state(after), resumed), SG_OK);
        assert_string_equal(whole, resumed);
        sg_trainer_destroy(after);
    }
}

/* --- masks ------------------------------------------------------------------------------------ */

enum { kElements = 20011 };

/* The masks of two dropouts of ones in one graph. */
static void masks(const sg_backend *backend, uint64_t key, int32_t shard, float *first,
                  float *second) {
    static float ones[kElements];
    float step[SG_STEP_SLOTS] = {0.0f};
    sg_bindings b = {.input = {ones}, .output = {first, second}, .info = {shard}};
    sg_program *p;
    sg_value *x;
    sg_graph *g;

    for (int i = 0; i < kElements; i++) ones[i] = 1.0f;
    memcpy(&step[SG_STEP_KEY], &key, sizeof key);
    b.base[SG_BUF_STEP] = step;
    assert_int_equal(sg_graph_create(SG_TRAIN, NULL, &g), SG_OK);
    x = sg_input(g, "x", SG_F32, sg_shape_1(kElements));
    sg_output(g, "first", sg_dropout(g, x, 0.3f));
    sg_output(g, "second", sg_dropout(g, x, 0.3f));
    assert_int_equal(sg_program_compile(g, backend, NULL, &p), SG_OK);
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

/* Of independent masks 0.3^2 + 0.7^2 = 0.58 of the elements agree, give or take five deviations. */
static void expect_independent(const float *a, const float *b) {
    double agree = 0.0, deviation = sqrt(0.58 * 0.42 / kElements);

    for (int i = 0; i < kElements; i++) agree += (double)((a[i] == 0.0f) == (b[i] == 0.0f));
    agree /= kElements;
    if (!(fabs(agree - 0.58) <= 5.0 * deviation)) fail_msg("%g of the elements agree", agree);
}

static void test_masks(void **state) {
    static float first[kElements], second[kElements], other[kElements], unused[kElements];
    const uint64_t key = sg_key_mix(1, 2), next = sg_key_mix(1, 3);
    double kept = 0.0;

    (void)state;
    masks(&sg_backend_ref, key, 0, first, second);
    for (int i = 0; i < kElements; i++) {
        assert_true(first[i] == 0.0f || first[i] == (float)(1.0 / (1.0 - (double)0.3f)));
        kept += (double)(first[i] != 0.0f) / kElements;
    }
    assert_true(fabs(kept - 0.7) <= 5.0 * sqrt(0.3 * 0.7 / kElements));
    expect_independent(first, second); /* another name */
    masks(&sg_backend_ref, next, 0, other, unused);
    expect_independent(first, other); /* another step */
    masks(&sg_backend_ref, key, 1, other, unused);
    expect_independent(first, other); /* another shard */
    masks(&sg_backend_cpu, key, 0, other, unused);
    assert_memory_equal(first, other, sizeof first);
    assert_memory_equal(second, unused, sizeof second);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_masks),
    };

    return cmocka_run_group_tests_name("a block of tokens", tests, NULL, NULL);
}
