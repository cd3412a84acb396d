/* What launchers ask of the CUDA runtime. */
#include <stdio.h>
#include <stdlib.h>

#include "backend_cuda.h"
#include "launch.h"

static bool synchronous() {
    static const bool set = getenv("SG_CUDA_SYNC") && getenv("SG_CUDA_SYNC")[0] == '1';

    return set;
}

extern "C" sg_status sg_cuda_launched(const sg_args *a) {
    cudaError_t error = cudaGetLastError();
    char what[256];

    if (error == cudaSuccess && synchronous())
        error = cudaStreamSynchronize((cudaStream_t)a->queue);
    if (error == cudaSuccess) return SG_OK;
    snprintf(what, sizeof what, "%s (%s)", a->node->name, a->node->op->name);
    return sg_cuda_check(error, what);
}
