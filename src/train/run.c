/* The loop: steps, evaluations, checkpoints, until the end or an interruption. */
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/folder.h"
#include "checkpoint/model_file.h"
#include "checkpoint/state_hash.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "train/run_inside.h"
#include "train/run_plots.h"

enum { kErrorBytes = 1024, kIdBytes = 2048 };

/* Seconds after a wish to stop at which a step, or an evaluation of several workers, is given up.
 * Alone nothing else is lost. The others of a group would have to make it again, so that one who
 * leaves them is patient: until kSaving before the machine goes, where its cloud says when that is,
 * else as a cloud's shortest notice, half a minute, lets it be. A writer to whom a signal came may
 * be killed ten seconds later, as docker stop does, and has first to save what nobody else may
 * keep. */
static const double kPatience = 0.4, kPatienceInCompany = 20.0, kPatienceUnsaved = 5.0,
                    kSaving = 10.0;

/* --- evaluation ------------------------------------------------------------------------------- */

/* Once `step` steps have been made, of so many samples. */
static bool finished_at(const sg_run *r, int64_t step, int64_t samples) {
    const sg_config *c = r->config;

    if (samples >= c->train.epochs * r->task->n_train) return true;
    if (c->train.steps > 0 && step >= c->train.steps) return true;
    return c->train.patience > 0 && sg_history_since_best(&r->history) >= c->train.patience;
}

static bool finished(const sg_run *r) { return finished_at(r, r->state->step, r->state->samples); }

/* At the first step past the border of an epoch, and at the end. */
static bool evaluation_due_at(const sg_run *r, int64_t samples) {
    int64_t now = sg_run_epochs(r, samples),
            before = sg_run_epochs(r, samples - r->config->train.batch);

    if (samples == 0 || now == before) return false;
    if (now >= r->config->train.epochs) return true;
    return now / r->config->train.eval_every > before / r->config->train.eval_every;
}

static bool evaluation_due(const sg_run *r) { return evaluation_due_at(r, r->state->samples); }

/* The learning rate of the last step. */
static double last_lr(const sg_run *r) { return sg_schedule_lr(&r->schedule, r->state->step - 1); }

static sg_status record(sg_run *r, const sg_evaluation *evaluation) {
    SG_TRY(sg_history_add_evaluation(&r->history, r->state->table, r->state->step,
                                     sg_run_epochs(r, r->state->samples), last_lr(r),
                                     evaluation->json));
    if (!sg_run_writes(r)) return SG_OK;
    /* the checkpoint has the history too; the next evaluation or the end writes all of it again */
    r->metrics_written = sg_run_write_texts(r) == SG_OK;
    if (!r->metrics_written) sg_log(SG_LOG_WARN, "%s; training goes on", sg_last_error());
    return SG_OK;
}

/* Pictures are a service: without them the run goes on. Those of an evaluation are drawn before the
 * state that knows it is saved, so that a run killed on the way draws them when it comes back. */
static void draw_plots(const sg_run *r, bool best) {
    sg_status st;

    if (!r->config->run.plots || !sg_run_writes(r)) return;
    st = sg_make_dirs(r->plots);
    if (st == SG_OK) st = sg_run_plots(&r->history, r->state->table, r->plots);
    if (st == SG_OK && best && r->task->report) st = r->task->report(r->task, r->plots);
    if (st != SG_OK) sg_log(SG_LOG_WARN, "%s; run.plots=false does without plots", sg_last_error());
}

static bool told_by_signal(const sg_run *r) {
    return r->observer->stop && r->observer->stop(r->observer->context);
}

bool sg_run_asked_to_stop(void *run) {
    const sg_run *r = run;

    return sg_notices_state(r->notices) == SG_NOTICE_INTERRUPT || told_by_signal(r);
}

/* On sg_now()'s clock, when what is under way is given up after a wish to stop at `asked`. */
static double give_up_at(const sg_run *r, double asked) {
    double until = told_by_signal(r) ? 0.0 : sg_notices_until(r->notices);

    if (!sg_run_in_company(r)) return asked + kPatience;
    if (until > 0.0) return fmax(until - kSaving, asked + kPatience);
    if (!r->saver || !told_by_signal(r) || sg_saver_is_durable(r->saver))
        return asked + kPatienceInCompany;
    return asked + kPatienceUnsaved;
}

bool sg_run_must_give_up(void *run) {
    sg_run *r = run;
    double none = 0.0, now;

    if (r->group && sg_group_broken(r->group)) return true;
    if (!sg_run_asked_to_stop(r)) return false;
    now = sg_now();
    atomic_compare_exchange_strong(&r->asked, &none, now);
    return now > give_up_at(r, atomic_load(&r->asked));
}

