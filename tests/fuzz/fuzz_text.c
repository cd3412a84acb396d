/* Data sets of texts: TweetEval's lines, labels and mappings, CSV, JSON lines. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "core/mem.h"
#include "core/utf8.h"
#include "data/text_source.h"

static const sg_text_place labelled = {.text_column = "text", .label_column = "label"};
static const sg_text_place texts_only = {.text_column = "text", .texts_only = true};

typedef sg_status (*parser)(const sg_text_place *place, size_t size, const sg_fault_sink *sink,
                            sg_text_part *part);

/* The code and a line of text that begins with the part's path or its labels'. */
static void check_failure(sg_status st, const sg_text_part *part) {
    const char *text = sg_last_error();

    FUZZ_CHECK(st == SG_ERR_DATA);
    FUZZ_CHECK(fuzz_is_line(text));
    FUZZ_CHECK(
        strncmp(text, part->path, strlen(part->path)) == 0 ||
        (part->label_path && strncmp(text, part->label_path, strlen(part->label_path)) == 0));
}

static sg_status parse(parser p, const sg_text_place *place, const char *path, const void *data,
                       size_t size, const sg_fault_sink *sink, sg_text_part *out) {
    sg_status st;

    *out = (sg_text_part){.path = sg_strdup(path), .block = fuzz_text(data, size)};
    (void)sg_fail(SG_ERR_ARG, "%s", "");
    st = p(place, size, sink, out);
    if (st == SG_OK) return SG_OK;
    check_failure(st, out);
    sg_text_part_clear(out);
    return st;
}

static void check_rows(const sg_text_part *part) {
    for (int64_t i = 0; i < part->n; i++) {
        const sg_text_row *row = &part->rows[i];

        FUZZ_CHECK(row->text && row->id == -1);
        FUZZ_CHECK(strlen(row->text) == (size_t)row->length);
        FUZZ_CHECK(sg_utf8_check(row->text, (size_t)row->length) == (size_t)row->length);
        FUZZ_CHECK(row->line > (i ? part->rows[i - 1].line : 0));
        if (!row->label) continue;
        FUZZ_CHECK(*row->label);
        FUZZ_CHECK(sg_utf8_check(row->label, strlen(row->label)) == strlen(row->label));
    }
}

static void check_same(const sg_text_part *a, const sg_text_part *b) {
    FUZZ_CHECK(a->n == b->n);
    for (int64_t i = 0; i < a->n; i++) {
        const sg_text_row *p = &a->rows[i], *q = &b->rows[i];

        FUZZ_CHECK(strcmp(p->text, q->text) == 0 && !p->label == !q->label);
        FUZZ_CHECK(!p->label || strcmp(p->label, q->label) == 0);
    }
}

/* Classes of the rows, found again by every row that stays. */
static void check_classes(sg_text_part *part) {
    sg_fault_sink lenient;
    sg_classes classes;
    int64_t faults, n = part->n;

    if (sg_text_part_classes(part, &classes) != SG_OK) return; /* too many, no mapping */
    lenient = fuzz_sink(&faults);
    FUZZ_CHECK(sg_text_part_resolve(part, &classes, true, &lenient) == SG_OK);
    FUZZ_CHECK(part->n + faults == n);
    for (int64_t i = 0; i < part->n; i++) {
        const sg_text_row *row = &part->rows[i];

        FUZZ_CHECK(row->id < classes.n && (row->id < 0) == !row->label);
        FUZZ_CHECK(!row->label || part->numbered || strcmp(classes.name[row->id], row->label) == 0);
    }
    fuzz_classes(&classes);
}

/* --- the same rows, written anew -------------------------------------------------------------- */

static void put(char **at, const char *bytes, size_t n) {
    if (n > 0) memcpy(*at, bytes, n);
    *at += n;
}

static void put_quoted(char **at, const char *text) {
    put(at, "\"", 1);
    for (; *text; text++) put(at, *text == '"' ? "\"\"" : text, *text == '"' ? 2 : 1);
    put(at, "\"", 1);
}

/* Room for all rows, and `more` bytes in each, where a byte becomes at most `times` as many. */
static char *room_for(const sg_text_part *part, size_t times, size_t more) {
    size_t room = more;
    char *text;

    for (int64_t i = 0; i < part->n; i++)
        room += times * (size_t)part->rows[i].length + more +
                times * (part->rows[i].label ? strlen(part->rows[i].label) : 0);
    text = sg_malloc(room);
    FUZZ_CHECK(text);
    return text;
}

static char *write_csv(const sg_text_part *part, size_t *size) {
    char *text = room_for(part, 2, 16), *at = text;

    put(&at, "label,\"text\"\r\n", 14);
    for (int64_t i = 0; i < part->n; i++) {
        if (part->rows[i].label) put_quoted(&at, part->rows[i].label);
        put(&at, ",", 1);
        put_quoted(&at, part->rows[i].text);
        put(&at, "\r\n", 2);
    }
    *size = (size_t)(at - text);
    return text;
}

static char *write_jsonl(const sg_text_part *part, size_t *size) {
    char *text = room_for(part, 6, 64), *at = text;

    for (int64_t i = 0; i < part->n; i++) {
        const sg_text_row *row = &part->rows[i];
        json_t *object = json_pack("{s:s, s:s?}", "text", row->text, "label", row->label);
        char *line = json_dumps(object, JSON_ENSURE_ASCII);

        FUZZ_CHECK(line);
        put(&at, line, strlen(line));
        put(&at, "\n", 1);
        json_decref(object);
        free(line);
    }
    *size = (size_t)(at - text);
    return text;
}

