/* The tree and its reduction: whatever number of workers share the shards, the sum has the bits
 * that one worker's has. Workers are threads, and their transport mailboxes in memory. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/philox.h"
#include "dist/reduce.h"
#include "out_of_memory.h"

enum { kShards = 17, kMostWorkers = 19, kLong = 40000, kShort = 700, kPart = 24 };

static float number(uint64_t key, int64_t i) {
    return (float)((double)(sg_key_mix(key, (uint64_t)i) >> 11) * 0x1p-52 - 1.0) *
           (float)(1 << (i % 23));
}

/* --- the definition --------------------------------------------------------------------------- */

/* ((0 + 1) + (2 + 3)) + ..., as far as there are shards, of one float. */
static float sum_of(const float *x, int first, int width, int shards) {
    int half = width / 2;

    if (width == 1) return x[first];
    if (first + half >= shards) return sum_of(x, first, half, shards);
    return sum_of(x, first, half, shards) + sum_of(x, first + half, half, shards);
}

static float whole_sum(int shards, int64_t i) {
    float x[kShards];

    for (int s = 0; s < shards; s++) x[s] = number((uint64_t)s, i);
    return sum_of(x, 0, 32, shards);
}

static float **make_slots(int shards, int64_t floats) {
    float **slot = sg_calloc((size_t)shards, sizeof *slot);

    for (int s = 0; s < shards; s++) slot[s] = sg_calloc((size_t)floats, sizeof(float));
    return slot;
}

static void free_slots(float **slot, int shards) {
    for (int s = 0; s < shards; s++) sg_free(slot[s]);
    sg_free(slot);
}

static void fill(float *const slot[], sg_shards own, int64_t floats) {
    for (int s = own.first; s < own.first + own.count; s++)
        for (int64_t i = 0; i < floats; i++) slot[s][i] = number((uint64_t)s, i);
}

/* --- the tree --------------------------------------------------------------------------------- */

static void test_shares_are_balanced_and_whole(void **state) {
    (void)state;
    for (int shards = 1; shards <= kShards; shards++) {
        for (int workers = 1; workers <= kMostWorkers; workers++) {
            int next = 0;

            for (int w = 0; w < workers; w++) {
                sg_shards own = sg_tree_share(shards, workers, w);

                assert_int_equal(own.first, next);
                assert_in_range(own.count, shards / workers, (shards + workers - 1) / workers);
                next += own.count;
            }
            assert_int_equal(next, shards);
        }
    }
}

static void test_nodes_are_few_and_whole(void **state) {
    (void)state;
    for (int first = 0; first < kShards; first++) {
        for (int count = 0; first + count <= kShards; count++) {
            sg_tree_node node[SG_TREE_NODES];
            int n = sg_tree_nodes(kShards, (sg_shards){first, count}, node), next = first;

            for (int i = 0; i < n; i++) {
                assert_int_equal(node[i].shard, next);
                assert_int_equal(node[i].shard % node[i].width, 0);
                next += node[i].width;
                if (next > kShards) next = kShards;
            }
            assert_int_equal(next, first + count);
            assert_in_range(n, count > 0, 8);
        }
    }
}

/* 3 of 8 workers' nodes, by hand: shards 2 to 6 are (2,2), (4,2), (6,1). */
static void test_nodes_by_hand(void **state) {
    static const sg_tree_node expected[] = {{2, 2}, {4, 2}, {6, 1}};
    sg_tree_node node[SG_TREE_NODES];

    (void)state;
    assert_int_equal(sg_tree_nodes(8, (sg_shards){2, 5}, node), 3);
    assert_memory_equal(node, expected, sizeof expected);
    assert_int_equal(sg_tree_nodes(5, (sg_shards){4, 1}, node), 1);
    assert_int_equal(sg_tree_nodes(5, (sg_shards){0, 5}, node), 1);
}

/* --- workers as threads ----------------------------------------------------------------------- */

typedef struct {
    sg_transport base;
    int rank;
    struct office *office;
} desk;

typedef struct office {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    desk desk[kMostWorkers];
    const void *data[kMostWorkers][kMostWorkers]; /* [from][to]: the message that waits */
    size_t bytes[kMostWorkers][kMostWorkers];
    int64_t sent; /* bytes in all */
    int failing;  /* the exchange, counted over all, that fails; -1 */
} office;

