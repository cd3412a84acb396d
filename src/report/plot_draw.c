#include "report/plot_draw.h"

#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/utf8.h"
#include "report/font.h"
#include "report/plot.h"

enum { kPngLevel = 6 };
enum { kCircle = 12, kHalf = kCircle / 2, kQuarter = kCircle / 4, kRows = SG_FONT_ROWS + 1 };

static const float kLetter = 6.0f;  /* dots from one letter to the next */
static const float kPen = 1.08f;    /* dots */
static const float kMiddle = 3.0f;  /* row of a capital's middle */
static const float kTooFar = 1e-6f; /* below: a point */

sg_color sg_plot_ink(void) { return sg_rgb(38.0f, 38.0f, 38.0f); }

void sg_plot_stroke(sg_canvas *c, sg_frame f, sg_point a, sg_point b, float width, sg_paint paint) {
    float dx = b.x - a.x, dy = b.y - a.y, length = sqrtf(dx * dx + dy * dy), r = 0.5f * width;
    sg_point circle[kCircle], p[kCircle + 2];
    int n = 0;

    if (length > kTooFar) {
        dx /= length;
        dy /= length;
    } else {
        dx = 1.0f;
        dy = 0.0f;
    }
    sg_raster_circle_points(circle, kCircle);
    for (int end = 0; end < 2; end++)
        for (int i = 0; i <= kHalf; i++) {
            sg_point k = circle[(i + kCircle - kQuarter + end * kHalf) % kCircle];
            sg_point o = end == 0 ? b : a;

            p[n++] = (sg_point){o.x + r * (k.x * dx - k.y * dy), o.y + r * (k.x * dy + k.y * dx)};
        }
    sg_raster_polygon(c, f, p, n, paint);
}

static void pen_dashed(sg_plot_pen *p, sg_point to, float length) {
    float done = 0.0f;

    while (done < length) {
        float phase = fmodf(p->distance, 2.0f * p->dash);
        bool on = phase < p->dash;
        float left = (on ? p->dash : 2.0f * p->dash) - phase;
        float next = done + left < length ? done + left : length;
        float a = done / length, b = next / length;

        if (on)
            sg_raster_line(p->canvas, sg_frame_pixels(), p->at.x + a * (to.x - p->at.x),
                           p->at.y + a * (to.y - p->at.y), p->at.x + b * (to.x - p->at.x),
                           p->at.y + b * (to.y - p->at.y), p->width, p->paint);
        p->distance += next - done + 1e-3f;
        done = next;
        if (!(left > 0.0f)) break;
    }
}

void sg_plot_pen_to(sg_plot_pen *p, sg_point to) {
    if (p->down && p->dash > 0.0f) {
        float dx = to.x - p->at.x, dy = to.y - p->at.y;

        pen_dashed(p, to, sqrtf(dx * dx + dy * dy));
    } else if (p->down) {
        sg_plot_stroke(p->canvas, sg_frame_pixels(), p->at, to, p->width, p->paint);
    }
    p->moved = p->down;
    p->at = to;
    p->down = true;
}

void sg_plot_pen_up(sg_plot_pen *p) {
    if (p->down && !p->moved)
        sg_plot_stroke(p->canvas, sg_frame_pixels(), p->at, p->at, 2.0f * p->width, p->paint);
    p->down = p->moved = false;
}

/* --- text
 * --------------------------------------------------------------------------------------------- */

static bool dot_at(const uint8_t *glyph, int x, int y) {
    if (x < 0 || x >= SG_FONT_COLUMNS || y < 0 || y >= kRows) return false;
    return glyph[x] >> y & 1;
}

/* Dots (x, y) and (x + dx, y + dy) are joined: a diagonal only where no dot beside it goes the same
 * way in two steps. */
static bool joined(const uint8_t *glyph, int x, int y, int dx, int dy) {
    if (!dot_at(glyph, x, y) || !dot_at(glyph, x + dx, y + dy)) return false;
    return !dx || !dy || (!dot_at(glyph, x + dx, y) && !dot_at(glyph, x, y + dy));
}

