#define _GNU_SOURCE
#include "core/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/mem.h"

enum { kTextBytes = 1024, kPathBytes = 4096 };

struct sg_pool {
    int n_threads;
    int n_started;
    void (*enter)(void);
    pthread_t *thread; /* n_threads - 1, owned */
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    uint64_t round; /* counts sg_pool_run calls; a worker wakes when it changes */
    int running;    /* started workers still inside the round */
    bool stop;

    sg_pool_fn fn;
    void *context;
    int64_t n;
    atomic_llong next;
    sg_status status;
    int64_t failed_item;
    char text[kTextBytes];
};

typedef struct {
    sg_pool *pool;
    int worker;
} start_info;

static void record_failure(sg_pool *pool, int64_t item, sg_status st) {
    pthread_mutex_lock(&pool->lock);
    if (pool->status == SG_OK || item < pool->failed_item) {
        pool->status = st;
        pool->failed_item = item;
        snprintf(pool->text, sizeof pool->text, "%s", sg_last_error());
    }
    pthread_mutex_unlock(&pool->lock);
    atomic_store(&pool->next, pool->n);
}

static void work_through(sg_pool *pool, int worker) {
    for (;;) {
        int64_t item = atomic_fetch_add(&pool->next, 1);
        sg_status st;

        if (item >= pool->n) return;
        st = pool->fn(pool->context, item, worker);
        if (st != SG_OK) record_failure(pool, item, st);
    }
}

static void *worker_main(void *argument) {
    start_info info = *(start_info *)argument;
    sg_pool *pool = info.pool;
    uint64_t seen = 0;

    sg_free(argument);
    if (pool->enter) pool->enter();
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->stop && pool->round == seen) pthread_cond_wait(&pool->work, &pool->lock);
        if (pool->stop) break;
        seen = pool->round;
        pthread_mutex_unlock(&pool->lock);
        work_through(pool, info.worker);
        pthread_mutex_lock(&pool->lock);
        if (--pool->running == 0) pthread_cond_signal(&pool->idle);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static sg_status start_worker(sg_pool *pool, int worker) {
    start_info *info = sg_malloc(sizeof *info);
    int error;

    if (!info) return sg_fail(SG_ERR_OOM, "threads: no memory for worker %d", worker);
    info->pool = pool;
    info->worker = worker;
    error = pthread_create(&pool->thread[worker - 1], NULL, worker_main, info);
    if (error) {
        sg_free(info);
        return sg_fail(SG_ERR_UNAVAILABLE, "threads: cannot start worker %d: %s", worker,
                       strerror(error));
    }
    pool->n_started++;
    return SG_OK;
}

sg_status sg_pool_create(int n_threads, void (*enter)(void), sg_pool **out) {
    sg_pool *pool = sg_calloc(1, sizeof *pool);
    sg_status st = SG_OK;

    if (!pool) return sg_fail(SG_ERR_OOM, "threads: no memory for a pool");
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, NULL);
    pool->n_threads = n_threads;
    pool->enter = enter;
    pool->thread = sg_calloc((size_t)n_threads, sizeof *pool->thread);
    if (!pool->thread) st = sg_fail(SG_ERR_OOM, "threads: no memory for %d threads", n_threads);
    for (int w = 1; w < n_threads && st == SG_OK; w++) st = start_worker(pool, w);
    if (st != SG_OK) {
        sg_pool_destroy(pool);
        return st;
    }
    if (enter) enter();
    *out = pool;
    return SG_OK;
}

void sg_pool_destroy(sg_pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->n_started; i++) pthread_join(pool->thread[i], NULL);
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    sg_free(pool->thread);
    sg_free(pool);
}

int sg_pool_threads(const sg_pool *pool) { return pool->n_threads; }

static void wake(sg_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->running = pool->n_started;
    pool->round++;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

static void wait_for_idle(sg_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    while (pool->running > 0) pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

/* One item is not worth waking anyone. */
sg_status sg_pool_run(sg_pool *pool, int64_t n, sg_pool_fn fn, void *context) {
    pool->fn = fn;
    pool->context = context;
    pool->n = n;
    pool->status = SG_OK;
    atomic_store(&pool->next, 0);

    if (n > 1) wake(pool);
    work_through(pool, 0);
    if (n > 1) wait_for_idle(pool);
    return pool->status == SG_OK ? SG_OK : sg_fail(pool->status, "%s", pool->text);
}

/* --- processors ------------------------------------------------------------------------------- */

/* How many of the two numbers the file has. */
static int numbers_in(const char *folder, const char *file, long *first, long *second) {
    char path[kPathBytes + 32];
    FILE *f;
    int n;

    snprintf(path, sizeof path, "%s/%s", folder, file);
    f = fopen(path, "re");
    n = f ? fscanf(f, "%ld %ld", first, second) : 0;
    if (f) fclose(f);
    return n;
}

/* Of one group, 0: none. Version 2 says "max 100000" or "150000 100000" (quota and period,
 * microseconds), version 1 the same in two files, with -1 for none. */
static int quota_of(const char *folder) {
    long quota = 0, period = 0, none;

    if (numbers_in(folder, "cpu.max", &quota, &period) < 2 &&
        (numbers_in(folder, "cpu.cfs_quota_us", &quota, &none) < 1 ||
         numbers_in(folder, "cpu.cfs_period_us", &period, &none) < 1))
        return 0;
    return quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

/* The least of a group and of those that it is in, up to where `folder` has `root` bytes. In a
 * container the path may be the host's, and the group's files lie at the root. */
static int quota_up_to(char *folder, size_t root) {
    int least = 0;

    for (;;) {
        int quota = quota_of(folder);
        char *slash = strrchr(folder + root, '/');

        if (quota > 0 && (least == 0 || quota < least)) least = quota;
        if (!slash) return least;
        *slash = '\0';
    }
}

static bool names_cpu(const char *controllers) {
    while (strncmp(controllers, "cpu", 3) != 0 || (controllers[3] && controllers[3] != ',')) {
        controllers = strchr(controllers, ',');
        if (!controllers++) return false;
    }
    return true;
}

/* Lines are ID:CONTROLLERS:PATH; version 2 has no controllers. */
int sg_cpu_quota(const char *list, const char *root) {
    char line[kPathBytes], folder[kPathBytes];
    FILE *f = fopen(list, "re");
    int least = 0;

    while (f && fgets(line, sizeof line, f)) {
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(++controllers, ':') : NULL;
        size_t length;
        int quota;

        if (!path) continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        if (*controllers && !names_cpu(controllers)) continue;
        length = strlen(root) + (*controllers ? strlen("/cpu") : 0);
        if (snprintf(folder, sizeof folder, "%s%s%s", root, *controllers ? "/cpu" : "", path) >=
            kPathBytes)
            continue;
        quota = quota_up_to(folder, length);
        if (quota > 0 && (least == 0 || quota < least)) least = quota;
    }
    if (f) fclose(f);
    return least;
}

int sg_cpu_count(void) {
    int n, limit = sg_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup");
    cpu_set_t set;

    /* the set is too small for a machine of over 1024 processors */
    n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                    : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (limit > 0 && limit < n) n = limit;
    return n > 0 ? n : 1;
}

double sg_now(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
