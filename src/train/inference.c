#include "train/inference.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/model_file.h"
#include "core/mem.h"

/* Where the backend has a device: one run at a time, whose inputs and outputs go through pinned
 * memory. */
typedef struct {
    pthread_mutex_t lock;
    void *queue;
    void *values, *rows; /* NULL before sg_inference_set_values */
    void *input[SG_MAX_INPUTS], *output[SG_MAX_OUTPUTS];
    void *pinned_input[SG_MAX_INPUTS], *pinned_output[SG_MAX_OUTPUTS];
} inference_device;

struct sg_inference {
    sg_table *table; /* owned if own_table */
    bool own_table;
    sg_graph *graph;
    sg_program *program;
    const float *values; /* borrowed, or of `loaded`, or on.values */
    const float *rows;   /* likewise */
    sg_state *loaded;    /* owned; NULL before sg_inference_load */
    void *weights;
    void **arena; /* one a worker; one in all on a device */
    int workers, arenas;
    const sg_device *device; /* the backend's, or NULL */
    inference_device on;
    const sg_trainer *beside; /* for messages, and the next */
    int64_t batch;
    bool (*stop)(void *context); /* NULL, or gives a run up */
    void *stop_context;
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
    const sg_node *peak = sg_program_arena_peak(f->program);
    char what[256];

    snprintf(what, sizeof what, "a model's activations, most of them at %s",
             peak ? peak->name : "no node");
    SG_TRY(sg_block_alloc(f->device, sg_program_weights_bytes(f->program), "a model's weights",
                          &f->weights));
    f->arenas = f->device ? 1 : f->workers;
    f->arena = sg_calloc((size_t)f->arenas, sizeof *f->arena);
    if (!f->arena) return sg_fail(SG_ERR_OOM, "inference: no memory");
    for (int i = 0; i < f->arenas; i++)
        SG_TRY(sg_block_alloc(f->device, sg_program_arena_bytes(f->program), what, &f->arena[i]));
    return SG_OK;
}

static size_t input_bytes(const sg_inference *f, int i) {
    return sg_value_bytes(sg_graph_input(f->graph, i));
}

static size_t output_bytes(const sg_inference *f, int i) {
    return sg_value_bytes(sg_graph_output(f->graph, i));
}

static sg_status allocate_there(sg_inference *f) {
    const sg_device *d = f->device;
    inference_device *on = &f->on;

    SG_TRY(d->queue_create(&on->queue));
    for (int i = 0; i < sg_graph_inputs(f->graph); i++) {
        const char *name = sg_graph_input_name(f->graph, i);

        SG_TRY(d->alloc(input_bytes(f, i), name, &on->input[i]));
        SG_TRY(d->alloc_host(input_bytes(f, i), name, &on->pinned_input[i]));
    }
    for (int i = 0; i < sg_graph_outputs(f->graph); i++) {
        const char *name = sg_graph_output_name(f->graph, i);

        SG_TRY(d->alloc(output_bytes(f, i), name, &on->output[i]));
        SG_TRY(d->alloc_host(output_bytes(f, i), name, &on->pinned_output[i]));
    }
    return SG_OK;
}

static void release_there(sg_inference *f) {
    const sg_device *d = f->device;

    d->queue_destroy(f->on.queue);
    for (int i = 0; i < SG_MAX_INPUTS; i++) {
        d->release(f->on.input[i]);
        d->release_host(f->on.pinned_input[i]);
    }
    for (int i = 0; i < SG_MAX_OUTPUTS; i++) {
        d->release(f->on.output[i]);
        d->release_host(f->on.pinned_output[i]);
    }
    d->release(f->on.values);
    d->release(f->on.rows);
}

/* On the device; a trainer's values are there. A quarter more is for what an evaluation has beside
 * the model, such as its pictures. */
static size_t bytes_there(const sg_inference *f) {
    size_t bytes = sg_program_weights_bytes(f->program) + sg_program_arena_bytes(f->program);

    for (int i = 0; i < sg_graph_inputs(f->graph); i++) bytes += input_bytes(f, i);
    for (int i = 0; i < sg_graph_outputs(f->graph); i++) bytes += output_bytes(f, i);
    if (!f->beside) bytes += (size_t)(f->table->n_values + f->table->n_rows) * sizeof(float);
    return bytes + bytes / 4;
}

/* What to do where there is no memory for them. Without a trainer the batch is the smallest that
 * there is. */
