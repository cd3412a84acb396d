#include "onnx/quantize.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "onnx/read.h"

/* Filters have 7 bits: where a processor has no VNNI, onnxruntime adds two products in 16 bits, and
 * 2 * 255 * 64 fits into them. So the answers are the same everywhere. */
enum { kSteps = 255, kMostWeight = 64, kMostInputs = 256, kMostAttributes = 16 };

/* --- names ------------------------------------------------------------------------------------ */

/* A value of the model that is read: what stands for it in the one that is written. */
typedef struct {
    const char *from, *to; /* names */
    const Onnx__TensorProto *constant;
    int64_t range;            /* entry of the ranges; 0: the network's input */
    bool inside;              /* is quantised */
    const char *scale, *zero; /* of a value inside */
    double step;              /* the scale */
    const char *dequantized;  /* floats of a value inside, or of an input once it is asked for */
} value;

typedef struct {
    const Onnx__GraphProto *graph;
    const sg_onnx_ranges *ranges;
    sg_onnx *m;
    value *values; /* owned */
    size_t n_values;
    int quantized; /* convolutions and products */
} machine;

static value *find(const machine *x, const char *name) {
    for (size_t i = x->n_values; i-- > 0;)
        if (strcmp(x->values[i].from, name) == 0) return &x->values[i];
    return NULL;
}

static value *add(machine *x, const char *from, const char *to) {
    x->values[x->n_values] = (value){.from = from, .to = to};
    return &x->values[x->n_values++];
}

/* --- what is inside --------------------------------------------------------------------------- */

static bool is_op(const Onnx__NodeProto *node, const char *op) {
    return strcmp(node->op_type, op) == 0;
}

/* Whether a Sigmoid reads it: then the convolution that makes it is under a SiLU. */
static bool has_activation(const machine *x, const char *name) {
    for (size_t n = 0; n < x->graph->n_node; n++)
        if (is_op(x->graph->node[n], "Sigmoid") && strcmp(x->graph->node[n]->input[0], name) == 0)
            return true;
    return false;
}

/* Of what runtimes compute in integers, all inputs being inside; a constant of a Resize is what it
 * is. */
static bool goes_on(const machine *x, const Onnx__NodeProto *node) {
    static const char *const ops[] = {"Sigmoid", "Mul", "Add", "Concat", "Resize", "MaxPool"};
    bool known = false;

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) known = known || is_op(node, ops[i]);
    for (size_t i = 0; known && i < node->n_input; i++) {
        const value *v = *node->input[i] ? find(x, node->input[i]) : NULL;
        bool size = is_op(node, "Resize") && i > 0;

        if (!size && (!v || !v->inside)) return false;
    }
    return known;
}

static bool is_constant(const machine *x, const char *name) {
    const value *v = find(x, name);

    return v && v->constant;
}

/* A convolution's bias is always there: a norm is folded into it. */
static bool is_inside(const machine *x, const Onnx__NodeProto *node) {
    if (!is_op(node, "Conv")) return goes_on(x, node);
    return node->n_input == 3 && is_constant(x, node->input[1]) && is_constant(x, node->input[2]) &&
           has_activation(x, node->output[0]);
}

/* --- integers --------------------------------------------------------------------------------- */

/* Scale and zero point of a value from its range, which has 0 in it, exactly. */
static void set_steps(machine *x, value *v) {
    double least = fmin(x->ranges->least[v->range], 0.0);
    double greatest = fmax(x->ranges->greatest[v->range], 0.0);
    float step = (float)((greatest - least) / kSteps);
    char name[256];
    uint8_t zero;

    if (!(step > 0.0f) || !isfinite(step)) step = 1.0f / kSteps; /* always 0, or never seen */
    zero = (uint8_t)fmin(rint(-least / (double)step), kSteps);
    snprintf(name, sizeof name, "%s.scale", v->to);
    v->scale = sg_onnx_tensor(x->m, name, SG_ONNX_FLOAT, 0, NULL, &step);
    snprintf(name, sizeof name, "%s.zero", v->to);
    v->zero = sg_onnx_tensor(x->m, name, SG_ONNX_UINT8, 0, NULL, &zero);
    v->step = (double)step;
}

