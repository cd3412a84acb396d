/* Messages for an export: of the validation part, as the exported graph takes them, and what our
 * engine answers. */
#include <string.h>

#include "core/mem.h"
#include "report/line.h"
#include "train/export_sample.h"
#include "train/text_answer.h"
#include "train/text_trained.h"
#include "train/texts.h"

/* Where there is no data. */
static const char *const kMessages[SG_EXPORT_SAMPLES] = {
    "so happy today, thank you all! \xf0\x9f\x98\x82", "@user I can't believe they did it again"};

typedef struct {
    sg_text_trained trained;
    sg_text_dataset *data;
    sg_encoder *encoder[SG_EXPORT_SAMPLES]; /* each keeps its text */
    sg_text_rows rows;
    sg_inference *inference;      /* with logits */
    const sg_export_graph *graph; /* that answers; NULL: our engine */
    sg_export_sample *sample;
} sampling;

static sg_message message(const sampling *s, int i) {
    const char *own = kMessages[i % SG_EXPORT_SAMPLES];

    if (!s->data) return (sg_message){.bytes = own, .length = (int64_t)strlen(own)};
    return s->data->texts[i * s->data->n / s->sample->n];
}

static void choose(sampling *s) {
    const sg_config *c = &s->trained.config;

    s->sample->real = sg_texts_unlabelled(c, c->data.val, &s->data) == SG_OK;
    if (s->sample->real) return;
    s->data = NULL;
    sg_export_sample_unreal(s->sample);
}

/* The last: it holds any text. */
static int shape_of(const sampling *s) { return s->trained.model.shapes.n - 1; }

/* --- inputs ----------------------------------------------------------------------------------- */

/* As wide as the longest needs, at least 1. */
static sg_status add_input(sg_export_inputs *in, const char *name, sg_onnx_type type, int64_t n,
                           int64_t longest, sg_onnx_array **out) {
    *out = &in->array[in->n++];
    return sg_onnx_array_init(*out, name, type, 2, (const int64_t[]){n, longest > 0 ? longest : 1});
}

static sg_status put_subwords(const sg_encoded *texts, int64_t n, int64_t longest,
                              sg_export_inputs *in) {
    sg_onnx_array *ids, *mask;

    SG_TRY(add_input(in, "input_ids", SG_ONNX_INT64, n, longest, &ids));
    SG_TRY(add_input(in, "attention_mask", SG_ONNX_INT64, n, longest, &mask));
    for (int64_t i = 0; i < n; i++)
        for (int64_t t = 0; t < texts[i].n_subwords; t++) {
            ((int64_t *)ids->data)[i * ids->dim[1] + t] = texts[i].subword[t];
            ((int64_t *)mask->data)[i * ids->dim[1] + t] = 1;
        }
    return SG_OK;
}

static sg_status put_ngrams(const sg_encoded *texts, int64_t n, int64_t longest,
                            sg_export_inputs *in) {
    sg_onnx_array *ids, *weights;

    SG_TRY(add_input(in, "ngram_ids", SG_ONNX_INT64, n, longest, &ids));
    SG_TRY(add_input(in, "ngram_weights", SG_ONNX_FLOAT, n, longest, &weights));
    for (int64_t i = 0; i < n; i++)
        for (int64_t f = 0; f < ids->dim[1]; f++) {
            bool is = f < texts[i].n_ngrams;

            ((int64_t *)ids->data)[i * ids->dim[1] + f] = is ? texts[i].ngram[f] : -1;
            ((float *)weights->data)[i * ids->dim[1] + f] = is ? texts[i].weight[f] : 0.0f;
        }
    return SG_OK;
}

sg_status sg_export_text_inputs(const sg_text_model *model, const sg_encoded *texts, int64_t n,
                                sg_export_inputs *in) {
    int last = model->shapes.n - 1; /* the largest shape */
    int64_t ngrams = 0, subwords = 0;

    for (int64_t i = 0; i < n; i++) {
        if (texts[i].n_ngrams > ngrams) ngrams = texts[i].n_ngrams;
        if (texts[i].n_subwords > subwords) subwords = texts[i].n_subwords;
    }
    in->n = 0;
    if (model->shapes.features[last] > 0) SG_TRY(put_ngrams(texts, n, ngrams, in));
    if (model->shapes.length[last] > 0) SG_TRY(put_subwords(texts, n, subwords, in));
    return SG_OK;
}

