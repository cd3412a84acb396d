/* Augmentation on CUDA, under the emulation of a GPU: the bytes of the CPU's, for random plans over
 * pictures of all sizes. */
#include "data_fixture.h"

#include "backend_cuda.h"
#include "data/augment.h"
#include "data/letterbox.h"
#include "data/resample.h"
#include "emulation/emulation.h"

enum { kPictures = 10, kMostSide = 416, kMostRows = 16, kPad = 64 };

static const sg_device *const device = &sg_cuda_device;

/* Decoded pictures, `shrink` times smaller than their samples say, and where they lie on the
 * device: every second one among the kept, the others staged. */
typedef struct {
    sg_image image[kPictures];
    sg_sample sample[kPictures];
    int shrink[kPictures];
    int64_t at[kPictures];
    void *queue;
    uint8_t *kept, *staged;
} gallery;

static void put_pictures(gallery *g) {
    int64_t bytes[2] = {0};

    for (int i = 0; i < kPictures; i++) {
        g->at[i] = bytes[i % 2];
        bytes[i % 2] += g->image[i].width * g->image[i].height * 3 + i; /* aligned to nothing */
    }
    assert_ok(device->alloc((size_t)bytes[0], "kept pictures", (void **)&g->kept));
    assert_ok(device->alloc((size_t)bytes[1], "staged pictures", (void **)&g->staged));
    for (int i = 0; i < kPictures; i++)
        assert_ok(device->put(g->queue, (i % 2 ? g->staged : g->kept) + g->at[i], g->image[i].rgb,
                              (size_t)(g->image[i].width * g->image[i].height * 3)));
}

static gallery open_gallery(const int64_t sizes[][2], const int *shrink) {
    gallery g = {0};

    assert_ok(device->queue_create(&g.queue));
    for (int i = 0; i < kPictures; i++) {
        int64_t w = sizes[i][0], h = sizes[i][1], s = shrink ? shrink[i] : 1;

        g.shrink[i] = (int)s;
        g.sample[i] = (sg_sample){.width = w, .height = h};
        assert_ok(sg_image_create((w + s - 1) / s, (h + s - 1) / s, &g.image[i]));
        for (int64_t k = 0; k < g.image[i].width * g.image[i].height * 3; k++) {
            uint32_t word = sg_philox((uint64_t)i, (uint64_t)k / 500, 1).word[0];

            /* noise, and runs of black and white, where clamping shows */
            g.image[i].rgb[k] = word % 3 == 0 ? 0
                                : word % 3 == 1
                                    ? 255
                                    : (uint8_t)sg_philox((uint64_t)i, (uint64_t)k, 0).word[0];
        }
    }
    put_pictures(&g);
    return g;
}

static void close_gallery(gallery *g) {
    for (int i = 0; i < kPictures; i++) sg_image_clear(&g->image[i]);
    device->release(g->kept);
    device->release(g->staged);
    device->queue_destroy(g->queue);
}

static void on_cpu(const gallery *g, const sg_augment_plan *plan, uint8_t *image) {
    static float boxes[SG_MAX_BOXES * 4];
    static int32_t classes[SG_MAX_BOXES];
    static uint8_t scratch[1 << 22];
    sg_augment_output out = {.image = image, .boxes = boxes, .classes = classes};

    sg_augment_begin(plan, &out);
    for (int i = 0; i < plan->n_sources; i++) {
        int64_t k = plan->source[i].sample;

        assert_true(sg_augment_scratch_bytes(g->image[k].width, g->image[k].height, plan->side) <=
                    sizeof scratch);
        sg_augment_add(plan, i, &g->image[k], g->shrink[k], &g->sample[k], scratch, &out);
    }
}

static sg_warp_source placed(const gallery *g, int64_t k, sg_warp_source s) {
    s.at = g->at[k];
    s.kept = k % 2 == 0;
    return s;
}

static sg_warp_job as_job(const gallery *g, const sg_augment_plan *plan) {
    sg_warp_job job = {.n_sources = plan->n_sources};

    for (int i = 0; i < plan->n_sources; i++) {
        int64_t k = plan->source[i].sample;

        sg_augment_warp(plan, i, &g->sample[k], g->shrink[k], &job.source[i]);
        job.source[i] = placed(g, k, job.source[i]);
        assert_true(sg_resample_taps(job.source[i].x.scale) <= SG_WARP_TAPS);
        assert_true(sg_resample_taps(job.source[i].y.scale) <= SG_WARP_TAPS);
    }
    return job;
}

