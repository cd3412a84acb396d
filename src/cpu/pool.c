/* Pooling and upsampling on BLOCKED: a block of channels of one pixel at a time. The padding
 * channels are zeros throughout: the greatest, the mean and the copies of zeros. */
#include <string.h>

#include "cpu/backend_cpu.h"
#include "cpu/parts.h"
#include "cpu/simd.h"

typedef struct {
    sg_cpu_dims x, y; /* of the larger and the smaller tensor; upsample2x: smaller and larger */
    sg_pool_attr pool;
    int threads;
} pool_state;

/* --- max_pool2d ------------------------------------------------------------------------------- */

typedef struct {
    int64_t top, bottom, left, right; /* the part of a window that lies in the picture */
} window;

static window window_at(const pool_state *s, int64_t row, int64_t col) {
    int64_t h = row * s->pool.stride - s->pool.pad, w = col * s->pool.stride - s->pool.pad;
    window win = {h < 0 ? 0 : h, h + s->pool.kernel, w < 0 ? 0 : w, w + s->pool.kernel};

    if (win.bottom > s->x.H) win.bottom = s->x.H;
    if (win.right > s->x.W) win.right = s->x.W;
    return win;
}

/* Where v is greater than `best`, or the first NaN. */
SG_INLINE vec_mask beats(vec v, vec best) {
    return mask_and(mask_above(v, best), mask_number(best));
}

static sg_status max_pool2d_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *x = a->in[0];
    float *y = a->out[0];

    for (int64_t p = 0; p < s->x.N * s->x.blocks; p++, x += s->x.HW * kBlock) {
        for (int64_t i = 0; i < s->y.HW; i++, y += kBlock) {
            window win = window_at(s, i / s->y.W, i % s->y.W);
            vec best = vec_load(x + (win.top * s->x.W + win.left) * kBlock);

            for (int64_t h = win.top; h < win.bottom; h++) {
                for (int64_t w = win.left; w < win.right; w++) {
                    vec v = vec_load(x + (h * s->x.W + w) * kBlock);

                    best = vec_where(beats(v, best), v, best);
                }
            }
            vec_store(y, best);
        }
    }
    return SG_OK;
}

/* The winner's pixel for each channel of the block. */
static ivec winners(const pool_state *s, const float *x, window win) {
    int64_t first = win.top * s->x.W + win.left;
    vec best = vec_load(x + first * kBlock);
    ivec at = ivec_set1((int32_t)first);

    for (int64_t h = win.top; h < win.bottom; h++) {
        for (int64_t w = win.left; w < win.right; w++) {
            int64_t pixel = h * s->x.W + w;
            vec v = vec_load(x + pixel * kBlock);
            vec_mask won = beats(v, best);

            best = vec_where(won, v, best);
            at = ivec_where(won, ivec_set1((int32_t)pixel), at);
        }
    }
    return at;
}

static sg_status max_pool2d_dx_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *x = a->in[0], *dy = a->in[1];
    float *dx = a->out[0];

    for (int64_t p = 0; p < s->x.N * s->x.blocks;
         p++, x += s->x.HW * kBlock, dx += s->x.HW * kBlock) {
        memset(dx, 0, (size_t)s->x.HW * kBlock * sizeof(float));
        for (int64_t i = 0; i < s->y.HW; i++, dy += kBlock) {
            int32_t at[kBlock];

            ivec_store(at, winners(s, x, window_at(s, i / s->y.W, i % s->y.W)));
            for (int c = 0; c < kBlock; c++) dx[(int64_t)at[c] * kBlock + c] += dy[c];
        }
    }
    return SG_OK;
}

/* --- global_avg_pool -------------------------------------------------------------------------- */

static sg_status global_avg_pool_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *x = a->in[0];
    float *y = a->out[0];
    const hvec per = hvec_set1((double)s->x.HW);

    for (int64_t n = 0; n < s->x.N; n++, y += s->x.C) {
        for (int64_t b = 0; b < s->x.blocks; b++, x += s->x.HW * kBlock) {
            int some = s->x.C - b * kBlock < kBlock ? (int)(s->x.C - b * kBlock) : kBlock;
            dvec sum = dvec_zero();

            for (int64_t i = 0; i < s->x.HW; i++) dvec_add(&sum, vec_load(x + i * kBlock));
            sum.lo = hvec_div(sum.lo, per);
            sum.hi = hvec_div(sum.hi, per);
            vec_store_some(y + b * kBlock, some, vec_of(sum));
        }
    }
    return SG_OK;
}

