/* Cases of ops/embedding.c and ops/attention.c. */
#include "op_cases.h"

static int embedding(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_embedding(g, in[0], in[1], c->n_in > 2 ? in[2] : NULL);
    return 1;
}

/* p[1]: rows of the table */
static int embedding_dw(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    out[0] = sg_embedding_dw(g, in[0], in[1], c->p[1]);
    return 1;
}

/* p[1]: heads; without a second input no lengths */
static int attention(sg_graph *g, const op_case *c, sg_value *const in[], sg_value *out[]) {
    sg_value *o = sg_attention(g, in[0], c->n_in > 1 ? in[1] : NULL, c->p[1]);

    out[0] = o;
    out[1] = o ? &o->node->out[1] : NULL;
    return 2;
}

/* --- embedding -------------------------------------------------------------------------------- */

static const int32_t kIds[] = {2, 0, -1, 2, 2, 1}, kTooLarge[] = {2, 0, -1, 2, 3, 1};
static const float kTable[] = {1, 2, 3, 4, 5, 6};                  /* (3, 2) */
static const float kPosition[] = {10, 20, 30, 40, 50, 60};         /* (3, 2) */
static const float kRows[] = {5, 6, 1, 2, 0, 0, 5, 6, 5, 6, 3, 4}; /* (2, 3, 2) */
static const float kPlaced[] = {15, 26, 31, 42, 50, 60, 15, 26, 35, 46, 53, 64};
static const float kDy[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const float kDw[] = {3, 4, 11, 12, 1 + 7 + 9, 2 + 8 + 10}; /* (3, 2) */

/* --- attention -------------------------------------------------------------------------------- */

/* One head of width 1, three texts of two tokens (q, k, v), of lengths 2, 1 and 0. q k = 0, 0 gives
 * the mean of v; ln 3, 0 gives 3/4 and 1/4; a token alone gets its v; 0.25 = 0.5 0.5 is its lse. */
static const float kOneHead[] = {0,    1,    4, 1.0986123f, 0, 8, /* */
                                 0.5f, 0.5f, 9, 7,          7, 7, /* */
                                 7,    7,    7, 7,          7, 7};
static const int32_t kLengths[] = {2, 1, 0}, kLong[] = {2, 3, 0}, kNegative[] = {2, -1, 0};
static const float kOut[] = {6, 5, 9, 0, 0, 0};
static const float kLse[] = {0.69314718f, 1.3862944f, 0.25f, 0, 0, 0};
/* Two heads of width 4, so that products are halved; one text of two tokens. Head 0 sees q k = 0
 * from token 0 and 2 ln 3, 0 from token 1, where q is (ln 3, 1, 0, 0) and k_0 is (2, 0, ..);
 * head 1 has q = 0 and takes means. */
static const float kTwoHeads[] = {0,          0, 0, 0, 0, 0, 0, 0, /* q of token 0 */
                                  2,          0, 0, 0, 5, 6, 7, 8, /* k */
                                  4,          8, 0, 2, 1, 3, 5, 7, /* v */
                                  1.0986123f, 1, 0, 0, 0, 0, 0, 0, /* q of token 1 */
                                  0,          0, 9, 9, 1, 2, 3, 4, /* k */
                                  8,          0, 4, 2, 3, 1, 9, 7};
static const float kTwoOut[] = {6, 4, 2, 2, 2, 2, 7, 7, 5, 6, 1, 2, 2, 2, 7, 7};
static const float kTwoLse[] = {0.69314718f, 1.3862944f, 0.69314718f, 0.69314718f}; /* (2, 2) */

static const int32_t kTwoTexts[] = {7, 3}, kTiles[] = {67, 64}, kFew[] = {31, 33};

// clang-format off
#define IDS(n, t, ...)     M(n, t, .dtype = SG_I32, __VA_ARGS__)
#define LENGTHS(n, x) V(n, .dtype = SG_I32, .data = x)
/* p[0]: rows of the table; one that no id picks has no gradient */
#define EMBED(title, n, t, v, c)                                                                   \
    {"embedding: " title, embedding, 2, {IDS(n, t, .fill = OP_LABEL), M(v, c)}, .p = {v},          \
     .zero_ok = (n) * (t) == 0 ? 2 : 0},                                                           \
    {"embedding: " title ", positions", embedding, 3,                                              \
     {IDS(n, t, .fill = OP_LABEL), M(v, c), M(t, c)}, .p = {v}, .zero_ok = (n) * (t) == 0 ? 6 : 0}
#define ATTEND(title, n, t, h, d, ...)                                                             \
    {"attention: " title, attention, 2, {T(n, t, 3 * (h) * (d)), __VA_ARGS__}, .p = {0, h},        \
     .n_project = 1}
#define ATTEND_ALL(title, n, t, h, d)                                                              \
    {"attention: " title, attention, 1, {T(n, t, 3 * (h) * (d))}, .p = {0, h}, .n_project = 1}

static const op_case cases[] = {
    {"embedding: by hand", embedding, 2, {IDS(2, 3, .data = kIds), M(3, 2, .data = kTable)},
     .want = {kRows}},
    {"embedding: by hand, positions", embedding, 3,
     {IDS(2, 3, .data = kIds), M(3, 2, .data = kTable), M(3, 2, .data = kPosition)},
     .want = {kPlaced}},
    {"embedding: id too large", embedding, 2,
     {IDS(2, 3, .data = kTooLarge), M(3, 2, .data = kTable)}, .run_status = SG_ERR_DATA},
    {"embedding_dw: by hand", embedding_dw, 2,
     {IDS(2, 3, .data = kIds), T(2, 3, 2, .data = kDy)}, .p = {0, 3}, .want = {kDw},
     .no_grad = true},
    {"embedding_dw: id too large", embedding_dw, 2,
     {IDS(2, 3, .data = kTooLarge), T(2, 3, 2)}, .p = {0, 3}, .no_grad = true},
    EMBED("one", 1, 5, 1, 1),
    EMBED("primes", 3, 7, 11, 5),
    EMBED("32 wide", 2, 5, 7, 32),
    EMBED("1031 wide", 1, 3, 2, 1031),
    EMBED("1031 rows", 5, 13, 1031, 8),
    EMBED("crowded rows", 7, 191, 3, 36),
    EMBED("no texts", 0, 3, 5, 4),
    EMBED("no tokens", 3, 0, 5, 4),
    {"attention: by hand", attention, 2, {T(3, 2, 3, .data = kOneHead), LENGTHS(3, kLengths)},
     .p = {0, 1}, .want = {kOut, kLse}, .n_project = 1},
    {"attention: by hand, two heads", attention, 1, {T(1, 2, 24, .data = kTwoHeads)},
     .p = {0, 2}, .want = {kTwoOut, kTwoLse}, .no_grad = true},
    {"attention: length too large", attention, 2, {T(3, 2, 3), LENGTHS(3, kLong)}, .p = {0, 1},
     .run_status = SG_ERR_DATA},
    {"attention: length below 0", attention, 2, {T(3, 2, 3), LENGTHS(3, kNegative)}, .p = {0, 1},
     .run_status = SG_ERR_DATA},
    ATTEND_ALL("one", 1, 1, 1, 1),
    ATTEND_ALL("no texts", 0, 3, 2, 4),
    ATTEND_ALL("no tokens", 2, 0, 2, 4),
    ATTEND_ALL("a token", 3, 1, 2, 4),
    ATTEND("primes", 2, 7, 3, 5, LENGTHS(2, kTwoTexts)),
    ATTEND("two tiles", 2, 67, 1, 16, LENGTHS(2, kTiles)),
    ATTEND_ALL("131 tokens", 1, 131, 1, 3),
    ATTEND("width 32", 2, 33, 2, 32, LENGTHS(2, kFew)),
    ATTEND_ALL("width 40", 1, 35, 1, 40),
    ATTEND("width 64", 2, 33, 1, 64, LENGTHS(2, kFew)),
    ATTEND_ALL("width 100", 1, 18, 1, 100),
    ATTEND("width 128", 2, 33, 1, 128, LENGTHS(2, kFew)),
};
// clang-format on

const op_suite op_suite_text = {cases, OP_COUNT(cases)};
