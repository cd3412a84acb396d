/* Boxes are drawn around, not over, what they mark: the line's inner edge is the box. Tags are
 * placed greedily, best box first, at the one of eight places that covers least of other tags and
 * boxes. */
#include "report/annotate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "report/font.h"

enum {
    kMaxScale = 8,
    kSmallSide = 640, /* pictures of smaller sides are enlarged */
    kThickSide = 450, /* lines and dots of text grow by a pixel for so many of the longer side */
    kTagShare = 12,   /* percent of the picture that tags may cover before their text shrinks */
    kCellColumns = 6, /* dots a character takes */
    kCellRows = 9,
    kLabelBytes = 128,
    kPlaces = 8,
    kColors = 7,
};

/* Okabe and Ito's palette ("Color universal design", 2008), without black: bluish green, vermilion,
 * yellow, sky blue, reddish purple, blue, orange. */
static const uint8_t kPalette[kColors][3] = {{0, 158, 115},  {213, 94, 0},    {240, 228, 66},
                                             {86, 180, 233}, {204, 121, 167}, {0, 114, 178},
                                             {230, 159, 0}};
static const uint8_t kWhite[3] = {255, 255, 255}, kBlack[3] = {0, 0, 0};

typedef struct {
    int64_t x0, y0, x1, y1; /* half-open */
} area;

typedef struct {
    const sg_annotate_box *box;
    area at; /* in the result, inside it */
    area tag;
    char text[kLabelBytes];
} item;

const uint8_t *sg_annotate_color(int label) {
    return kPalette[(label % kColors + kColors) % kColors];
}

/* ---- pixels ---- */

static void fill(sg_image *image, area a, const uint8_t rgb[3]) {
    int64_t x0 = a.x0 > 0 ? a.x0 : 0, x1 = a.x1 < image->width ? a.x1 : image->width;
    int64_t y0 = a.y0 > 0 ? a.y0 : 0, y1 = a.y1 < image->height ? a.y1 : image->height;

    for (int64_t y = y0; y < y1; y++)
        for (int64_t x = x0; x < x1; x++) memcpy(image->rgb + (y * image->width + x) * 3, rgb, 3);
}

int64_t sg_text_width(const char *text, int scale) {
    return (int64_t)strlen(text) * kCellColumns * scale;
}

void sg_text_draw(sg_image *image, int64_t x, int64_t y, const char *text, int scale,
                  const uint8_t rgb[3]) {
    for (; *text; text++, x += kCellColumns * scale) {
        unsigned char c = (unsigned char)*text;
        const uint8_t *glyph;

        if (x >= image->width) return;
        if (c < SG_FONT_FIRST || c > SG_FONT_LAST) c = '?';
        glyph = sg_font[c - SG_FONT_FIRST];
        for (int i = 0; i < SG_FONT_COLUMNS; i++)
            for (int j = 0; j <= SG_FONT_ROWS; j++) {
                int64_t px = x + i * scale, py = y + j * scale;

                if (glyph[i] >> j & 1) fill(image, (area){px, py, px + scale, py + scale}, rgb);
            }
    }
}

static sg_status enlarge(const sg_image *in, int scale, sg_image *out) {
    SG_TRY(sg_image_create(in->width * scale, in->height * scale, out));
    for (int64_t y = 0; y < out->height; y++)
        for (int64_t x = 0; x < out->width; x++)
            memcpy(out->rgb + (y * out->width + x) * 3,
                   in->rgb + (y / scale * in->width + x / scale) * 3, 3);
    return SG_OK;
}

/* ---- boxes ---- */

/* A line of `t` pixels around `a`; where the picture ends, inside it. */
static void draw_solid(sg_image *image, area a, int64_t t, const uint8_t rgb[3]) {
    fill(image, (area){a.x0, a.y0, a.x1, a.y0 + t}, rgb);
    fill(image, (area){a.x0, a.y1 - t, a.x1, a.y1}, rgb);
    fill(image, (area){a.x0, a.y0, a.x0 + t, a.y1}, rgb);
    fill(image, (area){a.x1 - t, a.y0, a.x1, a.y1}, rgb);
}

/* White dashes with a dark end, so that they show on any ground; between them what is below stays
 * seen: a prediction at the same place. */
static void draw_dashed(sg_image *image, area a, int64_t t) {
    for (int64_t i = 0; a.x0 + i < a.x1; i += t) {
        const uint8_t *rgb = i / t % 6 < 3 ? kWhite : i / t % 6 == 3 ? kBlack : NULL;
        int64_t x = a.x0 + i, end = x + t < a.x1 ? x + t : a.x1;

        if (!rgb) continue;
        fill(image, (area){x, a.y0, end, a.y0 + t}, rgb);
        fill(image, (area){x, a.y1 - t, end, a.y1}, rgb);
    }
    for (int64_t i = 0; a.y0 + i < a.y1; i += t) {
        const uint8_t *rgb = i / t % 6 < 3 ? kWhite : i / t % 6 == 3 ? kBlack : NULL;
        int64_t y = a.y0 + i, end = y + t < a.y1 ? y + t : a.y1;

        if (!rgb) continue;
        fill(image, (area){a.x0, y, a.x0 + t, end}, rgb);
        fill(image, (area){a.x1 - t, y, a.x1, end}, rgb);
    }
}

