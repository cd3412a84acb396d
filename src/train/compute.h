/* Where a run computes: on this machine's CPU, or on a GPU through the plug-in. */
#ifndef SG_TRAIN_COMPUTE_H
#define SG_TRAIN_COMPUTE_H

#include "gpu/driver.h"
#include "gpu/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *device;    /* run.device */
    const char *precision; /* train.precision */
    /* Of the checkpoint that it goes on from: its numeric class, which `auto` follows, and its
     * kernels, which are taken again where the class is the same. NULL: there is none. */
    const char *began, *plans;
    bool timed; /* choose kernels by timing */
} sg_compute_options;

typedef struct {
    const sg_plugin *plugin; /* NULL: the CPU */
    int ordinal;
    sg_gpu gpu; /* with a plug-in */
} sg_compute;

/* `auto` takes a GPU where all that it needs is there. Where there is a driver and something else
 * is missing, the log says what; without a driver it is silent. SG_ERR_OOM: the GPU, or this
 * machine, has no memory left; SG_ERR_UNAVAILABLE: the device that is asked for by name cannot be
 * had, and why; SG_ERR_CONFIG: it does not have that precision.
 * Zeroed memory in *out is the CPU, open. One GPU a process, one user at a time. */
sg_status sg_compute_open(const sg_compute_options *options, sg_compute *out) SG_CHECKED;
void sg_compute_close(sg_compute *compute); /* after all programs of its backend */
/* Whether the libraries that it computes with are whole: sg_plugin's try_libraries. */
sg_status sg_compute_try(const sg_compute *compute) SG_CHECKED;

const sg_backend *sg_compute_backend(const sg_compute *compute);
/* The numeric class: sg_cpu_class, or the plug-in's with its precision. */
void sg_compute_class(const sg_compute *compute, char *text, size_t bytes);
/* The kernels chosen so far, as text: "" on CPUs. The caller's (sg_free). */
sg_status sg_compute_plans(const sg_compute *compute, char **out) SG_CHECKED;
/* For people: "cuda:0, NVIDIA H100 80GB HBM3", "cpu". */
void sg_compute_name(const sg_compute *compute, char *text, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
