/* Stores without a network: names, what is signed, what S3 answers, and a folder that is full,
 * shared or lost. S3 itself is met in tests/integration/store.py. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "checkpoint/s3_format.h"
#include "checkpoint/store.h"
#include "core/file.h"
#include "core/mem.h"
#include "core/philox.h"

enum { kBytes = 3000000 };

static char folder[64], store_path[80], source[80], target[80];

static void names_of_steps(void **state) {
    static const char *const others[] = {"step-1.h5",
                                         "step-0000000123.h5",
                                         "step-000000123.h5x",
                                         "step-000000123",
                                         "step--00000012.h5",
                                         "step-+00000012.h5",
                                         "step- 00000012.h5",
                                         "last.h5",
                                         "step-99999999999999999999.h5",
                                         "step-.h5",
                                         "xstep-000000123.h5",
                                         ""};
    char name[SG_STEP_NAME];

    (void)state;
    sg_step_name(123, name);
    assert_string_equal(name, "step-000000123.h5");
    assert_int_equal(sg_step_of(name), 123);
    sg_step_name(0, name);
    assert_string_equal(name, "step-000000000.h5");
    assert_int_equal(sg_step_of(name), 0);
    sg_step_name(INT64_MAX, name);
    assert_true(sg_step_of(name) == INT64_MAX);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_int_equal(sg_step_of(others[i]), -1);
}

static void expect_url(const char *url, const char *bucket, const char *prefix) {
    char found[SG_S3_BUCKET], *rest = NULL;

    assert_int_equal(sg_s3_parse_url(url, found, &rest), SG_OK);
    assert_string_equal(found, bucket);
    assert_string_equal(rest, prefix);
    sg_free(rest);
}

static void urls(void **state) {
    static const char *const bad[] = {
        "s3://",
        "s3:///a",
        "s3://ab",
        "s3://Bucket",
        "s3://-bucket",
        "s3://bucket.",
        "s3://b_cket",
        "s3://bucket//a",
        "s3://bucket/a//b",
        "s3://bucket/.",
        "s3://bucket/a/../b",
        "s3://bucket/a\nb",
        "s3://bucket/./a",
        "s3://a123456789012345678901234567890123456789012345678901234567890123"};
    char bucket[SG_S3_BUCKET] = "untouched", *prefix = NULL;
    sg_store *store = NULL;
    char text[1200];

    (void)state;
    expect_url("s3://bucket", "bucket", "");
    expect_url("s3://bucket/", "bucket", "");
    expect_url("s3://bu-cket.1/a", "bu-cket.1", "a/");
    expect_url("s3://bucket/a b/.c/d..", "bucket", "a b/.c/d../");
    expect_url("s3://bucket/a/b//", "bucket", "a/b/");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(sg_s3_parse_url(bad[i], bucket, &prefix), SG_ERR_CONFIG);
        assert_non_null(strstr(sg_last_error(), "s3:"));
    }
    assert_string_equal(bucket, "untouched");
    assert_null(prefix);
    assert_int_equal(sg_store_open("gs://bucket/a", &store), SG_ERR_CONFIG);
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_int_equal(sg_store_open(text, &store), SG_ERR_CONFIG);
    assert_int_equal(sg_store_open("/dev/null/a", &store), SG_ERR_IO);
    assert_null(store);
    assert_int_equal(sg_store_open("", &store), SG_OK);
    assert_null(store);
    sg_store_close(NULL);
}

static void queries(void **state) {
    const sg_s3_pair pairs[] = {{"uploadId", "a+b/c=\xc3\xa9"}, {"partNumber", "10"}, {"acl", ""}};
    char *text;

    (void)state;
    text = sg_s3_query(pairs, 3);
    assert_string_equal(text, "acl=&partNumber=10&uploadId=a%2Bb%2Fc%3D%C3%A9");
    sg_free(text);
    text = sg_s3_query(pairs, 0);
    assert_string_equal(text, "");
    sg_free(text);
    text = sg_s3_encode("a b/c~d_e.f-g%", true);
    assert_string_equal(text, "a%20b/c~d_e.f-g%25");
    sg_free(text);
    text = sg_s3_encode("a/b", false);
    assert_string_equal(text, "a%2Fb");
    sg_free(text);
}

static const char page[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>"
    "<Prefix>r/</Prefix><KeyCount>6</KeyCount><IsTruncated>true</IsTruncated>\n"
    "<NextContinuationToken> 1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM= </NextContinuationToken>"
    "<Contents><Key>r/step-000000007.h5</Key><ETag>\"70ee\"</ETag><Size>123</Size></Contents>"
    "<Contents><Key>r/a&amp;b c</Key><Owner><ID>r</ID></Owner><Size> 0 </Size></Contents>"
    "<Contents><Key>r/</Key><Size>0</Size></Contents>"
    "<Contents><Key>r/deeper/a</Key><Size>1</Size></Contents>"
    "<Contents><Key>r/.hidden</Key><Size>1</Size></Contents>"
    "<Contents><Key>other</Key><Size>1</Size></Contents>"
    "<CommonPrefixes><Prefix>r/deeper/</Prefix></CommonPrefixes></ListBucketResult>";

static void lists(void **state) {
    sg_s3_list list = {0};
    static const char last[] = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents>"
                               "<Key>r/z</Key><Size>9223372036854775807</Size></Contents>"
                               "</ListBucketResult>";

    (void)state;
    assert_int_equal(sg_s3_list_page(page, sizeof page - 1, "r/", &list), SG_OK);
    assert_string_equal(list.next, "1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J/wm36Hy4vbOwM=");
    assert_int_equal(list.n, 2);
    assert_string_equal(list.entries[0].name, "step-000000007.h5");
    assert_int_equal(list.entries[0].bytes, 123);
    assert_string_equal(list.entries[1].name, "a&b c");
    assert_int_equal(list.entries[1].bytes, 0);
    assert_int_equal(sg_s3_list_page(last, sizeof last - 1, "r/", &list), SG_OK);
    assert_string_equal(list.next, "");
    assert_int_equal(list.n, 3);
    assert_true(list.entries[2].bytes == INT64_MAX);
    sg_free(list.entries);
}

static void expect_damaged(const char *xml, const char *why) {
    sg_s3_list list = {0};

    assert_int_equal(sg_s3_list_page(xml, strlen(xml), "", &list), SG_ERR_DATA);
    assert_non_null(strstr(sg_last_error(), why));
    sg_free(list.entries);
}

static void damaged_lists(void **state) {
    static char deep[4000], text[sizeof page];
    sg_random random = sg_random_init(7);
    sg_s3_list list;
    long live = sg_mem_live();

    (void)state;
    deep[0] = '\0';
    expect_damaged("", "no element found");
    expect_damaged("{\"a\": 1}", "no XML of S3's");
    expect_damaged("<html></html>", "no list of objects");
    expect_damaged("<a><ListBucketResult/></a>", "no list of objects");
    expect_damaged("<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
                   "size");
    expect_damaged("<ListBucketResult><Contents><Size>-1</Size></Contents></ListBucketResult>",
                   "size");
    expect_damaged("<ListBucketResult><Contents><Size>99999999999999999999</Size></Contents>"
                   "</ListBucketResult>",
                   "size");
    expect_damaged("<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", "where");
    expect_damaged("<!DOCTYPE a [<!ENTITY b \"c\">]><ListBucketResult/>", "document type");
    for (int i = 0; i < 900; i++) strcat(deep, "<a>");
    expect_damaged(deep, "no element found");
    for (size_t size = 0; size + 1 < sizeof page; size++) { /* cut off anywhere */
        memset(&list, 0, sizeof list);
        assert_int_equal(sg_s3_list_page(page, size, "r/", &list), SG_ERR_DATA);
        sg_free(list.entries);
    }
    for (int i = 0; i < 20000; i++) { /* a byte changed: never more than is there */
        memcpy(text, page, sizeof page);
        text[sg_random_below(&random, (int64_t)sizeof page - 1)] =
            (char)sg_random_below(&random, 256);
        memset(&list, 0, sizeof list);
        if (sg_s3_list_page(text, sizeof page - 1, "r/", &list) == SG_OK)
            assert_in_range(list.n, 0, 6);
        sg_free(list.entries);
    }
    assert_int_equal(sg_mem_live(), live);
}

