/* Lowering: from a graph to a list of kernels.
 *
 * Nodes are visited in order. The backend chooses a kernel and the layouts it wants; a value then
 * exists in one or more *forms*, each a layout in a slot of memory, and conversions are inserted
 * where a form is missing. A step whose inputs are all static (parameters, constants, and what was
 * made of them) belongs to the prologue. */
#include <string.h>

#include "core/mem.h"
#include "graph/plan.h"
#include "ops/ops.h"

enum { kMaxForms = 6 };

typedef struct {
    sg_layout layout;
    int slot;
    bool is_static;
} form;

typedef struct {
    form form[kMaxForms];
    int n;
} forms;

typedef struct {
    sg_program *p;
    forms *of;  /* by value id */
    bool *live; /* by node id */
} lowering;

size_t sg_value_bytes(const sg_value *v) {
    return (size_t)sg_shape_count(&v->shape) * sg_dtype_size(v->dtype);
}

/* Whether the sink is written at all. */
static bool wanted(const sg_program *p, const sg_sink_entry *sink) {
    return !p->no_outputs || sink->place.buffer != SG_BUF_OUTPUT;
}

static const sg_sink_entry *first_sink(const sg_program *p, const sg_value *v) {
    for (int i = 0; i < p->graph->n_sinks; i++)
        if (p->graph->sink[i].value == v && wanted(p, &p->graph->sink[i]))
            return &p->graph->sink[i];
    return NULL;
}

static void mark_live(const sg_program *p, bool *live) {
    const sg_graph *g = p->graph;

    for (int i = 0; i < g->n_sinks; i++)
        if (wanted(p, &g->sink[i])) live[g->sink[i].value->node->id] = true;
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        const sg_node *node = g->node[i];

        for (int k = 0; live[i] && k < node->n_in; k++)
            if (node->in[k]) live[node->in[k]->node->id] = true;
    }
}

/* --- slots and forms -------------------------------------------------------------------------- */

static sg_status add_slot(sg_program *p, sg_place place, size_t bytes, int *out) {
    sg_slot *slot;

    SG_TRY(sg_graph_grow((void **)&p->slot, p->n_slots, &p->slot_capacity, sizeof *p->slot));
    slot = &p->slot[p->n_slots];
    slot->place = place;
    slot->bytes = bytes;
    slot->birth = slot->death = p->n_steps;
    slot->root = p->n_slots;
    *out = p->n_slots++;
    return SG_OK;
}

static sg_status add_form(lowering *low, const sg_value *v, sg_layout layout, int slot,
                          bool is_static) {
    forms *f = &low->of[v->id];

    if (f->n == kMaxForms)
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: wanted in more than %d layouts", v->node->name,
                       kMaxForms);
    f->form[f->n].layout = layout;
    f->form[f->n].slot = slot;
    f->form[f->n++].is_static = is_static;
    return SG_OK;
}

static const form *find_form(const lowering *low, const sg_value *v, sg_layout layout) {
    const forms *f = &low->of[v->id];

    for (int i = 0; i < f->n; i++)
        if (f->form[i].layout == layout) return &f->form[i];
    return NULL;
}

/* A sink's place with its table entry resolved: see sg_sum_into. */
static sg_place resolve(const sg_graph *g, sg_place place) {
    int64_t code = -1 - place.offset;

    if (place.buffer != SG_BUF_GRADS || place.offset >= 0) return place;
    if (code < SG_MAX_SUMS)
        place.offset = (g->table->n_values + code) * (int64_t)sizeof(float);
    else
        place.offset = g->table->entry[code - SG_MAX_SUMS].offset * (int64_t)sizeof(float);
    return place;
}

static sg_place fresh_place(bool is_static) {
    sg_place place = {is_static ? SG_BUF_WEIGHTS : SG_BUF_ARENA, 0};

    return place;
}

/* --- steps ------------------------------------------------------------------------------------ */

static sg_status add_step(sg_program *p, const sg_node *node, const sg_kernel_plan *kernel,
                          bool prologue, sg_step **out) {
    sg_step *step;
    sg_status st = sg_graph_grow((void **)&p->step, p->n_steps, &p->step_capacity, sizeof *step);

    if (st != SG_OK) {
        if (kernel->release) kernel->release(kernel->state);
        return st;
    }
    step = &p->step[p->n_steps++];
    memset(step, 0, sizeof *step);
    step->node = node;
    step->kernel = *kernel;
    step->prologue = prologue;
    step->scratch = -1;
    *out = step;
    return SG_OK;
}

