/* What the detector's kernels share: the levels, and exact products. */
#ifndef SG_CUDA_DETECT_CUDA_H
#define SG_CUDA_DETECT_CUDA_H

#include "backend_cuda.h"
#include "launch.h"
#include "ops/detect.h"

static const int64_t kMaxAnchors = 1 << 30;

/* sg_anchors, by value in a kernel's arguments. */
typedef struct {
    int levels;
    int start[SG_MAX_LEVELS + 1]; /* a level's first anchor; the last: all */
    int stride[SG_MAX_LEVELS], width[SG_MAX_LEVELS], height[SG_MAX_LEVELS];
} device_anchors;

/* SG_ERR_UNSUPPORTED for more anchors than threads of ints can number. */
static inline sg_status device_anchors_of(const sg_node *node, const sg_anchors *anchors,
                                          device_anchors *out) {
    if (sg_anchor_count(anchors) > kMaxAnchors)
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: %lld anchors; cuda numbers 2^30", node->name,
                       (long long)sg_anchor_count(anchors));
    *out = device_anchors{};
    out->levels = anchors->levels;
    for (int i = 0; i < anchors->levels; i++) {
        out->stride[i] = (int)anchors->stride[i];
        out->width[i] = (int)anchors->width[i];
        out->height[i] = (int)anchors->height[i];
        out->start[i + 1] = out->start[i] + out->width[i] * out->height[i];
    }
    return SG_OK;
}

/* a * b, rounded by itself: the compiler may not fuse it with a sum. What is compared with other
 * results, for a choice, is computed so: as on CPUs, and a tie stays a tie. */
__device__ static inline double product(double a, double b) { return __dmul_rn(a, b); }

#endif
