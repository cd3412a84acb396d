/* Lines over numbers. From the outside in: panels share the height, each has rows for its title and
 * legend above its frame and for numbers and a label below; the widest numbers of all panels give
 * the left border. The legend stands outside the frame, so it never covers a curve. */
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "report/plot_draw.h"

enum {
    kColors = 7,
    kMinWidth = 200,
    kMinHeight = 125,
    kTickBytes = 32,
    kLegendRows = 5,
    kManyPoints = 64, /* more are a line without dots */
    kRing = 24,       /* strokes of a mark */
};

/* In units of a 800th of the width. */
static const float kText = 1.5f, kTitle = 1.9f; /* dots */
static const float kMargin = 16.0f, kTitleRow = 30.0f, kRow = 21.0f, kGap = 10.0f;
static const float kSample = 22.0f, kBetween = 26.0f; /* of the legend */
static const float kLine = 1.8f, kPoint = 5.0f, kMark = 6.5f;

/* Blue, vermilion, bluish green, reddish purple, orange, sky blue, dark grey: neighbours differ in
 * lightness too. */
static const uint8_t kPalette[kColors][3] = {{0, 114, 178},   {213, 94, 0},  {0, 158, 115},
                                             {204, 121, 167}, {230, 159, 0}, {86, 180, 233},
                                             {90, 90, 90}};

typedef struct {
    double lo, hi;
    sg_plot_ticks ticks;
} axis;

typedef struct {
    sg_canvas canvas;
    float u;
    sg_frame pixels;
} sheet;

typedef struct {
    const sg_plot_panel *panel;
    axis x, y;
    float left, right, top, bottom; /* of the frame, pixels */
    float above;                    /* of the panel */
    int legend_rows;
} layout;

static sg_color grid_color(void) { return sg_rgb(226.0f, 226.0f, 226.0f); }

static sg_color color_of(int i) {
    const uint8_t *rgb = kPalette[(i % kColors + kColors) % kColors];

    return sg_rgb((float)rgb[0], (float)rgb[1], (float)rgb[2]);
}

static sg_plot_font font_of(const sheet *s, float dot, sg_text_anchor anchor) {
    return (sg_plot_font){.dot = dot * s->u, .anchor = anchor, .color = sg_plot_ink()};
}

/* --- axes
 * --------------------------------------------------------------------------------------------- */

/* Limits of y for points that have an x, and of x; lo > hi where there are none. */
static void data_range(const sg_plot_panel *p, bool of_y, double *lo, double *hi) {
    *lo = INFINITY;
    *hi = -INFINITY;
    for (int i = 0; i < p->n_series; i++)
        for (int64_t k = 0; k < p->series[i].n; k++) {
            double x = p->series[i].x[k], y = p->series[i].y[k], v = of_y ? y : x;

            if (!isfinite(x) || !isfinite(y)) continue;
            *lo = fmin(*lo, v);
            *hi = fmax(*hi, v);
        }
}

static void choose_x(const sg_plot_panel *p, axis *a) {
    a->lo = p->x_min;
    a->hi = p->x_max;
    if (!(p->x_min < p->x_max)) data_range(p, false, &a->lo, &a->hi);
    if (a->lo > a->hi) {
        a->lo = 0.0;
        a->hi = 1.0;
    } else if (!(a->lo < a->hi)) { /* one point: in the middle */
        double room = fabs(a->lo) > 1.0 ? 0.5 * fabs(a->lo) : 1.0;

        a->lo -= room;
        a->hi += room;
    }
}

/* A little air above and below; from 0 where that is near; room for a mark's word. */
static void choose_y(const sg_plot_panel *p, axis *a) {
    double room;

    a->lo = p->y_min;
    a->hi = p->y_max;
    if (p->y_min < p->y_max) return;
    data_range(p, true, &a->lo, &a->hi);
    if (a->lo > a->hi) {
        a->lo = 0.0;
        a->hi = 1.0;
        return;
    }
    if (a->lo >= 0.0 && (p->y_zero || a->lo <= 0.5 * a->hi)) a->lo = 0.0;
    room = a->hi - a->lo;
    if (!(room > 1e-9 * fmax(fabs(a->lo), fabs(a->hi)))) {
        room = a->hi != 0.0 ? 0.2 * fabs(a->hi) : 1.0;
        a->lo -= room;
        a->hi += room;
        return;
    }
    if (a->lo != 0.0) a->lo -= 0.05 * room;
    a->hi += (p->mark ? 0.16 : 0.05) * room;
}

