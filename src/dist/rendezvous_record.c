/* What is written into a place, and is the same in all of them. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "core/philox.h"
#include "dist/rendezvous_kind.h"

enum { kHeader = 96, kWord = 16, kFirstEntries = 8 };

static uint32_t checksum(const char *header, const char *text, size_t bytes) {
    return sg_crc32c(sg_crc32c(0, header, strlen(header)), text, bytes);
}

/* The header without its checksum. */
static void head(char header[kHeader], const char *word, int64_t number, const char *name,
                 size_t bytes) {
    snprintf(header, kHeader, "%s %lld %s %zu ", word, (long long)number, name, bytes);
}

char *sg_record_write(const char *word, int64_t number, const char *name, const char *text) {
    size_t bytes = strlen(text);
    char header[kHeader];

    head(header, word, number, name, bytes);
    return sg_str_printf("%s%08" PRIx32 "\n%s", header, checksum(header, text, bytes), text);
}

/* The line is written once more from what was read in it, and compared: so no two lines mean the
 * same, and nothing has to be said about blanks, signs and leading zeros. */
bool sg_record_read(const char *word, const char *data, size_t size, sg_record *record) {
    const char *end = memchr(data, '\n', size), *text = end ? end + 1 : NULL;
    char header[kHeader], line[kHeader + 16], found[kWord];
    long long number;
    size_t bytes;

    if (!text || text - data >= kHeader) return false;
    if (sscanf(data, "%15s %18lld %16s %7zu", found, &number, record->name, &bytes) != 4 ||
        bytes != (size_t)(data + size - text) || bytes >= SG_RENDEZVOUS_TEXT ||
        strlen(text) != bytes)
        return false;
    head(header, word, number, record->name, bytes);
    snprintf(line, sizeof line, "%s%08" PRIx32 "\n", header, checksum(header, text, bytes));
    if (strlen(line) != (size_t)(text - data) || memcmp(line, data, strlen(line)) != 0)
        return false;
    record->number = number;
    record->text = text;
    return true;
}

sg_status sg_member_id_draw(char id[SG_MEMBER_ID_BYTES]) {
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return sg_fail(SG_ERR_IO, "the system has no random numbers");
    snprintf(id, SG_MEMBER_ID_BYTES, "%016" PRIx64, number);
    return SG_OK;
}

bool sg_is_member_id(const char *id) {
    return strlen(id) == SG_MEMBER_ID_BYTES - 1 &&
           strspn(id, "0123456789abcdef") == SG_MEMBER_ID_BYTES - 1;
}

uint64_t sg_member_sum(const char *id) { return sg_key_mix(1, strtoull(id, NULL, 16)); }

sg_status sg_meeting_keep(sg_meeting *place, const char *id, const char *text) {
    char *copy = text == place->text ? place->text : sg_strdup(text);

    if (!copy) return sg_fail(SG_ERR_OOM, "%s: no memory for what is announced", place->url);
    if (copy != place->text) sg_free(place->text);
    place->text = copy;
    if (id != place->id) memcpy(place->id, id, SG_MEMBER_ID_BYTES);
    return SG_OK;
}

void sg_meeting_forget(sg_meeting *place) {
    sg_free(place->text);
    place->text = NULL;
    place->id[0] = '\0';
}

sg_status sg_meeting_append(sg_announced **list, int *n, int *capacity,
                            const sg_announced *member) {
    char *copy = sg_strdup(member->text);

    if (copy && *n == *capacity) {
        int wanted = *capacity ? 2 * *capacity : kFirstEntries;
        sg_announced *more =
            sg_realloc(*list, (size_t)*n * sizeof **list, (size_t)wanted * sizeof **list);

        if (more) {
            *list = more;
            *capacity = wanted;
        }
    }
    if (!copy || *n == *capacity) {
        sg_free(copy);
        return sg_fail(SG_ERR_OOM, "no memory for a list of members");
    }
    (*list)[*n] = *member;
    (*list)[*n].text = copy;
    ++*n;
    return SG_OK;
}

void sg_announced_free(sg_announced *list, int n) {
    for (int i = 0; i < n; i++) sg_free(list[i].text);
    sg_free(list);
}
