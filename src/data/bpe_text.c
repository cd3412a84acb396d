/* A byte-pair encoding as text. What is read is what would be written: each line is written again
 * from what it says, and compared. */
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/utf8.h"
#include "data/bpe_inside.h"
#include "data/text_clean.h"

/* the longest line: two ids, each byte as \xHH */
enum { kLine = 64 + 4 * SG_BPE_MAX_WORD, kHeaderLines = 3 };

static const char kTitle[] = "# spotgrad bpe 1";

/* --- writing --- */

/* The bytes of a printable code point at s[0 .. n), or 0: ASCII, or UTF-8 from U+00A1 on. */
static size_t printable(const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *)s;

    if (p[0] <= ' ' || p[0] == 0x7F) return 0;
    if (n > 1 && p[0] == 0xC2 && p[1] <= 0xA0) return 0;
    return sg_utf8_character(s, n);
}

/* `s` as it stands in a line; `out` has 4 bytes for each of its n. The bytes written. */
static size_t spell(const char *s, size_t n, char *out) {
    static const char kHex[] = "0123456789ABCDEF";
    char *to = out;

    for (size_t i = 0, length; i < n; i += length) {
        length = printable(s + i, n - i);
        if (s[i] == '\\' || s[i] == '_') *to++ = '\\';
        if (length > 0) {
            memcpy(to, s + i, length);
            to += length;
            continue;
        }
        length = 1;
        if (s[i] == ' ') {
            *to++ = '_';
            continue;
        }
        *to++ = '\\';
        *to++ = 'x';
        *to++ = kHex[(unsigned char)s[i] >> 4];
        *to++ = kHex[(unsigned char)s[i] & 0xF];
    }
    return (size_t)(to - out);
}

static size_t header(int32_t joins, char *out) {
    return (size_t)sprintf(out, "%s\ncleaned %d\njoins %d\n", kTitle, SG_TEXT_CLEAN_VERSION,
                           (int)joins);
}

/* The line of an entry, `\n` at its end. */
static size_t line_of(sg_bpe_join join, const char *bytes, size_t n, char *out) {
    size_t length = (size_t)sprintf(out, "%d %d ", (int)join.left, (int)join.right);

    length += spell(bytes, n, out + length);
    out[length++] = '\n';
    return length;
}

/* Into `out`, or, where that is NULL, only how many bytes it is. */
static size_t write_all(const sg_bpe *bpe, char *out) {
    char line[kLine];
    size_t total = header(bpe->size - SG_BPE_MIN_SIZE, line);

    if (out) memcpy(out, line, total);
    for (int32_t id = SG_BPE_MIN_SIZE; id < bpe->size; id++) {
        size_t n, length;
        const char *bytes = sg_bpe_entry(bpe, id, &n);

        length = line_of(bpe->joins[id - SG_BPE_MIN_SIZE], bytes, n, line);
        if (out) memcpy(out + total, line, length);
        total += length;
    }
    return total;
}

sg_status sg_bpe_write(const sg_bpe *bpe, char **text, size_t *bytes) {
    size_t size = write_all(bpe, NULL);
    char *out = sg_malloc(size + 1);

    if (!out) return sg_fail(SG_ERR_OOM, "no memory to write a tokenizer of %zu bytes", size);
    write_all(bpe, out);
    out[size] = '\0';
    *text = out;
    *bytes = size;
    return SG_OK;
}

/* --- reading --- */

typedef struct {
    const char *name, *p, *end;
    int line;           /* the one that was read last */
    const char *text;   /* of it */
    size_t length;      /* without its \n */
    sg_bpe_join *joins; /* (most) */
    int32_t n, most;
    char (*bytes)[SG_BPE_MAX_WORD]; /* (SG_BPE_MIN_SIZE + most): entries, as far as they are read */
    uint8_t *lengths;               /* (SG_BPE_MIN_SIZE + most) */
} reader;

