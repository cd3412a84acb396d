/* A trained model of masked tokens, read from its file to be measured. */
#include <string.h>

#include "core/mem.h"
#include "train/evaluate.h"
#include "train/masked_model.h"
#include "train/texts.h"

static const char *const kBuiltIn[] = {"text.",         "model.type",   "model.input",
                                       "model.layers",  "model.width",  "model.heads",
                                       "model.encoder", "model.kernel", NULL};

typedef struct {
    sg_config config; /* the file's, with the overrides */
    sg_model_file file;
    sg_masked_model model;
    sg_compute compute;
    sg_pool *pool;
    sg_text_runner *runner;
} trained;

static sg_status load(const sg_trained_source *s, int threads, trained *t) {
    sg_tokenizer *tokenizer = NULL;

    SG_TRY(sg_model_file_read(s->path, &t->file));
    SG_TRY(sg_trained_config(s, &t->file, kBuiltIn, &t->config));
    SG_TRY(sg_tokenizer_parse(s->path, t->file.tokenizer, strlen(t->file.tokenizer), &tokenizer));
    SG_TRY(sg_masked_model_init(&t->model, &t->config, tokenizer));
    SG_TRY(sg_trained_compute(s, &t->file, &t->compute));
    SG_TRY(sg_pool_create(threads, sg_compute_backend(&t->compute)->enter_thread, &t->pool));
    SG_TRY(sg_masked_model_runner(&t->model, sg_compute_backend(&t->compute), NULL, threads,
                                  &t->runner));
    return sg_text_runner_load(t->runner, s->path);
}

static sg_status measure(trained *t, const char *split, sg_evaluation *out) {
    sg_text_dataset *data = NULL;
    sg_encoded_set *set = NULL;
    sg_status st = sg_texts_unlabelled(&t->config, sg_evaluate_part(&t->config, split), &data);

    if (st == SG_OK) st = sg_texts_encode(t->model.tokenizer, data, t->pool, &set);
    if (st == SG_OK)
        st = sg_masked_model_measure(&t->model, t->runner, set, t->pool, NULL, NULL, NULL, out);
    sg_encoded_set_destroy(set);
    sg_text_dataset_destroy(data);
    return st;
}

sg_status sg_masked_evaluate_file(const sg_trained_source *source, const char *split, int threads,
                                  sg_evaluation *out) {
    trained t;
    sg_status st;

    memset(&t, 0, sizeof t);
    st = load(source, threads, &t);
    if (st == SG_OK) st = measure(&t, split, out);
    sg_text_runner_destroy(t.runner);
    sg_pool_destroy(t.pool);
    sg_compute_close(&t.compute);
    sg_masked_model_clear(&t.model);
    sg_model_file_clear(&t.file);
    return st;
}
