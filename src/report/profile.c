#define _GNU_SOURCE
#include "report/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "ops/ops.h"

enum { kMaxGroups = 64, kGaps = 3, kNameWidth = 34, kKernelWidth = 20 };

typedef struct {
    double seconds, flop, bytes;
    double roof; /* seconds of one run at the machine's peaks */
    int n;       /* program steps */
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
    sum->roof += r->roof;
    sum->n += r->n;
}

static row step_row(const sg_profile *p, int i) {
    sg_step_view view = sg_program_step(p->program, i);
    row r = {p->seconds[i], view.flop, view.bytes, 0.0, 1, view.label, ""};

    if (!p->on_device) r.roof = sg_cpu_peak_seconds(&p->peak, view.flop, view.bytes);
    snprintf(r.name, sizeof r.name, "%s%s", view.node->name, view.conversion ? " (convert)" : "");
    return r;
}

/* Sums by op and kernel: "conv2d_dw  onednn jit:avx2". */
static void group(const sg_program *p, const row_list *body, row_list *groups) {
    for (int i = 0; i < body->n; i++) {
        sg_step_view view = sg_program_step(p, sg_program_steps(p) - body->n + i);
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
        add_to(&groups->rows[k], &body->rows[i]);
    }
}

/* The end of a name that is too long says more than its start. */
static const char *short_name(const char *name, int width) {
    size_t length = strlen(name);

    return length > (size_t)width ? name + length - (size_t)width : name;
}

static double share(double part, double whole) { return whole > 0.0 ? 100.0 * part / whole : 0.0; }

static void print_row(FILE *out, const row *r, int64_t runs, double total) {
    double seconds = r->seconds > 0 ? r->seconds / (double)runs : 1e-12; /* of one run */
    char roof[16] = "-";

    if (r->roof > 0.0) snprintf(roof, sizeof roof, "%.1f", share(r->roof, seconds));
    fprintf(out, "%8.3f %5.1f %8.1f %7.1f %6s %4d  %-*.*s %s\n", 1e3 * seconds,
            share(r->seconds, total), 1e-9 * r->flop / seconds, 1e-9 * r->bytes / seconds, roof,
            r->n, kKernelWidth, kKernelWidth, r->label, short_name(r->name, kNameWidth));
}

static void print_rows(FILE *out, const char *title, row_list *list, int64_t runs, double total) {
    qsort(list->rows, (size_t)list->n, sizeof *list->rows, by_time);
    fprintf(out, "%8s %5s %8s %7s %6s %4s  %-*s %s\n", "ms", "%", "GFLOP/s", "GB/s", "roof %", "n",
            kKernelWidth, "kernel", title);
    for (int i = 0; i < list->n; i++) print_row(out, &list->rows[i], runs, total);
}

/* --- the whole step and the gaps ---------------------------------------------------------------
 */

static void print_peaks(FILE *out, const sg_cpu_peak *peak) {
    fprintf(out,
            "peaks of one thread, measured: %.1f GFLOP/s; %.1f GB/s up to %.1f MB, %.1f up to "
            "%.0f MB, %.1f beyond\n\n",
            1e-9 * peak->flop_rate, 1e-9 * peak->level[0].rate, 0x1p-20 * peak->level[0].bytes,
            1e-9 * peak->level[1].rate, 0x1p-20 * peak->level[1].bytes, 1e-9 * peak->level[2].rate);
}

static void print_part(FILE *out, const sg_profile *p, double seconds, const char *what) {
    fprintf(out, "%8.3f %5.1f  %s\n", 1e3 * seconds / (double)p->steps, share(seconds, p->whole),
            what);
}

/* `total`: of the shards' nodes. The parts add up to the whole. */
static void print_step(FILE *out, const sg_profile *p, const row *total) {
    double rest = p->whole - p->wait - p->prologue - p->parallel - p->tree - p->update;
    double roof = total->roof * (double)(p->steps * p->shards) / p->threads;
    char line[96];

    fprintf(out, "\n%8s %5s  a step\n", "ms", "%");
    print_part(out, p, p->wait, "waiting for the batch");
    print_part(out, p, p->prologue, "prologue: filters into their kernels' layouts");
    snprintf(line, sizeof line, "%lld shards on %d thread%s, busy %.0f %%", (long long)p->shards,
             p->threads, p->threads == 1 ? "" : "s",
             share(total->seconds / p->threads, p->parallel));
    print_part(out, p, p->parallel, line);
    print_part(out, p, p->tree, "tree: the shards' gradients added");
    print_part(out, p, p->update, "update: clipping, optimizer, averages");
    print_part(out, p, rest, "the rest");
    snprintf(line, sizeof line, "the whole step: %.1f %% of the roofline", share(roof, p->whole));
    print_part(out, p, p->whole, line);
}

