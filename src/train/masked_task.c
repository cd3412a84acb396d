#include "train/masked_task.h"

#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "train/masked_model.h"
#include "train/text_summary.h"
#include "train/text_task.h"

typedef struct {
    sg_task task; /* first: a task is its masked_task */
    sg_config config;
    sg_text_dataset *train, *val;
    sg_masked_model model;
    char *tokenizer; /* as text; owned */
    sg_encoded_set *train_set, *val_set;
    sg_text_loader *loader;     /* NULL before start */
    const sg_text_batch *batch; /* the last one */
    double waited;
    sg_text_runner *runner; /* made at the first evaluation */
    char fingerprint[SG_FINGERPRINT_BYTES];
} masked_task;

static sg_status read_data(masked_task *t) {
    SG_TRY(sg_text_task_unlabelled(&t->config, t->config.data.train, &t->train));
    SG_TRY(sg_text_task_unlabelled(&t->config, t->config.data.val, &t->val));
    return sg_text_dataset_fingerprint(t->train, t->fingerprint);
}

static sg_status masked_prepare(sg_task *task, const char *file, const char *tokenizer) {
    masked_task *t = (masked_task *)task;
    sg_tokenizer *taken = NULL;
    sg_pool *pool;
    sg_status st;

    SG_TRY(sg_pool_create(sg_cpu_count(), NULL, &pool));
    st = sg_text_task_tokenizer(&t->config, t->train, file, tokenizer, pool, &taken);
    if (st == SG_OK) st = sg_masked_model_init(&t->model, &t->config, taken);
    if (st == SG_OK)
        st = sg_text_task_encode(t->model.tokenizer, t->train, t->val, pool, &t->tokenizer,
                                 &t->train_set, &t->val_set);
    sg_pool_destroy(pool);
    t->task.tokenizer = t->tokenizer;
    t->task.shapes = t->model.contexts;
    t->task.n_shapes = t->model.shapes.n;
    return st;
}

/* The whole batch, whatever the part. */
static sg_status masked_start(sg_task *task, int64_t samples, const sg_part *part) {
    masked_task *t = (masked_task *)task;
    int64_t batch = t->config.train.batch;
    sg_text_loader_options o = {.batch = batch,
                                .start = samples,
                                .seed = (uint64_t)t->config.run.seed,
                                .by_length = true,
                                .shapes = t->model.shapes,
                                .masking = &t->model.masking,
                                .shard = batch / t->config.train.shards};

    (void)part;
    if (t->loader) {
        sg_text_loader_restart(t->loader, samples);
        return SG_OK;
    }
    return sg_text_loader_create(t->train_set, &o, &t->loader);
}

static sg_status masked_next(sg_task *task, const void *inputs[SG_MAX_INPUTS], int *shape) {
    masked_task *t = (masked_task *)task;
    double start = sg_now();
    const sg_text_batch *batch = sg_text_loader_next(t->loader);
    const void *in[] = {batch->rows.ids, batch->rows.length, batch->rows.place, batch->rows.guess,
                        batch->rows.guesses};

    memcpy(inputs, in, sizeof in);
    *shape = batch->shape;
    t->batch = batch;
    t->waited += sg_now() - start;
    return SG_OK;
}

static int64_t masked_read(const sg_task *task, const int64_t **sample) {
    const sg_text_batch *batch = ((const masked_task *)task)->batch;

    *sample = batch->sample;
    return batch->first;
}

static double masked_wait_seconds(const sg_task *task) {
    return ((const masked_task *)task)->waited;
}

static sg_status masked_evaluate(sg_task *task, sg_trainer *trainer, const sg_share *share,
                                 sg_stop_fn stop, void *stop_context, sg_evaluation *out) {
    masked_task *t = (masked_task *)task;
    sg_pool *pool = sg_trainer_pool(trainer);

    if (!t->runner)
        SG_TRY(sg_masked_model_runner(&t->model, sg_trainer_backend(trainer), trainer,
                                      sg_pool_threads(pool), &t->runner));
    SG_TRY(sg_text_runner_use(t->runner, trainer));
    return sg_masked_model_measure(&t->model, t->runner, t->val_set, pool, share, stop,
                                   stop_context, out);
}

static sg_status masked_line(const sg_task *task, char **text) {
    return sg_masked_model_line(&((const masked_task *)task)->model, text);
}

static sg_status masked_summary(const sg_task *task, char **text) {
    return sg_masked_model_summary(&((const masked_task *)task)->model, text);
}

static void masked_destroy(sg_task *task) {
    masked_task *t = (masked_task *)task;

    sg_text_loader_destroy(t->loader);
    sg_text_runner_destroy(t->runner);
    sg_encoded_set_destroy(t->train_set);
    sg_encoded_set_destroy(t->val_set);
    sg_text_dataset_destroy(t->train);
    sg_text_dataset_destroy(t->val);
    sg_masked_model_clear(&t->model);
    sg_free(t->tokenizer);
    sg_free(t);
}

sg_status sg_masked_task_create(const sg_config *config, sg_task **out) {
    masked_task *t;
    sg_status st;

    if (config->model.layers == 0)
        return sg_fail(SG_ERR_CONFIG, "model.layers: masked_tokens trains an encoder; give it "
                                      "layers, such as model.layers=4");
    t = sg_calloc(1, sizeof *t);
    if (!t) return sg_fail(SG_ERR_OOM, "texts: no memory");
    t->config = *config;
    st = read_data(t);
    if (st != SG_OK) {
        masked_destroy(&t->task);
        return st;
    }
    t->task.build = sg_masked_tokens_build;
    t->task.noun = "texts";
    t->task.rate = "texts/s";
    t->task.line = masked_line;
    t->task.summary = masked_summary;
    t->task.n_train = t->train->n;
    t->task.n_val = t->val->n;
    t->task.fingerprint = t->fingerprint;
    t->task.prepare = masked_prepare;
    t->task.start = masked_start;
    t->task.next = masked_next;
    t->task.read = masked_read;
    t->task.wait_seconds = masked_wait_seconds;
    t->task.evaluate = masked_evaluate;
    t->task.destroy = masked_destroy;
    *out = &t->task;
    return SG_OK;
}
