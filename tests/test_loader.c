/* The loader: the same bytes whatever the threads, the cache and the start; errors; evaluation. */
enum { N = 10, S = 64, B = 4, kSeed = 42 };

#include "loader_fixture.h"

#include <math.h>

#include "core/threads.h"
#include "out_of_memory.h"

static sg_dataset *read_data(const char *root) {
    sg_random r = sg_random_init(3);

    for (int i = 0; i < N; i++) {
        int64_t width = 30 + sg_random_below(&r, 90), height = 30 + sg_random_below(&r, 90);

        write_noise(root, i, width, height,
                    i % 2 ? OBJECT("a", 1, 2, 20, 30) OBJECT("b", 4, 6, 25, 28)
                          : OBJECT("b", 4, 6, 25, 28),
                    &r);
    }
    return read_noise(root);
}

/* The rows of so many batches, one record after the other. */
static record *collect(const sg_dataset *d, const sg_loader_options *o, int64_t batches) {
    record *all = calloc((size_t)(batches * o->batch), sizeof *all);
    sg_loader *loader;
    sg_batch batch;

    assert_non_null(all);
    assert_ok(sg_loader_create(d, o, &loader));
    for (int64_t k = 0; k < batches; k++) {
        assert_ok(sg_loader_next(loader, &batch));
        if (o->augment) assert_int_equal(batch.first_sample, o->start + k * o->batch);
        for (int64_t row = 0; row < o->batch; row++)
            take_record(&batch, row, batch.image, &all[k * o->batch + row]);
    }
    assert_true(sg_loader_wait_seconds(loader) >= 0.0);
    sg_loader_destroy(loader);
    return all;
}

static void threads_and_cache_change_nothing(void **state) {
    static const struct {
        int threads, prefetch;
        int64_t cache;
    } ways[] = {{1, 1, 0}, {2, 2, 0}, {4, 3, 60000}, {4, 1, 1 << 30}, {1, 4, 1 << 30}};
    sg_dataset *d = read_data("threads");
    sg_loader_options o = training();
    enum { BATCHES = 8 };
    record *first = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        record *r;

        o.threads = ways[i].threads;
        o.prefetch = ways[i].prefetch;
        o.cache_bytes = ways[i].cache;
        r = collect(d, &o, BATCHES);
        if (!first) {
            first = r;
            continue;
        }
        assert_memory_equal(r, first, BATCHES * B * sizeof *r);
        free(r);
    }
    o.seed++;
    record *other = collect(d, &o, 1);
    assert_memory_not_equal(other, first, B * sizeof *other);
    free(other);
    free(first);
    sg_dataset_destroy(d);
}

static void a_start_goes_on_where_another_stopped(void **state) {
    sg_dataset *d = read_data("start");
    sg_loader_options o = training();
    record *whole = collect(d, &o, 6);

    (void)state;
    o.threads = 2;
    for (o.start = 1; o.start < 14; o.start += 4) { /* 1, 5, 9, 13: also past the epoch's end */
        record *rest = collect(d, &o, 2);

        assert_memory_equal(rest, whole + o.start, 2 * B * sizeof *rest);
        free(rest);
    }
    free(whole);
    sg_dataset_destroy(d);
}

static void an_epoch_holds_every_sample_once(void **state) {
    sg_dataset *d = read_data("epoch");
    sg_loader_options o = training();
    enum { EPOCHS = 4, BATCHES = EPOCHS * N / B };
    record *r = collect(d, &o, BATCHES);
    int differ = 0;

    (void)state;
    for (int e = 0; e < EPOCHS; e++) {
        int seen[N] = {0};

        for (int i = 0; i < N; i++) {
            assert_int_equal(r[e * N + i].sample, sg_sampler_at(42, N, e * N + i));
            seen[r[e * N + i].sample]++;
            differ += r[e * N + i].sample != r[i].sample;
        }
        for (int i = 0; i < N; i++) assert_int_equal(seen[i], 1);
    }
    assert_true(differ > N);
    for (int i = 0; i < N; i++) /* nor does a sample look the same in the next epoch */
        for (int k = N; k < 2 * N; k++)
            if (r[k].sample == r[i].sample) assert_memory_not_equal(r[k].image, r[i].image, IMAGE);
    free(r);
    sg_dataset_destroy(d);
}

static void a_batch_stays_until_the_next_call(void **state) {
    sg_dataset *d = read_data("borrowed");
    sg_loader_options o = training();
    uint8_t *copy = malloc(B * IMAGE);
    sg_loader *loader;
    sg_batch batch;

    (void)state;
    o.threads = 2;
    o.prefetch = 1;
    assert_ok(sg_loader_create(d, &o, &loader));
    for (int i = 0; i < 3; i++) {
        assert_ok(sg_loader_next(loader, &batch));
        memcpy(copy, batch.image, B * IMAGE);
        usleep(20000); /* the threads go as far ahead as they may */
        assert_memory_equal(copy, batch.image, B * IMAGE);
    }
    sg_loader_destroy(loader);
    free(copy);
    sg_dataset_destroy(d);
}

