/* Inside the CPU backend: its context, what its kernels share, and its public switch. */
#ifndef SG_CPU_BACKEND_CPU_H
#define SG_CPU_BACKEND_CPU_H

#include "cpu/cpu.h"
#include "cpu/dnnl.h"
#include "graph/backend.h"
#include "ops/ops.h"

typedef struct {
    sg_dnnl *dnnl; /* owned; its filter formats are the private layouts, in order */
    int block;     /* channels of a block of SG_LAYOUT_BLOCKED: 8 or 16 */
    int threads;   /* inside an op: sg_backend_options.op_threads */
} sg_cpu;

/* A value as kernels see it: N pictures of `blocks` channel blocks of HW rows of `block`
 * floats in BLOCKED. */
typedef struct {
    int64_t N, C, H, W;
    int64_t HW, blocks; /* H * W, ceil(C / block) */
} sg_cpu_dims;

/* Of a value of any rank: (N, C, H, W), absent dimensions 1. */
sg_cpu_dims sg_cpu_dims_of(const sg_value *v, int block);
/* Floats of `v` in PLAIN or BLOCKED, padding included. */
int64_t sg_cpu_floats(const sg_value *v, sg_layout layout, int block);

/* Fill `plan`: our own kernel, all 4-dimensional f32 values in `layout`, the rest PLAIN. */
void sg_cpu_plan(sg_kernel_plan *plan, const sg_node *node, sg_kernel run, sg_layout layout);
/* The select function of an op whose one kernel is NAME_run, on plain values. */
#define SG_CPU_SELECT_PLAIN(name)                                                                  \
    sg_status sg_cpu_select_##name(sg_cpu *cpu, const sg_node *node, const sg_layout have[],       \
                                   sg_kernel_plan *plan) {                                         \
        (void)cpu;                                                                                 \
        (void)have;                                                                                \
        sg_cpu_plan(plan, node, name##_run, SG_LAYOUT_PLAIN);                                      \
        return SG_OK;                                                                              \
    }
/* BLOCKED if a 4-dimensional input exists in it, PLAIN otherwise. */
sg_layout sg_cpu_common_layout(const sg_node *node, const sg_layout have[]);

/* A copy of `state` that the step owns and sg_free releases. */
sg_status sg_cpu_plan_state(sg_kernel_plan *plan, const void *state, size_t bytes) SG_CHECKED;

/* matmul.c: label and cost of a kernel that is a product (M, K) x (K, N), and by what, in *blas.
 * SG_ERR_UNSUPPORTED: it is larger than OpenBLAS can count. */
sg_status sg_cpu_plan_multiply(const sg_node *node, int64_t M, int64_t N, int64_t K,
                               sg_kernel_plan *plan, bool *blas) SG_CHECKED;
/* c = op(a) op(b), row-major, (M, K) x (K, N) -> (M, N), by OpenBLAS or, where sg_blas_load has not
 * found it, by oneDNN. */
sg_status sg_cpu_multiply(bool blas, const float *a, const float *b, float *c, int64_t M, int64_t N,
                          int64_t K, bool transpose_a, bool transpose_b) SG_CHECKED;

/* Files that are compiled for blocks of 8 and of 16 channels (simd.h) export under two names. */
#if SG_BLOCK == 16
#define SG_BLOCKED(name) name##_16
#else
#define SG_BLOCKED(name) name##_8
#endif

/* layout.c: as sg_backend's, with blocks of 8 and 16 channels; padding channels become zero. */
sg_status sg_cpu_convert_8(void *context, const sg_value *v, sg_layout from, sg_layout to,
                           sg_kernel_plan *plan) SG_CHECKED;
sg_status sg_cpu_convert_16(void *context, const sg_value *v, sg_layout from, sg_layout to,
                            sg_kernel_plan *plan) SG_CHECKED;

/* reduce.c: x (rows, C) -> sum (C) */
void sg_cpu_sum_rows_8(const float *x, float *sum, int64_t rows, int64_t C);
void sg_cpu_sum_rows_16(const float *x, float *sum, int64_t rows, int64_t C);

/* `have` as in sg_backend; the plan comes zeroed. */
typedef sg_status (*sg_cpu_select)(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                   sg_kernel_plan *plan);
#define SG_CPU(name)                                                                               \
    sg_status sg_cpu_select_##name(sg_cpu *cpu, const sg_node *node, const sg_layout have[],       \
                                   sg_kernel_plan *plan) SG_CHECKED;
#define SG_CPU_BLOCKED(name) SG_CPU(name##_8) SG_CPU(name##_16)
#include "cpu/kernels.def"
#undef SG_CPU_BLOCKED
#undef SG_CPU

#endif
