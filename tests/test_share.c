/* Several workers share an evaluation: threads here, which meet in memory. Each ends with the
 * answer, and the pictures, of one alone. */
#include "data_fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

#include "data/synthetic.h"
#include "spotgrad.h"
#include "train/detector.h"
#include "train/run_inside.h"
#include "train/task.h"

enum { kWorkers = 7, kTexts = 110, kNameBytes = 256, kWords = 24, kClasses = 3, kSpoil = 64 };
enum { kNodes = 50 }; /* more than there are runs of a model, fewer than nodes in them */

/* --- where workers meet ----------------------------------------------------------------------- */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int size, arrived, left;
    bool broken; /* somebody is gone */
    const void *data[kWorkers];
    size_t bytes[kWorkers];
    long spoil;   /* bytes more, or fewer, of the last worker's than it gave */
    bool garbled; /* a count at the beginning is another */
} meeting;

static void meeting_init(meeting *m, int size, long spoil) {
    memset(m, 0, sizeof *m);
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    m->size = size;
    m->spoil = spoil;
}

static void meeting_break(meeting *m) {
    pthread_mutex_lock(&m->lock);
    m->broken = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static sg_status join(const meeting *m, void **all, size_t *total) {
    size_t at = 0;
    uint8_t *block;

    for (int i = 0; i < m->size; i++) at += m->bytes[i];
    block = sg_malloc(at + kSpoil);
    if (!block) return sg_fail(SG_ERR_OOM, "meeting: no memory");
    memset(block, 0, at + kSpoil);
    at = 0;
    for (int i = 0; i < m->size; i++) {
        if (m->bytes[i] > 0) memcpy(block + at, m->data[i], m->bytes[i]);
        at += m->bytes[i];
    }
    if (m->garbled) *(int64_t *)(void *)block = (int64_t)1 << 59; /* times 32 it is 0 */
    *all = block;
    *total = at + (size_t)m->spoil;
    return SG_OK;
}

typedef struct {
    meeting *with;
    int rank;
} seat;

static sg_status meet(void *context, const void *mine, size_t bytes, void **all, size_t *total) {
    const seat *s = context;
    meeting *m = s->with;
    sg_status st;

    pthread_mutex_lock(&m->lock);
    m->data[s->rank] = mine;
    m->bytes[s->rank] = bytes;
    m->arrived++;
    pthread_cond_broadcast(&m->changed);
    while (m->arrived < m->size && !m->broken) pthread_cond_wait(&m->changed, &m->lock);
    if (m->arrived < m->size) {
        pthread_mutex_unlock(&m->lock);
        return sg_fail(SG_ERR_UNAVAILABLE, "a member is gone");
    }
    st = join(m, all, total);
    m->left++;
    pthread_cond_broadcast(&m->changed);
    while (m->left < m->size) pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    return st;
}

/* --- workers ---------------------------------------------------------------------------------- */

typedef struct {
    pthread_t thread;
    sg_task *task;
    sg_trainer *trainer;
    double lr;
    seat seat;
    sg_share share;
    bool is_alone, stops; /* it has no share; it is told to stop, */
    int patience;         /* once it has asked so often */
    atomic_int asked;     /* for how often it was asked whether to stop */
    sg_status status;
    char text[512];
    sg_evaluation evaluation;
} worker;

static worker workers[kWorkers];

static bool told_to_stop(void *context) {
    worker *w = context;

    return atomic_fetch_add(&w->asked, 1) >= w->patience && w->stops;
}

static void *evaluate(void *argument) {
    worker *w = argument;

    w->status = w->task->evaluate(w->task, w->trainer, w->is_alone ? NULL : &w->share, told_to_stop,
                                  w, &w->evaluation);
    if (w->status != SG_OK) snprintf(w->text, sizeof w->text, "%s", sg_last_error());
    if (w->stops) meeting_break(w->seat.with);
    return NULL;
}

/* An evaluation by the first `size` workers, at the same time. */
static void evaluate_together(meeting *m, int size) {
    for (int i = 0; i < size; i++) {
        worker *w = &workers[i];

        w->seat = (seat){m, i};
        w->share = (sg_share){i, size, &w->seat, meet};
        atomic_store(&w->asked, 0);
        assert_int_equal(pthread_create(&w->thread, NULL, evaluate, w), 0);
    }
    for (int i = 0; i < size; i++) pthread_join(workers[i].thread, NULL);
}

static void open_worker(worker *w, const sg_config *config) {
    sg_compute here = {0};

    assert_ok(sg_task_create(config, &w->task));
    assert_ok(sg_run_prepare_task(w->task, config, NULL));
    assert_ok(w->task->start(w->task, 0, NULL));
    assert_ok(sg_run_make_trainer(config, w->task, &here, false, &w->trainer));
    w->lr = config->train.lr;
}

/* Each worker takes the same ones, after which there is something else to measure. */
static void take_steps(int n) {
    sg_step_report report;

    for (int i = 0; i < n * kWorkers; i++) {
        worker *w = &workers[i % kWorkers];
        const void *inputs[SG_MAX_INPUTS] = {NULL};
        int shape;

        assert_ok(w->task->next(w->task, inputs, &shape));
        assert_ok(sg_trainer_step(w->trainer, shape, inputs, w->lr, &report));
    }
}

static void open_workers(const char *const *overrides, int n) {
    for (int i = 0; i < kWorkers; i++) {
        sg_config config;

        assert_ok(sg_config_load(NULL, overrides, n, &config));
        config.train.threads = 1 + i % 2;
        open_worker(&workers[i], &config);
    }
}

static void close_workers(void) {
    for (int i = 0; i < kWorkers; i++) {
        sg_trainer_destroy(workers[i].trainer);
        sg_task_destroy(workers[i].task);
        memset(&workers[i], 0, sizeof workers[i]);
    }
}

/* --- what they end with ----------------------------------------------------------------------- */

static void draw(const worker *w, const char *name) {
    assert_ok(sg_make_dirs(fixture_path(name)));
    assert_ok(w->task->report(w->task, fixture_path(name)));
}

/* How many files there are in both folders, with the same bytes. */
static int same_files(const char *a, const char *b) {
    DIR *folder = opendir(fixture_path(a));
    const struct dirent *entry;
    int n = 0;

    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        char x[kNameBytes + 64], y[kNameBytes + 64];
        uint8_t *p, *q;
        size_t size, other;

        if (entry->d_name[0] == '.') continue;
        snprintf(x, sizeof x, "%s/%.200s", a, entry->d_name);
        snprintf(y, sizeof y, "%s/%.200s", b, entry->d_name);
        assert_ok(sg_file_read(fixture_path(x), 0, &p, &size));
        assert_ok(sg_file_read(fixture_path(y), 0, &q, &other));
        assert_int_equal(size, other);
        assert_memory_equal(p, q, size);
        sg_free(p);
        sg_free(q);
        n++;
    }
    closedir(folder);
    return n;
}

