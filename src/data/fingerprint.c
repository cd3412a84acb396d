#include "data/fingerprint.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

enum { kHashBytes = 32 };

sg_status sg_fingerprint_begin(const char *what, const char *kind, sg_fingerprint *out) {
    EVP_MD_CTX *hash = EVP_MD_CTX_new();

    if (!hash) return sg_fail(SG_ERR_OOM, "%s: no memory for its fingerprint", what);
    *out = (sg_fingerprint){hash, what, EVP_DigestInit_ex(hash, EVP_sha256(), NULL)};
    sg_fingerprint_text(out, kind);
    return SG_OK;
}

void sg_fingerprint_number(sg_fingerprint *f, uint64_t value) {
    uint8_t bytes[8];

    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    f->fine = f->fine && EVP_DigestUpdate(f->hash, bytes, sizeof bytes);
}

void sg_fingerprint_bytes(sg_fingerprint *f, const void *bytes, size_t size) {
    sg_fingerprint_number(f, size);
    f->fine = f->fine && EVP_DigestUpdate(f->hash, bytes, size);
}

void sg_fingerprint_text(sg_fingerprint *f, const char *text) {
    sg_fingerprint_bytes(f, text, strlen(text));
}

sg_status sg_fingerprint_end(sg_fingerprint *f, char hex[SG_FINGERPRINT_BYTES]) {
    uint8_t digest[kHashBytes];

    f->fine = f->fine && EVP_DigestFinal_ex(f->hash, digest, NULL);
    EVP_MD_CTX_free(f->hash);
    if (!f->fine) return sg_fail(SG_ERR_UNSUPPORTED, "%s: OpenSSL cannot compute SHA-256", f->what);
    for (int i = 0; i < kHashBytes; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return SG_OK;
}
