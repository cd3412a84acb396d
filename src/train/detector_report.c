#include "train/detector_report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "report/annotate.h"
#include "report/plot.h"
#include "train/confusion.h"

enum {
    kShown = 12,  /* pictures of the sheet, evenly from the list */
    kColumns = 4, /* of it */
    kCell = 400,  /* pixels */
    kHead = 34,   /* its legend's height */
    kColors = 6,  /* of classes; the seventh is that of all */
    kMostScale = 8,
    kFew = 6, /* boxes */
    kCrowd = 16,
    kNameBytes = 160,
};

typedef struct {
    int64_t sample, n;
    sg_detection *found; /* (n), above the score; owned */
} shown;

struct sg_detector_report {
    const sg_dataset *dataset;
    float min_score;
    int64_t *counts;   /* (classes + 1, classes + 1) */
    double *precision; /* (classes + 1, SG_AP_RECALLS); the last is their mean */
    sg_class_ap *ap;   /* (classes + 1), likewise */
    double recall[SG_AP_RECALLS];
    shown pictures[kShown];
    int n_shown;
};

static int64_t classes_of(const sg_detector_report *r) { return r->dataset->classes.n; }

sg_status sg_detector_report_create(const sg_dataset *dataset, float min_score,
                                    sg_detector_report **out) {
    size_t side = (size_t)dataset->classes.n + 1;
    sg_detector_report *r = sg_calloc(1, sizeof *r);

    if (!r) return sg_fail(SG_ERR_OOM, "report: no memory");
    r->dataset = dataset;
    r->min_score = min_score;
    r->counts = sg_calloc(side * side, sizeof *r->counts);
    r->precision = sg_calloc(side * SG_AP_RECALLS, sizeof *r->precision);
    r->ap = sg_calloc(side, sizeof *r->ap);
    r->n_shown = dataset->n < kShown ? (int)dataset->n : kShown;
    for (int i = 0; i < r->n_shown; i++) r->pictures[i].sample = i * dataset->n / r->n_shown;
    for (int i = 0; i < SG_AP_RECALLS; i++) r->recall[i] = i / (double)(SG_AP_RECALLS - 1);
    if (!r->counts || !r->precision || !r->ap) {
        sg_detector_report_destroy(r);
        return sg_fail(SG_ERR_OOM, "report: no memory for %zu classes", side - 1);
    }
    *out = r;
    return SG_OK;
}

void sg_detector_report_begin(sg_detector_report *r) {
    size_t side = (size_t)classes_of(r) + 1;

    memset(r->counts, 0, side * side * sizeof *r->counts);
    for (int i = 0; i < r->n_shown; i++) {
        sg_free(r->pictures[i].found);
        r->pictures[i].found = NULL;
        r->pictures[i].n = 0;
    }
}

void sg_detector_report_destroy(sg_detector_report *r) {
    if (!r) return;
    for (int i = 0; i < r->n_shown; i++) sg_free(r->pictures[i].found);
    sg_free(r->counts);
    sg_free(r->precision);
    sg_free(r->ap);
    sg_free(r);
}

static sg_status keep(const sg_detector_report *r, shown *s, const sg_detection *found,
                      int64_t n_found) {
    s->found = sg_malloc((size_t)n_found * sizeof *s->found);
    if (!s->found)
        return sg_fail(SG_ERR_OOM, "report: no memory for %lld boxes", (long long)n_found);
    for (int64_t i = 0; i < n_found; i++)
        if (found[i].score > r->min_score) s->found[s->n++] = found[i];
    return SG_OK;
}

sg_status sg_detector_report_add(sg_detector_report *r, int64_t sample, const sg_detection *found,
                                 int64_t n_found) {
    const sg_sample *s = &r->dataset->samples[sample];

    for (int i = 0; i < r->n_shown; i++)
        if (r->pictures[i].sample == sample) SG_TRY(keep(r, &r->pictures[i], found, n_found));
    return sg_confusion_add(classes_of(r), r->min_score, found, n_found, s->boxes, s->classes,
                            s->count, r->counts);
}

void sg_detector_report_finish(sg_detector_report *r, const sg_detection_metrics *metrics) {
    int64_t classes = classes_of(r), known = 0;
    double *mean = r->precision + classes * SG_AP_RECALLS, score[SG_AP_RECALLS];

    memset(mean, 0, SG_AP_RECALLS * sizeof *mean);
    for (int64_t c = 0; c < classes; c++) {
        double *p = r->precision + c * SG_AP_RECALLS;

        r->ap[c] = sg_detection_metrics_class(metrics, SG_AREA_ALL, c);
        sg_detection_metrics_curve(metrics, SG_AREA_ALL, c, 0, p, score);
        known += r->ap[c].count > 0;
        for (int i = 0; i < SG_AP_RECALLS; i++) {
            if (r->ap[c].count > 0) mean[i] += p[i];
            if (!(p[i] > 0.0)) p[i] = (double)NAN; /* a recall that is not reached */
        }
    }
    r->counts[(classes + 1) * (classes + 1) - 1] = -1; /* what is neither cannot be counted */
    r->ap[classes] = sg_detection_metrics_mean(metrics, SG_AREA_ALL);
    for (int i = 0; i < SG_AP_RECALLS; i++)
        mean[i] = mean[i] > 0.0 ? mean[i] / (double)known : (double)NAN;
}

