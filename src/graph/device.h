/* What a backend's device offers where its kernels do not work on host memory: memory of its own,
 * queues on which copies and kernels are put in order, and recordings of them.
 *
 * Every call is made by one thread at a time. Failures are SG_ERR_CUDA, or SG_ERR_UNAVAILABLE once
 * the device is lost; out of memory is SG_ERR_OOM, with what was asked and what is free. */
#ifndef SG_GRAPH_DEVICE_H
#define SG_GRAPH_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sg_warp_job;  /* data/warp.h */
struct sg_detection; /* nn/nms.h */
struct sg_nms_options;

enum { SG_DEVICE_SHARDS = 64 }; /* that are added, at most */

typedef struct sg_device {
    /* Zeroed device memory; `what` is for the error. */
    sg_status (*alloc)(size_t bytes, const char *what, void **out);
    void (*release)(void *block); /* NULL is fine */
    /* Zeroed host memory that copies reach without another one (pinned). */
    sg_status (*alloc_host)(size_t bytes, const char *what, void **out);
    void (*release_host)(void *block);                            /* NULL is fine */
    sg_status (*memory)(size_t *free_bytes, size_t *total_bytes); /* of the device */

    sg_status (*queue_create)(void **queue);
    void (*queue_destroy)(void *queue); /* waits; NULL is fine */
    /* All that was put on `queue` is done. */
    sg_status (*wait)(void *queue);
    /* Copies, in order with the queue's kernels: to the device, from it, within it. Host memory may
     * be used again after `wait`. */
    sg_status (*put)(void *queue, void *device, const void *host, size_t bytes);
    sg_status (*get)(void *queue, void *host, const void *device, size_t bytes);
    sg_status (*copy)(void *queue, void *to, const void *from, size_t bytes);

    /* An event stands behind all that was on a queue when it was last marked there; one that never
     * was is nothing to wait for. Not for recordings: they keep no event's later marks. */
    sg_status (*event_create)(void **event);
    void (*event_destroy)(void *event); /* NULL is fine */
    sg_status (*event_mark)(void *event, void *queue);
    sg_status (*event_wait)(void *event); /* the host waits */
    /* What is put on `queue` from now on begins after the event. */
    sg_status (*event_follow)(void *queue, void *event);

    /* Between the two, what is put on `queue` is recorded and not run; `replay` puts it there
     * whole.
     */
    sg_status (*record)(void *queue);
    sg_status (*record_end)(void *queue, void **recording);
    sg_status (*replay)(void *queue, void *recording);
    void (*recording_destroy)(void *recording); /* NULL is fine */

    /* grads[0][i] = the sum over the `n` shards' grads[s][i], `floats` of each, in the order of
     * train/trainer.h's tree. A sum that is not finite sets step[SG_STEP_DIVERGED] to 1. All device
     * memory but the array `grads` itself, which is read at once. n <= SG_DEVICE_SHARDS. */
    sg_status (*add_shards)(void *queue, float *const grads[], int n, int64_t floats, float *step);

    /* image (n, 3, side, side) = the input pictures that jobs[0 .. n-1] describe, from decoded ones
     * in two blocks, to the bit what data/augment.h does on a CPU. All device memory. */
    sg_status (*augment)(void *queue, const struct sg_warp_job *jobs, int64_t n,
                         const uint8_t *kept, const uint8_t *staged, int64_t side, uint8_t *image);

    /* found (n, max_boxes), count (n) = what sg_nms (nn/nms.h) finds in each of n pictures, to the
     * bit, from boxes (n, anchors, 4) and scores (n, anchors, classes); of a row of `found` the
     * first `count` are written. All device memory, but for `options`, which are read at once.
     * `scratch` has nms_scratch() bytes, mostly 0. */
    sg_status (*nms)(const struct sg_nms_options *options, int64_t n, const float *boxes,
                     const float *scores, int64_t anchors, int64_t classes,
                     struct sg_detection *found, int64_t *count, void *scratch, void *queue);
    size_t (*nms_scratch)(const struct sg_nms_options *options, int64_t n, int64_t anchors,
                          int64_t classes);
} sg_device;

/* Memory of `device`, zeroed; or of the host where that is NULL, as sg_malloc gives it. */
sg_status sg_block_alloc(const sg_device *device, size_t bytes, const char *what,
                         void **out) SG_CHECKED;
void sg_block_release(const sg_device *device, void *block); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
