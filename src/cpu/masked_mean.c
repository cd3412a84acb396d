/* The mean of the tokens of each text and its gradient, along memory: the tokens of a text are
 * added one after the other, in double, a strip of columns at a time. */
#include <string.h>

#include "cpu/backend_cpu.h"

enum { kStrip = 64 };

static sg_status masked_mean_run(const sg_args *a) {
    const sg_shape *s = &a->node->in[0]->shape;
    int64_t N = s->dim[0], T = s->dim[1], C = s->dim[2];
    const float *x = a->in[0];
    const int32_t *length = a->in[1];
    float *y = a->out[0];

    SG_TRY(sg_op_check_lengths(a, length, N, T));
    for (int64_t n = 0; n < N; n++, x += T * C, y += C) {
        double per = length[n] > 0 ? 1.0 / (double)length[n] : 0.0;

        for (int64_t c = 0; c < C; c += kStrip) {
            int64_t some = C - c < kStrip ? C - c : kStrip;
            double sum[kStrip] = {0.0};

            for (int64_t t = 0; t < length[n]; t++)
                for (int64_t k = 0; k < some; k++) sum[k] += (double)x[t * C + c + k];
            for (int64_t k = 0; k < some; k++) y[c + k] = (float)(per * sum[k]);
        }
    }
    return SG_OK;
}

static sg_status masked_mean_dx_run(const sg_args *a) {
    const sg_shape *s = &a->node->out[0].shape;
    int64_t N = s->dim[0], T = s->dim[1], C = s->dim[2];
    const int32_t *length = a->in[0];
    const float *dy = a->in[1];
    float *dx = a->out[0];

    SG_TRY(sg_op_check_lengths(a, length, N, T));
    for (int64_t n = 0; n < N; n++, dx += T * C, dy += C) {
        float per = length[n] > 0 ? (float)(1.0 / (double)length[n]) : 0.0f;

        for (int64_t t = 0; t < length[n]; t++)
            for (int64_t c = 0; c < C; c++) dx[t * C + c] = per * dy[c];
        memset(dx + length[n] * C, 0, (size_t)((T - length[n]) * C) * sizeof(float));
    }
    return SG_OK;
}

SG_CPU_SELECT_PLAIN(masked_mean)
SG_CPU_SELECT_PLAIN(masked_mean_dx)