static void check_same(const worker *w, const sg_evaluation *want) {
    if (w->status != SG_OK) fail_msg("rank %d: %s", w->seat.rank, w->text);
    assert_string_equal(w->evaluation.json, want->json);
    assert_string_equal(w->evaluation.table, want->table);
    assert_true(w->evaluation.score == want->score);
}

static sg_evaluation evaluate_alone(const char *folder) {
    worker *w = &workers[0];
    sg_evaluation want;

    w->is_alone = true;
    evaluate(w);
    w->is_alone = false;
    assert_int_equal(w->status, SG_OK);
    want = w->evaluation;
    assert_true(want.score > 0.0 && want.score < 1.0);
    draw(w, folder);
    return want;
}

/* Alone comes last: what an evaluation before has left would be of other values. */
static void together_as_alone(int size, const char *folder, int files, sg_evaluation *want) {
    char mine[64];
    meeting m;
    sg_evaluation found[kWorkers];

    meeting_init(&m, size, 0);
    evaluate_together(&m, size);
    snprintf(mine, sizeof mine, "%s-together", folder);
    draw(&workers[size - 1], mine); /* the last one's will do */
    for (int k = 0; k < size; k++) found[k] = workers[k].evaluation;
    *want = evaluate_alone(folder);
    assert_int_equal(same_files(folder, mine), files);
    for (int k = 0; k < size; k++) {
        workers[k].evaluation = found[k];
        check_same(&workers[k], want);
        sg_evaluation_clear(&found[k]);
    }
}

