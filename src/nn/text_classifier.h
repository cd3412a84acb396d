/* A classifier of messages, made of up to three parts whose answers are added up before the
 * softmax:
 *
 *   wide      each n-gram votes for the classes: its row of a table (buckets, classes)
 *             (logistic regression on n-grams)
 *   bag       each n-gram has a row of a table (buckets, bag); their weighted sum, dropout
 *             (fastText's idea: Joulin et al., "Bag of tricks for efficient text classification",
 *             2016)
 *   encoder   a transformer or a gated CNN over subwords (nn/text_encoder.h), dropout
 *             bag and encoder, one beside the other, go through a linear layer to the classes
 *
 * Both tables are rows (graph/state.h): updated where a batch touches them. */
#ifndef SG_NN_TEXT_CLASSIFIER_H
#define SG_NN_TEXT_CLASSIFIER_H

#include "nn/text_encoder.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t buckets;  /* rows of the tables of n-grams: sg_tokenizer_rows */
    int64_t features; /* F, room for n-grams of a text in a batch; 0: neither wide nor bag */
    bool wide;
    int64_t bag;                     /* width of the bag; 0: none */
    bool keep_bag;                   /* its table is not trained */
    sg_text_encoder_options encoder; /* layers 0: none; its classes do not count */
    float dropout;                   /* of bag and encoder, before the linear layer */
    int n_tasks;                     /* >= 1: the classes are those of several tasks in turn */
    const int64_t *task_classes;     /* (n_tasks) how many each has; borrowed */
} sg_text_classifier_options;

/* SG_ERR_CONFIG names the option that is out of range, or says that no part is left. */
sg_status sg_text_classifier_check(const sg_text_classifier_options *options) SG_CHECKED;
int64_t sg_text_classifier_classes(const sg_text_classifier_options *options); /* of all tasks */

/* Append the classifier for n texts; an sg_build_fn, `options` being its context.
 *
 * Inputs, in this order: with wide or bag "ngrams" i32 (n, F), below 0 where there is none, and
 * "weights" f32 (n, F); with an encoder "ids" i32 (n, T) and "length" i32 (n); in SG_TRAIN mode
 * "target" f32 (n, classes), of sg_soft_cross_entropy: below 0 for the classes of other tasks.
 * SG_TRAIN: the cross-entropy, divided by the number of texts (by the sum of their targets a batch
 * of rare classes would count no more than one of common ones). SG_EVAL: output "probabilities" (n,
 * classes), which add up to 1 in each task. */
sg_status sg_text_classifier_build(sg_graph *g, int64_t n, void *options) SG_CHECKED;
/* The same for export: SG_EVAL alone, with the logits (n, classes) as first output. */
sg_status sg_text_classifier_build_logits(sg_graph *g, int64_t n, void *options) SG_CHECKED;
/* The axis along which the parameter of that name has an element a class; -1: it has none. */
int sg_text_classifier_class_axis(const char *parameter);

#ifdef __cplusplus
}
#endif
#endif
