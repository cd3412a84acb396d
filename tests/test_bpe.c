/* Byte-pair encoding: what is learned, what is encoded, the text form and damaged ones. With
 * arguments, a tool for tests/integration/tokens.py. */
#include "data_fixture.h"

#include "data/bpe.h"
#include "data/ngrams.h"
#include "data/text_clean.h"
#include "out_of_memory.h"

enum { kCap = 1024 };

#define STRING(x)  #x
#define DECIMAL(x) STRING(x)
#define HEAD       "# spotgrad bpe 1\ncleaned " DECIMAL(SG_TEXT_CLEAN_VERSION) "\n"

static void add(sg_bpe_learner *learner, const char *text, int times) {
    for (int i = 0; i < times; i++) assert_ok(sg_bpe_learner_add(learner, text, strlen(text)));
}

static sg_bpe *learn(sg_bpe_learner *learner, int joins) {
    sg_bpe *bpe;

    assert_ok(sg_bpe_learn(learner, SG_BPE_MIN_SIZE + joins, &bpe));
    sg_bpe_learner_destroy(learner);
    return bpe;
}

/* The example of Sennrich, Haddow, Birch 2016. */
static sg_bpe *example(int joins) {
    sg_bpe_learner *learner;

    assert_ok(sg_bpe_learner_create(&learner));
    add(learner, "low newest", 5);
    add(learner, "widest lower  newest", 1);
    add(learner, " lower widest widest", 1);
    return learn(learner, joins);
}

static void assert_entry(const sg_bpe *bpe, int32_t id, const char *want) {
    size_t bytes;
    const char *entry = sg_bpe_entry(bpe, id, &bytes);

    assert_int_equal(bytes, strlen(want));
    assert_memory_equal(entry, want, bytes);
}

/* low 5, lower 2, newest 6, widest 3; a space before each. By hand: `es` 9 and `st` 9, e is
 * smaller; `est`; then ` l`, `lo` and `ow` have 7, of which the space is smallest, then `ow`;
 * ` low`. Then `ne`, ` n`, `ew`, `we` + `est` have 6. */
static void learns_by_hand(void **state) {
    static const char *const kWant[] = {"es", "est", " l", "ow", " low", " n"};
    sg_bpe *bpe = example(6);

    (void)state;
    assert_int_equal(sg_bpe_size(bpe), SG_BPE_MIN_SIZE + 6);
    for (int i = 0; i < 6; i++) assert_entry(bpe, SG_BPE_MIN_SIZE + i, kWant[i]);
    assert_entry(bpe, SG_BPE_CLS, "");
    assert_entry(bpe, SG_BPE_END, "");
    assert_entry(bpe, SG_BPE_MASK, "");
    assert_entry(bpe, SG_BPE_BYTE + 'x', "x");
    sg_bpe_destroy(bpe);
}

/* ` a` is joined after `ab`, which has taken some of its places: xab 9, abz 3, ac 5. */
static void passes_over_what_has_changed(void **state) {
    static const char *const kWant[] = {"ab", " x", " xab", " a", " ac", " ab", " abz"};
    sg_bpe_learner *learner;
    sg_bpe *bpe;

    (void)state;
    assert_ok(sg_bpe_learner_create(&learner));
    add(learner, "xab", 9);
    add(learner, "abz", 3);
    add(learner, "ac", 5);
    bpe = learn(learner, 100);
    assert_int_equal(sg_bpe_size(bpe), SG_BPE_MIN_SIZE + 7);
    for (int i = 0; i < 7; i++) assert_entry(bpe, SG_BPE_MIN_SIZE + i, kWant[i]);
    sg_bpe_destroy(bpe);
}

/* Pairs that occur once are not joined: it ends with whole words of what occurs twice. */
static void ends_without_pairs(void **state) {
    sg_bpe *bpe = example(1000);
    sg_bpe_learner *none;
    int32_t ids[kCap];
    sg_bpe_encoder *encoder;

    (void)state;
    assert_true(sg_bpe_size(bpe) < SG_BPE_MIN_SIZE + 40);
    assert_ok(sg_bpe_encoder_create(bpe, &encoder));
    assert_int_equal(sg_bpe_encode(encoder, "newest widest low", 17, ids, kCap), 3);
    assert_entry(bpe, ids[0], " newest");
    sg_bpe_encoder_destroy(encoder);
    sg_bpe_destroy(bpe);
    assert_ok(sg_bpe_learner_create(&none));
    add(none, "abc def", 1);
    bpe = learn(none, 1000);
    assert_int_equal(sg_bpe_size(bpe), SG_BPE_MIN_SIZE);
    sg_bpe_destroy(bpe);
}

