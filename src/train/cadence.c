#include "train/cadence.h"

#include <math.h>

double sg_daly_interval(double cost, double mtbf) {
    double ratio = cost / (2.0 * mtbf);

    if (ratio >= 1.0) return mtbf;
    return sqrt(2.0 * cost * mtbf) * (1.0 + sqrt(ratio) / 3.0 + ratio / 9.0) - cost;
}

double sg_cadence_waste(double cost, double mtbf, double interval) {
    return interval > 0.0 ? cost / interval + interval / (2.0 * mtbf) : 1.0;
}

bool sg_cadence_due(const sg_cadence *c, int64_t step, double now) {
    if (c->every_step) return true;
    if (c->every_steps > 0 && step % c->every_steps == 0) return true;
    if (c->every_seconds > 0.0 && now - c->last >= c->every_seconds) return true;
    return c->automatic && now - c->last >= c->interval;
}

bool sg_cadence_measured(sg_cadence *c, double cost) {
    double before = c->interval, next = sg_daly_interval(cost, c->mtbf);

    if (before > 0.0 && fabs(next - before) <= 0.5 * before) return false;
    c->interval = next;
    return true;
}
