/* Every CPU kernel against the reference, at odd shapes: graphs are compiled for both backends and
 * fed the same numbers. On the way: padding channels of BLOCKED stay zero (kernels are wrapped to
 * look), no node falls back to the reference, a second run and a run in two threads at once give
 * the same bits, and no compilation leaks when an allocation fails. Twice: run.isa = avx2, and
 * native where there is AVX-512. */
#define _DEFAULT_SOURCE /* fork, RLIMIT_AS */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <immintrin.h>
#include <math.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/philox.h"
#include "cpu/blas.h"
#include "cpu/cpu.h"
#include "cpu/dnnl.h"
#include "cpu/peak.h"
#include "cpu/simd.h"
#include "graph/program.h"
#include "nn/mask_detector.h"
#include "ops/detect.h"
#include "ops/ops.h"
#include "op_check.h"
#include "out_of_memory.h"

/* --- a backend that looks at padding ---------------------------------------------------------- */

typedef struct {
    sg_kernel_plan inner;
    int n_out;
    sg_shape shape[SG_MAX_OUT];
} watched;

static bool padding_is_zero(const float *p, const sg_shape *s) {
    int block = sg_cpu_block();
    int64_t blocks = (s->dim[1] + block - 1) / block, HW = s->dim[2] * s->dim[3];
    int first = (int)(s->dim[1] - (blocks - 1) * block);

    for (int64_t n = 0; n < s->dim[0]; n++) {
        const float *last = p + (n * blocks + blocks - 1) * HW * block;

        for (int64_t i = 0; i < HW; i++)
            for (int c = first; c < block; c++)
                if (last[i * block + c] != 0.0f) return false;
    }
    return true;
}

static sg_status watch_run(const sg_args *a) {
    const watched *w = a->state;
    sg_args inner = *a;

    inner.state = w->inner.state;
    SG_TRY(w->inner.run(&inner));
    for (int o = 0; o < w->n_out; o++) {
        if (w->inner.out[o] == SG_LAYOUT_BLOCKED && !padding_is_zero(a->out[o], &w->shape[o]))
            return sg_fail(SG_ERR_ARG, "%s (%s): padding of output %d is not zero", a->node->name,
                           a->node->op->name, o);
    }
    return SG_OK;
}

static void watch_release(void *state) {
    watched *w = state;

    if (w->inner.release) w->inner.release(w->inner.state);
    sg_free(w);
}

static sg_status watch(sg_kernel_plan *plan, int n_out, const sg_shape *shapes[]) {
    watched *w = sg_calloc(1, sizeof *w);

    if (!w) {
        if (plan->release) plan->release(plan->state);
        return sg_fail(SG_ERR_OOM, "no memory to watch");
    }
    w->inner = *plan;
    w->n_out = n_out;
    for (int o = 0; o < n_out; o++) w->shape[o] = *shapes[o];
    plan->run = watch_run;
    plan->state = w;
    plan->release = watch_release;
    return SG_OK;
}

static sg_status watch_select(void *context, const sg_node *node, const sg_layout have[],
                              sg_kernel_plan *plan) {
    const sg_shape *shapes[SG_MAX_OUT];

    SG_TRY(sg_backend_cpu.select(context, node, have, plan));
    for (int o = 0; o < node->n_out; o++) shapes[o] = &node->out[o].shape;
    return watch(plan, node->n_out, shapes);
}

static sg_status watch_convert(void *context, const sg_value *v, sg_layout from, sg_layout to,
                               sg_kernel_plan *plan) {
    const sg_shape *shapes[1] = {&v->shape};

    SG_TRY(sg_backend_cpu.convert(context, v, from, to, plan));
    return watch(plan, 1, shapes);
}

static sg_backend watching_backend(void) {
    sg_backend b = sg_backend_cpu;

    b.select = watch_select;
    b.convert = watch_convert;
    return b;
}

/* --- inputs, drawn by name -------------------------------------------------------------------- */

enum { kBytes = 1 << 20 }; /* of one input or output */

static float draw(const char *name, int64_t i) {
    sg_random r = sg_random_init(sg_key_mix(sg_key_name(name), (uint64_t)i));

    return sg_random_normal(&r);
}

static sg_value *f32(sg_graph *g, const char *name, sg_shape shape) {
    return sg_input(g, name, SG_F32, shape);
}

/* The same numbers as a constant: what depends on it alone moves to the prologue. */
static sg_value *fixed(sg_graph *g, const char *name, sg_shape shape) {
    int64_t count = sg_shape_count(&shape);
    float *data = sg_malloc((size_t)count * sizeof *data + 1);
    sg_value *v;

    for (int64_t i = 0; i < count; i++) data[i] = draw(name, i);
    v = sg_constant(g, SG_F32, shape, data);
    sg_free(data);
    return v;
}

/* x in BLOCKED: bias is one of the ops that always give it. */
static sg_value *blocked(sg_graph *g, const char *name, sg_shape shape) {
    return sg_bias(g, f32(g, name, shape), fixed(g, "a bias", sg_shape_1(shape.dim[1])));
}

static void *make_input(const sg_value *v, const char *name) {
    int64_t count = sg_shape_count(&v->shape);
    void *data = test_malloc(kBytes);

    assert_true((size_t)count * sg_dtype_size(v->dtype) <= kBytes);
    for (int64_t i = 0; i < count; i++) {
        float z = draw(name, i);

        if (v->dtype == SG_F32) ((float *)data)[i] = strchr(name, '+') ? fabsf(z) + 0.1f : z;
        if (v->dtype == SG_U8) ((uint8_t *)data)[i] = (uint8_t)(int)(128.0f + 50.0f * z);
        if (v->dtype == SG_I32) ((int32_t *)data)[i] = (int32_t)(i % 4) - 1;
    }
    return data;
}

/* --- running ---------------------------------------------------------------------------------- */

typedef void (*build_fn)(sg_graph *g);

typedef struct {
    void *input[SG_MAX_INPUTS];
    void *output[SG_MAX_OUTPUTS];
} buffers;

static void bind(sg_bindings *b, const buffers *m) {
    memset(b, 0, sizeof *b);
    for (int i = 0; i < SG_MAX_INPUTS; i++) b->input[i] = m->input[i];
    for (int i = 0; i < SG_MAX_OUTPUTS; i++) b->output[i] = m->output[i];
}

static void must(sg_status st) {
    if (st != SG_OK) fail_msg("%s", sg_last_error());
}

static buffers make_buffers(const sg_graph *g) {
    buffers m;

    memset(&m, 0, sizeof m);
    for (int i = 0; i < sg_graph_inputs(g); i++)
        m.input[i] = make_input(sg_graph_input(g, i), sg_graph_input_name(g, i));
    for (int o = 0; o < sg_graph_outputs(g); o++) m.output[o] = test_calloc(1, kBytes);
    return m;
}

static void free_buffers(buffers *m) {
    for (int i = 0; i < SG_MAX_INPUTS; i++)
        if (m->input[i]) test_free(m->input[i]);
    for (int o = 0; o < SG_MAX_OUTPUTS; o++)
        if (m->output[o]) test_free(m->output[o]);
}

