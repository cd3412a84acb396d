/* COCO's JSON through jansson. The tree is walked once; what is kept is small. */
#include "data/coco.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/image.h"

static const double kMaxPixel = 1e7;

typedef struct {
    const char *path;
    const sg_fault_sink *sink;
    sg_coco *coco;
    sg_classes *names;
    json_t *images, *annotations, *categories; /* borrowed from the tree */
} job;

typedef struct {
    int64_t id, index;
} entry;

static int by_id(const void *a, const void *b) {
    const entry *p = a, *q = b;

    if (p->id != q->id) return p->id < q->id ? -1 : 1;
    return p->index < q->index ? -1 : p->index > q->index;
}

/* The index that belongs to `id`; -1: none. */
static int64_t find_id(const entry *sorted, int64_t n, int64_t id) {
    int64_t low = 0, high = n;

    while (low < high) {
        int64_t middle = low + (high - low) / 2;

        if (sorted[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && sorted[low].id == id ? sorted[low].index : -1;
}

/* A text of 1 to SG_COCO_MAX_TEXT bytes without control bytes; else NULL. */
static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    size_t length = text ? strlen(text) : 0;

    if (length == 0 || length > SG_COCO_MAX_TEXT) return NULL;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F) return NULL;
    return text;
}

static int id_of(const json_t *object, const char *key, int64_t *id) {
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value)) return 0;
    *id = json_integer_value(value);
    return 1;
}

/* 0: absent or null; -1: no whole number from 1 to SG_IMAGE_MAX_SIDE. */
static int64_t side_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    double side = json_number_value(value);

    if (!value || json_is_null(value)) return 0;
    if (!json_is_number(value) || !(side >= 1 && side <= SG_IMAGE_MAX_SIDE)) return -1;
    return side == (double)(int64_t)side ? (int64_t)side : -1;
}

/* --- categories ------------------------------------------------------------------------------- */

static sg_status add_category(job *j, const json_t *value, int64_t id) {
    const char *name = text_of(value, "name");
    int known = j->names->n, got;

    if (!name)
        return sg_fail(SG_ERR_DATA, "%s: category %lld: `name` is missing or no usable text",
                       j->path, (long long)id);
    if (sg_classes_find(j->names, name) >= 0)
        return sg_fail(SG_ERR_DATA, "%s: category %lld: `%.100s` is the name of another one too",
                       j->path, (long long)id, name);
    if (known == SG_MAX_CLASSES)
        return sg_fail(SG_ERR_DATA, "%s: more than %d categories", j->path, SG_MAX_CLASSES);
    return sg_classes_intern(j->names, name, 1, &got);
}

/* Sorted by id, their names interned in this order; (n) entries are the caller's. */
static sg_status read_categories(job *j, entry **out) {
    int64_t n = (int64_t)json_array_size(j->categories);
    entry *sorted = sg_malloc((size_t)n * sizeof *sorted);
    sg_status st = SG_OK;

    if (!sorted) return sg_fail(SG_ERR_OOM, "%s: no memory for its categories", j->path);
    for (int64_t i = 0; i < n && st == SG_OK; i++) {
        sorted[i].index = i;
        if (!id_of(json_array_get(j->categories, (size_t)i), "id", &sorted[i].id))
            st = sg_fail(SG_ERR_DATA, "%s: categories[%lld]: `id` is missing or no whole number",
                         j->path, (long long)i);
    }
    if (st == SG_OK) qsort(sorted, (size_t)n, sizeof *sorted, by_id);
    for (int64_t i = 0; i < n && st == SG_OK; i++) {
        if (i > 0 && sorted[i].id == sorted[i - 1].id)
            st = sg_fail(SG_ERR_DATA, "%s: category %lld is there twice", j->path,
                         (long long)sorted[i].id);
        else
            st = add_category(j, json_array_get(j->categories, (size_t)sorted[i].index),
                              sorted[i].id);
        sorted[i].index = i; /* the class */
    }
    if (st == SG_OK)
        *out = sorted;
    else
        sg_free(sorted);
    return st;
}

/* --- images ----------------------------------------------------------------------------------- */

static sg_status add_image(job *j, int64_t index, const json_t *value) {
    sg_coco_image *image = &j->coco->images[j->coco->n_images];
    const char *name = text_of(value, "file_name");
    int64_t id, width = side_of(value, "width"), height = side_of(value, "height");

    if (!id_of(value, "id", &id))
        return sg_fault(j->sink, j->path, 0, "images[%lld]: `id` is missing or no whole number",
                        (long long)index);
    if (!name)
        return sg_fault(j->sink, j->path, 0, "image %lld: `file_name` is missing or no usable text",
                        (long long)id);
    if (width < 0 || height < 0)
        return sg_fault(j->sink, j->path, 0,
                        "image %lld: `%s` is no whole number of pixels from 1 to %d", (long long)id,
                        width < 0 ? "width" : "height", SG_IMAGE_MAX_SIDE);
    *image = (sg_coco_image){.id = id, .file_name = sg_strdup(name)};
    if (!image->file_name) return sg_fail(SG_ERR_OOM, "%s: no memory for a name", j->path);
    if (width && height) {
        image->width = width;
        image->height = height;
    }
    j->coco->n_images++;
    return SG_OK;
}

