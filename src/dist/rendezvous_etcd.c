/* etcd as a rendezvous, through its JSON gateway.
 *
 *   PREFIX/epochs/000000000000000012   a record, put by a transaction that is refused where there
 *                                      is this one or a later one; it removes old ones as well
 *   PREFIX/members/0123456789abcdef    a record, for as long as its lease lives, which each sign of
 *                                      life renews
 *
 * A transaction may have taken place though its answer was lost; asked again, it is refused, and
 * whose record is there tells whether it was ours. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "dist/etcd.h"
#include "dist/rendezvous_kind.h"

enum {
    kKey = SG_ETCD_PREFIX + 64,
    kDigits = 18, /* of an epoch in its key */
    kName = kDigits + 8,
    kLeaseText = 24,
};

static const double kLease = 10.0, kHeard = 2.0; /* seconds */
static const int kPollMs = 500;                  /* beside the watch */

typedef struct {
    sg_meeting base;
    sg_etcd etcd;
    sg_etcd_watch *watch;
    char lease[kLeaseText]; /* a number; "": none */
    int64_t damaged;        /* the last epoch that was told to be */
} etcd_place;

/* --- keys ------------------------------------------------------------------------------------- */

/* In base 64, as etcd wants keys in JSON. */
typedef struct {
    char text[SG_BASE64_BYTES(kKey)];
} key64;

static key64 key_of(const etcd_place *p, const char *folder, const char *name) {
    char key[kKey];
    key64 out;

    snprintf(key, sizeof key, "%s%s%s", p->etcd.prefix, folder, name);
    sg_base64_encode(key, strlen(key), out.text);
    return out;
}

static key64 epoch_key(const etcd_place *p, int64_t epoch) {
    char name[kName];

    snprintf(name, sizeof name, "%0*lld", kDigits, (long long)epoch);
    return key_of(p, "/epochs/", name);
}

static key64 epochs_end(const etcd_place *p) { return epoch_key(p, SG_EPOCH_MOST + 1); }

/* The key's last part, in `name`; false: it is not in this folder, or too long. */
static bool name_in(const etcd_place *p, const json_t *entry, const char *folder,
                    char name[kName]) {
    const char *text = json_string_value(json_object_get(entry, "key"));
    char before[kKey], key[SG_BASE64_BYTES(kKey)];
    size_t size = 0, length;

    if (!text || strlen(text) >= sizeof key || !sg_base64_decode(text, key, &size)) return false;
    snprintf(before, sizeof before, "%s%s", p->etcd.prefix, folder);
    length = strlen(before);
    if (strlen(key) != size || strncmp(key, before, length) != 0 || size - length >= kName)
        return false;
    snprintf(name, kName, "%s", key + length);
    return true;
}

/* 0: none */
static int64_t epoch_in(const etcd_place *p, const json_t *entry) {
    char name[kName], again[kName];
    long long epoch;

    if (!name_in(p, entry, "/epochs/", name)) return 0;
    epoch = strtoll(name, NULL, 10);
    snprintf(again, sizeof again, "%0*lld", kDigits, epoch);
    return epoch > 0 && epoch <= SG_EPOCH_MOST && strcmp(name, again) == 0 ? epoch : 0;
}

static bool member_in(const etcd_place *p, const json_t *entry, char id[kName]) {
    return name_in(p, entry, "/members/", id) && sg_is_member_id(id);
}

static sg_status no_memory(const etcd_place *p) {
    return sg_fail(SG_ERR_OOM, "%s: no memory to ask it", p->base.url);
}

/* What an entry holds; *data is the caller's (sg_free), the record points into it, unless *whole is
 * false: then it is none. */
static sg_status record_in(const etcd_place *p, const json_t *entry, const char *word, char **data,
                           sg_record *record, bool *whole) {
    const char *text = json_string_value(json_object_get(entry, "value"));
    size_t size = 0;

    *data = sg_malloc(text ? strlen(text) + 1 : 1);
    if (!*data) return no_memory(p);
    *whole =
        text && sg_base64_decode(text, *data, &size) && sg_record_read(word, *data, size, record);
    return SG_OK;
}

/* A record in base 64; the caller's. NULL: no memory. */
static char *value_of(const char *word, int64_t number, const char *name, const char *text) {
    char *record = sg_record_write(word, number, name, text);
    char *value = record ? sg_malloc(SG_BASE64_BYTES(strlen(record))) : NULL;

    if (value) sg_base64_encode(record, strlen(record), value);
    sg_free(record);
    return value;
}

