/* What a trainer asks of the CUDA device (graph/device.h), under the emulation of a GPU: the sum of
 * shards in the order of the CPU's tree, bit for bit, its flag for sums that are not finite,
 * copies, and recordings that are replayed with the arguments they were made with. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend_cuda.h"
#include "core/philox.h"
#include "emulation/emulation.h"
#include "graph/program.h"
#include "vendor/vendor.h"

enum { kMostShards = 64, kFloats = 1027 };

static const sg_device *const device = &sg_cuda_device;

#define OK(expr) assert_int_equal((expr), SG_OK)

static void draw(float *x, int shard) {
    sg_random r = sg_random_init(sg_key_mix(sg_key_name("shards"), (uint64_t)shard));

    sg_random_normals(&r, x, kFloats);
}

/* As train/trainer.c adds them. */
static void add_on_host(float (*x)[kFloats], int n) {
    for (int width = 1; width < n; width *= 2)
        for (int s = 0; s + width < n; s += 2 * width)
            for (int i = 0; i < kFloats; i++) x[s][i] += x[s + width][i];
}

typedef struct {
    void *queue;
    float *grads[kMostShards], *step;
} fixture;

static void fill(fixture *f, float (*x)[kFloats], int n) {
    static const float zero[SG_STEP_SLOTS];

    for (int s = 0; s < n; s++) OK(device->put(f->queue, f->grads[s], x[s], sizeof x[s]));
    OK(device->put(f->queue, f->step, zero, sizeof zero));
}

static int begin(void **state) {
    static fixture f;
    void *block;

    OK(device->queue_create(&f.queue));
    for (int s = 0; s < kMostShards; s++) {
        OK(device->alloc(kFloats * sizeof(float), "a shard", &block));
        f.grads[s] = block;
    }
    OK(device->alloc(SG_STEP_SLOTS * sizeof(float), "a step block", &block));
    f.step = block;
    *state = &f;
    return 0;
}

static int end(void **state) {
    fixture *f = *state;

    for (int s = 0; s < kMostShards; s++) device->release(f->grads[s]);
    device->release(f->step);
    device->queue_destroy(f->queue);
    return 0;
}

static bool diverged(fixture *f) {
    float step[SG_STEP_SLOTS];

    OK(device->get(f->queue, step, f->step, sizeof step));
    OK(device->wait(f->queue));
    return step[SG_STEP_DIVERGED] != 0.0f;
}

static void test_sum_of_shards(void **state) {
    static float x[kMostShards][kFloats], sum[kFloats];
    static const int counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 31, 32, 63, 64};
    fixture *f = *state;

    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        int n = counts[c];

        for (int s = 0; s < n; s++) draw(x[s], s);
        fill(f, x, n);
        OK(device->add_shards(f->queue, f->grads, n, kFloats, f->step));
        OK(device->get(f->queue, sum, f->grads[0], sizeof sum));
        assert_false(diverged(f));
        add_on_host(x, n);
        assert_memory_equal(sum, x[0], sizeof sum);
    }
    assert_int_equal(device->add_shards(f->queue, f->grads, kMostShards + 1, kFloats, f->step),
                     SG_ERR_UNSUPPORTED);
}

static void test_not_finite(void **state) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static float x[3][kFloats];
    fixture *f = *state;

    for (int b = 0; b < 3; b++) {
        for (int s = 0; s < 3; s++) draw(x[s], s);
        x[b][kFloats - 1 - b] = bad[b];
        fill(f, x, 3);
        OK(device->add_shards(f->queue, f->grads, 3, kFloats, f->step));
        assert_true(diverged(f));
    }
}

static void test_recording(void **state) {
    static float x[2][kFloats], sum[kFloats];
    fixture *f = *state;
    void *recording = NULL;

    for (int s = 0; s < 2; s++) draw(x[s], s);
    fill(f, x, 2);
    OK(device->record(f->queue));
    OK(device->add_shards(f->queue, f->grads, 2, kFloats, f->step));
    OK(device->record_end(f->queue, &recording));
    OK(device->get(f->queue, sum, f->grads[0], sizeof sum));
    OK(device->wait(f->queue));
    assert_memory_equal(sum, x[0], sizeof sum); /* recorded, not run */
    for (int times = 0; times < 3; times++) {
        OK(device->replay(f->queue, recording));
        for (int i = 0; i < kFloats; i++) x[0][i] += x[1][i];
    }
    OK(device->get(f->queue, sum, f->grads[0], sizeof sum));
    OK(device->wait(f->queue));
    assert_memory_equal(sum, x[0], sizeof sum);
    device->recording_destroy(recording);
    device->recording_destroy(NULL);
}

static void test_fresh_memory_is_zero(void **state) {
    char host[100];
    fixture *f = *state;
    void *block;

    memset(host, 1, sizeof host);
    OK(device->alloc(sizeof host, "a block", &block));
    OK(device->get(f->queue, host, block, sizeof host));
    OK(device->wait(f->queue));
    for (size_t i = 0; i < sizeof host; i++) assert_int_equal(host[i], 0);
    device->release(block);
    OK(device->alloc(0, "nothing", &block));
    assert_non_null(block);
    device->release(block);
    device->release(NULL);
}

