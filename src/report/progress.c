/* Rates come from two anchors: `newer` moves up every five seconds and leaves `older` behind, so
 * that they always cover the last five to ten. */
#include "report/progress.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/threads.h"
#include "core/utf8.h"

enum { kLine = 512, kDefaultWidth = 80, kFields = 7, kField = 160, kNumbers = 80 };

static const double kRedrawSeconds = 0.1;
static const double kAnchorSeconds = 5.0;

typedef struct {
    double time, wait;
    int64_t samples, step;
} anchor;

struct sg_progress {
    sg_progress_options options;
    pthread_mutex_t mutex;
    anchor first, older, newer; /* valid once `begun` */
    bool begun, shown;
    double last_drawn;
    char line[kLine]; /* the living line, for sg_progress_line */
};

static double time_now(const sg_progress *p) {
    return p->options.now ? p->options.now(p->options.context) : sg_now();
}

static void put(sg_progress *p, const char *text) {
    p->options.write(p->options.context, text, strlen(text));
}

/* ---- the line ---- */

static void duration(double seconds, char *text, size_t size) {
    long long s = seconds < 0 || !(seconds < 1e9) ? 999999999 : (long long)(seconds + 0.5);

    if (s >= 3600)
        snprintf(text, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, size, "%lld:%02lld", s / 60, s % 60);
}

/* Fields in the order of the line. An unknown one is empty. */
typedef struct {
    char text[kFields][kField];
} fields;

static void append(char *text, size_t size, const char *fmt, ...) SG_PRINTF(3, 4);
static void append(char *text, size_t size, const char *fmt, ...) {
    size_t used = strlen(text);
    va_list args;

    va_start(args, fmt);
    vsnprintf(text + used, size - used, fmt, args);
    va_end(args);
}

static void write_fields(const sg_progress *p, const sg_progress_state *s, double now, fields *f) {
    double window = now - p->older.time, all = now - p->first.time;
    int64_t steps = s->step - p->first.step;
    char left[32];

    memset(f, 0, sizeof *f);
    append(f->text[0], kField, "epoch %lld/%lld", (long long)s->epoch, (long long)s->epochs);
    append(f->text[1], kField, "step %lld", (long long)s->step);
    if (s->steps > 0) append(f->text[1], kField, "/%lld", (long long)s->steps);
    for (int i = 0; i < s->n_parts && i < SG_PROGRESS_PARTS; i++)
        append(f->text[2], kField, "%s%s %.3g", i > 0 ? " " : "", s->part[i].name,
               s->part[i].value);
    append(f->text[3], kField, "lr %.3g", s->lr);
    if (window > 0 && s->samples > p->older.samples) {
        append(f->text[4], kField, "%.1f %s", (double)(s->samples - p->older.samples) / window,
               p->options.rate ? p->options.rate : "img/s");
        append(f->text[5], kField, "data wait %.0f %%",
               100.0 * (s->wait_seconds - p->older.wait) / window);
    }
    if (s->steps > s->step && steps > 0) {
        duration(all / (double)steps * (double)(s->steps - s->step), left, sizeof left);
        append(f->text[6], kField, "ETA %s", left);
    }
}

/* Join the fields within `width` columns, leaving out the least important ones first. */
static void join_fields(fields *f, int width, char *line) {
    static const int kLeast[] = {3, 5, 4, 0, 2, 6};

    for (int left_out = 0; left_out <= (int)(sizeof kLeast / sizeof kLeast[0]); left_out++) {
        if (left_out > 0) f->text[kLeast[left_out - 1]][0] = '\0';
        line[0] = '\0';
        for (int i = 0; i < kFields; i++)
            if (f->text[i][0]) append(line, kLine, "%s%s", line[0] ? "  " : "", f->text[i]);
        if ((int)strlen(line) <= width) return;
    }
    if (width >= 0 && width < kLine) line[width] = '\0';
}

static void move_anchors(sg_progress *p, const sg_progress_state *s, double now) {
    anchor here = {now, s->wait_seconds, s->samples, s->step};

    if (!p->begun) {
        p->first = p->older = p->newer = here;
        p->begun = true;
        p->last_drawn = now - p->options.plain_seconds - 1.0;
    } else if (now - p->newer.time >= kAnchorSeconds) {
        p->older = p->newer;
        p->newer = here;
    }
}

static void clear_line(sg_progress *p) {
    if (p->shown) put(p, "\r\x1b[K");
    p->shown = false;
}

