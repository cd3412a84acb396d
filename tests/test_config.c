/* The configuration: the table itself, values, messages, writing and reading back. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config.h"
#include "core/file.h"
#include "core/mem.h"
#include "out_of_memory.h"

static sg_status parse(const char *text, sg_config *config) {
    return sg_config_parse("mask.ini", text, strlen(text), NULL, 0, config);
}

static void has_defaults(void **state) {
    sg_config config;

    (void)state;
    sg_config_default(&config);
    assert_int_equal(config.train.shards, 8);
    assert_int_equal(config.train.steps, 0);
    assert_true(config.run.exact);
    assert_string_equal(config.run.isa, "avx2");
    assert_string_equal(config.data.train, "train.txt");
    assert_true(sg_choice_is(config.train.optimizer, "sgd"));
    assert_true(config.train.ema > 0.99 && config.train.ema < 1.0);
}

/* Every default is a value that its own key takes, names are unique, each section has a row. */
static void has_a_sound_table(void **state) {
    int n, n_sections;
    const sg_key *keys = sg_keys(&n);
    const sg_key_section *sections = sg_key_sections(&n_sections);
    sg_config config;

    (void)state;
    sg_config_default(&config);
    assert_true(n > 40);
    for (int i = 0; i < n; i++) {
        char assignment[256];
        bool known = false;

        snprintf(assignment, sizeof assignment, "%s.%s=%s", keys[i].section, keys[i].name,
                 keys[i].initial);
        if (sg_config_set(&config, assignment) != SG_OK) fail_msg("%s", sg_last_error());
        for (int j = 0; j < i; j++)
            assert_false(strcmp(keys[i].name, keys[j].name) == 0 &&
                         strcmp(keys[i].section, keys[j].section) == 0);
        for (int s = 0; s < n_sections; s++) known |= !strcmp(sections[s].name, keys[i].section);
        assert_true(known);
        assert_true(strlen(keys[i].help) > 10);
    }
}

static void reads_every_kind(void **state) {
    static const char text[] = "[train]\nepochs = 7\nlr = 2.5e-3\noptimizer = adamw\n"
                               "[run]\nexact = no\ndir = \"a # b\"\n[model]\nstride = 4\n";
    static const char *const overrides[] = {"train.epochs=8", "run.dir=x=y", "train.epochs=9"};
    sg_config config;

    (void)state;
    assert_int_equal(sg_config_parse("mask.ini", text, sizeof text - 1, overrides, 3, &config),
                     SG_OK);
    assert_int_equal(config.train.epochs, 9);
    assert_true(config.train.lr == 2.5e-3);
    assert_string_equal(config.train.optimizer, "adamw");
    assert_false(config.run.exact);
    assert_string_equal(config.run.dir, "x=y");
    assert_int_equal(config.model.stride, 4);
    assert_int_equal(config.train.batch, 16);
}

