/* A trainer whose steps run on the CUDA backend, under the emulation of a GPU: ten steps agree with
 * those of the CPU's backends, and the bits depend neither on recording nor on copying the state to
 * and fro. Two models: a small classifier of odd sizes, and the mask detector at 64 pixels. */
#include "trainer_fixture.h"

#include "backend_cuda.h"
#include "core/philox.h"
#include "cuda_waits.h"
#include "nn/mask_detector.h"
#include "out_of_memory.h"
#include "spotgrad.h"
#include "train/trainer.h"

enum { kSteps = 10, kBatch = 6, kSide = 9, kClasses = 3 };

/* What is trained, and its batches. */
typedef struct {
    sg_build_fn build;
    void *context;
    int64_t batch;
    int steps;
    const void *const *(*draw)(int64_t step);
    double lr[2]; /* of SGD, of AdamW */
} subject;

/* --- a classifier ----------------------------------------------------------------------------- */

static sg_status build_classifier(sg_graph *g, int64_t n, void *context) {
    sg_value *x = sg_input(g, "image", SG_F32, sg_shape_4(n, 2, kSide, kSide)), *y;

    (void)context;
    x = sg_conv_norm_act(g, "conv1", x, 5, 3, 1, SG_ACT_SILU, NULL);
    x = sg_max_pool2d(g, x, 3, 2, 1);
    y = sg_conv_norm_act(g, "conv2", x, 5, 3, 1, SG_ACT_RELU, x);
    y = sg_max_pool2d(g, sg_upsample2x(g, y), 2, 2, 0);
    x = sg_concat(g, (sg_value *[]){x, y}, 2);
    x = sg_conv(g, "conv3", x, 8, 1, 1, 0.1f);
    x = sg_linear(g, "classify", sg_global_avg_pool(g, x), kClasses);
    if (sg_graph_mode(g) == SG_TRAIN)
        sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

static float image[kBatch * 2 * kSide * kSide];
static int32_t label[kBatch];

/* Noise around the label's level, and one label that is left out. */
static const void *const *draw_classifier(int64_t step) {
    static const void *const inputs[] = {image, label};
    sg_random r = sg_random_init(sg_key_mix(17, (uint64_t)step));

    for (int n = 0; n < kBatch; n++) {
        float *x = image + n * 2 * kSide * kSide;

        label[n] = (int32_t)sg_random_below(&r, kClasses);
        for (int i = 0; i < 2 * kSide * kSide; i++)
            x[i] = sg_random_range(&r, -1.0f, 1.0f) + 0.5f * (float)(label[n] * (i % 2));
    }
    label[step % kBatch] = -1;
    return inputs;
}

static const subject kClassifier = {build_classifier, NULL,       kBatch, kSteps,
                                    draw_classifier,  {0.1, 0.01}};

/* --- the detector ----------------------------------------------------------------------------- */

enum { kPictures = 2, kInput = 64, kPixels = 3 * kInput * kInput };

static sg_status build_detector(sg_graph *g, int64_t n, void *context) {
    sg_mask_detector_options o = sg_mask_detector_defaults();

    (void)context;
    o.input = kInput;
    return sg_mask_detector_build(g, n, &o);
}

static uint8_t picture[kPictures * kPixels];
static float boxes[kPictures * SG_MAX_TRUTHS * 4];
static int32_t classes[kPictures * SG_MAX_TRUTHS], count[kPictures];

/* A square, its side above 12 pixels, brighter than the noise in the channel of its class. */
static void draw_square(sg_random *r, int n) {
    int truth = n * SG_MAX_TRUTHS + count[n]++;
    int side = 13 + (int)sg_random_below(r, 40);
    int left = (int)sg_random_below(r, kInput - side), top = (int)sg_random_below(r, kInput - side);

    classes[truth] = (int32_t)sg_random_below(r, 3);
    boxes[truth * 4] = (float)left;
    boxes[truth * 4 + 1] = (float)top;
    boxes[truth * 4 + 2] = (float)(left + side);
    boxes[truth * 4 + 3] = (float)(top + side);
    for (int i = top; i < top + side; i++)
        memset(picture + n * kPixels + (classes[truth] * kInput + i) * kInput + left, 230,
               (size_t)side);
}

static const void *const *draw_detector(int64_t step) {
    static const void *const inputs[] = {picture, boxes, classes, count};
    sg_random r = sg_random_init(sg_key_mix(23, (uint64_t)step));

    memset(count, 0, sizeof count);
    for (int i = 0; i < kPictures * kPixels; i++) picture[i] = (uint8_t)sg_random_below(&r, 120);
    for (int n = 0; n < kPictures; n++) /* 3 truths and 1 */
        for (int k = 2 * n; k < 3; k++) draw_square(&r, n);
    return inputs;
}

static const subject kDetector = {build_detector, NULL,          kPictures,
                                  kSteps,         draw_detector, {0.002, 0.0002}};

/* --- running ---------------------------------------------------------------------------------- */

static sg_trainer *new_trainer(const subject *s, const sg_backend *backend, sg_optimizer_kind kind,
                               int shards) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *t;

    o.build = s->build;
    o.context = s->context;
    o.backend = backend;
    o.batch = s->batch;
    o.shards = shards;
    o.threads = 1;
    o.optimizer.kind = kind;
    o.seed = 3;
    CHECK_OK(sg_trainer_create(&o, &t));
    return t;
}

