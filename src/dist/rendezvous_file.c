/* A folder as a rendezvous: of this machine, or of a file server that all machines see.
 *
 *   epoch-12                 a record; made whole under another name, then link(), which fails
 *                            where there is one: so exactly one wins. Never written to again.
 *   member-0123456789abcdef  a line of 16 digits that each sign of life changes, and a record. It
 *                            is made whole under another name and renamed; after that only the
 *                            digits are written, in place, so that the folder stays as it is.
 *   .NAME.NONCE-7.tmp        what is being made; NONCE is this process's, 7 counts
 *
 * A reader may meet the digits half written. That does no harm: they are only compared with those
 * of before, and half written means alive. All else has a checksum, and what does not match it is
 * told once and left out. Times of files, and other machines' clocks, are never looked at.
 *
 * NFS (reasoned, not yet tried on a real server): link and rename are atomic at the server; a lost
 * reply to a link, told as EEXIST, shows in whose record is found then. (A link count of 2 would
 * show it too, but says less: a backup may count.) Attributes and names are cached for up to a
 * minute, but opening a folder or a file by its path asks the server (close-to-open): so folders
 * are opened anew for each look, and so are files, which are closed after each write. No fsync:
 * what is only readable after a power cut, when all who wrote it are gone, nobody needs. */
#define _GNU_SOURCE
#include "dist/rendezvous_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"

enum {
    kPollMs = 50,
    kRereads = 5, /* the newest record was removed while it was opened */
};

static const double kForget = 60.0; /* seconds */
static const char kScheme[] = "file://";

static sg_status file_look(sg_meeting *place, double deadline, sg_view *view) {
    (void)deadline;
    *view = (sg_view){0};
    return sg_file_place_each((sg_file_place *)place, sg_file_place_view, view);
}

/* --- epochs ----------------------------------------------------------------------------------- */

/* Of the epoch's file, which has been read. */
static bool read_record(const sg_file_place *p, int64_t epoch, sg_record *record) {
    return sg_record_read("epoch", p->data, p->size, record) && record->number == epoch;
}

static bool is_mine(sg_file_place *p, int64_t epoch, const char *text) {
    sg_record record;
    char name[SG_PLACE_NAME];

    sg_epoch_file(epoch, name);
    return sg_file_place_read(p, name) == SG_OK && read_record(p, epoch, &record) &&
           strcmp(record.name, p->base.nonce) == 0 && strcmp(record.text, text) == 0;
}

static sg_status remove_old(sg_file_place *p, const char *name, void *context) {
    int64_t epoch = sg_epoch_of(name);

    if (epoch > 0 && epoch <= *(const int64_t *)context - SG_EPOCHS_KEPT)
        sg_file_place_remove(p, name);
    return SG_OK;
}

/* Whoever slept through so many epochs that its own has been removed does not bring it back. */
static sg_status tidy_epochs(sg_file_place *p, int64_t epoch, bool *won) {
    sg_view view = {0};

    SG_TRY(sg_file_place_each(p, sg_file_place_view, &view));
    *won = epoch > view.epoch - SG_EPOCHS_KEPT;
    return sg_file_place_each(p, remove_old, &view.epoch);
}

static sg_status link_record(sg_file_place *p, int64_t epoch, const char *text,
                             const char *temporary, bool *won) {
    char name[SG_PLACE_NAME], *path;
    int error;

    sg_epoch_file(epoch, name);
    path = sg_file_place_path(p, name);
    if (!path) return sg_file_place_no_memory(p);
    error = linkat(AT_FDCWD, temporary, AT_FDCWD, path, 0) != 0 ? errno : 0;
    sg_free(path);
    *won = error == 0 || is_mine(p, epoch, text);
    return *won || error == EEXIST ? SG_OK : sg_file_place_failed(p, name, "link", error);
}

static sg_status file_propose(sg_meeting *place, int64_t epoch, const char *text, double deadline,
                              bool *won) {
    sg_file_place *p = (sg_file_place *)place;
    char name[SG_PLACE_NAME], *data, *temporary = NULL;
    sg_view view;
    sg_status st;

    *won = false;
    SG_TRY(file_look(place, deadline, &view));
    if (view.epoch > epoch) {
        *won = is_mine(p, epoch, text);
        return SG_OK;
    }
    sg_epoch_file(epoch, name);
    data = sg_record_write("epoch", epoch, place->nonce, text);
    if (!data) return sg_file_place_no_memory(p);
    st = sg_file_place_make(p, name, data, &temporary);
    sg_free(data);
    if (st != SG_OK) return st;
    st = link_record(p, epoch, text, temporary, won);
    unlink(temporary);
    sg_free(temporary);
    if (st == SG_OK && *won && tidy_epochs(p, epoch, won) != SG_OK)
        sg_log(SG_LOG_WARN, "%s: not tidied up: %s", p->folder, sg_last_error());
    return st;
}