static bool is_alone(const uint8_t *glyph, int x, int y) {
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            if ((dx || dy) && joined(glyph, x, y, dx, dy)) return false;
    return true;
}

static void draw_glyph(sg_canvas *c, sg_frame f, const uint8_t *glyph, sg_paint paint) {
    static const int way[4][2] = {{1, 0}, {0, 1}, {1, 1}, {1, -1}};

    for (int x = 0; x < SG_FONT_COLUMNS; x++)
        for (int y = 0; y < kRows; y++) {
            sg_point from = {(float)x, (float)y};

            if (!dot_at(glyph, x, y)) continue;
            if (is_alone(glyph, x, y)) sg_plot_stroke(c, f, from, from, 1.25f * kPen, paint);
            for (int w = 0; w < 4; w++) {
                int dx = way[w][0], dy = way[w][1], n = 0;

                if (joined(glyph, x - dx, y - dy, dx, dy)) continue; /* inside a stroke */
                while (joined(glyph, x + n * dx, y + n * dy, dx, dy)) n++;
                if (n > 0)
                    sg_plot_stroke(c, f, from, (sg_point){(float)(x + n * dx), (float)(y + n * dy)},
                                   kPen, paint);
            }
        }
}

static bool continues(char c) { return ((unsigned char)c & 0xC0) == 0x80; }

float sg_plot_text_width(const char *text, float dot) {
    int n = sg_utf8_letters(text);

    return n == 0 ? 0.0f : ((float)n * kLetter - 1.0f) * dot;
}

void sg_plot_text(sg_canvas *c, float x, float y, const char *text, const sg_plot_font *font) {
    float width = sg_plot_text_width(text, font->dot), back = 0.0f, half = 0.5f * font->dot;
    sg_paint paint = sg_paint_solid(font->color);
    sg_frame f;

    if (font->anchor == SG_TEXT_CENTER) back = 0.5f * width;
    if (font->anchor == SG_TEXT_RIGHT) back = width;
    if (font->up)
        f = (sg_frame){x - kMiddle * font->dot, y + back - half, 0.0f, -font->dot};
    else
        f = (sg_frame){x - back + half, y - kMiddle * font->dot, font->dot, 0.0f};
    for (; *text; text++) {
        unsigned char letter = (unsigned char)*text;

        if (continues(*text)) continue;
        if (letter < SG_FONT_FIRST || letter > SG_FONT_LAST) letter = '?';
        draw_glyph(c, f, sg_font[letter - SG_FONT_FIRST], paint);
        f.ox += kLetter * f.ux;
        f.oy += kLetter * f.uy;
    }
}

/* Bytes of the first n letters. */
static size_t bytes_of(const char *text, int64_t n) {
    size_t at = 0;

    while (text[at] && (n > 0 || continues(text[at]))) n -= !continues(text[at++]);
    return at;
}

void sg_plot_text_cut(const char *text, int64_t letters, char *out) {
    const int64_t most = (SG_PLOT_TEXT_BYTES - 3) / 4; /* bytes of a letter */
    size_t bytes;

    if (letters > most) letters = most;
    if (sg_utf8_letters(text) <= letters) {
        bytes = strlen(text);
        if (bytes < SG_PLOT_TEXT_BYTES) {
            memcpy(out, text, bytes + 1);
            return;
        }
    }
    bytes = bytes_of(text, letters - 2);
    if (bytes > SG_PLOT_TEXT_BYTES - 3) bytes = SG_PLOT_TEXT_BYTES - 3; /* not UTF-8 */
    memcpy(out, text, bytes);
    memcpy(out + bytes, "..", 3);
}

sg_status sg_plot_save(const char *folder, const char *name, sg_image *image) {
    char *path = sg_path_join(folder, name);
    sg_status st = path ? sg_image_write_png(path, image, kPngLevel)
                        : sg_fail(SG_ERR_OOM, "%s: no memory", folder);

    sg_free(path);
    sg_image_clear(image);
    return st;
}
