/* Steps of the mask detector on random pictures, timed one by one: what scripts/bench puts beside
 * bench/torch_detector.py.
 *
 *   detector [--size nano|small] [--input N] [--stride 4|8] [--batch N] [--shards N] [--threads N]
 *            [--steps N] [--group N] [--isa avx2|native] [--infer]
 *            [--device cpu|cuda] [--precision auto|fp32|tf32|bf16] [--tune] [--ops]
 *
 * Training: forward, assignment, loss, backward, AdamW with clipping and the average of weights.
 * Inference: forward to boxes and scores, a batch divided among the threads, a single picture's ops
 * divided among them. Prints one JSON object: seconds a step of every group of steps (--group,
 * 1), after two steps that warm up, peak memory in MiB, parameters; on a GPU also the MiB of its
 * memory that are in use at the end. --ops: instead a JSON object a kernel of the step:
 * milliseconds, operations and bytes (bench_print_ops). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "core/mem.h"
#include "core/philox.h"
#include "cpu/cpu.h"
#include "nn/mask_detector.h"
#include "train/detector.h"
#include "train/inference.h"

enum { kFaces = 5 };
static const double kLearningRate = 1e-3;

typedef struct {
    bench_request run;
    sg_mask_detector_options model;
    bool infer, ops;
} request;

/* One batch, the same for every step. */
typedef struct {
    uint8_t *image;
    float *boxes;
    int32_t *classes, *count;
} batch;

static batch draw(const request *r) {
    size_t n = (size_t)r->run.batch, side = (size_t)r->model.input;
    sg_random random = sg_random_init(1);
    batch b = {bench_block(n * 3 * side * side), bench_block(n * SG_MAX_TRUTHS * 4 * sizeof(float)),
               bench_block(n * SG_MAX_TRUTHS * sizeof(int32_t)), bench_block(n * sizeof(int32_t))};

    for (size_t i = 0; i < n * 3 * side * side; i++) b.image[i] = (uint8_t)sg_random_u32(&random);
    for (size_t i = 0; i < n; i++) {
        b.count[i] = kFaces;
        for (size_t f = 0; f < kFaces; f++) {
            float *box = b.boxes + 4 * (i * SG_MAX_TRUTHS + f);
            float size = sg_random_range(&random, 8.0f, 60.0f);

            box[0] = sg_random_range(&random, 0.0f, (float)side - size);
            box[1] = sg_random_range(&random, 0.0f, (float)side - size);
            box[2] = box[0] + size;
            box[3] = box[1] + size;
            b.classes[i * SG_MAX_TRUTHS + f] = (int32_t)sg_random_below(&random, r->model.classes);
        }
    }
    return b;
}

static void release(batch *b) {
    sg_free(b->image);
    sg_free(b->boxes);
    sg_free(b->classes);
    sg_free(b->count);
}

static int64_t time_training(const request *r, const batch *b, double seconds[], double *mib) {
    const void *inputs[SG_MAX_INPUTS] = {b->image, b->boxes, b->classes, b->count};
    sg_mask_detector_options model = r->model;
    sg_trainer *trainer = bench_trainer(&r->run, sg_detector_build, &model);
    sg_step_report report;
    int64_t parameters, group = r->run.group;

    bench_run_steps(trainer, bench_same, inputs, BENCH_WARM, kLearningRate, &report);
    for (int64_t i = 0; i < r->run.steps; i++)
        seconds[i] = bench_run_steps(trainer, bench_same, inputs, group, kLearningRate, &report) /
                     (double)group;
    *mib = bench_device_mib(&r->run);
    parameters = sg_trainer_table(trainer)->n_params;
    sg_trainer_destroy(trainer);
    return parameters;
}

static void print_ops(const request *r, const batch *b) {
    const void *inputs[SG_MAX_INPUTS] = {b->image, b->boxes, b->classes, b->count};
    sg_mask_detector_options model = r->model;
    sg_trainer *trainer = bench_trainer(&r->run, sg_detector_build, &model);

    bench_print_ops(trainer, inputs, r->run.shards);
    sg_trainer_destroy(trainer);
}

typedef struct {
    sg_inference *inference;
    const batch *b;
    float *boxes, *scores;
    int64_t group, anchors, classes, side;
} answers;

static sg_status answer(void *context, int64_t group, int worker) {
    answers *a = context;
    int64_t first = group * a->group;
    const void *inputs[SG_MAX_INPUTS] = {a->b->image + first * 3 * a->side * a->side};
    void *outputs[SG_MAX_OUTPUTS] = {a->boxes + first * a->anchors * 4,
                                     a->scores + first * a->anchors * a->classes};

    return sg_inference_run(a->inference, worker, inputs, outputs);
}

