/* The ONNX form of each op that inference uses: the nodes that compute the same. */
#ifndef SG_ONNX_FORMS_H
#define SG_ONNX_FORMS_H

#include "onnx/convert.h"
#include "ops/detect.h"

/* Appends the nodes to the conversion's model and says what stands for the node's outputs. */
typedef void (*sg_onnx_form)(sg_conversion *c, const sg_node *node);

/* NULL: it has none. */
sg_onnx_form sg_onnx_form_of(const sg_op *op);

/* A line each: SG_FORM(op, form). forms.c has the shapes' and pictures', forms_text.c those of
 * texts, forms_detect.c the detector's. Where an op of texts takes the length of each, its form
 * takes a mask instead, f32 (N, T), 1 for tokens of the text: the input bound to `length`. */
#define SG_FORM_LIST(X)                                                                            \
    X(add)                                                                                         \
    X(mul)                                                                                         \
    X(scale)                                                                                       \
    X(to_float)                                                                                    \
    X(relu)                                                                                        \
    X(silu)                                                                                        \
    X(gelu)                                                                                        \
    X(sigmoid)                                                                                     \
    X(stop_gradient)                                                                               \
    X(reshape)                                                                                     \
    X(concat)                                                                                      \
    X(slice)                                                                                       \
    X(sum)                                                                                         \
    X(matmul)                                                                                      \
    X(bias)                                                                                        \
    X(linear)                                                                                      \
    X(conv2d)                                                                                      \
    X(max_pool2d)                                                                                  \
    X(global_avg_pool)                                                                             \
    X(upsample2x)                                                                                  \
    X(softmax)                                                                                     \
    X(layer_norm)                                                                                  \
    X(embedding)                                                                                   \
    X(embedding_bag)                                                                               \
    X(attention)                                                                                   \
    X(masked_mean)                                                                                 \
    X(windows)                                                                                     \
    X(levels_concat)                                                                               \
    X(box_decode)

#define SG_FORM(op) void sg_form_##op(sg_conversion *c, const sg_node *node);
SG_FORM_LIST(SG_FORM)
#undef SG_FORM

/* act(x) */
const char *sg_form_act(sg_onnx *m, const char *x, sg_act act);

/* What a head says, raw (N, A, 4), as boxes: centre and size, (N, A, 2) each. */
typedef struct {
    const char *centre, *size;
} sg_form_boxes;
sg_form_boxes sg_form_decode(sg_onnx *m, const char *raw, const sg_anchors *anchors);

#endif
