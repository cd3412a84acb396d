/* From the bytes of a message to code points: UTF-8, escapes, entities, what is invisible, NFKD.
 *
 * NFKD is utf8proc's tables under a loop of our own. utf8proc_map sorts combining marks in
 * quadratic time, which a line of 1 MB of them would show; and what NFKD makes of spacing accents
 * (the macron of a shrug becomes a space with a mark on it) helps nobody, so those stay. Words are
 * composed when they are written, behind lower case: a capital with two marks may compose with one
 * of them, its small letter with the other. */
#include "data/text_points.h"

#include <utf8proc.h>

#include "core/mem.h"
#include "core/utf8.h"

enum {
    kReplacement = 0xFFFD,
    kJoiner = 0x200D,
    kMaxMarks = 8, /* on one letter; more are dropped */
    kDecomposed = 32,
    kSlack = 2 * kDecomposed,
};

typedef struct {
    const unsigned char *p, *end;
    sg_text *text;
    int marks;   /* at the end of the points */
    bool joined; /* a joiner was the last that was dropped */
} scanner;

/* --- entities and escapes --- */

typedef struct {
    const char *name;
    int32_t point;
} entity;

static const entity kEntities[] = {
    {"amp", '&'},      {"lt", '<'},        {"gt", '>'},       {"quot", '"'},     {"apos", '\''},
    {"nbsp", ' '},     {"hellip", 0x2026}, {"ndash", 0x2013}, {"mdash", 0x2014}, {"lsquo", 0x2018},
    {"rsquo", 0x2019}, {"ldquo", 0x201C},  {"rdquo", 0x201D}, {"laquo", 0xAB},   {"raquo", 0xBB},
    {"bull", 0x2022},  {"middot", 0xB7},   {"copy", 0xA9},    {"reg", 0xAE},     {"trade", 0x2122},
    {"euro", 0x20AC},  {"pound", 0xA3},    {"cent", 0xA2},    {"yen", 0xA5},     {"deg", 0xB0},
    {"times", 0xD7},   {"hearts", 0x2665},
};

/* What HTML takes &#128; .. &#159; for (windows-1252); 0 is none. */
static const uint16_t kWindows[32] = {
    0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017D, 0,      0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178,
};

static int lower_ascii(int c) { return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c; }

static int hex_digit(int c) {
    c = lower_ascii(c);
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Digits from `p` up to a `;`: the place behind it, or NULL. */
static const unsigned char *number(const unsigned char *p, const unsigned char *end, int base,
                                   int32_t *out) {
    const unsigned char *start = p;
    int32_t value = 0;

    for (; p < end && hex_digit(*p) >= 0 && hex_digit(*p) < base; p++)
        if (value <= 0x10FFFF) value = value * base + hex_digit(*p);
    if (p == start || p == end || *p != ';') return NULL;
    if (value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) value = kReplacement;
    if (value >= 0x80 && value < 0xA0 && kWindows[value - 0x80]) value = kWindows[value - 0x80];
    *out = value;
    return p + 1;
}

/* Behind a `&`: the place behind the entity, or NULL when it is none. */
static const unsigned char *read_entity(const unsigned char *p, const unsigned char *end,
                                        int32_t *out) {
    if (end - p >= 2 && *p == '#') {
        if (lower_ascii(p[1]) == 'x') return number(p + 2, end, 16, out);
        return number(p + 1, end, 10, out);
    }
    for (size_t i = 0; i < sizeof kEntities / sizeof kEntities[0]; i++) {
        const char *name = kEntities[i].name;
        const unsigned char *q = p;

        while (*name && q < end && lower_ascii(*q) == *name) q++, name++;
        if (*name || q == end || *q != ';') continue;
        *out = kEntities[i].point;
        return q + 1;
    }
    return NULL;
}

/* Four hexadecimal digits, or -1. */
static int32_t four_digits(const unsigned char *p, const unsigned char *end) {
    int32_t value = 0;

    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        if (hex_digit(p[i]) < 0) return -1;
        value = 16 * value + hex_digit(p[i]);
    }
    return value;
}

/* Behind a `\`: the place behind the escape, or NULL when it is none. */
static const unsigned char *read_escape(const unsigned char *p, const unsigned char *end,
                                        int32_t *out) {
    int32_t value, low;

    if (p == end) return NULL;
    if (*p == 'n' || *p == '"') {
        *out = *p == 'n' ? '\n' : '"';
        return p + 1;
    }
    if (*p != 'u' || (value = four_digits(p + 1, end)) < 0) return NULL;
    p += 5;
    if (value < 0xD800 || value > 0xDFFF) {
        *out = value;
        return p;
    }
    low = end - p >= 2 && p[0] == '\\' && p[1] == 'u' ? four_digits(p + 2, end) : -1;
    if (value > 0xDBFF || low < 0xDC00 || low > 0xDFFF) {
        *out = kReplacement;
        return p;
    }
    *out = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
    return p + 6;
}

/* --- UTF-8 --- */

/* The code point at s->p, which moves behind it; -1 for bytes in whose place one U+FFFD stands. */
static int32_t read_utf8(scanner *s) {
    const char *at = (const char *)s->p;
    size_t left = (size_t)(s->end - s->p), n = sg_utf8_character(at, left);
    int32_t point = n > 1 ? *s->p & (0x7F >> n) : *s->p;

    s->p += n > 0 ? n : sg_utf8_bad(at, left);
    if (n == 0) return -1;
    for (size_t i = 1; i < n; i++) point = (point << 6) | (at[i] & 0x3F);
    return point;
}

/* --- code points --- */

