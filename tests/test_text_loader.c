/* Batches of texts: their order, shapes, rows and targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "data/loader.h"
#include "data/text_loader.h"
#include "out_of_memory.h"

enum { kTexts = 53, kBatch = 4, kClasses = 5, kMostNgrams = 40 };

/* Text i has i % 41 n-grams, all with the id i and the weight i + k, and i % 9 subwords, all i. */
static int32_t ngram[kTexts * kMostNgrams], subword[kTexts * 9];
static float weight[kTexts * kMostNgrams];
static int64_t ngram_start[kTexts + 1], subword_start[kTexts + 1];
static const sg_encoded_set set = {kTexts, ngram_start, ngram, weight, subword_start, subword};

static int make_set(void **state) {
    (void)state;
    for (int64_t i = 0; i < kTexts; i++) {
        int64_t n = ngram_start[i], s = subword_start[i];

        for (int k = 0; k < i % (kMostNgrams + 1); k++, n++) {
            ngram[n] = (int32_t)i;
            weight[n] = (float)(i + k);
        }
        for (int k = 0; k < i % 9; k++) subword[s++] = (int32_t)i;
        ngram_start[i + 1] = n;
        subword_start[i + 1] = s;
    }
    return 0;
}

static int32_t label[kTexts][3];
static float class_weight[kClasses] = {1, 2, 3, 4, 5};

static sg_text_loader_options options(bool by_length) {
    sg_text_loader_options o = {.batch = kBatch,
                                .seed = 7,
                                .by_length = by_length,
                                .shapes = sg_text_shapes_up_to(kMostNgrams, 8),
                                .classes = kClasses,
                                .label = (const int32_t(*)[3])label,
                                .class_weight = class_weight};

    for (int i = 0; i < kTexts; i++) { /* two tasks: classes 0, 1 and 2, 3, 4 */
        label[i][0] = i % kClasses;
        label[i][1] = i % kClasses < 2 ? 0 : 2;
        label[i][2] = i % kClasses < 2 ? 2 : 3;
    }
    return o;
}

static sg_text_loader *create(const sg_text_loader_options *o) {
    sg_text_loader *loader;

    assert_int_equal(sg_text_loader_create(&set, o, &loader), SG_OK);
    return loader;
}

/* Which text row i of a batch is; it has at least one n-gram or subword. -1: none of both. */
static int text_of(const sg_text_batch *b, const sg_text_shapes *shapes, int64_t i) {
    if (b->rows.ngrams[i * shapes->features[b->shape]] >= 0)
        return b->rows.ngrams[i * shapes->features[b->shape]];
    return b->rows.ids[i * shapes->length[b->shape]];
}

static void shapes_hold_what_they_say(void **state) {
    sg_text_shapes s = sg_text_shapes_up_to(1024, 64), words = sg_text_shapes_up_to(0, 64);

    (void)state;
    assert_int_equal(s.n, SG_TEXT_SHAPES);
    assert_int_equal(s.features[0], 128);
    assert_int_equal(s.length[0], 8);
    assert_int_equal(s.features[s.n - 1], 1024);
    assert_int_equal(s.length[s.n - 1], 64);
    assert_int_equal(sg_text_shape_for(&s, 0, 0), 0);
    assert_int_equal(sg_text_shape_for(&s, 128, 8), 0);
    assert_int_equal(sg_text_shape_for(&s, 129, 8), 1);
    assert_int_equal(sg_text_shape_for(&s, 1, 9), 1);
    assert_int_equal(sg_text_shape_for(&s, 1024, 1), s.n - 1);
    assert_int_equal(sg_text_shape_for(&s, 5000, 5000), s.n - 1); /* is cut */
    assert_int_equal(sg_text_shape_for(&words, 5000, 1), 0);      /* there are no n-grams */
}

