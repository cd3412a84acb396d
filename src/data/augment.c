#include "data/augment.h"

#include <math.h>
#include <string.h>

#include "core/philox.h"
#include "data/resample.h"

static const float kScaleMost = 0.9f;
static const double kMeetLow = 0.3, kMeetHigh = 0.7; /* where quadrants meet, of the side */
static const double kRounding = 1.00001; /* a box wholly seen counts as such in f32, too */
static const double kPi = 3.14159265358979323846;

sg_augment_options sg_augment_defaults(void) {
    return (sg_augment_options){
        .mosaic = 0.5f,
        .flip = 0.5f,
        .scale = 0.5f,
        .translate = 0.1f,
        .hue = 0.015f,
        .saturation = 0.5f,
        .value = 0.3f,
        .brightness = 0.05f,
        .min_visible = 0.3f,
        .min_side = 2.0f,
    };
}

sg_status sg_augment_options_check(const sg_augment_options *options) {
    const struct {
        const char *name;
        float value, most;
    } ranges[] = {
        {"mosaic", options->mosaic, 1.0f},
        {"flip", options->flip, 1.0f},
        {"scale", options->scale, kScaleMost},
        {"translate", options->translate, 1.0f},
        {"hue", options->hue, 0.5f},
        {"saturation", options->saturation, 1.0f},
        {"value", options->value, 1.0f},
        {"brightness", options->brightness, 1.0f},
        {"min_visible", options->min_visible, 1.0f},
        {"min_side", options->min_side, 1e6f},
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= 0.0f && ranges[i].value <= ranges[i].most))
            return sg_fail(SG_ERR_CONFIG, "augmentation: %s is %g; it must be 0 to %g",
                           ranges[i].name, (double)ranges[i].value, (double)ranges[i].most);
    return SG_OK;
}

static float about(sg_random *r, float middle, float spread) {
    return sg_random_range(r, middle - spread, middle + spread);
}

static void draw_source(sg_augment_source *s, const sg_augment_options *o, uint64_t key,
                        int mosaic) {
    sg_random r = sg_random_init(key);
    float u, v;

    s->flip = sg_random_float(&r) < o->flip;
    s->scale = about(&r, 1.0f, o->scale);
    u = sg_random_float(&r);
    v = sg_random_float(&r);
    s->place_x = mosaic ? u : (2.0f * u - 1.0f) * o->translate;
    s->place_y = mosaic ? v : (2.0f * v - 1.0f) * o->translate;
    s->hue = about(&r, 0.0f, o->hue) * (float)(2.0 * kPi);
    s->saturation = about(&r, 1.0f, o->saturation);
    s->value = about(&r, 1.0f, o->value);
    s->brightness = about(&r, 0.0f, o->brightness);
}

void sg_augment_plan_init(sg_augment_plan *plan, const sg_augment_options *options, uint64_t seed,
                          int64_t epoch, int64_t sample, int64_t n, int64_t side,
                          int allow_mosaic) {
    uint64_t key = sg_key_mix(sg_key_mix(sg_key_name("augment"), seed), (uint64_t)epoch);
    sg_random r;
    int mosaic;

    key = sg_key_mix(key, (uint64_t)sample);
    r = sg_random_init(key);
    mosaic = sg_random_float(&r) < options->mosaic && allow_mosaic;
    *plan = (sg_augment_plan){
        .n_sources = mosaic ? SG_WARP_SOURCES : 1,
        .min_visible = options->min_visible,
        .min_side = options->min_side,
        .side = side,
    };
    plan->meet_x =
        lrint((kMeetLow + (kMeetHigh - kMeetLow) * (double)sg_random_float(&r)) * (double)side);
    plan->meet_y =
        lrint((kMeetLow + (kMeetHigh - kMeetLow) * (double)sg_random_float(&r)) * (double)side);
    for (int i = 0; i < plan->n_sources; i++) {
        plan->source[i].sample = i == 0 ? sample : sg_random_below(&r, n);
        draw_source(&plan->source[i], options, sg_key_mix(key, (uint64_t)i + 1), mosaic);
    }
}

size_t sg_augment_scratch_bytes(int64_t width_max, int64_t height_max, int64_t side) {
    int64_t longer = width_max > height_max ? width_max : height_max;
    double scale = (double)side / (double)longer * (1.0 - (double)kScaleMost);

    return sg_resample_scratch_bytes(width_max, height_max, side, 0.99 * scale);
}

void sg_augment_begin(const sg_augment_plan *plan, sg_augment_output *out) {
    if (out->image) memset(out->image, SG_IMAGE_MATTE, (size_t)(3 * plan->side * plan->side));
    memset(out->boxes, 0, SG_MAX_BOXES * 4 * sizeof *out->boxes);
    memset(out->classes, 0, SG_MAX_BOXES * sizeof *out->classes);
    out->count = 0;
    out->dropped = 0;
}

/* `size` pixels of the source at `scale` into begin .. end-1. */
static sg_axis place_axis(const sg_augment_plan *plan, int64_t size, double scale, double place,
                          int flip, int64_t begin, int64_t end) {
    double length = (double)size * scale, room = (double)(end - begin) - length;
    double start;

    if (plan->n_sources == 1)
        start = (double)begin + room / 2.0 + place * (double)plan->side;
    else
        start = (double)begin + room * place;
    return (sg_axis){.scale = flip ? -scale : scale,
                     .shift = flip ? start + length : start,
                     .begin = begin,
                     .end = end};
}