/* Pixels of the result, clipped to 0 .. end before the cast. */
static int64_t to_pixel(float x, int scale, int64_t end) {
    double v = (double)x * scale;

    return v <= 0.0 ? 0 : v >= (double)end ? end : (int64_t)(v + 0.5);
}

static bool is_drawable(const sg_annotate_box *b, const sg_image *image) {
    return isfinite(b->xmin) && isfinite(b->ymin) && isfinite(b->xmax) && isfinite(b->ymax) &&
           b->xmax > b->xmin && b->ymax > b->ymin && b->xmax > 0.0f && b->ymax > 0.0f &&
           b->xmin < (float)image->width && b->ymin < (float)image->height;
}

/* By score, best first; without one last; truth after predictions; then in the order given. */
static int by_score(const void *left, const void *right) {
    const sg_annotate_box *a = ((const item *)left)->box, *b = ((const item *)right)->box;
    float p = a->truth || !(a->score >= 0.0f) ? -1.0f : a->score;
    float q = b->truth || !(b->score >= 0.0f) ? -1.0f : b->score;

    if (a->truth != b->truth) return a->truth ? 1 : -1;
    if (p > q || p < q) return p > q ? -1 : 1;
    return a < b ? -1 : a > b;
}

/* ---- tags ---- */

static int64_t overlap(area a, area b) {
    int64_t x = (a.x1 < b.x1 ? a.x1 : b.x1) - (a.x0 > b.x0 ? a.x0 : b.x0);
    int64_t y = (a.y1 < b.y1 ? a.y1 : b.y1) - (a.y0 > b.y0 ? a.y0 : b.y0);

    return x > 0 && y > 0 ? x * y : 0;
}

/* Moved into the picture; where it is larger than that, its start stays visible. */
static area keep_inside(int64_t x, int64_t y, int64_t w, int64_t h, const sg_image *image) {
    if (x + w > image->width) x = image->width - w;
    if (y + h > image->height) y = image->height - h;
    if (x < 0) x = 0;
    if (y < 0) y = 0;
    return (area){x, y, x + w, y + h};
}

static area tag_place(int place, area b, int64_t w, int64_t h, const sg_image *image) {
    switch (place) {
    case 0:
        return keep_inside(b.x0, b.y0 - h, w, h, image); /* above, from the left */
    case 1:
        return keep_inside(b.x1 - w, b.y0 - h, w, h, image);
    case 2:
        return keep_inside(b.x0, b.y1, w, h, image); /* below */
    case 3:
        return keep_inside(b.x1 - w, b.y1, w, h, image);
    case 4:
        return keep_inside(b.x1, b.y0, w, h, image); /* beside */
    case 5:
        return keep_inside(b.x0 - w, b.y0, w, h, image);
    case 6:
        return keep_inside(b.x0, b.y0, w, h, image); /* inside */
    default:
        return keep_inside(b.x0, b.y1 - h, w, h, image);
    }
}

/* Places of the tags of items before `i` are settled. */
static area place_tag(const item *items, int64_t n, int64_t i, int64_t w, int64_t h,
                      const sg_image *image) {
    area best = {0};
    int64_t least = -1;

    for (int place = 0; place < kPlaces; place++) {
        area a = tag_place(place, items[i].at, w, h, image);
        int64_t cost = overlap(a, items[i].at);

        for (int64_t j = 0; j < i; j++) cost += 4 * overlap(a, items[j].tag);
        for (int64_t j = 0; j < n; j++) cost += j == i ? 0 : overlap(a, items[j].at);
        if (least >= 0 && cost >= least) continue;
        least = cost;
        best = a;
    }
    return best;
}

static void label_text(item *it) {
    const sg_annotate_box *b = it->box;
    const char *name = b->name ? b->name : "";

    if (b->truth || !(b->score >= 0.0f))
        snprintf(it->text, sizeof it->text, "%s", name);
    else
        snprintf(it->text, sizeof it->text, "%.100s%s%.2f", name, name[0] ? " " : "",
                 (double)b->score);
    if (!b->name) it->text[0] = '\0';
}

static void place_tags(item *items, int64_t n, int dot, const sg_image *image) {
    for (int64_t i = 0; i < n; i++) {
        int64_t w = sg_text_width(items[i].text, dot) + dot, h = (kCellRows + 1) * dot;

        items[i].tag = (area){0};
        if (items[i].text[0]) items[i].tag = place_tag(items, n, i, w, h, image);
    }
}

