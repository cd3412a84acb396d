/* Convolutions by cuDNN: which engine, with which knobs, and running it.
 *
 * A choice is "cudnn ENGINE KNOB=VALUE ...", or "cudnn+ ..." where bias and activation are part of
 * the graph: the engine's global index and its knobs, by cuDNN's numbers. Whatever proposed it, a
 * plan is always built from that text, so that the text is known to be enough.
 *
 * Graphs, heuristics and plans are checked without a GPU too, by cuDNN's planning for a described
 * device (tests/test_vendor.c). Timing four proposals gained 1 % on an H200. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "cudnn_graph.h"

enum { kMaxProposals = 24, kMaxTried = 4, kMaxKnobs = CUDNN_KNOB_TYPE_COUNTS };

typedef struct {
    sg_vendor_plan base;
    cudnnHandle_t handle; /* the vendor's */
    sg_cudnn_bag bag;
    cudnnBackendDescriptor_t plan; /* in the bag */
    int n_in;
} conv_plan;

static sg_status fail(cudnnStatus_t status, const char *key) {
    char why[256] = "";

    cudnnGetLastErrorString(why, sizeof why);
    return sg_fail(SG_ERR_CUDA, "cudnn: %s: %s%s%s", key, cudnnGetErrorString(status),
                   why[0] ? ": " : "", why);
}

static sg_status open_handle(sg_cuda_vendor *v) {
    cudnnStatus_t status;

    if (v->cudnn || v->device) return SG_OK;
    status = cudnnCreate(&v->cudnn);
    if (status == CUDNN_STATUS_SUCCESS) return SG_OK;
    v->cudnn = NULL;
    return sg_fail(SG_ERR_UNAVAILABLE, "cudnn: cannot be used here: %s",
                   cudnnGetErrorString(status));
}

/* --- a plan from its text --------------------------------------------------------------------- */

typedef struct {
    bool fused;
    int64_t engine;
    int n_knobs;
    cudnnBackendKnobType_t knob[kMaxKnobs];
    int64_t value[kMaxKnobs];
} choice;

static void choice_print(const choice *c, char text[SG_PLAN_CHOICE]) {
    int at =
        snprintf(text, SG_PLAN_CHOICE, "cudnn%s %lld", c->fused ? "+" : "", (long long)c->engine);

    for (int i = 0; i < c->n_knobs && at < SG_PLAN_CHOICE; i++)
        at += snprintf(text + at, (size_t)(SG_PLAN_CHOICE - at), " %d=%lld", (int)c->knob[i],
                       (long long)c->value[i]);
}

static bool choice_parse(const char *text, choice *c) {
    char *end;

    memset(c, 0, sizeof *c);
    if (strncmp(text, "cudnn", 5) != 0) return false;
    text += 5;
    c->fused = *text == '+';
    c->engine = strtoll(text + c->fused, &end, 10);
    if (end == text + c->fused) return false;
    while (*end == ' ' && c->n_knobs < kMaxKnobs) {
        c->knob[c->n_knobs] = (cudnnBackendKnobType_t)strtol(end, &end, 10);
        if (*end != '=') return false;
        c->value[c->n_knobs++] = strtoll(end + 1, &end, 10);
    }
    return *end == 0;
}

static void set_device(sg_cudnn_bag *bag, cudnnBackendDescriptor_t d, const sg_cuda_vendor *v,
                       cudnnBackendAttributeName_t name) {
    if (v->device) sg_cudnn_set(bag, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &v->device);
}

