/* A group: the workers that train one run together, any of which may vanish at any moment.
 *
 *   epoch      a list of members, in the order of their ranks: a record of the rendezvous, written
 *              once. Nobody leads: whoever sees a reason proposes the next one.
 *   form       be a member of an epoch that is whole: all connected, and told where each stands.
 *              One who is behind copies the state of one ahead (sg_group_copy).
 *   reduce     the exchange of a step, bucket by bucket. It succeeds, or the epoch is over: the
 *              step is then redone in the next one. What it changed is applied only where the
 *              last bucket succeeded.
 *   change     who asks to be taken in, or wishes to leave, is told in the notes of an exchange,
 *              so all that saw it succeed agree, and form the next epoch at the end of that step.
 *
 * Two members may differ by one step, where one saw an exchange succeed that failed for the other;
 * never by more. Since the same step gives the same bits wherever it is made, a member that was
 * thought dead and goes on does no harm. */
#ifndef SG_DIST_GROUP_H
#define SG_DIST_GROUP_H

#include "dist/roster.h"
#include "dist/reduce.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *store;     /* URL of the rendezvous */
    const char *interface; /* address or device to be reached at; NULL: the first */
    const char *about; /* what all members must agree in: the first one's stands in the records */
    /* The id of a run, at most 16 characters: of the one whose state this worker brings, or else of
     * the one that it would begin, where nobody brings any and none has begun. */
    const char *run;
    bool brings; /* a state of that run */
    bool fresh;  /* what had begun before this worker came is not gone on with */
    /* Whether this worker can take part in a run that is said to be so. */
    sg_status (*check)(void *context, const char *about);
    /* Asked in any thread: true ends waiting with SG_ERR_INTERRUPTED, and tells the others, in an
     * exchange, that this worker leaves. */
    bool (*stop)(void *context);
    /* Asked in another thread twice a second, while this worker waits for others in an exchange,
     * copy or gathering: true ends that with SG_ERR_INTERRUPTED. NULL: never. */
    bool (*give_up)(void *context);
    void *context;
    int shards;                   /* of a step; no group is larger */
    int min_workers, max_workers; /* of a group; max 0: any number */
    double wait;                  /* seconds for min_workers to come */
    /* Seconds for a member that gives signs of life to come to an exchange, or to the end of the
     * run, and a fifth of it to the beginning of an epoch; else it is left out. 0: 300. */
    double patience;
    /* Of a worker that computes on a GPU: gradients then go between GPUs by NCCL, where all members
     * have it and no two the same GPU. */
    bool on_gpu;
    int gpu;                           /* ordinal */
    sg_adder adder;                    /* of what is in its memory */
    const struct sg_nccl_plugin *nccl; /* NULL: the plug-in beside the program */
} sg_group_options;

/* Where a member stands, when an epoch begins. */
typedef struct {
    int64_t step;        /* finished steps of its state; -1: it has none */
    int64_t evaluations; /* that it knows of: of two at one step one may have made the next */
    char run_id[SG_GROUP_RUN_BYTES]; /* of the run that its state is of, if it is loaded */
    bool loaded; /* its state is worth something: from a disk, or from training */
    /* Whoever agrees in `about` has the same bits after as many steps, in whatever run; else a
     * state of another run is of no use here, sg_group_is_foreign. */
    bool any_run;
} sg_standing;

typedef struct sg_group sg_group;

/* SG_ERR_CONFIG, SG_ERR_IO, SG_ERR_UNAVAILABLE (store, interface), SG_ERR_OOM. */
sg_status sg_group_create(const sg_group_options *options, sg_group **out) SG_CHECKED;
/* Leaves, if it is still a member; the others notice. NULL is fine. */
void sg_group_destroy(sg_group *g);

/* Be a member of the next epoch: at the beginning, when sg_group_changing, and after an exchange
 * failed. Tries again for as long as others come and go. SG_ERR_CONFIG, SG_ERR_UNAVAILABLE: `check`
 * said so, or fewer than min_workers came within `wait`, or the store was silent for as long;
 * SG_ERR_INTERRUPTED. *done: the run has ended meanwhile; the caller's (sg_free), else NULL. */
sg_status sg_group_form(sg_group *g, const sg_standing *mine, char **done) SG_CHECKED;

int sg_group_size(const sg_group *g);
int sg_group_rank(const sg_group *g);
int64_t sg_group_epoch(const sg_group *g);
const sg_standing *sg_group_standing(const sg_group *g, int rank);
/* The id of the run that the members train: of those who found a group, one that a state of theirs
 * has; else the one that the group before had, even if all its members are gone, as one of them may
 * come back and bring what it saved; else a new one. */
const char *sg_group_run(const sg_group *g);
/* Its state is of another run: it is not gone on with, and nothing is given to it. */
bool sg_group_is_foreign(const sg_group *g, int rank);
/* What carries its gradients, for people: "shm", "gloo", "nccl"; "nothing" where it has one
 * member. */
const char *sg_group_transport(const sg_group *g);
/* The slots of a reduction are to be the GPU's memory, not the host's. */
bool sg_group_on_gpu(const sg_group *g);
/* The first of those with the greatest step, and evaluation; whether another stands before it. No
 * foreign one is either, unless all are. */
int sg_group_ahead(const sg_group *g);
bool sg_group_is_behind(const sg_group *g, int rank);
const char *sg_group_member(const sg_group *g, int rank); /* its id */
/* This epoch is over: a member is lost, or others have gone on. In any thread. */
bool sg_group_broken(sg_group *g);
/* An exchange of this epoch has failed. */
bool sg_group_failed(const sg_group *g);

/* `bytes` at `data` of the one ahead, to all that are behind: theirs are overwritten. */
sg_status sg_group_copy(sg_group *g, void *data, size_t bytes) SG_CHECKED;
/* slot: in the GPU's memory where sg_group_on_gpu; what is gathered is always in the host's.
 * sg_reduce_run, with the notes in the last bucket of a step: only where that succeeds is the step
 * made. Alone there is nothing to do. In any thread, by one at a time. */
sg_status sg_group_reduce(sg_group *g, float *const slot[], const sg_bucket *bucket) SG_CHECKED;
/* In any thread: an exchange under way is to fail, as this worker gives the step up. */
void sg_group_abandon(sg_group *g);
/* Give `bytes` bytes, and get those of all, one after the other in the order of ranks; *all is the
 * caller's (sg_free). */
sg_status sg_group_gather(sg_group *g, const void *mine, size_t bytes, void **all,
                          size_t *total) SG_CHECKED;

/* After a step: the next epoch is to be formed before the next step; this worker is not to be in
 * it, as it said. */
bool sg_group_changing(sg_group *g);
bool sg_group_leaving(const sg_group *g);

/* The last step is made and saved: the run is over, for all who come later. By rank 0; the others
 * wait for it. SG_ERR_UNAVAILABLE: rank 0 is lost, and the group is to be formed anew. */
sg_status sg_group_finish(sg_group *g, const char *done) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
