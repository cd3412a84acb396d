#include "onnx/run.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "onnx/read.h"
#include "onnx/run_inside.h"

enum { kMost = 1 << 30 }; /* elements of a tensor */

/* A name of the graph. */
typedef struct {
    const char *name; /* the message's */
    sg_onnx_run_tensor tensor;
    bool there;
    size_t last; /* node that reads it last */
} value;

typedef struct {
    Onnx__ModelProto *model;
    const Onnx__GraphProto *graph;
    value *values; /* (n_values), owned */
    size_t n_values;
    const sg_onnx_watch *watch; /* NULL: nobody looks */
} machine;

/* --- what operators ask for ------------------------------------------------------------------- */

sg_status sg_onnx_run_fail(const sg_onnx_run_call *c, const char *fmt, ...) {
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return sg_fail(SG_ERR_DATA, "onnx: %s (%s): %s", c->node->name ? c->node->name : "a node",
                   c->node->op_type, text);
}

sg_status sg_onnx_run_need(const sg_onnx_run_call *c, int n) {
    for (int i = 0; i < n; i++)
        if (i >= c->n_in || !c->in[i]) return sg_onnx_run_fail(c, "input %d is missing", i);
    return SG_OK;
}

/* Without elements yet. */
static sg_status shape_tensor(sg_onnx_run_tensor *t, int type, int rank, const int64_t *dim) {
    *t = (sg_onnx_run_tensor){.type = type, .rank = rank, .count = 1};
    if (rank > SG_ONNX_RANK) return sg_fail(SG_ERR_UNSUPPORTED, "onnx: a tensor of rank %d", rank);
    if (sg_onnx_type_bytes(type) == 0)
        return sg_fail(SG_ERR_UNSUPPORTED, "onnx: a tensor of type %d", type);
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0 || dim[i] > kMost || t->count * dim[i] > kMost)
            return sg_fail(SG_ERR_DATA, "onnx: a tensor has %lld and %lld times as many elements",
                           (long long)t->count, (long long)dim[i]);
        t->dim[i] = dim[i];
        t->count *= dim[i];
    }
    return SG_OK;
}

static sg_status fill_zeros(sg_onnx_run_tensor *t) {
    t->v = sg_calloc((size_t)t->count + 1, sizeof *t->v);
    return t->v ? SG_OK : sg_fail(SG_ERR_OOM, "onnx: no memory for a tensor");
}

sg_status sg_onnx_run_make(sg_onnx_run_call *c, int o, int type, int rank, const int64_t *dim) {
    SG_TRY(shape_tensor(&c->out[o], type, rank, dim));
    return fill_zeros(&c->out[o]);
}

static const Onnx__AttributeProto *find_attribute(const sg_onnx_run_call *c, const char *name) {
    for (size_t i = 0; i < c->node->n_attribute; i++) {
        const Onnx__AttributeProto *a = c->node->attribute[i];

        if (a->name && strcmp(a->name, name) == 0) return a;
    }
    return NULL;
}

int64_t sg_onnx_run_int(const sg_onnx_run_call *c, const char *name, int64_t otherwise) {
    const Onnx__AttributeProto *a = find_attribute(c, name);

    return a && a->has_i ? a->i : otherwise;
}

double sg_onnx_run_float(const sg_onnx_run_call *c, const char *name, double otherwise) {
    const Onnx__AttributeProto *a = find_attribute(c, name);

    return a && a->has_f ? (double)a->f : otherwise;
}

const int64_t *sg_onnx_run_ints(const sg_onnx_run_call *c, const char *name, int *n) {
    const Onnx__AttributeProto *a = find_attribute(c, name);

    *n = a ? (int)a->n_ints : 0;
    return a ? a->ints : NULL;
}

bool sg_onnx_run_is(const sg_onnx_run_call *c, const char *name, const char *otherwise,
                    const char *value_) {
    const Onnx__AttributeProto *a = find_attribute(c, name);

    if (!a || !a->has_s) return strcmp(otherwise, value_) == 0;
    return a->s.len == strlen(value_) && memcmp(a->s.data, value_, a->s.len) == 0;
}