static sg_status suggest(const sg_trainer *beside, int64_t batch, size_t bytes) {
    char reason[512];

    if (beside) return sg_trainer_suggest_beside(beside, bytes);
    snprintf(reason, sizeof reason, "%s", sg_last_error());
    return sg_fail(SG_ERR_OOM,
                   "%s; a model for %lld at a time needs %.0f MiB in all: "
                   "run.device=cpu does without",
                   reason, (long long)batch, (double)bytes / 1048576.0);
}

static sg_status give_up(sg_inference *f, sg_status st) {
    size_t bytes = st == SG_ERR_OOM && f->device && f->program ? bytes_there(f) : 0;
    const sg_trainer *beside = f->beside;
    int64_t batch = f->batch;

    sg_inference_destroy(f);
    return bytes > 0 ? suggest(beside, batch, bytes) : st;
}

sg_status sg_inference_create(const sg_inference_options *options, sg_inference **out) {
    const sg_backend *backend = options->backend ? options->backend : &sg_backend_cpu;
    sg_inference *f = sg_calloc(1, sizeof *f);
    sg_status st;

    if (!f) return sg_fail(SG_ERR_OOM, "inference: no memory");
    f->workers = options->workers > 0 ? options->workers : 1;
    f->device = backend->device;
    f->beside = options->beside;
    f->batch = options->batch;
    pthread_mutex_init(&f->on.lock, NULL);
    st = build(f, options, backend);
    if (st == SG_OK) st = allocate(f);
    if (st == SG_OK && f->device) st = allocate_there(f);
    if (st != SG_OK) return give_up(f, st);
    *out = f;
    return SG_OK;
}

void sg_inference_destroy(sg_inference *f) {
    if (!f) return;
    if (f->device) release_there(f);
    for (int i = 0; f->arena && i < f->arenas; i++) sg_block_release(f->device, f->arena[i]);
    sg_free(f->arena);
    sg_block_release(f->device, f->weights);
    sg_program_destroy(f->program);
    sg_graph_destroy(f->graph);
    sg_state_destroy(f->loaded);
    if (f->own_table) sg_table_destroy(f->table);
    pthread_mutex_destroy(&f->on.lock);
    sg_free(f);
}

const sg_table *sg_inference_table(const sg_inference *f) { return f->table; }

static sg_bindings bind(const sg_inference *f) {
    sg_bindings b;

    memset(&b, 0, sizeof b);
    b.queue = f->on.queue;
    b.base[SG_BUF_WEIGHTS] = f->weights;
    b.base[SG_BUF_VALUES] =
        (void *)(uintptr_t)f->values; /* only read: an eval graph has no sink there */
    b.base[SG_BUF_ROWS] = (void *)(uintptr_t)f->rows;
    return b;
}

sg_status sg_inference_use_values(sg_inference *f, const float *values, const float *rows) {
    sg_bindings b;

    if (f->table->n_rows > 0 && !rows)
        return sg_fail(SG_ERR_ARG, "inference: the model's tables need rows");
    f->values = values;
    f->rows = rows;
    b = bind(f);
    SG_TRY(sg_program_prologue(f->program, &b));
    return f->device ? f->device->wait(f->on.queue) : SG_OK;
}

/* A copy on the device, in *there, which is made once. */
static sg_status put_floats(sg_inference *f, const char *what, const float *from, int64_t n,
                            void **there) {
    size_t bytes = (size_t)n * sizeof(float);

    if (n == 0 || !from) return SG_OK;
    if (!*there) SG_TRY(f->device->alloc(bytes, what, there));
    return f->device->put(f->on.queue, *there, from, bytes);
}

static sg_status put_values(sg_inference *f, const float *values, const float *rows) {
    SG_TRY(put_floats(f, "a model's parameters", values, f->table->n_values, &f->on.values));
    return put_floats(f, "a model's tables", rows, f->table->n_rows, &f->on.rows);
}

sg_status sg_inference_set_values(sg_inference *f, const float *values, const float *rows) {
    sg_status st;

    if (!f->device) return sg_inference_use_values(f, values, rows);
    st = put_values(f, values, rows);
    if (st == SG_ERR_OOM) return suggest(f->beside, f->batch, bytes_there(f));
    SG_TRY(st);
    return sg_inference_use_values(f, f->on.values, rows ? f->on.rows : NULL);
}

sg_status sg_inference_share_values(sg_inference *f, const sg_inference *other) {
    return sg_inference_use_values(f, other->values, other->rows);
}

sg_status sg_inference_load(sg_inference *f, const char *path) {
    if (!f->loaded) SG_TRY(sg_state_create(f->table, 0, &f->loaded));
    SG_TRY(sg_model_file_load(path, f->loaded));
    return sg_inference_set_values(f, f->loaded->ema, f->loaded->rows);
}