/* Alone, in the middle of a run of the model: one node is waited for, and not one run. */
static void one_stops(void) {
    worker *w = &workers[0];
    meeting m;

    meeting_init(&m, 1, 0);
    w->seat = (seat){&m, 0};
    w->is_alone = w->stops = true;
    w->patience = kNodes;
    atomic_store(&w->asked, 0);
    evaluate(w);
    w->is_alone = w->stops = false;
    w->patience = 0;
    assert_int_equal(w->status, SG_ERR_INTERRUPTED);
}

/* One is told to stop and leaves; the others give up, and begin again without it. */
static void one_leaves(const sg_evaluation *want) {
    meeting m;

    meeting_init(&m, 4, 0);
    workers[3].stops = true;
    evaluate_together(&m, 4);
    workers[3].stops = false;
    assert_int_equal(workers[3].status, SG_ERR_INTERRUPTED);
    assert_true(workers[3].asked > 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(workers[i].status, SG_ERR_UNAVAILABLE);
        assert_string_equal(workers[i].text, "a member is gone");
    }
    meeting_init(&m, 3, 0);
    evaluate_together(&m, 3);
    for (int i = 0; i < 3; i++) {
        check_same(&workers[i], want);
        sg_evaluation_clear(&workers[i].evaluation);
    }
}

static void check_nonsense(meeting *m, const char *part) {
    evaluate_together(m, m->size);
    for (int k = 0; k < m->size; k++) {
        assert_int_equal(workers[k].status, SG_ERR_DATA);
        if (!strstr(workers[k].text, part)) fail_msg("%s", workers[k].text);
    }
}

/* Fewer bytes than there must be, or more; `unit`: a whole answer's. */
static void others_answer_nonsense(long unit, const char *fewer, const char *more) {
    const long spoils[] = {-unit, -1, 1, unit, 8};

    for (size_t i = 0; i < sizeof spoils / sizeof *spoils; i++) {
        meeting m;

        meeting_init(&m, 2, spoils[i]);
        check_nonsense(&m, spoils[i] < 0 ? fewer : more);
    }
}

/* By different numbers of workers; then one leaves, then they talk nonsense, then all is well. */
static void check_task(int steps, const char *folder, int files, long unit, const char *fewer,
                       const char *more) {
    static const int sizes[] = {kWorkers, 1, 2, 3, 5};
    sg_evaluation want = {0};
    long live;

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        sg_evaluation_clear(&want);
        take_steps(steps);
        together_as_alone(sizes[i], folder, files, &want);
    }
    live = sg_mem_live();
    one_stops();
    one_leaves(&want);
    others_answer_nonsense(unit, fewer, more);
    sg_evaluation_clear(&want);
    together_as_alone(kWorkers, folder, files, &want);
    assert_int_equal(sg_mem_live(), live);
    sg_evaluation_clear(&want);
}

