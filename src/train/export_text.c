/* A text classifier as ONNX: numbers in, of which its tokenizer makes a message.
 *
 *   input_ids, attention_mask   i64 (batch, length), with an encoder: subwords, 1 for each of them
 *   ngram_ids, ngram_weights    i64 and f32 (batch, features), with n-grams: rows of the tables; an
 *                               id below 0 is padding
 *   logits, probabilities       f32 (batch, classes), those of all tasks in turn */
#include <jansson.h>
#include <openssl/evp.h>
#include <string.h>

#include "data/text_clean.h"
#include "onnx/convert.h"
#include "train/export.h"
#include "train/text_trained.h"

typedef struct {
    sg_text_trained trained;
    sg_table *table;
    sg_graph *graph;
    sg_state *state;
    sg_conversion *conversion;
    sg_onnx *m;
} exporting;

static sg_status load(exporting *e, const sg_trained_source *source, bool int8) {
    const sg_text_model *model = &e->trained.model;

    SG_TRY(sg_text_trained_read(source, &e->trained));
    if (int8 && model->shapes.length[model->shapes.n - 1] == 0)
        return sg_fail(SG_ERR_ARG,
                       "%s: is a model of n-grams alone: tables that are added up, in which --int8 "
                       "finds nothing to multiply in integers; leave it out",
                       source->path);
    SG_TRY(sg_table_create(&e->table));
    SG_TRY(sg_graph_create(SG_EVAL, e->table, &e->graph));
    /* the last shape is the largest: texts of any length, up to that, are what is exported */
    SG_TRY(sg_text_classifier_build_logits(e->graph, 1, model->contexts[model->shapes.n - 1]));
    sg_table_freeze(e->table);
    SG_TRY(sg_state_create(e->table, 0, &e->state));
    SG_TRY(sg_model_file_load(source->path, e->state));
    return sg_conversion_create(e->m, e->graph, e->state->ema, e->state->rows, &e->conversion);
}

/* --- inputs and outputs ----------------------------------------------------------------------- */

/* What the client gives in place of an input of the graph. */
static const char *declare(exporting *e, const char *name) {
    if (strcmp(name, "ids") == 0)
        return sg_onnx_input(e->m, "input_ids", SG_ONNX_INT64, "batch length");
    if (strcmp(name, "ngrams") == 0)
        return sg_onnx_input(e->m, "ngram_ids", SG_ONNX_INT64, "batch features");
    if (strcmp(name, "weights") == 0)
        return sg_onnx_input(e->m, "ngram_weights", SG_ONNX_FLOAT, "batch features");
    /* forms take a mask in place of lengths (onnx/forms.h) */
    return sg_onnx_node(
        e->m, "Cast",
        SG_ONNX_IN(sg_onnx_input(e->m, "attention_mask", SG_ONNX_INT64, "batch length")),
        SG_ONNX_WITH(sg_onnx_attr_int("to", SG_ONNX_FLOAT)));
}

static void bind_inputs(exporting *e) {
    sg_onnx_scope(e->m, "input");
    for (int i = 0; i < sg_graph_inputs(e->graph); i++)
        sg_conversion_bind(e->conversion, sg_graph_input(e->graph, i),
                           declare(e, sg_graph_input_name(e->graph, i)));
}

static sg_status put_outputs(exporting *e) {
    const char *value[SG_MAX_OUTPUTS];
    int n = sg_graph_outputs(e->graph);

    for (int i = 0; i < n; i++)
        SG_TRY(sg_convert(e->conversion, sg_graph_output(e->graph, i), &value[i]));
    sg_onnx_scope(e->m, "output");
    for (int i = 0; i < n; i++)
        sg_onnx_output(e->m, sg_graph_output_name(e->graph, i), value[i], SG_ONNX_FLOAT,
                       "batch %lld", (long long)e->trained.model.n_classes);
    return sg_onnx_status(e->m);
}

/* --- metadata --------------------------------------------------------------------------------- */

static sg_status about_tokenizer(const exporting *e) {
    const char *text = e->trained.file.tokenizer;
    uint8_t digest[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    unsigned n = 0;

    if (!EVP_Digest(text, strlen(text), digest, &n, EVP_sha256(), NULL))
        return sg_fail(SG_ERR_UNSUPPORTED, "export: OpenSSL cannot compute SHA-256");
    for (unsigned i = 0; i < n; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    sg_onnx_about(e->m, "spotgrad.tokenizer", text);
    sg_onnx_about(e->m, "spotgrad.tokenizer_sha256", hex);
    sg_onnx_about_f(e->m, "spotgrad.normalizer_version", "%d", SG_TEXT_CLEAN_VERSION);
    return SG_OK;
}

/* [{"name": TASK, "classes": [NAME, ...]}, ...]: the outputs' columns in order. */
static json_t *tasks(const sg_text_model *model) {
    json_t *list = json_array();

    for (int t = 0; t < model->n_tasks; t++) {
        json_t *names = json_array();

        for (int c = 0; c < model->classes[t].n; c++)
            json_array_append_new(names, json_string(model->classes[t].name[c]));
        json_array_append_new(
            list, json_pack("{s:s, s:o}", "name", model->tasks.name[t], "classes", names));
    }
    return list;
}

static sg_status about(const exporting *e) {
    const sg_text_model *model = &e->trained.model;
    const sg_tokenizer_options *t = sg_tokenizer_options_of(model->tokenizer);
    sg_classes names = {0};
    sg_status st = sg_text_model_class_names(model, &names);

    sg_export_about(e->m, "text_classifier", &e->trained.file);
    sg_onnx_about(e->m, "task", "classify");
    if (st == SG_OK) sg_export_names(e->m, (const char *const *)names.name, names.n);
    sg_classes_clear(&names);
    sg_export_json(e->m, "spotgrad.tasks", tasks(model));
    sg_onnx_about_f(e->m, "spotgrad.length", "%lld", (long long)t->length);
    sg_onnx_about_f(e->m, "spotgrad.features", "%lld", (long long)t->features);
    return st == SG_OK ? about_tokenizer(e) : st;
}

static sg_status export(exporting *e, const sg_trained_source *source,
                        const sg_export_options *options) {
    SG_TRY(load(e, source, options->int8));
    bind_inputs(e);
    SG_TRY(put_outputs(e));
    SG_TRY(about(e));
    return sg_onnx_status(e->m);
}

sg_status sg_export_text(const sg_trained_source *source, const sg_export_options *options,
                         sg_onnx *m) {
    exporting e = {.m = m};
    sg_status st = export(&e, source, options);

    sg_conversion_destroy(e.conversion);
    sg_state_destroy(e.state);
    sg_graph_destroy(e.graph);
    sg_table_destroy(e.table);
    sg_text_trained_clear(&e.trained);
    return st;
}
