/* Finding NVIDIA's libraries, which are the host's: the driver's and, for the plug-in, cuDNN's and
 * cuBLASLt's. The loader looks first (LD_LIBRARY_PATH, a library's RUNPATH, ldconfig's cache); what
 * it does not find is looked for where CUDA, pip and containers put it. */
#ifndef SG_GPU_LIBRARIES_H
#define SG_GPU_LIBRARIES_H

#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* dlopen (RTLD_NOW | RTLD_LOCAL) of a name or a path, and of what it needs. NULL: it failed, `why`
 * says why, in the loader's words. What was loaded stays. */
void *sg_library_open(const char *name, char *why, size_t bytes);

/* The folder of the file that this program's code was loaded from. It is not /proc/self/exe's where
 * the program was started by a loader that is named (as a bundle's may be). */
sg_status sg_program_folder(char *path, size_t bytes) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
