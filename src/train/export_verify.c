/* Whether an exported graph answers as our engine does. */
#include <math.h>

#include "nn/nms.h"
#include "onnx/run.h"
#include "train/export_sample.h"

static const double kRaw = 1e-4, kProbability = 1e-5, kScore = 1e-3, kBorder = 1e-3, kIou = 0.99;

/* --- tensors ---------------------------------------------------------------------------------- */

/* Rows `from` .. `to` - 1 of outputs (n, rows, columns): |a - b| <= tolerance * max |b|. */
static sg_status compare_rows(const sg_onnx_array *got, const sg_onnx_array *want, int64_t from,
                              int64_t to, double tolerance, const char *what) {
    int64_t rows = want->rank > 2 ? want->dim[1] : 1, columns = want->dim[want->rank - 1];
    const float *a = got->data, *b = want->data;
    double worst = 0.0, top = 0.0;

    for (int64_t n = 0; n < want->dim[0]; n++)
        for (int64_t i = (n * rows + from) * columns; i < (n * rows + to) * columns; i++) {
            double gap = fabs((double)a[i] - (double)b[i]);

            if (gap > worst || isnan(gap)) worst = gap; /* and a NaN stays */
            top = fmax(top, fabs((double)b[i]));
        }
    if (worst <= tolerance * top) return SG_OK;
    return sg_fail(SG_ERR_DATA, "the exported graph differs: %s by %g where %g is the greatest",
                   what, worst, top);
}

static sg_status compare_raw(const sg_export_sample *s, const sg_onnx_array *got) {
    SG_TRY(compare_rows(&got[0], &s->output[0], 0, 4, kRaw, "boxes"));
    return compare_rows(&got[0], &s->output[0], 4, s->output[0].dim[1], kRaw, "scores");
}

static int64_t best(const float *p, int64_t n) {
    int64_t at = 0;

    for (int64_t i = 1; i < n; i++)
        if (p[i] > p[at]) at = i;
    return at;
}

static sg_status compare_labels(const sg_export_sample *s, const sg_onnx_array *got) {
    const float *a = got[1].data, *b = s->output[1].data;

    SG_TRY(compare_rows(&got[0], &s->output[0], 0, 1, kRaw, "logits"));
    for (int64_t i = 0; i < sg_onnx_array_count(&got[1]); i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= kProbability))
            return sg_fail(SG_ERR_DATA, "the exported graph differs: a probability is %g, not %g",
                           (double)a[i], (double)b[i]);
    for (int i = 0; i < s->n; i++)
        for (int t = 0; t < s->n_tasks; t++) {
            if (best(a, s->task_classes[t]) != best(b, s->task_classes[t]))
                return sg_fail(SG_ERR_DATA, "the exported graph differs: another label");
            a += s->task_classes[t];
            b += s->task_classes[t];
        }
    return SG_OK;
}

/* --- boxes that were found -------------------------------------------------------------------- */

enum { kRow = 6 };

static bool same_box(const float *a, const float *b) {
    return a[5] == b[5] && fabs((double)a[4] - (double)b[4]) <= kScore && sg_box_iou(a, b) > kIou;
}

static bool has(const float *rows, int64_t n, const float *row) {
    for (int64_t i = 0; i < n; i++)
        if (same_box(rows + i * kRow, row)) return true;
    return false;
}

/* A last bit decides about this one: of a score, beside the threshold or the last that there is
 * room for, or of the overlap with a box found. */
static bool on_border(const sg_export_sample *s, const float *rows, int64_t n, const float *row) {
    double least = fmax(s->score, (double)rows[(n - 1) * kRow + 4]);

    if ((double)row[4] <= least + kBorder) return true;
    for (int64_t i = 0; i < n; i++)
        if (rows[i * kRow + 5] == row[5] &&
            fabs(sg_box_iou(rows + i * kRow, row) - s->iou) <= kBorder)
            return true;
    return false;
}

/* Every box of `a` is in `b`; both (n, 6), zeros behind them. */
static sg_status contained(const sg_export_sample *s, const float *a, const float *b, int64_t n,
                           const char *who) {
    for (int64_t i = 0; i < n && a[i * kRow + 4] > 0.0f; i++)
        if (!has(b, n, a + i * kRow) && !on_border(s, b, n, a + i * kRow))
            return sg_fail(SG_ERR_DATA,
                           "the exported graph differs: only %s finds a box of class %g, score %g, "
                           "at %g %g %g %g",
                           who, (double)a[i * kRow + 5], (double)a[i * kRow + 4],
                           (double)a[i * kRow], (double)a[i * kRow + 1], (double)a[i * kRow + 2],
                           (double)a[i * kRow + 3]);
    return SG_OK;
}

