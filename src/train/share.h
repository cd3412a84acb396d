/* Work that several workers do together: each does some of it, and then all know all of it. */
#ifndef SG_TRAIN_SHARE_H
#define SG_TRAIN_SHARE_H

#include <stddef.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where a pointer to one may be NULL, a worker does it alone, as it does when `size` is 1. */
typedef struct {
    int rank, size; /* of `size` workers, who all do this work, each with its own rank */
    void *context;
    /* Give `bytes` bytes (0 is fine) and get those of all, one after the other in the order of
     * ranks: the same for each of them. *all is the caller's (sg_free), its alignment that of
     * sg_malloc. Called once, at the same point by each worker, in the thread that began the work.
     * SG_ERR_UNAVAILABLE where not all of them are there any more: the work is given up with that,
     * and may be begun anew by others. */
    sg_status (*gather)(void *context, const void *mine, size_t bytes, void **all, size_t *total);
} sg_share;

#ifdef __cplusplus
}
#endif
#endif
