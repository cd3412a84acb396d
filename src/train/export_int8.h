/* What export_int8.c asks of a kind of model. */
#ifndef SG_TRAIN_EXPORT_INT8_H
#define SG_TRAIN_EXPORT_INT8_H

#include "core/threads.h"
#include "train/export_sample.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *score; /* of an evaluation: "mAP50" */
    int n_outputs;     /* of the raw graph */
    size_t bytes;      /* of its context, which is zeroed before */
    sg_status (*open)(const sg_trained_source *source, sg_pool *pool, void *context) SG_CHECKED;
    void (*close)(void *context); /* also of one that was not opened, or not to the end */
    /* Read data.train or data.val, in place of what was read before; *n is how many samples. */
    sg_status (*read)(void *context, const char *split, int64_t *n) SG_CHECKED;
    /* Sample i as the raw graph takes it, into zeroed memory; by any number of threads. */
    sg_status (*input)(void *context, int64_t i, sg_export_inputs *in) SG_CHECKED;
    /* What the graph has answered to it; likewise. */
    sg_status (*take)(void *context, int64_t i, const sg_onnx_array *outputs) SG_CHECKED;
    /* Of all answers. */
    sg_status (*measure)(void *context, double *score) SG_CHECKED;
} sg_int8_kind;

extern const sg_int8_kind sg_int8_pictures, sg_int8_texts;

#ifdef __cplusplus
}
#endif
#endif
