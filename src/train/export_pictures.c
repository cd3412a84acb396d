/* Pictures for an export: as they are in the validation part, and what our engine finds in them. */
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/letterbox.h"
#include "data/synthetic.h"
#include "nn/detect_decode.h"
#include "train/detector_model.h"
#include "train/export_sample.h"

typedef struct {
    const sg_export_options *options;
    const sg_export_graph *graph; /* that answers; NULL: our engine */
    sg_detector_model model;      /* for batches of sample->n */
    sg_letterbox map[SG_EXPORT_SAMPLES];
    sg_export_sample *sample;
} sampling;

/* --- pictures --------------------------------------------------------------------------------- */

/* From the beginning and the middle of the validation part. */
static sg_status read_pictures(sampling *s) {
    const sg_config *c = &s->model.config;
    sg_dataset *data;
    sg_status st = SG_OK;

    /* what is drawn on demand is not drawn for this */
    if (!sg_is_dir(c->data.root)) return sg_fault_of_root(SG_ERR_MISSING, c->data.root);
    SG_TRY(sg_detector_dataset(c, c->data.val, &s->model.classes, &data));
    for (int i = 0; i < s->sample->n && st == SG_OK; i++)
        st = sg_image_read(data->samples[i * data->n / s->sample->n].path, &s->sample->image[i]);
    sg_dataset_destroy(data);
    return st;
}

static sg_status draw_pictures(sampling *s) {
    for (int i = 0; i < s->sample->n; i++) {
        sg_synthetic_scene scene;

        SG_TRY(sg_synthetic_draw(1, 0, "export", i, &scene));
        sg_image_clear(&s->sample->image[i]);
        s->sample->image[i] = scene.image;
        sg_free(scene.owner);
    }
    return SG_OK;
}

static sg_status choose(sampling *s) {
    s->sample->real = read_pictures(s) == SG_OK;
    if (s->sample->real) return SG_OK;
    sg_export_sample_unreal(s->sample);
    return draw_pictures(s);
}

/* --- inputs ----------------------------------------------------------------------------------- */

static sg_status put_picture(sampling *s) {
    const sg_image *image = &s->sample->image[0];

    SG_TRY(sg_onnx_array_init(&s->sample->input.array[0], "images", SG_ONNX_UINT8, 4,
                              (const int64_t[]){1, image->height, image->width, 3}));
    memcpy(s->sample->input.array[0].data, image->rgb,
           sg_onnx_array_bytes(&s->sample->input.array[0]));
    return SG_OK;
}

void sg_export_floats(const uint8_t *pixels, int64_t n, float *to) {
    for (int64_t k = 0; k < n; k++) to[k] = (float)pixels[k] / 255.0f;
}

static sg_status put_inputs(sampling *s) {
    int64_t S = s->model.model.input, each = 3 * S * S;

    s->sample->input.n = 1;
    for (int i = 0; i < s->sample->n; i++)
        SG_TRY(
            sg_letterbox_image(&s->sample->image[i], S, s->model.input[0] + i * each, &s->map[i]));
    if (s->options->preprocess) return put_picture(s);
    SG_TRY(sg_onnx_array_init(&s->sample->input.array[0], "images", SG_ONNX_FLOAT, 4,
                              (const int64_t[]){s->sample->n, 3, S, S}));
    sg_export_floats(s->model.input[0], s->sample->n * each, s->sample->input.array[0].data);
    return SG_OK;
}

/* --- answers ---------------------------------------------------------------------------------- */

static int64_t anchor_count(const sampling *s) {
    sg_anchors anchors = sg_mask_detector_anchors(&s->model.model);

    return sg_anchor_count(&anchors);
}

void sg_export_corners(const float *raw, int64_t A, int64_t K, float *boxes, float *scores) {
    for (int64_t a = 0; a < A; a++) {
        for (int k = 0; k < 2; k++) {
            float half = 0.5f * raw[(k + 2) * A + a];

            boxes[4 * a + k] = raw[k * A + a] - half;
            boxes[4 * a + k + 2] = raw[k * A + a] + half;
        }
        for (int64_t k = 0; k < K; k++) scores[a * K + k] = raw[(4 + k) * A + a];
    }
}

