/* Within an epoch: exchanges, and what members tell each other in them. */
#include <string.h>

#include "core/mem.h"
#include "core/threads.h"
#include "dist/group_inside.h"

static const double kFinish = 0.02;               /* seconds */
static const size_t kMostBytes = (size_t)1 << 40; /* that one gives to a gathering */

/* From here to `exchanged` the keeper may end it. */
static void begin_exchange(sg_group *g) {
    pthread_mutex_lock(&g->lock);
    g->exchanging = true;
    pthread_mutex_unlock(&g->lock);
}

/* After a failure nothing of this epoch is to be used. */
static sg_status exchanged(sg_group *g, sg_status st) {
    bool given_up;

    pthread_mutex_lock(&g->lock);
    g->exchanging = false;
    given_up = g->given_up;
    pthread_mutex_unlock(&g->lock);
    if (st == SG_OK) return SG_OK;
    g->failed = true;
    return given_up ? sg_fail(SG_ERR_INTERRUPTED, "interrupted in an exchange") : st;
}

bool sg_group_failed(const sg_group *g) { return g->failed; }
bool sg_group_leaving(const sg_group *g) { return g->leaving; }

/* --- notes ------------------------------------------------------------------------------------ */

static void write_note(sg_group *g) {
    sg_group_note *note = &g->note[g->rank];

    memset(note, 0, sizeof *note);
    note->epoch = g->record.epoch;
    note->count = g->exchanges;
    note->leaving = sg_group_asked_to_stop(g);
    note->n_asking = (uint32_t)sg_peers_asking(g->peers, note->asking,
                                               (int)(sizeof note->asking / sizeof note->asking[0]));
}

static bool asks(const sg_group_note *note, const char *id) {
    for (uint32_t i = 0; i < note->n_asking; i++)
        if (strcmp(note->asking[i].id, id) == 0) return true;
    return false;
}

/* All who stay are in touch with it. */
static bool all_know(const sg_group *g, const char *id) {
    for (int i = 0; i < g->record.n; i++)
        if (!g->note[i].leaving && !asks(&g->note[i], id)) return false;
    return true;
}

/* The same on every member, since all have the same notes. */
static void heed_notes(sg_group *g) {
    int most = g->options.max_workers > 0 ? g->options.max_workers : SG_GROUP_MOST, stay = 0;

    for (int i = 0; i < g->record.n; i++) {
        if (g->note[i].leaving) g->changing = true;
        if (!g->note[i].leaving) stay++;
    }
    if (g->options.shards < most) most = g->options.shards;
    g->leaving = g->note[g->rank].leaving;
    g->n_admitted = 0;
    for (int i = 0; i < g->record.n; i++) {
        if (g->note[i].leaving) continue;
        for (uint32_t k = 0; k < g->note[i].n_asking && stay + g->n_admitted < most; k++)
            if (all_know(g, g->note[i].asking[k].id))
                g->admitted[g->n_admitted++] = g->note[i].asking[k];
        break; /* the others' lists have nobody else that all know */
    }
    if (g->n_admitted > 0) g->changing = true;
}

/* What came over a network is not used before it is known to lie within its bounds. */
static bool mend_note(sg_group_note *note) {
    const uint32_t room = sizeof note->asking / sizeof note->asking[0];

    if (note->n_asking > room) return false;
    for (uint32_t i = 0; i < room; i++) {
        sg_peer *who = &note->asking[i];

        who->id[sizeof who->id - 1] = who->address[sizeof who->address - 1] = '\0';
    }
    return true;
}

static sg_status read_notes(sg_group *g) {
    for (int i = 0; i < g->record.n; i++)
        if (!mend_note(&g->note[i]))
            return sg_fail(SG_ERR_UNAVAILABLE, "worker %s sends a damaged note",
                           g->record.member[i].id);
    for (int i = 0; i < g->record.n; i++)
        if (g->note[i].epoch != g->record.epoch || g->note[i].count != g->exchanges)
            return sg_fail(
                SG_ERR_UNAVAILABLE, "worker %s is at exchange %lld of epoch %lld, not %lld of %lld",
                g->record.member[i].id, (long long)g->note[i].count, (long long)g->note[i].epoch,
                (long long)g->exchanges, (long long)g->record.epoch);
    heed_notes(g);
    g->exchanges++;
    return SG_OK;
}

bool sg_group_changing(sg_group *g) {
    if (g->record.n == 1 && !g->changing) { /* nobody to exchange notes with */
        write_note(g);
        g->note[0].leaving = false;
        heed_notes(g);
    }
    return g->changing;
}

/* --- exchanges -------------------------------------------------------------------------------- */

/* A bucket where it lies, and with the last one what is not on the GPUs: only that counts. */
static sg_status reduce_on_gpus(sg_group *g, float *const slot[], const sg_bucket *bucket) {
    const sg_reduce_means gpus = {g->gpus, &g->options.adder, g->options.patience};
    const sg_reduce_means hosts = {g->transport, &sg_adder_host, g->options.patience};
    sg_bucket floats = *bucket, blocks = *bucket;

    floats.n = 0;
    SG_TRY(sg_reduce_run(g->reduce, &gpus, slot, &floats));
    if (!bucket->last) return SG_OK;
    blocks.start = blocks.end = 0;
    return sg_reduce_run(g->reduce, &hosts, slot, &blocks);
}

static sg_status reduce(sg_group *g, float *const slot[], const sg_bucket *bucket) {
    const sg_reduce_means hosts = {g->transport, &sg_adder_host, g->options.patience};

    begin_exchange(g);
    return g->gpus ? reduce_on_gpus(g, slot, bucket)
                   : sg_reduce_run(g->reduce, &hosts, slot, bucket);
}

