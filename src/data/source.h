/* One list of a data set in any format, opened: which pictures, where they are, what boxes they
 * have. Reader and checker go through it. Private to data/. */
#ifndef SG_DATA_SOURCE_H
#define SG_DATA_SOURCE_H

#include "data/coco.h"
#include "data/dataset.h"
#include "data/layout.h"
#include "data/voc.h"

typedef struct {
    const char *name; /* of the class, borrowed */
    double box[4];    /* xmin ymin xmax ymax, pixels, not clipped */
    int line;         /* in the annotation's file; 0 in COCO's, where `id` says it */
    int64_t id;
} sg_object;

enum { SG_OBJECT_TEXT = 48 };
/* "annotation 17: " or "". Returns `text`. */
const char *sg_object_place(const sg_object *object, char text[SG_OBJECT_TEXT]);

/* The boxes of one picture. */
typedef struct {
    int64_t width, height; /* as annotated; 0: not told */
    int size_line;         /* where that is told */
    int missing;           /* YOLO: there is no label file */
    int64_t n;
    sg_object *objects; /* (n), owned */
    sg_voc voc;         /* holds VOC's names */
} sg_annotation;

typedef struct {
    const sg_dataset_place *place; /* borrowed */
    sg_fault_sink sink;
    sg_list list;
    sg_classes names; /* YOLO's and COCO's own, by their order there; VOC: none */
    sg_coco coco;     /* its images stand as the list's entries */
    char *split;      /* COCO: `train2017` of instances_train2017.json */
} sg_source;

/* `classes`: names from outside, or NULL; YOLO without data.yaml takes them for its numbers.
 * SG_ERR_MISSING, SG_ERR_DATA, SG_ERR_IO, SG_ERR_OOM. */
sg_status sg_source_open(const sg_dataset_place *place, const char *list, const sg_classes *classes,
                         sg_fault_sink sink, sg_source *out) SG_CHECKED;
void sg_source_close(sg_source *source);

/* Where the picture and the file with its boxes are; both strings are the caller's.
 * COCO's FILE_NAME is looked for in IMAGES/SPLIT, IMAGES, SPLIT, the JSON file's own folder and
 * ROOT, in this order, where SPLIT is the JSON file's name behind its last `_`, without `.json`. */
sg_status sg_source_locate(const sg_source *source, int64_t index, char **picture,
                           char **annotation) SG_CHECKED;

/* The boxes of a picture of width x height pixels (YOLO's are told in shares of them). */
sg_status sg_source_annotation(const sg_source *source, int64_t index, const char *path,
                               int64_t width, int64_t height, sg_annotation *out) SG_CHECKED;
void sg_annotation_clear(sg_annotation *annotation);

#endif
