#include "staged.h"

#include <string.h>

#include "core/mem.h"
#include "emulation/emulation.h"

static const sg_device *const device = &sg_cuda_device;

/* --- what the emulation would do -------------------------------------------------------------- */

#ifndef SG_EMULATED
static uint64_t seed = 1;

bool sg_emulation_is_on(void) { return false; }
uint64_t sg_emulation_seed(void) { return seed; }
void sg_emulation_guard(void) {}
void sg_emulation_set_seed(uint64_t s) { seed = s; } /* a GPU runs threads in its own order */
void sg_emulation_garbage(void *block, size_t bytes) {
    memset(block, seed % 2 ? 0xff : 0x33, bytes);
}

/* Who asks wants to know whether the test reached a kernel: the emulation has told. */
bool sg_emulation_has_run(const char *kernel) {
    (void)kernel;
    return true;
}
#endif

/* --- blocks that mirror host memory ----------------------------------------------------------- */

enum { kMostBlocks = SG_MAX_IN + SG_MAX_OUT + 4 };

typedef struct {
    const void *host;
    void *on_device;
    size_t bytes;
} mirrored;

typedef struct {
    void *queue;
    mirrored block[kMostBlocks];
    int n;
} stage;

static sg_status stage_open(stage *s) {
    static bool started;

    memset(s, 0, sizeof *s);
    if (!started) SG_TRY(sg_cuda_start(0));
    started = true;
    return device->queue_create(&s->queue);
}

static void stage_close(stage *s) {
    for (int i = 0; i < s->n; i++) device->release(s->block[i].on_device);
    device->queue_destroy(s->queue);
}

/* Values of no bytes may lie where another begins: each has a block. */
static mirrored *find(stage *s, const void *host) {
    for (int i = 0; i < s->n; i++)
        if (s->block[i].host == host && s->block[i].bytes > 0) return &s->block[i];
    return NULL;
}

/* A block with what `host` holds; the one there is if it was asked for before, as for an output in
 * an input's place. */
static sg_status stage_put(stage *s, const void *host, size_t bytes, void **out) {
    mirrored *block = bytes > 0 ? find(s, host) : NULL;

    *out = NULL;
    if (!host) return SG_OK;
    if (!block) {
        block = &s->block[s->n];
        SG_TRY(device->alloc(bytes, "a test", &block->on_device));
        block->host = host;
        block->bytes = bytes;
        s->n++;
        SG_TRY(device->put(s->queue, block->on_device, host, bytes));
    }
    if (block->bytes < bytes) return sg_fail(SG_ERR_ARG, "a test's values overlap");
    *out = block->on_device;
    return SG_OK;
}

static sg_status stage_get(stage *s, void *host, size_t bytes) {
    if (!host || bytes == 0) return SG_OK;
    return device->get(s->queue, host, find(s, host)->on_device, bytes);
}

/* --- the backend ------------------------------------------------------------------------------ */

typedef struct {
    sg_kernel_plan inner;
    int n_in, n_out;
    size_t in[SG_MAX_IN], out[SG_MAX_OUT];
} staged;

static sg_status run_on(stage *s, const staged *k, const sg_args *outer) {
    sg_args a = *outer;
    void *at;

    for (int i = 0; i < k->n_in; i++) {
        SG_TRY(stage_put(s, outer->in[i], k->in[i], &at));
        a.in[i] = at;
    }
    for (int o = 0; o < k->n_out; o++) SG_TRY(stage_put(s, outer->out[o], k->out[o], &a.out[o]));
    SG_TRY(stage_put(s, outer->scratch, k->inner.scratch, &a.scratch));
    a.state = k->inner.state;
    a.queue = s->queue;
    SG_TRY(k->inner.run(&a));
    for (int o = 0; o < k->n_out; o++) SG_TRY(stage_get(s, outer->out[o], k->out[o]));
    return device->wait(s->queue);
}

static sg_status staged_run(const sg_args *outer) {
    stage s;
    sg_status st = stage_open(&s);

    if (st == SG_OK) st = run_on(&s, outer->state, outer);
    stage_close(&s);
    return st;
}

static void staged_release(void *state) {
    staged *k = state;

    if (k->inner.release) k->inner.release(k->inner.state);
    sg_free(k);
}

