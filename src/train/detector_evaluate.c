/* Evaluation: pictures in fixed groups through the model, answers gathered in the order of the
 * list. How many threads share the groups changes nothing.
 *
 * With a device the loader's threads only decode, batches ahead, and the device makes the input
 * pictures, to the same bytes, on the queue of the runs; while it runs one group, threads turn the
 * answers of those before it into boxes. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "data/loader.h"
#include "data/staging.h"
#include "nn/detect_decode.h"
#include "report/progress.h"
#include "train/detection_metrics.h"
#include "train/detector.h"

/* The lowest score that counts: below it a box is noise to the average precision. */
static const float kMinScore = 0.001f;

enum { kGroupsPerBatch = 4, kPrefetch = 2 };

typedef struct {
    const sg_dataset *dataset;
    sg_inference *inference;
    sg_detector_report *report; /* NULL: none */
    sg_nms_options nms;
    int64_t input, anchors, classes;
    sg_loader *loader;
    sg_staging *staging; /* with a device: its half of the loader, */
    uint8_t *there;      /* and the input pictures there, (batch, 3, input, input) */
    sg_batch batch;
    sg_detection *found; /* (batch, max_boxes) */
    int64_t *count;      /* (batch) */
    float *boxes;        /* (batch, anchors, 4) */
    float *scores;       /* (batch, anchors, classes) */
} evaluation;

static sg_status run_group(void *context, int64_t group, int worker) {
    evaluation *e = context;
    int64_t first = group * SG_DETECTOR_EVAL_BATCH;
    const uint8_t *images = e->staging ? e->there : e->batch.image;
    const void *inputs[SG_MAX_INPUTS] = {images + first * 3 * e->input * e->input};
    void *outputs[SG_MAX_OUTPUTS] = {e->boxes + first * e->anchors * 4,
                                     e->scores + first * e->anchors * e->classes};

    SG_TRY(e->staging ? sg_inference_run_there(e->inference, inputs, outputs)
                      : sg_inference_run(e->inference, worker, inputs, outputs));
    for (int64_t i = first; i < first + SG_DETECTOR_EVAL_BATCH; i++) {
        const sg_sample *sample;

        if (e->batch.sample[i] < 0) continue; /* padding behind the last picture */
        sample = &e->dataset->samples[e->batch.sample[i]];
        SG_TRY(sg_detect_decode(&e->nms, e->boxes + i * e->anchors * 4,
                                e->scores + i * e->anchors * e->classes, e->anchors, e->classes,
                                &e->batch.map[i], sample->width, sample->height,
                                e->found + i * e->nms.max_boxes, &e->count[i]));
    }
    return SG_OK;
}

static sg_status add_batch(const evaluation *e, int64_t n, sg_detection_metrics *metrics) {
    for (int64_t i = 0; i < n; i++) {
        int64_t s = e->batch.sample[i];

        if (s < 0) continue;
        SG_TRY(sg_detection_metrics_add(
            metrics, s, e->found + i * e->nms.max_boxes, e->count[i], e->dataset->samples[s].boxes,
            e->dataset->samples[s].classes, e->dataset->samples[s].count));
        if (e->report)
            SG_TRY(
                sg_detector_report_add(e->report, s, e->found + i * e->nms.max_boxes, e->count[i]));
    }
    return SG_OK;
}

static sg_status next_batch(evaluation *e) {
    if (e->staging) SG_TRY(sg_staging_wait(e->staging));
    SG_TRY(sg_loader_next(e->loader, &e->batch));
    if (!e->staging) return SG_OK;
    return sg_staging_put(e->staging, sg_inference_queue(e->inference), &e->batch, e->there);
}

static sg_status measure(evaluation *e, sg_pool *pool, sg_stop_fn stop, void *stop_context,
                         sg_detection_metrics *metrics) {
    for (int64_t b = 0; b < sg_loader_batches(e->loader); b++) {
        if (stop && stop(stop_context))
            return sg_fail(SG_ERR_INTERRUPTED, "interrupted during an evaluation");
        SG_TRY(next_batch(e));
        SG_TRY(sg_pool_run(pool, kGroupsPerBatch, run_group, e));
        SG_TRY(add_batch(e, kGroupsPerBatch * SG_DETECTOR_EVAL_BATCH, metrics));
    }
    return sg_detection_metrics_finish(metrics);
}

/* --- the answer ------------------------------------------------------------------------------- */

static json_t *number(double x) { return isnan(x) ? json_null() : json_real(x); }

static json_t *ap_object(sg_class_ap ap) {
    return json_pack("{s:o, s:o, s:I}", "AP50", number(ap.ap50), "AP50_95", number(ap.ap50_95),
                     "count", (json_int_t)ap.count);
}

