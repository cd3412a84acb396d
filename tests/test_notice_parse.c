/* What metadata services say, and what it means: the documented answers, near misses, no memory;
 * and answers damaged at random, of which none may crash or become an alarm that is not in them.
 * SPOTGRAD_FUZZ=1000000 build/release/tests/test_notice_parse tries that many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "fuzz/fuzz.h"
#include "spot/parse.h"

static const char kVm[] = "train-7";

#define AZURE(type, vm, status, before)                                                            \
    "{\"DocumentIncarnation\": 3, \"Events\": [{\"EventId\": "                                     \
    "\"602d9444-d2cd-49c7-8624-8643e7171297\", \"EventStatus\": \"" status                         \
    "\", \"EventType\": \"" type "\", \"ResourceType\": \"VirtualMachine\", \"Resources\": [\"" vm \
    "\"], \"NotBefore\": \"" before "\"}]}"
#define AZURE_AT "Mon, 19 Sep 2016 18:29:47 GMT"

typedef enum { ACTION, REBALANCE, GCP, AZURE, KINDS } kind;

static sg_heard parse(kind k, const char *body, size_t size, sg_notice *notice) {
    switch (k) {
    case ACTION:
        return sg_parse_aws_action(body, size, notice);
    case REBALANCE:
        return sg_parse_aws_rebalance(body, size, notice);
    case GCP:
        return sg_parse_gcp(body, size, notice);
    case AZURE:
    case KINDS:
        break;
    }
    return sg_parse_azure(body, size, kVm, notice);
}

typedef struct {
    kind kind;
    const char *body;
    sg_heard heard;
    const char *what;
    int64_t when;
} answer;

/* Times as `date -u -d TIME +%s` gives them. */
static const answer notices[] = {
    {ACTION, "{\"action\": \"terminate\", \"time\": \"2017-09-18T08:22:00Z\"}", SG_HEARD_INTERRUPT,
     "terminate", 1505722920},
    {ACTION, "{\"action\":\"stop\",\"time\":\"2017-09-18T08:22:00Z\"}\n", SG_HEARD_INTERRUPT,
     "stop", 1505722920},
    {ACTION, " {\"time\":\"2024-02-29T23:59:59Z\",\"action\":\"hibernate\",\"more\":[1]}",
     SG_HEARD_INTERRUPT, "hibernate", 1709251199},
    {REBALANCE, "{\"noticeTime\": \"2020-10-27T08:22:00Z\"}", SG_HEARD_ADVICE, "rebalance",
     1603786920},
    {GCP, "TRUE", SG_HEARD_INTERRUPT, "preempt", 0},
    {GCP, "TRUE\n", SG_HEARD_INTERRUPT, "preempt", 0},
    {AZURE, AZURE("Preempt", "train-7", "Scheduled", AZURE_AT), SG_HEARD_INTERRUPT, "Preempt",
     1474309787},
    {AZURE, AZURE("Preempt", "Train-7", "Started", ""), SG_HEARD_INTERRUPT, "Preempt", 0},
    {AZURE, AZURE("Terminate", "train-7", "Scheduled", AZURE_AT), SG_HEARD_INTERRUPT, "Terminate",
     1474309787},
    {AZURE, AZURE("Reboot", "other\",\"train-7", "Scheduled", AZURE_AT), SG_HEARD_ADVICE, "Reboot",
     1474309787},
    {AZURE, AZURE("Redeploy", "train-7", "Scheduled", AZURE_AT), SG_HEARD_ADVICE, "Redeploy",
     1474309787},
};