static void take_steps(value *to, const value *from) {
    to->scale = from->scale;
    to->zero = from->zero;
    to->step = from->step;
}

/* Through integers and back. */
static void through(machine *x, value *v) {
    const char *q = SG_ONNX_OP(x->m, "QuantizeLinear", v->to, v->scale, v->zero);

    v->dequantized = SG_ONNX_OP(x->m, "DequantizeLinear", q, v->scale, v->zero);
}

/* What filters or a matrix are multiplied with; it may be the graph's input. */
static const char *input_of_product(machine *x, value *v) {
    if (!v->dequantized) {
        set_steps(x, v);
        through(x, v);
    }
    return v->dequantized;
}

/* Filter o of `count` numbers, and its scale. */
static float quantize_filter(const float *w, int64_t count, int8_t *q) {
    float top = 0.0f, step;

    for (int64_t i = 0; i < count; i++) top = fmaxf(top, fabsf(w[i]));
    step = top > 0.0f ? top / kMostWeight : 1.0f;
    for (int64_t i = 0; i < count; i++) q[i] = (int8_t)lrintf(w[i] / step);
    return step;
}

/* What a convolution has of its own. */
typedef struct {
    int64_t OC, each; /* filters, and numbers in one */
    const float *w, *b;
    int8_t *qw;   /* (OC, each), owned */
    int32_t *qb;  /* (OC), owned */
    float *steps; /* (2, OC): of filters, of biases; owned */
} filters;

static sg_status quantize_filters(const Onnx__TensorProto *w, const Onnx__TensorProto *b,
                                  double step, filters *f) {
    *f = (filters){.OC = w->dims[0], .each = 1};
    for (size_t i = 1; i < w->n_dims; i++) f->each *= w->dims[i];
    f->w = (const float *)(const void *)w->raw_data.data;
    f->b = (const float *)(const void *)b->raw_data.data;
    f->qw = sg_malloc((size_t)(f->OC * f->each) + 1);
    f->qb = sg_calloc((size_t)f->OC + 1, sizeof *f->qb);
    f->steps = sg_calloc((size_t)f->OC + 1, 2 * sizeof *f->steps);
    if (!f->qw || !f->qb || !f->steps) return sg_fail(SG_ERR_OOM, "onnx: no memory for filters");
    for (int64_t o = 0; o < f->OC; o++) {
        float s = quantize_filter(f->w + o * f->each, f->each, f->qw + o * f->each);
        double bias;

        f->steps[o] = s;
        f->steps[f->OC + o] = (float)(step * (double)s);
        bias = rint((double)f->b[o] / (double)f->steps[f->OC + o]);
        f->qb[o] = (int32_t)fmin(fmax(bias, INT32_MIN), INT32_MAX);
    }
    return SG_OK;
}

/* A constant in integers, and what they stand for: a scale an element of `axis`, zero is zero. */
static const char *put_quantized(machine *x, const char *name, sg_onnx_type type, int rank,
                                 const int64_t *dim, int axis, const void *data,
                                 const float *steps) {
    int32_t *zeros = sg_calloc((size_t)dim[axis] + 1, sizeof *zeros);
    char part[256];
    const char *q, *scale, *zero;

    if (!zeros) return sg_onnx_fail(x->m, sg_fail(SG_ERR_OOM, "onnx: no memory"));
    snprintf(part, sizeof part, "%s.quantized", name);
    q = sg_onnx_tensor(x->m, part, type, rank, dim, data);
    snprintf(part, sizeof part, "%s.scale", name);
    scale = sg_onnx_tensor(x->m, part, SG_ONNX_FLOAT, 1, dim + axis, steps);
    snprintf(part, sizeof part, "%s.zero", name);
    zero = sg_onnx_tensor(x->m, part, type, 1, dim + axis, zeros);
    sg_free(zeros);
    return sg_onnx_node(x->m, "DequantizeLinear", SG_ONNX_IN(q, scale, zero),
                        SG_ONNX_WITH(sg_onnx_attr_int("axis", axis)));
}