/* A damaged record cannot be replaced, as those who read it before it was damaged may be in it. It
 * names nobody, and so the next one follows. */
static const char *text_of(sg_file_place *p, int64_t epoch, sg_status st) {
    sg_record record;

    if (st == SG_OK && read_record(p, epoch, &record)) return record.text;
    if (p->damaged != epoch)
        sg_log(SG_LOG_WARN, "%s/epoch-%lld is damaged: taken as one that names nobody", p->folder,
               (long long)epoch);
    p->damaged = epoch;
    return "";
}

static sg_status file_newest(sg_meeting *place, double deadline, int64_t *epoch, char **text) {
    sg_file_place *p = (sg_file_place *)place;
    sg_status st = SG_ERR_MISSING;
    sg_view view = {0};
    char name[SG_PLACE_NAME];

    for (int i = 0; i < kRereads && st == SG_ERR_MISSING; i++) {
        SG_TRY(file_look(place, deadline, &view));
        *epoch = view.epoch;
        *text = NULL;
        if (view.epoch == 0) return SG_OK;
        sg_epoch_file(view.epoch, name);
        st = sg_file_place_read(p, name);
    }
    if (st == SG_ERR_MISSING) return sg_file_place_failed(p, name, "open", ENOENT);
    if (st != SG_OK && st != SG_ERR_DATA) return st;
    *text = sg_strdup(text_of(p, view.epoch, st));
    return *text ? SG_OK : sg_file_place_no_memory(p);
}

/* --- opening ---------------------------------------------------------------------------------- */

static sg_status no_links(const sg_file_place *p, int error) {
    bool never = error == EPERM || error == EOPNOTSUPP || error == ENOSYS;

    return sg_fail(never ? SG_ERR_CONFIG : SG_ERR_IO,
                   "%s: cannot make a hard link, and without those nobody can meet here: %s",
                   p->folder, strerror(error));
}

/* What cannot be written to, or has no hard links, is told at once, and not when an epoch ends. */
static sg_status probe(sg_file_place *p) {
    char *temporary = NULL, *other = sg_str_printf("%s/.probe.%s.tmp", p->folder, p->base.nonce);
    sg_status st;

    if (!other) return sg_file_place_no_memory(p);
    st = sg_file_place_make(p, "probe", "", &temporary);
    if (st == SG_OK && temporary) {
        if (linkat(AT_FDCWD, temporary, AT_FDCWD, other, 0) != 0) st = no_links(p, errno);
        unlink(other);
        unlink(temporary);
    }
    sg_free(temporary);
    sg_free(other);
    return st;
}

/* -1 where there is none to be had: then it is polled alone. */
static int watch(const char *folder) {
    int hint = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    if (hint >= 0 &&
        inotify_add_watch(hint, folder, IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) < 0) {
        close(hint);
        hint = -1;
    }
    return hint;
}

static void file_destroy(sg_meeting *place) {
    sg_file_place *p = (sg_file_place *)place;

    if (place->hint >= 0) close(place->hint);
    sg_free(p->seen);
    sg_free(p);
}

static const sg_meeting_kind kFile = {
    .announce = sg_file_announce,
    .beat = sg_file_beat,
    .withdraw = sg_file_withdraw,
    .members = sg_file_members,
    .propose = file_propose,
    .newest = file_newest,
    .look = file_look,
    .destroy = file_destroy,
};

sg_status sg_meeting_open_file(const char *url, double deadline, sg_meeting **out) {
    const char *folder = url + sizeof kScheme - 1;
    sg_file_place *p;
    sg_status st;

    (void)deadline;
    if (folder[0] != '/' || folder[1] == '\0')
        return sg_fail(SG_ERR_CONFIG, "'%s': no folder; it is written file:///FOLDER", url);
    p = sg_calloc(1, sizeof *p);
    if (!p) return sg_fail(SG_ERR_OOM, "%s: no memory to meet there", url);
    p->base =
        (sg_meeting){.kind = &kFile, .url = url, .forget = kForget, .hint = -1, .poll_ms = kPollMs};
    p->folder = folder;
    st = sg_member_id_draw(p->base.nonce);
    /* so that who comes again with its old id does not look as if it had been silent */
    p->counter = strtoull(p->base.nonce, NULL, 16);
    if (st == SG_OK) st = sg_make_dirs(folder);
    if (st == SG_OK) st = probe(p);
    if (st != SG_OK) {
        file_destroy(&p->base);
        return st;
    }
    p->base.hint = watch(folder);
    *out = &p->base;
    return SG_OK;
}
