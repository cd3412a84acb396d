/* The embedded data set: the same bytes, the promised statistics, a folder that is whole or absent.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>
#include <ftw.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/temporary.h"
#include "data/dataset.h"
#include "data/synthetic.h"
#include "data/synthetic_parts.h"
#include "train/detection_metrics.h"

/* SHA-256 over train-00000 .. 00011 and val-00000 .. 00003 of seed 7: sizes, pixels, annotations
 * and lists. PNG bytes are left out, they are the zlib version's. A change of the drawing changes
 * it, and with it every figure that was measured on the set: change it knowingly. */
static const char kPinned[] = "ae6dc512e23d233621be45bfa9e53a7c5cb94314971c076c6b5bc49921fb78ec";

static char g_folder[] = "/tmp/sg_synthetic_XXXXXX";

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static void remove_tree(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static int setup(void **state) {
    (void)state;
    return mkdtemp(g_folder) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    remove_tree(g_folder);
    return 0;
}

/* "FOLDER/name" in one of four buffers. */
static const char *at(const char *name) {
    static char path[4][256];
    static int next;

    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", g_folder, name);
    return path[next];
}

/* Entries of g_folder whose name starts with `prefix`. */
static int count_entries(const char *prefix) {
    DIR *dir = opendir(g_folder);
    struct dirent *entry;
    int n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0) n++;
    closedir(dir);
    return n;
}

static void hash_file(EVP_MD_CTX *md, const char *root, const char *name) {
    char path[512];
    uint8_t *data;
    size_t size;

    snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(sg_file_read(path, 0, &data, &size), SG_OK);
    EVP_DigestUpdate(md, data, size);
    sg_free(data);
}

static void hash_set(const char *root, const char *list, bool pixels, EVP_MD_CTX *md) {
    char path[512], name[64], file[128];
    FILE *f;

    hash_file(md, root, list);
    snprintf(path, sizeof path, "%s/%s", root, list);
    f = fopen(path, "r");
    assert_non_null(f);
    while (fscanf(f, "%63s", name) == 1) {
        snprintf(file, sizeof file, "annotations/%s.xml", name);
        hash_file(md, root, file);
        snprintf(file, sizeof file, "images/%s.png", name);
        if (pixels) {
            sg_image image;

            snprintf(path, sizeof path, "%s/%s", root, file);
            assert_int_equal(sg_image_read(path, &image), SG_OK);
            EVP_DigestUpdate(md, image.rgb, (size_t)(image.width * image.height * 3));
            sg_image_clear(&image);
        } else {
            hash_file(md, root, file);
        }
    }
    fclose(f);
}

static void hash_root(const char *root, bool pixels, char hex[65]) {
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char digest[32];

    EVP_DigestInit_ex(md, EVP_sha256(), NULL);
    hash_set(root, "train.txt", pixels, md);
    hash_set(root, "val.txt", pixels, md);
    EVP_DigestFinal_ex(md, digest, NULL);
    EVP_MD_CTX_free(md);
    for (int i = 0; i < 32; i++) sprintf(hex + 2 * i, "%02x", digest[i]);
}

static void test_same_bytes(void **state) {
    sg_synthetic_options o = {.seed = 7, .n_train = 12, .n_val = 4};
    char first[65], second[65], pixels[65], other[65];

    (void)state;
    assert_int_equal(sg_synthetic_make(at("first"), &o), SG_OK);
    assert_int_equal(sg_synthetic_make(at("second"), &o), SG_OK);
    o.seed = 8;
    assert_int_equal(sg_synthetic_make(at("other"), &o), SG_OK);
    hash_root(at("first"), false, first);
    hash_root(at("second"), false, second);
    hash_root(at("other"), false, other);
    hash_root(at("first"), true, pixels);
    assert_string_equal(first, second);
    assert_string_not_equal(first, other);
    assert_string_equal(pixels, kPinned);
}

