/* A folder in order again, after whatever stopped the run before. Only while RUN/lock is held. */
#ifndef SG_CHECKPOINT_MEND_H
#define SG_CHECKPOINT_MEND_H

#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A damaged file must neither be gone on from nor count as one that is kept: it becomes
 * NAME.damaged, with a warning, and last.h5 and best.h5 are no names of it any more. The last error
 * says what is wrong with it. SG_ERR_IO: cannot be renamed; SG_ERR_OOM. */
sg_status sg_checkpoint_set_aside(const char *run_dir, const char *path) SG_CHECKED;

/* Let last.h5 be a name of `newest`, which is of `newest_step`, and best.h5 of the checkpoint of
 * `best_step` (-1: none), if it is there: a process may be killed when a checkpoint has its name
 * and before these two have moved. What cannot be done is a warning. */
void sg_checkpoint_mend(const char *run_dir, const char *newest, int64_t newest_step,
                        int64_t best_step);

#ifdef __cplusplus
}
#endif
#endif
