/* The pool: every item once, workers apart, the lowest failure, no matter how many threads. */
#define _GNU_SOURCE /* mkdtemp */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
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

/* Writes `text` to `file` in the folder of cgroups, making folders on the way. */
static void put(const char *root, const char *file, const char *text) {
    char *path = sg_str_printf("%s/%s", root, file), *slash = strrchr(path, '/');

    *slash = '\0';
    assert_int_equal(sg_make_dirs(path), SG_OK);
    *slash = '/';
    assert_int_equal(sg_file_write(path, text, strlen(text)), SG_OK);
    sg_free(path);
}

static void quotas(void **unused) {
    static const struct {
        const char *list;
        int quota;
    } cases[] = {
        {"0::/\n", 0},                       /* no limit anywhere */
        {"0::/a\n", 2},                      /* 1.5, rounded up */
        {"0::/a/b\n", 2},                    /* of the group around it */
        {"0::/a/c\n", 1},                    /* of its own, which is less */
        {"0::/gone/from/here\n", 0},         /* as in a container */
        {"3:cpuset:/a\n1:cpuacct:/v1\n", 0}, /* not of processors' time */
        {"2:cpuacct,cpu:/v1\n0::/\n", 4},
        {"4:cpu:/docker/1234\n", 8}, /* the host's path: its files lie at the root */
        {"4:cpu:/none\n", 8},
        {"4:cpu:/v1\n0::/a\n", 2},
        {"no line of this kind\n", 0},
        {"", 0},
    };
    char root[] = "/tmp/sg-quota-XXXXXX", *list, *command;

    (void)unused;
    assert_non_null(mkdtemp(root));
    list = sg_str_printf("%s/list", root);
    command = sg_str_printf("rm -r %s", root);
    put(root, "a/cpu.max", "150000 100000\n");
    put(root, "a/b/cpu.max", "max 100000\n");
    put(root, "a/c/cpu.max", "50000 100000\n");
    put(root, "cpu/cpu.cfs_quota_us", "800000\n");
    put(root, "cpu/cpu.cfs_period_us", "100000\n");
    put(root, "cpu/v1/cpu.cfs_quota_us", "400000\n");
    put(root, "cpu/v1/cpu.cfs_period_us", "100000\n");
    put(root, "cpu/none/cpu.cfs_quota_us", "-1\n");
    put(root, "cpu/none/cpu.cfs_period_us", "100000\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(root, "list", cases[i].list);
        if (sg_cpu_quota(list, root) != cases[i].quota)
            fail_msg("%s: %d, not %d", cases[i].list, sg_cpu_quota(list, root), cases[i].quota);
    }
    assert_int_equal(sg_cpu_quota("/nonexistent", root), 0);
    assert_int_equal(system(command), 0);
    sg_free(command);
    sg_free(list);
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
        cmocka_unit_test(quotas),          cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
