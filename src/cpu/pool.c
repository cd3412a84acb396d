/* Pooling and upsampling on NC8: eight channels of one pixel at a time. The padding channels are
 * zeros throughout: the greatest, the mean and the copies of zeros. */
#include <string.h>

#include "cpu/backend_cpu.h"
#include "cpu/simd.h"

typedef struct {
    sg_cpu_dims x, y; /* of the larger and the smaller tensor; upsample2x: smaller and larger */
    sg_pool_attr pool;
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
SG_INLINE __m256 beats8(__m256 v, __m256 best) {
    return _mm256_and_ps(_mm256_cmp_ps(v, best, _CMP_NLE_UQ),
                         _mm256_cmp_ps(best, best, _CMP_EQ_OQ));
}

static sg_status max_pool2d_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *x = a->in[0];
    float *y = a->out[0];

    for (int64_t p = 0; p < s->x.N * s->x.blocks; p++, x += s->x.HW * 8) {
        for (int64_t i = 0; i < s->y.HW; i++, y += 8) {
            window win = window_at(s, i / s->y.W, i % s->y.W);
            __m256 best = _mm256_loadu_ps(x + (win.top * s->x.W + win.left) * 8);

            for (int64_t h = win.top; h < win.bottom; h++) {
                for (int64_t w = win.left; w < win.right; w++) {
                    __m256 v = _mm256_loadu_ps(x + (h * s->x.W + w) * 8);

                    best = _mm256_blendv_ps(best, v, beats8(v, best));
                }
            }
            _mm256_storeu_ps(y, best);
        }
    }
    return SG_OK;
}

/* The winner's pixel for each of eight channels. */
static __m256i winners(const pool_state *s, const float *x, window win) {
    int64_t first = win.top * s->x.W + win.left;
    __m256 best = _mm256_loadu_ps(x + first * 8);
    __m256i at = _mm256_set1_epi32((int)first);

    for (int64_t h = win.top; h < win.bottom; h++) {
        for (int64_t w = win.left; w < win.right; w++) {
            int64_t pixel = h * s->x.W + w;
            __m256 v = _mm256_loadu_ps(x + pixel * 8), beats = beats8(v, best);

            best = _mm256_blendv_ps(best, v, beats);
            at = _mm256_blendv_epi8(at, _mm256_set1_epi32((int)pixel), _mm256_castps_si256(beats));
        }
    }
    return at;
}

static sg_status max_pool2d_dx_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *x = a->in[0], *dy = a->in[1];
    float *dx = a->out[0];

    for (int64_t p = 0; p < s->x.N * s->x.blocks; p++, x += s->x.HW * 8, dx += s->x.HW * 8) {
        memset(dx, 0, (size_t)s->x.HW * 8 * sizeof(float));
        for (int64_t i = 0; i < s->y.HW; i++, dy += 8) {
            int32_t at[8];

            _mm256_storeu_si256((__m256i *)at, winners(s, x, window_at(s, i / s->y.W, i % s->y.W)));
            for (int c = 0; c < 8; c++) dx[(int64_t)at[c] * 8 + c] += dy[c];
        }
    }
    return SG_OK;
}

/* --- global_avg_pool -------------------------------------------------------------------------- */

static sg_status global_avg_pool_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *x = a->in[0];
    float *y = a->out[0];
    const __m256d per = _mm256_set1_pd((double)s->x.HW);

    for (int64_t n = 0; n < s->x.N; n++, y += s->x.C) {
        for (int64_t b = 0; b < s->x.blocks; b++, x += s->x.HW * 8) {
            int some = s->x.C - b * 8 < 8 ? (int)(s->x.C - b * 8) : 8;
            sg_double8 sum = zero_double8();

            for (int64_t i = 0; i < s->x.HW; i++) add_double8(&sum, _mm256_loadu_ps(x + i * 8));
            sum.lo = _mm256_div_pd(sum.lo, per);
            sum.hi = _mm256_div_pd(sum.hi, per);
            store_some8(y + b * 8, some, to_float8(sum));
        }
    }
    return SG_OK;
}

