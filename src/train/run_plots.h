/* The plots of any run, from its history: RUN/plots/loss.png, RUN/plots/metrics.png. */
#ifndef SG_TRAIN_RUN_PLOTS_H
#define SG_TRAIN_RUN_PLOTS_H

#include "train/history.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Loss and its parts (`table` names them) and the learning rate over steps; every number at the top
 * of the evaluations' lines over epochs, the best marked. What has no points yet is left out.
 * `folder` exists. SG_ERR_IO, SG_ERR_OOM, SG_ERR_DATA. */
sg_status sg_run_plots(const sg_history *history, const sg_table *table,
                       const char *folder) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
