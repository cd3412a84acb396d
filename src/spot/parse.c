#define _GNU_SOURCE /* timegm */
#include "spot/parse.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <jansson.h>

/* --- times ------------------------------------------------------------------------------------ */

/* `shape`: '0' stands for a digit, 'a' for a letter, all else for itself. */
static bool has_shape(const char *text, const char *shape) {
    if (strlen(text) != strlen(shape)) return false;
    for (; *shape; shape++, text++) {
        unsigned char c = (unsigned char)*text;
        bool fits = *shape == '0' ? isdigit(c) : *shape == 'a' ? isalpha(c) : *text == *shape;

        if (!fits) return false;
    }
    return true;
}

static int digits(const char *text, int n) {
    int value = 0;

    while (n-- > 0) value = 10 * value + (*text++ - '0');
    return value;
}

/* 0 .. 11; -1: none */
static int month_of(const char *text) {
    static const char kMonths[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    for (int month = 0; month < 12; month++)
        if (strncmp(text, kMonths + 3 * month, 3) == 0) return month;
    return -1;
}

/* "2017-09-18T08:22:00Z" (AWS) or "Mon, 19 Sep 2016 18:29:47 GMT" (Azure). How far that is from
 * this machine's clock is not judged: the clock may be what is wrong. */
static bool parse_time(const char *text, int64_t *when) {
    struct tm tm = {0}, back;
    time_t t;

    if (has_shape(text, "0000-00-00T00:00:00Z")) {
        tm.tm_year = digits(text, 4) - 1900;
        tm.tm_mon = digits(text + 5, 2) - 1;
        tm.tm_mday = digits(text + 8, 2);
        text += 11;
    } else if (has_shape(text, "aaa, 00 aaa 0000 00:00:00 GMT")) {
        tm.tm_year = digits(text + 12, 4) - 1900;
        tm.tm_mon = month_of(text + 8);
        tm.tm_mday = digits(text + 5, 2);
        text += 17;
    } else {
        return false;
    }
    tm.tm_hour = digits(text, 2);
    tm.tm_min = digits(text + 3, 2);
    tm.tm_sec = digits(text + 6, 2);
    back = tm;
    t = timegm(&back); /* makes February 31 a day in March */
    if (t <= 0 || back.tm_mon != tm.tm_mon || back.tm_mday != tm.tm_mday ||
        back.tm_hour != tm.tm_hour || back.tm_min != tm.tm_min || back.tm_sec != tm.tm_sec)
        return false;
    *when = t;
    return true;
}

/* --- JSON ------------------------------------------------------------------------------------- */

/* NULL: no whole JSON object. The caller's (json_decref). */
static json_t *object_of(const char *body, size_t size) {
    json_t *root = json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL);

    if (json_is_object(root)) return root;
    json_decref(root);
    return NULL;
}

/* NULL when there is no such text. */
static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

static bool time_of(const json_t *object, const char *key, int64_t *when) {
    const char *text = text_of(object, key);

    return text && parse_time(text, when);
}

/* The one of `names` (ends with NULL) that `text` is; NULL: none. */
static const char *one_of(const char *const *names, const char *text) {
    for (; text && *names; names++)
        if (strcmp(*names, text) == 0) return *names;
    return NULL;
}

/* --- AWS -------------------------------------------------------------------------------------- */

sg_heard sg_parse_aws_action(const char *body, size_t size, sg_notice *notice) {
    static const char *const actions[] = {"terminate", "stop", "hibernate", NULL};
    json_t *root = object_of(body, size);
    const char *action = one_of(actions, text_of(root, "action"));
    sg_notice found = {.what = action};
    bool is_notice = action && time_of(root, "time", &found.when);

    json_decref(root);
    if (!is_notice) return SG_HEARD_NONSENSE;
    *notice = found;
    return SG_HEARD_INTERRUPT;
}

sg_heard sg_parse_aws_rebalance(const char *body, size_t size, sg_notice *notice) {
    json_t *root = object_of(body, size);
    sg_notice found = {.what = "rebalance"};
    bool is_notice = time_of(root, "noticeTime", &found.when);

    json_decref(root);
    if (!is_notice) return SG_HEARD_NONSENSE;
    *notice = found;
    return SG_HEARD_ADVICE;
}

/* --- GCP -------------------------------------------------------------------------------------- */

