/* Training steps of the text encoder on random texts, timed: what scripts/bench-text puts beside
 * bench/torch_text_encoder.py.
 *
 *   text_encoder [--vocabulary N] [--length N] [--layers N] [--width N] [--heads N] [--classes N]
 *                [--dropout P] [--batch N] [--lengths full|random] [--shards N] [--threads N]
 *                [--steps N] [--group N] [--isa avx2|native] [--profile]
 *                [--device cpu|cuda] [--precision auto|fp32|tf32|bf16] [--tune]
 *
 * A step is forward, loss, backward, AdamW with clipping and the average of weights, and the batch
 * is handed over anew. Prints one JSON object: seconds a step of every group of steps (--group, 1)
 * after two steps that warm up, peak memory in MiB, parameters, the last loss; on a GPU also the
 * MiB of its memory that are in use at the end. --profile: the table of train's --profile on
 * standard error, over the steps that are timed; of the CPU alone. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/mem.h"
#include "core/philox.h"
#include "cpu/cpu.h"
#include "nn/text_encoder.h"
#include "report/profile.h"
#include "train/compute.h"
#include "train/trainer.h"

enum { kWarm = 2 };

typedef struct {
    sg_text_encoder_options model;
    int64_t batch, steps, group;
    int shards, threads;
    bool full; /* all texts are as long as the model */
    const char *isa, *device, *precision;
    bool profile, tune;
    sg_compute compute;
} request;

/* One batch, the same for every step. */
typedef struct {
    int32_t *ids, *length, *label;
} batch;

static void must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "text_encoder: %s\n", sg_last_error());
    exit(1);
}

static void *block(size_t bytes) {
    void *p = sg_calloc(1, bytes);

    if (!p) must(sg_fail(SG_ERR_OOM, "no memory for %zu bytes", bytes));
    return p;
}

static batch draw(const request *r) {
    size_t n = (size_t)r->batch, T = (size_t)r->model.length;
    sg_random random = sg_random_init(1);
    batch b = {block(n * T * sizeof(int32_t)), block(n * sizeof(int32_t)),
               block(n * sizeof(int32_t))};

    for (size_t i = 0; i < n; i++) {
        b.length[i] =
            (int32_t)(r->full ? r->model.length : 1 + sg_random_below(&random, r->model.length));
        b.label[i] = (int32_t)sg_random_below(&random, r->model.classes);
        for (size_t t = 0; t < T; t++)
            b.ids[i * T + t] = (int64_t)t < b.length[i]
                                   ? (int32_t)sg_random_below(&random, r->model.vocabulary)
                                   : -1;
    }
    return b;
}

static void release(batch *b) {
    sg_free(b->ids);
    sg_free(b->length);
    sg_free(b->label);
}

/* Without the padding between them. */
static int64_t count_parameters(const sg_table *table) {
    int64_t count = 0;

    for (int i = 0; i < table->n_entries; i++)
        if (table->entry[i].kind != SG_ENTRY_STAT) count += table->entry[i].count;
    return count;
}

static sg_trainer *new_trainer(request *r) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer;

    o.build = sg_text_encoder_build;
    o.context = &r->model;
    o.batch = r->batch;
    o.shards = r->shards;
    o.threads = r->threads;
    o.backend = sg_compute_backend(&r->compute);
    o.optimizer.kind = SG_OPTIMIZER_ADAMW;
    must(sg_trainer_create(&o, &trainer));
    return trainer;
}

/* Seconds of `n` steps. Up to as many as may be are under way, so that a device never waits for the
 * host. */
static double run_steps(sg_trainer *trainer, const batch *b, int64_t n, sg_step_report *report) {
    const void *inputs[SG_MAX_INPUTS] = {b->ids, b->length, b->label};
    double start = sg_now();

    for (int64_t launched = 0, settled = 0; settled < n; settled++) {
        while (launched < n && sg_trainer_under_way(trainer) < sg_trainer_ahead(trainer)) {
            must(sg_trainer_launch(trainer, 0, inputs, 1e-4));
            launched++;
        }
        must(sg_trainer_settle(trainer, report));
    }
    return sg_now() - start;
}

/* MiB of the GPU's memory that are in use, by whomever; 0 on a CPU. */
static double device_mib(const request *r) {
    const sg_device *device = sg_compute_backend(&r->compute)->device;
    size_t free_bytes = 0, total = 0;

    if (device) must(device->memory(&free_bytes, &total));
    return (double)(total - free_bytes) / 1048576.0;
}

/* Standard error gets the table; `seconds` and `times` are those of all timed steps. */
static void print_profile(const request *r, sg_trainer *trainer, double *seconds,
                          const sg_step_times *times, double whole) {
    const sg_program *program = sg_trainer_program(trainer, 0);
    int n = sg_program_steps(program), threads = sg_trainer_threads(trainer);
    sg_profile profile = {.program = program,
                          .seconds = seconds,
                          .steps = r->steps * r->group,
                          .shards = r->shards,
                          .threads = threads,
                          .prologue = times->prologue,
                          .parallel = times->shards,
                          .tree = times->tree,
                          .update = times->update,
                          .whole = whole};
    char *text;

    for (int i = 0; i < n; i++)
        for (int t = 1; t < threads; t++) seconds[i] += seconds[t * n + i];
    must(sg_cpu_measure_peak(&profile.peak));
    must(sg_profile_table(&profile, &text));
    fputs(text, stderr);
    sg_free(text);
}

