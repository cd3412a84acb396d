/* How people of the embedded data set look: colours, clothes, and what they do with their mask. */
#include <math.h>

#include "data/synthetic_parts.h"

float sg_draw_range(sg_random *r, float lo, float hi) { return sg_random_range(r, lo, hi); }

int sg_draw_below(sg_random *r, int n) { return (int)sg_random_below(r, n); }

bool sg_draw_chance(sg_random *r, float p) { return sg_random_float(r) < p; }

sg_color sg_draw_near(sg_random *r, sg_color c, float spread) {
    c.r += sg_random_range(r, -spread, spread);
    c.g += sg_random_range(r, -spread, spread);
    c.b += sg_random_range(r, -spread, spread);
    return sg_rgb(c.r < 4.0f ? 4.0f : c.r, c.g < 4.0f ? 4.0f : c.g, c.b < 4.0f ? 4.0f : c.b);
}

sg_color sg_draw_skin(sg_random *r) {
    static const sg_color tone[] = {{247, 215, 190}, {238, 195, 162}, {226, 178, 140},
                                    {208, 155, 115}, {182, 128, 88},  {150, 100, 66},
                                    {118, 76, 50},   {92, 59, 42}};
    int i = sg_draw_below(r, 7);
    float t = sg_random_float(r);

    return sg_draw_near(r, sg_color_mix(tone[i], tone[i + 1], t), 6.0f);
}

sg_color sg_draw_cloth(sg_random *r) {
    static const sg_color dye[] = {
        {196, 58, 52},   {52, 92, 160}, {44, 122, 84},   {232, 186, 60}, {92, 62, 128},
        {228, 226, 218}, {58, 62, 70},  {132, 150, 168}, {222, 124, 66}, {70, 150, 160},
        {172, 96, 122},  {104, 84, 62}, {150, 186, 110}, {30, 44, 82}};

    return sg_draw_near(r, dye[sg_draw_below(r, sizeof dye / sizeof dye[0])], 14.0f);
}

static float distance(sg_color a, sg_color b) {
    float dr = a.r - b.r, dg = a.g - b.g, db = a.b - b.b;

    return sqrtf(dr * dr + dg * dg + db * db);
}

static sg_color draw_hair_color(sg_random *r) {
    static const sg_color dye[] = {{34, 28, 28},   {52, 36, 28},  {84, 54, 34},    {124, 82, 46},
                                   {196, 154, 88}, {150, 70, 36}, {168, 166, 164}, {26, 24, 32}};

    return sg_draw_near(r, dye[sg_draw_below(r, sizeof dye / sizeof dye[0])], 8.0f);
}

sg_color sg_draw_mask_color(sg_random *r) {
    static const sg_color dye[] = {
        {244, 246, 247}, {244, 246, 247}, {150, 202, 234}, {150, 202, 234}, {132, 204, 190},
        {40, 42, 48},    {56, 80, 140},   {168, 176, 188}, {214, 84, 110},  {90, 150, 98}};

    return sg_draw_near(r, dye[sg_draw_below(r, sizeof dye / sizeof dye[0])], 8.0f);
}

/* A colour of `draw` that is seen against the skin. */
static sg_color draw_against(sg_random *r, sg_color (*draw)(sg_random *r), sg_color skin) {
    sg_color k = draw(r);

    for (int i = 0; i < 8 && distance(k, skin) < 70.0f; i++) k = draw(r);
    return k;
}

/* A mask must stand out against the skin, also where its pattern blurs into one colour. */
static void draw_mask(sg_random *r, sg_person *p) {
    p->mask_style = sg_draw_below(r, 8);
    if (p->mask_style > 3) p->mask_style = 0;
    for (int i = 0; i < 16; i++) {
        p->mask = sg_draw_mask_color(r);
        p->mask_2 = p->mask_style == 2 || p->mask_style == 3
                        ? sg_color_mix(p->mask, sg_draw_cloth(r), 0.6f)
                        : p->mask;
        if (distance(sg_color_mix(p->mask, p->mask_2, 0.5f), p->skin) > 100.0f) return;
    }
    p->mask = p->mask_2 = sg_rgb(60.0f, 90.0f, 150.0f);
    if (p->skin.r < 140.0f) p->mask = p->mask_2 = sg_rgb(240.0f, 242.0f, 244.0f);
}

static int draw_label(sg_random *r) {
    float u = sg_random_float(r);

    return u < 0.5f ? SG_WITH_MASK : u < 0.79f ? SG_WITHOUT_MASK : SG_MASK_INCORRECT;
}

void sg_person_random(sg_random *r, float size, sg_person *out) {
    sg_person p = {.size = size};

    p.tilt = sg_draw_range(r, -0.2f, 0.2f);
    if (sg_draw_chance(r, 0.2f)) p.tilt *= 1.75f; /* up to 20 degrees */
    p.look = sg_draw_range(r, -0.07f, 0.07f);
    p.lit = sg_draw_chance(r, 0.5f) ? 1.0f : -1.0f;
    p.label = draw_label(r);
    p.worn = (sg_worn)sg_draw_below(r, size < (float)SG_FINE ? 2 : 3);
    p.hair = (sg_hair)sg_draw_below(r, SG_HAIR_COUNT);
    if (sg_draw_chance(r, 0.25f)) p.hat = (sg_hat)(1 + sg_draw_below(r, 4));
    if (p.hair == SG_HAIR_SCARF || p.hair == SG_HAIR_CURLY || p.hair == SG_HAIR_BUN)
        p.hat = SG_HAT_NONE;
    if (sg_draw_chance(r, 0.22f)) p.glasses = sg_draw_chance(r, 0.3f) ? 2 : 1;
    p.shirt_style = sg_draw_below(r, 4);
    p.mouth = sg_draw_below(r, 3);
    p.wave = sg_draw_chance(r, 0.1f);
    p.beard = size > 2.0f * (float)SG_FINE && sg_draw_chance(r, 0.12f);
    p.skin = sg_draw_skin(r);
    p.hair_color = draw_against(r, draw_hair_color, p.skin);
    p.hat_color = draw_against(r, sg_draw_cloth, p.skin);
    p.shirt = sg_draw_cloth(r);
    p.shirt_2 = sg_draw_cloth(r);
    p.trousers = sg_color_scale(sg_draw_cloth(r), 0.6f);
    draw_mask(r, &p);
    *out = p;
}
