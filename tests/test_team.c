/* Trainers that share their steps, on CPUs: the bits are those of one alone, gradients travel while
 * shards still compute, and a step of which anything fails is as if it had not been begun. */
#define _GNU_SOURCE
#include "team.h"

#include <stdatomic.h>
#include <unistd.h>

#include "core/threads.h"

enum { kShards = 8 };

static team new_team(const subject *s, int size, int64_t bucket_floats) {
    return (team){.subject = s, .size = size, .options.bucket_floats = bucket_floats};
}

/* --- bits ------------------------------------------------------------------------------------- */

/* Gradients of a few hundred floats in one bucket, or in many. */
static void check_bits(const subject *s, int steps) {
    static const int sizes[] = {1, 2, 3, 5, 8};
    static const int64_t floats[] = {0, 300, 64};
    char alone[SG_STATE_HASH_BYTES];

    train_alone(s, steps, alone);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < sizeof floats / sizeof *floats; k++) {
            team m = new_team(s, sizes[i], floats[k]);

            if (sizes[i] > s->options.shards) continue;
            team_open(&m, 1 + (int)k);
            team_work(&m, steps);
            team_close(&m);
            team_same(&m, alone);
        }
}

static void test_same_bits(void **state) {
    subject pictures = picture_subject(&sg_backend_ref, kShards), bags;

    (void)state;
    check_bits(&pictures, kMostSteps);
    pictures.options.optimizer.kind = SG_OPTIMIZER_ADAMW;
    pictures.lr = 0.01;
    check_bits(&pictures, kMostSteps);
    bags = bag_subject(&sg_backend_ref, kShards);
    check_bits(&bags, kMostSteps);
}

/* The tree of a number of shards that is no power of two has nodes with one half. */
static void test_odd_shards(void **state) {
    subject s = picture_subject(&sg_backend_ref, 7);

    (void)state;
    s.options.batch = 14;
    check_bits(&s, 4);
}

/* --- buckets ---------------------------------------------------------------------------------- */

/* Every float once, the last bucket last; and each is ready when its shard is done. */
static void check_buckets(const subject *s, int64_t floats) {
    team m = new_team(s, 2, floats);
    const sg_trainer *t;
    int64_t sum = 0, end;

    team_open(&m, 1);
    t = m.worker[0].trainer;
    end = t->table->n_decay;
    for (int k = 0; k < t->buckets.n; k++) {
        sg_bucket b = sg_trainer_bucket(t, k, NULL, 0);
        bool last = k == t->buckets.n - 1;

        assert_true(b.start < b.end);
        assert_int_equal(b.last, last);
        if (t->buckets.n > 1) assert_int_equal(b.end, last ? t->table->n_grads : end);
        sum += b.end - b.start;
        end = b.start;
        for (int i = 0; i < t->n_shapes; i++) {
            int steps = sg_program_steps(t->shape[i].program);

            assert_in_range(t->shape[i].ready[k], last ? steps - 1 : 0, steps - 1);
            assert_true(k == 0 || t->shape[i].ready[k] >= t->shape[i].ready[k - 1]);
        }
    }
    assert_int_equal(sum, t->table->n_grads);
    team_work(&m, 1);
    for (int q = 0; q < 2; q++) assert_int_equal(m.worker[q].buckets, t->buckets.n);
    team_close(&m);
}

static void test_buckets(void **state) {
    subject pictures = picture_subject(&sg_backend_ref, kShards);
    subject bags = bag_subject(&sg_backend_ref, kShards);

    (void)state;
    for (int64_t floats = 1; floats < 4096; floats *= 3) {
        check_buckets(&pictures, floats);
        check_buckets(&bags, floats);
    }
}

/* Asked between the nodes of a step: does not let the last of them begin before a bucket has been
 * exchanged, which is impossible where the exchange waits for the shards. */
static bool wait_for_bucket(void *context) {
    worker *w = context;
    double end = sg_now() + 20.0;
    static _Thread_local int asked;
    const sg_trainer *t = w->trainer;
    int nodes = sg_program_steps(t->shape[0].program);

    if (++asked % nodes != 0) return false;
    for (;;) {
        int done;

        pthread_mutex_lock(&w->team->lock);
        done = w->buckets;
        pthread_mutex_unlock(&w->team->lock);
        if (done > 0) return false;
        if (sg_now() > end) return true;
    }
}

static void test_overlap(void **state) {
    subject s = picture_subject(&sg_backend_ref, 2);
    team m = new_team(&s, 2, 64);

    (void)state;
    m.stop = wait_for_bucket;
    team_open(&m, 1);
    assert_int_equal(m.worker[0].trainer->shape[0].ready[0] <
                         sg_program_steps(m.worker[0].trainer->shape[0].program) - 1,
                     1);
    team_work(&m, 1);
    for (int q = 0; q < 2; q++)
        if (m.worker[q].status != SG_OK) fail_msg("%s", m.worker[q].text);
    team_close(&m);
}

/* A weight that is the sum of one and of a product: the gradient of the one is also what those of
 * the factors are made of, and stands in a bucket that comes before theirs. */