/* `aaa` has the pair (a, a) at two places, of which one can be joined. */
static void joins_what_overlaps(void **state) {
    static const int32_t kFive[] = {SG_BPE_BYTE + ' ', SG_BPE_MIN_SIZE, SG_BPE_MIN_SIZE,
                                    SG_BPE_BYTE + 'a'};
    sg_bpe_learner *learner;
    sg_bpe_encoder *encoder;
    int32_t ids[kCap];
    sg_bpe *bpe;

    (void)state;
    assert_ok(sg_bpe_learner_create(&learner));
    add(learner, "aaa b aaa", 1);
    bpe = learn(learner, 1);
    assert_entry(bpe, SG_BPE_MIN_SIZE, "aa");
    assert_ok(sg_bpe_encoder_create(bpe, &encoder));
    assert_int_equal(sg_bpe_encode(encoder, "aaaaa", 5, ids, kCap), 4);
    assert_memory_equal(ids, kFive, sizeof kFive);
    sg_bpe_encoder_destroy(encoder);
    sg_bpe_destroy(bpe);
}

/* --- any texts --- */

static const char *const kWords[] = {
    "the",
    "then",
    "hello",
    "hell",
    "other",
    "mother",
    "\xD0\xBF\xD1\x80\xD0\xB8\xD0\xB2\xD1\x96\xD1\x82",
    "#tag",
    "...",
    "\U0001F602",
    "@user",
    "http",
    "aaaa",
    "a",
    "isn't",
    "\xFF\x80",
    "\xD0\xBF\xD1\x80\xD0\xB0\xD0\xB2\xD0\xB4\xD0\xB0",
    "longwordlongwordlongwordlongwordlongwordlongwordlongwordlongwordlongwordlongword"};

/* A line of words, some of them damaged; its bytes. */
static size_t draw(sg_random *random, char *text, size_t most) {
    size_t n = 0;

    while (n + 100 < most) {
        const char *word = kWords[sg_random_below(random, sizeof kWords / sizeof *kWords)];

        memcpy(text + n, word, strlen(word));
        n += strlen(word);
        if (sg_random_below(random, 8) == 0) text[n - 1] = (char)sg_random_below(random, 256);
        if (sg_random_below(random, 10)) text[n++] = ' ';
    }
    return n;
}

static sg_bpe *learn_drawn(uint64_t seed, int joins) {
    enum { kTexts = 50 };
    sg_random random = sg_random_init(seed);
    sg_bpe_learner *learner;
    char text[512];

    assert_ok(sg_bpe_learner_create(&learner));
    for (int i = 0; i < kTexts; i++)
        assert_ok(sg_bpe_learner_add(learner, text, draw(&random, text, sizeof text)));
    return learn(learner, joins);
}

/* The text, a space before each token, without the other spaces. */
static size_t with_spaces(const char *text, size_t bytes, char *out) {
    size_t n = 0;

    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == ' ') continue;
        if (i == 0 || text[i - 1] == ' ') out[n++] = ' ';
        out[n++] = text[i];
    }
    return n;
}

static void gives_back_the_bytes(void **state) {
    enum { kTexts = 3000 };
    sg_bpe *bpe = learn_drawn(1, 300);
    sg_random random = sg_random_init(2);
    sg_bpe_encoder *encoder, *fresh;
    int32_t ids[kCap], again[kCap];
    char text[600], want[1200], got[1200];

    (void)state;
    assert_ok(sg_bpe_encoder_create(bpe, &encoder));
    for (int i = 0; i < kTexts; i++) {
        size_t bytes = draw(&random, text, 1 + (size_t)sg_random_below(&random, 500)), n = 0;
        int64_t found = sg_bpe_encode(encoder, text, bytes, ids, kCap);

        for (int64_t k = 0; k < found; k++) {
            size_t length;
            const char *entry;

            assert_true(ids[k] >= SG_BPE_BYTE && ids[k] < sg_bpe_size(bpe));
            entry = sg_bpe_entry(bpe, ids[k], &length);
            memcpy(got + n, entry, length);
            n += length;
        }
        assert_int_equal(n, with_spaces(text, bytes, want));
        assert_memory_equal(got, want, n);
        if (i % 100) continue;
        assert_ok(sg_bpe_encoder_create(bpe, &fresh)); /* its memory of words changes nothing */
        assert_int_equal(sg_bpe_encode(fresh, text, bytes, again, kCap), found);
        assert_memory_equal(ids, again, (size_t)found * sizeof *ids);
        sg_bpe_encoder_destroy(fresh);
    }
    sg_bpe_encoder_destroy(encoder);
    sg_bpe_destroy(bpe);
}

