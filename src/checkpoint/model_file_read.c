/* What a model file says, and the state that is in it. */
#include <string.h>

#include "checkpoint/model_file_reader.h"
#include "checkpoint/state_views.h"
#include "core/mem.h"

/* --- beside the state ------------------------------------------------------------------------- */

static sg_status read_counters(const sg_model_reader *r, sg_model_file *out) {
    const sg_shape scalar = sg_shape_0();

    for (int i = 0; i < SG_MODEL_COUNTERS; i++)
        SG_TRY(sg_model_read_numbers(r, sg_model_counters[i].path, sg_model_counter_type(i),
                                     &scalar, (char *)out + sg_model_counters[i].file));
    if (out->step < 0 || out->samples < 0 || out->epoch < 0)
        return sg_model_damaged(r, "/progress", "counts below zero");
    return SG_OK;
}

sg_status sg_model_read_classes(const sg_model_reader *r, sg_model_file *out) {
    int64_t n;
    size_t width;
    char *block;

    SG_TRY(sg_model_read_strings(r, SG_MODEL_CLASSES, &n, &block, &width));
    out->classes = sg_calloc((size_t)n + 1, sizeof *out->classes);
    for (int64_t i = 0; out->classes && i < n; i++) {
        out->classes[i] = sg_strdup(block + (size_t)i * (width + 1));
        if (!out->classes[i]) break;
        out->n_classes++;
    }
    sg_free(block);
    if (!out->classes || out->n_classes < n)
        return sg_fail(SG_ERR_OOM, "%s: no memory for %lld classes", r->path, (long long)n);
    return SG_OK;
}

/* The table of checksums says whether an older file lacks it. */
static sg_status read_text(const sg_model_reader *r, const sg_model_text *known, char **text) {
    size_t width;

    if (!known->younger || sg_model_find_name(r, known->path) >= 0)
        return sg_model_read_strings(r, known->path, NULL, text, &width);
    *text = sg_strdup("");
    return *text ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory for %s", r->path, known->path);
}

static sg_status read_known(const sg_model_reader *r, sg_model_file *out) {
    for (int i = 0; i < SG_MODEL_TEXTS; i++)
        SG_TRY(read_text(r, &sg_model_texts[i], (char **)((char *)out + sg_model_texts[i].file)));
    SG_TRY(sg_model_read_classes(r, out));
    return read_counters(r, out);
}

static sg_status read_file(const char *path, bool all, sg_model_file *out) {
    sg_model_file known = {0};
    sg_status st;
    sg_model_reader r;

    SG_TRY(sg_model_open(path, &r));
    st = read_known(&r, &known);
    if (st == SG_OK && all) st = sg_model_verify_rest(&r);
    st = sg_model_close(&r, st);
    if (st == SG_OK) *out = known;
    if (st != SG_OK) sg_model_file_clear(&known);
    return st;
}

sg_status sg_model_file_read(const char *path, sg_model_file *out) {
    return read_file(path, false, out);
}

sg_status sg_model_file_verify(const char *path, sg_model_file *out) {
    return read_file(path, true, out);
}

void sg_model_file_clear(sg_model_file *file) {
    for (int i = 0; i < SG_MODEL_TEXTS; i++)
        sg_free(*(char **)((char *)file + sg_model_texts[i].file));
    for (int64_t i = 0; i < file->n_classes; i++) sg_free(file->classes[i]);
    sg_free(file->classes);
    *file = (sg_model_file){0};
}

/* --- the state -------------------------------------------------------------------------------- */

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

/* A tensor of the file that the model does not know. */
static sg_status check_unused(const sg_model_reader *r, bool with_optimizer) {
    for (int64_t i = 0; i < r->n; i++) {
        const char *name = r->names + (size_t)i * r->width;

        if (r->used[i]) continue;
        if (starts_with(name, SG_MODEL_PARAMETERS) || starts_with(name, SG_MODEL_STATISTICS) ||
            starts_with(name, SG_MODEL_EMA) ||
            (with_optimizer && starts_with(name, SG_MODEL_OPTIMIZER)))
            return sg_fail(SG_ERR_DATA, "%s: holds %s, which this model does not have", r->path,
                           name);
    }
    return SG_OK;
}

static sg_status load_views(const sg_model_reader *r, const sg_state *state) {
    sg_state_view *views;
    sg_status st = SG_OK;
    int n;

    SG_TRY(sg_state_views_create(state, &views, &n));
    for (int i = 0; i < n && st == SG_OK; i++)
        st =
            sg_model_read_numbers(r, views[i].path, H5T_IEEE_F32LE, &views[i].shape, views[i].data);
    sg_state_views_destroy(views, n);
    return st == SG_OK ? check_unused(r, state->n_moments > 0 || state->rows_sum) : st;
}

static void copy_state(sg_state *to, const sg_state *from) {
    size_t values = (size_t)from->table->n_values * sizeof(float);
    size_t moments = (size_t)from->table->n_params * sizeof(float);
    size_t rows = (size_t)from->table->n_rows * sizeof(float);
    size_t sums = (size_t)sg_table_rows_sum(from->table, from->rule) * sizeof(float);

    memcpy(to->values, from->values, values);
    memcpy(to->ema, from->ema, values);
    for (int i = 0; i < to->n_moments; i++) memcpy(to->moment[i], from->moment[i], moments);
    if (rows > 0) memcpy(to->rows, from->rows, rows);
    if (sums > 0) memcpy(to->rows_sum, from->rows_sum, sums);
}

sg_status sg_model_file_load(const char *path, sg_state *state) {
    const sg_state_options options = {.n_moments = state->n_moments, .rule = state->rule};
    sg_model_file known = {0};
    sg_state *fresh = NULL;
    sg_status st;
    sg_model_reader r;

    SG_TRY(sg_model_open(path, &r));
    st = read_counters(&r, &known);
    if (st == SG_OK) st = sg_state_create_with(state->table, &options, &fresh);
    if (st == SG_OK) st = load_views(&r, fresh);
    st = sg_model_close(&r, st);
    if (st == SG_OK && fresh) {
        copy_state(state, fresh);
        state->step = known.step;
        state->samples = known.samples;
        state->seed = known.seed;
    }
    sg_state_destroy(fresh);
    return st;
}
