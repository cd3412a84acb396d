#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/mem.h"
#include "train/export.h"

/* Of repeated keys the last counts. */
static const char *const kOnCpu[] = {"run.device=cpu", "train.precision=auto"};
enum { kOnCpuKeys = sizeof kOnCpu / sizeof kOnCpu[0] };

/* Files of ours are published whole and never changed: another one has another number, or where
 * that is used again another time. Not the time of its names' change: it gets names and loses them.
 */
static sg_status look(const char *path, sg_export_identity *out) {
    struct stat s;

    if (stat(path, &s) != 0)
        return sg_fail(errno == ENOENT || errno == ENOTDIR ? SG_ERR_MISSING : SG_ERR_IO,
                       "%s: cannot open: %s", path, strerror(errno));
    *out = (sg_export_identity){(int64_t)s.st_dev, (int64_t)s.st_ino, (int64_t)s.st_size,
                                (int64_t)s.st_mtim.tv_sec, (int64_t)s.st_mtim.tv_nsec};
    return SG_OK;
}

sg_status sg_export_open(const char *path, const char *const *overrides, int n_overrides,
                         sg_export_source *out) {
    sg_export_source s = {.overrides = NULL};

    SG_TRY(sg_file_check(path)); /* opening a pipe might never end */
    SG_TRY(look(path, &s.began));
    s.overrides = sg_calloc((size_t)n_overrides + kOnCpuKeys, sizeof *s.overrides);
    if (!s.overrides) return sg_fail(SG_ERR_OOM, "%s: no memory", path);
    for (int i = 0; i < n_overrides; i++) s.overrides[i] = overrides[i];
    for (int i = 0; i < kOnCpuKeys; i++) s.overrides[n_overrides + i] = kOnCpu[i];
    s.file = (sg_trained_source){path, s.overrides, n_overrides + kOnCpuKeys};
    *out = s;
    return SG_OK;
}

void sg_export_close(sg_export_source *s) {
    sg_free(s->overrides);
    *s = (sg_export_source){.overrides = NULL};
}

sg_status sg_export_unchanged(const sg_export_source *s, sg_status st) {
    sg_export_identity now = {0};
    bool there = look(s->file.path, &now) == SG_OK;

    if (there && now.device == s->began.device && now.inode == s->began.inode &&
        now.size == s->began.size && now.seconds == s->began.seconds &&
        now.nanoseconds == s->began.nanoseconds)
        return st;
    return sg_fail(SG_ERR_UNAVAILABLE,
                   "%s: was %s meanwhile; export again, or name a checkpoint that stays, such as a "
                   "copy",
                   s->file.path, there ? "replaced" : "removed");
}
