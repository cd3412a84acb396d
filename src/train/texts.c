#include "train/texts.h"

#include <string.h>

#include "core/mem.h"
#include "train/text_model.h"

static const char *message_at(const void *texts, int64_t i, int64_t *bytes) {
    const sg_message *m = &((const sg_text_dataset *)texts)->texts[i];

    *bytes = m->length;
    return m->bytes;
}

sg_status sg_texts_encode(const sg_tokenizer *tokenizer, const sg_text_dataset *data, sg_pool *pool,
                          sg_encoded_set **out) {
    return sg_encoded_set_create(tokenizer, message_at, data, data->n, pool, out);
}

sg_status sg_texts_unlabelled(const sg_config *config, const char *split, sg_text_dataset **out) {
    sg_text_place place = sg_text_place_of(config);

    place.texts_only = true;
    return sg_text_dataset_read(&place, split, NULL, out);
}

/* --- the tokenizer ---------------------------------------------------------------------------- */

static bool same_options(const sg_tokenizer_options *a, const sg_tokenizer_options *b) {
    return a->ngrams.words == b->ngrams.words && a->ngrams.char_min == b->ngrams.char_min &&
           a->ngrams.char_max == b->ngrams.char_max && a->ngrams.buckets == b->ngrams.buckets &&
           a->weights == b->weights && a->min_count == b->min_count && a->features == b->features &&
           a->subwords == b->subwords && a->length == b->length;
}

static sg_status take_tokenizer(const sg_tokenizer_options *o, const char *file, const char *text,
                                sg_tokenizer **out) {
    SG_TRY(sg_tokenizer_parse(file, text, strlen(text), out));
    if (same_options(o, sg_tokenizer_options_of(*out))) return SG_OK;
    sg_tokenizer_destroy(*out);
    return sg_fail(SG_ERR_CONFIG,
                   "%s: its tokenizer was learned with other keys of [text], model.wide, "
                   "model.bag, model.layers or model.input; give them the same values",
                   file);
}

static sg_status learn_tokenizer(const sg_tokenizer_options *o, const sg_text_dataset *train,
                                 sg_pool *pool, sg_tokenizer **out) {
    sg_status st = sg_tokenizer_learn(o, message_at, train, train->n, pool, out);

    return st == SG_ERR_ARG ? sg_fail(SG_ERR_CONFIG, "section [text]: %s", sg_last_error()) : st;
}

sg_status sg_texts_prepare(sg_texts *t, const char *file, const char *tokenizer,
                           sg_status (*use)(sg_texts *texts, sg_tokenizer *tokenizer)) {
    sg_tokenizer_options o = sg_text_tokenizer_options(&t->config);
    sg_tokenizer *taken = NULL;
    sg_pool *pool;
    sg_status st;

    SG_TRY(sg_pool_create(sg_cpu_count(), NULL, &pool));
    st = tokenizer ? take_tokenizer(&o, file, tokenizer, &taken)
                   : learn_tokenizer(&o, t->train, pool, &taken);
    if (st == SG_OK) st = use(t, taken);
    if (st == SG_OK) st = sg_tokenizer_write(taken, &t->tokenizer);
    if (st == SG_OK) st = sg_texts_encode(taken, t->train, pool, &t->train_set);
    if (st == SG_OK) st = sg_texts_encode(taken, t->val, pool, &t->val_set);
    sg_pool_destroy(pool);
    t->task.tokenizer = t->tokenizer;
    return st;
}

/* --- batches ---------------------------------------------------------------------------------- */

sg_status sg_texts_start(sg_texts *t, const sg_text_loader_options *options) {
    if (!t->loader) return sg_text_loader_create(t->train_set, options, &t->loader);
    sg_text_loader_restart(t->loader, options->start);
    return SG_OK;
}

const sg_text_batch *sg_texts_next(sg_texts *t, int *shape) {
    double start = sg_now();

    t->batch = sg_text_loader_next(t->loader);
    t->waited += sg_now() - start;
    *shape = t->batch->shape;
    return t->batch;
}

static int64_t read_last(const sg_task *task, const int64_t **sample) {
    const sg_text_batch *batch = ((const sg_texts *)task)->batch;

    *sample = batch->sample;
    return batch->first;
}

static double wait_seconds(const sg_task *task) { return ((const sg_texts *)task)->waited; }

/* --- the task --------------------------------------------------------------------------------- */

sg_status sg_texts_init(sg_texts *t) {
    t->task.noun = "texts";
    t->task.rate = "texts/s";
    t->task.n_train = t->train->n;
    t->task.n_val = t->val->n;
    t->task.fingerprint = t->fingerprint;
    t->task.read = read_last;
    t->task.wait_seconds = wait_seconds;
    SG_TRY(sg_text_dataset_fingerprint(t->train, t->fingerprint));
    return sg_text_dataset_fingerprint(t->val, t->fingerprint + strlen(t->fingerprint));
}

void sg_texts_clear(sg_texts *t) {
    sg_text_loader_destroy(t->loader);
    sg_text_runner_destroy(t->runner);
    sg_encoded_set_destroy(t->train_set);
    sg_encoded_set_destroy(t->val_set);
    sg_text_dataset_destroy(t->train);
    sg_text_dataset_destroy(t->val);
    sg_free(t->tokenizer);
}
