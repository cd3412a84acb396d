/* `predict` of a detector: finds boxes in pictures. Answers come in the order of the inputs,
 * whatever thread found them; an input that cannot be read is said so and does not stop the others.
 */
#define _GNU_SOURCE
#include "cli/predict.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/utf8.h"
#include "report/annotate.h"
#include "train/detector_model.h"

enum { kRound = 64, kPngLevel = 3, kNameColumns = 24 };

/* One input's answer. */
typedef struct {
    const char *file; /* borrowed */
    int64_t width, height, count;
    sg_detection *found; /* (max_boxes) */
    char *error;         /* owned; NULL when all went well */
} answer;

typedef struct {
    sg_detector_model model;
    const char *annotate; /* folder, or NULL */
    bool json;
    char **files; /* owned */
    char **drawn; /* (n_files), owned: where --annotate writes each; NULL without it */
    int64_t n_files, capacity;
    answer answers[kRound];
    int64_t first; /* file of answers[0] */
} prediction;

/* --- inputs ----------------------------------------------------------------------------------- */

static void add_file(prediction *p, char *name) {
    if (!name) die(sg_fail(SG_ERR_OOM, "no memory"), NULL);
    if (p->n_files == p->capacity) {
        int64_t capacity = p->capacity ? 2 * p->capacity : 64;
        char **files = sg_realloc(p->files, (size_t)p->n_files * sizeof *files,
                                  (size_t)capacity * sizeof *files);

        if (!files) die(sg_fail(SG_ERR_OOM, "no memory for %lld names", (long long)capacity), NULL);
        p->files = files;
        p->capacity = capacity;
    }
    p->files[p->n_files++] = name;
}

static bool is_named_picture(const char *name) {
    const char *dot = strrchr(name, '.');

    return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 ||
                   strcasecmp(dot, ".jpeg") == 0);
}

static int is_picture(const struct dirent *entry) { return is_named_picture(entry->d_name); }

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name); /* not alphasort: that depends on the locale */
}

static void add_folder(prediction *p, const char *folder) {
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_picture, by_name);

    if (n < 0) die(sg_fail(SG_ERR_IO, "%s: cannot be listed: %s", folder, strerror(errno)), NULL);
    if (n == 0) die(sg_fail(SG_ERR_MISSING, "%s: holds no .png or .jpg", folder), NULL);
    for (int i = 0; i < n; i++) {
        add_file(p, sg_path_join(folder, entries[i]->d_name));
        free(entries[i]);
    }
    free(entries);
}

/* --- where pictures are drawn to -------------------------------------------------------------- */

/* A file's name without its folder and suffix. */
typedef struct {
    const char *name; /* borrowed */
    int length;
    int64_t file;
} stem;

static stem stem_of(const char *path, int64_t file) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');

    return (stem){base, dot && dot != base ? (int)(dot - base) : (int)strlen(base), file};
}

static int compare_names(const stem *x, const stem *y) {
    int shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->name, y->name, (size_t)shorter);

    return order ? order : x->length - y->length;
}

static int compare_stems(const void *a, const void *b) {
    const stem *x = a, *y = b;
    int order = compare_names(x, y);

    return order ? order : (x->file > y->file) - (x->file < y->file);
}

static int compare_to_key(const void *key, const void *b) { return compare_names(key, b); }

/* For a further file of the same name: the next of NAME-2, NAME-3, ... that no file has. */
static char *free_name(const stem *sorted, int64_t n, const stem *s, int *number) {
    for (;;) {
        char *name = sg_str_printf("%.*s-%d", s->length, s->name, ++*number);
        stem key = {name, name ? (int)strlen(name) : 0, 0};

        if (!name || !bsearch(&key, sorted, (size_t)n, sizeof *sorted, compare_to_key)) return name;
        sg_free(name);
    }
}

/* Inputs of one name, from several folders or of several suffixes, must not replace each other. */
static void name_drawings(prediction *p) {
    stem *sorted = sg_malloc((size_t)p->n_files * sizeof *sorted);
    int number = 1;

    p->drawn = sg_calloc((size_t)p->n_files, sizeof *p->drawn);
    if (!sorted || !p->drawn) die(sg_fail(SG_ERR_OOM, "no memory for names"), NULL);
    for (int64_t i = 0; i < p->n_files; i++) sorted[i] = stem_of(p->files[i], i);
    qsort(sorted, (size_t)p->n_files, sizeof *sorted, compare_stems);
    for (int64_t i = 0; i < p->n_files; i++) {
        const stem *s = &sorted[i];
        bool again = i > 0 && compare_names(s - 1, s) == 0;
        char *name, *path;

        number = again ? number : 1;
        name = again ? free_name(sorted, p->n_files, s, &number)
                     : sg_str_printf("%.*s", s->length, s->name);
        path = name ? sg_str_printf("%s/%s.png", p->annotate, name) : NULL;
        if (!path) die(sg_fail(SG_ERR_OOM, "no memory for names"), NULL);
        if (again) cli_say("%s: drawn as %s", p->files[s->file], path);
        p->drawn[s->file] = path;
        sg_free(name);
    }
    sg_free(sorted);
}

