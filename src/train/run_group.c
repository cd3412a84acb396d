/* A run of several workers. All have the whole state, and make the same updates to it; each
 * computes its shards of a step, and one, of rank 0, writes. What this file adds to a run is how
 * its state comes to a worker that is behind. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/utf8.h"
#include "train/run_inside.h"

static const double kPaceSlice = 0.01;                  /* seconds */
static const uint64_t kMostHistory = (uint64_t)1 << 32; /* bytes */

bool sg_run_in_company(const sg_run *r) { return r->group && sg_group_size(r->group) > 1; }
bool sg_run_writes(const sg_run *r) { return !r->group || sg_group_rank(r->group) == 0; }

/* --- what members must agree in --------------------------------------------------------------- */

/* A path may be of any bytes, what is told to others may not. */
static sg_status check_utf8(const char *config) {
    const char *line = config + sg_utf8_check(config, strlen(config));

    if (!*line) return SG_OK;
    while (line > config && line[-1] != '\n') line--;
    return sg_fail(SG_ERR_CONFIG, "%.*s: is not UTF-8, as the words of workers must be",
                   (int)strcspn(line, "\n"), line);
}

/* The numeric class and the data's fingerprint, a line each, then the configuration. */
static sg_status describe(sg_run *r) {
    char here[SG_PLUGIN_CLASS_BYTES];

    SG_TRY(check_utf8(r->config_text));
    sg_compute_class(&r->compute, here, sizeof here);
    r->about = sg_str_printf("%s\n%s\n%s", here, r->task->fingerprint, r->config_text);
    return r->about ? SG_OK : sg_fail(SG_ERR_OOM, "group: no memory");
}

static sg_status differ(const sg_run *r, const char *names) {
    return sg_fail(SG_ERR_CONFIG,
                   "%s: the workers there train with other values of %s; give them the same, or "
                   "choose another distributed.store",
                   r->config->distributed.store, names);
}

static sg_status other_config(const sg_run *r, const char *text) {
    sg_config theirs;
    char *names = NULL;
    sg_status st = SG_OK;

    SG_TRY(sg_config_parse(r->config->distributed.store, text, strlen(text), NULL, 0, &theirs));
    SG_TRY(sg_config_diff(&theirs, r->config, &names));
    if (names)
        st = differ(r, names);
    else if (theirs.train.steps != r->config->train.steps) /* no result depends on it */
        st = differ(r, "train.steps");
    sg_free(names);
    return st;
}

static sg_status check_about(void *context, const char *about) {
    const sg_run *r = context;
    const char *data = strchr(about, '\n'), *config = data ? strchr(data + 1, '\n') : NULL;
    char here[SG_PLUGIN_CLASS_BYTES];

    if (!config)
        return sg_fail(SG_ERR_DATA, "%s: is used by something else", r->config->distributed.store);
    SG_TRY(other_config(r, config + 1));
    if (strncmp(data + 1, r->task->fingerprint, strlen(r->task->fingerprint)) != 0)
        return sg_fail(SG_ERR_CONFIG, "%s: the workers there train on other data than %s holds",
                       r->config->distributed.store, r->config->data.root);
    sg_compute_class(&r->compute, here, sizeof here);
    if (strlen(here) == (size_t)(data - about) && strncmp(about, here, strlen(here)) == 0)
        return SG_OK;
    if (!r->config->run.exact) return SG_OK;
    return sg_fail(
        SG_ERR_UNAVAILABLE,
        "%s: the workers there compute on \"%.*s\", here is \"%s\": the same bits cannot "
        "be promised; run.exact=false joins all the same",
        r->config->distributed.store, (int)(data - about), about, here);
}

/* --- state ------------------------------------------------------------------------------------ */

typedef struct {
    int64_t step, samples;
    uint64_t seed;
    uint64_t history; /* bytes */
} state_header;

