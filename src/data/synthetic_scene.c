/* One picture: who stands where, under which light.
 *
 * People are placed from the nearest (largest) to the farthest and drawn the other way round.
 * Someone farther away is put only where nobody nearer, head or body, will cover the face; so every
 * annotated face is seen. */
#include <string.h>

#include "core/mem.h"
#include "data/synthetic_parts.h"

enum {
    kMaxPeople = 16,
    kTries = 40,
    kSizes = 7,
};

static const float kSmall = 17.0f; /* heads up to here have a box of less than 16 pixels */

typedef struct {
    float x0, y0, x1, y1;
} zone;

typedef struct {
    float width, height, horizon, share;
    bool walls;
    int n;
    sg_person person[kMaxPeople]; /* nearest first */
    zone head[kMaxPeople], body[kMaxPeople];
} crowd;

static bool meets(zone a, zone b) {
    return a.x0 < b.x1 && b.x0 < a.x1 && a.y0 < b.y1 && b.y0 < a.y1;
}

static zone face_zone(const sg_person *p, float margin) {
    float box[4];

    sg_person_face(p, box);
    return (zone){box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin};
}

static zone around(const sg_person *p, float left, float top, float right, float bottom) {
    return (zone){p->x + left * p->size, p->y + top * p->size, p->x + right * p->size,
                  p->y + bottom * p->size};
}

/* What the person covers: the head with hair and hat, and the rest. */
static void person_zones(const sg_person *p, zone *head, zone *body) {
    float half = p->hat == SG_HAT_BRIM ? 0.78f : 0.64f;

    *head = around(p, -half, -0.9f, half, 0.6f);
    *body = around(p, -1.04f, 0.5f, 1.04f, 5.3f);
    if (p->framed) *body = around(p, -1.04f, -1.0f, 1.04f, 1.16f);
    if (p->wave)
        *body =
            around(p, p->lit < 0.0f ? -1.4f : -1.04f, -0.25f, p->lit > 0.0f ? 1.4f : 1.04f, 5.3f);
}

/* Head heights in pixels; an egg's box has the area of a square of 0.88 times that. */
static float draw_size(sg_random *r, int kind) {
    float u = sg_random_float(r);

    if (kind == 0) { /* a crowd */
        if (u < 0.45f) return sg_draw_range(r, 9.5f, 17.0f);
        return u < 0.85f ? sg_draw_range(r, 17.0f, 30.0f) : sg_draw_range(r, 30.0f, 52.0f);
    }
    if (kind == 1) { /* a group */
        if (u < 0.17f) return sg_draw_range(r, 9.5f, 17.0f);
        return u < 0.6f ? sg_draw_range(r, 18.0f, 38.0f) : sg_draw_range(r, 36.0f, 72.0f);
    }
    return sg_draw_range(r, 60.0f, 130.0f); /* a portrait; those behind are small */
}

/* `share`: of the default's picture, 0.4 .. 1. What is small stays, the rest shrinks. */
static int draw_sizes(sg_random *r, float share, float size[kMaxPeople]) {
    float u = sg_random_float(r);
    int kind = u < 0.4f ? 0 : u < 0.8f ? 1 : 2, n;

    if (kind == 0)
        n = 6 + sg_draw_below(r, 7);
    else if (kind == 1)
        n = 2 + sg_draw_below(r, 5);
    else
        n = 1 + sg_draw_below(r, 4);
    for (int i = 0; i < n; i++) size[i] = draw_size(r, kind == 2 && i > 0 ? 0 : kind);
    if (n > 1) n = 1 + (int)((float)(n - 1) * share + 0.5f);
    for (int i = 0; i < n; i++)
        if (size[i] > kSmall) size[i] = kSmall + (size[i] - kSmall) * share;
    for (int i = 1; i < n; i++) /* largest first */
        for (int j = i; j > 0 && size[j] > size[j - 1]; j--) {
            float t = size[j];

            size[j] = size[j - 1];
            size[j - 1] = t;
        }
    return n;
}

