/* Connecting the members of an epoch: all say where they stand and what they have, and make the
 * same transports: one between hosts, and one between GPUs where all can. */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/threads.h"
#include "dist/group_inside.h"

enum { kTries = 3 }; /* to connect the GPUs, or by shared memory, before it is done without */

enum { kWhy = 512 };

static const double kConnect = 10.0; /* seconds */

typedef struct {
    sg_standing standing;
    char here[SG_TRANSPORT_HERE_BYTES];
    sg_nccl_card card;
} opening;

/* What the openings say together. */
typedef struct {
    bool here; /* all are in one place */
    bool nccl; /* all can use it */
} terms;

/* The part of a group's talk that is about one of its transports. */
typedef struct {
    sg_group *group;
    sg_said_topic topic;
} talk;

/* --- transports ------------------------------------------------------------------------------- */

/* A new epoch is watched: what was wrong with the last one is past. */
static void begin_anew(sg_group *g) {
    pthread_mutex_lock(&g->lock);
    atomic_store(&g->broken, false);
    pthread_mutex_unlock(&g->lock);
    sg_group_alarm(g);
}

/* `which`: of the group's. */
static void set_transport(sg_group *g, sg_transport **which, sg_transport *transport) {
    sg_transport *old;

    pthread_mutex_lock(&g->lock);
    old = *which;
    *which = transport;
    pthread_mutex_unlock(&g->lock);
    sg_transport_destroy(old);
    if (transport) sg_group_alarm(g); /* of what was lost meanwhile */
}

void sg_group_disconnect(sg_group *g) {
    set_transport(g, &g->gpus, NULL);
    set_transport(g, &g->transport, NULL);
}

/* --- what members say ------------------------------------------------------------------------- */

static sg_status say(void *context, const void *data, size_t bytes) {
    const talk *t = context;

    return sg_peers_say(t->group->peers, t->topic, data, bytes);
}

static sg_status hear(void *context, int rank, void *data, size_t room, size_t *bytes,
                      double seconds) {
    const talk *t = context;
    sg_group *g = t->group;

    return sg_peers_hear(g->peers, g->record.member[rank].id, t->topic, data, room, bytes, seconds);
}

static bool is_over(void *context) { return sg_group_broken(((talk *)context)->group); }

static sg_status hear_opening(sg_group *g, int rank, opening *other, double seconds) {
    size_t bytes;

    SG_TRY(sg_peers_hear(g->peers, g->record.member[rank].id, SG_SAID_OPENING, other, sizeof *other,
                         &bytes, seconds));
    if (bytes != sizeof *other)
        return sg_fail(SG_ERR_UNAVAILABLE, "worker %s is of another version",
                       g->record.member[rank].id);
    other->standing.run_id[sizeof other->standing.run_id - 1] = '\0';
    other->here[sizeof other->here - 1] = '\0';
    return SG_OK;
}

/* One who cannot share memory with the others is in a place of its own for all of them. */
static void tell_here(const sg_group *g, char here[SG_TRANSPORT_HERE_BYTES]) {
    if (g->shm_failed < kTries)
        sg_transport_here(here);
    else
        snprintf(here, SG_TRANSPORT_HERE_BYTES, "apart %s", g->id);
}

static sg_status hear_openings(sg_group *g, const sg_standing *mine, terms *agreed) {
    sg_nccl_card card[SG_GROUP_MOST];
    opening own, other;
    double end = sg_now() + g->options.patience / 5.0;
    sg_status st;
    bool tries_gpus = g->options.on_gpu && g->record.n > 1 && g->gpus_failed < kTries;

    memset(&own, 0, sizeof own);
    own.standing = *mine;
    tell_here(g, own.here);
    sg_nccl_card_fill(g->options.nccl, tries_gpus ? g->options.gpu : -1, &own.card);
    agreed->here = true;
    g->standing[g->rank] = *mine;
    card[g->rank] = own.card;
    SG_TRY(sg_peers_say(g->peers, SG_SAID_OPENING, &own, sizeof own));
    for (int i = 0; i < g->record.n; i++) {
        if (i == g->rank) continue;
        st = hear_opening(g, i, &other, end - sg_now());
        /* it lives, as its signs of life say, but does nothing else */
        g->missed[i] = st == SG_ERR_UNAVAILABLE && !sg_group_broken(g) && sg_now() >= end;
        SG_TRY(st);
        g->standing[i] = other.standing;
        card[i] = other.card;
        agreed->here = agreed->here && strcmp(own.here, other.here) == 0;
    }
    agreed->nccl = sg_nccl_cards_fit(card, g->record.n);
    return SG_OK;
}

