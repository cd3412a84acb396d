/* The sum of all shards' gradients, where workers computed some shards each: the nodes of the tree
 * that a worker has (dist/tree.h) travel, and are added in the tree's order, so that the sum has
 * the same bits for any number of workers.
 *
 * A long gradient is divided into a piece a worker: everyone sends each other worker that one's
 * piece of its nodes, adds its own piece of all nodes, and sends the sum to all (for k nodes a
 * worker (k + 1) / 2 of the bytes of a ring all-reduce). A short one is sent whole, in one round.
 *
 * The same rounds gather what is not added: blocks that consist of the shards', or the workers',
 * parts. */
#ifndef SG_DIST_REDUCE_H
#define SG_DIST_REDUCE_H

#include "dist/transport.h"
#include "dist/tree.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A block in parts, of which each worker has its own when it begins, and all when it is done. */
typedef struct {
    void *data;
    size_t bytes;   /* of a part */
    bool by_worker; /* a part a worker; else a part a shard, those of a worker being its own */
} sg_gather;

enum { SG_REDUCE_GATHERS = 16 };

/* A part of the gradients that is added at once, and what is gathered with it. */
typedef struct {
    int64_t start, end; /* floats start .. end - 1 */
    bool last;          /* of the step */
    const sg_gather *gather;
    int n; /* gathers, at most SG_REDUCE_GATHERS */
} sg_bucket;

typedef struct sg_reduce sg_reduce;

/* For worker `rank` of `size`. SG_ERR_OOM. */
sg_status sg_reduce_create(int shards, int size, int rank, sg_reduce **out) SG_CHECKED;
void sg_reduce_destroy(sg_reduce *r); /* NULL is fine */

/* What carries and adds: memory that both can work on. */
typedef struct {
    sg_transport *transport;
    const sg_adder *adder;
    double seconds; /* a round may take */
} sg_reduce_means;

/* slot: (shards) gradients. On entry the bucket of slot[s] holds node s for each node of this
 * worker's share, the rest of it is scratch. On return that of slot[0] holds the whole, and the
 * gathers are filled. Fails as sg_transport_exchange, which it calls at most twice, and as the
 * adder; buckets and gathers then hold nothing. */
sg_status sg_reduce_run(sg_reduce *r, const sg_reduce_means *means, float *const slot[],
                        const sg_bucket *bucket) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
