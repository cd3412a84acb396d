/* A program from the inside: shared by plan.c (lowering), memory.c (arenas) and run.c (replay). */
#ifndef SG_GRAPH_PLAN_H
#define SG_GRAPH_PLAN_H

#include "graph/internal.h"
#include "graph/program.h"

/* A piece of memory. Several values may share one: views, and outputs written over inputs. */
typedef struct {
    sg_place place; /* ARENA and WEIGHTS: offset filled by memory.c */
    size_t bytes;
    int birth, death; /* first and last step that touches it */
    int root;         /* itself, or the slot whose memory it took over */
} sg_slot;

typedef struct {
    const sg_node *node;
    sg_kernel_plan kernel;
    int in[SG_MAX_IN], out[SG_MAX_OUT]; /* slots; -1: none */
    int n_in, n_out;
    int scratch; /* slot, or -1 */
    bool prologue, conversion;
    double bytes;
} sg_step;

struct sg_program {
    const sg_graph *graph;
    const sg_backend *backend;
    void *context;
    bool keep_memory, no_outputs;
    sg_step *step; /* prologue first */
    int n_steps, step_capacity, n_prologue;
    sg_slot *slot;
    int n_slots, slot_capacity;
    size_t arena_bytes, weights_bytes;
    uint8_t *constants;
    bool on_device; /* the constants are */
    size_t constant_bytes;
};

/* Merge what may work in place, then give every ARENA and WEIGHTS slot its offset. */
sg_status sg_plan_memory(sg_program *p) SG_CHECKED;

#endif
