#include "train/history.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

enum {
    kDigits = 6,
    kExactDigits = 17, /* a double comes back to the bit */
    kFirstBytes = 256,
};

void sg_history_clear(sg_history *history) {
    sg_free(history->text);
    sg_free(history->points);
    memset(history, 0, sizeof *history);
}

void sg_history_step(sg_history *history, const double sum[SG_MAX_SUMS]) {
    for (int i = 0; i < SG_MAX_SUMS; i++) {
        history->since_point.sum[i] += sum[i];
        history->since_evaluation.sum[i] += sum[i];
    }
    history->since_point.n++;
    history->since_evaluation.n++;
}

/* Of the block of a text: a power of two, so that a long history is not copied for each line. */
static size_t capacity_of(size_t size) {
    size_t capacity = kFirstBytes;

    while (capacity < size + 1) capacity *= 2;
    return capacity;
}

static sg_status append(char **text, size_t *size, const char *line) {
    size_t length = strlen(line), longer = *size + length + 1;

    if (!*text || capacity_of(longer) > capacity_of(*size)) {
        char *grown = sg_realloc(*text, *size, capacity_of(longer));

        if (!grown) return sg_fail(SG_ERR_OOM, "history: no memory");
        *text = grown;
    }
    memcpy(*text + *size, line, length);
    memcpy(*text + *size + length, "\n", 2);
    *size = longer;
    return SG_OK;
}

static sg_status add_point_line(sg_history *history, const char *line) {
    SG_TRY(append(&history->points, &history->points_size, line));
    memset(&history->since_point, 0, sizeof history->since_point);
    return SG_OK;
}

/* Of equal scores the earlier comes first. True: this is the best one. */
static bool rank(sg_history *history, int64_t step, double score) {
    int at = history->n_top, last = SG_HISTORY_TOP - 1;

    if (isnan(score)) return false;
    while (at > 0 && history->top_score[at - 1] < score) at--;
    if (at > last) return false;
    if (history->n_top <= last) history->n_top++;
    for (int i = history->n_top - 1; i > at; i--) {
        history->top_step[i] = history->top_step[i - 1];
        history->top_score[i] = history->top_score[i - 1];
    }
    history->top_step[at] = step;
    history->top_score[at] = score;
    return at == 0;
}

static sg_status add_line(sg_history *history, int64_t step, double score, const char *line) {
    SG_TRY(append(&history->text, &history->text_size, line));
    memset(&history->since_evaluation, 0, sizeof history->since_evaluation);
    if (rank(history, step, score)) history->best_line = history->n;
    history->n++;
    history->last_step = step;
    history->last_score = score;
    return SG_OK;
}

/* What counts is what the line says, of fewer digits than were measured: also in the run that wrote
 * it, which would else tell better from equal where one that goes on from the text does not. */
static sg_status add_evaluation(sg_history *history, const json_t *object, const char *line) {
    const json_t *score = json_object_get(object, "mAP50");

    if (!score) score = json_object_get(object, "value");
    return add_line(history, json_integer_value(json_object_get(object, "step")),
                    json_is_number(score) ? json_number_value(score) : (double)NAN, line);
}

/* `lr` and the means of `sums`. */
static void add_means(json_t *line, double lr, const sg_step_sums *sums, const sg_table *table) {
    json_object_set_new(line, "lr", json_real(lr));
    for (int i = SG_SUM_LOSS; i < table->n_sums && sums->n > 0; i++)
        json_object_set_new(line, table->sum_name[i], json_real(sums->sum[i] / (double)sums->n));
}

/* The text of `line`, which is given up; the caller's (free), NULL without memory. */
static char *line_text(json_t *line) {
    char *text = json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(kDigits));

    json_decref(line);
    return text;
}

