#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "dist/rendezvous_file.h"

static bool is_ours(const char *name) {
    return sg_epoch_of(name) > 0 || sg_member_of(name) || sg_is_temporary(name);
}

static sg_status remove_one(const char *folder, const char *name) {
    char *path = sg_path_join(folder, name);
    sg_status st = SG_OK;

    if (!path) return sg_fail(SG_ERR_OOM, "%s: no memory for a name in it", folder);
    if (unlink(path) != 0 && errno != ENOENT)
        st = sg_fail(SG_ERR_IO, "%s: cannot be removed: %s", path, strerror(errno));
    sg_free(path);
    return st;
}

sg_status sg_rendezvous_empty(const char *folder) {
    DIR *open = opendir(folder);
    sg_status st = SG_OK;
    struct dirent *entry;

    if (!open && errno == ENOENT) return SG_OK;
    if (!open) return sg_fail(SG_ERR_IO, "%s: cannot be listed: %s", folder, strerror(errno));
    while (st == SG_OK && (errno = 0, entry = readdir(open)))
        if (is_ours(entry->d_name)) st = remove_one(folder, entry->d_name);
    if (st == SG_OK && errno)
        st = sg_fail(SG_ERR_IO, "%s: cannot be listed: %s", folder, strerror(errno));
    closedir(open);
    return st;
}
