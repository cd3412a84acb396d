/* The fingerprint of a data set: SHA-256 in hex over what training sees of it. */
#ifndef SG_DATA_FINGERPRINT_H
#define SG_DATA_FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { SG_FINGERPRINT_BYTES = 65 };

/* `what` is in the texts of failures, and borrowed until the end. */
typedef struct {
    void *hash; /* OpenSSL's */
    const char *what;
    int fine;
} sg_fingerprint;

/* `kind` is hashed first: the format of what follows, with its version. SG_ERR_OOM. */
sg_status sg_fingerprint_begin(const char *what, const char *kind, sg_fingerprint *out) SG_CHECKED;
/* Eight bytes, low first. */
void sg_fingerprint_number(sg_fingerprint *f, uint64_t value);
/* Behind its length, as a number. */
void sg_fingerprint_bytes(sg_fingerprint *f, const void *bytes, size_t size);
void sg_fingerprint_text(sg_fingerprint *f, const char *text);
/* Frees in any case. SG_ERR_UNSUPPORTED: OpenSSL has no SHA-256, at whatever call. */
sg_status sg_fingerprint_end(sg_fingerprint *f, char hex[SG_FINGERPRINT_BYTES]) SG_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
