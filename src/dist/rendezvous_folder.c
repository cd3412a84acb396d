/* The files of a folder in which workers meet: names, and whole files or none. */
#define _GNU_SOURCE
#include "dist/rendezvous_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mem.h"

enum { kFileMode = 0666 };

static const char kEpoch[] = "epoch-", kMember[] = "member-";

/* What passes: a file server that is mounted `soft` gives up by itself, with EIO, or with
 * `softerr` ETIMEDOUT; a full disk may be emptied. */
static sg_status code_of(int error) {
    static const int passes[] = {EIO, ETIMEDOUT, ESTALE, ENOTCONN, EHOSTDOWN, ENOSPC, EDQUOT};

    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++)
        if (error == passes[i]) return SG_ERR_UNAVAILABLE;
    return SG_ERR_IO;
}

sg_status sg_file_place_failed(const sg_file_place *p, const char *name, const char *what,
                               int error) {
    return sg_fail(code_of(error), "%s/%s: cannot %s: %s", p->folder, name, what, strerror(error));
}

char *sg_file_place_path(const sg_file_place *p, const char *name) {
    return sg_str_printf("%s/%s", p->folder, name);
}

sg_status sg_file_place_no_memory(const sg_file_place *p) {
    return sg_fail(SG_ERR_OOM, "%s: no memory for a name in it", p->folder);
}

/* ESTALE: removed on another machine */
bool sg_file_is_gone(int error) { return error == ENOENT || error == ESTALE; }

void sg_epoch_file(int64_t epoch, char name[SG_PLACE_NAME]) {
    snprintf(name, SG_PLACE_NAME, "%s%lld", kEpoch, (long long)epoch);
}

void sg_member_file(const char *id, char name[SG_PLACE_NAME]) {
    snprintf(name, SG_PLACE_NAME, "%s%s", kMember, id);
}

int64_t sg_epoch_of(const char *name) {
    char again[SG_PLACE_NAME];
    long long epoch;

    if (strncmp(name, kEpoch, sizeof kEpoch - 1) != 0) return 0;
    epoch = strtoll(name + sizeof kEpoch - 1, NULL, 10);
    sg_epoch_file(epoch, again);
    return epoch > 0 && epoch <= SG_EPOCH_MOST && strcmp(again, name) == 0 ? epoch : 0;
}

const char *sg_member_of(const char *name) {
    const char *id = name + sizeof kMember - 1;

    return strncmp(name, kMember, sizeof kMember - 1) == 0 && sg_is_member_id(id) ? id : NULL;
}

bool sg_is_temporary(const char *name) {
    size_t length = strlen(name);

    return length > 4 && length < SG_PLACE_NAME && strcmp(name + length - 4, ".tmp") == 0 &&
           (strncmp(name, ".epoch-", 7) == 0 || strncmp(name, ".member-", 8) == 0 ||
            strncmp(name, ".probe", 6) == 0);
}

static sg_status write_all(const sg_file_place *p, const char *name, int file, const char *data) {
    size_t left = strlen(data);

    while (left > 0) {
        ssize_t put = write(file, data, left);

        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return sg_file_place_failed(p, name, "write", errno);
        data += put;
        left -= (size_t)put;
    }
    return SG_OK;
}

/* A new file each time: an old one may be linked already, by a link whose reply was lost. */
sg_status sg_file_place_make(sg_file_place *p, const char *name, const char *data, char **path) {
    char *temporary = sg_str_printf("%s/.%s.%s-%u.tmp", p->folder, name, p->base.nonce, ++p->made);
    sg_status st;
    int file;

    if (!temporary) return sg_file_place_no_memory(p);
    file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode);
    if (file < 0) {
        st = sg_file_place_failed(p, name, "create", errno);
        sg_free(temporary);
        return st;
    }
    st = write_all(p, name, file, data);
    /* with NFS this is when it reaches the server, and a full disk is told */
    if (close(file) != 0 && st == SG_OK) st = sg_file_place_failed(p, name, "write", errno);
    if (st != SG_OK) {
        unlink(temporary);
        sg_free(temporary);
        return st;
    }
    *path = temporary;
    return SG_OK;
}

static sg_status read_open(sg_file_place *p, const char *name, int file) {
    struct stat info;

    p->size = 0;
    if (fstat(file, &info) != 0)
        return sg_file_is_gone(errno) ? SG_ERR_MISSING
                                      : sg_file_place_failed(p, name, "read", errno);
    if (!S_ISREG(info.st_mode)) return SG_ERR_DATA;
    while (p->size < sizeof p->data) {
        ssize_t got = read(file, p->data + p->size, sizeof p->data - p->size);

        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return sg_file_is_gone(errno) ? SG_ERR_MISSING
                                          : sg_file_place_failed(p, name, "read", errno);
        if (got == 0) break;
        p->size += (size_t)got;
    }
    if (p->size == sizeof p->data) return SG_ERR_DATA;
    p->data[p->size] = '\0';
    return SG_OK;
}

sg_status sg_file_place_read(sg_file_place *p, const char *name) {
    char *path = sg_file_place_path(p, name);
    sg_status st;
    int file;

    if (!path) return sg_file_place_no_memory(p);
    /* not to wait for a writer where it is a pipe */
    file = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    sg_free(path);
    if (file < 0) {
        if (sg_file_is_gone(errno)) return SG_ERR_MISSING;
        return errno == ELOOP || errno == ENXIO ? SG_ERR_DATA
                                                : sg_file_place_failed(p, name, "open", errno);
    }
    st = read_open(p, name, file);
    close(file);
    return st;
}

void sg_file_place_remove(const sg_file_place *p, const char *name) {
    char *path = sg_file_place_path(p, name);

    if (path) unlink(path);
    sg_free(path);
}

sg_status sg_file_place_each(sg_file_place *p, sg_visit_name visit, void *context) {
    DIR *folder = opendir(p->folder);
    struct dirent *entry;
    sg_status st = SG_OK;

    if (!folder)
        return sg_fail(code_of(errno), "%s: cannot open the folder: %s", p->folder,
                       strerror(errno));
    while (st == SG_OK && (errno = 0, entry = readdir(folder)))
        st = visit(p, entry->d_name, context);
    if (st == SG_OK && errno)
        st = sg_fail(code_of(errno), "%s: cannot read the folder: %s", p->folder, strerror(errno));
    closedir(folder);
    return st;
}

sg_status sg_file_place_view(sg_file_place *p, const char *name, void *context) {
    sg_view *view = context;
    int64_t epoch = sg_epoch_of(name);
    const char *id = sg_member_of(name);

    (void)p;
    if (epoch > view->epoch) view->epoch = epoch;
    if (id) view->members += sg_member_sum(id);
    return SG_OK;
}
