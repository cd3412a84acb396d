/* PNG of every colour type, depth and interlace, JPEG of every kind, and damaged ones of both. */
#include "data_fixture.h"
#include "out_of_memory.h"

#include <math.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <jpeglib.h>
#include <png.h>

enum { W = 37, H = 23, kPalette = 256 };

typedef struct {
    uint8_t *data;
    size_t size;
} bytes;

static void append(bytes *b, const void *data, size_t size) {
    b->data = realloc(b->data, b->size + size);
    assert_non_null(b->data);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void append_png(png_structp png, png_bytep data, size_t size) {
    append(png_get_io_ptr(png), data, size);
}

static int over_matte(double value, double alpha) {
    return (int)lround(value * alpha + SG_IMAGE_MATTE * (1.0 - alpha));
}

/* One PNG of random samples and the RGB that it must decode to. `key`: with a tRNS chunk. */
static bytes make_png(int type, int depth, int interlace, int key, uint8_t *rgb) {
    static const int of_type[] = {1, 0, 3, 1, 2, 0, 4};
    int channels = of_type[type], most = (1 << depth) - 1;
    sg_random r = sg_random_init((uint64_t)(type * 1000 + depth * 10 + interlace * 2 + key));
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    size_t row_bytes = (size_t)(W * channels * depth + 7) / 8;
    uint8_t *rows = calloc(H, row_bytes);
    png_bytep row[H];
    png_color palette[kPalette];
    png_byte alpha[kPalette];
    png_color_16 transparent = {0};
    bytes out = {0};

    png_set_write_fn(png, &out, append_png, NULL);
    png_set_IHDR(png, info, W, H, depth, type, interlace, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    for (int i = 0; i < kPalette; i++) {
        palette[i].red = (png_byte)sg_random_below(&r, 256);
        palette[i].green = (png_byte)sg_random_below(&r, 256);
        palette[i].blue = (png_byte)sg_random_below(&r, 256);
        alpha[i] = (png_byte)sg_random_below(&r, 256);
    }
    if (type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, most + 1);
    for (int y = 0; y < H; y++) {
        row[y] = rows + (size_t)y * row_bytes;
        for (int x = 0; x < W; x++) {
            int sample[4] = {0}, colour[3];
            double a = 1.0, unit = 255.0 / most;

            for (int c = 0; c < channels; c++) {
                int at = x * channels + c;

                sample[c] = (int)sg_random_below(&r, most + 1);
                if (depth == 16) {
                    row[y][2 * at] = (uint8_t)(sample[c] >> 8);
                    row[y][2 * at + 1] = (uint8_t)sample[c];
                } else {
                    row[y][at * depth / 8] |= (uint8_t)(sample[c] << (8 - depth - at * depth % 8));
                }
            }
            if (x == 0 && y == 0) {
                transparent.gray = (png_uint_16)sample[0];
                transparent.red = (png_uint_16)sample[0];
                transparent.green = (png_uint_16)sample[1];
                transparent.blue = (png_uint_16)sample[2];
            }
            for (int c = 0; c < 3; c++)
                colour[c] = (int)lround(sample[channels < 3 ? 0 : c] * unit);
            if (type == PNG_COLOR_TYPE_PALETTE) {
                colour[0] = palette[sample[0]].red;
                colour[1] = palette[sample[0]].green;
                colour[2] = palette[sample[0]].blue;
                if (key) a = alpha[sample[0]] / 255.0;
            } else if (channels % 2 == 0) {
                a = lround(sample[channels - 1] * unit) / 255.0;
            } else if (key && sample[0] == transparent.gray &&
                       (channels == 1 ||
                        (sample[1] == transparent.green && sample[2] == transparent.blue))) {
                a = 0.0;
            }
            for (int c = 0; c < 3; c++)
                rgb[(y * W + x) * 3 + c] = (uint8_t)over_matte(colour[c], a);
        }
    }
    if (key)
        png_set_tRNS(png, info, alpha, type == PNG_COLOR_TYPE_PALETTE ? most + 1 : 1,
                     type == PNG_COLOR_TYPE_PALETTE ? NULL : &transparent);
    png_write_info(png, info);
    png_write_image(png, row);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    free(rows);
    return out;
}

static void every_png_decodes(void **state) {
    static const struct {
        int type, depth, may_key;
    } kinds[] = {{0, 1, 1}, {0, 2, 1},  {0, 4, 1},  {0, 8, 1}, {0, 16, 1},
                 {2, 8, 1}, {2, 16, 1}, {3, 1, 1},  {3, 2, 1}, {3, 4, 1},
                 {3, 8, 1}, {4, 8, 0},  {4, 16, 0}, {6, 8, 0}, {6, 16, 0}};
    uint8_t rgb[W * H * 3];
    long live = sg_mem_live();

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (int bits = 0; bits < (kinds[i].may_key ? 4 : 2); bits++) {
            bytes png = make_png(kinds[i].type, kinds[i].depth, bits & 1, bits >> 1, rgb);
            sg_image image;

            assert_ok(sg_image_decode("a.png", png.data, png.size, &image));
            assert_int_equal(image.width, W);
            assert_int_equal(image.height, H);
            for (int k = 0; k < W * H * 3; k++)
                if (image.rgb[k] != rgb[k])
                    fail_msg("type %d depth %d interlace %d key %d: byte %d is %d, not %d",
                             kinds[i].type, kinds[i].depth, bits & 1, bits >> 1, k, image.rgb[k],
                             rgb[k]);
            sg_image_clear(&image);
            free(png.data);
        }
    }
    assert_int_equal(sg_mem_live(), live);
}

typedef enum { GREY, YCC, RGB, CMYK, YCCK, PLAIN_CMYK, PROGRESSIVE } jpeg_kind;

enum { kExifBytes = 32, kExifHeader = 6 }; /* the header stands in a JPEG, but not in a PNG */

static void make_exif(int orientation, int big_endian, uint8_t exif[kExifBytes]) {
    static const char little[kExifBytes] =
        "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0";
    static const char big[kExifBytes] =
        "Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0";

    memcpy(exif, big_endian ? big : little, kExifBytes);
    exif[big_endian ? 25 : 24] = (uint8_t)orientation;
}

/* `rgb` (height, width, 3) as a JPEG of this kind; orientation 0: no EXIF. */
static bytes make_jpeg(jpeg_kind kind, const uint8_t *rgb, int width, int height, int orientation,
                       int big_endian) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    int inks = kind == CMYK || kind == YCCK || kind == PLAIN_CMYK;
    unsigned char *data = NULL;
    unsigned long size = 0;
    uint8_t *row = malloc((size_t)width * 4);
    bytes out = {0};

    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, &size);
    jpeg.image_width = (JDIMENSION)width;
    jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = inks ? 4 : kind == GREY ? 1 : 3;
    jpeg.in_color_space = inks ? JCS_CMYK : kind == GREY ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 100, TRUE);
    if (kind == RGB) jpeg_set_colorspace(&jpeg, JCS_RGB);
    if (kind == YCCK) jpeg_set_colorspace(&jpeg, JCS_YCCK);
    if (kind == PLAIN_CMYK) jpeg.write_Adobe_marker = FALSE;
    if (kind == PROGRESSIVE) jpeg_simple_progression(&jpeg);
    for (int c = 0; c < jpeg.num_components; c++)
        jpeg.comp_info[c].h_samp_factor = jpeg.comp_info[c].v_samp_factor = 1;
    jpeg_start_compress(&jpeg, TRUE);
    if (orientation) {
        uint8_t exif[kExifBytes];

        make_exif(orientation, big_endian, exif);
        jpeg_write_marker(&jpeg, JPEG_APP0 + 1, exif, kExifBytes);
    }
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            const uint8_t *p = rgb + (y * width + x) * 3;

            if (kind == GREY) {
                row[x] = p[0];
            } else if (inks) { /* no black ink; Adobe stores inks inverted */
                for (int c = 0; c < 3; c++)
                    row[4 * x + c] = (uint8_t)(kind == PLAIN_CMYK ? 255 - p[c] : p[c]);
                row[4 * x + 3] = kind == PLAIN_CMYK ? 0 : 255;
            } else {
                memcpy(row + 3 * x, p, 3);
            }
        }
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    append(&out, data, size);
    free(data);
    free(row);
    return out;
}