/* No notices, and far from any in bytes. */
static const answer others[] = {
    {GCP, "FALSE", SG_HEARD_NOTHING, NULL, 0},
    {GCP, "FALSE\r\n", SG_HEARD_NOTHING, NULL, 0},
    {GCP, "NONE", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "<?xml version=\"1.0\"?><html><head><title>404 - Not Found</title></head></html>",
     SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"instance-action\": \"none\", \"time\": \"2017-09-18T08:22:00Z\"}",
     SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": {\"name\": \"terminate\"}, \"time\": 1505722920}", SG_HEARD_NONSENSE,
     NULL, 0},
    {REBALANCE, "{\"notice\": \"2020-10-27T08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, "{\"DocumentIncarnation\": 1, \"Events\": []}", SG_HEARD_NOTHING, NULL, 0},
    {AZURE, AZURE("Freeze", "train-7", "Scheduled", AZURE_AT), SG_HEARD_NOTHING, NULL, 0},
    {AZURE, AZURE("Preempt", "another-machine", "Scheduled", AZURE_AT), SG_HEARD_NOTHING, NULL, 0},
    {AZURE, "{\"error\": \"Bad request. api-version was not specified in the request\"}",
     SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, "{\"Events\": {\"EventType\": \"Preempt\"}}", SG_HEARD_NONSENSE, NULL, 0},
};

/* One step away from a notice. */
// clang-format off
static const answer misses[] = {
    {ACTION, "", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"2017-09-18T08:22:00Z\"", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"2017-09-18T08:22:00Z\"}}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "[{\"action\": \"terminate\", \"time\": \"2017-09-18T08:22:00Z\"}]", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"action\": \"stop\", \"time\": \"2017-09-18T08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"Terminate\", \"time\": \"2017-09-18T08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminated\", \"time\": \"2017-09-18T08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"none\", \"time\": \"2017-09-18T08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\\u0000\", \"time\": \"2017-09-18T08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"soon\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"2017-09-18 08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"2017-02-29T08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"2017-13-18T08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"2017-00-18T08:22:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"2017-09-18T24:00:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"2017-09-18T08:60:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {ACTION, "{\"action\": \"terminate\", \"time\": \"0000-00-00T00:00:00Z\"}", SG_HEARD_NONSENSE, NULL, 0},
    {REBALANCE, "{\"noticeTime\": null}", SG_HEARD_NONSENSE, NULL, 0},
    {REBALANCE, "{\"noticeTime\": \"2020-10-27T08:22:00\"}", SG_HEARD_NONSENSE, NULL, 0},
    {GCP, "", SG_HEARD_NONSENSE, NULL, 0},
    {GCP, "true", SG_HEARD_NONSENSE, NULL, 0},
    {GCP, "TRU", SG_HEARD_NONSENSE, NULL, 0},
    {GCP, "TRUE TRUE", SG_HEARD_NONSENSE, NULL, 0},
    {GCP, " TRUE", SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, "{}", SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, "{\"Events\": [7]}", SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, AZURE("Preempt", "train-70", "Scheduled", AZURE_AT), SG_HEARD_NOTHING, NULL, 0},
    {AZURE, AZURE("Preempt", "", "Scheduled", AZURE_AT), SG_HEARD_NOTHING, NULL, 0},
    {AZURE, AZURE("preempt", "train-7", "Scheduled", AZURE_AT), SG_HEARD_NOTHING, NULL, 0},
    {AZURE, AZURE("Preempt", "train-7", "Completed", AZURE_AT), SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, AZURE("Preempt", "train-7", "Scheduled", "soon"), SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, AZURE("Preempt", "train-7", "Scheduled", "Mon, 31 Feb 2016 18:29:47 GMT"), SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, AZURE("Preempt", "train-7", "Scheduled", "Mon, 19 Xyz 2016 18:29:47 GMT"), SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, "{\"Events\": [{\"EventId\": \"a b\", \"EventStatus\": \"Started\", \"EventType\": \"Preempt\", "
            "\"Resources\": [\"train-7\"], \"NotBefore\": \"\"}]}", SG_HEARD_NONSENSE, NULL, 0},
    {AZURE, "{\"Events\": [{\"EventId\": \"a\", \"EventStatus\": \"Started\", \"EventType\": \"Preempt\", "
            "\"Resources\": [\"train-7\"]}]}", SG_HEARD_NONSENSE, NULL, 0},
};

// clang-format on
enum {
    kNotices = sizeof notices / sizeof notices[0],
    kOthers = sizeof others / sizeof others[0],
    kMisses = sizeof misses / sizeof misses[0],
};

static void check_all(const answer *list, int n) {
    for (int i = 0; i < n; i++) {
        const answer *a = &list[i];
        sg_notice notice, blank;
        char *exact =
            malloc(strlen(a->body) + 1); /* so that a sanitizer sees what is read beyond */

        assert_non_null(exact);
        memcpy(exact, a->body, strlen(a->body));
        memset(&notice, 0xA5, sizeof notice);
        blank = notice;
        if (parse(a->kind, exact, strlen(a->body), &notice) != a->heard)
            fail_msg("means something else: %s", a->body);
        free(exact);
        if (!a->what) {
            assert_memory_equal(&notice, &blank, sizeof notice);
            continue;
        }
        assert_string_equal(notice.what, a->what);
        assert_int_equal(notice.when, a->when);
        assert_int_equal(notice.n_events, a->kind == AZURE && a->heard == SG_HEARD_INTERRUPT);
    }
}

static void test_documented(void **state) {
    (void)state;
    check_all(notices, kNotices);
    check_all(others, kOthers);
}

static void test_near_misses(void **state) {
    (void)state;
    check_all(misses, kMisses);
}

#define EVENT(id, type, vms, before)                                                               \
    "{\"EventId\":\"" id "\",\"EventStatus\":\"Scheduled\",\"EventType\":\"" type                  \
    "\",\"Resources\":[" vms "],\"NotBefore\":\"" before "\"}"

/* Several events: the worst counts, with the earliest time; only those that concern this machine
 * alone are acknowledged; one that makes no sense hides no other. */
static void test_several_events(void **state) {
    // clang-format off
    static const char kBody[] =
        "{\"Events\":["
        EVENT("r", "Reboot", "\"train-7\"", AZURE_AT) ",{\"EventType\":4},"
        EVENT("a", "Preempt", "\"train-7\"", "Tue, 20 Sep 2016 18:29:47 GMT") ","
        EVENT("b", "Preempt", "\"x\",\"train-7\"", AZURE_AT) ","
        EVENT("c", "Terminate", "\"train-7\"", AZURE_AT)
        "]}";
    static const char kAdvice[] =
        "{\"Events\":[{\"EventType\":4}," EVENT("r", "Reboot", "\"train-7\"", AZURE_AT) ",7]}";
    // clang-format on
    sg_notice notice;

    (void)state;
    assert_int_equal(parse(AZURE, kBody, strlen(kBody), &notice), SG_HEARD_INTERRUPT);
    assert_string_equal(notice.what, "Preempt");
    assert_int_equal(notice.when, 1474309787);
    assert_int_equal(notice.n_events, 2);
    assert_string_equal(notice.event[0], "a");
    assert_string_equal(notice.event[1], "c");
    assert_int_equal(parse(AZURE, kAdvice, strlen(kAdvice), &notice), SG_HEARD_ADVICE);
    assert_int_equal(notice.n_events, 0);
}

/* More events than can be acknowledged together. */
static void test_many_events(void **state) {
    char body[8192] = "{\"Events\":[";
    sg_notice notice;

    (void)state;
    for (int i = 0; i < 20; i++)
        sprintf(body + strlen(body), "%s" EVENT("id-%d", "Preempt", "\"train-7\"", ""),
                i > 0 ? "," : "", i);
    strcat(body, "]}");
    assert_int_equal(parse(AZURE, body, strlen(body), &notice), SG_HEARD_INTERRUPT);
    assert_int_equal(notice.n_events, SG_NOTICE_EVENTS);
    assert_string_equal(notice.event[SG_NOTICE_EVENTS - 1], "id-7");
}

static bool compute(const char *body, char *vm) {
    return sg_parse_azure_compute(body, strlen(body), vm);
}

static void test_azure_compute(void **state) {
    char vm[SG_VM_NAME] = "before", body[1024];

    (void)state;
    assert_true(compute("{\"azEnvironment\": \"AzurePublicCloud\", \"name\": \"train-7\"}", vm));
    assert_string_equal(vm, "train-7");
    assert_false(compute("{\"name\": \"x\"}", vm));
    assert_false(compute("{\"azEnvironment\": \"\", \"name\": \"x\"}", vm));
    assert_false(compute("{\"azEnvironment\": \"AzurePublicCloud\", \"name\": \"\"}", vm));
    assert_false(compute("{\"azEnvironment\": \"AzurePublicCloud\"}", vm));
    assert_false(compute("train-7", vm));
    for (int length = SG_VM_NAME - 1; length <= SG_VM_NAME; length++) {
        snprintf(body, sizeof body, "{\"azEnvironment\": \"A\", \"name\": \"%0*d\"}", length, 0);
        assert_int_equal(compute(body, vm), length < SG_VM_NAME);
    }
    assert_int_equal(strlen(vm), SG_VM_NAME - 1);
}

/* --- no memory -------------------------------------------------------------------------------- */

static long left = -1; /* allocations until one fails; negative: none does */

static void *scarce_malloc(size_t size) {
    if (left == 0) return NULL;
    if (left > 0) left--;
    return malloc(size);
}

static void test_no_memory(void **state) {
    (void)state;
    json_set_alloc_funcs(scarce_malloc, free);
    for (int i = 0; i < kNotices; i++) {
        const answer *a = &notices[i];
        sg_notice notice = {.when = -1};
        sg_heard heard;

        for (long n = 0;; n++) {
            left = n;
            heard = parse(a->kind, a->body, strlen(a->body), &notice);
            left = -1;
            if (heard == a->heard) break;
            assert_int_equal(heard, SG_HEARD_NONSENSE);
            assert_int_equal(notice.when, -1);
            assert_true(n < 1000);
        }
        assert_int_equal(notice.when, a->when);
    }
    json_set_alloc_funcs(malloc, free);
}

/* --- damaged at random ------------------------------------------------------------------------ */

static uint64_t seed;

static uint64_t draw(uint64_t below) { /* splitmix64 */
    uint64_t z = seed += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) % below;
}

enum { kLongest = 2048 };

typedef struct {
    char body[kLongest];
    size_t size;
} input;

static void insert(input *in, size_t at, const char *bytes, size_t n) {
    if (in->size + n > kLongest) return;
    memmove(in->body + at + n, in->body + at, in->size - at);
    memcpy(in->body + at, bytes, n);
    in->size += n;
}

static void cut(input *in, size_t at, size_t n) {
    memmove(in->body + at, in->body + at + n, in->size - at - n);
    in->size -= n;
}

/* A byte, a bit, a piece taken out, doubled or put elsewhere, the end lost, JSON's own signs. */
static void damage(input *in) {
    static const char *const signs[] = {"{",    "}",  "[",           "]",     "\"",
                                        ":",    ",",  "null",        "1e999", "\\u0000",
                                        "\xff", "\\", "\xed\xa0\x80"};
    size_t at = draw(in->size + 1), n = in->size - at > 0 ? 1 + draw(in->size - at) : 0;
    char piece[kLongest], byte = (char)draw(256);
    const char *sign = signs[draw(sizeof signs / sizeof signs[0])];

    switch (draw(8)) {
    case 0:
        if (n) in->body[at] = byte;
        break;
    case 1:
        if (n) in->body[at] = (char)(in->body[at] ^ (1 << draw(8)));
        break;
    case 2:
        insert(in, at, &byte, 1);
        break;
    case 3:
        cut(in, at, n > 8 ? 1 + draw(8) : n);
        break;
    case 4:
        cut(in, at, n);
        break;
    case 5:
        memcpy(piece, in->body + at, n);
        insert(in, draw(in->size + 1), piece, n);
        break;
    case 6:
        in->size = at;
        break;
    default:
        insert(in, at, sign, strlen(sign));
    }
}

/* How many of the parsers take it for a notice. */
static int count_alarms(const char *body, size_t size) {
    sg_notice notice;
    int alarms = 0;

    for (kind k = 0; k < KINDS; k++) {
        sg_heard heard = parse(k, body, size, &notice);

        alarms += heard == SG_HEARD_INTERRUPT || heard == SG_HEARD_ADVICE;
    }
    return alarms;
}

/* fuzz_notice looks for each alarm in the answer; from what was none, none may come. */
static void test_damaged(void **state) {
    const char *wanted = getenv("SPOTGRAD_FUZZ");
    long n = wanted ? atol(wanted) : 20000, heard = 0;

    (void)state;
    for (long i = 0; i < n; i++) {
        bool harmless = i % 2;
        const answer *a = harmless ? &others[draw(kOthers)] : &notices[draw(kNotices)];
        input in = {.size = strlen(a->body)};
        char *exact;
        int alarms;

        memcpy(in.body, a->body, in.size);
        for (uint64_t times = 1 + draw(4); times > 0; times--) damage(&in);
        exact = malloc(in.size ? in.size : 1);
        assert_non_null(exact);
        memcpy(exact, in.body, in.size);
        fuzz_notice((const uint8_t *)exact, in.size);
        alarms = count_alarms(exact, in.size);
        if (harmless && alarms > 0) fail_msg("false alarm: %.*s", (int)in.size, in.body);
        heard += alarms;
        free(exact);
    }
    printf("%ld damaged answers, %ld of which still are the notice that they were\n", n, heard);
    assert_true(n < 1000 || heard > 0); /* else fuzz_notice had nothing to look for */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documented),     cmocka_unit_test(test_near_misses),
        cmocka_unit_test(test_several_events), cmocka_unit_test(test_many_events),
        cmocka_unit_test(test_azure_compute),  cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
