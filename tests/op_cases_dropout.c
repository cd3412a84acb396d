/* Cases of ops/dropout.c. The words of the mask by hand are those of Philox and SplitMix64 written
 * anew in Python. */
#include "op_cases.h"

/* f: the share dropped; p: the name; in: x, the step's key */
static int dropout(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_dropout_keyed(g, in[0], in[1], c->f[0], (uint64_t)c->p[0]);
    return 1;
}

static const int32_t kKey[] = {1, 2}, kOther[] = {-1, 0x7fffffff};
static const float k10[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
static const float kHalf[] = {0, 4, 0, 8, 10, 0, 14, 0, 0, 20};
/* of the words 5f8ba8f6 f9514b7d 0fd01158 c1716aba a843eda1 24af1af3 b470e70f 28b0c5ed 1ec33400
 * c4e2029f only the third is below 2^32 / 10 */
static const float kTenth[] = {1 / 0.9f, 2 / 0.9f, 0,        4 / 0.9f, 5 / 0.9f,
                               6 / 0.9f, 7 / 0.9f, 8 / 0.9f, 9 / 0.9f, 10 / 0.9f};

// clang-format off
#define KEY V(2, .dtype = SG_I32, .data = kKey)

static const op_case cases[] = {
    {"dropout: half, by hand", dropout, 2, {V(10, .data = k10), KEY}, .f = {0.5f}, .p = {3},
     .want = {kHalf}},
    {"dropout: a tenth, by hand", dropout, 2, {M(2, 5, .data = k10), KEY}, .f = {0.1f}, .p = {3},
     .want = {kTenth}},
    {"dropout: nothing", dropout, 2, {V(10, .data = k10), KEY}, .want = {k10}},
    {"dropout: one element", dropout, 2, {S(.fill = OP_FAR), KEY}, .f = {0.5f}, .p = {1},
     .zero_ok = 1},
    {"dropout: a prime", dropout, 2, {V(31), KEY}, .f = {0.25f}},
    {"dropout: (3, 1031)", dropout, 2, {M(3, 1031), V(2, .dtype = SG_I32, .data = kOther)},
     .f = {0.1f}, .p = {-1}},
    {"dropout: (2, 3, 8)", dropout, 2, {T(2, 3, 8), KEY}, .f = {0.9f}},
    {"dropout: (5, 67, 64)", dropout, 2, {T(5, 67, 64), KEY}, .f = {0.1f}},
    {"dropout: 5 channels", dropout, 2, {P(2, 5, 3, 7), KEY}, .f = {0.5f}},
    {"dropout: 16 channels", dropout, 2, {P(1, 16, 5, 5), KEY}, .f = {0.5f}},
    {"dropout: no rows", dropout, 2, {M(0, 5), KEY}, .f = {0.5f}},
};
// clang-format on

const op_suite op_suite_dropout = {cases, OP_COUNT(cases)};
