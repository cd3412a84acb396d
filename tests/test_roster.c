/* Records of epochs: what is written is read, and what is damaged or does not fit into memory is
 * told as what it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/mem.h"
#include "dist/roster.h"

static const sg_roster kRecord = {
    .epoch = 7,
    .n = 2,
    .member = {{"00000000000000aa", "10.0.0.1:1"}, {"00000000000000bb", "10.0.0.2:2"}},
    .run = "a run",
    .about = (char *)(uintptr_t) "a\nb \"c\"",
    .done = (char *)(uintptr_t) "5 steps"};

static void test_there_and_back(void **state) {
    sg_roster read;
    char *text;

    (void)state;
    assert_int_equal(sg_roster_write(&kRecord, &text), SG_OK);
    assert_int_equal(sg_roster_parse(7, text, &read), SG_OK);
    assert_int_equal(read.epoch, 7);
    assert_int_equal(read.n, 2);
    assert_memory_equal(read.member, kRecord.member, sizeof read.member);
    assert_string_equal(read.run, kRecord.run);
    assert_string_equal(read.about, kRecord.about);
    assert_string_equal(read.done, kRecord.done);
    assert_int_equal(sg_roster_rank(&read, "00000000000000bb"), 1);
    assert_int_equal(sg_roster_rank(&read, "00000000000000cc"), -1);
    sg_roster_clear(&read);
    sg_free(text);
}

static void test_damaged(void **state) {
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"run\": \"r\", \"about\": \"a\"}",
        "{\"run\": \"12345678901234567\", \"about\": \"a\", \"members\": []}",
        "{\"run\": \"r\", \"about\": 1, \"members\": []}",
        "{\"run\": \"r\", \"about\": \"a\", \"members\": [{\"id\": \"1\"}]}"};
    sg_roster read;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(sg_roster_parse(3, bad[i], &read), SG_ERR_DATA);
        assert_int_equal(read.n, 0);
    }
}

/* One who has no memory is not to take a record for one that names nobody. */
static void test_memory_runs_out(void **state) {
    long live = sg_mem_live();
    sg_roster read;
    char *text;

    (void)state;
    sg_mem_fail_at(1);
    assert_int_equal(sg_roster_write(&kRecord, &text), SG_ERR_OOM);
    assert_int_equal(sg_roster_write(&kRecord, &text), SG_OK);
    for (int n = 1; n <= 2; n++) {
        sg_mem_fail_at(n);
        assert_int_equal(sg_roster_parse(7, text, &read), SG_ERR_OOM);
        sg_mem_fail_at(0);
    }
    sg_free(text);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
