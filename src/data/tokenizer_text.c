/* A tokenizer as text. What is read is what would be written. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "data/text_clean.h"
#include "data/tokenizer_inside.h"

enum {
    kFirst = '!',    /* the character of level 0 */
    kLeftOut = ' ',  /* that of a bucket without a row */
    kLineBytes = 64, /* of an option */
    kOptionsBytes = 1024,
};

static const char kHeader[] = "# spotgrad tokenizer 1\n";
static const char *const kWeightNames[] = {"mean", "tfidf"};

static int write_options(const sg_tokenizer *t, char *to, size_t room) {
    const sg_tokenizer_options *o = &t->options;

    return snprintf(to, room,
                    "%scleaned %d\nwords %d\nchar_min %d\nchar_max %d\nbuckets %d\nweights %s\n"
                    "min_count %lld\nfeatures %lld\nsubwords %d\nlength %lld\n",
                    kHeader, SG_TEXT_CLEAN_VERSION, o->ngrams.words, o->ngrams.char_min,
                    o->ngrams.char_max, o->ngrams.buckets, kWeightNames[o->weights],
                    (long long)o->min_count, (long long)o->features, o->subwords,
                    (long long)o->length);
}

sg_status sg_tokenizer_write(const sg_tokenizer *t, char **out) {
    size_t buckets = t->level ? (size_t)t->options.ngrams.buckets : 0, bpe_bytes = 0;
    char options[kOptionsBytes], *bpe = NULL, *text, *at;
    size_t head = (size_t)write_options(t, options, sizeof options);

    if (t->bpe) SG_TRY(sg_bpe_write(t->bpe, &bpe, &bpe_bytes));
    text = sg_malloc(head + buckets + 1 + bpe_bytes + 1);
    if (!text) {
        sg_free(bpe);
        return sg_fail(SG_ERR_OOM, "tokenizer: no memory for its text");
    }
    memcpy(text, options, head);
    at = text + head;
    for (size_t i = 0; i < buckets; i++)
        *at++ = (char)(t->row[i] < 0 ? kLeftOut : kFirst + t->level[i]);
    if (buckets > 0) *at++ = '\n';
    memcpy(at, bpe_bytes > 0 ? bpe : "", bpe_bytes);
    at[bpe_bytes] = '\0';
    sg_free(bpe);
    *out = text;
    return SG_OK;
}

typedef struct {
    const char *name, *at, *end;
    int line;
} parser;

static sg_status refuse(const parser *p, const char *what) {
    return sg_fail(SG_ERR_DATA, "%s:%d: tokenizer: %s", p->name, p->line, what);
}

/* `KEY VALUE`, a whole number within a range. */
static sg_status take_number(parser *p, const char *key, int64_t low, int64_t high, int64_t *out) {
    size_t length = strlen(key), n;
    const char *end = memchr(p->at, '\n', (size_t)(p->end - p->at));
    char digits[kLineBytes] = "", what[kLineBytes];

    snprintf(what, sizeof what, "expected `%s` and a whole number", key);
    if (!end || (size_t)(end - p->at) <= length + 1 || memcmp(p->at, key, length) != 0 ||
        p->at[length] != ' ' || (size_t)(end - p->at) - length - 1 >= sizeof digits)
        return refuse(p, what);
    n = (size_t)(end - p->at) - length - 1;
    memcpy(digits, p->at + length + 1, n);
    *out = strtoll(digits, NULL, 10);
    if (strspn(digits, "0123456789") != n || (n > 1 && digits[0] == '0') || *out < low ||
        *out > high)
        return refuse(p, what); /* a NUL, and what would be written otherwise, too */
    p->at = end + 1;
    p->line++;
    return SG_OK;
}

static sg_status take_weights(parser *p, sg_weights *out) {
    for (int i = 0; i < 2; i++) {
        char line[kLineBytes];
        int length = snprintf(line, sizeof line, "weights %s\n", kWeightNames[i]);

        if (p->end - p->at < length || memcmp(p->at, line, (size_t)length) != 0) continue;
        *out = (sg_weights)i;
        p->at += length;
        p->line++;
        return SG_OK;
    }
    return refuse(p, "expected `weights mean` or `weights tfidf`");
}

