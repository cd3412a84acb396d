/* Letterbox and augmentation: geometry there and back, boxes stay on their objects, purity. */
#include "data_fixture.h"

#include <math.h>

#include "data/augment.h"
#include "data/letterbox.h"

enum { S = 96 };

typedef struct {
    uint8_t image[3 * S * S];
    float boxes[SG_MAX_BOXES * 4];
    int32_t classes[SG_MAX_BOXES];
    sg_augment_output out;
} output;

static void run(const sg_augment_plan *plan, const sg_image *images, const sg_sample *samples,
                output *o) {
    void *scratch = sg_malloc(sg_augment_scratch_bytes(1000, 1000, S));

    assert_non_null(scratch);
    o->out = (sg_augment_output){.image = o->image, .boxes = o->boxes, .classes = o->classes};
    sg_augment_begin(plan, &o->out);
    for (int i = 0; i < plan->n_sources; i++)
        sg_augment_add(plan, i, &images[plan->source[i].sample], 1,
                       &samples[plan->source[i].sample], scratch, &o->out);
    sg_free(scratch);
}

static sg_image noise(int64_t width, int64_t height, uint64_t key) {
    sg_image image;

    assert_ok(sg_image_create(width, height, &image));
    for (int64_t i = 0; i < width * height * 3; i++)
        image.rgb[i] = (uint8_t)sg_philox(key, (uint64_t)i, 0).word[0];
    return image;
}

static void boxes_go_there_and_back(void **state) {
    sg_random r = sg_random_init(7);

    (void)state;
    for (int i = 0; i < 2000; i++) {
        int64_t width = 1 + sg_random_below(&r, 4000), height = 1 + sg_random_below(&r, 4000);
        int64_t side = 32 + sg_random_below(&r, 1000);
        sg_letterbox map = sg_letterbox_map(width, height, side);
        float whole[4] = {0.0f, 0.0f, (float)width, (float)height}, box[4], back[4];

        sg_letterbox_apply(&map, whole, box);
        for (int k = 0; k < 4; k++) assert_true(box[k] >= 0.0f && box[k] <= (float)side + 1e-3f);
        assert_true(fabsf(box[0] + box[2] - (float)side) <= 2.0f); /* centred */
        assert_true(fabsf(box[1] + box[3] - (float)side) <= 2.0f);
        assert_true(fmaxf(box[2] - box[0], box[3] - box[1]) > (float)side - 1e-2f);
        for (int k = 0; k < 4; k++)
            whole[k] = sg_random_range(&r, 0.0f, (float)(k % 2 ? height : width));
        sg_letterbox_apply(&map, whole, box);
        sg_letterbox_undo(&map, box, back);
        for (int k = 0; k < 4; k++) assert_true(fabsf(back[k] - whole[k]) < 1e-3f);
    }
}

/* The triangle filter, straight from its definition, in double. */
static double filtered(const sg_image *image, double cx, double cy, double reach, int c) {
    double sum = 0.0, total = 0.0;

    for (int64_t y = 0; y < image->height; y++) {
        double wy = 1.0 - fabs((double)y - cy) / reach;

        for (int64_t x = 0; wy > 0.0 && x < image->width; x++) {
            double wx = 1.0 - fabs((double)x - cx) / reach;

            if (wx <= 0.0) continue;
            sum += wx * wy * image->rgb[(y * image->width + x) * 3 + c];
            total += wx * wy;
        }
    }
    return sum / total;
}

static void pixels_are_those_of_the_definition(void **state) {
    static const int64_t sizes[][2] = {{40, 30},  {96, 96}, {97, 50}, {131, 200},
                                       {640, 11}, {1, 1},   {3, 700}};
    static uint8_t out[3 * S * S];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sg_image image = noise(sizes[i][0], sizes[i][1], i);
        sg_letterbox map;

        assert_ok(sg_letterbox_image(&image, S, out, &map));
        for (int y = 0; y < S; y++) {
            for (int x = 0; x < S; x++) {
                double scale = (double)map.scale;
                double u = (x + 0.5 - (double)map.pad_x) / scale;
                double v = (y + 0.5 - (double)map.pad_y) / scale;
                int inside =
                    u >= 0 && v >= 0 && u < (double)image.width && v < (double)image.height;

                for (int c = 0; c < 3; c++) {
                    double want = SG_IMAGE_MATTE;

                    if (inside)
                        want = filtered(&image, u - 0.5, v - 0.5, fmax(1.0, 1.0 / scale), c);
                    if (!(fabs(out[(c * S + y) * S + x] - want) <= 0.6))
                        fail_msg("%lld x %lld at %d %d: %d, not %g", (long long)image.width,
                                 (long long)image.height, x, y, out[(c * S + y) * S + x], want);
                }
            }
        }
        sg_image_clear(&image);
    }
}

