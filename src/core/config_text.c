/* Writing a configuration: as INI text, as a list of differences, as help and as a page. */
#include "core/config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"

enum { kFirstBytes = 4096, kNumber = 32, kTakes = 256, kHelpWidth = 22 };

/* Text that grows. After a failure it stays as it is, and `st` says so. */
typedef struct {
    char *bytes;
    size_t used, capacity;
    sg_status st;
} text;

static void text_reserve(text *t, size_t more) {
    size_t capacity = t->capacity ? t->capacity : kFirstBytes;
    char *grown;

    while (capacity < t->used + more + 1) capacity *= 2;
    if (t->st != SG_OK || capacity == t->capacity) return;
    grown = sg_realloc(t->bytes, t->capacity, capacity);
    if (!grown) {
        t->st = sg_fail(SG_ERR_OOM, "configuration: no memory for %zu bytes of text", capacity);
        return;
    }
    t->bytes = grown;
    t->capacity = capacity;
}

static void text_add(text *t, const char *s) {
    size_t length = strlen(s);

    text_reserve(t, length);
    if (t->st != SG_OK) return;
    memcpy(t->bytes + t->used, s, length + 1);
    t->used += length;
}

static void text_print(text *t, const char *fmt, ...) SG_PRINTF(2, 3);
static void text_print(text *t, const char *fmt, ...) {
    char line[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    text_add(t, line);
}

static sg_status text_take(text *t, char **out) {
    if (t->st != SG_OK) {
        sg_free(t->bytes);
        return t->st;
    }
    *out = t->bytes;
    return SG_OK;
}

/* Quoted where it would not be read back as it is. */
static void add_text_value(text *t, const char *value) {
    size_t length = strlen(value);
    bool plain = length == 0 || (value[0] != ' ' && value[0] != '"' && value[0] != '#' &&
                                 value[0] != ';' && value[length - 1] != ' ');

    if (strstr(value, " #") || strstr(value, " ;")) plain = false;
    if (plain) {
        text_add(t, value);
        return;
    }
    text_add(t, "\"");
    for (const char *c = value; *c; c++) {
        const char one[] = {*c, '\0'};

        if (*c == '"' || *c == '\\') text_add(t, "\\");
        text_add(t, one);
    }
    text_add(t, "\"");
}

static void add_value(text *t, const sg_config *config, const sg_key *key) {
    const void *field = (const char *)config + key->offset;
    char number[kNumber];

    switch (key->kind) {
    case SG_KIND_INT:
        text_print(t, "%" PRId64, *(const int64_t *)field);
        break;
    case SG_KIND_FLOAT:
        text_add(t, sg_number_text(*(const double *)field, number, sizeof number));
        break;
    case SG_KIND_BOOL:
        text_add(t, *(const bool *)field ? "true" : "false");
        break;
    case SG_KIND_TEXT:
        add_text_value(t, field);
        break;
    case SG_KIND_CHOICE:
        text_add(t, *(const char *const *)field);
        break;
    }
}

static bool same_value(const sg_config *a, const sg_config *b, const sg_key *key) {
    const void *x = (const char *)a + key->offset, *y = (const char *)b + key->offset;

    switch (key->kind) {
    case SG_KIND_INT:
        return *(const int64_t *)x == *(const int64_t *)y;
    case SG_KIND_FLOAT:
        return *(const double *)x == *(const double *)y;
    case SG_KIND_BOOL:
        return *(const bool *)x == *(const bool *)y;
    case SG_KIND_TEXT:
        return strcmp(x, y) == 0;
    case SG_KIND_CHOICE:
        return strcmp(*(const char *const *)x, *(const char *const *)y) == 0;
    }
    return false;
}

sg_status sg_config_write(const sg_config *config, char **out) {
    const char *section = "";
    text t = {0};
    int n;
    const sg_key *keys = sg_keys(&n);

    for (int i = 0; i < n; i++) {
        if (strcmp(section, keys[i].section) != 0)
            text_print(&t, "%s[%s]\n", i > 0 ? "\n" : "", keys[i].section);
        section = keys[i].section;
        text_print(&t, "%s =", keys[i].name);
        text_add(&t, " ");
        add_value(&t, config, &keys[i]);
        text_add(&t, "\n");
    }
    return text_take(&t, out);
}

sg_status sg_config_diff(const sg_config *a, const sg_config *b, char **names) {
    text t = {0};
    int n;
    const sg_key *keys = sg_keys(&n);

    for (int i = 0; i < n; i++)
        if (keys[i].changes_result && !same_value(a, b, &keys[i]))
            text_print(&t, "%s%s.%s", t.used > 0 ? ", " : "", keys[i].section, keys[i].name);
    return text_take(&t, names);
}

sg_status sg_config_help(char **out) {
    text t = {0};
    int n_sections, n;
    const sg_key_section *sections = sg_key_sections(&n_sections);
    const sg_key *keys = sg_keys(&n);
    char takes[kTakes];

    text_add(&t, "Keys of a configuration file, and of section.key=value on the command line.\n"
                 "Those marked * change the result: a run goes on only with the same value.\n");
    for (int s = 0; s < n_sections; s++) {
        text_print(&t, "\n[%s]  %s\n", sections[s].name, sections[s].help);
        for (int i = 0; i < n; i++) {
            if (strcmp(keys[i].section, sections[s].name) != 0) continue;
            text_print(&t, "%c %-*s %s\n", keys[i].changes_result ? '*' : ' ', kHelpWidth - 3,
                       keys[i].name, keys[i].help);
            text_print(&t, "%*s%s; default %s", kHelpWidth, "",
                       sg_key_takes(&keys[i], takes, sizeof takes),
                       keys[i].initial[0] ? keys[i].initial : "empty");
            if (sg_key_text_default(&keys[i]) != keys[i].initial)
                text_print(&t, ", for texts %s", sg_key_text_default(&keys[i]));
            text_add(&t, "\n");
        }
    }
    return text_take(&t, out);
}

sg_status sg_config_markdown(char **out) {
    text t = {0};
    int n_sections, n;
    const sg_key_section *sections = sg_key_sections(&n_sections);
    const sg_key *keys = sg_keys(&n);
    char takes[kTakes];

    text_add(
        &t,
        "# Configuration\n\n"
        "<!-- Made from src/core/keys.def by `make docs`; do not edit. -->\n\n"
        "A configuration is an INI file: `[section]`, `key = value`, comments after `#` or `;`.\n"
        "Any key can also be given on the command line as `section.key=value`, which wins over\n"
        "the file; what neither sets has its default. `train --help-config` prints this list.\n\n"
        "A value that holds ` #` or ` ;`, or starts or ends with a space, stands in double "
        "quotes.\n"
        "Paths are relative to the current folder. A key that changes the result must keep its\n"
        "value when a run goes on; the others may change.\n");
    for (int s = 0; s < n_sections; s++) {
        text_print(&t, "\n## [%s]\n\n%s.\n\n", sections[s].name, sections[s].help);
        text_add(&t, "| key | takes | default | changes the result | meaning |\n"
                     "|---|---|---|---|---|\n");
        for (int i = 0; i < n; i++) {
            if (strcmp(keys[i].section, sections[s].name) != 0) continue;
            text_print(&t, "| `%s.%s` | %s | %s%s%s", keys[i].section, keys[i].name,
                       sg_key_takes(&keys[i], takes, sizeof takes), keys[i].initial[0] ? "`" : "",
                       keys[i].initial[0] ? keys[i].initial : "empty",
                       keys[i].initial[0] ? "`" : "");
            if (sg_key_text_default(&keys[i]) != keys[i].initial)
                text_print(&t, ", for texts `%s`", sg_key_text_default(&keys[i]));
            text_print(&t, " | %s | %s |\n", keys[i].changes_result ? "yes" : "no", keys[i].help);
        }
    }
    return text_take(&t, out);
}
