/* What is behind the people: a room, a street, a park, a shop, a wall with stripes, lights at
 * night; and things that a careless detector would take for a face. */
#include "data/synthetic_parts.h"

static sg_paint vertical(const sg_canvas *c, sg_color top, sg_color bottom) {
    sg_point from = {0.0f, 0.0f}, to = {0.0f, (float)c->height};

    return sg_paint_linear(top, bottom, from, to);
}

static void fill(sg_canvas *c, float y0, float y1, sg_paint k) {
    sg_raster_rect(c, sg_frame_pixels(), 0.0f, y0, (float)c->width, y1, k);
}

static sg_color draw_wall_color(sg_random *r) {
    static const sg_color paint[] = {{226, 218, 200}, {190, 206, 210}, {206, 196, 216},
                                     {200, 214, 186}, {224, 200, 180}, {150, 160, 170},
                                     {214, 210, 206}, {130, 112, 100}};

    return sg_draw_near(r, paint[sg_draw_below(r, sizeof paint / sizeof paint[0])], 12.0f);
}

static void draw_window(sg_canvas *c, sg_random *r, float x, float y, float w, float h) {
    sg_frame f = sg_frame_pixels();
    sg_color sky = sg_draw_near(r, sg_rgb(176.0f, 206.0f, 232.0f), 18.0f);
    sg_paint bar = sg_paint_solid(sg_rgb(240.0f, 238.0f, 232.0f));
    sg_point from = {x, y}, to = {x, y + h};

    sg_raster_rect(c, f, x - 4.0f, y - 4.0f, x + w + 4.0f, y + h + 4.0f, bar);
    sg_raster_rect(c, f, x, y, x + w, y + h,
                   sg_paint_linear(sky, sg_color_mix(sky, sg_rgb(240, 240, 230), 0.7f), from, to));
    sg_raster_rect(c, f, x + w * 0.5f - 1.5f, y, x + w * 0.5f + 1.5f, y + h, bar);
    sg_raster_rect(c, f, x, y + h * 0.45f - 1.5f, x + w, y + h * 0.45f + 1.5f, bar);
}

static void draw_plant(sg_canvas *c, sg_random *r, float x, float y, float size) {
    sg_frame f = sg_frame_at(x, y, size, 0.0f);

    for (int i = 0; i < 7; i++) {
        sg_color leaf = sg_draw_near(r, sg_rgb(62.0f, 124.0f, 70.0f), 24.0f);
        sg_frame g = sg_frame_inside(f, 0.0f, 0.0f, 1.0f, -1.2f + 0.4f * (float)i);

        sg_raster_ellipse(c, g, 0.0f, -0.55f, 0.13f, 0.5f, sg_paint_solid(leaf));
    }
    sg_raster_polygon(c, f, (sg_point[]){{-0.3f, 0.0f}, {0.3f, 0.0f}, {0.2f, 0.5f}, {-0.2f, 0.5f}},
                      4, sg_paint_solid(sg_draw_near(r, sg_rgb(176.0f, 96.0f, 66.0f), 20.0f)));
}

static float draw_room(sg_canvas *c, sg_random *r) {
    float w = (float)c->width, h = (float)c->height;
    float floor_y = h * sg_draw_range(r, 0.62f, 0.85f), x = w * sg_draw_range(r, 0.03f, 0.2f);
    sg_color wall = draw_wall_color(r);
    sg_color boards = sg_draw_near(r, sg_rgb(150.0f, 112.0f, 78.0f), 24.0f);
    sg_paint floor_paint = {.kind = SG_PAINT_STRIPES, .alpha = 1.0f};

    fill(c, 0.0f, floor_y, vertical(c, sg_color_scale(wall, 1.06f), sg_color_scale(wall, 0.8f)));
    floor_paint.a = boards;
    floor_paint.b = sg_color_scale(boards, 0.92f);
    floor_paint.frame = sg_frame_at(0.0f, floor_y, sg_draw_range(r, 14.0f, 40.0f), 0.0f);
    fill(c, floor_y, h, floor_paint);
    fill(c, floor_y - 5.0f, floor_y, sg_paint_solid(sg_color_scale(wall, 1.15f)));
    for (int i = sg_draw_below(r, 4); i > 0; i--) {
        float size = w * sg_draw_range(r, 0.1f, 0.22f);
        float y = h * sg_draw_range(r, 0.06f, 0.25f);

        draw_window(c, r, x, y, size, size * 1.25f);
        x += size + w * sg_draw_range(r, 0.06f, 0.3f);
    }
    if (sg_draw_chance(r, 0.5f)) {
        float at = w * sg_draw_range(r, 0.1f, 0.9f), size = h * sg_draw_range(r, 0.1f, 0.24f);

        draw_plant(c, r, at, floor_y + 0.1f * size, size);
    }
    return floor_y;
}

