/* Tables of rows: their state, their files, the gradient that is never made, and trainings of which
 * they are a part. */
#define _GNU_SOURCE
#include "trainer_fixture.h"

#include <stdlib.h>
#include <unistd.h>

#include "bag_model.h"
#include "checkpoint/model_file.h"
#include "graph/program.h"
#include "ops/ops.h"
#include "out_of_memory.h"
#include "train/inference.h"

static const sg_rows_rule kRules[] = {SG_ROWS_SGD, SG_ROWS_ADAGRAD, SG_ROWS_ADAGRAD_ROW};

#define EXPECT(call, status, text)                                                                 \
    do {                                                                                           \
        assert_int_equal(call, status);                                                            \
        if (!strstr(sg_last_error(), text)) fail_msg("it says: %s", sg_last_error());              \
    } while (0)

/* --- the state -------------------------------------------------------------------------------- */

enum { kManyRows = 4099, kColumns = 33 }; /* more than a piece is */

static sg_table *new_table(void) {
    const sg_init uniform = {SG_INIT_UNIFORM, 0.5f}, normal = {SG_INIT_NORMAL, 2.0f};
    const sg_shape large = sg_shape_2(kManyRows, kColumns), small = sg_shape_2(3, 2);
    sg_table *table;
    int index;

    CHECK_OK(sg_table_create(&table));
    CHECK_OK(sg_table_entry(table, "large", SG_ENTRY_ROWS, &large, uniform, &index));
    CHECK_OK(sg_table_entry(table, "w", SG_ENTRY_DECAY, &small, normal, &index));
    CHECK_OK(sg_table_entry(table, "small", SG_ENTRY_ROWS, &small, normal, &index));
    sg_table_freeze(table);
    return table;
}

static sg_state *new_state(const sg_table *table, sg_rows_rule rule) {
    sg_state *s;

    CHECK_OK(sg_state_create_with(table, &(sg_state_options){.n_moments = 1, .rule = rule}, &s));
    sg_state_init(s, 11);
    return s;
}

/* What rows take is theirs alone, and of each rule what it needs. */
static void buffers(void **unused) {
    sg_table *table = new_table();
    int64_t large = kManyRows * kColumns + 13; /* to a multiple of 16 */
    sg_state *s = new_state(table, SG_ROWS_SGD);

    (void)unused;
    assert_int_equal(table->n_values, 16);
    assert_int_equal(table->n_grads, 16 + SG_MAX_SUMS);
    assert_int_equal(table->n_rows, large + 16);
    assert_int_equal(table->entry[2].offset, large);
    assert_int_equal(sg_table_rows_sum(table, SG_ROWS_SGD), 0);
    assert_int_equal(sg_table_rows_sum(table, SG_ROWS_ADAGRAD), large + 16);
    assert_int_equal(sg_table_rows_sum(table, SG_ROWS_ADAGRAD_ROW), 4112 + 16);
    assert_int_equal(sg_entry_sum_offset(&table->entry[2], SG_ROWS_ADAGRAD_ROW), 4112);
    assert_null(s->rows_sum);
    sg_state_destroy(s);
    sg_table_destroy(table);
}

/* What tables lie in: zeroed, and failing and freed as any other block. */
static void large_blocks(void **unused) {
    static const size_t sizes[] = {0, 100, 2 << 20, (5 << 20) + 3};
    long live = sg_mem_live();

    (void)unused;
    for (int i = 0; i < 4; i++) {
        unsigned char *block = sg_calloc_large(sizes[i]);

        assert_non_null(block);
        assert_int_equal((uintptr_t)block % SG_ALIGN, 0);
        assert_int_equal(sg_mem_live(), live + 1);
        for (size_t k = 0; k < sizes[i]; k++) assert_true(block[k] == 0);
        memset(block, 1, sizes[i]);
        sg_free(block);
        assert_int_equal(sg_mem_live(), live);
        sg_mem_fail_at(1);
        assert_null(sg_calloc_large(sizes[i]));
    }
    assert_null(sg_calloc_large(SIZE_MAX - 5));
}

