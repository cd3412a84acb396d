/* A pool of worker threads that run shards side by side.
 *
 * Which thread runs which item never changes a result: every item is computed by one thread from
 * start to end. */
#ifndef SG_CORE_THREADS_H
#define SG_CORE_THREADS_H

#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_pool sg_pool;

/* `worker` is 0 .. n_threads-1 and unique among the items that run at the same time: an index for
 * per-thread arenas. */
typedef sg_status (*sg_pool_fn)(void *context, int64_t item, int worker);

/* n_threads >= 1; the calling thread is worker 0, n_threads - 1 are started. `enter` (may be NULL)
 * runs first in each worker thread and, once, in the caller: a place to set its OpenMP and BLAS
 * threads to one. */
sg_status sg_pool_create(int n_threads, void (*enter)(void), sg_pool **out) SG_CHECKED;
void sg_pool_destroy(sg_pool *pool);
int sg_pool_threads(const sg_pool *pool);

/* Run fn for items 0 .. n-1, and wait. Of several failures the lowest item's is returned, with its
 * text as this thread's last error; items not yet begun are then left out. Not re-entrant. */
sg_status sg_pool_run(sg_pool *pool, int64_t n, sg_pool_fn fn, void *context) SG_CHECKED;

/* The processors this process may use (affinity and cgroup quota considered), at least 1. */
int sg_cpu_count(void);
/* Of which the quotas of cgroups, of either version, leave so many, 0: all. For tests: `list` and
 * `root` are /proc/self/cgroup and /sys/fs/cgroup. */
int sg_cpu_quota(const char *list, const char *root);
/* Seconds on a monotonic clock. */
double sg_now(void);

#ifdef __cplusplus
}
#endif
#endif
