#define _GNU_SOURCE
#include "transport_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/threads.h"
#include "gpu/libraries.h"

enum { kEpochs = 4 };

typedef struct {
    fixture_member *member;
    int epoch, rank[FIXTURE_MEMBERS]; /* in the epoch -> in the group */
    int size;
} introduction;

static bool is_process; /* this is a member, and no test */

static sg_status say(void *context, const void *data, size_t bytes) {
    introduction *i = context;
    fixture_group *g = i->member->group;

    for (int k = 0; k < i->size; k++) {
        int to = i->rank[k];

        if (to != i->member->rank && send(g->socket[i->epoch][i->member->rank][to], data, bytes,
                                          MSG_NOSIGNAL) != (ssize_t)bytes)
            return sg_fail(SG_ERR_UNAVAILABLE, "member %d cannot be told", k);
    }
    return SG_OK;
}

static sg_status hear(void *context, int rank, void *data, size_t capacity, size_t *bytes,
                      double seconds) {
    introduction *i = context;
    fixture_group *g = i->member->group;
    struct pollfd from = {.fd = g->socket[i->epoch][i->member->rank][i->rank[rank]],
                          .events = POLLIN};
    ssize_t count = -1;

    if (seconds > 0.0 && poll(&from, 1, (int)(seconds * 1e3) + 1) == 1)
        count = recv(from.fd, data, capacity, 0);
    if (count <= 0) return sg_fail(SG_ERR_UNAVAILABLE, "member %d was not heard of", rank);
    *bytes = (size_t)count;
    return SG_OK;
}

sg_status fixture_connect(fixture_member *m, int epoch, unsigned ranks, double seconds,
                          sg_transport **out) {
    introduction i = {.member = m, .epoch = epoch};
    sg_transport_options options = {
        .epoch = 100 + epoch, .interface = "127.0.0.1", .seconds = seconds};

    for (int k = 0; k < m->size; k++) {
        if (ranks && !(ranks >> k & 1)) continue;
        if (k == m->rank) options.rank = i.size;
        i.rank[i.size++] = k;
    }
    options.size = i.size;
    options.introduction = (sg_introduction){&i, say, hear, NULL};
    return m->group->kind->create(&options, out);
}

typedef struct {
    fixture_member member;
    pthread_t thread;
} running;

static void *act(void *context) {
    fixture_member *m = context;
    fixture_board *b = m->board;
    sg_status st = m->group->role(m, m->group->context);

    if (b->ended[m->rank] == 0.0) b->ended[m->rank] = sg_now();
    snprintf(b->text[m->rank], sizeof b->text[m->rank], "%s", sg_last_error());
    atomic_store(&b->status[m->rank], (int)st);
    return NULL;
}

static void make_sockets(fixture_group *g) {
    for (int e = 0; e < kEpochs; e++)
        for (int a = 0; a < g->size; a++)
            for (int b = 0; b < a; b++) {
                int pair[2];

                assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
                g->socket[e][a][b] = pair[0];
                g->socket[e][b][a] = pair[1];
            }
}

static running *threads_of(fixture_group *g) {
    static running all[FIXTURE_MEMBERS]; /* one group at a time */

    (void)g;
    return all;
}

void fixture_start(fixture_group *g, const fixture_kind *kind, int size, int threads,
                   fixture_role role, void *context) {
    memset(g, 0, sizeof *g);
    g->kind = kind;
    g->size = size;
    g->threads = threads;
    g->role = role;
    g->context = context;
    g->board =
        mmap(NULL, sizeof *g->board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(g->board != MAP_FAILED);
    make_sockets(g);
    for (int k = 0; k < size; k++) {
        running *r = &threads_of(g)[k];

        atomic_store(&g->board->status[k], -1);
        r->member = (fixture_member){g, k, size, g->board};
        if (threads) {
            assert_int_equal(pthread_create(&r->thread, NULL, act, &r->member), 0);
            continue;
        }
        g->pid[k] = fork();
        assert_true(g->pid[k] >= 0);
        if (g->pid[k] == 0) {
            is_process = true;
            alarm(60); /* also where the test itself is gone */
            act(&r->member);
            _exit(0);
        }
    }
}

/* Wait for a process: its status, or -1 when it is stopped by us after `end`. */
static int wait_for(pid_t pid, double end) {
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (sg_now() > end) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        fixture_pause(0.001);
    }
    return status;
}

void fixture_join(fixture_group *g, double seconds, unsigned killed) {
    double end = sg_now() + seconds;
    int how[FIXTURE_MEMBERS] = {0};

    for (int k = 0; k < g->size; k++) {
        if (g->threads)
            pthread_join(threads_of(g)[k].thread, NULL);
        else
            how[k] = wait_for(g->pid[k], end);
    }
    for (int e = 0; e < kEpochs; e++)
        for (int a = 0; a < g->size; a++)
            for (int b = 0; b < g->size; b++)
                if (a != b) close(g->socket[e][a][b]);
    for (int k = 0; k < g->size; k++) {
        if (killed >> k & 1) continue;
        if (how[k] == -1) fail_msg("%s: member %d hangs", g->kind->name, k);
        if (WIFSIGNALED(how[k]))
            fail_msg("%s: member %d: signal %d", g->kind->name, k, WTERMSIG(how[k]));
        if (how[k] != 0 || g->board->status[k] == -1)
            fail_msg("%s: member %d ended with %d", g->kind->name, k, how[k]);
    }
}

void fixture_await(atomic_int *count, int n) {
    double end = sg_now() + 10.0;

    while (atomic_load(count) < n) {
        if (sg_now() > end && is_process) _exit(3);
        if (sg_now() > end) fail_msg("only %d of %d came", atomic_load(count), n);
        fixture_pause(0.0005);
    }
}

void fixture_pause(double seconds) {
    struct timespec t = {.tv_sec = (time_t)seconds};

    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    nanosleep(&t, NULL);
}

const fixture_kind *fixture_kinds(int *n) {
    static const fixture_kind all[] = {{"shm", sg_transport_shm_create},
                                       {"gloo", sg_transport_gloo_create}};

    *n = 2;
    return all;
}

bool fixture_is_there(const fixture_kind *kind) {
    char path[4096];

    if (strcmp(kind->name, "shm") == 0) return true;
    assert_int_equal(sg_program_folder(path, sizeof path - 32), SG_OK);
    strcat(path, "/libspotgrad_gloo.so");
    return sg_file_exists(path);
}
