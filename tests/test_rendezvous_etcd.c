/* etcd's URLs, and what is made of servers that say nothing, or not what etcd says: without an
 * etcd. With one it is test_rendezvous.c that asks. */
#define _GNU_SOURCE
#include "rendezvous_fixture.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

static void urls_that_will_not_do(void **state) {
    static const struct {
        const char *url, *says;
    } bad[] = {
        {"", "file:///FOLDER"},
        {"/a/folder", "file:///FOLDER"},
        {"s3://bucket/a", "etcd://HOST:PORT"},
        {"etcds://host:2379", "etcd://HOST:PORT"},
        {"file://", "no folder"},
        {"file:///", "no folder"},
        {"file://relative/folder", "no folder"},
        {"etcd://", "'' is no HOST:PORT"},
        {"etcd:///prefix", "'' is no HOST:PORT"},
        {"etcd://host", "'host' is no HOST:PORT"},
        {"etcd://host:", "'host:' is no HOST:PORT"},
        {"etcd://:2379", "':2379' is no HOST:PORT"},
        {"etcd://host:0", "'host:0' is no HOST:PORT"},
        {"etcd://host:65536", "'host:65536' is no HOST:PORT"},
        {"etcd://host:2379x", "is no HOST:PORT"},
        {"etcd://user@host:2379", "is no HOST:PORT"},
        {"etcd://a:1,", "'' is no HOST:PORT"},
        {"etcd://a:1,,b:2", "'' is no HOST:PORT"},
        {"etcd://a:1, b:2", "' b:2' is no HOST:PORT"},
        {"etcd://[::1:2379", "is no HOST:PORT"},
        {"etcd://a:1/b//c", "cannot begin keys"},
        {"etcd://a:1/b c", "cannot begin keys"},
        {"etcd://a:1,a:2,a:3,a:4,a:5,a:6,a:7,a:8,a:9,a:1,a:1,a:1,a:1,a:1,a:1,a:1,a:1", "more than"},
    };
    sg_rendezvous *r = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_failure(sg_rendezvous_open(bad[i].url, &r), SG_ERR_CONFIG, bad[i].says);
    assert_null(r);
}

/* A socket that takes connections and never says a word; its port. */
static int listen_in_silence(int *port) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(s >= 0);
    assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(s, 64), 0);
    assert_int_equal(getsockname(s, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return s;
}

static void nobody_answers(void **state) {
    sg_rendezvous *r = NULL;
    int port, s = listen_in_silence(&port);
    double start = sg_now();

    (void)state;
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d,127.0.0.1:%d,[::1]:1", port, port);
    expect_failure(sg_rendezvous_open(url, &r), SG_ERR_UNAVAILABLE, "http://[::1]:1");
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d", port);
    expect_failure(sg_rendezvous_open(url, &r), SG_ERR_UNAVAILABLE, "http://127.0.0.1:");
    assert_true(sg_now() - start < 4.5);
    close(s);
    start = sg_now();
    expect_failure(sg_rendezvous_open(url, &r), SG_ERR_UNAVAILABLE, "connect");
    assert_true(sg_now() - start < 1.0);
    assert_null(r);
}

static const char *_Atomic reply; /* of the one below, to everything */

static void *reply_always(void *context) {
    char request[4096];
    int s = *(int *)context, c;

    while ((c = accept(s, NULL, NULL)) >= 0) {
        if (read(c, request, sizeof request) > 0 && write(c, reply, strlen(reply)) < 0) break;
        close(c);
    }
    return NULL;
}

static void others_answer(void **state) {
    static const struct {
        const char *reply, *says;
    } cases[] = {
        {"HTTP/1.1 404 Not Found\r\n\r\nNot Found\n",
         "HTTP 404, and nothing that etcd's gateway would say; is it etcd 3.4 or later?"},
        {"HTTP/1.1 200 OK\r\n\r\n<html>", "HTTP 200, and nothing"},
        {"HTTP/1.1 200 OK\r\n\r\n[]", "HTTP 200, and nothing"},
        {"HTTP/1.1 200 OK\r\n\r\n{\"error\": {\"message\": \"no leader\"}}", "HTTP 200: no leader"},
        {"HTTP/1.1 503 Unavailable\r\n\r\n{\"error\": \"timed out\"}", "HTTP 503: timed out"},
        {"HTTP/1.1 401 Unauthorized\r\n\r\n{\"message\": \"user name is empty\"}",
         "HTTP 401: user name is empty"},
        {"SSH-2.0-OpenSSH_9.2\r\n", "http://127.0.0.1:"},
    };
    sg_rendezvous *r = NULL;
    pthread_t thread;
    int port, s = listen_in_silence(&port);

    (void)state;
    reply = "";
    pthread_create(&thread, NULL, reply_always, &s);
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d", port);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reply = cases[i].reply;
        expect_failure(sg_rendezvous_open(url, &r), SG_ERR_UNAVAILABLE, cases[i].says);
    }
    shutdown(s, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(s);
}

/* Each endpoint has its share of the time, and who answered is asked first the next time. */
static void the_next_is_asked(void **state) {
    sg_rendezvous *r = NULL;
    pthread_t thread;
    int port, other, s = listen_in_silence(&port), silent = listen_in_silence(&other);
    double start = sg_now();

    (void)state;
    reply = "HTTP/1.1 200 OK\r\n\r\n{}";
    pthread_create(&thread, NULL, reply_always, &s);
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d,127.0.0.1:%d", other, port);
    r = open_here();
    assert_true(sg_now() - start > 0.5 && sg_now() - start < 1.4);
    start = sg_now();
    for (int i = 0; i < 5; i++) expect_newest(r, 0, NULL);
    assert_true(sg_now() - start < 0.8);
    sg_rendezvous_close(r);
    shutdown(s, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(s);
    close(silent);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(urls_that_will_not_do),
        TEST(nobody_answers),
        TEST(others_answer),
        TEST(the_next_is_asked),
    };

    sg_log_set(SG_LOG_WARN, sink);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
