/* The fixed binary tree in which what shards computed is added, and how workers share it.
 *
 *   ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))
 *
 * A node (shard, width) is the sum of shards `shard` .. `shard + width - 1`, as far as there are so
 * many; its width is a power of two and its shard a multiple of it. Floating-point addition is not
 * associative, so the tree is part of the definition of a step: whoever adds, and wherever, adds
 * the same two nodes.
 *
 * A worker owns some neighbouring shards. They consist of a few whole nodes, which it can add alone
 * (sg_tree_nodes); the sum of all workers' nodes then is the whole. */
#ifndef SG_DIST_TREE_H
#define SG_DIST_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Shards first .. first + count - 1. */
typedef struct {
    int first, count;
} sg_shards;

typedef struct {
    int shard, width;
} sg_tree_node;

enum { SG_TREE_NODES = 64 }; /* more than shards of an int can consist of */

/* What worker `rank` of `workers` owns: balanced, in order, all of them. More workers than shards
 * leave some with none. */
sg_shards sg_tree_share(int shards, int workers, int rank);

/* The largest nodes that `own` consists of, in order; how many: at most SG_TREE_NODES. */
int sg_tree_nodes(int shards, sg_shards own, sg_tree_node nodes[SG_TREE_NODES]);

/* Whether there is a node above `node` that `own` has all shards of: *parent. It is the sum of its
 * left half, which begins at its own shard, and of its right one, which begins at *right, or which
 * is not there, where *right is no shard. */
bool sg_tree_parent(int shards, sg_shards own, sg_tree_node node, sg_tree_node *parent, int *right);

/* sum[i] += other[i], in memory of whatever kind. */
typedef struct {
    void *context;
    /* May only be begun. */
    sg_status (*add)(void *context, float *sum, const float *other, int64_t floats);
    sg_status (*wait)(void *context); /* All that was begun is done. */
} sg_adder;

/* On this thread, in host memory. */
extern const sg_adder sg_adder_host;

/* slot[s], of floats start .. end - 1, becomes node (s, w) for each of the nodes of `own`, where
 * slot[s] was shard s before. Other slots are read and written too, those outside of `own` are
 * not. */
void sg_tree_add(int shards, sg_shards own, float *const slot[], int64_t start, int64_t end);

/* slot[0] becomes the whole, where slot[nodes[i].shard] is node i and the n nodes are all that the
 * shards consist of, in order. Floats start .. end - 1. Fails as `adder` does. */
sg_status sg_tree_join(int shards, const sg_tree_node *nodes, int n, float *const slot[],
                       int64_t start, int64_t end, const sg_adder *adder) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