static size_t output_bytes(const sg_graph *g, int o) {
    const sg_value *v = sg_graph_output(g, o);

    return (size_t)sg_shape_count(&v->shape) * sg_dtype_size(v->dtype);
}

static void run(const sg_program *p, const buffers *m) {
    sg_bindings b;

    bind(&b, m);
    must(sg_program_run_once(p, &b));
}

typedef struct {
    const sg_program *p;
    buffers m;
    sg_status st;
    int times;
} job;

static void *job_run(void *argument) {
    job *j = argument;
    sg_bindings b;

    bind(&b, &j->m);
    for (int i = 0; i < j->times && j->st == SG_OK; i++) j->st = sg_program_run_once(j->p, &b);
    return NULL;
}

/* One program in two threads at once: both outputs as `expected`. */
static void check_concurrent(const sg_graph *g, const sg_program *p, const buffers *expected) {
    job jobs[2];
    pthread_t thread;

    for (int i = 0; i < 2; i++) {
        memset(&jobs[i], 0, sizeof jobs[i]);
        jobs[i].p = p;
        jobs[i].times = 5;
        jobs[i].m = make_buffers(g);
    }
    assert_int_equal(pthread_create(&thread, NULL, job_run, &jobs[1]), 0);
    job_run(&jobs[0]);
    pthread_join(thread, NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(jobs[i].st, SG_OK);
        for (int o = 0; o < sg_graph_outputs(g); o++)
            assert_memory_equal(jobs[i].m.output[o], expected->output[o], output_bytes(g, o));
        free_buffers(&jobs[i].m);
    }
}

static void compare(const sg_graph *g, const buffers *got, const buffers *expected, float tol) {
    for (int o = 0; o < sg_graph_outputs(g); o++) {
        const sg_value *v = sg_graph_output(g, o);
        int64_t count = sg_shape_count(&v->shape);
        const float *a = got->output[o], *b = expected->output[o];
        float scale = 0.0f;

        if (v->dtype != SG_F32) {
            assert_memory_equal(a, b, output_bytes(g, o));
            continue;
        }
        for (int64_t i = 0; i < count; i++) scale = fmaxf(scale, fabsf(b[i]));
        for (int64_t i = 0; i < count; i++) {
            float bound = tol * (fabsf(b[i]) + 0.2f * scale);

            if (!(fabsf(a[i] - b[i]) <= bound) && memcmp(&a[i], &b[i], sizeof *a) != 0)
                fail_msg("%s: output %s [%lld]: %.9g, the reference has %.9g (bound %.3g)",
                         v->node->op->name, sg_graph_output_name(g, o), (long long)i, (double)a[i],
                         (double)b[i], (double)bound);
        }
    }
}

static void check_labels(const sg_program *p) {
    for (int i = 0; i < sg_program_steps(p); i++) {
        sg_step_view s = sg_program_step(p, i);

        if (strcmp(s.label, "ref") == 0)
            fail_msg("%s (%s) runs on the reference", s.node->name, s.node->op->name);
    }
}

static void check(build_fn build, float tol) {
    sg_backend watching = watching_backend();
    sg_program *reference, *cpu, *plain;
    buffers expected, got, again;
    sg_graph *g;

    must(sg_graph_create(SG_TRAIN, NULL, &g));
    build(g);
    must(sg_graph_status(g));
    must(sg_program_compile(g, &sg_backend_ref, NULL, &reference));
    must(sg_program_compile(g, &watching, NULL, &cpu));
    must(sg_program_compile(g, &sg_backend_cpu, NULL, &plain));
    check_labels(cpu);
    expected = make_buffers(g);
    got = make_buffers(g);
    again = make_buffers(g);
    run(reference, &expected);
    run(cpu, &got);
    compare(g, &got, &expected, tol);
    run(plain, &again);
    for (int o = 0; o < sg_graph_outputs(g); o++)
        assert_memory_equal(again.output[o], got.output[o], output_bytes(g, o));
    check_concurrent(g, plain, &got);
    free_buffers(&expected);
    free_buffers(&got);
    free_buffers(&again);
    sg_program_destroy(reference);
    sg_program_destroy(cpu);
    sg_program_destroy(plain);
    sg_graph_destroy(g);
}

/* --- convolutions ----------------------------------------------------------------------------- */

typedef struct {
    int64_t N, C, H, W, OC, K, S, P, G;
    bool bias;
    sg_act act;
} conv_case;

static conv_case the_case;
static sg_shape the_shape;

static void build_conv(sg_graph *g) {
    const conv_case *c = &the_case;
    sg_conv_options o = {c->S, c->P, c->G, c->act};
    sg_shape w_shape = sg_shape_4(c->OC, c->C / c->G, c->K, c->K);
    sg_shape x_shape = sg_shape_4(c->N, c->C, c->H, c->W);
    sg_value *x = f32(g, "x", x_shape), *w = f32(g, "w", w_shape);
    sg_value *b = c->bias ? f32(g, "b", sg_shape_1(c->OC)) : NULL;
    sg_value *y = sg_conv2d(g, x, w, b, o), *dy;

    sg_output(g, "y", y);
    sg_output(g, "y of a constant filter",
              sg_conv2d(g, blocked(g, "x2", x_shape), fixed(g, "w", w_shape), b, o));
    if (!y || c->act != SG_ACT_NONE) return;
    dy = f32(g, "dy", y->shape);
    sg_output(g, "dx", sg_conv2d_dx(g, w, dy, o, x_shape));
    sg_output(g, "dx of a constant filter",
              sg_conv2d_dx(g, fixed(g, "w", w_shape), dy, o, x_shape));
    sg_output(g, "dw", sg_conv2d_dw(g, x, dy, o, w_shape));
}

/* Filters that are computed come in blocks, which no convolution takes them in. */
static void build_computed_filter(sg_graph *g) {
    const sg_conv_options o = {1, 1, 1, SG_ACT_NONE};
    sg_value *x = f32(g, "x", sg_shape_4(2, 8, 5, 7)), *dy = f32(g, "dy", sg_shape_4(2, 13, 5, 7));
    sg_value *w = blocked(g, "w", sg_shape_4(13, 8, 3, 3));

    sg_output(g, "y", sg_conv2d(g, x, w, NULL, o));
    sg_output(g, "dx", sg_conv2d_dx(g, w, dy, o, x->shape));
    w = sg_conv2d_dw(g, f32(g, "x", x->shape), sg_slice(g, dy, 0, 8),
                     (sg_conv_options){1, 1, 8, SG_ACT_NONE}, sg_shape_4(8, 1, 3, 3));
    sg_output(g, "dw by channel", sg_bias_db(g, w));
}

static void computed_filters(void **state) {
    (void)state;
    check(build_computed_filter, 2e-5f);
}

