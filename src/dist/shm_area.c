#define _GNU_SOURCE
#include "dist/shm_area.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
    kLargestRing = 1 << 21,
    kSmallestRing = 1 << 18,
    kRings = 1 << 22,
};

static size_t page_bytes(void) { return (size_t)sysconf(_SC_PAGESIZE); }

static size_t rings_at(int size) {
    size_t page = page_bytes(), notice = sizeof(sg_shm_notice) + (size_t)size * sizeof(sg_shm_line);

    return page + (notice + page - 1) / page * page;
}

size_t sg_shm_ring_bytes(int size) {
    size_t ring = kLargestRing;

    while (ring > kSmallestRing && ring * (size_t)(size - 1) > kRings) ring /= 2;
    return ring;
}

static size_t area_bytes(int size) {
    return rings_at(size) + (size_t)size * sg_shm_ring_bytes(size);
}

/* Map the whole, and the bell so that it can be rung where the rest is only to be read. */
static sg_status map(sg_shm_area *area, int fd, int size, bool own) {
    int access = own ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = mmap(NULL, area_bytes(size), access, MAP_SHARED, fd, 0);

    if (base == MAP_FAILED)
        return sg_fail(SG_ERR_UNAVAILABLE, "shared memory: cannot map %zu bytes: %s",
                       area_bytes(size), strerror(errno));
    area->base = base;
    area->bytes = area_bytes(size);
    area->bell = base;
    area->notice = (sg_shm_notice *)(area->base + page_bytes());
    area->rings = area->base + rings_at(size);
    area->ring = sg_shm_ring_bytes(size);
    if (own) return SG_OK;
    if (mmap(base, page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == base)
        return SG_OK;
    sg_fail(SG_ERR_UNAVAILABLE, "shared memory: cannot map a page: %s", strerror(errno));
    munmap(base, area->bytes);
    area->base = NULL; /* it has no bell */
    return SG_ERR_UNAVAILABLE;
}

/* Memory is taken here, so that a lack of it is found now and is no SIGBUS later. Of the ring to
 * itself nothing is ever used. */
static sg_status reserve(int fd, int rank, int size) {
    size_t ring = sg_shm_ring_bytes(size);
    off_t skipped = (off_t)(rings_at(size) + (size_t)rank * ring);
    off_t after = skipped + (off_t)ring, all = (off_t)area_bytes(size);

    if (ftruncate(fd, all) != 0 || fallocate(fd, 0, 0, skipped) != 0 ||
        (after < all && fallocate(fd, 0, after, all - after) != 0))
        return sg_fail(SG_ERR_UNAVAILABLE, "shared memory: no %zu bytes for %d members: %s",
                       area_bytes(size), size, strerror(errno));
    if (fcntl(fd, F_ADD_SEALS, kSeals) != 0)
        return sg_fail(SG_ERR_UNAVAILABLE, "shared memory: cannot be sealed: %s", strerror(errno));
    return SG_OK;
}

sg_status sg_shm_area_make(sg_shm_area *area, int rank, int size, int64_t epoch,
                           sg_shm_card *card) {
    sg_status st;

    memset(card, 0, sizeof *card);
    if (getrandom(card->key, sizeof card->key, 0) != (ssize_t)sizeof card->key)
        return sg_fail(SG_ERR_UNAVAILABLE, "shared memory: no random numbers: %s", strerror(errno));
    area->fd = memfd_create("spotgrad-transport", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (area->fd < 0)
        return sg_fail(SG_ERR_UNAVAILABLE, "shared memory: no memfd: %s", strerror(errno));
    st = reserve(area->fd, rank, size);
    if (st == SG_OK) st = map(area, area->fd, size, true);
    if (st != SG_OK) return st;
    memcpy(area->notice->key, card->key, sizeof card->key);
    area->notice->epoch = card->epoch = epoch;
    area->notice->rank = card->rank = rank;
    area->notice->size = size;
    card->pid = getpid();
    card->fd = area->fd;
    card->bytes = area->bytes;
    return SG_OK;
}

/* Opens what may be anything by now without doing anything to it, unless it is such a memfd. */
static int open_area(const char *path, uint64_t bytes) {
    int place = open(path, O_PATH | O_CLOEXEC), fd = -1;
    struct stat file;
    char again[64];

    if (place < 0) return -1;
    snprintf(again, sizeof again, "/proc/self/fd/%d", place);
    if (fstat(place, &file) != 0 || !S_ISREG(file.st_mode) || (uint64_t)file.st_size != bytes)
        errno = ESTALE;
    else
        fd = open(again, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && fcntl(fd, F_GET_SEALS) != kSeals) {
        close(fd);
        fd = -1;
        errno = ESTALE;
    }
    close(place);
    return fd;
}

static bool is_as_told(const sg_shm_notice *n, const sg_shm_card *card, int size) {
    return memcmp(n->key, card->key, sizeof n->key) == 0 && n->epoch == card->epoch &&
           n->rank == card->rank && n->size == size;
}

sg_status sg_shm_area_find(sg_shm_area *area, const sg_shm_card *card, int rank, int size,
                           int64_t epoch) {
    char path[64];
    sg_status st;
    int fd;

    area->fd = -1;
    if (card->rank != rank || card->epoch != epoch || card->bytes != area_bytes(size) ||
        card->pid <= 0 || card->pid > INT_MAX || card->fd < 0)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "shared memory: member %d says that it is member %d of epoch %" PRId64
                       ", with %" PRIu64 " bytes: it should be epoch %" PRId64 " and %zu bytes",
                       rank, (int)card->rank, card->epoch, card->bytes, epoch, area_bytes(size));
    /* first the process, then what is its own: whose number came to another has not the key */
    area->fd = (int)syscall(SYS_pidfd_open, (pid_t)card->pid, 0);
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)card->pid, (int)card->fd);
    fd = open_area(path, card->bytes);
    if (fd < 0)
        return sg_fail(SG_ERR_UNAVAILABLE, "shared memory of member %d, %s: %s", rank, path,
                       errno == ESTALE ? "is something else by now" : strerror(errno));
    st = map(area, fd, size, false);
    close(fd);
    if (st == SG_OK && !is_as_told(area->notice, card, size))
        st = sg_fail(SG_ERR_UNAVAILABLE, "shared memory of member %d, %s: is another one's by now",
                     rank, path);
    return st;
}

void sg_shm_area_clear(sg_shm_area *area) {
    if (area->base) munmap(area->base, area->bytes);
    if (area->fd >= 0) close(area->fd);
    memset(area, 0, sizeof *area);
    area->fd = -1;
}

void sg_shm_area_forget(sg_shm_area *area) {
    close(area->fd);
    area->fd = -1;
}

bool sg_shm_area_is_dead(const sg_shm_area *area) {
    struct pollfd process = {.fd = area->fd, .events = POLLIN};

    return area->fd >= 0 && poll(&process, 1, 0) == 1 && (process.revents & POLLIN);
}

void sg_shm_ring_bell(const sg_shm_area *area) {
    atomic_fetch_add(area->bell, 1);
    syscall(SYS_futex, area->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void sg_shm_sleep(const sg_shm_area *area, unsigned before, double seconds) {
    struct timespec wait = {.tv_sec = (time_t)seconds};

    wait.tv_nsec = (long)((seconds - (double)wait.tv_sec) * 1e9);
    syscall(SYS_futex, area->bell, FUTEX_WAIT, before, &wait, NULL, 0);
}