/* A picture is never replaced by its drawing: none may lie in the folder of the drawings. */
static void refuse_own_folder(const prediction *p) {
    struct stat target, here;

    if (stat(p->annotate, &target) != 0) return;
    for (int64_t i = 0; i < p->n_files; i++) {
        const char *slash = strrchr(p->files[i], '/');
        char *folder = slash ? sg_str_printf("%.*s", (int)(slash - p->files[i] + 1), p->files[i])
                             : sg_strdup(".");

        if (!folder) die(sg_fail(SG_ERR_OOM, "no memory for names"), NULL);
        if (stat(folder, &here) == 0 && here.st_dev == target.st_dev &&
            here.st_ino == target.st_ino)
            die_usage("--annotate %s: is the folder of %s, which could be replaced; name another",
                      p->annotate, p->files[i]);
        sg_free(folder);
    }
}

/* --- one picture ------------------------------------------------------------------------------ */

static sg_status write_annotated(const prediction *p, const answer *a, const sg_image *image,
                                 const char *path) {
    sg_annotate_box *boxes = sg_calloc((size_t)a->count + 1, sizeof *boxes);
    sg_image drawn = {0};
    sg_status st = boxes ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory", path);

    for (int64_t i = 0; st == SG_OK && i < a->count; i++) {
        const sg_detection *d = &a->found[i];

        boxes[i] = (sg_annotate_box){d->box[0], d->box[1], d->box[2],
                                     d->box[3], d->label,  p->model.classes.name[d->label],
                                     d->score,  false};
    }
    if (st == SG_OK) st = sg_annotate(image, boxes, a->count, NULL, &drawn);
    if (st == SG_OK) st = sg_image_write_png(path, &drawn, kPngLevel);
    sg_image_clear(&drawn);
    sg_free(boxes);
    return st;
}

/* The last error; of a text, which no file has as its name, what to give instead. The caller's. */
static char *why_unread(const char *input) {
    if (is_named_picture(input) || !cli_names_nothing(input)) return sg_strdup(sg_last_error());
    return sg_str_printf("%s: no file has this name; the model answers pictures, not texts: give "
                         "it PNG or JPEG files, or folders of them",
                         input);
}