static void rows_are_padded_and_cut(void **state) {
    sg_text_shapes s = sg_text_shapes_up_to(8, 8);
    int32_t ids[] = {4, 5, 6};
    float weights[] = {0.5f, 0.25f, 0.125f};
    sg_encoded text = {
        .n_ngrams = 3, .ngram = ids, .weight = weights, .n_subwords = 2, .subword = ids};
    sg_text_rows rows;

    (void)state;
    assert_int_equal(sg_text_rows_init(&s, 2, &rows), SG_OK);
    sg_text_rows_put(&rows, &s, 3, 1, &text); /* room for 4 and 4 */
    assert_int_equal(s.features[3], 4);
    assert_memory_equal(rows.ngrams + 4, ((int32_t[]){4, 5, 6, -1}), 4 * sizeof(int32_t));
    assert_memory_equal(rows.weights + 4, ((float[]){0.5f, 0.25f, 0.125f, 0}), 4 * sizeof(float));
    assert_memory_equal(rows.ids + 4, ((int32_t[]){4, 5, -1, -1}), 4 * sizeof(int32_t));
    assert_int_equal(rows.length[1], 2);
    sg_text_rows_put(&rows, &s, 0, 0, &text); /* for 1 and 1 */
    assert_int_equal(rows.ngrams[0], 4);
    assert_int_equal(rows.ids[0], 4);
    assert_int_equal(rows.length[0], 1);
    assert_int_equal(rows.ngrams[4], 4); /* the other row stays */
    sg_text_rows_clear(&rows);
}

/* Unsorted batches are the sampler's positions; a batch's shape is its longest text's. */
static void follows_the_sampler(void **state) {
    sg_text_loader_options o = options(false);
    sg_text_loader *loader = create(&o);

    (void)state;
    for (int64_t b = 0; b < 60; b++) {
        const sg_text_batch *batch = sg_text_loader_next(loader);
        int shape = 0;

        for (int64_t i = 0; i < kBatch; i++) {
            int64_t sample = sg_sampler_at(o.seed, kTexts, b * kBatch + i);
            sg_encoded text = sg_encoded_at(&set, sample);
            int fits = sg_text_shape_for(&o.shapes, text.n_ngrams, text.n_subwords);

            if (text.n_ngrams + text.n_subwords > 0)
                assert_int_equal(text_of(batch, &o.shapes, i), sample);
            assert_int_equal(batch->rows.length[i], text.n_subwords);
            shape = fits > shape ? fits : shape;
        }
        assert_int_equal(batch->shape, shape);
    }
    sg_text_loader_destroy(loader);
}

/* A window (half of the data set: 6 batches of 4) holds the same texts sorted or not; its batches
 * are runs of the sorted ones, in another order in each window. */
static void sorts_windows(void **state) {
    enum { kWindow = 6 };
    sg_text_loader_options o = options(true);
    sg_text_loader *loader = create(&o);
    int orders = 0;

    (void)state;
    for (int64_t w = 0; w < 5; w++) {
        int count[kTexts] = {0}, least[kWindow], most[kWindow];
        bool ascending = true;

        for (int64_t i = 0; i < kWindow * kBatch; i++)
            count[sg_sampler_at(o.seed, kTexts, w * kWindow * kBatch + i)]++;
        for (int b = 0; b < kWindow; b++) {
            const sg_text_batch *batch = sg_text_loader_next(loader);

            least[b] = 1000, most[b] = -1;
            for (int64_t i = 0; i < kBatch; i++) {
                int text = text_of(batch, &o.shapes, i), length;

                if (text < 0) text = 0; /* the only one without anything */
                count[text]--;
                length = text % 9 > 0 ? text % 9 : text % (kMostNgrams + 1);
                least[b] = length < least[b] ? length : least[b];
                most[b] = length > most[b] ? length : most[b];
            }
            ascending = ascending && (b == 0 || least[b] >= most[b - 1]);
        }
        for (int i = 0; i < kTexts; i++) assert_int_equal(count[i], 0);
        for (int a = 0; a < kWindow; a++)
            for (int b = 0; b < kWindow; b++)
                if (a != b) assert_true(most[a] <= least[b] || most[b] <= least[a]);
        orders += !ascending;
    }
    assert_true(orders > 0);
    sg_text_loader_destroy(loader);
}