static void refuses_with_one_helpful_line(void **state) {
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"[train]\nepochz = 1\n",
         "mask.ini:2: train.epochz: unknown key; did you mean train.epochs?"},
        {"[train]\nepcohs = 1\n",
         "mask.ini:2: train.epcohs: unknown key; did you mean train.epochs?"},
        {"\n[tarin]\nepochs = 1\n",
         "mask.ini:3: tarin.epochs: unknown key; did you mean train.epochs?"},
        {"[train]\nscore = 1\n",
         "mask.ini:2: train.score: unknown key; did you mean predict.score?"},
        {"[trian]\nfoo = 1\n", "mask.ini:2: trian.foo: unknown section; did you mean [train]?"},
        {"[zzz]\nquux = 1\n", "mask.ini:2: zzz.quux: unknown key; `train --help-config` lists all"},
        {"[train]\nbatch = 12x\n",
         "mask.ini:2: train.batch: '12x' is not a whole number (1..65536)"},
        {"[train]\nbatch = 8.0\n",
         "mask.ini:2: train.batch: '8.0' is not a whole number (1..65536)"},
        {"[train]\nbatch =\n", "mask.ini:2: train.batch: '' is not a whole number (1..65536)"},
        {"[train]\nbatch = 0\n", "mask.ini:2: train.batch: '0' is not a whole number (1..65536)"},
        {"[train]\nbatch = 99999999999999999999\n",
         "mask.ini:2: train.batch: '99999999999999999999' is not a whole number (1..65536)"},
        {"[model]\nstride = 6\n",
         "mask.ini:2: model.stride: '6' is not a whole number (4..8, a multiple of 4)"},
        {"[train]\nmomentum = 1\n", "mask.ini:2: train.momentum: '1' is not a number (0..0.9999)"},
        {"[train]\nlr = nan\n", "mask.ini:2: train.lr: 'nan' is not a number (0..10)"},
        {"[train]\nlr = 0x1\n", "mask.ini:2: train.lr: '0x1' is not a number (0..10)"},
        {"[train]\nlr = 1e999\n", "mask.ini:2: train.lr: '1e999' is not a number (0..10)"},
        {"[train]\nlr = 0,1\n", "mask.ini:2: train.lr: '0,1' is not a number (0..10)"},
        {"[train]\nlr = .\n", "mask.ini:2: train.lr: '.' is not a number (0..10)"},
        {"[run]\nexact = maybe\n", "mask.ini:2: run.exact: 'maybe' is not true or false"},
        {"[train]\noptimizer = adam\n",
         "mask.ini:2: train.optimizer: 'adam' is not one of sgd, adamw"},
        {"[run]\ndir =\n", "mask.ini:2: run.dir: may not be empty"},
        {"[train]\nepochs = 1\nepochs = 2\n",
         "mask.ini:3: train.epochs: already set in line 2; remove one"},
        {"[train]\nbatch = 12\n", "mask.ini:2: train.batch: 12 is not a multiple of train.shards = "
                                  "8; try 16"},
        {"[train]\nshards = 3\n", "mask.ini:2: train.batch: 16 is not a multiple of train.shards = "
                                  "3; try 18"},
    };
    sg_config config;

    (void)state;
    sg_config_default(&config);
    config.train.epochs = 1234;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(parse(cases[i].text, &config), SG_ERR_CONFIG);
        assert_string_equal(sg_last_error(), cases[i].message);
    }
    assert_int_equal(config.train.epochs, 1234); /* untouched */
}

static void refuses_bad_arguments(void **state) {
    static const struct {
        const char *argument, *message;
    } cases[] = {
        {"train.epochz=3", "command line: train.epochz: unknown key; did you mean train.epochs?"},
        {"train.epochs=x", "command line: train.epochs: 'x' is not a whole number (1..100000)"},
        {"epochs=3", "command line: 'epochs=3' is not section.key=value"},
        {"epochs=3.5", "command line: 'epochs=3.5' is not section.key=value"},
        {"train.epochs", "command line: 'train.epochs' is not section.key=value"},
        {".a=1", "command line: '.a=1' is not section.key=value"},
        {"train.=1", "command line: 'train.=1' is not section.key=value"},
        {"a\nb", "command line: 'a?b' is not section.key=value"},
        {"run.dir=a\nb", "command line: run.dir: control character 0x0a; remove it"},
        {"train.batch=9", "command line: train.batch: 9 is not a multiple of train.shards = 8; try "
                          "16"},
        {"model.keep_bag=true",
         "command line: model.keep_bag: keeps the bag of another model; name "
         "its file with model.init and its width with model.bag"},
    };
    static const char *const tuned[] = {"run.tune=true", "distributed.store=file:///group"};
    static const char *const few[] = {"distributed.store=file:///group",
                                      "distributed.min_workers=5", "distributed.max_workers=4"};
    static const char *const shards[] = {"distributed.store=file:///group", "train.shards=4",
                                         "distributed.min_workers=5", "distributed.max_workers=6"};
    sg_config config;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(sg_config_load(NULL, &cases[i].argument, 1, &config), SG_ERR_CONFIG);
        assert_string_equal(sg_last_error(), cases[i].message);
    }
    for (int i = 0; i < 2; i++) /* one without the other */
        assert_int_equal(sg_config_load(NULL, &tuned[i], 1, &config), SG_OK);
    assert_int_equal(sg_config_load(NULL, tuned, 2, &config), SG_ERR_CONFIG);
    assert_string_equal(
        sg_last_error(),
        "command line: run.tune: workers would choose different kernels, and differ "
        "in their bits; leave it out with distributed.store");
    assert_int_equal(sg_config_load(NULL, few, 2, &config), SG_OK);
    assert_int_equal(sg_config_load(NULL, few + 1, 2, &config), SG_OK); /* alone */
    assert_int_equal(sg_config_load(NULL, few, 3, &config), SG_ERR_CONFIG);
    assert_string_equal(sg_last_error(), "command line: distributed.min_workers: 5 never come "
                                         "together; distributed.max_workers is 4");
    assert_int_equal(sg_config_load(NULL, shards, 4, &config), SG_ERR_CONFIG);
    assert_string_equal(
        sg_last_error(),
        "command line: distributed.min_workers: 5 never come together; train.shards is 4");
}

