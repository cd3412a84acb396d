/* `train --workers N`: N workers of one run on this machine, each a process of its own. The
 * supervisor has no state: it starts them, starts the dead again, passes signals on, and prints
 * what they say, the last lines once. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/supervise.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"

enum { kLineBytes = 4096, kTextBytes = 8192 };

/* Seconds. One that dies at once is started again after a pause, each time a longer one. */
static const double kShortLife = 2.0, kFirstPause = 0.1, kLongestPause = 5.0;
/* For all to end when the run is done; to save and end when asked to. */
static const double kEnd = 10.0, kSaving = 60.0;

typedef struct {
    pid_t pid; /* 0: it is not running */
    int output;
    char line[kLineBytes]; /* what it has written of one */
    size_t used;
    double started, start_at, pause;
    bool finished; /* with status 0 */
} worker;

typedef struct {
    const char *config; /* path of each worker's */
    worker *worker;
    int n, signals;
    int last_word[2]; /* a pipe with one byte: CLI_LAST_WORD */
    sigset_t former;  /* signals that were blocked before */
    bool stopping, done, resumed;
    int status;                             /* to end with */
    int failed;                             /* of whoever could not end as asked; 0 */
    long long saved;                        /* step that an interrupted writer has saved; -1 */
    long long saved_before;                 /* the same when all were told to end */
    long long left;                         /* that the workers of other machines have; -1 */
    char sha[kLineBytes], last[kLineBytes]; /* the last lines, once */
    double end_at; /* whoever still runs then hangs, and is killed; 0: no such time */
} supervisor;

/* --- starting --------------------------------------------------------------------------------- */

static noreturn void become_worker(const supervisor *s, int i, int output, pid_t parent) {
    const char *const arguments[] = {"spotgrad", "train", "--config", s->config, NULL};
    const char *launcher = getenv(CLI_LAUNCHER);
    char number[16];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(CLI_UNAVAILABLE); /* it died before that */
    sigprocmask(SIG_SETMASK, &s->former, NULL);
    dup2(output, STDOUT_FILENO);
    snprintf(number, sizeof number, "%d", i);
    setenv(CLI_WORKER, number, 1);
    fcntl(s->last_word[0], F_SETFD, 0);
    snprintf(number, sizeof number, "%d", s->last_word[0]);
    setenv(CLI_LAST_WORD, number, 1);
    execv(launcher ? launcher : "/proc/self/exe", (char *const *)(uintptr_t)arguments);
    _exit(CLI_UNAVAILABLE);
}

/* false: there is no process, or no pipe to hear it by; errno says why. */
static bool start_worker(supervisor *s, int i) {
    worker *w = &s->worker[i];
    pid_t parent = getpid(), pid;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    pid = fork();
    if (pid == 0) become_worker(s, i, ends[1], parent);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return false;
    }
    w->pid = pid;
    w->output = ends[0];
    w->used = 0;
    w->started = sg_now();
    return true;
}

/* A life that was long enough is followed by the next one at once, unless it failed. */
static void plan_restart(worker *w, bool failed, double now) {
    bool pause = failed || now - w->started <= kShortLife;

    w->pause = !pause ? 0.0 : w->pause > 0.0 ? 2.0 * w->pause : kFirstPause;
    if (w->pause > kLongestPause) w->pause = kLongestPause;
    w->start_at = now + w->pause;
}

static int running(const supervisor *s) {
    int n = 0;

    for (int i = 0; i < s->n; i++) n += s->worker[i].pid > 0;
    return n;
}

/* Alone those who run go on; who cannot be started is tried again. */
static void start_due(supervisor *s) {
    for (int i = 0; i < s->n; i++) {
        worker *w = &s->worker[i];

        if (w->pid != 0 || w->finished || s->stopping || s->done || sg_now() < w->start_at)
            continue;
        if (start_worker(s, i)) continue;
        if (running(s) == 0)
            die(sg_fail(SG_ERR_UNAVAILABLE, "cannot start a worker: %s", strerror(errno)), NULL);
        cli_say("worker %d cannot be started: %s; trying again", i, strerror(errno));
        plan_restart(w, true, sg_now());
    }
}

/* --- what they say ---------------------------------------------------------------------------- */

static bool begins(const char *line, const char *start) {
    return strncmp(line, start, strlen(start)) == 0;
}

/* The others have nothing left to do but to end. */
static void be_done(supervisor *s) {
    if (!s->done) s->end_at = sg_now() + kEnd;
    s->done = true;
}

