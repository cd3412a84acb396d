/* What an op is, the attributes of each, and builders that only other ops need.
 *
 * An op file from top to bottom: formula and shapes; `infer`, the only place that rejects inputs;
 * the gradient rule, which appends ordinary nodes; the reference kernel, which is the definition;
 * the table entry. The public builders are declared in spotgrad.h. */
#ifndef SG_OPS_OPS_H
#define SG_OPS_OPS_H

#include "graph/backend.h"
#include "graph/graph.h"
#include "spotgrad.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sg_op {
    const char *name;
    const char *onnx; /* the ONNX operator, or NULL */
    size_t attr_size;
    /* Set the outputs (sg_op_out); reject what does not fit with sg_op_fail. */
    sg_status (*infer)(sg_node *node);
    /* Append the backward nodes. dy[o] is the gradient of output o, or NULL when none arrives.
     * NULL: a gradient that would have to pass this op is an error. */
    sg_status (*grad)(sg_graph *g, sg_node *node, sg_value *const dy[]);
    /* The reference kernel; NULL for sources and views. */
    sg_kernel run;
    bool source;         /* has no inputs and is not run: input, param, constant, view_of */
    bool view;           /* output 0 is input 0's memory under another shape */
    bool stops_gradient; /* its outputs never need a gradient: stop_gradient, assigners */
    bool random;         /* depends on the step: never part of the prologue */
    /* 1 + the input that the REFERENCE kernel may overwrite with output o, 0: none. */
    int inplace[SG_MAX_OUT];
};

#define SG_OP(identifier, name) extern const sg_op sg_op_##name;
#include "ops/ops.def"
#undef SG_OP

#define SG_OP(identifier, name) SG_OP_##identifier,
typedef enum {
#include "ops/ops.def"
    SG_OP_COUNT
} sg_op_id;
#undef SG_OP

/* All ops in the order of ops.def. */
extern const sg_op *const sg_ops[SG_OP_COUNT];

/* Reject an input of `node`: SG_ERR_ARG, "NODE (op): TEXT; inputs (2, 3) (4, 5)". */
sg_status sg_op_fail(const sg_node *node, const char *fmt, ...) SG_PRINTF(2, 3);
/* Set output o (and n_out to at least o + 1). */
void sg_op_out(sg_node *node, int o, sg_dtype dtype, sg_shape shape);

/* --- attributes of the sources ------------------------------------------------------------------
 */

typedef struct {
    sg_place place; /* input: its number; param: filled when compiled; view_of: bytes */
    int index;      /* param: the entry of the table */
} sg_source_attr;

typedef struct {
    void *data; /* owned by the node */
    size_t bytes;
} sg_constant_attr;

/* --- the step block: what varies from step to step (SG_BUF_STEP, SG_STEP_SLOTS floats) -----------
 */

typedef enum {
    SG_STEP_LR,           /* learning rate */
    SG_STEP_WEIGHT_DECAY, /* multiplied by the learning rate */
    SG_STEP_MOMENTUM,     /* SGD's momentum, AdamW's beta 1 */
    SG_STEP_BETA2,
    SG_STEP_BIAS1,  /* 1 - beta1^t, AdamW's bias corrections */
    SG_STEP_BIAS2,  /* 1 - beta2^t */
    SG_STEP_EMA,    /* decay of the moving average at this step */
    SG_STEP_STAT,   /* momentum of the running statistics: new = (1 - m) old + m batch */
    SG_STEP_CLIP,   /* largest global norm of the gradient; 0: no clipping */
    SG_STEP_SHARDS, /* the number of shards whose statistics were added */
    SG_STEP_SLOTS = 16
} sg_step_slot;

/* --- attributes and builders, by file
 * ------------------------------------------------------------- */

#ifdef __cplusplus
}
#endif
#endif
