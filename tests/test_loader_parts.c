/* Several workers share a run: each loads its part of every batch, and begins anew where the parts
 * change. Together they load what one loader of whole batches does, byte for byte. */
enum { N = 11, S = 48, B = 5, kSeed = 42, BATCHES = 14, kScribble = 0xA5 };

#include "loader_fixture.h"

#include "core/threads.h"

static sg_dataset *read_data(const char *root) {
    sg_random r = sg_random_init(5);

    for (int i = 0; i < N; i++) {
        int64_t width = 30 + sg_random_below(&r, 70), height = 30 + sg_random_below(&r, 70);

        write_noise(root, i, width, height, i % 3 ? OBJECT("a", 4, 6, 25, 28) : "", &r);
    }
    return read_noise(root);
}

/* The rows of the first `batches` batches of one loader that loads them whole. */
static record *whole_run(const sg_dataset *d, const sg_loader_options *o, int64_t batches) {
    record *all = calloc((size_t)(batches * B), sizeof *all);
    sg_loader *loader;
    sg_batch batch;

    assert_non_null(all);
    assert_ok(sg_loader_create(d, o, &loader));
    for (int64_t k = 0; k < batches; k++) {
        assert_ok(sg_loader_next(loader, &batch));
        assert_int_equal(batch.part.first, 0);
        assert_int_equal(batch.part.count, B);
        for (int64_t row = 0; row < B; row++)
            take_record(&batch, row, batch.image, &all[k * B + row]);
    }
    sg_loader_destroy(loader);
    return all;
}

/* `want`: the whole batch's rows. */
static void check_part(const sg_batch *batch, const sg_part *part, const record *want) {
    static record got;

    assert_int_equal(batch->part.first, part->first);
    assert_int_equal(batch->part.count, part->count);
    for (int64_t row = part->first; row < part->first + part->count; row++) {
        take_record(batch, row, batch->image, &got);
        assert_memory_equal(&got, &want[row], sizeof got);
    }
}

static bool is_in(const sg_part *part, int64_t row) {
    return row >= part->first && row < part->first + part->count;
}

static void scribble(const sg_batch *b, int64_t row) {
    memset(b->image + row * IMAGE, kScribble, IMAGE);
    memset(b->boxes + row * SG_MAX_BOXES * 4, kScribble, SG_MAX_BOXES * 4 * sizeof *b->boxes);
    memset(b->classes + row * SG_MAX_BOXES, kScribble, SG_MAX_BOXES * sizeof *b->classes);
    memset(b->count + row, kScribble, sizeof *b->count);
    memset(b->sample + row, kScribble, sizeof *b->sample);
    memset(b->map + row, kScribble, sizeof *b->map);
}

static void check_scribbles(const sg_batch *batch, const sg_part *part) {
    static uint8_t row_bytes[IMAGE];
    static record got;

    memset(row_bytes, kScribble, sizeof row_bytes);
    for (int64_t row = 0; row < B; row++) {
        if (is_in(part, row)) continue;
        take_record(batch, row, batch->image, &got);
        assert_memory_equal(got.image, row_bytes, IMAGE);
        assert_memory_equal(got.boxes, row_bytes, sizeof got.boxes);
        assert_memory_equal(got.classes, row_bytes, sizeof got.classes);
        assert_memory_equal(&got.count, row_bytes, sizeof got.count);
        assert_memory_equal(&got.sample, row_bytes, sizeof got.sample);
        assert_memory_equal(&got.map, row_bytes, sizeof got.map);
    }
}

