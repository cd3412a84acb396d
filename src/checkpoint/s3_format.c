#include "checkpoint/s3_format.h"

#include <ctype.h>
#include <errno.h>
#include <expat.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/store_kind.h"
#include "core/mem.h"

enum { kDepth = 8, kName = 48, kText = 2048, kPairs = 8 };

static bool is_plain(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("-._~", c));
}

char *sg_s3_encode(const char *text, bool keep_slash) {
    char *to = sg_malloc(3 * strlen(text) + 1), *p = to;

    if (!to) return NULL;
    for (; *text; text++) {
        if (is_plain((unsigned char)*text) || (keep_slash && *text == '/'))
            *p++ = *text;
        else
            p += sprintf(p, "%%%02X", (unsigned char)*text);
    }
    *p = '\0';
    return to;
}

static int by_name(const void *a, const void *b) {
    const sg_s3_pair *x = a, *y = b;

    return strcmp(x->name, y->name);
}

char *sg_s3_query(const sg_s3_pair *pairs, int n) {
    sg_s3_pair sorted[kPairs];
    char *query = sg_strdup("");

    if (n > kPairs) n = kPairs; /* nothing has so many */
    if (n > 0) {
        memcpy(sorted, pairs, (size_t)n * sizeof *pairs);
        qsort(sorted, (size_t)n, sizeof *sorted, by_name);
    }
    for (int i = 0; i < n && query; i++) {
        char *value = sg_s3_encode(sorted[i].value, false);
        char *longer =
            value ? sg_str_printf("%s%s%s=%s", query, i ? "&" : "", sorted[i].name, value) : NULL;

        sg_free(value);
        sg_free(query);
        query = longer;
    }
    return query;
}

/* A walk through a document: `leave` is called at the end of each element, with its text. */
typedef struct walk walk;
struct walk {
    XML_Parser parser;
    char name[kDepth][kName]; /* of the open elements, the root at 0 */
    int depth;
    char text[kText]; /* of the innermost element, cut */
    size_t length;
    bool cut, typed;
    sg_status status;
    void (*leave)(walk *w, const char *name, const char *parent);
    void *context;
};

static void XMLCALL on_start(void *context, const XML_Char *name, const XML_Char **attributes) {
    walk *w = context;

    (void)attributes;
    if (w->depth < kDepth) snprintf(w->name[w->depth], kName, "%s", name);
    w->depth++;
    w->length = 0;
    w->cut = false;
}

static void XMLCALL on_text(void *context, const XML_Char *text, int length) {
    walk *w = context;
    size_t room = sizeof w->text - 1 - w->length;
    size_t n = (size_t)length < room ? (size_t)length : room;

    memcpy(w->text + w->length, text, n);
    w->length += n;
    w->cut = w->cut || n < (size_t)length;
}

static void XMLCALL on_end(void *context, const XML_Char *name) {
    walk *w = context;

    w->text[w->length] = '\0';
    w->depth--;
    if (w->status == SG_OK && w->depth < kDepth)
        w->leave(w, name, w->depth > 0 ? w->name[w->depth - 1] : "");
    if (w->status != SG_OK) XML_StopParser(w->parser, XML_FALSE);
    w->length = 0;
}

/* nothing in S3 has one, and its entities are trouble */
static void XMLCALL on_doctype(void *context, const XML_Char *name, const XML_Char *system_id,
                               const XML_Char *public_id, int internal) {
    walk *w = context;

    (void)name, (void)system_id, (void)public_id, (void)internal;
    w->typed = true;
    XML_StopParser(w->parser, XML_FALSE);
}

static sg_status walk_document(walk *w, const char *xml, size_t size) {
    sg_status st = SG_OK;

    w->parser = XML_ParserCreate(NULL);
    if (!w->parser) return sg_fail(SG_ERR_OOM, "no memory for reading XML");
    XML_SetUserData(w->parser, w);
    XML_SetElementHandler(w->parser, on_start, on_end);
    XML_SetCharacterDataHandler(w->parser, on_text);
    XML_SetStartDoctypeDeclHandler(w->parser, on_doctype);
    if (XML_Parse(w->parser, xml, (int)size, 1) != XML_STATUS_OK) {
        enum XML_Error code = XML_GetErrorCode(w->parser);

        st = w->status != SG_OK ? w->status
             : code == XML_ERROR_NO_MEMORY
                 ? sg_fail(SG_ERR_OOM, "no memory for reading XML")
                 : sg_fail(SG_ERR_DATA, "the answer is no XML of S3's: %s",
                           w->typed ? "it has a document type" : XML_ErrorString(code));
    }
    XML_ParserFree(w->parser);
    return st;
}

/* The text without the space around it. */
static const char *trimmed(walk *w) {
    char *text = w->text, *end = text + w->length;

    while (isspace((unsigned char)*text)) text++;
    while (end > text && isspace((unsigned char)end[-1])) end--;
    *end = '\0';
    return text;
}

typedef struct {
    const char *name;
    char *to;
    size_t room;
    bool found;
} wanted_text;