/* --- epochs ----------------------------------------------------------------------------------- */

static json_t *proposal(const etcd_place *p, int64_t epoch, const char *value) {
    key64 key = epoch_key(p, epoch), first = epoch_key(p, 0), end = epochs_end(p);
    key64 kept = epoch_key(p, epoch > SG_EPOCHS_KEPT ? epoch - SG_EPOCHS_KEPT + 1 : 1);

    return json_pack("{s:[{s:s,s:s,s:s,s:s}],s:[{s:{s:s,s:s}},{s:{s:s,s:s}}],s:[{s:{s:s}}]}",
                     "compare", "target", "CREATE", "key", key.text, "range_end", end.text,
                     "create_revision", "0", "success", "request_put", "key", key.text, "value",
                     value, "request_delete_range", "key", first.text, "range_end", kept.text,
                     "failure", "request_range", "key", key.text);
}

/* Of a refused proposal's answer: whether the record that is there is ours. */
static sg_status is_mine(const etcd_place *p, const json_t *answer, int64_t epoch, const char *text,
                         bool *is) {
    const json_t *response = json_array_get(json_object_get(answer, "responses"), 0);
    const json_t *range = json_object_get(response, "response_range");
    const json_t *entry = json_array_get(json_object_get(range, "kvs"), 0);
    sg_record record;
    char *data;
    bool whole;

    SG_TRY(record_in(p, entry, "epoch", &data, &record, &whole));
    *is = whole && record.number == epoch && strcmp(record.name, p->base.nonce) == 0 &&
          strcmp(record.text, text) == 0;
    sg_free(data);
    return SG_OK;
}

static sg_status etcd_propose(sg_meeting *place, int64_t epoch, const char *text, double deadline,
                              bool *won) {
    etcd_place *p = (etcd_place *)place;
    char *value = value_of("epoch", epoch, place->nonce, text);
    json_t *answer;
    sg_status st;

    if (!value) return no_memory(p);
    st = sg_etcd_ask(&p->etcd, "/v3/kv/txn", proposal(p, epoch, value), deadline, &answer);
    sg_free(value);
    if (st != SG_OK) return st;
    *won = json_is_true(json_object_get(answer, "succeeded"));
    if (!*won) st = is_mine(p, answer, epoch, text, won);
    json_decref(answer);
    return st;
}

/* A damaged record counts as one that names nobody, as in rendezvous_file.c. */
static sg_status text_in(etcd_place *p, const json_t *entry, int64_t epoch, char **text) {
    sg_record record;
    char *data;
    bool whole;

    SG_TRY(record_in(p, entry, "epoch", &data, &record, &whole));
    whole = whole && record.number == epoch;
    if (!whole && p->damaged != epoch) {
        sg_log(SG_LOG_WARN,
               "%s: the record of epoch %lld is damaged: taken as one that names nobody",
               p->base.url, (long long)epoch);
        p->damaged = epoch;
    }
    *text = sg_strdup(whole ? record.text : "");
    sg_free(data);
    return *text ? SG_OK : no_memory(p);
}

static sg_status etcd_newest(sg_meeting *place, double deadline, int64_t *epoch, char **text) {
    etcd_place *p = (etcd_place *)place;
    key64 first = epoch_key(p, 0), end = epochs_end(p);
    json_t *request = json_pack("{s:s,s:s,s:i,s:s,s:s}", "key", first.text, "range_end", end.text,
                                "limit", 1, "sort_order", "DESCEND", "sort_target", "KEY");
    const json_t *entry;
    json_t *answer;
    sg_status st = SG_OK;

    SG_TRY(sg_etcd_ask(&p->etcd, "/v3/kv/range", request, deadline, &answer));
    entry = json_array_get(json_object_get(answer, "kvs"), 0);
    *epoch = epoch_in(p, entry);
    *text = NULL;
    if (*epoch > 0) st = text_in(p, entry, *epoch, text);
    json_decref(answer);
    return st;
}

/* --- members ---------------------------------------------------------------------------------- */