sg_heard sg_parse_gcp(const char *body, size_t size, sg_notice *notice) {
    while (size > 0 && (body[size - 1] == '\n' || body[size - 1] == '\r')) size--;
    if (size == 5 && memcmp(body, "FALSE", 5) == 0) return SG_HEARD_NOTHING;
    if (size != 4 || memcmp(body, "TRUE", 4) != 0) return SG_HEARD_NONSENSE;
    *notice = (sg_notice){.what = "preempt"};
    return SG_HEARD_INTERRUPT;
}

/* --- Azure ------------------------------------------------------------------------------------ */

/* Whether the event names this machine; *alone: no other. Case makes no difference to Azure. */
static bool concerns(const json_t *event, const char *vm, bool *alone) {
    const json_t *resources = json_object_get(event, "Resources"), *resource;
    size_t i;

    *alone = json_array_size(resources) == 1;
    json_array_foreach(resources, i, resource) {
        const char *name = json_string_value(resource);

        if (name && strcasecmp(name, vm) == 0) return true;
    }
    return false;
}

/* Letters, digits and '-', as in a GUID: it is sent back within JSON. */
static bool is_event_id(const char *text) {
    size_t length = text ? strlen(text) : 0;

    if (length == 0 || length >= SG_NOTICE_ID) return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && *text != '-') return false;
    return true;
}

/* Empty once the event has started. */
static bool not_before(const json_t *event, int64_t *when) {
    const char *text = text_of(event, "NotBefore");

    *when = 0;
    return text && (*text == '\0' || parse_time(text, when));
}

/* One event: what it means alone. Its id is kept where it may be acknowledged. */
static sg_heard parse_event(const json_t *event, const char *vm, sg_notice *found) {
    static const char *const stops[] = {"Preempt", "Terminate", NULL};
    static const char *const risks[] = {"Reboot", "Redeploy", NULL};
    static const char *const statuses[] = {"Scheduled", "Started", NULL};
    const char *type = text_of(event, "EventType"), *id = text_of(event, "EventId");
    const char *stop = one_of(stops, type), *risk = one_of(risks, type);
    bool alone;

    *found = (sg_notice){.what = stop ? stop : risk};
    if (!type) return SG_HEARD_NONSENSE;
    if (!found->what || !concerns(event, vm, &alone)) return SG_HEARD_NOTHING;
    if (!one_of(statuses, text_of(event, "EventStatus")) || !is_event_id(id) ||
        !not_before(event, &found->when))
        return SG_HEARD_NONSENSE;
    if (!stop) return SG_HEARD_ADVICE;
    if (alone) memcpy(found->event[found->n_events++], id, strlen(id) + 1);
    return SG_HEARD_INTERRUPT;
}

/* Into `all`, what an event of the same meaning adds: the earlier time, and its id. */
static void join_event(sg_notice *all, const sg_notice *one) {
    if (one->when < all->when) all->when = one->when;
    for (int i = 0; i < one->n_events && all->n_events < SG_NOTICE_EVENTS; i++)
        memcpy(all->event[all->n_events++], one->event[i], SG_NOTICE_ID);
}

sg_heard sg_parse_azure(const char *body, size_t size, const char *vm, sg_notice *notice) {
    json_t *root = object_of(body, size), *events = json_object_get(root, "Events"), *event;
    sg_heard all = json_is_array(events) ? SG_HEARD_NOTHING : SG_HEARD_NONSENSE;
    sg_notice found = {0}, one;
    size_t i;

    json_array_foreach(events, i, event) {
        sg_heard heard = parse_event(event, vm, &one);
        bool is_notice = heard == SG_HEARD_INTERRUPT || heard == SG_HEARD_ADVICE;

        if (is_notice && heard == all) {
            join_event(&found, &one);
        } else if (heard == SG_HEARD_INTERRUPT ||
                   (all != SG_HEARD_INTERRUPT && heard == SG_HEARD_ADVICE)) {
            all = heard;
            found = one;
        } else if (all == SG_HEARD_NOTHING) {
            all = heard; /* an event that makes no sense hides no other */
        }
    }
    json_decref(root);
    if (all == SG_HEARD_INTERRUPT || all == SG_HEARD_ADVICE) *notice = found;
    return all;
}

bool sg_parse_azure_compute(const char *body, size_t size, char *vm) {
    json_t *root = object_of(body, size);
    const char *cloud = text_of(root, "azEnvironment"), *name = text_of(root, "name");
    bool is_azure = cloud && *cloud && name && *name && strlen(name) < SG_VM_NAME;

    if (is_azure) memcpy(vm, name, strlen(name) + 1);
    json_decref(root);
    return is_azure;
}
