/* For tests of trainers that share their steps: workers are threads of one process, which meet in
 * memory and add what they have in the tree's order. Included once by a test program. */
#ifndef SG_TESTS_TEAM_H
#define SG_TESTS_TEAM_H

#include <pthread.h>
#include <stdio.h>

#include "trainer_fixture.h"

#include "bag_model.h"
#include "train/trainer_inside.h"

enum { kMostWorkers = 8, kMostSteps = 9, kInputBytes = 8192 };

/* What is trained. */
typedef struct {
    sg_trainer_options options;
    /* A step's batch into inputs[0 .. ], each with room for kInputBytes; its shape. */
    int (*draw)(int64_t step, void *const inputs[]);
    double lr;
} subject;

typedef struct team team;

typedef struct {
    team *team;
    int rank;
    pthread_t thread;
    sg_trainer *trainer;
    float *const *slot; /* of the exchange in work */
    const sg_bucket *bucket;
    sg_status status; /* how its last step ended */
    char text[512];
    char hash[SG_STATE_HASH_BYTES];
    int buckets;   /* exchanged in the last step */
    int abandoned; /* how often */
} worker;

struct team {
    const subject *subject;
    int size, steps;
    sg_trainer_team options; /* what its members have in common */
    bool turns;              /* only one of them computes at a time */
    int64_t fails_in;        /* the exchange, counted from 1, that fails; 0: none */
    bool (*stop)(void *worker);

    pthread_mutex_t lock;
    pthread_cond_t changed;
    int arrived;
    int abandoned;     /* by any of them, which all others notice */
    int64_t exchanges; /* that are done */
    worker worker[kMostWorkers];
};

/* --- where they meet -------------------------------------------------------------------------- */

/* `sum` of the bucket to one of the others, by its device where it lies there. */
static inline void tell_sum(const team *m, const worker *w, const float *sum) {
    const sg_bucket *b = w->bucket;
    size_t bytes = (size_t)(b->end - b->start) * sizeof(float);
    void *queue = w->trainer->on.upload;

    if (!m->options.on_device) {
        memcpy(w->slot[0] + b->start, sum + b->start, bytes);
        return;
    }
    CHECK_OK(w->trainer->device->copy(queue, w->slot[0] + b->start, sum + b->start, bytes));
    CHECK_OK(w->trainer->device->wait(queue));
}

static inline void add_nodes(team *m) {
    int shards = m->subject->options.shards, n = 0;
    sg_adder adder = sg_trainer_adder(m->worker[0].trainer);
    const sg_bucket *b = m->worker[0].bucket;
    float *slot[SG_DEVICE_SHARDS] = {NULL};
    sg_tree_node all[SG_DEVICE_SHARDS];

    for (int q = 0; q < m->size; q++) {
        sg_tree_node node[SG_TREE_NODES];
        int k = sg_tree_nodes(shards, sg_tree_share(shards, m->size, q), node);

        for (int i = 0; i < k; i++) {
            all[n++] = node[i];
            slot[node[i].shard] = m->worker[q].slot[node[i].shard];
        }
    }
    CHECK_OK(sg_tree_join(shards, all, n, slot, b->start, b->end,
                          m->options.on_device ? &adder : &sg_adder_host));
    for (int q = 1; q < m->size; q++) tell_sum(m, &m->worker[q], slot[0]);
}

/* Everybody's part of each block, to everybody. */
static inline void gather_parts(team *m) {
    int shards = m->subject->options.shards;

    for (int from = 0; from < m->size; from++) {
        sg_shards own = sg_tree_share(shards, m->size, from);

        for (int to = 0; to < m->size; to++)
            for (int i = 0; from != to && i < m->worker[from].bucket->n; i++) {
                const sg_gather *a = &m->worker[from].bucket->gather[i];
                const sg_gather *b = &m->worker[to].bucket->gather[i];
                size_t at = (size_t)own.first * a->bytes;

                memcpy((char *)b->data + at, (char *)a->data + at, (size_t)own.count * a->bytes);
            }
    }
}

