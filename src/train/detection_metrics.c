/* Average precision, as in pycocotools 2.0 (cocoeval.py: evaluateImg, accumulate, summarize).
 *
 * A picture's boxes are matched when it is added: for each area range and IoU threshold a box is a
 * hit, a miss, or ignored, one bit each. What stays is a record per box, 48 bytes. `finish` sorts
 * the records by (class, score, picture, place), which is COCO's stable sort of the pictures in
 * order, and walks each class once for each of the 4 * 10 curves. */
#include "train/detection_metrics.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

typedef struct {
    int64_t picture;
    int64_t place; /* in `found` */
    float score;
    int32_t label;
    uint16_t hit[SG_AREA_COUNT], ignored[SG_AREA_COUNT]; /* a bit for each threshold */
} record;

typedef struct {
    double precision[SG_AP_RECALLS], score[SG_AP_RECALLS];
    double recall; /* at the lowest score */
} curve;

struct sg_detection_metrics {
    int64_t classes, max_boxes;
    int64_t *truths; /* (areas, classes) truths that are not ignored */
    record *records;
    int64_t n_records, records_room;
    int64_t *pictures;
    int64_t n_pictures, pictures_room;
    curve *curves; /* (areas, classes, thresholds); NULL until finished */
};

/* What one call of add works in: one block, cut up. */
typedef struct {
    record *ranked;  /* (n_found) by (label, score, place) */
    double *iou;     /* (boxes of the class, truths of the class) */
    int64_t *truths; /* (truths of the class) rows of truth_boxes */
    int64_t *order;  /* (truths of the class) columns of iou, ignored ones last */
    bool *outside;   /* (truths of the class) outside the area range */
    bool *taken;     /* (truths of the class) */
} scratch;

static double threshold_at(int t) { /* numpy.linspace(.5, 0.95, 10), to the bit */
    return t == SG_AP_THRESHOLDS - 1 ? 0.95 : t * ((0.95 - 0.5) / 9) + 0.5;
}

static double width_of(const float *box) { return (double)box[2] - (double)box[0]; }
static double height_of(const float *box) { return (double)box[3] - (double)box[1]; }

/* COCO's ranges hold both their ends; these do not overlap. */
static bool is_outside(const float *box, int area) {
    static const double low[SG_AREA_COUNT] = {0.0, 0.0, 256.0, 1024.0};
    static const double high[SG_AREA_COUNT] = {1e10, 256.0, 1024.0, 1e10};
    double size = width_of(box) * height_of(box);

    if (area == SG_AREA_SMALL || area == SG_AREA_MEDIUM)
        return size < low[area] || size >= high[area];
    return size < low[area] || size > high[area];
}

/* bbIou of maskApi.c: on x, y, w, h. */
static double coco_iou(const float *a, const float *b) {
    double aw = width_of(a), ah = height_of(a), bw = width_of(b), bh = height_of(b);
    double W = fmin(aw + (double)a[0], bw + (double)b[0]) - fmax((double)a[0], (double)b[0]);
    double H = fmin(ah + (double)a[1], bh + (double)b[1]) - fmax((double)a[1], (double)b[1]);

    if (W <= 0.0 || H <= 0.0) return 0.0;
    return W * H / (aw * ah + bw * bh - W * H);
}

sg_status sg_detection_metrics_create(int64_t classes, int64_t max_boxes,
                                      sg_detection_metrics **out) {
    sg_detection_metrics *m;

    if (classes < 1 || classes > INT32_MAX || max_boxes < 1)
        return sg_fail(SG_ERR_ARG, "metrics: %lld classes with %lld boxes make no sense",
                       (long long)classes, (long long)max_boxes);
    m = sg_calloc(1, sizeof *m);
    if (m) m->truths = sg_calloc((size_t)classes * SG_AREA_COUNT, sizeof *m->truths);
    if (!m || !m->truths) {
        sg_free(m);
        return sg_fail(SG_ERR_OOM, "metrics: no memory for %lld classes", (long long)classes);
    }
    m->classes = classes;
    m->max_boxes = max_boxes;
    *out = m;
    return SG_OK;
}

void sg_detection_metrics_destroy(sg_detection_metrics *m) {
    if (!m) return;
    sg_free(m->truths);
    sg_free(m->records);
    sg_free(m->pictures);
    sg_free(m->curves);
    sg_free(m);
}

