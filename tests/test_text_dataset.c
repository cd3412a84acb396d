/* Data sets of texts: what each format reads, what it refuses, several tasks, real data. */
#include "data_fixture.h"

#include "data/text_dataset.h"
#include "out_of_memory.h"

/* Good until the next call. */
static sg_text_place place_of(sg_text_format format, const char *root, const char *task) {
    static char path[512];

    snprintf(path, sizeof path, "%s", fixture_path(root));
    return (sg_text_place){.format = format, .root = path, .task = task};
}

static void write_file(const char *root, const char *name, const char *text) {
    char path[256];

    snprintf(path, sizeof path, "%s/%s", root, name);
    fixture_text(path, text);
}

/* A TweetEval folder with a train part. */
static void write_tweets(const char *root, const char *texts, const char *labels,
                         const char *mapping) {
    write_file(root, "train_text.txt", texts);
    write_file(root, "train_labels.txt", labels);
    if (mapping) write_file(root, "mapping.txt", mapping);
}

static const char *const two = "0\tham\n1\tspam\n";

static void check_text(const sg_text_dataset *d, int64_t i, const char *text, int label, int line) {
    assert_true(i < d->n);
    assert_string_equal(d->texts[i].bytes, text);
    assert_int_equal(d->texts[i].length, strlen(text));
    assert_int_equal(d->labels[i], label);
    assert_int_equal(d->texts[i].line, line);
}

/* A train part of that one file. */
static void refused(sg_text_format format, const char *file, const char *text, const char *part) {
    sg_text_place place = place_of(format, "refused", NULL);
    sg_text_dataset *d;

    write_file("refused", file, text);
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_DATA, part);
}

/* --- tweeteval -------------------------------------------------------------------------------- */

static void only_lf_ends_a_line(void **state) {
    sg_text_place place = place_of(SG_TEXT_TWEETEVAL, "lines", NULL);
    sg_text_dataset *d;

    (void)state;
    write_tweets("lines",
                 "a\xE2\x80\xA8z\n\n\xC2\x85 b\rc\fd\ve\r\n \xD0\x9F\xD1\x80\xD0\xB8\n\nlast",
                 "0\n1\n0\r\n1 \n0\n1", two);
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_int_equal(d->n, 6);
    check_text(d, 0, "a\xE2\x80\xA8z", 0, 1);
    check_text(d, 1, "", 1, 2);
    check_text(d, 2, "\xC2\x85 b\rc\fd\ve\r", 0, 3);
    check_text(d, 3, " \xD0\x9F\xD1\x80\xD0\xB8", 1, 4);
    check_text(d, 4, "", 0, 5);
    check_text(d, 5, "last", 1, 6);
    assert_int_equal(d->n_tasks, 1);
    assert_string_equal(d->tasks[0].name, "");
    assert_string_equal(d->tasks[0].path, fixture_path("lines/train_text.txt"));
    assert_int_equal(d->tasks[0].first, 0);
    assert_int_equal(d->tasks[0].n, 6);
    assert_int_equal(d->classes[0].n, 2);
    assert_string_equal(d->classes[0].name[1], "spam");
    sg_text_dataset_destroy(d);
    /* LFs at the end: an empty text each but for the last, which ends a line */
    write_tweets("lines", "a\n\n\n", "0\n0\n1\n", NULL);
    assert_ok(sg_text_dataset_read(&place, "train.txt", NULL, &d));
    assert_int_equal(d->n, 3);
    check_text(d, 2, "", 1, 3);
    sg_text_dataset_destroy(d);
}

static void mapping_names_numbers(void **state) {
    sg_text_place place = place_of(SG_TEXT_TWEETEVAL, "mapping", NULL);
    sg_text_dataset *d;
    sg_classes classes;

    (void)state;
    /* a mark at the beginning, any order, a third column, CRLF, an empty line at the end */
    write_tweets("mapping", "a\nb\nc\n", "2\n0\n1\n",
                 "\xEF\xBB\xBF"
                 "1\tjoy\n0\t\xE2\x9D\xA4\t_red_heart_\t\n2\ta, b \r\n\n");
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_int_equal(d->classes[0].n, 3);
    assert_string_equal(d->classes[0].name[0], "\xE2\x9D\xA4");
    assert_string_equal(d->classes[0].name[1], "joy");
    assert_string_equal(d->classes[0].name[2], "a, b");
    assert_int_equal(d->labels[0], 2);
    sg_text_dataset_destroy(d);
    /* classes that are given find their numbers by name */
    write_tweets("mapping", "a\nb\n", "1\n0\n", two);
    assert_ok(sg_classes_parse("x,spam,ham", &classes));
    assert_ok(sg_text_dataset_read(&place, "train", &classes, &d));
    assert_int_equal(d->labels[0], 1);
    assert_int_equal(d->labels[1], 2);
    assert_int_equal(d->classes[0].n, 3);
    sg_text_dataset_destroy(d);
    sg_classes_clear(&classes);
    assert_ok(sg_classes_parse("ham,x", &classes));
    assert_fails(sg_text_dataset_read(&place, "train", &classes, &d), SG_ERR_DATA,
                 "train_labels.txt:1: label 1 is `spam`, which is not among: ham, x");
    /* without a mapping they are the numbers' names */
    assert_int_equal(remove(fixture_path("mapping/mapping.txt")), 0);
    assert_ok(sg_text_dataset_read(&place, "train", &classes, &d));
    assert_int_equal(d->labels[0], 1);
    sg_text_dataset_destroy(d);
    write_file("mapping", "train_labels.txt", "1\n2\n");
    assert_fails(sg_text_dataset_read(&place, "train", &classes, &d), SG_ERR_DATA,
                 "train_labels.txt:2: label `2` is no whole number from 0 to 1 (ham, x)");
    sg_classes_clear(&classes);
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_MISSING,
                 "there is no mapping.txt");
}

