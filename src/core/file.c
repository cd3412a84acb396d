#define _GNU_SOURCE
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/temporary.h"

enum { kFolderMode = 0777, kFileMode = 0666, kPage = 4096 };

static sg_status read_all(int fd, const char *path, size_t limit, uint8_t **data, size_t *size) {
    size_t capacity = 1 << 16, used = 0;
    struct stat info;
    uint8_t *bytes;

    if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode))
        return sg_fail(SG_ERR_DATA, "%s: is a folder, not a file", path);
    if (fstat(fd, &info) == 0 && info.st_size > 0) capacity = (size_t)info.st_size + 1;
    if (limit && capacity > limit + 1) capacity = limit + 2;
    bytes = sg_malloc(capacity + 1);
    if (!bytes) return sg_fail(SG_ERR_OOM, "%s: no memory for %zu bytes", path, capacity);
    for (;;) {
        ssize_t got = read(fd, bytes + used, capacity - used);

        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            sg_free(bytes);
            return sg_fail(SG_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
        }
        if (got == 0) break;
        used += (size_t)got;
        if (limit && used > limit) {
            sg_free(bytes);
            return sg_fail(SG_ERR_DATA, "%s: larger than %zu bytes", path, limit);
        }
        if (used == capacity) {
            uint8_t *larger = sg_realloc(bytes, used, capacity * 2 + 1);

            if (!larger) {
                sg_free(bytes);
                return sg_fail(SG_ERR_OOM, "%s: no memory for %zu bytes", path, capacity * 2);
            }
            bytes = larger;
            capacity *= 2;
        }
    }
    bytes[used] = 0;
    *data = bytes;
    *size = used;
    return SG_OK;
}

sg_status sg_file_read(const char *path, size_t limit, uint8_t **data, size_t *size) {
    sg_status st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        bool missing = errno == ENOENT || errno == ENOTDIR;
        return sg_fail(missing ? SG_ERR_MISSING : SG_ERR_IO, "%s: cannot open: %s", path,
                       strerror(errno));
    }
    st = read_all(fd, path, limit, data, size);
    close(fd);
    return st;
}

