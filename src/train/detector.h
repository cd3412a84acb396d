/* The mask detector as a task: configuration -> model, data set, evaluation. */
#ifndef SG_TRAIN_DETECTOR_H
#define SG_TRAIN_DETECTOR_H

#include "data/dataset.h"
#include "nn/mask_detector.h"
#include "nn/nms.h"
#include "train/detector_report.h"
#include "train/inference.h"
#include "train/task.h"

#ifdef __cplusplus
extern "C" {
#endif

sg_status sg_detector_options(const sg_config *config, int64_t classes,
                              sg_mask_detector_options *out) SG_CHECKED;
/* sg_build_fn: context is an sg_mask_detector_options. */
sg_status sg_detector_build(sg_graph *g, int64_t n, void *context) SG_CHECKED;

/* Where the data set is; it borrows from `config`. */
sg_dataset_place sg_detector_place(const sg_config *config);

/* Read the list `list` of data.root in the format that the configuration names. `classes` NULL: as
 * data.classes says. */
sg_status sg_detector_dataset(const sg_config *config, const char *list, const sg_classes *classes,
                              sg_dataset **out) SG_CHECKED;

enum { SG_DETECTOR_EVAL_BATCH = 4 }; /* pictures of one run of the model in an evaluation */

/* Which boxes an evaluation counts: by predict.nms, of nearly any score, the best SG_AP_MAX_BOXES
 * of a picture. */
sg_nms_options sg_detector_evaluation_nms(const sg_config *config);

/* Run the model over all pictures of `dataset`, or this worker's share of them, and measure what
 * was found in all. `inference` was made for batches of SG_DETECTOR_EVAL_BATCH with as many workers
 * as `pool` has threads, and has its values. `report` (may be NULL) keeps what can be drawn.
 * SG_ERR_DATA: other workers answer about other pictures. */
sg_status sg_detector_evaluate(const sg_config *config, const sg_mask_detector_options *model,
                               sg_inference *inference, sg_pool *pool, const sg_dataset *dataset,
                               const sg_share *share, sg_stop_fn stop, void *stop_context,
                               sg_detector_report *report, sg_evaluation *out) SG_CHECKED;

sg_status sg_detector_task_create(const sg_config *config, sg_task **out) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
