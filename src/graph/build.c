/* Building: nodes are appended, named, and checked by their op's infer. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "graph/internal.h"
#include "ops/ops.h"

enum { kNameBytes = 320 };

sg_status sg_graph_grow(void **array, int n, int *capacity, size_t size) {
    int larger = *capacity ? 2 * *capacity : 64;
    void *block;

    if (n < *capacity) return SG_OK;
    block = sg_realloc(*array, (size_t)n * size, (size_t)larger * size);
    if (!block) return sg_fail(SG_ERR_OOM, "graph: no memory for %d entries", larger);
    *array = block;
    *capacity = larger;
    return SG_OK;
}

sg_status sg_graph_create(sg_mode mode, sg_table *table, sg_graph **out) {
    sg_graph *g = sg_calloc(1, sizeof *g);

    if (!g) return sg_fail(SG_ERR_OOM, "graph: no memory");
    g->mode = mode;
    g->table = table;
    *out = g;
    return SG_OK;
}

static void node_destroy(sg_node *node) {
    if (!node) return;
    if (node->op == &sg_op_constant && node->attr) sg_free(((sg_constant_attr *)node->attr)->data);
    sg_free(node->attr);
    sg_free(node->name);
    sg_free(node);
}

void sg_graph_destroy(sg_graph *g) {
    if (!g) return;
    for (int i = 0; i < g->n_nodes; i++) node_destroy(g->node[i]);
    for (int i = 0; i < g->n_inputs; i++) sg_free(g->input[i].name);
    for (int i = 0; i < g->n_outputs; i++) sg_free(g->output[i].name);
    sg_free(g->node);
    sg_free(g->value);
    sg_free(g->hash);
    sg_free(g->sink);
    sg_free(g->gradient);
    sg_free(g->again);
    sg_free(g->error);
    sg_free(g);
}

sg_mode sg_graph_mode(const sg_graph *g) { return g->mode; }
int sg_graph_nodes(const sg_graph *g) { return g->n_nodes; }
sg_node *sg_graph_node(const sg_graph *g, int id) { return g->node[id]; }
int sg_graph_values(const sg_graph *g) { return g->n_values; }
sg_value *sg_graph_value(const sg_graph *g, int id) { return g->value[id]; }
sg_table *sg_graph_table(const sg_graph *g) { return g->table; }
int sg_graph_inputs(const sg_graph *g) { return g->n_inputs; }
sg_value *sg_graph_input(const sg_graph *g, int i) { return g->input[i].value; }
const char *sg_graph_input_name(const sg_graph *g, int i) { return g->input[i].name; }
int sg_graph_outputs(const sg_graph *g) { return g->n_outputs; }
sg_value *sg_graph_output(const sg_graph *g, int i) { return g->output[i].value; }
const char *sg_graph_output_name(const sg_graph *g, int i) { return g->output[i].name; }

sg_status sg_graph_status(const sg_graph *g) {
    if (g->status == SG_OK) return SG_OK;
    return sg_fail(g->status, "%s", g->error ? g->error : "graph: no memory");
}

sg_value *sg_graph_fail(sg_graph *g, sg_status st) {
    if (g->status == SG_OK && st != SG_OK) {
        g->status = st;
        g->error = sg_strdup(sg_last_error());
    }
    return NULL;
}

void sg_scope(sg_graph *g, const char *fmt, ...) {
    size_t used = strlen(g->scope);
    va_list args;

    if (g->scopes == SG_SCOPE_DEPTH) {
        sg_graph_fail(g,
                      sg_fail(SG_ERR_ARG, "scope %s: more than %d deep", g->scope, SG_SCOPE_DEPTH));
        return;
    }
    g->scope_start[g->scopes++] = used;
    va_start(args, fmt);
    vsnprintf(g->scope + used, sizeof g->scope - used, fmt, args);
    va_end(args);
    used = strlen(g->scope);
    if (used + 1 < sizeof g->scope) {
        g->scope[used] = '.';
        g->scope[used + 1] = '\0';
    }
}

void sg_scope_end(sg_graph *g) {
    if (g->scopes > 0) g->scope[g->scope_start[--g->scopes]] = '\0';
}

static bool name_taken(const sg_graph *g, const char *name, uint64_t hash) {
    for (int i = 0; i < g->n_nodes; i++) {
        if (g->hash[i] == hash && strcmp(g->node[i]->name, name) == 0) return true;
    }
    return false;
}

/* "scope.op", and "scope.op#2" where that is taken. */
static sg_status name_node(sg_graph *g, sg_node *node, uint64_t *hash) {
    char name[kNameBytes];

    for (int copy = 1;; copy++) {
        if (copy == 1)
            snprintf(name, sizeof name, "%s%s", g->scope, node->op->name);
        else
            snprintf(name, sizeof name, "%s%s#%d", g->scope, node->op->name, copy);
        *hash = sg_key_name(name);
        if (!name_taken(g, name, *hash)) break;
    }
    node->name = sg_strdup(name);
    return node->name ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory for its name", name);
}

