/* Standard output, standard error, and the ends of the program. */
#define _GNU_SOURCE
#include "cli/cli.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/log.h"

enum { kLine = 8192, kPlainSeconds = 10 };

static const char *program_name = "spotgrad";
static int output_error;      /* errno of the first write to standard output that failed */
static sg_progress *progress; /* NULL: no living line */
static pthread_mutex_t progress_mutex = PTHREAD_MUTEX_INITIALIZER; /* threads log while it ends */

void cli_start(const char *program) { program_name = program; }

/* ---- standard error ---- */

static void write_stderr(void *context, const char *text, size_t size) {
    (void)context;
    while (size > 0) {
        ssize_t written = write(STDERR_FILENO, text, size);

        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return; /* nobody is listening: nowhere to say so */
        text += written;
        size -= (size_t)written;
    }
}

static int terminal_width(void *context) {
    struct winsize size;

    (void)context;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* One line in one write, so that the lines of several threads stay whole. */
static void write_line(const char *line) {
    char text[kLine + 2];

    pthread_mutex_lock(&progress_mutex);
    if (progress) {
        sg_progress_line(progress, line);
    } else {
        snprintf(text, sizeof text - 1, "%s", line);
        strcat(text, "\n");
        write_stderr(NULL, text, strlen(text));
    }
    pthread_mutex_unlock(&progress_mutex);
}

const char *cli_visible(const char *text, char *line, size_t size) {
    size_t used = 0;

    for (; *text && used + 5 <= size; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= ' ' && c != 127)
            line[used++] = *text;
        else
            used += (size_t)snprintf(line + used, size - used, c == '\n' ? "\\n" : "\\x%02x", c);
    }
    line[used] = '\0';
    return line;
}

static void say(const char *prefix, const char *fmt, va_list args) {
    char line[kLine], text[kLine - 256], whole[kLine];

    vsnprintf(text, sizeof text, fmt, args);
    snprintf(whole, sizeof whole, "%.128s: %s%s", program_name, prefix, text);
    write_line(cli_visible(whole, line, sizeof line));
}

void cli_say(const char *fmt, ...) {
    va_list args;

    va_start(args, fmt);
    say("", fmt, args);
    va_end(args);
}

static void log_line(sg_log_level level, const char *line) {
    const char *prefix = level == SG_LOG_ERROR  ? "error: "
                         : level == SG_LOG_WARN ? "warning: "
                                                : "";

    cli_say("%s%s", prefix, line);
}

void cli_set_log(const char *level) {
    static const struct {
        const char *name;
        sg_log_level level;
    } levels[] = {{"error", SG_LOG_ERROR},
                  {"warn", SG_LOG_WARN},
                  {"info", SG_LOG_INFO},
                  {"debug", SG_LOG_DEBUG}};

    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (strcmp(levels[i].name, level) == 0) sg_log_set(levels[i].level, log_line);
}

/* ---- progress ---- */

sg_progress *cli_progress_start(const char *rate) {
    const char *term = getenv("TERM");
    sg_progress_options options = {
        .write = write_stderr,
        .width = terminal_width,
        .terminal = isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0),
        .plain_seconds = kPlainSeconds,
        .rate = rate,
    };
    sg_progress *created = NULL;
    sg_status st = sg_progress_create(&options, &created);

    if (st != SG_OK) die(st, NULL);
    pthread_mutex_lock(&progress_mutex);
    progress = created;
    pthread_mutex_unlock(&progress_mutex);
    return created;
}

void cli_progress_stop(void) {
    pthread_mutex_lock(&progress_mutex);
    sg_progress_destroy(progress);
    progress = NULL;
    pthread_mutex_unlock(&progress_mutex);
}

/* ---- standard output ---- */

void cli_print(const char *fmt, ...) {
    va_list args;

    if (progress) sg_progress_clear(progress);
    errno = 0;
    va_start(args, fmt);
    if ((vprintf(fmt, args) < 0 || fflush(stdout) != 0) && !output_error)
        output_error = errno ? errno : EIO;
    va_end(args);
}

bool cli_write(const char *bytes, size_t size) {
    errno = 0;
    if ((fwrite(bytes, 1, size, stdout) != size || fflush(stdout) != 0) && !output_error)
        output_error = errno ? errno : EIO;
    return output_error == 0;
}

bool cli_hears_hangup(void) {
    struct sigaction now;

    return sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler != SIG_IGN;
}

int cli_end(int status) {
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && !output_error)
        output_error = errno ? errno : EIO;
    if (!output_error) return status;
    /* who closed the pipe has seen enough and needs no message */
    if (output_error != EPIPE)
        cli_say("standard output: %s", strerrordesc_np(output_error) ? strerrordesc_np(output_error)
                                                                     : "cannot be written");
    return status == CLI_DONE ? CLI_IO : status;
}

/* ---- ends ---- */

/* README.md's table. */
static int exit_status(sg_status st) {
    switch (st) {
    case SG_OK:
        return CLI_DONE;
    case SG_ERR_ARG:
        return CLI_USAGE;
    case SG_ERR_OOM:
        return CLI_OUT_OF_MEMORY;
    case SG_ERR_IO:
        return CLI_IO;
    case SG_ERR_DATA:
        return CLI_BAD_DATA;
    case SG_ERR_MISSING:
        return CLI_MISSING;
    case SG_ERR_CONFIG:
        return CLI_CONFIG;
    case SG_ERR_DIVERGED:
        return CLI_DIVERGED;
    case SG_ERR_INTERRUPTED:
        return CLI_INTERRUPTED;
    case SG_ERR_UNSUPPORTED:
    case SG_ERR_CUDA:
    case SG_ERR_UNAVAILABLE:
    case SG_STATUS_COUNT:
        break;
    }
    return CLI_UNAVAILABLE;
}

/* Of several workers one says why they end. */
static bool may_say_why(void) {
    const char *number = getenv(CLI_LAST_WORD);
    char byte;

    return !number || read(atoi(number), &byte, 1) == 1;
}

noreturn void die(sg_status st, const char *what, ...) {
    char text[kLine / 2] = "";
    va_list args;

    cli_progress_stop();
    if (what) {
        va_start(args, what);
        vsnprintf(text, sizeof text, what, args);
        va_end(args);
    }
    if (may_say_why()) cli_say("%s%s%s", text, what ? ": " : "", sg_last_error());
    exit(cli_end(exit_status(st)));
}

noreturn void die_usage(const char *fmt, ...) {
    char text[kLine / 2];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    cli_say("%s; try `%s --help`", text, program_name);
    exit(cli_end(CLI_USAGE));
}
