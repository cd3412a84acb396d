/* Look at every text of every part, report every fault, stop at none.
 *
 * Parts are read leniently: what the reader would refuse is reported and left out. Then equal texts
 * of a task are found by sorting them. */
#include "data/text_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cells.h"
#include "core/mem.h"
#include "data/text_source.h"

enum { kTextBytes = 1024 };

typedef enum { KIND_ERROR, KIND_EMPTY, KIND_TWIN, KIND_CONFLICT, KIND_CLASS, KIND_COUNT } kind;

static const char *const kind_name[KIND_COUNT] = {"errors", "empty texts", "repeated texts",
                                                  "texts with another label elsewhere",
                                                  "classes without a text"};

typedef struct {
    sg_fault_fn report;
    void *context;
    sg_text_check_summary summary;
    int64_t seen[KIND_COUNT]; /* in the part that is looked at */
} check;

static void fault(check *c, kind what, const char *file, int line, const char *fmt, ...)
    SG_PRINTF(5, 6);
static void fault(check *c, kind what, const char *file, int line, const char *fmt, ...) {
    sg_fault_level level = what == KIND_ERROR ? SG_FAULT_ERROR : SG_FAULT_WARNING;
    char text[kTextBytes];
    va_list args;

    if (level == SG_FAULT_ERROR)
        c->summary.errors++;
    else
        c->summary.warnings++;
    if (++c->seen[what] > SG_TEXT_CHECK_SHOWN || !c->report) return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    c->report(c->context, level, file, line, text);
}

static void note_error(void *context, sg_fault_level level, const char *file, int line,
                       const char *text) {
    (void)level;
    fault(context, KIND_ERROR, file, line, "%s", text);
}

/* A part's end: how many of each kind were not told. */
static void end_part(check *c, const char *file) {
    for (int k = 0; k < KIND_COUNT; k++) {
        int64_t more = c->seen[k] - SG_TEXT_CHECK_SHOWN;
        char text[kTextBytes];

        c->seen[k] = 0;
        if (more <= 0 || !c->report) continue;
        snprintf(text, sizeof text, "and %lld %s more", (long long)more, kind_name[k]);
        c->report(c->context, k == KIND_ERROR ? SG_FAULT_ERROR : SG_FAULT_WARNING, file, 0, text);
    }
}

/* --- one part --------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;

    return p < q ? -1 : p > q;
}

static sg_status measure(const sg_text_part *part, sg_text_check_part *out) {
    int64_t *lengths = sg_malloc((size_t)part->n * sizeof *lengths);

    if (!lengths) return sg_fail(SG_ERR_OOM, "check: no memory for lengths");
    for (int64_t i = 0; i < part->n; i++) lengths[i] = part->rows[i].length;
    if (part->n > 0) {
        qsort(lengths, (size_t)part->n, sizeof *lengths, by_value);
        out->median_bytes = lengths[(part->n - 1) / 2];
        out->longest_bytes = lengths[part->n - 1];
    }
    sg_free(lengths);
    return SG_OK;
}

static sg_status count(check *c, const sg_text_part *part, sg_text_check_part *out, bool training) {
    const sg_classes *classes = &c->summary.classes[out->task];

    out->counts = sg_calloc((size_t)classes->n, sizeof *out->counts);
    if (!out->counts) return sg_fail(SG_ERR_OOM, "check: no memory for counts");
    out->n = part->n;
    c->summary.texts += part->n;
    for (int64_t i = 0; i < part->n; i++) {
        const sg_text_row *row = &part->rows[i];

        if (row->id >= 0) out->counts[row->id]++;
        if (row->text[strspn(row->text, " \t\r\n\v\f")] != '\0') continue;
        out->n_empty++;
        fault(c, KIND_EMPTY, part->path, row->line, "an empty text");
    }
    for (int i = 0; training && i < classes->n; i++)
        if (out->counts[i] == 0)
            fault(c, KIND_CLASS, part->path, 0, "no text of class `%.100s`", classes->name[i]);
    /* with errors the rows that have others may be missing */
    if (training && classes->n == 1 && c->seen[KIND_ERROR] == 0)
        fault(c, KIND_ERROR, part->path, 0,
              "all its labels are `%.100s`; at least two classes are needed", classes->name[0]);
    return measure(part, out);
}

/* Read one part; what cannot be read at all stays empty. */
static sg_status read_part(check *c, const sg_text_place *place, sg_text_check_part *out,
                           bool training, bool given, sg_text_part *part) {
    const sg_fault_sink sink = {note_error, c};
    sg_classes *classes = &c->summary.classes[out->task];
    sg_status st =
        sg_text_part_read(place, c->summary.names.name[out->task], out->split, &sink, part);

    if (st == SG_OK && !given && classes->n == 0) st = sg_text_part_classes(part, classes);
    if (st != SG_OK) {
        part->n = 0;
        return st == SG_ERR_CONFIG ? st : sg_fault_from_error(&sink, st, NULL);
    }
    SG_TRY(sg_text_part_resolve(part, classes, place->texts_only, &sink));
    return count(c, part, out, training);
}

