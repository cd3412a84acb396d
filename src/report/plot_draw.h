/* What plots are drawn with: strokes with round ends, and text made of them. */
#ifndef SG_REPORT_PLOT_DRAW_H
#define SG_REPORT_PLOT_DRAW_H

#include <stdbool.h>

#include "data/raster.h"

/* Of text and axes. */
sg_color sg_plot_ink(void);

/* From a to b in the frame, `width` wide there; a dot where they are one point. */
void sg_plot_stroke(sg_canvas *c, sg_frame f, sg_point a, sg_point b, float width, sg_paint paint);

/* A line that is drawn piece by piece, in pixels. */
typedef struct {
    sg_canvas *canvas;
    sg_paint paint;
    float width, dash; /* dash: length of dashes and of gaps; 0: none */
    sg_point at;
    bool down;      /* `at` is a point of the line */
    bool moved;     /* and something was drawn from it */
    float distance; /* along the line, for dashes */
} sg_plot_pen;

void sg_plot_pen_to(sg_plot_pen *pen, sg_point to);
/* The line ends; one that was a single point shows as a dot. */
void sg_plot_pen_up(sg_plot_pen *pen);

typedef enum { SG_TEXT_LEFT, SG_TEXT_CENTER, SG_TEXT_RIGHT } sg_text_anchor;

typedef struct {
    float dot; /* pixels per dot of the 5 x 7 font: a capital is 7 dots high, a letter 6 wide */
    sg_text_anchor anchor;
    bool up; /* read from the bottom to the top */
    sg_color color;
} sg_plot_font;

/* Text whose left end, centre or right end, at half the height of a capital, is (x, y). The dots of
 * the font that are neighbours are joined by strokes, so that it has no stairs at any size. UTF-8;
 * a character beyond ASCII shows as '?'. */
void sg_plot_text(sg_canvas *c, float x, float y, const char *text, const sg_plot_font *font);

/* Pixels from its first dot to its last. */
float sg_plot_text_width(const char *text, float dot);

enum { SG_PLOT_TEXT_BYTES = 256 };

/* `text` with at most `letters` (>= 3) letters, its end given up for ".."; out has
 * SG_PLOT_TEXT_BYTES. */
void sg_plot_text_cut(const char *text, int64_t letters, char *out);

#endif
