/* Our own kernels in parts, side by side, where a single input's ops are divided among threads
 * (sg_backend_options.op_threads): each thread then touches about what it computed in the
 * convolution before, which lies in its core's cache. For kernels whose every output element is one
 * thread's: results do not depend on the number of parts. */
#ifndef SG_CPU_PARTS_H
#define SG_CPU_PARTS_H

#include <stdint.h>

/* Part `part` of `parts`. */
typedef void (*sg_cpu_part)(const void *context, int64_t part, int64_t parts);

/* All parts of `run`, in at most `threads` threads of OpenMP, those that oneDNN has, too. */
void sg_cpu_in_parts(int threads, sg_cpu_part run, const void *context);

/* Where part `part` of `n` pieces begins, and the one before ends. */
static inline int64_t sg_cpu_part_begin(int64_t n, int64_t part, int64_t parts) {
    return n * part / parts;
}

#endif
