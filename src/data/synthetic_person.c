/* One person. Everything is in units of the head's height, see sg_person.
 *
 * The classes must be told apart even at ten pixels: the mask's upper edge is at -0.06 (worn well:
 * over the nose), 0.17 (under the nose's tip at 0.13) or 0.37 (under the mouth at 0.26). Details
 * that would only blur a small face are left out under kFine pixels, eyes and nose grow instead. */
#include <math.h>
#include <stddef.h>

#include "data/synthetic_parts.h"

static const float kFine = SG_FINE;
static const float kEggWidth = 0.39f, kEggTaper = 0.13f;

enum { kEggPoints = 48, kJaw = 10, kEdge = 7 };

/* ---- head ---- */

/* Half the egg's width at y, for an egg that is `grow` times as large. */
static float egg_half(float y, float grow) {
    float t = 2.0f * y / grow;

    if (t <= -1.0f || t >= 1.0f) return 0.0f;
    return grow * kEggWidth * sqrtf(1.0f - t * t) * (1.0f - kEggTaper * t);
}

static void egg_points(sg_point *p) {
    sg_raster_circle_points(p, kEggPoints);
    for (int i = 0; i < kEggPoints; i++) {
        p[i].x *= kEggWidth * (1.0f - kEggTaper * p[i].y);
        p[i].y *= 0.5f;
    }
}

static sg_frame head_frame(const sg_person *p) { return sg_frame_at(p->x, p->y, p->size, p->tilt); }

void sg_person_face(const sg_person *p, float box[4]) {
    sg_point egg[kEggPoints];
    sg_frame f = head_frame(p);

    egg_points(egg);
    box[0] = box[2] = p->x;
    box[1] = box[3] = p->y;
    for (int i = 0; i < kEggPoints; i++) {
        sg_point q = sg_frame_map(f, egg[i].x, egg[i].y);

        if (q.x < box[0]) box[0] = q.x;
        if (q.y < box[1]) box[1] = q.y;
        if (q.x > box[2]) box[2] = q.x;
        if (q.y > box[3]) box[3] = q.y;
    }
}

/* From the lit side to the other, in the frame of the head. */
static sg_paint shaded(const sg_person *p, sg_color c, float dark) {
    sg_frame f = head_frame(p);

    return sg_paint_linear(sg_color_scale(c, 1.04f), sg_color_scale(c, dark),
                           sg_frame_map(f, 0.3f * p->lit, -0.3f),
                           sg_frame_map(f, -0.45f * p->lit, 0.4f));
}

static void draw_hair_back(sg_canvas *c, const sg_person *p, sg_frame f) {
    sg_paint k = sg_paint_solid(sg_color_scale(p->hair_color, 0.85f));

    switch (p->hair) {
    case SG_HAIR_LONG:
        sg_raster_round_rect(c, f, -0.49f, -0.5f, 0.49f, 0.68f, 0.3f, k);
        break;
    case SG_HAIR_BOB:
        sg_raster_round_rect(c, f, -0.5f, -0.52f, 0.5f, 0.36f, 0.25f, k);
        break;
    case SG_HAIR_BUN:
        sg_raster_ellipse(c, f, 0.0f, -0.64f, 0.18f, 0.17f, k);
        break;
    case SG_HAIR_TAIL:
        sg_raster_ellipse(c, sg_frame_inside(f, p->lit * 0.5f, 0.05f, 1.0f, -0.3f * p->lit), 0.0f,
                          0.0f, 0.12f, 0.36f, k);
        break;
    case SG_HAIR_CURLY: {
        sg_point bump[12];

        sg_raster_circle_points(bump, 12);
        for (int i = 0; i < 12; i++)
            if (bump[i].y < 0.6f)
                sg_raster_ellipse(c, f, 0.44f * bump[i].x, 0.42f * bump[i].y - 0.14f, 0.17f, 0.17f,
                                  k);
        break;
    }
    case SG_HAIR_SCARF:
        k = shaded(p, p->hat_color, 0.75f);
        sg_raster_ellipse(c, f, 0.0f, -0.02f, 0.51f, 0.6f, k);
        sg_raster_round_rect(c, f, -0.46f, 0.1f, 0.46f, 0.8f, 0.2f, k);
        break;
    default:
        break;
    }
}

