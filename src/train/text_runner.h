/* Running a model of texts forward, on encoded texts: for training's evaluations, `evaluate` and
 * `predict`. */
#ifndef SG_TRAIN_TEXT_RUNNER_H
#define SG_TRAIN_TEXT_RUNNER_H

#include "data/text_loader.h"
#include "train/inference.h"
#include "train/task.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_TEXT_EVAL_BATCH = 32 }; /* texts of one run of the model */

typedef struct {
    sg_build_fn build;
    void *const *contexts;        /* (shapes->n) for build, one a shape; borrowed */
    const sg_text_shapes *shapes; /* borrowed */
    const int64_t *answer;        /* (shapes->n) floats of a text's answer; borrowed */
    const sg_masking *masking; /* guesses (SG_MASKING_FIXED) are an input; NULL: none; borrowed */
    const sg_backend *backend;
    const sg_trainer *trainer; /* whose table it is; NULL: a fresh one */
    int64_t batch;             /* texts of one run */
    int workers;
} sg_text_runner_options;

/* One inference a shape, of one table. */
typedef struct sg_text_runner sg_text_runner;

sg_status sg_text_runner_create(const sg_text_runner_options *options,
                                sg_text_runner **out) SG_CHECKED;
void sg_text_runner_destroy(sg_text_runner *runner); /* NULL is fine */
/* The averaged values of a trainer between steps; or of a model file. */
sg_status sg_text_runner_use(sg_text_runner *runner, const sg_trainer *trainer) SG_CHECKED;
sg_status sg_text_runner_load(sg_text_runner *runner, const char *path) SG_CHECKED;

/* What is made of the answer to a text: row `row` of what was run, in that shape. Called once a
 * text, in any thread. */
typedef struct {
    int64_t text;
    int shape;
    const sg_text_rows *rows;
    int64_t row;
    const float *answer;
} sg_text_answered;
typedef void (*sg_text_take_fn)(void *context, const sg_text_answered *answered);

/* `take` writes results[text], of `bytes` bytes. */
typedef struct {
    sg_text_take_fn take;
    void *context;
    void *results; /* (n) of the set */
    size_t bytes;
} sg_text_taking;

/* Run all texts of a set, or this worker's share, and have all results. Those of one run of the
 * model are of one shape, in the order of their numbers: an answer depends neither on threads nor
 * on the clock, nor on who shares the runs. The pool has as many threads as the runner workers.
 * SG_ERR_DATA: other workers answer about other texts. */
sg_status sg_text_runner_run(sg_text_runner *runner, const sg_encoded_set *set, sg_pool *pool,
                             const sg_share *share, sg_stop_fn stop, void *stop_context,
                             const sg_text_taking *taking) SG_CHECKED;
/* The same where all answers are of one size: answers (n, that) in the order of the texts. */
sg_status sg_text_runner_answer(sg_text_runner *runner, const sg_encoded_set *set, sg_pool *pool,
                                const sg_share *share, sg_stop_fn stop, void *stop_context,
                                float *answers) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
