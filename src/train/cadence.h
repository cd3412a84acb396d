/* How often a checkpoint is due. */
#ifndef SG_TRAIN_CADENCE_H
#define SG_TRAIN_CADENCE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int64_t every_steps;  /* > 0: at each multiple of it */
    double every_seconds; /* > 0: so long after the last */
    bool automatic;       /* neither: as often as pays, by cost and mtbf */
    double mtbf;          /* seconds expected between interruptions; > 0 */
    bool every_step;      /* an interruption is near */
    double interval;      /* chosen: seconds; 0 until a cost is known: every step */
    double last;          /* clock of the last one */
} sg_cadence;

/* The interval in seconds that loses least, of one checkpoint's cost in seconds and the mean time
 * between failures: J. T. Daly, "A higher order estimate of the optimum checkpoint interval for
 * restart dumps", FGCS 22 (2006), equation 37; its first term is Young's, sqrt(2 cost mtbf). */
double sg_daly_interval(double cost, double mtbf);

/* The share of time lost at that interval: to checkpoints, and to computing again the half of an
 * interval that an interruption costs. */
double sg_cadence_waste(double cost, double mtbf, double interval);

/* Whether one is due after `step`, at `now` on sg_now's clock. */
bool sg_cadence_due(const sg_cadence *cadence, int64_t step, double now);

/* Take a measured cost into account: true where the interval is new, or has changed by half. */
bool sg_cadence_measured(sg_cadence *cadence, double cost);

#ifdef __cplusplus
}
#endif
#endif
