/* Trainers that share their steps on a device: to the bits of one alone, in recorded parts and
 * plainly, through the host's memory and where the gradients lie. Workers take turns, as they do
 * for themselves when each has a device of its own. */
#define _GNU_SOURCE
#include "backend_cuda.h"
#include "emulation/emulation.h"

#include "cuda_waits.h"
#include "team.h"

#include <stdlib.h>

enum { kShards = 5, kSteps = 5 };

static team new_team(const subject *s, int size, bool on_device) {
    return (team){.subject = s,
                  .size = size,
                  .turns = true,
                  .options = {.bucket_floats = 300, .on_device = on_device}};
}

static subject pictures(void) {
    subject s = picture_subject(&sg_backend_cuda, kShards);

    s.options.batch = 3 * kShards;
    return s;
}

static subject bags(void) { return bag_subject(&sg_backend_cuda, 4); }

static void check_bits(const subject *s) {
    char alone[SG_STATE_HASH_BYTES];

    train_alone(s, kSteps, alone);
    for (int size = 1; size <= 3; size++)
        for (int on_device = 0; on_device < 2; on_device++) {
            team m = new_team(s, size, on_device);

            team_open(&m, 1);
            team_work(&m, kSteps);
            assert_true(m.worker[0].status != SG_OK || m.worker[0].trainer->buckets.n > 1 ||
                        s->options.n_shapes > 0);
            team_close(&m);
            team_same(&m, alone);
        }
}

/* Workers that share a step wait for each bucket, which is when the device has computed it and not
 * the rest, and for its copy where it goes through the host's memory; for the sources of tables;
 * and for the answer. */
static void test_waits(void **state) {
    sg_device device = counting_device();
    sg_backend backend = sg_backend_cuda;
    subject s = pictures();
    team m = new_team(&s, 2, false);
    int buckets;

    (void)state;
    backend.device = &device;
    s.options.backend = &backend;
    team_open(&m, 1);
    queue_waits = event_waits = 0;
    team_work(&m, kSteps);
    buckets = m.worker[0].trainer->buckets.n;
    assert_true(buckets > 1);
    assert_int_equal(event_waits, m.size * kSteps * (buckets + 1));
    assert_int_equal(queue_waits, m.size * kSteps * (buckets + 1));
    team_close(&m);
}

static void test_same_bits(void **state) {
    subject p = pictures(), b = bags();

    (void)state;
    check_bits(&p);
    check_bits(&b);
}

static void test_plainly(void **state) {
    subject p = pictures();

    (void)state;
    setenv("SG_CUDA_GRAPH", "0", 1);
    check_bits(&p);
    unsetenv("SG_CUDA_GRAPH");
}

/* One of two goes, and the other one has all shards: what was recorded is of no more use. */
static void test_other_shares(void **state) {
    subject s = pictures();
    char alone[SG_STATE_HASH_BYTES];
    team m = new_team(&s, 2, false);
    sg_trainer_team share = {.reduce = meet, .abandon = abandon, .bucket_floats = 64};

    (void)state;
    train_alone(&s, 2 * kSteps, alone);
    team_open(&m, 1);
    team_work(&m, kSteps);
    m.size = 1;
    share.own = (sg_shards){0, kShards};
    share.context = &m.worker[0];
    CHECK_OK(sg_trainer_share(m.worker[0].trainer, &share));
    team_work(&m, 2 * kSteps);
    m.size = 2;
    team_close(&m);
    if (m.worker[0].status != SG_OK) fail_msg("%s", m.worker[0].text);
    assert_string_equal(m.worker[0].hash, alone);
}

/* What fails in a bucket leaves no trace, whatever the device has computed of the step. */
static void test_exchange_fails(void **state) {
    subject s = pictures();
    char before[SG_STATE_HASH_BYTES], after[SG_STATE_HASH_BYTES];
    team m = new_team(&s, 2, false);

    (void)state;
    train_alone(&s, 2, before);
    train_alone(&s, 4, after);
    team_open(&m, 1);
    team_work(&m, 2);
    for (int k = 1; k <= m.worker[0].trainer->buckets.n; k++) {
        m.exchanges = 0;
        m.fails_in = k;
        team_work(&m, 3);
        for (int q = 0; q < m.size; q++) {
            const worker *w = &m.worker[q];
            char now[SG_STATE_HASH_BYTES];

            assert_int_equal(w->status, SG_ERR_UNAVAILABLE);
            CHECK_OK(sg_trainer_fetch(w->trainer));
            CHECK_OK(sg_state_sha256(sg_trainer_state(w->trainer), now));
            assert_string_equal(now, before);
        }
    }
    m.fails_in = 0;
    team_work(&m, 4);
    team_close(&m);
    team_same(&m, after);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),    cmocka_unit_test(test_plainly),
        cmocka_unit_test(test_other_shares), cmocka_unit_test(test_exchange_fails),
        cmocka_unit_test(test_waits),
    };

    sg_emulation_guard();
    return cmocka_run_group_tests_name("teams on a device", tests, NULL, NULL);
}
