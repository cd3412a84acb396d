#include "onnx/array.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "onnx.pb-c.h"

int64_t sg_onnx_array_count(const sg_onnx_array *a) {
    int64_t count = 1;

    for (int i = 0; i < a->rank; i++) count *= a->dim[i];
    return count;
}

size_t sg_onnx_array_bytes(const sg_onnx_array *a) {
    return (size_t)sg_onnx_array_count(a) * sg_onnx_type_bytes((int)a->type);
}

sg_status sg_onnx_array_init(sg_onnx_array *a, const char *name, sg_onnx_type type, int rank,
                             const int64_t *dim) {
    sg_onnx_array made = {.type = type, .rank = rank};

    snprintf(made.name, sizeof made.name, "%s", name);
    for (int i = 0; i < rank; i++) made.dim[i] = dim[i];
    made.data = sg_calloc(sg_onnx_array_bytes(&made) + 1, 1);
    if (!made.data) return sg_fail(SG_ERR_OOM, "%s: no memory", name);
    *a = made;
    return SG_OK;
}

void sg_onnx_array_clear(sg_onnx_array *a) {
    sg_free(a->data);
    memset(a, 0, sizeof *a);
}

sg_status sg_onnx_array_pack(const sg_onnx_array *a, uint8_t **bytes, size_t *size) {
    Onnx__TensorProto t = ONNX__TENSOR_PROTO__INIT;
    uint8_t *out;

    t.name = (char *)(uintptr_t)a->name; /* only read */
    t.n_dims = (size_t)a->rank;
    t.dims = (int64_t *)(uintptr_t)a->dim;
    t.has_data_type = 1;
    t.data_type = (int32_t)a->type;
    t.has_raw_data = 1;
    t.raw_data.len = sg_onnx_array_bytes(a);
    t.raw_data.data = a->data;
    *size = onnx__tensor_proto__get_packed_size(&t);
    out = sg_malloc(*size);
    if (!out) return sg_fail(SG_ERR_OOM, "%s: no memory for %zu bytes", a->name, *size);
    onnx__tensor_proto__pack(&t, out);
    *bytes = out;
    return SG_OK;
}