static cudnnBackendDescriptor_t make_config(sg_cudnn_bag *bag, const sg_cuda_vendor *v,
                                            cudnnBackendDescriptor_t graph, const choice *c) {
    cudnnBackendDescriptor_t engine = sg_cudnn_make(bag, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendDescriptor_t config, knobs[kMaxKnobs];

    sg_cudnn_set(bag, engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                 &graph);
    sg_cudnn_set(bag, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &c->engine);
    set_device(bag, engine, v, CUDNN_ATTR_ENGINE_DEVICEPROP);
    sg_cudnn_finalize(bag, engine);
    for (int i = 0; i < c->n_knobs; i++) {
        knobs[i] = sg_cudnn_make(bag, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        sg_cudnn_set(bag, knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1,
                     &c->knob[i]);
        sg_cudnn_set(bag, knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1,
                     &c->value[i]);
        sg_cudnn_finalize(bag, knobs[i]);
    }
    config = sg_cudnn_make(bag, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    sg_cudnn_set(bag, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                 &engine);
    if (c->n_knobs > 0)
        sg_cudnn_set(bag, config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                     c->n_knobs, knobs);
    sg_cudnn_finalize(bag, config);
    return config;
}

static sg_status conv_run(const sg_vendor_plan *plan, const void *const in[], void *const out[],
                          void *scratch, void *queue) {
    const conv_plan *p = (const conv_plan *)plan;
    sg_cudnn_bag bag = {.n = 0};
    int64_t uids[4] = {kUidOut};
    const void *pointers[4] = {out[0]};
    cudnnBackendDescriptor_t pack;

    if (!p->handle)
        return sg_fail(SG_ERR_UNSUPPORTED, "cudnn: planned for a described device, not to be run");
    for (int i = 0; i < p->n_in; i++) {
        uids[i + 1] = kUidIn + i;
        pointers[i + 1] = in[i];
    }
    bag.status = cudnnSetStream(p->handle, queue);
    pack = sg_cudnn_make(&bag, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    sg_cudnn_set(&bag, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, p->n_in + 1,
                 uids);
    sg_cudnn_set(&bag, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
                 p->n_in + 1, pointers);
    sg_cudnn_set(&bag, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &scratch);
    sg_cudnn_finalize(&bag, pack);
    if (bag.status == CUDNN_STATUS_SUCCESS)
        bag.status = cudnnBackendExecute(p->handle, p->plan, pack);
    sg_cudnn_clear(&bag);
    return bag.status == CUDNN_STATUS_SUCCESS ? SG_OK : fail(bag.status, plan->label);
}

static void conv_release(sg_vendor_plan *plan) {
    conv_plan *p = (conv_plan *)plan;

    sg_cudnn_clear(&p->bag);
    sg_free(p);
}

/* SG_ERR_CUDA: it cannot be had. */
static sg_status realise(sg_cuda_vendor *v, const sg_vendor_conv *conv, const char *key,
                         const choice *c, conv_plan **out) {
    conv_plan *p = sg_calloc(1, sizeof *p);
    cudnnBackendDescriptor_t graph, config;
    int64_t workspace = 0;

    if (!p) return sg_fail(SG_ERR_OOM, "cudnn: no memory for a plan");
    graph = sg_cudnn_graph(&p->bag, v->cudnn, conv, c->fused);
    config = make_config(&p->bag, v, graph, c);
    p->plan = sg_cudnn_make(&p->bag, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    sg_cudnn_set(&p->bag, p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config);
    if (v->cudnn)
        sg_cudnn_set(&p->bag, p->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                     &v->cudnn);
    set_device(&p->bag, p->plan, v, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP);
    sg_cudnn_finalize(&p->bag, p->plan);
    (void)sg_cudnn_get(&p->bag, p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64,
                       1, &workspace);
    if (p->bag.status != CUDNN_STATUS_SUCCESS) {
        sg_status st = fail(p->bag.status, key);

        conv_release(&p->base);
        return st;
    }
    p->handle = v->cudnn;
    p->n_in = c->fused && conv->bias ? 3 : 2;
    p->base = (sg_vendor_plan){conv_run, conv_release, (size_t)workspace, c->fused, ""};
    snprintf(p->base.label, sizeof p->base.label, "cudnn%s %lld", c->fused ? "+" : "",
             (long long)c->engine);
    *out = p;
    return SG_OK;
}

/* --- proposals -------------------------------------------------------------------------------- */

/* Whether an engine with this note may be used. What is faster by other arithmetic (Winograd, FFT)
 * is left out at fp32, which is asked for to be near the definition. */
static bool may_use(cudnnBackendNumericalNote_t note, sg_cuda_precision precision) {
    switch (note) {
    case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
    case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
        return false;
    case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
    case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
    case CUDNN_NUMERICAL_NOTE_FFT:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
    case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
        return precision != SG_CUDA_FP32;
    default:
        return true;
    }
}

/* Whether what is known of the engine lets it be used. */
static bool is_fit(sg_cudnn_bag *bag, cudnnBackendDescriptor_t engine, bool compiled,
                   sg_cuda_precision precision) {
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendBehaviorNote_t behaviours[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    int64_t n = sg_cudnn_get(bag, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                             CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes);
    bool fit = true;

    for (int64_t i = 0; i < n; i++) fit = fit && may_use(notes[i], precision);
    n = sg_cudnn_get(bag, engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE,
                     CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, behaviours);
    for (int64_t i = 0; i < n; i++)
        fit = fit && (compiled || behaviours[i] != CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
    return fit && bag->status == CUDNN_STATUS_SUCCESS;
}

/* What `config` is, in our words; false: it may not be used. */
static bool read_config(cudnnBackendDescriptor_t config, bool compiled, sg_cuda_precision precision,
                        choice *c) {
    sg_cudnn_bag bag = {.n = 0};
    cudnnBackendDescriptor_t engine = sg_cudnn_make(&bag, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    cudnnBackendDescriptor_t knobs[kMaxKnobs];
    bool fit;

    (void)sg_cudnn_get(&bag, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                       &engine);
    (void)sg_cudnn_get(&bag, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                       &c->engine);
    fit = is_fit(&bag, engine, compiled, precision);
    for (int i = 0; i < kMaxKnobs; i++)
        knobs[i] = sg_cudnn_make(&bag, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    c->n_knobs = (int)sg_cudnn_get(&bag, config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                   CUDNN_TYPE_BACKEND_DESCRIPTOR, kMaxKnobs, knobs);
    for (int i = 0; i < c->n_knobs; i++) {
        (void)sg_cudnn_get(&bag, knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE,
                           1, &c->knob[i]);
        (void)sg_cudnn_get(&bag, knobs[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1,
                           &c->value[i]);
    }
    fit = fit && bag.status == CUDNN_STATUS_SUCCESS;
    sg_cudnn_clear(&bag);
    return fit;
}

/* Append what one heuristic proposes, best first. It may propose nothing. */
static int propose(sg_cuda_vendor *v, const sg_vendor_conv *conv, bool fused,
                   cudnnBackendHeurMode_t mode, choice list[kMaxProposals], int n_list) {
    sg_cudnn_bag bag = {.n = 0};
    cudnnBackendDescriptor_t graph = sg_cudnn_graph(&bag, v->cudnn, conv, fused);
    cudnnBackendDescriptor_t heuristic = sg_cudnn_make(&bag, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    cudnnBackendDescriptor_t configs[kMaxProposals];
    int64_t n;

    sg_cudnn_set(&bag, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    sg_cudnn_set(&bag, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    set_device(&bag, heuristic, v, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP);
    sg_cudnn_finalize(&bag, heuristic);
    for (int i = 0; i < kMaxProposals; i++)
        configs[i] = sg_cudnn_make(&bag, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    n = sg_cudnn_get(&bag, heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                     kMaxProposals, configs);
    for (int64_t i = 0; i < n && i < kMaxProposals && n_list < kMaxProposals; i++) {
        choice *c = &list[n_list];

        memset(c, 0, sizeof *c);
        c->fused = fused;
        if (read_config(configs[i], v->compiled, conv->precision, c)) n_list++;
    }
    sg_cudnn_clear(&bag);
    return n_list;
}

static void bytes_of(const sg_vendor_conv *c, size_t in[3], size_t out[2]) {
    size_t element = c->precision == SG_CUDA_BF16 ? 2 : 4;
    size_t x = (size_t)(c->N * c->C * c->H * c->W) * element;
    size_t w = (size_t)(c->OC * (c->C / c->groups) * c->KH * c->KW) * element;
    size_t y = (size_t)(c->N * c->OC * c->OH * c->OW) * element;

    in[0] = c->pass == SG_CONV_DX ? w : x;
    in[1] = c->pass == SG_CONV_FORWARD ? w : y;
    in[2] = c->bias ? (size_t)c->OC * sizeof(float) : 0;
    out[0] = c->pass == SG_CONV_FORWARD ? y : c->pass == SG_CONV_DX ? x : w;
    out[1] = 0;
}

/* The fastest of the proposals that can be had, or the first of them. */
static sg_status choose_from(sg_cuda_vendor *v, const sg_vendor_conv *conv, const char *key,
                             const choice list[], int n, int *best) {
    double fastest = 0.0;
    int tried = 0;

    *best = -1;
    for (int i = 0; i < n && tried < (v->timed ? kMaxTried : 1); i++) {
        size_t in[3], out[2];
        double seconds = 0.0;
        conv_plan *p;
        sg_status st = realise(v, conv, key, &list[i], &p);

        if (st == SG_ERR_OOM) return st;
        if (st != SG_OK) continue;
        if (p->base.scratch > v->workspace) {
            conv_release(&p->base);
            continue;
        }
        tried++;
        bytes_of(conv, in, out);
        if (v->timed) st = sg_vendor_time(v, &p->base, in, out, &seconds);
        conv_release(&p->base);
        SG_TRY(st);
        if (*best < 0 || seconds < fastest) {
            *best = i;
            fastest = seconds;
        }
    }
    return SG_OK;
}

/* With bias and activation in the graph if there is such an engine, else without. */
static sg_status choose(sg_cuda_vendor *v, const sg_vendor_conv *conv, const char *key,
                        choice *out) {
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B,
                                                   CUDNN_HEUR_MODE_FALLBACK};
    bool whole = conv->bias || conv->act != SG_ACT_NONE;
    choice *list = sg_calloc(kMaxProposals, sizeof *list);
    int best = -1;
    sg_status st = SG_OK;

    if (!list) return sg_fail(SG_ERR_OOM, "cudnn: no memory for proposals");
    for (int fused = whole; fused >= 0 && best < 0 && st == SG_OK; fused--) {
        for (int m = 0; m < 3 && best < 0 && st == SG_OK; m++) {
            int n = propose(v, conv, fused, modes[m], list, 0);

            st = choose_from(v, conv, key, list, n, &best);
            if (best >= 0) *out = list[best];
        }
    }
    sg_free(list);
    if (st == SG_OK && best < 0)
        return sg_fail(SG_ERR_UNSUPPORTED,
                       "%s: cuDNN has no engine for it that always gives the same bits in %zu MiB",
                       key, v->workspace >> 20);
    return st;
}

sg_status sg_vendor_plan_conv(sg_cuda_vendor *v, const sg_vendor_conv *conv, sg_vendor_plan **out) {
    char key[SG_PLAN_KEY], text[SG_PLAN_CHOICE];
    bool known;
    choice c;
    conv_plan *p;
    sg_status st;

    sg_plan_key_conv(conv, key);
    SG_TRY(open_handle(v));
    known = sg_plan_table_find(v->table, key, text);
    if (!known) {
        SG_TRY(choose(v, conv, key, &c));
        choice_print(&c, text);
    }
    if (!choice_parse(text, &c)) return sg_fail(SG_ERR_DATA, "plans: %s: \"%s\"", key, text);
    st = realise(v, conv, key, &c, &p);
    if (st == SG_ERR_CUDA && known)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "%s: the run's plan \"%s\" cannot be had here; another GPU or cuDNN made it",
                       key, text);
    SG_TRY(st);
    if (!known) st = sg_plan_table_add(v->table, key, text);
    if (st != SG_OK) {
        conv_release(&p->base);
        return st;
    }
    *out = &p->base;
    return SG_OK;
}
