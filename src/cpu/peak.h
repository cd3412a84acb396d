/* What one thread of this machine can do at most, measured: the roofline of a profile. */
#ifndef SG_CPU_PEAK_H
#define SG_CPU_PEAK_H

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_PEAK_LEVELS = 3 };

typedef struct {
    double flop_rate; /* multiplications and additions a second */
    /* Where data of up to `bytes` lie (inner cache, outer cache, memory: infinite), and the bytes
     * read and written there a second. */
    struct {
        double bytes, rate;
    } level[SG_PEAK_LEVELS];
} sg_cpu_peak;

/* Takes about 0.3 s on this thread. In the instruction set of sg_cpu_set_isa. SG_ERR_OOM; and
 * SG_ERR_UNAVAILABLE without AVX2. */
sg_status sg_cpu_measure_peak(sg_cpu_peak *out) SG_CHECKED;

/* Seconds below which no kernel can do `flop` operations on `bytes` of inputs and outputs. */
double sg_cpu_peak_seconds(const sg_cpu_peak *peak, double flop, double bytes);

#ifdef __cplusplus
}
#endif
#endif