static sg_status build_low_rank(sg_graph *g, int64_t n, void *context) {
    enum { kPixels = 2 * kSide * kSide, kRank = 2 };
    const sg_init init = {SG_INIT_KAIMING, 1.0f};
    sg_value *x = sg_input(g, "image", SG_F32, sg_shape_2(n, kPixels)), *a, *b, *w;

    (void)context;
    a = sg_param(g, "a", SG_ENTRY_DECAY, sg_shape_2(kClasses, kRank), init);
    b = sg_param(g, "b", SG_ENTRY_DECAY, sg_shape_2(kRank, kPixels), init);
    w = sg_param(g, "w", SG_ENTRY_DECAY, sg_shape_2(kClasses, kPixels), init);
    w = sg_add(g, w, sg_matmul(g, a, b, false, false));
    x = sg_matmul(g, x, w, false, true);
    if (sg_graph_mode(g) == SG_TRAIN)
        sg_loss(g, sg_cross_entropy(g, x, sg_input(g, "label", SG_I32, sg_shape_1(n))), NULL);
    return sg_graph_status(g);
}

/* Asked between the nodes of a step: time enough for an exchange. */
static bool dawdle(void *context) {
    (void)context;
    usleep(5000);
    return false;
}

/* What is exchanged is not read any more. */
static void test_read_again(void **state) {
    subject s = picture_subject(&sg_backend_ref, 2);
    team m = new_team(&s, 2, 64);
    char alone[SG_STATE_HASH_BYTES];

    (void)state;
    s.options.build = build_low_rank;
    train_alone(&s, 3, alone);
    m.stop = dawdle;
    team_open(&m, 1);
    team_work(&m, 3);
    team_close(&m);
    team_same(&m, alone);
}

/* --- failures --------------------------------------------------------------------------------- */

/* In each bucket of a step: all are told, the state is that of before, and the step can be made
 * again. */
static void test_exchange_fails(void **state) {
    subject s = picture_subject(&sg_backend_ref, kShards);
    char before[SG_STATE_HASH_BYTES], after[SG_STATE_HASH_BYTES];
    team m = new_team(&s, 3, 300);
    int n;

    (void)state;
    train_alone(&s, 1, before);
    train_alone(&s, 3, after);
    team_open(&m, 2);
    team_work(&m, 1);
    n = m.worker[0].trainer->buckets.n;
    assert_true(n > 2);
    for (int k = 1; k <= n; k++) {
        m.exchanges = 0;
        m.fails_in = k;
        team_work(&m, 2);
        for (int q = 0; q < m.size; q++) {
            char now[SG_STATE_HASH_BYTES];

            assert_int_equal(m.worker[q].status, SG_ERR_UNAVAILABLE);
            assert_non_null(strstr(m.worker[q].text, "another one is gone"));
            CHECK_OK(sg_state_sha256(sg_trainer_state(m.worker[q].trainer), now));
            assert_string_equal(now, before);
        }
    }
    m.fails_in = 0;
    team_work(&m, 3);
    team_close(&m);
    team_same(&m, after);
}

static atomic_int told;

static bool stop_one(void *context) {
    return ((const worker *)context)->rank == 1 && atomic_fetch_add(&told, 1) > 20;
}

/* One gives the step up, and abandons its exchange: nobody makes the step. */
static void test_given_up(void **state) {
    subject s = picture_subject(&sg_backend_ref, kShards);
    char before[SG_STATE_HASH_BYTES], now[SG_STATE_HASH_BYTES];
    team m = new_team(&s, 2, 64);

    (void)state;
    atomic_store(&told, 0);
    train_alone(&s, 0, before);
    m.stop = stop_one;
    team_open(&m, 1);
    team_work(&m, 1);
    for (int q = 0; q < 2; q++) {
        const worker *w = &m.worker[q];

        assert_int_equal(w->status, q == 1 ? SG_ERR_INTERRUPTED : SG_ERR_UNAVAILABLE);
        assert_int_equal(w->abandoned, q == 1);
        CHECK_OK(sg_state_sha256(sg_trainer_state(w->trainer), now));
        assert_string_equal(now, before);
    }
    team_close(&m);
}

/* Alone again: whole steps, without a thread for the exchange. */
static void test_alone_again(void **state) {
    subject s = picture_subject(&sg_backend_ref, kShards);
    char alone[SG_STATE_HASH_BYTES];
    team m = new_team(&s, 2, 300);

    (void)state;
    train_alone(&s, 4, alone);
    team_open(&m, 2);
    team_work(&m, 2);
    CHECK_OK(sg_trainer_share(m.worker[1].trainer, NULL));
    assert_null(m.worker[1].trainer->exchange);
    m.steps = 4;
    CHECK_OK(work_on(&m.worker[1]));
    team_close(&m);
    assert_string_equal(m.worker[1].hash, alone);
}

static void test_no_memory(void **state) {
    subject s = picture_subject(&sg_backend_ref, kShards);
    sg_trainer_team share = {.own = {0, 4}, .reduce = meet, .abandon = abandon};
    sg_status st = SG_ERR_OOM;
    sg_trainer *t;
    long n = 0;

    (void)state;
    CHECK_OK(sg_trainer_create(&s.options, &t));
    while (st != SG_OK) { /* what it has by then the trainer keeps */
        sg_mem_fail_at(++n);
        st = sg_trainer_share(t, &share);
        sg_mem_fail_at(0);
        assert_true(st == SG_OK || st == SG_ERR_OOM);
    }
    assert_true(n > 2);
    sg_trainer_destroy(t);
    assert_int_equal(sg_mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),  cmocka_unit_test(test_odd_shards),
        cmocka_unit_test(test_buckets),    cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_read_again), cmocka_unit_test(test_exchange_fails),
        cmocka_unit_test(test_given_up),   cmocka_unit_test(test_alone_again),
        cmocka_unit_test(test_no_memory),
    };

    return cmocka_run_group_tests_name("teams", tests, NULL, NULL);
}
