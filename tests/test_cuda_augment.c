/* Augmentation on CUDA, under the emulation of a GPU: the bytes of the CPU's, for random plans over
 * pictures of all sizes, and for the batches of a raw loader. */
#include "data_fixture.h"

#include "backend_cuda.h"
#include "data/augment.h"
#include "data/letterbox.h"
#include "data/loader.h"
#include "data/resample.h"
#include "data/staging.h"
#include "data/synthetic.h"
#include "emulation/emulation.h"
#include "train/detector.h"
#include "train/detector_nms.h"

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

/* --- raw batches ------------------------------------------------------------------------------ */

enum { N = 11, S = 64, B = 4, kSeed = 7 };

#include "loader_fixture.h"
#include "out_of_memory.h"

/* What batches were made of, to see that each way was gone. */
typedef struct {
    int64_t staged, kept, finished, copies, staged_bytes;
} tally;

/* N noisy pictures; `large` ones are read smaller, or are too large for a device's tables. */
static sg_dataset *read_data(const char *root, int large) {
    static const int64_t sizes[][2] = {{600, 400}, {70, 1200}, {300, 255}};
    sg_random r = sg_random_init(5);

    for (int i = 0; i < N; i++) {
        int64_t width = 20 + sg_random_below(&r, 90), height = 20 + sg_random_below(&r, 90);

        if (large && i % 3 == 0) width = sizes[i / 3 % 3][0], height = sizes[i / 3 % 3][1];
        write_noise(root, i, width, height, i % 4 ? OBJECT("b", 3, 2, 17, 19) : "", &r);
    }
    return read_noise(root);
}

static void count_jobs(const sg_batch *batch, tally *t) {
    const sg_warp_job *job = (const sg_warp_job *)(const void *)batch->staged;

    for (int row = 0; row < B; row++) {
        t->finished += job[row].finished;
        for (int i = 0; i < job[row].n_sources; i++) {
            t->kept += job[row].source[i].kept;
            t->staged += !job[row].source[i].kept;
        }
    }
    t->copies += batch->n_keep;
    t->staged_bytes += batch->staged_bytes;
}

/* `batches` batches, through the device where the loader is raw. */
static record *collect(const sg_dataset *d, const sg_loader_options *o, int64_t batches, tally *t) {
    record *all = calloc((size_t)(batches * B), sizeof *all);
    static uint8_t found[B * IMAGE];
    sg_staging *staging = NULL;
    void *queue = NULL, *image = NULL;
    sg_loader *loader;
    sg_batch batch;

    assert_non_null(all);
    *t = (tally){0};
    assert_ok(sg_loader_create(d, o, &loader));
    if (o->device) {
        assert_ok(device->queue_create(&queue));
        assert_ok(device->alloc(sizeof found, "pictures", &image));
        assert_ok(sg_staging_create(loader, &staging));
    }
    for (int64_t k = 0; k < batches; k++) {
        if (staging) assert_ok(sg_staging_wait(staging));
        assert_ok(sg_loader_next(loader, &batch));
        if (o->device) {
            assert_null(batch.image);
            assert_ok(sg_staging_put(staging, queue, &batch, image));
            assert_ok(device->get(queue, found, image, sizeof found));
            assert_ok(device->wait(queue));
            count_jobs(&batch, t);
        }
        for (int row = 0; row < B; row++)
            take_record(&batch, row, o->device ? found : batch.image, &all[k * B + row]);
    }
    sg_staging_destroy(staging);
    if (o->device) device->release(image);
    device->queue_destroy(queue);
    sg_loader_destroy(loader);
    return all;
}

static void check_records(const record *found, const record *want, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(found[i].image, want[i].image, IMAGE) != 0) fail_msg("picture %d", (int)i);
        assert_memory_equal(&found[i], &want[i], sizeof *found);
    }
}

/* Every way a picture can take: staged, kept after its first time, cached on the host, finished by
 * a thread for want of room or of taps. */
