/* The living line of a training run, and the table of an evaluation. Nothing here prints: bytes go
 * to the caller's function. */
#ifndef SG_REPORT_PROGRESS_H
#define SG_REPORT_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_PROGRESS_PARTS = 6 };

/* Where a run stands. Counters only ever grow. */
typedef struct {
    int64_t epoch, epochs; /* complete ones, all */
    int64_t step, steps;   /* done, all; steps 0: not known, so no ETA */
    int64_t samples;       /* trained on by this process */
    double wait_seconds;   /* that steps waited for data, in all */
    double lr;
    int n_parts;
    struct {
        const char *name; /* "box" */
        double value;
    } part[SG_PROGRESS_PARTS]; /* of the loss */
} sg_progress_state;

typedef struct {
    void (*write)(void *context, const char *text, size_t size);
    int (*width)(void *context);  /* columns of the terminal now; NULL: 80 */
    double (*now)(void *context); /* seconds, monotonic; NULL: sg_now */
    void *context;
    const char *rate;     /* what samples a second are called; NULL: "img/s" */
    bool terminal;        /* one line, rewritten; else lines of their own */
    double plain_seconds; /* not a terminal: seconds from one line to the next */
} sg_progress_options;

typedef struct sg_progress sg_progress;

/* Its functions may be called from any thread. The options are copied. SG_ERR_OOM. */
sg_status sg_progress_create(const sg_progress_options *options, sg_progress **out) SG_CHECKED;
void sg_progress_destroy(sg_progress *progress); /* clears the living line; NULL is fine */

/*   epoch 3/40  step 812/9000  box 1.21 cls 0.84  lr 0.0098  41.3 img/s  data wait 2 %  ETA 3:12
 *
 * Call it after every step. On a terminal the line is rewritten at most ten times a second and cut
 * to its width, the least important parts first; elsewhere a line is written every plain_seconds.
 * Speed and waiting are those of the last 5 to 10 seconds. */
void sg_progress_update(sg_progress *progress, const sg_progress_state *state);

/* The same as a line that stays, now: at an epoch's end. */
void sg_progress_keep(sg_progress *progress, const sg_progress_state *state);

/* Another line (without newline): takes the living line's place, which is then drawn again. */
void sg_progress_line(sg_progress *progress, const char *line);

/* Take the living line away until the next update: before anything else is printed. */
void sg_progress_clear(sg_progress *progress);

/* ---- evaluation ---- */

typedef struct {
    const char *name;
    int64_t count;        /* boxes in the truth */
    double ap50, ap50_95; /* NaN: nothing to find */
} sg_table_row;

/*   class            boxes    AP50  AP50:95
 *   with_mask          388   0.912    0.601
 *   all                487   0.880    0.560
 *
 * The last row is `all`. *text is the caller's (sg_free). SG_ERR_OOM. */
sg_status sg_table_evaluation(const sg_table_row *rows, int n_rows, const sg_table_row *all,
                              char **text) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