/* Nodes were timed alone, so their sum is no part of the whole. */
static void print_device_step(FILE *out, const sg_profile *p, const row *total) {
    double nodes = total->seconds / (double)p->runs * (double)p->shards;

    fprintf(out, "\n%8s %5s  a step\n", "ms", "%");
    print_part(out, p, p->wait, "waiting for the batch");
    print_part(out, p, p->whole, "the whole step, recorded, none ahead of it");
    fprintf(out, "%8.3f        its shards' nodes, each alone and ten times over\n", 1e3 * nodes);
}

static double gap(const row *r, int64_t runs) { return r->seconds / (double)runs - r->roof; }

/* The kGaps rows that are furthest above the roofline, largest first; NULL where there are fewer.
 */
static void find_gaps(const row_list *list, int64_t runs, const row *largest[kGaps]) {
    memset(largest, 0, kGaps * sizeof *largest);
    for (int i = 0; i < list->n; i++) {
        const row *r = &list->rows[i];

        for (int k = 0; r && k < kGaps; k++) {
            const row *smaller = largest[k];

            if (smaller && gap(smaller, runs) >= gap(r, runs)) continue;
            largest[k] = r;
            r = smaller;
        }
    }
}

static void print_gaps(FILE *out, const row_list *body, const row_list *groups, int64_t runs) {
    const row *largest[kGaps];

    fprintf(out, "\n%8s  largest gaps: milliseconds of a shard above the roofline\n", "ms");
    find_gaps(body, runs, largest);
    for (int k = 0; k < kGaps && largest[k]; k++)
        fprintf(out, "%8.3f  %s\n", 1e3 * gap(largest[k], runs), largest[k]->name);
    find_gaps(groups, runs, largest);
    fprintf(out, "by op:");
    for (int k = 0; k < kGaps && largest[k]; k++)
        fprintf(out, "%s %s %.1f", k > 0 ? "," : "", largest[k]->name, 1e3 * gap(largest[k], runs));
    fprintf(out, "\n");
}

static sg_status write_table(FILE *out, const sg_profile *p, row_list *body, row_list *groups) {
    row total = {0, 0, 0, 0, 0, "", "all"};
    int64_t runs = p->runs;

    for (int i = 0; i < body->n; i++) add_to(&total, &body->rows[i]);
    group(p->program, body, groups);
    if (!p->on_device) print_peaks(out, &p->peak);
    print_rows(out, "node", body, runs, total.seconds);
    fprintf(out, "\n");
    print_rows(out, "op", groups, runs, total.seconds);
    print_row(out, &total, runs, total.seconds);
    if (p->on_device) {
        print_device_step(out, p, &total);
    } else {
        print_step(out, p, &total);
        print_gaps(out, body, groups, runs);
    }
    return ferror(out) ? sg_fail(SG_ERR_OOM, "profile: no memory") : SG_OK;
}

sg_status sg_profile_table(const sg_profile *p, char **text) {
    int n = sg_program_steps(p->program), first = 0;
    row_list body = {sg_malloc(((size_t)n + 1) * sizeof(row)), 0};
    row_list groups = {sg_malloc(kMaxGroups * sizeof(row)), 0};
    char *buffer = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&buffer, &size);
    sg_status st = SG_OK;

    if (!body.rows || !groups.rows || !out) st = sg_fail(SG_ERR_OOM, "profile: no memory");
    while (first < n && sg_program_step(p->program, first).prologue) first++;
    for (int i = first; st == SG_OK && i < n; i++) body.rows[body.n++] = step_row(p, i);
    if (st == SG_OK) st = write_table(out, p, &body, &groups);
    if (out && fclose(out) != 0 && st == SG_OK) st = sg_fail(SG_ERR_OOM, "profile: no memory");
    if (st == SG_OK) {
        *text = sg_strdup(buffer);
        if (!*text) st = sg_fail(SG_ERR_OOM, "profile: no memory");
    }
    free(buffer);
    sg_free(body.rows);
    sg_free(groups.rows);
    return st;
}
