/* Members of a folder: who is announced in it, and how long they have been silent. */
#define _GNU_SOURCE
#include "dist/rendezvous_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"

enum { kFirstEntries = 16 };

sg_status sg_file_announce(sg_meeting *place, const char *id, const char *text, double deadline) {
    sg_file_place *p = (sg_file_place *)place;
    char name[SG_PLACE_NAME], *record, *data, *path, *temporary = NULL;
    sg_status st = SG_OK;

    (void)deadline;
    if (place->text && strcmp(id, place->id) != 0)
        return sg_fail(SG_ERR_ARG, "%s: %s is announced already", p->folder, place->id);
    SG_TRY(sg_meeting_keep(place, id, text));
    sg_member_file(place->id, name);
    record = sg_record_write("member", 0, place->id, place->text);
    data = record ? sg_str_printf("%016" PRIx64 "\n%s", ++p->counter, record) : NULL;
    path = sg_file_place_path(p, name);
    if (!data || !path) st = sg_file_place_no_memory(p);
    if (st == SG_OK) st = sg_file_place_make(p, name, data, &temporary);
    if (st == SG_OK && rename(temporary, path) != 0) {
        st = sg_file_place_failed(p, name, "rename a file to it", errno);
        unlink(temporary);
    }
    sg_free(temporary);
    sg_free(path);
    sg_free(data);
    sg_free(record);
    return st;
}

sg_status sg_file_beat(sg_meeting *place, double deadline) {
    sg_file_place *p = (sg_file_place *)place;
    char name[SG_PLACE_NAME], digits[SG_LIFE_BYTES + 1], *path;
    ssize_t put = -1;
    int file, error;

    sg_member_file(place->id, name);
    snprintf(digits, sizeof digits, "%016" PRIx64 "\n", ++p->counter);
    path = sg_file_place_path(p, name);
    if (!path) return sg_file_place_no_memory(p);
    file = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    sg_free(path);
    if (file >= 0) put = pwrite(file, digits, SG_LIFE_BYTES, 0);
    error = put == SG_LIFE_BYTES ? 0 : put < 0 ? errno : EIO;
    if (file >= 0 && close(file) != 0 && !error) error = errno;
    /* who was silent for a minute, and now is not, was removed */
    if (sg_file_is_gone(error)) return sg_file_announce(place, place->id, place->text, deadline);
    return error ? sg_file_place_failed(p, name, "write", error) : SG_OK;
}

sg_status sg_file_withdraw(sg_meeting *place, double deadline) {
    sg_file_place *p = (sg_file_place *)place;
    char name[SG_PLACE_NAME], *path;
    int error;

    (void)deadline;
    if (!place->text) return SG_OK;
    sg_member_file(place->id, name);
    path = sg_file_place_path(p, name);
    if (!path) return sg_file_place_no_memory(p);
    error = unlink(path) != 0 ? errno : 0;
    sg_free(path);
    if (error && !sg_file_is_gone(error)) return sg_file_place_failed(p, name, "remove", error);
    sg_meeting_forget(place);
    return SG_OK;
}

/* What is known of a file, new where there is nothing. NULL: no memory. */
static sg_sighting *find_sighting(sg_file_place *p, const char *name) {
    for (int i = 0; i < p->n_seen; i++)
        if (strcmp(p->seen[i].name, name) == 0) return &p->seen[i];
    if (p->n_seen == p->capacity) {
        int wanted = p->capacity ? 2 * p->capacity : kFirstEntries;
        sg_sighting *more =
            sg_realloc(p->seen, (size_t)p->n_seen * sizeof *more, (size_t)wanted * sizeof *more);

        if (!more) return NULL;
        p->seen = more;
        p->capacity = wanted;
    }
    p->seen[p->n_seen] = (sg_sighting){.since = -1.0};
    snprintf(p->seen[p->n_seen].name, SG_PLACE_NAME, "%s", name);
    return &p->seen[p->n_seen++];
}

