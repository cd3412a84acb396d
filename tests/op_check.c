#include "op_check.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "graph/program.h"

enum {
    kAll = 256,    /* an input of so many elements has each of them moved */
    kSampled = 40, /* of a larger one, so many */
    kPatternA = 0xff,
    kPatternB = 0x33
};

unsigned op_coverage[SG_OP_COUNT];

/* A case under way. */
typedef struct {
    const op_case *c;
    sg_graph *g;
    sg_value *in[SG_MAX_IN], *out[SG_MAX_OUT];
    int n_out;
    int n_forward; /* nodes before the projection */
    bool differentiated;
    void *data[SG_MAX_IN];     /* of the inputs, owned */
    float *weight[SG_MAX_OUT]; /* the projection's, owned */
    void **at;                 /* by value id: its elements; owned but for sources and views */
} run;

static int64_t count_of(const sg_value *v) { return sg_shape_count(&v->shape); }

static void *must(void *block) {
    if (!block) fail_msg("no memory");
    return block;
}

/* --- inputs ----------------------------------------------------------------------------------- */

static void fill_floats(float *x, int64_t n, op_fill fill, sg_random *r) {
    for (int64_t i = 0; i < n; i++) {
        float u = sg_random_float(r);

        switch (fill) {
        case OP_FAR:
            x[i] = (sg_random_u32(r) & 1 ? 1.0f : -1.0f) * (0.6f + 0.6f * u);
            break;
        case OP_POSITIVE:
            x[i] = 0.5f + u;
            break;
        case OP_OFFSET:
            x[i] = 99.0f + 2.0f * u;
            break;
        case OP_DISTINCT:
            x[i] = 0.03f * (float)(sg_permute(r->key, n, i) - n / 2);
            break;
        case OP_BOXES: /* the far corner follows the near one */
            x[i] = i % 4 < 2 ? 20.0f * u : x[i - 2] + 8.0f + 20.0f * u;
            break;
        default:
            x[i] = 2.0f * u - 1.0f;
        }
    }
}

void *op_make_input(const op_case *c, int i) {
    const op_input *in = &c->in[i];
    int64_t n = sg_shape_count(&in->shape);
    size_t bytes = (size_t)n * sg_dtype_size(in->dtype);
    sg_random r = sg_random_init(sg_key_mix(sg_key_name(c->name), (uint64_t)i));
    void *data = must(sg_malloc(bytes));

    if (in->data) {
        memcpy(data, in->data, bytes);
    } else if (in->dtype == SG_F32) {
        fill_floats(data, n, in->fill, &r);
    } else if (in->dtype == SG_I32) {
        for (int64_t k = 0; k < n; k++)
            ((int32_t *)data)[k] = (int32_t)sg_random_below(&r, c->p[0] + 1) - 1;
    } else {
        for (int64_t k = 0; k < n; k++) ((uint8_t *)data)[k] = (uint8_t)sg_random_u32(&r);
    }
    return data;
}

/* --- running nodes one by one ----------------------------------------------------------------- */

static sg_status run_node(const sg_node *node, void *const in[], void *const out[]) {
    static const sg_step_info info;
    sg_args args = {.node = node, .info = &info};

    for (int i = 0; i < node->n_in; i++) args.in[i] = in[i];
    for (int o = 0; o < node->n_out; o++) args.out[o] = out[o];
    return node->op->run(&args);
}

static void gather(const run *r, const sg_node *node, void *in[], void *out[]) {
    for (int i = 0; i < node->n_in; i++) in[i] = node->in[i] ? r->at[node->in[i]->id] : NULL;
    for (int o = 0; o < node->n_out; o++) out[o] = r->at[node->out[o].id];
}

static sg_status evaluate(const run *r, int n_nodes) {
    for (int i = 0; i < n_nodes; i++) {
        const sg_node *node = sg_graph_node(r->g, i);
        void *in[SG_MAX_IN], *out[SG_MAX_OUT];

        if (node->op->source || node->op->view) continue;
        gather(r, node, in, out);
        SG_TRY(run_node(node, in, out));
    }
    return SG_OK;
}

static bool owns(const sg_value *v) { return !v->node->op->source && !v->node->op->view; }

