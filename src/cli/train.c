/* `train`: trains a model; also answers questions about its configuration and data. */
#include "cli/cli.h"

#include "core/mem.h"

/* What was asked for. */
typedef struct {
    const char *config;
    bool check_data, help_config, markdown, print_config;
} request;

static int print_text(sg_status st, char *text) {
    if (st != SG_OK) die(st, NULL);
    cli_print("%s", text);
    sg_free(text);
    return CLI_DONE;
}

static int print_key_help(bool markdown) {
    char *text = NULL;
    sg_status st = markdown ? sg_config_markdown(&text) : sg_config_help(&text);

    return print_text(st, text);
}

static int print_resolved(const sg_config *config) {
    char *text = NULL;
    sg_status st = sg_config_write(config, &text);

    return print_text(st, text);
}

int cli_train(int argc, char **argv) {
    request want = {0};
    const cli_option options[] = {
        {.name = "--config",
         .value_name = "FILE",
         .value = &want.config,
         .help = "configuration, an INI file"},
        {.name = "--check-data",
         .flag = &want.check_data,
         .help = "list every fault of the data set, and stop"},
        {.name = "--print-config",
         .flag = &want.print_config,
         .help = "print the configuration with all defaults, and stop"},
        {.name = "--help-config",
         .flag = &want.help_config,
         .help = "explain every key of a configuration, and stop"},
        {.name = "--markdown",
         .flag = &want.markdown,
         .help = "with --help-config: as a page of the documentation"},
    };
    const cli_syntax syntax = {
        .usage = "--config FILE [section.key=value ...]",
        .summary = "Trains a model on the data set that FILE names. section.key=value sets a key "
                   "of FILE anew.",
        .options = options,
        .n_options = sizeof options / sizeof options[0],
    };
    cli_arguments arguments;
    sg_config config;

    cli_parse(argc, argv, &syntax, &arguments);
    if (want.help_config) return print_key_help(want.markdown);
    if (!want.config && arguments.n_overrides == 0) die_usage("--config FILE is missing");
    cli_load_config(want.config, &arguments, &config);
    if (want.print_config) return print_resolved(&config);
    if (want.check_data) return cli_check_data(&config);
    die(sg_fail(SG_ERR_UNSUPPORTED, "this version checks configurations and data; it cannot train"),
        NULL);
}