static sg_status grant(etcd_place *p, double deadline) {
    json_t *answer;
    const char *id;

    if (p->lease[0]) return SG_OK;
    SG_TRY(sg_etcd_ask(&p->etcd, "/v3/lease/grant",
                       json_pack("{s:i}", "TTL", (int)ceil(p->base.forget)), deadline, &answer));
    id = json_string_value(json_object_get(answer, "ID"));
    if (id && strlen(id) < kLeaseText) snprintf(p->lease, sizeof p->lease, "%s", id);
    json_decref(answer);
    if (p->lease[0]) return SG_OK;
    return sg_fail(SG_ERR_UNAVAILABLE, "%s: grants a lease without a number", p->base.url);
}

static sg_status put_member(etcd_place *p, double deadline) {
    char *value = value_of("member", 0, p->base.id, p->base.text);
    key64 key = key_of(p, "/members/", p->base.id);
    json_t *answer;
    sg_status st;

    if (!value) return no_memory(p);
    st = sg_etcd_ask(&p->etcd, "/v3/kv/put",
                     json_pack("{s:s,s:s,s:s}", "key", key.text, "value", value, "lease", p->lease),
                     deadline, &answer);
    sg_free(value);
    if (st == SG_OK) json_decref(answer);
    return st;
}

static sg_status etcd_announce(sg_meeting *place, const char *id, const char *text,
                               double deadline) {
    etcd_place *p = (etcd_place *)place;
    sg_status st;

    if (place->text && strcmp(id, place->id) != 0)
        return sg_fail(SG_ERR_ARG, "%s: %s is announced already", place->url, place->id);
    SG_TRY(sg_meeting_keep(place, id, text));
    SG_TRY(grant(p, deadline));
    st = put_member(p, deadline);
    if (st == SG_ERR_MISSING) { /* the lease has ended meanwhile */
        p->lease[0] = '\0';
        SG_TRY(grant(p, deadline));
        st = put_member(p, deadline);
    }
    return st;
}

/* Seconds, as etcd tells them: whole, as text, left out where 0; below 0: there is no such lease.
 */
static double seconds_in(const json_t *lease, const char *what) {
    const char *text = json_string_value(json_object_get(lease, what));

    return text ? strtod(text, NULL) : 0.0;
}

static sg_status etcd_beat(sg_meeting *place, double deadline) {
    etcd_place *p = (etcd_place *)place;
    json_t *answer;
    bool lives;

    if (!p->lease[0]) return etcd_announce(place, place->id, place->text, deadline);
    SG_TRY(sg_etcd_ask(&p->etcd, "/v3/lease/keepalive", json_pack("{s:s}", "ID", p->lease),
                       deadline, &answer));
    lives = seconds_in(json_object_get(answer, "result"), "TTL") > 0.0;
    json_decref(answer);
    if (lives) return SG_OK;
    p->lease[0] = '\0';
    return etcd_announce(place, place->id, place->text, deadline);
}

static sg_status etcd_withdraw(sg_meeting *place, double deadline) {
    etcd_place *p = (etcd_place *)place;
    json_t *answer = NULL;

    if (p->lease[0]) {
        sg_status st = sg_etcd_ask(&p->etcd, "/v3/lease/revoke", json_pack("{s:s}", "ID", p->lease),
                                   deadline, &answer);

        json_decref(answer);
        if (st != SG_OK && st != SG_ERR_MISSING) return st;
        p->lease[0] = '\0';
    }
    sg_meeting_forget(place);
    return SG_OK;
}

/* How long the entry has been silent, to a second, by what is left of its lease. Below 0: it has
 * ended. */
static sg_status silence_of(etcd_place *p, const json_t *entry, double deadline, double *silent) {
    const char *lease = json_string_value(json_object_get(entry, "lease"));
    double granted, left;
    json_t *answer;
    sg_status st;

    *silent = -1.0;
    if (!lease) return SG_OK;
    st = sg_etcd_ask(&p->etcd, "/v3/lease/timetolive", json_pack("{s:s}", "ID", lease), deadline,
                     &answer);
    if (st != SG_OK) return st == SG_ERR_MISSING ? SG_OK : st;
    granted = seconds_in(answer, "grantedTTL");
    left = seconds_in(answer, "TTL");
    json_decref(answer);
    /* 8.9 s are told as 8, so one second less is sure */
    if (left >= 0.0) *silent = fmax(granted - left - 1.0, 0.0);
    return SG_OK;
}

typedef struct {
    sg_announced *list;
    int n, capacity;
} member_list;

