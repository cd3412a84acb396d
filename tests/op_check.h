/* How an op is tested: a case says inputs and how to build the op, the harness does the rest.
 *
 * To test a new op, write cases for it in a file tests/op_cases_TOPIC.c and name their list in
 * tests/op_cases.c; test_ops runs them all, and fails for an op that no case covers. Of each case
 * op_check_case
 *
 *   - compares the outputs with hand-worked numbers (`want`);
 *   - checks the gradients of all inputs that are not `fixed` against central differences of
 *     loss = sum_k w_k y_k, with fixed random w, summed in double;
 *   - runs each node, forward and backward: that it writes every element of its outputs, leaves its
 *     inputs alone, and gives the same bits when it works in place as it claims (op->inplace);
 *   - compiles the graph for the reference backend, with and without reuse of memory: same bits;
 *   - runs each node and the whole graph on every other backend, with inputs that arrive plain and
 *     in blocks of 8 channels, and compares with the reference. */
#ifndef SG_TESTS_OP_CHECK_H
#define SG_TESTS_OP_CHECK_H

#include "ops/ops.h"

typedef enum {
    OP_UNIFORM,  /* [-1, 1) */
    OP_FAR,      /* +-[0.6, 1.2): away from a kink at 0 */
    OP_POSITIVE, /* [0.5, 1.5) */
    OP_OFFSET,   /* [99, 101): a variance that naive sums lose */
    OP_DISTINCT, /* a permuted grid, no two nearer than 0.03: for the greatest of several */
    OP_BOXES,    /* (..., 4): xmin, ymin, xmax, ymax inside 0 .. 48; many overlap */
    OP_LABEL     /* i32: -1 .. p[0] - 1 */
} op_fill;

typedef struct {
    sg_shape shape;
    sg_dtype dtype; /* f32 where nothing is said; u8 is random bytes */
    op_fill fill;
    bool fixed;       /* no gradient: an input that the rule stops, or one held fixed */
    const void *data; /* given elements instead of `fill` */
} op_input;

/* How far other backends may be from the reference, in parts of |b| + terms, the reference's value
 * and the sum of the absolute values of its terms (op_check.c says what that is taken for). The
 * value is no larger than its terms: half of what is asked of a backend, 1e-5 of the terms, and in
 * bf16 1e-2. The farthest of all cases are at 4.1e-6 (layer_norm of numbers near 100) and, in bf16,
 * at 4.6e-3 (layer_norm of a residual, which rounds twice). */
#define OP_TOLERANCE    5e-6
#define OP_TOLERANCE_16 5e-3

typedef struct op_case op_case;
struct op_case {
    const char *name; /* "conv2d: 3x3, stride 2" */
    /* Build the op and put what is to be checked into out[] (at most SG_MAX_OUT); returns how
     * many. A NULL among them is the graph's failure. */
    int (*build)(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]);
    int n_in;
    op_input in[SG_MAX_IN];
    int64_t p[6]; /* for build */
    float f[2];
    const void *attr;             /* for build */
    const void *want[SG_MAX_OUT]; /* hand-worked elements of out[o], in its dtype, or NULL */
    int n_project;                /* the first outputs take part in the loss; 0: all */
    bool no_grad;                 /* the op has no gradient: do not look for one */
    bool ref_only;                /* a corner where backends may differ: NaN, no channels */
    unsigned zero_ok;             /* bit i: the gradient of input i is zero, and should be */
    double fd_tolerance;          /* 0: 1e-3 */
    double tolerance;     /* of other backends, at the least; 0: OP_TOLERANCE, OP_TOLERANCE_16 */
    sg_status run_status; /* the run must fail like this; nothing else is checked then */
};

typedef struct {
    const op_case *cases;
    int n;
} op_suite;

/* Of all suites; NULL: there are no more. */
enum { OP_MOST_CASES = 1000 };
const op_case *op_case_at(int i);

#define OP_COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))
/* Shapes for static tables. */
#define OP_SHAPE_0                                                                                 \
    {                                                                                              \
        0, { 0 }                                                                                   \
    }
#define OP_SHAPE_1(a)                                                                              \
    {                                                                                              \
        1, { a }                                                                                   \
    }
#define OP_SHAPE_2(a, b)                                                                           \
    {                                                                                              \
        2, { a, b }                                                                                \
    }
#define OP_SHAPE_3(a, b, c)                                                                        \
    {                                                                                              \
        3, { a, b, c }                                                                             \
    }
#define OP_SHAPE_4(a, b, c, d)                                                                     \
    {                                                                                              \
        4, { a, b, c, d }                                                                          \
    }

/* What cases have shown of an op, by bits. */
enum {
    OP_SEEN = 1,
    OP_FORWARD = 2,        /* built by a case, not only by a gradient rule */
    OP_HAND_WORKED = 4,    /* in the forward part of a case with numbers */
    OP_DIFFERENTIATED = 8, /* in the forward part of a case whose gradients were checked */
    OP_BACKWARD = 16       /* in the backward part of one */
};
extern unsigned op_coverage[SG_OP_COUNT];

/* The elements of input i, the caller's (sg_free). */
void *op_make_input(const op_case *c, int i);

/* Fails the running cmocka test where something is wrong. `backends`: those to compare. */
void op_check_case(const op_case *c, const sg_backend *const backends[], int n_backends);

/* Each node of the case on a backend that computes in bf16, its f32 inputs rounded to bf16 and told
 * to arrive in these layouts, pictures (rank 4) in the one and matrices (2, 3) in the other,
 * against the reference on the same rounded inputs: what differs is the rounding of outputs. */
void op_check_case_bf16(const op_case *c, const sg_backend *backend, sg_layout picture,
                        sg_layout matrix);

/* Run `group` in a child process under run.isa = native, where that means AVX-512; elsewhere one
 * skipped test stands for it. The instruction set is a process's, so call this before anything else
 * and run the group once more after it. 0 if nothing failed. */
int op_run_native(int (*group)(void));

#endif
