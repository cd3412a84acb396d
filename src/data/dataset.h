/* A detector's data set: pictures, their sizes, their boxes and the names of the classes.
 *
 * A reader fills one `sg_dataset`; nothing after it knows which format the boxes came from.
 * Pictures themselves are not read here, only their headers.
 *
 * VOC   ROOT/LIST              one NAME a line (`a/b`), or a picture's path (`a/b.jpg`,
 *                              `images/a/b.jpg`); CRLF is fine, empty lines are skipped
 *       ROOT/images/NAME.png   or .jpg, .jpeg
 *       ROOT/annotations/NAME.xml
 * YOLO  ROOT/LIST              a list as above, or a folder of pictures (`images/train`)
 *       ROOT/labels/NAME.txt   for ROOT/images/NAME.jpg: `class cx cy w h` a line, shares of the
 *                              picture's width and height; no such file: no boxes
 *       ROOT/data.yaml         names of the classes (yolo.h); may be missing where they are
 *                              given
 * COCO  ROOT/LIST              one JSON file: images, annotations with bbox, categories (coco.h)
 *       ROOT/IMAGES/FILE_NAME  and where else pictures are looked for: source.h
 *
 * Coordinates are taken as they are written: pixels, 0-based, half-open, so a box is
 * (xmax - xmin) wide. Boxes are clipped to their picture. */
#ifndef SG_DATA_DATASET_H
#define SG_DATA_DATASET_H

#include <stdint.h>

#include "core/status.h"
#include "data/classes.h"
#include "data/fault.h"
#include "data/fingerprint.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_MAX_BOXES = 128, /* of one input picture, after augmentation */
};

typedef struct {
    char *name;             /* as in the list, owned */
    char *path;             /* of the picture, owned */
    int64_t width, height;  /* pixels, of the picture upright */
    const float *boxes;     /* (count, 4) xmin ymin xmax ymax, pixels of the picture; borrowed */
    const int32_t *classes; /* (count), borrowed */
    int64_t count;          /* of boxes; may be 0, and may exceed SG_MAX_BOXES */
} sg_sample;

typedef struct {
    char *list; /* path of the list file, for messages; owned */
    sg_classes classes;
    int64_t n;          /* samples, at least 1 */
    sg_sample *samples; /* (n), in the list's order, owned */
    int64_t n_boxes;
    float *boxes;                              /* (n_boxes, 4) of all samples, owned */
    int32_t *box_classes;                      /* (n_boxes), owned */
    int64_t n_clipped;                         /* boxes that reached out of their picture */
    int64_t n_crowd;                           /* COCO: iscrowd boxes, left out */
    int64_t n_unlabelled;                      /* YOLO: pictures without a label file */
    int64_t width_max, height_max, pixels_max; /* over the samples, each on its own */
} sg_dataset;

typedef enum { SG_FORMAT_VOC, SG_FORMAT_YOLO, SG_FORMAT_COCO } sg_data_format;

typedef struct {
    sg_data_format format;
    const char *root;   /* folder of the data set, borrowed */
    const char *images; /* COCO: folder of the pictures in it, borrowed; NULL: "images" */
} sg_dataset_place;

/* Read the list `list` (relative to the root) with its annotations and the pictures' headers.
 * `classes`: the names, or NULL for those of the data set (for the training list; the validation
 * list is given the training set's): VOC's that occur, sorted by their bytes; those of YOLO's
 * data.yaml, in its order; COCO's categories in the order of their ids. `*out` is the caller's and
 * keeps no reference to `classes`.
 * The first fault ends it, with file and line (COCO: file and id): SG_ERR_MISSING (list, picture,
 * annotation), SG_ERR_DATA (empty list, repeated name, broken file, unknown class, box without area
 * or wholly outside, picture that is no PNG or JPEG or of another size than annotated), SG_ERR_OOM.
 */
sg_status sg_dataset_read(const sg_dataset_place *place, const char *list,
                          const sg_classes *classes, sg_dataset **out) SG_CHECKED;
/* The same for VOC. */
sg_status sg_dataset_read_voc(const char *root, const char *list, const sg_classes *classes,
                              sg_dataset **out) SG_CHECKED;
void sg_dataset_destroy(sg_dataset *dataset); /* NULL is fine */

/* SHA-256, in hex, over class names, sample names, sizes and boxes. Neither paths nor pixels enter,
 * so it is the same on every machine that has the same data set. */
sg_status sg_dataset_fingerprint(const sg_dataset *dataset,
                                 char hex[SG_FINGERPRINT_BYTES]) SG_CHECKED;

typedef struct {
    int64_t pictures, boxes; /* listed pictures; boxes that could be read */
    int64_t errors, warnings;
} sg_check_summary;

/* Look at everything in `lists` (n_lists names relative to the root, training list first) and
 * report EVERY fault: missing or undecodable pictures (each is decoded), missing or broken
 * annotations, a size unlike the picture's, boxes reaching outside, wholly outside, without area or
 * written twice, unknown classes, more than SG_MAX_BOXES boxes, empty lists, names twice in a list
 * or in two lists, pictures with the same pixels, and, where a list is a folder, label files whose
 * picture is not there. `classes` as above; NULL: the classes of the first list. Fails only when it
 * cannot go on (SG_ERR_OOM). `report` may be NULL. *table: lines for people, boxes of each class in
 * each list; the caller's (sg_free); `table` may be NULL. */
sg_status sg_dataset_check(const sg_dataset_place *place, const char *const *lists, int n_lists,
                           const sg_classes *classes, sg_fault_fn report, void *context,
                           sg_check_summary *summary, char **table) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