/* --- precision over recall -------------------------------------------------------------------- */

static void legend_text(char *text, const char *name, const char *measure, sg_class_ap ap) {
    if (ap.count > 0)
        snprintf(text, kNameBytes, "%.100s: %s %.3f", name, measure, ap.ap50);
    else
        snprintf(text, kNameBytes, "%.100s: none there", name);
}

static sg_status draw_curves(const sg_detector_report *r, sg_plot_series *series,
                             char (*names)[kNameBytes], const char *folder) {
    int classes = r->dataset->classes.n;
    const sg_plot_panel panel = {.title = "Precision and recall at IoU 0.5",
                                 .x_label = "recall",
                                 .y_label = "precision",
                                 .x_max = 1.0,
                                 .y_max = 1.02,
                                 .series = series,
                                 .n_series = classes + (classes > 1),
                                 .share = 1};
    sg_image image;

    for (int c = 0; c <= classes; c++) {
        bool all = c == classes;

        legend_text(names[c], all ? "all classes" : r->dataset->classes.name[c],
                    all ? "mAP50" : "AP50", r->ap[c]);
        series[c] =
            (sg_plot_series){.name = names[c],
                             .x = r->recall,
                             .y = r->precision + (int64_t)c * SG_AP_RECALLS,
                             .n = SG_AP_RECALLS,
                             .color = all ? kColors : c / kColors * (kColors + 1) + c % kColors};
    }
    SG_TRY(sg_plot_lines(&panel, 1, SG_PLOT_WIDTH, SG_PLOT_HEIGHT, &image));
    return sg_plot_save(folder, "precision_recall.png", &image);
}

static sg_status draw_precision_recall(const sg_detector_report *r, const char *folder) {
    size_t n = (size_t)classes_of(r) + 1;
    sg_plot_series *series = sg_calloc(n, sizeof *series);
    char(*names)[kNameBytes] = sg_calloc(n, sizeof *names);
    sg_status st = series && names ? draw_curves(r, series, names, folder)
                                   : sg_fail(SG_ERR_OOM, "report: no memory for %zu curves", n);

    sg_free(series);
    sg_free(names);
    return st;
}

/* --- confusion -------------------------------------------------------------------------------- */

static sg_status draw_confusion(const sg_detector_report *r, const char *folder) {
    int side = r->dataset->classes.n + 1;
    const char **names = sg_calloc((size_t)side, sizeof *names);
    sg_plot_table table = {.row_title = "truth", .column_title = "prediction", .n = side};
    char title[kNameBytes];
    sg_image image;
    sg_status st;

    if (!names) return sg_fail(SG_ERR_OOM, "report: no memory for %d names", side);
    snprintf(title, sizeof title, "Confusion at IoU 0.5, score %.2f", (double)r->min_score);
    for (int i = 0; i + 1 < side; i++) names[i] = r->dataset->classes.name[i];
    names[side - 1] = "background";
    table.title = title;
    table.names = names;
    table.counts = r->counts;
    st = sg_plot_counts(&table, SG_PLOT_WIDTH, &image);
    if (st == SG_OK) st = sg_plot_save(folder, "confusion.png", &image);
    sg_free(names);
    return st;
}

/* --- pictures --------------------------------------------------------------------------------- */

/* Truths without tags, predictions with their scores: colours tell classes. */
static void list_boxes(const sg_sample *sample, const shown *s, sg_annotate_box *boxes) {
    for (int64_t i = 0; i < s->n; i++) {
        const sg_detection *d = &s->found[i];

        *boxes++ = (sg_annotate_box){d->box[0], d->box[1], d->box[2], d->box[3],
                                     d->label,  "",        d->score,  false};
    }
    for (int64_t i = 0; i < sample->count; i++) {
        const float *b = sample->boxes + i * 4;

        *boxes++ = (sg_annotate_box){b[0], b[1], b[2], b[3], sample->classes[i], NULL, -1.0f, true};
    }
}

/* At a whole multiple of the picture's size, at least two pixels for one of the cell, so that lines
 * and text come out smooth; text is larger where there are few boxes, and left out of crowds. */
