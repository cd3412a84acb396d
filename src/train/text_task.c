#include "train/text_task.h"

#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "data/fingerprint.h"
#include "train/text_summary.h"
#include "train/text_weights.h"

typedef struct {
    sg_task task; /* first: a task is its text classifier */
    sg_config config;
    sg_text_dataset *train, *val;
    sg_text_model model;
    sg_classes names;    /* of all classes, for the model file */
    char *tokenizer;     /* as text; owned */
    int32_t (*label)[3]; /* (n_train), for the loader */
    float *class_weight; /* (classes) */
    sg_encoded_set *train_set, *val_set;
    sg_text_loader *loader;     /* NULL before start */
    const sg_text_batch *batch; /* the last one */
    double waited;
    sg_text_runner *runner; /* made at the first evaluation */
    float *probabilities;   /* (n_val, classes), of the last */
    char fingerprint[SG_FINGERPRINT_BYTES];
} text_task;

/* --- data ------------------------------------------------------------------------------------- */

sg_status sg_text_task_data(const sg_config *config, const char *split, const sg_text_model *model,
                            sg_text_dataset **out) {
    sg_text_place place = sg_text_place_of(config);
    sg_classes named = {0};
    sg_status st;

    if (model) return sg_text_dataset_read(&place, split, model->classes, out);
    if (strcmp(config->data.classes, "auto") == 0)
        return sg_text_dataset_read(&place, split, NULL, out);
    if (strchr(config->data.task, ','))
        return sg_fail(SG_ERR_CONFIG, "data.classes: several tasks have their own classes; leave "
                                      "it at auto");
    SG_TRY(sg_classes_parse(config->data.classes, &named));
    st = sg_text_dataset_read(&place, split, &named, out);
    sg_classes_clear(&named);
    return st;
}

sg_status sg_text_task_unlabelled(const sg_config *config, const char *split,
                                  sg_text_dataset **out) {
    sg_text_place place = sg_text_place_of(config);

    place.texts_only = true;
    return sg_text_dataset_read(&place, split, NULL, out);
}

static const char *message_at(const void *texts, int64_t i, int64_t *bytes) {
    const sg_message *m = &((const sg_text_dataset *)texts)->texts[i];

    *bytes = m->length;
    return m->bytes;
}

sg_status sg_text_encode_data(const sg_tokenizer *tokenizer, const sg_text_dataset *data,
                              sg_pool *pool, sg_encoded_set **out) {
    return sg_encoded_set_create(tokenizer, message_at, data, data->n, pool, out);
}

static sg_status check_classes(const sg_text_dataset *data) {
    for (int i = 0; i < data->n_tasks; i++)
        if (data->classes[i].n < 2)
            return sg_fail(SG_ERR_DATA,
                           "%s: all its labels are `%s`; at least two classes are needed",
                           data->tasks[i].path, data->classes[i].name[0]);
    return SG_OK;
}

static sg_status read_data(text_task *t) {
    SG_TRY(sg_text_task_data(&t->config, t->config.data.train, NULL, &t->train));
    SG_TRY(check_classes(t->train));
    SG_TRY(sg_text_model_from_data(t->train, &t->model));
    SG_TRY(sg_text_task_data(&t->config, t->config.data.val, &t->model, &t->val));
    return sg_text_dataset_fingerprint(t->train, t->fingerprint);
}

static sg_status number_labels(text_task *t) {
    const sg_text_model *m = &t->model;

    t->label = sg_malloc((size_t)t->train->n * sizeof *t->label);
    if (!t->label) return sg_fail(SG_ERR_OOM, "texts: no memory for labels");
    for (int64_t i = 0; i < t->train->n; i++) {
        int task = t->train->texts[i].task;
        int32_t first = (int32_t)m->first_class[task], label = t->train->labels[i];

        t->label[i][0] = label < 0 ? -1 : first + label;
        t->label[i][1] = first;
        t->label[i][2] = (int32_t)m->task_classes[task];
    }
    return sg_text_class_weights(&t->config, m, t->train, &t->class_weight);
}

/* --- the tokenizer ---------------------------------------------------------------------------- */

