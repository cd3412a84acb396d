/* Inside the CPU backend: its context, what its kernels share, and its public switch. */
#ifndef SG_CPU_BACKEND_CPU_H
#define SG_CPU_BACKEND_CPU_H

#include "cpu/cpu.h"
#include "cpu/dnnl.h"
#include "graph/backend.h"
#include "ops/ops.h"

typedef struct {
    sg_dnnl *dnnl; /* owned; its filter formats are the private layouts, in order */
} sg_cpu;

/* A value as kernels see it: N pictures of `blocks` channel blocks of HW rows of 8 floats in NC8.
 */
typedef struct {
    int64_t N, C, H, W;
    int64_t HW, blocks; /* H * W, ceil(C / 8) */
} sg_cpu_dims;

/* Of a value of any rank: (N, C, H, W), absent dimensions 1. */
sg_cpu_dims sg_cpu_dims_of(const sg_value *v);
/* Floats of `v` in PLAIN or NC8, padding included. */
int64_t sg_cpu_floats(const sg_value *v, sg_layout layout);

/* Fill `plan`: our own kernel, all 4-dimensional f32 values in `layout`, the rest PLAIN. */
void sg_cpu_plan(sg_kernel_plan *plan, const sg_node *node, sg_kernel run, sg_layout layout);
/* NC8 if a 4-dimensional input exists in it, PLAIN otherwise. */
sg_layout sg_cpu_common_layout(const sg_node *node, const sg_layout have[]);

/* A copy of `state` that the step owns and sg_free releases. */
sg_status sg_cpu_plan_state(sg_kernel_plan *plan, const void *state, size_t bytes) SG_CHECKED;

/* layout.c: PLAIN <-> NC8 of f32 (N, C, H, W) and back, zeroing the padding channels. */
void sg_cpu_pack_nc8(const float *x, float *y, int64_t N, int64_t C, int64_t HW);
void sg_cpu_unpack_nc8(const float *x, float *y, int64_t N, int64_t C, int64_t HW);
sg_status sg_cpu_convert(void *context, const sg_value *v, sg_layout from, sg_layout to,
                         sg_kernel_plan *plan) SG_CHECKED;

/* `have` as in sg_backend; the plan comes zeroed. */
typedef sg_status (*sg_cpu_select)(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                   sg_kernel_plan *plan);
#define SG_CPU(name)                                                                               \
    sg_status sg_cpu_select_##name(sg_cpu *cpu, const sg_node *node, const sg_layout have[],       \
                                   sg_kernel_plan *plan) SG_CHECKED;
#include "cpu/kernels.def"
#undef SG_CPU

#endif