static void mapping_in_the_folder_above(void **state) {
    sg_text_place place = place_of(SG_TEXT_TWEETEVAL, "eval", "stance/abortion");
    sg_text_dataset *d;

    (void)state;
    write_file("eval", "stance/mapping.txt", "0\tnone\n1\tagainst\n2\tfavor\n");
    write_tweets("eval/stance/abortion", "a\n", "2\n", NULL);
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_string_equal(d->tasks[0].name, "stance/abortion");
    assert_string_equal(d->classes[0].name[d->labels[0]], "favor");
    sg_text_dataset_destroy(d);
    place = place_of(SG_TEXT_TWEETEVAL, "eval/stance/abortion/", "");
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_int_equal(d->classes[0].n, 3);
    sg_text_dataset_destroy(d);
    place = place_of(SG_TEXT_TWEETEVAL, "eval/stance/abortion/../abortion/.", "");
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    sg_text_dataset_destroy(d);
}

/* Faults of a TweetEval folder, one each. */
static void tweeteval_faults(void **state) {
    static const struct {
        const char *texts, *labels, *mapping, *part;
        sg_status code;
    } cases[] = {
        {"a\nb\n", "0\n1\n1\n", two,
         "train_labels.txt: labels and texts differ in number: 3 here, 2 in ", SG_ERR_DATA},
        {"a\nb\n", "0\n1\n1\n", two, "train_text.txt; a line each", SG_ERR_DATA},
        {"a\nb\n", "0\n", two, "train_labels.txt: labels and texts differ in number: 1 here, 2 in ",
         SG_ERR_DATA},
        {"a\nb\n", "0\n2\n", two,
         "train_labels.txt:2: label `2` is no whole number from 0 to 1 (map", SG_ERR_DATA},
        {"a\nb\n", "-1\n1\n", two, "train_labels.txt:1: label `-1`", SG_ERR_DATA},
        {"a\nb\n", "00\n1\n", two, "train_labels.txt:1: label `00`", SG_ERR_DATA},
        {"a\nb\n", "1\nham\n", two, "train_labels.txt:2: label `ham`", SG_ERR_DATA},
        {"a\nb\n", "1\n99999999999999999999\n", two, "label `99999999999999999999`", SG_ERR_DATA},
        {"a\nb\n", "1\n\n", two, "train_labels.txt:2: no label", SG_ERR_DATA},
        {"a\nb\n", "1\n0\xFF\n", two, "train_labels.txt:2: byte 2 of the line (0xFF)", SG_ERR_DATA},
        {"", "", two, "train_text.txt: there is no text in it", SG_ERR_DATA},
        {"a\nb\xE9t\xE9\n", "0\n1\n", two,
         "train_text.txt:2: byte 2 of the line (0xE9) is not UTF-8; convert", SG_ERR_DATA},
        {"a\n\xF0\x9F\x98\n", "0\n1\n", two, "train_text.txt:2: byte 1 of the line (0xF0)",
         SG_ERR_DATA},
        {"a\n", "0\n", "0 ham\n", "mapping.txt:1: no label's number (0 to 255), a tab",
         SG_ERR_DATA},
        {"a\n", "0\n", "0\t\n", "mapping.txt:1: no label's number", SG_ERR_DATA},
        {"a\n", "0\n", "x\tham\n", "mapping.txt:1: no label's number", SG_ERR_DATA},
        {"a\n", "0\n", "256\tham\n", "mapping.txt:1: no label's number", SG_ERR_DATA},
        {"a\n", "0\n", "0\th\x01m\n", "mapping.txt:1: a control byte", SG_ERR_DATA},
        {"a\n", "0\n", "0\tham\n0\tspam\n", "mapping.txt:2: label 0 has a name already: `ham`",
         SG_ERR_DATA},
        {"a\n", "0\n", "0\tham\n1\tham\n", "mapping.txt:2: `ham` is the name of label 0 too",
         SG_ERR_DATA},
        {"a\n", "0\n", "0\tham\n2\tspam\n", "mapping.txt: 2 names, but none for label 1",
         SG_ERR_DATA},
        {"a\n", "0\n", "\n\n", "mapping.txt: no names", SG_ERR_DATA},
        {"a\n", "0\n", "0\tm\xFC\n", "mapping.txt:1: byte 4 of the line (0xFC)", SG_ERR_DATA},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_text_place place = place_of(SG_TEXT_TWEETEVAL, "faults", NULL);
        sg_text_dataset *d = NULL;

        write_tweets("faults", cases[i].texts, cases[i].labels, cases[i].mapping);
        assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), cases[i].code, cases[i].part);
        assert_null(d);
    }
}