static void smooth(uint8_t *rgb, int width, int height, int grey) {
    for (int y = 0; y < height; y++) {
        for (int x = 0; x < width; x++) {
            uint8_t *p = rgb + (y * width + x) * 3;

            p[0] = (uint8_t)(255 * x / width);
            p[1] = (uint8_t)(grey ? p[0] : 255 * y / height);
            p[2] = (uint8_t)(grey ? p[0] : 255 - p[0] / 2);
        }
    }
}

static void every_jpeg_decodes(void **state) {
    uint8_t rgb[W * H * 3];

    (void)state;
    for (jpeg_kind kind = GREY; kind <= PROGRESSIVE; kind++) {
        sg_image image;
        bytes jpeg;

        smooth(rgb, W, H, kind == GREY);
        jpeg = make_jpeg(kind, rgb, W, H, 0, 0);
        assert_ok(sg_image_decode("a.jpg", jpeg.data, jpeg.size, &image));
        assert_int_equal(image.width, W);
        for (int k = 0; k < W * H * 3; k++)
            if (abs(image.rgb[k] - rgb[k]) > 5)
                fail_msg("kind %d: byte %d is %d, not %d", kind, k, image.rgb[k], rgb[k]);
        sg_image_clear(&image);
        free(jpeg.data);
    }
}

