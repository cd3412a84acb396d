/* A group from the inside: shared by group.c (forming epochs), group_connect.c (their beginning)
 * and group_exchange.c (within one). */
#ifndef SG_DIST_GROUP_INSIDE_H
#define SG_DIST_GROUP_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "dist/group.h"

/* What a member tells all others in each exchange. */
typedef struct {
    int64_t epoch, count; /* of exchanges in it: all are at the same one */
    uint32_t leaving;
    uint32_t n_asking;
    sg_peer asking[8]; /* to be taken in, and in touch with it */
} sg_group_note;

struct sg_group {
    sg_group_options options;
    char id[SG_MEMBER_ID_BYTES];
    sg_rendezvous *rendezvous;
    sg_peers *peers;
    sg_roster record;  /* of the epoch; epoch 0: it is in none */
    int64_t forgotten; /* what the records up to this one say of their run does not count */
    int rank;
    sg_standing *standing;      /* (members) */
    bool missed[SG_GROUP_MOST]; /* (members) those who were waited for in vain: not in the next
                                   epoch */
    sg_reduce *reduce;
    sg_group_note *note; /* (members) of the last exchange */
    int64_t exchanges;   /* in this epoch */
    bool failed, changing, leaving;
    sg_peer *admitted; /* (SG_GROUP_MOST) to be in the next epoch too */
    int n_admitted;
    double refused; /* when the store first did not take a record; 0: it did */

    pthread_mutex_t lock; /* of the transports, which other threads may abort */
    sg_transport *transport;
    sg_transport *gpus; /* between the members' GPUs; NULL: gradients go by the other one */
    int gpus_failed;    /* times in a row that it could not be made */
    int shm_failed;     /* the same of shared memory */
    atomic_bool broken;
    _Atomic int64_t epoch; /* as the record's, for any thread; 0 outside */
    _Atomic int64_t later; /* the newest that the rendezvous knows */
    pthread_t keeper;      /* signs of life in the rendezvous */
    pthread_cond_t woken;
    bool keeping, stop;
    bool exchanging,
        given_up; /* under the lock: an exchange is under way; none is to be any more */
};

bool sg_group_asked_to_stop(const sg_group *g);
/* The newest record; its epoch is 0 where there is none. A store may be away for a while: it is
 * asked again and again, for as long as one waits for workers. */
sg_status sg_group_look(sg_group *g, sg_roster *record) SG_CHECKED;
/* Try to write a record; who won, a look tells. A store that takes none for a while is asked again:
 * SG_ERR_UNAVAILABLE once it has refused for as long as one waits for workers. */
sg_status sg_group_propose(sg_group *g, const sg_roster *next) SG_CHECKED;

/* Whatever is under way fails, if this epoch is over. In the peers' thread, or the keeper's, too.
 */
void sg_group_alarm(void *group);
/* Make the record's epoch whole: all connected, and told where each stands. */
sg_status sg_group_connect(sg_group *g, const sg_standing *mine) SG_CHECKED;
void sg_group_disconnect(sg_group *g);

#endif
