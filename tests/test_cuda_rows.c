/* Tables of rows on the CUDA backend, under the emulation of a GPU: trainings agree with the CPU's,
 * and their bits depend neither on recordings nor on how the state goes to and fro. */
#include "trainer_fixture.h"

#include "backend_cuda.h"
#include "emulation/emulation.h"
#include "bag_model.h"
#include "ops/ops.h"
#include "out_of_memory.h"
#include "train/inference.h"

static const sg_rows_rule kRules[] = {SG_ROWS_SGD, SG_ROWS_ADAGRAD, SG_ROWS_ADAGRAD_ROW};

static sg_trainer *new_trainer(const sg_backend *backend, sg_rows_rule rule, int shards) {
    sg_trainer_options o = bag_trainer(backend, rule, shards, 1);
    sg_trainer *t;

    CHECK_OK(sg_trainer_create(&o, &t));
    return t;
}

static double steps(sg_trainer *t, int n) {
    double loss = 0.0;

    for (int i = 0; i < n; i++) CHECK_OK(bag_step(t, &loss));
    return loss;
}

static void check_parity(sg_rows_rule rule, double within) {
    sg_trainer *a = new_trainer(&sg_backend_cuda, rule, 4);
    sg_trainer *b = new_trainer(&sg_backend_ref, rule, 4);
    const sg_state *x = sg_trainer_state(a), *y = sg_trainer_state(b);
    int64_t n = x->table->n_rows, sums = sg_table_rows_sum(x->table, rule);
    float *start = sg_calloc((size_t)n, sizeof *start);
    double apart;

    assert_non_null(start);
    memcpy(start, y->rows, (size_t)n * sizeof *start);
    for (int i = 0; i < 10; i++) {
        double got = steps(a, 1), want = steps(b, 1);

        assert_true(fabs(got - want) <= within * fabs(want));
    }
    CHECK_OK(sg_trainer_fetch(a));
    apart = distance(x->rows, y->rows, start, n);
    if (!(apart <= within)) fail_msg("rule %d: rows %g apart", (int)rule, apart);
    memset(start, 0, (size_t)n * sizeof *start);
    if (sums > 0) apart = distance(x->rows_sum, y->rows_sum, start, sums);
    if (!(apart <= within)) fail_msg("rule %d: sums %g apart", (int)rule, apart);
    sg_free(start);
    sg_trainer_destroy(a);
    sg_trainer_destroy(b);
}

static void parity(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) check_parity(kRules[i], 1e-4);
    sg_cuda_use(SG_CUDA_BF16, NULL);
    check_parity(SG_ROWS_ADAGRAD, 0.1);
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

/* --- bits ------------------------------------------------------------------------------------- */

enum { kBitSteps = 8 }; /* each shape plainly, recorded, and replayed after the other */

static void recorded_or_not(void **state) {
    char plain[SG_STATE_HASH_BYTES], recorded[SG_STATE_HASH_BYTES];
    sg_device device = without_recordings(&sg_cuda_device);
    sg_backend backend = sg_backend_cuda;

    (void)state;
    backend.device = &device;
    for (int i = 0; i < 3; i++) {
        sg_trainer *t = new_trainer(&backend, kRules[i], 2);

        (void)steps(t, kBitSteps);
        finish(t, plain);
        t = new_trainer(&sg_backend_cuda, kRules[i], 2);
        (void)steps(t, kBitSteps);
        finish(t, recorded);
        assert_string_equal(plain, recorded);
    }
}

/* Launched ahead, and the state by a snapshot. */
static void ahead(void **state) {
    char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
    sg_trainer *t = new_trainer(&sg_backend_cuda, SG_ROWS_ADAGRAD, 2);
    sg_step_report report;

    (void)state;
    (void)steps(t, 6);
    finish(t, want);
    t = new_trainer(&sg_backend_cuda, SG_ROWS_ADAGRAD, 2);
    for (int i = 0; i < 6; i++) {
        int shape = bag_shape_at(i);

        if (sg_trainer_under_way(t) == sg_trainer_ahead(t)) CHECK_OK(sg_trainer_settle(t, &report));
        CHECK_OK(sg_trainer_launch(t, shape, draw_bags(i, shape ? kLong : kShort), 0.05));
    }
    CHECK_OK(sg_trainer_snapshot(t));
    while (sg_trainer_under_way(t) > 0) CHECK_OK(sg_trainer_settle(t, &report));
    CHECK_OK(sg_state_sha256(sg_trainer_state(t), got));
    assert_string_equal(want, got);
    sg_trainer_destroy(t);
}

