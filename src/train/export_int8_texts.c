/* Messages for a text classifier in int8, and the labels that it gives. */
#include <string.h>

#include "core/mem.h"
#include "train/evaluate.h"
#include "train/export_int8.h"
#include "train/text_task.h"
#include "train/text_trained.h"
#include "train/texts.h"

typedef struct {
    sg_text_trained trained;
    sg_pool *pool; /* borrowed */
    sg_text_dataset *data;
    sg_encoded_set *set;
    float *probabilities; /* (n, classes) */
} messages;

static sg_status open_model(const sg_trained_source *source, sg_pool *pool, void *context) {
    messages *m = context;

    m->pool = pool;
    return sg_text_trained_read(source, &m->trained);
}

static void forget(messages *m) {
    sg_free(m->probabilities);
    sg_encoded_set_destroy(m->set);
    sg_text_dataset_destroy(m->data);
    m->probabilities = NULL;
    m->set = NULL;
    m->data = NULL;
}

static void close_model(void *context) {
    messages *m = context;

    forget(m);
    sg_text_trained_clear(&m->trained);
}

static sg_status read_part(void *context, const char *split, int64_t *n) {
    messages *m = context;
    const sg_config *c = &m->trained.config;
    sg_text_dataset *data;
    sg_encoded_set *set;

    forget(m);
    SG_TRY(sg_text_task_data(c, sg_evaluate_part(c, split), &m->trained.model, &data));
    m->data = data;
    SG_TRY(sg_texts_encode(m->trained.model.tokenizer, data, m->pool, &set));
    m->set = set;
    m->probabilities = sg_calloc((size_t)(data->n * m->trained.model.n_classes), sizeof(float));
    *n = data->n;
    return m->probabilities ? SG_OK : sg_fail(SG_ERR_OOM, "export: no memory for answers");
}

static sg_status put_input(void *context, int64_t i, sg_export_inputs *in) {
    const messages *m = context;
    sg_encoded text = sg_encoded_at(m->set, i);

    return sg_export_text_inputs(&m->trained.model, &text, 1, in);
}

static sg_status take(void *context, int64_t i, const sg_onnx_array *outputs) {
    messages *m = context;
    int64_t K = m->trained.model.n_classes;

    memcpy(m->probabilities + i * K, outputs[1].data, (size_t)K * sizeof(float));
    return SG_OK;
}

static sg_status measure(void *context, double *score) {
    const messages *m = context;
    sg_evaluation e;

    SG_TRY(sg_text_measure_answers(&m->trained.model, m->data, m->probabilities, &e));
    *score = e.score;
    sg_evaluation_clear(&e);
    return SG_OK;
}

const sg_int8_kind sg_int8_texts = {.score = "score",
                                    .n_outputs = 2,
                                    .bytes = sizeof(messages),
                                    .open = open_model,
                                    .close = close_model,
                                    .read = read_part,
                                    .input = put_input,
                                    .take = take,
                                    .measure = measure};
