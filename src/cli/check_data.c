/* `train --check-data`: every fault of the data set, a line each. */
#include "cli/cli.h"

#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "data/dataset.h"
#include "train/detector.h"

static void print_fault(void *context, sg_fault_level level, const char *file, int line,
                        const char *text) {
    const char *kind = level == SG_FAULT_ERROR ? "error" : "warning";

    (void)context;
    if (line > 0)
        cli_print("%s:%d: %s: %s\n", file, line, kind, text);
    else
        cli_print("%s: %s: %s\n", file, kind, text);
}

/* The test list belongs to the check only when it is there: data.test has a default. */
static int lists_to_check(const sg_config *config, const char *lists[3]) {
    char *test = sg_path_join(config->data.root, config->data.test);
    int n = 0;

    if (!test) die(sg_fail(SG_ERR_OOM, "no memory for a path"), NULL);
    lists[n++] = config->data.train;
    lists[n++] = config->data.val;
    if (sg_file_exists(test)) lists[n++] = config->data.test;
    sg_free(test);
    return n;
}

int cli_check_data(const sg_config *config) {
    bool named = strcmp(config->data.classes, "auto") != 0;
    sg_check_summary summary = {0};
    sg_classes classes = {0};
    const char *lists[3];
    int n;

    if (!sg_is_dir(config->data.root))
        die(sg_fail(SG_ERR_MISSING, "%s: no such folder; set data.root=FOLDER", config->data.root),
            NULL);
    if (named) {
        sg_status st = sg_classes_parse(config->data.classes, &classes);

        if (st != SG_OK) die(st, "data.classes");
    }
    n = lists_to_check(config, lists);
    sg_dataset_place place = sg_detector_place(config);
    sg_status st =
        sg_dataset_check(&place, lists, n, named ? &classes : NULL, print_fault, NULL, &summary);
    if (st != SG_OK) die(st, "%s", config->data.root);
    sg_classes_clear(&classes);
    cli_print("%s: %lld pictures, %lld boxes, %lld errors, %lld warnings\n", config->data.root,
              (long long)summary.pictures, (long long)summary.boxes, (long long)summary.errors,
              (long long)summary.warnings);
    return summary.errors > 0 ? CLI_BAD_DATA : CLI_DONE;
}
