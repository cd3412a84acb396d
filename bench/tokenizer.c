/* How fast messages become ids, on one thread; not part of the tests.
 *
 *   build/release/bench/tokenizer [FILE...]     a message a line, such as TweetEval's *_text.txt
 *
 * Cleaning, n-grams (1 to 2 words, 2 to 4 characters, 2^20 buckets) with and without counting the
 * distinct ones, learning a byte-pair encoding of 8192 entries and encoding with it. Without FILEs
 * messages are drawn. Rates are bytes of what goes in by processor time, the best of several
 * rounds, for others use the machine too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/philox.h"
#include "data/bpe.h"
#include "data/ngrams.h"
#include "data/text_clean.h"

enum { kRounds = 5, kEntries = 8192, kIds = 1 << 16, kBuckets = 1 << 20 };

/* Lines, one behind the other; where each begins. */
typedef struct {
    char *bytes;
    size_t n_bytes, room;
    size_t *start; /* (n + 1); a byte between two is in neither */
    int64_t n;
} messages;

static void must(sg_status st) {
    if (st == SG_OK) return;
    fprintf(stderr, "tokenizer: %s\n", sg_last_error());
    exit(1);
}

static void *some(void *block) {
    if (block) return block;
    fprintf(stderr, "tokenizer: out of memory\n");
    exit(1);
}

static void append(messages *to, const char *bytes, size_t n) {
    if (to->n_bytes + n > to->room) {
        to->room = 2 * (to->n_bytes + n);
        to->bytes = some(realloc(to->bytes, to->room));
    }
    memcpy(to->bytes + to->n_bytes, bytes, n);
    to->n_bytes += n;
}

/* --- messages --- */

/* One of 100,000 words, the k-th as often as 1 / k would have it: e^(uniform) has that law. */
static size_t draw_word(sg_random *random, char *out) {
    static const char kVowels[] = "aeiou", kOthers[] = "bcdfghklmnprstvwyz";
    int64_t rank = 1;
    size_t n = 0;

    for (int doublings = (int)sg_random_below(random, 17); doublings > 0; doublings--)
        rank = 2 * rank + sg_random_below(random, 2);
    for (uint64_t k = sg_key_mix(5, (uint64_t)rank); n < 2 || k % 3; k /= 97) {
        out[n++] = kOthers[k % 18];
        out[n++] = kVowels[k / 18 % 5];
        if (n > 10) break;
    }
    if (sg_random_below(random, 12) == 0) out[0] = (char)(out[0] - 'a' + 'A');
    return n;
}

static void draw_messages(messages *to) {
    static const char *const kRest[] = {
        "@user",      "http://t.co/aBcD", "#HappyDay", "!!!", "\u2026",
        "\U0001F602", "don\u2019t",       "&amp;",     ":)",  "10:30"};
    enum { kMessages = 120000, kWords = 16 };
    sg_random random = sg_random_init(1);
    char line[16 * kWords + 16];

    for (int i = 0; i < kMessages; i++) {
        size_t n = 0;

        for (int w = 0; w < kWords; w++) {
            const char *rest = kRest[sg_random_below(&random, 10)];

            if (sg_random_below(&random, 7)) {
                n += draw_word(&random, line + n);
            } else {
                memcpy(line + n, rest, strlen(rest));
                n += strlen(rest);
            }
            line[n++] = w + 1 < kWords ? ' ' : '\n';
        }
        append(to, line, n);
    }
}

static void read_messages(int n_files, char **files, messages *to) {
    for (int i = 0; i < n_files; i++) {
        uint8_t *data;
        size_t size;

        must(sg_file_read(files[i], 0, &data, &size));
        append(to, (char *)data, size);
        sg_free(data);
    }
}

static void find_lines(messages *m) {
    int64_t lines = 1;
    size_t end = 0;

    for (size_t i = 0; i < m->n_bytes; i++) lines += m->bytes[i] == '\n';
    m->start = some(malloc((size_t)(lines + 1) * sizeof *m->start));
    m->start[0] = 0;
    for (size_t i = 0; i < m->n_bytes; i++)
        if (m->bytes[i] == '\n') m->start[++m->n] = end = i + 1;
    if (end < m->n_bytes) { /* a last line without its end */
        append(m, "\n", 1);
        m->start[++m->n] = m->n_bytes;
    }
}

static const char *message(const messages *m, int64_t i, size_t *bytes) {
    *bytes = m->start[i + 1] - m->start[i] - 1;
    return m->bytes + m->start[i];
}

/* --- what is measured --- */