static void choose_axes(layout *l) {
    choose_x(l->panel, &l->x);
    choose_y(l->panel, &l->y);
    /* numbers too far apart for a double's difference: nothing sensible can be drawn */
    if (!isfinite(l->x.hi - l->x.lo)) l->x = (axis){.lo = 0.0, .hi = 1.0};
    if (!isfinite(l->y.hi - l->y.lo)) l->y = (axis){.lo = 0.0, .hi = 1.0};
}

static float place(const axis *a, double v, float from, float to) {
    double t = (v - a->lo) / (a->hi - a->lo);

    t = t < 0.0 ? 0.0 : t > 1.0 ? 1.0 : t;
    return from + (float)t * (to - from);
}

static sg_point point_at(const layout *l, double x, double y) {
    return (sg_point){place(&l->x, x, l->left, l->right), place(&l->y, y, l->bottom, l->top)};
}

/* --- the legend
 * --------------------------------------------------------------------------------------------- */

static int64_t legend_letters(const sheet *s) {
    float room = (float)s->canvas.width - (2.0f * kMargin + kSample + 8.0f) * s->u;

    return (int64_t)(room / (6.0f * kText * s->u));
}

static float entry_width(const sheet *s, const char *name) {
    char text[SG_PLOT_TEXT_BYTES];

    sg_plot_text_cut(name, legend_letters(s), text);
    return (kSample + 7.0f) * s->u + sg_plot_text_width(text, kText * s->u);
}

static void draw_sample(sheet *s, const sg_plot_series *series, float x, float y);

static void draw_entry(sheet *s, const sg_plot_series *series, float x, float y) {
    sg_plot_font font = font_of(s, kText, SG_TEXT_LEFT);
    char text[SG_PLOT_TEXT_BYTES];

    sg_plot_text_cut(series->name, legend_letters(s), text);
    draw_sample(s, series, x, y);
    sg_plot_text(&s->canvas, x + (kSample + 7.0f) * s->u, y, text, &font);
}

/* Entries of one row that starts with `first`: the index behind them, and their width. The last row
 * keeps room to say how many there are beyond it. */
static int row_of(const sheet *s, const sg_plot_panel *p, int first, bool last, float *width) {
    float room = (float)s->canvas.width - 2.0f * kMargin * s->u;
    int i = first;

    if (last) room -= sg_plot_text_width("and 999 more", kText * s->u) + kBetween * s->u;

    *width = 0.0f;
    for (; i < p->n_series; i++) {
        float wide;

        if (!p->series[i].name) continue;
        wide = entry_width(s, p->series[i].name) + (*width > 0.0f ? kBetween * s->u : 0.0f);
        if (*width > 0.0f && *width + wide > room) break;
        *width += wide;
    }
    return i;
}

static int count_rows(const sheet *s, const sg_plot_panel *p) {
    float width;
    int rows = 0;

    for (int at = 0; at < p->n_series && rows < kLegendRows; rows++) {
        at = row_of(s, p, at, rows + 1 == kLegendRows, &width);
        if (!(width > 0.0f)) break;
    }
    return rows;
}

static void draw_more(sheet *s, const sg_plot_panel *p, int from, float x, float y) {
    sg_plot_font font = font_of(s, kText, SG_TEXT_LEFT);
    char text[kTickBytes];
    int n = 0;

    for (int i = from; i < p->n_series; i++) n += p->series[i].name != NULL;
    snprintf(text, sizeof text, "and %d more", n);
    if (n > 0) sg_plot_text(&s->canvas, x, y, text, &font);
}

static void draw_legend(sheet *s, const layout *l) {
    const sg_plot_panel *p = l->panel;
    float y = l->top - ((float)l->legend_rows - 0.5f) * kRow * s->u - 4.0f * s->u;

    for (int row = 0, at = 0; row < l->legend_rows; row++, y += kRow * s->u) {
        float width, x;
        int end = row_of(s, p, at, row + 1 == kLegendRows, &width);

        x = 0.5f * (l->left + l->right - width); /* over the frame, kept on the sheet */
        if (x + width > (float)s->canvas.width - kMargin * s->u)
            x = (float)s->canvas.width - kMargin * s->u - width;
        for (; at < end; at++) {
            if (!p->series[at].name) continue;
            draw_entry(s, &p->series[at], x, y);
            x += entry_width(s, p->series[at].name) + kBetween * s->u;
        }
        if (row + 1 == kLegendRows) draw_more(s, p, at, x, y);
    }
}

