/* Ops that work on one element at a time.
 *
 *   add      y = a + b                  mul        y = a * b
 *   scale    y = factor * x             to_float   y = factor * (float)x + shift,  x u8
 *   relu     y = max(x, 0)              relu_dx    dx = y > 0 ? dy : 0
 *   sigmoid  y = 1 / (1 + exp(-x))      sigmoid_dx dx = dy * y (1 - y)
 *   silu     y = x * sigmoid(x)         silu_dx    dx = dy * s (1 + x (1 - s)),  s = sigmoid(x)
 *   gelu     y = x * P(x)               gelu_dx    dx = dy * (P(x) + x exp(-x^2 / 2) / sqrt(2 pi))
 *
 * P(x) = (1 + erf(x / sqrt 2)) / 2, the normal distribution's: gelu is the exact form (Hendrycks
 * and Gimpel, 2016), which is PyTorch's default, and which ONNX has an Erf for; Gelu itself came
 * with opset 20. The tanh form differs from it by up to 5e-4.
 *
 * All operands have one shape. NaN in gives NaN out. stop_gradient is a view of its input. */
#include "ops/ops.h"

#include <math.h>

static const double kSqrtHalf = 0.70710678118654752, kInvSqrt2Pi = 0.39894228040143268;

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* By erfc: 1 + erf would leave nothing of the lower tail. */
static double normal_cdf(double x) { return 0.5 * erfc(-x * kSqrtHalf); }

double sg_act_value(sg_act act, double x) {
    switch (act) {
    case SG_ACT_RELU:
        return x <= 0.0 ? 0.0 : x;
    case SG_ACT_SILU:
        return x * sigmoid(x);
    case SG_ACT_GELU:
        return x * normal_cdf(x);
    case SG_ACT_NONE:
        break;
    }
    return x;
}

double sg_act_slope(sg_act act, double x) {
    double s;

    switch (act) {
    case SG_ACT_RELU:
        return x <= 0.0 ? 0.0 : 1.0;
    case SG_ACT_SILU:
        s = sigmoid(x);
        return s * (1.0 + x * (1.0 - s));
    case SG_ACT_GELU:
        return normal_cdf(x) + x * kInvSqrt2Pi * exp(-0.5 * x * x);
    case SG_ACT_NONE:
        break;
    }
    return 1.0;
}

bool sg_act_slope_needs_x(sg_act act) { return act != SG_ACT_NONE && act != SG_ACT_RELU; }

static int64_t count_of(const sg_args *a) { return sg_shape_count(&a->node->out[0].shape); }

/* Inputs and output of one shape, f32. */
static sg_status same_infer(sg_node *node) {
    SG_TRY(sg_op_expect_same(node, node->n_in));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_value *append_1(sg_graph *g, const sg_op *op, sg_value *x, const void *attr) {
    sg_value *in[] = {x};

    return sg_node_append(g, op, in, 1, 1, attr);
}

static sg_value *append_2(sg_graph *g, const sg_op *op, sg_value *a, sg_value *b) {
    sg_value *in[] = {a, b};

    return sg_node_append(g, op, in, 2, 2, NULL);
}

/* --- add, mul, scale -------------------------------------------------------------------------- */

static sg_status add_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    SG_TRY(sg_accumulate(g, node->in[0], dy[0]));
    return sg_accumulate(g, node->in[1], dy[0]);
}

static sg_status add_ref(const sg_args *args) {
    const float *a = args->in[0], *b = args->in[1];
    float *y = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
    return SG_OK;
}

static sg_status mul_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *a = node->in[0], *b = node->in[1];

    if (sg_wants_grad(a)) SG_TRY(sg_accumulate(g, a, sg_mul(g, dy[0], b)));
    if (sg_wants_grad(b)) SG_TRY(sg_accumulate(g, b, sg_mul(g, dy[0], a)));
    return SG_OK;
}

static sg_status mul_ref(const sg_args *args) {
    const float *a = args->in[0], *b = args->in[1];
    float *y = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) y[i] = a[i] * b[i];
    return SG_OK;
}

