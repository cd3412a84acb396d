/* Tokenizers: weights by hand, what is kept of a data set, the written form, threads, memory. */
#include "data_fixture.h"

#include "data/text_clean.h"
#include "data/encoded_set.h"
#include "out_of_memory.h"

#include <math.h>

enum { kMany = 700, kBytes = 96 };

typedef struct {
    int64_t n;
    const char *const *text;
} texts;

static const char *text_at(const void *context, int64_t i, int64_t *bytes) {
    const char *text = ((const texts *)context)->text[i];

    *bytes = (int64_t)strlen(text);
    return text;
}

static const char *const kFour[] = {"alpha beta", "alpha gamma", "alpha delta", "alpha alpha beta"};
static const texts four = {4, kFour};

static sg_tokenizer_options words(sg_weights weights) {
    return (sg_tokenizer_options){
        .ngrams = {1, 0, 0, 1 << 16}, .weights = weights, .min_count = 1, .features = 32};
}

static sg_tokenizer_options both(void) {
    sg_tokenizer_options o = words(SG_WEIGHTS_TFIDF);

    o.ngrams = (sg_ngrams){2, 2, 3, 512};
    o.subwords = 300;
    o.length = 20;
    return o;
}

static sg_status learn(const sg_tokenizer_options *o, const texts *from, int threads,
                       sg_tokenizer **out) {
    sg_pool *pool;
    sg_status st = sg_pool_create(threads, NULL, &pool);

    if (st != SG_OK) return st;
    st = sg_tokenizer_learn(o, text_at, from, from->n, pool, out);
    sg_pool_destroy(pool);
    return st;
}

static sg_tokenizer *learned(const sg_tokenizer_options *o, const texts *from) {
    sg_tokenizer *t;

    assert_ok(learn(o, from, 1, &t));
    return t;
}

/* The weight of a word, which is one n-gram, in what a text became; 0 where it is not. */
static float weight_of(sg_encoder *e, const char *text, const char *word) {
    sg_encoded x;
    int32_t row;

    assert_ok(sg_encoder_encode(e, word, (int64_t)strlen(word), &x));
    if (x.n_ngrams == 0) return 0.0f;
    assert_int_equal(x.n_ngrams, 1);
    row = x.ngram[0];
    assert_ok(sg_encoder_encode(e, text, (int64_t)strlen(text), &x));
    for (int64_t i = 0; i < x.n_ngrams; i++) {
        if (i > 0) assert_true(x.ngram[i] > x.ngram[i - 1]);
        if (x.ngram[i] == row) return x.weight[i];
    }
    return 0.0f;
}

#define assert_weight(text, word, want)                                                            \
    do {                                                                                           \
        float got_ = weight_of(e, text, word);                                                     \
        if (!(fabs((double)got_ - (want)) <= 1e-6)) fail_msg("%s: %g", word, (double)got_);        \
    } while (0)

static void weights_of_a_mean(void **state) {
    sg_tokenizer_options o = words(SG_WEIGHTS_MEAN);
    sg_tokenizer *t = learned(&o, &four);
    sg_encoder *e;

    (void)state;
    assert_int_equal(sg_tokenizer_rows(t), 4);
    assert_int_equal(sg_tokenizer_vocabulary(t), 0);
    assert_ok(sg_encoder_create(t, &e));
    assert_weight("Alpha  beta alpha", "alpha", 2.0 / 3.0);
    assert_weight("Alpha  beta alpha", "beta", 1.0 / 3.0);
    assert_weight("Alpha  beta unseen", "beta", 0.5);
    assert_weight("alpha", "beta", 0.0);
    sg_encoder_destroy(e);
    sg_tokenizer_destroy(t);
}

/* Of 4 texts: alpha in 4, beta in 2, gamma in 1. 8 ln(5/5) = 0, 8 ln(5/3) = 4.09, 8 ln(5/2) = 7.33;
 * rounded, idf is 1, 1.5 and 1.875. */
