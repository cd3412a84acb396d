/* Kinds of code points, and emoticons. */
#include "data/text_points.h"

#include <string.h>
#include <utf8proc.h>

static sg_point_kind ascii_kind(int32_t c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return SG_POINT_LETTER;
    if (c >= '0' && c <= '9') return SG_POINT_DIGIT;
    return c == ' ' ? SG_POINT_SPACE : SG_POINT_SYMBOL;
}

sg_point_kind sg_point_kind_of(int32_t point) {
    const utf8proc_property_t *property;

    if (point < 0x80) return ascii_kind(point);
    property = utf8proc_get_property(point);
    if (property->boundclass == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC) return SG_POINT_EMOJI;
    if (property->boundclass == UTF8PROC_BOUNDCLASS_REGIONAL_INDICATOR) return SG_POINT_REGIONAL;
    switch (property->category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return SG_POINT_LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return SG_POINT_MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return SG_POINT_DIGIT;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return SG_POINT_SPACE;
    default:
        return SG_POINT_SYMBOL;
    }
}

static int32_t lower(int32_t c) { return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c; }

bool sg_points_match(const int32_t *points, size_t i, size_t n, const char *word) {
    for (; *word; word++, i++)
        if (i >= n || lower(points[i]) != *word) return false;
    return true;
}

/* --- emoticons --- */

/* Of points[i]; what is before the first and behind the last is white space. */
static sg_point_kind kind_at(const int32_t *points, size_t i, size_t n) {
    return i < n ? sg_point_kind_of(points[i]) : SG_POINT_SPACE;
}

static sg_point_kind kind_before(const int32_t *points, size_t i) {
    return i > 0 ? sg_point_kind_of(points[i - 1]) : SG_POINT_SPACE;
}

static bool is_word(sg_point_kind kind) {
    return kind == SG_POINT_LETTER || kind == SG_POINT_MARK || kind == SG_POINT_DIGIT;
}

static size_t run_end(const int32_t *points, size_t i, size_t n) {
    size_t k = i;

    while (k < n && lower(points[k]) == lower(points[i])) k++;
    return k;
}

static size_t spell(char *out, const char *spelling, size_t end) {
    memcpy(out, spelling, strlen(spelling) + 1);
    return end;
}

/* <3 </3 <333, but not `x <30` */
static size_t heart(const int32_t *points, size_t i, size_t n, char *out) {
    bool broken = i + 1 < n && points[i + 1] == '/';
    size_t k = i + (broken ? 2 : 1);

    if (k >= n || points[k] != '3') return 0;
    k = run_end(points, k, n);
    if (kind_at(points, k, n) == SG_POINT_DIGIT) return 0;
    if (k + 1 < n && (points[k] == '.' || points[k] == ',') &&
        kind_at(points, k + 1, n) == SG_POINT_DIGIT)
        return 0;
    return spell(out, broken ? "</3" : "<3", k);
}

/* What a mouth is spelled as; 0: it is none. */
static char mouth_of(int32_t c) {
    switch (lower(c)) {
    case ')':
    case ']':
        return ')';
    case '(':
    case '[':
        return '(';
    case '/':
    case '\\':
        return '/';
    case 'd':
    case 'p':
    case 'o':
    case '|':
    case '*':
        return (char)lower(c);
    default:
        return 0;
    }
}

/* Whether what is around eyes (at i) and a mouth (up to end) lets them be a face: letters and
 * strokes are more often something else than brackets are. */
static bool is_face(const int32_t *points, size_t i, size_t end, size_t n, char mouth) {
    sg_point_kind before = kind_before(points, i), behind = kind_at(points, end, n);

    if (points[i] == '=' && before != SG_POINT_SPACE) return false;
    if (mouth == ')' || mouth == '(') return true;
    if (before == SG_POINT_DIGIT) return false;
    if (mouth == '/' || mouth == '|' || mouth == '*') return behind == SG_POINT_SPACE;
    return !is_word(behind);
}

/* :) ;-( =D :'( and, of two and more mouths, :)) */
static size_t face(const int32_t *points, size_t i, size_t n, char *out) {
    size_t k = i + 1, end, length = 0;
    bool tear = k < n && points[k] == '\'';
    char mouth;

    if (tear) k++;
    if (k < n && points[k] == '-') k++;
    mouth = k < n ? mouth_of(points[k]) : 0;
    if (!mouth || (tear && mouth != ')' && mouth != '(')) return 0;
    end = mouth == '/' || mouth == '|' || mouth == '*' ? k + 1 : run_end(points, k, n);
    if (!is_face(points, i, end, n, mouth)) return 0;
    out[length++] = points[i] == ';' ? ';' : ':';
    if (tear) out[length++] = '\'';
    out[length++] = mouth;
    if (end - k > 1) out[length++] = mouth;
    out[length] = '\0';
    return end;
}

/* (: and (-; with white space around them */
static size_t reversed_face(const int32_t *points, size_t i, size_t n, char *out) {
    size_t k = i + 1;

    if (kind_before(points, i) != SG_POINT_SPACE) return 0;
    if (k < n && points[k] == '-') k++;
    if (k >= n || (points[k] != ':' && points[k] != ';' && points[k] != '=')) return 0;
    if (kind_at(points, k + 1, n) != SG_POINT_SPACE) return 0;
    out[0] = points[k] == ';' ? ';' : ':';
    out[1] = points[i] == '(' ? ')' : '(';
    out[2] = '\0';
    return k + 1;
}

/* ^_^ ^.^ -_- -.- -__- >_< >.< */
static size_t closed_eyes(const int32_t *points, size_t i, size_t n, char *out) {
    int32_t right = points[i] == '>' ? '<' : points[i];
    size_t k = i + 1;

    if (k >= n || (points[k] != '_' && points[k] != '.')) return 0;
    k = points[k] == '_' ? run_end(points, k, n) : k + 1;
    if (k >= n || points[k] != right) return 0;
    return spell(out, right == '^' ? "^_^" : right == '-' ? "-_-" : ">_<", k + 1);
}

size_t sg_points_emoticon(const int32_t *points, size_t i, size_t n, char *out) {
    switch (points[i]) {
    case '<':
        return heart(points, i, n, out);
    case ':':
    case ';':
    case '=':
        return face(points, i, n, out);
    case '(':
    case ')':
        return reversed_face(points, i, n, out);
    case '^':
    case '-':
    case '>':
        return closed_eyes(points, i, n, out);
    case '\\':
        if (sg_points_match(points, i, n, "\\o/")) return spell(out, "\\o/", i + 3);
        return sg_points_match(points, i, n, "\\m/") ? spell(out, "\\m/", i + 3) : 0;
    default:
        return 0;
    }
}
