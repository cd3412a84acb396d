/* Boxes with labels, drawn into pictures, and pictures tiled into one sheet. */
#ifndef SG_REPORT_ANNOTATE_H
#define SG_REPORT_ANNOTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"
#include "data/image.h"

typedef struct {
    float xmin, ymin, xmax, ymax; /* pixels of the picture; may lie beyond it, is clipped */
    int label;                    /* class index: the colour */
    const char *name;             /* borrowed; NULL: no tag. Beyond ASCII each byte shows as '?' */
    float score;                  /* shown with two digits; negative: not shown */
    bool truth;                   /* ground truth: dashed, white, tag without a score */
} sg_annotate_box;

typedef struct {
    int scale;     /* draw on the picture enlarged by 1 .. 8 (nearest pixel); 0: 2 where its longer
                      side is under 640 pixels, else 1 */
    int thickness; /* of lines, pixels of the result; 0: by the picture's size */
    int text;      /* pixels of the result per dot of the 5 x 7 font, 1 .. 8; 0: by its size */
    bool no_tags;
} sg_annotate_options;

/* A copy of `image` with `n` boxes; options may be NULL (all 0). *out is the caller's. Boxes wholly
 * outside, empty or not finite are left out. Boxes of a higher score lie on top, and their tags
 * find their place first: above the box, below, inside, kept in the picture and off other tags
 * where there is room. SG_ERR_ARG, SG_ERR_OOM. */
sg_status sg_annotate(const sg_image *image, const sg_annotate_box *boxes, int64_t n,
                      const sg_annotate_options *options, sg_image *out) SG_CHECKED;

/* The colour of a class (RGB), from Okabe and Ito's palette; repeats after seven. */
const uint8_t *sg_annotate_color(int label);

/* A copy scaled down (never up) to fit into width x height pixels. *out is the caller's.
 * SG_ERR_ARG, SG_ERR_OOM. */
sg_status sg_image_fit(const sg_image *image, int64_t width, int64_t height,
                       sg_image *out) SG_CHECKED;

/* One sheet of n pictures, `columns` in a row (0: about square), each scaled down (never up) to fit
 * into cell_width x cell_height pixels and centred; `titles` (may be NULL, as may single ones)
 * stand below each. *out is the caller's. SG_ERR_ARG, SG_ERR_OOM, SG_ERR_UNSUPPORTED when the sheet
 * would exceed SG_IMAGE_MAX_PIXELS. */
sg_status sg_image_grid(const sg_image *const *images, const char *const *titles, int64_t n,
                        int columns, int64_t cell_width, int64_t cell_height,
                        sg_image *out) SG_CHECKED;

/* Text in the built-in 5 x 7 font (cells of 6 x 9 dots), `scale` pixels a dot, its upper left dot
 * at (x, y), clipped to the picture. sg_text_width is in pixels. */
void sg_text_draw(sg_image *image, int64_t x, int64_t y, const char *text, int scale,
                  const uint8_t rgb[3]);
int64_t sg_text_width(const char *text, int scale);

#endif
