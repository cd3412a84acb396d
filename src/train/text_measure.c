/* Answers of the text classifier against labels. Topics of one task (stance/abortion, stance/...)
 * are pooled: their confusion matrices are added. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/line.h"
#include "core/mem.h"
#include "train/text_metrics.h"
#include "train/text_model.h"

/* Tasks that are measured as one. */
typedef struct {
    int task;        /* the first of them */
    char *name;      /* what they share: the part before `/`; owned */
    int64_t *counts; /* (classes, classes), owned */
    sg_text_metric metric;
    double value;
} pool_of_tasks;

typedef struct {
    const sg_text_model *model;
    pool_of_tasks pool[SG_TEXT_MAX_TASKS];
    int n;
    int of[SG_TEXT_MAX_TASKS]; /* the pool of each task */
} measuring;

static bool same_classes(const sg_classes *a, const sg_classes *b) {
    for (int i = 0; i < a->n && a->n == b->n; i++)
        if (strcmp(a->name[i], b->name[i]) != 0) return false;
    return a->n == b->n;
}

/* What a task is measured as: the part of its name before `/`, where all tasks that share it have
 * the same classes; else its whole name. Its bytes. */
static int pooled(const sg_text_model *m, int task) {
    const char *name = m->tasks.name[task];
    size_t n = strcspn(name, "/");

    for (int i = 0; i < m->n_tasks; i++)
        if (strcspn(m->tasks.name[i], "/") == n && strncmp(m->tasks.name[i], name, n) == 0 &&
            !same_classes(&m->classes[i], &m->classes[task]))
            return (int)strlen(name);
    return (int)n;
}

/* The pool of that name, `length` bytes, and those classes; m->n where there is none yet. */
static int find_pool(const measuring *m, const char *name, int length, const sg_classes *classes) {
    for (int p = 0; p < m->n; p++)
        if (strlen(m->pool[p].name) == (size_t)length &&
            memcmp(m->pool[p].name, name, (size_t)length) == 0 &&
            same_classes(&m->model->classes[m->pool[p].task], classes))
            return p;
    return m->n;
}

static sg_status begin(measuring *m) {
    for (int t = 0; t < m->model->n_tasks; t++) {
        const sg_classes *classes = &m->model->classes[t];
        size_t cells = (size_t)classes->n * (size_t)classes->n;
        const char *name = m->model->tasks.name[t];
        int length = pooled(m->model, t), p = find_pool(m, name, length, classes);

        m->of[t] = p;
        if (p < m->n) continue;
        m->n++;
        m->pool[p].task = t;
        m->pool[p].name = sg_str_printf("%.*s", length, name);
        m->pool[p].counts = sg_calloc(cells, sizeof(int64_t));
        if (!m->pool[p].name || !m->pool[p].counts)
            return sg_fail(SG_ERR_OOM, "evaluation: no memory");
        m->pool[p].metric = sg_text_metric_of(name, classes);
    }
    return SG_OK;
}

static sg_status count(measuring *m, const sg_text_dataset *data, const float *probabilities) {
    for (int64_t i = 0; i < data->n; i++) {
        int task = data->texts[i].task;
        int32_t best = sg_text_best(m->model, task, probabilities + i * m->model->n_classes);

        SG_TRY(sg_text_confusion_add(m->model->task_classes[task], &data->labels[i], &best, 1,
                                     m->pool[m->of[task]].counts));
    }
    for (int p = 0; p < m->n; p++)
        m->pool[p].value = sg_text_metric_value(
            &m->pool[p].metric, m->model->task_classes[m->pool[p].task], m->pool[p].counts);
    return SG_OK;
}

static const sg_classes *classes_of(const measuring *m, int p) {
    return &m->model->classes[m->pool[p].task];
}

/* The plain mean, as TweetEval's. */
static double score(const measuring *m) {
    double sum = 0.0;

    for (int p = 0; p < m->n; p++) sum += isnan(m->pool[p].value) ? 0.0 : m->pool[p].value;
    return sum / m->n;
}

