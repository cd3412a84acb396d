/* What workers exchange of a step on a device. The host puts all of the shards on the queue first,
 * then waits for one bucket after the other, and exchanges it while the device computes the next.
 * The transport takes it where it lies, or through the host's memory. */
#include "core/mem.h"
#include "train/trainer_inside.h"

/* --- memory ----------------------------------------------------------------------------------- */

/* Once for all teams. What is left of it after a failure the end of the trainer releases. */
static sg_status allocate(sg_trainer *t) {
    sg_trainer_device *on = &t->on;

    for (int k = 0; k < SG_TRAINER_BUCKETS; k++)
        if (!on->complete[k]) SG_TRY(t->device->event_create(&on->complete[k]));
    if (!on->exchanged) SG_TRY(t->device->event_create(&on->exchanged));
    for (int i = 0; i < t->table->n_row_tables; i++)
        if (!on->host_source[i])
            SG_TRY(sg_trainer_device_alloc_host(t, sg_trainer_source_floats(t, i),
                                                &on->host_source[i]));
    if (t->team.on_device || on->host_grads) return SG_OK;
    on->host_grads = sg_calloc((size_t)t->options.shards, sizeof *on->host_grads);
    if (!on->host_grads) return sg_fail(SG_ERR_OOM, "trainer: no memory");
    for (int s = 0; s < t->options.shards; s++)
        SG_TRY(sg_trainer_device_alloc_host(t, t->table->n_grads, &on->host_grads[s]));
    return SG_OK;
}

sg_status sg_trainer_device_share(sg_trainer *t) {
    sg_trainer_device_forget_parts(t); /* of other shards */
    return t->team.reduce ? allocate(t) : SG_OK;
}

void sg_trainer_device_exchange_destroy(sg_trainer *t) {
    const sg_device *d = t->device;
    sg_trainer_device *on = &t->on;

    if (t->shape) sg_trainer_device_forget_parts(t);
    for (int s = 0; on->host_grads && s < t->options.shards; s++)
        d->release_host(on->host_grads[s]);
    sg_free(on->host_grads);
    for (int i = 0; i < SG_MAX_ROWS; i++) d->release_host(on->host_source[i]);
    for (int k = 0; k < SG_TRAINER_BUCKETS; k++) d->event_destroy(on->complete[k]);
    d->event_destroy(on->exchanged);
}

/* --- adding ----------------------------------------------------------------------------------- */

static sg_status add(void *trainer, float *sum, const float *other, int64_t floats) {
    sg_trainer *t = trainer;
    float *slot[] = {sum, (float *)(uintptr_t)other};

    return t->device->add_shards(t->on.download, slot, 2, floats, t->on.step_block);
}

static sg_status wait(void *trainer) {
    sg_trainer *t = trainer;

    return t->device->wait(t->on.download);
}

sg_adder sg_trainer_adder(sg_trainer *t) {
    return t->device ? (sg_adder){t, add, wait} : sg_adder_host;
}

/* --- a bucket --------------------------------------------------------------------------------- */

static sg_status get_nodes(sg_trainer *t, const sg_bucket *b) {
    sg_tree_node node[SG_TREE_NODES];
    int n = sg_tree_nodes(t->options.shards, t->team.own, node);
    size_t bytes = (size_t)(b->end - b->start) * sizeof(float);

    for (int i = 0; i < n; i++) {
        int s = node[i].shard;

        SG_TRY(t->device->get(t->on.download, t->on.host_grads[s] + b->start,
                              t->grads[s] + b->start, bytes));
    }
    return t->device->wait(t->on.download);
}

static sg_status put_whole(sg_trainer *t, const sg_bucket *b) {
    return t->device->put(t->on.upload, t->grads[0] + b->start, t->on.host_grads[0] + b->start,
                          (size_t)(b->end - b->start) * sizeof(float));
}

/* What the own shards have written of the tables' sources. */
static sg_status get_sources(sg_trainer *t) {
    for (int i = 0; i < t->table->n_row_tables; i++) {
        int64_t a_shard = sg_trainer_source_floats(t, i) / t->options.shards;
        int64_t first = a_shard * t->team.own.first;

        SG_TRY(t->device->get(t->on.download, t->on.host_source[i] + first, t->source[i] + first,
                              (size_t)(a_shard * t->team.own.count) * sizeof(float)));
    }
    return t->device->wait(t->on.download);
}

static sg_status put_sources(sg_trainer *t) {
    for (int i = 0; i < t->table->n_row_tables; i++)
        SG_TRY(t->device->put(t->on.upload, t->source[i], t->on.host_source[i],
                              (size_t)sg_trainer_source_floats(t, i) * sizeof(float)));
    return SG_OK;
}

static sg_status exchange_bucket(sg_trainer *t, const sg_bucket *b) {
    float *const *slot = t->team.on_device ? t->grads : t->on.host_grads;

    if (!t->team.on_device) SG_TRY(get_nodes(t, b));
    if (b->last) SG_TRY(get_sources(t));
    SG_TRY(t->team.reduce(t->team.context, slot, b));
    return t->team.on_device ? SG_OK : put_whole(t, b);
}

static sg_status exchange_all(sg_trainer *t) {
    sg_gather gather[SG_MAX_ROWS];
    int n = sg_trainer_rows_gather(t, t->on.host_source, gather);

    for (int k = 0; k < t->buckets.n; k++) {
        sg_bucket bucket = sg_trainer_bucket(t, k, gather, n);

        SG_TRY(t->device->event_wait(t->on.complete[k]));
        SG_TRY(exchange_bucket(t, &bucket));
    }
    return put_sources(t);
}

sg_status sg_trainer_device_exchange(sg_trainer *t) {
    sg_status st = exchange_all(t);

    SG_TRY(t->device->event_mark(t->on.exchanged, t->on.upload));
    SG_TRY(t->device->event_follow(t->on.queue, t->on.exchanged));
    SG_TRY(st);
    /* whether the whole sum is finite is seen here, as by every worker */
    SG_TRY(sg_trainer_device_check_sources(t));
    return t->device->add_shards(t->on.queue, t->grads, 1, t->table->n_grads, t->on.step_block);
}