static void draw_house(sg_canvas *c, sg_random *r, float x0, float x1, float top, float ground) {
    sg_frame f = sg_frame_pixels();
    sg_color wall = draw_wall_color(r);
    float pitch = sg_draw_range(r, 13.0f, 26.0f), share = sg_draw_range(r, 0.4f, 0.62f);
    bool lit = sg_draw_chance(r, 0.2f);
    sg_color pane = lit ? sg_rgb(250.0f, 222.0f, 150.0f) : sg_rgb(86.0f, 104.0f, 124.0f);

    wall = sg_color_scale(wall, 0.85f);
    sg_raster_rect(c, f, x0, top, x1, ground, vertical(c, sg_color_scale(wall, 1.05f), wall));
    for (float y = top + 8.0f; y + pitch * share < ground - 8.0f; y += pitch * 1.15f)
        for (float x = x0 + 5.0f; x + pitch * share < x1 - 3.0f; x += pitch)
            sg_raster_rect(c, f, x, y, x + pitch * share, y + pitch * share * 1.3f,
                           sg_paint_solid(pane));
}

static float draw_street(sg_canvas *c, sg_random *r) {
    float w = (float)c->width, h = (float)c->height;
    float ground = h * sg_draw_range(r, 0.5f, 0.72f), x = 0.0f;
    sg_color sky = sg_draw_near(r, sg_rgb(160.0f, 190.0f, 220.0f), 24.0f);
    sg_color stone = sg_draw_near(r, sg_rgb(136.0f, 134.0f, 132.0f), 18.0f);

    fill(c, 0.0f, h, vertical(c, sky, sg_rgb(226.0f, 224.0f, 216.0f)));
    while (x < w) {
        float width = w * sg_draw_range(r, 0.14f, 0.34f), top = h * sg_draw_range(r, 0.0f, 0.3f);

        draw_house(c, r, x, x + width, top, ground);
        x += width;
    }
    fill(c, ground, h, vertical(c, sg_color_scale(stone, 1.2f), sg_color_scale(stone, 0.85f)));
    for (int i = 0; i < 5; i++) { /* joints of the pavement */
        float y = ground + (h - ground) * (float)(i * i) / 25.0f;

        fill(c, y, y + 1.0f, sg_paint_solid(sg_color_scale(stone, 0.75f)));
    }
    return ground;
}

static float draw_park(sg_canvas *c, sg_random *r) {
    float w = (float)c->width, h = (float)c->height, ground = h * sg_draw_range(r, 0.42f, 0.65f);
    sg_frame f = sg_frame_pixels();
    sg_color sky = sg_draw_near(r, sg_rgb(146.0f, 194.0f, 236.0f), 20.0f);
    sg_color grass = sg_draw_near(r, sg_rgb(122.0f, 164.0f, 84.0f), 22.0f);

    fill(c, 0.0f, h, vertical(c, sky, sg_rgb(236.0f, 238.0f, 236.0f)));
    for (int i = 0; i < 3; i++) { /* clouds */
        float x = w * sg_draw_range(r, 0.0f, 1.0f), y = h * sg_draw_range(r, 0.03f, 0.25f);
        float s = sg_draw_range(r, 12.0f, 26.0f);

        for (int j = -1; j <= 1; j++)
            sg_raster_ellipse(c, f, x + s * (float)j, y + (j ? 3.0f : 0.0f), s, s * 0.55f,
                              sg_paint_alpha(sg_rgb(250.0f, 250.0f, 250.0f), 0.8f));
    }
    sg_raster_ellipse(c, f, w * 0.3f, ground + 20.0f, w * 0.6f, h * 0.2f,
                      sg_paint_solid(sg_color_scale(grass, 0.82f)));
    fill(c, ground, h, vertical(c, sg_color_scale(grass, 0.9f), sg_color_scale(grass, 1.1f)));
    for (int i = 2 + sg_draw_below(r, 4); i > 0; i--) {
        float x = w * sg_draw_range(r, 0.0f, 1.0f), s = h * sg_draw_range(r, 0.1f, 0.2f);
        float y = ground + h * sg_draw_range(r, -0.02f, 0.08f);
        sg_color leaf = sg_draw_near(r, sg_rgb(70.0f, 124.0f, 66.0f), 24.0f);

        sg_raster_rect(c, f, x - 0.1f * s, y - 1.4f * s, x + 0.1f * s, y,
                       sg_paint_solid(sg_rgb(104.0f, 78.0f, 58.0f)));
        for (int j = 0; j < 5; j++) {
            float dx = s * sg_draw_range(r, -0.5f, 0.5f), dy = s * sg_draw_range(r, -2.2f, -1.4f);
            float gain = sg_draw_range(r, 0.85f, 1.15f);

            sg_raster_ellipse(c, f, x + dx, y + dy, 0.55f * s, 0.5f * s,
                              sg_paint_solid(sg_color_scale(leaf, gain)));
        }
    }
    return ground;
}