/* --- curves
 * --------------------------------------------------------------------------------------------- */

static sg_plot_pen pen_for(sheet *s, const sg_plot_series *series) {
    return (sg_plot_pen){.canvas = &s->canvas,
                         .paint = sg_paint_solid(color_of(series->color)),
                         .width = kLine * s->u,
                         .dash = series->color / kColors % 2 ? 6.0f * s->u : 0.0f};
}

static void draw_sample(sheet *s, const sg_plot_series *series, float x, float y) {
    sg_plot_pen p = pen_for(s, series);

    p.width *= 1.3f;
    sg_plot_pen_to(&p, (sg_point){x, y});
    sg_plot_pen_to(&p, (sg_point){x + kSample * s->u, y});
}

/* Points that fall into one column of pixels: they are drawn as its first, lowest, highest, last.
 */
typedef struct {
    int64_t n;
    float column;
    sg_point first, last;
    float low, high;
} bucket;

static void flush(sg_plot_pen *p, bucket *b) {
    if (b->n > 0) sg_plot_pen_to(p, b->first);
    if (b->n > 2) {
        sg_plot_pen_to(p, (sg_point){b->column + 0.5f, b->low});
        sg_plot_pen_to(p, (sg_point){b->column + 0.5f, b->high});
    }
    if (b->n > 1) sg_plot_pen_to(p, b->last);
    b->n = 0;
}

static void draw_curve(sheet *s, const layout *l, const sg_plot_series *series) {
    sg_plot_pen p = pen_for(s, series);
    bucket b = {0};

    for (int64_t i = 0; i < series->n; i++) {
        sg_point at;

        if (!isfinite(series->x[i]) || !isfinite(series->y[i])) {
            flush(&p, &b);
            sg_plot_pen_up(&p);
            continue;
        }
        at = point_at(l, series->x[i], series->y[i]);
        if (b.n > 0 && floorf(at.x) != b.column) flush(&p, &b);
        if (b.n++ == 0) b = (bucket){1, floorf(at.x), at, at, at.y, at.y};
        b.last = at;
        b.low = fminf(b.low, at.y);
        b.high = fmaxf(b.high, at.y);
    }
    flush(&p, &b);
    sg_plot_pen_up(&p);
    if (!series->points || series->n > kManyPoints) return;
    for (int64_t i = 0; i < series->n; i++) {
        sg_point at = point_at(l, series->x[i], series->y[i]);

        if (!isfinite(series->x[i]) || !isfinite(series->y[i])) continue;
        sg_plot_stroke(&s->canvas, s->pixels, at, at, kPoint * s->u, p.paint);
    }
}

static void draw_ring(sheet *s, sg_point at, float radius, sg_paint paint) {
    sg_point p[kRing];

    sg_raster_circle_points(p, kRing);
    for (int i = 0; i < kRing; i++) {
        sg_point a = p[i], b = p[(i + 1) % kRing];

        sg_plot_stroke(&s->canvas, s->pixels, (sg_point){at.x + radius * a.x, at.y + radius * a.y},
                       (sg_point){at.x + radius * b.x, at.y + radius * b.y}, 1.3f * s->u, paint);
    }
}

static void draw_mark(sheet *s, const layout *l, const sg_plot_mark *mark) {
    sg_plot_font font = font_of(s, kText, SG_TEXT_CENTER);
    sg_point at = point_at(l, mark->x, mark->y);
    float half = 0.5f * sg_plot_text_width(mark->text, font.dot), x = at.x;
    float y = at.y - (kMark + 11.0f) * s->u, edge = 5.0f * s->u, high = 5.5f * font.dot;

    if (!isfinite(mark->x) || !isfinite(mark->y)) return;
    draw_ring(s, at, kMark * s->u, sg_paint_solid(sg_plot_ink()));
    if (y - high < l->top) y = at.y + (kMark + 11.0f) * s->u;
    if (x - half < l->left + edge) x = l->left + edge + half;
    if (x + half > l->right - edge) x = l->right - edge - half;
    sg_raster_rect(&s->canvas, s->pixels, x - half - 3.0f * s->u, y - high, x + half + 3.0f * s->u,
                   y + high, sg_paint_alpha(sg_rgb(255.0f, 255.0f, 255.0f), 0.8f));
    sg_plot_text(&s->canvas, x, y, mark->text, &font);
}

