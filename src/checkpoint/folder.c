#define _GNU_SOURCE
#include "checkpoint/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/model_file.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/temporary.h"

enum { kAbandoned = 24 * 3600 /* seconds */, kFileMode = 0666 };

static const char *const kLinks[] = {SG_CHECKPOINT_LAST, SG_CHECKPOINT_BEST};

void sg_step_name(int64_t step, char name[SG_STEP_NAME]) {
    snprintf(name, SG_STEP_NAME, "step-%09lld.h5", (long long)step);
}

int64_t sg_step_of(const char *name) {
    char again[SG_STEP_NAME];
    int64_t step;

    if (strncmp(name, "step-", 5) != 0) return -1;
    step = strtoll(name + 5, NULL, 10);
    if (step < 0) return -1;
    sg_step_name(step, again); /* whatever else was read as a number looks different now */
    return strcmp(name, again) == 0 ? step : -1;
}

char *sg_checkpoint_path(const char *run_dir, int64_t step) {
    char name[SG_STEP_NAME];

    sg_step_name(step, name);
    return sg_str_printf("%s/" SG_CHECKPOINT_FOLDER "/%s", run_dir, name);
}

static bool is_damaged(const char *name) {
    const char *end = strrchr(name, '.');

    return end && strcmp(end, SG_CHECKPOINT_DAMAGED) == 0;
}

/* The step of "step-000000123.h5.damaged", -1 for any other name. */
static int64_t damaged_step_of(const char *name) {
    char whole[SG_STEP_NAME];

    if (!is_damaged(name)) return -1;
    snprintf(whole, sizeof whole, "%.*s", (int)(strrchr(name, '.') - name), name);
    return sg_step_of(whole);
}

/* Call `use` with the name of each entry of a folder; one that is not there has none. */
static sg_status each_entry(const char *folder, sg_status (*use)(void *context, const char *name),
                            void *context) {
    DIR *open = opendir(folder);
    sg_status st = SG_OK;
    struct dirent *entry;

    if (!open && errno == ENOENT) return SG_OK;
    if (!open) return sg_fail(SG_ERR_IO, "%s: cannot be listed: %s", folder, strerror(errno));
    while (st == SG_OK && (errno = 0, entry = readdir(open))) st = use(context, entry->d_name);
    if (st == SG_OK && errno)
        st = sg_fail(SG_ERR_IO, "%s: cannot be listed: %s", folder, strerror(errno));
    closedir(open);
    return st;
}

static char *folder_of(const char *run_dir) { return sg_path_join(run_dir, SG_CHECKPOINT_FOLDER); }

/* --- the lock --------------------------------------------------------------------------------- */

static sg_status take_lock(const char *run_dir, int lock, bool shared) {
    if (flock(lock, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0) return SG_OK;
    if (errno != EWOULDBLOCK)
        return sg_fail(SG_ERR_IO, "%s: cannot be locked: %s", run_dir, strerror(errno));
    return sg_fail(SG_ERR_UNAVAILABLE,
                   "%s: another process trains in this folder; choose another run.dir", run_dir);
}

static sg_status lock_file(const char *run_dir, const char *path, bool shared, int *lock) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, kFileMode);
    sg_status st;

    if (fd < 0) return sg_fail(SG_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    st = take_lock(run_dir, fd, shared);
    if (st == SG_OK)
        *lock = fd;
    else
        close(fd);
    return st;
}

sg_status sg_checkpoints_lock(const char *run_dir, const char *name, bool shared, int *lock) {
    char *path = sg_path_join(run_dir, name);
    sg_status st = path ? lock_file(run_dir, path, shared, lock)
                        : sg_fail(SG_ERR_OOM, "%s: no memory for its name", run_dir);

    sg_free(path);
    return st;
}

sg_status sg_checkpoints_share(const char *run_dir, int lock) {
    return take_lock(run_dir, lock, true);
}

/* --- finding ---------------------------------------------------------------------------------- */

typedef struct {
    sg_checkpoint_list *list;
    const char *folder;
    int room;
} finder;

/* Takes over `path`. */
static sg_status append(finder *f, char *path, int64_t step) {
    sg_checkpoint_list *list = f->list;

    if (path && list->n == f->room) {
        int room = f->room ? 2 * f->room : 16;
        sg_checkpoint *larger =
            sg_realloc(list->item, (size_t)list->n * sizeof *larger, (size_t)room * sizeof *larger);

        if (larger) {
            list->item = larger;
            f->room = room;
        }
    }
    if (!path || list->n == f->room) {
        sg_free(path);
        return sg_fail(SG_ERR_OOM, "%s: no memory for its list", f->folder);
    }
    list->item[list->n++] = (sg_checkpoint){path, step};
    return SG_OK;
}

