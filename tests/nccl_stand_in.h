/* A stand-in for NCCL and what belongs to it of CUDA (dist/nccl_plugin.h), for members that are
 * threads of one process. Host memory serves as a GPU's. It does what NCCL documents, takes the
 * time and makes the mistakes that a test asks for, and keeps an account: each communicator is
 * released once, and nothing is called that must not be.
 *
 *   init       in progress until every rank has come; one that does not is waited for for ever
 *   group_end  may return before anything is on the queue, which is empty until then
 *   messages   those of a pair and direction are matched in their order, as sender and receiver are
 *              both launched; a message of another size is a breach
 *   an error   ends what is on the queue: it is then empty, and what was received is rubbish
 *   abort      waits for nobody, may come while another call is stuck, frees the communicator */
#ifndef SG_NCCL_STAND_IN_H
#define SG_NCCL_STAND_IN_H

#include <stdbool.h>

#include "dist/nccl_plugin.h"

enum { STAND_IN_GPUS = 8 };

/* What befalls the communicators of one GPU. Exchanges count from 1; 0: in none. */
typedef struct {
    int only;        /* that communicator of it, from 1; 0: all */
    int version;     /* 0: 22809 */
    bool no_id;      /* of rank 0 */
    bool twin;       /* it is the same GPU as number 0 */
    int init_result; /* of the call itself */
    int init_error;  /* soon after it */
    double init_s;   /* longer in progress, after all ranks have come */
    bool init_never; /* for ever in progress */
    double launch_s; /* group_end is in progress for so long */
    int launch_asks; /* > 0: until the communicator is asked for the nth time */
    double slow_s;   /* comm_error takes so long */
    int error_in;    /* the exchange in which `error` comes, `error_s` after it was launched */
    int error;
    double error_s;
    int error_asks;     /* > 0: it comes as the queue is asked for the nth time, not by the clock */
    int queue_error_in; /* the exchange in which CUDA fails */
    int stuck_in;       /* the exchange whose group_end returns after an abort only */
    double abort_s;     /* an abort takes so long, and meanwhile the GPU writes what it receives */
    bool abort_never, finalize_never, destroy_never; /* until stand_in_let_go */
} stand_in_faults;

/* Faults are set before members start. `told`: that a rank aborted is an error for those who wait
 * for it, as over a network; else they are told nothing, as over NVLink. */
void stand_in_reset(bool told);
stand_in_faults *stand_in_of(int gpu);
void stand_in_let_go(void);

typedef struct {
    int made, aborted, destroyed; /* communicators */
    int queues;                   /* that are there */
    int breaches;                 /* of NCCL's rules */
    char breach[160];             /* the first one */
} stand_in_account;

stand_in_account stand_in_count(void);

extern const sg_nccl_plugin stand_in_nccl;

#endif
