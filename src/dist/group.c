/* Forming epochs. A worker is in one of three positions:
 *
 *   outside   announced, watching the members of the newest record and asking to be taken in; or,
 *             where that group is no more, founding the next one with all others that are announced
 *   member    of an epoch: composes the next one from those who are not lost, do not leave, and
 *             have been taken in; whoever writes it first wins, and all read what stands there
 *   connected all members of the epoch have said where they stand, and the transport is up */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/group_inside.h"

enum { kUnwhole = 3 }; /* epochs, before it is said */

/* Seconds. A founder waits so long (kSettle) for one more to come; who lives shows it in the
 * rendezvous every kKeep, so that it is seen within kSign. */
static const double kSettle = 0.5, kSilent = 3.0, kLook = 0.02, kSpare = 0.1, kKeep = 0.5,
                    kSign = 1.2, kVerdict = 1.5, kAgain = 2.0, kYield = 0.5, kPatience = 300.0;

bool sg_group_asked_to_stop(const sg_group *g) {
    return g->options.stop && g->options.stop(g->options.context);
}

static bool is_asked_to_stop(void *group) { return sg_group_asked_to_stop(group); }

static sg_status interrupted(void) {
    return sg_fail(SG_ERR_INTERRUPTED, "interrupted while waiting for other workers");
}

/* --- being aborted by others ------------------------------------------------------------------ */

static bool over(sg_group *g) {
    int64_t epoch = atomic_load(&g->epoch);

    return epoch > 0 && (sg_peers_any_lost(g->peers) || sg_peers_epoch(g->peers) > epoch ||
                         atomic_load(&g->later) > epoch);
}

bool sg_group_broken(sg_group *g) { return atomic_load(&g->broken); }

void sg_group_alarm(void *context) {
    sg_group *g = context;

    pthread_mutex_lock(&g->lock);
    if (over(g)) {
        atomic_store(&g->broken, true);
        sg_transport_abort(g->transport);
        sg_transport_abort(g->gpus);
    }
    pthread_mutex_unlock(&g->lock);
}

/* With the lock. Of a group that is broken what is under way ends by itself. */
static void give_up_if_asked(sg_group *g) {
    if (!g->exchanging || !g->options.give_up || atomic_load(&g->broken)) return;
    if (!g->options.give_up(g->options.context)) return;
    g->given_up = true;
    sg_transport_abort(g->transport);
    sg_transport_abort(g->gpus);
}

/* The keeper shows that this worker is alive to those who look into the rendezvous, sees an epoch
 * there of which no peer could tell, and asks whether what is exchanged is to be given up. */