static bool same_options(const sg_tokenizer_options *a, const sg_tokenizer_options *b) {
    return a->ngrams.words == b->ngrams.words && a->ngrams.char_min == b->ngrams.char_min &&
           a->ngrams.char_max == b->ngrams.char_max && a->ngrams.buckets == b->ngrams.buckets &&
           a->weights == b->weights && a->min_count == b->min_count && a->features == b->features &&
           a->subwords == b->subwords && a->length == b->length;
}

static sg_status take_tokenizer(const sg_tokenizer_options *o, const char *file, const char *text,
                                sg_tokenizer **out) {
    SG_TRY(sg_tokenizer_parse(file, text, strlen(text), out));
    if (same_options(o, sg_tokenizer_options_of(*out))) return SG_OK;
    sg_tokenizer_destroy(*out);
    return sg_fail(SG_ERR_CONFIG,
                   "%s: its tokenizer was learned with other keys of [text], model.wide, "
                   "model.bag, model.layers or model.input; give them the same values",
                   file);
}

sg_status sg_text_task_tokenizer(const sg_config *config, const sg_text_dataset *train,
                                 const char *file, const char *text, sg_pool *pool,
                                 sg_tokenizer **out) {
    sg_tokenizer_options o = sg_text_tokenizer_options(config);
    sg_status st;

    if (text) return take_tokenizer(&o, file, text, out);
    st = sg_tokenizer_learn(&o, message_at, train, train->n, pool, out);
    return st == SG_ERR_ARG ? sg_fail(SG_ERR_CONFIG, "section [text]: %s", sg_last_error()) : st;
}

sg_status sg_text_task_encode(const sg_tokenizer *tokenizer, const sg_text_dataset *train,
                              const sg_text_dataset *val, sg_pool *pool, char **text,
                              sg_encoded_set **train_set, sg_encoded_set **val_set) {
    SG_TRY(sg_tokenizer_write(tokenizer, text));
    SG_TRY(sg_text_encode_data(tokenizer, train, pool, train_set));
    return sg_text_encode_data(tokenizer, val, pool, val_set);
}

static sg_status text_prepare(sg_task *task, const char *file, const char *tokenizer) {
    text_task *t = (text_task *)task;
    sg_tokenizer *taken = NULL;
    sg_pool *pool;
    sg_status st;

    SG_TRY(sg_pool_create(sg_cpu_count(), NULL, &pool));
    st = sg_text_task_tokenizer(&t->config, t->train, file, tokenizer, pool, &taken);
    if (st == SG_OK) st = sg_text_model_set_tokenizer(&t->model, &t->config, taken);
    if (st == SG_OK)
        st = sg_text_task_encode(t->model.tokenizer, t->train, t->val, pool, &t->tokenizer,
                                 &t->train_set, &t->val_set);
    sg_pool_destroy(pool);
    t->task.tokenizer = t->tokenizer;
    t->task.shapes = t->model.contexts;
    t->task.n_shapes = t->model.shapes.n;
    return st;
}

/* --- training --------------------------------------------------------------------------------- */

/* Whatever the part, batches are whole: a table of rows is updated from all n-grams of a batch. */
static sg_status text_start(sg_task *task, int64_t samples, const sg_part *part) {
    text_task *t = (text_task *)task;
    sg_text_loader_options o = {.batch = t->config.train.batch,
                                .start = samples,
                                .seed = (uint64_t)t->config.run.seed,
                                .by_length = t->config.model.layers > 0,
                                .shapes = t->model.shapes,
                                .classes = t->model.n_classes,
                                .label = (const int32_t(*)[3])t->label,
                                .class_weight = t->class_weight,
                                .smoothing = (float)t->config.train.label_smoothing};

    (void)part;
    if (t->loader) {
        sg_text_loader_restart(t->loader, samples);
        return SG_OK;
    }
    return sg_text_loader_create(t->train_set, &o, &t->loader);
}

static sg_status text_next(sg_task *task, const void *inputs[SG_MAX_INPUTS], int *shape) {
    text_task *t = (text_task *)task;
    const sg_text_classifier_options *o = &t->model.option[0];
    double start = sg_now();
    const sg_text_batch *batch = sg_text_loader_next(t->loader);
    int k = 0;

    if (o->features > 0) {
        inputs[k++] = batch->rows.ngrams;
        inputs[k++] = batch->rows.weights;
    }
    if (o->encoder.layers > 0) {
        inputs[k++] = batch->rows.ids;
        inputs[k++] = batch->rows.length;
    }
    inputs[k] = batch->target;
    *shape = batch->shape;
    t->batch = batch;
    t->waited += sg_now() - start;
    return SG_OK;
}

