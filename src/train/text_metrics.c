#include "train/text_metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/cells.h"
#include "core/mem.h"
#include "report/plot.h"

enum { kDigits = 9 };

/* --- counts ----------------------------------------------------------------------------------- */

sg_status sg_text_confusion_add(int64_t classes, const int32_t *truths, const int32_t *predictions,
                                int64_t n, int64_t *counts) {
    for (int64_t i = 0; i < n; i++)
        if (truths[i] < -1 || truths[i] >= classes || predictions[i] < 0 ||
            predictions[i] >= classes)
            return sg_fail(SG_ERR_ARG,
                           "metrics: text %lld: truth %d, prediction %d; there are %lld classes",
                           (long long)i, truths[i], predictions[i], (long long)classes);
    for (int64_t i = 0; i < n; i++)
        if (truths[i] >= 0) counts[truths[i] * classes + predictions[i]]++;
    return SG_OK;
}

static double ratio(int64_t part, int64_t whole) {
    return whole > 0 ? (double)part / (double)whole : 0.0;
}

sg_class_score sg_text_class_score(int64_t classes, const int64_t *counts, int64_t label) {
    sg_class_score s = {.hits = counts[label * classes + label]};

    for (int64_t c = 0; c < classes; c++) {
        s.count += counts[label * classes + c];
        s.predicted += counts[c * classes + label];
    }
    s.precision = ratio(s.hits, s.predicted);
    s.recall = ratio(s.hits, s.count);
    s.f1 = ratio(2 * s.hits, s.predicted + s.count);
    return s;
}

static int64_t total(int64_t classes, const int64_t *counts) {
    int64_t n = 0;

    for (int64_t i = 0; i < classes * classes; i++) n += counts[i];
    return n;
}

static double accuracy(int64_t classes, const int64_t *counts) {
    int64_t hits = 0;

    for (int64_t c = 0; c < classes; c++) hits += counts[c * classes + c];
    return ratio(hits, total(classes, counts));
}

static double macro(int64_t classes, const int64_t *counts, bool recall) {
    double sum = 0.0;
    int64_t n = 0;

    for (int64_t c = 0; c < classes; c++) {
        sg_class_score s = sg_text_class_score(classes, counts, c);

        if (s.count + s.predicted == 0) continue;
        sum += recall ? s.recall : s.f1;
        n++;
    }
    return n > 0 ? sum / (double)n : 0.0;
}

double sg_text_metric_value(const sg_text_metric *metric, int64_t classes, const int64_t *counts) {
    double sum = 0.0;

    if (total(classes, counts) == 0) return NAN;
    switch (metric->measure) {
    case SG_MEASURE_MACRO_F1:
        return macro(classes, counts, false);
    case SG_MEASURE_MACRO_RECALL:
        return macro(classes, counts, true);
    case SG_MEASURE_ACCURACY:
        return accuracy(classes, counts);
    case SG_MEASURE_F1:
        break;
    }
    for (int i = 0; i < metric->n; i++)
        sum += sg_text_class_score(classes, counts, metric->label[i]).f1;
    return sum / metric->n;
}

/* --- names ------------------------------------------------------------------------------------ */

static const char *const measure_name[] = {"macro_f1", "macro_recall", "accuracy", "f1"};

/* f1 of one name or two, where the classes have them. */
static void choose_f1(const char *first, const char *second, const sg_classes *classes,
                      sg_text_metric *out) {
    sg_text_metric m = {SG_MEASURE_F1, second ? 2 : 1, {0}};

    m.label[0] = sg_classes_find(classes, first);
    if (second) m.label[1] = sg_classes_find(classes, second);
    if (m.label[0] >= 0 && m.label[1] >= 0) *out = m;
}

sg_text_metric sg_text_metric_of(const char *task, const sg_classes *classes) {
    sg_text_metric m = {.measure = SG_MEASURE_MACRO_F1};

    if (strcmp(task, "sentiment") == 0) m.measure = SG_MEASURE_MACRO_RECALL;
    if (strcmp(task, "irony") == 0) choose_f1("irony", NULL, classes, &m);
    if (strcmp(task, "stance") == 0 || strncmp(task, "stance/", 7) == 0)
        choose_f1("against", "favor", classes, &m);
    if (classes->n == 2 && sg_classes_find(classes, "ham") >= 0)
        choose_f1("spam", NULL, classes, &m);
    return m;
}

char *sg_text_metric_name(const sg_text_metric *metric, const sg_classes *classes) {
    if (metric->measure != SG_MEASURE_F1) return sg_strdup(measure_name[metric->measure]);
    return sg_str_printf("f1:%s%s%s", classes->name[metric->label[0]], metric->n > 1 ? "," : "",
                         metric->n > 1 ? classes->name[metric->label[1]] : "");
}

/* --- JSON ------------------------------------------------------------------------------------- */

static json_t *fraction(double value, int64_t count) {
    return count > 0 ? json_real(value) : json_null();
}

static json_t *class_object(sg_class_score s) {
    return json_pack("{s:o, s:o, s:o, s:I}", "precision", fraction(s.precision, s.count), "recall",
                     fraction(s.recall, s.count), "f1", fraction(s.f1, s.count), "count",
                     (json_int_t)s.count);
}

