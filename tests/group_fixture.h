/* For tests of groups: workers without a model, so that many can come and go in little time. Each
 * step adds what shards give and changes a state by it. Included once by a test program. */
#ifndef SG_TESTS_GROUP_FIXTURE_H
#define SG_TESTS_GROUP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/philox.h"
#include "core/threads.h"
#include "dist/group.h"

enum { kShards = 8, kFloats = 20000, kSteps = 300, kWorkers = 5, kMost = 8, kBytes = 4096 };

static char folder[256], url[300];
static double patience; /* of those who are opened from now on; 0: as it comes */
static bool hurries;    /* who is told to leave gives up what is exchanged */

static inline void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/spotgrad-group-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(url, sizeof url, "file://%s", folder);
}

static inline void remove_folder(void) {
    char command[400];

    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

/* --- a run without a model -------------------------------------------------------------------- */

typedef struct {
    int64_t step;
    float x[kFloats];
} model;

static inline float part_of(int64_t step, int shard, int64_t i) {
    uint64_t bits = sg_key_mix((uint64_t)step * 64u + (uint64_t)shard, (uint64_t)i);

    return (float)((double)(bits >> 40) * 0x1p-24 - 0.5);
}

static inline void apply(model *m, const float *sum) {
    for (int i = 0; i < kFloats; i++) m->x[i] = 0.75f * m->x[i] + sum[i];
    m->step++;
}

static inline void fill_shards(float *const slot[], sg_shards own, int64_t step) {
    for (int s = own.first; s < own.first + own.count; s++)
        for (int i = 0; i < kFloats; i++) slot[s][i] = part_of(step, s, i);
    sg_tree_add(kShards, own, slot, 0, kFloats);
}

static inline uint64_t digest(const model *m) {
    uint64_t h = (uint64_t)m->step;

    for (int i = 0; i < kFloats; i++) {
        uint32_t bits;

        memcpy(&bits, &m->x[i], sizeof bits);
        h = sg_key_mix(h, bits);
    }
    return h;
}

static inline float **make_slots(void) {
    float **slot = sg_calloc(kShards, sizeof *slot);

    for (int s = 0; s < kShards; s++) slot[s] = sg_calloc(kFloats, sizeof(float));
    return slot;
}

static inline void free_slots(float **slot) {
    for (int s = 0; s < kShards; s++) sg_free(slot[s]);
    sg_free(slot);
}

static inline uint64_t alone(int64_t steps) {
    model *m = sg_calloc(1, sizeof *m);
    float **slot = make_slots();
    uint64_t h;

    while (m->step < steps) {
        fill_shards(slot, (sg_shards){0, kShards}, m->step);
        apply(m, slot[0]);
    }
    h = digest(m);
    free_slots(slot);
    sg_free(m);
    return h;
}

/* --- a worker --------------------------------------------------------------------------------- */

static volatile sig_atomic_t asked_to_leave;

static inline void on_term(int number) {
    (void)number;
    asked_to_leave = 1;
}

static inline bool stop(void *context) {
    (void)context;
    return asked_to_leave != 0;
}

static inline bool give_up(void *context) { return hurries && stop(context); }

static inline sg_status agree(void *context, const char *about) {
    return strcmp(about, context ? (const char *)context : "a test") == 0
               ? SG_OK
               : sg_fail(SG_ERR_CONFIG, "the others are about %s", about);
}

typedef struct {
    sg_group *group;
    model *model;
    char run[SG_GROUP_RUN_BYTES];
    float **slot;
    bool torn;
    int64_t steps;
    useconds_t pause; /* of a step */
} worker;

static inline sg_status catch_up(worker *w) {
    const char *run = sg_group_run(w->group);

    if (sg_group_is_foreign(w->group, sg_group_rank(w->group)))
        return sg_fail(SG_ERR_DATA, "the others train run %s, not %s", run, w->run);
    snprintf(w->run, sizeof w->run, "%s", run);
    if (sg_group_standing(w->group, sg_group_ahead(w->group))->step < 0)
        return sg_fail(SG_ERR_DATA, "nobody has the state");
    w->torn = sg_group_is_behind(w->group, sg_group_rank(w->group));
    SG_TRY(sg_group_copy(w->group, w->model, sizeof *w->model));
    w->torn = false;
    return SG_OK;
}

static inline sg_status form(worker *w, char **done) {
    for (;;) {
        sg_standing mine = {.step = w->torn ? -1 : w->model->step,
                            .loaded = !w->torn && w->model->step > 0};
        sg_status st;

        memcpy(mine.run_id, w->run, sizeof w->run);
        SG_TRY(sg_group_form(w->group, &mine, done));
        if (*done) return SG_OK;
        st = catch_up(w);
        if (st == SG_OK || !sg_group_failed(w->group)) return st;
    }
}

static inline sg_status step(worker *w) {
    sg_shards own = sg_tree_share(kShards, sg_group_size(w->group), sg_group_rank(w->group));

    fill_shards(w->slot, own, w->model->step);
    usleep(w->pause);
    SG_TRY(sg_group_reduce(w->group, w->slot, &(sg_bucket){kFloats / 2, kFloats, false, NULL, 0}));
    SG_TRY(sg_group_reduce(w->group, w->slot, &(sg_bucket){0, kFloats / 2, true, NULL, 0}));
    apply(w->model, w->slot[0]);
    return SG_OK;
}

static inline sg_status finish(worker *w) {
    char text[64];

    snprintf(text, sizeof text, "%016llx", (unsigned long long)digest(w->model));
    return sg_group_finish(w->group, text);
}

/* The group is to be formed anew, and `st` is no other failure. */
static inline bool broke(const worker *w, sg_status st) {
    if (st == SG_OK) return sg_group_changing(w->group) || sg_group_broken(w->group);
    return st == SG_ERR_UNAVAILABLE && sg_group_failed(w->group);
}

static inline bool leaves(const worker *w) {
    return sg_group_size(w->group) == 1 ? stop(NULL) : sg_group_leaving(w->group);
}

/* What is said at the end, into `text`. */
static inline sg_status train(worker *w, char *text, size_t size) {
    char *done = NULL;
    sg_status st = form(w, &done);

    while (st == SG_OK && !done) {
        if (w->model->step == w->steps) {
            st = finish(w);
            snprintf(text, size, "%016llx", (unsigned long long)digest(w->model));
            if (st == SG_OK) return SG_OK;
        } else {
            st = step(w);
        }
        if (st == SG_OK && leaves(w)) return sg_fail(SG_ERR_INTERRUPTED, "left");
        if (broke(w, st)) st = form(w, &done);
    }
    if (done) snprintf(text, size, "%s", done);
    sg_free(done);
    return st;
}

/* gpus: options that have those of a GPU; NULL: it has none. */
static inline sg_status open_worker(worker *w, int64_t steps, int min, int max, const char *about,
                                    const sg_group_options *gpus) {
    sg_group_options o = {.store = url,
                          .interface = "127.0.0.1",
                          .about = about,
                          .run = w->run,
                          .patience = patience,
                          .check = agree,
                          .stop = stop,
                          .give_up = give_up,
                          .context = (void *)(uintptr_t)about,
                          .shards = kShards,
                          .min_workers = min,
                          .max_workers = max,
                          .wait = 20.0};

    if (gpus) {
        o.on_gpu = gpus->on_gpu;
        o.gpu = gpus->gpu;
        o.adder = gpus->adder;
        o.nccl = gpus->nccl;
    }
    memset(w, 0, sizeof *w);
    SG_TRY(sg_member_id_draw(w->run));
    w->model = sg_calloc(1, sizeof *w->model);
    w->slot = make_slots();
    w->steps = steps;
    w->pause = 2000;
    return sg_group_create(&o, &w->group);
}

static inline void close_worker(worker *w) {
    sg_group_destroy(w->group);
    free_slots(w->slot);
    sg_free(w->model);
}

#endif
