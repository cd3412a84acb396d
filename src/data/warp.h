/* How an input picture is made of decoded ones, as plain data: what data/resample.h carries out on
 * a CPU, and a device's kernel (cuda/augment.cu) for a whole batch. Private to data/ and to
 * devices.
 *
 * The same bits wherever it is done. An axis' weights need only + - / of doubles, floor, ceil and
 * rounding to the nearest integer, which IEEE 754 fixes, with no product that is then added to,
 * so nothing can be contracted; all that is done to pixels is done in integers. */
#ifndef SG_DATA_WARP_H
#define SG_DATA_WARP_H

#include <stdint.h>

/* output = source * scale + shift, in pixels whose centres lie at one half; scale < 0 mirrors.
 * Only output pixels begin .. end-1 are written, and of these only those whose centre falls into
 * the picture. */
typedef struct {
    double scale, shift;
    int64_t begin, end;
} sg_axis;

enum {
    SG_COLOUR_BITS = 12, /* fractional, of an sg_colour */
    SG_WEIGHT_BITS = 14, /* of an axis' weights */
    SG_ROW_BITS = 7,     /* of the blend of an output row's source rows: 255 << 7 is below 2^15 */
    SG_WARP_SOURCES = 4, /* most of one input picture */
    SG_WARP_TAPS = 96,   /* most source pixels along an axis, of an output pixel, on a device */
};

/* rgb' = m rgb + offset, clamped to 0..255; SG_COLOUR_BITS fractional bits. */
typedef struct {
    int32_t m[3][3], offset[3];
} sg_colour;

typedef struct {
    sg_axis x, y; /* from decoded pixels */
    sg_colour colour;
    int64_t at; /* byte where the decoded picture, (height, width, 3), begins */
    int32_t width, height;
    int32_t kept; /* `at` counts in the block of kept pictures, else in that of staged ones */
} sg_warp_source;

/* An input picture: matte, and in it what its sources cover, none twice. */
typedef struct sg_warp_job {
    int32_t n_sources;
    int32_t finished; /* instead of sources: source[0].at is where it stands, staged, ready made */
    sg_warp_source source[SG_WARP_SOURCES];
} sg_warp_job;

#endif
