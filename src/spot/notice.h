/* Notices of an interruption: what the cloud that owns this machine says about taking it away.
 *
 *   AWS     spot/instance-action (two minutes), the rebalance recommendation (earlier)
 *   GCP     instance/preempted (30 seconds)
 *   Azure   Scheduled Events: Preempt, Terminate (30 seconds or more); Reboot, Redeploy (minutes)
 *
 * A watcher is one thread that asks the metadata service at 169.254.169.254, which exists inside
 * such machines alone. It never delays or fails a run: a service that is slow, broken or absent
 * means that nothing is heard. A notice is a bonus; clouds do not promise that it comes. */
#ifndef SG_SPOT_NOTICE_H
#define SG_SPOT_NOTICE_H

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_notices sg_notices;

typedef struct {
    const char *provider; /* "auto", "aws", "gcp", "azure", "none" */
    const char
        *endpoint; /* "http://HOST[:PORT]" that stands for the service; "": its own address */
    double poll; /* seconds from question to question; 0: 0.4; 1 on GCP, which answers when there is
                    news */
    double timeout; /* seconds to wait for an answer; 0: 2 */
    double retry;   /* seconds until a service that was not found is looked for again; 0: 10 */
} sg_notices_options;

typedef enum {
    SG_NOTICE_NONE,
    SG_NOTICE_REBALANCE, /* advice: the machine may go soon; checkpoint, go on, do so often */
    SG_NOTICE_INTERRUPT, /* the machine goes: save and stop */
} sg_notice_state;

typedef enum {
    SG_SPOT_UNKNOWN, /* still being looked for */
    SG_SPOT_NONE,
    SG_SPOT_AWS,
    SG_SPOT_GCP,
    SG_SPOT_AZURE,
} sg_spot_provider;

/* Starts the watcher and returns at once; *out is NULL for the provider "none". What it finds goes
 * to the log: one line that says whether notices can be heard here, one for each notice, warnings.
 * SG_ERR_CONFIG for another provider or endpoint, SG_ERR_OOM, SG_ERR_UNAVAILABLE: no thread. */
sg_status sg_notices_start(const sg_notices_options *options, sg_notices **out) SG_CHECKED;

/* Ends the thread, within milliseconds whatever it waits for, and frees all. NULL is fine. */
void sg_notices_stop(sg_notices *notices);

/* What has been heard so far; never goes back. An atomic load, for every step. All of these may be
 * called from any thread, and take NULL as a watcher that heard nothing. */
sg_notice_state sg_notices_state(const sg_notices *notices);
sg_spot_provider sg_notices_provider(const sg_notices *notices);

/* On sg_now()'s clock, when the machine may go, as the notice of an interruption says; 0: nothing
 * was heard, or no time, or one that is not near, which says more of the clock. */
double sg_notices_until(const sg_notices *notices);

/* To be called once the state is durable: Azure is told that the machine may go now, and so stops
 * charging for it. Waits for the answer, at most the timeout. Nothing happens elsewhere, without
 * an interruption, or where the event takes other machines along. */
void sg_notices_acknowledge(sg_notices *notices);

/* Seconds that pass between two interruptions of one machine, on average, for want of better
 * knowledge. */
double sg_spot_mtbf(sg_spot_provider provider);

#ifdef __cplusplus
}
#endif
#endif
