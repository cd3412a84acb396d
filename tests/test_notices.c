/* The watcher beside a stand-in for the three services (tests/metadata_server.py): what it hears,
 * says to the log and asks; services that fail, hang and lie; and that it ends at once. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>
#include <jansson.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/threads.h"
#include "spot/notice.h"

static const double kPatience = 10; /* seconds until something that should happen has not */
static const double kAtOnce = 0.5;  /* longest start or stop; a busy machine, a sanitizer */

/* --- the stand-in ----------------------------------------------------------------------------- */

static pid_t server;
static int server_input = -1;
static char endpoint[64];

static int start_server(void **state) {
    int input[2], output[2];
    char port[16] = "";
    FILE *answer;

    (void)state;
    if (pipe(input) != 0 || pipe(output) != 0) return -1;
    server = fork();
    if (server == 0) {
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        close(input[1]);
        close(output[0]);
        execlp("python3", "python3", "tests/metadata_server.py", (char *)NULL);
        _exit(127);
    }
    close(input[0]);
    close(output[1]);
    server_input = input[1];
    answer = fdopen(output[0], "r");
    if (!answer) return -1;
    if (!fgets(port, sizeof port, answer)) server = 0; /* no python3 */
    fclose(answer);
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", atoi(port));
    return curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -1;
}

static int stop_server(void **state) {
    (void)state;
    close(server_input);
    while (wait(NULL) < 0 && errno == EINTR) continue;
    curl_global_cleanup();
    return 0;
}

static size_t collect(char *data, size_t one, size_t n, void *context) {
    char *text = context;
    size_t used = strlen(text);

    assert_true(used + one * n < 8192);
    memcpy(text + used, data, one * n);
    text[used + one * n] = '\0';
    return one * n;
}

/* What the stand-in is; the caller's. NULL `change`: nothing is changed. */
static json_t *control(const char *path, const char *change) {
    CURL *easy = curl_easy_init();
    char url[128], text[8192] = "";
    long status = 0;
    json_t *now;

    snprintf(url, sizeof url, "%s/control%s", endpoint, path);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    if (change) curl_easy_setopt(easy, CURLOPT_POSTFIELDS, change);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, text);
    assert_int_equal(curl_easy_perform(easy), CURLE_OK);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    assert_int_equal(status, 200);
    now = json_loads(text, 0, NULL);
    assert_non_null(now);
    return now;
}

static void set(const char *change) { json_decref(control("", change)); }

/* Requests of which "METHOD path status" contains `text`. */
static long asked(const char *text) {
    json_t *now = control("", NULL), *count;
    const char *key;
    long n = 0;

    json_object_foreach(json_object_get(now, "counts"), key, count) {
        if (strstr(key, text)) n += (long)json_integer_value(count);
    }
    json_decref(now);
    return n;
}

/* --- the log ---------------------------------------------------------------------------------- */

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static char log_text[16384];

static void keep_line(sg_log_level level, const char *line) {
    static const char *const names[] = {"error", "warn", "info", "debug"};

    pthread_mutex_lock(&log_mutex);
    if (strlen(log_text) + strlen(line) + 10 < sizeof log_text)
        sprintf(log_text + strlen(log_text), "%s %s\n", names[level], line);
    pthread_mutex_unlock(&log_mutex);
}

/* How often the log has `text`. */
static int logged(const char *text) {
    int n = 0;

    pthread_mutex_lock(&log_mutex);
    for (const char *at = log_text; (at = strstr(at, text)); at++) n++;
    pthread_mutex_unlock(&log_mutex);
    return n;
}

/* --- a watcher -------------------------------------------------------------------------------- */

static sg_notices *watcher;

static int reset(void **state) {
    (void)state;
    watcher = NULL;
    log_text[0] = '\0';
    sg_log_set(SG_LOG_DEBUG, keep_line);
    if (server) json_decref(control("/reset", "{}"));
    return 0;
}

static int end(void **state) {
    (void)state;
    sg_notices_stop(watcher);
    return 0;
}

static void start_at(const char *provider, const char *where) {
    const sg_notices_options o = {
        .provider = provider, .endpoint = where, .poll = 0.02, .timeout = 0.3, .retry = 0.02};
    double began = sg_now();

    if (!server) skip();
    assert_int_equal(sg_notices_start(&o, &watcher), SG_OK);
    assert_true(sg_now() - began < kAtOnce);
}

static void start(const char *provider, const char *cloud) {
    set(cloud);
    start_at(provider, endpoint);
}

