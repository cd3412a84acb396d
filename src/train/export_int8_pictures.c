/* Pictures for a detector in int8, and the boxes that it finds. */
#include <string.h>

#include "core/mem.h"
#include "data/letterbox.h"
#include "nn/detect_decode.h"
#include "train/detection_metrics.h"
#include "train/detector_model.h"
#include "train/evaluate.h"
#include "train/export_int8.h"

typedef struct {
    sg_detector_model model;
    sg_dataset *data;
    sg_detection **found; /* (n), owned; NULL before it is answered */
    int64_t *count;       /* (n) */
} pictures;

static sg_status open_model(const sg_trained_source *source, sg_pool *pool, void *context) {
    pictures *p = context;

    (void)pool;
    return sg_detector_model_read(source, &p->model);
}

static void forget(pictures *p) {
    for (int64_t i = 0; p->found && i < p->data->n; i++) sg_free(p->found[i]);
    sg_free(p->found);
    sg_free(p->count);
    sg_dataset_destroy(p->data);
    p->found = NULL;
    p->count = NULL;
    p->data = NULL;
}

static void close_model(void *context) {
    pictures *p = context;

    forget(p);
    sg_detector_model_clear(&p->model);
}

static sg_status read_part(void *context, const char *split, int64_t *n) {
    pictures *p = context;
    const sg_config *c = &p->model.config;
    sg_dataset *data;

    forget(p);
    SG_TRY(sg_detector_dataset(c, sg_evaluate_part(c, split), &p->model.classes, &data));
    p->data = data;
    p->found = sg_calloc((size_t)data->n, sizeof *p->found);
    p->count = sg_calloc((size_t)data->n, sizeof *p->count);
    *n = data->n;
    return p->found && p->count ? SG_OK : sg_fail(SG_ERR_OOM, "export: no memory for boxes");
}

static sg_status put_input(void *context, int64_t i, sg_export_inputs *in) {
    const pictures *p = context;
    const char *path = p->data->samples[i].path;
    int64_t S = p->model.model.input;
    uint8_t *pixels = sg_malloc((size_t)(3 * S * S));
    sg_image image = {0};
    sg_status st = pixels ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory", path);

    if (st == SG_OK) st = sg_image_read(path, &image);
    if (st == SG_OK) st = sg_letterbox_image(&image, S, pixels, NULL);
    if (st == SG_OK)
        st = sg_onnx_array_init(&in->array[0], "images", SG_ONNX_FLOAT, 4,
                                (const int64_t[]){1, 3, S, S});
    if (st == SG_OK) sg_export_floats(pixels, 3 * S * S, in->array[0].data);
    in->n = 1;
    sg_image_clear(&image);
    sg_free(pixels);
    return st;
}

static sg_status take(void *context, int64_t i, const sg_onnx_array *outputs) {
    pictures *p = context;
    const sg_nms_options nms = sg_detector_evaluation_nms(&p->model.config);
    const sg_sample *sample = &p->data->samples[i];
    sg_letterbox map = sg_letterbox_map(sample->width, sample->height, p->model.model.input);
    int64_t K = p->model.model.classes, A = outputs[0].dim[2];
    float *boxes = sg_malloc((size_t)(A * (4 + K)) * sizeof *boxes);
    sg_status st = SG_OK;

    p->found[i] = sg_malloc((size_t)nms.max_boxes * sizeof **p->found);
    if (!boxes || !p->found[i]) st = sg_fail(SG_ERR_OOM, "export: no memory for boxes");
    if (st == SG_OK) {
        sg_export_corners(outputs[0].data, A, K, boxes, boxes + 4 * A);
        st = sg_detect_decode(&nms, boxes, boxes + 4 * A, A, K, &map, sample->width, sample->height,
                              p->found[i], &p->count[i]);
    }
    sg_free(boxes);
    return st;
}

static sg_status add_all(const pictures *p, sg_detection_metrics *metrics, double *score) {
    for (int64_t i = 0; i < p->data->n; i++) {
        const sg_sample *sample = &p->data->samples[i];

        SG_TRY(sg_detection_metrics_add(metrics, i, p->found[i], p->count[i], sample->boxes,
                                        sample->classes, sample->count));
    }
    SG_TRY(sg_detection_metrics_finish(metrics));
    *score = sg_detection_metrics_mean(metrics, SG_AREA_ALL).ap50;
    return SG_OK;
}

static sg_status measure(void *context, double *score) {
    const pictures *p = context;
    sg_detection_metrics *metrics;
    sg_status st;

    SG_TRY(sg_detection_metrics_create(p->model.model.classes, SG_AP_MAX_BOXES, &metrics));
    st = add_all(p, metrics, score);
    sg_detection_metrics_destroy(metrics);
    return st;
}

const sg_int8_kind sg_int8_pictures = {.score = "mAP50",
                                       .n_outputs = 1,
                                       .bytes = sizeof(pictures),
                                       .open = open_model,
                                       .close = close_model,
                                       .read = read_part,
                                       .input = put_input,
                                       .take = take,
                                       .measure = measure};
