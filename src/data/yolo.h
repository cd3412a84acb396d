/* YOLO's files as ultralytics lays them out: label files, folders of pictures instead of lists, and
 * the names in data.yaml. Private to data/. */
#ifndef SG_DATA_YOLO_H
#define SG_DATA_YOLO_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "data/dataset.h"
#include "data/layout.h"

enum {
    SG_YOLO_MAX_BYTES = 16 << 20,
    SG_YOLO_MAX_BOXES = 65536,
    SG_YOLO_MAX_DEPTH = 16, /* folders in folders */
};

typedef struct {
    int category;  /* 0 .. n_classes - 1 */
    double box[4]; /* xmin ymin xmax ymax, pixels */
    int line;
} sg_yolo_box;

/* Both parsers need a NUL behind the text (sg_file_read puts it there); labels are cut into lines
 * in place. `class cx cy w h` a line, shares of `width` and `height` pixels, each 0 .. 1 (1.01 is
 * let pass); a box that reaches out by less than half a pixel is rounding and ends at the border.
 * `*boxes` is the caller's (sg_free). SG_ERR_DATA with path and line, SG_ERR_OOM; lines at fault go
 * to `sink`.
 */
sg_status sg_yolo_parse(const char *path, char *text, size_t size, int64_t width, int64_t height,
                        int n_classes, const sg_fault_sink *sink, sg_yolo_box **boxes,
                        int64_t *n) SG_CHECKED;

/* All pictures in the folder ROOT/NAME and below, sorted by their names' bytes; an entry is
 * NAME/..., its line 0. */
sg_status sg_yolo_list_folder(const char *root, const char *name, const sg_fault_sink *sink,
                              sg_list *out) SG_CHECKED;
/* Label files below the labels' folder of `list`, a folder's, that belong to none of its pictures:
 * each is a warning. */
sg_status sg_yolo_find_orphans(const char *root, const sg_list *list, const char *name,
                               const sg_fault_sink *sink) SG_CHECKED;

/* .../images/a/b.jpg -> .../labels/a/b.txt (the last folder `images`; where there is none, the
 * label file stands beside the picture). The caller's; NULL: no memory. */
char *sg_yolo_label_path(const char *picture);

/* The names of a data.yaml: `names: [a, b]`, or `names:` followed by `- a` or `0: a` lines, or
 * `names: {0: a, 1: b}`; quoted or not. All else in the file is skipped. SG_ERR_DATA with line. */
sg_status sg_yolo_parse_names(const char *path, char *text, size_t size,
                              sg_classes *out) SG_CHECKED;
sg_status sg_yolo_read_names(const char *path, sg_classes *out) SG_CHECKED;

#endif