/* A picture does not depend on how many there are, or on those before it. */
static void test_picture_is_a_function_of_its_index(void **state) {
    sg_synthetic_scene a, b;

    (void)state;
    assert_int_equal(sg_synthetic_draw(3, 0, "train", 5, &a), SG_OK);
    assert_int_equal(sg_synthetic_draw(3, 0, "val", 5, &b), SG_OK);
    assert_memory_not_equal(a.image.rgb, b.image.rgb, 3000);
    sg_synthetic_scene_clear(&b);
    assert_int_equal(sg_synthetic_draw(3, 0, "train", 5, &b), SG_OK);
    assert_memory_equal(a.image.rgb, b.image.rgb, (size_t)(a.image.width * a.image.height * 3));
    sg_synthetic_scene_clear(&a);
    sg_synthetic_scene_clear(&b);
}

/* The seen pixels of face i reach to its box's edges, and nothing else covers it. */
static void check_tight(const sg_synthetic_scene *s, int i) {
    const sg_synthetic_face *f = &s->face[i];
    int x0 = 1 << 20, y0 = 1 << 20, x1 = -1, y1 = -1, seen = 0;

    for (int y = 0; y < s->image.height; y++)
        for (int x = 0; x < s->image.width; x++) {
            if (s->owner[y * s->image.width + x] != i + 1) continue;
            seen++;
            if (x < x0) x0 = x;
            if (y < y0) y0 = y;
            if (x + 1 > x1) x1 = x + 1;
            if (y + 1 > y1) y1 = y + 1;
        }
    assert_in_range(x0 - f->xmin + 2, 1, 3);
    assert_in_range(y0 - f->ymin + 2, 1, 3);
    assert_in_range(x1 - f->xmax + 2, 1, 3);
    assert_in_range(y1 - f->ymax + 2, 1, 3);
    /* an egg covers 0.75 of its box, a tilted one a little less, and rounding takes some */
    assert_true(seen >= 0.6 * (f->xmax - f->xmin) * (f->ymax - f->ymin));
}

/* 400 pictures, the longest side of the largest of them `side` pixels. */
static void check_statistics(int side, int faces_min, int most_min) {
    int count[3] = {0}, faces = 0, small = 0, most = 0;
    double smallest = 1e9;

    for (int i = 0; i < 400; i++) {
        sg_synthetic_scene s;

        assert_int_equal(sg_synthetic_draw(1, side, "train", i, &s), SG_OK);
        assert_in_range(s.n_faces, 1, SG_SYNTHETIC_MAX_FACES);
        assert_in_range(s.image.width, side * 5 / 8, side);
        assert_in_range(s.image.height, side / 2, side * 7 / 8);
        for (int k = 0; k < s.n_faces; k++) {
            const sg_synthetic_face *f = &s.face[k];
            double size = sqrt((double)(f->xmax - f->xmin) * (f->ymax - f->ymin));

            assert_true(f->xmin >= 0 && f->xmin < f->xmax && f->xmax <= s.image.width);
            assert_true(f->ymin >= 0 && f->ymin < f->ymax && f->ymax <= s.image.height);
            assert_in_range(f->label, 0, 2);
            check_tight(&s, k);
            count[f->label]++;
            small += size < 16.0;
            if (size < smallest) smallest = size;
        }
        faces += s.n_faces;
        if (s.n_faces > most) most = s.n_faces;
        sg_synthetic_scene_clear(&s);
    }
    assert_true(faces >= faces_min);
    assert_true(most >= most_min);
    assert_true(small >= 0.30 * faces && small <= 0.45 * faces);
    assert_true(smallest >= 7.0);
    assert_true(count[SG_WITH_MASK] >= 0.45 * faces && count[SG_WITH_MASK] <= 0.55 * faces);
    assert_true(count[SG_WITHOUT_MASK] >= 0.25 * faces && count[SG_WITHOUT_MASK] <= 0.35 * faces);
    assert_true(count[SG_MASK_INCORRECT] >= 0.16 * faces);
}

