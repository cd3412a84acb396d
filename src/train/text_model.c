#include "train/text_model.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"

sg_text_place sg_text_place_of(const sg_config *c) {
    sg_text_place place = {.format = SG_TEXT_TWEETEVAL,
                           .root = c->data.root,
                           .task = c->data.task,
                           .text_column = c->data.text,
                           .label_column = c->data.label};

    if (sg_choice_is(c->data.format, "csv")) place.format = SG_TEXT_CSV;
    if (sg_choice_is(c->data.format, "jsonl")) place.format = SG_TEXT_JSONL;
    return place;
}

sg_status sg_text_classes_named(const sg_config *c, sg_classes *out) {
    if (strcmp(c->data.classes, "auto") == 0) {
        *out = (sg_classes){0};
        return SG_OK;
    }
    if (strchr(c->data.task, ','))
        return sg_fail(SG_ERR_CONFIG, "data.classes: several tasks have their own classes; leave "
                                      "it at auto");
    return sg_classes_parse(c->data.classes, out);
}

static bool has_ngrams(const sg_config *c) {
    return sg_choice_is(c->model.type, "text_classifier") && (c->model.wide || c->model.bag > 0);
}

sg_tokenizer_options sg_text_tokenizer_options(const sg_config *c) {
    sg_tokenizer_options o;

    memset(&o, 0, sizeof o);
    if (has_ngrams(c)) {
        o.ngrams = (sg_ngrams){(int)c->text.words, (int)c->text.char_min, (int)c->text.char_max,
                               (int32_t)c->text.buckets};
        if (c->text.char_max == 0) o.ngrams.char_min = 0;
        if (sg_choice_is(c->text.weights, "tfidf")) o.weights = SG_WEIGHTS_TFIDF;
        o.min_count = c->text.min_count;
        o.features = c->text.features;
    }
    if (c->model.layers > 0) {
        o.subwords = (int32_t)c->text.subwords;
        o.length = c->model.input;
    }
    return o;
}

sg_text_encoder_options sg_text_encoder_of(const sg_config *c, const sg_tokenizer *tokenizer,
                                           int64_t length) {
    bool cnn = sg_choice_is(c->model.encoder, "gated_cnn");

    return (sg_text_encoder_options){.kind = cnn ? SG_ENCODER_GATED_CNN : SG_ENCODER_TRANSFORMER,
                                     .vocabulary = sg_tokenizer_vocabulary(tokenizer),
                                     .positions = sg_tokenizer_options_of(tokenizer)->length,
                                     .length = length,
                                     .layers = c->model.layers,
                                     .width = c->model.width,
                                     .heads = c->model.heads,
                                     .kernel = c->model.kernel,
                                     .dropout = (float)c->model.dropout};
}

/* --- tasks and classes ------------------------------------------------------------------------ */

static sg_status add_task(sg_text_model *m, const char *name, const sg_classes *classes) {
    int i = m->n_tasks, id;

    SG_TRY(sg_classes_intern(&m->tasks, name, 1, &id));
    SG_TRY(sg_classes_copy(classes, &m->classes[i]));
    m->first_class[i] = m->n_classes;
    m->task_classes[i] = classes->n;
    m->n_classes += classes->n;
    m->n_tasks++;
    return SG_OK;
}

static sg_status begin(sg_text_model *m) {
    memset(m, 0, sizeof *m);
    m->classes = sg_calloc(SG_TEXT_MAX_TASKS, sizeof *m->classes);
    return m->classes ? SG_OK : sg_fail(SG_ERR_OOM, "texts: no memory for classes");
}

sg_status sg_text_model_from_data(const sg_text_dataset *data, sg_text_model *m) {
    sg_status st = begin(m);

    for (int i = 0; i < data->n_tasks && st == SG_OK; i++)
        st = add_task(m, data->tasks[i].name, &data->classes[i]);
    if (st != SG_OK) sg_text_model_clear(m);
    return st;
}

/* The classes of file->classes that begin with "TASK:", without that. */
static sg_status classes_of(const sg_model_file *file, const char *task, sg_classes *out) {
    size_t length = strlen(task);
    int id;

    for (int64_t c = 0; c < file->n_classes; c++) {
        const char *name = file->classes[c];

        if (strncmp(name, task, length) == 0 && name[length] == ':')
            SG_TRY(sg_classes_intern(out, name + length + 1, 1, &id));
    }
    return SG_OK;
}

static sg_status tasks_from_file(const sg_model_file *file, const sg_classes *names,
                                 const char *path, sg_text_model *m) {
    for (int i = 0; i < names->n; i++) {
        sg_classes classes = {0}, all = {(int)file->n_classes, file->classes};
        bool one = names->n == 1;
        sg_status st = one ? SG_OK : classes_of(file, names->name[i], &classes);

        if (st == SG_OK) st = add_task(m, names->name[i], one ? &all : &classes);
        sg_classes_clear(&classes);
        SG_TRY(st);
        if (m->task_classes[i] < 2)
            return sg_fail(SG_ERR_DATA, "%s: names fewer than two classes of the task %s", path,
                           names->name[i]);
    }
    return SG_OK;
}

