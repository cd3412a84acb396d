#include "dist/tree.h"

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

static void add(float *sum, const float *other, int64_t start, int64_t end) {
    for (int64_t i = start; i < end; i++) sum[i] += other[i];
}

void sg_tree_add(int shards, sg_shards own, float *const slot[], int64_t start, int64_t end) {
    int last = own.first + own.count;

    for (int width = 1; width < shards; width *= 2) {
        int s = (own.first + 2 * width - 1) / (2 * width) * (2 * width);

        for (; s + width < last && end_of(shards, s, 2 * width) <= last; s += 2 * width)
            add(slot[s], slot[s + width], start, end);
    }
}

/* Where two nodes of one width are neighbours under one parent they become it; a node that is wider
 * already waits for its turn. */
void sg_tree_join(int shards, const sg_tree_node *nodes, int n, float *const slot[], int64_t start,
                  int64_t end) {
    for (int width = 1; width < shards; width *= 2) {
        for (int i = 0; i < n; i++) {
            int s = nodes[i].shard;

            if (s % (2 * width) != 0 || nodes[i].width > width || s + width >= shards) continue;
            add(slot[s], slot[s + width], start, end);
        }
    }
}