/* --- frame and words
 * --------------------------------------------------------------------------------------------- */

static void draw_grid(sheet *s, const layout *l) {
    sg_plot_font below = font_of(s, kText, SG_TEXT_CENTER);
    sg_plot_font beside = font_of(s, kText, SG_TEXT_RIGHT);
    sg_paint line = sg_paint_solid(grid_color());
    char text[kTickBytes];

    for (int i = 0; i < l->x.ticks.count; i++) {
        double v = l->x.ticks.step * (double)(l->x.ticks.first + i);
        float x = place(&l->x, v, l->left, l->right);

        sg_raster_line(&s->canvas, s->pixels, x, l->top, x, l->bottom, s->u, line);
        sg_plot_tick_text(&l->x.ticks, i, text, sizeof text);
        sg_plot_text(&s->canvas, x, l->bottom + 13.0f * s->u, text, &below);
    }
    for (int i = 0; i < l->y.ticks.count; i++) {
        double v = l->y.ticks.step * (double)(l->y.ticks.first + i);
        float y = place(&l->y, v, l->bottom, l->top);

        sg_raster_line(&s->canvas, s->pixels, l->left, y, l->right, y, s->u, line);
        sg_plot_tick_text(&l->y.ticks, i, text, sizeof text);
        sg_plot_text(&s->canvas, l->left - 6.0f * s->u, y, text, &beside);
    }
}

static void draw_frame(sheet *s, const layout *l) {
    sg_point corner[4] = {
        {l->left, l->top}, {l->right, l->top}, {l->right, l->bottom}, {l->left, l->bottom}};
    sg_paint paint = sg_paint_solid(sg_rgb(120.0f, 120.0f, 120.0f));

    for (int i = 0; i < 4; i++)
        sg_plot_stroke(&s->canvas, s->pixels, corner[i], corner[(i + 1) % 4], s->u, paint);
}

/* Cut to what has room in `pixels`. */
static void draw_words(sheet *s, float x, float y, float pixels, const char *text,
                       sg_plot_font font) {
    char fitting[SG_PLOT_TEXT_BYTES];
    int64_t letters = (int64_t)(pixels / (6.0f * font.dot));

    sg_plot_text_cut(text, letters < 3 ? 3 : letters, fitting);
    sg_plot_text(&s->canvas, x, y, fitting, &font);
}

static void draw_labels(sheet *s, const layout *l) {
    const sg_plot_panel *p = l->panel;
    sg_plot_font font = font_of(s, kText, SG_TEXT_CENTER),
                 title = font_of(s, kTitle, SG_TEXT_CENTER);
    float middle = 0.5f * (l->left + l->right), wide = (float)s->canvas.width;

    if (p->title)
        draw_words(s, middle, l->above + 0.5f * kTitleRow * s->u,
                   2.0f * (wide - middle) - kMargin * s->u, p->title, title);
    if (p->x_label)
        draw_words(s, middle, l->bottom + 34.0f * s->u, l->right - l->left, p->x_label, font);
    font.up = true;
    if (p->y_label)
        draw_words(s, kMargin * s->u, 0.5f * (l->top + l->bottom),
                   l->bottom - l->top + 30.0f * s->u, p->y_label, font);
}

static void draw_panel(sheet *s, const layout *l) {
    draw_grid(s, l);
    draw_frame(s, l);
    for (int i = l->panel->n_series - 1; i >= 0; i--) draw_curve(s, l, &l->panel->series[i]);
    if (l->panel->mark) draw_mark(s, l, l->panel->mark);
    draw_legend(s, l);
    draw_labels(s, l);
}

/* --- layout
 * --------------------------------------------------------------------------------------------- */

