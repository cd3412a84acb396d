/* Where a run goes on from: the newest checkpoint that is whole, here or in the run's store. */
#ifndef SG_TRAIN_RESUME_H
#define SG_TRAIN_RESUME_H

#include <stdbool.h>

#include "checkpoint/model_file.h"
#include "checkpoint/store.h"
#include "core/config.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *path;         /* NULL: nothing is there, the run is new */
    sg_model_file file; /* what it says */
} sg_resume;

/* Look into config->run.dir, and into `store` (may be NULL) for what is newer. Files that prove
 * damaged are warned of and set aside as NAME.damaged; their tensors are verified by
 * sg_resume_load. SG_ERR_DATA: nothing that is there is whole; SG_ERR_UNAVAILABLE: nothing is here,
 * and the store does not answer; SG_ERR_IO, SG_ERR_OOM. */
sg_status sg_resume_find(const sg_config *config, sg_store *store, sg_resume *out) SG_CHECKED;

/* SG_ERR_CONFIG when it is the run of another configuration, in a key that changes the result, or
 * of other data; `fingerprint` is a task's. */
sg_status sg_resume_check(const sg_resume *resume, const sg_config *config,
                          const char *fingerprint) SG_CHECKED;

/* The state of that checkpoint. SG_ERR_UNAVAILABLE: in the numeric class `here` the same bits
 * cannot be promised. A file that proves damaged is set aside, and *again says that there may be an
 * older one to find. */
sg_status sg_resume_load(const sg_resume *resume, const sg_config *config, const char *here,
                         sg_state *state, bool *again) SG_CHECKED;

void sg_resume_clear(sg_resume *resume);

#ifdef __cplusplus
}
#endif
#endif