/* False at the end, or where the last line has none. */
static bool next_line(reader *r) {
    const char *end = memchr(r->p, '\n', (size_t)(r->end - r->p));

    r->line++;
    if (!end) return false;
    r->text = r->p;
    r->length = (size_t)(end - r->p);
    r->p = end + 1;
    return true;
}

static sg_status ends_early(const reader *r, const char *before) {
    return sg_fail(SG_ERR_DATA, "%s:%d: ends before %s; it is not whole", r->name, r->line, before);
}

/* A decimal number as printf writes it at `*p`, which moves behind it; -1: there is none. */
static int32_t number(const char **p, const char *end) {
    const int32_t kMost = 99999999;
    int32_t value = 0;
    const char *start = *p;

    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
        if (value > kMost / 10) return -1;
        value = 10 * value + (**p - '0');
    }
    return *p == start || (*start == '0' && *p - start > 1) ? -1 : value;
}

/* `WORD number` as the whole of the next line. */
static sg_status read_field(reader *r, const char *word, int32_t *out) {
    const char *p, *end;
    size_t length = strlen(word);

    if (!next_line(r)) return ends_early(r, "its header does");
    p = r->text + length;
    end = r->text + r->length;
    if (r->length > length + 1 && memcmp(r->text, word, length) == 0 && *p++ == ' ' &&
        (*out = number(&p, end)) >= 0 && p == end)
        return SG_OK;
    return sg_fail(SG_ERR_DATA, "%s:%d: `%.*s` is not `%s` and a number", r->name, r->line,
                   r->length < 40 ? (int)r->length : 40, r->text, word);
}

static sg_status read_header(reader *r) {
    int32_t version;

    if (!next_line(r)) return ends_early(r, "its header does");
    if (r->length != strlen(kTitle) || memcmp(r->text, kTitle, r->length) != 0)
        return sg_fail(SG_ERR_DATA, "%s:1: `%.*s` is not `%s`: no tokenizer, or a later one's",
                       r->name, r->length < 40 ? (int)r->length : 40, r->text, kTitle);
    SG_TRY(read_field(r, "cleaned", &version));
    if (version != SG_TEXT_CLEAN_VERSION)
        return sg_fail(SG_ERR_DATA,
                       "%s:2: learned from texts of clean-up %d, and this program's is %d; use the "
                       "program that trained it, or train anew",
                       r->name, (int)version, SG_TEXT_CLEAN_VERSION);
    SG_TRY(read_field(r, "joins", &r->most));
    if (r->most > SG_BPE_MAX_SIZE - SG_BPE_MIN_SIZE)
        return sg_fail(SG_ERR_DATA, "%s:3: %d joins; at most %d", r->name, (int)r->most,
                       SG_BPE_MAX_SIZE - SG_BPE_MIN_SIZE);
    return SG_OK;
}

static sg_status allocate(reader *r) {
    size_t n = (size_t)(SG_BPE_MIN_SIZE + r->most);

    r->joins = sg_malloc((size_t)r->most * sizeof *r->joins);
    r->bytes = sg_malloc(n * sizeof *r->bytes);
    r->lengths = sg_malloc(n * sizeof *r->lengths);
    if (!r->joins || !r->bytes || !r->lengths)
        return sg_fail(SG_ERR_OOM, "%s: no memory for %d joins", r->name, (int)r->most);
    for (int b = 0; b < 256; b++) {
        r->bytes[SG_BPE_BYTE + b][0] = (char)b;
        r->lengths[SG_BPE_BYTE + b] = 1;
    }
    return SG_OK;
}

