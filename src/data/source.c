/* One interface over the three formats. What differs between them is here and in voc.c, yolo*.c and
 * coco.c alone. */
#include "data/source.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/yolo.h"

const char *sg_object_place(const sg_object *object, char text[SG_OBJECT_TEXT]) {
    text[0] = '\0';
    if (object->line == 0)
        snprintf(text, SG_OBJECT_TEXT, "annotation %lld: ", (long long)object->id);
    return text;
}

/* --- opening ---------------------------------------------------------------------------------- */

static sg_status open_names(sg_source *s, const sg_classes *classes) {
    char *path = sg_path_join(s->place->root, "data.yaml");
    sg_status st;

    if (!path) return sg_fail(SG_ERR_OOM, "data.yaml: no memory for its path");
    if (sg_file_exists(path))
        st = sg_yolo_read_names(path, &s->names);
    else if (classes)
        st = sg_classes_copy(classes, &s->names);
    else
        st = sg_fail(SG_ERR_MISSING,
                     "%s: no such file; write it with the classes' `names`, or set data.classes",
                     path);
    sg_free(path);
    return st;
}

static sg_status open_yolo(sg_source *s, const char *list, const sg_classes *classes) {
    char *path = sg_path_join(s->place->root, list);
    bool folder = path && sg_is_dir(path), there = folder || (path && sg_file_exists(path));
    sg_status st;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory for its path", list);
    if (!there)
        st = sg_fail(SG_ERR_MISSING,
                     "%s: no such list or folder; set data.train=images/train and "
                     "data.val=images/val, or where the pictures are",
                     path);
    else if (folder)
        st = sg_yolo_list_folder(s->place->root, list, &s->sink, &s->list);
    else
        st = sg_list_read(s->place->root, list, &s->list);
    sg_free(path);
    for (int64_t i = 0; i < s->list.n; i++)
        while (strncmp(s->list.entry[i].name, "./", 2) == 0) s->list.entry[i].name += 2;
    return st == SG_OK ? open_names(s, classes) : st;
}

/* `train2017` of `annotations/instances_train2017.json`. */
static char *split_of(const char *list) {
    const char *name = strrchr(list, '/') ? strrchr(list, '/') + 1 : list;
    const char *end = strrchr(name, '.') ? strrchr(name, '.') : name + strlen(name);

    for (const char *p = name; p < end; p++)
        if (*p == '_') name = p + 1;
    return sg_str_printf("%.*s", (int)(end - name), name);
}

static sg_status open_coco(sg_source *s, const char *list) {
    s->list.path = sg_path_join(s->place->root, list);
    s->split = split_of(list);
    if (!s->list.path || !s->split) return sg_fail(SG_ERR_OOM, "%s: no memory for its path", list);
    if (!sg_file_exists(s->list.path))
        return sg_fail(SG_ERR_MISSING,
                       "%s: no such file; set data.train and data.val to COCO's JSON files",
                       s->list.path);
    SG_TRY(sg_coco_read(s->list.path, &s->sink, &s->coco, &s->names));
    s->list.entry = sg_malloc((size_t)s->coco.n_images * sizeof *s->list.entry);
    if (!s->list.entry) return sg_fail(SG_ERR_OOM, "%s: no memory for its images", s->list.path);
    for (; s->list.n < s->coco.n_images; s->list.n++)
        s->list.entry[s->list.n] =
            (sg_list_entry){.name = s->coco.images[s->list.n].file_name, .line = 0};
    return SG_OK;
}

static sg_status open_voc(sg_source *s, const char *list) {
    sg_status st = sg_list_read(s->place->root, list, &s->list);
    char *path;

    if (st != SG_ERR_MISSING) return st;
    path = sg_path_join(s->place->root, list);
    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory for its path", list);
    sg_fail(st,
            "%s: no such list; write it, a picture's name a line, or set data.train and data.val",
            path);
    sg_free(path);
    return st;
}

sg_status sg_source_open(const sg_dataset_place *place, const char *list, const sg_classes *classes,
                         sg_fault_sink sink, sg_source *out) {
    sg_source s = {.place = place, .sink = sink};
    sg_status st = SG_OK;

    switch (place->format) {
    case SG_FORMAT_VOC:
        st = open_voc(&s, list);
        break;
    case SG_FORMAT_YOLO:
        st = open_yolo(&s, list, classes);
        break;
    case SG_FORMAT_COCO:
        st = open_coco(&s, list);
        break;
    }
    if (st == SG_OK)
        *out = s;
    else
        sg_source_close(&s);
    return sg_fault_of_root(st, place->root);
}

void sg_source_close(sg_source *source) {
    sg_list_clear(&source->list);
    sg_classes_clear(&source->names);
    sg_coco_clear(&source->coco);
    sg_free(source->split);
    *source = (sg_source){0};
}

/* --- where things are ------------------------------------------------------------------------- */

enum { kCocoPlaces = 5 };

/* The path of a COCO picture in the place of this number; NULL: no memory. */
static char *coco_path(const sg_source *s, const char *name, int place) {
    const char *images = s->place->images ? s->place->images : "images";
    const char *slash = strrchr(s->list.path, '/');
    char *relative = NULL, *path;

    switch (place) {
    case 0:
        relative = sg_str_printf("%s/%s/%s", images, s->split, name);
        break;
    case 1:
        relative = sg_str_printf("%s/%s", images, name);
        break;
    case 2:
        relative = sg_str_printf("%s/%s", s->split, name);
        break;
    case 3: /* beside the JSON file, whose path has the root in it */
        if (slash) return sg_str_printf("%.*s/%s", (int)(slash - s->list.path), s->list.path, name);
        relative = sg_strdup(name);
        break;
    default:
        relative = sg_strdup(name);
        break;
    }
    path = relative ? sg_path_join(s->place->root, relative) : NULL;
    sg_free(relative);
    return path;
}

