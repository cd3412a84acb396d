/* --check-data: look at everything, report every fault, stop at none. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "core/cells.h"
#include "core/file.h"
#include "core/mem.h"
#include "data/dataset.h"
#include "data/image.h"
#include "data/source.h"
#include "data/yolo.h"

enum { kHashBytes = 32, kTextBytes = 1024 };

/* One listed picture. */
typedef struct {
    char *path;               /* owned; NULL: there is none */
    const char *list;         /* path of its list, borrowed */
    int line;                 /* in the list */
    int hashed;               /* it could be decoded */
    uint8_t hash[kHashBytes]; /* of size and pixels */
} picture;

typedef struct {
    const sg_dataset_place *place;
    sg_classes classes;
    sg_fault_fn report;
    void *context;
    sg_check_summary summary;
    int n_lists;
    sg_source *source; /* (n_lists), owned; those that cannot be opened are empty */
    int64_t *of_class; /* (n_lists, SG_MAX_CLASSES) boxes, owned */
    int64_t *counted;  /* the row of of_class of the list that is looked at */
    int64_t n, used;
    picture *picture; /* (n), owned */
} check;

static void fault(check *c, sg_fault_level level, const char *file, int line, const char *fmt, ...)
    SG_PRINTF(5, 6);
static void fault(check *c, sg_fault_level level, const char *file, int line, const char *fmt,
                  ...) {
    char text[kTextBytes];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (level == SG_FAULT_ERROR)
        c->summary.errors++;
    else
        c->summary.warnings++;
    if (c->report) c->report(c->context, level, file, line, text);
}

static void note_fault(void *context, sg_fault_level level, const char *file, int line,
                       const char *text) {
    fault(context, level, file, line, "%s", text);
}

/* A line's fault that a source reports while it goes on. */
static sg_fault_sink sink_of(check *c) { return (sg_fault_sink){note_fault, c}; }

static sg_status fault_from_error(check *c, sg_status st, const char *file) {
    sg_fault_sink sink = sink_of(c);

    return sg_fault_from_error(&sink, st, file);
}

static sg_status hash_picture(const sg_image *image, picture *p) {
    uint64_t size[2] = {(uint64_t)image->width, (uint64_t)image->height};
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    int fine;

    if (!hash) return sg_fail(SG_ERR_OOM, "%s: no memory for its hash", p->path);
    fine = EVP_DigestInit_ex(hash, EVP_sha256(), NULL) &&
           EVP_DigestUpdate(hash, size, sizeof size) &&
           EVP_DigestUpdate(hash, image->rgb, (size_t)(image->width * image->height * 3)) &&
           EVP_DigestFinal_ex(hash, p->hash, NULL);
    EVP_MD_CTX_free(hash);
    p->hashed = fine;
    return fine ? SG_OK : sg_fail(SG_ERR_UNSUPPORTED, "OpenSSL cannot compute SHA-256");
}

/* *width is 0 when the picture cannot be decoded. */
static sg_status check_picture(check *c, picture *p, int64_t *width, int64_t *height) {
    sg_image image;
    sg_status st = sg_file_check(p->path);

    *width = *height = 0;
    if (st == SG_OK) st = sg_image_read(p->path, &image);
    if (st != SG_OK) return fault_from_error(c, st, p->path);
    *width = image.width;
    *height = image.height;
    st = hash_picture(&image, p);
    sg_image_clear(&image);
    return st;
}

