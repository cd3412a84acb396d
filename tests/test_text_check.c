/* The check of texts: every fault is told, with its place; what parts hold is counted. */
#include "data_fixture.h"

#include "data/text_check.h"

enum { kLogBytes = 1 << 16 };

static char told[kLogBytes];

static void note(void *context, sg_fault_level level, const char *file, int line,
                 const char *text) {
    const char *prefix = fixture_root;
    size_t used = strlen(told);

    (void)context;
    if (strncmp(file, prefix, strlen(prefix)) == 0) file += strlen(prefix) + 1;
    assert_null(strchr(text, '\n'));
    snprintf(told + used, sizeof told - used, "%s:%d: %s: %s\n", file, line,
             level == SG_FAULT_ERROR ? "error" : "warning", text);
}

static void write_file(const char *root, const char *name, const char *text) {
    char path[256];

    snprintf(path, sizeof path, "%s/%s", root, name);
    fixture_text(path, text);
}

static sg_text_check_summary check_at(sg_text_place place, const char *root) {
    static const char *const splits[] = {"train", "val"};
    char path[512];
    sg_text_check_summary summary;

    snprintf(path, sizeof path, "%s", fixture_path(root));
    place.root = path;
    told[0] = '\0';
    assert_ok(sg_text_dataset_check(&place, splits, 2, NULL, note, NULL, &summary));
    return summary;
}

static sg_text_check_summary check(sg_text_format format, const char *root, const char *task) {
    return check_at((sg_text_place){.format = format, .task = task}, root);
}

/* `line` is told, whole. */
static void assert_told(const char *line) {
    const char *at = strstr(told, line);

    if (!at || (at > told && at[-1] != '\n')) fail_msg("`%s` is not in:\n%s", line, told);
}

static void nothing_wrong(void **state) {
    sg_text_check_summary s;
    char *table;

    (void)state;
    write_file("good", "train.csv", "text,label\na,x\nbbbb,y\nccc,x\n");
    write_file("good", "val.csv", "text,label\ndd,y\n");
    s = check(SG_TEXT_CSV, "good", NULL);
    assert_string_equal(told, "");
    assert_true(s.texts == 4 && s.errors == 0 && s.warnings == 0);
    assert_true(s.n_tasks == 1 && s.n_parts == 2);
    assert_true(s.parts[0].n == 3 && s.parts[0].counts[0] == 2 && s.parts[0].counts[1] == 1);
    assert_true(s.parts[0].median_bytes == 3 && s.parts[0].longest_bytes == 4);
    assert_true(s.parts[1].n == 1 && s.parts[1].counts[0] == 0);
    assert_ok(sg_text_check_table(&s, &table));
    assert_string_equal(table,
                        "task  part   texts  empty  repeated  in an earlier part  other label"
                        "  median bytes  longest\n"
                        "-     train      3      0         0                   0            0"
                        "             3        4\n"
                        "-     val        1      0         0                   0            0"
                        "             2        2\n"
                        "\n"
                        "task  class  train  val\n"
                        "-     x          2    0\n"
                        "-     y          1    1\n");
    sg_free(table);
    sg_text_check_clear(&s);
}