static void convolutions(void **state) {
    static const conv_case kCases[] = {
        {2, 3, 17, 13, 16, 3, 2, 1, 1, false, SG_ACT_NONE}, /* a stem */
        {1, 1, 28, 28, 8, 3, 1, 1, 1, true, SG_ACT_NONE},   /* grey */
        {1, 16, 9, 11, 24, 3, 1, 1, 1, false, SG_ACT_NONE},
        {2, 64, 8, 8, 5, 1, 1, 0, 1, true, SG_ACT_NONE}, /* heads */
        {2, 64, 4, 4, 3, 1, 1, 0, 1, true, SG_ACT_NONE},
        {2, 32, 7, 5, 64, 3, 2, 1, 1, true, SG_ACT_SILU},
        {1, 20, 6, 6, 17, 3, 2, 1, 1, true, SG_ACT_SILU},
        {2, 5, 7, 7, 3, 1, 1, 0, 1, true, SG_ACT_RELU},
        {1, 5, 7, 7, 13, 5, 3, 2, 1, false, SG_ACT_NONE},
        {2, 8, 8, 8, 8, 3, 1, 1, 8, false, SG_ACT_NONE}, /* depthwise */
        {2, 12, 9, 9, 12, 5, 1, 2, 12, true, SG_ACT_NONE},
        {1, 12, 9, 9, 12, 3, 2, 1, 12, true, SG_ACT_SILU},
        {2, 32, 5, 5, 16, 3, 1, 1, 2, true, SG_ACT_NONE}, /* groups */
        {1, 6, 5, 5, 9, 3, 1, 1, 3, false, SG_ACT_NONE},
        {1, 256, 1, 1, 128, 1, 1, 0, 1, false, SG_ACT_NONE},
        {3, 16, 8, 8, 32, 2, 2, 0, 1, false, SG_ACT_NONE},
        {1, 3, 8, 8, 3, 3, 1, 1, 1, true, SG_ACT_NONE},
        {2, 64, 9, 13, 40, 1, 1, 0, 1, false, SG_ACT_NONE}, /* own gradients of filters */
        {1, 8, 12, 12, 8, 1, 1, 0, 1, false, SG_ACT_NONE},
        {2, 13, 15, 16, 32, 1, 1, 0, 1, false, SG_ACT_NONE},
        {3, 13, 33, 9, 21, 3, 1, 1, 1, false, SG_ACT_NONE},
        {2, 16, 31, 33, 8, 3, 2, 1, 1, false, SG_ACT_NONE},
        {2, 9, 6, 1, 24, 3, 2, 1, 1, false, SG_ACT_NONE},
        {1, 8, 1, 200, 8, 3, 1, 1, 1, false, SG_ACT_NONE},
        {2, 16, 2, 2, 24, 3, 1, 1, 1, false, SG_ACT_NONE}, /* a map smaller than the filter */
    };

    (void)state;
    for (size_t i = 0; i < sizeof kCases / sizeof *kCases; i++) {
        the_case = kCases[i];
        check(build_conv, 2e-5f);
    }
}

/* Inside an op of a single input, several threads: another order of summation, the same result. */
static void check_threads(conv_case c, int threads) {
    sg_compile_options options = {.op_threads = threads};
    sg_program *reference, *cpu;
    buffers expected, got, again;
    sg_graph *g;

    the_case = c;
    must(sg_graph_create(SG_EVAL, NULL, &g));
    build_conv(g);
    must(sg_program_compile(g, &sg_backend_ref, NULL, &reference));
    must(sg_program_compile(g, &sg_backend_cpu, &options, &cpu));
    expected = make_buffers(g);
    got = make_buffers(g);
    again = make_buffers(g);
    run(reference, &expected);
    run(cpu, &got);
    run(cpu, &again);
    compare(g, &got, &expected, 2e-5f);
    compare(g, &again, &got, 0.0f);
    free_buffers(&expected);
    free_buffers(&got);
    free_buffers(&again);
    sg_program_destroy(reference);
    sg_program_destroy(cpu);
    sg_graph_destroy(g);
}

static const conv_case kOfOneInput = {1, 64, 24, 24, 64, 3, 1, 1, 1, true, SG_ACT_SILU};
/* oneDNN's kernels for these count on each thread's part */
static const conv_case kDivided[] = {{4, 40, 12, 3, 40, 1, 1, 1, 1, true, SG_ACT_SILU},
                                     {2, 40, 12, 4, 31, 5, 3, 3, 1, true, SG_ACT_SILU},
                                     {4, 33, 12, 2, 17, 5, 2, 3, 1, true, SG_ACT_SILU}};

static void threads_in_an_op(void **state) {
    (void)state;
    check_threads(kOfOneInput, 2);
    for (int i = 0; i < 3; i++) check_threads(kDivided[i], 2);
}

/* OpenMP may give fewer than are asked for: where a team is adapted to the processors; */
static void fewer_threads_than_processors(void **state) {
    (void)state;
    omp_set_dynamic(1);
    for (int i = 0; i < 3; i++) check_threads(kDivided[i], omp_get_num_procs() + 1);
    assert_int_equal(omp_get_dynamic(), 1);
    omp_set_dynamic(0);
}

/* where there is a limit, which is read when a process starts; */
static void fewer_threads_by_a_limit(void **state) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    int status = -1;
    pid_t child;

    (void)state;
    assert_true(n > 0);
    self[n] = '\0';
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("OMP_THREAD_LIMIT", "1", 1);
        execl(self, self, "under a limit", (char *)NULL);
        _exit(EXIT_FAILURE);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void under_a_limit(void **state) {
    (void)state;
    assert_int_equal(omp_get_thread_limit(), 1);
    for (int i = 0; i < 3; i++) check_threads(kDivided[i], 2);
}

/* and inside a parallel region, for which a limit of depth stands here. */
static void no_threads_at_that_depth(void **state) {
    sg_compile_options options = {.op_threads = 2};
    sg_program *before, *there;
    buffers got;
    sg_bindings b;
    sg_graph *g;

    (void)state;
    the_case = kDivided[0];
    must(sg_graph_create(SG_EVAL, NULL, &g));
    build_conv(g);
    got = make_buffers(g);
    bind(&b, &got);
    must(sg_program_compile(g, &sg_backend_cpu, &options, &before));
    omp_set_max_active_levels(0);
    must(sg_program_compile(g, &sg_backend_cpu, &options, &there)); /* of one thread */
    must(sg_program_run_once(there, &b));
    assert_int_equal(sg_program_run_once(before, &b), SG_ERR_UNSUPPORTED);
    omp_set_max_active_levels(1);
    must(sg_program_run_once(before, &b));
    sg_program_destroy(before);
    sg_program_destroy(there);
    free_buffers(&got);
    sg_graph_destroy(g);
}

/* Kernels that are divided among threads: pieces of whole and of broken vectors, of fewer vectors
 * than threads, in both layouts. */
static void build_parts(sg_graph *g) {
    const sg_shape shape = the_shape;
    sg_value *x = f32(g, "x", shape), *bytes = sg_input(g, "bytes", SG_U8, shape);
    sg_value *y = sg_add(g, sg_silu(g, x), sg_to_float(g, bytes, 0.1f, -3.0f));
    sg_value *both = sg_concat(g, (sg_value *[]){sg_upsample2x(g, y), sg_upsample2x(g, x)}, 2);

    sg_output(g, "both", both);
    sg_output(g, "sigmoid", sg_sigmoid(g, both));
    sg_output(g, "gelu", sg_gelu(g, sg_mul(g, x, y)));
}