static void draw(sg_progress *p, const sg_progress_state *s, double now, bool keep) {
    int width = kLine - 1;
    char text[kLine + 16];
    fields f;

    if (p->options.terminal)
        width = (p->options.width ? p->options.width(p->options.context) : kDefaultWidth) - 1;
    write_fields(p, s, now, &f);
    join_fields(&f, width, p->line);
    if (p->options.terminal)
        snprintf(text, sizeof text, "\r%s\x1b[K%s", p->line, keep ? "\n" : "");
    else
        snprintf(text, sizeof text, "%s\n", p->line);
    put(p, text);
    p->shown = p->options.terminal && !keep;
    p->last_drawn = now;
}

/* ---- public ---- */

sg_status sg_progress_create(const sg_progress_options *options, sg_progress **out) {
    sg_progress *p = sg_calloc(1, sizeof *p);

    if (!p) return sg_fail(SG_ERR_OOM, "no memory for the progress line");
    p->options = *options;
    pthread_mutex_init(&p->mutex, NULL); /* never fails with default attributes on Linux */
    *out = p;
    return SG_OK;
}

void sg_progress_destroy(sg_progress *p) {
    if (!p) return;
    clear_line(p);
    pthread_mutex_destroy(&p->mutex);
    sg_free(p);
}

void sg_progress_update(sg_progress *p, const sg_progress_state *state) {
    double now, interval;

    pthread_mutex_lock(&p->mutex);
    now = time_now(p);
    interval = p->options.terminal ? kRedrawSeconds : p->options.plain_seconds;
    move_anchors(p, state, now);
    if (now - p->last_drawn >= interval) draw(p, state, now, false);
    pthread_mutex_unlock(&p->mutex);
}

void sg_progress_keep(sg_progress *p, const sg_progress_state *state) {
    double now;

    pthread_mutex_lock(&p->mutex);
    now = time_now(p);
    move_anchors(p, state, now);
    draw(p, state, now, true);
    pthread_mutex_unlock(&p->mutex);
}

void sg_progress_line(sg_progress *p, const char *line) {
    bool again;

    pthread_mutex_lock(&p->mutex);
    again = p->shown;
    clear_line(p);
    put(p, line);
    put(p, "\n");
    if (again) put(p, p->line);
    p->shown = again;
    pthread_mutex_unlock(&p->mutex);
}

void sg_progress_clear(sg_progress *p) {
    pthread_mutex_lock(&p->mutex);
    clear_line(p);
    pthread_mutex_unlock(&p->mutex);
}

/* ---- evaluation ---- */

static void fraction(double value, char text[16]) {
    if (isnan(value))
        snprintf(text, 16, "-");
    else
        snprintf(text, 16, "%.3f", value);
}

static size_t table_row_bytes(const sg_table_row *row, int width) {
    return strlen(row->name) + (size_t)width + kNumbers;
}

static size_t table_row(const sg_table_row *row, int width, char *text, size_t size) {
    char ap50[16], ap50_95[16];

    fraction(row->ap50, ap50);
    fraction(row->ap50_95, ap50_95);
    return (size_t)snprintf(text, size, "%s%*s  %8lld  %6s  %7s\n", row->name,
                            width - sg_utf8_letters(row->name), "", (long long)row->count, ap50,
                            ap50_95);
}

sg_status sg_table_evaluation(const sg_table_row *rows, int n_rows, const sg_table_row *all,
                              char **text) {
    static const char kHeadings[] = "     boxes    AP50  AP50:95";
    int width = sg_utf8_letters("class");
    size_t size, used;
    char *table;

    for (int i = 0; i <= n_rows; i++) {
        int own = sg_utf8_letters(i < n_rows ? rows[i].name : all->name);

        if (own > width) width = own;
    }
    size = (size_t)width + sizeof kHeadings + 1 + table_row_bytes(all, width);
    for (int i = 0; i < n_rows; i++) size += table_row_bytes(&rows[i], width);
    table = sg_malloc(size);
    if (!table) return sg_fail(SG_ERR_OOM, "no memory for a table of %d rows", n_rows);
    used = (size_t)snprintf(table, size, "%-*s%s\n", width, "class", kHeadings);
    for (int i = 0; i < n_rows; i++) used += table_row(&rows[i], width, table + used, size - used);
    table_row(all, width, table + used, size - used);
    *text = table;
    return SG_OK;
}
