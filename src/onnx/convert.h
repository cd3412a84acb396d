/* Our graph as an ONNX model's nodes.
 *
 * What depends on parameters and constants alone (folded norms, parts of tables) is computed here,
 * by the reference kernels, and becomes constants; every other node takes the ONNX form of its op
 * (onnx/forms.h). Only what is asked for is converted, with what it needs. */
#ifndef SG_ONNX_CONVERT_H
#define SG_ONNX_CONVERT_H

#include "graph/graph.h"
#include "onnx/model.h"

typedef struct sg_conversion sg_conversion;

/* All borrowed; `values` and `rows` as a state's ema and rows. A graph in SG_EVAL mode, whose table
 * is frozen; the first dimension of its inputs and what comes of them is the batch, which becomes
 * any. SG_ERR_OOM. */
sg_status sg_conversion_create(sg_onnx *model, const sg_graph *graph, const float *values,
                               const float *rows, sg_conversion **out) SG_CHECKED;
void sg_conversion_destroy(sg_conversion *c); /* NULL is fine */

sg_onnx *sg_conversion_model(const sg_conversion *c);

/* `value` of the graph is that value of the model: an input, or what was made of one. */
void sg_conversion_bind(sg_conversion *c, const sg_value *value, const char *name);

/* The model's value for `value`. SG_ERR_UNSUPPORTED names an op without a form; SG_ERR_ARG an input
 * that is not bound; or the model's status. */
sg_status sg_convert(sg_conversion *c, const sg_value *value, const char **name) SG_CHECKED;

/* --- for forms -------------------------------------------------------------------------------- */

/* Of an input of the node being converted: its name; "" where it is left out. A constant is put
 * into the model when it is first asked for. */
const char *sg_conversion_in(sg_conversion *c, const sg_node *node, int i);
/* Its elements, where it is a constant; else NULL. */
const void *sg_conversion_data(const sg_conversion *c, const sg_value *value);
/* Output o of the node is that value. */
void sg_conversion_out(sg_conversion *c, const sg_node *node, int o, const char *name);

#endif