static sg_status copy_history(sg_run *r, uint64_t bytes, char *text) {
    sg_status st = sg_group_copy(r->group, text, bytes);

    if (st != SG_OK || !r->torn) return st;
    text[bytes] = '\0';
    return sg_history_set(&r->history, text);
}

static sg_status copy_buffers(sg_run *r) {
    const sg_table *table = r->state->table;
    const struct {
        float *data;
        int64_t floats;
    } buffer[] = {
        {r->state->values, table->n_values},
        {r->state->ema, table->n_values},
        {r->state->moment[0], r->state->n_moments > 0 ? table->n_params : 0},
        {r->state->moment[1], r->state->n_moments > 1 ? table->n_params : 0},
        {r->state->rows, table->n_rows},
        {r->state->rows_sum, sg_table_rows_sum(table, r->state->rule)},
    };

    for (size_t i = 0; i < sizeof buffer / sizeof buffer[0]; i++)
        SG_TRY(sg_group_copy(r->group, buffer[i].data, (size_t)buffer[i].floats * sizeof(float)));
    return SG_OK;
}

/* Everything of the one ahead, to all who are behind. */
static sg_status copy_state(sg_run *r) {
    state_header h = {r->state->step, r->state->samples, r->state->seed, 0};
    char *text = NULL;
    sg_status st;

    SG_TRY(sg_history_write(&r->history, &text));
    h.history = strlen(text);
    st = sg_group_copy(r->group, &h, sizeof h);
    if (st == SG_OK && r->torn) {
        sg_free(text);
        if (h.history > kMostHistory)
            return sg_fail(SG_ERR_DATA, "worker %s has a history of %" PRIu64 " bytes",
                           sg_group_member(r->group, sg_group_ahead(r->group)), h.history);
        text = sg_malloc(h.history + 1);
        if (!text) return sg_fail(SG_ERR_OOM, "group: no memory for a history");
    }
    if (st == SG_OK) st = copy_history(r, h.history, text);
    sg_free(text);
    if (st == SG_OK) st = copy_buffers(r);
    if (st != SG_OK) return st;
    r->state->step = h.step;
    r->state->samples = h.samples;
    r->state->seed = h.seed;
    return SG_OK;
}

/* Whoever agrees in everything that changes the result has the same bits after as many steps, in
 * whatever run; but the file that model.init names is not compared. */
static bool any_run_will_do(const sg_config *c) { return c->run.exact && !c->model.init[0]; }

static sg_standing where(const sg_run *r) {
    sg_standing s = {.step = r->torn ? -1 : r->state->step,
                     .evaluations = r->torn ? -1 : r->history.n,
                     .loaded = !r->torn && (r->state->step > 0 || r->before.path),
                     .any_run = any_run_will_do(r->config)};

    snprintf(s.run_id, sizeof s.run_id, "%s", r->run_id);
    return s;
}

/* One of the group's run, whichever that is; a folder may hold another. */
static sg_status take_run_id(sg_run *r, const sg_standing *mine) {
    const char *run = sg_group_run(r->group);

    if (sg_group_is_foreign(r->group, sg_group_rank(r->group)))
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "%s: holds run %s, but the workers of %s train run %s; --fresh forgets what "
                       "is here, another run.dir keeps both",
                       r->config->run.dir, mine->run_id, r->config->distributed.store, run);
    snprintf(r->run_id, sizeof r->run_id, "%s", run);
    return SG_OK;
}