static void stop_at_once(void) {
    double began = sg_now();

    sg_notices_stop(watcher);
    assert_true(sg_now() - began < kAtOnce);
    watcher = NULL;
}

#define AWAIT(condition)                                                                           \
    do {                                                                                           \
        for (double from_ = sg_now(); !(condition); usleep(5000))                                  \
            if (sg_now() - from_ > kPatience)                                                      \
                fail_msg("not in time: %s\n%s", #condition, log_text);                             \
    } while (0)

static bool is_found(sg_spot_provider provider) { return sg_notices_provider(watcher) == provider; }
static bool is_state(sg_notice_state state) { return sg_notices_state(watcher) == state; }

/* --- AWS -------------------------------------------------------------------------------------- */

#define ACTION "/latest/meta-data/spot/instance-action"
#define TERMINATE                                                                                  \
    "{\"action\": \"{\\\"action\\\": \\\"terminate\\\", \\\"time\\\": "                            \
    "\\\"2040-02-29T01:02:03Z\\\"}\"}"

static void test_aws(void **state) {
    (void)state;
    start("auto", "{\"cloud\": \"aws\"}");
    AWAIT(asked(ACTION " 404") >= 3);
    assert_true(is_found(SG_SPOT_AWS) && is_state(SG_NOTICE_NONE));
    assert_int_equal(logged("this machine"), 0);
    assert_false(sg_notices_until(watcher) > 0.0 || sg_notices_until(NULL) > 0.0);
    assert_int_equal(logged("info spot: AWS's metadata service answers: notices"), 1);
    set("{\"rebalance\": \"{\\\"noticeTime\\\": \\\"2020-10-27T08:22:00Z\\\"}\"}");
    AWAIT(is_state(SG_NOTICE_REBALANCE));
    assert_int_equal(
        logged(
            "warn spot: AWS warns that this machine may go: rebalance, at 2020-10-27T08:22:00Z\n"),
        1);
    set(TERMINATE);
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
    assert_int_equal(
        logged("warn spot: AWS takes this machine away: terminate, at 2040-02-29T01:02:03Z\n"), 1);
    assert_false(sg_notices_until(watcher) > 0.0); /* some clock is wrong */
    sg_notices_acknowledge(watcher);               /* nothing to do, and no wait */
    assert_int_equal(asked("api/token"), 1);
    assert_int_equal(asked("401"), 0);
    stop_at_once();
}

/* The time left is told. */
static void test_aws_time(void **state) {
    time_t soon = time(NULL) + 120;
    char at[32], change[160];
    int left = 0;

    (void)state;
    strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%SZ", gmtime(&soon));
    snprintf(change, sizeof change,
             "{\"cloud\": \"aws\", \"action\": \"{\\\"action\\\": \\\"stop\\\", \\\"time\\\": "
             "\\\"%s\\\"}\"}",
             at);
    start("aws", change);
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
    assert_int_equal(sscanf(strstr(log_text, "(in "), "(in %d s)", &left), 1);
    assert_true(left >= 100 && left <= 120);
    assert_true(fabs(sg_notices_until(watcher) - sg_now() - left) < 10.0);
}

static void test_aws_renews_before_the_end(void **state) {
    (void)state;
    start("aws", "{\"cloud\": \"aws\", \"ttl\": 1}");
    AWAIT(asked("api/token 200") >= 3);
    assert_int_equal(asked("401"), 0);
    assert_int_equal(logged("warn"), 0);
}

static void test_aws_renews_when_refused(void **state) {
    (void)state;
    start("aws", "{\"cloud\": \"aws\"}");
    AWAIT(asked(ACTION " 404") >= 1);
    set("{\"tokens\": 0}");
    AWAIT(asked("api/token 200") >= 2);
    set(TERMINATE);
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
    assert_true(asked(ACTION " 401") >= 1);
    assert_int_equal(logged("does not answer"), 0);
}

/* The hop limit: told once, with the remedy, and heard as soon as it helps. */
static void test_aws_hidden(void **state) {
    (void)state;
    start("auto", "{\"cloud\": \"aws\", \"token_fault\": \"hang\"}");
    AWAIT(logged("--http-put-response-hop-limit 2") == 1);
    AWAIT(asked("hung /latest/api/token") >= 2);
    assert_int_equal(logged("no metadata service"), 0);
    assert_true(is_found(SG_SPOT_UNKNOWN));
    set("{\"token_fault\": \"\"}");
    AWAIT(is_found(SG_SPOT_AWS));
    assert_int_equal(logged("hop-limit"), 1);
}

static void test_aws_open(void **state) {
    (void)state;
    start("auto", "{\"cloud\": \"aws\", \"token_fault\": \"hang\", \"open\": true}");
    AWAIT(asked(ACTION " 404") >= 2);
    assert_int_equal(logged("answers (IMDSv1"), 1);
    set(TERMINATE);
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
}

/* --- GCP -------------------------------------------------------------------------------------- */

#define PREEMPTED "/computeMetadata/v1/instance/preempted"

static void test_gcp(void **state) {
    (void)state;
    start("auto", "{\"cloud\": \"gcp\"}");
    AWAIT(is_found(SG_SPOT_GCP));
    usleep(300000);
    assert_int_equal(asked(PREEMPTED), 2); /* the third is waiting for its answer */
    assert_true(is_state(SG_NOTICE_NONE));
    set("{\"preempted\": true}");
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
    assert_int_equal(logged("warn spot: GCP takes this machine away: preempt, at any moment\n"), 1);
    sg_notices_acknowledge(watcher);
    assert_int_equal(asked(PREEMPTED), 3);
}

/* A value that has changed before anybody asked does not change again. */
static void test_gcp_too_late(void **state) {
    (void)state;
    start("gcp", "{\"cloud\": \"gcp\", \"preempted\": true}");
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
    assert_int_equal(asked(PREEMPTED), 2);
}

static void test_gcp_stops_within_a_long_poll(void **state) {
    (void)state;
    start("gcp", "{\"cloud\": \"gcp\"}");
    AWAIT(is_found(SG_SPOT_GCP));
    usleep(100000);
    stop_at_once();
}

static void test_gcp_without_etags(void **state) {
    (void)state;
    start("gcp", "{\"cloud\": \"gcp\", \"etag\": false}");
    AWAIT(asked(PREEMPTED) >= 5);
    set("{\"preempted\": true}");
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
}

/* Whoever says TRUE without being Google's server. */
static void test_gcp_unproven(void **state) {
    (void)state;
    start("gcp", "{\"cloud\": \"gcp\", \"flavor\": false, \"preempted\": true}");
    AWAIT(logged("warn spot: GCP's metadata service does not answer (HTTP status 200, but") == 1);
    assert_true(is_state(SG_NOTICE_NONE));
}

/* --- Azure ------------------------------------------------------------------------------------ */

#define EVENTS "/metadata/scheduledevents"
#define EVENT(id, type, vm)                                                                        \
    "{\"EventId\": \"" id "\", \"EventType\": \"" type                                             \
    "\", \"ResourceType\": \"VirtualMachine\", \"Resources\": [\"" vm                              \
    "\"], \"EventStatus\": \"Scheduled\", \"NotBefore\": \"Fri, 05 Oct 2040 18:29:47 GMT\"}"

static void test_azure(void **state) {
    json_t *now, *ids;

    (void)state;
    start("auto", "{\"cloud\": \"azure\", \"events\": [" EVENT("F", "Freeze", "train-7") ", " EVENT(
                      "P", "Preempt", "train-8") "]}");
    AWAIT(asked("GET " EVENTS " 200") >= 3);
    assert_true(is_found(SG_SPOT_AZURE) && is_state(SG_NOTICE_NONE));
    set("{\"events\": [" EVENT("R", "Reboot", "train-7") "]}");
    AWAIT(is_state(SG_NOTICE_REBALANCE));
    assert_int_equal(
        logged(
            "warn spot: Azure warns that this machine may go: Reboot, at 2040-10-05T18:29:47Z\n"),
        1);
    set("{\"events\": [" EVENT("R", "Reboot", "train-7") ", " EVENT("A-1", "Preempt",
                                                                    "train-7") "]}");
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
    assert_int_equal(
        logged("warn spot: Azure takes this machine away: Preempt, at 2040-10-05T18:29:47Z\n"), 1);
    assert_int_equal(asked("POST"), 0); /* not before the state is durable */
    sg_notices_acknowledge(watcher);
    now = control("", NULL);
    ids = json_object_get(now, "acknowledged");
    assert_int_equal(json_array_size(ids), 1);
    assert_string_equal(json_string_value(json_array_get(ids, 0)), "A-1");
    json_decref(now);
    sg_notices_acknowledge(watcher); /* a second time: nothing more, and no wait */
    assert_int_equal(asked("POST"), 1);
    stop_at_once();
}

static void test_azure_acknowledges_no_other(void **state) {
    (void)state;
    start("azure", "{\"cloud\": \"azure\", \"events\": [" EVENT("A", "Preempt",
                                                                "train-7\", \"train-8") "]}");
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
    sg_notices_acknowledge(watcher);
    assert_int_equal(asked("POST"), 0);
}

static void test_azure_cannot_be_told(void **state) {
    double began;

    (void)state;
    start("azure", "{\"cloud\": \"azure\", \"events\": [" EVENT("A", "Terminate", "train-7") "]}");
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
    set("{\"fault\": \"hang\"}");
    began = sg_now();
    sg_notices_acknowledge(watcher); /* the timeout is 0.3 s */
    assert_true(sg_now() - began < 2);
    AWAIT(logged("warn spot: Azure was not told that it may go on (") == 1);
    stop_at_once();
}

/* --- trouble ---------------------------------------------------------------------------------- */

static const char *const clouds[] = {"aws", "gcp", "azure"};

static void start_with_fault(const char *cloud, const char *fault) {
    char change[160];

    snprintf(change, sizeof change,
             "{\"cloud\": \"%s\", \"fault\": \"%s\", \"etag\": true, \"ttl\": 21600}", cloud,
             fault);
    start(cloud, change);
}

static void end_of_trouble(void) {
    set("{\"fault\": \"\", \"preempted\": true, \"action\": \"{\\\"action\\\": \\\"terminate\\\", "
        "\\\"time\\\": \\\"2040-02-29T01:02:03Z\\\"}\", \"events\": [" EVENT("A", "Preempt",
                                                                             "train-7") "]}");
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
}

/* Errors and hung questions: one warning, no alarm, and the notice when the service is back. */
static void test_failures(void **state) {
    static const char *const faults[] = {"500", "503", "302", "half", "huge"};

    (void)state;
    for (int c = 0; c < 3; c++) {
        for (int f = 0; f < 5; f++) {
            reset(NULL);
            start_with_fault(clouds[c], faults[f]);
            AWAIT(logged("a notice of an interruption may be missed") == 1);
            assert_true(is_state(SG_NOTICE_NONE));
            end_of_trouble();
            assert_int_equal(logged("warn"), 2);
            stop_at_once();
        }
    }
}

static void test_nonsense(void **state) {
    static const char *const faults[] = {"cut", "garbage"};

    (void)state;
    for (int c = 0; c < 3; c++) {
        for (int f = 0; f < 2; f++) {
            reset(NULL);
            start_with_fault(clouds[c], faults[f]);
            AWAIT(logged("said what is no notice: ") == 1);
            usleep(100000);
            assert_true(is_state(SG_NOTICE_NONE));
            end_of_trouble();
            assert_int_equal(logged("warn"), 2);
            stop_at_once();
        }
    }
}

/* A question that is never answered holds nobody back, whenever the end comes. */
static void test_hangs(void **state) {
    (void)state;
    for (int c = 0; c < 3; c++) {
        reset(NULL);
        start_with_fault(clouds[c], "hang");
        AWAIT(asked("hung") >= 1);
        assert_true(is_state(SG_NOTICE_NONE));
        stop_at_once();
        set("{\"fault_all\": true}");
        start_at("auto", endpoint);
        AWAIT(asked("hung /computeMetadata") >= 1 + (c == 1));
        stop_at_once();
        set("{\"fault\": \"\"}");
    }
}

/* With 300 ms for an answer, a slow service is asked in vain; one of 50 ms is not. */
static void test_slow(void **state) {
    (void)state;
    start("aws", "{\"cloud\": \"aws\", \"delay\": 0.05}");
    AWAIT(asked(ACTION) >= 2);
    set("{\"delay\": 0.6}");
    AWAIT(logged("may be missed") == 1);
    set("{\"delay\": 0, \"action\": \"{\\\"action\\\": \\\"stop\\\", \\\"time\\\": "
        "\\\"2040-02-29T01:02:03Z\\\"}\"}");
    AWAIT(is_state(SG_NOTICE_INTERRUPT));
}

/* --- nobody there ----------------------------------------------------------------------------- */

static void test_none(void **state) {
    (void)state;
    start("auto", "{\"cloud\": \"none\"}");
    AWAIT(is_found(SG_SPOT_NONE));
    assert_int_equal(asked("api/token 404"), 3); /* then it asks no more */
    assert_int_equal(logged("info spot: no metadata service of AWS, GCP or Azure answers"), 1);
    assert_int_equal(logged("spot"), 1);
    assert_true(is_state(SG_NOTICE_NONE));
    stop_at_once();
}

static void test_closed_port(void **state) {
    (void)state;
    start_at("auto", "http://127.0.0.1:1");
    AWAIT(is_found(SG_SPOT_NONE));
    stop_at_once();
    log_text[0] = '\0';
    start_at("gcp", "http://127.0.0.1:1");
    AWAIT(logged("warn spot: GCP's metadata service does not answer (http://127.0.0.1:1: ") == 1);
    assert_true(is_found(SG_SPOT_UNKNOWN));
    stop_at_once();
}

/* A service that comes late is found by who was told that it is there. */
static void test_late(void **state) {
    (void)state;
    start("azure", "{\"cloud\": \"none\"}");
    AWAIT(asked("compute 404") >= 2);
    set("{\"cloud\": \"azure\"}");
    AWAIT(is_found(SG_SPOT_AZURE));
    assert_int_equal(logged("info spot: Azure's metadata service answers"), 1);
}

static void test_stops_before_it_began(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        start_at("auto", "http://127.0.0.1:1");
        stop_at_once();
    }
}

