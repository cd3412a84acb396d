/* TweetEval's layout: a text a line, a label a line, and the names of the labels. */
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/text_source.h"

enum { kShownBytes = 40 };

/* The line at *at: cut off, its length in *length; *at is the next one. NULL: there is none. */
static char *next_line(char **at, const char *end, size_t *length) {
    char *line = *at, *stop;

    if (line >= end) return NULL;
    stop = memchr(line, '\n', (size_t)(end - line));
    *length = stop ? (size_t)(stop - line) : (size_t)(end - line);
    line[*length] = '\0'; /* the last one's stands behind the file's bytes */
    *at = line + *length + 1;
    return line;
}

/* Spaces, tabs and CR around it dropped. */
static char *trim(char *line, size_t *length) {
    while (*length > 0 && strchr(" \t\r", line[*length - 1]) && line[*length - 1]) --*length;
    line[*length] = '\0';
    while (*line == ' ' || *line == '\t') line++, --*length;
    return line;
}

sg_status sg_text_parse_lines(size_t size, const sg_fault_sink *sink, sg_text_part *part) {
    char *at = part->block + sg_text_mark(part->block, size), *end = part->block + size;

    for (int line = 1;; line++) {
        size_t length;
        sg_text_row row = {.text = next_line(&at, end, &length), .line = line, .id = -1};
        bool good;

        if (!row.text) return SG_OK;
        row.length = (int64_t)length;
        SG_TRY(sg_text_check_span(part->path, line, row.text, length, sink, &good));
        if (!good) row.text = NULL; /* it keeps its place until it has its label */
        SG_TRY(sg_text_part_add(part, &row));
    }
}

static void drop_faulty(sg_text_part *part) {
    int64_t kept = 0;

    for (int64_t i = 0; i < part->n; i++)
        if (part->rows[i].text) part->rows[kept++] = part->rows[i];
    part->n = kept;
}

sg_status sg_text_parse_labels(size_t size, const sg_fault_sink *sink, sg_text_part *part) {
    char *at = part->label_block + sg_text_mark(part->label_block, size);
    char *end = part->label_block + size, *line;
    int64_t n = 0;
    size_t length;

    for (; (line = next_line(&at, end, &length)) != NULL; n++) {
        bool good;

        SG_TRY(sg_text_check_span(part->label_path, (int)n + 1, line, length, sink, &good));
        if (n >= part->n) continue; /* only counted */
        line = trim(line, &length);
        if (!good) part->rows[n].text = NULL;
        if (length > 0) part->rows[n].label = line;
    }
    if (n != part->n)
        SG_TRY(sg_fault(sink, part->label_path, 0,
                        "labels and texts differ in number: %lld here, %lld in %s; a line each",
                        (long long)n, (long long)part->n, part->path));
    if (n < part->n) part->n = n;
    return SG_OK;
}

/* `number TAB name`, and what a further TAB divides is not looked at. */
static sg_status parse_name(const char *path, int line, char *text, sg_classes *by_number) {
    char *tab = strchr(text, '\t'), *name = tab ? tab + 1 : NULL;
    size_t length = name ? strcspn(name, "\t") : 0;
    int64_t number;

    if (tab) *tab = '\0';
    number = sg_text_number(text, SG_MAX_CLASSES);
    if (name) {
        name[length] = '\0';
        name = trim(name, &length);
    }
    if (!name || length == 0 || number < 0)
        return sg_fail_at(SG_ERR_DATA, path, line,
                          "no label's number (0 to %d), a tab and its name; it begins `%.*s`",
                          SG_MAX_CLASSES - 1, kShownBytes, text);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            return sg_fail_at(SG_ERR_DATA, path, line, "a control byte in a name");
    if (by_number->name[number])
        return sg_fail_at(SG_ERR_DATA, path, line, "label %lld has a name already: `%.100s`",
                          (long long)number, by_number->name[number]);
    for (int i = 0; i < SG_MAX_CLASSES; i++)
        if (by_number->name[i] && strcmp(by_number->name[i], name) == 0)
            return sg_fail_at(SG_ERR_DATA, path, line, "`%.100s` is the name of label %d too", name,
                              i);
    by_number->name[number] = sg_strdup(name);
    if (!by_number->name[number]) return sg_fail_at(SG_ERR_OOM, path, 0, "no memory for a name");
    by_number->n++;
    return SG_OK;
}