/* Without a look at labels there are no fewer rows. */
static void check_texts_only(parser p, const char *path, const uint8_t *data, size_t size,
                             int64_t n) {
    sg_fault_sink lenient;
    sg_text_part part;
    int64_t faults;

    lenient = fuzz_sink(&faults);
    FUZZ_CHECK(parse(p, &texts_only, path, data, size, &lenient, &part) == SG_OK);
    FUZZ_CHECK(part.n >= n);
    for (int64_t i = 0; i < part.n; i++) FUZZ_CHECK(!part.rows[i].label);
    check_rows(&part);
    sg_text_part_clear(&part);
}

/* Lenient, strict, and read again from how it is written anew, as CSV and as JSON lines. */
static void check_format(parser p, const char *path, const uint8_t *data, size_t size) {
    sg_fault_sink strict = {0}, lenient;
    sg_text_part all, some, again;
    int64_t faults;
    char *text;
    sg_status st;

    lenient = fuzz_sink(&faults);
    if (parse(p, &labelled, path, data, size, &lenient, &some) != SG_OK) {
        FUZZ_CHECK(parse(p, &labelled, path, data, size, &strict, &all) != SG_OK);
        return;
    }
    check_rows(&some);
    check_texts_only(p, path, data, size, some.n);
    st = parse(p, &labelled, path, data, size, &strict, &all);
    FUZZ_CHECK((st == SG_OK) == (faults == 0));
    if (st == SG_OK) {
        check_same(&all, &some);
        sg_text_part_clear(&all);
    }
    text = write_csv(&some, &size);
    FUZZ_CHECK(parse(sg_text_parse_csv, &labelled, "b.csv", text, size, &strict, &again) == SG_OK);
    check_same(&some, &again);
    sg_text_part_clear(&again);
    sg_free(text);
    text = write_jsonl(&some, &size);
    FUZZ_CHECK(parse(sg_text_parse_jsonl, &labelled, "b.jsonl", text, size, &strict, &again) ==
               SG_OK);
    check_same(&some, &again);
    sg_text_part_clear(&again);
    sg_free(text);
    check_classes(&some);
    sg_text_part_clear(&some);
}

void fuzz_csv(const uint8_t *data, size_t size) {
    check_format(sg_text_parse_csv, "a.csv", data, size);
    check_format(sg_text_parse_csv, "a.tsv", data, size);
}

void fuzz_jsonl(const uint8_t *data, size_t size) {
    check_format(sg_text_parse_jsonl, "a.jsonl", data, size);
}

/* --- tweeteval -------------------------------------------------------------------------------- */

/* Texts, up to a first line `==`; labels behind it. */
static sg_status parse_tweets(const uint8_t *data, size_t size, const sg_fault_sink *sink,
                              sg_text_part *out) {
    static const char divider[] = "\n==\n";
    size_t texts = size, labels = size, n = sizeof divider - 1;
    sg_status st;

    for (size_t i = 0; i + n <= size && texts == size; i++)
        if (memcmp(data + i, divider, n) == 0) {
            texts = i + 1;
            labels = i + n;
        }
    *out = (sg_text_part){.path = sg_strdup("a_text.txt"),
                          .label_path = sg_strdup("a_labels.txt"),
                          .block = fuzz_text(data, texts),
                          .label_block = fuzz_text(data + labels, size - labels),
                          .numbered = true};
    (void)sg_fail(SG_ERR_ARG, "%s", "");
    st = sg_text_parse_lines(texts, sink, out);
    if (st == SG_OK) st = sg_text_parse_labels(size - labels, sink, out);
    if (st == SG_OK) return SG_OK;
    check_failure(st, out);
    sg_text_part_clear(out);
    return st;
}

/* A class for each label that there may be but one. */
static void resolve_tweets(sg_text_part *part) {
    sg_fault_sink lenient;
    sg_classes classes;
    int64_t faults, n = part->n;

    FUZZ_CHECK(sg_classes_parse("a,b,c", &classes) == SG_OK);
    lenient = fuzz_sink(&faults);
    FUZZ_CHECK(sg_text_part_resolve(part, &classes, true, &lenient) == SG_OK);
    FUZZ_CHECK(part->n + faults == n);
    for (int64_t i = 0; i < part->n; i++)
        FUZZ_CHECK(!part->rows[i].label || (part->rows[i].label[0] == '0' + part->rows[i].id &&
                                            part->rows[i].id < 3 && !part->rows[i].label[1]));
    sg_classes_clear(&classes);
}

void fuzz_tweets(const uint8_t *data, size_t size) {
    sg_fault_sink strict = {0}, lenient;
    sg_text_part all, some;
    int64_t faults;
    sg_status st;

    lenient = fuzz_sink(&faults);
    FUZZ_CHECK(parse_tweets(data, size, &lenient, &some) == SG_OK);
    st = parse_tweets(data, size, &strict, &all);
    FUZZ_CHECK((st == SG_OK) == (faults == 0));
    if (st == SG_OK) {
        check_rows(&all);
        check_same(&all, &some);
        resolve_tweets(&all);
        sg_text_part_clear(&all);
    }
    sg_text_part_clear(&some);
}

void fuzz_mapping(const uint8_t *data, size_t size) {
    fuzz_file_of_names(sg_text_parse_mapping, "mapping.txt", data, size);
}
