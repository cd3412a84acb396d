/* The second half of cleaning a message: from code points (data/text_points.h) to tokens.
 *
 * Cleaning twice is cleaning once because of two invariants: each token, alone between two spaces,
 * is found again as the same token; and no rule looks across a space. */
#include "data/text_clean.h"

#include <string.h>
#include <utf8proc.h>

#include "core/mem.h"
#include "data/text_points.h"

/* Of a letter, a sign or an emoji that is repeated more often, this many stay: `sooo` is told from
 * `so`, and `soooooo` is the same word as `sooo`. */
enum { kMaxRun = 3 };

typedef struct {
    const int32_t *points; /* (n) */
    size_t n;
    int32_t *scratch; /* (n) */
    sg_text *text;
} writer;

static bool is_word(int32_t c) {
    sg_point_kind kind = sg_point_kind_of(c);

    return kind == SG_POINT_LETTER || kind == SG_POINT_MARK || kind == SG_POINT_DIGIT;
}

static bool is_mark(int32_t c) { return sg_point_kind_of(c) == SG_POINT_MARK; }

static bool is_ascii_digit(int32_t c) { return c >= '0' && c <= '9'; }

static bool is_ascii_word(int32_t c) {
    return is_ascii_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static int32_t lower(int32_t c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
    return utf8proc_tolower(c);
}

static bool is_upper(int32_t c) { return lower(c) != c; }

/* --- writing --- */

static void begin_token(writer *w) {
    if (w->text->tokens++ > 0) w->text->data[w->text->bytes++] = ' ';
}

static void put(writer *w, int32_t c) {
    sg_text *t = w->text;

    if (c < 0x80)
        t->data[t->bytes++] = (char)c;
    else
        t->bytes += (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)t->data + t->bytes);
}

static void put_token(writer *w, const char *token) {
    begin_token(w);
    for (; *token; token++) put(w, *token);
}

/* Letters squeezed, numbers kept: 1000000 is no drawn-out 10. */
static void put_squeezed(writer *w, const int32_t *points, size_t n) {
    int32_t last = -1;
    int run = 0;

    for (size_t i = 0; i < n; i++) {
        run = points[i] == last ? run + 1 : 1;
        last = points[i];
        if (run <= kMaxRun || sg_point_kind_of(last) == SG_POINT_DIGIT) put(w, last);
    }
}

/* points[i .. end) in lower case, without `_`, composed, squeezed. */
static void put_word(writer *w, size_t i, size_t end) {
    bool ascii = true;
    size_t n = 0;

    for (; i < end; i++) {
        int32_t c = lower(w->points[i]);

        if (c == '_') continue;
        if (c >= 0x80) ascii = false;
        w->scratch[n++] = c;
    }
    if (!ascii) n = sg_points_compose(w->scratch, n);
    put_squeezed(w, w->scratch, n);
}

/* --- kinds of tokens: each takes what begins at i and returns its end --- */

static bool is_one_of(int32_t c, const char *set) {
    return c > ' ' && c < 0x7F && strchr(set, (int)c);
}

static bool is_url(int32_t c) { return c > ' ' && c < 0x7F && !is_one_of(c, "\"<>\\^`{|}"); }

/* To the end of an address; stops and brackets at its end are the sentence's. */
static size_t url_end(const writer *w, size_t i) {
    size_t end = i;

    while (end < w->n && (is_url(w->points[end]) || (end > i && is_mark(w->points[end])))) end++;
    while (end > i && is_one_of(w->points[end - 1], ".,!?;:'()[]*")) end--;
    return end;
}

/* The length of `http` or `https` at i, before what is no letter; else 0. */
static size_t scheme(const writer *w, size_t i) {
    size_t length = 4;

    if (!sg_points_match(w->points, i, w->n, "http")) return 0;
    if (i + 4 < w->n && lower(w->points[i + 4]) == 's') length++;
    return i + length < w->n && is_word(w->points[i + length]) ? 0 : length;
}

/* The end of the link at i, the start of a word; 0: there is none. */
static size_t link_end(const writer *w, size_t i) {
    size_t length = scheme(w, i);

    if (length > 0) {
        if (i + length < w->n && w->points[i + length] == ':') return url_end(w, i + length + 1);
        return i + length;
    }
    if (sg_points_match(w->points, i, w->n, "www.") && i + 4 < w->n && is_word(w->points[i + 4]))
        return url_end(w, i + 4);
    return sg_points_match(w->points, i, w->n, "t.co/") ? url_end(w, i + 5) : 0;
}

