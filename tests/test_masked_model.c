/* How well masked tokens are guessed: the figures of an evaluation. */
#include "data_fixture.h"
#include "out_of_memory.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "train/masked_model.h"
#include "train/text_model.h"

enum { kTexts = 40 };

static char text[kTexts][32];

static const char *at(const void *texts, int64_t i, int64_t *bytes) {
    const char *t = ((const char(*)[32])texts)[i];

    *bytes = (int64_t)strlen(t);
    return t;
}

typedef struct {
    sg_config config;
    sg_masked_model model;
    sg_trainer *trainer;
    sg_encoded_set *set, *empty;
} fixture;

static void set_key(fixture *f, const char *assignment) {
    assert_ok(sg_config_set(&f->config, assignment));
}

/* A model as it is drawn, and two sets: texts of which some are empty, and empty ones alone. */
static void make(fixture *f) {
    static char none[kTexts][32];
    sg_trainer_options o = sg_trainer_defaults();
    sg_tokenizer_options t;
    sg_tokenizer *tokenizer;
    sg_pool *pool;

    for (int i = 0; i < kTexts; i++)
        snprintf(text[i], sizeof text[i], "%s",
                 i % 5 == 0 ? "" : &"one two three four five"[i % 9]);
    sg_config_default(&f->config);
    set_key(f, "model.type=masked_tokens");
    set_key(f, "model.layers=1");
    set_key(f, "model.width=8");
    set_key(f, "model.heads=2");
    set_key(f, "model.input=64");
    set_key(f, "text.subwords=270");
    t = sg_text_tokenizer_options(&f->config);
    assert_int_equal(t.ngrams.buckets, 0); /* model.wide is a classifier's */
    assert_ok(sg_pool_create(2, NULL, &pool));
    assert_ok(sg_tokenizer_learn(&t, at, text, kTexts, pool, &tokenizer));
    assert_ok(sg_encoded_set_create(tokenizer, at, text, kTexts, pool, &f->set));
    assert_ok(sg_encoded_set_create(tokenizer, at, none, kTexts, pool, &f->empty));
    sg_pool_destroy(pool);
    assert_ok(sg_masked_model_init(&f->model, &f->config, tokenizer));
    o.build = sg_masked_tokens_build;
    o.shapes = f->model.contexts;
    o.n_shapes = f->model.shapes.n;
    o.batch = 4;
    o.shards = 2;
    assert_ok(sg_trainer_create(&o, &f->trainer));
}

static void clear(fixture *f) {
    sg_trainer_destroy(f->trainer);
    sg_encoded_set_destroy(f->set);
    sg_encoded_set_destroy(f->empty);
    sg_masked_model_clear(&f->model);
}

static sg_status measure(fixture *f, const sg_encoded_set *set, int threads, sg_evaluation *out) {
    sg_text_runner *runner = NULL;
    sg_pool *pool = NULL;
    sg_status st = sg_pool_create(threads, sg_trainer_backend(f->trainer)->enter_thread, &pool);

    if (st == SG_OK)
        st = sg_masked_model_runner(&f->model, sg_trainer_backend(f->trainer), f->trainer, threads,
                                    &runner);
    if (st == SG_OK) st = sg_text_runner_use(runner, f->trainer);
    if (st == SG_OK)
        st = sg_masked_model_measure(&f->model, runner, set, pool, NULL, NULL, NULL, out);
    sg_text_runner_destroy(runner);
    sg_pool_destroy(pool);
    return st;
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

/* At the beginning a subword is about as likely as any other. */
static void figures(void **state) {
    sg_evaluation e;
    fixture f;
    json_t *json, *masked;
    int64_t count = 0;
    double loss;

    (void)state;
    make(&f);
    for (int64_t i = 0; i < kTexts; i++)
        count += sg_masking_count(&f.model.masking, sg_encoded_at(f.set, i).n_subwords);
    assert_ok(measure(&f, f.set, 1, &e));
    json = json_loads(e.json, 0, NULL);
    masked = json_object_get(json, "masked");
    loss = number(masked, "loss");
    assert_int_equal(number(masked, "count"), count);
    if (!(fabs(loss - log((double)f.model.masking.vocabulary)) < 0.5)) fail_msg("%s", e.json);
    assert_true(fabs(number(json, "value") - exp(-loss)) <= 1e-6);
    assert_true(fabs(number(masked, "perplexity") - exp(loss)) <= 1e-4 * exp(loss));
    assert_true(fabs(e.score - exp(-loss)) <= 1e-6);
    assert_true(number(json, "accuracy") >= 0.0 && number(json, "accuracy") < 0.5);
    assert_non_null(strstr(e.table, "masked subwords of 40 texts: loss "));
    json_decref(json);
    sg_evaluation_clear(&e);
    clear(&f);
}

static void same_with_any_threads(void **state) {
    sg_evaluation one, three;
    fixture f;

    (void)state;
    make(&f);
    assert_ok(measure(&f, f.set, 1, &one));
    assert_ok(measure(&f, f.set, 3, &three));
    assert_string_equal(one.json, three.json);
    sg_evaluation_clear(&one);
    sg_evaluation_clear(&three);
    clear(&f);
}

static void nothing_to_guess(void **state) {
    sg_evaluation e;
    fixture f;

    (void)state;
    make(&f);
    assert_ok(measure(&f, f.empty, 1, &e));
    assert_string_equal(e.json, "{\"metric\":\"probability\",\"value\":null,\"accuracy\":null,"
                                "\"masked\":{\"loss\":null,\"perplexity\":null,\"count\":0}}");
    assert_string_equal(e.table, "no subwords in 40 texts\n");
    assert_true(e.score == 0.0);
    sg_evaluation_clear(&e);
    clear(&f);
}

static void a_model_that_has_diverged(void **state) {
    sg_evaluation e;
    sg_state *s;
    fixture f;

    (void)state;
    make(&f);
    s = sg_trainer_state(f.trainer);
    for (int64_t i = 0; i < s->table->n_values; i++) s->ema[i] = s->values[i] = NAN;
    assert_fails(measure(&f, f.set, 1, &e), SG_ERR_DIVERGED, "probabilities are no numbers");
    clear(&f);
}

static void a_model_that_cannot_be(void **state) {
    sg_tokenizer *tokenizer;
    sg_tokenizer_options t;
    sg_pool *pool;
    fixture f;

    (void)state;
    make(&f);
    assert_ok(sg_pool_create(1, NULL, &pool));
    t = sg_text_tokenizer_options(&f.config);
    assert_ok(sg_tokenizer_learn(&t, at, text, kTexts, pool, &tokenizer));
    sg_pool_destroy(pool);
    sg_masked_model_clear(&f.model);
    set_key(&f, "model.heads=3");
    assert_fails(sg_masked_model_init(&f.model, &f.config, tokenizer), SG_ERR_CONFIG,
                 "width 8 cannot be divided into 3 heads");
    clear(&f);
}

static void memory_may_fail(void **state) {
    long live = sg_mem_live();
    sg_evaluation e;
    fixture f;

    (void)state;
    make(&f);
    FAIL_EACH_ALLOCATION(measure(&f, f.set, 1, &e), 20);
    sg_evaluation_clear(&e);
    clear(&f);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures),
        cmocka_unit_test(same_with_any_threads),
        cmocka_unit_test(nothing_to_guess),
        cmocka_unit_test(a_model_that_cannot_be),
        cmocka_unit_test(a_model_that_has_diverged),
        cmocka_unit_test(memory_may_fail),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
