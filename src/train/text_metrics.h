/* How well messages were classified, as scikit-learn and TweetEval compute it.
 *
 * Everything follows from the confusion matrix, counts (C, C) row-major: rows are truths, columns
 * predictions. Matrices of several data sets with the same classes are pooled by adding them.
 *   precision_c = hits_c / predicted_c,  recall_c = hits_c / count_c,
 *   f1_c = 2 hits_c / (predicted_c + count_c),  0 where that divides by 0
 * Macro means are over the classes that occur as truth or as prediction. Checked against
 * scikit-learn on stored cases (tests/data/make_text_cases.py). */
#ifndef SG_TRAIN_TEXT_METRICS_H
#define SG_TRAIN_TEXT_METRICS_H

#include <stdint.h>

#include "core/status.h"
#include "data/classes.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    SG_MEASURE_MACRO_F1,
    SG_MEASURE_MACRO_RECALL,
    SG_MEASURE_ACCURACY,
    SG_MEASURE_F1 /* of one class, or the mean of two */
} sg_text_measure;

typedef struct {
    sg_text_measure measure;
    int n;            /* SG_MEASURE_F1: 1 or 2 */
    int32_t label[2]; /* its classes */
} sg_text_metric;

/* What TweetEval defines for `task`, where the classes have those names: irony f1:irony, sentiment
 * macro_recall, stance and its topics f1:against,favor; of two classes ham and spam f1:spam; else
 * macro_f1. */
sg_text_metric sg_text_metric_of(const char *task, const sg_classes *classes);
/* `macro_f1`, `macro_recall`, `accuracy`, `f1:NAME`, `f1:NAME,NAME`; the caller's. NULL: no memory.
 */
char *sg_text_metric_name(const sg_text_metric *metric, const sg_classes *classes);

/* Add n messages to counts (classes, classes). Truths of -1 are left out. SG_ERR_ARG for another
 * value outside 0 .. classes - 1: counts are as before. */
sg_status sg_text_confusion_add(int64_t classes, const int32_t *truths, const int32_t *predictions,
                                int64_t n, int64_t *counts) SG_CHECKED;

typedef struct {
    int64_t count, predicted, hits; /* truths of the class, predictions of it, both at once */
    double precision, recall, f1;   /* 0..1; 0 where it divides by 0 */
} sg_class_score;

sg_class_score sg_text_class_score(int64_t classes, const int64_t *counts, int64_t label);
/* 0..1; NaN without any message. */
double sg_text_metric_value(const sg_text_metric *metric, int64_t classes, const int64_t *counts);

/* {"metric": NAME, "value": V, "accuracy": A, "macro_f1": F, "macro_recall": R, "count": N,
 *  "classes": {NAME: {"precision": P, "recall": R, "f1": F, "count": N}},
 *  "confusion": [[..]]}, fractions 0..1, null where a count is 0, as `evaluate --json` prints it;
 * the caller's (sg_free). */
sg_status sg_text_metrics_json(const sg_text_metric *metric, const sg_classes *classes,
                               const int64_t *counts, char **out) SG_CHECKED;
/* The same for people, lines; the caller's. */
sg_status sg_text_metrics_table(const sg_text_metric *metric, const sg_classes *classes,
                                const int64_t *counts, char **out) SG_CHECKED;
/* The confusion matrix as `file`, a PNG, in `folder`. `title` may be NULL. SG_ERR_IO, SG_ERR_OOM.
 */
sg_status sg_text_metrics_draw(const char *title, const sg_classes *classes, const int64_t *counts,
                               const char *folder, const char *file) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
