/* Workers hear each other: signs of life ten times a second (of many workers three times), and the
 * few words that it takes to form a group. One thread, TCP, a connection each way between any two.
 *
 * A watched peer is lost when its connection breaks (a killed process: at once), cannot be made, or
 * has been silent for a second (a stopped one, a cut cable). Being lost is for good, until it is
 * watched again in a later epoch. Nothing is decided here: dist/group.h does that. */
#ifndef SG_DIST_PEERS_H
#define SG_DIST_PEERS_H

#include "dist/rendezvous.h"
#include "dist/wire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char id[SG_MEMBER_ID_BYTES];
    char address[SG_ADDRESS_BYTES];
} sg_peer;

/* What is said once an epoch, to all that are watched in it. */
typedef enum {
    SG_SAID_OPENING,
    SG_SAID_CONNECTION, /* of the transport between hosts */
    SG_SAID_GPUS,       /* of that between GPUs */
    SG_SAID_TOPICS
} sg_said_topic;

typedef struct {
    const char *id;        /* this worker's */
    const char *interface; /* address or device to be reached at; NULL: the first */
    double beat, silence;  /* seconds; 0: 0.1 and 1 */
    /* In the peers' own thread: a watched peer is lost, or one has an epoch later than the one that
     * is watched here. May ask, but not watch, say, hear or wait. NULL: nobody is told. */
    void (*alarm)(void *context);
    /* Asked by who hears, ten times a second: true ends that. NULL: never. */
    bool (*stop)(void *context);
    void *context;
} sg_peers_options;

typedef struct sg_peers sg_peers;

/* SG_ERR_CONFIG (interface), SG_ERR_UNAVAILABLE, SG_ERR_OOM. */
sg_status sg_peers_open(const sg_peers_options *options, sg_peers **out) SG_CHECKED;
void sg_peers_close(sg_peers *p); /* NULL is fine */
/* Where others reach this one. */
const char *sg_peers_address(const sg_peers *p);

/* All that follow may be called from any thread. */

/* From now on these n are watched, and no others; one's own entry is passed over. What they said of
 * earlier epochs is forgotten. SG_ERR_OOM. */
sg_status sg_peers_watch(sg_peers *p, int64_t epoch, const sg_peer *list, int n) SG_CHECKED;
/* Whether to be taken in by those who are watched: part of each sign of life. */
void sg_peers_ask_in(sg_peers *p, bool asking);
/* Whether that one is lost; whether any that is watched is. */
bool sg_peers_is_lost(sg_peers *p, const char *id);
bool sg_peers_any_lost(sg_peers *p);
/* Cut off from more than are left: of those that are watched more may live unheard, one at least
 * being lost for its silence and not for a broken connection, than are heard, this one included. */
bool sg_peers_outnumbered(sg_peers *p);
/* The latest epoch that anybody was heard to be in. */
int64_t sg_peers_epoch(sg_peers *p);
/* Those who ask to be taken in, hear us and are heard, at most `room`; how many. The first of them
 * by their ids, in that order: of members who hear the same ones, all have the same list. */
int sg_peers_asking(sg_peers *p, sg_peer *list, int room);
/* For one who asks to be taken in: whether anybody that is watched was heard; whether all of them
 * are gone: they hung up, or nobody is at their addresses now. That a way to them is barred is no
 * such sign. And whether all are gone of whom each was heard before, so that no way was barred. */
bool sg_peers_any_heard(sg_peers *p);
bool sg_peers_all_gone(sg_peers *p);
bool sg_peers_all_hung_up(sg_peers *p);

/* Tell all that are watched. SG_ERR_OOM. */
sg_status sg_peers_say(sg_peers *p, sg_said_topic topic, const void *data, size_t bytes) SG_CHECKED;
/* What `id` said in the epoch that is watched; waits until it does. *bytes, at most `room`, is its
 * size. SG_ERR_UNAVAILABLE: the peer is lost, somebody has a later epoch, or `seconds` passed;
 * SG_ERR_INTERRUPTED: `stop`. */
sg_status sg_peers_hear(sg_peers *p, const char *id, sg_said_topic topic, void *data, size_t room,
                        size_t *bytes, double seconds) SG_CHECKED;
/* Wait until something of the above changes, at most `seconds`. */
void sg_peers_wait(sg_peers *p, double seconds);

#ifdef __cplusplus
}
#endif
#endif
