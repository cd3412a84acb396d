/* A trained model as an ONNX file: what it computes, and all that a client needs to know.
 *
 * docs/serving.md tells inputs, outputs and metadata; tests/integration/export.py runs its example.
 */
#ifndef SG_TRAIN_EXPORT_H
#define SG_TRAIN_EXPORT_H

#include "onnx/model.h"
#include "train/trained.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Which file it is. */
typedef struct {
    int64_t device, inode, size, seconds, nanoseconds; /* the last two: of its last change */
} sg_export_identity;

/* A model file on its way out. It is read several times, and a run that goes on puts others under
 * its name: so whoever is about to write what came of it asks whether it is still the same. And all
 * is computed on the CPU, wherever it was trained: the graph is in floats, and GPUs may round to
 * less. */
typedef struct {
    sg_trained_source file; /* what the functions below take; the path is borrowed */
    const char **overrides; /* owned */
    sg_export_identity began;
} sg_export_source;

/* Overrides of run.device and train.precision count for nothing. SG_ERR_MISSING, SG_ERR_IO,
 * SG_ERR_DATA (a pipe), SG_ERR_OOM. */
sg_status sg_export_open(const char *path, const char *const *overrides, int n_overrides,
                         sg_export_source *out) SG_CHECKED;
void sg_export_close(sg_export_source *source);
/* `st`, but SG_ERR_UNAVAILABLE where the file is another one than at the start. */
sg_status sg_export_unchanged(const sg_export_source *source, sg_status st) SG_CHECKED;

typedef struct {
    bool nms;        /* detector: boxes are suppressed in the graph */
    bool preprocess; /* detector: the graph takes pictures as they are */
    bool int8;       /* what is exported is to be quantised: refused where nothing in it can be */
} sg_export_options;

/* The model in the source's file, by its kind. SG_ERR_ARG: an option that is of another kind, or
 * int8 of tables of n-grams alone; SG_ERR_CONFIG: a kind that answers nothing; SG_ERR_UNSUPPORTED:
 * an op without an ONNX form.
 * Errors of sg_detector_model_read, sg_text_trained_read, sg_model_file_load. */
sg_status sg_export_model(const sg_trained_source *source, const sg_export_options *options,
                          sg_onnx **out) SG_CHECKED;

enum { SG_EXPORT_SEEN = 64 }; /* samples that int8 is calibrated on, where there are as many */

/* What int8 costs. */
typedef struct {
    const char *score;      /* what is measured: "mAP50", or of texts the task's "score"; static */
    int64_t seen, measured; /* samples */
    double before, after;   /* our own engine's, and the int8 graph's; NaN: nothing to find */
} sg_export_loss;

/* The same in int8 (onnx/quantize.h): `bytes` are what was exported. Ranges are seen on samples of
 * data.train, and what is lost is measured on all of data.val, by an interpreter: minutes for
 * hundreds of pictures, in which the log tells how far it is. SG_ERR_UNSUPPORTED: nothing in it can
 * be in int8; errors of reading the data. */
sg_status sg_export_int8(const sg_trained_source *source, int threads, const uint8_t *bytes,
                         size_t size, sg_onnx **out, sg_export_loss *loss) SG_CHECKED;

/* Of those kinds. */
sg_status sg_export_detector(const sg_trained_source *source, const sg_export_options *options,
                             sg_onnx *m) SG_CHECKED;
sg_status sg_export_text(const sg_trained_source *source, const sg_export_options *options,
                         sg_onnx *m) SG_CHECKED;

/* --- what all of them say (export_about.c) -----------------------------------------------------
 */

/* Version, run, step, what the last evaluation measured, fingerprint of the data. */
void sg_export_about(sg_onnx *m, const char *kind, const sg_model_file *file);
/* `names`, as {0: 'mask', 1: 'no mask'}: a Python literal, which readers of the ultralytics layout
 * take. */
void sg_export_names(sg_onnx *m, const char *const *names, int64_t n);
/* What int8 costs; null where there is nothing to measure it on. */
void sg_export_about_int8(sg_onnx *m, const sg_export_loss *loss);
/* A JSON value under that key. Takes the reference; NULL is no memory. */
struct json_t;
void sg_export_json(sg_onnx *m, const char *key, struct json_t *value);

#ifdef __cplusplus
}
#endif
#endif