/* Twenty batches of each. */
static void check_same(const sg_text_shapes *shapes, sg_text_loader *x, sg_text_loader *y) {
    for (int i = 0; i < 20; i++) {
        const sg_text_batch *a = sg_text_loader_next(x), *b = sg_text_loader_next(y);
        size_t F = kBatch * (size_t)shapes->features[a->shape];
        size_t T = kBatch * (size_t)shapes->length[a->shape];

        assert_int_equal(a->shape, b->shape);
        assert_memory_equal(a->rows.ngrams, b->rows.ngrams, F * sizeof(int32_t));
        assert_memory_equal(a->rows.weights, b->rows.weights, F * sizeof(float));
        assert_memory_equal(a->rows.ids, b->rows.ids, T * sizeof(int32_t));
        assert_memory_equal(a->target, b->target, kBatch * kClasses * sizeof(float));
    }
}

/* What comes after `start` samples is what an undisturbed run has there. */
static void goes_on_anywhere(void **state) {
    (void)state;
    for (int sorted = 0; sorted < 2; sorted++)
        for (int64_t done = 0; done < 30; done++) {
            sg_text_loader_options o = options(sorted);
            sg_text_loader *whole = create(&o), *rest;

            o.start = done * kBatch;
            rest = create(&o);
            for (int64_t i = 0; i < done; i++) sg_text_loader_next(whole);
            check_same(&o.shapes, whole, rest);
            sg_text_loader_destroy(whole);
            sg_text_loader_destroy(rest);
        }
}

/* Forwards, backwards, within a window and out of it; nothing is allocated. */
static void restarts_anywhere(void **state) {
    (void)state;
    for (int sorted = 0; sorted < 2; sorted++) {
        sg_text_loader_options o = options(sorted);
        sg_text_loader *moved = create(&o);

        for (int64_t i = 0; i < 40; i++) {
            sg_text_loader *fresh;
            long live = sg_mem_live();

            o.start = i * 17 % 40 * kBatch;
            sg_text_loader_restart(moved, o.start);
            assert_int_equal(sg_mem_live(), live);
            fresh = create(&o);
            check_same(&o.shapes, fresh, moved);
            sg_text_loader_destroy(fresh);
        }
        sg_text_loader_destroy(moved);
    }
}

/* Of the task's classes alone; smoothed, weighed; nothing for a text without a label. */
static void makes_targets(void **state) {
    sg_text_loader_options o = options(false);
    const sg_text_batch *batch;
    sg_text_loader *loader;

    (void)state;
    o.smoothing = 0.3f;
    label[sg_sampler_at(o.seed, kTexts, 1)][0] = -1;
    loader = create(&o);
    batch = sg_text_loader_next(loader);
    for (int64_t i = 0; i < kBatch; i++) {
        const int32_t *l = label[sg_sampler_at(o.seed, kTexts, i)];
        float w = l[0] < 0 ? 0.0f : class_weight[l[0]], sum = 0.0f;

        for (int32_t c = 0; c < kClasses; c++) {
            float t = batch->target[i * kClasses + c];
            bool own = c >= l[1] && c < l[1] + l[2];

            if (!own) assert_true(t == -1.0f);
            if (own && c != l[0]) assert_true(fabsf(t - w * 0.3f / (float)l[2]) <= 1e-6f);
            if (own && c == l[0]) assert_true(fabsf(t - w * (0.7f + 0.3f / (float)l[2])) <= 1e-5f);
            if (own) sum += t;
        }
        assert_true(fabsf(sum - w) <= 1e-5f);
    }
    sg_text_loader_destroy(loader);
}

/* Each text's guesses are those of its epoch, in the rows of its shard; a loader that begins in the
 * middle, and one whose batches are sorted, give the same. */
