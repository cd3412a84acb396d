/* What stands in the record of an epoch, and in a member's announcement: JSON, so all of it is
 * UTF-8. */
#ifndef SG_DIST_ROSTER_H
#define SG_DIST_ROSTER_H

#include "dist/peers.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_GROUP_MOST = 256,     /* members of a group */
    SG_GROUP_RUN_BYTES = 17, /* of a run's id, with its NUL */
};

typedef struct {
    int64_t epoch;
    int n;
    sg_peer member[SG_GROUP_MOST]; /* in the order of their ranks */
    char run[SG_GROUP_RUN_BYTES];  /* the id of their run; "" in an announcement: it brings none */
    char *about;                   /* of the run: what all must agree in; owned */
    char *done; /* the run is at its end: what its last member said; NULL; owned */
} sg_roster;

/* The caller's (sg_free). SG_ERR_OOM. */
sg_status sg_roster_write(const sg_roster *record, char **text) SG_CHECKED;
/* SG_ERR_DATA, SG_ERR_OOM. */
sg_status sg_roster_parse(int64_t epoch, const char *text, sg_roster *record) SG_CHECKED;
void sg_roster_clear(sg_roster *record);
/* The rank of that member, -1: it is none. */
int sg_roster_rank(const sg_roster *record, const char *id);

#ifdef __cplusplus
}
#endif
#endif
