/* HTTP requests with libcurl: one after the other on a client, whose connection stays open.
 *
 * For object stores and metadata services: a body that fits into memory goes out, an answer of
 * bounded size comes back, or goes to a file. Redirects are not followed, cookies not kept. A
 * client belongs to one thread at a time; only sg_web_cancel may come from another. */
#ifndef SG_CORE_WEB_H
#define SG_CORE_WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_web sg_web;

typedef struct {
    const char *method;         /* GET, HEAD, PUT, POST, DELETE */
    const char *url;            /* http or https; the path is sent as it is written */
    const char *const *headers; /* "Name: value", the last one NULL; NULL: none */
    const void *body;           /* NULL: none */
    size_t body_bytes;
    double connect_seconds; /* for the connection alone; 0: 5 */
    double total_seconds;   /* for everything; 0: no limit */
    double stall_seconds;   /* less than 1 KB/s for so long; 0: no limit */
    size_t limit;           /* of the answer in memory, bytes; 0: 64 KB. More is SG_ERR_DATA */
    bool direct;            /* no proxy, whatever the environment says: link-local services */
    /* an answer of 2xx is written to this file from its place on (else: to memory) */
    bool to_file;
    int file;
    /* AWS signature version 4, with libcurl's: "aws:amz:REGION:SERVICE"; NULL: not signed. libcurl
     * signs all headers, but does not sort the query's parameters, and leaves one without "=" out
     */
    const char *sigv4, *access_key, *secret_key;
} sg_web_request;

typedef struct {
    int status;    /* 200, 404, ... */
    char *body;    /* what is in memory, a NUL behind it; until the client's next request */
    size_t size;   /* its bytes */
    int64_t bytes; /* Content-Length, of a HEAD too; -1: not told */
} sg_web_answer;

/* SG_ERR_OOM. */
sg_status sg_web_create(sg_web **out) SG_CHECKED;
void sg_web_destroy(sg_web *web);

/* Whatever the status of the answer: SG_OK. SG_ERR_UNAVAILABLE when none came, or not all of it
 * ("cannot connect", "timed out": libcurl's words); SG_ERR_INTERRUPTED after sg_web_cancel;
 * SG_ERR_DATA, SG_ERR_IO (of the file), SG_ERR_ARG (the URL), SG_ERR_OOM. The text begins with the
 * URL's scheme and host, for the caller to put its own words before. */
sg_status sg_web_perform(sg_web *web, const sg_web_request *request,
                         sg_web_answer *answer) SG_CHECKED;
/* A header of the last answer, until the next request; NULL: it has none. */
const char *sg_web_header(sg_web *web, const char *name);
/* libcurl's number of the last failure (CURLE_...), 0 where the last request had an answer. */
int sg_web_failure(const sg_web *web);

/* From any thread: the request or pause under way ends at once with SG_ERR_INTERRUPTED, and so do
 * all later ones. */
void sg_web_cancel(sg_web *web);
bool sg_web_is_cancelled(const sg_web *web);
/* Wait, unless it is cancelled (SG_ERR_INTERRUPTED). */
sg_status sg_web_pause(sg_web *web, double seconds) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
