/* PNG and JPEG: the header, the whole picture, the picture decoded smaller into memory that is
 * there, and a PNG written from the pixels.
 *
 * A picture of more than kMostPixels by its header is checked as far as the header alone: decoding
 * tens of megapixels that a 60-byte file promises tests nothing but patience. What is over the
 * limits of image.h goes to the decoder, which must refuse it. */
#include "fuzz.h"

#include <string.h>

#include "core/mem.h"
#include "data/codec.h"
#include "data/image.h"

enum { kMostPixels = 128 * 128 };

static const char kPath[] = "picture: ";

typedef struct {
    int64_t width, height;
} extent;

/* By the header alone. */
static sg_status size_of(const uint8_t *data, size_t size, extent *out) {
    sg_status st;

    fuzz_prepare(out, sizeof *out);
    if (sg_png_is(data, size))
        st = sg_png_size("picture", data, size, &out->width, &out->height);
    else if (sg_jpeg_is(data, size))
        st = sg_jpeg_size("picture", data, size, &out->width, &out->height);
    else
        return SG_ERR_DATA;
    if (st != SG_OK) {
        fuzz_failed(st, SG_ERR_DATA, kPath, out, sizeof *out);
        return st;
    }
    FUZZ_CHECK(out->width >= 1 && out->width <= SG_IMAGE_MAX_SIDE);
    FUZZ_CHECK(out->height >= 1 && out->height <= SG_IMAGE_MAX_SIDE);
    FUZZ_CHECK(out->width * out->height <= SG_IMAGE_MAX_PIXELS);
    return SG_OK;
}

/* Shrunk, into blocks of exactly the size that image.h asks for; whole, it is the same pixels, so
 * none is left as the memory was. */
static void check_into(const uint8_t *data, size_t size, const sg_image *image) {
    int64_t width = image->width, height = image->height;
    int shrink = 1 << size % 4;
    size_t rgb_bytes =
        (size_t)((width + shrink - 1) / shrink * ((height + shrink - 1) / shrink)) * 3;
    uint8_t *full = sg_calloc((size_t)(width * height), 3), *rgb = sg_calloc(rgb_bytes, 1);

    FUZZ_CHECK(full && rgb);
    FUZZ_CHECK(sg_image_decode_into("picture", data, size, width, height, shrink, full, rgb) ==
               SG_OK);
    FUZZ_CHECK(shrink > 1 || memcmp(rgb, image->rgb, rgb_bytes) == 0);
    FUZZ_CHECK(sg_image_decode_into("picture", data, size, width + 1, height, shrink, full, rgb) ==
               SG_ERR_DATA);
    sg_free(full);
    sg_free(rgb);
}

static void check_written(const sg_image *image) {
    sg_image back;
    uint8_t *png;
    size_t size;

    FUZZ_CHECK(sg_image_encode_png(image, 1 + (int)(image->width % 9), &png, &size) == SG_OK);
    FUZZ_CHECK(sg_image_decode("picture", png, size, &back) == SG_OK);
    FUZZ_CHECK(back.width == image->width && back.height == image->height);
    FUZZ_CHECK(memcmp(back.rgb, image->rgb, (size_t)(back.width * back.height * 3)) == 0);
    sg_image_clear(&back);
    sg_free(png);
}

static void check_picture(const uint8_t *data, size_t size) {
    bool has_size;
    sg_image image;
    extent header;
    sg_status st;

    has_size = size_of(data, size, &header) == SG_OK;
    if (has_size && header.width * header.height > kMostPixels) return;
    fuzz_prepare(&image, sizeof image);
    st = sg_image_decode("picture", data, size, &image);
    if (st != SG_OK) {
        fuzz_failed(st, SG_ERR_DATA, kPath, &image, sizeof image);
        return;
    }
    FUZZ_CHECK(has_size && image.width == header.width && image.height == header.height);
    check_into(data, size, &image);
    if (size % 16 == 0) check_written(&image); /* slow, and the same for most pictures */
    sg_image_clear(&image);
}

/* The format is told by the content, so both are one function; their inputs differ, and how those
 * are mutated. */
void fuzz_png(const uint8_t *data, size_t size) { check_picture(data, size); }
void fuzz_jpeg(const uint8_t *data, size_t size) { check_picture(data, size); }
