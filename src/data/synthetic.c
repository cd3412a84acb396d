/* The embedded data set's folder. Everything is written into a folder beside it, of a temporary
 * name (core/temporary.h), and synced there; only then the folder gets its name, in one rename that
 * succeeds for one process alone. */
#define _GNU_SOURCE
#include "data/synthetic.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/temporary.h"
#include "core/threads.h"

enum {
    kMaxPictures = 1000000,
    kLevel = 1, /* of zlib: the noise hardly compresses, and time is what counts */
    kFolderMode = 0777,
    kFileMode = 0666,
    kNameBytes = 32,
    kTextBytes = 512 + 512 * SG_SYNTHETIC_MAX_FACES,
    kTemporaries = 100,
};

const char *const sg_synthetic_class[SG_SYNTHETIC_CLASSES] = {"with_mask", "without_mask",
                                                              "mask_weared_incorrect"};

static const char *const kFolder[] = {"images", "annotations"};
static const char *const kSplit[] = {"train", "val"};

sg_synthetic_options sg_synthetic_defaults(void) {
    return (sg_synthetic_options){
        .seed = 1, .n_train = 320, .n_val = 80, .side = SG_SYNTHETIC_SIDE};
}

/* ---- files, relative to the temporary folder `at` ---- */

static sg_status write_file(int at, const char *root, const char *name, const void *data,
                            size_t size) {
    const uint8_t *bytes = data;
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode);
    int failed = fd < 0 ? errno : 0;

    while (!failed && size > 0) {
        ssize_t put = write(fd, bytes, size);

        if (put < 0 && errno == EINTR) continue;
        if (put < 0) {
            failed = errno;
        } else {
            bytes += put;
            size -= (size_t)put;
        }
    }
    if (fd >= 0 && close(fd) != 0 && !failed) failed = errno;
    if (!failed) return SG_OK;
    return sg_fail(SG_ERR_IO, "%s: cannot write %s: %s; check space and permission there", root,
                   name, strerror(failed));
}

static sg_status sync_at(int at, const char *root, const char *name) {
    int fd = openat(at, name, O_RDONLY | O_CLOEXEC), failed = 0;

    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL)) failed = errno;
    if (fd >= 0) close(fd);
    if (!failed) return SG_OK;
    return sg_fail(SG_ERR_IO, "%s: cannot sync %s: %s", root, name, strerror(failed));
}

/* Call `each` for the entries of the folder `name`; the first failure ends it. */
static sg_status for_entries(int at, const char *root, const char *name,
                             sg_status (*each)(int at, const char *root, const char *name)) {
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    sg_status st = SG_OK;
    struct dirent *entry;

    if (!dir) {
        int failed = errno;

        if (fd >= 0) close(fd);
        return sg_fail(SG_ERR_IO, "%s: cannot list %s: %s", root, name, strerror(failed));
    }
    while (st == SG_OK && (errno = 0, entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        st = each(dirfd(dir), root, entry->d_name);
    }
    if (st == SG_OK && errno)
        st = sg_fail(SG_ERR_IO, "%s: cannot list %s: %s", root, name, strerror(errno));
    closedir(dir);
    return st;
}

static sg_status remove_at(int at, const char *root, const char *name) {
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT) return SG_OK;
    if (unlinkat(at, name, AT_REMOVEDIR) == 0) return SG_OK;
    return sg_fail(SG_ERR_IO, "%s: cannot remove %s: %s", root, name, strerror(errno));
}

/* Remove what an interrupted process may have left in the temporary folder: files, and folders of
 * files. */
static sg_status empty_folder(int at, const char *root) {
    for (int i = 0; i < 2; i++) {
        struct stat info;

        if (fstatat(at, kFolder[i], &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode))
            SG_TRY(for_entries(at, root, kFolder[i], remove_at));
    }
    return for_entries(at, root, ".", remove_at);
}

/* ---- the temporary folder ---- */

typedef struct {
    char *path; /* owned */
    int fd;     /* of the folder, with an exclusive lock as long as we live */
} temporary;

