#include "nn/text_encoder.h"

#include <stdio.h>

#include "spotgrad.h"

enum { kNameBytes = 64, kMlpRatio = 4, kMost = 1 << 20, kMostLayers = 1000, kMostKernel = 255 };

/* As BERT's and GPT-2's: small beside what a layer adds. */
static const sg_init kEmbedding = {SG_INIT_NORMAL, 0.02f};

sg_text_encoder_options sg_text_encoder_defaults(void) {
    return (sg_text_encoder_options){.vocabulary = 8192,
                                     .length = 64,
                                     .layers = 4,
                                     .width = 256,
                                     .heads = 8,
                                     .kernel = 3,
                                     .classes = 3,
                                     .dropout = 0.1f};
}

static sg_status check_range(const char *what, int64_t value, int64_t most) {
    if (value >= 1 && value <= most) return SG_OK;
    return sg_fail(SG_ERR_CONFIG, "text encoder: %s is %lld; 1 to %lld are possible", what,
                   (long long)value, (long long)most);
}

static sg_status check_heads(const sg_text_encoder_options *o) {
    SG_TRY(check_range("heads", o->heads, o->width));
    if (o->width % o->heads == 0) return SG_OK;
    return sg_fail(SG_ERR_CONFIG, "text encoder: width %lld cannot be divided into %lld heads",
                   (long long)o->width, (long long)o->heads);
}

static sg_status check_kernel(const sg_text_encoder_options *o) {
    SG_TRY(check_range("kernel", o->kernel, kMostKernel));
    if (o->kernel % 2 == 1) return SG_OK;
    return sg_fail(SG_ERR_CONFIG,
                   "text encoder: kernel %lld is even; a window has its token in the "
                   "middle",
                   (long long)o->kernel);
}

sg_status sg_text_encoder_check(const sg_text_encoder_options *o) {
    SG_TRY(check_range("vocabulary", o->vocabulary, kMost));
    SG_TRY(check_range("length", o->length, o->positions ? o->positions : kMost));
    SG_TRY(check_range("layers", o->layers, kMostLayers));
    SG_TRY(check_range("width", o->width, kMost));
    SG_TRY(check_range("classes", o->classes, kMost));
    SG_TRY(o->kind == SG_ENCODER_GATED_CNN ? check_kernel(o) : check_heads(o));
    if (!(o->dropout >= 0.0f && o->dropout < 1.0f))
        return sg_fail(SG_ERR_CONFIG, "text encoder: dropout %g; at least 0 and below 1 it is",
                       (double)o->dropout);
    return SG_OK;
}

/* --- layers ----------------------------------------------------------------------------------- */

/* "encoder.LAYER.PART" */
typedef struct {
    char text[kNameBytes];
} layer_name;

static layer_name name_of(int64_t layer, const char *part) {
    layer_name name;

    snprintf(name.text, sizeof name.text, "encoder.%lld.%s", (long long)layer, part);
    return name;
}

static sg_value *attention(sg_graph *g, const sg_text_encoder_options *o, int64_t layer,
                           sg_value *x, sg_value *length) {
    x = sg_linear(g, name_of(layer, "attention.qkv").text, x, 3 * o->width);
    sg_scope(g, "encoder.%lld", (long long)layer);
    x = sg_attention(g, x, length, o->heads);
    sg_scope_end(g);
    x = sg_linear(g, name_of(layer, "attention.out").text, x, o->width);
    return sg_dropout(g, x, o->dropout);
}

static sg_value *mlp(sg_graph *g, const sg_text_encoder_options *o, int64_t layer, sg_value *x) {
    x = sg_linear_act(g, name_of(layer, "mlp.up").text, x, kMlpRatio * o->width, SG_ACT_GELU);
    x = sg_linear(g, name_of(layer, "mlp.down").text, x, o->width);
    return sg_dropout(g, x, o->dropout);
}