static sg_status add_scratch(sg_program *p, sg_step *step) {
    if (!step->kernel.scratch) return SG_OK;
    SG_TRY(add_slot(p, fresh_place(step->prologue), step->kernel.scratch, &step->scratch));
    p->slot[step->scratch].birth = p->slot[step->scratch].death = p->n_steps - 1;
    return SG_OK;
}

static void init_plan(sg_kernel_plan *plan) {
    memset(plan, 0, sizeof *plan);
    for (int o = 0; o < SG_MAX_OUT; o++) plan->inplace[o] = -1;
}

/* Append the conversion of `v` from a form it has to `layout` in a new slot at `place`. */
static sg_status add_conversion(lowering *low, const sg_value *v, form from, sg_layout layout,
                                sg_place place, int *slot) {
    sg_program *p = low->p;
    size_t bytes = p->backend->bytes(p->context, v, layout);
    sg_kernel_plan kernel;
    sg_step *step;
    sg_status st;

    init_plan(&kernel);
    SG_TRY(p->backend->convert(p->context, v, from.layout, layout, &kernel));
    st = add_slot(p, place, bytes, slot);
    if (st != SG_OK) {
        if (kernel.release) kernel.release(kernel.state);
        return st;
    }
    SG_TRY(add_step(p, v->node, &kernel, place.buffer == SG_BUF_WEIGHTS, &step));
    step->conversion = true;
    step->n_in = step->n_out = 1;
    step->in[0] = from.slot;
    step->out[0] = *slot;
    step->bytes = (double)p->backend->bytes(p->context, v, from.layout) + (double)bytes;
    return add_scratch(p, step);
}

/* The form of `v` in `layout`, made if there is none: by way of PLAIN where the backend knows no
 * other between two of its own. */
static sg_status need_form(lowering *low, const sg_value *v, sg_layout layout, form *out) {
    const form *have = find_form(low, v, layout);
    form from;
    sg_status st;
    int slot;

    if (have) {
        *out = *have;
        return SG_OK;
    }
    from = low->of[v->id].form[0];
    st = add_conversion(low, v, from, layout, fresh_place(from.is_static), &slot);
    if (st == SG_ERR_UNSUPPORTED && from.layout != SG_LAYOUT_PLAIN && layout != SG_LAYOUT_PLAIN) {
        SG_TRY(need_form(low, v, SG_LAYOUT_PLAIN, &from));
        st = add_conversion(low, v, from, layout, fresh_place(from.is_static), &slot);
    }
    if (st == SG_OK) st = add_form(low, v, layout, slot, from.is_static);
    if (st == SG_OK) *out = low->of[v->id].form[low->of[v->id].n - 1];
    return st;
}

/* Write `v` to every sink but the first `done`, by copies. The first of them converts to PLAIN
 * where `v` is not, and whoever wants it so later reads it there. */
static sg_status write_sinks(lowering *low, const sg_value *v, int done) {
    const sg_graph *g = low->p->graph;

    for (int i = 0; i < g->n_sinks; i++) {
        const form *plain = find_form(low, v, SG_LAYOUT_PLAIN);
        form from = plain ? *plain : low->of[v->id].form[0];
        int slot;

        if (g->sink[i].value != v || !wanted(low->p, &g->sink[i]) || done-- > 0) continue;
        SG_TRY(add_conversion(low, v, from, SG_LAYOUT_PLAIN, resolve(g, g->sink[i].place), &slot));
        if (!plain) SG_TRY(add_form(low, v, SG_LAYOUT_PLAIN, slot, false));
    }
    return SG_OK;
}

/* --- nodes ------------------------------------------------------------------------------------ */

static sg_status lower_source(lowering *low, const sg_node *node) {
    const sg_graph *g = low->p->graph;
    const sg_value *v = &node->out[0];
    sg_place place = {SG_BUF_CONST, 0};
    bool is_static = node->op == &sg_op_param || node->op == &sg_op_constant;
    int slot;

    if (node->op == &sg_op_constant) {
        const sg_constant_attr *attr = node->attr;

        place.offset = (int64_t)low->p->constant_bytes;
        memcpy(low->p->constants + place.offset, attr->data, attr->bytes);
        low->p->constant_bytes += sg_align_up(attr->bytes);
    } else {
        const sg_source_attr *attr = node->attr;

        place = attr->place;
        if (node->op == &sg_op_param)
            place.offset = g->table->entry[attr->index].offset * (int64_t)sizeof(float);
    }
    SG_TRY(add_slot(low->p, place, sg_value_bytes(v), &slot));
    SG_TRY(add_form(low, v, SG_LAYOUT_PLAIN, slot, is_static));
    return write_sinks(low, v, 0);
}