static sg_status take_entry(void *context, const char *name) {
    finder *f = context;
    int64_t step = sg_step_of(name);

    return step < 0 ? SG_OK : append(f, sg_path_join(f->folder, name), step);
}

static sg_status take_damaged(void *context, const char *name) {
    finder *f = context;
    int64_t step = damaged_step_of(name);

    return step < 0 ? SG_OK : append(f, sg_path_join(f->folder, name), step);
}

static bool listed(const sg_checkpoint_list *list, const char *path) {
    for (int i = 0; i < list->n; i++)
        if (sg_same_file(list->item[i].path, path)) return true;
    return false;
}

static sg_status take_link(finder *f, const char *run_dir, const char *name) {
    char *path = sg_path_join(run_dir, name);
    sg_model_file file = {0};
    int64_t step = -1;
    sg_status st;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", run_dir);
    if (!sg_file_exists(path) || listed(f->list, path)) {
        sg_free(path);
        return SG_OK;
    }
    st = sg_model_file_read(path, &file);
    if (st == SG_OK) step = file.step;
    sg_model_file_clear(&file);
    if (st == SG_ERR_OOM) {
        sg_free(path);
        return st;
    }
    return append(f, path, step);
}

static sg_status take_damaged_link(finder *f, const char *run_dir, const char *name) {
    char *path = sg_str_printf("%s/%s" SG_CHECKPOINT_DAMAGED, run_dir, name);

    if (!path || sg_file_exists(path)) return append(f, path, -1);
    sg_free(path);
    return SG_OK;
}

static int newest_first(const void *a, const void *b) {
    const sg_checkpoint *x = a, *y = b;

    if ((x->step < 0) != (y->step < 0)) return x->step < 0 ? -1 : 1;
    if (x->step != y->step) return x->step > y->step ? -1 : 1;
    return strcmp(x->path, y->path);
}

/* What is in the folder of checkpoints, and what lies beside it. */
static sg_status find(const char *run_dir, sg_status (*take)(void *finder, const char *name),
                      sg_status (*take_beside)(finder *f, const char *run_dir, const char *name),
                      sg_checkpoint_list *out) {
    sg_checkpoint_list list = {0};
    char *folder = folder_of(run_dir);
    finder f = {&list, folder, 0};
    sg_status st;

    if (!folder) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", run_dir);
    st = each_entry(folder, take, &f);
    for (int i = 0; i < 2 && st == SG_OK; i++) st = take_beside(&f, run_dir, kLinks[i]);
    if (st == SG_OK && list.n > 0)
        qsort(list.item, (size_t)list.n, sizeof *list.item, newest_first);
    if (st == SG_OK)
        *out = list;
    else
        sg_checkpoint_list_clear(&list);
    sg_free(folder);
    return st;
}

sg_status sg_checkpoints_find(const char *run_dir, sg_checkpoint_list *out) {
    return find(run_dir, take_entry, take_link, out);
}

sg_status sg_checkpoints_damaged(const char *run_dir, sg_checkpoint_list *out) {
    return find(run_dir, take_damaged, take_damaged_link, out);
}

void sg_checkpoint_list_clear(sg_checkpoint_list *list) {
    for (int i = 0; i < list->n; i++) sg_free(list->item[i].path);
    sg_free(list->item);
    *list = (sg_checkpoint_list){0};
}

/* --- names ------------------------------------------------------------------------------------ */

sg_status sg_checkpoint_link(const char *path, const char *name) {
    char *temporary = sg_str_printf("%s.tmp", name);
    sg_status st = SG_OK;

    if (!temporary) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", name);
    if (unlink(temporary) != 0 && errno != ENOENT)
        st = sg_fail(SG_ERR_IO, "%s: cannot be removed: %s", temporary, strerror(errno));
    if (st == SG_OK && link(path, temporary) != 0)
        st = sg_fail(SG_ERR_IO, "%s: cannot be linked to %s: %s", path, name, strerror(errno));
    if (st == SG_OK && rename(temporary, name) != 0)
        st =
            sg_fail(SG_ERR_IO, "%s: cannot be renamed to %s: %s", temporary, name, strerror(errno));
    /* of two names of one file rename(2) leaves both */
    unlink(temporary);
    sg_free(temporary);
    return st;
}