static void weights_of_tfidf(void **state) {
    const double a = 1.0 + log(2.0), norm = sqrt(a * a + 1.5 * 1.5 + 1.875 * 1.875);
    sg_tokenizer_options o = words(SG_WEIGHTS_TFIDF);
    sg_tokenizer *t = learned(&o, &four);
    sg_encoder *e;

    (void)state;
    assert_ok(sg_encoder_create(t, &e));
    assert_weight("alpha gamma beta alpha", "alpha", a / norm);
    assert_weight("alpha gamma beta alpha", "beta", 1.5 / norm);
    assert_weight("alpha gamma beta alpha", "gamma", 1.875 / norm);
    assert_weight("gamma gamma", "gamma", 1.0);
    sg_encoder_destroy(e);
    sg_tokenizer_destroy(t);
}

static void what_is_kept(void **state) {
    sg_tokenizer_options o = words(SG_WEIGHTS_MEAN);
    sg_tokenizer *t;
    sg_encoder *e;
    sg_encoded x;

    (void)state;
    o.min_count = 2; /* texts, not places */
    t = learned(&o, &four);
    assert_int_equal(sg_tokenizer_rows(t), 2);
    assert_ok(sg_encoder_create(t, &e));
    assert_weight("alpha gamma gamma gamma", "alpha", 1.0);
    assert_weight("alpha gamma gamma gamma", "gamma", 0.0);
    assert_ok(sg_encoder_encode(e, "", 0, &x));
    assert_int_equal(x.n_ngrams, 0);
    assert_int_equal(x.n_subwords, 0);
    sg_encoder_destroy(e);
    sg_tokenizer_destroy(t);
    o.min_count = 1;
    o.features = 2;
    t = learned(&o, &four);
    assert_ok(sg_encoder_create(t, &e));
    assert_ok(sg_encoder_encode(e, "alpha beta gamma delta", 22, &x));
    assert_int_equal(x.n_ngrams, 2);
    assert_true(x.weight[0] == 0.5f && x.weight[1] == 0.5f);
    /* places beyond 4 times as many are not looked at */
    assert_weight("alpha alpha alpha alpha alpha alpha alpha beta beta", "beta", 0.125);
    sg_encoder_destroy(e);
    sg_tokenizer_destroy(t);
    o.features = 0;
    assert_fails(learn(&o, &four, 1, &t), SG_ERR_ARG, "0 n-grams a text");
    o = both();
    o.length = 0;
    assert_fails(learn(&o, &four, 1, &t), SG_ERR_ARG, "0 subwords a text");
}

/* --- many texts ------------------------------------------------------------------------------- */

static const char *many_text[kMany];
static const texts many = {kMany, many_text};

static void draw_many(void) {
    static char text[kMany][kBytes];
    sg_random r = sg_random_init(17);

    for (int i = 0; i < kMany; i++) {
        int n = (int)sg_random_below(&r, 12), at = 0;

        text[i][0] = '\0';
        for (int k = 0; k < n; k++)
            at += snprintf(text[i] + at, (size_t)(kBytes - at), " %c%c%c",
                           'a' + (int)sg_random_below(&r, 5), 'a' + (int)sg_random_below(&r, 3),
                           'a' + (int)sg_random_below(&r, 9));
        many_text[i] = text[i];
    }
}

static void check_same_text(const sg_encoded *a, const sg_encoded *b) {
    assert_int_equal(a->n_ngrams, b->n_ngrams);
    assert_int_equal(a->n_subwords, b->n_subwords);
    for (int64_t i = 0; i < a->n_ngrams; i++)
        assert_true(a->ngram[i] == b->ngram[i] && a->weight[i] == b->weight[i]);
    for (int64_t i = 0; i < a->n_subwords; i++) assert_int_equal(a->subword[i], b->subword[i]);
}

static void check_set(const sg_encoded_set *s, sg_encoder *e) {
    assert_int_equal(s->n, kMany);
    assert_int_equal(s->ngram_start[0], 0);
    assert_int_equal(s->subword_start[0], 0);
    for (int64_t i = 0; i < s->n; i++) {
        int64_t g = s->ngram_start[i], w = s->subword_start[i];
        sg_encoded x, of = {s->ngram_start[i + 1] - g, s->ngram + g, s->weight + g,
                            s->subword_start[i + 1] - w, s->subword + w};

        assert_ok(sg_encoder_encode(e, many_text[i], (int64_t)strlen(many_text[i]), &x));
        check_same_text(&of, &x);
    }
}

