/* Operators of pictures: convolutions, pools, enlarging. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "onnx/run_inside.h"

enum { kMostPad = 1 << 20 };

/* A window that moves over (N, C, H, W). */
typedef struct {
    int64_t N, C, H, W, OH, OW;
    int64_t KH, KW, SH, SW, top, left;
} window;

static sg_status window_of(const sg_onnx_run_call *c, int64_t KH, int64_t KW, window *w) {
    const sg_onnx_run_tensor *x = c->in[0];
    int n_strides, n_pads, n_dilations;
    const int64_t *strides = sg_onnx_run_ints(c, "strides", &n_strides);
    const int64_t *pads = sg_onnx_run_ints(c, "pads", &n_pads);
    const int64_t *dilations = sg_onnx_run_ints(c, "dilations", &n_dilations);
    int64_t bottom = n_pads == 4 ? pads[2] : 0, right = n_pads == 4 ? pads[3] : 0, rows, columns;

    if (x->rank != 4 || KH < 1 || KW < 1) return sg_onnx_run_fail(c, "takes pictures");
    if (dilations || !sg_onnx_run_is(c, "auto_pad", "NOTSET", "NOTSET"))
        return sg_onnx_run_fail(c, "dilations and auto_pad are not known");
    *w = (window){.N = x->dim[0],
                  .C = x->dim[1],
                  .H = x->dim[2],
                  .W = x->dim[3],
                  .KH = KH,
                  .KW = KW,
                  .SH = n_strides == 2 ? strides[0] : 1,
                  .SW = n_strides == 2 ? strides[1] : 1,
                  .top = n_pads == 4 ? pads[0] : 0,
                  .left = n_pads == 4 ? pads[1] : 0};
    if (w->SH < 1 || w->SW < 1) return sg_onnx_run_fail(c, "strides below 1");
    for (int i = 0; i < n_pads; i++)
        if (pads[i] < 0 || pads[i] > kMostPad) return sg_onnx_run_fail(c, "pads out of range");
    rows = w->H + w->top + bottom - KH;
    columns = w->W + w->left + right - KW;
    if (rows < 0 || columns < 0) return sg_onnx_run_fail(c, "a window larger than the picture");
    w->OH = rows / w->SH + 1;
    w->OW = columns / w->SW + 1;
    return SG_OK;
}

/* y (OH, OW) += f x (H, W) at one place (p, q) of the filter. */
static void add_shifted(const window *w, double f, const double *x, int64_t p, int64_t q,
                        double *y) {
    for (int64_t i = 0; i < w->OH; i++) {
        int64_t h = i * w->SH - w->top + p;
        int64_t from = 0, to = w->OW;

        if (h < 0 || h >= w->H) continue;
        while (from < to && from * w->SW - w->left + q < 0) from++;
        while (to > from && (to - 1) * w->SW - w->left + q >= w->W) to--;
        if (w->SW == 1) { /* what the compiler makes vectors of */
            const double *row = x + h * w->W - w->left + q;

            for (int64_t j = from; j < to; j++) y[i * w->OW + j] += f * row[j];
        } else {
            for (int64_t j = from; j < to; j++)
                y[i * w->OW + j] += f * x[h * w->W + j * w->SW - w->left + q];
        }
    }
}

static void convolve(const window *w, const double *x, const double *filter, int64_t CG,
                     double *y) {
    for (int64_t k = 0; k < CG; k++)
        for (int64_t p = 0; p < w->KH; p++)
            for (int64_t q = 0; q < w->KW; q++)
                add_shifted(w, filter[(k * w->KH + p) * w->KW + q], x + k * w->H * w->W, p, q, y);
}

static sg_status op_conv(sg_onnx_run_call *c) {
    int64_t group = sg_onnx_run_int(c, "group", 1), OC, CG;
    const sg_onnx_run_tensor *f;
    window w;

    SG_TRY(sg_onnx_run_need(c, 2));
    f = c->in[1];
    if (f->rank != 4) return sg_onnx_run_fail(c, "takes filters of 4 dimensions");
    SG_TRY(window_of(c, f->dim[2], f->dim[3], &w));
    OC = f->dim[0];
    CG = f->dim[1];
    if (group < 1 || CG * group != w.C || OC % group != 0 ||
        (c->n_in > 2 && c->in[2] && c->in[2]->count != OC))
        return sg_onnx_run_fail(c, "channels, filters and groups do not fit");
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, 4, (const int64_t[]){w.N, OC, w.OH, w.OW}));
    for (int64_t n = 0; n < w.N; n++)
        for (int64_t o = 0; o < OC; o++) {
            const double *x = c->in[0]->v + (n * w.C + o / (OC / group) * CG) * w.H * w.W;
            double *y = c->out[0].v + (n * OC + o) * w.OH * w.OW;

            for (int64_t i = 0; c->n_in > 2 && c->in[2] && i < w.OH * w.OW; i++)
                y[i] = c->in[2]->v[o];
            convolve(&w, x, f->v + o * CG * w.KH * w.KW, CG, y);
        }
    return SG_OK;
}