static void place(sg_random *r, const crowd *all, sg_person *p) {
    float margin = p->size * (sg_draw_chance(r, 0.08f) ? 0.25f : 0.5f);
    float lo = all->horizon - 5.0f * p->size, hi = all->height - 0.62f * p->size, u;

    p->x = sg_draw_range(r, margin, all->width - margin);
    if (p->framed) {
        lo = 0.7f * p->size;
        hi = all->horizon > 3.0f * p->size ? all->horizon - 1.2f * p->size : hi;
    }
    if (lo < 0.58f * p->size) lo = 0.58f * p->size;
    if (hi < lo) hi = lo;
    u = sg_random_float(r);
    if (sg_draw_chance(r, 0.6f)) u *= u; /* near the horizon rather than at our feet */
    p->y = lo + (hi - lo) * u;
}

/* May the face be seen there? */
static bool is_free(const crowd *all, const sg_person *p) {
    zone face = face_zone(p, 1.5f + 0.06f * p->size);

    for (int i = 0; i < all->n; i++)
        if (meets(face, all->head[i]) || meets(face, all->body[i])) return false;
    return true;
}

static void try_place(sg_random *r, crowd *all, sg_person *p) {
    for (int k = 0; k < kTries; k++) {
        place(r, all, p);
        if (!is_free(all, p)) continue;
        person_zones(p, &all->head[all->n], &all->body[all->n]);
        all->person[all->n++] = *p;
        return;
    }
}

/* Portraits hang behind everybody, so they are placed last. */
static void people(sg_random *r, crowd *all) {
    float size[kMaxPeople];
    sg_person p[kMaxPeople];
    int n = draw_sizes(r, all->share, size);

    for (int i = 0; i < n; i++) {
        sg_person_random(r, size[i], &p[i]);
        p[i].framed = sg_draw_chance(r, 0.12f) && all->walls && i > 0 && size[i] < 60.0f;
        p[i].back = sg_draw_chance(r, 0.08f) && i > 0 && size[i] > 13.0f;
        if (p[i].framed) p[i].wave = p[i].back = false;
    }
    for (int i = 0; i < n; i++)
        if (!p[i].framed) try_place(r, all, &p[i]);
    for (int i = 0; i < n; i++)
        if (p[i].framed) try_place(r, all, &p[i]);
}

/* Behind the people, and not beside a face: a mask there would seem to hang at its ear. */
static void distractors(sg_canvas *c, sg_random *r, const crowd *all) {
    for (int n = sg_draw_below(r, 9); n > 0; n--) {
        float x = all->width * sg_random_float(r), y = all->height * sg_random_float(r);
        float u = sg_random_float(r), size = 9.0f + 55.0f * u * u, reach = 0.7f * size;
        zone at = {x - reach, y - reach, x + reach, y + reach};
        bool beside = false;

        for (int i = 0; i < all->n; i++)
            if (meets(at, face_zone(&all->person[i], 0.4f * all->person[i].size))) beside = true;
        if (!beside) sg_distractor_draw(c, r, x, y, size);
    }
}

static int pixel(float x, int64_t end) {
    int i = (int)(x + 0.5f);

    return x < 0.0f ? 0 : i > end ? (int)end : i;
}

static void draw_people(sg_canvas *c, const crowd *all, sg_synthetic_scene *s) {
    for (int i = all->n - 1; i >= 0; i--) { /* farthest first */
        const sg_person *p = &all->person[i];
        sg_synthetic_face *face = &s->face[s->n_faces];
        float box[4];

        sg_person_draw(c, p, p->back ? 0 : (int16_t)(s->n_faces + 1));
        if (p->back) continue;
        sg_person_face(p, box);
        face->label = p->label;
        face->xmin = pixel(box[0], c->width);
        face->ymin = pixel(box[1], c->height);
        face->xmax = pixel(box[2], c->width);
        face->ymax = pixel(box[3], c->height);
        s->n_faces++;
    }
}