sg_status sg_onnx_run_axis(const sg_onnx_run_call *c, int64_t axis, int rank, int *out) {
    if (axis < -rank || axis >= rank)
        return sg_onnx_run_fail(c, "axis %lld of a tensor of rank %d", (long long)axis, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return SG_OK;
}

int64_t sg_onnx_run_count(const sg_onnx_run_tensor *t, int from, int to) {
    int64_t count = 1;

    for (int i = from; i < to; i++) count *= t->dim[i];
    return count;
}

bool sg_onnx_run_broadcast(const sg_onnx_run_tensor *a, const sg_onnx_run_tensor *b, int *rank,
                           int64_t *dim) {
    *rank = a->rank > b->rank ? a->rank : b->rank;
    for (int i = 0; i < *rank; i++) {
        int at_a = i - *rank + a->rank, at_b = i - *rank + b->rank;
        int64_t x = at_a < 0 ? 1 : a->dim[at_a], y = at_b < 0 ? 1 : b->dim[at_b];

        if (x != y && x != 1 && y != 1) return false;
        dim[i] = x == 1 ? y : x;
    }
    return true;
}

int64_t sg_onnx_run_at(const sg_onnx_run_tensor *t, int rank, const int64_t *index) {
    int64_t at = 0;

    for (int i = 0; i < t->rank; i++)
        at = at * t->dim[i] + (t->dim[i] == 1 ? 0 : index[i + rank - t->rank]);
    return at;
}

void sg_onnx_run_next(int rank, const int64_t *dim, int64_t *index) {
    for (int i = rank - 1; i >= 0; i--) {
        if (++index[i] < dim[i]) return;
        index[i] = 0;
    }
}

/* --- elements --------------------------------------------------------------------------------- */

/* Rounded to the type, as a runtime would keep it. */
static void settle(sg_onnx_run_tensor *t) {
    if (t->type == SG_ONNX_FLOAT)
        for (int64_t i = 0; i < t->count; i++) t->v[i] = (double)(float)t->v[i];
}

static double element(int type, const uint8_t *at) {
    union {
        float f;
        double d;
        int32_t i;
        int64_t l;
    } u;

    switch (type) {
    case SG_ONNX_UINT8:
    case SG_ONNX_BOOL:
        return (double)*at;
    case SG_ONNX_INT8:
        return (double)(int8_t)*at;
    case SG_ONNX_FLOAT:
        memcpy(&u.f, at, sizeof u.f);
        return (double)u.f;
    case SG_ONNX_INT32:
        memcpy(&u.i, at, sizeof u.i);
        return (double)u.i;
    case SG_ONNX_INT64:
        memcpy(&u.l, at, sizeof u.l);
        return (double)u.l;
    default:
        memcpy(&u.d, at, sizeof u.d);
        return u.d;
    }
}

static sg_status take_elements(const char *name, int type, int rank, const int64_t *dim,
                               const uint8_t *bytes, size_t size, sg_onnx_run_tensor *t) {
    size_t each = sg_onnx_type_bytes(type);

    SG_TRY(shape_tensor(t, type, rank, dim));
    if ((size_t)t->count * each != size)
        return sg_fail(SG_ERR_DATA, "onnx: %s has %zu bytes, not %lld elements of %zu", name, size,
                       (long long)t->count, each);
    SG_TRY(fill_zeros(t));
    for (int64_t i = 0; i < t->count; i++) t->v[i] = element(type, bytes + (size_t)i * each);
    return SG_OK;
}

/* --- names ------------------------------------------------------------------------------------ */

static value *find(machine *x, const char *name) {
    for (size_t i = x->n_values; i-- > 0;) /* mostly one of the newest */
        if (strcmp(x->values[i].name, name) == 0) return &x->values[i];
    return NULL;
}

static sg_status add(machine *x, const char *name, value **out) {
    if (find(x, name)) return sg_fail(SG_ERR_DATA, "onnx: two values are called %s", name);
    x->values[x->n_values] = (value){.name = name, .last = SIZE_MAX};
    *out = &x->values[x->n_values++];
    return SG_OK;
}

static sg_status add_initializers(machine *x) {
    for (size_t i = 0; i < x->graph->n_initializer; i++) {
        const Onnx__TensorProto *t = x->graph->initializer[i];
        value *v = NULL;

        if (!t->name || !t->has_raw_data)
            return sg_fail(SG_ERR_UNSUPPORTED, "onnx: an initializer without name or raw data");
        SG_TRY(add(x, t->name, &v));
        SG_TRY(take_elements(t->name, t->data_type, (int)t->n_dims, t->dims, t->raw_data.data,
                             t->raw_data.len, &v->tensor));
        v->there = true;
    }
    return SG_OK;
}

static sg_status add_inputs(machine *x, const sg_onnx_array *inputs, int n) {
    for (size_t i = 0; i < x->graph->n_input; i++) {
        const char *name = x->graph->input[i]->name;
        int k = 0;
        value *v = NULL;

        while (k < n && strcmp(inputs[k].name, name) != 0) k++;
        if (k == n) return sg_fail(SG_ERR_ARG, "onnx: the input %s is not given", name);
        SG_TRY(add(x, name, &v));
        SG_TRY(take_elements(name, (int)inputs[k].type, inputs[k].rank, inputs[k].dim,
                             inputs[k].data, sg_onnx_array_bytes(&inputs[k]), &v->tensor));
        v->there = true;
    }
    return SG_OK;
}

/* As onnxruntime wants it. */
static sg_status check_names(const Onnx__GraphProto *g) {
    for (size_t n = 0; n < g->n_node; n++)
        for (size_t k = 0; k < n; k++)
            if (g->node[n]->name && g->node[k]->name &&
                strcmp(g->node[n]->name, g->node[k]->name) == 0)
                return sg_fail(SG_ERR_DATA, "onnx: two nodes are called %s", g->node[n]->name);
    return SG_OK;
}

/* The node that reads each value last; outputs of the graph are read after all. */
static sg_status note_uses(machine *x) {
    for (size_t n = 0; n < x->graph->n_node; n++) {
        const Onnx__NodeProto *node = x->graph->node[n];
        value *v = NULL;

        for (size_t i = 0; i < node->n_input; i++) {
            if (!*node->input[i]) continue;
            v = find(x, node->input[i]);
            if (!v)
                return sg_fail(SG_ERR_DATA, "onnx: %s reads %s, which nothing makes before",
                               node->op_type, node->input[i]);
            v->last = n;
        }
        for (size_t o = 0; o < node->n_output; o++) SG_TRY(add(x, node->output[o], &v));
    }
    for (size_t i = 0; i < x->graph->n_output; i++) {
        value *v = find(x, x->graph->output[i]->name);

        if (!v) return sg_fail(SG_ERR_DATA, "onnx: nothing makes %s", x->graph->output[i]->name);
        v->last = SIZE_MAX;
    }
    return SG_OK;
}

/* --- running ---------------------------------------------------------------------------------- */

static void forget(value *v) {
    sg_free(v->tensor.v);
    v->tensor.v = NULL;
    v->there = false;
}

static sg_status collect(machine *x, sg_onnx_run_call *c) {
    if (c->node->domain && *c->node->domain)
        return sg_onnx_run_fail(c, "is of the domain %s", c->node->domain);
    if (c->node->n_input > SG_RUN_INPUTS || c->node->n_output > SG_RUN_OUTPUTS)
        return sg_onnx_run_fail(c, "%zu inputs and %zu outputs", c->node->n_input,
                                c->node->n_output);
    c->n_in = (int)c->node->n_input;
    for (int i = 0; i < c->n_in; i++)
        if (*c->node->input[i]) c->in[i] = &find(x, c->node->input[i])->tensor;
    return SG_OK;
}

static sg_onnx_run_op find_op(const char *op) {
    static const sg_onnx_run_entry *const tables[] = {sg_onnx_run_math, sg_onnx_run_pictures,
                                                      sg_onnx_run_shapes, sg_onnx_run_best};

    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        for (const sg_onnx_run_entry *e = tables[i]; e->name; e++)
            if (strcmp(e->name, op) == 0) return e->run;
    return NULL;
}

static sg_status run_node(machine *x, size_t n) {
    sg_onnx_run_call c = {.node = x->graph->node[n]};
    sg_onnx_run_op op;
    sg_status st;

    SG_TRY(collect(x, &c));
    op = find_op(c.node->op_type);
    if (!op) return sg_fail(SG_ERR_UNSUPPORTED, "onnx: the interpreter has no %s", c.node->op_type);
    st = op(&c);
    for (size_t o = 0; o < c.node->n_output; o++) {
        value *v = find(x, c.node->output[o]);

        if (st == SG_OK) settle(&c.out[o]);
        v->tensor = c.out[o];
        v->there = true;
    }
    if (st == SG_OK && x->watch && c.node->n_output > 0)
        x->watch->see(x->watch->context, (int64_t)n, c.out[0].v, c.out[0].count);
    for (size_t i = 0; i < c.node->n_input; i++) {
        value *v = *c.node->input[i] ? find(x, c.node->input[i]) : NULL;

        if (v && v->last == n) forget(v);
    }
    for (size_t o = c.node->n_output; o < SG_RUN_OUTPUTS; o++) sg_free(c.out[o].v); /* unnamed */
    return st;
}

static void store(int type, double from, uint8_t *to) {
    if (type == SG_ONNX_FLOAT) {
        float f = (float)from;

        memcpy(to, &f, sizeof f);
    } else if (type == SG_ONNX_INT64) {
        int64_t i = (int64_t)from;

        memcpy(to, &i, sizeof i);
    } else {
        memcpy(to, &from, sizeof from);
    }
}

static sg_status give(machine *x, sg_onnx_array *outputs, int n) {
    if (x->graph->n_output != (size_t)n)
        return sg_fail(SG_ERR_ARG, "onnx: the graph has %zu outputs, not %d", x->graph->n_output,
                       n);
    for (int i = 0; i < n; i++) {
        const sg_onnx_run_tensor *t = &find(x, x->graph->output[i]->name)->tensor;
        size_t each = sg_onnx_type_bytes(t->type);

        if (each < 4 || t->type == SG_ONNX_INT32)
            return sg_fail(SG_ERR_UNSUPPORTED, "onnx: an output of type %d", t->type);
        SG_TRY(sg_onnx_array_init(&outputs[i], x->graph->output[i]->name, (sg_onnx_type)t->type,
                                  t->rank, t->dim));
        for (int64_t k = 0; k < t->count; k++)
            store(t->type, t->v[k], (uint8_t *)outputs[i].data + (size_t)k * each);
    }
    return SG_OK;
}

static sg_status prepare(machine *x, const uint8_t *bytes, size_t size) {
    size_t room;

    SG_TRY(sg_onnx_unpack(bytes, size, &x->model));
    x->graph = x->model->graph;
    room = x->graph->n_initializer + x->graph->n_input;
    for (size_t n = 0; n < x->graph->n_node; n++) room += x->graph->node[n]->n_output;
    x->values = sg_calloc(room + 1, sizeof *x->values);
    return x->values ? SG_OK : sg_fail(SG_ERR_OOM, "onnx: no memory");
}

sg_status sg_onnx_run_watched(const uint8_t *bytes, size_t size, const sg_onnx_array *inputs,
                              int n_inputs, sg_onnx_array *outputs, int n_outputs,
                              const sg_onnx_watch *watch) {
    machine x = {.watch = watch};
    sg_status st = prepare(&x, bytes, size);

    for (int i = 0; outputs && i < n_outputs; i++) memset(&outputs[i], 0, sizeof outputs[i]);
    if (st == SG_OK) st = check_names(x.graph);
    if (st == SG_OK) st = add_initializers(&x);
    if (st == SG_OK) st = add_inputs(&x, inputs, n_inputs);
    if (st == SG_OK) st = note_uses(&x);
    for (size_t n = 0; st == SG_OK && n < x.graph->n_node; n++) st = run_node(&x, n);
    if (st == SG_OK && outputs) st = give(&x, outputs, n_outputs);
    for (int i = 0; st != SG_OK && outputs && i < n_outputs; i++) sg_onnx_array_clear(&outputs[i]);
    for (size_t i = 0; i < x.n_values; i++) sg_free(x.values[i].tensor.v);
    sg_free(x.values);
    sg_onnx_unpacked_free(x.model);
    return st;
}

sg_status sg_onnx_run(const uint8_t *bytes, size_t size, const sg_onnx_array *inputs, int n_inputs,
                      sg_onnx_array *outputs, int n_outputs) {
    return sg_onnx_run_watched(bytes, size, inputs, n_inputs, outputs, n_outputs, NULL);
}