static void missing_files(void **state) {
    sg_text_place place = place_of(SG_TEXT_TWEETEVAL, "missing", NULL);
    sg_text_dataset *d;

    (void)state;
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_MISSING,
                 "missing: no such folder; set data.root=FOLDER");
    write_file("missing", "other.txt", "a\n");
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_MISSING,
                 "missing/train_text.txt: no such file; data.task");
    write_file("missing", "train_text.txt", "a\n");
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_MISSING,
                 "missing/train_labels.txt: cannot open");
    place.format = SG_TEXT_CSV;
    assert_fails(sg_text_dataset_read(&place, "train.txt", NULL, &d), SG_ERR_MISSING,
                 "missing/train.csv: no such file; data.train");
    assert_fails(sg_text_dataset_read(&place, "x.tsv", NULL, &d), SG_ERR_MISSING,
                 "missing/x.tsv: no such file");
    place.format = SG_TEXT_JSONL;
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_MISSING,
                 "missing/train.jsonl: no such file");
}

/* As Excel writes "Unicode text"; of a mapping too. */
static void utf16_is_named(void **state) {
    static const char *const starts[] = {"\xFF\xFEt", "\xFE\xFF"};

    (void)state;
    for (int i = 0; i < 2; i++)
        refused(SG_TEXT_CSV, "train.tsv", starts[i], "train.tsv: is UTF-16; convert the file, as ");
    write_tweets("refused", "a\n", "0\n", starts[0]);
    refused(SG_TEXT_TWEETEVAL, "train_text.txt", "a\n", "mapping.txt: is UTF-16; ");
}

static void nul_bytes_and_long_lines(void **state) {
    enum { kMost = SG_TEXT_MAX_LINE };
    char *text = sg_malloc(kMost + 4);
    sg_text_place place = place_of(SG_TEXT_TWEETEVAL, "long", NULL);
    sg_text_dataset *d;

    (void)state;
    assert_non_null(text);
    write_tweets("long", "", "0\n1\n", two);
    fixture_write("long/train_text.txt", "ab\nc\0d\n", 7);
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_DATA,
                 "train_text.txt:2: byte 2 of the line is NUL");
    memset(text, 'x', kMost + 4);
    memcpy(text, "a\n", 2);
    fixture_write("long/train_text.txt", text, kMost + 2);
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_int_equal(d->texts[1].length, kMost);
    sg_text_dataset_destroy(d);
    fixture_write("long/train_text.txt", text, kMost + 3);
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_DATA,
                 "train_text.txt:2: 1048577 bytes in one line or row; at most 1048576");
    place.format = SG_TEXT_JSONL;
    fixture_write("long/train.jsonl", text, kMost + 3);
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_DATA,
                 "train.jsonl:1: no valid JSON"); /* the `a` */
    memcpy(text, " \n", 2);
    fixture_write("long/train.jsonl", text, kMost + 3);
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_DATA,
                 "train.jsonl:2: 1048577 bytes");
    place.format = SG_TEXT_CSV;
    memcpy(text, "text,label\n\"a\n", 13);
    fixture_write("long/train.csv", text, 5000);
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_DATA,
                 "train.csv:2: a quote opens a field here and nothing closes it");
    memcpy(text + kMost, "\",x\n", 4); /* then it is closed: a row of 1 MiB less 9 bytes */
    fixture_write("long/train.csv", text, kMost + 4);
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_int_equal(d->texts[0].length, kMost - 12);
    sg_text_dataset_destroy(d);
    sg_free(text);
}

/* --- csv -------------------------------------------------------------------------------------- */

typedef struct {
    const char *csv;
    struct {
        const char *text, *label;
        int line;
    } row[4];
} csv_case;

static void read_csv(const char *name, const csv_case *c) {
    sg_text_place place = place_of(SG_TEXT_CSV, "csv", NULL);
    sg_text_dataset *d;
    int n = 0;

    write_file("csv", name, c->csv);
    assert_ok(sg_text_dataset_read(&place, name, NULL, &d));
    for (; n < 4 && c->row[n].text; n++) {
        check_text(d, n, c->row[n].text, d->labels[n], c->row[n].line);
        assert_string_equal(d->classes[0].name[d->labels[n]], c->row[n].label);
    }
    assert_int_equal(d->n, n);
    sg_text_dataset_destroy(d);
}