/* What a stored configuration has is what it was. */
static void makes_no_home_folder(void **state) {
    static const char text[] = "[data]\nroot = ~/pictures\n";
    static const char *const argument[] = {"run.dir=~/runs"};
    char path[] = "/tmp/sg-config-XXXXXX", message[128];
    int fd = mkstemp(path);
    sg_config config;

    (void)state;
    assert_true(fd >= 0 && write(fd, text, sizeof text - 1) == sizeof text - 1);
    close(fd);
    assert_int_equal(sg_config_load(path, NULL, 0, &config), SG_ERR_CONFIG);
    snprintf(message, sizeof message,
             "%s:2: data.root: '~/pictures': ~ is not made a home folder here; write it out", path);
    assert_string_equal(sg_last_error(), message);
    assert_int_equal(sg_config_load(NULL, argument, 1, &config), SG_ERR_CONFIG);
    assert_non_null(strstr(sg_last_error(), "command line: run.dir: '~/runs': ~ is not made"));
    assert_int_equal(parse(text, &config), SG_OK);
    assert_string_equal(config.data.root, "~/pictures");
    unlink(path);
}

static void refuses_what_is_too_long(void **state) {
    char argument[SG_CONFIG_TEXT + 64] = "run.dir=";
    const char *only = argument;
    sg_config config;

    (void)state;
    memset(argument + 8, 'a', SG_CONFIG_TEXT - 1);
    assert_int_equal(sg_config_load(NULL, &only, 1, &config), SG_OK);
    assert_int_equal(strlen(config.run.dir), SG_CONFIG_TEXT - 1);
    argument[8 + SG_CONFIG_TEXT - 1] = 'a';
    assert_int_equal(sg_config_load(NULL, &only, 1, &config), SG_ERR_CONFIG);
    assert_string_equal(sg_last_error(),
                        "command line: run.dir: 4096 bytes are too many; at most 4095");
    memset(argument, 'k', 100);
    memcpy(argument, "train.", 6);
    strcpy(argument + 100, "=1");
    assert_int_equal(sg_config_load(NULL, &only, 1, &config), SG_ERR_CONFIG);
    assert_non_null(strstr(sg_last_error(), "unknown key"));
}

static void passes_on_missing_files(void **state) {
    sg_config config;

    (void)state;
    assert_int_equal(sg_config_load("/nonexistent/mask.ini", NULL, 0, &config), SG_ERR_MISSING);
    assert_non_null(strstr(sg_last_error(), "/nonexistent/mask.ini"));
}

static void writes_what_reads_back(void **state) {
    static const char *const values[] = {
        "run.dir= a # \"b\\\" ",
        "data.root=\"quoted\"",
        "model.init=#x",
        "data.train=a;b",
        "data.val=x ;y",
        "data.test=back\\slash",
        "data.text=;x",
        "data.label=x ",
        "train.lr=0.1",
        "train.lr_final=1e-05",
        "data.hue=0.30000000000000004",
        "run.seed=9007199254740991",
        "run.exact=off",
        "run.log=debug",
    };
    enum { kValues = sizeof values / sizeof values[0] };
    sg_config config, again;
    char *text, *second, *names;

    (void)state;
    assert_int_equal(sg_config_load(NULL, values, kValues, &config), SG_OK);
    assert_string_equal(config.run.dir, " a # \"b\\\" ");
    assert_int_equal(sg_config_write(&config, &text), SG_OK);
    if (parse(text, &again) != SG_OK) fail_msg("%s", sg_last_error());
    assert_int_equal(sg_config_write(&again, &second), SG_OK);
    assert_string_equal(text, second);
    assert_string_equal(again.run.dir, config.run.dir);
    assert_string_equal(again.data.root, "\"quoted\"");
    assert_string_equal(again.model.init, "#x");
    assert_string_equal(again.data.text, ";x");
    assert_string_equal(again.data.label, "x ");
    assert_true(again.data.hue == config.data.hue);
    assert_int_equal(sg_config_diff(&config, &again, &names), SG_OK);
    assert_null(names);
    sg_free(text);
    sg_free(second);
}

