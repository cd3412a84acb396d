/* Sums, the bias and its gradient. Sums run over tiles in float and over tiles in double, in an
 * order that depends on the shape alone. */
#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

enum { kTile = 64 };   /* vectors added in float before they go to double */
enum { kColumns = 4 }; /* vectors of a row whose sums are kept in registers */

typedef struct {
    int64_t count;
    sg_cpu_dims d;
} reduce_state;

/* --- sum, fill -------------------------------------------------------------------------------- */

static sg_status sum_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float *x = a->in[0];
    dvec sum = dvec_zero();
    int64_t i = 0;

    while (i + kBlock <= s->count) {
        int64_t end = s->count - i < kBlock * kTile ? s->count - (kBlock - 1) : i + kBlock * kTile;
        vec part = vec_zero();

        for (; i < end; i += kBlock) part = vec_add(part, vec_load(x + i));
        dvec_add(&sum, part);
    }
    if (i < s->count) dvec_add(&sum, vec_load_some(x + i, (int)(s->count - i)));
    *(float *)a->out[0] = (float)dvec_total(sum);
    return SG_OK;
}

static sg_status fill_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float x = *(const float *)a->in[0];
    float *y = a->out[0];

    for (int64_t i = 0; i < s->count; i++) y[i] = x;
    return SG_OK;
}

/* --- bias ------------------------------------------------------------------------------------- */

static sg_status bias_blocked_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float *x = a->in[0], *b = a->in[1];
    float *y = a->out[0];

    for (int64_t p = 0; p < s->d.N * s->d.blocks;
         p++, x += s->d.HW * kBlock, y += s->d.HW * kBlock) {
        int64_t c = p % s->d.blocks * kBlock;
        vec v = vec_load_some(b + c, s->d.C - c < kBlock ? (int)(s->d.C - c) : kBlock);

        for (int64_t i = 0; i < s->d.HW * kBlock; i += kBlock)
            vec_store(y + i, vec_add(vec_load(x + i), v));
    }
    return SG_OK;
}

/* (M, C) or (N, T, C) */
static sg_status bias_rows_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float *x = a->in[0], *b = a->in[1];
    float *y = a->out[0];

    for (int64_t n = 0; n < s->d.N; n++, x += s->d.C, y += s->d.C)
        for (int64_t c = 0; c < s->d.C; c++) y[c] = x[c] + b[c];
    return SG_OK;
}

static sg_status bias_db_blocked_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float *dy = a->in[0];
    float *db = a->out[0];

    for (int64_t b = 0; b < s->d.blocks; b++) {
        dvec sum = dvec_zero();

        for (int64_t n = 0; n < s->d.N; n++) {
            const float *row = dy + (n * s->d.blocks + b) * s->d.HW * kBlock;

            for (int64_t i = 0; i < s->d.HW; i += kTile) {
                int64_t end = s->d.HW - i < kTile ? s->d.HW : i + kTile;
                vec part = vec_zero();

                for (int64_t k = i; k < end; k++) part = vec_add(part, vec_load(row + k * kBlock));
                dvec_add(&sum, part);
            }
        }
        vec_store_some(db + b * kBlock,
                       s->d.C - b * kBlock < kBlock ? (int)(s->d.C - b * kBlock) : kBlock,
                       vec_of(sum));
    }
    return SG_OK;
}

/* kColumns vectors side by side, whole lines of memory: a row is far from the next. */
void SG_BLOCKED(sg_cpu_sum_rows)(const float *x, float *sum, int64_t rows, int64_t C) {
    int64_t c = 0;

    for (; c + kColumns * kBlock <= C; c += kColumns * kBlock) {
        dvec s[kColumns];

        for (int k = 0; k < kColumns; k++) s[k] = dvec_zero();
        for (int64_t n = 0; n < rows; n++)
            for (int k = 0; k < kColumns; k++)
                dvec_add(&s[k], vec_load(x + n * C + c + (ptrdiff_t)k * kBlock));
        for (int k = 0; k < kColumns; k++) vec_store(sum + c + (ptrdiff_t)k * kBlock, vec_of(s[k]));
    }
    for (; c < C; c += kBlock) {
        int some = C - c < kBlock ? (int)(C - c) : kBlock;
        dvec s = dvec_zero();

        for (int64_t n = 0; n < rows; n++) dvec_add(&s, vec_load_some(x + n * C + c, some));
        vec_store_some(sum + c, some, vec_of(s));
    }
}

static sg_status bias_db_rows_run(const sg_args *a) {
    const reduce_state *s = a->state;

    SG_BLOCKED(sg_cpu_sum_rows)(a->in[0], a->out[0], s->d.N, s->d.C);
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

sg_status SG_BLOCKED(sg_cpu_select_sum)(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                        sg_kernel_plan *plan) {
    sg_layout layout = sg_cpu_common_layout(node, have);
    reduce_state s = {.count = sg_cpu_floats(node->in[0], layout, kBlock)};

    (void)cpu;
    sg_cpu_plan(plan, node, sum_run, layout);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status SG_BLOCKED(sg_cpu_select_fill)(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                         sg_kernel_plan *plan) {
    reduce_state s = {.count = sg_shape_count(&node->out[0].shape)};

    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, fill_run, SG_LAYOUT_PLAIN);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

static sg_status select_bias(const sg_node *node, sg_kernel blocked, sg_kernel rows,
                             sg_kernel_plan *plan) {
    reduce_state s = {.d = sg_cpu_dims_of(node->in[0], kBlock)};

    if (node->in[0]->shape.rank == 3) { /* rows of the last axis */
        s.d.N *= s.d.C;
        s.d.C = s.d.H;
    }
    sg_cpu_plan(plan, node, node->in[0]->shape.rank == 4 ? blocked : rows, SG_LAYOUT_BLOCKED);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status SG_BLOCKED(sg_cpu_select_bias)(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                         sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    plan->inplace[0] = 0;
    return select_bias(node, bias_blocked_run, bias_rows_run, plan);
}

sg_status SG_BLOCKED(sg_cpu_select_bias_db)(sg_cpu *cpu, const sg_node *node,
                                            const sg_layout have[], sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    return select_bias(node, bias_db_blocked_run, bias_db_rows_run, plan);
}