static void source_axes(const sg_augment_plan *plan, int which, const sg_sample *sample, sg_axis *x,
                        sg_axis *y) {
    const sg_augment_source *s = &plan->source[which];
    int64_t longer = sample->width > sample->height ? sample->width : sample->height;
    double scale = (double)plan->side / (double)longer * (double)s->scale;
    int64_t x0 = 0, x1 = plan->side, y0 = 0, y1 = plan->side;

    if (plan->n_sources > 1) {
        if (which % 2)
            x0 = plan->meet_x;
        else
            x1 = plan->meet_x;
        if (which / 2)
            y0 = plan->meet_y;
        else
            y1 = plan->meet_y;
    }
    *x = place_axis(plan, sample->width, scale, (double)s->place_x, s->flip, x0, x1);
    *y = place_axis(plan, sample->height, scale, (double)s->place_y, 0, y0, y1);
}

/* Hue turns colours about the grey axis, saturation draws them from their luma (Rec. 601), value is
 * a gain, brightness is added: HSV's three knobs as one linear map, without its kinks at grey and
 * at the six primary hues, and a handful of multiplications a pixel.
 *   m = value * (saturation * I + (1 - saturation) * 1 luma') * turn(hue) */
static sg_colour colour_map(const sg_augment_source *s) {
    static const double luma[3] = {0.299, 0.587, 0.114};
    double c = cos((double)s->hue), third = (1.0 - c) / 3.0;
    double side = sin((double)s->hue) / sqrt(3.0);
    double turn[3][3], one = 1 << SG_COLOUR_BITS;
    sg_colour map;

    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            turn[i][j] = third + (i == j ? c : (j - i + 3) % 3 == 1 ? -side : side);
    for (int j = 0; j < 3; j++) {
        double grey = luma[0] * turn[0][j] + luma[1] * turn[1][j] + luma[2] * turn[2][j];

        for (int i = 0; i < 3; i++) {
            double m = (double)s->saturation * turn[i][j] + (1.0 - (double)s->saturation) * grey;
            map.m[i][j] = (int32_t)lrint((double)s->value * m * one);
        }
    }
    for (int i = 0; i < 3; i++) map.offset[i] = (int32_t)lrint((double)s->brightness * 255.0 * one);
    return map;
}

static double area_of(const float *box) {
    return (double)(box[2] - box[0]) * (double)(box[3] - box[1]);
}

/* lo and hi of a box along one axis, through the map; returns the length before clipping. */
static double move_side(const sg_axis *axis, float from, float to, float *lo, float *hi) {
    double a = (double)from * axis->scale + axis->shift, b = (double)to * axis->scale + axis->shift;
    double low = a < b ? a : b, high = a < b ? b : a;

    *lo = (float)fmax(low, (double)axis->begin);
    *hi = (float)fmin(high, (double)axis->end);
    return high - low;
}

void sg_augment_keep_box(const float box[4], int32_t class_id, sg_augment_output *out) {
    int at = out->count;

    if (out->count == SG_MAX_BOXES) {
        out->dropped++;
        at = 0;
        for (int i = 1; i < SG_MAX_BOXES; i++)
            if (area_of(out->boxes + 4 * i) < area_of(out->boxes + 4 * at)) at = i;
        if (!(area_of(box) > area_of(out->boxes + 4 * at))) return;
    } else {
        out->count++;
    }
    memcpy(out->boxes + 4 * at, box, 4 * sizeof *box);
    out->classes[at] = class_id;
}

void sg_augment_add_boxes(const sg_augment_plan *plan, int which, const sg_sample *sample,
                          sg_augment_output *out) {
    sg_axis x, y;

    source_axes(plan, which, sample, &x, &y);
    for (int64_t i = 0; i < sample->count; i++) {
        const float *from = sample->boxes + 4 * i;
        float box[4];
        double width = move_side(&x, from[0], from[2], &box[0], &box[2]);
        double height = move_side(&y, from[1], from[3], &box[1], &box[3]);

        if (!(box[2] > box[0] && box[3] > box[1])) continue;
        if (box[2] - box[0] < plan->min_side || box[3] - box[1] < plan->min_side) continue;
        if (area_of(box) * kRounding < (double)plan->min_visible * width * height) continue;
        sg_augment_keep_box(box, sample->classes[i], out);
    }
}

void sg_augment_warp(const sg_augment_plan *plan, int which, const sg_sample *sample, int shrink,
                     sg_warp_source *out) {
    *out = (sg_warp_source){
        .colour = colour_map(&plan->source[which]),
        .width = (int32_t)sg_image_shrunk(sample->width, shrink),
        .height = (int32_t)sg_image_shrunk(sample->height, shrink),
    };
    source_axes(plan, which, sample, &out->x, &out->y);
    out->x.scale *= shrink;
    out->y.scale *= shrink;
}

void sg_augment_add(const sg_augment_plan *plan, int which, const sg_image *image, int shrink,
                    const sg_sample *sample, void *scratch, sg_augment_output *out) {
    sg_warp_source s;

    sg_augment_add_boxes(plan, which, sample, out);
    sg_augment_warp(plan, which, sample, shrink, &s);
    sg_resample(image, &s.x, &s.y, &s.colour, plan->side, out->image, scratch);
}
