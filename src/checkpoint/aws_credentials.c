#define _GNU_SOURCE
#include "checkpoint/aws_credentials.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"

enum { kEarly = 300, kTries = 3, kSeconds = 2, kTokenFile = 64 << 10 };

static const char kInstance[] = "http://169.254.169.254", kContainer[] = "http://169.254.170.2";
static const char kNone[] =
    "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "give the instance or the container a role";

static const char *environment(const char *name) {
    const char *value = getenv(name);

    return value && *value ? value : NULL;
}

/* What goes into a header: one line of ASCII. */
static bool is_line(const char *text) {
    if (!text || !*text) return false;
    for (; *text; text++)
        if (*text < ' ' || *text > '~') return false;
    return true;
}

static bool is_key(const char *text) { return is_line(text) && !strchr(text, ' '); }

void sg_aws_credentials_clear(sg_aws_credentials *c) {
    sg_free(c->access_key);
    sg_free(c->secret_key);
    sg_free(c->token);
    *c = (sg_aws_credentials){0};
}

void sg_aws_credentials_forget(sg_aws_credentials *c) {
    if (c->renew > 0.0) sg_aws_credentials_clear(c);
}

/* `token` may be NULL; `life` in seconds, 0: they never end. */
static sg_status take(sg_aws_credentials *c, const char *from, const char *access,
                      const char *secret, const char *token, double life) {
    sg_aws_credentials fresh = {0};

    if (!is_key(access) || !is_key(secret) || (token && !is_key(token)))
        return sg_fail(SG_ERR_UNAVAILABLE, "%s: these are no keys (one line, no spaces)", from);
    fresh.access_key = sg_strdup(access);
    fresh.secret_key = sg_strdup(secret);
    if (token) fresh.token = sg_strdup(token);
    if (!fresh.access_key || !fresh.secret_key || (token && !fresh.token)) {
        sg_aws_credentials_clear(&fresh);
        return sg_fail(SG_ERR_OOM, "no memory for AWS credentials");
    }
    if (life > 0.0) {
        fresh.expire = sg_now() + life;
        fresh.renew = life > 2.0 * kEarly ? fresh.expire - kEarly : sg_now() + life / 2.0;
    }
    sg_aws_credentials_clear(c);
    *c = fresh;
    return SG_OK;
}

static sg_status from_environment(sg_aws_credentials *c, const char *access) {
    const char *secret = environment("AWS_SECRET_ACCESS_KEY");

    if (!secret)
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not: set both");
    return take(c, "AWS_ACCESS_KEY_ID", access, secret, environment("AWS_SESSION_TOKEN"), 0.0);
}

/* Ask a service next door; it must say 200. Not for long: it may not be there at all. */
static sg_status ask(sg_web *web, const char *method, const char *url, const char *header,
                     sg_web_answer *answer) {
    const char *headers[] = {header, NULL};
    const sg_web_request request = {
        .method = method,
        .url = url,
        .headers = headers,
        .body = strcmp(method, "PUT") == 0 ? "" : NULL,
        .connect_seconds = 1,
        .total_seconds = kSeconds,
        .direct = true,
    };
    sg_status st = SG_OK;

    for (int i = 0; i < kTries; i++) {
        if (i > 0) SG_TRY(sg_web_pause(web, 0.1 * i));
        st = sg_web_perform(web, &request, answer);
        if (st == SG_ERR_UNAVAILABLE) continue;
        if (st != SG_OK || answer->status < 500) break;
    }
    if (st == SG_OK && answer->status != 200)
        st = sg_fail(SG_ERR_UNAVAILABLE, "%s: HTTP %d", url, answer->status);
    return st;
}

/* "2026-11-23T19:24:34Z" as seconds from now; 0 where it says something else. */
static double life_of(const char *expiration) {
    struct tm utc = {0};
    const char *end = expiration ? strptime(expiration, "%Y-%m-%dT%H:%M:%S", &utc) : NULL;
    double life;

    if (!end || *end != 'Z') return 0.0;
    life = difftime(timegm(&utc), time(NULL));
    return life > 1.0 ? life : 1.0;
}

/* {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}, of containers and of IMDS */
static sg_status take_json(sg_aws_credentials *c, const char *url, const sg_web_answer *answer) {
    json_t *root = json_loadb(answer->body, answer->size, 0, NULL);
    const char *code = json_string_value(json_object_get(root, "Code"));
    double life = life_of(json_string_value(json_object_get(root, "Expiration")));
    sg_status st;

    if (!root || (code && strcmp(code, "Success") != 0) || life <= 0.0)
        st = sg_fail(SG_ERR_DATA, "%s: gave no credentials%s%.64s", url, code ? ": " : "",
                     code ? code : "");
    else
        st = take(c, url, json_string_value(json_object_get(root, "AccessKeyId")),
                  json_string_value(json_object_get(root, "SecretAccessKey")),
                  json_string_value(json_object_get(root, "Token")), life);
    json_decref(root);
    return st;
}

/* The token would be read by whoever listens: plain http only to this machine or next door. */
static bool is_near(const char *url) {
    static const char *const near[] = {"http://127.0.0.1",      "http://localhost",
                                       "http://[::1]",          "http://169.254.170.2",
                                       "http://169.254.170.23", "http://[fd00:ec2::23]"};

    if (strncmp(url, "https://", 8) == 0) return true;
    if (strchr(url, '@')) return false; /* the host's name is behind it */
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        size_t n = strlen(near[i]);

        if (strncmp(url, near[i], n) == 0 && (!url[n] || strchr("/:?", url[n]))) return true;
    }
    return false;
}

