#include "train/detector_nms.h"

#include <string.h>

#include "core/mem.h"

struct sg_detector_nms {
    sg_inference *inference; /* borrowed */
    const sg_device *device; /* its */
    sg_nms_options options;
    int64_t batch, anchors, classes;
    void *found, *count, *scratch;     /* on the device, (batch, max_boxes), (batch) */
    void *pinned_found, *pinned_count; /* the same on the host, of one run after the other */
};

static size_t found_bytes(const sg_detector_nms *s, int64_t pictures) {
    return (size_t)(pictures * s->options.max_boxes) * sizeof(sg_detection);
}

static size_t count_bytes(int64_t pictures) { return (size_t)pictures * sizeof(int64_t); }

static sg_status allocate(sg_detector_nms *s) {
    const sg_device *d = s->device;
    size_t scratch = d->nms_scratch(&s->options, s->batch, s->anchors, s->classes);

    SG_TRY(d->alloc(found_bytes(s, s->batch), "the boxes found", &s->found));
    SG_TRY(d->alloc(count_bytes(s->batch), "the count of boxes found", &s->count));
    if (scratch > 0) SG_TRY(d->alloc(scratch, "candidates for boxes", &s->scratch));
    SG_TRY(d->alloc_host(found_bytes(s, s->batch), "the boxes found", &s->pinned_found));
    return d->alloc_host(count_bytes(s->batch), "the count of boxes found", &s->pinned_count);
}

sg_status sg_detector_nms_create(sg_inference *inference, const sg_nms_options *options,
                                 int64_t batch, int64_t anchors, int64_t classes,
                                 sg_detector_nms **out) {
    sg_detector_nms *s;
    int64_t limit;
    sg_status st;

    SG_TRY(sg_nms_check(options, anchors, classes, &limit));
    s = sg_calloc(1, sizeof *s);
    if (!s) return sg_fail(SG_ERR_OOM, "detector: no memory for the boxes found");
    s->inference = inference;
    s->device = sg_inference_device(inference);
    s->options = *options;
    s->batch = batch;
    s->anchors = anchors;
    s->classes = classes;
    st = allocate(s);
    if (st != SG_OK) {
        sg_detector_nms_destroy(s);
        return st;
    }
    *out = s;
    return SG_OK;
}

void sg_detector_nms_destroy(sg_detector_nms *s) {
    if (!s) return;
    s->device->release(s->found);
    s->device->release(s->count);
    s->device->release(s->scratch);
    s->device->release_host(s->pinned_found);
    s->device->release_host(s->pinned_count);
    sg_free(s);
}

/* A run under way, and where its answer goes. */
typedef struct {
    sg_detector_nms *nms;
    int64_t pictures;
    sg_detection *found;
    int64_t *count;
} answer;

static sg_status put(void *context, void *queue, const void *const outputs[]) {
    const answer *a = context;
    sg_detector_nms *s = a->nms;

    SG_TRY(s->device->nms(&s->options, a->pictures, outputs[0], outputs[1], s->anchors, s->classes,
                          s->found, s->count, s->scratch, queue));
    SG_TRY(s->device->get(queue, s->pinned_found, s->found, found_bytes(s, a->pictures)));
    return s->device->get(queue, s->pinned_count, s->count, count_bytes(a->pictures));
}

static void take(void *context) {
    const answer *a = context;
    const sg_detector_nms *s = a->nms;
    const sg_detection *found = s->pinned_found;

    memcpy(a->count, s->pinned_count, count_bytes(a->pictures));
    for (int64_t i = 0; i < a->pictures; i++)
        memcpy(a->found + i * s->options.max_boxes, found + i * s->options.max_boxes,
               (size_t)a->count[i] * sizeof *found);
}

sg_status sg_detector_nms_run(sg_detector_nms *s, const void *const inputs[],
                              const void *const there[], int64_t pictures, sg_detection *found,
                              int64_t *count) {
    answer a = {s, pictures, found, count};
    const sg_inference_then then = {put, take, &a};

    return sg_inference_run_then(s->inference, inputs, there, &then);
}