static void *keep(void *context) {
    sg_group *g = context;

    pthread_mutex_lock(&g->lock);
    while (!g->stop) {
        double at = sg_now() + kKeep;
        struct timespec end = {(time_t)at, (long)(1e9 * (at - (double)(time_t)at))};
        int64_t newest = 0;
        char *text = NULL;

        pthread_cond_timedwait(&g->woken, &g->lock, &end);
        if (g->stop) break;
        give_up_if_asked(g);
        pthread_mutex_unlock(&g->lock);
        if (sg_rendezvous_beat(g->rendezvous) != SG_OK)
            sg_log(SG_LOG_DEBUG, "group: %s", sg_last_error());
        if (sg_rendezvous_newest(g->rendezvous, &newest, &text) == SG_OK) {
            atomic_store(&g->later, newest);
            sg_group_alarm(g);
        }
        sg_free(text);
        pthread_mutex_lock(&g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* --- start and end ---------------------------------------------------------------------------- */

/* How others reach this worker, as a member of a record that has only this one. */
static sg_status announce(sg_group *g) {
    sg_roster own = {.n = 1, .about = (char *)(uintptr_t)g->options.about};
    char *text = NULL;
    sg_status st;

    snprintf(own.member[0].id, sizeof own.member[0].id, "%s", g->id);
    snprintf(own.member[0].address, sizeof own.member[0].address, "%s", sg_peers_address(g->peers));
    if (g->options.brings) snprintf(own.run, sizeof own.run, "%s", g->options.run);
    st = sg_roster_write(&own, &text);
    if (st == SG_OK) st = sg_rendezvous_announce(g->rendezvous, g->id, text);
    sg_free(text);
    if (st != SG_ERR_UNAVAILABLE) return st;
    sg_log(SG_LOG_WARN, "%s; trying again", sg_last_error()); /* with the signs of life */
    return SG_OK;
}

/* A store may be started at the same time as its workers. */
static sg_status open_rendezvous(sg_group *g) {
    double end = sg_now() + g->options.wait;

    for (;;) {
        sg_status st = sg_rendezvous_open(g->options.store, &g->rendezvous);
        struct timespec pause = {0, (long)(1e9 * kKeep)};

        if (st != SG_ERR_UNAVAILABLE || sg_now() > end) return st;
        if (sg_group_asked_to_stop(g)) return interrupted();
        sg_log(SG_LOG_DEBUG, "group: %s; trying again", sg_last_error());
        nanosleep(&pause, NULL);
    }
}

static sg_status start_keeper(sg_group *g) {
    int error = pthread_create(&g->keeper, NULL, keep, g);

    if (error) return sg_fail(SG_ERR_UNAVAILABLE, "group: no thread: %s", strerror(error));
    g->keeping = true;
    return SG_OK;
}

static sg_status forget(sg_group *g) {
    sg_roster newest;

    SG_TRY(sg_group_look(g, &newest));
    g->forgotten = newest.epoch;
    sg_roster_clear(&newest);
    return SG_OK;
}

static sg_status begin(sg_group *g) {
    sg_peers_options o = {.id = g->id,
                          .interface = g->options.interface,
                          .alarm = sg_group_alarm,
                          .stop = is_asked_to_stop,
                          .context = g};

    SG_TRY(sg_member_id_draw(g->id));
    SG_TRY(open_rendezvous(g));
    SG_TRY(sg_peers_open(&o, &g->peers));
    if (g->options.fresh) SG_TRY(forget(g));
    SG_TRY(announce(g));
    return start_keeper(g);
}

sg_status sg_group_create(const sg_group_options *options, sg_group **out) {
    sg_group *g = sg_calloc(1, sizeof *g);
    pthread_condattr_t clock;
    sg_status st;

    if (!g) return sg_fail(SG_ERR_OOM, "group: no memory");
    g->options = *options;
    if (!(g->options.patience > 0.0)) g->options.patience = kPatience;
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&g->woken, &clock);
    pthread_condattr_destroy(&clock);
    g->standing = sg_calloc(SG_GROUP_MOST, sizeof *g->standing);
    g->note = sg_calloc(SG_GROUP_MOST, sizeof *g->note);
    g->admitted = sg_calloc(SG_GROUP_MOST, sizeof *g->admitted);
    st = g->standing && g->note && g->admitted ? begin(g) : sg_fail(SG_ERR_OOM, "group: no memory");
    if (st != SG_OK) {
        sg_group_destroy(g);
        return st;
    }
    *out = g;
    return SG_OK;
}

void sg_group_destroy(sg_group *g) {
    if (!g) return;
    if (g->keeping) {
        pthread_mutex_lock(&g->lock);
        g->stop = true;
        pthread_cond_signal(&g->woken);
        pthread_mutex_unlock(&g->lock);
        pthread_join(g->keeper, NULL);
    }
    sg_peers_close(g->peers);
    sg_group_disconnect(g);
    sg_rendezvous_close(g->rendezvous);
    sg_reduce_destroy(g->reduce);
    sg_roster_clear(&g->record);
    sg_free(g->standing);
    sg_free(g->note);
    sg_free(g->admitted);
    pthread_cond_destroy(&g->woken);
    pthread_mutex_destroy(&g->lock);
    sg_free(g);
}

/* --- the rendezvous --------------------------------------------------------------------------- */

sg_status sg_group_look(sg_group *g, sg_roster *record) {
    double end = sg_now() + g->options.wait;
    bool told = false;

    for (;;) {
        int64_t epoch = 0;
        char *text = NULL;
        sg_status st = sg_rendezvous_newest(g->rendezvous, &epoch, &text);

        if (st == SG_OK) {
            memset(record, 0, sizeof *record);
            if (text) st = sg_roster_parse(epoch, text, record);
            if (st == SG_ERR_DATA) { /* it names nobody, and the next one is free */
                sg_log(SG_LOG_WARN, "%s", sg_last_error());
                record->epoch = epoch;
                st = SG_OK;
            }
            sg_free(text);
            return st;
        }
        if (sg_group_asked_to_stop(g)) return interrupted();
        if (st != SG_ERR_UNAVAILABLE || sg_now() > end) return st;
        if (!told) sg_log(SG_LOG_WARN, "%s; trying again", sg_last_error());
        told = true;
        sg_peers_wait(g->peers, kVerdict / 10.0);
    }
}

sg_status sg_group_propose(sg_group *g, const sg_roster *next) {
    char *text = NULL;
    bool won;
    sg_status st = sg_roster_write(next, &text);

    if (st == SG_OK) st = sg_rendezvous_propose(g->rendezvous, next->epoch, text, &won);
    sg_free(text);
    if (st != SG_ERR_UNAVAILABLE) {
        g->refused = 0.0;
        return st;
    }
    if (!(g->refused > 0.0)) {
        g->refused = sg_now();
        sg_log(SG_LOG_WARN, "%s; trying again", sg_last_error());
    }
    if (sg_now() - g->refused > g->options.wait) return st;
    sg_peers_wait(g->peers, kLook);
    return SG_OK;
}

static int most_workers(const sg_group *g) {
    int most = g->options.shards < SG_GROUP_MOST ? g->options.shards : SG_GROUP_MOST;

    return g->options.max_workers > 0 && g->options.max_workers < most ? g->options.max_workers
                                                                       : most;
}

/* This record is the epoch now; it is ours to clear. */
static void adopt(sg_group *g, sg_roster *record) {
    sg_roster_clear(&g->record);
    g->record = *record;
    memset(g->missed, 0, sizeof g->missed);
    memset(record, 0, sizeof *record);
    g->rank = sg_roster_rank(&g->record, g->id);
}

/* --- outside ---------------------------------------------------------------------------------- */

typedef struct {
    int64_t watched;    /* epoch of the group that is asked; 0: none */
    double since;       /* when */
    bool fits;          /* it is of this worker's run */
    double called;      /* when those of it that are lost were last called again */
    double began;       /* to be outside */
    int candidates;     /* when they were last counted */
    double last_change; /* of that number */
    bool told;
    char differs[400]; /* why one who is announced is no candidate; "": all are */
} outsider;

static sg_status check(const sg_group *g, const sg_roster *record) {
    return g->options.check(g->options.context, record->about);
}

/* Those who are announced and alive and agree with this one, in the order of their ids, into
 * `next`; and the run whose state one of them brings. */
static sg_status list_candidates(sg_group *g, outsider *o, sg_roster *next) {
    sg_announced *list = NULL;
    int n = 0;

    SG_TRY(sg_rendezvous_members(g->rendezvous, &list, &n));
    for (int i = 0; i < n && next->n < most_workers(g); i++) {
        sg_roster one;

        /* what a dead one left was never heard */
        if (!list[i].heard || list[i].silent > kSilent ||
            sg_roster_parse(0, list[i].text, &one) != SG_OK)
            continue;
        if (check(g, &one) != SG_OK) {
            snprintf(o->differs, sizeof o->differs, "; %s", sg_last_error());
        } else if (one.n == 1) {
            next->member[next->n++] = one.member[0];
            if (!next->run[0]) memcpy(next->run, one.run, sizeof one.run);
        }
        sg_roster_clear(&one);
    }
    sg_announced_free(list, n);
    return SG_OK;
}

/* The run of a group that is no more is begun again: whoever was of it may come back. */
static const char *run_to_begin(const sg_group *g, const sg_roster *newest) {
    bool goes_on = newest->epoch > g->forgotten && newest->run[0] && check(g, newest) == SG_OK;

    return goes_on ? newest->run : g->options.run;
}

/* Found a group, when as many have come as are expected, or nobody has for a moment. */
static sg_status found(sg_group *g, outsider *o, const sg_roster *newest) {
    sg_roster next = {.epoch = newest->epoch + 1, .about = (char *)(uintptr_t)g->options.about};
    double now = sg_now();
    sg_status st = list_candidates(g, o, &next);

    if (st == SG_ERR_UNAVAILABLE) return SG_OK;
    SG_TRY(st);
    if (!next.run[0]) snprintf(next.run, sizeof next.run, "%s", run_to_begin(g, newest));
    if (next.n != o->candidates) o->last_change = now;
    o->candidates = next.n;
    if (sg_roster_rank(&next, g->id) < 0) {
        /* more than enough without this one, or it could not be announced: then this says why */
        if (next.n == most_workers(g) || now - o->last_change <= g->options.wait) return SG_OK;
        return sg_rendezvous_beat(g->rendezvous);
    }
    if (next.n < most_workers(g) && now - o->last_change < kSettle) return SG_OK;
    if (next.n >= g->options.min_workers) return sg_group_propose(g, &next);
    if (now - o->began > g->options.wait)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "%d of distributed.min_workers = %d workers came within distributed.wait = "
                       "%g s%s",
                       next.n, g->options.min_workers, g->options.wait, o->differs);
    return SG_OK;
}

/* Has any of them given signs of life in the rendezvous for so many seconds? */
static bool shows_life(sg_group *g, const sg_roster *record, double seconds) {
    sg_announced *list = NULL;
    int n = 0;
    bool alive = false;

    if (sg_rendezvous_members(g->rendezvous, &list, &n) != SG_OK) return true;
    for (int i = 0; i < n; i++)
        alive = alive || (list[i].heard && list[i].silent < seconds &&
                          sg_roster_rank(record, list[i].id) >= 0);
    sg_announced_free(list, n);
    return alive;
}

/* Whether the group of that record may still be there. One that is not heard may only be out of
 * reach: behind a firewall, those who refuse a connection look like those who are gone. */
static bool lives(sg_group *g, const sg_roster *record, const outsider *o) {
    double watched = sg_now() - o->since;

    if (record->n == 0) return false;
    if (sg_peers_all_hung_up(g->peers)) return shows_life(g, record, kSign);
    if (sg_peers_any_heard(g->peers)) return true;
    if (watched < (sg_peers_all_gone(g->peers) ? kSign : kSilent)) return true;
    return shows_life(g, record, kSilent);
}

/* Ask the members of that record, who take this one in at the end of a step; but for those of
 * another run, who are in the way as long as they live. */
static sg_status ask(sg_group *g, const sg_roster *record, outsider *o) {
    if (o->watched == record->epoch)
        return o->fits || !sg_peers_any_heard(g->peers) ? SG_OK : check(g, record);
    o->fits = check(g, record) == SG_OK;
    SG_TRY(sg_peers_watch(g->peers, record->epoch, record->member, record->n));
    sg_peers_ask_in(g->peers, o->fits);
    o->watched = record->epoch;
    o->since = o->called = sg_now();
    (void)shows_life(g, record, kSilent); /* from now on signs of life are new */
    return SG_OK;
}

/* One who could not be reached may be reached now: a network heals, and no epoch need come of it.
 */
static sg_status call_lost(sg_group *g, const sg_roster *record, outsider *o) {
    if (!sg_peers_any_lost(g->peers) || sg_now() - o->called < kAgain) return SG_OK;
    o->called = sg_now();
    return sg_peers_watch(g->peers, record->epoch, record->member, record->n);
}

/* The run is over, keys that change no result apart. The end of another one, that used the place
 * before, is of no interest. */
static bool is_our_end(const sg_group *g, const sg_roster *record) {
    return record->done && check(g, record) == SG_OK;
}

/* One look at the world from outside. *in: `record` names this worker. */
static sg_status stand_outside(sg_group *g, outsider *o, sg_roster *record, bool *in) {
    *in = !record->done && sg_roster_rank(record, g->id) >= 0;
    if (*in) return check(g, record);
    if (is_our_end(g, record)) return SG_OK;
    if (record->n == 0) return found(g, o, record);
    SG_TRY(ask(g, record, o));
    if (lives(g, record, o)) {
        if (!o->told && sg_now() - o->since > kSilent)
            sg_log(SG_LOG_INFO, "waiting to be taken in by %d worker%s", record->n,
                   record->n == 1 ? "" : "s");
        o->told = o->told || sg_now() - o->since > kSilent;
        return call_lost(g, record, o);
    }
    return found(g, o, record);
}

/* Until a record names this worker, or the run is over. */
static sg_status enter(sg_group *g, char **done) {
    outsider o = {.began = sg_now(), .last_change = sg_now()};

    for (;;) {
        sg_roster record = {0};
        bool in = false;
        sg_status st = sg_group_look(g, &record);
        int64_t newest = st == SG_OK ? record.epoch : 0;

        if (st == SG_OK) st = stand_outside(g, &o, &record, &in);
        if (st == SG_OK && in) adopt(g, &record);
        if (st == SG_OK && !in && is_our_end(g, &record)) {
            *done = record.done;
            record.done = NULL;
            in = true;
        }
        sg_roster_clear(&record);
        if (st != SG_OK || in) return st;
        if (sg_group_asked_to_stop(g)) return interrupted();
        /* the next look judges */
        if (sg_rendezvous_wait(g->rendezvous, newest, o.told ? kSpare : kLook) != SG_OK)
            sg_log(SG_LOG_DEBUG, "group: %s", sg_last_error());
    }
}

/* --- a member --------------------------------------------------------------------------------- */

static void add_member(const sg_group *g, sg_roster *next, const sg_peer *who) {
    if (next->n < most_workers(g) && sg_roster_rank(next, who->id) < 0)
        next->member[next->n++] = *who;
}

/* Those who stay, in their order, and behind them those who come. */
static void compose(sg_group *g, sg_roster *next) {
    memset(next, 0, sizeof *next);
    next->epoch = g->record.epoch + 1;
    next->about = g->record.about;
    memcpy(next->run, g->record.run, sizeof next->run);
    for (int i = 0; i < g->record.n; i++) {
        const sg_peer *who = &g->record.member[i];

        if ((g->changing && g->note[i].leaving) || g->missed[i]) continue;
        if (!sg_peers_is_lost(g->peers, who->id)) add_member(g, next, who);
    }
    for (int i = 0; g->changing && i < g->n_admitted; i++) add_member(g, next, &g->admitted[i]);
}

/* An exchange may fail before it is known who is to blame. */
static void wait_for_verdict(sg_group *g) {
    double end = sg_now() + kVerdict;

    while (!g->changing && !sg_group_broken(g) && sg_now() < end) sg_peers_wait(g->peers, kLook);
}

/* Cut off from most of the others, who will go on: theirs is to be the next epoch, if they reach
 * the rendezvous, and they are not heard of otherwise. */
static bool yields(sg_group *g, double since) {
    return sg_now() - since < kYield && sg_peers_outnumbered(g->peers);
}

/* Read the next epoch, or write it. It may not name this worker, which is then outside. */
static sg_status advance(sg_group *g, char **done) {
    double end = sg_now() + g->options.wait, since;

    wait_for_verdict(g);
    since = sg_now();
    for (;;) {
        sg_roster newest, next;

        SG_TRY(sg_group_look(g, &newest));
        if (newest.epoch > g->record.epoch) {
            if (newest.done) {
                *done = newest.done;
                newest.done = NULL;
            }
            adopt(g, &newest);
            return SG_OK;
        }
        sg_roster_clear(&newest);
        compose(g, &next);
        if (yields(g, since)) {
            sg_peers_wait(g->peers, kLook);
        } else if (next.n >= g->options.min_workers) {
            SG_TRY(sg_group_propose(g, &next));
        } else {
            /* those who ask come in when there are enough; of an exchange that failed nothing
             * counts */
            if (!g->changing) memset(g->note, 0, (size_t)g->record.n * sizeof *g->note);
            g->n_admitted = sg_peers_asking(g->peers, g->admitted, SG_GROUP_MOST);
            g->changing = true;
            if (sg_now() > end)
                return sg_fail(SG_ERR_UNAVAILABLE,
                               "%d of distributed.min_workers = %d workers are left, and no others "
                               "came within distributed.wait = %g s",
                               next.n, g->options.min_workers, g->options.wait);
            sg_peers_wait(g->peers, kLook);
        }
        if (sg_group_asked_to_stop(g)) return interrupted();
    }
}

/* --- the epoch -------------------------------------------------------------------------------- */

/* Members come and go, so one that is not whole is nothing; several in a row are, as nothing is
 * trained meanwhile. */
static void tell_unwhole(const sg_group *g, int in_a_row) {
    long long epoch = (long long)g->record.epoch;

    if (in_a_row == kUnwhole)
        sg_log(SG_LOG_WARN,
               "group: %d epochs in a row are not whole, the last is %lld: %s; others reach this "
               "worker at %s, which distributed.interface changes",
               in_a_row, epoch, sg_last_error(), sg_peers_address(g->peers));
    else
        sg_log(SG_LOG_DEBUG, "group: epoch %lld is not whole: %s", epoch, sg_last_error());
}

sg_status sg_group_form(sg_group *g, const sg_standing *mine, char **done) {
    int unwhole = 0;

    *done = NULL;
    for (;;) {
        sg_status st;

        if (g->record.epoch > 0) SG_TRY(advance(g, done));
        if (*done) return SG_OK;
        if (g->record.epoch == 0 || g->rank < 0) {
            atomic_store(&g->epoch, 0);
            sg_group_disconnect(g);
            SG_TRY(enter(g, done));
            if (*done) return SG_OK;
        }
        atomic_store(&g->epoch, g->record.epoch);
        st = sg_group_connect(g, mine);
        if (st == SG_OK) return SG_OK;
        if (st != SG_ERR_UNAVAILABLE) return st;
        tell_unwhole(g, ++unwhole);
        if (sg_group_asked_to_stop(g)) return interrupted();
    }
}

int sg_group_size(const sg_group *g) { return g->record.n; }
int sg_group_rank(const sg_group *g) { return g->rank; }
int64_t sg_group_epoch(const sg_group *g) { return g->record.epoch; }
const sg_standing *sg_group_standing(const sg_group *g, int rank) { return &g->standing[rank]; }

const char *sg_group_run(const sg_group *g) { return g->record.run; }

const char *sg_group_transport(const sg_group *g) {
    if (g->gpus) return g->gpus->name;
    return g->transport ? g->transport->name : "nothing";
}

bool sg_group_on_gpu(const sg_group *g) { return g->gpus != NULL; }

const char *sg_group_member(const sg_group *g, int rank) { return g->record.member[rank].id; }

static bool before(const sg_standing *a, const sg_standing *b) {
    if (a->step != b->step) return a->step < b->step;
    return a->evaluations < b->evaluations;
}

bool sg_group_is_foreign(const sg_group *g, int rank) {
    const sg_standing *s = &g->standing[rank];

    return s->loaded && !s->any_run && strcmp(s->run_id, g->record.run) != 0;
}

int sg_group_ahead(const sg_group *g) {
    int ahead = -1;

    for (int i = 0; i < g->record.n; i++)
        if (!sg_group_is_foreign(g, i) &&
            (ahead < 0 || before(&g->standing[ahead], &g->standing[i])))
            ahead = i;
    return ahead < 0 ? 0 : ahead;
}

bool sg_group_is_behind(const sg_group *g, int rank) {
    return !sg_group_is_foreign(g, rank) &&
           before(&g->standing[rank], &g->standing[sg_group_ahead(g)]);
}
