#include "train/detector.h"

#include <string.h>

#include "core/mem.h"
#include "data/loader.h"
#include "data/staging.h"
#include "data/synthetic.h"

_Static_assert((int)SG_MAX_TRUTHS == (int)SG_MAX_BOXES,
               "the loader's boxes are the model's truths");

enum { kPrefetch = 3, kBytesPerMiB = 1 << 20, kValEvery = 5 };
/* Shards of two did as well as of four (docs/results.md); of one none was tried. */
enum { kLeastShard = 2 };

typedef struct {
    sg_task task; /* first: a task is its detector */
    sg_config config;
    sg_mask_detector_options model;
    sg_augment_options augment;
    sg_dataset *train, *val;
    sg_loader *loader;          /* NULL before start */
    sg_staging *staging;        /* with a device: its half of the loader */
    sg_batch batch;             /* the last one */
    sg_inference *inference;    /* made at the first evaluation */
    sg_detector_report *report; /* NULL without run.plots */
    char fingerprint[SG_TASK_FINGERPRINT_BYTES];
} detector_task;

sg_status sg_detector_options(const sg_config *config, int64_t classes,
                              sg_mask_detector_options *out) {
    sg_mask_detector_options o = sg_mask_detector_defaults();

    o.classes = classes;
    o.size = sg_choice_is(config->model.size, "small") ? SG_DETECTOR_SMALL : SG_DETECTOR_NANO;
    o.input = config->model.input;
    o.finest = config->model.stride;
    o.box_weight = (float)config->loss.box;
    o.class_weight = (float)config->loss.cls;
    SG_TRY(sg_mask_detector_check(&o));
    *out = o;
    return SG_OK;
}

sg_status sg_detector_build(sg_graph *g, int64_t n, void *context) {
    return sg_mask_detector_build(g, n, context);
}

sg_dataset_place sg_detector_place(const sg_config *config) {
    sg_dataset_place place = {SG_FORMAT_VOC, config->data.root, config->data.images};

    if (sg_choice_is(config->data.format, "yolo")) place.format = SG_FORMAT_YOLO;
    if (sg_choice_is(config->data.format, "coco")) place.format = SG_FORMAT_COCO;
    return place;
}

sg_status sg_detector_dataset(const sg_config *config, const char *list, const sg_classes *classes,
                              sg_dataset **out) {
    sg_dataset_place place = sg_detector_place(config);
    sg_classes named;
    sg_status st;

    if (classes || strcmp(config->data.classes, "auto") == 0)
        return sg_dataset_read(&place, list, classes, out);
    SG_TRY(sg_classes_parse(config->data.classes, &named));
    st = sg_dataset_read(&place, list, &named, out);
    sg_classes_clear(&named);
    return st;
}

/* Draw the embedded data set where data.root is missing and data.synthetic asks for it. */
static sg_status prepare_data(const sg_config *config) {
    sg_synthetic_options options = sg_synthetic_defaults();

    if (config->data.synthetic == 0) return SG_OK;
    if (!sg_choice_is(config->data.format, "voc"))
        return sg_fail(SG_ERR_CONFIG,
                       "data.synthetic draws a data set in the format voc, but "
                       "data.format is %s",
                       config->data.format);
    if (config->data.synthetic_side > 0 && config->data.synthetic_side < SG_SYNTHETIC_SIDE_MIN)
        return sg_fail(SG_ERR_CONFIG, "data.synthetic_side: %lld pixels are too few, at least %d",
                       (long long)config->data.synthetic_side, SG_SYNTHETIC_SIDE_MIN);
    options.seed = 1; /* the same pictures for every run.seed */
    options.side = config->data.synthetic_side;
    options.n_val = config->data.synthetic / kValEvery;
    options.n_train = config->data.synthetic - options.n_val;
    if (options.n_val == 0)
        return sg_fail(SG_ERR_CONFIG, "data.synthetic: %lld is too few pictures, at least %d",
                       (long long)config->data.synthetic, kValEvery);
    return sg_synthetic_make(config->data.root, &options);
}