/* Pieces are parts of one sequence, whoever draws which. */
static void drawing(void **unused) {
    sg_table *table = new_table();
    sg_state *s = new_state(table, SG_ROWS_ADAGRAD), *u;
    sg_random uniform = sg_random_init(sg_key_mix(11, sg_key_name("large")));
    sg_random normal = sg_random_init(sg_key_mix(11, sg_key_name("small")));
    int64_t pieces = sg_state_pieces(table), small = table->entry[2].offset;

    (void)unused;
    for (int64_t i = 0; i < kManyRows * kColumns; i++)
        assert_true(s->rows[i] == sg_random_range(&uniform, -0.5f, 0.5f));
    for (int64_t i = 0; i < 6; i++)
        assert_true(s->rows[small + i] == 2.0f * sg_random_normal(&normal));
    assert_int_equal(pieces, 3 + 1 + 1);
    CHECK_OK(sg_state_create_with(table, &(sg_state_options){.rule = SG_ROWS_ADAGRAD}, &u));
    for (int64_t i = pieces - 1; i >= 0; i--) sg_state_draw(u, i, 11);
    s->rows_sum[3] = 1.0f;
    sg_state_begin(s, 11);
    assert_true(s->rows_sum[3] == 0.0f);
    assert_memory_equal(s->rows, u->rows, (size_t)table->n_rows * sizeof(float));
    sg_state_destroy(u);
    sg_state_destroy(s);
    sg_table_destroy(table);
}

static void shapes_of_tables(void **unused) {
    const sg_init zero = {SG_INIT_CONSTANT, 0.0f};
    const sg_shape vector = sg_shape_1(3), matrix = sg_shape_2(3, 2);
    char name[] = "table0";
    sg_table *table;
    int index;

    (void)unused;
    CHECK_OK(sg_table_create(&table));
    EXPECT(sg_table_entry(table, "v", SG_ENTRY_ROWS, &vector, zero, &index), SG_ERR_ARG,
           "parameter v: a table of rows has two dimensions, not (3)");
    for (int i = 0; i < SG_MAX_ROWS; i++, name[5]++)
        CHECK_OK(sg_table_entry(table, name, SG_ENTRY_ROWS, &matrix, zero, &index));
    EXPECT(sg_table_entry(table, name, SG_ENTRY_ROWS, &matrix, zero, &index), SG_ERR_ARG,
           "parameter table8: there are 8 tables of rows already");
    sg_table_destroy(table);
}

/* --- files ------------------------------------------------------------------------------------ */

static char path[64];