static void all_faults_are_told(void **state) {
    sg_text_check_summary s;

    (void)state;
    write_file("bad", "mapping.txt", "0\tham\n1\tspam\n2\tother\n");
    write_file("bad", "train_text.txt", "one\ntwo\n\xFF\nfour\n \t\none\ntwo\nsix");
    write_file("bad", "train_labels.txt", "0\n7\n1\n1\n0\n1\n0\n");
    write_file("bad", "val_text.txt", "six\nfour\none\nnew\n");
    write_file("bad", "val_labels.txt", "0\n1\n1\n2\xFF\n");
    s = check(SG_TEXT_TWEETEVAL, "bad", "");
    assert_told("bad/train_text.txt:3: error: byte 1 of the line (0xFF) is not UTF-8");
    assert_told("bad/train_labels.txt:2: error: label `7` is no whole number from 0 to 2");
    assert_told("bad/train_labels.txt:0: error: labels and texts differ in number: 7 here, 8 in");
    assert_told("bad/train_text.txt:5: warning: an empty text\n");
    assert_told("bad/train_text.txt:0: warning: no text of class `other`\n");
    assert_told("bad/train_text.txt:6: warning: the same text as line 1, but the label is `spam`, "
                "and `ham` "
                "there\n");
    assert_told("bad/val_text.txt:2: warning: the same text as /");
    assert_told("bad/val_text.txt:3: warning: the same text as ");
    assert_non_null(strstr(told, "train_text.txt:1, but the label is `spam`, and `ham` there\n"));
    assert_told("bad/val_labels.txt:4: error: byte 2 of the line (0xFF) is not UTF-8");
    assert_int_equal(s.errors, 4); /* and none for a label of that line */
    assert_int_equal(s.warnings, 5);
    assert_int_equal(s.texts, 8); /* left out: 2 and 3, `six`, which has no label, `new` */
    assert_true(s.parts[0].n == 5 && s.parts[0].n_empty == 1 && s.parts[0].n_repeated == 1 &&
                s.parts[0].n_shared == 0 && s.parts[0].n_conflicts == 1);
    assert_true(s.parts[1].n == 3 && s.parts[1].n_repeated == 0 && s.parts[1].n_shared == 2 &&
                s.parts[1].n_conflicts == 1);
    sg_text_check_clear(&s);
}

static void one_class_is_told(void **state) {
    sg_text_check_summary s;

    (void)state;
    write_file("one", "train.csv", "text,label\na,x\nb,x\n");
    write_file("one", "val.csv", "text,label\nc,x\n");
    s = check(SG_TEXT_CSV, "one", NULL);
    assert_string_equal(
        told, "one/train.csv:0: error: all its labels are `x`; at least two classes are needed\n");
    assert_int_equal(s.errors, 1);
    sg_text_check_clear(&s);
    s = check_at((sg_text_place){.format = SG_TEXT_CSV, .texts_only = true}, "one");
    assert_string_equal(told, ""); /* where labels do not count */
    sg_text_check_clear(&s);
}

static void what_cannot_be_read_is_told_too(void **state) {
    sg_text_check_summary s;

    (void)state;
    write_file("broken", "a/train.jsonl", "{\"text\":\"a\",\"label\":1}\n{\n[]\n");
    write_file("broken", "b/train.jsonl", "\n");
    write_file("broken", "b/val.jsonl", "{\"text\":\"a\",\"label\":1}\n");
    s = check(SG_TEXT_JSONL, "broken", "a,b");
    assert_told("broken/a/train.jsonl:2: error: no valid JSON at column ");
    assert_told("broken/a/train.jsonl:3: error: no JSON object");
    assert_told("broken/a/val.jsonl:0: error: no such file; data.train and");
    assert_told("broken/b/train.jsonl:0: error: there is no text in it\n");
    assert_int_equal(s.errors, 4);
    assert_int_equal(s.texts, 2);
    assert_int_equal(s.parts[3].task, 1);
    assert_int_equal(s.parts[3].n, 1);
    sg_text_check_clear(&s);
    write_file("broken", "train.csv", "text,label\na,x\nb,\"y\n");
    write_file("broken", "val.csv", "texts,label\na,x\n");
    s = check(SG_TEXT_CSV, "broken", NULL);
    assert_told("broken/train.csv:3: error: a quote opens a field here");
    assert_told("broken/val.csv:1: error: no column `text`; there are: `texts`, `label`");
    assert_int_equal(s.errors, 2);
    sg_text_check_clear(&s);
    write_file("broken", "mapping.txt", "1\tx\n");
    write_file("broken", "train_text.txt", "a\n");
    write_file("broken", "train_labels.txt", "1\n");
    s = check(SG_TEXT_TWEETEVAL, "broken", NULL);
    assert_told("broken/mapping.txt:0: error: 1 names, but none for label 0");
    sg_text_check_clear(&s);
}

