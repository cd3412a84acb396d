/* Writing a configuration: as INI text, as a list of differences, as help and as a page. */
#include "core/config.h"

#include <inttypes.h>
#include <string.h>

#include "core/line.h"

enum { kNumber = 32, kTakes = 256, kHelpWidth = 22 };

/* Quoted where it would not be read back as it is. */
static void add_text_value(sg_line *t, const char *value) {
    size_t length = strlen(value);
    bool plain = length == 0 || (value[0] != ' ' && value[0] != '"' && value[0] != '#' &&
                                 value[0] != ';' && value[length - 1] != ' ');

    if (strstr(value, " #") || strstr(value, " ;")) plain = false;
    if (plain) {
        sg_line_text(t, value);
        return;
    }
    sg_line_text(t, "\"");
    for (const char *c = value; *c; c++) {
        if (*c == '"' || *c == '\\') sg_line_text(t, "\\");
        sg_line_put(t, c, 1);
    }
    sg_line_text(t, "\"");
}

static void add_value(sg_line *t, const sg_config *config, const sg_key *key) {
    const void *field = (const char *)config + key->offset;
    char number[kNumber];

    switch (key->kind) {
    case SG_KIND_INT:
        sg_line_printf(t, "%" PRId64, *(const int64_t *)field);
        break;
    case SG_KIND_FLOAT:
        sg_line_text(t, sg_number_text(*(const double *)field, number, sizeof number));
        break;
    case SG_KIND_BOOL:
        sg_line_text(t, *(const bool *)field ? "true" : "false");
        break;
    case SG_KIND_TEXT:
        add_text_value(t, field);
        break;
    case SG_KIND_CHOICE:
        sg_line_text(t, *(const char *const *)field);
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
    sg_line t = {0};
    int n;
    const sg_key *keys = sg_keys(&n);

    for (int i = 0; i < n; i++) {
        if (strcmp(section, keys[i].section) != 0)
            sg_line_printf(&t, "%s[%s]\n", i > 0 ? "\n" : "", keys[i].section);
        section = keys[i].section;
        sg_line_printf(&t, "%s =", keys[i].name);
        sg_line_text(&t, " ");
        add_value(&t, config, &keys[i]);
        sg_line_text(&t, "\n");
    }
    return sg_line_take(&t, out);
}

sg_status sg_config_diff(const sg_config *a, const sg_config *b, char **names) {
    sg_line t = {0};
    int n;
    const sg_key *keys = sg_keys(&n);

    for (int i = 0; i < n; i++)
        if (keys[i].changes_result && !same_value(a, b, &keys[i]))
            sg_line_printf(&t, "%s%s.%s", t.size > 0 ? ", " : "", keys[i].section, keys[i].name);
    if (t.size > 0 || t.failed) return sg_line_take(&t, names);
    *names = NULL;
    return SG_OK;
}

sg_status sg_config_help(char **out) {
    sg_line t = {0};
    int n_sections, n;
    const sg_key_section *sections = sg_key_sections(&n_sections);
    const sg_key *keys = sg_keys(&n);
    char takes[kTakes];

    sg_line_text(&t, "Keys of a configuration file, and of section.key=value on the command line.\n"
                     "Those marked * change the result: a run goes on only with the same value.\n");
    for (int s = 0; s < n_sections; s++) {
        sg_line_printf(&t, "\n[%s]  %s\n", sections[s].name, sections[s].help);
        for (int i = 0; i < n; i++) {
            if (strcmp(keys[i].section, sections[s].name) != 0) continue;
            sg_line_printf(&t, "%c %-*s %s\n", keys[i].changes_result ? '*' : ' ', kHelpWidth - 3,
                           keys[i].name, keys[i].help);
            sg_line_printf(&t, "%*s%s; default %s", kHelpWidth, "",
                           sg_key_takes(&keys[i], takes, sizeof takes),
                           keys[i].initial[0] ? keys[i].initial : "empty");
            if (sg_key_text_default(&keys[i]) != keys[i].initial)
                sg_line_printf(&t, ", for texts %s", sg_key_text_default(&keys[i]));
            sg_line_text(&t, "\n");
        }
    }
    return sg_line_take(&t, out);
}

sg_status sg_config_markdown(char **out) {
    sg_line t = {0};
    int n_sections, n;
    const sg_key_section *sections = sg_key_sections(&n_sections);
    const sg_key *keys = sg_keys(&n);
    char takes[kTakes];

    sg_line_text(
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
        sg_line_printf(&t, "\n## [%s]\n\n%s.\n\n", sections[s].name, sections[s].help);
        sg_line_text(&t, "| key | takes | default | changes the result | meaning |\n"
                         "|---|---|---|---|---|\n");
        for (int i = 0; i < n; i++) {
            if (strcmp(keys[i].section, sections[s].name) != 0) continue;
            sg_line_printf(
                &t, "| `%s.%s` | %s | %s%s%s", keys[i].section, keys[i].name,
                sg_key_takes(&keys[i], takes, sizeof takes), keys[i].initial[0] ? "`" : "",
                keys[i].initial[0] ? keys[i].initial : "empty", keys[i].initial[0] ? "`" : "");
            if (sg_key_text_default(&keys[i]) != keys[i].initial)
                sg_line_printf(&t, ", for texts `%s`", sg_key_text_default(&keys[i]));
            sg_line_printf(&t, " | %s | %s |\n", keys[i].changes_result ? "yes" : "no",
                           keys[i].help);
        }
    }
    return sg_line_take(&t, out);
}
