#define _GNU_SOURCE
#include "core/web.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/threads.h"

enum {
    kAnswerDefault = 64 << 10,
    kAnswerFirst = 4096,
    kPollMs = 1000,
    kConnectDefault = 5,
    kExpectMs = 300
};

struct sg_web {
    CURL *easy;                 /* owned; keeps options' strings and the last answer's headers */
    CURLM *multi;               /* owned; only here can a wait be woken from another thread */
    struct curl_slist *headers; /* of the last request, owned */
    char error[CURL_ERROR_SIZE];
    int failure;
    atomic_bool cancelled;

    const sg_web_request *request; /* during sg_web_perform; borrowed */
    size_t sent;                   /* bytes of the body */
    char *body;                    /* of the answer, owned */
    size_t size, capacity;
    sg_status status; /* what a callback found wrong; its text is the thread's last error */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode ready;
static const char *authorities; /* file of certificates, NULL: where libcurl looks */

/* libcurl was told at its making where Debian keeps the certificates of authorities; a bundle takes
 * it to systems that keep them elsewhere. The variables are curl's and OpenSSL's. */
static const char *find_authorities(void) {
    static const char *const variables[] = {"CURL_CA_BUNDLE", "SSL_CERT_FILE"};
    static const char *const files[] = {
        "/etc/ssl/certs/ca-certificates.crt", /* Debian, Ubuntu, Arch, Gentoo, NixOS */
        "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL, Amazon Linux */
        "/etc/ssl/ca-bundle.pem",             /* SUSE */
        "/etc/ssl/cert.pem",                  /* Alpine */
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    };

    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *file = getenv(variables[i]);

        if (file && *file) return file; /* whether it can be read, libcurl tells */
    }
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (access(files[i], R_OK) == 0) return files[i];
    return NULL;
}

static void start_curl(void) {
    ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    authorities = find_authorities();
}

sg_status sg_web_create(sg_web **out) {
    sg_web *web;

    pthread_once(&once, start_curl);
    web = ready == CURLE_OK ? sg_calloc(1, sizeof *web) : NULL;
    if (web) {
        web->easy = curl_easy_init();
        web->multi = curl_multi_init();
    }
    if (!web || !web->easy || !web->multi) {
        sg_web_destroy(web);
        return sg_fail(SG_ERR_OOM, "no memory for an HTTP client");
    }
    *out = web;
    return SG_OK;
}

void sg_web_destroy(sg_web *web) {
    if (!web) return;
    curl_multi_cleanup(web->multi);
    curl_easy_cleanup(web->easy);
    curl_slist_free_all(web->headers);
    sg_free(web->body);
    sg_free(web);
}

static size_t give_body(char *to, size_t size, size_t count, void *context) {
    sg_web *web = context;
    size_t left = web->request->body_bytes - web->sent;
    size_t n = size * count < left ? size * count : left;

    if (n > 0) memcpy(to, (const char *)web->request->body + web->sent, n);
    web->sent += n;
    return n;
}

/* libcurl begins anew where a kept connection turns out to be closed */
static int rewind_body(void *context, curl_off_t offset, int origin) {
    sg_web *web = context;

    if (origin != SEEK_SET || offset < 0 || (size_t)offset > web->request->body_bytes)
        return CURL_SEEKFUNC_FAIL;
    web->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static sg_status keep_in_memory(sg_web *web, const char *data, size_t bytes) {
    size_t limit = web->request->limit ? web->request->limit : kAnswerDefault;
    size_t wanted = web->capacity ? web->capacity : kAnswerFirst;

    if (bytes > limit - web->size)
        return sg_fail(SG_ERR_DATA, "the answer is larger than %zu bytes", limit);
    while (wanted < web->size + bytes + 1) wanted *= 2;
    if (wanted > web->capacity) {
        char *larger = sg_realloc(web->body, web->size, wanted);

        if (!larger) return sg_fail(SG_ERR_OOM, "no memory for an answer of %zu bytes", wanted);
        web->body = larger;
        web->capacity = wanted;
    }
    memcpy(web->body + web->size, data, bytes);
    web->size += bytes;
    return SG_OK;
}

static sg_status keep_in_file(sg_web *web, const char *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t put = write(web->request->file, data, bytes);

        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return sg_fail(SG_ERR_IO, "cannot write the answer: %s", strerror(errno));
        data += put;
        bytes -= (size_t)put;
    }
    return SG_OK;
}

