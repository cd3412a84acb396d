#include "data/raster.h"

#include <math.h>
#include <stddef.h>

#include "core/mem.h"
#include "core/philox.h"

enum { kCirclePoints = 48, kArcPoints = 5, kMaxCell = 64 };

/* ---- canvas, colours, paints ---- */

sg_status sg_canvas_create(int64_t width, int64_t height, sg_canvas *out) {
    size_t pixels = (size_t)(width * height);
    sg_canvas c = {.width = width, .height = height};

    c.rgb = sg_calloc(pixels * 3, sizeof(float));
    c.cover = sg_calloc((size_t)(height * (width + 2)), sizeof(float));
    c.owner = sg_calloc(pixels, sizeof(int16_t));
    if (!c.rgb || !c.cover || !c.owner) {
        sg_canvas_clear(&c);
        return sg_fail(SG_ERR_OOM, "canvas: no memory for %lld x %lld pixels", (long long)width,
                       (long long)height);
    }
    *out = c;
    return SG_OK;
}

void sg_canvas_clear(sg_canvas *canvas) {
    sg_free(canvas->rgb);
    sg_free(canvas->cover);
    sg_free(canvas->owner);
    *canvas = (sg_canvas){0};
}

sg_color sg_color_mix(sg_color a, sg_color b, float t) {
    return sg_rgb(a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t);
}

sg_color sg_color_scale(sg_color c, float gain) {
    return sg_rgb(c.r * gain, c.g * gain, c.b * gain);
}

sg_paint sg_paint_solid(sg_color c) { return sg_paint_alpha(c, 1.0f); }

sg_paint sg_paint_alpha(sg_color c, float alpha) {
    return (sg_paint){.kind = SG_PAINT_SOLID, .a = c, .b = c, .alpha = alpha};
}

sg_paint sg_paint_linear(sg_color a, sg_color b, sg_point from, sg_point to) {
    sg_frame f = {from.x, from.y, to.x - from.x, to.y - from.y};

    return (sg_paint){.kind = SG_PAINT_LINEAR, .a = a, .b = b, .alpha = 1.0f, .frame = f};
}

/* ---- frames ---- */

sg_frame sg_frame_pixels(void) { return (sg_frame){0.0f, 0.0f, 1.0f, 0.0f}; }

/* Taylor to the 9th and 10th power. */
static float sine(float t) {
    float s = t * t;

    return t * (1.0f - s / 6.0f * (1.0f - s / 20.0f * (1.0f - s / 42.0f * (1.0f - s / 72.0f))));
}

static float cosine(float t) {
    float s = t * t;

    return 1.0f -
           s / 2.0f *
               (1.0f - s / 12.0f * (1.0f - s / 30.0f * (1.0f - s / 56.0f * (1.0f - s / 90.0f))));
}

sg_frame sg_frame_at(float ox, float oy, float scale, float turn) {
    return (sg_frame){ox, oy, scale * cosine(turn), scale * sine(turn)};
}

sg_point sg_frame_map(sg_frame f, float x, float y) {
    return (sg_point){f.ox + x * f.ux - y * f.uy, f.oy + x * f.uy + y * f.ux};
}

sg_frame sg_frame_inside(sg_frame outer, float x, float y, float scale, float turn) {
    sg_point o = sg_frame_map(outer, x, y);
    float c = scale * cosine(turn), s = scale * sine(turn);

    return (sg_frame){o.x, o.y, outer.ux * c - outer.uy * s, outer.uy * c + outer.ux * s};
}

/* ---- coverage ---- */

static float clampf(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }

static int64_t floor_int(float x) {
    int64_t i = (int64_t)x;

    return (float)i > x ? i - 1 : i;
}

/* Add one row's piece of an edge, from x0 to x1 (0 <= x0 <= x1 <= width), of signed height d, to
 * `row`: the sum from the left then is the area covered. After Raph Levien's font-rs
 * (accumulate.rs): each pixel gets the change of covered area against its left neighbour. */
static void add_piece(float *row, float x0, float x1, float d) {
    int64_t first = (int64_t)x0, last = (int64_t)x1;
    float inverse, before;

    if ((float)last < x1) last++; /* ceiling */
    if (last <= first + 1) {
        float mean = 0.5f * (x0 + x1) - (float)first;

        row[first] += d - d * mean;
        row[first + 1] += d * mean;
        return;
    }
    inverse = 1.0f / (x1 - x0);
    before = 0.0f; /* area covered in the pixel to the left, as a share of d */
    for (int64_t i = first; i < last; i++) {
        /* the edge crosses pixel i from a to b; what it has passed before covers all of it */
        float a = i == first ? x0 : (float)i;
        float b = i == last - 1 ? x1 : (float)(i + 1);
        float area = inverse * ((a - x0) + (b - a) * ((float)(i + 1) - 0.5f * (a + b)));

        row[i] += d * (area - before);
        before = area;
    }
    row[last] += d * (1.0f - before);
}

