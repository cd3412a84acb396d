/* Where workers find each other: a folder that all of them reach, or etcd.
 *
 *   members   who would like to take part: an id, a text (address and the like), a sign of life now
 *             and then
 *   epochs    who takes part: record n is written once, by whoever comes first, and never changed
 *
 * Nothing here decides who is alive or who leads: members hear each other (dist/peers.h), and any
 * of them may propose the next epoch. What a vanished member left is only tidied up.
 *
 * All functions may be called from any thread. None takes longer than about two seconds: a place
 * that does not answer by then is SG_ERR_UNAVAILABLE, and may answer the next time. */
#ifndef SG_DIST_RENDEZVOUS_H
#define SG_DIST_RENDEZVOUS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_MEMBER_ID_BYTES = 17,    /* 16 hex digits and NUL */
    SG_RENDEZVOUS_TEXT = 65536, /* the longest text of a member or a record, with its NUL */
};

typedef struct sg_rendezvous sg_rendezvous;

typedef struct {
    char id[SG_MEMBER_ID_BYTES];
    char *text;
    /* Seconds since this process last saw the sign of life change, on its own monotonic clock; 0
     * when it is first seen. Clocks of other machines, and file times, play no part. */
    double silent;
} sg_announced;

/* `url`: file:///absolute/folder (made where it is missing), or etcd://host:port[,host:port...].
 * SG_ERR_CONFIG: another scheme, no path, no port; SG_ERR_IO; SG_ERR_UNAVAILABLE: nothing answers.
 */
sg_status sg_rendezvous_open(const char *url, sg_rendezvous **out) SG_CHECKED;
/* Withdraws what was announced here, if it still can. NULL is fine. */
void sg_rendezvous_close(sg_rendezvous *r);

/* Be seen by the others, or change the text. One member a rendezvous. */
sg_status sg_rendezvous_announce(sg_rendezvous *r, const char *id, const char *text) SG_CHECKED;
/* A sign of life; every second or so. */
sg_status sg_rendezvous_beat(sg_rendezvous *r) SG_CHECKED;
sg_status sg_rendezvous_withdraw(sg_rendezvous *r) SG_CHECKED;
/* All that are announced, in the order of their ids; the caller's (sg_announced_free). Entries that
 * have been silent for a minute are removed from the place. */
sg_status sg_rendezvous_members(sg_rendezvous *r, sg_announced **list, int *n) SG_CHECKED;
void sg_announced_free(sg_announced *list, int n);

/* Write record `epoch` >= 1, if there is none yet; *won: it is ours now. A lost answer to a write
 * that took place is *won, too. Of old records the newest 64 are kept. */
sg_status sg_rendezvous_propose(sg_rendezvous *r, int64_t epoch, const char *text,
                                bool *won) SG_CHECKED;
/* The record of the greatest number; *epoch 0 and *text NULL: there is none. *text is the caller's
 * (sg_free). */
sg_status sg_rendezvous_newest(sg_rendezvous *r, int64_t *epoch, char **text) SG_CHECKED;
/* Wait until there is a record newer than `epoch` or a member came or went, as far as the place can
 * tell, but no longer than `seconds`: a hint, after which one looks. */
sg_status sg_rendezvous_wait(sg_rendezvous *r, int64_t epoch, double seconds) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