static void csv_is_read(void **state) {
    static const csv_case cases[] = {
        {"text,label\na,x\n", {{"a", "x", 2}}},
        {"label,id,text\nx,1,a\ny,2,b", {{"a", "x", 2}, {"b", "y", 3}}}, /* no LF at the end */
        {"\xEF\xBB\xBFtext,label\r\na,x\r\nb,y\r\n", {{"a", "x", 2}, {"b", "y", 3}}},
        {"\"text\",\"label\"\n\"a, \"\"b\"\"\",x\n", {{"a, \"b\"", "x", 2}}},
        {"text,label\n\"two\nlines\r\n\",x\nb,\"y\"\n",
         {{"two\nlines\r\n", "x", 2}, {"b", "y", 5}}},
        {"text,label\n\"a \"\"b,\nc\"\" d\",x\n", {{"a \"b,\nc\" d", "x", 2}}},
        {"text,label\n\"\",x\n,y\n\"\"\"\",\"\"\"\"\n",
         {{"", "x", 2}, {"", "y", 3}, {"\"", "\"", 4}}},
        {"text,label\na \"b\" c\",x\n a ,x\n", {{"a \"b\" c\"", "x", 2}, {" a ", "x", 3}}},
        {"text,label\n\na,x\n\r\n\nb,y\n\n", {{"a", "x", 3}, {"b", "y", 6}}}, /* empty lines */
        {"text,label\na\rb,x\n\xE2\x80\xA8,x\n", {{"a\rb", "x", 2}, {"\xE2\x80\xA8", "x", 3}}},
        {"label,text\nx,\nx,\"\"\nx,\r\n", {{"", "x", 2}, {"", "x", 3}, {"", "x", 4}}},
    };
    static const csv_case tabs = {"text\tlabel\na, b\tx\n\"c\td\"\ty\n",
                                  {{"a, b", "x", 2}, {"c\td", "y", 3}}};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) read_csv("train.csv", &cases[i]);
    read_csv("train.tsv", &tabs);
}

static void csv_columns_have_names(void **state) {
    sg_text_place place = place_of(SG_TEXT_CSV, "columns", NULL);
    sg_text_dataset *d;

    (void)state;
    write_file("columns", "train.tsv", "\xD0\xBC\xD0\xBE\xD0\xB2\xD0\xB0\ttweet\nuk\ta\n");
    place.text_column = "tweet";
    place.label_column = "\xD0\xBC\xD0\xBE\xD0\xB2\xD0\xB0";
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    check_text(d, 0, "a", 0, 2);
    assert_string_equal(d->classes[0].name[0], "uk");
    sg_text_dataset_destroy(d);
    place.label_column = "label";
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_DATA,
                 "train.tsv:1: no column `label`; there are: `\xD0\xBC\xD0\xBE\xD0\xB2\xD0\xB0`, "
                 "`tweet`; name the right one with data.label");
    place.label_column = "tweet";
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_CONFIG,
                 "`tweet` cannot be both");
    place.texts_only = true;
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    check_text(d, 0, "a", -1, 2);
    sg_text_dataset_destroy(d);
    /* one column: then an empty line is a text */
    write_file("columns", "only.csv", "text\na\n\nb\n");
    place.text_column = place.label_column = NULL;
    assert_ok(sg_text_dataset_read(&place, "only.csv", NULL, &d));
    assert_int_equal(d->n, 3);
    check_text(d, 1, "", -1, 3);
    sg_text_dataset_destroy(d);
}