/* EXIF 2.3, 4.6.4 A: which side of the scene the stored row 0 and column 0 are. `stored` is what is
 * `upright`, (H, W, 3), once it is turned as the orientation says. */
static void store_turned(int orientation, const uint8_t *upright, uint8_t *stored) {
    static const struct {
        int row_right_or_bottom, column_right_or_bottom;
    } table[9] = {{0, 0}, {0, 0}, {0, 1}, {1, 1}, {1, 0}, {0, 0}, {1, 0}, {1, 1}, {0, 1}};
    int turned = orientation >= 5, w = turned ? H : W, h = turned ? W : H;

    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            int along = table[orientation].row_right_or_bottom ? h - 1 - y : y;
            int across = table[orientation].column_right_or_bottom ? w - 1 - x : x;
            int ux = turned ? along : across, uy = turned ? across : along;

            memcpy(stored + (y * w + x) * 3, upright + (uy * W + ux) * 3, 3);
        }
    }
}

/* A file that shows `upright`, each byte within `most`. */
static void check_turned(const char *name, const bytes *file, const uint8_t *upright, int most) {
    int64_t width, height;
    sg_image image;

    assert_ok(sg_image_decode(name, file->data, file->size, &image));
    assert_int_equal(image.width, W);
    assert_int_equal(image.height, H);
    for (int k = 0; k < W * H * 3; k++)
        if (abs(image.rgb[k] - upright[k]) > most)
            fail_msg("%s: byte %d is %d, not %d", name, k, image.rgb[k], upright[k]);
    sg_image_clear(&image);
    fixture_write(name, file->data, file->size);
    assert_ok(sg_image_size(fixture_path(name), &width, &height));
    assert_int_equal(width, W);
    assert_int_equal(height, H);
}

static void orientation_is_applied(void **state) {
    uint8_t upright[W * H * 3], stored[W * H * 3];

    (void)state;
    smooth(upright, W, H, 0);
    for (int o = 1; o <= 8; o++) {
        bytes jpeg;
        char name[64];

        store_turned(o, upright, stored);
        jpeg = make_jpeg(YCC, stored, o >= 5 ? H : W, o >= 5 ? W : H, o, o % 2);
        snprintf(name, sizeof name, "turned-%d.jpg", o);
        check_turned(name, &jpeg, upright, 5);
        free(jpeg.data);
    }
}

/* What a PNG of `rgb` is like. */
typedef struct {
    int orientation, late;     /* late: told behind the pixels */
    int interlace, alpha, far; /* far: much stands before it */
} png_kind;

