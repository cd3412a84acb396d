/* How the learning rate moves over a run: a pure function of the step. */
#ifndef SG_NN_SCHEDULE_H
#define SG_NN_SCHEDULE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { SG_SCHEDULE_CONSTANT, SG_SCHEDULE_COSINE, SG_SCHEDULE_STEP } sg_schedule_kind;

typedef struct {
    sg_schedule_kind kind;
    double lr;           /* the highest rate */
    double final_share;  /* cosine: share of it that is left at the end; step: of the last stage */
    double warmup_steps; /* it rises linearly from 0 over so many steps */
    double total_steps;  /* the horizon; beyond it the last rate stays */
} sg_schedule;

/* The rate of step 0, 1, ...
 *   warm-up  lr * (step + 1) / (warmup_steps + 1)
 *   cosine   lr * (f + (1 - f) (1 + cos(pi t)) / 2), t from 0 to 1 between warm-up and horizon
 *            (Loshchilov and Hutter, SGDR, without restarts)
 *   step     lr, from 60 % of the horizon lr * sqrt(f), from 85 % lr * f */
double sg_schedule_lr(const sg_schedule *schedule, int64_t step);

#ifdef __cplusplus
}
#endif
#endif
