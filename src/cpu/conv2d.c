/* Convolution, its gradients: oneDNN's direct kernels on BLOCKED.
 *
 * oneDNN is told channel counts rounded up to a multiple of kBlock, so that none of its tensors has
 * padding of its own; filters and biases are padded with zeros, which keeps padding channels zero
 * (both activations are 0 at 0). A first layer of less than kBlock channels (a picture) is read
 * PLAIN. What has no kernel in BLOCKED runs PLAIN, slowly.
 *
 * SiLU is a pass of our own over the output: fused into oneDNN's kernels it costs more (the nano
 * detector's inference of a picture, one thread: 8.75 against 8.15 ms). */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "cpu/backend_cpu.h"
#include "cpu/conv2d_dw.h"
#include "cpu/parts.h"
#include "cpu/simd.h"

typedef struct {
    sg_dnnl_op *op; /* owned */
    bool bias;
    int64_t OC;  /* of the bias as it is */
    int64_t OCP; /* as oneDNN reads it */
    size_t op_scratch;
    int64_t silu; /* floats of the output to put through SiLU, 0: none */
    int threads;
} conv_state;

static int64_t round_up(int64_t c) { return (c + kBlock - 1) / kBlock * kBlock; }

static void conv_release(void *state) {
    conv_state *s = state;

    if (s) sg_dnnl_op_destroy(s->op);
    sg_free(s);
}

typedef struct {
    float *y;
    int64_t count;
} silu_range;

static void silu_part(const void *context, int64_t part, int64_t parts) {
    const silu_range *r = context;
    int64_t blocks = round_up(r->count) / kBlock;
    int64_t i = sg_cpu_part_begin(blocks, part, parts) * kBlock;
    int64_t end = sg_cpu_part_begin(blocks, part + 1, parts) * kBlock;
    float *y = r->y;

    for (; i < end && i + kBlock <= r->count; i += kBlock)
        vec_store(y + i, vec_silu(vec_load(y + i)));
    if (i < end) {
        int n = (int)(r->count - i);

        vec_store_some(y + i, n, vec_silu(vec_load_some(y + i, n)));
    }
}

static sg_status conv_run(const sg_args *a) {
    const conv_state *s = a->state;
    const void *in[3] = {a->in[0], a->in[1], s->bias ? a->in[2] : NULL};

    if (s->bias && s->OC != s->OCP) {
        float *b = (float *)((char *)a->scratch + s->op_scratch);

        memset(b, 0, (size_t)s->OCP * sizeof(float));
        memcpy(b, a->in[2], (size_t)s->OC * sizeof(float));
        in[2] = b;
    }
    SG_TRY(sg_dnnl_op_run(s->op, in, a->out[0], a->scratch));
    if (s->silu) sg_cpu_in_parts(s->threads, silu_part, &(silu_range){a->out[0], s->silu});
    return SG_OK;
}

/* Whether BLOCKED can hold the tensors, and the padded channels. */
static bool block_channels(sg_dnnl_conv *c) {
    if (c->groups == 1) {
        c->IC = round_up(c->IC);
        c->OC = round_up(c->OC);
        return true;
    }
    if (c->groups == c->IC && c->groups == c->OC) { /* depthwise */
        c->groups = c->IC = c->OC = round_up(c->IC);
        return true;
    }
    return c->IC / c->groups % kBlock == 0 && c->OC / c->groups % kBlock == 0;
}

static sg_dnnl_conv describe(sg_dnnl_pass pass, const sg_conv_options *o, const sg_shape *x,
                             const sg_shape *w, const sg_shape *y) {
    sg_dnnl_conv c = {.pass = pass,
                      .N = x->dim[0],
                      .IC = x->dim[1],
                      .IH = x->dim[2],
                      .IW = x->dim[3],
                      .OC = y->dim[1],
                      .OH = y->dim[2],
                      .OW = y->dim[3],
                      .KH = w->dim[2],
                      .KW = w->dim[3],
                      .stride = o->stride,
                      .pad = o->pad,
                      .groups = o->groups,
                      .block = kBlock};

    return c;
}

/* oneDNN's own reference is a hundred times slower than its generated kernels. */
static bool is_slow(const sg_dnnl_op *op) { return strncmp(sg_dnnl_op_label(op), "ref", 3) == 0; }

/* The primitive for channels as `wanted` counts them. In BLOCKED if there is a kernel for it, else
 * PLAIN (im2col and a matrix product): oneDNN 2.6 lacks one for groups of less than 8 channels and
 * for gradients of filters that reach beyond a map on both sides (3x3 on 2x2). */
