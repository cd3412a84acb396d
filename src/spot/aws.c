/* EC2's instance metadata service. IMDSv2: a PUT gives a token, every GET shows it.
 *
 * The answer to the PUT, and no other, leaves with an IP time-to-live of 1 where the instance's
 * hop limit is 1: behind a container's bridge it never arrives, while a GET without a token is
 * answered, by 401 where tokens are required. (EC2 user guide, "Use IMDSv2") */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "core/threads.h"
#include "spot/provider.h"

enum { kPath = 128, kHeader = 320 };

static const double kLongestTtl = 21600; /* seconds */
enum { kAdviceEvery = 5 };               /* questions about an interruption to one about advice */

static bool is_token(const sg_web_answer *a, size_t room) {
    if (a->size == 0 || a->size >= room) return false;
    for (size_t i = 0; i < a->size; i++)
        if (!isgraph((unsigned char)a->body[i])) return false;
    return true;
}

/* A token comes with its time to live; it is renewed when a tenth of that is left. */
static bool renew(sg_session *s) {
    const sg_question question = {.method = "PUT",
                                  .path = "/latest/api/token",
                                  .header = "X-aws-ec2-metadata-token-ttl-seconds: 21600"};
    sg_web_answer a;
    const char *ttl;
    double seconds;

    if (!sg_session_ask(s, &question, &a)) return false;
    ttl = sg_web_header(s->web, "X-aws-ec2-metadata-token-ttl-seconds");
    seconds = ttl ? strtod(ttl, NULL) : 0;
    if (a.status != 200 || !(seconds >= 1 && seconds <= kLongestTtl) ||
        !is_token(&a, sizeof s->token)) {
        (void)sg_session_failed(s, &a);
        return false;
    }
    memcpy(s->token, a.body, a.size);
    s->token[a.size] = '\0';
    s->token_until = sg_now() + 0.9 * seconds;
    return true;
}

static bool ask(sg_session *s, const char *what, sg_web_answer *a) {
    char path[kPath], header[kHeader];
    const sg_question question = {
        .method = "GET", .path = path, .header = s->token[0] ? header : NULL};

    snprintf(path, sizeof path, "/latest/meta-data/%s", what);
    snprintf(header, sizeof header, "X-aws-ec2-metadata-token: %s", s->token);
    return sg_session_ask(s, &question, a);
}

/* --- is it there ------------------------------------------------------------------------------ */

static bool is_instance_id(const char *text) {
    return strncmp(text, "i-", 2) == 0 && text[2] &&
           strspn(text + 2, "0123456789abcdef") == strlen(text + 2);
}

/* When no token came in time: what a question without one is told. */
static sg_presence look_behind(sg_session *s) {
    sg_web_answer a;

    s->token[0] = '\0';
    if (!ask(s, "instance-id", &a)) return SG_ABSENT;
    if (a.status == 401) return SG_HIDDEN;
    if (a.status == 200 && is_instance_id(a.body)) return SG_PRESENT;
    (void)sg_session_failed(s, &a);
    return SG_ABSENT;
}

static sg_presence recognise(sg_session *s) {
    if (renew(s)) return SG_PRESENT;
    return sg_web_failure(s->web) == CURLE_OPERATION_TIMEDOUT ? look_behind(s) : SG_ABSENT;
}

/* --- notices ---------------------------------------------------------------------------------- */

/* 404 is how "nothing" is said. */
static sg_heard ask_for(sg_session *s, const char *what,
                        sg_heard (*parse)(const char *, size_t, sg_notice *), sg_notice *notice,
                        bool *refused) {
    sg_web_answer a;

    *refused = false;
    if (!ask(s, what, &a)) return SG_HEARD_FAILURE;
    *refused = a.status == 401;
    if (a.status == 404) return SG_HEARD_NOTHING;
    if (a.status != 200) return sg_session_failed(s, &a);
    return sg_session_judge(s, &a, parse(a.body, a.size, notice));
}

static sg_heard poll_once(sg_session *s, sg_notice *notice) {
    bool refused;
    sg_heard interrupt, advice;

    if (s->token[0] && sg_now() >= s->token_until && !renew(s)) return SG_HEARD_FAILURE;
    interrupt = ask_for(s, "spot/instance-action", sg_parse_aws_action, notice, &refused);
    if (refused) {
        if (!renew(s)) return SG_HEARD_FAILURE;
        interrupt = ask_for(s, "spot/instance-action", sg_parse_aws_action, notice, &refused);
    }
    if (interrupt == SG_HEARD_INTERRUPT || interrupt == SG_HEARD_FAILURE || s->advised ||
        s->polls++ % kAdviceEvery != 0)
        return interrupt;
    advice =
        ask_for(s, "events/recommendations/rebalance", sg_parse_aws_rebalance, notice, &refused);
    return advice == SG_HEARD_NOTHING ? interrupt : advice;
}

/* Often enough that a run is over within a second of the notice. The user guide says 5 s and AWS's
 * own Node Termination Handler takes 2; the service is on the machine's own host, and allows
 * hundreds of questions a second. */
const sg_provider sg_provider_aws = {
    .id = SG_SPOT_AWS,
    .key = "aws",
    .name = "AWS",
    .poll = 0.4,
    .recognise = recognise,
    .poll_once = poll_once,
};
