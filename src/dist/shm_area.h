/* A member's shared memory, which only it writes, but for the bell:
 *
 *   page 0     bell      any member adds to it and wakes who sleeps on it
 *   page 1 ..  notice    who this is, whether it has left, and a line for each other member: how
 *                        much was written for it and taken from it, whether a ring of the bell is
 *                        wanted of it
 *   then       ring[k]   what is on its way to member k, for each of the members
 *
 * It is a sealed memfd, so it never shrinks under those who map it, and it lives as long as one of
 * them does. They find it through /proc/PID/fd/FD, and believe that it is the right one when it
 * shows the key that they were told: a number that was never used before. */
#ifndef SG_DIST_SHM_AREA_H
#define SG_DIST_SHM_AREA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/status.h"

enum {
    SG_SHM_LINE = 64, /* bytes; messages begin at a multiple */
    SG_SHM_DATA = 1,
    SG_SHM_ROOM = 2, /* what one sleeps for */
};

typedef struct {
    /* bytes ever written for, and taken from, the member whose line it is */
    _Alignas(SG_SHM_LINE) _Atomic uint64_t written;
    _Alignas(SG_SHM_LINE) _Atomic uint64_t taken;
    atomic_uint wanted; /* SG_SHM_DATA, SG_SHM_ROOM */
} sg_shm_line;

typedef struct {
    uint64_t key[2];
    int64_t epoch;
    int32_t rank, size;
    atomic_uint ready; /* it has found all others */
    atomic_uint left;
    sg_shm_line line[];
} sg_shm_notice;

/* What a member says of its area. */
typedef struct {
    uint64_t key[2];
    int64_t epoch, pid;
    int32_t fd, rank;
    uint64_t bytes;
} sg_shm_card;

/* One member's area, as another (or itself) sees it. */
typedef struct {
    uint8_t *base; /* NULL: not mapped */
    size_t bytes;
    int fd;                /* own: the memfd; another's: a pidfd, -1 where there is no such */
    atomic_uint *bell;     /* writable in both */
    sg_shm_notice *notice; /* another's cannot be written to */
    uint8_t *rings;
    size_t ring; /* bytes of one */
} sg_shm_area;

/* Bytes of a ring among `size` members: 2 MB for two, so that members who share a core say all they
 * have in one turn, and less for more of them, so that a member has 4 MB of rings at most, as long
 * as they are not below 256 KB. A power of 2. */
size_t sg_shm_ring_bytes(int size);

#define SG_SHM_NONE ((sg_shm_area){.fd = -1})

/* `area` is SG_SHM_NONE before, and is to be cleared, also after a failure.
 *
 * Make one's own. SG_ERR_UNAVAILABLE: no memory, or no memfd. */
sg_status sg_shm_area_make(sg_shm_area *area, int rank, int size, int64_t epoch,
                           sg_shm_card *card) SG_CHECKED;
/* Map another's. SG_ERR_UNAVAILABLE: it is not there, or not what the card says. */
sg_status sg_shm_area_find(sg_shm_area *area, const sg_shm_card *card, int rank, int size,
                           int64_t epoch) SG_CHECKED;
void sg_shm_area_clear(sg_shm_area *area); /* also one that is SG_SHM_NONE */

/* Close one's own memfd, when all others have found it. */
void sg_shm_area_forget(sg_shm_area *area);

/* The ring to member `k`. */
static inline uint8_t *sg_shm_ring(const sg_shm_area *area, int k) {
    return area->rings + (size_t)k * area->ring;
}

/* Whether the process of another's area has ended. */
bool sg_shm_area_is_dead(const sg_shm_area *area);
/* Wake whoever sleeps on it. */
void sg_shm_ring_bell(const sg_shm_area *area);
/* Sleep until the bell is not `before` any more, or `seconds` are over, or for no reason. */
void sg_shm_sleep(const sg_shm_area *area, unsigned before, double seconds);

#endif
