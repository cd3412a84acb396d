/* The weighted sum of rows of a table, for bags of features.
 *
 *   embedding_bag     y[n] = sum_f weights[n, f] table[ids[n, f]]
 *   embedding_bag_dw  dw[r] = sum over all (n, f) with ids[n, f] = r of weights[n, f] dy[n]
 *
 * ids: i32 (N, F); weights: (N, F) or left out, all 1; table, dw: (R, d); y, dy: (N, d). An id
 * below 0 is padding, which adds nothing, whatever its weight. An id of R or more is bad data: an
 * error on CPUs; on a device, which cannot stop, y[n] is NaN, so that the loss is NaN too and the
 * step is given up. Features are added in their order, and so are the terms of a row of dw.
 *
 * A table of the kind SG_ENTRY_ROWS has no dw: its gradient stays the product that it is (dy and
 * two inputs: sg_rows_into), of which ops/rows.c updates the rows that occur. For other tables dw
 * is dense, R d floats whatever the ids. Weights are data and have no gradient. */
#include "ops/ops.h"

#include <string.h>

/* Input `ids`, and weights of its shape where they are given. */
static sg_status expect_features(const sg_node *node, int ids, int weights) {
    SG_TRY(sg_op_expect(node, ids, SG_I32, 2));
    if (!node->in[weights]) return SG_OK;
    SG_TRY(sg_op_expect(node, weights, SG_F32, 2));
    if (!sg_shape_equal(&node->in[weights]->shape, &node->in[ids]->shape))
        return sg_op_fail(node, "each id needs one weight");
    return SG_OK;
}

/* --- embedding_bag ---------------------------------------------------------------------------- */

enum { kIds, kTable, kWeights };

static sg_status embedding_bag_infer(sg_node *node) {
    SG_TRY(expect_features(node, kIds, kWeights));
    SG_TRY(sg_op_expect(node, kTable, SG_F32, 2));
    sg_op_out(node, 0, SG_F32,
              sg_shape_2(node->in[kIds]->shape.dim[0], node->in[kTable]->shape.dim[1]));
    return SG_OK;
}

static sg_status embedding_bag_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *ids = node->in[kIds], *table = node->in[kTable], *weights = node->in[kWeights];

    if (sg_wants_grad(weights))
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s: weights of an embedding_bag have no gradient; "
                       "stop_gradient before it says that none is wanted",
                       node->name);
    if (sg_is_rows(g, table)) return sg_rows_into(g, table, ids, weights, dy[0]);
    return sg_accumulate(g, table,
                         sg_embedding_bag_dw(g, ids, weights, dy[0], table->shape.dim[0]));
}

static sg_status embedding_bag_ref(const sg_args *args) {
    const sg_shape *s = &args->node->in[kIds]->shape;
    int64_t N = s->dim[0], F = s->dim[1];
    int64_t R = args->node->in[kTable]->shape.dim[0], d = args->node->in[kTable]->shape.dim[1];
    const int32_t *ids = args->in[kIds];
    const float *table = args->in[kTable], *weights = args->in[kWeights];
    float *y = args->out[0];

    memset(y, 0, (size_t)(N * d) * sizeof *y);
    for (int64_t m = 0; m < N * F; m++) {
        float weight = weights ? weights[m] : 1.0f;

        if (ids[m] >= R)
            return sg_fail(SG_ERR_DATA, "%s (embedding_bag): id %d at (%lld, %lld); there are %lld",
                           args->node->name, ids[m], (long long)(m / F), (long long)(m % F),
                           (long long)R);
        for (int64_t c = 0; ids[m] >= 0 && c < d; c++)
            y[m / F * d + c] += weight * table[ids[m] * d + c];
    }
    return SG_OK;
}

sg_value *sg_embedding_bag(sg_graph *g, sg_value *ids, sg_value *weights, sg_value *table) {
    sg_value *in[] = {ids, table, weights};

    return sg_node_append(g, &sg_op_embedding_bag, in, 3, 2, NULL);
}

const sg_op sg_op_embedding_bag = {
    .name = "embedding_bag",
    .infer = embedding_bag_infer,
    .grad = embedding_bag_grad,
    .run = embedding_bag_ref,
};

/* --- embedding_bag_dw ------------------------------------------------------------------------- */

enum { kDy = 1 }; /* ids, dy, weights */

static sg_status embedding_bag_dw_infer(sg_node *node) {
    const sg_embedding_attr *attr = node->attr;

    SG_TRY(expect_features(node, kIds, kWeights));
    SG_TRY(sg_op_expect(node, kDy, SG_F32, 2));
    if (node->in[kDy]->shape.dim[0] != node->in[kIds]->shape.dim[0])
        return sg_op_fail(node, "each bag needs one row of the gradient");
    sg_op_out(node, 0, SG_F32, sg_shape_2(attr->rows, node->in[kDy]->shape.dim[1]));
    return SG_OK;
}

static sg_status embedding_bag_dw_ref(const sg_args *args) {
    const sg_shape *s = &args->node->in[kIds]->shape;
    int64_t N = s->dim[0], F = s->dim[1];
    int64_t R = args->node->out[0].shape.dim[0], d = args->node->out[0].shape.dim[1];
    const int32_t *ids = args->in[kIds];
    const float *dy = args->in[kDy], *weights = args->in[kWeights];
    float *dw = args->out[0];

    memset(dw, 0, (size_t)(R * d) * sizeof *dw);
    for (int64_t m = 0; m < N * F; m++) {
        float weight = weights ? weights[m] : 1.0f;

        if (ids[m] < 0 || ids[m] >= R) continue; /* the latter has failed before */
        for (int64_t c = 0; c < d; c++) dw[ids[m] * d + c] += weight * dy[m / F * d + c];
    }
    return SG_OK;
}

sg_value *sg_embedding_bag_dw(sg_graph *g, sg_value *ids, sg_value *weights, sg_value *dy,
                              int64_t rows) {
    sg_value *in[] = {ids, dy, weights};
    sg_embedding_attr attr = {rows};

    return sg_node_append(g, &sg_op_embedding_bag_dw, in, 3, 2, &attr);
}

const sg_op sg_op_embedding_bag_dw = {
    .name = "embedding_bag_dw",
    .attr_size = sizeof(sg_embedding_attr),
    .infer = embedding_bag_dw_infer,
    .run = embedding_bag_dw_ref,
};