static sg_status copy_attr(sg_node *node, const void *attr) {
    if (!node->op->attr_size) return SG_OK;
    node->attr = sg_malloc(node->op->attr_size);
    if (!node->attr) return sg_fail(SG_ERR_OOM, "%s: no memory", node->op->name);
    memcpy(node->attr, attr, node->op->attr_size);
    return SG_OK;
}

static void link_outputs(sg_graph *g, sg_node *node) {
    bool needs_grad = false;

    for (int i = 0; i < node->n_in; i++)
        if (node->in[i] && node->in[i]->needs_grad) needs_grad = true;
    for (int o = 0; o < node->n_out; o++) {
        sg_value *v = &node->out[o];

        v->node = node;
        v->index = o;
        v->id = g->n_values;
        v->needs_grad = needs_grad && v->dtype == SG_F32 && !node->op->stops_gradient;
        g->value[g->n_values++] = v;
    }
}

static sg_status check_outputs(const sg_node *node) {
    char text[96];

    for (int o = 0; o < node->n_out; o++) {
        if (sg_shape_valid(&node->out[o].shape)) continue;
        return sg_op_fail(node, "output %d would have the shape %s", o,
                          sg_shape_text(&node->out[o].shape, text, sizeof text));
    }
    return SG_OK;
}

/* Of what is named from outside, before anything is made from it. */
static sg_status check_shape(const char *what, const char *name, const sg_shape *shape) {
    char text[96];

    if (sg_shape_valid(shape)) return SG_OK;
    if (shape->rank < 0 || shape->rank > SG_MAX_RANK)
        return sg_fail(SG_ERR_ARG, "%s %s: %d dimensions; 0 to %d it is", what, name, shape->rank,
                       SG_MAX_RANK);
    return sg_fail(SG_ERR_ARG, "%s %s: the shape %s is negative or too large", what, name,
                   sg_shape_text(shape, text, sizeof text));
}

static sg_status reserve(sg_graph *g) {
    int capacity = g->node_capacity;

    SG_TRY(sg_graph_grow((void **)&g->hash, g->n_nodes, &capacity, sizeof *g->hash));
    SG_TRY(sg_graph_grow((void **)&g->node, g->n_nodes, &g->node_capacity, sizeof *g->node));
    while (g->n_values + SG_MAX_OUT > g->value_capacity) {
        int n = g->value_capacity ? g->value_capacity : 0;
        SG_TRY(sg_graph_grow((void **)&g->value, n, &g->value_capacity, sizeof(sg_value *)));
    }
    return SG_OK;
}

static sg_status append(sg_graph *g, sg_node *node, const void *attr) {
    uint64_t hash;

    SG_TRY(reserve(g));
    SG_TRY(copy_attr(node, attr));
    SG_TRY(name_node(g, node, &hash));
    if (node->op->infer) SG_TRY(node->op->infer(node));
    SG_TRY(check_outputs(node));
    node->id = g->n_nodes;
    g->hash[g->n_nodes] = hash;
    g->node[g->n_nodes++] = node;
    link_outputs(g, node);
    return SG_OK;
}

/* Takes over `node` in any case. */
static sg_value *append_or_fail(sg_graph *g, sg_node *node, const void *attr) {
    sg_status st = append(g, node, attr);

    if (st == SG_OK) return &node->out[0];
    if (node->op == &sg_op_constant && !node->attr && attr)
        sg_free(((const sg_constant_attr *)attr)->data);
    node_destroy(node);
    return sg_graph_fail(g, st);
}

static sg_node *node_create(sg_graph *g, const sg_op *op) {
    sg_node *node = sg_calloc(1, sizeof *node);

    if (!node) sg_graph_fail(g, sg_fail(SG_ERR_OOM, "graph: no memory for a node"));
    if (node) node->op = op;
    return node;
}

sg_value *sg_node_append(sg_graph *g, const sg_op *op, sg_value *const in[], int n_in,
                         int n_required, const void *attr) {
    sg_node *node;

    if (g->status != SG_OK) return NULL;
    for (int i = 0; i < n_required; i++) {
        if (!in[i])
            return sg_graph_fail(
                g, sg_fail(SG_ERR_ARG, "%s%s: input %d is missing", g->scope, op->name, i));
    }
    node = node_create(g, op);
    if (!node) return NULL;
    node->n_in = n_in;
    for (int i = 0; i < n_in; i++) node->in[i] = in[i];
    return append_or_fail(g, node, attr);
}