static void csv_faults(void **state) {
    static const char *const cases[][2] = {
        {"", "train.csv: empty; its first line names the columns"},
        {"text,label\n", "train.csv: there is no text in it"},
        {"tweet,label\na,x\n",
         "train.csv:1: no column `text`; there are: `tweet`, `label`; name the "
         "right one with data.text"},
        {"text;label\na;x\n",
         "train.csv:1: no column `text`; there is `text;label` alone; name it with "
         "data.text, or have commas (in .tsv tabs) divide columns"},
        {"text,label,text\na,x,b\n", "train.csv:1: columns 1 and 3 are both named `text`"},
        {"text,label\na,x\n\"b\nc\",y\nd,x,z\n", "train.csv:5: 3 fields, but the header has 2"},
        {"text,label\na\n", "train.csv:2: 1 field, but the header has 2"},
        {"text,label\na,x\n\"b,\ny\"\n\n\"d\"e,x\n", "train.csv:3: 1 field, but"},
        {"text,label\na,x\n\"d\"e,x\n", "train.csv:3: column 1: something stands behind the clos"},
        {"text,label\na,\"x\" \n", "train.csv:2: column 2: something stands"},
        {"text,\"label\na,x\n", "train.csv:1: a quote opens a field here and nothing closes it"},
        {"text,label\na,x\nb,\"y\n\nc,x\n", "train.csv:3: a quote opens a field here"},
        {"text,label\n\"a\nb\",\"y\n\nc,x\n", "train.csv:3: a quote opens a field here"},
        {"text,label\n\"a\n\xC3(\",x\n", "train.csv:3: byte 1 of the line (0xC3) is not UTF-8"},
        {"text,label\na,\n", "train.csv:2: no label"},
        {"text,label\na,x\r",
         "train.csv:2: the label has a control byte; is it the labels' column?"},
        {"\"text\"x,label\na,x\n", "train.csv:1: something stands behind the closing quote of"},
        {"te\xFFxt,label\na,x\n", "train.csv:1: byte 3 of the line (0xFF)"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(SG_TEXT_CSV, "train.csv", cases[i][0], cases[i][1]);
}

/* --- jsonl ------------------------------------------------------------------------------------ */

static void jsonl_is_read(void **state) {
    sg_text_place place = place_of(SG_TEXT_JSONL, "jsonl", NULL);
    sg_text_dataset *d;

    (void)state;
    write_file("jsonl", "train.jsonl",
               "{\"text\": \"a\\n\\u00e9\\ud83d\\ude00\", \"label\": \"x\"}\n"
               "\n \t\r\n"
               "{\"text\": \"\xE2\x80\xA8\", \"label\": 12, \"id\": [1, {\"text\": 2}]}\r\n"
               "{\"label\":\"x\",\"text\":\"\"}\n"
               "{\"label\":\"12\",\"text\":\"\\\"\"}");
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_int_equal(d->n, 4);
    check_text(d, 0, "a\n\xC3\xA9\xF0\x9F\x98\x80", 1, 1);
    check_text(d, 1, "\xE2\x80\xA8", 0, 4);
    check_text(d, 2, "", 1, 5);
    check_text(d, 3, "\"", 0, 6);
    assert_string_equal(d->classes[0].name[0], "12");
    assert_string_equal(d->classes[0].name[1], "x");
    sg_text_dataset_destroy(d);
    /* keys as short as they can be: text and label take the line's whole room */
    write_file("jsonl", "train.jsonl", "{\"\":\"abcdefghij\",\"b\":-123456789}\n");
    place.text_column = "";
    place.label_column = "b";
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    check_text(d, 0, "abcdefghij", 0, 1);
    assert_string_equal(d->classes[0].name[0], "-123456789");
    sg_text_dataset_destroy(d);
}

static void jsonl_faults(void **state) {
    static const char *const cases[][2] = {
        {"", "train.jsonl: there is no text in it"},
        {" \n\n", "train.jsonl: there is no text in it"},
        {"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\" \"label\": 1}\n",
         "train.jsonl:2: no valid JSON at column 20: '}' expected near '\"label\"'"},
        {"{\"text\": \"a\", \"label\": 1} x\n", "train.jsonl:1: no valid JSON at column 27"},
        {"{\"text\": \"a\", \"label\": 1, \"text\": \"b\"}\n", "train.jsonl:1: no valid JSON"},
        {"{\"text\": \"a\\u0000b\", \"label\": 1}\n", "train.jsonl:1: no valid JSON"},
        {"{\"text\": \"a\\ud800b\", \"label\": 1}\n", "train.jsonl:1: no valid JSON"},
        {"{\"text\": \"a\", \"label\": 99999999999999999999}\n", "train.jsonl:1: no valid JSON"},
        {"{\"text\": \"\xE9\", \"label\": 1}\n", "train.jsonl:1: byte 11 of the line (0xE9)"},
        {"[1]\n", "train.jsonl:1: no JSON object"},
        {"{\"label\": 1, \"id\": 1}\n",
         "train.jsonl:1: no `text`; there is: `label`, `id`; name the right field with data.text"},
        {"{}\n", "train.jsonl:1: no `text`; there is: nothing;"},
        {"{\"text\": 1, \"label\": 1}\n", "train.jsonl:1: `text` is no text"},
        {"{\"text\": null, \"label\": 1}\n", "train.jsonl:1: `text` is no text"},
        {"{\"text\": \"a\"}\n", "train.jsonl:1: no `label`; there is: `text`; name the right"},
        {"{\"text\": \"a\", \"label\": 1.5}\n",
         "train.jsonl:1: `label` is no text or whole number"},
        {"{\"text\": \"a\", \"label\": true}\n", "train.jsonl:1: `label` is no text or whole"},
        {"{\"text\": \"a\", \"label\": null}\n", "train.jsonl:1: no label"},
        {"{\"text\": \"a\", \"label\": \"\"}\n", "train.jsonl:1: no label"},
        {"{\"text\": \"a\", \"label\": \"b\\n\"}\n", "train.jsonl:1: the label has a control byte"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(SG_TEXT_JSONL, "train.jsonl", cases[i][0], cases[i][1]);
}

/* --- classes ---------------------------------------------------------------------------------- */

static void check_classes(const char *csv, const char *const *names) {
    sg_text_place place = place_of(SG_TEXT_CSV, "classes", NULL);
    sg_text_dataset *d;
    int n = 0;

    write_file("classes", "train.csv", csv);
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    for (; names[n]; n++) assert_string_equal(d->classes[0].name[n], names[n]);
    assert_int_equal(d->classes[0].n, n);
    sg_text_dataset_destroy(d);
}

/* Whatever is said of labels, where texts alone are wanted. */
static void labels_are_not_looked_at(void **state) {
    static const struct {
        sg_text_format format;
        const char *root;
    } cases[] = {{SG_TEXT_TWEETEVAL, "bare"},
                 {SG_TEXT_TWEETEVAL, "unnamed"},
                 {SG_TEXT_TWEETEVAL, "wrong"},
                 {SG_TEXT_CSV, "ids"},
                 {SG_TEXT_JSONL, "ids"}};
    char first[SG_FINGERPRINT_BYTES], hex[SG_FINGERPRINT_BYTES];

    (void)state;
    write_file("bare", "train_text.txt", "a\nb\n");
    write_tweets("unnamed", "a\nb\n", "0\n1\n", NULL);
    write_tweets("wrong", "a\nb\n", "x\n\xFF\n0\n", "0\tham\n7\tspam\n");
    write_file("ids", "train.csv", "label,text,label\n\x01,a,2\n1.5,b,3\n");
    write_file("ids", "train.jsonl", "{\"text\":\"a\",\"label\":[1.5]}\n{\"text\":\"b\"}\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_text_place place = place_of(cases[i].format, cases[i].root, NULL);
        sg_text_dataset *d;

        if (sg_text_dataset_read(&place, "train", NULL, &d) == SG_OK) fail();
        place.texts_only = true;
        assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
        assert_int_equal(d->n, 2);
        assert_string_equal(d->texts[1].bytes, "b");
        assert_int_equal(d->labels[1], -1);
        assert_int_equal(d->classes[0].n, 0);
        assert_ok(sg_text_dataset_fingerprint(d, i ? hex : first));
        if (i) assert_string_equal(hex, first);
        sg_text_dataset_destroy(d);
    }
}

static void classes_are_sorted(void **state) {
    (void)state;
    check_classes("text,label\na,b\nb,a\nc,b\nd,B\n", (const char *[]){"B", "a", "b", NULL});
    check_classes("text,label\na,10\nb,9\nc,0\n", (const char *[]){"0", "9", "10", NULL});
    check_classes("text,label\na,10\nb,9\nc,x\n", (const char *[]){"10", "9", "x", NULL});
    check_classes("text,label\na,10\nb,09\n", (const char *[]){"09", "10", NULL});
}

static void given_classes(void **state) {
    sg_text_place place = place_of(SG_TEXT_CSV, "given", NULL);
    sg_text_dataset *d;
    sg_classes classes;

    (void)state;
    write_file("given", "train.csv", "text,label\na,1\nb,ham\nc,0\nd,spam\n");
    assert_ok(sg_classes_parse("spam,ham", &classes));
    assert_ok(sg_text_dataset_read(&place, "train", &classes, &d));
    check_text(d, 0, "a", 1, 2);
    check_text(d, 1, "b", 1, 3);
    check_text(d, 2, "c", 0, 4);
    check_text(d, 3, "d", 0, 5);
    sg_text_dataset_destroy(d);
    write_file("given", "train.csv", "text,label\na,2\n");
    assert_fails(sg_text_dataset_read(&place, "train", &classes, &d), SG_ERR_DATA,
                 "train.csv:2: label `2` is none of the classes: spam, ham");
    sg_classes_clear(&classes);
    /* a name comes before a number */
    assert_ok(sg_classes_parse("1,0,2", &classes));
    write_file("given", "train.csv", "text,label\na,1\n");
    assert_ok(sg_text_dataset_read(&place, "train", &classes, &d));
    assert_int_equal(d->labels[0], 0);
    sg_text_dataset_destroy(d);
    sg_classes_clear(&classes);
}

/* Where classes are called numbers, one that training has not seen is none of them. */
static void numbers_as_names(void **state) {
    static const char *const names[] = {"1,2,3", "x,2,3", "-1,1", "1.0,2.0"};
    sg_text_place place = place_of(SG_TEXT_CSV, "numbers", NULL);
    sg_text_dataset *d;

    (void)state;
    write_file("numbers", "train.csv", "text,label\na,0\n");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        sg_classes classes;

        assert_ok(sg_classes_parse(names[i], &classes));
        assert_fails(sg_text_dataset_read(&place, "train", &classes, &d), SG_ERR_DATA,
                     "train.csv:2: label `0` is none of the classes: ");
        sg_classes_clear(&classes);
    }
}

static void too_many_classes(void **state) {
    char csv[8192] = "text,label\n";
    size_t used = strlen(csv);
    sg_text_place place = place_of(SG_TEXT_CSV, "many", NULL);
    sg_text_dataset *d;

    (void)state;
    for (int i = 0; i < SG_MAX_CLASSES; i++)
        used += (size_t)snprintf(csv + used, sizeof csv - used, "a,%d\n", i);
    write_file("many", "train.csv", csv);
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_int_equal(d->classes[0].n, SG_MAX_CLASSES);
    sg_text_dataset_destroy(d);
    snprintf(csv + used, sizeof csv - used, "a,7\na,x\n");
    write_file("many", "train.csv", csv);
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_DATA,
                 "train.csv:259: `x` would be class 257; at most 256; is it the labels' column?");
}

/* --- tasks ------------------------------------------------------------------------------------ */

static void several_tasks(void **state) {
    sg_text_place place = place_of(SG_TEXT_TWEETEVAL, "tasks", " hate, stance/a ,stance/b");
    sg_text_dataset *d, *val;

    (void)state;
    write_tweets("tasks/hate", "h1\nh2\n", "1\n0\n", two);
    write_file("tasks", "stance/mapping.txt", "0\tnone\n1\tagainst\n2\tfavor\n");
    write_tweets("tasks/stance/a", "a1\n", "2\n", NULL);
    write_tweets("tasks/stance/b", "b1\nb2\nb3\n", "0\n1\n2\n", NULL);
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_int_equal(d->n, 6);
    assert_int_equal(d->n_tasks, 3);
    assert_int_equal(d->classes[2].n, 3);
    assert_string_equal(d->tasks[1].name, "stance/a");
    assert_int_equal(d->tasks[1].first, 2);
    assert_int_equal(d->tasks[2].first, 3);
    assert_int_equal(d->tasks[2].n, 3);
    check_text(d, 2, "a1", 2, 1);
    check_text(d, 4, "b2", 1, 2);
    assert_int_equal(d->texts[2].task, 1);
    assert_int_equal(d->texts[4].task, 2);
    assert_ok(sg_text_dataset_read(&place, "train", d->classes, &val)); /* as a val part is read */
    assert_int_equal(val->labels[4], 1);
    sg_text_dataset_destroy(val);
    sg_text_dataset_destroy(d);
    place.task = "hate,,stance/a";
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_CONFIG,
                 "data.task: task 2 has an empty name");
    place.task = "hate,hate";
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_CONFIG,
                 "data.task: task `hate` is named twice");
    place.task = "hate,nothing";
    assert_fails(sg_text_dataset_read(&place, "train", NULL, &d), SG_ERR_MISSING,
                 "tasks/nothing/train_text.txt: no such file");
}