static double greatest_in(const window *w, const double *x, int64_t i, int64_t j) {
    double best = -INFINITY;

    for (int64_t p = 0; p < w->KH; p++)
        for (int64_t q = 0; q < w->KW; q++) {
            int64_t h = i * w->SH - w->top + p, v = j * w->SW - w->left + q;

            if (h >= 0 && h < w->H && v >= 0 && v < w->W)
                best = sg_onnx_run_greatest(best, x[h * w->W + v]);
        }
    return best;
}

static sg_status op_max_pool(sg_onnx_run_call *c) {
    int n;
    const int64_t *kernel = sg_onnx_run_ints(c, "kernel_shape", &n);
    window w;

    SG_TRY(sg_onnx_run_need(c, 1));
    if (n != 2) return sg_onnx_run_fail(c, "takes pictures");
    SG_TRY(window_of(c, kernel[0], kernel[1], &w));
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, 4, (const int64_t[]){w.N, w.C, w.OH, w.OW}));
    for (int64_t k = 0; k < w.N * w.C; k++)
        for (int64_t i = 0; i < w.OH; i++)
            for (int64_t j = 0; j < w.OW; j++)
                c->out[0].v[(k * w.OH + i) * w.OW + j] =
                    greatest_in(&w, c->in[0]->v + k * w.H * w.W, i, j);
    return SG_OK;
}

static sg_status op_global_average(sg_onnx_run_call *c) {
    int64_t area;

    SG_TRY(sg_onnx_run_need(c, 1));
    if (c->in[0]->rank != 4) return sg_onnx_run_fail(c, "takes pictures");
    area = sg_onnx_run_count(c->in[0], 2, 4);
    SG_TRY(sg_onnx_run_make(c, 0, c->in[0]->type, 4,
                            (const int64_t[]){c->in[0]->dim[0], c->in[0]->dim[1], 1, 1}));
    for (int64_t i = 0; i < c->in[0]->count; i++)
        c->out[0].v[i / area] += c->in[0]->v[i] / (double)area;
    return SG_OK;
}

/* Nearest alone, by whole factors that are input 2, as `asymmetric` with `floor` says. */
static sg_status op_resize(sg_onnx_run_call *c) {
    int64_t dim[SG_ONNX_RANK], index[SG_ONNX_RANK] = {0};
    const sg_onnx_run_tensor *x, *s;

    SG_TRY(sg_onnx_run_need(c, 1));
    x = c->in[0];
    s = c->n_in > 2 ? c->in[2] : NULL;
    if (!s || s->count != x->rank || !sg_onnx_run_is(c, "mode", "nearest", "nearest") ||
        !sg_onnx_run_is(c, "nearest_mode", "round_prefer_floor", "floor") ||
        !sg_onnx_run_is(c, "coordinate_transformation_mode", "half_pixel", "asymmetric"))
        return sg_onnx_run_fail(c, "is known by scales, nearest, asymmetric and floor alone");
    for (int i = 0; i < x->rank; i++) dim[i] = (int64_t)floor((double)x->dim[i] * s->v[i]);
    SG_TRY(sg_onnx_run_make(c, 0, x->type, x->rank, dim));
    for (int64_t i = 0; i < c->out[0].count; i++, sg_onnx_run_next(x->rank, dim, index)) {
        int64_t at = 0;

        for (int k = 0; k < x->rank; k++)
            at = at * x->dim[k] + (int64_t)floor((double)index[k] / s->v[k]);
        c->out[0].v[i] = x->v[at];
    }
    return SG_OK;
}

const sg_onnx_run_entry sg_onnx_run_pictures[] = {
    {"Conv", op_conv},
    {"MaxPool", op_max_pool},
    {"GlobalAveragePool", op_global_average},
    {"Resize", op_resize},
    {NULL, NULL},
};
