/* How long the CPU backend's kernels take; not part of the tests.
 *
 *   build/release/bench/kernels [PICTURES [NODES [avx2|native]]]      (`make bench` runs it)
 *
 * One thread runs the nano detector's training program at 256 x 256 for a shard of PICTURES random
 * pictures, and prints milliseconds by op and kernel, then the NODES slowest nodes; then batch norm
 * alone, and what a transformer does to tokens between its products, against the speed of memory
 * (in brackets: GB/s). All times are the best of many runs, node by node, for others use the
 * machine too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "core/threads.h"
#include "cpu/cpu.h"
#include "graph/program.h"
#include "nn/mask_detector.h"
#include "ops/ops.h"

enum { kRuns = 25, kRows = 256 };

static void must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "kernels: %s\n", sg_last_error());
    exit(1);
}

typedef struct {
    char name[96];
    double seconds, flop, bytes;
    int nodes;
} row;

static int by_seconds(const void *a, const void *b) {
    double x = ((const row *)a)->seconds, y = ((const row *)b)->seconds;

    return x < y ? 1 : x > y ? -1 : 0;
}

static void print_rows(row *rows, int n, int most, double total) {
    qsort(rows, (size_t)n, sizeof *rows, by_seconds);
    for (int i = 0; i < n && i < most; i++) {
        const row *r = &rows[i];

        printf("%8.3f ms %5.1f %% %4d x", 1e3 * r->seconds, 100.0 * r->seconds / total, r->nodes);
        if (r->flop > 0.0)
            printf(" %6.1f GFLOP/s", 1e-9 * r->flop / r->seconds);
        else
            printf(" %6.1f GB/s   ", 1e-9 * r->bytes / r->seconds);
        printf("  %s\n", r->name);
    }
}

static void add(row *rows, int *n, const char *name, sg_step_view s, double seconds) {
    int i = 0;

    while (i < *n && strcmp(rows[i].name, name) != 0) i++;
    if (i == *n) {
        if (*n == kRows) return;
        memset(&rows[(*n)++], 0, sizeof *rows);
        snprintf(rows[i].name, sizeof rows[i].name, "%s", name);
    }
    rows[i].seconds += seconds;
    rows[i].flop += s.flop;
    rows[i].bytes += s.bytes;
    rows[i].nodes++;
}

static void report(const sg_program *p, const double *seconds, int pictures, int most) {
    static row ops[kRows], nodes[4 * kRows];
    int n_ops = 0, n_nodes = 0;
    double total = 0.0, flop = 0.0;

    for (int i = 0; i < sg_program_steps(p); i++) {
        sg_step_view s = sg_program_step(p, i);
        char name[96], shape[48];

        total += seconds[i];
        flop += s.flop;
        snprintf(name, sizeof name, "%s%s [%s]%s", s.conversion ? "convert " : "",
                 s.conversion ? "" : s.node->op->name, s.label, s.prologue ? " prologue" : "");
        add(ops, &n_ops, name, s, seconds[i]);
        if (n_nodes == 4 * kRows) continue;
        snprintf(nodes[n_nodes].name, sizeof nodes[n_nodes].name, "%s %s [%s]", s.node->name,
                 sg_shape_text(&s.node->out[0].shape, shape, sizeof shape), s.label);
        nodes[n_nodes].seconds = seconds[i];
        nodes[n_nodes].flop = s.flop;
        nodes[n_nodes].bytes = s.bytes;
        nodes[n_nodes++].nodes = 1;
    }
    printf("%.1f ms of kernels, %.1f GFLOP/s, %.1f pictures/s\n", 1e3 * total, 1e-9 * flop / total,
           pictures / total);
    print_rows(ops, n_ops, kRows, total);
    printf("the slowest nodes\n");
    print_rows(nodes, n_nodes, most, total);
}

/* Five faces a picture. */
static void fill_truths(float *boxes, int32_t *classes, int32_t *count, int64_t batch) {
    sg_random r = sg_random_init(7);

    for (int64_t n = 0; n < batch; n++) {
        count[n] = 5;
        for (int j = 0; j < 5; j++) {
            float *b = boxes + (n * SG_MAX_TRUTHS + j) * 4;
            float size = sg_random_range(&r, 10.0f, 60.0f);

            b[0] = sg_random_range(&r, 0.0f, 190.0f);
            b[1] = sg_random_range(&r, 0.0f, 190.0f);
            b[2] = b[0] + size;
            b[3] = b[1] + size;
            classes[n * SG_MAX_TRUTHS + j] = (int32_t)sg_random_below(&r, 3);
        }
    }
}

