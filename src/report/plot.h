/* Plots for people, as pictures: lines over numbers, and tables of counts.
 *
 * Drawn with the exact coverage of data/raster.h on a white ground, in colours of Okabe and Ito's
 * palette that show on it; sizes are in units of a 800th of the width. The same numbers give the
 * same bytes. */
#ifndef SG_REPORT_PLOT_H
#define SG_REPORT_PLOT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "data/image.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_PLOT_WIDTH = 1600,
    SG_PLOT_HEIGHT = 1000,
    SG_PLOT_MAX_PANELS = 4,
    SG_PLOT_MAX_TICKS = 16,
};

/* All borrowed. */
typedef struct {
    const char *name;    /* in the legend; cut where it is very long; NULL: not there */
    const double *x, *y; /* (n), x rising; a point that is not finite leaves a gap */
    int64_t n;
    int color;   /* 0, 1, ..; repeats after seven, then dashed */
    bool points; /* a dot at each */
} sg_plot_series;

/* A ring around a point, with a word beside it. */
typedef struct {
    double x, y;
    int color;
    const char *text;
} sg_plot_mark;

/* Axes with what lies over them. Limits: where min and max are equal the data gives them (y from 0
 * where it is near); what lies beyond is drawn at the border. */
typedef struct {
    const char *title, *x_label, *y_label; /* each may be NULL */
    double x_min, x_max, y_min, y_max;
    bool x_whole; /* x counts: no ticks between whole numbers */
    bool y_zero;  /* data below 0 apart, y begins there */
    const sg_plot_series *series;
    int n_series;
    const sg_plot_mark *mark; /* NULL: none */
    int share;                /* of the height, relative to the other panels; >= 1 */
} sg_plot_panel;

/* Panels one above the other, their axes aligned. *out is the caller's. SG_ERR_ARG for sizes under
 * 200 x 125 or no or too many panels, SG_ERR_OOM. */
sg_status sg_plot_lines(const sg_plot_panel *panels, int n, int64_t width, int64_t height,
                        sg_image *out) SG_CHECKED;

typedef struct {
    const char *title, *row_title, *column_title;
    const char *const *names; /* (n) of rows and of columns */
    const int64_t *counts;    /* (n, n) row-major; negative: an empty cell */
    int n;                    /* 1 .. 1000 */
} sg_plot_table;

/* Counts in squares, darker for a greater share of their row; with numbers where they have room.
 * Height follows from the width. *out is the caller's. SG_ERR_ARG, SG_ERR_OOM. */
sg_status sg_plot_counts(const sg_plot_table *table, int64_t width, sg_image *out) SG_CHECKED;

/* Write `image` as folder/name, a PNG, whole or not at all, and clear it in any case. SG_ERR_IO,
 * SG_ERR_OOM. */
sg_status sg_plot_save(const char *folder, const char *name, sg_image *image) SG_CHECKED;

/* Ticks at step * k for k = first .. first + count - 1, all those in lo .. hi. */
typedef struct {
    double step;
    int64_t first;
    int count;    /* at most SG_PLOT_MAX_TICKS */
    int decimals; /* that tell them apart; -1: they need an exponent */
} sg_plot_ticks;

/* The finest of steps 1, 2, 5 * 10^k that gives at most `most` (2 .. SG_PLOT_MAX_TICKS) ticks. lo
 * < hi, both finite and their distance too. `whole`: no step under 1. */
sg_plot_ticks sg_plot_ticks_choose(double lo, double hi, int most, bool whole);
/* The text of tick `i` (0 .. count - 1). */
void sg_plot_tick_text(const sg_plot_ticks *ticks, int i, char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
