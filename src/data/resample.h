/* A picture through an axis-aligned map into part of a planar square. Private to data/.
 *
 * Each axis is a table: which source pixels an output pixel takes, with which weights (a triangle
 * as wide as two source pixels when enlarging, two output pixels when shrinking, so nothing
 * aliases at any scale). Weights are 14-bit integers that sum to exactly one, so the result is the
 * same on every machine. */
#ifndef SG_DATA_RESAMPLE_H
#define SG_DATA_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "data/image.h"
#include "data/warp.h"

/* Scratch for a picture of up to width x height, |scale| >= scale_min on both axes. */
size_t sg_resample_scratch_bytes(int64_t width, int64_t height, int64_t side, double scale_min);

/* Source pixels that an output pixel takes at most. */
int64_t sg_resample_taps(double scale);

/* `out`: (3, side, side). `colour` may be NULL. */
void sg_resample(const sg_image *image, const sg_axis *x, const sg_axis *y, const sg_colour *colour,
                 int64_t side, uint8_t *out, void *scratch);

#endif