/* --- the task --------------------------------------------------------------------------------- */

static int loader_threads(const sg_config *config) {
    return config->data.threads > 0 ? (int)config->data.threads : sg_cpu_count();
}

static void stop_reading(detector_task *t) {
    sg_staging_destroy(t->staging);
    sg_loader_destroy(t->loader);
    t->staging = NULL;
    t->loader = NULL;
}

/* With a device: data.cache_mb of decoded pictures there, and as much here of what is left. */
static sg_status open_loader(detector_task *t, int64_t samples, const sg_part *part) {
    sg_loader_options o = sg_loader_defaults();
    sg_status st;

    o.batch = t->config.train.batch;
    o.input = t->config.model.input;
    o.seed = (uint64_t)t->config.run.seed;
    o.threads = loader_threads(&t->config);
    o.prefetch = kPrefetch;
    o.cache_bytes = o.kept_bytes = t->config.data.cache_mb * kBytesPerMiB;
    o.device = t->task.device;
    o.augment = &t->augment;
    o.start = samples;
    o.part = part;
    o.mosaic_close_epoch = t->config.train.epochs - t->config.data.close_mosaic;
    if (o.mosaic_close_epoch < 0) o.mosaic_close_epoch = 0;
    st = sg_loader_create(t->train, &o, &t->loader);
    if (st == SG_OK && o.device) st = sg_staging_create(t->loader, &t->staging);
    if (st != SG_OK) stop_reading(t);
    return st;
}

static sg_status detector_start(sg_task *task, int64_t samples, const sg_part *part) {
    detector_task *t = (detector_task *)task;

    if (!t->loader) return open_loader(t, samples, part);
    if (t->staging) SG_TRY(sg_staging_wait(t->staging));
    return sg_loader_restart(t->loader, samples, part);
}

static sg_status detector_next(sg_task *task, const void *inputs[SG_MAX_INPUTS], int *shape) {
    detector_task *t = (detector_task *)task;
    sg_batch *batch = &t->batch;

    if (t->staging) SG_TRY(sg_staging_wait(t->staging));
    SG_TRY(sg_loader_next(t->loader, batch));
    inputs[0] = t->staging ? (const void *)batch : batch->image;
    inputs[1] = batch->boxes;
    inputs[2] = batch->classes;
    inputs[3] = batch->count;
    *shape = 0;
    return SG_OK;
}

static int64_t detector_read(const sg_task *task, const int64_t **sample) {
    const detector_task *t = (const detector_task *)task;

    *sample = t->batch.sample;
    return t->batch.first_sample;
}

static sg_status detector_fill(void *context, void *queue, const void *input, void *to) {
    return sg_staging_put(((detector_task *)context)->staging, queue, input, to);
}

static double detector_wait_seconds(const sg_task *task) {
    return sg_loader_wait_seconds(((const detector_task *)task)->loader);
}

static sg_status detector_evaluate(sg_task *task, sg_trainer *trainer, const sg_share *share,
                                   sg_stop_fn stop, void *stop_context, sg_evaluation *out) {
    detector_task *t = (detector_task *)task;

    if (!t->inference) {
        sg_inference_options o;

        memset(&o, 0, sizeof o);
        o.build = task->build;
        o.context = task->build_context;
        o.backend = sg_trainer_backend(trainer);
        o.table = (sg_table *)(uintptr_t)sg_trainer_table(trainer); /* frozen: read only */
        o.beside = trainer;
        o.batch = SG_DETECTOR_EVAL_BATCH;
        o.workers = sg_pool_threads(sg_trainer_pool(trainer));
        SG_TRY(sg_inference_create(&o, &t->inference));
    }
    SG_TRY(sg_inference_use_values(t->inference, sg_trainer_averages(trainer),
                                   sg_trainer_rows(trainer)));
    return sg_detector_evaluate(&t->config, &t->model, t->inference, sg_trainer_pool(trainer),
                                t->val, share, stop, stop_context, t->report, out);
}