/* "Authorization: ...", or NULL when there is none to send; the caller's. */
static sg_status authorization(char **header) {
    const char *file = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *text = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    uint8_t *data = NULL;
    size_t size;
    sg_status st = SG_OK;

    *header = NULL;
    if (!file && !text) return SG_OK;
    if (file) {
        SG_TRY(sg_file_read(file, kTokenFile, &data, &size));
        while (size > 0 && (data[size - 1] == '\n' || data[size - 1] == '\r')) data[--size] = 0;
        text = (const char *)data;
    }
    if (is_line(text))
        *header = sg_str_printf("Authorization: %s", text);
    else
        st = sg_fail(SG_ERR_UNAVAILABLE, "%s: is no authorization token",
                     file ? file : "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (st == SG_OK && !*header) st = sg_fail(SG_ERR_OOM, "no memory for AWS credentials");
    sg_free(data);
    return st;
}

static sg_status from_container(sg_web *web, sg_aws_credentials *c) {
    const char *relative = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    sg_web_answer answer;
    char *url, *header;
    sg_status st;

    if (!relative && !is_near(full))
        return sg_fail(SG_ERR_UNAVAILABLE,
                       "AWS_CONTAINER_CREDENTIALS_FULL_URI: %s is neither https nor this machine",
                       full);
    url = relative ? sg_str_printf("%s%s", kContainer, relative) : sg_strdup(full);
    if (!url) return sg_fail(SG_ERR_OOM, "no memory for AWS credentials");
    st = authorization(&header);
    if (st == SG_OK) {
        st = ask(web, "GET", url, header, &answer);
        if (st == SG_OK) st = take_json(c, url, &answer);
        sg_free(header);
    }
    sg_free(url);
    return st;
}

/* Both of the role's requests, with the token; the answer's first line is the role's name. */
static sg_status ask_role(sg_web *web, sg_aws_credentials *c, const char *roles,
                          const char *header) {
    sg_web_answer answer;
    char *url;
    sg_status st;

    SG_TRY(ask(web, "GET", roles, header, &answer));
    answer.body[strcspn(answer.body, "\r\n")] = '\0';
    if (!is_key(answer.body)) return sg_fail(SG_ERR_UNAVAILABLE, "%s: names no role", roles);
    url = sg_str_printf("%s%s", roles, answer.body);
    if (!url) return sg_fail(SG_ERR_OOM, "no memory for AWS credentials");
    st = ask(web, "GET", url, header, &answer);
    if (st == SG_OK) st = take_json(c, url, &answer);
    sg_free(url);
    return st;
}

static sg_status from_instance(sg_web *web, sg_aws_credentials *c) {
    const char *set = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *endpoint = set ? set : kInstance;
    int length = (int)strlen(endpoint);
    char *token_url, *roles, *header = NULL;
    sg_web_answer answer;
    sg_status st = SG_OK;

    while (length > 0 && endpoint[length - 1] == '/') length--;
    token_url = sg_str_printf("%.*s/latest/api/token", length, endpoint);
    roles = sg_str_printf("%.*s/latest/meta-data/iam/security-credentials/", length, endpoint);
    if (!token_url || !roles) st = sg_fail(SG_ERR_OOM, "no memory for AWS credentials");
    if (st == SG_OK) {
        st = ask(web, "PUT", token_url, "X-aws-ec2-metadata-token-ttl-seconds: 21600", &answer);
        if (st == SG_OK && !is_key(answer.body))
            st = sg_fail(SG_ERR_DATA, "%s: gave no token", token_url);
    }
    if (st == SG_OK) {
        header = sg_str_printf("X-aws-ec2-metadata-token: %s", answer.body);
        if (!header) st = sg_fail(SG_ERR_OOM, "no memory for AWS credentials");
    }
    if (st == SG_OK) st = ask_role(web, c, roles, header);
    sg_free(header);
    sg_free(roles);
    sg_free(token_url);
    if (st == SG_ERR_UNAVAILABLE || st == SG_ERR_DATA)
        return sg_fail(st, "%s (%s)", kNone, sg_last_error());
    return st;
}

static sg_status find(sg_web *web, sg_aws_credentials *c) {
    const char *access = environment("AWS_ACCESS_KEY_ID");
    const char *off = environment("AWS_EC2_METADATA_DISABLED");

    if (access) return from_environment(c, access);
    if (environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") ||
        environment("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
        return from_container(web, c);
    if (off && strcasecmp(off, "true") == 0) return sg_fail(SG_ERR_UNAVAILABLE, "%s", kNone);
    return from_instance(web, c);
}

sg_status sg_aws_credentials_get(sg_web *web, sg_aws_credentials *c) {
    sg_status st;

    if (c->access_key && (c->renew <= 0.0 || sg_now() < c->renew)) return SG_OK;
    st = find(web, c);
    if (st == SG_OK || st == SG_ERR_INTERRUPTED || !c->access_key || sg_now() >= c->expire)
        return st;
    /* the old ones are still good: ask again in a while */
    sg_log(SG_LOG_DEBUG, "AWS credentials cannot be renewed yet: %s", sg_last_error());
    c->renew = sg_now() + 10.0;
    return SG_OK;
}
