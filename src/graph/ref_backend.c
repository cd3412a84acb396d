/* The reference backend: every op's plain C kernel, in plain layouts, on one thread. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "graph/backend.h"
#include "ops/ops.h"

sg_status sg_select_reference(const sg_node *node, sg_kernel_plan *plan) {
    if (!node->op->run)
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: %s has no reference kernel", node->name,
                       node->op->name);
    plan->run = node->op->run;
    for (int o = 0; o < SG_MAX_OUT; o++) plan->inplace[o] = node->op->inplace[o] - 1;
    snprintf(plan->label, sizeof plan->label, "ref");
    return SG_OK;
}

static sg_status open_ref(const sg_backend_options *options, void **context) {
    (void)options;
    *context = NULL;
    return SG_OK;
}

static void close_ref(void *context) { (void)context; }

static sg_status select_ref(void *context, const sg_node *node, const sg_layout have[],
                            sg_kernel_plan *plan) {
    (void)context;
    (void)have;
    return sg_select_reference(node, plan);
}

static size_t bytes_ref(void *context, const sg_value *v, sg_layout layout) {
    (void)context;
    (void)layout;
    return sg_value_bytes(v);
}

static sg_status copy_ref(const sg_args *a) {
    memcpy(a->out[0], a->in[0], *(const size_t *)a->state);
    return SG_OK;
}

static sg_status convert_ref(void *context, const sg_value *v, sg_layout from, sg_layout to,
                             sg_kernel_plan *plan) {
    size_t *bytes = sg_malloc(sizeof *bytes);

    (void)context;
    (void)from;
    (void)to;
    if (!bytes) return sg_fail(SG_ERR_OOM, "%s: no memory for a copy", v->node->name);
    *bytes = sg_value_bytes(v);
    plan->run = copy_ref;
    plan->state = bytes;
    plan->release = sg_free;
    snprintf(plan->label, sizeof plan->label, "ref");
    return SG_OK;
}

const sg_backend sg_backend_ref = {
    .name = "ref",
    .open = open_ref,
    .close = close_ref,
    .select = select_ref,
    .bytes = bytes_ref,
    .convert = convert_ref,
};
