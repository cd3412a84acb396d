#include "onnx/read.h"

#include "core/mem.h"

static void *take_block(void *data, size_t bytes) {
    (void)data;
    return sg_malloc(bytes);
}

static void give_block(void *data, void *block) {
    (void)data;
    sg_free(block);
}

static ProtobufCAllocator memory = {take_block, give_block, NULL};

/* What the format allows to be missing. */
static bool is_whole(const Onnx__GraphProto *g) {
    for (size_t i = 0; i < g->n_node; i++)
        if (!g->node[i]->op_type) return false;
    for (size_t i = 0; i < g->n_input; i++)
        if (!g->input[i]->name) return false;
    for (size_t i = 0; i < g->n_output; i++)
        if (!g->output[i]->name) return false;
    return true;
}

sg_status sg_onnx_unpack(const uint8_t *bytes, size_t size, Onnx__ModelProto **out) {
    Onnx__ModelProto *model = onnx__model_proto__unpack(&memory, size, bytes);

    if (model && model->graph && is_whole(model->graph)) {
        *out = model;
        return SG_OK;
    }
    sg_onnx_unpacked_free(model);
    return sg_fail(SG_ERR_DATA, "onnx: these %zu bytes are no model", size);
}

void sg_onnx_unpacked_free(Onnx__ModelProto *model) {
    if (model) onnx__model_proto__free_unpacked(model, &memory);
}