/* --- sources ---------------------------------------------------------------------------------- */

static sg_value *source(sg_graph *g, const sg_op *op, sg_dtype dtype, sg_shape shape,
                        const void *attr) {
    sg_node *node = node_create(g, op);

    if (!node) {
        if (op == &sg_op_constant) sg_free(((const sg_constant_attr *)attr)->data);
        return NULL;
    }
    sg_op_out(node, 0, dtype, shape);
    return append_or_fail(g, node, attr);
}

sg_value *sg_input(sg_graph *g, const char *name, sg_dtype dtype, sg_shape shape) {
    sg_source_attr attr = {{SG_BUF_INPUT, g->n_inputs}, -1};
    sg_status st;
    sg_value *v;

    if (g->status != SG_OK) return NULL;
    for (int i = 0; i < g->n_inputs; i++) {
        v = g->input[i].value;
        if (strcmp(g->input[i].name, name) != 0) continue;
        if (v->dtype == dtype && sg_shape_equal(&v->shape, &shape)) return v;
        return sg_graph_fail(g, sg_fail(SG_ERR_ARG, "input %s: asked for in two shapes", name));
    }
    if (g->n_inputs == SG_MAX_INPUTS)
        return sg_graph_fail(g, sg_fail(SG_ERR_ARG, "input %s: more than %d", name, SG_MAX_INPUTS));
    st = check_shape("input", name, &shape);
    if (st != SG_OK) return sg_graph_fail(g, st);
    v = source(g, &sg_op_input, dtype, shape, &attr);
    if (!v) return NULL;
    g->input[g->n_inputs].name = sg_strdup(name);
    if (!g->input[g->n_inputs].name)
        return sg_graph_fail(g, sg_fail(SG_ERR_OOM, "input %s: no memory", name));
    g->input[g->n_inputs++].value = v;
    return v;
}

sg_value *sg_param(sg_graph *g, const char *name, sg_entry_kind kind, sg_shape shape,
                   sg_init init) {
    sg_source_attr attr = {{SG_BUF_VALUES, 0}, -1};
    sg_status st = SG_OK;
    sg_value *v;

    if (g->status != SG_OK) return NULL;
    if (!g->table) st = sg_fail(SG_ERR_ARG, "parameter %s: the graph has no table", name);
    if (st == SG_OK) st = check_shape("parameter", name, &shape);
    if (st == SG_OK) st = sg_table_entry(g->table, name, kind, &shape, init, &attr.index);
    if (st != SG_OK) return sg_graph_fail(g, st);
    if (kind == SG_ENTRY_ROWS) attr.place.buffer = SG_BUF_ROWS;
    v = source(g, &sg_op_param, SG_F32, shape, &attr);
    if (v) v->needs_grad = g->mode == SG_TRAIN && kind != SG_ENTRY_STAT;
    return v;
}

sg_value *sg_constant(sg_graph *g, sg_dtype dtype, sg_shape shape, const void *data) {
    sg_constant_attr attr = {NULL, 0};
    sg_status st = check_shape("constant", "", &shape);

    if (g->status != SG_OK) return NULL;
    if (st != SG_OK) return sg_graph_fail(g, st);
    attr.bytes = (size_t)sg_shape_count(&shape) * sg_dtype_size(dtype);
    attr.data = sg_malloc(attr.bytes);
    if (!attr.data) return sg_graph_fail(g, sg_fail(SG_ERR_OOM, "constant: no memory"));
    memcpy(attr.data, data, attr.bytes);
    return source(g, &sg_op_constant, dtype, shape, &attr);
}

sg_value *sg_view_of(sg_graph *g, sg_dtype dtype, sg_buffer buffer, int64_t offset,
                     sg_shape shape) {
    sg_source_attr attr = {{buffer, offset}, -1};

    return g->status == SG_OK ? source(g, &sg_op_view_of, dtype, shape, &attr) : NULL;
}

const sg_op sg_op_input = {.name = "input", .attr_size = sizeof(sg_source_attr), .source = true};
const sg_op sg_op_param = {.name = "param", .attr_size = sizeof(sg_source_attr), .source = true};
const sg_op sg_op_constant = {
    .name = "constant", .attr_size = sizeof(sg_constant_attr), .source = true};
const sg_op sg_op_view_of = {
    .name = "view_of", .attr_size = sizeof(sg_source_attr), .source = true};

/* --- sinks ------------------------------------------------------------------------------------ */

/* Whether there is a value to be written; its lack fails a graph that is sound so far. */
static bool given(sg_graph *g, const char *what, const char *name, const sg_value *v) {
    if (g->status == SG_OK && !v)
        sg_graph_fail(g, sg_fail(SG_ERR_ARG, "%s%s: there is no value", what, name));
    return g->status == SG_OK;
}