/* Add the edge p -> q to the rows it crosses; what lies left of the picture counts at x = 0. */
static void add_edge(sg_canvas *c, sg_point p, sg_point q) {
    float sign = 1.0f, slope, width = (float)c->width;
    int64_t first, last;

    if (p.y > q.y) {
        sg_point t = p;

        p = q;
        q = t;
        sign = -1.0f;
    }
    if (!(q.y > p.y) || q.y <= 0.0f || p.y >= (float)c->height) return;
    slope = (q.x - p.x) / (q.y - p.y);
    first = p.y < 0.0f ? 0 : (int64_t)p.y;
    last = q.y >= (float)c->height ? c->height - 1 : (int64_t)q.y;
    for (int64_t y = first; y <= last; y++) {
        float top = p.y > (float)y ? p.y : (float)y;
        float bottom = q.y < (float)(y + 1) ? q.y : (float)(y + 1);
        float a = clampf(p.x + slope * (top - p.y), 0.0f, width);
        float b = clampf(p.x + slope * (bottom - p.y), 0.0f, width);

        if (bottom <= top) continue;
        add_piece(c->cover + y * (c->width + 2), a < b ? a : b, a < b ? b : a,
                  sign * (bottom - top));
    }
}

/* A paint, made ready for rows of pixels. */
typedef struct {
    sg_paint p;
    float dx, dy; /* local x (and -y) per pixel: (ux, uy) / |u|^2 */
    float half;   /* pixels in half a unit: turns distance to a stripe's edge into pixels */
} brush;

static brush brush_init(sg_paint p) {
    float norm = p.frame.ux * p.frame.ux + p.frame.uy * p.frame.uy;
    brush b = {.p = p};

    if (norm > 0.0f) {
        b.dx = p.frame.ux / norm;
        b.dy = p.frame.uy / norm;
        b.half = 0.5f * sqrtf(norm);
    }
    return b;
}

/* 0 .. 1: how much of b's share a stripe pattern has at x; its edges are a pixel wide. */
static float stripe(float x, float half) {
    float f = x - (float)floor_int(x), s = f < 0.5f ? f : 1.0f - f; /* 0 .. 0.5 */

    return clampf(0.5f + (2.0f * s - 0.5f) * half, 0.0f, 1.0f);
}

static sg_color brush_at(const brush *b, float px, float py) {
    float x = px - b->p.frame.ox, y = py - b->p.frame.oy;
    float u = x * b->dx + y * b->dy, v = y * b->dx - x * b->dy, t;

    if (b->p.kind == SG_PAINT_LINEAR) return sg_color_mix(b->p.a, b->p.b, clampf(u, 0.0f, 1.0f));
    t = stripe(u, b->half);
    if (b->p.kind == SG_PAINT_CHECKS) {
        float s = stripe(v, b->half);

        t = t + s - 2.0f * t * s;
    }
    return sg_color_mix(b->p.a, b->p.b, t);
}

static void paint_pixel(sg_canvas *c, int64_t at, sg_color k, float share) {
    float *rgb = c->rgb + at * 3;

    rgb[0] += (k.r - rgb[0]) * share;
    rgb[1] += (k.g - rgb[1]) * share;
    rgb[2] += (k.b - rgb[2]) * share;
    if (share > 0.5f && c->mark != SG_MARK_KEEP) c->owner[at] = c->mark;
}

/* Sum the coverage of rows and columns inside the box, paint, and leave it zero. */
static void paint_cover(sg_canvas *c, int64_t x0, int64_t y0, int64_t x1, int64_t y1,
                        sg_paint paint) {
    brush b = brush_init(paint);

    for (int64_t y = y0; y < y1; y++) {
        float *row = c->cover + y * (c->width + 2), sum = 0.0f;

        for (int64_t x = x0; x < x1; x++) {
            float share;

            sum += row[x];
            row[x] = 0.0f;
            share = sum < 0.0f ? -sum : sum;
            if (share < 0.002f) continue; /* what rounding left over */
            share = (share > 1.0f ? 1.0f : share) * paint.alpha;
            paint_pixel(c, y * c->width + x,
                        paint.kind == SG_PAINT_SOLID
                            ? paint.a
                            : brush_at(&b, (float)x + 0.5f, (float)y + 0.5f),
                        share);
        }
        row[x1] = row[x1 + 1] = 0.0f; /* an edge writes one further than it reaches */
    }
}

