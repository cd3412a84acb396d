#include "train/text_model.h"

#include <stdio.h>
#include <stdlib.h>
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

static bool has_ngrams(const sg_config *c) { return c->model.wide || c->model.bag > 0; }

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

struct sg_text_runner {
    const sg_text_model *model; /* borrowed */
    sg_inference *inference[SG_TEXT_SHAPES];
    sg_state *loaded; /* NULL before sg_text_runner_load */
    int64_t batch;
    int workers;
    sg_text_rows *rows; /* (workers) */
    float **answer;     /* (workers) (batch, classes) */
};

static sg_status allocate(sg_text_runner *r) {
    size_t count = (size_t)(r->batch * r->model->n_classes);

    r->rows = sg_calloc((size_t)r->workers, sizeof *r->rows);
    r->answer = sg_calloc((size_t)r->workers, sizeof *r->answer);
    if (!r->rows || !r->answer) return sg_fail(SG_ERR_OOM, "texts: no memory for answers");
    for (int i = 0; i < r->workers; i++) {
        SG_TRY(sg_text_rows_init(&r->model->shapes, r->batch, &r->rows[i]));
        r->answer[i] = sg_malloc(count * sizeof(float));
        if (!r->answer[i]) return sg_fail(SG_ERR_OOM, "texts: no memory for answers");
    }
    return SG_OK;
}

/* All shapes have the table of the first. */
static sg_status create_inferences(sg_text_runner *r, const sg_backend *backend, sg_table *table) {
    for (int i = 0; i < r->model->shapes.n; i++) {
        sg_inference_options o;

        memset(&o, 0, sizeof o);
        o.build = sg_text_classifier_build;
        o.context = r->model->contexts[i];
        o.backend = backend;
        o.table = table;
        o.batch = r->batch;
        o.workers = r->workers;
        SG_TRY(sg_inference_create(&o, &r->inference[i]));
        /* frozen: the others only read it */
        if (!table) table = (sg_table *)(uintptr_t)sg_inference_table(r->inference[0]);
    }
    return SG_OK;
}

sg_status sg_text_runner_create(const sg_text_model *model, const sg_backend *backend,
                                sg_table *table, int64_t batch, int workers, sg_text_runner **out) {
    sg_text_runner *r = sg_calloc(1, sizeof *r);
    sg_status st;

    if (!r) return sg_fail(SG_ERR_OOM, "texts: no memory");
    r->model = model;
    r->batch = batch;
    r->workers = workers;
    st = create_inferences(r, backend, table);
    if (st == SG_OK) st = allocate(r);
    if (st != SG_OK) {
        sg_text_runner_destroy(r);
        return st;
    }
    *out = r;
    return SG_OK;
}

void sg_text_runner_destroy(sg_text_runner *r) {
    if (!r) return;
    for (int i = SG_TEXT_SHAPES - 1; i >= 0; i--) sg_inference_destroy(r->inference[i]);
    for (int i = 0; i < r->workers; i++) {
        if (r->rows) sg_text_rows_clear(&r->rows[i]);
        if (r->answer) sg_free(r->answer[i]);
    }
    sg_state_destroy(r->loaded);
    sg_free(r->rows);
    sg_free(r->answer);
    sg_free(r);
}

sg_status sg_text_runner_use(sg_text_runner *r, const sg_trainer *trainer) {
    for (int i = 0; i < r->model->shapes.n; i++)
        SG_TRY(sg_inference_use_values(r->inference[i], sg_trainer_averages(trainer),
                                       sg_trainer_rows(trainer)));
    return SG_OK;
}

sg_status sg_text_runner_load(sg_text_runner *r, const char *path) {
    if (!r->loaded) SG_TRY(sg_state_create(sg_inference_table(r->inference[0]), 0, &r->loaded));
    SG_TRY(sg_model_file_load(path, r->loaded));
    for (int i = 0; i < r->model->shapes.n; i++)
        SG_TRY(sg_inference_set_values(r->inference[i], r->loaded->ema, r->loaded->rows));
    return SG_OK;
}

