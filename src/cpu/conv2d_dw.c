/* Gradients of filters, where oneDNN 2.6 is weakest. The nano detector's, of a shard of 2 pictures,
 * one thread of a Zen 5 core with AVX2 (bench/kernels.c): 3x3 98 GFLOP/s, here 114 (forward:
 * 115); 1x1 76, here 82; and as they come out PLAIN, 0.55 ms of conversions go. In all 17.8 -> 15.1
 * ms of 52.4. (1x1 with 4 blocks of oc x 3 ic was no faster.) With AVX-512: 3x3 202 GFLOP/s, here
 * 210; 1x1 120, here 125; in all 9.4 -> 8.2 ms of 29.5. (1x1 with a tile of dy kept in level 1 for
 * all ic: no faster either.)
 *
 *   dw[oc][ic][kh][kw] = sum over n, oh, ow of dy[n][oc][oh][ow] * x[n][ic][oh S + kh - P][..]
 *
 * x and dy in BLOCKED, dw PLAIN. A vector holds a block of oc; an element of x is broadcast.
 * Twelve accumulators live in registers over a tile of rows that stays in level 1:
 *
 *   3x3, P = 1, S = 1 or 2   3 taps of one kh x 4 ic: a broadcast x serves all taps of its column
 *                            (S = 1: 4 broadcasts and 1 load of dy for 12 multiply-adds)
 *   1x1                      3 blocks of oc x 4 ic: 4 broadcasts and 3 loads for 12
 *
 * Every element is one chain of multiply-adds over n, oh, ow: an order that depends on nothing. */
#include <stdio.h>
#include <string.h>

#include "cpu/backend_cpu.h"
#include "cpu/conv2d_dw.h"
#include "cpu/simd.h"

enum { kTileBytes = 12288, kTilePixels = 128 };

typedef struct {
    sg_cpu_dims x, y;
    int64_t stride;
} dw_state;

/* `rows` rows of 8 oc (ic-major, then taps) -> dw of block (bo, bi), cropped. */
static void write_block(const dw_state *s, const float *acc, int64_t bo, int64_t bi, int64_t taps,
                        float *dw) {
    int64_t IC = s->x.C, OC = s->y.C, row = IC * taps;
    int64_t count = (IC - bi * kBlock < kBlock ? IC - bi * kBlock : kBlock) * taps;
    int some_oc = OC - bo * kBlock < kBlock ? (int)(OC - bo * kBlock) : kBlock;

    for (int64_t r = 0; r < count; r += kBlock) {
        int some = count - r < kBlock ? (int)(count - r) : kBlock;
        vec v[kBlock];

        for (int i = 0; i < kBlock; i++) v[i] = vec_load(acc + (r + i) * kBlock);
        vec_transpose(v);
        for (int o = 0; o < some_oc; o++)
            vec_store_some(dw + (bo * kBlock + o) * row + bi * kBlock * taps + r, some, v[o]);
    }
}

/* --- 3x3 -------------------------------------------------------------------------------------- */

/* a[kw][i] += sum over the row of dy[ow] x[ow + kw - 1][i] */
SG_INLINE void row_stride1(const float *x, const float *dy, int64_t W, vec a[3][4]) {
    vec before = vec_zero(), here = vec_load(dy), after;

    for (int64_t p = 0; p < W; p++) {
        after = p + 1 < W ? vec_load(dy + (p + 1) * kBlock) : vec_zero();
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            vec b = vec_set1(*(x + p * kBlock + i));

            a[0][i] = vec_fma(after, b, a[0][i]);
            a[1][i] = vec_fma(here, b, a[1][i]);
            a[2][i] = vec_fma(before, b, a[2][i]);
        }
        before = here;
        here = after;
    }
}

/* The same of dy[ow] x[2 ow + kw - 1][i]; OW outputs, W inputs in the row. */
SG_INLINE void row_stride2(const float *x, const float *dy, int64_t W, int64_t OW, vec a[3][4]) {
    vec here = vec_load(dy), after;

    for (int64_t p = 0; p < OW; p++) {
        after = p + 1 < OW ? vec_load(dy + (p + 1) * kBlock) : vec_zero();
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            vec b = vec_set1(*(x + p * 2 * kBlock + i));

            a[1][i] = vec_fma(here, b, a[1][i]);
        }
        if (2 * p + 1 < W) {
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                vec b = vec_set1(*(x + p * 2 * kBlock + kBlock + i));

                a[0][i] = vec_fma(after, b, a[0][i]);
                a[2][i] = vec_fma(here, b, a[2][i]);
            }
        }
        here = after;
    }
}

