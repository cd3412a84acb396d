/* A run from the inside: shared by run.c (the loop) and run_profile.c. */
#ifndef SG_TRAIN_RUN_INSIDE_H
#define SG_TRAIN_RUN_INSIDE_H

#include "train/resume.h"
#include "train/run.h"

/* run.device and train.precision; `before`: of the checkpoint that it goes on from, or NULL. */
sg_status sg_run_choose_device(const sg_config *c, const sg_model_file *before,
                               sg_compute *out) SG_CHECKED;
/* What was learned of the data before: the checkpoint's (`before`, or NULL), or that of the model
 * to start from. */
sg_status sg_run_prepare_task(sg_task *task, const sg_config *c,
                              const sg_resume *before) SG_CHECKED;
/* `loaded`: its state will be. */
sg_status sg_run_make_trainer(const sg_config *c, sg_task *task, const sg_compute *compute,
                              bool loaded, sg_trainer **out) SG_CHECKED;

#endif