/* A view shares the memory of its input: in the layout that this was made in where the elements lie
 * in PLAIN's order there too, else in PLAIN. */
static sg_status lower_view(lowering *low, const sg_node *node) {
    sg_layout layout = low->of[node->in[0]->id].form[0].layout;
    const sg_backend *backend = low->p->backend;
    form from;

    if (!backend->is_row_major || !backend->is_row_major(layout)) layout = SG_LAYOUT_PLAIN;
    SG_TRY(need_form(low, node->in[0], layout, &from));
    SG_TRY(add_form(low, &node->out[0], layout, from.slot, from.is_static));
    return write_sinks(low, &node->out[0], 0);
}

/* Memory for output `o`: the first sink itself where the kernel writes PLAIN. */
static sg_status lower_output(lowering *low, sg_step *step, int o) {
    const sg_program *p = low->p;
    const sg_value *v = &step->node->out[o];
    sg_layout layout = step->kernel.out[o];
    size_t bytes = p->backend->bytes(p->context, v, layout);
    const sg_sink_entry *sink = layout == SG_LAYOUT_PLAIN ? first_sink(p, v) : NULL;
    sg_place place = sink ? resolve(p->graph, sink->place) : fresh_place(step->prologue);

    SG_TRY(add_slot(low->p, place, bytes, &step->out[o]));
    low->p->slot[step->out[o]].birth = low->p->slot[step->out[o]].death = p->n_steps - 1;
    step->bytes += (double)bytes;
    return add_form(low, v, layout, step->out[o], step->prologue);
}

static bool has_sink(const sg_program *p, const sg_node *node) {
    for (int o = 0; o < node->n_out; o++)
        if (first_sink(p, &node->out[o])) return true;
    return false;
}

static sg_status choose_kernel(lowering *low, const sg_node *node, sg_kernel_plan *kernel) {
    sg_layout have[SG_MAX_IN] = {SG_LAYOUT_PLAIN};

    for (int i = 0; i < node->n_in; i++)
        if (node->in[i]) have[i] = low->of[node->in[i]->id].form[0].layout;
    init_plan(kernel);
    return low->p->backend->select(low->p->context, node, have, kernel);
}

/* The inputs' forms come first: their conversions are steps before this one. */
static sg_status lower_inputs(lowering *low, const sg_node *node, const sg_kernel_plan *kernel,
                              form in[], bool *is_static) {
    *is_static = !node->op->random && !has_sink(low->p, node);
    for (int i = 0; i < node->n_in; i++) {
        if (!node->in[i]) continue;
        SG_TRY(need_form(low, node->in[i], kernel->in[i], &in[i]));
        *is_static = *is_static && in[i].is_static;
    }
    return SG_OK;
}

static sg_status lower_node(lowering *low, const sg_node *node) {
    sg_program *p = low->p;
    sg_kernel_plan kernel;
    form in[SG_MAX_IN];
    bool is_static;
    sg_step *step;
    sg_status st;

    SG_TRY(choose_kernel(low, node, &kernel));
    st = lower_inputs(low, node, &kernel, in, &is_static);
    if (st != SG_OK) {
        if (kernel.release) kernel.release(kernel.state);
        return st;
    }
    SG_TRY(add_step(p, node, &kernel, is_static, &step));
    step->n_in = node->n_in;
    step->n_out = node->n_out;
    for (int i = 0; i < node->n_in; i++) {
        step->in[i] = node->in[i] ? in[i].slot : -1;
        if (node->in[i])
            step->bytes += (double)p->backend->bytes(p->context, node->in[i], kernel.in[i]);
    }
    for (int o = 0; o < node->n_out; o++) SG_TRY(lower_output(low, step, o));
    SG_TRY(add_scratch(p, step));
    /* write_sinks appends steps: `step` is not valid after the first */
    for (int o = 0; o < node->n_out; o++) {
        bool direct = kernel.out[o] == SG_LAYOUT_PLAIN;
        SG_TRY(write_sinks(low, &node->out[o], direct ? 1 : 0));
    }
    return SG_OK;
}

static sg_status lower_graph(lowering *low) {
    const sg_graph *g = low->p->graph;

    for (int i = 0; i < g->n_nodes; i++) {
        const sg_node *node = g->node[i];

        if (!low->live[i]) continue;
        if (node->op->source)
            SG_TRY(lower_source(low, node));
        else if (node->op->view)
            SG_TRY(lower_view(low, node));
        else
            SG_TRY(lower_node(low, node));
    }
    return SG_OK;
}