static void time_training(const request *r, sg_trainer *trainer, const batch *b, double seconds[],
                          double *loss) {
    size_t n = (size_t)sg_program_steps(sg_trainer_program(trainer, 0));
    double *by_node = block(n * (size_t)sg_trainer_threads(trainer) * sizeof *by_node);
    double whole = 0.0;
    sg_step_times times = {0};
    sg_step_report report;

    run_steps(trainer, b, kWarm, &report);
    if (r->profile) sg_trainer_profile(trainer, 0, by_node, &times);
    for (int64_t i = 0; i < r->steps; i++) {
        double group = run_steps(trainer, b, r->group, &report);

        seconds[i] = group / (double)r->group;
        whole += group;
    }
    if (r->profile) print_profile(r, trainer, by_node, &times, whole);
    *loss = report.loss;
    sg_free(by_node);
}

static void usage(void) {
    fprintf(stderr,
            "usage: text_encoder [--vocabulary N] [--length N] [--layers N] [--width N] "
            "[--heads N] [--classes N] [--dropout P] [--batch N] [--lengths full|random] "
            "[--shards N] [--threads N] [--steps N] [--group N] [--isa avx2|native] [--profile] "
            "[--device cpu|cuda] [--precision auto|fp32|tf32|bf16] [--tune]\n");
    exit(64);
}

/* Takes one option with its value; false if there is none of that name. */
static bool take(request *r, const char *name, const char *value) {
    sg_text_encoder_options *m = &r->model;
    const struct {
        const char *name;
        int64_t *to;
    } numbers[] = {
        {"--vocabulary", &m->vocabulary}, {"--length", &m->length}, {"--layers", &m->layers},
        {"--width", &m->width},           {"--heads", &m->heads},   {"--classes", &m->classes},
        {"--batch", &r->batch},           {"--steps", &r->steps},   {"--group", &r->group}};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name) != 0) continue;
        *numbers[i].to = strtoll(value, NULL, 10);
        return true;
    }
    if (strcmp(name, "--shards") == 0)
        r->shards = (int)strtol(value, NULL, 10);
    else if (strcmp(name, "--threads") == 0)
        r->threads = (int)strtol(value, NULL, 10);
    else if (strcmp(name, "--dropout") == 0)
        m->dropout = strtof(value, NULL);
    else if (strcmp(name, "--lengths") == 0)
        r->full = strcmp(value, "random") != 0;
    else if (strcmp(name, "--isa") == 0)
        r->isa = value;
    else if (strcmp(name, "--device") == 0)
        r->device = value;
    else if (strcmp(name, "--precision") == 0)
        r->precision = value;
    else
        return false;
    return true;
}

static request parse(int argc, char **argv) {
    request r = {.model = sg_text_encoder_defaults(),
                 .batch = 256,
                 .steps = 8,
                 .group = 1,
                 .shards = 2,
                 .threads = 2,
                 .full = true,
                 .isa = "avx2",
                 .device = "cpu",
                 .precision = "auto"};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--profile") == 0)
            r.profile = true;
        else if (strcmp(argv[i], "--tune") == 0)
            r.tune = true;
        else if (i + 1 == argc || !take(&r, argv[i], argv[i + 1]))
            usage();
        else
            i++;
    }
    if (r.batch < 1 || r.threads < 1 || r.steps < 1 || r.group < 1) usage();
    return r;
}

int main(int argc, char **argv) {
    request r = parse(argc, argv);
    sg_compute_options options = {.device = r.device, .precision = r.precision, .timed = r.tune};
    double *seconds = block((size_t)r.steps * sizeof *seconds), loss;
    sg_trainer *trainer;
    struct rusage used;
    batch b;

    must(sg_cpu_set_isa(r.isa));
    must(sg_text_encoder_check(&r.model));
    must(sg_compute_open(&options, &r.compute));
    r.profile = r.profile && !r.compute.plugin;
    b = draw(&r);
    trainer = new_trainer(&r);
    time_training(&r, trainer, &b, seconds, &loss);
    getrusage(RUSAGE_SELF, &used);
    printf("{\"seconds\": [");
    for (int64_t i = 0; i < r.steps; i++) printf("%s%.6f", i ? ", " : "", seconds[i]);
    printf("], \"peak_mib\": %.1f, \"device_mib\": %.1f, \"parameters\": %lld, \"loss\": %.6f}\n",
           (double)used.ru_maxrss / 1024.0, device_mib(&r),
           (long long)count_parameters(sg_trainer_table(trainer)), loss);
    sg_trainer_destroy(trainer);
    release(&b);
    sg_free(seconds);
    sg_compute_close(&r.compute);
    return 0;
}