static void the_same_in_parts(void **state) {
    const sg_shape shapes[] = {sg_shape_4(1, 16, 9, 7), sg_shape_4(1, 13, 5, 3),
                               sg_shape_4(1, 1, 1, 1), sg_shape_4(2, 8, 1, 3)};

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        buffers whole;
        sg_program *program;
        sg_graph *g;

        the_shape = shapes[i];
        must(sg_graph_create(SG_EVAL, NULL, &g));
        build_parts(g);
        must(sg_program_compile(g, &sg_backend_cpu, NULL, &program));
        whole = make_buffers(g);
        run(program, &whole);
        sg_program_destroy(program);
        for (int threads = 2; threads <= 5; threads++) {
            sg_compile_options options = {.op_threads = threads};
            buffers parts = make_buffers(g);

            must(sg_program_compile(g, &sg_backend_cpu, &options, &program));
            run(program, &parts);
            compare(g, &parts, &whole, 0.0f);
            sg_program_destroy(program);
            free_buffers(&parts);
        }
        free_buffers(&whole);
        sg_graph_destroy(g);
    }
}

/* --- batch norm ------------------------------------------------------------------------------- */

static sg_act the_act;

static void build_norm(sg_graph *g) {
    int64_t C = the_shape.dim[1];
    sg_value *x = sg_scale(g, f32(g, "x", the_shape), 3.0f), *dx;
    sg_value *gamma = f32(g, "gamma", sg_shape_1(C)), *beta = f32(g, "beta", sg_shape_1(C));
    sg_value *r = sg_scale(g, f32(g, "r", the_shape), 2.0f); /* may be overwritten */
    sg_value *dy = sg_scale(g, f32(g, "dy", the_shape), 2.0f);
    sg_value *y = sg_batch_norm(g, x, gamma, beta, NULL, 1e-3f, the_act);
    sg_value *z = sg_batch_norm(g, x, gamma, beta, r, 1e-3f, the_act);

    sg_output(g, "y", y);
    if (!y || !z) return;
    sg_output(g, "mean", &y->node->out[1]);
    sg_output(g, "rstd", &y->node->out[2]);
    sg_output(g, "var", &y->node->out[3]);
    sg_output(g, "y with residual", z);
    sg_output(g, "y again",
              sg_batch_norm_again(g, x, gamma, beta, &y->node->out[1], &y->node->out[2], NULL,
                                  1e-3f, the_act));
    dx =
        sg_batch_norm_dx(g, x, gamma, beta, &y->node->out[1], &y->node->out[2], dy, 1e-3f, the_act);
    sg_output(g, "dx", dx);
    if (!dx) return;
    sg_output(g, "dgamma", &dx->node->out[1]);
    sg_output(g, "dbeta", &dx->node->out[2]);
}

static void batch_norms(void **state) {
    const sg_shape shapes[] = {sg_shape_4(2, 16, 17, 19), sg_shape_4(3, 5, 7, 3),
                               sg_shape_4(1, 8, 2, 3), sg_shape_4(2, 13, 33, 16)};

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (the_act = SG_ACT_NONE; the_act <= SG_ACT_SILU; the_act++) {
            the_shape = shapes[i];
            check(build_norm, 3e-5f);
        }
}

/* What the backward pass computes again has the bits of the forward pass, on both backends. */
static void build_norm_twice(sg_graph *g) {
    int64_t C = the_shape.dim[1];
    sg_value *x = f32(g, "x", the_shape), *r = f32(g, "r", the_shape);
    sg_value *gamma = f32(g, "gamma", sg_shape_1(C)), *beta = f32(g, "beta", sg_shape_1(C));
    sg_value *y = sg_batch_norm(g, x, gamma, beta, r, 1e-3f, the_act);

    if (!y) return;
    sg_output(g, "first", y);
    sg_output(g, "again",
              sg_batch_norm_again(g, x, gamma, beta, &y->node->out[1], &y->node->out[2], r, 1e-3f,
                                  the_act));
}

static void check_same_bits(const sg_backend *backend) {
    sg_program *p;
    buffers m;
    sg_graph *g;

    must(sg_graph_create(SG_TRAIN, NULL, &g));
    build_norm_twice(g);
    must(sg_program_compile(g, backend, NULL, &p));
    m = make_buffers(g);
    run(p, &m);
    assert_memory_equal(m.output[0], m.output[1], output_bytes(g, 0));
    free_buffers(&m);
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

static void batch_norm_again_bits(void **state) {
    (void)state;
    the_shape = sg_shape_4(2, 13, 17, 19);
    for (the_act = SG_ACT_NONE; the_act <= SG_ACT_SILU; the_act++) {
        check_same_bits(&sg_backend_ref);
        check_same_bits(&sg_backend_cpu);
    }
}

/* A mean a thousand deviations from zero: one pass over squares would lose everything. */
static void build_far_mean(sg_graph *g) {
    sg_value *x = f32(g, "x", sg_shape_4(2, 8, 40, 40)), *y;
    float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1}, far[8] = {1000, -1000, 500, 0, 1, 2000, -300, 10};

    x = sg_bias(g, x, sg_constant(g, SG_F32, sg_shape_1(8), far));
    y = sg_batch_norm(g, x, sg_constant(g, SG_F32, sg_shape_1(8), ones),
                      fixed(g, "beta", sg_shape_1(8)), NULL, 1e-5f, SG_ACT_NONE);
    if (!y) return;
    sg_output(g, "mean", &y->node->out[1]);
    sg_output(g, "rstd", &y->node->out[2]);
    sg_output(g, "var", &y->node->out[3]);
}

static void batch_norm_far_mean(void **state) {
    (void)state;
    check(build_far_mean, 3e-6f);
}

/* --- pointwise, shapes, pools ----------------------------------------------------------------- */

static void build_pointwise(sg_graph *g) {
    sg_shape s = the_shape;
    sg_value *a = f32(g, "a", s), *b = f32(g, "b", s);

    if (the_act == SG_ACT_SILU) { /* in BLOCKED */
        a = blocked(g, "a", s);
        b = blocked(g, "b", s);
    }
    sg_output(g, "add", sg_add(g, a, b));
    sg_output(g, "mul", sg_mul(g, a, b));
    sg_output(g, "scale", sg_scale(g, a, 0.3f));
    sg_output(g, "relu", sg_relu(g, a));
    sg_output(g, "relu_dx", sg_relu_dx(g, a, b));
    sg_output(g, "silu", sg_silu(g, sg_scale(g, a, 4.0f)));
    sg_output(g, "silu_dx", sg_silu_dx(g, sg_scale(g, a, 4.0f), b));
    sg_output(g, "sigmoid", sg_sigmoid(g, sg_scale(g, a, 4.0f)));
    sg_output(g, "sigmoid_dx", sg_sigmoid_dx(g, sg_sigmoid(g, a), b));
    sg_output(g, "sum", sg_sum(g, a));
    sg_output(g, "sum of squares", sg_sum(g, sg_mul(g, a, a)));
    sg_output(g, "fill", sg_fill(g, sg_sum(g, b), s));
    sg_output(g, "to_float", sg_to_float(g, sg_input(g, "bytes", SG_U8, s), 1.0f / 255.0f, -0.5f));
}

