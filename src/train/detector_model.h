/* A trained detector, read from a model file and ready to answer. */
#ifndef SG_TRAIN_DETECTOR_MODEL_H
#define SG_TRAIN_DETECTOR_MODEL_H

#include "checkpoint/model_file.h"
#include "core/config.h"
#include "data/image.h"
#include "train/compute.h"
#include "train/detector.h"
#include "train/detector_nms.h"
#include "train/trained.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    sg_config config;   /* the file's, with the overrides */
    sg_model_file file; /* owned */
    sg_classes classes; /* borrows the file's names: not to be cleared */
    sg_mask_detector_options model;
    sg_compute compute;      /* owned: where it is run */
    sg_inference *inference; /* owned; has the averaged weights */
    sg_detector_nms *nms;    /* owned: with a device, for batches of 1: its suppression there */
    int workers;
    uint8_t **input; /* (workers) (batch, 3, S, S), owned */
    float **boxes;   /* (workers) (batch, A, 4) */
    float **scores;  /* (workers) (batch, A, classes) */
} sg_detector_model;

typedef struct {
    int64_t batch;  /* pictures of one run */
    int workers;    /* runs at the same time */
    int op_threads; /* inside a run; > 1 only with one worker */
} sg_detector_model_options;

/* `path` is a model file. Overrides "section.key=value" are laid over the configuration it holds,
 * but for run.device and train.precision: where it was trained is no wish of where to run it.
 * Errors of sg_model_file_read, sg_config_parse and sg_compute_open. */
sg_status sg_detector_model_load(const char *path, const char *const *overrides, int n_overrides,
                                 const sg_detector_model_options *options,
                                 sg_detector_model *out) SG_CHECKED;
/* Only what it is, and nothing to run it with: config, file, classes, model. */
sg_status sg_detector_model_read(const sg_trained_source *source,
                                 sg_detector_model *out) SG_CHECKED;
void sg_detector_model_clear(sg_detector_model *m);

/* By predict.score, predict.nms and predict.max_boxes. */
sg_nms_options sg_detector_model_nms(const sg_detector_model *m);

/* The boxes in one picture (of a model loaded for batches of 1), best first, in its pixels, by
 * predict.score, predict.nms and predict.max_boxes; `found` has room for the last. One call a
 * worker at a time. SG_ERR_OOM. */
sg_status sg_detector_predict(sg_detector_model *m, int worker, const sg_image *image,
                              sg_detection *found, int64_t *count) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