static void test_no_watcher(void **state) {
    sg_notices_options o = {.provider = "none", .endpoint = ""};

    (void)state;
    watcher = (sg_notices *)(void *)&o;
    assert_int_equal(sg_notices_start(&o, &watcher), SG_OK);
    assert_null(watcher);
    assert_true(is_state(SG_NOTICE_NONE) && is_found(SG_SPOT_NONE));
    sg_notices_acknowledge(NULL);
    sg_notices_stop(NULL);
}

static void test_refuses(void **state) {
    static const char *const endpoints[] = {"169.254.169.254",   "https://x",     "http://",
                                            "http://a b",        "http://x/path", "http://x?y",
                                            "file:///etc/passwd"};
    sg_notices_options o = {.provider = "oracle", .endpoint = ""};
    long live = sg_mem_live();

    (void)state;
    assert_int_equal(sg_notices_start(&o, &watcher), SG_ERR_CONFIG);
    assert_non_null(strstr(sg_last_error(), "spot.provider: `oracle`"));
    o.provider = "auto";
    for (int i = 0; i < 7; i++) {
        o.endpoint = endpoints[i];
        assert_int_equal(sg_notices_start(&o, &watcher), SG_ERR_CONFIG);
        assert_non_null(strstr(sg_last_error(), endpoints[i]));
    }
    assert_int_equal(sg_mem_live(), live);
    assert_null(watcher);
}

