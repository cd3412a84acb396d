/* A table of counts in squares. */
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"
#include "report/plot.h"
#include "report/plot_draw.h"

enum { kMost = 1000, kMinWidth = 200, kLines = 3, kNamedCells = 60 };

/* In units of a 800th of the width. */
static const float kText = 1.5f, kTitle = 1.9f, kMargin = 16.0f, kLineHigh = 14.0f, kSide = 540.0f;
static const float kSmallest = 0.6f; /* of a number, relative to the names */
static const int64_t kLetters = 22;  /* of a name, before it is cut */

/* A name in lines that fit over a column. */
typedef struct {
    char text[kLines][SG_PLOT_TEXT_BYTES];
    int n; /* 0: it does not fit */
} lines;

typedef struct {
    const sg_plot_table *t;
    sg_canvas canvas;
    sg_frame pixels;
    float u, dot;
    float left, top, cell; /* pixels */
    float shift;           /* of all, to the middle */
    bool upright;          /* names of columns stand on end */
    bool named;
} sheet;

/* `name` broken behind '_', '-' and ' ' into lines of at most `letters`. */
static lines break_name(const char *name, int64_t letters) {
    lines l = {.n = 0};
    char rest[SG_PLOT_TEXT_BYTES], *at = rest;

    sg_plot_text_cut(name, kLetters, rest);
    while (*at) {
        size_t best = 0, i = 0;

        if (l.n == kLines) return (lines){.n = 0};
        if (sg_utf8_letters(at) <= letters) {
            snprintf(l.text[l.n++], SG_PLOT_TEXT_BYTES, "%s", at);
            return l;
        }
        for (; at[i] && (int64_t)i < letters; i++)
            if (at[i] == '_' || at[i] == '-' || at[i] == ' ') best = i + 1;
        if (best == 0) return (lines){.n = 0};
        memcpy(l.text[l.n], at, best);
        l.text[l.n++][best] = '\0';
        at += best;
    }
    return l;
}

static int64_t letters_over(const sheet *s) {
    return (int64_t)((s->cell - 6.0f * s->u) / (6.0f * s->dot));
}

static float longest_name(const sheet *s) {
    float longest = 0.0f;

    for (int i = 0; i < s->t->n; i++) {
        char name[SG_PLOT_TEXT_BYTES];
        float wide;

        sg_plot_text_cut(s->t->names[i], kLetters, name);
        wide = sg_plot_text_width(name, s->dot);
        longest = wide > longest ? wide : longest;
    }
    return s->named ? longest : 0.0f;
}

/* Returns the height. */
static float arrange(sheet *s, int64_t width) {
    float u = s->u, head = kMargin * u, longest, spare;
    int most = 1;

    s->dot = kText * u;
    s->named = s->t->n <= kNamedCells;
    longest = longest_name(s);
    s->left = 2.0f * kMargin * u + 10.0f * u + longest + 8.0f * u;
    s->cell = ((float)width - s->left - 1.5f * kMargin * u) / (float)s->t->n;
    if (s->cell * (float)s->t->n > kSide * u) s->cell = kSide * u / (float)s->t->n;
    spare = (float)width - s->left - 1.5f * kMargin * u - s->cell * (float)s->t->n;
    s->shift = 0.5f * spare;
    s->left += s->shift;
    for (int i = 0; i < s->t->n && s->named; i++) {
        int n = break_name(s->t->names[i], letters_over(s)).n;

        s->upright = s->upright || n == 0;
        most = n > most ? n : most;
    }
    if (s->t->title) head += 34.0f * u;
    head += 24.0f * u; /* the columns' title */
    if (s->named) head += s->upright ? longest + 10.0f * u : ((float)most * kLineHigh + 10.0f) * u;
    s->top = head;
    return s->top + s->cell * (float)s->t->n + 1.5f * kMargin * u;
}

/* White to blue; dark cells have white numbers. */
static sg_color shade(double share) {
    return sg_color_mix(sg_rgb(250.0f, 251.0f, 253.0f), sg_rgb(0.0f, 92.0f, 150.0f), (float)share);
}

static void draw_number(sheet *s, float x, float y, int64_t count, double share) {
    sg_plot_font font = {.dot = s->dot, .anchor = SG_TEXT_CENTER, .color = sg_plot_ink()};
    float room = s->cell - 4.0f * s->u, wide;
    char text[32], percent[32];
    bool two;

    snprintf(text, sizeof text, "%lld", (long long)count);
    snprintf(percent, sizeof percent, "%.0f %%", 100.0 * share);
    two = s->cell > 44.0f * s->u && count > 0;
    wide = sg_plot_text_width(text, s->dot);
    if (wide > room) font.dot *= room / wide;
    if (font.dot < kSmallest * s->dot || s->cell < 16.0f * s->u) return;
    if (share > 0.5) font.color = sg_rgb(255.0f, 255.0f, 255.0f);
    sg_plot_text(&s->canvas, x, y - (two ? 9.0f * s->u : 0.0f), text, &font);
    font.dot *= 0.85f;
    if (two) sg_plot_text(&s->canvas, x, y + 9.0f * s->u, percent, &font);
}

