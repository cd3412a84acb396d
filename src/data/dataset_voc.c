/* The VOC reader: list file -> pictures' headers and annotations -> one sg_dataset. */
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "data/dataset.h"
#include "data/image.h"
#include "data/layout.h"
#include "data/voc.h"

enum { kFirstBoxes = 256 };

typedef struct {
    const char *root;
    const sg_list *list;
    sg_dataset *dataset;
    int collect; /* class names are collected, not given */
    int64_t capacity;
} reader;

static sg_status grow_boxes(reader *r, int64_t more) {
    sg_dataset *d = r->dataset;
    int64_t capacity = r->capacity ? r->capacity : kFirstBoxes;
    float *boxes;
    int32_t *classes;

    if (d->n_boxes + more <= r->capacity) return SG_OK;
    while (capacity < d->n_boxes + more) capacity *= 2;
    boxes = sg_realloc(d->boxes, (size_t)d->n_boxes * 4 * sizeof *boxes,
                       (size_t)capacity * 4 * sizeof *boxes);
    if (boxes) d->boxes = boxes;
    classes = boxes ? sg_realloc(d->box_classes, (size_t)d->n_boxes * sizeof *classes,
                                 (size_t)capacity * sizeof *classes)
                    : NULL;
    if (!classes)
        return sg_fail(SG_ERR_OOM, "%s: no memory for %lld boxes", d->list, (long long)capacity);
    d->box_classes = classes;
    r->capacity = capacity;
    return SG_OK;
}

static sg_status add_box(reader *r, const char *path, const sg_voc_object *object,
                         const sg_sample *sample) {
    sg_dataset *d = r->dataset;
    int id;

    switch (sg_box_clip(object->box, sample->width, sample->height, d->boxes + 4 * d->n_boxes)) {
    case SG_BOX_EMPTY:
        return sg_fail(SG_ERR_DATA, "%s:%d: the box (%g %g %g %g) has no area", path, object->line,
                       object->box[0], object->box[1], object->box[2], object->box[3]);
    case SG_BOX_OUTSIDE:
        return sg_fail(SG_ERR_DATA,
                       "%s:%d: the box (%g %g %g %g) is outside of the picture (%lld x %lld)", path,
                       object->line, object->box[0], object->box[1], object->box[2], object->box[3],
                       (long long)sample->width, (long long)sample->height);
    case SG_BOX_CLIPPED:
        d->n_clipped++;
        break;
    case SG_BOX_INSIDE:
        break;
    }
    SG_TRY(sg_classes_intern(&d->classes, object->name, r->collect, &id));
    if (id < 0)
        return sg_fail(SG_ERR_DATA, "%s:%d: unknown class `%.100s`", path, object->line,
                       object->name);
    d->box_classes[d->n_boxes++] = id;
    return SG_OK;
}

static sg_status add_annotation(reader *r, const char *path, sg_sample *sample) {
    sg_status st;
    sg_voc voc;

    SG_TRY(sg_voc_read(path, &voc));
    st = grow_boxes(r, voc.n);
    if (st == SG_OK && voc.width && voc.height &&
        (voc.width != sample->width || voc.height != sample->height))
        st = sg_fail(SG_ERR_DATA, "%s:%d: says %lld x %lld pixels, but %s has %lld x %lld", path,
                     voc.size_line, (long long)voc.width, (long long)voc.height, sample->path,
                     (long long)sample->width, (long long)sample->height);
    for (int64_t i = 0; i < voc.n && st == SG_OK; i++)
        st = add_box(r, path, &voc.objects[i], sample);
    sample->count = voc.n;
    sg_voc_clear(&voc);
    return st;
}

static sg_status add_sample(reader *r, const sg_list_entry *entry, sg_sample *sample) {
    char *annotation;
    sg_status st;

    sample->name = sg_strdup(entry->name);
    if (!sample->name) return sg_fail(SG_ERR_OOM, "%s: no memory for a name", r->list->path);
    SG_TRY(sg_layout_locate(r->root, r->list, entry, &sample->path, &annotation));
    st = sg_image_size(sample->path, &sample->width, &sample->height);
    if (st == SG_OK) st = add_annotation(r, annotation, sample);
    sg_free(annotation);
    return st;
}

typedef struct {
    const char *path;
    int line;
} place;