/* {"metric": "mean", "value": V, "tasks": {NAME: {as one task alone}}} */
static sg_status write_json(const measuring *m, char **out) {
    json_t *tasks, *whole;
    char *text = NULL;

    if (m->n == 1)
        return sg_text_metrics_json(&m->pool[0].metric, classes_of(m, 0), m->pool[0].counts, out);
    tasks = json_object();
    for (int p = 0; p < m->n; p++) {
        char *one;

        if (sg_text_metrics_json(&m->pool[p].metric, classes_of(m, p), m->pool[p].counts, &one) !=
            SG_OK) {
            json_decref(tasks);
            return SG_ERR_OOM;
        }
        json_object_set_new(tasks, m->pool[p].name, json_loads(one, 0, NULL));
        sg_free(one);
    }
    whole = json_pack("{s:s, s:f, s:o}", "metric", "mean", "value", score(m), "tasks", tasks);
    if (whole) text = json_dumps(whole, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
    json_decref(whole);
    *out = text ? sg_strdup(text) : NULL;
    free(text);
    return *out ? SG_OK : sg_fail(SG_ERR_OOM, "evaluation: no memory for its figures");
}

static sg_status write_table(const measuring *m, char **out) {
    sg_line all = {0};

    for (int p = 0; p < m->n; p++) {
        char *one;
        sg_status st =
            sg_text_metrics_table(&m->pool[p].metric, classes_of(m, p), m->pool[p].counts, &one);

        if (st != SG_OK) {
            sg_line_clear(&all);
            return st;
        }
        if (m->n > 1) sg_line_printf(&all, "%s%s\n", p > 0 ? "\n" : "", m->pool[p].name);
        sg_line_text(&all, one);
        sg_free(one);
    }
    if (m->n > 1) sg_line_printf(&all, "\nmean %.4f\n", score(m));
    return sg_line_take(&all, out);
}

static sg_status fill(const measuring *m, sg_evaluation *out) {
    sg_evaluation answer = {score(m), NULL, NULL};
    sg_status st = write_json(m, &answer.json);

    if (st == SG_OK) st = write_table(m, &answer.table);
    if (st != SG_OK) {
        sg_evaluation_clear(&answer);
        return st;
    }
    *out = answer;
    return SG_OK;
}

static void end(measuring *m) {
    for (int p = 0; p < m->n; p++) {
        sg_free(m->pool[p].name);
        sg_free(m->pool[p].counts);
    }
}

static sg_status measure(const sg_text_model *model, const sg_text_dataset *data,
                         const float *probabilities, measuring *m) {
    memset(m, 0, sizeof *m);
    m->model = model;
    SG_TRY(begin(m));
    return count(m, data, probabilities);
}

sg_status sg_text_measure_answers(const sg_text_model *model, const sg_text_dataset *data,
                                  const float *probabilities, sg_evaluation *out) {
    measuring m;
    sg_status st = measure(model, data, probabilities, &m);

    if (st == SG_OK) st = fill(&m, out);
    end(&m);
    return st;
}

/* confusion.png; of several pools confusion-NAME.png for each. */
static sg_status draw(const measuring *m, int p, const char *folder) {
    const pool_of_tasks *pool = &m->pool[p];
    char *file =
        m->n == 1 ? sg_strdup("confusion.png") : sg_str_printf("confusion-%s.png", pool->name);
    sg_status st;

    if (!file) return sg_fail(SG_ERR_OOM, "evaluation: no memory for a file's name");
    for (char *c = file; *c; c++)
        if (*c == '/') *c = '-';
    st = sg_text_metrics_draw(*pool->name ? pool->name : NULL, classes_of(m, p), pool->counts,
                              folder, file);
    sg_free(file);
    return st;
}

sg_status sg_text_draw_answers(const sg_text_model *model, const sg_text_dataset *data,
                               const float *probabilities, const char *folder) {
    measuring m;
    sg_status st = measure(model, data, probabilities, &m);

    for (int p = 0; p < m.n && st == SG_OK; p++) st = draw(&m, p, folder);
    end(&m);
    return st;
}