static void make_path(void) {
    int fd;

    strcpy(path, "/tmp/spotgrad-rows-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
}

static void write_state(const sg_state *s) {
    const sg_model_about about = {.epoch = 1};

    make_path();
    CHECK_OK(sg_model_file_write(path, &about, s));
}

static void fill_sums(sg_state *s) {
    const sg_table *table = s->table;

    for (int i = 0; s->rows_sum && i < table->n_entries; i++) {
        const sg_entry *e = &table->entry[i];
        sg_shape shape = sg_entry_sum_shape(e, s->rule);

        if (e->kind != SG_ENTRY_ROWS) continue;
        for (int64_t k = 0; k < sg_shape_count(&shape); k++)
            s->rows_sum[sg_entry_sum_offset(e, s->rule) + k] = (float)(k % 97) + 0.5f;
    }
}

static void hash_of(const sg_state *s, char hash[SG_STATE_HASH_BYTES]) {
    CHECK_OK(sg_state_sha256(s, hash));
}

/* Every number comes back, and the hash knows each. */
static void files(void **unused) {
    sg_table *table = new_table();

    (void)unused;
    for (int i = 0; i < 3; i++) {
        char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
        sg_state *s = new_state(table, kRules[i]), *u = new_state(table, kRules[i]);
        float *last[] = {s->rows + table->entry[2].offset + 5, NULL};

        fill_sums(s);
        hash_of(s, want);
        write_state(s);
        memset(u->rows, 0, (size_t)table->n_rows * sizeof(float));
        CHECK_OK(sg_model_file_load(path, u));
        hash_of(u, got);
        assert_string_equal(want, got);
        assert_memory_equal(s->rows, u->rows, (size_t)table->n_rows * sizeof(float));
        if (s->rows_sum) last[1] = s->rows_sum + sg_entry_sum_offset(&table->entry[2], s->rule) + 2;
        for (int k = 0; k < 2 && last[k]; k++) {
            *last[k] += 1.0f;
            hash_of(s, got);
            assert_string_not_equal(want, got);
            *last[k] -= 1.0f;
        }
        unlink(path);
        sg_state_destroy(u);
        sg_state_destroy(s);
    }
    sg_table_destroy(table);
}

/* A file of one rule is no state of another; inference, which has no sums, takes each. */
static void other_rules(void **unused) {
    sg_table *table = new_table();
    sg_state *inference;

    (void)unused;
    CHECK_OK(sg_state_create(table, 0, &inference));
    for (int i = 0; i < 3; i++) {
        sg_state *s = new_state(table, kRules[i]);

        write_state(s);
        for (int k = 0; k < 3; k++) {
            sg_state *u = new_state(table, kRules[k]);

            u->rows[0] = 77.0f;
            if (i == k) CHECK_OK(sg_model_file_load(path, u));
            if (i != k) assert_int_equal(sg_model_file_load(path, u), SG_ERR_DATA);
            if (i != k && (k == 0 || i == 0)) assert_non_null(strstr(sg_last_error(), "/sum/"));
            if (i != k && k > 0 && i > 0) assert_non_null(strstr(sg_last_error(), "has the shape"));
            assert_true(u->rows[0] == (i == k ? s->rows[0] : 77.0f));
            sg_state_destroy(u);
        }
        CHECK_OK(sg_model_file_load(path, inference));
        assert_memory_equal(s->rows, inference->rows, (size_t)table->n_rows * sizeof(float));
        unlink(path);
        sg_state_destroy(s);
    }
    sg_state_destroy(inference);
    sg_table_destroy(table);
}

/* A model that starts from another takes its rows, and begins their sums anew. */
static void fitting_rows(void **unused) {
    sg_table *table = new_table();
    sg_state *s = new_state(table, SG_ROWS_ADAGRAD), *u = new_state(table, SG_ROWS_ADAGRAD_ROW);
    sg_fitting fitting;

    (void)unused;
    for (int64_t i = 0; i < table->n_rows; i++) s->rows[i] *= 2.0f;
    write_state(s);
    fill_sums(u);
    CHECK_OK(sg_model_file_load_fitting(path, u, NULL, &fitting));
    assert_int_equal(fitting.tensors, 3);
    assert_memory_equal(s->rows, u->rows, (size_t)table->n_rows * sizeof(float));
    for (int64_t i = 0; i < sg_table_rows_sum(table, u->rule); i++)
        assert_true(u->rows_sum[i] == 0.0f);
    unlink(path);
    sg_state_destroy(u);
    sg_state_destroy(s);
    sg_table_destroy(table);
}

/* --- the gradient ----------------------------------------------------------------------------- */

typedef struct {
    sg_table *table;
    sg_graph *g;
    sg_program *program;
    sg_state *state;
    float *source[2], *grads, loss;
    sg_bindings b;
} model;

static void set_up_model(model *m) {
    memset(m, 0, sizeof *m);
    CHECK_OK(sg_table_create(&m->table));
    CHECK_OK(sg_graph_create(SG_TRAIN, m->table, &m->g));
    CHECK_OK(build_bags(m->g, kBatch, &bag_short));
    sg_table_freeze(m->table);
    CHECK_OK(sg_program_compile(m->g, &sg_backend_ref, NULL, &m->program));
    CHECK_OK(sg_state_create(m->table, 0, &m->state));
    sg_state_init(m->state, 5);
    m->grads = sg_calloc((size_t)m->table->n_grads, sizeof(float));
    m->b.source[0] = m->source[0] = sg_calloc(kBatch * kWide, sizeof(float));
    m->b.source[1] = m->source[1] = sg_calloc(kBatch * kNarrow, sizeof(float));
    assert_true(m->grads && m->source[0] && m->source[1]);
    m->b.base[SG_BUF_VALUES] = m->state->values;
    m->b.base[SG_BUF_ROWS] = m->state->rows;
    m->b.base[SG_BUF_GRADS] = m->grads;
    memcpy(m->b.input, draw_bags(2, kShort), 3 * sizeof(void *));
}

static void tear_down_model(model *m) {
    sg_free(m->source[0]);
    sg_free(m->source[1]);
    sg_free(m->grads);
    sg_state_destroy(m->state);
    sg_program_destroy(m->program);
    sg_graph_destroy(m->g);
    sg_table_destroy(m->table);
}

static double loss_of(model *m) {
    CHECK_OK(sg_program_run_once(m->program, &m->b));
    return (double)m->grads[m->table->n_values + SG_SUM_LOSS];
}

/* The row's gradient out of its factors, against central differences. */
static void differences(void **unused) {
    static const char *const names[] = {"wide", "narrow"};
    float source[kBatch * kWide];
    model m;

    (void)unused;
    set_up_model(&m);
    for (int i = 0; i < 2; i++) {
        const sg_entry *e = &m.table->entry[sg_table_find(m.table, names[i])];
        const sg_rows_use *use = sg_graph_rows_use(m.g, i == 0 ? 1 : 0); /* walked backwards */
        int64_t d = e->shape.dim[1];
        int shown = 0;

        assert_int_equal(sg_graph_rows(m.g), 2);
        assert_int_equal(use->entry, e - m.table->entry);
        assert_int_equal(use->ids, 0);
        assert_int_equal(use->weights, i == 0 ? 1 : -1);
        (void)loss_of(&m);
        memcpy(source, m.source[i], (size_t)(kBatch * d) * sizeof *source);
        for (int64_t k = 0; k < e->count; k++) {
            float *w = m.state->rows + e->offset + k, kept = *w;
            double up, down, number, sum = 0.0;

            for (int64_t p = 0; p < kBatch * kShort; p++)
                if (bag_ids[p] == k / d)
                    sum += (i == 0 ? (double)bag_weight[p] : 1.0) *
                           (double)source[p / kShort * d + k % d];
            *w = kept + 1e-2f;
            up = loss_of(&m);
            *w = kept - 1e-2f;
            down = loss_of(&m);
            *w = kept;
            number = (up - down) / 2e-2;
            assert_true(fabs(number - sum) <= 1e-3 * (1.0 + fabs(number)));
            shown += fabs(number) > 1e-2;
        }
        assert_true(shown > 50);
    }
    tear_down_model(&m);
}

enum { kInOrder = 6 };

/* next (901) after a step of SGD with a rate of 1/4, from a table of zeros. */
static void step_from_zero(const sg_backend *backend, const int32_t ids[kInOrder],
                           const float source[kInOrder], float next[901]) {
    static const float sums[SG_MAX_SUMS] = {1.0f}, table[901] = {0.0f};
    static const float step[SG_STEP_SLOTS] = {[SG_STEP_ROWS_LR] = 0.25f};
    const sg_rows_attr attr = {SG_ROWS_SGD, 1};
    sg_bindings b = {.input = {table, ids, source, sums, step}, .output = {next}};
    sg_rows_inputs in = {NULL};
    sg_program *p;
    sg_graph *g;

    CHECK_OK(sg_graph_create(SG_EVAL, NULL, &g));
    in.table = sg_input(g, "table", SG_F32, sg_shape_2(901, 1));
    in.ids = sg_input(g, "ids", SG_I32, sg_shape_2(kInOrder, 1));
    in.source = sg_input(g, "source", SG_F32, sg_shape_2(kInOrder, 1));
    in.sums = sg_input(g, "sums", SG_F32, sg_shape_1(SG_MAX_SUMS));
    in.step = sg_input(g, "step", SG_F32, sg_shape_1(SG_STEP_SLOTS));
    sg_output(g, "next", sg_rows_step(g, &in, attr));
    CHECK_OK(sg_program_compile(g, backend, NULL, &p));
    CHECK_OK(sg_program_run_once(p, &b));
    sg_program_destroy(p);
    sg_graph_destroy(g);
}

/* Terms of a row in the order of the batch, wherever they are: 1e8 - 1e8 + 1 is 1 in that order
 * alone. */
static void in_order(void **unused) {
    const sg_backend *const backends[] = {&sg_backend_ref, &sg_backend_cpu};
    static const float terms[kInOrder] = {1e8f, -1e8f, 1.0f};

    (void)unused;
    for (int i = 0; i < 2; i++) {
        for (unsigned mask = 0; mask < 1u << kInOrder; mask++) {
            int32_t ids[kInOrder];
            float source[kInOrder], next[901];
            int n = 0;

            for (int k = 0; k < kInOrder; k++) {
                bool one = mask >> k & 1;

                ids[k] = one ? 900 : k == kInOrder - 1 ? 5 : -1;
                source[k] = one ? terms[n++] : 7.0f;
            }
            if (n < 3) continue;
            step_from_zero(backends[i], ids, source, next);
            assert_true(next[900] == -0.25f && next[5] == (mask >> 5 ? 0.0f : -1.75f));
        }
    }
}

/* --- what is refused -------------------------------------------------------------------------- */

enum { kScaledIds, kScaledWeights, kTwice, kOtherOp };

static sg_status build_wrong(sg_graph *g, int64_t n, void *context) {
    int wrong = *(const int *)context;
    sg_value *ids = sg_input(g, "ids", SG_I32, sg_shape_2(n, 3));
    sg_value *weights = sg_input(g, "weights", SG_F32, sg_shape_2(n, 3));
    sg_value *table = sg_param(g, "table", SG_ENTRY_ROWS, sg_shape_2(4, 2),
                               (sg_init){SG_INIT_NORMAL, 1.0f}),
             *y;

    if (wrong == kScaledIds) ids = sg_reshape(g, ids, sg_shape_2(n, 3));
    if (wrong == kScaledWeights) weights = sg_scale(g, weights, 2.0f);
    y = sg_embedding_bag(g, ids, weights, table);
    if (wrong == kTwice) y = sg_add(g, y, sg_embedding_bag(g, ids, NULL, table));
    if (wrong == kOtherOp) y = sg_matmul(g, y, table, false, true);
    sg_loss(g, sg_sum(g, sg_linear(g, "out", y, 2)), NULL);
    return sg_graph_status(g);
}

static void refused(void **unused) {
    static const char *const texts[] = {
        "parameter table: to train a table of rows, its ids must be an input of the graph; reshape",
        "its weights must be an input of the graph; scale is none",
        "parameter table: a table of rows is trained by one bag",
        "parameter table: a table of rows is trained by embedding_bag alone, not by matmul"};
    sg_trainer_options o = sg_trainer_defaults();
    sg_trainer *t;

    (void)unused;
    o.build = build_wrong;
    for (int i = 0; i < 4; i++) {
        o.context = &i;
        EXPECT(sg_trainer_create(&o, &t), SG_ERR_UNSUPPORTED, texts[i]);
    }
}

/* --- training --------------------------------------------------------------------------------- */

static sg_trainer *new_trainer(const sg_backend *backend, sg_rows_rule rule, int shards,
                               int threads) {
    sg_trainer_options o = bag_trainer(backend, rule, shards, threads);
    sg_trainer *t;

    CHECK_OK(sg_trainer_create(&o, &t));
    return t;
}

static double steps(sg_trainer *t, int n) {
    double loss = 0.0;

    for (int i = 0; i < n; i++) CHECK_OK(bag_step(t, &loss));
    return loss;
}

static void learns(void **unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        sg_trainer *t = new_trainer(&sg_backend_cpu, kRules[i], 4, 2);
        double first = steps(t, 1), last = steps(t, 150);

        if (!(last < 0.5 * first)) fail_msg("rule %d: loss %g, then %g", i, first, last);
        sg_trainer_destroy(t);
    }
}

