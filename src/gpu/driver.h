/* The GPUs of this machine, as NVIDIA's driver tells of them. Nothing is linked: the driver's
 * library is looked for when asked, so the same program runs where there is none. */
#ifndef SG_GPU_DRIVER_H
#define SG_GPU_DRIVER_H

#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_MAX_GPUS = 16, SG_GPU_NAME_BYTES = 96 };

typedef struct {
    char name[SG_GPU_NAME_BYTES]; /* "NVIDIA H100 80GB HBM3" */
    int major, minor;             /* compute capability */
    int multiprocessors;
    size_t bytes; /* of its memory */
} sg_gpu;

typedef struct {
    int driver; /* the newest CUDA that it can serve: 1000 major + 10 minor, 13000 */
    int n; /* GPUs, at most SG_MAX_GPUS; the driver's order, which CUDA_VISIBLE_DEVICES changes */
    sg_gpu gpu[SG_MAX_GPUS];
} sg_gpu_list;

/* SG_ERR_MISSING where there is no driver, which takes some milliseconds; SG_ERR_UNAVAILABLE with
 * why there is no GPU although there is one: it sees none, or what it says. */
sg_status sg_gpu_find(sg_gpu_list *out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
