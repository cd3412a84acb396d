#include "train/masked_model.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "train/text_model.h"

/* Texts of one run: their answers are (guesses, vocabulary). */
enum { kBatch = 8 };

sg_status sg_masked_model_init(sg_masked_model *m, const sg_config *c, sg_tokenizer *tokenizer) {
    int32_t vocabulary = sg_tokenizer_vocabulary(tokenizer);

    memset(m, 0, sizeof *m);
    m->tokenizer = tokenizer;
    m->masking = (sg_masking){c->train.masked, vocabulary, (uint64_t)c->run.seed};
    m->shapes = sg_text_shapes_masked(&m->masking, sg_tokenizer_options_of(tokenizer)->length);
    for (int i = 0; i < m->shapes.n; i++) {
        sg_masked_tokens_options *o = &m->option[i];

        o->encoder = sg_text_encoder_of(c, tokenizer, m->shapes.length[i]);
        o->guesses = m->shapes.guesses[i];
        m->contexts[i] = o;
        m->answer[i] = o->guesses * vocabulary;
        SG_TRY(sg_masked_tokens_check(o));
    }
    return SG_OK;
}

void sg_masked_model_clear(sg_masked_model *m) {
    sg_tokenizer_destroy(m->tokenizer);
    memset(m, 0, sizeof *m);
}

sg_status sg_masked_model_runner(const sg_masked_model *m, const sg_backend *backend,
                                 const sg_trainer *trainer, int workers, sg_text_runner **out) {
    const sg_text_runner_options o = {.build = sg_masked_tokens_build,
                                      .contexts = m->contexts,
                                      .shapes = &m->shapes,
                                      .answer = m->answer,
                                      .masking = &m->masking,
                                      .backend = backend,
                                      .trainer = trainer,
                                      .batch = kBatch,
                                      .workers = workers};

    return sg_text_runner_create(&o, out);
}

/* --- measuring -------------------------------------------------------------------------------- */

/* Of one text; of all. */
typedef struct {
    double loss; /* sum of -log p */
    int64_t right, n;
} guessed;

typedef struct {
    const sg_masked_model *model;
    guessed *text; /* (n) */
} measuring;

static int64_t likeliest(const float *p, int64_t n) {
    int64_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (p[i] > p[best]) best = i;
    return best;
}

static void take(void *context, const sg_text_answered *a) {
    const measuring *m = context;
    int64_t V = m->model->masking.vocabulary, P = m->model->shapes.guesses[a->shape];
    const int32_t *guess = a->rows->guess + a->row * P;
    guessed *text = &m->text[a->text];

    *text = (guessed){.n = (int64_t)a->rows->guesses[a->row]};
    for (int64_t k = 0; k < text->n; k++) {
        const float *p = a->answer + k * V;
        float right = p[guess[k]];

        text->loss -= log((double)(right < FLT_MIN ? FLT_MIN : right)); /* NaN stays */
        text->right += likeliest(p, V) == guess[k];
    }
}

static json_t *real(double value, bool there) { return there ? json_real(value) : json_null(); }

static sg_status fill(const guessed *all, int64_t texts, sg_evaluation *out) {
    double n = (double)all->n, loss = all->loss / n;
    sg_evaluation e = {.score = all->n > 0 ? exp(-loss) : 0.0};
    json_t *masked = json_pack("{s:o, s:o, s:I}", "loss", real(loss, all->n > 0), "perplexity",
                               real(exp(loss), all->n > 0), "count", (json_int_t)all->n);
    json_t *whole = json_pack("{s:s, s:o, s:o, s:o}", "metric", "probability", "value",
                              real(e.score, all->n > 0), "accuracy",
                              real((double)all->right / n, all->n > 0), "masked", masked);
    char *text = whole ? json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

    json_decref(whole);
    e.json = text ? sg_strdup(text) : NULL;
    free(text);
    e.table = all->n > 0
                  ? sg_str_printf("%lld masked subwords of %lld texts: loss %.4f, perplexity %.2f, "
                                  "accuracy %.4f\n",
                                  (long long)all->n, (long long)texts, loss, exp(loss),
                                  (double)all->right / n)
                  : sg_str_printf("no subwords in %lld texts\n", (long long)texts);
    if (e.json && e.table) {
        *out = e;
        return SG_OK;
    }
    sg_evaluation_clear(&e);
    return sg_fail(SG_ERR_OOM, "evaluation: no memory for its figures");
}

sg_status sg_masked_model_measure(const sg_masked_model *m, sg_text_runner *runner,
                                  const sg_encoded_set *set, sg_pool *pool, const sg_share *share,
                                  sg_stop_fn stop, void *stop_context, sg_evaluation *out) {
    measuring measure = {m, sg_calloc((size_t)set->n + 1, sizeof(guessed))};
    const sg_text_taking taking = {take, &measure, measure.text, sizeof *measure.text};
    guessed all = {0};
    sg_status st = SG_OK;

    if (!measure.text) return sg_fail(SG_ERR_OOM, "evaluation: no memory");
    st = sg_text_runner_run(runner, set, pool, share, stop, stop_context, &taking);
    for (int64_t i = 0; i < set->n && st == SG_OK; i++) {
        all.loss += measure.text[i].loss;
        all.right += measure.text[i].right;
        all.n += measure.text[i].n;
    }
    sg_free(measure.text);
    if (st == SG_OK && isnan(all.loss))
        st = sg_fail(SG_ERR_DIVERGED, "evaluation: the model's probabilities are no numbers; try a "
                                      "smaller train.lr");
    return st == SG_OK ? fill(&all, set->n, out) : st;
}
