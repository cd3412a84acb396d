/* A data set on disk, as the reader and the checker both see it: lists, where files are, and one
 * picture's boxes, whatever the format. Private to data/. */
#ifndef SG_DATA_LAYOUT_H
#define SG_DATA_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "data/dataset.h"
#include "data/fault.h"

typedef struct {
    const char *name; /* borrowed from the list's text */
    int line;         /* 0 where the list is a folder or a COCO file */
} sg_list_entry;

typedef struct {
    char *path;           /* owned */
    char *text;           /* the file, cut into lines; owned */
    int64_t n;            /* may be 0 */
    sg_list_entry *entry; /* (n), owned */
} sg_list;

/* SG_ERR_MISSING, SG_ERR_IO, SG_ERR_OOM, SG_ERR_DATA (too large, a control byte in a line). */
sg_status sg_list_read(const char *root, const char *name, sg_list *out) SG_CHECKED;
/* Cut `text`, which gets NULs (text[size] is written too), into `list->entry`; `list->path` is for
 * messages. SG_ERR_OOM, SG_ERR_DATA (a control byte). */
sg_status sg_list_cut(sg_list *list, char *text, size_t size) SG_CHECKED;
void sg_list_clear(sg_list *list);

/* Length of `name` without a picture's suffix (.png, .jpg, .jpeg). */
size_t sg_layout_stem(const char *name);

/* images/a/b.png -> ROOT/annotations/a/b.xml; of an absolute path the last folder `images` is
 * replaced. The caller's; NULL: no memory. */
char *sg_layout_annotation(const char *root, const char *name);

/* Where the picture and the VOC annotation of a list's line are. Both strings are the caller's.
 * SG_ERR_MISSING, naming list and line, when there is no such picture. */
sg_status sg_layout_locate(const char *root, const sg_list *list, const sg_list_entry *entry,
                           char **picture, char **annotation) SG_CHECKED;
sg_status sg_layout_picture(const char *root, const sg_list *list, const sg_list_entry *entry,
                            char **picture) SG_CHECKED;

typedef enum { SG_BOX_INSIDE, SG_BOX_CLIPPED, SG_BOX_OUTSIDE, SG_BOX_EMPTY } sg_box_verdict;

/* Clip `box` (as written) to the picture; `out` is set in the first two cases alone. */
sg_box_verdict sg_box_clip(const double box[4], int64_t width, int64_t height, float out[4]);

#endif
