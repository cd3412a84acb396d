/* `train --check-data`: every fault of a data set, whatever it is of. */
#ifndef SG_TRAIN_CHECK_H
#define SG_TRAIN_CHECK_H

#include "core/config.h"
#include "data/fault.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Look at data.train, data.val and, where it is there, data.test, and report every fault. *summary,
 * lines for people that end with how many there are, is the caller's (sg_free); *errors counts
 * those that training would refuse. Fails only where it cannot go on: SG_ERR_MISSING (data.root),
 * SG_ERR_CONFIG (data.classes, data.task), SG_ERR_OOM. */
sg_status sg_check_data(const sg_config *config, sg_fault_fn report, void *context, char **summary,
                        int64_t *errors) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