static sg_status check_object(check *c, const char *path, const sg_object *o, int64_t width,
                              int64_t height, int may_grow) {
    const double *b = o->box;
    char place[SG_OBJECT_TEXT];
    float clipped[4];
    sg_status st;
    int id;

    sg_object_place(o, place);
    switch (sg_box_clip(b, width, height, clipped)) {
    case SG_BOX_EMPTY:
        fault(c, SG_FAULT_ERROR, path, o->line, "%sthe box (%g %g %g %g) has no area", place, b[0],
              b[1], b[2], b[3]);
        break;
    case SG_BOX_OUTSIDE:
        fault(c, SG_FAULT_ERROR, path, o->line,
              "%sthe box (%g %g %g %g) is outside of the picture (%lld x %lld)", place, b[0], b[1],
              b[2], b[3], (long long)width, (long long)height);
        break;
    case SG_BOX_CLIPPED:
        fault(c, SG_FAULT_WARNING, path, o->line,
              "%sthe box (%g %g %g %g) reaches out of the picture (%lld x %lld) and is clipped",
              place, b[0], b[1], b[2], b[3], (long long)width, (long long)height);
        break;
    case SG_BOX_INSIDE:
        break;
    }
    st = sg_classes_intern(&c->classes, o->name, may_grow, &id);
    if (st == SG_ERR_DATA) {
        fault(c, SG_FAULT_ERROR, path, o->line, "%s%s", place, sg_last_error());
        return SG_OK;
    }
    if (st == SG_OK && id < 0)
        fault(c, SG_FAULT_ERROR, path, o->line, "%sunknown class `%.100s`", place, o->name);
    if (st == SG_OK && id >= 0) c->counted[id]++;
    return st;
}

static int compare_boxes(const sg_object *p, const sg_object *q) {
    for (int i = 0; i < 4; i++)
        if (p->box[i] != q->box[i]) return p->box[i] < q->box[i] ? -1 : 1;
    return strcmp(p->name, q->name);
}

/* By box and name; of equal ones, the first in the file first. */
static int by_box(const void *a, const void *b) {
    const sg_object *p = *(const sg_object *const *)a, *q = *(const sg_object *const *)b;
    int order = compare_boxes(p, q);

    return order ? order : p < q ? -1 : p > q;
}

static sg_status check_twins(check *c, const char *path, const sg_annotation *a) {
    const sg_object **sorted = sg_malloc((size_t)a->n * sizeof(sg_object *));
    char place[SG_OBJECT_TEXT];

    if (!sorted) return sg_fail(SG_ERR_OOM, "check: no memory to compare boxes");
    for (int64_t i = 0; i < a->n; i++) sorted[i] = &a->objects[i];
    qsort((void *)sorted, (size_t)a->n, sizeof *sorted, by_box);
    for (int64_t i = 1; i < a->n; i++)
        if (compare_boxes(sorted[i], sorted[i - 1]) == 0)
            fault(c, SG_FAULT_WARNING, path, sorted[i]->line, "%sthe same box as another one",
                  sg_object_place(sorted[i], place));
    sg_free((void *)sorted);
    return SG_OK;
}

static sg_status check_annotation(check *c, const sg_source *source, int64_t index,
                                  const char *path, int64_t width, int64_t height, int may_grow) {
    const picture *p = &c->picture[c->used - 1];
    sg_annotation a;
    sg_status st = sg_source_annotation(source, index, path, width, height, &a);

    if (st != SG_OK) return fault_from_error(c, st, path);
    if (width && a.width && a.height && (a.width != width || a.height != height))
        fault(c, SG_FAULT_ERROR, path, a.size_line,
              "says %lld x %lld pixels, but %s has %lld x %lld", (long long)a.width,
              (long long)a.height, p->path, (long long)width, (long long)height);
    if (!width) { /* boxes can still be compared with the size that is written */
        width = a.width;
        height = a.height;
    }
    for (int64_t i = 0; i < a.n && width && height && st == SG_OK; i++)
        st = check_object(c, path, &a.objects[i], width, height, may_grow);
    if (st == SG_OK && a.n > 1) st = check_twins(c, path, &a);
    c->summary.boxes += a.n;
    if (a.missing)
        fault(c, SG_FAULT_WARNING, p->path, 0, "there is no label file %s, hence no boxes", path);
    if (a.n > SG_MAX_BOXES)
        fault(c, SG_FAULT_WARNING, path, 0, "%lld boxes; only the largest %d are trained on",
              (long long)a.n, SG_MAX_BOXES);
    sg_annotation_clear(&a);
    return st;
}

