#include "nn/detect_decode.h"

static float clip(float x, float limit) { return x < 0.0f ? 0.0f : x > limit ? limit : x; }

void sg_detect_place(const sg_letterbox *map, int64_t width, int64_t height, sg_detection *found,
                     int64_t *count) {
    int64_t n = *count, kept = 0;

    for (int64_t i = 0; i < n; i++) {
        sg_detection d = found[i];

        sg_letterbox_undo(map, d.box, d.box);
        for (int k = 0; k < 4; k++) d.box[k] = clip(d.box[k], (float)(k % 2 ? height : width));
        if (d.box[2] > d.box[0] && d.box[3] > d.box[1]) found[kept++] = d;
    }
    *count = kept;
}

sg_status sg_detect_decode(const sg_nms_options *options, const float *boxes, const float *scores,
                           int64_t anchors, int64_t classes, const sg_letterbox *map, int64_t width,
                           int64_t height, sg_detection *found, int64_t *count) {
    int64_t n;

    SG_TRY(sg_nms(options, boxes, scores, anchors, classes, found, &n));
    sg_detect_place(map, width, height, found, &n);
    *count = n;
    return SG_OK;
}
