/* The INI reader: what it takes as written, what it refuses and in which line. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/ini.h"
#include "core/mem.h"

static sg_status parse(const char *text, sg_ini *ini) {
    return sg_ini_parse("t.ini", text, strlen(text), ini);
}

static void reads_sections_keys_and_comments(void **state) {
    static const struct {
        const char *section, *key, *value;
        int line;
    } want[] = {
        {"a", "one", "1", 3},
        {"a", "two", "x y", 4},
        {"a", "three", "a#b;c", 5},
        {"a", "empty", "", 6},
        {"a", "noted", "", 7},
        {"b", "one", "#fff", 10},
        {"b", "path", "/a b/c=d", 11},
        {"b", "quoted", " a # b ", 12},
        {"b", "esc", "a\"b\\c\\d", 13},
        {"b", "none", "", 14},
        {"a", "again", "last line", 16},
    };
    sg_ini ini;

    (void)state;
    assert_int_equal(parse("# comment\n[a]\n  one=1\n\ttwo =  x y  ; note\nthree = a#b;c # d\n"
                           "empty =\nnoted = # nothing\n; [no]\n[ b ]  # second\none =#fff\n"
                           "path = /a b/c=d\nquoted = \" a # b \" ; note\n"
                           "esc = \"a\\\"b\\\\c\\d\"\nnone = \"\"\n[a]\nagain = last line",
                           &ini),
                     SG_OK);
    assert_int_equal(ini.count, sizeof want / sizeof want[0]);
    for (int i = 0; i < ini.count; i++) {
        assert_string_equal(ini.entries[i].section, want[i].section);
        assert_string_equal(ini.entries[i].key, want[i].key);
        assert_string_equal(ini.entries[i].value, want[i].value);
        assert_int_equal(ini.entries[i].line, want[i].line);
    }
    sg_ini_clear(&ini);
}

static void reads_bom_and_crlf(void **state) {
    sg_ini ini;

    (void)state;
    assert_int_equal(parse("\xef\xbb\xbf[a]\r\nkey = value\r\n\r\nb = \xc3\xa9\r\n", &ini), SG_OK);
    assert_int_equal(ini.count, 2);
    assert_string_equal(ini.entries[0].value, "value");
    assert_string_equal(ini.entries[1].value, "\xc3\xa9");
    assert_int_equal(ini.entries[1].line, 4);
    sg_ini_clear(&ini);
}

static void reads_nothing(void **state) {
    sg_ini ini;

    (void)state;
    assert_int_equal(parse("", &ini), SG_OK);
    assert_int_equal(ini.count, 0);
    sg_ini_clear(&ini);
    assert_int_equal(parse("\n\n# only a comment", &ini), SG_OK);
    assert_int_equal(ini.count, 0);
    sg_ini_clear(&ini);
}

static void keeps_long_values_whole(void **state) {
    enum { kLong = 100000 };
    char *text = sg_malloc(kLong + 16);
    sg_ini ini;

    (void)state;
    memcpy(text, "[a]\nb = ", 8);
    memset(text + 8, 'x', kLong);
    assert_int_equal(sg_ini_parse("t.ini", text, kLong + 8, &ini), SG_OK);
    assert_int_equal(strlen(ini.entries[0].value), kLong);
    sg_ini_clear(&ini);
    sg_free(text);
}

static void refuses_with_file_and_line(void **state) {
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"[a]\n\nnonsense\n", "t.ini:3: 'nonsense' is neither [section] nor key = value"},
        {"[a\nb = 1\n", "t.ini:1: '[a' lacks its ']'"},
        {"[]\n", "t.ini:1: '[]' is not a section's name"},
        {"[a b]\n", "t.ini:1: '[a b]' is not a section's name"},
        {"[a] b = 1\n", "t.ini:1: 'b = 1' after [a]; put it on a line of its own"},
        {"\nb = 1\n", "t.ini:2: b: stands before the first [section]"},
        {"[a]\n = 1\n", "t.ini:2: '' is not a key's name"},
        {"[a]\nb c = 1\n", "t.ini:2: 'b c' is not a key's name"},
        {"[a]\nb = 1\nc = 2\nb = 3\n", "t.ini:4: a.b: already set in line 2; remove one"},
        {"[a]\nb = 1\n[c]\n[a]\nb = 1\n", "t.ini:5: a.b: already set in line 2; remove one"},
        {"[a]\nb = \"x\n", "t.ini:2: a.b: the quotes do not match"},
        {"[a]\nb = \"x\" y\n", "t.ini:2: a.b: the quotes do not match"},
        {"[a]\nb = \"x\"#y\n", "t.ini:2: a.b: the quotes do not match"},
        {"[a]\nb = \x01\n", "t.ini:2: control character 0x01; remove it"},
        {"[a]\nb = 1\rc = 2\n", "t.ini:2: control character 0x0d; remove it"},
    };
    long live = sg_mem_live();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sg_ini ini = {0};

        assert_int_equal(parse(cases[i].text, &ini), SG_ERR_CONFIG);
        assert_string_equal(sg_last_error(), cases[i].message);
        assert_null(ini.text);
    }
    assert_int_equal(sg_mem_live(), live);
}

static void refuses_nul_bytes(void **state) {
    static const char text[] = "[a]\nb = 1\0 2\n";
    sg_ini ini;

    (void)state;
    assert_int_equal(sg_ini_parse("t.ini", text, sizeof text - 1, &ini), SG_ERR_CONFIG);
    assert_string_equal(sg_last_error(), "t.ini:2: a NUL byte; is this a text file?");
}

static void refuses_missing_and_huge_files(void **state) {
    char path[] = "/tmp/sg-ini-XXXXXX";
    int fd = mkstemp(path);
    sg_ini ini;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, SG_INI_MAX_BYTES + 1), 0);
    assert_int_equal(sg_ini_read(path, &ini), SG_ERR_CONFIG);
    assert_non_null(strstr(sg_last_error(), "larger than 1048576 bytes"));
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(write(fd, "[a]\nb=1\n", 8), 8);
    close(fd);
    assert_int_equal(sg_ini_read(path, &ini), SG_OK);
    assert_int_equal(ini.count, 1);
    sg_ini_clear(&ini);
    unlink(path);
    assert_int_equal(sg_ini_read(path, &ini), SG_ERR_MISSING);
    assert_int_equal(sg_ini_read("/tmp", &ini), SG_ERR_CONFIG);
    assert_string_equal(sg_last_error(), "/tmp: is a folder, not a file; is this a configuration?");
}

static void refuses_too_many_keys(void **state) {
    enum { kLine = 10 }; /* bytes, or less */
    char *text = malloc((SG_INI_MAX_KEYS + 1) * kLine + 8), *end;
    sg_ini ini;

    (void)state;
    assert_non_null(text);
    end = text + sprintf(text, "[a]\n");
    for (int i = 0; i < SG_INI_MAX_KEYS; i++) end += sprintf(end, "k%d = 1\n", i);
    assert_int_equal(parse(text, &ini), SG_OK);
    assert_int_equal(ini.count, SG_INI_MAX_KEYS);
    sg_ini_clear(&ini);
    sprintf(end, "k = 1\n");
    assert_int_equal(parse(text, &ini), SG_ERR_CONFIG);
    assert_string_equal(sg_last_error(),
                        "t.ini:4098: more than 4096 keys; is this a configuration?");
    free(text);
}