/* Hair over the forehead: between an outer arc and the hairline, both ending at the temples. */
static void draw_hair_front(sg_canvas *c, const sg_person *p, sg_frame f) {
    sg_point circle[kEggPoints], cap[2 * 13];
    float line = p->hair == SG_HAIR_BOB ? 0.16f : 0.25f, part = 0.06f * p->lit;
    int n = 0;

    if (p->hair == SG_HAIR_BALD || p->hair == SG_HAIR_SCARF) return;
    sg_raster_circle_points(circle, kEggPoints);
    for (int i = 24; i <= 48; i += 2) { /* from the left over the top to the right */
        sg_point q = circle[i % kEggPoints];

        cap[n++] = (sg_point){0.43f * q.x, 0.49f * q.y - 0.07f};
    }
    for (int i = 48; i >= 24; i -= 2) {
        sg_point q = circle[i % kEggPoints];

        cap[n++] = (sg_point){0.355f * q.x + part * (1.0f - q.x * q.x), line * q.y - 0.05f};
    }
    sg_raster_polygon(c, f, cap, n, shaded(p, p->hair_color, 0.8f));
}

/* The upper half of an ellipse, closed by a straight edge at y. */
static void draw_dome(sg_canvas *c, sg_frame f, float y, float rx, float ry, sg_paint k) {
    sg_point circle[kEggPoints], half[kEggPoints / 2 + 1];

    sg_raster_circle_points(circle, kEggPoints);
    for (int i = 0; i <= kEggPoints / 2; i++) {
        sg_point q = circle[(kEggPoints / 2 + i) % kEggPoints];

        half[i] = (sg_point){rx * q.x, y + ry * q.y};
    }
    sg_raster_polygon(c, f, half, kEggPoints / 2 + 1, k);
}

static void draw_hat(sg_canvas *c, const sg_person *p, sg_frame f) {
    sg_paint k = shaded(p, p->hat_color, 0.75f);
    sg_paint dark = sg_paint_solid(sg_color_scale(p->hat_color, 0.65f));

    switch (p->hat) {
    case SG_HAT_CAP:
        draw_dome(c, f, -0.24f, 0.43f, 0.4f, k);
        sg_raster_round_rect(c, f, -0.2f + 0.24f * p->lit, -0.28f, 0.34f + 0.24f * p->lit, -0.2f,
                             0.04f, dark);
        break;
    case SG_HAT_BEANIE:
        draw_dome(c, f, -0.24f, 0.43f, 0.46f, k);
        sg_raster_round_rect(c, f, -0.44f, -0.34f, 0.44f, -0.2f, 0.06f, dark);
        sg_raster_ellipse(c, f, 0.0f, -0.72f, 0.09f, 0.09f, dark);
        break;
    case SG_HAT_BRIM:
        draw_dome(c, f, -0.26f, 0.38f, 0.44f, k);
        sg_raster_ellipse(c, f, 0.0f, -0.27f, 0.72f, 0.09f, k);
        sg_raster_round_rect(c, f, -0.38f, -0.37f, 0.38f, -0.28f, 0.02f, dark);
        break;
    case SG_HAT_HELMET:
        k = shaded(p, sg_rgb(240.0f, 190.0f, 50.0f), 0.75f);
        draw_dome(c, f, -0.24f, 0.46f, 0.44f, k);
        sg_raster_round_rect(c, f, -0.52f, -0.28f, 0.52f, -0.2f, 0.04f, k);
        break;
    default:
        break;
    }
}

static void draw_eyes(sg_canvas *c, const sg_person *p, sg_frame f) {
    sg_paint white = sg_paint_solid(sg_rgb(246.0f, 244.0f, 240.0f));
    sg_paint dark = sg_paint_solid(sg_rgb(38.0f, 28.0f, 26.0f));
    sg_paint brow = sg_paint_solid(sg_color_scale(p->hair_color, 0.8f));

    for (float side = -1.0f; side < 2.0f; side += 2.0f) {
        float x = 0.155f * side + p->look;

        if (p->size < kFine) {
            sg_raster_ellipse(c, f, x, -0.07f, 0.06f, 0.06f, dark);
            continue;
        }
        sg_raster_ellipse(c, f, x, -0.06f, 0.068f, 0.046f, white);
        sg_raster_ellipse(c, f, x + 0.3f * p->look, -0.06f, 0.036f, 0.042f, dark);
        sg_raster_line(c, f, x - 0.075f, -0.15f, x + 0.075f, -0.15f, 0.028f, brow);
    }
}