static int by_path(const void *a, const void *b) {
    const place *p = a, *q = b;
    int order = strcmp(p->path, q->path);

    return order ? order : p->line - q->line;
}

static sg_status refuse_repeats(const reader *r) {
    const sg_list *list = r->list;
    place *sorted = sg_malloc((size_t)list->n * sizeof *sorted);
    int64_t found = 0; /* the second of a pair */

    if (!sorted) return sg_fail(SG_ERR_OOM, "%s: no memory to sort it", list->path);
    for (int64_t i = 0; i < list->n; i++)
        sorted[i] = (place){.path = r->dataset->samples[i].path, .line = list->entry[i].line};
    qsort(sorted, (size_t)list->n, sizeof *sorted, by_path);
    for (int64_t i = 1; i < list->n; i++)
        if (strcmp(sorted[i].path, sorted[i - 1].path) == 0 &&
            (!found || sorted[i].line < sorted[found].line))
            found = i;
    if (found)
        (void)sg_fail(SG_ERR_DATA, "%s:%d: the same picture as line %d (%s); delete one",
                      list->path, sorted[found].line, sorted[found - 1].line, sorted[found].path);
    sg_free(sorted);
    return found ? SG_ERR_DATA : SG_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Collected names stand in the order they were met; ids follow them into sorted order. */
static sg_status sort_classes(sg_dataset *d) {
    sg_classes met;
    int32_t new_id[SG_MAX_CLASSES];

    SG_TRY(sg_classes_copy(&d->classes, &met));
    qsort(d->classes.name, (size_t)d->classes.n, sizeof *d->classes.name, by_text);
    for (int i = 0; i < met.n; i++) new_id[i] = sg_classes_find(&d->classes, met.name[i]);
    for (int64_t b = 0; b < d->n_boxes; b++) d->box_classes[b] = new_id[d->box_classes[b]];
    sg_classes_clear(&met);
    return SG_OK;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Once the box arrays no longer move. */
static void point_samples(sg_dataset *d) {
    int64_t first = 0;

    for (int64_t i = 0; i < d->n; i++) {
        sg_sample *s = &d->samples[i];

        if (s->count) {
            s->boxes = d->boxes + 4 * first;
            s->classes = d->box_classes + first;
        }
        first += s->count;
        d->width_max = larger(d->width_max, s->width);
        d->height_max = larger(d->height_max, s->height);
        d->pixels_max = larger(d->pixels_max, s->width * s->height);
    }
}

static sg_status read_samples(reader *r) {
    sg_dataset *d = r->dataset;
    const sg_list *list = r->list;

    if (list->n == 0) return sg_fail(SG_ERR_DATA, "%s: the list is empty", list->path);
    d->list = sg_strdup(list->path);
    d->samples = sg_calloc((size_t)list->n, sizeof *d->samples);
    if (!d->list || !d->samples)
        return sg_fail(SG_ERR_OOM, "%s: no memory for %lld samples", list->path,
                       (long long)list->n);
    d->n = list->n;
    for (int64_t i = 0; i < d->n; i++) SG_TRY(add_sample(r, &list->entry[i], &d->samples[i]));
    SG_TRY(refuse_repeats(r));
    if (r->collect && d->classes.n == 0)
        return sg_fail(SG_ERR_DATA, "%s: no picture of it has a box; set data.classes=NAME,NAME", list->path);
    if (r->collect) SG_TRY(sort_classes(d));
    point_samples(d);
    return SG_OK;
}

sg_status sg_dataset_read_voc(const char *root, const char *list, const sg_classes *classes,
                              sg_dataset **out) {
    sg_list names = {0};
    sg_dataset *d = sg_calloc(1, sizeof *d);
    reader r = {.root = root, .list = &names, .dataset = d, .collect = !classes};
    sg_status st = SG_OK;

    if (!d) return sg_fail(SG_ERR_OOM, "%s: no memory for a data set", list);
    st = sg_list_read(root, list, &names);
    if (st == SG_OK && classes) st = sg_classes_copy(classes, &d->classes);
    if (st == SG_OK) st = read_samples(&r);
    sg_list_clear(&names);
    if (st == SG_OK)
        *out = d;
    else
        sg_dataset_destroy(d);
    return st;
}