static void test_statistics(void **state) {
    (void)state;
    check_statistics(SG_SYNTHETIC_SIDE, 4 * 400, 10);
}

/* Smaller pictures keep the shares: it is people that become fewer. */
static void test_statistics_of_small_pictures(void **state) {
    (void)state;
    check_statistics(208, 3 * 400, 5);
    check_statistics(SG_SYNTHETIC_SIDE_MIN, 2 * 400, 4);
}

static void draw_alone(const sg_person *p, sg_canvas *c) {
    assert_int_equal(sg_canvas_create(64, 64, c), SG_OK);
    sg_raster_rect(c, sg_frame_pixels(), 0, 0, 64, 64, sg_paint_solid(sg_rgb(150, 150, 150)));
    sg_person_draw(c, p, 1);
}

/* Pixels that differ by more than 40 of 255 in some channel. */
static int differing(const sg_canvas *a, const sg_canvas *b) {
    int n = 0;

    for (int i = 0; i < 64 * 64; i++) {
        float most = 0;

        for (int k = 0; k < 3; k++)
            most = fmaxf(most, fabsf(a->rgb[3 * i + k] - b->rgb[3 * i + k]));
        n += most > 40.0f;
    }
    return n;
}

/* Even the smallest faces show their class: the same person with another label differs in several
 * pixels, plainly. */
static void test_classes_can_be_told_apart(void **state) {
    sg_random r = sg_random_init(11);

    (void)state;
    for (int i = 0; i < 300; i++) {
        sg_canvas c[3];
        sg_person p;

        sg_person_random(&r, 9.5f + 0.1f * (float)(i % 100), &p);
        p.x = p.y = 32.3f;
        for (int label = 0; label < 3; label++) {
            p.label = label;
            draw_alone(&p, &c[label]);
        }
        assert_true(differing(&c[SG_WITH_MASK], &c[SG_WITHOUT_MASK]) >= 10);
        assert_true(differing(&c[SG_WITH_MASK], &c[SG_MASK_INCORRECT]) >= 5);
        assert_true(differing(&c[SG_WITHOUT_MASK], &c[SG_MASK_INCORRECT]) >= 5);
        for (int label = 0; label < 3; label++) sg_canvas_clear(&c[label]);
    }
}

/* What is written is what the reader of real data sets reads. */
static void test_readable(void **state) {
    sg_synthetic_options o = {.seed = 2, .n_train = 9, .n_val = 3};
    sg_dataset *set = NULL;
    sg_classes classes;

    (void)state;
    assert_int_equal(sg_synthetic_make(at("readable/"), &o), SG_OK);
    assert_int_equal(sg_classes_parse("with_mask,without_mask,mask_weared_incorrect", &classes),
                     SG_OK);
    assert_int_equal(sg_dataset_read_voc(at("readable"), "train.txt", &classes, &set), SG_OK);
    assert_int_equal(set->n, 9);
    assert_int_equal(set->n_clipped, 0);
    for (int i = 0; i < 9; i++) {
        sg_synthetic_scene s;

        assert_int_equal(sg_synthetic_draw(2, 0, "train", i, &s), SG_OK);
        assert_int_equal(set->samples[i].count, s.n_faces);
        assert_int_equal(set->samples[i].width, s.image.width);
        for (int k = 0; k < s.n_faces; k++) {
            assert_int_equal(set->samples[i].classes[k], s.face[k].label);
            assert_int_equal((int)set->samples[i].boxes[4 * k + 2], s.face[k].xmax);
        }
        sg_synthetic_scene_clear(&s);
    }
    sg_dataset_destroy(set);
    sg_classes_clear(&classes);
}

/* A predictor that says the same of every picture: the faces of some training pictures, the surest
 * first. A model must not look good without having looked. */
