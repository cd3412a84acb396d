#include "dist/reduce.h"

#include "core/mem.h"

/* Below this a second round costs more than what it saves. Pieces begin at cache lines. */
enum { kWholeFloats = 16384, kLine = 16 };

typedef struct {
    sg_shards own;
    sg_tree_node node[SG_TREE_NODES];
    int n;              /* nodes */
    int64_t start, end; /* of the piece that it adds, of the part in work */
} member;

struct sg_reduce {
    int shards, size, rank;
    member *member;     /* (size) */
    sg_tree_node *node; /* (nodes of all members, in order) */
    int n_nodes;
    sg_transfer *message; /* (of the longer round) */
    int n;                /* messages so far */
};

static void list_nodes(sg_reduce *r) {
    for (int q = 0; q < r->size; q++) {
        member *m = &r->member[q];

        m->own = sg_tree_share(r->shards, r->size, q);
        m->n = sg_tree_nodes(r->shards, m->own, m->node);
        for (int i = 0; i < m->n; i++) r->node[r->n_nodes++] = m->node[i];
    }
}

/* Floats start .. end - 1 among the members, or all of them to each. */
static void divide(sg_reduce *r, int64_t start, int64_t end, bool whole) {
    int64_t piece = (end - start) / r->size;

    for (int q = 0; q < r->size; q++) {
        member *m = &r->member[q];

        m->start = whole || q == 0 ? start : r->member[q - 1].end;
        m->end = whole || q == r->size - 1 ? end : start + piece * (q + 1) / kLine * kLine;
    }
}

sg_status sg_reduce_create(int shards, int size, int rank, sg_reduce **out) {
    sg_reduce *r = sg_calloc(1, sizeof *r);
    size_t messages = (size_t)size * (SG_TREE_NODES + 1 + 2 * SG_REDUCE_GATHERS) + (size_t)shards;

    if (!r) return sg_fail(SG_ERR_OOM, "reduce: no memory");
    r->shards = shards;
    r->size = size;
    r->rank = rank;
    r->member = sg_calloc((size_t)size, sizeof *r->member);
    r->node = sg_calloc((size_t)shards, sizeof *r->node);
    r->message = sg_calloc(messages, sizeof *r->message);
    if (!r->member || !r->node || !r->message) {
        sg_reduce_destroy(r);
        return sg_fail(SG_ERR_OOM, "reduce: no memory");
    }
    list_nodes(r);
    *out = r;
    return SG_OK;
}

void sg_reduce_destroy(sg_reduce *r) {
    if (!r) return;
    sg_free(r->member);
    sg_free(r->node);
    sg_free(r->message);
    sg_free(r);
}

/* What is empty is not sent: both sides know it. */
static void post(sg_reduce *r, int peer, bool receive, void *data, size_t bytes) {
    if (bytes > 0) r->message[r->n++] = (sg_transfer){peer, receive, data, bytes};
}

static void post_floats(sg_reduce *r, int peer, bool receive, float *data, const member *piece) {
    post(r, peer, receive, data + piece->start, (size_t)(piece->end - piece->start) * sizeof *data);
}

/* Each one's nodes, of the piece that the other one adds. */
static void post_nodes(sg_reduce *r, int peer, float *const slot[]) {
    const member *me = &r->member[r->rank], *other = &r->member[peer];

    for (int i = 0; i < me->n; i++) post_floats(r, peer, false, slot[me->node[i].shard], other);
    for (int i = 0; i < other->n; i++) post_floats(r, peer, true, slot[other->node[i].shard], me);
}

static void post_part(sg_reduce *r, int peer, bool receive, int owner, const sg_gather *g) {
    sg_shards part = g->by_worker ? (sg_shards){owner, 1} : r->member[owner].own;

    post(r, peer, receive, (char *)g->data + (size_t)part.first * g->bytes,
         (size_t)part.count * g->bytes);
}

static void post_gathers(sg_reduce *r, int peer, const sg_gather *gather, int n) {
    for (int i = 0; i < n; i++) {
        post_part(r, peer, false, r->rank, &gather[i]);
        post_part(r, peer, true, peer, &gather[i]);
    }
}

sg_status sg_reduce_run(sg_reduce *r, const sg_reduce_means *means, float *const slot[],
                        const sg_bucket *bucket) {
    const member *me = &r->member[r->rank];
    bool whole = bucket->end - bucket->start <= kWholeFloats;

    if (bucket->n > SG_REDUCE_GATHERS)
        return sg_fail(SG_ERR_ARG, "reduce: %d blocks to gather", bucket->n);
    divide(r, bucket->start, bucket->end, whole);
    r->n = 0;
    for (int q = 0; q < r->size; q++) {
        if (q == r->rank) continue;
        post_nodes(r, q, slot);
        post_gathers(r, q, bucket->gather, bucket->n);
    }
    SG_TRY(sg_transport_exchange(means->transport, r->message, r->n, means->seconds));
    SG_TRY(sg_tree_join(r->shards, r->node, r->n_nodes, slot, me->start, me->end, means->adder));
    if (whole) return SG_OK;
    r->n = 0;
    for (int q = 0; q < r->size; q++) {
        if (q == r->rank) continue;
        post_floats(r, q, false, slot[0], me);
        post_floats(r, q, true, slot[0], &r->member[q]);
    }
    return sg_transport_exchange(means->transport, r->message, r->n, means->seconds);
}
