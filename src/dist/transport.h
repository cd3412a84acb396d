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
} sg_message;

typedef struct sg_transport sg_transport;

/* What a kind of transport provides; the first member of each. */
struct sg_transport {
    const char *name;
    sg_status (*exchange)(sg_transport *t, const sg_message *message, int n, double seconds);
    void (*abort)(sg_transport *t);
    void (*destroy)(sg_transport *t);
};

/* How members get to know what they need to connect: each says one thing to all others. */
typedef struct {
    void *context;
    sg_status (*say)(void *context, const void *data, size_t bytes);
    /* What `rank` said. *bytes is at most `capacity`. SG_ERR_UNAVAILABLE after `seconds`. */
    sg_status (*hear)(void *context, int rank, void *data, size_t capacity, size_t *bytes,
                      double seconds);
} sg_introduction;

typedef struct {
    int rank, size;        /* of `size` members, >= 2 */
    int64_t epoch;         /* of the group: nothing of another one is ever taken for one's own */
    const char *interface; /* gloo: an address of this machine that the others reach; NULL: any */
    sg_introduction introduction;
    double seconds; /* for everybody to be connected */
} sg_transport_options;

/* Between processes of one user on one machine, through shared memory; see sg_transport_here. */
sg_status sg_transport_shm_create(const sg_transport_options *options,
                                  sg_transport **out) SG_CHECKED;
/* Over TCP, by Gloo, whose plug-in lies beside the program. SG_ERR_UNSUPPORTED: it does not. */
sg_status sg_transport_gloo_create(const sg_transport_options *options,
                                   sg_transport **out) SG_CHECKED;

/* Where this process is: members for which it is the same text may use shared memory. */
enum { SG_TRANSPORT_HERE_BYTES = 128 };
void sg_transport_here(char here[SG_TRANSPORT_HERE_BYTES]);

/* Do all of it, in whatever order; messages from one member to another are matched in the order in
 * which each side lists them, and have the same sizes there. When it returns all is received, and
 * what was sent is the caller's again. SG_ERR_UNAVAILABLE, naming the member where it is known: one
 * is gone, `seconds` have passed, or it was aborted; the transport is then good for nothing but to
 * be destroyed, and received data is not to be used. One call at a time. */
static inline sg_status sg_transport_exchange(sg_transport *t, const sg_message *message, int n,
                                              double seconds) {
    return t->exchange(t, message, n, seconds);
}
/* In any thread, any number of times, also during an exchange, which then fails within
 * milliseconds. */
static inline void sg_transport_abort(sg_transport *t) {
    if (t) t->abort(t);
}
/* No exchange and no abort is under way. NULL is fine. */
static inline void sg_transport_destroy(sg_transport *t) {
    if (t) t->destroy(t);
}

#ifdef __cplusplus
}
#endif
#endif