static void tasks_have_their_own_texts(void **state) {
    sg_text_check_summary s;

    (void)state;
    for (int i = 0; i < 2; i++) {
        write_file(i ? "own/a" : "own/b", "train.csv", "text,label\na,x\nb,y\n");
        write_file(i ? "own/a" : "own/b", "val.csv", "text,label\nc,x\n");
    }
    s = check(SG_TEXT_CSV, "own", "a,b");
    assert_string_equal(told, "");
    assert_int_equal(s.texts, 6);
    sg_text_check_clear(&s);
}

static void many_faults_are_counted(void **state) {
    char csv[4096] = "text,label\n";
    size_t used = strlen(csv);
    sg_text_check_summary s;
    int lines = 0;

    (void)state;
    for (int i = 0; i < 30; i++)
        used += (size_t)snprintf(csv + used, sizeof csv - used, "same,x\na,b,c\n,y\n");
    write_file("many", "train.csv", csv);
    snprintf(csv, sizeof csv, "text,label\nb,x\n");
    for (int i = 0; i < 25; i++) snprintf(csv + strlen(csv), sizeof csv - strlen(csv), "same,x\n");
    write_file("many", "val.csv", csv);
    s = check(SG_TEXT_CSV, "many", NULL);
    for (const char *c = told; *c; c++) lines += *c == '\n';
    assert_int_equal(s.errors, 30);             /* ragged */
    assert_int_equal(s.warnings, 30 + 58 + 25); /* empty; repeated: 29 each of `same` and of "" */
    assert_int_equal(lines, 4 * (SG_TEXT_CHECK_SHOWN + 1));
    assert_told("many/train.csv:0: error: and 10 errors more\n");
    assert_told("many/train.csv:0: warning: and 10 empty texts more\n");
    assert_told("many/train.csv:0: warning: and 38 repeated texts more\n");
    assert_told("many/val.csv:0: warning: and 5 repeated texts more\n");
    sg_text_check_clear(&s);
}

static void no_memory(void **state) {
    static const char *const splits[] = {"train", "val"};
    sg_text_place place = {.format = SG_TEXT_CSV, .root = "", .task = "a,b"};
    char root[512];
    long live = sg_mem_live(), n = 0;
    sg_status st;

    (void)state;
    snprintf(root, sizeof root, "%s", fixture_path("own"));
    place.root = root;
    do {
        sg_text_check_summary s = {0};
        char *table = NULL;

        sg_mem_fail_at(++n);
        st = sg_text_dataset_check(&place, splits, 2, NULL, NULL, NULL, &s);
        if (st == SG_OK) st = sg_text_check_table(&s, &table);
        sg_mem_fail_at(0);
        assert_int_equal(table != NULL, st == SG_OK);
        sg_free(table);
        sg_text_check_clear(&s);
        assert_int_equal(sg_mem_live(), live);
    } while (st == SG_ERR_OOM);
    assert_ok(st);
    assert_true(n > 60);
    place.task = "a,,b";
    assert_fails(
        sg_text_dataset_check(&place, splits, 2, NULL, NULL, NULL, &(sg_text_check_summary){0}),
        SG_ERR_CONFIG, "data.task: task 2");
}

static void real_data(void **state) {
    static const char *const splits[] = {"train", "val"};
    const char *data = getenv("SPOTGRAD_DATA");
    sg_text_place place = {.format = SG_TEXT_TWEETEVAL, .task = "hate"};
    sg_text_check_summary s;
    char root[512];

    (void)state;
    snprintf(root, sizeof root, "%s/tweeteval", data ? data : "");
    if (!data || !sg_is_dir(root)) skip();
    place.root = root;
    assert_ok(sg_text_dataset_check(&place, splits, 2, NULL, NULL, NULL, &s));
    assert_int_equal(s.errors, 0);
    assert_int_equal(s.parts[0].n_empty, 7);
    assert_int_equal(s.parts[0].counts[1], 3783);
    sg_text_check_clear(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_wrong),
        cmocka_unit_test(all_faults_are_told),
        cmocka_unit_test(one_class_is_told),
        cmocka_unit_test(what_cannot_be_read_is_told_too),
        cmocka_unit_test(tasks_have_their_own_texts),
        cmocka_unit_test(many_faults_are_counted),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(real_data),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
