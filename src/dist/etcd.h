/* etcd's JSON gateway (/v3/..., of etcd 3.4 and later), as far as a rendezvous needs it. Private to
 * rendezvous_etcd*.c. */
#ifndef SG_DIST_ETCD_H
#define SG_DIST_ETCD_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "core/status.h"
#include "core/web.h"

enum { SG_ETCD_ENDPOINTS = 16, SG_ETCD_PREFIX = 256 };

typedef struct {
    const char *url;                   /* borrowed; for messages */
    char *endpoint[SG_ETCD_ENDPOINTS]; /* "http://host:port", owned */
    int n, current;                    /* current: that was asked last */
    char prefix[SG_ETCD_PREFIX];       /* of keys: "/spotgrad" */
    sg_web *web;                       /* owned */
} sg_etcd;

/* etcd://host:port[,host:port...][/prefix]. SG_ERR_CONFIG: says what is wrong in it; SG_ERR_OOM. */
sg_status sg_etcd_init(sg_etcd *etcd, const char *url) SG_CHECKED;
void sg_etcd_clear(sg_etcd *etcd);

/* Ask the endpoints in turn, that of last time first, until one answers; `request` is taken over,
 * NULL is SG_ERR_OOM; *answer is the caller's (json_decref). What is asked may have been done
 * before, by an endpoint whose answer was lost. SG_ERR_MISSING: etcd says that there is no such
 * thing. */
sg_status sg_etcd_ask(sg_etcd *etcd, const char *path, json_t *request, double deadline,
                      json_t **answer) SG_CHECKED;

/* Base 64. `to` has room for SG_BASE64_BYTES(size). */
#define SG_BASE64_BYTES(size) (((size) + 2) / 3 * 4 + 1)
void sg_base64_encode(const char *data, size_t size, char *to);
/* `to` has room for strlen(text) bytes, and one more for the NUL that is put behind *size bytes.
 * False: it is not base 64. */
bool sg_base64_decode(const char *text, char *to, size_t *size);

/* A descriptor that can be read when a key of the prefix may have changed. */
typedef struct sg_etcd_watch sg_etcd_watch;
sg_status sg_etcd_watch_create(const sg_etcd *etcd, sg_etcd_watch **out) SG_CHECKED;
void sg_etcd_watch_destroy(sg_etcd_watch *watch);
int sg_etcd_watch_hint(const sg_etcd_watch *watch);

#endif
