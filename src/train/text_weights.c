#include "train/text_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

typedef struct {
    const sg_config *config;
    const sg_text_model *model;
    const sg_text_dataset *data;
    double
        *share; /* (classes) how often one occurs, over how often if all of its task's did alike */
    double *factor; /* (classes) of train.class_factors */
} weighing;

static void count_shares(const weighing *w) {
    const sg_text_model *m = w->model;

    for (int64_t i = 0; i < w->data->n; i++) {
        int task = w->data->texts[i].task;
        double n = (double)w->data->tasks[task].n, classes = (double)m->task_classes[task];

        if (w->data->labels[i] >= 0)
            w->share[m->first_class[task] + w->data->labels[i]] += classes / n;
    }
}

/* --- train.class_factors ---------------------------------------------------------------------- */

/* NAME:FACTOR; a name may have a colon of its own. */
static sg_status read_factor(char *entry, const sg_classes *names, double *factor) {
    char *colon = strrchr(entry, ':'), *end = NULL;
    double value = colon ? strtod(colon + 1, &end) : 0.0;
    int id;

    if (!colon || end == colon + 1 || *end || !isfinite(value) || value < 1e-3 || value > 1e3)
        return sg_fail(SG_ERR_CONFIG,
                       "train.class_factors: `%s` is no class, a colon and a factor (0.001 to "
                       "1000), such as %s:1.5",
                       entry, names->name[0]);
    *colon = '\0';
    id = sg_classes_find(names, entry);
    if (id < 0)
        return sg_fail(SG_ERR_CONFIG,
                       "train.class_factors: there is no class `%s`; the first is `%s`", entry,
                       names->name[0]);
    if (factor[id] > 0.0)
        return sg_fail(SG_ERR_CONFIG, "train.class_factors: `%s` is named twice", entry);
    factor[id] = value;
    return SG_OK;
}

/* 0 in `factor` is a class that has not been named yet. */
static sg_status read_factors(const weighing *w) {
    const char *list = w->config->train.class_factors;
    sg_classes names = {0}, entries = {0};
    sg_status st = SG_OK;

    if (*list) st = sg_text_model_class_names(w->model, &names);
    if (*list && st == SG_OK)
        st = sg_names_parse("train.class_factors: entry", list, SG_MAX_CLASSES, &entries);
    for (int i = 0; i < entries.n && st == SG_OK; i++)
        st = read_factor(entries.name[i], &names, w->factor);
    sg_classes_clear(&names);
    sg_classes_clear(&entries);
    for (int64_t c = 0; c < w->model->n_classes; c++)
        if (!(w->factor[c] > 0.0)) w->factor[c] = 1.0;
    return st;
}

/* --- weights ---------------------------------------------------------------------------------- */

/* What a text of a task counts for: 1 in the largest one. */
static double task_weight(const weighing *w, int task) {
    int64_t most = 0;

    for (int i = 0; i < w->data->n_tasks; i++)
        if (w->data->tasks[i].n > most) most = w->data->tasks[i].n;
    return pow((double)most / (double)w->data->tasks[task].n, w->config->train.task_balance);
}

static void weigh_task(const weighing *w, int task, float *weights) {
    double power = sg_choice_is(w->config->train.class_weights, "balanced") ? 1.0
                   : sg_choice_is(w->config->train.class_weights, "sqrt")   ? 0.5
                                                                            : 0.0;
    int64_t first = w->model->first_class[task], n = w->model->task_classes[task];
    double mean = 0.0;

    for (int64_t c = first; c < first + n; c++)
        if (w->share[c] > 0.0)
            mean += w->share[c] / (double)n * pow(w->share[c], -power) * w->factor[c];
    for (int64_t c = first; c < first + n; c++)
        if (w->share[c] > 0.0)
            weights[c] =
                (float)(pow(w->share[c], -power) * w->factor[c] / mean * task_weight(w, task));
}

static sg_status weigh(const weighing *w, float *weights) {
    if (!w->share || !w->factor || !weights)
        return sg_fail(SG_ERR_OOM, "texts: no memory for class weights");
    SG_TRY(read_factors(w));
    count_shares(w);
    for (int task = 0; task < w->model->n_tasks; task++) weigh_task(w, task, weights);
    return SG_OK;
}

sg_status sg_text_class_weights(const sg_config *config, const sg_text_model *model,
                                const sg_text_dataset *data, float **weights) {
    size_t n = (size_t)model->n_classes;
    weighing w = {config, model, data, sg_calloc(n, sizeof *w.share),
                  sg_calloc(n, sizeof *w.factor)};
    float *out = sg_calloc(n, sizeof *out);
    sg_status st = weigh(&w, out);

    sg_free(w.share);
    sg_free(w.factor);
    if (st == SG_OK)
        *weights = out;
    else
        sg_free(out);
    return st;
}