/* Compile a locale whose decimal point is a comma, and use it. */
static bool use_decimal_comma(const char *folder) {
    static const char source[] = "LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\n"
                                 "grouping 3;3\nEND LC_NUMERIC\n";
    char path[128], command[512];

    snprintf(path, sizeof path, "%s/source", folder);
    if (sg_file_write(path, source, sizeof source - 1) != SG_OK) return false;
    snprintf(command, sizeof command,
             "localedef -c --no-archive -i %s/source -f ANSI_X3.4-1968 %s/comma >%s/log 2>&1",
             folder, folder, folder);
    if (system(command) == -1) return false;
    setenv("LOCPATH", folder, 1);
    return setlocale(LC_NUMERIC, "comma") != NULL;
}

static void ignores_the_locale(void **state) {
    static const char *const half[] = {"train.lr=0.5"};
    char folder[] = "/tmp/sg-locale-XXXXXX", number[32], command[64];
    sg_status st = SG_OK;
    sg_config config;
    bool comma;

    (void)state;
    assert_non_null(mkdtemp(folder));
    comma = use_decimal_comma(folder);
    if (comma) {
        snprintf(number, sizeof number, "%g", 0.5);
        assert_string_equal(number, "0,5");
        st = sg_config_load(NULL, half, 1, &config);
        sg_number_text(0.5, number, sizeof number);
        setlocale(LC_NUMERIC, "C");
    }
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    if (!comma) skip();
    assert_int_equal(st, SG_OK);
    assert_true(config.train.lr == 0.5);
    assert_string_equal(number, "0.5");
}

static void names_what_differs(void **state) {
    static const char *const changes[] = {"train.batch=24", "train.lr=0.5",    "model.size=small",
                                          "data.root=z",    "train.threads=2", "train.steps=5"};
    sg_config a, b;
    char *names;

    (void)state;
    sg_config_default(&a);
    assert_int_equal(sg_config_load(NULL, changes, 6, &b), SG_OK);
    assert_int_equal(sg_config_diff(&a, &b, &names), SG_OK);
    assert_string_equal(names, "model.size, train.batch, train.lr");
    sg_free(names);
}

static void explains_every_key(void **state) {
    char *help, *page;
    int n;
    const sg_key *keys = sg_keys(&n);

    (void)state;
    assert_int_equal(sg_config_help(&help), SG_OK);
    assert_int_equal(sg_config_markdown(&page), SG_OK);
    for (int i = 0; i < n; i++) {
        char row[128];

        snprintf(row, sizeof row, "| `%s.%s` |", keys[i].section, keys[i].name);
        assert_non_null(strstr(help, keys[i].help));
        assert_non_null(strstr(page, row));
        assert_non_null(strstr(page, keys[i].help));
    }
    sg_free(help);
    sg_free(page);
}

/* Tests run in the repository's root. */
static void keeps_the_page_up_to_date(void **state) {
    uint8_t *have = NULL;
    size_t size;
    char *want;

    (void)state;
    assert_int_equal(sg_config_markdown(&want), SG_OK);
    if (sg_file_read("docs/configuration.md", 0, &have, &size) != SG_OK)
        fail_msg("%s", sg_last_error());
    if (strcmp((const char *)have, want) != 0)
        fail_msg("docs/configuration.md is out of date: run `make docs`");
    sg_free(have);
    sg_free(want);
}

static void survives_failed_allocations(void **state) {
    long live = sg_mem_live();
    sg_config config, other;
    char *text;

    (void)state;
    FAIL_EACH_ALLOCATION(parse("[train]\nepochs = 3\n", &config), 2);
    sg_config_default(&other);
    other.train.batch = 8;
    FAIL_EACH_ALLOCATION(sg_config_write(&config, &text), 1);
    sg_free(text);
    FAIL_EACH_ALLOCATION(sg_config_help(&text), 1);
    sg_free(text);
    FAIL_EACH_ALLOCATION(sg_config_markdown(&text), 1);
    sg_free(text);
    FAIL_EACH_ALLOCATION(sg_config_diff(&config, &other, &text), 1);
    sg_free(text);
    assert_int_equal(sg_mem_live(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_defaults),
        cmocka_unit_test(has_a_sound_table),
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(refuses_with_one_helpful_line),
        cmocka_unit_test(refuses_bad_arguments),
        cmocka_unit_test(makes_no_home_folder),
        cmocka_unit_test(refuses_what_is_too_long),
        cmocka_unit_test(passes_on_missing_files),
        cmocka_unit_test(writes_what_reads_back),
        cmocka_unit_test(ignores_the_locale),
        cmocka_unit_test(names_what_differs),
        cmocka_unit_test(explains_every_key),
        cmocka_unit_test(keeps_the_page_up_to_date),
        cmocka_unit_test(survives_failed_allocations),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
