/* A detector in int8: calibrated on the training part, measured on the validation part. Both run
 * the raw graph, whatever was asked for around it, a picture a thread. */
#include <string.h>

#include "core/mem.h"
#include "data/letterbox.h"
#include "nn/detect_decode.h"
#include "onnx/quantize.h"
#include "onnx/run.h"
#include "train/detection_metrics.h"
#include "train/detector_model.h"
#include "train/evaluate.h"
#include "train/export_sample.h"

enum { kSeen = 64 }; /* pictures whose ranges are taken */

/* As the evaluation of the detector counts (train/detector_evaluate.c). */
static const float kMinScore = 0.001f;

typedef struct {
    sg_detector_model model;
    sg_dataset *data;
    sg_pool *pool;
    uint8_t *bytes; /* of the raw graph, in floats; then in int8 */
    size_t size;
    sg_onnx_ranges *ranges; /* (threads) */
    int64_t items;
    sg_detection **found; /* (items) */
    int64_t *count;       /* (items) */
} quantizing;

static sg_status pack(sg_onnx *m, quantizing *q) {
    sg_status st;

    sg_free(q->bytes);
    q->bytes = NULL;
    st = sg_onnx_pack(m, &q->bytes, &q->size);
    sg_onnx_destroy(m);
    return st;
}

static sg_status export_raw(const sg_trained_source *source, quantizing *q) {
    const sg_export_options raw = {.nms = false};
    sg_onnx *m;

    SG_TRY(sg_export_model(source, &raw, &m));
    return pack(m, q);
}

/* --- one picture ------------------------------------------------------------------------------ */

/* Picture `sample` of the data as the raw graph takes it. */
static sg_status read_input(const quantizing *q, const sg_sample *sample, sg_onnx_array *input,
                            sg_letterbox *map) {
    int64_t S = q->model.model.input;
    uint8_t *pixels = sg_malloc((size_t)(3 * S * S));
    sg_image image = {0};
    sg_status st = pixels ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory", sample->path);

    if (st == SG_OK) st = sg_image_read(sample->path, &image);
    if (st == SG_OK) st = sg_letterbox_image(&image, S, pixels, map);
    if (st == SG_OK)
        st = sg_onnx_array_init(input, "images", SG_ONNX_FLOAT, 4, (const int64_t[]){1, 3, S, S});
    if (st == SG_OK) sg_export_floats(pixels, 3 * S * S, input->data);
    sg_image_clear(&image);
    sg_free(pixels);
    return st;
}

/* --- ranges ----------------------------------------------------------------------------------- */

static sg_status see_one(void *context, int64_t item, int worker) {
    quantizing *q = context;
    sg_onnx_array input;
    sg_letterbox map;
    sg_status st;

    SG_TRY(read_input(q, &q->data->samples[item * q->data->n / q->items], &input, &map));
    st = sg_onnx_ranges_see(&q->ranges[worker], q->bytes, q->size, &input, 1);
    sg_onnx_array_clear(&input);
    return st;
}

static sg_status open_part(quantizing *q, const char *list) {
    sg_dataset *data;

    SG_TRY(sg_detector_dataset(&q->model.config, list, &q->model.classes, &data));
    sg_dataset_destroy(q->data);
    q->data = data;
    return SG_OK;
}

/* Least and greatest do not depend on who saw which picture. */
static sg_status see_ranges(quantizing *q) {
    int threads = sg_pool_threads(q->pool);

    SG_TRY(open_part(q, q->model.config.data.train));
    q->items = q->data->n < kSeen ? q->data->n : kSeen;
    q->ranges = sg_calloc((size_t)threads, sizeof *q->ranges);
    if (!q->ranges) return sg_fail(SG_ERR_OOM, "export: no memory for ranges");
    for (int i = 0; i < threads; i++) SG_TRY(sg_onnx_ranges_init(q->bytes, q->size, &q->ranges[i]));
    SG_TRY(sg_pool_run(q->pool, q->items, see_one, q));
    for (int i = 1; i < threads; i++) sg_onnx_ranges_join(&q->ranges[0], &q->ranges[i]);
    return SG_OK;
}

/* --- what it loses ---------------------------------------------------------------------------- */

/* Boxes (A, 4) and scores (A, K) of a raw output (4 + K, A). */
static void part(const float *raw, int64_t A, int64_t K, float *boxes, float *scores) {
    for (int64_t a = 0; a < A; a++) {
        for (int k = 0; k < 2; k++) {
            float half = 0.5f * raw[(k + 2) * A + a];

            boxes[4 * a + k] = raw[k * A + a] - half;
            boxes[4 * a + k + 2] = raw[k * A + a] + half;
        }
        for (int64_t k = 0; k < K; k++) scores[a * K + k] = raw[(4 + k) * A + a];
    }
}