/* Every part of a batch, so every division of it; the other rows stay what the caller made them. */
static void a_part_is_its_rows_of_the_whole(void **state) {
    sg_dataset *d = read_data("parts");

    (void)state;
    for (int evaluation = 0; evaluation < 2; evaluation++) {
        sg_loader_options o = training();
        record *whole;

        if (evaluation) o.augment = NULL;
        whole = whole_run(d, &o, 8);
        for (sg_part part = {0, 1}; part.first < B; part.first++) {
            for (part.count = 1; part.first + part.count <= B; part.count++) {
                sg_loader *loader;
                sg_batch batch;

                o.threads = 1 + (int)(part.first + part.count) % 3;
                o.prefetch = 1 + (int)part.first % 2;
                o.part = &part;
                assert_ok(sg_loader_create(d, &o, &loader));
                for (int k = 0; k < 8; k++) {
                    assert_ok(sg_loader_next(loader, &batch));
                    check_part(&batch, &part, whole + k * B);
                    if (!evaluation) assert_int_equal(batch.first_sample, k * B);
                    if (k > o.prefetch) check_scribbles(&batch, &part);
                    for (int64_t row = 0; row < B; row++)
                        if (!is_in(&part, row)) scribble(&batch, row);
                }
                sg_loader_destroy(loader);
            }
        }
        free(whole);
    }
    sg_dataset_destroy(d);
}

/* Any start, any part, threads caught at anything; the run of 14 batches goes through two epochs
 * and a half. */
static void restarts_at_random_moments(void **state) {
    enum { RESTARTS = 250 };
    sg_dataset *d = read_data("restarts");
    sg_random r = sg_random_init(9);
    long live = sg_mem_live();

    (void)state;
    for (int evaluation = 0; evaluation < 2; evaluation++) {
        sg_loader_options o = training();
        sg_loader *loader;
        record *whole;

        if (evaluation) o.augment = NULL;
        whole = whole_run(d, &o, BATCHES);
        o.threads = 3;
        o.cache_bytes = evaluation ? 0 : 60000; /* about half of the pictures */
        assert_ok(sg_loader_create(d, &o, &loader));
        for (int i = 0; i < RESTARTS; i++) {
            sg_part part = {.first = sg_random_below(&r, B)};
            int64_t start = sg_random_below(&r, (BATCHES - 3) * B + 1);
            int64_t at = evaluation ? 0 : start; /* where a pass begins */
            int n = (int)sg_random_below(&r, 4);
            sg_batch batch;

            part.count = 1 + sg_random_below(&r, B - part.first);
            assert_ok(sg_loader_restart(loader, start, i % 5 ? &part : NULL));
            if (i % 5 == 0) part = (sg_part){0, B};
            if (i % 3 == 0) usleep((useconds_t)sg_random_below(&r, 3000));
            for (int k = 0; k < n; k++) {
                assert_ok(sg_loader_next(loader, &batch));
                check_part(&batch, &part, whole + at + k * B);
                if (!evaluation) assert_int_equal(batch.first_sample, start + k * B);
            }
        }
        sg_loader_destroy(loader);
        free(whole);
    }
    assert_int_equal(sg_mem_live(), live);
    sg_dataset_destroy(d);
}

/* Once decoded, a picture's file is not needed again. */
static void a_restart_keeps_decoded_pictures(void **state) {
    sg_dataset *d = read_data("kept");
    sg_loader_options o = training();
    record *whole = whole_run(d, &o, 4);
    const sg_part part = {1, 3};
    sg_loader *loader;
    sg_batch batch;

    (void)state;
    o.threads = 2;
    assert_ok(sg_loader_create(d, &o, &loader));
    for (int k = 0; k < 4; k++) assert_ok(sg_loader_next(loader, &batch));
    for (int i = 0; i < N; i++) unlink(d->samples[i].path);
    assert_ok(sg_loader_restart(loader, 0, &part));
    for (int k = 0; k < 4; k++) {
        assert_ok(sg_loader_next(loader, &batch));
        check_part(&batch, &part, whole + k * B);
    }
    sg_loader_destroy(loader);
    free(whole);
    sg_dataset_destroy(d);
}

/* Of one large picture, decoded anew for each row, by one thread: what a batch takes, and a restart
 * while it is made. The least of several tries. */