static double step(sg_trainer *t, const subject *s, sg_optimizer_kind kind) {
    sg_step_report report;

    CHECK_OK(sg_trainer_step(t, 0, s->draw(sg_trainer_state(t)->step), s->lr[kind], &report));
    assert_true(report.grad_norm > 0.0);
    return report.loss;
}

static void steps(sg_trainer *t, const subject *s, sg_optimizer_kind kind, int n) {
    for (int i = 0; i < n; i++) (void)step(t, s, kind);
}

/* --- against the CPU -------------------------------------------------------------------------- */

typedef struct {
    double loss, state; /* tolerances: relative; of `distance` */
} tolerance;

static void check_parity(const subject *s, const sg_backend *reference, sg_optimizer_kind kind,
                         int shards, tolerance within) {
    sg_trainer *a = new_trainer(s, &sg_backend_cuda, kind, shards);
    sg_trainer *b = new_trainer(s, reference, kind, shards);
    const sg_state *x = sg_trainer_state(a), *y = sg_trainer_state(b);
    int64_t n = sg_trainer_table(b)->n_values;
    float *start = sg_malloc((size_t)n * sizeof *start);
    double worst = 0.0, values, ema;

    assert_non_null(start);
    memcpy(start, y->values, (size_t)n * sizeof *start);
    for (int i = 0; i < s->steps; i++) {
        double want = step(b, s, kind), got = step(a, s, kind);

        worst = fmax(worst, fabs(got - want) / fabs(want));
        if (!(fabs(got - want) <= within.loss * fabs(want)))
            fail_msg("step %d: loss %.9g, on the CPU %.9g", i, got, want);
    }
    CHECK_OK(sg_trainer_fetch(a));
    values = distance(x->values, y->values, start, n);
    ema = distance(x->ema, y->ema, start, n);
    print_message("%s, %d shards: losses within %.2g, values %.2g, average %.2g\n",
                  kind == SG_OPTIMIZER_SGD ? "sgd" : "adamw", shards, worst, values, ema);
    if (!(values <= within.state && ema <= within.state))
        fail_msg("after %d steps values are %g apart, their average %g", s->steps, values, ema);
    assert_int_equal(x->step, s->steps);
    assert_int_equal(x->samples, s->steps * s->batch);
    sg_free(start);
    sg_trainer_destroy(a);
    sg_trainer_destroy(b);
}

static void test_classifier(void **state) {
    static const tolerance within = {1e-5, 1e-4};

    (void)state;
    for (int shards = 1; shards <= 3; shards++) {
        check_parity(&kClassifier, &sg_backend_ref, SG_OPTIMIZER_SGD, shards, within);
        check_parity(&kClassifier, &sg_backend_cpu, SG_OPTIMIZER_ADAMW, shards, within);
    }
}

