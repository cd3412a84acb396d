/* What `train --workers` prepares before it starts them: the run's folder, a place to meet, their
 * configuration. */
#ifndef SG_CLI_SUPERVISE_H
#define SG_CLI_SUPERVISE_H

#include "cli/cli.h"

typedef struct {
    char *config;                  /* path of each worker's */
    int64_t threads, data_threads; /* of each */
    char *place;                   /* folder in which they meet; NULL: distributed.store is given */
} cli_team;

/* The folder is locked to the process's end. Dies where something cannot be. */
void cli_team_prepare(cli_team *team, const sg_config *config, int n, bool fresh);
/* Once no worker runs: leaves nothing where they met. */
void cli_team_clear(cli_team *team);

#endif
