/* The classifier of messages: its gradient against differences, its parameters by name, what a
 * given bag keeps, and that each kind learns. */
#include "classifier_model.h"

#include "graph/program.h"
#include "ops/ops.h"
#include "out_of_memory.h"

static void refused(sg_text_classifier_options o, const char *text) {
    assert_int_equal(sg_text_classifier_check(&o), SG_ERR_CONFIG);
    if (!strstr(sg_last_error(), text)) fail_msg("it says: %s", sg_last_error());
}

static void options(void **state) {
    static const int64_t bad[] = {3, 1};
    sg_text_classifier_options ok = classifier(kAll, kTasks), o;

    (void)state;
    CHECK_OK(sg_text_classifier_check(&ok));
    assert_int_equal(sg_text_classifier_classes(&ok), kClasses);
    o = ok, o.task_classes = bad, refused(o, "task 2 has 1 classes");
    o.n_tasks = 1;
    CHECK_OK(sg_text_classifier_check(&o));
    o = ok, o.n_tasks = 0, refused(o, "fewer than two classes");
    o = ok, o.buckets = 0, refused(o, "have 0 buckets; no text has any, or text.min_count");
    o = ok, o.dropout = 1.0f, refused(o, "dropout 1");
    o = ok, o.dropout = NAN, refused(o, "dropout nan");
    o = ok, o.encoder.heads = 3, refused(o, "3 heads");
    o = classifier(kWide, 1), o.wide = false, refused(o, "it has no part");
    o = classifier(kAll, 1), o.features = 0; /* without n-grams the encoder is left */
    CHECK_OK(sg_text_classifier_check(&o));
    o.encoder.layers = 0, refused(o, "it has no part");
}

/* --- parameters ------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    int64_t rows, columns; /* columns 0: a vector */
    sg_entry_kind kind;
} parameter;

