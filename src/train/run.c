#define _GNU_SOURCE
#include "train/run.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "checkpoint/folder.h"
#include "checkpoint/mend.h"
#include "checkpoint/model_file.h"
#include "checkpoint/state_hash.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "cpu/cpu.h"
#include "nn/schedule.h"
#include "spot/notice.h"
#include "spotgrad.h"
#include "train/compute.h"
#include "train/history.h"
#include "train/resume.h"
#include "train/run_inside.h"
#include "train/run_plots.h"
#include "train/saver.h"

enum { kRunIdBytes = 17, kErrorBytes = 1024, kLossPoints = 400 };

/* A step that is not done so long after a wish to stop is given up. */
static const double kPatience = 0.4;

typedef struct {
    const sg_config *config;
    const sg_run_observer *observer;
    sg_task *task;
    sg_compute compute;
    sg_trainer *trainer;
    sg_state *state; /* the trainer's */
    sg_schedule schedule;
    int64_t total_steps; /* of the schedule's horizon */
    sg_history history;
    char run_id[kRunIdBytes];
    char *metrics, *plots, *config_text; /* paths; owned */
    bool metrics_written;                /* metrics.jsonl has the newest line too */
    sg_resume before;                    /* where it goes on from */
    bool again;                          /* that proved damaged: begin again */
    sg_store *store;                     /* until the saver takes it over; NULL: there is none */
    sg_saver *saver;
    _Atomic double asked; /* clock of the first sight of a wish to stop; 0 */
    sg_notices *notices;
    int lock;
    int64_t first_step;
    bool snapshot;       /* of the step that is settled next */
    int64_t point_every; /* steps from one point of the loss's curve to the next */
    sg_run_step at;
} run;

/* --- the folder ------------------------------------------------------------------------------- */

