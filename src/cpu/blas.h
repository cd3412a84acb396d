/* OpenBLAS, loaded when a matrix product is first compiled: it reads its core type from the
 * environment while it is loaded, so it cannot be linked, and who needs no product (the detector)
 * need not have its 36 MB. Also keeps the instruction set chosen for this process. */
#ifndef SG_CPU_BLAS_H
#define SG_CPU_BLAS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

/* Settle the instruction set if nobody has chosen one: AVX2. */
sg_status sg_blas_default_isa(void) SG_CHECKED;

/* Load OpenBLAS, on one thread; *found is false where it is not installed, for good in this
 * process: sg_dnnl_matmul serves then. SG_ERR_UNAVAILABLE: no AVX2. Any thread, any number of
 * times. */
sg_status sg_blas_load(bool *found) SG_CHECKED;

/* c = op(a) op(b), row-major: (M, K) x (K, N) -> (M, N); a flag transposes that operand first. Only
 * after sg_blas_load has found it. SG_ERR_OOM: no room for OpenBLAS's buffers. */
sg_status sg_blas_matmul(const float *a, const float *b, float *c, int64_t M, int64_t N, int64_t K,
                         bool transpose_a, bool transpose_b) SG_CHECKED;

#endif