/* Different spellings of one sign, white space and control characters. */
static int32_t map_point(int32_t c) {
    if (c < 0x20 || (c >= 0x7F && c <= 0xA0)) return ' ';
    switch (c) {
    case '`':
    case 0xB4:
    case 0x1FFD:
    case 0x2BC: /* Ukrainian's apostrophe */
    case 0x2018:
    case 0x2019:
    case 0x201B:
    case 0x2032:
        return '\'';
    case 0xAB:
    case 0xBB:
    case 0x201C:
    case 0x201D:
    case 0x201E:
    case 0x201F:
        return '"';
    case 0x2010:
    case 0x2011:
    case 0x2012:
    case 0x2013:
    case 0x2014:
    case 0x2015:
    case 0x2212:
        return '-';
    case 0x2800:
        return ' '; /* a Braille cell without dots */
    default:
        return c;
    }
}

static bool is_emoji(int32_t point) { return sg_point_kind_of(point) == SG_POINT_EMOJI; }

/* A skin tone, or the sign of a man or woman that a joiner ties to the emoji before it. */
static bool is_emoji_detail(const scanner *s, int32_t c) {
    const sg_text *t = s->text;

    if (!((c >= 0x1F3FB && c <= 0x1F3FF) || (s->joined && (c == 0x2640 || c == 0x2642))))
        return false;
    return t->n_points > 0 && is_emoji(t->points[t->n_points - 1]);
}

static void push(scanner *s, int32_t c) {
    if (c >= 0x80 && sg_point_kind_of(c) == SG_POINT_MARK) {
        if (s->marks == kMaxMarks) return;
        s->marks++;
    } else {
        s->marks = 0;
    }
    s->text->points[s->text->n_points++] = c;
}

/* Beyond ASCII. Room for kDecomposed points is there. */
static void push_decomposed(scanner *s, int32_t c) {
    const int kOptions = UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE;
    int32_t parts[kDecomposed];
    int boundclass = 0;
    utf8proc_ssize_t n;

    if (c == kJoiner) s->joined = true;
    /* a keycap's frame, 20E3, is dropped too */
    if (c == 0x20E3 || is_emoji_detail(s, c) || utf8proc_get_property(c)->ignorable) return;
    s->joined = false;
    c = map_point(c);
    n = utf8proc_decompose_char(c, parts, kDecomposed, kOptions, &boundclass);
    if (n < 1 || n > kDecomposed || (n > 1 && parts[0] == ' ')) {
        push(s, c); /* a spacing accent */
        return;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) push(s, map_point(parts[i]));
}

static void push_point(scanner *s, int32_t c) {
    if (c >= 0x80) {
        push_decomposed(s, c);
        return;
    }
    if (c == 0) {
        s->text->invalid++;
        c = kReplacement;
    }
    s->joined = false;
    push(s, map_point(c));
}

/* Marks on one letter, at most kMaxMarks, into Unicode's order. */
static void order_marks(int32_t *points, size_t n) {
    for (size_t i = 1; i < n; i++) {
        int32_t c = points[i];
        int class = c < 0x300 ? 0 : utf8proc_get_property(c)->combining_class;
        size_t k = i;

        if (class == 0) continue;
        for (; k > 0 && points[k - 1] >= 0x300 &&
               utf8proc_get_property(points[k - 1])->combining_class > class;
             k--)
            points[k] = points[k - 1];
        points[k] = c;
    }
}

size_t sg_points_compose(int32_t *points, size_t n) {
    const int kOptions = UTF8PROC_STABLE | UTF8PROC_COMPOSE;

    return (size_t)utf8proc_normalize_utf32(points, (utf8proc_ssize_t)n, kOptions);
}

/* --- the whole --- */

/* Room for `n` points in all. */
static sg_status reserve(sg_text *t, size_t n) {
    size_t capacity = n + n / 2;
    int32_t *points;

    if (n <= t->point_capacity) return SG_OK;
    points = sg_realloc(t->points, t->point_capacity * sizeof *points, capacity * sizeof *points);
    if (!points)
        return sg_fail(SG_ERR_OOM, "cleaning a text: no memory for %zu code points", capacity);
    t->points = points;
    t->point_capacity = capacity;
    return SG_OK;
}

/* What stands at s->p; `&amp;lt;` is resolved to its end. */
static int32_t read_point(scanner *s) {
    int32_t c = read_utf8(s);
    const unsigned char *behind = NULL;

    if (c < 0) {
        s->text->invalid++;
        return kReplacement;
    }
    for (;;) {
        if (c == '&')
            behind = read_entity(s->p, s->end, &c);
        else if (c == '\\')
            behind = read_escape(s->p, s->end, &c);
        else
            return c;
        if (!behind) return c;
        s->p = behind;
    }
}

sg_status sg_text_points(const char *message, size_t bytes, sg_text *text) {
    scanner s = {.p = (const unsigned char *)message, .text = text};
    bool ascii = true;

    s.end = s.p + bytes;
    text->n_points = 0;
    text->invalid = 0;
    SG_TRY(reserve(text, bytes + kSlack));
    while (s.p < s.end) {
        int32_t c = *s.p;

        if (c > ' ' && c < 0x7F && c != '&' && c != '\\' && c != '`') {
            text->points[text->n_points++] = c;
            s.p++;
            s.marks = 0;
            s.joined = false;
            continue;
        }
        c = read_point(&s);
        push_point(&s, c);
        if (c > 0 && c < 0x80) continue;
        ascii = false;
        SG_TRY(reserve(text, text->n_points + (size_t)(s.end - s.p) + kSlack));
    }
    if (!ascii) order_marks(text->points, text->n_points);
    return reserve(text, 2 * text->n_points + kSlack);
}
