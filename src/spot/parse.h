/* What the answers of metadata services mean: pure functions of their bytes, so that they can be
 * fuzzed. Whatever is not exactly a notice is none. Private to spot/. */
#ifndef SG_SPOT_PARSE_H
#define SG_SPOT_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SG_NOTICE_EVENTS = 8, /* events that are acknowledged together */
    SG_NOTICE_ID = 64,    /* bytes of an event's id with its NUL */
    SG_VM_NAME = 256,     /* bytes of a machine's name with its NUL */
};

typedef enum {
    SG_HEARD_NOTHING,
    SG_HEARD_ADVICE,
    SG_HEARD_INTERRUPT,
    SG_HEARD_NONSENSE, /* not what the service would say: no notice, worth a warning */
    SG_HEARD_FAILURE,  /* no answer, or one that is an error; never from these functions */
} sg_heard;

typedef struct {
    const char *what; /* static: "terminate", "preempt", ... */
    int64_t when;     /* seconds since 1970, UTC; 0: at once, or not told */
    int n_events;     /* Azure's to acknowledge: those that concern this machine alone */
    char event[SG_NOTICE_EVENTS][SG_NOTICE_ID];
} sg_notice;

/* `body` has `size` bytes and needs no NUL. *notice is written only for advice and interruptions.
 * Running out of memory is SG_HEARD_NONSENSE: the next answer is another chance. */

/* AWS spot/instance-action: {"action": "terminate", "time": "2017-09-18T08:22:00Z"}; stop and
 * hibernate are interruptions too. (docs.aws.amazon.com, EC2 user guide, "Spot Instance
 * interruption notices") */
sg_heard sg_parse_aws_action(const char *body, size_t size, sg_notice *notice);

/* AWS events/recommendations/rebalance: {"noticeTime": "2020-10-27T08:22:00Z"} */
sg_heard sg_parse_aws_rebalance(const char *body, size_t size, sg_notice *notice);

/* GCP instance/preempted: TRUE or FALSE */
sg_heard sg_parse_gcp(const char *body, size_t size, sg_notice *notice);

/* Azure scheduledevents, for the machine `vm`. Preempt and Terminate are interruptions. Reboot and
 * Redeploy are advice: they come 10 or 15 minutes later, and a process that ended at once would be
 * started again on the same machine, to hear the same. Freeze pauses for seconds and loses nothing.
 * (learn.microsoft.com, "Scheduled Events for Linux VMs") */
sg_heard sg_parse_azure(const char *body, size_t size, const char *vm, sg_notice *notice);

/* Azure instance/compute: the machine's name, of SG_VM_NAME bytes; false when this is not Azure's
 * answer. */
bool sg_parse_azure_compute(const char *body, size_t size, char *vm);

#ifdef __cplusplus
}
#endif
#endif
