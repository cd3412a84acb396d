/* The history of a run, as a model file has it. */
#include "fuzz.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "train/history.h"

static int64_t lines_of(const char *text) {
    int64_t n = 0;

    for (; text && *text; text++) n += *text == '\n';
    return n;
}

static void check(const sg_history *h) {
    FUZZ_CHECK(h->n == lines_of(h->text));
    FUZZ_CHECK(h->text_size == (h->text ? strlen(h->text) : 0));
    FUZZ_CHECK(h->points_size == (h->points ? strlen(h->points) : 0));
    FUZZ_CHECK(h->since_point.n >= 0 && h->since_evaluation.n >= 0);
    for (int i = 0; i < SG_MAX_SUMS; i++)
        FUZZ_CHECK(isfinite(h->since_point.sum[i]) && isfinite(h->since_evaluation.sum[i]));
    FUZZ_CHECK(h->n == 0 || (h->best_line >= 0 && h->best_line < h->n));
    FUZZ_CHECK(sg_history_since_best(h) >= 0);
}

/* Written, read into one that is in use, and written again: the same. */
static void check_round_trip(const sg_history *h) {
    sg_history back = {0};
    char *text, *again;

    FUZZ_CHECK(sg_history_write(h, &text) == SG_OK);
    for (int i = 0; i < 2; i++) FUZZ_CHECK(sg_history_set(&back, text) == SG_OK);
    check(&back);
    FUZZ_CHECK(sg_history_write(&back, &again) == SG_OK);
    FUZZ_CHECK(strcmp(text, again) == 0);
    FUZZ_CHECK(back.n == h->n && back.best_line == h->best_line);
    FUZZ_CHECK(sg_history_last_step(&back) == sg_history_last_step(h));
    sg_free(text);
    sg_free(again);
    sg_history_clear(&back);
}

void fuzz_history(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    sg_history history = {0};
    uint8_t unused;
    sg_status st;

    fuzz_prepare(&unused, sizeof unused);
    st = sg_history_set(&history, text);
    if (st == SG_OK) {
        check(&history);
        check_round_trip(&history);
    } else {
        fuzz_failed(st, SG_ERR_DATA, "history: ", &unused, sizeof unused);
    }
    sg_history_clear(&history);
    sg_free(text);
}