static void threads_change_nothing(void **state) {
    sg_tokenizer_options o = both();
    char *first = NULL;

    (void)state;
    o.min_count = 3;
    for (int threads = 1; threads <= 4; threads *= 2) {
        sg_encoded_set *set;
        sg_tokenizer *t;
        sg_encoder *e;
        sg_pool *pool;
        char *text;

        assert_ok(sg_pool_create(threads, NULL, &pool));
        assert_ok(sg_tokenizer_learn(&o, text_at, &many, kMany, pool, &t));
        assert_ok(sg_tokenizer_write(t, &text));
        if (first) assert_string_equal(text, first);
        assert_ok(sg_encoded_set_create(t, text_at, &many, kMany, pool, &set));
        assert_ok(sg_encoder_create(t, &e));
        check_set(set, e);
        sg_encoder_destroy(e);
        sg_encoded_set_destroy(set);
        sg_tokenizer_destroy(t);
        sg_pool_destroy(pool);
        if (first) sg_free(text);
        if (!first) first = text;
    }
    sg_free(first);
}

/* --- as text ---------------------------------------------------------------------------------- */

static void check_read_back(const sg_tokenizer_options *o) {
    sg_tokenizer *t = learned(o, &many), *back;
    sg_encoder *e, *f;
    char *text, *again;

    assert_ok(sg_tokenizer_write(t, &text));
    assert_ok(sg_tokenizer_parse("t", text, strlen(text), &back));
    assert_ok(sg_tokenizer_write(back, &again));
    assert_string_equal(text, again);
    assert_int_equal(sg_tokenizer_rows(t), sg_tokenizer_rows(back));
    assert_int_equal(sg_tokenizer_vocabulary(t), sg_tokenizer_vocabulary(back));
    assert_ok(sg_encoder_create(t, &e));
    assert_ok(sg_encoder_create(back, &f));
    for (int64_t i = 0; i < kMany; i++) {
        int64_t bytes;
        const char *message = text_at(&many, i, &bytes);
        sg_encoded x, y;

        assert_ok(sg_encoder_encode(e, message, bytes, &x));
        assert_ok(sg_encoder_encode(f, message, bytes, &y));
        check_same_text(&x, &y);
    }
    sg_encoder_destroy(e);
    sg_encoder_destroy(f);
    sg_tokenizer_destroy(t);
    sg_tokenizer_destroy(back);
    sg_free(text);
    sg_free(again);
}

static void is_read_back(void **state) {
    sg_tokenizer_options o = both();

    (void)state;
    check_read_back(&o);
    o.ngrams = (sg_ngrams){0, 0, 0, 0};
    check_read_back(&o);
    o = words(SG_WEIGHTS_MEAN);
    o.min_count = 5;
    check_read_back(&o);
}

/* The text with `n` bytes in place of its line, counted from 1. */
static void refused(const char *text, int line, const char *put, size_t n, const char *part) {
    size_t bytes = strlen(text), before, after;
    const char *at = text;
    char *damaged;
    sg_tokenizer *t;

    for (int i = 1; i < line; i++) at = strchr(at, '\n') + 1;
    before = (size_t)(at - text);
    after = bytes - before - strcspn(at, "\n");
    damaged = malloc(before + n + after);
    assert_non_null(damaged);
    memcpy(damaged, text, before);
    memcpy(damaged + before, put, n);
    memcpy(damaged + before + n, text + bytes - after, after);
    assert_fails(sg_tokenizer_parse("file", damaged, before + n + after, &t), SG_ERR_DATA, part);
    free(damaged);
}

