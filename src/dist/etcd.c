/* One request after the other to whichever of etcd's endpoints answers.
 *
 * TLS and passwords are not spoken: etcd belongs on the network of those who train, where nobody
 * else reaches it. No proxy is asked either. */
#define _GNU_SOURCE
#include "dist/etcd.h"

#include <ctype.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/threads.h"

enum { kAnswerMost = 64 << 20, kStatusFine = 200, kStatusMissing = 404, kExcerpt = 160 };

static const double kLeast = 0.05; /* seconds for an endpoint, however late it is */
static const double kConnect = 0.5;
static const char kScheme[] = "etcd://", kPrefix[] = "/spotgrad";

/* --- the URL ---------------------------------------------------------------------------------- */

/* "host:port", "[::1]:port" */
static bool is_endpoint(const char *text, size_t length) {
    const char *colon = memrchr(text, ':', length), *end = text + length;
    bool bracketed = text[0] == '[' && colon && colon - text > 2 && colon[-1] == ']';
    long port;

    if (!colon || colon == text || end - colon < 2 || end - colon > 6) return false;
    for (const char *c = bracketed ? text + 1 : text; c < (bracketed ? colon - 1 : colon); c++)
        if (!isalnum((unsigned char)*c) && !strchr(bracketed ? ":." : ".-_", *c)) return false;
    for (const char *c = colon + 1; c < end; c++)
        if (!isdigit((unsigned char)*c)) return false;
    port = strtol(colon + 1, NULL, 10);
    return port > 0 && port < 65536;
}

static bool is_prefix(const char *text) {
    size_t length = strlen(text);

    if (length >= SG_ETCD_PREFIX || strstr(text, "//")) return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr("/.-_", *text)) return false;
    return true;
}

static sg_status add_endpoint(sg_etcd *etcd, const char *text, size_t length) {
    if (!is_endpoint(text, length))
        return sg_fail(SG_ERR_CONFIG,
                       "%s: '%.*s' is no HOST:PORT; it is written "
                       "etcd://HOST:PORT[,HOST:PORT...][/PREFIX]",
                       etcd->url, (int)length, text);
    if (etcd->n == SG_ETCD_ENDPOINTS)
        return sg_fail(SG_ERR_CONFIG, "%s: more than %d endpoints", etcd->url, SG_ETCD_ENDPOINTS);
    etcd->endpoint[etcd->n] = sg_str_printf("http://%.*s", (int)length, text);
    if (!etcd->endpoint[etcd->n]) return sg_fail(SG_ERR_OOM, "%s: no memory for it", etcd->url);
    etcd->n++;
    return SG_OK;
}

static sg_status parse(sg_etcd *etcd) {
    const char *at = etcd->url + sizeof kScheme - 1;
    size_t length;

    for (;; at++) {
        length = strcspn(at, ",/");
        SG_TRY(add_endpoint(etcd, at, length));
        at += length;
        if (*at != ',') break;
    }
    length = strlen(at);
    if (length > 0 && at[length - 1] == '/') length--;
    if (!is_prefix(at))
        return sg_fail(SG_ERR_CONFIG,
                       "%s: '%s' cannot begin keys: letters, digits, '.', '-', '_', "
                       "and single '/' are fine, %d bytes of them",
                       etcd->url, at, SG_ETCD_PREFIX - 1);
    snprintf(etcd->prefix, sizeof etcd->prefix, "%.*s", length > 0 ? (int)length : SG_ETCD_PREFIX,
             length > 0 ? at : kPrefix);
    return SG_OK;
}

sg_status sg_etcd_init(sg_etcd *etcd, const char *url) {
    sg_status st;

    *etcd = (sg_etcd){.url = url};
    st = parse(etcd);
    if (st == SG_OK) st = sg_web_create(&etcd->web);
    if (st != SG_OK) sg_etcd_clear(etcd);
    return st;
}

void sg_etcd_clear(sg_etcd *etcd) {
    for (int i = 0; i < etcd->n; i++) sg_free(etcd->endpoint[i]);
    sg_web_destroy(etcd->web);
    etcd->n = 0;
    etcd->web = NULL;
}

