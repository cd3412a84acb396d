/* The pool: every item once, workers apart, the lowest failure, no matter how many threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/threads.h"

enum { kItems = 200, kThreads = 7, kRounds = 300 };

typedef struct {
    int64_t done[kItems]; /* written by one item each */
    int64_t sum[kThreads];
    atomic_int inside[kThreads];
    atomic_int clashes;
    int64_t fail_from, fail_every; /* items from there, each n-th, fail; 0: none */
} work;

static sg_status item(void *context, int64_t i, int worker) {
    work *w = context;

    if (atomic_fetch_add(&w->inside[worker], 1) != 0) atomic_fetch_add(&w->clashes, 1);
    w->done[i]++;
    w->sum[worker] += i; /* not atomic: a worker's own */
    atomic_fetch_sub(&w->inside[worker], 1);
    if (w->fail_every && i >= w->fail_from && i % w->fail_every == 0)
        return sg_fail(SG_ERR_DATA, "item %d is bad", (int)i);
    return SG_OK;
}

static void every_item_once(void **unused) {
    static work w;

    (void)unused;
    for (int threads = 1; threads <= kThreads; threads += 2) {
        sg_pool *pool;

        memset(&w, 0, sizeof w);
        assert_int_equal(sg_pool_create(threads, NULL, &pool), SG_OK);
        assert_int_equal(sg_pool_threads(pool), threads);
        for (int round = 0; round < kRounds; round++) {
            int64_t n = round % kItems, sum = 0; /* rounds without an item, too */

            memset(w.done, 0, sizeof w.done);
            memset(w.sum, 0, sizeof w.sum);
            assert_int_equal(sg_pool_run(pool, n, item, &w), SG_OK);
            for (int64_t i = 0; i < kItems; i++) assert_int_equal(w.done[i], i < n);
            for (int k = 0; k < kThreads; k++) sum += w.sum[k];
            assert_int_equal(sum, n * (n - 1) / 2);
            for (int k = threads; k < kThreads; k++) assert_int_equal(w.sum[k], 0);
        }
        assert_int_equal(w.clashes, 0);
        sg_pool_destroy(pool);
    }
}

static void lowest_failure(void **unused) {
    static work w;
    sg_pool *pool;
    char text[64];

    (void)unused;
    for (int threads = 1; threads <= kThreads; threads += 3) {
        assert_int_equal(sg_pool_create(threads, NULL, &pool), SG_OK);
        for (int64_t round = 0; round < kRounds; round++) {
            int64_t lowest = round % 20 * 3;

            memset(&w, 0, sizeof w);
            w.fail_from = lowest;
            w.fail_every = 3;
            assert_int_equal(sg_pool_run(pool, kItems, item, &w), SG_ERR_DATA);
            snprintf(text, sizeof text, "item %d is bad", (int)lowest);
            assert_string_equal(sg_last_error(), text);
            for (int64_t i = 0; i <= lowest; i++) assert_int_equal(w.done[i], 1);
        }
        memset(&w, 0, sizeof w); /* a failure does not stick */
        assert_int_equal(sg_pool_run(pool, kItems, item, &w), SG_OK);
        sg_pool_destroy(pool);
    }
}

static void stops_early(void **unused) {
    static work w;
    sg_pool *pool;

    (void)unused;
    assert_int_equal(sg_pool_create(1, NULL, &pool), SG_OK);
    w.fail_every = 5;
    w.fail_from = 1;
    assert_int_equal(sg_pool_run(pool, kItems, item, &w), SG_ERR_DATA);
    for (int64_t i = 0; i < kItems; i++) assert_int_equal(w.done[i], i <= 5);
    sg_pool_destroy(pool);
}

static atomic_int entered;
static void enter(void) { atomic_fetch_add(&entered, 1); }

static void enters_every_thread(void **unused) {
    sg_pool *pool;

    (void)unused;
    assert_int_equal(sg_pool_create(4, enter, &pool), SG_OK);
    sg_pool_destroy(pool); /* started threads have run it by then */
    assert_int_equal(atomic_load(&entered), 4);
    sg_pool_destroy(NULL);
    assert_true(sg_cpu_count() >= 1);
}

static void no_memory(void **unused) {
    long live = sg_mem_live(), n = 0;
    sg_pool *pool;
    sg_status st;

    (void)unused;
    do {
        sg_mem_fail_at(++n);
        st = sg_pool_create(3, NULL, &pool);
        sg_mem_fail_at(0);
        if (st != SG_OK) assert_int_equal(st, SG_ERR_OOM);
        if (st != SG_OK) assert_int_equal(sg_mem_live(), live);
    } while (st != SG_OK);
    assert_int_equal(n, 5); /* the pool, its threads, two starts; then it succeeds */
    sg_pool_destroy(pool);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once), cmocka_unit_test(lowest_failure),
        cmocka_unit_test(stops_early),     cmocka_unit_test(enters_every_thread),
        cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