static void raw_batches_give_the_same_pictures(void **state) {
    static const struct {
        int threads, prefetch;
        int64_t cache, kept;
    } ways[] = {{1, 1, 0, 0},     {2, 2, 0, 0},         {4, 3, 60000, 0},       {4, 1, 1 << 30, 0},
                {1, 4, 0, 60000}, {3, 2, 60000, 60000}, {4, 3, 1 << 30, 90000}, {2, 1, 0, 1 << 30}};
    enum { BATCHES = 9 };
    tally t, first = {0};

    (void)state;
    for (int large = 0; large < 2; large++) {
        sg_dataset *d = read_data(large ? "large" : "small", large);
        sg_loader_options o = training();
        record *want = collect(d, &o, BATCHES, &t);

        o.device = device;
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
            record *r;

            o.threads = ways[i].threads;
            o.prefetch = ways[i].prefetch;
            o.cache_bytes = ways[i].cache;
            o.kept_bytes = ways[i].kept;
            r = collect(d, &o, BATCHES, &t);
            check_records(r, want, BATCHES * B);
            free(r);
            assert_true(large ? t.finished > 0 : t.staged > 0);
            if (ways[i].kept) assert_true(t.kept > 0 && t.copies > 0 && t.copies <= N);
            if (ways[i].kept == 1 << 30) assert_int_equal(t.staged, t.copies);
            if (i == 0) first = t;
            if (!ways[i].kept) assert_memory_equal(&t, &first, sizeof t);
        }
        free(want);
        sg_dataset_destroy(d);
    }
}

static void raw_batches_start_where_others_stopped(void **state) {
    sg_dataset *d = read_data("start", 0);
    sg_loader_options o = training();
    tally t;
    record *whole = collect(d, &o, 6, &t);

    (void)state;
    o.threads = 2;
    o.device = device;
    for (o.start = 1; o.start < 14; o.start += 4) {
        record *rest;

        o.kept_bytes = o.start % 8 == 1 ? 50000 : 0;
        rest = collect(d, &o, 2, &t);
        check_records(rest, whole + o.start, 2 * B);
        free(rest);
    }
    free(whole);
    sg_dataset_destroy(d);
}

static void raw_evaluation_is_the_same(void **state) {
    (void)state;
    for (int large = 0; large < 2; large++) {
        sg_dataset *d = read_data(large ? "pass-large" : "pass", large);
        sg_loader_options o = training();
        record *want, *r;
        tally t;

        o.augment = NULL;
        want = collect(d, &o, 6, &t); /* two passes of three batches, the last one padded */
        assert_int_equal(want[N].sample, -1);
        o.device = device;
        for (o.threads = 1; o.threads < 4; o.threads++) {
            o.kept_bytes = o.threads == 2 ? 1 << 30 : 0;
            r = collect(d, &o, 6, &t);
            check_records(r, want, 6 * B);
            assert_true(!large || t.finished > 0);
            free(r);
        }
        free(want);
        sg_dataset_destroy(d);
    }
}

/* The picture at position 6 of epoch 0 is cut after the data set was read: the batch before is
 * whole, and then every call fails with its name. */
static void raw_errors_reach_the_caller(void **state) {
    sg_dataset *d = read_data("errors", 0);
    sg_loader_options o = training();
    sg_augment_options plain = {0};
    char path[256];

    (void)state;
    o.augment = &plain;
    o.device = device;
    cut_noise("errors", d, sg_sampler_at(o.seed, N, 6), path);
    for (o.threads = 1; o.threads <= 4; o.threads++) {
        sg_loader *loader;
        sg_batch batch;

        o.cache_bytes = o.threads % 2 ? 0 : 1 << 30;
        o.kept_bytes = o.threads > 2 ? 1 << 30 : 0;
        assert_ok(sg_loader_create(d, &o, &loader));
        assert_ok(sg_loader_next(loader, &batch));
        for (int i = 0; i < 2; i++) {
            assert_fails(sg_loader_next(loader, &batch), SG_ERR_DATA, "cut off");
            assert_non_null(strstr(sg_last_error(), path));
        }
        sg_loader_destroy(loader);
    }
    sg_dataset_destroy(d);
}

