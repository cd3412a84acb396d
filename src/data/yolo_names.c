/* `names` of a data.yaml: the little of YAML that such files use, and an error for what it is not.
 *
 *     names: [a, "b c", 'd']        names:         names:        names: {0: a, 1: b}
 *                                     - a            0: a
 *                                     - b            1: b
 *
 * A list in brackets may go on over lines. Comments begin with # at a line's start or after a
 * space. Anchors, tags, block texts (|, >) and escapes in double quotes are refused by name. */
#include "data/yolo.h"

#include <stdbool.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/utf8.h"

enum { kMaxBytes = 1 << 20, kMaxName = 256 };

typedef struct {
    const char *path;
    char *p;                    /* what is to be read next */
    int line;                   /* of it */
    char *name[SG_MAX_CLASSES]; /* by number, owned; NULL: not told */
    int n;                      /* names told */
} parser;

static sg_status refuse(const parser *y, const char *what) {
    return sg_fail(SG_ERR_DATA,
                   "%s:%d: %s; write `names: [a, b]`, or a `- name` or `0: name` a line", y->path,
                   y->line, what);
}

static void skip_spaces(parser *y) {
    while (*y->p == ' ' || *y->p == '\t' || *y->p == '\r') y->p++;
}

/* Behind spaces and a comment, at the end of the line: true. */
static bool at_line_end(parser *y) {
    const char *start = y->p;

    skip_spaces(y);
    if (*y->p == '#' && (y->p > start || y->p[-1] == ' ' || y->p[-1] == '\n'))
        y->p += strcspn(y->p, "\n");
    return *y->p == '\n' || *y->p == '\0';
}

/* False at the end of the text. */
static bool next_line(parser *y) {
    y->p += strcspn(y->p, "\n");
    if (!*y->p) return false;
    y->p++;
    y->line++;
    return true;
}

static sg_status quoted(parser *y, char *out) {
    char quote = *y->p++;
    size_t n = 0;

    for (;; y->p++) {
        if (*y->p == '\0' || *y->p == '\n') return refuse(y, "a quote that does not end");
        if (*y->p == quote && !(quote == '\'' && y->p[1] == '\'')) break;
        if (*y->p == '\\' && quote == '"')
            return refuse(y, "an escape in double quotes, which is not read");
        if (*y->p == quote) y->p++; /* '' */
        if (n == kMaxName) return refuse(y, "a name of over 256 bytes");
        out[n++] = *y->p;
    }
    y->p++;
    out[n] = '\0';
    return SG_OK;
}

/* Unquoted, up to one of `stops`, `: `, ` #` or the line's end. */
static sg_status plain(parser *y, const char *stops, char *out) {
    size_t n = 0;

    if (*y->p && strchr("&*!|>@`%?", *y->p)) return refuse(y, "YAML that is not read here");
    for (; *y->p && *y->p != '\n' && !strchr(stops, *y->p); y->p++) {
        if (*y->p == '#' && n > 0 && y->p[-1] == ' ') break;
        if (*y->p == ':' && (y->p[1] == ' ' || y->p[1] == '\n' || y->p[1] == '\r' || !y->p[1]))
            break;
        if (n == kMaxName) return refuse(y, "a name of over 256 bytes");
        out[n++] = *y->p;
    }
    while (n > 0 && strchr(" \t\r", out[n - 1])) n--;
    out[n] = '\0';
    return SG_OK;
}

static sg_status scalar(parser *y, const char *stops, char *out) {
    skip_spaces(y);
    if (*y->p == '"' || *y->p == '\'') return quoted(y, out);
    return plain(y, stops, out);
}

static sg_status add(parser *y, int number, const char *name) {
    if (!*name) return refuse(y, "an empty name");
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F) return refuse(y, "a control byte in a name");
    if (name[sg_utf8_check(name, strlen(name))])
        return sg_fail(SG_ERR_DATA,
                       "%s:%d: a name that is not UTF-8; convert the file, as iconv -f LATIN1 -t "
                       "UTF-8 does",
                       y->path, y->line);
    if (number < 0 || number >= SG_MAX_CLASSES)
        return sg_fail(SG_ERR_DATA, "%s:%d: class %d; numbers go from 0 to %d", y->path, y->line,
                       number, SG_MAX_CLASSES - 1);
    if (y->name[number])
        return sg_fail(SG_ERR_DATA, "%s:%d: class %d has two names, `%s` and `%s`", y->path,
                       y->line, number, y->name[number], name);
    y->name[number] = sg_strdup(name);
    if (!y->name[number]) return sg_fail(SG_ERR_OOM, "%s: no memory for a name", y->path);
    y->n++;
    return SG_OK;
}

/* Behind a key `0` comes its name. */
static sg_status add_pair(parser *y, const char *key, const char *stops) {
    char name[kMaxName + 1];
    int number = 0;

    if (!*key || strlen(key) > 6 || strspn(key, "0123456789") != strlen(key))
        return sg_fail(SG_ERR_DATA, "%s:%d: `%.40s` is not the number of a class", y->path, y->line,
                       key);
    for (; *key; key++) number = 10 * number + (*key - '0');
    skip_spaces(y);
    if (*y->p != ':') return refuse(y, "no `:` behind the number of a class");
    y->p++;
    SG_TRY(scalar(y, stops, name));
    return add(y, number, name);
}