/* --- nodes ------------------------------------------------------------------------------------ */

/* Of a node that is copied. */
typedef struct {
    sg_onnx_attr attr[kMostAttributes + 1];
    char text[kMostAttributes][64];
} attributes;

static sg_status copy_attribute(const Onnx__AttributeProto *a, sg_onnx_attr *to, char text[64]) {
    switch (a->type) {
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
        *to = sg_onnx_attr_int(a->name, a->i);
        return SG_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
        *to = sg_onnx_attr_float(a->name, a->f);
        return SG_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
        if (a->n_ints > sizeof to->i / sizeof to->i[0]) break;
        *to = sg_onnx_attr_ints(a->name, (int)a->n_ints, a->ints);
        return SG_OK;
    case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
        if (a->s.len >= 64) break;
        memcpy(text, a->s.data, a->s.len);
        text[a->s.len] = '\0';
        *to = sg_onnx_attr_text(a->name, text);
        return SG_OK;
    default:
        break;
    }
    return sg_fail(SG_ERR_UNSUPPORTED, "onnx: the attribute %s is not copied", a->name);
}

static sg_status copy_attributes(const Onnx__NodeProto *node, attributes *to) {
    if (node->n_attribute > kMostAttributes)
        return sg_fail(SG_ERR_UNSUPPORTED, "onnx: %s has too many attributes", node->op_type);
    for (size_t i = 0; i < node->n_attribute; i++)
        SG_TRY(copy_attribute(node->attribute[i], &to->attr[i], to->text[i]));
    to->attr[node->n_attribute].name = NULL;
    return SG_OK;
}

/* The floats, or whatever it is, that stand for a value; a constant is copied when it is used. */
static const char *plain(machine *x, const char *name) {
    value *v = *name ? find(x, name) : NULL;

    if (!v) return "";
    if (v->inside) return v->dequantized;
    if (!v->to && v->constant)
        v->to =
            sg_onnx_tensor(x->m, v->from, (sg_onnx_type)v->constant->data_type,
                           (int)v->constant->n_dims, v->constant->dims, v->constant->raw_data.data);
    return v->to;
}

static void scope_of(machine *x, const Onnx__NodeProto *node) {
    char scope[256];
    const char *name = node->name ? node->name : node->op_type;

    snprintf(scope, sizeof scope, "%.*s", (int)strcspn(name, "/"), name);
    sg_onnx_scope(x->m, scope);
}

static sg_status inputs_of_conv(machine *x, const Onnx__NodeProto *node, const char *in[]) {
    const value *w = find(x, node->input[1]), *b = find(x, node->input[2]);
    value *input = find(x, node->input[0]);
    filters f;
    sg_status st;

    in[0] = input_of_product(x, input);
    st = quantize_filters(w->constant, b->constant, input->step, &f);
    if (st == SG_OK) {
        in[1] = put_quantized(x, w->from, SG_ONNX_INT8, (int)w->constant->n_dims, w->constant->dims,
                              0, f.qw, f.steps);
        in[2] =
            put_quantized(x, b->from, SG_ONNX_INT32, 1, b->constant->dims, 0, f.qb, f.steps + f.OC);
    }
    sg_free(f.qw);
    sg_free(f.qb);
    sg_free(f.steps);
    return st;
}

/* Columns of w (K, N), as filters. */
static void quantize_columns(const float *w, int64_t K, int64_t N, int8_t *q, float *steps) {
    for (int64_t n = 0; n < N; n++) {
        float top = 0.0f;

        for (int64_t k = 0; k < K; k++) top = fmaxf(top, fabsf(w[k * N + n]));
        steps[n] = top > 0.0f ? top / kMostWeight : 1.0f;
        for (int64_t k = 0; k < K; k++) q[k * N + n] = (int8_t)lrintf(w[k * N + n] / steps[n]);
    }
}

