#include "nn/text_classifier.h"

#include <string.h>

#include "spotgrad.h"

/* Of tables: an n-gram that training has not seen says nothing. */
static const sg_init kZero = {SG_INIT_CONSTANT, 0.0f};

static bool has_encoder(const sg_text_classifier_options *o) { return o->encoder.layers > 0; }
static bool has_ngrams(const sg_text_classifier_options *o) {
    return o->features > 0 && (o->wide || o->bag > 0);
}

int64_t sg_text_classifier_classes(const sg_text_classifier_options *o) {
    int64_t n = 0;

    for (int i = 0; i < o->n_tasks; i++) n += o->task_classes[i];
    return n;
}

sg_status sg_text_classifier_check(const sg_text_classifier_options *o) {
    sg_text_encoder_options encoder = o->encoder;

    if (o->n_tasks < 1 || sg_text_classifier_classes(o) < 2)
        return sg_fail(SG_ERR_CONFIG, "text classifier: fewer than two classes");
    for (int i = 0; i < o->n_tasks; i++)
        if (o->task_classes[i] < 2)
            return sg_fail(SG_ERR_CONFIG,
                           "text classifier: task %d has %lld classes; at least 2 "
                           "are needed",
                           i + 1, (long long)o->task_classes[i]);
    if (!has_encoder(o) && !has_ngrams(o))
        return sg_fail(SG_ERR_CONFIG, "text classifier: it has no part; set model.wide, model.bag "
                                      "or model.layers");
    if (has_ngrams(o) && o->buckets < 1)
        return sg_fail(SG_ERR_CONFIG,
                       "text classifier: its n-grams have %lld buckets; no text has any, or "
                       "text.min_count is too high",
                       (long long)o->buckets);
    if (!(o->dropout >= 0.0f && o->dropout < 1.0f))
        return sg_fail(SG_ERR_CONFIG, "text classifier: dropout %g; at least 0 and below 1 it is",
                       (double)o->dropout);
    encoder.classes = 2;
    return has_encoder(o) ? sg_text_encoder_check(&encoder) : SG_OK;
}

/* --- parts ------------------------------------------------------------------------------------ */

typedef struct {
    sg_value *ngrams, *weights; /* NULL without n-grams */
    sg_value *ids, *length;     /* NULL without an encoder */
} text_inputs;

static text_inputs declare(sg_graph *g, int64_t n, const sg_text_classifier_options *o) {
    text_inputs in = {NULL, NULL, NULL, NULL};

    if (has_ngrams(o)) {
        in.ngrams = sg_input(g, "ngrams", SG_I32, sg_shape_2(n, o->features));
        in.weights = sg_input(g, "weights", SG_F32, sg_shape_2(n, o->features));
    }
    if (has_encoder(o)) {
        in.ids = sg_input(g, "ids", SG_I32, sg_shape_2(n, o->encoder.length));
        in.length = sg_input(g, "length", SG_I32, sg_shape_1(n));
    }
    return in;
}

static sg_value *bag_of(sg_graph *g, const text_inputs *in, const char *name, int64_t buckets,
                        int64_t width, sg_init init) {
    sg_value *table = sg_param(g, name, SG_ENTRY_ROWS, sg_shape_2(buckets, width), init);

    return sg_embedding_bag(g, in->ngrams, in->weights, table);
}

/* What the linear layer sees; NULL where there is neither bag nor encoder. */
static sg_value *features(sg_graph *g, const sg_text_classifier_options *o, const text_inputs *in) {
    sg_value *part[2];
    int n = 0;

    if (o->bag > 0 && o->features > 0) {
        sg_scope(g, "bag");
        part[n] = bag_of(g, in, "bag.weight", o->buckets, o->bag, kZero);
        if (o->keep_bag) part[n] = sg_stop_gradient(g, part[n]);
        part[n] = sg_dropout(g, part[n], o->dropout);
        n++;
        sg_scope_end(g);
    }
    if (has_encoder(o)) {
        part[n] = sg_text_encode(g, &o->encoder, in->ids, in->length);
        part[n] = sg_dropout(g, part[n], o->dropout);
        n++;
    }
    if (n == 0) return NULL;
    return n == 1 ? part[0] : sg_concat(g, part, n);
}