static sg_status global_avg_pool_dx_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *dy = a->in[0];
    float *dx = a->out[0];
    const vec per = vec_set1((float)s->x.HW);

    for (int64_t n = 0; n < s->x.N; n++, dy += s->x.C) {
        for (int64_t b = 0; b < s->x.blocks; b++, dx += s->x.HW * kBlock) {
            int some = s->x.C - b * kBlock < kBlock ? (int)(s->x.C - b * kBlock) : kBlock;
            vec v = vec_div(vec_load_some(dy + b * kBlock, some), per);

            for (int64_t i = 0; i < s->x.HW; i++) vec_store(dx + i * kBlock, v);
        }
    }
    return SG_OK;
}

/* --- upsample2x ------------------------------------------------------------------------------- */

static void upsample2x_part(const void *context, int64_t part, int64_t parts) {
    const sg_args *a = context;
    const pool_state *s = a->state;
    int64_t row = 2 * s->x.W * kBlock; /* floats of a row of y */
    int64_t rows = s->x.N * s->x.blocks * s->x.H, r = sg_cpu_part_begin(rows, part, parts);
    const float *x = (const float *)a->in[0] + r * s->x.W * kBlock;
    float *y = (float *)a->out[0] + 2 * r * row;

    for (; r < sg_cpu_part_begin(rows, part + 1, parts); r++, x += s->x.W * kBlock, y += 2 * row) {
        for (int64_t w = 0; w < s->x.W; w++) {
            vec v = vec_load(x + w * kBlock);

            vec_store(y + w * 2 * kBlock, v);
            vec_store(y + w * 2 * kBlock + kBlock, v);
            vec_store(y + row + w * 2 * kBlock, v);
            vec_store(y + row + w * 2 * kBlock + kBlock, v);
        }
    }
}

static sg_status upsample2x_run(const sg_args *a) {
    sg_cpu_in_parts(((const pool_state *)a->state)->threads, upsample2x_part, a);
    return SG_OK;
}

static sg_status upsample2x_dx_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *dy = a->in[0];
    float *dx = a->out[0];
    int64_t row = 2 * s->x.W * kBlock; /* floats of a row of dy */

    for (int64_t r = 0; r < s->x.N * s->x.blocks * s->x.H;
         r++, dx += s->x.W * kBlock, dy += 2 * row) {
        for (int64_t w = 0; w < s->x.W; w++) {
            vec upper =
                vec_add(vec_load(dy + w * 2 * kBlock), vec_load(dy + w * 2 * kBlock + kBlock));
            vec lower = vec_add(vec_load(dy + row + w * 2 * kBlock),
                                vec_load(dy + row + w * 2 * kBlock + kBlock));

            vec_store(dx + w * kBlock, vec_add(upper, lower));
        }
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

/* x: the tensor of the forward pass's input; y: of its output. */
static sg_status select_pool(const sg_cpu *cpu, const sg_node *node, const sg_value *x,
                             const sg_value *y, sg_kernel run, sg_kernel_plan *plan) {
    pool_state s = {
        .x = sg_cpu_dims_of(x, kBlock), .y = sg_cpu_dims_of(y, kBlock), .threads = cpu->threads};

    if (node->op == &sg_op_max_pool2d || node->op == &sg_op_max_pool2d_dx)
        s.pool = *(const sg_pool_attr *)node->attr;
    if (s.x.HW > INT32_MAX) return sg_select_reference(node, plan); /* winners has 31 bits */
    sg_cpu_plan(plan, node, run, SG_LAYOUT_BLOCKED);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

#define SELECT(name, x, y)                                                                         \
    sg_status SG_BLOCKED(sg_cpu_select_##name)(sg_cpu * cpu, const sg_node *node,                  \
                                               const sg_layout have[], sg_kernel_plan *plan) {     \
        (void)have;                                                                                \
        return select_pool(cpu, node, x, y, name##_run, plan);                                     \
    }

SELECT(max_pool2d, node->in[0], &node->out[0])
SELECT(max_pool2d_dx, node->in[0], node->in[1])
SELECT(global_avg_pool, node->in[0], &node->out[0])
SELECT(global_avg_pool_dx, &node->out[0], node->in[0])
SELECT(upsample2x, node->in[0], &node->out[0])
SELECT(upsample2x_dx, &node->out[0], node->in[0])
