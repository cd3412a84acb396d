/* Where the time of training steps went, node by node, beside what the machine could do at most: a
 * table for people. */
#ifndef SG_REPORT_PROFILE_H
#define SG_REPORT_PROFILE_H

#include "cpu/peak.h"
#include "graph/program.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sums over `steps` training steps, in seconds. */
typedef struct {
    const sg_program *program; /* of a shard; borrowed */
    const double *seconds;     /* one number a program step, over `runs` shards; borrowed */
    int64_t steps, shards, runs;
    /* On a device, where the parts of a step overlap and peaks are not known: `wait` and `whole`
     * alone of what follows. */
    bool on_device;
    int threads;      /* that run shards side by side */
    sg_cpu_peak peak; /* of one thread */
    double wait, prologue, parallel /* the shards, all of them */, tree, update;
    double whole; /* steps from start to end */
} sg_profile;

/* Lines of at most 100 columns: nodes sorted by time, then sums by op and kernel, in milliseconds a
 * shard; GFLOP/s, GB/s, and the share of the roofline, 100 % where a kernel is as fast as its
 * arithmetic or its bytes allow; then the parts of a step, and what lies furthest above the
 * roofline; on a device no roofline. *text is the caller's (sg_free). SG_ERR_OOM. */
sg_status sg_profile_table(const sg_profile *profile, char **text) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