static sg_status decode(quantizing *q, int64_t item, const sg_letterbox *map,
                        const sg_onnx_array *output) {
    const sg_nms_options nms = {kMinScore, (float)q->model.config.predict.nms, SG_AP_MAX_BOXES, 0};
    const sg_sample *sample = &q->data->samples[item];
    int64_t K = q->model.model.classes, A = output->dim[2];
    float *boxes = sg_malloc((size_t)(A * (4 + K)) * sizeof *boxes);
    sg_status st;

    q->found[item] = sg_malloc(SG_AP_MAX_BOXES * sizeof **q->found);
    if (!boxes || !q->found[item]) {
        sg_free(boxes);
        return sg_fail(SG_ERR_OOM, "export: no memory for boxes");
    }
    part(output->data, A, K, boxes, boxes + 4 * A);
    st = sg_detect_decode(&nms, boxes, boxes + 4 * A, A, K, map, sample->width, sample->height,
                          q->found[item], &q->count[item]);
    sg_free(boxes);
    return st;
}

static sg_status find_one(void *context, int64_t item, int worker) {
    quantizing *q = context;
    sg_onnx_array input, output;
    sg_letterbox map;
    sg_status st;

    (void)worker;
    SG_TRY(read_input(q, &q->data->samples[item], &input, &map));
    st = sg_onnx_run(q->bytes, q->size, &input, 1, &output, 1);
    sg_onnx_array_clear(&input);
    if (st == SG_OK) st = decode(q, item, &map, &output);
    if (st == SG_OK) sg_onnx_array_clear(&output);
    return st;
}

static sg_status score(quantizing *q, sg_detection_metrics *metrics, double *out) {
    for (int64_t i = 0; i < q->items; i++) {
        const sg_sample *sample = &q->data->samples[i];

        SG_TRY(sg_detection_metrics_add(metrics, i, q->found[i], q->count[i], sample->boxes,
                                        sample->classes, sample->count));
    }
    SG_TRY(sg_detection_metrics_finish(metrics));
    *out = sg_detection_metrics_mean(metrics, SG_AREA_ALL).ap50;
    return SG_OK;
}

/* mAP50 of q->bytes on the validation part. */
static sg_status measure(quantizing *q, double *out) {
    sg_detection_metrics *metrics;
    sg_status st;

    SG_TRY(open_part(q, q->model.config.data.val));
    q->items = q->data->n;
    q->found = sg_calloc((size_t)q->items, sizeof *q->found);
    q->count = sg_calloc((size_t)q->items, sizeof *q->count);
    if (!q->found || !q->count) return sg_fail(SG_ERR_OOM, "export: no memory for boxes");
    SG_TRY(sg_pool_run(q->pool, q->items, find_one, q));
    SG_TRY(sg_detection_metrics_create(q->model.model.classes, SG_AP_MAX_BOXES, &metrics));
    st = score(q, metrics, out);
    sg_detection_metrics_destroy(metrics);
    return st;
}

static sg_status measure_own(const sg_trained_source *source, int threads, double *out) {
    sg_evaluation own;

    SG_TRY(sg_evaluate_file(source, "val", threads, &own));
    *out = own.score;
    sg_evaluation_clear(&own);
    return SG_OK;
}

/* --- the whole -------------------------------------------------------------------------------- */

static sg_status quantize(quantizing *q, const sg_trained_source *source, int threads,
                          sg_export_loss *loss) {
    sg_onnx *m;

    SG_TRY(sg_detector_model_read(source, &q->model));
    SG_TRY(sg_pool_create(threads, NULL, &q->pool));
    SG_TRY(export_raw(source, q));
    SG_TRY(see_ranges(q));
    loss->seen = q->items;
    SG_TRY(sg_onnx_quantize(q->bytes, q->size, &q->ranges[0], &m));
    SG_TRY(pack(m, q));
    SG_TRY(measure_own(source, threads, &loss->before));
    SG_TRY(measure(q, &loss->after));
    loss->measured = q->items;
    return SG_OK;
}

static void clear(quantizing *q, int threads) {
    for (int i = 0; q->ranges && i < threads; i++) sg_onnx_ranges_clear(&q->ranges[i]);
    for (int64_t i = 0; q->found && i < q->items; i++) sg_free(q->found[i]);
    sg_free(q->ranges);
    sg_free(q->found);
    sg_free(q->count);
    sg_free(q->bytes);
    sg_pool_destroy(q->pool);
    sg_dataset_destroy(q->data);
    sg_detector_model_clear(&q->model);
}

sg_status sg_export_int8(const sg_trained_source *source, int threads, const uint8_t *bytes,
                         size_t size, sg_onnx **out, sg_export_loss *loss) {
    quantizing q = {.bytes = NULL};
    const char *type;
    sg_status st;

    SG_TRY(sg_trained_type(source->path, &type));
    if (!sg_choice_is(type, "mask_detector"))
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: --int8 is for detectors, and this is a %s",
                       source->path, type);
    st = quantize(&q, source, threads, loss);
    if (st == SG_OK) st = sg_onnx_quantize(bytes, size, &q.ranges[0], out);
    clear(&q, threads);
    return st;
}