/* Nor does the number of parts, which follows that of threads. */
static void threads_do_not_count(void **unused) {
    const sg_backend *const backends[] = {&sg_backend_ref, &sg_backend_cpu};

    (void)unused;
    for (int b = 0; b < 2; b++) {
        for (int i = 0; i < 3; i++) {
            char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
            sg_trainer *t = new_trainer(backends[b], kRules[i], 8, 1);

            (void)steps(t, 5);
            finish(t, want);
            for (int threads = 2; threads <= 8; threads *= 2) {
                t = new_trainer(backends[b], kRules[i], 8, threads);
                (void)steps(t, 5);
                finish(t, got);
                assert_string_equal(want, got);
            }
        }
    }
}

/* The dense gradients are sums over shards, and so is what follows from them; the rows of a first
 * step are of the batch alone. */
static void shards_do_not_count(void **unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        sg_trainer *one = new_trainer(&sg_backend_ref, kRules[i], 1, 1);
        const sg_state *a = sg_trainer_state(one);

        (void)steps(one, 1);
        for (int shards = 2; shards <= 16; shards *= 2) {
            sg_trainer *many = new_trainer(&sg_backend_ref, kRules[i], shards, 2);
            const sg_state *b = sg_trainer_state(many);
            size_t sums = (size_t)sg_table_rows_sum(b->table, b->rule) * sizeof(float);

            (void)steps(many, 1);
            assert_memory_equal(a->rows, b->rows, (size_t)b->table->n_rows * sizeof(float));
            if (sums > 0) assert_memory_equal(a->rows_sum, b->rows_sum, sums);
            sg_trainer_destroy(many);
        }
        sg_trainer_destroy(one);
    }
}

