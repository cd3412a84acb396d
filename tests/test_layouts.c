/* The planner: layouts of a backend, and memory: random graphs give the same results wherever their
 * values lie. */
#include "graph_fixture.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "graph/plan.h"
#include "ops/ops.h"
#include "spotgrad.h"

/* --- a backend with layouts of its own -------------------------------------------------------- */

/* REVERSED holds the elements from last to first, NEGATED with the other sign; both have padding
 * behind them. Elementwise ops work as they are on reversed values, linear ones on negated values,
 * so every result is the reference's, unless a conversion is missing. `fake_layout` says what a
 * node runs in. */

enum { PLAIN = SG_LAYOUT_PLAIN, REVERSED = SG_LAYOUT_PRIVATE, NEGATED, NEGATES, kPadding = 20 };

static int (*fake_layout)(const sg_node *node);
static int fake_open_count;
static bool fake_by_plain; /* there is no way from REVERSED to NEGATED, nor back, but by PLAIN */

static sg_status fake_open(const sg_backend_options *options, void **context) {
    (void)options;
    *context = sg_malloc(4);
    if (!*context) return sg_fail(SG_ERR_OOM, "fake: no memory");
    fake_open_count++;
    return SG_OK;
}

static void fake_close(void *context) {
    fake_open_count--;
    sg_free(context);
}

static size_t fake_bytes(void *context, const sg_value *v, sg_layout layout) {
    (void)context;
    return sg_value_bytes(v) + (layout == PLAIN ? 0 : kPadding);
}

/* scale, from PLAIN to NEGATED: could work in place, were it not for the padding. */
static sg_status negate(const sg_args *a) {
    const sg_affine_attr *attr = a->node->attr;
    const float *x = a->in[0];
    float *y = a->out[0];
    int64_t n = sg_shape_count(&a->node->in[0]->shape);

    for (int64_t i = 0; i < n; i++) y[i] = -(attr->factor * x[i]);
    memset(y + n, 0xff, kPadding);
    return SG_OK;
}

/* Uses its scratch, so that the planner's lifetimes of it matter: negated sum of squares. */
static sg_status sum_in_scratch(const sg_args *a) {
    int64_t n = sg_shape_count(&a->node->in[0]->shape);
    double *sum = a->scratch;

    *sum = 0.0;
    for (int64_t i = 0; i < n; i++) *sum += (double)((const float *)a->in[0])[i];
    *(float *)a->out[0] = (float)*sum;
    return SG_OK;
}

static sg_status fake_select(void *context, const sg_node *node, const sg_layout have[],
                             sg_kernel_plan *plan) {
    int layout = fake_layout(node);

    (void)context;
    for (int i = 0; i < node->n_in; i++)
        assert_true(!node->in[i] || (have[i] >= PLAIN && have[i] <= NEGATED));
    SG_TRY(sg_select_reference(node, plan));
    if (node->op == &sg_op_sum) {
        plan->run = sum_in_scratch;
        plan->scratch = 1000;
    }
    if (layout == NEGATES) {
        plan->run = negate;
        plan->out[0] = NEGATED;
        return SG_OK;
    }
    for (int i = 0; i < node->n_in; i++) plan->in[i] = layout;
    for (int o = 0; o < node->n_out; o++) plan->out[o] = layout;
    return SG_OK;
}

typedef struct {
    int64_t n;
    sg_layout from, to;
} fake_state;

static sg_status fake_move(const sg_args *a) {
    const fake_state *s = a->state;
    const float *x = a->in[0];
    float *y = a->out[0];

    for (int64_t i = 0; i < s->n; i++) {
        float v = s->from == REVERSED ? x[s->n - 1 - i] : s->from == NEGATED ? -x[i] : x[i];

        y[s->to == REVERSED ? s->n - 1 - i : i] = s->to == NEGATED ? -v : v;
    }
    return SG_OK;
}