static void draw_nose(sg_canvas *c, const sg_person *p, sg_frame f) {
    float x = 1.3f * p->look;
    sg_paint k = sg_paint_solid(sg_color_scale(p->skin, p->size < kFine ? 0.7f : 0.82f));
    sg_point side[3] = {{p->look, -0.05f}, {x - 0.085f * p->lit, 0.1f}, {x, 0.115f}};

    if (p->size < kFine) {
        sg_raster_ellipse(c, f, x, 0.075f, 0.065f, 0.06f, k);
        return;
    }
    sg_raster_polygon(c, f, side, 3, k);
    sg_raster_ellipse(c, f, x, 0.1f, 0.066f, 0.036f, k);
    k = sg_paint_solid(sg_color_scale(p->skin, 0.5f));
    sg_raster_ellipse(c, f, x - 0.033f, 0.115f, 0.016f, 0.012f, k);
    sg_raster_ellipse(c, f, x + 0.033f, 0.115f, 0.016f, 0.012f, k);
}

static void draw_mouth(sg_canvas *c, const sg_person *p, sg_frame f) {
    sg_color lips = sg_color_mix(sg_rgb(172.0f, 46.0f, 52.0f), p->skin, 0.2f);
    sg_paint k = sg_paint_solid(lips);
    float x = 1.1f * p->look;
    sg_point smile[10];

    if (p->size < kFine) {
        sg_raster_ellipse(c, f, x, 0.265f, 0.12f, 0.05f, k);
        return;
    }
    if (p->mouth == 2) {
        sg_raster_ellipse(c, f, x, 0.27f, 0.09f, 0.06f, k);
        sg_raster_ellipse(c, f, x, 0.272f, 0.065f, 0.036f,
                          sg_paint_solid(sg_rgb(70.0f, 18.0f, 22.0f)));
        return;
    }
    for (int i = 0; i < 5; i++) { /* two parabolas that meet at the corners */
        float u = -1.0f + 0.5f * (float)i, bend = p->mouth == 0 ? 0.05f : 0.0f;

        smile[i] = (sg_point){x + 0.135f * u, 0.25f + bend * (1.0f - u * u) - 0.014f};
        smile[9 - i] = (sg_point){x + 0.135f * u, 0.25f + (bend + 0.03f) * (1.0f - u * u) + 0.014f};
    }
    sg_raster_polygon(c, f, smile, 10, k);
}

static void draw_glasses(sg_canvas *c, const sg_person *p, sg_frame f) {
    sg_color rim = p->glasses == 2 ? sg_rgb(22.0f, 22.0f, 26.0f) : sg_rgb(48.0f, 40.0f, 40.0f);
    sg_paint k = sg_paint_solid(rim);
    sg_point circle[24], ring[50];

    for (float side = -1.0f; side < 2.0f; side += 2.0f) {
        float x = 0.17f * side + p->look;

        if (p->glasses == 2) {
            sg_raster_ellipse(c, f, x, -0.05f, 0.135f, 0.095f, sg_paint_alpha(rim, 0.92f));
            continue;
        }
        sg_raster_circle_points(circle, 24);
        for (int i = 0; i < 25; i++) { /* once round outside, and back inside */
            sg_point q = circle[i % 24];

            ring[i] = (sg_point){x + 0.13f * q.x, 0.105f * q.y - 0.055f};
            ring[49 - i] = (sg_point){x + 0.108f * q.x, 0.083f * q.y - 0.055f};
        }
        sg_raster_polygon(c, f, ring, 50, k);
    }
    sg_raster_line(c, f, p->look - 0.05f, -0.06f, p->look + 0.05f, -0.06f, 0.03f, k);
    sg_raster_line(c, f, -0.38f, -0.06f, p->look - 0.29f, -0.06f, 0.03f, k);
    sg_raster_line(c, f, p->look + 0.29f, -0.06f, 0.38f, -0.06f, 0.03f, k);
}

/* ---- mask ---- */

