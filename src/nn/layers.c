/* Layers: parameters by name, the nodes that use them, and the difference between training and
 * inference. */
#include <stdio.h>

#include "spotgrad.h"

static const float kNormEps = 1e-3f, kLayerNormEps = 1e-5f;
static const sg_init kFilter = {SG_INIT_KAIMING, 1.0f};
static const sg_init kZero = {SG_INIT_CONSTANT, 0.0f};
static const sg_init kOne = {SG_INIT_CONSTANT, 1.0f};

enum { kNameBytes = 256 };

/* The parameter NAME.PART. */
static sg_value *named(sg_graph *g, const char *name, const char *part, sg_entry_kind kind,
                       sg_shape shape, sg_init init) {
    char full[kNameBytes];

    if (snprintf(full, sizeof full, "%s.%s", name, part) >= (int)sizeof full)
        return sg_graph_fail(g, sg_fail(SG_ERR_ARG, "layer %s: its name is too long", name));
    return sg_param(g, full, kind, shape, init);
}

/* Whether x is there and its rank is from `least` to `most`; fails the graph if not. */
static bool has_rank(sg_graph *g, const char *name, const sg_value *x, int least, int most) {
    char text[96], or_more[16] = "";

    if (!x) {
        sg_graph_fail(g, sg_fail(SG_ERR_ARG, "layer %s: input is missing", name));
        return false;
    }
    if (least <= x->shape.rank && x->shape.rank <= most) return true;
    if (most > least) snprintf(or_more, sizeof or_more, " or %d", most);
    sg_graph_fail(g, sg_fail(SG_ERR_ARG, "layer %s: input must be of rank %d%s, is %s", name, least,
                             or_more, sg_shape_text(&x->shape, text, sizeof text)));
    return false;
}

typedef struct {
    sg_value *gamma, *beta, *mean, *var; /* (C) each */
} norm_params;

static norm_params norm_of(sg_graph *g, const char *name, int64_t channels) {
    sg_shape shape = sg_shape_1(channels);
    norm_params p;

    p.gamma = named(g, name, "norm.weight", SG_ENTRY_NO_DECAY, shape, kOne);
    p.beta = named(g, name, "norm.bias", SG_ENTRY_NO_DECAY, shape, kZero);
    p.mean = named(g, name, "norm.mean", SG_ENTRY_STAT, shape, kZero);
    p.var = named(g, name, "norm.var", SG_ENTRY_STAT, shape, kOne);
    return p;
}

static sg_value *conv_norm_train(sg_graph *g, sg_value *x, sg_value *w, const norm_params *p,
                                 sg_conv_options options, sg_act act, sg_value *residual) {
    sg_value *y = sg_conv2d(g, x, w, NULL, options);

    y = sg_batch_norm(g, y, p->gamma, p->beta, residual, kNormEps, act);
    if (!y) return NULL;
    sg_stat_into(g, p->mean, &y->node->out[1]);
    sg_stat_into(g, p->var, &y->node->out[3]);
    return y;
}

static sg_value *conv_norm_eval(sg_graph *g, sg_value *x, sg_value *w, const norm_params *p,
                                sg_conv_options options, sg_act act, sg_value *residual) {
    sg_value *folded = sg_norm_fold(g, w, p->gamma, p->beta, p->mean, p->var, kNormEps);
    sg_value *y;

    if (!folded) return NULL;
    options.act = act;
    y = sg_conv2d(g, x, folded, &folded->node->out[1], options);
    return residual ? sg_add(g, y, residual) : y;
}

sg_value *sg_conv_norm_act(sg_graph *g, const char *name, sg_value *x, int64_t channels,
                           int64_t kernel, int64_t stride, sg_act act, sg_value *residual) {
    sg_conv_options options = {.stride = stride, .pad = kernel / 2, .groups = 1};
    norm_params p;
    sg_value *w;

    if (!has_rank(g, name, x, 4, 4)) return NULL;
    sg_scope(g, "%s", name);
    w = named(g, name, "conv.weight", SG_ENTRY_DECAY,
              sg_shape_4(channels, x->shape.dim[1], kernel, kernel), kFilter);
    p = norm_of(g, name, channels);
    if (sg_graph_mode(g) == SG_TRAIN)
        x = conv_norm_train(g, x, w, &p, options, act, residual);
    else
        x = conv_norm_eval(g, x, w, &p, options, act, residual);
    sg_scope_end(g);
    return x;
}