static int64_t time_inference(const request *r, const batch *b, double seconds[]) {
    int groups = r->run.batch % r->run.threads == 0 ? r->run.threads : 1;
    sg_anchors anchors = sg_mask_detector_anchors(&r->model);
    size_t n = (size_t)(r->run.batch * sg_anchor_count(&anchors));
    answers a = {.b = b,
                 .group = r->run.batch / groups,
                 .anchors = sg_anchor_count(&anchors),
                 .classes = r->model.classes,
                 .side = r->model.input};
    sg_mask_detector_options model = r->model;
    sg_inference_options o = {.build = sg_detector_build,
                              .context = &model,
                              .batch = a.group,
                              .workers = groups,
                              .op_threads = groups == 1 ? r->run.threads : 1};
    sg_pool *pool;
    sg_state *state;
    int64_t parameters;

    a.boxes = bench_block(n * 4 * sizeof(float));
    a.scores = bench_block(n * (size_t)a.classes * sizeof(float));
    bench_must(sg_pool_create(groups, groups > 1 ? sg_backend_cpu.enter_thread : NULL, &pool));
    bench_must(sg_inference_create(&o, &a.inference));
    bench_must(sg_state_create(sg_inference_table(a.inference), 0, &state));
    sg_state_init(state, 1);
    bench_must(sg_inference_set_values(a.inference, state->values, NULL));
    for (int64_t i = 0; i < r->run.steps + BENCH_WARM; i++) {
        double start = sg_now();

        bench_must(sg_pool_run(pool, groups, answer, &a));
        if (i >= BENCH_WARM) seconds[i - BENCH_WARM] = sg_now() - start;
    }
    parameters = sg_inference_table(a.inference)->n_params;
    sg_inference_destroy(a.inference);
    sg_state_destroy(state);
    sg_pool_destroy(pool);
    sg_free(a.boxes);
    sg_free(a.scores);
    return parameters;
}

static void usage(void) {
    fprintf(stderr, "usage: detector [--size nano|small] [--input N] [--stride 4|8] [--infer] "
                    "[--ops] " BENCH_USAGE "\n");
    exit(64);
}

/* As bench_take. */
static int take(request *r, const char *name, const char *value) {
    static const char *const sizes[] = {
        [SG_DETECTOR_NANO] = "nano", [SG_DETECTOR_SMALL] = "small", NULL};
    const bench_number numbers[] = {{"--input", &r->model.input}, {"--stride", &r->model.finest}};
    bool infer = strcmp(name, "--infer") == 0, ops = strcmp(name, "--ops") == 0;

    r->infer |= infer;
    r->ops |= ops;
    if (infer || ops) return 1;
    if (value && strcmp(name, "--size") == 0) {
        int size = bench_word(sizes, value);

        if (size >= 0) r->model.size = (sg_detector_size)size;
        return size < 0 ? 0 : 2;
    }
    if (value && bench_take_number(numbers, 2, name, value)) return 2;
    return bench_take(&r->run, name, value);
}

static request parse(int argc, char **argv) {
    request r = {.run = bench_defaults(16), .model = sg_mask_detector_defaults()};
    int taken;

    for (int i = 1; i < argc; i += taken) {
        taken = take(&r, argv[i], argv[i + 1]); /* argv ends with NULL */
        if (taken == 0) usage();
    }
    if (!bench_is_sound(&r.run)) usage();
    if (r.infer && (strcmp(r.run.device, "cpu") != 0 || r.ops)) usage(); /* of the CPU, whole */
    return r;
}

static void print_times(const request *r, const batch *b) {
    double *seconds = bench_block((size_t)r->run.steps * sizeof *seconds), mib = 0.0;
    int64_t parameters =
        r->infer ? time_inference(r, b, seconds) : time_training(r, b, seconds, &mib);
    char more[96];

    snprintf(more, sizeof more, "\"device_mib\": %.1f, \"parameters\": %lld", mib,
             (long long)parameters);
    bench_print(&r->run, seconds, more);
    sg_free(seconds);
}

int main(int argc, char **argv) {
    request r = parse(argc, argv);
    batch b;

    bench_open(&r.run);
    b = draw(&r);
    if (r.ops)
        print_ops(&r, &b);
    else
        print_times(&r, &b);
    release(&b);
    bench_close(&r.run);
    return 0;
}