static bool is_link(const writer *w, size_t i) {
    return sg_points_match(w->points, i, w->n, "http://") ||
           sg_points_match(w->points, i, w->n, "https://");
}

/* Whether points[i], not a letter, is inside a word: don't 10:30 1,000.50 */
static bool joins(const writer *w, size_t i) {
    int32_t c = w->points[i], before = w->points[i - 1], behind;

    if (i + 1 == w->n) return false;
    behind = w->points[i + 1];
    if (c == '\'')
        return is_word(before) && !is_ascii_digit(before) &&
               sg_point_kind_of(behind) == SG_POINT_LETTER && !is_link(w, i + 1);
    return (c == '.' || c == ',' || c == ':' || c == '/') && is_ascii_digit(before) &&
           is_ascii_digit(behind);
}

static size_t word_end(const writer *w, size_t i) {
    size_t k = i + 1;

    for (; k < w->n; k++) {
        if (!is_word(w->points[k]) && !joins(w, k)) break;
        if (is_link(w, k)) break;
    }
    return k;
}

/* A word that the rules have made `https` would be taken for a link the next time. */
static void mask_https(writer *w, size_t start) {
    sg_text *t = w->text;

    if (t->bytes - start == 5 && memcmp(t->data + start, "https", 5) == 0) t->bytes--;
}

static void put_word_token(writer *w, size_t i, size_t end) {
    size_t start;

    begin_token(w);
    start = w->text->bytes;
    put_word(w, i, end);
    mask_https(w, start);
}

static size_t take_word(writer *w, size_t i) {
    size_t end = link_end(w, i);

    if (end > 0) {
        put_token(w, "http");
        return end;
    }
    end = word_end(w, i);
    put_word_token(w, i, end);
    return end;
}

/* A letter of a user's name; one with an accent, which NFKD has taken off, is none. */
static bool is_name(const writer *w, size_t i) {
    return i < w->n && is_ascii_word(w->points[i]) && !(i + 1 < w->n && is_mark(w->points[i + 1]));
}

static bool is_user(const writer *w, size_t i) {
    return is_name(w, i + 1) && !(i > 0 && is_word(w->points[i - 1])); /* me@home is an address */
}

static size_t take_user(writer *w, size_t i) {
    i++;
    while (is_name(w, i)) i++;
    put_token(w, "@user");
    return i;
}

/* A letter or digit at i, also behind one `_`. */
static bool is_tag(const writer *w, size_t i) {
    if (i < w->n && w->points[i] == '_') i++;
    return i < w->n && is_word(w->points[i]) && !is_mark(w->points[i]);
}

static size_t tag_end(const writer *w, size_t i) {
    while (i < w->n && (w->points[i] == '_' ? is_tag(w, i) : is_word(w->points[i]))) i++;
    return i;
}

/* Whether a new word begins inside a tag, [start, end), at k: HappyBirthday, USAToday, to_do. */
static bool begins_part(const writer *w, size_t start, size_t k, size_t end) {
    size_t before = k - 1, behind = k + 1;

    if (w->points[before] == '_') return true;
    if (!is_upper(w->points[k])) return false;
    while (before > start && is_mark(w->points[before])) before--;
    if (!is_upper(w->points[before])) return true;
    while (behind < end && is_mark(w->points[behind])) behind++;
    return behind < end && !is_upper(w->points[behind]) &&
           sg_point_kind_of(w->points[behind]) == SG_POINT_LETTER;
}

/* The tag as a whole, and then, where its spelling shows them, its words. */
static size_t take_tag(writer *w, size_t i) {
    size_t start = w->points[i + 1] == '_' ? i + 2 : i + 1;
    size_t end = tag_end(w, start), part = start;

    begin_token(w);
    put(w, '#');
    put_word(w, start, end);
    for (size_t k = start + 1; k <= end; k++) {
        if (k == end ? part == start : !begins_part(w, start, k, end)) continue;
        put_word_token(w, part, k);
        part = k;
    }
    return end;
}

