/* A folder as a rendezvous: what its parts share. Private to rendezvous_file*.c. */
#ifndef SG_DIST_RENDEZVOUS_FILE_H
#define SG_DIST_RENDEZVOUS_FILE_H

#include "dist/rendezvous_kind.h"

enum {
    SG_LIFE_BYTES = 17, /* of a member's sign of life, with the end of the line */
    SG_PLACE_NAME = 80, /* bytes of a file's name: more than ours have */
};

/* A file, and since when it has been as it is. */
typedef struct {
    char name[SG_PLACE_NAME];
    uint32_t checksum;
    bool there; /* in the look under way */
    bool heard; /* came, or changed, since the first look */
    double since;
} sg_sighting;

typedef struct {
    sg_meeting base;
    const char *folder; /* within the URL */
    uint64_t counter;   /* of signs of life */
    unsigned made;      /* temporary files */
    int64_t damaged;    /* the last epoch that was told to be */
    sg_sighting *seen;  /* owned */
    int n_seen, capacity;
    bool looked;                                    /* before the look under way */
    double now;                                     /* when the look under way began */
    char data[SG_RECORD_BYTES + SG_LIFE_BYTES + 1]; /* of the file last read */
    size_t size;
} sg_file_place;

/* --- rendezvous_folder.c --- */

void sg_epoch_file(int64_t epoch, char name[SG_PLACE_NAME]);
int64_t sg_epoch_of(const char *name); /* 0: it is no epoch's name */
void sg_member_file(const char *id, char name[SG_PLACE_NAME]);
const char *sg_member_of(const char *name); /* its id; NULL: it is no member's name */
/* Whether it is what sg_file_place_make may have left. */
bool sg_is_temporary(const char *name);

/* "cannot `what`", with errno's number: SG_ERR_IO, or SG_ERR_UNAVAILABLE where nothing answered. */
sg_status sg_file_place_failed(const sg_file_place *p, const char *name, const char *what,
                               int error);
sg_status sg_file_place_no_memory(const sg_file_place *p);
bool sg_file_is_gone(int error);
/* The caller's; NULL: no memory. */
char *sg_file_place_path(const sg_file_place *p, const char *name);
/* Make a whole file that is going to be `name`; the path that it has now is the caller's. */
sg_status sg_file_place_make(sg_file_place *p, const char *name, const char *data,
                             char **path) SG_CHECKED;
/* Into p->data, with a NUL behind it. SG_ERR_MISSING: it is gone; SG_ERR_DATA: it is no file, or
 * larger than ours are; both without a text. SG_ERR_IO, SG_ERR_OOM. */
sg_status sg_file_place_read(sg_file_place *p, const char *name) SG_CHECKED;
/* What cannot be removed is tried again another time. */
void sg_file_place_remove(const sg_file_place *p, const char *name);
typedef sg_status (*sg_visit_name)(sg_file_place *p, const char *name, void *context);
sg_status sg_file_place_each(sg_file_place *p, sg_visit_name visit, void *context) SG_CHECKED;
/* A visitor: what the name adds to the sg_view `context`. */
sg_status sg_file_place_view(sg_file_place *p, const char *name, void *context);

/* --- rendezvous_file_members.c: sg_meeting_kind's --- */

sg_status sg_file_announce(sg_meeting *place, const char *id, const char *text, double deadline);
sg_status sg_file_beat(sg_meeting *place, double deadline);
sg_status sg_file_withdraw(sg_meeting *place, double deadline);
sg_status sg_file_members(sg_meeting *place, double deadline, sg_announced **list, int *n,
                          sg_view *view);

#endif