/* Picture i's raw output (4 + K, A), from boxes (A, 4) and scores (A, K). */
static void fill_raw(const sampling *s, int i, float *to) {
    int64_t A = anchor_count(s), K = s->model.model.classes;
    const float *boxes = s->model.boxes[0] + i * A * 4, *scores = s->model.scores[0] + i * A * K;

    for (int64_t a = 0; a < A; a++) {
        float box[4];

        memcpy(box, boxes + 4 * a, sizeof box);
        if (s->options->preprocess) sg_letterbox_undo(&s->map[i], box, box);
        for (int k = 0; k < 2; k++) {
            to[k * A + a] = 0.5f * (box[k] + box[k + 2]);
            to[(k + 2) * A + a] = box[k + 2] - box[k];
        }
        for (int64_t k = 0; k < K; k++) to[(4 + k) * A + a] = scores[a * K + k];
    }
}

static void fill_rows(const sg_detection *found, int64_t n, float *to) {
    for (int64_t k = 0; k < n; k++, to += 6) {
        memcpy(to, found[k].box, 4 * sizeof *to);
        to[4] = found[k].score;
        to[5] = (float)found[k].label;
    }
}

/* Of picture i. */
static sg_status keep_boxes(sampling *s, int i, const sg_detection *found, int64_t n) {
    SG_TRY(sg_onnx_array_init(&s->sample->boxes[i], "boxes", SG_ONNX_FLOAT, 2,
                              (const int64_t[]){n, 6}));
    fill_rows(found, n, s->sample->boxes[i].data);
    s->sample->found += n;
    return SG_OK;
}

/* What `predict` finds in picture i, by the model's boxes and scores, into sample->boxes; what the
 * graph should, into `to` (max_boxes, 6), which may be NULL. */
static sg_status find_boxes(sampling *s, int i, float *to) {
    const sg_nms_options nms = sg_detector_model_nms(&s->model);
    int64_t A = anchor_count(s), K = s->model.model.classes, n = 0;
    const float *boxes = s->model.boxes[0] + i * A * 4, *scores = s->model.scores[0] + i * A * K;
    const sg_image *image = &s->sample->image[i];
    sg_detection *found = sg_malloc((size_t)nms.max_boxes * sizeof *found);
    sg_status st = found ? SG_OK : sg_fail(SG_ERR_OOM, "export: no memory for boxes");

    if (st == SG_OK && to && !s->options->preprocess) {
        st = sg_nms(&nms, boxes, scores, A, K, found, &n);
        if (st == SG_OK) fill_rows(found, n, to);
    }
    if (st == SG_OK)
        st = sg_detect_decode(&nms, boxes, scores, A, K, &s->map[i], image->width, image->height,
                              found, &n);
    if (st == SG_OK) st = keep_boxes(s, i, found, n);
    if (st == SG_OK && to && s->options->preprocess) fill_rows(found, n, to);
    sg_free(found);
    return st;
}

/* --- our engine's answer ---------------------------------------------------------------------- */

static sg_status answer(sampling *s) {
    const void *inputs[SG_MAX_INPUTS] = {s->model.input[0]};
    void *outputs[SG_MAX_OUTPUTS] = {s->model.boxes[0], s->model.scores[0]};
    sg_onnx_array *out = &s->sample->output[0];

    SG_TRY(sg_inference_run(s->model.inference, 0, inputs, outputs));
    for (int i = 0; i < s->sample->n; i++) {
        float *to = (float *)out->data + i * out->dim[1] * out->dim[2];

        if (!s->options->nms) fill_raw(s, i, to);
        SG_TRY(find_boxes(s, i, s->options->nms ? to : NULL));
    }
    return SG_OK;
}

/* --- a graph's answer ------------------------------------------------------------------------- */