/* Is the folder that we locked still the one of that name? Its last owner may have removed it or
 * given it its final name while we waited. */
static bool still_there(const temporary *t) {
    struct stat mine, named;

    return fstat(t->fd, &mine) == 0 && stat(t->path, &named) == 0 && mine.st_ino == named.st_ino &&
           mine.st_dev == named.st_dev;
}

/* Make the folder and lock it. *ours: false where it is another's. */
static sg_status take_folder(temporary *t, bool *ours) {
    bool made = mkdir(t->path, kFolderMode) == 0;
    int failed = 0;

    *ours = false;
    if (!made && errno != EEXIST)
        return sg_fail(SG_ERR_IO, "%s: cannot make the folder: %s", t->path, strerror(errno));
    t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->fd < 0 || flock(t->fd, LOCK_EX | LOCK_NB) != 0) failed = errno;
    *ours = !failed && still_there(t);
    if (!*ours && t->fd >= 0) close(t->fd);
    if (!failed || failed == EWOULDBLOCK || failed == ENOENT) return SG_OK;
    if (made) rmdir(t->path);
    return sg_fail(SG_ERR_IO, "%s: cannot lock the folder: %s", t->path, strerror(failed));
}

/* No other process has such a name, on whatever machine (a lock of a folder may hold on one machine
 * alone). One that is there already is another thread's, or, where nobody holds its lock, of a
 * process that was killed and had our number: then it is ours. */
static sg_status temporary_open(const char *root, temporary *out) {
    for (int i = 0; i < kTemporaries; i++) {
        char *numbered = i > 0 ? sg_str_printf("%s-%d", root, i) : NULL;
        temporary t = {.fd = -1};
        sg_status st;
        bool ours;

        if (i == 0 || numbered) t.path = sg_temporary_name(i > 0 ? numbered : root);
        sg_free(numbered);
        if (!t.path) return sg_fail(SG_ERR_OOM, "%s: no memory for a name", root);
        st = take_folder(&t, &ours);
        if (ours) {
            *out = t;
            return SG_OK;
        }
        sg_free(t.path);
        SG_TRY(st);
    }
    return sg_fail(SG_ERR_IO, "%s: no temporary folder can be locked; remove %s*.tmp", root, root);
}

/* Whatever rename has said: a folder that has its name is let alone. Over NFS an answer may get
 * lost, and the rename that is done then fails when it is asked for again. */
static void temporary_close(temporary *t, const char *root) {
    assert(t->path);
    if (still_there(t) && empty_folder(t->fd, root) == SG_OK) rmdir(t->path);
    close(t->fd);
    sg_free(t->path);
}

/* ---- contents ---- */

static sg_status put_text(char *text, size_t *used, const char *fmt, ...) SG_PRINTF(3, 4);
static sg_status put_text(char *text, size_t *used, const char *fmt, ...) {
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(text + *used, kTextBytes - *used, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= kTextBytes - *used)
        return sg_fail(SG_ERR_ARG, "annotation of over %d bytes", (int)kTextBytes);
    *used += (size_t)n;
    return SG_OK;
}

static sg_status write_annotation(int at, const char *root, const char *name,
                                  const sg_synthetic_scene *s) {
    char text[kTextBytes], path[64];
    size_t used = 0;

    SG_TRY(put_text(text, &used,
                    "<annotation>\n    <folder>images</folder>\n    "
                    "<filename>%s.png</filename>\n"
                    "    <size>\n        <width>%" PRId64 "</width>\n        <height>%" PRId64
                    "</height>\n        <depth>3</depth>\n    </size>\n"
                    "    <segmented>0</segmented>\n",
                    name, s->image.width, s->image.height));
    for (int i = 0; i < s->n_faces; i++) {
        const sg_synthetic_face *f = &s->face[i];

        SG_TRY(put_text(text, &used,
                        "    <object>\n        <name>%s</name>\n"
                        "        <pose>Unspecified</pose>\n"
                        "        <truncated>0</truncated>\n"
                        "        <occluded>0</occluded>\n"
                        "        <difficult>0</difficult>\n"
                        "        <bndbox>\n"
                        "            <xmin>%d</xmin>\n            <ymin>%d</ymin>\n"
                        "            <xmax>%d</xmax>\n            <ymax>%d</ymax>\n"
                        "        </bndbox>\n    </object>\n",
                        sg_synthetic_class[f->label], f->xmin, f->ymin, f->xmax, f->ymax));
    }
    SG_TRY(put_text(text, &used, "</annotation>\n"));
    snprintf(path, sizeof path, "annotations/%s.xml", name);
    return write_file(at, root, path, text, used);
}