static int64_t text_read(const sg_task *task, const int64_t **sample) {
    const sg_text_batch *batch = ((const text_task *)task)->batch;

    *sample = batch->sample;
    return batch->first;
}

static double text_wait_seconds(const sg_task *task) { return ((const text_task *)task)->waited; }

/* --- evaluation ------------------------------------------------------------------------------- */

static sg_status make_runner(text_task *t, sg_trainer *trainer) {
    size_t count = (size_t)(t->val->n * t->model.n_classes);

    if (!t->probabilities) t->probabilities = sg_malloc(count * sizeof(float));
    if (!t->probabilities) return sg_fail(SG_ERR_OOM, "evaluation: no memory");
    return sg_text_model_runner(&t->model, sg_trainer_backend(trainer), trainer, SG_TEXT_EVAL_BATCH,
                                sg_pool_threads(sg_trainer_pool(trainer)), &t->runner);
}

static sg_status text_evaluate(sg_task *task, sg_trainer *trainer, const sg_share *share,
                               sg_stop_fn stop, void *stop_context, sg_evaluation *out) {
    text_task *t = (text_task *)task;

    if (!t->runner) SG_TRY(make_runner(t, trainer));
    SG_TRY(sg_text_runner_use(t->runner, trainer));
    SG_TRY(sg_text_runner_answer(t->runner, t->val_set, sg_trainer_pool(trainer), share, stop,
                                 stop_context, t->probabilities));
    return sg_text_measure_answers(&t->model, t->val, t->probabilities, out);
}

static sg_status text_report(const sg_task *task, const char *folder) {
    const text_task *t = (const text_task *)task;

    return sg_text_draw_answers(&t->model, t->val, t->probabilities, folder);
}

/* --- the task --------------------------------------------------------------------------------- */

static sg_status text_line(const sg_task *task, char **text) {
    return sg_text_model_line(&((const text_task *)task)->model, text);
}

static sg_status text_summary(const sg_task *task, char **text) {
    return sg_text_model_summary(&((const text_task *)task)->model, text);
}

static void text_destroy(sg_task *task) {
    text_task *t = (text_task *)task;

    sg_text_loader_destroy(t->loader);
    sg_text_runner_destroy(t->runner);
    sg_encoded_set_destroy(t->train_set);
    sg_encoded_set_destroy(t->val_set);
    sg_text_dataset_destroy(t->train);
    sg_text_dataset_destroy(t->val);
    sg_text_model_clear(&t->model);
    sg_classes_clear(&t->names);
    sg_free(t->tokenizer);
    sg_free(t->label);
    sg_free(t->class_weight);
    sg_free(t->probabilities);
    sg_free(t);
}

sg_status sg_text_task_create(const sg_config *config, sg_task **out) {
    text_task *t = sg_calloc(1, sizeof *t);
    sg_status st;

    if (!t) return sg_fail(SG_ERR_OOM, "texts: no memory");
    t->config = *config;
    st = read_data(t);
    if (st == SG_OK) st = number_labels(t);
    if (st == SG_OK) st = sg_text_model_class_names(&t->model, &t->names);
    if (st != SG_OK) {
        text_destroy(&t->task);
        return st;
    }
    t->task.build = sg_text_classifier_build;
    t->task.noun = "texts";
    t->task.rate = "texts/s";
    t->task.line = text_line;
    t->task.summary = text_summary;
    t->task.n_train = t->train->n;
    t->task.n_val = t->val->n;
    t->task.classes = t->names.name;
    t->task.n_classes = t->names.n;
    t->task.class_axis = sg_text_classifier_class_axis;
    t->task.fingerprint = t->fingerprint;
    t->task.prepare = text_prepare;
    t->task.start = text_start;
    t->task.next = text_next;
    t->task.read = text_read;
    t->task.wait_seconds = text_wait_seconds;
    t->task.evaluate = text_evaluate;
    if (config->run.plots) t->task.report = text_report;
    t->task.destroy = text_destroy;
    *out = &t->task;
    return SG_OK;
}
