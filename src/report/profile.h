/* Where the time of a program went, node by node: a table for people. */
#ifndef SG_REPORT_PROFILE_H
#define SG_REPORT_PROFILE_H

#include "graph/program.h"

#ifdef __cplusplus
extern "C" {
#endif

/* seconds: one number a program step (sg_bindings.seconds), summed over `runs` runs. Lines sorted
 * by time: milliseconds a run, share, GFLOP/s, GB/s, the kernel that ran, the node; then sums by
 * kernel. *text is the caller's (sg_free). SG_ERR_OOM. */
sg_status sg_profile_table(const sg_program *p, const double *seconds, int64_t runs,
                           char **text) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