static void place_values(run *r) {
    int n = sg_graph_values(r->g);

    r->at = must(sg_calloc((size_t)n + 1, sizeof *r->at));
    for (int i = 0; i < n; i++) {
        const sg_value *v = sg_graph_value(r->g, i);

        if (v->node->op == &sg_op_constant) {
            r->at[i] = ((sg_constant_attr *)v->node->attr)->data;
        } else if (v->node->op->source) {
            for (int k = 0; k < r->c->n_in; k++)
                if (r->in[k] == v) r->at[i] = r->data[k];
        } else if (v->node->op->view) {
            r->at[i] = r->at[v->node->in[0]->id];
        } else {
            r->at[i] = must(sg_malloc(sg_value_bytes(v)));
            memset(r->at[i], kPatternA, sg_value_bytes(v));
        }
    }
}

static void *copy_of(const void *data, size_t bytes) {
    void *copy = must(sg_malloc(bytes));

    memcpy(copy, data, bytes);
    return copy;
}

/* Run `node` again: on copies of its inputs, outputs full of another pattern or, where it claims
 * to work in place, on top of the inputs' copies. The outputs' bits must be those of r->at. */
static void check_node_again(const run *r, const sg_node *node, bool in_place) {
    void *in[SG_MAX_IN], *out[SG_MAX_OUT], *fresh[SG_MAX_OUT] = {NULL};

    gather(r, node, in, out);
    for (int i = 0; i < node->n_in; i++)
        if (in[i]) in[i] = copy_of(in[i], sg_value_bytes(node->in[i]));
    for (int o = 0; o < node->n_out; o++) {
        size_t bytes = sg_value_bytes(&node->out[o]);
        int i = in_place ? node->op->inplace[o] - 1 : -1;

        fresh[o] = must(sg_malloc(bytes));
        memset(fresh[o], kPatternB, bytes);
        if (i >= 0 && node->in[i] && sg_value_bytes(node->in[i]) != bytes)
            fail_msg("%s: output %d cannot take the place of input %d", node->name, o, i);
        out[o] = i >= 0 && node->in[i] ? in[i] : fresh[o];
    }
    if (run_node(node, in, out) != SG_OK) fail_msg("%s: %s", node->name, sg_last_error());
    for (int o = 0; o < node->n_out; o++)
        if (memcmp(out[o], r->at[node->out[o].id], sg_value_bytes(&node->out[o])) != 0)
            fail_msg("%s: output %d %s", node->name, o,
                     in_place ? "differs when it works in place" : "is not written everywhere");
    for (int i = 0; i < node->n_in && !in_place; i++)
        if (in[i] && memcmp(in[i], r->at[node->in[i]->id], sg_value_bytes(node->in[i])) != 0)
            fail_msg("%s: writes over its input %d", node->name, i);
    for (int i = 0; i < node->n_in; i++) sg_free(in[i]);
    for (int o = 0; o < node->n_out; o++) sg_free(fresh[o]);
}

static void check_nodes(const run *r) {
    for (int i = 0; i < sg_graph_nodes(r->g); i++) {
        const sg_node *node = sg_graph_node(r->g, i);

        if (node->op->source || node->op->view) continue;
        check_node_again(r, node, false);
        check_node_again(r, node, true);
    }
}

/* --- hand-worked numbers, central differences ------------------------------------------------- */

static void check_wanted(const run *r, int o) {
    const sg_value *v = r->out[o];
    const float *got = r->at[v->id], *want = r->c->want[o];

    if (v->dtype != SG_F32) {
        if (memcmp(got, want, sg_value_bytes(v)) != 0) fail_msg("output %d differs", o);
        return;
    }
    for (int64_t k = 0; k < count_of(v); k++) {
        double error = fabs((double)got[k] - (double)want[k]);

        if (got[k] == want[k] || (isnan(want[k]) && isnan(got[k]))) continue; /* infinities too */
        if (!(error <= 2e-6 * (1.0 + fabs((double)want[k]))))
            fail_msg("output %d, element %lld: %.9g, by hand it is %.9g", o, (long long)k,
                     (double)got[k], (double)want[k]);
    }
}

static int n_projected(const run *r) { return r->c->n_project ? r->c->n_project : r->n_out; }

static double projected(const run *r) {
    double loss = 0.0;

    for (int o = 0; o < n_projected(r); o++) {
        const float *y = r->at[r->out[o]->id];

        for (int64_t k = 0; k < count_of(r->out[o]); k++)
            loss += (double)r->weight[o][k] * (double)y[k];
    }
    return loss;
}

static double loss_at(const run *r, float *x, int64_t k, float value) {
    float kept = x[k];
    double loss;

    x[k] = value;
    if (evaluate(r, r->n_forward) != SG_OK) fail_msg("%s", sg_last_error());
    loss = projected(r);
    x[k] = kept;
    return loss;
}

