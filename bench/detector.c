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
 * milliseconds (on a GPU the mean of ten runs), operations and bytes. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/mem.h"
#include "core/philox.h"
#include "cpu/cpu.h"
#include "nn/mask_detector.h"
#include "train/compute.h"
#include "train/detector.h"
#include "train/inference.h"
#include "train/trainer.h"

enum { kWarm = 2, kFaces = 5 };

typedef struct {
    sg_mask_detector_options model;
    int64_t batch, steps, group;
    int shards, threads;
    const char *isa, *device, *precision;
    bool infer, ops, tune;
    sg_compute compute;
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

/* Up to as many steps as may be are under way, so that a device never waits for the host. */
static void run_steps(sg_trainer *t, const void *const inputs[], int64_t n) {
    sg_step_report report;

    for (int64_t launched = 0, settled = 0; settled < n;) {
        while (launched < n && sg_trainer_under_way(t) < sg_trainer_ahead(t)) {
            must(sg_trainer_launch(t, 0, inputs, 1e-3));
            launched++;
        }
        must(sg_trainer_settle(t, &report));
        settled++;
    }
}

static sg_trainer *new_trainer(const request *r, sg_mask_detector_options *model) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer;

    o.build = sg_detector_build;
    o.context = model;
    o.batch = r->batch;
    o.shards = r->shards;
    o.threads = r->threads;
    o.backend = sg_compute_backend(&r->compute);
    o.optimizer.kind = SG_OPTIMIZER_ADAMW;
    must(sg_trainer_create(&o, &trainer));
    return trainer;
}

/* MiB of the GPU's memory that are in use, by whomever; 0 on a CPU. */
static double device_mib(const request *r) {
    const sg_device *device = sg_compute_backend(&r->compute)->device;
    size_t free_bytes = 0, total = 0;

    if (device) must(device->memory(&free_bytes, &total));
    return (double)(total - free_bytes) / 1048576.0;
}

static int64_t time_training(const request *r, const batch *b, double seconds[], double *mib) {
    const void *inputs[SG_MAX_INPUTS] = {b->image, b->boxes, b->classes, b->count};
    sg_mask_detector_options model = r->model;
    sg_trainer *trainer = new_trainer(r, &model);
    int64_t parameters;

    run_steps(trainer, inputs, kWarm);
    for (int64_t i = 0; i < r->steps; i++) {
        double start = sg_now();

        run_steps(trainer, inputs, r->group);
        seconds[i] = (sg_now() - start) / (double)r->group;
    }
    *mib = device_mib(r);
    parameters = sg_trainer_table(trainer)->n_params;
    sg_trainer_destroy(trainer);
    return parameters;
}

/* A line a kernel of one shard's program. */
static void print_op(const sg_step_view *view, double seconds) {
    printf("{\"node\": \"%s\", \"op\": \"%s\", \"kernel\": \"%s\", \"ms\": %.6f, \"flop\": %.0f, "
           "\"bytes\": %.0f}\n",
           view->node->name, view->conversion ? "convert" : view->node->op->name, view->label,
           1e3 * seconds, view->flop, view->bytes);
}

static void time_ops(const request *r, const batch *b) {
    const void *inputs[SG_MAX_INPUTS] = {b->image, b->boxes, b->classes, b->count};
    sg_mask_detector_options model = r->model;
    sg_trainer *trainer = new_trainer(r, &model);
    const sg_program *program = sg_trainer_program(trainer, 0);
    double *seconds = block((size_t)sg_program_steps(program) * sizeof *seconds);
    sg_step_times times = {0};
    sg_step_report report;
    sg_status st;

    run_steps(trainer, inputs, 1);
    sg_trainer_profile(trainer, 0, seconds, &times);
    must(sg_trainer_launch(trainer, 0, inputs, 0.0));
    st = sg_trainer_settle(trainer, &report);
    if (st != SG_ERR_DIVERGED) must(st); /* kernels that are repeated compute nonsense */
    for (int i = 0; i < sg_program_steps(program); i++) {
        sg_step_view view = sg_program_step(program, i);

        print_op(&view, seconds[i]);
    }
    sg_free(seconds);
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
    must(sg_inference_set_values(a.inference, state->values, state->rows));
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
                    "[--shards N] [--threads N] [--steps N] [--group N] [--isa avx2|native] "
                    "[--infer] [--device cpu|cuda] [--precision auto|fp32|tf32|bf16] [--tune] "
                    "[--ops]\n");
    exit(64);
}

/* False if it is none of them. */
static bool take_flag(request *r, const char *name) {
    bool infer = strcmp(name, "--infer") == 0, ops = strcmp(name, "--ops") == 0;
    bool tune = strcmp(name, "--tune") == 0;

    r->infer |= infer;
    r->ops |= ops;
    r->tune |= tune;
    return infer || ops || tune;
}

static request parse(int argc, char **argv) {
    request r = {.model = sg_mask_detector_defaults(),
                 .batch = 16,
                 .steps = 8,
                 .group = 1,
                 .shards = 2,
                 .threads = 2,
                 .isa = "avx2",
                 .device = "cpu",
                 .precision = "auto"};

    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        int64_t number;

        if (take_flag(&r, name)) continue;
        if (++i == argc) usage();
        number = strtoll(argv[i], NULL, 10);
        if (strcmp(name, "--size") == 0)
            r.model.size = strcmp(argv[i], "small") == 0 ? SG_DETECTOR_SMALL : SG_DETECTOR_NANO;
        else if (strcmp(name, "--isa") == 0)
            r.isa = argv[i];
        else if (strcmp(name, "--device") == 0)
            r.device = argv[i];
        else if (strcmp(name, "--precision") == 0)
            r.precision = argv[i];
        else if (strcmp(name, "--group") == 0)
            r.group = number;
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
    if (r.batch < 1 || r.threads < 1 || r.steps < 1 || r.group < 1) usage();
    if (r.infer && (strcmp(r.device, "cpu") != 0 || r.ops)) usage(); /* of the CPU, whole */
    return r;
}

static void print_times(const request *r, const batch *b) {
    double *seconds = block((size_t)r->steps * sizeof *seconds), mib = 0.0;
    int64_t parameters =
        r->infer ? time_inference(r, b, seconds) : time_training(r, b, seconds, &mib);
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    printf("{\"seconds\": [");
    for (int64_t i = 0; i < r->steps; i++) printf("%s%.6f", i ? ", " : "", seconds[i]);
    printf("], \"peak_mib\": %.1f, \"device_mib\": %.1f, \"parameters\": %lld}\n",
           (double)used.ru_maxrss / 1024.0, mib, (long long)parameters);
    sg_free(seconds);
}

int main(int argc, char **argv) {
    request r = parse(argc, argv);
    sg_compute_options options = {.device = r.device, .precision = r.precision, .timed = r.tune};
    batch b;

    must(sg_cpu_set_isa(r.isa));
    must(sg_compute_open(&options, &r.compute));
    b = draw(&r);
    if (r.ops)
        time_ops(&r, &b);
    else
        print_times(&r, &b);
    release(&b);
    sg_compute_close(&r.compute);
    return 0;
}
