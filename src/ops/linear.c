/* The linear layer with its activation, and its gradients. x is (M, K) or (N, T, K), of which the
 * M = N T rows are meant.
 *
 *   linear     z = x W^T + b,  y = act(z);  w (O, K), b (O) or none, y and z (.., O)
 *   linear_dx  dx = (dz W) act'(z'),  z' (.., K) or none: then dz W
 *   linear_dw  dw = dz^T x (O, K),  db = sum over the rows of dz (O), where asked for
 *
 * z is the node's second output where a gradient will need it: a ReLU's slope is known from y. The
 * z' of linear_dx is that of the layer before, where x = act(z') is used by this layer alone: what
 * comes out is then the gradient of z', and no pass over dx applies the slope. NVIDIA's library
 * does each of these in one kernel. */
#include "ops/ops.h"

static int64_t last_of(const sg_shape *s) { return s->dim[s->rank - 1]; }

static int64_t rows_of(const sg_shape *s) {
    int64_t rows = 1;

    for (int d = 0; d < s->rank - 1; d++) rows *= s->dim[d];
    return rows;
}

sg_linear_sizes sg_linear_sizes_of(const sg_node *node) {
    const sg_shape *w = node->op == &sg_op_linear_dw ? &node->out[0].shape : &node->in[1]->shape;
    sg_linear_sizes s = {rows_of(&node->in[0]->shape), w->dim[1], w->dim[0]};

    return s;
}

/* Input i is (M, C) or (N, T, C). */
static sg_status expect_rows(const sg_node *node, int i) {
    SG_TRY(sg_op_expect(node, i, SG_F32, -1));
    if (node->in[i]->shape.rank == 2 || node->in[i]->shape.rank == 3) return SG_OK;
    return sg_op_fail(node, "input %d must be (M, C) or (N, T, C)", i);
}

/* The rows of `x`, each of C elements. */
static sg_shape with_last(const sg_shape *x, int64_t C) {
    sg_shape s = *x;

    s.dim[s.rank - 1] = C;
    return s;
}

/* --- linear ----------------------------------------------------------------------------------- */

static sg_status linear_infer(sg_node *node) {
    const sg_linear_attr *attr = node->attr;
    const sg_shape *w;
    sg_shape y;

    SG_TRY(expect_rows(node, 0));
    SG_TRY(sg_op_expect(node, 1, SG_F32, 2));
    w = &node->in[1]->shape;
    if (w->dim[1] != last_of(&node->in[0]->shape))
        return sg_op_fail(node, "the filter has %lld columns, a row of the input %lld",
                          (long long)w->dim[1], (long long)last_of(&node->in[0]->shape));
    if (node->in[2]) {
        SG_TRY(sg_op_expect(node, 2, SG_F32, 1));
        if (node->in[2]->shape.dim[0] != w->dim[0])
            return sg_op_fail(node, "the bias needs a number for each of %lld outputs",
                              (long long)w->dim[0]);
    }
    y = with_last(&node->in[0]->shape, w->dim[0]);
    sg_op_out(node, 0, SG_F32, y);
    if (attr->keep_z) sg_op_out(node, 1, SG_F32, y);
    return SG_OK;
}

/* The z of x, if x is the activation of a linear layer and goes nowhere but here. */
static sg_value *z_of(const sg_graph *g, sg_value *x) {
    if (x->node->op != &sg_op_linear || x->node->n_out < 2 || x->index != 0) return NULL;
    return sg_used_once(g, x) ? &x->node->out[1] : NULL;
}

static sg_value *act_dx(sg_graph *g, sg_node *node, sg_value *dy) {
    const sg_linear_attr *attr = node->attr;

    switch (attr->act) {
    case SG_ACT_RELU:
        return sg_relu_dx(g, &node->out[0], dy);
    case SG_ACT_SILU:
        return sg_silu_dx(g, &node->out[1], dy);
    case SG_ACT_GELU:
        return sg_gelu_dx(g, &node->out[1], dy);
    case SG_ACT_NONE:
        break;
    }
    return dy;
}

/* dy[1] is there where a linear_dx after this node, or a test, has read z. */
static sg_status linear_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    sg_value *x = node->in[0], *w = node->in[1], *b = node->in[2];
    sg_value *dz = dy[0] ? act_dx(g, node, dy[0]) : NULL, *dw;

    if (node->n_out > 1 && dy[1]) dz = dz ? sg_add(g, dz, dy[1]) : dy[1];
    if (sg_wants_grad(x)) {
        sg_value *z = z_of(g, x);

        if (z)
            SG_TRY(sg_accumulate(
                g, z, sg_linear_dx(g, dz, w, z, ((const sg_linear_attr *)x->node->attr)->act)));
        else
            SG_TRY(sg_accumulate(g, x, sg_linear_dx(g, dz, w, NULL, SG_ACT_NONE)));
    }
    if (!sg_wants_grad(w) && !sg_wants_grad(b)) return SG_OK;
    dw = sg_linear_dw(g, dz, x, sg_wants_grad(b));
    if (!dw) return sg_graph_status(g);
    SG_TRY(sg_accumulate(g, w, dw));
    return sg_wants_grad(b) ? sg_accumulate(g, b, &dw->node->out[1]) : SG_OK;
}

