/* The reader: an opened list -> pictures' headers and their boxes -> one sg_dataset. */
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "data/dataset.h"
#include "data/image.h"
#include "data/source.h"

enum { kFirstBoxes = 256, kBlock = 1024, kThreads = 8 };

/* What a thread has read of one picture. */
typedef struct {
    sg_annotation annotation; /* owned, as all of it */
    char *path;               /* the annotation's; NULL where it has no file of its own */
    sg_status status;
    char *error; /* text of a failure */
} found;

typedef struct {
    const sg_source *source;
    const sg_list *list; /* the source's */
    sg_dataset *dataset;
    int collect; /* class names are collected, not given */
    int64_t capacity;
    found *found; /* of the samples from `begin` on */
    int64_t begin;
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

static sg_status add_box(reader *r, const char *path, const sg_object *object,
                         const sg_sample *sample) {
    sg_dataset *d = r->dataset;
    const double *b = object->box;
    char place[SG_OBJECT_TEXT];
    int id;

    sg_object_place(object, place);
    switch (sg_box_clip(b, sample->width, sample->height, d->boxes + 4 * d->n_boxes)) {
    case SG_BOX_EMPTY:
        return sg_fail_at(SG_ERR_DATA, path, object->line, "%sthe box (%g %g %g %g) has no area",
                          place, b[0], b[1], b[2], b[3]);
    case SG_BOX_OUTSIDE:
        return sg_fail_at(SG_ERR_DATA, path, object->line,
                          "%sthe box (%g %g %g %g) is outside of the picture (%lld x %lld)", place,
                          b[0], b[1], b[2], b[3], (long long)sample->width,
                          (long long)sample->height);
    case SG_BOX_CLIPPED:
        d->n_clipped++;
        break;
    case SG_BOX_INSIDE:
        break;
    }
    SG_TRY(sg_classes_intern(&d->classes, object->name, r->collect, &id));
    if (id < 0)
        return sg_fail_at(SG_ERR_DATA, path, object->line, "%sunknown class `%.100s`", place,
                          object->name);
    d->box_classes[d->n_boxes++] = id;
    return SG_OK;
}

/* --- one picture, in any thread --------------------------------------------------------------- */

static sg_status read_files(const reader *r, int64_t index, sg_sample *sample, found *f) {
    const sg_annotation *a = &f->annotation;

    sample->name = sg_strdup(r->list->entry[index].name);
    if (!sample->name) return sg_fail(SG_ERR_OOM, "%s: no memory for a name", r->list->path);
    SG_TRY(sg_source_locate(r->source, index, &sample->path, &f->path));
    SG_TRY(sg_image_size(sample->path, &sample->width, &sample->height));
    SG_TRY(sg_source_annotation(r->source, index, f->path, sample->width, sample->height,
                                &f->annotation));
    if (a->width && a->height && (a->width != sample->width || a->height != sample->height))
        return sg_fail_at(SG_ERR_DATA, f->path, a->size_line,
                          "says %lld x %lld pixels, but %s has %lld x %lld", (long long)a->width,
                          (long long)a->height, sample->path, (long long)sample->width,
                          (long long)sample->height);
    return SG_OK;
}

/* A fault is kept with its text: of several, the first in the list is told. */
static sg_status find_sample(void *context, int64_t i, int worker) {
    reader *r = context;
    found *f = &r->found[i];

    (void)worker;
    f->status = read_files(r, r->begin + i, &r->dataset->samples[r->begin + i], f);
    if (f->status == SG_OK) return SG_OK;
    f->error = sg_strdup(sg_last_error());
    return SG_OK;
}

/* --- all of them, in order -------------------------------------------------------------------- */

static sg_status add_sample(reader *r, const found *f, sg_sample *sample) {
    const sg_annotation *a = &f->annotation;

    if (f->status != SG_OK)
        return sg_fail(f->status, "%s", f->error ? f->error : "no memory for an error's text");
    SG_TRY(grow_boxes(r, a->n));
    for (int64_t i = 0; i < a->n; i++) SG_TRY(add_box(r, f->path, &a->objects[i], sample));
    sample->count = a->n;
    r->dataset->n_unlabelled += a->missing;
    return SG_OK;
}

static void found_clear(found *f) {
    sg_annotation_clear(&f->annotation);
    sg_free(f->path);
    sg_free(f->error);
    memset(f, 0, sizeof *f);
}

static sg_status add_samples(reader *r, sg_pool *pool, found *block) {
    sg_dataset *d = r->dataset;

    r->found = block;
    for (r->begin = 0; r->begin < d->n; r->begin += kBlock) {
        int64_t n = d->n - r->begin < kBlock ? d->n - r->begin : kBlock;
        sg_status st = sg_pool_run(pool, n, find_sample, r);

        for (int64_t i = 0; i < n; i++) {
            if (st == SG_OK) st = add_sample(r, &block[i], &d->samples[r->begin + i]);
            found_clear(&block[i]);
        }
        SG_TRY(st);
    }
    return SG_OK;
}

/* Opening files takes longer than reading them. */
static sg_status read_side_by_side(reader *r) {
    int threads = sg_cpu_count() < kThreads ? sg_cpu_count() : kThreads;
    found *block = sg_calloc(kBlock, sizeof *block);
    sg_pool *pool = NULL;
    sg_status st;

    if (!block) return sg_fail(SG_ERR_OOM, "%s: no memory to read it", r->list->path);
    st = sg_pool_create(threads, NULL, &pool);
    if (st == SG_OK) st = add_samples(r, pool, block);
    sg_pool_destroy(pool);
    sg_free(block);
    return st;
}

typedef struct {
    const char *path;
    int line;
} listed;

static int by_path(const void *a, const void *b) {
    const listed *p = a, *q = b;
    int order = strcmp(p->path, q->path);

    return order ? order : p->line - q->line;
}

static sg_status refuse_repeats(const reader *r) {
    const sg_list *list = r->list;
    listed *sorted = sg_malloc((size_t)list->n * sizeof *sorted);
    int64_t second = 0; /* of a pair */

    if (!sorted) return sg_fail(SG_ERR_OOM, "%s: no memory to sort it", list->path);
    for (int64_t i = 0; i < list->n; i++)
        sorted[i] = (listed){.path = r->dataset->samples[i].path, .line = list->entry[i].line};
    qsort(sorted, (size_t)list->n, sizeof *sorted, by_path);
    for (int64_t i = 1; i < list->n; i++)
        if (strcmp(sorted[i].path, sorted[i - 1].path) == 0 &&
            (!second || sorted[i].line < sorted[second].line))
            second = i;
    if (second && sorted[second].line)
        (void)sg_fail(SG_ERR_DATA, "%s:%d: the same picture as line %d (%s); delete one",
                      list->path, sorted[second].line, sorted[second - 1].line,
                      sorted[second].path);
    else if (second)
        (void)sg_fail(SG_ERR_DATA, "%s: lists %s twice; delete one", list->path,
                      sorted[second].path);
    sg_free(sorted);
    return second ? SG_ERR_DATA : SG_OK;
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

/* Faults that only the whole shows. */
static sg_status check_whole(const reader *r) {
    const sg_dataset *d = r->dataset;

    SG_TRY(refuse_repeats(r));
    if (r->collect && d->classes.n == 0)
        return sg_fail(SG_ERR_DATA, "%s: no picture of it has a box; set data.classes=NAME,NAME",
                       d->list);
    if (r->source->place->format == SG_FORMAT_YOLO && d->n_unlabelled == d->n)
        return sg_fail(SG_ERR_MISSING,
                       "%s: no picture of it has a label file; for .../images/NAME.jpg it is "
                       ".../labels/NAME.txt",
                       d->list);
    if (d->n_unlabelled)
        sg_log(SG_LOG_INFO, "%s: %lld of %lld pictures have no label file, hence no boxes", d->list,
               (long long)d->n_unlabelled, (long long)d->n);
    if (d->n_crowd)
        sg_log(SG_LOG_INFO, "%s: %lld iscrowd boxes are left out", d->list, (long long)d->n_crowd);
    return SG_OK;
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
    d->n_crowd = r->source->coco.n_crowd;
    SG_TRY(read_side_by_side(r));
    SG_TRY(check_whole(r));
    if (r->collect) SG_TRY(sort_classes(d));
    point_samples(d);
    return SG_OK;
}

sg_status sg_dataset_read(const sg_dataset_place *place, const char *list,
                          const sg_classes *classes, sg_dataset **out) {
    sg_source source = {0};
    sg_dataset *d = sg_calloc(1, sizeof *d);
    reader r = {.source = &source, .list = &source.list, .dataset = d};
    sg_status st;

    if (!d) return sg_fail(SG_ERR_OOM, "%s: no memory for a data set", list);
    st = sg_source_open(place, list, classes, (sg_fault_sink){0}, &source);
    /* VOC tells its classes in the annotations only */
    r.collect = !classes && place->format == SG_FORMAT_VOC;
    if (st == SG_OK && !r.collect)
        st = sg_classes_copy(classes ? classes : &source.names, &d->classes);
    if (st == SG_OK) st = read_samples(&r);
    sg_source_close(&source);
    if (st == SG_OK)
        *out = d;
    else
        sg_dataset_destroy(d);
    return st;
}

sg_status sg_dataset_read_voc(const char *root, const char *list, const sg_classes *classes,
                              sg_dataset **out) {
    sg_dataset_place place = {.format = SG_FORMAT_VOC, .root = root};

    return sg_dataset_read(&place, list, classes, out);
}