static void a_restart_waits_for_rows_in_work_only(void **state) {
    enum { kSide = 1200, kRows = 12 };
    sg_image image = fixture_image(kSide, kSide, 0, 0, 0);
    sg_loader_options o = training();
    sg_augment_options plain = {0};
    double batch_seconds = 1e9, restart_seconds = 1e9;
    sg_loader *loader;
    sg_dataset *d;
    sg_batch batch;

    (void)state;
    for (int64_t k = 0; k < kSide * kSide * 3; k++) image.rgb[k] = (uint8_t)(k * k >> 7);
    fixture_png("large/images/x.png", &image);
    sg_image_clear(&image);
    fixture_text("large/annotations/x.xml",
                 "<annotation>" OBJECT("a", 100, 50, 400, 350) "</annotation>");
    fixture_text("large/train.txt", "x\n");
    assert_ok(sg_dataset_read_voc(fixture_path("large"), "train.txt", NULL, &d));
    o.augment = &plain;
    o.batch = kRows;
    o.cache_bytes = 0;
    assert_ok(sg_loader_create(d, &o, &loader));
    for (int i = 0; i < 5; i++) {
        double start, made, restarted;

        assert_ok(sg_loader_next(loader, &batch));
        start = sg_now();
        assert_ok(sg_loader_next(loader, &batch));
        made = sg_now(); /* and now the threads go ahead */
        usleep(1000);
        assert_ok(sg_loader_restart(loader, 0, NULL));
        restarted = sg_now();
        if (made - start < batch_seconds) batch_seconds = made - start;
        if (restarted - made < restart_seconds) restart_seconds = restarted - made;
    }
    assert_true(restart_seconds < batch_seconds / 3);
    sg_loader_destroy(loader);
    sg_dataset_destroy(d);
}

/* Row 3 of batch 1 cannot be read. What was met ahead, or even told, counts only as long as it is
 * wanted. */
static void failures_are_dropped_with_their_rows(void **state) {
    static const sg_part without = {0, 3}, with = {2, 2};
    sg_dataset *d = read_data("failures");
    sg_loader_options o = training();
    sg_augment_options plain = {0};
    int64_t bad = sg_sampler_at(o.seed, N, B + 3);
    char path[256];

    (void)state;
    snprintf(path, sizeof path, "failures/images/p%d.png", (int)bad);
    fixture_text(path, "no picture");
    o.augment = &plain;
    for (o.threads = 1; o.threads <= 3; o.threads++) {
        sg_loader *loader;
        sg_batch batch;

        o.cache_bytes = o.threads % 2 ? 1 << 30 : 0;
        assert_ok(sg_loader_create(d, &o, &loader));
        for (int told = 0; told < 2; told++) {
            assert_ok(sg_loader_restart(loader, 0, told ? &with : NULL));
            assert_ok(sg_loader_next(loader, &batch));
            usleep(20000); /* threads meet it */
            if (told) {
                assert_int_equal(sg_loader_next(loader, &batch), SG_ERR_DATA);
                assert_int_equal(sg_loader_next(loader, &batch), SG_ERR_DATA);
                assert_non_null(strstr(sg_last_error(), path));
            }
            assert_ok(sg_loader_restart(loader, 0, &without));
            for (int k = 0; k < 2; k++) assert_ok(sg_loader_next(loader, &batch));
        }
        assert_ok(sg_loader_restart(loader, B, NULL));
        assert_int_equal(sg_loader_next(loader, &batch), SG_ERR_DATA);
        sg_loader_destroy(loader);
    }
    sg_dataset_destroy(d);
}

/* --- workers come and go ---------------------------------------------------------------------- */

enum { kWorkers = 4, kSteps = BATCHES };

typedef struct {
    sg_loader *loader[kWorkers];
    sg_part part[kWorkers]; /* count 0: it takes no part */
    int64_t samples;        /* that all steps so far have consumed */
    sg_random random;
} group;

/* Who is there, and where the cuts are, is drawn; each that is there begins anew. */
static void change_members(group *g, const sg_dataset *d, const sg_loader_options *o) {
    int64_t left = B;

    for (int w = 0; w < kWorkers; w++) {
        int64_t count = w == kWorkers - 1 ? left : sg_random_below(&g->random, left + 1);

        g->part[w] = (sg_part){B - left, count};
        left -= count;
        if (count == 0) {
            if (sg_random_below(&g->random, 2) == 0) { /* it died, and will come with a new one */
                sg_loader_destroy(g->loader[w]);
                g->loader[w] = NULL;
            }
            continue;
        }
        if (!g->loader[w]) assert_ok(sg_loader_create(d, o, &g->loader[w]));
        assert_ok(sg_loader_restart(g->loader[w], g->samples, &g->part[w]));
    }
}