/* Kernels against the reference, over a training. */
static void backends_agree(void **unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        sg_trainer *a = new_trainer(&sg_backend_cpu, kRules[i], 4, 2);
        sg_trainer *b = new_trainer(&sg_backend_ref, kRules[i], 4, 2);
        int64_t n = sg_trainer_table(a)->n_rows;
        float *start = sg_malloc((size_t)n * sizeof *start);
        double apart;

        assert_non_null(start);
        memcpy(start, sg_trainer_state(b)->rows, (size_t)n * sizeof *start);
        (void)steps(a, 10);
        (void)steps(b, 10);
        apart = distance(sg_trainer_state(a)->rows, sg_trainer_state(b)->rows, start, n);
        if (!(apart <= 1e-4)) fail_msg("rule %d: %g apart", i, apart);
        sg_free(start);
        sg_trainer_destroy(a);
        sg_trainer_destroy(b);
    }
}

/* The same model with an ordinary table, of kind *context, whose gradient is dense. */
static sg_status build_either(sg_graph *g, int64_t n, void *context) {
    sg_value *ids = sg_input(g, "ids", SG_I32, sg_shape_2(n, kShort)), *y;
    sg_value *weights = sg_input(g, "weights", SG_F32, sg_shape_2(n, kShort));

    y = sg_embedding_bag(g, ids, weights,
                         sg_param(g, "table", *(const sg_entry_kind *)context,
                                  sg_shape_2(kRows, kWide), (sg_init){SG_INIT_UNIFORM, 0.3f}));
    y = sg_linear(g, "classify", y, kClasses);
    sg_loss(g, sg_cross_entropy(g, y, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

/* Plain gradient descent is the same of both kinds. */
static void as_dense(void **unused) {
    sg_entry_kind kind[] = {SG_ENTRY_ROWS, SG_ENTRY_NO_DECAY};
    float start[kRows * kWide];
    sg_trainer *t[2];
    double apart;

    (void)unused;
    for (int i = 0; i < 2; i++) {
        sg_trainer_options o = bag_trainer(&sg_backend_cpu, SG_ROWS_SGD, 4, 2);

        o.build = build_either;
        o.context = &kind[i];
        o.n_shapes = 0;
        o.optimizer.momentum = o.optimizer.clip_norm = o.optimizer.weight_decay = 0.0;
        o.optimizer.rows_lr = 1.0;
        CHECK_OK(sg_trainer_create(&o, &t[i]));
        memcpy(start, i == 0 ? sg_trainer_state(t[0])->rows : sg_trainer_state(t[1])->values,
               sizeof start);
        for (int s = 0; s < 4; s++) {
            sg_step_report report;

            CHECK_OK(sg_trainer_step(t[i], 0, draw_bags(s, kShort), 0.5, &report));
        }
    }
    memcpy(start, sg_trainer_state(t[0])->rows, sizeof start);
    sg_state_init(sg_trainer_state(t[0]), 3);
    apart =
        distance(start, sg_trainer_state(t[1])->values + sg_trainer_table(t[1])->entry[0].offset,
                 sg_trainer_state(t[0])->rows, kRows * kWide);
    if (!(apart <= 1e-5)) fail_msg("%g apart", apart);
    for (int i = 0; i < 2; i++) sg_trainer_destroy(t[i]);
}

/* Through a file, into a trainer that was elsewhere. */
static void resumes(void **unused) {
    (void)unused;
    for (int i = 0; i < 3; i++) {
        char want[SG_STATE_HASH_BYTES], got[SG_STATE_HASH_BYTES];
        sg_trainer *t = new_trainer(&sg_backend_cpu, kRules[i], 4, 2);
        sg_trainer *u = new_trainer(&sg_backend_cpu, kRules[i], 4, 1);

        (void)steps(t, 4);
        write_state(sg_trainer_state(t));
        (void)steps(t, 3);
        finish(t, want);
        (void)steps(u, 2);
        CHECK_OK(sg_model_file_load(path, sg_trainer_state(u)));
        (void)steps(u, 3);
        finish(u, got);
        assert_string_equal(want, got);
        unlink(path);
    }
}

/* Not finite: a source, though no gradient is; then a loss. The state is that of before. */
static void diverges(void **unused) {
    sg_trainer *t = new_trainer(&sg_backend_cpu, SG_ROWS_ADAGRAD, 4, 2);
    sg_state *s = sg_trainer_state(t);
    char before[SG_STATE_HASH_BYTES], after[SG_STATE_HASH_BYTES];
    double loss;

    (void)unused;
    (void)steps(t, 2);
    hash_of(s, before);
    s->rows[5 + 7 * kWide] = INFINITY; /* of the row that is in every bag */
    assert_int_equal(bag_step(t, &loss), SG_ERR_DIVERGED);
    s->rows[5 + 7 * kWide] = 0.0f;
    CHECK_OK(bag_step(t, &loss));
    sg_trainer_destroy(t);

    t = new_trainer(&sg_backend_cpu, SG_ROWS_ADAGRAD, 4, 2);
    s = sg_trainer_state(t);
    memset(s->rows, 0, (size_t)s->table->n_rows * sizeof(float));
    for (int i = 0; i < s->table->n_entries; i++)
        for (int64_t k = 0; strcmp(s->table->entry[i].name, "classify.weight") == 0 &&
                            k < s->table->entry[i].count;
             k++)
            s->values[s->table->entry[i].offset + k] = k % 2 ? 3e38f : -3e38f;
    hash_of(s, before);
    assert_int_equal(bag_step(t, &loss), SG_ERR_DIVERGED); /* the product of 3e38 and -1 .. 1 */
    hash_of(s, after);
    assert_string_equal(before, after);
    sg_trainer_destroy(t);
}

static void bad_ids(void **unused) {
    sg_trainer *t = new_trainer(&sg_backend_cpu, SG_ROWS_SGD, 2, 1);
    char before[SG_STATE_HASH_BYTES], after[SG_STATE_HASH_BYTES];
    const void *const *inputs = draw_bags(0, kShort);
    sg_step_report report;

    (void)unused;
    hash_of(sg_trainer_state(t), before);
    bag_ids[3 * kShort + 2] = kRows;
    EXPECT(sg_trainer_step(t, 0, inputs, 0.1, &report), SG_ERR_DATA,
           "id 61 at (3, 2); there are 61");
    hash_of(sg_trainer_state(t), after);
    assert_string_equal(before, after);
    sg_trainer_destroy(t);
}

/* --- inference -------------------------------------------------------------------------------- */

static void infers(void **unused) {
    sg_inference_options o = {
        .build = build_bags, .context = &bag_long, .backend = &sg_backend_cpu, .batch = kBatch};
    sg_trainer *t = new_trainer(&sg_backend_cpu, SG_ROWS_ADAGRAD, 4, 2);
    float p[2][kBatch * kClasses];
    const void *const *inputs;
    const float *ema;
    sg_inference *f;

    (void)unused;
    (void)steps(t, 5);
    write_state(sg_trainer_state(t));
    ema = sg_trainer_averages(t);
    inputs = draw_bags(9, kLong);
    CHECK_OK(sg_inference_create(&o, &f));
    EXPECT(sg_inference_set_values(f, ema, NULL), SG_ERR_ARG, "need rows");
    CHECK_OK(sg_inference_set_values(f, ema, sg_trainer_rows(t)));
    CHECK_OK(sg_inference_run(f, 0, inputs, (void *[]){p[0]}));
    sg_inference_destroy(f);
    sg_trainer_destroy(t);
    CHECK_OK(sg_inference_create(&o, &f));
    CHECK_OK(sg_inference_load(f, path));
    CHECK_OK(sg_inference_run(f, 0, inputs, (void *[]){p[1]}));
    assert_memory_equal(p[0], p[1], sizeof p[0]);
    for (int i = 0; i < kBatch * kClasses; i++) assert_true(p[0][i] > 0.0f && p[0][i] < 1.0f);
    unlink(path);
    sg_inference_destroy(f);
}

static void no_memory(void **unused) {
    sg_trainer_options o = bag_trainer(&sg_backend_cpu, SG_ROWS_ADAGRAD_ROW, 2, 2);
    long live = sg_mem_live();
    sg_trainer *t;

    (void)unused;
    FAIL_EACH_ALLOCATION(sg_trainer_create(&o, &t), 100);
    sg_trainer_destroy(t);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers),
        cmocka_unit_test(large_blocks),
        cmocka_unit_test(drawing),
        cmocka_unit_test(shapes_of_tables),
        cmocka_unit_test(files),
        cmocka_unit_test(other_rules),
        cmocka_unit_test(fitting_rows),
        cmocka_unit_test(differences),
        cmocka_unit_test(in_order),
        cmocka_unit_test(refused),
        cmocka_unit_test(learns),
        cmocka_unit_test(threads_do_not_count),
        cmocka_unit_test(shards_do_not_count),
        cmocka_unit_test(backends_agree),
        cmocka_unit_test(as_dense),
        cmocka_unit_test(resumes),
        cmocka_unit_test(diverges),
        cmocka_unit_test(bad_ids),
        cmocka_unit_test(infers),
        cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
