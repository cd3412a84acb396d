/* What the files of cuda/vendor/ share. */
#ifndef SG_CUDA_VENDOR_INTERNAL_H
#define SG_CUDA_VENDOR_INTERNAL_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>

#include "plan_table.h"
#include "vendor.h"

struct sg_cuda_vendor {
    sg_plan_table *table; /* owned, as all that follows */
    bool timed, compiled;
    size_t workspace;
    cudnnBackendDescriptor_t device; /* NULL but for planning without a GPU */
    cudnnHandle_t cudnn;             /* NULL until first needed, as the next two */
    cublasLtHandle_t blas;
    cudaStream_t queue; /* for timing */
};

/* The first member of each library's plan. */
struct sg_vendor_plan {
    sg_status (*run)(const sg_vendor_plan *plan, const void *const in[], void *const out[],
                     void *scratch, void *queue);
    void (*release)(sg_vendor_plan *plan); /* frees it whole */
    size_t scratch;
    bool fused;
    char label[48];
};

/* The seconds of a run of `plan`, the median of several, on memory of its own of those bytes. */
sg_status sg_vendor_time(sg_cuda_vendor *vendor, const sg_vendor_plan *plan,
                         const size_t in_bytes[3], const size_t out_bytes[2],
                         double *seconds) SG_CHECKED;

#endif
