#define _GNU_SOURCE
#include "checkpoint/s3_client.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"

enum {
    kAnswer = 4 << 20, /* a list of 1000 keys is under 1.5 MB */
    kTries = 4,
    kStall = 20, /* seconds */
    kHash = 2 * 32 + 1,
};
static const double kFirstPause = 0.25; /* seconds, then 1 and 4 */

sg_status sg_s3_out_of_memory(const sg_s3 *s) {
    return sg_fail(SG_ERR_OOM, "%s: no memory for a request", s->base.url);
}

static sg_status sha256(const sg_s3 *s, const void *data, size_t bytes, char hex[kHash]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;

    if (!EVP_Digest(data ? data : "", bytes, digest, &length, EVP_sha256(), NULL))
        return sg_s3_out_of_memory(s);
    for (unsigned i = 0; i < length && 2 * i + 2 < kHash; i++)
        sprintf(hex + 2 * i, "%02x", digest[i]);
    return SG_OK;
}

/* The caller's; NULL: no memory. */
static char *url_of(const sg_s3 *s, const sg_s3_request *call) {
    char *key = call->name ? sg_str_printf("%s%s", s->prefix, call->name) : sg_strdup("");
    char *path = key ? sg_s3_encode(key, true) : NULL;
    char *query = sg_s3_query(call->query, call->n_query);
    char *url =
        path && query ? sg_str_printf("%s%s%s%s", s->root, path, *query ? "?" : "", query) : NULL;

    sg_free(query);
    sg_free(path);
    sg_free(key);
    return url;
}

static sg_status send_once(sg_s3 *s, const sg_s3_request *call, const char *url, const char *hash,
                           sg_web_answer *answer) {
    char *token = NULL;
    sg_status st;

    SG_TRY(sg_aws_credentials_get(s->web, &s->credentials));
    if (s->credentials.token) {
        token = sg_str_printf("x-amz-security-token: %s", s->credentials.token);
        if (!token) return sg_s3_out_of_memory(s);
    }
    if (call->to_file && (ftruncate(call->file, 0) != 0 || lseek(call->file, 0, SEEK_SET) != 0)) {
        sg_free(token);
        return sg_fail(SG_ERR_IO, "%s/%s: cannot begin its copy anew", s->base.url, call->name);
    }
    const char *headers[] = {hash, token, NULL};
    st = sg_web_perform(s->web,
                        &(sg_web_request){
                            .method = call->method,
                            .url = url,
                            .headers = headers,
                            .body = call->body,
                            .body_bytes = call->bytes,
                            .stall_seconds = call->stall > 0.0 ? call->stall : kStall,
                            .limit = kAnswer,
                            .to_file = call->to_file,
                            .file = call->file,
                            .sigv4 = s->sigv4,
                            .access_key = s->credentials.access_key,
                            .secret_key = s->credentials.secret_key,
                        },
                        answer);
    sg_free(token);
    return st;
}

typedef struct {
    char code[64], message[512];
} s3_error;

/* What the service says is wrong; empty where it does not say, or not in S3's words. */
static void read_error(const sg_web_answer *a, s3_error *e) {
    if (sg_s3_text(a->body, a->size, "Code", e->code, sizeof e->code) != SG_OK ||
        sg_s3_text(a->body, a->size, "Message", e->message, sizeof e->message) != SG_OK)
        e->code[0] = e->message[0] = '\0';
    for (char *p = e->message; *p; p++)
        if ((unsigned char)*p < ' ') *p = ' ';
}

static bool is_good(int status) { return status >= 200 && status < 300; }

/* Whether asking again may help. CompleteMultipartUpload says 200 before it knows. */
static bool is_passing(const sg_web_answer *a, const s3_error *e) {
    static const char *const passing[] = {"SlowDown", "RequestTimeout", "InternalError",
                                          "ServiceUnavailable", "OperationAborted"};

    if (a->status >= 500 || a->status == 429) return true;
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (strcmp(e->code, passing[i]) == 0) return true;
    return false;
}

static bool is_expired(const s3_error *e) {
    return strcmp(e->code, "ExpiredToken") == 0 || strcmp(e->code, "ExpiredTokenException") == 0;
}

static sg_status refused(sg_s3 *s, const sg_s3_request *call, const sg_web_answer *a,
                         const s3_error *e) {
    const char *region = sg_web_header(s->web, "x-amz-bucket-region");
    bool elsewhere = region && strcmp(region, s->region) != 0;

    return SG_STORE_FAIL(&s->base, a->status,
                         a->status == 404 && strcmp(e->code, "NoSuchBucket") != 0
                             ? SG_ERR_MISSING
                             : SG_ERR_UNAVAILABLE,
                         "%s%s%s: %s: HTTP %d%s%s%s%s%s%.32s", s->base.url, call->name ? "/" : "",
                         call->name ? call->name : "", call->method, a->status, *e->code ? " " : "",
                         e->code, *e->message ? ": " : "", e->message,
                         elsewhere ? "; set AWS_REGION=" : "", elsewhere ? region : "");
}

