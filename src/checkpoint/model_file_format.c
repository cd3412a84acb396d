#include "checkpoint/model_file_format.h"

#include <stdio.h>
#include <string.h>

#define TEXT(name, younger)                                                                        \
    { "/run/" #name, offsetof(sg_model_about, name), offsetof(sg_model_file, name), younger }

const sg_model_text sg_model_texts[SG_MODEL_TEXTS] = {
    TEXT(config, false),
    TEXT(data_fingerprint, false),
    TEXT(history, false),
    {"/run/id", offsetof(sg_model_about, run_id), offsetof(sg_model_file, run_id), false},
    TEXT(numeric_class, false),
    TEXT(plans, true),
    TEXT(tokenizer, true),
    TEXT(version, false),
};

const sg_model_counter sg_model_counters[SG_MODEL_COUNTERS] = {
    {"/progress/epoch", offsetof(sg_model_file, epoch), "complete epochs"},
    {"/progress/samples", offsetof(sg_model_file, samples), "samples consumed"},
    {"/progress/seed", offsetof(sg_model_file, seed), NULL},
    {"/progress/step", offsetof(sg_model_file, step), "finished steps"},
};

hid_t sg_model_counter_type(int i) {
    return sg_model_counters[i].file == offsetof(sg_model_file, seed) ? H5T_STD_U64LE
                                                                      : H5T_STD_I64LE;
}

hid_t sg_model_text_type(size_t length) {
    hid_t type = H5Tcopy(H5T_C_S1);

    if (type >= 0 &&
        (H5Tset_size(type, length > 0 ? length : 1) < 0 ||
         H5Tset_strpad(type, H5T_STR_NULLPAD) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
        H5Tclose(type);
        return H5I_INVALID_HID;
    }
    return type;
}

void sg_hdf5_quiet(void) { H5Eset_auto2(H5E_DEFAULT, NULL, NULL); }

typedef struct {
    char *text;
    size_t bytes;
} reason;

static herr_t keep_first(unsigned n, const H5E_error2_t *error, void *context) {
    reason *r = context;

    if (n == 0 && error->desc) snprintf(r->text, r->bytes, "%s", error->desc);
    return 0;
}

const char *sg_hdf5_reason(char *text, size_t bytes) {
    reason r = {text, bytes};

    snprintf(text, bytes, "unknown reason");
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &r);
    for (char *p = text; *p; p++)
        if (*p == '\n') *p = ' ';
    return text;
}
