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

/* From the header, limits checked. */
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

/* SG_ERR_DATA when a picture of this size is over the limits of image.h. */
sg_status sg_image_check_size(const char *path, int64_t width, int64_t height) SG_CHECKED;

#endif