static sg_status put_inputs(sg_inference *f, const void *const inputs[]) {
    const inference_device *on = &f->on;

    for (int i = 0; i < sg_graph_inputs(f->graph); i++) {
        memcpy(on->pinned_input[i], inputs[i], input_bytes(f, i));
        SG_TRY(f->device->put(on->queue, on->input[i], on->pinned_input[i], input_bytes(f, i)));
    }
    return SG_OK;
}

/* `there`: on the device. */
static sg_status put_run(sg_inference *f, const void *const there[]) {
    inference_device *on = &f->on;
    sg_bindings b = bind(f);

    b.base[SG_BUF_ARENA] = f->arena[0];
    for (int i = 0; i < sg_graph_inputs(f->graph); i++) b.input[i] = there[i];
    for (int i = 0; i < sg_graph_outputs(f->graph); i++) b.output[i] = on->output[i];
    return sg_program_run(f->program, &b);
}

/* Where the inputs are already there `inputs` is NULL. */
static sg_status run_there(sg_inference *f, const void *const inputs[], const void *const there[],
                           const sg_inference_then *then) {
    if (inputs) SG_TRY(put_inputs(f, inputs));
    SG_TRY(put_run(f, there));
    SG_TRY(then->put(then->context, f->on.queue, (const void *const *)f->on.output));
    SG_TRY(f->device->wait(f->on.queue));
    if (then->take) then->take(then->context);
    return SG_OK;
}

static sg_status run_in_turn(sg_inference *f, const void *const inputs[], const void *const there[],
                             const sg_inference_then *then) {
    sg_status st;

    pthread_mutex_lock(&f->on.lock);
    st = run_there(f, inputs, there, then);
    pthread_mutex_unlock(&f->on.lock);
    return st;
}

/* Outputs come to the host. */
typedef struct {
    sg_inference *inference;
    void *const *to;
} outputs_there;

static sg_status put_outputs(void *context, void *queue, const void *const outputs[]) {
    const outputs_there *o = context;
    sg_inference *f = o->inference;

    for (int i = 0; i < sg_graph_outputs(f->graph); i++)
        SG_TRY(f->device->get(queue, f->on.pinned_output[i], outputs[i], output_bytes(f, i)));
    return SG_OK;
}

static void take_outputs(void *context) {
    const outputs_there *o = context;
    const sg_inference *f = o->inference;

    for (int i = 0; i < sg_graph_outputs(f->graph); i++)
        memcpy(o->to[i], f->on.pinned_output[i], output_bytes(f, i));
}

static sg_status run_and_get(sg_inference *f, const void *const inputs[], void *const outputs[]) {
    outputs_there o = {f, outputs};
    const sg_inference_then then = {put_outputs, take_outputs, &o};

    return run_in_turn(f, inputs, (const void *const *)f->on.input, &then);
}

static sg_status check_run(const sg_inference *f) {
    if (!f->values) return sg_fail(SG_ERR_ARG, "inference: the model has no values yet");
    if (!f->stop || !f->stop(f->stop_context)) return SG_OK;
    return sg_fail(SG_ERR_INTERRUPTED, "given up before a run of the model");
}

sg_status sg_inference_run(sg_inference *f, int worker, const void *const inputs[],
                           void *const outputs[]) {
    sg_bindings b = bind(f);

    SG_TRY(check_run(f));
    if (f->device) return run_and_get(f, inputs, outputs);
    b.stop = f->stop;
    b.stop_context = f->stop_context;
    b.base[SG_BUF_ARENA] = f->arena[worker];
    for (int i = 0; i < sg_graph_inputs(f->graph); i++) b.input[i] = inputs[i];
    for (int i = 0; i < sg_graph_outputs(f->graph); i++) b.output[i] = outputs[i];
    return sg_program_run(f->program, &b);
}

void sg_inference_stop_when(sg_inference *f, bool (*stop)(void *context), void *context) {
    f->stop = stop;
    f->stop_context = context;
}

const sg_device *sg_inference_device(const sg_inference *f) { return f->device; }

void *sg_inference_queue(const sg_inference *f) { return f->on.queue; }

sg_status sg_inference_run_then(sg_inference *f, const void *const inputs[],
                                const void *const there[], const sg_inference_then *then) {
    SG_TRY(check_run(f));
    return run_in_turn(f, inputs, inputs ? (const void *const *)f->on.input : there, then);
}
