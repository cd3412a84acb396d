/* Options are GNU-style long ones: --name VALUE or --name=VALUE, anywhere among the arguments. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "spotgrad.h"

enum { kHelpColumn = 26 };

static noreturn void print_help(const char *name, const cli_syntax *syntax) {
    cli_print("usage: %s %s\n\n%s\n\noptions:\n", name, syntax->usage, syntax->summary);
    for (int i = 0; i < syntax->n_options; i++) {
        const cli_option *o = &syntax->options[i];
        char left[64];

        snprintf(left, sizeof left, "%s%s%s", o->name, o->value_name ? " " : "",
                 o->value_name ? o->value_name : "");
        cli_print("  %-*s %s\n", kHelpColumn - 3, left, o->help);
    }
    cli_print("  %-*s %s\n", kHelpColumn - 3, "--help", "this text");
    cli_print("  %-*s %s\n", kHelpColumn - 3, "--version", "the version");
    exit(cli_end(CLI_DONE));
}

static const cli_option *find_option(const cli_syntax *syntax, const char *text, size_t length) {
    for (int i = 0; i < syntax->n_options; i++)
        if (strlen(syntax->options[i].name) == length &&
            strncmp(syntax->options[i].name, text, length) == 0)
            return &syntax->options[i];
    return NULL;
}

/* Takes argv[*at], and argv[*at + 1] when that is its value. */
static void take_option(int argc, char **argv, int *at, const cli_syntax *syntax) {
    const char *text = argv[*at], *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    const cli_option *option = find_option(syntax, text, length);

    if (!option) die_usage("unknown option %.*s", (int)length, text);
    if (option->flag) {
        if (equals) die_usage("%s takes no value", option->name);
        *option->flag = true;
        return;
    }
    if (*option->value) die_usage("%s is given twice", option->name);
    if (!equals && *at + 1 >= argc) die_usage("%s lacks its %s", option->name, option->value_name);
    *option->value = equals ? equals + 1 : argv[++*at];
    if (!**option->value) die_usage("%s lacks its %s", option->name, option->value_name);
}

/* With inputs around, only a known section makes an override: `a.b=c.png` is a picture. */
static bool is_override(const char *text, bool takes_inputs) {
    const char *dot = strchr(text, '.'), *equals = strchr(text, '=');
    int n;
    const sg_key_section *sections = sg_key_sections(&n);

    if (!equals) return false;
    if (!takes_inputs) return true;
    for (int i = 0; i < n && dot && dot < equals; i++)
        if (strlen(sections[i].name) == (size_t)(dot - text) &&
            strncmp(sections[i].name, text, (size_t)(dot - text)) == 0)
            return true;
    return false;
}

void cli_parse(int argc, char **argv, const cli_syntax *syntax, cli_arguments *arguments) {
    bool only_inputs = false;

    *arguments = (cli_arguments){0};
    arguments->overrides = sg_calloc((size_t)argc + 1, sizeof *arguments->overrides);
    arguments->inputs = sg_calloc((size_t)argc + 1, sizeof *arguments->inputs);
    if (!arguments->overrides || !arguments->inputs)
        die(sg_fail(SG_ERR_OOM, "no memory for %d arguments", argc), NULL);
    for (int i = 1; i < argc; i++) {
        if (only_inputs || strcmp(argv[i], "-") == 0 || argv[i][0] != '-') {
            if (!only_inputs && is_override(argv[i], syntax->takes_inputs))
                arguments->overrides[arguments->n_overrides++] = argv[i];
            else if (syntax->takes_inputs)
                arguments->inputs[arguments->n_inputs++] = argv[i];
            else
                die_usage("'%s' is neither an option nor section.key=value", argv[i]);
        } else if (strcmp(argv[i], "--") == 0) {
            only_inputs = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(argv[0], syntax);
        } else if (strcmp(argv[i], "--version") == 0) {
            cli_print("spotgrad %s\n", SPOTGRAD_VERSION);
            exit(cli_end(CLI_DONE));
        } else {
            take_option(argc, argv, &i, syntax);
        }
    }
}

void cli_arguments_clear(cli_arguments *arguments) {
    sg_free(arguments->overrides);
    sg_free(arguments->inputs);
    *arguments = (cli_arguments){0};
}