/* Rows top .. bottom - 1 of dy, one kh, four ic from `x` on; acc: rows of (ic, kh, kw). */
SG_INLINE void tile3(const dw_state *s, const float *x, const float *dy, int64_t top,
                     int64_t bottom, int64_t kh, float *acc, bool stride2) {
    vec a[3][4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 3
        for (int k = 0; k < 3; k++) a[k][i] = vec_load(acc + (i * 9 + kh * 3 + k) * kBlock);
    for (int64_t row = top; row < bottom; row++) {
        int64_t h = row * (stride2 ? 2 : 1) + kh - 1;

        if (h < 0 || h >= s->x.H) continue;
        if (stride2)
            row_stride2(x + h * s->x.W * kBlock, dy + row * s->y.W * kBlock, s->x.W, s->y.W, a);
        else
            row_stride1(x + h * s->x.W * kBlock, dy + row * s->y.W * kBlock, s->x.W, a);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 3
        for (int k = 0; k < 3; k++) vec_store(acc + (i * 9 + kh * 3 + k) * kBlock, a[k][i]);
}

static void tile3_stride1(const dw_state *s, const float *x, const float *dy, int64_t top,
                          int64_t bottom, int64_t kh, float *acc) {
    tile3(s, x, dy, top, bottom, kh, acc, false);
}

static void tile3_stride2(const dw_state *s, const float *x, const float *dy, int64_t top,
                          int64_t bottom, int64_t kh, float *acc) {
    tile3(s, x, dy, top, bottom, kh, acc, true);
}

static void block3(const dw_state *s, const float *x, const float *dy, float *acc) {
    int64_t rows = kTileBytes / (s->x.W * s->stride * kBlock * (int64_t)sizeof *x);

    if (rows < 1) rows = 1;
    for (int64_t top = 0; top < s->y.H; top += rows) {
        int64_t bottom = top + rows < s->y.H ? top + rows : s->y.H;

        for (int64_t kh = 0; kh < 3; kh++)
            for (int i = 0; i < kBlock; i += 4)
                (s->stride == 2 ? tile3_stride2 : tile3_stride1)(s, x + i, dy, top, bottom, kh,
                                                                 acc + (int64_t)i * 9 * kBlock);
    }
}

static sg_status dw3_run(const sg_args *a) {
    const dw_state *s = a->state;
    float acc[9 * kBlock * kBlock];

    for (int64_t bo = 0; bo < s->y.blocks; bo++) {
        for (int64_t bi = 0; bi < s->x.blocks; bi++) {
            memset(acc, 0, sizeof acc);
            for (int64_t n = 0; n < s->x.N; n++)
                block3(s, (const float *)a->in[0] + (n * s->x.blocks + bi) * s->x.HW * kBlock,
                       (const float *)a->in[1] + (n * s->y.blocks + bo) * s->y.HW * kBlock, acc);
            write_block(s, acc, bo, bi, 9, a->out[0]);
        }
    }
    return SG_OK;
}

/* --- 1x1 -------------------------------------------------------------------------------------- */

/* acc[g][i] += sum over pixels of dy_g x[i]: G blocks of oc, `step` floats apart; I of the 8 ic. */
SG_INLINE void tile1(const float *x, const float *dy, int64_t step, int64_t pixels, float *acc,
                     int G, int I) {
    vec a[3][8], d[3];

#pragma GCC unroll 3
    for (int g = 0; g < G; g++)
#pragma GCC unroll 8
        for (int i = 0; i < I; i++) a[g][i] = vec_load(acc + (g * kBlock + i) * kBlock);
    for (int64_t p = 0; p < pixels * kBlock; p += kBlock) {
#pragma GCC unroll 3
        for (int g = 0; g < G; g++) d[g] = vec_load(dy + g * step + p);
#pragma GCC unroll 8
        for (int i = 0; i < I; i++) {
            vec b = vec_set1(*(x + p + i));

#pragma GCC unroll 3
            for (int g = 0; g < G; g++) a[g][i] = vec_fma(d[g], b, a[g][i]);
        }
    }
#pragma GCC unroll 3
    for (int g = 0; g < G; g++)
#pragma GCC unroll 8
        for (int i = 0; i < I; i++) vec_store(acc + (g * kBlock + i) * kBlock, a[g][i]);
}

static void block1(const dw_state *s, const float *x, const float *dy, float *acc, int G) {
    int64_t step = s->y.HW * kBlock;

    for (int64_t p = 0; p < s->x.HW; p += kTilePixels) {
        int64_t n = s->x.HW - p < kTilePixels ? s->x.HW - p : kTilePixels;
        const float *xp = x + p * kBlock, *dp = dy + p * kBlock;

        for (int i = 0; i < kBlock; i += 8) {
            if (G == 1) {
                tile1(xp + i, dp, step, n, acc + (int64_t)i * kBlock, 1, 8);
            } else if (G == 2) {
                tile1(xp + i, dp, step, n, acc + (int64_t)i * kBlock, 2, 4);
                tile1(xp + i + 4, dp, step, n, acc + (int64_t)(i + 4) * kBlock, 2, 4);
            } else {
                tile1(xp + i, dp, step, n, acc + (int64_t)i * kBlock, 3, 4);
                tile1(xp + i + 4, dp, step, n, acc + (int64_t)(i + 4) * kBlock, 3, 4);
            }
        }
    }
}

static sg_status dw1_run(const sg_args *a) {
    const dw_state *s = a->state;
    float acc[3 * kBlock * kBlock];
    int64_t left;
    int G;

    for (int64_t bo = 0; bo < s->y.blocks; bo += G) {
        left = s->y.blocks - bo;
        G = left == 4 || left == 2 ? 2 : left < 3 ? (int)left : 3; /* threes, the rest by twos */
        for (int64_t bi = 0; bi < s->x.blocks; bi++) {
            memset(acc, 0, sizeof acc);
            for (int64_t n = 0; n < s->x.N; n++)
                block1(s, (const float *)a->in[0] + (n * s->x.blocks + bi) * s->x.HW * kBlock,
                       (const float *)a->in[1] + (n * s->y.blocks + bo) * s->y.HW * kBlock, acc, G);
            for (int g = 0; g < G; g++)
                write_block(s, acc + (int64_t)g * kBlock * kBlock, bo + g, bi, 1, a->out[0]);
        }
    }
    return SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

bool SG_BLOCKED(sg_cpu_own_dw)(const sg_node *node) {
    const sg_conv_options *o = &((const sg_conv_attr *)node->attr)->options;
    const sg_shape *w = &node->out[0].shape, *y = &node->in[1]->shape;

    if (o->groups != 1 || w->dim[2] != w->dim[3] || y->dim[2] < 1 || y->dim[3] < 1) return false;
    return w->dim[2] == 1 ? o->stride == 1 && o->pad == 0
                          : w->dim[2] == 3 && o->pad == 1 && o->stride <= 2;
}

sg_status SG_BLOCKED(sg_cpu_plan_own_dw)(const sg_node *node, sg_kernel_plan *plan) {
    const sg_conv_options *o = &((const sg_conv_attr *)node->attr)->options;
    const sg_shape *w = &node->out[0].shape;
    dw_state s = {sg_cpu_dims_of(node->in[0], kBlock), sg_cpu_dims_of(node->in[1], kBlock),
                  o->stride};

    plan->run = w->dim[2] == 1 ? dw1_run : dw3_run;
    plan->in[0] = plan->in[1] = SG_LAYOUT_BLOCKED;
    plan->flop = 2.0 * (double)(s.y.N * s.y.C * s.y.HW) * (double)(s.x.C * w->dim[2] * w->dim[3]);
    snprintf(plan->label, sizeof plan->label, "cpu %dx%d", (int)w->dim[2], (int)w->dim[3]);
    return sg_cpu_plan_state(plan, &s, sizeof s);
}
