/* The history of a run, kept in every model file, so that a run that goes on knows its best and
 * doubles or loses nothing: the lines of metrics.jsonl, one an evaluation; points of the loss's
 * curve between them; and what has been summed since the last of either.
 *
 *   {"step":218,"epoch":6,"lr":0.0034,"loss":2.1,..,"mAP50":0.43,..}    an evaluation
 *   {"train":40,"lr":0.0039,"loss":2.6,..}                              a point: means up to step
 * 40
 *   {"since_point":[n,sum,..],"since_evaluation":[n,sum,..]}            in model files alone
 */
#ifndef SG_TRAIN_HISTORY_H
#define SG_TRAIN_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "graph/state.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sums of steps' reports. */
typedef struct {
    int64_t n; /* steps */
    double sum[SG_MAX_SUMS];
} sg_step_sums;

enum { SG_HISTORY_TOP = 64 };

typedef struct {
    char *text;   /* an evaluation a line, each ended by a newline; NULL: none; owned */
    char *points; /* a point a line, in the same way */
    size_t text_size, points_size; /* bytes, without the NUL */
    sg_step_sums since_point, since_evaluation;
    int64_t n; /* evaluations */
    int64_t last_step;
    double last_score;                /* of the newest one */
    int64_t best_line;                /* 0-based */
    int64_t top_step[SG_HISTORY_TOP]; /* of the best evaluations, best first; NaN is none */
    double top_score[SG_HISTORY_TOP];
    int n_top;
} sg_history;

/* Take the text of a model file: lines as above, an evaluation with "mAP50" (or "value").
 * `history` is zeroed or in use. SG_ERR_DATA, SG_ERR_OOM. */
sg_status sg_history_set(sg_history *history, const char *text) SG_CHECKED;
/* The text for a model file; the caller's (sg_free). SG_ERR_OOM. */
sg_status sg_history_write(const sg_history *history, char **text) SG_CHECKED;
void sg_history_clear(sg_history *history);

/* Add a step's report to both sums. */
void sg_history_step(sg_history *history, const double sum[SG_MAX_SUMS]);
/* One more evaluation, after `step`: the means of the sums since the last one, by their names in
 * `table`, and the figures of `json`, an object. Its "mAP50" (or "value"), rounded as in the line,
 * is its score; without one it never is the best. SG_ERR_DATA when json is none, SG_ERR_OOM. */
sg_status sg_history_add_evaluation(sg_history *history, const sg_table *table, int64_t step,
                                    int64_t epoch, double lr, const char *json) SG_CHECKED;
/* One more point of the loss's curve: the means since the last one. SG_ERR_OOM. */
sg_status sg_history_add_point(sg_history *history, const sg_table *table, int64_t step,
                               double lr) SG_CHECKED;

int64_t sg_history_last_step(const sg_history *history); /* -1 without evaluations */
int64_t sg_history_best_step(const sg_history *history); /* of the best; -1: none had a score */
/* Evaluations after the best: 0 when the last one is the best, or there is none. */
int64_t sg_history_since_best(const sg_history *history);

#ifdef __cplusplus
}
#endif
#endif