static sg_status inputs_of_matmul(machine *x, const Onnx__NodeProto *node, const char *in[]) {
    const value *w = find(x, node->input[1]);
    int64_t K = w->constant->dims[0], N = w->constant->dims[1];
    int8_t *q = sg_malloc((size_t)(K * N) + 1);
    float *steps = sg_malloc((size_t)(N + 1) * sizeof *steps);
    sg_status st = q && steps ? SG_OK : sg_fail(SG_ERR_OOM, "onnx: no memory for a matrix");

    in[0] = input_of_product(x, find(x, node->input[0]));
    if (st == SG_OK) {
        quantize_columns((const float *)(const void *)w->constant->raw_data.data, K, N, q, steps);
        in[1] = put_quantized(x, w->from, SG_ONNX_INT8, 2, w->constant->dims, 1, q, steps);
    }
    sg_free(q);
    sg_free(steps);
    return st;
}

/* The matrix is one of weights. */
static bool is_product(const machine *x, const Onnx__NodeProto *node) {
    const value *w = is_op(node, "MatMul") ? find(x, node->input[1]) : NULL;

    return w && w->constant && w->constant->n_dims == 2;
}

/* Values by which it is copied, those of a product with weights being integers. */
static sg_status inputs_of(machine *x, const Onnx__NodeProto *node, bool inside,
                           const char *in[kMostInputs + 1]) {
    bool conv = inside && is_op(node, "Conv");

    in[node->n_input] = SG_ONNX_END;
    x->quantized += conv || is_product(x, node);
    if (conv) return inputs_of_conv(x, node, in);
    if (is_product(x, node)) return inputs_of_matmul(x, node, in);
    for (size_t i = 0; i < node->n_input; i++) in[i] = plain(x, node->input[i]);
    return SG_OK;
}

/* A Resize or a pool gives elements that it has taken: their scale is the input's. */
static void put_inside(machine *x, const Onnx__NodeProto *node, value *v) {
    v->inside = true;
    if (is_op(node, "Resize") || is_op(node, "MaxPool"))
        take_steps(v, find(x, node->input[0]));
    else
        set_steps(x, v);
    through(x, v);
}

static sg_status copy_node(machine *x, size_t n) {
    const Onnx__NodeProto *node = x->graph->node[n];
    const char *in[kMostInputs + 1], *more[1] = {NULL};
    bool inside = is_inside(x, node);
    attributes a;
    value *v;

    if (node->n_input > kMostInputs || node->n_output < 1 || node->n_output > 2)
        return sg_fail(SG_ERR_UNSUPPORTED, "onnx: %s with %zu inputs", node->op_type,
                       node->n_input);
    scope_of(x, node);
    SG_TRY(copy_attributes(node, &a));
    SG_TRY(inputs_of(x, node, inside, in));
    v = add(x, node->output[0],
            sg_onnx_node_of(x->m, node->op_type, in, a.attr, (int)node->n_output, more));
    if (node->name) v->range = sg_onnx_ranges_find(x->ranges, node->name);
    if (inside) put_inside(x, node, v);
    if (node->n_output > 1) add(x, node->output[1], more[0]);
    return sg_onnx_status(x->m);
}

/* --- the whole -------------------------------------------------------------------------------- */

/* As sg_onnx_input takes them. */
static void put_dims(const Onnx__ValueInfoProto *info, char *text, size_t size) {
    const Onnx__TensorShapeProto *shape = info->type->tensor_type->shape;
    size_t at = 0;

    text[0] = '\0';
    for (size_t i = 0; shape && i < shape->n_dim && at < size; i++) {
        const Onnx__TensorShapeProto__Dimension *d = shape->dim[i];
        const char *gap = i ? " " : "";

        if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM)
            at += (size_t)snprintf(text + at, size - at, "%s%s", gap, d->dim_param);
        else
            at += (size_t)snprintf(text + at, size - at, "%s%lld", gap, (long long)d->dim_value);
    }
}

