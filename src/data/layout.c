#include "data/layout.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/file.h"
#include "core/mem.h"

enum { kMaxListBytes = 64 << 20, kShownBytes = 200 };

static const char *const suffixes[] = {".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG"};
enum { kSuffixes = sizeof suffixes / sizeof *suffixes };

/* Cut the text into trimmed lines; 0 and the line's number when one has a control byte. */
static int cut_lines(sg_list *list, char *text, size_t size, int *bad_line) {
    char *p = text, *end = text + size;

    if (size >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0) p += 3; /* a Windows editor's mark */
    for (int line = 1; p < end; line++) {
        char *stop = memchr(p, '\n', (size_t)(end - p)), *next;

        if (!stop) stop = end;
        next = stop + 1;
        while (stop > p && strchr(" \t\r", stop[-1]) && stop[-1]) stop--;
        while (p < stop && (*p == ' ' || *p == '\t')) p++;
        *stop = '\0';
        for (char *c = p; c < stop; c++) {
            if ((unsigned char)*c >= 0x20 && *c != 0x7F) continue;
            *bad_line = line;
            return 0;
        }
        if (stop > p) list->entry[list->n++] = (sg_list_entry){.name = p, .line = line};
        p = next;
    }
    return 1;
}

sg_status sg_list_cut(sg_list *list, char *text, size_t size) {
    size_t lines = 1;
    int bad_line;

    for (size_t i = 0; i < size; i++) lines += text[i] == '\n';
    list->entry = sg_malloc(lines * sizeof *list->entry);
    if (!list->entry) return sg_fail(SG_ERR_OOM, "%s: no memory for %zu lines", list->path, lines);
    if (cut_lines(list, text, size, &bad_line)) return SG_OK;
    return sg_fail(SG_ERR_DATA, "%s:%d: has a control byte; only text is expected", list->path,
                   bad_line);
}

sg_status sg_list_read(const char *root, const char *name, sg_list *out) {
    sg_list list = {.path = sg_path_join(root, name)};
    size_t size;
    uint8_t *data;
    sg_status st;

    if (!list.path) return sg_fail(SG_ERR_OOM, "%s: no memory for its path", name);
    st = sg_file_check(list.path);
    if (st == SG_OK) st = sg_file_read(list.path, kMaxListBytes, &data, &size);
    if (st == SG_OK) {
        list.text = (char *)data;
        st = sg_list_cut(&list, list.text, size);
    }
    if (st == SG_OK)
        *out = list;
    else
        sg_list_clear(&list);
    return st;
}

void sg_list_clear(sg_list *list) {
    sg_free(list->path);
    sg_free(list->text);
    sg_free(list->entry);
    *list = (sg_list){0};
}

size_t sg_layout_stem(const char *name) {
    size_t length = strlen(name);

    for (int i = 0; i < kSuffixes; i++) {
        size_t n = strlen(suffixes[i]);

        if (length > n && strcasecmp(name + length - n, suffixes[i]) == 0) return length - n;
    }
    return length;
}

/* `path` is taken over: returned when such a file is there, else freed. */
static char *if_there(char *path) {
    if (path && !sg_file_exists(path)) {
        sg_free(path);
        return NULL;
    }
    return path;
}

static sg_status find_picture(const char *root, const char *name, char **out) {
    int has_suffix = name[sg_layout_stem(name)] != '\0';
    int n = has_suffix ? 2 : kSuffixes;

    for (int i = 0; i < n; i++) {
        char *relative, *path;

        if (has_suffix)
            relative = i == 0 ? sg_strdup(name) : sg_str_printf("images/%s", name);
        else
            relative = sg_str_printf("images/%s%s", name, suffixes[i]);
        path = relative ? sg_path_join(root, relative) : NULL;
        sg_free(relative);
        if (!path) return sg_fail(SG_ERR_OOM, "%.*s: no memory for a path", kShownBytes, name);
        *out = if_there(path);
        if (*out) return SG_OK;
    }
    return SG_ERR_MISSING;
}

char *sg_layout_annotation(const char *root, const char *name) {
    const char *folder = NULL;
    int stem = (int)sg_layout_stem(name);
    char *relative, *path;

    if (name[0] == '/') {
        for (const char *p = strstr(name, "/images/"); p; p = strstr(p + 1, "/images/")) folder = p;
        if (folder) {
            const char *rest = folder + strlen("/images/");
            return sg_str_printf("%.*s/annotations/%.*s.xml", (int)(folder - name), name,
                                 stem - (int)(rest - name), rest);
        }
        folder = strrchr(name, '/') + 1;
    } else if (strncmp(name, "images/", strlen("images/")) == 0) {
        folder = name + strlen("images/");
    } else {
        folder = name;
    }
    relative = sg_str_printf("annotations/%.*s.xml", stem - (int)(folder - name), folder);
    path = relative ? sg_path_join(root, relative) : NULL;
    sg_free(relative);
    return path;
}

sg_status sg_layout_picture(const char *root, const sg_list *list, const sg_list_entry *entry,
                            char **picture) {
    sg_status st = find_picture(root, entry->name, picture);

    if (st == SG_ERR_MISSING && entry->name[sg_layout_stem(entry->name)] != '\0')
        return sg_fail_at(st, list->path, entry->line, "%.*s: there is no such picture",
                          kShownBytes, entry->name);
    if (st == SG_ERR_MISSING)
        return sg_fail_at(st, list->path, entry->line,
                          "there is no picture images/%.*s.png, .jpg or .jpeg", kShownBytes,
                          entry->name);
    return st;
}

sg_status sg_layout_locate(const char *root, const sg_list *list, const sg_list_entry *entry,
                           char **picture, char **annotation) {
    char *found = NULL;

    SG_TRY(sg_layout_picture(root, list, entry, &found));
    *annotation = sg_layout_annotation(root, entry->name);
    if (!*annotation) {
        sg_free(found);
        return sg_fail_at(SG_ERR_OOM, list->path, entry->line, "no memory for a path");
    }
    *picture = found;
    return SG_OK;
}

static double clamp(double value, double high) {
    return value < 0.0 ? 0.0 : value > high ? high : value;
}

sg_box_verdict sg_box_clip(const double box[4], int64_t width, int64_t height, float out[4]) {
    double x0 = clamp(box[0], (double)width), x1 = clamp(box[2], (double)width);
    double y0 = clamp(box[1], (double)height), y1 = clamp(box[3], (double)height);

    if (!(box[2] > box[0] && box[3] > box[1])) return SG_BOX_EMPTY;
    if (!(x1 > x0 && y1 > y0)) return SG_BOX_OUTSIDE;
    /* thinner than a float can tell */
    if (!((float)x1 > (float)x0 && (float)y1 > (float)y0)) return SG_BOX_EMPTY;
    out[0] = (float)x0;
    out[1] = (float)y0;
    out[2] = (float)x1;
    out[3] = (float)y1;
    if (x0 == box[0] && y0 == box[1] && x1 == box[2] && y1 == box[3]) return SG_BOX_INSIDE;
    return SG_BOX_CLIPPED;
}
