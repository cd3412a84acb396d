/* Cleaning messages: stored answers for each rule, and what must hold of any bytes. */
#include "data_fixture.h"

#include <time.h>

#include "data/text_clean.h"

enum { kMegabyte = 1 << 20 };

static const char kStored[] = "tests/data/text_clean.txt";

/* --- stored answers --- */

/* %XX in `text` become bytes; their number. */
static size_t unescape(char *text) {
    char *to = text;

    for (const char *p = text; *p; p++) {
        unsigned byte;

        if (*p == '%' && sscanf(p, "%%%2X", &byte) == 1) {
            *to++ = (char)byte;
            p += 2;
        } else {
            *to++ = *p;
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

/* A hash of the answers to many short texts of all signs that rules look at, so that no change of
 * an answer goes unseen. None of these is newer than Unicode 6. */
static uint32_t digest(void) {
    static const char *const kParts[] = {
        "a",    "B",    "oo", "http", "s",    "://", "www.", "t.co/", "@",     "#",      "_",
        "user", "0",    "13", "3",    ":",    ";",   "=",    ")",     "(",     "-",      "/",
        "\\",   "n",    "u",  "<",    ">",    "^",   ".",    ",",     "!",     "?",      "'",
        "\"",   "&amp", ";",  "&lt",  "D",    "P",   "*",    "|",     " ",     "\n",     "\t",
        "é",    "É",    "ї",  "Щ",    "’",    "“",   "…",    "½",     "ﬁ",     "ß",      "İ",
        "ツ",   "中",   "한", "٣",    "❤",    "☀",   "😂",    "\xFF",  "€",     "\u0301", "№",
        "×",    "ʼ",    "~",  "¨",    "\x7F", "S",   "ẞ",    "Σ",     "u0041", "\xC2"};
    enum { kTexts = 20000, kMost = 12 };
    sg_random random = sg_random_init(SG_TEXT_CLEAN_VERSION);
    uint32_t hash = 2166136261U;
    sg_text text = {0};

    for (int i = 0; i < kTexts; i++) {
        char message[256] = "";

        for (int k = 0; k < kMost; k++)
            strcat(message, kParts[sg_random_below(&random, sizeof kParts / sizeof *kParts)]);
        assert_ok(sg_text_clean(message, strlen(message), &text));
        for (size_t b = 0; b <= text.bytes; b++)
            hash = (hash ^ (unsigned char)text.data[b]) * 16777619U;
    }
    sg_text_clear(&text);
    return hash;
}

/* `INPUT<tab>ANSWER`; 1 where it is another. */
static int check_line(int number, char *line, sg_text *text) {
    char *answer = strchr(line, '\t');
    size_t bytes;

    if (!answer) fail_msg("%s:%d: no tab", kStored, number);
    *answer++ = '\0';
    bytes = unescape(line);
    unescape(answer);
    assert_ok(sg_text_clean(line, bytes, text));
    if (text->bytes == strlen(answer) && memcmp(text->data, answer, text->bytes) == 0) return 0;
    print_error("%s:%d: is now `%s`, not `%s`\n", kStored, number, text->data, answer);
    return 1;
}

static void stored_answers(void **state) {
    int version, line = 1, cases = 0, changed = 0;
    unsigned stored = 0;
    uint8_t *data;
    sg_text text = {0};
    size_t size;
    char *p;

    (void)state;
    assert_ok(sg_file_read(kStored, 0, &data, &size));
    p = (char *)data;
    assert_int_equal(sscanf(p, "clean-up %d\n", &version), 1);
    while (*(p += strcspn(p, "\n")) == '\n' && *++p) {
        char *end = p + strcspn(p, "\n"), next = *end;

        line++;
        *end = '\0';
        if (strncmp(p, "digest ", 7) == 0)
            sscanf(p, "digest %8x", &stored);
        else if (p[0] != '#')
            changed += check_line(line, p, &text), cases++;
        *end = next;
        p = end;
    }
    assert_true(cases > 70);
    if (stored != digest()) {
        print_error("%s: the digest is now %08x, not %08x\n", kStored, digest(), stored);
        changed++;
    }
    if (changed || version != SG_TEXT_CLEAN_VERSION)
        fail_msg("%d answers have changed: raise SG_TEXT_CLEAN_VERSION (%d), and store the new "
                 "answers with it in %s (%d)",
                 changed, SG_TEXT_CLEAN_VERSION, kStored, version);
    sg_text_clear(&text);
    sg_free(data);
}

/* --- of any bytes --- */

/* Tokens with single spaces, valid, and the same when they are cleaned again. */
static void check_clean(const char *message, size_t bytes, sg_text *once, sg_text *twice) {
    int64_t tokens = 0;

    assert_ok(sg_text_clean(message, bytes, once));
    assert_true(once->bytes < once->capacity);
    assert_int_equal(once->data[once->bytes], '\0');
    assert_int_equal(strlen(once->data), once->bytes);
    for (size_t i = 0; i < once->bytes; i++) {
        int starts = once->data[i] != ' ' && (i == 0 || once->data[i - 1] == ' ');

        tokens += starts;
        if (once->data[i] == ' ' && (i == 0 || once->data[i - 1] == ' ')) fail();
        if (once->data[i] >= 'A' && once->data[i] <= 'Z') fail();
    }
    if (once->bytes > 0) assert_true(once->data[once->bytes - 1] != ' ');
    assert_int_equal(tokens, once->tokens);
    assert_ok(sg_text_clean(once->data, once->bytes, twice));
    assert_int_equal(twice->invalid, 0);
    if (twice->bytes != once->bytes || memcmp(twice->data, once->data, once->bytes) != 0)
        fail_msg("`%s` becomes `%s`", once->data, twice->data);
}

static size_t encode(int c, char *out) {
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const int kLead[] = {0, 0xC0, 0xE0, 0xF0};

    out[0] = (char)(kLead[more] | c >> (6 * more));
    for (int i = 1; i <= more; i++) out[i] = (char)(0x80 | (c >> (6 * (more - i)) & 0x3F));
    return (size_t)more + 1;
}

static void every_code_point(void **state) {
    static const char *const kAround[][2] = {
        {"", ""}, {"#aB", "B\u0331c"}, {"A\u0331", "\u0301"}, {"@", "a"}, {"http://", ":)"}};
    sg_text once = {0}, twice = {0};
    char message[64];

    (void)state;
    for (int c = 1; c < 0x110000; c++) {
        if (c >= 0xD800 && c < 0xE000) continue;
        if (c == 0x3400) c = 0x9FF0;   /* ideographs are alike, */
        if (c == 0xAC80) c = 0xD780;   /* and so are syllables, */
        if (c == 0x20000) c = 0xDFFF0; /* and private and unassigned planes */
        if (c == 0xE0200) c = 0x10FFF0;
        for (size_t k = 0; k < sizeof kAround / sizeof *kAround; k++) {
            size_t n = strlen(kAround[k][0]);

            strcpy(message, kAround[k][0]);
            n += encode(c, message + n);
            strcpy(message + n, kAround[k][1]);
            check_clean(message, strlen(message), &once, &twice);
            assert_int_equal(once.invalid, 0);
        }
    }
    sg_text_clear(&once);
    sg_text_clear(&twice);
}

static void random_bytes(void **state) {
    static const char kSigns[] = "aAbB01 \n:;=()-_./\\nu<3>^#@&;#x26'\"!?\xF0\x9F\x98\x82\xCC\x81";
    enum { kTexts = 50000, kMost = 40 };
    sg_random random = sg_random_init(7);
    sg_text once = {0}, twice = {0};
    char message[kMost];

    (void)state;
    for (int i = 0; i < kTexts; i++) {
        size_t n = (size_t)sg_random_below(&random, kMost);

        for (size_t k = 0; k < n; k++)
            message[k] = sg_random_below(&random, 4)
                             ? kSigns[sg_random_below(&random, sizeof kSigns - 1)]
                             : (char)sg_random_below(&random, 256);
        check_clean(message, n, &once, &twice);
    }
    sg_text_clear(&once);
    sg_text_clear(&twice);
}

static void counts_what_is_invalid(void **state) {
    static const struct {
        const char *bytes;
        size_t n;
        int64_t invalid;
    } kCases[] = {
        {"", 0, 0},
        {"ok \xE2\x82\xAC", 6, 0},
        {"\0", 1, 1},
        {"a\0b\0", 4, 2},
        {"\xFF\xFE", 2, 2},
        {"\xE2\x82", 2, 1}, /* cut off: one */
        {"\xC0\xAF", 2, 2},
        {"\xED\xA0\x80", 3, 3},
        {"\\u0000", 6, 1},
        {"\xF0\x9F\x98\x82\xF0\x9F\x98", 7, 1},
        {"\xF4\x90\x80", 3, 3},
    };
    sg_text text = {0};

    (void)state;
    for (size_t i = 0; i < sizeof kCases / sizeof *kCases; i++) {
        assert_ok(sg_text_clean(kCases[i].bytes, kCases[i].n, &text));
        assert_int_equal(text.invalid, kCases[i].invalid);
    }
    sg_text_clear(&text);
}

/* --- long lines, memory --- */

/* Whatever a line of 1 MB repeats, it takes no longer than a line of words does by a factor: what
 * is quadratic would take hours. */
static void a_megabyte_of_anything(void **state) {
    static const char *const kUnits[] = {
        "word ",        "a",       "A",        "#",      "@",        "#aB",        "@a",
        "&amp;",        "&amp",    "&#38;",    "&",      "\\u0026",  "\\",         "\\u005c",
        "http://",      "https",   "www.",     "www.a.", "t.co/",    ":",          ":)",
        ":-",           "<",       "<3",       "(:",     "-_",       "-",          "^_",
        "1,",           "1",       "'",        "a'",     "a_",       "#a_",        "\u0301\u0323",
        "a\u0301",      "\u00C9B", "\u1100",   "\u200D", "\uFDFA",   "\U0001F602", "\U0001F1FA",
        "\u2764\uFE0F", "\xFF",    "\xF0\x9F", "\u0344", "#\u00C9e", "\U0001D504", "=\u0338"};
    enum { kSeconds = 10 };
    char *line = malloc(kMegabyte);
    sg_text once = {0}, twice = {0};

    (void)state;
    assert_non_null(line);
    for (size_t i = 0; i < sizeof kUnits / sizeof *kUnits; i++) {
        size_t n = strlen(kUnits[i]);
        clock_t start = clock();

        for (size_t k = 0; k < kMegabyte; k++) line[k] = kUnits[i][k % n];
        check_clean(line, kMegabyte, &once, &twice);
        if (clock() - start > kSeconds * CLOCKS_PER_SEC) fail_msg("`%s` is slow", kUnits[i]);
    }
    memset(line, 0, kMegabyte);
    check_clean(line, kMegabyte, &once, &twice);
    assert_int_equal(once.invalid, kMegabyte);
    assert_int_equal(once.tokens, 1);
    sg_text_clear(&once);
    sg_text_clear(&twice);
    free(line);
}

/* A tag of words of two letters beyond 16 bits (Deseret's 40): no answer is longer. */
static void the_longest_answer(void **state) {
    enum { kWords = 10000, kLetters = 40, kCapital = 0x10400, kSmall = 0x10428 };
    char *tag = malloc(8 * kWords + 1);
    sg_text once = {0}, twice = {0};

    (void)state;
    assert_non_null(tag);
    tag[0] = '#';
    for (int i = 0; i < kWords; i++) {
        encode(kCapital + 2 * i % kLetters, tag + 1 + 8 * (ptrdiff_t)i);
        encode(kSmall + (2 * i + 1) % kLetters, tag + 5 + 8 * (ptrdiff_t)i);
    }
    check_clean(tag, 8 * kWords + 1, &once, &twice);
    assert_int_equal(once.tokens, 1 + kWords);
    assert_int_equal(once.bytes, 1 + 8 * kWords + 9 * kWords);
    sg_text_clear(&once);
    sg_text_clear(&twice);
    free(tag);
}

static void allocates_for_the_longest_only(void **state) {
    static const char kLong[] = "#LongTag \xC3\x89T\xC3\x89 &amp; https://t.co/x \\u2019";
    sg_text text = {0};
    long live;

    (void)state;
    assert_ok(sg_text_clean(kLong, strlen(kLong), &text));
    live = sg_mem_live();
    sg_mem_fail_at(1);
    assert_ok(sg_text_clean(kLong, strlen(kLong), &text));
    assert_ok(sg_text_clean("short", 5, &text));
    sg_mem_fail_at(0);
    assert_string_equal(text.data, "short");
    assert_int_equal(sg_mem_live(), live);
    sg_text_clear(&text);
    assert_null(text.data);
}

static void survives_failed_allocations(void **state) {
    char message[4096];
    long live = sg_mem_live();
    sg_text text = {0};
    sg_status st = SG_ERR_OOM;
    int tries = 0;

    (void)state;
    memset(message, 0, sizeof message);
    for (size_t i = 0; i + 3 <= sizeof message; i += 3) memcpy(message + i, "\uFDFA", 3);
    while (st != SG_OK) {
        sg_mem_fail_at(++tries);
        st = sg_text_clean(message, sizeof message, &text);
        sg_mem_fail_at(0);
        if (st == SG_OK) break;
        assert_int_equal(st, SG_ERR_OOM);
        assert_non_null(strstr(sg_last_error(), "cleaning a text: no memory"));
        assert_int_equal(text.bytes, 0);
        assert_int_equal(text.tokens, 0);
        sg_text_clear(&text);
        assert_int_equal(sg_mem_live(), live);
    }
    assert_true(tries > 3); /* points, more of them, and the answer */
    sg_text_clear(&text);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_answers),
        cmocka_unit_test(every_code_point),
        cmocka_unit_test(random_bytes),
        cmocka_unit_test(counts_what_is_invalid),
        cmocka_unit_test(a_megabyte_of_anything),
        cmocka_unit_test(the_longest_answer),
        cmocka_unit_test(allocates_for_the_longest_only),
        cmocka_unit_test(survives_failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
