/* `train --check-data`: every fault of the data set, a line each. */
#include "cli/cli.h"

#include "core/mem.h"
#include "train/check.h"

static void print_fault(void *context, sg_fault_level level, const char *file, int line,
                        const char *text) {
    const char *kind = level == SG_FAULT_ERROR ? "error" : "warning";

    (void)context;
    if (line > 0)
        cli_print("%s:%d: %s: %s\n", file, line, kind, text);
    else
        cli_print("%s: %s: %s\n", file, kind, text);
}

int cli_check_data(const sg_config *config) {
    char *summary = NULL;
    int64_t errors = 0;
    sg_status st = sg_check_data(config, print_fault, NULL, &summary, &errors);

    if (st != SG_OK) die(st, NULL);
    cli_print("%s", summary);
    sg_free(summary);
    return errors > 0 ? CLI_BAD_DATA : CLI_DONE;
}
