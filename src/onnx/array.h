/* Arrays that go into an ONNX graph and come out of it. */
#ifndef SG_ONNX_ARRAY_H
#define SG_ONNX_ARRAY_H

#include "onnx/model.h"

enum { SG_ONNX_RANK = 8, SG_ONNX_NAME = 64 };

typedef struct {
    char name[SG_ONNX_NAME];
    sg_onnx_type type;
    int rank;
    int64_t dim[SG_ONNX_RANK];
    void *data; /* row-major, owned */
} sg_onnx_array;

int64_t sg_onnx_array_count(const sg_onnx_array *a); /* elements */
size_t sg_onnx_array_bytes(const sg_onnx_array *a);
/* Zeroed. SG_ERR_OOM. */
sg_status sg_onnx_array_init(sg_onnx_array *a, const char *name, sg_onnx_type type, int rank,
                             const int64_t *dim) SG_CHECKED;
void sg_onnx_array_clear(sg_onnx_array *a); /* zeroed memory is fine */

/* As a message TensorProto, what ONNX's own test data is: the caller's (sg_free). SG_ERR_OOM. */
sg_status sg_onnx_array_pack(const sg_onnx_array *a, uint8_t **bytes, size_t *size) SG_CHECKED;

#endif