/* ---- shapes ---- */

void sg_raster_polygon(sg_canvas *c, sg_frame f, const sg_point *p, int n, sg_paint paint) {
    sg_point q[SG_RASTER_POINTS], lo, hi;
    int64_t x0, y0, x1, y1;

    if (n < 3 || n > SG_RASTER_POINTS) return;
    for (int i = 0; i < n; i++) q[i] = sg_frame_map(f, p[i].x, p[i].y);
    lo = hi = q[0];
    for (int i = 1; i < n; i++) {
        lo.x = q[i].x < lo.x ? q[i].x : lo.x;
        lo.y = q[i].y < lo.y ? q[i].y : lo.y;
        hi.x = q[i].x > hi.x ? q[i].x : hi.x;
        hi.y = q[i].y > hi.y ? q[i].y : hi.y;
    }
    x0 = floor_int(clampf(lo.x, 0.0f, (float)c->width));
    y0 = floor_int(clampf(lo.y, 0.0f, (float)c->height));
    x1 = floor_int(clampf(hi.x, -1.0f, (float)(c->width - 1))) + 1;
    y1 = floor_int(clampf(hi.y, -1.0f, (float)(c->height - 1))) + 1;
    if (x0 >= x1 || y0 >= y1) return;
    for (int i = 0; i < n; i++) add_edge(c, q[i], q[(i + 1) % n]);
    paint_cover(c, x0, y0, x1, y1, paint);
}

void sg_raster_circle_points(sg_point *p, int n) {
    /* cos and sin of a 48th of a turn; the recurrence loses under 1e-5 in one turn */
    const float c = 0.99144486f, s = 0.13052619f;
    float x = 1.0f, y = 0.0f;

    for (int i = 0; i < kCirclePoints; i++) {
        float next = x * c - y * s;

        if (i % (kCirclePoints / n) == 0) p[i / (kCirclePoints / n)] = (sg_point){x, y};
        y = x * s + y * c;
        x = next;
    }
}

void sg_raster_ellipse(sg_canvas *c, sg_frame f, float x, float y, float rx, float ry,
                       sg_paint paint) {
    float norm = f.ux * f.ux + f.uy * f.uy, r = rx > ry ? rx : ry;
    int n = r * r * norm < 64.0f ? 24 : kCirclePoints; /* a radius under 8 pixels needs fewer */
    sg_point p[kCirclePoints];

    sg_raster_circle_points(p, n);
    for (int i = 0; i < n; i++) p[i] = (sg_point){x + rx * p[i].x, y + ry * p[i].y};
    sg_raster_polygon(c, f, p, n, paint);
}

void sg_raster_rect(sg_canvas *c, sg_frame f, float x0, float y0, float x1, float y1,
                    sg_paint paint) {
    sg_point p[4] = {{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}};

    sg_raster_polygon(c, f, p, 4, paint);
}

void sg_raster_round_rect(sg_canvas *c, sg_frame f, float x0, float y0, float x1, float y1,
                          float radius, sg_paint paint) {
    /* cos of 0, 22.5, 45, 67.5, 90 degrees */
    static const float arc[kArcPoints] = {1.0f, 0.92387953f, 0.70710678f, 0.38268343f, 0.0f};
    sg_point p[4 * kArcPoints];

    for (int i = 0; i < kArcPoints; i++) {
        float a = radius * arc[i], b = radius * arc[kArcPoints - 1 - i];

        p[i] = (sg_point){x1 - radius + a, y1 - radius + b};
        p[kArcPoints + i] = (sg_point){x0 + radius - b, y1 - radius + a};
        p[2 * kArcPoints + i] = (sg_point){x0 + radius - a, y0 + radius - b};
        p[3 * kArcPoints + i] = (sg_point){x1 - radius + b, y0 + radius - a};
    }
    sg_raster_polygon(c, f, p, 4 * kArcPoints, paint);
}

void sg_raster_line(sg_canvas *c, sg_frame f, float x0, float y0, float x1, float y1, float width,
                    sg_paint paint) {
    float dx = x1 - x0, dy = y1 - y0, length = sqrtf(dx * dx + dy * dy);
    float nx, ny;

    if (!(length > 0.0f)) return;
    nx = -dy / length * width * 0.5f;
    ny = dx / length * width * 0.5f;
    sg_raster_polygon(
        c, f,
        (sg_point[]){
            {x0 + nx, y0 + ny}, {x1 + nx, y1 + ny}, {x1 - nx, y1 - ny}, {x0 - nx, y0 - ny}},
        4, paint);
}