/* The n jobs' pictures are `want`, (n, 3, side, side), in two orders of the threads, and nothing is
 * written behind them. */
static void check_jobs(const gallery *g, const sg_warp_job *jobs, int64_t n, int64_t side,
                       const uint8_t *want) {
    size_t bytes = (size_t)(n * 3 * side * side);
    uint8_t *found = malloc(bytes + kPad), *image, pad[kPad];
    uint64_t seed = sg_emulation_seed();
    sg_warp_job *on_device;

    assert_non_null(found);
    memset(pad, 0xab, sizeof pad);
    assert_ok(device->alloc(bytes + kPad, "pictures", (void **)&image));
    assert_ok(device->alloc((size_t)n * sizeof *jobs, "jobs", (void **)&on_device));
    assert_ok(device->put(g->queue, on_device, jobs, (size_t)n * sizeof *jobs));
    for (uint64_t order = 0; order < 2; order++) {
        sg_emulation_set_seed(seed + order);
        assert_ok(device->put(g->queue, image + bytes, pad, sizeof pad));
        assert_ok(device->augment(g->queue, on_device, n, g->kept, g->staged, side, image));
        assert_ok(device->get(g->queue, found, image, bytes + kPad));
        assert_ok(device->wait(g->queue));
        for (size_t i = 0; i < bytes; i++)
            if (found[i] != want[i])
                fail_msg("row %d, colour %d, x %d, y %d of %d: %d, not %d",
                         (int)(i / (size_t)(3 * side * side)), (int)(i / (size_t)(side * side) % 3),
                         (int)(i % (size_t)side), (int)(i / (size_t)side % (size_t)side), (int)side,
                         found[i], want[i]);
        assert_memory_equal(found + bytes, pad, sizeof pad);
    }
    sg_emulation_set_seed(seed);
    device->release(on_device);
    device->release(image);
    free(found);
}

/* `rows` plans over all pictures. Returns how many were mosaics. */
static int check_plans(const gallery *g, const sg_augment_options *o, uint64_t seed, int64_t side,
                       int rows) {
    static uint8_t want[kMostRows * 3 * kMostSide * kMostSide];
    static sg_warp_job jobs[kMostRows];
    int mosaics = 0;

    assert_true(rows <= kMostRows && side <= kMostSide);
    for (int row = 0; row < rows; row++) {
        sg_augment_plan plan;

        sg_augment_plan_init(&plan, o, seed, row / kPictures, row % kPictures, kPictures, side, 1);
        mosaics += plan.n_sources > 1;
        on_cpu(g, &plan, want + row * 3 * side * side);
        jobs[row] = as_job(g, &plan);
    }
    check_jobs(g, jobs, rows, side, want);
    return mosaics;
}

static const int64_t kSizes[kPictures][2] = {{1, 1},   {40, 30}, {97, 50}, {131, 200}, {640, 11},
                                             {3, 700}, {64, 64}, {1, 77},  {233, 1},   {450, 338}};

static void random_plans_give_the_same_bytes(void **state) {
    sg_augment_options o = sg_augment_defaults();
    gallery g = open_gallery(kSizes, NULL);
    int mosaics = 0, rows = 0;

    (void)state;
    for (int64_t side = 32; side <= kMostSide; side += 32) {
        int n = side <= 128 ? 16 : 4;

        mosaics += check_plans(&g, &o, (uint64_t)side, side, n);
        rows += n;
    }
    assert_true(mosaics > rows / 4 && mosaics < rows * 3 / 4);
    for (int64_t side = 31; side <= 101; side += 7) /* nor need it be a multiple of anything */
        check_plans(&g, &o, (uint64_t)side, side, 4);
    assert_true(sg_emulation_has_run("augment_kernel"));
    close_gallery(&g);
}

static void small_sides_give_the_same_bytes(void **state) {
    static const int64_t sizes[kPictures][2] = {{1, 1}, {1, 2}, {2, 1}, {3, 5}, {8, 8},
                                                {9, 1}, {1, 9}, {5, 4}, {7, 2}, {16, 12}};
    sg_augment_options o = sg_augment_defaults();
    gallery g = open_gallery(sizes, NULL);

    (void)state;
    for (int64_t side = 1; side <= 8; side++) check_plans(&g, &o, (uint64_t)side, side, 16);
    close_gallery(&g);
}