/* A layer of the gated CNN. */
static sg_value *gated(sg_graph *g, const sg_text_encoder_options *o, int64_t layer, sg_value *x,
                       sg_value *length) {
    sg_value *value, *gate;

    sg_scope(g, "encoder.%lld", (long long)layer);
    x = sg_windows(g, x, length, o->kernel);
    sg_scope_end(g);
    value = sg_linear(g, name_of(layer, "value").text, x, o->width);
    gate = sg_linear(g, name_of(layer, "gate").text, x, o->width);
    sg_scope(g, "encoder.%lld", (long long)layer);
    x = sg_mul(g, value, sg_sigmoid(g, gate));
    sg_scope_end(g);
    return sg_dropout(g, x, o->dropout);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* The first T rows of the table of positions. */
static sg_value *positions(sg_graph *g, const sg_text_encoder_options *o) {
    int64_t T = o->length, rows = o->positions ? o->positions : T;
    sg_value *x = sg_param(g, "embedding.position.weight", SG_ENTRY_NO_DECAY,
                           sg_shape_2(rows, o->width), kEmbedding);

    if (rows == T) return x;
    x = sg_reshape(g, x, sg_shape_2(1, rows * o->width));
    return sg_reshape(g, sg_slice(g, x, 0, T * o->width), sg_shape_2(T, o->width));
}

sg_value *sg_text_encoder_table(sg_graph *g, const sg_text_encoder_options *o) {
    return sg_param(g, "embedding.token.weight", SG_ENTRY_NO_DECAY,
                    sg_shape_2(o->vocabulary, o->width), kEmbedding);
}

static sg_value *embed(sg_graph *g, const sg_text_encoder_options *o, sg_value *ids) {
    sg_value *table = sg_text_encoder_table(g, o);
    sg_value *position = NULL, *x;

    sg_scope(g, "embedding");
    if (o->kind == SG_ENCODER_TRANSFORMER) position = positions(g, o);
    x = sg_dropout(g, sg_embedding(g, ids, table, position), o->dropout);
    sg_scope_end(g);
    return x;
}

/* A branch's result is added to the stream by the norm that comes next: one pass over both. */
sg_value *sg_text_encode_tokens(sg_graph *g, const sg_text_encoder_options *o, sg_value *ids,
                                sg_value *length) {
    sg_value *stream = NULL, *branch = embed(g, o, ids), *x;

    for (int64_t l = 0; l < o->layers; l++) {
        if (o->kind == SG_ENCODER_GATED_CNN) {
            x = sg_norm(g, name_of(l, "norm").text, branch, stream, &stream);
            branch = gated(g, o, l, x, length);
            continue;
        }
        x = sg_norm(g, name_of(l, "norm1").text, branch, stream, &stream);
        branch = attention(g, o, l, x, length);
        x = sg_norm(g, name_of(l, "norm2").text, branch, stream, &stream);
        branch = mlp(g, o, l, x);
    }
    return sg_norm(g, "encoder.norm", branch, stream, NULL);
}

sg_value *sg_text_encode(sg_graph *g, const sg_text_encoder_options *o, sg_value *ids,
                         sg_value *length) {
    return sg_masked_mean(g, sg_text_encode_tokens(g, o, ids, length), length);
}

sg_status sg_text_encoder_build(sg_graph *g, int64_t n, void *options) {
    const sg_text_encoder_options *o = options;
    sg_value *ids, *length, *logits;

    SG_TRY(sg_text_encoder_check(o));
    if (n < 1) return sg_fail(SG_ERR_ARG, "text encoder: built for %lld texts", (long long)n);
    ids = sg_input(g, "ids", SG_I32, sg_shape_2(n, o->length));
    length = sg_input(g, "length", SG_I32, sg_shape_1(n));
    logits = sg_linear(g, "classify", sg_text_encode(g, o, ids, length), o->classes);
    if (sg_graph_mode(g) == SG_TRAIN) {
        sg_value *label = sg_input(g, "label", SG_I32, sg_shape_1(n));

        sg_loss(g, sg_cross_entropy(g, logits, label), NULL);
    } else {
        sg_output(g, "probabilities", sg_softmax(g, logits));
    }
    return sg_graph_status(g);
}
