/* Convolution and its gradients: which library call serves a node.
 *
 * Pictures are N H W C and filters OC KH KW C', each in f32, at SG_CUDA_BF16 in bf16: for a value
 * of four dimensions that is one layout. Parameters are kept PLAIN in f32, so the planner converts
 * filters once a step in the prologue, and their gradients on the way to the flat buffer. */
#include <stdio.h>

#include "core/mem.h"
#include "epilogue.h"
#include "vendor/vendor.h"

typedef struct {
    sg_vendor_plan *plan; /* owned; NULL: there is nothing to add up */
    size_t zero_bytes;    /* of the output then */
    sg_layout layout;
    bool bias; /* what is left to the epilogue */
    sg_act act;
} conv_state;

static void conv_release(void *state) {
    conv_state *s = state;

    if (s) sg_vendor_plan_destroy(s->plan);
    sg_free(s);
}

static sg_status conv_run(const sg_args *a) {
    const conv_state *s = a->state;

    if (s->plan) SG_TRY(sg_vendor_plan_run(s->plan, a->in, a->out, a->scratch, a->queue));
    if (s->zero_bytes) SG_TRY(sg_vendor_zero(a->out[0], s->zero_bytes, a->queue));
    if (!s->bias && s->act == SG_ACT_NONE) return SG_OK;
    return sg_cuda_epilogue(a, s->layout, s->bias ? a->in[2] : NULL, NULL, s->act);
}

static sg_vendor_conv describe(const sg_cuda *cuda, sg_conv_pass pass, const sg_conv_options *o,
                               const sg_shape *x, const sg_shape *w, const sg_shape *y) {
    sg_vendor_conv c = {.pass = pass,
                        .precision = cuda->precision,
                        .N = x->dim[0],
                        .C = x->dim[1],
                        .H = x->dim[2],
                        .W = x->dim[3],
                        .OC = w->dim[0],
                        .KH = w->dim[2],
                        .KW = w->dim[3],
                        .OH = y->dim[2],
                        .OW = y->dim[3],
                        .stride = o->stride,
                        .pad = o->pad,
                        .groups = o->groups};

    return c;
}

static bool is_empty(const sg_vendor_conv *c) { return c->N == 0 || c->C == 0 || c->OC == 0; }

/* Fill the plan from a state, which it owns from then on. */
static sg_status plan_conv(sg_cuda *cuda, const sg_node *node, const sg_vendor_conv *c,
                           conv_state *s, sg_kernel_plan *plan) {
    sg_cuda_plan(plan, node, conv_run, s->layout);
    plan->state = s;
    plan->release = conv_release;
    if (is_empty(c)) {
        s->zero_bytes = sg_backend_cuda.bytes(cuda, &node->out[0], s->layout);
        s->bias = c->bias;
        s->act = c->act;
        return SG_OK;
    }
    SG_TRY(sg_vendor_plan_conv(cuda->vendor, c, &s->plan));
    plan->scratch = sg_vendor_plan_scratch(s->plan);
    plan->flop =
        2.0 * (double)(c->N * c->OC * c->OH * c->OW) * (double)(c->C / c->groups * c->KH * c->KW);
    snprintf(plan->label, sizeof plan->label, "%s", sg_vendor_plan_label(s->plan));
    if (sg_vendor_plan_fused(s->plan)) return SG_OK;
    s->bias = c->bias;
    s->act = c->act;
    return SG_OK;
}

static sg_status select_conv(sg_cuda *cuda, const sg_node *node, const sg_vendor_conv *c,
                             sg_kernel_plan *plan) {
    conv_state *s = sg_calloc(1, sizeof *s);
    sg_status st;

    if (!s) return sg_fail(SG_ERR_OOM, "%s: no memory for a kernel's state", node->name);
    s->layout = cuda->precision == SG_CUDA_BF16 ? SG_CUDA_NHWC_BF16 : SG_CUDA_NHWC;
    st = plan_conv(cuda, node, c, s, plan);
    if (st == SG_OK) return SG_OK;
    conv_release(s);
    plan->state = NULL;
    plan->release = NULL;
    return st;
}

sg_status sg_cuda_select_conv2d(sg_cuda *cuda, const sg_node *node, const sg_layout have[],
                                sg_kernel_plan *plan) {
    const sg_conv_attr *attr = node->attr;
    sg_vendor_conv c = describe(cuda, SG_CONV_FORWARD, &attr->options, &node->in[0]->shape,
                                &node->in[1]->shape, &node->out[0].shape);

    (void)have;
    c.bias = node->n_in > 2 && node->in[2];
    c.act = attr->options.act;
    return select_conv(cuda, node, &c, plan);
}

sg_status sg_cuda_select_conv2d_dx(sg_cuda *cuda, const sg_node *node, const sg_layout have[],
                                   sg_kernel_plan *plan) {
    const sg_conv_attr *attr = node->attr;
    sg_vendor_conv c = describe(cuda, SG_CONV_DX, &attr->options, &node->out[0].shape,
                                &node->in[0]->shape, &node->in[1]->shape);

    (void)have;
    return select_conv(cuda, node, &c, plan);
}

sg_status sg_cuda_select_conv2d_dw(sg_cuda *cuda, const sg_node *node, const sg_layout have[],
                                   sg_kernel_plan *plan) {
    const sg_conv_attr *attr = node->attr;
    sg_vendor_conv c = describe(cuda, SG_CONV_DW, &attr->options, &node->in[0]->shape,
                                &node->out[0].shape, &node->in[1]->shape);

    (void)have;
    return select_conv(cuda, node, &c, plan);
}