static void check_parameters(kind k, const parameter *want, int n) {
    sg_text_classifier_options o = classifier(k, kTasks);
    sg_table *table;
    sg_graph *g;
    int outside = 0; /* of the encoder */

    CHECK_OK(sg_table_create(&table));
    CHECK_OK(sg_graph_create(SG_TRAIN, table, &g));
    CHECK_OK(sg_text_classifier_build(g, kBatch, &o));
    for (int i = 0; i < n; i++) {
        int at = sg_table_find(table, want[i].name);
        sg_shape shape =
            want[i].columns ? sg_shape_2(want[i].rows, want[i].columns) : sg_shape_1(want[i].rows);

        if (at < 0) fail_msg("kind %d: no parameter %s", (int)k, want[i].name);
        if (!sg_shape_equal(&table->entry[at].shape, &shape)) fail_msg("%s", want[i].name);
        assert_int_equal(table->entry[at].kind, want[i].kind);
    }
    for (int i = 0; i < table->n_entries; i++)
        outside += strncmp(table->entry[i].name, "encoder.", 8) != 0 &&
                   strncmp(table->entry[i].name, "embedding.", 10) != 0;
    assert_int_equal(outside, n);
    assert_int_equal(outside < table->n_entries, has_encoder(k));
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

/* Names are the checkpoints' that are there. */
static void parameters(void **state) {
    static const parameter wide[] = {{"wide.weight", kBuckets, kClasses, SG_ENTRY_ROWS},
                                     {"wide.bias", kClasses, 0, SG_ENTRY_NO_DECAY}};
    static const parameter bag[] = {{"bag.weight", kBuckets, kBagWidth, SG_ENTRY_ROWS},
                                    {"classify.weight", kClasses, kBagWidth, SG_ENTRY_DECAY},
                                    {"classify.bias", kClasses, 0, SG_ENTRY_NO_DECAY}};
    static const parameter encoder[] = {{"classify.weight", kClasses, kWidth, SG_ENTRY_DECAY},
                                        {"classify.bias", kClasses, 0, SG_ENTRY_NO_DECAY}};
    static const parameter all[] = {
        {"wide.weight", kBuckets, kClasses, SG_ENTRY_ROWS},
        {"bag.weight", kBuckets, kBagWidth, SG_ENTRY_ROWS},
        {"classify.weight", kClasses, kBagWidth + kWidth, SG_ENTRY_DECAY},
        {"classify.bias", kClasses, 0, SG_ENTRY_NO_DECAY}};

    (void)state;
    check_parameters(kWide, wide, 2);
    check_parameters(kBag, bag, 3);
    check_parameters(kKept, bag, 3);
    check_parameters(kEncoder, encoder, 2);
    check_parameters(kAll, all, 4);
    check_parameters(kAllKept, all, 4);
}

/* What comes in and goes out, in the order of nn/text_classifier.h. */
static void check_ends(kind k, sg_mode mode) {
    static const char *const names[] = {"ngrams", "weights", "ids", "length", "target"};
    sg_text_classifier_options o = classifier(k, kTasks);
    int first = k == kEncoder ? 2 : 0, last = has_encoder(k) ? 4 : 2, n = 0;
    sg_shape answers = sg_shape_2(kBatch, kClasses);
    sg_table *table;
    sg_graph *g;

    CHECK_OK(sg_table_create(&table));
    CHECK_OK(sg_graph_create(mode, table, &g));
    CHECK_OK(sg_text_classifier_build(g, kBatch, &o));
    for (int i = 0; i < 5; i++)
        if ((i >= first && i < last) || (i == 4 && mode == SG_TRAIN))
            assert_string_equal(sg_graph_input_name(g, n++), names[i]);
    assert_int_equal(sg_graph_inputs(g), n);
    assert_int_equal(sg_graph_outputs(g), mode == SG_EVAL);
    if (mode == SG_EVAL) {
        assert_string_equal(sg_graph_output_name(g, 0), "probabilities");
        assert_true(sg_shape_equal(&sg_graph_output(g, 0)->shape, &answers));
    }
    sg_graph_destroy(g);
    sg_table_destroy(table);
}

static void ends(void **state) {
    (void)state;
    for (int k = 0; k < kKinds; k++) {
        check_ends((kind)k, SG_TRAIN);
        check_ends((kind)k, SG_EVAL);
    }
}

/* --- the gradient ----------------------------------------------------------------------------- */

typedef struct {
    sg_table *table;
    sg_graph *g;
    sg_program *program;
    sg_state *state;
    float *grads;
    texts data;
    sg_bindings b;
} model;

/* Every number of the state is drawn: what begins at zero hides what lies behind it, and a norm of
 * small embeddings is too curved for differences. */
static void draw_state(sg_state *s) {
    sg_random r = sg_random_init(47);

    for (int i = 0; i < s->table->n_entries; i++) {
        const sg_entry *e = &s->table->entry[i];
        float *at = (e->kind == SG_ENTRY_ROWS ? s->rows : s->values) + e->offset;
        float size = strncmp(e->name, "embedding.", 10) == 0 ? 1.5f : 0.4f;

        for (int64_t j = 0; j < e->count; j++) at[j] += sg_random_range(&r, -size, size);
    }
}

static void set_up(model *m, kind k, int n_tasks, float dropout) {
    static float step_block[SG_STEP_SLOTS];
    sg_text_classifier_options o = classifier(k, n_tasks);

    memset(m, 0, sizeof *m);
    o.dropout = dropout;
    CHECK_OK(sg_table_create(&m->table));
    CHECK_OK(sg_graph_create(SG_TRAIN, m->table, &m->g));
    CHECK_OK(sg_text_classifier_build(m->g, kBatch, &o));
    sg_table_freeze(m->table);
    CHECK_OK(sg_program_compile(m->g, &sg_backend_ref, NULL, &m->program));
    CHECK_OK(sg_state_create(m->table, 0, &m->state));
    sg_state_init(m->state, 5);
    draw_state(m->state);
    m->grads = sg_calloc((size_t)m->table->n_grads, sizeof(float));
    assert_non_null(m->grads);
    for (int i = 0; i < sg_graph_rows(m->g); i++) {
        const sg_rows_use *use = sg_graph_rows_use(m->g, i);
        const sg_entry *e = &m->table->entry[use->entry];

        m->b.source[e->rows_index] = sg_calloc((size_t)(kBatch * e->shape.dim[1]), sizeof(float));
        assert_non_null(m->b.source[e->rows_index]);
    }
    m->b.base[SG_BUF_VALUES] = m->state->values;
    m->b.base[SG_BUF_ROWS] = m->state->rows;
    m->b.base[SG_BUF_GRADS] = m->grads;
    m->b.base[SG_BUF_STEP] = step_block;
    draw_texts(3, n_tasks, &m->data);
    assert_int_equal(inputs_of(k, &m->data, m->b.input), sg_graph_inputs(m->g));
}

static void tear_down(model *m) {
    for (int i = 0; i < SG_MAX_ROWS; i++) sg_free(m->b.source[i]);
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

/* Of element j of a table of rows, out of its factors: inputs 0 and 1 are ids and weights. */
static double row_gradient(const model *m, const sg_entry *e, const float *source, int64_t j) {
    int64_t d = e->shape.dim[1];
    double sum = 0.0;

    for (int64_t n = 0; n < kBatch; n++)
        for (int64_t f = 0; f < kFeatures; f++)
            if (m->data.ngrams[n][f] == j / d)
                sum += (double)m->data.weights[n][f] * (double)source[n * d + j % d];
    return sum;
}

static double difference(model *m, float *at) {
    float kept = *at;
    double up, down;

    *at = kept + 1e-2f;
    up = loss_of(m);
    *at = kept - 1e-2f;
    down = loss_of(m);
    *at = kept;
    return (up - down) / 2e-2;
}

/* An entry against differences; `d` is its gradient. How many elements are not near 0. */
static int64_t check_entry(model *m, const sg_entry *e, float *at, const double *d) {
    int64_t shown = 0;

    for (int64_t j = 0; j < e->count; j++) {
        double number = difference(m, at + j);

        if (!(fabs(number - d[j]) <= 1e-3 * (1.0 + fabs(number))))
            fail_msg("%s, element %d: %g, by differences %g", e->name, (int)j, d[j], number);
        shown += fabs(number) > 1e-3;
    }
    return shown;
}

static void check_gradient(kind k, int n_tasks, float dropout) {
    model m;

    set_up(&m, k, n_tasks, dropout);
    assert_int_equal(sg_graph_rows(m.g), has_wide(k) + (has_bag(k) && !keeps_bag(k)));
    for (int i = 0; i < m.table->n_entries; i++) {
        const sg_entry *e = &m.table->entry[i];
        bool rows = e->kind == SG_ENTRY_ROWS;
        double *d = sg_malloc((size_t)e->count * sizeof *d);

        assert_non_null(d);
        (void)loss_of(&m);
        if (rows && keeps_bag(k) && strcmp(e->name, "bag.weight") == 0) {
            assert_null(m.b.source[e->rows_index]); /* it hears of nothing */
            sg_free(d);
            continue;
        }
        for (int64_t j = 0; j < e->count; j++)
            d[j] = rows ? row_gradient(&m, e, m.b.source[e->rows_index], j)
                        : (double)m.grads[e->offset + j];
        if (check_entry(&m, e, (rows ? m.state->rows : m.state->values) + e->offset, d) == 0)
            fail_msg("kind %d: the loss does not hear of %s", (int)k, e->name);
        sg_free(d);
    }
    tear_down(&m);
}

static void gradients(void **state) {
    (void)state;
    for (int k = 0; k < kKinds; k++) {
        check_gradient((kind)k, 1, 0.0f);
        check_gradient((kind)k, kTasks, 0.0f);
    }
}

/* The same elements are dropped whenever a step is computed. */
static void gradients_dropped(void **state) {
    (void)state;
    check_gradient(kAll, kTasks, 0.4f);
}

/* Texts of the first task say nothing of the second one's classes; a loss is that of a text. */
static void tasks_apart(void **state) {
    const sg_entry *e;
    double two, one;
    model m;

    (void)state;
    set_up(&m, kAll, kTasks, 0.0f);
    for (int i = 0; i < kBatch; i++)
        for (int c = 0; c < kClasses; c++)
            m.data.target[i * kClasses + c] = c < kTaskClasses[0] ? 1.0f / 3.0f : -1.0f;
    two = loss_of(&m);
    e = &m.table->entry[sg_table_find(m.table, "classify.bias")];
    for (int c = 0; c < kClasses; c++)
        assert_true((m.grads[e->offset + c] == 0.0f) == (c >= kTaskClasses[0]));
    /* half of the texts without a label: half the loss of two such halves */
    for (int i = 0; i < kBatch * kClasses; i++)
        if (i >= kBatch / 2 * kClasses) m.data.target[i] = -1.0f;
    one = loss_of(&m);
    for (int i = 0; i < kBatch * kClasses; i++)
        m.data.target[i] = i < kBatch / 2 * kClasses        ? -1.0f
                           : i % kClasses < kTaskClasses[0] ? 1.0f / 3.0f
                                                            : -1.0f;
    one += loss_of(&m);
    assert_true(two > 0.5 && fabs(one - two) <= 1e-5 * two);
    tear_down(&m);
}

/* --- training --------------------------------------------------------------------------------- */

static void learns(void **state) {
    (void)state;
    for (int k = 0; k < kKinds; k++)
        for (int n_tasks = 1; n_tasks <= kTasks; n_tasks++) {
            sg_text_classifier_options o = classifier((kind)k, n_tasks);
            sg_trainer *t = new_trainer(&o, &sg_backend_cpu, SG_OPTIMIZER_ADAMW, 2);
            float p[kBatch * kClasses];
            int right = 0;
            texts b;

            for (int i = 0; i < 200; i++) (void)step(t, (kind)k, n_tasks, kRate);
            for (int i = 0; i < 4; i++) {
                draw_texts(1000 + i, n_tasks, &b);
                answer(&o, t, (kind)k, &b, p);
                right += check_answers(&b, n_tasks, p);
            }
            if (right < 4 * kBatch) fail_msg("kind %d: %d of %d", k, right, 4 * kBatch);
            sg_trainer_destroy(t);
        }
}

/* Not a bit of a given bag changes; everything else does. */
static void keeps_its_bag(void **state) {
    (void)state;
    for (int k = 0; k < kKinds; k++) {
        sg_text_classifier_options o = classifier((kind)k, kTasks);
        sg_trainer *t = new_trainer(&o, &sg_backend_cpu, SG_OPTIMIZER_ADAMW, 2);
        const sg_state *s = sg_trainer_state(t);
        float *rows, *values = copy_floats(s->values, s->table->n_values);

        rows = copy_floats(s->rows, s->table->n_rows);
        for (int i = 0; i < 20; i++) (void)step(t, (kind)k, kTasks, kRate);
        for (int i = 0; i < s->table->n_entries; i++) {
            const sg_entry *e = &s->table->entry[i];
            bool of_rows = e->kind == SG_ENTRY_ROWS;
            bool kept = keeps_bag((kind)k) && strcmp(e->name, "bag.weight") == 0;
            const float *now = (of_rows ? s->rows : s->values) + e->offset;
            const float *before = (of_rows ? rows : values) + e->offset;

            if ((memcmp(now, before, (size_t)e->count * sizeof *now) == 0) != kept)
                fail_msg("kind %d: %s %s", k, e->name, kept ? "has changed" : "is as it was");
        }
        sg_free(rows);
        sg_free(values);
        sg_trainer_destroy(t);
    }
}

/* What reads a given bag begins at zero: all classes are alike before the first step. */
static void begins_undecided(void **state) {
    sg_text_classifier_options o = classifier(kKept, kTasks);
    sg_trainer *t = new_trainer(&o, &sg_backend_cpu, SG_OPTIMIZER_ADAMW, 1);
    float p[kBatch * kClasses];
    texts b;

    (void)state;
    draw_texts(0, kTasks, &b);
    answer(&o, t, kKept, &b, p);
    for (int i = 0; i < kBatch * kClasses; i++)
        assert_true(fabs((double)p[i] - (i % kClasses < 3 ? 1.0 / 3.0 : 0.5)) <= 1e-6);
    sg_trainer_destroy(t);
}

static void threads_do_not_count(void **state) {
    (void)state;
    for (int k = 0; k < kKinds; k++) {
        char hash[2][SG_STATE_HASH_BYTES];

        for (int i = 0; i < 2; i++) {
            sg_text_classifier_options o = classifier((kind)k, kTasks);
            sg_trainer *t;

            o.dropout = 0.3f;
            t = new_trainer(&o, &sg_backend_cpu, SG_OPTIMIZER_ADAMW, 1 + i);
            for (int n = 0; n < 5; n++) (void)step(t, (kind)k, kTasks, kRate);
            finish(t, hash[i]);
        }
        assert_string_equal(hash[0], hash[1]);
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

static sg_status build_once(sg_mode mode) {
    sg_text_classifier_options o = classifier(kAll, kTasks);
    sg_table *table = NULL;
    sg_graph *g = NULL;
    sg_status st = sg_table_create(&table);

    if (st == SG_OK) st = sg_graph_create(mode, table, &g);
    if (st == SG_OK) st = sg_text_classifier_build(g, kBatch, &o);
    sg_graph_destroy(g);
    sg_table_destroy(table);
    return st;
}

static void no_memory(void **state) {
    long live = sg_mem_live();

    (void)state;
    FAIL_EACH_ALLOCATION(build_once(SG_TRAIN), 50);
    FAIL_EACH_ALLOCATION(build_once(SG_EVAL), 50);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options),
        cmocka_unit_test(parameters),
        cmocka_unit_test(ends),
        cmocka_unit_test(gradients),
        cmocka_unit_test(gradients_dropped),
        cmocka_unit_test(tasks_apart),
        cmocka_unit_test(learns),
        cmocka_unit_test(keeps_its_bag),
        cmocka_unit_test(begins_undecided),
        cmocka_unit_test(threads_do_not_count),
        cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
