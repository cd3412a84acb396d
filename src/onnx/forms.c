/* Forms of elementwise ops, shapes, matrices and pictures; the table of all. */
#include "onnx/forms.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "core/mem.h"

static const struct {
    const sg_op *op;
    sg_onnx_form form;
} kForms[] = {
#define SG_FORM(op) {&sg_op_##op, sg_form_##op},
    SG_FORM_LIST(SG_FORM)
#undef SG_FORM
};

sg_onnx_form sg_onnx_form_of(const sg_op *op) {
    for (size_t i = 0; i < sizeof kForms / sizeof kForms[0]; i++)
        if (kForms[i].op == op) return kForms[i].form;
    return NULL;
}

/* Of one input, by one operator. */
static void unary(sg_conversion *c, const sg_node *node, const char *op) {
    sg_conversion_out(c, node, 0,
                      SG_ONNX_OP(sg_conversion_model(c), op, sg_conversion_in(c, node, 0)));
}

static void binary(sg_conversion *c, const sg_node *node, const char *op) {
    sg_conversion_out(c, node, 0,
                      SG_ONNX_OP(sg_conversion_model(c), op, sg_conversion_in(c, node, 0),
                                 sg_conversion_in(c, node, 1)));
}

/* --- elementwise ------------------------------------------------------------------------------ */

void sg_form_add(sg_conversion *c, const sg_node *node) { binary(c, node, "Add"); }
void sg_form_mul(sg_conversion *c, const sg_node *node) { binary(c, node, "Mul"); }
void sg_form_relu(sg_conversion *c, const sg_node *node) { unary(c, node, "Relu"); }
void sg_form_sigmoid(sg_conversion *c, const sg_node *node) { unary(c, node, "Sigmoid"); }

void sg_form_stop_gradient(sg_conversion *c, const sg_node *node) {
    sg_conversion_out(c, node, 0, sg_conversion_in(c, node, 0));
}

static const char *affine(sg_onnx *m, const char *x, const sg_affine_attr *a) {
    x = SG_ONNX_OP(m, "Mul", x, sg_onnx_float(m, a->factor));
    return a->shift == 0.0f ? x : SG_ONNX_OP(m, "Add", x, sg_onnx_float(m, a->shift));
}

void sg_form_scale(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);

    sg_conversion_out(c, node, 0, affine(m, sg_conversion_in(c, node, 0), node->attr));
}

void sg_form_to_float(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    const char *x = sg_onnx_node(m, "Cast", SG_ONNX_IN(sg_conversion_in(c, node, 0)),
                                 SG_ONNX_WITH(sg_onnx_attr_int("to", SG_ONNX_FLOAT)));

    sg_conversion_out(c, node, 0, affine(m, x, node->attr));
}

/* x (1 + erf(x / sqrt 2)) / 2, in the order of nodes that runtimes know as one. */
static const char *gelu(sg_onnx *m, const char *x) {
    const char *y = SG_ONNX_OP(m, "Div", x, sg_onnx_float(m, sqrtf(2.0f)));

    y = SG_ONNX_OP(m, "Add", SG_ONNX_OP(m, "Erf", y), sg_onnx_float(m, 1.0f));
    return SG_ONNX_OP(m, "Mul", SG_ONNX_OP(m, "Mul", x, y), sg_onnx_float(m, 0.5f));
}

const char *sg_form_act(sg_onnx *m, const char *x, sg_act act) {
    switch (act) {
    case SG_ACT_NONE:
        break;
    case SG_ACT_RELU:
        return SG_ONNX_OP(m, "Relu", x);
    case SG_ACT_SILU:
        return SG_ONNX_OP(m, "Mul", x, SG_ONNX_OP(m, "Sigmoid", x));
    case SG_ACT_GELU:
        return gelu(m, x);
    }
    return x;
}

static void activation(sg_conversion *c, const sg_node *node, sg_act act) {
    sg_onnx *m = sg_conversion_model(c);

    sg_conversion_out(c, node, 0, sg_form_act(m, sg_conversion_in(c, node, 0), act));
}

