/* A configuration: as a file, and as an argument section.key=value. */
#include "fuzz.h"

#include <string.h>

#include "core/config.h"
#include "core/mem.h"

static const char kPath[] = "a.ini";

/* Written and read again it is the same. */
static void check_round_trip(const sg_config *config) {
    char *text, *again, *names;
    sg_config back;

    FUZZ_CHECK(sg_config_write(config, &text) == SG_OK);
    FUZZ_CHECK(sg_config_parse(kPath, text, strlen(text), NULL, 0, &back) == SG_OK);
    FUZZ_CHECK(sg_config_write(&back, &again) == SG_OK);
    FUZZ_CHECK(strcmp(text, again) == 0);
    FUZZ_CHECK(sg_config_diff(config, &back, &names) == SG_OK && !names);
    sg_free(text);
    sg_free(again);
}

static void check_classes(const char *list) {
    sg_classes classes;
    sg_status st;

    fuzz_prepare(&classes, sizeof classes);
    st = sg_classes_parse(list, &classes);
    if (st == SG_OK)
        fuzz_classes(&classes);
    else
        fuzz_failed(st, SG_ERR_CONFIG, "", &classes, sizeof classes);
}

static void check_argument(const uint8_t *data, size_t size) {
    char *text = fuzz_text(data, size);
    sg_config config;
    uint8_t unused;
    sg_status st;

    fuzz_prepare(&unused, sizeof unused);
    sg_config_default(&config);
    st = sg_config_set(&config, text);
    if (st != SG_OK) fuzz_failed(st, SG_ERR_CONFIG, "command line: ", &unused, sizeof unused);
    sg_free(text);
}

void fuzz_config(const uint8_t *data, size_t size) {
    sg_config config;
    sg_status st;

    fuzz_prepare(&config, sizeof config);
    st = sg_config_parse(kPath, (const char *)data, size, NULL, 0, &config);
    if (st == SG_OK) {
        check_round_trip(&config);
        check_classes(config.data.classes);
    } else {
        fuzz_failed(st, SG_ERR_CONFIG, kPath, &config, sizeof config);
    }
    check_argument(data, size);
}
