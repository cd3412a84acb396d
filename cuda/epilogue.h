/* What follows a convolution in the same place, where cuDNN did not do it. */
#ifndef SG_CUDA_EPILOGUE_H
#define SG_CUDA_EPILOGUE_H

#include "backend_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = act(y + b) on output 0 of `a`, in `layout` (N H W C, either dtype); b (C) may be NULL. */
sg_status sg_cuda_epilogue(const sg_args *a, sg_layout layout, const float *b,
                           sg_act act) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