/* --- deleting --------------------------------------------------------------------------------- */

static bool kept(const sg_retention *keep, int rank, int64_t step) {
    if (rank < keep->last) return true;
    if (keep->every > 0 && step % keep->every == 0) return true;
    for (int i = 0; i < keep->n_best; i++)
        if (keep->best[i] == step) return true;
    return false;
}

void sg_checkpoints_retain(const char *run_dir, const sg_retention *keep) {
    char *folder = folder_of(run_dir);
    sg_checkpoint_list list = {0};
    finder f = {&list, folder, 0};

    if (folder && each_entry(folder, take_entry, &f) == SG_OK && list.n > 0) {
        qsort(list.item, (size_t)list.n, sizeof *list.item, newest_first);
        for (int i = 0; i < list.n; i++)
            if (!kept(keep, i, list.item[i].step)) unlink(list.item[i].path);
    }
    sg_checkpoint_list_clear(&list);
    sg_free(folder);
}

/* What is being written in a folder, or was once. A process of another machine cannot be asked
 * whether it lives: what it writes is believed abandoned once the folder has a file that is a day
 * younger, by the file server's clock alone. */
typedef struct {
    const char *folder;
    time_t newest; /* of all its entries */
    bool look;     /* it is only looked through */
} sweeper;

static bool is_link_on_its_way(const char *name) {
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(kLinks[i]);

        if (strncmp(name, kLinks[i], n) == 0 && strcmp(name + n, ".tmp") == 0) return true;
    }
    return false;
}

/* Others' files may be there too. */
static bool is_left_over(const sweeper *s, const char *name, const struct stat *info) {
    sg_temporary t = sg_temporary_of(name);

    return is_link_on_its_way(name) || t == SG_TEMPORARY_DEAD ||
           (t == SG_TEMPORARY_UNKNOWN && info->st_mtime < s->newest - kAbandoned);
}

static sg_status sweep_entry(void *context, const char *name) {
    sweeper *s = context;
    char *path = sg_path_join(s->folder, name);
    struct stat info;

    if (path && lstat(path, &info) == 0) {
        if (s->look && S_ISREG(info.st_mode) && info.st_mtime > s->newest)
            s->newest = info.st_mtime;
        if (!s->look && is_left_over(s, name, &info)) unlink(path);
    }
    sg_free(path);
    return SG_OK;
}

void sg_checkpoints_sweep(const char *run_dir) {
    static const char *const folders[] = {".", SG_CHECKPOINT_FOLDER, "plots"};

    for (int i = 0; i < 3; i++) {
        char *folder = sg_path_join(run_dir, folders[i]);
        sweeper s = {.folder = folder, .look = true};
        sg_status st = folder ? each_entry(folder, sweep_entry, &s) : SG_OK;

        s.look = false;
        if (folder && st == SG_OK) st = each_entry(folder, sweep_entry, &s);
        (void)st; /* what stays does no harm */
        sg_free(folder);
    }
}

static sg_status remove_path(const char *path) {
    if (unlink(path) == 0 || errno == ENOENT) return SG_OK;
    return sg_fail(SG_ERR_IO, "%s: cannot be removed: %s", path, strerror(errno));
}

static sg_status remove_checkpoint(void *folder, const char *name) {
    bool ours = sg_step_of(name) >= 0 || is_damaged(name);
    char *path = ours ? sg_path_join(folder, name) : NULL;
    sg_status st = path ? remove_path(path) : SG_OK;

    sg_free(path);
    return ours && !path ? sg_fail(SG_ERR_OOM, "%s: no memory for its name", name) : st;
}

sg_status sg_checkpoints_forget(const char *run_dir) {
    char *folder = folder_of(run_dir);
    sg_status st = SG_OK;

    if (!folder) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", run_dir);
    st = each_entry(folder, remove_checkpoint, folder);
    sg_free(folder);
    for (int i = 0; i < 2 && st == SG_OK; i++) {
        char *path = sg_path_join(run_dir, kLinks[i]);

        st = path ? remove_path(path) : sg_fail(SG_ERR_OOM, "%s: no memory", run_dir);
        sg_free(path);
        path =
            st == SG_OK ? sg_str_printf("%s/%s" SG_CHECKPOINT_DAMAGED, run_dir, kLinks[i]) : NULL;
        if (path) st = remove_path(path);
        sg_free(path);
    }
    return st;
}
