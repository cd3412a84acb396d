/* Folders of pictures as lists, and the label files that belong to no picture. */
#define _GNU_SOURCE
#include "data/yolo.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/file.h"
#include "core/mem.h"

typedef struct {
    const char *root;
    bool labels; /* look for label files, not for pictures */
    const sg_fault_sink *sink;
    char **name; /* (n), owned, relative to root */
    int64_t n, capacity;
} walk;

static bool ends_with(const char *name, const char *suffix) {
    size_t length = strlen(name), n = strlen(suffix);

    return length > n && strcasecmp(name + length - n, suffix) == 0;
}

/* A picture that others read and we do not: leaving it out silently would be wrong. */
static bool is_foreign_picture(const char *name) {
    static const char *const suffixes[] = {".bmp",  ".webp", ".tif",  ".tiff", ".gif", ".jp2",
                                           ".heic", ".avif", ".jfif", ".dng",  ".mpo", ".pfm"};

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (ends_with(name, suffixes[i])) return true;
    return false;
}

/* `name` is taken over. */
static sg_status keep(walk *w, char *name) {
    if (w->n == w->capacity) {
        int64_t capacity = w->capacity ? 2 * w->capacity : 64;
        char **larger =
            sg_realloc(w->name, (size_t)w->n * sizeof *larger, (size_t)capacity * sizeof *larger);

        if (!larger) {
            sg_free(name);
            return sg_fail(SG_ERR_OOM, "%s: no memory for its files", w->root);
        }
        w->name = larger;
        w->capacity = capacity;
    }
    w->name[w->n++] = name;
    return SG_OK;
}

static sg_status visit(walk *w, const char *folder, int depth);

/* `path` is `name` behind the root. */
static sg_status visit_entry(walk *w, const char *path, char *name, int depth) {
    bool wanted = w->labels ? ends_with(name, ".txt") && !ends_with(name, "/classes.txt")
                            : name[sg_layout_stem(name)] != '\0';
    bool control = false;
    sg_status st = SG_OK;

    for (const char *c = name; *c; c++) control |= (unsigned char)*c < 0x20 || *c == 0x7F;
    if (sg_is_dir(path)) {
        st = visit(w, name, depth + 1);
    } else if (wanted && control) {
        st = sg_fault(w->sink, w->root, 0, "a picture's name has a control byte; rename it");
    } else if (wanted) {
        return keep(w, name);
    } else if (!w->labels && is_foreign_picture(name)) {
        st = sg_fault(w->sink, path, 0, "neither PNG nor JPEG; convert it or move it away");
    }
    sg_free(name);
    return st;
}