/* Lines that are to come once come from one worker after the other, where one dies in between. */
static void hear_line(supervisor *s, const char *line) {
    long long step;

    if (begins(line, "state sha256: ")) {
        snprintf(s->sha, sizeof s->sha, "%s", line);
    } else if (begins(line, "done: ")) {
        snprintf(s->last, sizeof s->last, "%s", line);
        be_done(s);
    } else if (sscanf(line, "interrupted: saved step %lld", &step) == 1) {
        if (step > s->saved) s->saved = step;
    } else if (sscanf(line, "interrupted: the other workers have step %lld", &step) == 1) {
        if (step > s->left) s->left = step;
    } else if (begins(line, "resumed: ")) {
        if (!s->resumed) cli_print("%s\n", line);
        s->resumed = true;
    } else if (!begins(line, "interrupted: ")) {
        cli_print("%s\n", line);
    }
}

static void take_output(supervisor *s, worker *w, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\n') w->line[w->used++] = text[i];
        if (text[i] != '\n' && w->used < sizeof w->line - 1) continue;
        w->line[w->used] = '\0';
        w->used = 0;
        hear_line(s, w->line);
    }
}

/* false: it says no more. */
static bool listen_to(supervisor *s, worker *w) {
    char text[kTextBytes];
    ssize_t n = read(w->output, text, sizeof text);

    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
    if (n > 0) take_output(s, w, text, (size_t)n);
    if (n > 0) return true;
    close(w->output);
    w->output = -1;
    return false;
}

/* --- ends ------------------------------------------------------------------------------------- */

static void tell_all(const supervisor *s, int number) {
    for (int i = 0; i < s->n; i++)
        if (s->worker[i].pid > 0) kill(s->worker[i].pid, number);
}

static void give_last_word(const supervisor *s) {
    if (write(s->last_word[1], "", 1) != 1 && errno != EAGAIN)
        die(sg_fail(SG_ERR_UNAVAILABLE, "cannot write to a pipe: %s", strerror(errno)), NULL);
}

static void stop_all(supervisor *s, int status) {
    if (s->status == CLI_DONE) s->status = status;
    if (!s->stopping) {
        tell_all(s, SIGTERM);
        s->end_at = sg_now() + kSaving;
        s->saved_before = s->saved;
    }
    s->stopping = true;
}

/* A status that another try would only bring again. */
static bool is_final(int status) {
    return status >= CLI_USAGE && status <= CLI_CONFIG && status != CLI_INTERRUPTED;
}

/* Somebody runs who holds, most likely, what has been trained: for longer than a start takes. */
static bool others_work(const supervisor *s, double now) {
    for (int i = 0; i < s->n; i++)
        if (s->worker[i].pid > 0 && now - s->worker[i].started > kShortLife) return true;
    return false;
}

/* Its disk, device or memory may be there again; but where nobody has anything to go on with, all
 * would begin anew, to meet the same again. */
static bool may_pass(const supervisor *s, int status, double now) {
    return (status == CLI_UNAVAILABLE || status == CLI_OUT_OF_MEMORY || status == CLI_IO) &&
           others_work(s, now);
}

static void bury(supervisor *s, int i, int how) {
    worker *w = &s->worker[i];
    int status = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
    double now = sg_now();

    while (w->output >= 0 && listen_to(s, w)) continue;
    w->pid = 0;
    w->finished = status == CLI_DONE;
    if (w->finished) be_done(s);
    if (s->stopping && is_final(status) && s->failed == CLI_DONE) s->failed = status;
    if (w->finished || s->stopping || s->done) return;
    if (is_final(status) && !may_pass(s, status, now)) {
        stop_all(s, status);
        return;
    }
    if (is_final(status)) give_last_word(s); /* the next one says why, too */
    plan_restart(w, is_final(status), now);
    if (WIFSIGNALED(how))
        cli_say("worker %d was killed by signal %d: starting it again", i, WTERMSIG(how));
    else
        cli_say("worker %d ended with %d: starting it again", i, status);
}

static void reap(supervisor *s) {
    int how;

    for (int i = 0; i < s->n; i++)
        if (s->worker[i].pid > 0 && waitpid(s->worker[i].pid, &how, WNOHANG) > 0) bury(s, i, how);
}

static void take_signal(supervisor *s) {
    struct signalfd_siginfo info;

    if (read(s->signals, &info, sizeof info) != sizeof info) return;
    if (info.ssi_signo == SIGUSR1) tell_all(s, SIGUSR1);
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT || info.ssi_signo == SIGHUP)
        stop_all(s, CLI_INTERRUPTED);
}

/* Milliseconds until something is due though nothing happens; -1: nothing is. */
static int until_due(const supervisor *s) {
    double least = s->end_at > 0.0 ? s->end_at : (double)INFINITY;

    for (int i = 0; i < s->n; i++) {
        const worker *w = &s->worker[i];

        if (w->pid == 0 && !w->finished && !s->stopping && !s->done && w->start_at < least)
            least = w->start_at;
    }
    least -= sg_now();
    return isinf(least) ? -1 : least > 0.0 ? (int)(1e3 * least) + 1 : 0;
}

