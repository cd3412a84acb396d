/* What a detector consists of: the graph of one picture, counted block by block. A block is what
 * the first two parts of a layer's name say: "backbone.stage1", "neck.16", "head.8". */
#include <stdio.h>
#include <string.h>

#include "core/line.h"
#include "nn/mask_detector.h"

enum { kBlockBytes = 64, kShapeBytes = 64 };

typedef struct {
    char name[kBlockBytes];
    sg_shape shape; /* of its last convolution's output */
    double flop;
    int64_t parameters;
} block;

static void block_name(const char *name, char out[kBlockBytes]) {
    const char *dot = strchr(name, '.');

    if (dot) dot = strchr(dot + 1, '.');
    snprintf(out, kBlockBytes, "%.*s", (int)(dot ? dot - name : (long)strlen(name)), name);
}

static int64_t count_parameters(const sg_table *table, const char *of) {
    char name[kBlockBytes];
    int64_t count = 0;

    for (int i = 0; i < table->n_entries; i++) {
        const sg_entry *e = &table->entry[i];

        block_name(e->name, name);
        if (e->kind != SG_ENTRY_STAT && (!of || strcmp(name, of) == 0))
            count += sg_shape_count(&e->shape);
    }
    return count;
}

static bool is_convolution(const sg_node *node, const char *of) {
    char name[kBlockBytes];

    block_name(node->name, name);
    return node->op == &sg_op_conv2d && (!of || strcmp(name, of) == 0);
}

/* Of all convolutions of the block: a multiply-add is 2. */
static block count_block(const sg_graph *g, const char *name) {
    block b = {.parameters = count_parameters(sg_graph_table(g), name)};

    snprintf(b.name, sizeof b.name, "%s", name ? name : "total");
    for (int i = 0; i < sg_graph_nodes(g); i++) {
        const sg_node *node = sg_graph_node(g, i);
        const sg_shape *w;

        if (!is_convolution(node, name)) continue;
        w = &node->in[1]->shape;
        b.shape = node->out[0].shape;
        b.flop +=
            2.0 * (double)sg_shape_count(&b.shape) * (double)(w->dim[1] * w->dim[2] * w->dim[3]);
    }
    return b;
}

static void add_block(sg_line *text, const block *b) {
    char shape[kShapeBytes];

    snprintf(shape, sizeof shape, "%lld x %lld x %lld", (long long)b->shape.dim[1],
             (long long)b->shape.dim[2], (long long)b->shape.dim[3]);
    sg_line_printf(text, "%-18s %-16s %10lld %9.1f\n", b->name, shape, (long long)b->parameters,
                   b->flop / 1e6);
}

static bool first_of_block(const sg_graph *g, int id, char name[kBlockBytes]) {
    block_name(sg_graph_node(g, id)->name, name);
    if (!is_convolution(sg_graph_node(g, id), NULL)) return false;
    for (int i = 0; i < id; i++)
        if (is_convolution(sg_graph_node(g, i), name)) return false;
    return true;
}

static sg_status summarize(const sg_graph *g, const sg_mask_detector_options *o, const block *total,
                           char **out) {
    sg_anchors anchors = sg_mask_detector_anchors(o);
    sg_line text = {0};
    char name[kBlockBytes];

    sg_line_printf(&text, "%-18s %-16s %10s %9s\n", "block", "output", "parameters", "MFLOP");
    for (int i = 0; i < sg_graph_nodes(g); i++) {
        block b;

        if (!first_of_block(g, i, name)) continue;
        b = count_block(g, name);
        add_block(&text, &b);
    }
    sg_line_printf(
        &text, "%s: %.3f M parameters, %.3f GFLOP a picture of %lld x %lld, %lld anchors\n",
        sg_detector_size_name(o->size), (double)total->parameters / 1e6, total->flop / 1e9,
        (long long)o->input, (long long)o->input, (long long)sg_anchor_count(&anchors));
    return sg_line_take(&text, out);
}

sg_status sg_mask_detector_summary(const sg_mask_detector_options *options, char **text,
                                   int64_t *parameters, double *flop) {
    sg_table *table = NULL;
    sg_graph *g = NULL;
    sg_status st = sg_table_create(&table);
    block total;

    if (st == SG_OK) st = sg_graph_create(SG_EVAL, table, &g);
    if (st == SG_OK) st = sg_mask_detector_build(g, 1, options);
    if (st != SG_OK) goto done;
    total = count_block(g, NULL);
    st = summarize(g, options, &total, text);
    if (st != SG_OK) goto done;
    if (parameters) *parameters = total.parameters;
    if (flop) *flop = total.flop;
done:
    sg_graph_destroy(g);
    sg_table_destroy(table);
    return st;
}
