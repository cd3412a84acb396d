/* A prefix of a bucket as a store: S3, or whatever speaks its language (MinIO, Ceph, R2, ...).
 *
 * What is sent is signed together with its SHA-256, so the service itself refuses what was damaged
 * on the way; a put then asks once more for length and tag. Up to 8 MiB an object is one PUT, above
 * that parts of 8 MiB, of which one is in memory at a time; the service makes the object of them in
 * the end, or forgets them. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checkpoint/s3_client.h"
#include "core/mem.h"

enum {
    kPart = 8 << 20, /* S3 wants 5 MiB at least, of all parts but the last */
    kParts = 10000,  /* S3's limit */
    kComplete = 300, /* seconds: one object of the parts may take minutes, says S3's manual */
    kTag = 96,
};

static void keep_tag(sg_s3 *s, char tag[kTag]) {
    const char *found = sg_web_header(s->web, "ETag");

    snprintf(tag, kTag, "%s", found ? found : "");
}

/* Whether the object is there as it was sent. Some services give no tag. */
static sg_status confirm(sg_s3 *s, const char *name, int64_t bytes, const char *tag) {
    sg_web_answer answer;
    char there[kTag];

    SG_TRY(sg_s3_call(s, &(sg_s3_request){.method = "HEAD", .name = name}, &answer));
    keep_tag(s, there);
    if (answer.bytes == bytes && (!*tag || strcmp(tag, there) == 0)) return SG_OK;
    return SG_STORE_FAIL(&s->base, -2, SG_ERR_UNAVAILABLE,
                         "%s/%s: sent %lld bytes with the tag %s, found %lld with %s", s->base.url,
                         name, (long long)bytes, tag, (long long)answer.bytes, there);
}

static sg_status read_part(sg_s3 *s, const char *name, int file, int64_t offset, int64_t bytes,
                           void *to) {
    if (sg_read_at(file, to, (size_t)bytes, offset) == bytes) return SG_OK;
    return SG_STORE_FAIL(&s->base, -3, SG_ERR_IO, "%s/%s: cannot read what is to be sent",
                         s->base.url, name);
}

static sg_status put_whole(sg_s3 *s, const char *name, const void *data, size_t bytes,
                           char tag[kTag]) {
    sg_web_answer answer;

    SG_TRY(sg_s3_call(
        s, &(sg_s3_request){.method = "PUT", .name = name, .body = data, .bytes = bytes}, &answer));
    keep_tag(s, tag);
    return SG_OK;
}

/* ETags come back from the service: nothing in them may break the XML they are put into. */
static bool is_tag(const char *tag) { return *tag && !tag[strcspn(tag, "<>&")]; }

/* Sends all parts; *manifest, the caller's also after a failure, lists them. */
static sg_status put_parts(sg_s3 *s, const char *name, const char *upload, int file, int64_t bytes,
                           void *part, char **manifest) {
    char number[16], tag[kTag];
    sg_web_answer answer;

    *manifest = sg_strdup("<CompleteMultipartUpload>");
    for (int i = 0; *manifest && (int64_t)i * kPart < bytes; i++) {
        int64_t offset = (int64_t)i * kPart, left = bytes - offset;
        int64_t size = left < kPart ? left : kPart;
        const sg_s3_pair query[] = {{"partNumber", number}, {"uploadId", upload}};
        char *longer;

        snprintf(number, sizeof number, "%d", i + 1);
        SG_TRY(read_part(s, name, file, offset, size, part));
        SG_TRY(sg_s3_call(s,
                          &(sg_s3_request){.method = "PUT",
                                           .name = name,
                                           .query = query,
                                           .n_query = 2,
                                           .body = part,
                                           .bytes = (size_t)size},
                          &answer));
        keep_tag(s, tag);
        if (!is_tag(tag))
            return SG_STORE_FAIL(&s->base, -2, SG_ERR_DATA,
                                 "%s/%s: part %d came back without a tag", s->base.url, name,
                                 i + 1);
        longer = sg_str_printf("%s<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>",
                               *manifest, i + 1, tag);
        sg_free(*manifest);
        *manifest = longer;
    }
    return *manifest ? SG_OK : sg_s3_out_of_memory(s);
}

static sg_status complete(sg_s3 *s, const char *name, const char *upload, const char *manifest,
                          char tag[kTag]) {
    const sg_s3_pair query = {"uploadId", upload};
    char *body = sg_str_printf("%s</CompleteMultipartUpload>", manifest);
    sg_web_answer answer;
    sg_status st;

    if (!body) return sg_s3_out_of_memory(s);
    st = sg_s3_call(s,
                    &(sg_s3_request){.method = "POST",
                                     .name = name,
                                     .query = &query,
                                     .n_query = 1,
                                     .body = body,
                                     .bytes = strlen(body),
                                     .stall = kComplete},
                    &answer);
    sg_free(body);
    if (st == SG_OK) st = sg_s3_text(answer.body, answer.size, "ETag", tag, kTag);
    return st;
}