static sg_status fake_convert(void *context, const sg_value *v, sg_layout from, sg_layout to,
                              sg_kernel_plan *plan) {
    fake_state *s;

    (void)context;
    if (fake_by_plain && from != PLAIN && to != PLAIN)
        return sg_fail(SG_ERR_UNSUPPORTED, "fake: from %d to %d", from, to);
    s = sg_malloc(sizeof *s);
    if (!s) return sg_fail(SG_ERR_OOM, "fake: no memory");
    *s = (fake_state){sg_shape_count(&v->shape), from, to};
    plan->run = fake_move;
    plan->state = s;
    plan->release = sg_free;
    return SG_OK;
}

static const sg_backend fake = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .select = fake_select,
    .bytes = fake_bytes,
    .convert = fake_convert,
};

static bool linear(const sg_node *node) {
    return node->op == &sg_op_add || node->op == &sg_op_scale;
}

static bool elementwise(const sg_node *node) {
    const sg_op *op = node->op;

    return linear(node) || op == &sg_op_mul || op == &sg_op_relu || op == &sg_op_silu ||
           op == &sg_op_relu_dx || op == &sg_op_silu_dx;
}

static int all_reversed(const sg_node *node) { return elementwise(node) ? REVERSED : PLAIN; }
static int only_relu(const sg_node *node) { return node->op == &sg_op_relu ? REVERSED : PLAIN; }

/* Any that fits, by name. */
static int mixed(const sg_node *node) {
    uint64_t draw = sg_key_mix(11, sg_key_name(node->name)) % 4;

    if (!elementwise(node) || draw == 0) return PLAIN;
    if (draw == 1 && linear(node)) return NEGATED;
    return draw == 2 && node->op == &sg_op_scale ? NEGATES : REVERSED;
}

/* --- layouts ---------------------------------------------------------------------------------- */

static void layouts_of(int (*layout)(const sg_node *), int expected, float out[5][6]) {
    sg_graph *g = new_graph(SG_EVAL, NULL);
    sg_value *x = sg_input(g, "x", SG_F32, sg_shape_2(2, 3)), *a, *b2;
    static const float in[6] = {1, -2, 3, -4, 5, -6};
    sg_program *p;
    sg_bindings b;

    a = sg_relu(g, x);
    b2 = sg_silu(g, a);
    sg_output(g, "a", a);
    sg_output(g, "a again", a);
    sg_output(g, "b", b2);
    sg_output(g, "concat", sg_slice(g, sg_concat(g, (sg_value *[]){a, a}, 2), 0, 3));
    sg_output(g, "softmax", sg_softmax(g, sg_mul(g, a, b2)));
    fake_layout = layout;
    p = compile(g, &fake, false);
    assert_int_equal(conversions(p, false), expected);
    assert_int_equal(conversions(p, true), 0);
    memset(&b, 0, sizeof b);
    b.input[0] = in;
    for (int i = 0; i < 5; i++) b.output[i] = out[i];
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    sg_program_destroy(p);
    assert_int_equal(fake_open_count, 0);
    sg_graph_destroy(g);
}

static int all_plain(const sg_node *node) {
    (void)node;
    return PLAIN;
}

static void layouts(void **unused) {
    float plain[5][6], reversed[5][6];

    (void)unused;
    layouts_of(all_plain, 1, plain); /* a copy for a's second sink */
    /* x; a and its second sink; b; mul's for softmax. The concat reads a where it is PLAIN. */
    layouts_of(all_reversed, 5, reversed);
    assert_memory_equal(plain, reversed, sizeof plain);
    /* x; a and its second sink, from which all the others read */
    layouts_of(only_relu, 3, reversed);
    assert_memory_equal(plain, reversed, sizeof plain);
}

