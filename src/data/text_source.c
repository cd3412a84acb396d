/* From a file of any format to rows; from labels as they are written to classes. */
#include "data/text_source.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/utf8.h"

enum { kFirstRows = 256, kLabelBytes = 256, kShownBytes = 60 };

/* --- for readers ------------------------------------------------------------------------------ */

sg_status sg_text_part_add(sg_text_part *part, const sg_text_row *row) {
    if (part->n == part->capacity) {
        int64_t capacity = part->capacity ? 2 * part->capacity : kFirstRows;
        sg_text_row *rows =
            sg_realloc(part->rows, (size_t)part->n * sizeof *rows, (size_t)capacity * sizeof *rows);

        if (!rows)
            return sg_fail(SG_ERR_OOM, "%s: no memory for %lld texts", part->path,
                           (long long)capacity);
        part->rows = rows;
        part->capacity = capacity;
    }
    part->rows[part->n++] = *row;
    return SG_OK;
}

sg_status sg_text_file_read(const char *path, char **bytes, size_t *size) {
    uint8_t *data;

    SG_TRY(sg_file_check(path));
    SG_TRY(sg_file_read(path, SG_TEXT_MAX_FILE, &data, size));
    if (*size >= 2 && (memcmp(data, "\xFF\xFE", 2) == 0 || memcmp(data, "\xFE\xFF", 2) == 0)) {
        sg_free(data);
        return sg_fail(SG_ERR_DATA,
                       "%s: is UTF-16; convert the file, as iconv -f UTF-16 -t UTF-8 does", path);
    }
    *bytes = (char *)data;
    return SG_OK;
}

sg_status sg_text_part_load(const sg_text_place *place, sg_text_part *part, size_t *size) {
    sg_status st = sg_text_file_read(part->path, &part->block, size);

    if (st != SG_ERR_MISSING) return st;
    return sg_fail(st, "%s: no such file; %s", part->path,
                   place->format == SG_TEXT_TWEETEVAL
                       ? "data.task names its folder, data.format=csv or jsonl another layout"
                       : "data.train and data.val name a part or its file");
}

size_t sg_text_mark(const char *bytes, size_t size) {
    return size >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

/* Where byte `at` of bytes that begin `line` is: its line, and its number there from 1. */
static size_t place_of(const char *bytes, size_t at, int *line) {
    size_t begin = 0;

    for (size_t i = 0; i < at; i++) {
        if (bytes[i] != '\n') continue;
        ++*line;
        begin = i + 1;
    }
    return at - begin + 1;
}

sg_status sg_text_check_span(const char *path, int line, const char *bytes, size_t length,
                             const sg_fault_sink *sink, bool *good) {
    const char *nul = memchr(bytes, '\0', length);
    size_t valid = sg_utf8_check(bytes, length), byte;

    *good = false;
    if (length > SG_TEXT_MAX_LINE)
        return sg_fault(sink, path, line, "%zu bytes in one line or row; at most %d; divide it",
                        length, SG_TEXT_MAX_LINE);
    if (nul && (size_t)(nul - bytes) < valid) {
        byte = place_of(bytes, (size_t)(nul - bytes), &line);
        return sg_fault(sink, path, line, "byte %zu of the line is NUL; take it out", byte);
    }
    if (valid < length) {
        byte = place_of(bytes, valid, &line);
        return sg_fault(sink, path, line,
                        "byte %zu of the line (0x%02X) is not UTF-8; convert the file, as iconv -f "
                        "LATIN1 -t UTF-8 does",
                        byte, (unsigned char)bytes[valid]);
    }
    *good = true;
    return SG_OK;
}

int64_t sg_text_number(const char *text, int64_t limit) {
    int64_t number = 0;

    if (!*text || (*text == '0' && text[1])) return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return -1;
        number = number * 10 + (*text - '0');
        if (number >= limit) return -1;
    }
    return number;
}

/* --- reading ---------------------------------------------------------------------------------- */

static bool is_file(const char *path) { return sg_file_exists(path) && !sg_is_dir(path); }

/* FOLDER/SPLIT, or with one of the format's suffixes; the caller's, NULL: no memory. Where there is
 * none it is the path that shall be named as missing. */
