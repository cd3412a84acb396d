/* The block of token_block.h on the CUDA trainer, under the emulation of a GPU: its losses are the
 * CPU's, which they are only with the CPU's masks, in each step anew although the step was recorded
 * once; and its bits are the same after an interruption. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>

#include "backend_cuda.h"
#include "emulation/emulation.h"
#include "token_block.h"

enum { kSteps = 6 };

static void losses(const sg_backend *backend, uint64_t seed, double loss[kSteps],
                   char hash[SG_STATE_HASH_BYTES]) {
    sg_trainer *t = token_trainer(backend, 1, seed, false);

    train_tokens(t, kSteps, loss);
    assert_int_equal(sg_state_sha256(sg_trainer_state(t), hash), SG_OK);
    sg_trainer_destroy(t);
}

/* The largest relative difference of the losses of a step. */
static double apart(const double a[kSteps], const double b[kSteps]) {
    double most = 0.0;

    for (int i = 0; i < kSteps; i++) most = fmax(most, fabs(a[i] - b[i]) / fabs(b[i]));
    return most;
}

static void test_losses(void **state) {
    double cpu[kSteps], cuda[kSteps], other[kSteps];
    char hash[SG_STATE_HASH_BYTES];

    (void)state;
    losses(&sg_backend_cpu, 3, cpu, hash);
    losses(&sg_backend_cuda, 3, cuda, hash);
    if (!(apart(cuda, cpu) <= 1e-4)) fail_msg("losses differ by %g", apart(cuda, cpu));
    sg_cuda_use(SG_CUDA_BF16, NULL);
    losses(&sg_backend_cuda, 3, cuda, hash);
    sg_cuda_use(SG_CUDA_FP32, NULL);
    if (!(apart(cuda, cpu) <= 0.02)) fail_msg("losses differ by %g in bf16", apart(cuda, cpu));
    /* what another mask would have done */
    losses(&sg_backend_cpu, 4, other, hash);
    assert_true(apart(other, cpu) > 0.05);
}

static void test_resume(void **state) {
    char whole[SG_STATE_HASH_BYTES], resumed[SG_STATE_HASH_BYTES];
    double loss[kSteps];
    sg_trainer *t;

    (void)state;
    losses(&sg_backend_cuda, 3, loss, whole);
    t = token_trainer(&sg_backend_cuda, 1, 3, false);
    for (int i = 0; i < kSteps; i++) {
        sg_trainer *next;

        train_tokens(t, 1, NULL);
        if (i != 3) continue;
        next = token_trainer(&sg_backend_cuda, 1, 3, true);
        copy_state(next, t);
        sg_trainer_destroy(t);
        t = next;
    }
    assert_int_equal(sg_state_sha256(sg_trainer_state(t), resumed), SG_OK);
    assert_string_equal(whole, resumed);
    sg_trainer_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_resume),
    };

    sg_emulation_guard();
    return cmocka_run_group_tests_name("a block of tokens on cuda", tests, NULL, NULL);
}