static sg_status scale_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_affine_attr *attr = node->attr;

    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_scale(g, dy[0], attr->factor));
}

static sg_status scale_ref(const sg_args *args) {
    const sg_affine_attr *attr = args->node->attr;
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) y[i] = attr->factor * x[i];
    return SG_OK;
}

sg_value *sg_add(sg_graph *g, sg_value *a, sg_value *b) { return append_2(g, &sg_op_add, a, b); }

sg_value *sg_mul(sg_graph *g, sg_value *a, sg_value *b) { return append_2(g, &sg_op_mul, a, b); }

sg_value *sg_scale(sg_graph *g, sg_value *x, float factor) {
    sg_affine_attr attr = {factor, 0.0f};

    return append_1(g, &sg_op_scale, x, &attr);
}

const sg_op sg_op_add = {
    .name = "add",
    .infer = same_infer,
    .grad = add_grad,
    .run = add_ref,
    .inplace = {1},
};
const sg_op sg_op_mul = {
    .name = "mul",
    .infer = same_infer,
    .grad = mul_grad,
    .run = mul_ref,
    .inplace = {1},
};
const sg_op sg_op_scale = {
    .name = "scale",
    .attr_size = sizeof(sg_affine_attr),
    .infer = same_infer,
    .grad = scale_grad,
    .run = scale_ref,
    .inplace = {1},
};

/* --- relu ------------------------------------------------------------------------------------- */

static sg_status relu_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_relu_dx(g, &node->out[0], dy[0]));
}

static sg_status relu_ref(const sg_args *args) {
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) y[i] = x[i] <= 0.0f ? 0.0f : x[i];
    return SG_OK;
}

static sg_status relu_dx_ref(const sg_args *args) {
    const float *y = args->in[0], *dy = args->in[1];
    float *dx = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) dx[i] = y[i] <= 0.0f ? 0.0f : dy[i];
    return SG_OK;
}

sg_value *sg_relu(sg_graph *g, sg_value *x) { return append_1(g, &sg_op_relu, x, NULL); }

sg_value *sg_relu_dx(sg_graph *g, sg_value *y, sg_value *dy) {
    return append_2(g, &sg_op_relu_dx, y, dy);
}

const sg_op sg_op_relu = {
    .name = "relu",
    .infer = same_infer,
    .grad = relu_grad,
    .run = relu_ref,
    .inplace = {1},
};
const sg_op sg_op_relu_dx = {
    .name = "relu_dx",
    .infer = same_infer,
    .run = relu_dx_ref,
    .inplace = {2},
};

/* --- silu ------------------------------------------------------------------------------------- */

static sg_status silu_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_silu_dx(g, node->in[0], dy[0]));
}

static sg_status silu_ref(const sg_args *args) {
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) y[i] = (float)sg_act_value(SG_ACT_SILU, (double)x[i]);
    return SG_OK;
}

static sg_status silu_dx_ref(const sg_args *args) {
    const float *x = args->in[0], *dy = args->in[1];
    float *dx = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++)
        dx[i] = (float)((double)dy[i] * sg_act_slope(SG_ACT_SILU, (double)x[i]));
    return SG_OK;
}

sg_value *sg_silu(sg_graph *g, sg_value *x) { return append_1(g, &sg_op_silu, x, NULL); }

sg_value *sg_silu_dx(sg_graph *g, sg_value *x, sg_value *dy) {
    return append_2(g, &sg_op_silu_dx, x, dy);
}

const sg_op sg_op_silu = {
    .name = "silu",
    .infer = same_infer,
    .grad = silu_grad,
    .run = silu_ref,
    .inplace = {1},
};
const sg_op sg_op_silu_dx = {
    .name = "silu_dx",
    .infer = same_infer,
    .run = silu_dx_ref,
    .inplace = {2},
};

/* --- gelu ------------------------------------------------------------------------------------- */

static sg_status gelu_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *x = node->in[0];

    if (!sg_wants_grad(x)) return SG_OK;
    return sg_accumulate(g, x, sg_gelu_dx(g, sg_again(g, x), dy[0]));
}