static void choose_ticks(sheet *s, layout *l) {
    int rows = (int)((l->bottom - l->top) / (26.0f * s->u));

    rows = rows < 3 ? 3 : rows > 11 ? 11 : rows;
    l->y.ticks = sg_plot_ticks_choose(l->y.lo, l->y.hi, rows, false);
    l->x.ticks = sg_plot_ticks_choose(l->x.lo, l->x.hi, 11, l->panel->x_whole);
}

/* Fewer numbers along x where they would touch. */
static void thin_ticks(sheet *s, layout *l) {
    char text[kTickBytes];

    for (int most = 11; most > 2; most--) {
        float widest = 0.0f;

        l->x.ticks = sg_plot_ticks_choose(l->x.lo, l->x.hi, most, l->panel->x_whole);
        for (int i = 0; i < l->x.ticks.count; i++) {
            sg_plot_tick_text(&l->x.ticks, i, text, sizeof text);
            widest = fmaxf(widest, sg_plot_text_width(text, kText * s->u));
        }
        if ((widest + 12.0f * s->u) * (float)(l->x.ticks.count - 1) <= l->right - l->left) return;
    }
}

static float widest_number(const sheet *s, const layout *l) {
    float widest = 0.0f;
    char text[kTickBytes];

    for (int i = 0; i < l->y.ticks.count; i++) {
        sg_plot_tick_text(&l->y.ticks, i, text, sizeof text);
        widest = fmaxf(widest, sg_plot_text_width(text, kText * s->u));
    }
    return widest;
}

static void arrange(sheet *s, layout *l, int n) {
    float u = s->u, fixed = kMargin * u, at = 0.5f * kMargin * u, left = 0.0f;
    int shares = 0;

    for (int i = 0; i < n; i++) {
        const sg_plot_panel *p = l[i].panel;

        l[i].legend_rows = count_rows(s, p);
        fixed += ((p->title ? kTitleRow : kGap) + (float)l[i].legend_rows * kRow + kRow +
                  (p->x_label ? kRow : 0.0f) + 4.0f) *
                 u;
        shares += p->share;
    }
    for (int i = 0; i < n; i++) {
        const sg_plot_panel *p = l[i].panel;
        float high = ((float)s->canvas.height - fixed) * (float)p->share / (float)shares;

        l[i].above = at;
        l[i].top = at + ((p->title ? kTitleRow : kGap) + (float)l[i].legend_rows * kRow + 4.0f) * u;
        l[i].bottom = l[i].top + (high > 10.0f * u ? high : 10.0f * u);
        at = l[i].bottom + (kRow + (p->x_label ? kRow : 0.0f)) * u;
        choose_ticks(s, &l[i]);
        left = fmaxf(left,
                     widest_number(s, &l[i]) + ((p->y_label ? kRow : 0.0f) + kMargin + 6.0f) * u);
    }
    for (int i = 0; i < n; i++) {
        l[i].left = left;
        l[i].right = (float)s->canvas.width - 1.6f * kMargin * u;
        thin_ticks(s, &l[i]);
    }
}

sg_status sg_plot_lines(const sg_plot_panel *panels, int n, int64_t width, int64_t height,
                        sg_image *out) {
    layout l[SG_PLOT_MAX_PANELS];
    sheet s = {.u = (float)width / 800.0f, .pixels = sg_frame_pixels()};
    sg_status st;

    if (n < 1 || n > SG_PLOT_MAX_PANELS || width < kMinWidth || height < kMinHeight)
        return sg_fail(SG_ERR_ARG, "plot: %d panels on %lld x %lld; 1 to %d, from %d x %d", n,
                       (long long)width, (long long)height, SG_PLOT_MAX_PANELS, kMinWidth,
                       kMinHeight);
    SG_TRY(sg_canvas_create(width, height, &s.canvas));
    s.canvas.mark = SG_MARK_KEEP;
    for (int64_t i = 0; i < width * height * 3; i++) s.canvas.rgb[i] = 255.0f;
    memset(l, 0, sizeof l);
    for (int i = 0; i < n; i++) {
        l[i].panel = &panels[i];
        choose_axes(&l[i]);
    }
    arrange(&s, l, n);
    for (int i = 0; i < n; i++) draw_panel(&s, &l[i]);
    st = sg_canvas_finish(&s.canvas, 0, 0.0f, out);
    sg_canvas_clear(&s.canvas);
    return st;
}
