/* N-grams: ids that were worked out by ten lines of Python (tests/integration/tokens.py compares
 * hundreds of texts), order, caps, and what no text may do. */
#include "data_fixture.h"

#include "data/ngrams.h"

enum { kCap = 64 };

static void assert_ids(const sg_ngrams *ngrams, const char *text, const int32_t *want, int64_t n) {
    int32_t ids[kCap];

    assert_ok(sg_ngrams_check(ngrams));
    assert_int_equal(sg_ngrams_ids(ngrams, text, strlen(text), ids, kCap), n);
    for (int64_t i = 0; i < n; i++) assert_int_equal(ids[i], want[i]);
}

/* FNV-1a of `a` is 0xE40C292C (Fowler, Noll, Vo: draft-eastlake-fnv); the bytes of U+0457 are
 * extended, as fastText has it. */
static void hashes_words(void **state) {
    static const int32_t kOne[] = {4695198, 13463672, 5620319};
    static const int32_t kThree[] = {24478, 792928, 39085, 993671, 851165, 179342};
    static const int32_t kA[] = {
        (int32_t)((0x811C9DC5U * UINT64_C(116049371) + 0xFFFFFFFFE40C292CU) % 1000)};
    sg_ngrams ngrams = {.words = 1, .buckets = 1 << 24};

    (void)state;
    assert_ids(&ngrams, "so \u0457 good", kOne, 3);
    ngrams = (sg_ngrams){.words = 3, .buckets = 1000003};
    assert_ids(&ngrams, "so \u0457 good", kThree, 6);
    assert_ids(&ngrams, " so  \u0457 good ", kThree, 6); /* spaces more or less */
    ngrams.buckets = 1000;
    assert_ids(&ngrams, "a", kA, 1);
    assert_ids(&ngrams, "", NULL, 0);
    assert_ids(&ngrams, "   ", NULL, 0);
}

static void hashes_characters(void **state) {
    static const int32_t kTwoThree[] = {7231,   680760, 672015, 433522, 599680, 296507,
                                        474958, 197665, 558606, 932155, 420620, 212841,
                                        582742, 268091, 580860, 585257, 153419};
    static const int32_t kOneFour[] = {3220907, 6171023, 14147569, 13980381}; /* no lone < or > */
    sg_ngrams ngrams = {.char_min = 2, .char_max = 3, .buckets = 1000003};

    (void)state;
    assert_ids(&ngrams, "so \u0457 good", kTwoThree, 17);
    ngrams = (sg_ngrams){.char_min = 1, .char_max = 4, .buckets = 1 << 24};
    assert_ids(&ngrams, "\u0457", kOneFour, 4);
}

/* Both kinds: a token's words, then its characters, then the next token's. */
static void orders_both_kinds(void **state) {
    sg_ngrams words = {.words = 2, .buckets = 999}, both = {2, 2, 3, 999};
    sg_ngrams chars = {.char_min = 2, .char_max = 3, .buckets = 999};
    int32_t w[kCap], c[kCap], b[kCap];

    (void)state;
    assert_int_equal(sg_ngrams_ids(&words, "ab c", 4, w, kCap), 3);
    assert_int_equal(sg_ngrams_ids(&chars, "ab c", 4, c, kCap), 8);
    assert_int_equal(sg_ngrams_ids(&both, "ab c", 4, b, kCap), 11);
    assert_int_equal(b[0], w[0]);
    assert_memory_equal(b + 1, c, 5 * sizeof *c);
    assert_memory_equal(b + 6, w + 1, 2 * sizeof *w);
    assert_memory_equal(b + 8, c + 5, 3 * sizeof *c);
}

/* What is behind the cap stays as it was, what is before it does not depend on it. */
static void stops_at_the_cap(void **state) {
    static const char kText[] = "a text of some words \xD0\xB7\xD1\x96 \xF0\x9F\x98\x82 !!";
    sg_ngrams ngrams = {3, 2, 5, 1 << 20};
    int32_t all[512], some[512];
    int64_t n = sg_ngrams_ids(&ngrams, kText, strlen(kText), all, 512);

    (void)state;
    assert_true(n > 60 && n < 512);
    for (int64_t cap = 0; cap <= n + 2 && cap < 512; cap++) {
        int64_t want = cap < n ? cap : n;

        memset(some, 0xA5, sizeof some);
        assert_int_equal(sg_ngrams_ids(&ngrams, kText, strlen(kText), some, cap), want);
        assert_memory_equal(some, all, (size_t)want * sizeof *all);
        for (int64_t i = want; i < 512; i++) assert_int_equal(some[i], (int32_t)0xA5A5A5A5);
    }
}

