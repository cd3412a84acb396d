/* Steps of the mask detector on random pictures, timed one by one: what scripts/bench puts beside
 * bench/torch_detector.py.
 *
 *   detector [--size nano|small] [--input N] [--stride 4|8] [--batch N] [--shards N] [--threads N]
 *            [--steps N] [--isa avx2|native] [--infer]
 *
 * Training: forward, assignment, loss, backward, AdamW with clipping and the average of weights.
 * Inference: forward to boxes and scores, a batch divided among the threads, a single picture's ops
 * divided among them. Prints one JSON object: seconds of every step after two that warm up, peak
 * memory in MiB, parameters. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/mem.h"
#include "core/philox.h"
#include "cpu/cpu.h"
#include "nn/mask_detector.h"
#include "train/detector.h"
#include "train/inference.h"
#include "train/trainer.h"

enum { kWarm = 2, kFaces = 5 };

typedef struct {
    sg_mask_detector_options model;
    int64_t batch, steps;
    int shards, threads;
    const char *isa;
    bool infer;
} request;

/* One batch, the same for every step. */
typedef struct {
    uint8_t *image;
    float *boxes;
    int32_t *classes, *count;
} batch;

static void must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "detector: %s\n", sg_last_error());
    exit(1);
}

static void *block(size_t bytes) {
    void *p = sg_calloc(1, bytes);

    if (!p) must(sg_fail(SG_ERR_OOM, "no memory for %zu bytes", bytes));
    return p;
}

static batch draw(const request *r) {
    size_t n = (size_t)r->batch, side = (size_t)r->model.input;
    sg_random random = sg_random_init(1);
    batch b = {block(n * 3 * side * side), block(n * SG_MAX_TRUTHS * 4 * sizeof(float)),
               block(n * SG_MAX_TRUTHS * sizeof(int32_t)), block(n * sizeof(int32_t))};

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

static int64_t time_training(const request *r, const batch *b, double seconds[]) {
    const void *inputs[SG_MAX_INPUTS] = {b->image, b->boxes, b->classes, b->count};
    sg_trainer_options o = sg_trainer_defaults();
    sg_mask_detector_options model = r->model;
    sg_step_report report;
    sg_trainer *trainer;
    int64_t parameters;

    o.build = sg_detector_build;
    o.context = &model;
    o.batch = r->batch;
    o.shards = r->shards;
    o.threads = r->threads;
    o.optimizer.kind = SG_OPTIMIZER_ADAMW;
    must(sg_trainer_create(&o, &trainer));
    for (int64_t i = 0; i < r->steps + kWarm; i++) {
        double start = sg_now();

        must(sg_trainer_step(trainer, inputs, 1e-3, &report));
        if (i >= kWarm) seconds[i - kWarm] = sg_now() - start;
    }
    parameters = sg_trainer_table(trainer)->n_params;
    sg_trainer_destroy(trainer);
    return parameters;
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
    int groups = r->batch % r->threads == 0 ? r->threads : 1;
    sg_anchors anchors = sg_mask_detector_anchors(&r->model);
    size_t n = (size_t)(r->batch * sg_anchor_count(&anchors));
    answers a = {.b = b,
                 .group = r->batch / groups,
                 .anchors = sg_anchor_count(&anchors),
                 .classes = r->model.classes,
                 .side = r->model.input};
    sg_mask_detector_options model = r->model;
    sg_inference_options o = {.build = sg_detector_build,
                              .context = &model,
                              .batch = a.group,
                              .workers = groups,
                              .op_threads = groups == 1 ? r->threads : 1};
    sg_pool *pool;
    sg_state *state;
    int64_t parameters;

    a.boxes = block(n * 4 * sizeof(float));
    a.scores = block(n * (size_t)a.classes * sizeof(float));
    must(sg_pool_create(groups, groups > 1 ? sg_backend_cpu.enter_thread : NULL, &pool));
    must(sg_inference_create(&o, &a.inference));
    must(sg_state_create(sg_inference_table(a.inference), 0, &state));
    sg_state_init(state, 1);
    must(sg_inference_set_values(a.inference, state->values));
    for (int64_t i = 0; i < r->steps + kWarm; i++) {
        double start = sg_now();

        must(sg_pool_run(pool, groups, answer, &a));
        if (i >= kWarm) seconds[i - kWarm] = sg_now() - start;
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
    fprintf(stderr, "usage: detector [--size nano|small] [--input N] [--stride 4|8] [--batch N] "
                    "[--shards N] [--threads N] [--steps N] [--isa avx2|native] [--infer]\n");
    exit(64);
}

static request parse(int argc, char **argv) {
    request r = {sg_mask_detector_defaults(), 16, 8, 2, 2, "avx2", false};

    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        int64_t number;

        if (strcmp(name, "--infer") == 0) {
            r.infer = true;
            continue;
        }
        if (++i == argc) usage();
        number = strtoll(argv[i], NULL, 10);
        if (strcmp(name, "--size") == 0)
            r.model.size = strcmp(argv[i], "small") == 0 ? SG_DETECTOR_SMALL : SG_DETECTOR_NANO;
        else if (strcmp(name, "--isa") == 0)
            r.isa = argv[i];
        else if (strcmp(name, "--input") == 0)
            r.model.input = number;
        else if (strcmp(name, "--stride") == 0)
            r.model.finest = number;
        else if (strcmp(name, "--batch") == 0)
            r.batch = number;
        else if (strcmp(name, "--shards") == 0)
            r.shards = (int)number;
        else if (strcmp(name, "--threads") == 0)
            r.threads = (int)number;
        else if (strcmp(name, "--steps") == 0)
            r.steps = number;
        else
            usage();
    }
    if (r.batch < 1 || r.threads < 1 || r.steps < 1) usage();
    return r;
}

int main(int argc, char **argv) {
    request r = parse(argc, argv);
    double *seconds = block((size_t)r.steps * sizeof *seconds);
    struct rusage used;
    int64_t parameters;
    batch b;

    must(sg_cpu_set_isa(r.isa));
    b = draw(&r);
    parameters = r.infer ? time_inference(&r, &b, seconds) : time_training(&r, &b, seconds);
    getrusage(RUSAGE_SELF, &used);
    printf("{\"seconds\": [");
    for (int64_t i = 0; i < r.steps; i++) printf("%s%.6f", i ? ", " : "", seconds[i]);
    printf("], \"peak_mib\": %.1f, \"parameters\": %lld}\n", (double)used.ru_maxrss / 1024.0,
           (long long)parameters);
    release(&b);
    sg_free(seconds);
    return 0;
}
