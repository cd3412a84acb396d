/* What a kind of rendezvous consists of. Private to rendezvous*.c and etcd*.c.
 *
 * All functions of a place are called by one thread, one after the other (rendezvous.c), so a kind
 * needs no locks. They are told when to have given up: a file server that does not answer cannot be
 * given up, which is what that thread is for. */
#ifndef SG_DIST_RENDEZVOUS_KIND_H
#define SG_DIST_RENDEZVOUS_KIND_H

#include <stddef.h>

#include "dist/rendezvous.h"

enum {
    SG_EPOCHS_KEPT = 64,
    SG_RECORD_BYTES = SG_RENDEZVOUS_TEXT + 128, /* more than any record with its header */
};

static const int64_t SG_EPOCH_MOST = 99999999999999999; /* 17 digits */

typedef struct sg_meeting sg_meeting;

/* What sg_rendezvous_wait waits for a change of. */
typedef struct {
    int64_t epoch;    /* of the newest record, 0: none */
    uint64_t members; /* a sum over who is announced */
} sg_view;

/* `deadline` is on sg_now's clock. Arguments have been checked. */
typedef struct {
    sg_status (*announce)(sg_meeting *place, const char *id, const char *text, double deadline);
    sg_status (*beat)(sg_meeting *place, double deadline);     /* something is announced */
    sg_status (*withdraw)(sg_meeting *place, double deadline); /* nothing need be announced */
    /* in the order of ids; `view` as `look` would have found it */
    sg_status (*members)(sg_meeting *place, double deadline, sg_announced **list, int *n,
                         sg_view *view);
    sg_status (*propose)(sg_meeting *place, int64_t epoch, const char *text, double deadline,
                         bool *won);
    sg_status (*newest)(sg_meeting *place, double deadline, int64_t *epoch, char **text);
    sg_status (*look)(sg_meeting *place, double deadline, sg_view *view);
    void (*destroy)(sg_meeting *place); /* frees its own and the block; waits for nothing */
} sg_meeting_kind;

/* The first member of every kind's own structure. */
struct sg_meeting {
    const sg_meeting_kind *kind;
    const char *url;                /* borrowed */
    char nonce[SG_MEMBER_ID_BYTES]; /* whose a record is: of this place in this process alone */
    char id[SG_MEMBER_ID_BYTES];    /* what is announced; "": nothing */
    char *text;                     /* owned, NULL: nothing */
    double forget; /* seconds: files: entries silent for so long are removed; etcd: the lease's */
    int hint; /* can be read when something may have changed; does not block; -1: there is none */
    int poll_ms; /* how often one looks nevertheless */
};

/* For tests, before anything is announced: another sg_meeting.forget. */
void sg_rendezvous_set_forget(sg_rendezvous *r, double seconds);

/* "/folder" of file:///folder */
sg_status sg_meeting_open_file(const char *url, double deadline, sg_meeting **out) SG_CHECKED;
sg_status sg_meeting_open_etcd(const char *url, double deadline, sg_meeting **out) SG_CHECKED;
/* Keep what is announced, for when it has to be announced again. SG_ERR_OOM. */
sg_status sg_meeting_keep(sg_meeting *place, const char *id, const char *text) SG_CHECKED;
void sg_meeting_forget(sg_meeting *place);
/* Append to a list of *n that has room for *capacity; the text is copied. SG_ERR_OOM. */
sg_status sg_meeting_append(sg_announced **list, int *n, int *capacity,
                            const sg_announced *member) SG_CHECKED;

/* 16 hex digits, lower case. */
bool sg_is_member_id(const char *id);
/* What an id adds to sg_view.members. */
uint64_t sg_member_sum(const char *id);

/* A record: a line "WORD NUMBER NAME BYTES CRC32C", of which the checksum is of all before it and
 * of the text, and the text. Whatever else is found is no record: half of one, or damaged. */
typedef struct {
    int64_t number;                /* of an epoch; of a member 0 */
    char name[SG_MEMBER_ID_BYTES]; /* of a member its id; of an epoch its proposer's nonce */
    const char *text;              /* within the data */
} sg_record;

/* The caller's (sg_free). NULL: no memory. */
char *sg_record_write(const char *word, int64_t number, const char *name, const char *text);
/* `data` has a NUL behind its `size` bytes. */
bool sg_record_read(const char *word, const char *data, size_t size, sg_record *record);

#endif