/* Any bytes: within the buckets, and not endlessly many. */
static void takes_any_bytes(void **state) {
    static const int32_t kBuckets[] = {1, 2, 7, 65536, 1000003, SG_NGRAMS_MAX_BUCKETS};
    enum { kTexts = 3000, kMost = 64, kIds = 8192 };
    sg_random random = sg_random_init(3);
    static int32_t ids[kIds];
    char text[kMost];

    (void)state;
    for (int i = 0; i < kTexts; i++) {
        sg_ngrams ngrams = {SG_NGRAMS_MAX_WORDS, 1, SG_NGRAMS_MAX_CHARS, kBuckets[i % 6]};
        size_t n = (size_t)sg_random_below(&random, kMost);
        int64_t found;

        for (size_t k = 0; k < n; k++)
            text[k] = sg_random_below(&random, 3) ? (char)sg_random_below(&random, 256) : ' ';
        found = sg_ngrams_ids(&ngrams, text, n, ids, kIds);
        assert_true(found >= 0 && found < kIds);
        for (int64_t k = 0; k < found; k++)
            if (ids[k] < 0 || ids[k] >= ngrams.buckets) fail();
    }
}

/* A megabyte without a space takes time for its bytes, not for their square. */
static void takes_long_tokens(void **state) {
    enum { kBytes = 1 << 20 };
    sg_ngrams ngrams = {2, 2, 4, 1 << 20};
    int32_t *ids = malloc(4 * kBytes * sizeof *ids);
    char *text = malloc(kBytes);

    (void)state;
    assert_non_null(text);
    assert_non_null(ids);
    memset(text, 'x', kBytes);
    assert_int_equal(sg_ngrams_ids(&ngrams, text, kBytes, ids, 4 * kBytes),
                     1 + 3 * (kBytes + 2) - 6);
    memset(text, '\x80', kBytes); /* one code point, as far as anyone can tell */
    assert_int_equal(sg_ngrams_ids(&ngrams, text, kBytes, ids, 4 * kBytes), 1 + 1 + 0 + 0);
    free(text);
    free(ids);
}

static void counts_distinct_ids(void **state) {
    static const int64_t kSizes[] = {0, 1, 2, 24, 25, 1000, 5000};
    static const int32_t kBelow[] = {1, 5, 70000, 1 << 24, INT32_MAX};
    static int32_t ids[5000], given[5000], counts[5000];
    sg_random random = sg_random_init(5);

    (void)state;
    for (size_t s = 0; s < sizeof kSizes / sizeof *kSizes; s++) {
        for (size_t b = 0; b < sizeof kBelow / sizeof *kBelow; b++) {
            int64_t n = kSizes[s], distinct, total = 0;

            for (int64_t i = 0; i < n; i++)
                given[i] = ids[i] = (int32_t)sg_random_below(&random, kBelow[b]);
            distinct = sg_ngrams_unique(ids, n, counts);
            for (int64_t i = 0; i < distinct; i++) {
                int32_t there = 0;

                if (i > 0) assert_true(ids[i] > ids[i - 1]);
                for (int64_t k = 0; n <= 1000 && k < n; k++) there += given[k] == ids[i];
                if (n <= 1000) assert_int_equal(counts[i], there);
                assert_true(counts[i] > 0);
                total += counts[i];
            }
            assert_int_equal(total, n);
        }
    }
}

static void refuses_options(void **state) {
    static const struct {
        sg_ngrams ngrams;
        const char *part;
    } kCases[] = {
        {{-1, 2, 3, 10}, "of -1 words; it must be 0 .. 8"},
        {{9, 2, 3, 10}, "of 9 words"},
        {{1, 2, 33, 10}, "up to 33 characters"},
        {{1, 0, -1, 10}, "up to -1 characters"},
        {{1, 4, 3, 10}, "of 4 to 3 characters; the first must be at least 1"},
        {{1, 0, 3, 10}, "of 0 to 3 characters"},
        {{1, 2, 0, 10}, "of 2 to 0 characters; the first must be 0"},
        {{1, -2, 0, 10}, "of -2 to 0 characters"},
        {{0, 0, 0, 10}, "neither words nor characters"},
        {{1, 0, 0, 0}, "0 buckets"},
        {{1, 0, 0, SG_NGRAMS_MAX_BUCKETS + 1}, "16777217 buckets"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof kCases / sizeof *kCases; i++)
        assert_fails(sg_ngrams_check(&kCases[i].ngrams), SG_ERR_ARG, kCases[i].part);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_words),        cmocka_unit_test(hashes_characters),
        cmocka_unit_test(orders_both_kinds),   cmocka_unit_test(stops_at_the_cap),
        cmocka_unit_test(takes_any_bytes),     cmocka_unit_test(takes_long_tokens),
        cmocka_unit_test(counts_distinct_ids), cmocka_unit_test(refuses_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
