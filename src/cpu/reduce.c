/* Sums, the bias and its gradient. Sums run over tiles in float and over tiles in double, in an
 * order that depends on the shape alone. */
#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

enum { kTile = 64 }; /* vectors of 8 added in float before they go to double */

typedef struct {
    int64_t count;
    sg_cpu_dims d;
} reduce_state;

/* --- sum, fill -------------------------------------------------------------------------------- */

static sg_status sum_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float *x = a->in[0];
    sg_double8 sum = zero_double8();
    int64_t i = 0;

    while (i + 8 <= s->count) {
        int64_t end = s->count - i < 8 * kTile ? s->count - 7 : i + 8 * kTile;
        __m256 part = _mm256_setzero_ps();

        for (; i < end; i += 8) part = _mm256_add_ps(part, _mm256_loadu_ps(x + i));
        add_double8(&sum, part);
    }
    if (i < s->count) add_double8(&sum, load_some8(x + i, (int)(s->count - i)));
    *(float *)a->out[0] = (float)total_double8(sum);
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

static sg_status bias_nc8_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float *x = a->in[0], *b = a->in[1];
    float *y = a->out[0];

    for (int64_t p = 0; p < s->d.N * s->d.blocks; p++, x += s->d.HW * 8, y += s->d.HW * 8) {
        int64_t c = p % s->d.blocks * 8;
        __m256 v = load_some8(b + c, s->d.C - c < 8 ? (int)(s->d.C - c) : 8);

        for (int64_t i = 0; i < s->d.HW * 8; i += 8)
            _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(x + i), v));
    }
    return SG_OK;
}

/* (M, C) */
static sg_status bias_rows_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float *x = a->in[0], *b = a->in[1];
    float *y = a->out[0];

    for (int64_t n = 0; n < s->d.N; n++, x += s->d.C, y += s->d.C)
        for (int64_t c = 0; c < s->d.C; c++) y[c] = x[c] + b[c];
    return SG_OK;
}

static sg_status bias_db_nc8_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float *dy = a->in[0];
    float *db = a->out[0];

    for (int64_t b = 0; b < s->d.blocks; b++) {
        sg_double8 sum = zero_double8();

        for (int64_t n = 0; n < s->d.N; n++) {
            const float *row = dy + (n * s->d.blocks + b) * s->d.HW * 8;

            for (int64_t i = 0; i < s->d.HW; i += kTile) {
                int64_t end = s->d.HW - i < kTile ? s->d.HW : i + kTile;
                __m256 part = _mm256_setzero_ps();

                for (int64_t k = i; k < end; k++)
                    part = _mm256_add_ps(part, _mm256_loadu_ps(row + k * 8));
                add_double8(&sum, part);
            }
        }
        store_some8(db + b * 8, s->d.C - b * 8 < 8 ? (int)(s->d.C - b * 8) : 8, to_float8(sum));
    }
    return SG_OK;
}

static sg_status bias_db_rows_run(const sg_args *a) {
    const reduce_state *s = a->state;
    const float *dy = a->in[0];
    float *db = a->out[0];

    for (int64_t c = 0; c < s->d.C; c += 8) {
        int some = s->d.C - c < 8 ? (int)(s->d.C - c) : 8;
        sg_double8 sum = zero_double8();

        for (int64_t n = 0; n < s->d.N; n++)
            add_double8(&sum, load_some8(dy + n * s->d.C + c, some));
        store_some8(db + c, some, to_float8(sum));
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

sg_status sg_cpu_select_sum(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                            sg_kernel_plan *plan) {
    sg_layout layout = sg_cpu_common_layout(node, have);
    reduce_state s = {.count = sg_cpu_floats(node->in[0], layout)};

    (void)cpu;
    sg_cpu_plan(plan, node, sum_run, layout);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status sg_cpu_select_fill(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                             sg_kernel_plan *plan) {
    reduce_state s = {.count = sg_shape_count(&node->out[0].shape)};

    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, fill_run, SG_LAYOUT_PLAIN);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

static sg_status select_bias(const sg_node *node, sg_kernel nc8, sg_kernel rows,
                             sg_kernel_plan *plan) {
    reduce_state s = {.d = sg_cpu_dims_of(node->in[0])};

    sg_cpu_plan(plan, node, node->in[0]->shape.rank == 4 ? nc8 : rows, SG_LAYOUT_NC8);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

sg_status sg_cpu_select_bias(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                             sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    plan->inplace[0] = 0;
    return select_bias(node, bias_nc8_run, bias_rows_run, plan);
}

sg_status sg_cpu_select_bias_db(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    return select_bias(node, bias_db_nc8_run, bias_db_rows_run, plan);
}