static sg_status visit(walk *w, const char *folder, int depth) {
    char *path = sg_path_join(w->root, folder);
    DIR *open = path ? opendir(path) : NULL;
    sg_status st = SG_OK;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory for a path", folder);
    if (!open)
        st = sg_fail(errno == ENOENT ? SG_ERR_MISSING : SG_ERR_IO, "%s: cannot open: %s", path,
                     strerror(errno));
    else if (depth > SG_YOLO_MAX_DEPTH)
        st = sg_fail(SG_ERR_DATA, "%s: folders nested deeper than %d", path, SG_YOLO_MAX_DEPTH);
    while (st == SG_OK) {
        struct dirent *entry = (errno = 0, readdir(open));
        char *name, *at;

        if (!entry && errno) st = sg_fail(SG_ERR_IO, "%s: cannot list: %s", path, strerror(errno));
        if (!entry) break;
        if (entry->d_name[0] == '.') continue;
        name = sg_str_printf("%s/%s", folder, entry->d_name);
        at = name ? sg_path_join(w->root, name) : NULL;
        if (at) {
            st = visit_entry(w, at, name, depth);
        } else {
            sg_free(name);
            st = sg_fail(SG_ERR_OOM, "%s: no memory for a path", path);
        }
        sg_free(at);
    }
    if (open) closedir(open);
    sg_free(path);
    return st;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Everything in `folder` (slashes at its end are dropped), sorted. */
static sg_status collect(walk *w, const char *folder) {
    size_t length = strlen(folder);
    char *name;
    sg_status st;

    while (length > 1 && folder[length - 1] == '/') length--;
    name = sg_str_printf("%.*s", (int)length, folder);
    if (!name) return sg_fail(SG_ERR_OOM, "%s: no memory for a path", folder);
    st = visit(w, name, 0);
    sg_free(name);
    if (st == SG_OK && w->n) qsort(w->name, (size_t)w->n, sizeof *w->name, by_text);
    return st;
}

static void clear(walk *w) {
    for (int64_t i = 0; i < w->n; i++) sg_free(w->name[i]);
    sg_free(w->name);
}

sg_status sg_yolo_list_folder(const char *root, const char *name, const sg_fault_sink *sink,
                              sg_list *out) {
    walk w = {.root = root, .sink = sink};
    sg_list list = {.path = sg_path_join(root, name)};
    sg_status st = collect(&w, name);
    size_t bytes = 0;

    for (int64_t i = 0; i < w.n; i++) bytes += strlen(w.name[i]) + 1;
    list.text = sg_malloc(bytes);
    list.entry = sg_malloc((size_t)w.n * sizeof *list.entry);
    if (st == SG_OK && (!list.path || !list.text || !list.entry))
        st = sg_fail(SG_ERR_OOM, "%s: no memory for %lld names", name, (long long)w.n);
    bytes = 0;
    for (; st == SG_OK && list.n < w.n; list.n++) {
        list.entry[list.n].name = strcpy(list.text + bytes, w.name[list.n]);
        list.entry[list.n].line = 0;
        bytes += strlen(w.name[list.n]) + 1;
    }
    clear(&w);
    if (st == SG_OK)
        *out = list;
    else
        sg_list_clear(&list);
    return st;
}

/* Is there a picture `stem`.png or another suffix in the sorted list? */
static bool has_picture(const sg_list *list, const char *stem, size_t length) {
    int64_t low = 0, high = list->n;

    while (low < high) { /* the first name that is not below the stem */
        int64_t middle = low + (high - low) / 2;

        if (strncmp(list->entry[middle].name, stem, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < list->n && strncmp(list->entry[low].name, stem, length) == 0; low++)
        if (sg_layout_stem(list->entry[low].name) == length) return true;
    return false;
}

sg_status sg_yolo_find_orphans(const char *root, const sg_list *list, const char *name,
                               const sg_fault_sink *sink) {
    walk w = {.root = root, .labels = true, .sink = sink};
    char *file = sg_str_printf("%s/x", name), *label = file ? sg_yolo_label_path(file) : NULL;
    char *folder = NULL;
    sg_status st = SG_OK;

    if (label) label[strlen(label) - strlen("/x.txt")] = '\0'; /* the folder of labels */
    folder = label ? sg_path_join(root, label) : NULL;
    if (!folder)
        st = sg_fail(SG_ERR_OOM, "%s: no memory for a path", name);
    else if (sg_is_dir(folder))
        st = collect(&w, label);
    for (int64_t i = 0; i < w.n && st == SG_OK; i++) {
        const char *behind = w.name[i] + strlen(label);
        char *picture =
            sg_str_printf("%s%.*s", name, (int)(strlen(behind) - strlen(".txt")), behind);
        char *path = picture ? sg_path_join(root, w.name[i]) : NULL;

        if (!path)
            st = sg_fail(SG_ERR_OOM, "%s: no memory for a path", name);
        else if (!has_picture(list, picture, strlen(picture)))
            sink->report(sink->context, SG_FAULT_WARNING, path, 0,
                         "there is no picture for this label file");
        sg_free(path);
        sg_free(picture);
    }
    clear(&w);
    sg_free(folder);
    sg_free(label);
    sg_free(file);
    return st;
}
