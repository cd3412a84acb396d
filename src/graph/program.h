/* A compiled graph: a list of kernels with planned memory, replayed without allocating, deciding or
 * locking.
 *
 * What depends on parameters and constants alone is the *prologue*: it runs once after the
 * parameters have changed, writes WEIGHTS, and is read-only afterwards. The *body* runs for each
 * shard, with an arena and a gradient slot of its own. */
#ifndef SG_GRAPH_PROGRAM_H
#define SG_GRAPH_PROGRAM_H

#include "graph/backend.h"
#include "graph/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_program sg_program;

typedef struct {
    int op_threads;   /* 0 or 1: one thread inside an op */
    bool no_outputs;  /* leave the graph's outputs out: a training step binds none */
    bool keep_memory; /* never reuse memory: for tests of the planner */
} sg_compile_options;

/* Nodes that lead to no sink or output are left out. The graph (and its table, frozen) must outlive
 * the program. `options` may be NULL. */
sg_status sg_program_compile(const sg_graph *g, const sg_backend *backend,
                             const sg_compile_options *options, sg_program **out) SG_CHECKED;
void sg_program_destroy(sg_program *p);

size_t sg_program_arena_bytes(const sg_program *p);
size_t sg_program_weights_bytes(const sg_program *p);
/* The node at which the arena's values are largest in all; NULL: it is empty. For messages. */
const sg_node *sg_program_arena_peak(const sg_program *p);

/* What a run works on. Blocks are 64-byte aligned. */
typedef struct {
    void *base[SG_BUF_COUNT];         /* ARENA, WEIGHTS and the buffers of state.h */
    const void *input[SG_MAX_INPUTS]; /* in the order of the graph's inputs */
    void *output[SG_MAX_OUTPUTS];
    void *source[SG_MAX_ROWS]; /* by rows_index */
    sg_step_info info;
    bool (*stop)(void *context); /* NULL, or asked between nodes: true gives the run up */
    void *stop_context;
    /* NULL, or told behind each step of the body, by its number; what it says ends the run. */
    sg_status (*reached)(void *context, int step);
    void *reached_context;
    /* NULL, or one number a step to which its time is added. On a device kernels are repeated for
     * that, so the numbers computed are of no use then. */
    double *seconds;
    void *queue; /* of the backend's device: kernels are put there and not waited for */
} sg_bindings;

sg_status sg_program_prologue(const sg_program *p, const sg_bindings *b) SG_CHECKED;
sg_status sg_program_run(const sg_program *p, const sg_bindings *b) SG_CHECKED;

/* For profiles: the steps, prologue first. */
typedef struct {
    const sg_node *node; /* of a conversion: the producer of what is converted */
    const char *label;
    bool prologue, conversion;
    double flop;
    double bytes; /* of all inputs and outputs */
} sg_step_view;
int sg_program_steps(const sg_program *p);
/* The last step that writes or reads bytes start .. end - 1 of a buffer; -1: none does. */
int sg_program_last_use(const sg_program *p, sg_buffer buffer, int64_t start, int64_t end);
sg_step_view sg_program_step(const sg_program *p, int i);

/* For tests and tools: allocate ARENA and WEIGHTS, run prologue and body once, free them. Inputs
 * and outputs are the host's, whatever the backend; the buffers of state.h are the backend's. */
sg_status sg_program_run_once(const sg_program *p, sg_bindings *b) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
