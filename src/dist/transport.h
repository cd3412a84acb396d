/* What carries data between the members of one epoch of a group. A transport is never repaired:
 * after a failure, or when the group changes, it is destroyed and another one is made.
 *
 * Every call has a deadline. A member that died, or is silent, or never came, costs no more than
 * that; sg_transport_abort, called by whoever hears of it first (dist/peers.h), costs less. */
#ifndef SG_DIST_TRANSPORT_H
#define SG_DIST_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One piece of data to, or from, another member. */
typedef struct {
    int peer; /* rank */
    bool receive;
    void *data; /* sent: not written to */
    size_t bytes;
} sg_transfer;

typedef struct sg_transport sg_transport;

/* What a kind of transport provides; the first member of each. */
struct sg_transport {
    const char *name;
    sg_status (*exchange)(sg_transport *t, const sg_transfer *message, int n, double seconds);
    void (*abort)(sg_transport *t);
    void (*destroy)(sg_transport *t);
};

/* How members get to know what they need to connect: each says one thing to all others, of this
 * epoch. Called by `create` alone, in its thread. */
enum { SG_INTRODUCTION_BYTES = 1 << 18 }; /* the longest that is said: 1024 addresses of Gloo's */

typedef struct {
    void *context;
    /* Once, before anything is heard. */
    sg_status (*say)(void *context, const void *data, size_t bytes);
    /* What `rank` said. *bytes is at most `capacity`. SG_ERR_UNAVAILABLE after `seconds`, or when
     * `stop` would be true. */
    sg_status (*hear)(void *context, int rank, void *data, size_t capacity, size_t *bytes,
                      double seconds);
    /* Asked every few milliseconds while members connect: true ends it, as there is nothing yet
     * that could be aborted. May be NULL; called by other threads, too. */
    bool (*stop)(void *context);
} sg_introduction;

enum { SG_TRANSPORT_MEMBERS = 1024 }; /* at most */

typedef struct {
    int rank, size;        /* of `size` members, 2 to SG_TRANSPORT_MEMBERS */
    int64_t epoch;         /* of the group: nothing of another one is ever taken for one's own */
    const char *interface; /* gloo: an IPv4 address of this machine, where others reach it */
    int gpu;               /* nccl: ordinal of this member's */
    const struct sg_nccl_plugin *nccl; /* NULL: the plug-in that lies beside the program */
    sg_introduction introduction;
    double seconds; /* for everybody to be connected */
} sg_transport_options;

/* Both return when every member is connected to all others. SG_ERR_UNAVAILABLE: one is not after
 * `seconds`, or it is gone, or `stop`. */

/* Between processes of one user on one machine, through shared memory; see sg_transport_here.
 * Members may be threads of one process, too. A member that was killed, or has left the transport,
 * is noticed within 20 ms by those who wait for it. */
sg_status sg_transport_shm_create(const sg_transport_options *options,
                                  sg_transport **out) SG_CHECKED;
/* Over TCP, by Gloo, whose plug-in lies beside the program. SG_ERR_CONFIG: it does not, or cannot
 * be loaded, and why. For a network where nobody sends forged data: Gloo does not outlive a
 * frame that it does not understand. */
sg_status sg_transport_gloo_create(const sg_transport_options *options,
                                   sg_transport **out) SG_CHECKED;
bool sg_transport_has_gloo(void); /* the plug-in lies there, and loads */

/* Between GPUs, by NCCL, whose plug-in lies beside the program: data is memory of `gpu`, and what
 * is sent must be there, not under way on a queue. No two members are on the same GPU. Of a member
 * that is lost NCCL may know nothing: whoever knows of it aborts, each for itself.
 * SG_ERR_UNSUPPORTED: no plug-in, two members on one GPU, NCCL of two versions; SG_ERR_CUDA, of an
 * exchange too: nothing that another epoch could mend, so that this process should end. */
sg_status sg_transport_nccl_create(const sg_transport_options *options,
                                   sg_transport **out) SG_CHECKED;

/* What members tell each other before they try it: whether one has NCCL, which, and which GPU. */
typedef struct {
    int32_t version; /* of NCCL; 0: it has none */
    char gpu[16];    /* no two on earth have the same */
} sg_nccl_card;

/* gpu: ordinal; -1: none. Why there is no NCCL is in the log. */
void sg_nccl_card_fill(const struct sg_nccl_plugin *nccl, int gpu, sg_nccl_card *card);
/* Whether these members can use it: all that know the same n cards come to the same answer. */
bool sg_nccl_cards_fit(const sg_nccl_card *card, int n);

/* Where this process is: members for which it is the same text may use shared memory. No other
 * process has the text of one that may not. */
enum { SG_TRANSPORT_HERE_BYTES = 128 };
void sg_transport_here(char here[SG_TRANSPORT_HERE_BYTES]);

/* Do all of it, in whatever order; messages from one member to another are matched in the order in
 * which each side lists them, and have the same sizes there. When it returns all is received, and
 * what was sent is the caller's again; whether it has arrived is not known. n = 0 is fine.
 * SG_ERR_UNAVAILABLE, naming the member where it is known: one is gone, `seconds` have passed, or
 * it was aborted; the transport is then good for nothing but to be destroyed, and received data is
 * not to be used. SG_ERR_ARG: a message to or from itself or nobody; nothing was done then. One
 * call at a time. */
static inline sg_status sg_transport_exchange(sg_transport *t, const sg_transfer *message, int n,
                                              double seconds) {
    return t->exchange(t, message, n, seconds);
}
/* In any thread, any number of times, also during an exchange, which then fails within
 * milliseconds; so do those of members who wait for this one. */
static inline void sg_transport_abort(sg_transport *t) {
    if (t) t->abort(t);
}
/* No exchange and no abort is under way. What was sent before can still be received. NULL is fine.
 */
static inline void sg_transport_destroy(sg_transport *t) {
    if (t) t->destroy(t);
}

#ifdef __cplusplus
}
#endif
#endif