static sg_paint mask_paint(const sg_person *p, sg_frame f) {
    sg_paint k = shaded(p, p->mask, 0.84f);

    if (p->mask_style == 2 || p->mask_style == 3) {
        k.kind = p->mask_style == 2 ? SG_PAINT_STRIPES : SG_PAINT_CHECKS;
        k.a = p->mask;
        k.b = p->mask_2;
        k.frame = sg_frame_inside(f, 0.0f, 0.0f, 0.2f, 0.78f * p->lit);
    }
    return k;
}

/* Cloth over the lower face: its upper edge runs from the sides at y = `side` to `top` in the
 * middle, below it follows an egg `grow` times the head's, down to `bottom`. */
static void draw_cloth(sg_canvas *c, const sg_person *p, sg_frame f, float side, float top,
                       float bottom, float grow) {
    sg_point q[2 * kJaw + kEdge];
    int n = 0;
    float width = egg_half(side, grow);

    for (int i = 0; i < kJaw; i++) { /* right, downwards; denser near the chin */
        float t = 1.0f - (float)i / (float)kJaw, y = side + (bottom - side) * (1.0f - t * t);

        q[i] = (sg_point){egg_half(y, grow), y};
        q[2 * kJaw - 1 - i] = (sg_point){-q[i].x, y};
    }
    n = 2 * kJaw;
    for (int i = 1; i <= kEdge; i++) {
        float u = -1.0f + 2.0f * (float)i / (float)(kEdge + 1), v = 1.0f - u * u;

        q[n++] = (sg_point){width * u + p->look * v, side + (top - side) * v};
    }
    sg_raster_polygon(c, f, q, n, mask_paint(p, f));
}

static void draw_folds(sg_canvas *c, const sg_person *p, sg_frame f, float top, float bottom) {
    sg_paint k = sg_paint_alpha(sg_color_scale(p->mask, 0.72f), 0.8f);

    if (p->size < kFine) return;
    if (p->mask_style == 1) {
        sg_raster_line(c, f, p->look, top + 0.01f, 0.6f * p->look, bottom - 0.03f, 0.018f, k);
        return;
    }
    if (p->mask_style != 0) return;
    for (int i = 1; i <= 3; i++) {
        float y = top + (bottom - top) * (float)i / 4.4f + 0.03f, w = 0.8f * egg_half(y, 1.0f);

        sg_raster_line(c, f, p->look - w, y, p->look + w, y, 0.016f, k);
    }
}

static void draw_straps(sg_canvas *c, const sg_person *p, sg_frame f, float side, float ear) {
    sg_paint k = sg_paint_alpha(sg_color_mix(p->mask, sg_rgb(235.0f, 235.0f, 235.0f), 0.5f), 0.8f);
    float w = egg_half(side, 1.0f);

    if (p->size < kFine) return;
    sg_raster_line(c, f, -w, side + 0.01f, -0.39f, ear, 0.02f, k);
    sg_raster_line(c, f, w, side + 0.01f, 0.39f, ear, 0.02f, k);
}

static void draw_hanging(sg_canvas *c, const sg_person *p, sg_frame f) {
    sg_frame g = sg_frame_inside(f, 0.4f * p->lit, 0.0f, 1.0f, -0.16f * p->lit - p->tilt * 0.5f);
    sg_paint edge = sg_paint_solid(sg_color_scale(p->mask, 0.6f));
    sg_paint k = mask_paint(p, g);

    sg_raster_line(c, g, 0.0f, -0.04f, -0.1f, 0.14f, 0.02f, edge);
    sg_raster_line(c, g, 0.0f, -0.04f, 0.1f, 0.14f, 0.02f, edge);
    sg_raster_round_rect(c, g, -0.155f, 0.105f, 0.155f, 0.515f, 0.06f, edge);
    sg_raster_round_rect(c, g, -0.14f, 0.12f, 0.14f, 0.5f, 0.05f, k);
    if (p->mask_style == 0)
        for (float x = -0.06f; x < 0.1f; x += 0.06f)
            sg_raster_line(c, g, x, 0.15f, x, 0.47f, 0.012f, edge);
}

