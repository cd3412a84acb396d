/* COCO's JSON: images (id, file_name, width, height), annotations (id, image_id, category_id, bbox
 * = x y width height in pixels, iscrowd) and categories (id, name). Everything else is ignored. */
#ifndef SG_DATA_COCO_H
#define SG_DATA_COCO_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "data/dataset.h"
#include "data/layout.h"

enum {
    SG_COCO_MAX_BYTES = 1 << 30, /* instances_train2017.json has 448 MB */
    SG_COCO_MAX_TEXT = 1024,     /* bytes of a name */
};

typedef struct {
    int64_t id;
    char *file_name;       /* owned */
    int64_t width, height; /* 0: not told */
    int64_t first, count;  /* its boxes */
} sg_coco_image;

typedef struct {
    int64_t id, image; /* the annotation's own id; index of its picture */
    int category;      /* index into the names */
    double box[4];     /* xmin ymin xmax ymax, not clipped */
} sg_coco_box;

typedef struct {
    int64_t n_images, n_boxes, n_crowd; /* iscrowd: counted and left out */
    sg_coco_image *images;              /* (n_images), in the file's order; owned */
    sg_coco_box *boxes;                 /* (n_boxes), by picture, then in the file's order; owned */
} sg_coco;

/* Names go to `names`, in the order of their ids. SG_ERR_DATA with `path: reason`, or
 * `path: annotation 17: reason`, or with the line where the text is no JSON (nested deeper than
 * 2048 it is none); SG_ERR_MISSING, SG_ERR_IO, SG_ERR_OOM. Faults of one image or annotation go to
 * `sink`. */
sg_status sg_coco_read(const char *path, const sg_fault_sink *sink, sg_coco *out,
                       sg_classes *names) SG_CHECKED;
sg_status sg_coco_parse(const char *path, const char *text, size_t size, const sg_fault_sink *sink,
                        sg_coco *out, sg_classes *names) SG_CHECKED;
void sg_coco_clear(sg_coco *coco);

#endif
