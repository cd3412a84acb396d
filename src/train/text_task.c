#include "train/text_task.h"

#include <string.h>

#include "core/mem.h"
#include "train/text_summary.h"
#include "train/text_weights.h"
#include "train/texts.h"

typedef struct {
    sg_texts texts; /* first: a task is its text classifier */
    sg_text_model model;
    sg_classes names;     /* of all classes, for the model file */
    int32_t (*label)[3];  /* (n_train), for the loader */
    float *class_weight;  /* (classes) */
    float *probabilities; /* (n_val, classes), of the last evaluation */
} text_task;

/* --- data ------------------------------------------------------------------------------------- */

sg_status sg_text_task_data(const sg_config *config, const char *split, const sg_text_model *model,
                            sg_text_dataset **out) {
    sg_text_place place = sg_text_place_of(config);
    sg_classes named;
    sg_status st;

    if (model) return sg_text_dataset_read(&place, split, model->classes, out);
    SG_TRY(sg_text_classes_named(config, &named));
    st = sg_text_dataset_read(&place, split, named.n > 0 ? &named : NULL, out);
    sg_classes_clear(&named);
    return st;
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
    const sg_config *c = &t->texts.config;

    SG_TRY(sg_text_task_data(c, c->data.train, NULL, &t->texts.train));
    SG_TRY(check_classes(t->texts.train));
    SG_TRY(sg_text_model_from_data(t->texts.train, &t->model));
    SG_TRY(sg_text_task_data(c, c->data.val, &t->model, &t->texts.val));
    return sg_texts_init(&t->texts);
}

static sg_status number_labels(text_task *t) {
    const sg_text_dataset *train = t->texts.train;
    const sg_text_model *m = &t->model;

    t->label = sg_malloc((size_t)train->n * sizeof *t->label);
    if (!t->label) return sg_fail(SG_ERR_OOM, "texts: no memory for labels");
    for (int64_t i = 0; i < train->n; i++) {
        int task = train->texts[i].task;
        int32_t first = (int32_t)m->first_class[task], label = train->labels[i];

        t->label[i][0] = label < 0 ? -1 : first + label;
        t->label[i][1] = first;
        t->label[i][2] = (int32_t)m->task_classes[task];
    }
    return sg_text_class_weights(&t->texts.config, m, train, &t->class_weight);
}

/* --- training --------------------------------------------------------------------------------- */

static sg_status use_tokenizer(sg_texts *texts, sg_tokenizer *tokenizer) {
    text_task *t = (text_task *)texts;

    SG_TRY(sg_text_model_set_tokenizer(&t->model, &texts->config, tokenizer));
    texts->task.shapes = t->model.contexts;
    texts->task.n_shapes = t->model.shapes.n;
    return SG_OK;
}

static sg_status text_prepare(sg_task *task, const char *file, const char *tokenizer) {
    return sg_texts_prepare((sg_texts *)task, file, tokenizer, use_tokenizer);
}

static sg_status text_start(sg_task *task, int64_t samples, const sg_part *part) {
    text_task *t = (text_task *)task;
    const sg_config *c = &t->texts.config;
    sg_text_loader_options o = {.batch = c->train.batch,
                                .start = samples,
                                .seed = (uint64_t)c->run.seed,
                                .by_length = c->model.layers > 0,
                                .shapes = t->model.shapes,
                                .classes = t->model.n_classes,
                                .label = (const int32_t(*)[3])t->label,
                                .class_weight = t->class_weight,
                                .smoothing = (float)c->train.label_smoothing};

    (void)part;
    return sg_texts_start(&t->texts, &o);
}

static sg_status text_next(sg_task *task, const void *inputs[SG_MAX_INPUTS], int *shape) {
    text_task *t = (text_task *)task;
    const sg_text_classifier_options *o = &t->model.option[0];
    const sg_text_batch *batch = sg_texts_next(&t->texts, shape);
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
    return SG_OK;
}

/* --- evaluation ------------------------------------------------------------------------------- */

static sg_status make_runner(text_task *t, sg_trainer *trainer) {
    size_t count = (size_t)(t->texts.val->n * t->model.n_classes);

    if (!t->probabilities) t->probabilities = sg_malloc(count * sizeof(float));
    if (!t->probabilities) return sg_fail(SG_ERR_OOM, "evaluation: no memory");
    return sg_text_model_runner(&t->model, sg_trainer_backend(trainer), trainer, SG_TEXT_EVAL_BATCH,
                                sg_pool_threads(sg_trainer_pool(trainer)), &t->texts.runner);
}

static sg_status text_evaluate(sg_task *task, sg_trainer *trainer, const sg_share *share,
                               sg_stop_fn stop, void *stop_context, sg_evaluation *out) {
    text_task *t = (text_task *)task;

    if (!t->texts.runner) SG_TRY(make_runner(t, trainer));
    SG_TRY(sg_text_runner_use(t->texts.runner, trainer));
    SG_TRY(sg_text_runner_answer(t->texts.runner, t->texts.val_set, sg_trainer_pool(trainer), share,
                                 stop, stop_context, t->probabilities));
    return sg_text_measure_answers(&t->model, t->texts.val, t->probabilities, out);
}

static sg_status text_report(const sg_task *task, const char *folder) {
    const text_task *t = (const text_task *)task;

    return sg_text_draw_answers(&t->model, t->texts.val, t->probabilities, folder);
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

    sg_texts_clear(&t->texts);
    sg_text_model_clear(&t->model);
    sg_classes_clear(&t->names);
    sg_free(t->label);
    sg_free(t->class_weight);
    sg_free(t->probabilities);
    sg_free(t);
}

sg_status sg_text_task_create(const sg_config *config, sg_task **out) {
    text_task *t = sg_calloc(1, sizeof *t);
    sg_task *task;
    sg_status st;

    if (!t) return sg_fail(SG_ERR_OOM, "texts: no memory");
    task = &t->texts.task;
    t->texts.config = *config;
    st = read_data(t);
    if (st == SG_OK) st = number_labels(t);
    if (st == SG_OK) st = sg_text_model_class_names(&t->model, &t->names);
    if (st != SG_OK) {
        text_destroy(task);
        return st;
    }
    task->build = sg_text_classifier_build;
    task->line = text_line;
    task->summary = text_summary;
    task->classes = t->names.name;
    task->n_classes = t->names.n;
    task->class_axis = sg_text_classifier_class_axis;
    task->prepare = text_prepare;
    task->start = text_start;
    task->next = text_next;
    task->evaluate = text_evaluate;
    if (config->run.plots) task->report = text_report;
    task->destroy = text_destroy;
    *out = task;
    return SG_OK;
}
