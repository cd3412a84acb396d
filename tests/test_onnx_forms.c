/* The ONNX form of every op that has one, on all cases of that op (op_cases.c): exported, run by
 * the interpreter, compared with the reference kernel. */
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
#include "graph/program.h"
#include "onnx/convert.h"
#include "onnx/forms.h"
#include "onnx/run.h"

/* Of the greatest element: forms are run in doubles, the reference sums in doubles too. */
static const double kTolerance = 2e-6;

static unsigned compared[SG_OP_COUNT];

typedef struct {
    const op_case *c;
    sg_graph *g;
    sg_onnx *m;
    sg_conversion *conversion;
    sg_value *out[SG_MAX_OUT];
    int n_out;
    void *data[SG_MAX_IN];          /* as the reference takes them */
    sg_onnx_array array[SG_MAX_IN]; /* as ONNX does */
} run;

static int op_number(const sg_op *op) {
    for (int i = 0; i < SG_OP_COUNT; i++)
        if (sg_ops[i] == op) return i;
    return -1;
}

/* The value that has this input's lengths of texts as mask; NULL: it is no such input. */
static const sg_value *texts_of(const run *r, const sg_value *input) {
    for (int i = 0; i < sg_graph_nodes(r->g); i++) {
        const sg_node *node = sg_graph_node(r->g, i);
        bool takes_lengths = node->op == &sg_op_attention || node->op == &sg_op_masked_mean ||
                             node->op == &sg_op_windows;

        if (takes_lengths && node->in[1] == input) return node->in[0];
    }
    return NULL;
}

static void must_make(sg_onnx_array *a, const char *name, sg_onnx_type type,
                      const sg_shape *shape) {
    assert_int_equal(sg_onnx_array_init(a, name, type, shape->rank, shape->dim), SG_OK);
}

static void fill_mask(run *r, int i, const sg_value *texts, const char *name) {
    int64_t N = texts->shape.dim[0], T = texts->shape.dim[1];
    const int32_t *length = r->data[i];
    sg_shape shape = sg_shape_2(N, T);

    must_make(&r->array[i], name, SG_ONNX_FLOAT, &shape);
    for (int64_t n = 0; n < N; n++)
        for (int64_t t = 0; t < T; t++)
            ((float *)r->array[i].data)[n * T + t] = t < length[n] ? 1.0f : 0.0f;
}

/* Ids are i64 in ONNX. */
static void fill_array(run *r, int i, const sg_value *v, const char *name) {
    const sg_value *texts = texts_of(r, v);

    if (texts) {
        fill_mask(r, i, texts, name);
    } else if (v->dtype == SG_I32) {
        must_make(&r->array[i], name, SG_ONNX_INT64, &v->shape);
        for (int64_t k = 0; k < sg_shape_count(&v->shape); k++)
            ((int64_t *)r->array[i].data)[k] = ((const int32_t *)r->data[i])[k];
    } else {
        must_make(&r->array[i], name, v->dtype == SG_U8 ? SG_ONNX_UINT8 : SG_ONNX_FLOAT, &v->shape);
        memcpy(r->array[i].data, r->data[i], sg_onnx_array_bytes(&r->array[i]));
    }
}

static void bind_input(run *r, int i, const sg_value *v) {
    char dims[128] = "";
    const sg_onnx_array *a = &r->array[i];

    for (int k = 0; k < a->rank; k++)
        snprintf(dims + strlen(dims), sizeof dims - strlen(dims), "%s%lld", k ? " " : "",
                 (long long)a->dim[k]);
    sg_conversion_bind(r->conversion, v, sg_onnx_input(r->m, a->name, a->type, "%s", dims));
}

static void build(run *r) {
    sg_value *in[SG_MAX_IN] = {NULL};
    char name[16];

    assert_int_equal(sg_graph_create(SG_EVAL, NULL, &r->g), SG_OK);
    for (int i = 0; i < r->c->n_in; i++) {
        snprintf(name, sizeof name, "x%d", i);
        r->data[i] = op_make_input(r->c, i);
        in[i] = sg_input(r->g, name, r->c->in[i].dtype, r->c->in[i].shape);
    }
    r->n_out = r->c->build(r->g, r->c, in, r->out);
    assert_int_equal(sg_graph_status(r->g), SG_OK);
    assert_int_equal(sg_onnx_create(&r->m), SG_OK);
    assert_int_equal(sg_conversion_create(r->m, r->g, NULL, NULL, &r->conversion), SG_OK);
    for (int i = 0; i < r->c->n_in; i++) {
        snprintf(name, sizeof name, "x%d", i);
        fill_array(r, i, in[i], name);
        bind_input(r, i, in[i]);
    }
}