static size_t take_answer(char *data, size_t size, size_t count, void *context) {
    sg_web *web = context;
    long status = 0;

    curl_easy_getinfo(web->easy, CURLINFO_RESPONSE_CODE, &status);
    web->status = web->request->to_file && status >= 200 && status < 300
                      ? keep_in_file(web, data, size * count)
                      : keep_in_memory(web, data, size * count);
    return web->status == SG_OK ? size * count : CURL_WRITEFUNC_ERROR;
}

#define SET(option, value)                                                                         \
    do {                                                                                           \
        CURLcode code_ = curl_easy_setopt(web->easy, option, value);                               \
        if (code_ != CURLE_OK)                                                                     \
            return sg_fail(code_ == CURLE_OUT_OF_MEMORY ? SG_ERR_OOM : SG_ERR_UNSUPPORTED,         \
                           "libcurl: " #option ": %s", curl_easy_strerror(code_));                 \
    } while (0)

static sg_status set_headers(sg_web *web, const sg_web_request *request) {
    curl_slist_free_all(web->headers);
    web->headers = NULL;
    for (int i = 0; request->headers && request->headers[i]; i++) {
        struct curl_slist *longer = curl_slist_append(web->headers, request->headers[i]);

        if (!longer) return sg_fail(SG_ERR_OOM, "no memory for a request's headers");
        web->headers = longer;
    }
    SET(CURLOPT_HTTPHEADER, web->headers);
    return SG_OK;
}

static sg_status set_limits(sg_web *web, const sg_web_request *r) {
    double connect = r->connect_seconds > 0.0 ? r->connect_seconds : kConnectDefault;

    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(connect * 1e3));
    SET(CURLOPT_TIMEOUT_MS, (long)(r->total_seconds * 1e3));
    if (r->stall_seconds > 0.0) {
        SET(CURLOPT_LOW_SPEED_LIMIT, 1024L);
        SET(CURLOPT_LOW_SPEED_TIME, (long)(r->stall_seconds + 0.999));
    }
    /* "Expect:" among the headers would forgo that wait, but 7.88 signs it and does not send it */
    SET(CURLOPT_EXPECT_100_TIMEOUT_MS, (long)kExpectMs);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* a name that is being looked up holds nobody back */
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    if (r->direct) SET(CURLOPT_NOPROXY, "*");
    return SG_OK;
}

static sg_status set_request(sg_web *web, const sg_web_request *r) {
    curl_easy_reset(web->easy); /* connections stay */
    SET(CURLOPT_ERRORBUFFER, web->error);
    SET(CURLOPT_URL, r->url);
    SET(CURLOPT_PATH_AS_IS, 1L);
    if (authorities) SET(CURLOPT_CAINFO, authorities);
    if (strcmp(r->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (r->body) {
        SET(CURLOPT_UPLOAD, 1L);
        SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t)r->body_bytes);
        SET(CURLOPT_READFUNCTION, give_body);
        SET(CURLOPT_READDATA, web);
        SET(CURLOPT_SEEKFUNCTION, rewind_body);
        SET(CURLOPT_SEEKDATA, web);
    }
    SET(CURLOPT_CUSTOMREQUEST, r->method);
    SET(CURLOPT_WRITEFUNCTION, take_answer);
    SET(CURLOPT_WRITEDATA, web);
    if (r->sigv4) {
        SET(CURLOPT_AWS_SIGV4, r->sigv4);
        SET(CURLOPT_USERNAME, r->access_key);
        SET(CURLOPT_PASSWORD, r->secret_key);
    }
    SG_TRY(set_limits(web, r));
    return set_headers(web, r);
}

static sg_status cancelled(void) { return sg_fail(SG_ERR_INTERRUPTED, "cancelled"); }

