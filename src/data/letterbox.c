#include "data/letterbox.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "data/augment.h"
#include "data/resample.h"

static float pad_of(double size, int64_t side) {
    return size < (double)side ? (float)floor(((double)side - size) / 2.0) : 0.0f;
}

sg_letterbox sg_letterbox_map(int64_t width, int64_t height, int64_t side) {
    sg_letterbox map;

    map.scale = (float)((double)side / (double)(width > height ? width : height));
    map.pad_x = pad_of((double)width * (double)map.scale, side);
    map.pad_y = pad_of((double)height * (double)map.scale, side);
    return map;
}

void sg_letterbox_warp(int64_t width, int64_t height, int64_t side, sg_warp_source *out) {
    sg_letterbox m = sg_letterbox_map(width, height, side);

    *out = (sg_warp_source){
        .x = {.scale = (double)m.scale, .shift = (double)m.pad_x, .begin = 0, .end = side},
        .y = {.scale = (double)m.scale, .shift = (double)m.pad_y, .begin = 0, .end = side},
        .width = (int32_t)width,
        .height = (int32_t)height,
    };
    for (int c = 0; c < 3; c++) out->colour.m[c][c] = 1 << SG_COLOUR_BITS; /* unchanged */
}

void sg_letterbox_fill(const sg_image *image, int64_t side, void *scratch, uint8_t *out,
                       sg_letterbox *map) {
    sg_warp_source s;

    sg_letterbox_warp(image->width, image->height, side, &s);
    memset(out, SG_IMAGE_MATTE, (size_t)(3 * side * side));
    sg_resample(image, &s.x, &s.y, NULL, side, out, scratch);
    if (map) *map = sg_letterbox_map(image->width, image->height, side);
}

sg_status sg_letterbox_image(const sg_image *image, int64_t side, uint8_t *out, sg_letterbox *map) {
    void *scratch = sg_malloc(sg_augment_scratch_bytes(image->width, image->height, side));

    if (!scratch)
        return sg_fail(SG_ERR_OOM, "letterbox: no memory for a picture of %lld x %lld",
                       (long long)image->width, (long long)image->height);
    sg_letterbox_fill(image, side, scratch, out, map);
    sg_free(scratch);
    return SG_OK;
}

void sg_letterbox_apply(const sg_letterbox *map, const float box[4], float out[4]) {
    for (int i = 0; i < 4; i++) {
        float pad = i % 2 ? map->pad_y : map->pad_x;

        out[i] = (float)((double)box[i] * (double)map->scale + (double)pad);
    }
}

void sg_letterbox_undo(const sg_letterbox *map, const float box[4], float out[4]) {
    for (int i = 0; i < 4; i++) {
        float pad = i % 2 ? map->pad_y : map->pad_x;

        out[i] = (float)(((double)box[i] - (double)pad) / (double)map->scale);
    }
}
