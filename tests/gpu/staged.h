/* For tests that were written for the emulated GPU, whose memory is the host's: the same calls on a
 * real one. The Makefile compiles these tests with -Dsg_backend_cuda=sg_backend_staged and
 * -Dsg_cuda_nms=sg_staged_nms. */
#ifndef SG_TESTS_GPU_STAGED_H
#define SG_TESTS_GPU_STAGED_H

#include "backend_cuda.h"
#include "detect_nms.h"

/* The CUDA backend, with all values in host memory: each kernel gets blocks of its own on the
 * device, each of just the bytes it is promised, which compute-sanitizer therefore watches. Filled
 * before main. */
extern sg_backend sg_backend_staged;

sg_status sg_staged_nms(const sg_nms_options *o, int64_t pictures, const float *boxes,
                        const float *scores, int64_t anchors, int64_t classes, sg_detection *found,
                        int64_t *count, void *scratch, void *queue) SG_CHECKED;

#endif
