#include "onnx/convert.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "onnx/forms.h"

struct sg_conversion {
    sg_onnx *model;
    const sg_graph *graph;
    const float *values, *rows;
    const char **name; /* (values) the model's; NULL: not there */
    const void **data; /* (values) elements of constants; NULL: not known, or none */
    void **owned;      /* (values) those of them that were computed here */
    bool *constant;    /* (nodes) depends on parameters and constants alone */
    bool *wanted;      /* (nodes) scratch of sg_convert */
};

static bool all_constant(const sg_conversion *c, const sg_node *node) {
    if (node->op->source) return node->op == &sg_op_param || node->op == &sg_op_constant;
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] && !c->constant[node->in[i]->node->id]) return false;
    return !node->op->random;
}

sg_status sg_conversion_create(sg_onnx *model, const sg_graph *graph, const float *values,
                               const float *rows, sg_conversion **out) {
    sg_conversion *c = sg_calloc(1, sizeof *c);
    size_t n_values = (size_t)sg_graph_values(graph), n_nodes = (size_t)sg_graph_nodes(graph);

    if (!c) return sg_fail(SG_ERR_OOM, "onnx: no memory");
    *c = (sg_conversion){.model = model, .graph = graph, .values = values, .rows = rows};
    c->name = sg_calloc(n_values + 1, sizeof *c->name);
    c->data = sg_calloc(n_values + 1, sizeof *c->data);
    c->owned = sg_calloc(n_values + 1, sizeof *c->owned);
    c->constant = sg_calloc(n_nodes + 1, sizeof *c->constant);
    c->wanted = sg_calloc(n_nodes + 1, sizeof *c->wanted);
    if (!c->name || !c->data || !c->owned || !c->constant || !c->wanted) {
        sg_conversion_destroy(c);
        return sg_fail(SG_ERR_OOM, "onnx: no memory");
    }
    for (int i = 0; i < (int)n_nodes; i++)
        c->constant[i] = all_constant(c, sg_graph_node(graph, i));
    *out = c;
    return SG_OK;
}

void sg_conversion_destroy(sg_conversion *c) {
    if (!c) return;
    for (int i = 0; c->owned && i < sg_graph_values(c->graph); i++) sg_free(c->owned[i]);
    sg_free(c->owned);
    sg_free(c->data);
    sg_free(c->name);
    sg_free(c->constant);
    sg_free(c->wanted);
    sg_free(c);
}

sg_onnx *sg_conversion_model(const sg_conversion *c) { return c->model; }

void sg_conversion_bind(sg_conversion *c, const sg_value *value, const char *name) {
    c->name[value->id] = name;
}

/* --- constants -------------------------------------------------------------------------------- */

/* A parameter's place in what was given; a constant's own. */
static const void *source_data(const sg_conversion *c, const sg_node *node) {
    const sg_table *table = sg_graph_table(c->graph);

    if (node->op == &sg_op_constant) return ((const sg_constant_attr *)node->attr)->data;
    if (node->op == &sg_op_param) {
        const sg_entry *e = &table->entry[((const sg_source_attr *)node->attr)->index];

        return (e->kind == SG_ENTRY_ROWS ? c->rows : c->values) + e->offset;
    }
    return NULL;
}

/* All outputs of a node whose inputs are known. */
static sg_status compute(sg_conversion *c, const sg_node *node) {
    sg_args args = {.node = node};

    for (int i = 0; i < node->n_in; i++) args.in[i] = node->in[i] ? c->data[node->in[i]->id] : NULL;
    if (node->op->view) {
        c->data[node->out[0].id] = args.in[0];
        return SG_OK;
    }
    for (int o = 0; o < node->n_out; o++) {
        void *block = sg_malloc(sg_value_bytes(&node->out[o]));

        if (!block) return sg_fail(SG_ERR_OOM, "onnx: no memory for %s", node->name);
        args.out[o] = c->owned[node->out[o].id] = block;
        c->data[node->out[o].id] = block;
    }
    return node->op->run(&args);
}

static sg_status know(sg_conversion *c, const sg_node *node) {
    if (c->data[node->out[0].id]) return SG_OK;
    if (!node->op->source) return compute(c, node);
    c->data[node->out[0].id] = source_data(c, node);
    return SG_OK;
}

const void *sg_conversion_data(const sg_conversion *c, const sg_value *value) {
    return c->data[value->id];
}

static sg_onnx_type type_of(sg_dtype dtype) {
    return dtype == SG_I32 ? SG_ONNX_INT32 : dtype == SG_U8 ? SG_ONNX_UINT8 : SG_ONNX_FLOAT;
}

static const char *put_constant(sg_conversion *c, const sg_value *v) {
    char name[256];

    if (v->index > 0)
        snprintf(name, sizeof name, "%s.%d", v->node->name, v->index);
    else
        snprintf(name, sizeof name, "%s", v->node->name);
    return sg_onnx_tensor(c->model, name, type_of(v->dtype), v->shape.rank, v->shape.dim,
                          c->data[v->id]);
}

/* --- nodes ------------------------------------------------------------------------------------ */

const char *sg_conversion_in(sg_conversion *c, const sg_node *node, int i) {
    const sg_value *v = i < node->n_in ? node->in[i] : NULL;

    if (!v) return "";
    if (!c->name[v->id] && c->data[v->id]) c->name[v->id] = put_constant(c, v);
    return c->name[v->id];
}

void sg_conversion_out(sg_conversion *c, const sg_node *node, int o, const char *name) {
    c->name[node->out[o].id] = name;
}

static sg_status convert_node(sg_conversion *c, const sg_node *node) {
    sg_onnx_form form;

    if (c->constant[node->id]) return know(c, node);
    if (c->name[node->out[0].id]) return SG_OK; /* bound, or converted before */
    if (node->op == &sg_op_input)
        return sg_fail(
            SG_ERR_ARG, "onnx: nothing stands for the input %s",
            sg_graph_input_name(c->graph, (int)((const sg_source_attr *)node->attr)->place.offset));
    form = sg_onnx_form_of(node->op);
    if (!form)
        return sg_fail(SG_ERR_UNSUPPORTED, "export: the op %s (node %s) has no ONNX form",
                       node->op->name, node->name);
    sg_onnx_scope(c->model, node->name);
    form(c, node);
    return sg_onnx_status(c->model);
}

/* Backwards: what `value` needs and is not there. */
static void want(sg_conversion *c, const sg_value *value) {
    memset(c->wanted, 0, (size_t)sg_graph_nodes(c->graph) * sizeof *c->wanted);
    c->wanted[value->node->id] = true;
    for (int i = value->node->id; i >= 0; i--) {
        const sg_node *node = sg_graph_node(c->graph, i);

        if (!c->wanted[i] || c->name[node->out[0].id]) continue;
        for (int k = 0; k < node->n_in; k++)
            if (node->in[k]) c->wanted[node->in[k]->node->id] = true;
    }
}

sg_status sg_convert(sg_conversion *c, const sg_value *value, const char **name) {
    want(c, value);
    for (int i = 0; i <= value->node->id; i++)
        if (c->wanted[i]) SG_TRY(convert_node(c, sg_graph_node(c->graph, i)));
    if (!c->name[value->id] && c->data[value->id]) c->name[value->id] = put_constant(c, value);
    SG_TRY(sg_onnx_status(c->model));
    *name = c->name[value->id];
    if (*name) return SG_OK;
    return sg_fail(SG_ERR_UNSUPPORTED, "export: output %d of the op %s (node %s) has no ONNX form",
                   value->index, value->node->op->name, value->node->name);
}