/* A step: everybody's rows make up the whole batch; `seen` counts each sample. */
static void load_step(group *g, const record *whole, int *seen) {
    int64_t rows = 0;

    for (int w = 0; w < kWorkers; w++) {
        sg_batch batch;

        if (g->part[w].count == 0) continue;
        assert_ok(sg_loader_next(g->loader[w], &batch));
        check_part(&batch, &g->part[w], whole + g->samples);
        for (int64_t i = 0; i < batch.part.count; i++) {
            int64_t epoch = (g->samples + batch.part.first + i) / N;

            seen[epoch * N + batch.sample[batch.part.first + i]]++;
        }
        rows += batch.part.count;
    }
    assert_int_equal(rows, B);
}

/* Steps are also given up, whose rows do not count, and done again by others. */
static void each_sample_once_an_epoch_whoever_is_there(void **state) {
    enum { EPOCHS = kSteps * B / N };
    sg_dataset *d = read_data("group");
    sg_loader_options o = training();
    record *whole = whole_run(d, &o, kSteps);

    (void)state;
    o.threads = 2;
    o.prefetch = 3;
    for (int run = 0; run < 20; run++) {
        int seen[(EPOCHS + 1) * N] = {0}, given_up[(EPOCHS + 1) * N] = {0};
        group g = {.random = sg_random_init((uint64_t)run)};

        change_members(&g, d, &o);
        while (g.samples < kSteps * B) {
            bool fails = sg_random_below(&g.random, 4) == 0;

            load_step(&g, whole, fails ? given_up : seen);
            if (!fails) g.samples += B;
            if (fails || sg_random_below(&g.random, 3) == 0) change_members(&g, d, &o);
        }
        for (int i = 0; i < EPOCHS * N; i++) assert_int_equal(seen[i], 1);
        for (int w = 0; w < kWorkers; w++) sg_loader_destroy(g.loader[w]);
    }
    free(whole);
    sg_dataset_destroy(d);
}

static void parts_are_checked(void **state) {
    static const sg_part wrong[] = {{-1, 2}, {0, 0}, {0, -1},       {0, B + 1},
                                    {B, 1},  {2, 4}, {1, INT64_MAX}};
    const sg_part part = {1, 2};
    sg_dataset *d = read_data("wrong");
    sg_loader_options o = training();
    record *whole = whole_run(d, &o, 3);
    sg_loader *loader;
    sg_batch batch;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        o.part = &wrong[i];
        assert_fails(sg_loader_create(d, &o, &loader), SG_ERR_ARG, "no part of a batch of 5");
    }
    o.part = &part;
    assert_ok(sg_loader_create(d, &o, &loader));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_fails(sg_loader_restart(loader, 0, &wrong[i]), SG_ERR_ARG, "no part of a batch");
        assert_fails(sg_loader_restart(loader, -1, NULL), SG_ERR_ARG, "negative start (-1)");
        if (i > 2) continue;
        assert_ok(sg_loader_next(loader, &batch)); /* as if nothing had been said */
        check_part(&batch, &part, whole + (int)i * B);
    }
    sg_loader_destroy(loader);
    free(whole);
    sg_dataset_destroy(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_is_its_rows_of_the_whole),
        cmocka_unit_test(restarts_at_random_moments),
        cmocka_unit_test(a_restart_keeps_decoded_pictures),
        cmocka_unit_test(a_restart_waits_for_rows_in_work_only),
        cmocka_unit_test(failures_are_dropped_with_their_rows),
        cmocka_unit_test(each_sample_once_an_epoch_whoever_is_there),
        cmocka_unit_test(parts_are_checked),
    };

    return cmocka_run_group_tests_name("parts of batches", tests, fixture_setup, fixture_teardown);
}