static void test_constant_predictor(void **state) {
    enum { kPictures = 60, kFrom = 24 };
    sg_detection found[SG_AP_MAX_BOXES];
    sg_detection_metrics *metrics;
    sg_synthetic_scene s;
    int64_t n = 0;

    (void)state;
    for (int i = 0; i < kFrom; i++) {
        assert_int_equal(sg_synthetic_draw(1, 192, "train", i, &s), SG_OK);
        for (int f = 0; f < s.n_faces && n < SG_AP_MAX_BOXES; f++, n++) {
            const sg_synthetic_face *face = &s.face[f];

            found[n] = (sg_detection){
                {(float)face->xmin, (float)face->ymin, (float)face->xmax, (float)face->ymax},
                1.0f / (1.0f + (float)n),
                face->label,
                0};
        }
        sg_synthetic_scene_clear(&s);
    }
    assert_true(n > 50);
    assert_int_equal(sg_detection_metrics_create(SG_SYNTHETIC_CLASSES, SG_AP_MAX_BOXES, &metrics),
                     SG_OK);
    for (int i = 0; i < kPictures; i++) {
        float boxes[4 * SG_SYNTHETIC_MAX_FACES];
        int32_t labels[SG_SYNTHETIC_MAX_FACES];

        assert_int_equal(sg_synthetic_draw(1, 192, "val", i, &s), SG_OK);
        for (int f = 0; f < s.n_faces; f++) {
            boxes[4 * f] = (float)s.face[f].xmin;
            boxes[4 * f + 1] = (float)s.face[f].ymin;
            boxes[4 * f + 2] = (float)s.face[f].xmax;
            boxes[4 * f + 3] = (float)s.face[f].ymax;
            labels[f] = s.face[f].label;
        }
        assert_int_equal(sg_detection_metrics_add(metrics, i, found, n, boxes, labels, s.n_faces),
                         SG_OK);
        sg_synthetic_scene_clear(&s);
    }
    assert_int_equal(sg_detection_metrics_finish(metrics), SG_OK);
    assert_true(sg_detection_metrics_mean(metrics, SG_AREA_ALL).ap50 < 0.1);
    sg_detection_metrics_destroy(metrics);
}