/* It is there, with this content. *is_new: for the first time. NULL: no memory. */
static sg_sighting *sight(sg_file_place *p, const char *name, uint32_t checksum, bool *is_new) {
    sg_sighting *s = find_sighting(p, name);

    if (!s) return NULL;
    *is_new = s->since < 0.0;
    if (*is_new || s->checksum != checksum) {
        s->since = p->now;
        s->heard = !*is_new || p->looked;
    }
    s->checksum = checksum;
    s->there = true;
    return s;
}

typedef struct {
    sg_announced *list;
    int n, capacity;
    sg_view view;
} member_list;

/* After the folder has been read: what is gone is not followed any more, what has been silent for
 * too long is removed. Should it be just now that it shows a sign of life, it announces itself
 * again. */
static void forget_silent(sg_file_place *p) {
    int kept = 0;

    for (int i = 0; i < p->n_seen; i++) {
        sg_sighting *s = &p->seen[i];

        if (s->there && p->now - s->since >= p->base.forget) {
            sg_log(SG_LOG_INFO, "%s/%s: silent for %.0f s, removed", p->folder, s->name,
                   p->now - s->since);
            sg_file_place_remove(p, s->name);
        } else if (s->there) {
            s->there = false;
            p->seen[kept++] = *s;
        }
    }
    p->n_seen = kept;
}

/* Of the member's file, which has been read. */
static bool read_member(const sg_file_place *p, const char *id, sg_record *record) {
    return p->size > SG_LIFE_BYTES && p->data[SG_LIFE_BYTES - 1] == '\n' &&
           sg_record_read("member", p->data + SG_LIFE_BYTES, p->size - SG_LIFE_BYTES, record) &&
           strcmp(record->name, id) == 0;
}

static sg_status add_member(sg_file_place *p, const char *name, const char *id,
                            member_list *members) {
    sg_status st = sg_file_place_read(p, name);
    sg_announced member = {0};
    const sg_sighting *s;
    sg_record record;
    bool is_new;

    if (st == SG_ERR_MISSING) return SG_OK;
    if (st == SG_ERR_OOM || st == SG_ERR_UNAVAILABLE) return st;
    if (st != SG_OK) p->size = 0;
    s = sight(p, name, sg_crc32c((uint32_t)p->size, p->data, p->size), &is_new);
    if (!s) return sg_file_place_no_memory(p);
    if (st == SG_OK && read_member(p, id, &record)) {
        member.text = (char *)(uintptr_t)record.text; /* is copied */
        member.silent = p->now - s->since;
        member.heard = s->heard || strcmp(id, p->base.id) == 0;
        memcpy(member.id, id, sizeof member.id);
        return sg_meeting_append(&members->list, &members->n, &members->capacity, &member);
    }
    if (is_new)
        sg_log(SG_LOG_WARN, "%s/%s is left out: %s", p->folder, name,
               st == SG_OK || st == SG_ERR_DATA ? "damaged" : sg_last_error());
    return SG_OK;
}

static sg_status visit_member(sg_file_place *p, const char *name, void *context) {
    member_list *members = context;
    const char *id = sg_member_of(name);
    bool is_new;

    SG_TRY(sg_file_place_view(p, name, &members->view));
    if (id) return add_member(p, name, id, members);
    if (!sg_is_temporary(name) || sight(p, name, 0, &is_new)) return SG_OK;
    return sg_file_place_no_memory(p);
}

static int by_id(const void *a, const void *b) {
    const sg_announced *x = a, *y = b;

    return strcmp(x->id, y->id);
}

sg_status sg_file_members(sg_meeting *place, double deadline, sg_announced **list, int *n,
                          sg_view *view) {
    sg_file_place *p = (sg_file_place *)place;
    member_list members = {0};
    sg_status st;

    (void)deadline;
    p->now = sg_now();
    st = sg_file_place_each(p, visit_member, &members);
    if (st != SG_OK) {
        for (int i = 0; i < p->n_seen; i++) p->seen[i].there = false;
        sg_announced_free(members.list, members.n);
        return st;
    }
    p->looked = true;
    forget_silent(p);
    if (members.n > 0) qsort(members.list, (size_t)members.n, sizeof *members.list, by_id);
    *list = members.list;
    *n = members.n;
    *view = members.view;
    return SG_OK;
}
