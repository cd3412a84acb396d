/* Lines of answers: JSON that jansson reads back, and texts of any bytes made visible. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <wchar.h>

#include "core/mem.h"
#include "core/utf8.h"
#include "report/line.h"

static void expect(sg_line *line, const char *text) {
    assert_int_equal(sg_line_status(line), SG_OK);
    assert_int_equal(line->size, strlen(text));
    assert_memory_equal(line->data, text, line->size);
    line->size = 0;
}

static void escapes_what_is_not_ascii(void **unused) {
    sg_line line = {0};

    (void)unused;
    sg_line_json(&line, "plain", 5);
    expect(&line, "\"plain\"");
    sg_line_json(&line, "", 0);
    expect(&line, "\"\"");
    sg_line_json(&line, "a\"b\\c\td\ne\rf\x01\x7fg\0h", 16);
    expect(&line, "\"a\\\"b\\\\c\\td\\ne\\rf\\u0001\\u007fg\\u0000h\"");
    sg_line_json(&line, "\xD1\x97 \xE2\x82\xAC \xF0\x9F\x98\x82", 11);
    expect(&line, "\"\\u0457 \\u20ac \\ud83d\\ude02\"");
    sg_line_clear(&line);
}

/* What Python's bytes.decode("utf-8", "replace") gives. */
static void replaces_what_is_no_utf8(void **unused) {
    static const struct {
        const char *bytes, *json;
    } cases[] = {
        {"\xFF", "\"\\ufffd\""},
        {"a\xC3", "\"a\\ufffd\""},
        {"\xC3(", "\"\\ufffd(\""},
        {"\xE2\x82", "\"\\ufffd\""},
        {"\xE2\x82z", "\"\\ufffdz\""},
        {"\xE2\x28\xA1", "\"\\ufffd(\\ufffd\""},
        {"\xF0\x9F\x98", "\"\\ufffd\""},
        {"\xF0\x9F\x98\xF0\x9F\x98\x82", "\"\\ufffd\\ud83d\\ude02\""},
        {"\xC0\xAF", "\"\\ufffd\\ufffd\""},
        {"\xED\xA0\x80", "\"\\ufffd\\ufffd\\ufffd\""},
        {"\xF4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    };
    sg_line line = {0};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_line_json(&line, cases[i].bytes, strlen(cases[i].bytes));
        expect(&line, cases[i].json);
    }
    sg_line_visible(&line, "a\xFF\xE2\x82z", 5);
    expect(&line, "a\xEF\xBF\xBD\xEF\xBF\xBDz");
    sg_line_clear(&line);
}

static void shows_control_characters(void **unused) {
    sg_line line = {0};

    (void)unused;
    sg_line_visible(&line, "a\tb\r\x1b[2J\0\x7f \"\\ \xD1\x97 \xC2\x9B", 19);
    expect(&line, "a\\tb\\r\\x1b[2J\\x00\\x7f \"\\ \xD1\x97 \\x9b");
    sg_line_clear(&line);
}

/* All texts of three bytes, each of a few that matter, back through a reader of JSON. */
static void is_read_back(void **unused) {
    static const char bytes[] = "a\"\\\n\x1f\x7f\x80\xBF\xC2\xE0\xED\xA0\xF0\x90\xF4\xFF";
    size_t n = sizeof bytes; /* with the NUL */
    sg_line line = {0};

    (void)unused;
    for (size_t v = 0; v < n * n * n; v++) {
        const char text[3] = {bytes[v % n], bytes[v / n % n], bytes[v / n / n]};
        json_t *string;

        line.size = 0;
        sg_line_json(&line, text, sizeof text);
        string = json_loadb(line.data, line.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(string);
        for (size_t i = 0; i < line.size; i++) assert_in_range(line.data[i], ' ', 126);
        if (sg_utf8_check(text, sizeof text) == sizeof text) {
            assert_int_equal(json_string_length(string), sizeof text);
            assert_memory_equal(json_string_value(string), text, sizeof text);
        } else {
            sg_line_put(&line, "", 1);
            assert_non_null(strstr(line.data, "\\ufffd"));
        }
        json_decref(string);
    }
    sg_line_clear(&line);
}

static void writes_numbers(void **unused) {
    static const double values[] = {0.0, 1.0, 0.5, 1e-9, 0.3333333333, 5.855809e-07};
    static const char *const texts[] = {"0.0", "1.0", "0.5", "1e-09", "0.3333333", "5.855809e-07"};
    sg_line line = {0};

    (void)unused;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        sg_line_number(&line, values[i]);
        expect(&line, texts[i]);
    }
    sg_line_fixed(&line, 0.98765);
    expect(&line, "0.9877");
    sg_line_printf(&line, "%d of %s", 3, "four");
    expect(&line, "3 of four");
    sg_line_clear(&line);
}

/* Of any length: the room that there is, is passed on the way. */
static void prints_and_is_taken(void **unused) {
    char word[700], *text;
    sg_line line = {0};

    (void)unused;
    memset(word, 'w', sizeof word);
    word[sizeof word - 1] = '\0';
    for (int i = 0; i < 20; i++) sg_line_printf(&line, "%d %s\n", i % 10, word);
    assert_int_equal(line.size, 20 * (3 + 699));
    assert_int_equal(sg_line_take(&line, &text), SG_OK);
    assert_int_equal(strlen(text), 20 * (3 + 699));
    for (int i = 0; i < 20; i++) assert_int_equal(text[i * 702], '0' + i % 10);
    assert_null(line.data);
    sg_free(text);
    assert_int_equal(sg_line_take(&line, &text), SG_OK); /* of nothing */
    assert_string_equal(text, "");
    sg_free(text);
    for (long n = 1; n <= 2; n++) {
        long live = sg_mem_live();

        sg_mem_fail_at(n);
        for (int i = 0; i < 20; i++) sg_line_printf(&line, "%s", word);
        sg_mem_fail_at(0);
        assert_int_equal(sg_line_take(&line, &text), SG_ERR_OOM);
        assert_int_equal(sg_mem_live(), live);
    }
}

static void tells_that_memory_is_short(void **unused) {
    sg_line line = {0};

    (void)unused;
    sg_mem_fail_at(1);
    sg_line_json(&line, "text", 4);
    sg_line_text(&line, "more");
    sg_mem_fail_at(0);
    assert_int_equal(sg_line_status(&line), SG_ERR_OOM);
    assert_int_equal(line.size, 0);
    sg_line_clear(&line);
}

/* A character that the locale lacks stands for what printf cannot print, such as over 2 GiB. */
static void tells_what_cannot_be_printed(void **unused) {
    sg_line line = {0};
    char *text;

    (void)unused;
    sg_line_text(&line, "before ");
    sg_line_printf(&line, "%lc", (wint_t)0x20AC);
    sg_line_text(&line, "after");
    assert_int_equal(line.size, strlen("before "));
    assert_int_equal(sg_line_take(&line, &text), SG_ERR_OOM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_what_is_not_ascii),
        cmocka_unit_test(replaces_what_is_no_utf8),
        cmocka_unit_test(shows_control_characters),
        cmocka_unit_test(is_read_back),
        cmocka_unit_test(writes_numbers),
        cmocka_unit_test(prints_and_is_taken),
        cmocka_unit_test(tells_that_memory_is_short),
        cmocka_unit_test(tells_what_cannot_be_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