/* y = 2 x, by a kernel of an op. */
static sg_program *compile_scale(sg_graph *g) {
    sg_program *program;

    sg_output(g, "y", sg_scale(g, sg_input(g, "x", SG_F32, sg_shape_1(kFloats)), 2.0f));
    OK(sg_program_compile(g, &sg_backend_cuda, NULL, &program));
    return program;
}

static void test_errors(void **state) {
    (void)state;
    OK(sg_cuda_check(0, "a call"));
    assert_int_equal(sg_cuda_check(1, "a call"), SG_ERR_CUDA);
    assert_int_equal(sg_cuda_check(214, "a call"), SG_ERR_UNAVAILABLE); /* ECC */
    assert_non_null(strstr(sg_last_error(), "lost"));
    assert_int_equal(sg_cuda_check(2, "a call"), SG_ERR_OOM); /* cudaErrorMemoryAllocation */
    OK(sg_cuda_check_device("a call"));
}

/* Whatever is asked of a lost device says so: copies, memory, a kernel of ours, libraries. */
static void test_lost(void **state) {
    static const sg_vendor_matmul product = {.precision = SG_CUDA_FP32, .M = 1, .N = 1, .K = 1};
    fixture *f = *state;
    float *x = f->grads[0];
    sg_bindings b = {.input = {x}, .output = {x}, .queue = f->queue};
    sg_program *program;
    sg_graph *g;
    sg_vendor_plan *plan;
    sg_cuda_vendor *v;
    size_t bytes = 0;
    void *block;

    if (!sg_emulation_is_on()) skip();
    OK(device->wait(f->queue)); /* the wait at which it is lost */
    OK(sg_graph_create(SG_EVAL, NULL, &g));
    program = compile_scale(g);
    OK(sg_cuda_vendor_create(NULL, &v));
    OK(sg_vendor_plan_matmul(v, &product, &plan));
    setenv("SG_EMULATION_LOST", "1", 1);
    assert_int_equal(device->put(f->queue, x, &bytes, 4), SG_ERR_UNAVAILABLE);
    assert_int_equal(device->memory(&bytes, &bytes), SG_ERR_UNAVAILABLE);
    assert_int_equal(device->alloc(1, "a block", &block), SG_ERR_UNAVAILABLE);
    assert_int_equal(device->alloc_host(1, "a block", &block), SG_ERR_UNAVAILABLE);
    assert_int_equal(device->add_shards(f->queue, f->grads, 2, kFloats, f->step),
                     SG_ERR_UNAVAILABLE);
    assert_int_equal(sg_program_run(program, &b), SG_ERR_UNAVAILABLE);
    assert_non_null(strstr(sg_last_error(), "(scale): the device is lost"));
    assert_int_equal(sg_vendor_plan_run(plan, (const void *const[]){x, x, NULL},
                                        (void *const[]){x, NULL}, x, f->queue),
                     SG_ERR_UNAVAILABLE);
    assert_int_equal(sg_vendor_zero(x, 4, f->queue), SG_ERR_UNAVAILABLE);
    assert_non_null(strstr(sg_last_error(), "the device is lost"));
    unsetenv("SG_EMULATION_LOST");
    OK(sg_program_run(program, &b));
    sg_vendor_plan_destroy(plan);
    sg_cuda_vendor_destroy(v);
    sg_program_destroy(program);
    sg_graph_destroy(g);
}

/* On the host, which takes device memory for its own; and on a queue, given the host's memory. */
static void touch(fixture *f, float *host) { *(volatile float *)f->grads[0] = *host; }

static void add_host(fixture *f, float *host) {
    float *grads[] = {f->grads[0], host};

    OK(device->add_shards(f->queue, grads, 2, 1, f->step));
}

static void copy_host(fixture *f, float *host) {
    OK(device->copy(f->queue, f->grads[0], host, sizeof *host));
}

static void zero_host(fixture *f, float *host) { OK(sg_vendor_zero(host, sizeof *host, f->queue)); }

/* What other tests rely on: none of these gets far. */
static void test_guard(void **state) {
    static void (*const wrong[])(fixture * f, float *host) = {touch, add_host, copy_host,
                                                              zero_host};
    float host = 1.0f;
    pid_t child;
    int how;

    if (!sg_emulation_is_on()) skip();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        child = fork();
        if (child == 0) {
            signal(SIGSEGV, SIG_DFL); /* cmocka would go on with its tests in here */
            signal(SIGABRT, SIG_DFL);
            close(STDERR_FILENO); /* what a sanitizer says of it */
            wrong[i](*state, &host);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &how, 0), child);
        if (WIFEXITED(how) && WEXITSTATUS(how) == 0) fail_msg("number %d is done", (int)i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sum_of_shards), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_recording),     cmocka_unit_test(test_fresh_memory_is_zero),
        cmocka_unit_test(test_errors),        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_guard),
    };

    sg_emulation_guard();
    return cmocka_run_group_tests_name("cuda device", tests, begin, end);
}