static sg_status write_scene(int at, const char *root, const char *name,
                             const sg_synthetic_scene *s) {
    char path[64];
    uint8_t *data;
    size_t size;
    sg_status st;

    SG_TRY(sg_image_encode_png(&s->image, kLevel, &data, &size));
    snprintf(path, sizeof path, "images/%s.png", name);
    st = write_file(at, root, path, data, size);
    sg_free(data);
    if (st == SG_OK) st = write_annotation(at, root, name, s);
    return st;
}

static void picture_name(char name[kNameBytes], const char *split, int64_t index) {
    snprintf(name, kNameBytes, "%s-%05" PRId64, split, index);
}

static sg_status write_split(int at, const char *root, const sg_synthetic_options *o,
                             const char *split, int64_t n, int64_t *n_faces) {
    char *list = sg_malloc((size_t)n * kNameBytes + 1), path[kNameBytes];
    size_t used = 0;
    sg_status st = SG_OK;

    if (!list) return sg_fail(SG_ERR_OOM, "%s: no memory for a list of %" PRId64, root, n);
    for (int64_t i = 0; i < n && st == SG_OK; i++) {
        sg_synthetic_scene s;
        char name[kNameBytes];

        picture_name(name, split, i);
        used += (size_t)snprintf(list + used, kNameBytes + 1, "%s\n", name);
        st = sg_synthetic_draw(o->seed, o->side, split, i, &s);
        if (st != SG_OK) break;
        st = write_scene(at, root, name, &s);
        *n_faces += s.n_faces;
        sg_synthetic_scene_clear(&s);
    }
    snprintf(path, sizeof path, "%s.txt", split);
    if (st == SG_OK) st = write_file(at, root, path, list, used);
    sg_free(list);
    return st;
}

static sg_status write_all(int at, const char *root, const sg_synthetic_options *o,
                           int64_t *n_faces) {
    const int64_t n[2] = {o->n_train, o->n_val};

    for (int i = 0; i < 2; i++)
        if (mkdirat(at, kFolder[i], kFolderMode) != 0)
            return sg_fail(SG_ERR_IO, "%s: cannot make %s: %s", root, kFolder[i], strerror(errno));
    for (int i = 0; i < 2; i++) SG_TRY(write_split(at, root, o, kSplit[i], n[i], n_faces));
    /* all at once, after the kernel has begun to write: a sync a file would wait for each */
    for (int i = 0; i < 2; i++) {
        SG_TRY(for_entries(at, root, kFolder[i], sync_at));
    }
    SG_TRY(for_entries(at, root, ".", sync_at));
    return sync_at(at, root, ".");
}

/* ---- the folder ---- */

static bool has_parts(int at) {
    static const char *const part[] = {"images", "annotations", "train.txt", "val.txt"};

    for (int i = 0; i < 4; i++)
        if (faccessat(at, part[i], F_OK, 0) != 0) return false;
    return true;
}

/* *vacant: nothing is there, or an empty folder: rename can put ours in its place. Else it is a
 * data set: SG_ERR_IO where it is something else, or cannot be looked at. */