/* The value that is written to `place`, or NULL. */
static const sg_value *writer_of(const sg_graph *g, sg_place place) {
    for (int i = 0; i < g->n_sinks; i++)
        if (g->sink[i].place.buffer == place.buffer && g->sink[i].place.offset == place.offset)
            return g->sink[i].value;
    return NULL;
}

void sg_sink(sg_graph *g, sg_value *v, sg_buffer buffer, int64_t offset) {
    sg_place place = {buffer, offset};
    const sg_value *other = writer_of(g, place);
    sg_status st;

    if (!given(g, "sink", "", v)) return;
    if (other)
        st = sg_fail(SG_ERR_ARG, "%s: is to be written where %s is", v->node->name,
                     other->node->name);
    else
        st = sg_graph_grow((void **)&g->sink, g->n_sinks, &g->sink_capacity, sizeof *g->sink);
    if (st != SG_OK) {
        sg_graph_fail(g, st);
        return;
    }
    g->sink[g->n_sinks].value = v;
    g->sink[g->n_sinks++].place = place;
}

void sg_output(sg_graph *g, const char *name, sg_value *v) {
    if (!given(g, "output ", name, v)) return;
    if (g->n_outputs == SG_MAX_OUTPUTS) {
        sg_graph_fail(g, sg_fail(SG_ERR_ARG, "output %s: more than %d", name, SG_MAX_OUTPUTS));
        return;
    }
    for (int i = 0; i < g->n_outputs; i++) {
        if (strcmp(g->output[i].name, name) != 0) continue;
        sg_graph_fail(g, sg_fail(SG_ERR_ARG, "output %s: named twice", name));
        return;
    }
    g->output[g->n_outputs].name = sg_strdup(name);
    if (!g->output[g->n_outputs].name) {
        sg_graph_fail(g, sg_fail(SG_ERR_OOM, "output %s: no memory", name));
        return;
    }
    g->output[g->n_outputs].value = v;
    sg_sink(g, v, SG_BUF_OUTPUT, g->n_outputs++);
}

/* Places in the flat gradient buffer depend on the frozen table: until then a sink holds the
 * entry's index or the sum's slot, as a negative offset, which compiling resolves. */
static sg_place sum_place(int slot) { return (sg_place){SG_BUF_GRADS, -1 - slot}; }

void sg_sum_into(sg_graph *g, const char *name, sg_value *scalar) {
    sg_status st;
    int slot = 0;

    if (!given(g, "sum ", name, scalar)) return;
    if (!g->table)
        st = sg_fail(SG_ERR_ARG, "sum %s: the graph has no table", name);
    else if (scalar->dtype != SG_F32 || sg_shape_count(&scalar->shape) != 1)
        st = sg_fail(SG_ERR_ARG, "sum %s: %s is no f32 scalar", name, scalar->node->name);
    else
        st = sg_table_sum(g->table, name, &slot);
    if (st == SG_OK && writer_of(g, sum_place(slot)))
        st = sg_fail(SG_ERR_ARG, "sum %s: %s is in it already; add the two", name,
                     writer_of(g, sum_place(slot))->node->name);
    if (st != SG_OK)
        sg_graph_fail(g, st);
    else
        sg_sink(g, scalar, SG_BUF_GRADS, sum_place(slot).offset);
}

void sg_stat_into(sg_graph *g, sg_value *param, sg_value *contribution) {
    const sg_source_attr *attr;

    if (!given(g, "statistic", "", param) || !given(g, "statistic", "", contribution)) return;
    attr = param->node->attr;
    if (param->node->op != &sg_op_param || !sg_shape_equal(&param->shape, &contribution->shape)) {
        sg_graph_fail(g, sg_fail(SG_ERR_ARG, "%s: does not fit the statistic %s",
                                 contribution->node->name, param->node->name));
        return;
    }
    if (writer_of(g, sum_place(SG_MAX_SUMS + attr->index))) {
        sg_graph_fail(g, sg_fail(SG_ERR_ARG,
                                 "statistic %s: has a contribution already; a norm "
                                 "that is used twice needs two names",
                                 g->table->entry[attr->index].name));
        return;
    }
    sg_sink(g, contribution, SG_BUF_GRADS, sum_place(SG_MAX_SUMS + attr->index).offset);
}

sg_status sg_check_stats(const sg_graph *g) {
    for (int i = 0; g->table && i < g->table->n_entries; i++) {
        const sg_entry *entry = &g->table->entry[i];

        if (entry->kind == SG_ENTRY_STAT && !writer_of(g, sum_place(SG_MAX_SUMS + i)))
            return sg_fail(SG_ERR_ARG, "statistic %s: training contributes nothing to it",
                           entry->name);
    }
    return SG_OK;
}