/* Parameters in a backend's own format: converted once, in the prologue. */
static void static_layouts(void **unused) {
    float in[4] = {1, 2, 3, 4}, values[16] = {5, 6, 7, 8}, out[2][4];
    sg_table *table;
    sg_program *p;
    sg_bindings b;
    sg_value *x, *w;
    sg_graph *g;

    (void)unused;
    assert_int_equal(sg_table_create(&table), SG_OK);
    g = new_graph(SG_EVAL, table);
    x = sg_input(g, "x", SG_F32, sg_shape_1(4));
    w = sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_1(4), kOne);
    sg_output(g, "y", sg_mul(g, x, w));
    sg_output(g, "z", sg_mul(g, sg_scale(g, w, 2.0f), sg_mul(g, x, w)));
    sg_table_freeze(table);
    fake_layout = all_reversed;
    p = compile(g, &fake, false);
    assert_int_equal(conversions(p, true), 1);
    assert_int_equal(conversions(p, false), 3); /* x, and the two outputs */
    assert_int_equal(sg_program_steps(p), 8);   /* four conversions, scale, three products */

    memset(&b, 0, sizeof b);
    b.input[0] = in;
    b.base[SG_BUF_VALUES] = values;
    b.output[0] = out[0];
    b.output[1] = out[1];
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    for (int i = 0; i < 4; i++) {
        assert_true(out[0][i] == in[i] * values[i]);
        assert_true(out[1][i] == 2 * values[i] * in[i] * values[i]);
    }
    sg_program_destroy(p);
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

/* --- random graphs ---------------------------------------------------------------------------- */

enum { kGraphs = 300, kMaxNodes = 60, kRandomOutputs = 4, kMaxFloats = 4096 };

/* A value of `shape`, the later ones more likely; x itself if there is no other. */
static sg_value *pick(sg_random *r, sg_value *const v[], int n, const sg_shape *shape) {
    for (int tries = 0; shape && tries < 8; tries++) {
        int i = (int)sg_random_below(r, n);

        if (sg_shape_equal(&v[i]->shape, shape)) return v[i];
    }
    return shape ? NULL
                 : v[sg_random_below(r, 2) && n > 4 ? n - 1 - sg_random_below(r, 4)
                                                    : sg_random_below(r, n)];
}

static sg_value *random_node(sg_graph *g, sg_random *r, sg_value *const v[], int n) {
    sg_value *x = pick(r, v, n, NULL), *y = pick(r, v, n, &x->shape);
    int64_t elements = sg_shape_count(&x->shape);

    if (!y) y = x;
    switch (sg_random_below(r, 9)) {
    case 0:
        return sg_add(g, x, y);
    case 1:
        return sg_mul(g, x, y);
    case 2:
        return sg_relu(g, x);
    case 3:
        return sg_scale(g, x, sg_random_range(r, -1.5f, 1.5f));
    case 4:
        return sg_silu(g, x);
    case 5:
        if (elements > 200) return sg_slice(g, x, 0, 1);
        return sg_concat(g, (sg_value *[]){x, y, x}, 2 + (int)sg_random_below(r, 2));
    case 6:
        return sg_reshape(g, x,
                          sg_random_below(r, 2) ? sg_shape_2(2, elements / 2)
                                                : sg_shape_3(2, 1, elements / 2));
    case 7:
        return sg_stop_gradient(g, x);
    default:
        return sg_slice(g, x, x->shape.dim[1] / 2, x->shape.dim[1] - x->shape.dim[1] / 2);
    }
}

/* Inputs x, y; parameters p, q; a loss that reaches p. Half of the graphs have gradients. */
static void random_graph(sg_graph *g, sg_random *r) {
    sg_value *v[kMaxNodes + 8], *loss;
    int n = 0, nodes = 5 + (int)sg_random_below(r, kMaxNodes - 5);
    char name[16];

    v[n++] = sg_input(g, "x", SG_F32, sg_shape_2(2, 5));
    v[n++] = sg_input(g, "y", SG_F32, sg_shape_3(2, 3, 4));
    v[n++] = sg_param(g, "p", SG_ENTRY_DECAY, sg_shape_2(2, 5), kOne);
    v[n++] = sg_param(g, "q", SG_ENTRY_NO_DECAY, sg_shape_3(2, 3, 4), kOne);
    for (int i = 0; i < nodes; i++, n++) v[n] = random_node(g, r, v, n);
    for (int i = 0; i < kRandomOutputs; i++) {
        snprintf(name, sizeof name, "out%d", i);
        sg_output(g, name, v[i == 0 ? n - 1 : sg_random_below(r, n)]);
    }
    if (sg_graph_mode(g) == SG_TRAIN) {
        loss = sg_add(g, sg_sum(g, v[n - 1]), sg_sum(g, sg_mul(g, v[2], v[2])));
        sg_loss(g, loss, NULL);
    }
    assert_int_equal(sg_graph_status(g), SG_OK);
}

