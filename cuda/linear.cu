/* Matrix products, and linear layers and their gradients: a product of cuBLASLt's with its
 * epilogue, where it has that (vendor.h), else the bare product and a kernel of ours after it. At
 * SG_CUDA_BF16 all matrices are bf16 but the gradients of parameters, which are added over shards
 * and steps. */
#include <stdio.h>

#include "channels.h"
#include "core/mem.h"
#include "epilogue.h"
#include "vendor/vendor.h"

typedef struct {
    sg_vendor_plan *plan; /* owned; NULL: there is nothing to add up */
    size_t zero_bytes;    /* of the output then */
    sg_layout layout;
    sg_act act;
    bool rest; /* the epilogue is ours */
    sg_cuda_pixels sums;
} linear_state;

static void linear_release(void *state) {
    linear_state *s = static_cast<linear_state *>(state);

    if (s) sg_vendor_plan_destroy(s->plan);
    sg_free(s);
}

static const linear_state *state_of(const sg_args *a) {
    return static_cast<const linear_state *>(a->state);
}

/* The product, with what the library does beside. Its first output is `out`. */
static sg_status multiply(const sg_args *a, void *out, void *second) {
    const linear_state *s = state_of(a);
    void *const outs[] = {out, second};

    if (s->plan) return sg_vendor_plan_run(s->plan, a->in, outs, a->scratch, a->queue);
    return s->zero_bytes ? sg_vendor_zero(out, s->zero_bytes, a->queue) : SG_OK;
}

/* Where the epilogue is ours and z is kept, the product goes there. */
static sg_status linear_run(const sg_args *a) {
    const linear_state *s = state_of(a);
    void *z = a->node->n_out > 1 ? a->out[1] : NULL;

    SG_TRY(multiply(a, s->rest && z ? z : a->out[0], z));
    if (!s->rest) return SG_OK;
    return sg_cuda_epilogue(a, s->layout, static_cast<const float *>(a->in[2]), z, s->act);
}

static sg_status matmul_run(const sg_args *a) { return multiply(a, a->out[0], NULL); }

static sg_status linear_dx_run(const sg_args *a) {
    const linear_state *s = state_of(a);

    SG_TRY(multiply(a, a->out[0], NULL));
    return s->rest ? sg_cuda_slope(a, s->layout, a->in[2], s->act) : SG_OK;
}

static sg_status linear_dw_run(const sg_args *a) {
    const linear_state *s = state_of(a);
    void *db = a->node->n_out > 1 ? a->out[1] : NULL;

    SG_TRY(multiply(a, a->out[0], db));
    return s->rest ? sg_cuda_bias_db(a, s->sums, s->layout, static_cast<float *>(db)) : SG_OK;
}

/* --- selection -------------------------------------------------------------------------------- */

static sg_status plan_product(sg_cuda *cuda, const sg_node *node, const sg_vendor_matmul *m,
                              linear_state *s, sg_kernel_plan *plan) {
    s->rest = m->epilogue != SG_EPILOGUE_NONE;
    if (m->M == 0 || m->N == 0 || m->K == 0) {
        s->zero_bytes =
            sg_backend_cuda.bytes(cuda, &node->out[0], m->f32_out ? SG_CUDA_PLAIN : s->layout);
        return SG_OK;
    }
    SG_TRY(sg_vendor_plan_matmul(cuda->vendor, m, &s->plan));
    plan->scratch = sg_vendor_plan_scratch(s->plan);
    plan->flop = 2.0 * (double)m->M * (double)m->N * (double)m->K;
    snprintf(plan->label, sizeof plan->label, "%s", sg_vendor_plan_label(s->plan));
    s->rest = s->rest && !sg_vendor_plan_fused(s->plan);
    return SG_OK;
}

/* Fill the plan for the product `m`, whose precision and epilogue's activation are still open.
 * *out: its state, which the plan owns. */
