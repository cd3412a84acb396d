/* What the sub-commands share: options, messages, the ways to end.
 *
 * Only src/cli/ prints, and only through these functions, so that a living progress line and the
 * lines around it never mix. A sub-command is one file with one function
 *
 *     int cli_NAME(int argc, char **argv)       argv[0] is its name; returns the exit status
 *
 * and one row in main.c's table; the Makefile makes bin/NAME from the file's name. */
#ifndef SG_CLI_CLI_H
#define SG_CLI_CLI_H

#include <stdbool.h>
#include <stdnoreturn.h>

#include "core/config.h"
#include "core/status.h"
#include "report/progress.h"

/* Exit statuses, sysexits.h's numbers. */
enum {
    CLI_DONE = 0,
    CLI_USAGE = 64,
    CLI_BAD_DATA = 65,
    CLI_MISSING = 66,
    CLI_UNAVAILABLE = 69,
    CLI_DIVERGED = 70,
    CLI_OUT_OF_MEMORY = 71,
    CLI_IO = 74,
    CLI_INTERRUPTED = 75,
    CLI_CONFIG = 78,
};

/* ---- options (options.c) ---- */

/* Exactly one of `flag` and `value` is set. */
typedef struct {
    const char *name;       /* "--config" */
    const char *value_name; /* "FILE"; NULL for a flag */
    const char *help;       /* one line */
    bool *flag;
    const char **value;
} cli_option;

typedef struct {
    const char *usage;   /* "--config FILE [section.key=value ...]", after the name */
    const char *summary; /* what it does, one sentence; more lines may follow */
    const cli_option *options;
    int n_options;
    bool takes_inputs; /* arguments that are neither options nor section.key=value */
} cli_syntax;

/* Texts are borrowed from argv, in its order. */
typedef struct {
    const char **overrides; /* section.key=value */
    const char **inputs;
    int n_overrides, n_inputs;
} cli_arguments;

/* Fill the options' targets. Answers --help and --version itself and then exits; a mistake exits
 * with 64. `--` ends options and overrides: all that follows is input. */
void cli_parse(int argc, char **argv, const cli_syntax *syntax, cli_arguments *arguments);
void cli_arguments_clear(cli_arguments *arguments);

int cli_train(int argc, char **argv);
int cli_evaluate(int argc, char **argv);
int cli_predict(int argc, char **argv);
int cli_export(int argc, char **argv);

/* `train --check-data`: prints the faults of config->data; 65 when there are errors. */
int cli_check_data(const sg_config *config);

enum { CLI_MOST_WORKERS = 256 };

/* `train --workers`: n workers of a run on this machine, to its end. The exit status. */
int cli_supervise(const sg_config *config, int n, bool fresh);
/* Set in a worker's environment: its number. */
#define CLI_WORKER "SPOTGRAD_WORKER"

/* Set there too: a descriptor from which whoever fails first reads a byte, and says why; what ends
 * one worker for good ends them all, mostly for the same reason. */
#define CLI_LAST_WORD "SPOTGRAD_LAST_WORD"

/* Set by the launcher of a bundle that brings its own C library: the launcher, by which alone the
 * program can be started again, as /proc/self/exe is the loader there. */
#define CLI_LAUNCHER "SPOTGRAD_LAUNCHER"

/* `train --list`: prints the checkpoints of config->run.dir; 65 when none is whole. */
int cli_list(const sg_config *config);

/* ---- messages and endings (terminal.c) ---- */

void cli_start(const char *program); /* the name in front of messages; not copied */

/* Standard output, flushed. What cannot be written is remembered, and cli_end says so. */
void cli_print(const char *fmt, ...) SG_PRINTF(1, 2);

/* Bytes as they are, flushed. False once anything could not be written: who closed the pipe has
 * seen enough, and an endless input need not be read on. */
bool cli_write(const char *bytes, size_t size);

/* `text` into `line`, cut to its size, with \n, \x1b and the like in place of control characters: a
 * file's name may hold them. Returns line. */
const char *cli_visible(const char *text, char *line, size_t size);

/* One line to standard error, "train: ...", control characters made visible. */
void cli_say(const char *fmt, ...) SG_PRINTF(1, 2);

/* "train: WHAT: LAST ERROR" (without "WHAT: " when `what` is NULL), and the end. */
noreturn void die(sg_status st, const char *what, ...) SG_PRINTF(2, 3);

/* "train: ...; try `train --help`", 64. */
noreturn void die_usage(const char *fmt, ...) SG_PRINTF(1, 2);

/* Whether the end of the terminal ends the program; nohup has it that it does not. */
bool cli_hears_hangup(void);

/* The status to exit with: `status`, or 74 with a message when standard output was lost. */
int cli_end(int status);

/* run.log: log lines up to that level go to standard error; warnings and errors say so. */
void cli_set_log(const char *level);

/* The living line on standard error when that is a terminal, plain lines elsewhere. From then to
 * cli_progress_stop every other line is fitted in with it. `rate` as in sg_progress_options. Dies
 * when there is no memory. */
sg_progress *cli_progress_start(const char *rate);
void cli_progress_stop(void);

/* ---- start (main.c) ---- */

/* Load the configuration, set the log; dies on any mistake. `path` may be NULL. */
void cli_load_config(const char *path, const cli_arguments *arguments, sg_config *config);

/* For commands whose configuration comes with a model file, `checkpoint`, of the option of that
 * name: read the overrides alone, set the log and the instruction set, find the file; dies on any
 * mistake. Its path is the caller's (sg_free); *threads are those to compute with. */
char *cli_find_model(const char *checkpoint, const cli_arguments *arguments, int *threads);
/* The option. */
#define CLI_CHECKPOINT(target)                                                                     \
    {                                                                                              \
        .name = "--checkpoint", .value_name = "FILE|RUN", .value = (target),                       \
        .help = "a model file, or a run's folder: its best"                                        \
    }

#endif
