/* The text classifier on the CUDA backend, under the emulation of a GPU: it learns what it learns
 * on the CPU, by the same losses, and leaves a given bag alone. */
#include "classifier_model.h"

#include "backend_cuda.h"

enum { kSteps = 40 };

/* Tolerances: of losses, relative; of `distance`. */
typedef struct {
    double loss, state;
} tolerance;

static void check_distance(const char *what, kind k, const float *a, const float *b,
                           const float *start, int64_t n, double within) {
    double apart = n > 0 ? distance(a, b, start, n) : 0.0;

    if (!(apart <= within)) fail_msg("kind %d: %s %g apart", (int)k, what, apart);
}

/* Some steps on both: losses, values and rows. By SGD: AdamW makes a step of a gradient that is
 * nearly zero (the keys' biases), whichever sign it has. */
static void check_parity(kind k, tolerance within) {
    sg_text_classifier_options o = classifier(k, kTasks);
    sg_trainer *a = new_trainer(&o, &sg_backend_cuda, SG_OPTIMIZER_SGD, 1);
    sg_trainer *b = new_trainer(&o, &sg_backend_ref, SG_OPTIMIZER_SGD, 1);
    const sg_state *x = sg_trainer_state(a), *y = sg_trainer_state(b);
    float *values = copy_floats(y->values, y->table->n_values);
    float *rows = copy_floats(y->rows, y->table->n_rows);

    for (int i = 0; i < 6; i++) {
        double got = step(a, k, kTasks, 2e-3), want = step(b, k, kTasks, 2e-3);

        if (!(fabs(got - want) <= within.loss * fabs(want)))
            fail_msg("kind %d, step %d: loss %.9g, on the CPU %.9g", (int)k, i, got, want);
    }
    CHECK_OK(sg_trainer_fetch(a));
    check_distance("values", k, x->values, y->values, values, y->table->n_values, within.state);
    if (k != kKept && k != kEncoder)
        check_distance("rows", k, x->rows, y->rows, rows, y->table->n_rows, within.state);
    sg_free(values);
    sg_free(rows);
    sg_trainer_destroy(a);
    sg_trainer_destroy(b);
}

static void parity(void **state) {
    (void)state;
    for (int k = 0; k < kKinds; k++) check_parity((kind)k, (tolerance){1e-5, 1e-3});
}

static void parity_bf16(void **state) {
    (void)state;
    sg_cuda_use(SG_CUDA_BF16, NULL);
    for (int k = 0; k < kKinds; k++) check_parity((kind)k, (tolerance){3e-2, 0.3});
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

/* Trained there, it answers rightly; and the CPU the same from its values. */
static void learns(void **state) {
    (void)state;
    for (int k = 0; k < kKinds; k++) {
        sg_text_classifier_options o = classifier((kind)k, kTasks);
        sg_trainer *t = new_trainer(&o, &sg_backend_cuda, SG_OPTIMIZER_ADAMW, 1), *here;
        float p[2][kBatch * kClasses];
        double first = step(t, (kind)k, kTasks, kRate), last = first;
        texts b;

        for (int i = 1; i < kSteps; i++) last = step(t, (kind)k, kTasks, kRate);
        if (!(last < 0.7 * first)) fail_msg("kind %d: loss %g, then %g", k, first, last);
        CHECK_OK(sg_trainer_fetch(t));
        here = new_trainer(&o, &sg_backend_ref, SG_OPTIMIZER_ADAMW, 1);
        copy_state(sg_trainer_state(t), sg_trainer_state(here));
        draw_texts(1000, kTasks, &b);
        answer(&o, t, (kind)k, &b, p[0]);
        answer(&o, here, (kind)k, &b, p[1]);
        assert_int_equal(check_answers(&b, kTasks, p[0]), kBatch);
        for (int i = 0; i < kBatch * kClasses; i++)
            assert_true(fabs((double)p[0][i] - (double)p[1][i]) <= 1e-5);
        sg_trainer_destroy(t);
        sg_trainer_destroy(here);
    }
}

static void keeps_its_bag(void **state) {
    (void)state;
    for (int k = kKept; k <= kAllKept; k++) {
        sg_text_classifier_options o = classifier((kind)k, kTasks);
        sg_trainer *t = new_trainer(&o, &sg_backend_cuda, SG_OPTIMIZER_ADAMW, 1);
        const float *table;
        float *before;
        int64_t n;

        table = bag_table(t, &n);
        before = copy_floats(table, n);
        for (int i = 0; i < 5; i++) (void)step(t, (kind)k, kTasks, kRate);
        CHECK_OK(sg_trainer_fetch(t));
        assert_memory_equal(before, table, (size_t)n * sizeof *before);
        sg_free(before);
        sg_trainer_destroy(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parity),
        cmocka_unit_test(parity_bf16),
        cmocka_unit_test(learns),
        cmocka_unit_test(keeps_its_bag),
    };

    return cmocka_run_group_tests_name("cuda text classifier", tests, NULL, NULL);
}
