#include "train/detector_model.h"

#include <string.h>

#include "core/mem.h"
#include "data/letterbox.h"
#include "nn/detect_decode.h"
#include "train/trained.h"

static sg_status make_inference(sg_detector_model *m, const char *path,
                                const sg_detector_model_options *options) {
    sg_inference_options o;

    memset(&o, 0, sizeof o);
    o.build = sg_detector_build;
    o.context = &m->model;
    o.backend = sg_compute_backend(&m->compute);
    o.batch = options->batch;
    o.workers = options->workers;
    o.op_threads = options->op_threads;
    SG_TRY(sg_inference_create(&o, &m->inference));
    return sg_inference_load(m->inference, path);
}

static void **make_blocks(int n, size_t bytes) {
    void **block = sg_calloc((size_t)n, sizeof *block);

    for (int i = 0; block && i < n; i++) {
        block[i] = sg_malloc(bytes);
        if (block[i]) continue;
        while (i-- > 0) sg_free(block[i]);
        sg_free(block);
        return NULL;
    }
    return block;
}

static void free_blocks(void **block, int n) {
    for (int i = 0; block && i < n; i++) sg_free(block[i]);
    sg_free(block);
}

static sg_status allocate(sg_detector_model *m, int64_t batch) {
    sg_anchors anchors = sg_mask_detector_anchors(&m->model);
    size_t n = (size_t)(batch * sg_anchor_count(&anchors)), side = (size_t)m->model.input;

    m->input = (uint8_t **)make_blocks(m->workers, (size_t)batch * 3 * side * side);
    m->boxes = (float **)make_blocks(m->workers, n * 4 * sizeof(float));
    m->scores = (float **)make_blocks(m->workers, n * (size_t)m->model.classes * sizeof(float));
    return m->input && m->boxes && m->scores ? SG_OK : sg_fail(SG_ERR_OOM, "detector: no memory");
}

sg_nms_options sg_detector_model_nms(const sg_detector_model *m) {
    return (sg_nms_options){(float)m->config.predict.score, (float)m->config.predict.nms,
                            m->config.predict.max_boxes, 0};
}

/* For sg_detector_predict. */
static sg_status make_nms(sg_detector_model *m, int64_t batch) {
    sg_anchors anchors = sg_mask_detector_anchors(&m->model);
    sg_nms_options options = sg_detector_model_nms(m);

    if (!sg_inference_device(m->inference) || batch != 1) return SG_OK;
    return sg_detector_nms_create(m->inference, &options, batch, sg_anchor_count(&anchors),
                                  m->model.classes, &m->nms);
}

static const char *const kBuiltIn[] = {"data.classes", "model.type", "model.size", "model.stride",
                                       NULL};

static sg_status read_model(const sg_trained_source *source, sg_detector_model *m) {
    SG_TRY(sg_model_file_read(source->path, &m->file));
    SG_TRY(sg_trained_config(source, &m->file, kBuiltIn, &m->config));
    if (m->file.n_classes < 1) return sg_fail(SG_ERR_DATA, "%s: names no classes", source->path);
    m->classes.n = (int)m->file.n_classes;
    m->classes.name = m->file.classes;
    return sg_detector_options(&m->config, m->file.n_classes, &m->model);
}

sg_status sg_detector_model_read(const sg_trained_source *source, sg_detector_model *out) {
    sg_status st;

    memset(out, 0, sizeof *out);
    st = read_model(source, out);
    if (st != SG_OK) sg_detector_model_clear(out);
    return st;
}

sg_status sg_detector_model_load(const char *path, const char *const *overrides, int n_overrides,
                                 const sg_detector_model_options *options, sg_detector_model *out) {
    const sg_trained_source source = {path, overrides, n_overrides};
    sg_detector_model *m = out; /* in place: the inference keeps a pointer to m->model */
    sg_status st;

    SG_TRY(sg_detector_model_read(&source, m));
    m->workers = options->workers > 0 ? options->workers : 1;
    st = sg_trained_compute(&source, &m->file, &m->compute);
    if (st == SG_OK) st = make_inference(m, path, options);
    if (st == SG_OK) st = allocate(m, options->batch);
    if (st == SG_OK) st = make_nms(m, options->batch);
    if (st != SG_OK) sg_detector_model_clear(m);
    return st;
}

void sg_detector_model_clear(sg_detector_model *m) {
    sg_detector_nms_destroy(m->nms);
    sg_inference_destroy(m->inference);
    sg_compute_close(&m->compute);
    sg_model_file_clear(&m->file);
    free_blocks((void **)m->input, m->workers);
    free_blocks((void **)m->boxes, m->workers);
    free_blocks((void **)m->scores, m->workers);
    memset(m, 0, sizeof *m);
}

sg_status sg_detector_predict(sg_detector_model *m, int worker, const sg_image *image,
                              sg_detection *found, int64_t *count) {
    sg_nms_options nms = sg_detector_model_nms(m);
    sg_anchors anchors = sg_mask_detector_anchors(&m->model);
    const void *inputs[SG_MAX_INPUTS] = {m->input[worker]};
    void *outputs[SG_MAX_OUTPUTS] = {m->boxes[worker], m->scores[worker]};
    sg_letterbox map;

    SG_TRY(sg_letterbox_image(image, m->model.input, m->input[worker], &map));
    if (m->nms) {
        SG_TRY(sg_detector_nms_run(m->nms, inputs, NULL, 1, found, count));
        sg_detect_place(&map, image->width, image->height, found, count);
        return SG_OK;
    }
    SG_TRY(sg_inference_run(m->inference, worker, inputs, outputs));
    return sg_detect_decode(&nms, m->boxes[worker], m->scores[worker], sg_anchor_count(&anchors),
                            m->model.classes, &map, image->width, image->height, found, count);
}