static void leave_text(walk *w, const char *name, const char *parent) {
    wanted_text *t = w->context;

    (void)parent;
    if (t->found || strcmp(name, t->name) != 0) return;
    t->found = true;
    snprintf(t->to, t->room, "%s", trimmed(w));
}

sg_status sg_s3_text(const char *xml, size_t size, const char *name, char *to, size_t room) {
    wanted_text wanted = {.name = name, .to = to, .room = room};
    walk w = {.leave = leave_text, .context = &wanted};

    to[0] = '\0';
    return walk_document(&w, xml, size);
}

typedef struct {
    sg_s3_list *list;
    const char *prefix;
    char key[kText];
    bool usable; /* the key of the open Contents */
    bool truncated, is_list;
    int64_t bytes;
} page;

/* decimal; -1: it is none */
static int64_t count_of(const char *text) {
    char *end;
    long long n;

    errno = 0;
    n = strtoll(text, &end, 10);
    return isdigit((unsigned char)*text) && !*end && errno == 0 ? n : -1;
}

static void leave_object(walk *w, const page *p) {
    size_t length = strlen(p->prefix);

    if (p->bytes < 0) {
        w->status = sg_fail(SG_ERR_DATA, "the list has an object without a size");
    } else if (p->usable && strncmp(p->key, p->prefix, length) == 0 &&
               sg_store_is_name(p->key + length)) {
        w->status = sg_store_append(&p->list->entries, &p->list->n, &p->list->capacity,
                                    p->key + length, p->bytes);
    }
}

static void leave_listed(walk *w, const char *name, const char *parent) {
    page *p = w->context;

    if (strcmp(parent, "Contents") == 0 && strcmp(name, "Key") == 0) {
        p->usable = !w->cut;
        memcpy(p->key, w->text, w->length + 1); /* as it is: space counts */
    } else if (strcmp(parent, "Contents") == 0 && strcmp(name, "Size") == 0) {
        p->bytes = count_of(trimmed(w));
    } else if (strcmp(name, "Contents") == 0) {
        leave_object(w, p);
        p->usable = false;
        p->bytes = -1;
    } else if (strcmp(name, "IsTruncated") == 0) {
        p->truncated = strcmp(trimmed(w), "true") == 0;
    } else if (strcmp(name, "NextContinuationToken") == 0) {
        if (w->cut) w->status = sg_fail(SG_ERR_DATA, "the list's continuation token is too long");
        snprintf(p->list->next, sizeof p->list->next, "%s", trimmed(w));
    } else if (strcmp(name, "ListBucketResult") == 0) {
        p->is_list = *parent == '\0';
    }
}

sg_status sg_s3_list_page(const char *xml, size_t size, const char *prefix, sg_s3_list *list) {
    page p = {.list = list, .prefix = prefix, .bytes = -1};
    walk w = {.leave = leave_listed, .context = &p};

    list->next[0] = '\0';
    SG_TRY(walk_document(&w, xml, size));
    if (!p.is_list) return sg_fail(SG_ERR_DATA, "the answer is no list of objects");
    if (p.truncated && !list->next[0])
        return sg_fail(SG_ERR_DATA, "the list goes on, but does not say where");
    if (!p.truncated) list->next[0] = '\0';
    return SG_OK;
}

static bool is_bucket(const char *name, size_t length) {
    if (length < 3 || length >= SG_S3_BUCKET) return false;
    for (size_t i = 0; i < length; i++) {
        bool alnum = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9');
        bool inside = i > 0 && i + 1 < length;

        if (!alnum && !(inside && (name[i] == '-' || name[i] == '.'))) return false;
    }
    return true;
}

static bool is_prefix(const char *prefix, size_t length) {
    size_t start = 0;

    for (size_t i = 0; i <= length; i++) {
        if (i < length && (unsigned char)prefix[i] < ' ') return false;
        if (i < length && prefix[i] != '/') continue;
        if (i == start && length > 0) return false;
        if (i - start <= 2 && strncmp(prefix + start, "..", i - start) == 0 && length > 0)
            return false;
        start = i + 1;
    }
    return true;
}

sg_status sg_s3_parse_url(const char *url, char bucket[SG_S3_BUCKET], char **prefix) {
    const char *name = url + strlen("s3://");
    size_t length = strcspn(name, "/"), rest;
    const char *path = name + length;
    char *copy;

    if (!is_bucket(name, length))
        return sg_fail(SG_ERR_CONFIG,
                       "%s: '%.*s' cannot be a bucket (3 to 63 of a-z, 0-9, '-', '.')", url,
                       (int)length, name);
    if (*path == '/') path++;
    rest = strlen(path);
    while (rest > 0 && path[rest - 1] == '/') rest--;
    if (!is_prefix(path, rest))
        return sg_fail(SG_ERR_CONFIG,
                       "%s: a prefix has no empty part, no '.' or '..', no control character", url);
    copy = sg_str_printf("%.*s%s", (int)rest, path, rest > 0 ? "/" : "");
    if (!copy) return sg_fail(SG_ERR_OOM, "%s: no memory for a store", url);
    memcpy(bucket, name, length);
    bucket[length] = '\0';
    *prefix = copy;
    return SG_OK;
}