/* Sorted by id; the caller's. */
static sg_status read_images(job *j, entry **out) {
    size_t n = json_array_size(j->images);
    entry *sorted = sg_malloc(n * sizeof *sorted);
    sg_status st = SG_OK;

    j->coco->images = sg_malloc(n * sizeof *j->coco->images);
    if (!sorted || !j->coco->images)
        st = sg_fail(SG_ERR_OOM, "%s: no memory for %zu images", j->path, n);
    for (size_t i = 0; i < n && st == SG_OK; i++)
        st = add_image(j, (int64_t)i, json_array_get(j->images, i));
    if (st == SG_OK) {
        int64_t kept = j->coco->n_images;

        for (int64_t i = 0; i < kept; i++)
            sorted[i] = (entry){.id = j->coco->images[i].id, .index = i};
        qsort(sorted, (size_t)kept, sizeof *sorted, by_id);
        for (int64_t i = 1; i < kept && st == SG_OK; i++)
            if (sorted[i].id == sorted[i - 1].id)
                st = sg_fault(j->sink, j->path, 0, "image %lld is there twice",
                              (long long)sorted[i].id);
    }
    if (st == SG_OK)
        *out = sorted;
    else
        sg_free(sorted);
    return st;
}

/* --- annotations ------------------------------------------------------------------------------ */

/* 1: four finite numbers within reach. */
static int read_bbox(const json_t *bbox, double box[4]) {
    double v[4];

    if (json_array_size(bbox) != 4) return 0;
    for (size_t i = 0; i < 4; i++) {
        const json_t *number = json_array_get(bbox, i);

        v[i] = json_number_value(number);
        if (!json_is_number(number) || !(v[i] >= -kMaxPixel && v[i] <= kMaxPixel)) return 0;
    }
    box[0] = v[0];
    box[1] = v[1];
    box[2] = v[0] + v[2];
    box[3] = v[1] + v[3];
    return 1;
}

typedef struct {
    const entry *images, *categories;
} lookup;

static sg_status add_box(job *j, const lookup *ids, int64_t index, const json_t *value) {
    const json_t *crowd = json_object_get(value, "iscrowd"), *bbox = json_object_get(value, "bbox");
    sg_coco_box *box = &j->coco->boxes[j->coco->n_boxes];
    int64_t id, image_id, category_id, category;

    if (!id_of(value, "id", &id))
        return sg_fault(j->sink, j->path, 0,
                        "annotations[%lld]: `id` is missing or no whole number", (long long)index);
    if (!id_of(value, "image_id", &image_id) || !id_of(value, "category_id", &category_id))
        return sg_fault(
            j->sink, j->path, 0,
            "annotation %lld: `image_id` or `category_id` is missing or no whole number",
            (long long)id);
    if (crowd && !json_is_boolean(crowd) && !json_is_integer(crowd))
        return sg_fault(j->sink, j->path, 0, "annotation %lld: `iscrowd` is neither 0 nor 1",
                        (long long)id);
    if (json_is_true(crowd) || json_integer_value(crowd) != 0) {
        j->coco->n_crowd++;
        return SG_OK;
    }
    *box = (sg_coco_box){.id = id, .image = find_id(ids->images, j->coco->n_images, image_id)};
    category = find_id(ids->categories, j->names->n, category_id);
    box->category = (int)category;
    if (box->image < 0)
        return sg_fault(j->sink, j->path, 0, "annotation %lld: there is no image %lld",
                        (long long)id, (long long)image_id);
    if (category < 0)
        return sg_fault(j->sink, j->path, 0, "annotation %lld: there is no category %lld",
                        (long long)id, (long long)category_id);
    if (!read_bbox(bbox, box->box))
        return sg_fault(j->sink, j->path, 0,
                        "annotation %lld: `bbox` must be four numbers: x, y, width, height in "
                        "pixels",
                        (long long)id);
    j->coco->n_boxes++;
    return SG_OK;
}

