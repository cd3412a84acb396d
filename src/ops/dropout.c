/* Dropout (Srivastava et al., 2014), the inverted form: nothing is to be done in inference.
 *
 *   y_i = x_i / (1 - p)  where word i % 4 of Philox at counter i / 4 is at least p 2^32, else 0
 *
 * i is the element's place in row-major order. The key is made of seed, step, the op's name and the
 * shard: the first two come from the step block, as a step is recorded once on a device and
 * replayed; the name is an attribute, the shard the same in every step. A mask is thus a function,
 * the same on every backend, and nothing of it is kept: the gradient, dx_i = dy_i / (1 - p) under
 * the same mask, is this op again with the same name. A dropped element is 0 whatever it was. */
#include "ops/ops.h"

#include "core/philox.h"

uint64_t sg_dropout_place(const sg_dropout_attr *attr, int32_t shard) {
    return sg_key_mix(attr->name, (uint64_t)shard);
}

uint64_t sg_dropout_key(const int32_t step_key[2], uint64_t place) {
    uint64_t step = (uint32_t)step_key[0] | (uint64_t)(uint32_t)step_key[1] << 32;

    return sg_key_mix(step, place);
}

uint32_t sg_dropout_threshold(const sg_dropout_attr *attr) {
    return (uint32_t)((double)attr->p * 4294967296.0);
}

float sg_dropout_scale(const sg_dropout_attr *attr) {
    return (float)(1.0 / (1.0 - (double)attr->p));
}

static sg_status dropout_infer(sg_node *node) {
    const sg_dropout_attr *attr = node->attr;

    SG_TRY(sg_op_expect(node, 0, SG_F32, -1));
    SG_TRY(sg_op_expect(node, 1, SG_I32, 1));
    if (node->in[1]->shape.dim[0] != 2) return sg_op_fail(node, "the key needs two words");
    if (!(attr->p >= 0.0f && attr->p < 1.0f))
        return sg_op_fail(node, "the share to drop must be at least 0 and below 1, is %g",
                          (double)attr->p);
    sg_op_out(node, 0, SG_F32, node->in[0]->shape);
    return SG_OK;
}

static sg_status dropout_grad(sg_graph *g, sg_node *node, sg_value *const dy[]) {
    const sg_dropout_attr *attr = node->attr;

    if (!sg_wants_grad(node->in[0])) return SG_OK;
    return sg_accumulate(g, node->in[0],
                         sg_dropout_keyed(g, dy[0], node->in[1], attr->p, attr->name));
}

static sg_status dropout_ref(const sg_args *args) {
    const sg_dropout_attr *attr = args->node->attr;
    int64_t n = sg_shape_count(&args->node->out[0].shape);
    uint64_t key = sg_dropout_key(args->in[1], sg_dropout_place(attr, args->info->shard));
    uint32_t threshold = sg_dropout_threshold(attr);
    float scale = sg_dropout_scale(attr);
    const float *x = args->in[0];
    float *y = args->out[0];

    for (int64_t i = 0; i < n; i++) {
        uint32_t word = sg_philox(key, (uint64_t)i / 4, 0).word[i % 4];

        y[i] = word >= threshold ? scale * x[i] : 0.0f;
    }
    return SG_OK;
}

sg_value *sg_dropout_keyed(sg_graph *g, sg_value *x, sg_value *key, float p, uint64_t name) {
    sg_value *in[] = {x, key};
    sg_dropout_attr attr = {p, name};

    return sg_node_append(g, &sg_op_dropout, in, 2, 2, &attr);
}

sg_value *sg_step_key(sg_graph *g) {
    return sg_view_of(g, SG_I32, SG_BUF_STEP, SG_STEP_KEY * (int64_t)sizeof(float), sg_shape_1(2));
}

sg_value *sg_dropout(sg_graph *g, sg_value *x, float p) {
    sg_value *y;

    if (p == 0.0f || sg_graph_mode(g) != SG_TRAIN) return x;
    y = sg_dropout_keyed(g, x, sg_step_key(g), p, 0);
    if (y) ((sg_dropout_attr *)y->node->attr)->name = sg_key_name(y->node->name);
    return y;
}

const sg_op sg_op_dropout = {
    .name = "dropout",
    .attr_size = sizeof(sg_dropout_attr),
    .infer = dropout_infer,
    .grad = dropout_grad,
    .run = dropout_ref,
    .random = true,
    .inplace = {1},
};
