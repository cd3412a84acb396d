/* The graph: nodes in the order of their building, which is also a topological order.
 *
 * Builder functions return the new value, or NULL after a failure, and take NULL inputs quietly
 * from then on: the graph keeps its first error, sg_graph_status returns it. A model therefore
 * reads as plain calls, checked once at the end. A NULL in a graph that has not failed is an error.
 */
#ifndef SG_GRAPH_GRAPH_H
#define SG_GRAPH_GRAPH_H

#include "core/status.h"
#include "core/tensor.h"
#include "graph/state.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_MAX_IN = 8, SG_MAX_OUT = 4, SG_MAX_INPUTS = 16, SG_MAX_OUTPUTS = 16 };

/* Where a value lives when a program runs. ARENA and WEIGHTS are the planner's; the others are
 * bound by the caller of a program (program.h). */
typedef enum {
    SG_BUF_ARENA,   /* activations: one for each shard that runs at a time */
    SG_BUF_WEIGHTS, /* what the prologue makes: read-only to all shards */
    SG_BUF_CONST,   /* constants of the graph */
    SG_BUF_INPUT,   /* `offset` is the input's number */
    SG_BUF_OUTPUT,  /* `offset` is the output's number */
    SG_BUF_SOURCE,  /* `offset` is the rows_index of a table of rows: sg_rows_use */
    SG_BUF_VALUES,  /* the buffers of state.h; offsets of these are in bytes */
    SG_BUF_GRADS,
    SG_BUF_EMA,
    SG_BUF_MOMENT1,
    SG_BUF_MOMENT2,
    SG_BUF_ROWS,
    SG_BUF_ROWS_SUM,
    SG_BUF_STEP, /* what varies from step to step: sg_step_slot in ops/ops.h */
    SG_BUF_COUNT
} sg_buffer;

typedef struct {
    sg_buffer buffer;
    int64_t offset;
} sg_place;

typedef struct sg_graph sg_graph;
typedef struct sg_node sg_node;
typedef struct sg_value sg_value;
typedef struct sg_op sg_op; /* ops/ops.h */

struct sg_value {
    sg_node *node; /* its producer */
    int index;     /* which of the node's outputs */
    int id;        /* dense over the graph */
    sg_dtype dtype;
    sg_shape shape;
    bool needs_grad;
};

struct sg_node {
    const sg_op *op;
    int id;     /* position in the graph */
    char *name; /* "backbone.stem.conv2d", unique */
    int n_in, n_out;
    sg_value *in[SG_MAX_IN]; /* an optional input may be NULL */
    sg_value out[SG_MAX_OUT];
    void *attr; /* the op's attributes (ops/ops.h), owned */
};

typedef enum { SG_TRAIN, SG_EVAL } sg_mode;

/* `table` is borrowed and outlives the graph; it may be NULL for a graph without parameters. */
sg_status sg_graph_create(sg_mode mode, sg_table *table, sg_graph **out) SG_CHECKED;
void sg_graph_destroy(sg_graph *g);
sg_mode sg_graph_mode(const sg_graph *g);
/* The first failure of any builder call, its text as this thread's last error. */
sg_status sg_graph_status(const sg_graph *g) SG_CHECKED;
/* Keep a failure (the first counts) and return NULL: for builder functions. */
sg_value *sg_graph_fail(sg_graph *g, sg_status st);

/* Names of nodes inside are prefixed "scope."; scopes nest. The names of parameters are not. */
void sg_scope(sg_graph *g, const char *fmt, ...) SG_PRINTF(2, 3);
void sg_scope_end(sg_graph *g);

int sg_graph_nodes(const sg_graph *g);
sg_node *sg_graph_node(const sg_graph *g, int id);
int sg_graph_values(const sg_graph *g);
sg_value *sg_graph_value(const sg_graph *g, int id);
sg_table *sg_graph_table(const sg_graph *g);
int sg_graph_inputs(const sg_graph *g);
sg_value *sg_graph_input(const sg_graph *g, int i);
const char *sg_graph_input_name(const sg_graph *g, int i);
int sg_graph_outputs(const sg_graph *g);
sg_value *sg_graph_output(const sg_graph *g, int i);
const char *sg_graph_output_name(const sg_graph *g, int i);

/* Append a node: NULL quietly once the graph has failed; one of the first `n_required` inputs that
 * is NULL in a sound graph is SG_ERR_ARG. Copies `attr` (op->attr_size bytes), calls the op's infer
 * (which sets n_out, shapes and dtypes of the outputs), names it. Returns output 0; the others are
 * at value->node->out[o]. */
sg_value *sg_node_append(sg_graph *g, const sg_op *op, sg_value *const in[], int n_in,
                         int n_required, const void *attr);

