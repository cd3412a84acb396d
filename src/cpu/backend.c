/* The CPU backend: a table from ops to selectors, and the layouts' sizes.
 *
 * Values of four dimensions stay in BLOCKED from the first convolution to the heads; filters are in
 * whatever format oneDNN wants, converted in the prologue. */
#define _GNU_SOURCE /* sched_setaffinity */
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "cpu/backend_cpu.h"
#include "cpu/blas.h"

typedef struct {
    const sg_op *op;
    sg_cpu_select select[2]; /* for blocks of 8 and of 16 channels */
} entry;

#define SG_CPU(name)         {&sg_op_##name, {sg_cpu_select_##name, sg_cpu_select_##name}},
#define SG_CPU_BLOCKED(name) {&sg_op_##name, {sg_cpu_select_##name##_8, sg_cpu_select_##name##_16}},
static const entry kKernels[] = {
#include "cpu/kernels.def"
};
#undef SG_CPU_BLOCKED
#undef SG_CPU

enum { kNumKernels = sizeof kKernels / sizeof *kKernels };

/* --- what kernels share ----------------------------------------------------------------------- */

sg_cpu_dims sg_cpu_dims_of(const sg_value *v, int block) {
    const sg_shape *s = &v->shape;
    sg_cpu_dims d = {1, 1, 1, 1, 1, 1};

    if (s->rank > 0) d.N = s->dim[0];
    if (s->rank > 1) d.C = s->dim[1];
    if (s->rank > 2) d.H = s->dim[2];
    if (s->rank > 3) d.W = s->dim[3];
    d.HW = d.H * d.W;
    d.blocks = (d.C + block - 1) / block;
    return d;
}

int64_t sg_cpu_floats(const sg_value *v, sg_layout layout, int block) {
    sg_cpu_dims d = sg_cpu_dims_of(v, block);

    return layout == SG_LAYOUT_BLOCKED ? d.N * d.blocks * block * d.HW : sg_shape_count(&v->shape);
}

static bool can_block(const sg_value *v) { return v->dtype == SG_F32 && v->shape.rank == 4; }

void sg_cpu_plan(sg_kernel_plan *plan, const sg_node *node, sg_kernel run, sg_layout layout) {
    plan->run = run;
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] && can_block(node->in[i])) plan->in[i] = layout;
    }
    for (int o = 0; o < node->n_out; o++) {
        if (can_block(&node->out[o])) plan->out[o] = layout;
    }
    snprintf(plan->label, sizeof plan->label, "cpu");
}

sg_layout sg_cpu_common_layout(const sg_node *node, const sg_layout have[]) {
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] && can_block(node->in[i]) && have[i] == SG_LAYOUT_BLOCKED)
            return SG_LAYOUT_BLOCKED;
    }
    return SG_LAYOUT_PLAIN;
}

sg_status sg_cpu_plan_state(sg_kernel_plan *plan, const void *state, size_t bytes) {
    plan->state = sg_malloc(bytes);
    if (!plan->state) return sg_fail(SG_ERR_OOM, "cpu: no memory for a kernel's state");
    memcpy(plan->state, state, bytes);
    plan->release = sg_free;
    return SG_OK;
}

/* --- the table of functions ------------------------------------------------------------------- */

static sg_status cpu_open(const sg_backend_options *options, void **context) {
    sg_cpu *cpu;
    sg_status st;

    SG_TRY(sg_blas_default_isa());
    cpu = sg_calloc(1, sizeof *cpu);
    if (!cpu) return sg_fail(SG_ERR_OOM, "cpu: no memory for a program");
    cpu->threads = options && options->op_threads > 1 ? options->op_threads : 1;
    st = sg_dnnl_open(cpu->threads, &cpu->dnnl);
    if (st != SG_OK) {
        sg_free(cpu);
        return st;
    }
    cpu->block = sg_cpu_block();
    *context = cpu;
    return SG_OK;
}

static void cpu_close(void *context) {
    sg_cpu *cpu = context;

    if (!cpu) return;
    sg_dnnl_close(cpu->dnnl);
    sg_free(cpu);
}

static sg_status cpu_select(void *context, const sg_node *node, const sg_layout have[],
                            sg_kernel_plan *plan) {
    const sg_cpu *cpu = context;

    for (int i = 0; i < kNumKernels; i++) {
        if (kKernels[i].op == node->op)
            return kKernels[i].select[cpu->block == 16](context, node, have, plan);
    }
    return sg_select_reference(node, plan);
}

static size_t cpu_bytes(void *context, const sg_value *v, sg_layout layout) {
    const sg_cpu *cpu = context;

    if (layout >= SG_LAYOUT_PRIVATE)
        return sg_dnnl_filter_bytes(cpu->dnnl, layout - SG_LAYOUT_PRIVATE);
    if (layout == SG_LAYOUT_BLOCKED)
        return (size_t)sg_cpu_floats(v, layout, cpu->block) * sizeof(float);
    return sg_value_bytes(v);
}

static sg_status cpu_convert(void *context, const sg_value *v, sg_layout from, sg_layout to,
                             sg_kernel_plan *plan) {
    const sg_cpu *cpu = context;

    return (cpu->block == 16 ? sg_cpu_convert_16 : sg_cpu_convert_8)(context, v, from, to, plan);
}

void sg_cpu_unbind(void) {
    int id[CPU_SETSIZE];
    cpu_set_t all;

    CPU_ZERO(&all);
    for (int p = 0; p < omp_get_num_places(); p++) {
        int n = omp_get_place_num_procs(p);

        if (n > CPU_SETSIZE) return;
        omp_get_place_proc_ids(p, id);
        for (int i = 0; i < n; i++)
            if (id[i] < CPU_SETSIZE) CPU_SET(id[i], &all);
    }
    if (CPU_COUNT(&all) > 0) (void)sched_setaffinity(0, sizeof all, &all);
}

/* oneDNN's ops set their number of threads themselves; this is for whatever else uses OpenMP. */
static void cpu_enter_thread(void) { omp_set_num_threads(1); }

const sg_backend sg_backend_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .select = cpu_select,
    .bytes = cpu_bytes,
    .convert = cpu_convert,
    .enter_thread = cpu_enter_thread,
};