/* The service would keep the parts, and ask money for them. The first failure is what is told. */
static void abort_upload(sg_s3 *s, const char *name, const char *upload) {
    const sg_s3_pair query = {"uploadId", upload};
    char text[1024];
    int failure = s->base.failure;
    sg_web_answer answer;

    snprintf(text, sizeof text, "%s", sg_last_error());
    if (sg_s3_call(
            s, &(sg_s3_request){.method = "DELETE", .name = name, .query = &query, .n_query = 1},
            &answer) != SG_OK) {
        /* a rule of the bucket's removes them: docs/stores.md */
    }
    s->base.failure = failure;
    (void)sg_fail(SG_ERR_UNAVAILABLE, "%s", text);
}

static sg_status put_multipart(sg_s3 *s, const char *name, int file, int64_t bytes, void *part,
                               char tag[kTag]) {
    const sg_s3_pair query = {"uploads", ""};
    char upload[SG_S3_TOKEN], *manifest = NULL;
    sg_web_answer answer;
    sg_status st;

    SG_TRY(sg_s3_call(
        s,
        &(sg_s3_request){.method = "POST", .name = name, .query = &query, .n_query = 1, .body = ""},
        &answer));
    SG_TRY(sg_s3_text(answer.body, answer.size, "UploadId", upload, sizeof upload));
    if (!*upload)
        return SG_STORE_FAIL(&s->base, -2, SG_ERR_DATA, "%s/%s: the service gave no upload id",
                             s->base.url, name);
    st = put_parts(s, name, upload, file, bytes, part, &manifest);
    if (st == SG_OK) st = complete(s, name, upload, manifest, tag);
    if (st != SG_OK) abort_upload(s, name, upload);
    sg_free(manifest);
    return st;
}

static sg_status s3_put(sg_store *store, const char *name, int file, int64_t bytes) {
    sg_s3 *s = (sg_s3 *)store;
    size_t room = (size_t)(bytes < kPart ? bytes : kPart);
    char tag[kTag] = "";
    void *part;
    sg_status st;

    if (bytes > (int64_t)kParts * kPart)
        return SG_STORE_FAIL(store, -4, SG_ERR_UNSUPPORTED,
                             "%s/%s: is larger than %d parts of 8 MiB", store->url, name, kParts);
    part = sg_malloc(room);
    if (!part) return sg_s3_out_of_memory(s);
    if (bytes > kPart) {
        st = put_multipart(s, name, file, bytes, part, tag);
    } else {
        st = read_part(s, name, file, 0, bytes, part);
        if (st == SG_OK) st = put_whole(s, name, part, room, tag);
    }
    sg_free(part);
    return st == SG_OK ? confirm(s, name, bytes, tag) : st;
}

static sg_status s3_get(sg_store *store, const char *name, int file) {
    sg_s3 *s = (sg_s3 *)store;
    sg_web_answer answer;

    SG_TRY(sg_s3_call(
        s, &(sg_s3_request){.method = "GET", .name = name, .to_file = true, .file = file},
        &answer));
    if (answer.bytes < 0 || lseek(file, 0, SEEK_END) == answer.bytes) return SG_OK;
    return SG_STORE_FAIL(store, -2, SG_ERR_UNAVAILABLE, "%s/%s: came back cut off", store->url,
                         name);
}

static sg_status list_pages(sg_s3 *s, sg_s3_list *list) {
    char token[SG_S3_TOKEN];
    sg_web_answer answer;

    do {
        const sg_s3_pair query[] = {{"list-type", "2"},
                                    {"prefix", s->prefix},
                                    {"delimiter", "/"},
                                    {"continuation-token", token}};
        sg_status st;

        snprintf(token, sizeof token, "%s", list->next);
        SG_TRY(sg_s3_call(
            s, &(sg_s3_request){.method = "GET", .query = query, .n_query = *token ? 4 : 3},
            &answer));
        st = sg_s3_list_page(answer.body, answer.size, s->prefix, list);
        if (st != SG_OK)
            return SG_STORE_FAIL(&s->base, -2, st, "%s: %s", s->base.url, sg_last_error());
    } while (list->next[0]);
    return SG_OK;
}

static sg_status s3_list(sg_store *store, sg_store_entry **entries, int *n) {
    sg_s3_list *list = sg_calloc(1, sizeof *list);
    sg_status st;

    if (!list) return sg_s3_out_of_memory((sg_s3 *)store);
    st = list_pages((sg_s3 *)store, list);
    *entries = list->entries;
    *n = list->n;
    sg_free(list);
    return st;
}

static sg_status s3_remove(sg_store *store, const char *name) {
    sg_web_answer answer;
    sg_status st =
        sg_s3_call((sg_s3 *)store, &(sg_s3_request){.method = "DELETE", .name = name}, &answer);

    return st == SG_ERR_MISSING ? SG_OK : st; /* S3 says 204 then, others 404 */
}

static void s3_cancel(sg_store *store) { sg_web_cancel(((sg_s3 *)store)->web); }

const sg_store_kind sg_store_s3 = {
    .bytes = sizeof(sg_s3),
    .open = sg_s3_open,
    .put = s3_put,
    .get = s3_get,
    .list = s3_list,
    .remove = s3_remove,
    .cancel = s3_cancel,
    .close = sg_s3_close,
};