static char *find_file(const char *folder, const char *split, sg_text_format format) {
    static const char *const csv[] = {".csv", ".tsv", NULL}, *const jsonl[] = {".jsonl", NULL};
    const char *const *suffixes = format == SG_TEXT_CSV ? csv : jsonl;
    size_t length = strlen(split), stem = length;
    char *path;

    if (length > 4 && strcmp(split + length - 4, ".txt") == 0) stem -= 4;
    if (format == SG_TEXT_TWEETEVAL)
        return sg_str_printf("%s/%.*s_text.txt", folder, (int)stem, split);
    path = sg_path_join(folder, split);
    if (!path || is_file(path)) return path;
    for (int i = 0; suffixes[i]; i++) {
        char *other = sg_str_printf("%s/%.*s%s", folder, (int)stem, split, suffixes[i]);

        if (!other || is_file(other)) {
            sg_free(path);
            return other;
        }
        sg_free(other);
    }
    if (stem == length && strchr(split, '.')) return path;
    sg_free(path);
    return sg_str_printf("%s/%.*s%s", folder, (int)stem, split, suffixes[0]);
}

static char *folder_of(const sg_text_place *place, const char *task) {
    return *task ? sg_path_join(place->root, task) : sg_strdup(place->root);
}

static sg_status part_exists(const sg_text_place *place, const char *task, const char *split,
                             bool *there) {
    char *folder = folder_of(place, task);
    char *path = folder ? find_file(folder, split, place->format) : NULL;

    *there = path && is_file(path);
    sg_free(folder);
    sg_free(path);
    return path ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory for a path", split);
}

sg_status sg_text_split_exists(const sg_text_place *place, const char *split, bool *there) {
    sg_classes tasks = {0};
    sg_status st = sg_text_place_tasks(place, &tasks);
    bool found = false;

    for (int i = 0; i < tasks.n && st == SG_OK && !found; i++)
        st = part_exists(place, tasks.name[i], split, &found);
    sg_classes_clear(&tasks);
    if (st == SG_OK) *there = found;
    return st;
}

static sg_status read_rows(const sg_text_place *place, const char *folder,
                           const sg_fault_sink *sink, sg_text_part *part) {
    size_t size;

    if (place->format == SG_TEXT_TWEETEVAL)
        return sg_text_read_tweeteval(place, folder, sink, part);
    SG_TRY(sg_text_part_load(place, part, &size));
    return place->format == SG_TEXT_CSV ? sg_text_parse_csv(place, size, sink, part)
                                        : sg_text_parse_jsonl(place, size, sink, part);
}

sg_status sg_text_part_read(const sg_text_place *place, const char *task, const char *split,
                            const sg_fault_sink *sink, sg_text_part *out) {
    char *folder = folder_of(place, task);
    sg_text_place named = *place;
    sg_text_part part = {0};
    sg_status st;

    if (!named.text_column) named.text_column = "text";
    if (!named.label_column) named.label_column = "label";
    part.path = folder ? find_file(folder, split, place->format) : NULL;
    if (!part.path)
        st = sg_fail(SG_ERR_OOM, "%s: no memory for a path", split);
    else if (!place->texts_only && strcmp(named.text_column, named.label_column) == 0)
        st = sg_fail(SG_ERR_CONFIG, "`%s` cannot be both the texts' and the labels' column",
                     named.text_column);
    else
        st = read_rows(&named, folder, sink, &part);
    if (st == SG_OK && part.n == 0) st = sg_fault(sink, part.path, 0, "there is no text in it");
    sg_free(folder);
    if (st == SG_OK)
        *out = part;
    else
        sg_text_part_clear(&part);
    return sg_fault_of_root(st, place->root);
}

void sg_text_part_clear(sg_text_part *part) {
    sg_free(part->path);
    sg_free(part->label_path);
    sg_free(part->block);
    sg_free(part->label_block);
    sg_free(part->rows);
    sg_classes_clear(&part->names);
    *part = (sg_text_part){0};
}

/* --- classes ---------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_number(const void *a, const void *b) {
    int64_t p = sg_text_number(*(char *const *)a, INT32_MAX);
    int64_t q = sg_text_number(*(char *const *)b, INT32_MAX);

    return p < q ? -1 : p > q;
}

static void sort_classes(sg_classes *classes) {
    bool numbers = true;

    for (int i = 0; i < classes->n; i++)
        numbers = numbers && sg_text_number(classes->name[i], INT32_MAX) >= 0;
    if (classes->n > 0)
        qsort(classes->name, (size_t)classes->n, sizeof *classes->name,
              numbers ? by_number : by_bytes);
}

/* What is wrong with a label as a class's name; NULL: nothing. */
static const char *unfit(const char *label) {
    if (strlen(label) >= kLabelBytes) return "is longer than 255 bytes";
    for (const char *c = label; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F) return "has a control byte";
    return NULL;
}

