/* NVIDIA's libraries for tests: what cuda/vendor/vendor.h says, in plain C on host memory, in the
 * layouts and types asked for. The selectors above it are the plug-in's own.
 *
 * Work is put on the queue as a kernel is: a recording keeps it with the pointers it was made with.
 * A convolution without groups has bias and activation in it, one with groups leaves them to the
 * caller, and so does a product with its epilogue where N is odd: both ways are taken. A plan asks
 * for scratch memory and fills it with garbage, and pointers that are not aligned as promised fail.
 */
#include "vendor/vendor.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "emulation/emulation.h"
#include "plan_table.h"

enum { kScratch = 192, kAlignment = 16 };

struct sg_cuda_vendor {
    sg_plan_table *table;
};

struct sg_vendor_plan {
    bool is_conv, fused;
    sg_vendor_conv conv;
    sg_vendor_matmul matmul;
};

sg_status sg_cuda_vendor_create(const sg_cuda_vendor_options *options, sg_cuda_vendor **out) {
    sg_cuda_vendor *v = sg_calloc(1, sizeof *v);
    sg_status st;

    if (!v) return sg_fail(SG_ERR_OOM, "cuda: no memory for the libraries' handles");
    st = sg_plan_table_create(options ? options->plans : NULL, &v->table);
    if (st != SG_OK) {
        sg_free(v);
        return st;
    }
    *out = v;
    return SG_OK;
}

void sg_cuda_vendor_destroy(sg_cuda_vendor *v) {
    if (v) sg_plan_table_destroy(v->table);
    sg_free(v);
}

char *sg_cuda_vendor_plans(const sg_cuda_vendor *v) { return sg_plan_table_text(v->table); }

void sg_cuda_vendor_describe(char *text, size_t bytes) { snprintf(text, bytes, "stand-in"); }

/* The only choice there is, kept like any other. */
static sg_status choose(sg_cuda_vendor *v, const char *key, const char *choice) {
    char text[SG_PLAN_CHOICE];

    if (!sg_plan_table_find(v->table, key, text)) return sg_plan_table_add(v->table, key, choice);
    if (strcmp(text, choice) == 0) return SG_OK;
    return sg_fail(SG_ERR_UNAVAILABLE, "%s: the run's plan \"%s\" cannot be had here", key, text);
}

/* SG_EMULATION_LACKS=conv|matmul in the environment: a library without what these need. */
static bool lacks(const char *what) {
    const char *told = getenv("SG_EMULATION_LACKS");

    return told && strcmp(told, what) == 0;
}

static sg_status create(const sg_vendor_plan *plan, sg_vendor_plan **out) {
    sg_vendor_plan *p = sg_malloc(sizeof *p);

    if (!p) return sg_fail(SG_ERR_OOM, "stand-in: no memory for a plan");
    *p = *plan;
    *out = p;
    return SG_OK;
}

sg_status sg_vendor_plan_conv(sg_cuda_vendor *v, const sg_vendor_conv *c, sg_vendor_plan **out) {
    sg_vendor_plan plan = {.is_conv = true, .fused = c->groups == 1, .conv = *c};
    char key[SG_PLAN_KEY];

    if (lacks("conv")) return sg_fail(SG_ERR_UNAVAILABLE, "stand-in: a part of it is missing");
    if (c->OH != (c->H + 2 * c->pad - c->KH) / c->stride + 1 ||
        c->OW != (c->W + 2 * c->pad - c->KW) / c->stride + 1 || c->C % c->groups ||
        c->OC % c->groups || c->N * c->C * c->OC < 1 ||
        (c->pass != SG_CONV_FORWARD && (c->bias || c->act != SG_ACT_NONE)))
        return sg_fail(SG_ERR_ARG, "stand-in: the sizes of a convolution do not fit");
    sg_plan_key_conv(c, key);
    SG_TRY(choose(v, key, plan.fused ? "stand-in fused" : "stand-in"));
    return create(&plan, out);
}

sg_status sg_vendor_plan_matmul(sg_cuda_vendor *v, const sg_vendor_matmul *m,
                                sg_vendor_plan **out) {
    sg_vendor_plan plan = {.matmul = *m, .fused = m->epilogue != SG_EPILOGUE_NONE && m->N % 2 == 0};
    char key[SG_PLAN_KEY];

    if (lacks("matmul")) return sg_fail(SG_ERR_UNAVAILABLE, "stand-in: a part of it is missing");
    if (m->M < 1 || m->N < 1 || m->K < 1 || (m->f32_out && m->precision != SG_CUDA_BF16) ||
        (m->epilogue != SG_EPILOGUE_ACT && (m->bias || m->keep_z)))
        return sg_fail(SG_ERR_ARG, "stand-in: the sizes of a product do not fit");
    sg_plan_key_matmul(m, key);
    SG_TRY(choose(v, key, plan.fused ? "stand-in fused" : "stand-in"));
    return create(&plan, out);
}

void sg_vendor_plan_destroy(sg_vendor_plan *plan) { sg_free(plan); }

