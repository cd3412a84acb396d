/* Reverse-mode differentiation: gradients are more graph.
 *
 * The forward nodes are walked backwards; each op's rule appends ordinary nodes that compute the
 * gradients of its inputs from those of its outputs, and hands them to sg_accumulate. A value used
 * several times collects a sum. What a rule reads of the forward pass it may have computed again
 * (sg_again): half of what a convolutional network would keep is an activation of the other half.
 */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "graph/internal.h"
#include "ops/ops.h"

void sg_require_grad(sg_value *v) {
    if (v) v->needs_grad = true;
}

bool sg_wants_grad(const sg_value *v) { return v && v->needs_grad; }

bool sg_has_gradients(const sg_graph *g) { return g->gradient != NULL; }

sg_value *sg_gradient_of(const sg_graph *g, const sg_value *v) {
    return v && v->id < g->n_gradients ? g->gradient[v->id] : NULL;
}

sg_status sg_accumulate(sg_graph *g, sg_value *v, sg_value *dv) {
    sg_value **sum;

    if (!sg_wants_grad(v)) return SG_OK;
    if (!dv) return sg_graph_status(g);
    if (v->id >= g->n_gradients)
        return sg_fail(SG_ERR_ARG, "%s: a gradient of a gradient is not supported", v->node->name);
    if (!sg_shape_equal(&v->shape, &dv->shape) || dv->dtype != v->dtype)
        return sg_fail(SG_ERR_ARG, "%s: its gradient %s has another shape", v->node->name,
                       dv->node->name);
    sum = &g->gradient[v->id];
    *sum = *sum ? sg_add(g, *sum, dv) : dv;
    return sg_graph_status(g);
}

bool sg_used_once(const sg_graph *g, const sg_value *v) {
    int uses = 0;

    for (int i = 0; i < g->n_nodes && g->node[i]->out[0].id < g->n_gradients; i++)
        for (int k = 0; k < g->node[i]->n_in; k++) uses += g->node[i]->in[k] == v;
    return uses == 1;
}

sg_value *sg_again(sg_graph *g, sg_value *v) {
    if (!v || v->index != 0 || !v->node->op->again || v->id >= g->n_gradients) return v;
    if (!g->again[v->id]) g->again[v->id] = v->node->op->again(g, v->node);
    return g->again[v->id];
}

/* --- tables of rows --------------------------------------------------------------------------- */

bool sg_is_rows(const sg_graph *g, const sg_value *v) {
    const sg_source_attr *attr = v->node->attr;

    return v->node->op == &sg_op_param && g->table->entry[attr->index].kind == SG_ENTRY_ROWS;
}

/* The number of an input, or -1. */
static int input_of(const sg_graph *g, const sg_value *v) {
    for (int i = 0; i < g->n_inputs; i++)
        if (g->input[i].value == v) return i;
    return -1;
}

sg_status sg_rows_into(sg_graph *g, sg_value *table, sg_value *ids, sg_value *weights,
                       sg_value *source) {
    const sg_source_attr *attr = table->node->attr;
    const sg_entry *entry = &g->table->entry[attr->index];
    sg_rows_use use = {attr->index, input_of(g, ids), weights ? input_of(g, weights) : -1, source};

    if (!source) return sg_graph_status(g);
    if (use.ids < 0 || (weights && use.weights < 0))
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "parameter %s: to train a table of rows, its %s must be an input of the "
                       "graph; %s is none",
                       entry->name, use.ids < 0 ? "ids" : "weights",
                       (use.ids < 0 ? ids : weights)->node->name);
    for (int i = 0; i < g->n_rows; i++)
        if (g->rows[i].entry == use.entry)
            return sg_fail(SG_ERR_UNSUPPORTED,
                           "parameter %s: a table of rows is trained by one bag; give the second "
                           "a table of its own",
                           entry->name);
    g->rows[g->n_rows++] = use;
    sg_sink(g, source, SG_BUF_SOURCE, entry->rows_index);
    return sg_graph_status(g);
}