static float draw_shop(sg_canvas *c, sg_random *r) {
    float w = (float)c->width, h = (float)c->height, floor_y = h * sg_draw_range(r, 0.7f, 0.88f);
    sg_frame f = sg_frame_pixels();
    sg_color wood = sg_draw_near(r, sg_rgb(172.0f, 150.0f, 122.0f), 24.0f);
    float pitch = h * sg_draw_range(r, 0.14f, 0.22f);

    fill(c, 0.0f, floor_y, sg_paint_solid(sg_color_scale(wood, 0.7f)));
    fill(c, floor_y, h,
         vertical(c, sg_rgb(190.0f, 190.0f, 190.0f), sg_rgb(150.0f, 150.0f, 152.0f)));
    for (float y = pitch; y < floor_y; y += pitch) {
        float x = 3.0f;

        while (x < w) {
            float width = sg_draw_range(r, 7.0f, 22.0f);
            float height = pitch * sg_draw_range(r, 0.4f, 0.8f);
            sg_color box = sg_color_mix(sg_draw_cloth(r), wood, 0.35f);

            sg_raster_rect(c, f, x, y - height, x + width, y, sg_paint_solid(box));
            if (sg_draw_chance(r, 0.5f))
                sg_raster_rect(c, f, x + 1.0f, y - 0.6f * height, x + width - 1.0f,
                               y - 0.35f * height, sg_paint_solid(sg_color_scale(box, 1.35f)));
            x += width + sg_draw_range(r, 0.5f, 5.0f);
        }
        fill(c, y, y + 4.0f, sg_paint_solid(wood));
    }
    return floor_y;
}

static float draw_stripes(sg_canvas *c, sg_random *r) {
    sg_paint k = {.alpha = 1.0f};
    float turn = sg_draw_range(r, -0.8f, 0.8f), scale = sg_draw_range(r, 12.0f, 60.0f);

    k.kind = sg_draw_chance(r, 0.6f) ? SG_PAINT_STRIPES : SG_PAINT_CHECKS;
    k.a = draw_wall_color(r);
    k.b = sg_color_mix(k.a, sg_draw_cloth(r), 0.4f);
    if (sg_draw_chance(r, 0.5f)) turn = 0.0f;
    k.frame = sg_frame_at(0.0f, 0.0f, scale, turn);
    fill(c, 0.0f, (float)c->height, k);
    return 0.7f * (float)c->height;
}

static float draw_lights(sg_canvas *c, sg_random *r) {
    sg_color top = sg_draw_near(r, sg_rgb(58.0f, 62.0f, 86.0f), 16.0f);

    fill(c, 0.0f, (float)c->height, vertical(c, top, sg_rgb(104.0f, 92.0f, 96.0f)));
    for (int i = 10 + sg_draw_below(r, 20); i > 0; i--) {
        float x = (float)c->width * sg_random_float(r), y = (float)c->height * sg_random_float(r);
        float s = sg_draw_range(r, 4.0f, 16.0f), alpha = sg_draw_range(r, 0.2f, 0.55f);
        sg_color k = sg_color_mix(sg_draw_cloth(r), sg_rgb(255.0f, 220.0f, 160.0f), 0.6f);

        sg_raster_ellipse(c, sg_frame_pixels(), x, y, s, s, sg_paint_alpha(k, alpha));
    }
    return 0.75f * (float)c->height;
}

void sg_background_draw(sg_canvas *c, sg_random *r, float *horizon, bool *walls) {
    uint64_t key = sg_key_mix(r->key, sg_key_name("texture"));
    int cell = 4 + sg_draw_below(r, 20);
    float amplitude = sg_draw_range(r, 1.0f, 9.0f);
    int place = sg_draw_below(r, 6);

    *walls = place < 4;
    switch (place) {
    case 0:
        *horizon = draw_room(c, r);
        break;
    case 1:
        *horizon = draw_street(c, r);
        break;
    case 2:
        *horizon = draw_stripes(c, r);
        break;
    case 3:
        *horizon = draw_shop(c, r);
        break;
    case 4:
        *horizon = draw_park(c, r);
        break;
    default:
        *horizon = draw_lights(c, r);
        break;
    }
    sg_canvas_texture(c, key, cell, amplitude);
}

/* ---- distractors ---- */

