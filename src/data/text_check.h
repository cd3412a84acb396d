/* `train --check-data` for texts: every fault, and what a part holds. */
#ifndef SG_DATA_TEXT_CHECK_H
#define SG_DATA_TEXT_CHECK_H

#include "data/text_dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_TEXT_CHECK_SHOWN = 20 }; /* faults of a kind in a part that are reported one by one */

/* One part of one task. */
typedef struct {
    const char *split; /* the caller's */
    int task;
    int64_t n, n_empty;  /* texts; empty: white space alone */
    int64_t n_repeated;  /* equal to an earlier text of the same part */
    int64_t n_shared;    /* equal to a text of an earlier part */
    int64_t n_conflicts; /* of these two kinds: with another label */
    int64_t median_bytes, longest_bytes;
    int64_t *counts; /* (classes of the task), owned */
} sg_text_check_part;

typedef struct {
    int n_tasks, n_parts;
    sg_classes names;          /* of the tasks, owned */
    sg_classes *classes;       /* (n_tasks), owned */
    sg_text_check_part *parts; /* (n_parts), task by task, owned */
    int64_t texts, errors, warnings;
} sg_text_check_summary;

/* Look at everything in `splits` (training part first) and report EVERY fault: errors are what
 * sg_text_dataset_read would refuse, its faulty lines left out; warnings are repeated texts, in one
 * part or across parts, texts with conflicting labels, empty texts, classes that the training part
 * lacks. More than SG_TEXT_CHECK_SHOWN of a kind in a part are counted, in one line more.
 * `classes`: (n_tasks), or NULL: those of the first split. `report` may be NULL. Fails only when it
 * cannot go on: SG_ERR_CONFIG (tasks), SG_ERR_OOM. Compared are bytes. */
sg_status sg_text_dataset_check(const sg_text_place *place, const char *const *splits, int n_splits,
                                const sg_classes *classes, sg_fault_fn report, void *context,
                                sg_text_check_summary *summary) SG_CHECKED;
/* For people: a table of the parts, lines; the caller's (sg_free). */
sg_status sg_text_check_table(const sg_text_check_summary *summary, char **out) SG_CHECKED;
void sg_text_check_clear(sg_text_check_summary *summary);

#ifdef __cplusplus
}
#endif
#endif