/* What reached the device stays there, through one restart and the next. */
static void kept_pictures_are_brought_once(void **state) {
    sg_dataset *d = read_data("once", 0);
    sg_loader_options o = training();
    sg_staging *staging;
    sg_loader *loader;
    sg_batch batch;
    void *queue, *image;

    (void)state;
    o.device = device;
    o.kept_bytes = 1 << 30;
    assert_ok(device->queue_create(&queue));
    assert_ok(device->alloc(B * IMAGE, "pictures", &image));
    assert_ok(sg_loader_create(d, &o, &loader));
    assert_ok(sg_staging_create(loader, &staging));
    for (int i = 0; i < 4; i++) {
        int64_t copies = 0;

        for (int k = 0; k < 5; k++) { /* an epoch, and a batch without anything new */
            assert_ok(sg_staging_wait(staging));
            assert_ok(sg_loader_next(loader, &batch));
            assert_ok(sg_staging_put(staging, queue, &batch, image));
            copies += batch.n_keep;
            if (k == 0 && i % 2) break;
        }
        assert_int_equal(copies, i == 0 ? N : 0);
        assert_ok(sg_staging_wait(staging));
        assert_ok(sg_loader_restart(loader, 0, NULL));
    }
    assert_ok(device->wait(queue));
    sg_staging_destroy(staging);
    sg_loader_destroy(loader);
    device->release(image);
    device->queue_destroy(queue);
    sg_dataset_destroy(d);
}

static void raw_memory_may_fail_anywhere(void **state) {
    sg_dataset *d = read_data("memory", 0);
    sg_loader_options o = training();
    long live = sg_mem_live();
    sg_staging *staging;
    sg_loader *loader;

    (void)state;
    o.threads = 2;
    o.device = device;
    o.kept_bytes = o.cache_bytes = 60000;
    FAIL_EACH_ALLOCATION_BESIDE_THREADS(sg_loader_create(d, &o, &loader), 1);
    FAIL_EACH_ALLOCATION_BESIDE_THREADS(sg_staging_create(loader, &staging), 1);
    sg_staging_destroy(staging);
    sg_loader_destroy(loader);
    assert_int_equal(sg_mem_live(), live);
    o.kept_bytes = -1;
    assert_fails(sg_loader_create(d, &o, &(sg_loader *){NULL}), SG_ERR_ARG, "negative");
    sg_dataset_destroy(d);
}

/* A batch's pictures on the device; rows outside of its part are left as they were. */
static void check_part(const sg_batch *batch, const uint8_t *found, const record *want) {
    static record r; /* its padding is zero, like that of `want` */

    for (int row = 0; row < B; row++) {
        const uint8_t *image = found + row * IMAGE;

        if (row >= batch->part.first && row < batch->part.first + batch->part.count) {
            take_record(batch, row, found, &r);
            check_records(&r, &want[row], 1);
            continue;
        }
        for (int i = 0; i < IMAGE; i++) assert_int_equal(image[i], 0xA5);
    }
}

/* Any start, any part, threads caught at anything. What batches were to be kept that were dropped,
 * and of the last batch, which may never have reached the device, is brought again. */
static void raw_batches_after_restarts(void **state) {
    enum { BATCHES = 9, RESTARTS = 60 };
    static uint8_t found[B * IMAGE], blank[B * IMAGE];
    sg_dataset *d = read_data("restarts", 0);
    sg_random r = sg_random_init(11);
    void *queue, *image;
    record *whole;
    tally t;

    (void)state;
    memset(blank, 0xA5, sizeof blank);
    assert_ok(device->queue_create(&queue));
    assert_ok(device->alloc(sizeof found, "pictures", &image));
    for (int way = 0; way < 6; way++) {
        sg_loader_options o = training();
        sg_staging *staging;
        sg_loader *loader;

        if (way % 2) o.augment = NULL;
        whole = collect(d, &o, BATCHES, &t);
        o.threads = 3;
        o.device = device;
        o.kept_bytes = way / 2 == 0 ? 0 : way / 2 == 1 ? 60000 : 1 << 30;
        assert_ok(sg_loader_create(d, &o, &loader));
        assert_ok(sg_staging_create(loader, &staging));
        t = (tally){0};
        for (int i = 0; i < RESTARTS; i++) {
            sg_part part = {.first = sg_random_below(&r, B)};
            int64_t start = sg_random_below(&r, (BATCHES - 3) * B + 1);
            int64_t at = way % 2 ? 0 : start, n = sg_random_below(&r, 4);
            sg_batch batch;

            part.count = 1 + sg_random_below(&r, B - part.first);
            assert_ok(sg_staging_wait(staging));
            assert_ok(sg_loader_restart(loader, start, &part));
            if (i % 3 == 0) usleep((useconds_t)sg_random_below(&r, 3000));
            for (int64_t k = 0; k < n; k++) {
                assert_ok(sg_staging_wait(staging));
                assert_ok(sg_loader_next(loader, &batch));
                if (k == n - 1 && i % 2) break; /* it is given up before it is put */
                assert_ok(device->put(queue, image, blank, sizeof blank));
                assert_ok(sg_staging_put(staging, queue, &batch, image));
                assert_ok(device->get(queue, found, image, sizeof found));
                assert_ok(device->wait(queue));
                check_part(&batch, found, whole + at + k * B);
                t.copies += batch.n_keep;
            }
        }
        assert_true(o.kept_bytes == 0 ? t.copies == 0 : t.copies > 0);
        sg_staging_destroy(staging);
        sg_loader_destroy(loader);
        free(whole);
    }
    device->release(image);
    device->queue_destroy(queue);
    sg_dataset_destroy(d);
}