static void texts(void **state) {
    static const char error[] = "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>\n  "
                                "Reduce &lt;it&gt;.</Message><Code>other</Code><A/></Error>";
    char text[16];

    (void)state;
    assert_int_equal(sg_s3_text(error, sizeof error - 1, "Code", text, sizeof text), SG_OK);
    assert_string_equal(text, "SlowDown");
    assert_int_equal(sg_s3_text(error, sizeof error - 1, "Message", text, sizeof text), SG_OK);
    assert_string_equal(text, "Reduce <it>.");
    assert_int_equal(sg_s3_text(error, sizeof error - 1, "Message", text, 7), SG_OK);
    assert_string_equal(text, "Reduce");
    assert_int_equal(sg_s3_text(error, sizeof error - 1, "A", text, sizeof text), SG_OK);
    assert_string_equal(text, "");
    assert_int_equal(sg_s3_text(error, sizeof error - 1, "None", text, sizeof text), SG_OK);
    assert_string_equal(text, "");
    assert_int_equal(sg_s3_text(error, sizeof error - 9, "Code", text, sizeof text), SG_ERR_DATA);
}

/* --- a folder --------------------------------------------------------------------------------- */

static void write_source(int64_t step) {
    uint8_t *data = sg_malloc(kBytes);

    for (int64_t i = 0; i < kBytes; i++) data[i] = (uint8_t)(i * 31 + i / 1000 + step);
    assert_int_equal(sg_file_write(source, data, kBytes), SG_OK);
    sg_free(data);
}