static void makes_guesses(void **state) {
    enum { kShard = 2 };
    const sg_masking masking = {0.3, 60, 9};
    sg_text_loader_options o = {.batch = kBatch,
                                .seed = 7,
                                .by_length = true,
                                .shapes = sg_text_shapes_masked(&masking, 8),
                                .masking = &masking,
                                .shard = kShard};
    sg_text_loader *loader = create(&o), *late;
    int guesses = 0;

    (void)state;
    o.start = 20 * kBatch;
    late = create(&o);
    for (int64_t b = 0; b < 60; b++) {
        const sg_text_batch *batch = sg_text_loader_next(loader);
        int64_t T = o.shapes.length[batch->shape], P = o.shapes.guesses[batch->shape];

        for (int64_t i = 0; i < kBatch; i++) {
            int32_t length = batch->rows.length[i];
            int64_t n = sg_masking_count(&masking, length);

            assert_true(P >= n && batch->rows.guesses[i] == (float)n);
            for (int64_t k = 0; k < P; k++) {
                int32_t place = batch->rows.place[i * P + k], guess = batch->rows.guess[i * P + k];

                assert_int_equal(place >= 0, k < n);
                assert_int_equal(guess >= 0, k < n);
                if (k >= n) continue;
                assert_int_equal(guess % 9, length); /* text i has i % 9 subwords, all i */
                assert_int_equal(place / T, i % kShard);
                assert_true(place % T < length);
                guesses++;
            }
        }
        if (b < 20) continue;
        {
            const sg_text_batch *again = sg_text_loader_next(late);
            size_t bytes = (size_t)(kBatch * P) * sizeof(int32_t);

            assert_int_equal(again->shape, batch->shape);
            assert_memory_equal(again->rows.place, batch->rows.place, bytes);
            assert_memory_equal(again->rows.ids, batch->rows.ids,
                                (size_t)(kBatch * T) * sizeof(int32_t));
        }
    }
    assert_true(guesses > 200);
    sg_text_loader_destroy(loader);
    sg_text_loader_destroy(late);
}

/* Positions of the second epoch hide other subwords of a text than those of the first. */
static void guesses_differ_by_epoch(void **state) {
    const sg_masking masking = {0.15, 60, 9};
    const sg_text_loader_options o = {.batch = 1,
                                      .seed = 7,
                                      .shapes = sg_text_shapes_masked(&masking, 8),
                                      .masking = &masking,
                                      .shard = 1};
    sg_text_loader *loader = create(&o);
    int32_t place[2][kTexts];
    int same = 0, many = 0;

    (void)state;
    for (int64_t p = 0; p < 2 * kTexts; p++) {
        int64_t sample = sg_sampler_at(o.seed, kTexts, p);

        place[p / kTexts][sample] = sg_text_loader_next(loader)->rows.place[0];
    }
    for (int i = 0; i < kTexts; i++) {
        if (i % 9 < 5) continue;
        many++;
        same += place[0][i] == place[1][i];
    }
    if (same > many / 2) fail_msg("%d of %d texts have the same guess", same, many);
    sg_text_loader_destroy(loader);
}

/* Fewer texts than a batch: it has some of them twice. */
static void serves_few_texts(void **state) {
    const sg_encoded_set few = {3, ngram_start, ngram, weight, subword_start, subword};
    sg_text_loader_options o = options(true);
    int count[3] = {0};
    sg_text_loader *loader;

    (void)state;
    assert_int_equal(sg_text_loader_create(&few, &o, &loader), SG_OK);
    for (int b = 0; b < 3; b++) {
        const sg_text_batch *batch = sg_text_loader_next(loader);

        for (int64_t i = 0; i < kBatch; i++) {
            int text = text_of(batch, &o.shapes, i);

            count[text < 0 ? 0 : text]++;
        }
    }
    for (int i = 0; i < 3; i++) assert_int_equal(count[i], kBatch);
    sg_text_loader_destroy(loader);
}

static void memory_may_fail(void **state) {
    sg_text_loader_options o = options(true);
    long live = sg_mem_live();
    sg_text_loader *loader;

    (void)state;
    FAIL_EACH_ALLOCATION_BESIDE_THREADS(sg_text_loader_create(&set, &o, &loader), 5);
    sg_text_loader_destroy(loader);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_hold_what_they_say),
        cmocka_unit_test(rows_are_padded_and_cut),
        cmocka_unit_test(follows_the_sampler),
        cmocka_unit_test(sorts_windows),
        cmocka_unit_test(goes_on_anywhere),
        cmocka_unit_test(restarts_anywhere),
        cmocka_unit_test(makes_targets),
        cmocka_unit_test(serves_few_texts),
        cmocka_unit_test(memory_may_fail),
        cmocka_unit_test(makes_guesses),
        cmocka_unit_test(guesses_differ_by_epoch),
    };

    return cmocka_run_group_tests(tests, make_set, NULL);
}