static sg_status global_avg_pool_dx_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *dy = a->in[0];
    float *dx = a->out[0];
    const __m256 per = _mm256_set1_ps((float)s->x.HW);

    for (int64_t n = 0; n < s->x.N; n++, dy += s->x.C) {
        for (int64_t b = 0; b < s->x.blocks; b++, dx += s->x.HW * 8) {
            int some = s->x.C - b * 8 < 8 ? (int)(s->x.C - b * 8) : 8;
            __m256 v = _mm256_div_ps(load_some8(dy + b * 8, some), per);

            for (int64_t i = 0; i < s->x.HW; i++) _mm256_storeu_ps(dx + i * 8, v);
        }
    }
    return SG_OK;
}

/* --- upsample2x ------------------------------------------------------------------------------- */

static sg_status upsample2x_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *x = a->in[0];
    float *y = a->out[0];
    int64_t row = 2 * s->x.W * 8; /* floats of a row of y */

    for (int64_t r = 0; r < s->x.N * s->x.blocks * s->x.H; r++, x += s->x.W * 8, y += 2 * row) {
        for (int64_t w = 0; w < s->x.W; w++) {
            __m256 v = _mm256_loadu_ps(x + w * 8);

            _mm256_storeu_ps(y + w * 16, v);
            _mm256_storeu_ps(y + w * 16 + 8, v);
            _mm256_storeu_ps(y + row + w * 16, v);
            _mm256_storeu_ps(y + row + w * 16 + 8, v);
        }
    }
    return SG_OK;
}

static sg_status upsample2x_dx_run(const sg_args *a) {
    const pool_state *s = a->state;
    const float *dy = a->in[0];
    float *dx = a->out[0];
    int64_t row = 2 * s->x.W * 8; /* floats of a row of dy */

    for (int64_t r = 0; r < s->x.N * s->x.blocks * s->x.H; r++, dx += s->x.W * 8, dy += 2 * row) {
        for (int64_t w = 0; w < s->x.W; w++) {
            __m256 upper =
                _mm256_add_ps(_mm256_loadu_ps(dy + w * 16), _mm256_loadu_ps(dy + w * 16 + 8));
            __m256 lower = _mm256_add_ps(_mm256_loadu_ps(dy + row + w * 16),
                                         _mm256_loadu_ps(dy + row + w * 16 + 8));

            _mm256_storeu_ps(dx + w * 8, _mm256_add_ps(upper, lower));
        }
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

/* x: the tensor of the forward pass's input; y: of its output. */
static sg_status select_pool(const sg_node *node, const sg_value *x, const sg_value *y,
                             sg_kernel run, sg_kernel_plan *plan) {
    pool_state s = {.x = sg_cpu_dims_of(x), .y = sg_cpu_dims_of(y)};

    if (node->op == &sg_op_max_pool2d || node->op == &sg_op_max_pool2d_dx)
        s.pool = *(const sg_pool_attr *)node->attr;
    sg_cpu_plan(plan, node, run, SG_LAYOUT_NC8);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}

#define SELECT(name, x, y)                                                                         \
    sg_status sg_cpu_select_##name(sg_cpu *cpu, const sg_node *node, const sg_layout have[],       \
                                   sg_kernel_plan *plan) {                                         \
        (void)cpu;                                                                                 \
        (void)have;                                                                                \
        return select_pool(node, x, y, name##_run, plan);                                          \
    }

SELECT(max_pool2d, node->in[0], &node->out[0])
SELECT(max_pool2d_dx, node->in[0], node->in[1])
SELECT(global_avg_pool, node->in[0], &node->out[0])
SELECT(global_avg_pool_dx, &node->out[0], node->in[0])
SELECT(upsample2x, node->in[0], &node->out[0])
SELECT(upsample2x_dx, &node->out[0], node->in[0])