static sg_status take_lock(run *r) {
    char *path = sg_path_join(r->config->run.dir, "lock");
    sg_status st = SG_OK;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory", r->config->run.dir);
    r->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (r->lock < 0)
        st = sg_fail(SG_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    else if (flock(r->lock, LOCK_EX | LOCK_NB) != 0)
        st = sg_fail(SG_ERR_UNAVAILABLE,
                     "%s: another process trains in this folder; choose another run.dir",
                     r->config->run.dir);
    sg_free(path);
    return st;
}

static sg_status open_folder(run *r) {
    const char *dir = r->config->run.dir;

    SG_TRY(sg_make_dirs(dir));
    SG_TRY(take_lock(r));
    sg_checkpoints_sweep(dir);
    r->metrics = sg_path_join(dir, "metrics.jsonl");
    r->plots = sg_path_join(dir, "plots");
    if (!r->metrics || !r->plots) return sg_fail(SG_ERR_OOM, "%s: no memory", dir);
    return sg_config_write(r->config, &r->config_text);
}

static sg_status write_config(const run *r) {
    char *path = sg_path_join(r->config->run.dir, "config.ini");
    sg_status st;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory", r->config->run.dir);
    st = sg_file_write(path, r->config_text, strlen(r->config_text));
    sg_free(path);
    return st;
}

/* A new name for a run that starts; one that goes on takes its own from the file. */
static sg_status name_run(run *r) {
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return sg_fail(SG_ERR_UNAVAILABLE, "no random numbers for a run id: %s", strerror(errno));
    snprintf(r->run_id, sizeof r->run_id, "%016llx", (unsigned long long)number);
    return SG_OK;
}

/* Of the whole schedule. */
static int64_t steps_of(const sg_config *c, int64_t n_train) {
    return (c->train.epochs * n_train + c->train.batch - 1) / c->train.batch;
}

/* Complete epochs when `samples` have been consumed. */
static int64_t epochs_at(const run *r, int64_t samples) { return samples / r->task->n_train; }

/* --- going on --------------------------------------------------------------------------------- */

/* Before the trainer: what the run in the folder, or in the store, says of itself. */
static sg_status look_back(run *r, bool fresh) {
    SG_TRY(sg_store_open(r->config->checkpoint.store, &r->store));
    if (fresh) return name_run(r);
    SG_TRY(sg_resume_find(r->config, r->store, &r->before));
    if (!r->before.path) return name_run(r);
    SG_TRY(sg_resume_check(&r->before, r->config, r->task->fingerprint));
    snprintf(r->run_id, sizeof r->run_id, "%s", r->before.file.run_id);
    return sg_history_set(&r->history, r->before.file.history);
}

/* What was learned of the data before: the checkpoint's, or that of the model to start from. */
sg_status sg_run_prepare_task(sg_task *task, const sg_config *c, const sg_resume *before) {
    sg_model_file init = {0};
    const char *path;
    sg_status st;

    if (!task->prepare) return SG_OK;
    if (before) return task->prepare(task, before->path, before->file.tokenizer);
    path = c->model.init;
    if (!path[0]) return task->prepare(task, NULL, NULL);
    SG_TRY(sg_model_file_read(path, &init));
    st = task->prepare(task, path, init.tokenizer[0] ? init.tokenizer : NULL);
    sg_model_file_clear(&init);
    return st;
}

/* Start from the averaged weights of another run: those of its tensors that fit by name and shape.
 */
static sg_status start_from_file(run *r, const char *path) {
    int fitting;

    SG_TRY(sg_model_file_load_fitting(path, r->state, &fitting));
    sg_log(SG_LOG_INFO, "model.init: took %d of %d tensors from %s", fitting,
           r->state->table->n_entries, path);
    return SG_OK;
}

static sg_status begin_state(run *r) {
    char here[SG_PLUGIN_CLASS_BYTES];

    sg_compute_class(&r->compute, here, sizeof here);
    if (r->before.path) return sg_resume_load(&r->before, r->config, here, r->state, &r->again);
    if (r->config->model.init[0]) return start_from_file(r, r->config->model.init);
    return SG_OK;
}

/* Of best.h5; -1: none. */
static int64_t best_step(const run *r) {
    return r->history.n_top > 0 ? r->history.top_step[0] : -1;
}

static sg_status start_saver(run *r, bool fresh) {
    sg_saver_options options = {.config = r->config,
                                .config_text = r->config_text,
                                .run_id = r->run_id,
                                .task = r->task,
                                .compute = &r->compute,
                                .state = r->state,
                                .trainer = r->trainer,
                                .history = &r->history,
                                .notices = r->notices,
                                .store = r->store,
                                .resumed_from = r->before.path,
                                .fresh = fresh};

    r->store = NULL;
    return sg_saver_create(&options, &r->saver);
}

/* --- evaluation ------------------------------------------------------------------------------- */

/* Once `step` steps have been made, of so many samples. */
static bool finished_at(const run *r, int64_t step, int64_t samples) {
    const sg_config *c = r->config;

    if (samples >= c->train.epochs * r->task->n_train) return true;
    if (c->train.steps > 0 && step >= c->train.steps) return true;
    return c->train.patience > 0 && sg_history_since_best(&r->history) >= c->train.patience;
}

static bool finished(const run *r) { return finished_at(r, r->state->step, r->state->samples); }

/* At the first step past the border of an epoch, and at the end. */
static bool evaluation_due_at(const run *r, int64_t samples) {
    int64_t now = epochs_at(r, samples), before = epochs_at(r, samples - r->config->train.batch);

    if (samples == 0 || now == before) return false;
    if (now >= r->config->train.epochs) return true;
    return now / r->config->train.eval_every > before / r->config->train.eval_every;
}

static bool evaluation_due(const run *r) { return evaluation_due_at(r, r->state->samples); }

/* The learning rate of the last step. */
static double last_lr(const run *r) { return sg_schedule_lr(&r->schedule, r->state->step - 1); }

static sg_status write_metrics(const run *r) {
    const char *text = r->history.text ? r->history.text : "";

    return sg_file_write(r->metrics, text, r->history.text_size);
}

static sg_status record(run *r, const sg_evaluation *evaluation) {
    SG_TRY(sg_history_add_evaluation(&r->history, r->state->table, r->state->step,
                                     epochs_at(r, r->state->samples), last_lr(r), evaluation->score,
                                     evaluation->json));
    /* the checkpoint has the history too; the next evaluation or the end writes all of it again */
    r->metrics_written = write_metrics(r) == SG_OK;
    if (!r->metrics_written) sg_log(SG_LOG_WARN, "%s; training goes on", sg_last_error());
    return SG_OK;
}

/* Pictures are a service: without them the run goes on. Those of an evaluation are drawn before the
 * state that knows it is saved, so that a run killed on the way draws them when it comes back. */
static void draw_plots(const run *r, bool best) {
    sg_status st;

    if (!r->config->run.plots) return;
    st = sg_make_dirs(r->plots);
    if (st == SG_OK) st = sg_run_plots(&r->history, r->state->table, r->plots);
    if (st == SG_OK && best && r->task->report) st = r->task->report(r->task, r->plots);
    if (st != SG_OK) sg_log(SG_LOG_WARN, "%s; run.plots=false does without plots", sg_last_error());
}

static bool asked_to_stop(void *context) {
    const run *r = context;

    return sg_notices_state(r->notices) == SG_NOTICE_INTERRUPT ||
           (r->observer->stop && r->observer->stop(r->observer->context));
}

static sg_status evaluate(run *r) {
    const sg_run_observer *o = r->observer;
    sg_evaluation evaluation;
    sg_status st;
    bool best;

    sg_log(SG_LOG_DEBUG, "evaluating after step %lld", (long long)r->state->step);
    SG_TRY(r->task->evaluate(r->task, r->trainer, NULL, asked_to_stop, r, &evaluation));
    st = record(r, &evaluation);
    best = st == SG_OK && sg_history_since_best(&r->history) == 0;
    if (st == SG_OK) draw_plots(r, best);
    if (st == SG_OK) st = sg_saver_evaluated(r->saver, best, &best);
    if (st == SG_OK && o->evaluated) o->evaluated(o->context, &r->at, &evaluation, best);
    sg_evaluation_clear(&evaluation);
    return st;
}

/* --- the loop --------------------------------------------------------------------------------- */

static void fill_at(run *r) {
    r->at.step = r->state->step;
    r->at.total_steps = r->total_steps;
    r->at.epoch = epochs_at(r, r->state->samples);
    r->at.epochs = r->config->train.epochs;
    r->at.samples = (r->state->step - r->first_step) * r->config->train.batch;
    r->at.wait_seconds = r->task->wait_seconds(r->task);
}

static bool in_a_hurry(const run *r) {
    return r->observer->hurry && r->observer->hurry(r->observer->context);
}

/* Whether a step may be launched behind those under way. Not where what they lead to is wanted
 * first: for an evaluation, at the end, to be durable. */
static bool may_launch(const run *r) {
    int under_way = sg_trainer_under_way(r->trainer);
    int64_t step = r->state->step + under_way;
    int64_t samples = r->state->samples + under_way * r->config->train.batch;

    if (under_way == 0) return true;
    if (under_way == sg_trainer_ahead(r->trainer) || r->config->checkpoint.sync) return false;
    return !finished_at(r, step, samples) && !evaluation_due_at(r, samples);
}

static sg_status launch(run *r) {
    int64_t step = r->state->step + sg_trainer_under_way(r->trainer);
    const void *inputs[SG_MAX_INPUTS] = {NULL};
    int shape;

    SG_TRY(r->task->next(r->task, inputs, &shape));
    if (step > r->state->step && sg_saver_due(r->saver, step, in_a_hurry(r))) {
        SG_TRY(sg_trainer_snapshot(r->trainer));
        r->snapshot = true;
    }
    return sg_trainer_launch(r->trainer, shape, inputs, sg_schedule_lr(&r->schedule, step));
}

/* What is told of a step and kept of it, when it is done. */
static sg_status settle(run *r) {
    const sg_run_observer *o = r->observer;
    bool save;

    SG_TRY(sg_trainer_settle(r->trainer, &r->at.report));
    r->at.lr = last_lr(r);
    sg_history_step(&r->history, r->at.report.sum);
    if (r->state->step % r->point_every == 0)
        SG_TRY(sg_history_add_point(&r->history, r->state->table, r->state->step, r->at.lr));
    fill_at(r);
    if (o->stepped) o->stepped(o->context, &r->at);
    save = r->snapshot || (sg_trainer_under_way(r->trainer) == 0 &&
                           sg_saver_due(r->saver, r->state->step, in_a_hurry(r)));
    r->snapshot = false;
    if (save) SG_TRY(sg_saver_save(r->saver));
    sg_log(SG_LOG_DEBUG, "step %lld: loss %.6g, lr %.3g", (long long)r->state->step,
           (double)r->at.report.sum[SG_SUM_LOSS], r->at.lr);
    return SG_OK;
}

/* On a device the next step is launched before one is settled. */
static sg_status step(run *r) {
    while (may_launch(r) && !asked_to_stop(r)) SG_TRY(launch(r));
    return sg_trainer_under_way(r->trainer) > 0 ? settle(r) : SG_OK;
}

/* Steps that are under way when the run is to end. */
static sg_status settle_all(run *r) {
    while (sg_trainer_under_way(r->trainer) > 0) SG_TRY(settle(r));
    return SG_OK;
}

/* In any thread, between the nodes of a step. */
static bool must_give_up(void *context) {
    run *r = context;
    double none = 0.0, now;

    if (!asked_to_stop(r)) return false;
    now = sg_now();
    atomic_compare_exchange_strong(&r->asked, &none, now);
    return now - atomic_load(&r->asked) > kPatience;
}

/* A picture that turned bad must not cost what was computed before it: the last finished step is
 * saved, if it can be written, and the failure stays what it was. Of a device that is lost there is
 * only what was saved before. */
static sg_status save_and_fail(run *r, sg_status st) {
    char text[kErrorBytes];
    int64_t saved = -1;

    snprintf(text, sizeof text, "%s", sg_last_error());
    if (r->compute.plugin && (st == SG_ERR_UNAVAILABLE || st == SG_ERR_CUDA))
        saved = sg_saver_abandon(r->saver);
    else if (settle_all(r) == SG_OK && sg_saver_finish(r->saver, true) == SG_OK)
        saved = r->state->step;
    if (saved >= 0) sg_log(SG_LOG_INFO, "saved step %lld before the end", (long long)saved);
    return sg_fail(st, "%s", text);
}

static sg_status finish(run *r) {
    SG_TRY(sg_saver_finish(r->saver, false));
    if (!r->metrics_written) SG_TRY(write_metrics(r));
    if (sg_history_last_step(&r->history) != r->state->step) draw_plots(r, false);
    return SG_OK;
}

/* Nothing is under way at an evaluation, or at the end. */
static sg_status loop(run *r) {
    for (;;) {
        bool idle = sg_trainer_under_way(r->trainer) == 0;
        sg_status st = SG_OK;

        if (idle && evaluation_due(r) && sg_history_last_step(&r->history) != r->state->step)
            st = evaluate(r);
        if (st == SG_OK && idle && finished(r)) return finish(r);
        if (st == SG_OK && !asked_to_stop(r)) st = step(r);
        if (st == SG_OK && !asked_to_stop(r)) continue;
        if (st == SG_OK || st == SG_ERR_INTERRUPTED) {
            sg_status settled = settle_all(r);

            if (settled != SG_OK) st = settled;
        }
        if (st != SG_OK && st != SG_ERR_INTERRUPTED) return save_and_fail(r, st);
        SG_TRY(sg_saver_finish(r->saver, true));
        return sg_fail(SG_ERR_INTERRUPTED, "interrupted after step %lld",
                       (long long)r->state->step);
    }
}

/* --- start and end ---------------------------------------------------------------------------- */

static sg_schedule make_schedule(const sg_config *c, int64_t n_train, int64_t total_steps) {
    sg_schedule s = {SG_SCHEDULE_CONSTANT, c->train.lr, c->train.lr_final, 0, (double)total_steps};

    if (sg_choice_is(c->train.schedule, "cosine")) s.kind = SG_SCHEDULE_COSINE;
    if (sg_choice_is(c->train.schedule, "step")) s.kind = SG_SCHEDULE_STEP;
    s.warmup_steps = floor(c->train.warmup * (double)n_train / (double)c->train.batch);
    return s;
}

sg_status sg_run_choose_device(const sg_config *c, const sg_model_file *before, sg_compute *out) {
    const sg_compute_options o = {.device = c->run.device,
                                  .precision = c->train.precision,
                                  .began = before ? before->numeric_class : NULL,
                                  .plans = before ? before->plans : NULL,
                                  .timed = c->run.tune};

    return sg_compute_open(&o, out);
}

sg_status sg_run_make_trainer(const sg_config *c, sg_task *task, const sg_compute *compute,
                              bool loaded, sg_trainer **out) {
    sg_trainer_options o = sg_trainer_defaults();

    o.backend = sg_compute_backend(compute);
    o.blank = loaded;
    o.build = task->build;
    o.context = task->build_context;
    o.shapes = task->shapes;
    o.n_shapes = task->n_shapes;
    if (task->device) o.fill = task->fill;
    o.fill_context = task;
    o.batch = c->train.batch;
    o.shards = (int)c->train.shards;
    o.threads = (int)c->train.threads;
    o.seed = (uint64_t)c->run.seed;
    if (sg_choice_is(c->train.optimizer, "adamw")) o.optimizer.kind = SG_OPTIMIZER_ADAMW;
    o.optimizer.momentum = c->train.momentum;
    o.optimizer.beta2 = c->train.beta2;
    o.optimizer.weight_decay = c->train.weight_decay;
    o.optimizer.clip_norm = c->train.clip_norm;
    o.optimizer.ema = c->train.ema;
    o.optimizer.rows = sg_choice_is(c->train.rows, "sgd")           ? SG_ROWS_SGD
                       : sg_choice_is(c->train.rows, "adagrad_row") ? SG_ROWS_ADAGRAD_ROW
                                                                    : SG_ROWS_ADAGRAD;
    o.optimizer.rows_lr = c->train.rows_lr;
    o.optimizer.rows_start = c->train.rows_start;
    return sg_trainer_create(&o, out);
}

static sg_status start_notices(run *r) {
    const sg_notices_options o = {.provider = r->config->spot.provider,
                                  .endpoint = r->config->spot.endpoint};

    return sg_notices_start(&o, &r->notices);
}

/* The first batch is decoded while the trainer is made. */
static sg_status start(run *r, bool fresh) {
    SG_TRY(open_folder(r));
    SG_TRY(start_notices(r));
    SG_TRY(sg_task_create(r->config, &r->task));
    /* so that not even a run that dies at once can go on from what was there before */
    if (fresh) SG_TRY(sg_checkpoints_forget(r->config->run.dir));
    SG_TRY(look_back(r, fresh));
    SG_TRY(sg_run_choose_device(r->config, r->before.path ? &r->before.file : NULL, &r->compute));
    r->task->device = sg_compute_backend(&r->compute)->device;
    SG_TRY(sg_run_prepare_task(r->task, r->config, r->before.path ? &r->before : NULL));
    SG_TRY(r->task->start(r->task, r->before.file.samples, NULL));
    SG_TRY(
        sg_run_make_trainer(r->config, r->task, &r->compute, r->before.path != NULL, &r->trainer));
    r->state = sg_trainer_state(r->trainer);
    sg_trainer_stop_when(r->trainer, must_give_up, r);
    SG_TRY(begin_state(r));
    SG_TRY(sg_trainer_store(r->trainer));
    if (r->before.path)
        sg_checkpoint_mend(r->config->run.dir, r->before.path, r->state->step, best_step(r));
    SG_TRY(start_saver(r, fresh));
    SG_TRY(write_config(r));
    r->total_steps = steps_of(r->config, r->task->n_train);
    r->schedule = make_schedule(r->config, r->task->n_train, r->total_steps);
    r->point_every = (r->total_steps + kLossPoints - 1) / kLossPoints;
    if (r->config->train.steps > 0 && r->config->train.steps < r->total_steps)
        r->total_steps = r->config->train.steps;
    r->first_step = r->state->step;
    fill_at(r);
    SG_TRY(write_metrics(r));
    r->metrics_written = true;
    return SG_OK;
}

static void tell_start(const run *r) {
    sg_run_start s = {r->config,      r->task,        &r->compute,       r->trainer,
                      r->total_steps, r->state->step, r->state->samples, r->before.path};

    if (r->observer->started) r->observer->started(r->observer->context, &s);
}

static sg_status fill_result(const run *r, sg_run_result *result) {
    SG_TRY(sg_trainer_fetch(r->trainer));
    result->steps = r->state->step;
    result->epochs = epochs_at(r, r->state->samples);
    result->best = sg_history_best(&r->history);
    result->stopped_early = r->state->samples < r->config->train.epochs * r->task->n_train;
    return sg_state_sha256(r->state, result->sha256);
}

static void end(run *r) {
    sg_notices_stop(r->notices);
    sg_saver_destroy(r->saver);
    sg_store_close(r->store);
    sg_trainer_destroy(r->trainer);
    sg_task_destroy(r->task);
    sg_compute_close(&r->compute);
    sg_history_clear(&r->history);
    sg_resume_clear(&r->before);
    sg_free(r->metrics);
    sg_free(r->plots);
    sg_free(r->config_text);
    if (r->lock >= 0) close(r->lock);
}

/* One attempt; *again: with an older checkpoint. */
static sg_status train(const sg_config *config, bool fresh, const sg_run_observer *observer,
                       sg_run_result *result, bool *again) {
    run r;
    sg_status st, told;

    memset(&r, 0, sizeof r);
    r.config = config;
    r.observer = observer;
    r.lock = -1;
    st = start(&r, fresh);
    *again = r.again;
    if (st == SG_OK) {
        tell_start(&r);
        st = loop(&r);
    }
    if (r.state && (st == SG_OK || st == SG_ERR_INTERRUPTED)) {
        told = fill_result(&r, result);
        if (st == SG_OK) st = told;
    }
    end(&r);
    return st;
}

sg_status sg_run_train(const sg_config *config, bool fresh, const sg_run_observer *observer,
                       sg_run_result *result) {
    sg_status st;
    bool again;

    do {
        st = train(config, fresh, observer, result, &again);
        fresh = false;
    } while (again);
    return st;
}

/* --- what it would be ------------------------------------------------------------------------- */

sg_status sg_run_describe(const sg_config *config, char **text) {
    sg_task *task = NULL;
    char *summary = NULL;
    sg_status st = sg_task_create(config, &task);

    if (st == SG_OK) st = sg_run_prepare_task(task, config, NULL);
    if (st == SG_OK) st = task->summary(task, &summary);
    if (st == SG_OK) {
        *text = sg_str_printf("%s\n%lld %s to train on, %lld to validate; %lld steps of %lld\n",
                              summary, (long long)task->n_train, task->noun, (long long)task->n_val,
                              (long long)steps_of(config, task->n_train),
                              (long long)config->train.batch);
        if (!*text) st = sg_fail(SG_ERR_OOM, "no memory for a summary");
    }
    sg_free(summary);
    sg_task_destroy(task);
    return st;
}

sg_status sg_run_find_model(const char *run_or_file, char **path) {
    static const char *const names[] = {"best.h5", "last.h5"};

    for (int i = 0; i < 2 && sg_is_dir(run_or_file); i++) {
        char *candidate = sg_path_join(run_or_file, names[i]);

        if (!candidate) return sg_fail(SG_ERR_OOM, "%s: no memory", run_or_file);
        if (sg_file_exists(candidate)) {
            *path = candidate;
            return SG_OK;
        }
        sg_free(candidate);
    }
    if (sg_is_dir(run_or_file))
        return sg_fail(SG_ERR_MISSING, "%s: holds neither best.h5 nor last.h5", run_or_file);
    if (!sg_file_exists(run_or_file))
        return sg_fail(SG_ERR_MISSING, "%s: no such file or folder", run_or_file);
    *path = sg_strdup(run_or_file);
    return *path ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory", run_or_file);
}
