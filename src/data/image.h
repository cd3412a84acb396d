/* Pictures: 8-bit RGB in memory, PNG and JPEG on disk.
 *
 * Whatever a file holds (grey, palette, alpha, 16 bits, interlaced, CMYK JPEG) becomes 8-bit RGB:
 * 16-bit samples are rounded to 8, alpha is laid over `SG_IMAGE_MATTE` grey, an EXIF orientation
 * that stands before the pixels is applied. */
#ifndef SG_DATA_IMAGE_H
#define SG_DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_IMAGE_MATTE = 114,      /* the grey behind transparent pixels and around letterboxes */
    SG_IMAGE_MAX_SIDE = 32768, /* pixels; a larger side is SG_ERR_DATA */
    SG_IMAGE_MAX_PIXELS =
        100000000, /* 100 M: 300 MB decoded; more is SG_ERR_DATA before decoding */
};

typedef struct {
    int64_t width, height;
    uint8_t *rgb; /* (height, width, 3), rows without padding; owned */
} sg_image;

/* width, height >= 1; pixels are not initialised. */
sg_status sg_image_create(int64_t width, int64_t height, sg_image *out) SG_CHECKED;
void sg_image_clear(sg_image *image); /* frees rgb, zeroes the struct */

/* Format by content, not by name. `path` is only for messages in the _decode forms.
 * SG_ERR_MISSING: no such file. SG_ERR_DATA: empty, not PNG or JPEG, truncated, damaged, too large;
 * the text names the file and the reason. */
sg_status sg_image_read(const char *path, sg_image *out) SG_CHECKED;
sg_status sg_image_decode(const char *path, const uint8_t *data, size_t size,
                          sg_image *out) SG_CHECKED;
/* A side of so many pixels, `shrink` times smaller. */
int64_t sg_image_shrunk(int64_t side, int shrink);
/* Decode into memory that is there already, `shrink` (1, 2, 4 or 8) times smaller: a JPEG by its
 * own means, which saves most of the work, a PNG by averaging blocks. The picture must still be of
 * the size that sg_image_size said (SG_ERR_DATA where it is not). `rgb` receives
 * (ceil(height / shrink), ceil(width / shrink), 3); `full`, (height, width, 3), holds the whole
 * picture on the way and may be NULL for shrink = 1. After a failure the pixels are undefined. */
sg_status sg_image_read_into(const char *path, int64_t width, int64_t height, int shrink,
                             uint8_t *full, uint8_t *rgb) SG_CHECKED;
sg_status sg_image_decode_into(const char *path, const uint8_t *data, size_t size, int64_t width,
                               int64_t height, int shrink, uint8_t *full, uint8_t *rgb) SG_CHECKED;
/* Width and height from the header alone, upright (after EXIF orientation). */
sg_status sg_image_size(const char *path, int64_t *width, int64_t *height) SG_CHECKED;

/* The bytes of a PNG, 8-bit RGB; the same pixels give the same bytes. *data is the caller's
 * (sg_free). `level`: zlib's, 1 (fast) to 9. */
sg_status sg_image_encode_png(const sg_image *image, int level, uint8_t **data,
                              size_t *size) SG_CHECKED;
/* PNG, 8-bit RGB, written whole or not at all; the same pixels give the same bytes.
 * `level`: zlib's, 1 (fast) to 9. */
sg_status sg_image_write_png(const char *path, const sg_image *image, int level) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
