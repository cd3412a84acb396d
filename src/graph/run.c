/* Replay: the same kernels on the same places, every time. */
#include <string.h>

#include "core/mem.h"
#include "core/threads.h"
#include "graph/plan.h"

size_t sg_program_arena_bytes(const sg_program *p) { return p->arena_bytes; }
size_t sg_program_weights_bytes(const sg_program *p) { return p->weights_bytes; }
int sg_program_steps(const sg_program *p) { return p->n_steps; }

sg_step_view sg_program_step(const sg_program *p, int i) {
    const sg_step *step = &p->step[i];
    sg_step_view view = {step->node,       step->kernel.label, step->prologue,
                         step->conversion, step->kernel.flop,  step->bytes};

    return view;
}

static bool lies_in(const sg_program *p, int slot, sg_buffer buffer, int64_t start, int64_t end) {
    const sg_slot *s;

    if (slot < 0) return false;
    s = &p->slot[slot];
    return s->place.buffer == buffer && s->place.offset < end &&
           s->place.offset + (int64_t)s->bytes > start;
}

int sg_program_last_use(const sg_program *p, sg_buffer buffer, int64_t start, int64_t end) {
    for (int i = p->n_steps - 1; i >= 0; i--) {
        const sg_step *step = &p->step[i];

        for (int k = 0; k < step->n_in; k++)
            if (lies_in(p, step->in[k], buffer, start, end)) return i;
        for (int o = 0; o < step->n_out; o++)
            if (lies_in(p, step->out[o], buffer, start, end)) return i;
    }
    return -1;
}

static void *address(const sg_program *p, const sg_bindings *b, int slot) {
    sg_place place;

    if (slot < 0) return NULL;
    place = p->slot[slot].place;
    switch (place.buffer) {
    case SG_BUF_INPUT:
        return (void *)(uintptr_t)b->input[place.offset];
    case SG_BUF_OUTPUT:
        return b->output[place.offset];
    case SG_BUF_SOURCE:
        return b->source[place.offset];
    case SG_BUF_CONST:
        return p->constants + place.offset;
    default:
        return (char *)b->base[place.buffer] + place.offset;
    }
}

/* A device's kernel is run so many times more for one wait, which would else be much of its time.
 * What it writes over its inputs it then does to its own output: wrong numbers, the same time. */
static sg_status time_on_device(const sg_device *device, const sg_step *step, const sg_args *args,
                                double *seconds) {
    enum { kTimes = 10 };
    double start;

    SG_TRY(device->wait(args->queue));
    start = sg_now();
    for (int i = 0; i < kTimes; i++) SG_TRY(step->kernel.run(args));
    SG_TRY(device->wait(args->queue));
    *seconds += (sg_now() - start) / kTimes;
    return SG_OK;
}

static sg_status run_step(const sg_program *p, const sg_bindings *b, int s) {
    const sg_step *step = &p->step[s];
    double start = b->seconds ? sg_now() : 0.0;
    sg_args args = {0}; /* inputs left out are NULL */

    args.node = step->node;
    for (int i = 0; i < step->n_in; i++) args.in[i] = address(p, b, step->in[i]);
    for (int o = 0; o < step->n_out; o++) args.out[o] = address(p, b, step->out[o]);
    args.scratch = address(p, b, step->scratch);
    args.state = step->kernel.state;
    args.info = &b->info;
    args.queue = b->queue;
    SG_TRY(step->kernel.run(&args));
    if (b->seconds && p->backend->device)
        return time_on_device(p->backend->device, step, &args, &b->seconds[s]);
    if (b->seconds) b->seconds[s] += sg_now() - start;
    return SG_OK;
}

sg_status sg_program_prologue(const sg_program *p, const sg_bindings *b) {
    for (int s = 0; s < p->n_prologue; s++) SG_TRY(run_step(p, b, s));
    return SG_OK;
}

sg_status sg_program_run(const sg_program *p, const sg_bindings *b) {
    for (int s = p->n_prologue; s < p->n_steps; s++) {
        if (b->stop && b->stop(b->stop_context))
            return sg_fail(SG_ERR_INTERRUPTED, "given up before %s", p->step[s].node->name);
        SG_TRY(run_step(p, b, s));
        if (b->reached) SG_TRY(b->reached(b->reached_context, s));
    }
    return SG_OK;
}