static sg_status predict_one(void *context, int64_t item, int worker) {
    prediction *p = context;
    answer *a = &p->answers[item];
    sg_image image = {0};
    sg_status st;

    a->file = p->files[p->first + item];
    st = sg_image_read(a->file, &image);
    if (st != SG_OK) {
        a->error = why_unread(a->file);
        return a->error ? SG_OK : sg_fail(SG_ERR_OOM, "no memory");
    }
    a->width = image.width;
    a->height = image.height;
    st = sg_detector_predict(&p->model, worker, &image, a->found, &a->count);
    if (st == SG_OK && p->annotate) st = write_annotated(p, a, &image, p->drawn[p->first + item]);
    sg_image_clear(&image);
    return st;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void put_box(const prediction *p, const sg_detection *d, sg_line *line) {
    static const char *const kCorners[4] = {"xmin", "ymin", "xmax", "ymax"};
    const char *name = p->model.classes.name[d->label];

    sg_line_text(line, "{\"class\":");
    sg_line_json(line, name, strlen(name));
    sg_line_text(line, ",\"score\":");
    sg_line_number(line, (double)d->score);
    for (int k = 0; k < 4; k++) {
        sg_line_printf(line, ",\"%s\":", kCorners[k]);
        sg_line_number(line, (double)d->box[k]);
    }
    sg_line_text(line, "}");
}

static void put_json(const prediction *p, const answer *a, sg_line *line) {
    if (a->error) {
        cli_put_error(line, a->file, a->error);
        return;
    }
    sg_line_text(line, "{\"file\":");
    sg_line_json(line, a->file, strlen(a->file));
    sg_line_printf(line, ",\"width\":%lld,\"height\":%lld,\"boxes\":[", (long long)a->width,
                   (long long)a->height);
    for (int64_t i = 0; i < a->count; i++) {
        if (i > 0) sg_line_text(line, ",");
        put_box(p, &a->found[i], line);
    }
    sg_line_text(line, "]}\n");
}

static void put_plain(const prediction *p, const answer *a, sg_line *line) {
    if (a->error) return; /* already said on standard error */
    sg_line_visible(line, a->file, strlen(a->file));
    sg_line_printf(line, ": %lld x %lld, %lld box%s\n", (long long)a->width, (long long)a->height,
                   (long long)a->count, a->count == 1 ? "" : "es");
    for (int64_t i = 0; i < a->count; i++) {
        const sg_detection *d = &a->found[i];
        const char *name = p->model.classes.name[d->label];
        int gap = kNameColumns - sg_utf8_letters(name);

        sg_line_text(line, "  ");
        sg_line_visible(line, name, strlen(name));
        sg_line_printf(line, "%*s %.3f  %7.1f %7.1f %7.1f %7.1f\n", gap > 0 ? gap : 0, "",
                       (double)d->score, (double)d->box[0], (double)d->box[1], (double)d->box[2],
                       (double)d->box[3]);
    }
}

/* False once nobody reads the answers. */
static bool print_answer(const prediction *p, const answer *a, sg_line *line) {
    if (a->error) cli_say("%s", a->error);
    line->size = 0;
    (p->json ? put_json : put_plain)(p, a, line);
    if (sg_line_status(line) != SG_OK) die(SG_ERR_OOM, NULL);
    return line->size == 0 || cli_write(line->data, line->size);
}

/* Whether all could be read. */
static bool predict_all(prediction *p, sg_pool *pool) {
    bool good = true, open = true; /* open: somebody reads the answers */
    sg_line line = {0};

    for (p->first = 0; p->first < p->n_files && (open || p->annotate); p->first += kRound) {
        int64_t left = p->n_files - p->first, n = left < kRound ? left : kRound;
        sg_status st = sg_pool_run(pool, n, predict_one, p);

        if (st != SG_OK) die(st, NULL);
        for (int64_t i = 0; i < n; i++) {
            answer *a = &p->answers[i];

            good = good && !a->error;
            open = print_answer(p, a, &line) && open;
            sg_free(a->error);
            a->error = NULL;
        }
    }
    sg_line_clear(&line);
    return good;
}

/* --- the command ------------------------------------------------------------------------------ */

static void prepare(prediction *p) {
    size_t max_boxes = (size_t)p->model.config.predict.max_boxes;
    sg_status st;

    for (int i = 0; i < kRound; i++) {
        p->answers[i].found = sg_malloc(max_boxes * sizeof(sg_detection));
        if (!p->answers[i].found) die(sg_fail(SG_ERR_OOM, "no memory for boxes"), NULL);
    }
    if (!p->annotate) return;
    refuse_own_folder(p);
    st = sg_make_dirs(p->annotate);
    if (st != SG_OK) die(st, NULL);
    name_drawings(p);
}

static void finish(prediction *p) {
    for (int i = 0; i < kRound; i++) sg_free(p->answers[i].found);
    for (int64_t i = 0; i < p->n_files; i++) {
        sg_free(p->files[i]);
        if (p->drawn) sg_free(p->drawn[i]);
    }
    sg_free(p->drawn);
    sg_free(p->files);
    sg_detector_model_clear(&p->model);
}

int cli_predict_pictures(const cli_prediction *request) {
    static prediction p;
    const cli_arguments *a = request->arguments;
    sg_detector_model_options load = {1, 1, 1};
    sg_pool *pool = NULL;
    sg_status st;
    bool good, enter;

    p.annotate = request->annotate;
    p.json = request->json;
    for (int i = 0; i < a->n_inputs; i++) {
        if (sg_is_dir(a->inputs[i]))
            add_folder(&p, a->inputs[i]);
        else
            add_file(&p, sg_strdup(a->inputs[i]));
    }
    /* one picture: its ops are divided among the threads; several: side by side */
    load.workers = p.n_files < request->threads ? (int)p.n_files : request->threads;
    if (p.n_files == 1) load.op_threads = request->threads;
    st = sg_detector_model_load(request->model, a->overrides, a->n_overrides, &load, &p.model);
    /* a CPU's threads are set to work alone; not where one picture's ops are divided among them */
    enter = p.n_files > 1 || p.model.compute.plugin;
    if (st == SG_OK)
        st = sg_pool_create(
            load.workers, enter ? sg_compute_backend(&p.model.compute)->enter_thread : NULL, &pool);
    if (st != SG_OK) die(st, NULL);
    prepare(&p);
    good = predict_all(&p, pool);
    sg_pool_destroy(pool);
    finish(&p);
    return good ? CLI_DONE : CLI_BAD_DATA;
}