/* --- equal texts ------------------------------------------------------------------------------ */

typedef struct {
    const sg_text_row *row;
    int part; /* index of the split */
} entry;

static int by_text(const void *a, const void *b) {
    const entry *p = *(const entry *const *)a, *q = *(const entry *const *)b;
    int64_t shorter = p->row->length < q->row->length ? p->row->length : q->row->length;
    int order = memcmp(p->row->text, q->row->text, (size_t)shorter);

    if (order) return order;
    if (p->row->length != q->row->length) return p->row->length < q->row->length ? -1 : 1;
    return p < q ? -1 : p > q; /* entries stand in the order of parts and lines */
}

static bool same_text(const entry *p, const entry *q) {
    return p->row->length == q->row->length &&
           memcmp(p->row->text, q->row->text, (size_t)p->row->length) == 0;
}

/* Where `first` is, seen from `e`. */
static void place_text(const entry *e, const entry *first, const char *first_path,
                       char text[kTextBytes]) {
    if (e->part == first->part)
        snprintf(text, kTextBytes, "line %d", first->row->line);
    else
        snprintf(text, kTextBytes, "%s:%d", first_path, first->row->line);
}

static void report_twin(check *c, sg_text_check_part *out, const char *path, const entry *e,
                        const entry *first, const char *first_path) {
    const sg_classes *classes = &c->summary.classes[out->task];
    int id = e->row->id, other = first->row->id;
    char place[kTextBytes];

    place_text(e, first, first_path, place);
    if (e->part == first->part)
        out->n_repeated++;
    else
        out->n_shared++;
    if (id == other) {
        fault(c, KIND_TWIN, path, e->row->line, "the same text as %s", place);
        return;
    }
    out->n_conflicts++;
    fault(c, KIND_CONFLICT, path, e->row->line,
          "the same text as %s, but the label is `%.60s`, and `%.60s` there", place,
          id < 0 ? "" : classes->name[id], other < 0 ? "" : classes->name[other]);
}

/* entries: (n), all texts of a task; sorted and first: room for n pointers. */
static void find_twins(check *c, const sg_text_part *parts, sg_text_check_part *out,
                       const entry *entries, int64_t n, const entry **sorted, const entry **first) {
    const entry *head = NULL;
    int part = 0;

    for (int64_t i = 0; i < n; i++) sorted[i] = &entries[i];
    if (n > 0) qsort((void *)sorted, (size_t)n, sizeof *sorted, by_text);
    for (int64_t i = 0; i < n; i++) {
        if (!head || !same_text(head, sorted[i])) head = sorted[i];
        first[sorted[i] - entries] = head;
    }
    for (int64_t i = 0; i < n; i++) {
        const entry *e = &entries[i], *f = first[i];

        while (part < e->part) end_part(c, parts[part++].path);
        if (f != e) report_twin(c, &out[e->part], parts[e->part].path, e, f, parts[f->part].path);
    }
    if (n > 0) end_part(c, parts[part].path);
}

static sg_status check_twins(check *c, const sg_text_part *parts, sg_text_check_part *out,
                             int n_parts) {
    int64_t n = 0;
    entry *entries;
    const entry **pointers;

    for (int p = 0; p < n_parts; p++) n += parts[p].n;
    entries = sg_malloc((size_t)n * sizeof *entries);
    pointers = sg_malloc((size_t)n * 2 * sizeof *pointers);
    if (!entries || !pointers) {
        sg_free(entries);
        sg_free((void *)pointers);
        return sg_fail(SG_ERR_OOM, "check: no memory to compare %lld texts", (long long)n);
    }
    n = 0;
    for (int p = 0; p < n_parts; p++)
        for (int64_t i = 0; i < parts[p].n; i++) entries[n++] = (entry){&parts[p].rows[i], p};
    find_twins(c, parts, out, entries, n, pointers, pointers + n);
    sg_free(entries);
    sg_free((void *)pointers);
    return SG_OK;
}

/* --- all -------------------------------------------------------------------------------------- */

static sg_status check_task(check *c, const sg_text_place *place, int task,
                            const char *const *splits, int n_splits, const sg_classes *classes) {
    sg_text_part *parts = sg_calloc((size_t)n_splits, sizeof *parts);
    sg_text_check_part *out = &c->summary.parts[task * n_splits];
    sg_status st = parts ? SG_OK : sg_fail(SG_ERR_OOM, "check: no memory for parts");

    if (st == SG_OK && classes) st = sg_classes_copy(&classes[task], &c->summary.classes[task]);
    for (int p = 0; p < n_splits && st == SG_OK; p++) {
        out[p].split = splits[p];
        out[p].task = task;
        st = read_part(c, place, &out[p], p == 0 && !place->texts_only, classes != NULL, &parts[p]);
        end_part(c, parts[p].path ? parts[p].path : place->root);
    }
    if (st == SG_OK) st = check_twins(c, parts, out, n_splits);
    for (int p = 0; parts && p < n_splits; p++) sg_text_part_clear(&parts[p]);
    sg_free(parts);
    return st;
}

