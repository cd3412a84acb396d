/* Evaluation: pictures in fixed groups through the model, answers gathered in the order of the
 * list. How many threads or workers share the groups changes nothing: a worker takes consecutive
 * groups, tells the others what it found there, and measures what all of them found.
 *
 * With a device the loader's threads only decode, batches ahead, and the device makes the input
 * pictures, to the same bytes, on the queue of the runs, and suppresses boxes behind each run. */
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
#include "train/detector_nms.h"

/* The lowest score that counts: below it a box is noise to the average precision. */
static const float kMinScore = 0.001f;

enum { kGroupsPerBatch = 4, kPrefetch = 2, kFirstRoom = 1 << 16 };

/* What was found, picture after picture: how many boxes, as an int64_t, then so many sg_detection.
 * Both are multiples of 8 bytes. */
typedef struct {
    uint8_t *bytes;
    size_t used, room;
} answers;

typedef struct {
    const sg_dataset *dataset;
    sg_dataset mine; /* this worker's pictures of it, a view */
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
    /* NULL, or on the device what makes `found` of a run's outputs, which else come here */
    sg_detector_nms *suppressed;
    float *boxes;  /* (batch, anchors, 4) */
    float *scores; /* (batch, anchors, classes) */
} evaluation;

/* Pictures of the group that begins at `first`; behind the last one there are none. */
static int64_t count_pictures(const evaluation *e, int64_t first) {
    int64_t n = 0;

    while (n < SG_DETECTOR_EVAL_BATCH && e->batch.sample[first + n] >= 0) n++;
    return n;
}

static sg_status run_there(evaluation *e, int64_t first, int64_t n) {
    const void *inputs[SG_MAX_INPUTS] = {e->there + first * 3 * e->input * e->input};

    SG_TRY(sg_detector_nms_run(e->suppressed, NULL, inputs, n, e->found + first * e->nms.max_boxes,
                               e->count + first));
    for (int64_t i = first; i < first + n; i++) {
        const sg_sample *sample = &e->mine.samples[e->batch.sample[i]];

        sg_detect_place(&e->batch.map[i], sample->width, sample->height,
                        e->found + i * e->nms.max_boxes, &e->count[i]);
    }
    return SG_OK;
}

static sg_status run_here(evaluation *e, int64_t first, int64_t n, int worker) {
    const void *inputs[SG_MAX_INPUTS] = {e->batch.image + first * 3 * e->input * e->input};
    void *outputs[SG_MAX_OUTPUTS] = {e->boxes + first * e->anchors * 4,
                                     e->scores + first * e->anchors * e->classes};

    SG_TRY(sg_inference_run(e->inference, worker, inputs, outputs));
    for (int64_t i = first; i < first + n; i++) {
        const sg_sample *sample = &e->mine.samples[e->batch.sample[i]];

        SG_TRY(sg_detect_decode(&e->nms, e->boxes + i * e->anchors * 4,
                                e->scores + i * e->anchors * e->classes, e->anchors, e->classes,
                                &e->batch.map[i], sample->width, sample->height,
                                e->found + i * e->nms.max_boxes, &e->count[i]));
    }
    return SG_OK;
}

static sg_status run_group(void *context, int64_t group, int worker) {
    evaluation *e = context;
    int64_t first = group * SG_DETECTOR_EVAL_BATCH, n = count_pictures(e, first);

    if (n == 0) return SG_OK;
    return e->suppressed ? run_there(e, first, n) : run_here(e, first, n, worker);
}

static sg_status put(answers *a, const void *data, size_t bytes) {
    size_t room = a->room > 0 ? a->room : kFirstRoom;
    uint8_t *larger;

    while (room < a->used + bytes) room *= 2;
    if (room > a->room) {
        larger = sg_realloc(a->bytes, a->used, room);
        if (!larger) return sg_fail(SG_ERR_OOM, "evaluation: no memory for %zu bytes", room);
        a->bytes = larger;
        a->room = room;
    }
    memcpy(a->bytes + a->used, data, bytes);
    a->used += bytes;
    return SG_OK;
}

static sg_status put_batch(const evaluation *e, answers *a) {
    for (int64_t i = 0; i < kGroupsPerBatch * SG_DETECTOR_EVAL_BATCH; i++) {
        if (e->batch.sample[i] < 0) continue;
        SG_TRY(put(a, &e->count[i], sizeof e->count[i]));
        SG_TRY(put(a, e->found + i * e->nms.max_boxes, (size_t)e->count[i] * sizeof *e->found));
    }
    return SG_OK;
}

static sg_status next_batch(evaluation *e) {
    if (e->staging) SG_TRY(sg_staging_wait(e->staging));
    SG_TRY(sg_loader_next(e->loader, &e->batch));
    if (!e->staging) return SG_OK;
    return sg_staging_put(e->staging, sg_inference_queue(e->inference), &e->batch, e->there);
}

/* In this worker's pictures. */
static sg_status find(evaluation *e, sg_pool *pool, answers *found) {
    int64_t batches = e->loader ? sg_loader_batches(e->loader) : 0;

    for (int64_t b = 0; b < batches; b++) {
        SG_TRY(next_batch(e));
        SG_TRY(sg_pool_run(pool, kGroupsPerBatch, run_group, e));
        SG_TRY(put_batch(e, found));
    }
    return SG_OK;
}