/* As sg_linear, but that all begins at zero where what it reads is given (keep_bag): it has nothing
 * to say before it has learned. */
static sg_value *classify(sg_graph *g, const sg_text_classifier_options *o, sg_value *x,
                          int64_t classes) {
    sg_value *w, *b;

    if (!o->keep_bag || !x) return sg_linear(g, "classify", x, classes);
    w = sg_param(g, "classify.weight", SG_ENTRY_DECAY, sg_shape_2(classes, x->shape.dim[1]), kZero);
    b = sg_param(g, "classify.bias", SG_ENTRY_NO_DECAY, sg_shape_1(classes), kZero);
    return sg_linear_with(g, x, w, b, SG_ACT_NONE);
}

static sg_value *logits_of(sg_graph *g, const sg_text_classifier_options *o,
                           const text_inputs *in) {
    int64_t classes = sg_text_classifier_classes(o);
    bool deep = has_encoder(o) || (o->bag > 0 && o->features > 0);
    sg_value *votes = NULL, *logits = NULL;

    if (deep) logits = classify(g, o, features(g, o, in), classes);
    if (o->wide && o->features > 0) {
        sg_scope(g, "wide");
        votes = bag_of(g, in, "wide.weight", o->buckets, classes, kZero);
        if (!deep)
            votes = sg_bias(
                g, votes, sg_param(g, "wide.bias", SG_ENTRY_NO_DECAY, sg_shape_1(classes), kZero));
        sg_scope_end(g);
    }
    if (!votes) return logits;
    return deep ? sg_add(g, logits, votes) : votes;
}

int sg_text_classifier_class_axis(const char *parameter) {
    static const struct {
        const char *name;
        int axis;
    } outputs[] = {
        {"classify.weight", 0}, {"classify.bias", 0}, {"wide.weight", 1}, {"wide.bias", 0}};

    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++)
        if (strcmp(outputs[i].name, parameter) == 0) return outputs[i].axis;
    return -1;
}

/* A softmax over each task's classes. */
static sg_value *probabilities(sg_graph *g, const sg_text_classifier_options *o, sg_value *logits) {
    sg_value *all = NULL;
    int64_t first = 0;

    if (o->n_tasks == 1) return sg_softmax(g, logits);
    for (int i = 0; i < o->n_tasks; i++) {
        sg_value *p = sg_softmax(g, sg_slice(g, logits, first, o->task_classes[i]));

        all = i == 0 ? p : sg_concat(g, (sg_value *[]){all, p}, 2);
        first += o->task_classes[i];
    }
    return all;
}

sg_status sg_text_classifier_build(sg_graph *g, int64_t n, void *options) {
    const sg_text_classifier_options *o = options;
    text_inputs in;
    sg_value *logits;

    SG_TRY(sg_text_classifier_check(o));
    in = declare(g, n, o);
    logits = logits_of(g, o, &in);
    if (sg_graph_mode(g) == SG_TRAIN) {
        sg_value *target =
            sg_input(g, "target", SG_F32, sg_shape_2(n, sg_text_classifier_classes(o)));

        sg_loss(g, sg_soft_cross_entropy(g, logits, target), NULL);
    } else {
        sg_output(g, "probabilities", probabilities(g, o, logits));
    }
    return sg_graph_status(g);
}

sg_status sg_text_classifier_build_logits(sg_graph *g, int64_t n, void *options) {
    const sg_text_classifier_options *o = options;
    text_inputs in;
    sg_value *logits;

    SG_TRY(sg_text_classifier_check(o));
    in = declare(g, n, o);
    logits = logits_of(g, o, &in);
    sg_output(g, "logits", logits);
    sg_output(g, "probabilities", probabilities(g, o, logits));
    return sg_graph_status(g);
}
