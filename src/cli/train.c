/* `train`: trains a model; also answers questions about its configuration, data and machine. */
#define _GNU_SOURCE
#include "cli/cli.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "cpu/cpu.h"
#include "train/compute.h"
#include "train/run.h"

enum { kProfileSteps = 5 };

/* What was asked for. */
typedef struct {
    const char *config, *workers;
    bool check_data, help_config, markdown, print_config, devices, profile, dry_run, list, fresh;
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

static void print_gpu(const sg_gpu_list *list, int i) {
    const sg_gpu *gpu = &list->gpu[i];

    cli_print("cuda:%d  %s, compute capability %d.%d, %d multiprocessors, %.1f GiB; the driver "
              "serves CUDA %d.%d\n",
              i, gpu->name, gpu->major, gpu->minor, gpu->multiprocessors,
              (double)gpu->bytes / (double)(1 << 30), list->driver / 1000,
              list->driver % 1000 / 10);
}

/* Whether kernels of ours and of NVIDIA's libraries run there, and in which numeric class. */
static void try_gpu(int i) {
    char name[32], text[SG_PLUGIN_CLASS_BYTES];
    sg_compute_options options = {.device = name, .precision = "auto"};
    sg_compute compute;
    sg_status st;

    snprintf(name, sizeof name, "cuda:%d", i);
    st = sg_compute_open(&options, &compute);
    if (st == SG_OK) {
        st = sg_compute_try(&compute);
        sg_compute_class(&compute, text, sizeof text);
        sg_compute_close(&compute);
    }
    if (st == SG_OK)
        cli_print("cuda:%d  usable: %s\n", i, text);
    else
        cli_print("cuda:%d  not usable: %s\n", i, sg_last_error());
}

/* What is there, and why it cannot be used: never a failure. */
static int print_devices(void) {
    const sg_plugin *plugin;
    char text[4096];
    sg_gpu_list list;

    cli_set_log("warn"); /* the answer says it all */
    sg_cpu_class(text, sizeof text);
    cli_print("cpu     %d processors, %s\n", sg_cpu_count(), text);
    if (sg_gpu_find(&list) != SG_OK) {
        cli_print("cuda    not usable: %s\n", sg_last_error());
        return CLI_DONE;
    }
    for (int i = 0; i < list.n; i++) print_gpu(&list, i);
    if (sg_plugin_load(text, sizeof text, &plugin) != SG_OK) {
        cli_print("cuda    not usable: %s\n", sg_last_error());
        return CLI_DONE;
    }
    cli_print("cuda    %s loads\n", text);
    for (int i = 0; i < list.n; i++) try_gpu(i);
    return CLI_DONE;
}

static int print_profile(const sg_config *config) {
    char *text = NULL;
    sg_status st = sg_run_profile(config, kProfileSteps, &text);

    return print_text(st, text);
}

/* --- a run ------------------------------------------------------------------------------------ */

static const char kUnbegun[] = "interrupted: before the first step\n";

static atomic_int stop_signals; /* SIGINT, SIGTERM and SIGHUP so far */
static atomic_int save_signals; /* SIGUSR1 */
static atomic_bool stepping;    /* there is, or soon will be, something to save */

/* While data are read or drawn nothing is computed yet, and whatever is written is written under
 * another name first: the process may go at once. */
static void on_stop(int number) {
    (void)number;
    atomic_fetch_add(&stop_signals, 1);
    if (atomic_load(&stepping)) return;
    if (write(STDOUT_FILENO, kUnbegun, sizeof kUnbegun - 1) < 0) _exit(CLI_IO);
    _exit(CLI_INTERRUPTED);
}

static void on_save(int number) {
    (void)number;
    atomic_fetch_add(&save_signals, 1);
}

static void catch_signals(void) {
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = on_stop;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (cli_hears_hangup()) sigaction(SIGHUP, &action, NULL);
    action.sa_handler = on_save;
    sigaction(SIGUSR1, &action, NULL);
}

typedef struct {
    sg_progress *progress;
    const sg_config *config;
    const sg_table *table;
    int threads;
    const char *worker; /* its number under a supervisor; NULL */
    double first_step;  /* seconds */
    int64_t steps_here, last_step;
    bool told_time;
} run_view;

static const double kTimed = 1.0; /* seconds of steps, at least, from which the whole is told */

static bool must_stop(void *context) {
    (void)context;
    return atomic_load(&stop_signals) > 0;
}

static bool must_hurry(void *context) {
    (void)context;
    return atomic_load(&save_signals) > 0;
}

static void show_threads(const sg_run_start *start) {
    int used = sg_trainer_threads(start->trainer), here = sg_cpu_count();

    if (start->compute->plugin) return;
    if (used < here && start->config->train.threads == 0)
        sg_log(SG_LOG_INFO, "uses %d of %d processors: a larger train.shards would use more", used,
               here);
}

static void show_model(const sg_run_start *start) {
    const sg_config *c = start->config;
    const sg_task *task = start->task;
    const sg_table *table = sg_trainer_table(start->trainer);
    char *line = NULL;
    sg_status st = task->line(task, &line);

    if (st != SG_OK) die(st, NULL);
    sg_log(SG_LOG_INFO,
           "%s, %.2f M parameters; %lld %s to train on, %lld to validate; %lld epochs, %lld steps "
           "of %lld in %lld shards; %.0f MB",
           line, 1e-6 * (double)(table->n_params + table->n_rows), (long long)task->n_train,
           task->noun, (long long)task->n_val, (long long)c->train.epochs,
           (long long)start->total_steps, (long long)c->train.batch, (long long)c->train.shards,
           1e-6 * (double)sg_trainer_bytes(start->trainer));
    sg_free(line);
}

static void show_start(void *context, const sg_run_start *start) {
    run_view *view = context;
    const sg_config *c = start->config;
    int64_t shard = c->train.batch / c->train.shards;
    char class[SG_PLUGIN_CLASS_BYTES], device[SG_GPU_NAME_BYTES + 16];

    sg_compute_class(start->compute, class, sizeof class);
    sg_compute_name(start->compute, device, sizeof device);
    view->table = sg_trainer_table(start->trainer);
    view->threads = sg_trainer_threads(start->trainer);
    view->progress = cli_progress_start(start->task->rate);
    atomic_store(&stepping, true);
    if (view->worker && start->rank > 0) return;
    if (start->workers > 1) sg_log(SG_LOG_INFO, "worker %d of %d", start->rank, start->workers);
    if (start->compute->plugin)
        sg_log(SG_LOG_INFO, "%s: %s; folder %s; Ctrl-C saves, the same command goes on", device,
               class, c->run.dir);
    else
        sg_log(SG_LOG_INFO, "%s, %d thread%s; folder %s; Ctrl-C saves, the same command goes on",
               class, view->threads, view->threads == 1 ? "" : "s", c->run.dir);
    show_model(start);
    show_threads(start);
    if (shard < start->task->least_shard)
        sg_log(SG_LOG_WARN,
               "batch norm sees %lld of the %s at a time, as train.shards is so close to "
               "train.batch; %lld or more are known to do well",
               (long long)shard, start->task->noun, (long long)start->task->least_shard);
    if (start->resumed_from)
        cli_print("resumed: step %lld (epoch %lld, position %lld) from %s\n",
                  (long long)start->steps, (long long)(start->samples / start->task->n_train),
                  (long long)(start->samples % start->task->n_train), start->resumed_from);
}

/* The loss's parts, or where it has none itself. */
static sg_progress_state progress_state(const run_view *view, const sg_run_step *step) {
    int first = view->table->n_sums > SG_SUM_LOSS + 1 ? SG_SUM_LOSS + 1 : SG_SUM_LOSS;
    sg_progress_state s = {0};

    s.epoch = step->epoch;
    s.epochs = step->epochs;
    s.step = step->step;
    s.steps = step->total_steps;
    s.samples = step->samples;
    s.wait_seconds = step->wait_seconds;
    s.lr = step->lr;
    for (int i = first; i < view->table->n_sums && s.n_parts < SG_PROGRESS_PARTS; i++) {
        s.part[s.n_parts].name = view->table->sum_name[i];
        s.part[s.n_parts++].value = step->report.sum[i];
    }
    return s;
}

/* After the second step (the first warms caches up), or some more short ones, the whole time can be
 * told. */
static void tell_time(run_view *view, const sg_run_step *step) {
    double now = sg_now(), seconds, left;
    char to_go[32] = "under a minute";

    view->steps_here++;
    if (view->steps_here == 1) view->first_step = now;
    if (view->told_time || view->steps_here < 3 || now - view->first_step < kTimed) return;
    view->told_time = true;
    seconds = (now - view->first_step) / (double)(view->steps_here - 1);
    left = seconds * (double)(step->total_steps - step->step);
    if (left > 60.0) snprintf(to_go, sizeof to_go, "about %.0f minutes", ceil(left / 60.0));
    sg_log(SG_LOG_INFO, "%.*f %s a step: %s to go, evaluations apart", seconds < 0.1 ? 1 : 2,
           seconds < 0.1 ? 1e3 * seconds : seconds, seconds < 0.1 ? "ms" : "s", to_go);
}

static void show_step(void *context, const sg_run_step *step) {
    run_view *view = context;
    sg_progress_state s = progress_state(view, step);

    view->last_step = step->step;
    sg_progress_update(view->progress, &s);
    tell_time(view, step);
}

static void show_evaluation(void *context, const sg_run_step *step, const sg_evaluation *evaluation,
                            bool best) {
    run_view *view = context;
    sg_progress_state s = progress_state(view, step);

    sg_progress_keep(view->progress, &s);
    cli_print("%s%s", evaluation->table, best ? "best so far: kept as best.h5\n" : "");
}

/* Workers of one machine share its GPUs. */
static void choose_gpu(sg_config *config, const char *worker) {
    sg_gpu_list list;

    if (!worker ||
        (strcmp(config->run.device, "auto") != 0 && strcmp(config->run.device, "cuda") != 0))
        return;
    if (sg_gpu_find(&list) != SG_OK || list.n == 0) return;
    snprintf(config->run.device, sizeof config->run.device, "cuda:%d", atoi(worker) % list.n);
}

static int run(const sg_config *config, bool fresh) {
    run_view view = {.config = config, .worker = getenv(CLI_WORKER)};
    const sg_run_observer observer = {
        .context = &view,
        .started = show_start,
        .stepped = show_step,
        .evaluated = show_evaluation,
        .stop = must_stop,
        .hurry = must_hurry,
    };
    sg_run_result result;
    sg_status st;

    catch_signals();
    st = sg_run_train(config, fresh, &observer, &result);
    cli_progress_stop();
    if (st == SG_ERR_INTERRUPTED && result.steps < 0) {
        cli_print("%s", kUnbegun);
        return CLI_INTERRUPTED;
    }
    if (st == SG_ERR_INTERRUPTED) {
        cli_print("interrupted: %s step %lld\n", result.left ? "the other workers have" : "saved",
                  (long long)result.steps);
        return CLI_INTERRUPTED;
    }
    if (st != SG_OK) die(st, NULL);
    if (result.stopped_early && (!view.worker || view.last_step == result.steps)) /* said once */
        sg_log(SG_LOG_INFO, "stopped before train.epochs, as train.steps or train.patience ask");
    cli_print("state sha256: %s\n", result.sha256);
    cli_print("done: %lld steps, %lld epochs\n", (long long)result.steps, (long long)result.epochs);
    return CLI_DONE;
}

/* What a run would be, nothing written but a drawn data set. */
static int dry_run(const sg_config *config) {
    char *text = NULL;
    sg_status st = sg_run_describe(config, &text);

    return print_text(st, text);
}

static int workers_of(const char *text) {
    char *end;
    long n = strtol(text, &end, 10);

    if (*end || end == text || n < 1 || n > CLI_MOST_WORKERS)
        die_usage("--workers: %s is not a number from 1 to %d", text, CLI_MOST_WORKERS);
    return (int)n;
}

static int answer(const request *want, const cli_arguments *arguments) {
    int workers = want->workers ? workers_of(want->workers) : 0;
    sg_config config;
    sg_status st;

    if (workers && want->profile) die_usage("--profile is of one process: without --workers");
    if (want->markdown && !want->help_config) die_usage("--markdown goes with --help-config");
    if (want->help_config) return print_key_help(want->markdown);
    if (want->devices) return print_devices();
    if (!want->config && arguments->n_overrides == 0)
        die_usage("--config FILE or section.key=value is missing");
    cli_load_config(want->config, arguments, &config);
    if (want->print_config) return print_resolved(&config);
    if (want->check_data) return cli_check_data(&config);
    if (want->list) return cli_list(&config);
    st = sg_cpu_set_isa(config.run.isa);
    if (st != SG_OK) die(st, NULL);
    if (want->dry_run) return dry_run(&config);
    if (want->profile) return print_profile(&config);
    if (workers) return cli_supervise(&config, workers, want->fresh);
    choose_gpu(&config, getenv(CLI_WORKER));
    return run(&config, want->fresh);
}

int cli_train(int argc, char **argv) {
    request want = {0};
    const cli_option options[] = {
        {.name = "--config",
         .value_name = "FILE",
         .value = &want.config,
         .help = "configuration, an INI file"},
        {.name = "--fresh",
         .flag = &want.fresh,
         .help = "start over where run.dir holds a run already"},
        {.name = "--workers",
         .value_name = "N",
         .value = &want.workers,
         .help = "train with N processes on this machine; one that dies costs nothing"},
        {.name = "--check-data",
         .flag = &want.check_data,
         .help = "list every fault of the data set, and stop"},
        {.name = "--dry-run",
         .flag = &want.dry_run,
         .help = "read the data, describe model and run, and stop"},
        {.name = "--profile",
         .flag = &want.profile,
         .help = "train a few steps, say where the time went, and stop"},
        {.name = "--list",
         .flag = &want.list,
         .help = "list the checkpoints in run.dir, whether they are whole, and stop"},
        {.name = "--devices", .flag = &want.devices, .help = "list what can compute, and stop"},
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
        .usage = "[--config FILE] [section.key=value ...] [--fresh] [--workers N]",
        .summary = "Trains a model as FILE says; section.key=value sets a key, whatever it says.\n"
                   "Ctrl-C saves and ends with 75; the same command goes on from there.",
        .options = options,
        .n_options = sizeof options / sizeof options[0],
    };
    cli_arguments arguments;
    int code;

    cli_parse(argc, argv, &syntax, &arguments);
    code = answer(&want, &arguments);
    cli_arguments_clear(&arguments);
    return code;
}