static void resume(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
        sg_trainer *t = new_trainer(&sg_backend_cuda, kRules[i], 2);
        sg_trainer *u = new_trainer(&sg_backend_cuda, kRules[i], 2);

        (void)steps(u, 3);
        (void)steps(t, 4);
        CHECK_OK(sg_trainer_fetch(t));
        copy_state(sg_trainer_state(t), sg_trainer_state(u));
        CHECK_OK(sg_trainer_store(u));
        (void)steps(t, 3);
        (void)steps(u, 3);
        finish(t, want);
        finish(u, got);
        assert_string_equal(want, got);
    }
}

/* --- steps that fail -------------------------------------------------------------------------- */

/* An id that the table has not, at a step that would have been fine. */
static void diverge(sg_trainer *t) {
    int64_t step = sg_trainer_state(t)->step;
    int shape = bag_shape_at(step);
    const void *const *inputs = draw_bags(step, shape ? kLong : kShort);
    sg_step_report report;

    bag_ids[3] = kRows;
    assert_int_equal(sg_trainer_step(t, shape, inputs, 0.05, &report), SG_ERR_DIVERGED);
}

static void diverged(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
        sg_trainer *t = new_trainer(&sg_backend_cuda, kRules[i], 4);

        (void)steps(t, 4);
        finish(t, want);
        t = new_trainer(&sg_backend_cuda, kRules[i], 4);
        diverge(t);
        (void)steps(t, 3);
        diverge(t);
        (void)steps(t, 1);
        diverge(t);
        finish(t, got);
        assert_string_equal(want, got);
    }
}

/* A source that is not finite, though no gradient is. */
static void source_diverged(void **state) {
    sg_trainer *t = new_trainer(&sg_backend_cuda, SG_ROWS_ADAGRAD, 4);
    sg_state *s = sg_trainer_state(t);
    const sg_entry *e = &s->table->entry[sg_table_find(s->table, "classify.weight")];
    char before[SG_STATE_HASH_BYTES], after[SG_STATE_HASH_BYTES];
    double loss;

    (void)state;
    memset(s->rows, 0, (size_t)s->table->n_rows * sizeof(float));
    for (int64_t k = 0; k < e->count; k++) s->values[e->offset + k] = k % 2 ? 3e38f : -3e38f;
    CHECK_OK(sg_trainer_store(t));
    CHECK_OK(sg_state_sha256(s, before));
    assert_int_equal(bag_step(t, &loss), SG_ERR_DIVERGED);
    finish(t, after);
    assert_string_equal(before, after);
}

/* --- inference -------------------------------------------------------------------------------- */

static void infers(void **state) {
    sg_inference_options o = {.build = build_bags, .context = &bag_short, .batch = kBatch};
    const sg_backend *const backends[] = {&sg_backend_cuda, &sg_backend_ref};
    sg_trainer *t = new_trainer(&sg_backend_cuda, SG_ROWS_SGD, 2);
    float p[3][kBatch * kClasses];
    const void *const *inputs;
    const sg_state *s = sg_trainer_state(t);
    sg_inference *f;

    (void)state;
    (void)steps(t, 3);
    CHECK_OK(sg_trainer_fetch(t));
    inputs = draw_bags(9, kShort);
    for (int i = 0; i < 2; i++) {
        o.backend = backends[i];
        CHECK_OK(sg_inference_create(&o, &f));
        CHECK_OK(sg_inference_set_values(f, s->ema, s->rows));
        CHECK_OK(sg_inference_run(f, 0, inputs, (void *[]){p[i]}));
        if (i == 0) {
            CHECK_OK(sg_inference_use_values(f, sg_trainer_averages(t), sg_trainer_rows(t)));
            CHECK_OK(sg_inference_run(f, 0, inputs, (void *[]){p[2]}));
        }
        sg_inference_destroy(f);
    }
    assert_memory_equal(p[0], p[2], sizeof p[0]);
    for (int i = 0; i < kBatch * kClasses; i++)
        assert_true(fabs((double)p[0][i] - (double)p[1][i]) <= 1e-5);
    sg_trainer_destroy(t);
}

static void no_memory(void **state) {
    sg_trainer_options o = bag_trainer(&sg_backend_cuda, SG_ROWS_ADAGRAD, 2, 1);
    long live = sg_mem_live();
    sg_trainer *t;

    (void)state;
    FAIL_EACH_ALLOCATION(sg_trainer_create(&o, &t), 100);
    sg_trainer_destroy(t);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parity),   cmocka_unit_test(recorded_or_not),
        cmocka_unit_test(ahead),    cmocka_unit_test(resume),
        cmocka_unit_test(diverged), cmocka_unit_test(source_diverged),
        cmocka_unit_test(infers),   cmocka_unit_test(no_memory),
    };

    sg_emulation_guard();
    return cmocka_run_group_tests_name("cuda rows", tests, NULL, NULL);
}