/* 19 pictures are five groups of the model: seven workers are more than there are groups. */
static void detectors_share_an_evaluation(void **state) {
    sg_synthetic_options drawn = sg_synthetic_defaults();
    char root[600];
    const char *const overrides[] = {root, "model.input=64", "train.batch=4", "train.shards=2",
                                     "train.lr=0.02"};
    meeting m;

    (void)state;
    drawn.n_train = 8;
    drawn.n_val = 19;
    drawn.side = SG_SYNTHETIC_SIDE_MIN;
    assert_ok(sg_synthetic_make(fixture_path("drawn"), &drawn));
    snprintf(root, sizeof root, "data.root=%s", fixture_path("drawn"));
    open_workers(overrides, sizeof overrides / sizeof *overrides);
    check_task(2, "pictures", 3, 40, "is not about 19 pictures", "in more than 19 pictures");
    meeting_init(&m, 2, 0);
    m.garbled = true;
    check_nonsense(&m, "is not about 19 pictures");
    close_workers();
}

/* --- a model that sees a whole group at once -------------------------------------------------- */

enum { kSide = 64, kAnchors = 84 }; /* strides 8, 16 and 32 */

/* Squares at all places, of three sizes: some of them are on faces. */
static void put_squares(float *box) {
    for (int stride = 8; stride <= 32; stride *= 2)
        for (int i = 0; i < kSide / stride * (kSide / stride); i++, box += 4) {
            float x = (float)(i % (kSide / stride) * stride + stride / 2);
            float y = (float)(i / (kSide / stride) * stride + stride / 2);

            box[0] = x - (float)stride, box[1] = y - (float)stride;
            box[2] = x + (float)stride, box[3] = y + (float)stride;
        }
}

/* A picture's scores depend on who else is in its group, as on some devices the last bits do. */
static sg_status build_coupled(sg_graph *g, int64_t n, void *context) {
    float squares[SG_DETECTOR_EVAL_BATCH][kAnchors * 4];
    int64_t classes = ((const sg_mask_detector_options *)context)->classes;
    sg_value *image = sg_input(g, "image", SG_U8, sg_shape_4(n, 3, kSide, kSide));
    sg_value *x = sg_global_avg_pool(g, sg_to_float(g, image, 1.0f / 255.0f, 0.0f));
    sg_value *scores = sg_linear(g, "scores", x, kAnchors * classes);

    for (int64_t i = 0; i < n; i++) put_squares(squares[i]);
    scores = sg_softmax(g, sg_reshape(g, scores, sg_shape_2(1, n * kAnchors * classes)));
    sg_output(g, "boxes",
              sg_scale(g, sg_constant(g, SG_F32, sg_shape_3(n, kAnchors, 4), squares), 1.0f));
    sg_output(g, "scores",
              sg_reshape(g, sg_scale(g, scores, 100.0f), sg_shape_3(n, kAnchors, classes)));
    return sg_graph_status(g);
}

typedef struct {
    pthread_t thread;
    const sg_dataset *data;
    seat seat;
    const sg_share *share;
    sg_status status;
    sg_evaluation evaluation;
} pair_member;

static sg_status evaluate_coupled(pair_member *p, sg_inference *inference, sg_pool *pool) {
    sg_mask_detector_options model = sg_mask_detector_defaults();
    sg_state *weights;
    sg_config config;
    sg_status st;

    sg_config_default(&config);
    model.input = kSide;
    model.classes = p->data->classes.n;
    SG_TRY(sg_state_create(sg_inference_table(inference), 0, &weights));
    sg_state_init(weights, 5);
    st = sg_inference_set_values(inference, weights->values, NULL);
    if (st == SG_OK)
        st = sg_detector_evaluate(&config, &model, inference, pool, p->data, p->share, NULL, NULL,
                                  NULL, &p->evaluation);
    sg_state_destroy(weights);
    return st;
}

static void *be_member(void *argument) {
    pair_member *p = argument;
    sg_mask_detector_options model = {.classes = p->data->classes.n};
    sg_inference_options o = {.build = build_coupled, .context = &model};
    sg_inference *inference = NULL;
    sg_pool *pool = NULL;

    o.batch = SG_DETECTOR_EVAL_BATCH;
    p->status = sg_pool_create(1, sg_backend_cpu.enter_thread, &pool);
    if (p->status == SG_OK) p->status = sg_inference_create(&o, &inference);
    if (p->status == SG_OK) p->status = evaluate_coupled(p, inference, pool);
    sg_inference_destroy(inference);
    sg_pool_destroy(pool);
    return NULL;
}