static void test_two_processes(void **state) {
    sg_synthetic_options o = {.seed = 5, .n_train = 12, .n_val = 4};
    char one[65], alone[65];
    pid_t child[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        child[i] = fork();
        assert_true(child[i] >= 0);
        if (child[i] == 0) _exit(sg_synthetic_make(at("shared/set"), &o) == SG_OK ? 0 : 1);
    }
    for (int i = 0; i < 2; i++) {
        int status;

        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(sg_synthetic_make(at("alone"), &o), SG_OK);
    hash_root(at("shared/set"), false, one);
    hash_root(at("alone"), false, alone);
    assert_string_equal(one, alone);
    assert_int_equal(rmdir(at("shared")), -1);
    assert_int_equal(errno, ENOTEMPTY);
    assert_int_equal(rename(at("shared/set"), at("moved")), 0);
    assert_int_equal(rmdir(at("shared")), 0); /* no temporary folder was left */
}

/* The folder of that temporary name, with a picture in it that is not whole. */
static void begin_drawing(const char *temporary) {
    char path[512];

    snprintf(path, sizeof path, "%s/images", temporary);
    assert_int_equal(sg_make_dirs(path), SG_OK);
    snprintf(path, sizeof path, "%s/images/half.png", temporary);
    assert_int_equal(sg_file_write(path, "x", 1), SG_OK);
}

/* A killed process leaves its temporary folder; the next with its number takes it over. */
static void test_stale_folder(void **state) {
    sg_synthetic_options o = {.seed = 5, .n_train = 1, .n_val = 0};
    char *name = sg_temporary_name(at("stale"));

    (void)state;
    assert_non_null(name);
    begin_drawing(name);
    sg_free(name);
    assert_int_equal(sg_synthetic_make(at("stale"), &o), SG_OK);
    assert_int_equal(count_entries("stale"), 1);
    assert_false(sg_file_exists(at("stale/images/half.png")));
    assert_true(sg_file_exists(at("stale/images/train-00000.png")));
}

/* What another thread draws is locked, and let alone. */
static void test_locked_folder(void **state) {
    sg_synthetic_options o = {.seed = 5, .n_train = 1, .n_val = 0};
    char *name = sg_temporary_name(at("locked"));
    int fd;

    (void)state;
    assert_non_null(name);
    begin_drawing(name);
    fd = open(name, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(sg_synthetic_make(at("locked"), &o), SG_OK);
    assert_true(sg_is_dir(name));
    assert_int_equal(count_entries("locked"), 2);
    close(fd);
    sg_free(name);
}

/* What another machine draws on a shared disk, which no lock shows, is let alone, though its
 * process has our number. */
static void test_other_machine(void **state) {
    sg_synthetic_options o = {.seed = 5, .n_train = 1, .n_val = 0};
    char name[2][64], half[160];

    (void)state;
    snprintf(name[0], sizeof name[0], "far.%ld.tmp", (long)getpid());
    snprintf(name[1], sizeof name[1], "far.00000000.%ld.tmp", (long)getpid());
    for (int i = 0; i < 2; i++) begin_drawing(at(name[i]));
    assert_int_equal(sg_synthetic_make(at("far"), &o), SG_OK);
    for (int i = 0; i < 2; i++) {
        snprintf(half, sizeof half, "%s/images/half.png", name[i]);
        assert_true(sg_file_exists(at(half)));
    }
    assert_int_equal(count_entries("far"), 3);
}

static bool g_answers_lost;

/* The linker takes this one: the rename is done, and said to have failed. */
int rename(const char *from, const char *to) {
    int done = renameat(AT_FDCWD, from, AT_FDCWD, to);

    if (done != 0 || !g_answers_lost) return done;
    errno = ENOENT; /* as when it is asked for again */
    return -1;
}

static void test_lost_answer(void **state) {
    sg_synthetic_options o = {.seed = 5, .n_train = 2, .n_val = 1};

    (void)state;
    g_answers_lost = true;
    assert_int_equal(sg_synthetic_make(at("lost"), &o), SG_OK);
    g_answers_lost = false;
    assert_int_equal(count_entries("lost"), 1);
    assert_true(sg_file_exists(at("lost/images/train-00001.png")));
    assert_true(sg_file_exists(at("lost/val.txt")));
}

static int g_lines;
static char g_line[512];

static void keep_line(sg_log_level level, const char *line) {
    (void)level;
    g_lines++;
    snprintf(g_line, sizeof g_line, "%s", line);
}

static void test_existing_set_is_used(void **state) {
    sg_synthetic_options o = {.seed = 5, .n_train = 1, .n_val = 1};
    struct stat before, after;

    (void)state;
    g_lines = 0;
    sg_log_set(SG_LOG_DEBUG, keep_line);
    assert_int_equal(mkdir(at("used"), 0777), 0); /* an empty folder may be filled */
    assert_int_equal(sg_synthetic_make(at("used"), &o), SG_OK);
    assert_int_equal(g_lines, 1);
    assert_non_null(strstr(g_line, "1 training and 1 validation"));
    assert_int_equal(stat(at("used/train.txt"), &before), 0);
    assert_int_equal(sg_synthetic_make(at("used"), &o), SG_OK);
    assert_int_equal(g_lines, 2);
    assert_int_equal(stat(at("used/train.txt"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    sg_log_set(SG_LOG_INFO, NULL);
}

static void test_errors(void **state) {
    sg_synthetic_options o = {.seed = 5, .n_train = 1, .n_val = 1};
    sg_synthetic_options none = {.seed = 5}, negative = {.n_train = -1, .n_val = 3};
    sg_synthetic_options tiny = {.n_train = 1, .side = SG_SYNTHETIC_SIDE_MIN - 1};

    (void)state;
    assert_int_equal(sg_synthetic_make(at("x"), &none), SG_ERR_ARG);
    assert_int_equal(sg_synthetic_make(at("x"), &negative), SG_ERR_ARG);
    assert_int_equal(sg_synthetic_make("", &o), SG_ERR_ARG);
    assert_int_equal(sg_synthetic_make(at("x"), &tiny), SG_ERR_ARG);
    assert_int_equal(count_entries("x"), 0);
    assert_int_equal(sg_synthetic_make("/proc/no-folder-here", &o), SG_ERR_IO);
    assert_non_null(strstr(sg_last_error(), "/proc/no-folder-here"));
    assert_int_equal(sg_file_write(at("file"), "x", 1), SG_OK);
    assert_int_equal(sg_synthetic_make(at("file"), &o), SG_ERR_IO);
    assert_int_equal(sg_synthetic_make(at("file/inside"), &o), SG_ERR_IO);
    assert_int_equal(sg_make_dirs(at("photos/mine")), SG_OK);
    assert_int_equal(sg_synthetic_make(at("photos"), &o), SG_ERR_IO);
    assert_non_null(strstr(sg_last_error(), "no data set"));
    assert_true(sg_is_dir(at("photos/mine")));
    assert_int_equal(count_entries("file"), 1);
    assert_int_equal(count_entries("photos"), 1);
}

/* No file more can be opened: a data set that is there is not taken for something else, and nothing
 * is left where one would have been drawn. */
static void test_no_more_files(void **state) {
    sg_synthetic_options o = {.seed = 5, .n_train = 1, .n_val = 1};
    struct rlimit before, none;
    int next = dup(STDOUT_FILENO), more;
    sg_status there, drawn, locked;
    char text[3][256];

    (void)state;
    assert_int_equal(sg_synthetic_make(at("whole"), &o), SG_OK);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)next + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    more = dup(STDOUT_FILENO);
    there = sg_synthetic_make(at("whole"), &o);
    snprintf(text[0], sizeof text[0], "%s", sg_last_error());
    drawn = sg_synthetic_make(at("full"), &o);
    snprintf(text[1], sizeof text[1], "%s", sg_last_error());
    close(next); /* for the parent's folder */
    locked = sg_synthetic_make(at("full"), &o);
    snprintf(text[2], sizeof text[2], "%s", sg_last_error());
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(more, -1);
    assert_int_equal(there, SG_ERR_IO);
    assert_int_equal(drawn, SG_ERR_IO);
    assert_int_equal(locked, SG_ERR_IO);
    for (int i = 0; i < 3; i++)
        if (!strstr(text[i], "Too many open files") || strstr(text[i], "remove"))
            fail_msg("it says: %s", text[i]);
    assert_int_equal(count_entries("full"), 0);
    assert_int_equal(sg_synthetic_make(at("whole"), &o), SG_OK);
}

static void test_out_of_memory(void **state) {
    sg_synthetic_options o = {.seed = 5, .n_train = 1, .n_val = 1};
    long live = sg_mem_live();
    sg_status st = SG_ERR_OOM;
    int n = 0;

    (void)state;
    while (st != SG_OK) {
        sg_mem_fail_at(++n);
        st = sg_synthetic_make(at("oom"), &o);
        sg_mem_fail_at(0);
        assert_true(st == SG_OK || st == SG_ERR_OOM);
        assert_int_equal(sg_mem_live(), live);
        assert_int_equal(count_entries("oom"), st == SG_OK ? 1 : 0);
        assert_true(n < 200);
    }
    assert_true(n > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_picture_is_a_function_of_its_index),
        cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_statistics_of_small_pictures),
        cmocka_unit_test(test_classes_can_be_told_apart),
        cmocka_unit_test(test_readable),
        cmocka_unit_test(test_constant_predictor),
        cmocka_unit_test(test_two_processes),
        cmocka_unit_test(test_stale_folder),
        cmocka_unit_test(test_locked_folder),
        cmocka_unit_test(test_other_machine),
        cmocka_unit_test(test_lost_answer),
        cmocka_unit_test(test_existing_set_is_used),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_no_more_files),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
