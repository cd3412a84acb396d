/* Training steps of a bag of features on random ids, timed: what scripts/bench-bag puts beside
 * bench/torch_bag.py.
 *
 *   bag [--rows N] [--width N] [--features N] [--classes N] [--batch N] [--rule sgd|adagrad|row]
 *       [--shards N] [--threads N] [--steps N] [--group N] [--isa avx2|native]
 *       [--device cpu|cuda] [--profile]
 *
 * A step is the sum of `features` rows of the table for every sample of the batch, a linear layer,
 * its loss, backward, and the update of both: SGD without momentum, the table by the rule. Batches
 * follow each other out of a pool that asks for every row several times over, evenly: no row is in
 * a cache because a step before has had it. Prints one JSON object: seconds a step of every group
 * of steps (--group, 10) after one group that warms up, peak memory in MiB, parameters, the last
 * loss, and the seconds that making the trainer took. --profile: the parts of a step on standard
 * error. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/mem.h"
#include "core/philox.h"
#include "cpu/cpu.h"
#include "spotgrad.h"
#include "train/compute.h"
#include "train/trainer.h"

enum { kTimesOver = 4 };

typedef struct {
    int64_t rows, width, features, classes, batch, steps, group;
    int shards, threads;
    const char *rule, *isa, *device;
    bool profile;
} request;

typedef struct {
    int64_t batches;
    int32_t *ids, *label; /* (batches, batch, features), (batches, batch) */
} pool;

static void must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "bag: %s\n", sg_last_error());
    exit(1);
}

static void *block(size_t bytes) {
    void *p = sg_calloc(1, bytes);

    if (!p) must(sg_fail(SG_ERR_OOM, "no memory for %zu bytes", bytes));
    return p;
}

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

static pool draw(const request *r) {
    int64_t each = r->batch * r->features;
    sg_random random = sg_random_init(1);
    pool p = {kTimesOver * r->rows / each + 1, NULL, NULL};

    p.ids = block((size_t)(p.batches * each) * sizeof *p.ids);
    p.label = block((size_t)(p.batches * r->batch) * sizeof *p.label);
    for (int64_t i = 0; i < p.batches * each; i++)
        p.ids[i] = (int32_t)sg_random_below(&random, r->rows);
    for (int64_t i = 0; i < p.batches * r->batch; i++)
        p.label[i] = (int32_t)sg_random_below(&random, r->classes);
    return p;
}

static sg_trainer *new_trainer(request *r, const sg_compute *compute) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer;

    o.build = build;
    o.context = r;
    o.batch = r->batch;
    o.shards = r->shards;
    o.threads = r->threads;
    o.backend = sg_compute_backend(compute);
    o.optimizer.momentum = o.optimizer.weight_decay = o.optimizer.clip_norm = 0.0;
    o.optimizer.rows = strcmp(r->rule, "sgd") == 0   ? SG_ROWS_SGD
                       : strcmp(r->rule, "row") == 0 ? SG_ROWS_ADAGRAD_ROW
                                                     : SG_ROWS_ADAGRAD;
    must(sg_trainer_create(&o, &trainer));
    return trainer;
}

/* Seconds of `n` steps, of which as many as may be are under way. */
static double run_steps(const request *r, sg_trainer *trainer, const pool *p, int64_t n,
                        sg_step_report *report) {
    double start = sg_now();

    for (int64_t launched = 0, settled = 0; settled < n; settled++) {
        while (launched < n && sg_trainer_under_way(trainer) < sg_trainer_ahead(trainer)) {
            int64_t step = sg_trainer_state(trainer)->step + sg_trainer_under_way(trainer);
            int64_t at = step % p->batches * r->batch;
            const void *inputs[SG_MAX_INPUTS] = {p->ids + at * r->features, p->label + at};

            must(sg_trainer_launch(trainer, 0, inputs, 0.1));
            launched++;
        }
        must(sg_trainer_settle(trainer, report));
    }
    return sg_now() - start;
}

static void print_times(const request *r, const sg_step_times *times) {
    double steps = (double)(r->steps * r->group), us = 1e6 / steps;

    fprintf(stderr, "prologue %.0f us, shards %.0f us, tree %.0f us, update and rows %.0f us\n",
            us * times->prologue, us * times->shards, us * times->tree, us * times->update);
}