static void groups_of_the_model_stay_whole(void **state) {
    pair_member alone = {0}, pair[2];
    sg_share share[2];
    sg_dataset *d;
    meeting m;

    (void)state;
    assert_ok(sg_dataset_read_voc(fixture_path("drawn"), "val.txt", NULL, &d));
    alone.data = d;
    be_member(&alone);
    assert_int_equal(alone.status, SG_OK);
    assert_true(alone.evaluation.score > 0.0);
    meeting_init(&m, 2, 0);
    for (int i = 0; i < 2; i++) {
        pair[i] = (pair_member){.data = d, .seat = {&m, i}, .share = &share[i]};
        share[i] = (sg_share){i, 2, &pair[i].seat, meet};
        assert_int_equal(pthread_create(&pair[i].thread, NULL, be_member, &pair[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(pair[i].thread, NULL);
        assert_int_equal(pair[i].status, SG_OK);
        assert_string_equal(pair[i].evaluation.json, alone.evaluation.json);
        sg_evaluation_clear(&pair[i].evaluation);
    }
    sg_evaluation_clear(&alone.evaluation);
    sg_dataset_destroy(d);
}

/* --- texts ------------------------------------------------------------------------------------ */

/* 1 to 40 words, a few of which tell the class; one label in six is wrong. */
static void write_texts(const char *split, int n, uint64_t seed) {
    size_t room = (size_t)n * 400;
    char *texts = calloc(room, 1), *labels = calloc(room, 1), name[64];
    sg_random r = sg_random_init(seed);
    size_t at = 0;

    assert_true(texts && labels);
    for (int i = 0; i < n; i++) {
        int label = (int)sg_random_below(&r, kClasses), words = 1 + i * 7 % 40;

        for (int k = 0; k < words; k++) {
            int word = (int)sg_random_below(&r, kWords);

            if (word % 4 == 0) word = kWords + label; /* of its class */
            at +=
                (size_t)snprintf(texts + at, room - at, "%sw%cx%d", k ? " " : "", 'a' + word, word);
        }
        at += (size_t)snprintf(texts + at, room - at, "\n");
        if (sg_random_below(&r, 6) == 0) label = (label + 1) % kClasses;
        snprintf(labels + strlen(labels), 8, "%d\n", label);
    }
    snprintf(name, sizeof name, "texts/%s_text.txt", split);
    fixture_text(name, texts);
    snprintf(name, sizeof name, "texts/%s_labels.txt", split);
    fixture_text(name, labels);
    free(texts);
    free(labels);
}

static void texts_share_an_evaluation(void **state) {
    char root[600];
    const char *const overrides[] = {"model.type=text_classifier",
                                     root,
                                     "text.buckets=4096",
                                     "text.subwords=300",
                                     "model.layers=1",
                                     "model.width=16",
                                     "model.heads=2",
                                     "model.input=64",
                                     "train.batch=16",
                                     "train.shards=4",
                                     "train.lr=0.01"};

    (void)state;
    fixture_text("texts/mapping.txt", "0\tx\n1\ty\n2\tz\n");
    write_texts("train", 160, 1);
    write_texts("val", kTexts, 2);
    snprintf(root, sizeof root, "data.root=%s", fixture_path("texts"));
    open_workers(overrides, sizeof overrides / sizeof *overrides);
    check_task(5, "confusions", 1, kClasses * (long)sizeof(float), "not about 110 texts",
               "not about 110 texts");
    close_workers();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(detectors_share_an_evaluation),
        cmocka_unit_test(groups_of_the_model_stay_whole),
        cmocka_unit_test(texts_share_an_evaluation),
    };

    return cmocka_run_group_tests_name("shared evaluations", tests, fixture_setup,
                                       fixture_teardown);
}
