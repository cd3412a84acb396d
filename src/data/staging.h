/* The device's half of a raw loader: decoded pictures go up, input pictures come of them there.
 *
 *   staged block   jobs and pictures of one batch, its first bytes copied whole from pinned memory
 *   kept block     decoded pictures that later batches refer to by their place, brought once
 *
 * All of it is put on one queue, in order, so one staged block is enough, and a queue beside that
 * of the steps has the next batch made while a step runs. */
#ifndef SG_DATA_STAGING_H
#define SG_DATA_STAGING_H

#include "data/loader.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_staging sg_staging;

/* Memory on the loader's device. `loader` is borrowed for this call and must be raw; its batches
 * are then put in the order in which they come, each once. SG_ERR_OOM and other errors of the
 * device. */
sg_status sg_staging_create(const sg_loader *loader, sg_staging **out) SG_CHECKED;
/* Waits for copies; kernels that were put must be done. NULL is fine. */
void sg_staging_destroy(sg_staging *staging);

/* Put on `queue`: of image (B, 3, S, S), on the device, the rows of the batch's part become the
 * batch's; the others stay as they are. After a restart of the loader its batches are put as from
 * the beginning, here too. */
sg_status sg_staging_put(sg_staging *staging, void *queue, const sg_batch *batch,
                         uint8_t *image) SG_CHECKED;
/* Until all that was put has been copied: before then no batch may be given back to the loader. */
sg_status sg_staging_wait(sg_staging *staging) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