/* An evaluation of one worker can be made at any time. */
static bool must_leave_off(void *context) {
    if (sg_run_in_company(context)) return sg_run_must_give_up(context);
    return sg_run_asked_to_stop(context) || sg_run_must_give_up(context);
}

static sg_status evaluate(sg_run *r) {
    const sg_run_observer *o = r->observer;
    sg_evaluation evaluation;
    sg_share share;
    sg_status st;
    bool best;

    sg_log(SG_LOG_DEBUG, "evaluating after step %lld", (long long)r->state->step);
    SG_TRY(r->task->evaluate(r->task, r->trainer, sg_run_share(r, &share), must_leave_off, r,
                             &evaluation));
    st = record(r, &evaluation);
    best = st == SG_OK && sg_history_best_step(&r->history) == r->state->step;
    if (st == SG_OK) draw_plots(r, best);
    if (st == SG_OK && r->saver) st = sg_saver_evaluated(r->saver, best, &best);
    if (st == SG_OK && sg_run_writes(r) && o->evaluated)
        o->evaluated(o->context, &r->at, &evaluation, best);
    sg_evaluation_clear(&evaluation);
    return st;
}

/* --- the loop --------------------------------------------------------------------------------- */

static void fill_at(sg_run *r) {
    r->at.step = r->state->step;
    r->at.total_steps = r->total_steps;
    r->at.epoch = sg_run_epochs(r, r->state->samples);
    r->at.epochs = r->config->train.epochs;
    r->at.samples = (r->state->step - r->first_step) * r->config->train.batch;
    r->at.wait_seconds = r->task->wait_seconds(r->task);
}

/* Also where a writer is about to leave others: of what it has finished meanwhile nothing is to be
 * lost should it not come that far. */
static bool in_a_hurry(sg_run *r) {
    if (r->observer->hurry && r->observer->hurry(r->observer->context)) return true;
    return sg_run_in_company(r) && sg_run_asked_to_stop(r);
}

/* Whether a step may be launched behind those under way. Not where what they lead to is wanted
 * first: for an evaluation, at the end, to be durable. */
static bool may_launch(const sg_run *r) {
    int under_way = sg_trainer_under_way(r->trainer);
    int64_t step = r->state->step + under_way;
    int64_t samples = r->state->samples + under_way * r->config->train.batch;

    if (under_way == 0) return true;
    if (under_way == sg_trainer_ahead(r->trainer) || r->config->checkpoint.sync) return false;
    return !finished_at(r, step, samples) && !evaluation_due_at(r, samples);
}

/* A line a step: which samples the loader has read for what this worker computes of it. */
static void log_read(const sg_run *r, int64_t step) {
    int64_t a_shard = r->config->train.batch / r->config->train.shards, position;
    int64_t from = r->group ? a_shard * r->own.first : 0;
    int64_t n = r->group ? a_shard * r->own.count : r->config->train.batch;
    char ids[kIdBytes] = "";
    const int64_t *sample;
    int length = 0;

    if (!sg_choice_is(r->config->run.log, "debug")) return;
    position = r->task->read(r->task, &sample);
    for (int64_t i = from; i < from + n && length < (int)sizeof ids; i++)
        length += snprintf(ids + length, sizeof ids - (size_t)length, " %" PRId64, sample[i]);
    sg_log(SG_LOG_DEBUG, "reads for step %" PRId64 ": positions %" PRId64 "+%" PRId64 ", samples%s",
           step + 1, position + from, n, ids);
}

static sg_status launch(sg_run *r) {
    int64_t step = r->state->step + sg_trainer_under_way(r->trainer);
    const void *inputs[SG_MAX_INPUTS] = {NULL};
    int shape;

    r->step_began = sg_now();
    SG_TRY(r->task->next(r->task, inputs, &shape));
    log_read(r, step);
    if (step > r->state->step && r->saver && sg_saver_due(r->saver, step, in_a_hurry(r))) {
        SG_TRY(sg_trainer_snapshot(r->trainer));
        r->snapshot = true;
    }
    return sg_trainer_launch(r->trainer, shape, inputs, sg_schedule_lr(&r->schedule, step));
}