static void check_gradient(const run *r, int i) {
    const sg_value *d = sg_gradient_of(r->g, r->in[i]);
    int64_t n = sg_shape_count(&r->c->in[i].shape), tried = n <= kAll ? n : kSampled;
    double tolerance = r->c->fd_tolerance > 0.0 ? r->c->fd_tolerance : 1e-3;
    float *x = r->data[i];
    bool any = false;
    float *dx;

    if (!d) fail_msg("input %d gets no gradient", i);
    dx = copy_of(r->at[d->id], (size_t)n * sizeof *dx);
    for (int64_t t = 0; t < tried; t++) {
        int64_t k = n <= kAll ? t : sg_permute(11, n, t);
        float up = x[k] + 1e-2f, down = x[k] - 1e-2f;
        double num = (loss_at(r, x, k, up) - loss_at(r, x, k, down)) / ((double)up - (double)down);
        double error = fabs(num - (double)dx[k]) / (1.0 + fabs(num));

        any = any || fabs(num) > 1e-2;
        if (!(error <= tolerance))
            fail_msg("gradient of input %d, element %lld: %.6g, by differences %.6g", i,
                     (long long)k, (double)dx[k], num);
    }
    if (!any && tried > 0 && !(r->c->zero_ok >> i & 1))
        fail_msg("gradient of input %d: zero everywhere, the case shows nothing", i);
    sg_free(dx);
}

static void check_gradients(const run *r) {
    for (int i = 0; i < r->c->n_in; i++)
        if (r->c->in[i].dtype == SG_F32 && !r->c->in[i].fixed) check_gradient(r, i);
    if (evaluate(r, r->n_forward) != SG_OK) fail_msg("%s", sg_last_error());
}

/* --- programs --------------------------------------------------------------------------------- */

/* An error is measured against the sum of the absolute values of an output's terms: what the
 * reference gives for the absolute values of all inputs, where the op adds products; elsewhere
 * the root mean square of the output and, since terms may cancel, a hundredth of the largest root
 * mean square of an input. */
static bool adds_products(const sg_op *op) {
    static const sg_op *const list[] = {
        &sg_op_add,
        &sg_op_mul,
        &sg_op_scale,
        &sg_op_sum,
        &sg_op_fill,
        &sg_op_concat,
        &sg_op_slice,
        &sg_op_slice_dx,
        &sg_op_matmul,
        &sg_op_bias,
        &sg_op_bias_db,
        &sg_op_conv2d,
        &sg_op_conv2d_dx,
        &sg_op_conv2d_dw,
        &sg_op_global_avg_pool,
        &sg_op_global_avg_pool_dx,
        &sg_op_upsample2x,
        &sg_op_upsample2x_dx,
        &sg_op_masked_mean,
        &sg_op_masked_mean_dx,
        &sg_op_windows,
        &sg_op_windows_dx,
        &sg_op_linear,
        &sg_op_linear_dx,
        &sg_op_linear_dw,
        &sg_op_embedding_bag,
        &sg_op_embedding_bag_dw,
    };

    for (int i = 0; i < OP_COUNT(list); i++)
        if (list[i] == op) return true;
    return false;
}

static double rms(const float *x, int64_t n) {
    double sum = 0.0;

    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return n > 0 ? sqrt(sum / (double)n) : 0.0;
}

/* `terms`: of each element; or NULL, and `all` is what holds for all of them. */
static void compare(const char *what, const sg_value *v, const void *got, const void *want,
                    const float *terms, double all, double tolerance) {
    const float *a = got, *b = want;

    if (v->dtype != SG_F32) {
        if (memcmp(got, want, sg_value_bytes(v)) != 0)
            fail_msg("%s: output %d of %s differs", what, v->index, v->node->name);
        return;
    }
    if (!terms) all += rms(b, count_of(v));
    for (int64_t k = 0; k < count_of(v); k++) {
        double scale = fabs((double)b[k]) + (terms ? fabs((double)terms[k]) : all);

        if (isnan(a[k]) && isnan(b[k])) continue;
        if (a[k] == b[k]) continue; /* infinities too */
        if (!(fabs((double)a[k] - (double)b[k]) <= tolerance * scale))
            fail_msg("%s: %s, output %d, element %lld: %.9g, reference %.9g (terms %.3g)", what,
                     v->node->name, v->index, (long long)k, (double)a[k], (double)b[k], scale);
    }
}

