/* YOLO's label files. */
#include "data/yolo.h"

#include <stdbool.h>
#include <string.h>

#include "core/mem.h"

enum { kNumbers = 5, kFirstBoxes = 16, kMaxDigits = 15, kMaxExponent = 300 };

/* converters write 1.000001, and some let boxes reach out by a pixel */
static const double kHighest = 1.01;

/* Decimal digits with point and exponent, whatever the locale; no nan, no inf. *s is moved behind.
 */
static bool parse_number(const char **s, double *out) {
    const char *p = *s;
    bool negative = *p == '-', point = false;
    double value = 0.0;
    int digits = 0, kept = 0, scale = 0, exponent = 0;

    if (*p == '-' || *p == '+') p++;
    for (;; p++) {
        if (*p == '.' && !point) {
            point = true;
            continue;
        }
        if (*p < '0' || *p > '9') break;
        digits++;
        if (kept < kMaxDigits) {
            value = value * 10.0 + (*p - '0');
            kept += value > 0.0;
            scale -= point;
        } else {
            scale += !point;
        }
        if (scale > kMaxExponent || scale < -kMaxExponent) return false;
    }
    if (digits == 0) return false;
    if (*p == 'e' || *p == 'E') {
        bool down = p[1] == '-';

        p += 1 + (p[1] == '-' || p[1] == '+');
        if (*p < '0' || *p > '9') return false;
        for (; *p >= '0' && *p <= '9'; p++)
            if (exponent < kMaxExponent) exponent = 10 * exponent + (*p - '0');
        scale += down ? -exponent : exponent;
    }
    double power = 1.0;
    for (int i = scale < 0 ? -scale : scale; i > 0 && power < 1e300; i--) power *= 10.0;
    value = scale < 0 ? value / power : value * power;
    *out = negative ? -value : value;
    *s = p;
    return true;
}

static double snap(double value, double low, double high) {
    if (value < low && value > low - 0.5) return low;
    return value > high && value < high + 0.5 ? high : value;
}

typedef struct {
    const char *path;
    int64_t width, height;
    int n_classes;
    const sg_fault_sink *sink;
    sg_yolo_box *boxes;
    int64_t n, capacity;
} job;

static sg_status grow(job *j) {
    int64_t capacity = j->capacity ? 2 * j->capacity : kFirstBoxes;
    sg_yolo_box *larger;

    if (j->n < j->capacity) return SG_OK;
    if (j->n == SG_YOLO_MAX_BOXES)
        return sg_fail(SG_ERR_DATA, "%s: more than %d boxes", j->path, SG_YOLO_MAX_BOXES);
    larger = sg_realloc(j->boxes, (size_t)j->n * sizeof *larger, (size_t)capacity * sizeof *larger);
    if (!larger) return sg_fail(SG_ERR_OOM, "%s: no memory for its boxes", j->path);
    j->boxes = larger;
    j->capacity = capacity;
    return SG_OK;
}

/* Numbers of the line, at most kNumbers kept; -1: something is none, and `*bad` is there. */
static int split(const char *text, double v[kNumbers], const char **bad) {
    int n = 0;

    for (const char *p = text;; n++) {
        double value;

        while (*p == ' ') p++;
        if (!*p) return n;
        *bad = p;
        if (!parse_number(&p, &value) || (*p && *p != ' ')) return -1;
        if (n < kNumbers) v[n] = value;
    }
}

static sg_status add_line(job *j, const char *text, int line) {
    static const char *const meaning[kNumbers] = {"class", "cx", "cy", "w", "h"};
    double v[kNumbers] = {0}, W = (double)j->width, H = (double)j->height;
    const char *bad = text;
    int n = split(text, v, &bad);

    if (n < 0)
        return sg_fault(j->sink, j->path, line, "`%.*s` is not a number", (int)strcspn(bad, " "),
                        bad);
    if (n > kNumbers)
        return sg_fault(j->sink, j->path, line,
                        "%d numbers; a box has five (class cx cy w h). Polygons, key points and "
                        "scores are not read: write boxes",
                        n);
    if (n < kNumbers)
        return sg_fault(j->sink, j->path, line, "%d numbers; a box has five (class cx cy w h)", n);
    if (!(v[0] >= 0 && v[0] < SG_MAX_CLASSES * 1e6) || v[0] != (double)(int64_t)v[0])
        return sg_fault(j->sink, j->path, line, "class %g is not a whole number from 0", v[0]);
    if (v[0] >= j->n_classes)
        return sg_fault(j->sink, j->path, line,
                        "unknown class %g; there are %d names, from 0 to %d", v[0], j->n_classes,
                        j->n_classes - 1);
    for (int i = 1; i < kNumbers; i++)
        if (!(v[i] >= 0.0 && v[i] <= kHighest))
            return sg_fault(j->sink, j->path, line,
                            "%s is %g, not from 0 to 1: numbers are shares of the picture's width "
                            "and height, not pixels",
                            meaning[i], v[i]);
    SG_TRY(grow(j));
    j->boxes[j->n++] =
        (sg_yolo_box){.category = (int)v[0],
                      .box = {snap((v[1] - v[3] / 2) * W, 0, W), snap((v[2] - v[4] / 2) * H, 0, H),
                              snap((v[1] + v[3] / 2) * W, 0, W), snap((v[2] + v[4] / 2) * H, 0, H)},
                      .line = line};
    return SG_OK;
}

sg_status sg_yolo_parse(const char *path, char *text, size_t size, int64_t width, int64_t height,
                        int n_classes, const sg_fault_sink *sink, sg_yolo_box **boxes, int64_t *n) {
    job j = {.path = path, .width = width, .height = height, .n_classes = n_classes, .sink = sink};
    sg_list lines = {.path = (char *)(uintptr_t)path};
    sg_status st;

    for (size_t i = 0; i < size; i++)
        if (text[i] == '\t') text[i] = ' ';
    st = sg_list_cut(&lines, text, size);
    for (int64_t i = 0; i < lines.n && st == SG_OK; i++)
        st = add_line(&j, lines.entry[i].name, lines.entry[i].line);
    sg_free(lines.entry);
    if (st == SG_OK) {
        *boxes = j.boxes;
        *n = j.n;
    } else {
        sg_free(j.boxes);
    }
    return st;
}

char *sg_yolo_label_path(const char *picture) {
    static const char folder[] = "images/";
    const char *last = NULL;
    int stem = (int)sg_layout_stem(picture);

    for (const char *p = strstr(picture, folder); p; p = strstr(p + 1, folder))
        if (p == picture || p[-1] == '/') last = p;
    if (!last) return sg_str_printf("%.*s.txt", stem, picture);
    return sg_str_printf("%.*slabels/%.*s.txt", (int)(last - picture), picture,
                         stem - (int)(last - picture) - (int)strlen(folder), last + strlen(folder));
}