static sg_status detector_report(const sg_task *task, const char *folder) {
    return sg_detector_report_draw(((const detector_task *)task)->report, folder);
}

static sg_status detector_line(const sg_task *task, char **text) {
    const detector_task *t = (const detector_task *)task;

    *text =
        sg_str_printf("%s %s, input %lld, %lld classes", t->config.model.type, t->config.model.size,
                      (long long)t->config.model.input, (long long)task->n_classes);
    return *text ? SG_OK : sg_fail(SG_ERR_OOM, "detector: no memory");
}

static sg_status detector_summary(const sg_task *task, char **text) {
    return sg_mask_detector_summary(&((const detector_task *)task)->model, text, NULL, NULL);
}

static void detector_destroy(sg_task *task) {
    detector_task *t = (detector_task *)task;

    stop_reading(t);
    sg_inference_destroy(t->inference);
    sg_detector_report_destroy(t->report);
    sg_dataset_destroy(t->train);
    sg_dataset_destroy(t->val);
    sg_free(t);
}

static void set_augment(detector_task *t) {
    t->augment = sg_augment_defaults();
    t->augment.mosaic = (float)t->config.data.mosaic;
    t->augment.flip = (float)t->config.data.flip;
    t->augment.scale = (float)t->config.data.scale;
    t->augment.translate = (float)t->config.data.translate;
    t->augment.hue = (float)t->config.data.hue;
    t->augment.saturation = (float)t->config.data.saturation;
    t->augment.value = (float)t->config.data.value;
    t->augment.brightness = (float)t->config.data.brightness;
}

static sg_status read_data(detector_task *t) {
    SG_TRY(prepare_data(&t->config));
    SG_TRY(sg_detector_dataset(&t->config, t->config.data.train, NULL, &t->train));
    SG_TRY(sg_detector_dataset(&t->config, t->config.data.val, &t->train->classes, &t->val));
    SG_TRY(sg_dataset_fingerprint(t->train, t->fingerprint));
    return sg_dataset_fingerprint(t->val, t->fingerprint + strlen(t->fingerprint));
}

sg_status sg_detector_task_create(const sg_config *config, sg_task **out) {
    detector_task *t = sg_calloc(1, sizeof *t);
    sg_status st;

    if (!t) return sg_fail(SG_ERR_OOM, "detector: no memory");
    t->config = *config;
    set_augment(t);
    st = sg_augment_options_check(&t->augment);
    if (st == SG_OK) st = read_data(t);
    if (st == SG_OK) st = sg_detector_options(config, t->train->classes.n, &t->model);
    if (st == SG_OK && config->run.plots)
        st = sg_detector_report_create(t->val, (float)config->predict.score, &t->report);
    if (st != SG_OK) {
        detector_destroy(&t->task);
        return st;
    }
    t->task.build = sg_detector_build;
    t->task.noun = "pictures";
    t->task.rate = "img/s";
    t->task.least_shard = kLeastShard;
    t->task.line = detector_line;
    t->task.summary = detector_summary;
    t->task.build_context = &t->model;
    t->task.n_train = t->train->n;
    t->task.n_val = t->val->n;
    t->task.classes = t->train->classes.name;
    t->task.n_classes = t->train->classes.n;
    t->task.class_axis = sg_mask_detector_class_axis;
    t->task.fingerprint = t->fingerprint;
    t->task.start = detector_start;
    t->task.next = detector_next;
    t->task.fill = detector_fill;
    t->task.read = detector_read;
    t->task.wait_seconds = detector_wait_seconds;
    t->task.evaluate = detector_evaluate;
    if (t->report) t->task.report = detector_report;
    t->task.destroy = detector_destroy;
    *out = &t->task;
    return SG_OK;
}