/* A graph of one node like `node`, fed from outside. */
static sg_graph *single_node(const sg_node *node, sg_value *copy[]) {
    sg_value *in[SG_MAX_IN] = {NULL};
    sg_value *y;
    sg_graph *g;

    if (sg_graph_create(SG_TRAIN, NULL, &g) != SG_OK) fail_msg("%s", sg_last_error());
    for (int i = 0; i < node->n_in; i++) {
        char name[16];

        snprintf(name, sizeof name, "in%d", i);
        if (node->in[i]) in[i] = sg_input(g, name, node->in[i]->dtype, node->in[i]->shape);
    }
    y = sg_node_append(g, node->op, in, node->n_in, 0, node->attr);
    if (!y) fail_msg("%s: %s", node->name, sg_last_error());
    for (int o = 0; o < node->n_out; o++) {
        char name[16];

        snprintf(name, sizeof name, "out%d", o);
        copy[o] = &y->node->out[o];
        sg_output(g, name, copy[o]);
    }
    return g;
}

/* A backend whose kernels are told in which layout every picture and every matrix arrives, so that
 * they choose that layout; the planner then converts. One test runs at a time. */
static struct {
    const sg_backend *backend;
    sg_layout picture, matrix;
} told_by;

static sg_status select_told(void *context, const sg_node *node, const sg_layout have[],
                             sg_kernel_plan *plan) {
    sg_layout told[SG_MAX_IN];

    (void)have;
    for (int i = 0; i < SG_MAX_IN; i++) {
        const sg_value *v = i < node->n_in ? node->in[i] : NULL;

        told[i] = SG_LAYOUT_PLAIN;
        if (!v || v->dtype != SG_F32) continue;
        if (v->shape.rank == 4) told[i] = told_by.picture;
        if (v->shape.rank == 2 || v->shape.rank == 3) told[i] = told_by.matrix;
    }
    return told_by.backend->select(context, node, told, plan);
}

static sg_backend tell(const sg_backend *backend, sg_layout picture, sg_layout matrix) {
    sg_backend told = *backend;

    told_by.backend = backend;
    told_by.picture = picture;
    told_by.matrix = matrix;
    told.select = select_told;
    return told;
}