/* Put `k`'s sizes and the kernel of `plan` into a plan of ours. */
static sg_status wrap(const staged *k, sg_kernel_plan *plan) {
    staged *kept = sg_malloc(sizeof *kept);

    if (!kept) {
        if (plan->release) plan->release(plan->state);
        return sg_fail(SG_ERR_OOM, "no memory for a test's kernel");
    }
    *kept = *k;
    kept->inner = *plan;
    plan->run = staged_run;
    plan->state = kept;
    plan->release = staged_release;
    return SG_OK;
}

static sg_status staged_open(const sg_backend_options *options, void **context) {
    stage s;

    SG_TRY(stage_open(&s)); /* the device is taken before the libraries' handles are made */
    stage_close(&s);
    return sg_backend_cuda.open(options, context);
}

static sg_status staged_select(void *context, const sg_node *node, const sg_layout have[],
                               sg_kernel_plan *plan) {
    staged k = {.n_in = node->n_in, .n_out = node->n_out};

    SG_TRY(sg_backend_cuda.select(context, node, have, plan));
    for (int i = 0; i < node->n_in; i++)
        if (node->in[i]) k.in[i] = sg_backend_cuda.bytes(context, node->in[i], plan->in[i]);
    for (int o = 0; o < node->n_out; o++)
        k.out[o] = sg_backend_cuda.bytes(context, &node->out[o], plan->out[o]);
    return wrap(&k, plan);
}

static sg_status staged_convert(void *context, const sg_value *v, sg_layout from, sg_layout to,
                                sg_kernel_plan *plan) {
    staged k = {.n_in = 1, .n_out = 1};

    SG_TRY(sg_backend_cuda.convert(context, v, from, to, plan));
    k.in[0] = sg_backend_cuda.bytes(context, v, from);
    k.out[0] = sg_backend_cuda.bytes(context, v, to);
    return wrap(&k, plan);
}

sg_backend sg_backend_staged;

__attribute__((constructor)) static void fill_backend(void) {
    sg_backend_staged = sg_backend_cuda;
    sg_backend_staged.open = staged_open;
    sg_backend_staged.select = staged_select;
    sg_backend_staged.convert = staged_convert;
    sg_backend_staged.device = NULL; /* the planner's memory is the host's */
}

/* --- non-maximum suppression ------------------------------------------------------------------ */

static sg_status nms_on(stage *s, const sg_nms_options *o, int64_t N, const float *boxes,
                        const float *scores, int64_t A, int64_t C, sg_detection *found,
                        int64_t *count, void *scratch) {
    size_t n = (size_t)N, all = (size_t)(N * A) * sizeof(float);
    size_t most = n * (size_t)o->max_boxes * sizeof *found;
    size_t bytes = sg_cuda_nms_scratch(o, N, A, C);
    void *on[5];

    SG_TRY(stage_put(s, boxes, 4 * all, &on[0]));
    SG_TRY(stage_put(s, scores, (size_t)C * all, &on[1]));
    SG_TRY(stage_put(s, found, most, &on[2]));
    SG_TRY(stage_put(s, count, n * sizeof *count, &on[3]));
    SG_TRY(stage_put(s, scratch, bytes, &on[4]));
    SG_TRY(sg_cuda_nms(o, N, on[0], on[1], A, C, on[2], on[3], on[4], s->queue));
    SG_TRY(stage_get(s, found, most));
    SG_TRY(stage_get(s, count, n * sizeof *count));
    return device->wait(s->queue);
}

sg_status sg_staged_nms(const sg_nms_options *o, int64_t pictures, const float *boxes,
                        const float *scores, int64_t anchors, int64_t classes, sg_detection *found,
                        int64_t *count, void *scratch, void *queue) {
    stage s;
    sg_status st;

    if (pictures < 1 || o->max_boxes < 1) /* nothing to compute, or what it refuses */
        return sg_cuda_nms(o, pictures, boxes, scores, anchors, classes, found, count, scratch,
                           queue);
    st = stage_open(&s);
    if (st == SG_OK)
        st = nms_on(&s, o, pictures, boxes, scores, anchors, classes, found, count, scratch);
    stage_close(&s);
    return st;
}
