/* What follows a convolution or a product, where the library did not do it. */
#ifndef SG_CUDA_EPILOGUE_H
#define SG_CUDA_EPILOGUE_H

#include "backend_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/* z = z + b, y = act(z): y is output 0 of `a`, in `layout` (a matrix, or N H W C, either dtype), z
 * as y, or NULL: then the sums are in y and stay nowhere. b (C) may be NULL. */
sg_status sg_cuda_epilogue(const sg_args *a, sg_layout layout, const float *b, void *z,
                           sg_act act) SG_CHECKED;
/* pointwise.cu: dx = dx act'(z), dx output 0 of `a`, z in its layout and size. */
sg_status sg_cuda_slope(const sg_args *a, sg_layout layout, const void *z, sg_act act) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