/* To the nearest bf16, ties to even. */
static void round_to_bf16(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;

        if (isnan(x[i])) continue;
        memcpy(&bits, &x[i], sizeof bits);
        bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

/* Copies of what the reference had for the node's inputs, rounded where `bf16`, and what it gives
 * for those. */
static void gather_copies(const run *r, const sg_node *node, bool bf16, void *in[], void *want[]) {
    gather(r, node, in, want);
    for (int i = 0; i < node->n_in; i++) {
        if (!in[i]) continue;
        in[i] = copy_of(in[i], sg_value_bytes(node->in[i]));
        if (bf16 && node->in[i]->dtype == SG_F32) round_to_bf16(in[i], count_of(node->in[i]));
    }
    for (int o = 0; o < node->n_out; o++) want[o] = copy_of(want[o], sg_value_bytes(&node->out[o]));
    if (bf16 && run_node(node, in, want) != SG_OK) fail_msg("%s", sg_last_error());
}

/* The node on the backend, fed with what the reference had. */
static void check_node_on(const run *r, const sg_node *node, const sg_backend *backend, bool bf16,
                          const char *what) {
    double tolerance = fmax(r->c->tolerance, bf16 ? OP_TOLERANCE_16 : OP_TOLERANCE);
    sg_value *copy[SG_MAX_OUT];
    sg_graph *g = single_node(node, copy);
    sg_bindings b = {.seconds = NULL};
    void *in[SG_MAX_IN], *want[SG_MAX_OUT], *terms[SG_MAX_OUT];
    sg_program *p;
    double largest = 0.0;
    int n = 0;

    gather_copies(r, node, bf16, in, want);
    for (int i = 0; i < node->n_in; i++)
        if (in[i]) b.input[n++] = in[i];
    for (int o = 0; o < node->n_out; o++) {
        b.output[o] = must(sg_malloc(sg_value_bytes(copy[o])));
        memset(b.output[o], kPatternA, sg_value_bytes(copy[o]));
        terms[o] = must(sg_malloc(sg_value_bytes(copy[o])));
    }
    if (sg_program_compile(g, backend, NULL, &p) != SG_OK || sg_program_run_once(p, &b) != SG_OK)
        fail_msg("%s: %s", what, sg_last_error());
    for (int i = 0; i < node->n_in; i++) {
        if (!in[i] || node->in[i]->dtype != SG_F32) continue;
        largest = fmax(largest, rms(in[i], count_of(node->in[i])));
        for (int64_t k = 0; k < count_of(node->in[i]); k++)
            ((float *)in[i])[k] = fabsf(((float *)in[i])[k]);
    }
    if (adds_products(node->op) && run_node(node, in, terms) != SG_OK)
        fail_msg("%s", sg_last_error());
    for (int o = 0; o < node->n_out; o++)
        compare(what, &node->out[o], b.output[o], want[o],
                adds_products(node->op) ? terms[o] : NULL, 0.01 * largest, tolerance);
    for (int i = 0; i < node->n_in; i++) sg_free(in[i]);
    for (int o = 0; o < node->n_out; o++) {
        sg_free(b.output[o]);
        sg_free(terms[o]);
        sg_free(want[o]);
    }
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

/* The whole graph; `exact`: bit for bit. Errors add up from node to node, so the bound is
 * wider; inputs are of the order of 1. */
static void check_graph_on(const run *r, const sg_backend *backend, bool keep_memory, bool exact,
                           const char *what) {
    double tolerance = 10.0 * fmax(r->c->tolerance, OP_TOLERANCE);
    sg_compile_options options = {.keep_memory = keep_memory};
    sg_bindings b = {.seconds = NULL};
    sg_program *p;

    for (int i = 0; i < sg_graph_inputs(r->g); i++) b.input[i] = r->at[sg_graph_input(r->g, i)->id];
    for (int o = 0; o < sg_graph_outputs(r->g); o++)
        b.output[o] = must(sg_malloc(sg_value_bytes(sg_graph_output(r->g, o))));
    if (sg_program_compile(r->g, backend, &options, &p) != SG_OK ||
        sg_program_run_once(p, &b) != SG_OK)
        fail_msg("%s: %s", what, sg_last_error());
    for (int o = 0; o < sg_graph_outputs(r->g); o++) {
        const sg_value *v = sg_graph_output(r->g, o);

        if (exact && memcmp(b.output[o], r->at[v->id], sg_value_bytes(v)) != 0)
            fail_msg("%s: %s has other bits than node by node", what, v->node->name);
        if (!exact) compare(what, v, b.output[o], r->at[v->id], NULL, 0.01, tolerance);
        sg_free(b.output[o]);
    }
    sg_program_destroy(p);
}

static void check_backend(const run *r, const sg_backend *backend) {
    sg_backend blocked = tell(backend, SG_LAYOUT_BLOCKED, SG_LAYOUT_PLAIN);
    char what[64];

    for (int i = 0; i < sg_graph_nodes(r->g); i++) {
        const sg_node *node = sg_graph_node(r->g, i);

        if (node->op->source || node->op->view) continue;
        check_node_on(r, node, backend, false, backend->name);
        snprintf(what, sizeof what, "%s, blocked", backend->name);
        check_node_on(r, node, &blocked, false, what);
    }
    snprintf(what, sizeof what, "%s, whole graph", backend->name);
    check_graph_on(r, backend, false, false, what);
}

/* --- a case ----------------------------------------------------------------------------------- */

static void build(run *r) {
    const op_case *c = r->c;

    if (sg_graph_create(SG_TRAIN, NULL, &r->g) != SG_OK) fail_msg("%s", sg_last_error());
    for (int i = 0; i < c->n_in; i++) {
        char name[16];

        snprintf(name, sizeof name, "in%d", i);
        r->in[i] = sg_input(r->g, name, c->in[i].dtype, c->in[i].shape);
        if (c->in[i].dtype == SG_F32 && !c->in[i].fixed && !c->no_grad) sg_require_grad(r->in[i]);
        r->data[i] = op_make_input(c, i);
    }
    r->n_out = c->build(r->g, c, r->in, r->out);
    r->n_forward = sg_graph_nodes(r->g);
    if (sg_graph_status(r->g) != SG_OK) fail_msg("%s", sg_last_error());
}

/* Append loss = sum_k w_k y_k and its gradients. */
static void differentiate(run *r) {
    sg_value *loss = NULL;

    for (int o = 0; o < n_projected(r); o++) {
        int64_t n = count_of(r->out[o]);
        sg_random random = sg_random_init(sg_key_mix(sg_key_name(r->c->name), 100u + (unsigned)o));
        sg_value *part;

        r->weight[o] = must(sg_malloc((size_t)n * sizeof(float)));
        fill_floats(r->weight[o], n, OP_UNIFORM, &random);
        part = sg_sum(r->g, sg_mul(r->g, r->out[o],
                                   sg_constant(r->g, SG_F32, r->out[o]->shape, r->weight[o])));
        loss = loss ? sg_add(r->g, loss, part) : part;
    }
    if (sg_gradients(r->g, loss) != SG_OK) fail_msg("%s", sg_last_error());
    for (int i = 0; i < r->c->n_in; i++)
        if (r->c->in[i].fixed && sg_gradient_of(r->g, r->in[i]))
            fail_msg("a gradient for input %d, which is held fixed", i);
    r->differentiated = true;
}

static void add_outputs(run *r) {
    char name[16];

    for (int o = 0; o < r->n_out; o++) {
        snprintf(name, sizeof name, "out%d", o);
        sg_output(r->g, name, r->out[o]);
    }
    for (int i = 0; i < r->c->n_in && r->differentiated; i++) {
        if (!sg_gradient_of(r->g, r->in[i])) continue;
        snprintf(name, sizeof name, "din%d", i);
        sg_output(r->g, name, sg_gradient_of(r->g, r->in[i]));
    }
}

static void mark_coverage(const run *r) {
    bool by_hand = false;

    for (int o = 0; o < r->n_out; o++) by_hand = by_hand || r->c->want[o];
    for (int i = 0; i < sg_graph_nodes(r->g); i++) {
        unsigned bits = OP_SEEN;
        int id = 0;

        while (sg_ops[id] != sg_graph_node(r->g, i)->op) id++;
        if (i < r->n_forward)
            bits |= OP_FORWARD | (by_hand ? OP_HAND_WORKED : 0u) |
                    (r->differentiated ? OP_DIFFERENTIATED : 0u);
        else
            bits |= OP_BACKWARD;
        op_coverage[id] |= bits;
    }
}

static void release(run *r) {
    for (int i = 0; i < sg_graph_values(r->g); i++)
        if (owns(sg_graph_value(r->g, i))) sg_free(r->at[i]);
    sg_free(r->at);
    for (int i = 0; i < r->c->n_in; i++) sg_free(r->data[i]);
    for (int o = 0; o < SG_MAX_OUT; o++) sg_free(r->weight[o]);
    sg_graph_destroy(r->g);
}

void op_check_case(const op_case *c, const sg_backend *const backends[], int n_backends) {
    long live = sg_mem_live();
    run r = {.c = c};
    sg_status st;

    build(&r);
    if (!c->no_grad && c->run_status == SG_OK) differentiate(&r);
    add_outputs(&r);
    place_values(&r);
    st = evaluate(&r, sg_graph_nodes(r.g));
    if (st != c->run_status) fail_msg("the run says: %s (%s)", sg_status_text(st), sg_last_error());
    if (st == SG_OK) {
        check_nodes(&r);
        for (int o = 0; o < r.n_out; o++)
            if (c->want[o]) check_wanted(&r, o);
        if (r.differentiated) check_gradients(&r);
        check_graph_on(&r, &sg_backend_ref, true, true, "ref, memory kept");
        check_graph_on(&r, &sg_backend_ref, false, true, "ref, memory reused");
        for (int i = 0; i < n_backends && !c->ref_only; i++) check_backend(&r, backends[i]);
        mark_coverage(&r);
    }
    release(&r);
    if (sg_mem_live() != live) fail_msg("%ld blocks are not freed", sg_mem_live() - live);
}

void op_check_case_bf16(const op_case *c, const sg_backend *backend, sg_layout picture,
                        sg_layout matrix) {
    sg_backend told = tell(backend, picture, matrix);
    long live = sg_mem_live();
    run r = {.c = c};

    build(&r);
    if (!c->no_grad) differentiate(&r);
    place_values(&r);
    if (evaluate(&r, sg_graph_nodes(r.g)) != SG_OK) fail_msg("%s", sg_last_error());
    for (int i = 0; i < sg_graph_nodes(r.g); i++) {
        const sg_node *node = sg_graph_node(r.g, i);

        if (!node->op->source && !node->op->view) check_node_on(&r, node, &told, true, "bf16");
    }
    release(&r);
    if (sg_mem_live() != live) fail_msg("%ld blocks are not freed", sg_mem_live() - live);
}