/* The host of one's own address: where the peers reach this worker its data does, too. */
static void own_host(const sg_group *g, char host[SG_ADDRESS_BYTES]) {
    snprintf(host, SG_ADDRESS_BYTES, "%s", sg_peers_address(g->peers));
    host[strcspn(host, ":")] = '\0';
}

/* --- connecting ------------------------------------------------------------------------------- */

/* Where it cannot be made, again and again, gradients go through the hosts. */
static sg_status connect_gpus(sg_group *g, const sg_transport_options *options) {
    talk about = {g, SG_SAID_GPUS};
    sg_transport_options o = *options;
    sg_transport *transport = NULL;
    sg_status st;

    o.introduction.context = &about;
    o.gpu = g->options.gpu;
    o.nccl = g->options.nccl;
    st = sg_transport_nccl_create(&o, &transport);
    if (st == SG_OK) {
        g->gpus_failed = 0;
        set_transport(g, &g->gpus, transport);
        return SG_OK;
    }
    if ((st != SG_ERR_UNAVAILABLE && st != SG_ERR_UNSUPPORTED) || sg_group_broken(g)) return st;
    if (++g->gpus_failed == kTries)
        sg_log(SG_LOG_WARN, "%s; workers exchange through their hosts' memory", sg_last_error());
    return sg_fail(SG_ERR_UNAVAILABLE, "%s", sg_last_error());
}

/* Where it cannot be made, again and again, data go by Gloo, if there is one. */
static sg_status connect_here(sg_group *g, const sg_transport_options *options,
                              sg_transport **transport) {
    sg_status st = sg_transport_shm_create(options, transport);
    char why[kWhy];

    if (st == SG_OK) g->shm_failed = 0;
    if (st != SG_ERR_UNAVAILABLE || sg_group_broken(g)) return st;
    snprintf(why, sizeof why, "%s", sg_last_error());
    if (g->shm_failed + 1 < kTries)
        g->shm_failed++;
    else if (sg_transport_has_gloo()) {
        g->shm_failed = kTries;
        sg_log(SG_LOG_WARN, "%s; workers exchange by Gloo", why);
    }
    return sg_fail(st, "%s", why);
}

sg_status sg_group_connect(sg_group *g, const sg_standing *mine) {
    talk about = {g, SG_SAID_CONNECTION};
    char host[SG_ADDRESS_BYTES];
    sg_transport_options o = {.rank = g->rank,
                              .size = g->record.n,
                              .epoch = g->record.epoch,
                              .interface = host,
                              .introduction = {&about, say, hear, is_over},
                              .seconds = kConnect};
    sg_transport *transport = NULL;
    terms agreed;

    own_host(g, host);
    sg_group_disconnect(g);
    sg_reduce_destroy(g->reduce);
    g->reduce = NULL;
    g->failed = g->changing = false;
    g->n_admitted = 0;
    g->exchanges = 0;
    SG_TRY(sg_peers_watch(g->peers, g->record.epoch, g->record.member, g->record.n));
    sg_peers_ask_in(g->peers, false);
    begin_anew(g);
    SG_TRY(hear_openings(g, mine, &agreed));
    SG_TRY(sg_reduce_create(g->options.shards, g->record.n, g->rank, &g->reduce));
    if (g->record.n == 1) return SG_OK;
    SG_TRY(agreed.here ? connect_here(g, &o, &transport)
                       : sg_transport_gloo_create(&o, &transport));
    set_transport(g, &g->transport, transport);
    return agreed.nccl ? connect_gpus(g, &o) : SG_OK;
}