static json_t *matrix(int64_t classes, const int64_t *counts) {
    json_t *rows = json_array();

    for (int64_t r = 0; r < classes; r++) {
        json_t *row = json_array();

        for (int64_t c = 0; c < classes; c++)
            json_array_append_new(row, json_integer(counts[r * classes + c]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static char *dump(const char *name, const sg_text_metric *metric, const sg_classes *classes,
                  const int64_t *counts) {
    int64_t n = total(classes->n, counts);
    json_t *by_class = json_object(), *whole;
    char *text = NULL, *copy;

    for (int c = 0; c < classes->n; c++)
        json_object_set_new(by_class, classes->name[c],
                            class_object(sg_text_class_score(classes->n, counts, c)));
    whole = json_pack("{s:s, s:o, s:o, s:o, s:o, s:I, s:o, s:o}", "metric", name, "value",
                      fraction(sg_text_metric_value(metric, classes->n, counts), n), "accuracy",
                      fraction(accuracy(classes->n, counts), n), "macro_f1",
                      fraction(macro(classes->n, counts, false), n), "macro_recall",
                      fraction(macro(classes->n, counts, true), n), "count", (json_int_t)n,
                      "classes", by_class, "confusion", matrix(classes->n, counts));
    if (whole)
        text = json_dumps(whole, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(kDigits));
    json_decref(whole);
    copy = text ? sg_strdup(text) : NULL;
    free(text);
    return copy;
}

sg_status sg_text_metrics_json(const sg_text_metric *metric, const sg_classes *classes,
                               const int64_t *counts, char **out) {
    char *name = sg_text_metric_name(metric, classes);
    char *text = name ? dump(name, metric, classes, counts) : NULL;

    sg_free(name);
    if (!text) return sg_fail(SG_ERR_OOM, "metrics: no memory for their JSON");
    *out = text;
    return SG_OK;
}

/* --- for people ------------------------------------------------------------------------------- */

static void add_fraction(sg_cells *cells, double value, int64_t count) {
    if (count > 0)
        sg_cells_add(cells, "%.4f", value);
    else
        sg_cells_add(cells, "-");
}

static sg_status class_lines(const sg_classes *classes, const int64_t *counts, char **out) {
    sg_cells cells = {.columns = 5, .left = 1};

    sg_cells_add(&cells, "class");
    sg_cells_add(&cells, "texts");
    sg_cells_add(&cells, "precision");
    sg_cells_add(&cells, "recall");
    sg_cells_add(&cells, "F1");
    for (int c = 0; c < classes->n; c++) {
        sg_class_score s = sg_text_class_score(classes->n, counts, c);

        sg_cells_add(&cells, "%s", classes->name[c]);
        sg_cells_add(&cells, "%lld", (long long)s.count);
        add_fraction(&cells, s.precision, s.count);
        add_fraction(&cells, s.recall, s.count);
        add_fraction(&cells, s.f1, s.count);
    }
    return sg_cells_lines(&cells, out);
}

sg_status sg_text_metrics_table(const sg_text_metric *metric, const sg_classes *classes,
                                const int64_t *counts, char **out) {
    char *name = sg_text_metric_name(metric, classes), *lines = NULL, *text = NULL;
    int64_t n = total(classes->n, counts);
    sg_status st = name ? class_lines(classes, counts, &lines) : SG_ERR_OOM;

    if (st == SG_OK && n > 0)
        text = sg_str_printf("%s%lld texts: %s %.4f, accuracy %.4f, macro F1 %.4f, macro recall "
                             "%.4f\n",
                             lines, (long long)n, name,
                             sg_text_metric_value(metric, classes->n, counts),
                             accuracy(classes->n, counts), macro(classes->n, counts, false),
                             macro(classes->n, counts, true));
    else if (st == SG_OK)
        text = sg_str_printf("%sno labelled texts\n", lines);
    sg_free(lines);
    sg_free(name);
    if (!text) return sg_fail(SG_ERR_OOM, "metrics: no memory for their table");
    *out = text;
    return SG_OK;
}

static bool is_ascii(const char *name) {
    for (; *name; name++)
        if ((unsigned char)*name >= 0x80) return false;
    return true;
}

sg_status sg_text_metrics_draw(const char *title, const sg_classes *classes, const int64_t *counts,
                               const char *folder, const char *file) {
    size_t n = (size_t)classes->n;
    sg_plot_table table = {.title = title, .row_title = "truth", .column_title = "prediction"};
    char(*number)[24] = sg_calloc(n, sizeof *number); /* stands for what the font lacks */
    const char **names = sg_calloc(n, sizeof *names);
    sg_image image;
    sg_status st = SG_OK;

    if (!number || !names) st = sg_fail(SG_ERR_OOM, "metrics: no memory for %zu names", n);
    for (size_t i = 0; i < n && st == SG_OK; i++) {
        snprintf(number[i], sizeof *number, "%zu", i);
        names[i] = is_ascii(classes->name[i]) ? classes->name[i] : number[i];
    }
    table.names = names;
    table.counts = counts;
    table.n = classes->n;
    if (st == SG_OK) st = sg_plot_counts(&table, SG_PLOT_WIDTH, &image);
    if (st == SG_OK) st = sg_plot_save(folder, file, &image);
    sg_free(number);
    sg_free((void *)names);
    return st;
}