sg_status sg_history_add_evaluation(sg_history *history, const sg_table *table, int64_t step,
                                    int64_t epoch, double lr, const char *json) {
    json_t *line = json_pack("{s:I, s:I}", "step", (json_int_t)step, "epoch", (json_int_t)epoch);
    json_t *figures = json_loads(json, 0, NULL), *said;
    bool good = json_is_object(figures);
    char *text;
    sg_status st;

    add_means(line, lr, &history->since_evaluation, table);
    json_object_update(line, figures);
    json_decref(figures);
    text = line_text(line);
    said = text ? json_loads(text, 0, NULL) : NULL;
    if (!good)
        st = sg_fail(SG_ERR_DATA, "history: \"%.60s\" is no JSON object", json);
    else
        st = said ? add_evaluation(history, said, text) : sg_fail(SG_ERR_OOM, "history: no memory");
    json_decref(said);
    free(text);
    return st;
}

sg_status sg_history_add_point(sg_history *history, const sg_table *table, int64_t step,
                               double lr) {
    json_t *line = json_pack("{s:I}", "train", (json_int_t)step);
    char *text;
    sg_status st;

    add_means(line, lr, &history->since_point, table);
    text = line_text(line);
    st = text ? add_point_line(history, text) : sg_fail(SG_ERR_OOM, "history: no memory");
    free(text);
    return st;
}

/* --- model files ------------------------------------------------------------------------------ */

static json_t *sums_array(const sg_step_sums *s) {
    json_t *array = json_array();

    json_array_append_new(array, json_integer(s->n));
    for (int i = 0; i < SG_MAX_SUMS; i++) json_array_append_new(array, json_real(s->sum[i]));
    return array;
}

static bool take_sums(const json_t *array, sg_step_sums *s) {
    const json_t *steps = json_array_get(array, 0);
    bool good = json_array_size(array) == 1 + SG_MAX_SUMS && json_is_integer(steps);

    s->n = json_integer_value(steps);
    for (int i = 0; i < SG_MAX_SUMS; i++) {
        const json_t *number = json_array_get(array, 1 + (size_t)i);

        good = good && json_is_number(number);
        s->sum[i] = json_number_value(number);
    }
    return good && s->n >= 0;
}

sg_status sg_history_write(const sg_history *history, char **text) {
    json_t *line = json_pack("{s:o, s:o}", "since_point", sums_array(&history->since_point),
                             "since_evaluation", sums_array(&history->since_evaluation));
    char *sums = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(kExactDigits)) : NULL;
    char *whole = sums ? sg_str_printf("%s%s%s\n", history->text ? history->text : "",
                                       history->points ? history->points : "", sums)
                       : NULL;

    free(sums);
    json_decref(line);
    if (!whole) return sg_fail(SG_ERR_OOM, "history: no memory");
    *text = whole;
    return SG_OK;
}

static sg_status add_parsed(sg_history *history, sg_history *sums, const char *line) {
    json_t *object = json_loads(line, 0, NULL);
    const json_t *since = json_object_get(object, "since_point");
    sg_status st = SG_OK;

    if (json_is_integer(json_object_get(object, "step")))
        st = add_evaluation(history, object, line);
    else if (json_is_integer(json_object_get(object, "train")))
        st = add_point_line(history, line);
    else if (!take_sums(since, &sums->since_point) ||
             !take_sums(json_object_get(object, "since_evaluation"), &sums->since_evaluation))
        st = sg_fail(SG_ERR_DATA, "history: \"%.60s\" is no metrics line", line);
    json_decref(object);
    return st;
}

sg_status sg_history_set(sg_history *history, const char *text) {
    char *copy = sg_strdup(text), *line = copy;
    sg_history sums = {0}; /* only its sums are used */
    sg_status st = SG_OK;

    if (!copy) return sg_fail(SG_ERR_OOM, "history: no memory");
    sg_history_clear(history);
    while (st == SG_OK && *line) {
        char *end = strchr(line, '\n');

        if (end) *end = '\0';
        st = add_parsed(history, &sums, line);
        line = end ? end + 1 : line + strlen(line);
    }
    history->since_point = sums.since_point;
    history->since_evaluation = sums.since_evaluation;
    sg_free(copy);
    return st;
}

int64_t sg_history_last_step(const sg_history *history) {
    return history->n ? history->last_step : -1;
}

int64_t sg_history_best_step(const sg_history *history) {
    return history->n_top > 0 ? history->top_step[0] : -1;
}

int64_t sg_history_since_best(const sg_history *history) {
    return history->n_top > 0 ? history->n - 1 - history->best_line : 0;
}