static sg_status linear_ref(const sg_args *args) {
    const sg_linear_attr *attr = args->node->attr;
    sg_linear_sizes s = sg_linear_sizes_of(args->node);
    const float *x = args->in[0], *w = args->in[1], *b = args->in[2];
    float *y = args->out[0], *z = attr->keep_z ? args->out[1] : NULL;

    for (int64_t m = 0; m < s.M; m++)
        for (int64_t o = 0; o < s.O; o++) {
            double sum = b ? (double)b[o] : 0.0;

            for (int64_t k = 0; k < s.K; k++)
                sum += (double)x[m * s.K + k] * (double)w[o * s.K + k];
            if (z) z[m * s.O + o] = (float)sum;
            y[m * s.O + o] = (float)sg_act_value(attr->act, sum);
        }
    return SG_OK;
}

sg_value *sg_linear_with(sg_graph *g, sg_value *x, sg_value *w, sg_value *b, sg_act act) {
    sg_value *in[] = {x, w, b};
    sg_linear_attr attr = {act, sg_graph_mode(g) == SG_TRAIN && sg_act_slope_needs_x(act)};

    return sg_node_append(g, &sg_op_linear, in, 3, 2, &attr);
}

const sg_op sg_op_linear = {
    .name = "linear",
    .attr_size = sizeof(sg_linear_attr),
    .infer = linear_infer,
    .grad = linear_grad,
    .run = linear_ref,
};

/* --- linear_dx -------------------------------------------------------------------------------- */

static sg_status linear_dx_infer(sg_node *node) {
    const sg_shape *w;
    sg_shape dx;

    SG_TRY(expect_rows(node, 0));
    SG_TRY(sg_op_expect(node, 1, SG_F32, 2));
    w = &node->in[1]->shape;
    if (w->dim[0] != last_of(&node->in[0]->shape))
        return sg_op_fail(node, "the filter has not the gradient's columns");
    dx = with_last(&node->in[0]->shape, w->dim[1]);
    if (node->in[2]) {
        SG_TRY(sg_op_expect(node, 2, SG_F32, dx.rank));
        if (!sg_shape_equal(&node->in[2]->shape, &dx))
            return sg_op_fail(node, "z has another shape than the result");
    }
    sg_op_out(node, 0, SG_F32, dx);
    return SG_OK;
}

static sg_status linear_dx_ref(const sg_args *args) {
    const sg_linear_attr *attr = args->node->attr;
    sg_linear_sizes s = sg_linear_sizes_of(args->node);
    const float *dz = args->in[0], *w = args->in[1], *z = args->in[2];
    float *dx = args->out[0];

    for (int64_t m = 0; m < s.M; m++)
        for (int64_t k = 0; k < s.K; k++) {
            double sum = 0.0;

            for (int64_t o = 0; o < s.O; o++)
                sum += (double)dz[m * s.O + o] * (double)w[o * s.K + k];
            if (z) sum *= sg_act_slope(attr->act, (double)z[m * s.K + k]);
            dx[m * s.K + k] = (float)sum;
        }
    return SG_OK;
}

sg_value *sg_linear_dx(sg_graph *g, sg_value *dz, sg_value *w, sg_value *z, sg_act act) {
    sg_value *in[] = {dz, w, z};
    sg_linear_attr attr = {act, false};

    return sg_node_append(g, &sg_op_linear_dx, in, 3, 2, &attr);
}

const sg_op sg_op_linear_dx = {
    .name = "linear_dx",
    .attr_size = sizeof(sg_linear_attr),
    .infer = linear_dx_infer,
    .run = linear_dx_ref,
};

/* --- linear_dw -------------------------------------------------------------------------------- */

static sg_status linear_dw_infer(sg_node *node) {
    const sg_linear_dw_attr *attr = node->attr;
    const sg_shape *dz, *x;

    SG_TRY(expect_rows(node, 0));
    SG_TRY(expect_rows(node, 1));
    dz = &node->in[0]->shape;
    x = &node->in[1]->shape;
    if (rows_of(dz) != rows_of(x)) return sg_op_fail(node, "the inputs need as many rows");
    sg_op_out(node, 0, SG_F32, sg_shape_2(last_of(dz), last_of(x)));
    if (attr->db) sg_op_out(node, 1, SG_F32, sg_shape_1(last_of(dz)));
    return SG_OK;
}

static sg_status linear_dw_ref(const sg_args *args) {
    const sg_linear_dw_attr *attr = args->node->attr;
    sg_linear_sizes s = sg_linear_sizes_of(args->node);
    const float *dz = args->in[0], *x = args->in[1];
    float *dw = args->out[0], *db = attr->db ? args->out[1] : NULL;

    for (int64_t o = 0; o < s.O; o++) {
        double total = 0.0;

        for (int64_t k = 0; k < s.K; k++) {
            double sum = 0.0;

            for (int64_t m = 0; m < s.M; m++)
                sum += (double)dz[m * s.O + o] * (double)x[m * s.K + k];
            dw[o * s.K + k] = (float)sum;
        }
        for (int64_t m = 0; m < s.M; m++) total += (double)dz[m * s.O + o];
        if (db) db[o] = (float)total;
    }
    return SG_OK;
}

sg_value *sg_linear_dw(sg_graph *g, sg_value *dz, sg_value *x, bool db) {
    sg_value *in[] = {dz, x};
    sg_linear_dw_attr attr = {db};

    return sg_node_append(g, &sg_op_linear_dw, in, 2, 2, &attr);
}

const sg_op sg_op_linear_dw = {
    .name = "linear_dw",
    .attr_size = sizeof(sg_linear_dw_attr),
    .infer = linear_dw_infer,
    .run = linear_dw_ref,
};