/* Room for n more elements in an array that grows by doubling. */
static sg_status reserve(void **array, size_t element, int64_t used, int64_t n, int64_t *room) {
    int64_t wanted = *room > 0 ? *room : 64;
    void *larger;

    if (used + n <= *room) return SG_OK;
    while (wanted < used + n) wanted *= 2;
    larger = sg_realloc(*array, (size_t)used * element, (size_t)wanted * element);
    if (!larger) return sg_fail(SG_ERR_OOM, "metrics: no memory for %lld boxes", (long long)wanted);
    *array = larger;
    *room = wanted;
    return SG_OK;
}

static sg_status check_box(const sg_detection_metrics *m, int64_t picture, const char *what,
                           int64_t i, const float *box, int64_t label) {
    if (label < 0 || label >= m->classes)
        return sg_fail(SG_ERR_ARG, "metrics: picture %lld, %s %lld: no class %lld",
                       (long long)picture, what, (long long)i, (long long)label);
    for (int k = 0; k < 4; k++)
        if (!isfinite(box[k]))
            return sg_fail(SG_ERR_ARG, "metrics: picture %lld, %s %lld: its box is not finite",
                           (long long)picture, what, (long long)i);
    return SG_OK;
}

/* By class, then falling score, then picture, then place. */
static int compare_records(const void *a, const void *b) {
    const record *x = a, *y = b;

    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->picture != y->picture) return x->picture < y->picture ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* Columns of iou: truths inside the range in their order, then those outside in theirs. */
static int64_t order_truths(scratch *s, const float *truth_boxes, int64_t n, int area) {
    int64_t inside = 0, at;

    for (int64_t g = 0; g < n; g++) {
        s->outside[g] = is_outside(truth_boxes + s->truths[g] * 4, area);
        if (!s->outside[g]) s->order[inside++] = g;
    }
    at = inside;
    for (int64_t g = 0; g < n; g++)
        if (s->outside[g]) s->order[at++] = g;
    return inside;
}

/* The truth that the box with this row of iou takes at a threshold, or -1: the best one inside the
 * range, the last of equals; one outside only if there is none inside. */
static int64_t find_truth(const scratch *s, const double *iou, int64_t n, double threshold) {
    double best = fmin(threshold, 1.0 - 1e-10);
    int64_t found = -1;

    for (int64_t k = 0; k < n; k++) {
        int64_t g = s->order[k];

        if (s->taken[g]) continue;
        if (found >= 0 && !s->outside[found] && s->outside[g]) break;
        if (iou[g] < best) continue;
        best = iou[g];
        found = g;
    }
    return found;
}

/* Fill the bits of a class's boxes, best first, and count its truths. */
static void match_class(sg_detection_metrics *m, scratch *s, int32_t label, record *boxes,
                        int64_t n_boxes, const sg_detection *found, const float *truth_boxes,
                        int64_t n_truths) {
    for (int64_t d = 0; d < n_boxes; d++)
        for (int64_t g = 0; g < n_truths; g++)
            s->iou[d * n_truths + g] =
                coco_iou(found[boxes[d].place].box, truth_boxes + s->truths[g] * 4);
    for (int area = 0; area < SG_AREA_COUNT; area++) {
        m->truths[area * m->classes + label] += order_truths(s, truth_boxes, n_truths, area);
        for (int t = 0; t < SG_AP_THRESHOLDS; t++) {
            for (int64_t g = 0; g < n_truths; g++) s->taken[g] = false;
            for (int64_t d = 0; d < n_boxes; d++) {
                int64_t g = find_truth(s, s->iou + d * n_truths, n_truths, threshold_at(t));
                bool ignored = g >= 0 ? s->outside[g] : is_outside(found[boxes[d].place].box, area);

                if (g >= 0) s->taken[g] = true;
                boxes[d].hit[area] |= (uint16_t)((g >= 0) << t);
                boxes[d].ignored[area] |= (uint16_t)(ignored << t);
            }
        }
    }
}

static sg_status scratch_create(int64_t n_found, int64_t max_boxes, int64_t n_truths,
                                scratch *out) {
    size_t boxes = (size_t)(n_found < max_boxes ? n_found : max_boxes);
    size_t ranked = sg_align_up((size_t)n_found * sizeof(record));
    size_t iou = sg_align_up(boxes * (size_t)n_truths * sizeof(double));
    size_t rows = sg_align_up((size_t)n_truths * sizeof(int64_t));
    size_t flags = sg_align_up((size_t)n_truths * sizeof(bool));
    char *block = sg_calloc(1, ranked + iou + 2 * rows + 2 * flags);

    if (!block) return sg_fail(SG_ERR_OOM, "metrics: no memory for %lld boxes", (long long)n_found);
    out->ranked = (record *)block;
    out->iou = (double *)(block + ranked);
    out->truths = (int64_t *)(block + ranked + iou);
    out->order = (int64_t *)(block + ranked + iou + rows);
    out->outside = (bool *)(block + ranked + iou + 2 * rows);
    out->taken = (bool *)(block + ranked + iou + 2 * rows + flags);
    return SG_OK;
}