sg_status sg_group_reduce(sg_group *g, float *const slot[], const sg_bucket *bucket) {
    sg_gather all[SG_REDUCE_GATHERS];
    sg_bucket with_notes = *bucket;

    if (g->record.n == 1) return SG_OK; /* one node, the whole */
    if (!bucket->last) return exchanged(g, reduce(g, slot, bucket));
    if (bucket->n >= SG_REDUCE_GATHERS)
        return sg_fail(SG_ERR_ARG, "group: %d blocks to gather", bucket->n);
    write_note(g);
    if (bucket->n > 0) memcpy(all, bucket->gather, (size_t)bucket->n * sizeof *all);
    all[with_notes.n++] = (sg_gather){g->note, sizeof *g->note, true};
    with_notes.gather = all;
    SG_TRY(exchanged(g, reduce(g, slot, &with_notes)));
    return exchanged(g, read_notes(g));
}

void sg_group_abandon(sg_group *g) {
    pthread_mutex_lock(&g->lock);
    sg_transport_abort(g->transport);
    sg_transport_abort(g->gpus);
    pthread_mutex_unlock(&g->lock);
}

sg_status sg_group_copy(sg_group *g, void *data, size_t bytes) {
    sg_transfer message[SG_GROUP_MOST];
    int n = 0, ahead = sg_group_ahead(g);

    for (int i = 0; i < g->record.n && bytes > 0; i++) {
        if (!sg_group_is_behind(g, i)) continue;
        if (g->rank == ahead) message[n++] = (sg_transfer){i, false, data, bytes};
        if (g->rank == i) message[n++] = (sg_transfer){ahead, true, data, bytes};
    }
    if (n == 0) return SG_OK;
    begin_exchange(g);
    return exchanged(g, sg_transport_exchange(g->transport, message, n, g->options.patience));
}

/* One message to, and one from, each other member. */
static sg_status swap_blocks(sg_group *g, const void *mine, char *const at[],
                             const size_t bytes[]) {
    sg_transfer message[2 * SG_GROUP_MOST];
    size_t n = bytes[g->rank];
    int k = 0;

    for (int i = 0; i < g->record.n; i++) {
        if (i == g->rank) continue;
        if (n > 0) message[k++] = (sg_transfer){i, false, (void *)(uintptr_t)mine, n};
        if (bytes[i] > 0) message[k++] = (sg_transfer){i, true, at[i], bytes[i]};
    }
    if (k == 0) return SG_OK;
    begin_exchange(g);
    return sg_transport_exchange(g->transport, message, k, g->options.patience);
}

/* Everybody's, also of those who give nothing. */
static sg_status gather_sizes(sg_group *g, size_t bytes[]) {
    char *at[SG_GROUP_MOST];
    size_t mine = bytes[g->rank], size[SG_GROUP_MOST];

    for (int i = 0; i < g->record.n; i++) {
        at[i] = (char *)&bytes[i];
        size[i] = sizeof bytes[i];
    }
    return swap_blocks(g, &mine, at, size);
}

sg_status sg_group_gather(sg_group *g, const void *mine, size_t n, void **all, size_t *total) {
    size_t bytes[SG_GROUP_MOST], sum = 0;
    char *at[SG_GROUP_MOST], *block;
    sg_status st;

    bytes[g->rank] = n;
    SG_TRY(exchanged(g, gather_sizes(g, bytes)));
    for (int i = 0; i < g->record.n; i++) {
        if (bytes[i] > kMostBytes)
            return exchanged(g, sg_fail(SG_ERR_UNAVAILABLE, "worker %s gives %zu bytes",
                                        g->record.member[i].id, bytes[i]));
        sum += bytes[i];
    }
    block = sg_malloc(sum);
    if (!block) return sg_fail(SG_ERR_OOM, "group: no memory for %zu bytes", sum);
    sum = 0;
    for (int i = 0; i < g->record.n; i++) {
        at[i] = block + sum;
        sum += bytes[i];
    }
    if (n > 0) memcpy(at[g->rank], mine, n);
    st = exchanged(g, swap_blocks(g, mine, at, bytes));
    if (st != SG_OK) {
        sg_free(block);
        return st;
    }
    *all = block;
    *total = sum;
    return SG_OK;
}

/* --- the end ---------------------------------------------------------------------------------- */

sg_status sg_group_finish(sg_group *g, const char *done) {
    sg_roster last = {
        .epoch = g->record.epoch + 1, .about = g->record.about, .done = (char *)(uintptr_t)done};

    double end = sg_now() + g->options.patience;

    memcpy(last.run, g->record.run, sizeof last.run);
    for (;;) {
        sg_roster newest;
        bool over, ended;

        if (g->rank == 0) SG_TRY(sg_group_propose(g, &last));
        SG_TRY(sg_group_look(g, &newest));
        over = newest.epoch > g->record.epoch;
        ended = newest.done != NULL;
        sg_roster_clear(&newest);
        if (over && ended) return SG_OK;
        g->missed[0] = g->rank > 0 && sg_now() > end;
        if (over || sg_group_broken(g) || g->missed[0])
            return exchanged(g, sg_fail(SG_ERR_UNAVAILABLE, "the group changed at the end"));
        if (sg_group_asked_to_stop(g))
            return sg_fail(SG_ERR_INTERRUPTED, "interrupted while the last step is being saved");
        sg_peers_wait(g->peers, kFinish);
    }
}