/* Of whole groups, the last of which may lack pictures. */
static void choose_mine(evaluation *e, const sg_share *share) {
    int64_t n = e->dataset->n, rank = share ? share->rank : 0, size = share ? share->size : 1;
    int64_t groups = (n + SG_DETECTOR_EVAL_BATCH - 1) / SG_DETECTOR_EVAL_BATCH;
    int64_t first = groups * rank / size * SG_DETECTOR_EVAL_BATCH;
    int64_t end = groups * (rank + 1) / size * SG_DETECTOR_EVAL_BATCH;

    if (end > n) end = n;
    e->mine = *e->dataset;
    e->mine.n = end - first; /* 0 where there are more workers than groups */
    e->mine.samples += first;
}

/* *found becomes what all have found. */
static sg_status gather(const sg_share *share, answers *found) {
    void *all;
    size_t total;

    SG_TRY(share->gather(share->context, found->bytes, found->used, &all, &total));
    sg_free(found->bytes);
    *found = (answers){all, total, total};
    return SG_OK;
}

/* --- measuring -------------------------------------------------------------------------------- */

/* The next picture's boxes; *at is where they are told of, and moves behind them. */
static sg_status take(const evaluation *e, const answers *a, size_t *at, const sg_detection **found,
                      int64_t *count) {
    size_t left = a->used - *at;
    int64_t n = -1;

    if (left >= sizeof n) memcpy(&n, a->bytes + *at, sizeof n);
    if (n < 0 || n > e->nms.max_boxes || left - sizeof n < (size_t)n * sizeof **found)
        return sg_fail(SG_ERR_DATA, "evaluation: what the workers found is not about %lld pictures",
                       (long long)e->dataset->n);
    *found = (const sg_detection *)(const void *)(a->bytes + *at + sizeof n);
    *count = n;
    *at += sizeof n + (size_t)n * sizeof **found;
    return SG_OK;
}

static sg_status measure(const evaluation *e, const answers *a, sg_detection_metrics *metrics) {
    size_t at = 0;

    if (e->report) sg_detector_report_begin(e->report);
    for (int64_t s = 0; s < e->dataset->n; s++) {
        const sg_sample *sample = &e->dataset->samples[s];
        const sg_detection *found = NULL;
        int64_t count = 0;

        SG_TRY(take(e, a, &at, &found, &count));
        SG_TRY(sg_detection_metrics_add(metrics, s, found, count, sample->boxes, sample->classes,
                                        sample->count));
        if (e->report) SG_TRY(sg_detector_report_add(e->report, s, found, count));
    }
    if (at != a->used)
        return sg_fail(SG_ERR_DATA,
                       "evaluation: the workers found something in more than %lld pictures",
                       (long long)e->dataset->n);
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
    if (!e->found || !e->count) return sg_fail(SG_ERR_OOM, "evaluation: no memory");
    if (sg_inference_device(e->inference))
        return sg_detector_nms_create(e->inference, &e->nms, SG_DETECTOR_EVAL_BATCH, e->anchors,
                                      e->classes, &e->suppressed);
    e->boxes = sg_malloc((size_t)(n * e->anchors * 4) * sizeof(float));
    e->scores = sg_malloc((size_t)(n * e->anchors * e->classes) * sizeof(float));
    return e->boxes && e->scores ? SG_OK : sg_fail(SG_ERR_OOM, "evaluation: no memory");
}

static sg_status open_loader(evaluation *e, int threads) {
    sg_loader_options o = sg_loader_defaults();
    void *block;

    if (e->mine.n == 0) return SG_OK;
    o.batch = kGroupsPerBatch * SG_DETECTOR_EVAL_BATCH;
    o.input = e->input;
    o.threads = threads;
    o.prefetch = kPrefetch;
    o.cache_bytes = 0; /* each picture is read once */
    o.device = sg_inference_device(e->inference);
    SG_TRY(sg_loader_create(&e->mine, &o, &e->loader));
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
    sg_detector_nms_destroy(e->suppressed);
    sg_free(e->found);
    sg_free(e->count);
    sg_free(e->boxes);
    sg_free(e->scores);
}

sg_nms_options sg_detector_evaluation_nms(const sg_config *config) {
    return (sg_nms_options){kMinScore, (float)config->predict.nms, SG_AP_MAX_BOXES, 0};
}

sg_status sg_detector_evaluate(const sg_config *config, const sg_mask_detector_options *model,
                               sg_inference *inference, sg_pool *pool, const sg_dataset *dataset,
                               const sg_share *share, sg_stop_fn stop, void *stop_context,
                               sg_detector_report *report, sg_evaluation *out) {
    sg_anchors anchors = sg_mask_detector_anchors(model);
    sg_detection_metrics *metrics = NULL;
    answers found = {0};
    evaluation e;
    sg_status st;

    memset(&e, 0, sizeof e);
    e.dataset = dataset;
    e.inference = inference;
    e.report = report;
    e.nms = sg_detector_evaluation_nms(config);
    e.input = model->input;
    e.anchors = sg_anchor_count(&anchors);
    e.classes = model->classes;
    choose_mine(&e, share);
    st = allocate(&e, kGroupsPerBatch * SG_DETECTOR_EVAL_BATCH);
    if (st == SG_OK) st = open_loader(&e, sg_pool_threads(pool));
    if (st == SG_OK) st = sg_detection_metrics_create(e.classes, SG_AP_MAX_BOXES, &metrics);
    sg_inference_stop_when(inference, stop, stop_context);
    if (st == SG_OK) st = find(&e, pool, &found);
    sg_inference_stop_when(inference, NULL, NULL);
    if (st == SG_OK && share && share->size > 1) st = gather(share, &found);
    if (st == SG_OK) st = measure(&e, &found, metrics);
    if (st == SG_OK && report) sg_detector_report_finish(report, metrics);
    if (st == SG_OK) st = fill(metrics, &dataset->classes, out);
    sg_detection_metrics_destroy(metrics);
    sg_free(found.bytes);
    clear(&e);
    return st;
}
