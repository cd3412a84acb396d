/* Tables for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/cells.h"
#include "core/mem.h"

static void fill(sg_cells *cells, int rows) {
    sg_cells_add(cells, "name");
    sg_cells_add(cells, "n");
    for (int i = 0; i < rows; i++) {
        sg_cells_add(cells, "%s", i % 2 ? "\xD1\x97\xD0\xB6\xD0\xB0\xD0\xBA, 10" : "a");
        sg_cells_add(cells, "%d", i * 50);
    }
}

static void columns_are_aligned(void **state) {
    sg_cells cells = {.columns = 2, .left = 1}, left = {.columns = 2, .left = 2};
    char *text;

    (void)state;
    fill(&cells, 3);
    assert_int_equal(sg_cells_lines(&cells, &text), SG_OK);
    assert_string_equal(text, "name        n\n"
                              "a           0\n"
                              "\xD1\x97\xD0\xB6\xD0\xB0\xD0\xBA, 10   50\n"
                              "a         100\n");
    sg_free(text);
    fill(&left, 2);
    assert_int_equal(sg_cells_lines(&left, &text), SG_OK);
    assert_string_equal(text, "name      n\n"
                              "a         0\n"
                              "\xD1\x97\xD0\xB6\xD0\xB0\xD0\xBA, 10  50\n");
    sg_free(text);
    assert_null(left.cell);
}

static void no_memory(void **state) {
    long live = sg_mem_live(), n = 0;
    sg_status st;

    (void)state;
    do {
        sg_cells cells = {.columns = 2, .left = 1};
        char *text = NULL;

        sg_mem_fail_at(++n);
        fill(&cells, 100);
        st = sg_cells_lines(&cells, &text);
        sg_mem_fail_at(0);
        assert_int_equal(text != NULL, st == SG_OK);
        sg_free(text);
        assert_int_equal(sg_mem_live(), live);
    } while (st == SG_ERR_OOM);
    assert_int_equal(st, SG_OK);
    assert_true(n > 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
