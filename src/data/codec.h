/* What image.c asks of the two formats. Private to data/. */
#ifndef SG_DATA_CODEC_H
#define SG_DATA_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "data/image.h"

enum { SG_JPEG_MAX_SCANS = 500 }; /* a progressive file of more is an attack, not a picture */

int sg_png_is(const uint8_t *data, size_t size);
int sg_jpeg_is(const uint8_t *data, size_t size);

/* From the header, limits checked; upright. Of a PNG the data may end before the pixels. */
sg_status sg_png_size(const char *path, const uint8_t *data, size_t size, int64_t *width,
                      int64_t *height) SG_CHECKED;
sg_status sg_jpeg_size(const char *path, const uint8_t *data, size_t size, int64_t *width,
                       int64_t *height) SG_CHECKED;

/* image->rgb is there, for the size that the header gives; for the JPEG divided by `shrink`,
 * rounded up. */
sg_status sg_png_decode(const char *path, const uint8_t *data, size_t size,
                        sg_image *image) SG_CHECKED;
sg_status sg_jpeg_decode(const char *path, const uint8_t *data, size_t size, int shrink,
                         sg_image *image) SG_CHECKED;

/* Tag 0x0112 of the first directory of TIFF's, which EXIF is: 1 .. 8, from 5 on lying on its side;
 * 1 (upright) where anything is not as it should be. */
int sg_exif_orientation(const uint8_t *tiff, size_t bytes);
/* What a PNG's eXIf says, if it stands before the pixels; 0: the bytes end before it is known. */
int sg_png_orientation(const uint8_t *data, size_t size);

/* Where pixel (x, y) of the file goes upright: origin + x * step_x + y * step_y, in pixels. */
typedef struct {
    int64_t origin, step_x, step_y;
} sg_placement;

/* W, H: of the file. */
sg_placement sg_placement_of(int orientation, int64_t W, int64_t H);
/* Row y of the file, (W, 3), into the upright picture. */
void sg_place_row(const sg_placement *placement, int64_t y, const uint8_t *row, int64_t W,
                  uint8_t *rgb);

/* SG_ERR_DATA when a picture of this size is over the limits of image.h. */
sg_status sg_image_check_size(const char *path, int64_t width, int64_t height) SG_CHECKED;

#endif
