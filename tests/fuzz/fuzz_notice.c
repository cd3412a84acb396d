/* What metadata services say. Whatever is taken for a notice stands in the answer, in so many
 * words: no false alarm. */
#define _GNU_SOURCE /* memmem, gmtime_r */
#include "fuzz.h"

#include <string.h>
#include <stdio.h>
#include <time.h>

#include "spot/parse.h"

static const char kVm[] = "train-7";

typedef struct {
    const char *body;
    size_t size;
} said;

static bool says(said s, const char *text) {
    return memmem(s.body, s.size, text, strlen(text)) != NULL;
}

/* In quotes, as any string of JSON. */
static bool says_string(said s, const char *text) {
    char quoted[128];

    snprintf(quoted, sizeof quoted, "\"%s\"", text);
    return says(s, quoted);
}

/* A day's name before it is not looked at. */
static bool says_time(said s, int64_t when) {
    time_t t = (time_t)when;
    char iso[40], http[40];
    struct tm tm;

    FUZZ_CHECK(gmtime_r(&t, &tm));
    strftime(iso, sizeof iso, "\"%Y-%m-%dT%H:%M:%SZ\"", &tm);
    strftime(http, sizeof http, ", %d %b %Y %H:%M:%S GMT\"", &tm);
    return says(s, iso) || says(s, http);
}

/* JSON has another way to write all of it: escapes. */
static bool may_be_escaped(said s) { return says(s, "\\"); }

static void check_aws(said s) {
    sg_notice notice;
    sg_heard heard = sg_parse_aws_action(s.body, s.size, &notice);

    FUZZ_CHECK(heard == SG_HEARD_NONSENSE || heard == SG_HEARD_INTERRUPT);
    if (heard == SG_HEARD_INTERRUPT && !may_be_escaped(s)) {
        FUZZ_CHECK(says_string(s, "action") && says_string(s, notice.what));
        FUZZ_CHECK(says_string(s, "time") && says_time(s, notice.when));
    }
    heard = sg_parse_aws_rebalance(s.body, s.size, &notice);
    FUZZ_CHECK(heard == SG_HEARD_NONSENSE || heard == SG_HEARD_ADVICE);
    if (heard == SG_HEARD_ADVICE && !may_be_escaped(s))
        FUZZ_CHECK(says_string(s, "noticeTime") && says_time(s, notice.when));
}

static void check_gcp(said s) {
    sg_notice notice;
    sg_heard heard = sg_parse_gcp(s.body, s.size, &notice);

    FUZZ_CHECK(heard != SG_HEARD_ADVICE && heard != SG_HEARD_FAILURE);
    if (heard == SG_HEARD_INTERRUPT) FUZZ_CHECK(s.size >= 4 && memcmp(s.body, "TRUE", 4) == 0);
    if (heard == SG_HEARD_NOTHING) FUZZ_CHECK(s.size >= 5 && memcmp(s.body, "FALSE", 5) == 0);
}

static void check_azure(said s) {
    char vm[SG_VM_NAME] = "";
    sg_notice notice;
    sg_heard heard = sg_parse_azure(s.body, s.size, kVm, &notice);

    FUZZ_CHECK(heard != SG_HEARD_FAILURE);
    if (heard == SG_HEARD_INTERRUPT || heard == SG_HEARD_ADVICE) {
        FUZZ_CHECK(notice.n_events >= 0 && notice.n_events <= SG_NOTICE_EVENTS);
        if (!may_be_escaped(s)) {
            FUZZ_CHECK(says_string(s, "Events") && says_string(s, "EventType"));
            FUZZ_CHECK(says_string(s, notice.what));
            FUZZ_CHECK(notice.when == 0 ? says_string(s, "") : says_time(s, notice.when));
            for (int i = 0; i < notice.n_events; i++) FUZZ_CHECK(says_string(s, notice.event[i]));
        }
    }
    if (sg_parse_azure_compute(s.body, s.size, vm)) FUZZ_CHECK(vm[0] && strlen(vm) < sizeof vm);
}

void fuzz_notice(const uint8_t *data, size_t size) {
    const said s = {(const char *)data, size};

    check_aws(s);
    check_gcp(s);
    check_azure(s);
}