/* --- once, for tests and tools ---------------------------------------------------------------- */

/* 0xff: every float a NaN, so that a kernel that reads what nobody wrote is found out. */
static sg_status fill_block(const sg_device *device, void *queue, void *block, size_t bytes) {
    void *host = device ? sg_malloc(bytes) : block;
    sg_status st = SG_OK;

    if (!host) return sg_fail(SG_ERR_OOM, "program: no memory for its arena");
    memset(host, 0xff, bytes);
    if (!device) return SG_OK;
    st = device->put(queue, block, host, bytes);
    if (st == SG_OK) st = device->wait(queue);
    sg_free(host);
    return st;
}

static sg_status stage_inputs(const sg_program *p, const sg_bindings *b, sg_bindings *there) {
    const sg_device *device = p->backend->device;

    for (int i = 0; i < sg_graph_inputs(p->graph); i++) {
        size_t bytes = sg_value_bytes(sg_graph_input(p->graph, i));
        void *block = NULL;

        if (!b->input[i]) continue;
        SG_TRY(device->alloc(bytes, "an input", &block));
        there->input[i] = block;
        SG_TRY(device->put(there->queue, block, b->input[i], bytes));
    }
    for (int o = 0; o < sg_graph_outputs(p->graph); o++) {
        size_t bytes = sg_value_bytes(sg_graph_output(p->graph, o));

        if (b->output[o]) SG_TRY(device->alloc(bytes, "an output", &there->output[o]));
    }
    return SG_OK;
}

static sg_status fetch_outputs(const sg_program *p, const sg_bindings *b,
                               const sg_bindings *there) {
    const sg_device *device = p->backend->device;

    for (int o = 0; o < sg_graph_outputs(p->graph); o++) {
        if (b->output[o])
            SG_TRY(device->get(there->queue, b->output[o], there->output[o],
                               sg_value_bytes(sg_graph_output(p->graph, o))));
    }
    return device->wait(there->queue);
}

static sg_status run_blocks(const sg_program *p, const sg_bindings *b) {
    const sg_device *device = p->backend->device;

    SG_TRY(fill_block(device, b->queue, b->base[SG_BUF_ARENA], p->arena_bytes));
    SG_TRY(fill_block(device, b->queue, b->base[SG_BUF_WEIGHTS], p->weights_bytes));
    if (p->backend->enter_thread) p->backend->enter_thread();
    SG_TRY(sg_program_prologue(p, b));
    return sg_program_run(p, b);
}

/* As `b`, with inputs and outputs on the device. */
static sg_status run_on_device(const sg_program *p, const sg_bindings *b) {
    const sg_device *device = p->backend->device;
    sg_bindings there = *b;
    sg_status st;

    memset(there.input, 0, sizeof there.input);
    memset(there.output, 0, sizeof there.output);
    SG_TRY(device->queue_create(&there.queue));
    st = stage_inputs(p, b, &there);
    if (st == SG_OK) st = run_blocks(p, &there);
    if (st == SG_OK) st = fetch_outputs(p, b, &there);
    device->queue_destroy(there.queue);
    for (int i = 0; i < SG_MAX_INPUTS; i++) device->release((void *)(uintptr_t)there.input[i]);
    for (int o = 0; o < SG_MAX_OUTPUTS; o++) device->release(there.output[o]);
    return st;
}

sg_status sg_program_run_once(const sg_program *p, sg_bindings *b) {
    const sg_device *device = p->backend->device;
    void *arena = NULL, *weights = NULL;
    sg_status st = sg_block_alloc(device, p->arena_bytes, "a program's arena", &arena);

    if (st == SG_OK) st = sg_block_alloc(device, p->weights_bytes, "a program's weights", &weights);
    b->base[SG_BUF_ARENA] = arena;
    b->base[SG_BUF_WEIGHTS] = weights;
    if (st == SG_OK) st = device ? run_on_device(p, b) : run_blocks(p, b);
    b->base[SG_BUF_ARENA] = b->base[SG_BUF_WEIGHTS] = NULL;
    sg_block_release(device, arena);
    sg_block_release(device, weights);
    return st;
}