/* The program of one shard, with memory to run it. */
static void bench_detector(sg_mode mode, int pictures, int most) {
    sg_mask_detector_options model = sg_mask_detector_defaults();
    int64_t pixels = 3 * model.input * model.input;
    uint8_t *image = sg_malloc((size_t)(pictures * pixels));
    float *boxes = sg_calloc((size_t)pictures * SG_MAX_TRUTHS * 4, sizeof *boxes);
    int32_t *classes = sg_calloc((size_t)pictures * SG_MAX_TRUTHS, sizeof *classes);
    int32_t *count = sg_calloc((size_t)pictures, sizeof *count);
    sg_random r = sg_random_init(1);
    double *seconds, *best, start = sg_now();
    sg_table *table;
    sg_state *state;
    sg_bindings b;
    sg_program *p;
    sg_graph *g;
    int steps;

    for (int64_t i = 0; i < pictures * pixels; i++) image[i] = (uint8_t)sg_random_u32(&r);
    fill_truths(boxes, classes, count, pictures);
    must(sg_table_create(&table));
    must(sg_graph_create(mode, table, &g));
    must(sg_mask_detector_build(g, pictures, &model));
    sg_table_freeze(table);
    must(sg_state_create(table, 1, &state));
    sg_state_init(state, 1);
    start = sg_now();
    must(sg_program_compile(g, &sg_backend_cpu, NULL, &p));
    printf("nano detector, %s, %d pictures, 1 thread; compiled in %.0f ms, arena %.1f MB\n",
           mode == SG_TRAIN ? "a shard of training" : "inference", pictures,
           1e3 * (sg_now() - start), 1e-6 * (double)sg_program_arena_bytes(p));
    steps = sg_program_steps(p);
    seconds = sg_calloc((size_t)steps, sizeof *seconds);
    best = sg_calloc((size_t)steps, sizeof *best);
    memset(&b, 0, sizeof b);
    b.base[SG_BUF_ARENA] = sg_malloc(sg_program_arena_bytes(p));
    b.base[SG_BUF_WEIGHTS] = sg_malloc(sg_program_weights_bytes(p));
    b.base[SG_BUF_VALUES] = state->values;
    b.base[SG_BUF_GRADS] = sg_calloc((size_t)table->n_grads, sizeof(float));
    b.input[0] = image;
    b.input[1] = boxes;
    b.input[2] = classes;
    b.input[3] = count;
    for (int o = 0; o < sg_graph_outputs(g); o++)
        b.output[o] = sg_malloc(sg_value_bytes(sg_graph_output(g, o)));
    b.seconds = seconds;
    sg_backend_cpu.enter_thread();
    for (int i = 0; i < kRuns; i++) {
        memset(seconds, 0, (size_t)steps * sizeof *seconds);
        must(sg_program_prologue(p, &b));
        must(sg_program_run(p, &b));
        for (int k = 0; k < steps; k++)
            if (i == 0 || seconds[k] < best[k]) best[k] = seconds[k];
    }
    report(p, best, pictures, most);
    for (int o = 0; o < SG_MAX_OUTPUTS; o++) sg_free(b.output[o]);
    sg_free(b.base[SG_BUF_ARENA]);
    sg_free(b.base[SG_BUF_WEIGHTS]);
    sg_free(b.base[SG_BUF_GRADS]);
    sg_program_destroy(p);
    sg_graph_destroy(g);
    sg_state_destroy(state);
    sg_table_destroy(table);
    sg_free(seconds);
    sg_free(best);
    sg_free(image);
    sg_free(boxes);
    sg_free(classes);
    sg_free(count);
}

/* Run the graph, of one input and one output of `shape` each, and print what `wanted` ops of it
 * take beside a copy of the input. */
