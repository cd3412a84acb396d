/* Keys for AWS, from the first of these that is there, as AWS's own programs find them:
 *   1. AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
 *   2. a container's: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI (ECS) or _FULL_URI (EKS pod identity),
 *      with AWS_CONTAINER_AUTHORIZATION_TOKEN or _TOKEN_FILE
 *   3. the instance's role, by IMDSv2, at AWS_EC2_METADATA_SERVICE_ENDPOINT where that is set; not
 *      asked with AWS_EC2_METADATA_DISABLED=true
 * Those of 2 and 3 end; new ones are fetched five minutes before. Files in ~/.aws are not read. */
#ifndef SG_CHECKPOINT_AWS_CREDENTIALS_H
#define SG_CHECKPOINT_AWS_CREDENTIALS_H

#include "core/status.h"
#include "core/web.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *access_key, *secret_key;
    char *token;   /* NULL: none */
    double renew;  /* sg_now() from when on new ones are asked for; 0: never */
    double expire; /* sg_now() when they end */
} sg_aws_credentials;

/* Fill `c` (all zero before the first call; what is in it is its own), or leave it where it is good
 * for longer. SG_ERR_UNAVAILABLE: there are none, or their service does not answer, with what to
 * do; SG_ERR_DATA: an answer that is none; SG_ERR_INTERRUPTED, SG_ERR_OOM. */
sg_status sg_aws_credentials_get(sg_web *web, sg_aws_credentials *c) SG_CHECKED;
/* They were refused as expired: ask anew next time. */
void sg_aws_credentials_forget(sg_aws_credentials *c);
void sg_aws_credentials_clear(sg_aws_credentials *c);

#ifdef __cplusplus
}
#endif
#endif