size_t sg_vendor_plan_scratch(const sg_vendor_plan *plan) {
    (void)plan;
    return kScratch;
}

bool sg_vendor_plan_fused(const sg_vendor_plan *plan) { return plan->fused; }

const char *sg_vendor_plan_label(const sg_vendor_plan *plan) {
    (void)plan;
    return "stand-in";
}

/* --- elements --------------------------------------------------------------------------------- */

static float read_at(const void *x, bool bf16, int64_t i) {
    uint32_t bits;
    float value;

    if (!bf16) return ((const float *)x)[i];
    bits = (uint32_t)((const uint16_t *)x)[i] << 16;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* bf16: to the nearest, ties to even. */
static void write_at(void *x, bool bf16, int64_t i, double value) {
    float f = (float)value;
    uint32_t bits;

    if (!bf16) {
        ((float *)x)[i] = f;
        return;
    }
    memcpy(&bits, &f, sizeof bits);
    ((uint16_t *)x)[i] =
        (uint16_t)(isnan(f) ? (bits >> 16) | 0x40u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

/* --- convolution ------------------------------------------------------------------------------ */

typedef struct {
    const sg_vendor_conv *c;
    const float *in[2];
    double *sum; /* one for each element of the output */
} products;

/* Of a filter tap: CG channels of a pixel at x, of the filter at w, an output element at y. */
static void add_products(const products *s, int64_t x, int64_t w, int64_t y, int64_t CG) {
    const float *a = s->in[0], *b = s->in[1];

    if (s->c->pass == SG_CONV_FORWARD)
        for (int64_t k = 0; k < CG; k++) s->sum[y] += (double)a[x + k] * (double)b[w + k];
    else if (s->c->pass == SG_CONV_DX)
        for (int64_t k = 0; k < CG; k++) s->sum[x + k] += (double)a[w + k] * (double)b[y];
    else
        for (int64_t k = 0; k < CG; k++) s->sum[w + k] += (double)a[x + k] * (double)b[y];
}

/* All taps of output element (n, i, j, o). */
static void add_taps(const products *s, int64_t n, int64_t i, int64_t j, int64_t o) {
    const sg_vendor_conv *c = s->c;
    int64_t CG = c->C / c->groups, first = o / (c->OC / c->groups) * CG;
    int64_t y = ((n * c->OH + i) * c->OW + j) * c->OC + o;

    for (int64_t p = 0; p < c->KH; p++)
        for (int64_t q = 0; q < c->KW; q++) {
            int64_t h = i * c->stride - c->pad + p, v = j * c->stride - c->pad + q;

            if (h < 0 || h >= c->H || v < 0 || v >= c->W) continue;
            add_products(s, ((n * c->H + h) * c->W + v) * c->C + first,
                         ((o * c->KH + p) * c->KW + q) * CG, y, CG);
        }
}

/* Elements of x, w and y, and which of them a pass reads and writes. */
static int64_t count_x(const sg_vendor_conv *c) { return c->N * c->H * c->W * c->C; }
static int64_t count_w(const sg_vendor_conv *c) {
    return c->OC * c->KH * c->KW * (c->C / c->groups);
}
static int64_t count_y(const sg_vendor_conv *c) { return c->N * c->OH * c->OW * c->OC; }

static int64_t count_in(const sg_vendor_conv *c, int i) {
    if (i == 0) return c->pass == SG_CONV_DX ? count_w(c) : count_x(c);
    return c->pass == SG_CONV_FORWARD ? count_w(c) : count_y(c);
}

static int64_t count_out(const sg_vendor_conv *c) {
    if (c->pass == SG_CONV_FORWARD) return count_y(c);
    return c->pass == SG_CONV_DX ? count_x(c) : count_w(c);
}

/* A library's own memory, which sg_mem_fail_at does not count. */
static void *own_memory(int64_t count, size_t each) {
    void *block = calloc((size_t)count, each);

    if (!block) abort();
    return block;
}

static float *floats_of(const void *x, bool bf16, int64_t count) {
    float *y = own_memory(count, sizeof *y);

    for (int64_t i = 0; i < count; i++) y[i] = read_at(x, bf16, i);
    return y;
}

static void run_conv(const sg_vendor_plan *plan, const void *const in[], void *out) {
    const sg_vendor_conv *c = &plan->conv;
    bool bf16 = c->precision == SG_CUDA_BF16;
    float *a = floats_of(in[0], bf16, count_in(c, 0)), *b = floats_of(in[1], bf16, count_in(c, 1));
    products s = {c, {a, b}, own_memory(count_out(c), sizeof(double))};

    for (int64_t n = 0; n < c->N; n++)
        for (int64_t i = 0; i < c->OH; i++)
            for (int64_t j = 0; j < c->OW; j++)
                for (int64_t o = 0; o < c->OC; o++) add_taps(&s, n, i, j, o);
    for (int64_t i = 0; i < count_out(c); i++) {
        if (plan->fused && c->bias) s.sum[i] += (double)((const float *)in[2])[i % c->OC];
        write_at(out, bf16, i, plan->fused ? sg_act_value(c->act, s.sum[i]) : s.sum[i]);
    }
    free(s.sum);
    free(b);
    free(a);
}

/* --- matrix product --------------------------------------------------------------------------- */

/* Element (i, j) of the result, whose sum is `p`. */
static void finish(const sg_vendor_matmul *m, const void *const in[], void *const out[], int64_t i,
                   int64_t j, double p) {
    bool half = m->precision == SG_CUDA_BF16 && !m->f32_out;
    int64_t at = i * m->N + j;

    if (m->epilogue == SG_EPILOGUE_ACT) {
        if (m->bias) p += (double)read_at(in[2], half, j);
        if (m->keep_z) write_at(out[1], half, at, p);
        p = sg_act_value(m->act, p);
    }
    if (m->epilogue == SG_EPILOGUE_SLOPE)
        p *= sg_act_slope(m->act, (double)read_at(in[2], half, at));
    write_at(out[0], half, at, p);
}

static void run_matmul(const sg_vendor_plan *plan, const void *const in[], void *const out[]) {
    const sg_vendor_matmul *m = &plan->matmul;
    bool half = m->precision == SG_CUDA_BF16;
    int64_t am = m->transpose_a ? 1 : m->K, ak = m->transpose_a ? m->M : 1;
    int64_t bk = m->transpose_b ? 1 : m->N, bn = m->transpose_b ? m->K : 1;

    for (int64_t i = 0; i < m->M; i++) {
        double total = 0.0;

        for (int64_t k = 0; k < m->K; k++) total += (double)read_at(in[0], half, i * am + k * ak);
        if (plan->fused && m->epilogue == SG_EPILOGUE_SUMS) ((float *)out[1])[i] = (float)total;
        for (int64_t j = 0; j < m->N; j++) {
            double sum = 0.0;

            for (int64_t k = 0; k < m->K; k++)
                sum += (double)read_at(in[0], half, i * am + k * ak) *
                       (double)read_at(in[1], half, k * bk + j * bn);
            if (plan->fused)
                finish(m, in, out, i, j, sum);
            else
                write_at(out[0], half && !m->f32_out, i * m->N + j, sum);
        }
    }
}

/* --- on the queue ----------------------------------------------------------------------------- */

/* What is kept of a call: the plan too, which may be gone before its last replay. */
typedef struct {
    sg_vendor_plan plan;
    const void *in[3];
    void *out[2], *scratch;
} plan_call;

static void run_plan(const void *arguments) {
    const plan_call *c = arguments;

    sg_emulation_garbage(c->scratch, kScratch);
    if (c->plan.is_conv)
        run_conv(&c->plan, c->in, c->out[0]);
    else
        run_matmul(&c->plan, c->in, c->out);
}

/* What a plan reads beside its operands, and writes beside its result. */
static bool reads_third(const sg_vendor_plan *p) {
    if (!p->fused) return false;
    if (p->is_conv) return p->conv.bias;
    return p->matmul.bias || p->matmul.epilogue == SG_EPILOGUE_SLOPE;
}

static bool writes_second(const sg_vendor_plan *p) {
    return p->fused && !p->is_conv && (p->matmul.keep_z || p->matmul.epilogue == SG_EPILOGUE_SUMS);
}

sg_status sg_vendor_plan_run(const sg_vendor_plan *plan, const void *const in[], void *const out[],
                             void *scratch, void *queue) {
    plan_call c = {*plan,
                   {in[0], in[1], reads_third(plan) ? in[2] : NULL},
                   {out[0], writes_second(plan) ? out[1] : NULL},
                   scratch};

    /* the libraries fail and do not say why; what calls them asks */
    if (sg_emulation_is_lost()) return sg_cuda_check_device("stand-in");
    if ((uintptr_t)in[0] % kAlignment || (uintptr_t)in[1] % kAlignment ||
        (uintptr_t)out[0] % kAlignment || (uintptr_t)c.out[1] % kAlignment ||
        (!plan->is_conv && (uintptr_t)c.in[2] % kAlignment))
        return sg_fail(SG_ERR_ARG, "stand-in: a pointer is not aligned to %d bytes", kAlignment);
    for (int i = 0; i < 3; i++) sg_emulation_must_reach("a library's kernel", queue, c.in[i]);
    for (int o = 0; o < 2; o++) sg_emulation_must_reach("a library's kernel", queue, c.out[o]);
    sg_emulation_must_reach("a library's kernel", queue, scratch);
    sg_emulation_put(queue, run_plan, &c, sizeof c);
    return SG_OK;
}

typedef struct {
    void *out;
    size_t bytes;
} zero_call;

static void run_zero(const void *arguments) {
    const zero_call *c = arguments;

    memset(c->out, 0, c->bytes);
}

sg_status sg_vendor_zero(void *out, size_t bytes, void *queue) {
    zero_call c = {out, bytes};

    if (sg_emulation_is_lost()) return sg_cuda_check_device("stand-in");
    sg_emulation_must_reach("a library's kernel", queue, out);
    sg_emulation_put(queue, run_zero, &c, sizeof c);
    return SG_OK;
}