sg_value *sg_conv(sg_graph *g, const char *name, sg_value *x, int64_t channels, int64_t kernel,
                  int64_t stride, float bias) {
    sg_conv_options options = {.stride = stride, .pad = kernel / 2, .groups = 1};
    sg_init constant = {SG_INIT_CONSTANT, bias};
    sg_value *w, *b;

    if (!has_rank(g, name, x, 4, 4)) return NULL;
    sg_scope(g, "%s", name);
    w = named(g, name, "weight", SG_ENTRY_DECAY,
              sg_shape_4(channels, x->shape.dim[1], kernel, kernel), kFilter);
    b = named(g, name, "bias", SG_ENTRY_NO_DECAY, sg_shape_1(channels), constant);
    x = sg_conv2d(g, x, w, b, options);
    sg_scope_end(g);
    return x;
}

sg_value *sg_linear_act(sg_graph *g, const char *name, sg_value *x, int64_t out, sg_act act) {
    sg_value *w, *b;

    if (!has_rank(g, name, x, 2, 3)) return NULL;
    sg_scope(g, "%s", name);
    w = named(g, name, "weight", SG_ENTRY_DECAY, sg_shape_2(out, x->shape.dim[x->shape.rank - 1]),
              kFilter);
    b = named(g, name, "bias", SG_ENTRY_NO_DECAY, sg_shape_1(out), kZero);
    x = sg_linear_with(g, x, w, b, act);
    sg_scope_end(g);
    return x;
}

sg_value *sg_linear(sg_graph *g, const char *name, sg_value *x, int64_t out) {
    return sg_linear_act(g, name, x, out, SG_ACT_NONE);
}

sg_value *sg_norm(sg_graph *g, const char *name, sg_value *x, sg_value *residual, sg_value **sum) {
    sg_value *gamma, *beta, *y;
    sg_shape columns;

    if (sum) *sum = NULL;
    if (!x || x->shape.rank < 1)
        return sg_graph_fail(
            g, sg_fail(SG_ERR_ARG, "layer %s: input is missing or has no axis", name));
    columns = sg_shape_1(x->shape.dim[x->shape.rank - 1]);
    sg_scope(g, "%s", name);
    gamma = named(g, name, "weight", SG_ENTRY_NO_DECAY, columns, kOne);
    beta = named(g, name, "bias", SG_ENTRY_NO_DECAY, columns, kZero);
    y = sg_layer_norm(g, x, gamma, beta, residual, kLayerNormEps);
    if (y && sum) *sum = residual ? &y->node->out[3] : x;
    sg_scope_end(g);
    return y;
}

/* The number of samples that this graph is built for, as a scalar. */
static sg_value *sample_count(sg_graph *g) {
    float n;

    if (sg_graph_inputs(g) == 0 || sg_graph_input(g, 0)->shape.rank == 0)
        return sg_graph_fail(
            g, sg_fail(SG_ERR_ARG, "loss: no normaliser, and no input whose samples to count"));
    n = (float)sg_graph_input(g, 0)->shape.dim[0];
    return sg_constant(g, SG_F32, sg_shape_0(), &n);
}

void sg_loss(sg_graph *g, sg_value *loss, sg_value *normaliser) {
    sg_status st;

    if (!loss) {
        sg_graph_fail(g, sg_fail(SG_ERR_ARG, "loss: there is none"));
        return;
    }
    if (sg_graph_mode(g) != SG_TRAIN) {
        sg_graph_fail(g, sg_fail(SG_ERR_ARG, "loss: the graph is not a training graph"));
        return;
    }
    sg_sum_into(g, "normaliser", normaliser ? normaliser : sample_count(g));
    sg_sum_into(g, "loss", loss);
    st = sg_gradients(g, loss);
    if (st != SG_OK) sg_graph_fail(g, st);
}
