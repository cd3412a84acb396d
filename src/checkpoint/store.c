/* What all kinds of store share: opening, names, local files, and the newest checkpoint. */
#define _GNU_SOURCE
#include "checkpoint/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/store_kind.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/temporary.h"

enum { kFileMode = 0666, kFirstEntries = 16, kUrlText = 1024 };

static const char kS3[] = "s3://";

/* NULL: there is no such kind. */
static const sg_store_kind *kind_of(const char *url) {
    if (strncmp(url, kS3, sizeof kS3 - 1) == 0) return &sg_store_s3;
    return strstr(url, "://") ? NULL : &sg_store_folder;
}

static sg_status open_kind(const sg_store_kind *kind, const char *url, sg_store **out) {
    int length = (int)strlen(url);
    sg_store *store = sg_calloc(1, kind->bytes);
    sg_status st;

    if (!store) return sg_fail(SG_ERR_OOM, "%s: no memory for a store", url);
    while (length > 1 && url[length - 1] == '/') length--;
    store->kind = kind;
    store->url = sg_str_printf("%.*s", length, url);
    st =
        store->url ? kind->open(store, url) : sg_fail(SG_ERR_OOM, "%s: no memory for a store", url);
    if (st == SG_OK)
        *out = store;
    else
        sg_store_close(store);
    return st;
}

sg_status sg_store_open(const char *url, sg_store **out) {
    const sg_store_kind *kind = kind_of(url);

    if (!*url) {
        *out = NULL;
        return SG_OK;
    }
    if (strlen(url) >= kUrlText)
        return sg_fail(SG_ERR_CONFIG, "the store's name is longer than %d bytes", kUrlText - 1);
    if (!kind) return sg_fail(SG_ERR_CONFIG, "%s: a store is a folder or s3://BUCKET/PREFIX", url);
    return open_kind(kind, url, out);
}

void sg_store_close(sg_store *store) {
    if (!store) return;
    if (store->kind->close) store->kind->close(store);
    sg_free(store->url);
    sg_free(store);
}

const char *sg_store_url(const sg_store *store) { return store->url; }

int sg_store_failure(const sg_store *store) { return store->failure; }

void sg_store_cancel(sg_store *store) {
    atomic_store(&store->cancelled, true);
    if (store->kind->cancel) store->kind->cancel(store);
}

bool sg_store_is_name(const char *name) {
    size_t length = strlen(name);

    return length > 0 && length < SG_STORE_NAME && name[0] != '.' && !strchr(name, '/');
}

static sg_status check_name(const sg_store *store, const char *name) {
    if (sg_store_is_name(name)) return SG_OK;
    return sg_fail(SG_ERR_ARG, "%s: '%s' cannot be a name in a store", store->url, name);
}

sg_status sg_store_append(sg_store_entry **entries, int *n, int *capacity, const char *name,
                          int64_t bytes) {
    if (*n == *capacity) {
        int wanted = *capacity ? 2 * *capacity : kFirstEntries;
        sg_store_entry *more =
            sg_realloc(*entries, (size_t)*n * sizeof **entries, (size_t)wanted * sizeof **entries);

        if (!more) return sg_fail(SG_ERR_OOM, "no memory for a list of %d objects", wanted);
        *entries = more;
        *capacity = wanted;
    }
    (*entries)[*n].bytes = bytes;
    snprintf((*entries)[*n].name, SG_STORE_NAME, "%s", name);
    ++*n;
    return SG_OK;
}

int64_t sg_read_at(int file, void *to, size_t bytes, int64_t offset) {
    size_t got = 0;

    while (got < bytes) {
        ssize_t n = pread(file, (char *)to + got, bytes - got, (off_t)(offset + (int64_t)got));

        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        got += (size_t)n;
    }
    return (int64_t)got;
}

sg_status sg_store_put_open(sg_store *store, const char *name, int file) {
    struct stat info;

    store->failure = 0;
    SG_TRY(check_name(store, name));
    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode))
        return SG_STORE_FAIL(store, EINVAL, SG_ERR_IO,
                             "%s/%s: what it is to be copied from is no file", store->url, name);
    return store->kind->put(store, name, file, info.st_size);
}

sg_status sg_store_put(sg_store *store, const char *name, const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    sg_status st;

    store->failure = 0;
    if (file < 0)
        return SG_STORE_FAIL(store, errno, errno == ENOENT ? SG_ERR_MISSING : SG_ERR_IO,
                             "%s: cannot open: %s", path, strerror(errno));
    st = sg_store_put_open(store, name, file);
    close(file);
    return st;
}