static sg_status catch_up(sg_run *r, const sg_standing *mine) {
    int ahead = sg_group_ahead(r->group);
    const sg_standing *first = sg_group_standing(r->group, ahead);

    SG_TRY(take_run_id(r, mine));
    if (first->step < 0) { /* all that had it are gone; a disk may have some of it */
        r->again = true;
        return sg_fail(SG_ERR_UNAVAILABLE, "no worker is left that has the state");
    }
    if (sg_group_is_behind(r->group, sg_group_rank(r->group))) {
        sg_log(SG_LOG_INFO, "taking the state after step %" PRId64 " from worker %s", first->step,
               sg_group_member(r->group, ahead));
        snprintf(r->resumed, sizeof r->resumed, "worker %s", sg_group_member(r->group, ahead));
        r->resumed_from = r->resumed;
        r->torn = true;
    }
    SG_TRY(sg_trainer_fetch(r->trainer));
    SG_TRY(copy_state(r));
    if (r->torn) SG_TRY(sg_trainer_store(r->trainer));
    r->torn = false;
    return SG_OK;
}

/* --- the part of this worker ------------------------------------------------------------------ */

/* distributed.pace: until the shards have taken as long as they are said to. */
static sg_status keep_pace(sg_run *r) {
    double end = r->step_began + r->config->distributed.pace * r->own.count;

    for (double now = sg_now(); now < end; now = sg_now()) {
        double wait = end - now < kPaceSlice ? end - now : kPaceSlice;
        struct timespec t = {0, (long)(1e9 * wait)};

        if (sg_run_must_give_up(r)) return sg_fail(SG_ERR_INTERRUPTED, "interrupted in a step");
        nanosleep(&t, NULL);
    }
    return SG_OK;
}

static sg_status reduce(void *context, float *const slot[], const sg_bucket *bucket) {
    sg_run *r = context;

    if (bucket->last && r->config->distributed.pace > 0.0) SG_TRY(keep_pace(r));
    return sg_group_reduce(r->group, slot, bucket);
}

static void abandon(void *context) { sg_group_abandon(((sg_run *)context)->group); }

static sg_status gather(void *context, const void *mine, size_t bytes, void **all, size_t *total) {
    return sg_group_gather(((sg_run *)context)->group, mine, bytes, all, total);
}

const sg_share *sg_run_share(sg_run *r, sg_share *share) {
    if (!sg_run_in_company(r)) return NULL;
    *share = (sg_share){sg_group_rank(r->group), sg_group_size(r->group), r, gather};
    return share;
}

void sg_run_group_log(const sg_run *r) {
    int64_t a_shard = r->config->train.batch / r->config->train.shards;

    sg_log(SG_LOG_DEBUG,
           "step %" PRId64 " in epoch %" PRId64 " of the group: positions %" PRId64 "+%" PRId64,
           r->state->step, sg_group_epoch(r->group),
           r->state->samples - r->config->train.batch + a_shard * r->own.first,
           a_shard * r->own.count);
}

/* Its shards, and their samples from now on. */
static sg_status take_part(sg_run *r) {
    int shards = (int)r->config->train.shards, rank = sg_group_rank(r->group);
    int64_t a_shard = r->config->train.batch / shards;
    sg_trainer_team team = {.abandon = abandon, .context = r};
    sg_part part;

    r->own = team.own = sg_tree_share(shards, sg_group_size(r->group), rank);
    if (sg_run_in_company(r) || r->config->distributed.pace > 0.0) team.reduce = reduce;
    team.on_device = sg_group_on_gpu(r->group);
    part = (sg_part){a_shard * team.own.first, a_shard * team.own.count};
    SG_TRY(sg_trainer_share(r->trainer, &team));
    SG_TRY(r->task->start(r->task, r->state->samples, &part));
    if (!sg_run_writes(r)) {
        sg_saver_destroy(r->saver);
        r->saver = NULL;
    } else if (!r->saver) {
        SG_TRY(sg_run_become_writer(r));
    }
    return SG_OK;
}

static void tell(const sg_run *r) {
    sg_log(SG_LOG_DEBUG, "epoch %" PRId64 " of the group: worker %d of %d, after step %" PRId64,
           sg_group_epoch(r->group), sg_group_rank(r->group), sg_group_size(r->group),
           r->state->step);
    sg_log(SG_LOG_DEBUG, "group: data go by %s", sg_group_transport(r->group));
}

