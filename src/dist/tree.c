#include "dist/tree.h"

#include <stddef.h>

sg_shards sg_tree_share(int shards, int workers, int rank) {
    int first = (int)((int64_t)shards * rank / workers);
    int end = (int)((int64_t)shards * (rank + 1) / workers);

    return (sg_shards){first, end - first};
}

static int end_of(int shards, int shard, int width) {
    return width < shards - shard ? shard + width : shards;
}

int sg_tree_nodes(int shards, sg_shards own, sg_tree_node nodes[SG_TREE_NODES]) {
    int n = 0, end = own.first + own.count;

    for (int s = own.first; s < end; n++) {
        int width = 1;

        while (s % (2 * width) == 0 && s + width < shards && end_of(shards, s, 2 * width) <= end)
            width *= 2;
        nodes[n] = (sg_tree_node){s, width};
        s = end_of(shards, s, width);
    }
    return n;
}

bool sg_tree_parent(int shards, sg_shards own, sg_tree_node node, sg_tree_node *parent,
                    int *right) {
    int width = 2 * node.width, shard = node.shard / width * width;

    if (node.width >= shards || shard < own.first) return false;
    if (end_of(shards, shard, width) > own.first + own.count) return false;
    *parent = (sg_tree_node){shard, width};
    *right = shard + node.width;
    return true;
}

static sg_status add(void *context, float *sum, const float *other, int64_t floats) {
    (void)context;
    for (int64_t i = 0; i < floats; i++) sum[i] += other[i];
    return SG_OK;
}

static sg_status nothing_to_wait_for(void *context) {
    (void)context;
    return SG_OK;
}

const sg_adder sg_adder_host = {NULL, add, nothing_to_wait_for};

void sg_tree_add(int shards, sg_shards own, float *const slot[], int64_t start, int64_t end) {
    int last = own.first + own.count;

    for (int width = 1; width < shards; width *= 2) {
        int s = (own.first + 2 * width - 1) / (2 * width) * (2 * width);

        for (; s + width < last && end_of(shards, s, 2 * width) <= last; s += 2 * width)
            (void)add(NULL, slot[s] + start, slot[s + width] + start, end - start);
    }
}

/* Where two nodes of one width are neighbours under one parent they become it; a node that is wider
 * already waits for its turn. */
sg_status sg_tree_join(int shards, const sg_tree_node *nodes, int n, float *const slot[],
                       int64_t start, int64_t end, const sg_adder *adder) {
    for (int width = 1; width < shards; width *= 2) {
        for (int i = 0; i < n; i++) {
            int s = nodes[i].shard;

            if (s % (2 * width) != 0 || nodes[i].width > width || s + width >= shards) continue;
            SG_TRY(
                adder->add(adder->context, slot[s] + start, slot[s + width] + start, end - start));
        }
    }
    return adder->wait(adder->context);
}
