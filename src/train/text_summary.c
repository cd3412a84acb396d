#include "train/text_summary.h"

#include <stdio.h>
#include <string.h>

#include "core/cells.h"
#include "core/mem.h"
#include "report/line.h"

enum { kPiece = 256 };

/* --- one line --------------------------------------------------------------------------------- */

static void put_tasks(sg_line *line, const sg_text_model *m) {
    if (m->n_tasks > 1) sg_line_printf(line, ", %lld tasks:", (long long)m->n_tasks);
    for (int t = 0; t < m->n_tasks; t++) {
        sg_line_text(line, t == 0 && m->n_tasks > 1 ? " " : ", ");
        if (m->tasks.name[t][0]) {
            sg_line_visible(line, m->tasks.name[t], strlen(m->tasks.name[t]));
            sg_line_text(line, ": ");
        }
        sg_line_printf(line, "%lld classes", (long long)m->task_classes[t]);
    }
}

static void put_ngrams(sg_line *line, const sg_text_model *m) {
    const sg_tokenizer_options *o = sg_tokenizer_options_of(m->tokenizer);
    const sg_ngrams *n = &o->ngrams;

    sg_line_text(line, "; n-grams of ");
    if (n->words > 1)
        sg_line_printf(line, "1-%lld words", (long long)n->words);
    else if (n->words == 1)
        sg_line_text(line, "1 word");
    if (n->words > 0 && n->char_max > 0) sg_line_text(line, " and ");
    if (n->char_max > 0) {
        if (n->char_min < n->char_max) sg_line_printf(line, "%lld-", (long long)n->char_min);
        sg_line_printf(line, "%lld characters", (long long)n->char_max);
    }
    sg_line_printf(line, " in %lld rows", (long long)sg_tokenizer_rows(m->tokenizer));
    if (m->option[0].wide) sg_line_text(line, ", which vote");
    if (m->option[0].bag > 0)
        sg_line_printf(line, ", a bag of width %lld", (long long)m->option[0].bag);
}

static void put_encoder(sg_line *line, const sg_text_encoder_options *e) {
    bool cnn = e->kind == SG_ENCODER_GATED_CNN;

    sg_line_printf(line, "; a %s of", cnn ? "gated CNN" : "transformer");
    sg_line_printf(line, " %lld layer%s", (long long)e->layers, e->layers == 1 ? "" : "s");
    sg_line_printf(line, ", width %lld", (long long)e->width);
    if (cnn) sg_line_printf(line, ", windows of %lld", (long long)e->kernel);
    sg_line_printf(line, ", over %lld subwords", (long long)e->vocabulary);
    sg_line_printf(line, ", at most %lld of a text", (long long)e->positions);
}

/* What is put after it ends the line. */
static void put_model(sg_line *line, const sg_text_model *m) {
    sg_line_text(line, "text_classifier");
    put_tasks(line, m);
    if (sg_tokenizer_options_of(m->tokenizer)->ngrams.buckets > 0) put_ngrams(line, m);
    if (m->option[0].encoder.layers > 0) put_encoder(line, &m->option[0].encoder);
}

static void put_masked_model(sg_line *line, const sg_masked_model *m) {
    sg_line_printf(line, "masked_tokens, %.3g %% of subwords to be guessed",
                   100.0 * m->masking.share);
    put_encoder(line, &m->option[0].encoder);
}

sg_status sg_text_model_line(const sg_text_model *m, char **out) {
    sg_line line = {0};

    put_model(&line, m);
    return sg_line_take(&line, out);
}

sg_status sg_masked_model_line(const sg_masked_model *m, char **out) {
    sg_line line = {0};

    put_masked_model(&line, m);
    return sg_line_take(&line, out);
}

/* --- many ------------------------------------------------------------------------------------- */

static void write_shape(const sg_shape *shape, char *text, size_t size) {
    size_t used = 0;

    *text = '\0';
    for (int i = 0; i < shape->rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i > 0 ? " x " : "",
                                 (long long)shape->dim[i]);
}

static sg_status write_table(const sg_table *table, char **out) {
    sg_cells cells = {.columns = 3, .left = 2};
    int64_t all = 0, rows = 0;

    sg_cells_add(&cells, "part");
    sg_cells_add(&cells, "shape");
    sg_cells_add(&cells, "parameters");
    for (int i = 0; i < table->n_entries; i++) {
        const sg_entry *e = &table->entry[i];
        char shape[kPiece];

        write_shape(&e->shape, shape, sizeof shape);
        sg_cells_add(&cells, "%s", e->name);
        sg_cells_add(&cells, "%s", shape);
        sg_cells_add(&cells, "%lld", (long long)e->count);
        all += e->count;
        if (e->kind == SG_ENTRY_ROWS) rows += e->count;
    }
    sg_cells_add(&cells, "all");
    sg_cells_add(&cells, " ");
    sg_cells_add(&cells, "%lld", (long long)all);
    if (rows > 0) {
        sg_cells_add(&cells, "in tables of n-grams");
        sg_cells_add(&cells, " ");
        sg_cells_add(&cells, "%lld", (long long)rows);
    }
    return sg_cells_lines(&cells, out);
}

/* The parameters, by building it once. */
static sg_status table_of_parts(sg_build_fn build, void *context, char **out) {
    sg_graph *graph = NULL;
    sg_table *table = NULL;
    sg_status st = sg_table_create(&table);

    if (st == SG_OK) st = sg_graph_create(SG_EVAL, table, &graph);
    if (st == SG_OK) st = build(graph, 1, context);
    if (st == SG_OK) {
        sg_table_freeze(table);
        st = write_table(table, out);
    }
    sg_graph_destroy(graph);
    sg_table_destroy(table);
    return st;
}

static void put_shapes(sg_line *line, const sg_text_shapes *s) {
    sg_line_text(line, "\na batch has the smallest of these that holds its longest text:");
    for (int i = 0; i < s->n; i++) {
        sg_line_text(line, i > 0 ? "; " : " ");
        if (s->features[i] > 0) sg_line_printf(line, "%lld n-grams", (long long)s->features[i]);
        if (s->features[i] > 0 && s->length[i] > 0) sg_line_text(line, ", ");
        if (s->length[i] > 0) sg_line_printf(line, "%lld subwords", (long long)s->length[i]);
    }
    sg_line_text(line, "\n");
}

/* What `line` says, then the parts. */
static sg_status summarize(sg_line *line, sg_build_fn build, void *const *contexts,
                           const sg_text_shapes *shapes, char **out) {
    char *parts = NULL;
    sg_status st = table_of_parts(build, contexts[shapes->n - 1], &parts);

    if (st != SG_OK) {
        sg_line_clear(line);
        return st;
    }
    sg_line_text(line, "\n\n");
    sg_line_text(line, parts);
    put_shapes(line, shapes);
    sg_free(parts);
    return sg_line_take(line, out);
}

sg_status sg_text_model_summary(const sg_text_model *m, char **out) {
    sg_line line = {0};

    put_model(&line, m);
    return summarize(&line, sg_text_classifier_build, m->contexts, &m->shapes, out);
}

sg_status sg_masked_model_summary(const sg_masked_model *m, char **out) {
    sg_line line = {0};

    put_masked_model(&line, m);
    return summarize(&line, sg_masked_tokens_build, m->contexts, &m->shapes, out);
}