/* --- an evaluation ---------------------------------------------------------------------------- */

static int augmented, suppressed;

static sg_status augment_counted(void *queue, const sg_warp_job *jobs, int64_t n,
                                 const uint8_t *kept, const uint8_t *staged, int64_t side,
                                 uint8_t *image) {
    augmented++;
    return device->augment(queue, jobs, n, kept, staged, side, image);
}

static sg_status nms_counted(const sg_nms_options *options, int64_t n, const float *boxes,
                             const float *scores, int64_t anchors, int64_t classes,
                             sg_detection *found, int64_t *count, void *scratch, void *queue) {
    suppressed++;
    return device->nms(options, n, boxes, scores, anchors, classes, found, count, scratch, queue);
}

/* Of a model with random weights, which finds very little in very many places. */
static void evaluate(const sg_dataset *d, const sg_backend *backend, int threads,
                     sg_evaluation *out) {
    sg_mask_detector_options model = sg_mask_detector_defaults();
    sg_inference_options o = {.build = sg_detector_build, .context = &model, .backend = backend};
    sg_inference *inference;
    sg_config config;
    sg_state *weights;
    sg_pool *pool;

    sg_config_default(&config);
    model.input = 64;
    model.classes = d->classes.n;
    o.batch = SG_DETECTOR_EVAL_BATCH;
    o.workers = threads;
    assert_ok(sg_pool_create(threads, NULL, &pool));
    assert_ok(sg_inference_create(&o, &inference));
    assert_ok(sg_state_create(sg_inference_table(inference), 0, &weights));
    sg_state_init(weights, 5);
    assert_ok(sg_inference_set_values(inference, weights->values, NULL));
    assert_ok(
        sg_detector_evaluate(&config, &model, inference, pool, d, NULL, NULL, NULL, NULL, out));
    sg_state_destroy(weights);
    sg_inference_destroy(inference);
    sg_pool_destroy(pool);
}

/* With pictures made and boxes suppressed on the device, and, where it is emulated, by the loader's
 * threads and sg_nms: an emulated device computes the same without being one. */
static void evaluations_are_the_same(void **state) {
    sg_backend hosted = sg_backend_cuda, counted = sg_backend_cuda;
    sg_synthetic_options drawn = sg_synthetic_defaults();
    sg_device table = *device;
    sg_evaluation want, got;
    char root[256];
    sg_dataset *d;

    (void)state;
    if (!sg_emulation_is_on()) skip();
    snprintf(root, sizeof root, "%s", fixture_path("drawn"));
    drawn.n_train = 19; /* a padded batch at the end */
    drawn.n_val = 1;
    drawn.side = SG_SYNTHETIC_SIDE_MIN;
    assert_ok(sg_synthetic_make(root, &drawn));
    assert_ok(sg_dataset_read_voc(root, "train.txt", NULL, &d));
    hosted.device = NULL;
    evaluate(d, &hosted, 1, &want);
    assert_true(want.score > 0.0);
    table.augment = augment_counted;
    table.nms = nms_counted;
    counted.device = &table;
    for (int threads = 1; threads < 4; threads += 2) {
        augmented = suppressed = 0;
        evaluate(d, &counted, threads, &got);
        assert_int_equal(augmented, 2);  /* batches of 16 */
        assert_int_equal(suppressed, 5); /* groups of 4 */
        assert_string_equal(want.json, got.json);
        assert_string_equal(want.table, got.table);
        sg_evaluation_clear(&got);
    }
    sg_evaluation_clear(&want);
    sg_dataset_destroy(d);
}

