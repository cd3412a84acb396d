/* Augmentation: one input picture from one source picture, or from four (mosaic).
 *
 * Everything random is drawn by `sg_augment_plan_init`, a pure function of (options, seed, epoch,
 * sample): the plan says which samples are needed and what happens to each. `sg_augment_begin` and
 * `sg_augment_add`, once a source, then carry it out, straight from decoded RGB into the planes of
 * the input: each source is warped once.
 *
 * A lone source is letterboxed, perhaps mirrored, scaled about its centre and shifted. In a mosaic
 * four sources, each scaled likewise, fill the quadrants around a point; where a source is larger
 * than its quadrant a random part of it is seen, else it lies at a random place in it. */
#ifndef SG_DATA_AUGMENT_H
#define SG_DATA_AUGMENT_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"
#include "data/dataset.h"
#include "data/image.h"
#include "data/warp.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    float mosaic;      /* probability of a mosaic of four, 0..1 */
    float flip;        /* probability that a source is mirrored left to right, 0..1 */
    float scale;       /* size factor in [1 - scale, 1 + scale], 0..0.9 */
    float translate;   /* shift up to +-translate * side in x and y, 0..1 */
    float hue;         /* rotation up to +-hue of the whole circle, 0..0.5 */
    float saturation;  /* gain in [1 - saturation, 1 + saturation], 0..1 */
    float value;       /* gain in [1 - value, 1 + value], 0..1 */
    float brightness;  /* added, up to +-brightness * 255, 0..1 */
    float min_visible; /* a box is kept when at least this share of its area is still seen, 0..1 */
    float min_side;    /* ... and both sides have at least so many input pixels, >= 0 */
} sg_augment_options;

/* mosaic 0.5, flip 0.5, scale 0.5, translate 0.1, hue 0.015, saturation 0.5, value 0.3, brightness
 * 0.05, min_visible 0.3, min_side 2. */
sg_augment_options sg_augment_defaults(void);
/* SG_ERR_CONFIG naming the option that is out of its range. */
sg_status sg_augment_options_check(const sg_augment_options *options) SG_CHECKED;

typedef struct {
    int64_t sample; /* index in the data set */
    int flip;
    float scale; /* of the letterboxed picture */
    /* Alone: shift of the centre, in sides. In a mosaic: 0..1, from touching the quadrant's left
     * (upper) border to touching its right (lower) one. */
    float place_x, place_y;
    float hue, saturation, value, brightness; /* radians, gain, gain, of 255 */
} sg_augment_source;

typedef struct {
    int n_sources; /* 1, or 4: top left, top right, bottom left, bottom right */
    sg_augment_source source[SG_WARP_SOURCES];
    int64_t meet_x, meet_y; /* of a mosaic: the pixel where its quadrants meet */
    float min_visible, min_side;
    int64_t side;
} sg_augment_plan;

/* `n`: samples in the data set; mosaics take their three other sources from all of them.
 * `allow_mosaic` = 0 leaves every other draw as it would have been. */
void sg_augment_plan_init(sg_augment_plan *plan, const sg_augment_options *options, uint64_t seed,
                          int64_t epoch, int64_t sample, int64_t n, int64_t side, int allow_mosaic);

/* What carrying out a plan writes. Pointers are the caller's. */
typedef struct {
    uint8_t *image;   /* (3, side, side); NULL: only its boxes are wanted */
    float *boxes;     /* (SG_MAX_BOXES, 4) xyxy input pixels; unused rows are zero */
    int32_t *classes; /* (SG_MAX_BOXES), unused ones are zero */
    int32_t count;    /* of boxes */
    int32_t dropped;  /* boxes left out because there were more than SG_MAX_BOXES */
} sg_augment_output;

/* Scratch for `sg_augment_add` and `sg_letterbox_fill` with sources of up to width_max x height_max
 * pixels. */
size_t sg_augment_scratch_bytes(int64_t width_max, int64_t height_max, int64_t side);

/* Where source number `which` goes and what becomes of its colours, but not where its pixels lie:
 * `at` and `kept` are zero. */
void sg_augment_warp(const sg_augment_plan *plan, int which, const sg_sample *sample, int shrink,
                     sg_warp_source *out);

/* Fill with matte, no boxes. */
void sg_augment_begin(const sg_augment_plan *plan, sg_augment_output *out);
/* Add source number `which`: `image` is the decoded picture of plan->source[which].sample, `shrink`
 * times smaller than it is, and `sample` its entry in the data set. When boxes exceed SG_MAX_BOXES
 * the largest are kept. */
void sg_augment_add(const sg_augment_plan *plan, int which, const sg_image *image, int shrink,
                    const sg_sample *sample, void *scratch, sg_augment_output *out);

/* Its boxes alone. */
void sg_augment_add_boxes(const sg_augment_plan *plan, int which, const sg_sample *sample,
                          sg_augment_output *out);

/* Add one box. With SG_MAX_BOXES there already, it takes the place of the smallest if it is larger;
 * one is counted as dropped either way. */
void sg_augment_keep_box(const float box[4], int32_t class_id, sg_augment_output *out);

#ifdef __cplusplus
}
#endif
#endif
