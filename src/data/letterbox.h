/* A picture fitted into a square: aspect kept, centred, SG_IMAGE_MATTE around it.
 *
 *   x_input = x_picture * scale + pad_x      (the same for y)
 *
 * The map is exact: the scale is not rounded to whole pixels, the pads are whole pixels. */
#ifndef SG_DATA_LETTERBOX_H
#define SG_DATA_LETTERBOX_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "data/image.h"
#include "data/warp.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    float scale, pad_x, pad_y;
} sg_letterbox;

/* The map of a width x height picture into a side x side input; all >= 1. */
sg_letterbox sg_letterbox_map(int64_t width, int64_t height, int64_t side);

/* `out`: (3, side, side), red, green, blue planes. Bilinear when enlarging, a triangle filter over
 * all pixels that fall together (area averaging) when shrinking. `map` may be NULL. SG_ERR_OOM. */
sg_status sg_letterbox_image(const sg_image *image, int64_t side, uint8_t *out,
                             sg_letterbox *map) SG_CHECKED;

/* The same with memory that is there already: sg_augment_scratch_bytes(width, height, side). */
void sg_letterbox_fill(const sg_image *image, int64_t side, void *scratch, uint8_t *out,
                       sg_letterbox *map);

/* The same as data, `at` and `kept` zero. */
void sg_letterbox_warp(int64_t width, int64_t height, int64_t side, sg_warp_source *out);

/* Boxes xmin ymin xmax ymax; `box` and `out` may be the same. */
void sg_letterbox_apply(const sg_letterbox *map, const float box[4], float out[4]);
void sg_letterbox_undo(const sg_letterbox *map, const float box[4], float out[4]);

#ifdef __cplusplus
}
#endif
#endif
