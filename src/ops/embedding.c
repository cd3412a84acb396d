/* Rows of a table by number, and the table's gradient.
 *
 *   embedding     y[n, t] = table[ids[n, t]] + position[t]
 *   embedding_dw  dw[v] = sum over all (n, t) with ids[n, t] = v of dy[n, t]
 *
 * ids: i32 (N, T); table, dw: (V, C); position: (T, C) or left out; y, dy: (N, T, C). An id below 0
 * is padding: zeros in place of a row of the table, and no gradient. An id of V or more is bad
 * data: an error on CPUs; on a device, which cannot stop, its row of y is NaN, so that the loss is
 * NaN too and the step is given up.
 *
 * A row of dw is added up in the order of the positions. It is dense, V C floats whatever the ids:
 * for vocabularies of some ten thousands of tokens. */
#include "ops/ops.h"

#include <string.h>

static sg_status expect_ids(const sg_node *node, int i) { return sg_op_expect(node, i, SG_I32, 2); }

/* --- embedding -------------------------------------------------------------------------------- */

static sg_status embedding_infer(sg_node *node) {
    const sg_shape *ids, *table;

    SG_TRY(expect_ids(node, 0));
    SG_TRY(sg_op_expect(node, 1, SG_F32, 2));
    ids = &node->in[0]->shape;
    table = &node->in[1]->shape;
    if (node->in[2]) {
        sg_shape position = sg_shape_2(ids->dim[1], table->dim[1]);

        SG_TRY(sg_op_expect(node, 2, SG_F32, 2));
        if (!sg_shape_equal(&node->in[2]->shape, &position))
            return sg_op_fail(node, "the positions must be (T, C), as ids (N, T), table (V, C)");
    }
    sg_op_out(node, 0, SG_F32, sg_shape_3(ids->dim[0], ids->dim[1], table->dim[1]));
    return SG_OK;
}

/* The positions are a bias of (N, T C). */
static sg_status embedding_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *table = node->in[1], *position = node->in[2];
    const sg_shape *y = &node->out[0].shape;

    if (sg_wants_grad(table))
        SG_TRY(
            sg_accumulate(g, table, sg_embedding_dw(g, node->in[0], dy[0], table->shape.dim[0])));
    if (sg_wants_grad(position)) {
        sg_value *flat = sg_reshape(g, dy[0], sg_shape_2(y->dim[0], y->dim[1] * y->dim[2]));

        SG_TRY(sg_accumulate(g, position, sg_reshape(g, sg_bias_db(g, flat), position->shape)));
    }
    return SG_OK;
}

static sg_status embedding_ref(const sg_args *args) {
    const sg_shape *s = &args->node->out[0].shape;
    int64_t M = s->dim[0] * s->dim[1], T = s->dim[1], C = s->dim[2];
    int64_t V = args->node->in[1]->shape.dim[0];
    const int32_t *ids = args->in[0];
    const float *table = args->in[1], *position = args->in[2];
    float *y = args->out[0];

    for (int64_t m = 0; m < M; m++, y += C) {
        if (ids[m] >= V)
            return sg_fail(SG_ERR_DATA, "%s (embedding): id %d at (%lld, %lld); there are %lld",
                           args->node->name, ids[m], (long long)(m / T), (long long)(m % T),
                           (long long)V);
        if (ids[m] < 0)
            memset(y, 0, (size_t)C * sizeof *y);
        else
            memcpy(y, table + ids[m] * C, (size_t)C * sizeof *y);
        for (int64_t c = 0; position && c < C; c++) y[c] += position[m % T * C + c];
    }
    return SG_OK;
}

sg_value *sg_embedding(sg_graph *g, sg_value *ids, sg_value *table, sg_value *position) {
    sg_value *in[] = {ids, table, position};

    return sg_node_append(g, &sg_op_embedding, in, 3, 2, NULL);
}

const sg_op sg_op_embedding = {
    .name = "embedding",
    .infer = embedding_infer,
    .grad = embedding_grad,
    .run = embedding_ref,
};

/* --- embedding_dw ----------------------------------------------------------------------------- */

static sg_status embedding_dw_infer(sg_node *node) {
    const sg_embedding_attr *attr = node->attr;
    const sg_shape *ids, *dy;

    SG_TRY(expect_ids(node, 0));
    SG_TRY(sg_op_expect(node, 1, SG_F32, 3));
    ids = &node->in[0]->shape;
    dy = &node->in[1]->shape;
    if (dy->dim[0] != ids->dim[0] || dy->dim[1] != ids->dim[1])
        return sg_op_fail(node, "each id needs one row of the gradient");
    sg_op_out(node, 0, SG_F32, sg_shape_2(attr->rows, dy->dim[2]));
    return SG_OK;
}

static sg_status embedding_dw_ref(const sg_args *args) {
    const sg_shape *s = &args->node->in[1]->shape;
    int64_t M = s->dim[0] * s->dim[1], C = s->dim[2];
    int64_t V = args->node->out[0].shape.dim[0];
    const int32_t *ids = args->in[0];
    const float *dy = args->in[1];
    float *dw = args->out[0];

    memset(dw, 0, (size_t)(V * C) * sizeof *dw);
    for (int64_t m = 0; m < M; m++, dy += C) {
        if (ids[m] < 0 || ids[m] >= V) continue; /* the latter has failed before */
        for (int64_t c = 0; c < C; c++) dw[ids[m] * C + c] += dy[c];
    }
    return SG_OK;
}

sg_value *sg_embedding_dw(sg_graph *g, sg_value *ids, sg_value *dy, int64_t rows) {
    sg_value *in[] = {ids, dy};
    sg_embedding_attr attr = {rows};

    return sg_node_append(g, &sg_op_embedding_dw, in, 2, 2, &attr);
}

const sg_op sg_op_embedding_dw = {
    .name = "embedding_dw",
    .attr_size = sizeof(sg_embedding_attr),
    .infer = embedding_dw_infer,
    .run = embedding_dw_ref,
};