static void damage_is_refused(void **state) {
    static const struct {
        int line;
        const char *put, *part;
        size_t n; /* bytes; 0: to the NUL */
    } kCases[] = {
        {1, "# spotgrad tokenizer 2", "file:1: tokenizer: does not begin with", 0},
        {2, "cleaned 99", "file:2: tokenizer: its texts were cleaned by rules 99", 0},
        {3, "words 9", "file:3: tokenizer: expected `words` and a whole number", 0},
        {3, "words 02", "file:3: tokenizer: expected `words` and a whole number", 0},
        {3, "words 2\0x", "file:3: tokenizer: expected `words` and a whole number", 9},
        {3, "words ", "file:3: tokenizer: expected `words` and a whole number", 0},
        {3, "words -1", "file:3: tokenizer: expected `words` and a whole number", 0},
        {4, "char_min x", "file:4: tokenizer: expected `char_min`", 0},
        {4, "char_min 9", "file:", 0},
        {5, "char_max 33", "file:5: tokenizer: expected `char_max`", 0},
        {6, "buckets 99999999999999999999", "file:6: tokenizer: expected `buckets`", 0},
        {6, "buckets 511", "file:12: tokenizer: the line of buckets", 0},
        {7, "weights meany", "file:7: tokenizer: expected `weights mean` or", 0},
        {8, "min_count", "file:8: tokenizer: expected `min_count`", 0},
        {9, "features 1048577", "file:9: tokenizer: expected `features`", 0},
        {10, "subwords 0", "file:13: tokenizer: more lines than there should be", 0},
        {11, "length 1.5", "file:11: tokenizer: expected `length`", 0},
        {12, "!", "file:12: tokenizer: the line of buckets has not a character", 0},
        {13, "# spotgrad bpe 9", "file (subwords):1: ", 0},
        {14, "cleaned 99", "file (subwords):2: ", 0},
        {16, "35 1 _x", "file (subwords):4: ", 0},
    };
    sg_tokenizer_options o = both();
    sg_tokenizer *t = learned(&o, &many);
    char *text, *line;

    (void)state;
    assert_ok(sg_tokenizer_write(t, &text));
    for (size_t i = 0; i < sizeof kCases / sizeof *kCases; i++)
        refused(text, kCases[i].line, kCases[i].put,
                kCases[i].n ? kCases[i].n : strlen(kCases[i].put), kCases[i].part);
    /* cut off anywhere */
    for (size_t n = 0; n < strlen(text); n++) {
        sg_tokenizer *part;

        assert_fails(sg_tokenizer_parse("file", text, n, &part), SG_ERR_DATA, "file");
    }
    line = text;
    for (int i = 1; i < 12; i++) line = strchr(line, '\n') + 1;
    line[7] = '\x7F';
    assert_fails(sg_tokenizer_parse("file", text, strlen(text), &t), SG_ERR_DATA,
                 "file:12: tokenizer: a character in the line of buckets");
    sg_free(text);
    sg_tokenizer_destroy(t);
}

/* --- memory ----------------------------------------------------------------------------------- */

static sg_status whole_life(void) {
    sg_tokenizer_options o = both();
    sg_tokenizer *t = NULL, *back = NULL;
    sg_encoded_set *set = NULL;
    sg_encoder *e = NULL;
    char *text = NULL;
    sg_encoded x;
    sg_pool *pool;
    sg_status st = sg_pool_create(1, NULL, &pool);

    if (st != SG_OK) return st;
    st = sg_tokenizer_learn(&o, text_at, &four, 4, pool, &t);
    if (st == SG_OK) st = sg_tokenizer_write(t, &text);
    if (st == SG_OK) st = sg_tokenizer_parse("file", text, strlen(text), &back);
    if (st == SG_OK) st = sg_encoder_create(back, &e);
    if (st == SG_OK) st = sg_encoder_encode(e, kFour[3], (int64_t)strlen(kFour[3]), &x);
    if (st == SG_OK) st = sg_encoded_set_create(t, text_at, &four, 4, pool, &set);
    sg_encoded_set_destroy(set);
    sg_encoder_destroy(e);
    sg_tokenizer_destroy(back);
    sg_tokenizer_destroy(t);
    sg_free(text);
    sg_pool_destroy(pool);
    return st;
}

static void memory_may_fail(void **state) {
    long live = sg_mem_live();

    (void)state;
    FAIL_EACH_ALLOCATION(whole_life(), 30);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_of_a_mean), cmocka_unit_test(weights_of_tfidf),
        cmocka_unit_test(what_is_kept),      cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(is_read_back),      cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(memory_may_fail),
    };

    draw_many();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
