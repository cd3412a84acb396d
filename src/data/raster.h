/* Drawing with anti-aliasing, the same pixels on every machine.
 *
 * A shape is a polygon in a frame (an origin and an x axis, so that a head tilts as one), and every
 * pixel takes the exact share of its area that the polygon covers: even a face of ten pixels keeps
 * its eyes where they are. Only + - * / and sqrt in IEEE single precision are used, all exactly
 * rounded, never libm, and contraction to fused multiply-add is off for the whole project, so no
 * last bit depends on a library's version. */
#ifndef SG_DATA_RASTER_H
#define SG_DATA_RASTER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "data/image.h"

enum {
    SG_RASTER_POINTS = 64, /* most corners of a polygon */
    SG_MARK_KEEP = -1,     /* leave the owner of the pixels that are drawn as it is */
};

typedef struct {
    float r, g, b; /* 0 .. 255; light may carry it above for a while */
} sg_color;

typedef struct {
    float x, y;
} sg_point;

/* Local (x, y) lies at origin + x * (ux, uy) + y * (-uy, ux); y points down. */
typedef struct {
    float ox, oy, ux, uy;
} sg_frame;

typedef struct {
    int64_t width, height;
    float *rgb;     /* (height, width, 3); owned */
    float *cover;   /* (height, width + 2), all zero between calls; owned */
    int16_t *owner; /* (height, width): the mark of what covered most of the pixel last; owned */
    int16_t mark;   /* what is drawn now belongs to; SG_MARK_KEEP */
} sg_canvas;

typedef enum { SG_PAINT_SOLID, SG_PAINT_LINEAR, SG_PAINT_STRIPES, SG_PAINT_CHECKS } sg_paint_kind;

/* `frame` is that of the pattern: linear runs from a (x = 0) to b (x = 1), stripes alternate a and
 * b with x (one of each in a unit), checks with x and y. Pattern edges are softened by a pixel. */
typedef struct {
    sg_paint_kind kind;
    sg_color a, b;
    float alpha; /* 0 .. 1 */
    sg_frame frame;
} sg_paint;

/* Black, owned by 0. SG_ERR_OOM. */
sg_status sg_canvas_create(int64_t width, int64_t height, sg_canvas *out) SG_CHECKED;
void sg_canvas_clear(sg_canvas *canvas); /* frees, zeroes the struct */

static inline sg_color sg_rgb(float r, float g, float b) {
    sg_color c;
    c.r = r;
    c.g = g;
    c.b = b;
    return c;
}
sg_color sg_color_mix(sg_color a, sg_color b, float t); /* a at 0, b at 1 */
sg_color sg_color_scale(sg_color c, float gain);
sg_paint sg_paint_solid(sg_color c);
sg_paint sg_paint_alpha(sg_color c, float alpha);
/* From a at (x0, y0) to b at (x1, y1), pixels. */
sg_paint sg_paint_linear(sg_color a, sg_color b, sg_point from, sg_point to);

/* Pixels, not tilted. */
sg_frame sg_frame_pixels(void);
/* Units of `scale` pixels around (ox, oy), turned clockwise by `turn` radians, |turn| <= 2 (a
 * polynomial; its error of under 1e-3 is part of the drawing). */
sg_frame sg_frame_at(float ox, float oy, float scale, float turn);
/* A frame inside a frame. */
sg_frame sg_frame_inside(sg_frame outer, float x, float y, float scale, float turn);
sg_point sg_frame_map(sg_frame f, float x, float y);

/* n corners (3 .. SG_RASTER_POINTS), in order, in `f`; where it overlaps itself it is one. */
void sg_raster_polygon(sg_canvas *c, sg_frame f, const sg_point *p, int n, sg_paint paint);
void sg_raster_ellipse(sg_canvas *c, sg_frame f, float x, float y, float rx, float ry,
                       sg_paint paint);
void sg_raster_rect(sg_canvas *c, sg_frame f, float x0, float y0, float x1, float y1,
                    sg_paint paint);
/* Corners of `radius`, at most half a side. */
void sg_raster_round_rect(sg_canvas *c, sg_frame f, float x0, float y0, float x1, float y1,
                          float radius, sg_paint paint);
void sg_raster_line(sg_canvas *c, sg_frame f, float x0, float y0, float x1, float y1, float width,
                    sg_paint paint);
/* A circle of `n` corners (<= SG_RASTER_POINTS, a divisor of 48), radius 1, from (1, 0)
 * clockwise on the screen. */
void sg_raster_circle_points(sg_point *p, int n);

/* Whole-picture effects. Smooth noise of two octaves with cells of `cell` pixels (2 .. 64), added.
 */
void sg_canvas_texture(sg_canvas *c, uint64_t key, int cell, float amplitude);
/* Multiply by a gain that goes linearly between the four corners: left/right top, then bottom. */
void sg_canvas_light(sg_canvas *c, const sg_color corner[4]);
/* Mix with its 3 x 3 binomial blur, 0 .. 1, along rows, then columns. */
void sg_canvas_blur(sg_canvas *c, float amount);
/* To 8 bits, with noise of standard deviation `noise`. *out is the caller's. */
sg_status sg_canvas_finish(const sg_canvas *c, uint64_t key, float noise, sg_image *out) SG_CHECKED;

#endif
