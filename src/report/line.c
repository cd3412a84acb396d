#include "report/line.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"

enum { kNumber = 40 };

/* --- characters ------------------------------------------------------------------------------- */

static bool is_plain(unsigned char c) { return c >= ' ' && c < 127 && c != '"' && c != '\\'; }

/* The code point of a well-formed character, whose bytes are told. */
static uint32_t decode(const unsigned char *s, size_t *bytes) {
    static const uint32_t kLead[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    size_t n = *s < 0x80 ? 1 : *s < 0xE0 ? 2 : *s < 0xF0 ? 3 : 4;
    uint32_t point = *s & kLead[n];

    for (size_t i = 1; i < n; i++) point = point << 6 | (s[i] & 0x3Fu);
    *bytes = n;
    return point;
}

static void put_escape(sg_line *line, uint32_t unit) {
    static const char kHex[] = "0123456789abcdef";
    const char text[6] = {
        '\\',           'u', kHex[unit >> 12 & 15], kHex[unit >> 8 & 15], kHex[unit >> 4 & 15],
        kHex[unit & 15]};

    sg_line_put(line, text, sizeof text);
}

static void put_json_point(sg_line *line, uint32_t point) {
    if (point == '"')
        sg_line_text(line, "\\\"");
    else if (point == '\\')
        sg_line_text(line, "\\\\");
    else if (point == '\n')
        sg_line_text(line, "\\n");
    else if (point == '\r')
        sg_line_text(line, "\\r");
    else if (point == '\t')
        sg_line_text(line, "\\t");
    else if (point < 0x10000)
        put_escape(line, point);
    else {
        put_escape(line, 0xD800 + ((point - 0x10000) >> 10));
        put_escape(line, 0xDC00 + ((point - 0x10000) & 0x3FF));
    }
}

/* What is no character that can be shown as it is. */
static void put_visible_point(sg_line *line, uint32_t point, const char *bytes, size_t n) {
    char text[8];

    if (point == '\t')
        sg_line_text(line, "\\t");
    else if (point == '\n')
        sg_line_text(line, "\\n");
    else if (point == '\r')
        sg_line_text(line, "\\r");
    else if (point < ' ' || (point >= 127 && point < 0xA0)) {
        snprintf(text, sizeof text, "\\x%02x", (unsigned)point);
        sg_line_text(line, text);
    } else
        sg_line_put(line, bytes, n);
}

typedef void (*point_fn)(sg_line *line, uint32_t point, const char *bytes, size_t n);

static void json_point(sg_line *line, uint32_t point, const char *bytes, size_t n) {
    (void)bytes;
    (void)n;
    put_json_point(line, point);
}

/* Runs of plain characters are copied whole. */
static void put_points(sg_line *line, const char *bytes, size_t n, point_fn put) {
    size_t valid = sg_utf8_check(bytes, n);

    for (size_t i = 0, plain, length; i < n && !line->failed;) {
        for (plain = i; plain < n && is_plain((unsigned char)bytes[plain]);) plain++;
        sg_line_put(line, bytes + i, plain - i);
        i = plain;
        if (i == n) return;
        if (i < valid) {
            uint32_t point = decode((const unsigned char *)bytes + i, &length);

            put(line, point, bytes + i, length);
            i += length;
        } else {
            put(line, 0xFFFD, "\xEF\xBF\xBD", 3);
            i += sg_utf8_bad(bytes + i, n - i);
            valid = i + sg_utf8_check(bytes + i, n - i);
        }
    }
}

void sg_line_json(sg_line *line, const char *bytes, size_t n) {
    sg_line_put(line, "\"", 1);
    put_points(line, bytes, n, json_point);
    sg_line_put(line, "\"", 1);
}

void sg_line_visible(sg_line *line, const char *bytes, size_t n) {
    put_points(line, bytes, n, put_visible_point);
}

/* --- numbers ---------------------------------------------------------------------------------- */

void sg_line_number(sg_line *line, double value) {
    char text[kNumber];

    snprintf(text, sizeof text, "%.7g", value);
    sg_line_text(line, text);
    if (!strpbrk(text, ".e")) sg_line_text(line, ".0");
}

void sg_line_fixed(sg_line *line, double value) { sg_line_printf(line, "%.4f", value); }
