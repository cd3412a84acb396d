/* The hash of a state: a known value, and what it depends on. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "checkpoint/state_hash.h"
#include "core/mem.h"

static sg_table *table;
static sg_state *model;

static sg_table *make_table(const char *first, const char *second, sg_entry_kind kind) {
    sg_init init = {SG_INIT_CONSTANT, 0.0f};
    sg_shape two = sg_shape_1(2), one = sg_shape_1(1);
    sg_table *t;
    int index;

    assert_int_equal(sg_table_create(&t), SG_OK);
    assert_int_equal(sg_table_entry(t, first, SG_ENTRY_DECAY, &two, init, &index), SG_OK);
    assert_int_equal(sg_table_entry(t, second, kind, &one, init, &index), SG_OK);
    sg_table_freeze(t);
    return t;
}

static int set_up(void **state) {
    (void)state;
    table = make_table("w", "m", SG_ENTRY_STAT);
    if (sg_state_create(table, 1, &model) != SG_OK) return -1;
    model->values[0] = 1.0f;
    model->values[1] = -2.5f;
    model->values[16] = 7.0f;
    model->ema[0] = 3.0f;
    model->ema[1] = 4.0f;
    model->ema[16] = 8.0f;
    model->moment[0][0] = 0.5f;
    model->moment[0][1] = 0.25f;
    model->samples = 96;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    sg_state_destroy(model);
    sg_table_destroy(table);
    return 0;
}

/* Computed with Python's hashlib from the description in state_hash.h. */
static void test_known(void **state) {
    char hex[SG_STATE_HASH_BYTES];

    (void)state;
    assert_int_equal(sg_state_sha256(model, hex), SG_OK);
    assert_string_equal(hex, "d9a535211074238c6590d3d4a03bb6e1391b4954e5bb32f96029117fee3bef01");
}

static void expect_change(void *number, size_t bytes) {
    char before[SG_STATE_HASH_BYTES], after[SG_STATE_HASH_BYTES], kept[8];

    assert_int_equal(sg_state_sha256(model, before), SG_OK);
    memcpy(kept, number, bytes);
    *(char *)number = (char)(kept[0] ^ 1);
    assert_int_equal(sg_state_sha256(model, after), SG_OK);
    assert_string_not_equal(before, after);
    memcpy(number, kept, bytes);
    assert_int_equal(sg_state_sha256(model, after), SG_OK);
    assert_string_equal(before, after);
}

static void test_everything_counts(void **state) {
    (void)state;
    expect_change(&model->values[1], sizeof(float));
    expect_change(&model->values[16], sizeof(float));
    expect_change(&model->ema[0], sizeof(float));
    expect_change(&model->ema[16], sizeof(float));
    expect_change(&model->moment[0][1], sizeof(float));
    expect_change(&model->samples, sizeof model->samples);
}

/* The same numbers under another name or as another kind are another state. */
static void test_names_count(void **state) {
    sg_table *other[2] = {make_table("w", "n", SG_ENTRY_STAT),
                          make_table("w", "m", SG_ENTRY_DECAY)};
    char want[SG_STATE_HASH_BYTES], hex[SG_STATE_HASH_BYTES];

    (void)state;
    assert_int_equal(sg_state_sha256(model, want), SG_OK);
    for (int i = 0; i < 2; i++) {
        sg_state *s;

        assert_int_equal(sg_state_create(other[i], 1, &s), SG_OK);
        memcpy(s->values, model->values, 17 * sizeof(float));
        memcpy(s->ema, model->ema, 17 * sizeof(float));
        memcpy(s->moment[0], model->moment[0], 2 * sizeof(float));
        s->samples = model->samples;
        assert_int_equal(sg_state_sha256(s, hex), SG_OK);
        assert_string_not_equal(hex, want);
        sg_state_destroy(s);
        sg_table_destroy(other[i]);
    }
}

static void test_out_of_memory(void **state) {
    char hex[SG_STATE_HASH_BYTES] = "unchanged";
    long live = sg_mem_live(), n = 0;
    sg_status st;

    (void)state;
    for (;;) {
        sg_mem_fail_at(++n);
        st = sg_state_sha256(model, hex);
        assert_int_equal(sg_mem_live(), live);
        if (st == SG_OK) break;
        assert_int_equal(st, SG_ERR_OOM);
        assert_string_equal(hex, "unchanged");
    }
    sg_mem_fail_at(0);
    assert_true(n > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_everything_counts),
        cmocka_unit_test(test_names_count),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
