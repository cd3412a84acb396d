/* What the files of graph/ share. */
#ifndef SG_GRAPH_INTERNAL_H
#define SG_GRAPH_INTERNAL_H

#include "graph/graph.h"

enum { SG_SCOPE_BYTES = 256, SG_SCOPE_DEPTH = 16 };

/* A place where a value must be written; a value may have several. */
typedef struct {
    sg_value *value;
    sg_place place;
} sg_sink_entry;

typedef struct {
    char *name; /* owned */
    sg_value *value;
} sg_named_value;

struct sg_graph {
    sg_mode mode;
    sg_table *table;  /* borrowed, may be NULL */
    sg_node **node;   /* owned */
    sg_value **value; /* inside the nodes */
    uint64_t *hash;   /* of each node's name, to find repeated ones */
    int n_nodes, node_capacity, n_values, value_capacity;
    sg_named_value input[SG_MAX_INPUTS], output[SG_MAX_OUTPUTS];
    int n_inputs, n_outputs;
    sg_sink_entry *sink; /* owned */
    int n_sinks, sink_capacity;
    sg_rows_use rows[SG_MAX_ROWS];
    int n_rows;
    sg_value **gradient; /* by id of a forward value; owned; NULL before sg_gradients */
    sg_value **again;    /* likewise: the same value computed again, or NULL; owned */
    int n_gradients;
    char scope[SG_SCOPE_BYTES];         /* "backbone.stage1." */
    size_t scope_start[SG_SCOPE_DEPTH]; /* where each open scope begins: a name may hold dots */
    int scopes;
    sg_status status;
    char *error; /* text of the first failure, owned; NULL may mean no memory for it */
};

/* Grow *array to hold one more than `n` elements of `size` bytes. */
sg_status sg_graph_grow(void **array, int n, int *capacity, size_t size) SG_CHECKED;

#endif
