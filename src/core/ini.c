/* The text is copied once and cut up in place: entries point into the copy. */
#include "core/ini.h"

#include <stdbool.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"

enum { kFirstEntries = 64 };

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static bool is_name(const char *s) {
    if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z'))) return false;
    for (; *s; s++) {
        bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');

        if (!letter && !(*s >= '0' && *s <= '9') && *s != '_' && *s != '-') return false;
    }
    return true;
}

static char *skip_blanks(char *s) {
    while (is_blank(*s)) s++;
    return s;
}

static void cut_trailing_blanks(char *s) {
    size_t n = strlen(s);

    while (n > 0 && is_blank(s[n - 1])) s[--n] = '\0';
}

/* End the string where a comment starts: after white space, so not at its first character. */
static void cut_comment(char *s) {
    for (; *s; s++)
        if (is_blank(*s) && (s[1] == '#' || s[1] == ';')) {
            *s = '\0';
            return;
        }
}

/* Take the quotes off a value, in place. NULL when there is no closing quote, or something other
 * than a comment after it. */
static char *unquote(char *value) {
    char *from = value + 1, *to = value;

    while (*from && *from != '"') {
        if (*from == '\\' && (from[1] == '"' || from[1] == '\\')) from++;
        *to++ = *from++;
    }
    if (*from != '"' || (from[1] != '\0' && !is_blank(from[1]))) return NULL;
    from = skip_blanks(from + 1);
    if (*from != '\0' && *from != '#' && *from != ';') return NULL;
    *to = '\0';
    return value;
}

static sg_status add_entry(const char *name, sg_ini *ini, sg_ini_entry entry) {
    if (ini->count == SG_INI_MAX_KEYS)
        return sg_fail(SG_ERR_CONFIG, "%s:%d: more than %d keys; is this a configuration?", name,
                       entry.line, SG_INI_MAX_KEYS);
    for (int i = 0; i < ini->count; i++) {
        const sg_ini_entry *other = &ini->entries[i];

        if (strcmp(other->key, entry.key) == 0 && strcmp(other->section, entry.section) == 0)
            return sg_fail(SG_ERR_CONFIG, "%s:%d: %s.%s: already set in line %d; remove one", name,
                           entry.line, entry.section, entry.key, other->line);
    }
    if (ini->count == ini->capacity) {
        int capacity = ini->capacity ? 2 * ini->capacity : kFirstEntries;
        sg_ini_entry *grown = sg_realloc(ini->entries, (size_t)ini->capacity * sizeof *ini->entries,
                                         (size_t)capacity * sizeof *ini->entries);

        if (!grown) return sg_fail(SG_ERR_OOM, "%s: no memory for %d keys", name, capacity);
        ini->entries = grown;
        ini->capacity = capacity;
    }
    ini->entries[ini->count++] = entry;
    return SG_OK;
}

static sg_status parse_section(const char *name, int line, char *text, const char **section) {
    char *end = strchr(text, ']'), *inner = skip_blanks(text + 1);

    if (!end) return sg_fail(SG_ERR_CONFIG, "%s:%d: '%s' lacks its ']'", name, line, text);
    *end = '\0';
    cut_trailing_blanks(inner);
    if (!is_name(inner))
        return sg_fail(SG_ERR_CONFIG, "%s:%d: '[%s]' is not a section's name", name, line, inner);
    end = skip_blanks(end + 1);
    if (*end && *end != '#' && *end != ';')
        return sg_fail(SG_ERR_CONFIG, "%s:%d: '%s' after [%s]; put it on a line of its own", name,
                       line, end, inner);
    *section = inner;
    return SG_OK;
}