static void pointwise(void **state) {
    const sg_shape shapes[] = {sg_shape_4(2, 16, 5, 3), sg_shape_4(3, 5, 7, 3), sg_shape_0(),
                               sg_shape_2(3, 37), sg_shape_1(1031)};

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        the_shape = shapes[i];
        for (the_act = SG_ACT_NONE; the_act <= (the_shape.rank == 4 ? SG_ACT_SILU : SG_ACT_NONE);
             the_act += SG_ACT_SILU)
            check(build_pointwise, 1e-5f); /* sums that nearly cancel; 1 - y where y is near 1 */
    }
}

static void build_channels(sg_graph *g) {
    sg_value *a = blocked(g, "a", sg_shape_4(2, 16, 3, 5)),
             *b = blocked(g, "b", sg_shape_4(2, 8, 3, 5));
    sg_value *c = blocked(g, "c", sg_shape_4(2, 5, 3, 5));
    sg_value *abc[] = {a, b, c}, *ca[] = {c, a},
             *flat[] = {f32(g, "p", sg_shape_2(3, 5)), f32(g, "q", sg_shape_2(3, 11))};

    sg_output(g, "aligned", sg_concat(g, abc, 3));
    sg_output(g, "not aligned", sg_concat(g, ca, 2));
    sg_output(g, "rows", sg_concat(g, flat, 2));
    sg_output(g, "slice", sg_slice(g, sg_concat(g, abc, 3), 8, 16));
    sg_output(g, "slice to the end", sg_slice(g, sg_concat(g, abc, 3), 16, 13));
    sg_output(g, "slice inside a block", sg_slice(g, a, 3, 4));
    sg_output(g, "short slice", sg_slice(g, a, 8, 5));
    sg_output(g, "slice of rows", sg_slice(g, flat[1], 2, 7));
    sg_output(g, "slice_dx", sg_slice_dx(g, b, 8, 24));
    sg_output(g, "slice_dx to the end", sg_slice_dx(g, c, 16, 21));
    sg_output(g, "slice_dx inside", sg_slice_dx(g, c, 3, 9));
    sg_output(g, "slice_dx cut", sg_slice_dx(g, c, 8, 16));
    sg_output(g, "slice_dx rows", sg_slice_dx(g, flat[0], 1, 9));
}

static void channels(void **state) {
    (void)state;
    check(build_channels, 0.0f);
}

static sg_pool_attr the_pool;

static void build_pool(sg_graph *g) {
    sg_value *x = f32(g, "x", the_shape);
    sg_value *y = sg_max_pool2d(g, x, the_pool.kernel, the_pool.stride, the_pool.pad);

    sg_output(g, "max_pool2d", y);
    if (!y) return;
    sg_output(g, "max_pool2d_dx",
              sg_max_pool2d_dx(g, x, f32(g, "dy", y->shape), the_pool.kernel, the_pool.stride,
                               the_pool.pad));
    /* equal elements: the first wins */
    x = sg_relu(g, x);
    sg_output(g, "ties",
              sg_max_pool2d_dx(g, x, f32(g, "dy", y->shape), the_pool.kernel, the_pool.stride,
                               the_pool.pad));
    sg_output(g, "global_avg_pool", sg_global_avg_pool(g, x));
    sg_output(g, "global_avg_pool_dx",
              sg_global_avg_pool_dx(g, f32(g, "d", sg_shape_2(the_shape.dim[0], the_shape.dim[1])),
                                    the_shape));
    sg_output(g, "upsample2x", sg_upsample2x(g, x));
    sg_output(g, "upsample2x_dx", sg_upsample2x_dx(g, sg_upsample2x(g, f32(g, "x2", the_shape))));
}

static void pools(void **state) {
    const sg_pool_attr kinds[] = {{5, 1, 2}, {2, 2, 0}, {3, 2, 1}};
    const sg_shape shapes[] = {sg_shape_4(2, 16, 8, 6), sg_shape_4(1, 3, 5, 7)};

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        the_pool = kinds[i % 3];
        the_shape = shapes[i / 3];
        check(build_pool, 1e-6f);
    }
}

/* Channels that fill no block, just one, and a little more than one, of 8 and of 16. */
static const int64_t kOdd[] = {1, 3, 8, 17, 24, 33};

enum { kOddCount = sizeof kOdd / sizeof *kOdd };

static void build_odd_channels(sg_graph *g) {
    sg_value *part[kOddCount], *all;
    int64_t start = 0;
    char name[24];

    for (int i = 0; i < kOddCount; i++) {
        snprintf(name, sizeof name, "part %d", i);
        part[i] = blocked(g, name, sg_shape_4(2, kOdd[i], 3, 5));
    }
    all = sg_concat(g, part, kOddCount);
    sg_output(g, "all", all);
    if (!all) return;
    for (int i = 0; i < kOddCount; start += kOdd[i++]) {
        snprintf(name, sizeof name, "slice %d", i);
        sg_output(g, name, sg_slice(g, all, start, kOdd[i]));
        snprintf(name, sizeof name, "slice_dx %d", i);
        sg_output(g, name, sg_slice_dx(g, part[i], start, all->shape.dim[1]));
    }
    sg_output(g, "slice of blocks of 16", sg_slice(g, all, 16, 48));
    sg_output(g, "slice_dx of blocks of 16",
              sg_slice_dx(g, blocked(g, "b", sg_shape_4(2, 32, 3, 5)), 16, 64));
}

static void odd_channels(void **state) {
    (void)state;
    check(build_odd_channels, 0.0f);
    for (int i = 0; i < kOddCount; i++) {
        int64_t OC = kOdd[(i + 2) % kOddCount];
        conv_case cases[] = {{2, kOdd[i], 9, 7, OC, 3, 1, 1, 1, true, SG_ACT_NONE},
                             {2, kOdd[i], 9, 18, OC, 3, 2, 1, 1, false, SG_ACT_NONE},
                             {3, kOdd[i], 6, 5, OC, 1, 1, 0, 1, true, SG_ACT_NONE},
                             {1, kOdd[i], 6, 5, OC, 1, 1, 0, 1, true, SG_ACT_SILU}};

        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            the_case = cases[k];
            check(build_conv, 2e-5f);
        }
        the_shape = sg_shape_4(2, kOdd[i], 11, 5);
        the_pool = (sg_pool_attr){3, 2, 1};
        the_act = SG_ACT_SILU;
        check(build_norm, 3e-5f);
        check(build_pointwise, 1e-5f); /* sums that nearly cancel */
        check(build_pool, 1e-6f);
    }
}

/* --- matrices, rows, updates ------------------------------------------------------------------ */

