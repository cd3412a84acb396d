/* A packed model as messages again. */
#ifndef SG_ONNX_READ_H
#define SG_ONNX_READ_H

#include <stdbool.h>

#include "core/status.h"
#include "onnx.pb-c.h"

/* SG_ERR_DATA: no model, or one that lacks what every model has: a graph, names, operators;
 * SG_ERR_OOM. */
sg_status sg_onnx_unpack(const uint8_t *bytes, size_t size, Onnx__ModelProto **out) SG_CHECKED;
void sg_onnx_unpacked_free(Onnx__ModelProto *model); /* NULL is fine */

#endif