/* The reference's elements of output o, the caller's. */
static float *reference(run *r, int o) {
    sg_program *p;
    sg_bindings b;
    float *y = sg_malloc(sg_value_bytes(r->out[o]) + 1);

    memset(&b, 0, sizeof b);
    sg_output(r->g, "y", r->out[o]);
    assert_int_equal(sg_graph_status(r->g), SG_OK);
    assert_int_equal(sg_program_compile(r->g, &sg_backend_ref, NULL, &p), SG_OK);
    for (int i = 0; i < r->c->n_in; i++) b.input[i] = r->data[i];
    b.output[0] = y;
    assert_int_equal(sg_program_run_once(p, &b), SG_OK);
    sg_program_destroy(p);
    return y;
}

static void compare(const run *r, int o, const float *want, const sg_onnx_array *got) {
    int64_t n = sg_shape_count(&r->out[o]->shape);
    double top = 1.0;

    assert_int_equal(got->rank, r->out[o]->shape.rank);
    for (int k = 0; k < got->rank; k++) assert_int_equal(got->dim[k], r->out[o]->shape.dim[k]);
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)want[i])); /* not NaN */
    for (int64_t i = 0; i < n; i++) {
        double a = (double)((const float *)got->data)[i], b = (double)want[i];

        if (a != b && !(fabs(a - b) <= kTolerance * top) && !(isnan(a) && isnan(b)))
            fail_msg("output %d, element %lld: ONNX says %.9g, the reference %.9g", o, (long long)i,
                     a, b);
    }
}

static void check_output(run *r, int o, const char *value) {
    sg_onnx_array got;
    uint8_t *bytes;
    size_t size;
    float *want = reference(r, o);
    sg_status st;

    sg_onnx_output(r->m, "y", value, SG_ONNX_FLOAT, "any");
    assert_int_equal(sg_onnx_pack(r->m, &bytes, &size), SG_OK);
    st = sg_onnx_run(bytes, size, r->array, r->c->n_in, &got, 1);
    if (st != SG_OK) fail_msg("%s", sg_last_error());
    compare(r, o, want, &got);
    compared[op_number(r->out[o]->node->op)]++;
    sg_onnx_array_clear(&got);
    sg_free(bytes);
    sg_free(want);
}

static void clear(run *r) {
    for (int i = 0; i < r->c->n_in; i++) {
        sg_free(r->data[i]);
        sg_onnx_array_clear(&r->array[i]);
    }
    sg_conversion_destroy(r->conversion);
    sg_onnx_destroy(r->m);
    sg_graph_destroy(r->g);
}

/* How many outputs the case has. */
static int check(const op_case *c, int o) {
    run r = {.c = c};
    const char *value;
    sg_status st;
    int n;

    build(&r);
    n = r.n_out;
    if (o < n && sg_shape_count(&r.out[o]->shape) == 0) { /* a batch of none has no -1 */
        clear(&r);
        return n;
    }
    st = o < n ? sg_convert(r.conversion, r.out[o], &value) : SG_ERR_UNSUPPORTED;
    if (st == SG_OK)
        check_output(&r, o, value);
    else if (st != SG_ERR_UNSUPPORTED || (o == 0 && sg_onnx_form_of(r.out[0]->node->op)))
        fail_msg("output %d: %s", o, sg_last_error());
    clear(&r);
    return n;
}

static void test_case(void **state) {
    const op_case *c = *state;

    for (int o = 0, n = 1; o < n; o++) n = check(c, o);
}

/* Runs last. */
static void test_every_form_is_covered(void **state) {
    (void)state;
    for (int i = 0; i < SG_OP_COUNT; i++)
        if (sg_onnx_form_of(sg_ops[i]) && compared[i] == 0)
            fail_msg("op %s: no case has compared its ONNX form", sg_ops[i]->name);
}

int main(void) {
    static struct CMUnitTest tests[OP_MOST_CASES + 1];
    const op_case *c;
    size_t n = 0;

    for (int i = 0; (c = op_case_at(i)); i++) {
        if (c->run_status != SG_OK || c->ref_only) continue;
        tests[n].name = c->name;
        tests[n].test_func = test_case;
        tests[n++].initial_state = (void *)(uintptr_t)c;
    }
    tests[n].name = "every form is covered";
    tests[n++].test_func = test_every_form_is_covered;
    return _cmocka_run_group_tests("onnx forms", tests, n, NULL, NULL);
}