static bool exists(sg_text_format format, const char *task, const char *split) {
    sg_text_place place = place_of(format, "some", task);
    bool there;

    assert_ok(sg_text_split_exists(&place, split, &there));
    return there;
}

/* Whichever of the tasks has the file, and whatever is in it. */
static void which_splits_exist(void **state) {
    sg_text_place place = place_of(SG_TEXT_CSV, "some", "a,,b");
    bool there;

    (void)state;
    write_file("some", "a/train.csv", "text,label\n");
    write_file("some", "b/test.tsv", "\xFF");
    write_file("some", "b/test_text.txt", "");
    write_file("some", "train.jsonl", "");
    assert_true(exists(SG_TEXT_CSV, "a,b", "train.txt"));
    assert_true(exists(SG_TEXT_CSV, "a,b", "test"));
    assert_true(exists(SG_TEXT_CSV, "a,b", "test.tsv"));
    assert_false(exists(SG_TEXT_CSV, "a", "test"));
    assert_false(exists(SG_TEXT_CSV, "a,b", "val"));
    assert_false(exists(SG_TEXT_CSV, NULL, "a")); /* a folder */
    assert_true(exists(SG_TEXT_TWEETEVAL, "a,b", "test"));
    assert_false(exists(SG_TEXT_TWEETEVAL, "a,b", "train"));
    assert_true(exists(SG_TEXT_JSONL, "", "train"));
    assert_fails(sg_text_split_exists(&place, "test", &there), SG_ERR_CONFIG,
                 "task 2 has an empty");
}