static bytes make_turned_png(const png_kind *k, const uint8_t *rgb, int width, int height) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png), end = png_create_info_struct(png);
    int channels = k->alpha ? 4 : 3;
    uint8_t *rows = malloc((size_t)(width * height * channels)), exif[kExifBytes];
    png_byte much[5000] = {0};
    png_unknown_chunk chunk = {"teSt", much, sizeof much, PNG_HAVE_IHDR};
    bytes out = {0};

    png_set_write_fn(png, &out, append_png, NULL);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8,
                 k->alpha ? PNG_COLOR_TYPE_RGB_ALPHA : PNG_COLOR_TYPE_RGB, k->interlace,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    make_exif(k->orientation, k->orientation % 2, exif);
    png_set_eXIf_1(png, k->late ? end : info, kExifBytes - kExifHeader, exif + kExifHeader);
    if (k->far) png_set_unknown_chunks(png, info, &chunk, 1);
    png_write_info(png, info);
    for (int i = 0; i < width * height; i++) {
        memcpy(rows + i * channels, rgb + 3 * i, 3);
        if (k->alpha) rows[4 * i + 3] = 255;
    }
    for (int pass = 0, n = png_set_interlace_handling(png); pass < n; pass++)
        for (int y = 0; y < height; y++) png_write_row(png, rows + y * width * channels);
    png_write_end(png, end);
    png_destroy_info_struct(png, &end);
    png_destroy_write_struct(&png, &info);
    free(rows);
    return out;
}

static void orientation_of_a_png_is_applied(void **state) {
    uint8_t upright[W * H * 3], stored[W * H * 3];
    long live = sg_mem_live();

    (void)state;
    smooth(upright, W, H, 0);
    for (int o = 1; o <= 8; o++)
        for (int bits = 0; bits < 8; bits++) {
            png_kind k = {
                .orientation = o, .interlace = bits & 1, .alpha = bits & 2, .far = bits & 4};
            bytes png;
            char name[64];

            store_turned(o, upright, stored);
            png = make_turned_png(&k, stored, o >= 5 ? H : W, o >= 5 ? W : H);
            snprintf(name, sizeof name, "turned-%d-%d.png", o, bits);
            check_turned(name, &png, upright, 0);
            free(png.data);
        }
    assert_int_equal(sg_mem_live(), live);
}

/* As of a JPEG (below). */
static void late_orientation_of_a_png_is_ignored(void **state) {
    const png_kind k = {.orientation = 6, .late = 1};
    uint8_t rgb[W * H * 3];
    size_t told = 0;
    bytes png;

    (void)state;
    smooth(rgb, W, H, 0);
    png = make_turned_png(&k, rgb, W, H);
    while (told + 4 < png.size && memcmp(png.data + told, "eXIf", 4) != 0) told++;
    assert_in_range(told, png.size - 64, png.size - 16); /* it is there, before IEND */
    check_turned("late.png", &png, rgb, 0);
    free(png.data);
}

/* The header counts, as it gives the size: an orientation behind the first scan comes too late. */
static void late_orientation_is_ignored(void **state) {
    uint8_t rgb[W * H * 3];
    sg_image whole, image;
    bytes plain, turned, late = {0};
    size_t scan;

    (void)state;
    smooth(rgb, W, H, 0);
    plain = make_jpeg(PROGRESSIVE, rgb, W, H, 0, 0);
    turned = make_jpeg(YCC, rgb, W, H, 6, 0);
    for (scan = plain.size - 1; plain.data[scan - 1] != 0xFF || plain.data[scan] != 0xDA;) scan--;
    append(&late, plain.data, scan - 1); /* up to the last scan */
    for (size_t i = 0; i < turned.size; i++) {
        if (memcmp(turned.data + i, "Exif", 4) != 0) continue;
        append(&late, turned.data + i - 4, 32 + 4); /* with marker and length */
        break;
    }
    append(&late, plain.data + scan - 1, plain.size - scan + 1);
    assert_int_equal(late.size, plain.size + 36);
    assert_ok(sg_image_decode("plain.jpg", plain.data, plain.size, &whole));
    assert_ok(sg_image_decode("late.jpg", late.data, late.size, &image));
    assert_int_equal(image.width, W);
    assert_memory_equal(image.rgb, whole.rgb, (size_t)(W * H * 3));
    sg_image_clear(&whole);
    sg_image_clear(&image);
    free(plain.data);
    free(turned.data);
    free(late.data);
}