void sg_form_silu(sg_conversion *c, const sg_node *node) { activation(c, node, SG_ACT_SILU); }
void sg_form_gelu(sg_conversion *c, const sg_node *node) { activation(c, node, SG_ACT_GELU); }

/* --- shapes ----------------------------------------------------------------------------------- */

/* The batch is whatever is left over. */
void sg_form_reshape(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    sg_shape s = node->out[0].shape;

    if (s.rank > 0) s.dim[0] = -1;
    sg_conversion_out(
        c, node, 0,
        SG_ONNX_OP(m, "Reshape", sg_conversion_in(c, node, 0), sg_onnx_ints(m, s.rank, s.dim)));
}

void sg_form_concat(sg_conversion *c, const sg_node *node) {
    const char *in[SG_MAX_IN + 1];

    for (int i = 0; i < node->n_in; i++) in[i] = sg_conversion_in(c, node, i);
    in[node->n_in] = SG_ONNX_END;
    sg_conversion_out(c, node, 0,
                      sg_onnx_node(sg_conversion_model(c), "Concat", in,
                                   SG_ONNX_WITH(sg_onnx_attr_int("axis", 1))));
}

void sg_form_slice(sg_conversion *c, const sg_node *node) {
    const sg_slice_attr *a = node->attr;
    sg_onnx *m = sg_conversion_model(c);

    sg_conversion_out(c, node, 0,
                      SG_ONNX_OP(m, "Slice", sg_conversion_in(c, node, 0),
                                 SG_ONNX_INTS(m, a->start), SG_ONNX_INTS(m, a->start + a->count),
                                 SG_ONNX_INTS(m, 1)));
}

void sg_form_sum(sg_conversion *c, const sg_node *node) {
    sg_conversion_out(c, node, 0,
                      sg_onnx_node(sg_conversion_model(c), "ReduceSum",
                                   SG_ONNX_IN(sg_conversion_in(c, node, 0)),
                                   SG_ONNX_WITH(sg_onnx_attr_int("keepdims", 0))));
}

/* --- matrices --------------------------------------------------------------------------------- */

void sg_form_matmul(sg_conversion *c, const sg_node *node) {
    const sg_matmul_attr *a = node->attr;

    sg_conversion_out(
        c, node, 0,
        sg_onnx_node(sg_conversion_model(c), "Gemm",
                     SG_ONNX_IN(sg_conversion_in(c, node, 0), sg_conversion_in(c, node, 1)),
                     SG_ONNX_WITH(sg_onnx_attr_int("transA", a->transpose_a),
                                  sg_onnx_attr_int("transB", a->transpose_b))));
}

/* b beside the channels of x: of pictures (1, C, 1, 1). */
void sg_form_bias(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    const char *b = sg_conversion_in(c, node, 1);

    if (node->in[0]->shape.rank == 4) b = SG_ONNX_OP(m, "Reshape", b, SG_ONNX_INTS(m, 1, -1, 1, 1));
    sg_conversion_out(c, node, 0, SG_ONNX_OP(m, "Add", sg_conversion_in(c, node, 0), b));
}

/* W^T (K, O) of w (O, K), as a constant where w is one. */
static const char *transposed(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    const sg_value *w = node->in[1];
    const float *from = sg_conversion_data(c, w);
    int64_t O = w->shape.dim[0], K = w->shape.dim[1];
    char name[256];
    const char *value;
    float *to;

    if (!from)
        return sg_onnx_node(m, "Transpose", SG_ONNX_IN(sg_conversion_in(c, node, 1)),
                            SG_ONNX_WITH(sg_onnx_attr_ints("perm", 2, (const int64_t[]){1, 0})));
    to = sg_malloc((size_t)(O * K) * sizeof *to);
    if (!to) return sg_onnx_fail(m, sg_fail(SG_ERR_OOM, "onnx: no memory"));
    for (int64_t k = 0; k < K; k++)
        for (int64_t o = 0; o < O; o++) to[k * O + o] = from[o * K + k];
    snprintf(name, sizeof name, "%s.transposed", node->name);
    value = sg_onnx_tensor(m, name, SG_ONNX_FLOAT, 2, (const int64_t[]){K, O}, to);
    sg_free(to);
    return value;
}

