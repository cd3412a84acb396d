#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "spot/provider.h"

enum { kExcerpt = 60, kUrl = 640 };

bool sg_session_ask(sg_session *s, const sg_question *question, sg_web_answer *answer) {
    const char *const headers[] = {question->header, NULL};
    char url[kUrl];
    sg_web_request request = {
        .method = question->method,
        .url = url,
        .headers = headers,
        .body = question->body,
        .body_bytes = question->body ? strlen(question->body) : 0,
        .connect_seconds = fmin(s->timeout, 1.0), /* the service is next door */
        .total_seconds = s->timeout + question->patience,
        .direct = true,
    };

    snprintf(url, sizeof url, "%s%s", s->endpoint, question->path);
    if (sg_web_perform(s->web, &request, answer) == SG_OK) return true;
    snprintf(s->problem, sizeof s->problem, "%s", sg_last_error());
    return false;
}

sg_heard sg_session_failed(sg_session *s, const sg_web_answer *answer) {
    snprintf(s->problem, sizeof s->problem, "HTTP status %d%s", answer->status,
             answer->status == 200 ? ", but not what it would say" : "");
    return SG_HEARD_FAILURE;
}

sg_heard sg_session_judge(sg_session *s, const sg_web_answer *answer, sg_heard heard) {
    char excerpt[kExcerpt + 1];
    size_t n = answer->size < kExcerpt ? answer->size : kExcerpt;

    if (heard != SG_HEARD_NONSENSE) return heard;
    for (size_t i = 0; i < n; i++)
        excerpt[i] = isprint((unsigned char)answer->body[i]) ? answer->body[i] : '.';
    excerpt[n] = '\0';
    snprintf(s->problem, sizeof s->problem, "%zu bytes that begin `%s`", answer->size, excerpt);
    return heard;
}