static void one_colour_stays_one_colour(void **state) {
    static uint8_t out[3 * S * S];

    (void)state;
    for (int64_t size = 3; size < 900; size += 53) {
        sg_image image = fixture_image(size, size, 255, 254, 1);

        assert_ok(sg_letterbox_image(&image, S, out, NULL));
        for (int i = 0; i < S * S; i++)
            assert_true(out[i] == 255 && out[S * S + i] == 254 && out[2 * S * S + i] == 1);
        sg_image_clear(&image);
    }
}

static sg_augment_options geometry_only(void) {
    sg_augment_options o = sg_augment_defaults();

    o.hue = o.saturation = o.value = o.brightness = 0.0f;
    return o;
}

/* Nothing drawn: the letterbox. */
static void no_augmentation_is_the_letterbox(void **state) {
    sg_augment_options none = {0};
    sg_image image = noise(150, 100, 3);
    float box[4] = {10, 20, 50, 60}, want[4];
    int32_t class_id = 2;
    sg_sample sample = {
        .width = 150, .height = 100, .boxes = box, .classes = &class_id, .count = 1};
    static uint8_t plain[3 * S * S];
    static output o;
    sg_augment_plan plan;
    sg_letterbox map;

    (void)state;
    assert_ok(sg_letterbox_image(&image, S, plain, &map));
    sg_letterbox_apply(&map, box, want);
    sg_augment_plan_init(&plan, &none, 1, 0, 0, 1, S, 1);
    run(&plan, &image, &sample, &o);
    assert_memory_equal(o.image, plain, sizeof plain);
    assert_int_equal(o.out.count, 1);
    assert_int_equal(o.classes[0], 2);
    for (int k = 0; k < 4; k++) assert_true(fabsf(o.boxes[k] - want[k]) < 1e-3f);
    sg_image_clear(&image);
}

static const int colours[4][3] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 0}};

/* Bounds of the pixels that are nearer to colour k than to black and the other colours. */
static int seen_bounds(const uint8_t *planes, int k, float b[4]) {
    int n = 0;

    b[0] = b[1] = S;
    b[2] = b[3] = 0;
    for (int y = 0; y < S; y++) {
        for (int x = 0; x < S; x++) {
            int is = 1;

            for (int c = 0; c < 3; c++)
                is &= (planes[(c * S + y) * S + x] >= 128) == (colours[k][c] >= 128);
            if (!is) continue;
            n++;
            b[0] = fminf(b[0], (float)x);
            b[1] = fminf(b[1], (float)y);
            b[2] = fmaxf(b[2], (float)x + 1);
            b[3] = fmaxf(b[3], (float)y + 1);
        }
    }
    return n;
}

static void boxes_stay_on_their_objects(void **state) {
    static const float at[4][4] = {
        {30, 20, 90, 70}, {5, 5, 40, 25}, {100, 60, 160, 140}, {0, 0, 60, 120}};
    static const int64_t sizes[4][2] = {{200, 100}, {60, 80}, {320, 240}, {90, 300}};
    static const int32_t ids[4] = {0, 1, 2, 3};
    sg_augment_options options = geometry_only();
    sg_image images[4];
    sg_sample samples[4];
    static output o;
    int checked = 0, mosaics = 0, flips = 0;

    (void)state;
    for (int i = 0; i < 4; i++) {
        images[i] = fixture_image(sizes[i][0], sizes[i][1], 0, 0, 0);
        fixture_fill(&images[i], (int)at[i][0], (int)at[i][1], (int)at[i][2], (int)at[i][3],
                     colours[i][0], colours[i][1], colours[i][2]);
        samples[i] = (sg_sample){.width = sizes[i][0],
                                 .height = sizes[i][1],
                                 .boxes = at[i],
                                 .classes = &ids[i],
                                 .count = 1};
    }
    options.translate = 0.3f;
    options.min_visible = 0.0f;
    options.min_side = 3.0f;
    for (int64_t epoch = 0; epoch < 200; epoch++) {
        sg_augment_plan plan;

        sg_augment_plan_init(&plan, &options, 11, epoch, epoch % 4, 4, S, 1);
        mosaics += plan.n_sources > 1;
        for (int i = 0; plan.n_sources > 1 && i < 4; i++) plan.source[i].sample = i;
        flips += plan.source[0].flip;
        run(&plan, images, samples, &o);
        for (int b = 0; b < o.out.count; b++) {
            float seen[4];

            assert_true(seen_bounds(o.image, o.classes[b], seen) > 0);
            for (int k = 0; k < 4; k++)
                if (!(fabsf(seen[k] - o.boxes[4 * b + k]) <= 1.0f))
                    fail_msg("epoch %d class %d side %d: box %g, seen %g", (int)epoch, o.classes[b],
                             k, (double)o.boxes[4 * b + k], (double)seen[k]);
            checked++;
        }
        for (int i = 0; i < plan.n_sources; i++) { /* nor is an object left without its box */
            int k = (int)plan.source[i].sample, found = 0;
            float seen[4];

            if (seen_bounds(o.image, k, seen) == 0) continue;
            for (int b = 0; b < o.out.count; b++) found |= o.classes[b] == k;
            if (!found) assert_true(seen[2] - seen[0] <= 4 || seen[3] - seen[1] <= 4);
        }
    }
    assert_true(checked > 300);
    assert_in_range(mosaics, 60, 140);
    assert_in_range(flips, 60, 140);
    for (int i = 0; i < 4; i++) sg_image_clear(&images[i]);
}