/* --- fingerprint ------------------------------------------------------------------------------ */

static void fingerprint_of(const sg_text_place *place, const char *split,
                           char hex[SG_FINGERPRINT_BYTES]) {
    sg_text_dataset *d;

    assert_ok(sg_text_dataset_read(place, split, NULL, &d));
    assert_ok(sg_text_dataset_fingerprint(d, hex));
    sg_text_dataset_destroy(d);
    assert_int_equal(strlen(hex), SG_FINGERPRINT_BYTES - 1);
}

static void fingerprints(void **state) {
    static const char *const others[] = {
        "text,label\na,spam\nb,ham\n",        "text,label\na,ham\nb,ham\n", /* a label */
        "text,label\na,ham\nc,spam\n",                                      /* a text */
        "text,label\nb,spam\na,ham\n",                                      /* the order */
        "text,label\na,ham\nb,spam\n,spam\n",                               /* one more */
        "text,label\na,ham\nb,spaM\n",                                      /* a name */
    };
    char first[SG_FINGERPRINT_BYTES], hex[SG_FINGERPRINT_BYTES];
    sg_text_place place = place_of(SG_TEXT_TWEETEVAL, "print", NULL);

    (void)state;
    write_tweets("print", "a\nb\n", "0\n1\n", two);
    fingerprint_of(&place, "train", first);
    place.format = SG_TEXT_JSONL;
    write_file("print", "train.jsonl",
               "{\"text\":\"a\",\"label\":\"ham\"}\n{\"text\":\"b\",\"label\":\"spam\"}\n");
    fingerprint_of(&place, "train", hex);
    assert_string_equal(hex, first);
    place.format = SG_TEXT_CSV;
    write_file("print", "other.tsv", "label\ttext\nham\ta\nspam\tb\n");
    fingerprint_of(&place, "other", hex);
    assert_string_equal(hex, first);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        write_file("print", "train.csv", others[i]);
        fingerprint_of(&place, "train.csv", hex);
        assert_string_not_equal(hex, first);
    }
}

/* --- no memory -------------------------------------------------------------------------------- */