/* Into `temporary`, which remains after a failure. */
static sg_status get_file(sg_store *store, const char *name, const char *temporary) {
    int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode);
    sg_status st;

    if (file < 0)
        return SG_STORE_FAIL(store, errno, SG_ERR_IO, "%s: cannot create: %s", temporary,
                             strerror(errno));
    st = store->kind->get(store, name, file);
    if (close(file) != 0 && st == SG_OK)
        st = SG_STORE_FAIL(store, errno, SG_ERR_IO, "%s: cannot close: %s", temporary,
                           strerror(errno));
    return st;
}

/* `verify` may be NULL; what it says is put into *damaged, and is no failure of this function. */
static sg_status get_verified(sg_store *store, const char *name, const char *path,
                              sg_store_verify verify, void *context, sg_status *damaged) {
    char *temporary;
    sg_status st;

    store->failure = 0;
    SG_TRY(check_name(store, name));
    temporary = sg_temporary_name(path);
    if (!temporary) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", path);
    *damaged = SG_OK;
    st = get_file(store, name, temporary);
    if (st == SG_OK && verify) *damaged = verify(temporary, context);
    if (st == SG_OK && *damaged == SG_OK) st = sg_file_publish(temporary, path);
    if (st != SG_OK || *damaged != SG_OK) unlink(temporary);
    sg_free(temporary);
    return st;
}

sg_status sg_store_get(sg_store *store, const char *name, const char *path) {
    sg_status damaged;

    return get_verified(store, name, path, NULL, NULL, &damaged);
}

sg_status sg_store_list(sg_store *store, sg_store_entry **entries, int *n) {
    sg_store_entry *found = NULL;
    int count = 0;
    sg_status st;

    store->failure = 0;
    st = store->kind->list(store, &found, &count);
    if (st != SG_OK) {
        sg_free(found);
        return st;
    }
    *entries = found;
    *n = count;
    return SG_OK;
}

sg_status sg_store_remove(sg_store *store, const char *name) {
    store->failure = 0;
    SG_TRY(check_name(store, name));
    return store->kind->remove(store, name);
}

static int newer_first(const void *a, const void *b) {
    const sg_store_entry *x = a, *y = b;
    int64_t left = sg_step_of(x->name), right = sg_step_of(y->name);

    return left < right ? 1 : left > right ? -1 : 0;
}

sg_status sg_store_newest(sg_store *store, sg_store_entry **entries, int *n) {
    sg_store_entry *all;
    int count, kept = 0;

    SG_TRY(sg_store_list(store, &all, &count));
    for (int i = 0; i < count; i++)
        if (sg_step_of(all[i].name) >= 0) all[kept++] = all[i];
    if (kept > 0) qsort(all, (size_t)kept, sizeof *all, newer_first);
    *entries = all;
    *n = kept;
    return SG_OK;
}

sg_status sg_store_trim(sg_store *store, int keep, int64_t spared) {
    sg_store_entry *entries;
    sg_status st = SG_OK;
    int n;

    SG_TRY(sg_store_newest(store, &entries, &n));
    for (int i = keep; i < n && st == SG_OK; i++)
        if (sg_step_of(entries[i].name) != spared) st = sg_store_remove(store, entries[i].name);
    sg_free(entries);
    return st;
}

sg_status sg_store_forget(sg_store *store) {
    SG_TRY(sg_store_trim(store, 0, -1));
    return sg_store_remove(store, SG_CHECKPOINT_BEST);
}

/* *path stays NULL where the object is damaged, or gone since it was listed. */
static sg_status fetch(sg_store *store, const char *name, const char *folder,
                       sg_store_verify verify, void *context, char **path) {
    char *to = sg_path_join(folder, name);
    sg_status st, damaged = SG_OK;

    if (!to) return sg_fail(SG_ERR_OOM, "%s: no memory for its name", name);
    st = get_verified(store, name, to, verify, context, &damaged);
    if (st == SG_ERR_MISSING || damaged != SG_OK) {
        sg_log(SG_LOG_WARN, "%s/%s is %s, trying the one before: %s", store->url, name,
               damaged != SG_OK ? "damaged" : "gone", sg_last_error());
        st = damaged == SG_ERR_OOM || damaged == SG_ERR_INTERRUPTED ? damaged : SG_OK;
    } else if (st == SG_OK) {
        *path = to;
        return SG_OK;
    }
    sg_free(to);
    return st;
}

sg_status sg_store_fetch_newest(sg_store *store, const char *folder, int64_t above,
                                sg_store_verify verify, void *context, char **path) {
    sg_store_entry *entries;
    sg_status st = SG_OK;
    char *found = NULL;
    int n;

    SG_TRY(sg_store_newest(store, &entries, &n));
    for (int i = 0; i < n && st == SG_OK && !found && sg_step_of(entries[i].name) > above; i++)
        st = fetch(store, entries[i].name, folder, verify, context, &found);
    sg_free(entries);
    if (st == SG_OK) *path = found;
    return st;
}