static sg_status create_op(sg_cpu *cpu, const sg_dnnl_conv *wanted, bool picture, sg_dnnl_conv *c,
                           sg_dnnl_op **op, int *format) {
    *c = *wanted;
    if (block_channels(c)) {
        if (picture) c->IC = wanted->IC;
        c->plain_x = picture;
        SG_TRY(sg_dnnl_conv_create(cpu->dnnl, c, op, format));
        if (!is_slow(*op)) return SG_OK;
        sg_dnnl_op_destroy(*op);
    }
    *c = *wanted;
    c->plain_x = c->plain_y = true;
    return sg_dnnl_conv_create(cpu->dnnl, c, op, format);
}

/* Choose the layouts, create the primitive, fill what does not depend on the pass. */
static sg_status plan_conv(sg_cpu *cpu, const sg_dnnl_conv *wanted, bool picture,
                           sg_kernel_plan *plan, sg_layout *x, sg_layout *w, sg_layout *y) {
    conv_state *s = sg_calloc(1, sizeof *s);
    sg_dnnl_conv c;
    int format;
    sg_status st;

    if (!s) return sg_fail(SG_ERR_OOM, "cpu: no memory for a convolution");
    st = create_op(cpu, wanted, picture, &c, &s->op, &format);
    if (st != SG_OK) {
        sg_free(s);
        return st;
    }
    s->bias = c.bias;
    s->threads = cpu->threads;
    s->OC = wanted->OC;
    s->OCP = c.OC;
    s->op_scratch = sg_dnnl_op_scratch(s->op);
    *x = c.plain_x ? SG_LAYOUT_PLAIN : SG_LAYOUT_BLOCKED;
    *w = SG_LAYOUT_PRIVATE + format;
    *y = c.plain_y ? SG_LAYOUT_PLAIN : SG_LAYOUT_BLOCKED;
    plan->run = conv_run;
    plan->state = s;
    plan->release = conv_release;
    plan->scratch = s->op_scratch;
    if (c.bias && s->OC != s->OCP) plan->scratch += (size_t)s->OCP * sizeof(float);
    plan->flop = 2.0 * (double)(wanted->N * wanted->OC * wanted->OH * wanted->OW) *
                 (double)(wanted->IC / wanted->groups * wanted->KH * wanted->KW);
    snprintf(plan->label, sizeof plan->label, "onednn %s", sg_dnnl_op_label(s->op));
    return SG_OK;
}

/* A picture: few channels, at hand as PLAIN. oneDNN's AVX2 kernels read 1 or 3 so. */
static bool is_picture(const sg_dnnl_conv *c, sg_layout have) {
    return (c->IC == 3 || c->IC == 1) && c->groups == 1 && have == SG_LAYOUT_PLAIN;
}

sg_status SG_BLOCKED(sg_cpu_select_conv2d)(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                           sg_kernel_plan *plan) {
    const sg_conv_attr *attr = node->attr;
    sg_dnnl_conv c = describe(SG_DNNL_FORWARD, &attr->options, &node->in[0]->shape,
                              &node->in[1]->shape, &node->out[0].shape);

    c.bias = node->n_in > 2 && node->in[2];
    c.relu = attr->options.act == SG_ACT_RELU;
    SG_TRY(plan_conv(cpu, &c, is_picture(&c, have[0]), plan, &plan->in[0], &plan->in[1],
                     &plan->out[0]));
    if (attr->options.act == SG_ACT_SILU)
        ((conv_state *)plan->state)->silu = sg_cpu_floats(&node->out[0], plan->out[0], kBlock);
    return SG_OK;
}

sg_status SG_BLOCKED(sg_cpu_select_conv2d_dx)(sg_cpu *cpu, const sg_node *node,
                                              const sg_layout have[], sg_kernel_plan *plan) {
    const sg_conv_attr *attr = node->attr;
    sg_dnnl_conv c = describe(SG_DNNL_DATA, &attr->options, &node->out[0].shape,
                              &node->in[0]->shape, &node->in[1]->shape);

    (void)have;
    return plan_conv(cpu, &c, false, plan, &plan->out[0], &plan->in[0], &plan->in[1]);
}

sg_status SG_BLOCKED(sg_cpu_select_conv2d_dw)(sg_cpu *cpu, const sg_node *node,
                                              const sg_layout have[], sg_kernel_plan *plan) {
    const sg_conv_attr *attr = node->attr;
    sg_dnnl_conv c = describe(SG_DNNL_WEIGHTS, &attr->options, &node->in[0]->shape,
                              &node->out[0].shape, &node->in[1]->shape);

    if (!is_picture(&c, have[0]) && SG_BLOCKED(sg_cpu_own_dw)(node))
        return SG_BLOCKED(sg_cpu_plan_own_dw)(node, plan);
    return plan_conv(cpu, &c, is_picture(&c, have[0]), plan, &plan->in[0], &plan->out[0],
                     &plan->in[1]);
}