/* What is told of a step and kept of it, when it is done. */
static sg_status settle(sg_run *r) {
    const sg_run_observer *o = r->observer;
    bool save;

    SG_TRY(sg_trainer_settle(r->trainer, &r->at.report));
    r->at.lr = last_lr(r);
    sg_history_step(&r->history, r->at.report.sum);
    if (r->state->step % r->point_every == 0)
        SG_TRY(sg_history_add_point(&r->history, r->state->table, r->state->step, r->at.lr));
    fill_at(r);
    if (o->stepped && sg_run_writes(r)) o->stepped(o->context, &r->at);
    save = r->snapshot || (r->saver && sg_trainer_under_way(r->trainer) == 0 &&
                           sg_saver_due(r->saver, r->state->step, in_a_hurry(r)));
    r->snapshot = false;
    if (save) SG_TRY(sg_saver_save(r->saver));
    sg_log(SG_LOG_DEBUG, "step %lld: loss %.6g, gradient %.4g, lr %.3g", (long long)r->state->step,
           r->at.report.loss, r->at.report.grad_norm, r->at.lr);
    if (r->group) sg_run_group_log(r);
    return SG_OK;
}

/* A wish to stop is heard before a step, but by one of several workers in its exchange: so that the
 * others know, and nothing of it is lost. */
static bool must_stop(sg_run *r) {
    return sg_run_in_company(r) ? sg_group_leaving(r->group) : sg_run_asked_to_stop(r);
}

/* On a device the next step is launched before one is settled. */
static sg_status step(sg_run *r) {
    while (may_launch(r) && !must_stop(r)) SG_TRY(launch(r));
    return sg_trainer_under_way(r->trainer) > 0 ? settle(r) : SG_OK;
}

/* Steps that are under way when the run is to end. */
static sg_status settle_all(sg_run *r) {
    while (sg_trainer_under_way(r->trainer) > 0) SG_TRY(settle(r));
    return SG_OK;
}

/* Of several workers one writes, and the others need not: as long as they are a group. Once that is
 * broken, and until it is formed anew, each may be the last that has the state. */
static bool others_go_on(const sg_run *r) { return sg_run_in_company(r) && !r->apart; }

/* Before the end: the last finished step is durable then, here (*kept) or with the others. */
static sg_status keep(sg_run *r, bool *kept) {
    *kept = false;
    if (r->torn || (!r->saver && others_go_on(r))) return SG_OK;
    if (!r->saver) SG_TRY(sg_run_become_writer(r));
    SG_TRY(sg_saver_finish(r->saver, true));
    *kept = true;
    return SG_OK;
}

static bool device_is_lost(const sg_run *r, sg_status st) {
    return r->compute.plugin && (st == SG_ERR_CUDA || (st == SG_ERR_UNAVAILABLE && !r->apart));
}

/* A picture that turned bad must not cost what was computed before it: the last finished step is
 * saved, if it can be written, and the failure stays what it was. Of a device that is lost there is
 * only what was saved before. */
static sg_status save_and_fail(sg_run *r, sg_status st) {
    char text[kErrorBytes];
    int64_t saved = -1;
    bool kept = false;

    snprintf(text, sizeof text, "%s", sg_last_error());
    if (device_is_lost(r, st))
        saved = r->saver ? sg_saver_abandon(r->saver) : -1; /* of several workers one saves */
    else if (settle_all(r) == SG_OK && keep(r, &kept) == SG_OK && kept)
        saved = r->state->step;
    if (saved >= 0) sg_log(SG_LOG_INFO, "saved step %lld before the end", (long long)saved);
    return sg_fail(st, "%s", text);
}

static void fill_result(const sg_run *r, sg_run_result *result) {
    result->steps = r->state->step;
    result->epochs = sg_run_epochs(r, r->state->samples);
    result->stopped_early = r->state->samples < r->config->train.epochs * r->task->n_train;
}

/* Everything is saved, and the others of a group know it. */
static sg_status finish(sg_run *r, sg_run_result *result) {
    if (r->saver) SG_TRY(sg_saver_finish(r->saver, false));
    if (!r->metrics_written && sg_run_writes(r)) SG_TRY(sg_run_write_texts(r));
    if (sg_history_last_step(&r->history) != r->state->step) draw_plots(r, false);
    fill_result(r, result);
    SG_TRY(sg_trainer_fetch(r->trainer));
    SG_TRY(sg_state_sha256(r->state, result->sha256));
    return r->group ? sg_run_group_finish(r, result) : SG_OK;
}

/* What only the others have is safe too: the machine may go. */
static sg_status leave(sg_run *r, sg_run_result *result) {
    bool kept;

    SG_TRY(keep(r, &kept));
    if (!kept) sg_notices_acknowledge(r->notices);
    fill_result(r, result);
    result->left = !kept;
    return sg_fail(SG_ERR_INTERRUPTED, "interrupted after step %lld", (long long)r->state->step);
}

