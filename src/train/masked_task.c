#include "train/masked_task.h"

#include <string.h>

#include "core/mem.h"
#include "train/masked_model.h"
#include "train/text_summary.h"
#include "train/texts.h"

typedef struct {
    sg_texts texts; /* first: a task is its masked_task */
    sg_masked_model model;
} masked_task;

static sg_status read_data(masked_task *t) {
    const sg_config *c = &t->texts.config;

    SG_TRY(sg_texts_unlabelled(c, c->data.train, &t->texts.train));
    SG_TRY(sg_texts_unlabelled(c, c->data.val, &t->texts.val));
    return sg_texts_init(&t->texts);
}

static sg_status use_tokenizer(sg_texts *texts, sg_tokenizer *tokenizer) {
    masked_task *t = (masked_task *)texts;

    SG_TRY(sg_masked_model_init(&t->model, &texts->config, tokenizer));
    texts->task.shapes = t->model.contexts;
    texts->task.n_shapes = t->model.shapes.n;
    return SG_OK;
}

static sg_status masked_prepare(sg_task *task, const char *file, const char *tokenizer) {
    return sg_texts_prepare((sg_texts *)task, file, tokenizer, use_tokenizer);
}

static sg_status masked_start(sg_task *task, int64_t samples, const sg_part *part) {
    masked_task *t = (masked_task *)task;
    const sg_config *c = &t->texts.config;
    sg_text_loader_options o = {.batch = c->train.batch,
                                .start = samples,
                                .seed = (uint64_t)c->run.seed,
                                .by_length = true,
                                .shapes = t->model.shapes,
                                .masking = &t->model.masking,
                                .shard = c->train.batch / c->train.shards};

    (void)part;
    return sg_texts_start(&t->texts, &o);
}

static sg_status masked_next(sg_task *task, const void *inputs[SG_MAX_INPUTS], int *shape) {
    const sg_text_batch *batch = sg_texts_next((sg_texts *)task, shape);
    const void *in[] = {batch->rows.ids, batch->rows.length, batch->rows.place, batch->rows.guess,
                        batch->rows.guesses};

    memcpy(inputs, in, sizeof in);
    return SG_OK;
}

static sg_status masked_evaluate(sg_task *task, sg_trainer *trainer, const sg_share *share,
                                 sg_stop_fn stop, void *stop_context, sg_evaluation *out) {
    masked_task *t = (masked_task *)task;
    sg_pool *pool = sg_trainer_pool(trainer);

    if (!t->texts.runner)
        SG_TRY(sg_masked_model_runner(&t->model, sg_trainer_backend(trainer), trainer,
                                      sg_pool_threads(pool), &t->texts.runner));
    SG_TRY(sg_text_runner_use(t->texts.runner, trainer));
    return sg_masked_model_measure(&t->model, t->texts.runner, t->texts.val_set, pool, share, stop,
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

    sg_texts_clear(&t->texts);
    sg_masked_model_clear(&t->model);
    sg_free(t);
}

sg_status sg_masked_task_create(const sg_config *config, sg_task **out) {
    masked_task *t;
    sg_task *task;
    sg_status st;

    if (config->model.layers == 0)
        return sg_fail(SG_ERR_CONFIG, "model.layers: masked_tokens trains an encoder; give it "
                                      "layers, such as model.layers=4");
    t = sg_calloc(1, sizeof *t);
    if (!t) return sg_fail(SG_ERR_OOM, "texts: no memory");
    task = &t->texts.task;
    t->texts.config = *config;
    st = read_data(t);
    if (st != SG_OK) {
        masked_destroy(task);
        return st;
    }
    task->build = sg_masked_tokens_build;
    task->line = masked_line;
    task->summary = masked_summary;
    task->prepare = masked_prepare;
    task->start = masked_start;
    task->next = masked_next;
    task->evaluate = masked_evaluate;
    task->destroy = masked_destroy;
    *out = task;
    return SG_OK;
}