/* Standard error goes to a file meanwhile; returns how much was written to it. */
static int saved_stderr;
static void mute(void) {
    int fd = open(fixture_path("stderr"), O_CREAT | O_TRUNC | O_WRONLY, 0600);

    fflush(stderr);
    saved_stderr = dup(2);
    dup2(fd, 2);
    close(fd);
}
static long unmute(void) {
    struct stat info;

    fflush(stderr);
    dup2(saved_stderr, 2);
    close(saved_stderr);
    assert_int_equal(stat(fixture_path("stderr"), &info), 0);
    return (long)info.st_size;
}

/* A prefix either fails with one line, or (a JPEG without its end mark) gives all the pixels. */
static void cut_everywhere(bytes file, int may_lack) {
    sg_image whole, image;
    long live;

    assert_ok(sg_image_decode("whole", file.data, file.size, &whole));
    live = sg_mem_live();
    for (size_t n = 0; n < file.size; n++) {
        uint8_t *copy = malloc(n + 1); /* so that ASan sees a read past its end */
        sg_status st;

        memcpy(copy, file.data, n);
        st = sg_image_decode("cut", copy, n, &image);
        if (st == SG_OK) {
            assert_true(n + (size_t)may_lack >= file.size);
            assert_memory_equal(image.rgb, whole.rgb, (size_t)(W * H * 3));
            sg_image_clear(&image);
        } else {
            assert_int_equal(st, SG_ERR_DATA);
            assert_int_equal(strncmp(sg_last_error(), "cut: ", 5), 0);
            assert_null(strchr(sg_last_error(), '\n'));
        }
        assert_int_equal(sg_mem_live(), live);
        free(copy);
    }
    sg_image_clear(&whole);
}

static void cut_files_fail(void **state) {
    uint8_t rgb[W * H * 3];
    bytes file[4];

    (void)state;
    file[0] = make_png(2, 8, 0, 0, rgb);
    file[1] = make_png(6, 8, 1, 0, rgb);
    smooth(rgb, W, H, 0);
    file[2] = make_jpeg(YCC, rgb, W, H, 6, 0);
    file[3] = make_jpeg(PROGRESSIVE, rgb, W, H, 0, 0);
    mute();
    for (int i = 0; i < 4; i++) cut_everywhere(file[i], i < 2 ? 0 : 3);
    assert_int_equal(unmute(), 0);
    for (int i = 0; i < 4; i++) free(file[i].data);
}

static void changed_bytes_do_no_harm(void **state) {
    uint8_t rgb[W * H * 3];
    bytes file[2];
    long live = sg_mem_live();
    int failures = 0;

    (void)state;
    file[0] = make_png(6, 8, 1, 0, rgb);
    smooth(rgb, W, H, 0);
    file[1] = make_jpeg(PROGRESSIVE, rgb, W, H, 6, 0);
    mute();
    for (int f = 0; f < 2; f++) {
        for (size_t n = 0; n < file[f].size; n++) {
            sg_image image;
            sg_status st;

            file[f].data[n] ^= 0xFF;
            st = sg_image_decode("changed", file[f].data, file[f].size, &image);
            file[f].data[n] ^= 0xFF;
            if (st == SG_OK)
                sg_image_clear(&image);
            else
                failures++;
            assert_int_equal(sg_mem_live(), live);
        }
        free(file[f].data);
    }
    assert_int_equal(unmute(), 0);
    assert_true(failures > 100);
}