/* [a, b] or {0: a}: over lines, a comma before the end is fine. */
static sg_status flow(parser *y) {
    bool pairs = *y->p++ == '{';
    char end = pairs ? '}' : ']', text[kMaxName + 1];

    for (;;) {
        while (at_line_end(y))
            if (!next_line(y)) return refuse(y, "a bracket that does not close");
        if (*y->p == end) break;
        if (*y->p == '[' || *y->p == '{') return refuse(y, "brackets in brackets");
        SG_TRY(scalar(y, ",]}", text));
        if (pairs)
            SG_TRY(add_pair(y, text, ",]}"));
        else
            SG_TRY(add(y, y->n, text));
        while (at_line_end(y))
            if (!next_line(y)) return refuse(y, "a bracket that does not close");
        if (*y->p == ',')
            y->p++;
        else if (*y->p != end)
            return refuse(y, "no comma between two names");
    }
    y->p++;
    return at_line_end(y) ? SG_OK : refuse(y, "more behind the bracket");
}

/* Lines `- a` or `0: a`, all indented alike, up to the next key. */
static sg_status block(parser *y) {
    int indent = -1;

    while (next_line(y)) {
        char *start = y->p, text[kMaxName + 1];
        int depth;

        if (at_line_end(y)) continue;
        depth = (int)(y->p - start);
        if (memchr(start, '\t', (size_t)depth)) return refuse(y, "a tab before a name");
        if (depth == 0 && *y->p != '-') return SG_OK; /* the next key */
        if (depth == 0 && strncmp(y->p, "---", 3) == 0) return SG_OK;
        if (indent >= 0 && depth != indent) return refuse(y, "lines that are not indented alike");
        indent = depth;
        if (*y->p == '-' && (y->p[1] == ' ' || y->p[1] == '\n' || y->p[1] == '\r')) {
            y->p++;
            SG_TRY(scalar(y, "", text));
            SG_TRY(add(y, y->n, text));
        } else {
            SG_TRY(scalar(y, "", text));
            SG_TRY(add_pair(y, text, ""));
        }
        if (!at_line_end(y)) return refuse(y, "more behind a name");
    }
    return SG_OK;
}

/* At `names:` in the first column. */
static bool find_names(parser *y) {
    do {
        size_t key = strcspn(y->p, " :\r\n");

        if (key == strlen("names") && strncmp(y->p, "names", key) == 0) {
            y->p += key;
            skip_spaces(y);
            if (*y->p == ':') {
                y->p++;
                return true;
            }
        }
    } while (next_line(y));
    return false;
}

static sg_status read_names(parser *y) {
    if (!find_names(y))
        return sg_fail(SG_ERR_DATA, "%s: has no `names`; it must name the classes", y->path);
    if (at_line_end(y)) {
        SG_TRY(block(y));
    } else if (*y->p == '[' || *y->p == '{') {
        SG_TRY(flow(y));
    } else {
        return refuse(y, "`names` is neither a list nor numbered");
    }
    return y->n ? SG_OK : sg_fail(SG_ERR_DATA, "%s: `names` is empty", y->path);
}

/* All numbers from 0 without a gap; no name twice. */
static sg_status take_names(const parser *y, sg_classes *out) {
    for (int i = 0; i < y->n; i++) {
        int id;

        if (!y->name[i])
            return sg_fail(SG_ERR_DATA, "%s: %d classes have names, but class %d has none", y->path,
                           y->n, i);
        SG_TRY(sg_classes_intern(out, y->name[i], 1, &id));
        if (id != i)
            return sg_fail(SG_ERR_DATA, "%s: classes %d and %d are both named `%s`", y->path, id, i,
                           y->name[i]);
    }
    return SG_OK;
}

sg_status sg_yolo_parse_names(const char *path, char *text, size_t size, sg_classes *out) {
    parser y = {.path = path, .p = text, .line = 1};
    sg_classes names = {0};
    sg_status st;

    if (memchr(text, '\0', size))
        return sg_fail(SG_ERR_DATA, "%s: has a NUL byte; it is no text", path);
    if (strncmp(text, "\xEF\xBB\xBF", 3) == 0) y.p += 3;
    st = read_names(&y);
    if (st == SG_OK) st = take_names(&y, &names);
    for (int i = 0; i < SG_MAX_CLASSES; i++) sg_free(y.name[i]);
    if (st == SG_OK)
        *out = names;
    else
        sg_classes_clear(&names);
    return st;
}

sg_status sg_yolo_read_names(const char *path, sg_classes *out) {
    uint8_t *data;
    size_t size;
    sg_status st;

    SG_TRY(sg_file_check(path));
    SG_TRY(sg_file_read(path, kMaxBytes, &data, &size));
    st = sg_yolo_parse_names(path, (char *)data, size, out);
    sg_free(data);
    return st;
}
