#define _GNU_SOURCE
#include "common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "core/mem.h"
#include "core/threads.h"
#include "cpu/cpu.h"
#include "ops/ops.h"

bench_request bench_defaults(int64_t batch) {
    bench_request r = {.batch = batch,
                       .steps = 8,
                       .group = 1,
                       .shards = 2,
                       .threads = 2,
                       .isa = "avx2",
                       .device = "cpu",
                       .precision = "auto"};

    return r;
}

bool bench_take_number(const bench_number numbers[], int n, const char *name, const char *value) {
    char *end;

    for (int i = 0; i < n; i++) {
        if (strcmp(name, numbers[i].name) != 0) continue;
        *numbers[i].to = strtoll(value, &end, 10);
        return end > value && !*end;
    }
    return false;
}

int bench_word(const char *const words[], const char *value) {
    for (int i = 0; words[i]; i++)
        if (strcmp(words[i], value) == 0) return i;
    return -1;
}

int bench_take(bench_request *r, const char *name, const char *value) {
    int64_t shards = r->shards, threads = r->threads;
    const bench_number numbers[] = {{"--batch", &r->batch},
                                    {"--steps", &r->steps},
                                    {"--group", &r->group},
                                    {"--shards", &shards},
                                    {"--threads", &threads}};
    const struct {
        const char *name, **to;
    } texts[] = {{"--isa", &r->isa}, {"--device", &r->device}, {"--precision", &r->precision}};

    if (strcmp(name, "--tune") == 0) {
        r->tune = true;
        return 1;
    }
    if (!value) return 0;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(name, texts[i].name) != 0) continue;
        *texts[i].to = value;
        return 2;
    }
    if (!bench_take_number(numbers, sizeof numbers / sizeof *numbers, name, value)) return 0;
    r->shards = (int)shards;
    r->threads = (int)threads;
    return 2;
}

bool bench_is_sound(const bench_request *r) {
    return r->batch > 0 && r->shards > 0 && r->threads > 0 && r->steps > 0 && r->group > 0;
}

void bench_must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "bench: %s\n", sg_last_error());
    exit(1);
}

void *bench_block(size_t bytes) {
    void *p = sg_calloc(1, bytes);

    if (!p) bench_must(sg_fail(SG_ERR_OOM, "no memory for %zu bytes", bytes));
    return p;
}

void bench_open(bench_request *r) {
    sg_compute_options options = {.device = r->device, .precision = r->precision, .timed = r->tune};

    bench_must(sg_cpu_set_isa(r->isa));
    bench_must(sg_compute_open(&options, &r->compute));
}

void bench_close(bench_request *r) { sg_compute_close(&r->compute); }

sg_trainer *bench_trainer(const bench_request *r, sg_build_fn build, void *context) {
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *trainer;

    o.build = build;
    o.context = context;
    o.batch = r->batch;
    o.shards = r->shards;
    o.threads = r->threads;
    o.backend = sg_compute_backend(&r->compute);
    o.optimizer.kind = SG_OPTIMIZER_ADAMW;
    bench_must(sg_trainer_create(&o, &trainer));
    return trainer;
}

void bench_same(void *inputs, int64_t step, const void *to[SG_MAX_INPUTS]) {
    (void)step;
    memcpy(to, inputs, SG_MAX_INPUTS * sizeof *to);
}

double bench_run_steps(sg_trainer *trainer, bench_feed feed, void *context, int64_t n, double lr,
                       sg_step_report *report) {
    double start = sg_now();

    for (int64_t launched = 0, settled = 0; settled < n; settled++) {
        while (launched < n && sg_trainer_under_way(trainer) < sg_trainer_ahead(trainer)) {
            int64_t step = sg_trainer_state(trainer)->step + sg_trainer_under_way(trainer);
            const void *inputs[SG_MAX_INPUTS];

            feed(context, step, inputs);
            bench_must(sg_trainer_launch(trainer, 0, inputs, lr));
            launched++;
        }
        bench_must(sg_trainer_settle(trainer, report));
    }
    return sg_now() - start;
}

/* A line a kernel. */
static void print_op(const sg_step_view *view, double seconds) {
    printf("{\"node\": \"%s\", \"op\": \"%s\", \"kernel\": \"%s\", \"ms\": %.6f, \"flop\": %.0f, "
           "\"bytes\": %.0f}\n",
           view->node->name, view->conversion ? "convert" : view->node->op->name, view->label,
           1e3 * seconds, view->flop, view->bytes);
}

void bench_print_ops(sg_trainer *trainer, const void *inputs[SG_MAX_INPUTS], int shards) {
    const sg_program *program = sg_trainer_program(trainer, 0);
    int n = sg_program_steps(program), threads = sg_trainer_threads(trainer);
    double *seconds = bench_block((size_t)(n * threads) * sizeof *seconds);
    sg_step_times times = {0};
    sg_step_report report;
    sg_status st;

    bench_run_steps(trainer, bench_same, inputs, 1, 0.0, &report);
    sg_trainer_profile(trainer, 0, seconds, &times);
    bench_must(sg_trainer_launch(trainer, 0, inputs, 0.0));
    st = sg_trainer_settle(trainer, &report);
    if (st != SG_ERR_DIVERGED) bench_must(st); /* kernels that are repeated compute nonsense */
    for (int i = 0; i < n; i++) {
        sg_step_view view = sg_program_step(program, i);

        for (int t = 1; t < threads; t++) seconds[i] += seconds[t * n + i];
        print_op(&view, seconds[i] / (double)shards);
    }
    sg_free(seconds);
}

double bench_processor_time(void) {
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_device_mib(const bench_request *r) {
    const sg_device *device = sg_compute_backend(&r->compute)->device;
    size_t free_bytes = 0, total = 0;

    if (device) bench_must(device->memory(&free_bytes, &total));
    return (double)(total - free_bytes) / 1048576.0;
}

void bench_print(const bench_request *r, const double seconds[], const char *more) {
    struct rusage used;

    getrusage(RUSAGE_SELF, &used);
    printf("{\"seconds\": [");
    for (int64_t i = 0; i < r->steps; i++) printf("%s%.6f", i ? ", " : "", seconds[i]);
    printf("], \"peak_mib\": %.1f, %s}\n", (double)used.ru_maxrss / 1024.0, more);
}
