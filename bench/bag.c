/* Training steps of a bag of features on random ids, timed: what scripts/bench-bag puts beside
 * bench/torch_bag.py.
 *
 *   bag [--rows N] [--width N] [--features N] [--classes N] [--batch N] [--rule sgd|adagrad|row]
 *       [--profile] [options of bench/common.h]
 *
 * A step is the sum of `features` rows of the table for every sample of the batch, a linear layer,
 * its loss, backward, and the update of both: SGD without momentum, the table by the rule. Batches
 * follow each other out of a pool that asks for every row several times over, evenly: no row is in
 * a cache because a step before has had it. Prints one JSON object: seconds a step of every group
 * of steps (--group, 10) after one group that warms up, processor time a step, peak memory in MiB,
 * parameters, the last loss, and the seconds that making the trainer took. --profile: the parts of
 * a step on standard error. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "core/mem.h"
#include "core/philox.h"
#include "core/threads.h"
#include "spotgrad.h"

enum { kTimesOver = 4 };

static const double kLearningRate = 0.1;

typedef struct {
    bench_request run;
    int64_t rows, width, features, classes;
    sg_rows_rule rule;
    bool profile;
    int64_t batches;      /* of the pool */
    int32_t *ids, *label; /* (batches, batch, features), (batches, batch) */
} request;

static sg_status build(sg_graph *g, int64_t n, void *context) {
    const request *r = context;
    sg_value *ids = sg_input(g, "ids", SG_I32, sg_shape_2(n, r->features)), *x;

    x = sg_embedding_bag(g, ids, NULL,
                         sg_param(g, "table", SG_ENTRY_ROWS, sg_shape_2(r->rows, r->width),
                                  (sg_init){SG_INIT_UNIFORM, 1.0f / (float)r->width}));
    x = sg_linear(g, "classify", x, r->classes);
    sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

static void draw(request *r) {
    int64_t each = r->run.batch * r->features;
    sg_random random = sg_random_init(1);

    r->batches = kTimesOver * r->rows / each + 1;
    r->ids = bench_block((size_t)(r->batches * each) * sizeof *r->ids);
    r->label = bench_block((size_t)(r->batches * r->run.batch) * sizeof *r->label);
    for (int64_t i = 0; i < r->batches * each; i++)
        r->ids[i] = (int32_t)sg_random_below(&random, r->rows);
    for (int64_t i = 0; i < r->batches * r->run.batch; i++)
        r->label[i] = (int32_t)sg_random_below(&random, r->classes);
}

static void feed(void *context, int64_t step, const void *inputs[SG_MAX_INPUTS]) {
    const request *r = context;
    int64_t at = step % r->batches * r->run.batch;

    inputs[0] = r->ids + at * r->features;
    inputs[1] = r->label + at;
}

static sg_trainer *new_trainer(request *r) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer;

    o.build = build;
    o.context = r;
    o.batch = r->run.batch;
    o.shards = r->run.shards;
    o.threads = r->run.threads;
    o.backend = sg_compute_backend(&r->run.compute);
    o.optimizer.momentum = o.optimizer.weight_decay = o.optimizer.clip_norm = 0.0;
    o.optimizer.rows = r->rule;
    bench_must(sg_trainer_create(&o, &trainer));
    return trainer;
}

static void print_times(const request *r, const sg_step_times *times) {
    double steps = (double)(r->run.steps * r->run.group), us = 1e6 / steps;

    fprintf(stderr, "prologue %.0f us, shards %.0f us, tree %.0f us, update and rows %.0f us\n",
            us * times->prologue, us * times->shards, us * times->tree, us * times->update);
}

static void usage(void) {
    fprintf(stderr, "usage: bag [--rows N] [--width N] [--features N] [--classes N] "
                    "[--rule sgd|adagrad|row] [--profile] " BENCH_USAGE "\n");
    exit(64);
}

/* As bench_take. */
static int take(request *r, const char *name, const char *value) {
    static const char *const words[] = {"sgd", "adagrad", "row", NULL};
    static const sg_rows_rule rules[] = {SG_ROWS_SGD, SG_ROWS_ADAGRAD, SG_ROWS_ADAGRAD_ROW};
    const bench_number numbers[] = {{"--rows", &r->rows},
                                    {"--width", &r->width},
                                    {"--features", &r->features},
                                    {"--classes", &r->classes}};

    if (strcmp(name, "--profile") == 0) {
        r->profile = true;
        return 1;
    }
    if (!value) return bench_take(&r->run, name, value);
    if (strcmp(name, "--rule") == 0 && bench_word(words, value) >= 0)
        r->rule = rules[bench_word(words, value)];
    else if (!bench_take_number(numbers, sizeof numbers / sizeof *numbers, name, value))
        return bench_take(&r->run, name, value);
    return 2;
}

static request parse(int argc, char **argv) {
    request r = {.run = bench_defaults(256),
                 .rows = 200000,
                 .width = 100,
                 .features = 64,
                 .classes = 3,
                 .rule = SG_ROWS_ADAGRAD};
    int taken;

    r.run.steps = r.run.group = 10;
    r.run.shards = 8;
    r.run.precision = "fp32";
    for (int i = 1; i < argc; i += taken) {
        taken = take(&r, argv[i], argv[i + 1]); /* argv ends with NULL */
        if (taken == 0) usage();
    }
    if (r.rows < 1 || r.width < 1 || r.features < 1 || r.classes < 1 || !bench_is_sound(&r.run))
        usage();
    return r;
}

int main(int argc, char **argv) {
    request r = parse(argc, argv);
    double *seconds = bench_block((size_t)r.run.steps * sizeof *seconds), *by_node, created, used;
    sg_step_times times = {0};
    sg_step_report report;
    sg_trainer *trainer;
    char more[160];

    bench_open(&r.run);
    draw(&r);
    created = sg_now();
    trainer = new_trainer(&r);
    created = sg_now() - created;
    by_node = bench_block((size_t)sg_program_steps(sg_trainer_program(trainer, 0)) *
                          (size_t)sg_trainer_threads(trainer) * sizeof *by_node);
    bench_run_steps(trainer, feed, &r, r.run.group, kLearningRate, &report);
    if (r.profile) sg_trainer_profile(trainer, 0, by_node, &times);
    used = bench_processor_time();
    for (int64_t i = 0; i < r.run.steps; i++)
        seconds[i] = bench_run_steps(trainer, feed, &r, r.run.group, kLearningRate, &report) /
                     (double)r.run.group;
    used = (bench_processor_time() - used) / (double)(r.run.steps * r.run.group);
    if (r.profile) print_times(&r, &times);
    snprintf(more, sizeof more,
             "\"processor\": %.6f, \"parameters\": %lld, \"loss\": %.6f, \"created\": %.3f", used,
             (long long)(r.rows * r.width + r.classes * (r.width + 1)), report.loss, created);
    bench_print(&r.run, seconds, more);
    sg_trainer_destroy(trainer);
    sg_free(r.ids);
    sg_free(r.label);
    sg_free(by_node);
    sg_free(seconds);
    bench_close(&r.run);
    return 0;
}