/* With the lock, as the last one to come. */
static inline void exchange_all(team *m) {
    for (int q = 1; q < m->size; q++) {
        assert_int_equal(m->worker[q].bucket->start, m->worker[0].bucket->start);
        assert_int_equal(m->worker[q].bucket->end, m->worker[0].bucket->end);
        assert_int_equal(m->worker[q].bucket->last, m->worker[0].bucket->last);
    }
    add_nodes(m);
    gather_parts(m);
    m->arrived = 0;
    m->exchanges++;
    pthread_cond_broadcast(&m->changed);
}

static inline sg_status meet(void *context, float *const slot[], const sg_bucket *bucket) {
    worker *w = context;
    team *m = w->team;
    int64_t number;
    sg_status st = SG_OK;

    if (!m->turns) pthread_mutex_lock(&m->lock);
    number = m->exchanges;
    w->slot = slot;
    w->bucket = bucket;
    if (m->fails_in == number + 1)
        st = sg_fail(SG_ERR_UNAVAILABLE, "worker %d is told that another one is gone", w->rank);
    else if (++m->arrived == m->size)
        exchange_all(m);
    while (st == SG_OK && m->exchanges == number && m->abandoned == 0)
        pthread_cond_wait(&m->changed, &m->lock);
    if (st == SG_OK && m->exchanges == number) st = sg_fail(SG_ERR_UNAVAILABLE, "abandoned");
    w->buckets++;
    if (!m->turns) pthread_mutex_unlock(&m->lock);
    return st;
}

static inline void abandon(void *context) {
    worker *w = context;

    if (!w->team->turns) pthread_mutex_lock(&w->team->lock);
    w->abandoned++;
    w->team->abandoned++;
    pthread_cond_broadcast(&w->team->changed);
    if (!w->team->turns) pthread_mutex_unlock(&w->team->lock);
}

/* --- what a worker does ----------------------------------------------------------------------- */

static inline sg_status work_on(worker *w) {
    const subject *s = w->team->subject;
    char memory[SG_MAX_INPUTS][kInputBytes];
    void *inputs[SG_MAX_INPUTS];
    sg_step_report report;
    int64_t step;

    for (int i = 0; i < SG_MAX_INPUTS; i++) inputs[i] = memory[i];
    while ((step = sg_trainer_state(w->trainer)->step) < w->team->steps) {
        int shape = s->draw(step, inputs);

        w->buckets = 0;
        SG_TRY(sg_trainer_step(w->trainer, shape, (const void *const *)inputs, s->lr, &report));
    }
    return SG_OK;
}

static inline void *work(void *context) {
    worker *w = context;

    if (w->team->turns) pthread_mutex_lock(&w->team->lock);
    w->status = work_on(w);
    if (w->status != SG_OK) snprintf(w->text, sizeof w->text, "%s", sg_last_error());
    if (w->team->turns) pthread_mutex_unlock(&w->team->lock);
    return NULL;
}

/* --- the test's part -------------------------------------------------------------------------- */

/* Members 0 .. size - 1, which have trainers of their own of so many threads. */
static inline void team_open(team *m, int threads) {
    sg_trainer_options o = m->subject->options;

    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    for (int q = 0; q < m->size; q++) {
        worker *w = &m->worker[q];
        sg_trainer_team share = m->options;

        *w = (worker){.team = m, .rank = q};
        o.threads = threads;
        CHECK_OK(sg_trainer_create(&o, &w->trainer));
        share.own = sg_tree_share(o.shards, m->size, q);
        share.reduce = meet;
        share.abandon = abandon;
        share.context = w;
        CHECK_OK(sg_trainer_share(w->trainer, &share));
        sg_trainer_stop_when(w->trainer, m->stop, w);
    }
}