/* Texts in the order in which they are run. */
typedef struct {
    sg_text_runner *runner;
    const sg_encoded_set *set;
    int64_t *order; /* (n) numbers of texts, by shape */
    int64_t *group; /* (n_groups + 1) where each begins in the order */
    uint8_t *shape; /* (n_groups) */
    int64_t n_groups;
    sg_stop_fn stop;
    void *stop_context;
    float *probabilities;
} answering;

static sg_status answer_group(void *context, int64_t group, int worker) {
    answering *a = context;
    sg_text_runner *r = a->runner;
    int shape = a->shape[group];
    int64_t first = a->group[group], n = a->group[group + 1] - first;
    int64_t classes = r->model->n_classes;
    const sg_text_rows *rows = &r->rows[worker];
    const sg_text_classifier_options *o = &r->model->option[shape];
    const void *inputs[SG_MAX_INPUTS] = {NULL};
    int k = 0;

    if (a->stop && a->stop(a->stop_context))
        return sg_fail(SG_ERR_INTERRUPTED, "interrupted during an evaluation");
    for (int64_t i = 0; i < r->batch; i++) {
        sg_encoded none = {0}, text = none;

        if (i < n) text = sg_encoded_at(a->set, a->order[first + i]);
        sg_text_rows_put(rows, &r->model->shapes, shape, i, &text);
    }
    if (o->features > 0) {
        inputs[k++] = rows->ngrams;
        inputs[k++] = rows->weights;
    }
    if (o->encoder.layers > 0) {
        inputs[k++] = rows->ids;
        inputs[k++] = rows->length;
    }
    SG_TRY(sg_inference_run(r->inference[shape], worker, inputs,
                            (void *const[SG_MAX_OUTPUTS]){r->answer[worker]}));
    for (int64_t i = 0; i < n; i++)
        memcpy(a->probabilities + a->order[first + i] * classes, r->answer[worker] + i * classes,
               (size_t)classes * sizeof(float));
    return SG_OK;
}

/* Groups of at most `batch` texts of one shape, in the order of their numbers. */
static void divide(answering *a) {
    const sg_text_shapes *shapes = &a->runner->model->shapes;
    int64_t at = 0;

    for (int s = 0; s < shapes->n; s++) {
        int64_t in_group = a->runner->batch; /* each shape begins a group */

        for (int64_t i = 0; i < a->set->n; i++) {
            sg_encoded text = sg_encoded_at(a->set, i);

            if (sg_text_shape_for(shapes, text.n_ngrams, text.n_subwords) != s) continue;
            if (in_group == a->runner->batch) {
                a->group[a->n_groups] = at;
                a->shape[a->n_groups++] = (uint8_t)s;
                in_group = 0;
            }
            a->order[at++] = i;
            in_group++;
        }
    }
    a->group[a->n_groups] = at;
}

sg_status sg_text_runner_answer(sg_text_runner *r, const sg_encoded_set *set, sg_pool *pool,
                                sg_stop_fn stop, void *stop_context, float *probabilities) {
    answering a = {.runner = r,
                   .set = set,
                   .stop = stop,
                   .stop_context = stop_context,
                   .probabilities = probabilities};
    size_t groups = (size_t)(set->n / r->batch + SG_TEXT_SHAPES + 1);
    sg_status st = SG_OK;

    a.order = sg_malloc((size_t)set->n * sizeof *a.order + 1);
    a.group = sg_malloc((groups + 1) * sizeof *a.group);
    a.shape = sg_malloc(groups * sizeof *a.shape);
    if (!a.order || !a.group || !a.shape) st = sg_fail(SG_ERR_OOM, "texts: no memory for answers");
    if (st == SG_OK) {
        divide(&a);
        st = sg_pool_run(pool, a.n_groups, answer_group, &a);
    }
    sg_free(a.order);
    sg_free(a.group);
    sg_free(a.shape);
    return st;
}
