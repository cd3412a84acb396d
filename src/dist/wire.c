#define _GNU_SOURCE
#include "dist/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/mem.h"

enum { kMagic = 0x53475032, kBacklog = 256, kReadBytes = 65536 };

/* --- addresses -------------------------------------------------------------------------------- */

sg_status sg_wire_listen(int *fd, int *port) {
    struct sockaddr_in here = {.sin_family = AF_INET};
    socklen_t size = sizeof here;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (s < 0) return sg_fail(SG_ERR_UNAVAILABLE, "cannot make a socket: %s", strerror(errno));
    if (bind(s, (struct sockaddr *)&here, size) != 0 || listen(s, kBacklog) != 0 ||
        getsockname(s, (struct sockaddr *)&here, &size) != 0) {
        int error = errno;

        close(s);
        return sg_fail(SG_ERR_UNAVAILABLE, "cannot listen for other workers: %s", strerror(error));
    }
    *fd = s;
    *port = ntohs(here.sin_port);
    return SG_OK;
}

/* The address with which this machine speaks to the rest of the world, by its default route: a
 * bridge of containers may well be the first device. Nothing is sent. false: there is no such way.
 */
static bool find_way_out(char host[INET_ADDRSTRLEN]) {
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(9)}, own;
    socklen_t size = sizeof own;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool found;

    inet_pton(AF_INET, "192.0.2.1", &far.sin_addr); /* of documentation: nobody's */
    found = fd >= 0 && connect(fd, (struct sockaddr *)&far, sizeof far) == 0 &&
            getsockname(fd, (struct sockaddr *)&own, &size) == 0 &&
            inet_ntop(AF_INET, &own.sin_addr, host, INET_ADDRSTRLEN);
    if (fd >= 0) close(fd);
    return found;
}

/* Whether it is what was asked for. */
static bool fits(const struct ifaddrs *i, const char *interface, const char *host) {
    if (!interface) return (i->ifa_flags & IFF_UP) && !(i->ifa_flags & IFF_LOOPBACK);
    return strcmp(i->ifa_name, interface) == 0 || strcmp(host, interface) == 0;
}

/* Of the devices; where none fits, `host` stays. */
static sg_status find_device(const char *interface, char host[INET_ADDRSTRLEN]) {
    struct ifaddrs *all = NULL, *i;

    if (getifaddrs(&all) != 0)
        return sg_fail(SG_ERR_UNAVAILABLE, "cannot list network devices: %s", strerror(errno));
    for (i = all; i; i = i->ifa_next) {
        char text[INET_ADDRSTRLEN];

        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET) continue;
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr, text,
                  sizeof text);
        if (!fits(i, interface, text)) continue;
        memcpy(host, text, sizeof text);
        break;
    }
    freeifaddrs(all);
    if (!i && interface)
        return sg_fail(SG_ERR_CONFIG,
                       "distributed.interface: %s is no IPv4 address or network device of this "
                       "machine",
                       interface);
    return SG_OK;
}

sg_status sg_wire_address(const char *interface, int port, char address[SG_ADDRESS_BYTES]) {
    char host[INET_ADDRSTRLEN] = "127.0.0.1";

    if (interface && !interface[0]) interface = NULL;
    if (interface || !find_way_out(host)) SG_TRY(find_device(interface, host));
    snprintf(address, SG_ADDRESS_BYTES, "%s:%d", host, port);
    return SG_OK;
}