/* A gain in each corner, a cast of colour over all, now and then a shadow across. */
static void shine(sg_canvas *c, sg_random *r) {
    float gain = sg_draw_range(r, 0.78f, 1.12f), w = (float)c->width, h = (float)c->height;
    sg_color cast, corner[4];

    cast.r = gain * sg_draw_range(r, 0.93f, 1.07f);
    cast.g = gain * sg_draw_range(r, 0.95f, 1.05f);
    cast.b = gain * sg_draw_range(r, 0.91f, 1.07f);
    for (int i = 0; i < 4; i++) corner[i] = sg_color_scale(cast, sg_draw_range(r, 0.82f, 1.14f));
    if (sg_draw_chance(r, 0.2f)) {
        float x = w * sg_draw_range(r, 0.0f, 0.8f), span = w * sg_draw_range(r, 0.15f, 0.5f);
        float slant = w * sg_draw_range(r, -0.4f, 0.4f);
        sg_point band[4] = {{x, 0.0f}, {x + span, 0.0f}, {x + span + slant, h}, {x + slant, h}};

        c->mark = SG_MARK_KEEP;
        sg_raster_polygon(c, sg_frame_pixels(), band, 4,
                          sg_paint_alpha(sg_rgb(20.0f, 22.0f, 34.0f), 0.22f));
    }
    sg_canvas_light(c, corner);
}

static sg_status draw_scene(uint64_t key, float share, sg_canvas *c, sg_synthetic_scene *s) {
    sg_random r = sg_random_init(key);
    crowd all = {.width = (float)c->width, .height = (float)c->height, .share = share};
    float noise = sg_draw_range(&r, 0.0f, 4.0f), blur = sg_draw_range(&r, -0.3f, 0.5f);

    sg_background_draw(c, &r, &all.horizon, &all.walls);
    people(&r, &all);
    distractors(c, &r, &all);
    draw_people(c, &all, s);
    shine(c, &r);
    if (blur > 0.0f) sg_canvas_blur(c, blur);
    return sg_canvas_finish(c, sg_key_mix(key, sg_key_name("noise")), noise, &s->image);
}

sg_status sg_synthetic_draw(uint64_t seed, int side, const char *split, int64_t index,
                            sg_synthetic_scene *out) {
    static const int64_t size[kSizes][2] = {{320, 240}, {352, 264}, {368, 276}, {400, 300},
                                            {320, 214}, {264, 336}, {300, 300}};
    uint64_t key = sg_key_mix(sg_key_mix(seed, sg_key_name(split)), (uint64_t)index);
    int64_t shape = sg_permute(sg_key_mix(seed, sg_key_name("shapes")), kSizes, index % kSizes);
    sg_synthetic_scene s = {0};
    sg_canvas c;
    sg_status st;

    if (side == 0) side = SG_SYNTHETIC_SIDE;
    if (side < SG_SYNTHETIC_SIDE_MIN || side > SG_SYNTHETIC_SIDE)
        return sg_fail(SG_ERR_ARG, "synthetic: pictures of %d pixels; %d to %d", side,
                       (int)SG_SYNTHETIC_SIDE_MIN, (int)SG_SYNTHETIC_SIDE);
    SG_TRY(sg_canvas_create(size[shape][0] * side / SG_SYNTHETIC_SIDE,
                            size[shape][1] * side / SG_SYNTHETIC_SIDE, &c));
    st = draw_scene(key, (float)side / (float)SG_SYNTHETIC_SIDE, &c, &s);
    if (st == SG_OK) {
        s.owner = c.owner;
        c.owner = NULL;
        *out = s;
    }
    sg_canvas_clear(&c);
    return st;
}

void sg_synthetic_scene_clear(sg_synthetic_scene *scene) {
    sg_image_clear(&scene->image);
    sg_free(scene->owner);
    memset(scene, 0, sizeof *scene);
}