static void mosaics_close_at_their_epoch(void **state) {
    sg_dataset *d = read_data("close");
    sg_loader_options o = training();
    sg_augment_options always = sg_augment_defaults(), never = always;
    record *closing, *with, *without;

    (void)state;
    always.mosaic = 1.0f;
    never.mosaic = 0.0f;
    o.augment = &always;
    with = collect(d, &o, 5);
    o.mosaic_close_epoch = 1;
    closing = collect(d, &o, 5);
    o.augment = &never;
    without = collect(d, &o, 5);
    assert_memory_equal(closing, with, N * sizeof *with);
    assert_memory_equal(closing + N, without + N, N * sizeof *with);
    assert_memory_not_equal(with + N, without + N, N * sizeof *with);
    free(with);
    free(closing);
    free(without);
    sg_dataset_destroy(d);
}

static void evaluation_goes_through_the_list(void **state) {
    sg_dataset *d = read_data("evaluation");
    sg_loader_options o = training();
    static uint8_t plain[IMAGE];
    record *r;

    (void)state;
    o.augment = NULL;
    o.threads = 3;
    r = collect(d, &o, 6); /* two passes of three batches */
    for (int i = 0; i < N; i++) {
        const sg_sample *s = &d->samples[i];
        sg_image image;

        assert_int_equal(r[i].sample, i);
        assert_ok(sg_image_read(s->path, &image));
        assert_ok(sg_letterbox_image(&image, S, plain, NULL));
        sg_image_clear(&image);
        assert_memory_equal(r[i].image, plain, IMAGE);
        assert_int_equal(r[i].count, s->count);
        for (int64_t b = 0; b < s->count; b++) {
            float back[4];

            sg_letterbox_undo(&r[i].map, r[i].boxes + 4 * b, back);
            for (int k = 0; k < 4; k++) assert_true(fabsf(back[k] - s->boxes[4 * b + k]) < 1e-3f);
            assert_int_equal(r[i].classes[b], s->classes[b]);
        }
    }
    for (int i = N; i < 3 * B; i++) {
        assert_int_equal(r[i].sample, -1);
        assert_int_equal(r[i].count, 0);
        assert_int_equal(r[i].image[5], SG_IMAGE_MATTE);
    }
    assert_memory_equal(r, r + 3 * B, 3 * B * sizeof *r);
    free(r);
    sg_dataset_destroy(d);
}

/* Cut the picture at position p of epoch 0 after the data set was read. */
static void errors_reach_the_caller(void **state) {
    sg_dataset *d = read_data("errors");
    sg_loader_options o = training();
    sg_augment_options plain = {0};
    char path[256];

    (void)state;
    o.augment = &plain;
    cut_noise("errors", d, sg_sampler_at(o.seed, N, 6), path);
    for (o.threads = 1; o.threads <= 4; o.threads++) {
        sg_loader *loader;
        sg_batch batch;

        o.cache_bytes = o.threads % 2 ? 0 : 1 << 30;
        assert_ok(sg_loader_create(d, &o, &loader));
        assert_ok(sg_loader_next(loader, &batch)); /* the batch before is whole */
        for (int i = 0; i < 2; i++) {
            assert_fails(sg_loader_next(loader, &batch), SG_ERR_DATA, "cut off");
            assert_non_null(strstr(sg_last_error(), path));
        }
        sg_loader_destroy(loader);
    }
    fixture_png(path, &(sg_image){.width = 2, .height = 1, .rgb = (uint8_t[6]){0}});
    sg_loader *loader;
    sg_batch batch;
    assert_ok(sg_loader_create(d, &o, &loader));
    assert_ok(sg_loader_next(loader, &batch));
    assert_fails(sg_loader_next(loader, &batch), SG_ERR_DATA, "has changed to 2 x 1 pixels");
    sg_loader_destroy(loader);
    sg_dataset_destroy(d);
}

/* 600 x 400 for an input of 64 is read four times smaller; the box must still fit. */
static void large_pictures_keep_their_boxes(void **state) {
    sg_image image = fixture_image(601, 397, 0, 0, 0);
    sg_loader_options o = training();
    sg_augment_options geometry = sg_augment_defaults();
    record *cached, *plain;
    sg_dataset *d;
    int checked = 0;

    (void)state;
    geometry.mosaic = geometry.hue = geometry.saturation = 0.0f;
    geometry.value = geometry.brightness = 0.0f;
    geometry.min_visible = 0.0f;
    fixture_fill(&image, 100, 50, 400, 350, 255, 0, 0);
    fixture_png("large/images/x.png", &image);
    sg_image_clear(&image);
    fixture_text("large/annotations/x.xml",
                 "<annotation>" OBJECT("a", 100, 50, 400, 350) "</annotation>");
    fixture_text("large/train.txt", "x\n");
    assert_ok(sg_dataset_read_voc(fixture_path("large"), "train.txt", NULL, &d));
    o.augment = &geometry;
    o.threads = 2;
    cached = collect(d, &o, 5);
    o.cache_bytes = 0;
    plain = collect(d, &o, 5);
    assert_memory_equal(cached, plain, 5 * B * sizeof *plain);
    for (int i = 0; i < 5 * B; i++) {
        float seen[4] = {S, S, 0, 0};

        for (int p = 0; p < S * S; p++) {
            if (plain[i].image[p] < 128 || plain[i].image[p + S * S] >= 64) continue;
            seen[0] = fminf(seen[0], (float)(p % S));
            seen[1] = fminf(seen[1], (float)(p / S));
            seen[2] = fmaxf(seen[2], (float)(p % S + 1));
            seen[3] = fmaxf(seen[3], (float)(p / S + 1));
        }
        for (int k = 0; plain[i].count && k < 4; k++, checked++)
            assert_true(fabsf(seen[k] - plain[i].boxes[k]) <= 1.0f);
    }
    assert_true(checked >= 60);
    free(cached);
    free(plain);
    sg_dataset_destroy(d);
}

