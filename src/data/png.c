/* PNG through libpng.
 *
 * libpng reports errors by longjmp. Everything that must survive one lives in a job struct in the
 * caller of the function that calls setjmp, so no local can be clobbered and one place cleans up.
 * libpng takes its memory from core/mem.h and never prints. */
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <png.h>

#include "core/mem.h"
#include "data/codec.h"

enum {
    kSignatureBytes = 8,
    kHeaderBytes = 33,
    kChunkExtra = 12,         /* length, type and checksum, around a chunk's body */
    kMaxChunkBytes = 8 << 20, /* of one ancillary chunk, unpacked */
    kMaxChunks = 256,
    kTextBytes = 128,
};

typedef struct {
    const char *path;
    const uint8_t *data;
    size_t size, at;
    png_structp png;
    png_infop info;
    int orientation;
    uint8_t
        *block; /* one row, or the whole picture when interlaced; NULL: rows are read into place */
    int cut_off, no_memory;
    char text[kTextBytes];
    jmp_buf jump;
} read_job;

int sg_png_is(const uint8_t *data, size_t size) {
    return size >= kSignatureBytes && png_sig_cmp(data, 0, kSignatureBytes) == 0;
}

static uint32_t big_endian(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int sg_png_orientation(const uint8_t *data, size_t size) {
    for (size_t at = kSignatureBytes; at <= size && size - at >= kChunkExtra;) {
        size_t body = big_endian(data + at);
        const uint8_t *type = data + at + 4;

        if (memcmp(type, "IDAT", 4) == 0) return 1;
        if (body > size - at - kChunkExtra) return 0;
        if (memcmp(type, "eXIf", 4) == 0) return sg_exif_orientation(type + 4, body);
        at += kChunkExtra + body;
    }
    return 0;
}

sg_status sg_png_size(const char *path, const uint8_t *data, size_t size, int64_t *width,
                      int64_t *height) {
    bool turned;

    if (size < kHeaderBytes)
        return sg_fail(SG_ERR_DATA, "%s: the PNG is cut off in its header", path);
    if (big_endian(data + 8) != 13 || memcmp(data + 12, "IHDR", 4) != 0)
        return sg_fail(SG_ERR_DATA, "%s: damaged PNG: it does not start with an IHDR chunk", path);
    SG_TRY(sg_image_check_size(path, big_endian(data + 16), big_endian(data + 20)));
    turned = sg_png_orientation(data, size) >= 5;
    *width = big_endian(data + (turned ? 20 : 16));
    *height = big_endian(data + (turned ? 16 : 20));
    return SG_OK;
}

static void on_error(png_structp png, png_const_charp text) {
    read_job *job = png_get_error_ptr(png);

    snprintf(job->text, sizeof job->text, "%s", text);
    longjmp(job->jump, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static png_voidp png_alloc(png_structp png, png_alloc_size_t bytes) {
    void *block = sg_malloc(bytes);

    if (!block) *(int *)png_get_mem_ptr(png) = 1;
    return block;
}

static void png_release(png_structp png, png_voidp block) {
    (void)png;
    sg_free(block);
}

static void on_read(png_structp png, png_bytep to, size_t bytes) {
    read_job *job = png_get_io_ptr(png);

    if (bytes > job->size - job->at) {
        job->cut_off = 1;
        png_error(png, "cut off");
    }
    memcpy(to, job->data + job->at, bytes);
    job->at += bytes;
}

/* Whatever it is, 8-bit RGB, or RGBA when it has any transparency. */
static void set_transforms(read_job *job) {
    png_byte type = png_get_color_type(job->png, job->info);

    png_set_expand(job->png);   /* palettes, 1-2-4 bits, tRNS */
    png_set_scale_16(job->png); /* rounds, where strip_16 would cut */
    if (!(type & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(job->png);
}

/* RGBA becomes RGB, in place. */
static void lay_over_matte(uint8_t *row, int64_t pixels) {
    for (int64_t i = 0; i < pixels; i++) {
        int a = row[4 * i + 3];

        for (int c = 0; c < 3; c++)
            row[3 * i + c] =
                (uint8_t)((row[4 * i + c] * a + SG_IMAGE_MATTE * (255 - a) + 127) / 255);
    }
}

static void read_rows(read_job *job, sg_image *image, int passes, int channels) {
    int64_t W = png_get_image_width(job->png, job->info);
    int64_t H = png_get_image_height(job->png, job->info);
    sg_placement p = sg_placement_of(job->orientation, W, H);

    for (int pass = 0; pass < passes; pass++) {
        for (int64_t y = 0; y < H; y++) {
            uint8_t *row = job->block ? job->block + (passes > 1 ? y * W * channels : 0)
                                      : image->rgb + y * W * 3;

            png_read_row(job->png, row, NULL);
            if (!job->block || pass < passes - 1) continue;
            if (channels == 4) lay_over_matte(row, W);
            sg_place_row(&p, y, row, W, image->rgb);
        }
    }
}

/* Whether rows are as the picture's size and the channels have it. */
static bool fits(const read_job *job, const sg_image *image, int channels) {
    int64_t W = png_get_image_width(job->png, job->info);
    int64_t H = png_get_image_height(job->png, job->info);
    bool turned = job->orientation >= 5;

    return (turned ? H : W) == image->width && (turned ? W : H) == image->height &&
           png_get_rowbytes(job->png, job->info) == (size_t)(W * channels);
}

static sg_status read_picture(read_job *job, sg_image *image) {
    int passes, channels;

    if (setjmp(job->jump)) {
        if (job->no_memory)
            return sg_fail(SG_ERR_OOM, "%s: no memory to decode the PNG", job->path);
        if (job->cut_off)
            return sg_fail(SG_ERR_DATA, "%s: the PNG is cut off after %zu bytes", job->path,
                           job->size);
        return sg_fail(SG_ERR_DATA, "%s: damaged PNG: %s", job->path, job->text);
    }
    png_set_read_fn(job->png, job, on_read);
    png_set_user_limits(job->png, SG_IMAGE_MAX_SIDE, SG_IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(job->png, kMaxChunkBytes);
    png_set_chunk_cache_max(job->png, kMaxChunks);
    png_read_info(job->png, job->info);
    set_transforms(job);
    passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    channels = png_get_channels(job->png, job->info);
    if (!fits(job, image, channels)) png_error(job->png, "rows of an unexpected size");
    if (channels == 4 || job->orientation > 1) {
        size_t rows = passes > 1 ? png_get_image_height(job->png, job->info) : 1;

        job->block = sg_malloc(rows * png_get_rowbytes(job->png, job->info));
        if (!job->block) {
            job->no_memory = 1;
            png_error(job->png, "no memory");
        }
    }
    read_rows(job, image, passes, channels);
    png_read_end(job->png, NULL);
    return SG_OK;
}

sg_status sg_png_decode(const char *path, const uint8_t *data, size_t size, sg_image *image) {
    read_job *job = sg_calloc(1, sizeof *job);
    sg_status st;

    if (!job) return sg_fail(SG_ERR_OOM, "%s: no memory to decode the PNG", path);
    job->path = path;
    job->data = data;
    job->size = size;
    job->orientation = sg_png_orientation(data, size);
    job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, on_error, on_warning,
                                        &job->no_memory, png_alloc, png_release);
    if (job->png) job->info = png_create_info_struct(job->png);
    if (job->info)
        st = read_picture(job, image);
    else
        st = sg_fail(SG_ERR_OOM, "%s: no memory to decode the PNG", path);
    if (job->png) png_destroy_read_struct(&job->png, &job->info, NULL);
    sg_free(job->block);
    sg_free(job);
    return st;
}

typedef struct {
    const sg_image *image;
    png_structp png;
    png_infop info;
    uint8_t *data;
    size_t size, capacity;
    int no_memory;
    char text[kTextBytes];
    jmp_buf jump;
} write_job;

static void on_write_error(png_structp png, png_const_charp text) {
    write_job *job = png_get_error_ptr(png);

    snprintf(job->text, sizeof job->text, "%s", text);
    longjmp(job->jump, 1);
}

static void on_write(png_structp png, png_bytep from, size_t bytes) {
    write_job *job = png_get_io_ptr(png);

    if (bytes > job->capacity - job->size) {
        size_t capacity = (job->capacity + bytes) * 2;
        uint8_t *larger = sg_realloc(job->data, job->size, capacity);

        if (!larger) {
            job->no_memory = 1;
            png_error(png, "no memory");
        }
        job->data = larger;
        job->capacity = capacity;
    }
    memcpy(job->data + job->size, from, bytes);
    job->size += bytes;
}

static void on_flush(png_structp png) { (void)png; }

static sg_status write_picture(write_job *job, int level) {
    const sg_image *image = job->image;

    if (setjmp(job->jump)) {
        if (job->no_memory) return sg_fail(SG_ERR_OOM, "image: no memory to write a PNG");
        return sg_fail(SG_ERR_ARG, "image: cannot write a PNG of %lld x %lld: %s",
                       (long long)image->width, (long long)image->height, job->text);
    }
    png_set_write_fn(job->png, job, on_write, on_flush);
    png_set_compression_level(job->png, level);
    /* choosing among all filters costs more time than deflate's level 1 itself */
    png_set_filter(job->png, PNG_FILTER_TYPE_BASE, level < 3 ? PNG_FILTER_SUB : PNG_ALL_FILTERS);
    png_set_IHDR(job->png, job->info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(job->png, job->info);
    for (int64_t y = 0; y < image->height; y++)
        png_write_row(job->png, image->rgb + y * image->width * 3);
    png_write_end(job->png, NULL);
    return SG_OK;
}

sg_status sg_image_encode_png(const sg_image *image, int level, uint8_t **data, size_t *size) {
    write_job *job;
    sg_status st;

    if (level < 1 || level > 9)
        return sg_fail(SG_ERR_ARG, "image: PNG level %d is not 1 to 9", level);
    job = sg_calloc(1, sizeof *job);
    if (!job) return sg_fail(SG_ERR_OOM, "image: no memory to write a PNG");
    job->image = image;
    job->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, job, on_write_error, on_warning,
                                         &job->no_memory, png_alloc, png_release);
    if (job->png) job->info = png_create_info_struct(job->png);
    if (job->info)
        st = write_picture(job, level);
    else
        st = sg_fail(SG_ERR_OOM, "image: no memory to write a PNG");
    if (job->png) png_destroy_write_struct(&job->png, &job->info);
    if (st == SG_OK) {
        *data = job->data;
        *size = job->size;
    } else {
        sg_free(job->data);
    }
    sg_free(job);
    return st;
}
