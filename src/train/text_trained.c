#include "train/text_trained.h"

#include <string.h>

#include "train/trained.h"

/* With several tasks their names divide the classes. */
static const char *const kBuiltIn[] = {
    "text.",       "data.classes", "model.type",   "model.input",
    "model.wide",  "model.bag",    "model.layers", "model.encoder",
    "model.width", "model.heads",  "model.kernel", "data.task",
    NULL};
enum { kBuiltInOne = sizeof kBuiltIn / sizeof kBuiltIn[0] - 2 };

static sg_status read_config(sg_text_trained *t, const sg_trained_source *source) {
    const char *built_in[sizeof kBuiltIn / sizeof kBuiltIn[0]];
    sg_config trained;

    SG_TRY(
        sg_config_parse(source->path, t->file.config, strlen(t->file.config), NULL, 0, &trained));
    memcpy(built_in, kBuiltIn, sizeof kBuiltIn);
    if (!strchr(trained.data.task, ',')) built_in[kBuiltInOne] = NULL;
    SG_TRY(sg_trained_config(source, &t->file, built_in, &t->config));
    if (!sg_choice_is(t->config.model.type, "text_classifier"))
        return sg_fail(SG_ERR_CONFIG, "%s: is a %s, which does not answer texts", source->path,
                       t->config.model.type);
    if (built_in[kBuiltInOne] || !strchr(t->config.data.task, ',')) return SG_OK;
    return sg_fail(SG_ERR_CONFIG, "command line: data.task: %s has learned one task, not %s",
                   source->path, t->config.data.task);
}

sg_status sg_text_trained_read(const sg_trained_source *source, sg_text_trained *t) {
    sg_status st;

    memset(t, 0, sizeof *t);
    st = sg_model_file_read(source->path, &t->file);
    if (st == SG_OK) st = read_config(t, source);
    if (st == SG_OK) st = sg_text_model_from_file(&t->config, &t->file, source->path, &t->model);
    if (st != SG_OK) sg_text_trained_clear(t);
    return st;
}

sg_status sg_text_trained_load(const char *path, const char *const *overrides, int n_overrides,
                               const sg_text_trained_options *options, sg_text_trained *out) {
    const sg_trained_source source = {path, overrides, n_overrides};
    sg_text_trained *t = out; /* in place: the runner keeps a pointer to t->model */
    sg_status st;

    SG_TRY(sg_text_trained_read(&source, t));
    st = sg_trained_compute(&source, &t->file, &t->compute);
    if (st == SG_OK)
        st = sg_pool_create(options->threads, sg_compute_backend(&t->compute)->enter_thread,
                            &t->pool);
    if (st == SG_OK)
        st = sg_text_model_runner(&t->model, sg_compute_backend(&t->compute), NULL, options->batch,
                                  options->threads, &t->runner);
    if (st == SG_OK) st = sg_text_runner_load(t->runner, path);
    if (st != SG_OK) sg_text_trained_clear(t);
    return st;
}

void sg_text_trained_clear(sg_text_trained *t) {
    sg_text_runner_destroy(t->runner);
    sg_pool_destroy(t->pool);
    sg_compute_close(&t->compute);
    sg_text_model_clear(&t->model);
    sg_model_file_clear(&t->file);
    memset(t, 0, sizeof *t);
}

sg_status sg_text_trained_answer(sg_text_trained *t, sg_text_at at, const void *texts, int64_t n,
                                 float *probabilities) {
    sg_encoded_set *set;
    sg_status st;

    SG_TRY(sg_encoded_set_create(t->model.tokenizer, at, texts, n, t->pool, &set));
    st = sg_text_runner_answer(t->runner, set, t->pool, NULL, NULL, NULL, probabilities);
    sg_encoded_set_destroy(set);
    return st;
}