static void a_loader_may_be_destroyed_at_any_time(void **state) {
    sg_dataset *d = read_data("destroy");
    sg_loader_options o = training();
    long live = sg_mem_live();

    (void)state;
    o.threads = 3;
    for (int i = 0; i < 20; i++) {
        sg_loader *loader;
        sg_batch batch;

        assert_ok(sg_loader_create(d, &o, &loader));
        for (int k = 0; k < i % 3; k++) assert_ok(sg_loader_next(loader, &batch));
        sg_loader_destroy(loader);
        assert_int_equal(sg_mem_live(), live);
    }
    sg_dataset_destroy(d);
}

static void options_are_checked(void **state) {
    sg_dataset *d = read_data("options");
    sg_augment_options wrong = sg_augment_defaults();
    sg_loader_options o = training();
    sg_loader *loader;

    (void)state;
    o.batch = 0;
    assert_fails(sg_loader_create(d, &o, &loader), SG_ERR_ARG, "batch 0");
    o = training();
    o.threads = 0;
    assert_fails(sg_loader_create(d, &o, &loader), SG_ERR_ARG, "0 threads");
    o = training();
    o.input = 100000;
    assert_fails(sg_loader_create(d, &o, &loader), SG_ERR_ARG, "input 100000");
    o = training();
    wrong.flip = 2.0f;
    o.augment = &wrong;
    assert_fails(sg_loader_create(d, &o, &loader), SG_ERR_CONFIG, "flip is 2");
    sg_dataset_destroy(d);
}

static void memory_may_fail_anywhere(void **state) {
    sg_dataset *d = read_data("memory");
    sg_loader_options o = training();
    long live = sg_mem_live();
    sg_loader *loader;

    (void)state;
    o.threads = 2;
    o.cache_bytes = 60000;
    FAIL_EACH_ALLOCATION_BESIDE_THREADS(sg_loader_create(d, &o, &loader), 5);
    sg_loader_destroy(loader);
    assert_int_equal(sg_mem_live(), live);
    sg_dataset_destroy(d);
}

static void real_data_loads(void **state) {
    const char *folder = getenv("SPOTGRAD_DATA");
    sg_loader_options o = sg_loader_defaults();
    sg_loader *loader;
    sg_dataset *d;
    sg_batch batch;
    char root[512];
    int64_t boxes = 0;

    (void)state;
    if (!folder) skip();
    snprintf(root, sizeof root, "%s/masks", folder);
    assert_ok(sg_dataset_read_voc(root, "train.txt", NULL, &d));
    o.augment = training().augment;
    o.threads = 2;
    assert_ok(sg_loader_create(d, &o, &loader));
    for (int k = 0; k < 4; k++) {
        assert_ok(sg_loader_next(loader, &batch));
        for (int row = 0; row < o.batch; row++) {
            boxes += batch.count[row];
            for (int b = 0; b < batch.count[row]; b++) {
                const float *box = batch.boxes + (row * SG_MAX_BOXES + b) * 4;

                assert_true(box[0] >= 0 && box[1] >= 0 && box[2] <= 416 && box[3] <= 416);
                assert_true(box[2] - box[0] >= 2 && box[3] - box[1] >= 2);
            }
        }
    }
    assert_true(boxes > 64);
    sg_loader_destroy(loader);
    sg_dataset_destroy(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_and_cache_change_nothing),
        cmocka_unit_test(a_start_goes_on_where_another_stopped),
        cmocka_unit_test(an_epoch_holds_every_sample_once),
        cmocka_unit_test(a_batch_stays_until_the_next_call),
        cmocka_unit_test(mosaics_close_at_their_epoch),
        cmocka_unit_test(evaluation_goes_through_the_list),
        cmocka_unit_test(errors_reach_the_caller),
        cmocka_unit_test(large_pictures_keep_their_boxes),
        cmocka_unit_test(a_loader_may_be_destroyed_at_any_time),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(memory_may_fail_anywhere),
        cmocka_unit_test(real_data_loads),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