static sg_status refuse_twins(job *j) {
    int64_t n = j->coco->n_boxes;
    entry *sorted = sg_malloc((size_t)n * sizeof *sorted);
    sg_status st = SG_OK;

    if (!sorted) return sg_fail(SG_ERR_OOM, "%s: no memory for %lld ids", j->path, (long long)n);
    for (int64_t i = 0; i < n; i++) sorted[i] = (entry){.id = j->coco->boxes[i].id, .index = i};
    qsort(sorted, (size_t)n, sizeof *sorted, by_id);
    for (int64_t i = 1; i < n && st == SG_OK; i++)
        if (sorted[i].id == sorted[i - 1].id)
            st = sg_fault(j->sink, j->path, 0, "annotation %lld is there twice",
                          (long long)sorted[i].id);
    sg_free(sorted);
    return st;
}

/* Boxes of a picture side by side, in the file's order: a counting sort. */
static sg_status group_boxes(job *j) {
    sg_coco *c = j->coco;
    sg_coco_box *grouped = sg_malloc((size_t)c->n_boxes * sizeof *grouped);
    int64_t first = 0;

    if (!grouped)
        return sg_fail(SG_ERR_OOM, "%s: no memory for %lld boxes", j->path, (long long)c->n_boxes);
    for (int64_t i = 0; i < c->n_boxes; i++) c->images[c->boxes[i].image].count++;
    for (int64_t i = 0; i < c->n_images; i++) {
        c->images[i].first = first;
        first += c->images[i].count;
        c->images[i].count = 0;
    }
    for (int64_t i = 0; i < c->n_boxes; i++) {
        sg_coco_image *image = &c->images[c->boxes[i].image];

        grouped[image->first + image->count++] = c->boxes[i];
    }
    sg_free(c->boxes);
    c->boxes = grouped;
    return SG_OK;
}

static sg_status read_boxes(job *j, const lookup *ids) {
    size_t n = json_array_size(j->annotations);

    j->coco->boxes = sg_malloc(n * sizeof *j->coco->boxes);
    if (!j->coco->boxes) return sg_fail(SG_ERR_OOM, "%s: no memory for %zu boxes", j->path, n);
    for (size_t i = 0; i < n; i++)
        SG_TRY(add_box(j, ids, (int64_t)i, json_array_get(j->annotations, i)));
    SG_TRY(refuse_twins(j));
    return group_boxes(j);
}

/* --- the file --------------------------------------------------------------------------------- */

static sg_status find_arrays(job *j, const json_t *tree) {
    const struct {
        const char *key;
        json_t **array;
    } wanted[] = {
        {"images", &j->images}, {"annotations", &j->annotations}, {"categories", &j->categories}};

    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        *wanted[i].array = json_object_get(tree, wanted[i].key);
        if (!json_is_array(*wanted[i].array))
            return sg_fail(SG_ERR_DATA, "%s: no COCO file: it has no list `%s`", j->path,
                           wanted[i].key);
    }
    return SG_OK;
}

static sg_status read_tree(job *j, const json_t *tree) {
    entry *images = NULL, *categories = NULL;
    sg_status st = find_arrays(j, tree);

    if (st == SG_OK) st = read_categories(j, &categories);
    if (st == SG_OK) st = read_images(j, &images);
    if (st == SG_OK) st = read_boxes(j, &(lookup){.images = images, .categories = categories});
    sg_free(images);
    sg_free(categories);
    return st;
}

sg_status sg_coco_parse(const char *path, const char *text, size_t size, const sg_fault_sink *sink,
                        sg_coco *out, sg_classes *names) {
    sg_coco coco = {0};
    sg_classes found = {0};
    job j = {.path = path, .sink = sink, .coco = &coco, .names = &found};
    json_error_t error;
    json_t *tree = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    sg_status st;

    if (tree)
        st = read_tree(&j, tree);
    else if (json_error_code(&error) == json_error_out_of_memory)
        st = sg_fail(SG_ERR_OOM, "%s: no memory to read it", path);
    else
        st = sg_fail_at(SG_ERR_DATA, path, error.line, "no valid JSON: %s", error.text);
    json_decref(tree);
    if (st == SG_OK) {
        *out = coco;
        *names = found;
    } else {
        sg_coco_clear(&coco);
        sg_classes_clear(&found);
    }
    return st;
}

sg_status sg_coco_read(const char *path, const sg_fault_sink *sink, sg_coco *out,
                       sg_classes *names) {
    uint8_t *data;
    size_t size;
    sg_status st;

    SG_TRY(sg_file_check(path));
    SG_TRY(sg_file_read(path, SG_COCO_MAX_BYTES, &data, &size));
    st = sg_coco_parse(path, (const char *)data, size, sink, out, names);
    sg_free(data);
    return st;
}

void sg_coco_clear(sg_coco *coco) {
    for (int64_t i = 0; i < coco->n_images; i++) sg_free(coco->images[i].file_name);
    sg_free(coco->images);
    sg_free(coco->boxes);
    *coco = (sg_coco){0};
}
