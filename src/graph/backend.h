/* What a backend is: a table of functions that choose a kernel for each node and convert layouts.
 *
 * Compiling a graph walks its nodes in order. For each node the planner asks `select`, telling the
 * layouts in which the inputs exist; the backend answers with a kernel, the layouts that it wants
 * and gives, and which outputs may overwrite which inputs. Where a wanted layout differs from the
 * one at hand the planner inserts a conversion (once a value and layout). All memory is planned; a
 * kernel allocates nothing. Kernels of several shards run at the same time on several threads:
 * `state` is read-only during a run. */
#ifndef SG_GRAPH_BACKEND_H
#define SG_GRAPH_BACKEND_H

#include "graph/device.h"
#include "graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a value's elements lie in memory. PLAIN is row-major; every sink, input and output is PLAIN.
 * BLOCKED is for f32 (N, C, H, W) with channels innermost. On CPUs it is oneDNN's nChw8c or
 * nChw16c: blocks of 8 or 16 channels (the backend's choice), C rounded up to whole blocks, and the
 * padding channels hold ZERO at all times (a kernel that would break that asks for PLAIN where
 * there is padding). On CUDA it is one block of all C channels, N H W C. Numbers from
 * SG_LAYOUT_PRIVATE on are the backend's own (filters in the format that one convolution wants,
 * values in bf16). */
typedef int sg_layout;
enum { SG_LAYOUT_PLAIN = 0, SG_LAYOUT_BLOCKED = 1, SG_LAYOUT_PRIVATE = 2 };

/* What is the same in every step of a shard: a device records a step once and replays it. What
 * varies, kernels read from the step block (sg_step_slot in ops/ops.h). */
typedef struct {
    int32_t shard;
} sg_step_info;

/* What a kernel sees. Shapes are node->in[i]->shape and node->out[o].shape: always logical. */
typedef struct sg_args {
    const sg_node *node;
    const void *in[SG_MAX_IN]; /* NULL for an optional input left out */
    void *out[SG_MAX_OUT];     /* never NULL: an output that nobody reads has memory too */
    void *scratch;             /* `scratch` bytes of the kernel plan, 64-byte aligned, or NULL */
    const void *state;         /* the kernel plan's */
    const sg_step_info *info;
    void *queue; /* where a device's kernels are put (a CUDA stream); NULL on CPUs */
} sg_args;

typedef sg_status (*sg_kernel)(const sg_args *a);

typedef struct {
    sg_kernel run;
    void *state;             /* owned by the step, may be NULL */
    void (*release)(void *); /* frees state, may be NULL */
    sg_layout in[SG_MAX_IN], out[SG_MAX_OUT];
    int inplace[SG_MAX_OUT]; /* the input that output o may overwrite (same bytes), or -1 */
    size_t scratch;          /* bytes */
    char label[48];          /* for the profile: "ref", "cpu", "onednn jit:avx2" */
    double flop;             /* multiplications and additions of one run; 0: not counted */
} sg_kernel_plan;

typedef struct {
    int op_threads; /* > 1 only for the inference of a single input */
} sg_backend_options;

typedef struct sg_backend {
    const char *name;
    /* A context a program: owns private layouts and whatever its kernels share. Lives as long as
     * the program. */
    sg_status (*open)(const sg_backend_options *options, void **context);
    void (*close)(void *context);
    /* have[i]: the layout in which input i was produced. `plan` comes zeroed (all PLAIN) with
     * inplace = -1. SG_ERR_UNSUPPORTED names op and backend. */
    sg_status (*select)(void *context, const sg_node *node, const sg_layout have[],
                        sg_kernel_plan *plan);
    /* Bytes of value `v` in that layout. */
    size_t (*bytes)(void *context, const sg_value *v, sg_layout layout);
    /* A kernel in[0] -> out[0] that converts `v`; from == to is a copy. Its args' node is v's
     * producer, so it must take what it needs of v into its state. */
    sg_status (*convert)(void *context, const sg_value *v, sg_layout from, sg_layout to,
                         sg_kernel_plan *plan);
    /* Whether elements lie in PLAIN's order, so that a view (reshape) needs no conversion. NULL: in
     * PLAIN alone. */
    bool (*is_row_major)(sg_layout layout);
    /* Once in each thread that compiles or runs programs; may be NULL. */
    void (*enter_thread)(void);
    const sg_device *device; /* where kernels run; NULL: here, on host memory */
} sg_backend;

/* Plain C, one thread, PLAIN layouts: what defines every op. */
extern const sg_backend sg_backend_ref;
/* oneDNN, OpenBLAS and own kernels for AVX2 and AVX-512; an op without one of these is served by
 * the reference. */
extern const sg_backend sg_backend_cpu;

/* For backends: fill `plan` with the op's reference kernel, label "ref". */
sg_status sg_select_reference(const sg_node *node, sg_kernel_plan *plan) SG_CHECKED;
/* Bytes of a value in PLAIN. */
size_t sg_value_bytes(const sg_value *v);

#ifdef __cplusplus
}
#endif
#endif
