/* Azure's Scheduled Events. The first question of a machine's life switches the service on, which
 * may take two minutes; it asks to be polled once a second. */
#include <stdio.h>
#include <string.h>

#include "spot/provider.h"

static const double kFirst = 123; /* seconds more for the first answer */

static const char kHeader[] = "Metadata: true";
static const char kEvents[] = "/metadata/scheduledevents?api-version=2020-07-01";
/* A version before 2021: later ones add user data, of up to 64 KiB. */
static const char kCompute[] = "/metadata/instance/compute?api-version=2019-06-01&format=json";

static sg_presence recognise(sg_session *s) {
    const sg_question question = {.method = "GET", .path = kCompute, .header = kHeader};
    sg_web_answer a;

    if (!sg_session_ask(s, &question, &a)) return SG_ABSENT;
    if (a.status == 200 && sg_parse_azure_compute(a.body, a.size, s->vm)) return SG_PRESENT;
    (void)sg_session_failed(s, &a);
    return SG_ABSENT;
}

static sg_heard poll_once(sg_session *s, sg_notice *notice) {
    const sg_question question = {
        .method = "GET", .path = kEvents, .header = kHeader, .patience = s->answered ? 0 : kFirst};
    sg_web_answer a;

    if (!sg_session_ask(s, &question, &a)) return SG_HEARD_FAILURE;
    if (a.status != 200) return sg_session_failed(s, &a);
    s->answered = true;
    return sg_session_judge(s, &a, sg_parse_azure(a.body, a.size, s->vm, notice));
}

/* {"EventId":""}, is 15 bytes beside the id */
enum { kStartBytes = 32 + SG_NOTICE_EVENTS * (SG_NOTICE_ID + 15) };

static bool acknowledge(sg_session *s, const sg_notice *notice) {
    char body[kStartBytes];
    const sg_question question = {
        .method = "POST", .path = kEvents, .header = kHeader, .body = body};
    int used = snprintf(body, sizeof body, "{\"StartRequests\":[");
    sg_web_answer a;

    if (notice->n_events == 0) return true;
    for (int i = 0; i < notice->n_events; i++)
        used += snprintf(body + used, sizeof body - (size_t)used, "%s{\"EventId\":\"%s\"}",
                         i > 0 ? "," : "", notice->event[i]);
    snprintf(body + used, sizeof body - (size_t)used, "]}");
    if (!sg_session_ask(s, &question, &a)) return false;
    if (a.status == 200) return true;
    (void)sg_session_failed(s, &a);
    return false;
}

/* The service allows five questions a second. */
const sg_provider sg_provider_azure = {
    .id = SG_SPOT_AZURE,
    .key = "azure",
    .name = "Azure",
    .poll = 0.4,
    .recognise = recognise,
    .poll_once = poll_once,
    .acknowledge = acknowledge,
};