/* The step whose bytes the file has; -1: no step's. */
static int64_t step_in(const char *path) {
    int64_t step = -1;
    uint8_t *data;
    size_t size;

    if (sg_file_read(path, 0, &data, &size) != SG_OK) return -1;
    if (size == kBytes) step = data[0];
    for (int64_t i = 0; i < (int64_t)size && step >= 0; i++)
        if (data[i] != (uint8_t)(i * 31 + i / 1000 + step)) step = -1;
    sg_free(data);
    return step;
}

static int files_in(const char *path) {
    DIR *open = opendir(path);
    int n = 0;

    assert_non_null(open);
    for (struct dirent *e; (e = readdir(open));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(open);
    return n;
}

static int set_up(void **state) {
    (void)state;
    strcpy(folder, "/tmp/spotgrad-store-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(store_path, sizeof store_path, "%s/a/store", folder);
    snprintf(source, sizeof source, "%s/source", folder);
    snprintf(target, sizeof target, "%s/got/target", folder);
    write_source(1);
    return sg_make_dirs(store_path) == SG_OK ? 0 : -1;
}

static int tear_down(void **state) {
    char command[96];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static sg_store *open_store(void) {
    sg_store *store = NULL;

    assert_int_equal(sg_store_open(store_path, &store), SG_OK);
    return store;
}

/* The local disk and the store's may be full: nothing half-written stays, the old one remains. */
static void full_disks(void **state) {
    sg_store *store = open_store();
    char path[128];
    struct rlimit old, small;

    (void)state;
    snprintf(target, sizeof target, "%s/target", folder);
    snprintf(path, sizeof path, "%s/step.h5", store_path);
    assert_int_equal(sg_store_put(store, "step.h5", source), SG_OK);
    assert_int_equal(sg_store_get(store, "step.h5", target), SG_OK);
    write_source(2);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    for (rlim_t limit = 0; limit < kBytes; limit += 1000000) {
        sg_status put, get;

        small = old;
        small.rlim_cur = limit;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        put = sg_store_put(store, "step.h5", source);
        assert_non_null(strstr(sg_last_error(), "step.h5: cannot write: File too large"));
        get = sg_store_get(store, "step.h5", target);
        assert_non_null(strstr(sg_last_error(), "step.h5: cannot write its copy: File too large"));
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(put, SG_ERR_IO);
        assert_int_equal(get, SG_ERR_IO);
        assert_int_equal(files_in(store_path), 1);
        assert_int_equal(files_in(folder), 3);
        assert_int_equal(step_in(path), 1);
        assert_int_equal(step_in(target), 1);
    }
    assert_int_equal(sg_store_put(store, "step.h5", source), SG_OK);
    assert_int_equal(sg_store_get(store, "step.h5", target), SG_OK);
    assert_int_equal(step_in(target), 2);
    sg_store_close(store);
}

typedef struct {
    atomic_bool stop;
    int64_t puts;
} putter;

static void *put_all_the_time(void *context) {
    putter *p = context;
    sg_store *store = NULL;
    sg_status st = sg_store_open(store_path, &store);
    char path[2][96];

    for (int i = 0; i < 2; i++) snprintf(path[i], sizeof path[i], "%s/source-%d", folder, i);
    while (st == SG_OK && !atomic_load(&p->stop))
        st = sg_store_put(store, "step.h5", path[p->puts++ % 2]);
    sg_store_close(store);
    return st == SG_OK ? NULL : p;
}

/* Who reads while another writes gets the old or the new one, whole. */
static void readers_and_a_writer(void **state) {
    sg_store *store = open_store();
    putter p = {.puts = 0};
    pthread_t thread;
    void *failed;
    char path[96];

    (void)state;
    snprintf(target, sizeof target, "%s/target", folder);
    for (int i = 0; i < 2; i++) {
        write_source(i);
        snprintf(path, sizeof path, "%s/source-%d", folder, i);
        assert_int_equal(rename(source, path), 0);
    }
    assert_int_equal(sg_store_put(store, "step.h5", path), SG_OK);
    assert_int_equal(pthread_create(&thread, NULL, put_all_the_time, &p), 0);
    for (int i = 0; i < 60; i++) {
        sg_store_entry *entries;
        int n;

        assert_int_equal(sg_store_get(store, "step.h5", target), SG_OK);
        assert_in_range(step_in(target), 0, 1);
        assert_int_equal(sg_store_list(store, &entries, &n), SG_OK);
        assert_int_equal(n, 1);
        assert_int_equal(entries[0].bytes, kBytes);
        sg_free(entries);
    }
    atomic_store(&p.stop, true);
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_true(p.puts > 2);
    sg_store_close(store);
}

static sg_status whole(const char *path, void *context) {
    (void)context;
    return step_in(path) == 3 ? SG_OK : sg_fail(SG_ERR_DATA, "%s: is another step's", path);
}

static void fetching(void **state) {
    static const int64_t steps[] = {1, 3, 4, 7};
    sg_store *store = open_store();
    char name[SG_STEP_NAME], into[96], *path = source;
    long live;

    (void)state;
    live = sg_mem_live();
    for (int i = 0; i < 4; i++) {
        write_source(steps[i]);
        sg_step_name(steps[i], name);
        assert_int_equal(sg_store_put(store, name, source), SG_OK);
    }
    snprintf(into, sizeof into, "%s/into", folder);
    assert_int_equal(sg_store_fetch_newest(store, into, -1, whole, NULL, &path), SG_ERR_IO);
    assert_ptr_equal(path, source); /* no such folder */
    assert_int_equal(sg_make_dirs(into), SG_OK);
    assert_int_equal(sg_store_fetch_newest(store, into, 7, whole, NULL, &path), SG_OK);
    assert_null(path); /* nothing newer */
    assert_int_equal(sg_store_fetch_newest(store, into, 3, whole, NULL, &path), SG_OK);
    assert_null(path); /* newer, but not whole */
    assert_int_equal(files_in(into), 0);
    assert_int_equal(sg_store_fetch_newest(store, into, -1, whole, NULL, &path), SG_OK);
    assert_non_null(strstr(path, "/into/step-000000003.h5"));
    assert_int_equal(step_in(path), 3);
    assert_int_equal(files_in(into), 1);
    sg_free(path);
    for (long n = 1;; n++) { /* each allocation fails once */
        sg_status st;

        path = NULL;
        sg_mem_fail_at(n);
        st = sg_store_fetch_newest(store, into, -1, NULL, NULL, &path);
        sg_mem_fail_at(0);
        if (st == SG_OK) break;
        assert_int_equal(st, SG_ERR_OOM);
        assert_null(path);
        assert_int_equal(sg_mem_live(), live);
        assert_in_range(files_in(into), 1, 2); /* the last one fails after the rename */
    }
    assert_non_null(strstr(path, "/into/step-000000007.h5"));
    assert_int_equal(step_in(path), 7);
    assert_int_equal(files_in(into), 2);
    sg_free(path);
    sg_store_close(store);
}

/* What is not a run's stays. */
static void trimming(void **state) {
    static const char *const names[] = {"step-000000001.h5", "step-000000003.h5",
                                        "step-000000020.h5", "best.h5",
                                        "notes.txt",         "step-4.h5"};
    sg_store *store = open_store();
    sg_store_entry *entries;
    int n;

    (void)state;
    for (int i = 0; i < 6; i++) assert_int_equal(sg_store_put(store, names[i], source), SG_OK);
    assert_int_equal(sg_store_trim(store, 1, 1), SG_OK);
    assert_int_equal(sg_store_newest(store, &entries, &n), SG_OK);
    assert_int_equal(n, 2);
    assert_string_equal(entries[0].name, names[2]);
    assert_string_equal(entries[1].name, names[0]);
    sg_free(entries);
    assert_int_equal(sg_store_forget(store), SG_OK);
    assert_int_equal(sg_store_forget(store), SG_OK);
    assert_int_equal(files_in(store_path), 2);
    sg_store_close(store);
}

static void cancelled(void **state) {
    sg_store *store = open_store();

    (void)state;
    assert_int_equal(sg_store_put(store, "a", source), SG_OK);
    sg_store_cancel(store);
    assert_int_equal(sg_store_put(store, "b", source), SG_ERR_INTERRUPTED);
    assert_int_equal(files_in(store_path), 1);
    sg_store_close(store);
}

/* Each allocation of opening and using an S3 store fails once. No such port: nothing is
 * sent, and nothing asked again. */
static void out_of_memory(void **state) {
    static const char *const names[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"};
    static const char *const values[] = {"key", "secret", "token", "http://127.0.0.1:99999",
                                         "eu-west-1"};
    sg_status st = SG_ERR_OOM;
    long live;

    (void)state;
    for (int i = 0; i < 5; i++) setenv(names[i], values[i], 1);
    live = sg_mem_live();
    for (long n = 1; st == SG_ERR_OOM; n++) {
        sg_store *store = NULL;

        sg_mem_fail_at(n);
        st = sg_store_open("s3://bucket/run", &store);
        if (st == SG_OK) {
            st = sg_store_put(store, "a", source);
            sg_mem_fail_at(0);
            sg_store_close(store);
        }
        sg_mem_fail_at(0);
        assert_int_equal(sg_mem_live(), live);
    }
    assert_int_equal(st, SG_ERR_ARG);
    assert_non_null(strstr(sg_last_error(), "s3://bucket/run/a: http://127.0.0.1:99999: "));
    for (int i = 0; i < 5; i++) unsetenv(names[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_steps),
        cmocka_unit_test(urls),
        cmocka_unit_test(queries),
        cmocka_unit_test(lists),
        cmocka_unit_test(damaged_lists),
        cmocka_unit_test(texts),
        cmocka_unit_test_setup_teardown(full_disks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(readers_and_a_writer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fetching, set_up, tear_down),
        cmocka_unit_test_setup_teardown(trimming, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(out_of_memory, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