static sg_status gelu_ref(const sg_args *args) {
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) y[i] = (float)sg_act_value(SG_ACT_GELU, (double)x[i]);
    return SG_OK;
}

static sg_status gelu_dx_ref(const sg_args *args) {
    const float *x = args->in[0], *dy = args->in[1];
    float *dx = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++)
        dx[i] = (float)((double)dy[i] * sg_act_slope(SG_ACT_GELU, (double)x[i]));
    return SG_OK;
}

sg_value *sg_gelu(sg_graph *g, sg_value *x) { return append_1(g, &sg_op_gelu, x, NULL); }

sg_value *sg_gelu_dx(sg_graph *g, sg_value *x, sg_value *dy) {
    return append_2(g, &sg_op_gelu_dx, x, dy);
}

const sg_op sg_op_gelu = {
    .name = "gelu",
    .infer = same_infer,
    .grad = gelu_grad,
    .run = gelu_ref,
    .inplace = {1},
};
const sg_op sg_op_gelu_dx = {
    .name = "gelu_dx",
    .infer = same_infer,
    .run = gelu_dx_ref,
    .inplace = {2},
};

/* --- sigmoid ---------------------------------------------------------------------------------- */

static sg_status sigmoid_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0], sg_sigmoid_dx(g, &node->out[0], dy[0]));
}

static sg_status sigmoid_ref(const sg_args *args) {
    const float *x = args->in[0];
    float *y = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) y[i] = (float)sigmoid((double)x[i]);
    return SG_OK;
}

static sg_status sigmoid_dx_ref(const sg_args *args) {
    const float *y = args->in[0], *dy = args->in[1];
    float *dx = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * y[i] * (1.0f - y[i]);
    return SG_OK;
}

sg_value *sg_sigmoid(sg_graph *g, sg_value *x) { return append_1(g, &sg_op_sigmoid, x, NULL); }

sg_value *sg_sigmoid_dx(sg_graph *g, sg_value *y, sg_value *dy) {
    return append_2(g, &sg_op_sigmoid_dx, y, dy);
}

const sg_op sg_op_sigmoid = {
    .name = "sigmoid",
    .infer = same_infer,
    .grad = sigmoid_grad,
    .run = sigmoid_ref,
    .inplace = {1},
};
const sg_op sg_op_sigmoid_dx = {
    .name = "sigmoid_dx",
    .infer = same_infer,
    .run = sigmoid_dx_ref,
    .inplace = {2},
};

/* --- stop_gradient, to_float ------------------------------------------------------------------ */

static sg_status stop_gradient_infer(sg_node *node) {
    sg_op_out(node, 0, node->in[0]->dtype, node->in[0]->shape); /* of any dtype */
    return SG_OK;
}

static sg_status to_float_infer(sg_node *node) {
    SG_TRY(sg_op_expect(node, 0, SG_U8, -1));
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status to_float_ref(const sg_args *args) {
    const sg_affine_attr *attr = args->node->attr;
    const uint8_t *x = args->in[0];
    float *y = args->out[0];
    int64_t n = count_of(args);

    for (int64_t i = 0; i < n; i++) y[i] = attr->factor * (float)x[i] + attr->shift;
    return SG_OK;
}

sg_value *sg_stop_gradient(sg_graph *g, sg_value *x) {
    return append_1(g, &sg_op_stop_gradient, x, NULL);
}

sg_value *sg_to_float(sg_graph *g, sg_value *x, float factor, float shift) {
    sg_affine_attr attr = {factor, shift};

    return append_1(g, &sg_op_to_float, x, &attr);
}

const sg_op sg_op_stop_gradient = {
    .name = "stop_gradient",
    .infer = stop_gradient_infer,
    .view = true,
    .stops_gradient = true,
};
const sg_op sg_op_to_float = {
    .name = "to_float",
    .attr_size = sizeof(sg_affine_attr),
    .infer = to_float_infer,
    .run = to_float_ref,
};
