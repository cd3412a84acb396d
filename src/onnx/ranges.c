#include "onnx/ranges.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "onnx/read.h"
#include "onnx/run.h"

static sg_status name_ranges(sg_onnx_ranges *r, const Onnx__GraphProto *g) {
    size_t n = g->n_node + 1;

    r->name = sg_calloc(n, sizeof *r->name);
    r->least = sg_malloc(n * sizeof *r->least);
    r->greatest = sg_malloc(n * sizeof *r->greatest);
    if (!r->name || !r->least || !r->greatest)
        return sg_fail(SG_ERR_OOM, "onnx: no memory for ranges");
    for (r->n = 0; r->n < (int64_t)n; r->n++) {
        const char *name = r->n > 0 ? g->node[r->n - 1]->name : NULL;

        r->least[r->n] = HUGE_VAL;
        r->greatest[r->n] = -HUGE_VAL;
        if (!name) continue;
        r->name[r->n] = sg_strdup(name);
        if (!r->name[r->n]) return sg_fail(SG_ERR_OOM, "onnx: no memory for ranges");
    }
    return SG_OK;
}

sg_status sg_onnx_ranges_init(const uint8_t *bytes, size_t size, sg_onnx_ranges *out) {
    Onnx__ModelProto *model;
    sg_status st;

    memset(out, 0, sizeof *out);
    SG_TRY(sg_onnx_unpack(bytes, size, &model));
    st = name_ranges(out, model->graph);
    sg_onnx_unpacked_free(model);
    if (st != SG_OK) sg_onnx_ranges_clear(out);
    return st;
}

void sg_onnx_ranges_clear(sg_onnx_ranges *r) {
    for (int64_t i = 0; r->name && i < r->n; i++) sg_free(r->name[i]);
    sg_free(r->name);
    sg_free(r->least);
    sg_free(r->greatest);
    memset(r, 0, sizeof *r);
}

static void widen(sg_onnx_ranges *r, int64_t entry, double element) {
    if (element < r->least[entry]) r->least[entry] = element;
    if (element > r->greatest[entry]) r->greatest[entry] = element;
}

static void see(void *context, int64_t node, const double *elements, int64_t n) {
    for (int64_t i = 0; i < n; i++) widen(context, node + 1, elements[i]);
}

sg_status sg_onnx_ranges_see(sg_onnx_ranges *r, const uint8_t *bytes, size_t size,
                             const sg_onnx_array *inputs, int n_inputs) {
    const sg_onnx_watch watch = {see, r};

    if (n_inputs > 0 && inputs[0].type == SG_ONNX_FLOAT)
        for (int64_t i = 0; i < sg_onnx_array_count(&inputs[0]); i++)
            widen(r, 0, (double)((const float *)inputs[0].data)[i]);
    return sg_onnx_run_watched(bytes, size, inputs, n_inputs, NULL, 0, &watch);
}

void sg_onnx_ranges_join(sg_onnx_ranges *to, const sg_onnx_ranges *from) {
    for (int64_t i = 0; i < to->n; i++) {
        widen(to, i, from->least[i]);
        widen(to, i, from->greatest[i]);
    }
}

int64_t sg_onnx_ranges_find(const sg_onnx_ranges *r, const char *name) {
    for (int64_t i = 1; i < r->n; i++)
        if (r->name[i] && strcmp(r->name[i], name) == 0) return i;
    return 0;
}