typedef struct {
    const messages *raw;
    messages clean;
    sg_bpe_learner *learner;
    sg_bpe *bpe;
    sg_bpe_encoder *encoder;
    int32_t *ids, *counts; /* (kIds) */
    int64_t made;          /* ids, in one round */
} bench;

static void clean_all(bench *b) {
    sg_text text = {0};
    size_t bytes;

    for (int64_t i = 0; i < b->raw->n; i++) {
        const char *line = message(b->raw, i, &bytes);

        must(sg_text_clean(line, bytes, &text));
        b->made += text.tokens;
    }
    sg_text_clear(&text);
}

static void hash_all(bench *b) {
    sg_ngrams ngrams = {2, 2, 4, kBuckets};
    size_t bytes;

    for (int64_t i = 0; i < b->clean.n; i++) {
        const char *line = message(&b->clean, i, &bytes);

        b->made += sg_ngrams_ids(&ngrams, line, bytes, b->ids, kIds);
    }
}

static void count_all(bench *b) {
    sg_ngrams ngrams = {2, 2, 4, kBuckets};
    size_t bytes;

    for (int64_t i = 0; i < b->clean.n; i++) {
        const char *line = message(&b->clean, i, &bytes);
        int64_t n = sg_ngrams_ids(&ngrams, line, bytes, b->ids, kIds);

        b->made += sg_ngrams_unique(b->ids, n, b->counts);
    }
}

static void learn(bench *b) {
    size_t bytes;

    sg_bpe_encoder_destroy(b->encoder);
    sg_bpe_destroy(b->bpe);
    must(sg_bpe_learner_create(&b->learner));
    for (int64_t i = 0; i < b->clean.n; i++) {
        const char *line = message(&b->clean, i, &bytes);

        must(sg_bpe_learner_add(b->learner, line, bytes));
    }
    must(sg_bpe_learn(b->learner, kEntries, &b->bpe));
    must(sg_bpe_encoder_create(b->bpe, &b->encoder));
    sg_bpe_learner_destroy(b->learner);
    b->made += sg_bpe_size(b->bpe);
}

static void encode_all(bench *b) {
    size_t bytes;

    for (int64_t i = 0; i < b->clean.n; i++) {
        const char *line = message(&b->clean, i, &bytes);

        b->made += sg_bpe_encode(b->encoder, line, bytes, b->ids, kIds);
    }
}

static void measure(bench *b, void (*work)(bench *), size_t bytes, const char *what,
                    const char *made) {
    double best = 0.0;

    for (int i = 0; i < kRounds; i++) {
        clock_t start = clock();
        double seconds;

        b->made = 0;
        work(b);
        seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (i == 0 || seconds < best) best = seconds;
    }
    printf("%-28s %7.1f MB/s %7.3f s %12lld %s\n", what, 1e-6 * (double)bytes / best, best,
           (long long)b->made, made);
}

/* All messages, cleaned once and for all. */
static void keep_clean(bench *b) {
    sg_text text = {0};
    size_t bytes;

    b->clean.n = b->raw->n;
    b->clean.start = some(calloc((size_t)b->raw->n + 1, sizeof *b->clean.start));
    for (int64_t i = 0; i < b->raw->n; i++) {
        const char *line = message(b->raw, i, &bytes);

        must(sg_text_clean(line, bytes, &text));
        append(&b->clean, text.data, text.bytes + 1);
        b->clean.start[i + 1] = b->clean.n_bytes;
    }
    sg_text_clear(&text);
}

int main(int argc, char **argv) {
    messages raw = {0};
    bench b = {.raw = &raw};

    if (argc > 1)
        read_messages(argc - 1, argv + 1, &raw);
    else
        draw_messages(&raw);
    find_lines(&raw);
    keep_clean(&b);
    b.ids = some(malloc(kIds * sizeof *b.ids));
    b.counts = some(malloc(kIds * sizeof *b.counts));
    printf("%lld messages%s, %.1f MB, one thread, best of %d\n", (long long)raw.n,
           argc > 1 ? "" : " (drawn)", 1e-6 * (double)raw.n_bytes, kRounds);
    measure(&b, clean_all, raw.n_bytes, "clean", "tokens");
    measure(&b, hash_all, b.clean.n_bytes, "n-grams", "ids");
    measure(&b, count_all, b.clean.n_bytes, "n-grams, distinct", "ids");
    measure(&b, learn, b.clean.n_bytes, "learn 8192 entries", "entries");
    measure(&b, encode_all, b.clean.n_bytes, "encode", "ids");
    sg_bpe_encoder_destroy(b.encoder);
    sg_bpe_destroy(b.bpe);
    free(b.ids);
    free(b.counts);
    free(b.clean.bytes);
    free(b.clean.start);
    free(raw.bytes);
    free(raw.start);
    return 0;
}