static sg_status check_picture(const sg_detection_metrics *m, int64_t picture,
                               const sg_detection *found, int64_t n_found, const float *truth_boxes,
                               const int32_t *truth_labels, int64_t n_truths) {
    for (int64_t i = 0; i < n_found; i++) {
        SG_TRY(check_box(m, picture, "found", i, found[i].box, found[i].label));
        if (!isfinite(found[i].score))
            return sg_fail(SG_ERR_ARG, "metrics: picture %lld, found %lld: its score is %g",
                           (long long)picture, (long long)i, (double)found[i].score);
    }
    for (int64_t i = 0; i < n_truths; i++)
        SG_TRY(check_box(m, picture, "truth", i, truth_boxes + i * 4, truth_labels[i]));
    return SG_OK;
}

sg_status sg_detection_metrics_add(sg_detection_metrics *m, int64_t picture,
                                   const sg_detection *found, int64_t n_found,
                                   const float *truth_boxes, const int32_t *truth_labels,
                                   int64_t n_truths) {
    int64_t at = 0;
    scratch s = {0};

    SG_TRY(check_picture(m, picture, found, n_found, truth_boxes, truth_labels, n_truths));
    SG_TRY(reserve((void **)&m->records, sizeof(record), m->n_records, n_found, &m->records_room));
    SG_TRY(reserve((void **)&m->pictures, sizeof(int64_t), m->n_pictures, 1, &m->pictures_room));
    SG_TRY(scratch_create(n_found, m->max_boxes, n_truths, &s));
    for (int64_t i = 0; i < n_found; i++)
        s.ranked[i] = (record){
            .picture = picture, .place = i, .score = found[i].score, .label = found[i].label};
    qsort(s.ranked, (size_t)n_found, sizeof(record), compare_records);
    for (int32_t label = 0; label < m->classes; label++) {
        int64_t first = at, n_boxes, n = 0;

        while (at < n_found && s.ranked[at].label == label) at++;
        n_boxes = at - first < m->max_boxes ? at - first : m->max_boxes;
        for (int64_t g = 0; g < n_truths; g++)
            if (truth_labels[g] == label) s.truths[n++] = g;
        match_class(m, &s, label, s.ranked + first, n_boxes, found, truth_boxes, n);
        if (n_boxes > 0)
            memcpy(m->records + m->n_records, s.ranked + first, (size_t)n_boxes * sizeof(record));
        m->n_records += n_boxes;
    }
    m->pictures[m->n_pictures++] = picture;
    sg_free(s.ranked);
    return SG_OK;
}