static void usage(void) {
    fprintf(stderr, "usage: bag [--rows N] [--width N] [--features N] [--classes N] [--batch N] "
                    "[--rule sgd|adagrad|row] [--shards N] [--threads N] [--steps N] [--group N] "
                    "[--isa avx2|native] [--device cpu|cuda] [--profile]\n");
    exit(64);
}

/* Takes one option with its value; false if there is none of that name. */
static bool take(request *r, const char *name, const char *value) {
    const struct {
        const char *name;
        int64_t *to;
    } numbers[] = {{"--rows", &r->rows},       {"--width", &r->width}, {"--features", &r->features},
                   {"--classes", &r->classes}, {"--batch", &r->batch}, {"--steps", &r->steps},
                   {"--group", &r->group}};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(name, numbers[i].name) != 0) continue;
        *numbers[i].to = strtoll(value, NULL, 10);
        return true;
    }
    if (strcmp(name, "--shards") == 0)
        r->shards = (int)strtol(value, NULL, 10);
    else if (strcmp(name, "--threads") == 0)
        r->threads = (int)strtol(value, NULL, 10);
    else if (strcmp(name, "--rule") == 0)
        r->rule = value;
    else if (strcmp(name, "--isa") == 0)
        r->isa = value;
    else if (strcmp(name, "--device") == 0)
        r->device = value;
    else
        return false;
    return true;
}

static request parse(int argc, char **argv) {
    request r = {.rows = 200000,
                 .width = 100,
                 .features = 64,
                 .classes = 3,
                 .batch = 256,
                 .steps = 10,
                 .group = 10,
                 .shards = 8,
                 .threads = 2,
                 .rule = "adagrad",
                 .isa = "avx2",
                 .device = "cpu"};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--profile") == 0)
            r.profile = true;
        else if (i + 1 == argc || !take(&r, argv[i], argv[i + 1]))
            usage();
        else
            i++;
    }
    if (r.rows < 1 || r.width < 1 || r.features < 1 || r.classes < 1 || r.batch < 1 ||
        r.steps < 1 || r.group < 1 || !strstr("sgd adagrad row", r.rule))
        usage();
    return r;
}

int main(int argc, char **argv) {
    request r = parse(argc, argv);
    const sg_compute_options options = {.device = r.device, .precision = "fp32"};
    double *seconds = block((size_t)r.steps * sizeof *seconds), *by_node, created;
    sg_step_times times = {0};
    sg_step_report report;
    sg_trainer *trainer;
    sg_compute compute;
    struct rusage used;
    pool p;

    must(sg_cpu_set_isa(r.isa));
    must(sg_compute_open(&options, &compute));
    p = draw(&r);
    created = sg_now();
    trainer = new_trainer(&r, &compute);
    created = sg_now() - created;
    by_node = block((size_t)sg_program_steps(sg_trainer_program(trainer, 0)) *
                    (size_t)sg_trainer_threads(trainer) * sizeof *by_node);
    run_steps(&r, trainer, &p, r.group, &report);
    if (r.profile) sg_trainer_profile(trainer, 0, by_node, &times);
    for (int64_t i = 0; i < r.steps; i++)
        seconds[i] = run_steps(&r, trainer, &p, r.group, &report) / (double)r.group;
    if (r.profile) print_times(&r, &times);
    getrusage(RUSAGE_SELF, &used);
    printf("{\"seconds\": [");
    for (int64_t i = 0; i < r.steps; i++) printf("%s%.6f", i ? ", " : "", seconds[i]);
    printf("], \"peak_mib\": %.1f, \"parameters\": %lld, \"loss\": %.6f, \"created\": %.3f}\n",
           (double)used.ru_maxrss / 1024.0,
           (long long)(r.rows * r.width + r.classes * (r.width + 1)), report.loss, created);
    sg_trainer_destroy(trainer);
    sg_free(p.ids);
    sg_free(p.label);
    sg_free(by_node);
    sg_free(seconds);
    sg_compute_close(&compute);
    return 0;
}
