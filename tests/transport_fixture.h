/* Members of a group for tests of transports: processes or threads, who introduce each other over
 * socket pairs. */
#ifndef SG_TRANSPORT_FIXTURE_H
#define SG_TRANSPORT_FIXTURE_H

#include <stdatomic.h>
#include <sys/types.h>

#include "dist/transport.h"

enum { FIXTURE_MEMBERS = 8 };

typedef sg_status (*fixture_create)(const sg_transport_options *options, sg_transport **out);

typedef struct {
    const char *name;
    fixture_create create;
} fixture_kind;

const fixture_kind *fixture_kinds(int *n);
/* Gloo's plug-in may not have been built. One that does not load is a failure of its tests. */
bool fixture_is_there(const fixture_kind *kind);

/* What members and the test say to each other, in memory that all of them share. */
typedef struct {
    atomic_int status[FIXTURE_MEMBERS];    /* how it ended: -1, it did not */
    _Atomic double ended[FIXTURE_MEMBERS]; /* sg_now(), when its last call returned */
    char text[FIXTURE_MEMBERS][256];       /* its last error */
    atomic_int arrived[4];                 /* how many have come to a point */
    _Atomic double at;                     /* sg_now() of what the test did */
    atomic_int go;
} fixture_board;

typedef struct fixture_group fixture_group;

typedef struct {
    fixture_group *group;
    int rank, size;
    fixture_board *board;
} fixture_member;

/* What a member does; its status goes to the board. */
typedef sg_status (*fixture_role)(fixture_member *m, void *context);

struct fixture_group {
    const fixture_kind *kind;
    int size, threads;
    fixture_board *board;
    int socket[4][FIXTURE_MEMBERS][FIXTURE_MEMBERS]; /* [epoch][own][other's] */
    pid_t pid[FIXTURE_MEMBERS];
    fixture_role role;
    void *context;
};

/* Starts `size` members; `threads` != 0: in this process. */
void fixture_start(fixture_group *g, const fixture_kind *kind, int size, int threads,
                   fixture_role role, void *context);
/* Waits for all of them, at most `seconds`, and cleans up; a member that was not killed by the test
 * and has not ended, or was killed by something else, fails the test. `killed`: ranks, as bits. */
void fixture_join(fixture_group *g, double seconds, unsigned killed);

/* Member of epoch `epoch` (0 to 3): of the members in `ranks` (bits), 0: all. */
sg_status fixture_connect(fixture_member *m, int epoch, unsigned ranks, double seconds,
                          sg_transport **out);

void fixture_await(atomic_int *count, int n); /* at most 10 s, then it fails */
void fixture_pause(double seconds);

#endif