/* Runs the transfer to its end; *code is libcurl's verdict. */
static sg_status transfer(sg_web *web, CURLcode *code) {
    CURLMcode multi = curl_multi_add_handle(web->multi, web->easy);
    int running = 1, left;
    CURLMsg *message;

    while (multi == CURLM_OK && running && !atomic_load(&web->cancelled)) {
        multi = curl_multi_perform(web->multi, &running);
        if (multi == CURLM_OK && running)
            multi = curl_multi_poll(web->multi, NULL, 0, kPollMs, NULL);
    }
    message = multi == CURLM_OK ? curl_multi_info_read(web->multi, &left) : NULL;
    if (message) *code = message->data.result;
    curl_multi_remove_handle(web->multi, web->easy);
    if (multi != CURLM_OK)
        return sg_fail(multi == CURLM_OUT_OF_MEMORY ? SG_ERR_OOM : SG_ERR_UNAVAILABLE,
                       "libcurl: %s", curl_multi_strerror(multi));
    return message ? SG_OK : cancelled();
}

/* "http://host:port: text" of the URL: without the name and the password that may be in it. */
static sg_status fail_at(const char *url, sg_status st, const char *text) {
    const char *host = strstr(url, "://"), *user;
    int scheme;

    host = host ? host + 3 : url;
    scheme = (int)(host - url);
    user = memchr(host, '@', strcspn(host, "/?#"));
    host = user ? user + 1 : host;
    return sg_fail(st, "%.*s%.*s: %s", scheme, url, (int)strcspn(host, "/?#"), host, text);
}

static sg_status verdict(sg_web *web, const char *url, CURLcode code) {
    sg_status st = SG_ERR_UNAVAILABLE;
    const char *text = web->error[0] ? web->error : curl_easy_strerror(code);

    web->failure = (int)code;
    if (code == CURLE_OK) return SG_OK;
    if (web->status != SG_OK) {
        st = web->status;
        text = sg_last_error();
    } else if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
        st = SG_ERR_ARG;
    } else if (code == CURLE_OUT_OF_MEMORY) {
        st = SG_ERR_OOM;
    }
    return fail_at(url, st, text);
}

sg_status sg_web_perform(sg_web *web, const sg_web_request *request, sg_web_answer *answer) {
    CURLcode code = CURLE_OK;
    curl_off_t bytes = -1;
    long status = 0;

    if (atomic_load(&web->cancelled)) return cancelled();
    web->request = request;
    web->sent = web->size = 0;
    web->status = SG_OK;
    web->error[0] = '\0';
    SG_TRY(set_request(web, request));
    SG_TRY(keep_in_memory(web, "", 0)); /* room for the NUL, whatever comes */
    SG_TRY(transfer(web, &code));
    SG_TRY(verdict(web, request->url, code));
    web->body[web->size] = '\0';
    curl_easy_getinfo(web->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(web->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &bytes);
    *answer = (sg_web_answer){(int)status, web->body, web->size, (int64_t)bytes};
    return SG_OK;
}

const char *sg_web_header(sg_web *web, const char *name) {
    struct curl_header *found;

    return curl_easy_header(web->easy, name, 0, CURLH_HEADER, -1, &found) == CURLHE_OK
               ? found->value
               : NULL;
}

int sg_web_failure(const sg_web *web) { return web->failure; }

void sg_web_cancel(sg_web *web) {
    atomic_store(&web->cancelled, true);
    curl_multi_wakeup(web->multi);
}

bool sg_web_is_cancelled(const sg_web *web) { return atomic_load(&web->cancelled); }

sg_status sg_web_pause(sg_web *web, double seconds) {
    double end = sg_now() + seconds, left;

    while (!atomic_load(&web->cancelled) && (left = end - sg_now()) > 0.0) {
        int ms = left > 3600.0 ? 3600000 : (int)(left * 1e3) + 1;

        if (curl_multi_poll(web->multi, NULL, 0, ms, NULL) != CURLM_OK)
            return sg_fail(SG_ERR_UNAVAILABLE, "libcurl: cannot wait");
    }
    return atomic_load(&web->cancelled) ? cancelled() : SG_OK;
}