static bool parse(const char *address, struct sockaddr_in *out) {
    char host[SG_ADDRESS_BYTES];
    const char *colon = strrchr(address, ':');
    long port = colon ? strtol(colon + 1, NULL, 10) : 0;

    if (!colon || (size_t)(colon - address) >= sizeof host || port < 1 || port > 65535)
        return false;
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    memset(out, 0, sizeof *out);
    out->sin_family = AF_INET;
    out->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

/* --- connections ------------------------------------------------------------------------------ */

/* What is wrong with it: always false. */
static bool broken(sg_wire *w, int error) {
    w->error = error;
    return false;
}

static void prompt(int fd) {
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

bool sg_wire_connect(sg_wire *w, const char *address) {
    struct sockaddr_in there;

    w->error = EINVAL;
    if (!parse(address, &there)) return false;
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (w->fd < 0) return broken(w, errno);
    prompt(w->fd);
    w->connecting = true;
    w->error = 0;
    return connect(w->fd, (struct sockaddr *)&there, sizeof there) == 0 || errno == EINPROGRESS ||
           broken(w, errno);
}

void sg_wire_accept(sg_wire *w, int fd) {
    memset(w, 0, sizeof *w);
    w->fd = fd;
    prompt(fd);
}

void sg_wire_close(sg_wire *w) {
    if (w->fd >= 0) close(w->fd);
    sg_free(w->out);
    sg_free(w->in);
    memset(w, 0, sizeof *w);
    w->fd = -1;
}

static bool reserve(uint8_t **block, size_t *room, size_t need) {
    size_t more = *room > 0 ? *room : 1024;
    uint8_t *grown;

    if (need <= *room) return true;
    while (more < need) more *= 2;
    grown = sg_realloc(*block, *room, more);
    if (!grown) return false;
    *block = grown;
    *room = more;
    return true;
}

bool sg_wire_nobody(const sg_wire *w) {
    return w->error == 0 || w->error == ECONNREFUSED || w->error == ECONNRESET || w->error == EPIPE;
}

const char *sg_wire_why(const sg_wire *w) { return w->error ? strerror(w->error) : "it hung up"; }

bool sg_wire_put(sg_wire *w, sg_frame frame, const void *data) {
    frame.magic = kMagic;
    if (!reserve(&w->out, &w->out_room, w->n_out + sizeof frame + frame.bytes))
        return broken(w, ENOMEM);
    memcpy(w->out + w->n_out, &frame, sizeof frame);
    if (frame.bytes > 0) memcpy(w->out + w->n_out + sizeof frame, data, frame.bytes);
    w->n_out += sizeof frame + frame.bytes;
    return true;
}

static bool connected(sg_wire *w) {
    int error = 0;
    socklen_t size = sizeof error;
    struct pollfd p = {.fd = w->fd, .events = POLLOUT};

    if (!w->connecting) return true;
    if (poll(&p, 1, 0) != 1) return true;
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    if (error) return broken(w, error);
    w->connecting = false;
    return true;
}

bool sg_wire_send(sg_wire *w) {
    size_t sent = 0;

    if (!connected(w)) return false;
    while (!w->connecting && sent < w->n_out) {
        ssize_t n = send(w->fd, w->out + sent, w->n_out - sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        if (n < 0) return broken(w, errno);
        sent += (size_t)n;
    }
    if (sent > 0) {
        memmove(w->out, w->out + sent, w->n_out - sent);
        w->n_out -= sent;
    }
    return true;
}

/* Hands over what is whole. */
static bool take_frames(sg_wire *w, sg_frame_fn take, void *context) {
    size_t at = 0;

    while (w->n_in - at >= sizeof(sg_frame)) {
        sg_frame frame;

        memcpy(&frame, w->in + at, sizeof frame);
        if (frame.magic != kMagic || frame.bytes > SG_WIRE_BYTES) return broken(w, EPROTO);
        if (w->n_in - at < sizeof frame + frame.bytes) break;
        take(context, &frame, w->in + at + sizeof frame);
        at += sizeof frame + frame.bytes;
    }
    memmove(w->in, w->in + at, w->n_in - at);
    w->n_in -= at;
    return true;
}

bool sg_wire_receive(sg_wire *w, sg_frame_fn take, void *context) {
    if (w->connecting) return true;
    for (;;) {
        ssize_t n;

        if (!reserve(&w->in, &w->in_room, w->n_in + kReadBytes)) return broken(w, ENOMEM);
        n = recv(w->fd, w->in + w->n_in, w->in_room - w->n_in, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return true;
        if (n <= 0) return broken(w, n < 0 ? errno : 0);
        w->n_in += (size_t)n;
        if (!take_frames(w, take, context)) return false;
    }
}

short sg_wire_events(const sg_wire *w) {
    return (short)(POLLIN | (w->connecting || w->n_out > 0 ? POLLOUT : 0));
}