static void draw_mask_on(sg_canvas *c, const sg_person *p, sg_frame f) {
    if (p->label == SG_WITHOUT_MASK) return;
    if (p->label == SG_WITH_MASK) {
        draw_straps(c, p, f, 0.06f, -0.02f);
        draw_straps(c, p, f, 0.3f, 0.08f);
        draw_cloth(c, p, f, 0.05f, -0.065f, 0.525f, 1.05f);
        draw_folds(c, p, f, 0.0f, 0.52f);
        return;
    }
    if (p->worn == SG_WORN_UNDER_NOSE) {
        draw_straps(c, p, f, 0.22f, 0.0f);
        draw_cloth(c, p, f, 0.2f, 0.175f, 0.53f, 1.06f);
        draw_folds(c, p, f, 0.18f, 0.52f);
    } else if (p->worn == SG_WORN_ON_CHIN) {
        draw_straps(c, p, f, 0.3f, 0.02f);
        draw_cloth(c, p, f, 0.27f, 0.385f, 0.585f, 1.17f);
    } else {
        draw_hanging(c, p, f);
    }
}

static void draw_beard(sg_canvas *c, const sg_person *p, sg_frame f) {
    sg_person hair = *p;

    if (!p->beard) return;
    hair.mask = p->hair_color;
    hair.mask_style = 0;
    draw_cloth(c, &hair, f, 0.1f, 0.2f, 0.54f, 1.07f);
}

static void draw_head(sg_canvas *c, const sg_person *p, int16_t mark) {
    sg_frame f = head_frame(p);
    sg_point egg[kEggPoints];
    sg_color color = p->skin;

    if (p->back && p->hair != SG_HAIR_BALD)
        color = p->hair == SG_HAIR_SCARF ? p->hat_color : p->hair_color;
    egg_points(egg);
    c->mark = SG_MARK_KEEP;
    if (p->hair != SG_HAIR_SCARF)
        for (float side = -1.0f; side < 2.0f; side += 2.0f)
            sg_raster_ellipse(c, f, 0.39f * side, 0.02f, 0.06f, 0.1f,
                              sg_paint_solid(sg_color_scale(p->skin, 0.85f)));
    c->mark = mark;
    sg_raster_polygon(c, f, egg, kEggPoints, shaded(p, color, 0.84f));
    c->mark = SG_MARK_KEEP; /* what lies on the face is the face's, what stands out is not */
    if (p->back) {
        draw_hair_front(c, p, f);
        draw_hat(c, p, f);
        return;
    }
    draw_eyes(c, p, f);
    draw_nose(c, p, f);
    draw_beard(c, p, f);
    draw_mouth(c, p, f);
    draw_hair_front(c, p, f);
    draw_hat(c, p, f);
    draw_mask_on(c, p, f);
    if (p->glasses && p->size >= 0.75f * kFine) draw_glasses(c, p, f);
}

/* ---- body ---- */

void sg_hand_draw(sg_canvas *c, sg_frame f, sg_color skin) {
    sg_paint k = sg_paint_solid(skin);

    for (int i = 0; i < 4; i++) {
        float x = -0.3f + 0.2f * (float)i;

        sg_raster_line(c, f, 0.6f * x, 0.0f, x * 1.3f, -0.62f + 0.5f * x * x, 0.17f, k);
    }
    sg_raster_line(c, f, 0.2f, 0.15f, 0.52f, -0.2f, 0.17f, k);
    sg_raster_ellipse(c, f, 0.0f, 0.1f, 0.34f, 0.36f, k);
}

static void draw_arms(sg_canvas *c, const sg_person *p, sg_frame f, sg_paint shirt) {
    sg_color skin = sg_color_scale(p->skin, 0.94f);

    for (float side = -1.0f; side < 2.0f; side += 2.0f) {
        if (p->wave && side * p->lit > 0.0f) {
            sg_raster_line(c, f, 0.7f * side, 1.0f, 1.12f * side, 0.45f, 0.27f, shirt);
            sg_hand_draw(c, sg_frame_inside(f, 1.16f * side, 0.2f, 0.36f, 0.1f * side), skin);
            continue;
        }
        sg_raster_ellipse(c, f, 0.86f * side, 2.2f, 0.13f, 0.17f, sg_paint_solid(skin));
        sg_raster_line(c, f, 0.68f * side, 0.9f, 0.86f * side, 2.12f, 0.28f, shirt);
    }
}