static size_t run_end(const writer *w, size_t i) {
    size_t end = i + 1;

    while (end < w->n && w->points[end] == w->points[i]) end++;
    return end;
}

/* Each a token, at most kMaxRun of one that is repeated. */
static size_t take_emoji(writer *w, size_t i) {
    size_t end = run_end(w, i);

    for (size_t k = i; k < end && k < i + kMaxRun; k++) {
        begin_token(w);
        put(w, w->points[k]);
    }
    return end;
}

/* Two letters are a flag. */
static size_t take_flag(writer *w, size_t i) {
    begin_token(w);
    put(w, w->points[i++]);
    if (i < w->n && sg_point_kind_of(w->points[i]) == SG_POINT_REGIONAL) put(w, w->points[i++]);
    return i;
}

/* A sign that NFKD has taken apart: = with a stroke is one that is not equal. */
static bool put_struck(writer *w, size_t i) {
    if (i + 1 == w->n || !is_mark(w->points[i + 1])) return false;
    memcpy(w->scratch, w->points + i, 2 * sizeof *w->scratch);
    if (sg_points_compose(w->scratch, 2) != 1) return false;
    begin_token(w);
    put(w, w->scratch[0]);
    return true;
}

/* A sign; repeated, it is one token, but quotes are one quote: CSV doubles them. The last @ or # of
 * several may begin something else. */
static size_t take_sign(writer *w, size_t i) {
    int32_t c = w->points[i];
    size_t end = run_end(w, i), most = c == '"' ? 1 : kMaxRun;

    if (put_struck(w, i)) return i + 2;
    if (end - i > 1 && ((c == '@' && is_user(w, end - 1)) || (c == '#' && is_tag(w, end)))) end--;
    begin_token(w);
    for (size_t k = i; k < end && k < i + most; k++) put(w, c);
    return end;
}

static size_t take_symbol(writer *w, size_t i) {
    int32_t c = w->points[i];
    char emoticon[8];
    size_t end;

    if (c == '@' && is_user(w, i)) return take_user(w, i);
    if (c == '#' && is_tag(w, i + 1)) return take_tag(w, i);
    end = sg_points_emoticon(w->points, i, w->n, emoticon);
    if (end == 0) return take_sign(w, i);
    put_token(w, emoticon);
    return end;
}

static size_t take_token(writer *w, size_t i) {
    switch (sg_point_kind_of(w->points[i])) {
    case SG_POINT_SPACE:
        return i + 1;
    case SG_POINT_LETTER:
    case SG_POINT_MARK:
    case SG_POINT_DIGIT:
        return take_word(w, i);
    case SG_POINT_EMOJI:
        return take_emoji(w, i);
    case SG_POINT_REGIONAL:
        return take_flag(w, i);
    case SG_POINT_SYMBOL:
        break;
    }
    return take_symbol(w, i);
}

/* --- the whole --- */

/* The longest answer is to a tag of words of two letters beyond 16 bits: each letter twice in 4
 * bytes, and a space for two. */
static sg_status reserve(sg_text *t, size_t points) {
    enum { kPerPoint = 10, kLeast = 64 };
    size_t needed = kPerPoint * points + kLeast;
    char *data;

    if (needed <= t->capacity) return SG_OK;
    data = sg_realloc(t->data, t->capacity, needed + needed / 2);
    if (!data) return sg_fail(SG_ERR_OOM, "cleaning a text: no memory for %zu bytes", needed);
    t->data = data;
    t->capacity = needed + needed / 2;
    return SG_OK;
}

sg_status sg_text_clean(const char *message, size_t bytes, sg_text *out) {
    writer w = {.text = out};

    out->bytes = 0;
    out->tokens = 0;
    out->invalid = 0;
    if (out->data) out->data[0] = '\0';
    SG_TRY(sg_text_points(message, bytes, out));
    SG_TRY(reserve(out, out->n_points));
    w.points = out->points;
    w.n = out->n_points;
    w.scratch = out->points + w.n;
    for (size_t i = 0; i < w.n;) i = take_token(&w, i);
    out->data[out->bytes] = '\0';
    return SG_OK;
}

void sg_text_clear(sg_text *text) {
    sg_free(text->data);
    sg_free(text->points);
    *text = (sg_text){0};
}