static void build_rows(sg_graph *g) {
    sg_value *x = f32(g, "x", sg_shape_2(7, 37)),
             *label = sg_input(g, "label", SG_I32, sg_shape_1(7));
    sg_value *y = sg_softmax(g, sg_scale(g, x, 5.0f)), *loss = sg_cross_entropy(g, x, label);
    sg_value *b = f32(g, "b", sg_shape_1(37)), *w = f32(g, "w", sg_shape_2(11, 37));

    sg_output(g, "matmul", sg_matmul(g, x, w, false, true));
    sg_output(g, "matmul ta", sg_matmul(g, x, f32(g, "z", sg_shape_2(7, 5)), true, false));
    sg_output(g, "matmul tab", sg_matmul(g, x, f32(g, "v", sg_shape_2(13, 7)), true, true));
    sg_output(g, "bias", sg_bias(g, x, b));
    sg_output(g, "bias_db", sg_bias_db(g, x));
    sg_output(g, "softmax", y);
    sg_output(g, "softmax_dx", sg_softmax_dx(g, y, x));
    sg_output(g, "cross_entropy", loss);
    if (!loss) return;
    sg_output(g, "p", &loss->node->out[1]);
    sg_output(g, "cross_entropy_dx",
              sg_cross_entropy_dx(g, &loss->node->out[1], label, f32(g, "dloss", sg_shape_0())));
    sg_output(g, "bias of images", blocked(g, "images", sg_shape_4(2, 13, 3, 5)));
    sg_output(g, "bias_db of images", sg_bias_db(g, f32(g, "images", sg_shape_4(2, 13, 3, 5))));
}

static void rows(void **state) {
    (void)state;
    check(build_rows, 2e-6f);
}

static void build_update(sg_graph *g) {
    sg_shape n = sg_shape_1(10007);
    sg_value *w = f32(g, "w", n), *m = f32(g, "m", n), *v = f32(g, "v+", n), *dw = f32(g, "dw", n);
    sg_value *step = f32(g, "step+", sg_shape_1(SG_STEP_SLOTS));
    sg_value *sums = f32(g, "sums+", sg_shape_1(SG_MAX_SUMS));
    sg_value *scale = sg_grad_scale(g, dw, sums, step);
    sg_value *factor = f32(g, "factor", sg_shape_1(2));
    sg_value *sgd = sg_sgd_step(g, w, m, dw, factor, step, 4001, true);
    sg_value *plain = sg_sgd_step(g, w, m, dw, factor, step, 0, false);
    sg_value *adamw = sg_adamw_step(g, w, m, v, dw, factor, step, 9000);

    if (!scale || !sgd || !adamw) return;
    sg_output(g, "scale", scale);
    sg_output(g, "norm", &scale->node->out[1]);
    sg_output(g, "sgd w", sgd);
    sg_output(g, "sgd m", &sgd->node->out[1]);
    sg_output(g, "plain sgd", plain);
    sg_output(g, "adamw w", adamw);
    sg_output(g, "adamw m", &adamw->node->out[1]);
    sg_output(g, "adamw v", &adamw->node->out[2]);
    sg_output(g, "stats", sg_stats_step(g, w, dw, step));
    sg_output(g, "ema", sg_ema_step(g, w, dw, step));
}

static void updates(void **state) {
    (void)state;
    check(build_update, 0.0f); /* the same bits */
}

static void build_fold(sg_graph *g) {
    sg_value *w = f32(g, "w", sg_shape_4(13, 5, 3, 3)), *c[4], *fold;
    static const char *const kNames[4] = {"gamma", "beta", "mean", "var+"};

    for (int i = 0; i < 4; i++) c[i] = f32(g, kNames[i], sg_shape_1(13));
    fold = sg_norm_fold(g, w, c[0], c[1], c[2], c[3], 1e-3f);
    sg_output(g, "w", fold);
    if (fold) sg_output(g, "b", &fold->node->out[1]);
}

static void folds(void **state) {
    (void)state;
    check(build_fold, 0.0f);
}

/* --- the detector ----------------------------------------------------------------------------- */

static const sg_anchors kAnchors = {
    .levels = 3, .stride = {8, 16, 32}, .height = {5, 3, 1}, .width = {7, 3, 1}};

enum { kAnchorCount = 5 * 7 + 3 * 3 + 1 };

static float the_beta;

static void build_detect(sg_graph *g) {
    sg_value *map[3], *raw = f32(g, "raw", sg_shape_3(2, kAnchorCount, 4));
    sg_value *logits = f32(g, "logits", sg_shape_3(2, kAnchorCount, 3));
    sg_value *target = f32(g, "target+", sg_shape_3(2, kAnchorCount, 3));
    sg_value *dy = f32(g, "dy", sg_shape_3(2, kAnchorCount, 4)), *dloss = f32(g, "d", sg_shape_0());

    map[0] = blocked(g, "map0", sg_shape_4(2, 11, 5, 7));
    map[1] = blocked(g, "map1", sg_shape_4(2, 11, 3, 3));
    map[2] = f32(g, "map2", sg_shape_4(2, 11, 1, 1));
    sg_output(g, "levels_concat", sg_levels_concat(g, map, 3));
    sg_output(g, "level_split", sg_level_split(g, dy, 5 * 7, 3, 3));
    sg_output(g, "level_split to the end", sg_level_split(g, logits, 5 * 7 + 3 * 3, 1, 1));
    raw = sg_scale(g, raw, 4.0f); /* some sizes beyond the clamp */
    sg_output(g, "box_decode", sg_box_decode(g, sg_scale(g, raw, 0.5f), &kAnchors));
    sg_output(g, "box_decode_dx", sg_box_decode_dx(g, raw, dy, &kAnchors));
    logits = sg_scale(g, logits, 5.0f);
    target = sg_sigmoid(g, target);
    sg_output(g, "loss", sg_quality_focal_loss(g, logits, target, the_beta));
    sg_output(g, "loss_dx", sg_quality_focal_loss_dx(g, logits, target, dloss, the_beta));
}

static void detection(void **state) {
    static const float kBeta[] = {0.0f, 1.0f, 2.0f, 1.5f};

    (void)state;
    for (int i = 0; i < 4; i++) {
        the_beta = kBeta[i];
        check(build_detect, 3e-6f);
    }
}

static void build_detector(sg_graph *g) {
    sg_mask_detector_options o = sg_mask_detector_defaults();

    o.input = 64;
    must(sg_mask_detector_build(g, 2, &o));
}

/* No node of the detector is left to the reference, whether it trains or not. */
static void whole_detector(void **state) {
    (void)state;
    for (sg_mode mode = SG_TRAIN; mode <= SG_EVAL; mode++) {
        sg_table *table;
        sg_program *p;
        sg_graph *g;
        int convolutions = 0;

        must(sg_table_create(&table));
        must(sg_graph_create(mode, table, &g));
        build_detector(g);
        sg_table_freeze(table);
        must(sg_program_compile(g, &sg_backend_cpu, NULL, &p));
        check_labels(p);
        for (int i = 0; i < sg_program_steps(p); i++) {
            sg_step_view s = sg_program_step(p, i);

            if (s.conversion || strncmp(s.node->op->name, "conv2d", 6) != 0) continue;
            convolutions++;
            assert_true(s.flop > 0.0);
            if (strstr(s.label, "ref") || (!strstr(s.label, "jit") && !strstr(s.label, "cpu ")))
                fail_msg("%s: oneDNN chose %s", s.node->name, s.label);
        }
        assert_true(convolutions > 50);
        sg_program_destroy(p);
        sg_graph_destroy(g);
        sg_table_destroy(table);
    }
}

