/* JSON Lines: one object a line, through jansson. Strings without their escapes are never longer
 * than they were with them, so text and label find room in the line's own bytes. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "data/text_source.h"

enum { kShownBytes = 200, kNumberBytes = 24 };

typedef struct {
    const sg_text_place *place;
    const sg_fault_sink *sink;
    sg_text_part *part;
} reader;

/* The names of what the object has: "`id`, `tweet`". */
static void list_keys(json_t *object, char text[kShownBytes]) {
    const char *key;
    json_t *value;
    size_t used = 0;

    snprintf(text, kShownBytes, "nothing");
    json_object_foreach(object, key, value) {
        if (used < kShownBytes)
            used += (size_t)snprintf(text + used, kShownBytes - used, "%s`%.60s`", used ? ", " : "",
                                     key);
    }
}

static sg_status refuse_field(const reader *r, json_t *object, int line, const char *name,
                              const char *wanted, const char *key) {
    char keys[kShownBytes];

    if (json_object_get(object, name))
        return sg_fault(r->sink, r->part->path, line, "`%.100s` is no %s", name, wanted);
    list_keys(object, keys);
    return sg_fault(r->sink, r->part->path, line,
                    "no `%.100s`; there is: %s; name the right field with %s", name, keys, key);
}

/* A string as it is, a whole number in digits; NULL: neither. */
static const char *label_of(const json_t *value, char number[kNumberBytes]) {
    if (json_is_string(value)) return json_string_value(value);
    if (!json_is_integer(value)) return NULL;
    snprintf(number, kNumberBytes, "%lld", (long long)json_integer_value(value));
    return number;
}

static sg_status take_object(const reader *r, json_t *object, int line, char *bytes, size_t size) {
    const sg_text_place *place = r->place;
    const json_t *text = json_object_get(object, place->text_column);
    const json_t *value = place->texts_only ? NULL : json_object_get(object, place->label_column);
    sg_text_row row = {.text = bytes, .line = line, .id = -1};
    char number[kNumberBytes];
    const char *label = label_of(value, number);
    size_t label_bytes = label ? strlen(label) : 0;

    if (!json_is_object(object))
        return sg_fault(r->sink, r->part->path, line, "no JSON object, which `{` begins");
    if (!json_is_string(text))
        return refuse_field(r, object, line, place->text_column, "text", "data.text");
    if (!label && (value ? !json_is_null(value) : !place->texts_only))
        return refuse_field(r, object, line, place->label_column, "text or whole number",
                            "data.label");
    row.length = (int64_t)json_string_length(text);
    assert((size_t)row.length + label_bytes + 2 <= size);
    (void)size;
    memcpy(bytes, json_string_value(text), (size_t)row.length + 1);
    if (label_bytes > 0) row.label = memcpy(bytes + row.length + 1, label, label_bytes + 1);
    return sg_text_part_add(r->part, &row);
}

static sg_status take_line(const reader *r, int line, char *bytes, size_t length) {
    json_error_t error;
    json_t *object;
    sg_status st;
    bool good;

    SG_TRY(sg_text_check_span(r->part->path, line, bytes, length, r->sink, &good));
    if (!good) return SG_OK;
    object = json_loadb(bytes, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (object)
        st = take_object(r, object, line, bytes, length);
    else if (json_error_code(&error) == json_error_out_of_memory)
        st = sg_fail(SG_ERR_OOM, "%s: no memory to read it", r->part->path);
    else
        st = sg_fault(r->sink, r->part->path, line, "no valid JSON at column %d: %s", error.column,
                      error.text);
    json_decref(object);
    return st;
}

sg_status sg_text_parse_jsonl(const sg_text_place *place, size_t size, const sg_fault_sink *sink,
                              sg_text_part *part) {
    const reader r = {place, sink, part};
    char *at = part->block + sg_text_mark(part->block, size), *end = part->block + size;

    for (int line = 1; at < end; line++) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        bool blank = true;

        if (!stop) stop = end;
        for (const char *c = at; c < stop && blank; c++) blank = strchr(" \t\r", *c) && *c;
        if (!blank) SG_TRY(take_line(&r, line, at, (size_t)(stop - at)));
        at = stop + 1;
    }
    return SG_OK;
}