static void draw_cells(sheet *s) {
    int n = s->t->n;
    float gap = s->cell > 12.0f * s->u ? s->u : 0.0f;

    for (int r = 0; r < n; r++) {
        const int64_t *row = s->t->counts + (int64_t)r * n;
        int64_t sum = 0;

        for (int c = 0; c < n; c++) sum += row[c] > 0 ? row[c] : 0;
        for (int c = 0; c < n; c++) {
            double share = sum > 0 && row[c] > 0 ? (double)row[c] / (double)sum : 0.0;
            float x = s->left + (float)c * s->cell, y = s->top + (float)r * s->cell;
            sg_paint paint =
                sg_paint_solid(row[c] < 0 ? sg_rgb(236.0f, 236.0f, 236.0f) : shade(share));

            sg_raster_rect(&s->canvas, s->pixels, x + gap, y + gap, x + s->cell - gap,
                           y + s->cell - gap, paint);
            if (row[c] >= 0) draw_number(s, x + 0.5f * s->cell, y + 0.5f * s->cell, row[c], share);
        }
    }
}

static void draw_column_name(sheet *s, int i) {
    sg_plot_font font = {.dot = s->dot, .anchor = SG_TEXT_CENTER, .color = sg_plot_ink()};
    float x = s->left + ((float)i + 0.5f) * s->cell, y = s->top - 12.0f * s->u;
    char name[SG_PLOT_TEXT_BYTES];
    lines l;

    if (s->upright) {
        font.up = true;
        font.anchor = SG_TEXT_LEFT;
        sg_plot_text_cut(s->t->names[i], kLetters, name);
        sg_plot_text(&s->canvas, x, s->top - 6.0f * s->u, name, &font);
        return;
    }
    l = break_name(s->t->names[i], letters_over(s));
    for (int k = 0; k < l.n; k++)
        sg_plot_text(&s->canvas, x, y - (float)(l.n - 1 - k) * kLineHigh * s->u, l.text[k], &font);
}

static void draw_words(sheet *s) {
    sg_plot_font font = {.dot = s->dot, .anchor = SG_TEXT_RIGHT, .color = sg_plot_ink()};
    float side = s->cell * (float)s->t->n, middle = s->left + 0.5f * side, y = kMargin * s->u;
    char name[SG_PLOT_TEXT_BYTES];

    for (int i = 0; i < s->t->n && s->named; i++) {
        draw_column_name(s, i);
        sg_plot_text_cut(s->t->names[i], kLetters, name);
        sg_plot_text(&s->canvas, s->left - 8.0f * s->u, s->top + ((float)i + 0.5f) * s->cell, name,
                     &font);
    }
    font.anchor = SG_TEXT_CENTER;
    if (s->t->title) {
        float room = (float)s->canvas.width - middle - 0.5f * kMargin * s->u; /* on its right */

        font.dot = kTitle * s->u;
        sg_plot_text_cut(s->t->title, (int64_t)(room / (3.0f * font.dot)), name);
        sg_plot_text(&s->canvas, middle, y + 8.0f * s->u, name, &font);
        font.dot = s->dot;
        y += 34.0f * s->u;
    }
    if (s->t->column_title)
        sg_plot_text(&s->canvas, middle, y + 8.0f * s->u, s->t->column_title, &font);
    font.up = true;
    if (s->t->row_title)
        sg_plot_text(&s->canvas, s->shift + kMargin * s->u, s->top + 0.5f * side, s->t->row_title,
                     &font);
}

sg_status sg_plot_counts(const sg_plot_table *table, int64_t width, sg_image *out) {
    sheet s = {.t = table, .u = (float)width / 800.0f, .pixels = sg_frame_pixels()};
    int64_t height;
    sg_status st;

    if (table->n < 1 || table->n > kMost || width < kMinWidth)
        return sg_fail(SG_ERR_ARG, "plot: %d rows on a width of %lld; 1 to %d, from %d", table->n,
                       (long long)width, kMost, kMinWidth);
    height = (int64_t)arrange(&s, width) + 1;
    SG_TRY(sg_canvas_create(width, height, &s.canvas));
    s.canvas.mark = SG_MARK_KEEP;
    for (int64_t i = 0; i < width * height * 3; i++) s.canvas.rgb[i] = 255.0f;
    draw_cells(&s);
    draw_words(&s);
    st = sg_canvas_finish(&s.canvas, 0, 0.0f, out);
    sg_canvas_clear(&s.canvas);
    return st;
}
