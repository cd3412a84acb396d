/* What all data sets share, whatever format they were read from: class names, the fingerprint. */
#include "data/dataset.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "core/mem.h"
#include "data/layout.h"

enum { kHashBytes = 32 };

static sg_status add_class(sg_classes *classes, const char *name, size_t length) {
    char **larger, *copy = sg_str_printf("%.*s", (int)length, name);
    size_t n = (size_t)classes->n;

    if (!copy) return sg_fail(SG_ERR_OOM, "classes: no memory for a name");
    larger = sg_realloc(classes->name, n * sizeof *larger, (n + 1) * sizeof *larger);
    if (!larger) {
        sg_free(copy);
        return sg_fail(SG_ERR_OOM, "classes: no memory for %zu names", n + 1);
    }
    classes->name = larger;
    classes->name[classes->n++] = copy;
    return SG_OK;
}

static sg_status parse_one(sg_classes *classes, const char *name, size_t length, int number) {
    while (length > 0 && strchr(" \t", name[length - 1])) length--;
    while (length > 0 && (*name == ' ' || *name == '\t')) name++, length--;
    if (length == 0) return sg_fail(SG_ERR_CONFIG, "class %d has an empty name", number);
    for (int i = 0; i < classes->n; i++)
        if (strlen(classes->name[i]) == length && memcmp(classes->name[i], name, length) == 0)
            return sg_fail(SG_ERR_CONFIG, "class `%s` is named twice", classes->name[i]);
    if (classes->n == SG_MAX_CLASSES)
        return sg_fail(SG_ERR_CONFIG, "more than %d classes", SG_MAX_CLASSES);
    return add_class(classes, name, length);
}

sg_status sg_classes_parse(const char *list, sg_classes *out) {
    sg_classes classes = {0};
    sg_status st = SG_OK;

    for (int number = 1; st == SG_OK; number++) {
        size_t length = strcspn(list, ",");

        st = parse_one(&classes, list, length, number);
        list += length;
        if (!*list) break;
        list++;
    }
    if (st == SG_OK)
        *out = classes;
    else
        sg_classes_clear(&classes);
    return st;
}

sg_status sg_classes_copy(const sg_classes *from, sg_classes *out) {
    sg_classes classes = {0};

    for (int i = 0; i < from->n; i++) {
        sg_status st = add_class(&classes, from->name[i], strlen(from->name[i]));

        if (st == SG_OK) continue;
        sg_classes_clear(&classes);
        return st;
    }
    *out = classes;
    return SG_OK;
}

int sg_classes_find(const sg_classes *classes, const char *name) {
    for (int i = 0; i < classes->n; i++)
        if (strcmp(classes->name[i], name) == 0) return i;
    return -1;
}

void sg_classes_clear(sg_classes *classes) {
    for (int i = 0; i < classes->n; i++) sg_free(classes->name[i]);
    sg_free(classes->name);
    *classes = (sg_classes){0};
}

sg_status sg_classes_intern(sg_classes *classes, const char *name, int may_grow, int *id) {
    *id = sg_classes_find(classes, name);
    if (*id >= 0 || !may_grow) return SG_OK;
    if (classes->n == SG_MAX_CLASSES)
        return sg_fail(SG_ERR_DATA, "`%.100s` would be class %d; at most %d", name,
                       SG_MAX_CLASSES + 1, SG_MAX_CLASSES);
    SG_TRY(add_class(classes, name, strlen(name)));
    *id = classes->n - 1;
    return SG_OK;
}

void sg_dataset_destroy(sg_dataset *dataset) {
    if (!dataset) return;
    for (int64_t i = 0; dataset->samples && i < dataset->n; i++) {
        sg_free(dataset->samples[i].name);
        sg_free(dataset->samples[i].path);
    }
    sg_free(dataset->samples);
    sg_free(dataset->boxes);
    sg_free(dataset->box_classes);
    sg_free(dataset->list);
    sg_classes_clear(&dataset->classes);
    sg_free(dataset);
}

/* Numbers go in as eight bytes, low first; texts behind their length. */
static int hash_number(EVP_MD_CTX *hash, uint64_t value) {
    uint8_t bytes[8];

    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    return EVP_DigestUpdate(hash, bytes, sizeof bytes);
}

static int hash_text(EVP_MD_CTX *hash, const char *text) {
    size_t length = strlen(text);

    return hash_number(hash, length) && EVP_DigestUpdate(hash, text, length);
}

static int hash_sample(EVP_MD_CTX *hash, const sg_sample *s) {
    int fine = hash_text(hash, s->name) && hash_number(hash, (uint64_t)s->width) &&
               hash_number(hash, (uint64_t)s->height) && hash_number(hash, (uint64_t)s->count);

    for (int64_t b = 0; fine && b < s->count; b++) {
        uint32_t bits[4];

        memcpy(bits, s->boxes + 4 * b, sizeof bits);
        fine = hash_number(hash, (uint64_t)s->classes[b]);
        for (int i = 0; fine && i < 4; i++) fine = hash_number(hash, bits[i]);
    }
    return fine;
}

sg_status sg_dataset_fingerprint(const sg_dataset *dataset, char hex[SG_FINGERPRINT_BYTES]) {
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    uint8_t digest[kHashBytes];
    int fine;

    if (!hash) return sg_fail(SG_ERR_OOM, "%s: no memory for its fingerprint", dataset->list);
    fine = EVP_DigestInit_ex(hash, EVP_sha256(), NULL) &&
           hash_text(hash, "spotgrad detector data 1") &&
           hash_number(hash, (uint64_t)dataset->classes.n);
    for (int i = 0; fine && i < dataset->classes.n; i++)
        fine = hash_text(hash, dataset->classes.name[i]);
    fine = fine && hash_number(hash, (uint64_t)dataset->n);
    for (int64_t i = 0; fine && i < dataset->n; i++) fine = hash_sample(hash, &dataset->samples[i]);
    fine = fine && EVP_DigestFinal_ex(hash, digest, NULL);
    EVP_MD_CTX_free(hash);
    if (!fine)
        return sg_fail(SG_ERR_UNSUPPORTED, "%s: OpenSSL cannot compute SHA-256", dataset->list);
    for (int i = 0; i < kHashBytes; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return SG_OK;
}