/* A value from outside, fed by the caller; its first dimension is the batch. Asking again for the
 * same name returns the same value. */
sg_value *sg_input(sg_graph *g, const char *name, sg_dtype dtype, sg_shape shape);
/* A named parameter or statistic of the table. */
sg_value *sg_param(sg_graph *g, const char *name, sg_entry_kind kind, sg_shape shape, sg_init init);
/* A copy of `data` (row-major). */
sg_value *sg_constant(sg_graph *g, sg_dtype dtype, sg_shape shape, const void *data);
/* A view of a bound buffer, `offset` in bytes: for update programs, and for what an op needs of the
 * step block. */
sg_value *sg_view_of(sg_graph *g, sg_dtype dtype, sg_buffer buffer, int64_t offset, sg_shape shape);

/* Name a result, once a name; the caller of the program gives the memory. */
void sg_output(sg_graph *g, const char *name, sg_value *v);
/* Let a scalar be this graph's part of the named sum of the flat gradient buffer; once a name. */
void sg_sum_into(sg_graph *g, const char *name, sg_value *scalar);
/* Write a statistic's contribution (the batch's mean or variance) for the entry of `param`; once a
 * statistic. */
void sg_stat_into(sg_graph *g, sg_value *param, sg_value *contribution);
/* SG_ERR_ARG when a statistic of the table has no contribution in this graph: the update would let
 * it fade to zero. */
sg_status sg_check_stats(const sg_graph *g) SG_CHECKED;
/* Write `v` to a place (bytes) of a bound buffer. In an update program this may be where an input
 * of its node lives, if the op works in place. SG_ERR_ARG: another value is written there. */
void sg_sink(sg_graph *g, sg_value *v, sg_buffer buffer, int64_t offset);

/* --- tables of rows --------------------------------------------------------------------------- */

/* The gradient of a table of rows is kept factored, never as rows: that of row r is the sum of
 * weight[n, f] source[n] over the (n, f) with ids[n, f] = r, in the order of the samples n. What it
 * takes is the source, (n, d), which a run writes to SG_BUF_SOURCE, and two inputs of the graph. */
typedef struct {
    int entry;        /* of the table of parameters */
    int ids, weights; /* numbers of inputs, (n, F) each; weights -1: all are 1 */
    sg_value *source; /* (n, d) */
} sg_rows_use;

/* For gradient rules: these are the gradient of `table`, a parameter that is a table of rows.
 * SG_ERR_UNSUPPORTED: ids or weights are no inputs of the graph, or the table has a gradient
 * already. */
sg_status sg_rows_into(sg_graph *g, sg_value *table, sg_value *ids, sg_value *weights,
                       sg_value *source) SG_CHECKED;
int sg_graph_rows(const sg_graph *g);
const sg_rows_use *sg_graph_rows_use(const sg_graph *g, int i);
/* Whether `v` is a parameter that is a table of rows. */
bool sg_is_rows(const sg_graph *g, const sg_value *v);

/* --- gradients -------------------------------------------------------------------------------- */

/* Append the backward nodes of `loss` (a scalar f32): afterwards each parameter that it depends on
 * has its gradient written to its place in the flat gradient buffer. SG_ERR_UNSUPPORTED names an op
 * without a gradient rule that a gradient would have to pass. */
sg_status sg_gradients(sg_graph *g, sg_value *loss) SG_CHECKED;

/* For gradient rules: add `dv` to the gradient of `v`. Quiet where v is NULL or needs no gradient.
 * A NULL dv (a builder failed) returns the graph's status. */
sg_status sg_accumulate(sg_graph *g, sg_value *v, sg_value *dv) SG_CHECKED;
/* For gradient rules that read `v`, a value of the forward pass: `v` itself, or the same computed
 * again (sg_op.again), so that it need not be kept until then. NULL after a failure. */
sg_value *sg_again(sg_graph *g, sg_value *v);
/* For gradient rules: whether the forward pass reads `v` at one place only, so that its whole
 * gradient comes from there. */
bool sg_used_once(const sg_graph *g, const sg_value *v);
/* Whether a rule must build the gradient of `v` at all (false for NULL). */
bool sg_wants_grad(const sg_value *v);
/* Whether sg_gradients has appended them. */
bool sg_has_gradients(const sg_graph *g);
/* The gradient of `v` after sg_gradients, or NULL: for tests. */
sg_value *sg_gradient_of(const sg_graph *g, const sg_value *v);
/* Mark an input as one whose gradient is wanted, before it is used: for tests. */
void sg_require_grad(sg_value *v);

#ifdef __cplusplus
}
#endif
#endif