static sg_status parse_key(const char *name, int line, char *text, const char *section,
                           sg_ini *ini) {
    char *equals = strchr(text, '='), *value;

    if (!equals)
        return sg_fail(SG_ERR_CONFIG, "%s:%d: '%s' is neither [section] nor key = value", name,
                       line, text);
    *equals = '\0';
    cut_trailing_blanks(text);
    if (!is_name(text))
        return sg_fail(SG_ERR_CONFIG, "%s:%d: '%s' is not a key's name", name, line, text);
    if (!section)
        return sg_fail(SG_ERR_CONFIG, "%s:%d: %s: stands before the first [section]", name, line,
                       text);
    value = skip_blanks(equals + 1);
    if (*value == '"') {
        value = unquote(value);
        if (!value)
            return sg_fail(SG_ERR_CONFIG, "%s:%d: %s.%s: the quotes do not match", name, line,
                           section, text);
    } else {
        cut_comment(equals +
                    1); /* from there: in `key = # note` the blank belongs to the comment */
        value = skip_blanks(equals + 1);
        cut_trailing_blanks(value);
    }
    return add_entry(name, ini, (sg_ini_entry){section, text, value, line});
}

static sg_status parse_line(const char *name, int line, char *text, const char **section,
                            sg_ini *ini) {
    text = skip_blanks(text);
    cut_trailing_blanks(text);
    if (*text == '\0' || *text == '#' || *text == ';') return SG_OK;
    if (*text == '[') return parse_section(name, line, text, section);
    return parse_key(name, line, text, *section, ini);
}

/* Control characters would make messages and the resolved text unreadable; none is needed. */
static sg_status check_bytes(const char *name, int line, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '\0')
            return sg_fail(SG_ERR_CONFIG, "%s:%d: a NUL byte; is this a text file?", name, line);
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return sg_fail(SG_ERR_CONFIG, "%s:%d: control character 0x%02x; remove it", name, line,
                           c);
    }
    return SG_OK;
}

static sg_status parse_lines(const char *name, size_t size, sg_ini *ini) {
    static const char kMark[] = "\xef\xbb\xbf"; /* U+FEFF in UTF-8 */
    size_t at = size >= 3 && memcmp(ini->text, kMark, 3) == 0 ? 3 : 0;
    const char *section = NULL;

    for (int line = 1; at < size; line++) {
        char *start = ini->text + at, *newline = memchr(start, '\n', size - at);
        size_t length = newline ? (size_t)(newline - start) : size - at;

        at += length + 1;
        if (length > 0 && start[length - 1] == '\r') length--;
        SG_TRY(check_bytes(name, line, start, length));
        start[length] = '\0';
        SG_TRY(parse_line(name, line, start, &section, ini));
    }
    return SG_OK;
}

sg_status sg_ini_parse(const char *name, const char *text, size_t size, sg_ini *out) {
    sg_ini ini = {0};
    sg_status st;

    if (size > SG_INI_MAX_BYTES)
        return sg_fail(SG_ERR_CONFIG, "%s: larger than %d bytes; is this a configuration?", name,
                       SG_INI_MAX_BYTES);
    ini.text = sg_malloc(size + 1);
    if (!ini.text) return sg_fail(SG_ERR_OOM, "%s: no memory for %zu bytes", name, size);
    if (size > 0) memcpy(ini.text, text, size);
    ini.text[size] = '\0';
    st = parse_lines(name, size, &ini);
    if (st != SG_OK) {
        sg_ini_clear(&ini);
        return st;
    }
    *out = ini;
    return SG_OK;
}

sg_status sg_ini_read(const char *path, sg_ini *out) {
    uint8_t *text = NULL;
    size_t size = 0;
    sg_status st = sg_file_read(path, SG_INI_MAX_BYTES, &text, &size);

    if (st == SG_ERR_DATA) /* a folder, or too large */
        return sg_fail(SG_ERR_CONFIG, "%s; is this a configuration?", sg_last_error());
    SG_TRY(st);
    st = sg_ini_parse(path, (const char *)text, size, out);
    sg_free(text);
    return st;
}

void sg_ini_clear(sg_ini *ini) {
    sg_free(ini->entries);
    sg_free(ini->text);
    *ini = (sg_ini){0};
}