static sg_status check_types(const Onnx__GraphProto *g) {
    for (size_t i = 0; i < g->n_input + g->n_output; i++) {
        const Onnx__ValueInfoProto *v = i < g->n_input ? g->input[i] : g->output[i - g->n_input];

        if (!v->type || v->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
            return sg_fail(SG_ERR_DATA, "onnx: %s has no type", v->name);
    }
    for (size_t i = 0; i < g->n_initializer; i++)
        if (!g->initializer[i]->name || !g->initializer[i]->has_raw_data)
            return sg_fail(SG_ERR_DATA, "onnx: a constant without name or raw data");
    return SG_OK;
}

static void copy_inputs(machine *x) {
    char dims[256];

    for (size_t i = 0; i < x->graph->n_initializer; i++)
        add(x, x->graph->initializer[i]->name, NULL)->constant = x->graph->initializer[i];
    for (size_t i = 0; i < x->graph->n_input; i++) {
        const Onnx__ValueInfoProto *info = x->graph->input[i];
        sg_onnx_type type = (sg_onnx_type)info->type->tensor_type->elem_type;

        put_dims(info, dims, sizeof dims);
        add(x, info->name, sg_onnx_input(x->m, info->name, type, "%s", dims));
    }
}

/* The Identity that names an output is not copied: sg_onnx_output makes its own. */
static bool names_output(const machine *x, const Onnx__NodeProto *node) {
    for (size_t i = 0; is_op(node, "Identity") && i < x->graph->n_output; i++)
        if (strcmp(x->graph->output[i]->name, node->output[0]) == 0) return true;
    return false;
}

static sg_status copy_nodes(machine *x) {
    char dims[256];

    for (size_t n = 0; n < x->graph->n_node; n++) {
        const Onnx__NodeProto *node = x->graph->node[n];

        if (!names_output(x, node))
            SG_TRY(copy_node(x, n));
        else
            add(x, node->output[0], plain(x, node->input[0]));
    }
    for (size_t i = 0; i < x->graph->n_output; i++) {
        const Onnx__ValueInfoProto *info = x->graph->output[i];

        put_dims(info, dims, sizeof dims);
        sg_onnx_scope(x->m, "output");
        sg_onnx_output(x->m, info->name, plain(x, info->name),
                       (sg_onnx_type)info->type->tensor_type->elem_type, "%s", dims);
    }
    return sg_onnx_status(x->m);
}

static sg_status quantize(machine *x, const Onnx__ModelProto *model) {
    size_t room = model->graph->n_initializer + model->graph->n_input;

    for (size_t n = 0; n < model->graph->n_node; n++) room += model->graph->node[n]->n_output;
    x->graph = model->graph;
    x->values = sg_calloc(room + 1, sizeof *x->values);
    if (!x->values) return sg_fail(SG_ERR_OOM, "onnx: no memory");
    SG_TRY(check_types(x->graph));
    SG_TRY(sg_onnx_create(&x->m));
    copy_inputs(x);
    SG_TRY(copy_nodes(x));
    for (size_t i = 0; i < model->n_metadata_props; i++)
        sg_onnx_about(x->m, model->metadata_props[i]->key, model->metadata_props[i]->value);
    if (x->quantized == 0)
        return sg_fail(SG_ERR_UNSUPPORTED, "onnx: nothing in the model can be quantised");
    return sg_onnx_status(x->m);
}

sg_status sg_onnx_quantize(const uint8_t *bytes, size_t size, const sg_onnx_ranges *ranges,
                           sg_onnx **out) {
    machine x = {.ranges = ranges};
    Onnx__ModelProto *model;
    sg_status st;

    SG_TRY(sg_onnx_unpack(bytes, size, &model));
    st = quantize(&x, model);
    sg_free(x.values);
    sg_onnx_unpacked_free(model);
    if (st == SG_OK)
        *out = x.m;
    else
        sg_onnx_destroy(x.m);
    return st;
}