/* A second opinion on the arena: each byte remembers which slot was last written there. */
typedef struct {
    const sg_program *p;
    int *owner; /* (arena_bytes) */
} arena_check;

static const sg_slot *in_arena(const arena_check *c, int slot) {
    const sg_slot *at = slot >= 0 ? &c->p->slot[slot] : NULL;

    if (!at || at->place.buffer != SG_BUF_ARENA) return NULL;
    assert_int_equal(at->place.offset % SG_ALIGN, 0);
    assert_true(at->place.offset >= 0);
    assert_true((size_t)at->place.offset + at->bytes <= c->p->arena_bytes);
    return at;
}

static void write_slot(const arena_check *c, int slot) {
    const sg_slot *at = in_arena(c, slot);

    for (size_t i = 0; at && i < at->bytes; i++) c->owner[(size_t)at->place.offset + i] = slot;
}

static void read_slot(const arena_check *c, int slot) {
    const sg_slot *at = in_arena(c, slot);

    for (size_t i = 0; at && i < at->bytes; i++)
        assert_int_equal(c->owner[(size_t)at->place.offset + i], slot);
}

/* An output may lie over an input only where the kernel said so. */
static void check_apart(const arena_check *c, const sg_step *step, int o, int i) {
    const sg_slot *out = in_arena(c, step->out[o]), *in = in_arena(c, step->in[i]);

    if (!out || !in || step->kernel.inplace[o] == i) return;
    assert_true(in->place.offset + (int64_t)in->bytes <= out->place.offset ||
                out->place.offset + (int64_t)out->bytes <= in->place.offset);
}

static void check_arena(const sg_program *p) {
    arena_check c = {p, sg_malloc((p->arena_bytes + 1) * sizeof(int))};
    size_t sum = 0;

    assert_non_null(c.owner);
    for (int i = 0; i < p->n_slots; i++)
        if (p->slot[i].place.buffer == SG_BUF_ARENA) sum += sg_align_up(p->slot[i].bytes);
    assert_true(p->arena_bytes <= sum);
    for (size_t i = 0; i < p->arena_bytes; i++) c.owner[i] = -1;
    for (int s = p->n_prologue; s < p->n_steps; s++) {
        const sg_step *step = &p->step[s];

        write_slot(&c, step->scratch); /* before the inputs are read: the worst case */
        for (int i = 0; i < step->n_in; i++) read_slot(&c, step->in[i]);
        for (int o = 0; o < step->n_out; o++) write_slot(&c, step->out[o]);
        read_slot(&c, step->scratch);
        for (int o = 0; o < step->n_out; o++) {
            read_slot(&c, step->out[o]);
            for (int i = 0; i < step->n_in; i++) check_apart(&c, step, o, i);
        }
    }
    sg_free(c.owner);
}

typedef struct {
    float out[kRandomOutputs][kMaxFloats];
    float grads[64 + SG_MAX_SUMS];
} result;