static void bench_ops(const char *title, const sg_graph *g, sg_shape shape,
                      const sg_op *const wanted[], int n_wanted) {
    size_t bytes = (size_t)sg_shape_count(&shape) * sizeof(float);
    float *x = sg_malloc(bytes), *y = sg_malloc(bytes), step[SG_STEP_SLOTS] = {0.0f};
    double *seconds, *best, start, copy = 1e9;
    sg_bindings b;
    sg_program *p;
    char text[48];
    int steps;

    must(sg_graph_status(g));
    must(sg_program_compile(g, &sg_backend_cpu, NULL, &p));
    steps = sg_program_steps(p);
    seconds = sg_calloc((size_t)steps, sizeof *seconds);
    best = sg_calloc((size_t)steps, sizeof *best);
    for (int64_t i = 0; i < sg_shape_count(&shape); i++) x[i] = (float)(i % 1000) * 1e-3f;
    memset(&b, 0, sizeof b);
    b.base[SG_BUF_STEP] = step;
    b.input[0] = x;
    b.output[0] = y;
    b.seconds = seconds;
    for (int i = 0; i < 40; i++) { /* the best of many: others use the machine too */
        memset(seconds, 0, (size_t)steps * sizeof *seconds);
        must(sg_program_run_once(p, &b));
        for (int k = 0; k < steps; k++)
            if (i == 0 || seconds[k] < best[k]) best[k] = seconds[k];
        start = sg_now();
        memcpy(y, x, bytes);
        copy = sg_now() - start < copy ? sg_now() - start : copy;
    }
    printf("%s %s: memcpy %.2f ms (%.1f GB/s)", title, sg_shape_text(&shape, text, sizeof text),
           1e3 * copy, 2e-9 * (double)bytes / copy);
    for (int i = 0; i < steps; i++) {
        sg_step_view s = sg_program_step(p, i);

        for (int w = 0; w < n_wanted; w++)
            if (!s.conversion && s.node->op == wanted[w])
                printf(", %s %.2f ms (%.1f)", s.node->op->name, 1e3 * best[i],
                       1e-9 * s.bytes / best[i]);
    }
    printf("\n");
    sg_program_destroy(p);
    sg_free(seconds);
    sg_free(best);
    sg_free(x);
    sg_free(y);
}

static sg_value *ones(sg_graph *g, int64_t count) {
    float c[1024];

    for (int i = 0; i < 1024; i++) c[i] = 1.0f;
    return sg_constant(g, SG_F32, sg_shape_1(count), c);
}

/* Batch norm + SiLU forward and backward in one graph on (N, C, H, W). */
static void bench_batch_norm(sg_shape shape) {
    static const sg_op *const wanted[] = {&sg_op_batch_norm, &sg_op_batch_norm_dx};
    sg_value *x, *gamma, *y;
    sg_graph *g;

    must(sg_graph_create(SG_TRAIN, NULL, &g));
    gamma = ones(g, shape.dim[1]);
    x = sg_bias(g, sg_input(g, "x", SG_F32, shape), gamma);
    y = sg_batch_norm(g, x, gamma, gamma, NULL, 1e-3f, SG_ACT_SILU);
    must(sg_graph_status(g));
    sg_output(g, "dx",
              sg_batch_norm_dx(g, x, gamma, gamma, &y->node->out[1], &y->node->out[2], y, 1e-3f,
                               SG_ACT_SILU));
    bench_ops("batch norm + SiLU", g, shape, wanted, 2);
    sg_graph_destroy(g);
}

/* What a block of a transformer does to (N, T, C) between its products, forward and backward. */
static void bench_tokens(sg_shape shape) {
    static const sg_op *const wanted[] = {&sg_op_layer_norm, &sg_op_gelu,    &sg_op_gelu_dx,
                                          &sg_op_dropout,    &sg_op_bias_db, &sg_op_layer_norm_dx};
    sg_value *x, *gamma, *y, *dy;
    sg_graph *g;

    must(sg_graph_create(SG_TRAIN, NULL, &g));
    gamma = ones(g, shape.dim[2]);
    x = sg_scale(g, sg_input(g, "x", SG_F32, shape), 2.0f);
    y = sg_layer_norm(g, x, gamma, gamma, sg_scale(g, x, 0.5f), 1e-5f);
    dy = sg_dropout(g, sg_gelu_dx(g, y, sg_gelu(g, y)), 0.1f);
    must(sg_graph_status(g));
    sg_output(g, "dx",
              sg_layer_norm_dx(g, &y->node->out[3], sg_bias_db(g, dy), &y->node->out[1],
                               &y->node->out[2], dy, &y->node->out[3]));
    bench_ops("tokens", g, shape, wanted, 6);
    sg_graph_destroy(g);
}

int main(int argc, char **argv) {
    int pictures = argc > 1 ? atoi(argv[1]) : 2;
    int nodes = argc > 2 ? atoi(argv[2]) : 25;

    if (pictures < 1) pictures = 1;
    must(sg_cpu_set_isa(argc > 3 ? argv[3] : "avx2"));
    bench_detector(SG_TRAIN, pictures, nodes);
    bench_detector(SG_EVAL, pictures, nodes);
    bench_batch_norm(sg_shape_4(16, 64, 64, 64));
    bench_batch_norm(sg_shape_4(2, 64, 64, 64));
    bench_tokens(sg_shape_3(256, 64, 256));
    bench_tokens(sg_shape_3(32, 64, 256));
    bench_tokens(sg_shape_3(4, 64, 256));
    return 0;
}
