#include "train/run_plots.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "report/plot.h"

enum { kMostCurves = 16, kNameBytes = 256 };

/* Curves that share their x. */
typedef struct {
    int64_t n; /* points */
    double *x, *lr;
    double *y[kMostCurves];
    char name[kMostCurves][kNameBytes];
    int n_curves;
} curves;

static void curves_clear(curves *c) {
    sg_free(c->x);
    sg_free(c->lr);
    for (int i = 0; i < kMostCurves; i++) sg_free(c->y[i]);
    memset(c, 0, sizeof *c);
}

static int64_t count_lines(const char *text) {
    int64_t n = 0;

    for (; text && *text; text++) n += *text == '\n';
    return n;
}

static sg_status allocate(curves *c, int64_t n) {
    bool whole;

    c->x = sg_malloc((size_t)n * sizeof *c->x);
    c->lr = sg_malloc((size_t)n * sizeof *c->lr);
    whole = c->x && c->lr;
    for (int i = 0; i < c->n_curves; i++) {
        c->y[i] = sg_malloc((size_t)n * sizeof *c->y[i]);
        whole = whole && c->y[i];
    }
    return whole ? SG_OK : sg_fail(SG_ERR_OOM, "plots: no memory for %lld points", (long long)n);
}

static double number_at(const json_t *object, const char *key) {
    const json_t *number = json_object_get(object, key);

    return json_is_number(number) ? json_number_value(number) : (double)NAN;
}

/* A figure of an evaluation, or the value of the task with that name. */
static double figure_at(const json_t *line, const char *name) {
    const json_t *task = json_object_get(json_object_get(line, "tasks"), name);

    return task ? number_at(task, "value") : number_at(line, name);
}

static json_t *parse_line(const char *text, const char **next) {
    const char *end = strchr(text, '\n');
    size_t length = end ? (size_t)(end - text) : strlen(text);

    *next = end ? end + 1 : text + length;
    return json_loadb(text, length, 0, NULL);
}

/* The curves are named; take their points from the lines of `text`. */
static sg_status take_points(curves *c, const char *text, const char *x_key) {
    SG_TRY(allocate(c, count_lines(text)));
    while (*text) {
        json_t *line = parse_line(text, &text);

        if (!line) return sg_fail(SG_ERR_DATA, "plots: a line of the history is no JSON");
        c->x[c->n] = number_at(line, x_key);
        c->lr[c->n] = number_at(line, "lr");
        for (int i = 0; i < c->n_curves; i++) c->y[i][c->n] = figure_at(line, c->name[i]);
        c->n++;
        json_decref(line);
    }
    return SG_OK;
}

/* One more, where there is room. */
static void add_name(curves *c, const char *name) {
    if (c->n_curves < kMostCurves && strlen(name) < kNameBytes)
        strcpy(c->name[c->n_curves++], name);
}

static bool is_sum(const sg_table *table, const char *key) {
    for (int i = SG_SUM_LOSS; i < table->n_sums; i++)
        if (strcmp(table->sum_name[i], key) == 0) return true;
    return false;
}

/* Fractions of the first evaluation that are its own, the first being what it is judged by, and its
 * tasks. What is whole counts something. */
static void name_figures(curves *c, const sg_table *table, json_t *line) {
    const char *metric = json_string_value(json_object_get(line, "metric")), *key;
    json_t *value;

    json_object_foreach(line, key, value) {
        if (strcmp(key, "step") == 0 || strcmp(key, "epoch") == 0 || strcmp(key, "lr") == 0)
            continue;
        if (metric && strcmp(key, metric) == 0) continue; /* it is "value" */
        if ((json_is_real(value) || json_is_null(value)) && !is_sum(table, key)) add_name(c, key);
    }
    json_object_foreach(json_object_get(line, "tasks"), key, value) { add_name(c, key); }
}

/* "value" is shown by the name of its measure. */
static void name_value(curves *c, const json_t *line) {
    const char *metric = json_string_value(json_object_get(line, "metric"));

    if (metric && c->n_curves > 0 && strcmp(c->name[0], "value") == 0)
        snprintf(c->name[0], kNameBytes, "%s", metric);
}