/* Until `steps` steps are made, or fail. */
static inline void team_work(team *m, int steps) {
    m->steps = steps;
    m->arrived = m->abandoned = 0;
    for (int q = 0; q < m->size; q++)
        assert_int_equal(pthread_create(&m->worker[q].thread, NULL, work, &m->worker[q]), 0);
    for (int q = 0; q < m->size; q++) pthread_join(m->worker[q].thread, NULL);
}

static inline void team_close(team *m) {
    for (int q = 0; q < m->size; q++) finish(m->worker[q].trainer, m->worker[q].hash);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
}

static inline void train_alone(const subject *s, int steps, char hash[SG_STATE_HASH_BYTES]) {
    team alone = {.subject = s, .size = 1, .steps = steps};
    worker *w = &alone.worker[0];

    *w = (worker){.team = &alone};
    CHECK_OK(sg_trainer_create(&s->options, &w->trainer));
    CHECK_OK(work_on(w));
    finish(w->trainer, hash);
}

static inline void team_same(const team *m, const char *hash) {
    for (int q = 0; q < m->size; q++) {
        if (m->worker[q].status != SG_OK) fail_msg("worker %d: %s", q, m->worker[q].text);
        assert_string_equal(m->worker[q].hash, hash);
    }
}

/* --- subjects --------------------------------------------------------------------------------- */

/* Bags of bag_model.h: tables of rows, whose sources are gathered; two shapes of a batch. */
static inline int draw_bag_batch(int64_t step, void *const inputs[]) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    int shape = bag_shape_at(step);
    const void *const *drawn;

    pthread_mutex_lock(&lock);
    drawn = draw_bags(step, shape ? kLong : kShort);
    memcpy(inputs[0], drawn[0], sizeof bag_ids);
    memcpy(inputs[1], drawn[1], sizeof bag_weight);
    memcpy(inputs[2], drawn[2], sizeof bag_label);
    pthread_mutex_unlock(&lock);
    return shape;
}

enum { kSide = 5 };

/* Convolutions with batch norm, whose statistics are added too. */
static inline sg_status build_pictures(sg_graph *g, int64_t n, void *context) {
    sg_value *x = sg_input(g, "image", SG_F32, sg_shape_4(n, 2, kSide, kSide)), *y;

    (void)context;
    x = sg_conv_norm_act(g, "conv1", x, 7, 3, 1, SG_ACT_SILU, NULL);
    y = sg_conv_norm_act(g, "conv2", x, 7, 3, 1, SG_ACT_RELU, x);
    y = sg_conv_norm_act(g, "conv3", y, 9, 3, 2, SG_ACT_RELU, NULL);
    x = sg_linear(g, "classify", sg_global_avg_pool(g, y), kClasses);
    if (sg_graph_mode(g) == SG_TRAIN)
        sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

static inline int draw_pictures(int64_t step, void *const inputs[]) {
    sg_random r = sg_random_init(sg_key_mix(31, (uint64_t)step));
    float *image = inputs[0];
    int32_t *label = inputs[1];

    for (int n = 0; n < kBatch; n++) {
        label[n] = (int32_t)sg_random_below(&r, kClasses);
        for (int i = 0; i < 2 * kSide * kSide; i++)
            image[n * 2 * kSide * kSide + i] =
                sg_random_range(&r, -1.0f, 1.0f) + (float)(label[n] * (i % 2));
    }
    return 0;
}

static inline subject bag_subject(const sg_backend *backend, int shards) {
    return (subject){bag_trainer(backend, SG_ROWS_ADAGRAD, shards, 1), draw_bag_batch, 0.05};
}

static inline subject picture_subject(const sg_backend *backend, int shards) {
    sg_trainer_options o = sg_trainer_defaults();

    o.build = build_pictures;
    o.backend = backend;
    o.batch = kBatch;
    o.shards = shards;
    o.threads = 1;
    o.seed = 3;
    return (subject){o, draw_pictures, 0.1};
}

#endif