/* Steps were appended in graph order: move the prologue's to the front, keeping both orders. */
static sg_status sort_steps(sg_program *p) {
    sg_step *sorted = sg_malloc((size_t)p->n_steps * sizeof *sorted + 1);
    int *moved = sg_malloc((size_t)p->n_steps * sizeof *moved + 1);
    int n = 0;

    if (!sorted || !moved) {
        sg_free(sorted);
        sg_free(moved);
        return sg_fail(SG_ERR_OOM, "program: no memory for %d steps", p->n_steps);
    }
    for (int prologue = 1; prologue >= 0; prologue--) {
        for (int i = 0; i < p->n_steps; i++) {
            if (p->step[i].prologue != (bool)prologue) continue;
            moved[i] = n;
            sorted[n++] = p->step[i];
        }
        if (prologue) p->n_prologue = n;
    }
    for (int i = 0; i < p->n_slots; i++) {
        /* a source's slot is born at whatever step came next */
        if (p->slot[i].birth < p->n_steps) p->slot[i].birth = moved[p->slot[i].birth];
        p->slot[i].death = p->slot[i].birth;
    }
    memcpy(p->step, sorted, (size_t)p->n_steps * sizeof *sorted);
    sg_free(sorted);
    sg_free(moved);
    return SG_OK;
}

static sg_status move_constants(sg_program *p, size_t bytes) {
    const sg_device *device = p->backend->device;
    uint8_t *host = p->constants;
    void *queue = NULL, *there = NULL;
    sg_status st;

    if (!device) return SG_OK;
    p->constants = NULL;
    st = device->alloc(bytes, "constants", &there);
    if (st == SG_OK) st = device->queue_create(&queue);
    if (st == SG_OK) st = device->put(queue, there, host, bytes);
    if (st == SG_OK) st = device->wait(queue);
    device->queue_destroy(queue);
    p->constants = there;
    p->on_device = true;
    sg_free(host);
    return st;
}

static sg_status lower(sg_program *p) {
    const sg_graph *g = p->graph;
    lowering low = {p, NULL, NULL};
    size_t constant_bytes = 0;
    sg_status st = SG_OK;

    for (int i = 0; i < g->n_nodes; i++) {
        if (g->node[i]->op == &sg_op_constant)
            constant_bytes += sg_align_up(((const sg_constant_attr *)g->node[i]->attr)->bytes);
    }
    low.of = sg_calloc((size_t)g->n_values + 1, sizeof *low.of);
    low.live = sg_calloc((size_t)g->n_nodes + 1, sizeof *low.live);
    p->constants = sg_calloc(1, constant_bytes + 1);
    if (!low.of || !low.live || !p->constants)
        st = sg_fail(SG_ERR_OOM, "program: no memory for %d nodes", g->n_nodes);
    if (st == SG_OK) {
        mark_live(p, low.live);
        st = lower_graph(&low);
    }
    if (st == SG_OK) st = move_constants(p, constant_bytes + 1);
    sg_free(low.of);
    sg_free(low.live);
    return st;
}

sg_status sg_program_compile(const sg_graph *g, const sg_backend *backend,
                             const sg_compile_options *options, sg_program **out) {
    sg_backend_options backend_options = {options && options->op_threads > 1 ? options->op_threads
                                                                             : 1};
    sg_program *p;
    sg_status st;

    SG_TRY(sg_graph_status(g));
    if (g->table && !g->table->frozen)
        return sg_fail(SG_ERR_ARG, "program: the table of parameters is not frozen");
    p = sg_calloc(1, sizeof *p);
    if (!p) return sg_fail(SG_ERR_OOM, "program: no memory");
    p->graph = g;
    p->backend = backend;
    p->keep_memory = options && options->keep_memory;
    p->no_outputs = options && options->no_outputs;
    st = backend->open(&backend_options, &p->context);
    if (st == SG_OK) st = lower(p);
    if (st == SG_OK) st = sort_steps(p);
    if (st == SG_OK) st = sg_plan_memory(p);
    if (st != SG_OK) {
        sg_program_destroy(p);
        return st;
    }
    *out = p;
    return SG_OK;
}

void sg_program_destroy(sg_program *p) {
    if (!p) return;
    for (int i = 0; i < p->n_steps; i++)
        if (p->step[i].kernel.release) p->step[i].kernel.release(p->step[i].kernel.state);
    if (p->context) p->backend->close(p->context);
    sg_free(p->step);
    sg_free(p->slot);
    sg_block_release(p->on_device ? p->backend->device : NULL, p->constants);
    sg_free(p);
}