void sg_export_inputs_clear(sg_export_inputs *in) {
    for (int i = 0; i < SG_EXPORT_INPUTS; i++) sg_onnx_array_clear(&in->array[i]);
    in->n = 0;
}

/* Messages as the graph takes them, and in rows, as our engine does. */
static sg_status encode(sampling *s) {
    const sg_text_model *model = &s->trained.model;
    sg_encoded texts[SG_EXPORT_SAMPLES];

    SG_TRY(sg_text_rows_init(&model->shapes, s->sample->n, &s->rows));
    for (int i = 0; i < s->sample->n; i++) {
        sg_message text = message(s, i);

        SG_TRY(sg_encoder_create(model->tokenizer, &s->encoder[i]));
        SG_TRY(sg_encoder_encode(s->encoder[i], text.bytes, text.length, &texts[i]));
        sg_text_rows_put(&s->rows, &model->shapes, shape_of(s), i, &texts[i]);
    }
    return sg_export_text_inputs(model, texts, s->sample->n, &s->sample->input);
}

/* --- answers ---------------------------------------------------------------------------------- */

static sg_status make_inference(sampling *s, const char *path) {
    sg_inference_options o = {.build = sg_text_classifier_build_logits,
                              .context = s->trained.model.contexts[shape_of(s)],
                              .batch = s->sample->n,
                              .workers = 1};

    SG_TRY(sg_inference_create(&o, &s->inference));
    return sg_inference_load(s->inference, path);
}

static sg_status make_outputs(sampling *s) {
    static const char *const names[SG_EXPORT_OUTPUTS] = {"logits", "probabilities"};

    for (int o = 0; o < SG_EXPORT_OUTPUTS; o++) {
        SG_TRY(sg_onnx_array_init(&s->sample->output[o], names[o], SG_ONNX_FLOAT, 2,
                                  (const int64_t[]){s->sample->n, s->trained.model.n_classes}));
        s->sample->n_outputs++;
    }
    return SG_OK;
}

static sg_status answer(sampling *s) {
    const void *inputs[SG_MAX_INPUTS] = {NULL};
    void *outputs[SG_MAX_OUTPUTS] = {NULL};
    int k = 0;

    if (s->trained.model.shapes.features[shape_of(s)] > 0) {
        inputs[k++] = s->rows.ngrams;
        inputs[k++] = s->rows.weights;
    }
    if (s->trained.model.shapes.length[shape_of(s)] > 0) {
        inputs[k++] = s->rows.ids;
        inputs[k++] = s->rows.length;
    }
    for (int o = 0; o < s->sample->n_outputs; o++) outputs[o] = s->sample->output[o].data;
    return sg_inference_run(s->inference, 0, inputs, outputs);
}

static sg_status put_lines(sampling *s) {
    const float *probabilities = s->sample->output[1].data;

    for (int i = 0; i < s->sample->n; i++) {
        sg_message text = message(s, i);
        sg_line line = {0};

        sg_text_answer_json(&s->trained.model, text.bytes, text.length,
                            probabilities + i * s->trained.model.n_classes, &line);
        SG_TRY(sg_line_take(&line, &s->sample->answer[i]));
    }
    return SG_OK;
}

static sg_status take(sampling *s, const sg_trained_source *source) {
    const sg_text_model *model = &s->trained.model;

    choose(s);
    SG_TRY(encode(s));
    SG_TRY(make_outputs(s));
    if (s->graph) {
        SG_TRY(sg_export_sample_run(s->graph, s->sample));
    } else {
        SG_TRY(make_inference(s, source->path));
        SG_TRY(answer(s));
    }
    s->sample->n_tasks = model->n_tasks;
    memcpy(s->sample->task_classes, model->task_classes, sizeof model->task_classes);
    return put_lines(s);
}

sg_status sg_export_sample_texts(const sg_trained_source *source, const sg_export_graph *graph,
                                 sg_export_sample *out) {
    sampling s = {.graph = graph, .sample = out};
    sg_status st;

    out->kind = SG_EXPORT_LABELS;
    out->n = SG_EXPORT_SAMPLES;
    SG_TRY(sg_text_trained_read(source, &s.trained));
    st = take(&s, source);
    sg_inference_destroy(s.inference);
    sg_text_rows_clear(&s.rows);
    for (int i = 0; i < SG_EXPORT_SAMPLES; i++) sg_encoder_destroy(s.encoder[i]);
    sg_text_dataset_destroy(s.data);
    sg_text_trained_clear(&s.trained);
    return st;
}