static void send_to(office *o, int from, const sg_transfer *m) {
    while (o->data[from][m->peer]) pthread_cond_wait(&o->changed, &o->lock);
    o->data[from][m->peer] = m->data;
    o->bytes[from][m->peer] = m->bytes;
    o->sent += (int64_t)m->bytes;
    pthread_cond_broadcast(&o->changed);
}

static void receive_from(office *o, int to, const sg_transfer *m) {
    while (!o->data[m->peer][to]) pthread_cond_wait(&o->changed, &o->lock);
    assert_int_equal(o->bytes[m->peer][to], m->bytes);
    memcpy(m->data, o->data[m->peer][to], m->bytes);
    o->data[m->peer][to] = NULL;
    pthread_cond_broadcast(&o->changed);
}

typedef struct {
    office *office;
    int rank, n;
    const sg_transfer *message;
} sending;

static void *send_all(void *context) {
    sending *s = context;

    pthread_mutex_lock(&s->office->lock);
    for (int to = 0; to < kMostWorkers; to++)
        for (int i = 0; i < s->n; i++)
            if (!s->message[i].receive && s->message[i].peer == to)
                send_to(s->office, s->rank, &s->message[i]);
    for (int to = 0; to < kMostWorkers; to++) /* taken, so the caller may write to it again */
        while (s->office->data[s->rank][to])
            pthread_cond_wait(&s->office->changed, &s->office->lock);
    pthread_mutex_unlock(&s->office->lock);
    return NULL;
}

static sg_status exchange(sg_transport *t, const sg_transfer *message, int n, double seconds) {
    desk *d = (desk *)t;
    office *o = d->office;
    sending s = {o, d->rank, n, message};
    pthread_t sender;

    assert_true(seconds > 0.0);
    if (o->failing == 0) return sg_fail(SG_ERR_UNAVAILABLE, "a worker is gone");
    pthread_create(&sender, NULL, send_all, &s);
    pthread_mutex_lock(&o->lock);
    for (int from = 0; from < kMostWorkers; from++)
        for (int i = 0; i < n; i++)
            if (message[i].receive && message[i].peer == from)
                receive_from(o, d->rank, &message[i]);
    pthread_mutex_unlock(&o->lock);
    pthread_join(sender, NULL);
    return SG_OK;
}

static void open_office(office *o) {
    memset(o, 0, sizeof *o);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->changed, NULL);
    o->failing = -1;
    for (int w = 0; w < kMostWorkers; w++)
        o->desk[w] = (desk){{"mailboxes", exchange, NULL, NULL}, w, o};
}

typedef struct {
    office *office;
    int shards, workers, rank;
    int64_t floats, cut; /* added as far as the cut first, then the rest; 0: at once */
    int wrong;           /* floats or parts that are not as they should be */
    sg_status status;
} job;

/* As sg_tree_add, the other way: shards come one after the other, the last ones first, and a node
 * is added by whoever is the second half of it. */
static void climb(int shards, sg_shards own, float *const slot[], int64_t floats) {
    bool waits[kShards] = {false};

    for (int s = own.first + own.count - 1; s >= own.first; s--) {
        sg_tree_node node = {s, 1}, parent;
        int right;

        while (sg_tree_parent(shards, own, node, &parent, &right)) {
            if (right < shards && !waits[right]) {
                waits[right] = true;
                break;
            }
            if (right < shards)
                assert_int_equal(sg_adder_host.add(NULL, slot[parent.shard], slot[right], floats),
                                 SG_OK);
            node = parent;
        }
    }
}

