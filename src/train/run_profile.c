/* Where the time of a run's steps goes (`train --profile`): whole steps as a run takes them, and
 * each node of a shard's program. */
#include <string.h>

#include "core/mem.h"
#include "cpu/peak.h"
#include "report/profile.h"
#include "train/run_inside.h"

/* kRecorded: a device replays from the third step of a shape on */
enum { kRecorded = 3, kMostShapes = 64, kShapeSteps = 16, kTries = 10, kNameBytes = 256 };

typedef struct {
    const sg_config *config;
    sg_task *task;
    sg_trainer *trainer;
    int shape; /* of the batches that count */
    sg_profile profile;
    double *seconds; /* (steps of the program) a thread; owned */
    sg_step_times times;
} profiling;

/* One step; *seconds: in all, waiting for data included, *waited: only that. */
static sg_status take_step(profiling *p, double lr, int *shape, double *seconds, double *waited) {
    double start = sg_now(), before = p->task->wait_seconds(p->task);
    const void *inputs[SG_MAX_INPUTS] = {NULL};
    sg_step_report report;

    SG_TRY(p->task->next(p->task, inputs, shape));
    SG_TRY(sg_trainer_step(p->trainer, *shape, inputs, lr, &report));
    *seconds = sg_now() - start;
    *waited = p->task->wait_seconds(p->task) - before;
    return SG_OK;
}

/* The shape that most batches have. The steps that show it also warm caches up, on a device until
 * steps are replayed. */
static sg_status find_shape(profiling *p) {
    int count[kMostShapes] = {0}, steps = p->task->n_shapes > 1 ? kShapeSteps : 1;

    for (int i = 0; i < steps || (p->profile.on_device && count[p->shape] < kRecorded); i++) {
        double whole, waited;
        int shape;

        SG_TRY(take_step(p, p->config->train.lr, &shape, &whole, &waited));
        if (shape < kMostShapes && ++count[shape] > count[p->shape]) p->shape = shape;
    }
    return SG_OK;
}

/* Steps whose batch has another shape are not counted. */
static sg_status time_steps(profiling *p, int64_t steps) {
    for (int64_t i = 0; i < kTries * steps && p->profile.steps < steps; i++) {
        double whole, waited;
        int shape;

        SG_TRY(take_step(p, p->config->train.lr, &shape, &whole, &waited));
        if (shape != p->shape) continue;
        p->profile.steps++;
        p->profile.whole += whole;
        p->profile.wait += waited;
    }
    if (p->profile.steps > 0) return SG_OK;
    return sg_fail(SG_ERR_ARG, "profile: of %lld steps none had a batch of the usual shape",
                   (long long)(kTries * steps));
}

/* On a device: each node of one step of that shape by itself, ten times over, which leaves nonsense
 * behind. */
static sg_status time_nodes(profiling *p) {
    double whole, waited;
    int shape = -1;

    sg_trainer_profile(p->trainer, p->shape, p->seconds, &p->times);
    for (int i = 0; i < kMostShapes && shape != p->shape; i++) {
        sg_status st = take_step(p, 0.0, &shape, &whole, &waited);

        if (st != SG_OK && !(st == SG_ERR_DIVERGED && shape == p->shape)) return st;
    }
    if (shape == p->shape) return SG_OK;
    return sg_fail(SG_ERR_ARG, "profile: no batch in %d had the usual shape", kMostShapes);
}

static sg_status measure(profiling *p, int64_t steps) {
    bool on_device = p->profile.on_device;
    int n;

    if (!on_device) SG_TRY(sg_cpu_measure_peak(&p->profile.peak));
    SG_TRY(find_shape(p));
    p->profile.program = sg_trainer_program(p->trainer, p->shape);
    n = sg_program_steps(p->profile.program);
    p->seconds = sg_calloc((size_t)n * (size_t)p->profile.threads, sizeof *p->seconds);
    if (!p->seconds) return sg_fail(SG_ERR_OOM, "profile: no memory");
    if (!on_device) sg_trainer_profile(p->trainer, p->shape, p->seconds, &p->times);
    SG_TRY(time_steps(p, steps));
    if (on_device) SG_TRY(time_nodes(p));
    for (int i = 0; i < n; i++)
        for (int t = 1; t < p->profile.threads; t++) p->seconds[i] += p->seconds[t * n + i];
    return SG_OK;
}

static sg_status describe(profiling *p, const char *device, char **text) {
    sg_profile *profile = &p->profile;
    char *table;

    profile->seconds = p->seconds;
    profile->runs = profile->shards * (profile->on_device ? 1 : profile->steps);
    profile->prologue = p->times.prologue;
    profile->parallel = p->times.shards;
    profile->tree = p->times.tree;
    profile->update = p->times.update;
    SG_TRY(sg_profile_table(profile, &table));
    *text = sg_str_printf("%s: one shard of %lld %s, of %lld; mean of %lld steps\n%s", device,
                          (long long)(p->config->train.batch / profile->shards), p->task->noun,
                          (long long)profile->shards, (long long)profile->steps, table);
    sg_free(table);
    return *text ? SG_OK : sg_fail(SG_ERR_OOM, "profile: no memory for its table");
}

sg_status sg_run_profile(const sg_config *config, int64_t steps, char **text) {
    profiling p = {.config = config, .profile = {.shards = config->train.shards}};
    sg_compute here = {0};
    char device[kNameBytes];
    sg_status st = sg_task_create(config, &p.task);

    if (st == SG_OK) st = sg_run_choose_device(config, NULL, &here);
    if (st == SG_OK) p.task->device = sg_compute_backend(&here)->device;
    if (st == SG_OK) st = sg_run_prepare_task(p.task, config, NULL);
    if (st == SG_OK) st = p.task->start(p.task, 0, NULL);
    if (st == SG_OK) st = sg_run_make_trainer(config, p.task, &here, false, &p.trainer);
    if (st == SG_OK) {
        p.profile.on_device = p.task->device != NULL;
        p.profile.threads = sg_trainer_threads(p.trainer);
        st = measure(&p, steps);
    }
    sg_compute_name(&here, device, sizeof device);
    if (st == SG_OK) st = describe(&p, device, text);
    sg_free(p.seconds);
    sg_trainer_destroy(p.trainer);
    sg_task_destroy(p.task);
    sg_compute_close(&here);
    return st;
}
