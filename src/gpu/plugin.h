/* What the plug-in that computes on GPUs, libspotgrad_cuda.so, shows of itself: one symbol. The
 * program loads it when a GPU is wanted and a driver is there; it takes what it needs of the
 * program from the program, so both must be of one version. C11 and C++17. */
#ifndef SG_GPU_PLUGIN_H
#define SG_GPU_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>

#include "graph/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { SG_PRECISION_FP32, SG_PRECISION_TF32, SG_PRECISION_BF16 } sg_precision;

/* "fp32", "tf32", "bf16". */
const char *sg_precision_name(sg_precision precision);

enum { SG_PLUGIN_CLASS_BYTES = 256 };

typedef struct {
    int ordinal; /* of the GPU, in the driver's order */
    sg_precision precision;
    /* Kernels that were chosen before, as `plans` gave them, and the class where that was, as
     * `describe` gave it; of another class, or NULL: all are chosen anew. */
    const char *plans, *plans_class;
    bool timed; /* choose by timing, so that two runs may choose differently */
} sg_plugin_options;

typedef struct sg_plugin {
    const char *version; /* SG_PLUGIN_VERSION where it was built; first of all, for ever */
    /* The CUDA that it was built with, as a driver counts: 13000. */
    int (*cuda)(void);
    const sg_backend *backend;
    /* Take the device: the backend's programs are compiled for it from now on. Once at a time.
     * SG_ERR_UNAVAILABLE, SG_ERR_CUDA: it cannot be used, and why; SG_ERR_DATA: damaged plans. */
    sg_status (*open)(const sg_plugin_options *options);
    void (*close)(void); /* after the last program */
    /* Between open and close: a small convolution and a small product are planned and run, so that
     * NVIDIA's libraries have loaded all that they are made of. SG_ERR_UNAVAILABLE, SG_ERR_CUDA:
     * which one cannot, and why. */
    sg_status (*try_libraries)(void);
    /* The numeric class: "cuda sm_90 132 MP cuDNN 9.19.0 cuBLASLt 13.1.0 bf16". */
    void (*describe)(char *text, size_t bytes);
    /* The kernels chosen so far and those that were given, as text: the caller's (sg_free), NULL:
     * no memory. */
    char *(*plans)(void);
} sg_plugin;

/* The program's version and that of this interface: backend.h, device.h and what they include. */
#define SG_PLUGIN_VERSION SPOTGRAD_VERSION " (interface 2)"
#define SG_PLUGIN_SYMBOL  "sg_cuda_plugin"

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
extern const sg_plugin sg_cuda_plugin;

/* The plug-in beside this program, loaded; it stays loaded. A driver is looked for first, as
 * loading takes 0.1 s and 200 MB. SG_ERR_MISSING where it was not built; SG_ERR_UNAVAILABLE: a
 * library that it needs is missing, which, or it is of another version. `path` (may be NULL) is
 * where it is. */
sg_status sg_plugin_load(char *path, size_t bytes, const sg_plugin **out) SG_CHECKED;
/* SG_ERR_UNAVAILABLE where a driver that serves CUDA `driver` (sg_gpu_list) is too old for it. */
sg_status sg_plugin_check_driver(const sg_plugin *plugin, int driver) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