static void stops_at_the_cap(void **state) {
    static const char kText[] = "hello other unknownword #tag then QZXJVKQZXJVKQWYPQZXJ the mother";
    sg_bpe *bpe = learn_drawn(1, 100);
    sg_bpe_encoder *encoder;
    int32_t all[kCap], some[kCap];
    int64_t n;

    (void)state;
    assert_ok(sg_bpe_encoder_create(bpe, &encoder));
    n = sg_bpe_encode(encoder, kText, strlen(kText), all, kCap);
    assert_true(n > 12);
    for (int64_t cap = 0; cap <= n + 1; cap++) {
        int64_t want = cap < n ? cap : n;

        memset(some, 0xA5, sizeof some);
        assert_int_equal(sg_bpe_encode(encoder, kText, strlen(kText), some, cap), want);
        assert_memory_equal(some, all, (size_t)want * sizeof *all);
        assert_int_equal(some[want], (int32_t)0xA5A5A5A5);
    }
    assert_int_equal(sg_bpe_encode(encoder, "", 0, some, kCap), 0);
    assert_int_equal(sg_bpe_encode(encoder, "   ", 3, some, kCap), 0);
    sg_bpe_encoder_destroy(encoder);
    sg_bpe_destroy(bpe);
}

/* Words of over 64 bytes are cut between code points: no entry is longer, none of what is cut
 * begins inside one. */
static void cuts_long_words(void **state) {
    enum { kBytes = 1 << 20 };
    static char text[kBytes];
    static int32_t ids[kBytes + 1];
    sg_bpe_learner *learner;
    sg_bpe_encoder *encoder;
    sg_bpe *bpe;
    size_t length;
    int64_t n;

    (void)state;
    for (size_t i = 0; i + 3 <= kBytes; i += 3) memcpy(text + i, "\xE2\x82\xAC", 3);
    assert_ok(sg_bpe_learner_create(&learner));
    assert_ok(sg_bpe_learner_add(learner, text, kBytes));
    bpe = learn(learner, 2000);
    for (int32_t id = 0; id < sg_bpe_size(bpe); id++) {
        sg_bpe_entry(bpe, id, &length);
        assert_true(length <= SG_BPE_MAX_WORD);
    }
    assert_ok(sg_bpe_encoder_create(bpe, &encoder));
    n = sg_bpe_encode(encoder, text, kBytes, ids, kBytes + 1);
    assert_true(n >= kBytes / SG_BPE_MAX_WORD && n < kBytes / 60 + 64);
    for (int64_t i = 1; i < n - 2; i++)
        assert_int_equal(*sg_bpe_entry(bpe, ids[i], &length), '\xE2');
    memset(text, '\x80', kBytes); /* no UTF-8: cut anyhow */
    assert_int_equal(sg_bpe_encode(encoder, text, kBytes, ids, kBytes + 1), kBytes + 1);
    sg_bpe_encoder_destroy(encoder);
    sg_bpe_destroy(bpe);
}

