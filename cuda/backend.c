/* The CUDA backend: a table from ops to selectors, and the layouts' sizes. Pictures stay N H W C
 * from the first convolution to the heads, matrices bf16 from the first product to the loss. */
#include "backend_cuda.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "vendor/vendor.h"

typedef struct {
    const sg_op *op;
    sg_cuda_select select;
} entry;

#define SG_CUDA(name) {&sg_op_##name, sg_cuda_select_##name},
static const entry kKernels[] = {
#include "kernels.def"
};
#undef SG_CUDA

enum { kNumKernels = sizeof kKernels / sizeof *kKernels };

/* --- what launchers share --------------------------------------------------------------------- */

sg_cuda_dims sg_cuda_dims_of(const sg_value *v) {
    const sg_shape *s = &v->shape;
    sg_cuda_dims d = {1, 1, 1, 1, 1, 1};

    if (s->rank > 0) d.N = s->dim[0];
    if (s->rank > 1) d.C = s->dim[1];
    if (s->rank > 2) d.H = s->dim[2];
    if (s->rank > 3) d.W = s->dim[3];
    d.HW = d.H * d.W;
    d.count = d.N * d.C * d.HW;
    return d;
}

bool sg_cuda_is_picture(const sg_value *v) { return v->dtype == SG_F32 && v->shape.rank == 4; }

bool sg_cuda_is_matrix(const sg_value *v) {
    return v->dtype == SG_F32 && (v->shape.rank == 2 || v->shape.rank == 3);
}

bool sg_cuda_is_bf16(sg_layout layout) { return layout >= SG_CUDA_PLAIN_BF16; }

bool sg_cuda_is_nhwc(sg_layout layout) {
    return layout == SG_CUDA_NHWC || layout == SG_CUDA_NHWC_BF16;
}

sg_layout sg_cuda_layout_of(const sg_value *v, sg_layout layout) {
    if (sg_cuda_is_picture(v)) return layout;
    return sg_cuda_is_matrix(v) && sg_cuda_is_bf16(layout) ? SG_CUDA_PLAIN_BF16 : SG_CUDA_PLAIN;
}

sg_layout sg_cuda_common_layout(const sg_node *node, const sg_layout have[]) {
    for (int i = 0; i < node->n_in; i++) {
        const sg_value *x = node->in[i];

        if (x && have[i] != SG_CUDA_PLAIN && (sg_cuda_is_picture(x) || sg_cuda_is_matrix(x)))
            return have[i];
    }
    return SG_CUDA_PLAIN;
}

sg_layout sg_cuda_product_layout(const sg_cuda *cuda) {
    return cuda->precision == SG_CUDA_BF16 ? SG_CUDA_PLAIN_BF16 : SG_CUDA_PLAIN;
}

void sg_cuda_plan(sg_kernel_plan *plan, const sg_node *node, sg_kernel run, sg_layout layout) {
    plan->run = run;
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i]) plan->in[i] = sg_cuda_layout_of(node->in[i], layout);
    }
    for (int o = 0; o < node->n_out; o++) plan->out[o] = sg_cuda_layout_of(&node->out[o], layout);
    snprintf(plan->label, sizeof plan->label, "cuda");
}

sg_status sg_cuda_plan_state(sg_kernel_plan *plan, const void *state, size_t bytes) {
    plan->state = sg_malloc(bytes);
    if (!plan->state) return sg_fail(SG_ERR_OOM, "cuda: no memory for a kernel's state");
    memcpy(plan->state, state, bytes);
    plan->release = sg_free;
    return SG_OK;
}

/* --- the table of functions ------------------------------------------------------------------- */

static sg_cuda defaults; /* sg_cuda_use */

void sg_cuda_use(sg_cuda_precision precision, sg_cuda_vendor *vendor) {
    defaults.precision = precision;
    defaults.vendor = vendor;
}

static sg_status cuda_open(const sg_backend_options *options, void **context) {
    sg_cuda *cuda = sg_calloc(1, sizeof *cuda);

    (void)options;
    if (!cuda) return sg_fail(SG_ERR_OOM, "cuda: no memory for a program");
    *cuda = defaults;
    if (!cuda->vendor) {
        sg_status st = sg_cuda_vendor_create(NULL, &cuda->vendor);

        if (st != SG_OK) {
            sg_free(cuda);
            return st;
        }
        cuda->owns_vendor = true;
    }
    *context = cuda;
    return SG_OK;
}

static void cuda_close(void *context) {
    sg_cuda *cuda = context;

    if (cuda->owns_vendor) sg_cuda_vendor_destroy(cuda->vendor);
    sg_free(cuda);
}

static sg_status cuda_select(void *context, const sg_node *node, const sg_layout have[],
                             sg_kernel_plan *plan) {
    for (int i = 0; i < kNumKernels; i++) {
        if (kKernels[i].op == node->op) return kKernels[i].select(context, node, have, plan);
    }
    return sg_fail(SG_ERR_UNSUPPORTED, "%s: cuda has no kernel for the op %s", node->name,
                   node->op->name);
}

static size_t cuda_bytes(void *context, const sg_value *v, sg_layout layout) {
    (void)context;
    if (layout >= SG_LAYOUT_PRIVATE) return (size_t)sg_shape_count(&v->shape) * sizeof(uint16_t);
    return sg_value_bytes(v);
}

static bool cuda_is_row_major(sg_layout layout) { return !sg_cuda_is_nhwc(layout); }

const sg_backend sg_backend_cuda = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .select = cuda_select,
    .bytes = cuda_bytes,
    .convert = sg_cuda_convert,
    .is_row_major = cuda_is_row_major,
    .enter_thread = sg_cuda_enter_thread,
    .device = &sg_cuda_device,
};
