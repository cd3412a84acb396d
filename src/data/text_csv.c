/* CSV as RFC 4180 has it: a record is a line, or more where quotes hold line ends.
 *
 * A field may begin with a quote and then ends at the next one that is not doubled; a quote inside
 * of a field without quotes is itself. LF or CRLF ends a record. Records are found first, with
 * their quotes, then looked at, then cut in place. */
#include <stdio.h>
#include <string.h>

#include "data/text_source.h"

enum { kShownBytes = 200 };

typedef struct {
    const sg_fault_sink *sink;
    sg_text_part *part;
    char delimiter;
    int columns, text, label; /* of the header; label -1: none */
} reader;

typedef struct {
    char *begin, *stop, *next; /* without what ends it; the record behind it */
    int line, lines;           /* where it begins; lines that it takes */
    int open;                  /* > 0: the line where a quote opens that nothing closes */
} record;

/* Find where the record at `r->begin` ends. */
static void find_end(record *r, char *end, char delimiter) {
    char *p = r->begin;

    r->lines = 1;
    r->open = 0;
    for (;; p++) { /* a field, and what divides it from the next one */
        int opened = r->line + r->lines - 1;

        if (p < end && *p == '"') {
            do { /* up to a quote; a second one goes on */
                char *quote = memchr(p + 1, '"', (size_t)(end - p - 1));

                if (!quote) {
                    r->open = opened;
                    return;
                }
                for (char *c = p + 1; c < quote; c++) r->lines += *c == '\n';
                p = quote + 1;
            } while (p < end && *p == '"');
        }
        while (p < end && *p != delimiter && *p != '\n') p++;
        if (p == end || *p == '\n') break;
    }
    r->next = p < end ? p + 1 : p;
    r->stop = p < end && p > r->begin && p[-1] == '\r' ? p - 1 : p;
}

/* Take the quotes off the field at *at, which a NUL ends afterwards; *at is the next one, or NULL
 * behind the last. NULL: something stands behind its closing quote. */
static char *cut_field(char **at, char *stop, char delimiter, size_t *length) {
    char *field = *at, *p = field, *put = field;

    if (p < stop && *p == '"') {
        for (p++; *p != '"' || (p + 1 < stop && p[1] == '"'); p++) {
            if (*p == '"') p++;
            *put++ = *p;
        }
        p++;
        if (p < stop && *p != delimiter) return NULL;
    } else {
        while (p < stop && *p != delimiter) p++;
        put = p;
    }
    *at = p < stop ? p + 1 : NULL;
    *put = '\0';
    *length = (size_t)(put - field);
    return field;
}

/* --- the header ------------------------------------------------------------------------------- */

static sg_status take_name(const char *name, const char *wanted, int column, int *found,
                           const char *path) {
    if (strcmp(name, wanted) != 0) return SG_OK;
    if (*found >= 0)
        return sg_fail_at(SG_ERR_DATA, path, 1, "columns %d and %d are both named `%.100s`",
                          *found + 1, column + 1, wanted);
    *found = column;
    return SG_OK;
}

static sg_status refuse_column(const reader *r, const char *wanted, const char *key,
                               const char *names) {
    if (r->columns == 1)
        return sg_fail_at(SG_ERR_DATA, r->part->path, 1,
                          "no column `%.100s`; there is %s alone; name it with %s, or have %s "
                          "divide columns",
                          wanted, names, key,
                          r->delimiter == ',' ? "commas (in .tsv tabs)" : "tabs");
    return sg_fail_at(SG_ERR_DATA, r->part->path, 1,
                      "no column `%.100s`; there are: %s; name the right one with %s", wanted,
                      names, key);
}

static sg_status read_header(reader *r, const sg_text_place *place, record *head) {
    const char *text = place->text_column, *label = place->label_column;
    char *at = head->begin, names[kShownBytes] = "";
    size_t used = 0;

    r->text = r->label = -1;
    for (r->columns = 0; at; r->columns++) {
        size_t length;
        char *name = cut_field(&at, head->stop, r->delimiter, &length);

        if (!name)
            return sg_fail_at(SG_ERR_DATA, r->part->path, 1,
                              "something stands behind the closing quote of column %d",
                              r->columns + 1);
        SG_TRY(take_name(name, text, r->columns, &r->text, r->part->path));
        if (!place->texts_only)
            SG_TRY(take_name(name, label, r->columns, &r->label, r->part->path));
        if (used < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s`%.60s`",
                                     used ? ", " : "", name);
    }
    if (r->text < 0) return refuse_column(r, text, "data.text", names);
    if (r->label < 0 && !place->texts_only) return refuse_column(r, label, "data.label", names);
    return SG_OK;
}

/* --- records ---------------------------------------------------------------------------------- */

static sg_status read_record(reader *r, const record *rec) {
    sg_text_row row = {.line = rec->line, .id = -1};
    char *at = rec->begin;
    int column = 0;

    for (; at; column++) {
        size_t length;
        char *field = cut_field(&at, rec->stop, r->delimiter, &length);

        if (!field)
            return sg_fault(r->sink, r->part->path, rec->line,
                            "column %d: something stands behind the closing quote; inside of "
                            "quotes a quote is written twice",
                            column + 1);
        if (column == r->text) {
            row.text = field;
            row.length = (int64_t)length;
        } else if (column == r->label && length > 0) {
            row.label = field;
        }
    }
    if (column != r->columns)
        return sg_fault(r->sink, r->part->path, rec->line,
                        "%d field%s, but the header has %d; quotes go around a field that holds "
                        "what divides fields",
                        column, column == 1 ? "" : "s", r->columns);
    return sg_text_part_add(r->part, &row);
}

static sg_status find_record(reader *r, record *rec, char *end, bool *good) {
    find_end(rec, end, r->delimiter);
    if (rec->open)
        return sg_fail_at(SG_ERR_DATA, r->part->path, rec->open,
                          "a quote opens a field here and nothing closes it");
    return sg_text_check_span(r->part->path, rec->line, rec->begin,
                              (size_t)(rec->stop - rec->begin), r->sink, good);
}

sg_status sg_text_parse_csv(const sg_text_place *place, size_t size, const sg_fault_sink *sink,
                            sg_text_part *part) {
    const char *suffix = strrchr(part->path, '.');
    reader r = {.sink = sink, .part = part, .delimiter = ','};
    char *end = part->block + size;
    record rec = {.begin = part->block + sg_text_mark(part->block, size), .line = 1};
    const sg_fault_sink strict = {0};
    bool good = false;

    if (suffix && strcmp(suffix, ".tsv") == 0) r.delimiter = '\t';
    if (rec.begin == end)
        return sg_fail(SG_ERR_DATA, "%s: empty; its first line names the columns", part->path);
    r.sink = &strict; /* without a header nothing goes on */
    SG_TRY(find_record(&r, &rec, end, &good));
    SG_TRY(read_header(&r, place, &rec));
    r.sink = sink;
    for (;;) {
        rec.line += rec.lines;
        rec.begin = rec.next;
        if (rec.begin == end) return SG_OK;
        SG_TRY(find_record(&r, &rec, end, &good));
        if (good && (rec.stop > rec.begin || r.columns == 1)) SG_TRY(read_record(&r, &rec));
    }
}
