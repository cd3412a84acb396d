/* The planner on the CPU backend: random convolutional networks, forward and backward, give the
 * same bits with and without reuse of memory. Blocked layouts, filters in oneDNN's formats, kernels
 * that work in place and their scratch all take part; memory that nobody wrote is NaN. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/philox.h"
#include "graph/program.h"
#include "ops/ops.h"
#include "spotgrad.h"

enum { kGraphs = 300, kMaxLayers = 14, kN = 2, kSide = 5 };

static sg_value *same_shape(sg_random *r, sg_value *const v[], int n, const sg_value *x) {
    for (int tries = 0; tries < 6; tries++) {
        sg_value *y = v[sg_random_below(r, n)];

        if (sg_shape_equal(&y->shape, &x->shape)) return y;
    }
    return NULL;
}

static sg_value *random_layer(sg_graph *g, sg_random *r, sg_value *const v[], int n) {
    sg_value *x = v[sg_random_below(r, 3) ? n - 1 : sg_random_below(r, n)];
    sg_value *y = same_shape(r, v, n, x);
    int64_t C = x->shape.dim[1];
    sg_act act = sg_random_below(r, 2) ? SG_ACT_RELU : SG_ACT_SILU;
    char name[16];

    snprintf(name, sizeof name, "layer%d", n);
    switch (sg_random_below(r, 8)) {
    case 0: /* channels that are and that are not whole blocks of 8 */
        return sg_conv_norm_act(g, name, x, 3 + sg_random_below(r, 14), 3, 1, act, NULL);
    case 1:
        return sg_conv_norm_act(g, name, x, C, 1, 1, act, y);
    case 2:
        return sg_conv(g, name, x, 8, 3, 1, 0.1f);
    case 3:
        return y ? sg_add(g, x, y) : sg_silu(g, x);
    case 4:
        return y ? sg_concat(g, (sg_value *[]){x, y}, 2) : sg_relu(g, x);
    case 5:
        return sg_max_pool2d(g, x, 3, 1, 1);
    case 6:
        return sg_slice(g, x, C / 3, C - C / 3);
    default:
        return sg_silu(g, x);
    }
}

static void random_network(sg_graph *g, sg_random *r) {
    sg_value *v[kMaxLayers + 2], *x;
    int n = 0, layers = 3 + (int)sg_random_below(r, kMaxLayers - 3);

    v[n++] = sg_input(g, "image", SG_F32, sg_shape_4(kN, 3, kSide, kSide));
    v[n] = sg_conv_norm_act(g, "stem", v[0], 8, 3, 1, SG_ACT_SILU, NULL);
    n++;
    for (int i = 0; i < layers; i++, n++) {
        v[n] = random_layer(g, r, v, n);
        assert_int_equal(sg_graph_status(g), SG_OK);
    }
    x = sg_linear(g, "classify", sg_global_avg_pool(g, v[n - 1]), 3);
    sg_output(g, "p", sg_softmax(g, x));
    sg_output(g, "middle", sg_global_avg_pool(g, v[n / 2]));
    if (sg_graph_mode(g) == SG_TRAIN)
        sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(kN))), NULL);
    assert_int_equal(sg_graph_status(g), SG_OK);
}

/* The outputs, then the gradient buffer; the caller's. */
static float *result(const sg_graph *g, const sg_state *state, bool keep, size_t *arena,
                     size_t *bytes) {
    static const int32_t label[kN] = {2, 0};
    int64_t outputs = kN * (3 + sg_graph_output(g, 1)->shape.dim[1]);
    sg_compile_options o = {.keep_memory = keep};
    float image[kN * 3 * kSide * kSide], *all;
    sg_random r = sg_random_init(9);
    sg_program *p;
    sg_bindings b;

    *bytes = (size_t)(outputs + state->table->n_grads) * sizeof *all;
    all = sg_calloc(1, *bytes);
    assert_non_null(all);
    for (size_t i = 0; i < sizeof image / sizeof *image; i++)
        image[i] = sg_random_range(&r, -1.0f, 1.0f);
    assert_int_equal(sg_program_compile(g, &sg_backend_cpu, &o, &p), SG_OK);
    memset(&b, 0, sizeof b);
    b.input[0] = image;
    b.input[1] = label;
    b.output[0] = all;
    b.output[1] = all + kN * 3;
    b.base[SG_BUF_VALUES] = state->values;
    b.base[SG_BUF_GRADS] = all + outputs;
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    *arena += sg_program_arena_bytes(p);
    sg_program_destroy(p);
    return all;
}

static void random_networks(void **unused) {
    long live = sg_mem_live();
    size_t kept = 0, reused = 0;

    (void)unused;
    for (uint64_t seed = 0; seed < kGraphs; seed++) {
        sg_random r = sg_random_init(sg_key_mix(77, seed));
        size_t bytes, again;
        sg_table *table;
        sg_state *state;
        float *a, *b;
        sg_graph *g;

        assert_int_equal(sg_table_create(&table), SG_OK);
        assert_int_equal(sg_graph_create(seed % 3 ? SG_TRAIN : SG_EVAL, table, &g), SG_OK);
        random_network(g, &r);
        sg_table_freeze(table);
        assert_int_equal(sg_state_create(table, 0, &state), SG_OK);
        sg_state_init(state, seed);
        a = result(g, state, true, &kept, &bytes);
        b = result(g, state, false, &reused, &again);
        assert_int_equal(bytes, again);
        assert_memory_equal(a, b, bytes);
        for (size_t i = 0; i < bytes / sizeof *a; i++) assert_true(a[i] == a[i]); /* no NaN */
        sg_free(a);
        sg_free(b);
        sg_state_destroy(state);
        sg_graph_destroy(g);
        sg_table_destroy(table);
    }
    assert_true(3 * reused < 2 * kept);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_networks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
