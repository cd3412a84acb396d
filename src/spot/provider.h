/* One cloud's metadata service: how to recognise it, and how to ask it for notices. All three are
 * reached at the same address. Private to spot/. */
#ifndef SG_SPOT_PROVIDER_H
#define SG_SPOT_PROVIDER_H

#include "core/web.h"
#include "spot/notice.h"
#include "spot/parse.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Between a watcher and the service. */
typedef struct {
    sg_web *web;
    const char *endpoint; /* "http://HOST[:PORT]" */
    double timeout;       /* of an answer, seconds */
    bool advised;         /* advice has been heard: only an interruption is news */
    char problem[160];    /* why the last question gave no answer, or nonsense */

    char token[256]; /* AWS: of IMDSv2; "": of IMDSv1, which needs none */
    double token_until;
    unsigned polls;      /* AWS: questions about an interruption so far */
    char etag[128];      /* GCP: of the last answer; "": there was none */
    char vm[SG_VM_NAME]; /* Azure: this machine */
    bool answered;       /* Azure: events have been told once */
} sg_session;

typedef enum {
    SG_ABSENT,
    SG_HIDDEN, /* it is there, but what it would say does not arrive */
    SG_PRESENT,
} sg_presence;

typedef struct {
    sg_spot_provider id;
    const char *key, *name; /* "aws", "AWS" */
    double poll;            /* seconds */
    /* Whether it answers as itself; what it tells on the way is kept in the session. */
    sg_presence (*recognise)(sg_session *s);
    /* Ask once; on failure and nonsense s->problem says why. Cancelled: SG_HEARD_FAILURE. */
    sg_heard (*poll_once)(sg_session *s, sg_notice *notice);
    /* NULL: this cloud wants no acknowledgement. */
    bool (*acknowledge)(sg_session *s, const sg_notice *notice);
} sg_provider;

extern const sg_provider sg_provider_aws, sg_provider_gcp, sg_provider_azure;

typedef struct {
    const char *method, *path; /* "GET"; behind the endpoint, from its '/' */
    const char *header;        /* "Name: value"; NULL: none */
    const char *body;          /* of a POST; NULL: none */
    double patience;           /* seconds beyond the session's timeout */
} sg_question;

/* False when no answer came; the reason is in s->problem. */
bool sg_session_ask(sg_session *s, const sg_question *question, sg_web_answer *answer);
/* SG_HEARD_FAILURE; that the answer was another than expected is in s->problem. */
sg_heard sg_session_failed(sg_session *s, const sg_web_answer *answer);
/* `heard`; if it is nonsense, the answer's beginning is in s->problem. */
sg_heard sg_session_judge(sg_session *s, const sg_web_answer *answer, sg_heard heard);

#ifdef __cplusplus
}
#endif
#endif
