/* Lists of names (train.txt), and where their lines say that annotations are. */
#include "fuzz.h"

#include <string.h>

#include "core/mem.h"
#include "data/yolo.h"

static bool ends_with(const char *path, const char *end) {
    return strlen(path) >= strlen(end) && strcmp(path + strlen(path) - strlen(end), end) == 0;
}

static void check_paths(const char *name) {
    char *voc = sg_layout_annotation("root", name), *yolo = sg_yolo_label_path(name);

    FUZZ_CHECK(sg_layout_stem(name) >= 1 && sg_layout_stem(name) <= strlen(name));
    FUZZ_CHECK(fuzz_is_line(voc) && ends_with(voc, ".xml"));
    FUZZ_CHECK(strstr(voc, "annotations/"));
    FUZZ_CHECK(fuzz_is_line(yolo) && ends_with(yolo, ".txt"));
    sg_free(voc);
    sg_free(yolo);
}

void fuzz_list(const uint8_t *data, size_t size) {
    sg_list list = {.path = sg_strdup("list.txt"), .text = fuzz_text(data, size)};
    uint8_t unused;
    sg_status st;

    fuzz_prepare(&unused, sizeof unused);
    st = sg_list_cut(&list, list.text, size);
    if (st != SG_OK) fuzz_failed(st, SG_ERR_DATA, "list.txt:", &unused, sizeof unused);
    for (int64_t i = 0; i < list.n && st == SG_OK; i++) {
        const char *name = list.entry[i].name, *end = name + strlen(name);

        FUZZ_CHECK(name >= list.text && end <= list.text + size);
        FUZZ_CHECK(fuzz_is_line(name) && *name != ' ' && end[-1] != ' ');
        FUZZ_CHECK(list.entry[i].line > (i ? list.entry[i - 1].line : 0));
        check_paths(name);
    }
    sg_list_clear(&list);
}
