/* The CPU backend's public switch; the backend itself is sg_backend_cpu (graph/backend.h). */
#ifndef SG_CPU_CPU_H
#define SG_CPU_CPU_H

#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Choose the instruction set of oneDNN and OpenBLAS: "avx2" (the default; the same bits on every
 * machine that has it) or "native". Our own kernels are AVX2 always. Call it first of all, while
 * the process has one thread: once either library is in use the choice stands, and another one is
 * SG_ERR_UNAVAILABLE. Also SG_ERR_UNAVAILABLE: a processor without AVX2 and FMA. SG_ERR_CONFIG:
 * another name. */
sg_status sg_cpu_set_isa(const char *isa) SG_CHECKED;

/* The numeric class of what this process has compiled: "cpu avx2 oneDNN 2.6.3"; once there was a
 * matrix product among it, " OpenBLAS 0.3.21" follows, or " sgemm" (oneDNN's) where that is not
 * installed. */
void sg_cpu_class(char *text, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
