/* Frames over TCP that never block: what peers say and hear. */
#ifndef SG_DIST_WIRE_H
#define SG_DIST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_WIRE_BYTES = 1 << 20, SG_ADDRESS_BYTES = 64 };

/* Before each frame's `bytes` bytes; in the byte order of x86. */
typedef struct {
    uint32_t magic, kind;
    int64_t epoch;
    uint32_t topic, bytes;
} sg_frame;

/* One connection. All zero but fd = -1: closed. */
typedef struct {
    int fd;
    bool connecting;
    int error;         /* of errno.h, once something returned false; 0: the other side hung up */
    uint8_t *out, *in; /* owned */
    size_t n_out, out_room, n_in, in_room;
} sg_wire;

typedef void (*sg_frame_fn)(void *context, const sg_frame *frame, const uint8_t *data);

/* A listening socket on any address; its port. SG_ERR_UNAVAILABLE. */
sg_status sg_wire_listen(int *fd, int *port) SG_CHECKED;
/* Of `interface`, an address or the name of a network device; NULL or "": with which the default
 * route begins, or else of the first that is up and not the loopback, or else that. SG_ERR_CONFIG:
 * there is no such device or address. */
sg_status sg_wire_address(const char *interface, int port,
                          char address[SG_ADDRESS_BYTES]) SG_CHECKED;

/* Begin to connect to "host:port" (numbers). false: it is refused, or no address; to be closed. */
bool sg_wire_connect(sg_wire *w, const char *address);
void sg_wire_accept(sg_wire *w, int fd); /* of accept4 */
void sg_wire_close(sg_wire *w);
/* Of one that is broken and not closed yet: whether that says that nobody is there, and not only
 * that there is no way (of a firewall that rejects, a machine without files left); for people. */
bool sg_wire_nobody(const sg_wire *w);
const char *sg_wire_why(const sg_wire *w);
static inline bool sg_wire_open(const sg_wire *w) { return w->fd >= 0; }

/* Queue a frame. false: no memory. */
bool sg_wire_put(sg_wire *w, sg_frame frame, const void *data);
/* Send what the socket takes; receive what it has, handing over whole frames. false: the other side
 * is gone, or speaks something else. */
bool sg_wire_send(sg_wire *w);
bool sg_wire_receive(sg_wire *w, sg_frame_fn take, void *context);
/* What poll() is to wait for. */
short sg_wire_events(const sg_wire *w);

#ifdef __cplusplus
}
#endif
#endif
