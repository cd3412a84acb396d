#include "train/inference.h"

#include <string.h>

#include "checkpoint/model_file.h"
#include "core/mem.h"

struct sg_inference {
    sg_table *table; /* owned if own_table */
    bool own_table;
    sg_graph *graph;
    sg_program *program;
    const float *values; /* borrowed, or of `loaded` */
    sg_state *loaded;    /* owned; NULL before sg_inference_load */
    void *weights;
    void **arena; /* one a worker */
    int workers;
};

static sg_status build(sg_inference *f, const sg_inference_options *o, const sg_backend *backend) {
    sg_compile_options compile = {.op_threads = o->op_threads};

    f->table = o->table;
    if (!o->table) {
        f->own_table = true;
        SG_TRY(sg_table_create(&f->table));
    }
    SG_TRY(sg_graph_create(SG_EVAL, f->table, &f->graph));
    SG_TRY(o->build(f->graph, o->batch, o->context));
    SG_TRY(sg_graph_status(f->graph));
    sg_table_freeze(f->table);
    return sg_program_compile(f->graph, backend, &compile, &f->program);
}

static sg_status allocate(sg_inference *f) {
    bool whole;

    f->weights = sg_malloc(sg_program_weights_bytes(f->program));
    f->arena = sg_calloc((size_t)f->workers, sizeof *f->arena);
    whole = f->weights && f->arena;
    for (int i = 0; whole && i < f->workers; i++)
        whole = (f->arena[i] = sg_malloc(sg_program_arena_bytes(f->program))) != NULL;
    return whole ? SG_OK
                 : sg_fail(SG_ERR_OOM, "inference: no memory for %d arenas of %zu bytes",
                           f->workers, sg_program_arena_bytes(f->program));
}

sg_status sg_inference_create(const sg_inference_options *options, sg_inference **out) {
    const sg_backend *backend = options->backend ? options->backend : &sg_backend_cpu;
    sg_inference *f = sg_calloc(1, sizeof *f);
    sg_status st;

    if (!f) return sg_fail(SG_ERR_OOM, "inference: no memory");
    f->workers = options->workers > 0 ? options->workers : 1;
    st = build(f, options, backend);
    if (st == SG_OK) st = allocate(f);
    if (st != SG_OK) {
        sg_inference_destroy(f);
        return st;
    }
    *out = f;
    return SG_OK;
}

void sg_inference_destroy(sg_inference *f) {
    if (!f) return;
    for (int i = 0; f->arena && i < f->workers; i++) sg_free(f->arena[i]);
    sg_free(f->arena);
    sg_free(f->weights);
    sg_program_destroy(f->program);
    sg_graph_destroy(f->graph);
    sg_state_destroy(f->loaded);
    if (f->own_table) sg_table_destroy(f->table);
    sg_free(f);
}

const sg_table *sg_inference_table(const sg_inference *f) { return f->table; }

static sg_bindings bind(const sg_inference *f) {
    sg_bindings b;

    memset(&b, 0, sizeof b);
    b.base[SG_BUF_WEIGHTS] = f->weights;
    b.base[SG_BUF_VALUES] =
        (void *)(uintptr_t)f->values; /* only read: an eval graph has no sink there */
    return b;
}

sg_status sg_inference_set_values(sg_inference *f, const float *values) {
    sg_bindings b;

    f->values = values;
    b = bind(f);
    return sg_program_prologue(f->program, &b);
}

sg_status sg_inference_load(sg_inference *f, const char *path) {
    if (!f->loaded) SG_TRY(sg_state_create(f->table, 0, &f->loaded));
    SG_TRY(sg_model_file_load(path, f->loaded));
    return sg_inference_set_values(f, f->loaded->ema);
}

sg_status sg_inference_run(sg_inference *f, int worker, const void *const inputs[],
                           void *const outputs[]) {
    sg_bindings b = bind(f);

    if (!f->values) return sg_fail(SG_ERR_ARG, "inference: the model has no values yet");
    b.base[SG_BUF_ARENA] = f->arena[worker];
    for (int i = 0; i < sg_graph_inputs(f->graph); i++) b.input[i] = inputs[i];
    for (int i = 0; i < sg_graph_outputs(f->graph); i++) b.output[i] = outputs[i];
    return sg_program_run(f->program, &b);
}