static void order_makes_no_difference(void **state) {
    enum { kTexts = 60 };
    char texts[kTexts][300], *written[2];
    size_t bytes[kTexts], sizes[2];
    sg_random random = sg_random_init(9);

    (void)state;
    for (int i = 0; i < kTexts; i++) bytes[i] = draw(&random, texts[i], sizeof texts[i]);
    for (int k = 0; k < 2; k++) {
        sg_bpe_learner *learner;
        sg_bpe *bpe;

        assert_ok(sg_bpe_learner_create(&learner));
        for (int i = 0; i < kTexts; i++) {
            int at = k ? kTexts - 1 - i : i;

            assert_ok(sg_bpe_learner_add(learner, texts[at], bytes[at]));
        }
        bpe = learn(learner, 400);
        assert_ok(sg_bpe_write(bpe, &written[k], &sizes[k]));
        sg_bpe_destroy(bpe);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(written[0], written[1], sizes[0]);
    sg_free(written[0]);
    sg_free(written[1]);
}

static void refuses_sizes(void **state) {
    sg_bpe_learner *learner;
    sg_bpe *bpe = NULL;

    (void)state;
    assert_ok(sg_bpe_learner_create(&learner));
    assert_fails(sg_bpe_learn(learner, 258, &bpe), SG_ERR_ARG,
                 "a tokenizer of 258 entries; it must be 259 .. 65536");
    assert_fails(sg_bpe_learn(learner, 65537, &bpe), SG_ERR_ARG, "of 65537 entries");
    assert_null(bpe);
    sg_bpe_learner_destroy(learner);
}

/* --- the text form --- */

static void writes_what_a_person_can_read(void **state) {
    static const char kWant[] = HEAD "joins 3\n104 118 es\n259 119 est\n"
                                     "35 111 _l\n";
    sg_bpe *bpe = example(3);
    size_t bytes;
    char *text;

    (void)state;
    assert_ok(sg_bpe_write(bpe, &text, &bytes));
    assert_int_equal(bytes, strlen(text));
    assert_string_equal(text, kWant);
    sg_free(text);
    sg_bpe_destroy(bpe);
}

/* Each kind of byte in an entry; and each is read again. */
static void spells_every_byte(void **state) {
    static const struct {
        const char *word, *spelled;
    } kCases[] = {
        {"\\_", "95 98 \\\\\\_"},
        {"a\x7F", "100 130 a\\x7F"},
        {"\t\n", "12 13 \\x09\\x0A"},
        {"\xD0\xBF", "211 194 \xD0\xBF"},
        {"\xFF\x80", "258 131 \\xFF\\x80"},
        {"\xC2\xA0", "197 163 \\xC2\\xA0"},
        {"\xC2\xA1", "197 164 \xC2\xA1"},
        {"\xED\xA0", "240 163 \\xED\\xA0"},
        {"~!", "129 36 ~!"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof kCases / sizeof *kCases; i++) {
        sg_bpe_learner *learner;
        size_t bytes, end;
        sg_bpe *bpe, *back;
        char *text;

        assert_ok(sg_bpe_learner_create(&learner));
        /* inside two different words, so that the pair occurs more often than others */
        for (int k = 0; k < 2; k++) {
            char word[8] = {"xy"[k]};

            strcat(word, kCases[i].word);
            add(learner, word, 2);
        }
        bpe = learn(learner, 1);
        assert_ok(sg_bpe_write(bpe, &text, &bytes));
        end = bytes - 1 - strlen(kCases[i].spelled);
        if (strncmp(text + end, kCases[i].spelled, strlen(kCases[i].spelled)) != 0)
            fail_msg("%s is not %s", text + end, kCases[i].spelled);
        assert_ok(sg_bpe_parse("t", text, bytes, &back));
        sg_bpe_destroy(back);
        sg_bpe_destroy(bpe);
        sg_free(text);
    }
}

static void reads_what_it_wrote(void **state) {
    sg_bpe *bpe = learn_drawn(4, 500), *back;
    sg_bpe_encoder *a, *b;
    sg_random random = sg_random_init(6);
    int32_t ids[kCap], same[kCap];
    char *text, *again, line[512];
    size_t bytes, size;

    (void)state;
    assert_ok(sg_bpe_write(bpe, &text, &bytes));
    assert_ok(sg_bpe_parse("t", text, bytes, &back));
    assert_int_equal(sg_bpe_size(back), sg_bpe_size(bpe));
    assert_ok(sg_bpe_write(back, &again, &size));
    assert_int_equal(size, bytes);
    assert_memory_equal(text, again, bytes);
    assert_ok(sg_bpe_encoder_create(bpe, &a));
    assert_ok(sg_bpe_encoder_create(back, &b));
    for (int i = 0; i < 500; i++) {
        size_t n = draw(&random, line, sizeof line);
        int64_t found = sg_bpe_encode(a, line, n, ids, kCap);

        assert_int_equal(sg_bpe_encode(b, line, n, same, kCap), found);
        assert_memory_equal(ids, same, (size_t)found * sizeof *ids);
    }
    sg_bpe_encoder_destroy(a);
    sg_bpe_encoder_destroy(b);
    sg_bpe_destroy(bpe);
    sg_bpe_destroy(back);
    sg_free(text);
    sg_free(again);
}

static void refuses_damage(void **state) {
    static const struct {
        const char *text, *message;
    } kCases[] = {
        {"", "t:1: ends before its header does"},
        {"# spotgrad bpe 1", "t:1: ends before its header does"},
        {"# spotgrad bpe 2\n", "t:1: `# spotgrad bpe 2` is not `# spotgrad bpe 1`"},
        {"# spotgrad bpe 1\n", "t:2: ends before"},
        {"# spotgrad bpe 1\ncleaned\n", "t:2: `cleaned` is not `cleaned` and a number"},
        {"# spotgrad bpe 1\ncleaned 1 \n", "t:2: `cleaned 1 ` is not"},
        {"# spotgrad bpe 1\ncleaned 999\n", "t:2: learned from texts of clean-up 999, and this"},
        {HEAD "joins -1\n", "t:3: `joins -1` is not"},
        {HEAD "joins 01\n", "t:3: `joins 01` is not"},
        {HEAD "joins 4294967297\n", "t:3: `joins 4294967297` is not"},
        {HEAD "joins 65278\n", "t:3: 65278 joins; at most 65277"},
        {HEAD "joins 1\n", "t:4: ends behind 0 of 1 joins"},
        {HEAD "joins 1\n104 118 es", "t:4: ends behind 0 of 1 joins"},
        {HEAD "joins 2\n104 118 es\n", "t:5: ends behind 1 of 2 joins"},
        {HEAD "joins 0\n104 118 es\n", "t:4: more behind the last of 0 joins"},
        {HEAD "joins 1\n104 118 es\n\n", "t:5: more behind the last of 1 joins"},
        {HEAD "joins 1\n\n", "t:4: `` is not two ids and their bytes"},
        {HEAD "joins 1\n104 118\n", "t:4: `104 118` is not two ids"},
        {HEAD "joins 1\n0104 118 es\n", "t:4: `0104 118 es` is not two ids"},
        {HEAD "joins 1\n104 118 et\n", "t:4: `104 118 et` should be `104 118 es`"},
        {HEAD "joins 1\n104 118 es\r\n", "t:4: `104 118 es?` should be `104 118 es`"},
        {HEAD "joins 1\n104 118 \\x65s\n", "should be `104 118 es`"},
        {HEAD "joins 1\n2 118 s\n", "t:4: id 2; before this line there are 3 .. 258"},
        {HEAD "joins 1\n259 118 s\n", "t:4: id 259; before"},
        {HEAD "joins 2\n104 118 es\n104 260 es\n",
         "t:5: id 260; before this line there are 3 .. 259"},
        {HEAD "joins 2\n104 118 es\n104 118 es\n", "t:5: the pair of line 4 once more"},
        {HEAD "joins 1\n104 35 e_\n", "t:4: a space inside an entry"},
        {HEAD "joins 7\n100 100 aa\n259 259 aaaa\n260 260 aaaaaaaa\n261 261 aaaaaaaaaaaaaaaa\n"
              "262 262 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
              "263 263 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
              "264 100 a\n",
         "t:10: an entry of 65 bytes"},
    };
    long live = sg_mem_live();

    (void)state;
    for (size_t i = 0; i < sizeof kCases / sizeof *kCases; i++) {
        sg_bpe *bpe = NULL;

        assert_fails(sg_bpe_parse("t", kCases[i].text, strlen(kCases[i].text), &bpe), SG_ERR_DATA,
                     kCases[i].message);
        assert_null(bpe);
    }
    assert_int_equal(sg_mem_live(), live);
}

/* Cut off anywhere, or with any one byte changed, it is not read. */
static void notices_any_change(void **state) {
    sg_bpe *bpe = learn_drawn(5, 60), *none = NULL;
    size_t bytes;
    char *text;

    (void)state;
    assert_ok(sg_bpe_write(bpe, &text, &bytes));
    sg_bpe_destroy(bpe);
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(sg_bpe_parse("t", text, i, &none), SG_ERR_DATA);
    for (size_t i = 0; i < bytes; i++) {
        for (int bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ 1 << bit);
            assert_int_equal(sg_bpe_parse("t", text, bytes, &none), SG_ERR_DATA);
            text[i] = (char)(text[i] ^ 1 << bit);
        }
    }
    assert_null(none);
    sg_free(text);
}

/* --- memory --- */

/* Each allocation of learning, encoding, writing and reading fails once. */
static sg_status whole_way(void) {
    enum { kTexts = 3000, kLine = 40 };
    sg_bpe_learner *learner = NULL;
    sg_bpe_encoder *encoder = NULL;
    sg_bpe *bpe = NULL, *back = NULL;
    char *text = NULL, line[kLine];
    size_t bytes;
    sg_status st = sg_bpe_learner_create(&learner);

    for (int i = 0; st == SG_OK && i < kTexts; i++) {
        snprintf(line, sizeof line, "w%d x%dy%d %c%c%c", i, i * 7, i * 31, 33 + i % 90, 33 + i % 83,
                 33 + i % 71);
        st = sg_bpe_learner_add(learner, line, strlen(line));
    }
    if (st == SG_OK) st = sg_bpe_learn(learner, SG_BPE_MIN_SIZE + 50, &bpe);
    sg_bpe_learner_destroy(learner);
    if (st == SG_OK) st = sg_bpe_encoder_create(bpe, &encoder);
    if (st == SG_OK) st = sg_bpe_write(bpe, &text, &bytes);
    if (st == SG_OK) st = sg_bpe_parse("t", text, bytes, &back);
    sg_bpe_encoder_destroy(encoder);
    sg_bpe_destroy(bpe);
    sg_bpe_destroy(back);
    sg_free(text);
    return st;
}

static void survives_failed_allocations(void **state) {
    long live = sg_mem_live();

    (void)state;
    FAIL_EACH_ALLOCATION(whole_way(), 20);
    assert_int_equal(sg_mem_live(), live);
}

/* --- a tool --- */

static void print_ids(const char *name, const int32_t *ids, int64_t n) {
    printf("%s", name);
    for (int64_t i = 0; i < n; i++) printf(" %d", (int)ids[i]);
    printf("\n");
}

/* FILE's lines: cleaned, their n-grams, and their entries in an encoding learned from them; then
 * the encoding. */
static int print_all(char *file, const sg_ngrams *ngrams, int32_t size) {
    enum { kIds = 65536 };
    static int32_t ids[kIds];
    sg_bpe_learner *learner;
    sg_bpe_encoder *encoder;
    sg_text text = {0};
    sg_bpe *bpe;
    char *written;
    size_t bytes;

    if (sg_ngrams_check(ngrams) != SG_OK || sg_bpe_learner_create(&learner) != SG_OK) return 1;
    for (int pass = 0; pass < 2; pass++) {
        for (char *p = file, *end; (end = strchr(p, '\n')) != NULL; p = end + 1) {
            if (sg_text_clean(p, (size_t)(end - p), &text) != SG_OK) return 1;
            if (pass == 0 && sg_bpe_learner_add(learner, text.data, text.bytes) != SG_OK) return 1;
            if (pass == 0) continue;
            printf("text %s\n", text.data);
            print_ids("ngrams", ids, sg_ngrams_ids(ngrams, text.data, text.bytes, ids, kIds));
            print_ids("bpe", ids, sg_bpe_encode(encoder, text.data, text.bytes, ids, kIds));
        }
        if (pass == 1) break;
        if (sg_bpe_learn(learner, size, &bpe) != SG_OK) return 1;
        if (sg_bpe_encoder_create(bpe, &encoder) != SG_OK) return 1;
    }
    if (sg_bpe_write(bpe, &written, &bytes) != SG_OK) return 1;
    fwrite(written, 1, bytes, stdout);
    sg_free(written);
    sg_text_clear(&text);
    sg_bpe_encoder_destroy(encoder);
    sg_bpe_learner_destroy(learner);
    sg_bpe_destroy(bpe);
    return 0;
}

/* FILE WORDS CHAR_MIN CHAR_MAX BUCKETS SIZE */
static int tool(int argc, char **argv) {
    sg_ngrams ngrams;
    uint8_t *data;
    size_t bytes;
    int failed;

    if (argc != 6 || sg_file_read(argv[0], 0, &data, &bytes) != SG_OK) return 64;
    ngrams = (sg_ngrams){atoi(argv[1]), atoi(argv[2]), atoi(argv[3]), atoi(argv[4])};
    failed = print_all((char *)data, &ngrams, atoi(argv[5]));
    if (failed) fprintf(stderr, "%s\n", sg_last_error());
    sg_free(data);
    return failed;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns_by_hand),
        cmocka_unit_test(passes_over_what_has_changed),
        cmocka_unit_test(ends_without_pairs),
        cmocka_unit_test(joins_what_overlaps),
        cmocka_unit_test(gives_back_the_bytes),
        cmocka_unit_test(stops_at_the_cap),
        cmocka_unit_test(cuts_long_words),
        cmocka_unit_test(order_makes_no_difference),
        cmocka_unit_test(refuses_sizes),
        cmocka_unit_test(writes_what_a_person_can_read),
        cmocka_unit_test(spells_every_byte),
        cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(refuses_damage),
        cmocka_unit_test(notices_any_change),
        cmocka_unit_test(survives_failed_allocations),
    };

    if (argc > 1) return tool(argc - 1, argv + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
