/* JPEG through libjpeg(-turbo): grey, YCbCr, RGB, CMYK and YCCK; EXIF orientation applied.
 *
 * libjpeg reports errors by longjmp here; as in png.c, all state lives in a job struct outside the
 * function that calls setjmp. libjpeg only warns when a file ends early and fills the rest with
 * grey: those warnings are errors here. */
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "core/mem.h"
#include "data/codec.h"

enum { kExifHeader = 6 }; /* "Exif\0\0" */

typedef struct {
    struct jpeg_error_mgr errors; /* first: libjpeg hands back its address */
    struct jpeg_decompress_struct jpeg;
    struct jpeg_progress_mgr progress;
    const char *path;
    uint8_t *row;    /* one decoded row, RGB or CMYK */
    int orientation; /* as the header has it; an EXIF marker between two scans is none of it */
    int cut_off, no_memory;
    char text[JMSG_LENGTH_MAX];
    jmp_buf jump;
} read_job;

int sg_jpeg_is(const uint8_t *data, size_t size) {
    return size >= 3 && data[0] == 0xFF && data[1] == 0xD8 && data[2] == 0xFF;
}

static void on_error(j_common_ptr jpeg) {
    read_job *job = (read_job *)jpeg->err;

    if (jpeg->err->msg_code == JERR_OUT_OF_MEMORY) job->no_memory = 1;
    jpeg->err->format_message(jpeg, job->text);
    longjmp(job->jump, 1);
}

/* level -1: damaged data, which libjpeg would paper over. */
static void on_message(j_common_ptr jpeg, int level) {
    read_job *job = (read_job *)jpeg->err;

    if (level >= 0) return;
    switch (jpeg->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
        job->cut_off = 1;
        on_error(jpeg);
        break;
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
        on_error(jpeg);
        break;
    default: /* extraneous bytes, odd Adobe or JFIF fields: the pixels are whole */
        break;
    }
}

static void on_print(j_common_ptr jpeg) { (void)jpeg; }

static void on_progress(j_common_ptr jpeg) {
    read_job *job = (read_job *)jpeg->err;

    if (job->jpeg.input_scan_number <= SG_JPEG_MAX_SCANS) return;
    snprintf(job->text, sizeof job->text, "more than %d scans", SG_JPEG_MAX_SCANS);
    longjmp(job->jump, 1);
}

static sg_status failure(const read_job *job) {
    if (job->no_memory) return sg_fail(SG_ERR_OOM, "%s: no memory to decode the JPEG", job->path);
    if (job->cut_off)
        return sg_fail(SG_ERR_DATA, "%s: the JPEG is cut off: %s", job->path, job->text);
    return sg_fail(SG_ERR_DATA, "%s: damaged JPEG: %s", job->path, job->text);
}

static int orientation_of(const struct jpeg_decompress_struct *jpeg) {
    for (jpeg_saved_marker_ptr m = jpeg->marker_list; m; m = m->next) {
        if (m->marker == JPEG_APP0 + 1 && m->data_length >= kExifHeader &&
            memcmp(m->data, "Exif\0\0", kExifHeader) == 0)
            return sg_exif_orientation(m->data + kExifHeader, m->data_length - kExifHeader);
    }
    return 1;
}

/* Header read, limits checked; upright size. May longjmp. */
static sg_status read_header(read_job *job, const uint8_t *data, size_t size, int64_t *width,
                             int64_t *height) {
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    bool turned;

    jpeg_mem_src(jpeg, data, (unsigned long)size);
    jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xFFFF);
    (void)jpeg_read_header(jpeg, TRUE);
    SG_TRY(sg_image_check_size(job->path, jpeg->image_width, jpeg->image_height));
    job->orientation = orientation_of(jpeg);
    turned = job->orientation >= 5;
    *width = turned ? jpeg->image_height : jpeg->image_width;
    *height = turned ? jpeg->image_width : jpeg->image_height;
    return SG_OK;
}

static uint8_t over_black(int ink, int black, int inverted) {
    if (!inverted) {
        ink = 255 - ink;
        black = 255 - black;
    }
    return (uint8_t)((ink * black + 127) / 255);
}

