#include "train/evaluate.h"

#include <string.h>

#include "core/mem.h"
#include "train/detector_model.h"
#include "train/masked_model.h"
#include "train/text_task.h"
#include "train/text_trained.h"
#include "train/texts.h"

const char *sg_evaluate_part(const sg_config *config, const char *split) {
    if (strcmp(split, "train") == 0) return config->data.train;
    return strcmp(split, "test") == 0 ? config->data.test : config->data.val;
}

static sg_status measure_pictures(sg_detector_model *m, const char *split, sg_evaluation *out) {
    sg_dataset *dataset = NULL;
    sg_pool *pool = NULL;
    sg_status st =
        sg_detector_dataset(&m->config, sg_evaluate_part(&m->config, split), &m->classes, &dataset);

    if (st == SG_OK)
        st = sg_pool_create(m->workers, sg_compute_backend(&m->compute)->enter_thread, &pool);
    if (st == SG_OK)
        st = sg_detector_evaluate(&m->config, &m->model, m->inference, pool, dataset, NULL, NULL,
                                  NULL, NULL, out);
    sg_pool_destroy(pool);
    sg_dataset_destroy(dataset);
    return st;
}

static sg_status evaluate_detector(const sg_trained_source *s, const char *split, int threads,
                                   sg_evaluation *out) {
    const sg_detector_model_options load = {SG_DETECTOR_EVAL_BATCH, threads, 1};
    sg_detector_model model;
    sg_status st;

    SG_TRY(sg_detector_model_load(s->path, s->overrides, s->n_overrides, &load, &model));
    st = measure_pictures(&model, split, out);
    sg_detector_model_clear(&model);
    return st;
}

static sg_status measure_texts(sg_text_trained *t, const char *split, sg_evaluation *out) {
    sg_text_dataset *data = NULL;
    sg_encoded_set *set = NULL;
    float *answers = NULL;
    sg_status st =
        sg_text_task_data(&t->config, sg_evaluate_part(&t->config, split), &t->model, &data);

    if (st == SG_OK) st = sg_texts_encode(t->model.tokenizer, data, t->pool, &set);
    if (st == SG_OK) {
        answers = sg_malloc((size_t)(data->n * t->model.n_classes) * sizeof *answers);
        if (!answers) st = sg_fail(SG_ERR_OOM, "evaluation: no memory");
    }
    if (st == SG_OK) st = sg_text_runner_answer(t->runner, set, t->pool, NULL, NULL, NULL, answers);
    if (st == SG_OK) st = sg_text_measure_answers(&t->model, data, answers, out);
    sg_free(answers);
    sg_encoded_set_destroy(set);
    sg_text_dataset_destroy(data);
    return st;
}

static sg_status evaluate_texts(const sg_trained_source *s, const char *split, int threads,
                                sg_evaluation *out) {
    const sg_text_trained_options load = {SG_TEXT_EVAL_BATCH, threads};
    sg_text_trained trained;
    sg_status st;

    SG_TRY(sg_text_trained_load(s->path, s->overrides, s->n_overrides, &load, &trained));
    st = measure_texts(&trained, split, out);
    sg_text_trained_clear(&trained);
    return st;
}

sg_status sg_evaluate_file(const sg_trained_source *source, const char *split, int threads,
                           sg_evaluation *out) {
    const char *type;

    if (strcmp(split, "train") != 0 && strcmp(split, "val") != 0 && strcmp(split, "test") != 0)
        return sg_fail(SG_ERR_ARG, "%s: is none of train, val, test", split);
    SG_TRY(sg_trained_type(source->path, &type));
    if (sg_choice_is(type, "text_classifier")) return evaluate_texts(source, split, threads, out);
    if (sg_choice_is(type, "masked_tokens"))
        return sg_masked_evaluate_file(source, split, threads, out);
    return evaluate_detector(source, split, threads, out);
}
