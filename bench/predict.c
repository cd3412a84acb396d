/* Pictures through a trained detector, timed: what scripts/bench-onnx puts beside onnxruntime.
 *
 *   predict MODEL.h5 [--network] [--batch N] [--steps N] [--threads N] PICTURE...
 *
 * A step is a batch of pictures, the next ones of the list: decoded, letterboxed, the network,
 * suppression, as in `bin/predict`, whose functions these are; --network: the network alone, on
 * pictures letterboxed before. One picture's ops are divided among the threads, several pictures
 * are answered side by side. Prints one JSON object: seconds a step, after two steps that warm up,
 * peak memory in MiB, boxes found. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "core/mem.h"
#include "core/threads.h"
#include "cpu/cpu.h"
#include "data/letterbox.h"
#include "train/detector_model.h"

typedef struct {
    bench_request run;
    bool network;
    char *model, **files;
    int n_files;
    sg_detector_model detector;
    uint8_t *inputs;     /* --network: (batch, 3, S, S) */
    int64_t first;       /* file of the batch's first picture */
    int64_t *count;      /* (batch) boxes found */
    sg_detection *found; /* (batch, max_boxes) */
} bench;

static const char *file_at(const bench *b, int64_t item) {
    return b->files[(b->first + item) % b->n_files];
}

static int64_t input_bytes(const bench *b) {
    return 3 * b->detector.model.input * b->detector.model.input;
}

static sg_status answer(void *context, int64_t item, int worker) {
    bench *b = context;
    sg_detector_model *m = &b->detector;
    sg_image image = {0};
    sg_status st;

    if (b->network) {
        const void *inputs[SG_MAX_INPUTS] = {b->inputs + item * input_bytes(b)};
        void *outputs[SG_MAX_OUTPUTS] = {m->boxes[worker], m->scores[worker]};

        return sg_inference_run(m->inference, worker, inputs, outputs);
    }
    SG_TRY(sg_image_read(file_at(b, item), &image));
    st = sg_detector_predict(m, worker, &image, b->found + item * m->config.predict.max_boxes,
                             &b->count[item]);
    sg_image_clear(&image);
    return st;
}

static void letterbox_all(bench *b) {
    b->inputs = bench_block((size_t)(b->run.batch * input_bytes(b)));
    for (int64_t i = 0; i < b->run.batch; i++) {
        sg_image image = {0};

        bench_must(sg_image_read(file_at(b, i), &image));
        bench_must(sg_letterbox_image(&image, b->detector.model.input,
                                      b->inputs + i * input_bytes(b), NULL));
        sg_image_clear(&image);
    }
}

static void time_steps(bench *b, double seconds[], int64_t *boxes) {
    int workers = b->run.batch == 1 ? 1 : b->run.threads;
    sg_pool *pool;

    bench_must(sg_pool_create(workers, workers > 1 ? sg_backend_cpu.enter_thread : NULL, &pool));
    for (int64_t i = -BENCH_WARM; i < b->run.steps; i++) {
        double start = sg_now();

        bench_must(sg_pool_run(pool, b->run.batch, answer, b));
        if (i >= 0) seconds[i] = sg_now() - start;
        for (int64_t k = 0; k < b->run.batch; k++) *boxes += b->count[k];
        b->first += b->run.batch;
    }
    sg_pool_destroy(pool);
}

static void usage(void) {
    fprintf(stderr, "usage: predict MODEL.h5 [--network] [--batch N] [--steps N] [--threads N] "
                    "PICTURE...\n");
    exit(64);
}

static bench parse(int argc, char **argv) {
    bench b = {.run = bench_defaults(1)};
    int at = 2;

    if (argc < 3) usage();
    b.model = argv[1];
    while (at < argc && strncmp(argv[at], "--", 2) == 0) {
        bool network = strcmp(argv[at], "--network") == 0;
        int taken = network ? 1 : bench_take(&b.run, argv[at], argv[at + 1]);

        if (taken == 0) usage();
        b.network |= network;
        at += taken;
    }
    b.files = argv + at;
    b.n_files = argc - at;
    if (b.n_files == 0 || !bench_is_sound(&b.run)) usage();
    return b;
}

static void load(bench *b) {
    bool one = b->run.batch == 1;
    const sg_detector_model_options options = {
        .batch = 1, .workers = one ? 1 : b->run.threads, .op_threads = one ? b->run.threads : 1};

    bench_must(sg_cpu_set_isa(b->run.isa));
    bench_must(sg_detector_model_load(b->model, NULL, 0, &options, &b->detector));
    b->count = bench_block((size_t)b->run.batch * sizeof *b->count);
    b->found = bench_block((size_t)(b->run.batch * b->detector.config.predict.max_boxes) *
                           sizeof *b->found);
    if (b->network) letterbox_all(b);
}

int main(int argc, char **argv) {
    bench b = parse(argc, argv);
    double *seconds = bench_block((size_t)b.run.steps * sizeof *seconds);
    int64_t boxes = 0;
    char more[64];

    load(&b);
    time_steps(&b, seconds, &boxes);
    snprintf(more, sizeof more, "\"boxes\": %lld", (long long)boxes);
    bench_print(&b.run, seconds, more);
    sg_free(b.count);
    sg_free(b.found);
    sg_free(b.inputs);
    sg_free(seconds);
    sg_detector_model_clear(&b.detector);
    return 0;
}