/* What is due where the run stands; nothing is under way at an evaluation, or at the end. */
static sg_status go_on(sg_run *r, sg_run_result *result, bool *done) {
    bool idle = sg_trainer_under_way(r->trainer) == 0;

    if (idle && evaluation_due(r) && sg_history_last_step(&r->history) != r->state->step)
        SG_TRY(evaluate(r));
    if (idle && finished(r)) {
        SG_TRY(finish(r, result));
        *done = true;
        return SG_OK;
    }
    return must_stop(r) ? SG_OK : step(r);
}

static sg_status loop(sg_run *r, sg_run_result *result) {
    bool done = false;

    for (;;) {
        sg_status st = go_on(r, result, &done);

        if (st == SG_OK && done) return SG_OK;
        if (!must_stop(r) && sg_run_group_broke(r, st)) {
            r->apart = true;
            st = settle_all(r); /* one worker alone may have launched a step ahead */
            if (st == SG_OK) st = sg_run_regroup(r);
            if (st == SG_OK) r->apart = false;
            if (r->ended) return sg_run_group_result(r, result);
        }
        if (st == SG_OK && !must_stop(r)) continue;
        if (st == SG_OK || st == SG_ERR_INTERRUPTED) {
            sg_status settled = settle_all(r);

            if (settled != SG_OK) st = settled;
        }
        if (st != SG_OK && st != SG_ERR_INTERRUPTED) return save_and_fail(r, st);
        return leave(r, result);
    }
}

static void tell_start(const sg_run *r) {
    sg_run_start s = {r->config,
                      r->task,
                      &r->compute,
                      r->trainer,
                      r->total_steps,
                      r->state->step,
                      r->state->samples,
                      r->resumed_from,
                      r->group ? sg_group_rank(r->group) : 0,
                      r->group ? sg_group_size(r->group) : 1};

    if (r->observer->started) r->observer->started(r->observer->context, &s);
}

/* One attempt; *again: with an older checkpoint. */
static sg_status train(const sg_config *config, bool fresh, const sg_run_observer *observer,
                       sg_run_result *result, bool *again) {
    sg_run r;
    sg_status st;

    memset(&r, 0, sizeof r);
    memset(result, 0, sizeof *result);
    r.config = config;
    r.observer = observer;
    r.lock = -1;
    st = sg_run_begin(&r, fresh);
    if (st == SG_ERR_INTERRUPTED) {
        result->steps = r.before.path ? r.before.file.step : -1;
    } else if (st == SG_OK && r.ended) {
        st = sg_run_group_result(&r, result);
    } else if (st == SG_OK) {
        fill_at(&r);
        tell_start(&r);
        st = loop(&r, result);
    }
    *again = r.again;
    sg_run_end(&r);
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
                              (long long)sg_run_steps(config, task->n_train),
                              (long long)config->train.batch);
        if (!*text) st = sg_fail(SG_ERR_OOM, "no memory for a summary");
    }
    sg_free(summary);
    sg_task_destroy(task);
    return st;
}

/* The step of the best evaluation that a model file knows of, and its own; -1. */
static int64_t best_known(const char *path, int64_t *own) {
    sg_history history = {0};
    sg_model_file file = {0};
    int64_t best = -1;

    *own = -1;
    if (sg_model_file_read(path, &file) != SG_OK) return -1;
    *own = file.step;
    if (sg_history_set(&history, file.history) == SG_OK) best = sg_history_best_step(&history);
    sg_history_clear(&history);
    sg_model_file_clear(&file);
    return best;
}

/* It may have been written by another worker, on another machine. */
static void warn_of_best(const char *run_dir, const char *chosen) {
    char *last = sg_path_join(run_dir, SG_CHECKPOINT_LAST);
    int64_t step = -1, best = last ? best_known(last, &step) : -1;

    if (best >= 0) best_known(chosen, &step);
    if (best >= 0 && step >= 0 && step != best)
        sg_log(SG_LOG_WARN,
               "%s has no best.h5 of step %lld, its best evaluation: another worker has it, or "
               "checkpoint.store; this is %s, of step %lld",
               run_dir, (long long)best, chosen, (long long)step);
    sg_free(last);
}

sg_status sg_run_find_model(const char *run_or_file, char **path) {
    static const char *const names[] = {SG_CHECKPOINT_BEST, SG_CHECKPOINT_LAST};

    for (int i = 0; i < 2 && sg_is_dir(run_or_file); i++) {
        char *candidate = sg_path_join(run_or_file, names[i]);

        if (!candidate) return sg_fail(SG_ERR_OOM, "%s: no memory", run_or_file);
        if (sg_file_exists(candidate)) {
            warn_of_best(run_or_file, candidate);
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