static void survives_failed_allocations(void **state) {
    enum { kKeys = 200 };
    char text[4096] = "[a]\n";
    long live = sg_mem_live();
    sg_status st = SG_ERR_OOM;
    sg_ini ini;
    int tries = 0;

    (void)state;
    for (int i = 0; i < kKeys; i++) sprintf(text + strlen(text), "k%d = %d\n", i, i);
    while (st != SG_OK) {
        sg_mem_fail_at(++tries);
        st = parse(text, &ini);
        sg_mem_fail_at(0);
        if (st != SG_OK) assert_int_equal(st, SG_ERR_OOM);
        if (st != SG_OK) assert_int_equal(sg_mem_live(), live);
    }
    assert_int_equal(tries, 5); /* the text, and 64, 128, 256 entries fail; then it goes well */
    assert_int_equal(ini.count, kKeys);
    sg_ini_clear(&ini);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_sections_keys_and_comments),
        cmocka_unit_test(reads_bom_and_crlf),
        cmocka_unit_test(reads_nothing),
        cmocka_unit_test(keeps_long_values_whole),
        cmocka_unit_test(refuses_with_file_and_line),
        cmocka_unit_test(refuses_nul_bytes),
        cmocka_unit_test(refuses_missing_and_huge_files),
        cmocka_unit_test(refuses_too_many_keys),
        cmocka_unit_test(survives_failed_allocations),
    };

    return cmocka_run_group_tests_name("ini", tests, NULL, NULL);
}