static sg_status compare_found(const sg_export_sample *s, const sg_onnx_array *got) {
    int64_t n = s->output[0].dim[1];

    for (int i = 0; i < s->n; i++) {
        const float *a = (const float *)got[0].data + i * n * kRow;
        const float *b = (const float *)s->output[0].data + i * n * kRow;

        SG_TRY(contained(s, a, b, n, "it"));
        SG_TRY(contained(s, b, a, n, "our own engine"));
    }
    return SG_OK;
}

/* --- the whole -------------------------------------------------------------------------------- */

static sg_status compare(const sg_export_sample *s, const sg_onnx_array *got) {
    SG_TRY(sg_export_sample_fits(s, got));
    if (s->kind == SG_EXPORT_RAW) return compare_raw(s, got);
    return s->kind == SG_EXPORT_FOUND ? compare_found(s, got) : compare_labels(s, got);
}

sg_status sg_export_verify(const uint8_t *bytes, size_t size, const sg_export_sample *s) {
    sg_onnx_array got[SG_EXPORT_OUTPUTS];
    sg_status st;

    SG_TRY(sg_onnx_run(bytes, size, s->input.array, s->input.n, got, s->n_outputs));
    st = compare(s, got);
    for (int o = 0; o < s->n_outputs; o++) sg_onnx_array_clear(&got[o]);
    return st;
}

/* --- on the whole ----------------------------------------------------------------------------- */

static const double kLooseScore = 0.5, kLooseScoreLeast = 0.01, kLooseBox = 0.1,
                    kLooseProbability = 0.2, kSure = 0.2, kLooseIou = 0.5;

/* Rows `from` .. `to` - 1 of outputs as in compare_rows: the root of the mean square of a - b,
 * which is to be within `share` of that of b, or within `least`. */
static sg_status resemble_rows(const sg_onnx_array *got, const sg_onnx_array *want, int64_t from,
                               int64_t to, double share, double least, const char *what) {
    int64_t rows = want->rank > 2 ? want->dim[1] : 1, columns = want->dim[want->rank - 1];
    double n = (double)(want->dim[0] * (to - from) * columns), far = 0.0, size = 0.0;
    const float *a = got->data, *b = want->data;

    for (int64_t k = 0; k < want->dim[0]; k++)
        for (int64_t i = (k * rows + from) * columns; i < (k * rows + to) * columns; i++) {
            far += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]) / n;
            size += (double)b[i] * (double)b[i] / n;
        }
    if (sqrt(far) <= fmax(least, share * sqrt(size))) return SG_OK; /* NaN is not */
    return sg_fail(SG_ERR_DATA, "the graph in int8 differs: %s by %g on the whole, of %g", what,
                   sqrt(far), sqrt(size));
}

static sg_status resemble_found(const sg_export_sample *s, const sg_export_sample *own,
                                int64_t *compared) {
    int64_t rows = own->output[0].dim[1], sure = 0, there = 0;

    for (int i = 0; i < own->n; i++) {
        const float *a = (const float *)s->output[0].data + i * rows * kRow;
        const float *b = (const float *)own->output[0].data + i * rows * kRow;

        for (int64_t k = 0; k < rows && (double)b[k * kRow + 4] > own->score + kSure; k++) {
            bool found = false;

            for (int64_t j = 0; j < rows && a[j * kRow + 4] > 0.0f && !found; j++)
                found = a[j * kRow + 5] == b[k * kRow + 5] &&
                        sg_box_iou(a + j * kRow, b + k * kRow) > kLooseIou;
            sure++;
            there += found;
        }
    }
    *compared = sure;
    if (2 * there >= sure) return SG_OK;
    return sg_fail(SG_ERR_DATA, "the graph in int8 differs: of %lld boxes it finds %lld",
                   (long long)sure, (long long)there);
}

sg_status sg_export_resembles(const sg_export_sample *s, const sg_export_sample *own,
                              int64_t *compared) {
    const sg_onnx_array *got = s->output, *want = own->output;

    SG_TRY(sg_export_sample_fits(own, got));
    if (own->kind == SG_EXPORT_FOUND) return resemble_found(s, own, compared);
    *compared = own->n;
    if (own->kind == SG_EXPORT_LABELS)
        return resemble_rows(&got[1], &want[1], 0, 1, 0.0, kLooseProbability, "probabilities");
    SG_TRY(resemble_rows(got, want, 0, 4, kLooseBox, 0.0, "boxes"));
    return resemble_rows(got, want, 4, want->dim[1], kLooseScore, kLooseScoreLeast, "scores");
}