static sg_status add_member(etcd_place *p, const json_t *entry, const char *id, double deadline,
                            member_list *members) {
    sg_announced member = {0};
    sg_record record;
    char *data;
    sg_status st;
    bool whole;

    SG_TRY(silence_of(p, entry, deadline, &member.silent));
    SG_TRY(record_in(p, entry, "member", &data, &record, &whole));
    st = SG_OK;
    if (!whole || strcmp(record.name, id) != 0) {
        sg_log(SG_LOG_WARN, "%s: member %s is left out: damaged", p->base.url, id);
    } else if (member.silent >= 0.0) {
        member.text = (char *)(uintptr_t)record.text; /* is copied */
        member.heard = member.silent < kHeard || strcmp(id, p->base.id) == 0;
        memcpy(member.id, id, sizeof member.id);
        st = sg_meeting_append(&members->list, &members->n, &members->capacity, &member);
    }
    sg_free(data);
    return st;
}

static sg_status range(etcd_place *p, const char *folder, bool keys_only, double deadline,
                       json_t **answer) {
    key64 first = key_of(p, folder, "/"), end = key_of(p, folder, "0"); /* '0' follows '/' */

    return sg_etcd_ask(&p->etcd, "/v3/kv/range",
                       json_pack("{s:s,s:s,s:b}", "key", first.text, "range_end", end.text,
                                 "keys_only", (int)keys_only),
                       deadline, answer);
}

/* etcd gives keys in their order. */
static sg_status etcd_members(sg_meeting *place, double deadline, sg_announced **list, int *n,
                              sg_view *view) {
    etcd_place *p = (etcd_place *)place;
    member_list members = {0};
    sg_view found = {0};
    char id[kName];
    sg_status st = SG_OK;
    const json_t *entry;
    json_t *answer;
    size_t i;

    SG_TRY(range(p, "/members", false, deadline, &answer));
    json_array_foreach(json_object_get(answer, "kvs"), i, entry) {
        if (!member_in(p, entry, id)) continue;
        found.members += sg_member_sum(id);
        st = add_member(p, entry, id, deadline, &members);
        if (st != SG_OK) break;
    }
    json_decref(answer);
    if (st != SG_OK) {
        sg_announced_free(members.list, members.n);
        return st;
    }
    *list = members.list;
    *n = members.n;
    *view = found;
    return SG_OK;
}

static sg_status etcd_look(sg_meeting *place, double deadline, sg_view *view) {
    etcd_place *p = (etcd_place *)place;
    char id[kName];
    const json_t *entry;
    json_t *answer;
    size_t i;

    *view = (sg_view){0};
    SG_TRY(range(p, "", true, deadline, &answer));
    json_array_foreach(json_object_get(answer, "kvs"), i, entry) {
        int64_t epoch = epoch_in(p, entry);

        if (epoch > view->epoch) view->epoch = epoch;
        if (member_in(p, entry, id)) view->members += sg_member_sum(id);
    }
    json_decref(answer);
    return SG_OK;
}

/* --- opening ---------------------------------------------------------------------------------- */

static void etcd_destroy(sg_meeting *place) {
    etcd_place *p = (etcd_place *)place;

    sg_etcd_watch_destroy(p->watch);
    sg_etcd_clear(&p->etcd);
    sg_free(p);
}

static const sg_meeting_kind kEtcd = {
    .announce = etcd_announce,
    .beat = etcd_beat,
    .withdraw = etcd_withdraw,
    .members = etcd_members,
    .propose = etcd_propose,
    .newest = etcd_newest,
    .look = etcd_look,
    .destroy = etcd_destroy,
};

sg_status sg_meeting_open_etcd(const char *url, double deadline, sg_meeting **out) {
    etcd_place *p = sg_calloc(1, sizeof *p);
    sg_view view;
    sg_status st;

    if (!p) return sg_fail(SG_ERR_OOM, "%s: no memory to meet there", url);
    p->base =
        (sg_meeting){.kind = &kEtcd, .url = url, .forget = kLease, .hint = -1, .poll_ms = kPollMs};
    st = sg_member_id_draw(p->base.nonce);
    if (st == SG_OK) st = sg_etcd_init(&p->etcd, url);
    if (st == SG_OK) st = etcd_look(&p->base, deadline, &view);
    if (st == SG_OK) st = sg_etcd_watch_create(&p->etcd, &p->watch);
    if (st != SG_OK) {
        etcd_destroy(&p->base);
        return st;
    }
    p->base.hint = sg_etcd_watch_hint(p->watch);
    *out = &p->base;
    return SG_OK;
}
