/* A model in int8: calibrated on the training part, measured on the validation part. Both run the
 * raw graph, whatever was asked for around it, a sample a thread. */
#include "train/export_int8.h"

#include <stdatomic.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "onnx/quantize.h"
#include "onnx/run.h"
#include "train/evaluate.h"

enum { kTellSeconds = 10 }; /* from one line of the log to the next */

typedef struct {
    const sg_int8_kind *kind;
    void *context; /* the kind's, owned */
    sg_pool *pool;
    uint8_t *bytes; /* of the raw graph, in floats; then in int8 */
    size_t size;
    sg_onnx_ranges *ranges;     /* (threads) */
    int64_t samples, items;     /* of the part; of a round */
    const char *round;          /* what is done with them */
    _Atomic int64_t done, told; /* of the items; when, in seconds */
} quantizing;

static void begin_round(quantizing *q, const char *round, int64_t items) {
    q->round = round;
    q->items = items;
    atomic_store(&q->done, 0);
    atomic_store(&q->told, (int64_t)sg_now());
}

/* An item is done. */
static void tell(quantizing *q) {
    int64_t done = atomic_fetch_add(&q->done, 1) + 1, now = (int64_t)sg_now();
    int64_t told = atomic_load(&q->told);

    if (now - told >= kTellSeconds && atomic_compare_exchange_strong(&q->told, &told, now))
        sg_log(SG_LOG_INFO, "int8: %s: %lld of %lld samples", q->round, (long long)done,
               (long long)q->items);
}

static sg_status pack(sg_onnx *m, quantizing *q) {
    sg_status st;

    sg_free(q->bytes);
    q->bytes = NULL;
    st = sg_onnx_pack(m, &q->bytes, &q->size);
    sg_onnx_destroy(m);
    return st;
}

/* --- ranges ----------------------------------------------------------------------------------- */

static sg_status see_one(void *context, int64_t item, int worker) {
    quantizing *q = context;
    sg_export_inputs in = {.n = 0};
    sg_status st = q->kind->input(q->context, item * q->samples / q->items, &in);

    if (st == SG_OK) st = sg_onnx_ranges_see(&q->ranges[worker], q->bytes, q->size, in.array, in.n);
    sg_export_inputs_clear(&in);
    tell(q);
    return st;
}

/* Least and greatest do not depend on who saw which sample. */
static sg_status see_ranges(quantizing *q) {
    int threads = sg_pool_threads(q->pool);

    SG_TRY(q->kind->read(q->context, "train", &q->samples));
    begin_round(q, "calibrated on data.train",
                q->samples < SG_EXPORT_SEEN ? q->samples : SG_EXPORT_SEEN);
    q->ranges = sg_calloc((size_t)threads, sizeof *q->ranges);
    if (!q->ranges) return sg_fail(SG_ERR_OOM, "export: no memory for ranges");
    for (int i = 0; i < threads; i++) SG_TRY(sg_onnx_ranges_init(q->bytes, q->size, &q->ranges[i]));
    SG_TRY(sg_pool_run(q->pool, q->items, see_one, q));
    for (int i = 1; i < threads; i++) sg_onnx_ranges_join(&q->ranges[0], &q->ranges[i]);
    return SG_OK;
}

/* --- what it loses ---------------------------------------------------------------------------- */

static sg_status answer_one(void *context, int64_t item, int worker) {
    quantizing *q = context;
    sg_export_inputs in = {.n = 0};
    sg_onnx_array out[SG_EXPORT_OUTPUTS];
    sg_status st = q->kind->input(q->context, item, &in);

    (void)worker;
    memset(out, 0, sizeof out);
    if (st == SG_OK) st = sg_onnx_run(q->bytes, q->size, in.array, in.n, out, q->kind->n_outputs);
    if (st == SG_OK) st = q->kind->take(q->context, item, out);
    for (int o = 0; o < SG_EXPORT_OUTPUTS; o++) sg_onnx_array_clear(&out[o]);
    sg_export_inputs_clear(&in);
    tell(q);
    return st;
}

/* Of q->bytes on the validation part. */
static sg_status measure(quantizing *q, double *score) {
    SG_TRY(q->kind->read(q->context, "val", &q->samples));
    begin_round(q, "measured on data.val", q->samples);
    SG_TRY(sg_pool_run(q->pool, q->items, answer_one, q));
    return q->kind->measure(q->context, score);
}

static sg_status measure_own(const sg_trained_source *source, int threads, double *score) {
    sg_evaluation own;

    SG_TRY(sg_evaluate_file(source, "val", threads, &own));
    *score = own.score;
    sg_evaluation_clear(&own);
    return SG_OK;
}

/* --- the whole -------------------------------------------------------------------------------- */

static sg_status quantize(quantizing *q, const sg_trained_source *source, int threads,
                          sg_export_loss *loss) {
    const sg_export_options raw = {.int8 = true};
    sg_onnx *m;

    SG_TRY(sg_pool_create(threads, NULL, &q->pool));
    SG_TRY(q->kind->open(source, q->pool, q->context));
    SG_TRY(sg_export_model(source, &raw, &m));
    SG_TRY(pack(m, q));
    SG_TRY(q->kind->read(q->context, "val", &q->samples)); /* it is there: before long work */
    SG_TRY(see_ranges(q));
    SG_TRY(sg_onnx_quantize(q->bytes, q->size, &q->ranges[0], &m));
    SG_TRY(pack(m, q));
    *loss = (sg_export_loss){.score = q->kind->score, .seen = q->items};
    SG_TRY(measure_own(source, threads, &loss->before));
    SG_TRY(measure(q, &loss->after));
    loss->measured = q->samples;
    return SG_OK;
}

sg_status sg_export_int8(const sg_trained_source *source, int threads, const uint8_t *bytes,
                         size_t size, sg_onnx **out, sg_export_loss *loss) {
    quantizing q = {.bytes = NULL};
    const char *type;
    sg_status st;

    SG_TRY(sg_trained_type(source->path, &type));
    q.kind = sg_choice_is(type, "mask_detector") ? &sg_int8_pictures : &sg_int8_texts;
    q.context = sg_calloc(1, q.kind->bytes);
    if (!q.context) return sg_fail(SG_ERR_OOM, "export: no memory");
    st = quantize(&q, source, threads, loss);
    if (st == SG_OK) st = sg_onnx_quantize(bytes, size, &q.ranges[0], out);
    for (int i = 0; q.ranges && i < threads; i++) sg_onnx_ranges_clear(&q.ranges[i]);
    sg_free(q.ranges);
    sg_free(q.bytes);
    q.kind->close(q.context);
    sg_free(q.context);
    sg_pool_destroy(q.pool);
    return st;
}