int sg_graph_rows(const sg_graph *g) { return g->n_rows; }
const sg_rows_use *sg_graph_rows_use(const sg_graph *g, int i) { return &g->rows[i]; }

static sg_status differentiate(sg_graph *g, sg_node *node) {
    sg_value *dy[SG_MAX_OUT] = {NULL};
    bool any = false, wanted = false;

    for (int o = 0; o < node->n_out; o++) {
        dy[o] = g->gradient[node->out[o].id];
        any = any || dy[o];
        wanted = wanted || node->out[o].needs_grad;
    }
    if (!any || !wanted || node->op->source) return SG_OK;
    if (!node->op->grad)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s: %s has no gradient rule; stop_gradient before it "
                       "says that none is wanted",
                       node->name, node->op->name);
    snprintf(g->scope, sizeof g->scope, "%s.", node->name);
    return node->op->grad(g, node, dy);
}

static sg_status sink_parameter(sg_graph *g, sg_value *param) {
    const sg_source_attr *attr = param->node->attr;
    sg_value *d = g->gradient[param->id];

    if (d && sg_is_rows(g, param))
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "parameter %s: a table of rows is trained by embedding_bag alone, not by %s",
                       g->table->entry[attr->index].name, d->node->op->name);
    if (d) sg_sink(g, d, SG_BUF_GRADS, -1 - SG_MAX_SUMS - attr->index);
    return SG_OK;
}

/* Two nodes may stand for one parameter; their gradients meet in the first. */
static sg_status merge_shared(sg_graph *g, int n_forward) {
    for (int i = 0; i < n_forward; i++) {
        sg_node *first = g->node[i];
        const sg_source_attr *a = first->attr;

        if (first->op != &sg_op_param) continue;
        for (int j = i + 1; j < n_forward; j++) {
            sg_value *other = &g->node[j]->out[0];
            const sg_source_attr *b = g->node[j]->attr;

            if (other->node->op != &sg_op_param || a->index != b->index) continue;
            if (!g->gradient[other->id]) continue;
            SG_TRY(sg_accumulate(g, &first->out[0], g->gradient[other->id]));
            g->gradient[other->id] = NULL;
        }
    }
    return SG_OK;
}

sg_status sg_gradients(sg_graph *g, sg_value *loss) {
    char scope[SG_SCOPE_BYTES];
    int n_forward = g->n_nodes;
    float one = 1.0f;
    sg_value *seed;

    SG_TRY(sg_graph_status(g));
    if (!loss) return sg_fail(SG_ERR_ARG, "gradients: there is no loss");
    if (loss->dtype != SG_F32 || sg_shape_count(&loss->shape) != 1)
        return sg_fail(SG_ERR_ARG, "%s: a loss must be an f32 scalar", loss->node->name);
    if (g->gradient) return sg_fail(SG_ERR_ARG, "gradients: this graph has them already");
    if (!loss->needs_grad)
        return sg_fail(SG_ERR_ARG, "%s: the loss depends on no parameter", loss->node->name);
    g->gradient = sg_calloc((size_t)g->n_values, sizeof(sg_value *));
    g->again = sg_calloc((size_t)g->n_values, sizeof(sg_value *));
    if (!g->gradient || !g->again) return sg_fail(SG_ERR_OOM, "gradients: no memory");
    g->n_gradients = g->n_values;
    memcpy(scope, g->scope, sizeof scope);

    seed = sg_constant(g, SG_F32, loss->shape, &one);
    SG_TRY(sg_accumulate(g, loss, seed));
    for (int i = n_forward - 1; i >= 0; i--) SG_TRY(differentiate(g, g->node[i]));
    memcpy(g->scope, scope, sizeof scope);
    SG_TRY(merge_shared(g, n_forward));
    for (int i = 0; i < n_forward; i++)
        if (g->node[i]->op == &sg_op_param) SG_TRY(sink_parameter(g, &g->node[i]->out[0]));
    return sg_graph_status(g);
}