static sg_status select_product(sg_cuda *cuda, const sg_node *node, sg_kernel run,
                                sg_vendor_matmul *m, sg_act act, sg_kernel_plan *plan,
                                linear_state **out) {
    linear_state *s = static_cast<linear_state *>(sg_calloc(1, sizeof *s));
    sg_status st;

    if (!s) return sg_fail(SG_ERR_OOM, "%s: no memory for a kernel's state", node->name);
    s->layout = sg_cuda_product_layout(cuda);
    s->act = m->act = act;
    m->precision = cuda->precision;
    sg_cuda_plan(plan, node, run, s->layout);
    st = plan_product(cuda, node, m, s, plan);
    if (st != SG_OK) {
        linear_release(s);
        return st;
    }
    plan->state = *out = s;
    plan->release = linear_release;
    return SG_OK;
}

static sg_vendor_matmul product_of(int64_t M, int64_t N, int64_t K) {
    sg_vendor_matmul m = {};

    m.M = M;
    m.N = N;
    m.K = K;
    return m;
}

/* With a transposed first operand the sums run over rows: the gradient of a parameter. */
extern "C" sg_status sg_cuda_select_matmul(sg_cuda *cuda, const sg_node *node, const sg_layout *,
                                           sg_kernel_plan *plan) {
    const sg_matmul_attr *attr = static_cast<const sg_matmul_attr *>(node->attr);
    const sg_shape *y = &node->out[0].shape;
    sg_vendor_matmul m =
        product_of(y->dim[0], y->dim[1], node->in[0]->shape.dim[attr->transpose_a ? 0 : 1]);
    linear_state *s = NULL;

    m.transpose_a = attr->transpose_a;
    m.transpose_b = attr->transpose_b;
    m.f32_out = cuda->precision == SG_CUDA_BF16 && attr->transpose_a;
    SG_TRY(select_product(cuda, node, matmul_run, &m, SG_ACT_NONE, plan, &s));
    if (m.f32_out) plan->out[0] = SG_CUDA_PLAIN;
    return SG_OK;
}

extern "C" sg_status sg_cuda_select_linear(sg_cuda *cuda, const sg_node *node, const sg_layout *,
                                           sg_kernel_plan *plan) {
    const sg_linear_attr *attr = static_cast<const sg_linear_attr *>(node->attr);
    sg_linear_sizes n = sg_linear_sizes_of(node);
    sg_vendor_matmul m = product_of(n.M, n.O, n.K);
    linear_state *s = NULL;

    m.transpose_b = true;
    m.bias = node->in[2] != NULL;
    m.keep_z = attr->keep_z;
    if (m.bias || attr->act != SG_ACT_NONE) m.epilogue = SG_EPILOGUE_ACT;
    SG_TRY(select_product(cuda, node, linear_run, &m, attr->act, plan, &s));
    /* the library's bias has the type of its result, ours is f32 */
    if (m.bias && !s->rest) plan->in[2] = s->layout;
    return SG_OK;
}

extern "C" sg_status sg_cuda_select_linear_dx(sg_cuda *cuda, const sg_node *node, const sg_layout *,
                                              sg_kernel_plan *plan) {
    const sg_linear_attr *attr = static_cast<const sg_linear_attr *>(node->attr);
    sg_linear_sizes n = sg_linear_sizes_of(node);
    sg_vendor_matmul m = product_of(n.M, n.K, n.O);
    linear_state *s = NULL;

    if (node->in[2]) m.epilogue = SG_EPILOGUE_SLOPE;
    return select_product(cuda, node, linear_dx_run, &m, node->in[2] ? attr->act : SG_ACT_NONE,
                          plan, &s);
}

extern "C" sg_status sg_cuda_select_linear_dw(sg_cuda *cuda, const sg_node *node, const sg_layout *,
                                              sg_kernel_plan *plan) {
    sg_linear_sizes n = sg_linear_sizes_of(node);
    sg_vendor_matmul m = product_of(n.O, n.K, n.M);
    linear_state *s = NULL;

    m.transpose_a = true;
    m.f32_out = cuda->precision == SG_CUDA_BF16;
    if (node->n_out > 1) m.epilogue = SG_EPILOGUE_SUMS;
    SG_TRY(select_product(cuda, node, linear_dw_run, &m, SG_ACT_NONE, plan, &s));
    plan->out[0] = SG_CUDA_PLAIN;
    if (!s->rest) return SG_OK;
    s->sums = sg_cuda_bias_db_pixels(node->in[0], s->layout);
    if (plan->scratch < sg_cuda_bias_db_scratch(s->sums))
        plan->scratch = sg_cuda_bias_db_scratch(s->sums);
    return SG_OK;
}
