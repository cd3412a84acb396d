#include "dist/roster.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

/* NULL: no memory. */
static json_t *list_members(const sg_roster *record) {
    json_t *list = json_array();

    for (int i = 0; i < record->n && list; i++) {
        const sg_peer *who = &record->member[i];
        json_t *one = json_pack("{s:s, s:s}", "id", who->id, "address", who->address);

        if (json_array_append_new(list, one) == 0) continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

sg_status sg_roster_write(const sg_roster *record, char **text) {
    json_t *members = list_members(record), *whole = NULL;
    char *json = NULL;

    if (members)
        whole = json_pack("{s:s, s:s, s:s?, s:o}", "run", record->run, "about", record->about,
                          "done", record->done, "members", members);
    if (whole) json = json_dumps(whole, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(whole);
    *text = json ? sg_strdup(json) : NULL;
    free(json);
    return *text ? SG_OK : sg_fail(SG_ERR_OOM, "group: no memory for a record");
}

static bool take_member(const json_t *from, sg_peer *to) {
    const char *id = json_string_value(json_object_get(from, "id"));
    const char *address = json_string_value(json_object_get(from, "address"));

    if (!id || !address || strlen(id) >= sizeof to->id || strlen(address) >= sizeof to->address)
        return false;
    memset(to, 0, sizeof *to);
    memcpy(to->id, id, strlen(id));
    memcpy(to->address, address, strlen(address));
    return true;
}

static bool take(const json_t *whole, sg_roster *record) {
    const json_t *members = json_object_get(whole, "members");
    const char *run = json_string_value(json_object_get(whole, "run"));
    const char *about = json_string_value(json_object_get(whole, "about"));

    if (!run || strlen(run) >= sizeof record->run || !about || !json_is_array(members) ||
        json_array_size(members) > SG_GROUP_MOST)
        return false;
    memcpy(record->run, run, strlen(run));
    record->n = (int)json_array_size(members);
    for (int i = 0; i < record->n; i++)
        if (!take_member(json_array_get(members, (size_t)i), &record->member[i])) return false;
    return true;
}

/* What is of any length. */
static bool copy_texts(const json_t *whole, sg_roster *record) {
    const char *done = json_string_value(json_object_get(whole, "done"));

    record->about = sg_strdup(json_string_value(json_object_get(whole, "about")));
    record->done = done ? sg_strdup(done) : NULL;
    return record->about && (record->done || !done);
}

sg_status sg_roster_parse(int64_t epoch, const char *text, sg_roster *record) {
    json_t *whole = json_loads(text, 0, NULL);
    bool fits, copied;

    memset(record, 0, sizeof *record);
    record->epoch = epoch;
    fits = whole && take(whole, record);
    copied = fits && copy_texts(whole, record);
    json_decref(whole);
    if (copied) return SG_OK;
    sg_roster_clear(record);
    if (fits) return sg_fail(SG_ERR_OOM, "group: no memory for a record");
    return sg_fail(SG_ERR_DATA, "the record of epoch %lld is damaged", (long long)epoch);
}

void sg_roster_clear(sg_roster *record) {
    sg_free(record->about);
    sg_free(record->done);
    memset(record, 0, sizeof *record);
}

int sg_roster_rank(const sg_roster *record, const char *id) {
    for (int i = 0; i < record->n; i++)
        if (strcmp(record->member[i].id, id) == 0) return i;
    return -1;
}