sg_status sg_run_regroup(sg_run *r) {
    for (;;) {
        sg_standing mine = where(r);
        sg_status st;

        SG_TRY(sg_group_form(r->group, &mine, &r->ended));
        if (r->ended) return SG_OK;
        st = catch_up(r, &mine);
        if (st == SG_OK) {
            tell(r);
            return take_part(r);
        }
        if (st != SG_ERR_UNAVAILABLE || !sg_group_failed(r->group)) return st;
    }
}

sg_status sg_run_join(sg_run *r, bool fresh) {
    const sg_config *c = r->config;
    sg_group_options o = {.store = c->distributed.store,
                          .interface = c->distributed.interface,
                          .run = r->run_id,
                          .brings = where(r).loaded,
                          .fresh = fresh,
                          .check = check_about,
                          .stop = sg_run_asked_to_stop,
                          .give_up = sg_run_must_give_up,
                          .context = r,
                          .shards = (int)c->train.shards,
                          .min_workers = (int)c->distributed.min_workers,
                          .max_workers = (int)c->distributed.max_workers,
                          .wait = c->distributed.wait};

    if (r->compute.plugin) {
        o.on_gpu = true;
        o.gpu = r->compute.ordinal;
        o.adder = sg_trainer_adder(r->trainer);
    }
    SG_TRY(describe(r));
    o.about = r->about;
    SG_TRY(sg_group_create(&o, &r->group));
    return sg_run_regroup(r);
}

bool sg_run_group_broke(const sg_run *r, sg_status st) {
    if (!r->group) return false;
    if (st == SG_OK) return sg_group_changing(r->group) || sg_group_broken(r->group);
    if (st == SG_ERR_INTERRUPTED) return sg_group_broken(r->group);
    return st == SG_ERR_UNAVAILABLE && sg_group_failed(r->group);
}

/* --- the end ---------------------------------------------------------------------------------- */

sg_status sg_run_group_finish(sg_run *r, const sg_run_result *result) {
    char text[160];

    snprintf(text, sizeof text, "%" PRId64 " %" PRId64 " %d %s", result->steps, result->epochs,
             result->stopped_early, result->sha256);
    return sg_group_finish(r->group, text);
}

sg_status sg_run_group_result(const sg_run *r, sg_run_result *result) {
    int early;

    if (sscanf(r->ended, "%" SCNd64 " %" SCNd64 " %d %64s", &result->steps, &result->epochs, &early,
               result->sha256) != 4)
        return sg_fail(SG_ERR_DATA, "%s: what its workers said at the end is damaged",
                       r->config->distributed.store);
    result->stopped_early = early != 0;
    return SG_OK;
}

static sg_status is_over(sg_rendezvous *rendezvous, bool *over) {
    int64_t epoch = 0;
    char *text = NULL;
    sg_roster record;
    sg_status st;

    *over = false;
    SG_TRY(sg_rendezvous_newest(rendezvous, &epoch, &text));
    if (!text) return SG_OK;
    st = sg_roster_parse(epoch, text, &record);
    sg_free(text);
    if (st == SG_ERR_DATA) return SG_OK; /* it names nobody, and no end */
    if (st != SG_OK) return st;
    *over = record.done != NULL;
    sg_roster_clear(&record);
    return SG_OK;
}

sg_status sg_run_check_fresh(const sg_config *config) {
    const char *store = config->distributed.store;
    sg_rendezvous *rendezvous = NULL;
    bool over;
    sg_status st;

    if (!store[0]) return SG_OK;
    SG_TRY(sg_rendezvous_open(store, &rendezvous));
    st = is_over(rendezvous, &over);
    sg_rendezvous_close(rendezvous);
    if (st != SG_OK || !over) return st;
    return sg_fail(SG_ERR_CONFIG,
                   "%s: the run that met there is over, which --fresh does not change; give it "
                   "another distributed.store",
                   store);
}
