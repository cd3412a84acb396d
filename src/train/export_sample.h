/* One batch of samples, as an exported graph takes them, and what our own engine or a graph
 * answers: what an export is checked against, and its test vector. */
#ifndef SG_TRAIN_EXPORT_SAMPLE_H
#define SG_TRAIN_EXPORT_SAMPLE_H

#include "data/image.h"
#include "onnx/array.h"
#include "train/export.h"
#include "train/text_model.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_EXPORT_SAMPLES = 2, SG_EXPORT_INPUTS = 4, SG_EXPORT_OUTPUTS = 2 };

/* Owned. */
typedef struct {
    sg_onnx_array array[SG_EXPORT_INPUTS];
    int n;
} sg_export_inputs;
void sg_export_inputs_clear(sg_export_inputs *inputs);

/* How the outputs are compared. */
typedef enum {
    SG_EXPORT_RAW,   /* output0 (n, 4 + classes, A) */
    SG_EXPORT_FOUND, /* output0 (n, max_boxes, 6) */
    SG_EXPORT_LABELS /* logits, probabilities (n, classes) */
} sg_export_answer;

/* Everything is owned. */
typedef struct {
    sg_export_answer kind;
    bool real;     /* of the data set; else drawn pictures, or messages of our own */
    char why[256]; /* not real: why data.val cannot be read */
    int n, n_outputs;
    sg_export_inputs input;
    sg_onnx_array output[SG_EXPORT_OUTPUTS];
    /* detector */
    double score, iou;                      /* predict.score, predict.nms */
    sg_image image[SG_EXPORT_SAMPLES];      /* the pictures */
    sg_onnx_array boxes[SG_EXPORT_SAMPLES]; /* what `predict` finds: (n, 6), as FOUND has them */
    int64_t found;                          /* how many these are */
    /* texts */
    char *answer[SG_EXPORT_SAMPLES]; /* what `predict --json` says: a line */
    int n_tasks;
    int64_t task_classes[SG_TEXT_MAX_TASKS];
} sg_export_sample;

/* A packed model; borrowed. */
typedef struct {
    const uint8_t *bytes;
    size_t size;
} sg_export_graph;

/* Of the validation part, where the model's data is there. `graph` answers, by onnx/run.h, if it is
 * not NULL: one that was exported with those options; else our own engine. Errors of
 * sg_detector_model_load, sg_text_trained_load, sg_onnx_run. */
sg_status sg_export_sample_take(const sg_trained_source *source, const sg_export_options *options,
                                const sg_export_graph *graph, sg_export_sample *out) SG_CHECKED;
void sg_export_sample_clear(sg_export_sample *sample);

/* Of those kinds; a failure leaves something to be cleared. */
sg_status sg_export_sample_pictures(const sg_trained_source *source,
                                    const sg_export_options *options, const sg_export_graph *graph,
                                    sg_export_sample *out) SG_CHECKED;
sg_status sg_export_sample_texts(const sg_trained_source *source, const sg_export_graph *graph,
                                 sg_export_sample *out) SG_CHECKED;
/* The sample is made up, and why: the last error. */
void sg_export_sample_unreal(sg_export_sample *sample);
/* SG_ERR_DATA: these n_outputs arrays are not of its outputs' types and shapes. */
sg_status sg_export_sample_fits(const sg_export_sample *sample,
                                const sg_onnx_array *got) SG_CHECKED;
/* What the graph answers to the sample's input becomes its outputs, which have the shapes. */
sg_status sg_export_sample_run(const sg_export_graph *graph, sg_export_sample *sample) SG_CHECKED;

/* Boxes (A, 4) by their corners and scores (A, K) of a raw output (4 + K, A). */
void sg_export_corners(const float *raw, int64_t A, int64_t K, float *boxes, float *scores);
/* A letterboxed picture as the raw graph is fed with it: 0 .. 1. */
void sg_export_floats(const uint8_t *pixels, int64_t n, float *to);
/* n encoded texts as the graph of a text classifier takes them, into *inputs, which is zeroed; a
 * failure leaves something to be cleared. */
sg_status sg_export_text_inputs(const sg_text_model *model, const sg_encoded *texts, int64_t n,
                                sg_export_inputs *inputs) SG_CHECKED;

/* Run the exported graph on the sample, by onnx/run.h, and compare. SG_ERR_DATA says what differs:
 * raw outputs by more than 1e-4 of the greatest (boxes and scores each), probabilities by more than
 * 1e-5, labels at all, boxes that were found at all (IoU above 0.99, scores within 1e-3, but where
 * a score or an overlap is within 1e-3 of its threshold). */
sg_status sg_export_verify(const uint8_t *bytes, size_t size,
                           const sg_export_sample *sample) SG_CHECKED;

/* Whether what a graph in int8 has answered (`sample`) is on the whole what our own engine does:
 * SG_ERR_DATA says what is not. Loose: the root mean square of what scores differ by is up to half
 * of their own, or 0.01, of boxes up to a tenth of it, of probabilities up to 0.2; and of the boxes
 * that were found with 0.2 more than predict.score at least half are, with an IoU above 0.5.
 * *compared: samples, or such boxes; of 0 nothing is known. */
sg_status sg_export_resembles(const sg_export_sample *sample, const sg_export_sample *own,
                              int64_t *compared) SG_CHECKED;

/* The sample as ONNX's own test data is, in `folder`, which is made: input_I.pb, output_I.pb
 * (TensorProto); and picture_I.png, boxes_I.pb, or answers.jsonl. SG_ERR_IO, SG_ERR_OOM. */
sg_status sg_export_write_vector(const char *folder, const sg_export_sample *sample) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