static void hardly_visible_boxes_go(void **state) {
    float box[4] = {40, 40, 60, 60};
    int32_t class_id = 0;
    sg_sample sample = {
        .width = 100, .height = 100, .boxes = box, .classes = &class_id, .count = 1};
    sg_image image = fixture_image(100, 100, 9, 9, 9);
    sg_augment_options options = geometry_only();
    int kept[3] = {0}, n = 400;
    static output o;

    (void)state;
    options.translate = 1.0f;
    options.min_side = 0.0f;
    for (int t = 0; t < 3; t++) {
        options.min_visible = 0.5f * (float)t;
        options.mosaic = 0.0f;
        for (int i = 0; i < n; i++) {
            sg_augment_plan plan;

            sg_augment_plan_init(&plan, &options, 5, i, 0, 1, S, 1);
            run(&plan, &image, &sample, &o);
            if (!o.out.count) continue;
            double area = (double)(o.boxes[2] - o.boxes[0]) * (double)(o.boxes[3] - o.boxes[1]);
            double side = 20.0 * (double)plan.source[0].scale * S / 100.0;
            kept[t]++;
            assert_true(area >= (double)options.min_visible * side * side * 0.999);
            for (int k = 0; k < 4; k++) assert_true(o.boxes[k] >= 0 && o.boxes[k] <= S);
        }
    }
    assert_true(kept[0] > kept[1] && kept[1] > kept[2] && kept[2] > 0 && kept[0] < n);
    options.min_side = 97.0f;
    for (int i = 0; i < 20; i++) {
        sg_augment_plan plan;

        sg_augment_plan_init(&plan, &options, 5, i, 0, 1, S, 1);
        run(&plan, &image, &sample, &o);
        assert_int_equal(o.out.count, 0);
    }
    sg_image_clear(&image);
}

static void the_largest_boxes_are_kept(void **state) {
    static output o;
    sg_augment_plan plan = {.side = S};

    (void)state;
    o.out = (sg_augment_output){.image = o.image, .boxes = o.boxes, .classes = o.classes};
    sg_augment_begin(&plan, &o.out);
    for (int i = 0; i < SG_MAX_BOXES + 20; i++) {
        float size = (float)((i * 35) % (SG_MAX_BOXES + 20) + 1) / 2.0f;
        float box[4] = {0, 0, size, size};

        sg_augment_keep_box(box, i, &o.out);
    }
    assert_int_equal(o.out.count, SG_MAX_BOXES);
    assert_int_equal(o.out.dropped, 20);
    for (int i = 0; i < SG_MAX_BOXES; i++) assert_true(o.boxes[4 * i + 2] >= 21.0f / 2.0f);
}

static void colours_change_as_drawn(void **state) {
    sg_augment_options options = {.value = 0.3f};
    sg_image image = fixture_image(S, S, 100, 120, 60);
    sg_sample sample = {.width = S, .height = S};
    sg_augment_plan plan;
    static output o;
    int changed = 0;

    (void)state;
    for (int i = 0; i < 20; i++) {
        sg_augment_plan_init(&plan, &options, 3, i, 0, 1, S, 1);
        run(&plan, &image, &sample, &o);
        assert_true(fabsf(o.image[0] - 100.0f * plan.source[0].value) < 1.0f);
        assert_true(fabsf(o.image[S * S] - 120.0f * plan.source[0].value) < 1.0f);
    }
    options = (sg_augment_options){.hue = 0.5f, .saturation = 1.0f};
    for (int i = 0; i < 20; i++) { /* neither changes grey */
        fixture_fill(&image, 0, 0, S, S, 90, 90, 90);
        sg_augment_plan_init(&plan, &options, 3, i, 0, 1, S, 1);
        run(&plan, &image, &sample, &o);
        for (int c = 0; c < 3; c++) assert_in_range(o.image[c * S * S + 7], 89, 91);
        fixture_fill(&image, 0, 0, S, S, 120, 90, 70);
        run(&plan, &image, &sample, &o);
        changed += o.image[0] != 120;
    }
    assert_true(changed > 15);
    plan.source[0].hue = 2.0943951f; /* a third of the circle: red becomes green */
    plan.source[0].saturation = 1.0f;
    fixture_fill(&image, 0, 0, S, S, 200, 10, 20);
    run(&plan, &image, &sample, &o);
    assert_in_range(o.image[0], 19, 21);
    assert_in_range(o.image[S * S], 199, 201);
    assert_in_range(o.image[2 * S * S], 9, 11);
    sg_image_clear(&image);
}