/* The end mark is there, but bytes in the middle are gone: libjpeg alone would fill with grey. */
static void a_jpeg_with_a_hole_is_refused(void **state) {
    uint8_t rgb[W * H * 3];
    sg_image image;
    bytes jpeg;

    (void)state;
    smooth(rgb, W, H, 0);
    jpeg = make_jpeg(YCC, rgb, W, H, 0, 0);
    memmove(jpeg.data + jpeg.size - 200, jpeg.data + jpeg.size - 100, 100);
    assert_fails(sg_image_decode("hole.jpg", jpeg.data, jpeg.size - 100, &image), SG_ERR_DATA,
                 "hole.jpg: the JPEG is cut off");
    free(jpeg.data);
}

static void huge_pictures_are_refused(void **state) {
    static const uint8_t png[33] = {0x89, 'P', 'N', 'G', 13, 10,   26,   10, 0, 0,    0,    13, 'I',
                                    'H',  'D', 'R', 0,   0,  0x4E, 0x20, 0,  0, 0x4E, 0x20, 8,  2};
    uint8_t rgb[W * H * 3];
    int64_t width, height;
    sg_image image;
    bytes jpeg;

    (void)state;
    assert_fails(sg_image_decode("huge.png", png, sizeof png, &image), SG_ERR_DATA,
                 "huge.png: 20000 x 20000 pixels are too many");
    fixture_write("huge.png", png, sizeof png);
    assert_fails(sg_image_size(fixture_path("huge.png"), &width, &height), SG_ERR_DATA,
                 "20000 x 20000");
    smooth(rgb, W, H, 0);
    jpeg = make_jpeg(YCC, rgb, W, H, 0, 0);
    for (size_t i = 0; i + 9 < jpeg.size; i++) {
        if (jpeg.data[i] != 0xFF || jpeg.data[i + 1] != 0xC0) continue;
        memcpy(jpeg.data + i + 5, "\x4E\x20\x4E\x20", 4);
        break;
    }
    assert_fails(sg_image_decode("huge.jpg", jpeg.data, jpeg.size, &image), SG_ERR_DATA,
                 "huge.jpg: 20000 x 20000 pixels are too many");
    free(jpeg.data);
}

static void what_is_no_picture_is_refused(void **state) {
    int64_t width, height;
    sg_image image;

    (void)state;
    fixture_text("empty.png", "");
    fixture_text("text.png", "This is not a picture, whatever its name says.\n");
    assert_fails(sg_image_read(fixture_path("empty.png"), &image), SG_ERR_DATA, "is empty");
    assert_fails(sg_image_size(fixture_path("empty.png"), &width, &height), SG_ERR_DATA,
                 "is empty");
    assert_fails(sg_image_read(fixture_path("text.png"), &image), SG_ERR_DATA,
                 "neither a PNG nor a JPEG");
    assert_fails(sg_image_read(fixture_path("none.png"), &image), SG_ERR_MISSING, "none.png");
    assert_fails(sg_image_size(fixture_path("none.png"), &width, &height), SG_ERR_MISSING,
                 "none.png");
    assert_fails(sg_image_read(fixture_root, &image), SG_ERR_DATA, "is a folder");
    assert_fails(sg_image_size(fixture_root, &width, &height), SG_ERR_DATA, "is a folder");
}

static void png_goes_there_and_back(void **state) {
    sg_image image, back;
    uint8_t *a, *b;
    size_t na, nb;

    (void)state;
    assert_ok(sg_image_create(W, H, &image));
    for (int i = 0; i < W * H * 3; i++)
        image.rgb[i] = (uint8_t)(sg_philox(5, (uint64_t)i, 0).word[0] >> 24);
    for (int level = 1; level <= 9; level += 4) {
        assert_ok(sg_image_encode_png(&image, level, &a, &na));
        assert_ok(sg_image_encode_png(&image, level, &b, &nb));
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, na);
        sg_free(a);
        sg_free(b);
        assert_ok(sg_image_write_png(fixture_path("out.png"), &image, level));
        assert_ok(sg_image_read(fixture_path("out.png"), &back));
        assert_memory_equal(back.rgb, image.rgb, W * H * 3);
        memset(back.rgb, 0, W * H * 3);
        assert_ok(sg_image_read_into(fixture_path("out.png"), W, H, 1, NULL, back.rgb));
        assert_memory_equal(back.rgb, image.rgb, W * H * 3);
        assert_fails(sg_image_read_into(fixture_path("out.png"), W - 1, H, 1, NULL, back.rgb),
                     SG_ERR_DATA, "changed to 37 x 23");
        sg_image_clear(&back);
    }
    assert_fails(sg_image_encode_png(&image, 10, &a, &na), SG_ERR_ARG, "level 10");
    assert_fails(sg_image_write_png(fixture_path("no/such/out.png"), &image, 1), SG_ERR_IO,
                 "no/such");
    sg_image_clear(&image);
}

