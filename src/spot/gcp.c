/* Compute Engine's metadata server. A question may wait until the value changes: an interruption
 * is heard at once, and nothing is asked in vain. (cloud.google.com, "Query VM metadata": wait for
 * change; every answer of the server carries `Metadata-Flavor: Google`.) */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "spot/provider.h"

enum { kPath = 256 };

/* Seconds that a question may wait; a connection that died unseen is noticed after as many. */
static const double kWait = 30;

static const char kPreempted[] = "/computeMetadata/v1/instance/preempted";

/* It becomes part of a path: what is not short, of letters and digits, is not kept. */
static void keep_etag(sg_session *s, const char *text) {
    size_t length = text ? strlen(text) : 0;

    s->etag[0] = '\0';
    if (length == 0 || length >= sizeof s->etag) return;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i])) return;
    memcpy(s->etag, text, length + 1);
}

static sg_heard ask(sg_session *s, const char *path, double patience, sg_notice *notice) {
    const sg_question question = {
        .method = "GET", .path = path, .header = "Metadata-Flavor: Google", .patience = patience};
    const char *flavor;
    sg_web_answer a;

    if (!sg_session_ask(s, &question, &a)) return SG_HEARD_FAILURE;
    flavor = sg_web_header(s->web, "Metadata-Flavor");
    if (a.status != 200 || !flavor || strcmp(flavor, "Google") != 0)
        return sg_session_failed(s, &a);
    return sg_session_judge(s, &a, sg_parse_gcp(a.body, a.size, notice));
}

/* No ETag is kept: the first poll asks the same again, and must not wait, as this answer may be
 * the notice. */
static sg_presence recognise(sg_session *s) {
    sg_notice unused;
    sg_heard heard = ask(s, kPreempted, 0, &unused);

    return heard == SG_HEARD_NOTHING || heard == SG_HEARD_INTERRUPT ? SG_PRESENT : SG_ABSENT;
}

/* Without an ETag a change between two questions would be slept through: none waits then. */
static sg_heard poll_once(sg_session *s, sg_notice *notice) {
    bool waits = s->etag[0] != '\0';
    char path[kPath];
    sg_heard heard;

    if (waits)
        snprintf(path, sizeof path, "%s?wait_for_change=true&timeout_sec=%.0f&last_etag=%s",
                 kPreempted, kWait, s->etag);
    heard = ask(s, waits ? path : kPreempted, waits ? kWait : 0, notice);
    keep_etag(s, heard == SG_HEARD_NOTHING ? sg_web_header(s->web, "ETag") : NULL);
    return heard;
}

const sg_provider sg_provider_gcp = {
    .id = SG_SPOT_GCP,
    .key = "gcp",
    .name = "GCP",
    .poll = 1,
    .recognise = recognise,
    .poll_once = poll_once,
};
