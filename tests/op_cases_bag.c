/* Cases of ops/embedding_bag.c and ops/rows.c. */
#include "op_cases.h"

/* in: ids, table and perhaps weights */
static int bag(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_embedding_bag(g, in[0], c->n_in > 2 ? in[2] : NULL, in[1]);
    return 1;
}

/* The same with dy for the table; p[1]: rows of the table */
static int bag_dw(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_embedding_bag_dw(g, in[0], c->n_in > 2 ? in[2] : NULL, in[1], c->p[1]);
    return 1;
}

/* in: ids, source, sums, step block, table, then Adagrad's sums and weights, if there are any;
 * p[1]: the rule */
static int rows(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_rows_attr attr = {(sg_rows_rule)c->p[1], 1};
    sg_rows_inputs r = {
        .ids = in[0], .source = in[1], .sums = in[2], .step = in[3], .table = in[4]};
    sg_value *next;
    int n = 5;

    if (attr.rule != SG_ROWS_SGD) r.sum = in[n++];
    if (n < c->n_in) r.weights = in[n];
    next = sg_rows_step(g, &r, attr);
    out[0] = next;
    if (attr.rule == SG_ROWS_SGD) return 1;
    out[1] = next ? &next->node->out[1] : NULL;
    return 2;
}

/* --- by hand ---------------------------------------------------------------------------------- */

static const int32_t kIds[] = {2, 0, -1, 2, 2, 1}, kTooLarge[] = {2, 0, -1, 2, 4, 1}; /* (2, 3) */
static const int32_t kPadding[] = {-1, -7, -1, -1, -1, -1};
static const float kWeights[] = {1, 2, 9, 0.5f, -1, 3};
static const float kTable[] = {1, 2, 3, 4, 5, 6, 7, 8}; /* (4, 2); nothing asks for the last row */
static const float kSums[] = {6, 8, 13, 16}, kWeighted[] = {7, 10, 6.5f, 9}, kNone[] = {0, 0, 0, 0};
static const float kDy[] = {1, 2, 3, 4};
static const float kDw[] = {1, 2, 3, 4, 7, 10, 0, 0};
static const float kWeightedDw[] = {2, 4, 9, 12, -0.5f, 0, 0, 0};
/* a factor of 1/2: the rows' gradients are (1, 2), (4.5, 6), (-0.25, 0) */
static const float kTwo[SG_MAX_SUMS] = {2.0f, 77.0f}, kFew[SG_MAX_SUMS] = {0.5f, 77.0f};
static const float kStep[SG_STEP_SLOTS] = {[SG_STEP_LR] = 77.0f, [SG_STEP_ROWS_LR] = 0.1f};
static const float kDiverged[SG_STEP_SLOTS] = {[SG_STEP_ROWS_LR] = 0.1f, [SG_STEP_DIVERGED] = 1.0f};
static const float kSgd[] = {0.9f, 1.8f, 2.55f, 3.4f, 5.025f, 6, 7, 8};
/* without the factor and weights: (1, 2), (3, 4), (7, 10) */
static const float kPlainSgd[] = {0.9f, 1.8f, 2.7f, 3.6f, 4.3f, 5, 7, 8};
static const float kSquares[] = {0, 5, 0, 0, 0.9375f, 1, 3, 4};
static const float kNewSquares[] = {1, 9, 20.25f, 36, 1, 1, 3, 4};
static const float kAdagrad[] = {0.9f, 1.9333333f, 2.9f, 3.9f, 5.025f, 6, 7, 8};
static const float kRowSquares[] = {1.5f, 7.875f, 0.21875f, 9}, kNewRow[] = {4, 36, 0.25f, 9};
static const float kAdagradRow[] = {0.95f, 1.9f, 2.925f, 3.9f, 5.05f, 6, 7, 8};

// clang-format off
#define IDS(n, f, ...)  M(n, f, .dtype = SG_I32, __VA_ARGS__)
#define HAND            IDS(2, 3, .data = kIds)
#define STEP(sums)      V(SG_MAX_SUMS, .data = sums), V(SG_STEP_SLOTS, .data = kStep)
#define TABLE           M(4, 2, .data = kTable)
/* n bags of f ids, a table of r rows of d */
#define BAG(title, n, f, r, d)                                                                     \
    {"embedding_bag: " title, bag, 2, {IDS(n, f, .fill = OP_LABEL), M(r, d)}, .p = {r},            \
     .zero_ok = (n) * (f) == 0 ? 2 : 0},                                                           \
    {"embedding_bag: weights, " title, bag, 3,                                                     \
     {IDS(n, f, .fill = OP_LABEL), M(r, d), M(n, f, .fixed = true)}, .p = {r},                     \
     .zero_ok = (n) * (f) == 0 ? 2 : 0}
#define ROWS(title, n, f, r, d)                                                                    \
    {"rows_step: sgd, " title, rows, 6,                                                            \
     {IDS(n, f, .fill = OP_LABEL), M(n, d), STEP(kTwo), M(r, d), M(n, f)}, .p = {r, SG_ROWS_SGD},  \
     .no_grad = true},                                                                             \
    {"rows_step: adagrad, " title, rows, 6,                                                        \
     {IDS(n, f, .fill = OP_LABEL), M(n, d), STEP(kTwo), M(r, d), M(r, d, .fill = OP_POSITIVE)},    \
     .p = {r, SG_ROWS_ADAGRAD}, .no_grad = true},                                                  \
    {"rows_step: adagrad row, " title, rows, 7,                                                    \
     {IDS(n, f, .fill = OP_LABEL), M(n, d), STEP(kTwo), M(r, d), V(r, .fill = OP_POSITIVE),        \
      M(n, f)}, .p = {r, SG_ROWS_ADAGRAD_ROW}, .no_grad = true}