/* Adobe's programs store inks inverted (255: none) and say so by their marker. */
static void cmyk_to_rgb(uint8_t *row, int64_t width, int inverted) {
    for (int64_t x = 0; x < width; x++) {
        uint8_t ink[4];

        memcpy(ink, row + 4 * x, 4);
        for (int c = 0; c < 3; c++) row[3 * x + c] = over_black(ink[c], ink[3], inverted);
    }
}

static void read_rows(read_job *job, sg_image *image) {
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    int64_t W = jpeg->output_width, H = jpeg->output_height;
    sg_placement p = sg_placement_of(job->orientation, W, H);

    while (jpeg->output_scanline < jpeg->output_height) {
        int64_t y = jpeg->output_scanline;

        (void)jpeg_read_scanlines(jpeg, &job->row, 1);
        if (jpeg->out_color_space == JCS_CMYK) cmyk_to_rgb(job->row, W, jpeg->saw_Adobe_marker);
        sg_place_row(&p, y, job->row, W, image->rgb);
    }
}

static sg_status read_picture(read_job *job, const uint8_t *data, size_t size, int shrink,
                              sg_image *image) {
    struct jpeg_decompress_struct *jpeg = &job->jpeg;
    int64_t width, height;

    if (setjmp(job->jump)) return failure(job);
    jpeg_create_decompress(jpeg);
    jpeg->progress = &job->progress;
    SG_TRY(read_header(job, data, size, &width, &height));
    if (sg_image_shrunk(width, shrink) != image->width ||
        sg_image_shrunk(height, shrink) != image->height)
        return sg_fail(SG_ERR_DATA, "%s: damaged JPEG: its size changed", job->path);
    if (jpeg->jpeg_color_space == JCS_CMYK || jpeg->jpeg_color_space == JCS_YCCK)
        jpeg->out_color_space = JCS_CMYK;
    else
        jpeg->out_color_space = JCS_RGB;
    jpeg->scale_num = 1;
    jpeg->scale_denom = (unsigned)shrink;
    (void)jpeg_start_decompress(jpeg);
    if ((int64_t)jpeg->output_width * jpeg->output_height != image->width * image->height)
        return sg_fail(SG_ERR_DATA, "%s: the JPEG cannot be shrunk by %d", job->path, shrink);
    job->row = sg_malloc((size_t)jpeg->output_width * 4);
    if (!job->row) return sg_fail(SG_ERR_OOM, "%s: no memory to decode the JPEG", job->path);
    read_rows(job, image);
    return SG_OK; /* what follows the last row, or is missing there, does not matter */
}

static sg_status read_size(read_job *job, const uint8_t *data, size_t size, int64_t *width,
                           int64_t *height) {
    if (setjmp(job->jump)) return failure(job);
    jpeg_create_decompress(&job->jpeg);
    return read_header(job, data, size, width, height);
}

static read_job *job_create(const char *path) {
    read_job *job = sg_calloc(1, sizeof *job);

    if (!job) return NULL;
    job->path = path;
    job->jpeg.err = jpeg_std_error(&job->errors);
    job->errors.error_exit = on_error;
    job->errors.emit_message = on_message;
    job->errors.output_message = on_print;
    job->progress.progress_monitor = on_progress;
    return job;
}

static void job_destroy(read_job *job) {
    jpeg_destroy_decompress(&job->jpeg); /* fine on a zeroed struct: its `mem` is NULL */
    sg_free(job->row);
    sg_free(job);
}

sg_status sg_jpeg_size(const char *path, const uint8_t *data, size_t size, int64_t *width,
                       int64_t *height) {
    read_job *job = job_create(path);
    sg_status st;

    if (!job) return sg_fail(SG_ERR_OOM, "%s: no memory to read the JPEG", path);
    st = read_size(job, data, size, width, height);
    job_destroy(job);
    return st;
}

sg_status sg_jpeg_decode(const char *path, const uint8_t *data, size_t size, int shrink,
                         sg_image *image) {
    read_job *job = job_create(path);
    sg_status st;

    if (!job) return sg_fail(SG_ERR_OOM, "%s: no memory to decode the JPEG", path);
    st = read_picture(job, data, size, shrink, image);
    job_destroy(job);
    return st;
}
