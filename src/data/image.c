#include "data/image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/codec.h"

enum {
    kMaxFileBytes = 1 << 30, /* 100 M pixels of 16-bit RGBA, stored without compression */
    kStartBytes = 4096,      /* in which most PNGs say all that comes before their pixels */
};

sg_status sg_image_check_size(const char *path, int64_t width, int64_t height) {
    if (width < 1 || height < 1)
        return sg_fail(SG_ERR_DATA, "%s: a picture of %lld x %lld pixels", path, (long long)width,
                       (long long)height);
    if (width > SG_IMAGE_MAX_SIDE || height > SG_IMAGE_MAX_SIDE ||
        width * height > SG_IMAGE_MAX_PIXELS)
        return sg_fail(SG_ERR_DATA,
                       "%s: %lld x %lld pixels are too many (at most %d a side, %d in all); scale "
                       "the picture down",
                       path, (long long)width, (long long)height, SG_IMAGE_MAX_SIDE,
                       SG_IMAGE_MAX_PIXELS);
    return SG_OK;
}

sg_status sg_image_create(int64_t width, int64_t height, sg_image *out) {
    uint8_t *rgb;

    if (width < 1 || height < 1 || width > SG_IMAGE_MAX_SIDE || height > SG_IMAGE_MAX_SIDE)
        return sg_fail(SG_ERR_ARG, "image: cannot make one of %lld x %lld pixels", (long long)width,
                       (long long)height);
    rgb = sg_malloc((size_t)(width * height * 3));
    if (!rgb)
        return sg_fail(SG_ERR_OOM, "image: no memory for %lld x %lld pixels", (long long)width,
                       (long long)height);
    *out = (sg_image){.width = width, .height = height, .rgb = rgb};
    return SG_OK;
}

void sg_image_clear(sg_image *image) {
    sg_free(image->rgb);
    *image = (sg_image){0};
}

static sg_status unknown_format(const char *path, size_t size) {
    if (size == 0) return sg_fail(SG_ERR_DATA, "%s: is empty (0 bytes), not a picture", path);
    return sg_fail(SG_ERR_DATA, "%s: is neither a PNG nor a JPEG", path);
}

static sg_status memory_size(const char *path, const uint8_t *data, size_t size, int64_t *width,
                             int64_t *height) {
    if (sg_png_is(data, size)) return sg_png_size(path, data, size, width, height);
    if (sg_jpeg_is(data, size)) return sg_jpeg_size(path, data, size, width, height);
    return unknown_format(path, size);
}

static sg_status memory_decode(const char *path, const uint8_t *data, size_t size,
                               sg_image *image) {
    if (sg_png_is(data, size)) return sg_png_decode(path, data, size, image);
    return sg_jpeg_decode(path, data, size, 1, image);
}

sg_status sg_image_decode(const char *path, const uint8_t *data, size_t size, sg_image *out) {
    sg_image image;
    int64_t width, height;
    sg_status st;

    SG_TRY(memory_size(path, data, size, &width, &height));
    st = sg_image_create(width, height, &image);
    if (st != SG_OK)
        return sg_fail(st, "%s: no memory for %lld x %lld pixels", path, (long long)width,
                       (long long)height);
    st = memory_decode(path, data, size, &image);
    if (st != SG_OK) {
        sg_image_clear(&image);
        return st;
    }
    *out = image;
    return SG_OK;
}

sg_status sg_image_read(const char *path, sg_image *out) {
    uint8_t *data;
    size_t size;
    sg_status st;

    SG_TRY(sg_file_read(path, kMaxFileBytes, &data, &size));
    st = sg_image_decode(path, data, size, out);
    sg_free(data);
    return st;
}

/* Each pixel of `to` is the mean of a shrink x shrink block; blocks at the far borders may be cut.
 */
