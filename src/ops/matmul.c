/* Matrix product, bias, and the bias's gradient.
 *
 *   matmul   Y = op(A) op(B),  op(A) (M, K), op(B) (K, N), op = transposed where flagged
 *   bias     y[n, c, ...] = x[n, c, ...] + b[c];  of (N, T, C) y[n, t, c] = x[n, t, c] + b[c]
 *   bias_db  db[c] = sum over n, ... of dy[n, c, ...]
 *
 * The gradients of matmul are matmuls: dY B^T and A^T dY, transposed again where the operand was.
 */
#include "ops/ops.h"

/* --- matmul ----------------------------------------------------------------------------------- */

static sg_status matmul_infer(sg_node *node) {
    const sg_matmul_attr *t = node->attr;
    const sg_shape *a, *b;

    SG_TRY(sg_op_expect(node, 0, SG_F32, 2));
    SG_TRY(sg_op_expect(node, 1, SG_F32, 2));
    a = &node->in[0]->shape;
    b = &node->in[1]->shape;
    if (a->dim[t->transpose_a ? 0 : 1] != b->dim[t->transpose_b ? 1 : 0])
        return sg_op_fail(node, "the inner dimensions differ%s%s",
                          t->transpose_a ? ", the first is transposed" : "",
                          t->transpose_b ? ", the second is transposed" : "");
    sg_op_out(node, 0, SG_F32,
              sg_shape_2(a->dim[t->transpose_a ? 1 : 0], b->dim[t->transpose_b ? 0 : 1]));
    return SG_OK;
}

/* With Y = A' B': dA' = dY B'^T; where A' = A^T, dA = dA'^T = B' dY^T. Likewise for B. */
static sg_status matmul_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_matmul_attr *t = node->attr;
    sg_value *a = node->in[0], *b = node->in[1];

    if (sg_wants_grad(a)) {
        sg_value *da = t->transpose_a ? sg_matmul(g, b, dy[0], t->transpose_b, true)
                                      : sg_matmul(g, dy[0], b, false, !t->transpose_b);

        SG_TRY(sg_accumulate(g, a, da));
    }
    if (sg_wants_grad(b)) {
        sg_value *db = t->transpose_b ? sg_matmul(g, dy[0], a, true, t->transpose_a)
                                      : sg_matmul(g, a, dy[0], !t->transpose_a, false);

        SG_TRY(sg_accumulate(g, b, db));
    }
    return SG_OK;
}

static sg_status matmul_ref(const sg_args *args) {
    const sg_matmul_attr *t = args->node->attr;
    const sg_shape *sa = &args->node->in[0]->shape, *sb = &args->node->in[1]->shape;
    int64_t M = args->node->out[0].shape.dim[0], N = args->node->out[0].shape.dim[1];
    int64_t K = sa->dim[t->transpose_a ? 0 : 1];
    int64_t am = t->transpose_a ? 1 : sa->dim[1], ak = t->transpose_a ? sa->dim[1] : 1;
    int64_t bk = t->transpose_b ? 1 : sb->dim[1], bn = t->transpose_b ? sb->dim[1] : 1;
    const float *a = args->in[0], *b = args->in[1];
    float *y = args->out[0];

    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double sum = 0.0;

            for (int64_t k = 0; k < K; k++)
                sum += (double)a[m * am + k * ak] * (double)b[k * bk + n * bn];
            y[m * N + n] = (float)sum;
        }
    return SG_OK;
}

sg_value *sg_matmul(sg_graph *g, sg_value *a, sg_value *b, bool transpose_a, bool transpose_b) {
    sg_value *in[] = {a, b};
    sg_matmul_attr attr = {transpose_a, transpose_b};

    return sg_node_append(g, &sg_op_matmul, in, 2, 2, &attr);
}

const sg_op sg_op_matmul = {
    .name = "matmul",
    .attr_size = sizeof(sg_matmul_attr),
    .infer = matmul_infer,
    .grad = matmul_grad,
    .run = matmul_ref,
};

/* --- bias ------------------------------------------------------------------------------------- */

/* (N, C, inner): channels are axis 1 of pictures, else the last axis. */
typedef struct {
    int64_t N, C, inner;
} channels;

static channels channels_of(const sg_shape *s) {
    channels d = {s->dim[0], s->dim[1], 1};

    if (s->rank == 4) d.inner = s->dim[2] * s->dim[3];
    if (s->rank == 3) d = (channels){s->dim[0] * s->dim[1], s->dim[2], 1};
    return d;
}

static sg_status check_channels(const sg_node *node) {
    int rank;

    SG_TRY(sg_op_expect(node, 0, SG_F32, -1));
    rank = node->in[0]->shape.rank;
    if (rank < 2 || rank > 4)
        return sg_op_fail(node, "input 0 must be (M, C), (N, T, C) or (N, C, H, W)");
    return SG_OK;
}

static sg_status bias_infer(sg_node *node) {
    SG_TRY(check_channels(node));
    SG_TRY(sg_op_expect(node, 1, SG_F32, 1));
    if (node->in[1]->shape.dim[0] != channels_of(&node->in[0]->shape).C)
        return sg_op_fail(node, "the bias needs one number a channel");
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status bias_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    SG_TRY(sg_accumulate(g, node->in[0], dy[0]));
    if (!sg_wants_grad(node->in[1])) return SG_OK;
    return sg_accumulate(g, node->in[1], sg_bias_db(g, dy[0]));
}

static sg_status bias_ref(const sg_args *args) {
    channels d = channels_of(&args->node->in[0]->shape);
    int64_t N = d.N, C = d.C, inner = d.inner;
    const float *x = args->in[0], *b = args->in[1];
    float *y = args->out[0];

    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            for (int64_t i = (n * C + c) * inner; i < (n * C + c + 1) * inner; i++)
                y[i] = x[i] + b[c];
    return SG_OK;
}

static sg_status bias_db_infer(sg_node *node) {
    SG_TRY(check_channels(node));
    sg_op_out(node, 0, SG_F32, sg_shape_1(channels_of(&node->in[0]->shape).C));
    return SG_OK;
}

static sg_status bias_db_ref(const sg_args *args) {
    channels d = channels_of(&args->node->in[0]->shape);
    int64_t N = d.N, C = d.C, inner = d.inner;
    const float *dy = args->in[0];
    float *db = args->out[0];

    for (int64_t c = 0; c < C; c++) {
        double sum = 0.0;

        for (int64_t n = 0; n < N; n++)
            for (int64_t i = (n * C + c) * inner; i < (n * C + c + 1) * inner; i++)
                sum += (double)dy[i];
        db[c] = (float)sum;
    }
    return SG_OK;
}

sg_value *sg_bias(sg_graph *g, sg_value *x, sg_value *b) {
    sg_value *in[] = {x, b};

    return sg_node_append(g, &sg_op_bias, in, 2, 2, NULL);
}

sg_value *sg_bias_db(sg_graph *g, sg_value *dy) {
    return sg_node_append(g, &sg_op_bias_db, &dy, 1, 1, NULL);
}

const sg_op sg_op_bias = {
    .name = "bias",
    .infer = bias_infer,
    .grad = bias_grad,
    .run = bias_ref,
    .inplace = {1},
};
const sg_op sg_op_bias_db = {
    .name = "bias_db",
    .infer = bias_db_infer,
    .run = bias_db_ref,
};