/* The two ids that a line begins with. */
static sg_status read_ids(const reader *r, sg_bpe_join *join) {
    const char *p = r->text, *end = r->text + r->length;
    int32_t known = SG_BPE_MIN_SIZE + r->n, *ids[2] = {&join->left, &join->right};

    for (int i = 0; i < 2; i++) {
        *ids[i] = number(&p, end);
        if (*ids[i] < 0 || p == end || *p++ != ' ')
            return sg_fail(SG_ERR_DATA, "%s:%d: `%.*s` is not two ids and their bytes", r->name,
                           r->line, r->length < 40 ? (int)r->length : 40, r->text);
        if (*ids[i] < SG_BPE_BYTE || *ids[i] >= known)
            return sg_fail(SG_ERR_DATA, "%s:%d: id %d; before this line there are %d .. %d",
                           r->name, r->line, (int)*ids[i], SG_BPE_BYTE, (int)known - 1);
    }
    return SG_OK;
}

static sg_status read_join(reader *r) {
    int32_t id = SG_BPE_MIN_SIZE + r->n;
    sg_bpe_join join;
    char line[kLine];
    size_t n, right;

    SG_TRY(read_ids(r, &join));
    n = r->lengths[join.left];
    right = r->lengths[join.right];
    if (n + right > SG_BPE_MAX_WORD)
        return sg_fail(SG_ERR_DATA, "%s:%d: an entry of %zu bytes; no word has over %d", r->name,
                       r->line, n + right, SG_BPE_MAX_WORD);
    if (r->bytes[join.right][0] == ' ')
        return sg_fail(SG_ERR_DATA, "%s:%d: a space inside an entry; words have none", r->name,
                       r->line);
    memcpy(r->bytes[id], r->bytes[join.left], n);
    memcpy(r->bytes[id] + n, r->bytes[join.right], right);
    r->lengths[id] = (uint8_t)(n + right);
    n = line_of(join, r->bytes[id], n + right, line) - 1;
    if (n != r->length || memcmp(line, r->text, n) != 0)
        return sg_fail(SG_ERR_DATA, "%s:%d: `%.*s` should be `%.*s`", r->name, r->line,
                       r->length < kLine ? (int)r->length : kLine, r->text, (int)n, line);
    r->joins[r->n++] = join;
    return SG_OK;
}

static sg_status read_all(reader *r) {
    SG_TRY(read_header(r));
    SG_TRY(allocate(r));
    while (r->n < r->most) {
        if (!next_line(r)) {
            return sg_fail(SG_ERR_DATA, "%s:%d: ends behind %d of %d joins; it is not whole",
                           r->name, r->line, (int)r->n, (int)r->most);
        }
        SG_TRY(read_join(r));
    }
    if (r->p == r->end) return SG_OK;
    return sg_fail(SG_ERR_DATA, "%s:%d: more behind the last of %d joins", r->name, r->line + 1,
                   (int)r->most);
}

/* A pair that is joined twice: its second entry would never be used. Pairs are found in the table,
 * which holds the last. */
static sg_status check_unique(const reader *r, const sg_bpe *bpe) {
    for (int32_t i = 0; i < r->n; i++) {
        int32_t last = sg_bpe_joined(bpe, r->joins[i].left, r->joins[i].right) - SG_BPE_MIN_SIZE;

        if (last != i)
            return sg_fail(SG_ERR_DATA, "%s:%d: the pair of line %d once more", r->name,
                           (int)last + kHeaderLines + 1, (int)i + kHeaderLines + 1);
    }
    return SG_OK;
}

sg_status sg_bpe_parse(const char *name, const char *text, size_t bytes, sg_bpe **out) {
    reader r = {.name = name, .p = text, .end = text + bytes};
    sg_status st = read_all(&r);
    sg_bpe *bpe = NULL;

    sg_free(r.bytes);
    sg_free(r.lengths);
    if (st != SG_OK) {
        sg_free(r.joins);
        return st;
    }
    SG_TRY(sg_bpe_build(r.joins, r.n, &bpe));
    st = check_unique(&r, bpe);
    if (st == SG_OK)
        *out = bpe;
    else
        sg_bpe_destroy(bpe);
    return st;
}
