/* The history of a run: the lines of metrics.jsonl, one an evaluation. It is kept in every model
 * file, so that a run that goes on knows its best and doubles or loses no line. */
#ifndef SG_TRAIN_HISTORY_H
#define SG_TRAIN_HISTORY_H

#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *text; /* the lines, each ended by a newline; NULL while there are none; owned */
    int64_t n;
    int64_t last_step;
    int64_t best_line; /* 0-based */
    double best;
} sg_history;

/* Take the lines of a model file: each a JSON object with "step" and "mAP50" (or "value").
 * `history` is zeroed or in use. SG_ERR_DATA, SG_ERR_OOM. */
sg_status sg_history_set(sg_history *history, const char *text) SG_CHECKED;
void sg_history_clear(sg_history *history);

/* One more line, without newline. A score that is NaN never is the best. */
sg_status sg_history_add(sg_history *history, int64_t step, double score,
                         const char *line) SG_CHECKED;

int64_t sg_history_last_step(const sg_history *history); /* -1 without lines */
double sg_history_best(const sg_history *history);       /* NaN without */
/* Evaluations after the best: 0 when the last one is the best, or there is none. */
int64_t sg_history_since_best(const sg_history *history);

#ifdef __cplusplus
}
#endif
#endif
