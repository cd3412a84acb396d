/* Requests to an S3 service: signed, sent, and tried again where that may help. Private to
 * store_s3.c and s3_client.c. */
#ifndef SG_CHECKPOINT_S3_CLIENT_H
#define SG_CHECKPOINT_S3_CLIENT_H

#include "checkpoint/aws_credentials.h"
#include "checkpoint/s3_format.h"
#include "checkpoint/store_kind.h"
#include "core/web.h"

enum { SG_S3_REGION = 64 };

typedef struct {
    sg_store base;
    sg_web *web; /* owned, as all here */
    sg_aws_credentials credentials;
    char bucket[SG_S3_BUCKET], region[SG_S3_REGION], sigv4[SG_S3_REGION + 16];
    char *prefix;    /* "a/b/" or "" */
    char *root;      /* URL of the bucket, encoded, '/' at its end */
    unsigned random; /* for pauses */
} sg_s3;             /* the store */

typedef struct {
    const char *method;
    const char *name;        /* NULL: the bucket itself */
    const sg_s3_pair *query; /* plain text */
    int n_query;
    const void *body; /* NULL: none */
    size_t bytes;
    double stall; /* seconds without progress that are borne; 0: as usual */
    bool to_file; /* a good answer goes there, from the file's beginning */
    int file;
} sg_s3_request;

/* Of the store: the fields from the URL and the environment. SG_ERR_CONFIG, SG_ERR_OOM. */
sg_status sg_s3_open(sg_store *store, const char *url) SG_CHECKED;
void sg_s3_close(sg_store *store);

/* SG_OK: the answer is of 2xx, and with a POST no error is in it. Otherwise as store.h says. */
sg_status sg_s3_call(sg_s3 *s, const sg_s3_request *request, sg_web_answer *answer) SG_CHECKED;
sg_status sg_s3_out_of_memory(const sg_s3 *s);

#endif