static int compare_pictures(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static sg_status check_pictures(sg_detection_metrics *m) {
    if (m->n_pictures > 0)
        qsort(m->pictures, (size_t)m->n_pictures, sizeof *m->pictures, compare_pictures);
    for (int64_t i = 1; i < m->n_pictures; i++)
        if (m->pictures[i] == m->pictures[i - 1])
            return sg_fail(SG_ERR_ARG, "metrics: picture %lld was added twice",
                           (long long)m->pictures[i]);
    return SG_OK;
}

/* One class's records, best first, at one area and threshold. recall and precision: (n), work
 * space. */
static void fill_curve(const record *r, int64_t n, int64_t truths, int area, int t, double *recall,
                       double *precision, curve *out) {
    int64_t hits = 0, misses = 0, at = 0;

    for (int i = 0; i < SG_AP_RECALLS; i++)
        out->precision[i] = out->score[i] = truths ? 0.0 : (double)NAN;
    out->recall = truths ? 0.0 : (double)NAN;
    if (truths == 0 || n == 0) return;
    for (int64_t i = 0; i < n; i++) {
        bool ignored = r[i].ignored[area] >> t & 1, hit = r[i].hit[area] >> t & 1;

        hits += !ignored && hit;
        misses += !ignored && !hit;
        recall[i] = (double)hits / (double)truths;
        precision[i] = (double)hits / ((double)(hits + misses) + DBL_EPSILON);
    }
    out->recall = recall[n - 1];
    for (int64_t i = n - 1; i > 0; i--) precision[i - 1] = fmax(precision[i - 1], precision[i]);
    for (int i = 0; i < SG_AP_RECALLS; i++) {
        double wanted = i == SG_AP_RECALLS - 1 ? 1.0 : i * 0.01; /* numpy.linspace(0, 1, 101) */

        while (at < n && recall[at] < wanted) at++;
        if (at == n) break;
        out->precision[i] = precision[at];
        out->score[i] = (double)r[at].score;
    }
}

static curve *curve_at(const sg_detection_metrics *m, int area, int64_t label, int t) {
    return m->curves + (area * m->classes + label) * SG_AP_THRESHOLDS + t;
}

sg_status sg_detection_metrics_finish(sg_detection_metrics *m) {
    size_t n_curves = (size_t)m->classes * SG_AREA_COUNT * SG_AP_THRESHOLDS;
    int64_t first = 0, end = 0;
    double *work;

    SG_TRY(check_pictures(m));
    if (!m->curves) m->curves = sg_calloc(n_curves, sizeof *m->curves);
    if (!m->curves) return sg_fail(SG_ERR_OOM, "metrics: no memory for %zu curves", n_curves);
    work = sg_malloc((size_t)m->n_records * 2 * sizeof *work);
    if (!work) {
        sg_free(m->curves);
        m->curves = NULL;
        return sg_fail(SG_ERR_OOM, "metrics: no memory for %lld boxes", (long long)m->n_records);
    }
    if (m->n_records > 0) qsort(m->records, (size_t)m->n_records, sizeof(record), compare_records);
    for (int64_t label = 0; label < m->classes; label++, first = end) {
        while (end < m->n_records && m->records[end].label == label) end++;
        for (int area = 0; area < SG_AREA_COUNT; area++)
            for (int t = 0; t < SG_AP_THRESHOLDS; t++)
                fill_curve(m->records + first, end - first, m->truths[area * m->classes + label],
                           area, t, work, work + m->n_records, curve_at(m, area, label, t));
    }
    sg_free(work);
    return SG_OK;
}

static double mean_precision(const curve *c) {
    double sum = 0.0;

    for (int i = 0; i < SG_AP_RECALLS; i++) sum += c->precision[i];
    return sum / SG_AP_RECALLS;
}

sg_class_ap sg_detection_metrics_class(const sg_detection_metrics *m, sg_area area, int64_t label) {
    sg_class_ap ap = {.ap50_95 = 0.0};

    assert(m->curves && label >= 0 && label < m->classes);
    ap.count = m->truths[area * m->classes + label];
    ap.ap50 = mean_precision(curve_at(m, area, label, 0));
    ap.recall50 = curve_at(m, area, label, 0)->recall;
    for (int t = 0; t < SG_AP_THRESHOLDS; t++)
        ap.ap50_95 += mean_precision(curve_at(m, area, label, t)) / SG_AP_THRESHOLDS;
    return ap;
}

sg_class_ap sg_detection_metrics_mean(const sg_detection_metrics *m, sg_area area) {
    sg_class_ap mean = {0};
    int64_t n = 0;

    for (int64_t label = 0; label < m->classes; label++) {
        sg_class_ap ap = sg_detection_metrics_class(m, area, label);

        if (ap.count == 0) continue;
        mean.count += ap.count;
        mean.ap50 += ap.ap50;
        mean.ap50_95 += ap.ap50_95;
        mean.recall50 += ap.recall50;
        n++;
    }
    if (n == 0) return (sg_class_ap){.ap50 = NAN, .ap50_95 = NAN, .recall50 = NAN};
    mean.ap50 /= (double)n;
    mean.ap50_95 /= (double)n;
    mean.recall50 /= (double)n;
    return mean;
}

void sg_detection_metrics_curve(const sg_detection_metrics *m, sg_area area, int64_t label,
                                int threshold, double precision[SG_AP_RECALLS],
                                double score[SG_AP_RECALLS]) {
    const curve *c;

    assert(m->curves && label >= 0 && label < m->classes);
    assert(threshold >= 0 && threshold < SG_AP_THRESHOLDS);
    c = curve_at(m, area, label, threshold);
    memcpy(precision, c->precision, sizeof c->precision);
    memcpy(score, c->score, sizeof c->score);
}