/* act(x W^T + b): of texts (N, T, K) a product in which batch and tokens vary. */
void sg_form_linear(sg_conversion *c, const sg_node *node) {
    const sg_linear_attr *a = node->attr;
    sg_onnx *m = sg_conversion_model(c);
    const char *x = sg_conversion_in(c, node, 0), *b = sg_conversion_in(c, node, 2), *y;

    if (node->in[0]->shape.rank == 2) {
        const sg_onnx_attr *with = SG_ONNX_WITH(sg_onnx_attr_int("transB", 1));
        const char *w = sg_conversion_in(c, node, 1);

        y = sg_onnx_node(m, "Gemm", node->in[2] ? SG_ONNX_IN(x, w, b) : SG_ONNX_IN(x, w), with);
    } else {
        y = SG_ONNX_OP(m, "MatMul", x, transposed(c, node));
        if (node->in[2]) y = SG_ONNX_OP(m, "Add", y, b);
    }
    sg_conversion_out(c, node, 0, sg_form_act(m, y, a->act));
}

/* --- pictures --------------------------------------------------------------------------------- */

static sg_onnx_attr square(const char *name, int64_t value) {
    return sg_onnx_attr_ints(name, 2, (const int64_t[]){value, value});
}

static sg_onnx_attr padding(int64_t pad) {
    return sg_onnx_attr_ints("pads", 4, (const int64_t[]){pad, pad, pad, pad});
}

void sg_form_conv2d(sg_conversion *c, const sg_node *node) {
    const sg_conv_options *o = &((const sg_conv_attr *)node->attr)->options;
    const int64_t *w = node->in[1]->shape.dim;
    sg_onnx *m = sg_conversion_model(c);
    const char *x = sg_conversion_in(c, node, 0), *filter = sg_conversion_in(c, node, 1);
    const char *b = sg_conversion_in(c, node, 2);
    const sg_onnx_attr *with =
        SG_ONNX_WITH(sg_onnx_attr_ints("kernel_shape", 2, w + 2), square("strides", o->stride),
                     padding(o->pad), sg_onnx_attr_int("group", o->groups));
    const char *y = sg_onnx_node(
        m, "Conv", node->in[2] ? SG_ONNX_IN(x, filter, b) : SG_ONNX_IN(x, filter), with);

    sg_conversion_out(c, node, 0, sg_form_act(m, y, o->act));
}

void sg_form_max_pool2d(sg_conversion *c, const sg_node *node) {
    const sg_pool_attr *a = node->attr;

    sg_conversion_out(c, node, 0,
                      sg_onnx_node(sg_conversion_model(c), "MaxPool",
                                   SG_ONNX_IN(sg_conversion_in(c, node, 0)),
                                   SG_ONNX_WITH(square("kernel_shape", a->kernel),
                                                square("strides", a->stride), padding(a->pad))));
}

void sg_form_global_avg_pool(sg_conversion *c, const sg_node *node) {
    sg_onnx *m = sg_conversion_model(c);
    const char *y = SG_ONNX_OP(m, "GlobalAveragePool", sg_conversion_in(c, node, 0));

    sg_conversion_out(c, node, 0, SG_ONNX_OP(m, "Squeeze", y, SG_ONNX_INTS(m, 2, 3)));
}

void sg_form_upsample2x(sg_conversion *c, const sg_node *node) {
    static const float kTwice[4] = {1.0f, 1.0f, 2.0f, 2.0f};
    sg_onnx *m = sg_conversion_model(c);
    char name[256];
    const char *scales;

    snprintf(name, sizeof name, "%s.scales", node->name);
    scales = sg_onnx_tensor(m, name, SG_ONNX_FLOAT, 1, (const int64_t[]){4}, kTwice);
    sg_conversion_out(
        c, node, 0,
        sg_onnx_node(m, "Resize", SG_ONNX_IN(sg_conversion_in(c, node, 0), "", scales),
                     SG_ONNX_WITH(sg_onnx_attr_text("mode", "nearest"),
                                  sg_onnx_attr_text("coordinate_transformation_mode", "asymmetric"),
                                  sg_onnx_attr_text("nearest_mode", "floor"))));
}
