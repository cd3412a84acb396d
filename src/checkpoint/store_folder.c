/* A folder as a store. Other nodes may see it through NFS, whose promises are what is relied on: a
 * rename within a folder replaces whole, close-to-open consistency, fsync reaches the server. No
 * locks, no file times compared with a clock of ours.
 *
 * What is being written is called ".NAME.PLACE.PID.tmp" (core/temporary.h), so that two nodes never
 * write to the same file, and is renamed when it has reached the disk. What a killed node left of
 * these is removed by the next put that finds it older, by the server's clock alone, than a day
 * before its own file. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/store_kind.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/temporary.h"

enum { kChunk = 1 << 20, kFileMode = 0666, kAbandoned = 24 * 3600 };

static sg_status failed(sg_store *store, const char *name, const char *what, int error) {
    bool gone = error == ENOENT || error == ESTALE; /* ESTALE: removed by another node */

    return SG_STORE_FAIL(store, error, gone ? SG_ERR_MISSING : SG_ERR_IO, "%s/%s: cannot %s: %s",
                         store->url, name, what, strerror(error));
}

static char *path_of(const sg_store *store, const char *name) {
    return sg_path_join(store->url, name);
}

static sg_status write_chunk(sg_store *store, const char *name, const char *what, int to,
                             const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t put = write(to, data, bytes);

        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return failed(store, name, what, errno);
        data += put;
        bytes -= (size_t)put;
    }
    return SG_OK;
}

/* `bytes` < 0: from the store, whatever is there */
static sg_status copy_chunks(sg_store *store, const char *name, int from, int to, int64_t bytes,
                             char *chunk) {
    const char *what = bytes < 0 ? "write its copy" : "write";
    int64_t done = 0;

    for (;;) {
        int64_t got = sg_read_at(from, chunk, kChunk, done);

        if (atomic_load(&store->cancelled)) return sg_fail(SG_ERR_INTERRUPTED, "cancelled");
        if (got < 0) return failed(store, name, "read", errno);
        if (got == 0) break;
        SG_TRY(write_chunk(store, name, what, to, chunk, (size_t)got));
        done += got;
    }
    if (bytes >= 0 && done != bytes)
        return SG_STORE_FAIL(store, EIO, SG_ERR_IO, "%s/%s: %lld bytes were read instead of %lld",
                             store->url, name, (long long)done, (long long)bytes);
    return SG_OK;
}

static sg_status copy(sg_store *store, const char *name, int from, int to, int64_t bytes) {
    char *chunk = sg_malloc(kChunk);
    sg_status st;

    if (!chunk) return sg_fail(SG_ERR_OOM, "%s/%s: no memory to copy it", store->url, name);
    st = copy_chunks(store, name, from, to, bytes, chunk);
    sg_free(chunk);
    return st;
}

/* Leftovers of killed nodes; whatever cannot be looked at or removed waits for another time. */
static void remove_abandoned(const sg_store *store, time_t now) {
    DIR *folder = opendir(store->url);
    struct dirent *entry;
    struct stat info;

    if (!folder) return;
    while ((entry = readdir(folder))) {
        size_t length = strlen(entry->d_name);

        if (entry->d_name[0] != '.' || length < 5 ||
            strcmp(entry->d_name + length - 4, ".tmp") != 0)
            continue;
        if (fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(info.st_mode) && info.st_mtime < now - kAbandoned)
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    closedir(folder);
}

static sg_status write_temporary(sg_store *store, const char *name, const char *temporary, int file,
                                 int64_t bytes) {
    int to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode);
    struct stat info;
    sg_status st;

    if (to < 0) return failed(store, name, "create", errno);
    st = copy(store, name, file, to, bytes);
    /* with NFS a full disk may be told only now */
    if (st == SG_OK && fsync(to) != 0) st = failed(store, name, "sync", errno);
    if (st == SG_OK && fstat(to, &info) == 0) remove_abandoned(store, info.st_mtime);
    if (close(to) != 0 && st == SG_OK) st = failed(store, name, "close", errno);
    return st;
}

/* The caller's; NULL: no memory. */
static char *temporary_of(const sg_store *store, const char *name) {
    char *hidden = sg_str_printf("%s/.%s", store->url, name);
    char *temporary = hidden ? sg_temporary_name(hidden) : NULL;

    sg_free(hidden);
    return temporary;
}

static sg_status folder_put(sg_store *store, const char *name, int file, int64_t bytes) {
    char *path = path_of(store, name), *temporary = temporary_of(store, name);
    sg_status st = SG_OK;

    if (!path || !temporary)
        st = sg_fail(SG_ERR_OOM, "%s/%s: no memory for its name", store->url, name);
    if (st == SG_OK) st = write_temporary(store, name, temporary, file, bytes);
    if (st == SG_OK) {
        store->failure = EIO; /* of what sg_file_publish may say */
        st = sg_file_publish(temporary, path);
    }
    if (st != SG_OK && temporary) unlink(temporary);
    sg_free(temporary);
    sg_free(path);
    return st;
}

static sg_status folder_get(sg_store *store, const char *name, int file) {
    char *path = path_of(store, name);
    sg_status st;
    int from;

    if (!path) return sg_fail(SG_ERR_OOM, "%s/%s: no memory for its name", store->url, name);
    from = open(path, O_RDONLY | O_CLOEXEC);
    sg_free(path);
    if (from < 0) return failed(store, name, "open", errno);
    st = copy(store, name, from, file, -1);
    close(from);
    return st;
}

static sg_status folder_list(sg_store *store, sg_store_entry **entries, int *n) {
    DIR *folder = opendir(store->url);
    struct dirent *entry;
    struct stat info;
    sg_status st = SG_OK;
    int capacity = 0;

    if (!folder)
        return SG_STORE_FAIL(store, errno, SG_ERR_IO, "%s: cannot open: %s", store->url,
                             strerror(errno));
    while (st == SG_OK && (errno = 0, entry = readdir(folder))) {
        if (!sg_store_is_name(entry->d_name)) continue;
        /* what is gone since was never there */
        if (fstatat(dirfd(folder), entry->d_name, &info, 0) != 0 || !S_ISREG(info.st_mode))
            continue;
        st = sg_store_append(entries, n, &capacity, entry->d_name, info.st_size);
    }
    if (st == SG_OK && errno)
        st = SG_STORE_FAIL(store, errno, SG_ERR_IO, "%s: cannot read: %s", store->url,
                           strerror(errno));
    closedir(folder);
    return st;
}

static sg_status folder_remove(sg_store *store, const char *name) {
    char *path = path_of(store, name);
    int error;

    if (!path) return sg_fail(SG_ERR_OOM, "%s/%s: no memory for its name", store->url, name);
    error = unlink(path) != 0 ? errno : 0;
    sg_free(path);
    return error == 0 || error == ENOENT ? SG_OK : failed(store, name, "remove", error);
}

static sg_status folder_open(sg_store *store, const char *url) {
    (void)url;
    return sg_make_dirs(store->url);
}

const sg_store_kind sg_store_folder = {
    .bytes = sizeof(sg_store),
    .open = folder_open,
    .put = folder_put,
    .get = folder_get,
    .list = folder_list,
    .remove = folder_remove,
};