/* The first of the places that has the picture. */
static sg_status find_coco_picture(const sg_source *s, const char *name, char **picture) {
    for (int i = *name == '/' ? kCocoPlaces - 1 : 0; i < kCocoPlaces; i++) {
        char *path = coco_path(s, name, i);

        if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory for a path", s->list.path);
        if (sg_file_exists(path)) {
            *picture = path;
            return SG_OK;
        }
        sg_free(path);
    }
    return sg_fail(SG_ERR_MISSING,
                   "%s: picture `%.200s` is not in %.100s, nor beside this file; set data.images",
                   s->list.path, name, s->place->images ? s->place->images : "images");
}

sg_status sg_source_locate(const sg_source *source, int64_t index, char **picture,
                           char **annotation) {
    const sg_list_entry *entry = &source->list.entry[index];
    char *found = NULL, *boxes;

    if (source->place->format == SG_FORMAT_VOC)
        return sg_layout_locate(source->place->root, &source->list, entry, picture, annotation);
    if (source->place->format == SG_FORMAT_YOLO) {
        SG_TRY(sg_layout_picture(source->place->root, &source->list, entry, &found));
        boxes = sg_yolo_label_path(found);
    } else {
        SG_TRY(find_coco_picture(source, entry->name, &found));
        boxes = sg_strdup(source->list.path);
    }
    if (!boxes) {
        sg_free(found);
        return sg_fail(SG_ERR_OOM, "%s: no memory for a path", source->list.path);
    }
    *picture = found;
    *annotation = boxes;
    return SG_OK;
}

/* --- boxes ------------------------------------------------------------------------------------ */

static sg_status take_objects(sg_annotation *a, const char *path, int64_t n) {
    a->objects = sg_malloc((size_t)n * sizeof *a->objects);
    if (!a->objects) return sg_fail(SG_ERR_OOM, "%s: no memory for %lld boxes", path, (long long)n);
    a->n = n;
    return SG_OK;
}

static sg_status read_voc(const char *path, sg_annotation *a) {
    SG_TRY(sg_voc_read(path, &a->voc));
    a->width = a->voc.width;
    a->height = a->voc.height;
    a->size_line = a->voc.size_line;
    SG_TRY(take_objects(a, path, a->voc.n));
    for (int64_t i = 0; i < a->n; i++) {
        const sg_voc_object *from = &a->voc.objects[i];

        a->objects[i] = (sg_object){.name = from->name, .line = from->line};
        memcpy(a->objects[i].box, from->box, sizeof from->box);
    }
    return SG_OK;
}

static sg_status read_yolo(const sg_source *s, const char *path, int64_t width, int64_t height,
                           sg_annotation *a) {
    sg_yolo_box *boxes = NULL;
    int64_t n = 0;
    uint8_t *data;
    size_t size;
    sg_status st = sg_file_check(path);

    if (st == SG_OK) st = sg_file_read(path, SG_YOLO_MAX_BYTES, &data, &size);
    a->missing = st == SG_ERR_MISSING;
    if (a->missing) return SG_OK;
    if (st != SG_OK) return st;
    st = sg_yolo_parse(path, (char *)data, size, width, height, s->names.n, &s->sink, &boxes, &n);
    sg_free(data);
    if (st == SG_OK) st = take_objects(a, path, n);
    for (int64_t i = 0; st == SG_OK && i < n; i++) {
        a->objects[i] =
            (sg_object){.name = s->names.name[boxes[i].category], .line = boxes[i].line};
        memcpy(a->objects[i].box, boxes[i].box, sizeof boxes[i].box);
    }
    sg_free(boxes);
    return st;
}

static sg_status copy_coco(const sg_source *s, int64_t index, const char *path, sg_annotation *a) {
    const sg_coco_image *image = &s->coco.images[index];

    a->width = image->width;
    a->height = image->height;
    SG_TRY(take_objects(a, path, image->count));
    for (int64_t i = 0; i < a->n; i++) {
        const sg_coco_box *from = &s->coco.boxes[image->first + i];

        a->objects[i] = (sg_object){.name = s->names.name[from->category], .id = from->id};
        memcpy(a->objects[i].box, from->box, sizeof from->box);
    }
    return SG_OK;
}

sg_status sg_source_annotation(const sg_source *source, int64_t index, const char *path,
                               int64_t width, int64_t height, sg_annotation *out) {
    sg_annotation a = {0};
    sg_status st = SG_OK;

    switch (source->place->format) {
    case SG_FORMAT_VOC:
        st = read_voc(path, &a);
        break;
    case SG_FORMAT_YOLO:
        st = read_yolo(source, path, width, height, &a);
        break;
    case SG_FORMAT_COCO:
        st = copy_coco(source, index, path, &a);
        break;
    }
    if (st == SG_OK)
        *out = a;
    else
        sg_annotation_clear(&a);
    return st;
}

void sg_annotation_clear(sg_annotation *annotation) {
    sg_free(annotation->objects);
    sg_voc_clear(&annotation->voc);
    *annotation = (sg_annotation){0};
}