static void no_memory(void **state) {
    static const sg_text_format formats[] = {SG_TEXT_TWEETEVAL, SG_TEXT_CSV, SG_TEXT_JSONL};

    (void)state;
    write_tweets("memory/a", "a\nb\n", "0\n1\n", two);
    write_tweets("memory/b", "a\nb\n", "0\n1\n", two);
    for (int i = 0; i < 2; i++) {
        write_file(i ? "memory/a" : "memory/b", "train.csv", "text,label\na,ham\nb,spam\n");
        write_file(i ? "memory/a" : "memory/b", "train.jsonl",
                   "{\"text\":\"a\",\"label\":\"ham\"}\n{\"text\":\"b\",\"label\":\"spam\"}\n");
    }
    for (int i = 0; i < 3; i++) {
        sg_text_place place = place_of(formats[i], "memory", "a,b");
        long live = sg_mem_live();
        sg_text_dataset *d;

        FAIL_EACH_ALLOCATION(sg_text_dataset_read(&place, "train", NULL, &d), 20);
        sg_text_dataset_destroy(d);
        FAIL_EACH_ALLOCATION(sg_text_split_exists(&place, "test", &(bool){false}), 5);
        assert_int_equal(sg_mem_live(), live);
    }
}

/* --- real data -------------------------------------------------------------------------------- */

static void check_counts(const sg_text_dataset *d, int task, const int *counts) {
    int64_t found[SG_MAX_CLASSES] = {0};

    for (int64_t i = d->tasks[task].first; i < d->tasks[task].first + d->tasks[task].n; i++)
        found[d->labels[i]]++;
    for (int c = 0; c < d->classes[task].n; c++) assert_int_equal(found[c], counts[c]);
}

/* The numbers of the data's own description (shared/data/README.md). */
static void tweeteval_itself(void **state) {
    static const struct {
        const char *name;
        int classes, train, val;
    } tasks[] = {
        {"emoji", 20, 45000, 5000},      {"emotion", 4, 3257, 374},
        {"hate", 2, 9000, 1000},         {"irony", 2, 2862, 955},
        {"offensive", 2, 11916, 1324},   {"sentiment", 3, 45613, 2000},
        {"stance/abortion", 3, 587, 66}, {"stance/atheism", 3, 461, 52},
        {"stance/climate", 3, 355, 40},  {"stance/feminist", 3, 597, 67},
        {"stance/hillary", 3, 620, 69},
    };
    enum { kTasks = sizeof tasks / sizeof *tasks };
    const char *data = getenv("SPOTGRAD_DATA");
    char root[512], list[512] = "";
    sg_text_place place = {.format = SG_TEXT_TWEETEVAL, .root = root, .task = list};
    sg_text_dataset *train, *val;

    (void)state;
    snprintf(root, sizeof root, "%s/tweeteval", data ? data : "");
    if (!data || !sg_is_dir(root)) skip();
    for (int t = 0; t < kTasks; t++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", t ? "," : "",
                 tasks[t].name);
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &train));
    assert_ok(sg_text_dataset_read(&place, "val", train->classes, &val));
    assert_int_equal(train->n, 120268);
    assert_int_equal(val->n, 10947);
    for (int t = 0; t < kTasks; t++) {
        assert_int_equal(train->tasks[t].n, tasks[t].train);
        assert_int_equal(val->tasks[t].n, tasks[t].val);
        assert_int_equal(train->classes[t].n, tasks[t].classes);
    }
    check_counts(train, 1, (int[]){1400, 708, 294, 855});
    check_counts(train, 2, (int[]){5217, 3783});
    check_counts(train, 3, (int[]){1417, 1445});
    check_counts(train, 4, (int[]){7975, 3941});
    check_counts(train, 5, (int[]){7093, 20671, 17849});
    sg_text_dataset_destroy(train);
    sg_text_dataset_destroy(val);
}

static void sms_itself(void **state) {
    const char *data = getenv("SPOTGRAD_DATA");
    char root[512];
    sg_text_place place = {.format = SG_TEXT_TWEETEVAL, .root = root};
    sg_text_dataset *d;

    (void)state;
    snprintf(root, sizeof root, "%s/sms", data ? data : "");
    if (!data || !sg_is_dir(root)) skip();
    assert_ok(sg_text_dataset_read(&place, "train", NULL, &d));
    assert_int_equal(d->n, 3902);
    assert_string_equal(d->classes[0].name[1], "spam");
    check_counts(d, 0, (int[]){3384, 518});
    sg_text_dataset_destroy(d);
    assert_ok(sg_text_dataset_read(&place, "val", NULL, &d));
    check_counts(d, 0, (int[]){476, 81});
    sg_text_dataset_destroy(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_lf_ends_a_line),
        cmocka_unit_test(mapping_names_numbers),
        cmocka_unit_test(mapping_in_the_folder_above),
        cmocka_unit_test(tweeteval_faults),
        cmocka_unit_test(missing_files),
        cmocka_unit_test(utf16_is_named),
        cmocka_unit_test(nul_bytes_and_long_lines),
        cmocka_unit_test(csv_is_read),
        cmocka_unit_test(csv_columns_have_names),
        cmocka_unit_test(csv_faults),
        cmocka_unit_test(jsonl_is_read),
        cmocka_unit_test(jsonl_faults),
        cmocka_unit_test(labels_are_not_looked_at),
        cmocka_unit_test(classes_are_sorted),
        cmocka_unit_test(given_classes),
        cmocka_unit_test(numbers_as_names),
        cmocka_unit_test(too_many_classes),
        cmocka_unit_test(several_tasks),
        cmocka_unit_test(which_splits_exist),
        cmocka_unit_test(fingerprints),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(tweeteval_itself),
        cmocka_unit_test(sms_itself),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