/* One that a file server holds in the kernel goes when that lets it: it is not to be waited for at
 * the price of a core. */
static void end_all(supervisor *s) {
    tell_all(s, SIGKILL);
    s->end_at = sg_now() + kEnd;
}

static void watch(supervisor *s) {
    struct pollfd fd[CLI_MOST_WORKERS + 1];

    while (start_due(s), running(s) > 0 || !(s->stopping || s->done)) {
        fd[0] = (struct pollfd){s->signals, POLLIN, 0};
        for (int i = 0; i < s->n; i++)
            fd[i + 1] = (struct pollfd){s->worker[i].pid > 0 ? s->worker[i].output : -1, POLLIN, 0};
        if (poll(fd, (nfds_t)s->n + 1, until_due(s)) < 0 && errno != EINTR)
            die(sg_fail(SG_ERR_UNAVAILABLE, "cannot watch workers: %s", strerror(errno)), NULL);
        for (int i = 0; i < s->n; i++)
            if (fd[i + 1].revents) (void)listen_to(s, &s->worker[i]);
        if (fd[0].revents) take_signal(s);
        if (s->end_at > 0.0 && sg_now() > s->end_at) end_all(s);
        reap(s);
    }
}

/* --- start and end ---------------------------------------------------------------------------- */

static void catch_signals(supervisor *s) {
    sigset_t mask;

    signal(SIGCHLD, SIG_DFL); /* where it is ignored nobody hears how a child ends */
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    if (cli_hears_hangup()) sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, &s->former);
    s->signals = signalfd(-1, &mask, SFD_CLOEXEC);
    if (s->signals < 0) die(sg_fail(SG_ERR_UNAVAILABLE, "no signalfd: %s", strerror(errno)), NULL);
}

/* A pipe that holds one byte: later readers read nothing. */
static void make_last_word(supervisor *s) {
    if (pipe2(s->last_word, O_CLOEXEC | O_NONBLOCK) != 0)
        die(sg_fail(SG_ERR_UNAVAILABLE, "cannot make a pipe: %s", strerror(errno)), NULL);
    give_last_word(s);
}

static int print_end(const supervisor *s) {
    if (s->done) {
        cli_print("%s\n%s\n", s->sha, s->last);
        return CLI_DONE;
    }
    if (s->status == CLI_INTERRUPTED && s->failed != CLI_DONE && s->saved == s->saved_before)
        return s->failed; /* what should have been saved is not, and it has said why */
    if (s->status == CLI_INTERRUPTED && s->saved >= 0)
        cli_print("interrupted: saved step %lld\n", s->saved);
    else if (s->saved > s->saved_before)
        cli_say("saved step %lld before the end", s->saved);
    else if (s->status == CLI_INTERRUPTED && s->left >= 0)
        cli_print("interrupted: the other workers have step %lld\n", s->left);
    else if (s->status == CLI_INTERRUPTED)
        cli_print("interrupted: before the first step\n");
    return s->status;
}

int cli_supervise(const sg_config *config, int n, bool fresh) {
    supervisor s = {.n = n, .saved = -1, .saved_before = -1, .left = -1};
    cli_team team;

    if (n > config->train.shards)
        die_usage("--workers %d: at most train.shards = %lld have something to do", n,
                  (long long)config->train.shards);
    if (config->run.tune)
        die(sg_fail(SG_ERR_CONFIG,
                    "run.tune: workers would choose different kernels, and differ in "
                    "their bits; leave it out with --workers"),
            NULL);
    if (!config->distributed.store[0] && n < config->distributed.min_workers)
        die(sg_fail(SG_ERR_CONFIG,
                    "distributed.min_workers: %lld never come together; --workers %d starts fewer",
                    (long long)config->distributed.min_workers, n),
            NULL);
    cli_team_prepare(&team, config, n, fresh);
    s.config = team.config;
    s.worker = sg_calloc((size_t)n, sizeof *s.worker);
    if (!s.worker) die(sg_fail(SG_ERR_OOM, "no memory"), NULL);
    catch_signals(&s);
    make_last_word(&s);
    sg_log(SG_LOG_INFO,
           "%d workers, train.threads=%lld and data.threads=%lld each; folder %s; Ctrl-C saves, "
           "the same command goes on",
           n, (long long)team.threads, (long long)team.data_threads, config->run.dir);
    watch(&s);
    cli_team_clear(&team);
    return print_end(&s);
}