/* --- exp -------------------------------------------------------------------------------------- */

static float exp1(float x) {
    float out[8];

    _mm256_storeu_ps(out, vec_exp(_mm256_set1_ps(x)));
    return out[3];
}

static float exp_minus1(float x) {
    float out[8];

    _mm256_storeu_ps(out, vec_exp_minus(_mm256_set1_ps(x)));
    return out[5];
}

static void exponentials(void **state) {
    double worst = 0.0;

    (void)state;
    for (int i = 0; i <= 2000000; i++) {
        float x = -87.3f + (float)i * (88.3f + 87.3f) / 2000000.0f;
        double e = exp((double)x);

        worst = fmax(worst, fabs((double)exp1(x) - e) / e);
        worst = fmax(worst, fabs((double)exp_minus1(-x) - e) / e);
    }

    assert_true(worst < 2.5e-7);
    assert_true(exp1(0.0f) == 1.0f);
    assert_true(isinf(exp1(89.0f)) && isinf(exp1(INFINITY)));
    assert_true(exp1(-INFINITY) >= 0.0f && exp1(-INFINITY) < 1.3e-38f);
    assert_true(isnan(exp1(NAN)) && isnan(exp_minus1(NAN)));
    assert_true(isinf(exp_minus1(-INFINITY)) && exp_minus1(INFINITY) < 1.3e-38f);
}

/* --- gelu ------------------------------------------------------------------------------------- */

static double normal_cdf(double x) { return 0.5 * erfc(-x * sqrt(0.5)); }

/* Of P(x), of its tail below zero against itself, and of gelu's slope. */
static void normal_distribution(void **state) {
    double worst = 0.0, tail = 0.0, slope = 0.0;

    (void)state;
    for (int i = 0; i <= 2000000; i++) {
        float x = -12.0f + (float)i * 24.0f / 2000000.0f, cdf[8], dx[8];
        double want = normal_cdf((double)x);
        vec bell;

        vec_store(cdf, vec_normal_cdf(vec_set1(x), &bell));
        vec_store(dx, vec_gelu_dx(vec_set1(x), vec_set1(1.0f)));
        worst = fmax(worst, fabs((double)cdf[3] - want));
        if (x < 0.0f) tail = fmax(tail, fabs((double)cdf[3] - want) / want);
        want += (double)x * exp(-0.5 * (double)x * (double)x) / sqrt(2.0 * acos(-1.0));
        slope = fmax(slope, fabs((double)dx[5] - want));
    }
    assert_true(worst < 3e-7);
    assert_true(tail < 5e-2);
    assert_true(slope < 3.5e-7);
}

/* --- failures --------------------------------------------------------------------------------- */

static void build_small(sg_graph *g) {
    sg_conv_options o = {1, 1, 1, SG_ACT_NONE};
    sg_value *x = f32(g, "x", sg_shape_4(1, 5, 6, 6)), *y;

    y = sg_conv2d(g, x, fixed(g, "w", sg_shape_4(3, 5, 3, 3)), fixed(g, "b", sg_shape_1(3)), o);
    y = sg_batch_norm(g, y, fixed(g, "gamma", sg_shape_1(3)), fixed(g, "beta", sg_shape_1(3)), y,
                      1e-3f, SG_ACT_SILU);
    sg_output(g, "y",
              sg_matmul(g, sg_global_avg_pool(g, y), f32(g, "m", sg_shape_2(3, 2)), false, false));
}

static void failing_allocations(void **state) {
    long live = sg_mem_live();
    sg_program *p = NULL;
    sg_graph *g;

    (void)state;
    must(sg_graph_create(SG_TRAIN, NULL, &g));
    build_small(g);
    must(sg_graph_status(g));
    FAIL_EACH_ALLOCATION(sg_program_compile(g, &sg_backend_cpu, NULL, &p), 10);
    sg_program_destroy(p);
    sg_graph_destroy(g);
    assert_int_equal(sg_mem_live(), live);
}

/* The choice is a process's: `native` is tried in a child. */
static int try_native(void) {
    char text[128];

    if (sg_cpu_set_isa("native") != SG_OK) return 1;
    sg_cpu_class(text, sizeof text);
    if (!strstr(text, sg_cpu_block() == 16 ? "cpu native avx512 oneDNN " : "cpu native oneDNN "))
        return 2;
    return sg_cpu_set_isa("avx2") == SG_ERR_UNAVAILABLE ? 0 : 3;
}

static void instruction_set(void **state) {
    char text[128];
    int child, result = -1;

    (void)state;
    child = fork();
    if (child == 0) _exit(try_native());
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    assert_int_equal(sg_cpu_set_isa("sse9"), SG_ERR_CONFIG);
    assert_int_equal(sg_cpu_set_isa("avx2"), SG_OK);
    assert_int_equal(sg_cpu_set_isa("native"), SG_ERR_UNAVAILABLE);
    assert_int_equal(sg_cpu_set_isa("avx2"), SG_OK);
    sg_cpu_class(text, sizeof text);
    assert_non_null(strstr(text, "cpu avx2 oneDNN "));
    assert_int_equal(sg_cpu_block(), 8);
    assert_null(strstr(text, "OpenBLAS")); /* no matrix product yet: it is not loaded */
    assert_non_null(strstr(text, " numerics "));
}

/* The class names whoever multiplies matrices once one was compiled. */
static void class_of_products(void **state) {
    bool found;
    char text[128];

    (void)state;
    assert_int_equal(sg_blas_load(&found), SG_OK);
    sg_cpu_class(text, sizeof text);
    assert_non_null(strstr(text, found ? " OpenBLAS " : " sgemm"));
}

/* Files of before have no number: they are of number 1. */
static void same_class(void **state) {
    (void)state;
    assert_true(sg_cpu_same_class("cpu avx2 oneDNN 2.6.3", "cpu avx2 oneDNN 2.6.3 numerics 1"));
    assert_true(
        sg_cpu_same_class("cpu avx2 oneDNN 2.6.3 numerics 2", "cpu avx2 oneDNN 2.6.3 numerics 2"));
    assert_false(sg_cpu_same_class("cpu avx2 oneDNN 2.6.3", "cpu avx2 oneDNN 2.6.3 numerics 2"));
    assert_false(
        sg_cpu_same_class("cpu avx2 oneDNN 2.6.3 numerics 1", "cpu avx2 oneDNN 2.6.4 numerics 1"));
    assert_false(sg_cpu_same_class("cpu avx2 oneDNN 2.6.3 OpenBLAS 0.3.21 numerics 1",
                                   "cpu avx2 oneDNN 2.6.3"));
    assert_true(sg_cpu_same_class("cuda sm_90 132 MP bf16", "cuda sm_90 132 MP bf16"));
    assert_false(sg_cpu_same_class("cuda sm_90 132 MP bf16", "cuda sm_90 132 MP fp32"));
}