static sg_status check_entry(check *c, const sg_source *source, int64_t index, int may_grow) {
    picture *p = &c->picture[c->used++];
    int64_t width, height;
    char *annotation;
    sg_status st;

    p->list = source->list.path;
    p->line = source->list.entry[index].line;
    c->summary.pictures++;
    st = sg_source_locate(source, index, &p->path, &annotation);
    if (st != SG_OK) return fault_from_error(c, st, source->list.path);
    st = check_picture(c, p, &width, &height);
    if (st == SG_OK) st = check_annotation(c, source, index, annotation, width, height, may_grow);
    sg_free(annotation);
    return st;
}

static int by_place(const picture *a, const picture *b) {
    /* pictures stand in the array in the order of lists and lines */
    return a < b ? -1 : a > b;
}

static int by_path(const void *a, const void *b) {
    const picture *p = *(picture *const *)a, *q = *(picture *const *)b;
    int order = strcmp(p->path, q->path);

    return order ? order : by_place(p, q);
}

static int by_hash(const void *a, const void *b) {
    const picture *p = *(picture *const *)a, *q = *(picture *const *)b;
    int order = memcmp(p->hash, q->hash, kHashBytes);

    return order ? order : by_place(p, q);
}

static int in_order(const void *a, const void *b) {
    return by_place(*(picture *const *)a, *(picture *const *)b);
}

/* Names listed twice, then different files with the same pixels: every picture but the first
 * of its kind is reported, in the order of the lists. */
static void report_repeats(check *c, picture **sorted, const picture **first, int64_t n,
                           int names) {
    const picture *head = NULL;
    int64_t repeats = 0;

    qsort(sorted, (size_t)n, sizeof *sorted, names ? by_path : by_hash);
    for (int64_t i = 0; i < n; i++) {
        picture *p = sorted[i];

        if (!head ||
            (names ? strcmp(p->path, head->path) : memcmp(p->hash, head->hash, kHashBytes)))
            head = p;
        if (head == p || (!names && strcmp(p->path, head->path) == 0)) continue;
        first[p - c->picture] = head;
        sorted[repeats++] = p; /* never beyond i */
    }
    qsort(sorted, (size_t)repeats, sizeof *sorted, in_order);
    for (int64_t i = 0; i < repeats; i++) {
        const picture *p = sorted[i], *f = first[p - c->picture];

        char place[kTextBytes];

        if (f->line)
            snprintf(place, sizeof place, "%s:%d", f->list, f->line);
        else
            snprintf(place, sizeof place, "%s", f->list);
        if (names)
            fault(c, SG_FAULT_ERROR, p->list, p->line, "the same picture as %s (%s)", place,
                  p->path);
        else
            fault(c, p->list == f->list ? SG_FAULT_WARNING : SG_FAULT_ERROR, p->list, p->line,
                  "%s has the same pixels as %s (%s)", p->path, f->path, place);
    }
}

static sg_status check_repeats(check *c) {
    picture **sorted = sg_malloc((size_t)c->used * sizeof(picture *));
    const picture **first = sg_malloc((size_t)c->used * sizeof(picture *));
    int64_t n = 0;

    if (sorted && first) {
        for (int64_t i = 0; i < c->used; i++)
            if (c->picture[i].path) sorted[n++] = &c->picture[i];
        if (n) report_repeats(c, sorted, first, n, 1);
        n = 0;
        for (int64_t i = 0; i < c->used; i++)
            if (c->picture[i].hashed) sorted[n++] = &c->picture[i];
        if (n) report_repeats(c, sorted, first, n, 0);
    }
    n = sorted && first;
    sg_free(sorted);
    sg_free((void *)first);
    return n ? SG_OK : sg_fail(SG_ERR_OOM, "check: no memory to compare the pictures");
}