#define BOTH(title, n, f, r, d) BAG(title, n, f, r, d), ROWS(title, n, f, r, d)

static const op_case cases[] = {
    {"embedding_bag: by hand", bag, 2, {HAND, TABLE}, .want = {kSums}},
    {"embedding_bag: weights, by hand", bag, 3, {HAND, TABLE, M(2, 3, .data = kWeights, .fixed = true)},
     .want = {kWeighted}},
    {"embedding_bag: padding alone", bag, 2, {IDS(2, 3, .data = kPadding), TABLE},
     .want = {kNone}, .zero_ok = 2},
    {"embedding_bag: an id too large", bag, 2, {IDS(2, 3, .data = kTooLarge), TABLE},
     .run_status = SG_ERR_DATA},
    {"embedding_bag_dw: by hand", bag_dw, 2, {HAND, M(2, 2, .data = kDy)}, .p = {0, 4},
     .no_grad = true, .want = {kDw}},
    {"embedding_bag_dw: weights, by hand", bag_dw, 3,
     {HAND, M(2, 2, .data = kDy), M(2, 3, .data = kWeights)}, .p = {0, 4}, .no_grad = true,
     .want = {kWeightedDw}},
    {"rows_step: sgd, by hand", rows, 6,
     {HAND, M(2, 2, .data = kDy), STEP(kTwo), TABLE, M(2, 3, .data = kWeights)},
     .p = {0, SG_ROWS_SGD}, .no_grad = true, .want = {kSgd}},
    {"rows_step: normaliser below 1", rows, 5, {HAND, M(2, 2, .data = kDy), STEP(kFew), TABLE},
     .p = {0, SG_ROWS_SGD}, .no_grad = true, .want = {kPlainSgd}},
    {"rows_step: adagrad, by hand", rows, 7,
     {HAND, M(2, 2, .data = kDy), STEP(kTwo), TABLE, M(4, 2, .data = kSquares),
      M(2, 3, .data = kWeights)}, .p = {0, SG_ROWS_ADAGRAD}, .no_grad = true,
     .want = {kAdagrad, kNewSquares}},
    {"rows_step: adagrad row, by hand", rows, 7,
     {HAND, M(2, 2, .data = kDy), STEP(kTwo), TABLE, V(4, .data = kRowSquares),
      M(2, 3, .data = kWeights)}, .p = {0, SG_ROWS_ADAGRAD_ROW}, .no_grad = true,
     .want = {kAdagradRow, kNewRow}},
    {"rows_step: diverged", rows, 6,
     {HAND, M(2, 2, .data = kDy), V(SG_MAX_SUMS, .data = kTwo), V(SG_STEP_SLOTS, .data = kDiverged),
      TABLE, M(4, 2, .data = kSquares)}, .p = {0, SG_ROWS_ADAGRAD}, .no_grad = true,
     .want = {kTable, kSquares}},
    {"rows_step: padding alone", rows, 6,
     {IDS(2, 3, .data = kPadding), M(2, 2, .data = kDy), STEP(kTwo), TABLE,
      M(4, 2, .data = kSquares)}, .p = {0, SG_ROWS_ADAGRAD}, .no_grad = true,
     .want = {kTable, kSquares}},
    BOTH("one row of one", 3, 2, 1, 1),
    BOTH("7 bags of 5, 13 rows of 2", 7, 5, 13, 2),
    BOTH("5 bags of 33, 11 rows of 8", 5, 33, 11, 8),
    BOTH("2 bags of 9, 50 rows of 13", 2, 9, 50, 13),
    BOTH("3 bags of 11, 50 rows of 14", 3, 11, 50, 14),
    BOTH("3 bags of 17, 300 rows of 20", 3, 17, 300, 20),
    BOTH("4 bags of 7, 37 rows of 31", 4, 7, 37, 31),
    BOTH("2 bags of 64, 29 rows of 64", 2, 64, 29, 64),
    BOTH("6 bags of 3, 9 rows of 65", 6, 3, 9, 65),
    BOTH("9 bags of 16, 31 rows of 100", 9, 16, 31, 100),
    BOTH("3 bags of 5, 7 rows of 131", 3, 5, 7, 131),
    BOTH("41 bags of 67, 3 rows of 4", 41, 67, 3, 4),
    BAG("31 bags of 67, 3001 rows of 3", 31, 67, 3001, 3),
    {"rows_step: adagrad, 31 bags of 67, 70001 rows of 3", rows, 6,
     {IDS(31, 67, .fill = OP_LABEL), M(31, 3), STEP(kTwo), M(70001, 3),
      M(70001, 3, .fill = OP_POSITIVE)}, .p = {70001, SG_ROWS_ADAGRAD}, .no_grad = true},
    BOTH("no bags", 0, 3, 4, 8),
    BOTH("no features", 3, 0, 4, 8),
    BOTH("no columns", 3, 2, 4, 0),
};
// clang-format on

const op_suite op_suite_bag = {cases, OP_COUNT(cases)};