static void it_is_a_pure_function(void **state) {
    sg_augment_options options = sg_augment_defaults();
    sg_image images[3] = {noise(100, 80, 1), noise(50, 120, 2), noise(96, 96, 3)};
    float box[4] = {10, 10, 40, 40};
    int32_t class_id = 1;
    sg_sample samples[3];
    static output first, again;
    sg_augment_plan plan;

    (void)state;
    for (int i = 0; i < 3; i++)
        samples[i] = (sg_sample){.width = images[i].width,
                                 .height = images[i].height,
                                 .boxes = box,
                                 .classes = &class_id,
                                 .count = 1};
    for (int i = 0; i < 8; i++) {
        static const struct {
            uint64_t seed;
            int64_t epoch, sample;
        } other[3] = {{2, 5, 0}, {1, 6, 0}, {1, 5, 1}};

        sg_augment_plan_init(&plan, &options, 1, 5, 0, 3, S, 1);
        run(&plan, images, samples, &first);
        memset(&again, i, sizeof again);
        run(&plan, images, samples, &again);
        assert_memory_equal(first.image, again.image, sizeof first.image);
        assert_memory_equal(first.boxes, again.boxes, sizeof first.boxes);
        sg_augment_plan_init(&plan, &options, other[i % 3].seed, other[i % 3].epoch,
                             other[i % 3].sample, 3, S, 1);
        run(&plan, images, samples, &again);
        assert_memory_not_equal(first.image, again.image, sizeof first.image);
    }
    for (int i = 0; i < 3; i++) sg_image_clear(&images[i]);
}

static void a_closed_mosaic_changes_nothing_else(void **state) {
    sg_augment_options options = sg_augment_defaults(), without = options;
    sg_augment_plan closed, plain;

    (void)state;
    options.mosaic = 1.0f;
    without.mosaic = 0.0f;
    for (int i = 0; i < 10; i++) {
        sg_augment_plan_init(&closed, &options, 9, i, 4, 10, S, 0);
        sg_augment_plan_init(&plain, &without, 9, i, 4, 10, S, 1);
        assert_int_equal(closed.n_sources, 1);
        assert_memory_equal(&closed.source[0].scale, &plain.source[0].scale, sizeof(float));
        assert_memory_equal(&closed.source[0].hue, &plain.source[0].hue, sizeof(float));
        assert_int_equal(closed.source[0].flip, plain.source[0].flip);
    }
}

static void options_have_ranges(void **state) {
    sg_augment_options o = sg_augment_defaults();

    (void)state;
    assert_ok(sg_augment_options_check(&o));
    o.scale = 1.0f;
    assert_fails(sg_augment_options_check(&o), SG_ERR_CONFIG, "scale is 1; it must be 0 to 0.9");
    o.scale = NAN;
    assert_fails(sg_augment_options_check(&o), SG_ERR_CONFIG, "scale");
    o = sg_augment_defaults();
    o.mosaic = -0.1f;
    assert_fails(sg_augment_options_check(&o), SG_ERR_CONFIG, "mosaic");
}

static void letterbox_without_memory(void **state) {
    sg_image image = fixture_image(50, 40, 1, 2, 3);
    static uint8_t out[3 * S * S];
    long live = sg_mem_live();

    (void)state;
    sg_mem_fail_at(1);
    assert_fails(sg_letterbox_image(&image, S, out, NULL), SG_ERR_OOM, "50 x 40");
    sg_mem_fail_at(0);
    assert_ok(sg_letterbox_image(&image, S, out, NULL));
    assert_int_equal(sg_mem_live(), live);
    sg_image_clear(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boxes_go_there_and_back),
        cmocka_unit_test(pixels_are_those_of_the_definition),
        cmocka_unit_test(one_colour_stays_one_colour),
        cmocka_unit_test(no_augmentation_is_the_letterbox),
        cmocka_unit_test(boxes_stay_on_their_objects),
        cmocka_unit_test(hardly_visible_boxes_go),
        cmocka_unit_test(the_largest_boxes_are_kept),
        cmocka_unit_test(colours_change_as_drawn),
        cmocka_unit_test(it_is_a_pure_function),
        cmocka_unit_test(a_closed_mosaic_changes_nothing_else),
        cmocka_unit_test(options_have_ranges),
        cmocka_unit_test(letterbox_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
