/* The embedding bag: rows from all over a table that no cache holds, so what counts is that several
 * are on their way at once: while one group of positions is added, the rows of those kAhead further
 * on are asked for. */
#include <string.h>

#include "cpu/backend_cpu.h"
#include "cpu/bag.h"

enum { kAhead = 32 };

static sg_status bad_id(const sg_args *a, int64_t m, int32_t id) {
    int64_t F = a->node->in[0]->shape.dim[1];

    return sg_fail(SG_ERR_DATA, "%s (embedding_bag): id %d at (%lld, %lld); there are %lld",
                   a->node->name, id, (long long)(m / F), (long long)(m % F),
                   (long long)a->node->in[1]->shape.dim[0]);
}

static sg_status embedding_bag_run(const sg_args *a) {
    const sg_shape *s = &a->node->in[0]->shape;
    int64_t N = s->dim[0], F = s->dim[1], M = N * F;
    int64_t R = a->node->in[1]->shape.dim[0], d = a->node->in[1]->shape.dim[1];
    const int32_t *ids = a->in[0];
    const float *table = a->in[1], *weights = a->in[2];
    float *y = a->out[0], *sum = a->scratch;
    bag_rows rows = {.n = 0};

    if (d == 0) return SG_OK;
    if (F == 0) memset(y, 0, (size_t)(N * d) * sizeof *y);
    memset(sum, 0, (size_t)bag_width(d) * sizeof *sum);
    for (int64_t m = 0, f = 0; m < M; m++) {
        int32_t id = ids[m], next = m + kAhead < M ? ids[m + kAhead] : -1;

        if (id >= R) return bad_id(a, m, id);
        if (next >= 0 && next < R) bag_prefetch(table + next * d, d);
        if (id >= 0) bag_put(&rows, table + id * d, weights ? weights[m] : 1.0f, sum, d);
        if (++f < F) continue;
        bag_add(&rows, sum, d);
        memcpy(y, sum, (size_t)d * sizeof *y);
        memset(sum, 0, (size_t)d * sizeof *sum);
        y += d;
        f = 0;
    }
    return SG_OK;
}

sg_status sg_cpu_select_embedding_bag(sg_cpu *cpu, const sg_node *node, const sg_layout have[],
                                      sg_kernel_plan *plan) {
    (void)cpu;
    (void)have;
    sg_cpu_plan(plan, node, embedding_bag_run, SG_LAYOUT_PLAIN);
    plan->scratch = (size_t)bag_width(node->in[1]->shape.dim[1]) * sizeof(float);
    return SG_OK;
}