/* Of rows (n, 6) that a graph has suppressed, by the map into the picture: what find_boxes keeps.
 * The other three are room. */
static sg_status undo_rows(sampling *s, int i, const float *rows, int64_t n, float *boxes,
                           float *scores, sg_detection *found) {
    const sg_image *image = &s->sample->image[i];
    const sg_nms_options all = {0.0f, 1.0f, n, n};
    int64_t count;

    for (int64_t k = 0; k < n; k++) {
        memcpy(boxes + 4 * k, rows + 6 * k, 4 * sizeof *boxes);
        scores[k] = rows[6 * k + 4];
    }
    SG_TRY(sg_detect_decode(&all, boxes, scores, n, 1, &s->map[i], image->width, image->height,
                            found, &count));
    for (int64_t k = 0; k < count; k++) found[k].label = (int32_t)rows[6 * found[k].anchor + 5];
    return keep_boxes(s, i, found, count);
}

static sg_status keep_rows(sampling *s, int i, const float *rows, int64_t n) {
    float *boxes = sg_malloc((size_t)(4 * n) * sizeof *boxes);
    float *scores = sg_malloc((size_t)n * sizeof *scores);
    sg_detection *found = sg_malloc((size_t)n * sizeof *found);
    sg_status st = boxes && scores && found ? undo_rows(s, i, rows, n, boxes, scores, found)
                                            : sg_fail(SG_ERR_OOM, "export: no memory for boxes");

    sg_free(found);
    sg_free(scores);
    sg_free(boxes);
    return st;
}

static sg_status answer_of_graph(sampling *s) {
    const sg_onnx_array *out = &s->sample->output[0];
    int64_t rows = out->dim[1], columns = out->dim[2], K = s->model.model.classes;

    SG_TRY(sg_export_sample_run(s->graph, s->sample));
    for (int i = 0; i < s->sample->n; i++) {
        const float *from = (const float *)out->data + i * rows * columns;

        if (s->options->preprocess) s->map[i] = (sg_letterbox){.scale = 1.0f}; /* it is undone */
        if (s->options->nms) {
            SG_TRY(keep_rows(s, i, from, rows));
            continue;
        }
        sg_export_corners(from, columns, K, s->model.boxes[0] + i * columns * 4,
                          s->model.scores[0] + i * columns * K);
        SG_TRY(find_boxes(s, i, NULL));
    }
    return SG_OK;
}

/* --- the whole -------------------------------------------------------------------------------- */

static sg_status make_output(sampling *s) {
    int64_t rows = s->options->nms ? s->model.config.predict.max_boxes : 4 + s->model.model.classes;
    int64_t columns = s->options->nms ? 6 : anchor_count(s);

    s->sample->n_outputs = 1;
    return sg_onnx_array_init(&s->sample->output[0], "output0", SG_ONNX_FLOAT, 3,
                              (const int64_t[]){s->sample->n, rows, columns});
}

static sg_status take(sampling *s) {
    SG_TRY(choose(s));
    SG_TRY(put_inputs(s));
    SG_TRY(make_output(s));
    return s->graph ? answer_of_graph(s) : answer(s);
}

sg_status sg_export_sample_pictures(const sg_trained_source *source,
                                    const sg_export_options *options, const sg_export_graph *graph,
                                    sg_export_sample *out) {
    sampling s = {.options = options, .graph = graph, .sample = out};
    /* pictures of several sizes are no batch */
    const sg_detector_model_options load = {options->preprocess ? 1 : SG_EXPORT_SAMPLES, 1, 1};
    sg_status st;

    out->kind = options->nms ? SG_EXPORT_FOUND : SG_EXPORT_RAW;
    out->n = (int)load.batch;
    SG_TRY(sg_detector_model_load(source->path, source->overrides, source->n_overrides, &load,
                                  &s.model));
    out->score = s.model.config.predict.score;
    out->iou = s.model.config.predict.nms;
    st = take(&s);
    sg_detector_model_clear(&s.model);
    return st;
}