static sg_status open_list(check *c, const char *name, sg_source *source, int collect) {
    sg_fault_sink sink = sink_of(c);
    char *path = sg_path_join(c->place->root, name);
    sg_status st;

    if (!path) return sg_fail(SG_ERR_OOM, "check: no memory for a path");
    st = sg_source_open(c->place, name, collect ? NULL : &c->classes, sink, source);
    if (st != SG_OK) {
        st = fault_from_error(c, st, path);
    } else {
        c->n += source->list.n;
        if (source->list.n == 0) fault(c, SG_FAULT_ERROR, path, 0, "the list is empty");
        if (source->coco.n_crowd)
            fault(c, SG_FAULT_WARNING, path, 0, "%lld iscrowd boxes are left out",
                  (long long)source->coco.n_crowd);
        if (c->place->format == SG_FORMAT_YOLO && sg_is_dir(path))
            st = sg_yolo_find_orphans(c->place->root, &source->list, name, &sink);
        if (st == SG_OK && collect && c->classes.n == 0)
            st = sg_classes_copy(&source->names, &c->classes);
    }
    sg_free(path);
    return st;
}

static sg_status check_all(check *c, const char *const *lists, int collect) {
    int from_boxes = collect && c->place->format == SG_FORMAT_VOC;

    for (int i = 0; i < c->n_lists; i++) SG_TRY(open_list(c, lists[i], &c->source[i], collect));
    c->picture = sg_calloc((size_t)c->n, sizeof *c->picture);
    if (!c->picture)
        return sg_fail(SG_ERR_OOM, "check: no memory for %lld pictures", (long long)c->n);
    for (int i = 0; i < c->n_lists; i++) {
        c->counted = c->of_class + (int64_t)i * SG_MAX_CLASSES;
        for (int64_t k = 0; k < c->source[i].list.n; k++)
            SG_TRY(check_entry(c, &c->source[i], k, from_boxes && i == 0));
    }
    return check_repeats(c);
}

static int by_name(const void *a, const void *b) {
    return strcmp(**(char **const *)a, **(char **const *)b);
}

/* Boxes of each class in each list, classes in the order in which they are trained on. */
static sg_status table_of_classes(const check *c, const char *const *lists, bool sorted,
                                  char **out) {
    sg_cells cells = {.columns = 1 + c->n_lists, .left = 1};
    char **name[SG_MAX_CLASSES];

    for (int i = 0; i < c->classes.n; i++) name[i] = &c->classes.name[i];
    if (sorted) qsort(name, (size_t)c->classes.n, sizeof *name, by_name);
    sg_cells_add(&cells, "boxes of class");
    for (int i = 0; i < c->n_lists; i++) sg_cells_add(&cells, "%s", lists[i]);
    for (int k = 0; k < c->classes.n; k++) {
        int64_t id = name[k] - c->classes.name;

        sg_cells_add(&cells, "%s", *name[k]);
        for (int i = 0; i < c->n_lists; i++)
            sg_cells_add(&cells, "%lld", (long long)c->of_class[i * SG_MAX_CLASSES + id]);
    }
    return sg_cells_lines(&cells, out);
}

sg_status sg_dataset_check(const sg_dataset_place *place, const char *const *lists, int n_lists,
                           const sg_classes *classes, sg_fault_fn report, void *context,
                           sg_check_summary *summary, char **table) {
    check c = {.place = place, .n_lists = n_lists, .report = report, .context = context};
    sg_status st = SG_OK;

    c.source = sg_calloc((size_t)n_lists, sizeof *c.source);
    c.of_class = sg_calloc((size_t)n_lists * SG_MAX_CLASSES, sizeof *c.of_class);
    if (!c.source || !c.of_class)
        st = sg_fail(SG_ERR_OOM, "check: no memory for %d lists", n_lists);
    if (st == SG_OK && classes) st = sg_classes_copy(classes, &c.classes);
    if (st == SG_OK) st = check_all(&c, lists, !classes);
    if (st == SG_OK && table)
        st = table_of_classes(&c, lists, !classes && place->format == SG_FORMAT_VOC, table);
    for (int64_t i = 0; i < c.used; i++) sg_free(c.picture[i].path);
    sg_free(c.picture);
    for (int i = 0; c.source && i < n_lists; i++) sg_source_close(&c.source[i]);
    sg_free(c.source);
    sg_free(c.of_class);
    sg_classes_clear(&c.classes);
    if (st == SG_OK) *summary = c.summary;
    return st;
}
