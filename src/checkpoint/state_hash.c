#include "checkpoint/state_hash.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint/state_views.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "numbers are hashed and saved as they lie in memory: little-endian"
#endif

static bool add(EVP_MD_CTX *hash, const char *path, int64_t count, const void *data, size_t bytes) {
    return EVP_DigestUpdate(hash, path, strlen(path) + 1) &&
           EVP_DigestUpdate(hash, &count, sizeof count) && EVP_DigestUpdate(hash, data, bytes);
}

static bool hash_views(EVP_MD_CTX *hash, const sg_state *state, const sg_state_view *views, int n) {
    static const char samples[] = "/progress/samples";
    bool ok = true, counted = false;

    for (int i = 0; i <= n && ok; i++) {
        if (!counted && (i == n || strcmp(samples, views[i].path) < 0)) {
            ok = add(hash, samples, 1, &state->samples, sizeof state->samples);
            counted = true;
        }
        if (i < n && ok) {
            int64_t count = sg_shape_count(&views[i].shape);

            ok = add(hash, views[i].path, count, views[i].data, (size_t)count * sizeof(float));
        }
    }
    return ok;
}

sg_status sg_state_sha256(const sg_state *state, char hex[SG_STATE_HASH_BYTES]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *hash;
    sg_state_view *views;
    bool ok;
    int n;

    SG_TRY(sg_state_views_create(state, &views, &n));
    hash = EVP_MD_CTX_new();
    ok = hash && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) && hash_views(hash, state, views, n) &&
         EVP_DigestFinal_ex(hash, digest, NULL);
    EVP_MD_CTX_free(hash);
    sg_state_views_destroy(views, n);
    if (!ok) return sg_fail(SG_ERR_OOM, "no memory for hashing the state");
    for (int i = 0; i < (SG_STATE_HASH_BYTES - 1) / 2; i++) sprintf(hex + 2 * i, "%02x", digest[i]);
    return SG_OK;
}