/* What has more than 2^31 elements on a side is refused or computed, never cut: no memory is needed
 * to see which. */
static void large_sides(void **state) {
    const int64_t many = (int64_t)1 << 31;
    sg_program *p;
    sg_value *x;
    sg_graph *g;
    bool found;

    (void)state;
    assert_int_equal(sg_blas_load(&found), SG_OK);
    must(sg_graph_create(SG_EVAL, NULL, &g));
    x = sg_matmul(g, f32(g, "x", sg_shape_2(many, 1)), f32(g, "w", sg_shape_2(1, 1)), false, false);
    sg_output(g, "y", x);
    if (found) {
        assert_int_equal(sg_program_compile(g, &sg_backend_cpu, NULL, &p), SG_ERR_UNSUPPORTED);
        assert_string_equal(sg_last_error(), "matmul: a product of (2147483648, 1) and (1, 1), and "
                                             "OpenBLAS counts to 2147483647");
    }
    sg_graph_destroy(g);
    must(sg_graph_create(SG_EVAL, NULL, &g));
    x = f32(g, "x", sg_shape_4(1, 1, many / 2, 2));
    sg_output(g, "dx",
              sg_max_pool2d_dx(g, x, f32(g, "dy", sg_shape_4(1, 1, many / 4, 1)), 2, 2, 0));
    must(sg_graph_status(g));
    must(sg_program_compile(g, &sg_backend_cpu, NULL, &p));
    assert_string_equal(sg_program_step(p, 0).label, "ref");
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

/* oneDNN's product, which serves where OpenBLAS is not installed, against sums in double. */
static void onednn_products(void **state) {
    enum { kM = 37, kN = 19, kK = 53 };
    static float a[kM * kK], b[kK * kN], c[kM * kN];
    sg_random r = sg_random_init(7);

    (void)state;
    for (int i = 0; i < kM * kK; i++) a[i] = sg_random_normal(&r);
    for (int i = 0; i < kK * kN; i++) b[i] = sg_random_normal(&r);
    for (int flags = 0; flags < 4; flags++) {
        bool ta = flags & 1, tb = flags & 2;

        assert_int_equal(sg_dnnl_matmul(a, b, c, kM, kN, kK, ta, tb), SG_OK);
        for (int i = 0; i < kM * kN; i++) {
            int m = i / kN, n = i % kN;
            double sum = 0.0;

            for (int k = 0; k < kK; k++)
                sum += (double)a[ta ? k * kM + m : m * kK + k] *
                       (double)b[tb ? n * kK + k : k * kN + n];
            assert_true(fabs(sum - (double)c[i]) <= 1e-4);
        }
    }
}

static sg_status multiply_by_openblas(void) {
    float a[4] = {1.0f, 2.0f, 3.0f, 4.0f}, c[4];

    return sg_blas_matmul(a, a, c, 2, 2, 2, false, false);
}

/* Where its buffers have no room OpenBLAS would not come back. */
static int multiply_without_room(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    struct rlimit all, few;

    alarm(60);
    if (!file || fscanf(file, "%ld", &pages) != 1) return 1;
    fclose(file);
    if (getrlimit(RLIMIT_AS, &all) != 0) return 2;
    few = all;
    few.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (64 << 20);
    if (setrlimit(RLIMIT_AS, &few) != 0) return 3;
    if (multiply_by_openblas() != SG_ERR_OOM || !strstr(sg_last_error(), "1 x 128 MiB")) return 4;
    if (setrlimit(RLIMIT_AS, &all) != 0) return 5;
    return multiply_by_openblas() == SG_OK ? 0 : 6;
}

static void no_room_for_openblas(void **state) {
    int child, result = -1;
    bool found;

    (void)state;
    assert_int_equal(sg_blas_load(&found), SG_OK);
    if (!found) skip();
    child = fork();
    if (child == 0) _exit(multiply_without_room());
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
}

static void peaks(void **state) {
    sg_cpu_peak peak;
    long live = sg_mem_live();

    (void)state;
    sg_mem_fail_at(1);
    assert_int_equal(sg_cpu_measure_peak(&peak), SG_ERR_OOM);
    sg_mem_fail_at(0);
    assert_int_equal(sg_cpu_measure_peak(&peak), SG_OK);
    assert_int_equal(sg_mem_live(), live);
    assert_true(peak.flop_rate > 1e8 && peak.flop_rate < 1e12);
    for (int i = 0; i < SG_PEAK_LEVELS; i++)
        assert_true(peak.level[i].rate > 1e7 && peak.level[i].rate < 1e13);

    /* whichever takes longer; bytes at the speed of the smallest cache that holds them */
    peak = (sg_cpu_peak){100.0, {{8.0, 4.0}, {16.0, 2.0}, {(double)INFINITY, 1.0}}};
    assert_true(sg_cpu_peak_seconds(&peak, 300.0, 8.0) == 3.0);
    assert_true(sg_cpu_peak_seconds(&peak, 100.0, 8.0) == 2.0);
    assert_true(sg_cpu_peak_seconds(&peak, 0.0, 16.0) == 8.0);
    assert_true(sg_cpu_peak_seconds(&peak, 0.0, 17.0) == 17.0);
}

static int run_kernels(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),
        cmocka_unit_test(computed_filters),
        cmocka_unit_test(threads_in_an_op),
        cmocka_unit_test(fewer_threads_than_processors),
        cmocka_unit_test(fewer_threads_by_a_limit),
        cmocka_unit_test(no_threads_at_that_depth),
        cmocka_unit_test(the_same_in_parts),
        cmocka_unit_test(batch_norms),
        cmocka_unit_test(batch_norm_far_mean),
        cmocka_unit_test(batch_norm_again_bits),
        cmocka_unit_test(pointwise),
        cmocka_unit_test(channels),
        cmocka_unit_test(odd_channels),
        cmocka_unit_test(pools),
        cmocka_unit_test(rows),
        cmocka_unit_test(updates),
        cmocka_unit_test(folds),
        cmocka_unit_test(detection),
        cmocka_unit_test(whole_detector),
        cmocka_unit_test(failing_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv) {
    const struct CMUnitTest limited[] = {cmocka_unit_test(under_a_limit)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instruction_set),
        cmocka_unit_test(class_of_products),
        cmocka_unit_test(same_class),
        cmocka_unit_test(large_sides),
        cmocka_unit_test(onednn_products),
        cmocka_unit_test(no_room_for_openblas),
        cmocka_unit_test(peaks),
        cmocka_unit_test(exponentials),
        cmocka_unit_test(normal_distribution),
    };
    int failed;

    (void)argv;
    if (argc > 1) return cmocka_run_group_tests(limited, NULL, NULL);
    failed = op_run_native(run_kernels);
    failed += cmocka_run_group_tests(tests, NULL, NULL);
    return run_kernels() + failed;
}