/* What comes back from the device is what sg_nms makes of the same run's boxes and scores, to the
 * bit: of inputs of the host's and of the device's, of a whole batch and of a part. */
static void boxes_are_the_same(void **state) {
    enum { kBatch = 3, kMost = 40, kSide = 64 };
    sg_mask_detector_options model = sg_mask_detector_defaults();
    sg_nms_options options = {.min_score = 1e-3f, .max_iou = 0.6f, .max_boxes = kMost};
    sg_inference_options o = {
        .build = sg_detector_build, .context = &model, .backend = &sg_backend_cuda};
    static uint8_t images[kBatch * 3 * kSide * kSide];
    static sg_detection found[kBatch * kMost], want[kMost];
    const void *inputs[SG_MAX_INPUTS] = {images}, *there[SG_MAX_INPUTS];
    int64_t count[kBatch], n, anchors, total = 0;
    sg_random random = sg_random_init(5);
    float *boxes, *scores;
    sg_detector_nms *nms;
    sg_inference *f;
    sg_state *weights;
    sg_anchors grid;
    void *block;

    (void)state;
    model.input = kSide;
    model.classes = 3;
    grid = sg_mask_detector_anchors(&model);
    anchors = sg_anchor_count(&grid);
    boxes = calloc((size_t)(kBatch * anchors * 4), sizeof *boxes);
    scores = calloc((size_t)(kBatch * anchors * model.classes), sizeof *scores);
    for (size_t i = 0; i < sizeof images; i++) images[i] = (uint8_t)sg_random_u32(&random);
    o.batch = kBatch;
    assert_ok(sg_inference_create(&o, &f));
    assert_ok(sg_state_create(sg_inference_table(f), 0, &weights));
    sg_state_init(weights, 5);
    assert_ok(sg_inference_set_values(f, weights->values, NULL));
    assert_ok(sg_inference_run(f, 0, inputs, (void *[]){boxes, scores}));
    assert_ok(sg_detector_nms_create(f, &options, kBatch, anchors, model.classes, &nms));
    assert_ok(device->alloc(sizeof images, "pictures", &block));
    assert_ok(device->put(sg_inference_queue(f), block, images, sizeof images));
    there[0] = block;
    for (int way = 0; way < 4; way++) {
        int64_t pictures = way / 2 ? kBatch : kBatch - 1;

        memset(found, 0xA5, sizeof found);
        assert_ok(sg_detector_nms_run(nms, way % 2 ? NULL : inputs, way % 2 ? there : NULL,
                                      pictures, found, count));
        for (int64_t i = 0; i < pictures; i++) {
            assert_ok(sg_nms(&options, boxes + i * anchors * 4,
                             scores + i * anchors * model.classes, anchors, model.classes, want,
                             &n));
            assert_int_equal(count[i], n);
            assert_memory_equal(found + i * kMost, want, (size_t)n * sizeof *want);
            total += n;
        }
    }
    assert_true(total > 40);
    options.max_iou = 2.0f;
    sg_detector_nms_destroy(nms);
    assert_int_equal(sg_detector_nms_create(f, &options, kBatch, anchors, model.classes, &nms),
                     SG_ERR_ARG);
    device->release(block);
    sg_state_destroy(weights);
    sg_inference_destroy(f);
    free(boxes);
    free(scores);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_plans_give_the_same_bytes),
        cmocka_unit_test(small_sides_give_the_same_bytes),
        cmocka_unit_test(shrunk_sources_give_the_same_bytes),
        cmocka_unit_test(extremes_give_the_same_bytes),
        cmocka_unit_test(letterboxes_give_the_same_bytes),
        cmocka_unit_test(rows_without_sources),
        cmocka_unit_test(raw_batches_give_the_same_pictures),
        cmocka_unit_test(raw_batches_start_where_others_stopped),
        cmocka_unit_test(raw_evaluation_is_the_same),
        cmocka_unit_test(raw_errors_reach_the_caller),
        cmocka_unit_test(raw_batches_after_restarts),
        cmocka_unit_test(kept_pictures_are_brought_once),
        cmocka_unit_test(raw_memory_may_fail_anywhere),
        cmocka_unit_test(evaluations_are_the_same),
        cmocka_unit_test(boxes_are_the_same),
    };

    sg_emulation_guard();
    return cmocka_run_group_tests_name("cuda augmentation", tests, fixture_setup, fixture_teardown);
}