static size_t run_random(const sg_graph *g, const sg_backend *backend, bool keep, result *r) {
    static const float x[10] = {0.3f, -0.7f, 1.1f, 0.2f, -0.4f, 0.9f, -1.3f, 0.6f, 0.8f, -0.1f};
    float y[24], values[64];
    sg_program *p = compile(g, backend, keep);
    size_t arena = sg_program_arena_bytes(p);
    sg_bindings b;

    for (int i = 0; i < 24; i++) y[i] = 0.1f * (float)(i % 7) - 0.3f;
    for (int i = 0; i < 64; i++) values[i] = 0.05f * (float)(i % 11) - 0.2f;
    memset(&b, 0, sizeof b);
    memset(r, 0, sizeof *r);
    b.input[0] = x;
    b.input[1] = y;
    b.base[SG_BUF_VALUES] = values;
    b.base[SG_BUF_GRADS] = r->grads;
    for (int i = 0; i < sg_graph_outputs(g); i++) {
        assert_true(sg_shape_count(&sg_graph_output(g, i)->shape) <= kMaxFloats);
        b.output[i] = r->out[i];
    }
    if (!keep) check_arena(p);
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    sg_program_destroy(p);
    return arena;
}

/* As numbers: a negated layout turns zeros into negative zeros. */
static void assert_same_numbers(const result *a, const result *b) {
    const float *x = &a->out[0][0], *y = &b->out[0][0];

    for (int i = 0; i < kRandomOutputs * kMaxFloats; i++) assert_true(x[i] == y[i]);
    for (int i = 0; i < 64 + SG_MAX_SUMS; i++) assert_true(a->grads[i] == b->grads[i]);
}

static void random_graphs(void **unused) {
    static result keep, reuse, other;
    size_t kept = 0, reused = 0;

    (void)unused;
    for (uint64_t seed = 0; seed < kGraphs; seed++) {
        sg_random r = sg_random_init(sg_key_mix(2024, seed));
        sg_table *table;
        sg_graph *g;

        assert_int_equal(sg_table_create(&table), SG_OK);
        g = new_graph(seed % 2 ? SG_TRAIN : SG_EVAL, table);
        random_graph(g, &r);
        sg_table_freeze(table);
        kept += run_random(g, &sg_backend_ref, true, &keep);
        reused += run_random(g, &sg_backend_ref, false, &reuse);
        assert_memory_equal(&keep, &reuse, sizeof keep);
        fake_layout = all_reversed;
        run_random(g, &fake, false, &other);
        assert_same_numbers(&keep, &other);
        fake_layout = mixed;
        run_random(g, &fake, true, &other);
        assert_same_numbers(&keep, &other);
        run_random(g, &fake, false, &other);
        assert_same_numbers(&keep, &other);
        fake_by_plain = true;
        run_random(g, &fake, false, &other);
        fake_by_plain = false;
        assert_same_numbers(&keep, &other);
        sg_graph_destroy(g);
        sg_table_destroy(table);
    }
    assert_true(2 * reused < kept); /* memory is in fact reused */
}

static void no_memory(void **unused) {
    long live = sg_mem_live(), n = 0;
    sg_random r = sg_random_init(7);
    sg_table *table;
    sg_program *p;
    sg_status st;
    sg_graph *g;

    (void)unused;
    assert_int_equal(sg_table_create(&table), SG_OK);
    g = new_graph(SG_TRAIN, table);
    random_graph(g, &r);
    sg_table_freeze(table);
    fake_layout = mixed;
    do {
        long before = sg_mem_live();

        p = NULL;
        sg_mem_fail_at(++n);
        st = sg_program_compile(g, &fake, NULL, &p);
        sg_mem_fail_at(0);
        if (st != SG_OK) assert_int_equal(st, SG_ERR_OOM);
        if (st != SG_OK) assert_int_equal(sg_mem_live(), before);
        if (st != SG_OK) assert_null(p);
    } while (st != SG_OK);
    assert_true(n > 20);
    sg_program_destroy(p);
    sg_graph_destroy(g);
    sg_table_destroy(table);
    assert_int_equal(sg_mem_live(), live);
    assert_int_equal(fake_open_count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts),
        cmocka_unit_test(static_layouts),
        cmocka_unit_test(random_graphs),
        cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