/* As the loader reads what is large: up to four times the input, drawn ten times smaller. */
static void shrunk_sources_give_the_same_bytes(void **state) {
    static const int64_t sizes[kPictures][2] = {{255, 130}, {1000, 7},  {511, 512}, {600, 401},
                                                {257, 255}, {999, 700}, {64, 128},  {130, 131},
                                                {640, 480}, {1023, 1}};
    static const int shrink[kPictures] = {1, 4, 2, 2, 1, 4, 1, 1, 2, 8};
    sg_augment_options o = sg_augment_defaults();
    gallery g = open_gallery(sizes, shrink);

    (void)state;
    o.scale = 0.9f;
    for (uint64_t seed = 0; seed < 2; seed++) check_plans(&g, &o, seed, 64, 16);
    close_gallery(&g);
}

/* Every option at its most, and colours beyond what options allow. */
static void extremes_give_the_same_bytes(void **state) {
    sg_augment_options o = {.flip = 1.0f,
                            .scale = 0.9f,
                            .translate = 1.0f,
                            .hue = 0.5f,
                            .saturation = 1.0f,
                            .value = 1.0f,
                            .brightness = 1.0f};
    static const int64_t sizes[kPictures][2] = {{1, 1},   {64, 64}, {128, 128}, {100, 30},
                                                {31, 97}, {256, 9}, {2, 3},     {63, 65},
                                                {64, 1},  {5, 120}};
    static uint8_t want[3 * 64 * 64];
    gallery g = open_gallery(sizes, NULL);

    (void)state;
    check_plans(&g, &o, 1, 64, 16);
    o.mosaic = 1.0f;
    check_plans(&g, &o, 2, 64, 16);
    for (int i = 0; i < 8; i++) {
        sg_augment_plan plan;
        sg_warp_job job;

        sg_augment_plan_init(&plan, &o, 3, i, i, kPictures, 64, 1);
        for (int s = 0; s < plan.n_sources; s++) {
            plan.source[s].saturation = i % 2 ? -3.0f : 9.0f;
            plan.source[s].value = i % 3 ? 20.0f : -20.0f;
            plan.source[s].brightness = i % 4 < 2 ? 7.0f : -7.0f;
        }
        on_cpu(&g, &plan, want);
        job = as_job(&g, &plan);
        check_jobs(&g, &job, 1, 64, want);
    }
    close_gallery(&g);
}

static void letterboxes_give_the_same_bytes(void **state) {
    static const int64_t sides[] = {32, 50, 96, 288};
    static uint8_t want[kPictures * 3 * 288 * 288];
    gallery g = open_gallery(kSizes, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        sg_warp_job jobs[kPictures] = {0};
        int64_t S = sides[i];

        for (int k = 0; k < kPictures; k++) {
            sg_letterbox_warp(g.image[k].width, g.image[k].height, S, &jobs[k].source[0]);
            jobs[k].source[0] = placed(&g, k, jobs[k].source[0]);
            jobs[k].n_sources = 1;
            assert_ok(sg_letterbox_image(&g.image[k], S, want + k * 3 * S * S, NULL));
        }
        check_jobs(&g, jobs, kPictures, S, want);
    }
    close_gallery(&g);
}

/* No source: matte. Ready made: as it stands. No rows: nothing is launched. */
static void rows_without_sources(void **state) {
    enum { S = 45, ROW = 3 * S * S };
    static uint8_t want[3 * ROW];
    gallery g = open_gallery(kSizes, NULL);
    sg_warp_job jobs[3] = {{0}, {.finished = 1}, {0}};

    (void)state;
    memset(want, SG_IMAGE_MATTE, sizeof want);
    jobs[1].source[0].at = g.at[9] + 1; /* of the staged ones */
    memcpy(want + ROW, g.image[9].rgb + 1, ROW);
    assert_true(ROW < g.image[9].width * g.image[9].height * 3);
    check_jobs(&g, jobs, 3, S, want);
    assert_ok(device->augment(g.queue, NULL, 0, NULL, NULL, S, NULL));
    close_gallery(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_plans_give_the_same_bytes),
        cmocka_unit_test(small_sides_give_the_same_bytes),
        cmocka_unit_test(shrunk_sources_give_the_same_bytes),
        cmocka_unit_test(extremes_give_the_same_bytes),
        cmocka_unit_test(letterboxes_give_the_same_bytes),
        cmocka_unit_test(rows_without_sources),
    };

    return cmocka_run_group_tests_name("cuda augmentation", tests, NULL, NULL);
}
