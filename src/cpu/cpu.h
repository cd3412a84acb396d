/* The CPU backend's public switch; the backend itself is sg_backend_cpu (graph/backend.h). */
#ifndef SG_CPU_CPU_H
#define SG_CPU_CPU_H

#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Choose the instruction set of oneDNN and OpenBLAS: "avx2" (the default; the same bits on every
 * machine that has it) or "native", which uses AVX-512 where the processor has it. Call it first of
 * all, while the process has one thread: once either library is in use the choice stands, and
 * another one is SG_ERR_UNAVAILABLE. Also SG_ERR_UNAVAILABLE: a processor without AVX2 and FMA.
 * SG_ERR_CONFIG: another name. */
sg_status sg_cpu_set_isa(const char *isa) SG_CHECKED;

/* To be called first of all, where a program's threads are to have all processors whatever
 * OMP_PROC_BIND, OMP_PLACES or GOMP_CPU_AFFINITY say: they are about OpenMP's threads, but by them
 * the thread that starts a process is bound to the first place, and so is each that it starts. */
void sg_cpu_unbind(void);

/* Channels of a block of the blocked layout: 16 where "native" was chosen and the processor has
 * AVX-512, else 8. Settles the choice. */
int sg_cpu_block(void);

/* One more whenever a training on CPUs comes to other bits than before, by whatever change in this
 * program: tests/integration/numerics.sh tells. Workers of different numbers do not train together,
 * and no run goes on under another one, but with run.exact=false. */
enum { SG_CPU_NUMERICS = 1 };

/* The numeric class of what this process has compiled: "cpu avx2 oneDNN 2.6.3 numerics 1", or
 * "native" or "native avx512" instead of "avx2"; once there was a matrix product among it,
 * " OpenBLAS 0.3.21" stands before "numerics", or " sgemm" (oneDNN's) where that is not installed.
 */
void sg_cpu_class(char *text, size_t bytes);
/* Whether two of them promise the same bits. Files from before there was a number are of number 1.
 */
bool sg_cpu_same_class(const char *a, const char *b);

#ifdef __cplusplus
}
#endif
#endif