/* The first two allocations are the caller's, the third is the thread's: a run goes on without. */
static void test_no_memory(void **state) {
    const sg_notices_options o = {.provider = "auto", .endpoint = "http://127.0.0.1:1"};
    long live = sg_mem_live();

    (void)state;
    for (long n = 1; n <= 2; n++) {
        sg_mem_fail_at(n);
        assert_int_equal(sg_notices_start(&o, &watcher), SG_ERR_OOM);
        sg_mem_fail_at(0);
        assert_int_equal(sg_mem_live(), live);
    }
    sg_mem_fail_at(3);
    assert_int_equal(sg_notices_start(&o, &watcher), SG_OK);
    AWAIT(logged("warn spot: no memory") == 1);
    sg_mem_fail_at(0);
    AWAIT(is_found(SG_SPOT_NONE));
    stop_at_once();
    assert_int_equal(sg_mem_live(), live);
}

static void test_mtbf(void **state) {
    (void)state;
    for (sg_spot_provider p = SG_SPOT_UNKNOWN; p <= SG_SPOT_AZURE; p++)
        assert_true(sg_spot_mtbf(p) >= 3600 && sg_spot_mtbf(p) <= sg_spot_mtbf(SG_SPOT_NONE));
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, reset, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_aws),
        CASE(test_aws_time),
        CASE(test_aws_renews_before_the_end),
        CASE(test_aws_renews_when_refused),
        CASE(test_aws_hidden),
        CASE(test_aws_open),
        CASE(test_gcp),
        CASE(test_gcp_too_late),
        CASE(test_gcp_stops_within_a_long_poll),
        CASE(test_gcp_without_etags),
        CASE(test_gcp_unproven),
        CASE(test_azure),
        CASE(test_azure_acknowledges_no_other),
        CASE(test_azure_cannot_be_told),
        CASE(test_failures),
        CASE(test_nonsense),
        CASE(test_hangs),
        CASE(test_slow),
        CASE(test_none),
        CASE(test_closed_port),
        CASE(test_late),
        CASE(test_stops_before_it_began),
        CASE(test_no_watcher),
        CASE(test_refuses),
        CASE(test_no_memory),
        CASE(test_mtbf),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
