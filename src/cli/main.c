/* One program, its sub-commands. The name it is called by (bin/train is a link) or else the first
 * argument chooses. This file is compiled without AVX2, so that it can say what is missing. */
#define _GNU_SOURCE
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/threads.h"
#include "cpu/cpu.h"
#include "spotgrad.h"
#include "train/run.h"

typedef struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} command;

static const command commands[] = {
    {"train", cli_train, "train a model on a data set, or check the data set"},
    {"evaluate", cli_evaluate, "measure a model on a part of a data set"},
    {"predict", cli_predict, "find boxes in pictures, label texts"},
    {"export", cli_export, "write a model as ONNX, for other runtimes"},
};

enum { kCommands = sizeof commands / sizeof commands[0] };

static const command *find_command(const char *name) {
    for (int i = 0; i < kCommands; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

/* A file that is opened where standard output or error was closed would receive what is meant for
 * them. Reading ends cannot be written to, so lost output is noticed. */
static void hold_standard_files(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            int opened = open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY);

            if (opened > STDERR_FILENO) close(opened);
        }
}

/* Before anything else: all other files are compiled for AVX2, so none of them may be used here. */
static void check_processor(const char *name) {
    static const char kText[] = ": this processor lacks AVX2 or FMA, which Spotgrad needs\n";

    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return;
    if (write(STDERR_FILENO, name, strlen(name)) >= 0 &&
        write(STDERR_FILENO, kText, sizeof kText - 1) >= 0)
        _exit(CLI_UNAVAILABLE);
    _exit(CLI_UNAVAILABLE);
}

void cli_load_config(const char *path, const cli_arguments *arguments, sg_config *config) {
    sg_status st = sg_config_load(path, arguments->overrides, arguments->n_overrides, config);

    if (st != SG_OK) die(st, NULL);
    cli_set_log(config->run.log);
}

char *cli_find_model(const char *checkpoint, const cli_arguments *arguments, int *threads) {
    sg_status st = SG_OK;
    sg_config config;
    char *path = NULL;

    if (!checkpoint) die_usage("--checkpoint FILE|RUN is missing");
    sg_config_default(&config);
    for (int i = 0; i < arguments->n_overrides && st == SG_OK; i++)
        st = sg_config_set(&config, arguments->overrides[i]);
    if (st == SG_OK) {
        cli_set_log(config.run.log);
        st = sg_cpu_set_isa(config.run.isa);
    }
    if (st == SG_OK) st = sg_run_find_model(checkpoint, &path);
    if (st != SG_OK) die(st, NULL);
    *threads = config.train.threads > 0 ? (int)config.train.threads : sg_cpu_count();
    return path;
}

static int general_help(void) {
    cli_print("usage: spotgrad COMMAND [ARGUMENT ...]\n\n"
              "Trains neural networks on machines that may vanish at any moment.\n\ncommands:\n");
    for (int i = 0; i < kCommands; i++)
        cli_print("  %-10s %s\n", commands[i].name, commands[i].summary);
    cli_print("\n`spotgrad COMMAND --help` says more; bin/COMMAND is the same program.\n");
    return CLI_DONE;
}

static int run_spotgrad(int argc, char **argv) {
    const command *chosen;

    cli_start("spotgrad");
    if (argc < 2) die_usage("a command is missing");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return general_help();
    if (strcmp(argv[1], "--version") == 0) {
        cli_print("spotgrad %s\n", SPOTGRAD_VERSION);
        return CLI_DONE;
    }
    chosen = find_command(argv[1]);
    if (!chosen) die_usage("there is no command '%s'", argv[1]);
    cli_start(chosen->name);
    argv[1] = (char *)chosen->name;
    return chosen->run(argc - 1, argv + 1);
}

int main(int argc, char **argv) {
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "spotgrad";
    const command *chosen;

    hold_standard_files();
    check_processor(name);
    sg_cpu_unbind();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a failed write */
    signal(SIGXFSZ, SIG_IGN); /* so is a file that becomes larger than RLIMIT_FSIZE */
    chosen = find_command(name);
    if (chosen) cli_start(chosen->name);
    if (!chosen) return cli_end(run_spotgrad(argc, argv));
    argv[0] = (char *)chosen->name;
    return cli_end(chosen->run(argc, argv));
}