static void *work(void *context) {
    job *j = context;
    sg_shards own = sg_tree_share(j->shards, j->workers, j->rank);
    float **slot = make_slots(j->shards, j->floats);
    char by_shard[kShards * kPart] = {0}, by_worker[kMostWorkers] = {0};
    const sg_gather gather[] = {{by_shard, kPart, false}, {by_worker, 1, true}};
    const sg_bucket last = {j->cut, j->floats, true, gather, 2};
    sg_reduce_means means = {&j->office->desk[j->rank].base, &sg_adder_host, 5.0};
    sg_reduce *r = NULL;

    fill(slot, own, j->floats);
    memset(by_shard + own.first * kPart, 'a' + j->rank, (size_t)(own.count * kPart));
    by_worker[j->rank] = (char)('a' + j->rank);
    j->status = sg_reduce_create(j->shards, j->workers, j->rank, &r);
    climb(j->shards, own, slot, j->floats);
    if (j->status == SG_OK && j->cut > 0)
        j->status = sg_reduce_run(r, &means, slot, &(sg_bucket){.end = j->cut});
    if (j->status == SG_OK) j->status = sg_reduce_run(r, &means, slot, &last);
    for (int64_t i = 0; i < j->floats && j->status == SG_OK; i++) {
        float expected = whole_sum(j->shards, i);

        j->wrong += memcmp(&expected, &slot[0][i], sizeof expected) != 0;
    }
    for (int w = 0; w < j->workers; w++) {
        sg_shards part = sg_tree_share(j->shards, j->workers, w);

        j->wrong += by_worker[w] != 'a' + w;
        for (int k = part.first * kPart; k < (part.first + part.count) * kPart; k++)
            j->wrong += by_shard[k] != 'a' + w;
    }
    sg_reduce_destroy(r);
    free_slots(slot, j->shards);
    return NULL;
}

static void reduce(office *o, int shards, int workers, int64_t floats, int64_t cut, job *jobs) {
    pthread_t thread[kMostWorkers];

    for (int w = 0; w < workers; w++) {
        jobs[w] = (job){o, shards, workers, w, floats, cut, 0, SG_OK};
        pthread_create(&thread[w], NULL, work, &jobs[w]);
    }
    for (int w = 0; w < workers; w++) pthread_join(thread[w], NULL);
}

static void expect_same_bits(int shards, int64_t floats, int64_t cut) {
    static const int counts[] = {1, 2, 3, 4, 5, 7, 8, 11, kShards, kMostWorkers};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        job jobs[kMostWorkers];
        office o;

        open_office(&o);
        reduce(&o, shards, counts[i], floats, cut, jobs);
        for (int w = 0; w < counts[i]; w++) {
            assert_int_equal(jobs[w].status, SG_OK);
            assert_int_equal(jobs[w].wrong, 0);
        }
    }
}

static void test_sum_has_the_same_bits(void **state) {
    (void)state;
    expect_same_bits(8, kShort, 0);
    expect_same_bits(8, kLong, 0);
    expect_same_bits(kShards, kLong, 0);
    expect_same_bits(5, kShort, 0);
    expect_same_bits(1, kShort, 0);
}

static void test_parts_add_up(void **state) {
    (void)state;
    expect_same_bits(8, kShort, kShort / 2);
    expect_same_bits(kShards, kLong, kLong - kShort);
    expect_same_bits(5, kLong, kLong / 2 + 3);
}

/* Two workers with a node each: half of the floats there, half of the sums back. */
static void test_long_gradients_travel_in_pieces(void **state) {
    job jobs[kMostWorkers];
    office o;

    (void)state;
    open_office(&o);
    reduce(&o, 8, 2, kLong, 0, jobs);
    assert_in_range(o.sent, 2 * kLong * sizeof(float), 2 * kLong * sizeof(float) + 1000);
}

static void test_failure_is_passed_on(void **state) {
    job jobs[kMostWorkers];
    office o;

    (void)state;
    open_office(&o);
    o.failing = 0;
    reduce(&o, 8, 3, kLong, 0, jobs);
    for (int w = 0; w < 3; w++) assert_int_equal(jobs[w].status, SG_ERR_UNAVAILABLE);
}

static void test_without_memory(void **state) {
    sg_reduce *r = NULL;

    (void)state;
    FAIL_EACH_ALLOCATION(sg_reduce_create(8, 3, 1, &r), 4);
    sg_reduce_destroy(r);
    assert_int_equal(sg_mem_live(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shares_are_balanced_and_whole),
        cmocka_unit_test(test_nodes_are_few_and_whole),
        cmocka_unit_test(test_nodes_by_hand),
        cmocka_unit_test(test_sum_has_the_same_bits),
        cmocka_unit_test(test_parts_add_up),
        cmocka_unit_test(test_long_gradients_travel_in_pieces),
        cmocka_unit_test(test_failure_is_passed_on),
        cmocka_unit_test(test_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