static sg_status parse_names(const char *path, char *text, size_t size, sg_classes *by_number) {
    const sg_fault_sink strict = {0};
    char *at = text + sg_text_mark(text, size), *end = text + size, *line;
    size_t length;

    for (int number = 1; (line = next_line(&at, end, &length)) != NULL; number++) {
        bool good;

        SG_TRY(sg_text_check_span(path, number, line, length, &strict, &good));
        if (line[strspn(line, " \t\r")] == '\0') continue;
        SG_TRY(parse_name(path, number, line, by_number));
    }
    if (by_number->n == 0)
        return sg_fail(SG_ERR_DATA, "%s: no names; a line is a label's number, a tab and its name",
                       path);
    for (int i = 0; i < by_number->n; i++)
        if (!by_number->name[i])
            return sg_fail(SG_ERR_DATA, "%s: %d names, but none for label %d; numbers go from 0 on",
                           path, by_number->n, i);
    return SG_OK;
}

sg_status sg_text_parse_mapping(const char *path, char *text, size_t size, sg_classes *names) {
    sg_classes by_number = {0, sg_calloc(SG_MAX_CLASSES, sizeof *by_number.name)};
    sg_status st;

    if (!by_number.name) return sg_fail_at(SG_ERR_OOM, path, 0, "no memory for names");
    st = parse_names(path, text, size, &by_number);
    if (st == SG_OK) {
        *names = by_number;
    } else {
        by_number.n = SG_MAX_CLASSES; /* with gaps */
        sg_classes_clear(&by_number);
    }
    return st;
}

/* In the folder or the one above it: stance/mapping.txt serves stance/abortion. The caller's; NULL:
 * no memory. */
static char *mapping_path(const char *folder) {
    char *path = sg_path_join(folder, "mapping.txt"), *above;
    const char *slash = NULL;
    size_t length = strlen(folder);

    if (!path || sg_file_exists(path)) return path;
    while (length > 1 && folder[length - 1] == '/') length--;
    for (size_t i = 0; i < length; i++)
        if (folder[i] == '/') slash = folder + i;
    if (slash && slash[1] != '.')
        above = sg_str_printf("%.*s/mapping.txt", (int)(slash - folder), folder);
    else
        above = sg_str_printf("%.*s/../mapping.txt", (int)length, folder);
    if (above && !sg_file_exists(above)) { /* the first one shall be named as missing */
        sg_free(above);
        return path;
    }
    sg_free(path);
    return above;
}

static sg_status read_mapping(const char *folder, sg_classes *names) {
    char *path = mapping_path(folder), *text;
    size_t size;
    sg_status st = SG_OK;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory for a path", folder);
    if (sg_file_exists(path)) {
        st = sg_text_file_read(path, &text, &size);
        if (st == SG_OK) {
            st = sg_text_parse_mapping(path, text, size, names);
            sg_free(text);
        }
    }
    sg_free(path);
    return st;
}

/* part->path is FOLDER/SPLIT_text.txt; its labels are FOLDER/SPLIT_labels.txt. */
static sg_status read_labels(const sg_fault_sink *sink, sg_text_part *part) {
    const size_t stem = strlen(part->path) - strlen("_text.txt");
    size_t size;

    part->label_path = sg_str_printf("%.*s_labels.txt", (int)stem, part->path);
    if (!part->label_path) return sg_fail(SG_ERR_OOM, "%s: no memory for a path", part->path);
    SG_TRY(sg_text_file_read(part->label_path, &part->label_block, &size));
    return sg_text_parse_labels(size, sink, part);
}

sg_status sg_text_read_tweeteval(const sg_text_place *place, const char *folder,
                                 const sg_fault_sink *sink, sg_text_part *part) {
    size_t size;

    part->numbered = true;
    SG_TRY(sg_text_part_load(place, part, &size));
    SG_TRY(sg_text_parse_lines(size, sink, part));
    if (!place->texts_only) {
        SG_TRY(read_mapping(folder, &part->names));
        SG_TRY(read_labels(sink, part));
    }
    drop_faulty(part);
    return SG_OK;
}