sg_status sg_file_try(const char *path) {
    char bytes[1 << 14];
    int fd = open(path, O_RDONLY | O_CLOEXEC), error = 0;
    ssize_t got = 1;

    if (fd < 0) return sg_fail(SG_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    while (got > 0 || (got < 0 && errno == EINTR)) got = read(fd, bytes, sizeof bytes);
    if (got < 0) error = errno;
    close(fd);
    return error ? sg_fail(SG_ERR_IO, "%s: cannot read: %s", path, strerror(error)) : SG_OK;
}

static sg_status write_all(int fd, const char *path, const uint8_t *data, size_t size) {
    while (size > 0) {
        ssize_t put = write(fd, data, size);

        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return sg_fail(SG_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
        data += put;
        size -= (size_t)put;
    }
    return SG_OK;
}

/* Whole pages: Linux takes 2 GiB less one at a time. */
static bool write_pages(int fd, const uint8_t *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t put = write(fd, data, bytes);

        if (put <= 0 || put % kPage != 0) return false;
        data += put;
        bytes -= (size_t)put;
    }
    return true;
}

/* Whole pages, then the end cut off. Where that cannot be the common way begins anew: it also knows
 * how to say what is wrong. */
static sg_status write_direct(int fd, const char *path, const void *data, size_t size) {
    size_t pages = (size + kPage - 1) / kPage * kPage;

    if (fcntl(fd, F_SETFL, O_DIRECT) == 0 && write_pages(fd, data, pages) &&
        ftruncate(fd, (off_t)size) == 0)
        return SG_OK;
    if (fcntl(fd, F_SETFL, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0 || ftruncate(fd, 0) != 0)
        return sg_fail(SG_ERR_IO, "%s: cannot write: %s", path, strerror(errno));
    return write_all(fd, path, data, size);
}

/* The folder that `path` is in; NULL: no memory. */
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');

    return slash ? sg_str_printf("%.*s", (int)(slash - path > 0 ? slash - path : 1), path)
                 : sg_strdup(".");
}

static sg_status sync_path(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC);
    int failed;

    if (fd < 0) return sg_fail(SG_ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    failed = fsync(fd) != 0 ? errno : 0;
    close(fd);
    /* some file systems cannot sync a folder and say EINVAL */
    if (failed && !((flags & O_DIRECTORY) && failed == EINVAL))
        return sg_fail(SG_ERR_IO, "%s: cannot sync: %s", path, strerror(failed));
    return SG_OK;
}

static sg_status sync_folder_of(const char *path) {
    char *folder = folder_of(path);
    sg_status st;

    if (!folder) return sg_fail(SG_ERR_OOM, "%s: no memory for its folder's name", path);
    st = sync_path(folder, O_RDONLY | O_DIRECTORY);
    sg_free(folder);
    return st;
}

sg_status sg_file_publish(const char *temporary, const char *path) {
    SG_TRY(sync_path(temporary, O_RDONLY));
    if (rename(temporary, path) != 0)
        return sg_fail(SG_ERR_IO, "%s: cannot rename to %s: %s", temporary, path, strerror(errno));
    return sync_folder_of(path);
}

static sg_status write_named(const char *path, const void *data, size_t size, bool direct) {
    sg_status st = SG_OK;
    char *temporary = sg_temporary_name(path);
    int fd;

    if (!temporary) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode);
    if (fd < 0) st = sg_fail(SG_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    if (st == SG_OK)
        st =
            direct ? write_direct(fd, temporary, data, size) : write_all(fd, temporary, data, size);
    if (fd >= 0 && close(fd) != 0 && st == SG_OK)
        st = sg_fail(SG_ERR_IO, "%s: cannot close: %s", temporary, strerror(errno));
    if (st == SG_OK) st = sg_file_publish(temporary, path);
    if (st != SG_OK && fd >= 0) unlink(temporary);
    sg_free(temporary);
    return st;
}

/* --- without a name --------------------------------------------------------------------------- */

/* *fd: a file in the folder of `path` that has no name, so that it is gone with the process,
 * whatever ends that; < 0 where the file system has no such files, or nothing can be written there.
 */
static sg_status open_nameless(const char *path, int *fd) {
    char *folder = folder_of(path);

    *fd = -1;
    if (!folder) return sg_fail(SG_ERR_OOM, "%s: no memory for its folder's name", path);
    *fd = open(folder, O_WRONLY | O_TMPFILE | O_CLOEXEC, kFileMode);
    sg_free(folder);
    return SG_OK;
}

/* The file behind `fd` becomes `path`. A link does not replace, so a file that is there is replaced
 * by a rename from a name of two calls' life. *done: false where it cannot be (no /proc). */
static sg_status name_it(int fd, const char *path, bool *done) {
    char from[32], *temporary;

    snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
    *done = linkat(AT_FDCWD, from, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0;
    if (*done || errno != EEXIST) return SG_OK;
    temporary = sg_temporary_name(path);
    if (!temporary) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", path);
    unlink(temporary);
    if (linkat(AT_FDCWD, from, AT_FDCWD, temporary, AT_SYMLINK_FOLLOW) == 0) {
        *done = rename(temporary, path) == 0;
        if (!*done) unlink(temporary);
    }
    sg_free(temporary);
    return SG_OK;
}

/* *done: false where it has to be gone about with a name. */
static sg_status write_nameless(const char *path, const void *data, size_t size, bool *done) {
    sg_status st;
    int fd;

    *done = false;
    SG_TRY(open_nameless(path, &fd));
    if (fd < 0) return SG_OK;
    st = write_all(fd, path, data, size);
    if (st == SG_OK && fsync(fd) != 0)
        st = sg_fail(SG_ERR_IO, "%s: cannot sync: %s", path, strerror(errno));
    if (st == SG_OK) st = name_it(fd, path, done);
    close(fd); /* nothing is left to be written */
    return *done ? sync_folder_of(path) : st;
}

sg_status sg_file_try_write(const char *path) {
    sg_status st = SG_OK;
    char *temporary;
    int fd;

    SG_TRY(open_nameless(path, &fd));
    if (fd >= 0) {
        close(fd);
        if (access(path, F_OK) == 0 || errno == ENOENT) return SG_OK;
        return sg_fail(SG_ERR_IO, "%s: cannot create: %s", path, strerror(errno)); /* too long */
    }
    temporary = sg_temporary_name(path);
    if (!temporary) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode);
    if (fd < 0) {
        st = sg_fail(SG_ERR_IO, "%s: cannot create: %s", path, strerror(errno));
    } else {
        close(fd);
        unlink(temporary);
    }
    sg_free(temporary);
    return st;
}

sg_status sg_file_write(const char *path, const void *data, size_t size) {
    bool done;

    SG_TRY(write_nameless(path, data, size, &done));
    return done ? SG_OK : write_named(path, data, size, false);
}

sg_status sg_file_write_pages(const char *path, const void *data, size_t size) {
    return write_named(path, data, size, true);
}

sg_status sg_sync_folder(const char *path) { return sync_path(path, O_RDONLY | O_DIRECTORY); }

/* A new folder's name must be as durable as what is written into the folder. `path` as it is cut in
 * sg_make_dirs. Where the parent may not be read it has to do without. */
static void sync_parent(const char *path) {
    char *parent = folder_of(path);
    int fd = parent ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    sg_free(parent);
}

sg_status sg_make_dirs(const char *path) {
    char *copy = sg_strdup(path);
    sg_status st = SG_OK;

    if (!copy) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", path);
    for (char *p = copy + 1; st == SG_OK; p++) {
        if (*p != '/' && *p != '\0') continue;
        char kept = *p;
        *p = '\0';
        int failed = mkdir(copy, kFolderMode) != 0 ? errno : 0;
        if (failed && failed != EEXIST && !sg_is_dir(copy))
            st = sg_fail(SG_ERR_IO, "%s: cannot make the folder: %s", copy, strerror(failed));
        if (!failed) sync_parent(copy);
        *p = kept;
        if (kept == '\0') break;
    }
    if (st == SG_OK && !sg_is_dir(copy)) st = sg_fail(SG_ERR_IO, "%s: is not a folder", copy);
    sg_free(copy);
    return st;
}

bool sg_file_exists(const char *path) {
    struct stat info;

    return stat(path, &info) == 0;
}

bool sg_is_dir(const char *path) {
    struct stat info;

    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool sg_same_file(const char *a, const char *b) {
    struct stat x, y;

    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

sg_status sg_file_check(const char *path) {
    struct stat info;

    if (stat(path, &info) != 0 || S_ISREG(info.st_mode)) return SG_OK;
    return sg_fail(SG_ERR_DATA, "%s: is a %s, not a file", path,
                   S_ISDIR(info.st_mode) ? "folder" : "pipe or a device");
}

char *sg_path_join(const char *folder, const char *name) {
    size_t length = strlen(folder);

    if (name[0] == '/' || length == 0) return sg_strdup(name);
    return sg_str_printf("%s%s%s", folder, folder[length - 1] == '/' ? "" : "/", name);
}