/* Both formats, all factors: the mean of each block, those at the borders included. */
static void pictures_are_read_shrunk(void **state) {
    uint8_t rgb[W * H * 3], full[W * H * 3], small[W * H * 3];
    sg_image image = {.width = W, .height = H, .rgb = rgb};
    bytes jpeg;

    (void)state;
    smooth(rgb, W, H, 0);
    jpeg = make_jpeg(YCC, rgb, W, H, 0, 0);
    fixture_png("smooth.png", &image);
    fixture_write("smooth.jpg", jpeg.data, jpeg.size);
    free(jpeg.data);
    for (int f = 0; f < 2; f++) {
        const char *path = fixture_path(f ? "smooth.jpg" : "smooth.png");

        for (int shrink = 1; shrink <= 8; shrink *= 2) {
            int w = (W + shrink - 1) / shrink, h = (H + shrink - 1) / shrink;

            assert_ok(sg_image_read_into(path, W, H, shrink, full, small));
            for (int y = 0; y < h; y++) {
                for (int x = 0; x < w; x++) {
                    double sum = 0.0;
                    int n = 0;

                    for (int v = y * shrink; v < H && v < (y + 1) * shrink; v++)
                        for (int u = x * shrink; u < W && u < (x + 1) * shrink; u++, n++)
                            sum += rgb[(v * W + u) * 3];
                    /* libjpeg averages over what it made up behind the border, too */
                    if (f && (x == w - 1 || y == h - 1)) continue;
                    if (!(fabs(small[(y * w + x) * 3] - sum / n) <= (f ? 5.0 : 0.51)))
                        fail_msg("%s by %d at %d %d: %d, not %g", path, shrink, x, y,
                                 small[(y * w + x) * 3], sum / n);
                }
            }
        }
        assert_fails(sg_image_read_into(path, W, H, 3, full, small), SG_ERR_ARG, "shrunk by 3");
    }
}

static void memory_may_fail_anywhere(void **state) {
    uint8_t rgb[W * H * 3];
    bytes file[2];
    sg_image image;
    uint8_t *data;
    size_t size;
    long live = sg_mem_live();

    (void)state;
    file[0] = make_png(6, 8, 1, 0, rgb);
    smooth(rgb, W, H, 0);
    file[1] = make_jpeg(YCC, rgb, W, H, 6, 0);
    for (int f = 0; f < 2; f++) {
        FAIL_EACH_ALLOCATION(sg_image_decode("a", file[f].data, file[f].size, &image), 4);
        sg_image_clear(&image);
        free(file[f].data);
    }
    image = fixture_image(W, H, 1, 2, 3);
    FAIL_EACH_ALLOCATION(sg_image_encode_png(&image, 6, &data, &size), 10);
    sg_free(data);
    sg_image_clear(&image);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_png_decodes),
        cmocka_unit_test(every_jpeg_decodes),
        cmocka_unit_test(orientation_is_applied),
        cmocka_unit_test(orientation_of_a_png_is_applied),
        cmocka_unit_test(late_orientation_of_a_png_is_ignored),
        cmocka_unit_test(late_orientation_is_ignored),
        cmocka_unit_test(cut_files_fail),
        cmocka_unit_test(changed_bytes_do_no_harm),
        cmocka_unit_test(a_jpeg_with_a_hole_is_refused),
        cmocka_unit_test(huge_pictures_are_refused),
        cmocka_unit_test(what_is_no_picture_is_refused),
        cmocka_unit_test(png_goes_there_and_back),
        cmocka_unit_test(pictures_are_read_shrunk),
        cmocka_unit_test(memory_may_fail_anywhere),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