static sg_status take_options(parser *p, sg_tokenizer_options *o) {
    int64_t cleaned, words, low, high, buckets, subwords;

    if ((size_t)(p->end - p->at) < strlen(kHeader) || memcmp(p->at, kHeader, strlen(kHeader)) != 0)
        return refuse(p, "does not begin with `# spotgrad tokenizer 1`");
    p->at += strlen(kHeader);
    p->line++;
    SG_TRY(take_number(p, "cleaned", 0, INT32_MAX, &cleaned));
    if (cleaned != SG_TEXT_CLEAN_VERSION)
        return sg_fail(SG_ERR_DATA,
                       "%s:%d: tokenizer: its texts were cleaned by rules %lld, this program has "
                       "rules %d; use the program that trained it",
                       p->name, p->line - 1, (long long)cleaned, SG_TEXT_CLEAN_VERSION);
    SG_TRY(take_number(p, "words", 0, SG_NGRAMS_MAX_WORDS, &words));
    SG_TRY(take_number(p, "char_min", 0, SG_NGRAMS_MAX_CHARS, &low));
    SG_TRY(take_number(p, "char_max", 0, SG_NGRAMS_MAX_CHARS, &high));
    SG_TRY(take_number(p, "buckets", 0, SG_NGRAMS_MAX_BUCKETS, &buckets));
    SG_TRY(take_weights(p, &o->weights));
    SG_TRY(take_number(p, "min_count", 0, INT32_MAX, &o->min_count));
    SG_TRY(take_number(p, "features", 0, SG_TOKENIZER_MAX, &o->features));
    SG_TRY(take_number(p, "subwords", 0, SG_BPE_MAX_SIZE, &subwords));
    SG_TRY(take_number(p, "length", 0, SG_TOKENIZER_MAX, &o->length));
    o->ngrams = (sg_ngrams){(int)words, (int)low, (int)high, (int32_t)buckets};
    o->subwords = (int32_t)subwords;
    return SG_OK;
}

static sg_status take_buckets(parser *p, sg_tokenizer *t) {
    int64_t buckets = t->options.ngrams.buckets;

    if (p->end - p->at <= buckets || p->at[buckets] != '\n')
        return refuse(p, "the line of buckets has not a character for each");
    SG_TRY(sg_tokenizer_allocate(t));
    for (int64_t i = 0; i < buckets; i++) {
        bool kept = p->at[i] != kLeftOut;
        int level = kept ? (unsigned char)p->at[i] - kFirst : 0;

        if (level < 0 || level >= SG_IDF_LEVELS)
            return refuse(p, "a character in the line of buckets");
        t->level[i] = (uint8_t)level;
        t->row[i] = kept ? t->rows++ : -1;
    }
    p->at += buckets + 1;
    p->line++;
    return SG_OK;
}

/* Their lines have numbers of their own, from 1. */
static sg_status take_subwords(parser *p, sg_tokenizer *t) {
    char *name = sg_str_printf("%s (subwords)", p->name);
    sg_status st;

    if (!name) return sg_fail(SG_ERR_OOM, "tokenizer: no memory");
    st = sg_bpe_parse(name, p->at, (size_t)(p->end - p->at), &t->bpe);
    sg_free(name);
    return st;
}

sg_status sg_tokenizer_parse(const char *name, const char *text, size_t bytes, sg_tokenizer **out) {
    parser p = {name, text, text + bytes, 1};
    sg_tokenizer_options o;
    sg_tokenizer *t;
    sg_status st;

    SG_TRY(take_options(&p, &o));
    st = sg_tokenizer_create(&o, &t);
    if (st != SG_OK) return st == SG_ERR_ARG ? refuse(&p, sg_last_error()) : st;
    if (o.ngrams.buckets > 0) st = take_buckets(&p, t);
    if (st == SG_OK && o.subwords > 0)
        st = take_subwords(&p, t);
    else if (st == SG_OK && p.at != p.end)
        st = refuse(&p, "more lines than there should be");
    if (st == SG_OK && t->bpe && sg_bpe_size(t->bpe) > o.subwords)
        st = refuse(&p, "more subwords than it says");
    if (st != SG_OK) {
        sg_tokenizer_destroy(t);
        return st;
    }
    *out = t;
    return SG_OK;
}
