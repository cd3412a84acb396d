#include "cpu/parts.h"

#include <omp.h>

void sg_cpu_in_parts(int threads, sg_cpu_part run, const void *context) {
    if (threads <= 1) {
        run(context, 0, 1);
        return;
    }
#pragma omp parallel num_threads(threads)
    run(context, omp_get_thread_num(), omp_get_num_threads());
}
