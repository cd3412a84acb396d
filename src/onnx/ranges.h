/* Between what bounds the values of a graph lie, on the samples that were seen. */
#ifndef SG_ONNX_RANGES_H
#define SG_ONNX_RANGES_H

#include "onnx/array.h"

/* The least and greatest element that each node's first output was seen to have. Nodes are known by
 * their names, so that ranges seen in one export of a network hold in another that has more around
 * it; entry 0 is what the network is fed with, the graph's first input. */
typedef struct {
    int64_t n;
    char **name;              /* (n), owned; of entry 0 NULL */
    double *least, *greatest; /* (n), owned */
} sg_onnx_ranges;

/* Of a packed model; nothing seen yet. SG_ERR_DATA, SG_ERR_OOM. */
sg_status sg_onnx_ranges_init(const uint8_t *bytes, size_t size, sg_onnx_ranges *out) SG_CHECKED;
void sg_onnx_ranges_clear(sg_onnx_ranges *ranges);
/* Runs the model on a batch (onnx/run.h) and widens the ranges; one thread a `ranges`. */
sg_status sg_onnx_ranges_see(sg_onnx_ranges *ranges, const uint8_t *bytes, size_t size,
                             const sg_onnx_array *inputs, int n_inputs) SG_CHECKED;
/* Whatever `from` has seen, `to` has. */
void sg_onnx_ranges_join(sg_onnx_ranges *to, const sg_onnx_ranges *from);
/* The entry of the node of that name; 0 where there is none. */
int64_t sg_onnx_ranges_find(const sg_onnx_ranges *ranges, const char *name);

#endif