/* ---- the whole picture ---- */

/* -1 .. 1 at a corner of the lattice. */
static float lattice(uint64_t key, int64_t x, int64_t y) {
    return sg_unit_float(sg_philox(key, (uint64_t)x, (uint64_t)y).word[0]) * 2.0f - 1.0f;
}

static void add_octave(sg_canvas *c, uint64_t key, int cell, float amplitude) {
    float weight[kMaxCell] = {0};

    for (int i = 0; i < cell; i++) {
        float t = ((float)i + 0.5f) / (float)cell;

        weight[i] = t * t * (3.0f - 2.0f * t);
    }
    for (int64_t y0 = 0; y0 < c->height; y0 += cell) {
        float a = lattice(key, 0, y0), b = lattice(key, 0, y0 + cell);

        for (int64_t x0 = 0; x0 < c->width; x0 += cell) {
            float p = lattice(key, x0 + cell, y0), q = lattice(key, x0 + cell, y0 + cell);

            for (int64_t y = y0; y < y0 + cell && y < c->height; y++) {
                float left = a + (b - a) * weight[y - y0], right = p + (q - p) * weight[y - y0];

                for (int64_t x = x0; x < x0 + cell && x < c->width; x++) {
                    float v = (left + (right - left) * weight[x - x0]) * amplitude;
                    float *rgb = c->rgb + (y * c->width + x) * 3;

                    rgb[0] += v;
                    rgb[1] += v;
                    rgb[2] += v;
                }
            }
            a = p;
            b = q;
        }
    }
}

void sg_canvas_texture(sg_canvas *c, uint64_t key, int cell, float amplitude) {
    cell = cell < 2 ? 2 : cell > kMaxCell ? kMaxCell : cell;
    add_octave(c, sg_key_mix(key, 1), cell, amplitude);
    add_octave(c, sg_key_mix(key, 2), (cell + 1) / 2, 0.5f * amplitude);
}

void sg_canvas_light(sg_canvas *c, const sg_color corner[4]) {
    for (int64_t y = 0; y < c->height; y++) {
        float v = ((float)y + 0.5f) / (float)c->height;
        sg_color left = sg_color_mix(corner[0], corner[2], v);
        sg_color right = sg_color_mix(corner[1], corner[3], v);

        for (int64_t x = 0; x < c->width; x++) {
            sg_color k = sg_color_mix(left, right, ((float)x + 0.5f) / (float)c->width);
            float *rgb = c->rgb + (y * c->width + x) * 3;

            rgb[0] *= k.r;
            rgb[1] *= k.g;
            rgb[2] *= k.b;
        }
    }
}

/* 1 2 1 over `n` triples that lie `stride` floats apart; the ends repeat. */
static void blur_line(float *line, int64_t n, int64_t stride, float amount) {
    for (int k = 0; k < 3; k++) {
        float *p = line + k, before = p[0];

        for (int64_t i = 0; i < n; i++) {
            float here = p[i * stride], after = i + 1 < n ? p[(i + 1) * stride] : here;

            p[i * stride] = here + (0.25f * (before + after) - 0.5f * here) * amount;
            before = here;
        }
    }
}

void sg_canvas_blur(sg_canvas *c, float amount) {
    for (int64_t y = 0; y < c->height; y++)
        blur_line(c->rgb + y * c->width * 3, c->width, 3, amount);
    for (int64_t x = 0; x < c->width; x++)
        blur_line(c->rgb + x * 3, c->height, c->width * 3, amount);
}

sg_status sg_canvas_finish(const sg_canvas *c, uint64_t key, float noise, sg_image *out) {
    int64_t n = c->width * c->height * 3;
    const float unit =
        1.0f / 6.5192024f; /* of the sum of two numbers 0 .. 15: sqrt(2 * 255 / 12) */
    sg_image image = {0};
    sg_philox4 random = {0};

    SG_TRY(sg_image_create(c->width, c->height, &image));
    for (int64_t i = 0; i < n; i++) {
        int byte = (int)(i % 16); /* a block of Philox has 16 bytes: one a sample */
        uint32_t bits;
        float v;

        if (byte == 0 && noise > 0.0f) random = sg_philox(key, (uint64_t)(i / 16), 0);
        bits = random.word[byte / 4] >> (8 * (byte % 4));
        v = (float)((int)(bits & 15) + (int)(bits >> 4 & 15) - 15) * unit;
        if (!(noise > 0.0f)) v = 0.0f;
        image.rgb[i] = (uint8_t)(clampf(c->rgb[i] + v * noise, 0.0f, 255.0f) + 0.5f);
    }
    *out = image;
    return SG_OK;
}