static sg_status collect(const sg_text_part *part, sg_classes *classes) {
    int id = -1;

    for (int64_t i = 0; i < part->n; i++) {
        const sg_text_row *row = &part->rows[i];

        if (!row->label || unfit(row->label)) continue;
        if (id >= 0 && strcmp(classes->name[id], row->label) == 0) continue;
        if (classes->n == SG_MAX_CLASSES && sg_classes_find(classes, row->label) < 0)
            return sg_fail_at(SG_ERR_DATA, part->path, row->line,
                              "`%.*s` would be class %d; at most %d; is it the labels' column?",
                              kShownBytes, row->label, SG_MAX_CLASSES + 1, SG_MAX_CLASSES);
        SG_TRY(sg_classes_intern(classes, row->label, 1, &id));
    }
    sort_classes(classes);
    return SG_OK;
}

sg_status sg_text_part_classes(const sg_text_part *part, sg_classes *out) {
    sg_classes classes = {0};
    sg_status st;

    if (part->names.n > 0) return sg_classes_copy(&part->names, out);
    if (part->numbered && part->label_block)
        return sg_fail(SG_ERR_MISSING,
                       "%s: there is no mapping.txt with the labels' names beside it or in the "
                       "folder above; write it (a line is a number from 0, a tab and a name), or "
                       "name the classes",
                       part->label_path);
    st = collect(part, &classes);
    if (st == SG_OK)
        *out = classes;
    else
        sg_classes_clear(&classes);
    return st;
}

/* "anger, joy, optimism"; cut where it is long. */
static void list_classes(const sg_classes *classes, char *text, size_t size) {
    size_t used = 0;

    *text = '\0';
    for (int i = 0; i < classes->n && used + 8 < size; i++) {
        size_t left = size - used - 5, length = strlen(classes->name[i]);

        if (length + 2 > left) {
            memcpy(text + used, ", ..", 5);
            return;
        }
        if (i > 0) memcpy(text + used, ", ", 2), used += 2;
        memcpy(text + used, classes->name[i], length + 1);
        used += length;
    }
}

/* Whether some class is called a number: then a number is a name, and not the place of one. */
static bool numbers_are_names(const sg_classes *classes) {
    for (int i = 0; i < classes->n; i++) {
        const char *name = classes->name[i];

        if (*name == '-') name++;
        if (*name >= '0' && *name <= '9') return true;
    }
    return false;
}

/* The class of a label; -1: it is none. */
static int class_of(const sg_text_part *part, const sg_classes *classes, const char *label) {
    int id;

    if (part->numbered && part->names.n > 0) {
        id = (int)sg_text_number(label, part->names.n);
        return id < 0 ? -1 : sg_classes_find(classes, part->names.name[id]);
    }
    id = part->numbered ? -1 : sg_classes_find(classes, label);
    if (id >= 0 || (!part->numbered && numbers_are_names(classes))) return id;
    return (int)sg_text_number(label, classes->n);
}

static sg_status refuse_label(const sg_text_part *part, const sg_classes *classes,
                              const sg_text_row *row, const sg_fault_sink *sink) {
    const char *path = part->label_path ? part->label_path : part->path;
    int64_t number = part->numbered ? sg_text_number(row->label, part->names.n) : -1;
    char names[256];

    if (unfit(row->label))
        return sg_fault(sink, path, row->line, "the label %s; is it the labels' column?",
                        unfit(row->label));
    list_classes(classes, names, sizeof names);
    if (number >= 0)
        return sg_fault(sink, path, row->line, "label %lld is `%.*s`, which is not among: %s",
                        (long long)number, kShownBytes, part->names.name[number], names);
    if (part->numbered)
        return sg_fault(sink, path, row->line, "label `%.*s` is no whole number from 0 to %d (%s)",
                        kShownBytes, row->label, (part->names.n ? part->names.n : classes->n) - 1,
                        part->names.n ? "mapping.txt" : names);
    return sg_fault(sink, path, row->line, "label `%.*s` is none of the classes: %s", kShownBytes,
                    row->label, names);
}

sg_status sg_text_part_resolve(sg_text_part *part, const sg_classes *classes, bool texts_only,
                               const sg_fault_sink *sink) {
    int64_t kept = 0;

    for (int64_t i = 0; i < part->n; i++) {
        sg_text_row *row = &part->rows[i];

        row->id = row->label ? class_of(part, classes, row->label) : -1;
        if (row->label && row->id < 0) {
            SG_TRY(refuse_label(part, classes, row, sink));
            continue;
        }
        if (!row->label && !texts_only) {
            SG_TRY(sg_fault(sink, part->label_path ? part->label_path : part->path, row->line,
                            "no label"));
            continue;
        }
        part->rows[kept++] = *row;
    }
    part->n = kept;
    return SG_OK;
}
