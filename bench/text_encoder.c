/* Training steps of the text encoder on random texts, timed: what scripts/bench-text puts beside
 * bench/torch_text_encoder.py.
 *
 *   text_encoder [--vocabulary N] [--length N] [--layers N] [--width N] [--heads N] [--classes N]
 *                [--dropout P] [--batch N] [--lengths full|random] [--shards N] [--threads N]
 *                [--steps N] [--group N] [--isa avx2|native] [--profile]
 *                [--device cpu|cuda] [--precision auto|fp32|tf32|bf16] [--tune] [--ops]
 *
 * A step is forward, loss, backward, AdamW with clipping and the average of weights, and the batch
 * is handed over anew. Prints one JSON object: seconds a step of every group of steps (--group, 1)
 * after two steps that warm up, processor time a step, peak memory in MiB, parameters, the last
 * loss; on a GPU also the MiB of its memory that are in use at the end. --profile: the table of
 * train's --profile on standard error, over the steps that are timed; of the CPU alone. --ops:
 * instead of all that a JSON object a kernel of the step: milliseconds, operations and bytes
 * (bench_print_ops), also of a GPU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "core/mem.h"
#include "core/philox.h"
#include "cpu/peak.h"
#include "nn/text_encoder.h"
#include "report/profile.h"

static const double kLearningRate = 1e-4;

typedef struct {
    bench_request run;
    sg_text_encoder_options model;
    bool full; /* all texts are as long as the model */
    bool profile, ops;
} request;

/* One batch, the same for every step. */
typedef struct {
    int32_t *ids, *length, *label;
} batch;

static batch draw(const request *r) {
    size_t n = (size_t)r->run.batch, T = (size_t)r->model.length;
    sg_random random = sg_random_init(1);
    batch b = {bench_block(n * T * sizeof(int32_t)), bench_block(n * sizeof(int32_t)),
               bench_block(n * sizeof(int32_t))};

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

/* Standard error gets the table; `seconds` and `times` are those of all timed steps. */
static void print_profile(const request *r, sg_trainer *trainer, double *seconds,
                          const sg_step_times *times, double whole) {
    const sg_program *program = sg_trainer_program(trainer, 0);
    int n = sg_program_steps(program), threads = sg_trainer_threads(trainer);
    sg_profile profile = {.program = program,
                          .seconds = seconds,
                          .steps = r->run.steps * r->run.group,
                          .shards = r->run.shards,
                          .runs = r->run.steps * r->run.group * r->run.shards,
                          .threads = threads,
                          .prologue = times->prologue,
                          .parallel = times->shards,
                          .tree = times->tree,
                          .update = times->update,
                          .whole = whole};
    char *text;

    for (int i = 0; i < n; i++)
        for (int t = 1; t < threads; t++) seconds[i] += seconds[t * n + i];
    bench_must(sg_cpu_measure_peak(&profile.peak));
    bench_must(sg_profile_table(&profile, &text));
    fputs(text, stderr);
    sg_free(text);
}

/* `processor`: time a step. */
static void time_training(const request *r, sg_trainer *trainer, const batch *b, double seconds[],
                          double *processor, double *loss) {
    size_t n = (size_t)sg_program_steps(sg_trainer_program(trainer, 0));
    double *by_node = bench_block(n * (size_t)sg_trainer_threads(trainer) * sizeof *by_node);
    const void *inputs[SG_MAX_INPUTS] = {b->ids, b->length, b->label};
    double whole = 0.0;
    sg_step_times times = {0};
    sg_step_report report;

    bench_run_steps(trainer, bench_same, inputs, BENCH_WARM, kLearningRate, &report);
    if (r->profile) sg_trainer_profile(trainer, 0, by_node, &times);
    *processor = bench_processor_time();
    for (int64_t i = 0; i < r->run.steps; i++) {
        double group =
            bench_run_steps(trainer, bench_same, inputs, r->run.group, kLearningRate, &report);

        seconds[i] = group / (double)r->run.group;
        whole += group;
    }
    *processor = (bench_processor_time() - *processor) / (double)(r->run.steps * r->run.group);
    if (r->profile) print_profile(r, trainer, by_node, &times, whole);
    *loss = report.loss;
    sg_free(by_node);
}

static void print_ops(const request *r, sg_trainer *trainer, const batch *b) {
    const void *inputs[SG_MAX_INPUTS] = {b->ids, b->length, b->label};

    bench_print_ops(trainer, inputs, r->run.shards);
}

/* One JSON object, of steps. */
static void print_times(const request *r, sg_trainer *trainer, const batch *b) {
    double *seconds = bench_block((size_t)r->run.steps * sizeof *seconds), used, loss;
    char more[160];

    time_training(r, trainer, b, seconds, &used, &loss);
    snprintf(more, sizeof more,
             "\"processor\": %.6f, \"device_mib\": %.1f, \"parameters\": %lld, \"loss\": %.6f",
             used, bench_device_mib(&r->run),
             (long long)count_parameters(sg_trainer_table(trainer)), loss);
    bench_print(&r->run, seconds, more);
    sg_free(seconds);
}

static void usage(void) {
    fprintf(stderr, "usage: text_encoder [--vocabulary N] [--length N] [--layers N] [--width N] "
                    "[--heads N] [--classes N] [--dropout P] [--lengths full|random] [--profile] "
                    "[--ops] " BENCH_USAGE "\n");
    exit(64);
}

/* As bench_take. */
static int take(request *r, const char *name, const char *value) {
    static const char *const lengths[] = {"full", "random", NULL};
    sg_text_encoder_options *m = &r->model;
    const bench_number numbers[] = {{"--vocabulary", &m->vocabulary}, {"--length", &m->length},
                                    {"--layers", &m->layers},         {"--width", &m->width},
                                    {"--heads", &m->heads},           {"--classes", &m->classes}};

    bool profile = strcmp(name, "--profile") == 0, ops = strcmp(name, "--ops") == 0;

    r->profile |= profile;
    r->ops |= ops;
    if (profile || ops) return 1;
    if (!value) return bench_take(&r->run, name, value);
    if (strcmp(name, "--dropout") == 0) {
        char *end;

        m->dropout = strtof(value, &end);
        return end > value && !*end ? 2 : 0;
    }
    if (strcmp(name, "--lengths") == 0 && bench_word(lengths, value) >= 0)
        r->full = bench_word(lengths, value) == 0;
    else if (!bench_take_number(numbers, sizeof numbers / sizeof *numbers, name, value))
        return bench_take(&r->run, name, value);
    return 2;
}

static request parse(int argc, char **argv) {
    request r = {.run = bench_defaults(256), .model = sg_text_encoder_defaults(), .full = true};
    int taken;

    for (int i = 1; i < argc; i += taken) {
        taken = take(&r, argv[i], argv[i + 1]); /* argv ends with NULL */
        if (taken == 0) usage();
    }
    if (!bench_is_sound(&r.run)) usage();
    return r;
}

int main(int argc, char **argv) {
    request r = parse(argc, argv);
    sg_trainer *trainer;
    batch b;

    bench_must(sg_text_encoder_check(&r.model));
    bench_open(&r.run);
    r.profile = r.profile && !r.run.compute.plugin;
    b = draw(&r);
    trainer = bench_trainer(&r.run, sg_text_encoder_build, &r.model);
    if (r.ops)
        print_ops(&r, trainer, &b);
    else
        print_times(&r, trainer, &b);
    sg_trainer_destroy(trainer);
    release(&b);
    bench_close(&r.run);
    return 0;
}
