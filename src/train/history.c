#include "train/history.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"

void sg_history_clear(sg_history *history) {
    sg_free(history->text);
    memset(history, 0, sizeof *history);
}

sg_status sg_history_add(sg_history *history, int64_t step, double score, const char *line) {
    char *text = sg_str_printf("%s%s\n", history->text ? history->text : "", line);

    if (!text) return sg_fail(SG_ERR_OOM, "history: no memory");
    sg_free(history->text);
    history->text = text;
    if (history->n == 0 || (!isnan(score) && !(score <= history->best))) {
        history->best = score;
        history->best_line = history->n;
    }
    history->n++;
    history->last_step = step;
    return SG_OK;
}

static sg_status add_parsed(sg_history *history, const char *line) {
    json_t *object = json_loads(line, 0, NULL);
    json_t *step = json_object_get(object, "step");
    json_t *score = json_object_get(object, "mAP50");
    sg_status st;

    if (!score) score = json_object_get(object, "value");
    if (!json_is_integer(step)) {
        json_decref(object);
        return sg_fail(SG_ERR_DATA, "history: line %lld is no metrics line",
                       (long long)history->n + 1);
    }
    st = sg_history_add(history, json_integer_value(step),
                        json_is_number(score) ? json_number_value(score) : (double)NAN, line);
    json_decref(object);
    return st;
}

sg_status sg_history_set(sg_history *history, const char *text) {
    char *copy = sg_strdup(text), *line = copy;
    sg_status st = SG_OK;

    if (!copy) return sg_fail(SG_ERR_OOM, "history: no memory");
    sg_history_clear(history);
    while (st == SG_OK && *line) {
        char *end = strchr(line, '\n');

        if (end) *end = '\0';
        st = add_parsed(history, line);
        line = end ? end + 1 : line + strlen(line);
    }
    sg_free(copy);
    return st;
}

int64_t sg_history_last_step(const sg_history *history) {
    return history->n ? history->last_step : -1;
}

double sg_history_best(const sg_history *history) {
    return history->n ? history->best : (double)NAN;
}

int64_t sg_history_since_best(const sg_history *history) {
    return history->n ? history->n - 1 - history->best_line : 0;
}