static void draw_shirt_details(sg_canvas *c, const sg_person *p, sg_frame f, float bottom) {
    sg_paint k = sg_paint_solid(p->shirt_2);

    if (p->size < 0.6f * kFine) return;
    if (p->shirt_style == 2) {
        sg_point opening[3] = {{-0.2f, 0.56f}, {0.2f, 0.56f}, {0.0f, 1.3f}};

        if (bottom < 1.3f) opening[2].y = bottom;
        sg_raster_polygon(c, f, opening, 3, k);
        sg_raster_line(c, f, 0.0f, opening[2].y, 0.0f, bottom, 0.03f,
                       sg_paint_solid(sg_color_scale(p->shirt, 0.6f)));
    } else if (p->shirt_style == 3) {
        sg_point collar[4] = {{-0.26f, 0.58f}, {0.26f, 0.58f}, {0.12f, 0.86f}, {-0.12f, 0.86f}};
        sg_point tie[4] = {{-0.05f, 0.7f}, {0.05f, 0.7f}, {0.1f, 1.6f}, {-0.1f, 1.6f}};

        if (bottom < 1.7f) tie[2].y = tie[3].y = bottom;
        sg_raster_polygon(c, f, collar, 4, sg_paint_solid(sg_rgb(238.0f, 238.0f, 236.0f)));
        sg_raster_polygon(c, f, tie, 4, k);
    }
}

static void draw_body(sg_canvas *c, const sg_person *p) {
    sg_frame f = sg_frame_at(p->x, p->y, p->size, 0.0f);
    float bottom = p->framed ? 0.98f : 2.65f, waist = p->framed ? 0.78f : 0.68f;
    sg_point torso[10] = {{-0.22f, 0.58f}, {0.22f, 0.58f},  {0.6f, 0.72f},    {0.76f, 0.82f},
                          {0.82f, 0.96f},  {waist, bottom}, {-waist, bottom}, {-0.82f, 0.96f},
                          {-0.76f, 0.82f}, {-0.6f, 0.72f}};
    sg_paint shirt = sg_paint_linear(p->shirt, sg_color_scale(p->shirt, 0.72f),
                                     sg_frame_map(f, 0.5f * p->lit, 0.6f),
                                     sg_frame_map(f, -0.6f * p->lit, 2.4f));
    sg_paint trousers = sg_paint_solid(p->trousers);

    if (!p->framed) {
        for (float side = -1.0f; side < 2.0f; side += 2.0f) {
            sg_raster_line(c, f, 0.34f * side, 2.5f, 0.38f * side, 5.1f, 0.52f, trousers);
            sg_raster_ellipse(c, f, 0.46f * side, 5.15f, 0.3f, 0.13f,
                              sg_paint_solid(sg_color_scale(p->trousers, 0.5f)));
        }
    }
    if (!p->framed) draw_arms(c, p, f, shirt);
    if (p->shirt_style == 1) {
        shirt.kind = SG_PAINT_STRIPES;
        shirt.b = p->shirt_2;
        shirt.frame = sg_frame_inside(f, 0.0f, 0.0f, 0.34f, 1.5708f);
    }
    sg_raster_rect(c, f, -0.15f, 0.3f, 0.15f, 0.66f, sg_paint_solid(sg_color_scale(p->skin, 0.8f)));
    sg_raster_polygon(c, f, torso, 10, shirt);
    if (!p->back) {
        sg_raster_ellipse(c, f, 0.0f, 0.57f, 0.2f, 0.11f,
                          sg_paint_solid(sg_color_scale(p->skin, 0.8f)));
        draw_shirt_details(c, p, f, bottom);
    }
}

static void draw_frame_on_wall(sg_canvas *c, const sg_person *p) {
    sg_frame f = sg_frame_at(p->x, p->y, p->size, 0.0f);

    sg_raster_rect(c, f, -1.02f, -0.98f, 1.02f, 1.14f, sg_paint_solid(p->trousers));
    sg_raster_rect(c, f, -0.9f, -0.86f, 0.9f, 1.02f,
                   sg_paint_solid(sg_color_mix(p->shirt_2, sg_rgb(225.0f, 222.0f, 210.0f), 0.7f)));
}

void sg_person_draw(sg_canvas *c, const sg_person *p, int16_t mark) {
    c->mark = 0;
    if (p->framed) draw_frame_on_wall(c, p);
    draw_hair_back(c, p, head_frame(p));
    draw_body(c, p);
    if (p->hair == SG_HAIR_SCARF) draw_hair_back(c, p, head_frame(p));
    draw_head(c, p, mark);
}