static sg_annotate_options options_for(const sg_image *image, int64_t n) {
    int64_t longer = image->width > image->height ? image->width : image->height;
    sg_annotate_options o = {.scale = 1, .no_tags = n > kCrowd};
    double pixels;

    while (longer * o.scale < 2 * kCell && o.scale < kMostScale) o.scale++;
    pixels = (double)(longer * o.scale) / kCell; /* for one of the cell */
    o.text = (int)((n <= kFew ? 1.5 : 1.0) * pixels + 0.5);
    o.text = o.text < 1 ? 1 : o.text > kMostScale ? kMostScale : o.text;
    o.thickness = (int)(2.0 * pixels + 0.5);
    if (o.thickness < 1) o.thickness = 1;
    return o;
}

static sg_status draw_picture(const sg_detector_report *r, const shown *s, sg_image *out) {
    const sg_sample *sample = &r->dataset->samples[s->sample];
    int64_t n = s->n + sample->count;
    sg_annotate_box *boxes = sg_calloc((size_t)n, sizeof *boxes);
    sg_image image = {0}, large = {0};
    sg_status st = boxes ? SG_OK : sg_fail(SG_ERR_OOM, "report: no memory for boxes");

    if (st == SG_OK) st = sg_image_read(sample->path, &image);
    if (st == SG_OK) {
        sg_annotate_options o = options_for(&image, s->n);

        list_boxes(sample, s, boxes);
        st = sg_annotate(&image, boxes, n, &o, &large);
    }
    if (st == SG_OK) st = sg_image_fit(&large, kCell, kCell, out);
    sg_image_clear(&large);
    sg_image_clear(&image);
    sg_free(boxes);
    return st;
}

static void fill_rect(sg_image *image, int64_t x, int64_t y, int64_t w, int64_t h,
                      const uint8_t rgb[3]) {
    for (int64_t v = y; v < y + h; v++)
        for (int64_t u = x; u < x + w && u < image->width; u++)
            memcpy(image->rgb + (v * image->width + u) * 3, rgb, 3);
}

/* A line of colours and their meaning above the sheet. */
static void draw_head(const sg_detector_report *r, sg_image *image) {
    static const uint8_t ground[3] = {40, 40, 40}, light[3] = {235, 235, 235};
    const int scale = 2;
    int64_t x = 10, y = kHead / 2 - 7;

    fill_rect(image, 0, 0, image->width, kHead, ground);
    for (int i = 0; i < 3; i++) fill_rect(image, x + i * 10, y + 5, 6, 4, light);
    x += 38;
    sg_text_draw(image, x, y, "truth", scale, light);
    x += sg_text_width("truth", scale) + 24;
    for (int c = 0; c < r->dataset->classes.n && x < image->width; c++) {
        const char *name = r->dataset->classes.name[c];

        if (x + 24 + sg_text_width(name, scale) > image->width) break;
        fill_rect(image, x, y, 16, 14, sg_annotate_color(c));
        sg_text_draw(image, x + 24, y, name, scale, light);
        x += 24 + sg_text_width(name, scale) + 24;
    }
}

static sg_status add_head(const sg_detector_report *r, const sg_image *sheet, sg_image *out) {
    SG_TRY(sg_image_create(sheet->width, sheet->height + kHead, out));
    memcpy(out->rgb + kHead * sheet->width * 3, sheet->rgb,
           (size_t)(sheet->width * sheet->height * 3));
    draw_head(r, out);
    return SG_OK;
}

static sg_status draw_sheet(const sg_detector_report *r, const char *folder) {
    sg_image drawn[kShown] = {{0}}, sheet = {0}, whole = {0};
    const sg_image *images[kShown];
    const char *titles[kShown];
    sg_status st = SG_OK;

    for (int i = 0; i < r->n_shown && st == SG_OK; i++) {
        images[i] = &drawn[i];
        titles[i] = r->dataset->samples[r->pictures[i].sample].name;
        st = draw_picture(r, &r->pictures[i], &drawn[i]);
    }
    if (st == SG_OK)
        st = sg_image_grid(images, titles, r->n_shown,
                           r->n_shown < kColumns ? r->n_shown : kColumns, kCell, kCell, &sheet);
    if (st == SG_OK) st = add_head(r, &sheet, &whole);
    if (st == SG_OK) st = sg_plot_save(folder, "predictions.png", &whole);
    for (int i = 0; i < r->n_shown; i++) sg_image_clear(&drawn[i]);
    sg_image_clear(&sheet);
    return st;
}

sg_status sg_detector_report_draw(const sg_detector_report *r, const char *folder) {
    SG_TRY(draw_precision_recall(r, folder));
    SG_TRY(draw_confusion(r, folder));
    return draw_sheet(r, folder);
}
