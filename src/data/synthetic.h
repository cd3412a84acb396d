/* The embedded data set: people in scenes, drawn. So `make demo` and the tests need no download.
 *
 * Three classes that differ only by the mask: over nose and mouth (with_mask), none
 * (without_mask), or under the nose, on the chin or hanging at one ear (mask_weared_incorrect).
 * A picture is a function of (seed, split, index) alone: the same bytes on every machine, and the
 * validation part does not change with the size of the training part.
 * datasets/README.md tells what is drawn. */
#ifndef SG_DATA_SYNTHETIC_H
#define SG_DATA_SYNTHETIC_H

#include <stdint.h>

#include "core/status.h"
#include "data/image.h"

enum {
    SG_SYNTHETIC_CLASSES = 3,
    SG_SYNTHETIC_MAX_FACES = 12,
    SG_SYNTHETIC_SIDE = 400, /* pixels of the longest side of the default's pictures */
    SG_SYNTHETIC_SIDE_MIN = 160,
};

/* with_mask, without_mask, mask_weared_incorrect. */
extern const char *const sg_synthetic_class[SG_SYNTHETIC_CLASSES];

typedef struct {
    uint64_t seed;
    int64_t n_train, n_val; /* pictures, 0 .. 1,000,000 each, at least one in all */
    int side; /* the longest of all pictures, SG_SYNTHETIC_SIDE_MIN .. SG_SYNTHETIC_SIDE; 0: the
                 latter. Smaller pictures hold fewer and no smaller people: quicker to learn */
} sg_synthetic_options;

/* seed 1, 320 + 80 pictures of full size. */
sg_synthetic_options sg_synthetic_defaults(void);

/* Make the folder `root`: images/NAME.png, annotations/NAME.xml, train.txt, val.txt (the layout of
 * datasets/README.md). It is drawn into a folder beside it, of a temporary name (core/temporary.h),
 * and renamed when all is on the disk, so `root` is whole or not there; of several processes at
 * once, on one machine or several, one wins and the others use its folder. If `root` holds a data
 * set already, nothing is drawn. One line is logged. SG_ERR_ARG (counts), SG_ERR_IO (no permission,
 * disk full, `root` is something else), SG_ERR_OOM. */
sg_status sg_synthetic_make(const char *root, const sg_synthetic_options *options) SG_CHECKED;

typedef struct {
    int label;                  /* index into sg_synthetic_class */
    int xmin, ymin, xmax, ymax; /* pixels; 0 <= xmin < xmax <= width: xmax, ymax just outside */
} sg_synthetic_face;

/* One picture in memory, as sg_synthetic_make would write it. */
typedef struct {
    sg_image image; /* owned */
    int n_faces;    /* 1 .. SG_SYNTHETIC_MAX_FACES */
    sg_synthetic_face face[SG_SYNTHETIC_MAX_FACES];
    int16_t *owner; /* (height, width): 1 + index of the face seen at the pixel, or 0; owned */
} sg_synthetic_scene;

/* `side` as above; `split` is "train" or "val" (any name gives pictures of its own).
 * SG_ERR_ARG, SG_ERR_OOM. */
sg_status sg_synthetic_draw(uint64_t seed, int side, const char *split, int64_t index,
                            sg_synthetic_scene *out) SG_CHECKED;
void sg_synthetic_scene_clear(sg_synthetic_scene *scene);

#endif