static sg_status take_metrics(curves *c, const sg_table *table, const char *text) {
    const char *unused;
    json_t *first = parse_line(text, &unused);
    sg_status st;

    if (!first) return sg_fail(SG_ERR_DATA, "plots: the first line of the history is no JSON");
    name_figures(c, table, first);
    st = take_points(c, text, "epoch");
    name_value(c, first);
    json_decref(first);
    return st;
}

/* "mAP50_95" -> "mAP50:95" */
static void make_readable(char *name) {
    for (char *p = name; p[0] && p[1] && p[2]; p++)
        if (p[0] >= '0' && p[0] <= '9' && p[1] == '_' && p[2] >= '0' && p[2] <= '9') p[1] = ':';
}

static sg_status draw_loss(const curves *c, const char *folder) {
    sg_plot_series parts[kMostCurves] = {{0}};
    const sg_plot_series lr = {.x = c->x, .y = c->lr, .n = c->n, .color = 3};
    const double last = c->n > 0 ? c->x[c->n - 1] : 0.0;
    const sg_plot_panel panels[2] = {{.title = "Training loss",
                                      .y_label = "loss",
                                      .x_max = last,
                                      .x_whole = true,
                                      .series = parts,
                                      .n_series = c->n_curves,
                                      .share = 3},
                                     {.x_label = "step",
                                      .y_label = "learning rate",
                                      .x_max = last,
                                      .x_whole = true,
                                      .series = &lr,
                                      .n_series = 1,
                                      .share = 1}};
    sg_image image;

    for (int i = 0; i < c->n_curves; i++)
        parts[i] = (sg_plot_series){.name = c->name[i],
                                    .x = c->x,
                                    .y = c->y[i],
                                    .n = c->n,
                                    .color = i < 3 ? i : i + 1}; /* 3 is the learning rate's */
    SG_TRY(sg_plot_lines(panels, 2, SG_PLOT_WIDTH, SG_PLOT_HEIGHT, &image));
    return sg_plot_save(folder, "loss.png", &image);
}

static sg_status draw_metrics(curves *c, int64_t best, const char *folder) {
    sg_plot_series series[kMostCurves] = {{0}};
    double score = c->n_curves > 0 ? c->y[0][best] : (double)NAN;
    char word[kNameBytes];
    const sg_plot_mark mark = {c->x[best], score, 0, word};
    const sg_plot_panel panel = {.title = "Validation",
                                 .x_label = "epoch",
                                 .x_max = c->x[c->n - 1],
                                 .x_whole = true,
                                 .y_zero = true,
                                 .series = series,
                                 .n_series = c->n_curves,
                                 .mark = &mark,
                                 .share = 1};
    sg_image image;

    snprintf(word, sizeof word, "best: %.3f", score);
    for (int i = 0; i < c->n_curves; i++) {
        make_readable(c->name[i]);
        series[i] = (sg_plot_series){
            .name = c->name[i], .x = c->x, .y = c->y[i], .n = c->n, .color = i, .points = true};
    }
    SG_TRY(sg_plot_lines(&panel, 1, SG_PLOT_WIDTH, SG_PLOT_HEIGHT, &image));
    return sg_plot_save(folder, "metrics.png", &image);
}

sg_status sg_run_plots(const sg_history *history, const sg_table *table, const char *folder) {
    curves c = {0};
    sg_status st = SG_OK;

    if (history->points) {
        for (int i = SG_SUM_LOSS; i < table->n_sums; i++) add_name(&c, table->sum_name[i]);
        st = take_points(&c, history->points, "train");
        if (st == SG_OK) st = draw_loss(&c, folder);
        curves_clear(&c);
    }
    if (st == SG_OK && history->text) {
        st = take_metrics(&c, table, history->text);
        if (st == SG_OK) st = draw_metrics(&c, history->best_line, folder);
        curves_clear(&c);
    }
    return st;
}