static void test_classifier_bf16(void **state) {
    static const tolerance within = {2e-2, 0.15};

    (void)state;
    sg_cuda_use(SG_CUDA_BF16, NULL);
    for (int shards = 1; shards <= 3; shards++) {
        check_parity(&kClassifier, &sg_backend_ref, SG_OPTIMIZER_SGD, shards, within);
        check_parity(&kClassifier, &sg_backend_ref, SG_OPTIMIZER_ADAMW, shards, within);
    }
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

static void test_detector(void **state) {
    (void)state;
    check_parity(&kDetector, &sg_backend_cpu, SG_OPTIMIZER_SGD, 1, (tolerance){1e-3, 1e-2});
}

static void test_detector_bf16(void **state) {
    subject few = kDetector;

    (void)state;
    few.steps = 4;
    sg_cuda_use(SG_CUDA_BF16, NULL);
    check_parity(&few, &sg_backend_cpu, SG_OPTIMIZER_ADAMW, 1, (tolerance){5e-2, 0.3});
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

/* --- bits ------------------------------------------------------------------------------------- */

enum { kBitSteps = 3 }; /* the third is a replay that follows a replay */

static void run_plainly(const subject *s, sg_optimizer_kind kind, int shards,
                        char hash[SG_STATE_HASH_BYTES]) {
    sg_device device = without_recordings(&sg_cuda_device);
    sg_backend backend = sg_backend_cuda;
    sg_trainer *t;

    backend.device = &device;
    t = new_trainer(s, &backend, kind, shards);
    steps(t, s, kind, kBitSteps);
    finish(t, hash);
}

static void run_recorded(const subject *s, sg_optimizer_kind kind, int shards,
                         char hash[SG_STATE_HASH_BYTES]) {
    sg_trainer *t = new_trainer(s, &sg_backend_cuda, kind, shards);

    steps(t, s, kind, kBitSteps);
    finish(t, hash);
}

static void check_bits(const subject *s, sg_optimizer_kind kind, int shards) {
    char plain[SG_STATE_HASH_BYTES], one[SG_STATE_HASH_BYTES], two[SG_STATE_HASH_BYTES];

    run_plainly(s, kind, shards, plain);
    run_recorded(s, kind, shards, one);
    run_recorded(s, kind, shards, two);
    assert_string_equal(plain, one);
    assert_string_equal(one, two);
}

static void test_same_bits(void **state) {
    (void)state;
    for (int shards = 1; shards <= 3; shards++) {
        check_bits(&kClassifier, SG_OPTIMIZER_SGD, shards);
        check_bits(&kClassifier, SG_OPTIMIZER_ADAMW, shards);
    }
    sg_cuda_use(SG_CUDA_BF16, NULL);
    check_bits(&kClassifier, SG_OPTIMIZER_SGD, 2);
    check_bits(&kDetector, SG_OPTIMIZER_SGD, 1);
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

/* Blocks that every step writes before it reads them. */
static struct {
    void *block[16];
    size_t bytes[16];
    int n;
} transient;

static sg_status alloc_noted(size_t bytes, const char *what, void **out) {
    static const char *const kinds[] = {"a shard's activations",
                                        "weights",
                                        "the update's arena",
                                        "image",
                                        "label",
                                        "boxes",
                                        "classes",
                                        "count"};

    SG_TRY(sg_cuda_device.alloc(bytes, what, out));
    for (int i = 0; i < (int)(sizeof kinds / sizeof kinds[0]); i++) {
        if (strncmp(what, kinds[i], strlen(kinds[i])) != 0) continue;
        assert_true(transient.n < 16);
        transient.block[transient.n] = *out;
        transient.bytes[transient.n++] = bytes;
    }
    return SG_OK;
}

static void fill_transient(int garbage) {
    for (int i = 0; i < transient.n; i++) {
        size_t bytes = transient.bytes[i];
        void *full = sg_malloc(bytes + 1);

        assert_non_null(full);
        memset(full, garbage, bytes);
        CHECK_OK(sg_cuda_device.put(NULL, transient.block[i], full, bytes));
        CHECK_OK(sg_cuda_device.wait(NULL));
        sg_free(full);
    }
}

/* Before each step these blocks are full of `garbage`, others as they are. */
static void run_on_garbage(const subject *s, sg_optimizer_kind kind, int garbage,
                           char hash[SG_STATE_HASH_BYTES]) {
    sg_device device = sg_cuda_device;
    sg_backend backend = sg_backend_cuda;
    sg_trainer *t;

    device.alloc = alloc_noted;
    backend.device = &device;
    transient.n = 0;
    t = new_trainer(s, &backend, kind, 2);
    assert_true(transient.n >= 7); /* of inputs there are two each */
    for (int k = 0; k < kBitSteps; k++) {
        fill_transient(garbage);
        (void)step(t, s, kind);
    }
    finish(t, hash);
}

/* What a step reads it has written: neither what the memory began with nor what the step before
 * left there is part of the result. */
static void check_garbage(const subject *s, sg_optimizer_kind kind) {
    char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];

    run_recorded(s, kind, 2, want);
    run_on_garbage(s, kind, 0xff, got);
    assert_string_equal(want, got);
    run_on_garbage(s, kind, 0x33, got);
    assert_string_equal(want, got);
}

static void test_garbage(void **state) {
    (void)state;
    check_garbage(&kClassifier, SG_OPTIMIZER_SGD);
    check_garbage(&kClassifier, SG_OPTIMIZER_ADAMW);
    check_garbage(&kDetector, SG_OPTIMIZER_SGD);
    sg_cuda_use(SG_CUDA_BF16, NULL);
    check_garbage(&kClassifier, SG_OPTIMIZER_SGD);
    check_garbage(&kDetector, SG_OPTIMIZER_ADAMW);
    sg_cuda_use(SG_CUDA_FP32, NULL);
}

/* Shards are other computations, not other orders of the same: their bits differ. */
static void test_shards_count(void **state) {
    char one[SG_STATE_HASH_BYTES], three[SG_STATE_HASH_BYTES];

    (void)state;
    run_recorded(&kClassifier, SG_OPTIMIZER_SGD, 1, one);
    run_recorded(&kClassifier, SG_OPTIMIZER_SGD, 3, three);
    assert_string_not_equal(one, three);
}

/* --- the state, to and fro -------------------------------------------------------------------- */

static void check_resume(sg_optimizer_kind kind) {
    char want[SG_STATE_HASH_BYTES], same[SG_STATE_HASH_BYTES], other[SG_STATE_HASH_BYTES];
    sg_trainer *t = new_trainer(&kClassifier, &sg_backend_cuda, kind, 2), *u;

    steps(t, &kClassifier, kind, 7);
    finish(t, want);
    t = new_trainer(&kClassifier, &sg_backend_cuda, kind, 2);
    u = new_trainer(&kClassifier, &sg_backend_cuda, kind, 2);
    steps(u, &kClassifier, kind, 3); /* a state of its own, and a recording */
    steps(t, &kClassifier, kind, 4);
    CHECK_OK(sg_trainer_fetch(t));
    copy_state(sg_trainer_state(t), sg_trainer_state(u));
    CHECK_OK(sg_trainer_store(t));
    CHECK_OK(sg_trainer_store(u));
    steps(t, &kClassifier, kind, 3);
    steps(u, &kClassifier, kind, 3);
    finish(t, same);
    finish(u, other);
    assert_string_equal(want, same);
    assert_string_equal(want, other);
}

static void test_resume(void **state) {
    (void)state;
    check_resume(SG_OPTIMIZER_SGD);
    check_resume(SG_OPTIMIZER_ADAMW);
}

/* Steps launched before those ahead of them are settled, and the state of the last by a snapshot,
 * which leaves nothing to fetch. */
static void test_ahead(void **state) {
    char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
    sg_trainer *t = new_trainer(&kClassifier, &sg_backend_cuda, SG_OPTIMIZER_SGD, 2);
    sg_step_report report;

    (void)state;
    steps(t, &kClassifier, SG_OPTIMIZER_SGD, 6);
    finish(t, want);
    t = new_trainer(&kClassifier, &sg_backend_cuda, SG_OPTIMIZER_SGD, 2);
    for (int i = 0; i < 6; i++) {
        if (sg_trainer_under_way(t) == sg_trainer_ahead(t)) CHECK_OK(sg_trainer_settle(t, &report));
        CHECK_OK(sg_trainer_launch(t, 0, kClassifier.draw(i), kClassifier.lr[SG_OPTIMIZER_SGD]));
    }
    CHECK_OK(sg_trainer_snapshot(t));
    while (sg_trainer_under_way(t) > 0) CHECK_OK(sg_trainer_settle(t, &report));
    CHECK_OK(sg_state_sha256(sg_trainer_state(t), got));
    assert_string_equal(want, got);
    finish(t, got);
    assert_string_equal(want, got);
}

/* --- who waits -------------------------------------------------------------------------------- */

static void check_waits(int events) {
    assert_int_equal(event_waits, events);
    assert_int_equal(queue_waits, 0);
    event_waits = 0;
}

/* As docs/architecture.md has it: the host waits for a step's answer, when the step behind it is on
 * the queue, and for a snapshot that it asked for; never to launch, plainly or recorded, and never
 * for a whole queue. */
static void test_waits(void **state) {
    sg_device device = counting_device();
    sg_backend backend = sg_backend_cuda;
    double lr = kClassifier.lr[SG_OPTIMIZER_SGD];
    sg_step_report report;
    bool saved = false;
    sg_trainer *t;

    (void)state;
    backend.device = &device;
    t = new_trainer(&kClassifier, &backend, SG_OPTIMIZER_SGD, 2);
    queue_waits = event_waits = 0;
    for (int i = 0; i < 8; i++) {
        bool saves = i % 3 == 2; /* the state after the step launched last */

        if (saves) CHECK_OK(sg_trainer_snapshot(t));
        CHECK_OK(sg_trainer_launch(t, 0, kClassifier.draw(i), lr));
        check_waits(0);
        if (sg_trainer_under_way(t) == sg_trainer_ahead(t)) {
            CHECK_OK(sg_trainer_settle(t, &report));
            check_waits(saves ? 2 : 1);
        }
        saved = saved || saves;
    }
    assert_true(saved);
    CHECK_OK(sg_trainer_settle(t, &report));
    check_waits(1);
    sg_trainer_destroy(t);
}

/* --- steps that fail -------------------------------------------------------------------------- */

/* A step on a picture with a NaN. */
static void diverge(sg_trainer *t, sg_optimizer_kind kind) {
    int64_t at = sg_trainer_state(t)->step;
    const void *const *inputs = kClassifier.draw(at);
    sg_step_report report;

    image[kBatch * 2 * kSide * kSide - 5] = NAN;
    assert_int_equal(sg_trainer_step(t, 0, inputs, kClassifier.lr[kind], &report), SG_ERR_DIVERGED);
    assert_int_equal(sg_trainer_state(t)->step, at);
    assert_int_equal(sg_trainer_state(t)->samples, at * kBatch);
}

/* A run in which plain, recorded and last steps diverge ends with the bits of one without. */
static void check_diverged(sg_optimizer_kind kind) {
    char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
    sg_trainer *t = new_trainer(&kClassifier, &sg_backend_cuda, kind, 3);

    steps(t, &kClassifier, kind, 4);
    finish(t, want);
    t = new_trainer(&kClassifier, &sg_backend_cuda, kind, 3);
    diverge(t, kind);
    steps(t, &kClassifier, kind, 1);
    diverge(t, kind);
    steps(t, &kClassifier, kind, 3);
    diverge(t, kind);
    finish(t, got); /* the device's copy is fetched only now */
    assert_string_equal(want, got);
}

static void test_diverged(void **state) {
    (void)state;
    check_diverged(SG_OPTIMIZER_SGD);
    check_diverged(SG_OPTIMIZER_ADAMW);
}

/* The step behind it is dropped, though there was nothing wrong with it. */
static void test_diverged_ahead(void **state) {
    char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
    sg_trainer *t = new_trainer(&kClassifier, &sg_backend_cuda, SG_OPTIMIZER_SGD, 2);
    double lr = kClassifier.lr[SG_OPTIMIZER_SGD];
    const void *const *inputs;
    sg_step_report report;

    (void)state;
    steps(t, &kClassifier, SG_OPTIMIZER_SGD, 4);
    finish(t, want);
    t = new_trainer(&kClassifier, &sg_backend_cuda, SG_OPTIMIZER_SGD, 2);
    steps(t, &kClassifier, SG_OPTIMIZER_SGD, 2);
    inputs = kClassifier.draw(2);
    image[1] = NAN;
    CHECK_OK(sg_trainer_launch(t, 0, inputs, lr));
    CHECK_OK(sg_trainer_launch(t, 0, kClassifier.draw(3), lr));
    assert_int_equal(sg_trainer_settle(t, &report), SG_ERR_DIVERGED);
    assert_int_equal(sg_trainer_under_way(t), 0);
    assert_int_equal(sg_trainer_state(t)->step, 2);
    steps(t, &kClassifier, SG_OPTIMIZER_SGD, 2);
    finish(t, got);
    assert_string_equal(want, got);
}

static bool stop(void *context) { return *(bool *)context; }

static void test_stopped(void **state) {
    char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
    sg_trainer *t = new_trainer(&kClassifier, &sg_backend_cuda, SG_OPTIMIZER_SGD, 2);
    bool now = false;
    sg_step_report report;

    (void)state;
    steps(t, &kClassifier, SG_OPTIMIZER_SGD, 3);
    finish(t, want);
    t = new_trainer(&kClassifier, &sg_backend_cuda, SG_OPTIMIZER_SGD, 2);
    sg_trainer_stop_when(t, stop, &now);
    steps(t, &kClassifier, SG_OPTIMIZER_SGD, 2);
    now = true;
    assert_int_equal(sg_trainer_step(t, 0, kClassifier.draw(2), 0.1, &report), SG_ERR_INTERRUPTED);
    assert_int_equal(sg_trainer_state(t)->step, 2);
    now = false;
    steps(t, &kClassifier, SG_OPTIMIZER_SGD, 1);
    finish(t, got);
    assert_string_equal(want, got);
}

static void test_too_many_shards(void **state) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *t = NULL;

    (void)state;
    o.build = build_classifier;
    o.backend = &sg_backend_cuda;
    o.shards = SG_DEVICE_SHARDS + 1;
    o.batch = o.shards;
    assert_int_equal(sg_trainer_create(&o, &t), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(sg_last_error(), "train.shards=65: a device adds at most 64"));
    assert_null(t);
}

static void test_no_memory(void **state) {
    sg_trainer_options o = sg_trainer_defaults();
    long live = sg_mem_live();
    sg_trainer *t;

    (void)state;
    o.build = build_classifier;
    o.backend = &sg_backend_cuda;
    o.batch = kBatch;
    o.shards = 2;
    FAIL_EACH_ALLOCATION(sg_trainer_create(&o, &t), 100);
    sg_trainer_destroy(t);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classifier),      cmocka_unit_test(test_classifier_bf16),
        cmocka_unit_test(test_detector),        cmocka_unit_test(test_detector_bf16),
        cmocka_unit_test(test_same_bits),       cmocka_unit_test(test_shards_count),
        cmocka_unit_test(test_resume),          cmocka_unit_test(test_diverged),
        cmocka_unit_test(test_ahead),           cmocka_unit_test(test_diverged_ahead),
        cmocka_unit_test(test_stopped),         cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_too_many_shards), cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_waits),
    };

    return cmocka_run_group_tests_name("cuda trainer", tests, NULL, NULL);
}
