/* Groups whose members have a GPU each, on a stand-in for NCCL: gradients go by it where all can,
 * and by the hosts where one cannot; whatever fails on the way, the state is that of one alone.
 * Members are threads. */
#define _GNU_SOURCE
#include "group_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "nccl_stand_in.h"

enum { kMembers = 3, kShort = 40 };

typedef struct {
    pthread_t thread;
    int gpu;           /* -1: it has none */
    int64_t leaves_at; /* vanishes before that step; 0: never */
    atomic_int waits;
    sg_status status;
    char text[64], transport[16]; /* by which its last step went */
    char failure[512];
} member;

static member members[kMembers];

static sg_status count_wait(void *context) {
    atomic_fetch_add(&((member *)context)->waits, 1);
    return SG_OK;
}

static sg_status step_and_look(member *m, worker *w) {
    if (m->leaves_at > 0 && w->model->step >= m->leaves_at)
        return sg_fail(SG_ERR_INTERRUPTED, "vanished");
    SG_TRY(step(w));
    snprintf(m->transport, sizeof m->transport, "%s", sg_group_transport(w->group));
    assert_int_equal(sg_group_on_gpu(w->group), strcmp(m->transport, "nccl") == 0);
    return SG_OK;
}

/* As train, in group_fixture.h, but that it looks at each step. */
static sg_status train_member(member *m, worker *w) {
    char *done = NULL;
    sg_status st = form(w, &done);

    while (st == SG_OK && !done) {
        if (w->model->step == w->steps) {
            snprintf(m->text, sizeof m->text, "%016llx", (unsigned long long)digest(w->model));
            st = finish(w);
            if (st == SG_OK) return SG_OK;
        } else {
            st = step_and_look(m, w);
        }
        if (broke(w, st)) st = form(w, &done);
    }
    if (done) snprintf(m->text, sizeof m->text, "%s", done);
    sg_free(done);
    return st;
}

static void *be_member(void *context) {
    member *m = context;
    sg_group_options gpus = {.on_gpu = m->gpu >= 0,
                             .gpu = m->gpu,
                             .adder = {m, sg_adder_host.add, count_wait},
                             .nccl = &stand_in_nccl};
    worker w;

    m->status = open_worker(&w, kShort, kMembers - 1, kMembers, "a test", &gpus);
    if (m->status == SG_OK) m->status = train_member(m, &w);
    if (m->status != SG_OK) snprintf(m->failure, sizeof m->failure, "%s", sg_last_error());
    close_worker(&w);
    return NULL;
}

static void set_members(void) {
    stand_in_reset(true);
    memset(members, 0, sizeof members);
    for (int i = 0; i < kMembers; i++) members[i].gpu = i;
}

/* All but one that vanishes end with the state of one alone, having last gone by `transport`. */
static void run_members(const char *transport) {
    stand_in_account account;
    char expected[64];

    snprintf(expected, sizeof expected, "%016llx", (unsigned long long)alone(kShort));
    make_folder();
    for (int i = 0; i < kMembers; i++)
        assert_int_equal(pthread_create(&members[i].thread, NULL, be_member, &members[i]), 0);
    for (int i = 0; i < kMembers; i++) pthread_join(members[i].thread, NULL);
    remove_folder();
    for (int i = 0; i < kMembers; i++) {
        const member *m = &members[i];

        if (m->leaves_at > 0) continue;
        if (m->status != SG_OK) fail_msg("member %d: %s", i, m->failure);
        assert_string_equal(m->text, expected);
        assert_string_equal(m->transport, transport);
    }
    account = stand_in_count();
    if (account.breaches > 0) fail_msg("%s", account.breach);
    assert_int_equal(account.made, account.aborted + account.destroyed);
    assert_int_equal(account.queues, 0);
}

/* Two buckets a step, each of which is added on the GPU. */
static void test_by_nccl(void **state) {
    (void)state;
    set_members();
    run_members("nccl");
    for (int i = 0; i < kMembers; i++) assert_int_equal(atomic_load(&members[i].waits), 2 * kShort);
    assert_int_equal(stand_in_count().made, kMembers);
}

static void test_by_hosts(void **state) {
    (void)state;
    set_members();
    stand_in_of(1)->twin = true;
    run_members("shm");
    set_members();
    stand_in_of(2)->version = 22205;
    run_members("shm");
    set_members();
    members[1].gpu = -1;
    run_members("shm");
    assert_int_equal(stand_in_count().made, 0);
}

/* In the first bucket of a step, and in its last. */
static void test_an_exchange_fails(void **state) {
    (void)state;
    for (int in = 21; in <= 22; in++) {
        set_members();
        *stand_in_of(1) = (stand_in_faults){.only = 1, .error_in = in, .error = SG_NCCL_ERR_REMOTE};
        run_members("nccl");
        assert_true(stand_in_count().made > kMembers);
    }
}

static void test_one_vanishes(void **state) {
    (void)state;
    for (int i = 0; i < kMembers; i++) {
        set_members();
        members[i].leaves_at = 10 + i;
        run_members("nccl");
        assert_int_equal(members[i].status, SG_ERR_INTERRUPTED);
    }
}

/* One error is mended by the next epoch; one that comes again and again is got around. */
static void test_it_cannot_be_made(void **state) {
    (void)state;
    set_members();
    *stand_in_of(0) = (stand_in_faults){.only = 1, .init_error = SG_NCCL_ERR_SYSTEM};
    run_members("nccl");
    set_members();
    stand_in_of(2)->init_error = SG_NCCL_ERR_SYSTEM;
    run_members("shm");
    set_members();
    stand_in_of(1)->init_result = SG_NCCL_ERR_USAGE;
    run_members("shm");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_nccl),           cmocka_unit_test(test_by_hosts),
        cmocka_unit_test(test_an_exchange_fails), cmocka_unit_test(test_one_vanishes),
        cmocka_unit_test(test_it_cannot_be_made),
    };

    return cmocka_run_group_tests_name("groups of GPUs", tests, NULL, NULL);
}
