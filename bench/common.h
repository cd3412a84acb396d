/* What the benchmarks of training steps share: options, the device, steps and what is printed of
 * them. Failures end the program. */
#ifndef SG_BENCH_COMMON_H
#define SG_BENCH_COMMON_H

#include "train/compute.h"
#include "train/trainer.h"

enum { BENCH_WARM = 2 }; /* steps before those that are timed */

typedef struct {
    int64_t batch, steps, group;
    int shards, threads;
    const char *isa, *device, *precision;
    bool tune; /* choose a GPU's kernels by timing */
    sg_compute compute;
} bench_request;

/* 8 groups of 1 step, 2 shards and threads, avx2, CPU. */
bench_request bench_defaults(int64_t batch);
#define BENCH_USAGE                                                                                \
    "[--batch N] [--shards N] [--threads N] [--steps N] [--group N] [--isa avx2|native] "          \
    "[--device cpu|cuda] [--precision auto|fp32|tf32|bf16] [--tune]"

/* Take one of these options with its value, or `--tune` without; how many arguments that were, 0:
 * it is none of them. `value` may be NULL. */
int bench_take(bench_request *r, const char *name, const char *value);
/* An option of the program's own that is a whole number. */
typedef struct {
    const char *name;
    int64_t *to;
} bench_number;
/* False also where the value is no such number. */
bool bench_take_number(const bench_number numbers[], int n, const char *name, const char *value);
/* The place of a word among others, behind which NULL stands; -1: it is none of them. */
int bench_word(const char *const words[], const char *value);
/* Whether they can be meant. */
bool bench_is_sound(const bench_request *r);

void bench_must(sg_status st);
void *bench_block(size_t bytes); /* zeroed; for sg_free */

/* Instruction set and device; bench_close takes what was opened. */
void bench_open(bench_request *r);
void bench_close(bench_request *r);

/* AdamW, clipping, the average of the weights. */
sg_trainer *bench_trainer(const bench_request *r, sg_build_fn build, void *context);
/* Puts the inputs of the batch of step `step`. */
typedef void (*bench_feed)(void *context, int64_t step, const void *inputs[SG_MAX_INPUTS]);
/* One batch for all steps: `inputs` are its SG_MAX_INPUTS inputs. */
void bench_same(void *inputs, int64_t step, const void *to[SG_MAX_INPUTS]);
/* Seconds of `n` steps. Up to as many as may be are under way, so that a device never waits for the
 * host. */
double bench_run_steps(sg_trainer *trainer, bench_feed feed, void *context, int64_t n, double lr,
                       sg_step_report *report);
/* Instead of times of steps, of a trainer that has made none: a JSON object a kernel of one shard's
 * program, milliseconds (the mean of all `shards`; on a GPU of ten runs each), operations and
 * bytes. `inputs` are a batch's SG_MAX_INPUTS. */
void bench_print_ops(sg_trainer *trainer, const void *inputs[SG_MAX_INPUTS], int shards);
/* Seconds of processor time that this process, all its threads, has had: of two programs on a busy
 * machine these can be compared where seconds cannot, if neither waits by spinning. */
double bench_processor_time(void);
/* MiB of the GPU's memory that are in use, by whomever; 0 on a CPU. */
double bench_device_mib(const bench_request *r);
/* {"seconds": [...], "peak_mib": ..., and the JSON text `more` before the brace that closes it. */
void bench_print(const bench_request *r, const double seconds[], const char *more);

#endif