sg_status sg_text_dataset_check(const sg_text_place *place, const char *const *splits, int n_splits,
                                const sg_classes *classes, sg_fault_fn report, void *context,
                                sg_text_check_summary *summary) {
    check c = {.report = report, .context = context};
    sg_text_check_summary *s = &c.summary;
    sg_status st = sg_text_place_tasks(place, &s->names);

    if (st == SG_OK) {
        s->n_tasks = s->names.n;
        s->n_parts = s->n_tasks * n_splits;
        s->classes = sg_calloc((size_t)s->n_tasks, sizeof *s->classes);
        s->parts = sg_calloc((size_t)s->n_parts, sizeof *s->parts);
        if (!s->classes || !s->parts) st = sg_fail(SG_ERR_OOM, "check: no memory for parts");
    }
    for (int t = 0; t < s->n_tasks && st == SG_OK; t++)
        st = check_task(&c, place, t, splits, n_splits, classes);
    if (st == SG_OK)
        *summary = *s;
    else
        sg_text_check_clear(s);
    return st;
}

void sg_text_check_clear(sg_text_check_summary *summary) {
    for (int i = 0; summary->classes && i < summary->n_tasks; i++)
        sg_classes_clear(&summary->classes[i]);
    for (int i = 0; summary->parts && i < summary->n_parts; i++) sg_free(summary->parts[i].counts);
    sg_free(summary->classes);
    sg_free(summary->parts);
    sg_classes_clear(&summary->names);
    *summary = (sg_text_check_summary){0};
}

/* --- for people ------------------------------------------------------------------------------- */

static const char *task_name(const sg_text_check_summary *s, int task) {
    return *s->names.name[task] ? s->names.name[task] : "-";
}

static void add_number(sg_cells *cells, int64_t n) { sg_cells_add(cells, "%lld", (long long)n); }

static sg_status table_of_parts(const sg_text_check_summary *s, char **out) {
    static const char *const heads[] = {"task",        "part",         "texts",
                                        "empty",       "repeated",     "in an earlier part",
                                        "other label", "median bytes", "longest"};
    enum { kColumns = sizeof heads / sizeof *heads };
    sg_cells cells = {.columns = kColumns, .left = 2};

    for (int i = 0; i < kColumns; i++) sg_cells_add(&cells, "%s", heads[i]);
    for (int i = 0; i < s->n_parts; i++) {
        const sg_text_check_part *p = &s->parts[i];

        sg_cells_add(&cells, "%s", task_name(s, p->task));
        sg_cells_add(&cells, "%s", p->split);
        add_number(&cells, p->n);
        add_number(&cells, p->n_empty);
        add_number(&cells, p->n_repeated);
        add_number(&cells, p->n_shared);
        add_number(&cells, p->n_conflicts);
        add_number(&cells, p->median_bytes);
        add_number(&cells, p->longest_bytes);
    }
    return sg_cells_lines(&cells, out);
}

static sg_status table_of_classes(const sg_text_check_summary *s, char **out) {
    int splits = s->n_parts / s->n_tasks;
    sg_cells cells = {.columns = 2 + splits, .left = 2};

    sg_cells_add(&cells, "task");
    sg_cells_add(&cells, "class");
    for (int p = 0; p < splits; p++) sg_cells_add(&cells, "%s", s->parts[p].split);
    for (int t = 0; t < s->n_tasks; t++)
        for (int i = 0; i < s->classes[t].n; i++) {
            sg_cells_add(&cells, "%s", task_name(s, t));
            sg_cells_add(&cells, "%s", s->classes[t].name[i]);
            for (int p = 0; p < splits; p++) {
                const int64_t *counts = s->parts[t * splits + p].counts;

                add_number(&cells, counts ? counts[i] : 0);
            }
        }
    return sg_cells_lines(&cells, out);
}

sg_status sg_text_check_table(const sg_text_check_summary *summary, char **out) {
    char *parts = NULL, *classes = NULL, *both = NULL;
    sg_status st = table_of_parts(summary, &parts);

    if (st == SG_OK) st = table_of_classes(summary, &classes);
    if (st == SG_OK) {
        both = sg_str_printf("%s\n%s", parts, classes);
        st = both ? SG_OK : sg_fail(SG_ERR_OOM, "check: no memory for its table");
    }
    sg_free(parts);
    sg_free(classes);
    if (both) *out = both;
    return st;
}