sg_status sg_text_model_from_file(const sg_config *config, const sg_model_file *file,
                                  const char *path, sg_text_model *m) {
    sg_text_place place = sg_text_place_of(config);
    sg_classes names = {0};
    sg_tokenizer *tokenizer = NULL;
    sg_status st = begin(m);

    if (st == SG_OK) st = sg_text_place_tasks(&place, &names);
    if (st == SG_OK) st = tasks_from_file(file, &names, path, m);
    if (st == SG_OK)
        st = sg_tokenizer_parse(path, file->tokenizer, strlen(file->tokenizer), &tokenizer);
    if (st == SG_OK) st = sg_text_model_set_tokenizer(m, config, tokenizer);
    sg_classes_clear(&names);
    if (st != SG_OK) sg_text_model_clear(m);
    return st;
}

sg_status sg_text_model_set_tokenizer(sg_text_model *m, const sg_config *c,
                                      sg_tokenizer *tokenizer) {
    const sg_tokenizer_options *t = sg_tokenizer_options_of(tokenizer);

    sg_tokenizer_destroy(m->tokenizer);
    m->tokenizer = tokenizer;
    /* a tokenizer of a damaged file may have what the model has not */
    m->shapes =
        sg_text_shapes_up_to(has_ngrams(c) ? t->features : 0, c->model.layers > 0 ? t->length : 0);
    for (int i = 0; i < m->shapes.n; i++) {
        sg_text_classifier_options *o = &m->option[i];

        memset(o, 0, sizeof *o);
        o->buckets = sg_tokenizer_rows(tokenizer);
        o->features = m->shapes.features[i];
        o->wide = c->model.wide;
        o->bag = c->model.bag;
        o->keep_bag = c->model.keep_bag;
        o->encoder = sg_text_encoder_of(c, tokenizer, m->shapes.length[i]);
        o->dropout = (float)c->model.dropout;
        o->n_tasks = m->n_tasks;
        o->task_classes = m->task_classes;
        m->contexts[i] = o;
        m->answer[i] = m->n_classes;
        SG_TRY(sg_text_classifier_check(o));
    }
    return SG_OK;
}

void sg_text_model_clear(sg_text_model *m) {
    for (int i = 0; m->classes && i < SG_TEXT_MAX_TASKS; i++) sg_classes_clear(&m->classes[i]);
    sg_free(m->classes);
    sg_classes_clear(&m->tasks);
    sg_tokenizer_destroy(m->tokenizer);
    memset(m, 0, sizeof *m);
}

sg_status sg_text_model_class_names(const sg_text_model *m, sg_classes *names) {
    sg_status st = SG_OK;
    int id;

    if (m->n_tasks == 1) return sg_classes_copy(&m->classes[0], names);
    if (m->n_classes > SG_MAX_CLASSES)
        return sg_fail(SG_ERR_CONFIG,
                       "data.task: its tasks have %lld classes together; at most %d: name fewer",
                       (long long)m->n_classes, SG_MAX_CLASSES);
    memset(names, 0, sizeof *names);
    for (int t = 0; t < m->n_tasks; t++)
        for (int c = 0; c < m->classes[t].n && st == SG_OK; c++) {
            char *name = sg_str_printf("%s:%s", m->tasks.name[t], m->classes[t].name[c]);

            st = name ? sg_classes_intern(names, name, 1, &id)
                      : sg_fail(SG_ERR_OOM, "texts: no memory for names");
            sg_free(name);
        }
    if (st != SG_OK) sg_classes_clear(names);
    return st;
}

int32_t sg_text_best(const sg_text_model *m, int task, const float *probabilities) {
    const float *p = probabilities + m->first_class[task];
    int32_t best = 0;

    for (int32_t c = 1; c < m->task_classes[task]; c++)
        if (p[c] > p[best]) best = c;
    return best;
}

/* --- running it ------------------------------------------------------------------------------- */

sg_status sg_text_model_runner(const sg_text_model *model, const sg_backend *backend,
                               const sg_trainer *trainer, int64_t batch, int workers,
                               sg_text_runner **out) {
    const sg_text_runner_options o = {.build = sg_text_classifier_build,
                                      .contexts = model->contexts,
                                      .shapes = &model->shapes,
                                      .answer = model->answer,
                                      .backend = backend,
                                      .trainer = trainer,
                                      .batch = batch,
                                      .workers = workers};

    return sg_text_runner_create(&o, out);
}
