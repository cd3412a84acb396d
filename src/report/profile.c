#define _GNU_SOURCE
#include "report/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "ops/ops.h"

enum { kMaxGroups = 64 };

typedef struct {
    double seconds, flop, bytes;
    int n; /* program steps */
    const char *label;
    char name[320];
} row;

typedef struct {
    row *rows;
    int n;
} row_list;

static int by_time(const void *a, const void *b) {
    const row *x = a, *y = b;

    if (x->seconds != y->seconds) return x->seconds < y->seconds ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void add_to(row *sum, const row *r) {
    sum->seconds += r->seconds;
    sum->flop += r->flop;
    sum->bytes += r->bytes;
    sum->n += r->n;
}

static row step_row(const sg_program *p, int i, double seconds) {
    sg_step_view view = sg_program_step(p, i);
    row r = {seconds, view.flop, view.bytes, 1, view.label, ""};

    snprintf(r.name, sizeof r.name, "%s%s%s", view.prologue ? "(prologue) " : "", view.node->name,
             view.conversion ? " (conversion)" : "");
    return r;
}

/* Sums by op and kernel: "conv2d_dw  onednn jit:avx2". */
static void group(const sg_program *p, const row_list *steps, row_list *groups) {
    for (int i = 0; i < steps->n; i++) {
        sg_step_view view = sg_program_step(p, i);
        const char *op = view.conversion ? "(conversion)" : view.node->op->name;
        int k = 0;

        while (k < groups->n && (strcmp(groups->rows[k].name, op) != 0 ||
                                 strcmp(groups->rows[k].label, view.label) != 0))
            k++;
        if (k == kMaxGroups) k = kMaxGroups - 1; /* the rest goes with the last */
        if (k == groups->n) {
            memset(&groups->rows[k], 0, sizeof groups->rows[k]);
            groups->rows[k].label = view.label;
            snprintf(groups->rows[k].name, sizeof groups->rows[k].name, "%s", op);
            groups->n++;
        }
        add_to(&groups->rows[k], &steps->rows[i]);
    }
}

static void print_row(FILE *out, const row *r, int64_t runs, double total) {
    double scale = r->seconds > 0 ? (double)runs / r->seconds * 1e-9 : 0.0;

    fprintf(out, "%9.3f %6.1f %9.1f %7.1f %5d  %-28s %s\n", 1e3 * r->seconds / (double)runs,
            total > 0 ? 100.0 * r->seconds / total : 0.0, r->flop * scale, r->bytes * scale, r->n,
            r->label, r->name);
}

static void print_rows(FILE *out, const char *title, row_list *list, int64_t runs, double total) {
    qsort(list->rows, (size_t)list->n, sizeof *list->rows, by_time);
    fprintf(out, "%9s %6s %9s %7s %5s  %-28s %s\n", "ms", "%", "GFLOP/s", "GB/s", "steps", "kernel",
            title);
    for (int i = 0; i < list->n; i++) print_row(out, &list->rows[i], runs, total);
}

static sg_status write_table(FILE *out, const sg_program *p, row_list *steps, row_list *groups,
                             int64_t runs) {
    row total = {0, 0, 0, 0, "", "all"};

    for (int i = 0; i < steps->n; i++) add_to(&total, &steps->rows[i]);
    group(p, steps, groups);
    print_rows(out, "node", steps, runs, total.seconds);
    fprintf(out, "\n");
    print_rows(out, "op", groups, runs, total.seconds);
    print_row(out, &total, runs, total.seconds);
    return ferror(out) ? sg_fail(SG_ERR_OOM, "profile: no memory") : SG_OK;
}

sg_status sg_profile_table(const sg_program *p, const double *seconds, int64_t runs, char **text) {
    row_list steps = {sg_malloc(((size_t)sg_program_steps(p) + 1) * sizeof(row)),
                      sg_program_steps(p)};
    row_list groups = {sg_malloc(kMaxGroups * sizeof(row)), 0};
    char *buffer = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&buffer, &size);
    sg_status st = SG_OK;

    if (!steps.rows || !groups.rows || !out) st = sg_fail(SG_ERR_OOM, "profile: no memory");
    for (int i = 0; st == SG_OK && i < steps.n; i++) steps.rows[i] = step_row(p, i, seconds[i]);
    if (st == SG_OK) st = write_table(out, p, &steps, &groups, runs);
    if (out && fclose(out) != 0 && st == SG_OK) st = sg_fail(SG_ERR_OOM, "profile: no memory");
    if (st == SG_OK) {
        *text = sg_strdup(buffer);
        if (!*text) st = sg_fail(SG_ERR_OOM, "profile: no memory");
    }
    free(buffer);
    sg_free(steps.rows);
    sg_free(groups.rows);
    return st;
}
