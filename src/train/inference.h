/* Running a model forward: fixed batches, side by side on a pool's threads; on a device one after
 * the other on its queue, whatever thread brings them. */
#ifndef SG_TRAIN_INFERENCE_H
#define SG_TRAIN_INFERENCE_H

#include "train/trainer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_inference sg_inference;

typedef struct {
    sg_build_fn build;
    void *context;
    const sg_backend *backend; /* NULL: the CPU's */
    sg_table *table;           /* NULL: a fresh one, owned; else borrowed (a trainer's) */
    const sg_trainer *beside;  /* that has memory of the same device, for messages; or NULL */
    int64_t batch;             /* samples of one run */
    int workers;               /* runs at the same time, each with an arena; 0: 1 */
    int op_threads;            /* threads inside an op; > 1 only with workers = 1 */
} sg_inference_options;

/* SG_ERR_OOM on a device says at which node most is needed, and what would fit. */
sg_status sg_inference_create(const sg_inference_options *options, sg_inference **out) SG_CHECKED;
void sg_inference_destroy(sg_inference *inference);

const sg_table *sg_inference_table(const sg_inference *inference);
/* Take `values` (table->n_values floats, such as a state's ema) and `rows` (table->n_rows, a
 * state's; NULL where there are none): fold norms, re-order filters. Both are borrowed until the
 * next call; a device has copies of its own. SG_ERR_ARG: the model has tables of rows, and there
 * are no rows; SG_ERR_OOM as above. */
sg_status sg_inference_set_values(sg_inference *inference, const float *values,
                                  const float *rows) SG_CHECKED;
/* The same where the backend's kernels read them: sg_trainer_averages, sg_trainer_rows. */
sg_status sg_inference_use_values(sg_inference *inference, const float *values,
                                  const float *rows) SG_CHECKED;
/* Those of `other`, which is of the same table and backend and has them for as long. */
sg_status sg_inference_share_values(sg_inference *inference, const sg_inference *other) SG_CHECKED;
/* sg_inference_set_values with the averaged weights of a model file. Errors of sg_model_file_load.
 */
sg_status sg_inference_load(sg_inference *inference, const char *path) SG_CHECKED;

/* One batch on worker's arena; inputs and outputs in the graph's order. Different workers may run
 * at the same time. SG_ERR_ARG before the model has values. */
sg_status sg_inference_run(sg_inference *inference, int worker, const void *const inputs[],
                           void *const outputs[]) SG_CHECKED;

/* From now on, `stop` is asked before a run, and on CPUs between its nodes, in its thread: true
 * gives the run up with SG_ERR_INTERRUPTED. NULL: never. Not while a run is under way. */
void sg_inference_stop_when(sg_inference *inference, bool (*stop)(void *context), void *context);

/* Where the backend has a device: that, else NULL, and the queue on which its runs are put. */
const sg_device *sg_inference_device(const sg_inference *inference);
void *sg_inference_queue(const sg_inference *inference);

/* What becomes of a run's outputs where they are. */
typedef struct {
    /* Put more on the queue, behind the run that writes `outputs`. */
    sg_status (*put)(void *context, void *queue, const void *const outputs[]);
    /* Once that is done, and before the next run; may be NULL. */
    void (*take)(void *context);
    void *context;
} sg_inference_then;

/* With a device: one batch whose outputs do not come to the host. Inputs are the host's, or those
 * that are there, or will be once what was put on the queue before is done, and the other NULL. */
sg_status sg_inference_run_then(sg_inference *inference, const void *const inputs[],
                                const void *const there[],
                                const sg_inference_then *then) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