/* --- asking ----------------------------------------------------------------------------------- */

/* What a refusal says. */
static const char *message_of(const json_t *root) {
    const json_t *error = json_object_get(root, "error");
    const char *text =
        json_string_value(json_is_object(error) ? json_object_get(error, "message") : error);

    return text ? text : json_string_value(json_object_get(root, "message"));
}

static sg_status judge(const char *url, const sg_web_answer *answer, json_t **out) {
    json_t *root = json_loadb(answer->body, answer->size, JSON_REJECT_DUPLICATES, NULL);
    const char *message = message_of(root);
    bool is_error = json_object_get(root, "error") != NULL;
    sg_status st;

    if (answer->status == kStatusFine && json_is_object(root) && !is_error) {
        *out = root;
        return SG_OK;
    }
    if (message)
        st = sg_fail(answer->status == kStatusMissing ? SG_ERR_MISSING : SG_ERR_UNAVAILABLE,
                     "%s: HTTP %d: %.*s", url, answer->status, kExcerpt, message);
    else
        st = sg_fail(SG_ERR_UNAVAILABLE,
                     "%s: HTTP %d, and nothing that etcd's gateway would say; is it etcd 3.4 or "
                     "later?",
                     url, answer->status);
    json_decref(root);
    return st;
}

static sg_status ask_one(sg_etcd *etcd, const char *endpoint, const char *path, const char *body,
                         double seconds, json_t **answer) {
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    char *url = sg_str_printf("%s%s", endpoint, path);
    sg_web_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .body = body,
        .body_bytes = strlen(body),
        .connect_seconds = fmin(seconds, kConnect),
        .total_seconds = seconds,
        .limit = kAnswerMost,
        .direct = true,
    };
    sg_web_answer got;
    sg_status st;

    if (!url) return sg_fail(SG_ERR_OOM, "%s: no memory to ask it", etcd->url);
    st = sg_web_perform(etcd->web, &request, &got);
    if (st == SG_OK) st = judge(url, &got, answer);
    sg_free(url);
    return st;
}

sg_status sg_etcd_ask(sg_etcd *etcd, const char *path, json_t *request, double deadline,
                      json_t **answer) {
    char *body = request ? json_dumps(request, JSON_COMPACT) : NULL;
    sg_status st = SG_ERR_UNAVAILABLE;
    int first = etcd->current;

    json_decref(request);
    if (!body) return sg_fail(SG_ERR_OOM, "%s: no memory to ask it", etcd->url);
    if (sg_now() >= deadline) {
        free(body);
        return sg_fail(SG_ERR_UNAVAILABLE, "%s: answers, but too slowly", etcd->url);
    }
    for (int i = 0; i < etcd->n; i++) {
        double share = (deadline - sg_now()) / (etcd->n - i);

        etcd->current = (first + i) % etcd->n;
        st = ask_one(etcd, etcd->endpoint[etcd->current], path, body, fmax(share, kLeast), answer);
        if (st == SG_OK || st == SG_ERR_MISSING || st == SG_ERR_OOM) break;
        st = SG_ERR_UNAVAILABLE;
    }
    free(body);
    return st;
}

/* --- base 64 ---------------------------------------------------------------------------------- */

void sg_base64_encode(const char *data, size_t size, char *to) {
    EVP_EncodeBlock((unsigned char *)to, (const unsigned char *)data, (int)size);
}

bool sg_base64_decode(const char *text, char *to, size_t *size) {
    size_t length = strlen(text), padding = 0;
    int n;

    while (padding < 2 && length > padding && text[length - 1 - padding] == '=') padding++;
    if (length % 4 != 0) return false;
    n = EVP_DecodeBlock((unsigned char *)to, (const unsigned char *)text, (int)length);
    if (n < 0 || (size_t)n < padding) return false;
    *size = (size_t)n - padding; /* zeros, where padding was */
    to[*size] = '\0';
    return true;
}
