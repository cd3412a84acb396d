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

static void *address(const sg_program *p, const sg_bindings *b, int slot) {
    sg_place place;

    if (slot < 0) return NULL;
    place = p->slot[slot].place;
    switch (place.buffer) {
    case SG_BUF_INPUT:
        return (void *)(uintptr_t)b->input[place.offset];
    case SG_BUF_OUTPUT:
        return b->output[place.offset];
    case SG_BUF_CONST:
        return p->constants + place.offset;
    default:
        return (char *)b->base[place.buffer] + place.offset;
    }
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
    }
    return SG_OK;
}

sg_status sg_program_run_once(const sg_program *p, sg_bindings *b) {
    sg_status st = SG_OK;
    void *arena = sg_malloc(p->arena_bytes), *weights = sg_malloc(p->weights_bytes);

    if (!arena || !weights) st = sg_fail(SG_ERR_OOM, "program: no memory for its arena");
    b->base[SG_BUF_ARENA] = arena;
    b->base[SG_BUF_WEIGHTS] = weights;
    if (st == SG_OK && p->backend->enter_thread) p->backend->enter_thread();
    /* 0xff: every float a NaN, so that a kernel that reads what nobody wrote is found out */
    if (st == SG_OK) memset(arena, 0xff, p->arena_bytes);
    if (st == SG_OK) memset(weights, 0xff, p->weights_bytes);
    if (st == SG_OK) st = sg_program_prologue(p, b);
    if (st == SG_OK) st = sg_program_run(p, b);
    b->base[SG_BUF_ARENA] = b->base[SG_BUF_WEIGHTS] = NULL;
    sg_free(arena);
    sg_free(weights);
    return st;
}