static sg_status look(const char *root, bool *vacant) {
    DIR *dir = opendir(root);
    bool whole = dir && has_parts(dirfd(dir));
    int failed = errno, n = 0;

    while (dir && readdir(dir)) n++; /* . and .. always */
    if (dir) closedir(dir);
    *vacant = dir ? n <= 2 : failed == ENOENT || !sg_file_exists(root);
    if (*vacant || whole) return SG_OK;
    if (failed != ENOENT && failed != ENOTDIR)
        return sg_fail(SG_ERR_IO, "%s: cannot be looked at: %s", root, strerror(failed));
    return sg_fail(SG_ERR_IO,
                   "%s: is there already and is no data set (images/, annotations/, train.txt, "
                   "val.txt); remove it or name another folder",
                   root);
}

/* A trailing slash would put the temporary folder inside root, and rename across. */
static char *plain_path(const char *root) {
    char *path = sg_strdup(root);
    size_t n = path ? strlen(path) : 0;

    while (n > 1 && path[n - 1] == '/') path[--n] = '\0';
    return path;
}

static sg_status make_parent(const char *path, int *parent) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? sg_str_printf("%.*s", (int)(slash > path ? slash - path : 1), path)
                         : sg_strdup(".");
    sg_status st;

    if (!folder) return sg_fail(SG_ERR_OOM, "%s: no memory for a name", path);
    st = sg_make_dirs(folder);
    if (st == SG_OK) {
        *parent = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*parent < 0)
            st = sg_fail(SG_ERR_IO, "%s: cannot open the folder: %s", folder, strerror(errno));
    }
    sg_free(folder);
    return st;
}

static sg_status publish(const temporary *t, const char *root, int parent, bool *published) {
    bool vacant;
    int failed;

    if (rename(t->path, root) == 0) {
        *published = true;
        return sync_at(parent, root, ".");
    }
    failed = errno;
    SG_TRY(look(root, &vacant));
    if (!vacant) return SG_OK; /* another process was faster: the same pictures */
    return sg_fail(SG_ERR_IO, "%s: cannot rename to %s: %s", t->path, root, strerror(failed));
}

static sg_status make(const char *root, const sg_synthetic_options *o) {
    double begun = sg_now();
    bool published = false, vacant;
    int64_t n_faces = 0;
    int parent = -1;
    temporary t = {.fd = -1};
    sg_status st;

    SG_TRY(look(root, &vacant));
    if (!vacant) {
        sg_log(SG_LOG_DEBUG, "%s: using the data set that is there", root);
        return SG_OK;
    }
    SG_TRY(make_parent(root, &parent));
    st = temporary_open(root, &t);
    if (st == SG_OK) {
        st = empty_folder(t.fd, root);
        if (st == SG_OK) st = write_all(t.fd, root, o, &n_faces);
        if (st == SG_OK) st = publish(&t, root, parent, &published);
        temporary_close(&t, root);
    }
    close(parent);
    if (st == SG_OK && published)
        sg_log(SG_LOG_INFO,
               "%s: drew %" PRId64 " training and %" PRId64 " validation pictures with %" PRId64
               " faces (seed %" PRIu64 ") in %.1f s",
               root, o->n_train, o->n_val, n_faces, o->seed, sg_now() - begun);
    else if (st == SG_OK)
        sg_log(SG_LOG_INFO, "%s: using the pictures that another process drew meanwhile", root);
    return st;
}

sg_status sg_synthetic_make(const char *root, const sg_synthetic_options *options) {
    char *path;
    sg_status st;

    if (options->n_train < 0 || options->n_train > kMaxPictures || options->n_val < 0 ||
        options->n_val > kMaxPictures || options->n_train + options->n_val == 0)
        return sg_fail(SG_ERR_ARG,
                       "synthetic: %" PRId64 " training and %" PRId64
                       " validation pictures; 0 to %d each, at least one",
                       options->n_train, options->n_val, (int)kMaxPictures);
    if (!root[0]) return sg_fail(SG_ERR_ARG, "synthetic: the folder's name is empty");
    path = plain_path(root);
    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", root);
    st = make(path, options);
    sg_free(path);
    return st;
}
