#include "onnx/read.h"

#include "core/mem.h"

/* `data`: whether there was no memory, which protobuf-c does not tell from bytes that are none of
 * its own. */
static void *take_block(void *data, size_t bytes) {
    void *block = sg_malloc(bytes);

    if (!block) *(bool *)data = true;
    return block;
}

static void give_block(void *data, void *block) {
    (void)data;
    sg_free(block);
}

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
    bool no_memory = false;
    ProtobufCAllocator memory = {take_block, give_block, &no_memory};
    Onnx__ModelProto *model = onnx__model_proto__unpack(&memory, size, bytes);

    if (model && model->graph && is_whole(model->graph)) {
        *out = model;
        return SG_OK;
    }
    sg_onnx_unpacked_free(model);
    if (no_memory) return sg_fail(SG_ERR_OOM, "onnx: no memory to read a model of %zu bytes", size);
    return sg_fail(SG_ERR_DATA, "onnx: these %zu bytes are no model", size);
}

void sg_onnx_unpacked_free(Onnx__ModelProto *model) {
    ProtobufCAllocator memory = {take_block, give_block, NULL};

    if (model) onnx__model_proto__free_unpacked(model, &memory);
}