static void draw_ball(sg_canvas *c, sg_frame f, sg_random *r) {
    sg_color skin = sg_draw_skin(r);
    float tall = sg_draw_range(r, 0.9f, 1.25f);
    sg_point from = sg_frame_map(f, -0.3f, -0.4f), to = sg_frame_map(f, 0.5f, 0.6f);

    if (sg_draw_chance(r, 0.5f)) /* a balloon's string */
        sg_raster_line(c, f, 0.0f, 0.4f, 0.08f, 1.9f, 0.03f, sg_paint_solid(sg_rgb(90, 80, 80)));
    sg_raster_ellipse(
        c, f, 0.0f, 0.0f, 0.42f, 0.42f * tall,
        sg_paint_linear(sg_color_scale(skin, 1.1f), sg_color_scale(skin, 0.75f), from, to));
    sg_raster_ellipse(c, f, -0.14f, -0.18f, 0.07f, 0.06f,
                      sg_paint_alpha(sg_rgb(255.0f, 252.0f, 246.0f), 0.7f));
}

static void draw_lamp(sg_canvas *c, sg_frame f, sg_random *r) {
    sg_color glow = sg_draw_near(r, sg_rgb(250.0f, 222.0f, 176.0f), 14.0f);
    sg_paint dark = sg_paint_solid(sg_rgb(58.0f, 54.0f, 52.0f));

    sg_raster_line(c, f, 0.0f, -4.0f, 0.0f, -0.4f, 0.05f, dark);
    for (int i = 4; i > 0; i--)
        sg_raster_ellipse(c, f, 0.0f, 0.0f, 0.4f + 0.12f * (float)i, 0.4f + 0.12f * (float)i,
                          sg_paint_alpha(glow, 0.12f));
    sg_raster_ellipse(c, f, 0.0f, 0.0f, 0.4f, 0.4f, sg_paint_solid(glow));
    sg_raster_round_rect(c, f, -0.2f, -0.5f, 0.2f, -0.32f, 0.05f, dark);
}

/* A mask that nobody wears: on a hook, on a shelf. */
static void draw_lone_mask(sg_canvas *c, sg_frame f, sg_random *r) {
    sg_color cloth = sg_draw_mask_color(r);
    sg_paint dark = sg_paint_solid(sg_color_scale(cloth, 0.7f));

    sg_raster_line(c, f, -0.36f, -0.16f, 0.0f, -0.5f, 0.03f, dark);
    sg_raster_line(c, f, 0.36f, -0.16f, 0.0f, -0.5f, 0.03f, dark);
    sg_raster_round_rect(c, f, -0.38f, -0.22f, 0.38f, 0.24f, 0.1f, sg_paint_solid(cloth));
    for (int i = 0; i < 3; i++) {
        float y = -0.1f + 0.11f * (float)i;

        sg_raster_line(c, f, -0.32f, y, 0.32f, y, 0.02f, dark);
    }
}

static void draw_wig(sg_canvas *c, sg_frame f, sg_random *r) {
    sg_color hair = sg_draw_near(r, sg_rgb(66.0f, 46.0f, 36.0f), 30.0f);

    for (int i = 0; i < 6; i++) {
        float x = sg_draw_range(r, -0.25f, 0.25f), y = sg_draw_range(r, -0.25f, 0.2f);
        float gain = sg_draw_range(r, 0.8f, 1.2f);

        sg_raster_ellipse(c, f, x, y, 0.28f, 0.26f, sg_paint_solid(sg_color_scale(hair, gain)));
    }
}

static void draw_sign(sg_canvas *c, sg_frame f, sg_random *r) {
    sg_color board = sg_draw_chance(r, 0.5f) ? sg_rgb(236.0f, 240.0f, 242.0f) : sg_draw_cloth(r);
    sg_paint ink = sg_paint_solid(sg_color_scale(board, 0.45f));

    sg_raster_line(c, f, 0.0f, 0.3f, 0.0f, 2.0f, 0.08f, sg_paint_solid(sg_rgb(100, 100, 104)));
    sg_raster_round_rect(c, f, -0.5f, -0.35f, 0.5f, 0.35f, 0.06f, sg_paint_solid(board));
    for (int i = 0; i < 3; i++) {
        float y = -0.18f + 0.18f * (float)i, end = sg_draw_range(r, 0.0f, 0.4f);

        sg_raster_line(c, f, -0.4f, y, end, y, 0.06f, ink);
    }
}

void sg_distractor_draw(sg_canvas *c, sg_random *r, float x, float y, float size) {
    sg_frame upright = sg_frame_at(x, y, size, 0.0f);
    sg_frame f = sg_frame_at(x, y, size, sg_draw_range(r, -0.35f, 0.35f));

    c->mark = 0;
    switch (sg_draw_below(r, 6)) {
    case 0:
        draw_ball(c, f, r);
        break;
    case 1:
        draw_lamp(c, upright, r);
        break;
    case 2:
        draw_lone_mask(c, f, r);
        break;
    case 3:
        draw_wig(c, f, r);
        break;
    case 4:
        draw_sign(c, upright, r);
        break;
    default:
        sg_hand_draw(c, f, sg_draw_skin(r));
        break;
    }
}