static void average_blocks(const sg_image *from, int shrink, sg_image *to) {
    for (int64_t y = 0; y < to->height; y++) {
        int64_t y1 = (y + 1) * shrink < from->height ? (y + 1) * shrink : from->height;

        for (int64_t x = 0; x < to->width; x++) {
            int64_t x1 = (x + 1) * shrink < from->width ? (x + 1) * shrink : from->width;
            int sum[3] = {0}, n = (int)((y1 - y * shrink) * (x1 - x * shrink));

            for (int64_t v = y * shrink; v < y1; v++)
                for (int64_t u = x * shrink; u < x1; u++)
                    for (int c = 0; c < 3; c++) sum[c] += from->rgb[(v * from->width + u) * 3 + c];
            for (int c = 0; c < 3; c++)
                to->rgb[(y * to->width + x) * 3 + c] = (uint8_t)((sum[c] + n / 2) / n);
        }
    }
}

static sg_status decode_shrunk(const char *path, const uint8_t *data, size_t size, int shrink,
                               sg_image *whole, sg_image *image) {
    int64_t width, height;

    SG_TRY(memory_size(path, data, size, &width, &height));
    if (width != whole->width || height != whole->height)
        return sg_fail(SG_ERR_DATA, "%s: has changed to %lld x %lld pixels since it was looked at",
                       path, (long long)width, (long long)height);
    if (sg_jpeg_is(data, size)) return sg_jpeg_decode(path, data, size, shrink, image);
    if (shrink == 1) return sg_png_decode(path, data, size, image);
    SG_TRY(sg_png_decode(path, data, size, whole));
    average_blocks(whole, shrink, image);
    return SG_OK;
}

int64_t sg_image_shrunk(int64_t side, int shrink) { return (side + shrink - 1) / shrink; }

sg_status sg_image_decode_into(const char *path, const uint8_t *data, size_t size, int64_t width,
                               int64_t height, int shrink, uint8_t *full, uint8_t *rgb) {
    sg_image whole = {.width = width, .height = height, .rgb = full};
    sg_image image = {.rgb = rgb};

    if (shrink != 1 && shrink != 2 && shrink != 4 && shrink != 8)
        return sg_fail(SG_ERR_ARG, "%s: cannot be shrunk by %d, only by 1, 2, 4 or 8", path,
                       shrink);
    image.width = sg_image_shrunk(width, shrink);
    image.height = sg_image_shrunk(height, shrink);
    return decode_shrunk(path, data, size, shrink, &whole, &image);
}

sg_status sg_image_read_into(const char *path, int64_t width, int64_t height, int shrink,
                             uint8_t *full, uint8_t *rgb) {
    uint8_t *data;
    size_t size;
    sg_status st;

    SG_TRY(sg_file_read(path, kMaxFileBytes, &data, &size));
    st = sg_image_decode_into(path, data, size, width, height, shrink, full, rgb);
    sg_free(data);
    return st;
}

static sg_status read_start(const char *path, uint8_t *data, size_t *size) {
    FILE *f = fopen(path, "rbe");
    int failed;

    if (!f) {
        int missing = errno == ENOENT || errno == ENOTDIR;
        return sg_fail(missing ? SG_ERR_MISSING : SG_ERR_IO, "%s: cannot open: %s", path,
                       strerror(errno));
    }
    *size = fread(data, 1, kStartBytes, f);
    failed = ferror(f) ? errno : 0;
    fclose(f);
    return failed ? sg_fail(SG_ERR_IO, "%s: cannot read: %s", path, strerror(failed)) : SG_OK;
}

sg_status sg_image_size(const char *path, int64_t *width, int64_t *height) {
    uint8_t start[kStartBytes];
    uint8_t *data;
    size_t size;
    sg_status st;

    SG_TRY(sg_file_check(path));
    SG_TRY(read_start(path, start, &size));
    if (!sg_jpeg_is(start, size) && (!sg_png_is(start, size) || sg_png_orientation(start, size)))
        return memory_size(path, start, size, width, height);
    /* behind EXIF, thumbnails and colour profiles: anywhere */
    SG_TRY(sg_file_read(path, kMaxFileBytes, &data, &size));
    st = memory_size(path, data, size, width, height);
    sg_free(data);
    return st;
}

sg_status sg_image_write_png(const char *path, const sg_image *image, int level) {
    uint8_t *data;
    size_t size;
    sg_status st;

    SG_TRY(sg_image_encode_png(image, level, &data, &size));
    st = sg_file_write(path, data, size);
    sg_free(data);
    return st;
}