/* {"mAP50", "mAP50_95", "classes": {NAME: {...}}, "sizes": {...}} */
static sg_status write_json(const sg_detection_metrics *m, const sg_classes *classes, char **out) {
    static const char *const size_name[SG_AREA_COUNT] = {"all", "below_16", "16_to_32", "from_32"};
    sg_class_ap mean = sg_detection_metrics_mean(m, SG_AREA_ALL);
    json_t *by_class = json_object(), *by_size = json_object(), *whole;
    char *text = NULL;

    for (int c = 0; c < classes->n; c++)
        json_object_set_new(by_class, classes->name[c],
                            ap_object(sg_detection_metrics_class(m, SG_AREA_ALL, c)));
    for (int a = SG_AREA_SMALL; a < SG_AREA_COUNT; a++)
        json_object_set_new(by_size, size_name[a],
                            ap_object(sg_detection_metrics_mean(m, (sg_area)a)));
    whole = json_pack("{s:o, s:o, s:o, s:o}", "mAP50", number(mean.ap50), "mAP50_95",
                      number(mean.ap50_95), "classes", by_class, "sizes", by_size);
    if (whole) text = json_dumps(whole, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
    json_decref(whole);
    *out = text ? sg_strdup(text) : NULL;
    free(text);
    return *out ? SG_OK : sg_fail(SG_ERR_OOM, "evaluation: no memory for its figures");
}

static sg_table_row table_row(const char *name, sg_class_ap ap) {
    sg_table_row row = {name, ap.count, ap.ap50, ap.ap50_95};

    return row;
}

static sg_status write_table(const sg_detection_metrics *m, const sg_classes *classes, char **out) {
    sg_table_row all = table_row("all", sg_detection_metrics_mean(m, SG_AREA_ALL));
    sg_table_row *rows = sg_malloc((size_t)classes->n * sizeof *rows);
    sg_status st;

    if (!rows) return sg_fail(SG_ERR_OOM, "evaluation: no memory for its table");
    for (int c = 0; c < classes->n; c++)
        rows[c] = table_row(classes->name[c], sg_detection_metrics_class(m, SG_AREA_ALL, c));
    st = sg_table_evaluation(rows, classes->n, &all, out);
    sg_free(rows);
    return st;
}

static sg_status fill(const sg_detection_metrics *m, const sg_classes *classes,
                      sg_evaluation *out) {
    sg_evaluation answer = {sg_detection_metrics_mean(m, SG_AREA_ALL).ap50, NULL, NULL};
    sg_status st = write_json(m, classes, &answer.json);

    if (st == SG_OK) st = write_table(m, classes, &answer.table);
    if (st != SG_OK) {
        sg_evaluation_clear(&answer);
        return st;
    }
    *out = answer;
    return SG_OK;
}

static sg_status allocate(evaluation *e, int64_t n) {
    e->found = sg_malloc((size_t)(n * e->nms.max_boxes) * sizeof *e->found);
    e->count = sg_calloc((size_t)n, sizeof *e->count);
    e->boxes = sg_malloc((size_t)(n * e->anchors * 4) * sizeof(float));
    e->scores = sg_malloc((size_t)(n * e->anchors * e->classes) * sizeof(float));
    if (!e->found || !e->count || !e->boxes || !e->scores)
        return sg_fail(SG_ERR_OOM, "evaluation: no memory");
    return SG_OK;
}

static sg_status open_loader(evaluation *e, int threads) {
    sg_loader_options o = sg_loader_defaults();
    void *block;

    o.batch = kGroupsPerBatch * SG_DETECTOR_EVAL_BATCH;
    o.input = e->input;
    o.threads = threads;
    o.prefetch = kPrefetch;
    o.cache_bytes = 0; /* each picture is read once */
    o.device = sg_inference_device(e->inference);
    SG_TRY(sg_loader_create(e->dataset, &o, &e->loader));
    if (!o.device) return SG_OK;
    SG_TRY(o.device->alloc((size_t)(o.batch * 3 * o.input * o.input), "pictures of an evaluation",
                           &block));
    e->there = block;
    return sg_staging_create(e->loader, &e->staging);
}

static void clear(evaluation *e) {
    if (e->there) sg_inference_device(e->inference)->release(e->there);
    sg_staging_destroy(e->staging);
    sg_loader_destroy(e->loader);
    sg_free(e->found);
    sg_free(e->count);
    sg_free(e->boxes);
    sg_free(e->scores);
}

sg_status sg_detector_evaluate(const sg_config *config, const sg_mask_detector_options *model,
                               sg_inference *inference, sg_pool *pool, const sg_dataset *dataset,
                               sg_stop_fn stop, void *stop_context, sg_detector_report *report,
                               sg_evaluation *out) {
    sg_anchors anchors = sg_mask_detector_anchors(model);
    sg_detection_metrics *metrics = NULL;
    evaluation e;
    sg_status st;

    memset(&e, 0, sizeof e);
    e.dataset = dataset;
    e.inference = inference;
    e.report = report;
    e.nms.min_score = kMinScore;
    e.nms.max_iou = (float)config->predict.nms;
    e.nms.max_boxes = SG_AP_MAX_BOXES;
    e.input = model->input;
    e.anchors = sg_anchor_count(&anchors);
    e.classes = model->classes;
    st = allocate(&e, kGroupsPerBatch * SG_DETECTOR_EVAL_BATCH);
    if (st == SG_OK) st = open_loader(&e, sg_pool_threads(pool));
    if (st == SG_OK) st = sg_detection_metrics_create(e.classes, SG_AP_MAX_BOXES, &metrics);
    if (report) sg_detector_report_begin(report);
    if (st == SG_OK) st = measure(&e, pool, stop, stop_context, metrics);
    if (st == SG_OK && report) sg_detector_report_finish(report, metrics);
    if (st == SG_OK) st = fill(metrics, &dataset->classes, out);
    sg_detection_metrics_destroy(metrics);
    clear(&e);
    return st;
}