/* Between half and all of the time, so that many nodes do not come back in step. */
static sg_status pause_before(sg_s3 *s, int try) {
    double share = 0.5 + 0.5 * rand_r(&s->random) / (double)RAND_MAX;

    return sg_web_pause(s->web, share * kFirstPause * (double)(1 << (2 * (try - 1))));
}

/* The answer is good, or this is a failure with its one line. */
static sg_status call_hashed(sg_s3 *s, const sg_s3_request *call, const char *url, const char *hash,
                             sg_web_answer *answer) {
    s3_error e = {"", ""};
    sg_status st = SG_OK;

    for (int try = 0; try < kTries; try++) {
        if (try > 0) SG_TRY(pause_before(s, try));
        st = send_once(s, call, url, hash, answer);
        if (st == SG_ERR_UNAVAILABLE && sg_web_failure(s->web)) continue;
        if (st != SG_OK) return st;
        if (is_good(answer->status) && (call->to_file || strcmp(call->method, "POST") != 0))
            return SG_OK;
        read_error(answer, &e);
        if (is_good(answer->status) && !*e.code) return SG_OK;
        if (is_expired(&e))
            sg_aws_credentials_forget(&s->credentials);
        else if (!is_passing(answer, &e))
            break;
    }
    return st == SG_OK ? refused(s, call, answer, &e) : st;
}

sg_status sg_s3_call(sg_s3 *s, const sg_s3_request *call, sg_web_answer *answer) {
    char hash[kHash + 32] = "x-amz-content-sha256: ", hex[kHash];
    char *url;
    sg_status st;

    s->base.failure = -1;
    SG_TRY(sha256(s, call->body, call->bytes, hex));
    strcat(hash, hex);
    url = url_of(s, call);
    if (!url) return sg_s3_out_of_memory(s);
    st = call_hashed(s, call, url, hash, answer);
    sg_free(url);
    /* libcurl's numbers beside those of HTTP */
    if (st != SG_OK && s->base.failure == -1)
        return SG_STORE_FAIL(&s->base, -1000 - sg_web_failure(s->web), st, "%s%s%s: %s",
                             s->base.url, call->name ? "/" : "", call->name ? call->name : "",
                             sg_last_error());
    return st;
}

static const char *environment(const char *first, const char *second) {
    const char *value = getenv(first);

    if (!value || !*value) value = getenv(second);
    return value && *value ? value : NULL;
}

/* Another service has its buckets in the path; AWS in the host's name, where a certificate covers
 * it (no '.' in the bucket). */
static sg_status make_root(sg_s3 *s, const char *url, const char *endpoint) {
    const char *suffix = strncmp(s->region, "cn-", 3) == 0 ? ".cn" : "";

    if (endpoint) {
        int length = (int)strlen(endpoint);

        if (strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0)
            return sg_fail(SG_ERR_CONFIG,
                           "AWS_ENDPOINT_URL: %s does not begin with http:// or https://",
                           endpoint);
        while (length > 0 && endpoint[length - 1] == '/') length--;
        s->root = sg_str_printf("%.*s/%s/", length, endpoint, s->bucket);
    } else if (strchr(s->bucket, '.')) {
        s->root = sg_str_printf("https://s3.%s.amazonaws.com%s/%s/", s->region, suffix, s->bucket);
    } else {
        s->root = sg_str_printf("https://%s.s3.%s.amazonaws.com%s/", s->bucket, s->region, suffix);
    }
    return s->root ? SG_OK : sg_fail(SG_ERR_OOM, "%s: no memory for a store", url);
}

sg_status sg_s3_open(sg_store *store, const char *url) {
    sg_s3 *s = (sg_s3 *)store;
    const char *endpoint = environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL");
    const char *region = environment("AWS_REGION", "AWS_DEFAULT_REGION");

    s->random = (unsigned)getpid();
    SG_TRY(sg_s3_parse_url(url, s->bucket, &s->prefix));
    if (!region && endpoint) region = "us-east-1"; /* what services other than AWS expect */
    if (!region)
        return sg_fail(SG_ERR_CONFIG,
                       "%s: in which region? Set AWS_REGION, e.g. AWS_REGION=eu-west-1", url);
    if (strlen(region) >= SG_S3_REGION ||
        region[strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-")])
        return sg_fail(SG_ERR_CONFIG, "AWS_REGION: '%.80s' is no region", region);
    snprintf(s->region, sizeof s->region, "%s", region);
    snprintf(s->sigv4, sizeof s->sigv4, "aws:amz:%s:s3", region);
    SG_TRY(make_root(s, url, endpoint));
    return sg_web_create(&s->web);
}

void sg_s3_close(sg_store *store) {
    sg_s3 *s = (sg_s3 *)store;

    sg_web_destroy(s->web);
    sg_aws_credentials_clear(&s->credentials);
    sg_free(s->prefix);
    sg_free(s->root);
}
