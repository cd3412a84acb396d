/* Windows of tokens and their gradient, along memory: of a token's window the part that lies in the
 * text is one copy, as tokens are neighbours. */
#include <string.h>

#include "cpu/backend_cpu.h"

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t kernel_of(const sg_args *a) {
    return ((const sg_windows_attr *)a->node->attr)->kernel;
}

static sg_status windows_run(const sg_args *a) {
    const sg_shape *s = &a->node->in[0]->shape;
    int64_t N = s->dim[0], T = s->dim[1], C = s->dim[2], K = kernel_of(a), h = (K - 1) / 2;
    const float *x = a->in[0];
    const int32_t *length = a->in[1];
    float *y = a->out[0];

    SG_TRY(sg_op_check_lengths(a, length, N, T));
    if (C == 0) return SG_OK;
    for (int64_t n = 0; n < N; n++, x += T * C) {
        for (int64_t t = 0; t < length[n]; t++, y += K * C) {
            int64_t first = larger(0, h - t), end = smaller(K, length[n] + h - t);

            memset(y, 0, (size_t)(first * C) * sizeof *y);
            memcpy(y + first * C, x + (t + first - h) * C, (size_t)((end - first) * C) * sizeof *y);
            memset(y + end * C, 0, (size_t)((K - end) * C) * sizeof *y);
        }
        memset(y, 0, (size_t)((T - length[n]) * K * C) * sizeof *y);
        y += (T - length[n]) * K * C;
    }
    return SG_OK;
}

static sg_status windows_dx_run(const sg_args *a) {
    const sg_shape *s = &a->node->out[0].shape;
    int64_t N = s->dim[0], T = s->dim[1], C = s->dim[2], K = kernel_of(a), h = (K - 1) / 2;
    const int32_t *length = a->in[0];
    const float *dy = a->in[1];
    float *dx = a->out[0];

    SG_TRY(sg_op_check_lengths(a, length, N, T));
    if (C == 0) return SG_OK;
    memset(dx, 0, (size_t)(N * T * C) * sizeof *dx);
    for (int64_t n = 0; n < N; n++, dx += T * C, dy += T * K * C)
        for (int64_t u = 0; u < length[n]; u++) {
            int64_t first = larger(0, u + h - length[n] + 1), end = smaller(K, u + h + 1);

            for (int64_t q = first; q < end; q++) {
                const float *from = dy + ((u + h - q) * K + q) * C;

                for (int64_t c = 0; c < C; c++) dx[u * C + c] += from[c];
            }
        }
    return SG_OK;
}

SG_CPU_SELECT_PLAIN(windows)
SG_CPU_SELECT_PLAIN(windows_dx)
