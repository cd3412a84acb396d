/* Running an ONNX file without a runtime: plain loops, written from ONNX's description of its
 * operators (github.com/onnx/onnx, docs/Operators.md, opset 17) and of nothing else, so that what
 * an exported file says is checked by another hand than wrote it. As slow as that.
 *
 * It knows the operators that our forms use. Elements are kept as doubles and rounded to their type
 * after each node: sums are more exact than a runtime's. */
#ifndef SG_ONNX_RUN_H
#define SG_ONNX_RUN_H

#include "onnx/array.h"

/* `inputs` by their names; the graph's outputs, in its order, into `outputs`, which has room for
 * `n_outputs`: the caller's. SG_ERR_DATA: no ONNX model, or a damaged one: a name that nothing
 * makes, an operator of another domain, shapes that do not fit; SG_ERR_UNSUPPORTED: an operator
 * that it does not know; SG_ERR_OOM. */
sg_status sg_onnx_run(const uint8_t *bytes, size_t size, const sg_onnx_array *inputs, int n_inputs,
                      sg_onnx_array *outputs, int n_outputs) SG_CHECKED;

/* Who looks at values on their way: the first output of node `node`, rounded to its type. */
typedef struct {
    void (*see)(void *context, int64_t node, const double *elements, int64_t n);
    void *context;
} sg_onnx_watch;

/* The same under a watch; without outputs where `outputs` is NULL. */
sg_status sg_onnx_run_watched(const uint8_t *bytes, size_t size, const sg_onnx_array *inputs,
                              int n_inputs, sg_onnx_array *outputs, int n_outputs,
                              const sg_onnx_watch *watch) SG_CHECKED;

#endif
