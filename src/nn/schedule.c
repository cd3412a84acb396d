#include "nn/schedule.h"

#include <math.h>

static const double kPi = 3.14159265358979323846;
static const double kFirstDrop = 0.60, kSecondDrop = 0.85; /* shares of the horizon */

static double cosine(const sg_schedule *s, double step) {
    double span = s->total_steps - s->warmup_steps;
    double t = span > 0 ? (step - s->warmup_steps) / span : 1.0;

    if (t > 1.0) t = 1.0;
    return s->final_share + (1.0 - s->final_share) * 0.5 * (1.0 + cos(kPi * t));
}

static double stages(const sg_schedule *s, double step) {
    if (step < kFirstDrop * s->total_steps) return 1.0;
    return step < kSecondDrop * s->total_steps ? sqrt(s->final_share) : s->final_share;
}

double sg_schedule_lr(const sg_schedule *schedule, int64_t step) {
    double at = (double)step;

    if (at < schedule->warmup_steps)
        return schedule->lr * (at + 1.0) / (schedule->warmup_steps + 1);
    switch (schedule->kind) {
    case SG_SCHEDULE_COSINE:
        return schedule->lr * cosine(schedule, at);
    case SG_SCHEDULE_STEP:
        return schedule->lr * stages(schedule, at);
    default:
        return schedule->lr;
    }
}
