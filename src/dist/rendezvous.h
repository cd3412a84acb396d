/* Where workers find each other: a folder that all of them reach, or etcd.
 *
 *   members   who would like to take part: an id, a text (address and the like), a sign of life now
 *             and then
 *   epochs    who takes part: record n is written once, by whoever comes first, and never changed
 *
 * Nothing here decides who is alive or who leads: members hear each other (dist/peers.h), and any
 * of them may propose the next epoch. What a vanished member left is only tidied up.
 *
 * All functions may be called from any thread, sg_rendezvous_close when no other call is under way.
 * None takes longer than about two seconds: a place that does not answer by then is
 * SG_ERR_UNAVAILABLE, and may answer the next time. What was asked of it may still take place.
 * Other failures of all functions: SG_ERR_IO (the folder), SG_ERR_OOM.
 *
 * Folders may lie on NFS; what is relied on stands in rendezvous_file.c. That has been reasoned
 * and not yet been tried on a real server: no two machines were there to try it on. */
#ifndef SG_DIST_RENDEZVOUS_H
#define SG_DIST_RENDEZVOUS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_MEMBER_ID_BYTES = 17,    /* 16 hex digits, lower case, and NUL */
    SG_RENDEZVOUS_TEXT = 65536, /* the longest text of a member or a record, with its NUL */
};

typedef struct sg_rendezvous sg_rendezvous;

typedef struct {
    char id[SG_MEMBER_ID_BYTES];
    char *text;
    /* Seconds without a sign of life. In a folder: since this process last saw it change, on its
     * own monotonic clock; 0 when it is first seen. Clocks of other machines, and file times, play
     * no part. In etcd: since the member's lease was renewed, as etcd counts, to a second. */
    double silent;
    /* It is or was alive since this process began to look (sg_rendezvous_members): it came, or gave
     * a sign of life, meanwhile, or is announced here. False: perhaps it is what a dead member
     * left, though `silent` is still small. In etcd: its lease was renewed within two seconds. */
    bool heard;
} sg_announced;

/* An id for a new member: random. SG_ERR_IO: the system has no random numbers. */
sg_status sg_member_id_draw(char id[SG_MEMBER_ID_BYTES]) SG_CHECKED;

/* `url`: file:///absolute/folder (taken as it is written, made where it is missing), or
 * etcd://host:port[,host:port...][/prefix] (3.4 or later, without TLS and passwords; all endpoints
 * of one cluster; keys begin with "/spotgrad/", or with "/prefix/"). Each run needs a URL of its
 * own: whoever meets there is taken to be of one group.
 * SG_ERR_CONFIG: another scheme, no path, no port; a folder in which no hard links can be made;
 * SG_ERR_IO: one that cannot be made or written to; SG_ERR_UNAVAILABLE: nothing answers. */
sg_status sg_rendezvous_open(const char *url, sg_rendezvous **out) SG_CHECKED;
/* Withdraws what was announced here, if it still can, within a second. NULL is fine. */
void sg_rendezvous_close(sg_rendezvous *r);

/* Remove what a file rendezvous left in a folder that nobody uses now. No error if there is no such
 * folder; SG_ERR_IO. */
sg_status sg_rendezvous_empty(const char *folder) SG_CHECKED;

/* Be seen by the others, or change the text. One member a rendezvous: SG_ERR_ARG for another id
 * before the first is withdrawn, for what is no id, and for a text that is too long. After any
 * other failure the next sg_rendezvous_beat announces it. */
sg_status sg_rendezvous_announce(sg_rendezvous *r, const char *id, const char *text) SG_CHECKED;
/* A sign of life; every second or so. Announces anew what others have removed meanwhile.
 * SG_ERR_ARG: nothing is announced. */
sg_status sg_rendezvous_beat(sg_rendezvous *r) SG_CHECKED;
/* No error where nothing is announced. */
sg_status sg_rendezvous_withdraw(sg_rendezvous *r) SG_CHECKED;
/* All that are announced, in the order of their ids; the caller's (sg_announced_free). Damaged
 * entries are left out with a warning. Entries that have been silent for a minute are removed from
 * the place; in etcd they go with their lease, after ten seconds. */
sg_status sg_rendezvous_members(sg_rendezvous *r, sg_announced **list, int *n) SG_CHECKED;
void sg_announced_free(sg_announced *list, int n);

/* Write record `epoch` >= 1, if there is neither this one yet nor a later one; *won: it is there
 * and ours, with this text. A lost answer to a write that took place is *won, too, here or when it
 * is proposed again. Of old records the newest 64 are kept; whoever slept through those wins
 * nothing. SG_ERR_ARG: the number, or a text that is too long. */
sg_status sg_rendezvous_propose(sg_rendezvous *r, int64_t epoch, const char *text,
                                bool *won) SG_CHECKED;
/* The record of the greatest number; *epoch 0 and *text NULL: there is none. *text is the caller's
 * (sg_free). A damaged record cannot be replaced, and its text is not told: it is "", which names
 * nobody, and a warning says so. The next number is free then, as always. */
sg_status sg_rendezvous_newest(sg_rendezvous *r, int64_t *epoch, char **text) SG_CHECKED;
/* Wait until there is a record newer than `epoch`, or a member came or went since this rendezvous
 * last told or looked (sg_rendezvous_members, _wait), but no longer than `seconds`: a hint, after
 * which one looks. On one machine, and with etcd, it comes within milliseconds; through a file
 * server after 50 ms at most. A place that fails meanwhile is looked at again; the failure is told
 * if it still does at the end, which may then be half a second late. */
sg_status sg_rendezvous_wait(sg_rendezvous *r, int64_t epoch, double seconds) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
