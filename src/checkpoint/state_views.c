#include "checkpoint/state_views.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

static int compare_views(const void *a, const void *b) {
    return strcmp(((const sg_state_view *)a)->path, ((const sg_state_view *)b)->path);
}

static sg_status append(sg_state_view *views, int *n, const char *group, const sg_entry *entry,
                        sg_shape shape, float *data) {
    char *path = sg_str_printf("/%s/%s", group, entry->name);

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory for its path", entry->name);
    views[(*n)++] = (sg_state_view){path, shape, data};
    return SG_OK;
}

static sg_status append_rows(sg_state_view *views, int *n, const sg_state *s,
                             const sg_entry *entry) {
    SG_TRY(append(views, n, "parameters", entry, entry->shape, s->rows + entry->offset));
    if (s->rule == SG_ROWS_SGD) return SG_OK;
    return append(views, n, "optimizer/sum", entry, sg_entry_sum_shape(entry, s->rule),
                  s->rows_sum + sg_entry_sum_offset(entry, s->rule));
}

static sg_status append_entry(sg_state_view *views, int *n, const sg_state *s,
                              const sg_entry *entry) {
    static const char *const moments[2] = {"optimizer/moment1", "optimizer/moment2"};
    int is_stat = entry->kind == SG_ENTRY_STAT;
    int64_t at = entry->offset;

    assert(s->n_moments <= 2);
    if (entry->kind == SG_ENTRY_ROWS) return append_rows(views, n, s, entry);
    SG_TRY(append(views, n, is_stat ? "statistics" : "parameters", entry, entry->shape,
                  s->values + at));
    SG_TRY(append(views, n, "ema", entry, entry->shape, s->ema + at));
    for (int i = 0; i < 2 && i < s->n_moments && !is_stat; i++)
        SG_TRY(append(views, n, moments[i], entry, entry->shape, s->moment[i] + at));
    return SG_OK;
}

sg_status sg_state_views_create(const sg_state *s, sg_state_view **out, int *out_n) {
    size_t room = (size_t)s->table->n_entries * 4;
    sg_state_view *views = sg_calloc(room, sizeof *views);
    sg_status st = SG_OK;
    int n = 0;

    if (!views) return sg_fail(SG_ERR_OOM, "no memory for the names of %zu views", room);
    for (int i = 0; i < s->table->n_entries && st == SG_OK; i++)
        st = append_entry(views, &n, s, &s->table->entry[i]);
    if (st != SG_OK) {
        sg_state_views_destroy(views, n);
        return st;
    }
    qsort(views, (size_t)n, sizeof *views, compare_views);
    *out = views;
    *out_n = n;
    return SG_OK;
}

void sg_state_views_destroy(sg_state_view *views, int n) {
    for (int i = 0; views && i < n; i++) sg_free(views[i].path);
    sg_free(views);
}