/* 1 under 600 pixels, 2 from there, 3 from 1050. */
static int64_t thickness_for(const sg_image *image) {
    int64_t longer = image->width > image->height ? image->width : image->height;

    return (longer + 300) / kThickSide < 1 ? 1 : (longer + 300) / kThickSide;
}

/* Text shrinks where there are many tags. */
static int text_dot(const item *items, int64_t n, const sg_image *image) {
    int64_t dot = thickness_for(image), letters = 0;

    if (dot > kMaxScale) dot = kMaxScale;
    for (int64_t i = 0; i < n; i++) letters += (int64_t)strlen(items[i].text);
    while (dot > 1 && letters * kCellColumns * kCellRows * dot * dot * 100 >
                          image->width * image->height * kTagShare)
        dot--;
    return dot < 1 ? 1 : (int)dot;
}

static void draw_tag(sg_image *image, const item *it, int dot) {
    const uint8_t *ground = it->box->truth ? kWhite : sg_annotate_color(it->box->label);
    /* Rec. 601 luma: dark text on light tags */
    int luma = (299 * ground[0] + 587 * ground[1] + 114 * ground[2]) / 1000;

    if (!it->text[0]) return;
    fill(image, it->tag, ground);
    sg_text_draw(image, it->tag.x0 + dot, it->tag.y0 + dot, it->text, dot,
                 luma > 110 ? kBlack : kWhite);
}

static void draw_items(sg_image *image, item *items, int64_t n, const sg_annotate_options *o) {
    int64_t t = o->thickness ? o->thickness : thickness_for(image);
    int dot = o->text ? o->text : text_dot(items, n, image);

    if (t < 1) t = 1;
    for (int64_t i = 0; i < n; i++) { /* the line lies around the box */
        area *a = &items[i].at;

        a->x0 = a->x0 > t ? a->x0 - t : 0;
        a->y0 = a->y0 > t ? a->y0 - t : 0;
        a->x1 = a->x1 + t < image->width ? a->x1 + t : image->width;
        a->y1 = a->y1 + t < image->height ? a->y1 + t : image->height;
    }
    for (int64_t i = n - 1; i >= 0; i--)
        if (!items[i].box->truth)
            draw_solid(image, items[i].at, t, sg_annotate_color(items[i].box->label));
    for (int64_t i = n - 1; i >= 0; i--)
        if (items[i].box->truth) draw_dashed(image, items[i].at, t);
    place_tags(items, n, dot, image);
    for (int64_t i = n - 1; i >= 0; i--) draw_tag(image, &items[i], dot);
}

static sg_status check_options(const sg_image *image, const sg_annotate_options *o) {
    if (!image || !image->rgb || image->width < 1 || image->height < 1)
        return sg_fail(SG_ERR_ARG, "annotate: no picture");
    if (o->scale < 0 || o->scale > kMaxScale || o->text < 0 || o->text > kMaxScale ||
        o->thickness < 0)
        return sg_fail(SG_ERR_ARG,
                       "annotate: scale %d, text %d, thickness %d; 0 to %d, 0 to %d, "
                       "from 0",
                       o->scale, o->text, o->thickness, kMaxScale, kMaxScale);
    return SG_OK;
}

sg_status sg_annotate(const sg_image *image, const sg_annotate_box *boxes, int64_t n,
                      const sg_annotate_options *options, sg_image *out) {
    sg_annotate_options o = {0};
    sg_image result = {0};
    int64_t used = 0;
    item *items;
    sg_status st;

    if (options) o = *options;
    SG_TRY(check_options(image, &o));
    if (n < 0 || (n > 0 && !boxes)) return sg_fail(SG_ERR_ARG, "annotate: no boxes");
    if (!o.scale) o.scale = image->width < kSmallSide && image->height < kSmallSide ? 2 : 1;
    items = sg_calloc((size_t)n, sizeof *items);
    if (!items) return sg_fail(SG_ERR_OOM, "annotate: no memory for %lld boxes", (long long)n);
    st = enlarge(image, o.scale, &result);
    for (int64_t i = 0; i < n && st == SG_OK; i++) {
        const sg_annotate_box *b = &boxes[i];
        item *it = &items[used];

        if (!is_drawable(b, image)) continue;
        it->box = b;
        it->at.x0 = to_pixel(b->xmin, o.scale, result.width);
        it->at.y0 = to_pixel(b->ymin, o.scale, result.height);
        it->at.x1 = to_pixel(b->xmax, o.scale, result.width);
        it->at.y1 = to_pixel(b->ymax, o.scale, result.height);
        if (!o.no_tags) label_text(it);
        used++;
    }
    if (st == SG_OK) {
        qsort(items, (size_t)used, sizeof *items, by_score);
        draw_items(&result, items, used, &o);
        *out = result;
    }
    sg_free(items);
    return st;
}
